"""What holds of any solution whatever its numbers: shape, symmetry, comparative statics, units.

Three dealers stand for the methods: one whose equation linearises, one that is integrated, one on a grid. Their shapes
never change, so that each is compiled once.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import twosided as ts

MODELS = ts.models
LIMIT = 7
LOTS = np.arange(-LIMIT, LIMIT + 1.0)
INNER = slice(2, -2)  # two lots away from the limits

SCALES = {  # of each number, from and to; days and per-day rates for the stock, any unit of time for the others
    "linear": {
        "volatility": (0.1, 1.0),
        "horizon": (1.0, 20.0),
        "scale": (0.3, 3.0),
        "decay": (0.5, 3.0),
        "risk_aversion": (0.02, 0.5),
        "lot": (0.5, 2.0),
        "drift": (-0.05, 0.05),
    },
    "integrated": {
        "volatility": (0.1, 0.4),
        "horizon": (1.0, 6.0),
        "scale": (0.3, 3.0),
        "decay": (0.7, 2.0),
        "risk_aversion": (0.02, 0.15),
        "lot": (0.7, 1.3),
        "drift": (-0.03, 0.03),
    },
    "gridded": {
        "volatility": (0.2, 0.5),
        "horizon": (3 / 244, 10 / 244),
        "scale": (5 * 244.0, 15 * 244.0),
        "decay": (50.0, 90.0),
        "risk_aversion": (2.0, 6.0),
        "lot": (0.7, 1.3),
        "drift": (-0.2, 0.2),
        "rate": (0.0, 0.06),
    },
}
OBJECTIVES = {
    "linear": MODELS.ExponentialUtility,
    "integrated": MODELS.MeanVariance,
    "gridded": MODELS.MeanQuadraticVariation,
}
METHODS = {
    "linear": ts.hjb.Lattice(times=16),
    "integrated": ts.hjb.Lattice(times=16),
    "gridded": ts.hjb.FiniteDifference(nodes_per_lot=4, steps=40, half_width=LIMIT + 2, extrapolate=False),
}
# Double precision where the answer is exact; elsewhere what an iteration or an integrator was told to leave.
DIGITS = {"linear": 1e-11, "integrated": 1e-8, "gridded": 1e-8}

every_dealer = pytest.mark.parametrize("kind", SCALES)
few = settings(max_examples=12, deadline=None)


def numbers(kind):
    """All numbers of a dealer; scale and decay once for each side, one decay for both where that linearises."""
    drawn = {}
    for name, bounds in SCALES[kind].items():
        for key in [f"bid_{name}", f"ask_{name}"] if name in ("scale", "decay") else [name]:
            drawn[key] = st.floats(*bounds)
    numbers = st.fixed_dictionaries(drawn)
    return numbers.map(lambda p: p | {"ask_decay": p["bid_decay"]}) if kind == "linear" else numbers


def dealer(kind, p):
    common = {
        "volatility": p["volatility"],
        "horizon": p["horizon"],
        "bid_demand": MODELS.Exponential(p["bid_scale"], p["bid_decay"]),
        "ask_demand": MODELS.Exponential(p["ask_scale"], p["ask_decay"]),
        "lot": p["lot"],
        "objective": OBJECTIVES[kind](p["risk_aversion"]),
    }
    if kind == "gridded":
        return MODELS.StockCashDealer(growth=p["drift"], rate=p["rate"], max_stock=LIMIT * p["lot"], **common)
    return MODELS.InventoryDealer(drift=p["drift"], max_inventory=LIMIT, **common)


def solved(kind, p):
    """Value above the marked book, bid and ask at time 0, from -LIMIT to LIMIT lots; nan where nothing is quoted."""
    problem = dealer(kind, p)
    solution = ts.solve(problem, METHODS[kind])
    assert solution.converged
    state = {problem.names[0]: LOTS * float(problem.size)}
    return solution.value(**state) - problem.worth(problem.horizon, **state), *solution.quotes(**state)


def times(p, factor, *names):
    return p | {name: p[name] * factor for name in names}


@every_dealer
@few
@given(data=st.data())
def test_bid_distance_rises_and_ask_distance_falls_with_inventory(kind, data):
    _, bid, ask = solved(kind, data.draw(numbers(kind)))
    assert np.all(np.diff(bid[INNER]) > 0)
    assert np.all(np.diff(ask[INNER]) < 0)


@every_dealer
@few
@given(data=st.data())
def test_the_mirrored_dealer_has_the_mirrored_answer(kind, data):
    """Sides swapped and the drift turned round. A stock has a mirror only where it grows at the risk-free rate, and
    only under quadratic variation: a loss shrinks a long position and swells a short one, which the variance sees.
    """
    p = data.draw(numbers(kind))
    if kind == "gridded":
        p = p | {"drift": p["rate"]}
    turn = 1.0 if kind == "gridded" else -1.0
    mirrored = times(p, turn, "drift") | {
        f"{side}_{name}": p[f"{other}_{name}"]
        for side, other in (("bid", "ask"), ("ask", "bid"))
        for name in ("scale", "decay")
    }
    (value, bid, ask), (other_value, other_bid, other_ask) = solved(kind, p), solved(kind, mirrored)
    np.testing.assert_allclose(other_value, value[::-1], rtol=0, atol=DIGITS[kind] * np.max(np.abs(value)))
    np.testing.assert_allclose(other_bid, ask[::-1], rtol=0, atol=DIGITS[kind] / p["bid_decay"])
    np.testing.assert_allclose(other_ask, bid[::-1], rtol=0, atol=DIGITS[kind] / p["bid_decay"])


@every_dealer
@few
@given(data=st.data(), factor=st.floats(0.2, 5.0))
def test_prices_in_another_unit_scale_the_answer(kind, data, factor):
    """A money of another size: a stock's distances are relative and stay, those in lots are prices and scale."""
    p = data.draw(numbers(kind))
    if kind == "gridded":
        scaled, distance = times(times(p, factor, "lot"), 1 / factor, "risk_aversion"), 1.0
    else:
        scaled = times(times(p, factor, "volatility", "drift"), 1 / factor, "bid_decay", "ask_decay", "risk_aversion")
        distance = factor
    (value, bid, ask), (other_value, *other) = solved(kind, p), solved(kind, scaled)
    np.testing.assert_allclose(other_value, factor * value, rtol=0, atol=DIGITS[kind] * factor * np.max(np.abs(value)))
    np.testing.assert_allclose(other, distance * np.stack([bid, ask]), rtol=0, atol=DIGITS[kind] * distance)


@every_dealer
@few
@given(data=st.data(), factor=st.floats(0.2, 5.0))
def test_another_unit_of_time_changes_nothing(kind, data, factor):
    p = data.draw(numbers(kind))
    rates = ["bid_scale", "ask_scale", "drift"] + (["rate"] if kind == "gridded" else [])
    scaled = times(times(times(p, factor, "horizon"), 1 / factor, *rates), factor**-0.5, "volatility")
    (value, *quotes), (other_value, *other) = solved(kind, p), solved(kind, scaled)
    np.testing.assert_allclose(other_value, value, rtol=0, atol=DIGITS[kind] * np.max(np.abs(value)))
    np.testing.assert_allclose(other, quotes, rtol=0, atol=DIGITS[kind])


@every_dealer
@few
@given(data=st.data(), factor=st.floats(1.1, 2.0))
def test_the_spread_rises_with_volatility(kind, data, factor):
    p = data.draw(numbers(kind))
    spread, wider = (np.add(*solved(kind, case)[1:])[LIMIT] for case in (p, times(p, factor, "volatility")))
    assert wider > spread


@few
@given(
    p=numbers("linear"), bend=st.floats(0.15, 0.6), factor=st.floats(1.1, 2.0), what=st.sampled_from(["scale", "decay"])
)
def test_the_spread_falls_with_more_or_more_sensitive_demand(p, bend, factor, what):
    """Where neither the limit nor the horizon is felt: seven lots are four standard deviations of the inventory,
    `1/sqrt(2 bend)`, and the horizon is five of its times to settle (Gueant, Lehalle and Fernandez-Tapia 2013, 4.6).
    """
    k, gamma = p["bid_decay"] / p["lot"], p["risk_aversion"]
    eta = np.sqrt(p["bid_scale"] * p["ask_scale"]) * (1 + gamma / k) ** (-(1 + k / gamma))
    alpha = eta * bend**2  # k/2 gamma (sigma lot)^2
    p = p | {"volatility": np.sqrt(2 * alpha / (k * gamma)) / p["lot"], "horizon": 5 / np.sqrt(alpha * eta)}
    busier = times(p, factor, f"bid_{what}", f"ask_{what}")
    spread, narrower = (np.add(*solved("linear", case)[1:])[LIMIT] for case in (p, busier))
    assert narrower < spread


@every_dealer
@few
@given(data=st.data(), factor=st.floats(1.1, 2.0))
def test_the_value_does_not_rise_with_risk_aversion(kind, data, factor):
    p = data.draw(numbers(kind))
    value, lower = (solved(kind, case)[0] for case in (p, times(p, factor, "risk_aversion")))
    assert np.all(lower[INNER] <= value[INNER])


@every_dealer
@few
@given(data=st.data(), more=st.floats(0.02, 0.1))
def test_drift_draws_the_bid_closer_and_sends_the_ask_away(kind, data, more):
    p = data.draw(numbers(kind))
    (_, bid, ask), (_, closer, farther) = (solved(kind, case) for case in (p, p | {"drift": p["drift"] + more}))
    assert np.all(closer[INNER] < bid[INNER])
    assert np.all(farther[INNER] > ask[INNER])
