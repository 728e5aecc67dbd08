"""How one book lies in memory: a stretch of 32-bit words, alike for every book, one book after the other.

A node is four words: the next node, the one before it, a size, and a place. Node 0 is nothing, nodes 1..orders are the
orders by their number, and one more node per tick is the level: it closes the ring of its orders, in order of arrival,
and its size is their sum. So the first order of a level is the one after the level's node, a new one goes before it,
and an order leaves from anywhere by joining its two neighbours: no search, no special case for an end.

A book that is never crossed has bids or asks at a tick, not both, so one row of levels serves the two sides. After the
nodes comes one bit per tick, set where something rests, which finds the next level 32 ticks at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ._bits import TICKS_PER_WORD

Array = jax.Array | np.ndarray
"""Books that were brought to NumPy can be looked at too."""

NEXT, BEFORE, SIZE, PLACE = range(4)
"""Words of a node. The place packs the owner above 16 bits of tick."""

MOST_NODES = 2**16
MOST_OWNERS = 2**15


@dataclass(frozen=True)
class Layout:
    """The capacity of a book: `orders` that may rest at once, numbered from 1, on `ticks` prices, a multiple of 32."""

    orders: int
    ticks: int

    def __post_init__(self) -> None:
        if not 1 <= self.orders < MOST_NODES:
            raise ValueError(f"orders must lie between 1 and {MOST_NODES - 1}, got {self.orders}")
        if self.ticks % TICKS_PER_WORD or not TICKS_PER_WORD <= self.ticks <= MOST_NODES:
            raise ValueError(f"ticks must be a multiple of {TICKS_PER_WORD}, at most {MOST_NODES}, got {self.ticks}")

    @property
    def nodes(self) -> int:
        return 1 + self.orders + self.ticks

    @property
    def bits(self) -> int:
        """Where the bits of the ticks begin."""
        return 4 * self.nodes

    @property
    def words(self) -> int:
        return self.bits + -(-self.ticks // TICKS_PER_WORD // 4) * 4  # whole nodes

    @property
    def most_size(self) -> int:
        """The largest order: even a level of nothing else adds up within 32 bits."""
        return (2**31 - 1) // self.orders

    def level(self, tick: jax.Array) -> jax.Array:
        """The node of a tick."""
        return tick + (1 + self.orders)

    def empty(self) -> np.ndarray:
        """The words of a book where nothing rests."""
        nodes = np.zeros((self.nodes, 4), np.int32)
        levels = np.arange(1 + self.orders, self.nodes)
        nodes[levels, NEXT] = nodes[levels, BEFORE] = levels
        nodes[levels, PLACE] = np.arange(self.ticks)
        return np.concatenate([nodes.ravel(), np.zeros(self.words - self.bits, np.int32)])


def read(words: jax.Array, where: jax.Array) -> jax.Array:
    """Words at positions that are in bounds by construction."""
    return words.at[where].get(mode="promise_in_bounds")


def read_row(words: jax.Array, row: jax.Array, width: int) -> tuple[jax.Array, ...]:
    """The words of rows of a fixed width, such as nodes: one gather, at the cost of little more than one word's."""
    rows = read(words.reshape(-1, width), row)
    return tuple(rows[:, k] for k in range(width))


def write(words: jax.Array, *entries: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Write pairs of position and word, a few for each book, in one scatter: many small ones cost twice as much."""
    positions, values = zip(*entries, strict=True)
    return words.at[jnp.concatenate(positions)].set(jnp.concatenate(values), mode="promise_in_bounds")
