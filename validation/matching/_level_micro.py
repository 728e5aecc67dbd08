"""One micro-step of books that add the orders of a price up: at most one level, or the dealer's order, changes in each.

The same as `_micro` in every respect, but that a motion changes one number and not a ring.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from ._admission import against_rules, among, first, within
from ._bits import best_prices, marked, word_of
from ._layout import read, write
from ._micro import Effect, Fill
from ._stages import apart
from .levels import LevelBook, Own
from .messages import BUY, FIRST_OVERFLOW, FIRST_REFUSAL, SELL, Answer, Kind, Message
from .rules import BookRules

where = jnp.where

DEALER = 1
KINDS = (Kind.NOTHING, Kind.LIMIT, Kind.MARKET, Kind.IMMEDIATE, Kind.POST_ONLY, Kind.CANCEL)
PRICED = (Kind.LIMIT, Kind.IMMEDIATE, Kind.POST_ONLY, Kind.CANCEL)
MOST = 2**31 - 1


class Task(IntEnum):
    NONE = 0
    CANCEL = 1  # take size off a level
    PLACE = 2  # put the dealer's order in its place
    PULL = 3  # take the dealer's order away
    ENTER = 4  # trade within the price, then let the rest stand
    TAKE = 5  # trade within the price, then drop the rest


class Intent(NamedTuple):
    """A message as a task; (books,). `price` is a tick, `left` the size still to be dealt with."""

    task: jax.Array
    side: jax.Array
    price: jax.Array
    left: jax.Array
    order: jax.Array
    owner: jax.Array


class Work(NamedTuple):
    """What each book is at; (books,). As in `_micro.Work`."""

    intent: Intent
    effect: Effect | None
    seeking: jax.Array

    @property
    def ready(self) -> jax.Array:
        return (self.intent.task == int(Task.NONE)) & (self.seeking == 0)


def idle(books: int, tells: bool) -> Work:
    """Nothing in hand, as in `_micro`."""
    none = jnp.zeros(books, jnp.int32)
    intent = Intent(*[none] * len(Intent._fields))
    return Work(intent, Effect.begun(none) if tells else None, none)


def advance(
    book: LevelBook, work: Work, message: Message, arrives: jax.Array, rules: BookRules, room: jax.Array
) -> tuple[LevelBook, Work, Fill]:
    """Move every book by one micro-step, as `_micro.advance` does."""
    always = book.bid[0] >= -1
    base = lax.iota(jnp.int32, book.books) * book.stride

    malformed = apart(always, lambda: _check_by_itself(book, message, rules))
    told = apart(always, lambda: where(arrives, where(malformed > 0, malformed, _check_against(book, message)), 0))
    work = apart(always, lambda: _take_up(book, work, message, arrives, told))
    act, tick = apart(always, lambda: _choose(book, work))
    bits_at = base + book.ticks + word_of(tick)
    volume, bits = read(book.words, base + tick), read(book.words, bits_at)
    own = jax.tree.map(lambda bid, ask: where(act.on_bid, bid, ask), book.own_bid, book.own_ask)
    deed = apart(always, lambda: _do(work, act, tick, volume, own, told, room))

    new_bits = marked(bits, tick, deed.volume > 0)
    words = write(book.words, (base + tick, deed.volume), (bits_at, new_bits))

    def best() -> tuple[jax.Array, jax.Array, jax.Array]:
        emptied = (deed.volume == 0) & (volume > 0)
        adds = act.adds & (deed.rested > 0)
        return best_prices(
            always, book.bid, book.ask, work.seeking, tick, new_bits, emptied, adds, work.intent.side, book.ticks
        )

    bid, ask, seeking = apart(always, best)
    own = apart(always, lambda: _own_after(work.intent, act, tick, volume, own, deed))
    own_bid = jax.tree.map(lambda new, old: where(act.on_bid, new, old), own, book.own_bid)
    own_ask = jax.tree.map(lambda new, old: where(act.on_bid, old, new), own, book.own_ask)
    refused = book.refused + (deed.told >= int(FIRST_REFUSAL)).astype(jnp.int32)
    overflowed = book.overflowed + (deed.told >= int(FIRST_OVERFLOW)).astype(jnp.int32)
    parts = (words, bid, ask, own_bid, own_ask, refused, overflowed)
    book = eqx.tree_at(lambda b: (b.words, b.bid, b.ask, b.own_bid, b.own_ask, b.refused, b.overflowed), book, parts)
    maker = where(act.own_turn, DEALER, 0)
    fill = Fill(maker, work.intent.order, tick + book.origin, deed.traded, work.intent.side, maker, work.intent.owner)
    work = apart(always, lambda: _account(work, act, deed)._replace(seeking=seeking))
    return book, work, fill


def _check_by_itself(book: LevelBook, message: Message, rules: BookRules) -> jax.Array:
    """What is to be said against a message whatever rests in the book."""
    kind, side, dealer, tick = message.kind, message.side, message.owner == DEALER, message.price - book.origin
    cancels, posts, something = kind == int(Kind.CANCEL), kind == int(Kind.POST_ONLY), kind != int(Kind.NOTHING)
    pulls = cancels & dealer
    priced = among(kind, PRICED) & ~pulls
    refusals = [
        (~among(kind, KINDS) | (kind < 0) | (dealer & something & ~cancels & ~posts), Answer.UNKNOWN_KIND),
        (something & (side != BUY) & (side != SELL), Answer.BAD_SIDE),
        (something & ~pulls & (message.size <= 0), Answer.BAD_SIZE),
        *against_rules(rules, message, side, something & ~cancels, priced & ~cancels),
        (priced & ((tick < 0) | (tick >= book.ticks)), Answer.OFF_GRID),
    ]
    return first(refusals)


def _check_against(book: LevelBook, message: Message) -> jax.Array:
    """What the book has against a message that is well-formed."""
    buys, tick = message.side > 0, message.price - book.origin
    stands = where(buys, tick <= book.bid, tick >= book.ask)
    has_own = where(buys, book.own_bid.left, book.own_ask.left) > 0
    there = where(message.owner == DEALER, has_own, stands)
    trades = within(message.side, tick, book.first_bid, book.first_ask, book.ticks)
    refusals = [
        ((message.kind == int(Kind.CANCEL)) & ~there, Answer.UNKNOWN_ORDER),
        ((message.kind == int(Kind.POST_ONLY)) & trades, Answer.WOULD_TRADE),
    ]
    return first(refusals)


def _take_up(book: LevelBook, work: Work, message: Message, arrives: jax.Array, answer: jax.Array) -> Work:
    """The work in hand, or the message that arrives."""
    kind, dealer = message.kind, message.owner == DEALER
    cancels, posts = kind == int(Kind.CANCEL), kind == int(Kind.POST_ONLY)
    task = where((kind == int(Kind.LIMIT)) | posts, int(Task.ENTER), int(Task.TAKE))
    task = where(cancels, where(dealer, int(Task.PULL), int(Task.CANCEL)), where(posts & dealer, int(Task.PLACE), task))
    task = where((answer != int(Answer.ACCEPTED)) | (kind == int(Kind.NOTHING)), int(Task.NONE), task)
    any_price = where(message.side > 0, book.ticks - 1, 0)
    price = where(kind == int(Kind.MARKET), any_price, message.price - book.origin)
    intent = Intent(task, message.side, price, message.size, message.order, message.owner)
    fresh = Work(intent, work.effect and Effect.begun(answer), jnp.zeros_like(answer))
    return jax.tree.map(lambda new, old: where(arrives, new, old), fresh, work)


class _Act(NamedTuple):
    """What each book does in this micro-step; booleans of shape (books,)."""

    meets: jax.Array
    own_turn: jax.Array  # what it meets is the dealer's order
    own_here: jax.Array  # the dealer's order stands at the tick in question
    adds: jax.Array
    on_bid: jax.Array  # whether what rests, or is to, is a bid


def _choose(book: LevelBook, work: Work) -> tuple[_Act, jax.Array]:
    """What each book is to do, and the tick in question."""
    intent, seeking = work.intent, work.seeking
    buys = intent.side > 0
    at_work = (intent.task >= int(Task.ENTER)) & (seeking == 0)
    bid, ask = book.first_bid, book.first_ask
    meets = at_work & within(intent.side, intent.price, bid, ask, book.ticks)
    sought = where(seeking > 0, book.ask, book.bid)
    aimed = where(meets, where(buys, ask, bid), where(intent.task > 0, intent.price, 0))
    tick = jnp.clip(where(seeking != 0, sought, aimed), 0, book.ticks - 1)
    on_bid = buys != meets
    own = jax.tree.map(lambda b, a: where(on_bid, b, a), book.own_bid, book.own_ask)
    own_here = (own.left > 0) & (own.tick == tick)
    adds = at_work & ~meets & (intent.task == int(Task.ENTER))
    return _Act(meets, meets & own_here & (own.ahead == 0), own_here, adds, on_bid), tick


class _Deed(NamedTuple):
    traded: jax.Array
    rested: jax.Array
    cancelled: jax.Array
    volume: jax.Array  # of the others at the tick, afterwards
    told: jax.Array


def _do(work: Work, act: _Act, tick: jax.Array, volume: jax.Array, own: Own, told: jax.Array, room: jax.Array) -> _Deed:
    """What trades, stands or goes, and what there is to say about it."""
    intent = work.intent
    full = act.meets & (room <= 0)
    there = where(act.own_turn, own.left, where(act.own_here, own.ahead, volume))
    traded = where(act.meets & ~full, jnp.minimum(intent.left, there), 0)
    cancels = intent.task == int(Task.CANCEL)
    cancelled = where(cancels, jnp.minimum(intent.left, volume), 0)
    heaped = act.adds & (volume > MOST - intent.left)
    rested = where(act.adds & ~heaped, intent.left, 0)
    told = where(cancels & (volume == 0), int(Answer.UNKNOWN_ORDER), told)
    told = where(heaped, int(Answer.SIZE_TOO_LARGE), where(full, int(Answer.TOO_MANY_FILLS), told))
    gone = where(act.own_turn, 0, traded) + cancelled
    places, pulls = intent.task == int(Task.PLACE), intent.task == int(Task.PULL)
    return _Deed(
        traded,
        where(places, intent.left, rested),
        where((places | pulls) & (own.left > 0), own.left, cancelled),
        volume + rested - gone,
        told,
    )


def _own_after(intent: Intent, act: _Act, tick: jax.Array, volume: jax.Array, own: Own, deed: _Deed) -> Own:
    """The dealer's order on the side in question: filled, moved, or nearer to its turn."""
    places, pulls = intent.task == int(Task.PLACE), intent.task == int(Task.PULL)
    keeps_turn = act.own_here & (intent.left <= own.left)
    left = where(act.own_turn, own.left - deed.traded, own.left)
    left = where(places, intent.left, where(pulls, 0, left))

    cancels = act.own_here & (intent.task == int(Task.CANCEL))
    share = own.ahead.astype(jnp.float32) / jnp.maximum(volume, 1).astype(jnp.float32)
    in_front = intent.order.astype(jnp.float32) < share * 65536.0
    behind = volume - own.ahead
    struck = where(in_front, jnp.minimum(deed.cancelled, own.ahead), jnp.maximum(deed.cancelled - behind, 0))
    passed = where(act.meets & act.own_here & ~act.own_turn, deed.traded, where(cancels, struck, 0))
    ahead = where(places & ~keeps_turn, volume, own.ahead - passed)
    return Own(where(places, tick, own.tick), left, ahead)


def _account(work: Work, act: _Act, deed: _Deed) -> Work:
    """The message in hand after its motion, done with where nothing of it is left to deal with."""
    intent = work.intent
    left = intent.left - deed.traded
    goes_on = (deed.told == 0) & (((left > 0) & act.meets) | ((work.seeking != 0) & (intent.task >= int(Task.ENTER))))
    effect = work.effect and work.effect._replace(
        answer=where(deed.told > 0, deed.told, work.effect.answer),
        traded=work.effect.traded + deed.traded,
        rested=work.effect.rested + deed.rested,
        cancelled=work.effect.cancelled + deed.cancelled,
    )
    intent = intent._replace(task=where(goes_on, intent.task, int(Task.NONE)), left=left)
    return work._replace(intent=intent, effect=effect)
