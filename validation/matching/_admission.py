"""What a message is turned into when it arrives: checked against the rules and the capacity, or refused untouched."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ._layout import MOST_OWNERS, PLACE, SIZE, Layout, read
from .messages import BUY, SELL, Answer, Kind, Message
from .rules import BookRules, OddLots

where = jnp.where


class Task(IntEnum):
    """What is to be done next for a message."""

    NONE = 0
    TAKE_OFF = 1  # take `off` from the resting order, then enter what is left, if any
    ENTER = 2  # trade within the price, then let the rest stand
    TAKE = 3  # trade within the price, then drop the rest
    COUNT = 4  # see whether all of it would trade, then take it


class Intent(NamedTuple):
    """A message as a task; (books,). `price` is a tick of the grid, `left` the size still to be dealt with."""

    task: jax.Array
    side: jax.Array
    price: jax.Array
    left: jax.Array
    off: jax.Array
    order: jax.Array
    owner: jax.Array


ENTERING = (Kind.LIMIT, Kind.MARKET, Kind.IMMEDIATE, Kind.ALL_OR_NOTHING, Kind.POST_ONLY)
STANDING = (Kind.LIMIT, Kind.POST_ONLY)
REFERRING = (Kind.CANCEL, Kind.REPLACE, Kind.REDUCE)
SIZED = (*ENTERING, Kind.REPLACE, Kind.REDUCE)
PRICED = (Kind.LIMIT, Kind.IMMEDIATE, Kind.ALL_OR_NOTHING, Kind.POST_ONLY, Kind.REPLACE)


def _among(kind: jax.Array, kinds: Iterable[Kind]) -> jax.Array:
    return ((sum(1 << k for k in kinds) >> jnp.clip(kind, 0, 31)) & 1) == 1


def within(side: jax.Array, price: jax.Array, bid: jax.Array, ask: jax.Array, ticks: int) -> jax.Array:
    """Whether an order of that side and price tick would meet the other side."""
    return where(side > 0, ask <= jnp.minimum(price, ticks - 1), bid >= jnp.maximum(price, 0))


def admit(
    layout: Layout,
    words: jax.Array,
    base: jax.Array,
    bid: jax.Array,
    ask: jax.Array,
    origin: jax.Array,
    message: Message,
    rules: BookRules,
) -> tuple[Intent, jax.Array]:
    """The task of each message, `Task.NONE` where it is refused, and the answer."""
    kind = message.kind
    refers = _among(kind, REFERRING)
    numbered = (message.order >= 1) & (message.order <= layout.orders)
    node = base + 4 * where(numbered, message.order, 0)
    standing_size, place = read(words, node + SIZE), read(words, node + PLACE)
    standing_tick = place & 0xFFFF

    side = where(refers, where(standing_tick <= bid, BUY, SELL), message.side)
    owner = where(refers, place >> 16, message.owner)
    tick = message.price - origin
    last = layout.ticks - 1
    price = where(kind == int(Kind.MARKET), where(side > 0, last, 0), tick)
    trades = within(side, price, bid, ask, layout.ticks)

    answer = _check(layout, message, rules, side, tick, numbered, standing_size, trades)
    task, off, left = _plan(message, standing_size, standing_tick == tick)
    task = where(answer == int(Answer.ACCEPTED), task, int(Task.NONE))
    return Intent(task, side, price, left, off, message.order, owner), answer


def _plan(message: Message, standing: jax.Array, same_price: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Task, size to take off what stands, and size to enter, of messages that nothing speaks against."""
    kind, size = message.kind, message.size
    in_place = same_price & (size < standing)
    off = where(kind == int(Kind.REDUCE), jnp.minimum(size, standing), standing)
    off = where((kind == int(Kind.REPLACE)) & in_place, standing - size, off)
    left = where((kind == int(Kind.CANCEL)) | (kind == int(Kind.REDUCE)), 0, size)
    left = where((kind == int(Kind.REPLACE)) & in_place, 0, left)
    task = where(_among(kind, REFERRING), int(Task.TAKE_OFF), int(Task.TAKE))
    task = where(_among(kind, STANDING), int(Task.ENTER), task)
    task = where(kind == int(Kind.ALL_OR_NOTHING), int(Task.COUNT), task)
    return where(kind == int(Kind.NOTHING), int(Task.NONE), task), off, left


def _check(
    layout: Layout,
    message: Message,
    rules: BookRules,
    side: jax.Array,
    tick: jax.Array,
    numbered: jax.Array,
    standing_size: jax.Array,
    trades: jax.Array,
) -> jax.Array:
    """The answer; where several refusals apply, the first of this list."""
    kind, size = message.kind, message.size
    enters, stands, refers = _among(kind, ENTERING), _among(kind, STANDING), _among(kind, REFERRING)
    sized, priced = _among(kind, SIZED), _among(kind, PRICED)
    stands_already = numbered & (standing_size > 0)
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
    if rules.lot is not None:
        may_be_odd = (rules.odd_lots == int(OddLots.ALLOWED)) | ((rules.odd_lots == int(OddLots.SOLD)) & (side < 0))
        refusals.append((sized & (size % rules.lot != 0) & ~may_be_odd, Answer.ODD_SIZE))
    if rules.tick is not None:
        refusals.append((priced & (message.price % rules.tick != 0), Answer.OFF_TICK))
    for limit, beyond in ((rules.lowest, jnp.less), (rules.highest, jnp.greater)):
        if limit is not None:
            refusals.append((priced & beyond(message.price, limit), Answer.OUTSIDE_LIMITS))
    refusals += [
        (priced & ((tick < 0) | (tick >= layout.ticks)), Answer.OFF_GRID),
        ((kind == int(Kind.POST_ONLY)) & trades, Answer.WOULD_TRADE),
        ((kind == int(Kind.ALL_OR_NOTHING)) & ~trades, Answer.CANNOT_FILL),
    ]
    answer = jnp.zeros_like(kind)
    for applies, refusal in reversed(refusals):
        answer = where(applies, int(refusal), answer)
    return answer
