"""Books of like assets solved exactly, as many as thirty: nothing here imports `twosided`.

Where all assets are alike the solution does not change when two of them are swapped, so a state is a multiset of
inventories. With one decay `k` and a running penalty, `u = e^{k theta}` solves a linear equation on them,

    du/dtau = -(k gamma/2) q' Sigma q u + (A/e) sum_i (u(q + e_i) + u(q - e_i)),   u(0) = e^{-k alpha |q|^2}.

Only books of `|q|^2` up to a bound are kept, and none is filled across it: the optimal inventory hardly ever goes
there. The same equation run forward from the flat book gives the chance of each state under the optimal quotes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import expm_multiply


@dataclass(frozen=True)
class LikeAssets:
    """Assets of volatility one and equal correlation; lots of one, inventories up to `|q|^2 = most`."""

    assets: int
    aversion: float
    horizon: float
    most: int
    decay: float = 1.5
    scale: float = 1.0
    terminal: float = 0.01
    correlation: float = 0.5

    @property
    def top(self) -> int:
        return int(np.sqrt(self.most))

    @cached_property
    def words(self) -> np.ndarray:
        """One random word for each inventory, from `-top - 1` on: a state's key is the sum of those of its assets."""
        return np.random.default_rng(0).integers(0, 2**63, 2 * self.top + 3, dtype=np.uint64)

    def word(self, inventory: Any) -> np.ndarray:
        return self.words[inventory + self.top + 1]

    @cached_property
    def states(self) -> np.ndarray:
        """Rows of inventories that never fall from left to right, in the order of their keys."""
        states = _rising(self.assets, self.top, self.most)
        return states[np.argsort(self.word(states).sum(axis=1))]

    @cached_property
    def keys(self) -> np.ndarray:
        keys = self.word(self.states).sum(axis=1)
        assert np.all(keys[1:] > keys[:-1])
        return keys

    def moved(self, rows: np.ndarray, inventory: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Where states lead when an asset of that inventory takes a step, and whether the bound permits it."""
        wanted = self.keys[rows] + self.word(inventory + step) - self.word(inventory)
        there = np.minimum(np.searchsorted(self.keys, wanted), self.keys.size - 1)
        return there, self.keys[there] == wanted

    @cached_property
    def generator(self) -> Any:
        rows, columns, rates = [], [], []
        for inventory in range(-self.top, self.top + 1):
            count = (self.states == inventory).sum(axis=1)
            here = np.flatnonzero(count)
            for step in (-1, 1):
                there, permitted = self.moved(here, np.asarray(inventory), step)
                rows.append(here[permitted])
                columns.append(there[permitted])
                rates.append(count[here][permitted] * self.scale / np.e)
        entries = np.concatenate(rates), (np.concatenate(rows), np.concatenate(columns))
        moves = sparse.coo_array(entries, shape=(self.keys.size, self.keys.size)).tocsr()
        squares, sums = (self.states**2).sum(axis=1), self.states.sum(axis=1)
        risk = (1 - self.correlation) * squares + self.correlation * sums**2
        return moves - sparse.diags_array(0.5 * self.decay * self.aversion * risk)

    @property
    def flat(self) -> np.ndarray:
        """The row of the flat book."""
        return np.flatnonzero((self.states == 0).all(axis=1))

    def u(self, tau: float) -> np.ndarray:
        """`u` with `tau` to go, at every state."""
        start = np.exp(-self.decay * self.terminal * (self.states**2).sum(axis=1))
        return expm_multiply(tau * self.generator, start)

    def visited(self, t: float, count: int) -> np.ndarray:
        """Rows of `states` drawn as the optimal quotes leave them at `t`, from a flat book at time 0."""
        start = np.zeros(self.keys.size)
        start[self.flat] = 1.0
        chance = np.maximum(expm_multiply(t * self.generator.T, start) * self.u(self.horizon - t), 0.0)
        return np.random.default_rng(0).choice(chance.size, count, p=chance / chance.sum())

    def theta(self, u: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.log(u[rows]) / self.decay

    def distances(self, u: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Bid and ask distances, (2, states, assets); nan across the bound."""
        held, sides = self.states[rows], []
        for step in (1, -1):
            there, permitted = self.moved(np.broadcast_to(rows[:, None], held.shape), held, step)
            rise = np.log(u[there] / u[rows][:, None])
            sides.append(np.where(permitted, (1 - rise) / self.decay, np.nan))
        return np.array(sides)


def _rising(length: int, top: int, most: int) -> np.ndarray:
    """All rows of whole numbers from -top to top that never fall and whose squares add up to at most `most`."""
    rows, squares = np.zeros((1, 0), int), np.zeros(1, int)
    values = np.arange(-top, top + 1)
    for _ in range(length):
        least = rows[:, -1:] if rows.shape[1] else np.full((1, 1), -top)
        at, value = np.nonzero((values >= least) & (squares[:, None] + values**2 <= most))
        rows = np.concatenate([rows[at], values[value][:, None]], axis=1)
        squares = squares[at] + values[value] ** 2
    return rows
