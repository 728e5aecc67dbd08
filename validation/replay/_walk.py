"""From the rows of a record and the dealer's orders to instructions, row by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..matching.messages import Kind
from ._grid import Grid, Sight
from ._ledger import Ledger
from ._own import OwnOrder
from ._record import CROSS, EXECUTE, HALT, HIDDEN, SUBMIT, Record
from ._schedule import Schedule
from ._script import OWNER, Role, Script


class Walk:
    """One pass over a record; what it leaves behind is a script, and counts of what had to be assumed."""

    def __init__(self, record: Record, grid: Grid, sight: Sight, own: Sequence[OwnOrder]) -> None:
        self.record, self.grid, self.sight = record, grid, sight
        self.script = Script()
        self.schedule = Schedule(record, grid, own)
        self.ledger = Ledger(record, self.script, self.schedule.slots)
        self.counts = self.ledger.counts
        self.placed: dict[int, int] = {}  # own order: where it stands in the script
        self.withdrawn: dict[int, int] = {}
        self._price_ticks = grid.tick(record.price).tolist()

    def run(self) -> None:
        """Write the script of the whole record."""
        halted, kinds = self.record.halted().tolist(), self.record.kind.tolist()
        worst, begun = self.sight.worst, False
        reveals = np.r_[False, (worst[1:, 0] < worst[:-1, 0]) | (worst[1:, 1] > worst[:-1, 1])].tolist()
        for row, kind in enumerate(kinds):
            self.script.row = row
            if row in self.schedule.rows:
                self._see_to_own(row, begun)
            if kind == HALT:
                self.counts["halts"] += 1
            if halted[row]:
                self.counts["rows_in_halts"] += 1
                if begun:
                    self._stop()
                begun = False
            elif not begun:
                self._begin(row)
                begun = True
            else:
                self._message(row, kind)
                self.script.check()
                if reveals[row]:
                    self._look_again(row)
        self.script.row = len(kinds)

    # --- beginnings and ends -----------------------------------------------------------------------------------

    def _begin(self, row: int) -> None:
        """Place what the book file shows, one anonymous order per level."""
        record, levels = self.record, self.record.levels
        submitted = self._price_ticks[row] if record.kind[row] == SUBMIT else None
        shown = zip(self.sight.tick[row].tolist(), self.sight.size[row].tolist(), strict=True)
        for place, (tick, size) in enumerate(shown):
            side = +1 if place < levels else -1
            newest = int(record.size[row]) if tick == submitted and side == record.side[row] else 0
            if size > newest:
                self.counts["levels_at_start"] += 1
                self.ledger.add(self.ledger.nobody(), side, tick, size - newest)
            if size and newest:
                self.ledger.submit(row, tick)
        self.script.check()

    def _stop(self) -> None:
        """Trading stops: the book is forgotten, and own orders leave it."""
        self.ledger.clear()
        for index in self.schedule.halt():
            self._withdraw(index)

    # --- one message -------------------------------------------------------------------------------------------

    def _message(self, row: int, kind: int) -> None:
        if kind == CROSS:
            self.counts["cross_trades"] += 1
        if kind in (CROSS, HALT):
            return
        tick, side, size = self._price_ticks[row], int(self.record.side[row]), int(self.record.size[row])
        if kind == HIDDEN:
            self.counts["hidden_executions"] += 1
            # A visible order goes before a hidden one at its price; one between two ticks is met beyond the nearer.
            between = side > 0 and (int(self.record.price[row]) - self.grid.lowest) % self.grid.unit > 0
            self._reach(-side, tick + between, size)
            return
        if not 0 <= tick < self.grid.ticks:
            self.counts["beyond_the_grid"] += 1
            return
        if kind == SUBMIT:
            if self._reach(side, tick, size):
                # What is left of own orders would lock or cross the recorded book. Sent in the dealer's own name, an
                # order through them pulls them and meets nothing else.
                self.script.send(Kind.IMMEDIATE, side=side, size=1, tick=tick, owner=OWNER)
            self.ledger.submit(row, tick)
            return
        if kind == EXECUTE:
            self._reach(-side, tick, size)
        sight = self.sight
        self.ledger.lessen(row, tick, bool(tick >= sight.low[row] if side > 0 else tick <= sight.high[row]))

    def _reach(self, side: int, tick: int, size: int) -> bool:
        """Let flow of that side, up to that price, meet own orders, if any may stand there."""
        meets = bool(self.schedule.standing) and self.schedule.may_meet(side, tick)
        if meets:
            self.script.send(Kind.IMMEDIATE, side=side, size=size, tick=tick, role=Role.REACH)
        return meets

    def _look_again(self, row: int) -> None:
        """Take what has come into sight from the book file."""
        worst, before = self.sight.worst[row].tolist(), self.sight.worst[row - 1].tolist()
        bids = (+1, worst[0], before[0])  # from the first up to, but without, the second
        asks = (-1, before[1] + 1, worst[1] + 1)
        for side, low, high in (bids, asks):
            if low >= high:
                continue
            recorded = {tick: size for tick, size in self._side(row, side) if low <= tick < high}
            known = self.ledger.known_ticks(side, low, high)
            for tick in dict.fromkeys([*recorded, *known]):
                grown = self.ledger.come_into_sight(row, side, tick, recorded.get(tick, 0))
                if grown:
                    self._go_back(side, tick)

    def _side(self, row: int, side: int) -> list[tuple[int, int]]:
        levels = self.record.levels
        part = slice(0, levels) if side > 0 else slice(levels, None)
        ticks, sizes = self.sight.tick[row, part].tolist(), self.sight.size[row, part].tolist()
        return [(tick, size) for tick, size in zip(ticks, sizes, strict=True) if size]

    # --- own orders --------------------------------------------------------------------------------------------

    def _see_to_own(self, row: int, trading: bool) -> None:
        for index, places in self.schedule.due(row, trading):
            if places:
                self._place(index)
            else:
                self._withdraw(index)

    def _place(self, index: int) -> None:
        order, schedule = self.schedule.own[index], self.schedule
        self.placed[index] = len(self.script.lines)
        self.script.send(
            Kind.POST_ONLY,
            number=schedule.number[index],
            side=order.side,
            size=order.size,
            tick=schedule.ticks[index],
            owner=OWNER,
        )

    def _withdraw(self, index: int) -> None:
        self.withdrawn[index] = len(self.script.lines)
        self.script.send(Kind.CANCEL, number=self.schedule.number[index], owner=OWNER)

    def _go_back(self, side: int, tick: int) -> None:
        for index in self.schedule.at(side, tick):
            number = self.schedule.number[index]
            self.script.send(Kind.REPLACE, number=number, tick=tick, owner=OWNER, role=Role.BACK)
