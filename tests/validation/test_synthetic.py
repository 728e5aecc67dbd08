"""The synthetic market: what it writes is a real order book, and its truth is known."""

import math
import zipfile
from collections import defaultdict, deque

import numpy as np
import pytest

from twosided.validation.messages import read_messages
from twosided.validation.synthetic import SAMPLE_SEED, SyntheticMarket, sample_path

LARGEST_SAMPLE = 300_000  # bytes that a wheel may reasonably spend on an example


@pytest.fixture(scope="module")
def session():
    market = SyntheticMarket(seconds=2_000.0, market_order_rate=0.4, market_order_stop=0.4, start=37_000.0)
    return market.simulate(seed=7)


def test_the_shipped_sample_is_what_its_generator_makes():
    with zipfile.ZipFile(sample_path()) as archive:
        shipped = {name: archive.read(name).decode().splitlines() for name in archive.namelist()}
    market = SyntheticMarket()
    made = market.simulate(SAMPLE_SEED)
    assert shipped == {
        market.file_name("message"): made.message,
        market.file_name("orderbook"): made.orderbook,
    }
    assert sample_path().stat().st_size < LARGEST_SAMPLE


def test_a_seed_decides_every_row():
    market = SyntheticMarket(seconds=200.0)
    first, again, other = market.simulate(3), market.simulate(3), market.simulate(4)
    assert (first.message, first.orderbook) == (again.message, again.orderbook)
    assert first.message != other.message


def test_market_orders_come_at_the_stated_rate_on_either_side():
    market = SyntheticMarket(seconds=8_000.0, market_order_rate=0.3)
    orders = market.simulate(seed=1).orders
    expected = market.market_order_rate * market.seconds
    assert abs(len(orders) - expected) < 4 * math.sqrt(expected)
    assert abs(sum(order.side for order in orders)) < 4 * math.sqrt(expected)


def replay(session):
    """A naive book that follows the messages; yields after each the row LOBSTER would write."""
    queues = {1: defaultdict(deque), -1: defaultdict(deque)}  # side -> price -> [order, size]
    for line in session.message:
        _, kind, number, size, price, side = line.split(",")
        kind, number, size, price, side = int(kind), int(number), int(size), int(price), int(side)
        queue = queues[side][price]
        if kind == 1:
            queue.append([number, size])
        else:
            if kind == 4:
                assert queue[0][0] == number, "first in, first out"
                assert price == (max if side > 0 else min)(queues[side]), "the best price first"
            entry = next(e for e in queue if e[0] == number)
            entry[1] -= size
            assert entry[1] >= 0
            assert (kind != 3) or entry[1] == 0
            if not entry[1]:
                queue.remove(entry)
        if not queue:
            del queues[side][price]
        yield {side: {p: sum(e[1] for e in q) for p, q in queues[side].items()} for side in (1, -1)}


def levels(row):
    cells = [int(cell) for cell in row.split(",")]
    asks = {p: s for p, s in zip(cells[0::4], cells[1::4], strict=True) if s}
    bids = {p: s for p, s in zip(cells[2::4], cells[3::4], strict=True) if s}
    return asks, bids


def test_the_book_file_is_what_the_messages_build_and_trades_respect_priority():
    # A book that starts empty, so that the messages alone build all of it.
    session = SyntheticMarket(seconds=900.0, burn_in=0.0, market_order_rate=0.4).simulate(seed=11)
    for book, row in zip(replay(session), session.orderbook, strict=True):
        asks, bids = levels(row)
        assert asks == {p: book[-1][p] for p in sorted(book[-1])[:5]}
        assert bids == {p: book[1][p] for p in sorted(book[1], reverse=True)[:5]}
        assert not (asks and bids) or max(bids) < min(asks)


def test_the_reader_finds_exactly_the_market_orders_that_were_sent(session, tmp_path):
    messages = read_messages(session.write(tmp_path / "run.zip"))
    found, sent = messages.market_orders, session.orders
    assert found.time == pytest.approx([order.time for order in sent], abs=1e-9)
    assert found.side.tolist() == [order.side for order in sent]
    assert found.deepest_price.tolist() == [order.deepest_price for order in sent]
    assert found.size.tolist() == [order.size for order in sent]
    assert len(messages.prints.time) > len(sent), "some orders walk the book, else merging is not tested"
    quoted = [i for i, order in enumerate(sent) if order.twice_mid_before is not None and i > 0]
    before = messages.twice_mid_before(found.time)[quoted]
    assert before.tolist() == [sent[i].twice_mid_before for i in quoted]


def test_a_side_that_runs_empty_is_written_as_lobster_does_and_leaves_the_last_quote_standing(tmp_path):
    market = SyntheticMarket(seconds=600.0, market_order_rate=1.0, limit_order_rate=0.7, levels=2)
    session = market.simulate(seed=5)
    empty = [row.startswith("9999999999,0") or ",-9999999999,0" in row[:40] for row in session.orderbook]
    messages = read_messages(session.write(tmp_path / "thin.zip"))
    assert any(empty)
    assert len(messages.quotes.time) < len(session.orderbook)
    assert np.all(messages.quotes.bid < messages.quotes.ask)


@pytest.mark.parametrize(
    ("field", "value"), [("tick", 0.0), ("market_order_rate", -0.1), ("seconds", math.nan), ("levels", 0)]
)
def test_a_market_that_cannot_be_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"SyntheticMarket: {field} must be positive"):
        SyntheticMarket(**{field: value})


def test_a_chance_beyond_one_is_refused():
    with pytest.raises(ValueError, match="market_order_stop must lie in"):
        SyntheticMarket(market_order_stop=1.5)
