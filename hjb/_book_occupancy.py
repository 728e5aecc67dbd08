"""How long a book, from an empty start, is where a permitted fill is not worth any payment: the mark of ill-posedness.

Under the equilibrium objective quotes jump to infinity there. The probabilities of the inventories run forward in time,
`p_t = G' p` with the rates of the solution's own quotes, kept over each interval between stored times; the exponential
acts by uniformisation, a series of non-negative terms.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax

from ..models.multi_asset import MultiAssetDealer
from ._book_lattice import nodes, shifted

_LONGEST = 8.0  # of the largest rate times a step of the series
_TERMS = 48


@eqx.filter_jit
def idle_share(problem: MultiAssetDealer, table: Any) -> Any:
    """The share of the horizon, from a table of `theta` and `h` of shape (2, times, n_1, ..., n_d)."""
    q = jnp.asarray(nodes(problem))
    counts, d = table.shape[2:], problem.dimension
    permitted = {side: problem.may_fill(side, q) for side in (+1, -1)}
    tau = problem.horizon * jnp.linspace(0.0, 1.0, table.shape[1]) ** 2

    def through(p: Any, interval: Any) -> tuple[Any, Any]:
        now, length = interval
        rates, idle = {}, jnp.zeros(counts, bool)
        for side, allowed in permitted.items():
            change = jnp.stack([shifted(now, 1 + i, side) - now for i in range(d)], axis=-1)
            best = problem.response(side, change[0], change[1])
            rates[side] = jnp.where(allowed, best.rate, 0.0)
            idle = idle | jnp.any(allowed & ~jnp.isfinite(best.distance), axis=-1)
        leaving = jnp.sum(rates[+1] + rates[-1], axis=-1)
        most = jnp.maximum(jnp.max(leaving), 1 / problem.horizon)

        def product(p: Any) -> Any:
            total = (most - leaving) * p
            for side, rate in rates.items():
                for i in range(d):
                    come = shifted(rate[..., i] * p, i, -side)
                    total = total + jnp.where(permitted[-side][..., i], come, 0.0)
            return total

        steps = jnp.ceil(most * length / _LONGEST)
        dt = length / steps

        def step(_: Any, p: Any) -> Any:
            def add(n: Any, state: Any) -> Any:
                term, total = state
                term = product(term) * (dt / n.astype(term.dtype))
                return term, total + term

            return jnp.exp(-most * dt) * lax.fori_loop(1, _TERMS, add, (p, p))[1]

        then = lax.fori_loop(0, steps.astype(int), step, p)
        return then, 0.5 * length * jnp.sum(jnp.where(idle, p + then, 0.0))

    start = jnp.zeros(counts).at[tuple(count // 2 for count in counts)].set(1.0)
    rows = jnp.moveaxis(table, 1, 0)[:0:-1]
    _, spent = lax.scan(through, start, (rows, jnp.diff(tau)[::-1]))
    return jnp.sum(spent) / problem.horizon
