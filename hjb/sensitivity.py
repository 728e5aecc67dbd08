"""The gradient of one quote in every number of the problem, at about the cost of the solve: the adjoint equation.

A solution is a path `u(s)`, `s` the share of the horizon to go, with `du/ds = G(s, u; p)`, `G = T F(s T, u; p)`. A
quote is a function `Q(u(s*), p)` of its end. With the adjoint `a`, one vector whatever the number of parameters,

    da/ds = -J(s)' a,    a(s*) = dQ/du,        dQ = Q_p dp + a(0)' u_p(0) dp + int_0^s* a' G_p ds dp.

`J = dG/du` is known where the path is, so nothing is iterated; the integral's derivative is one reverse pass over all
times at once. The path comes from the solution's own table, so the gradient is second order in its intervals.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..models.problem import Problem
from ._equation import Equation, Grid, grid_of
from .solution import Solution
from .solve import solve

_TERMS = 10  # of an exponential's series, over a part in which half a fill is expected


def quote_gradient(solution: Solution, side: str = "bid", t: float = 0.0, **state: float) -> Any:
    """The derivative of a distance in every number of `solution.problem`, as a problem that holds them in their places.

    `gradient.volatility` is the change of the quote, in units of distance, per unit of volatility. `t` is moved to the
    table's nearest time. A solution whose nodes crowd is solved again on even ones, on which the adjoint takes fewer
    steps. Raises `ValueError` for an unknown side, a quote that is not made, or a solution whose table has more than
    one axis.
    """
    problem, tables = solution.problem, solution.tables
    if side not in ("bid", "ask"):
        raise ValueError(f"side must be 'bid' or 'ask', got {side!r}")
    if not isinstance(problem, Problem) or solution.formula is not None or len(tables.axes) > 1:
        raise ValueError("quote_gradient is for solutions on a lattice or a grid of one inventory")
    if problem.days > 1:
        raise ValueError("quote_gradient knows no overnight limit; take jax.grad through solve")
    if not np.isfinite(getattr(solution.quotes(t, **state), side)):
        raise ValueError(f"there is no {side} at t={t:g} and this state; ask where the dealer quotes")
    shares = np.asarray(tables.tau) / float(problem.horizon)
    last = int(np.argmin(np.abs(shares - (1 - t / float(problem.horizon)))))
    mean = np.zeros_like(tables.value) if np.shape(tables.mean) != np.shape(tables.value) else tables.mean
    grid = grid_of(problem, tables.y)
    if grid.crowded:  # the adjoint is stepped explicitly, which narrow cells would make long
        return quote_gradient(solve(problem, replace(solution.method, crowded=False)), side, t, **state)
    with jax.enable_x64(True):
        u = np.stack([tables.value, mean], axis=1)[: last + 1]
        y = np.asarray(problem.coordinate(state), float)
        found = _gradient(problem, grid, u, shares[: last + 1], y, 0 if side == "bid" else 1)
        return jax.tree.map(np.asarray, found)


@eqx.filter_jit
def _gradient(problem: Any, grid: Grid, u: Any, shares: Any, y: Any, which: int) -> Any:
    numbers, rest = eqx.partition(problem, eqx.is_array)

    def quote(numbers: Any, rows: Any) -> Any:
        stated = eqx.combine(numbers, rest)
        side = Equation(stated, grid).at(shares[-1] * stated.horizon).sides(rows)[which]
        x = y / (stated.size / grid.per_lot) + grid.half
        lower = jnp.clip(lax.stop_gradient(jnp.floor(x)), 0, grid.count - 2)
        ends = jnp.where(jnp.isfinite(side.distance), side.distance, 0.0)
        i = lower.astype(int)
        return ends[i] + (x - lower) * (ends[i + 1] - ends[i])

    direct, pull = jax.grad(quote, argnums=(0, 1))(numbers, u[-1])
    between, widths = 0.5 * (u[1:] + u[:-1]), jnp.diff(shares)
    middle = 0.5 * (shares[1:] + shares[:-1])
    coefficients = jax.vmap(lambda s, rows: _linearised(problem, grid, s, rows))(middle, between)
    first, path = lax.scan(lambda a, x: _back(grid, a, *x), pull, (coefficients, widths), reverse=True)

    def through(numbers: Any) -> Any:
        equation = Equation(eqx.combine(numbers, rest), grid)

        def field(s: Any, rows: Any) -> Any:
            return equation.problem.horizon * equation(s * equation.problem.horizon, rows).rate

        return jnp.sum(path * jax.vmap(field)(middle, between)) + jnp.sum(first * equation.start())

    return jax.tree.map(jnp.add, direct, jax.grad(through)(numbers))


class _Linear(NamedTuple):
    """`J` at one time: what each node feels of its neighbours."""

    fills: Any  # (2, 2, 2, nodes): side, of row, by row
    transport: Any  # (2, nodes): down, up
    slope: Any  # (nodes,) of theta's rate by the difference of h across a node
    fastest: Any  # rate of leaving a node


def _linearised(problem: Any, grid: Grid, share: Any, u: Any) -> _Linear:
    equation, horizon = Equation(problem, grid), problem.horizon
    moment = equation.at(share * horizon)
    now = moment(u)
    fills = horizon * jnp.stack([now.bid.coupling, now.ask.coupling])
    down, up = (horizon * x for x in equation.stencil)
    _, slope = moment.transport(u)
    spread, lots = problem.spread(equation.nodes), problem.lots(equation.nodes)

    def cost(slope: Any) -> Any:
        return problem.objective.running_cost(moment.exposure, spread * slope, lots)

    _, by_slope = jax.jvp(cost, (slope,), (jnp.ones_like(slope),))
    inner = jnp.zeros(grid.count).at[1:-1].set(1.0)  # the slope at the ends is given
    across = -horizon * inner * by_slope / (2 * problem.size / grid.per_lot)
    fastest = jnp.max(jnp.sum(jnp.abs(fills), axis=(0, 2)) + (jnp.abs(across) + down + up)[None, :])
    return _Linear(fills, jnp.stack([down, up]), across, fastest)


def _back(grid: Grid, a: Any, linear: _Linear, width: Any) -> tuple[Any, Any]:
    """The adjoint at a step's beginning, and its integral over the step."""
    (transposed,) = (jax.linear_transpose(lambda u: _times(grid, linear, u), a),)
    parts = jnp.ceil(2 * width * linear.fastest)
    short = width / parts

    def part(_: Any, carry: Any) -> Any:
        a, total = carry

        def term(k: Any, carry: Any) -> Any:
            power, ends, whole = carry
            (power,) = transposed(power)
            power = power * (short / jnp.asarray(k, float))
            return power, ends + power, whole + power / (jnp.asarray(k, float) + 1)

        _, ends, whole = lax.fori_loop(1, _TERMS + 1, term, (a, a, a))
        return ends, total + short * whole

    return lax.fori_loop(0, jnp.maximum(parts, 1).astype(int), part, (a, jnp.zeros_like(a)))


def _times(grid: Grid, linear: _Linear, u: Any) -> Any:
    """`J u` for `u` (2, nodes)."""
    step = grid.per_lot

    def moved(by: int) -> Any:
        ends = jnp.repeat(u[:, -1:] if by > 0 else u[:, :1], abs(by), axis=1)
        return jnp.concatenate([u[:, by:], ends] if by > 0 else [ends, u[:, :by]], axis=1)

    up, down = moved(step) - u, moved(-step) - u
    flow = jnp.einsum("abn,bn->an", linear.fills[0], up) + jnp.einsum("abn,bn->an", linear.fills[1], down)
    low, high = moved(-1), moved(1)
    flow = flow + linear.transport[:1] * (low - u) + linear.transport[1:] * (high - u)
    return flow + jnp.stack([linear.slope * (high[1] - low[1]), jnp.zeros_like(u[0])])
