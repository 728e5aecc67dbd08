"""Quotes and trades from CSV files: named columns of numbers, refused with line and column where they are not."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..messages import DataError
from ._implied import QuoteObservations
from ._observe import TradeRecord

_INVENTORY = ("inventory", "stock")  # either name will do


def read_quotes(path: str | os.PathLike[str]) -> QuoteObservations:
    """Quotes from a CSV file with the columns time, inventory (or stock), bid and ask; an empty cell is no quote.

    Units and signs are those of `QuoteObservations`. Raises `DataError` naming file, row and column.
    """
    columns = _columns(path, ("time", _INVENTORY, "bid", "ask"), (), empty=("bid", "ask"))
    return QuoteObservations(columns["time"], columns["inventory"], columns["bid"], columns["ask"])


def read_trades(path: str | os.PathLike[str], problem: Any) -> TradeRecord:
    """Trades from a CSV file with the columns time and fill, and if there are any session and inventory (or stock).

    Without an inventory column every row is a fill and every session begins with none. Without a session column there
    is one. Units are those of `TradeRecord`. Raises `DataError` naming file, row and column.
    """
    columns = _columns(path, ("time", "fill"), ("session", _INVENTORY))
    session = columns.get("session", np.zeros(len(columns["time"])))
    if "inventory" in columns:
        return TradeRecord(session, columns["time"], columns["inventory"], columns["fill"])
    if problem.moves:
        raise DataError(f"{path}: a stock that moves between fills needs the column stock, with rows in between")
    return TradeRecord.of_fills(session, columns["time"], columns["fill"], float(problem.horizon), float(problem.size))


def _columns(
    path: str | os.PathLike[str],
    needed: Sequence[str | tuple[str, ...]],
    optional: Sequence[str | tuple[str, ...]],
    empty: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Columns by name, a choice of names under its first; cells of `empty` ones may be so and become nan."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.reader(file))
    except UnicodeDecodeError:
        raise DataError(f"{path}: this is no text; give a CSV file") from None
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    found = {}
    for names in (*needed, *optional):
        choice = (names,) if isinstance(names, str) else names
        at = next((head.index(name) for name in choice if name in head), None)
        if at is not None:
            found[choice[0]] = _numbers(path, rows[1:], at, head[at], choice[0] in empty)
        elif names in needed:
            raise DataError(f"{path}: there is no column {' or '.join(choice)}; its head names {', '.join(head)}")
    if len(rows) < 2:
        raise DataError(f"{path}: there are no rows below the head")
    return found


def _numbers(path: Any, rows: list[list[str]], at: int, name: str, may_be_empty: bool) -> np.ndarray:
    values = np.empty(len(rows))
    for i, row in enumerate(rows):
        cell = row[at].strip() if at < len(row) else ""
        try:
            values[i] = np.nan if not cell and may_be_empty else float(cell)
        except ValueError:
            raise DataError(f"{path}: line {i + 2}, column {name}: {cell!r} is no number") from None
    return values
