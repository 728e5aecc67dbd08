"""A dealer under given quotes as a Markov chain on the nodes of its inventory: moments without a simulation.

Inventory in lots is such a chain by itself. A stock that moves between fills becomes one on a grid, with the rates to
the neighbouring nodes of the finite-difference equation, which has the same drift and variance. With the generator

    (Q u)_i = sum_sides Lambda (u_{i +- lot} - u_i) + down (u_{i-1} - u_i) + up (u_{i+1} - u_i),

expectations at the horizon solve `du/dtau = Q u + ...` in the time to go. Time is cut into even steps; within one the
rates are those at its middle, and the exponential is summed as a series over parts so short that it is exact to
rounding. What is approximate is of second order in the step, and in the nodes where the stock moves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from ...hjb._equation import Equation, Grid

STEPS = 240  # over the horizon: has many divisors, for blocks
_TERMS = 14  # of the series, over a part in which about one fill is expected: 1/15! is left out
_MOST_PARTS = 128.0


class Chain(eqx.Module):
    """Rates at the middle of each step, in the time to go: rows ascend from the horizon back to now."""

    y: Any  # (nodes,)
    lots: Any  # (nodes,)
    dt: Any
    rate: Any  # (steps, 2, nodes) fills per unit of time, bid and ask
    earned: Any  # (steps, 2, nodes) money at the horizon by a fill
    income: Any  # (steps, nodes) expected growth of the marked book
    exposure: Any  # (steps, nodes) of wealth to the Brownian motion
    spread: Any  # (nodes,) of the inventory itself
    transport: Any  # (2, nodes) down and up
    parts: Any  # (steps,) of each step
    per_lot: int = eqx.field(static=True)
    moves: bool = eqx.field(static=True)

    def jump(self, u: Any, which: int) -> Any:
        """`u` (..., nodes) after a fill of the bid (0) or the ask (1)."""
        step = self.per_lot
        edge = [(0, 0)] * (u.ndim - 1)
        if which == 0:
            return jnp.pad(u[..., step:], [*edge, (0, step)], mode="edge")
        return jnp.pad(u[..., :-step], [*edge, (step, 0)], mode="edge")

    def generator(self, j: Any, u: Any, weight: tuple[Any, Any] | None = None) -> Any:
        """`Q u` in step `j` for `u` (..., nodes); `weight`, of that shape, multiplies what a fill leads to."""

        def across(row: Any) -> Any:
            return row.reshape((1,) * (u.ndim - 1) + row.shape).astype(u.dtype)

        after = [self.jump(u, i) if weight is None else weight[i] * self.jump(u, i) for i in (0, 1)]
        flow = across(self.rate[j, 0]) * (after[0] - u) + across(self.rate[j, 1]) * (after[1] - u)
        if self.moves:
            below = jnp.concatenate([u[..., :1], u[..., :-1]], axis=-1)
            above = jnp.concatenate([u[..., 1:], u[..., -1:]], axis=-1)
            flow = flow + across(self.transport[0]) * (below - u) + across(self.transport[1]) * (above - u)
        return flow

    def slope(self, u: Any) -> Any:
        """`du/dy`, for what a moving stock adds to the exposure."""
        return jnp.gradient(u, axis=-1) / (self.y[1] - self.y[0])

    @property
    def middle(self) -> int:
        return (self.y.shape[0] - 1) // 2


def chain_of(policy: Any, grid: Grid, steps: int = STEPS) -> Chain:
    """The chain of a tabulated policy's problem under it; may be traced."""
    problem = policy.problem
    equation = Equation(problem, grid)
    y, dt = equation.nodes, problem.horizon / steps
    tau = dt * (jnp.arange(steps, dtype=float) + 0.5)
    bid, ask = policy.distances(*(jnp.broadcast_to(x, (steps, y.size)) for x in (tau[:, None], y[None, :])))

    def side(tau: Any, distances: Any) -> tuple[Any, Any]:
        rates, earned = [], []
        for channel, permitted, x in zip(problem.channels(tau), equation.permitted, distances, strict=True):
            quoting = jnp.isfinite(x) & (permitted > 0)
            x = jnp.where(quoting, x, 0.0)
            rates.append(jnp.where(quoting, permitted * channel.demand._intensity(x), 0.0))
            earned.append(channel.income(x))
        return jnp.stack(rates), jnp.stack(earned)

    rate, earned = jax.vmap(side)(tau, (bid, ask))
    down, up = equation.stencil
    leaving = jnp.max(jnp.sum(rate, axis=1) + (down + up)[None, :], axis=1) * dt
    return Chain(
        y=y,
        lots=problem.lots(y),
        dt=dt,
        rate=rate,
        earned=earned,
        income=jax.vmap(lambda t: problem.income(t, y))(tau),
        exposure=jax.vmap(lambda t: problem.exposure(t, y))(tau),
        spread=problem.spread(y),
        transport=jnp.stack([down, up]),
        parts=lax.stop_gradient(jnp.ceil(leaving)),
        per_lot=grid.per_lot,
        moves=problem.moves,
    )


def propagate(
    chain: Chain, operator: Callable[[Any, Any], Any], start: Any, first: Any = 0, count: int | None = None
) -> Any:
    """`u` after `du/dtau = operator(j, u)`, linear in the tree `u`, through `count` steps of the time to go.

    Not finite where so many fills are expected that a step would need hundreds of parts.
    """
    count = chain.parts.shape[0] if count is None else count

    def step(u: Any, j: Any) -> tuple[Any, None]:
        parts = jnp.clip(chain.parts[j], 1.0, _MOST_PARTS)
        short = chain.dt / parts

        def part(_: Any, u: Any) -> Any:
            def term(k: Any, carry: Any) -> Any:
                total, power = carry
                share = short / jnp.asarray(k, float)
                power = jax.tree.map(lambda x: x * share.astype(x.dtype), operator(j, power))
                return jax.tree.map(jnp.add, total, power), power

            return lax.fori_loop(1, _TERMS + 1, term, (u, u))[0]

        u = lax.fori_loop(0, parts.astype(int), part, u)
        lost = jnp.where(chain.parts[j] <= _MOST_PARTS, 0.0, jnp.nan)
        return jax.tree.map(lambda x: x + lost.astype(x.dtype), u), None

    return lax.scan(step, start, first + jnp.arange(count))[0]


def wealth_moments(chain: Chain) -> tuple[Any, Any]:
    """Mean and variance (nodes,) of wealth at the horizon above the marked book, by inventory now.

    h' = Q h + income + sum Lambda z,    m' = Q m + 2 income h + exposure (exposure + 2 spread h_y)
                                               + sum Lambda z (z + 2 h(after the fill)),        Var = m - h^2.
    """

    def operator(j: Any, u: Any) -> Any:
        h, m, one = u
        rate, z = chain.rate[j], chain.earned[j]
        by_fills = sum(rate[i] * z[i] for i in (0, 1))
        squares = sum(rate[i] * z[i] * (z[i] * one + 2 * chain.jump(h, i)) for i in (0, 1))
        exposure, income = chain.exposure[j], chain.income[j]
        slope = chain.spread * chain.slope(h) if chain.moves else 0.0
        return (
            chain.generator(j, h) + (income + by_fills) * one,
            chain.generator(j, m) + 2 * income * h + exposure * (exposure * one + 2 * slope) + squares,
            0 * one,
        )

    zero = jnp.zeros_like(chain.y)
    h, m, _ = propagate(chain, operator, (zero, zero, zero + 1))
    return h, m - h**2


def hitting_probability(chain: Chain, stopped: Any) -> Any:
    """The probability (nodes,) that the inventory reaches a node that is `stopped` by the horizon, by inventory now."""
    alive = jnp.where(stopped, 0.0, 1.0)
    return 1 - propagate(chain, lambda j, u: alive * chain.generator(j, u), alive)


def characteristic(chain: Chain, frequency: Any) -> Any:
    """`E e^{i w X}` (frequencies, nodes) of wealth `X` above the marked book; inventory that rests between fills only.

    u' = sum Lambda (e^{i w z} u(after the fill) - u) + (i w income - w^2 exposure^2 / 2) u
    """
    w = frequency[:, None]

    def operator(j: Any, u: Any) -> Any:
        bid, ask = (jnp.exp(lax.complex(jnp.zeros_like(u.real), w * chain.earned[j, i][None, :])) for i in (0, 1))
        own = lax.complex(-0.5 * w**2 * chain.exposure[j][None, :] ** 2, w * chain.income[j][None, :])
        return chain.generator(j, u, (bid, ask)) + own * u

    return propagate(chain, operator, jnp.ones((frequency.size, chain.y.size), complex))


def conditional_moments(chain: Chain, blocks: int) -> Any:
    """What a block of time is expected to bring, (blocks, 3, nodes), by the inventory where it begins.

    Of lots at its end, of their square, and of the number of fills in it; blocks in the order of time.
    """
    steps = chain.parts.shape[0] // blocks
    fills = jnp.sum(chain.rate, axis=1)

    def operator(j: Any, u: Any) -> Any:
        values, one = u
        nothing = jnp.zeros_like(fills[j])
        return chain.generator(j, values) + jnp.stack([nothing, nothing, fills[j] * one]), 0 * one

    start = jnp.stack([chain.lots, chain.lots**2, 0 * chain.y]), jnp.ones_like(chain.y)
    return lax.map(lambda first: propagate(chain, operator, start, first, steps)[0], steps * jnp.arange(blocks)[::-1])
