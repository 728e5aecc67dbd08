"""Finite differences against other routes to the same numbers, and the monotonicity that they rest on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import twosided as ts
from twosided.hjb._equation import Equation, Grid

from ..references import DriftingStock

MODELS, METHODS = ts.models, ts.hjb


def lots_dealer(objective, bid, ask):
    return MODELS.InventoryDealer(
        volatility=0.35,
        horizon=4.0,
        bid_demand=bid,
        ask_demand=ask,
        lot=1.5,
        max_inventory=5,
        objective=objective,
        drift=0.03,
        adverse_selection=0.05,
    )


UTILITY = lots_dealer(MODELS.ExponentialUtility(0.3), MODELS.Exponential(1.4, 1.3), MODELS.Exponential(0.9, 1.3))
MEAN_VARIANCE = lots_dealer(MODELS.MeanVariance(0.2), MODELS.Exponential(1.4, 1.3), MODELS.Exponential(0.9, 1.9))
LOTS = np.arange(-5, 6.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "problem",
    [pytest.param(UTILITY, id="utility"), pytest.param(MEAN_VARIANCE, id="mean-variance")],
)
def test_two_methods_agree_on_an_inventory_in_lots(problem):
    """One steps implicitly and extrapolates, the other has the matrix exponential or integrates adaptively."""
    stepped = ts.solve(problem, METHODS.FiniteDifference(steps=80))
    exact = ts.solve(problem, METHODS.Lattice(times=80))
    assert stepped.converged
    np.testing.assert_allclose(stepped.value(inventory=LOTS), exact.value(inventory=LOTS), rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        stepped.expected_wealth(inventory=LOTS), exact.expected_wealth(inventory=LOTS), rtol=0, atol=1e-6
    )
    ours, theirs = stepped.quotes(inventory=LOTS), exact.quotes(inventory=LOTS)
    np.testing.assert_allclose(ours.bid[:-1], theirs.bid[:-1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours.ask[1:], theirs.ask[1:], rtol=0, atol=1e-6)
    assert np.isnan(ours.bid[-1])
    assert np.isnan(ours.ask[0])


@pytest.mark.parametrize(
    ("extrapolate", "order"),
    [pytest.param(False, 2.0, id="plain"), pytest.param(True, 4.0, id="extrapolated", marks=pytest.mark.slow)],
)
def test_the_order_in_time_is_the_one_promised(extrapolate, order):
    """Against the exact value of the same problem, so that the error itself is seen to fall."""
    exact = ts.solve(UTILITY).value(inventory=LOTS)
    coarse, fine = (
        np.linalg.norm(
            ts.solve(UTILITY, METHODS.FiniteDifference(steps=n, extrapolate=extrapolate)).value(inventory=LOTS) - exact
        )
        for n in (40, 80)
    )
    assert np.log2(coarse / fine) == pytest.approx(order, abs=0.1)


# A stock that moves by itself ---------------------------------------------------------------------------------------

BID, ASK = (15 * 244.0, 60.0), (10 * 244.0, 75.0)
GROWTH, VOLATILITY, RATE, HORIZON, AVERSION, LIMIT = -0.25, 0.45, 0.04, 10 / 244, 6.0, 8
STOCK = np.arange(-LIMIT, LIMIT + 1.0)


def stock_dealer(objective, **changes):
    settings = {
        "growth": GROWTH,
        "volatility": VOLATILITY,
        "rate": RATE,
        "horizon": HORIZON,
        "bid_demand": MODELS.Exponential(*BID),
        "ask_demand": MODELS.Exponential(*ASK),
        "lot": 1.0,
        "max_stock": float(LIMIT),
        "objective": objective,
    }
    return MODELS.StockCashDealer(**(settings | changes))


def extrapolated(reference, coarse):
    """The reference at stock in whole lots within the limit, by Richardson's rule from two resolutions."""
    edge = reference.reach - LIMIT
    one, two = ([row[edge * n : -edge * n : n] for row in reference.answer(n)[1:]] for n in (coarse, 2 * coarse))
    return [(4 * b - a) / 3 for a, b in zip(one, two, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("equilibrium", [True, False], ids=["mean-variance", "quadratic variation"])
def test_a_drifting_stock_agrees_with_the_method_of_lines(equilibrium):
    """Where the limits are not felt the two agree to their digits; beside them both are of first order.

    What the reference still changes from one resolution to the next is allowed for, five times over.
    """
    settings = {"horizon": HORIZON, "bid": BID, "ask": ASK, "limit": float(LIMIT), "aversion": AVERSION}
    reference = DriftingStock(GROWTH, VOLATILITY, RATE, equilibrium=equilibrium, reach=10, **settings)
    rough, fine = extrapolated(reference, 20), extrapolated(reference, 40)
    objective = (MODELS.MeanVariance if equilibrium else MODELS.MeanQuadraticVariation)(AVERSION)
    solution = ts.solve(stock_dealer(objective), METHODS.FiniteDifference(nodes_per_lot=20, steps=200))
    assert solution.converged
    book = np.exp(RATE * HORIZON) * STOCK
    found = [solution.value(stock=STOCK) - book, solution.expected_wealth(stock=STOCK) - book]
    found += [*solution.quotes(stock=STOCK)]
    for name, ours, theirs, before in zip(["value", "mean", "bid", "ask"], found, fine, rough, strict=True):
        inside = np.abs(STOCK) <= 3
        allowed = 2e-7 + 5 * np.abs(theirs - before)
        assert np.all(np.abs(ours - theirs)[inside] < allowed[inside]), name
        quoted = np.isfinite(ours)
        assert np.sum(~quoted) == (name in ("bid", "ask"))
        np.testing.assert_allclose(ours[quoted], theirs[quoted], rtol=0, atol=1e-4, err_msg=name)


# The generator of a time step ---------------------------------------------------------------------------------------

GRID = Grid(per_lot=4, half=24)
OBJECTIVES = {
    "mean-variance": MODELS.MeanVariance,
    "quadratic variation": MODELS.MeanQuadraticVariation,
    "running penalty": MODELS.RunningPenalty,
}
numbers = st.floats


@jax.jit
def generator(problem, tau, u):
    """How the value's rate of change answers to the value at each node, `G`; the matrix of a step is `1 - g G`."""
    moment = Equation(problem, GRID).at(tau)
    return jax.jacfwd(lambda theta: moment(jnp.stack([theta, u[1]])).rate[0])(u[0])


@pytest.mark.parametrize("objective", OBJECTIVES)
@settings(max_examples=25, deadline=None)
@given(
    growth=numbers(-2, 2),
    volatility=numbers(0.0, 0.8),
    rate=numbers(-0.1, 0.1),
    limit=numbers(1.0, 6.0),
    decays=st.tuples(numbers(5, 90), numbers(5, 90)),
    strength=numbers(0.0, 1.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_step_has_an_m_matrix_whatever_the_numbers(
    objective, growth, volatility, rate, limit, decays, strength, seed
):
    """No negative weight off the diagonal and rows that sum to zero: then `1 - g` times it has a positive inverse for
    any `g > 0`, and more value anywhere later is never less value anywhere now. Wild values around a concave profile;
    central differences alone fail where growth outweighs volatility.
    """
    problem = stock_dealer(
        OBJECTIVES[objective](strength),
        growth=growth,
        volatility=volatility,
        rate=rate,
        max_stock=limit,
        bid_demand=MODELS.Exponential(*BID[:1], decays[0]),
        ask_demand=MODELS.Exponential(*ASK[:1], decays[1]),
    )
    random = np.random.default_rng(seed)
    u = 0.2 * random.standard_normal((2, GRID.count)) - np.linspace(-0.5, 0.5, GRID.count) ** 2
    with jax.enable_x64(True):
        weights = np.asarray(generator(problem, np.asarray(0.05), u))
    scale = np.max(np.abs(weights))
    off_diagonal = weights - np.diag(np.diag(weights))
    assert np.min(off_diagonal) >= -1e-13 * scale
    np.testing.assert_allclose(weights.sum(axis=1), 0.0, atol=1e-12 * scale)
