"""The ansatz: a baseline that is exact at the end, plus a correction that vanishes there.

    u(tau, x) = baseline(tau, x) + scale * [ (tau/T) N_1 + (1 - e^{-rate tau})/(rate T) N_2 ],
    N = W_out sigmoid(... sigmoid(W_1 z + b_1)) + polynomial(tau) . z,        z = soft((features - centre)/spread).

The two clocks serve a long horizon: one grows with time to go, one saturates once the start-up has faded. The part
that is linear in `z` makes the first steps of training nearly a linear regression.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ._equation import Equation

_POWERS = 4  # polynomials of time that multiply the linear part


def soft(x: Any) -> Any:
    """`x / (1 + x^2)^(1/4)`: grows like a square root. Algebraic, for transcendental functions are slow to compile."""
    return x * jax.lax.rsqrt(jnp.sqrt(1 + x * x))


def sigmoid(x: Any) -> Any:
    """`x / sqrt(1 + x^2)`."""
    return x * jax.lax.rsqrt(1 + x * x)


class Ansatz(eqx.Module):
    """A candidate `u(tau, x)`, callable at one point."""

    equation: Equation
    weights: Any  # layers (matrix, offset), the linear part last
    centre: Any
    spread: Any

    def __call__(self, tau: Any, x: Any) -> Any:
        equation = self.equation
        z = soft((equation.features(tau, x) - self.centre) / self.spread)
        share = tau / equation.horizon
        *hidden, (last, offset), linear = self.weights
        y = jnp.concatenate([2 * share[None] - 1, z])
        for matrix, bias in hidden:
            y = sigmoid(y @ matrix + bias)
        c = 1 - 2 * share
        powers = jnp.stack([jnp.ones_like(c), c, 2 * c * c - 1, (4 * c * c - 3) * c])  # Chebyshev's
        ones = jnp.concatenate([jnp.ones(1), z])
        net = (y @ last + offset + jnp.einsum("t,i,tio->o", powers, ones, linear)).reshape(2, -1)
        fading = equation.rate * equation.horizon
        clocks = jnp.stack([share, -jnp.expm1(-fading * share) / fading])
        return equation.baseline(tau, x) + equation.scale * (clocks @ net)

    def fitted(self, tau: Any, x: Any) -> Ansatz:
        """The same, made ready for points like these."""
        return standardised(self, tau, x)


def untrained(equation: Equation, key: Any, width: int, depth: int) -> Ansatz:
    """The baseline, with a network on top whose output is zero."""
    inputs = jax.eval_shape(equation.features, jnp.zeros(()), jnp.asarray(equation.start)).shape[0]
    outputs = 2 * jnp.shape(equation.scale)[0]
    layers, fan_in = [], inputs + 1
    for layer in jax.random.split(key, depth):
        first, second = jax.random.split(layer)
        matrix = jax.random.normal(first, (fan_in, width)) / jnp.sqrt(fan_in)
        layers.append((matrix, 0.3 * jax.random.normal(second, (width,))))
        fan_in = width
    layers.append((jnp.zeros((width, outputs)), jnp.zeros(outputs)))
    linear = jnp.zeros((_POWERS, inputs + 1, outputs))
    return Ansatz(equation, [*layers, linear], jnp.zeros(inputs), jnp.ones(inputs))


@eqx.filter_jit
def standardised(ansatz: Any, tau: Any, x: Any) -> Any:
    """The ansatz whose features are centred and scaled on these points."""
    seen = jax.vmap(ansatz.equation.features)(tau, x)
    spread = jnp.std(seen, axis=0)
    spread = jnp.where(spread > 1e-12 * (1 + jnp.abs(jnp.mean(seen, axis=0))), spread, 1.0)
    return replace(ansatz, centre=jnp.mean(seen, axis=0), spread=spread)
