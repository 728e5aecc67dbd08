"""Keep XLA from computing the same thing in every place where it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

Result = TypeVar("Result")


def apart(always: jax.Array, compute: Callable[..., Result], *arguments: Any) -> Result:
    """`compute(*arguments)`, its results in memory before anything else looks at them.

    On a CPU XLA fuses a cheap computation into each of its consumers, and theirs: a chain of a few hundred small
    operations with twenty ends grows to thousands, and an optimisation barrier is dropped before that. A branch is
    a wall. `always` must be true, and must not be known to be when compiling. Elsewhere fusion is welcome.
    """
    if jax.default_backend() != "cpu":
        return compute(*arguments)
    shapes = jax.eval_shape(compute, *arguments)
    nothing = jax.tree.map(lambda out: jnp.zeros(out.shape, out.dtype), shapes)
    return lax.cond(always, compute, lambda *_: nothing, *arguments)
