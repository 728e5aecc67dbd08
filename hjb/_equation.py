"""The Hamilton-Jacobi-Bellman equation on nodes: one spatial discretisation, shared by every one-inventory method.

Unknowns are stacked as rows of `u`, shape (2, nodes): `theta` (value above the marked book) and `h` (expected wealth
above it). Time runs backwards: `tau = T - t` is the time to go, and

    du/dtau = transport(u) + income - cost + sum_channels (fills),        u(0) = (-terminal_cost, 0).

Fills jump a whole number of nodes, so they are exact. Transport is differenced centrally where that is monotone and
upwind where it is not: the off-diagonals of the generator are never negative (an M-matrix after a time step).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..models._precision import is_traced
from ..models.channels import Channel
from ..models.problem import Problem
from ..models.stock_cash import StockCashDealer
from ._crowding import crowded
from ._limits import forced_by_stock, reduces

Rows = Float[Array, "2 nodes"]
Nodes = Float[Array, " nodes"]


@jax.tree_util.register_static
@dataclass(frozen=True)
class Grid:
    """`2 half + 1` nodes around zero inventory, `per_lot` of them to a lot; all part of the compiled shape.

    crowded: whether they crowd where limits bend the value (see `_crowding`), or lie evenly.
    """

    per_lot: int
    half: int
    crowded: bool = False

    @property
    def count(self) -> int:
        return 2 * self.half + 1

    def nodes(self, size: Any) -> Nodes:
        """Even ones."""
        return jnp.arange(-self.half, self.half + 1, dtype=float) * (size / self.per_lot)

    def coarser(self, factor: int) -> Grid:
        """The grid of every `factor`-th node."""
        return Grid(self.per_lot // factor, self.half // factor, self.crowded)


class Side(NamedTuple):
    """What one channel does at every node: distances (nan: not quoted), fill rates, and what they earn.

    Trades forced on its side are counted with the fills.
    """

    distance: Nodes
    rate: Nodes
    flow: Rows  # contribution to du/dtau
    coupling: Float[Array, "2 2 nodes"]  # d flow / d(Dtheta, Dh)


class Evaluation(NamedTuple):
    rate: Rows  # du/dtau
    bid: Side
    ask: Side

    @property
    def memory(self) -> tuple[()]:
        """What the next evaluation starts from."""
        return ()


class Equation(eqx.Module):
    """The semi-discrete equation of a problem on a grid: what does not change with time, computed once."""

    refresh: ClassVar[int] = 1  # corrections for which `prepare` serves

    problem: Problem
    grid: Grid
    nodes: Nodes
    permitted: tuple[Nodes, Nodes]  # bid, ask
    forced: tuple[Nodes, Nodes] | None  # trades on either side per unit of time
    stencil: tuple[Nodes, Nodes]  # down, up

    def __init__(self, problem: Problem, grid: Grid):
        self.problem, self.grid = problem, grid
        self.nodes = nodes_of(problem, grid)
        cells = cells_of(self.nodes)
        self.permitted = (permitted(problem, grid, cells, +1), permitted(problem, grid, cells, -1))
        self.forced = (forced(problem, +1, cells), forced(problem, -1, cells)) if problem.forces else None
        self.stencil = upwind_stencil(problem, self.nodes)

    def start(self) -> Rows:
        """`u` at the horizon."""
        y, problem = self.nodes, self.problem
        closing = problem.closing_cost(y)
        return -jnp.stack([closing + problem.objective.terminal_cost(problem.lots(y)), closing])

    def at(self, tau: Any) -> Moment:
        """The equation with `tau` to go."""
        problem, y = self.problem, self.nodes
        ends = jnp.stack([y[0], y[-1]])
        linear, quadratic = problem.without_fills(tau, jnp.sign(ends))
        drift = problem.velocity(ends)
        curvature = -quadratic * problem.spread(ends) ** 2
        return Moment(
            equation=self,
            channels=problem.channels(tau),
            income=problem.income(tau, y),
            exposure=problem.exposure(tau, y),
            end_flow=jnp.stack([drift * (linear - 2 * quadratic * ends) + curvature, drift * linear]),
            end_slope=linear,
        )

    @property
    def axes(self) -> tuple[Nodes]:
        return (self.nodes,)

    @property
    def per_lots(self) -> tuple[int]:
        """Nodes to a lot on every axis."""
        return (self.grid.per_lot,)

    def distances(self, tau: Any, u: Any) -> tuple[Any, Any]:
        """Optimal distances, each (times, nodes), for `tau` (times,) and `u` (times, 2, nodes)."""

        def at(tau: Any, rows: Rows) -> tuple[Any, Any]:
            moment = self.at(tau)
            bid, ask = moment.sides(rows)
            return bid.distance, ask.distance

        return jax.vmap(at)(tau, u)

    def memory(self) -> tuple[()]:
        """What an evaluation starts from where none went before: here it needs nothing."""
        return ()

    def prepare(self, g: Any, moment: Moment, u: Rows, now: Evaluation) -> tuple[Any, Evaluation]:
        """What `invert` needs."""
        return g, now

    def invert(self, factors: tuple[Any, Evaluation], gap: Rows) -> Rows:
        """`[(1 - g J_fills)(1 - g J_transport)]^{-1} gap`; fills couple nodes a lot apart, so they split by residue."""
        (g, now), per_lot, n = factors, self.grid.per_lot, self.grid.count
        pad = -n % per_lot

        def by_residue(row: Any, fill: float) -> Any:
            padded = jnp.concatenate([row, jnp.full((*row.shape[:-1], pad), fill)], axis=-1)
            return jnp.swapaxes(padded.reshape(*row.shape[:-1], -1, per_lot), -1, -2)

        bid, ask = g * now.bid.rate, g * now.ask.rate
        x = tridiagonal_solve(
            by_residue(-ask, 0.0), by_residue(1 + bid + ask, 1.0), by_residue(-bid, 0.0), by_residue(gap, 0.0)
        )
        x = jnp.swapaxes(x, -1, -2).reshape(*gap.shape[:-1], -1)[..., :n]
        a, b, c, d = mixing(g * (now.bid.coupling + now.ask.coupling), bid + ask)
        x = jnp.stack([a * x[0] + b * x[1], c * x[0] + d * x[1]])
        if not self.problem.moves:
            return x
        down, up = self.stencil
        return tridiagonal_solve(-g * down, 1 + g * (down + up), -g * up, x)

    def __call__(self, tau: Any, u: Rows) -> Evaluation:
        return self.at(tau)(u)


class Moment(eqx.Module):
    """The equation at one time to go: what does not change with the unknowns, computed once."""

    equation: Equation
    channels: tuple[Channel, Channel]
    income: Nodes
    exposure: Nodes
    end_flow: Float[Array, "2 2"]  # transport of theta and h without fills, at the first and the last node
    end_slope: Float[Array, " 2"]

    def __call__(self, u: Rows, memory: tuple[()] = ()) -> Evaluation:
        problem, y = self.equation.problem, self.equation.nodes
        transport, slope = self.transport(u)
        cost = problem.objective.running_cost(self.exposure, problem.spread(y) * slope, problem.lots(y))
        bid, ask = self.sides(u)
        own = jnp.stack([self.income - cost, self.income])
        return Evaluation(transport + own + bid.flow + ask.flow, bid, ask)

    def transport(self, u: Rows) -> tuple[Rows, Nodes]:
        """`velocity u_y + 1/2 spread^2 u_yy`, and the slope `h_y`.

        At the two end nodes both are those of the exact solution without fills: far beyond the limit the inventory's
        own risk is all that is left, and the rows of the generator stay monotone.
        """
        problem = self.equation.problem
        if not problem.moves:
            return jnp.zeros_like(u), jnp.zeros_like(u[0])
        down, up = self.equation.stencil
        fall, rise = u[:, :-2] - u[:, 1:-1], u[:, 2:] - u[:, 1:-1]
        inner = down[None, 1:-1] * fall + up[None, 1:-1] * rise
        below, above = gaps(self.equation.nodes)
        slope = (rise[1] * below / above - fall[1] * above / below) / (below + above)
        return (
            jnp.concatenate([self.end_flow[:, :1], inner, self.end_flow[:, 1:]], axis=1),
            jnp.concatenate([self.end_slope[:1], slope, self.end_slope[1:]]),
        )

    def sides(self, u: Rows) -> tuple[Side, Side]:
        """The optimal distances of both channels (bid, ask) at every node, and what their fills contribute."""
        changes = [_neighbour(u, channel.side, self.equation.grid.per_lot) - u for channel in self.channels]
        terms = [(c.demand, c.notional, c.cost) for c in self.channels]
        each = _together(self._fills, zip(terms, self.equation.permitted, changes, strict=True))
        bid, ask = (self.with_forced(side, which, changes[which]) for which, side in enumerate(each))
        return bid, ask

    def _fills(self, terms: tuple[Any, Any, Any], permitted: Nodes, change: Rows) -> Side:
        """What is filled where a fill changes the unknowns by `change`."""
        objective, (demand, m, cost) = self.equation.problem.objective, terms

        def fills(value_change: Nodes, mean_change: Nodes) -> tuple[Any, Any]:
            distance = demand.best_response(
                lambda ratio: objective.income_at(m * ratio, value_change, mean_change) / m + cost
            )
            quoting = jnp.isfinite(distance)
            x = jnp.where(quoting, distance, 0.0)
            z = m * (x - cost)
            rate = jnp.where(quoting, permitted * demand._intensity(x), 0.0)
            flow = jnp.stack([rate * objective.gain(z, value_change, mean_change), rate * (z + mean_change)])
            return flow, (distance, rate)

        one, zero = jnp.ones_like(change[0]), jnp.zeros_like(change[0])
        flow, slope, (distance, rate) = jax.linearize(fills, *change, has_aux=True)  # one search serves both slopes
        return Side(distance, rate, flow, jnp.stack([slope(one, zero), slope(zero, one)], axis=1))

    def with_forced(self, side: Side, which: int, change: Rows) -> Side:
        """A side with the trades forced on it, `change = (Dtheta, Dh)` by each."""
        if self.equation.forced is None:
            return side
        problem, often = self.equation.problem, self.equation.forced[which]
        income = self.channels[which].income(jnp.full_like(often, problem.forced_distance))
        flow, coupling = forced_trades(problem.objective, often, income, change)
        return Side(side.distance, side.rate + often, side.flow + flow, side.coupling + coupling)


def _together(f: Any, arguments: Any) -> list[Any]:
    """`f` of each tuple of arguments, in one pass where they are of one kind: a program half as long to compile."""
    each = list(arguments)
    kinds = {(jax.tree.structure(args), tuple(jnp.shape(leaf) for leaf in jax.tree.leaves(args))) for args in each}
    if len(kinds) > 1:
        return [f(*args) for args in each]
    found = jax.vmap(f)(*jax.tree.map(lambda *leaves: jnp.stack(leaves), *each))
    return [jax.tree.map(lambda leaf, i=i: leaf[i], found) for i in range(len(each))]


def forced_trades(objective: Any, rate: Any, income: Any, change: Any) -> tuple[Any, Any]:
    """Trades that nobody chooses, at `rate`: what they add to du/dtau (2, ...), and its derivatives by `change`.

    `income` is what one earns on the spot and `change = (Dtheta, Dh)` what it does to the unknowns.
    """
    value, mean = change
    one = jnp.ones_like(value)
    flow = rate[None] * jnp.stack([objective.gain(income, value, mean), income + mean])
    by_value = jax.jvp(lambda value: objective.gain(income, value, mean), (value,), (one,))[1]
    by_mean = jax.jvp(lambda mean: objective.gain(income, value, mean), (mean,), (one,))[1]
    return flow, rate[None, None] * jnp.stack([jnp.stack([by_value, by_mean]), jnp.stack([0 * one, one])])


def gaps(nodes: Nodes) -> tuple[Array, Array]:
    """Distances of the inner nodes to those below and above."""
    gap = jnp.diff(nodes)
    return gap[:-1], gap[1:]


def cells_of(nodes: Nodes) -> tuple[Nodes, Nodes]:
    """Middle and width of each node's cell, half-way to its neighbours."""
    gap = jnp.diff(nodes)
    below, above = jnp.append(gap[:1], gap), jnp.append(gap, gap[-1:])
    return nodes + 0.25 * (above - below), 0.5 * (below + above)


def forced(problem: Problem, side: int, cells: tuple[Nodes, Nodes]) -> Nodes:
    """Forced trades on a side per unit of time, averaged over each node's cell."""
    middle, width = cells
    share = forced_by_stock(problem, side, middle, width) * reduces(side, middle, problem.size, width)
    return problem.forced_pace * share


def permitted(problem: Problem, grid: Grid, cells: tuple[Nodes, Nodes], side: int) -> Nodes:
    """The share of each node's cell in which a fill on `side` keeps the limit, from 0 to 1.

    A limit that forbids fills puts a jump into the coefficients; averaging it over the cell keeps the scheme
    second-order wherever the jump falls. Inventory that does not move between fills sits on its node exactly.
    No fill leaves the grid: where the problem's limit lies beyond, the grid's end is one.
    """
    y, width = cells
    at_rest = (problem.velocity(y) == 0) & (problem.spread(y) == 0)
    share = jnp.clip((problem.bound(side) - problem.size - side * y) / width + 0.5, 0.0, 1.0)
    share = jnp.where(at_rest, jnp.where(problem.may_fill(side, y), 1.0, 0.0), share)
    within = side * np.arange(-grid.half, grid.half + 1) + grid.per_lot <= grid.half
    return jnp.where(within, share, 0.0)


def upwind_stencil(problem: Problem, nodes: Nodes) -> tuple[Nodes, Nodes]:
    """Rates `(down, up)`, not negative, at which transport leads to the neighbouring nodes; zero at the ends.

    Central where diffusion allows it, of second order for nodes that are a smooth image of even ones; else upwind.
    """
    below, above = gaps(nodes)
    inner = nodes[1:-1]
    velocity, variance = problem.velocity(inner), problem.spread(inner) ** 2
    central = variance >= jnp.abs(velocity) * jnp.where(velocity > 0, above, below)
    up = jnp.where(central, variance + velocity * below, variance + jnp.maximum(velocity, 0.0) * (below + above))
    down = jnp.where(central, variance - velocity * above, variance + jnp.maximum(-velocity, 0.0) * (below + above))
    across = below + above
    return jnp.pad(down / (below * across), 1), jnp.pad(up / (above * across), 1)


def _neighbour(u: Array, side: int, step: int) -> Array:
    """`u` one lot above (+1) or below (-1); beyond the grid the end value, where no fill is permitted anyway."""
    if side > 0:
        return jnp.concatenate([u[..., step:], jnp.repeat(u[..., -1:], step, axis=-1)], axis=-1)
    return jnp.concatenate([jnp.repeat(u[..., :1], step, axis=-1), u[..., :-step]], axis=-1)


def grid_for(problem: Problem, per_lot: int, name: str, half_width: int | None = None, crowded: bool = False) -> Grid:
    """The grid that holds a problem's limit, and for a stock that moves by itself the room it needs beyond.

    `half_width` states its size in lots instead. Raises `ValueError` where that ends within the limit, or where it is
    not stated and cannot be told: an unlimited inventory, or traced limits.
    """
    if half_width is not None:
        if not is_traced(problem.limit, problem.size):
            lots = float(problem.limit) / float(problem.size)
            if math.isfinite(lots) and half_width < lots - 1e-9:
                raise ValueError(
                    f"{name}: half_width={half_width} ends within the limit of {lots:g} lots; "
                    f"give at least {math.ceil(lots - 1e-9)}, or leave it out"
                )
        return Grid(per_lot, half_width * per_lot, crowded)
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
    return Grid(per_lot, max(1, math.ceil(lots * room - 1e-9)) * per_lot, crowded)


def nodes_of(problem: Problem, grid: Grid) -> Nodes:
    """Nodes of a grid, in the unit of the inventory."""
    return crowded(problem, grid.per_lot, grid.half) if grid.crowded else grid.nodes(problem.size)


def grid_of(problem: Problem, nodes: Any) -> Grid:
    """The grid that a table's nodes are of."""
    per_lot = int(np.searchsorted(nodes, float(problem.size) * (1 - 1e-9)) - nodes.size // 2)
    gap = np.diff(nodes)
    return Grid(per_lot, nodes.size // 2, bool(np.max(gap) > np.min(gap) * (1 + 1e-6)))


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


def mixing(coupling: Any, rate: Any) -> tuple[Any, Any, Any, Any]:
    """Undo, node by node, what the fills of a node couple between `theta` and `h` beyond their common rate.

    Under the equilibrium objective the two equations feed each other; far out, where the dealer pays to reduce, that
    feedback is stronger than the diagonal, and an iteration that ignores it diverges. Returns the rows of the inverse.
    """
    own = 1 / (1 + rate)
    a, b = 1 + (coupling[0, 0] - rate) * own, coupling[0, 1] * own
    c, d = coupling[1, 0] * own, 1 + (coupling[1, 1] - rate) * own
    own = 1 / (a * d - b * c)
    return own * d, -own * b, -own * c, own * a
