"""The orders of a market as a stream: when the next one comes, which side it hits, how deep it reaches, what it knows.

Three things, each by itself. *Arrival*: orders on side `s` that would reach a quote at distance `x` come with intensity
`m_s(t) Lambda_s(x)`, where `m_s` has mean one at all times; it is one in a Poisson market, and after a Hawkes process

    m_s = nu_s + eps_s,     d eps_s = -beta eps_s dt + (beta / A_s) (n_own dN_s + n_cross dN_other)

where the orders are clustered: `N_s` counts those that accept the reference price, `A_s = Lambda_s(0)` per unit of time
in the mean, one of which brings `n_own` more on its own side and `n_cross` on the other (Hawkes 1971). `eps` starts at
its mean, so that the mean of `m` is one from the start. *Reaction to quotes*: the problem's demand, as a depth drawn
with each order. *Information*: of the orders that accept the reference price a share is informed, and moves it in its
own direction.

Neither depends on what the dealer does. The waiting time is exact without thinning: the steady and the excited part of
the intensity are two clocks, and the first to ring counts (Dassios and Zhao 2013).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ...models.channels import Quotes
from .._randomness import Key, stream, uniform, words
from .poisson import PoissonMarket

_TIME, _NEWS = 8, 11  # streams of random numbers, apart from those of `_thinning` and `_venue`


class Stir(NamedTuple):
    """What past orders still do, (paths,): `eps` of both sides, and the move of the reference that is still to come."""

    bid: Any
    ask: Any
    pressure: Any  # units of distance


class Order(NamedTuple):
    """The next order, (paths,)."""

    wait: Any  # time until it comes
    mark: Any  # its place in [0, bid reach + ask reach): which side it hits, and how deep it reaches
    move: Any  # of the reference, that it brings about; units of distance


class Flow(eqx.Module):
    """The law of the orders; pairs are of the orders that hit the bid (they sell) and of those that hit the ask.

    reach:    the largest intensity drawn, `Lambda` at the nearest quote there is, or at the reference price.
    accept:   `A`, orders per unit of time that accept the reference price.
    baseline: `nu`, share of the orders that no other excited.
    own, cross: rise of `eps` by an order of the own side, and of the other.
    decay:    `beta`.
    informed, move, delay: share of those who accept the reference price, distance, time.
    stirs:    whether orders excite or know anything: compiled apart, as without it there is less to compute.
    """

    reach: Quotes
    accept: Quotes
    baseline: Quotes
    own: Quotes
    cross: Quotes
    decay: Any
    informed: Any
    move: Any
    delay: Any
    stirs: bool = eqx.field(static=True)

    @property
    def mean_move(self) -> Any:
        """Of the reference by informed orders, per unit of time."""
        return self.informed * self.move * (self.accept.ask - self.accept.bid)

    @property
    def variance(self) -> Any:
        """Of that per unit of time, where orders are not clustered."""
        return self.informed * self.move**2 * (self.accept.ask + self.accept.bid)

    def begin(self, zero: Any) -> Stir:
        """The mean, for paths of the shape of `zero`."""
        pressure = self.mean_move * self.delay
        return Stir(zero + 1 - self.baseline.bid, zero + 1 - self.baseline.ask, zero + pressure)

    def draw(self, key: Key, path: Any, number: Any) -> tuple[Any, ...]:
        """Random words for the `number`-th order of each path."""
        drawn = words(stream(key, _TIME), path, number)
        return (*drawn, *words(stream(key, _NEWS), path, number)) if self.stirs else drawn

    def next(self, drawn: tuple[Any, ...], stir: Stir, horizon: Any) -> tuple[Order, Stir]:
        """The next order, and the stir right after it but for its own pressure."""
        rarely = 1e-9 / horizon  # where nobody trades: beyond any horizon
        if not self.stirs:
            total = self.reach.bid + self.reach.ask
            wait = -jnp.log(uniform(drawn[0])) / jnp.maximum(total, rarely)
            return Order(wait, uniform(drawn[1]) * total, jnp.zeros_like(wait)), stir
        steady = self.reach.bid * self.baseline.bid + self.reach.ask * self.baseline.ask
        excited = self.reach.bid * stir.bid + self.reach.ask * stir.ask
        spent = -jnp.log(uniform(drawn[2])) * self.decay / excited  # infinite where nothing is excited
        rings = jnp.where(spent < 1, -jnp.log1p(-jnp.minimum(spent, 1.0)) / self.decay, jnp.inf)
        wait = jnp.minimum(-jnp.log(uniform(drawn[0])) / jnp.maximum(steady, rarely), rings)

        left = jnp.exp(-self.decay * wait)
        bid, ask = stir.bid * left, stir.ask * left
        more = Quotes(self.baseline.bid + bid, self.baseline.ask + ask)
        sellers = self.reach.bid * more.bid
        place = uniform(drawn[1]) * (sellers + self.reach.ask * more.ask)
        sells = place < sellers
        depth = jnp.where(sells, place / more.bid, (place - sellers) / more.ask)  # a uniform place below `reach`
        accepts = depth < jnp.where(sells, self.accept.bid, self.accept.ask)
        knows = accepts & (uniform(drawn[3]) < self.informed)

        def risen(eps: Any, lift: Any) -> Any:
            return eps + jnp.where(accepts, lift, jnp.zeros_like(eps))

        bid = risen(bid, jnp.where(sells, self.own.bid, self.cross.bid))
        ask = risen(ask, jnp.where(sells, self.cross.ask, self.own.ask))
        move = jnp.where(knows, jnp.where(sells, -self.move, self.move), jnp.zeros_like(bid))
        mark = jnp.where(sells, depth, self.reach.bid + depth)
        return Order(wait, mark, move), Stir(bid, ask, stir.pressure)

    def released(self, pressure: Any, dt: Any) -> Any:
        """How much of the pressure has moved the reference after `dt`: all of it at once where there is no delay."""
        if not self.stirs:
            return jnp.zeros_like(pressure)
        later = -jnp.expm1(-dt / jnp.where(self.delay > 0, self.delay, 1.0))
        return pressure * jnp.where(self.delay > 0, later, jnp.ones_like(later))


def flow_of(market: PoissonMarket, reach: Quotes, accept: Quotes, stirs: bool = True) -> Flow:
    """The market's flow where orders accept the reference price at the rates `accept`.

    Raises `ValueError` where excitement alone would bring more orders to a side than come to it in the mean.
    """
    own, cross, decay = market.clustering
    baseline, lifts = [], []
    for side, here, there in (("bid", accept.bid, accept.ask), ("ask", accept.ask, accept.bid)):
        share = 1 - own - (cross * there / here if here > 0 else 0.0)
        if share < 0:
            raise ValueError(
                f"market: cross_excitation {cross:g} brings more orders to the {side} than come to it in the mean, as "
                f"the other side has {there:g} per unit of time and it {here:g}; lower it"
            )
        baseline.append(np.float64(share if here > 0 else 1.0))
        lifts.append(np.float64(decay / here if here > 0 else 0.0))
    return Flow(
        reach=reach,
        accept=Quotes(np.float64(accept.bid), np.float64(accept.ask)),
        baseline=Quotes(*baseline),
        own=Quotes(*(own * lift for lift in lifts)),
        cross=Quotes(*(cross * lift for lift in lifts)),
        decay=np.float64(decay),
        informed=np.float64(market.informed),
        move=np.float64(market.informed_move),
        delay=np.float64(market.informed_delay),
        stirs=stirs,
    )
