"""Binance: one line per message, the local receive time in ns, a space, the exchange's JSON.

Trades come from the stream `trade` (`p` price, `q` size, `m` true where the buyer was the maker, so that the
seller was the aggressor), best quotes from `bookTicker` (`b` bid, `a` ask). The clock is the exchange's
transaction time `T` in ms: the streams reach the listener with different delays, so the local time would put
quotes after the trades that moved them.
"""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise
from typing import Any

import numpy as np

from ._types import BestQuotes, DataError, Messages, Prints

PRICE_UNIT = 1e-8  # finer than any price the venue quotes, so that decimal strings become whole numbers
_DAY = 86_400_000
_LATEST = 10**14  # ms: the year 5138, within which times and prices are exact
_DEAREST = 2**53


def read_binance(name: str, lines: list[str]) -> Messages:
    """Messages from the lines of a file; raises `DataError` naming the line that is wrong."""
    trades, quotes = [], []
    for number, line in enumerate(lines, start=1):
        message = _message(name, number, line)
        kind = message.get("e")
        try:
            if kind == "trade" and message.get("X", "MARKET") == "MARKET":
                price, size = _price(message["p"]), _size(message["q"])
                trades.append((number, _time(message["T"]), price, size, _side(message["m"])))
            elif kind == "bookTicker":
                quotes.append((number, _time(message["T"]), _price(message["b"]), _price(message["a"])))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise DataError(
                f"{name}, line {number}: a {kind} message without its usual numbers; fetch it again"
            ) from None
    for what, found in (("trade", trades), ("bookTicker", quotes)):
        if not found:
            raise DataError(f"{name}: no {what} messages; record the streams trade and bookTicker")
        _check_order(name, what, found)
    return _messages(name, trades, quotes)


def _message(name: str, number: int, line: str) -> dict:
    parts = re.match(r"(\d{16,19}) (\{.*\})$", line.strip())
    try:
        message = json.loads(parts[2]) if parts else None
    except json.JSONDecodeError:
        message = None
    if not isinstance(message, dict):
        raise DataError(
            f"{name}, line {number}: expected '<local ns> <json>', got {line[:40]!r}; "
            "the file is cut short or corrupt, fetch it again"
        )
    inner = message.get("data", message)
    return inner if isinstance(inner, dict) else message


# What a field may hold; where something else is there these raise, and the reader names the line.


def _time(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _LATEST:
        raise ValueError
    return value


def _price(text: Any) -> int:
    price = round(_number(text) / PRICE_UNIT)
    if not 0 < price < _DEAREST:
        raise ValueError
    return price


def _size(text: Any) -> float:
    size = _number(text)
    if not 0 < size < math.inf:
        raise ValueError
    return size


def _side(buyer_is_maker: Any) -> int:
    if type(buyer_is_maker) is not bool:
        raise ValueError
    return -1 if buyer_is_maker else 1


def _number(text: Any) -> float:
    if isinstance(text, bool):
        raise TypeError
    return float(text)


def _check_order(name: str, what: str, found: list[tuple]) -> None:
    for before, after in pairwise(found):
        if after[1] < before[1]:
            raise DataError(
                f"{name}, line {after[0]}: this {what} is earlier than the one before; sort the file by time"
            )


def _messages(name: str, trades: list[tuple], quotes: list[tuple]) -> Messages:
    first = min(trades[0][1], quotes[0][1])
    midnight = first - first % _DAY

    def seconds(rows: list[tuple]) -> np.ndarray:
        return (np.array([row[1] for row in rows]) - midnight) / 1e3

    def column(rows: list[tuple], index: int) -> np.ndarray:
        return np.array([row[index] for row in rows])

    prints = Prints(seconds(trades), column(trades, 2), column(trades, 3), column(trades, 4))
    best = BestQuotes(seconds(quotes), column(quotes, 2), column(quotes, 3))
    crossed = best.bid > best.ask
    if crossed.any():
        raise DataError(f"{name}, line {quotes[int(np.argmax(crossed))][0]}: its bid is above its ask; fetch it again")
    # Outside its first and last trade a recording says nothing about how often orders come.
    opening, closing = max(prints.time[0], best.time[0]), prints.time[-1]
    last = max(prints.time[-1], best.time[-1])
    return Messages(
        source=name,
        venue="Binance",
        price_unit=PRICE_UNIT,
        quotes=best,
        prints=prints,
        span=(float(opening), float(last)),
        session=(float(opening), float(closing)),
    )
