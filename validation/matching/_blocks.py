"""Many books in blocks, one after the other, so that what a block is at stays in the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def in_blocks(run: Callable[..., Any], books: int, block: int) -> Callable[..., Any]:
    """`run` on blocks of at most `block` books, the largest into which they divide; in one where that is very small.

    The first axis of every array that `run` takes or gives has a fixed number of entries per book; a single number
    is the same for all. What `run` makes and does not give back, such as books that start empty, takes memory for one
    block only.
    """
    if block < 1:
        raise ValueError(f"block must be at least 1 book, got {block}")
    fitting = max(size for size in range(1, min(block, books) + 1) if books % size == 0)
    if books == fitting or fitting < block // 4:
        return run
    blocks = books // fitting

    def split(array: Any) -> Any:
        array = jnp.asarray(array)
        if array.ndim == 0:
            return jnp.broadcast_to(array, (blocks,))
        return array.reshape(blocks, array.shape[0] // blocks, *array.shape[1:])

    def mapped(*arguments: Any) -> Any:
        out = lax.map(lambda parts: run(*parts), jax.tree.map(split, arguments))
        return jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), out)

    return mapped
