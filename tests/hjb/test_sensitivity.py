"""The gradient of a quote by the adjoint equation, against differences of whole solves."""

import equinox as eqx
import jax
import numpy as np
import pytest

import twosided as ts
from twosided.hjb.sensitivity import quote_gradient

MODELS = ts.models
LOTS = {"volatility": 0.35, "horizon": 2.0, "lot": 1.3, "max_inventory": 3, "drift": 0.03, "adverse_selection": 0.02}


def penalised():
    return MODELS.InventoryDealer(
        **LOTS,
        bid_demand=MODELS.Exponential(1.4, 1.3),
        ask_demand=MODELS.Exponential(0.9, 1.3),
        objective=MODELS.RunningPenalty(0.05, 0.02),
    )


def equilibrium():
    return MODELS.InventoryDealer(
        **LOTS,
        bid_demand=MODELS.Exponential(1.4, 1.3),
        ask_demand=MODELS.Logistic(2.0, 0.3, 1.1),
        objective=MODELS.MeanVariance(0.1),
    )


def accounts():
    return MODELS.StockCashDealer(
        growth=0.1,
        volatility=0.5,
        rate=0.03,
        horizon=5 / 244,
        bid_demand=MODELS.Exponential(3000.0, 60.0),
        ask_demand=MODELS.Exponential(2000.0, 70.0),
        lot=1.0,
        max_stock=3.0,
        objective=MODELS.MeanVariance(6.0),
    )


CASES = {
    "penalised": (penalised, ts.hjb.FiniteDifference(steps=64, extrapolate=False), {"inventory": 1.0}, 2e-4),
    "equilibrium": (equilibrium, ts.hjb.Lattice(times=64), {"inventory": -2.0}, 2e-4),
    "accounts": (
        accounts,
        ts.hjb.FiniteDifference(nodes_per_lot=8, steps=200, extrapolate=False, half_width=4),
        {"stock": 1.3},
        2e-3,
    ),
}


def agrees(name, side):
    build, method, state, tolerance = CASES[name]
    problem = build()
    numbers, rest = eqx.partition(problem, eqx.is_array)
    leaves, tree = jax.tree.flatten(numbers)

    def quote(i, by):
        moved = [np.asarray(x + by) if j == i else x for j, x in enumerate(leaves)]
        return float(
            getattr(ts.solve(eqx.combine(jax.tree.unflatten(tree, moved), rest), method).quotes(**state), side)
        )

    found = jax.tree.leaves(quote_gradient(ts.solve(problem, method), side, **state))
    assert len(found) == len(leaves)
    units = np.array([abs(float(x)) or 1.0 for x in leaves])
    steps = 1e-4 * units
    differences = np.array([(quote(i, h) - quote(i, -h)) / (2 * h) for i, h in enumerate(steps)])
    assert np.max(np.abs(differences * units)) > 1e-3
    np.testing.assert_allclose(
        np.array(found) * units, differences * units, rtol=0, atol=tolerance * np.max(np.abs(differences * units))
    )


def test_every_entry_is_what_a_difference_of_solves_gives():
    agrees("penalised", "ask")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), [("penalised", "bid"), ("equilibrium", "ask"), ("accounts", "ask")])
def test_every_entry_is_what_a_difference_of_solves_gives_in_every_kind_of_equation(name, side):
    agrees(name, side)


def test_a_quote_that_is_not_there_has_no_gradient():
    method = CASES["penalised"][1]
    solution = ts.solve(penalised(), method)
    with pytest.raises(ValueError, match="there is no bid at t=0"):
        quote_gradient(solution, "bid", inventory=3.0)
    with pytest.raises(ValueError, match="side must be 'bid' or 'ask'"):
        quote_gradient(solution, "both")
