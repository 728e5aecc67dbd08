"""The ansatz of one asset: functions of time by a network of random weights, on a local basis of the state.

    u(tau, y) = baseline(tau, y) + scale * sum_mj  C_mj  mode_m(tau)  B_j(y),
    modes = mix . (tau/T, s, s sigmoid(... sigmoid(W_1 z + b_1))),      s = (1 - e^{-rate tau})/(rate T),

`z` being features of the time alone. What is sharp in the state, the lots beside a limit above all, is the basis's
affair (`LineEquation.places`). Only `C` is trained: the hidden layers keep their random weights, and `mix` makes the
modes orthogonal over the sample. Then each step of training is one of Newton's on a linear candidate, which is policy
iteration, and a handful of them ends at the best residual there is; hidden layers that learn as well took forty steps
to a residual fifty times larger.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._ansatz import Ansatz, sigmoid, standardised

_ALIKE = 1e-7  # modes weaker than this share of the strongest are not scaled up any further


class Series(Ansatz):
    """A candidate `u(tau, y)`, callable at one point.

    `weights` are `C`, (modes, places, outputs); `spread` is followed by `mix`, so that checkpoints are like any other.
    """

    layers: Any  # (matrix, offset) each

    def __call__(self, tau: Any, x: Any) -> Any:
        equation: Any = self.equation
        size = self.weights.shape[0]
        modes = self.clocks(tau, x) @ self.spread[-size * size :].reshape(size, size)
        correction = jnp.einsum("m,j,mjo->o", modes, equation.places(tau, x), self.weights)
        return equation.baseline(tau, x) + equation.scale * correction

    def clocks(self, tau: Any, x: Any) -> Any:
        """Functions of time that vanish at the end, (modes,)."""
        equation: Any = self.equation
        y = (equation.features(tau, x) - self.centre) / self.spread[: len(self.centre)]
        for matrix, bias in self.layers:
            y = sigmoid(y @ matrix + bias)
        share, fading = tau / equation.horizon, equation.rate * equation.horizon
        settling = -jnp.expm1(-fading * share) / fading
        return jnp.concatenate([share[None], settling[None], settling * y])

    def fitted(self, tau: Any, x: Any) -> Series:
        """The same with features centred and scaled on these points, and modes orthogonal there."""
        found = standardised(self, tau, x)
        _, size, turned = np.linalg.svd(np.asarray(_clocks(found, tau, x)), full_matrices=False)
        mix = turned.T * np.sqrt(len(tau)) / np.maximum(size, _ALIKE * size[0])
        return replace(found, spread=jnp.concatenate([found.spread, jnp.asarray(mix).ravel()]))


@eqx.filter_jit
def _clocks(series: Series, tau: Any, x: Any) -> Any:
    return jax.vmap(series.clocks)(tau, x)


def untrained_series(equation: Any, key: Any, width: int, depth: int) -> Series:
    """The baseline, with coefficients that are zero."""
    origin = (jnp.zeros(()), jnp.asarray(equation.start))
    inputs = jax.eval_shape(equation.features, *origin).shape[0]
    places = jax.eval_shape(equation.places, *origin).shape[0]
    layers, fan_in = [], inputs
    for layer in jax.random.split(key, depth):
        first, second = jax.random.split(layer)
        matrix = jax.random.normal(first, (fan_in, width)) / jnp.sqrt(fan_in)
        layers.append((matrix, jax.random.normal(second, (width,))))
        fan_in = width
    coefficients = jnp.zeros((width + 2, places, jnp.shape(equation.scale)[0]))
    return Series(equation, coefficients, jnp.zeros(inputs), jnp.ones(inputs), layers)
