"""The matching core as a candidate for outside checks: recorded messages in, books out, nothing else in between.

Each function takes messages of shape (books, messages, 8), `[type, side, size, price, order, ...]` with type 1 for a
limit and 3 for a delete, and returns `(prepare, run)`: `run(prepare())` is what is timed. It gives what rests at each
of 1024 ticks, bids and asks, each (books, 1024). They go through the engine that the markets use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from twosided.validation.matching import BookRules, Kind, empty_books, empty_level_books, in_parts, replay, side_by_side

TICKS = 1024
NO_RULES = BookRules()


class Checksum(eqx.Module):
    """A tape that folds every fill into one number, `c <- 31 c + 7 maker + size`, wrapping at 32 bits."""

    value: jax.Array

    @property
    def room(self) -> jax.Array:
        return jnp.ones_like(self.value)

    def record(self, fill: Any) -> Checksum:
        return Checksum(jnp.where(fill.size > 0, self.value * 31 + fill.maker * 7 + fill.size, self.value))


class Nothing(eqx.Module):
    """A tape for who only wants the books."""

    room: jax.Array

    def record(self, fill: Any) -> Nothing:
        return self


def fifo(messages: np.ndarray) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """The exact book; `run` returns bids, asks and the checksum of the fills in their order."""
    rows = _rows(messages)
    first, ticks = _grid(rows)
    orders = int(rows[..., 4].max())

    @jax.jit
    def run_part(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        books = rows.shape[0]
        start = empty_books(books, orders=orders, ticks=ticks, origin=first)
        book, tape = replay(start, rows, Checksum(jnp.zeros(books, jnp.int32)), NO_RULES)
        return book.depth, tape.value

    def run(parts: Any) -> tuple[np.ndarray, ...]:
        depth, checksum = side_by_side(run_part, parts)
        return *_on_all_ticks(depth, first), checksum

    return lambda: in_parts(len(rows), rows), run


def levels(messages: np.ndarray) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """The book of levels, with room for the dealer's own orders; `run` returns bids and asks."""
    rows = _rows(messages)
    first, ticks = _grid(rows)

    @jax.jit
    def run_part(rows: jax.Array) -> Any:
        books = rows.shape[0]
        start = empty_level_books(books, ticks=ticks, origin=first)
        book, _ = replay(start, rows, Nothing(jnp.ones(books, jnp.int32)), NO_RULES)
        return book.depth

    return lambda: in_parts(len(rows), rows), lambda parts: _on_all_ticks(side_by_side(run_part, parts), first)


def _rows(messages: np.ndarray) -> np.ndarray:
    """The messages as the engine takes them; an order priced far through the book, as it were at any price, is one."""
    kind, side, size, price, order = (messages[..., k] for k in range(5))
    anywhere = (kind == 1) & ((price < 0) | (price >= TICKS) | ((side < 0) & (price == 0)))
    kind = np.where(anywhere, int(Kind.MARKET), np.where(kind == 1, int(Kind.LIMIT), int(Kind.CANCEL)))
    return np.stack((kind, side, size, price, order, np.zeros_like(kind)), axis=-1).astype(np.int32)


def _grid(rows: np.ndarray) -> tuple[int, int]:
    """The lowest price at which anything may rest, and how many ticks it takes from there, in whole words of 32."""
    prices = rows[..., 3][rows[..., 0] == int(Kind.LIMIT)]
    first = int(prices.min())
    return first, -(-(int(prices.max()) + 1 - first) // 32) * 32


def _on_all_ticks(depth: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Bids and asks at every tick, from the depth on those from `first` on.

    Tick after tick in memory, so that what no book reaches is never touched: page by page zeros cost time too.
    """
    here = slice(first, min(first + depth.shape[1], TICKS))
    bids, asks = (np.zeros((TICKS, len(depth)), np.int32) for _ in range(2))
    at_hand = depth[:, : here.stop - first].T
    np.maximum(at_hand, 0, out=bids[here])
    np.maximum(-at_hand, 0, out=asks[here])
    return bids.T, asks.T
