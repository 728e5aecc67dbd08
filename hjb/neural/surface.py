"""A trained network as the surface behind a book's solution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..book_solution import BookSolution, Pair, Surface
from ._ansatz import Ansatz


class NeuralSurface(Surface):
    """`theta`, and `h` where the network was trained for it, by an ansatz over (time to go, inventory)."""

    kind: ClassVar[str] = "neural"

    ansatz: Ansatz

    def both(self, tau: Any, q: Any) -> Pair:
        u = self._each(self.ansatz, tau, q, ())
        return u[..., 0], u[..., -1] if self._pair else jnp.zeros_like(u[..., 0])

    def changes(self, tau: Any, q: Any) -> tuple[Pair, Pair]:
        equation: Any = self.ansatz.equation
        change = self._each(lambda t, x: equation.changes(self.ansatz, t, x)[1], tau, q, (0,))
        theta = change[..., 0, :, :]
        h = change[..., -1, :, :] if self._pair else jnp.zeros_like(theta)
        return (theta[..., 0, :], h[..., 0, :]), (theta[..., 1, :], h[..., 1, :])

    @property
    def _pair(self) -> bool:
        equation: Any = self.ansatz.equation
        return equation.pair

    def _each(self, function: Any, tau: Any, q: Any, _: Any) -> Any:
        """`function(tau, x)` at every point of any leading shape."""
        q = jnp.asarray(q, dtype=float)
        tau = jnp.broadcast_to(jnp.asarray(tau, dtype=float), q.shape[:-1])
        for _axis in range(q.ndim - 1):
            function = jax.vmap(function)
        return function(tau, q)

    def to_arrays(self, units: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
        flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(_without_problem(self.ansatz))])
        text = "the baseline's table, weights, centres and spreads of the network, one after the other"
        return {"network": (("number",), flat, {"units": "1", "long_name": text})}, {}

    @classmethod
    def from_arrays(cls, problem: Any, data: Any) -> Surface:
        raise NotImplementedError("a network is restored by its method, which knows its shape")


def filled(shape: Ansatz, problem: Any, flat: np.ndarray) -> Ansatz:
    """The ansatz of this shape with the numbers that `to_arrays` wrote."""
    leaves, rebuild = jax.tree.flatten(_without_problem(shape))
    ends = np.cumsum([int(np.prod(leaf.shape)) for leaf in leaves])
    parts = np.split(np.asarray(flat), ends[:-1])
    ansatz = jax.tree.unflatten(rebuild, [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])
    return eqx.tree_at(lambda a: a.equation.problem, ansatz, problem, is_leaf=lambda x: x is None)


def _without_problem(ansatz: Ansatz) -> Ansatz:
    return eqx.tree_at(lambda a: a.equation.problem, ansatz, None)


@dataclass(frozen=True)
class NeuralSolution(BookSolution):
    """As `BookSolution`; `stats["certificates"]` holds what each certificate found.

    `residual` is the expected residual of the equation along the learned quotes, without regard to sign and over the
    whole horizon, relative to the value (`method.certify`); `error_estimate` is how far the simulated or exact value
    lies off, plus twice its standard error.
    """

    @property
    def mean(self) -> Any:
        if not self.surface.ansatz.equation.pair:
            raise ValueError(
                "this network was trained for the value alone; take Neural(with_mean=True) for the expected wealth"
            )
        return self.surface

    def __repr__(self) -> str:
        return super().__repr__().replace("BookSolution", "NeuralSolution", 1)
