"""A book of assets written out once more, in NumPy: nothing here imports `twosided`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import expm_multiply


@dataclass(frozen=True)
class Book:
    """Exponential demands `A_i^s e^{-k_i^s x}`: `scale` and `decay` have shape (d, 2), bid then ask."""

    scale: Any
    decay: Any
    lot: Any
    covariance: Any  # of the prices
    horizon: float
    limit: tuple[int, ...]
    aversion: float
    drift: Any = 0.0
    terminal: float = 0.0

    @property
    def nodes(self) -> np.ndarray:
        """(N, d), the last asset fastest."""
        axes = [np.arange(-n, n + 1.0) for n in self.limit]
        return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(self.limit))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(2 * n + 1 for n in self.limit)

    @property
    def growth(self) -> np.ndarray:
        return self.nodes @ (np.broadcast_to(self.drift, len(self.limit)) * self.lot)

    @property
    def risk(self) -> np.ndarray:
        money = self.nodes * self.lot
        return 0.5 * self.aversion * np.einsum("ni,ij,nj->n", money, self.covariance, money)

    @property
    def last(self) -> np.ndarray:
        return -self.terminal * np.sum(self.nodes**2, axis=1)

    def channels(self):
        """For every asset and side, the nodes where its fill keeps the limit, where it leads, and its numbers."""
        number = np.arange(len(self.nodes)).reshape(self.shape)
        for i in range(len(self.limit)):
            low, high = (np.moveaxis(number, i, 0)[part].ravel() for part in (slice(None, -1), slice(1, None)))
            for j, (here, there) in enumerate(((low, high), (high, low))):
                yield (
                    here,
                    there,
                    self.scale[i][j],
                    self.decay[i][j],
                    float(np.broadcast_to(self.lot, len(self.limit))[i]),
                )

    def linear(self, xi: float, pieces: int = 16) -> np.ndarray:
        """`theta(0, q)` where `k/lot` is common, by the Krylov action of a sparse matrix exponential.

        Its error is relative to the largest entry, and `u` spans many orders of magnitude; so time is cut, and in each
        piece the unknown is `u` over what it was at its start.
        """
        kappa = self.decay[0][0] / float(np.ravel(self.lot)[0])
        matrix = diags(kappa * (self.growth - self.risk)).tocsr()
        reach = np.exp(-1.0) if xi == 0 else (1 + xi / kappa) ** -(1 + kappa / xi)
        for here, there, scale, _, _ in self.channels():
            matrix = matrix + coo_matrix((np.full(here.size, scale * reach), (here, there)), shape=matrix.shape).tocsr()
        log_u = kappa * self.last
        for _ in range(pieces):
            rebased = diags(np.exp(-log_u)) @ matrix @ diags(np.exp(log_u))
            log_u = log_u + np.log(expm_multiply(rebased * (self.horizon / pieces), np.ones(log_u.size)))
        return (log_u / kappa).reshape(self.shape)

    def utility(self, tolerance: float = 1e-12) -> np.ndarray:
        """`theta(0, q)` under exponential utility, by a Runge-Kutta method."""
        gamma, growth, risk, channels = self.aversion, self.growth, self.risk, list(self.channels())

        def rate(_: float, theta: np.ndarray) -> np.ndarray:
            total = growth - risk
            for here, there, scale, k, lot in channels:
                change = theta[there] - theta[here]
                x = (np.log1p(gamma * lot / k) / gamma - change) / lot
                total[here] += scale * np.exp(-k * x) * (1 - np.exp(-gamma * (lot * x + change))) / gamma
            return total

        return self._integrate(rate, self.last, tolerance).reshape(self.shape)

    def equilibrium(self, tolerance: float = 1e-12) -> tuple[np.ndarray, np.ndarray]:
        """`theta(0, q)` and `h(0, q)` under mean-variance: `y = D x + Dh` is the smaller root of a quadratic."""
        lam, growth, risk, channels = self.aversion, self.growth, self.risk, list(self.channels())
        count = len(self.nodes)

        def rate(_: float, u: np.ndarray) -> np.ndarray:
            theta, h = u[:count], u[count:]
            own = np.concatenate([growth - risk, growth])
            for here, there, scale, k, lot in channels:
                kappa, c = k / lot, (theta - h)[there] - (theta - h)[here]
                root = np.sqrt((kappa + lam) ** 2 - 2 * kappa * lam * (1 - kappa * c))
                y = 2 * (1 - kappa * c) / (kappa + lam + root)
                fills = scale * np.exp(-k * (y - (h[there] - h[here])) / lot)
                own[here] += fills * (y + c - 0.5 * lam * y**2)
                own[count + here] += fills * y
            return own

        both = self._integrate(rate, np.concatenate([self.last, 0 * self.last]), tolerance)
        return both[:count].reshape(self.shape), both[count:].reshape(self.shape)

    def _integrate(self, rate: Any, start: np.ndarray, tolerance: float) -> np.ndarray:
        found = solve_ivp(rate, (0, self.horizon), start, method="DOP853", rtol=tolerance, atol=tolerance)
        assert found.success
        return found.y[:, -1]
