"""Adaptive explicit integration of smooth equations: Gragg's modified midpoint rule, extrapolated.

A lattice's generator is bounded, so that the equations of a book are smooth in time and stiff only within an instant
of a steep end; an explicit method of high order takes few steps. The midpoint rule with `n = 2, 4, ..., 12` substeps
has an error in even powers of `1/n`, so that the six results combine to order twelve; without the last they give order
ten, and the difference is the error that steers the step (Gragg 1965; Hairer, Norsett and Wanner 1993, section II.9).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

_SUBSTEPS = np.arange(2, 13, 2)
_SAFETY, _SLOWEST, _FASTEST = 0.85, 0.2, 4.0
_FIRST_STEP = 0.05  # at a tolerance of one, in units of the whole span


def _weights(substeps: np.ndarray) -> np.ndarray:
    """Of the results with so many substeps in the extrapolation to infinitely many."""
    squares = substeps.astype(float) ** 2
    return np.array([np.prod([n / (n - m) for m in squares if m != n]) for n in squares])


_BEST = _weights(_SUBSTEPS)
_CHECK = np.append(_weights(_SUBSTEPS[:-1]), 0.0)


class Path(NamedTuple):
    u: Any  # at the times asked for, (times, ...)
    steps: Any  # taken, refused ones included
    finished: Any  # False where `max_steps`, or steps too small to count, did not lead to the end


def integrate(rate: Callable[[Any], Any], start: Any, times: Any, scale: Any, tolerance: Any, max_steps: int) -> Path:
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
            new, error = _step(rate, u, length)
            size = jnp.max(jnp.abs(error) / (tolerance * (scale + jnp.maximum(jnp.abs(u), jnp.abs(new)))))
            size = jnp.where(jnp.isfinite(size), size, jnp.inf)
            factor = jnp.clip(_SAFETY * jnp.maximum(size, 1e-20) ** (-1 / 11), _SLOWEST, _FASTEST)
            accepted = size <= 1
            last = length < dt  # a step cut short by the target says little about the next
            then = jnp.where(last, target, t + length)
            proposed = lax.stop_gradient(jnp.where(accepted & last, jnp.maximum(dt, length * factor), length * factor))
            return jnp.where(accepted, then, t), jnp.where(accepted, new, u), proposed, steps + 1

        t, u, dt, steps = lax.while_loop(under_way, attempt, carry)
        return (t, u, dt, steps), u

    first = _FIRST_STEP * tolerance ** (1 / 11)
    begin = (jnp.zeros(()), start, first, jnp.zeros((), int))
    (t, _, _, steps), path = lax.scan(to_next, begin, times)
    return Path(path, steps, t == times[-1])


def _step(rate: Callable[[Any], Any], u: Any, length: Any) -> tuple[Any, Any]:
    """`u` a step later, and the estimated error."""
    slope = rate(u)

    def midpoint(sums: Any, formula: Any) -> tuple[Any, None]:
        count, best, check = formula
        h = length / count.astype(u.dtype)

        def substep(_: Any, pair: Any) -> Any:
            before, now = pair
            return now, before + 2 * h * rate(now)

        _, end = lax.fori_loop(1, count, substep, (u, u + h * slope))
        change = end - u
        return (sums[0] + best * change, sums[1] + (best - check) * change), None

    formulas = (jnp.asarray(_SUBSTEPS), jnp.asarray(_BEST, u.dtype), jnp.asarray(_CHECK, u.dtype))
    (change, error), _ = lax.scan(midpoint, (jnp.zeros_like(u), jnp.zeros_like(u)), formulas)
    return u + change, error
