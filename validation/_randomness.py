"""Random numbers that belong to a path: the draw depends on (seed, stream, path, counter) and on nothing else.

Whatever the batch, thread or device that computes a path, it sees the same numbers. The generator is Threefry-2x32
with 20 rounds (Salmon, Moraes, Dror and Shaw 2011), the one behind `jax.random`, written out so that XLA can vectorise
the rounds; the tests compare it with JAX's own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


class Key(NamedTuple):
    """The 64 bits that a run's numbers depend on."""

    high: Any
    low: Any


def key_of(seed: int) -> Key:
    """The key of a seed between 0 and 2^64 - 1."""
    return Key(np.uint32(seed >> 32), np.uint32(seed & 0xFFFFFFFF))


def stream(key: Key, number: int) -> Key:
    """A key for another purpose, independent of `key` and of its other streams."""
    zero = jnp.zeros((), jnp.uint32)
    return Key(*words(key, zero + np.uint32(0xFFFFFFFF), zero + np.uint32(number)))


def words(key: Key, path: Any, counter: Any) -> tuple[Any, Any]:
    """Two independent words of 32 random bits for each (path, counter), both uint32 of shapes that broadcast."""
    keys = (key.high, key.low, key.high ^ key.low ^ _PARITY)
    x, y = path + keys[0], counter + keys[1]
    for block in range(5):
        for rotation in _ROTATIONS[block % 2]:
            x = x + y
            y = ((y << np.uint32(rotation)) | (y >> np.uint32(32 - rotation))) ^ x
        x = x + keys[(block + 1) % 3]
        y = y + keys[(block + 2) % 3] + np.uint32(block + 1)
    return x, y


def uniform(word: Any) -> Any:
    """`(word + 1/2) / 2^32`, strictly between 0 and 1, float64."""
    return (word.astype(jnp.float64) + 0.5) * 2.0**-32


def normal(word: Any) -> Any:
    """A standard normal draw from 32 random bits, float64; cut off at 6.34, which costs the variance 3e-8 of itself."""
    return np.sqrt(2.0) * lax.erf_inv(2 * uniform(word) - 1)
