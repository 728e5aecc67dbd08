"""The rules of a book as data: a rule that is None is not there and costs nothing."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import NamedTuple

import jax


class SelfTrade(IntEnum):
    """What happens before an order would meet one of the same owner."""

    CANCEL_RESTING = 0  # the resting order is pulled, the incoming one goes on
    CANCEL_INCOMING = 1  # the incoming order stops, what is left of it is dropped


class OddLots(IntEnum):
    """Whether a size may be no whole number of lots."""

    REFUSED = 0
    SOLD = 1  # only a seller's, who has an odd remainder to get rid of
    ALLOWED = 2


class BookRules(NamedTuple):
    """Rules checked when a message arrives; numbers, or arrays with one number per book.

    tick:       a price is a multiple of it.
    lot:        a size is a multiple of it, as far as `odd_lots`, a value of `OddLots`, says so.
    lowest, highest: the price limits, both admissible; see `price_limits`.
    self_trade: a value of `SelfTrade`; None lets an owner trade with itself.
    """

    tick: int | jax.Array | None = None
    lot: int | jax.Array | None = None
    odd_lots: int | jax.Array = OddLots.REFUSED
    lowest: int | jax.Array | None = None
    highest: int | jax.Array | None = None
    self_trade: int | jax.Array | None = None


NO_RULES = BookRules()


def price_limits(reference: int, width: float = 0.15) -> tuple[int, int]:
    """The lowest and highest whole tick within `width` of the reference price: inward, never beyond the limit."""
    if not (isinstance(reference, int) and reference > 0):
        raise ValueError(f"reference must be a positive whole number of ticks, got {reference!r}")
    if not 0 < width < 1:
        raise ValueError(f"width must lie between 0 and 1, got {width}; 0.15 is 15%")
    # 1.15 * 100 is a hair below 115 in binary, which must not cost the last tick.
    slack = 1e-9 * reference
    return math.ceil(reference * (1 - width) - slack), math.floor(reference * (1 + width) + slack)
