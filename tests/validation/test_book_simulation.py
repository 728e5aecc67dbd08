"""A simulated book: against moments known in closed form, against solutions, and against itself."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import twosided as ts
from twosided.validation.simulation import BoundError
from twosided.validation.statistics import agree

M = ts.models
LOT, DRIFT, VOLATILITY, RHO, HORIZON = np.array([1.0, 0.5]), np.array([0.2, -0.1]), np.array([0.8, 0.5]), -0.4, 1.5
SCALE, DECAY = np.array([[2.0, 1.2], [0.6, 0.9]]), np.array([[1.5, 1.5], [0.75, 0.75]])
START = np.array([1.0, -2.0])


class Wave(eqx.Module):
    """Fixed distances, the bids' with a wave in time if wanted."""

    bid: Any
    ask: Any
    wave: Any = 0.0

    def __call__(self, t, state):
        like = jnp.zeros_like(state["inventory"])
        return ts.Quotes(like + self.bid[None] + (self.wave * jnp.sin(20 * t))[:, None], like + self.ask[None])


FIXED = Wave(np.array([0.3, 0.4]), np.array([0.5, 0.2]), np.array(0.0))


def book(objective=None, limit=np.inf):
    bids, asks = ([M.Exponential(SCALE[i, j], DECAY[i, j]) for i in (0, 1)] for j in (0, 1))
    objective = M.RiskPenalty(0.3, 0.05) if objective is None else objective
    return M.MultiAssetDealer(VOLATILITY, HORIZON, bids, asks, LOT, limit, objective, correlation=RHO, drift=DRIFT)


@pytest.fixture(scope="module")
def fixed():
    return ts.simulate(book(), FIXED, 8192, seed=4, initial={"inventory": START}, batch=1024)


def test_fixed_quotes_have_the_moments_of_independent_poisson_fills(fixed):
    rate = SCALE * np.exp(-DECAY * np.stack([FIXED.bid, FIXED.ask], axis=1))
    pull, push = rate[:, 0] - rate[:, 1], rate[:, 0] + rate[:, 1]
    root = np.sqrt(fixed.paths)
    agree(fixed.fills.bid, rate[:, 0] * HORIZON, fixed.bid_fills.std(axis=0) / root, samples=fixed.paths)
    agree(fixed.fills.ask, rate[:, 1] * HORIZON, fixed.ask_fills.std(axis=0) / root, samples=fixed.paths)
    agree(fixed.mean_inventory, START + pull * HORIZON, fixed.std_inventory / root, samples=fixed.paths)
    np.testing.assert_allclose(fixed.mean_spread, FIXED.bid + FIXED.ask, rtol=1e-12)

    earning = np.sum(rate * LOT[:, None] * np.stack([FIXED.bid, FIXED.ask], axis=1)) * HORIZON
    growth = np.sum(DRIFT * LOT * (START * HORIZON + 0.5 * pull * HORIZON**2))
    for sample in (fixed.accrued, fixed.earned, fixed.wealth):
        agree(np.mean(sample), earning + growth, np.std(sample) / root, samples=fixed.paths)
    assert fixed.standard_error < 0.5 * np.std(fixed.earned) / root

    weight = np.array([[1, RHO], [RHO, 1]]) * np.outer(LOT * VOLATILITY, LOT * VOLATILITY)
    mean_of_squares = (
        START @ weight @ START * HORIZON
        + START @ weight @ pull * HORIZON**2
        + pull @ weight @ pull * HORIZON**3 / 3
        + np.sum(np.diag(weight) * push) * HORIZON**2 / 2
    )
    risk = np.std(fixed.price_variance) / root
    agree(np.mean(fixed.price_variance), mean_of_squares, risk, samples=fixed.paths)
    shock = (fixed.wealth - fixed.earned) / np.sqrt(fixed.price_variance)
    agree([np.mean(shock), np.mean(shock**2)], [0, 1], [1 / root, np.sqrt(2) / root], samples=fixed.paths)

    last = np.sum((START + pull * HORIZON) ** 2 + push * HORIZON)
    cost = 0.15 * mean_of_squares + 0.05 * last
    agree(np.mean(fixed.charge), cost, np.std(fixed.charge) / root, samples=fixed.paths)
    agree(fixed.criterion, earning + growth - cost, fixed.criterion_standard_error, samples=fixed.paths)


def test_the_first_paths_of_a_longer_run_are_those_of_a_shorter(fixed):
    short = ts.simulate(book(), FIXED, 1500, seed=4, initial={"inventory": START}, batch=1024)
    for name in ("wealth", "accrued", "inventory", "charge"):
        assert np.array_equal(getattr(short, name), getattr(fixed, name)[:1500])


def test_an_intensity_above_its_bound_is_an_error():
    with pytest.raises(BoundError, match="it changes too fast for 16 windows; give steps=64"):
        ts.simulate(book(), Wave(FIXED.bid, FIXED.ask, np.array(1.5)), 1024, initial={"inventory": START}, batch=1024)


def test_a_simulation_is_the_same_after_a_file(fixed, tmp_path):
    again = ts.Simulation.load(fixed.save(tmp_path / "simulation.nc"))
    assert type(again) is type(fixed)
    assert again.criterion == fixed.criterion
    assert again.table() == fixed.table()
    assert "std of inventory 1" in again.table()


def test_what_a_book_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match="exact fills"):
        ts.simulate(book(), FIXED, 1000, fills="linear", steps=10)
    with pytest.raises(ValueError, match="one number per asset on its last axis, 2 here"):
        ts.simulate(book(), FIXED, 1000, initial={"inventory": [1, 2, 3]})
    with pytest.raises(ValueError, match=r"inventory=-50 lies beyond the limit of \+-\d+ lots of asset 1"):
        ts.simulate(book(limit=4), FIXED, 1000, initial={"inventory": [1, -50]})
    with pytest.raises(ValueError, match="initial: inventory must be a whole number of lots"):
        ts.simulate(book(), FIXED, 1000, initial={"inventory": [0.5, 0]})
    with pytest.raises(TypeError, match="no state 'stock'"):
        ts.simulate(book(), FIXED, 1000, initial={"stock": 1.0})


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [M.RiskPenalty(0.3, 0.05), M.ExponentialUtility(0.3), M.MeanVariance(0.3), M.MeanQuadraticVariation(0.3)],
    ids=lambda o: type(o).__name__,
)
def test_a_solved_book_earns_what_its_solution_says(objective):
    solution = ts.solve(book(objective, limit=4))
    result = ts.simulate(solution.problem, solution.policy, 40_000, seed=7, initial={"inventory": START})
    print(result.table(solution))
    rows = {row.quantity: row for row in result.rows(solution)}
    known = ["mean wealth", "criterion"] + ["variance of wealth"] * isinstance(objective, M.MeanVariance)
    for name in known:
        row = rows[name]
        agree(row.measured, row.predicted, row.standard_error, samples=result.paths)
    assert np.max(np.abs(result.inventory)) <= 4


@pytest.mark.slow
def test_fills_are_the_same_whatever_the_batch():
    solution = ts.solve(book(limit=4))
    small, large = (ts.simulate(solution.problem, solution.policy, 3000, seed=5, batch=batch) for batch in (256, 2048))
    assert np.array_equal(small.inventory, large.inventory)
    assert np.array_equal(small.bid_fills, large.bid_fills)
    np.testing.assert_allclose(small.wealth, large.wealth, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_quotes_of_the_riccati_equation_lose_little_to_the_optimal_ones():
    problem = book(limit=4)
    best, near = ts.solve(problem), ts.solve(problem, ts.hjb.ClosedForm())
    results = [ts.simulate(problem, solution.policy, 40_000, seed=1) for solution in (best, near)]
    assert results[1].criterion < best.value(0.0) + 5.4 * results[1].criterion_standard_error
    assert results[1].criterion > 0.95 * results[0].criterion
