"""Simulation of Avellaneda and Stoikov's table against plain vectorised NumPy, and of a table against a formula.

Both sides draw the same law: 200 steps, a fill on each side with probability `min(Lambda dt, 1)`, the new inventory
bears a move of `+- sigma sqrt(dt)`. The yardstick is what one writes first: float64 arrays over all paths, one NumPy
call per operation, a loop over the steps. NumPy uses one core whatever there are; ours uses those there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import twosided as ts
from twosided.hjb.policy import TabulatedPolicy

from .timing import Comparison, compare

PATHS, STEPS = 1_000_000, 200
SIGMA, HORIZON, SCALE, DECAY, GAMMA = 2.0, 1.0, 140.0, 1.5, 0.1
PROFIT, DEVIATION = 64.8925, 6.5432  # exact, of the linear rule


def plain_numpy(paths: int, seed: int = 0) -> np.ndarray:
    """Profit of every path."""
    draw = np.random.default_rng(seed)
    dt = HORIZON / STEPS
    premium = np.log(1 + GAMMA / DECAY) / GAMMA
    price, inventory, cash = np.full(paths, 100.0), np.zeros(paths), np.zeros(paths)
    for step in range(STEPS):
        risk = GAMMA * SIGMA**2 * (HORIZON - step * dt)
        half = 0.5 * risk + premium
        bid, ask = half + inventory * risk, half - inventory * risk
        bought = draw.random(paths) < np.minimum(SCALE * dt * np.exp(-DECAY * bid), 1.0)
        sold = draw.random(paths) < np.minimum(SCALE * dt * np.exp(-DECAY * ask), 1.0)
        cash += sold * (price + ask) - bought * (price - bid)
        inventory += bought.astype(float) - sold
        price += SIGMA * np.sqrt(dt) * np.where(draw.random(paths) < 0.5, 1.0, -1.0)
    return cash + inventory * price


def tabulated(policy: Any, problem: Any) -> TabulatedPolicy:
    """The same quotes as a table over 201 times and 401 inventories, as a solver would hand them over."""
    tau, lots = np.linspace(0.0, HORIZON, 201), np.arange(-200.0, 201.0)
    quotes = policy(HORIZON - tau[:, None] + 0 * lots, {"inventory": lots + 0 * tau[:, None]})
    return TabulatedPolicy(problem, np.stack(quotes, axis=-1), np.float64(1.0), power=1)


def off(profit: np.ndarray) -> str:
    """How far the mean is off the exact one, in standard errors."""
    return f"{(np.mean(profit) - PROFIT) / (DEVIATION / np.sqrt(profit.size)):+.1f}"


def run() -> Iterator[Comparison]:
    """The formula against NumPy, then a table against the formula."""
    problem = ts.models.AvellanedaStoikov(SIGMA, HORIZON, SCALE, DECAY, GAMMA)
    formula = ts.solve(problem).policy
    table = tabulated(formula, problem)

    def simulate(policy: Any) -> np.ndarray:
        return ts.simulate(problem, policy, PATHS, seed=1, fills="linear", steps=STEPS, progress=False).wealth

    rate = f"{PATHS:,} paths x {STEPS} steps"
    yield compare(
        f"Avellaneda-Stoikov, {rate}",
        lambda: simulate(formula),
        lambda: plain_numpy(PATHS),
        against="plain NumPy",
        wanted=8.0,
        pairs=3,
        note=f"mean off by {off(simulate(formula))} and {off(plain_numpy(PATHS))} standard errors",
    )
    yield compare(
        "a tabulated policy, the same",
        lambda: simulate(table),
        lambda: simulate(formula),
        against="the closed-form policy",
        wanted=1 / 2.5,
        pairs=7,
        note=f"mean off by {off(simulate(table))} standard errors",
    )
