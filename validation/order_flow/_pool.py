"""The orders that a flow has sent and that may still rest, so that one of them can be drawn evenly and cancelled.

A trade takes an order out of the book, and nobody tells the flow. So the pool holds what the flow *believes* to rest,
and an entry that turns out to be gone is dropped when it is drawn. An entry is the order's number in an exact book, its
tick in a book of levels: there the orders at a tick are alike, and of `n` entries at a tick where `v` orders are left
a drawn one is among the living with probability `v / n`. Drawing, adding and dropping take a fixed number of reads and
writes, whatever the size.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from ..matching import Book, LevelBook
from ..matching._layout import PLACE, SIZE, read, read_row, write
from ..matching._stages import apart

Books = Book | LevelBook


class Drawn(NamedTuple):
    """One entry of each book's pool; (books,)."""

    index: jax.Array
    entry: jax.Array
    tick: jax.Array
    alive: jax.Array  # probability that the order still rests, float32
    entries_there: jax.Array  # at its tick, itself included; in a book of levels


class Pool(eqx.Module):
    """Pools of at most `capacity` orders, one per book.

    words:    per book its entries, one word to write to in vain, then in a book of levels the entries per tick.
              Of an exact book they are a permutation of the flow's numbers: those beyond `held` are free.
    held:     entries in use; (books,).
    """

    words: jax.Array
    held: jax.Array
    capacity: int = eqx.field(static=True)
    ticks: int = eqx.field(static=True)

    @property
    def stride(self) -> int:
        return self.capacity + 1 + self.ticks

    @property
    def base(self) -> jax.Array:
        return lax.iota(jnp.int32, self.held.shape[0]) * self.stride

    @property
    def full(self) -> jax.Array:
        return self.held >= self.capacity

    def free_number(self) -> jax.Array:
        """The number for a new order of an exact book; (books,)."""
        return read(self.words, self.base + self.held)

    def draw(self, book: Books, index: jax.Array) -> Drawn:
        """The entry at `index`, 0 to `held - 1`, and where its order stands; any entry if there is none."""
        index = jnp.clip(index, 0, jnp.maximum(self.held - 1, 0))
        entry = read(self.words, self.base + index)
        books = lax.iota(jnp.int32, book.books)
        if isinstance(book, Book):
            nodes = book.layout.words // 4
            node = read_row(book.words, books * nodes + entry, 4)
            alive = (node[SIZE] > 0).astype(jnp.float32)
            return Drawn(index, entry, node[PLACE] & 0xFFFF, alive, jnp.ones_like(entry))
        there = read(self.words, self.base + self.capacity + 1 + entry)
        resting = read(book.words, books * book.stride + entry)
        alive = resting.astype(jnp.float32) / jnp.maximum(there, 1).astype(jnp.float32)
        return Drawn(index, entry, entry, jnp.minimum(alive, 1.0), there)

    def after(self, drawn: Drawn, drop: jax.Array, add: jax.Array, tick: jax.Array) -> Pool:
        """The pool without the drawn entry where `drop`, with an order at `tick` where `add`; never both."""
        base, held = self.base, self.held
        always = held[0] >= 0
        more = add.astype(jnp.int32) - drop.astype(jnp.int32)

        def places() -> tuple[jax.Array, ...]:
            hole = base + jnp.where(drop, drawn.index, self.capacity)
            last = base + jnp.where(add, held, jnp.maximum(held - 1, 0))
            return hole, last, base + self.capacity + 1 + jnp.where(add, tick, drawn.tick)

        hole, last, place = apart(always, places)
        at_last = apart(always, lambda: read(self.words, last))
        if self.ticks == 0:
            entries = (hole, at_last), (last, jnp.where(drop, drawn.entry, at_last))
        else:
            there = apart(always, lambda: read(self.words, place) + more)
            entries = (hole, at_last), (last, jnp.where(add, tick, at_last)), (place, there)
        return Pool(write(self.words, *entries), held + more, self.capacity, self.ticks)


def pool_of(book: Books, capacity: int) -> Pool:
    """What rests in the book already: under the numbers 1 to `capacity`, or at any tick of a book of levels."""
    if isinstance(book, Book):
        rests = book.resting().size[:, 1 : 1 + capacity] > 0
        numbers = 1 + jnp.argsort(~rests, axis=1, stable=True).astype(jnp.int32)
        words = jnp.pad(numbers, ((0, 0), (0, 1)), constant_values=1)  # the last is read when the pool is full
        return Pool(words.reshape(-1), jnp.sum(rests, axis=1, dtype=jnp.int32), capacity, 0)
    there = jnp.abs(book.depth).astype(jnp.int32)
    up_to = jnp.cumsum(there, axis=1, dtype=jnp.int32)
    rank = jnp.arange(capacity + 1, dtype=jnp.int32)
    ticks = jax.vmap(lambda ends: jnp.searchsorted(ends, rank, side="right"))(up_to).astype(jnp.int32)
    words = jnp.concatenate([jnp.minimum(ticks, book.ticks - 1), there], axis=1)
    return Pool(words.reshape(-1), up_to[:, -1], capacity, book.ticks)
