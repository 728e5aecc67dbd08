"""Cubic interpolation of tables on grids that are even in the node number, traceable and differentiable."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp


def cubic(table: Any, row: Any, column: Any) -> Any:
    """`table` (times, nodes) at fractional row and column numbers of one shape: local cubics through four points.

    Exact for cubics in the node numbers and at the nodes themselves; the end intervals use the four end points.
    """
    rows, row_weights = _stencil(row, table.shape[0])
    columns, column_weights = _stencil(column, table.shape[1])
    values = jnp.asarray(table)[rows[..., :, None], columns[..., None, :]]
    return jnp.einsum("...ij,...i,...j->...", values, row_weights, column_weights)


def _stencil(position: Any, count: int) -> tuple[Any, Any]:
    """Indices of shape (..., k) and Lagrange weights of the `k = min(4, count)` nodes around a position."""
    k = min(4, count)
    first = jnp.clip(jnp.floor(position) - (k // 2 - 1), 0, count - k)
    u = position - first
    weights = [
        jnp.prod(jnp.stack([(u - j) / (i - j) for j in range(k) if j != i] or [jnp.ones_like(u)]), axis=0)
        for i in range(k)
    ]
    return jnp.stack([first.astype(jnp.int32) + i for i in range(k)], axis=-1), jnp.stack(weights, axis=-1)
