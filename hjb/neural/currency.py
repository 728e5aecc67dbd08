"""`Neural` for one or several currency pairs: what it returns."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...models._precision import is_traced
from ...models.currency import CurrencyDealer
from ...models.currency_book import CurrencyBook, as_book
from .._tables import Tables
from ..currency_book import CurrencyBookSolution
from ._ansatz import untrained
from ._currency import CurrencyBookEquation, values
from ._training import drawn, residuals, with_weights

_FRESH_SAMPLE = 1 << 20  # the number of a draw that training does not use
_LEAST = 64  # points evaluated together at least: sizes are rounded up to powers of two, or each would be compiled


@dataclass(frozen=True, repr=False)
class NeuralCurrencySolution(CurrencyBookSolution):
    """As `CurrencyBookSolution`, its value function a trained network on top of the expansion.

    `residual` is the root mean square of the equation's defect over fresh points, relative to the income of a flat
    book. It certifies the equation, not the value: let `simulate_currency` play the quotes.
    """

    ansatz: Any = None

    def value(self, t: Any = 0.0, **state: Any) -> Any:
        """`theta(t, q)`, bp M above the marked book."""
        return self._look(t, self._positions(state))[0]

    def slope(self, t: Any, inventory: Any) -> Any:
        """`theta_q`, bp, shape (..., pairs)."""
        return self._look(t, inventory)[1]

    def coefficients(self, t: Any = 0.0) -> tuple[Any, Any, Any]:
        """There are none: a network is no polynomial."""
        raise ValueError("a network has no coefficients A, B and C; take ClosedForm() for them")

    def reservation(self, side: int, t: Any, inventory: Any, pair: int) -> Any:
        """Reservation distances of one pair for every size, bp, shape (..., sizes)."""
        sizes, q = self.problem.pairs[pair].sizes, np.asarray(inventory, float)
        after = q[..., None, :] + side * sizes[:, None] * np.eye(self.problem.dimension)[pair]
        t = np.asarray(t, float)
        return (self._look(t, q)[0][..., None] - self._look(t[..., None], after)[0]) / sizes

    def reservations(self, t: Any, inventory: Any, pair: Any, side: Any, size: Any) -> Any:
        """Reservation distances of single requests, bp: `inventory` is (n, pairs), all else of shape (n,)."""
        after = inventory + (side * size)[:, None] * np.eye(self.problem.dimension)[pair]
        return (self._look(t, inventory)[0] - self._look(t, after)[0]) / size

    def save(self, path: Any) -> Any:
        """Not offered: a training is kept by its checkpoint."""
        raise ValueError("a currency book's network is kept by Neural(checkpoint=...): solve again with the same file")

    def _look(self, t: Any, q: Any) -> tuple[np.ndarray, np.ndarray]:
        """Value (...) and slopes (..., pairs)."""
        self._check_time(t)
        q = np.asarray(q, float)
        left = np.clip(float(self.problem.horizon) - np.broadcast_to(np.asarray(t, float), q.shape[:-1]), 0.0, None)
        flat, count = q.reshape(-1, q.shape[-1]), left.size
        room = max(_LEAST, 1 << (count - 1).bit_length()) - count
        with jax.enable_x64(True):
            tau, x = jnp.asarray(np.pad(left.ravel(), (0, room))), jnp.asarray(np.pad(flat, ((0, room), (0, 0))))
            theta, slope = map(np.asarray, values(self.ansatz, tau, x))
        return theta[:count].reshape(q.shape[:-1]), slope[:count].reshape(q.shape)


def solve_by_network(problem: CurrencyDealer | CurrencyBook, method: Any) -> NeuralCurrencySolution:
    """Train, and look at fresh points; called by `solve` with `Neural(...)`.

    The value bends where hedging begins, so that more steps are wanted than for a book of assets. Measured with
    `Neural(points=2048, iterations=150, refresh=15)` on the published pair: 36 seconds of one core, 10 of them to
    compile; value within 2e-5 of its largest, quotes within 2e-4 bp at positions up to 30 M.
    Two such pairs at correlation .8 were left at a residual of 3e-3 after 106 steps; played out beside the expansion's
    quotes, request by request, the network's earned 0.5 (standard error 0.2) of 144 bp M more.
    """
    if is_traced(problem):
        raise ValueError("Neural trains outside jit, grad and vmap")
    started, book = time.perf_counter(), as_book(problem)
    with jax.enable_x64(True):
        equation = jax.tree.map(jnp.asarray, CurrencyBookEquation.of(book))
        ansatz = untrained(equation, jax.random.key(method.seed), method.width, method.depth)
        progress = method.trained(ansatz, method.stated(book), type(problem).__name__)
        ansatz = jax.tree.map(np.asarray, with_weights(ansatz, progress))
        fresh = np.asarray(residuals(ansatz, jnp.asarray(np.inf), *drawn(ansatz, method.schedule, _FRESH_SAMPLE)))
    residual = float(np.sqrt(np.mean(fresh**2)))
    theta, unknown = np.asarray(ansatz.equation.table.rows), np.full((1, 1), np.nan)
    tau = np.linspace(0.0, 1.0, len(theta)) ** 2 * float(book.horizon)
    axes = (np.arange(theta.shape[1], dtype=float),)
    tables = Tables(tau, axes, theta, None, None, None, residual, unknown, unknown, progress.iteration)
    stats = {
        "method": "Neural",
        "seconds": time.perf_counter() - started,
        "training_seconds": progress.seconds,
        "weights": len(progress.weights),
        "history": progress.history.tolist(),
        "largest_residual": float(np.max(np.abs(fresh))),
    }
    return NeuralCurrencySolution(book, method, tables, 1, stats, ansatz=ansatz)
