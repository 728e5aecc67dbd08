"""The options book as a statement: its published numbers, its signs, and what it refuses."""

import numpy as np
import pytest

import twosided as ts
from twosided.models import case

Heston, Logistic, OptionsBook = ts.models.Heston, ts.models.Logistic, ts.models.OptionsBook


@pytest.fixture(scope="module")
def book():
    return OptionsBook.published()


def test_the_twenty_options_are_the_published_ones(book):
    one_year = book.maturities == 1
    np.testing.assert_array_equal(book.strikes[one_year], [8, 9, 10, 11, 12])
    np.testing.assert_allclose(book.prices[one_year], [2.05972, 1.21775, 0.58602, 0.21780, 0.06128], atol=0.5e-5)
    np.testing.assert_allclose(book.vegas[one_year], [0.41672, 0.91386, 1.25236, 1.05922, 0.55920], atol=0.5e-5)
    np.testing.assert_allclose(book.sizes * book.prices, 5e5)
    np.testing.assert_allclose(book.size, book.sizes * book.vegas)


def test_requests_are_won_as_published(book):
    """A third of them at the model's price, 69% one volatility point better: distances are in implied volatility."""
    for demand in (book.bid_demand, book.ask_demand):
        assert np.asarray(demand.intensity(np.zeros(20)) / demand.scale) == pytest.approx(0.3318, abs=0.5e-4)
        assert np.asarray(demand.intensity(np.full(20, -0.01)) / demand.scale) == pytest.approx(0.690, abs=0.5e-3)
    np.testing.assert_allclose(book.bid_demand.scale, 7560 / (1 + 0.7 * np.abs(10 - book.strikes)))


def test_vega_earns_what_prices_do_not_expect_of_the_variance(book):
    """The variance is expected to rise by .035 a year where prices hold it still: `.035/(2 x .15)` per unit of vega."""
    assert book.income(0.0225) == pytest.approx(0.035 / 0.3)
    swapped = OptionsBook.published(physical=book.pricing, pricing=book.physical, sizes=book.sizes)
    assert swapped.income(0.0225) == pytest.approx(-0.035 / 0.3)
    assert book.running_cost(2e6) == pytest.approx(1e-3 * 0.2**2 / 8 * 4e12)


def test_no_fill_may_cross_the_limit(book):
    trade, limit = book.size, 1e7
    assert np.all(book.may_fill(+1, limit - trade))
    assert not np.any(book.may_fill(+1, limit - 0.999 * trade))
    assert np.all(book.may_fill(-1, limit - 0.999 * trade))
    assert not np.any(book.may_fill(-1, -limit + 0.999 * trade))


def test_a_book_survives_the_way_through_data(book):
    again = case.from_data(case.to_data(book))
    assert repr(again) == repr(book)
    np.testing.assert_array_equal(again.sizes, book.sizes)
    np.testing.assert_array_equal(again.ask_demand.scale, book.ask_demand.scale)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variance": -0.02}, "variance must be positive"),
        ({"spot": float("nan")}, "spot must be positive"),
        ({"strikes": np.ones(19)}, r"of one length, got shapes strikes \(19,\)"),
        ({"sizes": 5.0}, r"sizes \(\)"),
        ({"sizes": -np.ones(20)}, "sizes must be positive"),
        ({"risk_aversion": -1e-3}, "risk_aversion must be finite and not negative"),
        ({"horizon": 0.0}, "horizon must be positive"),
        ({"horizon": 1.0}, "does not end before the first maturity of 1 years"),
        ({"vega_limit": 4e6}, "below the vega 4.56285e.06 of one trade in the call of strike 12 and maturity 1"),
        ({"pricing": Heston(3.0, 0.0225, 0.3, -0.5)}, "volatility_of_variance is 0.2 in the physical and 0.3"),
        ({"physical": Heston(2.0, 0.04, 0.2, 0.5)}, "correlation is 0.5 in the physical and -0.5"),
        ({"ask_demand": Logistic(np.ones(3), 0.7, 150.0)}, r"ask_demand has a parameter of shape \(3,\)"),
    ],
)
def test_impossible_books_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        OptionsBook.published(**change)


def test_what_is_no_model_or_no_demand_is_refused():
    with pytest.raises(TypeError, match="pricing"):
        OptionsBook.published(pricing=None)
    with pytest.raises(TypeError, match="bid_demand"):
        OptionsBook.published(bid_demand=None)
