"""Minimising a cost in statistical units, minus a log-likelihood or what takes its place, by damped Gauss-Newton steps.

The steps end when another would gain less than `_NEGLIGIBLE` of one unit of log-likelihood, which is far less than the
data can tell. A point where the problem cannot be solved has no finite cost, and no step is taken there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_NEGLIGIBLE = 1e-9
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-12, 1e12
_STRIDE = 1.0  # the longest step in any coordinate: a factor of e where it is a logarithm
_EVALUATIONS = 200
_HOPELESS = 50.0  # units of log-likelihood behind the best point seen


class Slopes(NamedTuple):
    """A cost at a point with its gradient (free,) and the positive matrix that stands for its curvature."""

    cost: float
    gradient: np.ndarray
    curvature: np.ndarray

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.cost) and np.isfinite(self.gradient).all() and np.isfinite(self.curvature).all())


class Minimum(NamedTuple):
    at: np.ndarray
    here: Slopes
    converged: bool


def descend(evaluate: Callable[[np.ndarray], Slopes], start: np.ndarray) -> Minimum:
    """The minimum that steps from `start` lead to; raises `ValueError` where the start itself has no finite cost."""
    at, here = np.array(start, float), evaluate(np.array(start, float))
    if not here.finite:
        raise ValueError(
            "the problem cannot be solved where the estimation starts; state it with a smaller risk aversion"
        )
    damping = _FIRST_DAMPING
    for _ in range(_EVALUATIONS):
        step, gain = _step(here, damping)
        if gain < _NEGLIGIBLE:
            return Minimum(at, here, True)
        there = evaluate(at + step)
        if there.finite and there.cost < here.cost:
            at, here, damping = at + step, there, max(damping / 10, _LEAST_DAMPING)
        elif damping >= _MOST_DAMPING:
            break
        else:
            damping = 10 * damping
    return Minimum(at, here, False)


def _step(here: Slopes, damping: float) -> tuple[np.ndarray, float]:
    """A damped step, and what it promises to gain; the damping is relative to each coordinate's own curvature."""
    diagonal = np.diag(here.curvature)
    unit = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = here.curvature / np.outer(unit, unit)
    step = -np.linalg.solve(scaled + damping * np.eye(len(unit)), here.gradient / unit) / unit
    step = step * min(1.0, _STRIDE / max(float(np.max(np.abs(step))), 1e-300))
    return step, float(-here.gradient @ step - 0.5 * step @ here.curvature @ step)


def scan(evaluate: Callable[[np.ndarray], Slopes], start: np.ndarray, reach: float, points: int) -> np.ndarray:
    """The best of `points` that differ in the first coordinate, as far as `reach` either way, to descend from.

    It walks outwards and turns back where the cost has become hopeless: far out a problem takes long to solve.
    """
    first = start[0] + np.linspace(-reach, reach, points)
    cost = np.full(points, np.inf)
    for order in (range(points // 2, points), range(points // 2 - 1, -1, -1)):
        for i in order:
            found = evaluate(np.concatenate([[first[i]], start[1:]])).cost
            cost[i] = found if np.isfinite(found) else np.inf
            if i != points // 2 and cost[i] > cost.min() + _HOPELESS:
                break
    return np.concatenate([[first[np.argmin(cost)]], start[1:]])


def profile(evaluate: Callable[[np.ndarray], Slopes], minimum: Minimum, first: np.ndarray) -> np.ndarray:
    """The least cost at each value of the first coordinate, the others free; neighbours start from one another."""
    cost = np.full(first.shape, np.inf)
    middle = int(np.argmin(np.abs(first - minimum.at[0])))
    for order in (range(middle, len(first)), range(middle - 1, -1, -1)):
        rest = minimum.at[1:]
        for i in order:

            def within(rest: np.ndarray, x: float = first[i]) -> Slopes:
                here = evaluate(np.concatenate([[x], rest]))
                return Slopes(here.cost, here.gradient[1:], here.curvature[1:, 1:])

            if not rest.size:
                here = within(rest)
                cost[i] = here.cost if np.isfinite(here.cost) else np.inf
                continue
            try:
                found = descend(within, rest)
            except ValueError:
                break
            cost[i], rest = found.here.cost, found.at
    return cost
