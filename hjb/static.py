"""Static quotes: the pair of distances that never changes, best for `E[W_T] - (lambda/2) Var[W_T]` seen from time 0.

The dealer who does not look at its inventory is the yardstick of every rule that does. A pair `(b, a)` is quoted from
now to the horizon, whatever happens, except where a fill would cross the limit; mean and variance of a pair come from
the linear equations of `evaluation` and do not depend on `lambda`. So they are computed once, at Chebyshev points, and
the best pair for any `lambda` is read off. One step of Newton's method on the equations themselves then takes away what
the interpolation missed. All of it runs on a rough grid: near a maximum an error of the pair costs its square only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
_SAMPLES = 128  # a side, at which the search for the best pair begins
_NEAREST = -0.5  # least distance tried, in reciprocal hazards at the reference price
_FEWEST = 0.02  # fills of a side over the horizon, below which it is as good as not quoted
_TILT = 2.5  # largest logarithm of the ratio of the rates
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

    Both distances are nan where it is best not to quote at all. Pairs are sought among those whose sides are filled
    at rates that differ by a factor of 12 at most: a static dealer whose flows do not balance soon rests at its limit.
    The problem's own objective plays no part. Raises `ValueError` where a side has no demand, where the cash account
    matters by itself, and where the book is cut back overnight.
    """
    if getattr(problem, "cash_matters", False) or problem.days > 1:
        raise ValueError(
            "static quotes are sought in one account and within a day: leave out borrowing_rate, credit_line, margin "
            "and overnight"
        )
    grid = np.meshgrid(_points(_LEVELS), _points(_TILTS), indexing="ij")
    found = _moments(problem, np.stack(_pairs(problem, *(axis.ravel() for axis in grid))), initial)
    mean, variance = (_fit(values.reshape(_LEVELS, _TILTS)) for values in found)
    aversions = np.asarray(risk_aversions, float)
    best = np.array([_maximiser(mean - 0.5 * aversion * variance) for aversion in aversions])
    pairs = _polished(problem, aversions, np.stack(_pairs(problem, *best.T)), initial)
    *worth, unquoted = _moments(problem, np.column_stack([pairs, [np.nan, np.nan]]), initial).T
    gains = [(m - unquoted[0]) - 0.5 * lam * (v - unquoted[1]) for lam, (m, v) in zip(aversions, worth, strict=True)]
    return [
        StaticQuotes(problem, *(pair if gain > 0 else (np.nan, np.nan)))
        for pair, gain in zip(pairs.T, gains, strict=True)
    ]


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
    step = np.clip(_STEP * np.where(peaked, step, 0.0), -_REACH, _REACH)
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


def _pairs(problem: Problem, level: Any, tilt: Any) -> tuple[Any, Any]:
    """Bid and ask distances for points of [-1, 1]^2: how often both sides are filled, and which of them more often."""
    demands = (problem.bid_demand, problem.ask_demand)
    units = [float(demand.reciprocal_hazard(0.0)) for demand in demands]
    if not all(unit > 0 and float(demand.intensity(0.0)) > 0 for demand, unit in zip(demands, units, strict=True)):
        raise ValueError("static quotes need demand on both sides; a side whose scale is 0 is never filled")
    most = [np.log(demand.intensity(_NEAREST * unit)) for demand, unit in zip(demands, units, strict=True)]
    highest = min(most) - 0.5 * _TILT
    lowest = min(np.log(_FEWEST / float(problem.horizon)), highest - 1)
    middle = highest + 0.5 * (np.asarray(level) + 1) * (lowest - highest)
    half = 0.5 * _TILT * np.asarray(tilt)
    bid, ask = (
        _distance(demand, middle + sign * half, unit)
        for demand, unit, sign in zip(demands, units, (1, -1), strict=True)
    )
    return bid, ask


def _distance(demand: Any, log_rate: Any, unit: float) -> Any:
    """Where demand has fallen to `e^{log_rate}`: by bisection, which every demand allows."""
    low, high = np.full(np.shape(log_rate), _NEAREST * unit), np.full(np.shape(log_rate), unit)
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
