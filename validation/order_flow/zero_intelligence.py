"""Orders that arrive at random, whatever they might earn: Poisson flow whose rates depend on the distance only.

    limit orders to buy, one unit at i ticks below the best ask:     rate  lambda(i)
    market orders to buy, one unit:                                  rate  mu
    cancellation of each resting order at i ticks from the best ask: rate  theta(i)

and the same on the other side (Cont, Stoikov and Talreja 2010, section 2). Distances are measured from the opposite
best quote, so a limit order never trades on arrival.

The flow is exact: the next candidate comes at the rate `2 mu + 2 sum lambda + L max theta`, with `L` the orders
believed to rest, and one that falls on an order which is gone, or whose own rate is lower, is no event.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .._randomness import Key, key_of, words
from ..matching import BUY, SELL, Book, Kind, LevelBook, Message
from ..matching._stages import apart
from ._pool import Drawn, Pool, pool_of

where = jnp.where
MOST_EVENTS = 2**31 - 1


@dataclass(frozen=True)
class ZeroIntelligence:
    """The rates, per unit of time and side, of orders of one unit.

    limit_rates:  `lambda(1), lambda(2), ...` by distance in ticks from the opposite best quote; none beyond the last.
    cancel_rates: `theta(1), theta(2), ...` of each order; the last one holds for all greater distances too.
    market_rate:  `mu`.
    """

    limit_rates: tuple[float, ...]
    cancel_rates: tuple[float, ...]
    market_rate: float

    def __init__(self, limit_rates: Iterable[float], cancel_rates: Iterable[float], market_rate: float) -> None:
        fields = {
            "limit_rates": tuple(map(float, limit_rates)),
            "cancel_rates": tuple(map(float, cancel_rates)),
            "market_rate": float(market_rate),
        }
        for name, value in fields.items():
            each = value if isinstance(value, tuple) else (value,)
            if not each or not all(math.isfinite(rate) and rate >= 0 for rate in each):
                raise ValueError(
                    f"{name} must be finite and not negative, got {value}; name one rate or more, per unit of time"
                )
            object.__setattr__(self, name, value)
        if not sum(self.limit_rates) + self.market_rate > 0:
            raise ValueError("limit_rates and market_rate are all zero; with no orders there is no flow")

    @classmethod
    def cont_stoikov_talreja(cls) -> ZeroIntelligence:
        """Sky Perfect Communications, Tokyo, per second (Cont, Stoikov and Talreja 2010, table 2)."""
        return cls((1.85, 1.51, 1.09, 0.88, 0.77), (0.71, 0.81, 0.68, 0.56, 0.47), 0.94)

    def flow(
        self,
        book: Book | LevelBook,
        *,
        seed: int,
        events: int = MOST_EVENTS,
        horizon: float = math.inf,
        capacity: int | None = None,
        first: int | jax.Array = 0,
    ) -> ZeroIntelligenceFlow:
        """A source for `drive`, one stream per book, for what rests in `book` and what will.

        seed, first: book `k`'s numbers depend on (seed, first + k, its own candidates so far) and on nothing else.
        events:      candidates after which it ends, events or not.
        horizon:     time at which it ends.
        capacity:    orders that it may have resting at once. In an exact book they go by the numbers 1 to `capacity`,
                     all of them by default, so a dealer in the same book needs higher ones; in a book of levels, 512.
        Raises `ValueError` where one of these is out of range.
        """
        most = book.layout.orders if isinstance(book, Book) else None
        capacity = capacity if capacity is not None else most or 512
        if capacity < 1 or (most is not None and capacity > most):
            raise ValueError(f"capacity must be at least 1 and at most the book's {most} orders, got {capacity}")
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed must lie between 0 and 2^64 - 1, got {seed}")
        if not 1 <= events <= MOST_EVENTS:
            raise ValueError(f"events must lie between 1 and {MOST_EVENTS}, got {events}")
        if not horizon > 0:
            raise ValueError(f"horizon must be positive, got {horizon}")
        lanes = jnp.asarray(first).astype(jnp.uint32) + lax.iota(jnp.uint32, book.books)
        none = jnp.zeros(book.books, jnp.int32)
        return ZeroIntelligenceFlow(
            self,
            Key(*map(jnp.asarray, key_of(seed))),
            lanes,
            none,
            none.astype(jnp.float32),
            none.astype(jnp.float32),
            none,
            pool_of(book, capacity),
            jnp.asarray(events, jnp.int32),
            jnp.asarray(horizon, jnp.float32),
        )


class ZeroIntelligenceFlow(eqx.Module):
    """Where each book's stream is. Arrays are (books,).

    candidates: drawn so far, events or not.
    time:       of the last one; `short` is what its single precision left out, so that a long day adds up.
    unplaced:   limit orders that found no room in the pool: a run with any has another law and is not to be trusted.
    """

    rates: ZeroIntelligence = eqx.field(static=True)
    key: Key
    lanes: jax.Array
    candidates: jax.Array
    time: jax.Array
    short: jax.Array
    unplaced: jax.Array
    pool: Pool
    events: jax.Array
    horizon: jax.Array

    @property
    def more(self) -> jax.Array:
        return (self.candidates < self.events) & (self.time < self.horizon)

    def take(self, book: Book | LevelBook, ready: jax.Array) -> tuple[Message, jax.Array, ZeroIntelligenceFlow]:
        """The next candidate as a message; it arrives where the book is ready and the candidate an event."""
        always = book.bid[0] >= -1
        turn = ready & self.more
        drawn_words = apart(always, lambda: _words(self.key, self.lanes, self.candidates))
        chance = apart(always, lambda: _chance(self.rates, drawn_words, self.pool.held))
        drawn = apart(always, lambda: self.pool.draw(book, chance.index))
        free = self.pool.free_number() if isinstance(book, Book) else chance.strike
        deed = apart(always, lambda: _deed(self.rates, book, self.pool, chance, drawn, free, turn))
        time, short = apart(always, lambda: _later(self.time, self.short, chance.wait, turn))
        # What would come after the horizon does not come.
        within = time < self.horizon
        flow = ZeroIntelligenceFlow(
            self.rates,
            self.key,
            self.lanes,
            self.candidates + turn.astype(jnp.int32),
            time,
            short,
            self.unplaced + (deed.unplaced & within).astype(jnp.int32),
            self.pool.after(drawn, deed.drop & within, deed.add & within, deed.tick),
            self.events,
            self.horizon,
        )
        return deed.message, deed.arrives & within, flow


class _Chance(NamedTuple):
    """What was drawn for each book; (books,)."""

    wait: jax.Array
    market: jax.Array
    limit: jax.Array
    side: jax.Array
    distance: jax.Array
    index: jax.Array  # in the pool, where neither
    accept: jax.Array
    strike: jax.Array  # 0..65535


def _words(key: Key, lanes: jax.Array, candidates: jax.Array) -> tuple[jax.Array, ...]:
    """The random bits of a candidate: when it comes, which it is, whether it is an event, and where it strikes."""
    counter = candidates.astype(jnp.uint32) * np.uint32(2)
    return *words(key, lanes, counter), *words(key, lanes, counter + np.uint32(1))


def _chance(rates: ZeroIntelligence, drawn: tuple[jax.Array, ...], held: jax.Array) -> _Chance:
    when, which, accept, strike = drawn
    up_to = np.cumsum(rates.limit_rates)
    limits, markets, most = float(up_to[-1]), rates.market_rate, max(rates.cancel_rates)
    total = held.astype(jnp.float32) * most + 2 * (markets + limits)
    x = _uniform(which) * total
    market, limit = x < 2 * markets, (x >= 2 * markets) & (x < 2 * (markets + limits))
    place = where(market, x, x - 2 * markets)
    half = where(market, markets, limits)
    buys = place < half
    place = where(buys, place, place - half)
    distance = sum(((place >= float(end)).astype(jnp.int32) for end in up_to[:-1]), jnp.ones_like(held))
    index = ((x - 2 * (markets + limits)) * (1 / most if most else 0.0)).astype(jnp.int32)
    wait = -jnp.log(_uniform(when)) / total
    side = where(buys, BUY, SELL)
    return _Chance(wait, market, limit, side, distance, index, _uniform(accept), _low_bits(strike))


class _Deed(NamedTuple):
    message: Message
    arrives: jax.Array
    drop: jax.Array
    add: jax.Array
    tick: jax.Array
    unplaced: jax.Array


def _deed(
    rates: ZeroIntelligence,
    book: Book | LevelBook,
    pool: Pool,
    chance: _Chance,
    drawn: Drawn,
    free: jax.Array,
    turn: jax.Array,
) -> _Deed:
    """The message that the draw comes to, and what it does to the pool."""
    exact = isinstance(book, Book)
    ticks = book.layout.ticks if isinstance(book, Book) else book.ticks
    bid, ask = (book.bid, book.ask) if isinstance(book, Book) else (book.first_bid, book.first_ask)
    tick = where(chance.side > 0, ask - chance.distance, bid + chance.distance)
    fits = chance.limit & (tick >= 0) & (tick < ticks)
    tick = jnp.clip(tick, 0, ticks - 1)
    limit = fits & ~pool.full

    picks = ~chance.market & ~chance.limit & (pool.held > 0)
    is_bid = drawn.tick <= book.bid
    away = where(is_bid, ask - drawn.tick, drawn.tick - bid)
    most = max(rates.cancel_rates) or 1.0
    share = sum(
        (where(away > i, (after - before) / most, 0.0) for i, (before, after) in _steps(rates.cancel_rates)),
        jnp.full(book.books, rates.cancel_rates[0] / most, jnp.float32),
    )
    cancel = picks & (chance.accept < share * drawn.alive)
    gone = picks & (chance.accept >= drawn.alive)

    kind = where(chance.market, int(Kind.MARKET), where(cancel, int(Kind.CANCEL), int(Kind.LIMIT)))
    side = where(cancel, where(is_bid, BUY, SELL), chance.side)
    price = where(cancel, drawn.tick, tick) + book.origin
    order = where(cancel, drawn.entry, where(limit, free, 0)) if exact else chance.strike
    none = jnp.zeros_like(kind)
    return _Deed(
        Message(kind, side, none + 1, price, order, none),
        turn & (chance.market | limit | cancel),
        turn & (cancel | gone),
        turn & limit,
        tick,
        turn & fits & pool.full,
    )


def _steps(rates: tuple[float, ...]) -> Iterable[tuple[int, tuple[float, float]]]:
    """Where the rate changes: (last distance of the one rate, (it, the next))."""
    return enumerate(pairwise(rates), start=1)


def _later(time: jax.Array, short: jax.Array, wait: jax.Array, turn: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Kahan's sum: the time, and what has been added to it too much."""
    step = wait - short
    later = time + step
    return where(turn, later, time), where(turn, (later - time) - step, short)


def _uniform(word: jax.Array) -> jax.Array:
    """Strictly between 0 and 1 in single precision, which holds 23 bits and the half exactly."""
    return ((word >> np.uint32(9)).astype(jnp.float32) + 0.5) * 2.0**-23


def _low_bits(word: jax.Array) -> jax.Array:
    return (word & np.uint32(0xFFFF)).astype(jnp.int32)
