"""Pre-commitment where cash matters by itself: a solve for each target, its limits, its neighbours, and simulation."""

from functools import partial
from typing import Any

import numpy as np
import pytest

import twosided as ts
from twosided.hjb._target_search import Curve, choose
from twosided.validation._frontier_readings import missing
from twosided.validation.frontier import frontier
from twosided.validation.statistics import agree, exceed

from . import asymmetric

MODELS = ts.models
COARSE = ts.hjb.TargetMethod(nodes_per_lot=2, gap_nodes=64, steps=8, check=False)
RATE = 0.03
ONE_RATE: dict[str, Any] = {}
NO_MATTER: dict[str, Any] = {"borrowing_rate": float(np.nextafter(0.03, 1)), "credit_line": 1e3}
DEAR: dict[str, Any] = {"borrowing_rate": 0.25, "credit_line": 1.5}
AVERSIONS = np.array([2.0, 32.0])
dealer = partial(asymmetric.dealer, max_stock=2.5)  # two lots keep a solve for each target short


def committed(aversion=2.0, surplus="kept", **changes):
    return dealer(MODELS.PreCommitment(aversion, surplus=surplus), **changes)


@pytest.fixture(scope="module")
def dear():
    return ts.hjb.pre_commitment_frontier(committed(**DEAR), AVERSIONS, COARSE)


@pytest.mark.slow
def test_where_cash_is_no_matter_the_solve_of_each_target_is_the_one_that_serves_all():
    """Mean and variance are found in two ways, which a coarse grid keeps apart by a thousandth of the deviation."""
    one, own = (
        ts.hjb.pre_commitment_frontier(committed(**changes), AVERSIONS, COARSE) for changes in (ONE_RATE, NO_MATTER)
    )
    assert not one.problem.cash_matters
    assert own.problem.cash_matters
    np.testing.assert_allclose(own.value, one.value, atol=1e-6)
    np.testing.assert_allclose(own.target, one.target, atol=1e-4)
    np.testing.assert_allclose(own.mean_by_equation, one.mean_by_equation, atol=1e-4)
    apart = 2e-3 * one.standard_deviation
    assert np.all(np.abs(own.mean - one.mean) < apart)
    assert np.all(np.abs(own.standard_deviation - one.standard_deviation) < apart)
    state = {"stock": np.array([-2.0, 0.0, 0.5, 2.0]), "cash": np.array([2.1, 0.0, -0.3, -1.9])}
    for t in (0.0, 0.015):
        quotes = [solution.solution(0).quotes(t, **state) for solution in (one, own)]
        np.testing.assert_allclose(quotes[1].bid, quotes[0].bid, atol=2e-5)
        np.testing.assert_allclose(quotes[1].ask, quotes[0].ask, atol=2e-5)


@pytest.mark.parametrize(
    "borrowing_rate",
    [pytest.param(None, marks=pytest.mark.slow, id="one rate"), pytest.param(0.4, id="dear credit")],
)
@pytest.mark.parametrize("stock", [-2.0, pytest.param(2.0, marks=pytest.mark.slow)])
def test_without_fills_interest_the_fee_and_the_close_take_what_they_do(stock, borrowing_rate):
    """Cash stays below zero, so wealth is linear in the price's path: moments by quadrature over its covariance."""
    fee, closing, cash, growth, volatility, horizon = 0.2, 0.01, -1.5, 0.25, 0.45, 5 / 244
    line: dict[str, Any] = {} if borrowing_rate is None else {"borrowing_rate": borrowing_rate, "credit_line": 1.0}
    objective = MODELS.PreCommitment(0.7, stock=stock, cash=cash)
    problem = dealer(objective, bid=(0.0, 55.0), ask=(0.0, 65.0), short_fee=fee, liquidation_cost=closing, **line)
    found = ts.solve(problem, COARSE)

    rate = RATE if borrowing_rate is None else borrowing_rate
    nodes, weights = np.polynomial.legendre.leggauss(200)
    time = np.append(0.5 * horizon * (nodes + 1), horizon)
    load = np.append(0.5 * horizon * weights * fee * (stock < 0) * np.exp(rate * (horizon - time[:-1])), 0.0)
    load[-1] = 1 - closing * np.sign(stock)
    held = stock * np.exp(growth * time)
    mean = load @ held + cash * np.exp(rate * horizon)
    both = np.expm1(volatility**2 * np.minimum.outer(time, time)) * np.multiply.outer(held, held)
    variance = load @ both @ load
    assert found.stats["mean"] == pytest.approx(mean, abs=2e-5)
    assert found.stats["variance"] == pytest.approx(variance, abs=2e-5)
    assert found.stats["value"] == pytest.approx(mean - 0.35 * variance, abs=2e-5)
    assert found.value(0.0, stock=stock, cash=cash) == pytest.approx(mean - 0.35 * variance, abs=1e-4)  # off its nodes


def test_a_curve_bent_through_solved_points_has_their_targets():
    """A dealer who never trades and loses `a` with deviation `s`: `U = (Z - a)^2 + s^2`, its mean `Z - a`."""
    gap = np.linspace(-4.0, 1.0, 41)
    free, lost, deviation = Curve(gap, gap**2, 0 * gap), 0.3, 0.2
    for solved in (np.array([-1.03]), np.array([-3.1, -1.0, -0.97])):
        bent = free.through(Curve(solved, (solved - lost) ** 2 + deviation**2, 0 * solved - lost))
        best = choose(bent, np.array([0.5, 2.0]))
        np.testing.assert_allclose(best.gap, lost - 1 / np.array([0.5, 2.0]), atol=1e-9)
        np.testing.assert_allclose(best.square - 1 / np.array([0.5, 2.0]) ** 2, deviation**2, atol=1e-9)
        np.testing.assert_allclose(bent.mean, -lost, atol=1e-12)


def test_dear_credit_costs_money_and_the_target_agrees_with_the_mean(dear):
    free = ts.hjb.pre_commitment_frontier(committed(), AVERSIONS, COARSE)
    assert np.all(dear.value < free.value - 5e-3)
    implied = dear.target - 1 / AVERSIONS
    assert np.all(np.abs(implied - dear.mean) < 0.01 * dear.standard_deviation)
    assert all(dear.solution(point).converged for point in range(AVERSIONS.size))


def test_no_bid_is_quoted_beyond_the_credit_line_and_the_ask_leads_back(dear):
    solution = dear.solution(0)
    cash = np.array([-0.4, -0.6, -2.0])
    quotes = solution.quotes(0.005, stock=1.0, cash=cash)
    np.testing.assert_array_equal(np.isnan(quotes.bid), cash - 1.0 < -1.5)
    assert np.all(np.isfinite(quotes.ask))
    within, beyond = solution.quotes(0.005, stock=1.0, cash=np.array([-0.46, -0.54])).ask
    assert beyond < within - 1e-4  # a dealer who cannot buy sells for less, to be able to again


def test_what_each_target_is_solved_for_is_refused_under_a_margin():
    assert missing("pre_commitment", committed(**DEAR, short_fee=0.1, liquidation_cost=0.01)) == ""
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"margin": MODELS.Margin(0.5, 0.25)}, "margin"),
        ({"credit_line": 2.0, "haircut": 0.5}, "haircut"),
        ({"credit_line": 2.0, "forced_reduction": MODELS.ForcedReduction(50.0)}, "forced_reduction"),
        ({"overnight": MODELS.Overnight(1.0, 5)}, "overnight"),
    )
    for limits, said in cases:
        problem = committed(**limits)
        assert said in missing("pre_commitment", problem)
        with pytest.raises(ValueError, match=said):
            ts.solve(problem)


# Longer studies


@pytest.mark.slow
def test_a_mean_is_met_by_one_solve_more(dear):
    wanted = float(np.mean(dear.mean))
    point = dear.at_mean(wanted)
    assert point.mean[0] == pytest.approx(wanted, abs=2e-4)
    assert len(point.solves.own) > len(dear.solves.own)
    with pytest.raises(ValueError, match="can be reached"):
        dear.at_mean(50.0)


REFERENCE: dict[str, dict[str, Any]] = {
    "borrowing": {"borrowing_rate": 0.25, "horizon": 20 / 244, "growth": 0.15},
    "credit line of whole lots": {"borrowing_rate": 0.25, "credit_line": 2.0, "max_stock": 3.5},
    "fee and close": {"borrowing_rate": 0.25, "credit_line": 1.5, "short_fee": 0.2, "liquidation_cost": 0.005},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "surplus"), [("borrowing", "kept"), ("credit line of whole lots", "kept"), ("fee and close", "set_aside")]
)
def test_no_other_policy_under_the_same_limits_has_a_better_criterion_at_time_0(case, surplus):
    """Simulated mean and variance against the solver's, and other rules on the same price paths."""
    aversion, paths = 10.0, 100_000
    solution = ts.solve(committed(aversion, surplus, **REFERENCE[case]))
    assert solution.converged

    def play(policy):
        return ts.simulate(dealer(MODELS.MeanVariance(1.0), **REFERENCE[case]), policy, paths, 5, progress=False).wealth

    wealth = play(solution.policy)
    if surplus == "set_aside":
        wealth = np.minimum(wealth, solution.stats["target"])
    squares = (wealth - wealth.mean()) ** 2
    errors = np.array([wealth.std(), squares.std()]) / np.sqrt(paths)
    found, expected = [wealth.mean(), squares.mean()], [solution.stats["mean"], solution.stats["variance"]]
    z = agree(found, expected, errors, samples=paths)
    print(f"\n{case}, {surplus}: simulated {found} +- {errors}, solver {expected}, z {z}; {solution.stats}")
    best = wealth - 0.5 * aversion * squares
    differences = ts.hjb.FiniteDifference(nodes_per_lot=4, steps=64, extrapolate=False)
    for objective in (MODELS.MeanVariance(aversion), MODELS.MeanQuadraticVariation(aversion)):
        other = play(ts.solve(dealer(objective, **REFERENCE[case]), differences).policy)
        score = other - 0.5 * aversion * (other - other.mean()) ** 2
        print(f"  {objective}: {score.mean():.5f} against {best.mean():.5f}, {exceed(best, score):.0f} standard errors")


@pytest.mark.slow
def test_a_frontier_carries_the_reading_and_certifies_it():
    problem, readings = dealer(MODELS.MeanVariance(1.0), **DEAR), ["equilibrium", "pre_commitment"]
    settings = {
        "method": ts.hjb.FiniteDifference(nodes_per_lot=4, steps=64, extrapolate=False),
        "paths": 50_000,
        "seed": 2,
    }
    found = frontier(problem, [4.0, 12.0], readings, **settings, progress=False)
    assert found.missing == {}
    assert found.certificate.compared == 8
    assert found.certificate.agrees, found.table(None)
    worth = found.data["criterion"]
    assert np.all(worth.sel(reading="pre_commitment") > worth.sel(reading="equilibrium"))
