"""Double precision whatever the caller's setting, no second compilation, derivatives, and batches."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import twosided as ts

MODELS = ts.models


def linear_dealer(volatility: Any = 0.35, decay=1.3, risk_aversion=0.3, **changes):
    settings = {"horizon": 2.0, "lot": 1.0, "max_inventory": 3, "drift": 0.03}
    return MODELS.InventoryDealer(
        volatility=volatility,
        bid_demand=MODELS.Exponential(1.4, decay),
        ask_demand=MODELS.Exponential(0.9, decay),
        objective=MODELS.ExponentialUtility(risk_aversion),
        **(settings | changes),
    )


def general_dealer(volatility=0.35, decay=1.3, risk_aversion=0.1):
    return MODELS.InventoryDealer(
        volatility=volatility,
        horizon=2.0,
        bid_demand=MODELS.Exponential(1.4, decay),
        ask_demand=MODELS.Exponential(0.9, 1.9),
        lot=1.0,
        max_inventory=3,
        objective=MODELS.MeanVariance(risk_aversion),
        drift=0.03,
    )


def stock_dealer(volatility=0.35, decay=60.0, risk_aversion=4.0):
    return MODELS.StockCashDealer(
        growth=0.1,
        volatility=volatility,
        rate=0.03,
        horizon=5 / 244,
        bid_demand=MODELS.Exponential(3000.0, decay),
        ask_demand=MODELS.Exponential(2000.0, 70.0),
        lot=1.0,
        max_stock=3.0,
        objective=MODELS.MeanVariance(risk_aversion),
    )


ROUTES = {  # a dealer's builder, the method, and how closely two ways of asking it must agree
    "linear": (linear_dealer, ts.hjb.Lattice(times=4, half_width=3), 1e-12),
    "integrated": (general_dealer, ts.hjb.Lattice(times=4, half_width=3), 1e-9),
    "stepped": (linear_dealer, ts.hjb.FiniteDifference(steps=16, half_width=3), 1e-9),
    "gridded": (
        stock_dealer,
        ts.hjb.FiniteDifference(nodes_per_lot=4, steps=8, extrapolate=False, half_width=4),
        1e-9,
    ),
}
every_route = pytest.mark.parametrize("route", ROUTES)


def compilations(run):
    """How many programs JAX compiled while `run` ran."""
    seen = []

    def listen(event: str, duration_secs: float, **_):
        seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        run()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return seen.count("/jax/core/compile/backend_compile_duration")


def ask(problem, method):
    """Everything that a caller asks of a solution, as a tuple of arrays."""
    solution = ts.solve(problem, method)
    name = problem.names[0]
    return (
        solution.value(0.0, **{name: 1.0}),
        *solution.quotes(0.0, **{name: 1.0}),
        *solution.policy(0.0, {name: 1.0, "cash": 0.0} if name == "stock" else 1.0),
        solution.tables.value,
        solution.tables.bid,
    )


# Compilation


@every_route
def test_a_changed_number_compiles_nothing_whatever_its_type(route):
    build, method, _ = ROUTES[route]
    big = 60 if route == "gridded" else 1
    assert compilations(lambda: jax.jit(lambda x: x + 54321)(1)) == 1  # it does count
    ask(build(0.35, 1.3 * big, 0.3), method)
    typed = [
        (0.31, 1.4 * big, 0.2),
        (1, 2 * big, 0.05),
        (np.float32(0.5), np.float64(1.25 * big), np.float32(0.25)),
        (np.asarray(0.4), np.asarray(1.5 * big, dtype=np.float32), np.asarray(0.1)),
        (jnp.asarray(0.3), jnp.asarray(1.5 * big), jnp.asarray(0.2)),
    ]
    for volatility, decay, aversion in typed:
        assert compilations(lambda v=volatility, k=decay, a=aversion: ask(build(v, k, a), method)) == 0, volatility
    with jax.enable_x64(True):
        ask(build(0.35, 1.3 * big, 0.3), method)
        double = jnp.asarray(0.45)
        assert compilations(lambda: ask(build(double, 1.6 * big, 0.2), method)) == 0


@every_route
def test_time_and_inventory_of_another_type_compile_nothing(route):
    build, method, _ = ROUTES[route]
    problem = build()
    solution, name = ts.solve(problem, method), problem.names[0]
    at = 0.01 if route == "gridded" else 1.0
    wanted = solution.value(at, **{name: 1.0}), *solution.quotes(at, **{name: 1.0})
    exact = [(at, 1), (np.float64(at), np.float32(1)), (np.asarray(at), jnp.asarray(1)), (at, np.int32(1))]
    for t, y in exact:

        def again(t=t, y=y):
            assert (solution.value(t, **{name: y}), *solution.quotes(t, **{name: y})) == wanted

        assert compilations(again) == 0


# Precision


@every_route
def test_the_answer_is_in_double_precision_whatever_the_callers_setting(route):
    build, method, _ = ROUTES[route]
    single = ask(build(), method)
    assert not jax.config.read("jax_enable_x64")
    assert jnp.asarray(1.0).dtype == jnp.float32
    with jax.enable_x64(True):
        double = ask(build(), method)
    for one, other in zip(single, double, strict=True):
        assert isinstance(one, np.ndarray)
        assert one.dtype == np.float64
        np.testing.assert_array_equal(one, other)


def test_a_parameter_in_single_precision_counts_as_the_number_it_is():
    """Its rounding is the caller's; nothing is lost on top of it."""
    near = float(np.float32(0.35))
    assert near != 0.35
    one, other = (ts.solve(linear_dealer(v), ts.hjb.Lattice(times=16)) for v in (np.float32(0.35), near))
    np.testing.assert_array_equal(one.tables.value, other.tables.value)


def test_a_refused_problem_leaves_the_callers_setting_alone():
    with pytest.raises(ValueError, match="finite inventory limit"):
        ts.solve(linear_dealer(max_inventory=np.inf), ts.hjb.Lattice())
    assert not jax.config.read("jax_enable_x64")


def test_threads_get_double_precision_too():
    problems = [linear_dealer(v) for v in (0.2, 0.3, 0.4, 0.5)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda p: ts.solve(p, ts.hjb.Lattice(times=16)).tables.value, problems))
    for problem, value in zip(problems, found, strict=True):
        np.testing.assert_array_equal(value, ts.solve(problem, ts.hjb.Lattice(times=16)).tables.value)


@pytest.mark.parametrize("outer", [jax.jit, jax.grad, jax.vmap], ids=["jit", "grad", "vmap"])
def test_inside_a_transformation_in_single_precision_it_refuses_with_the_mend(outer):
    def worth(volatility):
        return ts.solve(linear_dealer(volatility), ts.hjb.Lattice(times=16, half_width=3)).value(0.0)

    given = jnp.asarray([0.3, 0.4]) if outer is jax.vmap else jnp.asarray(0.3)
    with pytest.raises(ValueError, match=r"jax\.enable_x64\(True\)"):
        outer(worth)(given)


# Derivatives and batches


def worth(route):
    build, method, _ = ROUTES[route]
    name = build().names[0]

    def value(volatility):
        return ts.solve(build(volatility), method).value(0.0, **{name: 1.0})

    return value


def routes(slow=(), **failing):
    """Every route, some of them slow to compile, some of them known to fail and why."""
    return pytest.mark.parametrize(
        "route",
        [
            pytest.param(
                route,
                marks=[pytest.mark.slow] * (route in slow)
                + [pytest.mark.xfail(strict=True, reason=failing.get(route, ""))] * (route in failing),
            )
            for route in ROUTES
        ],
    )


def check_slope(route, derivative):
    value, step = worth(route), 1e-4
    difference = (value(0.35 + step) - value(0.35 - step)) / (2 * step)
    with jax.enable_x64(True):
        assert float(derivative(value)(0.35)) == pytest.approx(difference, rel=1e-6)


@routes(slow=("integrated", "gridded", "stepped"))
def test_grad_agrees_with_differences(route):
    check_slope(route, jax.grad)


@pytest.mark.slow
def test_the_default_grids_have_derivatives_in_either_mode():
    method = ts.hjb.FiniteDifference(nodes_per_lot=4, steps=32, half_width=4)

    def quote(volatility):
        return ts.solve(stock_dealer(volatility), method).quotes(0.0, stock=1.0).bid

    difference = (quote(0.351) - quote(0.349)) / 0.002
    with jax.enable_x64(True):
        for derivative in (jax.grad, jax.jacfwd):
            assert float(derivative(quote)(0.35)) == pytest.approx(difference, rel=1e-5)


@pytest.mark.slow
@routes()
def test_jacfwd_agrees_with_differences(route):
    check_slope(route, jax.jacfwd)


@routes(slow=("gridded",))
def test_inside_jit_the_answer_is_the_same(route):
    value = worth(route)
    with jax.enable_x64(True):
        inside = float(jax.jit(value)(0.35))
    assert inside == pytest.approx(float(value(0.35)), rel=ROUTES[route][2])


@routes(slow=("integrated", "stepped", "gridded"))
def test_vmap_agrees_with_a_loop(route):
    value, volatilities = worth(route), np.array([0.2, 0.35, 0.5])
    with jax.enable_x64(True):
        together = np.asarray(jax.vmap(value)(volatilities))
    np.testing.assert_allclose(together, [value(v) for v in volatilities], rtol=ROUTES[route][2])


@routes(slow=("gridded",))
def test_many_at_once_are_each_on_its_own_and_in_order(route):
    build, method, digits = ROUTES[route]
    big = 60 if route == "gridded" else 1
    problems = [build(v, k * big) for v, k in ((0.5, 1.0), (0.2, 1.4), (0.35, 0.9))]
    for problem, together in zip(problems, ts.solve_many(problems, method), strict=True):
        alone = ts.solve(problem, method)
        assert together.problem is problem
        assert together.converged
        name = problem.names[0]
        np.testing.assert_allclose(together.tables.value[-1], alone.tables.value[-1], rtol=0, atol=digits)
        np.testing.assert_allclose(together.tables.bid[-1], alone.tables.bid[-1], rtol=0, atol=digits)
        assert together.expected_wealth(0.0, **{name: 1.0}) == pytest.approx(
            alone.expected_wealth(0.0, **{name: 1.0}), rel=max(digits, 1e-9)
        )


def test_a_steep_problem_may_stand_among_flat_ones():
    """A terminal penalty of forty units a lot needs time cut into chunks; its neighbours are cut along."""
    problems = [
        MODELS.InventoryDealer(
            volatility=0.3,
            horizon=2.0,
            bid_demand=MODELS.Exponential(1.4, 1.3),
            ask_demand=MODELS.Exponential(0.9, 1.3),
            lot=1.0,
            max_inventory=3,
            objective=MODELS.RunningPenalty(0.01, terminal),
        )
        for terminal in (0.0, 40.0, 0.1)
    ]
    for problem, together in zip(problems, ts.solve_many(problems, ts.hjb.Lattice(times=4)), strict=True):
        alone = ts.solve(problem, ts.hjb.Lattice(times=4))
        np.testing.assert_allclose(together.tables.value, alone.tables.value, rtol=1e-11, atol=1e-12)


def test_many_of_different_kinds_are_refused_and_none_is_none():
    assert ts.solve_many([]) == []
    with pytest.raises(ValueError, match="solve them in groups"):
        ts.solve_many([linear_dealer(), general_dealer()])
    with pytest.raises(ValueError, match="solve them in groups"):
        ts.solve_many([linear_dealer(), linear_dealer(max_inventory=4)])
