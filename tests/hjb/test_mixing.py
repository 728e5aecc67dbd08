"""Anderson's mixing on linear iterations, of which everything is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twosided.hjb._mixing import mixed, no_past, remembered


def residuals(eigenvalues: np.ndarray, depth: int, rounds: int) -> np.ndarray:
    """The largest correction of every round of `u <- M u + b` with mixing, `M` of the given eigenvalues."""
    rng = np.random.default_rng(4)
    count = eigenvalues.size
    basis = rng.normal(size=(count, count))
    matrix, constant = basis @ np.diag(eigenvalues) @ np.linalg.inv(basis), rng.normal(size=(2, count // 2))
    found = []
    with jax.enable_x64(True):
        u, past = jnp.zeros_like(constant), no_past(jnp.zeros(constant.shape), depth)
        remember, mix = jax.jit(remembered), jax.jit(mixed)
        for n in range(rounds):
            correction = jnp.asarray((matrix @ u.ravel()).reshape(u.shape) + constant - u)
            found.append(float(jnp.max(jnp.abs(correction))))
            past = remember(past, u, correction, jnp.asarray(n))
            u = u + mix(past, correction, jnp.asarray(n))
    return np.array(found)


def test_directions_that_grow_are_found_and_removed():
    slow = np.array([-3.0, 1.7, 0.97, 0.05, 0.04, 0.03, 0.02, 0.01])
    found = residuals(slow, 5, 24)
    assert found[-1] < 1e-9 * found[0]
    assert residuals(slow, 1, 24)[-1] > 1e-3 * found[0]  # one direction at a time is not enough for three


@pytest.mark.parametrize("directions", [1, 2, 3])
def test_it_is_exact_after_as_many_rounds_as_there_are_directions(directions):
    eigenvalues = np.concatenate([np.linspace(-2.0, 3.0, directions), np.zeros(6 - directions)])
    found = residuals(eigenvalues, 5, directions + 4)
    assert np.all(found[directions + 2 :] < 1e-7 * found[0])
    assert found[directions] > 1e-6 * found[0]


def test_what_has_converged_stays():
    found = residuals(np.full(4, 0.0), 5, 9)
    assert np.all(found[1:] < 1e-12 * found[0])
    assert np.all(np.isfinite(found))
