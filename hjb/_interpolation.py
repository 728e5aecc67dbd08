"""Interpolation of tables between their nodes, traceable and differentiable."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

_MET = 1e-9  # of an interval: nearer to a node than that is on it


def cubic(table: Any, *places: Any, part: tuple[Any, int] | None = None) -> Any:
    """`table` at places, one per axis and all of one shape: local cubics through four points.

    A place is a fractional node number, or `(x, nodes)` on an axis of rising nodes. Exact for cubics in that number or
    in `x`, and at the nodes themselves; the end intervals use the four end points. On the first axis points are taken
    from a `part` only, where one is given as its first number and how many it has.
    """
    number = places[0][0] if isinstance(places[0], tuple) else places[0]
    values, index, weight = jnp.asarray(table), [], jnp.ones_like(number)
    for axis, place in enumerate(places):
        nodes, weights = _stencil(place, *((0, values.shape[axis]) if axis or part is None else part))
        later = len(places) - 1 - axis  # each axis' stencil runs along a dimension of its own, behind the places'
        index.append(nodes.reshape(*nodes.shape[:-1], *(1,) * axis, -1, *(1,) * later))
        weight = weight[..., None] * weights.reshape(*weights.shape[:-1], *(1,) * axis, -1)
    return jnp.sum(values[tuple(index)] * weight, axis=tuple(range(-len(places), 0)))


def number_of(x: Any, nodes: Any) -> Any:
    """Fractional number of a place among rising nodes, linear between them; whole on a node."""
    nodes = jnp.asarray(nodes)
    lower = jnp.clip(jnp.searchsorted(nodes, x, side="right") - 1, 0, nodes.shape[0] - 2)
    share = (x - nodes[lower]) / (nodes[lower + 1] - nodes[lower])
    whole = jnp.round(share)
    return lower.astype(share.dtype) + jnp.where(jnp.abs(share - whole) < _MET, whole, share)


def _stencil(place: Any, begin: Any, count: int) -> tuple[Any, Any]:
    """Indices of shape (..., k) and Lagrange weights of the `k = min(4, count)` nodes around a place."""
    k = min(4, count)
    x, nodes = place if isinstance(place, tuple) else (place, None)
    number = x if nodes is None else number_of(x, nodes)
    first = jnp.clip(jnp.floor(number) - (k // 2 - 1), begin, begin + count - k)
    index = jnp.stack([first.astype(jnp.int32) + i for i in range(k)], axis=-1)
    if nodes is None:
        at = [first + i for i in range(k)]
    else:
        at = [jnp.asarray(nodes)[index[..., i]] for i in range(k)]
    weights = [
        jnp.prod(jnp.stack([(x - at[j]) / (at[i] - at[j]) for j in range(k) if j != i] or [jnp.ones_like(x)]), axis=0)
        for i in range(k)
    ]
    return index, jnp.stack(weights, axis=-1)
