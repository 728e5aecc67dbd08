"""What a message is turned into when it arrives: checked against the rules and the capacity, or refused untouched."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from ._layout import MOST_OWNERS, Layout, read_row
from .book import Book
from .messages import BUY, SELL, Answer, Kind, Message
from .rules import BookRules, OddLots

where = jnp.where


class Task(IntEnum):
    """What is to be done next for a message."""

    NONE = 0
    TAKE_OFF = 1  # take some off the resting order, then enter what is left, if any
    ENTER = 2  # trade within the price, then let the rest stand
    TAKE = 3  # trade within the price, then drop the rest
    COUNT = 4  # see whether all of it would trade, then take it


class Intent(NamedTuple):
    """A message as a task; (books,). `price` is a tick of the grid, `left` the size still to be dealt with."""

    task: jax.Array
    side: jax.Array
    price: jax.Array
    left: jax.Array
    order: jax.Array
    owner: jax.Array


ENTERING = (Kind.LIMIT, Kind.MARKET, Kind.IMMEDIATE, Kind.ALL_OR_NOTHING, Kind.POST_ONLY)
STANDING = (Kind.LIMIT, Kind.POST_ONLY)
REFERRING = (Kind.CANCEL, Kind.REPLACE, Kind.REDUCE)
SIZED = (*ENTERING, Kind.REPLACE, Kind.REDUCE)
PRICED = (Kind.LIMIT, Kind.IMMEDIATE, Kind.ALL_OR_NOTHING, Kind.POST_ONLY, Kind.REPLACE)


def among(kind: jax.Array, kinds: Iterable[Kind]) -> jax.Array:
    return ((sum(1 << k for k in kinds) >> jnp.clip(kind, 0, 31)) & 1) == 1


def within(side: jax.Array, price: jax.Array, bid: jax.Array, ask: jax.Array, ticks: int) -> jax.Array:
    """Whether an order of that side and price tick would meet the other side."""
    return where(side > 0, ask <= jnp.minimum(price, ticks - 1), bid >= jnp.maximum(price, 0))


@runtime_checkable
class Venue(Protocol):
    """What has to be known of a book to check a message."""

    layout: Layout
    origin: jax.Array

    @property
    def bid(self) -> jax.Array: ...

    @property
    def ask(self) -> jax.Array: ...


class Standing(NamedTuple):
    """The order that rests under a message's number, if any; (books,)."""

    numbered: jax.Array  # whether the number is one of the book's
    size: jax.Array
    place: jax.Array


def look_up(book: Book, base: jax.Array, message: Message) -> Standing:
    """What rests under each message's number; `base` is where each book's words begin."""
    numbered = (message.order >= 1) & (message.order <= book.layout.orders)
    _, _, size, place = read_row(book.words, (base >> 2) + where(numbered, message.order, 0), 4)
    return Standing(numbered, size, place)


def side_of(book: Book, message: Message, standing: Standing) -> jax.Array:
    """The message's, or that of the order it refers to."""
    resting = where((standing.place & 0xFFFF) <= book.bid, BUY, SELL)
    return where(among(message.kind, REFERRING), resting, message.side)


def _price(book: Book, message: Message, side: jax.Array) -> jax.Array:
    """The worst tick at which a message trades."""
    last = book.layout.ticks - 1
    return where(message.kind == int(Kind.MARKET), where(side > 0, last, 0), message.price - book.origin)


def plan(book: Book, message: Message, standing: Standing, answer: jax.Array) -> tuple[Intent, jax.Array]:
    """The task of each message, none where the answer is a refusal, and the size to take off what stands."""
    kind, size = message.kind, message.size
    refers = among(kind, REFERRING)
    side = side_of(book, message, standing)
    owner = where(refers, standing.place >> 16, message.owner)
    replaces = kind == int(Kind.REPLACE)
    same_price = (standing.place & 0xFFFF) == message.price - book.origin
    in_place = replaces & same_price & (size < standing.size)

    off = where(kind == int(Kind.REDUCE), jnp.minimum(size, standing.size), standing.size)
    off = where(in_place, standing.size - size, off)
    left = where(refers & ~(replaces & ~in_place), 0, size)
    task = where(refers, int(Task.TAKE_OFF), int(Task.TAKE))
    task = where(among(kind, STANDING), int(Task.ENTER), task)
    task = where(kind == int(Kind.ALL_OR_NOTHING), int(Task.COUNT), task)
    task = where((kind == int(Kind.NOTHING)) | (answer != int(Answer.ACCEPTED)), int(Task.NONE), task)
    return Intent(task, side, _price(book, message, side), left, message.order, owner), off


def check(book: Venue, message: Message, standing: Standing, side: jax.Array, rules: BookRules) -> jax.Array:
    """The answer to each message on arrival; where several refusals apply, the first of this list."""
    layout, kind, size = book.layout, message.kind, message.size
    tick = message.price - book.origin
    trades = within(side, tick, book.bid, book.ask, layout.ticks)
    enters, stands, refers = among(kind, ENTERING), among(kind, STANDING), among(kind, REFERRING)
    sized, priced = among(kind, SIZED), among(kind, PRICED)
    numbered, stands_already = standing.numbered, standing.numbered & (standing.size > 0)
    refusals = [
        ((kind < 0) | (kind > max(Kind)), Answer.UNKNOWN_KIND),
        (enters & (side != BUY) & (side != SELL), Answer.BAD_SIDE),
        (stands & ~numbered, Answer.NUMBER_TOO_HIGH),
        (stands & stands_already, Answer.NUMBER_IN_USE),
        (refers & ~stands_already, Answer.UNKNOWN_ORDER),
        (enters & ((message.owner < 0) | (message.owner >= MOST_OWNERS)), Answer.OWNER_TOO_HIGH),
        (sized & (size <= 0), Answer.BAD_SIZE),
        (sized & (size > layout.most_size), Answer.SIZE_TOO_LARGE),
    ]
    refusals += against_rules(rules, message, side, sized, priced)
    refusals += [
        (priced & ((tick < 0) | (tick >= layout.ticks)), Answer.OFF_GRID),
        ((kind == int(Kind.POST_ONLY)) & trades, Answer.WOULD_TRADE),
        ((kind == int(Kind.ALL_OR_NOTHING)) & ~trades, Answer.CANNOT_FILL),
    ]
    return first(refusals)


def against_rules(
    rules: BookRules, message: Message, side: jax.Array, sized: jax.Array, priced: jax.Array
) -> list[tuple[jax.Array, Answer]]:
    """What the rules have against the sizes and prices of messages that have one."""
    refusals = []
    size, price = message.size, message.price
    if rules.lot is not None:
        may_be_odd = (rules.odd_lots == int(OddLots.ALLOWED)) | ((rules.odd_lots == int(OddLots.SOLD)) & (side < 0))
        refusals.append((sized & (size % rules.lot != 0) & ~may_be_odd, Answer.ODD_SIZE))
    if rules.tick is not None:
        refusals.append((priced & (price % rules.tick != 0), Answer.OFF_TICK))
    for limit, beyond in ((rules.lowest, jnp.less), (rules.highest, jnp.greater)):
        if limit is not None:
            refusals.append((priced & beyond(price, limit), Answer.OUTSIDE_LIMITS))
    return refusals


def first(refusals: list[tuple[jax.Array, Answer]]) -> jax.Array:
    """The first that applies, or ACCEPTED."""
    answer = jnp.zeros_like(refusals[0][0], jnp.int32)
    for applies, refusal in reversed(refusals):
        answer = where(applies, int(refusal), answer)
    return answer
