"""What wealth must cover, which fills that allows, who trades when it does not, and what is kept overnight."""

from typing import Any

import numpy as np
import pytest

import twosided as ts
from twosided._case import parse_case
from twosided.models import case

MODELS = ts.models


def dealer(**changes):
    settings: dict[str, Any] = {
        "growth": 0.15,
        "volatility": 0.45,
        "rate": 0.03,
        "horizon": 0.1,
        "bid_demand": MODELS.Exponential(3000.0, 55.0),
        "ask_demand": MODELS.Exponential(3660.0, 60.0),
        "lot": 2.0,
        "max_stock": 20.0,
        "objective": MODELS.MeanVariance(10.0),
    }
    return MODELS.StockCashDealer(**(settings | changes))


def may(problem, side, stock, cash):
    return [bool(x) for x in problem.may_fill(side, np.asarray(stock, float), np.asarray(cash, float))]


def test_a_margin_lets_a_position_grow_only_as_far_as_wealth_covers_it():
    problem = dealer(margin=MODELS.Margin(0.5, 0.25, short_initial=0.6))
    # wealth 2: up to 4 long, to 3.33 short
    assert may(problem, +1, [0.0, 2.0, 2.1], [2.0, 0.0, -0.1]) == [True, True, False]
    assert may(problem, -1, [0.0, -1.3, -1.4], [2.0, 3.3, 3.4]) == [True, True, False]


def test_a_fill_that_makes_the_position_smaller_needs_no_margin():
    problem = dealer(margin=MODELS.Margin(0.5, 0.25))
    assert may(problem, -1, [6.0, 1.2], [-7.0, -2.0]) == [True, True]  # wealth below zero; 1.2 long becomes .8 short
    assert may(problem, +1, [-6.0, -1.2, -0.8], [5.0, 0.0, 0.0]) == [True, True, False]


def test_a_haircut_lends_against_stock_and_at_one_is_the_plain_line():
    line, haircut, whole = (dealer(credit_line=3.0, haircut=h) for h in (None, 0.4, 1.0))
    stock, cash = [0.0, 4.0, 4.0, 4.0], [-1.0, -1.0, -4.0, -5.0]
    assert may(line, +1, stock, cash) == may(whole, +1, stock, cash) == [True, True, False, False]
    # with 6 in stock, 60% of it and the line lend 6.6, and the purchase takes 2
    assert may(haircut, +1, stock, cash) == [True, True, True, False]
    assert all(may(haircut, -1, stock, cash))
    assert line.cash_matters
    assert dealer(margin=MODELS.Margin(0.5, 0.25)).cash_matters


def test_forced_trades_reduce_what_breaks_a_limit_and_nothing_else():
    margin = MODELS.Margin(0.5, 0.4, short_maintenance=0.5)
    problem = dealer(margin=margin, forced_reduction=MODELS.ForcedReduction(700.0, 0.01), short_limit=8.0)
    stock = np.array([10.0, 10.0, -4.0, -4.0, 21.0, -9.0, 0.9])
    wealth = np.array([4.1, 3.9, 2.1, 1.9, 50.0, 50.0, -1.0])
    buying, selling = (np.asarray(problem.forced_rate(side, stock, wealth - stock)) for side in (+1, -1))
    np.testing.assert_array_equal(selling, [0, 700, 0, 0, 700, 0, 0])  # 0.9 of a lot of 2 would grow, not shrink
    np.testing.assert_array_equal(buying, [0, 0, 0, 700, 0, 700, 0])
    assert problem.forced_distance == -0.01
    np.testing.assert_allclose(problem.excess(stock, wealth - stock), [0, 0.1, 0, 0.1, 1, 1, 1.36], rtol=1e-5)


def test_a_close_keeps_the_limit_and_pays_for_the_rest():
    problem = dealer(overnight=MODELS.Overnight(limit=3.0, days=5, cost=0.02))
    kept, money = problem.close(0.05, np.array([-7.0, 2.0, 4.5]))
    np.testing.assert_allclose(kept, [-3.0, 2.0, 3.0])
    np.testing.assert_allclose(money, np.exp(0.03 * 0.05) * np.array([-4.0 - 0.08, 0.0, 1.5 - 0.03]), rtol=1e-5)


def test_constraints_survive_being_written_down():
    problem = dealer(
        margin=MODELS.Margin(0.5, 0.25, short_maintenance=0.3),
        forced_reduction=MODELS.ForcedReduction(700.0, 0.01),
        overnight=MODELS.Overnight(3.0, 5, 0.02),
        credit_line=3.0,
        haircut=0.4,
    )
    again = case.from_data(case.to_data(problem))
    assert repr(again) == repr(problem)
    assert again.days == 5


CASE = """
[problem]
type = "StockCashDealer"
growth = 0.15
volatility = 0.45
rate = 0.03
horizon = 0.1
lot = 2.0
max_stock = 20.0
bid_demand = {type = "Exponential", scale = 3000.0, decay = 55.0}
ask_demand = {type = "Exponential", scale = 3660.0, decay = 60.0}
objective = {type = "MeanVariance", risk_aversion = 10.0}
margin = {type = "Margin", initial = 0.5, maintenance = 0.25}
forced_reduction = {type = "ForcedReduction", pace = 700.0}
overnight = {type = "Overnight", limit = 3.0, days = 5}

[simulation]
settlement = 2
"""


def test_a_case_file_states_constraints_by_their_names():
    stated = parse_case(CASE)
    assert repr(stated.problem.margin) == repr(MODELS.Margin(0.5, 0.25))
    assert stated.problem.days == 5
    assert stated.simulation.settlement == 2
    assert repr(parse_case(stated.to_toml()).problem) == repr(stated.problem)
    with pytest.raises(ValueError, match=r"problem.margin.maintenance must not lie above initial \(0.5\), got 0.6"):
        parse_case(CASE.replace("0.25", "0.6"))
    with pytest.raises(ValueError, match=r"problem.margin.kept is not known; Margin takes initial, maintenance"):
        parse_case(CASE.replace("maintenance", "kept"))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: MODELS.Margin(0.2, 0.3), r"Margin: maintenance must not lie above initial \(0.2\), got 0.3"),
        (lambda: MODELS.Margin(0.4, 0.3, short_initial=0.2), "short_maintenance must not lie above short_initial"),
        (lambda: MODELS.Margin(-0.2, 0.0), "Margin: initial must be finite and not negative, got -0.2"),
        (lambda: MODELS.ForcedReduction(-1.0), "ForcedReduction: pace must be finite and not negative"),
        (lambda: MODELS.Overnight(3.0, 1), "days must be a whole number of at least 2, got 1"),
        (lambda: MODELS.Overnight(3.0, 2.5), "days must be a whole number of at least 2, got 2.5"),
        (lambda: dealer(haircut=0.4), "haircut needs a credit_line"),
        (lambda: dealer(haircut=1.4, credit_line=3.0), "haircut must not exceed 1, got 1.4"),
    ],
)
def test_impossible_constraints_are_refused_in_one_line(build, words):
    with pytest.raises((ValueError, TypeError), match=words):
        build()
