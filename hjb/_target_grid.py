"""The gap to a target on a stretched grid: nodes, slopes, and looks between the nodes.

The gap `Z` is wealth carried to the horizon less the target. Nodes lie evenly in `q`, `Z = L sinh(q/L)`: close together
around the target, where a policy changes over the income of a fill, and wide apart far below it.

A look between two nodes is the cubic that meets value and slope at both ends, on request with its bend limited: for
data that are concave, as `U - Z^2` is in `Z` (a minimum of functions affine in `Z`), the limited curve is concave too
and never falls below its chords. Without the limit a minimiser finds the dips of the interpolant and lives on them.
Data that are concave up to a known curvature (see `_target_equation`, where credit is dear) are limited by that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

_STENCIL = 5


class Place(NamedTuple):
    """Where a gap lies: the interval's number, the share of it already passed (negative below the grid), its width."""

    interval: Any
    share: Any
    width: Any


class Pieces(NamedTuple):
    """Cubics between the nodes, one entry per interval and row, flat; `rise` and the bends are per interval."""

    value: Any
    rise: Any
    bend: Any  # by how much the slope at the left end exceeds the chord's
    bend_right: Any  # by how much the chord's slope exceeds that at the right end


class GapGrid(eqx.Module):
    """Nodes of the gap, and what interpolation needs of them; one of the nodes is zero."""

    nodes: Any  # (count,)
    stretch: Any  # L, money
    spacing: Any  # of q, money
    zero: Any  # the number of the node at zero
    weights: Any  # (count, 5), of the slope at each node

    @property
    def count(self) -> int:
        return self.nodes.shape[0]

    @property
    def widths(self) -> Any:
        """Distance from each node to the next, (count - 1,)."""
        return jnp.diff(self.nodes)

    def place(self, gap: Any) -> Place:
        """The interval of a gap. Above the grid it is that of the last node: more wealth than that is worth no more."""
        inside = jnp.clip(gap, self.nodes[0], self.nodes[-1])
        position = jnp.arcsinh(inside / self.stretch) * (self.stretch / self.spacing) + self.zero
        j = jnp.clip(jnp.floor(position), 0, self.count - 2).astype(jnp.int32)
        width = _take(self.widths, j)
        return Place(j, (jnp.minimum(gap, self.nodes[-1]) - _take(self.nodes, j)) / width, width)

    def slope(self, table: Any) -> Any:
        """The derivative in the gap at the nodes of `table` (rows, count), of fourth order."""
        n = self.count
        first = [table[:, k : k + 1] for k in range(_STENCIL)]
        middle = [table[:, k : n - 4 + k] for k in range(_STENCIL)]
        last = [table[:, n - 5 + k : n - 4 + k] for k in range(_STENCIL)]
        w = self.weights.T[:, None, :]
        parts = (_weighed(w[..., :2], first), _weighed(w[..., 2:-2], middle), _weighed(w[..., -2:], last))
        return jnp.concatenate(parts, axis=1)

    def pieces(self, table: Any, slope: Any, most: Any = None) -> Pieces:
        """The cubics of `table` (rows, count) with `slope` at its nodes, their curvature limited to `most` if given."""
        widths = self.widths[None]
        rise = table[:, 1:] - table[:, :-1]
        left, right = slope[:, :-1] * widths - rise, rise - slope[:, 1:] * widths
        if most is not None:
            room = 0.5 * most * widths**2  # what a parabola of that curvature falls short of its chord's slope
            left, right = jnp.maximum(left + room, 0.0), jnp.maximum(right + room, 0.0)
            left, right = jnp.minimum(left, 2 * right) - room, jnp.minimum(right, 2 * left) - room
        after = [jnp.ravel(jnp.pad(part, ((0, 0), (0, 1)))) for part in (rise, left, right)]
        return Pieces(jnp.ravel(table), *after)

    def look(self, pieces: Pieces, rows: Any, place: Place) -> tuple[Any, Any, Any]:
        """Value, slope and curvature in `rows` (int32) at `place`; below the grid the first slope is continued."""
        at = rows * self.count + place.interval
        value, rise, left, right = (_take(part, at) for part in pieces)
        t, u = place.share, 1 - place.share
        below = t < 0
        value = value + t * (rise + jnp.where(below, left, u * (left * u + right * t)))
        slope = rise + jnp.where(below, left, left * u * (1 - 3 * t) + right * t * (2 - 3 * t))
        curvature = jnp.where(below, 0.0, left * (6 * t - 4) + right * (2 - 6 * t))
        return value, slope / place.width, curvature / place.width**2


def gap_grid(low: float, high: float, stretch: float, count: int) -> GapGrid:
    """`count` nodes from about `low < 0` to about `high > 0`, one of them zero; computed outside any trace."""
    ends = stretch * np.arcsinh(np.array([low, high]) / stretch)
    spacing = (ends[1] - ends[0]) / (count - 2)
    zero = int(np.ceil(-ends[0] / spacing))
    nodes = stretch * np.sinh((np.arange(count) - zero) * spacing / stretch)
    return GapGrid(nodes, np.float64(stretch), np.float64(spacing), np.float64(zero), _slope_weights(nodes))


def _slope_weights(nodes: np.ndarray) -> np.ndarray:
    """Weights of the five nodes around each whose sum is the slope there, exact for quartics."""
    count = nodes.size
    first = np.clip(np.arange(count) - 2, 0, count - _STENCIL)
    near = nodes[first[:, None] + np.arange(_STENCIL)] - nodes[:, None]
    scale = np.max(np.abs(near), axis=1, keepdims=True)
    powers = (near / scale)[:, None, :] ** np.arange(_STENCIL)[None, :, None]
    wanted = np.zeros((count, _STENCIL, 1))
    wanted[:, 1] = 1.0
    return np.linalg.solve(powers, wanted)[..., 0] / scale


def _weighed(weights: Any, columns: list[Any]) -> Any:
    return sum(weights[k] * column for k, column in enumerate(columns))


def _take(flat: Any, index: Any) -> Any:
    return jnp.asarray(flat).at[index].get(mode="promise_in_bounds")
