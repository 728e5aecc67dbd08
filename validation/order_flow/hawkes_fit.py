"""Hawkes processes from observed events, by maximum likelihood.

    log L = sum_n log lambda_{c_n}(t_n) - sum_i int_0^T lambda_i dt                       (Ozaki 1979)

The sums over earlier events follow a recursion from one event to the next, so the likelihood takes time in proportion
to their number; JAX differentiates through it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from ...models._precision import is_traced
from ._likelihood import Parameters, log_density, passed
from .hawkes import Hawkes

FEWEST = 10
"""Events of a component below which no fit is tried."""
PADDED = 1024
_FARTHEST = math.log(1e20)
"""From where the search begins, in the logarithms: beyond, it runs away, as it does from events at one instant."""
_EDGE = 0.999
"""Branching ratio of the process that stands for one that runs away."""


class HawkesErrors(NamedTuple):
    """Standard errors, each of the shape of its parameter; 0 where a jump was held at 0."""

    baseline: np.ndarray
    jumps: np.ndarray
    decays: np.ndarray


class HawkesFit(NamedTuple):
    """The most likely process.

    hawkes, errors: its parameters and their standard errors, from the curvature of the likelihood at its top.
    covariance:     of the free parameters: baselines, then free jumps by rows, then decays.
    log_likelihood: at the top.
    events:         behind the fit.
    converged:      whether the gradient vanishes at the top and the likelihood falls in all directions. Where it does
                    not, the data do not tell the parameters apart, and the errors mean nothing. Nor does a process
                    converge that runs away, its branching ratio 1 or more, as the likeliest does where the rate rises
                    all along: its jumps are then lowered to a ratio of 0.999, and there are no errors.
    """

    hawkes: Hawkes
    errors: HawkesErrors
    covariance: np.ndarray
    log_likelihood: float
    events: int
    converged: bool


def log_likelihood(hawkes: Hawkes, times: Any, components: Any, horizon: float) -> Any:
    """`log L` of events seen over (0, horizon] by a process that starts from nothing; differentiable in `hawkes`.

    times, components: (events,), increasing, and 0 to m - 1.
    Raises `ValueError` where they are not.
    """
    times, marks = _checked(times, components, horizon, hawkes.components)
    law = Parameters(hawkes.baseline, hawkes.jumps, hawkes.decays)
    if is_traced(law):
        return log_density(law, times, marks, horizon)
    with jax.enable_x64(True):
        return float(_log_density(law, times, marks, np.float64(horizon)))


def residuals(hawkes: Hawkes, times: Any, components: Any, horizon: float) -> list[np.ndarray]:
    """Per component the integral of its rate from one of its events to the next, the first from time 0.

    Under the right law these are independent unit exponentials (Papangelou 1972).
    """
    times, marks = _checked(times, components, horizon, hawkes.components)
    with jax.enable_x64(True):
        each = _passed(Parameters(hawkes.baseline, hawkes.jumps, hawkes.decays), times, marks)
    clock = np.cumsum(np.asarray(each), axis=0)
    return [np.diff(clock[marks[:, i] > 0, i], prepend=0.0) for i in range(hawkes.components)]


def fit_hawkes(times: Any, components: Any, horizon: float, *, speeds: int = 1, excites: Any = None) -> HawkesFit:
    """The most likely process for events seen over (0, horizon], nothing having come before.

    speeds:  `K`, how many decays.
    excites: (m, m) of booleans: whether the second component may lift the first; all may, if not given.
    Raises `ValueError` for events out of order or range, or fewer than `FEWEST` of a component.
    """
    components = np.asarray(components)
    m = int(components.max()) + 1 if components.size else 1
    times, marks = _checked(times, components, horizon, m)
    seen = marks.sum(axis=0)
    if np.min(seen) < FEWEST:
        raise ValueError(f"a fit needs {FEWEST} events of every component, got {seen.astype(int)}; watch for longer")
    free = np.ones((m, m), bool) if excites is None else np.asarray(excites, bool)
    if free.shape != (m, m) or speeds < 1:
        raise ValueError(f"excites must be ({m}, {m}) and speeds at least 1, got {free.shape} and {speeds}")
    shape = (m, m, speeds)
    free = np.flatnonzero(np.broadcast_to(free[:, :, None], shape))
    # Records of about one length share one compilation.
    fill = -times.size % PADDED
    padded = np.pad(times, (0, fill), constant_values=float(horizon)), np.pad(marks, ((0, fill), (0, 0)))
    minus = _Minus(free, shape, *padded, np.asarray(horizon, float))

    start = np.log(_guess(seen, float(horizon), free.size, speeds))

    def at(logs: np.ndarray) -> np.ndarray:
        return np.exp(np.clip(logs, start - _FARTHEST, start + _FARTHEST))

    def loss(logs: np.ndarray) -> tuple[float, np.ndarray]:
        """By the logarithms, which keep the signs, and per event, which keeps the first step short."""
        x, within = at(logs), np.abs(logs - start) < _FARTHEST
        value, slope = minus.with_slope(x)
        return value / times.size, np.where(within, slope * x, 0.0) / times.size

    best = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-7})
    x, value, slope, curvature = _polished(at(best.x), minus)
    if calmed := _branching(unpacked(x, free, shape)) >= 1:
        x = _calmed(x, free, shape)
        value, slope = minus.with_slope(x)
    top = not calmed and _is_peak(curvature, x)
    covariance = np.linalg.inv(curvature) if top else np.full_like(curvature, np.nan)
    errors = np.sqrt(np.diag(covariance))
    return HawkesFit(
        Hawkes(*unpacked(x, free, shape)),
        HawkesErrors(*map(np.asarray, unpacked(errors, free, shape))),
        covariance,
        -value,
        times.size,
        top and bool(np.max(np.abs(covariance @ slope) / errors) < 0.01),
    )


def _checked(times: Any, components: Any, horizon: float, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Times, and marks (events, m) that are 1 at the event's component; `ValueError` where they make no record."""
    times, components = np.asarray(times, float), np.asarray(components)
    if (
        times.ndim != 1
        or times.shape != components.shape
        or (times.size and not np.issubdtype(components.dtype, np.integer))
    ):
        raise ValueError(f"times and whole components must be of one length, got {times.shape} and {components.shape}")
    if times.size and not (times[0] > 0 and times[-1] <= horizon and np.all(np.diff(times) >= 0)):
        raise ValueError(f"times must increase within (0, {horizon}]; sort them, and count from the start of the watch")
    if times.size and not (components.min() >= 0 and components.max() < m):
        raise ValueError(f"components must lie between 0 and {m - 1}, got {components.min()} to {components.max()}")
    return times, (components[:, None] == np.arange(m)).astype(float)


def _guess(seen: np.ndarray, horizon: float, jumps: int, speeds: int) -> np.ndarray:
    """Half of the events come of themselves; decays from the mean gap upwards, a factor of ten apart."""
    decays = seen.sum() / horizon * 10.0 ** np.arange(speeds)
    each = 0.5 / (seen.size * speeds) * decays
    return np.concatenate([0.5 * seen / horizon, np.resize(each, jumps), decays])


def unpacked(x: Any, free: Any, shape: tuple[int, int, int]) -> Parameters:
    """Baseline, jumps and decays from the free parameters in a row; `free` are places in the flattened jumps."""
    m, speeds = shape[0], shape[2]
    inner = slice(m, x.shape[0] - speeds)
    if isinstance(x, np.ndarray):
        jumps: Any = np.zeros(math.prod(shape))
        jumps[free] = x[inner]
    else:
        jumps = jnp.zeros(math.prod(shape), x.dtype).at[free].set(x[inner])
    return Parameters(x[:m], jumps.reshape(shape), x[inner.stop :])


class _Minus(NamedTuple):
    """`-log L` as a function of the free parameters."""

    free: np.ndarray
    shape: tuple[int, int, int]
    times: np.ndarray
    marks: np.ndarray
    horizon: np.ndarray

    def with_slope(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        with jax.enable_x64(True):
            value, slope = _value_and_slope(x, *self)
            return float(value), np.asarray(slope)

    def with_curvature(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        with jax.enable_x64(True):
            return (*self.with_slope(x), np.asarray(_curvature(x, *self)))


def _minus(x: Any, free: Any, shape: Any, times: Any, marks: Any, horizon: Any) -> Any:
    # The search may pass through processes that run away: over a finite time their likelihood is finite.
    return -log_density(unpacked(x, free, shape), times, marks, horizon)


_value_and_slope = eqx.filter_jit(jax.value_and_grad(_minus))
_curvature = eqx.filter_jit(jax.hessian(_minus))
_log_density = eqx.filter_jit(log_density)
_passed = eqx.filter_jit(passed)


def _branching(law: Parameters) -> float:
    return float(np.max(np.abs(np.linalg.eigvals((law.jumps / law.decays).sum(axis=-1)))))


def _calmed(x: np.ndarray, free: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The parameters with jumps lowered, all by one factor, until the branching ratio is `_EDGE`."""
    jumps = slice(shape[0], x.size - shape[2])
    calm = x.copy()
    calm[jumps] *= _EDGE / _branching(unpacked(x, free, shape))
    return calm


def _is_peak(curvature: np.ndarray, x: np.ndarray) -> bool:
    """Whether `-log L` rises in all directions, judged free of units."""
    scaled = curvature * x[:, None] * x[None, :]
    return bool(np.all(np.isfinite(scaled)) and np.linalg.eigvalsh(scaled)[0] > 0)


def _polished(x: np.ndarray, minus: _Minus) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """A few of Newton's steps from near the top: parameters, `-log L`, its gradient and its second derivatives."""
    value, slope, curvature = minus.with_curvature(x)
    for _ in range(4):
        if not _is_peak(curvature, x):
            break
        moved = x - np.linalg.solve(curvature, slope)
        if np.any(moved <= 0):
            break
        there = minus.with_curvature(moved)
        if not there[0] <= value + 1e-9 * abs(value):
            break
        x, (value, slope, curvature) = moved, there
    return x, value, slope, curvature
