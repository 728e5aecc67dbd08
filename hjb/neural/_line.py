"""The equation of a dealer in one asset: the inventory in lots, or a stock account that moves by itself.

    theta_tau = income + velocity theta_y + 1/2 spread^2 theta_yy - running_cost + sum sup_x Lambda(x) U(z, Dtheta, Dh),

with `h` beside it; see `models.problem`. One dimension is covered evenly, so states are spread over what the limits
allow rather than simulated: every lot as often as any other, times to go close together where the value starts up and
at either end of the horizon.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ._equation import Function
from ._fills import FillEquation, Quoted
from ._riccati import Riccati, at, quadratic

_FLOOR = 0.25
_PER_LOT = 2  # splines to a lot of a stock that moves; lots that rest have one each
_MOST_PLACES = 45  # splines on either side
_BEYOND = 1.0  # lots beyond the limit that a moving stock is followed
_STEP = 0.6180339887498949
_UNLIMITED = 6.0  # standard deviations that stand for no limit


class _Answer(NamedTuple):
    distance: Any
    rate: Any
    gain: Any
    income: Any


def answer(problem: Any, tau: Any, which: int, value_change: Any, mean_change: Any) -> _Answer:
    """The best response on the bid (0) or the ask (1), whatever the limits."""
    objective, channel = problem.objective, problem.channels(tau)[which]
    m = channel.notional
    distance = channel.demand.best_response(
        lambda ratio: objective.income_at(m * ratio, value_change, mean_change) / m + channel.cost
    )
    quoting = jnp.isfinite(distance)
    x = jnp.where(quoting, distance, 0.0)
    rate = jnp.where(quoting, channel.demand._intensity(x), 0.0)
    income = jnp.where(quoting, channel.income(x), 0.0)
    return _Answer(distance, rate, rate * objective.gain(income, value_change, mean_change), income)


def _cubic(x: Any) -> Any:
    """The cubic B-spline with knots at the whole numbers, centred at 0."""
    x = jnp.abs(x)
    return (jnp.maximum(2 - x, 0.0) ** 3 - 4 * jnp.maximum(1 - x, 0.0) ** 3) / 6


class LineEquation(FillEquation):
    """`theta` and `h` of a one-inventory `Problem`."""

    problem: Any
    table: Riccati
    kappa: Any
    flat: Any  # gain of both sides at an empty, riskless book, money per unit of time
    width: Any  # lots: spread of the inventory under the baseline
    reach: Any  # lots: the states that matter
    half: int = eqx.field(static=True, default=0)  # the same as a plain number, which shapes the ansatz

    @classmethod
    def of(cls, problem: Any) -> LineEquation:
        """The equation with its baseline solved."""
        horizon, zero = jnp.asarray(problem.horizon), jnp.zeros(())
        half, lot = 0.5 * horizon, problem.size
        both = [answer(problem, half, side, zero, zero) for side in (0, 1)]
        gain, rate = both[0].gain + both[1].gain, both[0].rate + both[1].rate
        kappa = rate / gain

        def cost(lots: Any) -> Any:
            exposure = problem.exposure(half, lots * lot)
            return problem.objective.running_cost(exposure, 0 * exposure, lots)

        def gains(which: int, p: Any) -> Any:
            return answer(problem, half, which, p, jnp.zeros_like(p)).gain

        one = jnp.ones(())
        table = quadratic(
            gains,
            problem.income(half, lot * one)[None],
            cost(one)[None, None],
            problem.objective.terminal_cost(one)[None, None],
            kappa[None],
            horizon,
        )
        width = jnp.sqrt(1 / (1 / (rate * horizon) + 4 * kappa * table.rows[-1, 0]))
        limit = problem.limit / lot
        reach = jnp.minimum(limit, jnp.ceil(_UNLIMITED * width + 4))
        return cls(problem, table, kappa, gain, width, reach)

    @property
    def settled(self) -> bool:
        return True

    @property
    def moves(self) -> bool:
        return self.problem.moves

    @property
    def horizon(self) -> Any:
        return jnp.asarray(self.problem.horizon)

    @property
    def start(self) -> Any:
        return jnp.zeros(1)

    @property
    def scale(self) -> Any:
        return jnp.full(2, self.flat * self.problem.horizon)

    @property
    def rate(self) -> Any:
        own = self.table.rows[-1, 0]
        return jnp.maximum(4 * self.kappa**2 * own * self.flat, 1 / self.problem.horizon)

    @property
    def _fills(self) -> Any:
        """Fills within the horizon, about."""
        return self.kappa * self.flat * self.problem.horizon

    @property
    def jumps(self) -> Any:
        return jnp.asarray(self.problem.size) * jnp.array([[1.0], [-1.0]])

    def baseline(self, tau: Any, x: Any) -> Any:
        m, b, a = at(self.table, self.problem.horizon, tau)
        lots = x[0] / self.problem.size
        rest = a + b * lots - self.problem.closing_cost(x[0])
        return jnp.stack([rest - m * lots**2, rest])

    def features(self, tau: Any, x: Any) -> Any:
        """Stages of the time to go; where the state is, `places` tells."""
        fills = self.kappa * self.flat * tau
        m, _, _ = at(self.table, self.problem.horizon, tau)
        return jnp.stack([tau / self.horizon, jnp.log1p(fills), fills / (1 + fills), jnp.log(self.kappa * m + 1e-3)])

    def places(self, tau: Any, x: Any) -> Any:
        """Cubic splines over the states that matter, and what a fill that a limit forbids does to a moving stock."""
        edge = self.half + (_BEYOND if self.moves else 0.0)
        lots = jnp.clip(x[0] / self.problem.size, -edge, edge)
        most = min(int(edge * (_PER_LOT if self.moves else 1)), _MOST_PLACES)
        last = most + 1 if self.moves else most
        number = jnp.arange(-last, last + 1, dtype=float)
        splines = _cubic(lots * (most / edge) - number)
        if not self.moves:
            return splines
        return jnp.concatenate([splines, jnp.stack([self._kink(side, tau, x[0]) for side in (+1, -1)])])

    def _kink(self, side: int, tau: Any, y: Any) -> Any:
        """`w/tau`, `w` the solution of `w_tau = velocity w_y + 1/2 spread^2 w_yy + [side y > where fills stop]`."""
        last = self.problem.limit - self.problem.size
        last = jnp.where(jnp.isfinite(last), last, self.reach * self.problem.size)
        ahead = side * (y + self.problem.velocity(y) * tau) - last
        blur = jnp.sqrt(2 * self.problem.spread(last) ** 2 * tau + 1e-12 * last**2)
        z = ahead / blur
        far = jnp.abs(z)
        tail = 0.5 * (1 + 2 * z * z) * jax.scipy.special.erfc(far) - far * jnp.exp(-z * z) / jnp.sqrt(jnp.pi)
        return jnp.where(z > 0, 1 - tail, tail)

    def quoted(self, function: Function, tau: Any, x: Any) -> Quoted:
        u, change, answers, allowed = self.answers(function, tau, x)
        slope = jnp.zeros((2, 1))
        if self.moves:
            slope = jax.jvp(lambda y: function(tau, y), (x,), (jnp.ones(1),))[1][:, None]
        exposure, loading = self.problem.exposure(tau, x[0]), self.problem.spread(x[0])
        lots = x[0] / self.problem.size
        return Quoted(
            u,
            change,
            jnp.where(allowed, answers.rate, 0.0),
            answers.income,
            self.problem.income(tau, x[0]),
            self.problem.objective.running_cost(exposure, loading * slope[1, 0], lots),
            (exposure + loading * slope[1, 0]) ** 2,
            slope,
        )

    def answers(self, function: Function, tau: Any, x: Any, cap: Any = jnp.inf) -> Any:
        """`u` here, its changes (outputs, 2), the best responses to them, (2,), and which fills keep the limits."""
        points = x[None] + jnp.concatenate([jnp.zeros((1, 1)), self.jumps])
        u = jax.vmap(lambda y: function(tau, y))(points)
        change = (u[1:] - u[:1]).T
        excess = jnp.maximum(self.kappa * change[0] - cap, 0.0)
        value = change[0] - excess / self.kappa
        both = [answer(self.problem, tau, i, value[i], change[1, i]) for i in (0, 1)]
        answers = jax.tree.map(lambda *sides: jnp.stack(sides), *both)
        allowed = jnp.stack([self.problem.may_fill(side, x[0]) for side in (+1, -1)])
        return u[0], change, answers._replace(gain=answers.gain * (1 + excess)), allowed

    def residual(self, function: Function, tau: Any, x: Any, cap: Any) -> Any:
        problem, y = self.problem, x[0]
        _, change, answers, allowed = self.answers(function, tau, x, cap)
        one = jnp.ones(())
        ahead = jax.jvp(lambda t: function(t, x), (tau,), (one,))[1]
        drift, bend, mean_loading = jnp.zeros(2), jnp.zeros(2), jnp.zeros(())
        if self.moves:
            first = lambda z: jax.jvp(lambda w: function(tau, w[None]), (z,), (one,))[1]  # noqa: E731
            slope, second = jax.jvp(first, (y,), (one,))
            drift, bend = problem.velocity(y) * slope, 0.5 * problem.spread(y) ** 2 * second
            mean_loading = problem.spread(y) * slope[1]
        cost = problem.objective.running_cost(problem.exposure(tau, y), mean_loading, y / problem.size)
        gain = jnp.sum(jnp.where(allowed, answers.gain, 0.0))
        earned = jnp.sum(jnp.where(allowed, answers.rate * (answers.income + change[1]), 0.0))
        flows = jnp.stack([gain - cost, earned]) + problem.income(tau, y)
        return (flows + drift + bend - ahead) / self.unit(tau, x)

    def unit(self, tau: Any, x: Any) -> Any:
        exposure, lots = self.problem.exposure(tau, x[0]), x[0] / self.problem.size
        return self.flat + self.problem.objective.running_cost(exposure, 0.0 * exposure, lots) / _FLOOR

    def sample(self, key: Any, function: Function, paths: int, each: int) -> tuple[Any, Any]:
        points, nodes = paths * each, 2 * self.half + 1
        jitter, shift = jax.random.split(key)
        number = jnp.arange(points, dtype=float)
        if self.moves:
            # an additive sequence fills gaps that independent draws leave (Roberts 2018)
            place = (number * _STEP + jax.random.uniform(shift)) % 1.0
            edge = self.half + _BEYOND
            lots, turn, turns = edge * (2 * place - 1), number, points
        else:
            lots, turn, turns = number % nodes - self.half, number // nodes, -(-points // nodes)
        share = (turn // 2 + jax.random.uniform(jitter, (points,))) / (turns / 2)
        share = jnp.minimum(share, 1.0)
        start = jnp.expm1(share * jnp.log1p(self._fills)) / self._fills
        tau = self.horizon * jnp.where(turn % 2 == 0, start, jnp.sin(0.5 * jnp.pi * share) ** 2)
        return tau, (lots * self.problem.size)[:, None]

    def terminal(self, x: Any) -> Any:
        return self.problem.objective.terminal_cost(x[..., 0] / self.problem.size) + self.problem.closing_cost(
            x[..., 0]
        )

    def moved(self, tau: Any, x: Any, dt: Any, normal: Any) -> tuple[Any, Any]:
        if not self.moves:
            return x, 0.0 * x
        after = self.problem.evolve(tau, x[0], dt, normal)[0]
        return after[None], (after - x[0] * jnp.exp(self.problem.velocity(jnp.ones(())) * dt))[None]
