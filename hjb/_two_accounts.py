"""The equation of a dealer whose cash account matters, on nodes in stock `S` and cash `C`.

Unknowns are `u = (theta, h)`, shape (2, stocks, cash): value and expected wealth above `E (S + C)`, `E = e^{r tau}`.

    du/dtau = r_s S u_S + 1/2 sigma^2 S^2 u_SS + (rho(C) C - f S^-) u_C
              + E [(r_s - r) S + (rho(C) - r) C - f S^-] - (cost, 0)
              + sum_sides Lambda(x) (U, v x E + Dh)(x),
    D u(x) = u(S + v, C - v + v x) - u(S, C) on the bid,    u(S - v, C + v + v x) - u(S, C) on the ask,

both rows at the distance `x` that maximises `Lambda U` (see `models.objectives`). A fill jumps a whole number of nodes
in both accounts and then the small way `v x` that the quote decides, along which `u` is interpolated: by cubics or, in
the monotone mode, linearly. Stock and cash have no common diffusion, so nothing else couples the two directions.

Cubics do not reach across `C = 0`, where the interest has a kink and the solution another, nor across the jumps that a
credit line makes. Purchases end where `C < v - L`, and fills carry that jump from lot to lot. A dealer's cash keeps
just above whole lots, by what the fills so far have earned; so where `L` is a whole number of lots, or little more, the
node there belongs to the upper side, and its fills are permitted as there.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..models._precision import is_traced
from ..models.channels import Channel
from ..models.stock_cash import StockCashDealer
from ._account_lines import (
    Factors,
    along_cash,
    along_fills,
    along_stock,
    fills_factors,
    landing_shares,
    stock_factors,
)
from ._equation import Grid, cells_of, forced_trades, gaps, nodes_of, permitted, upwind_stencil
from ._limits import covered, forced

Rows = Float[Array, "2 stocks cash"]
Field = Float[Array, "stocks cash"]

_ROOM = 1  # lots beyond what a dealer reaches
_REACH = 3  # nodes beyond a fill's whole jump that the interpolation may need
_LOOKS = 4  # at a quote that nothing is known of; each is a hundredth part as wrong as the last
_MET = 1e-9  # of a node: nearer than that is on it
_STIFF = 0.1  # Courant number from which the transport of cash is inverted and not left to the iteration


class AccountsGrid(eqx.Module):
    """Nodes of both accounts, each with one at zero; the cash axis has `low` nodes below zero and `high` above."""

    stock: Grid
    per_lot: int = eqx.field(static=True)  # cash nodes
    low: int = eqx.field(static=True)
    high: int = eqx.field(static=True)

    def cash(self, size: Any) -> Array:
        return jnp.arange(-self.low, self.high + 1, dtype=float) * (size / self.per_lot)

    def coarser(self, factor: int) -> AccountsGrid:
        """The grid of every `factor`-th node of the stock.

        The cash keeps its nodes: nothing spreads along it, so that cubics between few of them are accurate enough, and
        of fewer still a jump at every lot would leave nothing to tell how errors fall.
        """
        return AccountsGrid(self.stock.coarser(factor), self.per_lot, self.low, self.high)


def cash_range(problems: list[Any], stock: Grid, name: str) -> tuple[int, int]:
    """Lots of cash, below and above zero, that a dealer reaches who starts with empty accounts: `C = W - S`.

    Wealth may rise by what both sides would earn if the dealer did not mind risk. A credit line ends the fills that
    lead below it; under a margin the dealer starts with cash, up to what the largest position needs. Raises
    `ValueError` where the range cannot be told because the parameters are traced.
    """
    reach = math.ceil(stock.half / stock.per_lot)
    try:
        profits = [_most_profit(problem) + _most_margin(problem) for problem in problems]
        lines = [reach if p.credit_line is None else _most_credit(p) for p in problems]
    except (TypeError, jax.errors.ConcretizationTypeError):
        raise ValueError(
            f"{name}: the range of cash depends on the demand, lot, horizon and credit line, which are traced here; "
            "state it in lots, for instance cash_range=(14, 18)"
        ) from None
    return min(reach, math.ceil(max(lines)) + 1) + _ROOM, reach + math.ceil(max(profits)) + _ROOM


def _most_profit(problem: Any) -> float:
    """What both sides would earn at a dealer who does not mind risk, in lots."""
    if is_traced(problem):
        raise TypeError
    rate = sum(float(demand.hamiltonian(0.0)) for demand in (problem.bid_demand, problem.ask_demand))
    return rate * float(problem.horizon)


def _most_credit(problem: Any) -> float:
    """What the credit line and the stock that the dealer may hold against it lend, in lots."""
    pledged = 0.0 if problem.haircut is None else (1 - float(problem.haircut)) * float(problem.max_stock)
    return (float(problem.credit_line) + pledged) / float(problem.lot)


def _most_margin(problem: Any) -> float:
    """The wealth from which no margin binds, in lots."""
    shares = [max(float(r.long), float(r.short)) for r in problem.to_raise[problem.credit_line is not None :]]
    return max(shares, default=0.0) * float(problem.max_stock) / float(problem.lot)


class Side(NamedTuple):
    """What one channel does at every node: distances (nan: not quoted), fill rates, and what they earn."""

    distance: Field
    rate: Field
    flow: Rows  # contribution to du/dtau


class Breaks(NamedTuple):
    """Where the solution is in one piece around a landing between node 0 and node 1, over the nodes of cash.

    bends:  whether it bends at node 0 and at node 1; such a node belongs to both sides.
    jumps:  whether it jumps at or just below node 0, node 1, node 2; such a node belongs to the upper side.
    points: nodes from one jump to the next, at most four.
    """

    bends: tuple[Any, ...]
    jumps: tuple[Any, ...]
    points: int


class Evaluation(NamedTuple):
    rate: Rows  # du/dtau
    bid: Side
    ask: Side

    @property
    def memory(self) -> tuple[Field, Field]:
        """The distances, from which the next evaluation starts."""
        return tuple(jnp.where(jnp.isfinite(side.distance), side.distance, 0.0) for side in (self.bid, self.ask))  # type: ignore[return-value]


class TwoAccounts(eqx.Module):
    """The semi-discrete equation on a grid: what does not change with time, computed once."""

    refresh: ClassVar[int] = 5  # corrections for which `prepare` serves

    problem: StockCashDealer
    grid: AccountsGrid
    monotone: bool = eqx.field(static=True)
    stock: Float[Array, " stocks"]
    cash: Float[Array, " cash"]
    permitted: tuple[Field, Field]  # bid, ask
    forced: tuple[Field, Field] | None  # trades on either side per unit of time
    stencil: tuple[Array, Array]  # of the stock: down, up
    velocity: Field  # of cash between fills

    def __init__(self, problem: StockCashDealer, grid: AccountsGrid, monotone: bool):
        self.problem, self.grid, self.monotone = problem, grid, monotone
        self.stock, self.cash = nodes_of(problem, grid.stock), grid.cash(problem.size)
        self.velocity = problem.interest(self.cash)[None] - problem.fee(self.stock)[:, None]
        cells = middle, width = cells_of(self.stock)
        at, cell = (middle[:, None], self.cash[None]), (width[:, None], self.spacing)
        whole = np.arange(-grid.low, grid.high + 1) % grid.per_lot == 0
        exact = (self.velocity == 0) | (self.jumps & whole)[None]  # fills leave cash just above a whole lot

        def allowed(side: int) -> Field:
            return permitted(problem, grid.stock, cells, side)[:, None] * covered(problem, side, *at, cell, exact)

        self.permitted = (allowed(+1), allowed(-1))
        self.forced = tuple(forced(problem, side, *at, cell) for side in (+1, -1)) if problem.forces else None  # type: ignore[assignment]
        self.stencil = upwind_stencil(problem, self.stock)

    @property
    def axes(self) -> tuple[Array, Array]:
        return self.stock, self.cash

    @property
    def per_lots(self) -> tuple[int, int]:
        """Nodes to a lot on either axis."""
        return self.grid.stock.per_lot, self.grid.per_lot

    def distances(self, tau: Any, u: Any) -> tuple[Any, Any]:
        """Optimal distances, each (times, stocks, cash), for `tau` (times,) and `u` (times, 2, stocks, cash)."""

        def at(x: tuple[Any, Rows]) -> tuple[Field, Field]:
            moment = self.at(x[0])

            def look(_: Any, quotes: tuple[Field, Field]) -> tuple[Field, Field]:
                bid, ask = (jnp.where(jnp.isfinite(quote), quote, 0.0) for quote in quotes)
                return moment.side(x[1], 0, bid).distance, moment.side(x[1], 1, ask).distance

            return lax.fori_loop(0, _LOOKS, look, self.memory())  # each lands where the last one's quote leads

        return lax.map(at, (tau, u))

    @property
    def jumps(self) -> Any:
        """Whether the solution jumps at, or less than half a node below, every node of a whole lot of cash."""
        problem, per_lot = self.problem, self.grid.per_lot
        if problem.credit_line is None or problem.haircut is not None:  # a haircut's line crosses the rows of cash
            return jnp.zeros((), bool)
        ahead = jnp.mod(problem.credit_line / self.spacing + _MET, per_lot)
        return (ahead <= 0.5) & (problem.size - problem.credit_line >= self.cash[0])

    def breaks(self, side: int) -> Breaks:
        """What lies between the nodes around the landing of a fill, for every node of cash that it may leave."""
        per_lot = self.grid.per_lot
        number = np.arange(self.cash.shape[0]) - self.grid.low - side * per_lot
        return Breaks(
            bends=tuple(number + k == 0 for k in (0, 1)),
            jumps=tuple(self.jumps & ((number + k) % per_lot == 0) for k in (0, 1, 2)),
            points=2 if per_lot == 1 else min(4, per_lot),
        )

    @property
    def spacing(self) -> Any:
        """Of the cash nodes."""
        return self.problem.size / self.grid.per_lot

    def start(self) -> Rows:
        """`u` at the horizon."""
        problem = self.problem
        closing = problem.closing_cost(self.stock)
        ends = -jnp.stack([closing + problem.objective.terminal_cost(problem.lots(self.stock)), closing])
        return jnp.broadcast_to(ends[:, :, None], (2, *self.velocity.shape))

    def memory(self) -> tuple[Field, Field]:
        """What an evaluation starts from where none went before."""
        return jnp.zeros_like(self.velocity), jnp.zeros_like(self.velocity)

    def at(self, tau: Any) -> Moment:
        """The equation with `tau` to go."""
        problem, y = self.problem, self.stock
        ends = jnp.stack([y[0], y[-1]])
        linear, quadratic = problem.without_fills(tau, jnp.sign(ends))
        drift = problem.velocity(ends)
        curvature = -quadratic * problem.spread(ends) ** 2
        beyond = problem.interest(self.cash) - problem.rate * self.cash
        return Moment(
            equation=self,
            channels=problem.channels(tau),
            income=problem.income(tau, y)[:, None] + (problem.accrual(tau) * beyond)[None],
            exposure=problem.exposure(tau, y),
            end_flow=jnp.stack([drift * (linear - 2 * quadratic * ends) + curvature, drift * linear]),
            end_slope=linear,
            cash_slopes=(problem.cash_slope(tau, -1), problem.cash_slope(tau, +1)),
        )

    def prepare(self, g: Any, moment: Moment, u: Rows, now: Evaluation) -> Factors:
        """What `invert` needs, worked out once for several corrections."""
        coupling = [g * moment.coupling(u, which, side) for which, side in enumerate((now.bid, now.ask))]
        for which, _ in enumerate(self.forced or ()):
            coupling[which] = coupling[which] + g * moment.forced(u, which)[1]
        landings = tuple(landing_shares(x * self.problem.size / self.spacing) for x in now.memory)
        stencil = tuple(g * rate for rate in self.stencil)
        (bid, ask), shares, (down, up), courant = _in_single(
            (coupling, landings, stencil, g * self.velocity / self.spacing)
        )
        return Factors(
            fills=fills_factors(bid, ask, shares, self.grid.stock.per_lot, self.grid.per_lot),
            stock=stock_factors(down, up),
            courant=courant,
        )

    def invert(self, factors: Factors, gap: Rows) -> Rows:
        """`[(1 - g J_fills)(1 - g J_stock)(1 - g J_cash)]^{-1} gap`, a fill landing between its two nearest nodes."""
        x = along_stock(factors.stock, along_fills(factors.fills, _in_single(gap), self.grid.per_lot))
        stiff = jnp.max(jnp.abs(factors.courant)) > _STIFF
        return lax.cond(stiff, lambda x: along_cash(factors.courant, x), lambda x: x, x).astype(gap.dtype)


class Moment(eqx.Module):
    """The equation at one time to go: what does not change with the unknowns, computed once."""

    equation: TwoAccounts
    channels: tuple[Channel, Channel]
    income: Field
    exposure: Float[Array, " stocks"]
    end_flow: Float[Array, "2 2"]  # transport of theta and h without fills, at the first and the last stock
    end_slope: Float[Array, " 2"]
    cash_slopes: tuple[Any, Any]  # of both rows, beyond the lowest and the highest cash

    def __call__(self, u: Rows, memory: tuple[Field, Field]) -> Evaluation:
        problem = self.equation.problem
        transport, slope = self.transport(u)
        lots = problem.lots(self.equation.stock)[:, None]
        cost = problem.objective.running_cost(
            self.exposure[:, None], problem.spread(self.equation.stock)[:, None] * slope, lots
        )
        bid, ask = (self.side(u, i, memory[i]) for i in (0, 1))
        own = jnp.stack([self.income - cost, self.income])
        for which in (0, 1) if problem.forces else ():
            own = own + self.forced(u, which)[0]
        rate = transport + own
        for row in (0, 1):  # each by itself; in one sum, every entry would ask which of the two it belongs to
            rate = rate.at[row].add(bid.flow[row] + ask.flow[row])
        return Evaluation(rate, bid, ask)

    def transport(self, u: Rows) -> tuple[Rows, Field]:
        """What growth, diffusion and interest move, and the slope `h_S`; the stock's ends are those of `_equation`."""
        equation = self.equation
        down, up = (rate[None, 1:-1, None] for rate in equation.stencil)
        fall, rise = u[:, :-2] - u[:, 1:-1], u[:, 2:] - u[:, 1:-1]
        below, above = (gap[:, None] for gap in gaps(equation.stock))
        slope = (rise[1] * below / above - fall[1] * above / below) / (below + above)
        stock = jnp.zeros_like(u).at[:, 1:-1].set(down * fall + up * rise)
        slope = jnp.zeros_like(u[0]).at[1:-1].set(slope)
        for i, end in enumerate((0, -1)):
            stock = stock.at[:, end].set(self.end_flow[:, i : i + 1])
            slope = slope.at[end].set(self.end_slope[i])
        return stock + self._interest_moves(u), slope

    def _interest_moves(self, u: Rows) -> Rows:
        """`(rho(C) C - f S^-) u_C`: centrally or, in the monotone mode, upwind."""
        equation = self.equation
        wide = self.widened(u, 1)
        fall, rise = (u - wide[..., :-2]) / equation.spacing, (wide[..., 2:] - u) / equation.spacing
        if equation.monotone:
            return equation.velocity[None] * jnp.where(equation.velocity[None] > 0, rise, fall)
        return equation.velocity[None] * 0.5 * (fall + rise)

    def widened(self, u: Array, nodes: int) -> Array:
        """`u` continued by so many `nodes` on either side, along the slopes that it has where cash keeps its sign."""
        away = self.equation.spacing * jnp.arange(1, nodes + 1, dtype=float)[None, None]
        below, above = self.cash_slopes
        return jnp.concatenate([u[..., :1] - below * away[..., ::-1], u, u[..., -1:] + above * away], axis=-1)

    def side(self, u: Rows, which: int, guess: Field) -> Side:
        """The optimal distance of one channel (0 bid, 1 ask) at every node, and what its fills contribute.

        The first-order condition `U = R U'` is solved with the landing point held where `guess` puts it; one Newton
        step then counts what the quote itself moves in cash.
        """
        objective, channel = self.equation.problem.objective, self.channels[which]
        landing, m = self.landing(u, channel.side), channel.notional
        changed, slope = landing(guess)
        value, mean = changed - u
        x = channel.demand.best_response(lambda ratio: objective.income_at(m * ratio, value, mean) / m + channel.cost)
        quoting = jnp.isfinite(x)
        x = jnp.where(quoting, x, 0.0)
        ahead = slope * guess[None]
        condition = self._condition(which, slope)
        gap, steepness = jax.jvp(lambda x: condition(x, value - ahead[0], mean - ahead[1]), (x,), (jnp.ones_like(x),))
        most = 0.5 * jnp.abs(channel.demand._reciprocal_hazard(x))
        sound = quoting & (steepness > 0)
        gap, steepness = jnp.where(sound, gap, 0.0), jnp.where(sound, steepness, 1.0)
        # A quotient last: what ends in one is worked out once, and not again wherever it is used, as sums are.
        x = (x * steepness - jnp.clip(gap, -most * steepness, most * steepness)) / steepness
        value, mean = landing(x)[0] - u
        z = channel.income(x)
        rate = jnp.where(quoting, self.equation.permitted[which] * channel.demand._intensity(x), 0.0)
        flow = rate[None] * jnp.stack([objective.gain(z, value, mean), z + mean])
        return Side(jnp.where(quoting, x, jnp.nan), rate, flow)

    def _condition(self, which: int, slope: Rows) -> Any:
        """`F(x, a, b) = U - R U'` where `Dtheta = a + slope x` and `Dh = b + slope x`."""
        objective, channel = self.equation.problem.objective, self.channels[which]

        def condition(x: Field, value: Field, mean: Field) -> Field:
            def gain(x: Field) -> Field:
                return objective.gain(channel.income(x), value + slope[0] * x, mean + slope[1] * x)

            worth, by_distance = jax.jvp(gain, (x,), (jnp.ones_like(x),))
            return worth - channel.demand._reciprocal_hazard(x) * by_distance

        return condition

    def coupling(self, u: Rows, which: int, side: Side) -> Float[Array, "2 2 stocks cash"]:
        """Derivatives of the side's flow by `(Dtheta, Dh)`: the value's at its maximum, the mean's with the quote."""
        objective, channel = self.equation.problem.objective, self.channels[which]
        quoting = jnp.isfinite(side.distance)
        x = jnp.where(quoting, side.distance, 0.0)
        changed, slope = self.landing(u, channel.side)(x)
        (value, mean), ahead = changed - u, slope * x[None]
        condition, one = self._condition(which, slope), jnp.ones_like(x)
        a, b = value - ahead[0], mean - ahead[1]
        steepness = jax.jvp(lambda x: condition(x, a, b), (x,), (one,))[1]
        by_value = jax.jvp(lambda a: condition(x, a, b), (a,), (one,))[1]
        by_mean = jax.jvp(lambda b: condition(x, a, b), (b,), (one,))[1]
        z, hazard = channel.income(x), channel.demand._reciprocal_hazard(x)
        worth_by_value = jax.jvp(lambda value: objective.gain(z, value, mean), (value,), (one,))[1]
        worth_by_mean = jax.jvp(lambda mean: objective.gain(z, value, mean), (mean,), (one,))[1]
        shift = channel.notional + slope[1] - (z + mean) / jnp.where(hazard > 0, hazard, 1.0)
        shift = jnp.where(quoting & (steepness > 0), -shift / jnp.where(steepness > 0, steepness, 1.0), 0.0)
        return side.rate[None, None] * jnp.stack(
            [jnp.stack([worth_by_value, worth_by_mean]), jnp.stack([by_value * shift, 1 + by_mean * shift])]
        )

    def forced(self, u: Rows, which: int) -> tuple[Rows, Float[Array, "2 2 stocks cash"]]:
        """What forced trades on a side contribute to du/dtau, and its derivatives by `(Dtheta, Dh)`."""
        problem, channel = self.equation.problem, self.channels[which]
        rates = self.equation.forced
        assert rates is not None
        x = jnp.broadcast_to(jnp.asarray(problem.forced_distance, float), self.equation.velocity.shape)
        change = self.landing(u, channel.side)(x)[0] - u
        return forced_trades(problem.objective, rates[which], channel.income(x), change)

    def landing(self, u: Rows, side: int) -> Any:
        """`x -> (u, du/dx)` where a fill at distance `x` leads, each (2, stocks, cash)."""
        equation, grid = self.equation, self.equation.grid
        jump = grid.per_lot
        wide = self.widened(u, jump + _REACH)
        n = u.shape[-1]
        rows = _neighbour(wide, side, grid.stock.per_lot)
        first = _REACH + (0 if side > 0 else 2 * jump)
        taps = [rows[..., first + k : first + k + n] for k in range(-2, _REACH + 1)]
        scale = equation.problem.size / equation.spacing
        if equation.monotone:
            return lambda x: _linear(taps[1:5], x[None] * scale, scale)
        coefficients = _cubic(_one_sided(taps, equation.breaks(side)))
        return lambda x: _polynomial(coefficients, x[None] * scale, scale)


def _in_single(tree: Any) -> Any:
    """In single precision, which is enough for what is approximate, and half as much to read and write."""
    return jax.tree.map(lambda x: x.astype(jnp.float32), tree)


def _one_sided(taps: list[Array], breaks: Breaks) -> list[Array]:
    """The taps -1, 0, 1, 2 of six from -2 on, those beyond a bend or a jump continued from the landing's own side.

    Right below a jump they lie on a line across it: every fill earns its way up there, and how fast is what matters.
    """
    lower, before, here, after, far, farther = taps
    upward, downward = (here, after, far, farther), (after, here, before, lower)

    def continued(nodes: tuple[Array, ...], points: int) -> Array:
        """The polynomial through so many of them, one node before the first."""
        return sum((-1.0) ** i * math.comb(points, i + 1) * nodes[i] for i in range(points))  # type: ignore[return-value]

    for flag, points in ((breaks.bends[0], 4), (breaks.jumps[0], breaks.points)):
        before = jnp.where(flag, continued(upward, points), before)
    for flag, points in ((breaks.bends[1], 4), (breaks.jumps[2], breaks.points)):
        far = jnp.where(flag, continued(downward, points), far)
    across = breaks.jumps[1]
    return [jnp.where(across, 2 * here - after, before), here, after, jnp.where(across, 2 * after - here, far)]


def _cubic(taps: list[Array]) -> tuple[Rows, Rows, Rows, Rows]:
    """Coefficients of the cubic through values at -1, 0, 1, 2."""
    a, b, c, d = taps
    return b, c - a / 3 - b / 2 - d / 6, 0.5 * (a + c) - b, (d - a) / 6 + 0.5 * (b - c)


def _polynomial(coefficients: Any, f: Array, scale: Any) -> tuple[Rows, Rows]:
    """Value and slope in `x` at `f` nodes from the second one, continued along the slope beyond the four nodes."""
    c0, c1, c2, c3 = coefficients
    inside = jnp.clip(f, -1.0, 2.0)
    slope = c1 + inside * (2 * c2 + 3 * inside * c3)
    return c0 + inside * (c1 + inside * (c2 + inside * c3)) + (f - inside) * slope, slope * scale


def _linear(taps: list[Array], f: Array, scale: Any) -> tuple[Rows, Rows]:
    """Linear interpolation, constant beyond the four nodes; the slope is the central one, which does not jump."""
    a, b, c, d = taps
    f = jnp.clip(f, -1.0, 2.0)
    left, middle, right = jnp.minimum(f, 0.0), jnp.clip(f, 0.0, 1.0), jnp.maximum(f - 1, 0.0)
    value = b + left * (b - a) + middle * (c - b) + right * (d - c)
    return value, jnp.broadcast_to(0.5 * (c - a) * scale, value.shape)


def _neighbour(u: Array, side: int, step: int) -> Array:
    """`u` one lot of stock above (+1) or below (-1); beyond the grid the end row, where no fill is permitted anyway."""
    if side > 0:
        return jnp.concatenate([u[:, step:], jnp.repeat(u[:, -1:], step, axis=1)], axis=1)
    return jnp.concatenate([jnp.repeat(u[:, :1], step, axis=1), u[:, :-step]], axis=1)
