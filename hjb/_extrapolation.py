"""Adaptive explicit integration of smooth equations: Gragg's modified midpoint rule, extrapolated.

A lattice's generator is bounded, so that the equations of a book are smooth in time and stiff only within an instant
of a steep end; an explicit method of high order takes few steps. The midpoint rule with `n = 2, 4, ..., 12` substeps
has an error in even powers of `1/n`, so that the first `k` results combine to order `2 k`; without the last they give
order `2 k - 2`, and the difference is the error. A step takes as many results as it needs, and the next is longer where
it needed few (Gragg 1965; Hairer, Norsett and Wanner 1993, section II.9).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

_SUBSTEPS = np.arange(2, 13, 2)
_MOST = _SUBSTEPS.size
_SAFETY, _SLOWEST, _FASTEST = 0.85, 0.2, 4.0
_EASY = 0.25  # longer next time, for every result that a step could do without
_FIRST_STEP = 0.05  # at a tolerance of one, in units of the whole span


def _weights(count: int) -> np.ndarray:
    """Of the results with so many substeps in the extrapolation to infinitely many, from the first `count`."""
    squares = _SUBSTEPS[:count].astype(float) ** 2
    row = [np.prod([n / (n - m) for m in squares if m != n]) for n in squares]
    return np.pad(row, (0, _MOST - count))


_BEST = np.stack([_weights(count) for count in range(1, _MOST + 1)])


class Path(NamedTuple):
    u: Any  # at the times asked for, (times, ...)
    steps: Any  # taken, refused ones included
    finished: Any  # False where `max_steps`, or steps too small to count, did not lead to the end


def integrate(rate: Callable[[Any], Any], start: Any, times: Any, scale: Any, tolerance: Any, max_steps: Any) -> Path:
    """`u' = rate(u)` from `u(0) = start`, kept at rising `times` in [0, 1] of which the first is 0.

    An error per step of `tolerance (scale + |u|)` is allowed, `scale` a size below which `u` does not matter.
    """

    def to_next(carry: Any, target: Any) -> tuple[Any, Any]:
        def under_way(state: Any) -> Any:
            t, _, dt, steps = state
            return (t < target) & (steps < max_steps) & (dt > jnp.finfo(dt.dtype).eps)

        def attempt(state: Any) -> Any:
            t, u, dt, steps = state
            length = jnp.minimum(dt, target - t)

            def in_tolerance(new: Any, error: Any) -> Any:
                allowed = tolerance * (scale + jnp.maximum(jnp.abs(u), jnp.abs(new)))
                size = jnp.max(jnp.abs(error) / allowed)
                return jnp.where(jnp.isfinite(size), size, jnp.inf)

            new, size, results = _step(rate, u, length, in_tolerance)
            order = (2 * results - 1).astype(dt.dtype)
            easy = 1 + _EASY * (_MOST - results).astype(dt.dtype)
            factor = jnp.clip(easy * _SAFETY * jnp.maximum(size, 1e-20) ** (-1 / order), _SLOWEST, _FASTEST)
            accepted = size <= 1
            cut = length < dt  # by the target: it says little about the next
            then = jnp.where(cut, target, t + length)
            proposed = lax.stop_gradient(jnp.where(accepted & cut, jnp.maximum(dt, length * factor), length * factor))
            return jnp.where(accepted, then, t), jnp.where(accepted, new, u), proposed, steps + 1

        t, u, dt, steps = lax.while_loop(under_way, attempt, carry)
        return (t, u, dt, steps), u

    first = _FIRST_STEP * tolerance ** (1 / 11)
    begin = (jnp.zeros(()), start, first, jnp.zeros((), int))
    (t, _, _, steps), path = lax.scan(to_next, begin, times)
    return Path(path, steps, t == times[-1])


def _step(rate: Callable[[Any], Any], u: Any, length: Any, size_of: Callable[[Any, Any], Any]) -> tuple[Any, Any, Any]:
    """`u` a step later, the size of its error in units of what is allowed, and from how many results."""
    slope, best = rate(u), jnp.asarray(_BEST, u.dtype)

    def unfinished(state: Any) -> Any:
        count, size, *_ = state
        return (count < _MOST) & (size > 1)

    def one_more(state: Any) -> Any:
        count, _, last, changes = state
        substeps = jnp.asarray(_SUBSTEPS)[count]
        h = length / substeps.astype(u.dtype)

        def substep(_: Any, pair: Any) -> Any:
            before, now = pair
            return now, before + 2 * h * rate(now)

        _, end = lax.fori_loop(1, substeps, substep, (u, u + h * slope))
        changes = changes.at[count].set(end - u)
        change = jnp.tensordot(best[count], changes, 1)
        size = jnp.where(count > 0, size_of(u + change, change - last), jnp.inf)
        return count + 1, size, change, changes

    none = jnp.zeros_like(u)
    begin = (jnp.zeros((), int), jnp.asarray(jnp.inf, u.dtype), none, jnp.zeros((_MOST, *u.shape), u.dtype))
    count, size, change, _ = lax.while_loop(unfinished, one_more, begin)
    return u + change, size, count
