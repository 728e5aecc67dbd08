"""The risk aversion that trades reveal: two estimators, their intervals, and the test of the model."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

import twosided as ts
from twosided.validation.calibration import (
    Inputs,
    TradeRecord,
    WeakIdentification,
    observe_trades,
    risk_aversion_from_inventory,
)
from twosided.validation.statistics import agree

MODELS = ts.models
TRUTH = 0.5
METHOD = ts.hjb.Lattice(times=8)
SESSIONS = 40


def known(found):
    """What is there for this estimate, though not for every one."""
    assert found is not None
    return found


def dealer(risk_aversion=0.1, volatility=0.8, **changes):
    """Asymmetric in demand and drift; its own risk aversion is only where a search begins."""
    settings = {
        "horizon": 2.0,
        "bid_demand": MODELS.Exponential(14.0, 1.3),
        "ask_demand": MODELS.Exponential(9.0, 1.3),
        "lot": 1.0,
        "max_inventory": 4,
        "objective": MODELS.ExponentialUtility(risk_aversion),
        "drift": 0.05,
    }
    return MODELS.InventoryDealer(volatility=volatility, **(settings | changes))


def stock_dealer(risk_aversion=1.0):
    return MODELS.StockCashDealer(
        growth=0.1,
        volatility=0.6,
        rate=0.03,
        horizon=5 / 244,
        bid_demand=MODELS.Exponential(3000.0, 60.0),
        ask_demand=MODELS.Exponential(2000.0, 60.0),
        lot=1.0,
        max_stock=3.0,
        objective=MODELS.MeanVariance(risk_aversion),
    )


@pytest.fixture(scope="module")
def solution():
    return ts.solve(dealer(TRUTH), METHOD)


@pytest.fixture(scope="module")
def record(solution):
    return observe_trades(solution, SESSIONS, seed=3)


def estimate(record, estimator="moments", begin=0.1, **given):
    given = {"method": METHOD, "profile_points": 0} | given
    return risk_aversion_from_inventory(dealer(begin), record, estimator, **given)


# Made-up records


def test_a_made_up_record_has_the_law_of_the_simulation(solution):
    many = observe_trades(solution, 4000, seed=8, start=1.0)
    run = ts.simulate(solution.problem, solution.policy, 20_000, seed=1, initial={"inventory": 1.0})
    ends = np.append(many.begins[1:], len(many.time)) - 1
    bids = np.add.reduceat(many.fill == 1, many.begins)
    for ours, theirs in ((many.inventory[ends], run.inventory), (bids, run.bid_fills)):
        error = math.sqrt(np.var(ours) / ours.size + np.var(theirs) / theirs.size)
        agree(np.mean(ours), np.mean(theirs), error, samples=4000)
        for x in (ours, theirs):
            assert np.std(x) > 0.5


def test_a_record_from_its_fills_is_the_record(record):
    filled = record.fill != 0
    again = TradeRecord.of_fills(record.session[filled], record.time[filled], record.fill[filled], horizon=2.0)
    np.testing.assert_array_equal(again.inventory, record.inventory)
    np.testing.assert_array_equal(again.time, record.time)


# The estimators


def test_the_likelihood_is_highest_where_a_scan_finds_it(record):
    found = estimate(record, "likelihood")

    def log_likelihood(risk_aversion):
        """Written out: the integral by a midpoint rule of twenty points between two rows."""
        quotes = ts.solve(dealer(risk_aversion), METHOD).quotes
        follows = np.flatnonzero(record.session[1:] == record.session[:-1]) + 1
        begin, end, held = record.time[follows - 1], record.time[follows], record.inventory[follows - 1]
        t = begin[:, None] + (end - begin)[:, None] * (np.arange(20) + 0.5) / 20
        along = quotes(t, inventory=np.repeat(held[:, None], 20, axis=1))
        rates = [a * np.exp(-1.3 * x) for a, x in zip((14.0, 9.0), along, strict=True)]
        total = -sum(np.sum(np.mean(np.nan_to_num(rate), axis=1) * (end - begin)) for rate in rates)
        met = quotes(end, inventory=held)
        for side, a, x in ((1, 14.0, met.bid), (-1, 9.0, met.ask)):
            total += np.sum(np.log(a * np.exp(-1.3 * x[record.fill[follows] == side])))
        return total

    steps = found.estimate * np.exp(np.array([-0.05, 0.0, 0.05]))
    heights = np.array([log_likelihood(x) for x in steps])
    curvature = -np.diff(heights, 2)[0] / 0.05**2
    assert np.argmax(heights) == 1
    # Observed information against the expected one that the error is made of; equal on average.
    assert found.standard_error / found.estimate == pytest.approx(curvature**-0.5, rel=0.3)
    slope = (heights[2] - heights[0]) / 0.1
    assert abs(slope / curvature) < 0.05 * curvature**-0.5


def test_where_a_search_begins_does_not_matter(record):
    for estimator in ("moments", "likelihood"):
        low, high = (estimate(record, estimator, begin).estimate for begin in (0.01, 20.0))
        assert low == pytest.approx(high, rel=1e-3), estimator


def test_the_likelihood_is_sharper_than_the_moments(record):
    assert estimate(record, "likelihood").standard_error < estimate(record).standard_error


def test_a_model_that_is_wrong_fails_its_test(record):
    """Trades explained with the two sides' demand exchanged: no risk aversion makes the moments agree."""
    wrong = dealer(bid_demand=MODELS.Exponential(9.0, 1.3), ask_demand=MODELS.Exponential(14.0, 1.3))
    found = risk_aversion_from_inventory(wrong, record, method=METHOD, profile_points=0)
    assert known(found.test).p_value < 1e-4
    assert known(estimate(record).test).p_value > 1e-4
    assert known(found.test).degrees_of_freedom == (3,)


def test_uncertain_inputs_widen_the_interval(record):
    alone = estimate(record, "likelihood")
    wider = estimate(record, "likelihood", inputs=Inputs(("volatility",), np.array([[0.08**2]])))
    assert wider.estimate == alone.estimate
    assert wider.standard_error > alone.standard_error
    assert 0 < wider.input_share < 1


def test_the_fills_by_inventory_are_those_expected(record):
    fits = estimate(record, "likelihood").fits
    for fit, side in zip(fits, ("bid", "ask"), strict=True):
        z = (fit.observed[side] - fit.explained[side]) / np.maximum(fit.error[side], 1e-9)
        assert np.max(np.abs(z[np.abs(fit.where) < 4])) < 4.5
    assert fits[0].explained["bid"][0] > fits[0].explained["bid"][-2]  # the long dealer buys less


# What cannot be told


def test_a_short_record_is_doubted_with_the_number(solution):
    # One session that happens to hold few fills says next to nothing about what steers it.
    short = observe_trades(solution, 1, seed=1)
    with pytest.warns(WeakIdentification, match=r"the 95% interval spans .* from \d+ fills"):
        estimate(short, "likelihood")


def test_bad_records_are_refused(record):
    few = TradeRecord.of_fills([0] * 5, [0.1, 0.2, 0.3, 0.4, 0.5], [1, -1, 1, 1, -1], horizon=2.0)
    with pytest.raises(ValueError, match="5 fills are too few"):
        estimate(few)
    columns = {name: getattr(record, name) for name in ("session", "time", "inventory", "fill")}
    beyond = TradeRecord(**columns | {"inventory": record.inventory + 3.0})
    with pytest.raises(ValueError, match=r"passes the limit of 4"):
        estimate(beyond)
    lost = np.arange(len(record.time)) != int(np.flatnonzero(record.fill)[4])
    with pytest.raises(ValueError, match="by other than its fill"):
        estimate(TradeRecord(**{name: column[lost] for name, column in columns.items()}))
    with pytest.raises(ValueError, match=r"fill must be \+1"):
        TradeRecord(**columns | {"fill": 2 * record.fill})
    with pytest.raises(ValueError, match=r"ends at 1\.8, not at 2"):
        estimate(TradeRecord(**columns | {"time": 0.9 * record.time}))
    with pytest.raises(ValueError, match="blocks must divide 240"):
        estimate(record, blocks=7)


# Coverage


def covered(problem, begin, method, estimator, repetitions, sessions, snapshots=0, **given):
    solution = ts.solve(problem, method)
    truth = float(problem.objective.risk_aversion)
    hits, pulls, rejected = 0, [], 0
    for seed in range(repetitions):
        rows = observe_trades(solution, sessions, seed=10_000 + seed, snapshots=snapshots)
        found = risk_aversion_from_inventory(begin, rows, estimator, method=method, profile_points=0, **given)
        low, high = found.interval()
        hits += low < truth < high
        pulls.append(math.log(found.estimate / truth) * found.estimate / found.standard_error)
        rejected += found.test is not None and found.test.p_value < 0.05
    return hits, np.array(pulls), rejected


@pytest.mark.parametrize("estimator", [pytest.param("moments", marks=pytest.mark.slow), "likelihood"])
def test_a_few_intervals_hold_the_truth(estimator):
    hits, pulls, _ = covered(dealer(TRUTH), dealer(), METHOD, estimator, 6, SESSIONS)
    assert stats.binom.cdf(hits, 6, 0.95) > 1e-4
    assert abs(pulls.mean()) * math.sqrt(6) < 4.5
    assert pulls.std() > 0.2


STOCK_METHOD = ts.hjb.FiniteDifference(nodes_per_lot=4, steps=16, extrapolate=False)
STUDIES = {
    "moments": (dealer, TRUTH, METHOD, "moments", 60, 0, {}),
    "likelihood": (dealer, TRUTH, METHOD, "likelihood", 60, 0, {}),
    "moments, demand unknown": (dealer, TRUTH, METHOD, "moments", 60, 0, {"also": ("demand.scale",)}),
    "likelihood, demand unknown": (dealer, TRUTH, METHOD, "likelihood", 60, 0, {"also": ("demand.scale",)}),
    "likelihood, stock and cash": (stock_dealer, 6.0, STOCK_METHOD, "likelihood", 20, 50, {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_95_percent_intervals_cover_between_92_and_98_percent_of_500_replications(study):
    build, truth, method, estimator, sessions, snapshots, given = STUDIES[study]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakIdentification)  # an unlucky draw may say so; its interval counts
        hits, pulls, rejected = covered(
            build(truth), build(truth / 5), method, estimator, 500, sessions, snapshots, **given
        )
    print(
        f"{study}: {hits / 5:.1f}% of 500; pulls {pulls.mean():+.2f} +- {pulls.std():.2f}; J at 5%: {rejected / 5:.1f}%"
    )
    assert 0.92 <= hits / 500 <= 0.98
    if estimator == "moments":
        assert 0.02 <= rejected / 500 <= 0.09
