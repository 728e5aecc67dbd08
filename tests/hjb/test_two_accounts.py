"""The dealer whose cash matters: agreement with one account, published reference, closed form, signs, simulation."""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import twosided as ts
from twosided.hjb._equation import Grid
from twosided.hjb._two_accounts import AccountsGrid, TwoAccounts
from twosided.hjb.policy import Policy
from twosided.validation._verdict import compare
from twosided.validation.statistics import agree

MODELS = ts.models
HORIZON, RATE, LIMIT, STEPS = 20 / 244, 0.03, 10.0, 100
METHOD = ts.hjb.FiniteDifference(
    nodes_per_lot=4, steps=STEPS, extrapolate=False, half_width=13, cash_range=(14, 18), max_iterations=100
)
SLACK = 100.0  # a credit line that nobody reaches
CASHLESS = {"borrowing_rate": None, "credit_line": None, "margin": None, "forced_reduction": None}


def dealer(objective=None, **changes):
    """Twenty trading days of the reference market; whatever changes, the compiled shape stays.

    A margin of nothing and a pace of none bind nobody: they are there to be changed.
    """
    settings = {
        "growth": 0.15,
        "volatility": 0.45,
        "rate": RATE,
        "horizon": HORIZON,
        "bid_demand": MODELS.Exponential(15 * 244.0, 60.0),
        "ask_demand": MODELS.Exponential(15 * 244.0, 60.0),
        "lot": 1.0,
        "max_stock": LIMIT,
        "objective": objective or MODELS.MeanVariance(10.0),
        "borrowing_rate": 0.25,
        "credit_line": SLACK,
        "short_limit": LIMIT,
        "margin": MODELS.Margin(0.0, 0.0),
        "forced_reduction": MODELS.ForcedReduction(0.0),
    }
    return MODELS.StockCashDealer(**(settings | changes))


def crooked(**changes):
    """Unlike sides, and everything that can bind: dear credit, a line, a fee, a short limit, a cost of closing."""
    settings = {
        "bid_demand": MODELS.Exponential(3000.0, 55.0),
        "max_stock": 6.0,
        "credit_line": 3.0,
        "short_limit": 4.0,
        "short_fee": 0.1,
        "liquidation_cost": 0.002,
    }
    return dealer(**(settings | changes))


@pytest.fixture(scope="module")
def two_rates():
    return ts.solve(dealer(), METHOD)


@pytest.fixture(scope="module")
def one_rate():
    return ts.solve(dealer(borrowing_rate=RATE), METHOD)


@pytest.fixture(scope="module")
def constrained():
    return ts.solve(crooked(), METHOD)


@pytest.fixture(scope="module")
def margined():
    margin, forced = MODELS.Margin(1.0, 0.98), MODELS.ForcedReduction(500.0, 0.01)
    return ts.solve(crooked(margin=margin, forced_reduction=forced), METHOD)


# Against one account, the reference, the closed form


def test_with_one_rate_and_a_slack_line_it_agrees_with_one_account(one_rate):
    plain = dealer(**CASHLESS)
    alone = ts.solve(plain, ts.hjb.FiniteDifference(nodes_per_lot=4, steps=STEPS, extrapolate=False, half_width=13))
    stock, cash = np.arange(-9.0, 10.0)[:, None], np.array([-12.0, -4.3, 0.0, 2.0, 9.7])[None]
    for of in ("value", "expected_wealth"):
        ours, theirs = (getattr(s, of)(0.02, stock=stock, cash=cash) for s in (one_rate, alone))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-7)
    ours, theirs = one_rate.quotes(0.0, stock=stock, cash=cash), alone.quotes(0.0, stock=stock + 0 * cash)
    np.testing.assert_allclose(ours.bid, theirs.bid, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.ask, theirs.ask, rtol=0, atol=1e-9)


def test_with_one_rate_it_meets_the_reference_of_one_account(one_rate):
    assert one_rate.value() == pytest.approx(3.016093, abs=1e-5)
    assert one_rate.expected_wealth() == pytest.approx(3.486644, abs=1e-5)
    quotes = one_rate.quotes(0.0, stock=np.array([-2.0, 0.0, 2.0, 5.0]), cash=-1.0)
    np.testing.assert_allclose(quotes.bid, [0.0096554, 0.0168234, 0.0239793, 0.0340312], atol=1e-6, rtol=0)
    np.testing.assert_allclose(quotes.ask, [0.0245702, 0.0173531, 0.0102136, 0.0002531], atol=1e-6, rtol=0)


def test_with_two_rates_it_meets_the_reference(two_rates):
    assert two_rates.converged
    assert two_rates.value() == pytest.approx(3.0122, abs=1e-4)
    assert two_rates.expected_wealth() == pytest.approx(3.4816, abs=1e-4)
    stock, cash = np.array([[0, 0], [2, -2], [2, -6], [2, 5], [-2, 2], [0, -4.0]]).T
    quotes = two_rates.quotes(0.0, stock=stock, cash=cash)
    bids = [0.017085, 0.024319, 0.024415, 0.023979, 0.009739, 0.017239]
    asks = [0.017200, 0.009880, 0.009741, 0.010214, 0.024516, 0.016923]
    np.testing.assert_allclose(quotes.bid, bids, atol=1e-5, rtol=0)
    np.testing.assert_allclose(quotes.ask, asks, atol=1e-5, rtol=0)


def test_without_fills_the_solution_is_the_closed_form():
    nobody = MODELS.Exponential(0.0, 60.0)
    problem = crooked(bid_demand=nobody, ask_demand=nobody)
    solution = ts.solve(problem, METHOD)
    stock, cash = np.array([-5.0, -1.0, 0.0, 3.0])[:, None], np.array([-7.0, -2.0])[None]
    growth, tau, cost = 0.15, HORIZON, np.where(stock < 0, -0.002, 0.002)
    borrowed = np.exp(0.25 * tau)
    # cash stays negative, so the fee on what is short, and all that is owed, cost the borrowing rate
    fee = np.where(stock < 0, 0.1 * (np.exp(growth * tau) - borrowed) / (growth - 0.25), 0.0)
    kept = np.exp(growth * tau) * (1 - cost)
    mean = stock * (kept + fee) + cash * borrowed
    np.testing.assert_allclose(solution.expected_wealth(stock=stock, cash=cash), mean, rtol=0, atol=2e-3)
    long = stock[2:]
    np.testing.assert_allclose(solution.expected_wealth(stock=long, cash=cash), mean[2:], rtol=0, atol=1e-6)
    variance = (long * kept[2:]) ** 2 * np.expm1(0.45**2 * tau)
    np.testing.assert_allclose(solution.value(stock=long, cash=cash), mean[2:] - 5 * variance, rtol=0, atol=2e-5)


# Economics as signs


def test_dearer_borrowing_shifts_both_quotes_down_where_cash_is_negative(two_rates, one_rate):
    stock, cash = np.array([-3.0, 0.0, 1.0, 4.0])[:, None], np.array([-8.0, -4.0, -1.0])[None]
    dear, cheap = (s.quotes(0.0, stock=stock, cash=cash) for s in (two_rates, one_rate))
    assert np.all(dear.bid > cheap.bid + 1e-5)  # a lower buying price is a larger distance
    assert np.all(dear.ask < cheap.ask - 1e-5)
    rich_dear, rich_cheap = (s.quotes(0.0, stock=2.0, cash=12.0) for s in (two_rates, one_rate))
    assert abs(rich_dear.bid - rich_cheap.bid) < 1e-6


def test_near_the_credit_line_the_bid_retreats_and_then_vanishes(constrained):
    cash = np.array([3.0, 0.0, -1.0, -2.0, -2.01, -3.5])
    quotes = constrained.quotes(0.0, stock=1.0, cash=cash)
    assert np.all(np.diff(quotes.bid[:3]) > 0)
    assert quotes.bid[3] > quotes.bid[0] + 0.003
    assert np.all(np.isnan(quotes.bid[4:]))
    assert np.all(np.isfinite(quotes.ask))
    assert np.all(np.diff(quotes.ask[2:]) < 1e-9)  # and the ask hurries to bring cash in


def test_the_short_limit_ends_the_asks(constrained):
    quotes = constrained.quotes(0.0, stock=np.array([-3.0, -3.01]), cash=6.0)
    assert np.isfinite(quotes.ask[0])
    assert np.isnan(quotes.ask[1])
    assert np.all(np.isfinite(quotes.bid))


def test_quotes_depend_on_cash_only_where_something_says_so(one_rate, two_rates, constrained):
    cash = np.linspace(-2.0, 8.0, 21)
    for solution, depends in ((one_rate, False), (two_rates, True), (constrained, True)):
        quotes = solution.quotes(0.0, stock=1.0, cash=cash)
        assert (np.ptp(quotes.bid) > 1e-5) == depends
        assert (np.ptp(quotes.ask) > 1e-5) == depends
    assert not dealer(**CASHLESS, short_fee=0.2, liquidation_cost=0.1).cash_matters


@pytest.mark.slow
def test_a_margin_is_worth_less_than_none_and_nothing_to_the_rich(margined, constrained):
    assert margined.converged
    poor = {"stock": np.array([0.0, 1.0, -1.0, 2.0]), "cash": np.array([2.0, 1.5, 4.0, 0.5])}
    assert np.all(margined.value(0.0, **poor) < constrained.value(0.0, **poor) - 0.003)
    rich = {"stock": 1.0, "cash": 9.0}
    assert margined.value(**rich) == pytest.approx(constrained.value(**rich), abs=1e-3)


@pytest.mark.slow
def test_the_bid_retreats_before_the_margin_and_vanishes_at_it(margined):
    wealth = np.array([8.0, 4.0, 3.2, 2.9])
    long = margined.quotes(0.0, stock=2.0, cash=wealth - 2.0)
    assert np.all(np.diff(long.bid[:3]) > 0)
    assert np.isnan(long.bid[3])
    assert np.all(np.isfinite(long.ask))
    assert long.ask[3] < long.ask[0]
    short = margined.quotes(0.0, stock=-2.0, cash=wealth + 2.0)
    assert np.isnan(short.ask[3])
    assert np.all(np.isfinite(short.bid))


@pytest.mark.slow
def test_in_a_margin_call_only_the_reducing_side_is_quoted(margined):
    called = margined.quotes(0.0, stock=np.array([3.0, -3.0]), cash=np.array([-0.2, 5.8]))
    assert np.all(np.isfinite([called.ask[0], called.bid[1]]))
    assert np.all(np.isnan([called.bid[0], called.ask[1]]))


# The solution as an object


def test_a_policy_of_both_accounts_works_inside_jit(two_rates):
    with jax.enable_x64(True):
        policy = two_rates.policy
        state = {"stock": jnp.array([2.0, 0.3]), "cash": jnp.array([-2.0, 1.1])}
        inside = jax.jit(lambda t, state: policy(t, state))(0.01, state)
    outside = two_rates.quotes(0.01, stock=[2.0, 0.3], cash=[-2.0, 1.1])
    np.testing.assert_allclose(inside, outside, rtol=1e-12)
    with pytest.raises(TypeError, match="depend on cash"):
        policy(0.0, 2.0)


def test_a_saved_solution_of_both_accounts_is_read_back_whole(constrained, tmp_path):
    again = ts.Solution.load(constrained.save(tmp_path / "solution.nc"))
    assert repr(again.problem) == repr(constrained.problem)
    assert again.method == constrained.method
    assert again.converged
    at = {"stock": 1.7, "cash": -0.6}
    assert again.value(0.01, **at) == constrained.value(0.01, **at)
    assert again.quotes(0.01, **at) == constrained.quotes(0.01, **at)
    with pytest.raises(ValueError, match="cash=30 lies outside the solved range of -14 to 18"):
        again.value(cash=30.0)


# Where a credit line makes the solution jump


@pytest.mark.parametrize("per_lot", [4, 8])
@pytest.mark.parametrize("side", [+1, -1])
def test_a_landing_above_a_jump_looks_at_its_own_side_alone(per_lot, side):
    """A cubic that is moved at every whole lot of cash is read without error where fills lead, just above one."""
    problem = crooked(max_stock=3.0, credit_line=2.0, haircut=None)
    with jax.enable_x64(True):
        equation = TwoAccounts(problem, AccountsGrid(Grid(4, 16), per_lot, 3 * per_lot, 4 * per_lot), False)
        cash = np.asarray(equation.cash)

        def solution(c):
            return 0.02 * c**3 - 0.1 * c**2 + np.floor(c + 1e-9)

        u = jnp.broadcast_to(solution(cash), (2, *equation.velocity.shape))
        landing = jax.jit(lambda tau, x: equation.at(tau).landing(u, side)(x)[0][0, 8])
        landed = np.asarray(landing(0.01, jnp.full_like(u[0], 0.02)))
    into = np.abs(cash - side + 0.5) < 2.0  # away from the ends
    above = into & (np.arange(cash.size) % per_lot != per_lot - 1)
    np.testing.assert_allclose(landed[above], solution(cash - side + 0.02)[above], atol=1e-12)
    below = into & ~above  # on a line across the jump
    f = 0.02 * per_lot
    line = (1 - f) * solution(cash - side) + f * solution(cash - side + 1 / per_lot)
    np.testing.assert_allclose(landed[below], line[below], atol=1e-12)


@pytest.mark.parametrize(("line", "last"), [(2.0, -1.0), (2.1, -1.0), (1.9, -0.75)])
def test_a_whole_lot_of_cash_counts_as_what_lies_just_above_it(line, last):
    """The last node from which a lot may be bought in full; cash moves there, and an average would permit half."""
    problem = crooked(max_stock=3.0, credit_line=line)
    with jax.enable_x64(True):
        equation = TwoAccounts(problem, AccountsGrid(Grid(4, 16), 4, 12, 16), False)
        permitted, cash = np.asarray(equation.permitted[0]), np.asarray(equation.cash)
    assert cash[permitted[20] > 1 - 1e-9].min() == last  # at a lot of stock


# The monotone mode


def generator(monotone):
    """The matrix of `h`'s equation with the quotes held, at the quotes of a bent `u`; and the nodes."""
    problem = crooked(max_stock=2.0, short_limit=1.0, credit_line=1.0)
    with jax.enable_x64(True):
        equation = TwoAccounts(problem, AccountsGrid(Grid(2, 6), 2, 6, 8), monotone)
        stock, cash = equation.stock[:, None], equation.cash[None]
        u = jnp.stack([-0.05 * stock**2 - 0.01 * jnp.tanh(cash), 0.02 * stock + 0.03 * jnp.tanh(cash)])

        @jax.jit
        def matrices(tau):
            moment = equation.at(tau)
            now = moment(u, equation.memory())

            def flow(row):
                rows = jnp.stack([row, row])
                total = moment.transport(rows)[0][1]
                for quote, side in ((now.bid, +1), (now.ask, -1)):
                    x = jnp.where(jnp.isfinite(quote.distance), quote.distance, 0.0)
                    total = total + quote.rate * (moment.landing(rows, side)(x)[0][1] - row)
                return total.ravel()

            return jax.jacfwd(lambda flat: flow(flat.reshape(stock.shape[0], -1)))(u[1].ravel())

        return [np.asarray(matrices(tau)) for tau in np.linspace(0.0, HORIZON, 5)]


def test_the_monotone_operator_is_an_m_matrix_at_every_step_and_the_other_is_not():
    for matrix in generator(monotone=True):
        step = np.eye(matrix.shape[0]) - 1e-3 * matrix
        off = step - np.diag(np.diag(step))
        assert off.max() <= 0
        rounding = 4 * np.finfo(float).eps * np.max(step)
        assert np.all(step.sum(axis=1) >= 1 - rounding)  # so its inverse is not negative
    assert any(np.min(matrix - np.diag(np.diag(matrix))) < -1.0 for matrix in generator(monotone=False))


# The moments of a given policy


def variance_of(solution, t=0.0, **state):
    """`2 (h - V)/lambda`, the equilibrium's own."""
    gap = solution.expected_wealth(t, **state) - solution.value(t, **state)
    return 2 * gap / float(solution.problem.objective.risk_aversion)


@pytest.mark.slow
def test_the_equilibrium_rule_has_the_mean_and_variance_of_its_own_two_equations(margined):
    moments = ts.hjb.evaluate(margined.problem, margined.policy, METHOD)
    assert moments.converged
    at = {"stock": np.array([0.0, 2.0, -3.0, 1.0]), "cash": np.array([4.0, -0.5, 7.5, 2.7])}
    for t in (0.0, 0.03):  # the tables keep every other time; at those in between their quotes are interpolated
        np.testing.assert_allclose(moments.expected_wealth(t, **at), margined.expected_wealth(t, **at), rtol=1e-4)
        np.testing.assert_allclose(moments.variance_of_wealth(t, **at), variance_of(margined, t, **at), rtol=1e-4)
    with pytest.raises(ValueError, match="cash=30 lies outside the evaluated range of -14 to 18"):
        moments.expected_wealth(cash=30.0)


def meets(moments, outcome, **start):
    agree(
        [outcome.mean_wealth, outcome.variance],
        [float(moments.expected_wealth(**start)), float(moments.variance_of_wealth(**start))],
        [outcome.standard_error, outcome.variance_standard_error],
        samples=outcome.paths,
    )


@pytest.mark.slow
def test_with_one_rate_and_a_slack_line_a_policy_has_the_moments_of_one_account():
    objective = MODELS.MeanQuadraticVariation(10.0)
    plain = dealer(objective, **CASHLESS, bid_demand=MODELS.Exponential(3000.0, 55.0))
    single = ts.hjb.FiniteDifference(nodes_per_lot=4, steps=STEPS, extrapolate=False, half_width=13)
    policy = ts.solve(plain, single).policy
    alone = ts.hjb.evaluate(plain, policy, single)
    both = ts.hjb.evaluate(dealer(objective, borrowing_rate=RATE, bid_demand=plain.bid_demand), policy, METHOD)
    at = {"stock": np.arange(-9.0, 10.0)[:, None], "cash": np.array([-12.0, -4.3, 0.0, 9.7])[None]}
    for of in ("expected_wealth", "variance_of_wealth"):
        ours, theirs = (getattr(moments, of)(0.0, **at) for moments in (both, alone))
        np.testing.assert_allclose(ours, theirs + 0 * ours, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_a_year_of_three_thousand_fills_converges_by_default():
    """Where corrections were not mixed, a quarter was too long."""
    year = {"horizon": 1.0, "max_stock": 3.0, "short_limit": 3.0}
    alone = ts.solve(dealer(**CASHLESS | year), ts.hjb.FiniteDifference(nodes_per_lot=4, steps=600))
    both = ts.solve(dealer(borrowing_rate=RATE, credit_line=300.0, **year), ts.hjb.FiniteDifference(nodes_per_lot=4))
    assert both.converged
    stock, cash = np.arange(-2.0, 3.0)[:, None], np.array([-4.3, 0.0, 2.0])[None]
    for of in ("value", "expected_wealth"):
        ours, theirs = (getattr(s, of)(0.0, stock=stock, cash=cash) for s in (both, alone))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-7)


@pytest.mark.slow
def test_the_quadratic_variation_rule_of_two_accounts_simulates_to_its_second_moment():
    start, paths = {"stock": 1.0, "cash": -1.5}, 200_000
    fine = ts.hjb.FiniteDifference(  # this dealer is often at its limits, where four nodes to a lot are too few
        nodes_per_lot=8, steps=STEPS, extrapolate=False, half_width=8, cash_range=(9, 15)
    )
    solution = ts.solve(crooked(objective=MODELS.MeanQuadraticVariation(10.0)), fine)
    moments = ts.hjb.evaluate(solution.problem, solution.policy, fine)
    outcome = ts.simulate(solution.problem, solution.policy, paths, 8, start)
    meets(moments, outcome, **start)
    comparison = compare(outcome, solution)
    assert comparison.compared == 3
    assert comparison.agrees
    assert comparison.rows[1].predicted == moments.standard_deviation(**start)


class Thrifty(Policy):
    """Buys less eagerly the less cash there is, and sells in a hurry; the envelope is its least distances."""

    @property
    def dimension(self):
        return 2

    @property
    def envelope(self):
        return Boldest(self.problem)

    def distances(self, tau, y, *others):
        poor, tilt = jnp.tanh(-0.5 * others[0]), 0.001 * y
        return 0.02 + 0.004 * poor + tilt, 0.022 - 0.003 * poor - tilt


class Boldest(Policy):
    def distances(self, tau, y, *others):
        return 0.016 + 0.001 * y, 0.019 - 0.001 * y


@pytest.mark.slow
def test_any_rule_of_both_accounts_simulates_to_its_moments():
    problem, start = crooked(borrowing_rate=0.6), {"stock": -1.0, "cash": 0.5}
    policy = Thrifty(problem)
    moments = ts.hjb.evaluate(problem, policy, METHOD)
    meets(moments, ts.simulate(problem, policy, 200_000, 9, start), **start)
    plain = ts.hjb.evaluate(problem, lambda t, state: policy.distances(t, state["stock"], state["cash"]), METHOD)
    assert plain.variance_of_wealth(**start) == pytest.approx(moments.variance_of_wealth(**start), rel=1e-12)


# Errors


def test_impossible_accounts_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"borrowing_rate must not lie below rate \(0.03\), got 0.02"):
        dealer(borrowing_rate=0.02)
    for limit in ("credit_line", "short_limit", "short_fee", "liquidation_cost"):
        with pytest.raises(ValueError, match=f"{limit} must be finite and not negative, got -1"):
            dealer(**{limit: -1.0})
    wrong: tuple[dict[str, Any], ...] = ({"cash_range": (1, 5)}, {"cash_range": (3, 4, 5)}, {"cash_nodes_per_lot": 0})
    for settings in wrong:
        with pytest.raises(ValueError, match="cash_"):
            ts.hjb.FiniteDifference(**settings)


def test_a_start_beyond_a_limit_is_refused(constrained):
    for start, words in (({"cash": -3.5}, "credit_line"), ({"stock": -5.0}, "short_limit")):
        with pytest.raises(ValueError, match=rf"lies below -{words}"):
            ts.simulate(constrained.problem, constrained.policy, paths=10, initial=start)
    with pytest.raises(ValueError, match="linear rule knows no borrowing rate"):
        ts.simulate(constrained.problem, constrained.policy, paths=10, fills="linear", steps=10)


# Against simulation


def meets_its_simulation(solution, paths, seed, **start):
    result = ts.simulate(solution.problem, solution.policy, paths=paths, seed=seed, initial=start)
    mean, value = solution.expected_wealth(**start), solution.value(**start)
    agree(result.mean_wealth, mean, result.standard_error, samples=paths)
    variance = 2 * (mean - value) / float(solution.problem.objective.risk_aversion)
    agree(result.variance, variance, result.variance_standard_error, samples=paths)
    return result


@pytest.mark.slow
def test_the_share_of_time_beyond_a_limit_is_told(constrained, two_rates):
    assert 0 < constrained.stats["beyond_share"] < 0.2
    assert abs(two_rates.stats["beyond_share"]) < 1e-6
    assert constrained.stats["idle_share"] < 1e-6
    hopeless = ts.solve(crooked(objective=MODELS.MeanVariance(10.0), credit_line=0.0), METHOD)
    assert hopeless.converged == (hopeless.stats["idle_share"] <= 1e-6)


def test_the_constrained_dealer_earns_and_risks_what_was_solved(constrained):
    result = meets_its_simulation(constrained, 4096, 5, stock=1.0, cash=-1.5)
    excess = np.asarray(result.excess)
    assert np.all(excess < 0.2)
    assert np.any(excess > 0)  # growth and interest alone cross a limit now and then


@pytest.mark.slow
@pytest.mark.parametrize(("which", "paths"), [("two_rates", 1_000_000), ("constrained", 200_000)])
def test_many_paths_agree_with_what_was_solved(which, paths, request):
    start = {"stock": 1.0, "cash": -1.5} if which == "constrained" else {}
    meets_its_simulation(request.getfixturevalue(which), paths, 6, **start)


WHOLE = {
    "growth": 0.2,
    "volatility": 0.4,
    "horizon": 5 / 244,
    "max_stock": 2.0,
    "short_limit": 2.0,
    "objective": MODELS.MeanVariance(5.0),
    "margin": None,
    "forced_reduction": None,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"bid_demand": MODELS.Exponential(2800.0, 70.0), "ask_demand": MODELS.Exponential(1500.0, 55.0)}
        | {"borrowing_rate": 0.23, "credit_line": 1.0},
        {"bid_demand": MODELS.Logistic(2800.0, 0.0, 70.0), "ask_demand": MODELS.Linear(1500.0, 45_000.0)}
        | {"borrowing_rate": 0.59, "credit_line": None, "forced_reduction": MODELS.ForcedReduction(2900.0, 0.005)},
    ],
    ids=["credit line", "forced reduction"],
)
def test_limits_and_lines_of_whole_lots_are_met_from_whole_lots(changes):
    """There stock and cash keep beside the very places where fills end, which a few even nodes to a lot jump over."""
    solution = ts.solve(dealer(**WHOLE | changes))
    assert solution.converged
    meets_its_simulation(solution, 400_000, 3)


@pytest.mark.slow
@pytest.mark.parametrize("objective", [MODELS.MeanQuadraticVariation(10.0), MODELS.RunningPenalty(0.5, 0.001)])
def test_other_objectives_agree_with_one_account_and_with_simulation(objective):
    plain = dealer(objective, **CASHLESS)
    alone = ts.solve(plain, ts.hjb.FiniteDifference(nodes_per_lot=4, steps=STEPS, extrapolate=False, half_width=13))
    both = ts.solve(dealer(objective, borrowing_rate=RATE), METHOD)
    assert both.value(stock=2.0, cash=-3.0) == pytest.approx(alone.value(stock=2.0, cash=-3.0), abs=1e-7)
    np.testing.assert_allclose(both.quotes(stock=2.0, cash=-3.0), alone.quotes(stock=2.0), rtol=0, atol=1e-9)
    solution = ts.solve(crooked(objective=objective), METHOD)
    result = ts.simulate(solution.problem, solution.policy, paths=50_000, seed=7)
    agree(result.mean_wealth, solution.expected_wealth(), result.standard_error, samples=50_000)
    agree(result.criterion, solution.value(), result.criterion_standard_error, samples=50_000)


class Smooth(MODELS.StockCashDealer):
    """A borrowing rate that sets in smoothly around zero cash, to see the scheme's order."""

    def interest(self, cash):
        return self.rate * cash - (self.borrowing_rate - self.rate) * jax.nn.softplus(-cash)


@pytest.mark.slow
def test_the_order_in_time_is_two_where_the_problem_is_smooth():
    plain = dealer(borrowing_rate=0.4, credit_line=None, margin=None, forced_reduction=None)
    problem = Smooth(**plain.arguments())
    stock, cash = np.arange(-3.0, 4.0)[:, None], np.arange(-4.0, 5.0)[None]
    found = []
    for count in (200, 400, 800):
        method = ts.hjb.FiniteDifference(
            nodes_per_lot=2, steps=count, extrapolate=False, half_width=12, cash_range=(13, 16)
        )
        solution = ts.solve(problem, method)
        at = {"stock": stock, "cash": cash}
        found.append(np.stack([solution.value(**at), solution.expected_wealth(**at), *solution.quotes(**at)]))
    before, after = (np.sqrt(np.sum((a - b) ** 2, axis=(1, 2))) for a, b in pairwise(found))
    np.testing.assert_allclose(np.log2(before / after), 2.0, atol=0.1)


@pytest.mark.slow
def test_the_order_in_space_is_two_in_stock_and_no_less_in_cash_where_the_problem_is_smooth():
    """Each account's nodes are doubled by themselves, in a case whose limit lies far from where the error is read.

    Stock is transported by central differences, of order two. In cash the same differences carry interest alone, which
    is slow, and the cubic along a fill's small way `v x` errs by `v x dC^3 u_CCCC / 12`, of order three: until that has
    died away the order seen is above two, as it is when both accounts' nodes are doubled together.
    """
    plain = dealer(borrowing_rate=0.4, credit_line=None, margin=None, forced_reduction=None)
    problem = Smooth(**plain.arguments())
    at = {"stock": np.arange(-3.0, 4.0)[:, None], "cash": np.arange(-4.0, 5.0)[None]}

    def found(stock_nodes, cash_nodes):
        method = ts.hjb.FiniteDifference(
            nodes_per_lot=stock_nodes,
            cash_nodes_per_lot=cash_nodes,
            steps=96,
            extrapolate=False,
            half_width=12,
            cash_range=(13, 16),
        )
        solution = ts.solve(problem, method)
        return np.stack([solution.value(**at), solution.expected_wealth(**at), *solution.quotes(**at)])

    def orders(rough, middle, fine):
        before, after = (np.sqrt(np.sum((a - b) ** 2, axis=(1, 2))) for a, b in ((rough, middle), (middle, fine)))
        return np.log2(before / after)

    rough = found(2, 2)
    np.testing.assert_allclose(orders(rough, found(4, 2), found(8, 2)), 2.0, atol=0.1)
    in_cash = orders(rough, found(2, 4), found(2, 8))
    assert np.all(in_cash > 1.9), in_cash


@pytest.mark.slow
@pytest.mark.parametrize(("nodes", "steps"), [(16, 40), (16, 64)])
def test_long_steps_on_fine_nodes_still_converge(nodes, steps):
    """A fill lands between two nodes of cash; an inverse that ignores so diverges here."""
    problem = crooked(max_stock=3.0, **CASHLESS | {"borrowing_rate": 0.25})
    method = ts.hjb.FiniteDifference(
        nodes_per_lot=nodes, steps=steps, extrapolate=False, crowded=False, half_width=3, cash_range=(3, 3)
    )
    solution = ts.solve(problem, method)
    assert solution.converged, solution
    assert solution.tables.iterations < 12 * steps
