"""The linearly implicit integrator by itself: its order, its dense output, its linear solves, and how it gives up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from twosided.hjb import _rosenbrock as rosenbrock
from twosided.hjb._rosenbrock import Blocks

START = np.array([1.1, 0.6, 1.4, 0.9, 1.3])


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def neighbours(u):
    edge = jnp.zeros_like(u[:, :1])
    return jnp.concatenate([edge, u[:, :-1]], 1), jnp.concatenate([u[:, 1:], edge], 1)


def field(t, u):
    """`u_i' = sin 3t + u_{i-1} u_i - u_i^2 + .3 cos(t) u_{i+1}^2`: nonlinear, coupled, and driven by the time."""
    below, above = neighbours(u)
    rate = jnp.sin(3 * t) + below * u - u**2 + 0.3 * jnp.cos(t) * above**2
    return rate, Blocks(u[None], (below - 2 * u)[None], (0.6 * jnp.cos(t) * above)[None])


@pytest.fixture(scope="module")
def truth():
    def rate(t, y):
        below, above = np.append(0, y[:-1]), np.append(y[1:], 0)
        return np.sin(3 * t) + below * y - y**2 + 0.3 * np.cos(t) * above**2

    return solve_ivp(rate, (0, 1), START, "DOP853", rtol=1e-13, atol=1e-13, dense_output=True)


def marched(steps):
    @jax.jit
    def step(t, u):
        (rate, jacobian), (by_time, _) = jax.jvp(lambda t: field(t, u), (t,), (jnp.ones(()),))
        point = rosenbrock._Point(t, u, rate, by_time, jacobian)
        return rosenbrock._step(lambda t, u: field(t, u)[0], point, 1 / steps)[0]

    u = jnp.asarray(START)[None, :, None]
    for i in range(steps):
        u = step(jnp.asarray(i / steps), u)
    return np.asarray(u)[0, :, 0]


def test_a_fixed_step_is_of_order_five(truth):
    errors = [np.abs(marched(steps) - truth.y[:, -1]).max() for steps in (16, 32, 64)]
    assert np.log2(errors[0] / errors[2]) / 2 == pytest.approx(5.0, abs=0.15)


@pytest.mark.parametrize("tolerance", [1e-5, 1e-8, 1e-11])
def test_errors_go_with_the_tolerance_between_the_steps_too(truth, tolerance):
    times = jnp.linspace(0, 1, 57)
    start = jnp.asarray(START)[None, :, None]
    solved = jax.jit(lambda: rosenbrock.integrate(field, start, times, tolerance, 1000))()
    assert bool(solved.finished)
    assert np.abs(np.asarray(solved.u)[:, 0, :, 0].T - truth.sol(np.asarray(times))).max() < 20 * tolerance


def test_stiffness_does_not_dictate_the_step():
    """Decay at 1e6 towards a slow mode: an explicit method would need some 1e5 steps."""

    def stiff(t, u):
        rate = -1e6 * (u - jnp.cos(3 * t))
        zero = jnp.zeros((1, *u.shape))
        return rate, Blocks(zero, zero - 1e6, zero)

    solved = rosenbrock.integrate(stiff, jnp.zeros((1, 3, 1)), jnp.array([1.0]), 1e-8, 1000)
    assert bool(solved.finished)
    assert int(solved.steps) < 300
    # The mode follows its target with a lag of (the target's slope)/1e6.
    np.testing.assert_allclose(np.asarray(solved.u), np.cos(3) + 3 * np.sin(3) / 1e6, atol=1e-8)


def test_too_few_steps_are_reported():
    times = jnp.array([0.0, 1.0])
    solved = rosenbrock.integrate(field, jnp.asarray(START)[None, :, None], times, 1e-10, 5)
    assert not bool(solved.finished)
    assert np.all(np.isnan(np.asarray(solved.u)[-1]))


@pytest.mark.parametrize("nodes", [1, 2, 3, 12, 31])
@pytest.mark.parametrize("unknowns", [1, 2])
def test_cyclic_reduction_solves_what_a_dense_solver_solves(nodes, unknowns):
    random = np.random.default_rng(nodes)
    down, diagonal, up = random.normal(size=(3, unknowns, unknowns, nodes, 1))
    down[:, :, 0], up[:, :, -1] = 0, 0
    b = random.normal(size=(unknowns, nodes, 1))
    dense = np.zeros((nodes, unknowns, nodes, unknowns))
    for i in range(nodes):
        dense[i, :, i, :] = 9.0 * np.eye(unknowns) - diagonal[:, :, i, 0]
        if i:
            dense[i, :, i - 1, :] = -down[:, :, i, 0]
            dense[i - 1, :, i, :] = -up[:, :, i - 1, 0]
    size = nodes * unknowns
    wanted = np.linalg.solve(dense.reshape(size, size), b[..., 0].T.ravel()).reshape(nodes, unknowns).T
    found = rosenbrock._reduced(Blocks(jnp.asarray(down), jnp.asarray(diagonal), jnp.asarray(up)), 9.0)(jnp.asarray(b))
    np.testing.assert_allclose(np.asarray(found)[..., 0], wanted, rtol=1e-12, atol=1e-14)
