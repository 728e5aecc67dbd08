"""The call auction: orders are collected, may cross, and trade at one price when the auction is called."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from ._admission import REFERRING, Standing, among, check
from ._clearing import allot, clearing_tick, pair
from ._layout import Array, Layout
from .fills import Fill
from .messages import FIRST_OVERFLOW, FIRST_REFUSAL, Answer, Kind, Message
from .rules import NO_RULES, BookRules

where = jnp.where

COLLECTED = (Kind.NOTHING, Kind.LIMIT, Kind.CANCEL, Kind.REPLACE, Kind.REDUCE)


class AuctionBook(eqx.Module):
    """Orders collected for an auction, by their number; (books, 1 + orders), nothing at number 0.

    size:   0 where a number is free; the other fields then mean nothing.
    side:   1 for a buyer, -1 for a seller.
    tick:   the limit, counted from `origin`.
    turn:   the lower was earlier.
    arrivals: turns given out so far; (books,), as are `origin`, `refused` and `overflowed`, see `Book`.
    """

    size: jax.Array
    side: jax.Array
    tick: jax.Array
    owner: jax.Array
    turn: jax.Array
    arrivals: jax.Array
    origin: jax.Array
    refused: jax.Array
    overflowed: jax.Array
    layout: Layout = eqx.field(static=True)

    @property
    def books(self) -> int:
        return self.size.shape[0]

    @property
    def bid(self) -> jax.Array:
        """No order meets another before the call: as far as a message is concerned, there is no bid."""
        return jnp.full_like(self.origin, -1)

    @property
    def ask(self) -> jax.Array:
        """And no ask."""
        return jnp.full_like(self.origin, self.layout.ticks)

    @property
    def demand(self) -> jax.Array:
        """What is bid at each tick; (books, ticks)."""
        return self._heaps(1)

    @property
    def supply(self) -> jax.Array:
        """What is asked at each tick; (books, ticks)."""
        return self._heaps(-1)

    def _heaps(self, side: int) -> jax.Array:
        book = jnp.arange(self.books, dtype=jnp.int32)[:, None]
        heaps = jnp.zeros((self.books, self.layout.ticks), jnp.int32)
        return heaps.at[book, self.tick].add(where(self.side == side, self.size, 0))


class Cleared(NamedTuple):
    """What an auction came to; (books,) but for `traded` and `fills`.

    price:     the price of all its trades; 0 where there is none.
    volume:    what changed hands.
    imbalance: what was bid less what was asked at that price.
    traded:    by order number, (books, 1 + orders).
    fills:     who traded with whom, (books, 2 + 2 orders): `maker` sells, `taker` buys, each in the order of its turn.
    """

    price: jax.Array
    volume: jax.Array
    imbalance: jax.Array
    traded: jax.Array
    fills: Fill


def empty_auctions(books: int, *, orders: int, ticks: int, origin: int | Array = 0) -> AuctionBook:
    """Auctions with no orders yet; the capacity as in `empty_books`."""
    if books < 1:
        raise ValueError(f"books must be at least 1, got {books}")
    layout = Layout(orders, ticks)
    each, none = jnp.zeros((books, 1 + orders), jnp.int32), jnp.zeros(books, jnp.int32)
    start = none + jnp.asarray(origin, jnp.int32)
    return AuctionBook(each, each, each, each, each, none, start, none, none, layout)


def collect(auction: AuctionBook, message: Message, rules: BookRules = NO_RULES) -> tuple[AuctionBook, jax.Array]:
    """Take up one message per book, of the kinds LIMIT, CANCEL, REPLACE and REDUCE; the answers, (books,).

    Nothing trades. A replaced order keeps its turn only if its size falls at the same price.
    """
    kind, book = message.kind, lax.iota(jnp.int32, auction.books)
    numbered = (message.order >= 1) & (message.order <= auction.layout.orders)
    at = where(numbered, message.order, 0)
    size, side, tick, owner, turn = (
        field[book, at] for field in (auction.size, auction.side, auction.tick, auction.owner, auction.turn)
    )
    refers = among(kind, REFERRING)
    new_side, new_tick = where(refers, side, message.side), message.price - auction.origin
    answer = check(auction, message, Standing(numbered, size, tick), new_side, rules)
    answer = where(among(kind, COLLECTED) & (kind >= 0), answer, int(Answer.UNKNOWN_KIND))
    accepted = (answer == int(Answer.ACCEPTED)) & (kind != int(Kind.NOTHING))

    enters = (kind == int(Kind.LIMIT)) | (kind == int(Kind.REPLACE))
    keeps_turn = ~enters | ((kind == int(Kind.REPLACE)) & (new_tick == tick) & (message.size < size))
    left = where(enters, message.size, size - where(kind == int(Kind.REDUCE), jnp.minimum(message.size, size), size))
    values = (
        (left, auction.size, size),
        (new_side, auction.side, side),
        (where(enters, new_tick, tick), auction.tick, tick),
        (where(refers, owner, message.owner), auction.owner, owner),
        (where(keeps_turn, turn, auction.arrivals), auction.turn, turn),
    )
    fields = [field.at[book, at].set(where(accepted, new, old)) for new, field, old in values]
    size, side, tick, owner, turn = fields
    moved = (accepted & ~keeps_turn).astype(jnp.int32)
    refused, overflowed = ((answer >= int(bar)).astype(jnp.int32) for bar in (FIRST_REFUSAL, FIRST_OVERFLOW))
    counts = auction.arrivals + moved, auction.origin, auction.refused + refused, auction.overflowed + overflowed
    return AuctionBook(size, side, tick, owner, turn, *counts, auction.layout), answer


def call(auction: AuctionBook, reference: jax.Array | int, rules: BookRules = NO_RULES) -> tuple[AuctionBook, Cleared]:
    """Trade what can trade at one price, and leave the rest of the orders where they are, each in its turn.

    The price is the one of most volume, min(bid at it or above, asked at it or below); then of the least imbalance;
    then the closest to `reference`, a price; then the higher. Every tick within the rules' limits is a candidate,
    whether or not anyone named it. Better prices come first, and at the margin the earlier turn does. Self-trade rules
    do not apply: nobody meets anybody in particular.
    """
    tick, volume, imbalance = clearing_tick(auction.demand, auction.supply, auction.origin, reference, rules)
    buys = allot(auction.size, auction.side == 1, auction.layout.ticks - auction.tick, auction.turn, volume)
    sells = allot(auction.size, auction.side == -1, auction.tick, auction.turn, volume)
    traded = buys.by_number + sells.by_number
    price = where(volume > 0, tick + auction.origin, 0)
    fills = pair(buys, sells, price, auction.owner)
    left = eqx.tree_at(lambda a: a.size, auction, auction.size - traded)
    return left, Cleared(price, volume, where(volume > 0, imbalance, 0), traded, fills)
