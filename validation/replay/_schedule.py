"""When own orders come and go, in rows of the record, and under which number of the book."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ._grid import Grid
from ._own import OwnOrder
from ._record import Record


class Schedule:
    """Own orders by their place in the list; numbers 1 to `slots` of the book are theirs, each again and again.

    An order keeps its number until the time at which it is to be withdrawn, filled or not.
    """

    def __init__(self, record: Record, grid: Grid, own: Sequence[OwnOrder]) -> None:
        self.own = own
        self.ticks = grid.tick(np.array([order.price for order in own], np.int64)).tolist()
        self.number = [0] * len(own)
        self.never: set[int] = set()
        self.halted: set[int] = set()
        self.beyond = {i for i, tick in enumerate(self.ticks) if not 0 <= tick < grid.ticks}
        self.standing: set[int] = set()  # orders placed and not withdrawn so far
        self.rows: dict[int, list[tuple[int, bool]]] = defaultdict(list)
        self.slots = max(1, self._assign(record))

    def _assign(self, record: Record) -> int:
        """Fix rows and numbers; how many orders may stand at once."""
        events = []
        for index, order in enumerate(self.own):
            # Before the first message stamped later; the first row is where the book begins.
            row, end = (max(1, int(np.searchsorted(record.time, t, side="right"))) for t in (order.time, order.until))
            if row >= len(record):
                self.never.add(index)
            elif index not in self.beyond:
                events += [(row, order.time, 1, index), (end, order.until, 0, index)]
        free: list[int] = []
        slots = 0
        for row, _, places, index in sorted(events):
            if places:
                if not free:
                    slots += 1
                    free = [slots]
                self.number[index] = heapq.heappop(free)
            else:
                heapq.heappush(free, self.number[index])
            self.rows[row].append((index, bool(places)))
        return slots

    def due(self, row: int, trading: bool) -> list[tuple[int, bool]]:
        """(order, whether it is placed or withdrawn) before the message of a row."""
        events = self.rows.get(row, [])
        for index, places in events:
            if not places:
                self.standing.discard(index)
            elif trading:
                self.standing.add(index)
            else:
                self.halted.add(index)
        return [event for event in events if event[0] not in self.halted]

    def halt(self) -> list[int]:
        """Withdraw all; the orders that stood."""
        stood = sorted(self.standing)
        self.halted |= self.standing
        self.standing.clear()
        return stood

    def may_meet(self, side: int, tick: int) -> bool:
        """Whether flow of a side, up to a tick, may meet an own order."""
        return any(self.own[i].side == -side and side * (tick - self.ticks[i]) >= 0 for i in self.standing)

    def at(self, side: int, tick: int) -> list[int]:
        """Orders of a side that may stand at a tick, in the order they came."""
        found = [i for i in self.standing if self.own[i].side == side and self.ticks[i] == tick]
        return sorted(found, key=lambda i: (self.own[i].time, i))
