"""The Riccati approximation of a book and the simulated reference: exact where they must be, near where they may be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import twosided as ts

M = ts.models
CORRELATION = [[1.0, -0.4], [-0.4, 1.0]]
BOUND = 5.4  # standard errors, see `twosided.validation.statistics`


def linear_demands(slope=1.0):
    """Asymmetric in every number; hit at any price that the quadratic gives near an empty book."""
    bids = M.Linear(3.0, 1.0 * slope), M.Linear(2.0, 0.7 * slope)
    asks = M.Linear(2.2, 0.9 * slope), M.Linear(2.6, 0.8 * slope)
    return bids, asks


def book(bids, asks, limit=np.inf, objective=None, lot=(1.0, 0.5), horizon=1.3):
    objective = M.RiskPenalty(0.1, terminal=0.05) if objective is None else objective
    return M.MultiAssetDealer(
        [0.5, 0.8], horizon, bids, asks, lot, limit, objective, correlation=-0.4, drift=[0.1, -0.2]
    )


def exponentials():
    return (M.Exponential(2.0, 1.5), M.Exponential(0.6, 0.75)), (M.Exponential(1.2, 1.5), M.Exponential(0.9, 0.75))


@pytest.fixture(scope="module")
def exponential():
    return ts.solve(book(*exponentials(), limit=4))


@pytest.fixture(scope="module")
def approximate():
    return ts.solve(book(*exponentials(), limit=4), ts.hjb.ClosedForm())


def test_the_quadratic_solves_its_equations_written_out_once_more(approximate):
    lot, drift, horizon = np.array([1.0, 0.5]), np.array([0.1, -0.2]), 1.3
    scale, decay = np.array([[2.0, 1.2], [0.6, 0.9]]), np.array([1.5, 0.75])
    a1 = scale / np.e
    s0, n1 = np.sum(a1, axis=1) * lot / decay, a1[:, 0] - a1[:, 1]
    s1, s2, n2 = np.sum(a1, axis=1), np.sum(a1, axis=1) * decay / lot, n1 * decay / lot
    risk = 0.05 * np.asarray(CORRELATION) * np.outer(lot * [0.5, 0.8], lot * [0.5, 0.8])

    def rate(_, u):
        a, b = u[:4].reshape(2, 2), u[4:6]
        bend = np.diag(a)
        da = risk - 2 * a @ np.diag(s2) @ a
        db = drift * lot - 2 * a @ (n1 - n2 * bend + s2 * b)
        dc = np.sum(s0 + (n1 - n2 * bend) * b - s1 * bend + s2 * (b**2 + bend**2) / 2)
        return np.concatenate([da.ravel(), db, [dc]])

    start = np.concatenate([0.05 * np.eye(2).ravel(), np.zeros(3)])
    u = solve_ivp(rate, (0, horizon), start, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    q = np.array([[0, 0], [2, -1], [-3, 4]])
    expected = u[6] + q @ u[4:6] - np.einsum("ni,ij,nj->n", q, u[:4].reshape(2, 2), q)
    np.testing.assert_allclose(approximate.value(0.0, inventory=q), expected, rtol=1e-10)
    assert 1e-4 < approximate.residual < 0.1


@pytest.mark.slow
def test_the_quadratic_is_near_the_lattice_far_from_its_limits(approximate, exponential):
    assert approximate.value(0.0) == pytest.approx(exponential.value(0.0), rel=0.02)
    assert approximate.value(0.0) != pytest.approx(exponential.value(0.0), rel=1e-6)


@pytest.mark.slow
def test_linear_demand_and_no_aversion_to_fills_make_the_quadratic_exact():
    quadratic = ts.solve(book(*linear_demands()), ts.hjb.ClosedForm(times=256))
    assert quadratic.residual < 1e-8  # what cubics between 256 times leave of a derivative in time
    assert np.all(quadratic.value(1.3, inventory=[[0, 0], [1, -2]]) == [0, -0.25])


@pytest.mark.slow
def test_a_quadratic_book_is_the_same_after_a_file(approximate, tmp_path):
    again = ts.Solution.load(approximate.save(tmp_path / "book.nc"))
    assert again.value(0.2, inventory=[1, -2]) == approximate.value(0.2, inventory=[1, -2])
    with pytest.raises(ValueError, match="simulate its policy"):
        again.expected_wealth(0.0)


def test_what_has_no_riccati_equation_is_refused():
    with pytest.raises(ValueError, match="no Riccati equation for MeanVariance"):
        ts.solve(book(*linear_demands(), objective=M.MeanVariance(0.1)))


@pytest.mark.slow
def test_the_simulated_reference_agrees_with_the_lattice(exponential):
    q = [[0, 0], [4, -1], [-3, 4]]
    found = ts.hjb.feynman_kac_reference(exponential.problem, q, paths=4096, seed=1, windows=16, t=0.3)
    assert np.all(found.standard_error < 2e-3)
    assert np.all(np.abs(found.value - exponential.value(0.3, inventory=q)) < BOUND * found.standard_error)


def test_the_reference_needs_a_linear_equation():
    with pytest.raises(ValueError, match="only then is the equation linear"):
        ts.hjb.feynman_kac_reference(book(*linear_demands()))


@pytest.mark.slow
def test_simulated_quotes_agree_with_the_lattice(exponential):
    q = np.array([[0, 0], [4, -1], [-3, 4]])
    found, exact = ts.hjb.feynman_kac_quotes(exponential.problem, q, paths=16_384), exponential.quotes(0.0, inventory=q)
    for distance, error, expected in zip(found.quotes, found.standard_error, exact, strict=True):
        assert np.array_equal(np.isnan(distance), np.isnan(expected))
        assert np.all((np.abs(distance - expected) < BOUND * error) | np.isnan(expected))


@pytest.mark.slow
def test_a_better_guess_makes_the_reference_quieter_and_no_different(exponential):
    problem = exponential.problem
    rough = ts.hjb.feynman_kac_reference(problem, paths=4096, seed=2)
    sharp = ts.hjb.feynman_kac_reference(problem, paths=4096, seed=2, surface=exponential.surface, windows=256)
    assert sharp.standard_error < 0.5 * rough.standard_error
    assert abs(sharp.value - rough.value) < BOUND * np.hypot(sharp.standard_error, rough.standard_error)
    assert abs(sharp.value - exponential.value(0.0)) < BOUND * sharp.standard_error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("assets", "value", "error"), [(3, 1.43922850, 0.5e-8), (10, 4.79766, 13e-5), (30, 14.39418, 25e-5)]
)
def test_the_mild_benchmark_has_its_value_in_any_dimension(assets, value, error):
    demand, objective = M.Exponential(1.0, 1.5), M.RiskPenalty(0.02, terminal=0.01)
    problem = M.MultiAssetDealer(np.ones(assets), 1.0, demand, demand, 1.0, np.inf, objective, correlation=0.5)
    found = ts.hjb.feynman_kac_reference(problem, paths=8192)
    print(f"{assets} assets: theta(0) = {found.value[0]:.6f} +- {found.standard_error[0]:.1g}")
    assert abs(found.value[0] - value) < BOUND * np.hypot(found.standard_error[0], error)
    riccati = ts.solve(problem)
    assert riccati.value(0.0) == pytest.approx(found.value[0], rel=2e-5)


@pytest.mark.slow
def test_coarse_lots_put_the_quadratic_as_far_off_as_measured():
    ig, hy = M.Exponential(9.10e-4, 1.79e4), M.Exponential(1.06e-3, 5.47e3)
    objective = M.ExponentialUtility(6e-5)
    problem = M.MultiAssetDealer([5.83e-6, 2.15e-5], 7200.0, [ig, hy], [ig, hy], [50e6, 10e6], 4, objective)
    rough, exact = (ts.solve(problem, method).quotes(0.0) for method in (ts.hjb.ClosedForm(), ts.hjb.Lattice()))
    np.testing.assert_allclose(1 - rough.bid / exact.bid, [0.175, 0.14], atol=0.005)


@pytest.mark.slow
def test_a_book_can_be_differentiated_in_its_parameters():
    def value(aversion, correlation, method):
        problem = M.MultiAssetDealer(
            [0.5, 0.8], 1.3, M.Exponential(1.1, 1.5), M.Exponential(1.4, 1.5), 1.0, 3,
            M.RiskPenalty(aversion, 0.05), correlation=correlation,
        )  # fmt: skip
        solution = ts.solve(problem, method)
        assert isinstance(solution, ts.hjb.BookSolution)
        return solution.surface.value(jnp.asarray(1.3), jnp.asarray([1.0, -1.0]))

    with jax.enable_x64(True):
        for method in (ts.hjb.ClosedForm(), ts.hjb.Lattice(times=32)):
            for i in (0, 1):
                slope = jax.grad(value, argnums=i)(0.2, 0.3, method)
                up, down = (value(0.2 + (i == 0) * h, 0.3 + (i == 1) * h, method) for h in (1e-5, -1e-5))
                difference = (up - down) / 2e-5
                assert float(slope) == pytest.approx(float(difference), rel=1e-6)
