"""The books: many of them side by side, exact to the single order."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ._layout import BEFORE, NEXT, PLACE, SIZE, Array, Layout, read


class Book(eqx.Module):
    """Books of one capacity, and the best prices of each; a single book is a batch of one.

    words:      everything that rests, see `_layout`; (books * layout.words,).
    bid, ask:   the best ticks, counted from `origin`; (books,). -1 and `layout.ticks` where nothing rests.
    origin:     the price of tick 0; (books,).
    refused:    messages refused so far; (books,).
    overflowed: those among them for want of capacity: a book with any is not to be trusted; (books,).
    """

    words: jax.Array
    bid: jax.Array
    ask: jax.Array
    origin: jax.Array
    refused: jax.Array
    overflowed: jax.Array
    layout: Layout = eqx.field(static=True)

    @property
    def books(self) -> int:
        return self.bid.shape[0]

    @property
    def best_bid(self) -> Array:
        """The best bid as a price; `origin - 1` where there is none. Shape (books,)."""
        return self.origin + self.bid

    @property
    def best_ask(self) -> Array:
        """The best ask as a price; `origin + ticks` where there is none. Shape (books,)."""
        return self.origin + self.ask

    @property
    def depth(self) -> jax.Array:
        """What rests at each tick, bids positive and asks negative; (books, ticks)."""
        layout = self.layout
        nodes = self._nodes()[:, 1 + layout.orders :, SIZE]
        is_bid = jnp.arange(layout.ticks, dtype=jnp.int32)[None, :] <= self.bid[:, None]
        return jnp.where(is_bid, nodes, -nodes)

    def resting(self) -> Resting:
        """Every order by its number, in its place; of shape (books, 1 + orders), nothing at number 0."""
        layout = self.layout
        nodes = self._nodes()[:, : 1 + layout.orders]
        tick, owner = nodes[:, :, PLACE] & 0xFFFF, nodes[:, :, PLACE] >> 16
        side = jnp.where(tick <= self.bid[:, None], 1, -1)
        stands = nodes[:, :, SIZE] > 0

        def shown(field: Array) -> jax.Array:
            return jnp.where(stands, field, 0)

        return Resting(shown(nodes[:, :, SIZE]), shown(side), shown(tick + self.origin[:, None]), shown(owner))

    def quantity_ahead(self, order: Array) -> jax.Array:
        """What stands before an order at its own price; -1 where nothing rests under that number. Shape (books,)."""
        layout, words, order = self.layout, jnp.asarray(self.words), jnp.asarray(order)
        base = jnp.arange(self.books, dtype=jnp.int32) * layout.words
        known = (order >= 1) & (order <= layout.orders)
        own = jnp.where(known, order, 0)
        known &= read(words, base + 4 * own + SIZE) > 0

        def before(node: jax.Array) -> jax.Array:
            return jnp.where(node > layout.orders, 0, read(words, base + 4 * node + BEFORE))

        def on(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            node, ahead = carry
            # Node 0 has size 0 and precedes itself: books that have arrived add nothing while others walk.
            node = jnp.where(node > layout.orders, 0, node)
            return before(node), ahead + read(words, base + 4 * node + SIZE)

        def walking(carry: tuple[jax.Array, jax.Array]) -> jax.Array:
            return jnp.any((carry[0] > 0) & (carry[0] <= layout.orders))

        start = jnp.where(known, before(own), 0)
        ahead = lax.while_loop(walking, on, (start, jnp.zeros_like(own)))[1]
        return jnp.where(known, ahead, -1)

    def queue(self, price: int, book: int = 0) -> list[int]:
        """The numbers of the orders at a price of one book, first to trade first. Not for use inside `jit`."""
        layout = self.layout
        tick = int(price) - int(self.origin[book])
        if not 0 <= tick < layout.ticks:
            raise ValueError(
                f"price must be one of the book's {layout.ticks} ticks from {self.origin[book]}, got {price}"
            )
        nodes = np.asarray(self._nodes()[book])
        level = 1 + layout.orders + tick
        order, numbers = int(nodes[level, NEXT]), []
        while order != level:
            numbers.append(order)
            order = int(nodes[order, NEXT])
        return numbers

    def _nodes(self) -> Array:
        words = self.words.reshape(self.books, self.layout.words)
        return words[:, : self.layout.bits].reshape(self.books, self.layout.nodes, 4)


class Resting(NamedTuple):
    """Orders by number, (books, 1 + orders): size 0 where a number is free."""

    size: jax.Array
    side: jax.Array
    price: jax.Array
    owner: jax.Array


def empty_books(books: int, *, orders: int, ticks: int, origin: int | jax.Array | np.ndarray = 0) -> Book:
    """Books with nothing in them: room for `orders` at once on `ticks` prices, the lowest of which is `origin`.

    Raises `ValueError` for a capacity that is not one; see `Layout`.
    """
    if books < 1:
        raise ValueError(f"books must be at least 1, got {books}")
    layout = Layout(orders, ticks)
    none = jnp.zeros(books, jnp.int32)
    return Book(
        words=jnp.tile(jnp.asarray(layout.empty()), books),
        bid=none - 1,
        ask=none + ticks,
        origin=none + jnp.asarray(origin, jnp.int32),
        refused=none,
        overflowed=none,
        layout=layout,
    )
