"""Where trades are written down: a buffer of a fixed size, which is never exceeded and never silently cut."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from ._layout import write
from ._micro import Fill


@runtime_checkable
class Tape(Protocol):
    """Whatever follows the trades of many books, one micro-step at a time."""

    @property
    def room(self) -> jax.Array:
        """How many more fills each book may make, (books,); an order that would make one more is stopped."""
        ...

    def record(self, fill: Fill) -> Any:
        """The tape with one more micro-step, in which a book had one fill or none (size 0)."""
        ...


class Fills(eqx.Module):
    """The trades of each book in order, as many as `capacity`."""

    words: jax.Array
    count: jax.Array
    capacity: int = eqx.field(static=True)

    @property
    def room(self) -> jax.Array:
        return self.capacity - self.count

    def record(self, fill: Fill) -> Fills:
        # Every book writes at its next row, trade or no trade: the row counts only once the count passes it, and
        # there is one more than the capacity.
        width = len(Fill._fields)
        books = self.count.shape[0]
        row = (lax.iota(jnp.int32, books) * (self.capacity + 1) + self.count) * width
        words = write(self.words, *((row + k, field) for k, field in enumerate(fill)))
        return Fills(words, self.count + (fill.size > 0).astype(jnp.int32), self.capacity)

    def table(self) -> Fill:
        """The fills as arrays of shape (books, capacity), zero beyond the count."""
        rows = self.words.reshape(self.count.shape[0], self.capacity + 1, len(Fill._fields))[:, : self.capacity]
        made = jnp.arange(self.capacity, dtype=jnp.int32)[None, :] < self.count[:, None]
        return Fill(*(jnp.where(made, rows[:, :, k], 0) for k in range(len(Fill._fields))))


def no_fills(books: int, capacity: int) -> Fills:
    """An empty buffer for `capacity` fills per book."""
    if capacity < 1:
        raise ValueError(f"capacity must be at least 1 fill, got {capacity}")
    words = jnp.zeros(books * (capacity + 1) * len(Fill._fields), jnp.int32)
    return Fills(words, jnp.zeros(books, jnp.int32), capacity)
