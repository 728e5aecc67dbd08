"""A small order-book market of known parameters, written in LOBSTER's format: the shipped sample, and its truth.

A fair price is a Brownian motion, seen at each event. Limit orders of one lot arrive on either side at an
exponential distance from it, never through the opposite best; each is cancelled at a constant rate, and at
`flight` times that rate once the fair price has passed it. Market orders arrive as a Poisson process of known
rate, either side alike, with a geometric number of lots, and walk the book by price, then time. Every draw is a
uniform of Python's generator, whose sequence is promised for a seed.
"""

from __future__ import annotations

import math
import zipfile
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, takewhile
from pathlib import Path
from random import Random

_PRICE_SCALE = 10_000  # LOBSTER's price units per dollar
_EMPTY = 9_999_999_999
_SUBMIT, _REDUCE, _DELETE, _EXECUTE = 1, 2, 3, 4
_REDUCED = 0.1  # share of cancellations that only halve the order


@dataclass(frozen=True)
class SyntheticMarket:
    """What the market does; times in seconds, prices in dollars. Defaults are the sample's."""

    start: float = 36_000.0  # after midnight
    seconds: float = 3_600.0
    price: float = 100.0
    tick: float = 0.01
    volatility: float = 0.02  # of the fair price, per sqrt(second)
    market_order_rate: float = 0.25  # both sides together
    market_order_stop: float = 0.55  # chance that a market order ends with each lot
    limit_order_rate: float = 1.0  # per side
    limit_order_distance: float = 0.12  # mean distance from the fair price
    cancellation_rate: float = 0.05  # per order
    flight: float = 20.0  # times faster once the fair price has passed the order
    burn_in: float = 300.0  # run before the file begins, so that it begins with a full book
    lot: int = 100
    levels: int = 5
    ticker: str = "SYNTH"
    date: str = "2024-01-02"

    def __post_init__(self) -> None:
        positive = ("seconds", "price", "tick", "market_order_rate", "limit_order_rate", "lot", "levels")
        for name in (*positive, "limit_order_distance", "cancellation_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"SyntheticMarket: {name} must be positive and finite, got {getattr(self, name):g}")
        if not 0 < self.market_order_stop <= 1:
            raise ValueError(
                f"SyntheticMarket: market_order_stop must lie in (0, 1], got {self.market_order_stop:g}; "
                "it is a probability"
            )
        if not (0 <= self.volatility < math.inf and 0 <= self.burn_in < math.inf and self.flight >= 1):
            raise ValueError("SyntheticMarket: volatility and burn_in must be at least 0, and flight at least 1")

    def simulate(self, seed: int = 0) -> SyntheticSession:
        """Run the market; the same rows for the same seed on any machine."""
        return _Run(self, Random(seed)).session()

    def file_name(self, kind: str) -> str:
        """LOBSTER's name of a csv: TICKER_date_start_end_kind_levels.csv, times in ms."""
        first, last = round(1e3 * self.start), round(1e3 * (self.start + self.seconds))
        return f"{self.ticker}_{self.date}_{first}_{last}_{kind}_{self.levels}.csv"


@dataclass(frozen=True)
class TrueOrder:
    """A market order as it was filled; prices in LOBSTER's units of 1e-4 dollars."""

    time: float
    side: int  # +1 buys
    deepest_price: int
    size: int
    twice_mid_before: int | None  # None where a side of the book was empty


@dataclass(frozen=True)
class SyntheticSession:
    """What a run wrote, as csv lines, and the market orders that are in it."""

    market: SyntheticMarket
    message: list[str]
    orderbook: list[str]
    orders: list[TrueOrder]

    def write(self, path: Path) -> Path:
        """Write LOBSTER's zip at `path`; returns `path`."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for kind, lines in (("message", self.message), ("orderbook", self.orderbook)):
                entry = zipfile.ZipInfo(self.market.file_name(kind))  # dated 1980: the same bytes at any time
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, "\n".join(lines) + "\n", compresslevel=9)
        return path

    def write_csv(self, folder: Path) -> Path:
        """Write the two csv files into `folder`; returns the path of the message file."""
        for kind, lines in (("message", self.message), ("orderbook", self.orderbook)):
            (folder / self.market.file_name(kind)).write_text("\n".join(lines) + "\n", encoding="ascii")
        return folder / self.market.file_name("message")


SAMPLE_SEED = 20240102


def sample_path() -> Path:
    """The sample that the package ships: `SyntheticMarket()` run with `SAMPLE_SEED`."""
    return Path(__file__).with_name("sample") / "SYNTH_2024-01-02_5.zip"


def write_sample() -> Path:
    """Make the shipped sample anew."""
    sample_path().parent.mkdir(exist_ok=True)
    return SyntheticMarket().simulate(SAMPLE_SEED).write(sample_path())


@dataclass(eq=False)
class _Order:
    number: int
    side: int  # +1 bid
    price: int  # ticks
    size: int


@dataclass
class _Side:
    """One side of the book: orders by price, first in first out; prices kept sorted, best first by `sign`."""

    sign: int  # +1 bids, -1 asks
    queues: dict[int, deque[_Order]] = field(default_factory=dict)
    ranks: list[int] = field(default_factory=list)  # -sign * price, rising: the best comes first

    def best(self) -> int | None:
        return -self.sign * self.ranks[0] if self.ranks else None

    def add(self, order: _Order) -> None:
        if order.price not in self.queues:
            self.queues[order.price] = deque()
            insort(self.ranks, -self.sign * order.price)
        self.queues[order.price].append(order)

    def drop(self, order: _Order) -> None:
        queue = self.queues[order.price]
        queue.remove(order)
        if not queue:
            del self.queues[order.price]
            del self.ranks[bisect_left(self.ranks, -self.sign * order.price)]

    def passed_by(self, fair: float) -> Iterator[_Order]:
        """Orders that the fair price has passed."""
        for rank in takewhile(lambda rank: rank < -self.sign * fair, self.ranks):
            yield from self.queues[-self.sign * rank]

    def levels(self, count: int) -> Iterator[tuple[int, int]]:
        for rank in self.ranks[:count]:
            price = -self.sign * rank
            yield price, sum(order.size for order in self.queues[price])


class _Run:
    """One run of a market: the book, the fair price, and what has been written."""

    def __init__(self, market: SyntheticMarket, random: Random):
        self.market, self.random = market, random
        self.unit = round(market.tick * _PRICE_SCALE)
        self.fair = market.price / market.tick  # ticks
        self.time = market.start - market.burn_in
        self.sides = {+1: _Side(+1), -1: _Side(-1)}
        self.resting: list[_Order] = []
        self.submitted = 0
        self.message: list[str] = []
        self.orderbook: list[str] = []
        self.orders: list[TrueOrder] = []

    def session(self) -> SyntheticSession:
        market, draw = self.market, self.random.random
        end = market.start + market.seconds
        while True:
            passed = [order for side in self.sides.values() for order in side.passed_by(self.fair)]
            rates = (
                market.market_order_rate,
                2 * market.limit_order_rate,
                market.cancellation_rate * len(self.resting),
                market.cancellation_rate * (market.flight - 1) * len(passed),
            )
            wait = self._exponential() / sum(rates)
            self.time += wait
            if self.time >= end:
                return SyntheticSession(market, self.message, self.orderbook, self.orders)
            self.fair += market.volatility / market.tick * math.sqrt(wait) * self._normal()
            which = bisect_right(list(accumulate(rates)), draw() * sum(rates))
            if which == 0:
                self._market_order(+1 if draw() < 0.5 else -1)
            elif which == 1:
                self._limit_order(+1 if draw() < 0.5 else -1)
            else:
                among = self.resting if which == 2 else passed
                self._cancel(among[int(draw() * len(among))])

    def _exponential(self) -> float:
        return -math.log(1.0 - self.random.random())

    def _normal(self) -> float:
        return math.sqrt(2 * self._exponential()) * math.cos(2 * math.pi * self.random.random())

    def _limit_order(self, side: int) -> None:
        distance = self.market.limit_order_distance / self.market.tick * self._exponential()
        price = math.floor(self.fair - distance) if side > 0 else math.ceil(self.fair + distance)
        opposite = self.sides[-side].best()
        if opposite is not None:
            price = side * min(side * price, side * opposite - 1)
        self.submitted += 1
        order = _Order(self.submitted, side, max(price, 1), self.market.lot)
        self.sides[side].add(order)
        self.resting.append(order)
        self._write(_SUBMIT, order, order.size)

    def _cancel(self, order: _Order) -> None:
        if self.random.random() < _REDUCED and order.size >= 2:
            taken = order.size // 2
            order.size -= taken
            self._write(_REDUCE, order, taken)
        else:
            self._remove(order)
            self._write(_DELETE, order, order.size)

    def _market_order(self, side: int) -> None:
        book = self.sides[-side]
        lots = 1
        while self.random.random() >= self.market.market_order_stop:
            lots += 1
        left = wanted = lots * self.market.lot
        bid, ask = self.sides[+1].best(), self.sides[-1].best()
        price = None
        while left and book.ranks:
            price = -book.sign * book.ranks[0]
            order = book.queues[price][0]
            size = min(left, order.size)
            left -= size
            order.size -= size
            if not order.size:
                self._remove(order)
            self._write(_EXECUTE, order, size)
        if self.time >= self.market.start and price is not None:
            twice_mid = (bid + ask) * self.unit if bid is not None and ask is not None else None
            self.orders.append(TrueOrder(self.time, side, price * self.unit, wanted - left, twice_mid))

    def _remove(self, order: _Order) -> None:
        self.sides[order.side].drop(order)
        self.resting.remove(order)

    def _write(self, kind: int, order: _Order, size: int) -> None:
        if self.time < self.market.start:
            return
        self.message.append(f"{self.time:.9f},{kind},{order.number},{size},{order.price * self.unit},{order.side}")
        asks, bids = (list(self.sides[s].levels(self.market.levels)) for s in (-1, +1))
        cells = []
        for level in range(self.market.levels):
            for rows, empty in ((asks, _EMPTY), (bids, -_EMPTY)):
                price, volume = rows[level] if level < len(rows) else (None, 0)
                cells.append(f"{empty if price is None else price * self.unit},{volume}")
        self.orderbook.append(",".join(cells))
