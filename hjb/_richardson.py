"""Richardson's extrapolation of second-order tables over three levels, where it can be trusted, and the error left.

With levels f, c, d, each of half the resolution of the last, the answer is `R = f + (f - c)/3`. Where the solution is
smooth the differences fall to a quarter from level to level, `R` is of fourth order, and an eighth of `|R_fc - R_cd|`
is about twice its error. Beside a limit that binds, or under transport without diffusion, they fall by less: `R` is
still the better answer unless they hardly fall at all, where it fades into `f`; but its error is of no higher order
than that of `f`, and is taken for one and a half times the gap, or more where the differences have yet to fall.

What is left beside a limit spreads over all inventories and changes sign from place to place. So the more of the
largest difference lies where they fall too little, the more each node looks at the gaps up to a lot away, and the
larger its share. The constants were chosen so that the estimate covers 94 to 99 % of the errors of dealers whose limit
binds, drawn at random, at 8 to 40 nodes a lot; its median is 4 to 15 times the error's there. Where a growth of the
stock that is large beside its variance makes the first levels too rough to tell anything, it covers less.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

_MOST = 4.0  # a fall beyond which nothing more is read into it


class Extrapolated(NamedTuple):
    """Three levels of tables (times, rows, nodes, ...) combined; `fall` has one row for all, or each."""

    best: Any  # R_fc, on the fine grid
    coarse: Any  # R_cd, on the middle grid
    first: Any  # f - c on the rough grid, the rows that are judged
    fall: Any  # by how much the differences fall, on the rough grid
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

    def error(self, gap: Any) -> Any:
        """What is left, on the fine grid: from the gap of two answers on the middle grid.

        It says how far to trust the answer and has no derivative.
        """
        strides = self.strides
        unlike = jnp.clip((self.fall - 0.3) / 0.2, 0.0, 1.0)  # from 0 to 1, how far from second order
        doubt = _prolong(_weight(unlike, self.first), [strides[0]] + [1] * (len(strides) - 1))
        around = jnp.sqrt(_mean_square(gap, self.per_lots))
        near = gap + doubt * jnp.maximum(around - gap, 0.0)
        smooth = 1 / 8 + doubt * (1 / 2 - 1 / 8)
        slow = 1.5 * jnp.clip(_prolong(self.fall, strides), 1.0, _MOST) ** 2
        share = smooth + _prolong(unlike, strides) * (slow - smooth)
        return lax.stop_gradient(_prolong(share * near, strides))


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
    fall = _fall(seen, second[:, :judged], equations[2].per_lots)
    trust = jnp.clip((1.0 - fall) / 0.4, 0.0, 1.0)
    best = fine + _prolong(_prolong(trust, strides) * first / 3, strides)
    coarse = mid + _prolong(trust * second / 3, strides)
    return Extrapolated(best, coarse, seen, fall, strides, equations[1].per_lots)


def _rows_of(every: tuple[slice, ...]) -> tuple[slice, ...]:
    """The same entries of a table that has rows as well, (times, rows, nodes, ...)."""
    return (*every[:1], slice(None), *every[1:])


def _fall(first: Any, second: Any, per_lots: Any) -> Any:
    """By how much differences fall from level to level: a ratio of root mean squares over two lots around each node."""
    after, before = (_mean_square(difference, per_lots) for difference in (first, second))
    differ = (after > 0) & (before > 0)  # at the horizon all levels are equal, and a root has no slope there
    fall = jnp.sqrt(jnp.where(differ, after, 1.0) / jnp.where(differ, before, 1.0))
    return jnp.where(differ, fall, jnp.where(after < before, 0.0, 1.0))


def _mean_square(table: Any, per_lots: Any) -> Any:
    """Over a lot on either side of each node, along the axes of the state; entries that are nan do not count."""
    window = [1] * (table.ndim - len(per_lots)) + [2 * nodes + 1 for nodes in per_lots]

    def around(part: Any) -> Any:
        return lax.reduce_window(part, 0.0, lax.add, window, [1] * table.ndim, "SAME")

    known = jnp.isfinite(table)
    return around(jnp.where(known, table, 0.0) ** 2) / jnp.maximum(around(known.astype(table.dtype)), 1.0)


def _weight(unlike: Any, first: Any) -> Any:
    """From 0 to 1, by time: the largest difference of two levels that is not of second order beside the largest of all.

    It keeps the axes, with a single entry along those of the state.
    """
    size, state = jnp.abs(first), tuple(range(2, first.ndim))
    largest = jnp.max(size, axis=state, keepdims=True) + jnp.finfo(first.dtype).tiny
    return jnp.max(unlike * size, axis=state, keepdims=True) / largest


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
