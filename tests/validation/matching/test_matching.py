"""The book against a plain one: the same messages, the same answers, the same trades, the same orders left."""

from collections import Counter
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from twosided.validation.matching.book import Book, empty_books
from twosided.validation.matching.engine import drive, replay, step
from twosided.validation.matching.fills import no_fills
from twosided.validation.matching.messages import Answer, Kind, Message
from twosided.validation.matching.rules import BookRules, OddLots, SelfTrade

from . import reference_book as plain

ORDERS, TICKS, ORIGIN, FILLS = 14, 32, 1000, 3
KINDS = list(Kind)

RULES = {
    "no rules": (BookRules(), plain.Rules()),
    "ticks, lots and limits": (
        BookRules(tick=2, lot=5, odd_lots=OddLots.SOLD, lowest=1004, highest=1022),
        plain.Rules(tick=2, lot=5, odd_lots="SOLD", lowest=1004, highest=1022),
    ),
    "own orders pulled": (
        BookRules(self_trade=SelfTrade.CANCEL_RESTING, lot=2),
        plain.Rules(self_trade="CANCEL_RESTING", lot=2),
    ),
    "own orders stop": (
        BookRules(self_trade=SelfTrade.CANCEL_INCOMING, lot=3, odd_lots=OddLots.ALLOWED),
        plain.Rules(self_trade="CANCEL_INCOMING", lot=3, odd_lots="ALLOWED"),
    ),
}


def random_messages(seed: int, books: int, length: int, rules: BookRules) -> np.ndarray:
    """Streams of all kinds, (books, length, 6), with few prices, numbers and owners so that they meet.

    Asymmetric: buyers are more, and larger. One message in ten cares for neither ticks nor lots.
    """
    draw = np.random.default_rng(seed)
    shape = (books, length)
    share = np.array([1, 35, 8, 13, 11, 7, 9, 8, 5, 1, 1, 1]) / 100
    kind = draw.choice([*KINDS, -1, 9, 40], shape, p=share)
    side = draw.choice([1, -1, 0, 2], shape, p=[0.54, 0.45, 0.005, 0.005])
    size = draw.integers(1, 16, shape) + 2 * (side > 0)
    size *= np.where(np.isin(kind, [Kind.MARKET, Kind.IMMEDIATE]) & (draw.random(shape) < 0.3), 4, 1)
    price = ORIGIN + np.clip(np.rint(draw.normal(14 - 2 * side, 4, shape)), 0, TICKS - 1).astype(np.int64)
    careful = draw.random(shape) < 0.9
    size = np.where(careful, size * (rules.lot or 1), size)
    price = np.where(careful, price - price % (rules.tick or 1), price)
    size = np.where(draw.random(shape) < 0.01, draw.choice([0, -3, 2**31 - 1], shape), size)
    price = np.where(draw.random(shape) < 0.005, draw.choice([ORIGIN - 2, ORIGIN + TICKS, -(2**31)], shape), price)
    order = draw.integers(0, ORDERS + 2, shape)
    owner = np.where(draw.random(shape) < 0.005, draw.choice([-1, 40_000], shape), draw.integers(0, 4, shape))
    return np.stack([kind, side, size, price, order, owner], axis=-1).astype(np.int32)


@jax.jit
def run_core(rows: jax.Array, rules: BookRules) -> tuple[Book, Any]:
    """Every outcome and every state of the books along (books, length, 6) messages; time first."""

    def on(book: Book, row: jax.Array) -> tuple[Book, Any]:
        book, outcome = step(book, Message(*row.T), rules, fills=FILLS)
        return book, (outcome._replace(fills=outcome.fills.table()), book.bid, book.ask, jnp.abs(book.depth).sum(1))

    return lax.scan(on, empty_books(rows.shape[0], orders=ORDERS, ticks=TICKS, origin=ORIGIN), rows.swapaxes(0, 1))


def run_plain(rows: np.ndarray, rules: plain.Rules, fills: int = FILLS) -> tuple[plain.Book, list[plain.Reply]]:
    book = plain.Book(ORDERS, TICKS, ORIGIN, fills, rules)
    names = {int(kind): kind.name for kind in Kind}
    replies = [book.send(plain.Message(names.get(row[0], "?"), *row[1:])) for row in rows.tolist()]
    return book, replies


def replied(replies: list[plain.Reply]) -> tuple[np.ndarray, np.ndarray]:
    """Answer, traded, rested, cancelled, pulled per message, and its trades, as the core reports them."""
    numbers = [(Answer[r.answer], sum(t.size for t in r.trades), r.rested, r.cancelled, r.pulled) for r in replies]
    trades = np.zeros((len(replies), FILLS, 7), int)
    for k, reply in enumerate(replies):
        for j, trade in enumerate(reply.trades):
            trades[k, j] = trade.maker, trade.taker, trade.price, trade.size, trade.side, *trade[5:]
    return np.array(numbers), trades


def assert_same_book(core: Book, k: int, reference: plain.Book) -> None:
    """Orders, their queues, best prices and counts of book `k` are those of the plain one, level by level."""
    queues = {price: core.queue(price, k) for price in range(ORIGIN, ORIGIN + TICKS)}
    assert {p: q for p, q in queues.items() if q} == {
        price: [order.number for order in level] for price, level in reference.levels.items()
    }
    resting = jax.tree.map(lambda field: np.asarray(field[k]), core.resting())
    for price, level in reference.levels.items():
        for o in level:
            here = resting.size[o.number], resting.side[o.number], resting.price[o.number], resting.owner[o.number]
            assert here == (o.size, o.side, price, o.owner)
    assert np.count_nonzero(resting.size) == sum(map(len, reference.levels.values()))
    assert int(core.best_bid[k]) == max(reference.prices(1), default=ORIGIN - 1)
    assert int(core.best_ask[k]) == min(reference.prices(-1), default=ORIGIN + TICKS)
    assert (int(core.refused[k]), int(core.overflowed[k])) == (reference.refused, reference.overflowed)


def compare(rows: np.ndarray, which: str) -> Counter[str]:
    """Run (books, length, 6) messages through both and compare all there is; the answers seen, counted."""
    rules, plain_rules = RULES[which]
    core, (outcome, bid, ask, depth) = jax.tree.map(np.asarray, run_core(jnp.asarray(rows), rules))
    assert np.all(bid < ask), "the book is crossed"
    flow = outcome.rested - outcome.traded - outcome.cancelled - outcome.pulled
    np.testing.assert_array_equal(depth, np.cumsum(flow, axis=0), "a unit came from nowhere, or went there")
    answers: Counter[str] = Counter()
    for k, stream in enumerate(rows):
        reference, replies = run_plain(stream, plain_rules)
        numbers, trades = replied(replies)
        ours = np.stack([field[:, k] for field in outcome[:5]], axis=-1)
        np.testing.assert_array_equal(ours, numbers)
        np.testing.assert_array_equal(np.stack([field[:, k] for field in outcome.fills], axis=-1), trades)
        assert_same_book(core, k, reference)
        answers.update(reply.answer for reply in replies)
    return answers


@pytest.mark.parametrize(
    "which", [pytest.param(which, marks=[pytest.mark.slow] * (which != "no rules")) for which in RULES]
)
def test_random_messages_leave_the_same_fills_books_and_refusals_as_a_plain_book(which):
    rules = RULES[which][0]
    seen = compare(random_messages(list(RULES).index(which), 125, 2000, rules), which)
    never = set()
    never |= {"SELF_TRADE"} if rules.self_trade != SelfTrade.CANCEL_INCOMING else set()
    never |= {"ODD_SIZE"} if rules.lot is None or rules.odd_lots == OddLots.ALLOWED else set()
    never |= {"OFF_TICK"} if rules.tick is None else set()
    never |= {"OUTSIDE_LIMITS"} if rules.lowest is None else {"OFF_GRID"}
    assert set(seen) == set(Answer.__members__) - never
    assert seen["ACCEPTED"] > 100_000
    assert min(seen.values()) > 100


@st.composite
def streams(draw: st.DrawFn) -> np.ndarray:
    """A short stream for one book; everything shrinks towards nothing at all."""
    near = st.integers(ORIGIN + 10, ORIGIN + 14)
    fields = st.tuples(
        st.sampled_from(KINDS), st.sampled_from([1, -1]), st.integers(1, 6), near, st.integers(1, 6), st.integers(0, 2)
    )
    messages = draw(st.lists(fields, max_size=40))
    rows = np.zeros((1, 40, 6), np.int32)
    rows[0, : len(messages)] = np.array(messages, np.int32).reshape(-1, 6)
    return rows


@pytest.mark.parametrize("which", ["no rules", "own orders pulled", "own orders stop"])
@given(rows=streams())
def test_no_short_stream_tells_it_from_a_plain_book(which, rows):
    compare(rows, which)


def test_each_book_at_its_own_pace_makes_the_same_trades_as_in_lockstep():
    rows = random_messages(9, 12, 400, BookRules())
    start = empty_books(12, orders=ORDERS, ticks=TICKS, origin=ORIGIN)
    book, tape = replay(start, jnp.asarray(rows), no_fills(12, 2000), block=4)
    table = jax.tree.map(np.asarray, tape.table())
    for k, stream in enumerate(rows):
        reference, replies = run_plain(stream, plain.Rules(), fills=2000)
        trades = np.array([trade for reply in replies for trade in reply.trades])
        assert int(tape.count[k]) == len(trades) > 50
        np.testing.assert_array_equal(np.stack([field[k] for field in table], -1)[: len(trades)], trades)
        assert_same_book(book, k, reference)


class Chaser(eqx.Module):
    """Sends `length` orders to each book, priced from its best bid: what a closed loop does."""

    sent: jax.Array
    length: int = eqx.field(static=True)

    @property
    def more(self) -> jax.Array:
        return self.sent < self.length

    def message(self, book: Book) -> Message:
        # Seven and five have no common factor with the rest: the books differ, and every order meets another size.
        n = self.sent * 7 + jnp.arange(book.books, dtype=jnp.int32)
        side = jnp.where(n % 5 < 2, -1, 1)
        kind = jnp.where(n % 3 == 0, int(Kind.IMMEDIATE), int(Kind.LIMIT))
        price = jnp.clip(book.best_bid + n % 4 - 1, ORIGIN, ORIGIN + TICKS - 1)
        return Message(kind, side, 1 + n % 11, price, 1 + n % ORDERS, jnp.zeros_like(n))

    def take(self, book: Book, ready: jax.Array) -> tuple[Message, jax.Array, "Chaser"]:
        arrives = ready & self.more
        return self.message(book), arrives, Chaser(self.sent + arrives.astype(jnp.int32), self.length)


@pytest.mark.slow
def test_a_source_that_looks_at_the_books_sees_them_as_in_lockstep():
    start = empty_books(9, orders=ORDERS, ticks=TICKS, origin=ORIGIN)
    chaser = Chaser(jnp.zeros(9, jnp.int32), 60)
    driven, _, tape = jax.jit(drive)(start, chaser, no_fills(9, 300))
    book, traded = start, np.zeros(9, int)
    send = jax.jit(step)
    for n in range(60):
        book, outcome = send(book, Chaser(jnp.full(9, n, jnp.int32), 60).message(book))
        traded += np.asarray(outcome.traded)
    assert np.all(traded > 0)
    assert traded.sum() > 200
    np.testing.assert_array_equal(tape.table().size.sum(1), traded)
    for ours, theirs in zip(jax.tree.leaves(driven.resting()), jax.tree.leaves(book.resting()), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(driven.refused, book.refused)


def test_what_stands_before_an_order_is_the_sum_of_the_earlier_ones():
    rows = random_messages(11, 60, 300, BookRules())
    book = run_core(jnp.asarray(rows), BookRules())[0]
    ask = jax.jit(Book.quantity_ahead)
    ahead = [ask(book, np.full(60, number, np.int32)) for number in range(ORDERS + 2)]
    found = 0
    for k, stream in enumerate(rows):
        expected = np.full(ORDERS + 2, -1)
        for level in run_plain(stream, plain.Rules())[0].levels.values():
            sizes = [order.size for order in level]
            expected[[order.number for order in level]] = np.cumsum(sizes) - sizes
        np.testing.assert_array_equal([int(a[k]) for a in ahead], expected)
        found += np.sum(expected > 0)
    assert found > 30
