"""What LOBSTER recorded, order by order, and whether it can be: every row of the book explained by its message."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..messages import DataError
from ..messages._files import is_zip, read_file, read_zip
from ..messages._lobster import _table, is_message_row
from ..messages._read import _book_beside

SUBMIT, REDUCE, DELETE, EXECUTE, HIDDEN, CROSS, HALT = range(1, 8)
_ENDS_HALT = 1  # what stands for a price where trading resumes
_EMPTY = 9_999_999_999
_COLUMNS = ("time", "kind", "order", "size", "price", "side")


@dataclass(frozen=True, eq=False)
class Record:
    """The messages of one instrument and the book after each; arrays (n,), the book (n, 4 levels).

    time:  seconds after midnight, not decreasing.
    kind:  1 new, 2 partial cancel, 3 delete, 4 visible execution, 5 hidden execution, 6 cross trade, 7 halt.
    order: its number, positive for kinds 1 to 4.
    size:  units of the asset.
    price: whole price units, 1e-4 dollars.
    side:  of the resting order, +1 a bid; for kind 5 that of the hidden order.
    book:  ask price, ask size, bid price, bid size, then the next level; size 0 where a side has no such level.
    first_line: the line of row 0 in its file.

    Raises `DataError` naming the line that cannot be: out of order, a level that is none, or a book that changes in a
    way its message does not say, because messages are missing. Rows between a halt and the end of it may be anything.
    """

    time: np.ndarray
    kind: np.ndarray
    order: np.ndarray
    size: np.ndarray
    price: np.ndarray
    side: np.ndarray
    book: np.ndarray
    source: str = "record"
    first_line: int = 1

    def __post_init__(self) -> None:
        rows = len(self.time)
        if rows < 1 or self.book.ndim != 2 or self.book.shape[1] < 4 or self.book.shape[1] % 4:
            raise DataError(f"{self.source}: needs messages and a book of (n, 4 levels), got book {self.book.shape}")
        for name in (*_COLUMNS, "book"):
            array = getattr(self, name)
            if len(array) != rows:
                raise DataError(f"{self.source}: {len(array)} rows of {name} for {rows} messages; cut them alike")
            if name != "time" and not np.issubdtype(array.dtype, np.integer):
                raise DataError(f"{self.source}: {name} must be whole numbers, got {array.dtype}; give price units")
        _check_messages(self)
        _check_levels(self)
        _check_changes(self)

    def __len__(self) -> int:
        return len(self.time)

    @property
    def levels(self) -> int:
        """Levels recorded on each side."""
        return self.book.shape[1] // 4

    def prices(self, side: int) -> np.ndarray:
        """Prices of one side's levels, best first, (n, levels); they mean nothing where the size is 0."""
        return self.book[:, 2::4] if side > 0 else self.book[:, 0::4]

    def sizes(self, side: int) -> np.ndarray:
        """Sizes of one side's levels, best first, (n, levels)."""
        return self.book[:, 3::4] if side > 0 else self.book[:, 1::4]

    def halted(self) -> np.ndarray:
        """Rows in a halt: from its message until the one that resumes trading, without that one. (n,)"""
        starts = (self.kind == HALT) & (self.price != _ENDS_HALT)
        change = np.where(self.kind == HALT, np.arange(len(self)), 0)
        last = np.maximum.accumulate(change)
        return starts[last] & (self.kind[last] == HALT)


def read_record(path: str | PathLike[str], first: int = 0, stop: int | None = None) -> Record:
    """Read LOBSTER's zip of a day, or its message file with the order book file beside it, order by order.

    first, stop: the rows wanted, `stop` not among them; all by default. A replay begins with the book of the first.
    Raises `DataError` of one line, naming file, line and mend, where a file is absent, broken, or cannot be: see
    `Record`.
    """
    path = Path(path)
    raw = read_file(path)
    if is_zip(raw):
        inside = read_zip(path)
        names = [[n for n in inside if f"_{kind}_" in n and n.endswith(".csv")] for kind in ("message", "orderbook")]
        if [len(found) for found in names] != [1, 1]:
            raise DataError(f"{path.name}: does not hold one message and one orderbook file; give LOBSTER's zip")
        (name,), (book_name,) = names
        return _parse(name, inside[name], book_name, inside[book_name], slice(first, stop))
    if not is_message_row(raw[:200].decode("ascii", "replace").splitlines()[0]):
        raise DataError(f"{path.name}: no message file of LOBSTER; give the message csv, or the zip of it and its book")
    book = _book_beside(path)
    return _parse(path.name, raw, book.name, read_file(book), slice(first, stop))


def _parse(name: str, message: bytes, book_name: str, book: bytes, part: slice) -> Record:
    rows = _table(name, message, len(_COLUMNS), "0 1 2 3 4 5")
    columns = book.split(b"\n", 1)[0].count(b",") + 1
    if columns % 4:
        raise DataError(f"{book_name}, line 1: {columns} numbers, expected four per level; fetch it again")
    levels = _table(book_name, book, columns, " ".join(map(str, range(columns))))
    if len(rows) != len(levels):
        raise DataError(
            f"{name} has {len(rows)} rows and {book_name} {len(levels)}; one of them is cut short, fetch both again"
        )
    first_line = part.indices(len(rows))[0] + 1
    rows, levels = rows[part], levels[part]
    whole, book_levels = (_whole(file, table, first_line) for file, table in ((name, rows[:, 1:]), (book_name, levels)))
    return Record(rows[:, 0], *whole.T, book=book_levels, source=name, first_line=first_line)


def _whole(name: str, table: np.ndarray, first_line: int) -> np.ndarray:
    whole = np.rint(table)
    broken = (whole != table).any(axis=1)
    if broken.any():
        line = int(np.argmax(broken)) + first_line
        raise DataError(f"{name}, line {line}: has a number that is not whole; give LOBSTER's own units, 1e-4 dollars")
    return whole.astype(np.int64)


def _refuse(record: Record, wrong: Any, what: str, mend: str) -> None:
    wrong = np.asarray(wrong)
    if wrong.any():
        raise DataError(f"{record.source}, line {int(np.argmax(wrong)) + record.first_line}: {what}; {mend}")


def _check_messages(record: Record) -> None:
    kind, again = record.kind, "fetch the file again"
    trades = kind != HALT
    names_order = np.isin(kind, (SUBMIT, REDUCE, DELETE, EXECUTE))
    out_of_order = np.r_[False, ~(np.diff(record.time) >= 0)]
    _refuse(record, out_of_order, "is earlier than the line before", "sort messages and book together by time")
    _refuse(record, ~np.isin(kind, range(1, 8)), "has a type that is not 1 to 7", "give a message file of LOBSTER")
    _refuse(record, names_order & (record.order <= 0), "has an order number that is not positive", again)
    _refuse(record, trades & (record.size <= 0), "has a size that is not positive", again)
    _refuse(record, trades & (record.price <= 0), "has a price that is not positive", again)
    _refuse(record, trades & (np.abs(record.side) != 1), "has a direction that is not 1 or -1", again)


def _check_levels(record: Record) -> None:
    again = "fetch the book file again"
    for side, name in ((+1, "bid"), (-1, "ask")):
        price, size = record.prices(side), record.sizes(side)
        there = size > 0
        _refuse(record, (size < 0).any(axis=1), f"has a {name} level of negative size", again)
        _refuse(
            record, (there & ((price <= 0) | (price >= _EMPTY))).any(axis=1), f"has a {name} level at no price", again
        )
        beyond = there[:, 1:] & (~there[:, :-1] | (side * np.diff(price, axis=1) >= 0))
        _refuse(record, beyond.any(axis=1), f"has {name} levels that are not in order of price", again)
    both = (record.sizes(+1)[:, 0] > 0) & (record.sizes(-1)[:, 0] > 0) & ~record.halted()
    _refuse(record, both & (record.book[:, 2] >= record.book[:, 0]), "has a bid that is not below its ask", again)


def _check_changes(record: Record) -> None:
    """Every recorded level that is in sight before and after a message changes by what the message says."""
    effect = np.where(record.kind == SUBMIT, record.size, 0)
    effect -= np.where(np.isin(record.kind, (REDUCE, DELETE, EXECUTE)), record.size, 0)
    loose = record.halted()
    loose[1:] |= loose[:-1]
    for side in (+1, -1):
        price, size = record.prices(side), record.sizes(side)
        edge = side * vouched(record, side)
        own = (record.side == side)[1:, None]
        for here, there, sign in ((slice(None, -1), slice(1, None), 1), (slice(1, None), slice(None, -1), -1)):
            # Every level before is looked for afterwards, and every level afterwards before.
            found = np.zeros_like(size[here])
            for p, q in zip(price[there].T, size[there].T, strict=True):
                found += np.where(price[here] == p[:, None], q[:, None], 0)
            moved = np.where(own & (price[here] == record.price[1:, None]), sign * effect[1:, None], 0)
            seen = (size[here] > 0) & (side * price[here] >= edge[1:, None])
            wrong = np.r_[False, (seen & (size[here] + moved != found)).any(axis=1)] & ~loose
            _refuse(
                record,
                wrong,
                "the book changes in a way that its message does not say",
                "messages are missing before it; fetch the file again, or read the rows before and after it apart",
            )


def vouched(record: Record, side: int) -> np.ndarray:
    """The price up to which a side is in sight both before and after each message; (n,).

    A side that shows as many levels as are recorded may have more behind them; one that shows fewer is all in sight.
    """
    worst = np.where(record.sizes(side)[:, -1] > 0, record.prices(side)[:, -1], -side * _EMPTY)
    return side * np.maximum(side * worst, np.r_[side * worst[:1], side * worst[:-1]])
