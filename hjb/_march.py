"""From the horizon to now: implicit steps of second order, each solved to a relative tolerance.

Crank-Nicolson after a Rannacher start (the first two steps are four implicit Euler half steps). Each step solves the
nonlinear equation by policy iteration merged with defect correction: the policy is updated, the defect of the full
equation is formed, and it is mapped back through the equation's approximate inverse (`invert`), until the defect is
below the tolerance relative to the solution. An equation gives

    start()                u at the horizon
    memory()               what the first evaluation starts from, such as a policy
    at(tau)(u, memory)     du/dtau as `.rate`, and `.memory` for the next evaluation
    prepare(g, moment, u, now), refresh    factors, worked out anew in every `refresh`-th correction of a step
    invert(factors, gap)   about (1 - g dF/du)^{-1} gap
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ._mixing import mixed, no_past, remembered
from ._tables import clock

RANNACHER_STEPS = 2
_TRACED_ITERATIONS = 12
_MIXED, _PLAIN = 5, 4  # corrections that the next one learns from, and the first ones, which do not


class Stop(NamedTuple):
    """When a step's corrections end; arrays, so that other settings need no new program."""

    tolerance: Any  # of the defect, relative to the solution
    max_iterations: Any

    @classmethod
    def of(cls, method: Any) -> Stop:
        return cls(np.asarray(method.tolerance, float), np.asarray(method.max_iterations))


class Path(NamedTuple):
    """What a march leaves at `steps/every + 1` times, and over all of its steps."""

    u: Any  # (times, 2, nodes, ...)
    residual: Any  # the largest
    iterations: Any  # of all steps together


class _Step(NamedTuple):
    u: Any
    rate: Any  # du/dtau
    trend: Any  # its change per unit of time over the last step
    bend: Any  # by how much that exceeds the trend of the step before
    bends: Any  # whether the last step would have been foreseen better with the bend
    memory: Any
    residual: Any
    iterations: Any


def march(equation: Any, steps: int, every: int, stop: Stop, traced: bool, part: Any = None) -> Path:
    """Step from the horizon to now and keep every `every`-th whole step, the horizon first.

    `traced` asks for a fixed number of corrections, which can be differentiated in either mode. A `part` of the way
    is `(u, tau, length)`: what it starts from, the time to go there, and how long it is.
    """
    start, begin, length = part or (equation.start(), jnp.zeros(()), equation.problem.horizon)
    ends, lengths, implicit, number = _schedule(length, steps)
    flat = jnp.zeros_like(start)
    first = _Step(start, flat, flat, flat, jnp.zeros((), bool), equation.memory(), jnp.zeros(()), jnp.zeros((), int))

    def step(carry: tuple[_Step, Any], x: Any) -> tuple[tuple[_Step, Any], tuple[Any, Any]]:
        old, kept = carry
        tau, dt, implicit, slot = x
        new = _advance(equation, old, tau, dt, implicit, stop, traced)
        kept = kept.at[slot].set(new.u)  # what is not yet the time to keep is overwritten by the next step
        return (new, kept), (new.residual, new.iterations)

    kept = jnp.zeros((steps // every + 1, *start.shape), start.dtype)
    times = (begin + ends, lengths, implicit, -(-number // every))
    (_, u), (residual, iterations) = lax.scan(step, (first, kept), times)
    return Path(u, jnp.max(residual), jnp.sum(iterations))


def _schedule(horizon: Any, steps: int) -> tuple[Any, Any, Any, Any]:
    """Of every step: the time to go at its end, its length, its implicit share, and the whole step it belongs to.

    The first one has no length: it finds the rate at the horizon, in the program that serves all others.
    """
    whole = horizon * clock(steps)
    number = np.concatenate(
        [[0], np.repeat(np.arange(1, RANNACHER_STEPS + 1), 2), np.arange(RANNACHER_STEPS + 1, steps + 1)]
    )
    half = np.arange(number.size) <= 2 * RANNACHER_STEPS
    first_half = half & (np.arange(number.size) % 2 == 1)
    ends = jnp.where(first_half, 0.5 * (whole[number - 1] + whole[number]), whole[number])
    return ends, jnp.diff(ends, prepend=0.0), jnp.where(half, 1.0, 0.5), number


def _advance(equation: Any, old: _Step, tau: Any, dt: Any, implicit: Any, stop: Stop, traced: bool) -> _Step:
    """One step to `tau`: `u - g F(u) = u_old + (dt - g) F_old` with `g = implicit dt`."""
    g = implicit * dt
    known = old.u + (dt - g) * old.rate
    moment = equation.at(tau)

    def factors_at(u: Any, now: Any) -> Any:
        return equation.prepare(g, moment, u, now)

    mixes = equation.refresh > 1 and not traced  # factors that are kept, and as rough as that, may need it

    def unmixed(past: Any, correction: Any, n: Any) -> Any:
        return correction

    def correct(state: Any) -> Any:
        u, memory, factors, past, _, _, n = state
        now = moment(u, memory)
        if equation.refresh == 1:
            factors = factors_at(u, now)
        else:
            factors = lax.cond(n % equation.refresh == 0, factors_at, lambda u, now: factors, u, now)
        gap = known + g * now.rate - u
        scale = jnp.maximum(jnp.max(jnp.abs(u)), jnp.finfo(u.dtype).tiny)
        residual = jnp.max(jnp.abs(gap)) / scale  # before the correction, so an upper bound
        kept = () if equation.refresh == 1 else factors
        correction = equation.invert(factors, gap)
        if mixes:
            past = remembered(past, u, correction, n)
            correction = lax.cond(n < _PLAIN, unmixed, mixed, past, correction, n)
        return u + correction, now.memory, kept, past, now.rate, residual, n + 1

    # Adams and Bashforth's weights. What corrections leave rings on under Crank-Nicolson, in the bend most of all.
    ahead = old.u + dt * (old.rate + 0.5 * dt * old.trend)
    bend = 5 / 12 * dt**2 * old.bend
    guess = jnp.where(old.bends, ahead + bend, ahead)
    blank = () if equation.refresh == 1 else jax.eval_shape(lambda u: factors_at(u, moment(u, old.memory)), guess)
    blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), blank)
    past = no_past(guess, _MIXED) if mixes else ()
    state = (guess, old.memory, blank, past, old.rate, jnp.full((), jnp.inf), jnp.zeros((), int))
    if traced:
        state, _ = lax.scan(lambda s, _: (correct(s), None), state, length=_TRACED_ITERATIONS)
    else:
        state = lax.while_loop(lambda s: (s[-2] > stop.tolerance) & (s[-1] < stop.max_iterations), correct, state)
    u, memory, _, _, found, residual, n = state
    moves = dt > 0
    rate = jnp.where(moves, (u - known) / jnp.where(moves, g, 1.0), found)
    trend = jnp.where(moves, rate - old.rate, 0.0) / jnp.where(moves, dt, 1.0)
    bends = jnp.max(jnp.abs(u - ahead - bend)) < jnp.max(jnp.abs(u - ahead))
    return _Step(u, rate, trend, trend - old.trend, bends, memory, residual, n)
