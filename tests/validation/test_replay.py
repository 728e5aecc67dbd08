"""Replay of recorded messages: the book file found again, and the dealer's fills where flow reaches its turn."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from twosided.validation.messages import DataError
from twosided.validation.replay import RULES, OwnOrder, Record, read_record, replay
from twosided.validation.replay import _run as run_module
from twosided.validation.synthetic import sample_path

EMPTY = 9_999_999_999


class Tape:
    """A record written by hand: a message, and the two best levels of each side after it, prices in cents."""

    def __init__(self, bids, asks, levels=2):
        self.levels, self.rows, self.book = levels, [], []
        self.bids, self.asks = dict(bids), dict(asks)
        self.say(10.0, 5, 0, 1, 9999, 1)  # the first row only shows the book

    def say(self, time, kind, order, size, price, side):
        self.rows.append((time, kind, order, size, price * 100 if kind != 7 else price, side))
        cells = []
        bids = sorted(self.bids.items(), reverse=True)[: self.levels]
        asks = sorted(self.asks.items())[: self.levels]
        for level in range(self.levels):
            for shown, nothing in ((asks, EMPTY), (bids, -EMPTY)):
                price, size = shown[level] if level < len(shown) else (None, 0)
                cells += [nothing if price is None else price * 100, size]
        self.book.append(cells)

    def send(self, time, kind, order, size, price, side):
        """A message and what it does to the book."""
        book = self.bids if side > 0 else self.asks
        book[price] = book.get(price, 0) + {1: size, 2: -size, 3: -size, 4: -size}.get(kind, 0)
        if not book[price]:
            del book[price]
        self.say(time, kind, order, size, price, side)

    def record(self):
        rows = np.array(self.rows)
        return Record(rows[:, 0], *rows[:, 1:].astype(np.int64).T, book=np.array(self.book))


def day():
    """Bids 100 at 99.99 and asks 100 at 100.01, of nobody known; then orders 1 and 2 join the bid."""
    tape = Tape({9999: 100, 9998: 50}, {10001: 100, 10002: 70})
    tape.send(11, 1, 1, 60, 9999, 1)
    tape.send(12, 1, 2, 40, 9999, 1)
    return tape


def all_equal(replayed):
    return replayed.compared.all() and replayed.equal.all() and not replayed.counts["refused_by_the_book"]


# --- the book -----------------------------------------------------------------------------------------------------


def test_the_sample_is_found_again_row_by_row_with_every_execution_in_turn():
    replayed = replay(read_record(sample_path()))
    assert all_equal(replayed)
    assert replayed.agreement == replayed.touch == replayed.fifo == 1.0
    assert replayed.seen.sum() > 1000
    assert set(replayed.counts) == set(RULES)


@pytest.mark.slow
def test_google_on_2012_06_21_is_found_again(real_data):
    replayed = replay(read_record(real_data("LOBSTER_SampleFile_GOOG_2012-06-21_10.zip")))
    assert replayed.compared.sum() == len(replayed.record) == 147_916
    assert replayed.agreement >= 0.999
    assert replayed.touch == 1.0
    assert replayed.fifo >= 0.995
    assert 0.06 < 1 - replayed.seen.mean() < 0.08, "the share of executions of orders from before"
    assert replayed.counts["heard_of_again"] == replayed.counts["resized_unseen"] == 0


@pytest.mark.parametrize("row", [1, 700])
def test_a_book_file_that_is_one_share_off_is_noticed_in_that_row(row, monkeypatch):
    record = read_record(sample_path(), stop=1000)

    def look(record, grid):
        sight = honest(record, grid)
        sight.size[row, 5] += 1  # best ask
        return sight

    honest = run_module.look
    monkeypatch.setattr(run_module, "look", look)
    assert np.flatnonzero(~replay(record).equal).tolist() == [row]


def test_an_execution_out_of_turn_or_away_from_the_touch_is_counted_and_carried_out():
    tape = day()
    tape.send(13, 4, 2, 30, 9999, 1)  # before 1, and before what was there at first
    tape.send(14, 4, 8, 20, 9998, 1)  # not the best bid
    tape.send(15, 4, 9, 100, 9999, 1)
    tape.send(16, 4, 1, 60, 9999, 1)
    replayed = replay(tape.record())
    assert all_equal(replayed)
    assert replayed.in_turn.tolist() == [False, True, True, True]
    assert replayed.at_touch.tolist() == [True, False, True, True]
    assert replayed.seen.tolist() == [True, False, False, True]
    assert replayed.fifo == 0.5
    assert replayed.touch == 0.75
    assert replayed.counts["earlier_orders"] == 2


def test_a_level_that_comes_into_sight_is_taken_from_the_book_file():
    tape = day()
    tape.bids[9997] = 500  # behind the two levels
    tape.send(13, 3, 9, 50, 9998, 1)  # and now it shows
    tape.send(14, 1, 3, 10, 9998, 1)  # hides it
    tape.bids[9997] = 650
    tape.send(15, 3, 3, 10, 9998, 1)  # shows it again, larger
    tape.send(16, 1, 4, 10, 9998, 1)
    tape.bids[9997] = 80
    tape.send(17, 3, 4, 10, 9998, 1)  # smaller
    tape.send(18, 2, 9, 30, 9997, 1)
    replayed = replay(tape.record())
    assert all_equal(replayed)
    names = ("levels_entered", "levels_grown", "levels_shrunk", "levels_returned")
    assert [replayed.counts[name] for name in names] == [1, 1, 1, 0]


def test_orders_named_again_outlive_those_that_are_not_while_out_of_sight():
    tape = day()
    tape.send(13, 1, 3, 30, 9998, 1)  # behind 50 of nobody known
    tape.send(14, 1, 4, 20, 9998, 1)
    tape.send(15, 1, 5, 10, 10000, 1)  # hides them
    tape.bids[9998] = 30
    tape.send(16, 4, 5, 10, 10000, 1)
    for size, order in ((100, 9), (60, 1), (40, 2)):
        tape.send(17, 4, order, size, 9999, 1)
    tape.send(18, 4, 3, 30, 9998, 1)
    replayed = replay(tape.record())
    assert all_equal(replayed)
    assert replayed.counts["levels_shrunk"] == 1
    assert replayed.counts["heard_of_again"] == 0
    assert replayed.fifo == 1.0, "3 stands alone"


def test_after_a_halt_the_book_begins_again():
    tape = day()
    tape.say(20, 7, 0, 0, -1, -1)
    tape.bids, tape.asks = {9950: 10}, {9940: 30}  # crossed while quoting
    tape.say(21, 7, 0, 0, 0, -1)
    tape.bids, tape.asks = {9930: 10, 9920: 25}, {9940: 30}
    tape.say(22, 7, 0, 0, 1, -1)
    tape.say(23, 6, 0, 500, 9935, -1)  # leaves the book as it is
    tape.send(24, 4, 9, 10, 9930, 1)
    own = [OwnOrder(12.5, 1, 999_800, 5), OwnOrder(20.5, 1, 992_000, 5), OwnOrder(22.5, 1, 993_000, 5)]
    replayed = replay(tape.record(), own)
    assert replayed.compared.tolist() == [True, True, True, False, False, True, True, True]
    assert replayed.equal[replayed.compared].all()
    assert replayed.counts["halts"] == 3
    assert replayed.counts["rows_in_halts"] == 2
    assert replayed.counts["cross_trades"] == 1
    assert [out.state for out in replayed.own] == ["halted", "halted", "open"]


# --- own orders ---------------------------------------------------------------------------------------------------


def test_an_own_order_waits_for_its_turn_and_is_filled_by_what_comes_after():
    tape = day()
    own = OwnOrder(12.5, 1, 999_900, 50)  # behind 100 + 60 + 40
    tape.send(13, 1, 3, 90, 9999, 1)  # behind it
    tape.send(14, 3, 1, 60, 9999, 1)  # before it
    tape.send(15, 4, 9, 100, 9999, 1)
    tape.send(16, 2, 3, 10, 9999, 1)  # behind
    tape.send(17, 4, 2, 40, 9999, 1)
    tape.send(18, 4, 3, 30, 9999, 1)  # the record's third order: it is the dealer's turn
    tape.send(19, 4, 3, 50, 9999, 1)
    replayed = replay(tape.record(), [own])
    out = replayed.own[0]
    assert all_equal(replayed)
    assert out.ahead == 200
    assert dict(zip(out.rows.tolist(), out.queue.tolist(), strict=True)) == {3: 200, 4: 140, 5: 40, 6: 40, 7: 0, 8: 0}
    assert [(fill.row, fill.size, fill.through) for fill in out.fills] == [(8, 30, "execution"), (9, 20, "execution")]
    assert [fill.time for fill in out.fills] == [18, 19]
    assert out.state == "filled"
    assert replayed.fifo == 1.0


def test_a_better_price_is_reached_first_and_a_worse_one_not_at_all():
    tape = day()
    tape.send(13, 4, 9, 30, 9999, 1)
    tape.send(14, 4, 9, 30, 10001, -1)
    own = [OwnOrder(12.5, s, p, 100) for s, p in ((1, 1_000_000), (1, 999_800), (-1, 1_000_200), (-1, 1_000_100))]
    better, worse, worse_ask, at_ask = replay(tape.record(), own).own
    assert [(fill.row, fill.size, fill.price) for fill in better.fills] == [(3, 30, 1_000_000)]
    assert better.ahead == 0
    assert (worse.filled, worse_ask.filled, at_ask.filled) == (0, 0, 0)
    assert (worse.ahead, worse_ask.ahead, at_ask.ahead) == (50, 70, 100)
    assert [out.state for out in (better, worse, worse_ask, at_ask)] == ["open"] * 4


def test_own_orders_share_what_comes_by_price_then_time():
    tape = day()
    tape.send(13, 4, 9, 90, 9999, 1)
    own = [OwnOrder(12.7, 1, 1_000_000, 30), OwnOrder(12.5, 1, 1_000_000, 40), OwnOrder(12.6, 1, 999_900, 50)]
    second, first, behind = replay(tape.record(), own).own
    assert (first.ahead, second.ahead, behind.ahead) == (0, 40, 200)
    assert (first.filled, second.filled, behind.filled) == (40, 30, 0)


def test_hidden_executions_reach_own_orders_at_their_price_or_better():
    tape = day()
    tape.rows.append((13.0, 5, 0, 20, 999_950, 1))  # between two ticks
    tape.book.append(tape.book[-1])
    tape.rows.append((14.0, 5, 0, 20, 1_000_050, -1))
    tape.book.append(tape.book[-1])
    own = [OwnOrder(12.5, 1, 999_900, 5), OwnOrder(12.5, -1, 1_000_100, 5)]
    assert [out.filled for out in replay(tape.record(), own).own] == [0, 0], "the hidden price is the better one"
    inside = [OwnOrder(12.5, 1, 1_000_000, 5), OwnOrder(13.5, -1, 1_000_000, 50, until=14.5)]
    bid, ask = replay(tape.record(), [inside[0]]).own[0], replay(tape.record(), [inside[1]]).own[0]
    assert [(fill.row, fill.size, fill.through) for fill in bid.fills] == [(3, 5, "hidden")]
    assert [(fill.row, fill.size, fill.through) for fill in ask.fills] == [(4, 20, "hidden")]


def test_a_recorded_order_through_an_own_one_fills_it_and_the_rest_is_withdrawn():
    tape = day()
    tape.send(13, 1, 3, 20, 10000, 1)  # a bid at the dealer's ask
    tape.send(14, 4, 3, 20, 10000, 1)
    replayed = replay(tape.record(), [OwnOrder(12.5, -1, 1_000_000, 50), OwnOrder(12.5, -1, 1_000_100, 50)])
    locked, behind = replayed.own
    assert all_equal(replayed)
    assert [(fill.row, fill.size, fill.through) for fill in locked.fills] == [(3, 20, "crossing")]
    assert (locked.state, behind.state, behind.filled) == ("locked", "open", 0)


def test_what_comes_into_sight_at_an_own_price_goes_before_it():
    tape = day()
    tape.send(13, 1, 3, 10, 10000, 1)  # hides 99.98
    own = OwnOrder(13.5, 1, 999_800, 5)
    tape.bids[9998] = 80
    tape.send(14, 3, 3, 10, 10000, 1)  # shows it, with 30 more
    tape.send(15, 2, 9, 20, 9998, 1)
    out = replay(tape.record(), [own]).own[0]
    assert out.blind
    assert out.ahead == 50
    assert dict(zip(out.rows.tolist(), out.queue.tolist(), strict=True)) == {4: 80, 5: 60}


@pytest.mark.slow
def test_the_states_of_own_orders_that_are_not_filled():
    tape = day()
    tape.send(13, 1, 3, 10, 9998, 1)
    tape.send(14, 1, 4, 10, 9998, 1)
    own = {
        "refused": OwnOrder(12.5, 1, 1_000_100, 5),
        "withdrawn": OwnOrder(12.5, -1, 1_000_100, 5, until=13.5),
        "open": OwnOrder(13.0, -1, 1_000_100, 5),
        "never": OwnOrder(14.0, -1, 1_000_100, 5),
    }
    outcomes = dict(zip(own, replay(tape.record(), list(own.values())).own, strict=True))
    assert {name: out.state for name, out in outcomes.items()} == {name: name for name in own}
    assert {name: out.ahead for name, out in outcomes.items()} == {
        "refused": -1,
        "withdrawn": 100,
        "open": 105,
        "never": -1,
    }
    assert replay(tape.record(), [OwnOrder(12.5, -1, 10**9, 5)]).own[0].state == "beyond"


class PlainQueue:
    """Quantity before one own order and its fills, by reading the messages one after the other with a list."""

    def __init__(self, record, order):
        self.record, self.order = record, order
        self.levels: dict[tuple[int, int], list[list]] = {}
        self.filled: list[tuple[int, int]] = []
        self.ahead: dict[int, int] = {}
        left, stands = order.size, False
        for row in range(len(record)):
            if row and not stands and record.time[row - 1] <= order.time < record.time[row]:
                stands = True
                self.queue().append(["own", 0])
            if stands and left:
                reached = self.reach(row)
                if min(left, reached):
                    self.filled.append((row, min(left, reached)))
                left -= min(left, reached)
            if stands and left and record.kind[row] == 1 and record.side[row] == -order.side:
                stands = order.side * (record.price[row] - order.price) > 0
            self.read(row)
            if stands and left:
                queue = self.queue()
                self.ahead[row] = sum(size for _, size in queue[: [name for name, _ in queue].index("own")])

    def queue(self):
        return self.levels.setdefault((self.order.side, self.order.price), [])

    def reach(self, row):
        """Flow of this row that finds nothing recorded before the order."""
        record, order = self.record, self.order
        kind, side, price = record.kind[row], record.side[row], record.price[row]
        if side != (order.side if kind == 4 else -order.side) or kind not in (1, 4):
            return 0
        if order.side * (order.price - price) < 0:
            return 0
        before = next(i for i, (name, _) in enumerate(self.queue()) if name == "own")
        better = [
            p for (s, p), q in self.levels.items() if s == order.side and order.side * (p - order.price) > 0 and q
        ]
        return 0 if before or better else record.size[row]

    def read(self, row):
        record = self.record
        kind, name, size = record.kind[row], record.order[row], record.size[row]
        queue = self.levels.setdefault((record.side[row], record.price[row]), [])
        if row == 0:
            for side in (1, -1):
                for price, shown in zip(record.prices(side)[0], record.sizes(side)[0], strict=True):
                    newest = size if kind == 1 and side == record.side[0] and price == record.price[0] else 0
                    if shown > newest:
                        self.levels.setdefault((side, price), []).append(["?", shown - newest])
        if kind == 1:
            queue.append([name, size])
        elif row:
            found = next((o for o in queue if o[0] == name), next((o for o in queue if o[0] == "?"), None))
            if found:
                found[1] -= size
                if found[1] == 0:
                    queue.remove(found)


@pytest.mark.slow
def test_queues_and_fills_on_the_sample_are_those_of_a_plain_list():
    record = read_record(sample_path(), stop=3000)
    draw = np.random.default_rng(1)
    own = []
    for row in draw.integers(50, 2000, 10).tolist():
        side = 1 if draw.random() < 0.4 else -1
        place = int(draw.integers(0, 3))  # among the best three levels, always in sight
        best = int(record.prices(side)[row, place])
        own.append(OwnOrder(float(record.time[row]), side, best, int(draw.integers(50, 400))))
    filled = 0
    for order in own:
        replayed = replay(record, [order])
        out, plain = replayed.own[0], PlainQueue(record, order)
        assert all_equal(replayed)
        assert [(fill.row, fill.size) for fill in out.fills] == plain.filled
        assert dict(zip(out.rows.tolist(), out.queue.tolist(), strict=True)) == plain.ahead
        filled += out.filled > 0
    assert filled >= 5


@pytest.mark.slow
def test_many_orders_one_after_the_other_share_a_few_numbers():
    record = read_record(sample_path(), stop=1500)
    own = []
    for row in range(50, 1400, 50):
        for side in (1, -1):
            price = int(record.prices(side)[row, 0])
            own.append(OwnOrder(float(record.time[row]), side, price, 100, until=float(record.time[row + 50])))
    replayed = replay(record, own)
    assert all_equal(replayed)
    alone = [replay(record, [order]).own[0] for order in own[10:14]]
    assert [out.fills for out in alone] == [out.fills for out in replayed.own[10:14]]
    assert {out.state for out in replayed.own} == {"filled", "withdrawn"}


# --- what cannot be -----------------------------------------------------------------------------------------------


def cut(record, keep) -> dict[str, Any]:
    return {f.name: getattr(record, f.name)[keep] for f in fields(record) if f.name not in ("source", "first_line")}


def test_messages_out_of_order_or_missing_are_refused_with_their_line():
    record = day().record()
    with pytest.raises(DataError, match=r"record, line 3: is earlier than the line before; sort messages and book"):
        Record(**cut(record, [0, 2, 1]))
    tape = day()
    tape.send(13, 1, 3, 10, 10000, 1)
    tape.send(14, 3, 3, 10, 10000, 1)
    for missing, line in (([1], 2), ([2, 3], 3)):
        keep = np.setdiff1d(np.arange(5), missing)
        with pytest.raises(
            DataError, match=rf"line {line}: the book changes in a way that its message does not say; mess"
        ):
            Record(**cut(tape.record(), keep))
    sample = read_record(sample_path(), first=100, stop=200)
    with pytest.raises(DataError, match=r"line 5\d: the book changes"):
        Record(**cut(sample, np.r_[0:50, 53:100]))


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("order", 0, "has an order number that is not positive"),
        ("size", 0, "has a size that is not positive"),
        ("price", -100, "has a price that is not positive"),
        ("side", 0, "has a direction that is not 1 or -1"),
        ("kind", 8, "has a type that is not 1 to 7"),
    ],
)
def test_a_message_that_cannot_be_is_refused_with_its_line(column, value, told):
    record = day().record()
    broken: dict[str, Any] = cut(record, slice(None))
    broken[column] = np.where(np.arange(3) == 2, value, broken[column])
    with pytest.raises(DataError, match=f"record, line 3: {told}; "):
        Record(**broken)


def test_a_book_that_cannot_be_is_refused_with_its_line():
    record = day().record()
    for cell, value, told in (
        (3, -5, "negative size"),
        (2, 1_000_100, "bid that is not below its ask"),
        (6, 999_950, "order of price"),
    ):
        broken = cut(record, slice(None))
        broken["book"] = record.book.copy()
        broken["book"][1, cell] = value
        with pytest.raises(DataError, match=rf"line 2: has .*{told}"):
            Record(**broken)
    for column, wrong, told in (
        ("book", record.book[:2], "2 rows of book for 3 messages; cut them alike"),
        ("size", record.size * 1.0, "size must be whole numbers, got float64"),
    ):
        broken = cut(record, slice(None))
        broken[column] = wrong
        with pytest.raises(DataError, match=told):
            Record(**broken)


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ((13, 1, 1, 5, 9998, 1), "order 1 is submitted a second time"),
        ((13, 3, 1, 50, 9999, 1), "50 are taken off order 1, of which 60 are left"),
        ((13, 4, 2, 41, 9999, 1), "41 are taken off order 2, of which 40 are left"),
        ((13, 2, 2, 40, 9999, 1), "40 are taken off order 2, of which 40 are left"),
        ((13, 3, 2, 40, 9998, 1), "order 2 is at another price or side than it was submitted at"),
    ],
)
def test_an_order_number_that_cannot_be_is_refused_and_nothing_is_changed(last, told):
    tape = day()
    tape.send(*last)
    record = tape.record()
    before = {name: array.copy() for name, array in cut(record, slice(None)).items()}
    with pytest.raises(
        DataError, match=f"record, line 4: {told}; messages are missing or repeated, fetch the file again"
    ):
        replay(record)
    assert all((before[name] == array).all() for name, array in cut(record, slice(None)).items())


def test_an_order_that_is_gone_is_not_heard_of_again():
    tape = day()
    tape.send(13, 3, 1, 60, 9999, 1)
    tape.send(14, 4, 1, 10, 9999, 1)
    with pytest.raises(DataError, match="line 5: order 1 was gone after line 4"):
        replay(tape.record())


def test_own_orders_that_cannot_be_are_refused():
    fine: dict[str, Any] = {"time": 12.5, "side": 1, "price": 999_900, "size": 5}
    for wrong, told in (
        ({"side": 0}, "side must be 1 or -1, got 0"),
        ({"size": 0}, "size must be a positive whole number, got 0"),
        ({"price": 99.5}, "price must be a positive whole number, got 99.5"),
        ({"until": 12.0}, "must be withdrawn after it is placed, got time 12.5 until 12.0"),
        ({"time": float("nan")}, "must be withdrawn after it is placed, got time nan"),
    ):
        with pytest.raises(ValueError, match=f"own order.*{told}"):
            OwnOrder(**(fine | wrong))
    with pytest.raises(ValueError, match="multiple of the record's tick, 100, got 999950"):
        replay(day().record(), [OwnOrder(12.5, 1, 999_950, 5)])
    for size in (3_000_000, 3_000_000_000):  # too large for the sums of a book, and for its numbers
        with pytest.raises(ValueError, match=f"own order of {size} units: .* takes at most [0-9]+; split the order"):
            replay(day().record(), [OwnOrder(12.5, 1, 999_900, size)])


def test_a_file_is_read_whole_or_in_part_and_refused_in_words(tmp_path):
    whole, part = read_record(sample_path()), read_record(sample_path(), 10, 30)
    assert (part.book == whole.book[10:30]).all()
    assert part.first_line == 11
    assert all_equal(replay(part))
    message, book = tmp_path / "D_2012-06-21_0_1_message_1.csv", tmp_path / "D_2012-06-21_0_1_orderbook_1.csv"
    message.write_text("34200.1,1,7,100,1000000,1\n34200.2,1,8,5.5,1000000,1\n")
    book.write_text("1000200,100,1000000,100\n1000200,100,1000000,105.5\n")
    with pytest.raises(DataError, match=r"message_1.csv, line 2: has a number that is not whole; give LOBSTER's own"):
        read_record(message)
    path = tmp_path / "book.csv"
    path.write_text("1000200,100,1000000,100\n")
    with pytest.raises(DataError, match=r"book.csv: no message file of LOBSTER; give the message csv"):
        read_record(path)
