"""The rules of a book as data: a rule that is None is not there and costs nothing."""

from __future__ import annotations

import math
from enum import IntEnum
from fractions import Fraction
from numbers import Integral
from typing import Any

import equinox as eqx
import numpy as np

from ...models._precision import is_traced


class SelfTrade(IntEnum):
    """What happens before an order would meet one of the same owner."""

    CANCEL_RESTING = 0  # the resting order is pulled, the incoming one goes on
    CANCEL_INCOMING = 1  # the incoming order stops, what is left of it is dropped


class OddLots(IntEnum):
    """Whether a size may be no whole number of lots."""

    REFUSED = 0
    SOLD = 1  # only a seller's, who has an odd remainder to get rid of
    ALLOWED = 2


class BookRules(eqx.Module):
    """Rules checked when a message arrives; whole numbers, or arrays with one number per book.

    tick:       a price is a multiple of it.
    lot:        a size is a multiple of it, as far as `odd_lots`, a value of `OddLots`, says so.
    lowest, highest: the price limits, both admissible; see `price_limits`.
    self_trade: a value of `SelfTrade`; None lets an owner trade with itself.

    Raises `ValueError` for what cannot be a rule, as far as its numbers are known before a run.
    """

    tick: Any = None
    lot: Any = None
    odd_lots: Any = OddLots.REFUSED
    lowest: Any = None
    highest: Any = None
    self_trade: Any = None

    def __check_init__(self) -> None:
        for name, least in (("tick", 1), ("lot", 1), ("lowest", -(2**31)), ("highest", -(2**31))):
            if getattr(self, name) is not None:
                check_whole(f"BookRules: {name}", getattr(self, name), least, "None for no such rule")
        limits = (self.lowest, self.highest)
        if None not in limits and not is_traced(limits) and np.any(np.greater(*limits)):
            raise ValueError(f"BookRules: lowest must not exceed highest, got {self.lowest} and {self.highest}")
        for name, kinds in (("odd_lots", OddLots), ("self_trade", SelfTrade)):
            value = getattr(self, name)
            if value is not None and not is_traced(value) and not np.all(np.isin(value, list(kinds))):
                known = ", ".join(f"{kinds.__name__}.{kind.name}" for kind in kinds)
                raise ValueError(f"BookRules: {name} must be one of {known}, got {value}")


def price_limits(reference: int | np.integer, width: float = 0.15) -> tuple[int, int]:
    """The lowest and highest whole tick within `width` of the reference price: inward, never beyond the limit."""
    if isinstance(reference, bool) or not isinstance(reference, Integral) or reference <= 0:
        raise ValueError(f"reference must be a positive whole number of ticks, got {reference!r}")
    reference = int(reference)
    move = math.floor(reference * exact_width(width))
    return reference - move, reference + move


def exact_width(width: float) -> Fraction:
    """The decimal that is written: the binary 0.15 is a hair off, which must neither cost nor win a tick."""
    if not 0 < width < 1:
        raise ValueError(f"width must lie between 0 and 1, got {width}; 0.15 is 15%")
    return Fraction(str(float(width)))


def check_whole(name: str, value: Any, least: int, mend: str) -> None:
    """Raises `ValueError` unless a number, or each of an array, is whole and at least `least`; traced ones pass."""
    if is_traced(value):
        return
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "iu" or np.any(numbers < least):
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value}; {mend}")


NO_RULES = BookRules()
