"""The book of levels against a plain book of single orders: the same depth, and the same turn for the dealer."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from twosided.validation.matching import (
    Answer,
    BookRules,
    Fill,
    Kind,
    LevelBook,
    Message,
    Outcome,
    empty_level_books,
    message,
    no_fills,
    replay,
    step,
)

from . import reference_book as plain

TICKS, ORIGIN, FILLS, DEALER = 64, 500, 16, 1
OWN = {1: 1, -1: 2}  # the plain book's numbers for the dealer's bid and ask


@jax.jit
def run(rows: jax.Array) -> tuple[LevelBook, Any]:
    """Every outcome and every book along (books, messages, 6); time first."""

    def on(book: LevelBook, row: jax.Array) -> tuple[LevelBook, Any]:
        book, outcome = step(book, Message(*row.T), fills=FILLS)
        return book, (book, outcome._replace(fills=outcome.fills.table()))

    return lax.scan(on, empty_level_books(rows.shape[0], ticks=TICKS, origin=ORIGIN), rows.swapaxes(0, 1))


def dealer_quotes(book: plain.Book, side: int, size: int, price: int) -> plain.Reply:
    """Put the dealer's order of that side where it is wanted, by messages of the plain book."""
    found = book.find(OWN[side])
    if found is None:
        return book.send(plain.Message("POST_ONLY", side, size, price, OWN[side], DEALER))
    if any(p * side <= price * side for p, _ in book.met(side, None)):
        return plain.Reply("WOULD_TRADE")
    if found[0] == price and size <= found[1].size:
        found[1].size = size
        return plain.Reply()
    book.send(plain.Message("CANCEL", order=OWN[side]))
    return book.send(plain.Message("POST_ONLY", side, size, price, OWN[side], DEALER))


def send_both(draw: np.random.Generator, book: plain.Book, number: int) -> tuple[plain.Message, plain.Reply]:
    """A random message for the plain book, and what it is called in the book of levels."""
    side, size = int(draw.choice([1, -1], p=[0.55, 0.45])), int(draw.integers(1, 10))
    price = ORIGIN + int(np.clip(np.rint(draw.normal(32 - 3 * side, 4)), 0, TICKS - 1))
    kind = draw.choice(
        ["LIMIT", "MARKET", "IMMEDIATE", "CANCEL", "quote", "withdraw"], p=[0.4, 0.1, 0.1, 0.2, 0.17, 0.03]
    )
    others = [(p, o) for p, level in book.levels.items() for o in level if o.owner != DEALER]
    if kind == "CANCEL" and others:
        price, order = others[draw.integers(len(others))]
        level = book.levels[price]
        own = next((k for k, o in enumerate(level) if o.owner == DEALER), len(level))
        place = 0 if level.index(order) < own else 65535
        said = plain.Message("CANCEL", order.side, order.size, price, place)
        return said, book.send(plain.Message("CANCEL", order=order.number))
    if kind == "quote":
        return plain.Message("POST_ONLY", side, size, price, 0, DEALER), dealer_quotes(book, side, size, price)
    if kind == "withdraw":
        reply = book.send(plain.Message("CANCEL", order=OWN[side]))
        return plain.Message("CANCEL", side, 0, 0, 0, DEALER), reply
    if kind == "CANCEL":
        return plain.Message("NOTHING"), plain.Reply()
    said = plain.Message(str(kind), side, size, price, number)
    return said, book.send(said)


def seen(book: plain.Book) -> tuple[np.ndarray, list[int]]:
    """The others' depth per tick, and tick, size and size ahead of the dealer's bid and ask."""
    depth, own = np.zeros(TICKS, int), {1: [0, 0, 0], -1: [0, 0, 0]}
    for price, level in book.levels.items():
        depth[price - ORIGIN] = sum(o.side * o.size for o in level if o.owner != DEALER)
        for k, order in enumerate(level):
            if order.owner == DEALER:
                own[order.side] = [price - ORIGIN, order.size, sum(o.size for o in level[:k])]
    return depth, [*own[1], *own[-1]]


def by_price(trades: list[plain.Trade]) -> list[tuple[int, int, int]]:
    """Maker (the dealer or not), price and size of the trades, neighbours of one maker and price added up."""
    merged: list[tuple[int, int, int]] = []
    for trade in trades:
        key = (trade.maker_owner, trade.price)
        before = merged.pop()[2] if merged and merged[-1][:2] == key else 0
        merged.append((*key, before + trade.size))
    return merged


@pytest.mark.slow
def test_depth_fills_and_the_dealers_turn_are_those_of_single_orders():
    books, length = 40, 400
    draw = np.random.default_rng(5)
    rows = np.zeros((books, length, 6), np.int32)
    expected: list[list[Any]] = []
    for k in range(books):
        reference, history = plain.Book(10_000, TICKS, ORIGIN, 10_000, plain.Rules()), []
        for t in range(length):
            said, reply = send_both(draw, reference, number=10 + t)
            rows[k, t] = [Kind[said.kind], *said[1:]]
            history.append((*seen(reference), reply))
        expected.append(history)

    _, (states, outcome) = jax.tree.map(np.asarray, run(jnp.asarray(rows)))
    dealt = turns = 0
    for k in range(books):
        for t, (depth, own, reply) in enumerate(expected[k]):
            book: LevelBook = jax.tree.map(lambda field, t=t: field[t], states)
            volume = book.words.reshape(books, -1)[k, :TICKS]
            np.testing.assert_array_equal(np.where(np.arange(TICKS) <= book.bid[k], volume, -volume), depth)
            ours = [int(f[k]) if side.left[k] else 0 for side in (book.own_bid, book.own_ask) for f in side]
            assert ours == own
            assert Answer(int(outcome.answer[t, k])).name == reply.answer
            fills = Fill(*(field[t, k] for field in outcome.fills))
            made = [
                (int(fills.maker_owner[j]), int(fills.price[j]), int(fills.size[j]))
                for j in range(np.sum(fills.size > 0))
            ]
            assert made == by_price(reply.trades)
            dealt += sum(maker == DEALER for maker, _, _ in made)
            turns += own[2] > 0
    assert dealt > 200
    assert turns > 200


@pytest.mark.slow
def test_each_book_at_its_own_pace_ends_as_in_lockstep():
    draw = np.random.default_rng(6)
    rows = np.zeros((8, 200, 6), np.int32)
    for k in range(8):
        reference = plain.Book(10_000, TICKS, ORIGIN, 10_000, plain.Rules())
        for t in range(200):
            said, _ = send_both(draw, reference, number=10 + t)
            rows[k, t] = [Kind[said.kind], *said[1:]]
    ours, tape = replay(empty_level_books(8, ticks=TICKS, origin=ORIGIN), jnp.asarray(rows), no_fills(8, 500), block=4)
    lockstep, (_, outcome) = run(jnp.asarray(rows))
    for field, other in zip(jax.tree.leaves(ours), jax.tree.leaves(lockstep), strict=True):
        np.testing.assert_array_equal(field, other)
    np.testing.assert_array_equal(tape.table().size.sum(1), np.asarray(outcome.traded).sum(0))


def send(book: LevelBook, *fields: Any) -> tuple[LevelBook, Outcome]:
    return step(book, message(*fields), BookRules(), fills=4)


def test_what_it_does_not_know_is_refused_and_leaves_it_as_it_was():
    start, _ = send(empty_level_books(1, ticks=32), Kind.LIMIT, 1, 5, 10)
    refused = {
        (Kind.ALL_OR_NOTHING, 1, 5, 12): "UNKNOWN_KIND",
        (Kind.LIMIT, 1, 5, 12, 0, DEALER): "UNKNOWN_KIND",
        (Kind.LIMIT, 0, 5, 12): "BAD_SIDE",
        (Kind.LIMIT, 1, 0, 12): "BAD_SIZE",
        (Kind.LIMIT, 1, 5, 32): "OFF_GRID",
        (Kind.CANCEL, 1, 5, 11): "UNKNOWN_ORDER",
        (Kind.CANCEL, 1, 5, 9): "UNKNOWN_ORDER",
        (Kind.CANCEL, -1, 5, 10, 0, DEALER): "UNKNOWN_ORDER",
        (Kind.POST_ONLY, -1, 5, 10, 0, DEALER): "WOULD_TRADE",
        (Kind.LIMIT, 1, 2**31 - 5, 10): "SIZE_TOO_LARGE",
    }
    for fields, answer in refused.items():
        book, outcome = send(start, *fields)
        assert Answer(int(outcome.answer[0])).name == answer
        assert int(book.refused[0]) == 1
        assert int(book.overflowed[0]) == (answer in ("OFF_GRID", "SIZE_TOO_LARGE"))
        np.testing.assert_array_equal(book.words, start.words)
        assert (int(book.best_bid[0]), int(book.best_ask[0])) == (10, 32)


def test_a_cancel_strikes_in_front_of_the_dealer_as_often_as_the_share_that_stands_there():
    book = empty_level_books(1, ticks=32)
    for fields in ((Kind.LIMIT, 1, 5, 10), (Kind.POST_ONLY, 1, 3, 10, 0, DEALER), (Kind.LIMIT, 1, 2, 10)):
        book, _ = send(book, *fields)

    def ahead_after(size: int, strikes: int) -> int:
        return int(send(book, Kind.CANCEL, 1, size, 10, strikes)[0].own_bid.ahead[0])

    assert ahead_after(1, 5 * 65536 // 7) == 4  # five sevenths stand in front
    assert ahead_after(1, 5 * 65536 // 7 + 1) == 5
    assert ahead_after(4, 65535) == 3  # two stand behind, the others must have stood in front
    assert ahead_after(6, 0) == 0
    assert ahead_after(7, 65535) == 0
