"""The call auction against a search over all prices, and what joins it to the book before and after."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from twosided.validation.matching import (
    Answer,
    AuctionBook,
    Book,
    BookRules,
    Deal,
    Kind,
    Message,
    call,
    collect,
    empty_auctions,
    empty_books,
    empty_level_books,
    expire,
    message,
    negotiate,
    step,
    to_auction,
    to_book,
)

BOOKS, ORDERS, TICKS, ORIGIN = 240, 12, 32, 200


class Order(NamedTuple):
    number: int
    side: int
    size: int
    price: int
    turn: int
    owner: int = 0


def cleared_by_search(orders: list[Order], reference: int, low: int, high: int) -> tuple[int, int, int]:
    """Price, volume and imbalance: every admissible price is tried."""
    best: tuple[int, ...] | None = None
    for price in range(low, high + 1):
        bid = sum(o.size for o in orders if o.side > 0 and o.price >= price)
        asked = sum(o.size for o in orders if o.side < 0 and o.price <= price)
        merit = min(bid, asked), -abs(bid - asked), -abs(price - reference), price
        if best is None or merit > best[:4]:
            best = (*merit, bid - asked)
    assert best is not None
    return (best[3], best[0], best[4]) if best[0] else (0, 0, 0)


def shared_by_hand(orders: list[Order], price: int, volume: int) -> dict[int, int]:
    """What each order trades: the better price first, then the earlier turn, one order after the other."""
    gets = {}
    for side in (1, -1):
        left = volume
        willing = [o for o in orders if o.side == side and side * o.price >= side * price]
        for order in sorted(willing, key=lambda o: (-side * o.price, o.turn)):
            gets[order.number] = min(left, order.size)
            left -= gets[order.number]
    return {number: size for number, size in gets.items() if size}


def random_orders(seed: int, sizes: int) -> list[list[Order]]:
    """Orders of many auctions; few sizes and prices make ties. Some auctions are empty or one-sided."""
    draw = np.random.default_rng(seed)
    auctions = []
    for _ in range(BOOKS):
        n, share = draw.integers(0, ORDERS + 1), draw.choice([0.0, 0.4, 0.6, 0.6, 0.6])
        numbers = 1 + draw.permutation(ORDERS)[:n]
        spread, middle = draw.integers(1, 12), draw.integers(12, 20)
        auctions.append(
            [
                Order(int(number), side, int(draw.integers(1, sizes + 1)), price, turn, int(draw.integers(0, 3)))
                for turn, number in enumerate(numbers)
                for side in [1 if draw.random() < share else -1]
                for price in [ORIGIN + int(middle + draw.integers(-spread, spread + 1))]
            ]
        )
    return auctions


def collected(auctions: list[list[Order]], rules: BookRules) -> AuctionBook:
    rows = np.zeros((ORDERS, len(auctions), 6), np.int32)
    for k, orders in enumerate(auctions):
        for t, o in enumerate(orders):
            rows[t, k] = Kind.LIMIT, o.side, o.size, o.price, o.number, o.owner
    start = empty_auctions(len(auctions), orders=ORDERS, ticks=TICKS, origin=ORIGIN)
    book, answers = lax.scan(lambda book, row: collect(book, Message(*row.T), rules), start, jnp.asarray(rows))
    assert not np.any(answers)
    return book


@pytest.mark.parametrize("sizes", [1, 3, 20])
@pytest.mark.parametrize(("low", "high"), [(ORIGIN, ORIGIN + TICKS - 1), (ORIGIN + 14, ORIGIN + 17)])
def test_price_volume_and_shares_are_those_of_a_search_over_all_prices(sizes, low, high):
    auctions = random_orders(sizes, sizes)
    reference = np.random.default_rng(0).integers(ORIGIN + 10, ORIGIN + 22, BOOKS).astype(np.int32)
    rules = BookRules(lowest=low, highest=high)
    book = collected(auctions, BookRules())  # orders beyond the limits of the call are there, and may trade within them
    after, cleared = jax.tree.map(np.asarray, jax.jit(call)(book, jnp.asarray(reference), rules))
    traded = 0
    for k, orders in enumerate(auctions):
        price, volume, imbalance = cleared_by_search(orders, int(reference[k]), low, high)
        assert (cleared.price[k], cleared.volume[k], cleared.imbalance[k]) == (price, volume, imbalance)
        gets = {number: int(size) for number, size in enumerate(cleared.traded[k]) if size}
        assert gets == shared_by_hand(orders, price, volume)
        assert {o.number: o.size - gets.get(o.number, 0) for o in orders} == {
            o.number: int(after.size[k, o.number]) for o in orders
        }
        traded += volume > 0
    assert traded > BOOKS / 4


def test_fills_pair_buyers_with_sellers_to_the_last_unit_and_money_is_conserved():
    auctions = random_orders(4, 20)
    cleared = jax.tree.map(np.asarray, call(collected(auctions, BookRules()), ORIGIN + 15))[1]
    fills = cleared.fills
    several = 0
    for k, orders in enumerate(auctions):
        by_number = {o.number: o for o in orders}
        stock: dict[int, int] = {}
        for j in np.flatnonzero(fills.size[k]):
            maker, taker = by_number[int(fills.maker[k, j])], by_number[int(fills.taker[k, j])]
            assert (maker.side, taker.side, fills.price[k, j]) == (-1, 1, cleared.price[k])
            assert (maker.owner, taker.owner) == (fills.maker_owner[k, j], fills.taker_owner[k, j])
            assert maker.price <= fills.price[k, j] <= taker.price
            stock[maker.number] = stock.get(maker.number, 0) - fills.size[k, j]
            stock[taker.number] = stock.get(taker.number, 0) + fills.size[k, j]
        assert stock == {o.number: o.side * t for o in orders if (t := int(cleared.traded[k, o.number]))}
        several += len(stock) > 3
        assert np.all(fills.size[k, : np.count_nonzero(fills.size[k])] > 0), "the table reads from the top"
    assert several > 20


def ties(*orders: tuple[int, int, int], reference: int, **rules: int) -> tuple[int, int]:
    """Price and volume of one auction of (side, size, price)."""
    listed = [Order(1 + k, *order, turn=k) for k, order in enumerate(orders)]
    _, cleared = call(collected([listed], BookRules()), reference, BookRules(**rules))
    return int(cleared.price[0]), int(cleared.volume[0])


def test_ties_are_broken_by_imbalance_then_by_the_reference_then_upward():
    # From 205 to 215 five trade. Up to 210 the bids are three more: the prices above have no imbalance.
    assert ties((1, 5, 215), (1, 3, 210), (-1, 5, 205), reference=206) == (211, 5)
    # Nothing to choose between 205 and 215 but the reference,
    assert ties((1, 5, 215), (-1, 5, 205), reference=208) == (208, 5)
    assert ties((1, 5, 215), (-1, 5, 205), reference=230) == (215, 5)
    # and with only even prices admitted, 208 and 210 are as near to 209.
    assert ties((1, 5, 215), (-1, 5, 205), reference=209, tick=2) == (210, 5)


def test_a_market_without_two_sides_that_meet_does_not_trade():
    assert ties((1, 5, 205), (-1, 5, 206), reference=205) == (0, 0)
    assert ties((1, 5, 205), reference=205) == (0, 0)
    assert ties((1, 5, 215), (-1, 5, 213), reference=205, highest=212) == (0, 0)


def test_collecting_keeps_a_turn_only_where_the_size_falls_at_the_same_price():
    def shares(*changes: Message) -> list[int]:
        book = collected([[Order(1, 1, 6, 210, 0), Order(2, 1, 6, 210, 1), Order(3, -1, 7, 205, 2)]], BookRules())
        for change in changes:
            book, answer = collect(book, change)
            assert int(answer[0]) == Answer.ACCEPTED
        return [int(size) for size in call(book, 210)[1].traded[0, 1:4]]

    assert shares() == [6, 1, 7]
    assert shares(message(Kind.REPLACE, size=5, price=210, order=1)) == [5, 2, 7]
    assert shares(message(Kind.REDUCE, size=1, order=1)) == [5, 2, 7]
    assert shares(message(Kind.REPLACE, size=6, price=210, order=1)) == [1, 6, 7]
    assert shares(message(Kind.REPLACE, size=7, price=210, order=1)) == [1, 6, 7]
    assert shares(message(Kind.REPLACE, size=6, price=211, order=2)) == [1, 6, 7]
    assert shares(message(Kind.CANCEL, order=1)) == [0, 6, 6]


def test_refused_messages_leave_an_auction_as_it_was_and_are_counted():
    book = collected([[Order(1, 1, 6, 210, 0)]], BookRules())
    rules = BookRules(lot=2, lowest=205)
    refused = {
        (Kind.MARKET, 1, 4): "UNKNOWN_KIND",
        (Kind.POST_ONLY, 1, 4, 210, 5): "UNKNOWN_KIND",
        (Kind.LIMIT, 0, 4, 210, 5): "BAD_SIDE",
        (Kind.LIMIT, 1, 4, 210, 1): "NUMBER_IN_USE",
        (Kind.LIMIT, 1, 0, 210, 5): "BAD_SIZE",
        (Kind.LIMIT, 1, 3, 210, 5): "ODD_SIZE",
        (Kind.LIMIT, 1, 4, 204, 5): "OUTSIDE_LIMITS",
        (Kind.CANCEL, 0, 0, 0, 2): "UNKNOWN_ORDER",
        (Kind.REPLACE, 0, 4, 260, 1): "OFF_GRID",
        (Kind.LIMIT, 1, 4, 210, 13): "NUMBER_TOO_HIGH",
    }
    for fields, answer in refused.items():
        after, got = collect(book, message(*fields), rules)
        assert Answer(int(got[0])).name == answer
        assert int(after.refused[0]) == 1
        assert int(after.overflowed[0]) == (answer in ("OFF_GRID", "NUMBER_TOO_HIGH"))
        for name in ("size", "side", "tick", "owner", "turn"):
            np.testing.assert_array_equal(getattr(after, name), getattr(book, name))


def filled_books(seed: int) -> Book:
    """Two dozen books with queues of several orders."""
    draw = np.random.default_rng(seed)
    book = empty_books(24, orders=ORDERS, ticks=TICKS, origin=ORIGIN)
    send = jax.jit(step)
    for _ in range(60):
        side = draw.choice([1, -1], 24)
        price = ORIGIN + 16 - side * draw.integers(-1, 3, 24)
        kind = draw.choice([Kind.LIMIT, Kind.CANCEL, Kind.IMMEDIATE], 24, p=[0.7, 0.15, 0.15])
        book, _ = send(book, message(kind, side, draw.integers(1, 9, 24), price, draw.integers(1, ORDERS + 1, 24), 3))
    return book


def queues(book: Book) -> list[dict[int, list[int]]]:
    prices = range(ORIGIN, ORIGIN + TICKS)
    return [{p: q for p in prices if (q := book.queue(p, k))} for k in range(book.books)]


@pytest.mark.slow
def test_orders_taken_over_into_an_auction_and_back_keep_their_turns():
    book = filled_books(1)
    assert max(len(queue) for each in queues(book) for queue in each.values()) > 3
    auction = to_auction(book)
    back = to_book(auction)
    assert queues(back) == queues(book)
    for ours, theirs in zip(back.resting(), book.resting(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(back.refused, book.refused)
    # A newcomer's turn comes after all that were taken over.
    number = int(np.flatnonzero(np.asarray(auction.size[0]) == 0)[1])
    later, _ = collect(auction, message(Kind.LIMIT, [1] * 24, 1, ORIGIN + 14, number))
    assert int(later.turn[0, number]) > int(np.max(np.where(auction.size[0] > 0, auction.turn[0], -1)))


def test_what_a_call_leaves_does_not_cross():
    auctions = random_orders(8, 20)
    left, _ = call(collected(auctions, BookRules()), ORIGIN + 15)
    book = to_book(left, block=100)
    np.testing.assert_array_equal(book.resting().size, left.size)
    assert np.all(np.asarray(book.bid) < np.asarray(book.ask))


def test_expiry_leaves_nothing_and_keeps_the_counts():
    book = filled_books(2)
    over = expire(book)
    assert not np.any(over.depth)
    assert int(over.best_ask[0] - over.best_bid[0]) == TICKS + 1
    np.testing.assert_array_equal(over.refused, book.refused)
    again, outcome = step(over, message(Kind.LIMIT, [1] * 24, 5, ORIGIN + 3, 1))
    assert again.queue(ORIGIN + 3) == [1]
    assert int(outcome.rested[0]) == 5
    assert not np.any(expire(to_auction(book)).size)

    levels = empty_level_books(1, ticks=32)
    for fields in ((Kind.LIMIT, 1, 5, 10), (Kind.POST_ONLY, -1, 5, 20, 0, 1)):
        levels, _ = step(levels, message(*fields))
    over = expire(levels)
    assert (int(over.best_bid[0]), int(over.best_ask[0]), int(over.own_ask.left[0])) == (-1, 32, 0)


def test_negotiated_trades_obey_the_rules_and_touch_no_book():
    def agreed(buyer: int, seller: int, size: int, price: int) -> tuple[int, str]:
        deal = Deal(*(jnp.asarray([value], jnp.int32) for value in (buyer, seller, size, price)))
        fill, answer = negotiate(deal, BookRules(tick=5, lot=10, lowest=85, highest=115))
        if int(fill.size[0]):
            assert (int(fill.taker_owner[0]), int(fill.maker_owner[0]), int(fill.price[0])) == (buyer, seller, price)
        return int(fill.size[0]), Answer(int(answer[0])).name

    assert agreed(1, 2, 30, 90) == (30, "ACCEPTED")
    assert agreed(1, 2, 0, 90) == (0, "ACCEPTED")
    assert agreed(1, 1, 30, 90) == (0, "SELF_TRADE")
    assert agreed(1, 2, -30, 90) == (0, "BAD_SIZE")
    assert agreed(1, 2, 35, 90) == (0, "ODD_SIZE")
    assert agreed(1, 2, 30, 91) == (0, "OFF_TICK")
    assert agreed(1, 2, 30, 80) == (0, "OUTSIDE_LIMITS")
