"""The lattice for any demand and objective, against an independent integrator run at 1e-13."""

import dataclasses
import itertools

import numpy as np
import pytest

import twosided as ts

from ..references import (
    GeneralLattice,
    Quadratic,
    Utility,
    exponential,
    linear,
    logistic,
    nothing,
    power_law,
    tabulated,
)

DISTANCE = np.array([-0.5, 0.0, 0.4, 1.0, 1.7, 3.0])
RATE = 2.0 / (0.3 + np.exp(1.1 * DISTANCE))  # its reciprocal is convex, as Tabulated wants it

DEMANDS = {  # the library's, and the same curve written down once more
    "exponential": (ts.models.Exponential(1.4, 1.3), exponential(1.4, 1.3)),
    "steeper": (ts.models.Exponential(1.1, 1.9), exponential(1.1, 1.9)),
    "linear": (ts.models.Linear(1.7, 0.9), linear(1.7, 0.9)),
    "logistic": (ts.models.Logistic(2.5, -0.7, 1.6), logistic(2.5, -0.7, 1.6)),
    "power law": (ts.models.PowerLaw(1.4, 2.5, 1.2), power_law(1.4, 2.5, 1.2)),
    "tabulated": (ts.models.Tabulated(DISTANCE, RATE), tabulated(DISTANCE, RATE)),
}
VOLATILITY, LOT = 0.35, 1.5
MARKET = {"lot": LOT, "drift": 0.03, "adverse": 0.05}


def risk(aversion):
    return lambda q: 0.5 * aversion * (VOLATILITY * LOT * q) ** 2


OBJECTIVES = {  # the library's, the reference's wish, and its running and terminal charge
    "exponential utility": (ts.models.ExponentialUtility(0.3), Utility(0.3), risk(0.3), nothing),
    "running penalty": (
        ts.models.RunningPenalty(0.02, 0.03),
        Utility(0.0),
        lambda q: 0.02 * q**2,
        lambda q: 0.03 * q**2,
    ),
    "mean-variance": (ts.models.MeanVariance(0.15), Quadratic(0.15, True), risk(0.15), nothing),
    "quadratic variation": (ts.models.MeanQuadraticVariation(0.15), Quadratic(0.15, False), risk(0.15), nothing),
}


def case(bid, ask, objective, horizon=3.0, limit=4):
    """The problem and what answers it independently."""
    theirs, wish, cost, terminal = OBJECTIVES[objective]
    problem = ts.models.InventoryDealer(
        volatility=VOLATILITY,
        horizon=horizon,
        bid_demand=DEMANDS[bid][0],
        ask_demand=DEMANDS[ask][0],
        lot=LOT,
        max_inventory=limit,
        objective=theirs,
        drift=MARKET["drift"],
        adverse_selection=MARKET["adverse"],
    )
    reference = GeneralLattice(
        horizon=horizon,
        bid=DEMANDS[bid][1],
        ask=DEMANDS[ask][1],
        wish=wish,
        limit=limit,
        cost=cost,
        terminal=terminal,
        **MARKET,
    )
    return problem, reference


def agree(solution, reference, promise=1e-10):
    """Value, mean and quotes with `reference.horizon` to go: within `promise` of the value's and of the demand's scale.

    A demand's own scale of distance is its reciprocal hazard, `1/k` of an exponential one.
    """
    t = float(solution.problem.horizon) - reference.horizon
    value, mean, bid, ask = reference.answer()
    money = promise * np.max(np.abs(value))
    found = solution.quotes(t, inventory=reference.lots)
    np.testing.assert_allclose(solution.value(t, inventory=reference.lots), value, rtol=0, atol=money)
    np.testing.assert_allclose(solution.expected_wealth(t, inventory=reference.lots), mean, rtol=0, atol=money)
    for theirs, ours, demand in (
        (found.bid, bid, solution.problem.bid_demand),
        (found.ask, ask, solution.problem.ask_demand),
    ):
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=promise * float(demand.reciprocal_hazard(0.0)))


@pytest.mark.parametrize(
    ("bid", "ask", "objective"),
    [
        pytest.param("exponential", "steeper", "exponential utility", marks=pytest.mark.slow),
        ("steeper", "exponential", "mean-variance"),
        pytest.param("exponential", "steeper", "quadratic variation", marks=pytest.mark.slow),
        pytest.param("steeper", "power law", "running penalty", marks=pytest.mark.slow),
        pytest.param("logistic", "exponential", "exponential utility", marks=pytest.mark.slow),
        pytest.param("exponential", "linear", "quadratic variation", marks=pytest.mark.slow),
        pytest.param("linear", "logistic", "mean-variance", marks=pytest.mark.slow),
    ],
)
def test_value_mean_and_quotes_agree_with_an_independent_integration(bid, ask, objective):
    problem, reference = case(bid, ask, objective)
    solution = ts.solve(problem)
    assert solution.converged
    assert "linear" not in solution.stats
    agree(solution, reference)


@pytest.mark.slow
def test_a_tabulated_demand_agrees_across_its_knots():
    """Its slope has kinks, which cost any integrator steps; a short horizon crosses a few of them."""
    problem, reference = case("tabulated", "exponential", "mean-variance", horizon=0.6, limit=3)
    agree(ts.solve(problem), reference)


@pytest.mark.slow
def test_the_linear_equation_and_the_integration_agree():
    """Two routes inside the library to one answer, at the stored times that they share.

    Between its steps an integrator interpolates, which costs a digit.
    """
    problem, _ = case("exponential", "exponential", "exponential utility")
    exact = ts.solve(problem, ts.hjb.Lattice(times=16))
    integrated = ts.solve(problem, ts.hjb.Lattice(times=16, exact=False))
    assert exact.stats["linear"]
    assert "linear" not in integrated.stats
    lots = np.arange(-4, 5.0)
    for share in (1, 4, 9, 16):  # of sixteen: stored by both, evenly in one and by squares in the other
        t = (1 - share / 16) * 3.0
        one, other = (s.value(t, inventory=lots) for s in (exact, integrated))
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-9 * np.max(np.abs(exact.tables.value)))
        one, other = (s.quotes(t, inventory=lots) for s in (exact, integrated))
        np.testing.assert_allclose(np.stack(other), np.stack(one), rtol=0, atol=1e-9 / 1.3)


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("bid", "ask"), [*itertools.product([d for d in DEMANDS if d != "steeper"], repeat=2)])
def test_every_pair_of_demands_agrees_under_every_objective(bid, ask, objective):
    problem, reference = case(bid, "steeper" if bid == ask == "exponential" else ask, objective)
    solution = ts.solve(problem)
    assert solution.converged
    agree(solution, reference)
    agree(solution, dataclasses.replace(reference, horizon=reference.horizon / 4), promise=1e-9)


def bounded(limit=2.0, demands=(1.4, 0.9), **changes):
    settings = {"volatility": 0.4, "objective": ts.models.RunningPenalty(0.05, 0.02), "drift": 0.1}
    return ts.models.InventoryDealer(
        horizon=2.0,
        bid_demand=ts.models.Exponential(demands[0], 0.7),
        ask_demand=ts.models.Exponential(demands[1], 0.7),
        lot=2.0,
        max_inventory=limit,
        **(settings | changes),
    )


METHODS = {
    "linear": ts.hjb.Lattice(times=8, half_width=4),
    "integrated": ts.hjb.Lattice(times=8, half_width=4, exact=False),
    "stepped": ts.hjb.FiniteDifference(steps=400, half_width=4),
}


@pytest.mark.parametrize(
    "route", ["linear", *(pytest.param(n, marks=pytest.mark.slow) for n in ("integrated", "stepped"))]
)
def test_a_lattice_wider_than_the_limit_keeps_the_limit(route):
    inside = np.arange(-2, 3)
    exact = ts.solve(bounded(), ts.hjb.Lattice(times=8)).value(0.0, inventory=inside)
    wider = ts.solve(bounded(), METHODS[route])
    np.testing.assert_allclose(wider.value(0.0, inventory=inside), exact, atol=1e-8)


@pytest.mark.parametrize("route", ["linear", pytest.param("integrated", marks=pytest.mark.slow), "stepped"])
def test_the_end_of_a_lattice_is_the_limit_where_there_is_none(route):
    """A fill that leaves the grid would earn its spread and move nothing."""
    nodes = np.arange(-4, 5)
    exact = ts.solve(bounded(4), ts.hjb.Lattice(times=8)).value(0.0, inventory=nodes)
    unlimited = ts.solve(bounded(np.inf), METHODS[route])
    np.testing.assert_allclose(unlimited.value(0.0, inventory=nodes), exact, atol=1e-8)


@pytest.mark.parametrize("method", [ts.hjb.Lattice, ts.hjb.FiniteDifference])
def test_a_lattice_narrower_than_the_limit_is_refused(method):
    with pytest.raises(ValueError, match="half_width=2 ends within the limit of 3 lots; give at least 3"):
        ts.solve(bounded(3), method(half_width=2))
    for wrong in (-2, 0, True):
        with pytest.raises(ValueError, match="half_width must be a whole number of at least 1"):
            method(half_width=wrong)


def test_a_dealer_whom_nobody_hits_and_nothing_moves_is_worth_the_book():
    idle = bounded(demands=(0.0, 0.0), volatility=0.0, drift=0.0, objective=ts.models.ExponentialUtility(0.05))
    solution = ts.solve(idle, ts.hjb.Lattice(times=8))
    assert solution.converged
    np.testing.assert_array_equal(solution.value(0.0, inventory=np.arange(-2, 3)), 0.0)
