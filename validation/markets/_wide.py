"""Whole numbers of 47 bits and a sign, in two words: sums of money outgrow 32 bits, and would wrap without a sound."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

BITS = 16
LOW = 2**BITS - 1
MOST = 2 ** (31 + BITS)
"""No sum may reach it; `check_capacity` sees to that before a run."""


class Wide(eqx.Module):
    """The number `high 2^16 + low`. Carried, `low` is within 0..2^16-1; what is added up in it may exceed that."""

    high: Any
    low: Any

    def __getitem__(self, at: Any) -> Wide:
        return Wide(self.high[at], self.low[at])

    def __add__(self, other: Wide) -> Wide:
        return Wide(self.high + other.high, self.low + other.low).carried()

    def __sub__(self, other: Wide) -> Wide:
        return Wide(self.high - other.high, self.low - other.low).carried()

    def __floordiv__(self, by: jax.Array) -> jax.Array:
        """Rounded down, by a positive number, where the quotient fits one word: on paper, a bit at a time."""
        whole, by_bits = self.high // by, by.astype(jnp.uint32)

        def next_bit(k: jax.Array, done: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            quotient, rest = done
            rest = 2 * rest + ((self.low >> (BITS - 1 - k)) & 1).astype(jnp.uint32)
            fits = rest >= by_bits
            return 2 * quotient + fits.astype(jnp.int32), jnp.where(fits, rest - by_bits, rest)

        return lax.fori_loop(0, BITS, next_bit, (whole, (self.high - whole * by).astype(jnp.uint32)))[0]

    def carried(self) -> Wide:
        """The same number in order; needed after 2^15 additions to `low` at the latest."""
        return Wide(self.high + (self.low >> BITS), self.low & LOW)

    def sum(self) -> Wide:
        """Over the last axis, of up to 2^15 carried numbers."""
        return Wide(*(word.sum(axis=-1, dtype=jnp.int32) for word in (self.high, self.low))).carried()


def wide(number: jax.Array) -> Wide:
    """A number of one word."""
    return Wide(number >> BITS, number & LOW)


def product(one: jax.Array, other: jax.Array) -> Wide:
    """Of two numbers of one word; carried, and right wherever it is below `MOST`."""
    (a, b), (c, d) = ((n >> BITS, n & LOW) for n in (one, other))
    last = b.astype(jnp.uint32) * d.astype(jnp.uint32)
    # The first terms may wrap: words add up modulo 2^32, and their sum fits.
    high = ((a * c) << BITS) + a * d + b * c + (last >> BITS).astype(jnp.int32)
    return Wide(high, (last & LOW).astype(jnp.int32))


def joined(tree: Any) -> Any:
    """A tree whose wide numbers have become NumPy's of 64 bits."""

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, Wide):
            return leaf
        return np.asarray(leaf.high, np.int64) * 2**BITS + np.asarray(leaf.low)

    return jax.tree.map(one, tree, is_leaf=lambda leaf: isinstance(leaf, Wide))
