"""Demand curves: what is refused, that they fall, and that the best distance is the best one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import twosided as ts

DISTANCE = np.array([-0.5, 0.0, 0.4, 1.0, 1.7, 3.0])
RATE = 2.0 / (0.3 + np.exp(1.1 * DISTANCE))  # 1/rate is convex, as Tabulated wants it

DEMANDS = {
    "exponential": ts.models.Exponential(scale=1.4, decay=1.3),
    "linear": ts.models.Linear(scale=1.4, slope=0.35),
    "logistic": ts.models.Logistic(scale=2.5, alpha=-0.7, beta=1.6),
    "power law": ts.models.PowerLaw(scale=1.4, exponent=2.5, width=1.2),
    "tabulated": ts.models.Tabulated(distance=DISTANCE, intensity=RATE),
}
EVERY_DEMAND = pytest.mark.parametrize("demand", DEMANDS.values(), ids=DEMANDS.keys())
CHOKE = 1.4 / 0.35  # where the linear demand ends


def gain(x, price, xi):
    """What a fill at distance `x` is worth when its reservation value is `price`."""
    return x - price if xi == 0 else -np.expm1(-xi * (x - price)) / xi


def best_by_search(demand, price, xi):
    """The most a fill can be worth, and where: look at many distances, then ever closer around the best of them."""
    x = np.linspace(price, price + 30.0, 3001)
    for _ in range(4):
        worth = demand.intensity(x) * gain(x, price, xi)
        best = np.argmax(worth)
        x, found = np.linspace(x[max(best - 1, 0)], x[min(best + 1, 3000)], 3001), (x[best], worth[best])
    return found


@EVERY_DEMAND
def test_the_optimal_distance_maximises_what_a_fill_is_worth(demand):
    xi, price = np.meshgrid([0.0, 1e-9, 0.3, 4.0], [-3.0, -0.4, 0.0, 0.9, 2.5])
    distance, most = np.vectorize(lambda p, a: best_by_search(demand, p, a))(price, xi)
    np.testing.assert_allclose(demand.hamiltonian(price, xi), most, rtol=1e-13)
    np.testing.assert_allclose(demand.optimal_distance(price, xi), distance, atol=1e-6)  # flat at the top


@given(
    scale=st.floats(0.01, 1e4),
    decay=st.floats(0.05, 200.0),
    xi=st.floats(1e-6, 50.0),
    price=st.floats(-2.0, 2.0),
)
def test_exponential_demand_has_the_closed_forms_of_the_literature(scale, decay, xi, price):
    """`x* = p + ln(1 + xi/k)/xi`, `H = (A/k) (1 + xi/k)^{-(1 + k/xi)} e^{-k p}` (Gueant 2017)."""
    demand = ts.models.Exponential(scale, decay)
    assert float(demand.optimal_distance(price, xi)) == pytest.approx(price + np.log1p(xi / decay) / xi, rel=1e-12)
    damping = np.exp(-(1 + decay / xi) * np.log1p(xi / decay))
    assert float(demand.hamiltonian(price, xi)) == pytest.approx(
        scale / decay * damping * np.exp(-decay * price), rel=1e-10
    )


def test_exponential_demand_without_risk_aversion_quotes_one_decay_length():
    demand = ts.models.Exponential(3.0, 2.0)
    np.testing.assert_allclose(demand.optimal_distance(np.array([-1.0, 0.25]), 0.0), [-0.5, 0.75], rtol=1e-15)
    np.testing.assert_allclose(demand.hamiltonian(0.25, 0.0), 1.5 * np.exp(-1.5), rtol=1e-14)


def test_linear_demand_quotes_half_way_to_the_choke_price():
    demand = DEMANDS["linear"]
    np.testing.assert_allclose(demand.optimal_distance(np.array([-1.0, 2.0]), 0.0), [1.5, 3.0], rtol=1e-14)
    np.testing.assert_allclose(demand.hamiltonian(2.0, 0.0), 0.35, rtol=1e-14)


def test_power_law_without_risk_aversion_has_a_markup():
    """`x* = (n p + w)/(n - 1)` where that is not negative."""
    demand = DEMANDS["power law"]
    np.testing.assert_allclose(demand.optimal_distance(np.array([0.0, 2.0]), 0.0), [0.8, 6.2 / 1.5], rtol=1e-13)


def test_beyond_the_choke_price_nothing_is_quoted_and_nothing_earned():
    demand = DEMANDS["linear"]
    quotes = demand.optimal_distance(np.array([CHOKE - 1e-6, CHOKE, CHOKE + 1e-6, CHOKE + 5]), 0.2)
    np.testing.assert_array_equal(np.isnan(quotes), [False, True, True, True])
    np.testing.assert_array_equal(demand.hamiltonian(np.array([CHOKE, CHOKE + 5]), 0.2), [0.0, 0.0])


@EVERY_DEMAND
@given(x=st.floats(-6.0, 6.0), step=st.floats(1e-3, 3.0))
def test_fills_fall_with_the_distance(demand, x, step):
    near, far = demand.intensity(np.array([x, x + step]))
    assert far < near or near == 0.0


@EVERY_DEMAND
@given(x=st.floats(-4.0, 3.9))
def test_the_reciprocal_hazard_is_that_of_the_intensity(demand, x):
    h = 1e-5
    below, here, above = demand.intensity(np.array([x - h, x, x + h]))
    assert float(demand.reciprocal_hazard(x)) == pytest.approx(here * 2 * h / (below - above), rel=2e-5)


@EVERY_DEMAND
@given(x=st.floats(-4.0, 3.0), step=st.floats(1e-2, 0.9))
def test_every_demand_leaves_one_best_distance(demand, x, step):
    """The reciprocal hazard's slope stays below one, which makes the maximiser unique."""
    near, far = demand.reciprocal_hazard(np.array([x, x + step]))
    assert far - near < step


@EVERY_DEMAND
def test_derivatives_agree_with_differences_and_the_envelope_theorem(demand):
    price, xi, h = np.array([-1.2, 0.37, 0.37, 1.9]), np.array([0.3, 0.0, 1e-9, 4.0]), 1e-4
    with jax.enable_x64(True):
        both = jax.jit(lambda p, a: jnp.stack([demand.hamiltonian(p, a), demand.optimal_distance(p, a)]))
        slope, move = jax.jvp(lambda p: both(p, jnp.asarray(xi)), (jnp.asarray(price),), (jnp.ones(4),))[1]
    below, x, above = demand.optimal_distance(np.stack([price - h, price, price + h]), np.stack([xi, xi, xi]))
    envelope = -demand.intensity(x) * np.exp(-xi * (x - price))  # only the price's own effect is left
    np.testing.assert_allclose(slope, envelope, rtol=1e-12)
    np.testing.assert_allclose(move, (above - below) / (2 * h), rtol=1e-6)


@pytest.mark.parametrize(
    "demand", [pytest.param(d, id=i, marks=[pytest.mark.slow] * (i == "tabulated")) for i, d in DEMANDS.items()]
)
def test_derivatives_by_the_demands_parameters_agree_with_differences(demand):
    leaves, shape = jax.tree.flatten(demand)

    def worth(leaves):
        return jax.tree.unflatten(shape, leaves).hamiltonian(0.37, 0.3)

    with jax.enable_x64(True):
        slopes = jax.grad(lambda leaves: worth(leaves))([jnp.asarray(leaf) for leaf in leaves])
    for i, slope in enumerate(slopes):
        h = 1e-5
        step = np.zeros_like(leaves[i])
        step.flat[0] = h
        up, down = ([*leaves[:i], leaves[i] + s * step, *leaves[i + 1 :]] for s in (1, -1))
        difference = (float(worth(up)) - float(worth(down))) / (2 * h)
        assert float(np.asarray(slope).flat[0]) == pytest.approx(difference, rel=1e-7, abs=1e-9)


def test_a_table_is_met_at_its_points_and_falls_exponentially_beyond():
    demand = DEMANDS["tabulated"]
    np.testing.assert_allclose(demand.intensity(DISTANCE), RATE, rtol=1e-14)
    ends = demand.intensity(np.array([-1.5, -1.0, -0.5, 3.0, 4.0, 5.0]))
    assert ends[0] / ends[1] == pytest.approx(ends[1] / ends[2], rel=1e-12)
    assert ends[4] / ends[3] == pytest.approx(ends[5] / ends[4], rel=1e-12)


@pytest.mark.slow
def test_a_fine_table_approaches_the_curve_it_was_taken_from():
    curve = DEMANDS["logistic"]
    errors = []
    for points in (20, 40, 80):
        x = np.linspace(-1.0, 3.0, points)
        table = ts.models.Tabulated(x, curve.intensity(x))
        prices = np.linspace(-1.5, 1.0, 17)
        errors.append(np.max(np.abs(table.hamiltonian(prices, 0.3) - curve.hamiltonian(prices, 0.3))))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[2] < 1e-4


def test_far_from_the_money_the_best_distance_stays_finite_and_exact():
    """Deep in the tails Newton's method must neither overflow nor stop early."""
    price = np.array([-400.0, -40.0, 40.0, 400.0])
    for name in ("exponential", "logistic", "power law"):
        demand = DEMANDS[name]
        x = demand.optimal_distance(price, 0.3)
        markup = np.log1p(0.3 * demand.reciprocal_hazard(x)) / 0.3
        np.testing.assert_allclose(x, price + markup, rtol=1e-12, err_msg=name)


REFUSED = {
    "negative scale": (lambda: ts.models.Exponential(-1.0, 2.0), "Exponential: scale"),
    "no decay": (lambda: ts.models.Exponential(1.0, 0.0), "Exponential: decay"),
    "nan scale": (lambda: ts.models.Linear(np.nan, 2.0), "Linear: scale"),
    "rising linear": (lambda: ts.models.Linear(1.0, -2.0), "Linear: slope"),
    "rising logistic": (lambda: ts.models.Logistic(1.0, 0.0, -1.0), "Logistic: beta"),
    "endless logistic": (lambda: ts.models.Logistic(1.0, np.inf, 1.0), "Logistic: alpha"),
    "fat power law": (lambda: ts.models.PowerLaw(1.0, 1.0, 1.0), "PowerLaw: exponent"),
    "no width": (lambda: ts.models.PowerLaw(1.0, 2.0, 0.0), "PowerLaw: width"),
    "two points": (lambda: ts.models.Tabulated([0.0, 1.0], [2.0, 1.0]), "at least 3"),
    "unequal lengths": (lambda: ts.models.Tabulated([0.0, 1.0, 2.0], [2.0, 1.0]), "of one length"),
    "unsorted": (lambda: ts.models.Tabulated([0.0, 2.0, 1.0], [3.0, 2.0, 1.0]), "distance must rise"),
    "rising table": (lambda: ts.models.Tabulated([0.0, 1.0, 2.0], [3.0, 1.0, 1.5]), "from 1 to 2"),
    "empty bin": (
        lambda: ts.models.Tabulated([0.0, 1.0, 2.0], [3.0, 1.0, 0.0]),
        "intensity must be positive",
    ),
    "two best quotes": (
        lambda: ts.models.Tabulated([0.0, 1.0, 2.0, 3.0], [3.0, 1.0, 0.9, 0.2]),
        "at distance 1",
    ),
    "nan in table": (
        lambda: ts.models.Tabulated([0.0, np.nan, 2.0], [3.0, 1.0, 0.5]),
        "distance must be finite",
    ),
}


@pytest.mark.parametrize(("build", "culprit"), REFUSED.values(), ids=REFUSED.keys())
def test_inadmissible_demand_is_refused_in_one_line_that_names_the_culprit(build, culprit):
    with pytest.raises(ValueError, match=culprit) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_what_is_no_number_is_refused():
    with pytest.raises(TypeError, match="must be a number"):
        ts.models.Exponential("often", 2.0)
