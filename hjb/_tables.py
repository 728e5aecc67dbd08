"""The arrays behind a `Solution`: value, mean and quotes over time and state, with residual and error estimate."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

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
    """Richardson's extrapolation of second-order tables, the finest first, each with half the resolution of the last.

    With levels f, c, d the answer is `R = f + (f - c)/3`. Where the solution is smooth the differences fall to a
    quarter from level to level, `R` is of fourth order, and a seventh of `|R_fc - R_cd|` is about twice its error;
    the share grows with the fall observed. Where the differences hardly halve (beside a limit that binds, or under
    transport without diffusion) nothing can be extrapolated: there `R` fades into `f`, and the error into six times
    the larger difference.

    What is left beside a limit spreads over all inventories, is of third order at best, and changes sign from place to
    place. So the more of the largest difference lies where nothing can be extrapolated, the more each node looks at
    the largest gap up to a fill away, and the larger its share.

    `equations` belong to the levels and tell quotes. A level may keep as many times as the next one, or twice as many,
    and likewise for the nodes of each axis.
    """
    if len(levels) == 1:
        return levels[0]
    fine, mid, rough = levels
    strides = [1 + (a > b) for a, b in zip(fine.value.shape, mid.value.shape, strict=True)]
    every = tuple(slice(None, None, stride) for stride in strides)
    thin = (*every[:1], slice(None), *every[1:])
    rows = [jnp.stack([t.value, t.mean], axis=1) for t in levels]
    first, second = rows[0][thin] - rows[1], rows[1][thin] - rows[2]  # on the middle grid, on the rough grid
    windows = [2 * n + 1 for n in equations[2].per_lots]
    fall = _fall(first[:, 0][every], second[:, 0], windows)[:, None]
    trust = jnp.clip((0.6 - fall) / 0.2, 0.0, 1.0)
    u = rows[0] + _prolong(_prolong(trust, strides) * first / 3, strides)
    coarse = rows[1] + _prolong(trust * second / 3, strides)
    best = tabulate(equations[0], u, fine.residual, fine.iterations, fine.tau)
    before = tabulate(equations[1], coarse, mid.residual, mid.iterations, mid.tau)

    def estimate(gap: Any, second_gap: Any) -> Any:
        return left_over(gap, second_gap, first[thin][:, :1], trust, fall, equations[1].per_lots, strides)[:, 0]

    def quote_gap(upper: Tables, lower: Tables) -> Any:
        bid, ask = (jnp.abs(a[every] - b) for a, b in ((upper.bid, lower.bid), (upper.ask, lower.ask)))
        return jnp.maximum(bid, ask)[:, None]

    return best._replace(
        error=estimate(jnp.abs(u[thin] - coarse)[:, :1], second[:, :1]),
        quote_error=estimate(quote_gap(best, before), quote_gap(mid, rough)),
        residual=jnp.max(jnp.stack([t.residual for t in levels])),
        iterations=sum(t.iterations for t in levels),
    )


def _fall(first: Any, second: Any, windows: list[int]) -> Any:
    """By how much differences fall from level to level: a ratio of root mean squares over two lots around each node."""

    def mean_square(table: Any) -> Any:
        table = table**2
        for axis, window in enumerate(windows, start=1):
            line = jnp.moveaxis(table, axis, -1)
            flat = jax.vmap(lambda row, n=window: jnp.convolve(row, jnp.ones(n), mode="same"))(
                line.reshape(-1, line.shape[-1])
            )
            table = jnp.moveaxis(flat.reshape(line.shape), -1, axis)
        return table

    tiny = jnp.finfo(first.dtype).tiny
    return jnp.sqrt((mean_square(first) + tiny) / (mean_square(second) + tiny))


def left_over(gap: Any, rough_gap: Any, first: Any, trust: Any, fall: Any, per_lots: Any, strides: Any) -> Any:
    """The error that `refine` leaves, (times, rows, nodes, ...) on the fine grid.

    gap = |R_fc - R_cd| on the middle grid; on the rough one `rough_gap` = c - d, `first` = f - c, and how far the
    extrapolation is trusted for the `fall` seen. `per_lots` are nodes of the middle grid to a lot, along each axis.
    """
    larger = jnp.maximum(gap, jnp.abs(_prolong(rough_gap, strides)))
    doubt = _prolong(_doubt(trust, first), [strides[0]] + [1] * (len(strides) - 1))
    share = jnp.clip(_prolong(4 * fall / 7, strides), 1 / 7, 0.5)
    share = jnp.minimum(share * (1 + 2.5 * doubt), 0.5)
    near = gap + doubt * (_largest_a_fill_away(gap, per_lots) - gap)
    sure = _prolong(trust, strides)
    return _prolong(sure * share * near + (1 - sure) * 6 * larger, strides)


def _doubt(trust: Any, first: Any) -> Any:
    """From 0 to 1, by time: the largest difference of two levels that cannot be extrapolated beside the largest of all.

    It keeps the axes, with a single entry along those of the state.
    """
    size, state = jnp.abs(first), tuple(range(2, first.ndim))
    largest = jnp.max(size, axis=state, keepdims=True) + jnp.finfo(first.dtype).tiny
    return jnp.max((1 - trust) * size, axis=state, keepdims=True) / largest


def _largest_a_fill_away(table: Any, per_lots: Any) -> Any:
    """The largest entry of (times, rows, nodes, ...) here and one lot away on either side, along the state's axes."""
    for axis, nodes in enumerate(per_lots, start=2):
        window, apart = [1] * table.ndim, [1] * table.ndim
        window[axis], apart[axis] = 3, nodes
        table = lax.reduce_window(table, -jnp.inf, lax.max, window, [1] * table.ndim, "SAME", window_dilation=apart)
    return table


def _prolong(u: Any, strides: list[int]) -> Any:
    """(times, rows, nodes, ...) onto twice the times or nodes, linearly, along the axes whose stride is 2."""
    for axis, stride in zip((0, *range(2, u.ndim)), strides, strict=True):
        u = _double(u, axis) if stride == 2 else u
    return u


def _double(u: Any, axis: int) -> Any:
    u = jnp.moveaxis(u, axis, 0)
    middle = 0.5 * (u[1:] + u[:-1])
    woven = jnp.stack([u[:-1], middle], axis=1).reshape(-1, *u.shape[1:])
    return jnp.moveaxis(jnp.concatenate([woven, u[-1:]]), 0, axis)
