"""The arrays behind a `Solution`: value, mean and quotes over time and inventory, with residual and error estimate."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..models.problem import Problem
from ._equation import Equation, Grid


class Tables(NamedTuple):
    """Axes: time to go `tau`, ascending from 0 to T (times,), and inventory `y` (nodes,)."""

    tau: Any
    y: Any
    value: Any  # theta, (times, nodes), money at the horizon
    mean: Any  # h, (times, nodes)
    bid: Any  # distances, (times, nodes); nan where no payment makes a fill worth it
    ask: Any
    residual: Any  # the largest defect left by the nonlinear solve, relative
    error: Any  # estimated absolute error of `value`, (times, nodes); nan without an estimate
    quote_error: Any  # estimated absolute error of the distances
    iterations: Any


def clock(steps: int) -> np.ndarray:
    """Times to go, as shares of the horizon: `(j/steps)^2` for j = 0..steps.

    Quotes and values change fastest just before the horizon, whatever the horizon; the square law resolves that and
    keeps the grid a smooth image of an even one, so that halving it stays a refinement that can be extrapolated.
    """
    return np.linspace(0.0, 1.0, steps + 1) ** 2


def tabulate(equation: Equation, u: Any, residual: Any, iterations: Any) -> Tables:
    """Tables from `u` of shape (times, 2, nodes) at evenly spaced times to go."""
    tau = equation.problem.horizon * clock(u.shape[0] - 1)

    def distances(t: Any, rows: Any) -> Any:
        moment = equation.at(t)
        return moment.side(rows, 0).distance, moment.side(rows, 1).distance

    bid, ask = jax.vmap(distances)(tau, u)
    unknown = jnp.full_like(u[:, 0], jnp.nan)
    return Tables(tau, equation.nodes, u[:, 0], u[:, 1], bid, ask, residual, unknown, unknown, iterations)


def refine(problem: Problem, grid: Grid, levels: list[Tables]) -> Tables:
    """Richardson's extrapolation of second-order tables, the finest first, each with half the resolution of the last.

    With levels f, c, d the answer is `R = f + (f - c)/3` and the error of `R` is estimated from the same on the
    coarser pair, `|R_fc - R_cd|`. Where the solution is smooth `R` is of fourth order and the estimate 15 times too
    large, where it is not the order falls towards one and it is about right; a third of it covers from order two on.
    """
    if len(levels) == 1:
        return levels[0]
    fine, mid, _ = levels
    stride = 2 if problem.moves else 1
    rows = [jnp.stack([t.value, t.mean], axis=1) for t in levels]
    first = (rows[0][::2, :, ::stride] - rows[1]) / 3  # on the middle grid
    second = (rows[1][::2, :, ::stride] - rows[2]) / 3  # on the rough grid
    u = rows[0] + _prolong(first, stride)
    coarse = rows[1] + _prolong(second, stride)
    better = u[::2, :, ::stride]
    best = tabulate(Equation(problem, grid), u, fine.residual, fine.iterations)
    before = tabulate(Equation(problem, grid.coarser(stride)), coarse, mid.residual, mid.iterations)
    gap = jnp.abs(better - coarse)[:, :1] / 3
    quote_gap = jnp.maximum(
        jnp.abs(best.bid[::2, ::stride] - before.bid), jnp.abs(best.ask[::2, ::stride] - before.ask)
    )
    return best._replace(
        error=_prolong(gap, stride)[:, 0],
        quote_error=_prolong(quote_gap[:, None] / 3, stride)[:, 0],
        residual=jnp.max(jnp.stack([t.residual for t in levels])),
        iterations=sum(t.iterations for t in levels),
    )


def _prolong(u: Any, stride: int) -> Any:
    """(times, rows, nodes) onto twice the times and, for `stride` 2, twice the nodes, linearly."""
    u = _double(u, 0)
    return _double(u, 2) if stride == 2 else u


def _double(u: Any, axis: int) -> Any:
    u = jnp.moveaxis(u, axis, 0)
    middle = 0.5 * (u[1:] + u[:-1])
    woven = jnp.stack([u[:-1], middle], axis=1).reshape(-1, *u.shape[1:])
    return jnp.moveaxis(jnp.concatenate([woven, u[-1:]]), 0, axis)
