"""The printed equation: its maximum by brute force, its value by another quadrature, and what does not hold up."""

import numpy as np
import pytest
from scipy.integrate import quad

import twosided as ts

GROWTH, VOLATILITY, RATE, HORIZON, PRICE, AVERSION = 0.1, 0.3, 0.04, 0.5, 10.0, 0.2
BID, ASK = (40.0, 0.9), (25.0, 1.4)  # scale, decay


def dealer(**changes):
    settings = {
        "growth": GROWTH,
        "volatility": VOLATILITY,
        "rate": RATE,
        "horizon": HORIZON,
        "bid_demand": ts.models.Exponential(*BID),
        "ask_demand": ts.models.Exponential(*ASK),
        "price": PRICE,
        "max_stock": 150.0,
        "risk_aversion": AVERSION,
    }
    return ts.models.PrintedDealer(**(settings | changes))


@pytest.fixture(scope="module")
def solution():
    return ts.solve(dealer())


def printed(stock, bid, ask, aversion=AVERSION):
    """What is printed under the maximum, `(p_s - p_b) q_s + p_b q_b - r_s S q_b` less its variance term."""
    p_b, p_s = PRICE - bid, PRICE + ask
    bought, sold = BID[0] * np.exp(-BID[1] * (PRICE - p_b)), ASK[0] * np.exp(-ASK[1] * (p_s - PRICE))
    mean = (p_s - p_b) * sold + (p_b - GROWTH * stock) * bought
    return mean - aversion / 2 * ((p_s - p_b) ** 2 * sold + (p_b - GROWTH * stock) ** 2 * bought)


STOCK = np.array([-60.0, 0.0, 30.0, 85.0, 140.0])


def test_the_bracket_is_the_printed_one():
    found = dealer().bracket(STOCK, 2.5, 0.3)
    np.testing.assert_allclose(found, printed(STOCK, 2.5, 0.3), rtol=1e-13)


@pytest.mark.parametrize(
    "aversion",
    [AVERSION, 0.7],
)
def test_the_maximum_is_that_of_a_search_over_all_admissible_prices(aversion):
    worth, bid, ask = dealer(risk_aversion=aversion).maximum(STOCK)
    b, a = (
        np.linspace(0, PRICE, 1001)[:, None],
        np.append(np.linspace(0, 8, 801), 1e3)[None],
    )  # the last: as good as no quote
    for stock, best, its_bid, its_ask in zip(STOCK, worth, bid, ask, strict=True):
        table = printed(stock, b, a, aversion)
        i, j = np.unravel_index(np.argmax(table), table.shape)
        assert table.max() <= best + 1e-9
        assert best == pytest.approx(table.max(), abs=2e-3)
        its_ask = min(its_ask, 1e3)
        assert (its_bid, its_ask) == pytest.approx((b[i, 0], a[0, j]), abs=0.02)
        assert best == pytest.approx(printed(stock, its_bid, its_ask, aversion), rel=1e-12)
        assert 0 <= its_bid <= PRICE
        assert its_ask >= 0


def test_quotes_do_not_change_with_time(solution):
    times = np.array([0.0, 0.21, HORIZON])[:, None]
    quotes = solution.quotes(times, stock=STOCK[None])
    np.testing.assert_array_equal(quotes.bid, np.broadcast_to(quotes.bid[0], (3, 5)))
    np.testing.assert_array_equal(quotes.ask, np.broadcast_to(quotes.ask[0], (3, 5)))


def test_an_empty_account_is_worth_the_maximum_times_the_time_to_go(solution):
    worth = float(dealer().maximum(0.0)[0])
    for t in (0.0, 0.125, HORIZON):
        assert solution.value(t) == pytest.approx(worth * (HORIZON - t), rel=1e-9, abs=1e-12)
    assert solution.value(cash=7.0) - solution.value() == pytest.approx(7 * np.exp(RATE * HORIZON), rel=1e-12)


def test_the_value_is_the_expected_maximum_along_a_lognormal_stock(solution):
    """By adaptive quadrature over time, in which the stock grows at `r`, of a Gauss-Hermite mean at each time."""
    node, weight = np.polynomial.hermite_e.hermegauss(101)
    problem, stock = dealer(), 40.0

    def mean_rate(root):
        u = root**2
        where = stock * np.exp((RATE - VOLATILITY**2 / 2) * u + VOLATILITY * root * node)
        return 2 * root * (weight / weight.sum()) @ problem.maximum(where)[0]

    m = quad(mean_rate, 0, np.sqrt(HORIZON), epsabs=1e-6, limit=12)[0]
    found = solution.value(stock=stock) - np.exp(RATE * HORIZON) * stock
    assert found == pytest.approx(m, rel=1e-4)


def test_over_all_prices_there_is_no_maximum():
    """`p_b = p_s - 1/lambda` with `p_s` ever lower: the admissible set is what keeps the answer finite."""
    ask = -np.array([1.0, 5.0, 10.0, 20.0])
    worth = dealer().bracket(0.0, 1 / AVERSION - ask, ask)
    assert np.all(np.diff(worth) > 0)
    assert worth[-1] > 1e6 * dealer().maximum(0.0)[0]


def test_its_own_risk_of_holding_stock_is_nowhere_in_the_quotes():
    """`sigma^2 S^2` is not penalised: a volatility five times as large leaves every quote where it was."""
    for one, other in zip(dealer().maximum(STOCK), dealer(volatility=1.5).maximum(STOCK), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"risk_aversion": 0.0}, "printed maximum is infinite"),
        ({"price": -1.0}, "price must be positive"),
        ({"max_stock": np.nan}, "max_stock must be positive and finite"),
    ],
)
def test_what_the_printed_equation_cannot_bear_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dealer(**changes)


@pytest.mark.parametrize("method", [ts.hjb.FiniteDifference(), ts.hjb.Lattice(), ts.hjb.TargetMethod()])
def test_a_grid_is_refused_by_the_name_of_what_solves_it(method):
    with pytest.raises(ValueError, match=r"cannot solve PrintedDealer.*take ClosedForm"):
        ts.solve(dealer(), method)
