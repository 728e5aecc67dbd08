"""A book simulated exactly: fills by thinning with bounds of their own to every path, prices by their exact law.

Between fills the inventory rests. So the integrals of what it costs are exact, and given the fills the gain from prices
is normal: mean `int income dt`, variance `V = int q' Sigma q dt`. It is drawn once per path, which is the exact law of
correlated Brownian prices, and what an estimate does not need of it is averaged analytically. Likewise the mean of what
fills earn is estimated from the rate at which they are expected to, at a random instant between any two candidates,
which is unbiased and far quieter than the fills themselves.

Time is cut into windows that narrow towards the horizon. From its state a path looks at the policy now and at its
window's end; the larger of the two total intensities, and a margin, bounds the rate of candidates until then. At a
candidate the policy is asked and the candidate is a fill of one asset and side with its share of the bound, or none
(Lewis and Shedler 1979). An intensity above the bound is an error, never clipped.
A path's draws depend on the seed and its number only: fills are the same whatever the batch, sums up to rounding.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..hjb.solution import Solution, write_whole
from ..models import case
from ..models.channels import Quotes
from ..models.multi_asset import MultiAssetDealer
from ..models.objectives import ExponentialUtility, MeanVariance
from . import _batches
from ._outcome import Row, Simulation
from ._quoting import with_numbers_as
from ._randomness import key_of, normal, stream, uniform, words

BATCH = 4096
WINDOWS = 16
_MARGIN = 1.25  # for what happens between a window's ends
_TURNS = 500  # of the loop between two looks of the host
_PRICE, _CLOCK, _INSTANT = 0, 1, 2  # streams of random numbers


@dataclass(frozen=True, repr=False)
class BookSimulation(Simulation):
    """Outcome of a run of a book: as `Simulation`, but inventories and fills have the assets on their last axis.

    wealth:          at the horizon above the marked book of time 0, money, shape (paths,), prices drawn.
    earned:          its mean given the fills, and
    price_variance:  its variance given the fills, money squared.
    accrued:         what was earned, the fills' income at its expected rate: the same mean, less noise. Estimates use
                     these three; `charge` takes what an objective charges for fills at its expected rate, too.
    inventory, bid_fills, ask_fills: shape (paths, d). mean_spread: shape (d,).
    """

    problem: Any
    initial: Any
    mean_spread: Any
    earned: Any = None
    accrued: Any = None
    price_variance: Any = None

    @cached_property
    def mean_wealth(self) -> float:
        """Estimate of `E[W_T]`, money."""
        return float(np.mean(self.accrued))

    @cached_property
    def variance(self) -> float:
        """Estimate of `Var[W_T]`, money squared: of what fills earn, and of prices given the fills."""
        return float(np.var(self.earned, ddof=1) + np.mean(self.price_variance))

    @property
    def standard_error(self) -> float:
        """Of `mean_wealth`, money."""
        return _error(self.accrued)

    @cached_property
    def variance_standard_error(self) -> float:
        """Of `variance`, money squared."""
        return _error((self.earned - np.mean(self.earned)) ** 2 + self.price_variance)

    @cached_property
    def mean_inventory(self) -> np.ndarray:
        """At the horizon, shape (d,)."""
        return np.mean(self.inventory, axis=0)

    @cached_property
    def std_inventory(self) -> np.ndarray:
        """Standard deviation at the horizon, shape (d,)."""
        return np.std(self.inventory, axis=0, ddof=1)

    @property
    def fills(self) -> Quotes:
        """Mean number of fills of each bid and each ask, shapes (d,)."""
        return Quotes(np.mean(self.bid_fills, axis=0), np.mean(self.ask_fills, axis=0))

    @cached_property
    def score(self) -> np.ndarray:
        """Each path's contribution to the criterion, money, averaged over prices given its fills."""
        objective, risk = self.problem.objective, self.price_variance
        if isinstance(objective, ExponentialUtility):
            return np.asarray(objective.score(self.earned - 0.5 * objective.risk_aversion * risk, self.charge))
        if isinstance(objective, MeanVariance):
            spread = np.asarray(objective.score(self.earned, self.charge)) - self.earned
            return self.accrued + spread - 0.5 * objective.risk_aversion * risk
        return np.asarray(objective.score(self.accrued, self.charge))

    @cached_property
    def criterion_standard_error(self) -> float:
        return _error(self.score)

    def rows(self, predicted: Solution | None = None) -> list[Row]:
        """The estimates, beside what `predicted` says of its own policy from the same start; then asset by asset."""
        if predicted is not None and case.to_data(predicted.problem) != case.to_data(self.problem):
            raise ValueError(
                f"predicted solves {predicted.problem}, but simulated was {self.problem}; solve the problem simulated"
            )
        mean, value, variance = self._predictions(predicted)
        units, root = self.problem.units, math.sqrt(self.paths)
        rows = [
            Row("mean wealth", units["money"], self.mean_wealth, self.standard_error, mean),
            Row("variance of wealth", units["money"] + "^2", self.variance, self.variance_standard_error, variance),
            Row("criterion", units["money"], self.criterion, self.criterion_standard_error, value),
        ]
        for i in range(self.problem.dimension):
            deviation, centred = float(self.std_inventory[i]), self.inventory[:, i] - self.mean_inventory[i]
            rows += [
                Row(f"mean inventory {i}", units["state"], float(self.mean_inventory[i]), deviation / root, math.nan),
                Row(
                    f"std of inventory {i}",
                    units["state"],
                    deviation,
                    _error(centred**2) / (2 * deviation) if deviation else 0.0,
                    math.nan,
                ),
                Row(f"mean spread {i}", units["distance"], float(self.mean_spread[i]), math.nan, math.nan),
                Row(f"bid fills {i}", "per path", float(self.fills.bid[i]), _error(self.bid_fills[:, i]), math.nan),
                Row(f"ask fills {i}", "per path", float(self.fills.ask[i]), _error(self.ask_fills[:, i]), math.nan),
            ]
        return rows

    def _predictions(self, solution: Any) -> tuple[float, float, float]:
        if solution is None:
            return math.nan, math.nan, math.nan
        start = {"inventory": np.asarray(self.initial["inventory"])}
        value = float(solution.value(0.0, **start))
        try:
            mean = float(solution.expected_wealth(0.0, **start))
        except ValueError:  # an approximation that knows the value only
            return math.nan, value, math.nan
        objective = solution.problem.objective
        if not isinstance(objective, MeanVariance) or objective.risk_aversion == 0:
            return mean, value, math.nan
        return mean, value, 2 * (mean - value) / float(objective.risk_aversion)  # V = g - (lambda/2) Var

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write NetCDF with units and the full case inside, whole or not at all; returns the path."""
        import xarray as xr

        units = self.problem.units
        fields = {
            "wealth": (units["money"], "wealth at the horizon"),
            "earned": (units["money"], "its mean given the fills"),
            "accrued": (units["money"], "likewise, with the income of fills at its expected rate"),
            "price_variance": (units["money"] + "^2", "its variance given the fills"),
            "charge": (units["money"], "charged to the criterion, apart from wealth"),
            "inventory": (units["state"], "inventory at the horizon"),
            "bid_fills": ("1", "fills of the bids"),
            "ask_fills": ("1", "fills of the asks"),
        }
        variables: dict[str, Any] = {
            name: (
                ("path", "asset")[: getattr(self, name).ndim],
                getattr(self, name),
                {"units": unit, "long_name": text},
            )
            for name, (unit, text) in fields.items()
        }
        variables["mean_spread"] = ("asset", self.mean_spread, {"units": units["distance"], "long_name": "mean spread"})
        settings = {name: getattr(self, name) for name in ("rule", "steps", "seed", "initial")}
        stated = {"problem": case.to_data(self.problem), "simulation": settings}
        attrs = {"title": "twosided simulation", "case": json.dumps(stated), "policy": self.policy, "book": 1}
        data, path = xr.Dataset(variables, attrs=attrs), Path(path)
        write_whole(path, lambda part: data.to_netcdf(part, engine="h5netcdf"))
        return path


def restored(problem: Any, settings: dict[str, Any], data: Any) -> BookSimulation:
    """The simulation from a dataset that `BookSimulation.save` wrote."""
    arrays = {name: data[name].values for name in data.data_vars}
    return BookSimulation(problem, policy=str(data.attrs["policy"]), **settings, **arrays)


def _error(sample: Any) -> float:
    """Standard error of a sample's mean."""
    return float(np.std(sample, ddof=1)) / math.sqrt(len(sample))


class _Paths(NamedTuple):
    """A batch of paths, float64 unless said otherwise, (paths,) or (paths, d)."""

    window: Any  # int32
    left: Any  # time left in the window
    count: Any  # of candidates and windows so far, uint32: the random numbers' counter
    inventory: Any
    earned: Any
    accrued: Any
    variance: Any
    charge: Any
    bids: Any  # int32
    asks: Any
    spread_time: Any  # integral of bid + ask over the time with both quotes, and that time
    quoted_time: Any
    above: Any  # the total intensity that exceeded its bound, zero while none has


class _Case(NamedTuple):
    problem: MultiAssetDealer
    policy: Callable[..., Any]
    edges: Any  # times to go at the windows' ends, falling from the horizon to 0
    key: Any


class _Quoted(NamedTuple):
    distance: Any  # (paths, 2, d), bid then ask
    rate: Any  # likewise, zero where not quoted
    total: Any  # (paths,)


def simulate_book(
    problem: MultiAssetDealer,
    policy: Callable[..., Any],
    paths: int,
    seed: int,
    initial: Mapping[str, Any] | None,
    steps: int | None,
    progress: bool | None,
    batch: int | None,
) -> BookSimulation:
    """Simulate `policy` on a book; see `simulate`. `steps` are the windows over which intensities are bounded.

    Raises `BoundError` where an intensity exceeds its bound.
    """
    unknown = [name for name in initial or {} if name not in problem.names]
    if unknown:
        raise TypeError(f"{type(problem).__name__} has no state {unknown[0]!r}; its state is inventory")
    start = problem.coordinate(initial or {})
    if start.shape != (problem.dimension,) or not np.all(np.isfinite(start)):
        raise ValueError(f"initial: inventory must be {problem.dimension} finite numbers, got {start}; one per asset")
    _refuse_start(problem, start)
    windows = WINDOWS if steps is None else steps
    whole, quoting = (with_numbers_as(np.float64, x) for x in (problem, policy))
    edges = float(problem.horizon) * (1 - np.arange(windows + 1) / windows) ** 2
    run_case = _Case(whole, quoting, edges, key_of(seed))
    size = _batches.batch_size(paths, BATCH, batch)

    def run(first: int, report: _batches.Report) -> tuple[_Paths, Any]:
        ended = _run(run_case, start, first, size, report)
        _refuse_above(run_case, ended, paths - first)
        return ended, _shocks(run_case.key, np.uint32(first) + np.arange(size, dtype=np.uint32))

    task = f"simulating {paths:,} paths"
    ended, shock = _batches.compute(run, paths, size, task, progress, double=True)
    charge = ended.charge + np.asarray(problem.terminal_cost(ended.inventory))
    quoted_time = np.sum(ended.quoted_time, axis=0)
    return BookSimulation(
        problem=problem,
        policy=type(policy).__name__,
        rule="exact",
        steps=steps,
        seed=seed,
        initial={"inventory": start.tolist()},
        wealth=ended.earned + np.sqrt(ended.variance) * shock,
        inventory=ended.inventory,
        charge=charge,
        bid_fills=ended.bids,
        ask_fills=ended.asks,
        mean_spread=np.where(
            quoted_time > 0, np.sum(ended.spread_time, axis=0) / np.maximum(quoted_time, 1e-300), np.nan
        ),
        earned=ended.earned,
        accrued=ended.accrued,
        price_variance=ended.variance,
    )


def _refuse_start(problem: MultiAssetDealer, start: np.ndarray) -> None:
    if np.any(np.abs(start - np.round(start)) > 1e-9):
        raise ValueError(f"initial: inventory must be a whole number of lots in every asset, got {start}")
    beyond = np.flatnonzero(np.abs(start) > problem.limit * (1 + 1e-9))
    if beyond.size:
        asset = int(beyond[0])
        limit = float(np.broadcast_to(problem.limit, start.shape)[asset])
        raise ValueError(
            f"initial: inventory={start[asset]:g} lies beyond the limit of +-{limit:g} lots of asset {asset}; start "
            "within it"
        )


def _run(run_case: _Case, start: np.ndarray, first: int, size: int, report: _batches.Report) -> _Paths:
    windows, d = run_case.edges.size - 1, run_case.problem.dimension
    zero, none = np.zeros(size), np.zeros((size, d))
    paths = _Paths(
        window=np.zeros(size, np.int32),
        left=zero + (run_case.edges[0] - run_case.edges[1]),
        count=np.zeros(size, np.uint32),
        inventory=none + start,
        earned=zero,
        accrued=zero,
        variance=zero,
        charge=zero,
        bids=none.astype(np.int32),
        asks=none.astype(np.int32),
        spread_time=none,
        quoted_time=none,
        above=zero,
    )
    before = 0.0
    while before < 1.0:
        paths, done = _advance(run_case, paths, np.uint32(first))
        report(float(done) / windows - before)
        before = float(done) / windows
    return paths


@eqx.filter_jit
def _shocks(key: Any, lanes: Any) -> Any:
    return normal(words(stream(key, _PRICE), lanes, jnp.zeros_like(lanes))[0])


@eqx.filter_jit
def _advance(run_case: _Case, paths: _Paths, first: Any) -> tuple[_Paths, Any]:
    """Up to `_TURNS` candidates more for every path, and the mean number of windows behind them."""
    windows = run_case.edges.shape[0] - 1
    lanes = first + jnp.arange(paths.left.shape[0], dtype=jnp.uint32)

    def going(state: Any) -> Any:
        return jnp.any(_under_way(state[0], windows)) & (state[1] < _TURNS)

    def turn(state: Any) -> Any:
        paths, n = state
        after = _turn(run_case, paths, lanes)
        under_way = _under_way(paths, windows)
        kept = [
            jnp.where(under_way.reshape(-1, *(1,) * (old.ndim - 1)), new, old)
            for new, old in zip(after, paths, strict=True)
        ]
        return _Paths(*kept), n + 1

    paths, _ = lax.while_loop(going, turn, (paths, jnp.zeros((), jnp.int32)))
    behind = jnp.where(_under_way(paths, windows), paths.window, windows)
    return paths, jnp.mean(behind.astype(jnp.float64))


def _under_way(paths: _Paths, windows: int) -> Any:
    return (paths.window < windows) & (paths.above == 0)


def _turn(run_case: _Case, paths: _Paths, lanes: Any) -> _Paths:
    """Every path to its next candidate or to its window's end, whichever comes first."""
    problem, edges = run_case.problem, jnp.asarray(run_case.edges)
    end = edges[jnp.minimum(paths.window + 1, edges.shape[0] - 1)]
    q = paths.inventory
    now, then = (_quoted(run_case, tau, q).total for tau in (end + paths.left, end))
    bound = _MARGIN * jnp.maximum(now, then) + 1e-9 / problem.horizon
    clock, mark = (uniform(word) for word in words(stream(run_case.key, _CLOCK), lanes, paths.count))
    wait = -jnp.log(clock) / bound
    candidate = wait < paths.left
    dt = jnp.where(candidate, wait, paths.left)
    asked = _quoted(run_case, end + paths.left - dt, q)

    # The mark picks a channel with its share of the bound, or none beyond all of them.
    rates = asked.rate.reshape(q.shape[0], -1)
    channel = jnp.sum(jnp.cumsum(rates, axis=-1) <= (mark * bound)[:, None], axis=-1)
    hit = jax.nn.one_hot(jnp.where(candidate, channel, rates.shape[-1]), rates.shape[-1]).reshape(asked.rate.shape)
    lot = jnp.broadcast_to(problem.lot, asked.rate.shape)
    income = lot * jnp.where(hit > 0, asked.distance, 0.0)

    # One look at a random instant on the way: times its length, the integral's unbiased estimate.
    instant = uniform(words(stream(run_case.key, _INSTANT), lanes, paths.count)[0])
    seen = _quoted(run_case, end + paths.left - instant * dt, q)
    expected = seen.rate * lot * jnp.where(seen.rate > 0, seen.distance, 0.0)
    cost = seen.rate * problem.objective.fill_cost(lot * jnp.where(seen.rate > 0, seen.distance, 0.0))
    both = jnp.all(seen.rate > 0, axis=1)
    growth, variance_rate = problem.income(q), problem.variance_rate(q)
    path_rate = problem.objective.path_rate(jnp.sqrt(variance_rate), jnp.sqrt(jnp.sum(q * q, axis=-1)))

    wrong = ~(asked.total <= bound) & candidate | ~jnp.isfinite(bound)
    opened = jnp.minimum(paths.window + 1, edges.shape[0] - 2)
    return _Paths(
        window=paths.window + jnp.where(candidate, 0, 1),
        left=jnp.where(candidate, paths.left - dt, edges[opened] - edges[opened + 1]),
        count=paths.count + np.uint32(1),
        inventory=q + hit[:, 0] - hit[:, 1],
        earned=paths.earned + growth * dt + jnp.sum(income, axis=(1, 2)),
        accrued=paths.accrued + (growth + jnp.sum(expected, axis=(1, 2))) * dt,
        variance=paths.variance + variance_rate * dt,
        charge=paths.charge + (path_rate + jnp.sum(cost, axis=(1, 2))) * dt,
        bids=paths.bids + hit[:, 0].astype(jnp.int32),
        asks=paths.asks + hit[:, 1].astype(jnp.int32),
        spread_time=paths.spread_time + jnp.where(both, jnp.sum(seen.distance, axis=1), 0.0) * dt[:, None],
        quoted_time=paths.quoted_time + jnp.where(both, dt[:, None], 0.0),
        above=jnp.where(wrong, jnp.where(jnp.isfinite(asked.total), asked.total, jnp.inf), 0.0),
    )


def _quoted(run_case: _Case, tau: Any, q: Any) -> _Quoted:
    """What the policy quotes and how often it is hit; a side is off where it says nan or inf, or at the limit."""
    problem = run_case.problem
    answer = run_case.policy(problem.horizon - tau, problem.state(q))
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise ValueError(f"policy must return Quotes(bid, ask), two distances, got {type(answer).__name__}")
    distances, rates = [], []
    for side, distance in zip((+1, -1), answer, strict=True):
        distance = jnp.broadcast_to(jnp.asarray(distance, q.dtype), q.shape)
        on = (distance < jnp.inf) & problem.may_fill(side, q)
        distances.append(distance)
        rates.append(jnp.where(on, problem.demands(side)._intensity(jnp.where(on, distance, 0.0)), 0.0))
    rate = jnp.stack(rates, axis=1)
    return _Quoted(jnp.stack(distances, axis=1), rate, jnp.sum(rate, axis=(1, 2)))


def _refuse_above(run_case: _Case, ended: _Paths, paths: int) -> None:
    """Raise `BoundError` for the first path that an intensity stopped; lanes beyond `paths` only fill the batch."""
    from .simulation import BoundError

    above = np.asarray(ended.above)[:paths]
    if not np.any(above):
        return
    culprit = int(np.flatnonzero(above)[0])
    windows = run_case.edges.size - 1
    tau = run_case.edges[int(ended.window[culprit]) + 1]
    t, q = float(run_case.problem.horizon) - tau, np.asarray(ended.inventory)[culprit]
    raise BoundError(
        f"near t={t:.6g}, inventory={q}, the policy's total intensity {above[culprit]:.6g} exceeds the bound from its "
        f"window's ends: it changes too fast for {windows} windows; give steps={4 * windows} or more, smooth the "
        "policy, or floor its distances"
    )
