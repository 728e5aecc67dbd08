"""The baseline of a book: the quadratic that fits the Hamiltonian best over inventories of Gaussian spread.

    theta = a(tau) + b(tau)' q - q' M(tau) q,
    M' = C - 2 M diag(g2_bid + g2_ask) M,   b' = mu D - 2 M (g1_bid - g1_ask),   a' = sum (g0_bid + g0_ask),

where a fill of asset `i` on side `s` changes `theta` by `p - 2 s (M q)_i`, `p = s b_i - M_ii`, and `g0 + g1 y +
g2 y^2/2` is the projection of `G(p + y)`, `y ~ N(0, v)`, on quadratics. Taylor's expansion is the case `v = 0`; the
stationary spread of the inventory under the quotes that follow from `M` has `v = M_ii/kappa`, `kappa` the decay of the
demand per unit of money, which is what is taken (Gueant 2017, section 5, and Bergault, Evangelista, Gueant and Vieira
2021 expand at `p = 0`). It does not run away where lots are coarse, as Taylor's does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

NODES = 256
_LEAST = 0.05  # least spread of `y`, in units of the demand's scale: derivatives are taken from differences over it


class Riccati(NamedTuple):
    """`M`, `b`, `a` in one row each at times to go `T (j/n)^2`, with their derivatives, for cubic Hermite pieces."""

    rows: Any  # (n + 1, d^2 + d + 1)
    slopes: Any


def quadratic(gain: Any, income: Any, cost: Any, terminal: Any, kappa: Any, horizon: Any) -> Riccati:
    """The quadratic's coefficients over the time to go.

    gain:     `G`, `gain(which, p)` of shape (..., d) for the bids (0) or the asks (1).
    income:   `mu D`, (d,).  cost, terminal: matrices of what holding and ending cost, (d, d).  kappa: (d,), see above.
    """
    d = income.shape[0]
    points, weights = np.polynomial.hermite_e.hermegauss(7)
    weights = weights / weights.sum()

    def projected(which: int, middle: Any, v: Any) -> Any:
        spread = jnp.sqrt(v)
        g = gain(which, middle[None] + spread[None] * points[:, None])
        first = weights @ (g * points[:, None]) / spread
        second = weights @ (g * (points[:, None] ** 2 - 1)) / v
        return weights @ g - 0.5 * second * v, first, second

    def slope(row: Any) -> Any:
        m, b = row[: d * d].reshape(d, d), row[d * d : -1]
        own = jnp.diagonal(m)
        v = jnp.maximum(own, _LEAST**2 / kappa) / kappa
        up, down = projected(0, b - own, v), projected(1, -b - own, v)
        dm = cost - 2 * (m * (up[2] + down[2])[None]) @ m
        db = income - 2 * m @ (up[1] - down[1])
        return jnp.concatenate([dm.ravel(), db, jnp.sum(up[0] + down[0])[None]])

    times = horizon * jnp.linspace(0.0, 1.0, NODES + 1) ** 2

    def quarter(row: Any, h: Any) -> Any:
        """A step of the classical Runge-Kutta rule; its stages are a loop, which compiles in a fraction of the time."""

        def stage(state: Any, of: Any) -> Any:
            total, last = state
            found = slope(row + of[0] * h * last)
            return (total + of[1] * h * found, found), None

        stages = (jnp.array([0.0, 0.5, 0.5, 1.0]), jnp.array([1.0, 2.0, 2.0, 1.0]) / 6)
        return jax.lax.scan(stage, (row, jnp.zeros_like(row)), stages)[0][0]

    def advance(row: Any, step: Any) -> Any:
        new = jax.lax.fori_loop(0, 4, lambda _, r: quarter(r, 0.25 * step), row)
        return new, new

    start = jnp.concatenate([jnp.asarray(terminal).ravel(), jnp.zeros(d + 1)])
    rows = jnp.concatenate([start[None], jax.lax.scan(advance, start, jnp.diff(times))[1]])
    return Riccati(rows, jax.lax.map(slope, rows))


def at(table: Riccati, horizon: Any, tau: Any) -> Any:
    """The row at one time to go."""
    position = NODES * jnp.sqrt(jax.lax.stop_gradient(tau) / horizon)
    j = jnp.clip(jnp.floor(position).astype(jnp.int32), 0, NODES - 1)
    begin, end = (horizon * (number.astype(float) / NODES) ** 2 for number in (j, j + 1))
    h = end - begin
    u = (tau - begin) / h
    rows, slopes = table
    value = (1 + 2 * u) * (1 - u) ** 2 * rows[j] + u * u * (3 - 2 * u) * rows[j + 1]
    return value + h * (u * (1 - u) ** 2 * slopes[j] - u * u * (1 - u) * slopes[j + 1])
