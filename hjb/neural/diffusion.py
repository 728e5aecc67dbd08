"""A diffusion in many dimensions, through the same machinery: the benchmark of Han, Jentzen and E (2018, section 4.1).

    u_tau = Laplacian u - |grad u|^2,    u(0, x) = ln((1 + |x|^2)/2),

the Hamilton-Jacobi-Bellman equation of `min E[int |m|^2 dt + g(X_T)]`, `dX = 2 m dt + sqrt(2) dW`. It shares nothing
with a dealer's equation but the interface of `_equation.Equation`; `Neural.fit` trains it all the same. With Cole and
Hopf's transform `u(tau, 0) = -ln E e^{-g(sqrt(2 tau) Z)}`: 4.590162 in 100 dimensions at `tau = 1`.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ._equation import Equation, Function


class LinearQuadratic(Equation):
    """The equation in `dimension` dimensions, up to `length` of time to go, from the origin.

    The baseline lets `|x|^2` grow by its mean, `2 d tau`, inside the logarithm. Features are means over coordinates of
    even powers, so like coordinates are treated alike.
    """

    dimension: int = eqx.field(static=True)
    length: Any = 1.0

    @property
    def horizon(self) -> Any:
        return jnp.asarray(self.length, dtype=float)

    @property
    def start(self) -> Any:
        return jnp.zeros(self.dimension)

    @property
    def scale(self) -> Any:
        return jnp.ones(1)

    @property
    def settled(self) -> bool:
        return True

    def _grown(self, tau: Any, x: Any) -> Any:
        return 1 + x @ x + 2 * self.dimension * tau

    def baseline(self, tau: Any, x: Any) -> Any:
        return jnp.log(0.5 * self._grown(tau, x))[None]

    def features(self, tau: Any, x: Any) -> Any:
        grown = self._grown(tau, x)
        return jnp.stack(
            [x @ x / self.dimension, jnp.sum(x**4) / self.dimension, jnp.log(grown), self.dimension / grown]
        )

    def residual(self, function: Function, tau: Any, x: Any, cap: Any) -> Any:
        def along(unit: Any) -> Any:
            """First and second derivative in one direction."""
            line = lambda s: function(tau, x + s * unit)[0]  # noqa: E731
            slope = lambda s: jax.jvp(line, (s,), (jnp.ones(()),))[1]  # noqa: E731
            return jax.jvp(slope, (jnp.zeros(()),), (jnp.ones(()),))

        slope, bend = jax.vmap(along)(jnp.eye(self.dimension))
        ahead = jax.jvp(lambda t: function(t, x)[0], (tau,), (jnp.ones(()),))[1]
        pace = 2 * self.dimension / self._grown(tau, x)
        return ((jnp.sum(bend) - slope @ slope - ahead) / pace)[None]

    def sample(self, key: Any, function: Function, paths: int, each: int) -> tuple[Any, Any]:
        clock, place = jax.random.split(key)
        since = self.horizon * jax.random.uniform(clock, (paths * each,))
        x = jnp.sqrt(2 * since)[:, None] * jax.random.normal(place, (paths * each, self.dimension))
        return self.horizon - since, x
