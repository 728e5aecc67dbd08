"""The market of dealer and auction: what is conserved and kept, what the rules change, and against a plain market."""

from copy import copy
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

import twosided as ts
from twosided.validation._randomness import key_of
from twosided.validation.markets import hybrid, rules, study
from twosided.validation.markets._wide import joined, product, wide
from twosided.validation.markets.population import Population, crowd
from twosided.validation.markets.quotes import DealerQuotes, calibrated_dealer, no_dealer, quote_table
from twosided.validation.markets.rules import AuctionRules, DealerRules, HybridRules, MarketRules, Session, TianjinRules
from twosided.validation.markets.study import (
    MEASURES,
    SCHEME,
    dealer_quotes,
    dealer_share,
    hybrid_study,
    measures,
    simulate_markets,
)
from twosided.validation.matching.rules import OddLots, price_limits
from twosided.validation.statistics import plausible

# Asymmetric on purpose: short positions are tighter than long ones, few trade at once.
PEOPLE = Population(investors=30, dispersion=0.1, most=40, highest=70, lowest=-45, immediacy=0.3)
OWNERS = Population(
    investors=30, dispersion=0.1, most=4, highest=900, lowest=0, immediacy=0.5, endowment=430
)  # as many and as far apart, so that one compiled run serves both
MARKETS = {"dealer": DealerRules(), "auction": AuctionRules(), "hybrid": HybridRules()}
RUN: dict[str, Any] = {"markets": 24, "days": 6, "seed": 3, "batch": 24}


def leaning(spacing: int) -> DealerQuotes:
    """Quotes that lean against the inventory as a solved dealer's do, which asks more than it bids less."""
    entries = len(no_dealer().bid)
    lean = np.linspace(-45, 45, entries).astype(np.int32)
    return DealerQuotes(52 + lean, 59 - lean, np.int32(spacing))


@pytest.fixture(scope="module")
def quotes():
    return leaning(3)


@pytest.fixture(scope="module")
def ran(quotes):
    return {name: simulate_markets(each, quotes, PEOPLE, **RUN) for name, each in MARKETS.items()}


@pytest.fixture(scope="module")
def tianjin():
    each = TianjinRules(shares=20_000)
    return simulate_markets(each, leaning(25), OWNERS, **dict(RUN, seed=5))


def test_cash_and_stock_are_conserved_to_the_last_unit(ran, tianjin):
    for state, figures in [*ran.values(), tianjin]:
        endowment = OWNERS.endowment * OWNERS.investors if state is tianjin[0] else 0
        assert np.all(state.accounts.cash.astype(np.int64).sum(axis=1) == 0)
        assert np.all(state.accounts.stock.astype(np.int64).sum(axis=1) == endowment)
        assert np.all(figures.volume.sum(axis=1) > 0)


def test_position_limits_are_kept_and_bind(ran, tianjin):
    for name, (state, _) in ran.items():
        stock = state.accounts.stock[:, 1:]
        assert stock.min() == PEOPLE.lowest, name
        assert stock.max() == PEOPLE.highest, name
    stock = tianjin[0].accounts.stock[:, 1:]
    assert stock.min() == 0
    assert stock.max() <= OWNERS.highest


def test_odd_lots_are_sold_in_one_go_and_never_bought(tianjin):
    # Everybody starts with four lots of 100 and 30 shares; whoever sells out sells the 30 too, to a dealer that takes
    # any size or to buyers of whole lots, who may be filled in part.
    stock = tianjin[0].accounts.stock[:, 1:]
    assert np.any(stock % 100 == 0)
    assert hybrid.affordable(OWNERS.people, *map(jnp.int32, (4, -1, 430, 100))) == 430
    assert hybrid.affordable(OWNERS.people, *map(jnp.int32, (3, -1, 430, 100))) == 300
    assert hybrid.affordable(OWNERS.people, *map(jnp.int32, (2, -1, 30, 100))) == 30
    assert hybrid.affordable(OWNERS.people, *map(jnp.int32, (4, 1, 630, 100))) == 200
    assert hybrid.affordable(PEOPLE.people, *map(jnp.int32, (4, -1, -44, 1))) == 1


def test_one_compiled_run_serves_every_set_of_rules(ran, quotes):
    compiled = study._batch._cache_size()  # pyright: ignore[reportAttributeAccessIssue]
    others = [TianjinRules(), MarketRules((Session("9:00", "10:00", collecting=True, called=True),))]
    volumes = [figures.volume.sum() for _, figures in ran.values()]
    volumes += [simulate_markets(each, quotes, PEOPLE, **RUN)[1].volume.sum() for each in others]
    assert study._batch._cache_size() == compiled  # pyright: ignore[reportAttributeAccessIssue]
    assert len(set(volumes)) == 5


@pytest.mark.slow
def test_results_do_not_depend_on_the_batch_and_do_on_the_seed(ran, quotes):
    state, figures = simulate_markets(HybridRules(), quotes, PEOPLE, **dict(RUN, batch=7))
    jax.tree.map(np.testing.assert_array_equal, (state, figures), ran["hybrid"])
    _, other = simulate_markets(HybridRules(), quotes, PEOPLE, **dict(RUN, batch=7, seed=4))
    assert np.any(other.volume != figures.volume)


def test_the_same_people_come_to_every_market(ran):
    first = [figures for _, figures in ran.values()]
    for figures in first[1:]:
        np.testing.assert_array_equal(figures.fundamental, first[0].fundamental)
        np.testing.assert_array_equal(figures.wanted[:, 0], first[0].wanted[:, 0])


class PlainMarket:
    """One market, one investor after the other, lists and loops: what `hybrid` should come to."""

    def __init__(self, people: Population, table: DealerQuotes, tick: int = 1):
        self.people, self.table, self.tick = people, table, tick
        self.cash, self.stock = [0] * (1 + people.investors), [people.endowment] * (1 + people.investors)
        self.stock[0] = 0
        self.trades: list[tuple[int, int, int, int]] = []

    def trade(self, buyer: int, seller: int, size: int, price: int) -> None:
        self.cash[buyer] -= size * price
        self.cash[seller] += size * price
        self.stock[buyer] += size
        self.stock[seller] -= size
        self.trades.append((buyer, seller, size, price))

    def day(self, crowd, reference: int, dealer: bool, auction: bool) -> int:
        self.trades, resting = [], []
        for who in np.asarray(crowd.arrival):
            side, value = int(crowd.side[who]), int(crowd.value[who])
            value -= value % self.tick if side > 0 else -(-value % self.tick)
            limit = self.people.highest - self.stock[who] if side > 0 else self.stock[who] - self.people.lowest
            size = min(int(crowd.lots[who]), limit)
            if dealer and (crowd.at_once[who] or not auction):
                spacing, entries = int(self.table.spacing), len(self.table.bid)
                entry = min(max((self.stock[0] + spacing // 2) // spacing + entries // 2, 0), entries - 1)
                bid, ask = reference - int(self.table.bid[entry]), reference + int(self.table.ask[entry])
                bid, ask = bid - bid % self.tick, ask + -ask % self.tick
                if size and side > 0 and value >= ask:
                    self.trade(who, 0, size, ask)
                if size and side < 0 and value <= bid:
                    self.trade(0, who, size, bid)
                continue
            while size and auction:
                others = [o for o in resting if o[0] == -side and side * (value - o[1]) >= 0 and o[3]]
                if not others:
                    resting.append([side, value, who, size])
                    break
                best = min(others, key=lambda o: side * o[1])  # the first of the best price: `min` keeps the earliest
                traded = min(size, best[3])
                buyer, seller = (who, best[2]) if side > 0 else (best[2], who)
                self.trade(buyer, seller, traded, best[1])
                best[3] -= traded
                size -= traded
        volume = sum(t[2] for t in self.trades)
        return sum(t[2] * t[3] for t in self.trades) // volume if volume else reference


@pytest.mark.parametrize(("name", "tick"), [("dealer", 1), ("auction", 1), ("hybrid", 1), ("hybrid", 5)])
def test_every_account_ends_as_in_a_plain_market(ran, quotes, name, tick):
    state, figures = ran[name]
    if tick > 1:
        state, figures = simulate_markets(replace(MARKETS[name], tick=tick), quotes, PEOPLE, **RUN)
    for market in (0, 11):
        plain, reference = PlainMarket(PEOPLE, quotes, tick), PEOPLE.start
        for day in range(RUN["days"]):
            fundamental = jnp.asarray(figures.fundamental[market, day : day + 1])
            number = jnp.array([market], jnp.uint32)
            people = crowd(PEOPLE.people, key_of(RUN["seed"]), number, jnp.int32(day), fundamental)
            people = jax.tree.map(lambda field: np.asarray(field)[0], people)
            # The average is rounded down as a distance from the fundamental, a whole number: the same thing.
            reference = plain.day(people, reference, name != "auction", name != "dealer")
            assert len(plain.trades) == figures.trades[market, day]
            assert sum(t[2] for t in plain.trades if 0 in t[:2]) == figures.dealt[market, day]
        np.testing.assert_array_equal(state.accounts.cash[market], plain.cash)
        np.testing.assert_array_equal(state.accounts.stock[market], plain.stock)


def test_a_coarser_tick_moves_prices_and_loses_no_order(ran, tianjin, quotes):
    ways = [Session("9:30", "10:00", collecting=True, called=True), Session("10:00", "11:00", negotiated=True)]
    ways = {way.start: MarketRules((way,)) for way in ways}
    fine = {name: simulate_markets(each, no_dealer(), PEOPLE, **RUN) for name, each in ways.items()} | dict(ran)
    for name, each in (MARKETS | ways).items():
        state, coarse = simulate_markets(replace(each, tick=10), quotes, PEOPLE, **RUN)
        assert coarse.volume.sum() == pytest.approx(fine[name][1].volume.sum(), rel=0.15), name
        assert np.all(state.accounts.cash % 10 == 0)
        assert np.any(fine[name][0].accounts.cash % 10 != 0)
        assert np.all(coarse.surplus >= 0)
    assert not np.any(coarse.refused)
    each = replace(TianjinRules(shares=20_000), tick=7)  # the limits fall between ticks
    _, coarse = simulate_markets(each, leaning(25), OWNERS, **dict(RUN, seed=5))
    assert coarse.volume.sum() == pytest.approx(tianjin[1].volume.sum(), rel=0.15)


def test_an_odd_remainder_stays_where_odd_lots_are_refused():
    # Four lots of 100 and 30 shares each: the lots are sold, the 30 are not, and no order is lost for them.
    assert hybrid.affordable(OWNERS.people, *map(jnp.int32, (4, -1, 430, 100)), odd=False) == 400
    assert hybrid.affordable(OWNERS.people, *map(jnp.int32, (4, -1, 30, 100)), odd=False) == 0
    each = replace(TianjinRules(shares=20_000), odd_lots=OddLots.REFUSED)
    state, figures = simulate_markets(each, leaning(25), OWNERS, **dict(RUN, seed=5))
    assert np.all(state.accounts.stock[:, 1:] % 100 == 30)
    assert np.all(figures.volume > 0)


def test_sums_of_money_do_not_wrap(ran):
    # In lots of 200,000 the same market has its figures so many times over, and 32 bits hold neither cash nor squares.
    lot = 200_000
    people = replace(PEOPLE, highest=PEOPLE.highest * lot, lowest=PEOPLE.lowest * lot)
    state, large = simulate_markets(replace(HybridRules(), lot=lot), leaning(3 * lot), people, **RUN)
    small_state, small = ran["hybrid"]
    for name in ("volume", "dealt", "excess", "square", "wanted", "surplus", "inventory", "earned"):
        np.testing.assert_array_equal(getattr(large, name), lot * getattr(small, name), err_msg=name)
    for name in ("cash", "stock"):
        np.testing.assert_array_equal(getattr(state.accounts, name), lot * getattr(small_state.accounts, name))
    np.testing.assert_array_equal(large.looks.depth, lot * small.looks.depth)
    np.testing.assert_array_equal(large.price, small.price)
    assert min(np.abs(state.accounts.cash).max(), large.square.max(), large.surplus.max()) > 2**31
    assert measures(large, people)["dispersion"] == pytest.approx(measures(small, PEOPLE)["dispersion"])


def test_two_words_count_like_one_long_number():
    rng = np.random.default_rng(8)
    size, price = (rng.integers(-(2**20), 2**20, (3, 40)).astype(np.int32) for _ in range(2))
    by = np.array([2**15 + 7, 2**30 + 11, 2**31 - 1], np.int32)

    @jax.jit
    def count(size: jax.Array, price: jax.Array, by: jax.Array) -> Any:
        money = product(size, price)
        total = money.sum()
        return money, total, total - money[:, 1] + wide(size[:, 0]), total // by

    money, total, difference, over = joined(jax.tree.map(np.asarray, count(size, price, by)))
    exact = size.astype(np.int64) * price
    np.testing.assert_array_equal(money, exact)
    np.testing.assert_array_equal(total, exact.sum(axis=1))
    np.testing.assert_array_equal(difference, exact.sum(axis=1) - exact[:, 1] + size[:, 0])
    np.testing.assert_array_equal(over, exact.sum(axis=1) // by)
    assert np.abs(exact).max() > 2**37


def test_runs_that_outgrow_their_numbers_are_refused_before_they_start():
    def refused(said: str, lot: int = 1, **people: Any) -> None:
        each = replace(HybridRules(), lot=lot)
        with pytest.raises(ValueError, match=said):
            simulate_markets(each, no_dealer(), Population(**people), markets=1, days=2)

    refused("asks for 80001 prices, more than the 65536 of a book; lower start or dispersion", start=200_000)
    refused(r"units traded in a day may come to 20,402,000,000, and a run can count to 2,147,483,648; lower", lot=10**6)
    refused("units held by the dealer", lot=10**5, highest=10**8, lowest=-(10**8))
    refused("money that changes hands", lot=5 * 10**4, start=90_000, dispersion=0.02, highest=10**8)
    refused("squared prices of a day, by volume,", lot=5 * 10**4, start=50_000, dispersion=0.1)


@pytest.mark.slow
def test_ten_ticks_for_one_change_no_relative_figure():
    figures = []
    for start in (1000, 10_000):
        people = Population(start=start)
        study = hybrid_study(people, markets=16, days=4, risk_aversion=0.2 / start)
        figures.append({name: study.sample[name]["dispersion"] for name in study.sample})
    for name, coarse in figures[0].items():
        assert coarse.mean() > 1
        # Expected prices are rounded to 0.1% and to 0.01% of the start, quotes likewise.
        assert figures[1][name].mean() == pytest.approx(coarse.mean(), rel=0.02), name


def test_lost_orders_void_a_study(ran):
    figures = ran["hybrid"][1]
    study.check_days(figures)
    for name, said in (("refused", "2 days saw orders refused, 7 in all"), ("overflowed", "met the capacity")):
        lost = np.zeros_like(figures.volume)
        lost[3, 1], lost[5, 2] = 3, 4
        with pytest.raises(RuntimeError, match=said):
            study.check_days(figures._replace(**{name: lost}))


def test_nobody_pays_more_than_expected(ran, tianjin):
    for _, figures in [*ran.values(), tianjin]:
        assert np.all(figures.surplus >= 0)
        assert figures.surplus.max() > 0


def test_a_market_is_a_list_of_sessions():
    day = TianjinRules().schedule(200)
    at = {name: day.minute[getattr(day, name)] for name in ("dealer", "collecting", "negotiated", "called")}
    assert at["dealer"].min() >= 9 * 60 + 30
    assert at["dealer"].max() < 14 * 60
    assert at["negotiated"].min() >= 14 * 60 + 15
    assert np.sum(day.minute < 9 * 60 + 25) == np.sum(at["collecting"] < 9 * 60 + 25) > 0
    assert not np.any((day.minute >= 9 * 60 + 25) & (day.minute < 9 * 60 + 30))
    assert not np.any((day.minute >= 11 * 60 + 30) & (day.minute < 13 * 60))
    assert at["called"].tolist() == [max(m for m in day.minute if m < 565), max(m for m in day.minute if m < 855)]
    assert dealer_share(DealerRules(), PEOPLE) == 1
    assert dealer_share(HybridRules(), PEOPLE) == pytest.approx(PEOPLE.immediacy)
    assert dealer_share(AuctionRules(), PEOPLE) == 0


def test_tianjin_trades_within_its_limits_in_all_its_sessions(tianjin):
    state, figures = tianjin
    limits = TianjinRules().numbers.book(jnp.array([1000, 1007]))
    assert np.asarray(limits.lowest).tolist() == [850, 856]
    assert np.asarray(limits.highest).tolist() == [1150, 1158]
    average = figures.fundamental + figures.excess / figures.volume
    reference = np.hstack([np.full((24, 1), OWNERS.start), figures.price[:, :-1]])
    assert np.all(np.abs(average / reference - 1) <= 0.15)
    assert np.all(figures.dealt.sum(axis=1) > 0)
    assert np.all(figures.dealt.sum(axis=1) < figures.volume.sum(axis=1))
    for session in ({"collecting": True, "called": True}, {"negotiated": True}):
        alone = MarketRules(
            (Session("10:00", "11:00", **session),), lot=100, odd_lots=TianjinRules().odd_lots, width=0.15
        )
        state, only = simulate_markets(alone, no_dealer(), OWNERS, **dict(RUN, seed=5))
        assert np.all(only.volume.sum(axis=1) > 0)
        assert np.all(only.surplus >= 0)
        assert np.all(state.accounts.stock[:, 1:].sum(axis=1) == OWNERS.endowment * OWNERS.investors)
        assert np.all(state.accounts.stock[:, 1:] >= 0)


def test_the_people_are_drawn_evenly_and_the_demand_is_the_dealers():
    many = Population(investors=500, dispersion=0.1)
    number, start = jnp.arange(40, dtype=jnp.uint32), jnp.full(40, 1000, jnp.int32)
    people = jax.tree.map(np.asarray, crowd(many.people, key_of(2), number, jnp.int32(3), start))
    drawn = [
        people.value[:, 1:] - 900,
        people.lots[:, 1:] - 1,
        (people.side[:, 1:] + 1) // 2,
        people.at_once[:, 1:] + 0,
    ]
    for values, kinds in zip(drawn, (201, 100, 2, 2), strict=True):
        counts = np.bincount(values.ravel(), minlength=kinds)
        assert counts.size == kinds
        expected = values.size / kinds
        plausible(chi2.sf(np.sum((counts - expected) ** 2) / expected, kinds - 1))
    assert np.all(np.sort(people.arrival, axis=1) == np.arange(1, 501))
    dealer = calibrated_dealer(many, 1.0)
    for x in (-40.0, 25.0, 60.0):
        buyers = np.mean(np.sum((people.value >= 1000 + x) & (people.side > 0), axis=1))
        assert buyers == pytest.approx(float(dealer.ask_demand.intensity(x)), rel=0.05)


def test_the_figures_are_those_of_the_days(ran):
    _, figures = ran["hybrid"]
    got = measures(figures, PEOPLE)
    assert set(got) == set(MEASURES)
    average = figures.fundamental + figures.excess / figures.volume
    for k in (0, 5):
        change = [average[k, d + 1] - average[k, d] for d in range(5)]
        assert got["volatility"][k] == pytest.approx(np.std(change, ddof=1) / 10)
    assert np.all(got["executed"] <= 100)
    assert np.all(got["profit"] != 0)
    looks = figures.looks
    assert got["quote_spread"][3] == pytest.approx(looks.quote_spread[3].sum() / looks.quoted[3].sum() / 10)
    assert np.all(np.isnan(measures(ran["auction"][1], PEOPLE)["quote_spread"]))
    assert np.all(np.isnan(measures(ran["dealer"][1], PEOPLE)["book_spread"]))


@pytest.mark.slow
def test_quotes_are_outward_and_lean_against_the_inventory(quotes):
    solution = ts.solve(calibrated_dealer(PEOPLE, 0.5), SCHEME)
    shared = dealer_quotes(HybridRules(), replace(PEOPLE, immediacy=0.5))
    np.testing.assert_array_equal(shared.bid, quote_table(solution).bid)
    table, lot = quote_table(solution), PEOPLE.mean_size
    for lots in (-6, 0, 9):
        entry = len(table.bid) // 2 + round(lots * lot / int(table.spacing))
        inventory = (entry - len(table.bid) // 2) * int(table.spacing) / lot
        below = (
            solution.quotes(t=0.0, inventory=np.floor(inventory)),
            solution.quotes(t=0.0, inventory=np.ceil(inventory)),
        )
        for side in ("bid", "ask"):
            exact = np.interp(inventory % 1, [0, 1], [float(getattr(q, side)) for q in below])
            assert 0 <= getattr(table, side)[entry] - exact < 1
    assert np.all(np.diff(table.bid) >= 0)
    assert np.all(np.diff(table.ask) <= 0)
    narrow = quote_table(solution, widest=20)
    assert np.all(narrow.bid + narrow.ask <= 22)
    with pytest.raises(ValueError, match="share of the investors"):
        calibrated_dealer(PEOPLE, 0.0)


def remade(valid: Any, name: str, value: Any) -> None:
    """What construction says to a value of the wrong type, which under test the type checker would refuse first."""
    wrong = copy(valid)
    object.__setattr__(wrong, name, value)
    wrong.__post_init__()


def test_impossible_markets_are_refused():
    with pytest.raises(ValueError, match="end after it starts"):
        Session("10:00", "9:00", dealer=True)
    with pytest.raises(ValueError, match="either matches orders as they come or collects"):
        Session("9:00", "10:00", continuous=True, collecting=True)
    with pytest.raises(ValueError, match="starts before"):
        MarketRules((Session("9:00", "10:00", dealer=True), Session("9:30", "11:00", dealer=True)))
    with pytest.raises(ValueError, match="cannot follow a continuous auction"):
        MarketRules((Session("9:00", "10:00", continuous=True), Session("10:00", "11:00", collecting=True)))
    with pytest.raises(ValueError, match="something is open"):
        MarketRules((Session("9:00", "10:00"),))
    with pytest.raises(ValueError, match="hours:minutes"):
        rules.clock("9.15")
    with pytest.raises(ValueError, match="multiple of 200"):
        TianjinRules(shares=1001)
    with pytest.raises(ValueError, match="let more than 5 arrive"):
        TianjinRules().schedule(5)
    for name, value in (("tick", 0), ("tick", 1.5), ("lot", -2)):
        with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, got {value}; leave it out"):
            remade(AuctionRules(), name, value)
    for width, near in ((0.0155, 0.016), (0.0004, 0.001)):
        with pytest.raises(ValueError, match=rf"width must be a multiple of 0\.001, got {width}; give {near}"):
            replace(AuctionRules(), width=width)
    with pytest.raises(ValueError, match="width must lie between 0 and 1, got 15"):
        replace(AuctionRules(), width=15)
    with pytest.raises(ValueError, match="immediacy is a share"):
        Population(immediacy=1.5)
    with pytest.raises(ValueError, match="at least 2 markets"):
        hybrid_study(PEOPLE, markets=1)
    with pytest.raises(ValueError, match="markets must be a whole number"):
        simulate_markets(AuctionRules(), no_dealer(), PEOPLE, markets=0, days=2)


def test_people_that_cannot_be_are_refused_by_name():
    wrong: list[tuple[str, Any, str]] = [
        ("investors", 200.5, "people"),
        ("investors", True, "people"),
        ("start", float("nan"), "ticks"),
        ("start", 1000.7, "ticks"),
        ("most", 2.5, "lots"),
        ("highest", float("inf"), "units"),
        ("lowest", -0.5, "units"),
    ]
    for name, value, unit in wrong:
        with pytest.raises(ValueError, match=rf"{name} must be a whole number of at least .*, got {value}; .* {unit}"):
            remade(Population(), name, value)
    with pytest.raises(ValueError, match="most must be at most 65536, got 70000; lower it"):
        Population(most=70_000)
    with pytest.raises(ValueError, match=r"daily_move 0\.15 of a start of 200000 ticks moves by up to .* lower start"):
        Population(start=200_000, daily_move=0.15)


@pytest.mark.parametrize("width", [0.001, 0.015, 0.15, 0.155, 0.29, 0.999])
def test_a_markets_limits_are_those_of_the_matching_core(width):
    references = [1, 7, 100, 333, 999, 10_000, 2_000_000, 2_000_999, 123_456_789]
    book = replace(AuctionRules(), width=width).numbers.book(jnp.array(references, jnp.int32))
    limits = zip(np.asarray(book.lowest), np.asarray(book.highest), strict=True)
    assert list(limits) == [price_limits(reference, width) for reference in references]


@pytest.mark.slow
def test_the_study_says_whether_the_claim_holds():
    claim = hybrid_study(markets=128, days=10).claim()
    assert claim.volatility.high < 0  # steadier from day to day,
    assert claim.dispersion.low > 0  # not within the day,
    assert claim.volume.high < 0  # and it trades less:
    assert not claim.holds
    regulated = hybrid_study(markets=128, days=10, widest=40).claim()
    assert regulated.holds  # unless the dealer's spread is kept narrow.
    assert "is wrong" in str(claim)
