"""What is sent to the book: one instruction after the other, numbers only, worked out before the book is run."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from ..matching.messages import Kind

OWNER = 1
"""The dealer's number among the owners; recorded orders have none."""


class Role(IntEnum):
    """How an instruction is to be read: what it sends may depend on the book it meets."""

    PLAIN = 0
    EXECUTE = 1  # a recorded execution: traded by the book where it is the order's turn, else taken off the order
    REACH = 2  # recorded flow that would meet own orders: as much of it as stands before all that is recorded
    BACK = 3  # an own order goes to the end of its queue, with what is left of it


class Instruction(NamedTuple):
    """`row` is the row of the record it belongs to; `check`, unless -1, the row that the book must equal before it.

    Whole numbers as they are written, arrays of such where many are read at once.
    """

    role: Any
    kind: Any
    side: Any
    size: Any
    tick: Any
    number: Any
    owner: Any
    row: Any
    check: Any
    seen: Any  # of an execution: whether the order was submitted within the record


class Script:
    """Instructions as they are written down."""

    def __init__(self) -> None:
        self.lines: list[Instruction] = []
        self.row = 0
        self._check = -1

    def send(
        self,
        kind: Kind,
        *,
        number: int = 0,
        side: int = 0,
        size: int = 0,
        tick: int = 0,
        owner: int = 0,
        role: Role = Role.PLAIN,
        seen: bool = False,
    ) -> None:
        """Add an instruction for the present row."""
        self.lines.append(Instruction(role, kind, side, size, tick, number, owner, self.row, self._check, seen))
        self._check = -1

    def check(self) -> None:
        """The book as it is after the last instruction must equal the present row."""
        if self._check >= 0:
            self.send(Kind.NOTHING)
        self._check = self.row

    def table(self, block: int) -> np.ndarray:
        """All instructions, (blocks, block, fields): whole blocks, filled up with such as do nothing."""
        self.send(Kind.NOTHING)
        idle = self.lines[-1]._replace(role=Role.PLAIN, kind=Kind.NOTHING, check=-1)
        missing: Iterable[Instruction] = [idle] * (-len(self.lines) % block)
        return np.array([*self.lines, *missing], np.int32).reshape(-1, block, len(Instruction._fields))
