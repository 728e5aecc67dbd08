"""Richardson's extrapolation of second-order tables over three levels, where it can be trusted, and the error left.

With levels f, c, d, each of half the resolution of the last, the answer is `R = f + (f - c)/3`. Where the solution is
smooth the differences fall to a quarter from level to level, `R` is of fourth order, and a seventh of `|R_fc - R_cd|`
is about twice its error; the share grows with the fall observed. Where the differences hardly halve (beside a limit
that binds, or under transport without diffusion) nothing can be extrapolated: there `R` fades into `f`, and the error
into six times the larger difference.

What is left beside a limit spreads over all inventories, is of third order at best, and changes sign from place to
place. So the more of the largest difference lies where nothing can be extrapolated, the more each node looks at the
largest gap up to a fill away, and the larger its share.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Extrapolated(NamedTuple):
    """Three levels of tables (times, rows, nodes, ...) combined; `trust` and `fall` have one row for all, or each."""

    best: Any  # R_fc, on the fine grid
    coarse: Any  # R_cd, on the middle grid
    first: Any  # f - c on the rough grid, the rows that are judged
    second: Any  # c - d on the rough grid
    fall: Any  # by how much the differences fall, on the rough grid
    trust: Any  # from 0 to 1, how far the extrapolation is trusted, likewise
    strides: list[int]  # between nodes of one level and the next, of the times and of each axis of the state
    per_lots: Any  # nodes of the middle grid to a lot, along each axis

    @property
    def every(self) -> tuple[slice, ...]:
        """The entries of a (times, nodes, ...) table that the next level has, too."""
        return tuple(slice(None, None, stride) for stride in self.strides)

    @property
    def gap(self) -> Any:
        """`|R_fc - R_cd|` on the middle grid."""
        return jnp.abs(self.best[_rows_of(self.every)] - self.coarse)

    def error(self, gap: Any, rough_gap: Any) -> Any:
        """What is left, on the fine grid: from a gap of two answers, and that of their two coarser levels.

        It says how far to trust the answer and has no derivative.
        """
        strides, trust = self.strides, _prolong(self.trust, self.strides)
        larger = jnp.maximum(gap, jnp.abs(_prolong(rough_gap, strides)))
        doubt = _prolong(_doubt(self.trust, self.first), [strides[0]] + [1] * (len(strides) - 1))
        share = jnp.clip(_prolong(4 * self.fall / 7, strides), 1 / 7, 0.5)
        share = jnp.minimum(share * (1 + 2.5 * doubt), 0.5)
        near = gap + doubt * (_largest_a_fill_away(gap, self.per_lots) - gap)
        return lax.stop_gradient(_prolong(trust * share * near + (1 - trust) * 6 * larger, strides))


def extrapolate(levels: list[Any], equations: list[Any], judged: int) -> Extrapolated:
    """Combine three levels, the finest first, of tables (times, rows, nodes, ...).

    A level may keep as many times as the next one, or twice as many, and likewise for the nodes of each axis. The
    first `judged` rows are looked at: one for all, or each for itself.
    """
    fine, mid, rough = levels
    strides = [1 + (a > b) for a, b in zip(fine[:, 0].shape, mid[:, 0].shape, strict=True)]
    thin = _rows_of(tuple(slice(None, None, stride) for stride in strides))
    first, second = fine[thin] - mid, mid[thin] - rough  # on the middle grid, on the rough grid
    seen = first[thin][:, :judged]
    windows = [2 * n + 1 for n in equations[2].per_lots]
    fall = jnp.stack([_fall(seen[:, i], second[:, i], windows) for i in range(judged)], axis=1)
    trust = jnp.clip((0.6 - fall) / 0.2, 0.0, 1.0)
    best = fine + _prolong(_prolong(trust, strides) * first / 3, strides)
    coarse = mid + _prolong(trust * second / 3, strides)
    return Extrapolated(best, coarse, seen, second, fall, trust, strides, equations[1].per_lots)


def _rows_of(every: tuple[slice, ...]) -> tuple[slice, ...]:
    """The same entries of a table that has rows as well, (times, rows, nodes, ...)."""
    return (*every[:1], slice(None), *every[1:])


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

    after, before = mean_square(first), mean_square(second)
    differ = (after > 0) & (before > 0)  # at the horizon all levels are equal, and a root has no slope there
    fall = jnp.sqrt(jnp.where(differ, after, 1.0) / jnp.where(differ, before, 1.0))
    return jnp.where(differ, fall, jnp.where(after < before, 0.0, 1.0))


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
