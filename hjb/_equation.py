"""The Hamilton-Jacobi-Bellman equation on nodes: one spatial discretisation, shared by every one-inventory method.

Unknowns are stacked as rows of `u`, shape (3, nodes): `theta` (value above the marked book), `h` (expected wealth
above it) and `w` (the share of the remaining time spent where a permitted side is not quoted because no payment
would make the trade worth it, see `models.objectives`). Time runs backwards: `tau = T - t` is the time to go, and

    du/dtau = transport(u) + income - cost + sum_channels (fills),        u(0) = (-terminal_cost, 0, 0).

Fills jump a whole number of nodes, so they are exact. Transport is differenced centrally where that is monotone and
upwind where it is not: the off-diagonals of the generator are never negative (an M-matrix after a time step).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ..models.problem import Problem
from ..models.stock_cash import StockCashDealer

Rows = Float[Array, "3 nodes"]
Nodes = Float[Array, " nodes"]


class Grid(eqx.Module):
    """`2 half + 1` nodes around zero inventory, `per_lot` of them to a lot; both part of the compiled shape."""

    per_lot: int = eqx.field(static=True)
    half: int = eqx.field(static=True)

    @property
    def count(self) -> int:
        return 2 * self.half + 1

    def nodes(self, size: Any) -> Nodes:
        return jnp.arange(-self.half, self.half + 1) * (size / self.per_lot)

    def coarser(self, factor: int) -> Grid:
        """The grid of every `factor`-th node."""
        return Grid(self.per_lot // factor, self.half // factor)


class Side(NamedTuple):
    """What one channel does at every node: distances (nan: not quoted), fill rates, and what they earn."""

    distance: Nodes
    rate: Nodes
    flow: Rows  # contribution to du/dtau


class Evaluation(NamedTuple):
    rate: Rows  # du/dtau
    bid: Side
    ask: Side


class Equation(eqx.Module):
    """The semi-discrete equation of a problem on a grid."""

    problem: Problem
    grid: Grid

    @property
    def nodes(self) -> Nodes:
        return self.grid.nodes(self.problem.size)

    def start(self) -> Rows:
        """`u` at the horizon."""
        y = self.nodes
        return jnp.stack([-self.problem.objective.terminal_cost(self.problem.lots(y)), 0 * y, 0 * y])

    def permitted(self, side: int) -> Nodes:
        """The share of each node's cell in which a fill on `side` keeps the limit, from 0 to 1.

        A limit that forbids fills puts a jump into the coefficients; averaging it over the cell keeps the scheme
        second-order wherever the jump falls. Inventory that does not move between fills sits on the nodes exactly.
        """
        problem, y = self.problem, self.nodes
        if not problem.moves:
            return jnp.where(problem.may_fill(side, y), 1.0, 0.0)
        spacing = problem.size / self.grid.per_lot
        return jnp.clip((problem.limit - problem.size - side * y) / spacing + 0.5, 0.0, 1.0)

    def neighbour(self, u: Array, side: int) -> Array:
        """`u` one lot above (+1) or below (-1); beyond the grid the end value, where no fill is permitted anyway."""
        step = self.grid.per_lot
        if side > 0:
            return jnp.concatenate([u[..., step:], jnp.repeat(u[..., -1:], step, axis=-1)], axis=-1)
        return jnp.concatenate([jnp.repeat(u[..., :1], step, axis=-1), u[..., :-step]], axis=-1)

    def stencil(self) -> tuple[Nodes, Nodes]:
        """Rates `(down, up)`, not negative, at which transport leads to the neighbouring nodes; zero at the ends."""
        y = self.nodes
        dy = self.problem.size / self.grid.per_lot
        velocity, diffusion = self.problem.velocity(y), 0.5 * self.problem.spread(y) ** 2 / dy**2
        central = diffusion * dy >= 0.5 * jnp.abs(velocity)
        up = diffusion + jnp.where(central, 0.5 * velocity, jnp.maximum(velocity, 0.0)) / dy
        down = diffusion + jnp.where(central, -0.5 * velocity, jnp.maximum(-velocity, 0.0)) / dy
        inside = jnp.zeros(self.grid.count).at[1:-1].set(1.0)
        return inside * down, inside * up

    def transport(self, tau: Any, u: Rows) -> tuple[Rows, Nodes]:
        """`velocity u_y + 1/2 spread^2 u_yy`, and the slope `h_y`.

        At the two end nodes both are those of the exact solution without fills: far beyond the limit the inventory's
        own risk is all that is left, and the rows of the generator stay monotone.
        """
        problem, y = self.problem, self.nodes
        if not problem.moves:
            return jnp.zeros_like(u), jnp.zeros_like(y)
        down, up = self.stencil()
        lower, upper = jnp.roll(u, 1, axis=-1), jnp.roll(u, -1, axis=-1)
        inner = down * (lower - u) + up * (upper - u)
        slope = (upper[1] - lower[1]) / (2 * problem.size / self.grid.per_lot)
        linear, quadratic = problem.without_fills(tau)
        drift, curvature = problem.velocity(y), -quadratic * problem.spread(y) ** 2
        ends = jnp.stack([drift * (linear - 2 * quadratic * y) + curvature, drift * linear, 0 * y])
        at_end = jnp.zeros(self.grid.count, bool).at[jnp.array([0, -1])].set(True)
        return jnp.where(at_end, ends, inner), jnp.where(at_end, linear, slope)

    def side(self, tau: Any, u: Rows, channel: Any) -> Side:
        """The optimal distance of one channel at every node, and what its fills contribute."""
        problem, objective = self.problem, self.problem.objective
        change = self.neighbour(u, channel.side) - u
        m, cost = channel.notional, channel.cost
        distance = channel.demand.best_response(
            lambda ratio: objective.income_at(m * ratio, change[0], change[1]) / m + cost
        )
        permitted = self.permitted(channel.side)
        quoting = jnp.isfinite(distance)
        x = jnp.where(quoting, distance, 0.0)
        z = channel.income(x)
        rate = jnp.where(quoting, permitted * channel.demand._intensity(x), 0.0)
        threshold = objective.no_quote_below
        idle = 0.0 if threshold is None else jnp.where(quoting, 0.0, 0.5 * permitted / problem.horizon)
        flow = jnp.stack([rate * objective.gain(z, *change[:2]), rate * (z + change[1]), rate * change[2] + idle])
        return Side(distance, rate, flow)

    def __call__(self, tau: Any, u: Rows) -> Evaluation:
        problem, y = self.problem, self.nodes
        transport, slope = self.transport(tau, u)
        cost = problem.objective.running_cost(
            problem.exposure(tau, y), problem.spread(y) * slope, problem.lots(y)
        )
        income = problem.income(tau, y)
        bid, ask = (self.side(tau, u, channel) for channel in problem.channels(tau))
        own = jnp.stack([income - cost, income, 0 * y])
        return Evaluation(transport + own + bid.flow + ask.flow, bid, ask)


def grid_for(problem: Problem, per_lot: int, name: str) -> Grid:
    """The grid that holds a problem's limit, and for a stock that moves by itself the room it needs beyond.

    Raises `ValueError` where the size cannot be told: an unlimited inventory, or traced limits.
    """
    try:
        lots = float(problem.limit) / float(problem.size)
        room = _room(problem)
    except TypeError:
        raise ValueError(
            f"{name}: the grid's size depends on the limit, lot, volatility and horizon, which are traced here; "
            "state it in lots, for instance half_width=15"
        ) from None
    if not math.isfinite(lots):
        raise ValueError(f"{name} needs a finite inventory limit; give max_inventory, or take ClosedForm()")
    return Grid(per_lot, max(1, math.ceil(lots * room - 1e-9)) * per_lot)


def _room(problem: Problem) -> float:
    """How far beyond the limit a grid should reach: three standard deviations of growth, at most a quarter.

    Beyond the limit the dealer only reduces and does so fast, so growth over the whole horizon need not be covered.
    """
    if not isinstance(problem, StockCashDealer):
        return 1.0
    horizon = float(problem.horizon)
    reach = 3 * float(problem.volatility) * math.sqrt(horizon) + abs(float(problem.growth)) * horizon
    return math.exp(min(reach, math.log(1.25)))


def tridiagonal_solve(down: Array, diagonal: Array, up: Array, rhs: Array) -> Array:
    """Solve rows `down x[i-1] + diagonal x[i] + up x[i+1] = rhs[i]` along the last axis, for rhs (k, ..., n)."""
    solution = lax.linalg.tridiagonal_solve(down, diagonal, up, jnp.moveaxis(rhs, 0, -1))
    return jnp.moveaxis(solution, -1, 0)
