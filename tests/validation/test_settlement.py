"""What late settlement costs: nothing where no purchase waits for it, and more the later it is."""

from typing import Any

import numpy as np
import pytest

import twosided as ts
from twosided.models.channels import Quotes
from twosided.validation import settlement_loss
from twosided.validation.statistics import agree, exceed

MODELS = ts.models
DAY = 1 / 244
PATHS = 2048


def dealer(**changes):
    settings: dict[str, Any] = {
        "growth": 0.15,
        "volatility": 0.45,
        "rate": 0.03,
        "horizon": 5 * DAY,
        "bid_demand": MODELS.Exponential(3000.0, 55.0),
        "ask_demand": MODELS.Exponential(3660.0, 60.0),
        "lot": 1.0,
        "max_stock": 6.0,
        "objective": MODELS.MeanVariance(2.0),
        "borrowing_rate": 0.25,
        "credit_line": 1.0,
        "short_limit": 4.0,
    }
    return MODELS.StockCashDealer(**(settings | changes))


def steady(t, state):
    """Quotes that lean against the stock, of one shape with it."""
    lean = 0.004 * state["stock"]
    return Quotes(bid=0.018 + lean, ask=0.017 - lean)


@pytest.fixture(scope="module")
def loss():
    return settlement_loss(dealer(), steady, (0, 1, 2), PATHS, 5, initial={"stock": 1.0})


def test_the_later_sales_settle_the_more_is_lost(loss):
    prompt, next_day, late = loss.losses
    assert prompt.loss == prompt.standard_error == prompt.affected == 0
    assert 0 < next_day.loss < late.loss
    runs = loss.simulations
    exceed(runs[0].score, runs[1].score)
    exceed(runs[1].score, runs[2].score)
    assert 0 < next_day.bid_fills < late.bid_fills
    assert min(next_day.affected, late.affected) > 0.9
    assert next_day.loss == pytest.approx(runs[0].criterion - runs[1].criterion, abs=1e-12)
    assert "T+2" in loss.table()
    assert "T+1: " in repr(loss)


def test_nothing_is_lost_where_no_purchase_waits_for_a_sale():
    rich = settlement_loss(dealer(), steady, (1, 2), PATHS, 5, initial={"stock": 1.0, "cash": 30.0})
    for found in rich.losses:
        assert found.loss == found.standard_error == found.wealth_loss == found.bid_fills == found.affected == 0
        assert found.criterion == pytest.approx(rich.simulations[0].criterion)


@pytest.mark.slow
def test_no_purchase_is_paid_with_what_has_not_settled(loss):
    # nothing settles in the only day: from nothing, with a line of one lot and T+1, there is one purchase at most
    single = settlement_loss(dealer(horizon=DAY), steady, (1, 2), PATHS, 5)
    prompt, late, later = single.simulations
    assert late.bid_fills.max() <= 2  # what a purchase pays less than a lot does not count, but adds up to little
    assert prompt.bid_fills.max() > 5
    np.testing.assert_array_equal(late.wealth, later.wealth)


@pytest.mark.slow
def test_a_run_that_settles_late_is_the_same_whoever_asks_for_it(loss):
    alone = ts.simulate(dealer(), steady, PATHS, 5, {"stock": 1.0}, settlement=1)
    np.testing.assert_array_equal(alone.wealth, loss.simulations[1].wealth)
    assert alone.settlement == 1
    assert "settled in T+1" in alone.table()


def test_what_cannot_settle_is_refused_in_one_line():
    with pytest.raises(
        ValueError, match=r"day must divide the horizon of 0.0204918 into whole trading days, got 0.003"
    ):
        ts.simulate(dealer(), steady, 10, settlement=1, day=0.003)
    with pytest.raises(ValueError, match="settlement is for the model's own exact fills"):
        ts.simulate(dealer(), steady, 10, fills="linear", steps=10, settlement=1)
    with pytest.raises(ValueError, match="settlement loses nothing where nothing limits what StockCashDealer borrows"):
        settlement_loss(dealer(credit_line=None), steady, (1,), 10)
    lots = MODELS.InventoryDealer(
        0.3, 20.0, MODELS.Exponential(0.9, 0.3), MODELS.Exponential(0.7, 0.4), 1.0, 6, MODELS.RunningPenalty(0.01, 0.0)
    )
    with pytest.raises(ValueError, match="settlement is for a dealer with a cash account and time in years, and Inv"):
        ts.simulate(lots, lambda t, state: Quotes(0.5, 0.5), 10, settlement=1, day=1.0)
    with pytest.raises(ValueError, match="settlement must be from 0 to 10, got -1"):
        ts.simulate(dealer(), steady, 10, settlement=-1)


@pytest.mark.slow
def test_the_quotes_of_the_two_accounts_lose_by_late_settlement_and_agree_without_it():
    problem = dealer(horizon=20 * DAY, objective=MODELS.MeanVariance(10.0), credit_line=3.0, max_stock=6.0)
    method = ts.hjb.FiniteDifference(
        nodes_per_lot=4, steps=100, extrapolate=False, half_width=8, cash_range=(10, 14), max_iterations=100
    )
    solution, start, paths = ts.solve(problem, method), {"stock": 1.0, "cash": -1.5}, 50_000
    found = settlement_loss(problem, solution, (1, 2), paths, 3, initial=start)
    prompt = found.simulations[0]
    agree(prompt.mean_wealth, solution.expected_wealth(**start), prompt.standard_error, samples=paths, tolerance=5e-3)
    agree(prompt.criterion, solution.value(**start), prompt.criterion_standard_error, samples=paths, tolerance=5e-3)
    assert 0.3 < found.losses[0].loss < found.losses[1].loss
    exceed(prompt.score, found.simulations[1].score)
