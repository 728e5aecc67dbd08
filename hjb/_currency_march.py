"""From the horizon to now for the currency dealer: implicit steps for finite differences, or an adaptive integrator.

The implicit steps are Alexander's (1977, "Diagonally implicit Runge-Kutta methods for stiff ODEs", SIAM Journal on
Numerical Analysis 14, 1006): three stages, order three, L-stable and stiffly accurate. Each stage is an implicit Euler
step `u - g F(u) = known`, so nothing has to be smoothed first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.integrate import solve_ivp

from ._currency_equation import Bands, CurrencyEquation, solved
from ._tables import clock

_A = 0.43586652150845967  # the root of a^3 - 3 a^2 + 3 a/2 - 1/6 between a sixth and a half
_B = (-1.5 * _A**2 + 4 * _A - 0.25, 1.5 * _A**2 - 5 * _A + 1.25)
_STALE = 0.2  # how much the step may have changed, or a correction shrink the defect, before factors are renewed

Implicit = Callable[[float, np.ndarray, float], tuple[np.ndarray, np.ndarray]]
"""`(tau, known, g) -> u, F(u)` with `u - g F(u) = known`."""


class Marched(NamedTuple):
    """`theta` of shape (times, nodes) at times to go on the clock, and what it took."""

    theta: np.ndarray
    residual: float  # the largest defect of a stage, relative to the largest value
    iterations: int
    least_off_diagonal: float = np.nan  # of every generator that was factored; not negative for a Markov chain


def march(equation: CurrencyEquation, steps: int, tolerance: float, max_iterations: int) -> Marched:
    """`steps` implicit steps on the clock."""
    newton = _Newton(equation, tolerance, max_iterations)
    with np.errstate(over="ignore", invalid="ignore"):  # a solve that runs away is told by its residual
        theta = _steps(equation.start(), clock(steps) * float(equation.problem.horizon), newton)
    return Marched(theta, newton.residual, newton.iterations, newton.least)


def carried(tau: np.ndarray, moment: Callable[[float], tuple[Bands, np.ndarray]]) -> np.ndarray:
    """`w_tau = G w + source` from `w = 0`, shape (times, nodes); `moment(tau)` gives `G` and `source`."""

    def linear(at: float, known: np.ndarray, g: float) -> tuple[np.ndarray, np.ndarray]:
        generator, source = moment(at)
        u = solved(generator.factors(g), known + g * source)
        return u, (u - known) / g

    return _steps(np.zeros_like(moment(0.0)[1]), tau, linear)


def _steps(u: np.ndarray, ends: np.ndarray, implicit: Implicit) -> np.ndarray:
    kept = [u]
    for start, dt in zip(ends[:-1], np.diff(ends), strict=True):
        _, first = implicit(start + _A * dt, u, _A * dt)
        _, second = implicit(start + 0.5 * (1 + _A) * dt, u + 0.5 * (1 - _A) * dt * first, _A * dt)
        u, _ = implicit(start + dt, u + dt * (_B[0] * first + _B[1] * second), _A * dt)
        kept.append(u)
    return np.stack(kept)


class _Newton:
    """Implicit stages by policy iteration, whose factors are kept while they serve."""

    def __init__(self, equation: CurrencyEquation, tolerance: float, max_iterations: int):
        self.equation, self.tolerance, self.max_iterations = equation, tolerance, max_iterations
        self.rate = equation.rate(equation.start())
        self.factors: Any = None
        self.g = 0.0
        self.residual, self.iterations, self.least = 0.0, 0, np.inf

    def __call__(self, tau: float, known: np.ndarray, g: float) -> tuple[np.ndarray, np.ndarray]:
        u, before = known + g * self.rate, np.inf
        if not np.all(np.isfinite(u)):
            self.residual = np.inf
            return np.full_like(u, np.nan), np.full_like(u, np.nan)
        if self.factors is None or abs(g / self.g - 1) > _STALE:
            self._renew(u, g)
        for iteration in range(self.max_iterations + 1):
            self.rate = self.equation.rate(u)
            gap = known + g * self.rate - u
            defect = float(np.max(np.abs(gap)) / max(np.max(np.abs(u)), np.finfo(float).tiny))
            if defect <= self.tolerance or iteration == self.max_iterations or not np.isfinite(defect):
                break
            if defect > _STALE * before:
                self._renew(u, g)
            u, before = u + solved(self.factors, gap), defect
            self.iterations += 1
        self.residual = max(self.residual, defect if np.isfinite(defect) else np.inf)
        return u, self.rate

    def _renew(self, u: np.ndarray, g: float) -> None:
        generator = self.equation.linearised(u)[1]
        self.least = min(self.least, generator.least_off_diagonal())
        self.factors, self.g = generator.factors(g), g


def integrate(equation: CurrencyEquation, times: int, tolerance: float) -> Marched:
    """Adaptive steps of variable order (LSODA: Petzold 1983), with the policy's generator for the Jacobian."""
    horizon, reach = float(equation.problem.horizon), equation.reach
    scale = max(float(np.max(np.abs(equation.rate(equation.start())))) * horizon, 1.0)
    ends = clock(times) * horizon
    found = solve_ivp(
        lambda _, u: equation.rate(scale * u) / scale,
        (0.0, horizon),
        equation.start() / scale,
        method="LSODA",
        t_eval=ends,
        rtol=tolerance,
        atol=tolerance,
        jac=lambda _, u: equation.linearised(scale * u)[1].table,
        lband=reach,
        uband=reach,
    )
    if not found.success:
        return Marched(np.full((ends.size, equation.q.size), np.nan), np.inf, found.nfev)
    return Marched(scale * found.y.T, 0.0, found.nfev)
