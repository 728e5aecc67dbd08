"""A market at work: pure `init` and `step(key, state, quotes) -> (state, info)`, elementwise over paths.

A state rests at an event: a market order arrives, the dealer looks and sends its quotes, quotes sent earlier come into
force, or the horizon is reached. `step` is told the distances that the dealer wants at this moment, lets the event
happen, and moves on to the next one.

Orders (`_flow`) and the reference price (`_reference`) belong to the path: whatever the dealer does and whichever
frictions are on, path `i` of a seed meets the same orders (their times, sides and depths) and the same prices at those
times; what lies in between is bridged exactly. Two runs of one seed therefore differ by what differs between them, and
by little noise.

The dealer's place in a queue is counted: with orders of one lot and nobody leaving, the quantity ahead falls by one
with each order that reaches the price, which is exact. The tests play the same orders through the matching core's book
of levels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...models.channels import Quotes
from .._randomness import Key, normal, stream, words
from ._flow import Flow, Stir
from ._reference import Reference
from .poisson import PoissonMarket

END, ARRIVE, SEND, ORDER = range(4)  # what comes first of what falls on one moment
_PRICE, _BRIDGE = 9, 10  # streams of random numbers, apart from those of `_thinning` and `_flow`
_CLOSE = np.uint32(0xFFFFFFFF)  # counter of the bridge to the horizon
_ROUNDING = 1e-9  # of a tick: a price that arithmetic left just beside the grid lies on it


class Standing(NamedTuple):
    """A quote in the market: its price above the opening reference, nan where there is none, and the lots ahead."""

    price: Any
    ahead: Any


class State(NamedTuple):
    """A batch of paths at an event, every field of shape (paths,); float64 unless said otherwise."""

    path: Any  # its number, uint32
    event: Any  # int32
    time: Any  # forward, 0 to the horizon
    price: Any  # of the reference, above its opening
    inventory: Any  # in the problem's unit of state
    order: Any  # number of the next order, uint32
    due: Any  # its time
    to_come: Any  # Brownian motion from now to then
    mark: Any  # its place in [0, bid reach + ask reach): which side it hits, and how deep it reaches
    news: Any  # by how much it moves the reference; a distance
    stir: Stir
    looks: Any  # of the dealer so far, uint32
    bid: Standing
    ask: Standing
    sent: Quotes  # prices under way
    arrival: Any  # their time; inf where nothing is under way


class Info(NamedTuple):
    """What an event did, every field of shape (paths,)."""

    order: Any  # whether it was a market order; bool
    bought: Any  # whether it hit the dealer's bid, or its ask; bool
    sold: Any
    payment: Any  # money booked by the fill
    earned: Any  # money that the fill earns on the marked book
    spread: Any  # distance between the dealer's quotes before it, nan unless there were both
    above: Any  # whether a quote was nearer than the order flow reaches: the bound was too low; bool
    held: Any  # inventory after the event
    dt: Any  # time to the next event
    income: Any  # money that the book makes until then


class Venue(eqx.Module):
    """A market with a problem's order flow in it.

    continuous: whether quotes follow at every moment instead of being posted.
    """

    problem: Any
    market: PoissonMarket
    flow: Flow
    reference: Reference
    continuous: bool = eqx.field(static=True)

    def init(self, key: Key, path: Any, inventory: Any) -> State:
        """Paths of numbers `path` (uint32) at time 0, where the dealer looks for the first time."""
        zero = jnp.zeros(path.shape)
        none, blank = jnp.zeros(path.shape, jnp.uint32), zero + jnp.nan
        empty = Standing(blank, zero)
        state = State(
            path=path, event=none.astype(jnp.int32) + SEND, time=zero, price=zero, inventory=zero + inventory,
            order=none, due=zero, to_come=zero, mark=zero, news=zero, stir=self.flow.begin(zero), looks=none,
            bid=empty, ask=empty, sent=Quotes(blank, blank), arrival=zero + jnp.inf,
        )  # fmt: skip
        state = self._next_order(self._drawn(key, state), state)
        return self._to_next(key, state)[0] if self.continuous else state

    def step(self, key: Key, state: State, quotes: Quotes) -> tuple[State, Info]:
        """Let the event happen to a dealer who wants `quotes` now, and move to the next."""
        wanted = self._prices(state, quotes)
        now = self._in_force(state, wanted) if self.continuous else state
        traded, info = self._trade(now)
        posted = traded if self.continuous else self._post(traded, wanted)
        drawn = self._drawn(key, posted)
        renewed = self._next_order(drawn, posted)
        ordered = jax.tree.map(lambda new, old: jnp.where(info.order, new, old), renewed, posted)
        after, income = self._to_next(key, ordered)
        return after, info._replace(held=posted.inventory, dt=after.time - state.time, income=income)

    # What the dealer's quotes become

    def _prices(self, state: State, quotes: Quotes) -> Quotes:
        """Prices of the distances wanted, rounded outward to ticks; nan where there is no quote."""
        tick, opening = self.market.tick, self.market.opening
        on_grid = jnp.where(tick > 0, tick, 1.0)

        def rounded(price: Any, outward: int) -> Any:
            steps = outward * jnp.ceil(outward * (price + opening) / on_grid - _ROUNDING)
            return jnp.where(tick > 0, steps * on_grid - opening, price)

        finite = [jnp.where(distance < jnp.inf, distance, jnp.nan) for distance in quotes]
        bid, ask = (self.reference.quote(state.price, side, x) for side, x in zip((+1, -1), finite, strict=True))
        return Quotes(rounded(bid, -1), rounded(ask, +1))

    def _allowed(self, state: State, side: int) -> Any:
        """Whether a fill on `side` (+1 bid, -1 ask) keeps the problem's limit and the market's."""
        within = side * self.problem.lots(state.inventory) + 1 <= self.market.position_limit + 1e-9
        return within & self.problem.may_fill(side, state.inventory)

    def _admitted(self, state: State, side: int, price: Any) -> Any:
        """The price, or nan where a rule refuses the quote."""
        width = self.market.price_limit * self.market.opening
        outside = jnp.isfinite(self.market.price_limit) & (jnp.abs(price) > width)
        return jnp.where(self._allowed(state, side) & ~outside, price, jnp.nan)

    def _in_force(self, state: State, wanted: Quotes) -> State:
        """Both quotes as wanted, where they are continuous; there is no queue then."""
        bid, ask = (self._admitted(state, side, price) for side, price in zip((+1, -1), wanted, strict=True))
        none = jnp.zeros_like(state.time)
        return state._replace(bid=Standing(bid, none), ask=Standing(ask, none))

    def _post(self, state: State, wanted: Quotes) -> State:
        """Send at a look, and bring into force what arrives."""
        looks, arrives = state.event == SEND, state.event == ARRIVE
        first = state.looks == 0
        at_once = looks & (first | (self.market.latency == 0))
        under_way = looks & ~at_once
        joins = at_once | arrives

        def joined(standing: Standing, side: int, price: Any) -> Standing:
            price = self._admitted(state, side, price)
            ahead = jnp.where(price == standing.price, standing.ahead, self.market.queue_ahead)
            return Standing(jnp.where(joins, price, standing.price), jnp.where(joins, ahead, standing.ahead))

        coming = [jnp.where(arrives, sent, now) for sent, now in zip(state.sent, wanted, strict=True)]
        sent = Quotes(*(jnp.where(under_way, now, old) for now, old in zip(wanted, state.sent, strict=True)))
        arrival = jnp.where(arrives, jnp.inf, state.arrival)
        return state._replace(
            bid=joined(state.bid, +1, coming[0]),
            ask=joined(state.ask, -1, coming[1]),
            sent=sent,
            arrival=jnp.where(under_way, state.time + self.market.latency, arrival),
            looks=jnp.where(looks, state.looks + np.uint32(1), state.looks),
        )

    # What an order does

    def _trade(self, state: State) -> tuple[State, Info]:
        """A market order, if the event is one, eats the queue ahead of the dealer or hits its quote."""
        is_order = state.event == ORDER
        standings = (state.bid, state.ask)
        distances = Quotes(
            *(self.reference.distance(state.price, side, s.price) for side, s in zip((+1, -1), standings, strict=True))
        )
        rates = [
            jnp.where(jnp.isnan(x), jnp.zeros_like(x), demand._intensity(x))
            for demand, x in zip((self.problem.bid_demand, self.problem.ask_demand), distances, strict=True)
        ]
        reach = self.flow.reach
        sells = state.mark < reach.bid
        reached = (sells & (state.mark < rates[0]), ~sells & (state.mark - reach.bid < rates[1]))
        sides, hits = [], []
        for side, standing, hit in zip((+1, -1), standings, reached, strict=True):
            served = is_order & hit
            filled = served & (standing.ahead <= 0) & self._allowed(state, side)
            ahead = jnp.where(served & (standing.ahead > 0), standing.ahead - 1, standing.ahead)
            sides.append(Standing(jnp.where(filled, jnp.nan, standing.price), ahead))
            hits.append(filled)
        payment, earned = self._paid(state, distances, *hits)
        bought, sold = hits
        size, none = self.problem.size + jnp.zeros_like(state.time), jnp.zeros_like(state.time)
        inventory = state.inventory + jnp.where(bought, size, none) - jnp.where(sold, size, none)
        above = is_order & ((rates[0] > reach.bid) | (rates[1] > reach.ask))
        after = state._replace(bid=sides[0], ask=sides[1], inventory=inventory)
        spread = distances.bid + distances.ask
        return after, Info(is_order, bought, sold, payment, earned, spread, above, inventory, none, none)

    def _paid(self, state: State, distances: Quotes, bought: Any, sold: Any) -> tuple[Any, Any]:
        """Money booked, and earned on the marked book, by a fill."""
        tau = self.problem.horizon - state.time
        booked = earned = jnp.zeros_like(state.time)
        hits = (bought, sold)
        for side, channel, x, hit in zip((+1, -1), self.problem.channels(tau), distances, hits, strict=True):
            x = x - self.market.adverse_selection
            booked = jnp.where(hit, self.problem.payment(tau, side, x), booked)
            earned = jnp.where(hit, channel.income(x), earned)
        return booked, earned

    # Where the path goes next

    def _drawn(self, key: Key, state: State) -> tuple[Any, Any]:
        """The next order's random words: those of the flow, and that of the price's move until then."""
        move, _ = words(stream(key, _PRICE), state.path, state.order)
        return self.flow.draw(key, state.path, state.order), move

    def _next_order(self, drawn: tuple[Any, Any], state: State) -> State:
        """The order after the one that is there, whose news now weigh on the reference."""
        order, stir = self.flow.next(drawn[0], state.stir, self.problem.horizon)
        return state._replace(
            order=state.order + np.uint32(1),
            due=state.time + order.wait,
            to_come=jnp.sqrt(order.wait) * normal(drawn[1]),
            mark=order.mark,
            news=order.move,
            stir=stir._replace(pressure=stir.pressure + state.news),
        )

    def _to_next(self, key: Key, state: State) -> tuple[State, Any]:
        """The state at its next event, and the money that the book makes until then."""
        interval = jnp.maximum(self.market.refresh, self.market.latency)
        never = jnp.zeros_like(state.time) + jnp.inf
        look = never if self.continuous else state.looks.astype(state.time.dtype) * interval
        look = jnp.where(state.arrival < jnp.inf, jnp.maximum(look, state.arrival), look)  # one message at a time
        times = jnp.stack([0 * state.time + self.problem.horizon, state.arrival, look, state.due])
        event = jnp.argmin(times, axis=0).astype(jnp.int32)
        time = jnp.maximum(jnp.min(times, axis=0), state.time)  # a sum of intervals may fall short by its rounding
        dt = time - state.time
        is_due = event == ORDER
        share = jnp.where(is_due, 1.0, dt / jnp.maximum(state.due - state.time, np.finfo(np.float64).tiny))
        counter = jnp.where(event == END, _CLOSE, 2 * state.looks + (event == ARRIVE).astype(jnp.uint32))
        noise = normal(words(stream(key, _BRIDGE), state.path, counter)[0])
        displacement = share * state.to_come + jnp.sqrt(dt * (1 - share)) * noise
        released = self.flow.released(state.stir.pressure, dt)
        price = self.reference.moved(state.price, dt, displacement, released)
        inventory, income = self.reference.carried(state.inventory, state.price, price)
        stir = state.stir._replace(pressure=state.stir.pressure - released)
        to_come = state.to_come - displacement
        return state._replace(
            event=event, time=time, price=price, inventory=inventory, to_come=to_come, stir=stir
        ), income
