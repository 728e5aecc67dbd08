"""The equation of a book of assets: jumps of one lot on `2 d` channels, no derivative in any inventory.

Features are sums over the assets of products of an asset's inventory and its quotes' tilt under the baseline,
`s = 2 kappa (M q)_i`, both softened (`soft`). They do not change when like assets are swapped, cost no more for a
neighbour than for the state itself, and their number does not grow with the assets: it is the same network for two
assets and for thirty.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...models.objectives import MeanVariance
from ._ansatz import soft
from ._equation import Function
from ._fills import FillEquation, Quoted
from ._riccati import Riccati, at, quadratic

_POWERS = tuple(np.array([(a, n - a) for n in range(1, 5) for a in range(n, -1, -1)]).T)
_WIDEN = 0.1  # share of sampled states that are moved by a lot: what lies beside the path is seen as well
_APART = 0.25  # share of paths that begin elsewhere than flat, so that the book can be asked about such states, too
_ANEW = 0.5  # share of points that are looked at with another time to go than when they were visited
_FAR = 1.5  # in units of the spread under the baseline: how far they begin
_FLOOR = 0.25  # of the scale of income, beneath which a residual is not divided any further


class BookEquation(FillEquation):
    """`theta` of a `MultiAssetDealer`, and `h` beside it where the objective needs it."""

    problem: Any
    table: Riccati
    kappa: Any  # (d,): the fall of the best response's gain per unit of money
    flat: Any  # gain of all channels at a flat, riskless book, money per unit of time
    width: Any  # (d,) lots: spread of the inventory near which features bend
    pair: bool = eqx.field(static=True)

    @classmethod
    def of(cls, problem: Any, with_mean: bool = False) -> BookEquation:
        """The equation with its baseline solved."""
        d = problem.dimension
        unit = jnp.eye(d)
        cost = _matrix(problem.running_cost, unit)
        terminal = _matrix(problem.terminal_cost, unit)
        nothing = jnp.zeros(d)
        both = [problem.response(side, nothing, nothing) for side in (+1, -1)]
        gain = jnp.stack([response.gain for response in both])
        rate = jnp.stack([response.rate for response in both])
        kappa = jnp.sum(rate, 0) / jnp.sum(gain, 0)  # G' / G at zero: exact for exponential demand

        def gains(which: int, p: Any) -> Any:
            return problem.response((+1, -1)[which], p, jnp.zeros_like(p)).gain

        income = jnp.asarray(problem.drift * problem.lot)
        table = quadratic(gains, income, cost, terminal, kappa, jnp.asarray(problem.horizon))
        own = jnp.diagonal(table.rows[-1, : d * d].reshape(d, d))
        free = jnp.sum(rate, 0) * problem.horizon  # variance of a random walk, against that at rest
        width = jnp.sqrt(1 / (1 / free + 4 * kappa * own))
        pair = with_mean or isinstance(problem.objective, MeanVariance)
        return cls(problem, table, kappa, jnp.sum(gain), width, pair)

    @property
    def horizon(self) -> Any:
        return jnp.asarray(self.problem.horizon)

    @property
    def start(self) -> Any:
        return jnp.zeros(self.problem.dimension)

    @property
    def scale(self) -> Any:
        return jnp.full(2 if self.pair else 1, self.flat * self.problem.horizon)

    @property
    def rate(self) -> Any:
        d = self.problem.dimension
        own = jnp.diagonal(self.table.rows[-1, : d * d].reshape(d, d))
        pace = 4 * jnp.mean(self.kappa**2 * own) * self.flat / d * jnp.exp(-0.5 * jnp.mean(self.kappa * own))
        return jnp.maximum(pace, 1 / self.problem.horizon)

    def _row(self, tau: Any) -> tuple[Any, Any, Any]:
        d = self.problem.dimension
        row = at(self.table, self.problem.horizon, tau)
        return row[: d * d].reshape(d, d), row[d * d : -1], row[-1]

    def baseline(self, tau: Any, x: Any) -> Any:
        m, b, a = self._row(tau)
        theta = a + b @ x - x @ m @ x
        return jnp.stack([theta, a + 0 * theta]) if self.pair else theta[None]

    def features(self, tau: Any, x: Any) -> Any:
        m, b, _ = self._row(tau)
        s = soft(2 * self.kappa * (m @ x) - self.kappa * b)
        v = soft(x / self.width)
        up = [jnp.ones_like(x)] * 2
        for _ in range(4):
            up = [*up, up[-2] * s, up[-1] * v]
        moments = jnp.stack(up[::2]) @ jnp.stack(up[1::2]).T  # [a, b]: sum over assets of s^a v^b
        stage = jnp.log(jnp.mean(self.kappa * jnp.diagonal(m)) + 1e-3)
        return jnp.append(moments[_POWERS], stage)

    def changes(self, function: Function, tau: Any, x: Any) -> tuple[Any, Any]:
        """`u` here, (outputs,), and its changes by a fill of each asset on the bid and on the ask, (outputs, 2, d)."""
        d = self.problem.dimension
        steps = jnp.concatenate([jnp.zeros((1, d)), jnp.eye(d), -jnp.eye(d)])
        u = jax.vmap(lambda step: function(tau, x + step))(steps)
        return u[0], (u[1:] - u[:1]).T.reshape(-1, 2, d)

    def answers(self, change: Any, x: Any) -> Any:
        """The best responses to `change` (outputs, 2, d), and whether their fills keep the limits, (2, d) each."""
        both = [self.problem.response(side, change[0, i], change[-1, i]) for i, side in enumerate((+1, -1))]
        allowed = jnp.stack([self.problem.may_fill(side, x) for side in (+1, -1)])
        return jax.tree.map(lambda *sides: jnp.stack(sides), *both), allowed

    @property
    def jumps(self) -> Any:
        unit = jnp.eye(self.problem.dimension)
        return jnp.concatenate([unit, -unit])

    def quoted(self, function: Function, tau: Any, x: Any) -> Quoted:
        u, change = self.changes(function, tau, x)
        response, allowed = self.answers(change, x)
        return Quoted(
            u,
            change.reshape(u.shape[0], -1),
            jnp.where(allowed, response.rate, 0.0).reshape(-1),
            response.income.reshape(-1),
            self.problem.income(x),
            self.problem.running_cost(x),
            self.problem.variance_rate(x),
            jnp.zeros((u.shape[0], x.shape[0])),
        )

    def terminal(self, x: Any) -> Any:
        return self.problem.terminal_cost(x)

    def residual(self, function: Function, tau: Any, x: Any, cap: Any) -> Any:
        problem = self.problem
        _, change = self.changes(function, tau, x)
        slope = jax.jvp(lambda t: function(t, x), (tau,), (jnp.ones_like(tau),))[1]
        kappa = self.kappa[None]
        excess = jnp.maximum(kappa * change[0] - cap, 0.0)
        response, allowed = self.answers(change.at[0].add(-excess / kappa), x)
        gain = jnp.sum(jnp.where(allowed, response.gain * (1 + excess), 0.0))
        cost, income = problem.running_cost(x), problem.income(x)
        parts = [income - cost + gain - slope[0]]
        if self.pair:
            earned = jnp.where(allowed, response.rate * (response.income + change[1]), 0.0)
            parts.append(income + jnp.sum(earned) - slope[1])
        return jnp.stack(parts) / self.unit(tau, x)

    def unit(self, tau: Any, x: Any) -> Any:
        return self.flat + self.problem.running_cost(x) / _FLOOR

    def sample(self, key: Any, function: Function, paths: int, each: int) -> tuple[Any, Any]:
        start, widen, walk, apart, again = jax.random.split(key, 5)
        horizon, d = self.horizon, self.problem.dimension
        when = (jnp.arange(each, dtype=float)[None] + jax.random.uniform(start, (paths, each))) / each * horizon
        limit = jnp.asarray(self.problem.limit)[None, None]
        far = jnp.round(_FAR * self.width[None] * jax.random.normal(apart, (paths, d)))
        far = jnp.clip(far, -limit[0], limit[0])
        first = jnp.where(jnp.arange(paths)[:, None] < int(_APART * paths), far, 0.0)
        x = visited(self, function, walk, when, first)
        moved = jax.random.uniform(widen, (paths, each, 3))
        asset = jax.nn.one_hot(jnp.floor(moved[..., 0] * d).astype(jnp.int32), d, dtype=float)
        step = jnp.where(moved[..., 2] < _WIDEN, jnp.where(moved[..., 1] < 0.5, 1.0, -1.0), 0.0)
        x = jnp.clip(x + asset * step[..., None], -limit, limit)
        anew = jax.random.uniform(again, (2, paths, each))
        tau = jnp.where(anew[0] < _ANEW, anew[1] * horizon, horizon - when)
        return tau.reshape(-1), x.reshape(-1, d)


def _matrix(cost: Any, unit: Any) -> Any:
    """The matrix of a quadratic cost, by polarisation."""
    own = cost(unit)
    return 0.5 * (cost(unit[:, None] + unit[None]) - own[:, None] - own[None])


def visited(equation: BookEquation, function: Function, key: Any, when: Any, first: Any) -> Any:
    """Inventories (paths, each, d) at `when` (paths, each) after `first` (paths, d), quotes kept between fills."""
    paths, each = when.shape
    horizon, d = equation.horizon, equation.problem.dimension
    jumps = jnp.concatenate([jnp.eye(d), -jnp.eye(d)])

    def rates(t: Any, x: Any) -> Any:
        _, change = equation.changes(function, jnp.maximum(horizon - t, 0.0), x)
        change = change.at[0].set(jnp.minimum(change[0], 6.0 / equation.kappa[None]))
        response, allowed = equation.answers(change, x)
        return jnp.where(allowed, response.rate, 0.0).reshape(-1)

    def event(state: Any) -> Any:
        t, x, seen, number = state
        first, second = jax.random.uniform(jax.random.fold_in(key, number), (2, paths))
        rate = jax.vmap(rates)(t, x)
        total = jnp.sum(rate, 1)
        until = t - jnp.log1p(-first) / jnp.maximum(total, 1e-300)
        now = (when >= t[:, None]) & (when < until[:, None])
        seen = jnp.where(now[..., None], x[:, None], seen)
        hit = jnp.sum(jnp.cumsum(rate, 1) <= (second * total)[:, None], 1)
        return until, x + jumps[hit], seen, number + 1

    busy = lambda state: jnp.any(state[0] < horizon) & (state[3] < 20_000)  # noqa: E731
    begin = (jnp.zeros(paths), first, jnp.zeros((paths, each, d)), 0)
    return jax.lax.while_loop(busy, event, begin)[2]
