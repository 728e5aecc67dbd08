"""The currency dealer played out: requests drawn exactly, hedging followed between them, prediction beside measurement.

Clients ask at the model's own rates, whatever the dealer quotes, so requests are a Poisson process and no bound need be
found: each is drawn with its pair, side, tier and size, and won with the probability that the quote of that moment has.
No time step biases the fills. Between requests the position follows `dq = v(t, q) dt`, by the classical Runge-Kutta
rule in steps of at most `longest_step`; that, and the integrals of cost and risk on the way, is all that is cut up.
Prices are not drawn: given the positions, what they add to wealth is Gaussian with mean zero, and its variance
`int q' Sigma q dt` is kept.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from scipy.special import wrightomega

from ..hjb.currency import CurrencySolution
from ..hjb.currency_book import CurrencyBookSolution
from ..models import case
from ..models.currency import CurrencyDealer
from ..models.currency_book import CurrencyBook, as_book
from ._outcome import Row
from ._outcome_file import Saved, arrays_of, write_outcome


class Estimate(NamedTuple):
    """A mean and its standard error."""

    value: float
    standard_error: float


@dataclass(frozen=True)
class CurrencySimulation:
    """Outcome of a run, one entry per path.

    earned:      what fills and hedging brought, bp M: distances less market costs, and the impact on the position held.
    risk:        `int q' Sigma q dt`, bp^2 M^2: the variance that prices add to `earned`.
    charge:      the criterion's charge, bp M: `(gamma/2) risk`, and `terminal q^2` at the horizon.
    clients, hedged, waiting: volume traded with clients, in the market, and with clients where the dealer then did not
                 hedge in that pair, M.
    idle:        share of the time without any hedging.
    inventory:   at the end, M, shape (paths, pairs); `initial`, of shape (pairs,), is where all paths start.
    frozen:      whether the quotes of time 0 were kept to all along.
    """

    rule: ClassVar[str] = "exact"

    problem: CurrencyDealer | CurrencyBook
    seed: int
    days: float
    earned: np.ndarray
    risk: np.ndarray
    charge: np.ndarray
    clients: np.ndarray
    hedged: np.ndarray
    waiting: np.ndarray
    idle: np.ndarray
    inventory: np.ndarray
    initial: np.ndarray
    frozen: bool = False

    @property
    def paths(self) -> int:
        return self.earned.size

    @property
    def wealth(self) -> np.ndarray:
        """A draw of `W_T` for every path, bp M above the marked book: what was earned, and what prices added."""
        drawn = np.random.default_rng([self.seed, 1]).standard_normal(self.paths)
        return self.earned + np.sqrt(self.risk) * drawn

    @property
    def value(self) -> Estimate:
        """The criterion, bp M: the mean of what was earned less the charges."""
        return _mean(self.earned - self.charge)

    @property
    def mean_wealth(self) -> Estimate:
        """`E[W_T]` above the marked book, bp M."""
        return _mean(self.earned)

    @property
    def variance(self) -> Estimate:
        """`Var[W_T]`, bp^2 M^2: of what fills and hedging earn, and of prices given the positions."""
        centred = self.earned - np.mean(self.earned)
        return _mean(centred**2 * self.paths / (self.paths - 1) + self.risk)

    @property
    def internalised(self) -> Estimate:
        """Of the clients' volume, what was not hedged."""
        kept = _ratio(self.hedged, self.clients)
        return Estimate(1 - kept.value, kept.standard_error)

    @property
    def waited(self) -> Estimate:
        """Of the clients' volume, what was traded with a dealer who then stayed out of the market."""
        return _ratio(self.waiting, self.clients)

    @property
    def idle_time(self) -> Estimate:
        """Share of the time without hedging."""
        return _mean(self.idle)

    def rows(self, predicted: CurrencySolution | CurrencyBookSolution | None = None) -> list[Row]:
        """Measurements beside what a solution predicts of the same problem from the same start.

        Raises `ValueError` where `predicted` solves another problem, or the run kept to the quotes of time 0.
        """
        unit = self.problem.units["money"]
        value, wealth = self._predictions(predicted)
        return [
            Row("mean wealth", unit, *self.mean_wealth, wealth),
            Row("variance of wealth", f"({unit})^2", *self.variance, math.nan),
            Row("criterion", unit, *self.value, value),
            Row("internalised volume", "share", *self.internalised, math.nan),
            Row("volume then waited for", "share", *self.waited, math.nan),
            Row("time without hedging", "share", *self.idle_time, math.nan),
        ]

    def _predictions(self, predicted: CurrencySolution | CurrencyBookSolution | None) -> tuple[float, float]:
        """Value and expected wealth at time 0 where the run starts; nan where they are not known."""
        if predicted is None:
            return math.nan, math.nan
        if case.to_data(as_book(predicted.problem)) != case.to_data(as_book(self.problem)):
            raise ValueError(
                f"predicted solves {predicted.problem}, but simulated was {self.problem}; solve the problem simulated"
            )
        if self.frozen:
            raise ValueError(
                "predicted holds from time 0 to the horizon, but this run kept to the quotes of time 0 "
                f"for {self.days:g} days; leave predicted out, and compare the shares with internalisation()"
            )
        if isinstance(predicted, CurrencySolution):
            start = float(self.initial[0])
            return float(predicted.value(0.0, inventory=start)), float(predicted.expected_wealth(0.0, inventory=start))
        return float(predicted.value(0.0, inventory=self.initial)), math.nan

    def table(self, predicted: CurrencySolution | CurrencyBookSolution | None = None) -> str:
        """`rows` as text."""
        lines = [f"{'':24}{'measured':>14}{'s.e.':>12}{'predicted':>14}  unit"]
        for row in self.rows(predicted):
            predicted_text = "" if math.isnan(row.predicted) else f"{row.predicted:.6g}"
            lines.append(
                f"{row.quantity:24}{row.measured:14.6g}{row.standard_error:12.2g}{predicted_text:>14}  {row.unit}"
            )
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write NetCDF with units and the full case inside, whole or not at all; returns the path."""
        settings = {"seed": self.seed, "days": self.days, "initial": self.initial.tolist(), "frozen": self.frozen}
        return write_outcome(self, path, _SAVED, settings)


_SAVED = {
    "earned": Saved(("path",), "bp M", "what fills and hedging brought, above the marked book"),
    "risk": Saved(("path",), "bp^2 M^2", "variance that prices add to it"),
    "charge": Saved(("path",), "bp M", "charged to the criterion, apart from wealth"),
    "clients": Saved(("path",), "M", "volume traded with clients"),
    "hedged": Saved(("path",), "M", "volume traded in the market"),
    "waiting": Saved(("path",), "M", "volume traded with clients after which nothing was hedged"),
    "idle": Saved(("path",), "1", "share of the time without hedging"),
    "inventory": Saved(("path", "pair"), "M", "position at the end"),
}


def restored(problem: Any, settings: Mapping[str, Any], data: Any) -> CurrencySimulation:
    """The simulation from a dataset that `CurrencySimulation.save` wrote."""
    initial = np.asarray(settings["initial"], float)
    return CurrencySimulation(problem, **{**settings, "initial": initial}, **arrays_of(data))


def _mean(values: np.ndarray) -> Estimate:
    return Estimate(float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(values.size))


def _ratio(upper: np.ndarray, lower: np.ndarray) -> Estimate:
    """Of the means, with the standard error that linearising gives."""
    ratio = float(np.mean(upper) / np.mean(lower))
    error = float(np.std(upper - ratio * lower, ddof=1)) / math.sqrt(upper.size) / float(np.mean(lower))
    return Estimate(ratio, error)


class Quoting(Protocol):
    """What a simulation asks of a policy: reservation distances of requests, and rates of hedging."""

    def reservation(self, t: Any, q: Any, pair: Any, side: Any, size: Any) -> Any:
        """bp, all arrays of shape (paths,) but `q`, which is (paths, pairs)."""

    def hedge(self, t: Any, q: Any) -> Any:
        """M per day, shape (paths, pairs)."""


class _OnePair:
    def __init__(self, solution: CurrencySolution):
        self.solution = solution

    def reservation(self, t: Any, q: Any, pair: Any, side: Any, size: Any) -> Any:
        return self.solution.reservation(side, t, q[:, 0], size)

    def hedge(self, t: Any, q: Any) -> Any:
        return self.solution.hedge_rate(t, inventory=q[:, 0])[:, None]


class _Book:
    def __init__(self, solution: CurrencyBookSolution):
        self.solution = solution

    def reservation(self, t: Any, q: Any, pair: Any, side: Any, size: Any) -> Any:
        return self.solution.reservations(t, q, pair, side, size)

    def hedge(self, t: Any, q: Any) -> Any:
        return self.solution.hedge_rate(t, inventory=q)


class _Requests(NamedTuple):
    """Every kind of request: a pair's side, tier and size; arrays of shape (kinds,)."""

    rate: np.ndarray  # per day
    pair: np.ndarray
    side: np.ndarray
    size: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray


def _requests(book: CurrencyBook) -> _Requests:
    kinds = []
    for number, pair in enumerate(book.pairs):
        for side in (+1, -1):
            demand, rates = pair.demand(side), pair.requests(side)
            for tier, row in enumerate(rates):
                for rate, size in zip(row, pair.sizes, strict=True):
                    kinds.append((rate, number, side, size, demand.alpha[tier], demand.beta[tier]))
    rate, pair, side, size, alpha, beta = np.array(kinds).T
    return _Requests(rate, pair.astype(int), side.astype(int), size, alpha, beta)


def simulate_currency(
    problem: CurrencyDealer | CurrencyBook,
    solution: CurrencySolution | CurrencyBookSolution,
    paths: int,
    seed: int = 0,
    initial: Any = 0.0,
    *,
    frozen: bool = False,
    days: float | None = None,
    warm_up: float = 0.0,
    longest_step: float | None = None,
) -> CurrencySimulation:
    """Play a solution's quotes and hedging on a problem, from time 0 to the horizon.

    initial: position at the start, M, for every pair or one for all.
    frozen:  keep to the quotes and the hedging of time 0 all along, as in the long run before a distant horizon; then
             `days` may be any length, and what happens in the first `warm_up` days is not counted.
    longest_step: days between two evaluations of the rate of hedging at most; a 200th of the horizon by default.

    Raises `ValueError` or `TypeError` for what can be known beforehand.
    """
    book, horizon = as_book(problem), float(problem.horizon)
    step = horizon / 200 if longest_step is None else longest_step
    _check(paths, frozen, days, warm_up)
    _check_solution(book, solution)
    start = _checked_start(book, initial)
    if not step > 0:
        raise ValueError(f"longest_step must be positive, got {step:g}; it is in days")
    days = horizon if days is None else float(days)
    run = _Run(book, solution, paths, seed, step, frozen)
    run.go(np.tile(start, (paths, 1)), days, warm_up)
    charge = 0.5 * float(book.risk_aversion) * run.risk
    if not frozen:
        charge = charge + run.q**2 @ book.of_pairs("terminal")
    idle = run.idle / (days - warm_up)
    return CurrencySimulation(
        problem=problem,
        seed=seed,
        days=days,
        earned=run.earned,
        risk=run.risk,
        charge=charge,
        clients=run.clients,
        hedged=run.hedged,
        waiting=run.waiting,
        idle=idle,
        inventory=run.q,
        initial=start,
        frozen=frozen,
    )


def _check_solution(book: CurrencyBook, solution: Any) -> None:
    if not isinstance(solution, CurrencySolution | CurrencyBookSolution):
        raise TypeError(f"simulate_currency plays a solution of a currency dealer or book, got {solution!r}")
    pairs = as_book(solution.problem).dimension
    if pairs != book.dimension:
        raise ValueError(
            f"simulate_currency: solution quotes {pairs} pair{'s' if pairs > 1 else ''}, but the problem has "
            f"{book.dimension}; solve the problem itself"
        )


def _check(paths: int, frozen: bool, days: float | None, warm_up: float) -> None:
    if isinstance(paths, bool) or not isinstance(paths, int) or paths < 2:
        raise ValueError(f"paths must be a whole number of at least 2, got {paths!r}")
    if not frozen and (days is not None or warm_up):
        raise ValueError("days and warm_up are for frozen=True; otherwise a run lasts from time 0 to the horizon")
    if warm_up < 0 or (days is not None and not days > warm_up):
        raise ValueError(f"days must exceed warm_up, which must not be negative, got {days} and {warm_up}")


def _checked_start(book: CurrencyBook, initial: Any) -> np.ndarray:
    given = np.asarray(initial, float)
    if given.shape not in ((), (book.dimension,)):
        raise ValueError(
            f"initial must be one position, M, or one for each of {book.dimension} pairs, got the shape {given.shape}"
        )
    start = np.broadcast_to(given, (book.dimension,))
    for number, (position, limit) in enumerate(zip(start, book.limit, strict=True)):
        if not abs(position) <= limit:
            raise ValueError(f"initial position {position:g} M lies beyond the limit {limit:g} M of pair {number}")
    return start


class _Run:
    """The state of all paths, each on its own clock."""

    def __init__(self, book: CurrencyBook, solution: Any, paths: int, seed: int, step: float, frozen: bool):
        self.book, self.kinds, self.step, self.frozen = book, _requests(book), step, frozen
        self.policy: Quoting = _OnePair(solution) if isinstance(solution, CurrencySolution) else _Book(solution)
        self.random = np.random.default_rng(seed)
        self.sigma, self.limit = book.covariance, book.limit
        self.impact = book.of_pairs("impact")
        self.markets = [pair.hedging for pair in book.pairs]
        self.earned, self.risk, self.clients, self.hedged, self.waiting, self.idle = np.zeros((6, paths))
        self.q = np.zeros((paths, book.dimension))

    def go(self, q: np.ndarray, days: float, warm_up: float) -> None:
        """Let all paths run for `days` and count from `warm_up` on."""
        self.q, clock = q, np.zeros(len(q))
        total = float(np.sum(self.kinds.rate))
        shares = np.cumsum(self.kinds.rate) / total
        while True:
            active = np.flatnonzero(clock < days)
            if active.size == 0:
                return
            wait = self.random.exponential(1 / total, active.size)
            until = np.where(clock[active] < warm_up, warm_up, days)
            dt = np.minimum(np.minimum(wait, self.step), until - clock[active])
            counted = clock[active] >= warm_up
            self._drift(active, clock[active], dt, counted)
            asked = wait <= dt
            clock[active] = np.where(dt == until - clock[active], until, clock[active] + dt)
            if np.any(asked):
                self._fill(active[asked], clock[active][asked], counted[asked], shares)

    def _at(self, clock: np.ndarray) -> np.ndarray:
        return 0 * clock if self.frozen else np.minimum(clock, float(self.book.horizon))

    def _drift(self, active: np.ndarray, t: np.ndarray, dt: np.ndarray, counted: np.ndarray) -> None:
        """Runge-Kutta's classical step for the position, and Simpson's weights for what accrues on the way."""
        start, h = self.q[active], dt[:, None]
        ends = [t, t + 0.5 * dt, t + 0.5 * dt, t + dt]
        places, speeds = [start], []
        for stage, share in enumerate((0.5, 0.5, 1.0, None)):
            speeds.append(self.policy.hedge(self._at(ends[stage]), places[-1]))
            if share is not None:
                places.append(np.clip(start + share * h * speeds[-1], -self.limit, self.limit))
        weights = np.array([1, 2, 2, 1]) / 6
        self.q[active] = np.clip(
            start + h * sum(w * v for w, v in zip(weights, speeds, strict=True)), -self.limit, self.limit
        )
        for weight, place, speed in zip(weights, places, speeds, strict=True):
            share = np.where(counted, weight * dt, 0.0)
            self.earned[active] += share * self._gain(place, speed)
            self.risk[active] += share * np.einsum("ni,ij,nj->n", place, self.sigma, place)
            self.hedged[active] += share * np.sum(np.abs(speed), axis=1)
            self.idle[active] += share * np.all(speed == 0, axis=1)

    def _gain(self, q: np.ndarray, speed: np.ndarray) -> np.ndarray:
        """What hedging earns per day: its impact on the position, less what the market costs."""
        gain = np.sum(self.impact * q * speed, axis=1)
        for number, market in enumerate(self.markets):
            if market is not None:
                gain = gain - market.cost(speed[:, number])
        return gain

    def _fill(self, paths: np.ndarray, t: np.ndarray, counted: np.ndarray, shares: np.ndarray) -> None:
        """One request each: which, and whether it is won."""
        number = np.minimum(np.searchsorted(shares, self.random.random(paths.size), side="right"), shares.size - 1)
        kind = _Requests(*(entry[number] for entry in self.kinds))
        q, at = self.q[paths], self._at(t)
        row = np.arange(paths.size)
        after = q[row, kind.pair] + kind.side * kind.size
        price = self.policy.reservation(at, q, kind.pair, kind.side, kind.size)
        w = wrightomega(-(1 + kind.alpha + kind.beta * price))
        fits = kind.side * after <= self.limit[kind.pair] * (1 + 1e-12)
        won = (self.random.random(paths.size) < w / (1 + w)) & fits
        distance, volume = price + (1 + w) / kind.beta, kind.size
        q[row[won], kind.pair[won]] = after[won]
        self.q[paths] = q
        count = won & counted
        self.earned[paths[count]] += (volume * distance)[count]
        self.clients[paths[count]] += volume[count]
        still = self.policy.hedge(at, q)[row, kind.pair] == 0
        self.waiting[paths[count & still]] += volume[count & still]
