"""The path `exp(M tau) u_0` of a tridiagonal matrix with non-negative off-diagonals, accurate in every component.

`u` spans hundreds of orders of magnitude in inventory, so an eigenvalue route loses its tails and any route in plain
floating point underflows. Three things keep each component's relative accuracy:

* all arithmetic is on non-negative numbers (the Taylor series of `M - min diag`, then squaring): nothing cancels;
* the unknown is `u / u(start)`, which starts at one everywhere; where it would still span more than a floating-point
  number can, time is cut into chunks, each with its own start;
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
LOG_RANGE = 500.0  # a chunk's solution may span e^500; e^700 is where floating point ends
LOG_SLOPE = 3.0  # and the ratio of neighbours may change by e^3: each factor of two costs a binary digit


def chunk_sizes(times: int, steep: bool) -> tuple[int, ...]:
    """Numbers of output steps to a chunk: one chunk where `u` cannot get too steep, else chunks that double.

    The ratios of neighbours settle as time passes, so later chunks may be longer. Two shapes only, so that a change of
    the numbers compiles at most once more.
    """
    if not steep or times < 2:
        return (times,)
    sizes, left = [1], times - 1
    while left > 0:
        sizes.append(min(sum(sizes), left))
        left -= sizes[-1]
    return tuple(sizes)


def log_path(
    diagonal: Nodes, down: Any, up: Any, log_start: Nodes, step: Any, chunks: tuple[int, ...], slope: Any
) -> Array:
    """`log u` at `tau = 0, step, 2 step, ...`, shape (1 + sum(chunks), nodes).

    du_i/dtau = diagonal_i u_i + down u_{i-1} + up u_{i+1},  u(0) = exp(log_start). `slope` bounds how far the log-ratio
    of two neighbours may move.
    """
    slope = jnp.minimum(slope, LOG_SLOPE)
    parts = [log_start[None]]
    for size in chunks:
        start = parts[-1][-1]
        if len(chunks) > 1 and len(parts) == 1:  # a steep start: its ratios are too large for any basis
            parts.append(_steep_step(diagonal, down, up, start, step, slope)[None])
            continue
        growth, log_growth = _outputs(_in_basis(diagonal, down, up, start), step, size, slope)
        parts.append(start[None] + log_growth[:, None] + jnp.log(growth))
    return jnp.concatenate(parts)


def _steep_step(diagonal: Nodes, down: Any, up: Any, log_u: Nodes, step: Any, slope: Any) -> Nodes:
    """`ln u` one step later from a start too steep for any basis: a first instant in logarithms, then growing steps.

    From time `t` to `4t` the ratio of two neighbours changes by about a factor of four however steep the start was, so
    that every step after the first has a basis to stand on.
    """
    norm = (jnp.max(diagonal) - jnp.min(diagonal) + up + down) * step
    growths = jnp.ceil(jnp.log2(jnp.maximum(norm, 1.0)) / 2)
    first = step / 4.0**growths

    def grow(_: Any, state: tuple[Any, Nodes]) -> tuple[Any, Nodes]:
        reached, log_u = state
        power, log_power = exponential(_in_basis(diagonal, down, up, log_u), 3 * reached, slope)
        return 4 * reached, log_u + log_power + jnp.log(jnp.sum(power, axis=1))

    start = first, _log_series(diagonal, down, up, log_u, first)
    return lax.fori_loop(0, growths.astype(jnp.int32), grow, start)[1]


def _in_basis(diagonal: Nodes, down: Any, up: Any, log_u: Nodes) -> Array:
    """The matrix of the equation for `u` counted in multiples of `exp(log_u)`."""
    rise = jnp.diff(log_u)
    return jnp.diag(diagonal) + jnp.diag(up * jnp.exp(rise), 1) + jnp.diag(down * jnp.exp(-rise), -1)


def _log_series(diagonal: Nodes, down: Any, up: Any, log_u: Nodes, step: Any) -> Nodes:
    """`ln u` after a short step by the Taylor series summed in logarithms: no component can overflow or get lost."""
    shift = jnp.min(diagonal)
    stay = jnp.log(jnp.maximum(diagonal - shift, jnp.finfo(log_u.dtype).tiny))
    none = jnp.full((1,), -jnp.inf)

    def term(n: Any, state: tuple[Nodes, Nodes]) -> tuple[Nodes, Nodes]:
        last, total = state
        above = jnp.concatenate([last[1:], none]) + jnp.log(up)
        below = jnp.concatenate([none, last[:-1]]) + jnp.log(down)
        new = jnp.logaddexp(jnp.logaddexp(above, below), last + stay) + jnp.log(step) - jnp.log(n.astype(last.dtype))
        return new, jnp.logaddexp(total, new)

    # Every node hears from every other, however far: as many terms as nodes, and some for the sum to settle.
    return lax.fori_loop(1, log_u.shape[0] + 40, term, (log_u, log_u))[1] + shift * step


def _outputs(matrix: Array, step: Any, size: int, slope: Any) -> tuple[Array, Array]:
    """`exp(j step matrix) 1` for j = 1..size as (size, nodes) rows and their common log factors (size,)."""
    power, log_power = exponential(matrix, step, slope)
    block, log_block = jnp.sum(power, axis=1)[None], log_power[None]
    while (done := block.shape[0]) < size:
        fresh = min(done, size - done)
        block = jnp.concatenate([block, block[:fresh] @ power.T])
        log_block = jnp.concatenate([log_block, log_block[:fresh] + log_power])
        if done + fresh < size:
            power, log_power = _square((power, log_power))
    return block, log_block


def exponential(matrix: Array, step: Any, slope: Any) -> tuple[Array, Array]:
    """`exp(step matrix)` as a non-negative matrix of largest entry one and the logarithm of its factor."""
    shift = jnp.min(jnp.diagonal(matrix))
    positive = (matrix - shift * jnp.eye(matrix.shape[0])) * step
    # Neighbours' ratios that the basis removed may come back as time passes, and count towards the norm as well.
    norm = jnp.max(jnp.sum(positive, axis=1)) * jnp.exp(slope)
    squarings = jnp.ceil(jnp.log2(jnp.maximum(norm, 1.0)))
    squarings = jnp.where(squarings < 64, squarings, jnp.nan)  # beyond, nothing is left of the digits: say so
    shrunk = jnp.exp2(-squarings)
    start = _rescale(_taylor(positive * shrunk), shift * step * shrunk)
    return lax.fori_loop(0, jnp.nan_to_num(squarings).astype(jnp.int32), lambda _, state: _square(state), start)


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
