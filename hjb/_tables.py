"""The arrays behind a `Solution`: value, mean and quotes over time and state, with residual and error estimate."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..models.problem import Problem
from ._equation import Equation, Grid


class Tables(NamedTuple):
    """Tables of shape (times, nodes, ...): one axis for the time to go and one for each state variable that matters.

    `tau` ascends from 0 to T, shape (times,). `axes` holds the nodes of the first `len(axes)` of the problem's `names`,
    each evenly spaced with a node at zero: the inventory alone, or the stock and the cash account.
    """

    tau: Any
    axes: tuple[Any, ...]
    value: Any  # theta, (times, nodes, ...), money at the horizon
    mean: Any  # h, likewise
    bid: Any  # distances, likewise; nan where no payment makes a fill worth it
    ask: Any
    residual: Any  # the largest defect left by the nonlinear solve, relative
    error: Any  # estimated absolute error of `value`, likewise or broadcastable; nan without an estimate
    quote_error: Any  # estimated absolute error of the distances
    iterations: Any
    target: Any = None  # a `Target` where the second axis is the gap to it, stretched, in place of the cash account

    @property
    def y(self) -> Any:
        """Nodes of the inventory."""
        return self.axes[0]


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
    return Tables(tau, (equation.nodes,), u[:, 0], u[:, 1], bid, ask, residual, unknown, unknown, iterations)


def refine(problem: Problem, grid: Grid, levels: list[Tables]) -> Tables:
    """Richardson's extrapolation of second-order tables, the finest first, each with half the resolution of the last.

    With levels f, c, d the answer is `R = f + (f - c)/3`. Where the solution is smooth the differences fall to a
    quarter from level to level, `R` is of fourth order, and a sixth of `|R_fc - R_cd|` is about two and a half times
    its error; the share grows with the fall observed. Where the differences hardly halve (beside a limit that binds,
    or under transport without diffusion) nothing can be extrapolated: there `R` fades into `f`, and the error into
    six times the larger difference.
    """
    if len(levels) == 1:
        return levels[0]
    fine, mid, rough = levels
    stride = 2 if problem.moves else 1
    rows = [jnp.stack([t.value, t.mean], axis=1) for t in levels]
    first = rows[0][::2, :, ::stride] - rows[1]  # on the middle grid
    second = rows[1][::2, :, ::stride] - rows[2]  # on the rough grid
    fall = _fall(first[::2, 0, ::stride], second[:, 0], 2 * (grid.per_lot // stride**2) + 1)[:, None]
    trust = jnp.clip((0.6 - fall) / 0.2, 0.0, 1.0)
    u = rows[0] + _prolong(_prolong(trust, stride) * first / 3, stride)
    coarse = rows[1] + _prolong(trust * second / 3, stride)
    best = tabulate(Equation(problem, grid), u, fine.residual, fine.iterations)
    before = tabulate(Equation(problem, grid.coarser(stride)), coarse, mid.residual, mid.iterations)

    def estimate(gap: Any, second_gap: Any) -> Any:
        larger = jnp.maximum(gap, jnp.abs(_prolong(second_gap, stride)))
        sure, share = _prolong(trust, stride), jnp.clip(_prolong(2 * fall / 3, stride), 1 / 6, 0.5)
        return _prolong(sure * share * gap + (1 - sure) * 6 * larger, stride)[:, 0]

    def quote_gap(upper: Tables, lower: Tables) -> Any:
        bid, ask = (jnp.abs(a[::2, ::stride] - b) for a, b in ((upper.bid, lower.bid), (upper.ask, lower.ask)))
        return jnp.maximum(bid, ask)[:, None]

    return best._replace(
        error=estimate(jnp.abs(u[::2, :, ::stride] - coarse)[:, :1], second[:, :1]),
        quote_error=estimate(quote_gap(best, before), quote_gap(mid, rough)),
        residual=jnp.max(jnp.stack([t.residual for t in levels])),
        iterations=sum(t.iterations for t in levels),
    )


def _fall(first: Any, second: Any, window: int) -> Any:
    """By how much differences fall from level to level: a ratio of root mean squares over two lots around each node."""

    def mean_square(table: Any) -> Any:
        return jax.vmap(lambda row: jnp.convolve(row, jnp.ones(window), mode="same"))(table**2)

    tiny = jnp.finfo(first.dtype).tiny
    return jnp.sqrt((mean_square(first) + tiny) / (mean_square(second) + tiny))


def _prolong(u: Any, stride: int) -> Any:
    """(times, rows, nodes) onto twice the times and, for `stride` 2, twice the nodes, linearly."""
    u = _double(u, 0)
    return _double(u, 2) if stride == 2 else u


def _double(u: Any, axis: int) -> Any:
    u = jnp.moveaxis(u, axis, 0)
    middle = 0.5 * (u[1:] + u[:-1])
    woven = jnp.stack([u[:-1], middle], axis=1).reshape(-1, *u.shape[1:])
    return jnp.moveaxis(jnp.concatenate([woven, u[-1:]]), 0, axis)
