"""Many solves of one shape: each by itself on as many threads as there are processors, or all in one program.

On a CPU, problems stacked in one program wait in every step for the slowest of them and leave the cache; by themselves
they run the program that a single solve has compiled, to the same digits. An accelerator wants them stacked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import equinox as eqx
import jax
import numpy as np


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(function: Callable[[Any], Any], cases: Sequence[Any]) -> Any:
    """`function` of every case, in double precision, the results stacked along a leading axis of every leaf.

    The cases are pytrees of one structure with NumPy leaves; `function` is compiled, or made of what is.
    """
    if jax.default_backend() != "cpu":
        with jax.enable_x64(True):
            stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *cases)
            return jax.tree.map(np.asarray, eqx.filter_vmap(function)(stacked))

    first = _in_numpy(function, cases[0], double=True)  # alone, so that it is compiled once
    results = [first, *on_threads(function, cases[1:], double=True)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *results)


def on_threads(function: Callable[[Any], Any], cases: Sequence[Any], double: bool) -> list[Any]:
    """`function` of every case, as NumPy arrays, on as many threads as there are processors.

    `double`: whether JAX computes in double precision meanwhile.
    """
    pool = ThreadPoolExecutor(processors(), thread_name_prefix="twosided")
    try:
        return list(pool.map(lambda case: _in_numpy(function, case, double), cases))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _in_numpy(function: Callable[[Any], Any], case: Any, double: bool) -> Any:
    with jax.enable_x64(double):  # it holds for one thread
        return jax.tree.map(np.asarray, function(case))
