"""Nodes that crowd beside a limit: where they lie, and what an even grid misses there."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import twosided as ts
from twosided.hjb._crowding import crowded

MODELS = ts.models


def dealer(volatility=0.3, limit=3.0, horizon=5 / 244, scale=20_000.0, lot=1.0, short_limit=None):
    """Fills come so fast that the stock hardly moves between two of them; asymmetric."""
    return MODELS.StockCashDealer(
        growth=0.2,
        volatility=volatility,
        rate=0.03,
        horizon=horizon,
        bid_demand=MODELS.Exponential(scale, 60.0),
        ask_demand=MODELS.Exponential(1.3 * scale, 55.0),
        lot=lot,
        max_stock=limit,
        objective=MODELS.MeanVariance(2.0),
        short_limit=short_limit,
    )


places_of = jax.jit(crowded, static_argnums=(1, 2))


def nodes_of(problem, per_lot=8, half=24):
    with jax.enable_x64(True):
        return np.asarray(places_of(problem, per_lot, half)) / float(problem.size)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.02, 0.8), st.floats(1.0, 9.0), st.floats(1.0, 9.0), st.floats(1.0, 1e6), st.sampled_from([1.0, 700.0])
)
def test_nodes_are_alike_from_lot_to_lot_and_to_both_sides_and_every_other_is_the_coarser_grid(
    volatility, limit, short, scale, lot
):
    problem = dealer(volatility, limit * lot, scale=scale, lot=lot, short_limit=short * lot)
    y = nodes_of(problem)
    assert np.all(np.diff(y) > 0)
    np.testing.assert_allclose(y[8:] - y[:-8], 1.0, atol=1e-12)
    np.testing.assert_allclose(y, -y[::-1], atol=1e-12)
    np.testing.assert_array_equal(y[::8], np.arange(-3, 4))
    np.testing.assert_allclose(nodes_of(problem, 4, 12), y[::2], atol=1e-12)


@pytest.mark.parametrize("limit", [3.0, 2.5, 2.8])
def test_they_crowd_at_the_last_place_from_which_a_fill_is_permitted(limit):
    """Even a coarse grid has cells there as narrow as the layer, and none elsewhere wider than two even ones."""
    y = nodes_of(dealer(limit=limit), 16, 64)
    layer = 0.3 * (limit - 1) / np.sqrt(20_000 / np.e + 26_000 / np.e + 244 / 5)
    gap = np.diff(y)
    inside = (y[:-1] < limit - 1 + 1e-9) & (y[1:] > limit - 1 - 1e-9)
    phases = 1 if limit in (3.0, 2.5) else 2
    assert np.all(gap[inside] < 1.05 * 2 * np.pi * layer * phases / 16)
    assert np.max(gap) < 1.02 * 2 / 16


def test_without_layers_to_speak_of_they_are_even():
    y = nodes_of(dealer(volatility=3.0, horizon=5.0, scale=1.0), 8, 24)
    np.testing.assert_allclose(np.diff(y), 1 / 8, rtol=0.01)


@pytest.mark.slow
def test_nodes_move_with_the_volatility_as_differences_say():
    def places(volatility):
        return crowded(dealer(volatility), 8, 8)

    with jax.enable_x64(True):
        found = jax.jacfwd(places)(0.3)
        np.testing.assert_allclose(found, (places(0.3001) - places(0.2999)) / 2e-4, atol=1e-6)
        np.testing.assert_allclose(jax.jacrev(places)(0.3), found, atol=1e-12)
    assert np.max(np.abs(found)) > 0.01


@pytest.mark.slow
def test_an_even_grid_needs_many_times_the_nodes():
    """In a layer a hundredth of a lot wide, where twenty even nodes to a lot see nothing of it."""
    problem = dealer(volatility=0.2)
    lots = np.arange(-3.0, 4.0)

    def value(**settings):
        method = ts.hjb.FiniteDifference(steps=32, half_width=4, extrapolate=False, **settings)
        return ts.solve(problem, method).value(0.0, stock=lots)

    truth = value(nodes_per_lot=320, crowded=False)
    even, crowd = (np.max(np.abs(value(nodes_per_lot=20, crowded=crowded) - truth)) for crowded in (False, True))
    assert crowd < 0.1 * even
    assert crowd < 1e-3 * np.max(truth)
