"""Which venue wrote a file, and the messages in it."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

from ._binance import read_binance
from ._files import is_zip, lines_of, read_file, read_zip
from ._lobster import is_book_row, is_message_row, read_lobster
from ._types import DataError, Messages

_KNOWN = "LOBSTER's zip, its message csv beside its orderbook csv, or Binance lines of '<local ns> <json>'"


def read_messages(path: str | PathLike[str]) -> Messages:
    """Read a file of market messages; the venue is told from the contents, not from the name.

    Known are LOBSTER (the zip of a message and an order book file, or the message file with its order book
    file beside it) and Binance (one line per message: local time in ns, a space, the exchange's JSON, with
    the streams `trade` and `bookTicker` in it). Plain, gzip and xz are unpacked alike.

    Raises `DataError` (a `ValueError`) of one line, naming file, line and mend, where the file is absent,
    empty, cut short, corrupt, out of order or of no known kind.
    """
    path = Path(path)
    raw = read_file(path)
    if is_zip(raw):
        return _from_zip(path)
    start = raw[:4096].lstrip()
    first = lines_of(path.name, start[: start.find(b"\n")] if b"\n" in start else start)[0]
    if re.match(r"\d{16,19} \{", first):
        return read_binance(path.name, lines_of(path.name, raw))
    if is_message_row(first):
        book = _book_beside(path)
        return read_lobster(path.name, raw, book.name, read_file(book))
    if is_book_row(first):
        raise DataError(f"{path.name}: this is LOBSTER's order book; give the message file, or the zip of both")
    raise DataError(f"{path.name}: not a known kind of file; give {_KNOWN}")


def _from_zip(path: Path) -> Messages:
    inside = read_zip(path)
    found = []
    for kind in ("message", "orderbook"):
        names = [name for name in inside if f"_{kind}_" in name and name.endswith(".csv")]
        if len(names) != 1:
            raise DataError(f"{path.name}: holds {len(names)} LOBSTER {kind} files; give one day of one instrument")
        found += [names[0], inside[names[0]]]
    return read_lobster(*found)


def _book_beside(path: Path) -> Path:
    name = path.name.replace("message", "orderbook")
    stem = name.removesuffix(".gz").removesuffix(".xz")
    for candidate in (name, stem, f"{stem}.gz", f"{stem}.xz"):
        if candidate != path.name and path.with_name(candidate).is_file():
            return path.with_name(candidate)
    raise DataError(f"{path.name}: no order book beside it; put {stem} in the same folder")
