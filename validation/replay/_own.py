"""The dealer's own orders, and what became of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Whole = Any
"""An int, Python's or NumPy's; anything else is refused in words."""


@dataclass(frozen=True)
class OwnOrder:
    """A limit order of the dealer's, which only ever rests: refused where it would trade at once.

    time:  when it arrives, seconds after midnight: behind every message stamped up to then.
    side:  +1 a bid, -1 an ask.
    price: whole price units of the record, 1e-4 dollars.
    size:  units of the asset.
    until: when it is withdrawn, unless filled before; never by default.
    """

    time: float
    side: int
    price: Whole
    size: Whole
    until: float = math.inf

    def __post_init__(self) -> None:
        if self.side not in (1, -1):
            raise ValueError(f"own order's side must be 1 or -1, got {self.side}; 1 is a bid")
        for name in ("price", "size"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value <= 0:
                raise ValueError(f"own order's {name} must be a positive whole number, got {value!r}")
        if not (math.isfinite(self.time) and self.time < self.until):
            raise ValueError(
                f"own order must be withdrawn after it is placed, got time {self.time} until {self.until}; "
                "give seconds after midnight"
            )


@dataclass(frozen=True)
class OwnFill:
    """A fill of an own order: after how many rows of the record, when, how much, and by which flow.

    row:     of the message whose flow reached the order.
    through: "execution" of a visible order, "hidden" execution, or a "crossing" limit order.
    """

    row: int
    time: float
    size: int
    price: int
    through: str


@dataclass(frozen=True, eq=False)
class OwnOutcome:
    """What became of an own order.

    state:  "filled", "withdrawn" in its time, "open" at the end, "refused" because it would have traded at once,
            "locked" where a recorded order rested at or through its price and did not fill it all, "halted" where
            trading stopped, "beyond" the prices of the book, or "never" where the record ends before its time.
    ahead:  quantity before it at its price when it had joined; -1 if it never did.
    rows, queue: how `queue`, the quantity before it, went on: the values after each of `rows` while it stood.
    blind:  whether it joined at a price out of sight, where the quantity before it is what was known, at least.
    """

    order: OwnOrder
    state: str
    fills: tuple[OwnFill, ...]
    ahead: int
    rows: np.ndarray
    queue: np.ndarray
    blind: bool

    @property
    def filled(self) -> int:
        """Size filled in all."""
        return sum(fill.size for fill in self.fills)
