"""The target problem of pre-commitment: where cash does not matter, one equation for every target and risk aversion.

Fix a target `w` and minimise `E[(W_T - w)^2]`. The gap `Z = e^{r tau} (S + C) - w` stands for the cash account; with
`E = e^{r tau}`, `z = v E x` the income of a fill and `l` the cost of closing,

    U_tau = 1/2 sigma^2 S^2 (d_S + E d_Z)^2 U + r_s S (d_S + E d_Z) U - r E S U_Z
            - E [(rho - r) C^- + f S^-] U_Z + sum_sides inf_x Lambda(x) [U(S +- v, Z + z) - U],
    U(0) = (Z - l |S|)^2, or min(Z - l |S|, 0)^2, the surplus set aside.

Unknowns are `U` and the mean `g = E[Z_T]` (or `E[min(Z_T, 0)]`) under the same quotes, each less its exact value
without fills in one account, `G^2 + 2 G S e^{r_s tau} + S^2 e^{(2 r_s + sigma^2) tau}` and `G + S e^{r_s tau}`,
`G = Z - E S`.

With one interest rate `rho = r` and no credit line the gap holds all that target and cash have to say. Then what is
earned does not depend on the wealth one has, `U - Z^2` is concave in `Z`, and `g = U_Z / 2`: a check. Else cash matters
by itself, `C = (Z + w)/E - S`, and each target has an equation of its own. A dealer who owes to the end makes
`e^{(rho - r) tau}` of each unit of the gap, so that `U - Z^2` may curve up to `2 e^{2 (rho - r) tau} - 2`. Beside a
credit line it is not smooth: there the interpolation by which quotes are sought errs, always on the side of a larger
`U`. So the square that the quotes found lead to is solved for once more, by the linear equation of the mean.

The Brownian motion moves `S` and `Z` together. Differences in `S` reach from node to node, those in `Z` no farther than
resolves it: along the diagonals of a grid that is coarse in `S` they would reach over whole lots of `Z`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ..models.channels import Channel
from ..models.stock_cash import StockCashDealer
from ._equation import Grid, cells_of, permitted
from ._limits import covered
from ._target_grid import GapGrid, Pieces, Place

_REACH = 0.5  # of the local spacing in Z per lot held: how far differences in Z reach
_LEAST_GAIN = 1e-3  # of the squared spacing of Z: where `U` has run out, less is the noise of interpolation
_LEAST_CURVATURE = 1e-2  # of U in Z, of which 2 is the most in one account; for the search of a distance alone
_NARROW = 1e-6  # lots: next to nothing beside the cells of the gap


Base = Callable[[Any, Any, Any], tuple[Any, Any]]  # (tau, stock, gap) -> a mean without fills, its slope in the gap


class Quoted(NamedTuple):
    """One side at every node: money earned by a fill and whether the last search failed; kept from stage to stage."""

    income: Any
    careful: Any


class Side(NamedTuple):
    """What one side does to the equation at every node."""

    quoted: Quoted
    gain: Any  # U less U after a fill; not quoted where it is not positive
    rate: Any  # of fills
    place: Place  # of the gap after a fill


class Change(NamedTuple):
    """Time derivatives of `u` and of what is played, the two sides, and a bound on how fast the equation forgets."""

    of_square: Any
    of_played: tuple[Any, ...]
    sides: tuple[Side, Side]
    speed: Any


class TargetEquation(eqx.Module):
    """The semi-discrete equation on the nodes of stock (rows) and gap (columns)."""

    problem: StockCashDealer
    stock: Grid
    gap: GapGrid
    floors: tuple[Any, Any]  # least distances of bid and ask
    set_aside: Any  # 1.0 where wealth above the target is, else 0.0: the same compiled code serves both
    target: Any  # w where cash matters by itself; else None, as the equation serves every target

    # What does not change with time, computed once.
    inventory: Any  # (rows, 1)
    local: Any  # spacing of the gap, (1, columns)
    reach: Any  # of the differences in Z, (rows, columns)
    allowed: tuple[Any, Any]  # share of a cell in which a fill keeps the limit, (rows, 1)
    first: Any  # differences in S, (rows, rows); zero at the ends, where only what happens without fills is left
    second: Any

    def __init__(
        self,
        problem: StockCashDealer,
        stock: Grid,
        gap: GapGrid,
        floors: tuple[Any, Any],
        set_aside: bool,
        target: Any = None,
    ):
        self.problem, self.stock, self.gap, self.floors = problem, stock, gap, floors
        self.set_aside, self.target = np.float64(set_aside), target
        self.inventory = stock.nodes(problem.size)[:, None]
        self.local = jnp.asarray(np.gradient(np.asarray(gap.nodes)))[None]
        self.reach = self.local * jnp.maximum(1.0, _REACH * jnp.abs(self.inventory) / problem.size)
        cells = cells_of(self.inventory[:, 0])
        self.allowed = (permitted(problem, stock, cells, +1)[:, None], permitted(problem, stock, cells, -1)[:, None])
        spacing = problem.size / stock.per_lot
        first, second = _differences(stock.count)
        self.first, self.second = jnp.asarray(first) / spacing, jnp.asarray(second) / spacing**2

    @property
    def shape(self) -> tuple[int, int]:
        return self.stock.count, self.gap.count

    @property
    def columns(self) -> Any:
        return jnp.asarray(self.gap.nodes)[None]

    def start(self) -> tuple[Any, tuple[Any, ...]]:
        """At the horizon, less the values without fills (`Z^2` and `Z`): `U`, and what is played.

        That is `g` and, where cash matters, the square again.
        """
        closing = self.problem.closing_cost(self.inventory)
        surplus = self.set_aside * jnp.maximum(self.columns - closing, 0.0)
        square, mean = closing * (closing - 2 * self.columns) - surplus**2, -closing - surplus
        return square, (mean,) if self.target is None else (mean, square)

    def unquoted(self) -> tuple[Quoted, Quoted]:
        none = Quoted(jnp.zeros(self.shape), jnp.zeros(self.shape, bool))
        return none, none

    def square_without_fills(self, tau: Any, stock: Any, gap: Any) -> tuple[Any, Any]:
        """`E[Z_T^2]` of a dealer who never trades again, and its slope in the gap; the curvature is 2."""
        problem = self.problem
        cash = gap - problem.accrual(tau) * stock
        growth = jnp.exp(problem.growth * tau)
        square = jnp.exp((2 * problem.growth + problem.volatility**2) * tau)
        return cash * cash + 2 * cash * stock * growth + stock * stock * square, 2 * (cash + stock * growth)

    def mean_without_fills(self, tau: Any, stock: Any, gap: Any) -> tuple[Any, Any]:
        """`E[Z_T]` of that dealer, and its slope in the gap."""
        return gap + stock * (jnp.exp(self.problem.growth * tau) - self.problem.accrual(tau)), 1.0

    def cash(self, tau: Any) -> Any:
        """The cash account at every node, money."""
        return (self.columns + self.target) / self.problem.accrual(tau) - self.inventory

    def drift(self, tau: Any) -> Any:
        """What dearer credit and the fee on short stock do to the gap, per unit of time: never above zero."""
        problem, taken = self.problem, -self.problem.fee(self.inventory)
        if self.target is not None:
            cash = self.cash(tau)
            taken = taken + problem.interest(cash) - problem.rate * cash
        return problem.accrual(tau) * taken

    def room(self, tau: Any) -> Any:
        """How far the curvature of `U` in the gap may exceed 2."""
        if self.target is None or self.problem.borrowing_rate is None:
            return 0.0
        return 2 * jnp.expm1(2 * (self.problem.borrowing_rate - self.problem.rate) * tau)

    def change(self, tau: Any, u: Any, played: tuple[Any, ...], quoted: tuple[Quoted, Quoted], seek: bool) -> Change:
        """Time derivatives of `u` and of what is `played`; where `seek`, better distances are looked for first."""
        slope = self.gap.slope(u)
        pieces = self.gap.pieces(u, slope, self.room(tau))
        square = u + self.square_without_fills(tau, self.inventory, self.columns)[0]
        drift = self.drift(tau)
        sides = (
            self._side(tau, 0, square, pieces, quoted[0], seek),
            self._side(tau, 1, square, pieces, quoted[1], seek),
        )
        du = self._unfilled(tau, u, slope, pieces, self.square_without_fills, drift)
        for side in sides:
            du = du - side.rate * jnp.maximum(side.gain, 0.0)
        means = tuple(
            self._played(tau, m, base, drift, sides)
            for m, base in zip(played, (self.mean_without_fills, self.square_without_fills), strict=False)
        )
        speed = jnp.max(sides[0].rate + sides[1].rate) + self._speed_of_transport(drift)
        return Change(du, means, sides, speed)

    def _played(self, tau: Any, m: Any, base: Base, drift: Any, sides: tuple[Side, Side]) -> Any:
        """The time derivative of a mean under the quotes, of which `m` is what exceeds its `base`."""
        slope = self.gap.slope(m)
        pieces = self.gap.pieces(m, slope)
        before = m + base(tau, self.inventory, self.columns)[0]
        change = self._unfilled(tau, m, slope, pieces, base, drift)
        for channel, side in zip(self.problem.channels(tau), sides, strict=True):
            stock = self.inventory + channel.side * self.problem.size
            gap = jnp.minimum(self.columns + side.quoted.income, self.gap.nodes[-1])
            after = self.gap.look(pieces, self._after(channel), side.place)[0] + base(tau, stock, gap)[0]
            change = change + side.rate * (after - before)
        return change

    def _side(self, tau: Any, which: int, square: Any, pieces: Pieces, old: Quoted, seek: bool) -> Side:
        given = (tau, self.problem.channels(tau)[which], self._allowed(tau, which), square, pieces, old)
        return self._sought(*given, self.floors[which]) if seek else self._kept(*given)

    def _allowed(self, tau: Any, which: int) -> Any:
        """Share of each node's cell in which a fill keeps the limits.

        The stock's own moves leave cash alone: a row meets the credit line at one gap, whatever lies beside the row.
        """
        if self.target is None:
            return self.allowed[which]
        cell = (_NARROW * self.problem.size, self.local / self.problem.accrual(tau))
        side = self.problem.channels(tau)[which].side
        return self.allowed[which] * covered(
            self.problem, side, self.inventory, self.cash(tau), cell, jnp.asarray(False)
        )

    def _unfilled(self, tau: Any, m: Any, slope: Any, pieces: Pieces, base: Base, drift: Any) -> Any:
        """What the Brownian motion, growth, interest and the fee do to `m`, of which `base` is the part without fills.

        Beyond the last node of `Z` the whole solution stays as it is there: more wealth is worth no more.
        """
        problem, E, S, top = self.problem, self.problem.accrual(tau), self.inventory, self.gap.nodes[-1]
        rows = jnp.arange(self.stock.count, dtype=jnp.int32)[:, None]
        above, below = (
            self.gap.look(pieces, rows, self.gap.place(self.columns + sign * self.reach))[0] for sign in (1, -1)
        )
        beyond = self.columns + self.reach
        above = above - (base(tau, S, beyond)[0] - base(tau, S, jnp.minimum(beyond, top))[0])
        bend, tilt = (above + below - 2 * m) / self.reach**2, (above - below) / (2 * self.reach)
        second = self.second @ m + 2 * E * (self.first @ tilt) + E**2 * bend
        along = self.first @ m + E * slope
        inside = jnp.ones(self.stock.count).at[jnp.asarray([0, -1])].set(0.0)[:, None]
        moved = inside * (0.5 * problem.spread(S) ** 2 * second + problem.velocity(S) * along)
        return moved - problem.rate * E * S * slope + drift * (slope + base(tau, S, self.columns)[1])

    def _speed_of_transport(self, drift: Any) -> Any:
        across = jnp.max((self.problem.spread(self.inventory) / self.reach) ** 2)
        spacing = self.problem.size / self.stock.per_lot
        drifting = jnp.max(jnp.abs(drift) / self.local)
        return across + jnp.max((self.problem.spread(self.inventory) / spacing) ** 2) + drifting

    def _after(self, channel: Channel) -> Any:
        """The rows that a fill leads to."""
        rows = jnp.arange(self.stock.count) + channel.side * self.stock.per_lot
        return jnp.clip(rows, 0, self.stock.count - 1).astype(jnp.int32)[:, None]

    def _gain(self, tau: Any, channel: Channel, square: Any, pieces: Pieces, income: Any) -> tuple[Any, ...]:
        """What a fill that earns `income` is worth, its slope in the income, the curvature of `U` there, the place."""
        gap = self.columns + income
        place, wasted = self.gap.place(gap), gap > self.gap.nodes[-1]
        beyond, slope, bend = self.gap.look(pieces, self._after(channel), place)
        stock = self.inventory + channel.side * self.problem.size
        base, base_slope = self.square_without_fills(tau, stock, jnp.minimum(gap, self.gap.nodes[-1]))
        gain = square - jnp.maximum(beyond + base, 0.0)
        return gain, -jnp.where(wasted, 0.0, slope + base_slope), bend + 2.0, place

    def _rate(self, channel: Channel, allowed: Any, income: Any, gain: Any) -> Any:
        worth = gain > _LEAST_GAIN * self.gap.spacing**2
        return jnp.where(worth, allowed * channel.demand._intensity(income / channel.notional), 0.0)

    def _kept(self, tau: Any, channel: Channel, allowed: Any, square: Any, pieces: Pieces, old: Quoted) -> Side:
        gain, _, _, place = self._gain(tau, channel, square, pieces, old.income)
        return Side(old, gain, self._rate(channel, allowed, old.income, gain), place)

    def _sought(
        self, tau: Any, channel: Channel, allowed: Any, square: Any, pieces: Pieces, old: Quoted, floor: Any
    ) -> Side:
        """The better of the old distance and the best against a parabola fitted to `U` there.

        Against `U(z) = U_0 - P_1 (z - z_0) + c/2 (z - z_0)^2` the first-order condition `P/P' = m R(x)` is a quadratic
        equation whose smaller root is the maximiser; none is quoted where the parabola's lowest point is above `U`.
        With the true curvature this is Newton's method. With the most there is, 2 and its `room`, the parabola lies
        above `U`, so that the answer cannot be worse: that is what a failed search falls back on.
        """
        m, most = channel.notional, 2.0 + self.room(tau)
        gain, slope, bend, place = self._gain(tau, channel, square, pieces, old.income)
        c = jnp.where(old.careful, most, jnp.clip(bend, _LEAST_CURVATURE, most))

        def distance_at(ratio: Any) -> Any:
            r = m * ratio
            lead, room = slope + c * r, slope**2 + 2 * c * gain
            root = jnp.sqrt(jnp.maximum(room + (c * r) ** 2, 0.0))
            step = jnp.where(
                lead > 0, 2 * (r * slope - gain) / jnp.where(lead > 0, lead + root, 1.0), (lead - root) / c
            )
            return jnp.where(room > 0, (old.income + step) / m, jnp.nan)

        distance = jnp.maximum(channel.demand.best_response(distance_at), floor)  # nan stays nan
        lowest = old.income + slope / c
        income = jnp.where(jnp.isfinite(distance), m * distance, lowest)
        income = jnp.clip(income, m * floor, self.gap.nodes[-1] - self.gap.nodes[0])
        new_gain, _, _, new_place = self._gain(tau, channel, square, pieces, income)
        rate, new_rate = (self._rate(channel, allowed, z, p) for z, p in ((old.income, gain), (income, new_gain)))
        worth, new_worth = rate * jnp.maximum(gain, 0.0), new_rate * jnp.maximum(new_gain, 0.0)
        better = (new_worth > worth) | ((new_worth == worth) & (new_gain > gain))

        def pick(new: Any, kept: Any) -> Any:
            return jnp.where(better, new, kept)

        quoted = Quoted(pick(income, old.income), ~better & ~old.careful)
        return Side(
            quoted,
            pick(new_gain, gain),
            pick(new_rate, rate),
            Place(*(pick(new, kept) for new, kept in zip(new_place, place, strict=True))),
        )

    def fastest(self) -> Any:
        """The speed where both sides are hit as often as their floors let them be."""
        hits = [
            channel.demand._intensity(floor)
            for channel, floor in zip(self.problem.channels(jnp.zeros(())), self.floors, strict=True)
        ]
        return hits[0] + hits[1] + self._speed_of_transport(self.drift(jnp.zeros(())))

    def distances(self, tau: Any, change: Change) -> tuple[Any, Any]:
        """Distances of bid and ask at every node, nan where a side is not quoted whatever the limit."""
        found = []
        for channel, side in zip(self.problem.channels(tau), change.sides, strict=True):
            quoted = self._rate(channel, 1.0, side.quoted.income, side.gain) > 0
            found.append(jnp.where(quoted, side.quoted.income / channel.notional, jnp.nan))
        return found[0], found[1]


def _differences(count: int) -> tuple[np.ndarray, np.ndarray]:
    """First and second differences over unit spacing: fourth order inside, second beside the ends, none at them."""
    first, second = np.zeros((2, count, count))
    for i in range(1, count - 1):
        if 2 <= i < count - 2:
            first[i, i - 2 : i + 3] = np.array([1, -8, 0, 8, -1]) / 12
            second[i, i - 2 : i + 3] = np.array([-1, 16, -30, 16, -1]) / 12
        else:
            first[i, i - 1 : i + 2] = np.array([-0.5, 0, 0.5])
            second[i, i - 1 : i + 2] = np.array([1, -2, 1])
    return first, second
