"""Which orders the record lets us know, and what is known of a price only as a sum.

The ten levels show sums. Orders submitted within the record are known one by one; what else rests at a price is held
as anonymous orders. A price out of sight may change without a message: when it comes into sight, the book file says
how much rests there, and the difference is made up by the rules of `_result.RULES`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..matching.messages import Kind
from ..messages import DataError
from ._record import DELETE, EXECUTE, REDUCE, SUBMIT, Record
from ._script import Role, Script


@dataclass
class _Order:
    number: int  # in the book
    side: int
    tick: int
    left: int
    unsure: bool = False  # whether it was out of sight, where it may have been reduced


class Ledger:
    """Orders by their key, the record's number or a negative one of our own, in queues by tick."""

    def __init__(self, record: Record, script: Script, reserved: int) -> None:
        self.record, self.script, self.counts = record, script, Counter()
        columns = (record.kind, record.order, record.side, record.size)
        self._messages = list(zip(*(column.tolist() for column in columns), strict=True))
        self.orders: dict[int, _Order] = {}
        self.queues: dict[int, dict[int, None]] = {}
        self._gone: dict[int, int] = {}  # row at which an order of the record left the book
        self._last = _last_rows(record)
        self._anonymous = 0
        self._free: list[int] = []
        self._highest = reserved

    @property
    def numbers(self) -> int:
        """The highest number given so far: the capacity that the book needs."""
        return self._highest

    # --- what a message does -----------------------------------------------------------------------------------

    def submit(self, row: int, tick: int) -> None:
        _, key, side, size = self._messages[row]
        if key in self.orders or key in self._gone:
            raise self._error(row, f"order {key} is submitted a second time")
        self.add(key, side, tick, size)

    def lessen(self, row: int, tick: int, in_sight: bool) -> None:
        """A partial cancel, a deletion or an execution, at a price that was in sight and is, or not."""
        kind, key, side, size = self._messages[row]
        order = self.orders.get(key)
        if order is None:
            if key in self._gone:
                raise self._error(row, f"order {key} was gone after line {self._gone[key] + self.record.first_line}")
            self.counts["earlier_orders"] += 1
        else:
            self._check_order(row, key, order, tick)
            if kind == DELETE and order.left > size:
                # What we hold too much of it is somebody's, whose number is not known.
                self._make_anonymous(key, order, order.left - size)
        seen, first = order is not None, True
        for piece in self._pieces(row, key if seen else None, tick, size, in_sight):
            role = Role.EXECUTE if kind == EXECUTE and first else Role.PLAIN
            self._take(row, *piece, role=role, seen=seen, side=side)
            first = False

    def _check_order(self, row: int, key: int, order: _Order, tick: int) -> None:
        kind, _, side, size = self._messages[row]
        if order.tick != tick or order.side != side:
            raise self._error(row, f"order {key} is at another price or side than it was submitted at")
        agrees = {DELETE: size == order.left, REDUCE: size < order.left, EXECUTE: size <= order.left}[kind]
        if agrees:
            return
        if not order.unsure:
            raise self._error(row, f"{size} are taken off order {key}, of which {order.left} are left")
        self.counts["resized_unseen"] += 1

    def _pieces(self, row: int, key: int | None, tick: int, size: int, in_sight: bool) -> Iterator[tuple[int, int]]:
        """(key, amount) that make up what a message takes: from the order itself, else from whom it may be."""
        if key is not None and self.orders[key].left >= size:
            yield key, size
            return
        left = size
        for other in self._suspects(row, key, tick, in_sight):
            amount = min(left, self.orders[other].left)
            if other > 0 and other != key:
                self.counts["reassigned"] += 1
            yield other, amount
            left -= amount
            if not left:
                return
        if in_sight:
            raise self._error(row, f"{size} are taken off where only {size - left} rest")
        self.counts["unknown_out_of_sight"] += 1

    def _suspects(self, row: int, key: int | None, tick: int, in_sight: bool) -> list[int]:
        queue = [other for other in self.queues.get(tick, ()) if other != key]
        if not in_sight:  # where more may rest than is known, it need not be any of those seen
            queue = [other for other in queue if other < 0]
        unheard = [other for other in queue if other > 0 and self._last[other] <= row]
        heard = [other for other in queue if other > 0 and self._last[other] > row]
        return [*([] if key is None else [key]), *(other for other in queue if other < 0), *unheard, *heard]

    # --- prices that come into sight ---------------------------------------------------------------------------

    def come_into_sight(self, row: int, side: int, tick: int, recorded: int) -> bool:
        """Make what rests at a tick equal to what is recorded; whether something joined at the end of its queue."""
        queue = self.queues.get(tick, {})
        held = sum(self.orders[key].left for key in queue)
        for key in queue:
            self.orders[key].unsure = True
        if held == recorded:
            self.counts["levels_returned"] += 1
        elif held == 0:
            self.counts["levels_entered"] += 1
        else:
            self.counts["levels_grown" if held < recorded else "levels_shrunk"] += 1
        if held < recorded:
            self.add(self.nobody(), side, tick, recorded - held)
        elif held > recorded:
            self._shrink(row, tick, held - recorded)
        return held < recorded

    def _shrink(self, row: int, tick: int, excess: int) -> None:
        """Take off what cannot be there: first of orders never heard of again, the last to come first."""
        newest = list(reversed(self.queues[tick]))
        unheard = [key for key in newest if key < 0 or self._last[key] <= row]
        for key in [*unheard, *(key for key in newest if key not in set(unheard))]:
            amount = min(excess, self.orders[key].left)
            if amount and key > 0 and self._last[key] > row:
                self.counts["heard_of_again"] += 1
            if amount:
                self._take(row, key, amount, dies=False)
            excess -= amount

    # --- the book ----------------------------------------------------------------------------------------------

    def add(self, key: int, side: int, tick: int, size: int) -> None:
        """An order joins the end of its queue."""
        if self._free:
            number = self._free.pop()
        else:
            self._highest += 1
            number = self._highest
        self.orders[key] = _Order(number, side, tick, size)
        self.queues.setdefault(tick, {})[key] = None
        self.script.send(Kind.LIMIT, number=number, side=side, size=size, tick=tick)

    def nobody(self) -> int:
        """A key for an anonymous order."""
        self._anonymous -= 1
        return self._anonymous

    def clear(self) -> None:
        """Take everything out and forget it: what follows is known from the book file only."""
        for order in self.orders.values():
            self.script.send(Kind.CANCEL, number=order.number)
            self._free.append(order.number)
        self.orders.clear()
        self.queues.clear()

    def known_ticks(self, side: int, low: int, high: int) -> list[int]:
        """Ticks from `low` up to, but without, `high` at which something of a side rests."""
        near = range(low, high) if high - low < len(self.queues) else [t for t in self.queues if low <= t < high]
        found = (tick for tick in near if tick in self.queues)
        return [tick for tick in found if self.orders[next(iter(self.queues[tick]))].side == side]

    def _take(
        self,
        row: int,
        key: int,
        amount: int,
        *,
        role: Role = Role.PLAIN,
        seen: bool = False,
        side: int = 0,
        dies: bool = True,
    ) -> None:
        order = self.orders[key]
        self.script.send(
            Kind.REDUCE, number=order.number, side=-side, size=amount, tick=order.tick, role=role, seen=seen
        )
        order.left -= amount
        if not order.left:
            self._remove(key, order)
            if dies and key > 0:
                self._gone[key] = row

    def _remove(self, key: int, order: _Order) -> None:
        del self.orders[key]
        queue = self.queues[order.tick]
        del queue[key]
        if not queue:
            del self.queues[order.tick]
        self._free.append(order.number)

    def _make_anonymous(self, key: int, order: _Order, size: int) -> None:
        """Split what an order is thought to have too much: it joins again, anonymous, at the end of the queue."""
        self.script.send(Kind.REDUCE, number=order.number, size=size)
        order.left -= size
        self.add(self.nobody(), order.side, order.tick, size)

    def _error(self, row: int, what: str) -> DataError:
        where = f"{self.record.source}, line {row + self.record.first_line}"
        return DataError(f"{where}: {what}; messages are missing or repeated, fetch the file again")


def _last_rows(record: Record) -> dict[int, int]:
    """The last row that names each order."""
    rows = np.flatnonzero(np.isin(record.kind, (SUBMIT, REDUCE, DELETE, EXECUTE)))
    return dict(zip(record.order[rows].tolist(), rows.tolist(), strict=True))
