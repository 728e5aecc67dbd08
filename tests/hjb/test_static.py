"""The best static pair: against one account where the cash matters in name only, and against brute force."""

import numpy as np
import pytest

import twosided as ts
from twosided.hjb.static import StaticQuotes, _polished, best_static_quotes

MODELS = ts.models
UNITS = np.array([[1 / 60], [1 / 55]])  # reciprocal hazards: distances are compared in these
SLOW = MODELS.Exponential(120.0, 55.0)
FINE = ts.hjb.FiniteDifference(nodes_per_lot=4, steps=100, extrapolate=False, tolerance=1e-9)


def dealer(**changes):
    settings = {
        "growth": 0.15,
        "volatility": 0.45,
        "rate": 0.03,
        "horizon": 5 / 244,
        "bid_demand": MODELS.Exponential(3660.0, 60.0),
        "ask_demand": MODELS.Exponential(2500.0, 55.0),
        "lot": 1.0,
        "max_stock": 4.0,
        "objective": MODELS.RunningPenalty(0.0),  # plays no part
    }
    return MODELS.StockCashDealer(**(settings | changes))


def distances(quotes):
    """(2, n) of n policies."""
    return np.array([[float(pair.bid), float(pair.ask)] for pair in quotes]).T


def moments(problem, pairs, start):
    """Mean and variance, (2, n), of pairs (2, n) on a fine grid."""
    found = []
    for pair in pairs.T:
        judged = ts.hjb.evaluate(problem, StaticQuotes(problem, *pair), FINE)
        assert judged.converged
        found.append([float(of(**start)) for of in (judged.expected_wealth, judged.variance_of_wealth)])
    return np.array(found).T


def hill(pairs):
    """A mean with its top at (2, 1) units, far from a paraboloid and unknown from a bid of 5 on; no variance."""
    bid, ask = pairs / UNITS
    mean = -np.log(np.cosh(bid - 2)) - 0.5 * (ask - 1) ** 2 + 0.2 * (bid - 2) * (ask - 1)
    known = bid < 5
    return np.where(known, np.stack([mean, np.zeros_like(mean)]), np.nan)


def test_newtons_steps_climb_from_afar_to_the_top_and_never_down():
    starts = np.array([[0.5, 3.5, 2.0, 4.99], [0.0, 2.0, 1.0, 1.0]]) * UNITS
    found = _polished(hill, np.ones(4), starts, UNITS)
    np.testing.assert_allclose(found[:, :3] / UNITS, np.array([[2.0], [1.0]]) * np.ones(3), atol=1e-3)
    assert np.all(hill(found)[0] >= hill(starts)[0])


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"borrowing_rate": 0.03 + 1e-9}, {"credit_line": 50.0}], ids=["rate", "credit"])
def test_where_cash_matters_in_name_only_the_pair_is_that_of_one_account(change):
    """Both searches polish on the same nodes of stock, to a thousandth of a reciprocal hazard."""
    aversions, start = [0.5, 3.0, 12.0, 300.0], {"stock": 1.0}
    alone = distances(best_static_quotes(dealer(), aversions, start))
    both = distances(best_static_quotes(dealer(**change), aversions, start))
    np.testing.assert_allclose(both / UNITS, alone / UNITS, rtol=0, atol=1e-3)
    assert np.isnan(both[:, -1]).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "start", "aversions"),
    [
        ({"borrowing_rate": 0.25}, {}, (0.3, 3.0, 30.0)),
        ({"borrowing_rate": 0.25, "credit_line": 2.0}, {"stock": 1.0, "cash": -1.5}, (0.3, 3.0, 10.0, 30.0)),
        ({"borrowing_rate": 0.6, "credit_line": 3.0}, {"stock": 3.0, "cash": -2.5}, (3.0, 30.0, 100.0)),
        (
            {"borrowing_rate": 0.6, "bid_demand": MODELS.Exponential(60.0, 60.0), "ask_demand": SLOW},
            {"stock": 3.0, "cash": -2.5},
            (0.3, 3.0, 30.0),
        ),
    ],
    ids=["dear", "credit", "long", "one-sided"],
)
def test_no_pair_of_a_scan_beats_the_best_where_cash_matters(changes, start, aversions):
    """By a fine grid no other pair is worth 5e-4 money more, what the rough grid costs; the dealer earns about 0.6."""
    problem = dealer(**changes)
    best = distances(best_static_quotes(problem, aversions, start))
    side = np.append(np.linspace(-0.4, 3.2, 13), np.nan)
    scan = np.stack([axis.ravel() for axis in np.meshgrid(side, side, indexing="ij")])
    near = 0.1 * np.array([(1, 0), (-1, 0), (0, 1), (0, -1)]).T[:, :, None] + (best / UNITS)[:, None]
    mean, variance = moments(problem, np.hstack([best, np.hstack([scan, near.reshape(2, -1)]) * UNITS]), start)
    for number, aversion in enumerate(aversions):
        values = mean - 0.5 * aversion * variance
        assert values[number] >= values.max() - 5e-4, (aversion, best[:, number])
    if problem.ask_demand is SLOW:
        assert np.isnan(best[0, -1])
        assert np.isfinite(best[1, -1])
