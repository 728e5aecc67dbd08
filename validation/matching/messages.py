"""What may be sent to a book, and what is answered.

All numbers are 32-bit integers: prices in ticks, sizes in units. A side is +1 for a buyer and -1 for a seller. An order
goes by a number that its sender chooses among those that are free, from 1 to the book's capacity; an order that never
rests may have any. Owner 0 is nobody in particular.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...models._precision import is_traced

BUY, SELL = 1, -1


class Kind(IntEnum):
    """What a message asks for."""

    NOTHING = 0
    LIMIT = 1  # trade up to the price, let the rest stand
    MARKET = 2  # trade at any price, drop the rest
    CANCEL = 3  # take the order out
    REPLACE = 4  # a new size and price for the order: it keeps its turn only if the size falls at the same price
    IMMEDIATE = 5  # immediate or cancel: trade up to the price, drop the rest
    ALL_OR_NOTHING = 6  # fill or kill: trade the whole size at once up to the price, or nothing
    POST_ONLY = 7  # stand in the book, or be refused if it would trade
    REDUCE = 8  # take so much off the order, which keeps its turn; all of it if there is no more


class Answer(IntEnum):
    """What became of a message. From `UNKNOWN_KIND` on it was refused, in whole or for what was left of it."""

    ACCEPTED = 0
    SELF_TRADE = 1  # stopped before an order of its own owner; what was left is dropped
    UNKNOWN_KIND = 2
    BAD_SIDE = 3  # neither 1 nor -1
    NUMBER_IN_USE = 4
    UNKNOWN_ORDER = 5  # nothing rests under that number
    BAD_SIZE = 6  # not positive
    ODD_SIZE = 7  # no whole number of lots
    OFF_TICK = 8  # no multiple of the tick
    OUTSIDE_LIMITS = 9  # beyond the price limits
    WOULD_TRADE = 10  # post-only
    CANNOT_FILL = 11  # all or nothing
    # The book's capacity; a book that met one of these is marked as overflowed.
    NUMBER_TOO_HIGH = 12  # the number is none of 1..orders
    OWNER_TOO_HIGH = 13  # the owner is none of 0..32767
    SIZE_TOO_LARGE = 14
    OFF_GRID = 15  # the price is none of the book's ticks
    TOO_MANY_FILLS = 16  # no room to record a further fill; what was left is dropped


FIRST_REFUSAL = Answer.UNKNOWN_KIND
FIRST_OVERFLOW = Answer.NUMBER_TOO_HIGH


class Message(NamedTuple):
    """One message per book, each field of shape (books,); or many, (books, messages)."""

    kind: jax.Array
    side: jax.Array
    size: jax.Array
    price: jax.Array
    order: jax.Array
    owner: jax.Array

    def rows(self) -> jax.Array:
        """The fields as the last axis, in order: the form in which a stream is replayed."""
        return jnp.stack(self, axis=-1)


def message(kind: Any, side: Any = 0, size: Any = 0, price: Any = 0, order: Any = 0, owner: Any = 0) -> Message:
    """A message from whole numbers, arrays of one shape or single numbers; a single message is one for one book.

    Raises `TypeError` where a field is not of an integer type (a price of 100.5 ticks is no price), `ValueError` where
    it does not fit 32 bits. What a book makes of the values is the book's to say.
    """
    fields = (kind, side, size, price, order, owner)
    arrays = [np.asarray(whole(name, field)) for name, field in zip(Message._fields, fields, strict=True)]
    shape = np.broadcast_shapes(*(array.shape for array in arrays)) or (1,)
    return Message(*(jnp.asarray(np.broadcast_to(array, shape)) for array in arrays))


def whole(name: str, value: Any) -> Any:
    """The value as whole numbers of 32 bits; raises as `message` does, and `TypeError` for others that are traced."""
    array = value if is_traced(value) else np.asarray(value)
    if array.dtype == np.int32:
        return value
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"{name} must be whole numbers, got {array.dtype}; round to ticks and units first")
    if is_traced(value):
        raise TypeError(f"{name} must be int32 inside a compiled function, got {array.dtype}")
    small = np.iinfo(np.int32)
    if array.size and (array.min() < small.min or array.max() > small.max):
        raise ValueError(f"{name} must fit 32 bits, got values from {array.min()} to {array.max()}")
    return array.astype(np.int32)
