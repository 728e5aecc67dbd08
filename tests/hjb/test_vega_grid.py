"""The options book on its grid: independent answers, order of convergence, what must hold, and what is refused."""

from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp, trapezoid
from scipy.special import lambertw
from scipy.stats import ncx2

import twosided as ts

Heston, Logistic, OptionsBook = ts.models.Heston, ts.models.Logistic, ts.models.OptionsBook
VegaGrid = ts.hjb.VegaGrid
GRID = VegaGrid(32, 8, 16)
VEGAS = np.array([-6e6, -2e6, 0.0, 2e6, 6e6])
REQUESTS = 7560 / (1 + 0.7 * np.abs(10 - np.repeat([8.0, 9, 10, 11, 12], 4)))


def solved(book: ts.models.OptionsBook, method: Any = GRID) -> ts.hjb.OptionsSolution:
    solution = ts.solve(book, method)
    assert isinstance(solution, ts.hjb.OptionsSolution)
    return solution


def asymmetric(**changes):
    """Sellers ask more often than buyers, but leave sooner; the world's variance rises faster than the prices'."""
    sides = {"bid_demand": Logistic(1.3 * REQUESTS, 0.5, 140.0), "ask_demand": Logistic(0.8 * REQUESTS, 0.9, 170.0)}
    return OptionsBook.published(**({"physical": Heston(6.0, 0.06, 0.2, -0.5)} | sides | changes))


@pytest.fixture(scope="module")
def book():
    return asymmetric()


@pytest.fixture(scope="module")
def solution(book):
    return solved(book)


def test_the_solution_says_that_and_why_it_can_be_trusted(solution):
    assert solution.converged
    assert solution.residual <= GRID.tolerance
    assert 0 < solution.error_estimate < 0.01 * solution.value(0.0)
    assert solution.stats["least_off_diagonal"] >= 0  # of every generator: an M-matrix


def test_without_customers_the_book_is_carried():
    """`Vega E int (a_P - a_Q)/(2 sqrt nu) dt - (gamma xi^2/8) Vega^2 T`, the variance non-central chi-squared."""
    none, horizon = Logistic(0 * REQUESTS, 0.7, 150.0), 0.003
    solution = solved(asymmetric(bid_demand=none, ask_demand=none, horizon=horizon))
    kappa, theta, xi, nu = 6.0, 0.06, 0.2, 0.0225
    at, weights = np.polynomial.legendre.leggauss(8)
    earned = 0.0
    for s, weight in zip(0.5 * horizon * (1 + at), 0.5 * horizon * weights, strict=True):
        scale = xi**2 * -np.expm1(-kappa * s) / (4 * kappa)
        law: Any = ncx2(4 * kappa * theta / xi**2, nu * np.exp(-kappa * s) / scale, scale=scale)
        v = np.linspace(0.005, 0.05, 2001)
        earned += weight * trapezoid((kappa * (theta - v) - 3.0 * (nu - v)) / (2 * np.sqrt(v)) * law.pdf(v), v)
    cost = 1e-3 * 0.2**2 / 8 * VEGAS**2 * horizon
    np.testing.assert_allclose(solution.expected_wealth(0.0, vega=VEGAS), VEGAS * earned, rtol=1e-4)
    np.testing.assert_allclose(solution.value(0.0, vega=VEGAS), VEGAS * earned - cost, rtol=1e-4)
    assert np.all(np.isfinite(solution.quotes(0.0, vega=VEGAS).bid[2]))  # the price nobody would come for


def lattice(trade, limit, bid, ask, cost, horizon):
    """Value, mean profit and its second moment for trades of one size: an ordinary equation per whole trade held.

    `bid` and `ask` are `(requests, alpha, beta)`; the best distance by Lambert's function.
    """
    held = np.arange(-limit, limit + 1)

    def rate(_, stacked):
        value, mean, square = stacked.reshape(3, -1)
        change = [-cost * (held * trade) ** 2, np.zeros(held.size), np.zeros(held.size)]
        for step, (requests, alpha, beta) in ((1, bid), (-1, ask)):
            to = np.clip(held + step, -limit, limit) + limit
            price = (value - value[to]) / trade
            x = price + (1 + lambertw(np.exp(-(1 + alpha + beta * price))).real) / beta
            hits = np.where(to == held + limit, 0.0, requests / (1 + np.exp(alpha + beta * x)))
            earned = trade * x
            change[0] += hits * (earned + value[to] - value)
            change[1] += hits * (earned + mean[to] - mean)
            change[2] += hits * (earned**2 + 2 * earned * mean[to] + square[to] - square)
        return np.concatenate(change)

    end = solve_ivp(rate, (0, horizon), np.zeros(3 * held.size), method="DOP853", rtol=1e-11, atol=1e-4).y[:, -1]
    value, mean, square = end.reshape(3, -1)
    return held * trade, value, mean, square - mean**2


def test_trades_of_one_size_are_a_lattice():
    """The variance is no state of the value where prices expect the world's drift; the profit's variance feels it."""
    book = OptionsBook.published()
    book = asymmetric(physical=book.pricing, sizes=1e6 / book.vegas)
    solution = solved(book)
    total = np.sum(REQUESTS)
    vega, value, mean, variance = lattice(
        1e6, 10, (1.3 * total, 0.5, 140.0), (0.8 * total, 0.9, 170.0), 1e-3 * 0.2**2 / 8, 0.0012
    )
    near = np.abs(vega) <= 6e6
    assert abs(solution.value(0.0) - value[10]) <= solution.error_estimate
    np.testing.assert_allclose(solution.value(0.0, vega=vega[near]), value[near], atol=4e-4 * value[10])
    np.testing.assert_allclose(solution.expected_wealth(0.0, vega=vega[near]), mean[near], atol=1e-3 * mean[10])
    by_fills = solution.profit_deviation(0.0) ** 2
    assert by_fills > variance[10]  # the variance moves the book, too
    assert by_fills == pytest.approx(variance[10], rel=0.05)


def test_the_bid_moves_away_and_the_ask_comes_closer_as_vega_grows(solution):
    bid, ask = solution.volatility_quotes(0.0, vega=VEGAS)
    assert bid.shape == ask.shape == (5, 20)
    for one, other in ((bid, ask[::-1]), (ask[::-1], bid)):
        known = np.isfinite(one[:-1]) & np.isfinite(one[1:])
        assert np.all((np.diff(one, axis=0) > 0)[known])
        assert not np.any(np.isnan(other[:3]))


def test_quotes_stop_where_a_fill_would_cross_the_limit(solution, book):
    bid, ask = solution.quotes(0.0, vega=VEGAS)
    np.testing.assert_array_equal(np.isnan(bid), VEGAS[:, None] + book.size > 1e7)
    np.testing.assert_array_equal(np.isnan(ask), VEGAS[:, None] - book.size < -1e7)
    points = solution.volatility_quotes(0.0, vega=VEGAS)
    np.testing.assert_allclose(points.bid * book.vegas / 100, bid)


@pytest.mark.slow
def test_a_mirrored_book_has_mirrored_quotes(book):
    """Customers change sides, and vega its sign, where it earns nothing by itself."""
    plain = {"physical": book.pricing, "sizes": book.sizes}
    one = solved(asymmetric(**plain))
    other = solved(asymmetric(**plain, bid_demand=book.ask_demand, ask_demand=book.bid_demand))
    np.testing.assert_allclose(one.value(0.0, vega=VEGAS), other.value(0.0, vega=-VEGAS), rtol=1e-9)
    ours, theirs = one.volatility_quotes(0.0, vega=VEGAS), other.volatility_quotes(0.0, vega=-VEGAS)
    np.testing.assert_allclose(ours.bid, theirs.ask, atol=1e-8)
    np.testing.assert_allclose(ours.ask, theirs.bid, atol=1e-8)


@pytest.mark.slow
def test_money_has_no_unit(book, solution):
    """In cents everything is a hundred times larger, but the risk aversion, which is per unit of money."""
    cents = asymmetric(sizes=100 * book.sizes, vega_limit=1e9, risk_aversion=1e-5)
    other = solved(cents)
    np.testing.assert_allclose(other.value(0.0, vega=100 * VEGAS), 100 * solution.value(0.0, vega=VEGAS), rtol=1e-8)


@pytest.mark.slow
def test_dearer_risk_is_worth_less_and_a_premium_moves_both_quotes_down(book, solution):
    dear = solved(asymmetric(risk_aversion=2e-3))
    assert np.all(dear.value(0.0, vega=VEGAS) < solution.value(0.0, vega=VEGAS))
    fair = solved(asymmetric(physical=book.pricing))
    rich, plain = (s.volatility_quotes(0.0, vega=VEGAS) for s in (solution, fair))
    assert np.all(rich.bid[2] < plain.bid[2])  # vega earns: bid more for it
    assert np.all(rich.ask[2] > plain.ask[2])


def test_a_saved_solution_is_read_back(solution, tmp_path):
    again = ts.hjb.Solution.load(solution.save(tmp_path / "book.nc"))
    assert isinstance(again, ts.hjb.OptionsSolution)
    assert again.value(0.0, vega=VEGAS) == pytest.approx(solution.value(0.0, vega=VEGAS), rel=1e-14)
    assert again.error_estimate == solution.error_estimate
    assert again.converged
    assert repr(again.problem) == repr(solution.problem)


def test_the_general_method_leads_to_this_one(book, solution):
    other = ts.solve(book, ts.hjb.FiniteDifference(steps=4, extrapolate=False, tolerance=1e-9))
    assert other.method == VegaGrid(steps=4, extrapolate=False, tolerance=1e-9, max_iterations=500)
    assert other.value(0.0) == pytest.approx(solution.value(0.0), rel=0.02)
    with pytest.raises(ValueError, match="nodes_per_lot has no meaning"):
        ts.solve(book, ts.hjb.FiniteDifference(nodes_per_lot=4))
    with pytest.raises(ValueError, match="Lattice has no grid of vega"):
        ts.solve(book, ts.hjb.Lattice())


def test_too_few_iterations_are_no_solution(book):
    with pytest.warns(ts.hjb.NotConverged, match="residual"):
        rough = ts.solve(book, VegaGrid(16, 2, 4, extrapolate=False, max_iterations=1))
    assert not rough.converged


@pytest.mark.slow
def test_a_book_whose_value_runs_away_says_so():
    """An exponential demand knows no most: fills at any distance outrun the steps."""
    endless = ts.models.Exponential(7560.0, 150.0)
    with pytest.warns(ts.hjb.NotConverged, match="not finite"):
        solution = ts.solve(
            OptionsBook.published(bid_demand=endless, ask_demand=endless, risk_aversion=0.1), VegaGrid()
        )
    assert solution.result.name == "NOT_FINITE"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vega_intervals": 42}, "vega_intervals must be a whole number of at least 32, a multiple of 8"),
        ({"variance_intervals": 4}, "variance_intervals must be a whole number of at least 8"),
        ({"steps": 10}, "steps must be"),
        ({"tolerance": 0.0}, "tolerance must lie between 0 and 1"),
        ({"variance_range": (0.03, 0.02)}, "variance_range must be two rising"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        VegaGrid(**settings)


def test_states_that_were_not_solved_are_refused_by_name(solution, book):
    with pytest.raises(ValueError, match=r"vega=2e.07 lies outside the solved range"):
        solution.value(0.0, vega=2e7)
    with pytest.raises(ValueError, match=r"variance=0.5 lies outside .* widen variance_range"):
        solution.quotes(0.0, variance=0.5)
    with pytest.raises(ValueError, match=r"t must lie between 0 and the horizon .*, got nan"):
        solution.value(np.nan)
    with pytest.raises(TypeError, match="no state 'stock'"):
        solution.value(0.0, stock=1.0)
    with pytest.raises(ValueError, match="does not hold the book's variance"):
        ts.solve(book, VegaGrid(variance_range=(0.03, 0.05)))


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1e7, 1.6e7])
def test_the_published_book_converges_with_order_two(limit):
    """Three grids; at the published limit fills are forbidden with some weight, which leaves a little unevenness."""
    book = OptionsBook.published(vega_limit=limit)
    solution = solved(book, VegaGrid(160, 8, 64))
    finer = solved(book, VegaGrid(200, 16, 64))
    assert solution.stats["order_of_value"] == pytest.approx(2.0, abs=0.1)
    assert abs(solution.value(0.0) - finer.value(0.0)) <= solution.error_estimate + finer.error_estimate
    assert solution.error_estimate < 1e-4 * solution.value(0.0)
    best, better = (s.volatility_quotes(0.0, vega=VEGAS) for s in (solution, finer))
    np.testing.assert_allclose(best.bid[1:4], better.bid[1:4], atol=1e-3)  # points of volatility


@pytest.mark.slow
def test_a_wider_range_of_variance_changes_nothing(book):
    narrow = ts.solve(book, VegaGrid(40, 16, 16))
    low, high = narrow.tables.axes[1][[0, -1]]
    reach = 0.5 * (high - low)
    wide = ts.solve(book, VegaGrid(40, 32, 16, variance_range=(low - reach, high + reach)))
    np.testing.assert_allclose(wide.value(0.0, vega=VEGAS), narrow.value(0.0, vega=VEGAS), rtol=1e-6)
