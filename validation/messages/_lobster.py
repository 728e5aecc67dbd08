"""LOBSTER: one csv of messages, one of the book after each.

Message columns: seconds after midnight, type (1 new, 2 partial cancel, 3 delete, 4 visible execution, 5
hidden execution, 6 cross trade, 7 halt), order id, size, price in 1e-4 dollars, direction of the *resting*
order: the aggressor is the other side. A halt's price is -1 where it begins, 0 where quotes may come again, 1
where trading does. Book columns: ask price, ask size, bid price, bid size, then the next level.
"""

from __future__ import annotations

import math
import re

import numpy as np

from ._files import lines_of
from ._types import BestQuotes, DataError, Messages, Prints

PRICE_UNIT = 1e-4
OPENING, CLOSING = 34_500.0, 57_300.0  # 09:35 and 15:55: without the five minutes beside the auctions
_VISIBLE_EXECUTION, _HALT = 4, 7
_EMPTY_LEVEL = 9_999_999_999  # what stands for a price where a side of the book is empty
_MESSAGE_COLUMNS = 6


def is_message_row(line: str) -> bool:
    """Whether a line looks like a LOBSTER message."""
    return re.fullmatch(r"\d+(\.\d+)?,[1-7],-?\d+,\d+,-?\d+,-?1", line.strip()) is not None


def is_book_row(line: str) -> bool:
    """Whether a line looks like a row of a LOBSTER order book."""
    cells = line.strip().split(",")
    return len(cells) % 4 == 0 and all(re.fullmatch(r"-?\d+", cell) for cell in cells)


def read_lobster(name: str, message: bytes, book_name: str, book: bytes) -> Messages:
    """Messages from the bytes of both csv files; raises `DataError` naming the file and line at fault."""
    rows = _table(name, message, _MESSAGE_COLUMNS, "0 1 3 4 5")
    best = _table(book_name, book, None, "0 2")
    if len(rows) != len(best):
        raise DataError(
            f"{name} has {len(rows)} rows and {book_name} {len(best)}; one of them is cut short, fetch both again"
        )
    time, kind, size, price, direction = rows.T
    _check_messages(name, time, kind, size, price, direction)
    visible = kind == _VISIBLE_EXECUTION
    prints = Prints(time[visible], _whole(price[visible]), size[visible], -_whole(direction[visible]))
    quotes, span = _quotes(book_name, time, best), _span(name, time)
    return Messages(
        source=name,
        venue="LOBSTER",
        price_unit=PRICE_UNIT,
        quotes=quotes,
        prints=prints,
        span=span,
        session=_session(max(span[0], math.ceil(quotes.time[0])), span[1]),
        halts=_halts(span, time[kind == _HALT], price[kind == _HALT]),
    )


def _table(name: str, raw: bytes, columns: int | None, use: str) -> np.ndarray:
    """Columns `use` of a csv of numbers (n, len(use)) that has `columns`, or as many as its first line."""
    lines = lines_of(name, raw)
    if not lines:
        raise DataError(f"{name}: the file is empty; fetch it again")
    columns = columns or lines[0].count(",") + 1
    used = [int(c) for c in use.split()]
    try:
        if lines[-1].count(",") != columns - 1:  # the commonest damage, and in a column that may not be used
            raise ValueError
        table = np.loadtxt(lines, delimiter=",", comments=None, usecols=used, ndmin=2)
    except ValueError:
        raise _wrong_line(name, lines, columns) from None
    if not np.isfinite(table).all():
        raise _wrong_line(name, lines, columns)
    return table


def _wrong_line(name: str, lines: list[str], columns: int) -> DataError:
    numbers = re.compile(r"-?\d+(\.\d*)?(,-?\d+(\.\d*)?)*")
    sound = (numbers.fullmatch(line) and line.count(",") == columns - 1 for line in lines)
    number = next((i for i, fine in enumerate(sound, start=1) if not fine), len(lines))
    line = lines[number - 1]
    return DataError(
        f"{name}, line {number}: expected {columns} numbers, got {line[:40]!r}; "
        "the file is cut short or corrupt, fetch it again"
    )


def _check_messages(name: str, time, kind, size, price, direction) -> None:
    trade = kind != _HALT
    checks = (
        (np.r_[False, np.diff(time) < 0], "is earlier than the line before", "sort the file by time"),
        (~np.isin(kind, range(1, 8)), "has a type that is not 1 to 7", "give a message file of LOBSTER"),
        (trade & (size <= 0), "has a size that is not positive", "fetch the file again"),
        (trade & (price <= 0), "has a price that is not positive", "fetch the file again"),
        (trade & (np.abs(direction) != 1), "has a direction that is not 1 or -1", "fetch the file again"),
    )
    for wrong, what, mend in checks:
        if wrong.any():
            raise DataError(f"{name}, line {int(np.argmax(wrong)) + 1}: {what}; {mend}")


def _quotes(name: str, time: np.ndarray, best: np.ndarray) -> BestQuotes:
    """Best quotes after each message; rows with an empty side are left out, so the last quote stands."""
    ask, bid = _whole(best[:, 0]), _whole(best[:, 1])
    both = (ask < _EMPTY_LEVEL) & (bid > -_EMPTY_LEVEL)
    crossed = both & ((bid > ask) | (bid <= 0))
    if crossed.any():
        line = int(np.argmax(crossed)) + 1
        raise DataError(f"{name}, line {line}: bid {bid[line - 1]} and ask {ask[line - 1]} cannot be; fetch it again")
    if not both.any():
        raise DataError(f"{name}: no row has both a bid and an ask; give an instrument that is quoted")
    return BestQuotes(time[both], bid[both], ask[both])


def _span(name: str, time: np.ndarray) -> tuple[float, float]:
    """Seconds covered: by the file's name (TICKER_date_start_end_message_level, in ms), else by its rows."""
    first, last = float(time[0]), float(time[-1])
    stated = re.search(r"_(\d+)_(\d+)_message_", name)
    if stated:
        return min(first, int(stated[1]) / 1e3), max(last, int(stated[2]) / 1e3)
    return first, last


def _halts(span: tuple[float, float], time: np.ndarray, price: np.ndarray) -> tuple[tuple[float, float], ...]:
    """From halt to resumption; one that was there before the file, or outlasts it, reaches to the file's end."""
    found, since = [], span[0]
    halted = bool(price.size) and price[0] >= 0
    for when, what in zip(time.tolist(), price.tolist(), strict=True):
        if what > 0 and halted:
            found.append((since, when))
        elif what <= 0 and not halted:
            since = when
        halted = what <= 0
    return (*found, (since, span[1])) if halted else tuple(found)


def _session(first: float, last: float) -> tuple[float, float]:
    """09:35 to 15:55 as far as the file goes; all of it where it lies outside of these."""
    opening, closing = max(first, OPENING), min(last, CLOSING)
    return (opening, closing) if opening < closing else (float(first), float(last))


def _whole(values: np.ndarray) -> np.ndarray:
    return np.rint(values).astype(np.int64)
