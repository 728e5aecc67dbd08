"""Pre-commitment by its target: closed form, neighbours, checks of its own, simulation, and what it refuses."""

from typing import Any

import jax
import numpy as np
import pytest

import twosided as ts
from twosided.validation.statistics import agree, exceed

from .asymmetric import dealer

MODELS = ts.models
COARSE = ts.hjb.TargetMethod(nodes_per_lot=2, gap_nodes=128, steps=16, check=False)
AVERSIONS = np.array([0.5, 2.0, 8.0, 32.0])


def committed(aversion=8.0, surplus="kept", **changes):
    return dealer(MODELS.PreCommitment(aversion, surplus=surplus), **changes)


@pytest.fixture(scope="module")
def frontiers():
    """The frontier with the surplus kept and set aside."""
    return {
        surplus: ts.hjb.pre_commitment_frontier(committed(surplus=surplus), AVERSIONS, COARSE)
        for surplus in ("kept", "set_aside")
    }


@pytest.fixture(scope="module")
def solution(frontiers):
    return frontiers["kept"].solution(2)


@pytest.mark.slow
def test_without_fills_the_solution_is_the_closed_form():
    """The stock is held whatever comes, so mean and variance are its own, and the target follows from them."""
    objective = MODELS.PreCommitment(0.7, stock=2.0, cash=1.5)
    problem = dealer(objective, bid=(0.0, 55.0), ask=(0.0, 65.0))
    solution = ts.solve(problem, COARSE)
    growth, horizon = 0.25, 5 / 244
    mean = 2 * np.exp(growth * horizon) + 1.5 * np.exp(0.03 * horizon)
    variance = 4 * np.exp(2 * growth * horizon) * np.expm1(0.45**2 * horizon)
    assert solution.stats["mean"] == pytest.approx(mean, abs=1e-9)
    assert solution.stats["variance"] == pytest.approx(variance, abs=1e-8)
    assert solution.stats["mean_by_equation"] == pytest.approx(mean, abs=1e-9)
    assert solution.value(0.0, stock=2.0, cash=1.5) == pytest.approx(mean - 0.35 * variance, abs=1e-6)


@pytest.mark.parametrize("surplus", ["kept", "set_aside"])
def test_the_target_the_mean_equation_and_the_frontier_agree(frontiers, surplus):
    frontier = frontiers[surplus]
    np.testing.assert_allclose(frontier.target, frontier.mean + 1 / AVERSIONS, rtol=1e-12)
    np.testing.assert_allclose(frontier.value, frontier.mean - 0.5 * AVERSIONS * frontier.variance, rtol=1e-9)
    apart = np.abs(frontier.mean_by_equation - frontier.mean) / frontier.standard_deviation
    assert np.all(apart < 0.01)
    assert np.all(np.diff(frontier.mean) < 0)
    assert np.all(np.diff(frontier.variance) < 0)
    assert np.all(frontier.maxima == 1)
    chords = np.diff(frontier.mean) / np.diff(frontier.standard_deviation)
    assert np.all(np.diff(chords) > 0)  # E is concave in the standard deviation, and the points go down


def test_setting_the_surplus_aside_cannot_lower_the_best_of_its_own_criterion(frontiers):
    """Up to the coarse grid's error; the two come close, because losing money is cheap where demand is exponential."""
    assert np.all(frontiers["set_aside"].value >= frontiers["kept"].value - 1e-4)


def test_a_single_solve_is_a_point_of_the_frontier(frontiers, solution):
    alone = ts.solve(committed(8.0), COARSE)
    assert alone.converged
    assert alone.value(0.0) == pytest.approx(frontiers["kept"].value[2], abs=2e-4)  # its own, narrower grid
    assert alone.stats["target"] == pytest.approx(frontiers["kept"].target[2], abs=2e-3)
    assert solution.value(0.0) == pytest.approx(frontiers["kept"].value[2], abs=1e-5)
    assert solution.expected_wealth(0.0) == pytest.approx(frontiers["kept"].mean_by_equation[2], abs=1e-4)


def test_it_is_no_worse_than_the_equilibrium_and_close_to_it_where_risk_is_hardly_minded():
    """The two readings differ by the square of the risk aversion; at 0.1 that is lost in the discretisation."""
    method = ts.hjb.FiniteDifference(nodes_per_lot=8, steps=40, extrapolate=False)
    equilibrium = [ts.solve(dealer(MODELS.MeanVariance(a)), method) for a in (0.1, 8.0)]
    frontier = ts.hjb.pre_commitment_frontier(committed(), [0.1, 8.0], COARSE)
    assert frontier.value[0] == pytest.approx(equilibrium[0].value(0.0), rel=1e-3)
    assert frontier.value[1] > equilibrium[1].value(0.0) + 1e-3


def test_a_dealer_ahead_of_the_target_bears_less_risk_than_one_behind_it(solution):
    """With the same stock and more wealth, it gives more away to be rid of the stock, long or short."""
    for stock in (1.0, -1.0):
        behind, ahead = (solution.quotes(0.0, stock=stock, cash=wealth - stock) for wealth in (-0.3, 0.1))
        back, forth = (1, 0) if stock > 0 else (0, 1)  # the side that reduces, and the other
        assert behind[back] - ahead[back] > 5e-4
        assert ahead[forth] - ahead[back] > behind[forth] - behind[back]


def test_with_the_surplus_set_aside_no_side_is_quoted_once_cash_alone_meets_the_target(frontiers):
    solution = frontiers["set_aside"].solution(1)
    cash = solution.stats["target"] + np.array([1e-3, 0.1, 0.3])
    for stock in (0.0, 1.0):
        quotes = solution.quotes(0.01, stock=stock, cash=cash)
        assert np.all(np.isnan(quotes.bid) & np.isnan(quotes.ask))
    kept = frontiers["kept"].solution(1).quotes(0.0199, stock=0.0, cash=cash[1:])
    assert np.all(kept.bid < 0) or np.all(kept.ask < 0)  # there it pays to lose


def test_a_mean_is_met_or_refused_with_the_most_there_is(frontiers):
    frontier = frontiers["kept"]
    point = frontier.at_mean(0.5 * (frontier.mean[1] + frontier.mean[2]))
    assert point.mean[0] == pytest.approx(0.5 * (frontier.mean[1] + frontier.mean[2]), abs=1e-6)
    assert AVERSIONS[1] < point.risk_aversion[0] < AVERSIONS[2]
    with pytest.raises(ValueError, match=r"no pre-commitment on this frontier expects 50 .* to [\d.]+ can be reached"):
        frontier.at_mean(50.0)


@pytest.mark.parametrize("surplus", [pytest.param("kept", marks=pytest.mark.slow), "set_aside"])
def test_simulated_mean_and_variance_are_the_solver_s(frontiers, surplus):
    """The error of this coarse solve is forgiven: a tenth of a standard deviation would not be."""
    frontier, paths = frontiers[surplus], 16_384
    solution = frontier.solution(2)
    simulation = ts.simulate(solution.problem, solution.policy, paths, seed=3, progress=False)
    wealth = simulation.wealth - simulation.charge  # the surplus, where it is set aside
    squares = (wealth - wealth.mean()) ** 2
    errors = np.array([wealth.std(), squares.std()]) / np.sqrt(paths)
    forgiven = [0.01 * frontier.standard_deviation[2], 0.02 * frontier.variance[2]]
    expected = [frontier.mean[2], frontier.variance[2]]
    agree([wealth.mean(), squares.mean()], expected, errors, samples=paths, tolerance=forgiven)
    assert (simulation.charge.max() > 0) == (surplus == "set_aside")


def test_a_saved_solution_is_read_back_whole(solution, tmp_path):
    again = ts.Solution.load(solution.save(tmp_path / "solution.nc"))
    assert repr(again.problem) == repr(solution.problem)
    assert again.method == solution.method
    assert again.stats == solution.stats
    state = {"stock": 0.7, "cash": -0.2}
    assert again.value(0.01, **state) == solution.value(0.01, **state)
    assert again.quotes(0.01, **state) == solution.quotes(0.01, **state)


def test_a_state_beyond_the_solved_gap_is_refused(solution):
    with pytest.raises(ValueError, match=r"wealth lies .* from the target of .* committed to from stock=0, cash=0"):
        solution.value(0.0, cash=-1e3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MODELS.PreCommitment(0.0), "PreCommitment: risk_aversion must be positive and finite, got 0"),
        (lambda: MODELS.PreCommitment(1.0, surplus="spent"), "surplus must be 'kept' or 'set_aside', got 'spent'"),
        (lambda: ts.hjb.TargetMethod(gap_nodes=63), "gap_nodes must be a whole number of at least 64, even"),
        (lambda: ts.hjb.TargetMethod(fastest=1.0), "fastest must be above 1"),
        (lambda: ts.hjb.pre_commitment_frontier(committed(), [1.0, -1.0]), "risk_aversions must be a list of positive"),
        (lambda: ts.solve(committed(margin=MODELS.Margin(0.5, 0.25))), "no margin and no haircut"),
        (lambda: ts.solve(committed(), ts.hjb.FiniteDifference()), r"FiniteDifference cannot solve PreCommitment"),
        (lambda: ts.solve_many([committed()]), "TargetMethod solves one problem at a time"),
    ],
)
def test_what_cannot_be_solved_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_another_objective_and_traced_parameters_are_refused():
    with pytest.raises(TypeError, match="takes a StockCashDealer with PreCommitment"):
        ts.hjb.pre_commitment_frontier(dealer(MODELS.MeanVariance(1.0)), [1.0])

    def value(volatility):
        return ts.solve(committed(volatility=volatility), COARSE).value(0.0)

    with jax.enable_x64(True), pytest.raises(ValueError, match="outside jit, grad and vmap"):
        jax.grad(value)(0.45)


# Longer studies


@pytest.mark.slow
def test_halving_everything_divides_the_error_by_four_at_least():
    """By self-convergence where all is smooth: a limit that is not reached. Differences in `Z` are of second order, and
    interpolation and differences in `S` of fourth, so that the order seen is 2 or more: 4.9 on these grids.
    """
    problem = dealer(MODELS.PreCommitment(2.0), horizon=2 / 244, max_stock=5.5)
    coarse, middle, fine = (
        ts.hjb.pre_commitment_frontier(
            problem,
            [2.0],
            ts.hjb.TargetMethod(nodes_per_lot=2 * factor, gap_nodes=64 * factor, steps=8 * factor, check=False),
        ).value[0]
        for factor in (1, 2, 4)
    )
    assert np.log2(abs(coarse - middle) / abs(middle - fine)) > 1.9


def tight(volatility, objective):
    """A limit of three whole lots, where a price that moves at all shuts out the third lot half of the time."""
    return dealer(
        objective,
        bid=(2196.0, 60.0),
        ask=(3660.0, 45.0),
        growth=0.0,
        rate=0.0,
        volatility=volatility,
        horizon=20 / 244,
        max_stock=3.0,
    )


@pytest.mark.slow
def test_the_steps_in_time_leave_next_to_nothing_however_small_the_target_s_neighbourhood():
    """At `lambda = 100` what matters happens within a hundredth of money of the target, and as fast as fills come.

    The figures up to `lambda = 10` are those of another program: cubic splines at 520 nodes of `Z`, the best of a list
    of distances, third-order steps. Beyond, it finds the dips of its splines and is no witness.
    """
    problem, aversions = tight(0.0, MODELS.PreCommitment(1.0)), [0.15, 2.0, 10.0, 100.0]
    few, many = (
        ts.hjb.pre_commitment_frontier(
            problem, aversions, ts.hjb.TargetMethod(nodes_per_lot=1, steps=steps, check=False)
        ).value
        for steps in (16, 64)
    )
    np.testing.assert_allclose(few, many, rtol=2e-4)
    np.testing.assert_allclose(many[:3], [3.190852, 3.133491, 2.995474], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("aversion", [0.15, 2.0])
def test_beside_a_limit_of_whole_lots_the_error_estimate_owns_up(aversion):
    """At time 0 pre-commitment is worth no less than the equilibrium, here by finite differences of far more nodes."""
    committed = ts.solve(tight(0.45, MODELS.PreCommitment(aversion)))
    equilibrium = ts.solve(tight(0.45, MODELS.MeanVariance(aversion)), ts.hjb.FiniteDifference(nodes_per_lot=40))
    short = equilibrium.value(0.0, stock=0.0, cash=0.0) - committed.stats["value"]
    print(f"\nshort of the equilibrium by {short:.1e}, estimated error {committed.error_estimate:.1e}")
    assert short < committed.error_estimate < 8 * short


REFERENCE = {
    "symmetric": {"bid": (3660.0, 60.0), "ask": (3660.0, 60.0), "horizon": 20 / 244, "max_stock": 10.0, "growth": 0.15},
    "asymmetric": {"horizon": 20 / 244, "max_stock": 10.0},
    "constrained": {"horizon": 20 / 244, "max_stock": 2.5},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "surplus"), [("symmetric", "set_aside"), ("asymmetric", "kept"), ("constrained", "set_aside")]
)
def test_no_other_policy_has_a_better_criterion_at_time_0(case, surplus):
    """Simulated mean and variance against the solver's, and other policies on the first of the same price paths."""
    aversion, paths, few = 10.0, 200_000, 20_000
    solution = ts.solve(committed(aversion, surplus, **REFERENCE[case]))
    assert solution.converged

    def play(policy, paths):
        problem = committed(aversion, **REFERENCE[case])
        return ts.simulate(problem, policy, paths, seed=11, progress=False).wealth

    wealth = play(solution.policy, paths)
    if surplus == "set_aside":
        wealth = np.minimum(wealth, solution.stats["target"])
    squares = (wealth - wealth.mean()) ** 2
    errors = np.array([wealth.std(), squares.std()]) / np.sqrt(paths)
    found, expected = [wealth.mean(), squares.mean()], [solution.stats["mean"], solution.stats["variance"]]
    z = agree(found, expected, errors, samples=paths)
    print(f"\n{case}, {surplus}: simulated {found} +- {errors}, solver {expected}, z {z}; {solution.stats}")
    best = (wealth - 0.5 * aversion * squares)[:few]
    others: dict[str, Any] = {
        type(objective).__name__: ts.solve(dealer(objective, **REFERENCE[case])).policy
        for objective in (MODELS.MeanVariance(aversion), MODELS.MeanQuadraticVariation(aversion))
    }
    others["static"] = lambda t, state: MODELS.Quotes(0 * state.stock + 0.02, 0 * state.stock + 0.02)
    for name, policy in others.items():
        other = play(policy, few)
        score = other - 0.5 * aversion * (other - other.mean()) ** 2
        print(f"  {name}: {score.mean():.5f} against {best.mean():.5f}, {exceed(best, score):.0f} standard errors")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bid", "ask"),
    [
        (MODELS.Linear(2400.0, 60_000.0), MODELS.Logistic(6000.0, 0.3, 80.0)),
        (MODELS.PowerLaw(3000.0, 6.0, 0.1), MODELS.Tabulated([0.0, 0.01, 0.02, 0.04], [3000.0, 1700.0, 900.0, 220.0])),
    ],
    ids=["linear and logistic", "power law and tabulated"],
)
def test_every_demand_is_solved_and_its_quotes_play_out_as_told(bid, ask):
    paths = 50_000
    problem = dealer(MODELS.PreCommitment(8.0), bid_demand=bid, ask_demand=ask)
    solution = ts.solve(problem, ts.hjb.TargetMethod(check=False))
    assert solution.converged
    wealth = ts.simulate(problem, solution.policy, paths, seed=4, progress=False).wealth
    squares = (wealth - wealth.mean()) ** 2
    errors = np.array([wealth.std(), squares.std()]) / np.sqrt(paths)
    expected = [solution.stats["mean"], solution.stats["variance"]]
    z = agree([wealth.mean(), squares.mean()], expected, errors, samples=paths)
    print(f"\n{solution.stats}, z {z}")
