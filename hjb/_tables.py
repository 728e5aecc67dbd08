"""The arrays behind a `Solution`: value, mean and quotes over time and state, with residual and error estimate."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ._richardson import extrapolate

_ROUNDING = 1e-9  # of a day, by which a moment may miss a close and still be meant to be there


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


def row_of(problem: Any, tau: Any, rows: int, power: Any) -> tuple[Any, Any, int]:
    """Fractional row of a table with `tau` to go; and of the rows of its day, the first one and how many there are.

    At a close it is a row of the day that ends there.
    """
    days, length = problem.days, problem.horizon / problem.days
    count = rows // days
    day = 0 * tau if days == 1 else jnp.clip(jnp.floor(tau / length + _ROUNDING), 0, days - 1)
    share = (tau if days == 1 else jnp.clip(tau - day * length, 0.0, length)) / length
    return day * count + (count - 1) * jnp.where(power == 2, jnp.sqrt(share), share), day * count, count


def tabulate(equation: Any, u: Any, residual: Any, iterations: Any, tau: Any = None) -> Tables:
    """Tables from `u` of shape (times, 2, nodes, ...) at times to go `tau`, by default evenly spaced on the `clock`."""
    tau = equation.problem.horizon * clock(u.shape[0] - 1) if tau is None else tau
    bid, ask = equation.distances(tau, u)
    unknown = jnp.full_like(u[:, 0], jnp.nan)
    return Tables(tau, equation.axes, u[:, 0], u[:, 1], bid, ask, residual, unknown, unknown, iterations)


def refine(equations: list[Any], levels: list[Tables]) -> Tables:
    """The tables of three levels in one, with errors: see `_richardson`. A single level is left as it is.

    `equations` belong to the levels and tell quotes. A level may keep as many times as the next one, or twice as many,
    and likewise for the nodes of each axis.
    """
    if len(levels) == 1:
        return levels[0]
    fine, mid, _ = levels
    found = extrapolate([jnp.stack([t.value, t.mean], axis=1) for t in levels], equations, judged=1)
    best = tabulate(equations[0], found.best, fine.residual, fine.iterations, fine.tau)
    before = tabulate(equations[1], found.coarse, mid.residual, mid.iterations, mid.tau)

    sides = ((best.bid, before.bid), (best.ask, before.ask))
    bid, ask = (jnp.abs(upper[found.every] - lower) for upper, lower in sides)
    return best._replace(
        error=found.error(found.gap[:, :1])[:, 0],
        quote_error=found.error(jnp.maximum(bid, ask)[:, None])[:, 0],
        residual=jnp.max(jnp.stack([t.residual for t in levels])),
        iterations=sum(t.iterations for t in levels),
    )
