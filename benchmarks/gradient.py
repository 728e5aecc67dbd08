"""The gradient of a quote with respect to every parameter of the problem, against one solve of it.

Solvers differentiate forwards, all parameters at once (`hjb/_derivatives.py`), so the cost should grow far slower than
with the number of parameters: what one would pay for differences, two solves for each, is the alternative.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import numpy as np

import twosided as ts

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


def gradient_of(problem: Any, method: Any, state: dict[str, float]) -> Any:
    """A call that gives the gradient of the bid now, a tree like the problem, by one compiled program."""
    numbers, rest = eqx.partition(problem, eqx.is_array)

    def bid(numbers: Any) -> Any:
        stated = eqx.combine(numbers, rest)
        inventory = next(iter(state.values()))
        return method.solution(stated).policy(0.0, np.asarray(inventory)).bid

    compiled = jax.jit(jax.grad(bid))

    def call() -> Any:
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, jax.block_until_ready(compiled(numbers)))

    return call


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
        gradient = gradient_of(problem, method, state)
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
