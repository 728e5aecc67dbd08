"""Stock and cash together against a Howard iteration on SciPy's sparse matrices, written beside it.

Both sides take the same equation on the same 201 x 201 nodes and 200 steps, with cubics where a fill lands, and
iterate each step until the defect under the best quotes is below 1e-10 of the solution. The yardstick improves the
quotes, assembles the generator that belongs to them, and solves for mean and value by BiCGSTAB with an incomplete
factorisation that it keeps for a step. It is timed over a few steps in the middle of the horizon and scaled to all.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, bicgstab, spilu

import twosided as ts

from .timing import Comparison, compare

LOTS, PER_LOT, STEPS, TOLERANCE = 10, 10, 200, 1e-10
GROWTH, SIGMA, RATE, BORROWING, HORIZON, LAMBDA, SCALE, DECAY = 0.15, 0.45, 0.03, 0.25, 20 / 244, 10.0, 3660.0, 60.0
NODES = 2 * LOTS * PER_LOT + 1
FIRST, TIMED = 100, 4  # steps of the yardstick that are timed

METHOD = ts.hjb.FiniteDifference(
    nodes_per_lot=PER_LOT,
    steps=STEPS,
    extrapolate=False,
    tolerance=TOLERANCE,
    half_width=LOTS,
    cash_range=(LOTS, LOTS),
)


def dealer() -> Any:
    """The reference case of the documentation with a borrowing rate of 25%."""
    models = ts.models
    demand = models.Exponential(SCALE, DECAY)
    objective = models.MeanVariance(LAMBDA)
    return models.StockCashDealer(
        GROWTH, SIGMA, RATE, HORIZON, demand, demand, 1.0, float(LOTS), objective, borrowing_rate=BORROWING
    )


class Howard:
    """The equation as sparse matrices; unknowns are flat over (stock, cash)."""

    def __init__(self) -> None:
        self.step = 1 / PER_LOT
        self.y = np.linspace(-LOTS, LOTS, NODES)
        self.i, self.j = (n.ravel() for n in np.indices((NODES, NODES)))
        self.stock, self.cash = self.y[self.i], self.y[self.j]
        share = (LOTS - 1 - np.outer([1, -1], self.stock)) / self.step + 0.5
        self.permitted = np.clip(share, 0, 1)
        self.velocity = np.where(self.cash < 0, BORROWING, RATE) * self.cash
        self.factors: Any = None

    def at(self, tau: float) -> None:
        """Set the time to go: transport matrix `T u + constant`, income, slopes."""
        self.e = np.exp(RATE * tau)
        self.below = self.e * np.expm1((BORROWING - RATE) * tau)
        ends = (self.i == 0) | (self.i == NODES - 1)
        inner = np.where(ends, 0.0, 1.0)
        diffusion = inner * 0.5 * (SIGMA * self.stock / self.step) ** 2
        drift, cash = inner * GROWTH * self.stock / (2 * self.step), self.velocity / (2 * self.step)
        moves = [((1, 0), diffusion + drift), ((-1, 0), diffusion - drift), ((0, 1), cash), ((0, -1), -cash)]
        self.transport, self.moved = self._matrix([((0, 0), -2 * diffusion), *moves])
        s, a = np.expm1((GROWTH - RATE) * tau) * self.e, 2 * GROWTH + SIGMA**2
        c = 0.5 * LAMBDA * np.exp(2 * GROWTH * tau) * np.expm1(SIGMA**2 * tau)
        without = np.stack([GROWTH * s * self.stock - a * c * self.stock**2, GROWTH * s * self.stock])
        self.moved = self.moved + np.where(ends, without, 0.0)
        self.income = self.e * ((GROWTH - RATE) * self.stock + self.velocity - RATE * self.cash)
        self.ends, self.end_slope = ends, s

    def _matrix(self, entries: list[Any]) -> tuple[Any, Any]:
        """Sum of `weight u(i + di, j + dj)`; beyond the cash grid `u` goes on along its slope."""
        constant, columns, weights = np.zeros(NODES**2), [], []
        for (di, dj), weight in entries:
            j = self.j + dj
            constant += weight * self.below * self.step * np.minimum(j, 0)
            columns.append(np.clip(self.i + di, 0, NODES - 1) * NODES + np.clip(j, 0, NODES - 1))
            weights.append(np.broadcast_to(weight, constant.shape))
        rows = np.tile(np.arange(NODES**2), len(entries))
        shape = (NODES**2, NODES**2)
        found = sparse.csr_array((np.concatenate(weights), (rows, np.concatenate(columns))), shape=shape)
        return found, constant

    def landing(self, x: Any, side: int) -> tuple[Any, Any, Any, Any]:
        """Matrix and constant of `u` where a fill at distance `x` leads, and of its slope in `x`."""
        f = x / self.step
        value = [-f * (f - 1) * (f - 2) / 6, (f + 1) * (f - 1) * (f - 2) / 2]
        value += [-(f + 1) * f * (f - 2) / 2, (f + 1) * f * (f - 1) / 6]
        slope = [-(3 * f * f - 6 * f + 2) / 6, (3 * f * f - 4 * f - 1) / 2, -(3 * f * f - 2 * f - 2) / 2]
        slope += [(3 * f * f - 1) / 6]
        return *self._taps(value, side), *self._taps([w / self.step for w in slope], side)

    def _taps(self, weights: list[Any], side: int) -> tuple[Any, Any]:
        """Weights on the nodes -1, 0, 1, 2 around the landing node; none reaches across zero cash."""
        jump = (side * PER_LOT, -side * PER_LOT)
        node = self.j - side * PER_LOT - NODES // 2
        taps = list(weights)
        right, left = np.where(node == 0, taps[0], 0.0), np.where(node == -1, taps[3], 0.0)
        taps[0], taps[3] = taps[0] - right, taps[3] - left
        every = {-1: taps[0], 0: taps[1] + 4 * right, 1: taps[2] - 6 * right + 4 * left, 2: taps[3] + 4 * right}
        every[0] = every[0] - 6 * left
        every[-1] = every[-1] + 4 * left
        every[3], every[-2] = -right, -left
        return self._matrix([((jump[0], jump[1] + k), w) for k, w in every.items()])

    def improve(self, u: Any, quotes: list[Any]) -> tuple[list[Any], Any, Any, Any]:
        """The best quotes, and what belongs to them: generator, its constant, and the fills' share of the value."""
        matrix, constant = self.transport, np.zeros(NODES**2)
        rewards, best = [], []
        for number, side in enumerate((1, -1)):
            x = quotes[number]
            at, ahead, along, more = self.landing(x, side)
            change = np.stack([at @ row + ahead - row for row in u])
            slope = np.stack([along @ row + more for row in u])
            kappa = DECAY / self.e
            k = 1 - kappa * (change[0] - change[1])
            y = 2 * k / (kappa + LAMBDA + np.sqrt((kappa + LAMBDA) ** 2 - 2 * kappa * LAMBDA * k))
            new = (y - change[1]) / self.e
            # one Newton step on U - U'/k counts what the quote moves in cash
            value = change[0] + slope[0] * (new - x)
            mean = self.e * new + change[1] + slope[1] * (new - x)
            by_mean = self.e + slope[1]
            gain, by_quote = self.e * new + value - 0.5 * LAMBDA * mean**2, self.e + slope[0] - LAMBDA * mean * by_mean
            new = new - (gain - by_quote / DECAY) / (by_quote + LAMBDA * by_mean**2 / DECAY)
            at, ahead, _, _ = self.landing(new, side)
            rate = self.permitted[number] * SCALE * np.exp(-DECAY * new)
            matrix = matrix + sparse.diags_array(rate) @ (at - sparse.eye_array(NODES**2))
            constant += rate * (ahead + self.e * new)
            rewards.append((rate, at, ahead, self.e * new))
            best.append(new)
        return best, sparse.csr_array(matrix), constant, rewards

    def own(self, u: Any, constant: Any, rewards: Any) -> Any:
        """What `du/dtau` holds beside the generator's product, for value and mean."""
        h = u[1].reshape(NODES, NODES)
        slope = np.where(self.ends, self.end_slope, np.gradient(h, self.step, axis=0).ravel())
        cost = 0.5 * LAMBDA * (SIGMA * self.stock) ** 2 * (self.e + slope) ** 2
        fills = sum(0.5 * LAMBDA * rate * (at @ u[1] + ahead - u[1] + z) ** 2 for rate, at, ahead, z in rewards)
        return self.income + constant + self.moved - np.stack([cost + fills, 0 * cost])

    def rate(self, u: Any, quotes: list[Any]) -> tuple[Any, list[Any], Any]:
        quotes, matrix, constant, rewards = self.improve(u, quotes)
        own = self.own(u, constant, rewards)
        return np.stack([matrix @ row for row in u]) + own, quotes, (matrix, constant, rewards)

    def advance(self, known: Any, u: Any, g: float, quotes: list[Any]) -> tuple[Any, list[Any], int]:
        """Solve `u - g F(u) = known`."""
        self.factors, rounds = None, 0
        while True:
            rounds += 1
            rate, quotes, (matrix, constant, rewards) = self.rate(u, quotes)
            gap = known + g * rate - u
            if np.max(np.abs(gap)) <= TOLERANCE * np.max(np.abs(u)):
                return u, quotes, rounds
            system = sparse.csc_array(sparse.eye_array(NODES**2) - g * matrix)
            if self.factors is None:
                self.factors = spilu(system, drop_tol=1e-3, fill_factor=2)
            u = np.stack([u[0], u[1] + self.solve(system, gap[1])])
            gap = known[0] + g * (matrix @ u[0] + self.own(u, constant, rewards)[0]) - u[0]
            u = np.stack([u[0] + self.solve(system, gap), u[1]])

    def solve(self, system: Any, gap: Any) -> Any:
        near = LinearOperator(system.shape, self.factors.solve)
        found, failed = bicgstab(system, gap, rtol=1e-4, M=near)
        if failed:
            raise ArithmeticError("BiCGSTAB did not converge")
        return found


def howard_steps(u: Any) -> tuple[float, Any, int]:
    """Seconds a step, `u` after the timed steps from step `FIRST`, and the rounds they took."""
    clock = HORIZON * np.linspace(0, 1, STEPS + 1) ** 2
    howard, quotes, rounds = Howard(), [np.zeros(NODES**2)] * 2, 0
    howard.at(clock[FIRST])
    for _ in range(4):
        rate, quotes, _ = howard.rate(u, quotes)
    before, last = rate, 1.0
    started = time.perf_counter()
    for n in range(FIRST, FIRST + TIMED):
        dt = clock[n + 1] - clock[n]
        howard.at(clock[n + 1])
        known, trend = u + 0.5 * dt * rate, (rate - before) / last
        u, quotes, used = howard.advance(known, u + dt * (rate + 0.5 * dt * trend), 0.5 * dt, quotes)
        before, rate, last = rate, (u - known) / (0.5 * dt), dt
        rounds += used
    return (time.perf_counter() - started) / TIMED, u, rounds


def run() -> Iterator[Comparison]:
    """The comparison, and that both arrive at the same numbers."""
    problem = dealer()
    solution = ts.solve(problem, METHOD)
    kept = STEPS // (solution.tables.tau.size - 1)
    tables = np.stack([solution.tables.value, solution.tables.mean], axis=1).reshape(-1, 2, NODES**2)
    start = tables[FIRST // kept]
    _, u, rounds = howard_steps(start)
    apart = np.max(np.abs(u - tables[(FIRST + TIMED) // kept]))
    iterations = int(solution.tables.iterations) / (STEPS + 2)
    yield compare(
        f"stock and cash, {NODES} x {NODES} x {STEPS} steps",
        lambda: ts.solve(problem, METHOD),
        lambda: howard_steps(start),
        against="Howard with BiCGSTAB",
        wanted=3.0,
        pairs=3,
        scale=STEPS / TIMED,
        note=f"{TIMED} steps of the other, scaled to {STEPS}; apart by {apart:.0e}; "
        f"{iterations:.1f} iterations a step against {rounds / TIMED:.1f}",
    )
