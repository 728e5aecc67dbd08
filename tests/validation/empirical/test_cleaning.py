"""Cleaning: each rule finds what it is for and nothing else, and every removal is on the list."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from twosided.validation.empirical import RULES, CleaningRules, Panel, clean

UNITS = {"bid": "yuan", "ask": "yuan", "volume": "lots", "volatility": "per √year"}
DAYS = 40


def sound(stocks=2, days=DAYS, seed=3):
    """A panel without a fault: the second stock's spread is thirty times the first's, its volume a hundredth."""
    rng = np.random.default_rng(seed)
    price = 20 + rng.standard_normal((stocks, days)).cumsum(axis=1) / 10
    half = (np.array([0.002, 0.06])[:stocks, None] * np.exp(0.2 * rng.standard_normal((stocks, days)))) / 2
    volume = np.array([1000.0, 10.0])[:stocks, None] * np.exp(0.5 * rng.standard_normal((stocks, days)))
    columns = {
        "bid": price * (1 - half),
        "ask": price * (1 + half),
        "volume": volume,
        "volatility": np.full((stocks, days), 0.3),
    }
    names = np.repeat(["dear", "thin"][:stocks], days)
    flat = {name: values.ravel() for name, values in columns.items()}
    return Panel("drawn", names, np.tile(np.arange(days, dtype=float), stocks), "day", flat, UNITS)


def spoilt(panel, **changes):
    """The panel with `column=(row, value)` changed, or several of them."""
    columns = {name: panel[name].copy() for name in changes}
    for name, change in changes.items():
        for row, value in [change] if isinstance(change, tuple) else change:
            columns[name][row] = value
    return panel.with_columns(columns, {})


def rows_by_rule(cleaned):
    return {rule: cleaned.removed(rule).tolist() for rule in RULES if cleaned.removed(rule).size}


def test_a_sound_panel_stays_as_it_is():
    panel = sound()
    cleaned = clean(panel, needed=["volatility"])
    assert cleaned.removals == ()
    assert len(cleaned.panel) == cleaned.rows == len(panel)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("bid", np.nan, "missing"),
        ("ask", np.inf, "missing"),
        ("bid", 0.0, "missing"),
        ("volume", -1.0, "missing"),
        ("volume", np.nan, "missing"),
        ("volatility", np.nan, "missing"),
        ("bid", 1e3, "crossed"),
        ("ask", 30.0, "absurd"),  # 40% of the mid: wider than price limits allow
        ("bid", 2.0, "absurd"),
        ("volume", 3e5, "spike"),
    ],
)
def test_each_fault_is_removed_by_its_rule_alone(column, value, rule):
    panel = sound()
    cleaned = clean(spoilt(panel, **{column: (7, value)}), needed=["volatility"])
    assert rows_by_rule(cleaned) == {rule: [7]}
    assert np.array_equal(cleaned.panel["bid"], np.delete(panel["bid"], 7))


def test_a_locked_market_counts_as_crossed():
    panel = sound()
    assert rows_by_rule(clean(spoilt(panel, ask=(9, float(panel["bid"][9]))))) == {"crossed": [9]}


def test_a_spread_or_volume_is_judged_by_its_own_stock():
    # what is usual for the one stock is absurd for the other
    panel = sound()
    price = float(panel["bid"][5])
    narrow = spoilt(panel, ask=(5, price * 1.06), volume=(DAYS + 5, 1000.0))
    assert rows_by_rule(clean(narrow)) == {"absurd": [5], "spike": [DAYS + 5]}


def test_a_quote_is_stale_once_it_has_stood_long_enough_and_its_first_day_stays():
    panel = sound()
    for repeats, removed in ((2, []), (3, [11, 12, 13])):
        stood = [(10 + i, float(panel["bid"][10])) for i in range(1, repeats + 1)]
        asks = [(row, float(panel["ask"][10])) for row, _ in stood]
        cleaned = clean(spoilt(panel, bid=stood, ask=asks), CleaningRules(stale_after=3))
        assert cleaned.removed("stale").tolist() == removed


def test_a_bid_that_stands_while_the_ask_moves_is_not_stale():
    panel = sound(stocks=1)
    stood = [(row, float(panel["bid"][10])) for row in range(11, 20)]
    asks = [(row, float(panel["bid"][10]) * (1.002 + row / 1e5)) for row in range(10, 20)]
    assert clean(spoilt(panel, bid=stood, ask=asks)).removals == ()


def test_a_run_of_quotes_does_not_reach_into_the_next_stock():
    panel = sound()
    panel = replace(panel, period=np.arange(2.0 * DAYS))  # the second stock is listed when the first is delisted
    last = DAYS - 1
    stood = {name: [(last + i, float(panel[name][last])) for i in (-1, 0, 1, 2)] for name in ("bid", "ask")}
    assert clean(spoilt(panel, **stood)).removed("stale").size == 0


def test_the_time_that_a_quote_stands_is_counted_in_periods_not_in_rows():
    panel = sound(stocks=1).take(np.r_[0:10, 20:40])  # ten days without observations
    stood = {name: (10, float(panel[name][9])) for name in ("bid", "ask")}
    assert rows_by_rule(clean(spoilt(panel, **stood))) == {"stale": [10]}


def test_a_stock_whose_spread_hardly_changes_may_double_it():
    # the robust deviation is nought there, and the ratio alone decides
    panel = sound(stocks=1)
    bid = panel["bid"]
    even = panel.with_columns({"ask": bid + 0.01}, {})
    doubled = spoilt(even, ask=[(3, float(bid[3]) + 0.02), (4, float(bid[4]) + 0.2)])
    assert rows_by_rule(clean(doubled)) == {"absurd": [4]}


def test_a_row_with_two_faults_is_listed_once_under_the_first_rule():
    panel = sound()
    cleaned = clean(spoilt(panel, bid=(7, np.nan), volume=(7, 1e9)))
    assert [(r.row, r.rule) for r in cleaned.removals] == [(7, "missing")]


def test_what_goes_and_what_stays_is_all_there_was_and_the_list_says_why(tmp_path):
    faults = spoilt(sound(), bid=[(7, np.nan), (8, 1e3)], volume=(60, 1e7))
    cleaned = clean(faults)
    assert sum(cleaned.counts.values()) + len(cleaned.panel) == cleaned.rows == 2 * DAYS
    assert cleaned.counts == {"missing": 1, "crossed": 1, "absurd": 0, "stale": 0, "spike": 1}
    cleaned.write_removals(tmp_path / "removals.csv")
    with (tmp_path / "removals.csv").open(encoding="utf-8", newline="") as file:
        head, *lines = csv.reader(file)
    assert head == ["row", "stock", "period [day]", "rule", "reason"]
    assert [line[:4] for line in lines] == [
        ["7", "dear", "7", "missing"],
        ["8", "dear", "8", "crossed"],
        ["60", "thin", "20", "spike"],
    ]
    assert lines[0][4] == "no bid"
    assert lines[1][4].startswith("ask 19")
    assert "bid 1000" in lines[1][4]
    assert "times the stock's median" in lines[2][4]


def test_nothing_left_is_an_error_with_the_counts():
    panel = sound(stocks=1)
    crossed = panel.with_columns({"ask": panel["bid"] - 1}, {})
    with pytest.raises(ValueError, match=r"drawn: nothing is left of 40 rows after cleaning \(40 crossed\)"):
        clean(crossed)


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="drawn: no column funding_cost"):
        clean(sound(), needed=["funding_cost"])


def test_rules_that_can_never_hold_are_refused():
    with pytest.raises(ValueError, match="CleaningRules: stale_after must be positive and finite, got 0"):
        CleaningRules(stale_after=0)
