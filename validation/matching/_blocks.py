"""Many books in blocks: one after the other, so that a block stays in the cache, or side by side on all processors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ...hjb._side_by_side import on_threads
from .._batches import threads


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

    def mapped(*arguments: Any) -> Any:
        out = lax.map(lambda parts: run(*parts), _divided(arguments, blocks))
        return jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), out)

    return mapped


def in_parts(books: int, *arguments: Any) -> list[tuple[Any, ...]]:
    """Equal parts of the books, one for each processor (one for an accelerator): the arguments of a run on each.

    There are fewer parts where the books do not divide into so many. As in `in_blocks`, the first axis of every array
    has a fixed number of entries per book, and a single number is the same for all.
    """
    parts = max(size for size in range(1, threads() + 1) if books % size == 0)
    divided = _divided(arguments, parts)
    return [jax.tree.map(lambda array, part=part: array[part], divided) for part in range(parts)]


def side_by_side(run: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> Any:
    """`run`, which is compiled, on each of `in_parts` at the same time; the results as NumPy arrays, joined.

    The operations on a block are too small for XLA to share out among processors, so every part has its own thread.
    """
    found = on_threads(lambda part: run(*part), parts, jax.config.read("jax_enable_x64"))
    return jax.tree.map(lambda *pieces: np.concatenate(pieces), *found)


def _divided(arguments: Any, count: int) -> Any:
    """Every array as `count` parts along a new first axis."""

    def divided(array: Any) -> jax.Array:
        array = jnp.asarray(array)
        if array.ndim == 0:
            return jnp.broadcast_to(array, (count,))
        if array.shape[0] % count:
            raise ValueError(f"an array of shape {array.shape} does not divide into {count} parts of as many books")
        return array.reshape(count, array.shape[0] // count, *array.shape[1:])

    return jax.tree.map(divided, arguments)
