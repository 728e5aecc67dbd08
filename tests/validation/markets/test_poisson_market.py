"""A market with frictions: without them it is the model, and with them it does what its rules say, order by order."""

from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import twosided as ts
from twosided.models._precision import in_float64
from twosided.validation import matching as mt
from twosided.validation._randomness import key_of, stream, uniform, words
from twosided.validation.markets import PoissonMarket, attribute, misspecified, nearest, open_venue, wrong
from twosided.validation.statistics import Disagreement, agree

BUSY, SLOW = ts.models.Exponential(40.0, 2.0), ts.models.Exponential(15.0, 1.0)  # an asymmetric pair


def dealer(**changes):
    settings = {
        "volatility": 0.3, "horizon": 2.0, "bid_demand": BUSY, "ask_demand": SLOW, "lot": 2.0,
        "max_inventory": 6, "objective": ts.models.MeanVariance(0.02), "drift": 0.1, "adverse_selection": 0.05,
    }  # fmt: skip
    return ts.models.InventoryDealer(**{**settings, **changes})


class Leaning(eqx.Module):
    """Distances that lean against the inventory, and widen in time."""

    bid: float = 0.33
    ask: float = 0.17
    tilt: float = 0.02
    widening: float = 0.05

    def __call__(self, t, state):
        q = state["inventory"]
        wider = self.widening * t
        return ts.Quotes(self.bid + self.tilt * q + wider, self.ask - self.tilt * q + wider)


# Without frictions it is the model


def assert_the_model(problem, market, paths, seed, run=None):
    """Play a solution where nothing stands between quotes and fills, beside the solver and the exact simulation."""
    solution = ts.solve(problem)
    played = ts.simulate(run or problem, solution.policy, paths, seed=seed, market=market)
    exact = ts.simulate(problem, solution.policy, paths, seed=seed + 1)
    agree(played.mean_wealth, solution.expected_wealth(0.0), played.standard_error, samples=paths)
    variance = 2 * (solution.expected_wealth(0.0) - solution.value(0.0)) / 0.02
    agree(played.variance, variance, played.variance_standard_error, samples=paths)
    for name in ("inventory", "bid_fills", "ask_fills", "score"):
        one, other = (np.asarray(getattr(result, name), float) for result in (played, exact))
        error = np.sqrt((np.var(one) + np.var(other)) / paths)
        agree(np.mean(one), np.mean(other), error, samples=paths)
    assert played.mean_spread == pytest.approx(exact.mean_spread, rel=2e-3)


def test_without_frictions_it_reproduces_the_solver_and_the_exact_simulation():
    assert_the_model(dealer(), PoissonMarket(), 20_000, seed=1)


def test_the_comparison_with_the_model_can_fail():
    with pytest.raises(Disagreement):
        assert_the_model(dealer(), PoissonMarket(tick=0.1), 40_000, seed=1)
    swapped = dealer(bid_demand=SLOW, ask_demand=BUSY)
    with pytest.raises(Disagreement):
        assert_the_model(dealer(), PoissonMarket(), 40_000, seed=1, run=swapped)


def test_adverse_selection_of_the_market_is_that_of_the_problem():
    problem = dealer(adverse_selection=0.0)
    policy = ts.solve(problem).policy
    market = ts.simulate(problem, policy, 30_000, seed=2, market=PoissonMarket(adverse_selection=0.05))
    model = ts.simulate(dealer(), policy, 30_000, seed=3)
    error = np.hypot(market.standard_error, model.standard_error)
    agree(market.mean_wealth, model.mean_wealth, error, samples=30_000)


@pytest.mark.slow
def test_without_frictions_it_reproduces_the_solver_at_three_hundred_thousand_paths():
    assert_the_model(dealer(), PoissonMarket(), 300_000, seed=4)


# Stale quotes, ticks, queue, latency and limits


@pytest.mark.slow
def test_stale_quotes_are_hit_at_the_distance_they_have_by_then():
    # Quotes around the reference at each look: a side is filled within an interval with probability
    # 1 - E exp(-int Lambda(x +- (mu s + sigma Z_s)) ds), by Feynman and Kac.
    interval, paths = 0.25, 20_000
    problem = dealer(volatility=0.5, max_inventory=1000)
    policy = Leaning(0.9, 0.7, 0.0, 0.0)
    result = ts.simulate(problem, policy, paths, seed=5, market=PoissonMarket(refresh=interval))
    z = np.linspace(-2.5, 2.5, 1001)
    for side, fills, demand, distance in ((+1, "bid_fills", BUSY, 0.9), (-1, "ask_fills", SLOW, 0.7)):
        rate = demand.intensity(distance + side * z)

        def change(s, u, rate=rate):
            slope, bend = np.gradient(u, z), np.gradient(np.gradient(u, z), z)
            return 0.1 * slope + 0.5 * 0.5**2 * bend - rate * u

        unfilled = solve_ivp(change, (0, interval), np.ones_like(z), "BDF", rtol=1e-7, atol=1e-9, jac_sparsity=BAND)
        expected = 2.0 / interval * (1 - unfilled.y[z.size // 2, -1])
        counts = getattr(result, fills)
        agree(np.mean(counts), expected, np.std(counts) / np.sqrt(paths), samples=paths, tolerance=1e-4 * expected)
    fresh = 2.0 / interval * -np.expm1(-interval * BUSY.intensity(0.9))  # as if they were not stale
    with pytest.raises(Disagreement):
        agree(np.mean(result.bid_fills), fresh, np.std(result.bid_fills) / np.sqrt(paths), samples=paths)


BAND = np.abs(np.subtract.outer(np.arange(1001), np.arange(1001))) <= 4


def orders_of(venue, seed, path):
    """Times and marks of a path's market orders until the horizon, from the random numbers themselves."""
    total, horizon = float(venue.flow.reach.bid + venue.flow.reach.ask), float(venue.problem.horizon)
    with jax.enable_x64(True):
        counter = jnp.arange(int(4 * total * horizon + 40), dtype=jnp.uint32)
        wait, mark = words(stream(key_of(seed), 8), jnp.uint32(path), counter)
        times, marks = np.cumsum(-np.log(np.asarray(uniform(wait))) / total), np.asarray(uniform(mark)) * total
    assert times[-1] > horizon
    return times[times < horizon], marks[times < horizon]


def play_plainly(problem, policy, market, times, marks, reach):
    """One path without volatility, by the rules as they are written; prices above the opening."""
    m = SimpleNamespace(**{f.name: float(getattr(market, f.name)) for f in fields(PoissonMarket)})
    interval, horizon, mu = max(m.refresh, m.latency), float(problem.horizon), float(problem.drift)
    demands = {+1: problem.bid_demand, -1: problem.ask_demand}
    events = [(t, 2, v) for t, v in zip(times, marks, strict=True)]
    looks = [j * interval for j in range(int(horizon / interval) + 2) if j * interval < horizon] if interval else []
    events += [(t, 1, t) for t in looks]
    events += [(t + m.latency, 0, t) for t in looks[1:] if t + m.latency < horizon] if m.latency else []
    standing: dict[int, Any] = {+1: None, -1: None}
    sent = {}
    q, money, filled, clock, hits = 0, 0.0, {+1: 0, -1: 0}, 0.0, []

    def prices(t):
        found = {}
        for side, distance in zip((+1, -1), policy(t, {"inventory": q}), strict=True):
            price = mu * t - side * distance
            if m.tick:
                grid = (np.floor if side > 0 else np.ceil)((price + m.opening) / m.tick - 1e-9 * -side)
                price = grid * m.tick - m.opening
            found[side] = price
        return found

    def place(wanted):
        for side, price in wanted.items():
            refused = abs(price) > m.price_limit * m.opening if np.isfinite(m.price_limit) else False
            if refused or not may(side):
                standing[side] = None
            elif standing[side] is None or standing[side][0] != price:
                standing[side] = [price, m.queue_ahead]

    def may(side):
        return side * q + 1 <= min(problem.max_inventory, m.position_limit)

    for t, kind, what in sorted((round(t, 12), kind, what) for t, kind, what in events):  # sums of floats that tie
        money += float(problem.lot) * q * mu * (t - clock)
        clock = t
        if kind == 1:
            if what == 0.0 or not m.latency:
                place(prices(t))
            else:
                sent[what] = prices(t)
        elif kind == 0:
            place(sent.pop(what))
        else:
            if not interval:
                place(prices(t))
            side, mark = (+1, what) if what < reach.bid else (-1, what - reach.bid)
            if standing[side] is None:
                continue
            distance = side * (mu * t - standing[side][0])
            if mark >= float(demands[side].intensity(distance)):
                continue
            hits.append((t, side, standing[side][1] <= 0))
            if standing[side][1] > 0:
                standing[side][1] -= 1
            elif may(side):
                q, money = (
                    q + side,
                    money + float(problem.lot) * (distance - float(problem.adverse_selection) - m.adverse_selection),
                )
                filled[side] += 1
                standing[side] = None
    return q, money + float(problem.lot) * q * mu * (horizon - clock), filled[+1], filled[-1], hits


FRICTIONS = {
    "none": {},
    "ticks": {"tick": 0.1, "opening": 0.03},
    "refresh": {"refresh": 0.07},
    "refresh and latency": {"refresh": 0.07, "latency": 0.03},
    "latency alone": {"latency": 0.05},
    "a latency longer than the refresh": {"refresh": 0.02, "latency": 0.06},
    "a queue": {"tick": 0.2, "refresh": 0.02, "queue_ahead": 2},
    "everything": {
        "tick": 0.2, "refresh": 0.02, "latency": 0.013, "queue_ahead": 1, "adverse_selection": 0.07,
        "position_limit": 2, "price_limit": 0.1, "opening": 5.0,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "none")) for name in FRICTIONS]
)
def test_it_does_what_a_plain_loop_over_the_same_orders_does(name):
    # A price that drifts but does not fluctuate: it moves through ticks and leaves quotes behind.
    problem = dealer(volatility=0.0, drift=0.4, max_inventory=4)
    market, policy, paths = PoissonMarket(**FRICTIONS[name]), Leaning(), 40
    result = ts.simulate(problem, policy, paths, seed=6, market=market)
    venue = open_venue(problem, market, nearest(problem, [policy]))
    plain = [
        play_plainly(problem, policy, market, *orders_of(venue, 6, path), venue.flow.reach)[:4] for path in range(paths)
    ]
    found = zip(result.inventory, result.wealth, result.bid_fills, result.ask_fills, strict=True)
    np.testing.assert_allclose(np.array(list(found), float), np.array(plain, float), rtol=1e-9, atol=1e-9)
    assert np.mean(result.bid_fills) > 1
    assert np.mean(result.ask_fills) > 1


@pytest.mark.slow
def test_the_place_in_the_queue_is_that_in_the_matching_core():
    # The orders that reach the dealer's bid go to the book of levels, with the dealer behind two lots of others.
    problem = dealer(volatility=0.0, drift=0.0, max_inventory=1000)
    policy = Leaning(0.5, 0.5, 0.0, 0.0)
    market = PoissonMarket(tick=0.5, refresh=1e-3, queue_ahead=2)
    result = ts.simulate(problem, policy, 3, seed=7, market=market)
    venue = open_venue(problem, market, nearest(problem, [policy]))
    step = jax.jit(mt.step, static_argnames="fills")
    hits = [play_plainly(problem, policy, market, *orders_of(venue, 7, 0), venue.flow.reach)[4]]
    book, traded = mt.empty_level_books(1, ticks=32, origin=0), 0
    for _, side, _ in hits[0]:
        if side < 0:
            continue
        if int(book.own_bid.left[0]) == 0:  # the dealer joins again, behind what rests there by then
            book, _ = step(book, mt.message(mt.Kind.LIMIT, mt.BUY, size=[2], price=10))
            book, _ = step(book, mt.message(mt.Kind.POST_ONLY, mt.BUY, size=[1], price=10, owner=1))
        book, outcome = step(book, mt.message(mt.Kind.MARKET, mt.SELL, size=[1]))
        traded += int(outcome.fills.table().maker[0, 0] == 1)
    assert traded > 2
    assert traded == int(result.bid_fills[0])


@in_float64
def wanted_prices(venue, price, bid, ask):
    state = venue.init(key_of(0), jnp.arange(price.size, dtype=jnp.uint32), 0.0)
    return venue._prices(state._replace(price=price), ts.Quotes(bid, ask))


def test_prices_are_rounded_outward_and_those_on_the_grid_stay():
    venue = open_venue(dealer(), PoissonMarket(tick=0.1, opening=100.0), ts.Quotes(0.0, 0.0))
    price, bid, ask = np.random.default_rng(8).uniform(-1, 1, (3, 1000))
    found = wanted_prices(venue, price, bid, ask)
    for outward, at, wanted in ((-1, found.bid, price - bid), (+1, found.ask, price + ask)):
        beyond = outward * (at - wanted)
        assert np.all((beyond > -1e-9) & (beyond < 0.1 + 1e-9))
        np.testing.assert_allclose((at + 100) / 0.1, np.round((at + 100) / 0.1), atol=1e-6)
    exact = wanted_prices(venue, np.array([0.0]), np.array([0.3]), np.array([0.7]))
    np.testing.assert_allclose(np.concatenate(exact), [-0.3, 0.7], atol=1e-12)


def test_a_price_bridged_between_messages_keeps_its_law():
    problem, silent = dealer(drift=0.0), Leaning(np.nan, np.nan)
    market = PoissonMarket(refresh=0.01, latency=0.004)
    result = ts.simulate(problem, silent, 4000, seed=9, initial={"inventory": 3.0}, market=market)
    agree(result.mean_wealth, 0.0, result.standard_error, samples=4000)
    agree(result.variance, (0.3 * 2.0 * 3.0) ** 2 * 2.0, result.variance_standard_error, samples=4000)
    assert result.fills == (0.0, 0.0)


def test_no_fill_crosses_the_markets_limit():
    market = PoissonMarket(refresh=0.05, position_limit=2)
    result = ts.simulate(dealer(), Leaning(), 2000, seed=10, market=market)
    assert np.max(np.abs(result.inventory)) == 2


def test_a_run_is_the_same_whatever_the_batch_and_begins_as_a_shorter_one():
    market = PoissonMarket(tick=0.1, refresh=0.05, latency=0.02, queue_ahead=1)
    long = ts.simulate(dealer(), Leaning(), 700, seed=11, market=market)
    short = ts.simulate(dealer(), Leaning(), 300, seed=11, market=market, batch=256)
    np.testing.assert_array_equal(short.wealth, long.wealth[:300])


# Where the value goes


@pytest.mark.slow
def test_terms_add_up_and_each_is_the_change_by_its_friction():
    problem = dealer(objective=ts.models.RunningPenalty(0.05, 0.2))
    solution = ts.solve(problem)
    market = PoissonMarket(
        tick=0.1, refresh=0.05, latency=0.02, queue_ahead=1, adverse_selection=0.03, position_limit=3
    )
    found = attribute(problem, solution.policy, market, 4000, seed=12, predicted=solution)
    names = ["chance", "refresh", "latency", "tick", "queue_ahead", "adverse_selection", "limits"]
    assert [term.name for term in found.terms] == names
    assert found.difference == pytest.approx(found.obtained.criterion - float(solution.value(0.0)), abs=1e-12)
    wealth = float(solution.expected_wealth(0.0)) + sum(term.wealth for term in found.terms)
    assert wealth == pytest.approx(found.obtained.mean_wealth, abs=1e-12)
    chance = found.terms[0]
    agree(chance.value, 0.0, chance.standard_error, samples=4000)
    assert all(term.standard_error > 0 for term in found.terms)
    # Adverse selection leaves every fill as it was and costs the same for each: known path by path.
    before = ts.simulate(problem, solution.policy, 4000, seed=12, market=PoissonMarket(tick=0.1, refresh=0.05))
    after = ts.simulate(
        problem, solution.policy, 4000, seed=12, market=PoissonMarket(tick=0.1, refresh=0.05, adverse_selection=0.03)
    )
    lost = 2.0 * 0.03 * (before.bid_fills + before.ask_fills)
    np.testing.assert_allclose(before.wealth - after.wealth, lost, atol=1e-9)
    text = found.table()
    assert "+ queue ahead" in text
    assert f"obtained {found.obtained.criterion:>25.3f}" in text
    assert f"{found.obtained.criterion / float(solution.value(0.0)):.1%} of the value predicted survives" in text


@pytest.mark.slow
def test_runs_of_one_seed_meet_the_same_orders_so_that_terms_have_little_noise():
    solution = ts.solve(dealer())
    found = attribute(dealer(), solution.policy, PoissonMarket(tick=0.02), 4000, seed=13, predicted=solution)
    assert found.terms[1].standard_error < 0.5 * found.terms[0].standard_error


def test_a_market_without_frictions_loses_nothing_but_chance():
    solution = ts.solve(dealer())
    found = attribute(dealer(), solution.policy, PoissonMarket(), 1000, seed=14, predicted=solution)
    assert [term.name for term in found.terms] == ["chance"]
    assert found.obtained is found.frictionless


# What being wrong costs


@pytest.mark.slow
def test_being_wrong_costs_and_being_right_costs_nothing():
    truth = dealer(objective=ts.models.RunningPenalty(0.2, 0.2), adverse_selection=0.0, drift=0.0)
    errors = {"right": truth, "k doubled": wrong(truth, decay=2.0), "fearless": wrong(truth, risk_aversion=0.0)}
    found = misspecified(truth, errors, 20_000, seed=15)
    right, steep, fearless = found.regrets
    assert (right.regret, right.standard_error) == (0.0, 0.0)
    for each, name in ((steep, "k doubled"), (fearless, "fearless")):
        run = ts.simulate(truth, ts.solve(errors[name]).policy, 20_000, seed=16, market=PoissonMarket())
        error = np.hypot(found.right.criterion_standard_error, run.criterion_standard_error)
        agree(each.regret, found.right.criterion - run.criterion, error, samples=20_000)
        assert each.z > 5.4
        assert each.standard_error < error  # paired
    assert "k doubled" in found.table()


def test_wrong_multiplies_what_it_names_and_nothing_else():
    truth = dealer()
    believed: Any = wrong(truth, volatility=2.0, flow=0.5, decay=3.0, risk_aversion=4.0)
    assert float(believed.volatility) == 0.6
    assert (float(believed.bid_demand.scale), float(believed.ask_demand.scale)) == (20.0, 7.5)
    assert (float(believed.bid_demand.decay), float(believed.ask_demand.decay)) == (6.0, 3.0)
    assert float(believed.objective.risk_aversion) == 0.08
    assert (float(believed.drift), believed.max_inventory, float(believed.lot)) == (0.1, 6, 2.0)
    with pytest.raises(ValueError, match="vol is not known; wrong takes factors of risk_aversion, volatility"):
        wrong(truth, vol=2.0)
    with pytest.raises(ValueError, match="bid_demand Linear has no decay to be wrong about"):
        wrong(dealer(bid_demand=ts.models.Linear(10.0, 5.0)), decay=2.0)


# What is kept and what is refused


def test_a_run_in_a_market_is_saved_with_its_market(tmp_path):
    market = PoissonMarket(tick=0.1, refresh=0.05)
    result = ts.simulate(dealer(), Leaning(), 300, market=market)
    again = ts.Simulation.load(result.save(tmp_path / "run.nc"))
    assert (again.rule, again.market) == ("market", "PoissonMarket(tick=0.1, refresh=0.05)")
    np.testing.assert_array_equal(again.wealth, result.wealth)
    assert "in PoissonMarket(tick=0.1, refresh=0.05)" in again.table()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tick": -0.1}, "tick must be finite and not negative, got -0.1; 0 switches it off"),
        ({"latency": np.nan}, "latency must be finite and not negative, got nan"),
        ({"queue_ahead": 1.5, "tick": 1, "refresh": 1}, "queue_ahead must be a whole number of lots, got 1.5"),
        ({"queue_ahead": 2, "tick": 1}, "queue_ahead needs a tick and a refresh"),
        ({"queue_ahead": 2, "refresh": 1}, "queue_ahead needs a tick and a refresh"),
        ({"position_limit": 0.5}, "position_limit must be at least one lot, got 0.5"),
        ({"price_limit": 0.15}, "opening must be positive where there is a price_limit, got 0"),
        ({"price_limit": -1, "opening": 1}, "price_limit must be positive, got -1"),
        ({"tick": [0.1, 0.2]}, "tick must be one number, got 2"),
    ],
)
def test_a_market_that_cannot_be_is_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        PoissonMarket(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"problem": dealer(max_inventory=np.inf)}, ValueError, "needs a finite max_inventory, got inf"),
        ({"fills": "linear", "steps": 10}, ValueError, "market has no time steps"),
        ({"steps": 10}, ValueError, "market has no time steps"),
        ({"policy": Leaning(tilt=4.0)}, ValueError, "the bid is quoted as near as .* too many to draw"),
    ],
)
def test_what_cannot_be_played_is_refused_by_name(changes, error, message):
    call = {"problem": dealer(), "policy": Leaning(), "paths": 300, "market": PoissonMarket(), **changes}
    with pytest.raises(error, match=message) as caught:
        ts.simulate(**call)
    assert "\n" not in str(caught.value)


def test_a_dealer_whose_cash_matters_is_refused_by_name():
    settings = (0.1, 0.4, 0.0, 0.1, BUSY, SLOW, 1.0, 5.0, ts.models.MeanVariance(1.0))
    problem = ts.models.StockCashDealer(*settings, short_fee=0.1)
    with pytest.raises(ValueError, match=r"borrowing.rate, .*credit.line"):
        ts.simulate(problem, Leaning(), 300, market=PoissonMarket())


def test_a_policy_that_leaps_between_looks_is_an_error():
    class Leaping(eqx.Module):
        def __call__(self, t, state):
            x = jnp.where((t > 1.001) & (t < 1.003), -1.0, 1.0) + 0 * t
            return ts.Quotes(x, x)

    with pytest.raises(ValueError, match=r"policy: path .* quoted nearer than .* smooth the policy in time"):
        ts.simulate(dealer(), Leaping(), 4000, market=PoissonMarket())
