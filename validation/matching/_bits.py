"""One bit per tick, set where something rests, and the best prices found by it 32 ticks at a time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from ._stages import apart

where = jnp.where

TICKS_PER_WORD = 32


def word_of(tick: jax.Array) -> jax.Array:
    """Which word holds the bit of a tick."""
    return tick >> 5


def marked(bits: jax.Array, tick: jax.Array, rests: jax.Array) -> jax.Array:
    """The word with the bit of a tick set or cleared."""
    bit = jnp.left_shift(jnp.ones_like(tick), tick & 31)
    return where(rests, bits | bit, bits & ~bit)


def best_prices(
    always: jax.Array,
    bid: jax.Array,
    ask: jax.Array,
    seeking: jax.Array,
    tick: jax.Array,
    bits: jax.Array,
    emptied: jax.Array,
    adds: jax.Array,
    side: jax.Array,
    ticks: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The best ticks after something was added at `tick`, or `tick` was emptied; `bits` is its word afterwards.

    Where the word has no further tick, the best is set beyond it and `seeking` says which side is still to be found:
    1 for the ask, -1 for the bid, else 0. The next call is then to be with that tick.
    """

    def look() -> tuple[jax.Array, jax.Array]:
        direction = where(seeking != 0, seeking, where(tick == ask, 1, where(tick == bid, -1, 0)))
        direction = where(emptied | (seeking != 0), direction, 0)
        all_set = jnp.full_like(bits, -1)
        up = bits & jnp.left_shift(all_set, tick & 31)
        down = bits & lax.shift_right_logical(all_set, 31 - (tick & 31))
        # The lowest set bit upward, the highest downward; 32 leading zeros where there is none.
        upward = direction > 0
        zeros = lax.clz(where(upward, up & -up, down))
        found = (tick & ~31) + where(upward & (zeros == 32), 32, 31 - zeros)
        return direction, found

    direction, found = apart(always, look)
    new_ask = where(direction > 0, found, where(adds & (side < 0), jnp.minimum(ask, tick), ask))
    new_bid = where(direction < 0, found, where(adds & (side > 0), jnp.maximum(bid, tick), bid))
    missed = (found >> 5 != tick >> 5) & (found >= 0) & (found < ticks)
    return new_bid, new_ask, where(missed, direction, 0)
