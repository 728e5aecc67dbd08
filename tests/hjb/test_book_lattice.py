"""A book on the lattice, against Krylov and Runge-Kutta methods written apart, published figures, and itself."""

import numpy as np
import pytest

import twosided as ts

from .book_reference import Book
from .like_assets import LikeAssets

M = ts.models
LOT = np.array([1.0, 0.5])
VOLATILITY = np.array([0.8, 0.5])
COMMON = {"scale": [[2.0, 1.2], [0.6, 0.9]], "decay": [[1.5, 1.5], [0.75, 0.75]]}
OTHER = {"scale": [[2.0, 1.2], [0.6, 0.9]], "decay": [[1.5, 1.1], [0.6, 0.9]]}
IG, HY = M.Exponential(9.10e-4, 1.79e4), M.Exponential(1.06e-3, 5.47e3)
AVERSION, LIMIT = 0.3, 4


def reference(demand, correlation=-0.4, **changes):
    covariance = np.outer(VOLATILITY, VOLATILITY) * [[1, correlation], [correlation, 1]]
    settings = {"lot": LOT, "covariance": covariance, "horizon": 1.5, "limit": (LIMIT, LIMIT), "aversion": AVERSION}
    return Book(**demand, **{**settings, "drift": np.array([0.2, -0.1]), **changes})


def dealer(demand, objective, correlation=-0.4, order=(0, 1), drift=(0.2, -0.1), limit=LIMIT):
    """The same book for the library, its assets in another order if wanted."""
    order = list(order)
    bids, asks = ([M.Exponential(demand["scale"][i][j], demand["decay"][i][j]) for i in order] for j in (0, 1))
    drift = np.asarray(drift)[order]
    return M.MultiAssetDealer(
        VOLATILITY[order], 1.5, bids, asks, LOT[order], limit, objective, correlation=correlation, drift=drift
    )


def credit_indices(correlation):
    """The two assets of Gueant (2017, section 5), lots of 50 and 10 million, four each way."""
    return M.MultiAssetDealer(
        [5.83e-6, 2.15e-5],
        7200.0,
        [IG, HY],
        [IG, HY],
        [50e6, 10e6],
        LIMIT,
        M.ExponentialUtility(6e-5),
        correlation=correlation,
        drift=[0.0, 0.0],
    )


def mild(assets, limit):
    """The benchmark of `d` assets: one demand, correlation one half, a charge for the risk and for the end."""
    demand = M.Exponential(1.0, 1.5)
    objective = M.RiskPenalty(0.02, terminal=0.01)
    return M.MultiAssetDealer(np.ones(assets), 1.0, demand, demand, 1.0, limit, objective, correlation=0.5)


def everywhere(solution, t=0.0):
    axes = [np.arange(-limit, limit + 1) for limit in solution.problem.limit]
    return solution.value(t, inventory=np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))


def test_like_assets_agree_with_their_multisets_of_inventories():
    """The reference of the neural method's books of ten and thirty, where the lattice can follow."""
    solution, book = ts.solve(mild(2, 9), ts.hjb.Lattice()), LikeAssets(2, 0.02, 1.0, most=128)
    u = book.u(0.5)
    rows = np.flatnonzero(np.abs(book.states).max(axis=1) <= 2)
    q = book.states[rows].astype(float)
    assert np.max(np.abs(solution.value(0.5, inventory=q) / book.theta(u, rows) - 1)) < 1e-9
    quotes = np.array(solution.quotes(0.5, inventory=q))
    assert np.max(np.abs(quotes - book.distances(u, rows))) < 1e-9


@pytest.fixture(scope="module")
def penalised():
    return ts.solve(dealer(COMMON, M.RiskPenalty(AVERSION, 0.05)))


@pytest.fixture(scope="module")
def averse():
    return ts.solve(dealer(OTHER, M.ExponentialUtility(AVERSION)))


def test_a_linear_book_agrees_with_a_krylov_method(penalised):
    expected = reference(COMMON, terminal=0.05).linear(xi=0.0)
    assert penalised.converged
    assert penalised.stats["linear"]
    np.testing.assert_allclose(everywhere(penalised), expected, atol=1e-12)
    assert 0 < penalised.error_estimate < 1e-11


def test_any_other_book_agrees_with_a_runge_kutta_method(averse):
    expected = reference(OTHER).utility()
    assert averse.converged
    assert "linear" not in averse.stats
    found = everywhere(averse)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    assert abs(found[LIMIT, LIMIT] - expected[LIMIT, LIMIT]) < 3 * averse.error_estimate + 1e-12


@pytest.mark.parametrize(
    ("correlation", "bids"), [(0.0, [1.208207e-4, 3.539154e-4]), (0.9, [1.072910e-4, 3.241361e-4])]
)
def test_two_credit_indices_are_quoted_as_published(correlation, bids):
    quotes = ts.solve(credit_indices(correlation)).quotes(0.0)
    np.testing.assert_allclose(quotes.bid, bids, atol=0.5e-10)
    np.testing.assert_allclose(quotes.ask, bids, atol=0.5e-10)


def test_the_order_of_the_assets_does_not_matter(averse):
    swapped = ts.solve(dealer(OTHER, M.ExponentialUtility(AVERSION), order=(1, 0)))
    np.testing.assert_allclose(everywhere(swapped).T, everywhere(averse), atol=1e-11)
    here, there = averse.quotes(0.4, inventory=[2, -3]), swapped.quotes(0.4, inventory=[-3, 2])
    np.testing.assert_allclose(there.bid[::-1], here.bid, atol=1e-10)
    np.testing.assert_allclose(there.ask[::-1], here.ask, atol=1e-10)


def test_uncorrelated_assets_are_valued_each_by_itself_only_where_a_fill_bears_no_risk_of_its_own(averse):
    apart = everywhere(ts.solve(dealer(COMMON, M.RiskPenalty(AVERSION, 0.05), correlation=0.0)))
    together = everywhere(averse)
    for value, separable in ((apart, True), (together, False)):
        mixed = value - value[:, LIMIT : LIMIT + 1] - value[LIMIT : LIMIT + 1] + value[LIMIT, LIMIT]
        assert (np.max(np.abs(mixed)) < 1e-11) == separable


def test_quotes_answer_the_value_and_stop_at_the_limit(penalised):
    q = np.array([[0, 0], [LIMIT, -1], [2, -LIMIT]])
    quotes = penalised.quotes(0.6, inventory=q)
    for i in (0, 1):
        for side, found in ((+1, quotes.bid), (-1, quotes.ask)):
            there = q + side * np.eye(2)[i]
            inside = np.abs(there[:, i]) <= LIMIT
            change = penalised.value(0.6, inventory=np.where(inside[:, None], there, q)) - penalised.value(
                0.6, inventory=q
            )
            expected = np.where(inside, 1 / COMMON["decay"][i][0] - change / LOT[i], np.nan)
            np.testing.assert_allclose(found[:, i], expected, rtol=1e-12)


def test_a_book_is_the_same_after_a_file(penalised, tmp_path):
    again = ts.Solution.load(penalised.save(tmp_path / "book.nc"))
    assert type(again) is type(penalised)
    assert repr(again) == repr(penalised)
    assert np.array_equal(everywhere(again), everywhere(penalised))
    assert again.error_estimate == penalised.error_estimate


def test_inventories_that_the_lattice_does_not_hold_are_refused(penalised):
    with pytest.raises(ValueError, match="inventory=5 lies outside the limit of \\+-4 lots of asset 0"):
        penalised.value(0.0, inventory=[5, 0])
    with pytest.raises(ValueError, match="whole number of lots"):
        penalised.value(0.0, inventory=[0.5, 0])
    with pytest.raises(ValueError, match="one number per asset on its last axis, 2 here"):
        penalised.quotes(0.0, inventory=[1, 2, 3])
    with pytest.raises(ValueError, match="t must lie between 0 and the horizon"):
        penalised.value(2.0)
    with pytest.raises(ValueError, match="whole number of lots"):
        penalised.value(0.0, inventory=[np.nan, 0])
    with pytest.raises(ValueError, match=r"t must lie between 0 and the horizon .* got nan"):
        penalised.value(np.nan)
    with pytest.raises(TypeError, match="no state 'stock'"):
        penalised.value(0.0, stock=1.0)


def test_methods_that_cannot_hold_a_book_refuse_it():
    with pytest.raises(ValueError, match="Lattice needs a finite max_inventory, asset 0 has none"):
        ts.solve(mild(2, np.inf), ts.hjb.Lattice())
    with pytest.raises(ValueError, match="too many numbers"):
        ts.solve(mild(8, 15), ts.hjb.Lattice())
    with pytest.raises(ValueError, match="FiniteDifference has no grid for a book"):
        ts.solve(mild(2, 4), ts.hjb.FiniteDifference())


def test_a_book_that_runs_out_of_steps_says_so():
    with pytest.warns(ts.hjb.NotConverged, match="take more steps"):
        solution = ts.solve(dealer(OTHER, M.ExponentialUtility(AVERSION)), ts.hjb.Lattice(max_steps=3))
    assert not solution.converged


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [M.RiskPenalty(0.05, 0.02), M.ExponentialUtility(0.3), M.MeanVariance(0.2)],
    ids=lambda o: type(o).__name__,
)
def test_a_book_of_one_asset_is_an_inventory_dealer(objective):
    demands = M.Exponential(2.0, 1.5), M.Exponential(1.3, 1.5)
    one = ts.solve(M.InventoryDealer(0.8, 2.0, *demands, 1.7, 6, objective, drift=0.1))
    book = ts.solve(M.MultiAssetDealer([0.8], 2.0, *demands, 1.7, 6, objective, drift=0.1))
    q = np.arange(-6.0, 7.0)
    tolerance = 1e-11 if isinstance(objective, M.MeanVariance) else 1e-12  # two integrators, at 1e-11 each
    np.testing.assert_allclose(book.value(0.0, inventory=q[:, None]), one.value(0.0, inventory=q), atol=tolerance)
    for found, expected in zip(book.quotes(0.0, inventory=q[:, None]), one.quotes(0.0, inventory=q), strict=True):
        np.testing.assert_allclose(found[:, 0], expected, atol=tolerance)
    wealth = book.expected_wealth(0.0, inventory=q[:, None])
    np.testing.assert_allclose(wealth, one.expected_wealth(0.0, inventory=q), atol=1e-11)


@pytest.mark.slow
def test_an_equilibrium_book_agrees_with_a_runge_kutta_method():
    solution = ts.solve(dealer(OTHER, M.MeanVariance(AVERSION)))
    value, mean = reference(OTHER).equilibrium()
    axes = np.stack(np.meshgrid(*[np.arange(-LIMIT, LIMIT + 1)] * 2, indexing="ij"), axis=-1)
    np.testing.assert_allclose(solution.value(0.0, inventory=axes), value, atol=1e-10)
    np.testing.assert_allclose(solution.expected_wealth(0.0, inventory=axes), mean, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("assets", "limit", "value"), [(1, 15, 0.47973673), (2, 15, 0.95947958), (3, 12, 1.43922850), (4, 9, 1.91898344)]
)
def test_the_mild_benchmark_has_its_value(assets, limit, value):
    assert ts.solve(mild(assets, limit), ts.hjb.Lattice(times=64)).value(0.0) == pytest.approx(value, abs=0.5e-8)


def three_assets():
    correlation = [[1, 0.5, -0.2], [0.5, 1, 0.3], [-0.2, 0.3, 1]]
    volatility = np.array([0.8, 0.5, 0.6])
    return np.array([1.0, 0.5, 2.0]), volatility, correlation, np.outer(volatility, volatility) * correlation


@pytest.mark.slow
def test_three_assets_of_31_inventories_each_agree_with_a_krylov_method():
    lot, volatility, correlation, covariance = three_assets()
    scale, kappa = np.array([[1.5, 1.2], [0.6, 0.9], [1.0, 0.4]]), 1.5
    bids, asks = ([M.Exponential(scale[i, j], kappa * lot[i]) for i in range(3)] for j in (0, 1))
    objective = M.ExponentialUtility(0.05)
    problem = M.MultiAssetDealer(volatility, 1.0, bids, asks, lot, 15, objective, correlation=correlation, drift=0.1)
    decay = kappa * np.broadcast_to(lot[:, None], (3, 2))
    book = Book(scale, decay, lot, covariance, 1.0, (15, 15, 15), 0.05, drift=0.1)
    solution = ts.solve(problem)
    gap = np.max(np.abs(everywhere(solution) - book.linear(xi=0.05)))
    print(f"31^3, linear: {gap:.2g} from Krylov in {solution.stats['seconds']:.1f} s")
    assert gap < 1e-10


@pytest.mark.slow
def test_three_assets_of_31_inventories_each_agree_with_a_runge_kutta_method():
    lot, volatility, correlation, covariance = three_assets()
    scale, decay = np.array([[1.5, 1.2], [0.6, 0.9], [1.0, 0.4]]), np.array([[1.5, 1.1], [0.9, 0.6], [2.0, 2.5]])
    bids, asks = ([M.Exponential(scale[i, j], decay[i, j]) for i in range(3)] for j in (0, 1))
    objective = M.ExponentialUtility(0.05)
    problem = M.MultiAssetDealer(volatility, 1.0, bids, asks, lot, 15, objective, correlation=correlation, drift=0.1)
    solution = ts.solve(problem)
    expected = Book(scale, decay, lot, covariance, 1.0, (15, 15, 15), 0.05, drift=0.1).utility()
    gap = np.max(np.abs(everywhere(solution) - expected))
    print(f"31^3, general: {gap:.2g} from DOP853 in {solution.stats['seconds']:.1f} s")
    assert gap < 1e-8


@pytest.mark.slow
def test_an_ill_posed_book_says_so():
    with pytest.warns(ts.hjb.NotConverged, match="no payment makes a permitted trade worth its own variance"):
        solution = ts.solve(dealer(OTHER, M.MeanVariance(4.0)))
    assert solution.stats["idle_share"] > 0.1
    assert ts.solve(dealer(OTHER, M.MeanVariance(AVERSION))).stats["idle_share"] == 0
