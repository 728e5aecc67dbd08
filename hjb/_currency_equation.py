"""The currency dealer's equation on nodes of the position: its rate, its policy, and the generator of that policy.

`theta_tau = F(theta)` is stated in `models.currency`. Fills jump over whole nodes. Hedging moves along them, and what
the market's Hamiltonian takes for `theta_q` is a difference towards the side to which the dealer trades, `up` where it
buys and `down` where it sells, so that

    F(theta) = sup over distances and rates of  [G theta + r],        Hhedge(p_up, p_down) = the larger of the two.

With differences between neighbours (Godunov's, first order) `G` is the generator of a Markov chain: its off-diagonals
are not negative whatever the policy. With four nodes, one of them on the lee side, the difference is of third order
and `G` is none. By the envelope theorem `dF/dtheta = G` at the best policy, so Newton's method is policy iteration.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import get_lapack_funcs
from scipy.special import wrightomega

from ..models.currency import CurrencyDealer

_factorise, _substitute = get_lapack_funcs(("gbtrf", "gbtrs"), dtype=np.float64)

_WIDE = 2  # nodes that a difference of third order reaches


class Bands(NamedTuple):
    """A banded matrix `M[i, j]`, stored as `table[reach + i - j, j]`, shape (2 reach + 1, nodes)."""

    table: np.ndarray

    @property
    def reach(self) -> int:
        return self.table.shape[0] // 2

    def least_off_diagonal(self) -> float:
        return float(min(np.min(self.table[: self.reach]), np.min(self.table[self.reach + 1 :])))

    def times(self, x: np.ndarray) -> np.ndarray:
        """The product with `x`, shape (nodes,)."""
        spread = np.zeros(x.size + 2 * self.reach)
        for row, entries in enumerate(self.table):
            spread[row : row + x.size] += entries * x
        return spread[self.reach : self.reach + x.size]

    def mean_jump(self, spacing: float, into: np.ndarray) -> np.ndarray:
        """`sum_j |j - i| spacing M[i, j] into[j]` of every row `i`."""
        reach = self.reach
        distance = spacing * np.abs(np.arange(-reach, reach + 1))
        return Bands(distance[:, None] * self.table).times(into)

    def stationary_law(self) -> np.ndarray:
        """The row `w` with `w M = 0` that adds up to one, where this generates an irreducible chain; shape (nodes,)."""
        reach, nodes = self.reach, self.table.shape[1]
        matrix = np.zeros((3 * reach + 1, nodes))
        for offset in range(-reach, reach + 1):  # of the row from the column; the transpose has it with the other sign
            column = np.arange(max(0, -offset), min(nodes, nodes - offset))
            matrix[2 * reach - offset, column + offset] = self.table[reach + offset, column]
        middle = nodes // 2  # one of the equations follows from the others and makes room for `w = 1` in the middle
        near = np.arange(max(0, middle - reach), min(nodes, middle + reach + 1))
        matrix[2 * reach + middle - near, near] = near == middle
        factors, pivots, _ = _factorise(matrix, reach, reach, overwrite_ab=True)
        law = solved((factors, pivots, reach), np.asarray(np.arange(nodes) == middle, float))
        return law / np.sum(law)

    def factors(self, g: float) -> Any:
        """Of `1 - g M`, for `solved`."""
        reach, nodes = self.reach, self.table.shape[1]
        matrix = np.zeros((3 * reach + 1, nodes))  # the first `reach` rows are the elimination's own
        matrix[reach:] = -g * self.table
        matrix[2 * reach] += 1
        factors, pivots, _ = _factorise(matrix, reach, reach, overwrite_ab=True)  # if singular, nothing stays finite
        return factors, pivots, reach


def solved(factors: Any, right: np.ndarray) -> np.ndarray:
    """`x` of `(1 - g M) x = right`."""
    table, pivots, reach = factors
    return _substitute(table, reach, reach, right, pivots)[0]


class _Tier(NamedTuple):
    """One side's clients: requests per day (tiers, sizes), and their curve with axes for nodes, (tiers, 1)."""

    requests: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray


class CurrencyEquation:
    """A dealer's equation on `per_lot` nodes to the lot; `wide` takes the differences of third order."""

    def __init__(self, problem: CurrencyDealer, per_lot: int, wide: bool = False):
        lot = float(problem.size)
        half = round(float(problem.max_inventory) / lot) * per_lot
        self.problem, self.wide = problem, wide
        self.spacing = lot / per_lot
        self.q = self.spacing * np.arange(-half, half + 1)
        self.jumps = np.round(problem.sizes / lot).astype(int) * per_lot
        self.reach = max(int(self.jumps[-1]), _WIDE)
        self.cost = 0.5 * float(problem.risk_aversion * problem.volatility**2) * self.q**2
        self.sides = {side: self._tiers(side) for side in (+1, -1)}

    def _tiers(self, side: int) -> _Tier:
        demand = self.problem.demand(side)
        return _Tier(self.problem.requests(side), np.asarray(demand.alpha)[:, None], np.asarray(demand.beta)[:, None])

    def start(self) -> np.ndarray:
        """`theta` at the horizon."""
        return -float(self.problem.terminal) * self.q**2

    def rate(self, theta: np.ndarray) -> np.ndarray:
        """`F(theta)`, bp M per day, shape (nodes,)."""
        return self._fills(theta, None) + self._hedge(theta)[0] - self.cost

    def linearised(self, theta: np.ndarray) -> tuple[np.ndarray, Bands]:
        """`F(theta)`, and the generator `G` of the policy that is best against `theta`."""
        table = np.zeros((2 * self.reach + 1, self.q.size))
        rate = self._fills(theta, table)
        gain, speed = self._hedge(theta)
        self._transport(speed, table)
        return rate + gain - self.cost, Bands(table)

    def speed(self, theta: np.ndarray) -> np.ndarray:
        """The rate of hedging `v`, M per day, shape (nodes,)."""
        return self._hedge(theta)[1]

    def volume(self, theta: np.ndarray, into: np.ndarray | None = None) -> np.ndarray:
        """What clients trade on both sides together, M per day, shape (nodes,); `into` picks the nodes they lead to."""
        intensities = np.zeros((2 * self.reach + 1, self.q.size))
        self._fills(theta, intensities)
        return Bands(intensities).mean_jump(self.spacing, np.ones(self.q.size) if into is None else into)

    def _fills(self, theta: np.ndarray, table: np.ndarray | None) -> np.ndarray:
        """What clients are worth per day; their intensities go into `table`."""
        total = np.zeros_like(theta)
        for side, tier in self.sides.items():
            for number, (size, jump) in enumerate(zip(self.problem.sizes, self.jumps, strict=True)):
                rise = theta[jump:] - theta[:-jump]
                w = wrightomega(-(1 + tier.alpha + tier.beta * (-side / size) * rise))
                asked = tier.requests[:, number]
                here = slice(0, -jump) if side == 1 else slice(jump, None)
                total[here] += (size * asked / tier.beta[:, 0]) @ w
                if table is not None:
                    intensity = asked @ (w / (1 + w))
                    there = slice(jump, None) if side == 1 else slice(0, -jump)
                    table[self.reach, here] -= intensity
                    table[self.reach - side * jump, there] += intensity
        return total

    def slopes(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`theta_q` towards a larger and towards a smaller position; infinite where the limit forbids to go there."""
        steps = np.diff(theta) / self.spacing
        up, down = np.append(steps, -np.inf), np.insert(steps, 0, np.inf)
        if self.wide and theta.size > 3:
            up[1:-2] = (2 * steps[:-2] + 5 * steps[1:-1] - steps[2:]) / 6
            down[2:-1] = (2 * steps[2:] + 5 * steps[1:-1] - steps[:-2]) / 6
        return up, down

    def _hedge(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What hedging gains per day, and its rate `v`."""
        market = self.problem.hedging
        if market is None:
            return np.zeros_like(theta), np.zeros_like(theta)
        push = float(market.impact) * self.q
        up, down = self.slopes(theta)
        buying, selling = np.maximum(up + push, 0.0), np.minimum(down + push, 0.0)
        gains = market.gain(buying), market.gain(selling)
        speed = np.where(gains[0] >= gains[1], market.rate(buying), market.rate(selling))
        return np.maximum(*gains), speed

    def _transport(self, speed: np.ndarray, table: np.ndarray) -> None:
        """Into `table`, the derivative of hedging: `speed` times the difference that it was found from."""
        number = np.arange(self.q.size)
        for side in (+1, -1):
            rate = np.maximum(side * speed, 0.0) / self.spacing
            inner = self.wide & (side * speed > 0) & self._inside(side)
            for nodes, weights in ((number[~inner], {0: -1, 1: 1}), (number[inner], {-1: -2, 0: -3, 1: 6, 2: -1})):
                share = 1 / 6 if len(weights) > 2 else 1.0
                for step, weight in weights.items():
                    at = nodes + side * step
                    kept = (at >= 0) & (at < self.q.size)  # a difference past the limit has no rate
                    table[self.reach - side * step, at[kept]] += share * weight * rate[nodes[kept]]

    def _inside(self, side: int) -> np.ndarray:
        """Where the wide difference towards `side` has all of its nodes."""
        inside = np.zeros(self.q.size, bool)
        inside[1:-2] = True
        return inside if side == 1 else inside[::-1]
