"""A day of messages as a panel: counted again by another route, spoilt on purpose, and on the real file."""

import numpy as np
import pytest

from twosided.validation.calibration import calibrate
from twosided.validation.empirical import (
    CleaningRules,
    clean,
    form_intervals,
    observe_seconds,
    study_messages,
)
from twosided.validation.messages import read_messages
from twosided.validation.synthetic import sample_path

RULES = CleaningRules(stale_after=300)
GOOG = "LOBSTER_SampleFile_GOOG_2012-06-21_10.zip"


@pytest.fixture(scope="module")
def seconds():
    return observe_seconds(sample_path())


@pytest.fixture(scope="module")
def messages():
    return read_messages(sample_path())


def intervals_of(panel, length=300.0):
    return form_intervals(clean(panel, RULES), length)


def test_seconds_hold_the_quote_that_stands_and_what_trades_in_them(seconds, messages):
    opening, closing = messages.session
    assert len(seconds) == int(closing - opening)
    for row in (0, 777, len(seconds) - 1):
        at = seconds.period[row]
        last = np.flatnonzero(messages.quotes.time <= at)[-1]
        assert seconds["bid"][row] == pytest.approx(messages.quotes.bid[last] * 1e-4)
        assert seconds["ask"][row] == pytest.approx(messages.quotes.ask[last] * 1e-4)
        mine = (messages.prints.time >= at) & (messages.prints.time < at + 1)
        assert seconds["volume"][row] == messages.prints.size[mine].sum()
        assert seconds["signed_volume"][row] == (messages.prints.size * messages.prints.side)[mine].sum()
    inside = (messages.market_orders.time >= opening) & (messages.market_orders.time < seconds.period[-1] + 1)
    assert seconds["orders"].sum() == inside.sum()


def test_an_interval_is_what_its_seconds_say(seconds):
    panel, thin = intervals_of(seconds)
    assert thin == []
    opening = seconds.period[0]
    mine = (seconds.period >= opening + 300) & (seconds.period < opening + 600)
    row = 1
    assert panel.period[row] == opening + 300
    assert panel["spread"][row] == pytest.approx(100 * np.mean((seconds["ask"] - seconds["bid"])[mine]))
    assert panel["liquidity"][row] == pytest.approx(seconds["orders"][mine].sum() / 300)
    assert panel["depth"][row] == pytest.approx(seconds["depth"][mine].mean())
    assert panel["volume"][row] == seconds["volume"][mine].sum()
    # whoever sells to the quoters fills their bids: their inventory rises as aggressors sell
    assert np.sign(panel["inventory"][row]) == -np.sign(seconds["signed_volume"][mine].sum())
    assert panel["inventory_size"] == pytest.approx(np.abs(panel["inventory"]))


def test_volatility_of_the_intervals_is_that_of_the_session(seconds):
    panel, _ = intervals_of(seconds)
    session = calibrate(sample_path()).volatility_per_sqrt_second
    mean = 0.01 * np.sqrt(np.mean(panel["volatility"] ** 2))
    assert abs(mean - session.value) < 5 * session.standard_error


def test_what_one_day_cannot_tell_is_left_out_with_a_reason_and_never_a_column(seconds):
    panel, _ = intervals_of(seconds)
    for name in ("funding_cost", "risk_aversion", "placement"):
        assert name not in panel
        assert panel.left_out[name]
    assert panel.notes["inventory"].startswith("A PROXY")
    assert set(panel.units) >= set(panel.columns)


def test_dirt_in_real_seconds_is_found_and_counts_nowhere(seconds):
    columns = {name: seconds[name].copy() for name in ("bid", "ask", "volume")}
    columns["bid"][[301, 350]] = np.nan, columns["ask"][350] + 1
    columns["ask"][420] *= 2
    columns["volume"][500] = 1e7
    cleaned = clean(seconds.with_columns(columns, {}), RULES)
    assert {rule: cleaned.removed(rule).tolist() for rule in cleaned.counts} == {
        "missing": [301],
        "crossed": [350],
        "absurd": [420],
        "stale": [],
        "spike": [500],
    }
    dirty, sound = form_intervals(cleaned)[0], intervals_of(seconds)[0]
    kept = np.setdiff1d(np.arange(300, 600), [301, 350, 420, 500])
    spread = (seconds["ask"] - seconds["bid"])[kept]
    assert dirty["spread"][1] == pytest.approx(100 * spread.mean())
    assert dirty["volume"][1] == seconds["volume"][kept].sum()
    assert dirty["volatility"][1] == pytest.approx(sound["volatility"][1], rel=0.05)
    others = np.arange(len(sound)) != 1
    assert np.array_equal(dirty["spread"][others], sound["spread"][others])


def test_an_interval_of_which_too_little_is_left_is_dropped_and_listed(seconds):
    bid = seconds["bid"].copy()
    bid[300:361] = np.nan
    panel, thin = intervals_of(seconds.with_columns({"bid": bid}, {}))
    assert seconds.period[300] not in panel.period
    assert [(t.row, t.rule, t.reason) for t in thin] == [(1, "thin", "239 of 300 seconds are left, 80% needed")]


@pytest.mark.parametrize(
    ("length", "message"),
    [(20.0, "at least 40 seconds for a volatility, got 20"), (1e5, "0 intervals of 100000 s are left of 0")],
)
def test_intervals_that_cannot_be_are_refused(seconds, length, message):
    with pytest.raises(ValueError, match=message):
        intervals_of(seconds, length)


@pytest.mark.slow
def test_on_the_real_day_the_spread_rises_with_volatility_and_falls_with_liquidity(real_data):
    found = study_messages(real_data(GOOG))
    assert found.cleaned.rows == 22_800
    assert sum(found.cleaned.counts.values()) == 0  # the exchange's own record: nothing to remove
    panel = found.panel
    assert len(panel) == 76
    assert np.mean(panel["liquidity"]) == pytest.approx(0.2320, abs=5e-4)
    assert 0.01 * np.sqrt(np.mean(panel["volatility"] ** 2)) == pytest.approx(0.0349, abs=0.003)  # that is realised
    for regression in found.regressions["spread"]:
        assert regression["volatility"].interval()[0] > 0
        assert regression["liquidity"].interval()[1] < 0
        assert set(regression.left_out) == {"funding_cost", "risk_aversion"}
    assert [c.quantity for c in found.comparisons] == ["bid_distance", "ask_distance", "spread"]
    assert all(c.rows == 76 for c in found.comparisons)
    assert found.comparisons[-1].correlation > 0.5
