"""Static quotes: the pair of distances that never changes, best for `E[W_T] - (lambda/2) Var[W_T]` seen from time 0.

The dealer who does not look at its inventory is the yardstick of every rule that does. A pair `(b, a)` is quoted from
now to the horizon, whatever happens, except where a fill would cross a limit; mean and variance of a pair come from
the linear equations of `evaluation` and do not depend on `lambda`. So they are computed once, at Chebyshev points, and
the best pair for any `lambda` is read off: among pairs whose flows nearly balance, among those where one side is far
busier than the other, and among single quotes, which sell or buy only. Steps of Newton's method on the equations
themselves then take away what the interpolation missed. All of it runs on a rough grid: near a maximum an error of the
pair costs its square only.

Where the cash account matters by itself a pair costs a solve in stock and cash. The search is the same, but fewer
points are tried and on a rougher grid than they are polished on, and there is more left for Newton's method to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev

from ..models._precision import in_float64, parameter
from ..models.problem import Problem, as_state
from ._interpolation import cubic
from ._march import Stop
from .evaluation import evaluated, under_mean_variance
from .finite_difference import FiniteDifference
from .policy import Policy
from .solution import check_inside

_SAMPLES = 128  # a side, at which the search for the best pair begins
_NEAREST = -0.5  # least distance tried, in reciprocal hazards at the reference price
_FEWEST = 0.02  # fills of a side over the horizon, below which it is as good as not quoted
_TILT, _STEEPEST = 2.5, 7.5  # largest logarithms of the ratio of the rates, balanced and not
_SHARP = 2.0  # how closely the busiest balanced pairs go up to `_NEAREST`
_DEEPEST = -2.0  # as `_NEAREST`, for the busier side and for a single quote
_STEP, _REACH, _SHORT = 0.02, 0.3, 0.02  # of Newton's differences, its longest step and its last, in reciprocal hazards
_ROUNDS = 10  # of Newton's method at most


class _Search(NamedTuple):
    """How finely pairs are sought."""

    balanced: tuple[int, int]  # Chebyshev points: in the logarithm of both rates of fills, and in that of their ratio
    lopsided: tuple[int, int]  # likewise, where one side is busier by more than `_TILT`
    single: tuple[int, int]  # of a single quote
    tried: FiniteDifference  # grid of these
    polished: FiniteDifference  # and of what the best of them are polished on
    batch: int  # pairs evaluated in one call


_ROUGH = FiniteDifference(nodes_per_lot=2, steps=64, extrapolate=False, tolerance=1e-10)
_ROUGHEST = FiniteDifference(nodes_per_lot=1, steps=64, extrapolate=False, tolerance=1e-6, max_iterations=50)
_PLAIN = FiniteDifference(nodes_per_lot=2, steps=64, extrapolate=False, tolerance=1e-8, max_iterations=100)
_ONE_ACCOUNT = _Search((16, 30), (12, 10), (40, 1), _ROUGH, _ROUGH, batch=120)
_TWO_ACCOUNTS = _Search((12, 16), (8, 6), (16, 1), _ROUGHEST, _PLAIN, batch=1)


class StaticQuotes(Policy):
    """One bid and one ask distance for all times and inventories; nan for a side that is never quoted."""

    bid: Any
    ask: Any

    def __init__(self, problem: Problem, bid: Any, ask: Any):
        self.problem, self.bid, self.ask = problem, parameter(bid), parameter(ask)

    def distances(self, tau: Any, y: Any) -> tuple[Any, Any]:
        blank = jnp.zeros_like(tau + y)
        return blank + self.bid, blank + self.ask


def best_static_quotes(
    problem: Problem, risk_aversions: Sequence[float], initial: Mapping[str, float] | None = None
) -> list[StaticQuotes]:
    """For each risk aversion the static pair with the greatest `E[W_T] - (lambda/2) Var[W_T]` from `initial` at time 0.

    A distance is nan where that side is better not quoted, both where it is best not to quote at all. Pairs are tried
    up to about half a reciprocal hazard inside the reference price; where the sides' rates of fills differ by more than
    a factor of 12, the busier side, or the only one, up to two. Where the cash account matters by itself, `initial`
    tells that, too.

    The pair is the best on a grid of two nodes to a lot and 64 steps, to about a thousandth of a reciprocal hazard. On
    a finer one it falls short of the best by the square of what the rough grid has moved it.

    The problem's own objective plays no part. Raises `ValueError` where a side has no demand, where `initial` lies
    outside the grid, and where the book is cut back overnight.
    """
    if problem.days > 1:
        raise ValueError("static quotes are sought within a day: leave out overnight")
    search = _TWO_ACCOUNTS if getattr(problem, "cash_matters", False) else _ONE_ACCOUNT
    aversions = np.asarray(risk_aversions, float)
    tops = _tops(problem, aversions, search, _Judge(problem, search.tried, search.batch, initial))
    judge = _Judge(problem, search.polished, search.batch, initial)
    pairs = _polished(judge, aversions, _chosen(judge, aversions, tops), _units(problem))
    return [StaticQuotes(problem, *pair) for pair in pairs.T]


class _Judge:
    """Mean above the marked book and variance of terminal wealth for pairs of shape (2, n), in the same shape.

    nan where the equations were not solved to the method's tolerance. What was judged once is remembered.
    """

    def __init__(self, problem: Problem, method: FiniteDifference, batch: int, initial: Mapping[str, float] | None):
        self.problem, self.method, self.batch = problem, method, batch
        self.levels = method.levels([problem])._replace(kept=1)  # of the times, no more than now is asked for
        self.state = as_state(problem, initial or {})
        common = under_mean_variance(problem, np.ones(()))
        self.problems = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (batch, *np.shape(leaf))).copy(), common)
        self.known: dict[bytes, np.ndarray] = {}

    def __call__(self, pairs: np.ndarray) -> np.ndarray:
        asked = [pair.tobytes() for pair in pairs.T]
        new = {key: pair for key, pair in zip(asked, pairs.T, strict=True) if key not in self.known}
        if new:
            self.known.update(zip(new, self._solved(np.stack(list(new.values()), axis=1)).T, strict=True))
        return np.stack([self.known[key] for key in asked], axis=1)

    def _solved(self, pairs: np.ndarray) -> np.ndarray:
        """By batches of one size, the last filled up with copies, so that one program serves any number."""
        count = pairs.shape[1]
        filled = np.pad(pairs, ((0, 0), (0, -count % self.batch)), mode="edge").reshape(2, -1, self.batch)
        parts = [self._batch(*quotes) for quotes in filled.swapaxes(0, 1)]
        return np.concatenate(parts)[:count, ::-1].T

    def _batch(self, bids: np.ndarray, asks: np.ndarray) -> np.ndarray:
        """Variance and mean, (batch, 2)."""
        with jax.enable_x64(True):
            found = evaluated(self.problems, StaticQuotes(self.problems, bids, asks), Stop.of(self.method), self.levels)
            tables, residual = np.asarray(found.rows[:, -1]), np.asarray(found.residual)
        place = [
            self._place(name, np.asarray(axis[0])) for name, axis in zip(self.problem.names, found.axes, strict=False)
        ]
        return np.where(residual[:, None] <= self.method.tolerance, _along(tables, place), np.nan)

    def _place(self, name: str, axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The start, (1,), on an axis."""
        check_inside(self.problem, name, self.state[name], axis, "evaluated")
        return np.reshape(np.asarray(self.state[name], float), 1), axis


@in_float64
def _along(tables: Any, place: list[Any]) -> Any:
    """Tables of shape (policies, 2, nodes, ...) at one place on each axis."""
    return jax.vmap(jax.vmap(lambda row: cubic(row, *place)[0]))(jnp.asarray(tables))


def _tops(problem: Problem, aversions: np.ndarray, search: _Search, judge: _Judge) -> np.ndarray:
    """Likely the best pair of each family for each of n risk aversions, and none at all: (candidates, 2, n)."""
    families: list[Any] = [_balanced, *(partial(_lopsided, busy=busy) for busy in (0, 1))]
    families += [partial(_single, side=side) for side in (0, 1)]
    shapes = [search.balanced, search.lopsided, search.lopsided, search.single, search.single]
    grids = [[axis.ravel() for axis in np.meshgrid(*map(_points, shape), indexing="ij")] for shape in shapes]
    tried = [np.stack(family(problem, *grid)) for family, grid in zip(families, grids, strict=True)]
    found = np.split(judge(np.hstack(tried)), np.cumsum([pairs.shape[1] for pairs in tried])[:-1], 1)
    best = [np.full((2, aversions.size), np.nan)]
    for family, shape, pairs, moments in zip(families, shapes, tried, found, strict=True):
        if not np.isfinite(moments).all():  # no interpolation across what was not solved
            best.append(pairs[:, np.argmax(_worth(moments[..., None], aversions), axis=0)])
            continue
        mean, variance = (_fit(values.reshape(shape)) for values in moments)
        tops = np.array([_maximiser(mean - 0.5 * aversion * variance) for aversion in aversions])
        best.append(np.stack(family(problem, *tops.T)))
    return np.stack(best)


def _worth(moments: np.ndarray, aversions: np.ndarray) -> np.ndarray:
    """`E - (lambda/2) Var`, beyond comparison where it is not known."""
    worth = moments[0] - 0.5 * aversions * moments[1]
    return np.where(np.isfinite(worth), worth, -np.inf)


def _chosen(judge: Any, aversions: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The best of the candidates, (candidates, 2, n), for each of n risk aversions: (2, n), by the equations."""
    count, _, n = candidates.shape
    moments = judge(candidates.swapaxes(0, 1).reshape(2, -1)).reshape(2, count, n)
    return candidates[np.argmax(_worth(moments, aversions), axis=0), :, np.arange(n)].T


def _polished(judge: Any, aversions: np.ndarray, pairs: np.ndarray, units: np.ndarray) -> np.ndarray:
    """`pairs`, (2, n), after steps to the tops of paraboloids around them, until the steps are short.

    Never worse than they were: where a step leads down, the next one is a quarter as long at most.
    """
    pairs, reach, moving = pairs.copy(), np.full(aversions.size, _REACH), np.arange(aversions.size)
    for _ in range(_ROUNDS):
        now = pairs[:, moving]
        around, step = _paraboloid(judge, aversions[moving], now, units)
        step = np.clip(step, -reach[moving], reach[moving])
        ahead = now + step * units
        pairs[:, moving] = _chosen(judge, aversions[moving], np.concatenate([around, ahead[None]]))
        fell = ~np.all((pairs[:, moving] == ahead) | np.isnan(ahead), axis=0)
        reach[moving[fell]] *= 0.25
        moving = moving[np.max(np.abs(step), axis=0) > _SHORT]
        if not moving.size:
            break
    return pairs


def _paraboloid(judge: Any, aversions: np.ndarray, pairs: np.ndarray, units: np.ndarray) -> tuple[Any, Any]:
    """Seven points around each pair of (2, n), shape (7, 2, n), and the step to the top of the paraboloid through them.

    The step is in `units`; where the paraboloid has no top it leads up the slope, `_REACH` far.
    """
    around = np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1)])
    stencil = pairs + _STEP * units * around[:, :, None]
    moments = judge(stencil.swapaxes(0, 1).reshape(2, -1)).reshape(2, 7, -1)
    f, right, left, up, down, both, neither = moments[0] - 0.5 * aversions * moments[1]
    slope = 0.5 * np.stack([right - left, up - down])
    xx, yy = right + left - 2 * f, up + down - 2 * f
    xy = 0.5 * (both + neither - right - left - up - down + 2 * f)
    determinant = xx * yy - xy**2
    peaked = (xx < 0) & (determinant > 0)
    safe = np.where(peaked, determinant, 1.0)
    joint = -np.stack([yy * slope[0] - xy * slope[1], xx * slope[1] - xy * slope[0]]) / safe
    bend = np.stack([xx, yy])
    alone = np.isnan(pairs[::-1])  # the other side is not quoted
    single = -slope / np.where(bend < 0, bend, 1.0)
    steepest = np.max(np.abs(slope), axis=0)
    uphill = _REACH / _STEP * slope / np.where(steepest > 0, steepest, 1.0)
    step = np.where(np.where(alone, bend < 0, peaked), np.where(alone, single, joint), uphill)
    return stencil, np.nan_to_num(_STEP * step)


def _units(problem: Problem) -> np.ndarray:
    """Both sides' reciprocal hazards at the reference price, (2, 1)."""
    return np.array(_demands(problem)[1])[:, None]


def _demands(problem: Problem) -> tuple[tuple[Any, Any], list[float]]:
    """Both sides' demand and their reciprocal hazards at the reference price."""
    demands = (problem.bid_demand, problem.ask_demand)
    units = [float(demand.reciprocal_hazard(0.0)) for demand in demands]
    if not all(unit > 0 and float(demand.intensity(0.0)) > 0 for demand, unit in zip(demands, units, strict=True)):
        raise ValueError("static quotes need demand on both sides; a side whose scale is 0 is never filled")
    return demands, units


def _balanced(problem: Problem, level: Any, tilt: Any) -> tuple[Any, Any]:
    """Bid and ask distances for points of [-1, 1]^2: how often both sides are filled, and which of them more often."""
    demands, units = _demands(problem)
    half = 0.5 * _TILT * np.asarray(tilt)
    room = [
        float(np.log(demand.intensity(_NEAREST * unit))) - sign * half
        for demand, unit, sign in zip(demands, units, (1, -1), strict=True)
    ]
    highest = -np.logaddexp(*(-_SHARP * most for most in room)) / _SHARP  # the lesser, without its kink
    middle = _log_rate(problem, level, highest)
    bid, ask = (
        _distance(demand, middle + sign * half, unit)
        for demand, unit, sign in zip(demands, units, (1, -1), strict=True)
    )
    return bid, ask


def _lopsided(problem: Problem, level: Any, tilt: Any, busy: int) -> tuple[Any, Any]:
    """Likewise, where side `busy` (0 bid, 1 ask) is filled more often by factors of `e^_TILT` to `e^_STEEPEST`."""
    demands, units = _demands(problem)
    most = [float(np.log(demand.intensity(_DEEPEST * unit))) for demand, unit in zip(demands, units, strict=True)]
    rate = _log_rate(problem, level, min(most[busy], most[1 - busy] + _TILT))
    lag = _TILT + 0.5 * (np.asarray(tilt) + 1) * (_STEEPEST - _TILT)
    sides = [_distance(demands[i], rate - (lag if i != busy else 0.0), units[i]) for i in (0, 1)]
    return sides[0], sides[1]


def _single(problem: Problem, level: Any, tilt: Any, side: int) -> tuple[Any, Any]:
    """Likewise, where one side is quoted and the other is not; `tilt` plays no part."""
    demands, units = _demands(problem)
    most = float(np.log(demands[side].intensity(_DEEPEST * units[side])))
    quoted = _distance(demands[side], _log_rate(problem, level, most) + 0.0 * np.asarray(tilt), units[side])
    none = np.full(np.shape(quoted), np.nan)
    return (quoted, none) if side == 0 else (none, quoted)


def _log_rate(problem: Problem, level: Any, highest: Any) -> Any:
    """From `highest` down to a rate at which hardly anything is filled, for levels of [-1, 1]."""
    lowest = np.minimum(np.log(_FEWEST / float(problem.horizon)), highest - 1)
    return highest + 0.5 * (np.asarray(level) + 1) * (lowest - highest)


def _distance(demand: Any, log_rate: Any, unit: float) -> Any:
    """Where demand has fallen to `e^{log_rate}`: by bisection, which every demand allows."""
    low, high = np.full(np.shape(log_rate), _DEEPEST * unit), np.full(np.shape(log_rate), unit)
    wanted = np.exp(log_rate)
    while np.any(short := demand.intensity(high) > wanted):
        high = np.where(short, 2 * high, high)
    for _ in range(60):
        middle = 0.5 * (low + high)
        near = demand.intensity(middle) > wanted
        low, high = np.where(near, middle, low), np.where(near, high, middle)
    return 0.5 * (low + high)


def _points(count: int) -> np.ndarray:
    """Chebyshev points of [-1, 1], rising."""
    return -np.cos(np.pi * (np.arange(count) + 0.5) / count)


def _fit(values: np.ndarray) -> np.ndarray:
    """Chebyshev coefficients on [-1, 1]^2 of values at the Chebyshev points."""
    left, right = (np.linalg.inv(chebyshev.chebvander(_points(count), count - 1)) for count in values.shape)
    return left @ values @ right.T


def _maximiser(coefficients: np.ndarray) -> np.ndarray:
    """Where in [-1, 1]^2 a Chebyshev sum is greatest: the best of a sample, polished by Newton's method."""
    axis = np.linspace(-1.0, 1.0, _SAMPLES + 1)
    if coefficients.shape[1] == 1:  # of one variable: a finer sample will do
        fine = np.linspace(-1.0, 1.0, 32 * _SAMPLES + 1)
        return np.array([fine[np.argmax(chebyshev.chebval(fine, coefficients[:, 0]))], 0.0])
    sample = chebyshev.chebgrid2d(axis, axis, coefficients)
    x = axis[np.array(np.unravel_index(np.argmax(sample), sample.shape))]
    slopes = [chebyshev.chebder(coefficients, axis=i) for i in (0, 1)]
    bends = [[chebyshev.chebder(slope, axis=j) for j in (0, 1)] for slope in slopes]
    start, reach = x.copy(), axis[1] - axis[0]
    for _ in range(8):
        gradient = np.array([chebyshev.chebval2d(x[0], x[1], slope) for slope in slopes])
        hessian = np.array([[chebyshev.chebval2d(x[0], x[1], bend) for bend in row] for row in bends])
        free = ~(((x >= 1) & (gradient > 0)) | ((x <= -1) & (gradient < 0)))
        if not free.any() or np.any(np.linalg.eigvalsh(hessian[np.ix_(free, free)]) >= 0):
            break
        step = np.zeros(2)
        step[free] = -np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        x = np.clip(x + step, np.maximum(start - reach, -1.0), np.minimum(start + reach, 1.0))
    return x
