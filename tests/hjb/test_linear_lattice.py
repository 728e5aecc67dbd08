"""The lattice where the equation linearises, against a matrix exponential at 50 digits."""

import mpmath
import numpy as np
import pytest

import twosided as ts

from ..references import LinearLattice

UTILITY, PENALTY = ts.models.ExponentialUtility, ts.models.RunningPenalty


def inventory_dealer(reference: LinearLattice, volatility: float, objective) -> ts.models.InventoryDealer:
    """The problem that `reference` answers."""
    return ts.models.InventoryDealer(
        volatility=volatility,
        horizon=reference.horizon,
        bid_demand=ts.models.Exponential(reference.bid_scale, reference.decay),
        ask_demand=ts.models.Exponential(reference.ask_scale, reference.decay),
        lot=reference.lot,
        max_inventory=reference.limit,
        objective=objective,
        drift=reference.drift,
        adverse_selection=reference.adverse,
    )


def under_utility(gamma, volatility, *, lot=1.0, **settings):
    reference = LinearLattice(cost=lambda q: 0.5 * gamma * (volatility * lot * q) ** 2, xi=gamma, lot=lot, **settings)
    return reference, inventory_dealer(reference, volatility, UTILITY(gamma))


def under_penalty(running, terminal, **settings):
    reference = LinearLattice(cost=lambda q: running * q**2, terminal=lambda q: terminal * q**2, **settings)
    return reference, inventory_dealer(reference, 0.7, PENALTY(running, terminal))


MARKET = {"bid_scale": 0.9, "ask_scale": 0.5, "decay": 0.3}
CASES = {
    "plain": under_utility(0.01, 0.3, horizon=600.0, limit=30, **MARKET),
    "short": under_utility(0.01, 0.3, horizon=1e-3, limit=30, **MARKET),
    "long": under_utility(0.01, 0.3, horizon=2e4, limit=10, **MARKET),
    "with drift": under_utility(0.01, 0.3, horizon=60.0, limit=30, drift=-0.02, **MARKET),
    "big lots": under_utility(0.002, 0.3, horizon=60.0, limit=12, lot=7.0, adverse=0.4, **MARKET),
    "averse": under_utility(2.0, 0.3, horizon=60.0, limit=12, **MARKET),
    "penalised": under_penalty(1e-3, 0.05, horizon=60.0, limit=30, drift=0.01, adverse=0.2, **MARKET),
    "steep end": under_penalty(1e-5, 1.0, horizon=60.0, limit=30, **{**MARKET, "decay": 20.0}),
    "one-sided": under_penalty(1e-3, 0.01, horizon=30.0, limit=12, bid_scale=0.9, ask_scale=0.0, decay=0.3),
    "no demand": under_penalty(1e-3, 0.01, horizon=30.0, limit=12, bid_scale=0.0, ask_scale=0.0, decay=0.3),
}


LONGER = {"long", "averse", "steep end"}  # in the reference


@pytest.mark.parametrize("name", [pytest.param(c, marks=[pytest.mark.slow] * (c in LONGER)) for c in CASES])
def test_value_and_quotes_agree_with_the_matrix_exponential_at_fifty_digits(name):
    reference, problem = CASES[name]
    value, bid, ask = reference.answer()
    solution = ts.solve(problem)
    lots = np.arange(-reference.limit, reference.limit + 1.0)
    assert solution.converged
    assert solution.stats["linear"]
    found = solution.quotes(0.0, inventory=lots)
    np.testing.assert_allclose(solution.value(0.0, inventory=lots), value, rtol=1e-12, atol=1e-12 / reference.decay)
    np.testing.assert_allclose(found.bid, bid, rtol=0, atol=1e-11 / reference.decay)
    np.testing.assert_allclose(found.ask, ask, rtol=0, atol=1e-11 / reference.decay)


def test_the_reference_is_the_matrix_exponential():
    """The series in `references` against mpmath's own `expm`, on a lattice that this can manage."""
    gamma, sigma, k, scale, horizon = 0.2, 0.5, 1.5, (0.9, 0.5), 4.0
    with mpmath.workdps(50):
        ratio = mpmath.mpf(gamma) / k
        eta = (1 + ratio) ** (-(1 + 1 / ratio))
        matrix = mpmath.zeros(7)
        for i in range(7):
            matrix[i, i] = -mpmath.mpf(k) * (gamma * sigma**2 * (i - 3) ** 2 / 2)
            if i:
                matrix[i - 1, i], matrix[i, i - 1] = eta * scale[0], eta * scale[1]
        u = mpmath.expm(matrix * horizon) * mpmath.ones(7, 1)
        expected = [float(mpmath.log(x) / k) for x in u]
    value, _, _ = LinearLattice(horizon, *scale, k, 3, cost=lambda q: 0.5 * gamma * (sigma * q) ** 2, xi=gamma).answer()
    np.testing.assert_allclose(value, expected, rtol=1e-15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        under_utility(0.002, 0.3, horizon=20.0, limit=400, **MARKET),
        under_penalty(1e-4, 0.02, horizon=20.0, limit=400, drift=0.01, **MARKET),
    ],
    ids=["utility", "penalty"],
)
def test_the_tails_of_four_hundred_lots_are_exact(reference, problem):
    value, bid, ask = reference.answer(30)
    solution = ts.solve(problem, ts.hjb.Lattice(times=64))
    assert np.all(np.isfinite(solution.tables.value))
    lots = np.arange(-400, 401.0)
    found = solution.quotes(0.0, inventory=lots)
    np.testing.assert_allclose(solution.value(0.0, inventory=lots), value, rtol=1e-12, atol=1e-12 / reference.decay)
    np.testing.assert_allclose(found.bid, bid, rtol=0, atol=1e-11 / reference.decay)
    np.testing.assert_allclose(found.ask, ask, rtol=0, atol=1e-11 / reference.decay)


@pytest.mark.parametrize("horizon", [1e-2, *(pytest.param(long, marks=pytest.mark.slow) for long in (600.0, 1e5))])
def test_every_quote_at_four_hundred_lots_is_finite(horizon):
    _, problem = under_utility(0.01, 0.3, horizon=horizon, limit=400, **MARKET)
    solution = ts.solve(problem, ts.hjb.Lattice(times=16))
    quotes = solution.quotes(np.linspace(0, horizon, 5)[:, None], inventory=np.arange(-400, 401.0)[None])
    assert solution.converged
    assert np.all(np.isfinite(quotes.bid[:, :-1]))
    assert np.all(np.isfinite(quotes.ask[:, 1:]))
    assert np.all(np.diff(quotes.bid[0, :-1]) > 0)
