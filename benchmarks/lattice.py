"""Lattice against SciPy's integrators: 61 lots at 1000 times, and 1000 parameter sets in one call.

Both sides at equal achieved error: each runs at the loosest tolerance whose value at time 0 is within `ERROR` of the
truth (our own solution at the tightest setting).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

import twosided as ts

from .timing import Comparison, compare

ERROR = 1e-9
LOTS, TIMES, SETS = 30, 1000, 1000


def dealer(volatility: float = 0.3, demand: Any = None) -> Any:
    """The dealer of Gueant, Lehalle and Fernandez-Tapia (2013)."""
    models = ts.models
    demand = models.Exponential(0.9, 0.3) if demand is None else demand
    return models.InventoryDealer(
        volatility=volatility,
        horizon=600.0,
        bid_demand=demand,
        ask_demand=demand,
        lot=1.0,
        max_inventory=LOTS,
        objective=models.ExponentialUtility(0.01),
    )


def linear_rate(volatility: float) -> Callable[[float, Any], Any]:
    """`dtheta/dtau` for exponential demand, with its maximum in closed form."""
    k, scale, gamma = 0.3, 0.9, 0.01
    factor = scale * (1 + gamma / k) ** (-(1 + k / gamma)) / k
    cost = 0.5 * gamma * volatility**2 * np.arange(-LOTS, LOTS + 1) ** 2

    def rate(_: float, theta: Any) -> Any:
        rise = np.exp(k * np.diff(theta))
        out = -cost
        out[:-1] += factor * rise
        out[1:] += factor / rise
        return out

    return rate


def logistic_rate(volatility: float, scale: float = 1.8, alpha: float = 0.0, beta: float = 0.45) -> Any:
    """`dtheta/dtau` for logistic demand: Newton's iteration for the best distance, vectorised over the lattice."""
    gamma = 0.01
    cost = 0.5 * gamma * volatility**2 * np.arange(-LOTS, LOTS + 1) ** 2

    def hamiltonian(price: Any) -> Any:
        x = price + 1 / beta
        for _ in range(60):
            ratio = (1 + np.exp(-(alpha + beta * x))) / beta
            slope = 1 + np.exp(-(alpha + beta * x)) / (1 + gamma * ratio)
            step = (x - price - np.log1p(gamma * ratio) / gamma) / slope
            x = x - step
            if np.max(np.abs(step)) < 1e-13 * np.max(np.abs(x)):
                break
        return scale / (1 + np.exp(alpha + beta * x)) * -np.expm1(-gamma * (x - price)) / gamma

    def rate(_: float, theta: Any) -> Any:
        rise = np.diff(theta)
        gains = hamiltonian(np.concatenate([-rise, rise]))
        out = -cost
        out[:-1] += gains[: rise.size]
        out[1:] += gains[rise.size :]
        return out

    return rate


def integrate(rate: Any, method: str, tolerance: float, times: int) -> Any:
    """SciPy's solution at evenly spaced times to go, (times + 1, nodes)."""
    at = np.linspace(0.0, 600.0, times + 1)
    start = np.zeros(2 * LOTS + 1)
    return solve_ivp(rate, (0.0, 600.0), start, method, at, rtol=tolerance, atol=tolerance).y.T


def loosest(value: Callable[[float], Any], truth: Any) -> tuple[float, float]:
    """The loosest of the tolerances 1e-6, 1e-7, .. at which `value(tolerance)` comes within `ERROR`, and its error."""
    for exponent in range(6, 14):
        tolerance = 10.0**-exponent
        error = np.max(np.abs(value(tolerance) - truth))
        if error <= ERROR:
            break
    return tolerance, float(error)


def run() -> Iterator[Comparison]:
    """The four comparisons."""
    logistic = ts.models.Logistic(1.8, 0.0, 0.45)
    cases = [
        ("linearised", None, linear_rate, "DOP853", 30.0, 20.0),
        ("general demand", logistic, logistic_rate, "LSODA", 3.0, 10.0),
    ]
    for name, demand, rates, yardstick, wanted, wanted_batch in cases:
        tight = ts.hjb.Lattice(times=8, tolerance=1e-13)
        truth = ts.solve(dealer(0.3, demand), tight).tables.value[-1]

        def ours(tolerance: float, demand: Any = demand) -> Any:
            return ts.solve(dealer(0.3, demand), ts.hjb.Lattice(times=1, tolerance=tolerance)).tables.value[-1]

        def theirs(tolerance: float, rates: Any = rates, yardstick: str = yardstick) -> Any:
            return integrate(rates(0.3), yardstick, tolerance, 1)[-1]

        (own, error), (tolerance, other) = loosest(ours, truth), loosest(theirs, truth)
        method = ts.hjb.Lattice(times=TIMES, tolerance=own)
        note = f"{error:.0e} against {other:.0e}"
        problem, rate = dealer(0.3, demand), rates(0.3)
        yield compare(
            f"{name}, 61 lots x {TIMES} times",
            lambda problem=problem, method=method: ts.solve(problem, method),
            lambda rate=rate, tol=tolerance, how=yardstick: integrate(rate, how, tol, TIMES),
            against=yardstick,
            wanted=wanted,
            pairs=15,
            note=note,
        )
        sample = 20
        volatilities = np.linspace(0.1, 0.4, SETS)
        problems = [dealer(v, demand) for v in volatilities]
        once = ts.hjb.Lattice(times=1, tolerance=own)
        yield compare(
            f"{name}, {SETS} parameter sets, one call",
            lambda problems=problems, once=once: ts.solve_many(problems, once),
            lambda rates=rates, tol=tolerance, how=yardstick, some=volatilities[:: SETS // sample]: [
                integrate(rates(v), how, tol, 1) for v in some
            ],
            against=f"loop over {yardstick}",
            wanted=wanted_batch,
            pairs=3,
            scale=SETS / sample,
            note=note,
        )
