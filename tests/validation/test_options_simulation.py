"""The options book played out: the solver's mean, deviation and value, and that its quotes are best."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import twosided as ts
from twosided.hjb.options_solution import OptionsPolicy
from twosided.validation import _option_surface
from twosided.validation._option_surface import option_surface
from twosided.validation.statistics import agree, exceed

Heston, Logistic, OptionsBook = ts.models.Heston, ts.models.Logistic, ts.models.OptionsBook
simulate_options = ts.validation.simulate_options
PATHS = 20_000


@pytest.fixture(scope="module")
def book():
    """Sellers ask more often than buyers, but leave sooner; the world's variance rises faster than the prices'."""
    requests = 7560 / (1 + 0.7 * np.abs(10 - np.repeat([8.0, 9, 10, 11, 12], 4)))
    return OptionsBook.published(
        physical=Heston(6.0, 0.06, 0.2, -0.5),
        bid_demand=Logistic(1.3 * requests, 0.5, 140.0),
        ask_demand=Logistic(0.8 * requests, 0.9, 170.0),
    )


@pytest.fixture(scope="module")
def solution(book):
    return ts.solve(book, ts.hjb.VegaGrid(32, 8, 16))


@pytest.mark.slow
def test_mean_deviation_and_value_are_the_solvers(book, solution):
    """From a book that is far from flat, where the drift of the variance and the limit are felt."""
    result = simulate_options(book, solution.policy, PATHS, seed=3, initial={"vega": 4e6})
    measured, errors, told = np.array([row[2:5] for row in result.rows(solution)[:3]]).T
    agree(measured, told, errors, samples=PATHS, tolerance=4 * solution.error_estimate)
    assert result.mean_wealth - result.criterion == pytest.approx(np.mean(result.charge))
    assert np.mean(result.ask_fills) > np.mean(result.bid_fills)  # it is long, and wants to be rid of it
    assert "mean profit" in result.table(solution)


class Shifted(OptionsPolicy):
    """The same quotes, wider by `wider` and lower by `lower`, in implied volatility."""

    wider: Any = 0.0
    lower: Any = 0.0

    def volatility(self, t, vega, variance, side, option):
        return super().volatility(t, vega, variance, side, option) + self.wider + side * self.lower


def shifted(policy, **changes):
    return Shifted(*(getattr(policy, name) for name in OptionsPolicy.__dataclass_fields__), **changes)


@pytest.mark.slow
def test_other_quotes_are_worth_less(book, solution):
    """A fifth of a volatility point to either side, all quotes or one side against the other; paired seeds."""
    best = simulate_options(book, solution.policy, 3_000, seed=5)
    for change in ({"wider": 0.002}, {"wider": -0.002}, {"lower": 0.002}, {"lower": -0.002}):
        other = simulate_options(book, shifted(solution.policy, **change), 3_000, seed=5)
        exceed(best.score, other.score)


@pytest.mark.slow
def test_revaluing_every_option_changes_little():
    """The harder check: Heston's prices at every step, the stock correlated, deltas held in between."""
    book = OptionsBook.published()
    solution = ts.solve(book)
    assert isinstance(solution, ts.hjb.OptionsSolution)
    surface = option_surface(book, 0.0225)
    assert surface.error < 1e-7
    first = simulate_options(book, solution.policy, 6_000, seed=7)
    full = simulate_options(book, solution.policy, 6_000, seed=7, revalue=True)
    np.testing.assert_array_equal(first.vega, full.vega)  # the same fills: the dealer quotes by the vegas of time 0
    told = solution.expected_wealth(0.0), solution.profit_deviation(0.0), solution.value(0.0)
    for result in (first, full):
        measured = result.mean_wealth, result.deviation, result.criterion
        errors = result.standard_error, result.deviation_standard_error, result.criterion_standard_error
        agree(measured, told, errors, samples=6_000, tolerance=4 * solution.error_estimate)
    apart = full.profit - first.profit  # vanna, volga and the steps of the hedge
    assert np.std(apart) < 0.02 * first.deviation
    agree(np.mean(apart), 0.0, np.std(apart) / np.sqrt(6_000), samples=6_000, tolerance=0.001 * first.mean_wealth)


@pytest.mark.slow
def test_a_book_without_customers_moves_as_the_variance_does():
    """First order in vega: mean and deviation by hand, and the profit's deviation is the solver's."""
    none = Logistic(np.zeros(20), 0.7, 150.0)
    book = OptionsBook.published(bid_demand=none, ask_demand=none)
    result = simulate_options(book, ts.solve(book).policy, 10_000, initial={"vega": 3e6})
    deviation = 3e6 * 0.1 * np.sqrt(0.0012)
    agree(result.deviation, deviation, result.deviation_standard_error, samples=10_000, tolerance=1e-3 * deviation)
    drift = 3e6 * (0.035 / 0.3) * 0.0012
    agree(result.mean_wealth, drift, result.standard_error, samples=10_000, tolerance=1e-2 * drift)
    assert result.charge == pytest.approx(1e-3 * 0.04 / 8 * 9e12 * 0.0012)


@pytest.mark.slow
def test_a_path_depends_on_the_seed_and_its_number_alone(book, solution):
    whole = simulate_options(book, solution.policy, 600, seed=11)
    parts = simulate_options(book, solution.policy, 600, seed=11, batch=256)
    np.testing.assert_array_equal(whole.profit, parts.profit)
    other = simulate_options(book, solution.policy, 600, seed=12)
    assert not np.any(whole.profit == other.profit)


@pytest.mark.slow
def test_any_function_can_quote(book, solution):
    """Quotes in price, all options at once; a policy that is one function of the solver's gives its numbers."""

    vegas, best = np.asarray(book.vegas)[None], solution.policy

    def quotes(t, state):
        every = jnp.arange(20, dtype=jnp.int32)
        wide = [jnp.broadcast_to(x[:, None], (*x.shape, 20)).ravel() for x in (t, state["vega"], state["variance"])]
        option = jnp.broadcast_to(every, (*t.shape, 20)).ravel()
        sides = [best.volatility(*wide, side, option).reshape(-1, 20) for side in (1, -1)]
        return ts.models.Quotes(*(side * vegas for side in sides))

    one = simulate_options(book, quotes, 256, seed=2)
    other = simulate_options(book, best, 256, seed=2)
    np.testing.assert_allclose(one.profit, other.profit, rtol=1e-9)


def short_dated(first, horizon):
    """Three calls of which the first matures soon after the horizon, in a market whose variance moves fast."""
    pricing, maturities = Heston(1.5, 0.03, 0.8, -0.6), np.array([first, 1.2 * first, first])
    strikes, demand = np.array([9.8, 10.0, 10.2]), Logistic(300.0, 0.3, 100.0)
    return OptionsBook(
        Heston(4.0, 0.09, 0.8, -0.6),
        pricing,
        10.0,
        0.05,
        strikes,
        maturities,
        np.array([1e3, 2e3, 3e3]) / pricing.vega(10.0, strikes, maturities, 0.05),
        demand,
        demand,
        2e4,
        2e-3,
        horizon,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("first", "horizon"), [(0.3, 0.02), (0.06, 0.05), (0.0201, 0.02)])
def test_options_are_revalued_at_hestons_price_up_to_their_maturity(first, horizon):
    """In the middle of what paths do, to a ten thousandth of a price of .02 to .8."""
    book = short_dated(first, horizon)
    t = horizon * np.array([0.0, 0.5, 0.99, 1.0, 1.0])
    log_spot, variance = np.log(10.0) + np.array([0, 0.01, 0, 0.03, -0.02]), np.array([0.05, 0.03, 0.05, 0.06, 0.08])
    with jax.enable_x64(True):
        found = option_surface(book, 0.05).prices(t, log_spot, variance)
    asked = np.exp(log_spot)[:, None], book.strikes, book.maturities - t[:, None], variance[:, None]
    np.testing.assert_allclose(found[0], book.pricing.call(*asked), atol=1e-4)
    np.testing.assert_allclose(found[1], book.pricing.delta(*asked), atol=2e-3)


def test_prices_that_cannot_be_fitted_are_refused_with_their_error(monkeypatch):
    monkeypatch.setattr(_option_surface, "_DEGREES", ((2, 1, 2),))
    with pytest.raises(ValueError, match=r"errors up to .* of the spot, .* first maturity, 0.06, is too near"):
        simulate_options(short_dated(0.06, 0.05), lambda t, state: (0.0, 0.0), 10, revalue=True)


def test_what_cannot_be_simulated_is_refused_by_name(book):
    def policy(t, state):
        raise AssertionError("asked before the inputs were looked at")

    with pytest.raises(ValueError, match="which options are held"):
        simulate_options(book, policy, 10, initial={"vega": 1e6}, revalue=True)
    with pytest.raises(ValueError, match="variance must be positive"):
        simulate_options(book, policy, 10, initial={"variance": -0.1})
    with pytest.raises(ValueError, match=r"vega=2e\+07 lies beyond the limit of \+-1e\+07"):
        simulate_options(book, policy, 10, initial={"vega": 2e7})
    with pytest.raises(TypeError, match="no state 'stock'"):
        simulate_options(book, policy, 10, initial={"stock": 1.0})
    with pytest.raises(ValueError, match="paths and steps must be at least 1"):
        simulate_options(book, policy, 0)
