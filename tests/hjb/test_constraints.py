"""The dealer under a margin, a haircut, forced reduction and overnight limits: on the grid, solved, and simulated.

What a margin does to the quotes is tested with the other accounts, in `test_two_accounts`.
"""

from typing import Any

import jax
import numpy as np
import pytest

import twosided as ts
from twosided.hjb._days import before_close
from twosided.hjb._equation import Equation, Grid
from twosided.hjb._limits import above, covered, forced
from twosided.hjb._tables import row_of
from twosided.models.channels import Quotes
from twosided.validation.statistics import agree

MODELS = ts.models
FORCED = MODELS.ForcedReduction(500.0, 0.01)
START = {"stock": 1.0, "cash": 2.5}
HORIZON, DAYS = 20 / 244, 5


def method(nodes=2, cash_nodes=4, steps=100):
    return ts.hjb.FiniteDifference(
        nodes_per_lot=nodes,
        cash_nodes_per_lot=cash_nodes,
        steps=steps,
        extrapolate=False,
        half_width=8,
        cash_range=(10, 14),
        max_iterations=100,
    )


def dealer(**changes):
    """Twenty trading days, unlike sides, dear credit and a fee on short stock."""
    settings: dict[str, Any] = {
        "growth": 0.15,
        "volatility": 0.45,
        "rate": 0.03,
        "horizon": HORIZON,
        "bid_demand": MODELS.Exponential(3000.0, 55.0),
        "ask_demand": MODELS.Exponential(3660.0, 60.0),
        "lot": 1.0,
        "max_stock": 6.0,
        "objective": MODELS.MeanVariance(10.0),
        "borrowing_rate": 0.25,
        "short_limit": 4.0,
        "short_fee": 0.1,
        "liquidation_cost": 0.002,
    }
    return MODELS.StockCashDealer(**(settings | changes))


def margined(initial, maintenance, reduction=FORCED, **changes: Any):
    return dealer(margin=MODELS.Margin(initial, maintenance), forced_reduction=reduction, **changes)


# What a grid makes of a limit


def test_the_share_of_a_cell_is_the_mean_of_the_rule_over_it():
    problem = margined(0.6, 0.5, credit_line=3.0, haircut=0.3)
    cell, inside = 0.5, np.linspace(-0.25, 0.25, 101)[:-1] + 0.0025
    stock, cash = np.arange(-6.0, 8.01, cell), np.arange(-5.0, 10.01, cell)
    picked = [(0.5, 2.5), (2.0, -0.5), (3.5, 0.5), (4.5, -1.5), (-1.5, 4.0), (-2.5, 5.0), (-3.0, 4.5), (4.0, -2.5)]
    s, c = (np.array(places)[:, None, None] for places in zip(*picked, strict=True))
    at = tuple(np.argmin(np.abs(axis - x[..., 0]), axis=1) for axis, x in ((stock, s), (cash, c)))
    x, y = np.broadcast_arrays(s + inside[None, :, None], c + inside[None, None, :])

    def found(side):
        cells = (stock[:, None], cash[None], (cell, cell))
        rests = np.zeros((stock.size, cash.size), bool)
        shares = covered(problem, side, *cells, rests), forced(problem, side, *cells)
        return shares, (problem.may_fill(side, x, y), problem.forced_rate(side, x, y))

    with jax.enable_x64(True):
        for side in (+1, -1):
            (may, often), (rule, rate) = jax.tree.map(np.asarray, jax.jit(found, static_argnums=0)(side))
            np.testing.assert_allclose(may[at], np.mean(rule, axis=(1, 2)), atol=0.03)
            np.testing.assert_allclose(often[at], np.mean(rate, axis=(1, 2)), atol=15)
            assert np.ptp(may[at]) > 0.99
        share = np.asarray(above(np.array([-1.0, -0.3, 0.0, 0.2, 1.0]), 0.5, 0.2))
    np.testing.assert_allclose(share, [0.0, 0.2, 0.5, 0.7, 1.0], atol=1e-12)


def test_just_before_a_close_the_accounts_are_those_it_leaves():
    problem = dealer(borrowing_rate=None, overnight=MODELS.Overnight(3.0, DAYS, 0.02))
    with jax.enable_x64(True):
        equation = Equation(problem, Grid(2, 16))
        y = np.asarray(equation.nodes)
        u = np.stack([0.3 * y - 0.05 * y**2, 0.2 * y])
        before = np.asarray(before_close(equation, 0.04, u))
        kept = np.clip(y, -3.0, 3.0)
        wanted = np.stack([0.3 * kept - 0.05 * kept**2, 0.2 * kept]) - np.exp(0.03 * 0.04) * 0.02 * np.abs(y - kept)
        rows = [float(row_of(problem, np.float64(share * HORIZON), 55, 2)[0]) for share in (0.0, 0.199999, 0.2, 1.0)]
    np.testing.assert_allclose(before, wanted, atol=1e-12)
    np.testing.assert_allclose(rows, [0.0, 10.0, 11.0, 54.0], atol=1e-4)  # a day's rows, and then the next one's


# Against simulation


def wide(t, state):
    return Quotes(bid=1.0 + 0 * state["stock"], ask=1.0 + 0 * state["stock"])


@pytest.mark.slow
def test_a_margin_call_reduces_the_position_when_nobody_else_trades():
    nobody: dict[str, Any] = {"bid_demand": MODELS.Exponential(0.0, 55.0), "ask_demand": MODELS.Exponential(0.0, 60.0)}
    start = {"stock": -4.0, "cash": 7.95}  # a price that rises takes wealth and asks more margin
    left = ts.simulate(margined(1.0, 0.98, MODELS.ForcedReduction(0.0), **nobody), wide, 2000, 1, start)
    called = ts.simulate(margined(1.0, 0.98, **nobody), wide, 2000, 1, start)
    assert left.forced_fills is not None
    assert called.forced_fills is not None
    assert left.forced_fills.max() == 0
    hit = called.forced_fills > 0
    assert 0.2 < np.mean(hit) < 1.0
    assert np.all(np.abs(called.inventory[hit]) < np.abs(left.inventory[hit]))
    np.testing.assert_allclose(called.inventory[~hit], left.inventory[~hit], rtol=1e-12)


def test_a_start_that_breaks_the_margin_is_refused():
    with pytest.raises(ValueError, match=r"infeasible start: wealth of 2 does not cover the 2.94 .* stock=3"):
        ts.simulate(margined(1.0, 0.98), wide, paths=10, initial={"stock": 3.0, "cash": -1.0})


def test_other_ways_of_judging_and_playing_refuse_what_they_do_not_know():
    problem = dealer(borrowing_rate=None, short_fee=0.0, overnight=MODELS.Overnight(3.0, DAYS))
    with pytest.raises(ValueError, match="evaluate knows no overnight limit"):
        ts.hjb.evaluate(problem, wide)
    with pytest.raises(ValueError, match=r"linear rule knows no borrowing rate.* or overnight limit"):
        ts.simulate(problem, wide, paths=10, fills="linear", steps=10)
    with pytest.raises(ValueError, match="steps must be a multiple of the 5 trading days, got 12"):
        ts.simulate(problem, wide, paths=10, steps=12)


def meets_its_simulation(solution, paths, seed, tolerance, **start):
    result = ts.simulate(solution.problem, solution.policy, paths=paths, seed=seed, initial=start)
    mean, value = solution.expected_wealth(**start), solution.value(**start)
    agree(result.mean_wealth, mean, result.standard_error, samples=paths, tolerance=tolerance)
    variance = 2 * (mean - value) / float(solution.problem.objective.risk_aversion)
    agree(result.variance, variance, result.variance_standard_error, samples=paths)
    return result


# Longer studies


@pytest.mark.slow
def test_a_slack_margin_is_no_margin_exactly():
    plain = ts.solve(dealer(), method())
    slack = ts.solve(margined(0.0, 0.0, MODELS.ForcedReduction(0.0)), method())
    np.testing.assert_allclose(slack.tables.value, plain.tables.value, rtol=0, atol=1e-9)
    np.testing.assert_allclose(slack.tables.bid, plain.tables.bid, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_the_margin_is_met_ever_more_closely_by_finer_grids():
    start = {"stock": 2.0, "cash": 0.05}  # next to the margin, where the value has its kink
    problem = margined(1.0, 0.98)
    found = [ts.solve(problem, method(4, n)) for n in (4, 8, 16)]
    means = np.array([s.expected_wealth(**start) for s in found])
    gaps = np.abs(np.diff(means))
    assert gaps[1] < 0.7 * gaps[0]
    meets_its_simulation(found[-1], 100_000, 3, 3 * gaps[1], **start)


@pytest.mark.slow
def test_many_paths_under_a_margin_agree_with_what_was_solved():
    solution = ts.solve(margined(0.5, 0.49), method(4, 8))
    rough = ts.solve(margined(0.5, 0.49), method(4, 4))
    error = abs(solution.expected_wealth(**START) - rough.expected_wealth(**START))
    result = meets_its_simulation(solution, 200_000, 6, error, **START)
    assert result.forced_fills is not None
    assert np.mean(result.forced_fills) > 0


@pytest.mark.slow
def test_a_haircut_lends_more_and_is_worth_no_less():
    values = []
    for haircut in (1.0, 0.5, 0.1):
        solution = ts.solve(dealer(credit_line=1.0, haircut=haircut), method())
        values.append(solution.value(stock=1.0, cash=-0.5))
        assert solution.converged
    assert values[0] < values[1] - 1e-3
    assert values[1] < values[2]


def one_account(**changes):
    return dealer(borrowing_rate=None, **changes)


FINE = ts.hjb.FiniteDifference(nodes_per_lot=12, steps=200, half_width=8)


@pytest.mark.slow
def test_an_overnight_limit_that_nobody_reaches_changes_nothing():
    plain, far = (ts.solve(p, FINE) for p in (one_account(), one_account(overnight=MODELS.Overnight(50.0, DAYS))))
    for t, stock in ((0.0, 1.0), (0.03, -3.0), (HORIZON / 5, 2.0)):
        assert far.value(t, stock=stock) == pytest.approx(plain.value(t, stock=stock), abs=3e-5)
        np.testing.assert_allclose(far.quotes(t, stock=stock), plain.quotes(t, stock=stock), atol=5e-6)


@pytest.mark.slow
def test_a_dear_close_is_worth_less_and_hurries_the_dealer():
    free, dear = (ts.solve(one_account(overnight=MODELS.Overnight(1.0, DAYS, cost)), FINE) for cost in (0.0, 0.01))
    assert dear.value(stock=3.0) < free.value(stock=3.0) - 0.01
    close = HORIZON / DAYS
    before, after = (dear.quotes(close + shift, stock=2.0) for shift in (-1e-6, 1e-6))
    assert before.ask < after.ask - 1e-3  # a lot sold in time saves the cost
    assert dear.value(close, stock=3.0) == pytest.approx(
        float(dear.value(close + 1e-9, stock=1.0, cash=2.0 - 0.02)), abs=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("cash_matters", [False, True])
def test_a_dealer_with_overnight_limits_earns_and_risks_what_was_solved(cash_matters):
    limits = {"overnight": MODELS.Overnight(1.0, DAYS, 0.005)}
    problem = dealer(credit_line=3.0, **limits) if cash_matters else one_account(**limits)
    solution = ts.solve(problem, method(4, 4) if cash_matters else FINE)
    assert solution.converged
    meets_its_simulation(solution, 100_000, 2, 1e-3, stock=1.0, cash=-0.5)


@pytest.mark.slow
def test_forced_reduction_in_one_account_earns_and_risks_what_was_solved():
    problem = one_account(max_stock=2.0, short_limit=2.0, volatility=1.0, forced_reduction=FORCED)
    solution = ts.solve(problem, ts.hjb.FiniteDifference(nodes_per_lot=16, steps=200, half_width=4))
    result = meets_its_simulation(solution, 100_000, 4, float(solution.error_estimate), stock=1.0)
    assert result.forced_fills is not None
    assert np.mean(result.forced_fills) > 0.1  # they matter
