"""From what was seen of the script to what became of each own order."""

from __future__ import annotations

import numpy as np

from ..matching import Answer
from ._engine import Seen
from ._own import OwnFill, OwnOrder, OwnOutcome
from ._record import EXECUTE, HIDDEN, Record
from ._script import Instruction
from ._walk import Walk


def own_outcomes(walk: Walk, lines: Instruction, seen: Seen) -> tuple[OwnOutcome, ...]:
    """What became of each own order, in the order they were given."""
    return tuple(_outcome(walk, lines, seen, index) for index in range(len(walk.schedule.own)))


def _outcome(walk: Walk, lines: Instruction, seen: Seen, index: int) -> OwnOutcome:
    schedule, order = walk.schedule, walk.schedule.own[index]
    first = walk.placed.get(index)
    if first is None:
        told = {"never": schedule.never, "beyond": schedule.beyond, "halted": schedule.halted}
        return _none(order, next(state for state, orders in told.items() if index in orders))
    if seen.answer[first] != int(Answer.ACCEPTED):
        return _none(order, "refused")
    slot = schedule.number[index] - 1
    stop = walk.withdrawn.get(index, len(seen.answer) - 1)
    # `seen` tells how things were before an instruction, so that the one after it tells what came of it.
    span = slice(first + 1, stop + 1)
    rows, left, ahead = np.asarray(lines.row)[first : stop + 1], seen.left[span, slot], seen.ahead[span, slot]
    standing = left > 0
    # What stands before the first instruction of a row is how the row before left it.
    after = (np.diff(rows) > 0) & standing
    fills = _fills(walk.record, order, np.asarray(lines.row)[first:stop], seen.filled[first:stop, slot])
    filled = sum(fill.size for fill in fills)
    if filled == order.size:
        state = "filled"
    elif not standing[-1]:
        state = "locked"
    elif index in walk.withdrawn:
        state = "halted" if index in schedule.halted else "withdrawn"
    else:
        state = "open"
    row = int(lines.row[first])
    worst = walk.sight.worst[row - 1]
    tick = schedule.ticks[index]
    blind = bool(tick < worst[0] if order.side > 0 else tick > worst[1])
    return OwnOutcome(order, state, fills, int(ahead[0]), rows[:-1][after], ahead[after], blind)


def _none(order: OwnOrder, state: str) -> OwnOutcome:
    nothing = np.zeros(0, np.int64)
    return OwnOutcome(order, state, (), -1, nothing, nothing, False)


def _fills(record: Record, order: OwnOrder, rows: np.ndarray, sizes: np.ndarray) -> tuple[OwnFill, ...]:
    through = {EXECUTE: "execution", HIDDEN: "hidden"}
    found = []
    for at in np.flatnonzero(sizes):
        row = int(rows[at])
        flow = through.get(int(record.kind[row]), "crossing")
        found.append(OwnFill(row, float(record.time[row]), int(sizes[at]), int(order.price), flow))
    return tuple(found)
