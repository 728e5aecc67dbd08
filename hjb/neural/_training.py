"""Training: Levenberg and Marquardt's steps on the sum of squared residuals, with fresh states from time to time.

A network of a few hundred weights has a Jacobian that fits in memory a slice at a time, so each step solves the damped
normal equations in double precision. Adam needs some thousand steps where this needs twenty; see `method` for figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.flatten_util import ravel_pytree

from ._ansatz import Ansatz

EACH = 32  # points of one sampled path
_SLICE = 256  # points whose Jacobian is held at once
_TRIES = 8
_EASED = 2.5  # the first cap on gains, in units of the demand's scale, until the caps are lifted step by step
_LIFT = 0.15
_ENOUGH = 0.1  # of the tolerance: where training may stop
_STALLED = 0.995
_PATIENCE = 2  # steps that hardly help before training on one and the same sample ends


@dataclass(frozen=True)
class Progress:
    """All that the next step depends on: what a checkpoint holds."""

    iteration: int
    weights: np.ndarray  # flat
    centre: np.ndarray
    spread: np.ndarray
    tau: np.ndarray  # the points of the moment
    x: np.ndarray
    damping: float = 1e-3
    stalled: int = 0  # steps in a row that hardly helped
    seconds: float = 0.0
    history: np.ndarray = field(default_factory=lambda: np.zeros(0))  # root mean square residual before each step


@dataclass(frozen=True)
class Schedule:
    """points: in a sample.  iterations: at most.  refresh: steps between samples.  seed, tolerance, seconds."""

    points: int
    iterations: int
    refresh: int
    seed: int
    tolerance: float
    seconds: float | None = None


def cap_at(iteration: int) -> float:
    """The cap on gains of that step."""
    return min(_EASED + _LIFT * max(0, iteration - 5), 6.0)


def begin(ansatz: Ansatz, schedule: Schedule) -> Progress:
    """The first sample, drawn under the baseline's own policy."""
    tau, x = drawn(ansatz, schedule, 0)
    ansatz = ansatz.fitted(tau, x)
    flat, _ = ravel_pytree(ansatz.weights)
    flat, centre, spread, tau, x = map(np.asarray, (flat, ansatz.centre, ansatz.spread, tau, x))
    return Progress(0, flat, centre, spread, tau, x)


def drawn(ansatz: Ansatz, schedule: Schedule, number: int, points: int | None = None) -> tuple[Any, Any]:
    """Sample `number` of the states that the candidate's policy visits."""
    points = schedule.points if points is None else points
    return _drawn(ansatz, jax.random.fold_in(jax.random.key(schedule.seed), number), -(-points // EACH))


@eqx.filter_jit
def _drawn(ansatz: Ansatz, key: Any, paths: int) -> tuple[Any, Any]:
    return ansatz.equation.sample(key, ansatz, paths, EACH)


def with_weights(ansatz: Ansatz, progress: Progress) -> Ansatz:
    """The candidate that a checkpoint describes."""
    return _rebuilt(ansatz, jnp.asarray(progress.weights), jnp.asarray(progress.centre), jnp.asarray(progress.spread))


def _rebuilt(ansatz: Ansatz, flat: Any, centre: Any = None, spread: Any = None) -> Ansatz:
    weights = ravel_pytree(ansatz.weights)[1](flat)
    centre = ansatz.centre if centre is None else centre
    return replace(ansatz, weights=weights, centre=centre, spread=ansatz.spread if spread is None else spread)


def train(
    ansatz: Ansatz, progress: Progress, schedule: Schedule, told: Callable[[Progress], None] = lambda progress: None
) -> Progress:
    """Steps until the residual is a tenth of the tolerance, nothing helps, or time or iterations are out.

    `told` hears of every step, and may raise to end the training.
    """
    started = time.perf_counter() - progress.seconds
    while progress.iteration < schedule.iterations:
        if schedule.seconds is not None and progress.seconds >= schedule.seconds:
            break
        number = progress.iteration
        if number and number % schedule.refresh == 0 and not ansatz.equation.settled:
            progress = _resampled(ansatz, progress, schedule)
        progress, done = _step(ansatz, progress, schedule)
        progress = replace(progress, seconds=time.perf_counter() - started)
        told(progress)
        if done:
            break
    return progress


def _resampled(ansatz: Ansatz, progress: Progress, schedule: Schedule) -> Progress:
    tau, x = drawn(with_weights(ansatz, progress), schedule, progress.iteration)
    return replace(progress, tau=np.asarray(tau), x=np.asarray(x), stalled=0)


def _step(ansatz: Ansatz, progress: Progress, schedule: Schedule) -> tuple[Progress, bool]:
    """One accepted step, or none where nothing helps; and whether training is over."""
    settled = ansatz.equation.settled
    cap = jnp.asarray(np.inf if settled and progress.stalled else cap_at(progress.iteration))
    points = (jnp.asarray(progress.tau), jnp.asarray(progress.x))
    ansatz = with_weights(ansatz, progress)
    normal, gradient, loss = map(np.asarray, _normal_equations(ansatz, cap, *points))
    weights, damping, better = progress.weights, progress.damping, loss
    diagonal = np.diag(normal) + 1e-10 * np.trace(normal) / len(normal)
    for _ in range(_TRIES):
        damped = normal + np.diag(damping * diagonal + 1e-14 * np.trace(normal))
        try:
            step = scipy.linalg.cho_solve(scipy.linalg.cho_factor(damped), gradient)
            trial = float(jnp.sum(residuals(_rebuilt(ansatz, jnp.asarray(weights - step)), cap, *points) ** 2))
        except np.linalg.LinAlgError:
            trial = np.inf
        if trial < loss:
            weights, better, damping = weights - step, trial, max(damping / 5, 1e-10)
            break
        damping = min(damping * 6, 1e8)
    size = len(progress.tau) * jnp.shape(ansatz.equation.scale)[0]
    slow = better > _STALLED**2 * loss
    after = replace(
        progress,
        iteration=progress.iteration + 1,
        weights=weights,
        damping=damping,
        stalled=progress.stalled + 1 if slow else 0,
        history=np.append(progress.history, np.sqrt(loss / size)),
    )
    small = np.sqrt(better / size) < _ENOUGH * schedule.tolerance
    fresh = progress.iteration > schedule.refresh  # the sample is one of a trained policy
    return after, bool(small and fresh) or (settled and after.stalled > _PATIENCE)


@eqx.filter_jit
def residuals(ansatz: Ansatz, cap: Any, tau: Any, x: Any) -> Any:
    """Relative residuals (points, outputs), a slice of points at a time; `cap` infinite is the equation as it is."""
    each = jax.vmap(lambda t, y: ansatz.equation.residual(ansatz, t, y, cap))
    return jax.lax.map(lambda points: each(*points), _sliced(tau, x)).reshape(len(tau), -1)


def _sliced(tau: Any, x: Any) -> tuple[Any, Any]:
    size = min(_SLICE, len(tau))
    while len(tau) % size:
        size -= EACH
    return tau.reshape(-1, size), x.reshape(-1, size, x.shape[1])


@eqx.filter_jit
def _normal_equations(ansatz: Ansatz, cap: Any, tau: Any, x: Any) -> tuple[Any, Any, Any]:
    """`J'J`, `J'r` and `r'r` of all residuals, `J` their Jacobian in the weights."""
    flat, rebuild = ravel_pytree(ansatz.weights)

    def row(t: Any, y: Any) -> tuple[Any, Any]:
        def found(weights: Any) -> Any:
            candidate = replace(ansatz, weights=rebuild(weights))
            return ansatz.equation.residual(candidate, t, y, cap)

        value, back = jax.vjp(found, flat)
        return value, jax.vmap(lambda unit: back(unit)[0])(jnp.eye(value.shape[0]))

    def add(total: Any, points: Any) -> Any:
        r, jacobian = jax.vmap(row)(*points)
        r, jacobian = r.reshape(-1), jacobian.reshape(-1, flat.shape[0])
        return (total[0] + jacobian.T @ jacobian, total[1] + jacobian.T @ r, total[2] + r @ r), None

    nothing = (jnp.zeros((flat.shape[0],) * 2), jnp.zeros_like(flat), jnp.zeros(()))
    return jax.lax.scan(add, nothing, _sliced(tau, x))[0]
