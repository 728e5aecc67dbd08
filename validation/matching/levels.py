"""The same book with the orders of a price added up: what rests per tick, and how much of it stands before the dealer.

It knows no order numbers. What the dealer needs of a queue is the size ahead of its own order, which falls when that
trades and when it is cancelled; that has the same law as the exact book as long as a cancelled unit is drawn evenly
from its level. It is faster, and takes a tenth of the memory. `step`, `replay` and `drive` take either kind of book.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from ._bits import TICKS_PER_WORD
from ._layout import Array


class Own(NamedTuple):
    """The dealer's order on one side; (books,). `left` is 0 where it has none, the others then mean nothing."""

    tick: jax.Array
    left: jax.Array
    ahead: jax.Array


class LevelBook(eqx.Module):
    """Books of one number of ticks. Arrays are (books,) except for `words`.

    Kinds of message: LIMIT, MARKET, IMMEDIATE and POST_ONLY as in the exact book. CANCEL takes `size` off the side and
    price it names (all there is, if less); its `order`, 0..65535, says where it strikes: in front of the dealer's
    order where `order/65536` is below the share of the level that stands there, so draw it evenly.
    The dealer is owner 1 and sends two kinds. POST_ONLY puts its one order on that side: a former one goes, and keeps
    its turn if the price is the same and the size no larger. CANCEL takes the order on that side away.
    A fill's maker is 1 for the dealer and 0 for anyone else, and the others at a price count as one order.

    words:      size per tick, without the dealer's, then one bit per tick where there is any.
    bid, ask:   the others' best ticks, -1 and `ticks` where there is none.
    own_bid, own_ask: the dealer's orders.
    origin, refused, overflowed: as in `Book`.
    """

    words: jax.Array
    bid: jax.Array
    ask: jax.Array
    own_bid: Own
    own_ask: Own
    origin: jax.Array
    refused: jax.Array
    overflowed: jax.Array
    ticks: int = eqx.field(static=True)

    @property
    def books(self) -> int:
        return self.bid.shape[0]

    @property
    def stride(self) -> int:
        """Words per book."""
        return self.ticks + self.ticks // TICKS_PER_WORD

    @property
    def first_bid(self) -> jax.Array:
        """The best tick to sell at, the dealer's included."""
        return jnp.where(self.own_bid.left > 0, jnp.maximum(self.bid, self.own_bid.tick), self.bid)

    @property
    def first_ask(self) -> jax.Array:
        """The best tick to buy at, the dealer's included."""
        return jnp.where(self.own_ask.left > 0, jnp.minimum(self.ask, self.own_ask.tick), self.ask)

    @property
    def best_bid(self) -> jax.Array:
        """The best bid as a price, the dealer's included; `origin - 1` where there is none."""
        return self.origin + self.first_bid

    @property
    def best_ask(self) -> jax.Array:
        """The best ask as a price, the dealer's included; `origin + ticks` where there is none."""
        return self.origin + self.first_ask

    @property
    def depth(self) -> Array:
        """What rests at each tick, without the dealer's, bids positive and asks negative; (books, ticks)."""
        volume = self.words.reshape(self.books, self.stride)[:, : self.ticks]
        is_bid = jnp.arange(self.ticks, dtype=jnp.int32)[None, :] <= self.bid[:, None]
        return jnp.where(is_bid, volume, -volume)


def empty_level_books(books: int, *, ticks: int, origin: int | Array = 0) -> LevelBook:
    """Books with nothing in them on `ticks` prices, a multiple of 32, the lowest of which is `origin`."""
    if books < 1:
        raise ValueError(f"books must be at least 1, got {books}")
    if ticks % TICKS_PER_WORD or ticks < TICKS_PER_WORD:
        raise ValueError(f"ticks must be a positive multiple of {TICKS_PER_WORD}, got {ticks}")
    none = jnp.zeros(books, jnp.int32)
    return LevelBook(
        words=jnp.zeros(books * (ticks + ticks // TICKS_PER_WORD), jnp.int32),
        bid=none - 1,
        ask=none + ticks,
        own_bid=Own(none, none, none),
        own_ask=Own(none, none, none),
        origin=none + jnp.asarray(origin, jnp.int32),
        refused=none,
        overflowed=none,
        ticks=ticks,
    )
