"""An order book with nothing clever about it: a list of orders per price, in order of arrival, read line by line.

It knows the rules in words only; no code and no data structure of the library's book is in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Message(NamedTuple):
    kind: str
    side: int = 0
    size: int = 0
    price: int = 0
    order: int = 0
    owner: int = 0


class Trade(NamedTuple):
    maker: int
    taker: int
    price: int
    size: int
    side: int
    maker_owner: int
    taker_owner: int


@dataclass
class Order:
    number: int
    side: int
    size: int
    owner: int


@dataclass
class Reply:
    answer: str = "ACCEPTED"
    trades: list[Trade] = field(default_factory=list)
    rested: int = 0
    cancelled: int = 0
    pulled: int = 0


@dataclass
class Rules:
    tick: int = 1
    lot: int = 1
    odd_lots: str = "REFUSED"
    lowest: int | None = None
    highest: int | None = None
    self_trade: str | None = None


OVERFLOWS = {"NUMBER_TOO_HIGH", "OWNER_TOO_HIGH", "SIZE_TOO_LARGE", "OFF_GRID", "TOO_MANY_FILLS"}
ENTERING = {"LIMIT", "MARKET", "IMMEDIATE", "ALL_OR_NOTHING", "POST_ONLY"}
REFERRING = {"CANCEL", "REPLACE", "REDUCE"}


class Book:
    def __init__(self, orders: int, ticks: int, origin: int, fills: int, rules: Rules) -> None:
        self.orders, self.ticks, self.origin, self.fills, self.rules = orders, ticks, origin, fills, rules
        self.levels: dict[int, list[Order]] = {}
        self.refused = self.overflowed = 0

    # --- what is there -----------------------------------------------------------------------------------------

    def find(self, number: int) -> tuple[int, Order] | None:
        return next(((p, o) for p, level in self.levels.items() for o in level if o.number == number), None)

    def prices(self, side: int) -> list[int]:
        """Prices at which something of that side rests, best first."""
        prices = [price for price, level in self.levels.items() if level and level[0].side == side]
        return sorted(prices, reverse=side > 0)

    def met(self, side: int, limit: int | None) -> list[tuple[int, Order]]:
        """The orders that an incoming one of `side` would meet within its limit, in the order it meets them."""
        prices = [p for p in self.prices(-side) if limit is None or side * p <= side * limit]
        return [(p, order) for p in prices for order in self.levels[p]]

    def remove(self, price: int, order: Order) -> None:
        self.levels[price].remove(order)
        if not self.levels[price]:
            del self.levels[price]

    # --- what may happen to it ---------------------------------------------------------------------------------

    def send(self, message: Message) -> Reply:
        reply = Reply()
        reply.answer = self.objection(message)
        if reply.answer == "ACCEPTED":
            self.carry_out(message, reply)
        if reply.answer not in ("ACCEPTED", "SELF_TRADE"):
            self.refused += 1
            self.overflowed += reply.answer in OVERFLOWS
        return reply

    def objection(self, m: Message) -> str:
        if m.kind == "NOTHING":
            return "ACCEPTED"
        standing = self.find(m.order)
        side = standing[1].side if standing and m.kind in REFERRING else m.side
        priced = m.kind not in ("MARKET", "CANCEL", "REDUCE")
        if m.kind not in ENTERING | REFERRING:
            return "UNKNOWN_KIND"
        if m.kind in ENTERING and m.side not in (1, -1):
            return "BAD_SIDE"
        if m.kind in ("LIMIT", "POST_ONLY"):
            if not 1 <= m.order <= self.orders:
                return "NUMBER_TOO_HIGH"
            if standing:
                return "NUMBER_IN_USE"
        if m.kind in REFERRING and not standing:
            return "UNKNOWN_ORDER"
        if m.kind in ENTERING and not 0 <= m.owner <= 32767:
            return "OWNER_TOO_HIGH"
        if m.kind != "CANCEL":
            if m.size <= 0:
                return "BAD_SIZE"
            if m.size > (2**31 - 1) // self.orders:
                return "SIZE_TOO_LARGE"
            excused = self.rules.odd_lots == "ALLOWED" or (self.rules.odd_lots == "SOLD" and side == -1)
            if m.size % self.rules.lot and not excused:
                return "ODD_SIZE"
        if priced:
            if m.price % self.rules.tick:
                return "OFF_TICK"
            if self.rules.lowest is not None and m.price < self.rules.lowest:
                return "OUTSIDE_LIMITS"
            if self.rules.highest is not None and m.price > self.rules.highest:
                return "OUTSIDE_LIMITS"
            if not self.origin <= m.price < self.origin + self.ticks:
                return "OFF_GRID"
        if m.kind == "POST_ONLY" and self.met(m.side, m.price):
            return "WOULD_TRADE"
        if m.kind == "ALL_OR_NOTHING":
            return self.objection_to_all(m)
        return "ACCEPTED"

    def objection_to_all(self, m: Message) -> str:
        left, makers = m.size, 0
        for _, order in self.met(m.side, m.price):
            own = m.owner > 0 and order.owner == m.owner
            if own and self.rules.self_trade == "CANCEL_INCOMING":
                return "CANNOT_FILL"
            if own and self.rules.self_trade == "CANCEL_RESTING":
                continue
            left -= min(left, order.size)
            makers += 1
            if left == 0:
                return "TOO_MANY_FILLS" if makers > self.fills else "ACCEPTED"
        return "CANNOT_FILL"

    def carry_out(self, m: Message, reply: Reply) -> None:
        if m.kind == "NOTHING":
            return
        if m.kind in REFERRING:
            price, order = self.find(m.order) or (0, Order(0, 0, 0, 0))
            if m.kind == "REDUCE" and m.size < order.size:
                order.size -= m.size
                reply.cancelled = m.size
            elif m.kind == "REPLACE" and m.price == price and m.size < order.size:
                reply.cancelled = order.size - m.size
                order.size = m.size
            else:
                self.remove(price, order)
                reply.cancelled = order.size
                if m.kind == "REPLACE":
                    self.enter(m._replace(side=order.side, owner=order.owner), reply)
        else:
            self.enter(m, reply)

    def enter(self, m: Message, reply: Reply) -> None:
        left = m.size
        for price, order in self.met(m.side, None if m.kind == "MARKET" else m.price):
            if left == 0:
                return
            if m.owner > 0 and order.owner == m.owner and self.rules.self_trade:
                if self.rules.self_trade == "CANCEL_INCOMING":
                    reply.answer = "SELF_TRADE"
                    return
                reply.pulled += order.size
                self.remove(price, order)
                continue
            if len(reply.trades) == self.fills:
                reply.answer = "TOO_MANY_FILLS"
                return
            size = min(left, order.size)
            reply.trades.append(Trade(order.number, m.order, price, size, m.side, order.owner, m.owner))
            left -= size
            order.size -= size
            if order.size == 0:
                self.remove(price, order)
        if left and m.kind in ("LIMIT", "POST_ONLY", "REPLACE"):
            self.levels.setdefault(m.price, []).append(Order(m.order, m.side, left, m.owner))
            reply.rested = left
