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
    """The last changes, newest over oldest, and what the next one is counted from."""

    steps: Array  # du, (depth, *u.shape)
    changes: Array  # df
    u: Array
    correction: Array  # f(u)


def no_past(u: Array, depth: int) -> Past:
    """What an iteration starts from."""
    none = jnp.zeros((depth, *u.shape), u.dtype)
    return Past(none, none, u, jnp.zeros_like(u))


def mixed(past: Past, u: Array, correction: Array, n: Array) -> tuple[Array, Past]:
    """What to correct `u` by in place of `f(u)`, and the past with this one; `n` counts what the past holds."""
    depth = past.steps.shape[0]
    slot = (n - 1) % depth
    steps = past.steps.at[slot].set(u - past.u)
    changes = past.changes.at[slot].set(correction - past.correction)
    known = jnp.arange(depth) < n
    rows = changes.reshape(depth, -1)
    gram, towards = rows @ rows.T, rows @ correction.ravel()
    known = known & (jnp.diagonal(gram) > 0)
    length = jnp.sqrt(jnp.where(known, jnp.diagonal(gram), 1.0))
    both = known[:, None] & known[None]
    gram = jnp.where(both, gram / (length[:, None] * length[None]), 0.0)
    weights = jnp.linalg.solve(gram + jnp.diag(jnp.where(known, _RIDGE, 1.0)), jnp.where(known, towards / length, 0.0))
    weights = jnp.where(known, weights / length, 0.0)
    better = correction - jnp.tensordot(weights, steps + changes, 1)
    return better, Past(steps, changes, u, correction)
