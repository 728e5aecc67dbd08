"""The currency dealer's statement: closed forms against brute force, the published case, and refusals by name."""

import numpy as np
import pytest

import twosided as ts
from twosided.models.case import from_data, to_data

MODELS = ts.models
TIERS = MODELS.Logistic(scale=(100.0, 60.0), alpha=(-0.3, -1.9), beta=(5.0, 15.0))
GIVEN = {
    "volatility": 50.0,
    "horizon": 0.01,
    "bid_demand": TIERS,
    "ask_demand": TIERS,
    "sizes": (1.0, 2.0),
    "shares": (0.7, 0.3),
    "max_inventory": 20.0,
    "risk_aversion": 2e-3,
}


def test_the_best_distance_wins_and_gains_what_a_search_over_distances_finds():
    dealer = MODELS.CurrencyDealer(**GIVEN)
    price = np.array([[-0.4, 0.1], [0.0, 0.7]])
    distance, won, gain = dealer.response(-1, price)
    assert distance.shape == (2, 2, 2)  # places, tiers, sizes
    tried = np.linspace(-1.0, 2.0, 300_001)
    for place, tier, size in np.ndindex(distance.shape):
        chance = 1 / (1 + np.exp(TIERS.alpha[tier] + TIERS.beta[tier] * tried))
        best = np.argmax(chance * (tried - price[place, size]))
        assert distance[place, tier, size] == pytest.approx(tried[best], abs=2e-5)
        assert won[place, tier, size] == pytest.approx(chance[best], abs=1e-4)
        assert gain[place, tier, size] == pytest.approx(chance[best] * (tried[best] - price[place, size]), rel=1e-9)


def test_the_markets_hamiltonian_is_what_a_search_over_rates_finds():
    market = MODELS.Hedging(half_spread=0.1, slippage=1e-5, impact=5e-3)
    rates = np.linspace(-4e4, 4e4, 800_001)
    for price in (-0.3, -0.05, 0.1, 0.45):
        worth = rates * price - market.cost(rates)
        assert market.gain(price) == pytest.approx(np.max(worth), abs=1e-6)
        assert market.rate(price) == pytest.approx(rates[np.argmax(worth)], abs=0.2)


def test_requests_are_shared_out_over_the_sizes_of_each_tier():
    np.testing.assert_allclose(MODELS.CurrencyDealer(**GIVEN).requests(+1), [[70.0, 30.0], [42.0, 18.0]])


def test_the_published_case_is_the_papers_and_can_be_changed():
    dealer = MODELS.CurrencyDealer.published(risk_aversion=1e-3)
    assert (dealer.tiers, dealer.sizes.size, float(dealer.limit), float(dealer.size)) == (2, 6, 250.0, 1.0)
    assert float(dealer.risk_aversion) == 1e-3
    assert float(np.sum(dealer.requests(+1))) == pytest.approx(3600.0)


@pytest.mark.parametrize("hedging", [None, MODELS.Hedging(0.1, 1e-5, 5e-3)], ids=["clients only", "with a market"])
def test_a_case_file_gives_the_same_dealer_back(hedging):
    dealer = MODELS.CurrencyDealer(**GIVEN, hedging=hedging)
    book = MODELS.CurrencyBook((dealer, dealer), [[1.0, 0.5], [0.5, 1.0]])
    assert repr(from_data(to_data(dealer))) == repr(dealer)
    assert to_data(from_data(to_data(book))) == to_data(book)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"volatility": -1.0}, "CurrencyDealer: volatility"),
        ({"volatility": (50.0, 20.0)}, "CurrencyDealer: volatility must be one number"),
        ({"horizon": (0.01,)}, "CurrencyDealer: horizon must be one number"),
        ({"horizon": 0.0}, "CurrencyDealer: horizon"),
        ({"risk_aversion": np.nan}, "CurrencyDealer: risk_aversion"),
        ({"terminal": -1.0}, "CurrencyDealer: terminal"),
        ({"bid_demand": MODELS.Logistic(100.0, -0.3, 5.0)}, "CurrencyDealer: bid_demand must have one entry"),
        ({"ask_demand": MODELS.Logistic((1.0,), (-0.3,), (5.0,))}, "as many tiers as each other"),
        ({"sizes": (2.0, 1.0)}, "sizes must ascend"),
        ({"sizes": (1.0, 2.0, 5.0)}, "sizes and shares must be lists of one length"),
        ({"sizes": (1.0, 2.5)}, "sizes must be whole multiples of the smallest size 1 M"),
        ({"shares": (0.7, 0.2)}, "shares must add up to 1"),
        ({"shares": (1.7, -0.7)}, "CurrencyDealer: shares"),
        ({"max_inventory": 20.5}, "max_inventory must be whole multiples"),
        ({"max_inventory": np.inf}, "CurrencyDealer: max_inventory"),
        ({"max_inventory": 1.0}, "max_inventory 1 M is below the largest size"),
    ],
)
def test_what_cannot_be_is_refused_by_name(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        MODELS.CurrencyDealer(**{**GIVEN, **changes})


def test_another_demand_or_market_is_refused_by_name():
    with pytest.raises(TypeError, match="ask_demand must be Logistic"):
        MODELS.CurrencyDealer(**{**GIVEN, "ask_demand": MODELS.Exponential(1.0, 1.0)})
    with pytest.raises(TypeError, match="hedging must be Hedging"):
        MODELS.CurrencyDealer(**GIVEN, hedging=0.1)
    with pytest.raises(ValueError, match="Hedging: slippage must be positive"):
        MODELS.Hedging(0.1, 0.0)
    with pytest.raises(ValueError, match="Hedging: half_spread must be one number"):
        MODELS.Hedging((0.1, 0.2), 1e-5)


@pytest.mark.parametrize(
    ("correlation", "complaint"),
    [
        ([[1.0]], "a row and a column for each of 2 pairs"),
        ([[1.0, 0.5], [0.4, 1.0]], "symmetric"),
        ([[1.0, 1.5], [1.5, 1.0]], "positive semi-definite, but has the eigenvalue -0.5"),
        ([[2.0, 0.5], [0.5, 1.0]], "ones on its diagonal"),
    ],
)
def test_a_correlation_that_cannot_be_is_refused_by_name(correlation, complaint):
    dealer = MODELS.CurrencyDealer(**GIVEN)
    with pytest.raises(ValueError, match=f"CurrencyBook: correlation must .*{complaint}"):
        MODELS.CurrencyBook((dealer, dealer), correlation)


def test_pairs_that_do_not_fit_together_are_refused_by_name():
    dealer, other = MODELS.CurrencyDealer(**GIVEN), MODELS.CurrencyDealer(**{**GIVEN, "horizon": 0.02})
    with pytest.raises(ValueError, match="all pairs must have one horizon"):
        MODELS.CurrencyBook((dealer, other), np.eye(2))
    with pytest.raises(TypeError, match=r"pairs\[1\] must be a CurrencyDealer"):
        MODELS.CurrencyBook((dealer, 3), np.eye(2))
