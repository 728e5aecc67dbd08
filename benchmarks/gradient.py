"""The gradient of a quote with respect to every parameter of the problem, against one solve of it.

The adjoint equation (`hjb/sensitivity.py`) gives all derivatives of one quote by one linear march backwards, after the
solve; both are timed together. The alternative, central differences, takes two solves for each parameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import numpy as np

import twosided as ts
from twosided.hjb.sensitivity import quote_gradient

from .timing import Comparison, compare

WANTED = 1 / 4  # at most four solves
_STEP = 1e-4


def dealers() -> dict[str, tuple[Any, Any, dict[str, float]]]:
    """Problems with a method and the state to quote at, asymmetric throughout."""
    models = ts.models
    lots = {
        "volatility": 0.3,
        "horizon": 60.0,
        "lot": 1.0,
        "max_inventory": 30,
        "drift": 0.001,
        "adverse_selection": 0.05,
    }
    linear = models.InventoryDealer(
        **lots,
        bid_demand=models.Exponential(0.9, 0.3),
        ask_demand=models.Exponential(0.7, 0.3),
        objective=models.RunningPenalty(4.5e-4),
    )
    general = models.InventoryDealer(
        **lots,
        bid_demand=models.Exponential(0.9, 0.3),
        ask_demand=models.Exponential(0.7, 0.35),
        objective=models.MeanVariance(0.01),
    )
    accounts = models.StockCashDealer(
        growth=0.15,
        volatility=0.45,
        rate=0.03,
        horizon=5 / 244,
        bid_demand=models.Exponential(3660.0, 60.0),
        ask_demand=models.Exponential(3000.0, 70.0),
        lot=1.0,
        max_stock=10.0,
        objective=models.MeanVariance(10.0),
    )
    return {
        "stepped lattice, 61 lots x 200": (
            linear,
            ts.hjb.FiniteDifference(steps=200, extrapolate=False, half_width=30),
            {"inventory": 3.0},
        ),
        "integrated lattice, 61 lots": (general, ts.hjb.Lattice(times=64, half_width=30), {"inventory": 3.0}),
        "grid, 209 nodes x 200": (
            accounts,
            ts.hjb.FiniteDifference(nodes_per_lot=8, steps=200, extrapolate=False, half_width=13),
            {"stock": 2.0},
        ),
    }


def largest_error(problem: Any, method: Any, state: dict[str, float], gradient: Any) -> float:
    """How far the gradient is from central differences, relative to its largest entry in the numbers' own units."""
    numbers, rest = eqx.partition(problem, eqx.is_array)
    leaves, tree = jax.tree.flatten(numbers)
    found = jax.tree.leaves(gradient)

    def bid(i: int, by: float) -> float:
        moved = [np.asarray(x + by) if j == i else x for j, x in enumerate(leaves)]
        stated = eqx.combine(jax.tree.unflatten(tree, moved), rest)
        return float(ts.solve(stated, method).quotes(0.0, **state).bid)

    scaled, gaps = [], []
    for i, leaf in enumerate(leaves):
        unit = abs(float(leaf)) or 1.0
        step = _STEP * unit
        difference = (bid(i, step) - bid(i, -step)) / (2 * step)
        scaled.append(abs(difference) * unit)
        gaps.append(abs(float(found[i]) - difference) * unit)
    return max(gaps) / max(scaled)


def run() -> Iterator[Comparison]:
    """One comparison for each problem."""
    for name, (problem, method, state) in dealers().items():

        def gradient(problem: Any = problem, method: Any = method, state: dict[str, float] = state) -> Any:
            return quote_gradient(ts.solve(problem, method), "bid", 0.0, **state)

        count = len(jax.tree.leaves(eqx.filter(problem, eqx.is_array)))
        error = largest_error(problem, method, state, gradient())
        yield compare(
            f"gradient, {count} parameters; {name}",
            gradient,
            lambda problem=problem, method=method: ts.solve(problem, method),
            against="one solve",
            wanted=WANTED,
            pairs=15,
            note=f"differences within {error:.0e}",
        )
