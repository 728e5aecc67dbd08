"""Cubic interpolation of tables on grids that are even in the node number, traceable and differentiable."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp


def cubic(table: Any, *positions: Any, part: tuple[Any, int] | None = None) -> Any:
    """`table` at fractional node numbers, one array per axis and all of one shape: local cubics through four points.

    Exact for cubics in the node numbers and at the nodes themselves; the end intervals use the four end points. On the
    first axis points are taken from a `part` only, where one is given as its first number and how many it has.
    """
    values, index, weight = jnp.asarray(table), [], jnp.ones_like(positions[0])
    for axis, position in enumerate(positions):
        nodes, weights = _stencil(position, *((0, values.shape[axis]) if axis or part is None else part))
        later = len(positions) - 1 - axis  # each axis' stencil runs along a dimension of its own, behind the positions'
        index.append(nodes.reshape(*nodes.shape[:-1], *(1,) * axis, -1, *(1,) * later))
        weight = weight[..., None] * weights.reshape(*weights.shape[:-1], *(1,) * axis, -1)
    return jnp.sum(values[tuple(index)] * weight, axis=tuple(range(-len(positions), 0)))


def _stencil(position: Any, begin: Any, count: int) -> tuple[Any, Any]:
    """Indices of shape (..., k) and Lagrange weights of the `k = min(4, count)` nodes around a position."""
    k = min(4, count)
    first = jnp.clip(jnp.floor(position) - (k // 2 - 1), begin, begin + count - k)
    u = position - first
    weights = [
        jnp.prod(jnp.stack([(u - j) / (i - j) for j in range(k) if j != i] or [jnp.ones_like(u)]), axis=0)
        for i in range(k)
    ]
    return jnp.stack([first.astype(jnp.int32) + i for i in range(k)], axis=-1), jnp.stack(weights, axis=-1)
