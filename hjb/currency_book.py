"""Several currency pairs in closed form, nearly: a value function of second degree, from a Riccati equation.

Where the clients' Hamiltonian is replaced by its expansion of second order at `p = 0`, and the market's by `c p^2/2`,
the equation of `models.currency_book` is solved by `theta = -q'A q/2 - B'q - C`, whose reservation distances are

    p_bid = (A q)_i + B_i + z A_ii/2,        p_ask = -(A q)_i - B_i + z A_ii/2,        theta_{q_i} = -(A q)_i - B_i,

and with `M`, `c` and `k` diagonal matrices, `M_i = sum z Lambda H''(0)` over tiers, sizes and both sides,

    A' = gamma Sigma - A M A - (A - k) c (A - k),        A(0) = 2 terminal,
    B' = -(A M + (A - k) c) B - A m(A),                  C' = -B'(M + c) B/2 - m'B - n(A),

`m` and `n` what the expansion leaves at `q = 0` (below); quotes and hedging are then those that the true Hamiltonians
take against this value. The market's Hamiltonian is `max(|p| - psi, 0)^2/(4 eta)`, which no expansion at zero sees:
`c = P(|p| > psi)/(2 eta)`, its mean curvature under the law of positions after the horizon that the expansion itself
implies (Gaussian linearisation), found by iteration from `c = 0`.

With `s = c k/(M + c)` and `X = A - s`, `X' = gamma Sigma - k c M k/(M + c) - X (M + c) X`. Where the first two make
something negative, impact is worth more than risk costs, `X` has nowhere to settle and escapes in finite time: the
dealer buys, sells to its clients at the price it has made, and value is bounded by the limits alone, which the
expansion has not. Such books are refused, and those too where the marked book is pushed up just before the horizon.

The expansion follows Bergault, Evangelista, Gueant and Vieira (2021, "Closed-form approximations in multi-asset market
making"); the treatment of `psi` is ours.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import ndtr

from ..models import case
from ..models._precision import is_traced
from ..models.channels import Quotes
from ..models.currency import CurrencyDealer
from ..models.currency_book import CurrencyBook, as_book
from ._band import Band, waiting_band
from ._currency_push import pushing
from ._tables import Tables, clock
from .policy import Policy
from .solution import Solution, method_to_data, write_whole

_TOLERANCE = 1e-10
_LOOKED_AT = 257  # positions of a pair, to find where hedging begins
_MOST_ITERATIONS = 200
_LEAST_PULL = 1e-12  # of the largest
_ESCAPED = 1e3  # times what else `A` is made of
_INSTEAD = "; or take Lattice(), whose limits bound it, for one pair"
_UNSEEN = 0.01  # of the value without a position, that may be had by pushing prices
_NOTHING = 1e-9  # bp M


class Expansion(NamedTuple):
    """The clients of every pair at `p = 0`, arrays of shape (pairs,): sums over tiers and sizes on one side each.

    rate, squared:  expected volume `sum z Lambda` (M per day) and `sum z^2 Lambda` (M^2 per day) at the best distance.
    bend, tilted, cubed: `sum z^n Lambda_asked H''(0)` for n = 1, 2, 3.
    gain:           `sum z H(0)`, bp M per day.
    """

    rate: np.ndarray
    squared: np.ndarray
    bend: np.ndarray
    tilted: np.ndarray
    cubed: np.ndarray
    gain: np.ndarray


def expansion(book: CurrencyBook, side: int) -> Expansion:
    """Of `H = w/beta`, `w e^w = e^{-(1 + alpha + beta p)}`, whose `H' = -w/(1 + w)` and `H'' = beta w/(1 + w)^3`."""
    rows = []
    for pair in book.pairs:
        z, asked, beta = pair.sizes, pair.requests(side), np.asarray(pair.demand(side).beta)[:, None]
        _, won, gain = pair.response(side, np.zeros(z.shape))
        bend = beta * won * (1 - won) ** 2
        rows.append(
            [
                np.sum(z**n * asked * what)
                for n, what in ((1, won), (2, won), (1, bend), (2, bend), (3, bend), (1, gain))
            ]
        )
    return Expansion(*np.array(rows).T)


class Riccati(NamedTuple):
    """The coefficients that stay the same over time: matrices (pairs, pairs) and diagonals (pairs,)."""

    risk: np.ndarray  # gamma Sigma
    bend: np.ndarray  # M, both sides
    market: np.ndarray  # c
    impact: np.ndarray  # k
    bid: Expansion
    ask: Expansion
    horizon: float  # days

    def change(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """`A'`, `B'`, `C'` per day."""
        net, own = a - np.diag(self.impact), np.diag(a)
        m = self.ask.rate - self.bid.rate + 0.5 * own * (self.bid.tilted - self.ask.tilted)
        n = sum(
            np.sum(side.gain - 0.5 * own * side.squared + 0.125 * own**2 * side.cubed) for side in (self.bid, self.ask)
        )
        flow = self.bend * b + m
        da = self.risk - a * self.bend @ a - net * self.market @ net
        db = -(a @ flow) - net @ (self.market * b)
        dc = -0.5 * np.sum((self.bend + self.market) * b**2) - m @ b - n
        return da, db, float(dc)

    @property
    def pull(self) -> np.ndarray:
        """`M + c`, by which positions are drawn back for every bp per M of slope; not quite zero without clients."""
        pull = self.bend + self.market
        return np.maximum(pull, max(_LEAST_PULL * float(np.max(pull)), np.finfo(float).tiny))

    def stationary(self) -> np.ndarray:
        """`A` long before the horizon: of `gamma Sigma = A M A + (A - k) c (A - k)`.

        With `X = A - s`, `s = c k/(M + c)`, the square is completed: `X (M + c) X = gamma Sigma - k c M k/(M + c)`.
        What of the right side is negative has no root and is taken for zero: `_over_time` finds what comes of it.
        """
        root = np.sqrt(self.pull)
        left = self.impact**2 * self.market * self.bend / self.pull
        values, vectors = np.linalg.eigh(root[:, None] * (self.risk - np.diag(left)) * root)
        square_root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
        return square_root / np.outer(root, root) + np.diag(self.market * self.impact / self.pull)

    def spread(self, a: np.ndarray) -> np.ndarray:
        """Covariance of the positions, M^2, after the horizon from a flat book, in the law that `A = a` implies.

        `dq = -((M + c) a - c k) q dt` with the clients' noise; a direction in which nothing draws it back diffuses.
        """
        root = np.sqrt(self.pull)
        values, vectors = np.linalg.eigh(root[:, None] * a * root - np.diag(self.market * self.impact))
        noise = vectors.T * ((self.bid.squared + self.ask.squared) / self.pull) @ vectors
        lasting = self.horizon * np.add.outer(*2 * [np.maximum(values, 0.0)])
        covariance = (
            noise * self.horizon * np.where(lasting > 0, -np.expm1(-lasting) / np.maximum(lasting, 1e-300), 1.0)
        )
        return (root[:, None] * vectors) @ covariance @ (root[:, None] * vectors).T

    def hedged_share(self, a: np.ndarray, half_spread: np.ndarray) -> np.ndarray:
        """`P(|p| > psi)` if that law is Gaussian."""
        net = a - np.diag(self.impact)
        deviation = np.sqrt(np.diag(net @ self.spread(a) @ net.T))
        return 2 * ndtr(-half_spread / np.maximum(deviation, np.finfo(float).tiny))


def riccati(book: CurrencyBook) -> Riccati:
    """The coefficients of a book, with `c` found by iteration."""
    bid, ask = expansion(book, +1), expansion(book, -1)
    markets = [pair.hedging for pair in book.pairs]
    most = np.array([0.0 if m is None else 0.5 / float(m.slippage) for m in markets])
    half_spread = np.array([np.inf if m is None else float(m.half_spread) for m in markets])
    found = Riccati(
        risk=float(book.risk_aversion) * book.covariance,
        bend=bid.bend + ask.bend,
        market=0.0 * most,  # from here up: where risk is small, much hedging can explain itself, too
        impact=book.of_pairs("impact"),
        bid=bid,
        ask=ask,
        horizon=float(book.horizon),
    )
    if not np.any(most):
        return found
    for _ in range(_MOST_ITERATIONS):
        market = most * found.hedged_share(found.stationary(), half_spread)
        moved = np.max(np.abs(market - found.market) / np.max(most))
        found = found._replace(market=0.5 * (market + found.market))
        if moved < _TOLERANCE:
            break
    return found


class CurrencyBookSolution(Solution):
    """Value, quotes and hedging of a book by the expansion. `t` in days runs forward, `inventory` is (..., pairs), M.

    `tables.value` has one row for each time to go with the entries of `A`, `B` and `C`. An approximation carries no
    estimate of its error: compare with `FiniteDifference` for one pair, or with a simulation of its own policy.
    """

    problem: CurrencyBook

    @property
    def policy(self) -> Any:
        """The quotes as a callable `policy(t, state) -> Quotes`, each side a tuple of ladders, one to a pair."""
        return CurrencyBookPolicy(self.problem, self)

    def coefficients(self, t: Any = 0.0) -> tuple[Any, Any, Any]:
        """`A` (..., pairs, pairs), bp per M, `B` (..., pairs), bp, and `C` (...), bp M, at `t` of shape (...)."""
        self._check_time(t)
        d = self.problem.dimension
        left = np.clip(float(self.problem.horizon) - np.asarray(t, float), 0.0, None)
        row = np.moveaxis(
            np.asarray([np.interp(left, self.tables.tau, column) for column in self.tables.value.T]), 0, -1
        )
        return row[..., : d * d].reshape(*row.shape[:-1], d, d), row[..., d * d : -1], row[..., -1]

    def value(self, t: Any = 0.0, **state: Any) -> Any:
        """`theta(t, q)`, bp M above the marked book."""
        q = self._positions(state)
        a, b, c = self.coefficients(t)
        return -0.5 * np.einsum("...i,...ij,...j->...", q, a, q) - np.einsum("...i,...i->...", b, q) - c

    def slope(self, t: Any, inventory: Any) -> Any:
        """`theta_q`, bp, shape (..., pairs)."""
        a, b, _ = self.coefficients(t)
        return -np.einsum("...ij,...j->...i", a, inventory) - b

    def reservation(self, side: int, t: Any, inventory: Any, pair: int) -> Any:
        """Reservation distances of one pair for every size, bp, shape (..., sizes)."""
        a, _, _ = self.coefficients(t)
        slope = self.slope(t, inventory)[..., pair, None]
        return -side * slope + 0.5 * self.problem.pairs[pair].sizes * a[..., pair, pair, None]

    def reservations(self, t: Any, inventory: Any, pair: Any, side: Any, size: Any) -> Any:
        """Reservation distances of single requests, bp: `inventory` is (n, pairs), all else of shape (n,)."""
        number = np.arange(np.size(pair))
        a, _, _ = self.coefficients(t)
        return -side * self.slope(t, inventory)[number, pair] + 0.5 * size * a[number, pair, pair]

    def quotes(self, t: Any = 0.0, pair: Any = 0, **state: Any) -> Quotes:
        """Distances of one pair (counted from 0), bp, shape (..., tiers, sizes); nan where a fill passes its limit."""
        check_number("pair", pair, self.problem.dimension)
        dealer, q = self.problem.pairs[pair], self._positions(state)
        ladders = []
        for side in (+1, -1):
            distance = dealer.response(side, self.reservation(side, t, q, pair))[0]
            ladders.append(np.where(dealer.room(side, q[..., pair])[..., None, :], distance, np.nan))
        return Quotes(*ladders)

    def hedge_rate(self, t: Any = 0.0, **state: Any) -> Any:
        """`v`, M per day bought in every pair's market (negative: sold), shape (..., pairs)."""
        q = self._positions(state)
        pressure = self.slope(t, q) + self.problem.of_pairs("impact") * q
        rates = []
        for number, pair in enumerate(self.problem.pairs):
            none = np.zeros(q.shape[:-1])
            rates.append(none if pair.hedging is None else pair.hedging.rate(pressure[..., number]))
        return np.stack(rates, axis=-1)

    def internalisation_threshold(self, t: float = 0.0, pair: int = 0) -> Band:
        """Up to which positions (M) of one pair the dealer waits for clients, at `t` and with nothing of the others."""
        check_number("pair", pair, self.problem.dimension)
        dealer = self.problem.pairs[pair]
        if dealer.hedging is None:
            return Band(-np.inf, np.inf)

        def pressure(q: Any) -> Any:
            held = np.asarray(q, float)[..., None] * np.eye(self.problem.dimension)[pair]
            return self.slope(t, held)[..., pair] + float(dealer.impact) * np.asarray(q)

        nodes = float(dealer.max_inventory) * np.linspace(-1.0, 1.0, _LOOKED_AT)
        return waiting_band(pressure, float(dealer.hedging.half_spread), nodes)

    @property
    def mean(self) -> Any:
        """There is none: the expansion is of value alone."""
        raise ValueError("a currency book has no expected_wealth; take simulate_currency(...).mean_wealth")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the coefficients as NetCDF with the full case inside, whole or not at all; returns the path."""
        import xarray as xr

        rows = (("time_to_go", "entry"), self.tables.value, {"long_name": "A by rows, B, C"})
        data = xr.Dataset(
            {"value": rows},
            coords={"time_to_go": ("time_to_go", self.tables.tau, {"units": self.problem.units["time"]})},
            attrs=stated(self),
        )
        write_whole(Path(path), lambda part: data.to_netcdf(part, engine="h5netcdf"))
        return Path(path)

    def __repr__(self) -> str:
        pairs, method = self.problem.dimension, type(self.method).__name__
        return f"{type(self).__name__}({pairs} pair{'s' if pairs > 1 else ''} by {method}; {self.result.value})"

    def _positions(self, given: dict[str, Any]) -> np.ndarray:
        unknown = [name for name in given if name != "inventory"]
        if unknown:
            raise TypeError(f"CurrencyBook has no state {unknown[0]!r}; its state is inventory")
        q = np.asarray(given.get("inventory", np.zeros(self.problem.dimension)), float)
        if q.ndim == 0 and self.problem.dimension == 1:
            q = q[None]
        if q.ndim == 0 or q.shape[-1] != self.problem.dimension:
            raise ValueError(f"inventory must have its last axis over {self.problem.dimension} pairs, got {q.shape}")
        check_known("inventory", q)
        return q


def check_known(name: str, value: Any) -> None:
    """Raise `ValueError` where a number is nan."""
    if np.any(np.isnan(value)):
        raise ValueError(f"{name} must be a number, got {value}; leave nan out")


def check_number(name: str, number: Any, count: int) -> None:
    """Raise `ValueError` unless this counts one of so many, from 0."""
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if not whole or not 0 <= number < count:
        raise ValueError(f"{name} must be a whole number from 0 to {count - 1}, got {number}")


class CurrencyBookPolicy(Policy):
    """A book's quotes and hedging as a policy."""

    solution: CurrencyBookSolution

    def __call__(self, t: Any, state: Any) -> Quotes:
        q = self.problem.coordinate(state)
        ladders = [self.solution.quotes(t, pair=pair, inventory=q) for pair in range(self.problem.dimension)]
        return Quotes(tuple(ladder.bid for ladder in ladders), tuple(ladder.ask for ladder in ladders))

    def hedge(self, t: Any, state: Any) -> Any:
        """`v`, M per day, shape (..., pairs)."""
        return self.solution.hedge_rate(t, inventory=self.problem.coordinate(state))


def stated(solution: Solution) -> dict[str, Any]:
    """What a file says about the solution in it beside the numbers."""
    described = {"problem": case.to_data(solution.problem), "method": method_to_data(solution.method)}
    return {
        "title": f"twosided solution of a {type(solution.problem).__name__}",
        "case": json.dumps(described),
        "stats": json.dumps({**solution.stats, "iterations": int(solution.tables.iterations)}),
        "residual": float(solution.tables.residual),
    }


def restored_book(problem: CurrencyBook, method: Any, data: Any) -> CurrencyBookSolution:
    """The solution that `save` wrote as `data`."""
    stats = json.loads(data.attrs["stats"])
    return CurrencyBookSolution(
        problem, method, _tables(data["time_to_go"].values, data["value"].values, stats), 1, stats
    )


def _tables(tau: np.ndarray, rows: np.ndarray, stats: dict[str, Any]) -> Tables:
    entries, unknown = np.arange(rows.shape[1], dtype=float), np.full((1, 1), np.nan)
    return Tables(tau, (entries,), rows, None, None, None, 0.0, unknown, unknown, stats.pop("iterations"))


def solve_book(problem: CurrencyDealer | CurrencyBook, method: Any, times: int = 256) -> CurrencyBookSolution:
    """The expansion's coefficients over time; called by `solve` with `ClosedForm()`.

    Raises `ValueError` where impact is worth so much beside risk that the dealer's best is to push its own prices: no
    quadratic value then holds over the horizon, or more than a hundredth of it is missed (see `_currency_push`).
    """
    if is_traced(problem):
        raise ValueError("CurrencyBook is solved outside jit, grad and vmap: its numbers are worked out by NumPy")
    started = time.perf_counter()
    book = as_book(problem)
    fixed, tau = riccati(book), clock(times) * float(book.horizon)
    rows, evaluations = _over_time(book, fixed, tau)
    pushed, value = pushing(book, fixed.spread(fixed.stationary())), -float(rows[-1, -1])
    if pushed > max(_UNSEEN * abs(value), _NOTHING):
        raise ValueError(
            f"{type(problem).__name__}: pushing prices before the horizon would add about {pushed:.3g} bp M to "
            f"{value:.3g}, which ClosedForm() does not see; raise terminal to half of hedging's impact" + _INSTEAD
        )
    stats = {
        "method": "ClosedForm",
        "seconds": time.perf_counter() - started,
        "market": fixed.market.tolist(),
        "pushing": pushed,
    }
    return CurrencyBookSolution(book, method, _tables(tau, rows, {"iterations": evaluations}), 1, stats)


def _over_time(book: CurrencyBook, fixed: Riccati, tau: np.ndarray) -> tuple[np.ndarray, int]:
    """`A`, `B` and `C` at every `tau`, and how often their rates were asked for."""
    d = book.dimension
    terminal = 2 * np.diag(book.of_pairs("terminal"))
    usual = np.abs(fixed.stationary()) + np.diag(fixed.impact + fixed.risk.diagonal() * fixed.horizon) + terminal
    largest = _ESCAPED * max(float(np.max(usual)), np.finfo(float).tiny)

    def rate(_: float, y: np.ndarray) -> np.ndarray:
        da, db, dc = fixed.change(y[: d * d].reshape(d, d), y[d * d : -1])
        return np.concatenate([da.ravel(), db, [dc]])

    def held(_: float, y: np.ndarray) -> float:
        return largest - float(np.max(np.abs(y[: d * d])))

    held.terminal = True  # type: ignore[attr-defined]
    start = np.concatenate([terminal.ravel(), np.zeros(d + 1)])
    found = solve_ivp(rate, (0.0, tau[-1]), start, method="LSODA", t_eval=tau, rtol=1e-10, atol=1e-12, events=held)
    if found.status == 1:
        raise ValueError(
            f"CurrencyBook: risk is so small beside hedging's impact that ClosedForm() has no value from "
            f"{float(found.t_events[0][0]):.2g} days before the horizon on, where pushing prices gains without bound; "
            "raise risk_aversion, or lower impact, the horizon or correlations near +-1" + _INSTEAD
        )
    return found.y.T if found.success else np.full((tau.size, start.size), np.nan), found.nfev
