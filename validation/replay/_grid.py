"""Prices as ticks of a book, and how far the record lets us see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._record import EXECUTE, Record, vouched

_MOST = 2**16  # ticks of a book
_CENT = 100  # price units: the tick unless prices are finer
_STEP = 256  # so that days of like prices share one compiled program


@dataclass(frozen=True)
class Grid:
    """Ticks 0 to `ticks - 1`; tick 0 is the price `lowest`, and `unit` is the price of one tick."""

    lowest: int
    unit: int
    ticks: int

    def tick(self, price: np.ndarray) -> np.ndarray:
        """The tick of each price; outside of 0 to `ticks - 1` where it is beyond the book."""
        return (price - self.lowest) // self.unit

    def holds(self, tick: np.ndarray) -> np.ndarray:
        return (tick >= 0) & (tick < self.ticks)


def lay_grid(record: Record, own_prices: Sequence[int]) -> Grid:
    """The ticks that every price of the record needs, or as many as fit about the middle one of the best prices.

    Raises `ValueError` for an own price that is no whole number of the record's ticks.
    """
    best = [record.prices(side)[:, :1][record.sizes(side)[:, :1] > 0] for side in (+1, -1)]
    levels = [record.prices(side)[record.sizes(side) > 0] for side in (+1, -1)]
    prices = np.concatenate([record.price[record.kind <= EXECUTE], *levels])
    unit = int(np.gcd.reduce(prices, initial=_CENT))
    for price in own_prices:
        if price % unit:
            raise ValueError(f"own order's price must be a multiple of the record's tick, {unit}, got {price}")
    everywhere = np.concatenate([prices, np.array(own_prices, np.int64)])
    low, high = int(everywhere.min(initial=2**62)), int(everywhere.max(initial=0))
    ticks = max(high - low, 0) // unit + 1
    if ticks > _MOST:
        middle = int(np.median(np.concatenate(best)))
        low, ticks = max(middle - middle % unit - _MOST // 2 * unit, unit), _MOST
    return Grid(low, unit, min(math.ceil(ticks / _STEP) * _STEP, _MOST))


@dataclass(frozen=True, eq=False)
class Sight:
    """The book file in ticks. Sides are 0 for bids and 1 for asks.

    tick, size: (n, 2 levels), the bids first, best first; size 0 where there is no level, or none on the grid.
    low, high:  the ticks that are in sight before and after each message, both ends included; (n,).
    worst:      the last tick in sight after each message, of the bids and of the asks; (n, 2).
    beyond:     levels of the book file that no tick of the grid holds; there the book is not compared.
    """

    tick: np.ndarray
    size: np.ndarray
    low: np.ndarray
    high: np.ndarray
    worst: np.ndarray
    beyond: int


def look(record: Record, grid: Grid) -> Sight:
    """How far one can see, for every row."""
    tick = np.concatenate([grid.tick(record.prices(side)) for side in (+1, -1)], axis=1)
    size = np.concatenate([record.sizes(side) for side in (+1, -1)], axis=1)
    on_grid = grid.holds(tick)
    beyond = int(((size > 0) & ~on_grid).sum())
    size, tick = np.where(on_grid, size, 0), np.where(on_grid & (size > 0), tick, 0)
    levels = record.levels
    low, high = (np.clip(grid.tick(vouched(record, side)), 0, grid.ticks - 1) for side in (+1, -1))
    worst_bid = np.where(size[:, levels - 1] > 0, tick[:, levels - 1], 0)
    worst_ask = np.where(size[:, -1] > 0, tick[:, -1], grid.ticks - 1)
    return Sight(tick, size, low, high, np.stack([worst_bid, worst_ask], axis=1), beyond)
