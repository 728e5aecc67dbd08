"""Markets as data: what is open when, and the rules of the book. No market here has code of its own.

A day is a list of sessions. In a session any of these may be open: a dealer who quotes, a continuous auction, the
collecting of orders for a call auction, and trades agreed between two parties. `hybrid.step` looks these up, so
the same compiled step runs every market.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..matching.rules import BookRules, OddLots, check_whole, exact_width

ANYTHING = 2**30
"""A price limit that no price reaches."""


def clock(time: str) -> int:
    """Minutes since midnight of a time such as `"9:15"`."""
    hours, colon, minutes = time.partition(":")
    if not (colon and hours.isdigit() and minutes.isdigit() and int(hours) < 24 and int(minutes) < 60):
        raise ValueError(f"a time of day must be hours:minutes, such as 9:15, got {time!r}")
    return 60 * int(hours) + int(minutes)


@dataclass(frozen=True)
class Session:
    """A stretch of the day and what is open in it.

    dealer:     the dealer trades at its quotes, with whoever wants to trade at once, or with everybody where no order
                can be placed.
    continuous: an order meets those that rest, at their prices, and what is left of it rests.
    collecting: orders are taken in and wait; nothing trades before the next call.
    called:     at the session's end all orders collected so far trade at one price.
    negotiated: whoever comes may agree on a price with one other investor.

    In a session with none of these, such as one in which the dealer only shows its quotes, nobody can do anything.
    """

    start: str
    end: str
    dealer: bool = False
    continuous: bool = False
    collecting: bool = False
    called: bool = False
    negotiated: bool = False

    def __post_init__(self) -> None:
        if clock(self.end) <= clock(self.start):
            raise ValueError(f"a session must end after it starts, got {self.start} to {self.end}")
        if self.continuous and self.collecting:
            raise ValueError(f"the session from {self.start} either matches orders as they come or collects them")

    @property
    def open(self) -> bool:
        return self.dealer or self.continuous or self.collecting or self.negotiated

    @property
    def minutes(self) -> int:
        return clock(self.end) - clock(self.start)


class Moment(NamedTuple):
    """What an investor finds on arrival; one entry each, (arrivals,). See `Session`.

    called: the collected orders are called right after this arrival.   minute: of the day.
    """

    dealer: Any
    continuous: Any
    collecting: Any
    negotiated: Any
    called: Any
    minute: Any


class RuleNumbers(NamedTuple):
    """`tick`, `lot` and `odd_lots` as in `BookRules`; the width of the price limits in thousandths, -1 for none."""

    tick: np.int32
    lot: np.int32
    odd_lots: np.int32
    width: np.int32

    def book(self, reference: jax.Array) -> BookRules:
        """The book's rules on a day with these reference prices, (books,): limits inward, as in `price_limits`."""
        # In thousands and the rest, so that a large reference does not outgrow 32 bits.
        move = reference // 1000 * self.width + reference % 1000 * self.width // 1000
        free = self.width < 0
        low, high = jnp.where(free, 0, reference - move), jnp.where(free, ANYTHING, reference + move)
        tick, lot, odd_lots = (jnp.asarray(n) for n in (self.tick, self.lot, self.odd_lots))
        return BookRules(tick, lot, odd_lots, low, high)


def thousandths(width: float) -> Fraction:
    """Of a width of price limits, as it is written: 0.0155 are 15.5 of them."""
    return 1000 * exact_width(width)


@dataclass(frozen=True)
class MarketRules:
    """A trading day as data.

    sessions: in the order of the day.
    tick:     prices are multiples of it.
    lot:      sizes are multiples of it, as far as `odd_lots` says so.
    width:    of the price limits around the day's reference price, a multiple of 0.001 such as 0.15; None for none.

    Raises `ValueError` for numbers that make no sense, where sessions overlap, nothing is ever open, or a call would
    have to find orders in a continuous auction before it.
    """

    sessions: tuple[Session, ...]
    tick: int = 1
    lot: int = 1
    odd_lots: OddLots = OddLots.REFUSED
    width: float | None = None

    def __post_init__(self) -> None:
        if not any(session.open for session in self.sessions):
            raise ValueError("sessions must have at least one in which something is open")
        matched = False
        for before, after in zip(self.sessions, self.sessions[1:], strict=False):
            if clock(after.start) < clock(before.end):
                raise ValueError(f"the session from {after.start} starts before the one to {before.end} has ended")
            matched |= before.continuous
            if matched and after.collecting:
                raise ValueError(f"the call from {after.start} cannot follow a continuous auction on the same day")
        for name in ("tick", "lot"):
            check_whole(name, getattr(self, name), 1, "leave it out for no such rule")
        if self.width is not None and thousandths(self.width).denominator != 1:
            near = Fraction(max(round(thousandths(self.width)), 1), 1000)
            raise ValueError(f"width must be a multiple of 0.001, got {self.width}; give {float(near)}")

    @property
    def numbers(self) -> RuleNumbers:
        """The rules of the book as whole numbers, the same kind for every market."""
        width = -1 if self.width is None else int(thousandths(self.width))
        return RuleNumbers(np.int32(self.tick), np.int32(self.lot), np.int32(self.odd_lots), np.int32(width))

    def schedule(self, arrivals: int) -> Moment:
        """What each of so many investors finds, who come evenly over the time in which something is open."""
        sessions = [session for session in self.sessions if session.open]
        ends = np.cumsum([session.minutes for session in sessions])
        since = (np.arange(arrivals) + 0.5) * ends[-1] / arrivals
        which = np.searchsorted(ends, since, side="right")

        def flags(name: str) -> np.ndarray:
            return np.array([getattr(session, name) for session in sessions])[which]

        last = np.append(which[1:] != which[:-1], True)
        missed = [s for k, s in enumerate(sessions) if s.called and k not in which]
        if missed:
            raise ValueError(f"nobody arrives in the call from {missed[0].start}; let more than {arrivals} arrive")
        minute = np.array([clock(s.start) for s in sessions])[which] + since - np.append(0, ends)[which]
        return Moment(
            dealer=flags("dealer"),
            continuous=flags("continuous"),
            collecting=flags("collecting"),
            negotiated=flags("negotiated"),
            called=flags("called") & last,
            minute=minute.astype(np.int32),
        )


MORNING, AFTERNOON = ("9:30", "11:30"), ("13:00", "15:00")


def DealerRules() -> MarketRules:
    """A dealer and nobody else: take its quote, or leave."""
    return MarketRules((Session(*MORNING, dealer=True), Session(*AFTERNOON, dealer=True)))


def AuctionRules() -> MarketRules:
    """A continuous double auction without a dealer: everybody places a limit order."""
    return MarketRules((Session(*MORNING, continuous=True), Session(*AFTERNOON, continuous=True)))


def HybridRules() -> MarketRules:
    """Both side by side: who wants to trade at once goes to the dealer, limit orders meet each other."""
    hours = (MORNING, AFTERNOON)
    return MarketRules(tuple(Session(*each, dealer=True, continuous=True) for each in hours))


def TianjinRules(shares: int = 20_000) -> MarketRules:
    """The day of the Tianjin Equity Exchange for a company of so many shares, in 200 lots.

    From 9:25 the dealer shows its quotes; while it trades, orders that wait are taken in for the afternoon's call. An
    odd remainder is sold in one go, and prices stay within 15% of the day's reference.
    Raises `ValueError` where the shares are no whole number of lots.
    """
    if shares < 200 or shares % 200:
        raise ValueError(f"shares must be a multiple of 200, the number of lots, got {shares}")
    sessions = (
        Session("9:15", "9:25", collecting=True, called=True),
        Session("9:25", "9:30"),
        Session("9:30", "11:30", dealer=True, collecting=True),
        Session("13:00", "14:00", dealer=True, collecting=True),
        Session("14:00", "14:15", collecting=True, called=True),
        Session("14:15", "15:00", negotiated=True),
    )
    return MarketRules(sessions, lot=shares // 200, odd_lots=OddLots.SOLD, width=0.15)
