"""Static quotes: the pair of distances that never changes, best for `E[W_T] - (lambda/2) Var[W_T]` seen from time 0.

The dealer who does not look at its inventory is the yardstick of every rule that does. A pair `(b, a)` is quoted from
now to the horizon, whatever happens, except where a fill would cross the limit; mean and variance of a pair come from
the linear equations of `evaluation` and do not depend on `lambda`. So they are computed once, at Chebyshev points, and
the best pair for any `lambda` is read off: among pairs whose flows nearly balance, among those where one side is far
busier than the other, and among single quotes, which sell or buy only. One step of Newton's method on the equations
themselves then takes away what the interpolation missed. All of it runs on a rough grid: near a maximum an error of the
pair costs its square only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

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

_LEVELS, _TILTS = 16, 30  # Chebyshev points: in the logarithm of both rates of fills, and in that of their ratio
_LOPSIDED = 12, 10  # likewise, where one side is busier by more than `_TILT`
_SINGLE = 40  # Chebyshev points of a single quote
_SAMPLES = 128  # a side, at which the search for the best pair begins
_NEAREST = -0.5  # least distance tried, in reciprocal hazards at the reference price
_FEWEST = 0.02  # fills of a side over the horizon, below which it is as good as not quoted
_TILT, _STEEPEST = 2.5, 7.5  # largest logarithms of the ratio of the rates, balanced and not
_DEEPEST = -2.0  # as `_NEAREST`, for the busier side and for a single quote
_STEP, _REACH = 0.02, 0.1  # of the last step's differences, and its greatest length, in reciprocal hazards
_BATCH = 120  # pairs evaluated in one call
_ROUGH = FiniteDifference(nodes_per_lot=2, steps=64, extrapolate=False, tolerance=1e-10)


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

    A distance is nan where that side is better not quoted, both where it is best not to quote at all. Sought are pairs
    whose distances are at least half a reciprocal hazard inside the reference price; where the sides' rates of fills
    differ by more than a factor of 12, the busier side, or the only one, up to two. What lies on that edge is as good
    as such pairs get.
    The problem's own objective plays no part. Raises `ValueError` where a side has no demand, where the cash account
    matters by itself, and where the book is cut back overnight.
    """
    if getattr(problem, "cash_matters", False) or problem.days > 1:
        raise ValueError(
            "static quotes are sought in one account and within a day: leave out borrowing_rate, credit_line, margin "
            "and overnight"
        )
    families: list[Any] = [_balanced, *(partial(_lopsided, busy=busy) for busy in (0, 1))]
    families += [partial(_single, side=side) for side in (0, 1)]
    shapes = [(_LEVELS, _TILTS), _LOPSIDED, _LOPSIDED, (_SINGLE, 1), (_SINGLE, 1)]
    grids = [[axis.ravel() for axis in np.meshgrid(*map(_points, shape), indexing="ij")] for shape in shapes]
    tried = [np.stack(family(problem, *grid)) for family, grid in zip(families, grids, strict=True)]
    found = np.split(
        _moments(problem, np.hstack(tried), initial), np.cumsum([pairs.shape[1] for pairs in tried])[:-1], 1
    )
    aversions, best = np.asarray(risk_aversions, float), []
    for family, shape, moments in zip(families, shapes, found, strict=True):
        mean, variance = (_fit(values.reshape(shape)) for values in moments)
        tops = np.array([_maximiser(mean - 0.5 * aversion * variance) for aversion in aversions])
        best.append(np.stack(family(problem, *tops.T)))
    pairs = _chosen(problem, aversions, np.stack([*best, np.full_like(best[0], np.nan)]), initial)
    polished = _polished(problem, aversions, pairs, initial)
    pairs = _chosen(problem, aversions, np.stack([pairs, polished]), initial)
    return [StaticQuotes(problem, *pair) for pair in pairs.T]


def _chosen(problem: Problem, aversions: np.ndarray, candidates: np.ndarray, initial: Any) -> np.ndarray:
    """The best of the candidates, (candidates, 2, n), for each of n risk aversions: (2, n), by the equations."""
    count, _, n = candidates.shape
    mean, variance = _moments(problem, candidates.swapaxes(0, 1).reshape(2, -1), initial).reshape(2, count, n)
    best = np.argmax(mean - 0.5 * aversions * variance, axis=0)
    return candidates[best, :, np.arange(n)].T


def _polished(problem: Problem, aversions: np.ndarray, pairs: np.ndarray, initial: Any) -> np.ndarray:
    """`pairs`, (2, n), after a step to the top of the paraboloid through seven points around each."""
    units = np.array([[float(demand.reciprocal_hazard(0.0))] for demand in (problem.bid_demand, problem.ask_demand)])
    around = np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1)])
    stencil = pairs[:, None] + _STEP * units[:, None] * around.T[:, :, None]  # (2, 7, n)
    mean, variance = _moments(problem, stencil.reshape(2, -1), initial).reshape(2, 7, -1)
    f, right, left, up, down, both, neither = mean - 0.5 * aversions * variance
    slope = 0.5 * np.stack([right - left, up - down])
    xx, yy = right + left - 2 * f, up + down - 2 * f
    xy = 0.5 * (both + neither - right - left - up - down + 2 * f)
    determinant = xx * yy - xy**2
    peaked = (xx < 0) & (determinant > 0)
    safe = np.where(peaked, determinant, 1.0)
    step = -np.stack([yy * slope[0] - xy * slope[1], xx * slope[1] - xy * slope[0]]) / safe
    alone = np.isnan(pairs[::-1])  # the other side is not quoted
    bend = np.stack([xx, yy])
    single = -slope / np.where(bend < 0, bend, -np.inf)
    step = np.clip(_STEP * np.where(alone, single, np.where(peaked, step, 0.0)), -_REACH, _REACH)
    return pairs + step * units


def _moments(problem: Problem, pairs: np.ndarray, initial: Mapping[str, float] | None) -> np.ndarray:
    """Mean above the marked book and variance of terminal wealth for pairs of shape (2, n), in the same shape.

    By batches of one size, the last filled up with copies, so that one program serves any number.
    """
    levels, count = _ROUGH.levels([problem]), pairs.shape[1]
    inventory = float(problem.coordinate(as_state(problem, initial or {})))
    place = np.full(1, inventory / float(problem.size) * levels.inventory.per_lot + levels.inventory.half)
    filled = np.pad(pairs, ((0, 0), (0, -count % _BATCH)), mode="edge").reshape(2, -1, _BATCH)
    common = under_mean_variance(problem, np.ones(()))
    problems = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (_BATCH, *np.shape(leaf))).copy(), common)
    parts = []
    for bids, asks in filled.swapaxes(0, 1):
        with jax.enable_x64(True):
            rows = evaluated(problems, StaticQuotes(problems, bids, asks), Stop.of(_ROUGH), levels).rows
            parts.append(_along(np.asarray(rows[:, -1]), place))
    return np.concatenate(parts)[:count, ::-1].T


@in_float64
def _along(tables: Any, place: Any) -> Any:
    """Rows of shape (policies, 2, nodes) at one fractional node number."""
    return jax.vmap(jax.vmap(lambda row: cubic(row, place)[0]))(jnp.asarray(tables))


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
    most = [np.log(demand.intensity(_NEAREST * unit)) for demand, unit in zip(demands, units, strict=True)]
    middle = _log_rate(problem, level, min(most) - 0.5 * _TILT)
    half = 0.5 * _TILT * np.asarray(tilt)
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


def _log_rate(problem: Problem, level: Any, highest: float) -> Any:
    """From `highest` down to a rate at which hardly anything is filled, for levels of [-1, 1]."""
    lowest = min(np.log(_FEWEST / float(problem.horizon)), highest - 1)
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
