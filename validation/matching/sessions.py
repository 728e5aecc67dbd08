"""What happens between the phases of a day: expiry, orders taken over, and trades agreed outside any book."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from ._admission import against_rules, first
from ._layout import BEFORE
from .auction import AuctionBook
from .book import Book, empty_books
from .engine import replay
from .fills import Fill, no_fills
from .levels import LevelBook
from .messages import Answer, Kind, Message
from .rules import NO_RULES, BookRules

where = jnp.where

BookT = TypeVar("BookT", Book, LevelBook, AuctionBook)


def expire(book: BookT) -> BookT:
    """Cancel everything that rests, as at the end of a period; what was counted stays counted."""
    if isinstance(book, AuctionBook):
        return eqx.tree_at(lambda b: b.size, book, jnp.zeros_like(book.size))
    bid, ask = jnp.full_like(book.bid, -1), jnp.full_like(book.ask, _ticks(book))
    if isinstance(book, LevelBook):
        none = jax.tree.map(jnp.zeros_like, (book.words, book.own_bid, book.own_ask))
        return eqx.tree_at(lambda b: (b.words, b.own_bid, b.own_ask, b.bid, b.ask), book, (*none, bid, ask))
    words = jnp.tile(jnp.asarray(book.layout.empty()), book.books)
    return eqx.tree_at(lambda b: (b.words, b.bid, b.ask), book, (words, bid, ask))


def _ticks(book: Book | LevelBook) -> int:
    return book.ticks if isinstance(book, LevelBook) else book.layout.ticks


def to_auction(book: Book) -> AuctionBook:
    """An auction that takes over what rests in a book, each order in its turn."""
    resting, turn = book.resting(), _turns(book)
    tick = where(resting.size > 0, resting.price - book.origin[:, None], 0)
    arrivals = jnp.full_like(book.origin, book.layout.orders)
    counts = arrivals, book.origin, book.refused, book.overflowed
    return AuctionBook(resting.size, resting.side, tick, resting.owner, turn, *counts, book.layout)


def _turns(book: Book) -> jax.Array:
    """How many orders of its level stand before each; (books, 1 + orders).

    By doubling: each order looks past the one before it, then past that one's two, four, and so on.
    """
    layout, nodes = book.layout, book._nodes()
    at = jnp.arange(layout.nodes, dtype=jnp.int32)[None, :]
    is_order = (at >= 1) & (at <= layout.orders) & (nodes[:, :, 2] > 0)
    before = where(is_order, nodes[:, :, BEFORE], at)
    count = is_order.astype(jnp.int32)
    for _ in range(math.ceil(math.log2(layout.orders + 1))):
        count = count + jnp.take_along_axis(count, before, axis=1)
        before = jnp.take_along_axis(before, before, axis=1)
    return jnp.maximum(count[:, : 1 + layout.orders] - 1, 0)


def to_book(auction: AuctionBook, block: int = 128) -> Book:
    """A book of what an auction has left, each order in its turn. What crosses would trade: call the auction first."""
    layout = auction.layout
    numbers = jnp.broadcast_to(jnp.arange(1 + layout.orders, dtype=jnp.int32), auction.size.shape)
    kind = where(auction.size > 0, int(Kind.LIMIT), int(Kind.NOTHING))
    price = auction.tick + auction.origin[:, None]
    fields = lax.sort((auction.turn, kind, auction.side, auction.size, price, numbers, auction.owner), dimension=1)
    start = empty_books(auction.books, orders=layout.orders, ticks=layout.ticks, origin=auction.origin)
    book, _ = replay(start, Message(*fields[1:]).rows(), no_fills(auction.books, layout.orders), block=block)
    counts = auction.refused + book.refused, auction.overflowed + book.overflowed
    return eqx.tree_at(lambda b: (b.refused, b.overflowed), book, counts)


class Deal(NamedTuple):
    """A trade that two parties have agreed on, by their owner numbers; (books,)."""

    buyer: jax.Array
    seller: jax.Array
    size: jax.Array
    price: jax.Array


def negotiate(deal: Deal, rules: BookRules = NO_RULES) -> tuple[Fill, jax.Array]:
    """Register one agreed trade per book if the rules allow it (size 0: none): its fill, size 0 if refused; the answer.

    A deal meets no resting order and has no number: `maker` and `taker` of the fill are 0. The seller is the maker.
    """
    something, none = deal.size != 0, jnp.zeros_like(deal.size)
    message = Message(none + int(Kind.LIMIT), none - 1, deal.size, deal.price, none, deal.seller)
    answer = first(
        [
            (something & (deal.size < 0), Answer.BAD_SIZE),
            (something & (deal.buyer == deal.seller), Answer.SELF_TRADE),
            *against_rules(rules, message, none - 1, something, something),
        ]
    )
    size = where(answer == int(Answer.ACCEPTED), deal.size, 0)
    return Fill(none, none, deal.price, size, none + 1, deal.seller, deal.buyer), answer
