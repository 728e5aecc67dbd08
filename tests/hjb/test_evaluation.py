"""A given policy's mean and variance of wealth, against closed forms, the equilibrium and simulation."""

import dataclasses

import equinox as eqx
import numpy as np
import pytest

import twosided as ts
from twosided.hjb.static import StaticQuotes, best_static_quotes
from twosided.validation.statistics import agree

DEALER = ts.models.StockCashDealer(
    growth=0.15,
    volatility=0.45,
    rate=0.03,
    horizon=5 / 244,
    bid_demand=ts.models.Exponential(3660.0, 60.0),
    ask_demand=ts.models.Exponential(2500.0, 55.0),
    lot=1.0,
    max_stock=4.0,
    objective=ts.models.MeanVariance(10.0),
)
METHOD = ts.hjb.FiniteDifference(nodes_per_lot=8, steps=64, extrapolate=False)


@pytest.fixture(scope="module")
def equilibrium():
    return ts.solve(DEALER, METHOD)


@pytest.fixture(scope="module")
def judged(equilibrium):
    return ts.hjb.evaluate(DEALER, equilibrium.policy, METHOD)


def test_the_equilibrium_rule_has_the_mean_and_variance_of_its_own_two_equations(equilibrium, judged):
    assert judged.converged
    for t, stock in ((0.0, 0.0), (0.0, 2.0), (0.0, -3.0), (0.01, 1.0)):
        mean, value = (float(of(t, stock=stock)) for of in (equilibrium.expected_wealth, equilibrium.value))
        assert float(judged.expected_wealth(t, stock=stock)) == pytest.approx(mean, abs=1e-8)
        assert float(judged.variance_of_wealth(t, stock=stock)) == pytest.approx(2 * (mean - value) / 10, abs=1e-8)


def test_a_solution_tells_the_variance_of_wealth_whatever_its_objective(equilibrium, judged):
    at = {"stock": np.array([0.0, 2.0, -3.0])}
    found = equilibrium.variance_of_wealth(0.01, **at)
    np.testing.assert_allclose(found, judged.variance_of_wealth(0.01, **at), rtol=0, atol=1e-8)
    problem = eqx.tree_at(lambda p: p.objective, DEALER, ts.models.MeanQuadraticVariation(10.0))
    other = dataclasses.replace(equilibrium, problem=problem)  # the same quotes, held to be another objective's
    np.testing.assert_array_equal(other.variance_of_wealth(0.01, **at), judged.variance_of_wealth(0.01, **at))
    unknown = dataclasses.replace(other, method=ts.hjb.ClosedForm())
    assert np.all(np.isnan(unknown.variance_of_wealth(0.01, **at)))


def test_without_quotes_wealth_moves_with_the_stock_alone():
    """`E = S e^{r_s T} + C e^{r T}`, `Var = S^2 e^{2 r_s T} (e^{sigma^2 T} - 1)`."""
    quiet = ts.hjb.evaluate(DEALER, StaticQuotes(DEALER, np.nan, np.nan), METHOD)
    stock, cash, years = 3.0, -2.0, 5 / 244
    mean = stock * np.exp(0.15 * years) + cash * np.exp(0.03 * years)
    variance = stock**2 * np.exp(0.3 * years) * np.expm1(0.45**2 * years)
    assert float(quiet.expected_wealth(stock=stock, cash=cash)) == pytest.approx(mean, abs=2e-6)
    assert float(quiet.variance_of_wealth(stock=stock)) == pytest.approx(variance, rel=2e-4)
    assert float(quiet.standard_deviation(stock=stock)) == pytest.approx(np.sqrt(variance), rel=1e-4)


def test_static_quotes_simulate_to_what_their_equations_say():
    policy = StaticQuotes(DEALER, 0.02, 0.025)
    moments = ts.hjb.evaluate(DEALER, policy, METHOD)
    outcome = ts.simulate(DEALER, policy, 20_000, seed=5, initial={"stock": 2.0})
    agree(
        [outcome.mean_wealth, outcome.variance],
        [float(moments.expected_wealth(stock=2.0)), float(moments.variance_of_wealth(stock=2.0))],
        [outcome.standard_error, outcome.variance_standard_error],
        samples=outcome.paths,
    )


@pytest.mark.slow
def test_the_quadratic_variation_rule_simulates_to_its_second_moment():
    roomy = eqx.tree_at(lambda p: p.max_stock, DEALER, np.asarray(10.0))  # where a limit binds, the order is lost
    problem = eqx.tree_at(lambda p: p.objective, roomy, ts.models.MeanQuadraticVariation(10.0))
    solution = ts.solve(problem)
    moments = ts.hjb.evaluate(problem, solution.policy)
    outcome = ts.simulate(problem, solution.policy, 1_000_000, seed=6, initial={"stock": -1.0})
    mean_error, variance_error = moments.error_estimate(stock=-1.0)
    assert mean_error < 1e-5
    assert variance_error < 1e-5
    agree(
        [outcome.mean_wealth, outcome.variance],
        [float(moments.expected_wealth(stock=-1.0)), float(moments.variance_of_wealth(stock=-1.0))],
        [outcome.standard_error, outcome.variance_standard_error],
        samples=outcome.paths,
    )


@pytest.mark.slow
def test_the_best_static_pair_is_worth_more_than_its_neighbours():
    (pair, none) = best_static_quotes(DEALER, [3.0, 300.0])
    around = [(0.0, 0.0), (0.03, 0.0), (-0.03, 0.0), (0.0, 0.03), (0.0, -0.03), (0.03, 0.03), (-0.03, -0.03)]
    policies = [StaticQuotes(DEALER, pair.bid * (1 + b), pair.ask * (1 + a)) for b, a in around]
    worth = []
    for policy in policies:
        moments = ts.hjb.evaluate(DEALER, policy, METHOD)
        worth.append(float(moments.expected_wealth()) - 1.5 * float(moments.variance_of_wealth()))
    assert worth[0] > max(worth[1:])
    assert np.isnan([float(none.bid), float(none.ask)]).all()  # so averse a dealer does not trade blindly at all


@pytest.mark.slow
def test_an_averse_dealer_at_one_side_of_its_limit_quotes_the_other_side_only():
    """From 3 of 4 lots: no pair that also bids is worth more than the ask alone, -2.545 by independent equations."""
    bid, ask = ts.models.Exponential(6.0, 1.5), ts.models.Exponential(4.0, 2.2)
    objective = ts.models.MeanVariance(0.2)
    dealer = ts.models.InventoryDealer(0.8, 1.5, bid, ask, 1.0, 4, objective, drift=0.4)
    (pair,) = best_static_quotes(dealer, [2.0], initial={"inventory": 3.0})
    moments = ts.hjb.evaluate(dealer, pair)
    worth = float(moments.expected_wealth(inventory=3.0)) - float(moments.variance_of_wealth(inventory=3.0))
    assert np.isnan(float(pair.bid))
    assert float(pair.ask) == pytest.approx(0.3046, abs=2e-3)
    assert worth == pytest.approx(-2.5450, abs=2e-3)


def test_a_policy_that_looks_at_cash_is_refused():
    def cautious(t, state):
        bid = 0.02 + 0.0 * state["stock"] + 0.001 * np.tanh(state["cash"])
        return ts.Quotes(bid, bid)

    with pytest.raises(ValueError, match="quotes by stock and cash"):
        ts.hjb.evaluate(DEALER, cautious, METHOD)
    with pytest.raises(ValueError, match="both sides"):
        best_static_quotes(eqx.tree_at(lambda p: p.ask_demand.scale, DEALER, np.zeros(())), [1.0])
