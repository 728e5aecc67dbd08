"""The error estimate against the true error, over many problems drawn at random whose answers are known.

Two promises: it covers the error in at least 95 % of the entries, and its median is at most five times the error's.
An entry is the value at time 0 of one problem at one lot within its limit.
"""

import functools

import numpy as np
import pytest

import twosided as ts

from ..references import DriftingStock, LinearLattice

MODELS, METHODS = ts.models, ts.hjb
LIMIT, CASES = 6, 24


def between(random, low, high):
    """Evenly drawn in the logarithm."""
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


@functools.cache
def lots_dealers():
    """Dealers in lots whose equation linearises, from idle to busy and from calm to averse."""
    random = np.random.default_rng(1)
    drawn = functools.partial(between, random)

    def dealer():
        decay = drawn(0.5, 5)
        return MODELS.InventoryDealer(
            volatility=drawn(0.1, 1),
            horizon=drawn(0.5, 20),
            bid_demand=MODELS.Exponential(drawn(0.3, 3), decay),
            ask_demand=MODELS.Exponential(drawn(0.3, 3), decay),
            lot=drawn(0.5, 2),
            max_inventory=LIMIT,
            objective=MODELS.ExponentialUtility(drawn(0.02, 1)),
            drift=random.uniform(-0.1, 0.1),
            adverse_selection=random.uniform(0, 0.2),
        )

    return [dealer() for _ in range(CASES)]


def answer(problem):
    """`theta(0, q)` of a linear problem at thirty digits."""
    gamma, sigma, lot = (float(x) for x in (problem.objective.risk_aversion, problem.volatility, problem.lot))
    return LinearLattice(
        horizon=float(problem.horizon),
        bid_scale=float(problem.bid_demand.scale),
        ask_scale=float(problem.ask_demand.scale),
        decay=float(problem.bid_demand.decay),
        limit=LIMIT,
        cost=lambda q: 0.5 * gamma * (sigma * lot * q) ** 2,
        xi=gamma,
        lot=lot,
        drift=float(problem.drift),
        adverse=float(problem.adverse_selection),
    ).answer(30)[0]


def entries(solution, truth, lots):
    """Estimates and true errors of the value above the marked book, at time 0 and whole lots."""
    tables = solution.tables
    at = np.searchsorted(tables.y, lots - 1e-9)
    np.testing.assert_allclose(tables.y[at], lots, atol=1e-9)
    return np.broadcast_to(tables.error, tables.value.shape)[-1][at], np.abs(tables.value[-1][at] - truth)


def on_lots(solutions):
    lots = np.arange(-LIMIT, LIMIT + 1.0)
    return [entries(s, answer(s.problem), lots) for s in solutions]


def linear():
    return on_lots([ts.solve(problem) for problem in lots_dealers()])


def integrated():
    return on_lots([ts.solve(problem, METHODS.Lattice(exact=False, tolerance=1e-8)) for problem in lots_dealers()])


def integrated_together():
    return on_lots(ts.solve_many(lots_dealers(), METHODS.Lattice(exact=False, tolerance=1e-8)))


def stepped():
    return on_lots(ts.solve_many(lots_dealers(), METHODS.FiniteDifference(steps=40)))


COARSE = METHODS.FiniteDifference(nodes_per_lot=8, steps=80, half_width=10)
STOCK_LIMIT = 8.0


def stock_dealer(settings, risk_aversion, bid, ask):
    growth, volatility, rate, horizon = settings
    return MODELS.StockCashDealer(
        growth=growth,
        volatility=volatility,
        rate=rate,
        horizon=horizon,
        bid_demand=MODELS.Exponential(*bid),
        ask_demand=MODELS.Exponential(*ask),
        lot=1.0,
        max_stock=STOCK_LIMIT,
        objective=MODELS.MeanVariance(risk_aversion),
    )


def without_fills():
    random = np.random.default_rng(2)
    lots = np.array([y for y in np.arange(-STOCK_LIMIT, STOCK_LIMIT + 1) if y])  # at zero nothing is left to err
    problems, truths = [], []
    for _ in range(CASES):
        growth, rate = random.uniform(-0.5, 0.5), random.uniform(-0.02, 0.1)
        volatility, horizon, aversion = (between(random, *r) for r in ((0.15, 0.8), (0.05, 1.0), (0.05, 1.0)))
        problems.append(stock_dealer((growth, volatility, rate, horizon), aversion, (0.0, 60.0), (0.0, 60.0)))
        variance = np.exp(2 * growth * horizon) * np.expm1(volatility**2 * horizon)
        mean = np.exp(growth * horizon) - np.exp(rate * horizon)
        truths.append(mean * lots - 0.5 * aversion * variance * lots**2)
    return [entries(s, t, lots) for s, t in zip(ts.solve_many(problems, COARSE), truths, strict=True)]


def drifting():
    """The truth by another scheme at five and ten times the nodes, extrapolated: its own error is far smaller."""
    random = np.random.default_rng(3)
    lots = np.arange(-4, 5.0)  # beside the limit the reference is no better than the solver
    problems, truths = [], []
    for _ in range(CASES):
        growth, rate = random.uniform(-0.4, 0.4), random.uniform(0, 0.08)
        volatility, days, aversion = (between(random, *r) for r in ((0.2, 0.6), (3, 20), (2, 10)))
        bid, ask = ((244 * between(random, 5, 15), between(random, 50, 90)) for _ in range(2))
        settings = growth, volatility, rate, days / 244
        problems.append(stock_dealer(settings, aversion, bid, ask))
        reference = DriftingStock(*settings, bid, ask, STOCK_LIMIT, aversion, reach=10)
        coarse, fine = (reference.answer(n)[1][6 * n : -6 * n : n] for n in (20, 40))
        truths.append((4 * fine - coarse) / 3)
    return [entries(s, t, lots) for s, t in zip(ts.solve_many(problems, COARSE), truths, strict=True)]


@functools.cache
def sample(family):
    """All estimates and all errors of a family; what they say is printed, for `pytest -s`."""
    estimate, error = (np.concatenate(part) for part in zip(*family(), strict=True))
    covered, ratio = np.mean(error <= estimate), np.median(estimate) / np.median(error)
    print(
        f"\n{family.__name__}: {error.size} entries, {covered:.1%} covered, median estimate {ratio:.2f} x the error's"
    )
    return estimate, error


FAMILIES = (linear, integrated, integrated_together, stepped, without_fills)
SLOW = (linear, integrated, integrated_together, without_fills)
families = pytest.mark.parametrize(
    "family",
    [pytest.param(f, marks=[pytest.mark.slow] * (f in SLOW), id=f.__name__.replace("_", " ")) for f in FAMILIES],
)


@families
def test_the_estimate_covers_the_error(family):
    estimate, error = sample(family)
    assert np.mean(error <= estimate) >= 0.95


@families
def test_the_estimate_does_not_exaggerate(family):
    estimate, error = sample(family)
    assert np.median(estimate) <= 5 * np.median(error)


@pytest.mark.slow
def test_where_a_limit_binds_the_estimate_of_a_coarse_grid_covers_the_error():
    """Its median is more than the five times of the other families: beside a limit eight nodes a lot tell little."""
    estimate, error = sample(drifting)
    assert np.mean(error <= estimate) >= 0.95
