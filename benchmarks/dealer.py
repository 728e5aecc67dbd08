"""The dealer's finite differences against the same scheme written with NumPy and SciPy's `solve_banded`.

Both sides march the same equation on the same 401 nodes and 200 steps and iterate each step until the defect is below
1e-10 of the solution. The yardstick freezes the policy and the jumps of the last iterate and solves for transport and
the rate of leaving with one banded solve for value and mean together: the plain way to do it in SciPy.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.linalg import solve_banded

import twosided as ts

from .timing import Comparison, compare

NODES, STEPS, TOLERANCE = 401, 200, 1e-10
GROWTH, SIGMA, RATE, HORIZON, LOT, LIMIT, LAMBDA, SCALE, DECAY = (
    0.15,
    0.45,
    0.03,
    20 / 244,
    1.0,
    10.0,
    10.0,
    3660.0,
    60.0,
)


def dealer() -> Any:
    """The reference case of the documentation: 20 trading days, mean-variance with lambda = 10."""
    models = ts.models
    demand = models.Exponential(SCALE, DECAY)
    return models.StockCashDealer(GROWTH, SIGMA, RATE, HORIZON, demand, demand, LOT, LIMIT, models.MeanVariance(LAMBDA))


def banded_loop() -> tuple[Any, int]:
    """Value and mean at time 0, (2, nodes), and the iterations it took."""
    per_lot = 20
    y = np.linspace(-LIMIT, LIMIT, NODES)
    dy = y[1] - y[0]
    diffusion, drift = 0.5 * SIGMA**2 * y**2 / dy**2, GROWTH * y / (2 * dy)
    up, down = np.maximum(diffusion + drift, 0), np.maximum(diffusion - drift, 0)
    up[[0, -1]] = down[[0, -1]] = 0
    permitted = {s: np.clip((LIMIT - LOT - s * y) / dy + 0.5, 0, 1) for s in (1, -1)}

    def evaluate(tau: float, u: Any) -> tuple[Any, Any]:
        e = np.exp(RATE * tau)
        h = u[1]
        slope = np.gradient(h, dy)
        out = up * (np.roll(u, -1, 1) - u) + down * (np.roll(u, 1, 1) - u)
        s, a = np.expm1((GROWTH - RATE) * tau) * e, 2 * GROWTH + SIGMA**2
        c = 0.5 * LAMBDA * np.exp(2 * GROWTH * tau) * np.expm1(SIGMA**2 * tau)
        ends = np.array([GROWTH * s * y - a * c * y**2, GROWTH * s * y])
        out[:, [0, -1]] = ends[:, [0, -1]]
        slope[[0, -1]] = s
        out += (GROWTH - RATE) * y * e
        out[0] -= 0.5 * LAMBDA * (SIGMA * y) ** 2 * (e + slope) ** 2
        leave = np.zeros(NODES)
        m = LOT * e
        kappa = DECAY / m
        for side in (1, -1):
            v = np.empty_like(u)
            if side == 1:
                v[:, :-per_lot], v[:, -per_lot:] = u[:, per_lot:], u[:, -1:]
            else:
                v[:, per_lot:], v[:, :per_lot] = u[:, :-per_lot], u[:, :1]
            dtheta, dh = v - u
            k = 1 - kappa * (dtheta - dh)
            income = 2 * k / (kappa + LAMBDA + np.sqrt((kappa + LAMBDA) ** 2 - 2 * kappa * LAMBDA * k))
            rate = permitted[side] * SCALE * np.exp(-DECAY * (income - dh) / m)
            out[0] += rate * (income + dtheta - dh - 0.5 * LAMBDA * income**2)
            out[1] += rate * income
            leave += rate
        return out, leave

    clock = HORIZON * np.linspace(0, 1, STEPS + 1) ** 2
    steps = []  # end, length, share implicit: two steps as four implicit Euler halves, then Crank-Nicolson
    for n, (start, end) in enumerate(pairwise(clock)):
        half = 0.5 * (end - start)
        steps += [(start + half, half, 1.0), (end, half, 1.0)] if n < 2 else [(end, end - start, 0.5)]
    u = np.zeros((2, NODES))
    rate, _ = evaluate(0.0, u)
    before, last_dt, total = rate, 1.0, 0
    for tau, dt, implicit in steps:
        g = implicit * dt
        known = u + (dt - g) * rate
        trend = (rate - before) / last_dt
        u = u + dt * (rate + 0.5 * dt * trend)
        while True:
            total += 1
            now, leave = evaluate(tau, u)
            gap = known + g * now - u
            bands = np.zeros((3, NODES))
            bands[0, 1:], bands[1], bands[2, :-1] = -g * up[:-1], 1 + g * (up + down + leave), -g * down[1:]
            u = u + solve_banded((1, 1), bands, gap.T, overwrite_ab=True, overwrite_b=True, check_finite=False).T
            if np.max(np.abs(gap)) <= TOLERANCE * np.max(np.abs(u)):
                break
        before, rate, last_dt = rate, (u - known) / g, dt
    return u, total


def run() -> Iterator[Comparison]:
    """The comparison, and that both arrive at the same numbers."""
    method = ts.hjb.FiniteDifference(
        nodes_per_lot=20, steps=STEPS, half_width=10, extrapolate=False, tolerance=TOLERANCE, crowded=False
    )
    solution = ts.solve(dealer(), method)
    u, iterations = banded_loop()
    apart = np.max(np.abs(u - np.stack([solution.tables.value[-1], solution.tables.mean[-1]])))
    yield compare(
        f"dealer, {NODES} nodes x {STEPS} steps, residual 1e-10",
        lambda: ts.solve(dealer(), method),
        banded_loop,
        against="solve_banded",
        wanted=5.0,
        pairs=7,
        note=f"apart by {apart:.0e}; iterations {int(solution.tables.iterations)} against {iterations}",
    )
