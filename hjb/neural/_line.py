"""The equation of a dealer in one asset: the inventory in lots, or a stock account that moves by itself.

    theta_tau = income + velocity theta_y + 1/2 spread^2 theta_yy - running_cost + sum sup_x Lambda(x) U(z, Dtheta, Dh),

with `h` beside it; see `models.problem`. One dimension is covered evenly, so states are spread over what the limits
allow rather than simulated: half of them evenly, half where the quadratic baseline would keep the inventory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ._ansatz import soft
from ._equation import Function
from ._fills import FillEquation, Quoted
from ._riccati import Riccati, at, quadratic

_FLOOR = 0.25
_BEYOND = 1.0  # lots beyond the limit that a moving stock is followed
_STEPS = tuple(1.2207440846057596**-i for i in (1, 2, 3))
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


class LineEquation(FillEquation):
    """`theta` and `h` of a one-inventory `Problem`."""

    problem: Any
    table: Riccati
    kappa: Any
    flat: Any  # gain of both sides at an empty, riskless book, money per unit of time
    width: Any  # lots: spread of the inventory under the baseline
    reach: Any  # lots: the states that matter

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
    def jumps(self) -> Any:
        return jnp.asarray(self.problem.size) * jnp.array([[1.0], [-1.0]])

    def baseline(self, tau: Any, x: Any) -> Any:
        m, b, a = at(self.table, self.problem.horizon, tau)
        lots = x[0] / self.problem.size
        rest = a + b * lots - self.problem.closing_cost(x[0])
        return jnp.stack([rest - m * lots**2, rest])

    def features(self, tau: Any, x: Any) -> Any:
        m, b, _ = at(self.table, self.problem.horizon, tau)
        lots = x[0] / self.problem.size
        v = lots / self.reach
        near = [1 / (1 + jnp.maximum(self.reach - side * lots, 0.0)) for side in (+1, -1)]
        tilt = soft(self.kappa * (2 * m * lots - b))
        fills = self.kappa * self.flat * tau
        edges = [*near, near[0] ** 2, near[1] ** 2]
        edges = [*edges, *(edge * fills / (1 + fills) for edge in edges)]  # a limit is felt within a few fills
        stages = [jnp.log(self.kappa * m + 1e-3), jnp.log1p(fills)]
        return jnp.stack([v, v**2, v**3, v**4, v**5, v**6, *edges, soft(lots / self.width), tilt, tilt**2, *stages])

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
        return (flows + drift + bend - ahead) / (_FLOOR * self.flat + cost) * _FLOOR

    def sample(self, key: Any, function: Function, paths: int, each: int) -> tuple[Any, Any]:
        points = paths * each
        number = jnp.arange(points, dtype=float)
        shift = jax.random.uniform(key, (3,))
        # an additive sequence in three dimensions fills gaps that independent draws leave (Roberts 2018)
        clock, place, kind = ((number * step + shift[i]) % 1.0 for i, step in enumerate(_STEPS))
        tau = self.horizon * clock**2
        edge = self.reach + (_BEYOND if self.moves else 0.0)
        even = edge * (2 * place - 1)
        core = jnp.clip(self.width * jax.scipy.special.ndtri(jnp.clip(place, 1e-6, 1 - 1e-6)), -edge, edge)
        lots = jnp.where(kind < 0.5, even, core)
        lots = lots if self.moves else jnp.round(lots)
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
