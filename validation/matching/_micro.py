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

from ._admission import Intent, Task, admit, within
from ._layout import BEFORE, NEXT, PLACE, SIZE, WORD, Layout, read, write
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


class Work(NamedTuple):
    """What each book is at: the message in hand and what has become of it so far. All of shape (books,)."""

    intent: Intent
    answer: jax.Array
    traded: jax.Array
    rested: jax.Array
    cancelled: jax.Array  # off the order the message refers to
    pulled: jax.Array  # of the owner's own resting orders, lest it trade with itself
    cursor: jax.Array  # an all-or-nothing order counts: the node it has come to, size and number of orders so far
    tally: jax.Array
    number: jax.Array
    seeking: jax.Array  # 1 while the best ask is being looked for, -1 for the best bid, else 0

    @property
    def ready(self) -> jax.Array:
        """Whether a book can take its next message."""
        return (self.intent.task == int(Task.NONE)) & (self.seeking == 0)


def idle(books: int) -> Work:
    """Nothing in hand."""
    none = jnp.zeros(books, jnp.int32)
    return Work(Intent(*[none] * len(Intent._fields)), *[none] * (len(Work._fields) - 1))


class _Node(NamedTuple):
    """The node in motion, its own words."""

    at: jax.Array
    next: jax.Array
    before: jax.Array
    size: jax.Array
    place: jax.Array


def advance(
    book: Book, work: Work, message: Message, arrives: jax.Array, rules: BookRules, room: jax.Array
) -> tuple[Book, Work, Fill]:
    """Move every book by one micro-step; `message` is taken up where it `arrives`, which needs a book that is ready.

    room: fills that can still be recorded, (books,); an order that would need one more is stopped.
    """
    layout, words = book.layout, book.words
    base = lax.iota(jnp.int32, book.books) * layout.words
    told = where(arrives, int(Answer.ACCEPTED), work.answer)
    work = _take_up(book, base, work, message, arrives, rules)
    intent = work.intent

    best = where(intent.side > 0, book.ask, book.bid)
    at_work = (intent.task >= int(Task.ENTER)) & (work.seeking == 0)
    counts = at_work & (intent.task == int(Task.COUNT))
    meets = at_work & ~counts & within(intent.side, intent.price, book.bid, book.ask, layout.ticks)
    adds = at_work & ~meets & (intent.task == int(Task.ENTER))
    takes_off = intent.task == int(Task.TAKE_OFF)

    start = where(counts, work.cursor, layout.level(where(meets, best, 0)))
    head = read(words, base + 4 * start + NEXT)
    at = where(meets | counts, head, where(adds | takes_off, intent.order, 0))
    row = base + 4 * at
    node = _Node(at, *(read(words, row + word) for word in (NEXT, BEFORE, SIZE, PLACE)))

    own = _own(intent, node, rules)
    full = meets & ~own & (room <= 0)
    trades = meets & ~own & ~full
    pulls = meets & own & _chosen(rules, SelfTrade.CANCEL_RESTING)
    traded = where(trades, jnp.minimum(intent.left, node.size), 0)
    amount = where(pulls, node.size, where(takes_off, intent.off, traded))

    fill = Fill(at, intent.order, best + book.origin, traded, intent.side, node.place >> 16, intent.owner)
    moved, seeking = _move(book, base, node, adds, amount, intent, work.seeking)
    done = _account(work, meets, pulls, full, takes_off, adds, traded, amount)
    done = _count(done, layout, node, counts, own, rules, room)
    return _tell(moved, told, done.answer), done._replace(seeking=seeking), fill


def _take_up(book: Book, base: jax.Array, work: Work, message: Message, arrives: jax.Array, rules: BookRules) -> Work:
    """The work in hand, or the message that arrives."""
    layout = book.layout
    intent, answer = admit(layout, book.words, base, book.bid, book.ask, book.origin, message, rules)
    none = jnp.zeros_like(answer)
    cursor = layout.level(where(intent.side > 0, book.ask, book.bid))
    fresh = Work(intent, answer, none, none, none, none, cursor, none, none, none)
    return jax.tree.map(lambda new, old: where(arrives, new, old), fresh, work)


def _own(intent: Intent, node: _Node, rules: BookRules) -> jax.Array:
    """Whether the node is an order of the incoming order's owner, where that matters."""
    if rules.self_trade is None:
        return jnp.zeros_like(intent.owner, bool)
    return (intent.owner > 0) & (node.place >> 16 == intent.owner)


def _chosen(rules: BookRules, choice: SelfTrade) -> jax.Array | bool:
    return False if rules.self_trade is None else jnp.asarray(rules.self_trade == int(choice))


def _account(
    work: Work,
    meets: jax.Array,
    pulls: jax.Array,
    full: jax.Array,
    takes_off: jax.Array,
    adds: jax.Array,
    traded: jax.Array,
    amount: jax.Array,
) -> Work:
    """The message in hand after its motion, done with where nothing of it is left to deal with."""
    intent = work.intent
    stopped = meets & ~pulls & (traded == 0)
    left = where(adds | stopped, 0, intent.left - traded)
    taking_misses = ~meets & (work.seeking == 0) & (intent.task == int(Task.TAKE))
    finished = ((meets | takes_off) & (left == 0)) | adds | taking_misses
    task = where(takes_off, int(Task.ENTER), intent.task)
    answer = where(stopped, where(full, int(Answer.TOO_MANY_FILLS), int(Answer.SELF_TRADE)), work.answer)
    return work._replace(
        intent=intent._replace(task=where(finished, int(Task.NONE), task), left=left),
        answer=answer,
        traded=work.traded + traded,
        rested=work.rested + where(adds, intent.left, 0),
        cancelled=work.cancelled + where(takes_off, amount, 0),
        pulled=work.pulled + where(pulls, amount, 0),
    )


def _count(
    work: Work, layout: Layout, node: _Node, counts: jax.Array, own: jax.Array, rules: BookRules, room: jax.Array
) -> Work:
    """An all-or-nothing order looks at the orders it would meet, one at a time, before it touches any."""
    intent = work.intent
    is_order = node.at <= layout.orders
    barred = counts & is_order & own & _chosen(rules, SelfTrade.CANCEL_INCOMING)
    countable = counts & is_order & ~own
    tally = work.tally + where(countable, jnp.minimum(node.size, intent.left - work.tally), 0)
    number = work.number + where(countable, 1, 0)
    enough = counts & (tally == intent.left)

    tick = (node.place & 0xFFFF) + intent.side
    beyond = where(intent.side > 0, tick > intent.price, tick < intent.price) | (tick < 0) | (tick >= layout.ticks)
    fails = barred | (counts & ~is_order & beyond)
    too_many = enough & (number > room)
    task = where(enough, int(Task.TAKE), intent.task)
    answer = where(fails, int(Answer.CANNOT_FILL), work.answer)
    return work._replace(
        intent=intent._replace(task=where(fails | too_many, int(Task.NONE), task)),
        answer=where(too_many, int(Answer.TOO_MANY_FILLS), answer),
        cursor=where(counts, where(is_order, node.at, layout.level(tick)), work.cursor),
        tally=tally,
        number=number,
    )


def _move(
    book: Book,
    base: jax.Array,
    node: _Node,
    adds: jax.Array,
    amount: jax.Array,
    intent: Intent,
    seeking: jax.Array,
) -> tuple[Book, jax.Array]:
    """Take `amount` off the node or add it to the level of the intent's price; then see to the best prices."""
    layout, words = book.layout, book.words
    sought = jnp.clip(where(seeking > 0, book.ask, book.bid), 0, layout.ticks - 1)
    tick = where(adds, intent.price, where(seeking != 0, sought, node.place & 0xFFFF))
    level = layout.level(tick)
    level_row, bits_at = base + 4 * level, base + layout.bits + tick // WORD
    volume, last, bits = (read(words, i) for i in (level_row + SIZE, level_row + BEFORE, bits_at))

    gone = (amount > 0) & (amount == node.size)
    before, next_ = where(adds, last, node.before), where(adds, level, node.next)
    volume = volume + where(adds, intent.left, -amount)
    bit = jnp.left_shift(jnp.ones_like(tick), tick % WORD)
    bits = where(volume > 0, bits | bit, bits & ~bit)

    row = base + 4 * node.at
    place = where(adds, (intent.owner << 16) | intent.price, node.place)
    # Where the node has gone, its neighbours are joined. Where it stays, it and they are told what they know already.
    words = write(
        words,
        (base + 4 * before + NEXT, where(gone, next_, node.at)),
        (base + 4 * next_ + BEFORE, where(gone, before, node.at)),
        (row + NEXT, next_),
        (row + BEFORE, before),
        (row + SIZE, where(adds, intent.left, node.size - amount)),
        (row + PLACE, place),
        (level_row + SIZE, volume),
        (bits_at, bits),
    )

    emptied = gone & (volume == 0)
    upward = (seeking > 0) | (emptied & (tick == book.ask))
    downward = (seeking < 0) | (emptied & (tick == book.bid))
    above, below, found_above, found_below = _nearest(bits, tick)
    ask = where(adds & (intent.side < 0), jnp.minimum(book.ask, tick), where(upward, above, book.ask))
    bid = where(adds & (intent.side > 0), jnp.maximum(book.bid, tick), where(downward, below, book.bid))
    seeking = where(upward & ~found_above & (ask < layout.ticks), 1, 0)
    seeking = where(downward & ~found_below & (bid >= 0), -1, seeking)
    return eqx.tree_at(lambda b: (b.words, b.bid, b.ask), book, (words, bid, ask)), seeking


def _nearest(bits: jax.Array, tick: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The nearest set tick at or above, and at or below, within the 32 of `bits`; or else the first beyond them."""
    first, offset = tick - tick % WORD, tick % WORD
    all_set = jnp.full_like(bits, -1)
    up = bits & jnp.left_shift(all_set, offset)
    down = bits & lax.shift_right_logical(all_set, WORD - 1 - offset)
    above = first + where(up == 0, WORD, WORD - 1 - lax.clz(up & -up))
    below = first + where(down == 0, -1, WORD - 1 - lax.clz(down))
    return above, below, up != 0, down != 0


def _tell(book: Book, before: jax.Array, after: jax.Array) -> Book:
    """Count the refusals that were decided in this micro-step."""
    refused = (after >= int(FIRST_REFUSAL)) & (before < int(FIRST_REFUSAL))
    for_want_of_room = refused & (after >= int(FIRST_OVERFLOW))
    counts = book.refused + refused.astype(jnp.int32), book.overflowed + for_want_of_room.astype(jnp.int32)
    return eqx.tree_at(lambda b: (b.refused, b.overflowed), book, counts)
