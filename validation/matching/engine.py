"""Books and messages: one message at a time in lockstep, or each book at its own pace.

`step` gives every book one message and returns when the slowest is done: what a market calls when it must look at all
books between messages. `drive` lets every book take its next message as soon as it is ready, from a source that may
look at the book: no book waits for another's long sweep, so it is several times as fast. Both are the same
micro-step (`_micro`), and leave the same books and the same fills.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from . import _level_micro, _micro
from ._blocks import in_blocks
from ._layout import Array, read_row
from .book import Book
from .fills import Fills, Tape, no_fills
from .levels import LevelBook
from .messages import Message, whole
from .rules import NO_RULES, BookRules

BLOCK = 512
"""Books computed at once on a CPU: few enough for their state to stay in its cache, and no fewer."""

_PAGE = 32  # messages of each book at hand; a gather from all of them would miss the cache every time

Books = Book | LevelBook


class Outcome(NamedTuple):
    """What became of one message per book; fields of shape (books,).

    answer:  a value of `Answer`.
    traded:  size traded now.
    rested:  size that this message put into the book; none for a reduction, or a replacement that keeps its turn.
    cancelled: size taken off the order that a cancel, replace or reduce refers to.
    pulled:  size of the owner's own resting orders that was pulled, lest it trade with itself.
    fills:   the trades, in order.
    """

    answer: jax.Array
    traded: jax.Array
    rested: jax.Array
    cancelled: jax.Array
    pulled: jax.Array
    fills: Fills


BookT = TypeVar("BookT", Book, LevelBook)


def _micro_of(book: Books) -> tuple[Callable[..., Any], Callable[..., Any]]:
    micro = _micro if isinstance(book, Book) else _level_micro
    return micro.advance, micro.idle


def step(book: BookT, message: Message, rules: BookRules = NO_RULES, *, fills: int = 32) -> tuple[BookT, Outcome]:
    """Give every book one message (`Kind.NOTHING` for none): pure, for use inside `jit` and `scan`.

    fills: how many trades one message may make; what would trade beyond that is refused and counted.
    """
    advance, idle = _micro_of(book)

    def on(carry):
        book, work, arrives, made = carry
        book, work, fill = advance(book, work, message, arrives, rules, made.room)
        return book, work, jnp.zeros_like(arrives), made.record(fill)

    def busy(carry):
        return jnp.any(carry[2] | ~carry[1].ready)

    start = (book, idle(book.books, tells=True), jnp.ones(book.books, bool), no_fills(book.books, fills))
    book, work, _, made = lax.while_loop(busy, on, start)
    return book, Outcome(**work.effect._asdict(), fills=made)


@runtime_checkable
class Source(Protocol):
    """Where each book's next message comes from."""

    @property
    def more(self) -> jax.Array:
        """Whether there is a further message for each book, (books,)."""
        ...

    def take(self, book: Books, ready: jax.Array) -> tuple[Message, jax.Array, Any]:
        """A message for each book, whether it arrives (only where the book is ready), and the source after that."""
        ...


SourceT = TypeVar("SourceT", bound=Source)
TapeT = TypeVar("TapeT", bound=Tape)


def drive(book: BookT, source: SourceT, tape: TapeT, rules: BookRules = NO_RULES) -> tuple[BookT, SourceT, TapeT]:
    """Let every book take messages at its own pace until the source has no more for any of them."""
    on, busy = _motion(book, rules)
    _, idle = _micro_of(book)
    book, _, source, tape = lax.while_loop(busy, on, (book, idle(book.books, tells=False), source, tape))
    return book, source, tape


def _motion(book: Books, rules: BookRules) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """One micro-step of all books with what they take from their source, and whether any of them has more to do."""
    advance, _ = _micro_of(book)

    def on(carry):
        book, work, source, tape = carry
        message, arrives, source = source.take(book, work.ready)
        book, work, fill = advance(book, work, message, arrives, rules, tape.room)
        return book, work, source, tape.record(fill)

    def busy(carry):
        _, work, source, _ = carry
        return jnp.any(source.more | ~work.ready)

    return on, busy


class _Stream(eqx.Module):
    """Messages known beforehand, and the next few of each book at hand: a source for as long as all are `at_hand`.

    words: of all messages, book after book.
    at:    the number of the next message; (books,).
    page:  the words of `_PAGE` messages of each book, from its message number `begun` on.
    """

    words: jax.Array
    at: jax.Array
    page: jax.Array
    begun: jax.Array
    length: int = eqx.field(static=True)

    @classmethod
    def of(cls, rows: jax.Array) -> _Stream:
        books, length, _ = rows.shape
        none = jnp.zeros(books, jnp.int32)
        page = jnp.zeros(books * min(_PAGE, length) * len(Message._fields), jnp.int32)
        return _Stream(rows.reshape(-1), none, page, none, length)

    @property
    def per_page(self) -> int:
        return min(_PAGE, self.length)

    @property
    def more(self) -> jax.Array:
        return self.at < self.length

    @property
    def at_hand(self) -> jax.Array:
        """Whether every book's next message is on its page."""
        return jnp.all((self.at < self.begun + self.per_page) | ~self.more)

    def turned(self) -> _Stream:
        """With pages that begin at the next messages."""
        fields = len(Message._fields)
        begun = jnp.minimum(self.at, self.length - self.per_page)
        rows = self.words.reshape(-1, self.length, fields)
        page = jax.vmap(lambda own, start: lax.dynamic_slice_in_dim(own, start, self.per_page))(rows, begun)
        return _Stream(self.words, self.at, page.reshape(-1), begun, self.length)

    def take(self, book: Books, ready: jax.Array) -> tuple[Message, jax.Array, _Stream]:
        arrives = ready & self.more
        on_page = jnp.minimum(self.at - self.begun, self.per_page - 1)
        row = lax.iota(jnp.int32, book.books) * self.per_page + on_page
        message = Message(*read_row(self.page, row, len(Message._fields)))
        return message, arrives, eqx.tree_at(lambda s: s.at, self, self.at + arrives.astype(jnp.int32))


def replay(
    book: BookT, rows: Array, tape: TapeT, rules: BookRules = NO_RULES, *, block: int = BLOCK
) -> tuple[BookT, TapeT]:
    """Send each book its own stream of messages, all known beforehand: `rows` is (books, messages, 6), `Message.rows`.

    Books are computed in blocks of `block`, one block after the other; arrays in `rules` have one number per book.
    Raises `ValueError` for rows of another shape, and as `message` does where they are no whole numbers of 32 bits.
    """
    rows = jnp.asarray(whole("rows", rows))
    books, length, fields = rows.shape
    if books != book.books or fields != len(Message._fields) or length < 1:
        raise ValueError(f"rows must be ({book.books}, messages, {len(Message._fields)}), got {rows.shape}")

    def run(book: BookT, rows: jax.Array, tape: TapeT, rules: BookRules) -> tuple[BookT, TapeT]:
        on, busy = _motion(book, rules)
        _, idle = _micro_of(book)

        def through_pages(carry):
            book, work, stream, tape = carry
            turned = (book, work, stream.turned(), tape)
            return lax.while_loop(lambda carry: busy(carry) & carry[2].at_hand, on, turned)

        start = (book, idle(book.books, tells=False), _Stream.of(rows), tape)
        book, _, _, tape = lax.while_loop(busy, through_pages, start)
        return book, tape

    return in_blocks(run, books, block)(book, rows, tape, rules)
