"""The equation of a book of currency pairs: ladders of jumps in every pair, and hedging along the slope.

    theta_tau = -(gamma/2) q' Sigma q + sum z H(p) + sum max(|theta_{q_i} + k_i q_i| - psi_i, 0)^2/(4 eta_i),

with exact differences `p = (theta(q) - theta(q +- z e_i))/z` over every pair, side and size; only hedging, which moves
the position continuously, needs a derivative. The baseline is the expansion of `hjb.currency_book`. Pairs differ, so
each keeps features of its own: its position and its quotes' tilt under the baseline, softened, and their products.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...models.currency_book import CurrencyBook
from ..closed_form import ClosedForm
from ..currency_book import riccati, solve_book
from ._ansatz import soft
from ._equation import Equation, Function
from ._riccati import NODES, Riccati, at

_FLOOR = 0.25  # of the flat book's income, beneath which a residual is not divided any further
_WIDER = 2.0  # times the stationary spread, for the share `_FAR` of the sampled states
_FAR = 0.3
_JUMPED = 0.25  # share of sampled states that lie a trade beside


class Ladder(NamedTuple):
    """Every way in which a fill moves the book; tiers that a pair lacks ask for nothing."""

    step: Any  # (kinds, pairs)
    size: Any  # (kinds,)
    asked: Any  # requests per day, (kinds, tiers)
    alpha: Any
    beta: Any


class CurrencyBookEquation(Equation):
    """`theta` of a `CurrencyBook`."""

    covariance: Any
    risk_aversion: Any
    length: Any  # the horizon
    limit: Any  # (pairs,), likewise below
    impact: Any
    half_spread: Any
    ease: Any  # 1/(4 eta), zero without a market
    table: Riccati
    ladder: Ladder
    flat: Any  # what a flat book earns per day if nothing it does matters later
    width: Any
    root: Any  # of the positions' stationary covariance
    tilt: Any  # bp over which clients change their minds
    pace: Any

    @classmethod
    def of(cls, book: CurrencyBook) -> CurrencyBookEquation:
        """The equation with its baseline solved."""
        fixed, d = riccati(book), book.dimension
        baseline = solve_book(book, ClosedForm(), times=NODES)
        rows = np.asarray(baseline.tables.value)
        slopes = []
        for row in rows:
            da, db, dc = fixed.change(row[: d * d].reshape(d, d), row[d * d : -1])
            slopes.append(np.concatenate([da.ravel(), db, [dc]]))
        a = rows[-1, : d * d].reshape(d, d)
        spread = fixed.spread(a)
        markets = [pair.hedging for pair in book.pairs]
        return cls(
            covariance=book.covariance,
            risk_aversion=book.risk_aversion,
            length=book.horizon,
            limit=book.limit,
            impact=fixed.impact,
            half_spread=np.array([0.0 if m is None else float(m.half_spread) for m in markets]),
            ease=np.array([0.0 if m is None else 0.25 / float(m.slippage) for m in markets]),
            table=Riccati(rows, np.stack(slopes)),
            ladder=_ladder(book),
            flat=np.sum(fixed.bid.gain + fixed.ask.gain),
            width=np.sqrt(np.diag(spread)),
            root=np.linalg.cholesky(spread),
            tilt=np.array([1 / float(np.mean(np.asarray(pair.bid_demand.beta))) for pair in book.pairs]),
            pace=np.mean(fixed.bend * np.diag(a)),
        )

    @property
    def horizon(self) -> Any:
        return jnp.asarray(self.length)

    @property
    def start(self) -> Any:
        return jnp.zeros(self.limit.shape[0])

    @property
    def scale(self) -> Any:
        return jnp.reshape(self.flat * self.length, (1,))

    @property
    def rate(self) -> Any:
        return jnp.asarray(self.pace)

    def _row(self, tau: Any) -> tuple[Any, Any, Any]:
        d = self.limit.shape[0]
        row = at(Riccati(*map(jnp.asarray, self.table)), self.horizon, tau)
        return row[: d * d].reshape(d, d), row[d * d : -1], row[-1]

    def baseline(self, tau: Any, x: Any) -> Any:
        a, b, c = self._row(tau)
        return (-0.5 * x @ a @ x - b @ x - c)[None]

    def features(self, tau: Any, x: Any) -> Any:
        a, b, _ = self._row(tau)
        s, v = soft((a @ x + b) / self.tilt), soft(x / self.width)
        own = [v, s, v * v, s * s, v * s, v**3, s**3]
        i, j = np.triu_indices(x.shape[0], 1)
        return jnp.concatenate([*own, v[i] * v[j], s[i] * s[j], v[i] * s[j], s[i] * v[j]])

    def residual(self, function: Function, tau: Any, x: Any, cap: Any) -> Any:
        """The logistic Hamiltonian grows no faster than its argument, so nothing need be capped."""

        def theta(y: Any) -> Any:
            return function(tau, y)[0]

        here, slope = jax.value_and_grad(theta)(x)
        ladder = Ladder(*map(jnp.asarray, self.ladder))
        after = jax.vmap(lambda step: theta(x + step))(ladder.step)
        price = ((here - after) / ladder.size)[:, None]
        won = jnp.sum(ladder.asked * omega(-(1 + ladder.alpha + ladder.beta * price)) / ladder.beta, axis=1)
        fits = jnp.all(jnp.abs(x[None] + ladder.step) <= self.limit[None] * (1 + 1e-9), axis=1)
        gain = jnp.sum(jnp.where(fits, ladder.size * won, 0.0))
        pressure = jnp.abs(slope + self.impact * x) - self.half_spread
        hedged = jnp.sum(self.ease * jnp.maximum(pressure, 0.0) ** 2)
        cost = 0.5 * self.risk_aversion * x @ self.covariance @ x
        change = jax.jvp(lambda t: function(t, x)[0], (tau,), (jnp.ones_like(tau),))[1]
        return ((gain + hedged - cost - change) / (_FLOOR * self.flat + cost) * _FLOOR)[None]

    def sample(self, key: Any, function: Function, paths: int, each: int) -> tuple[Any, Any]:
        """Positions of the stationary law that the expansion implies, some of them wider, some a trade beside it."""
        when, law, far, beside, which = jax.random.split(key, 5)
        count = paths * each
        u = jax.random.uniform(when, (count,))
        early = jnp.arange(count) % 2 == 0  # values change fastest just before the horizon
        tau = self.horizon * jnp.where(early, u * u, u)
        x = jax.random.normal(law, (count, self.limit.shape[0])) @ jnp.asarray(self.root).T
        x = x * jnp.where(jax.random.uniform(far, (count, 1)) < _FAR, _WIDER, 1.0)
        steps = jnp.asarray(self.ladder.step)
        step = steps[jax.random.randint(which, (count,), 0, steps.shape[0])]
        x = x + jnp.where(jax.random.uniform(beside, (count, 1)) < _JUMPED, step, 0.0)
        return tau, jnp.clip(x, -self.limit[None], self.limit[None])


def _ladder(book: CurrencyBook) -> Ladder:
    most, unit = max(pair.tiers for pair in book.pairs), np.eye(book.dimension)
    rows = []
    for number, pair in enumerate(book.pairs):
        for side in (+1, -1):
            demand, requests = pair.demand(side), pair.requests(side)
            lacking = (0, most - pair.tiers)
            alpha, beta = (np.pad(np.asarray(x), lacking, mode="edge") for x in (demand.alpha, demand.beta))
            for size, asked in zip(pair.sizes, requests.T, strict=True):
                rows.append((side * size * unit[number], size, np.pad(asked, lacking), alpha, beta))
    return Ladder(*(np.array(column) for column in zip(*rows, strict=True)))


@jax.custom_jvp
def omega(y: Any) -> Any:
    """Wright's omega for real `y`: the `w` with `w + ln w = y`, by Newton's method from two per cent off."""
    w = jax.nn.softplus(y)
    w = jnp.maximum(w * (1 - jnp.log1p(w) / (2 + w)), 1e-300)
    for _ in range(3):
        w = w * (1 + y - jnp.log(w)) / (1 + w)
    return w


@omega.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (y,), (dy,) = primals, tangents
    w = omega(y)
    return w, w / (1 + w) * dy


@eqx.filter_jit
def values(ansatz: Any, tau: Any, x: Any) -> tuple[Any, Any]:
    """`theta` (points,) and its slopes (points, pairs)."""
    return jax.vmap(jax.value_and_grad(lambda y, t: ansatz(t, y)[0]))(x, tau)
