"""What a file of market messages says, whatever its venue.

Prices are whole numbers of `price_unit` dollars and mids whole numbers of half of it, so that "reaches the
distance d" is decided between integers and never by rounding. Times are seconds after midnight (of the
venue's clock for LOBSTER, UTC for Binance) on the day of the first message. Sides are those of the aggressor:
+1 buys, -1 sells.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal

import numpy as np

Number = float | int
Session = tuple[Number, Number]  # (open, close), seconds after midnight


class DataError(ValueError):
    """Market messages that cannot be used; one line that names the culprit and the mend."""


def _freeze(record: object) -> None:
    """Make the arrays of a frozen record read-only, and refuse unequal lengths."""
    arrays = [getattr(record, f.name) for f in fields(record)]  # type: ignore[arg-type]
    if len({a.shape for a in arrays}) != 1 or arrays[0].ndim != 1:
        shapes = ", ".join(f"{f.name} {a.shape}" for f, a in zip(fields(record), arrays, strict=True))  # type: ignore[arg-type]
        raise ValueError(f"{type(record).__name__}: its columns must be vectors of one length, got {shapes}")
    for array in arrays:
        array.flags.writeable = False


@dataclass(frozen=True, eq=False)
class BestQuotes:
    """Best bid and ask over time; row `i` holds from `time[i]` until the next row's time. Arrays (n,)."""

    time: np.ndarray  # seconds, not decreasing
    bid: np.ndarray  # whole price units
    ask: np.ndarray  # whole price units, not below the bid

    def __post_init__(self) -> None:
        _freeze(self)


@dataclass(frozen=True, eq=False)
class Prints:
    """Executions against visible orders, one row each. Arrays (n,)."""

    time: np.ndarray  # seconds, not decreasing
    price: np.ndarray  # whole price units
    size: np.ndarray  # units of the asset
    side: np.ndarray  # of the aggressor: +1 buys, -1 sells

    def __post_init__(self) -> None:
        _freeze(self)

    def merged(self) -> MarketOrders:
        """Market orders: consecutive prints with one timestamp and one aggressor side count as one order."""
        if not self.time.size:
            return MarketOrders(self.time, self.price, self.size, self.side)
        new = (np.diff(self.time) != 0) | (np.diff(self.side) != 0)
        first = np.flatnonzero(np.r_[True, new])
        buys = self.side[first] > 0
        highest, lowest = np.maximum.reduceat(self.price, first), np.minimum.reduceat(self.price, first)
        deepest = np.where(buys, highest, lowest)
        return MarketOrders(self.time[first], deepest, np.add.reduceat(self.size, first), self.side[first])


@dataclass(frozen=True, eq=False)
class MarketOrders:
    """Aggressive orders, as far as they met visible ones. Arrays (n,)."""

    time: np.ndarray  # seconds
    deepest_price: np.ndarray  # of its fills, whole price units
    size: np.ndarray  # filled, units of the asset
    side: np.ndarray  # +1 buys, -1 sells

    def __post_init__(self) -> None:
        _freeze(self)


@dataclass(frozen=True, eq=False)
class Messages:
    """One instrument's messages over one stretch of time.

    source:      the file's name, without its folder.       venue: "LOBSTER" or "Binance".
    price_unit:  dollars per whole unit of `bid`, `ask` and `price`.
    span:        (first, last) second that the file covers.
    session:     (open, close) that a calibration uses unless told otherwise, seconds.
    halts:       (from, to) while trading was halted, seconds.
    """

    source: str
    venue: str
    price_unit: float
    quotes: BestQuotes
    prints: Prints
    span: tuple[float, float]
    session: tuple[float, float]
    halts: tuple[tuple[float, float], ...] = ()

    @cached_property
    def market_orders(self) -> MarketOrders:
        """The prints merged into market orders."""
        return self.prints.merged()

    @cached_property
    def tick(self) -> int:
        """The largest price step, in whole price units, of which every quote and print is a multiple."""
        return int(np.gcd.reduce(np.concatenate([self.quotes.bid, self.quotes.ask, self.prints.price])))

    @cached_property
    def _twice_mid(self) -> np.ndarray:
        return self.quotes.bid + self.quotes.ask

    def _last_quote(self, times: np.ndarray, side: Literal["left", "right"]) -> np.ndarray:
        # A time before the first quote gets that quote: it can only be the instant at which the file begins.
        return np.maximum(np.searchsorted(self.quotes.time, times, side=side) - 1, 0)

    def twice_mid_at(self, times: np.ndarray) -> np.ndarray:
        """Bid plus ask, whole price units, of the last quote at or before each time. Shape of `times`."""
        return self._twice_mid[self._last_quote(times, "right")]

    def twice_mid_before(self, times: np.ndarray) -> np.ndarray:
        """Bid plus ask, whole price units, of the last quote strictly before each time. Shape of `times`."""
        return self._twice_mid[self._last_quote(times, "left")]

    def mid_at(self, times: np.ndarray) -> np.ndarray:
        """Mid price in dollars of the last quote at or before each time. Shape of `times`."""
        return self.twice_mid_at(times) * (0.5 * self.price_unit)

    def check_session(self, session: Session | None) -> tuple[float, float]:
        """The session to use, the file's own where none is given; raise `DataError` where it cannot be."""
        opening, closing = self.session if session is None else (float(session[0]), float(session[1]))
        if not opening < closing:
            raise DataError(
                f"{self.source}: session ({opening:g}, {closing:g}) must open before it closes; "
                "give seconds after midnight"
            )
        first = max(self.span[0], float(self.quotes.time[0]))  # before its first quote there is no mid
        if not (first <= opening and closing <= self.span[1]):
            raise DataError(
                f"{self.source}: session ({opening:g}, {closing:g}) reaches outside the file; "
                f"choose it within ({first:g}, {self.span[1]:g}) seconds after midnight"
            )
        for since, until in self.halts:
            if opening < until and since <= closing:
                halt = f"from {since:g} to {until:g} s"
                raise DataError(f"{self.source}: trading was halted {halt}; choose a session without the halt")
        return opening, closing
