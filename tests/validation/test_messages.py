"""Reading market messages: both venues into one form, and every broken file told in one line."""

import gzip
import json
import lzma

import numpy as np
import pytest

from twosided.validation.messages import DataError, Prints, read_messages
from twosided.validation.synthetic import SyntheticMarket, sample_path

# A seller hits 100.00 twice and 99.99 once in one order, a buyer lifts 100.02, all within a millisecond or two.
LOBSTER_MESSAGE = """\
36000.000000000,1,1,100,1000000,1
36000.500000000,1,2,100,1000200,-1
36001.000000001,4,1,60,1000000,1
36001.000000001,4,1,40,1000000,1
36001.000000001,4,7,50,999900,1
36001.000000001,5,0,10,1000050,-1
36001.000000001,4,2,70,1000200,-1
36001.000000002,4,2,30,1000200,-1
"""
LOBSTER_BOOK = """\
9999999999,0,1000000,100
1000200,100,1000000,100
1000200,100,1000000,40
1000200,100,999900,80
1000200,100,999900,30
1000200,100,999900,30
1000200,30,999900,30
1000300,10,999900,30
"""
NAME = "TEST_2024-01-02_36000000_36010000_{}_1.csv"


def lobster(folder, message=LOBSTER_MESSAGE, book=LOBSTER_BOOK):
    (folder / NAME.format("orderbook")).write_text(book)
    path = folder / NAME.format("message")
    path.write_text(message)
    return path


def binance_line(local, kind, **fields):
    return f"{local} " + json.dumps({"stream": f"btcusdt@{kind}", "data": {"e": kind, "s": "BTCUSDT", **fields}})


EIGHT = 1_723_075_200_000 + 8 * 3_600_000  # 2024-08-08 08:00 UTC, in ms
BINANCE = [
    binance_line(17_231_000_000_000_000_01, "bookTicker", T=EIGHT, b="61800.20", a="61800.30", B="1", A="2"),
    binance_line(17_231_000_000_000_000_02, "trade", T=EIGHT + 5, p="61800.30", q="0.006", X="MARKET", m=False),
    binance_line(17_231_000_000_000_000_03, "trade", T=EIGHT + 5, p="61800.40", q="0.1", X="MARKET", m=False),
    '1723100000000000004 {"lastUpdateId": 7, "bids": [], "asks": []}',
    binance_line(17_231_000_000_000_000_05, "depthUpdate", T=EIGHT + 6, b=[], a=[]),
    binance_line(17_231_000_000_000_000_06, "trade", T=EIGHT + 7, p="0.0", q="1", X="NA", m=True),
    binance_line(17_231_000_000_000_000_07, "trade", T=EIGHT + 8, p="61800.2", q="2", X="MARKET", m=True),
    binance_line(17_231_000_000_000_000_08, "bookTicker", T=EIGHT + 9, b="61800.20", a="61800.50", B="1", A="2"),
]


def binance(folder, lines):
    path = folder / "trades.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_aggressor_is_the_other_side_of_the_resting_order(tmp_path):
    prints = read_messages(lobster(tmp_path)).prints
    assert prints.side.tolist() == [-1, -1, -1, +1, +1]
    assert prints.price.tolist() == [1000000, 1000000, 999900, 1000200, 1000200]


def test_prints_of_one_timestamp_and_side_are_one_market_order_with_its_deepest_price(tmp_path):
    orders = read_messages(lobster(tmp_path)).market_orders
    assert orders.side.tolist() == [-1, +1, +1]
    assert orders.deepest_price.tolist() == [999900, 1000200, 1000200]
    assert orders.size.tolist() == [150, 70, 30]


def test_the_deepest_price_of_a_buyer_is_the_highest_and_of_a_seller_the_lowest():
    time = np.array([1.0, 1.0, 2.0, 2.0])
    prints = Prints(time, np.array([10, 12, 9, 7]), np.ones(4), np.array([1, 1, -1, -1]))
    assert prints.merged().deepest_price.tolist() == [12, 7]


def test_a_hidden_execution_is_no_market_order_and_no_quote_needs_both_sides(tmp_path):
    messages = read_messages(lobster(tmp_path))
    assert 1000050 not in messages.prints.price
    assert messages.quotes.time[0] == 36000.5, "the first row has no ask"
    assert messages.span == (36000.0, 36010.0), "what the name says"


def test_the_mid_just_before_a_trade_is_older_than_its_timestamp(tmp_path):
    messages = read_messages(lobster(tmp_path))
    time = messages.market_orders.time[:1]
    assert messages.twice_mid_before(time) == 2000200
    assert messages.twice_mid_at(time) == 1000200 + 999900
    assert messages.mid_at(time) == pytest.approx(100.005)


def test_binance_trades_and_quotes_share_the_exchange_clock_and_a_maker_buyer_means_a_seller(tmp_path):
    messages = read_messages(binance(tmp_path, BINANCE))
    orders = messages.market_orders
    assert orders.time == pytest.approx([8 * 3600 + 0.005, 8 * 3600 + 0.008])
    assert orders.side.tolist() == [+1, -1]
    assert orders.size == pytest.approx([0.106, 2.0])
    assert orders.deepest_price * messages.price_unit == pytest.approx([61800.4, 61800.2])
    assert messages.tick * messages.price_unit == pytest.approx(0.1)
    assert messages.session == pytest.approx((8 * 3600 + 0.005, 8 * 3600 + 0.008))


@pytest.mark.parametrize("pack", ["zip", "csv", "gz", "xz"])
def test_packing_does_not_change_what_is_read(tmp_path, pack):
    session = SyntheticMarket(seconds=120.0).simulate(seed=2)
    path = session.write_csv(tmp_path)
    if pack == "zip":
        path = session.write(tmp_path / "run.zip")
    elif pack != "csv":
        compress = gzip.compress if pack == "gz" else lzma.compress
        for file in list(tmp_path.iterdir()):
            file.with_name(f"{file.name}.{pack}").write_bytes(compress(file.read_bytes()))
            file.unlink()
        path = path.with_name(f"{path.name}.{pack}")
    messages = read_messages(path)
    assert len(messages.market_orders.time) == len(session.orders)
    assert messages.span == (36_000.0, 36_120.0)


def edited(text, line, old, new):
    lines = text.splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("message", "book", "says"),
    [
        (edited(LOBSTER_MESSAGE, 4, "1000000", "10x0000"), LOBSTER_BOOK, r"message_1.csv, line 4: expected 6 numbers"),
        (edited(LOBSTER_MESSAGE, 4, ",1000000,1", ""), LOBSTER_BOOK, r"message_1.csv, line 4: expected 6 numbers"),
        (LOBSTER_MESSAGE[:-4], LOBSTER_BOOK, r"message_1.csv, line 8: expected 6 numbers"),
        (edited(LOBSTER_MESSAGE, 3, "36001.000000001", "35999.0"), LOBSTER_BOOK, r"line 3: is earlier than the line"),
        (edited(LOBSTER_MESSAGE, 5, ",50,", ",0,"), LOBSTER_BOOK, r"line 5: has a size that is not positive"),
        (edited(LOBSTER_MESSAGE, 5, ",999900,", ",-9,"), LOBSTER_BOOK, r"line 5: has a price that is not positive"),
        (edited(LOBSTER_MESSAGE, 8, ",-1", ",3"), LOBSTER_BOOK, r"line 8: has a direction that is not 1 or -1"),
        (edited(LOBSTER_MESSAGE, 2, ",1,2,", ",9,2,"), LOBSTER_BOOK, r"line 2: has a type that is not 1 to 7"),
        (LOBSTER_MESSAGE, LOBSTER_BOOK[: LOBSTER_BOOK.index("1000300")], r"8 rows and .*orderbook_1.csv 7; one"),
        (LOBSTER_MESSAGE, LOBSTER_BOOK[:-9], r"orderbook_1.csv, line 8: expected 4 numbers"),
        (LOBSTER_MESSAGE, edited(LOBSTER_BOOK, 4, "999900", "1000300"), r"line 4: bid 1000300 and ask 1000200"),
        (LOBSTER_MESSAGE, "\n", r"orderbook_1.csv: the file is empty"),
        ("", LOBSTER_BOOK, r"message_1.csv: the file is empty"),
        ("time,type,id\n", LOBSTER_BOOK, r"message_1.csv: not a known kind of file; give LOBSTER's zip"),
        (LOBSTER_MESSAGE + "\u00e9", LOBSTER_BOOK, r"message_1.csv, line 9: not plain text"),
    ],
)
def test_a_broken_lobster_file_is_one_line_that_names_file_line_and_mend(tmp_path, message, book, says):
    with pytest.raises(DataError, match=says) as caught:
        read_messages(lobster(tmp_path, message, book))
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value), "the mend"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            [*BINANCE[:7], BINANCE[7].replace(str(EIGHT + 9), str(EIGHT - 1))],
            r"trades.txt, line 8: this bookTicker is earlier than the one before; sort",
        ),
        ([*BINANCE[:7], BINANCE[7][:60]], r"trades.txt, line 8: expected '<local ns> <json>'"),
        ([BINANCE[0], BINANCE[1].replace("61800.30", "much")], r"line 2: a trade message without its usual numbers"),
        ([BINANCE[0], BINANCE[1].replace('"m"', '"n"')], r"line 2: a trade message without its usual numbers"),
        *(
            ([*BINANCE[:2], BINANCE[2].replace(old, new), *BINANCE[3:]], r"line 3: a trade message without its usual")
            for old, new in (
                (f'"T": {EIGHT + 5}', f'"T": "{EIGHT + 5}"'),
                (f'"T": {EIGHT + 5}', '"T": NaN'),
                (f'"T": {EIGHT + 5}', '"T": -5'),
                ('"q": "0.1"', '"q": "nan"'),
                ('"q": "0.1"', '"q": "-2"'),
                ('"q": "0.1"', '"q": "inf"'),
                ('"m": false', '"m": "false"'),
                ('"m": false', '"m": 0'),
                ('"p": "61800.40"', '"p": "1e12"'),
                ('"p": "61800.40"', '"p": true'),
            )
        ),
        ([BINANCE[0].replace(f'"T": {EIGHT}', '"T": NaN'), *BINANCE[1:]], r"line 1: a bookTicker message without"),
        ([BINANCE[0].replace("61800.30", "61800.10"), BINANCE[1]], r"line 1: its bid is above its ask"),
        (BINANCE[:1], r"trades.txt: no trade messages; record the streams"),
        (BINANCE[1:3], r"trades.txt: no bookTicker messages; record the streams"),
    ],
)
def test_a_broken_binance_file_is_one_line_that_names_file_line_and_mend(tmp_path, lines, says):
    with pytest.raises(DataError, match=says) as caught:
        read_messages(binance(tmp_path, lines))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [10, 1_000, 200_000])
def test_a_zip_cut_short_is_named(tmp_path, keep):
    path = tmp_path / "day.zip"
    path.write_bytes(sample_path().read_bytes()[:keep])
    with pytest.raises(DataError, match=r"day.zip: its compressed data are cut short or corrupt"):
        read_messages(path)


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
@pytest.mark.parametrize("damage", [lambda raw: raw[:-30], lambda raw: raw[:60] + b"?" * 20 + raw[80:]])
def test_a_packed_file_that_is_damaged_is_named(tmp_path, compress, damage):
    path = tmp_path / "trades.txt.packed"
    path.write_bytes(damage(compress("\n".join(BINANCE).encode())))
    with pytest.raises(DataError, match=r"trades.txt.packed: its compressed data are cut short or corrupt"):
        read_messages(path)


def test_a_file_that_is_absent_a_folder_or_a_book_alone_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.zip: no such file; check the name"):
        read_messages(tmp_path / "nowhere.zip")
    with pytest.raises(DataError, match=r"cannot be read"):
        read_messages(tmp_path)
    path = lobster(tmp_path)
    with pytest.raises(DataError, match=r"this is LOBSTER's order book; give the message file"):
        read_messages(path.with_name(NAME.format("orderbook")))
    path.with_name(NAME.format("orderbook")).unlink()
    with pytest.raises(DataError, match=r"no order book beside it; put TEST.*orderbook_1.csv in the same folder"):
        read_messages(path)


def test_a_session_outside_the_file_or_over_a_halt_is_refused(tmp_path):
    messages = read_messages(lobster(tmp_path))
    for session in ((35_000.0, 36_005.0), (36_001.0, 36_011.0)):
        with pytest.raises(DataError, match=r"reaches outside the file; choose it within \(36000.5, 36010\)"):
            messages.check_session(session)
    with pytest.raises(DataError, match=r"must open before it closes"):
        messages.check_session((36_005.0, 36_001.0))
    halted = lobster(tmp_path, LOBSTER_MESSAGE + "36003.0,7,0,0,-1,-1\n", LOBSTER_BOOK + "1000300,10,999900,30\n")
    with pytest.raises(DataError, match=r"trading was halted from 36003 to 36010 s; choose a session without the"):
        read_messages(halted).check_session((36_001.0, 36_009.0))
    assert read_messages(halted).check_session((36_001.0, 36_002.0)) == (36_001.0, 36_002.0)


def test_a_session_inside_a_halt_is_refused_and_one_after_it_is_not(tmp_path):
    halt = "".join(f"{time},7,0,0,{price},-1\n" for time, price in ((36_003.0, -1), (36_005.0, 0), (36_006.5, 1)))
    halted = read_messages(lobster(tmp_path, LOBSTER_MESSAGE + halt, LOBSTER_BOOK + "1000300,10,999900,30\n" * 3))
    assert halted.halts == ((36_003.0, 36_006.5),)
    for session in ((36_004.0, 36_004.5), (36_005.5, 36_006.0), (36_006.0, 36_009.0), (36_001.0, 36_003.0)):
        with pytest.raises(DataError, match=r"trading was halted from 36003 to 36006.5 s; choose a session without"):
            halted.check_session(session)
    assert halted.check_session((36_006.5, 36_009.0)) == (36_006.5, 36_009.0)


def test_a_file_that_begins_in_a_halt_is_halted_from_its_beginning(tmp_path):
    resumed = read_messages(
        lobster(tmp_path, LOBSTER_MESSAGE + "36002.0,7,0,0,1,-1\n", LOBSTER_BOOK + "1000300,10,999900,30\n")
    )
    assert resumed.halts == ((36_000.0, 36_002.0),)


def test_google_on_2012_06_21_has_the_stated_market_orders(real_data):
    messages = read_messages(real_data("LOBSTER_SampleFile_GOOG_2012-06-21_10.zip"))
    opening, closing = messages.session
    inside = (messages.market_orders.time >= opening) & (messages.market_orders.time <= closing)
    assert (opening, closing) == (34_500.0, 57_300.0)
    assert len(messages.quotes.time) == 147_916
    assert inside.sum() == 5_290


def test_the_bitcoin_perpetual_on_2024_08_08_has_the_stated_market_orders(real_data):
    messages = read_messages(real_data("usdm_btcusdt_20240808.gz"))
    assert len(messages.prints.time) == 21_313
    assert len(messages.quotes.time) == 66_089
    assert len(messages.market_orders.time) == 5_436


def test_a_real_file_of_another_venue_is_refused_as_unknown(real_data):
    with pytest.raises(DataError, match=r"2015-05-01.orders.csv.xz: not a known kind of file"):
        read_messages(real_data("2015-05-01.orders.csv.xz"))
