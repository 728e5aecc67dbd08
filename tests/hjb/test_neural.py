"""The neural method against exact solutions, its certificates, and its checkpoints."""

import dataclasses
import warnings

import numpy as np
import pytest
import scipy.linalg

import twosided as ts
from twosided.hjb.neural._simulated import Paths, value_of

SMALL = ts.hjb.Neural(width=8, points=512, iterations=10, seed=1)
REACH = 7  # lots of the reference lattice


def book(**changes):
    """Two assets that differ in everything but `k`, so that swapped sides, signs or assets show."""
    demand = ts.models.Exponential
    settings = {
        "volatility": [1.0, 0.7],
        "horizon": 1.0,
        "bid_demand": (demand(1.0, 1.5), demand(0.8, 1.5)),
        "ask_demand": (demand(1.2, 1.5), demand(0.5, 1.5)),
        "lot": 1.0,
        "max_inventory": np.inf,
        "objective": ts.models.RiskPenalty(0.1, 0.01),
        "correlation": 0.5,
        "drift": [0.05, -0.02],
    }
    return ts.models.MultiAssetDealer(**(settings | changes))


def exact_values(problem, tau):
    """`theta` over the lattice `|q_i| <= REACH` by the exponential of the linear equation's matrix."""
    k, nodes = 1.5, np.arange(-REACH, REACH + 1)
    q = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1)
    cost = 0.05 * np.einsum("...i,ij,...j", q, problem.covariance, q) - q @ np.array([0.05, -0.02])
    matrix = np.diag(-k * cost.ravel())
    up, one = np.eye(len(nodes), k=1) / np.e, np.eye(len(nodes))
    for i, (bid, ask) in enumerate([(1.0, 1.2), (0.8, 0.5)]):
        side = bid * up + ask * up.T
        matrix += np.kron(side, one) if i == 0 else np.kron(one, side)
    end = np.exp(-k * 0.01 * np.sum(q * q, -1)).ravel()
    return (np.log(scipy.linalg.expm(matrix * tau) @ end) / k).reshape(len(nodes), -1)


@pytest.fixture(scope="module")
def solved():
    problem = book()
    return problem, ts.solve(problem, SMALL)


def test_value_and_quotes_of_two_assets_agree_with_the_matrix_exponential(solved):
    problem, solution = solved
    theta = exact_values(problem, 0.75)
    q = np.array([[0, 0], [1, -1], [2, 1], [-2, 0], [0, -2]])
    i, j = (q + REACH).T
    value = solution.value(0.25, inventory=q)
    assert np.max(np.abs(value - theta[i, j])) < 1e-4 * theta[REACH, REACH]
    quotes = solution.quotes(0.25, inventory=q)
    for side, step in ((quotes.bid, 1), (quotes.ask, -1)):
        change = np.stack([theta[i + step, j] - theta[i, j], theta[i, j + step] - theta[i, j]], -1)
        assert np.max(np.abs(side - (1 / 1.5 - change))) < 1e-3 / 1.5


def test_every_certificate_is_kept_and_passed(solved):
    _, solution = solved
    found = solution.stats["certificates"]
    assert solution.converged
    assert solution.residual == found["residual"] < SMALL.tolerance
    value = solution.value(0.0)
    assert abs(found["simulated"] - value) < 4 * found["simulated_error"] + 1e-4
    assert abs(found["exact"] - value) <= solution.error_estimate < 1e-3


def test_an_undertrained_network_fails_its_certificate():
    averse = book(objective=ts.models.RiskPenalty(3.0, 0.01), horizon=2.0)
    with pytest.warns(ts.hjb.NotConverged, match="residual"):
        solution = ts.solve(averse, dataclasses.replace(SMALL, iterations=1))
    assert not solution.converged


def test_a_solution_survives_saving(solved, tmp_path):
    _, solution = solved
    loaded = ts.hjb.Solution.load(solution.save(tmp_path / "book.nc"))
    q = np.array([[1, -2], [0, 3]])
    assert np.array_equal(loaded.value(0.5, inventory=q), solution.value(0.5, inventory=q))
    assert loaded.result is solution.result
    assert loaded.stats["certificates"] == solution.stats["certificates"]


def test_training_resumes_to_the_same_weights(solved, tmp_path):
    problem, solution = solved
    path = str(tmp_path / "part.npz")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ts.hjb.NotConverged)
        ts.solve(problem, dataclasses.replace(SMALL, iterations=4, checkpoint=path))
    resumed = ts.solve(problem, dataclasses.replace(SMALL, checkpoint=path))
    q = np.array([[1, -2], [0, 3]])
    assert np.array_equal(resumed.value(0.5, inventory=q), solution.value(0.5, inventory=q))
    with pytest.raises(ValueError, match=r"problem\.drift"):
        ts.solve(book(drift=0.0), dataclasses.replace(SMALL, checkpoint=path))


def test_bad_settings_and_problems_are_refused_by_name(solved, tmp_path):
    with pytest.raises(ValueError, match="width"):
        ts.hjb.Neural(width=0)
    with pytest.raises(ValueError, match="tolerance"):
        ts.hjb.Neural(tolerance=2.0)
    with pytest.raises(ValueError, match="expected wealth"):
        solved[1].expected_wealth(0.0)
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match=r"broken\.npz is no checkpoint"):
        ts.solve(book(), dataclasses.replace(SMALL, checkpoint=str(broken)))


def test_noise_of_the_variance_is_taken_out_of_a_simulated_equilibrium():
    """`int variance dt` falls short of its mean by what the martingale of `theta - h` gains, in units of lambda/2."""
    random = np.random.default_rng(3)
    of_mean, of_rest, left = random.standard_normal((3, 4000)) * np.array([[2.0], [0.5], [0.01]])
    none = np.zeros(4000)
    variance = 8.0 - of_rest / 0.15 + left
    paths = Paths(6.0 + of_mean, none, of_mean + of_rest, of_mean, variance, none, none, none)
    estimate = value_of(paths, ts.models.MeanVariance(0.3), pair=True)
    assert estimate.error < 1e-4
    assert abs(estimate.value - (6.0 - 0.15 * 8.0)) < 4 * estimate.error
