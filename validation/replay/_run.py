"""The replay: a record and the dealer's orders in, what was found out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ._engine import Seen, book_for, run_script
from ._grid import lay_grid, look
from ._outcomes import own_outcomes
from ._own import OwnOrder
from ._record import Record
from ._result import RULES, Replayed
from ._script import Instruction, Role
from ._walk import Walk

_BLOCK = 4096


def replay(record: Record, own_orders: Sequence[OwnOrder] = ()) -> Replayed:
    """Send the recorded messages through the exact book, with the dealer's own orders among them.

    The recorded flow is taken as unaffected: there is no market impact. Every recorded message happens as recorded,
    whatever the dealer does; flow that meets an own order fills it *and* the order that it met in the record. So the
    recorded part of the book equals the book file with own orders or without, and the dealer's fills are those of one
    too small to matter.

    Own orders stand in the book with their turn. They are filled, at their own price, by as much of the recorded flow
    as finds nothing recorded before them: a visible execution at their price or a worse one, a hidden execution
    likewise (what is visible goes first), and a limit order that is submitted at or through their price; what such an
    order leaves of them is withdrawn, since the book cannot be locked. Quantity before them shrinks as what is before
    them trades or is cancelled; anonymous quantity, known only as a sum, is taken off from the oldest on. Where a
    level comes into sight with more than was known, that goes before them.

    What the ten levels do not tell is assumed by `RULES`, and counted. Takes time in proportion to the record; nothing
    that is given is changed. Raises `DataError` naming the line where an order number cannot be (submitted twice, gone
    before, more taken off than is left), and `ValueError` for an own order larger than a book takes.
    """
    own = tuple(own_orders)
    grid = lay_grid(record, [int(order.price) for order in own])
    sight = look(record, grid)
    walk = Walk(record, grid, sight, own)
    walk.run()
    book = book_for(walk.ledger.numbers, grid)
    _check_sizes(own, book.layout.most_size)
    table = walk.script.table(_BLOCK)
    seen = run_script(book, table, sight, walk.schedule.slots)
    lines = Instruction(*table.reshape(-1, table.shape[-1]).T)
    counts = dict.fromkeys(RULES, 0) | walk.counts
    counts["levels_beyond_the_grid"] = sight.beyond
    counts["refused_by_the_book"] = int(seen.faulty.sum())
    compared, equal = _comparison(len(record), lines, seen)
    executed = np.asarray(lines.role) == int(Role.EXECUTE)
    return Replayed(
        record=record,
        compared=compared,
        equal=equal,
        execution=np.asarray(lines.row)[executed],
        at_touch=seen.touch[executed],
        in_turn=seen.turn[executed],
        seen=np.asarray(lines.seen)[executed] > 0,
        counts=counts,
        own=own_outcomes(walk, lines, seen),
    )


def _check_sizes(own: Sequence[OwnOrder], most: int) -> None:
    for order in own:
        if order.size > most:
            raise ValueError(
                f"own order of {order.size} units: beside this record a book takes at most {most}; split the order, "
                "or replay fewer rows"
            )


def _comparison(rows: int, lines: Instruction, seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    compared, equal = np.zeros(rows, bool), np.zeros(rows, bool)
    row = np.asarray(lines.check)[seen.checked]
    compared[row], equal[row] = True, seen.equal[seen.checked]
    return compared, equal
