"""The risk aversion that spends a risk budget: what it promises comes true, and its interval covers what it should."""

import math
import warnings
from typing import Any

import jax
import numpy as np
import pytest
from scipy import stats

import twosided as ts
from twosided.hjb._equation import Grid
from twosided.validation.calibration import Inputs, UnreachableTarget, WeakIdentification, risk_aversion_for_budget
from twosided.validation.calibration._budget import _moments_of, losing_exactly
from twosided.validation.statistics import agree

MODELS = ts.models
METHOD = ts.hjb.Lattice(times=64)
SIGMA, DECAY, SCALES = 0.9, 1.3, (14.0, 9.0)
PATHS = 40_000


def known(found):
    """What is there for this estimate, though not for every one."""
    assert found is not None
    return found


def dealer(risk_aversion=0.1, volatility=SIGMA, scales=SCALES, decay=DECAY, objective=MODELS.ExponentialUtility):
    return MODELS.InventoryDealer(
        volatility=volatility,
        horizon=2.0,
        bid_demand=MODELS.Exponential(scales[0], decay),
        ask_demand=MODELS.Exponential(scales[1], decay),
        lot=1.0,
        max_inventory=4,
        objective=objective(risk_aversion),
        drift=0.05,
    )


def stock_dealer(risk_aversion: Any = 4.0, objective: Any = MODELS.MeanVariance, **changes: Any):
    settings = {
        "growth": 0.1,
        "volatility": 0.35,
        "rate": 0.03,
        "horizon": 5 / 244,
        "bid_demand": MODELS.Exponential(3000.0, 60.0),
        "ask_demand": MODELS.Exponential(2000.0, 70.0),
        "lot": 1.0,
        "max_stock": 3.0,
        "objective": objective(risk_aversion),
    }
    return MODELS.StockCashDealer(**(settings | changes))


@pytest.fixture(scope="module")
def simulated():
    """A dealer, its solution and a simulation of it from two lots."""
    problem = dealer(0.4)
    solution = ts.solve(problem, METHOD)
    return problem, solution, ts.simulate(problem, solution.policy, PATHS, seed=5, initial={"inventory": 2.0})


@pytest.mark.slow
def test_a_budget_of_deviation_is_spent_when_its_dealer_is_simulated():
    found = risk_aversion_for_budget(dealer(), deviation=3.0, method=METHOD)
    run = ts.simulate(found.problem, ts.solve(found.problem, METHOD).policy, PATHS, seed=1)
    deviation = float(np.std(run.wealth, ddof=1))
    gap = (run.wealth - run.wealth.mean()) ** 2
    agree(deviation, 3.0, np.std(gap) / (2 * deviation * math.sqrt(PATHS)), samples=PATHS)
    assert found.standard_error == 0.0
    assert found.notes["deviation"] == 3.0


def test_the_chain_has_the_mean_and_the_deviation_of_the_simulation(simulated):
    _, solution, run = simulated
    with jax.enable_x64(True):
        y, mean, variance = (np.asarray(x) for x in _moments_of(solution.policy, Grid(1, 4)))
    here = int(np.flatnonzero(y == 2.0)[0])
    agree(run.mean_wealth, mean[here], run.standard_error, samples=PATHS)
    gap = (run.wealth - run.wealth.mean()) ** 2
    agree(run.variance, variance[here], np.std(gap) / math.sqrt(PATHS), samples=PATHS)


def test_the_probability_of_loss_is_that_of_the_simulation(simulated):
    problem, solution, run = simulated
    for loss in (-8.0, -4.0):  # wealth below 8 and below 4: by no means rare
        exact = losing_exactly(problem, solution, 2.0, loss, 1e-6)
        share = np.mean(run.wealth < -loss)
        agree(share, exact, math.sqrt(share * (1 - share) / PATHS), samples=PATHS)
        assert 0.001 < share < 0.9


@pytest.mark.slow
def test_a_budget_of_hitting_the_limit_is_spent_when_its_dealer_is_watched():
    found = risk_aversion_for_budget(dealer(), limit_probability=0.2, method=METHOD)
    record = ts.validation.calibration.observe_trades(ts.solve(found.problem, METHOD), 4000, seed=2)
    reached = np.maximum.reduceat(np.abs(record.inventory), record.begins) >= 4
    agree(np.mean(reached), 0.2, math.sqrt(0.16 / 4000), samples=4000)


def test_a_target_out_of_reach_is_refused_with_the_range():
    with pytest.raises(
        UnreachableTarget, match=r"of wealth of 50 cannot be reached: .* lies between [\d.]+ and [\d.]+"
    ):
        risk_aversion_for_budget(dealer(), deviation=50.0, method=METHOD)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({}, "state one target"),
        ({"deviation": 1.0, "limit_probability": 0.1}, "state one target"),
        ({"deviation": -1.0}, "deviation must be positive"),
        ({"loss_probability": 5.0}, "loss_probability must lie between 0 and 1"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused(targets, message):
    with pytest.raises(ValueError, match=message):
        risk_aversion_for_budget(dealer(), method=METHOD, **targets)


def test_the_frontier_falls_in_deviation_and_holds_the_answer():
    found = risk_aversion_for_budget(dealer(), deviation=3.0, method=METHOD)
    frontier = known(found.frontier)
    assert np.all(np.diff(frontier.deviation) < 0)
    assert np.all(np.diff(frontier.risk_aversion) > 0)
    between = np.interp(3.0, frontier.deviation[::-1], np.log(frontier.risk_aversion[::-1]))
    assert between == pytest.approx(math.log(found.estimate), abs=0.02)


# The interval, when what the problem states was measured


def measured(rng, scales=SCALES, decay=DECAY, volatility=SIGMA, hours=120.0, moves=800):
    """A dealer as measured: demand by the likelihood of fills at three distances, volatility from moves of the price.

    The fills at distance x in `hours` are Poisson with mean `A e^{-k x} hours`; both sides share `k`.
    """
    distances = np.array([0.3, 0.8, 1.6])
    counts = rng.poisson([[a * math.exp(-decay * x) * hours for x in distances] for a in scales])
    design = np.concatenate(
        [np.repeat(np.eye(2), 3, axis=0), -np.tile(distances, 2)[:, None]], axis=1
    )  # of log A_bid, log A_ask, k
    at = np.array([*np.log(counts[:, 0] / hours), 1.0])
    for _ in range(50):
        mean = np.exp(design @ at) * hours
        information = (design * mean[:, None]).T @ design
        at = at + np.linalg.solve(information, design.T @ (counts.ravel() - mean))
    covariance = np.linalg.inv(information)
    sigma = math.sqrt(np.mean(rng.normal(size=moves) ** 2)) * volatility
    spread = np.zeros((4, 4))
    spread[:3, :3] = covariance * np.outer(*[np.array([*np.exp(at[:2]), 1.0])] * 2)
    spread[3, 3] = sigma**2 / (2 * moves)
    names = ("bid_demand.scale", "ask_demand.scale", "demand.decay", "volatility")
    return dealer(0.1, sigma, tuple(np.exp(at[:2])), at[2]), Inputs(names, spread)


def covered(target, repetitions, market=None):
    """How many 95% intervals hold the risk aversion that the true market asks for; and pulls."""
    market = {"scales": SCALES, "volatility": SIGMA} | (market or {})
    truth = risk_aversion_for_budget(dealer(**market), method=METHOD, **target).estimate
    hits, pulls = 0, []
    for seed in range(repetitions):
        problem, inputs = measured(np.random.default_rng((17, seed)), **market)
        found = risk_aversion_for_budget(problem, inputs=inputs, method=METHOD, frontier_points=0, **target)
        low, high = found.interval()
        hits += low < truth < high
        pulls.append(math.log(found.estimate / truth) * found.estimate / found.standard_error)
    return hits, np.array(pulls)


def test_a_few_intervals_hold_the_truth():
    hits, pulls = covered({"deviation": 3.0}, 6)
    assert stats.binom.cdf(hits, 6, 0.95) > 1e-4
    assert abs(pulls.mean()) * math.sqrt(6) < 4.5
    assert pulls.std() > 0.3


STUDIES = {
    "deviation": ({"deviation": 3.0}, {}),
    "limit": ({"limit_probability": 0.2}, {}),
    "loss": ({"loss_probability": 0.02}, {"scales": (10.0, 8.0), "volatility": 2.5}),
}


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_95_percent_intervals_cover_between_92_and_98_percent_of_500_replications(study):
    target, market = STUDIES[study]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakIdentification)  # an unlucky draw may say so; its interval counts
        hits, pulls = covered(target, 500, market)
    print(f"{study}: {hits / 5:.1f}% of 500 intervals; pulls {pulls.mean():+.2f} +- {pulls.std():.2f}")
    assert 0.92 <= hits / 500 <= 0.98


@pytest.mark.slow
def test_the_chain_on_a_grid_agrees_with_the_equilibrium_where_the_stock_moves():
    solution = ts.solve(stock_dealer())
    mean = float(solution.expected_wealth(0.0))
    variance = 2 * (mean - float(solution.value(0.0))) / 4.0
    gaps = []
    for per_lot in (8, 16):
        with jax.enable_x64(True):
            _, h, v = (np.asarray(x) for x in _moments_of(solution.policy, Grid(per_lot, 4 * per_lot)))
        gaps.append((abs(h[4 * per_lot] / mean - 1), abs(v[4 * per_lot] / variance - 1)))
    assert max(gaps[1]) < 1e-3
    assert gaps[1][0] < gaps[0][0] / 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "method", "initial"),
    [
        ({"forced_reduction": MODELS.ForcedReduction(800.0, 0.02), "max_stock": 2.0}, None, {"stock": 1.0}),
        (
            {"borrowing_rate": 0.6},
            ts.hjb.FiniteDifference(nodes_per_lot=4, steps=64, extrapolate=False),
            {"stock": 1.0, "cash": -2.0},
        ),
    ],
    ids=["forced trades", "cash"],
)
def test_a_budget_of_deviation_counts_all_that_moves_wealth(changes, method, initial):
    problem = stock_dealer(objective=MODELS.MeanQuadraticVariation, volatility=0.7, **changes)
    at = ts.solve(problem, method)
    target = 0.9 * math.sqrt(at.variance_of_wealth(0.0, **initial))
    found = risk_aversion_for_budget(problem, deviation=target, initial=initial, method=method, frontier_points=0)
    spent = stock_dealer(found.estimate, MODELS.MeanQuadraticVariation, volatility=0.7, **changes)
    wealth = ts.simulate(spent, ts.solve(spent, method).policy, paths=PATHS, seed=7, initial=initial).wealth
    squares = (wealth - wealth.mean()) ** 2
    error = squares.std() / math.sqrt(PATHS) / (2 * wealth.std())
    agree(wealth.std(), target, error, samples=PATHS)


def test_what_the_chain_of_inventories_cannot_follow_is_refused():
    for changes, name in (
        ({"borrowing_rate": 0.5}, "borrowing_rate"),
        ({"forced_reduction": MODELS.ForcedReduction(500.0, 0.01)}, "forced_reduction"),
    ):
        with pytest.raises(ValueError, match=f"limit_probability follows the inventory alone, without {name}"):
            risk_aversion_for_budget(stock_dealer(**changes), limit_probability=0.2)


@pytest.mark.slow
def test_a_budget_of_loss_is_spent_where_it_has_to_be_simulated():
    found = risk_aversion_for_budget(stock_dealer(), loss_probability=0.018, loss=-0.3, paths=50_000)
    policy = ts.solve(found.problem).policy
    run = ts.simulate(found.problem, policy, 50_000, seed=99)  # other draws
    share = float(np.mean(run.wealth < 0.3))
    agree(share, 0.018, math.sqrt(2 * 0.018 * 0.982 / 50_000), samples=50_000)
    assert found.standard_error > 0
