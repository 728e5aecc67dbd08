"""Anderson's mixing: what the last corrections of an iteration tell about the next one.

An iteration `u <- u + f(u)` that is slow, or that diverges, in a few directions is repaired by them: the weights `w`
that make `f(u) - sum_i w_i df_i` smallest are applied to `u` as well,

    u <- u + f(u) - sum_i w_i (du_i + df_i),

with `du_i`, `df_i` the last changes of `u` and of `f(u)` (Anderson 1965; Walker and Ni 2011, "Anderson acceleration for
fixed-point iterations", SIAM J. Numer. Anal. 49, section 2). It is exact for as many directions as changes are kept.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

_RIDGE = 1e-12  # beside one; directions that repeat each other leave the weights open


class Past(NamedTuple):
    """The last `u` and `f(u)`, each (depth, *u.shape); the `n`-th, counted from 0, has the number `n % depth`."""

    places: Array
    corrections: Array


def no_past(u: Array, depth: int) -> Past:
    """What an iteration starts from that learns from as many changes as `depth`."""
    none = jnp.zeros((depth + 1, *u.shape), u.dtype)
    return Past(none, none)


def remembered(past: Past, u: Array, correction: Array, n: Array) -> Past:
    """The past with the `n`-th `u` and `f(u)` in place of the oldest."""
    slot = n % past.places.shape[0]
    return Past(past.places.at[slot].set(u), past.corrections.at[slot].set(correction))


def mixed(past: Past, correction: Array, n: Array) -> Array:
    """What to correct the `n`-th `u` by in place of its `f(u)`; the past holds both."""
    slots = past.places.shape[0]
    steps, changes = (x - jnp.roll(x, 1, axis=0) for x in past)
    known = (n - jnp.arange(slots)) % slots < jnp.minimum(n, slots - 1)  # by age; the oldest has none before it
    rows = changes.reshape(slots, -1)
    gram, towards = rows @ rows.T, rows @ correction.ravel()
    known = known & (jnp.diagonal(gram) > 0)
    length = jnp.sqrt(jnp.where(known, jnp.diagonal(gram), 1.0))
    both = known[:, None] & known[None]
    gram = jnp.where(both, gram / (length[:, None] * length[None]), 0.0)
    weights = jnp.linalg.solve(gram + jnp.diag(jnp.where(known, _RIDGE, 1.0)), jnp.where(known, towards / length, 0.0))
    weights = jnp.where(known, weights / length, 0.0)
    return correction - (weights @ (steps.reshape(slots, -1) + rows)).reshape(correction.shape)
