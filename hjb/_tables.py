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
    rising with a node at zero: the inventory alone, or the stock and the cash account.
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


def tabulate(equations: list[Any], paths: list[Any], taus: list[Any]) -> Tables:
    """The tables of one level, or of three in one with errors: see `_richardson`.

    `equations` belong to the levels and tell quotes. A level's path has `u`, (times, 2, nodes, ...) at the times to go
    in `taus`, `residual` and `iterations`. It may keep as many times as the next one, or twice as many, and likewise
    for the nodes of each axis.
    """
    residual, iterations = jnp.max(jnp.stack([path.residual for path in paths])), sum(path.iterations for path in paths)

    def tables(u: Any, quotes: Any, error: Any, quote_error: Any) -> Tables:
        bid, ask = quotes
        axes, value, mean = equations[0].axes, u[:, 0], u[:, 1]
        return Tables(taus[0], axes, value, mean, bid, ask, residual, error, quote_error, iterations)

    if len(paths) == 1:
        u, unknown = paths[0].u, jnp.full_like(paths[0].u[:, 0], jnp.nan)
        return tables(u, equations[0].distances(taus[0], u), unknown, unknown)
    found = extrapolate([path.u for path in paths], equations, judged=1)
    best = equations[0].distances(taus[0], found.best)
    before = equations[1].distances(taus[1], found.coarse)
    bid, ask = (jnp.abs(upper[found.every] - lower) for upper, lower in zip(best, before, strict=True))
    error, quote_error = found.error(found.gap[:, :1]), found.error(jnp.maximum(bid, ask)[:, None])
    return tables(found.best, best, error[:, 0], quote_error[:, 0])
