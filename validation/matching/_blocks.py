"""Many books in blocks: one after the other, so that a block stays in the cache, or side by side on all processors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

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

    def split(array: Any) -> Any:
        array = jnp.asarray(array)
        if array.ndim == 0:
            return jnp.broadcast_to(array, (blocks,))
        return array.reshape(blocks, array.shape[0] // blocks, *array.shape[1:])

    def mapped(*arguments: Any) -> Any:
        out = lax.map(lambda parts: run(*parts), jax.tree.map(split, arguments))
        return jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), out)

    return mapped


def in_parts(books: int, *arguments: Any) -> list[tuple[Any, ...]]:
    """Equal parts of the books, one for each processor (one for an accelerator): the arguments of a run on each.

    As in `in_blocks`, the first axis of every array has a fixed number of entries per book, and a single number is the
    same for all.
    """
    parts = max(size for size in range(1, threads() + 1) if books % size == 0)

    def piece(array: Any, part: int) -> Any:
        array = jnp.asarray(array)
        length = 0 if array.ndim == 0 else array.shape[0] // parts
        return array[part * length : (part + 1) * length] if length else array

    return [jax.tree.map(lambda array, part=part: piece(array, part), arguments) for part in range(parts)]


def side_by_side(run: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> Any:
    """`run`, which is compiled, on parts of the books at the same time; the results as NumPy arrays, joined.

    The operations on a block are too small for XLA to share out among processors, so every part has its own thread.
    """
    double = jax.config.read("jax_enable_x64")
    filling = threading.Lock()
    joined: list[np.ndarray] = []

    def one(part: int) -> Any:
        with jax.enable_x64(double):  # it holds for one thread
            leaves, tree = jax.tree.flatten(run(*parts[part]))
        pieces = [np.asarray(leaf) for leaf in leaves]
        with filling:
            if not joined:
                joined.extend(np.empty((len(parts) * len(x), *x.shape[1:]), x.dtype) for x in pieces)
        for whole, x in zip(joined, pieces, strict=True):
            whole[part * len(x) : (part + 1) * len(x)] = x
        return tree

    with ThreadPoolExecutor(len(parts), thread_name_prefix="twosided") as pool:
        trees = list(pool.map(one, range(len(parts))))
    return jax.tree.unflatten(trees[0], joined)
