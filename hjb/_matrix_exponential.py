"""The path `exp(M tau) u_0` of a tridiagonal matrix with non-negative off-diagonals, accurate in every component.

`u` spans hundreds of orders of magnitude in inventory, so an eigenvalue route loses its tails and any route in plain
floating point underflows. Three things keep each component's relative accuracy:

* all arithmetic is on non-negative numbers (the Taylor series of `M - min diag`, then squaring): nothing cancels;
* time is cut into chunks, and in each the unknown is `u / u(start of chunk)`, which starts at one everywhere;
* after each squaring the power is divided by its largest entry, whose logarithm is carried along.

Evenly spaced outputs cost one matrix product each time their number doubles.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


Nodes = Float[Array, " nodes"]
SLOPE_PER_CHUNK = 2.0  # how far a log-ratio of neighbours may move within a chunk


def chunk_sizes(times: int, step: float, steepness: float) -> tuple[int, ...]:
    """Numbers of output steps to a chunk, powers of two that double: the ratios of neighbours settle as time passes.

    `steepness` bounds the rate at which the log-ratio of two neighbours can move, per unit of time.
    """
    first = SLOPE_PER_CHUNK / steepness / step if steepness > 0 else math.inf
    size = 1 if first < 2 else min(1 << int(math.log2(first)), 1 << int(math.log2(times)))
    sizes: list[int] = []
    while (left := times - sum(sizes)) > 0:
        if len(sizes) > 1:
            size *= 2
        while size > left:
            size //= 2
        sizes.append(size)
    return tuple(sizes)


def log_path(diagonal: Nodes, down: Any, up: Any, log_start: Nodes, step: Any, chunks: tuple[int, ...]) -> Array:
    """`log u` at `tau = 0, step, 2 step, ...`, shape (1 + sum(chunks), nodes).

    du_i/dtau = diagonal_i u_i + down u_{i-1} + up u_{i+1},  u(0) = exp(log_start).
    """
    parts = [log_start[None]]
    for size in chunks:
        start = parts[-1][-1]
        rise = jnp.diff(start)
        matrix = (
            jnp.diag(diagonal) + jnp.diag(up * jnp.exp(rise), 1) + jnp.diag(down * jnp.exp(-rise), -1)
        )
        growth, log_growth = _outputs(matrix, step, size)
        parts.append(start + log_growth[:, None] + jnp.log(growth))
    return jnp.concatenate(parts)


def _outputs(matrix: Array, step: Any, size: int) -> tuple[Array, Array]:
    """`exp(j step matrix) 1` for j = 1..size as (size, nodes) rows and their common log factors (size,)."""
    power, log_power = exponential(matrix, step)
    block, log_block = jnp.sum(power, axis=1)[None], log_power[None]
    while block.shape[0] < size:
        further = block @ power.T
        block = jnp.concatenate([block, further])
        log_block = jnp.concatenate([log_block, log_block + log_power])
        if block.shape[0] < size:
            power, log_power = _square((power, log_power))
    return block, log_block


def exponential(matrix: Array, step: Any) -> tuple[Array, Array]:
    """`exp(step matrix)` as a non-negative matrix of largest entry one and the logarithm of its factor."""
    shift = jnp.min(jnp.diagonal(matrix))
    positive = (matrix - shift * jnp.eye(matrix.shape[0])) * step
    # The ratios that the chunk's basis removed may come back within it, and count towards the norm as well.
    norm = jnp.max(jnp.sum(positive, axis=1)) * math.exp(SLOPE_PER_CHUNK)
    squarings = jnp.ceil(jnp.log2(jnp.maximum(norm, 1.0))).astype(jnp.int32)
    small = _taylor(positive * 0.5**squarings)
    start = _rescale(small, shift * step * 0.5**squarings)
    return lax.fori_loop(0, squarings, lambda _, state: _square(state), start)


def _taylor(a: Array) -> Array:
    """`exp(a)` for a non-negative matrix of norm at most one: 18 terms, grouped by cubes."""
    identity = jnp.eye(a.shape[0])
    square = a @ a
    cube = square @ a
    weights = [1 / math.factorial(n) for n in range(18)]
    total = jnp.zeros_like(a)
    for n in range(15, -1, -3):
        group = weights[n] * identity + weights[n + 1] * a + weights[n + 2] * square
        total = group + (cube @ total if n < 15 else 0.0)
    return total


def _square(state: tuple[Array, Array]) -> tuple[Array, Array]:
    power, log_power = state
    return _rescale(power @ power, 2 * log_power)


def _rescale(power: Array, log_power: Any) -> tuple[Array, Array]:
    largest = jnp.max(power)
    return power / largest, log_power + jnp.log(largest)
