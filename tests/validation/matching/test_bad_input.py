"""What cannot be right is refused in words at construction, or by an answer that leaves the book as it was."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.validation.matching import (
    Answer,
    BookRules,
    Kind,
    OddLots,
    SelfTrade,
    empty_auctions,
    empty_books,
    empty_level_books,
    message,
    no_fills,
    price_limits,
    replay,
    step,
)

RULES = BookRules(tick=2, lot=10, odd_lots=OddLots.SOLD, lowest=110, highest=130, self_trade=SelfTrade.CANCEL_INCOMING)


def test_messages_are_whole_numbers_of_32_bits():
    with pytest.raises(TypeError, match="price must be whole numbers, got float64; round to ticks and units first"):
        message(Kind.LIMIT, 1, 5, 100.5)
    with pytest.raises(TypeError, match="size must be whole numbers, got float64"):
        message(Kind.LIMIT, 1, np.array([5.0, 6.0]), 100)
    with pytest.raises(TypeError, match="side must be whole numbers, got bool"):
        message(Kind.LIMIT, True, 5, 100)
    with pytest.raises(ValueError, match="size must fit 32 bits, got values from 5 to 4294967296"):
        message(Kind.LIMIT, 1, np.array([5, 2**32]), 100)


def test_rows_are_whole_numbers_of_32_bits_too():
    book, rows = empty_books(1, orders=4, ticks=32), message(Kind.LIMIT, 1, [[5]], 20, 1).rows()
    bought = replay(book, rows, no_fills(1, 4))[0].depth
    assert bought[0, 20] == 5
    assert jnp.array_equal(replay(book, np.asarray(rows, np.int64), no_fills(1, 4))[0].depth, bought)
    with pytest.raises(TypeError, match="rows must be whole numbers, got float32; round to ticks"):
        replay(book, rows.astype(jnp.float32), no_fills(1, 4))
    with pytest.raises(ValueError, match="rows must fit 32 bits"):
        replay(book, np.asarray(rows, np.int64) << 40, no_fills(1, 4))
    with (
        jax.enable_x64(True),
        pytest.raises(TypeError, match="rows must be int32 inside a compiled function, got int64"),
    ):
        jax.jit(lambda rows: replay(book, rows, no_fills(1, 4)))(rows.astype(np.int64))


def test_capacities_are_checked():
    for orders in (0, -1, 2**16):
        with pytest.raises(ValueError, match=f"orders must lie between 1 and 65535, got {orders}"):
            empty_books(1, orders=orders, ticks=32)
    for ticks in (0, 33, 2**16 + 32):
        with pytest.raises(ValueError, match=f"ticks must be a multiple of 32, at most 65536, got {ticks}"):
            empty_auctions(1, orders=4, ticks=ticks)
    with pytest.raises(ValueError, match="ticks must be a positive multiple of 32, got 40"):
        empty_level_books(1, ticks=40)
    for make in (lambda: empty_books(0, orders=4, ticks=32), lambda: empty_level_books(0, ticks=32)):
        with pytest.raises(ValueError, match="books must be at least 1, got 0"):
            make()
    with pytest.raises(ValueError, match="capacity must be at least 1 fill, got 0"):
        no_fills(3, 0)
    with pytest.raises(ValueError, match=r"rows must be \(2, messages, 6\), got \(3, 5, 6\)"):
        replay(empty_books(2, orders=4, ticks=32), jnp.zeros((3, 5, 6), np.int32), no_fills(2, 4))


def test_rules_that_cannot_be_are_refused_by_name():
    for name, value in (("tick", 0), ("tick", 0.5), ("tick", -2), ("lot", 0), ("lot", np.array([3, 0])), ("lot", True)):
        with pytest.raises(
            ValueError, match=rf"BookRules: {name} must be a whole number of at least 1, got .*; None for"
        ):
            BookRules(**{name: value})
    with pytest.raises(ValueError, match=r"BookRules: highest must be a whole number of at least .*, got 99\.5"):
        BookRules(highest=99.5)
    with pytest.raises(ValueError, match=r"self_trade must be one of SelfTrade.CANCEL_RESTING, .*, got 7"):
        BookRules(self_trade=7)
    with pytest.raises(ValueError, match=r"odd_lots must be one of OddLots.REFUSED, .*, got 3"):
        BookRules(odd_lots=3)
    with pytest.raises(ValueError, match=r"BookRules: lowest must not exceed highest, got 9 and 2"):
        BookRules(lowest=9, highest=2)
    assert BookRules(tick=np.int64(3), lot=jnp.array([1, 2], jnp.int32), self_trade=0).tick == 3
    jax.jit(lambda tick: BookRules(tick=tick).tick)(0)  # not known before the run


def test_price_limits_lie_inward_and_are_checked():
    assert price_limits(np.int64(100)) == (85, 115)
    assert price_limits(2_000_999, 0.001) == (1_998_999, 2_002_999)  # 2000.999 away, within a billionth of a tick more
    assert price_limits(100) == (85, 115)
    assert price_limits(101) == (86, 116)  # 85.85 and 116.15
    assert price_limits(2000, 0.1) == (1800, 2200)
    with pytest.raises(ValueError, match="reference must be a positive whole number of ticks, got 0"):
        price_limits(0)
    with pytest.raises(ValueError, match=r"width must lie between 0 and 1, got 15; 0\.15 is 15%"):
        price_limits(100, 15)


REFUSED = {
    "an unknown kind": ((99, 1, 10, 114, 5, 0), "UNKNOWN_KIND"),
    "a side that is none": ((Kind.LIMIT, 2, 10, 114, 5, 0), "BAD_SIDE"),
    "a size of zero": ((Kind.LIMIT, 1, 0, 114, 5, 0), "BAD_SIZE"),
    "a negative size": ((Kind.MARKET, -1, -10, 0, 0, 0), "BAD_SIZE"),
    "a reduction by nothing": ((Kind.REDUCE, 0, 0, 0, 1, 0), "BAD_SIZE"),
    "a broken lot bought": ((Kind.LIMIT, 1, 15, 114, 5, 0), "ODD_SIZE"),
    "a price between ticks": ((Kind.LIMIT, 1, 10, 113, 5, 0), "OFF_TICK"),
    "a price below the limits": ((Kind.LIMIT, 1, 10, 108, 5, 0), "OUTSIDE_LIMITS"),
    "a price above the limits": ((Kind.IMMEDIATE, 1, 10, 132, 5, 0), "OUTSIDE_LIMITS"),
    "a replacement beyond the limits": ((Kind.REPLACE, 0, 10, 132, 1, 0), "OUTSIDE_LIMITS"),
    "a number that is taken": ((Kind.LIMIT, 1, 10, 114, 1, 0), "NUMBER_IN_USE"),
    "a number beyond the capacity": ((Kind.LIMIT, 1, 10, 114, 9, 0), "NUMBER_TOO_HIGH"),
    "number zero": ((Kind.POST_ONLY, 1, 10, 114, 0, 0), "NUMBER_TOO_HIGH"),
    "an owner beyond the capacity": ((Kind.LIMIT, 1, 10, 114, 5, 2**15), "OWNER_TOO_HIGH"),
    "a size beyond the capacity": ((Kind.LIMIT, 1, 2**30, 114, 5, 0), "SIZE_TOO_LARGE"),
    "a cancel of nothing": ((Kind.CANCEL, 0, 0, 0, 5, 0), "UNKNOWN_ORDER"),
    "a cancel of no number": ((Kind.CANCEL, 0, 0, 0, -7, 0), "UNKNOWN_ORDER"),
    "a replacement of nothing": ((Kind.REPLACE, 0, 10, 114, 8, 0), "UNKNOWN_ORDER"),
    "a post-only order that would trade": ((Kind.POST_ONLY, 1, 10, 120, 5, 0), "WOULD_TRADE"),
    "all of more than there is": ((Kind.ALL_OR_NOTHING, 1, 50, 130, 5, 0), "CANNOT_FILL"),
    "all within a price at which there is less": ((Kind.ALL_OR_NOTHING, 1, 40, 122, 5, 0), "CANNOT_FILL"),
    "all where its owner's order is in the way": ((Kind.ALL_OR_NOTHING, 1, 20, 130, 5, 4), "CANNOT_FILL"),
    "all from more orders than can be recorded": ((Kind.ALL_OR_NOTHING, 1, 40, 130, 5, 0), "TOO_MANY_FILLS"),
}
SEND = jax.jit(step, static_argnames="fills")


def standing_book():
    book = empty_books(1, orders=8, ticks=32, origin=100)
    for number, side, size, price, owner in (
        (1, 1, 20, 116, 3), (2, -1, 10, 120, 3), (3, -1, 10, 120, 4), (4, -1, 20, 124, 3)
    ):  # fmt: skip
        book, outcome = SEND(book, message(Kind.LIMIT, side, size, price, number, owner), RULES, fills=2)
        assert int(outcome.answer[0]) == Answer.ACCEPTED
    return book


@pytest.mark.parametrize("what", REFUSED)
def test_a_refused_message_leaves_the_book_as_it_was_and_is_counted(what):
    fields, answer = REFUSED[what]
    before = standing_book()
    after, outcome = SEND(before, message(*fields), RULES, fills=2)
    assert Answer(int(outcome.answer[0])).name == answer
    assert (int(outcome.traded[0]), int(outcome.rested[0]), int(outcome.fills.count[0])) == (0, 0, 0)
    assert int(after.refused[0]) == 1
    assert int(after.overflowed[0]) == (Answer[answer] >= Answer.NUMBER_TOO_HIGH)
    for ours, theirs in zip(after.resting(), before.resting(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(after.depth, before.depth)
    assert (int(after.best_bid[0]), int(after.best_ask[0])) == (116, 120)
    for price in (116, 120, 124):
        assert after.queue(price) == before.queue(price)


def test_a_price_beyond_the_grid_is_a_want_of_capacity():
    for price in (99, 132, -(2**31), 2**31 - 1):
        book, outcome = SEND(standing_book(), message(Kind.LIMIT, 1, 10, price, 5), BookRules(), fills=2)
        assert int(outcome.answer[0]) == Answer.OFF_GRID
        assert int(book.overflowed[0]) == 1


def test_what_cannot_be_recorded_does_not_trade_and_is_told():
    book, outcome = SEND(standing_book(), message(Kind.LIMIT, 1, 40, 124, 5), BookRules(), fills=2)
    assert int(outcome.answer[0]) == Answer.TOO_MANY_FILLS
    assert (int(outcome.traded[0]), int(outcome.rested[0]), int(book.overflowed[0])) == (20, 0, 1)
    assert (int(book.best_bid[0]), int(book.best_ask[0])) == (116, 124)
    assert outcome.fills.table().maker[0].tolist() == [2, 3]


def test_an_order_of_the_same_owner_stops_the_incoming_one_or_is_pulled():
    stopped, outcome = SEND(standing_book(), message(Kind.LIMIT, 1, 30, 124, 5, 4), RULES, fills=2)
    assert Answer(int(outcome.answer[0])) == Answer.SELF_TRADE
    assert (int(outcome.traded[0]), int(stopped.refused[0]), stopped.queue(120)) == (10, 0, [3])
    rules = replace(RULES, self_trade=SelfTrade.CANCEL_RESTING)
    pulled, outcome = SEND(standing_book(), message(Kind.LIMIT, 1, 30, 124, 5, 4), rules, fills=2)
    assert (int(outcome.traded[0]), int(outcome.pulled[0]), pulled.queue(120), pulled.queue(124)) == (30, 10, [], [])


@pytest.mark.slow
def test_rules_may_differ_from_book_to_book_and_books_may_be_mapped_over():
    two = empty_books(2, orders=8, ticks=32, origin=np.array([100, 300], np.int32))
    rules = BookRules(highest=jnp.array([110, 310], jnp.int32))
    two, outcome = SEND(two, message(Kind.LIMIT, 1, 5, [111, 309], 1), rules, fills=2)
    assert [Answer(int(answer)).name for answer in outcome.answer] == ["OUTSIDE_LIMITS", "ACCEPTED"]

    def buy(size: jax.Array) -> jax.Array:
        market = message(Kind.MARKET, 1)._replace(size=size)
        return step(standing_book(), market, fills=2)[0].depth[0, 20]

    np.testing.assert_array_equal(jax.vmap(buy)(jnp.array([[5], [7], [9]], jnp.int32)), [-15, -13, -11])
