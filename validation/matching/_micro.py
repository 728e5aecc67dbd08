"""One micro-step: at most one order joins, leaves or trades in each book, whatever each book is at.

A message takes as many micro-steps as it meets orders, and one at least. Books do not wait for one another within a
micro-step: each does what it is at, by the same few reads and one write, so that no book pays for another's long sweep.
Adding, filling and cancelling are one motion on the ring of a level (`_layout`): a node's size changes by an amount,
and it is joined to, or left out between, its two neighbours. A book with nothing to do moves node 0, which is nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from ._admission import Intent, Task, check, look_up, plan, side_of, within
from ._bits import best_prices, marked, word_of
from ._layout import BEFORE, NEXT, PLACE, SIZE, Layout, read, read_row, write
from ._stages import apart
from .book import Book
from .messages import FIRST_OVERFLOW, FIRST_REFUSAL, Answer, Message
from .rules import BookRules, SelfTrade

where = jnp.where


class Fill(NamedTuple):
    """At most one trade per book; (books,). `size` is 0 where there is none, and the other fields then mean nothing."""

    maker: jax.Array
    taker: jax.Array
    price: jax.Array
    size: jax.Array
    side: jax.Array  # the taker's
    maker_owner: jax.Array
    taker_owner: jax.Array


class Effect(NamedTuple):
    """What has become of a message so far; (books,)."""

    answer: jax.Array
    traded: jax.Array
    rested: jax.Array
    cancelled: jax.Array  # off the order the message refers to
    pulled: jax.Array  # of the owner's own resting orders, lest it trade with itself

    @classmethod
    def begun(cls, answer: jax.Array) -> Effect:
        """Of a message that has been answered and has done nothing yet."""
        return cls(answer, *[jnp.zeros_like(answer)] * 4)


class Work(NamedTuple):
    """What each book is at: the message in hand, and its effect where somebody asks for it. All of shape (books,)."""

    intent: Intent
    effect: Effect | None
    cursor: jax.Array  # an all-or-nothing order counts: the node it has come to, size and number of orders so far
    tally: jax.Array
    number: jax.Array
    seeking: jax.Array  # 1 while the best ask is being looked for, -1 for the best bid, else 0

    @property
    def ready(self) -> jax.Array:
        """Whether a book can take its next message."""
        return (self.intent.task == int(Task.NONE)) & (self.seeking == 0)


def idle(books: int, tells: bool) -> Work:
    """Nothing in hand; `tells` whether the effect of messages is to be kept."""
    none = jnp.zeros(books, jnp.int32)
    intent = Intent(*[none] * len(Intent._fields))
    return Work(intent, Effect.begun(none) if tells else None, none, none, none, none)


class _Act(NamedTuple):
    """What each book does in this micro-step, at most one of the first four; booleans of shape (books,)."""

    meets: jax.Array  # the first order of the best level on the other side
    adds: jax.Array  # the incoming order to its level
    counts: jax.Array  # an order that would be met
    takes_off: jax.Array  # from the order referred to


class _Node(NamedTuple):
    """The node in motion, its own words."""

    at: jax.Array
    next: jax.Array
    before: jax.Array
    size: jax.Array
    place: jax.Array


class _Deed(NamedTuple):
    """What comes of it."""

    traded: jax.Array  # size
    amount: jax.Array  # size taken off the node
    pulls: jax.Array  # whether that was to prevent a trade with itself
    tally: jax.Array
    number: jax.Array
    told: jax.Array  # an `Answer` other than ACCEPTED, if this is where it is decided


def advance(
    book: Book, work: Work, message: Message, arrives: jax.Array, rules: BookRules, room: jax.Array
) -> tuple[Book, Work, Fill]:
    """Move every book by one micro-step; `message` is taken up where it `arrives`, which needs a book that is ready.

    room: fills that can still be recorded, (books,); an order that would need one more is stopped.
    """
    layout, words = book.layout, book.words
    always = book.bid[0] >= -1
    base = lax.iota(jnp.int32, book.books) * layout.words

    work, off, told = _take_up(always, book, base, work, message, arrives, rules)
    intent = work.intent
    act, start = apart(always, lambda: _choose(book, work))
    head = read(words, base + 4 * start + NEXT)
    at = apart(always, lambda: where(act.meets | act.counts, head, where(act.adds | act.takes_off, intent.order, 0)))
    row = (base >> 2) + at
    node = _Node(at, *read_row(words, row, 4))
    deed = apart(always, lambda: _do(layout, work, act, node, off, told, rules, room))

    price = where(intent.side > 0, book.ask, book.bid) + book.origin
    fill = Fill(at, intent.order, price, deed.traded, intent.side, node.place >> 16, intent.owner)
    moved, seeking = _move(always, book, base, work, act, node, deed)
    work = apart(always, lambda: _account(layout, work, act, node, deed)._replace(seeking=seeking))
    return moved, work, fill


def _take_up(
    always: jax.Array,
    book: Book,
    base: jax.Array,
    work: Work,
    message: Message,
    arrives: jax.Array,
    rules: BookRules,
) -> tuple[Work, jax.Array, jax.Array]:
    """The work in hand or the message that arrives, the size that one takes off, and what is answered at once."""
    layout, none = book.layout, jnp.zeros_like(book.bid)
    standing = look_up(book, base, message)
    side = side_of(book, message, standing)
    answer = apart(always, lambda: where(arrives, check(book, message, standing, side, rules), 0))

    def merge() -> tuple[Work, jax.Array]:
        intent, off = plan(book, message, standing, answer)
        cursor = layout.level(where(intent.side > 0, book.ask, book.bid))
        fresh = Work(intent, work.effect and Effect.begun(answer), cursor, none, none, none)
        return jax.tree.map(lambda new, old: where(arrives, new, old), fresh, work), off

    return *apart(always, merge), answer


def _choose(book: Book, work: Work) -> tuple[_Act, jax.Array]:
    """What each book is to do, and the node after which to look for the one to do it to."""
    intent, layout = work.intent, book.layout
    at_work = (intent.task >= int(Task.ENTER)) & (work.seeking == 0)
    counts = at_work & (intent.task == int(Task.COUNT))
    meets = at_work & ~counts & within(intent.side, intent.price, book.bid, book.ask, layout.ticks)
    adds = at_work & ~meets & (intent.task == int(Task.ENTER))
    best = where(intent.side > 0, book.ask, book.bid)
    start = where(counts, work.cursor, where(meets, layout.level(best), 0))
    return _Act(meets, adds, counts, intent.task == int(Task.TAKE_OFF)), start


def _do(
    layout: Layout,
    work: Work,
    act: _Act,
    node: _Node,
    off: jax.Array,
    told: jax.Array,
    rules: BookRules,
    room: jax.Array,
) -> _Deed:
    """How much trades, how much is taken off the node, and what that means for the message."""
    intent = work.intent
    pulls, stops = _own(intent, node, rules)
    full = act.meets & ~pulls & ~stops & (room <= 0)
    traded = where(act.meets & ~pulls & ~stops & ~full, jnp.minimum(intent.left, node.size), 0)
    amount = where(act.takes_off, off, where(act.meets & pulls, node.size, traded))

    # All or nothing: look at the orders it would meet, one at a time, before it touches any.
    is_order = node.at <= layout.orders
    countable = act.counts & is_order & ~pulls & ~stops
    tally = work.tally + where(countable, jnp.minimum(node.size, intent.left - work.tally), 0)
    number = work.number + where(countable, 1, 0)
    fails = act.counts & where(is_order, stops, _beyond(layout, intent, _next_tick(intent, node)))
    too_many = act.counts & (tally == intent.left) & (number > room)

    told = where(act.meets & stops, int(Answer.SELF_TRADE), told)
    told = where(fails, int(Answer.CANNOT_FILL), told)
    told = where(full | too_many, int(Answer.TOO_MANY_FILLS), told)
    return _Deed(traded, amount, act.meets & pulls, tally, number, told)


def _own(intent: Intent, node: _Node, rules: BookRules) -> tuple[jax.Array | bool, jax.Array | bool]:
    """Whether the node is an order of the incoming one's owner that is to be pulled, or that is to stop it."""
    if rules.self_trade is None:
        never = jnp.zeros_like(intent.owner, bool)
        return never, never
    own = (intent.owner > 0) & (node.place >> 16 == intent.owner)
    return own & (rules.self_trade == int(SelfTrade.CANCEL_RESTING)), own & (
        rules.self_trade == int(SelfTrade.CANCEL_INCOMING)
    )


def _next_tick(intent: Intent, node: _Node) -> jax.Array:
    return (node.place & 0xFFFF) + intent.side


def _beyond(layout: Layout, intent: Intent, tick: jax.Array) -> jax.Array:
    return where(intent.side > 0, tick > intent.price, tick < intent.price) | (tick < 0) | (tick >= layout.ticks)


def _account(layout: Layout, work: Work, act: _Act, node: _Node, deed: _Deed) -> Work:
    """The message in hand after its motion, done with where nothing of it is left to deal with."""
    intent = work.intent
    stopped = deed.told > 0
    left = where(act.adds | stopped, 0, intent.left - deed.traded)
    missed = (intent.task == int(Task.TAKE)) & (work.seeking == 0) & ~act.meets
    finished = stopped | act.adds | missed | ((act.meets | act.takes_off) & (left == 0))
    task = where(act.takes_off, int(Task.ENTER), intent.task)
    task = where(act.counts & (deed.tally == intent.left), int(Task.TAKE), task)
    cursor = where(node.at <= layout.orders, node.at, layout.level(_next_tick(intent, node)))
    effect = work.effect and Effect(
        answer=where(stopped, deed.told, work.effect.answer),
        traded=work.effect.traded + deed.traded,
        rested=work.effect.rested + where(act.adds, intent.left, 0),
        cancelled=work.effect.cancelled + where(act.takes_off, deed.amount, 0),
        pulled=work.effect.pulled + where(deed.pulls, deed.amount, 0),
    )
    return work._replace(
        intent=intent._replace(task=where(finished, int(Task.NONE), task), left=left),
        effect=effect,
        cursor=where(act.counts, cursor, work.cursor),
        tally=deed.tally,
        number=deed.number,
    )


def _move(
    always: jax.Array, book: Book, base: jax.Array, work: Work, act: _Act, node: _Node, deed: _Deed
) -> tuple[Book, jax.Array]:
    """Take `amount` off the node, or add it to the level of the intent's price; then see to the best prices."""
    layout, words, intent, seeking = book.layout, book.words, work.intent, work.seeking

    def aim() -> jax.Array:
        sought = jnp.clip(where(seeking > 0, book.ask, book.bid), 0, layout.ticks - 1)
        return where(act.adds, intent.price, where(seeking != 0, sought, node.place & 0xFFFF))

    tick = apart(always, aim)
    level = layout.level(tick)
    level_row, bits_at = base + 4 * level, base + layout.bits + word_of(tick)
    _, last, old_volume, _ = read_row(words, (base >> 2) + level, 4)
    old_bits = read(words, bits_at)

    def change() -> tuple[jax.Array, ...]:
        volume = old_volume + where(act.adds, intent.left, -deed.amount)
        bits = marked(old_bits, tick, volume > 0)
        return where(act.adds, last, node.before), where(act.adds, level, node.next), volume, bits

    before, next_, volume, bits = apart(always, change)
    gone = (deed.amount > 0) & (deed.amount == node.size)
    row = base + 4 * node.at

    def entries() -> tuple[tuple[jax.Array, jax.Array], ...]:
        # Where the node has gone, its neighbours are joined. Where it stays, all are told what they know already.
        return (
            (base + 4 * before + NEXT, where(gone, next_, node.at)),
            (base + 4 * next_ + BEFORE, where(gone, before, node.at)),
            (row + NEXT, next_),
            (row + BEFORE, before),
            (row + SIZE, where(act.adds, intent.left, node.size - deed.amount)),
            (row + PLACE, where(act.adds, (intent.owner << 16) | intent.price, node.place)),
            (level_row + SIZE, volume),
            (bits_at, bits),
        )

    words = write(words, *apart(always, entries))

    def best() -> tuple[jax.Array, jax.Array, jax.Array]:
        emptied = gone & (volume == 0)
        return best_prices(
            always, book.bid, book.ask, seeking, tick, bits, emptied, act.adds, intent.side, layout.ticks
        )

    bid, ask, seeking_on = apart(always, best)
    refused = (deed.told >= int(FIRST_REFUSAL)).astype(jnp.int32)
    overflowed = (deed.told >= int(FIRST_OVERFLOW)).astype(jnp.int32)
    parts = (words, bid, ask, book.refused + refused, book.overflowed + overflowed)
    return eqx.tree_at(lambda b: (b.words, b.bid, b.ask, b.refused, b.overflowed), book, parts), seeking_on
