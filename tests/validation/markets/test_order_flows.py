"""Order flow that a policy was not derived for: clustered, informed; and a dealer with accounts in the same markets."""

import equinox as eqx
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import twosided as ts
from twosided.validation.markets import HawkesMarket, PoissonMarket, attribute
from twosided.validation.simulation import play_markets
from twosided.validation.statistics import Disagreement, agree

BUSY, SLOW = ts.models.Exponential(40.0, 2.0), ts.models.Exponential(15.0, 1.0)  # an asymmetric pair
NEAR, FAR = 0.33, 0.17  # distances of bid and ask
PATHS = 20_000


def dealer(**changes):
    settings = {
        "volatility": 0.5, "horizon": 2.0, "bid_demand": BUSY, "ask_demand": SLOW, "lot": 2.0,
        "max_inventory": 1000, "objective": ts.models.RunningPenalty(0.0), "drift": 0.1,
    }  # fmt: skip
    return ts.models.InventoryDealer(**{**settings, **changes})


class Constant(eqx.Module):
    """The same two distances at all times; none where they are nan."""

    bid: float = NEAR
    ask: float = FAR

    def __call__(self, t, state):
        none = 0 * t
        return ts.Quotes(self.bid + none, self.ask + none)


def played(market, policy=None, seed=1, **changes):
    return ts.simulate(dealer(**changes), policy or Constant(), PATHS, seed=seed, market=market)


# Clustered orders

BURSTS = {"self_excitation": 0.5, "cross_excitation": 0.1, "decay": 5.0}


def moments_of_hawkes(own, cross, decay, mean, horizon):
    """Mean and covariance of the two counts of a Hawkes process whose rates start at their mean (Ito's formula)."""
    jumps = decay * np.array([[own, cross], [cross, own]])
    drift, squares = jumps - decay * np.eye(2), jumps @ np.diag(mean) @ jumps.T

    def change(t, y):
        rates, mixed, _ = y.reshape(3, 2, 2)
        return np.stack(
            [
                drift @ rates + rates @ drift.T + squares,
                drift @ mixed + rates + jumps @ np.diag(mean),
                mixed + mixed.T + np.diag(mean),
            ]
        ).ravel()

    end = solve_ivp(change, (0, horizon), np.zeros(12), rtol=1e-9, atol=1e-9).y[:, -1]
    return horizon * mean, end.reshape(3, 2, 2)[2]


@pytest.mark.slow
def test_clustered_orders_have_the_models_mean_and_a_hawkes_process_variance():
    result = played(HawkesMarket(**BURSTS))
    rates = np.array([40.0, 15.0])
    reach = np.array([float(BUSY.intensity(NEAR)), float(SLOW.intensity(FAR))]) / rates  # the share that gets there
    own, cross, decay = BURSTS.values()
    mean, covariance = moments_of_hawkes(own, cross, decay, rates, 2.0)
    expected = np.outer(reach, reach) * covariance + np.diag(reach * (1 - reach) * mean)
    fills = np.stack([result.bid_fills, result.ask_fills]).astype(float)
    away = fills - (reach * mean)[:, None]
    agree(fills.mean(axis=1), reach * mean, fills.std(axis=1) / np.sqrt(PATHS), samples=PATHS)
    for i, j in ((0, 0), (1, 1), (0, 1)):
        products = away[i] * away[j]
        agree(products.mean(), expected[i, j], products.std() / np.sqrt(PATHS), samples=PATHS)
    with pytest.raises(Disagreement):  # as if they were not clustered
        agree(np.mean(away[0] ** 2), reach[0] * mean[0], np.std(away[0] ** 2) / np.sqrt(PATHS), samples=PATHS)


@pytest.mark.slow
def test_orders_that_bring_none_are_the_poisson_markets():
    alone, beside, bursts = play_markets(
        dealer(),
        [(Constant(), each) for each in (PoissonMarket(), HawkesMarket(decay=3.0), HawkesMarket(**BURSTS))],
        PATHS,
        seed=2,
    )
    np.testing.assert_array_equal(beside.wealth, alone.wealth)
    assert np.any(bursts.wealth != alone.wealth)
    mean = 2.0 * np.array([BUSY.intensity(NEAR), SLOW.intensity(FAR)])
    for counts, expected in zip((alone.bid_fills, alone.ask_fills), mean, strict=True):
        agree(np.mean(counts), expected, np.sqrt(expected / PATHS), samples=PATHS)
        squares = (counts - expected) ** 2
        agree(np.mean(squares), expected, np.std(squares) / np.sqrt(PATHS), samples=PATHS)


# Informed orders

SHARE, MOVE, DELAY = 0.4, 0.06, 0.8
HITS = (float(BUSY.intensity(NEAR)), float(SLOW.intensity(FAR)))  # fills per unit of time


def wealth_in_closed_form(lost):
    """Of `Constant` in `dealer()`, where a fill loses `lost` to those who knew; the drift acts on what is held."""
    net = HITS[0] - HITS[1]
    return 2.0 * (2.0 * (HITS[0] * NEAR + HITS[1] * FAR) - sum(HITS) * lost + net * 0.1 * 2.0**2 / 2)


@pytest.mark.slow
def test_an_informed_order_costs_the_move_that_it_knew_of():
    result = played(PoissonMarket(informed=SHARE, informed_move=MOVE), seed=3)
    # All who hit a quote at a positive distance accept the reference price, so that a share of them is informed.
    expected = wealth_in_closed_form(SHARE * MOVE * 2.0)
    agree(result.mean_wealth, expected, result.standard_error, samples=PATHS)
    with pytest.raises(Disagreement):
        agree(result.mean_wealth, wealth_in_closed_form(0.0), result.standard_error, samples=PATHS)
    for counts, hits in zip((result.bid_fills, result.ask_fills), HITS, strict=True):  # as many as without
        agree(np.mean(counts), 2.0 * hits, np.sqrt(2.0 * hits / PATHS), samples=PATHS)


def test_a_move_that_comes_later_costs_what_has_come_of_it_by_the_horizon():
    result = played(PoissonMarket(informed=SHARE, informed_move=MOVE, informed_delay=DELAY), seed=4)
    come = 2.0 - DELAY * -np.expm1(-2.0 / DELAY)  # integral of 1 - e^{-(T - t)/delay}
    expected = wealth_in_closed_form(SHARE * MOVE * come)
    agree(result.mean_wealth, expected, result.standard_error, samples=PATHS)
    with pytest.raises(Disagreement):
        agree(result.mean_wealth, wealth_in_closed_form(SHARE * MOVE * 2.0), result.standard_error, samples=PATHS)


@pytest.mark.parametrize(
    "settings",
    [
        {"informed_delay": DELAY},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"refresh": 0.05, "latency": 0.02}, marks=pytest.mark.slow),
    ],
)
def test_informed_orders_leave_drift_and_volatility_as_they_are(settings):
    market = PoissonMarket(informed=SHARE, informed_move=MOVE, **settings)
    problem, silent = dealer(), Constant(np.nan, np.nan)
    result = ts.simulate(problem, silent, PATHS, seed=5, initial={"inventory": 3.0}, market=market)
    assert result.fills == (0.0, 0.0)
    agree(result.mean_wealth, 2.0 * 3 * 0.1 * 2.0, result.standard_error, samples=PATHS)
    variance = (0.5 * 2.0 * 3.0) ** 2 * 2.0
    if "informed_delay" in settings:  # of what informed orders move, e^{-(T - t)/delay} is still to come
        moves = SHARE * MOVE**2 * (40.0 + 15.0)
        late, later = DELAY * -np.expm1(-2.0 / DELAY), DELAY / 2 * -np.expm1(-4.0 / DELAY)
        variance -= (2.0 * 3.0) ** 2 * moves * (2 * late - later)
    agree(result.variance, variance, result.variance_standard_error, samples=PATHS)


@pytest.mark.slow
def test_a_dealer_who_knows_of_informed_orders_gets_what_the_solver_says():
    share, move, paths = 0.25, 0.04, 4000
    objective = ts.models.RunningPenalty(0.1, 0.2)
    world = dealer(volatility=0.2, max_inventory=4, objective=objective)
    known = dealer(volatility=0.2, max_inventory=4, objective=objective, adverse_selection=share * move)
    solution = ts.solve(known)
    market = HawkesMarket(**BURSTS, tick=0.05, refresh=0.02, informed=share, informed_move=move, position_limit=2)
    assert market.only(("refresh", "informed")).to_data() == {
        "type": "PoissonMarket", "refresh": 0.02, "informed": share, "informed_move": move
    }  # fmt: skip
    found = attribute(world, solution.policy, market, 1500, seed=6)
    names = [term.name for term in found.terms]
    assert names == ["clustering", "refresh", "tick", "informed", "limits"]
    total = found.frictionless.criterion + sum(term.value for term in found.terms)
    assert total == pytest.approx(found.obtained.criterion, abs=1e-12)
    assert found.terms[3].value < -5.4 * found.terms[3].standard_error
    assert found.terms[3].standard_error < found.terms[0].standard_error  # it meets the same orders as without
    alone = PoissonMarket(informed=share, informed_move=move)
    result = ts.simulate(world, solution.policy, paths, seed=7, market=alone)
    agree(result.mean_wealth, solution.expected_wealth(0.0), result.standard_error, samples=paths)
    agree(result.criterion, solution.value(0.0), result.criterion_standard_error, samples=paths)


# A dealer with accounts


def account_dealer(**changes):
    settings = {
        "growth": 0.15, "volatility": 0.45, "rate": 0.03, "horizon": 20 / 244, "lot": 1.0, "max_stock": 10.0,
        "bid_demand": ts.models.Exponential(15.0 * 244, 60.0), "ask_demand": ts.models.Exponential(12.0 * 244, 70.0),
        "objective": ts.models.MeanQuadraticVariation(10.0),
    }  # fmt: skip
    return ts.models.StockCashDealer(**{**settings, **changes})


@pytest.mark.slow
def test_without_frictions_a_dealer_with_accounts_earns_and_is_charged_what_its_moments_say():
    problem, policy = account_dealer(max_stock=1e4), Constant(0.02, 0.015)
    result = ts.simulate(problem, policy, PATHS, seed=12, initial={"stock": 2.0, "cash": -1.0}, market=PoissonMarket())
    g, sigma, r, horizon, penalty = 0.15, 0.45, 0.03, 20 / 244, 10.0
    hits = np.array([problem.bid_demand.intensity(0.02), problem.ask_demand.intensity(0.015)])
    earned = np.array([0.02, 0.015])

    def change(t, y):  # mean and mean square of the stock, gain at the horizon, charge
        carried, net = np.exp(r * (horizon - t)), hits[0] - hits[1]
        return [
            g * y[0] + net,
            (2 * g + sigma**2) * y[1] + 2 * net * y[0] + hits.sum(),
            carried * (hits @ earned + (g - r) * y[0]),
            penalty / 2 * carried**2 * (sigma**2 * y[1] + hits @ earned**2),
        ]

    end = solve_ivp(change, (0, horizon), [2.0, 4.0, 0.0, 0.0], rtol=1e-9, atol=1e-12).y[:, -1]
    expected = (end[0], end[2] + np.exp(r * horizon) * (2.0 - 1.0), end[3])
    for sample, value in zip((result.inventory, result.wealth, result.charge), expected, strict=True):
        agree(np.mean(sample), value, np.std(sample) / np.sqrt(PATHS), samples=PATHS)


@pytest.mark.slow
def test_without_frictions_a_dealer_with_accounts_gets_what_the_solver_says():
    problem, start = account_dealer(), {"stock": 2.0, "cash": -1.0}
    solution = ts.solve(problem)
    result = ts.simulate(problem, solution.policy, PATHS, seed=8, initial=start, market=PoissonMarket())
    exact = ts.simulate(problem, solution.policy, PATHS, seed=9, initial=start)
    agree(result.mean_wealth, solution.expected_wealth(0.0, **start), result.standard_error, samples=PATHS)
    agree(result.criterion, solution.value(0.0, **start), result.criterion_standard_error, samples=PATHS)
    for name in ("inventory", "charge", "bid_fills", "ask_fills"):
        one, other = (np.asarray(getattr(each, name), float) for each in (result, exact))
        agree(np.mean(one), np.mean(other), np.sqrt((np.var(one) + np.var(other)) / PATHS), samples=PATHS)
    assert result.mean_spread == pytest.approx(exact.mean_spread, rel=5e-3)


def test_an_account_follows_its_own_rules_order_by_order():
    # No volatility: the price grows evenly, and what a plain loop says of one path is exact.
    problem = account_dealer(volatility=0.0, growth=0.9, max_stock=3.0)
    market = PoissonMarket(tick=0.05, opening=20.0, refresh=0.002, adverse_selection=1e-4)
    policy = Constant(0.02, 0.015)
    result = ts.simulate(problem, policy, 300, seed=10, market=market)
    refreshed = np.arange(0.0, 20 / 244, 0.002)
    price = 20.0 * np.exp(0.9 * refreshed)
    bid, ask = np.floor(price * 0.98 / 0.05 + 1e-9) * 0.05, np.ceil(price * 1.015 / 0.05 - 1e-9) * 0.05
    late = 20.0 * np.exp(0.9 * (refreshed + 0.002))
    for fills, demand, near, far in (
        (result.bid_fills, problem.bid_demand, 1 - bid / price, 1 - bid / late),
        (result.ask_fills, problem.ask_demand, ask / price - 1, ask / late - 1),
    ):
        # A quote fills at most once an interval; between the rates at its two ends, but for the limit on the stock.
        rates = np.sort([demand.intensity(near), demand.intensity(far)], axis=0)
        most = np.sum(-np.expm1(-0.002 * rates[1]))
        assert 0.3 * most < np.mean(fills) < most
    assert np.max(np.abs(result.inventory)) <= 3.0 * np.exp(0.9 * 20 / 244)
    assert np.any(np.abs(result.inventory) > 2.0)


@pytest.mark.slow
def test_informed_orders_cost_a_dealer_with_accounts_as_well():
    problem = account_dealer(growth=0.03, max_stock=1e4, objective=ts.models.MeanVariance(0.0))
    policy, market = Constant(0.02, 0.015), PoissonMarket(informed=0.2, informed_move=0.004)
    result = ts.simulate(problem, policy, PATHS, seed=11, market=market)
    horizon = 20 / 244
    hits = [float(problem.bid_demand.intensity(0.02)), float(problem.ask_demand.intensity(0.015))]
    carried = np.expm1(0.03 * horizon) / 0.03  # money of all moments, at the horizon
    expected = carried * (hits[0] * 0.02 + hits[1] * 0.015 - sum(hits) * 0.2 * 0.004)
    agree(result.mean_wealth, expected, result.standard_error, samples=PATHS)


# What is refused


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (HawkesMarket, {"self_excitation": 0.7, "cross_excitation": 0.3}, "must sum to less than 1 .* got 0.7 and 0.3"),
        (HawkesMarket, {"cross_excitation": -0.1}, "cross_excitation must be finite and not negative, got -0.1"),
        (HawkesMarket, {"decay": 0.0}, "HawkesMarket: decay must be .*positive.*, got 0; it is per unit of time"),
        (HawkesMarket, {"tick": -1.0}, "HawkesMarket: tick must be finite and not negative"),
        (PoissonMarket, {"informed": 1.2, "informed_move": 1}, "informed is a share between 0 and 1, got 1.2"),
        (PoissonMarket, {"informed": 0.2}, "informed needs informed_move as well, got 0; give both or neither"),
        (PoissonMarket, {"informed_move": 0.2}, "informed_move needs informed as well"),
        (PoissonMarket, {"informed_delay": 0.2}, "informed_delay needs informed as well"),
    ],
)
def test_an_order_flow_that_cannot_be_is_refused_by_name(kind, settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        kind(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("problem", "market", "message"),
    [
        (dealer(), HawkesMarket(cross_excitation=0.5), "cross_excitation 0.5 brings more orders to the ask than come"),
        (dealer(), PoissonMarket(informed=0.9, informed_move=0.1), "more than its volatility of 0.5; lower informed"),
        (account_dealer(), PoissonMarket(tick=0.01), "tick needs the opening price, as the distances .* are shares"),
    ],
)
def test_a_flow_that_does_not_suit_the_problem_is_refused_by_name(problem, market, message):
    with pytest.raises(ValueError, match=message) as caught:
        ts.simulate(problem, Constant(), 300, market=market)
    assert "\n" not in str(caught.value)
