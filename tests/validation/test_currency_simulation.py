"""The currency dealer played out: what was predicted comes true, and what was asked for is checked."""

from typing import Any

import numpy as np
import pytest

import twosided as ts
from twosided.validation.statistics import agree

MODELS, HJB = ts.models, ts.hjb
simulate_currency = ts.validation.simulate_currency


def dealer(**changes):
    tiers = {side: MODELS.Logistic((first, 900.0), (-0.3, -1.9), (5.0, 15.0)) for side, first in SIDES.items()}
    given = {
        "volatility": 50.0,
        "horizon": 0.01,
        **tiers,
        "sizes": (1.0, 2.0, 5.0),
        "shares": (0.5, 0.3, 0.2),
        "max_inventory": 25.0,
        "risk_aversion": 4e-3,
        "hedging": MODELS.Hedging(half_spread=0.1, slippage=1e-5, impact=5e-3),
        "terminal": 0.02,
    }
    return MODELS.CurrencyDealer(**{**given, **changes})


SIDES = {"bid_demand": 1500.0, "ask_demand": 700.0}
SHORT: Any = {"frozen": True, "days": 1e-3, "longest_step": 1e-3}


@pytest.fixture(scope="module")
def solved() -> Any:
    return ts.solve(dealer(), HJB.Lattice(times=16, tolerance=1e-7))


def test_value_and_wealth_come_out_as_predicted_from_a_position(solved):
    """The seed was the first tried."""
    run = simulate_currency(solved.problem, solved, 2000, seed=3, initial=8.0, longest_step=5e-4)
    agree(
        (run.value.value, run.mean_wealth.value),
        (solved.value(inventory=8.0), solved.expected_wealth(inventory=8.0)),
        (run.value.standard_error, run.mean_wealth.standard_error),
        samples=run.paths,
        tolerance=2 * solved.error_estimate,
    )


def test_the_long_runs_shares_are_those_of_the_stationary_law(solved):
    run = simulate_currency(
        solved.problem, solved, 2000, seed=5, frozen=True, days=0.012, warm_up=0.006, longest_step=5e-4
    )
    measured = (run.internalised, run.waited, run.idle_time)
    agree(
        [share.value for share in measured],
        solved.internalisation(),
        [share.standard_error for share in measured],
        samples=run.paths,
        tolerance=2e-3,  # of the law
    )


@pytest.mark.slow
def test_the_published_dealer_comes_out_as_predicted():
    problem = MODELS.CurrencyDealer.published()
    solution: Any = ts.solve(problem, HJB.Lattice(times=64, tolerance=1e-8))
    run = simulate_currency(problem, solution, 10_000, seed=7)
    print(run.table(solution))
    agree(run.value.value, solution.value(), run.value.standard_error, samples=run.paths)
    long = simulate_currency(problem, solution, 2_000, seed=8, frozen=True, days=0.2, warm_up=0.05)
    print(long.table())
    measured = (long.internalised, long.waited, long.idle_time)
    agree(
        [share.value for share in measured],
        solution.internalisation(),
        [share.standard_error for share in measured],
        samples=long.paths,
        tolerance=2e-3,
    )


@pytest.mark.slow
def test_two_correlated_pairs_do_better_quoted_together():
    """Each pair quoted by itself, against the expansion of both; both judged by the risk of both."""
    pairs = (MODELS.CurrencyDealer.published(), MODELS.CurrencyDealer.published(volatility=60.0))
    book = MODELS.CurrencyBook(pairs, [[1.0, 0.8], [0.8, 1.0]])
    apart = MODELS.CurrencyBook(pairs, np.eye(2))
    solutions: Any = [ts.solve(problem) for problem in (book, apart)]
    runs = [simulate_currency(book, solution, 4_000, seed=9) for solution in solutions]
    print([run.value for run in runs], solutions[0].value())
    gain = runs[0].value.value - runs[1].value.value
    assert gain > 5 * np.hypot(runs[0].value.standard_error, runs[1].value.standard_error)
    assert runs[0].value.value == pytest.approx(float(solutions[0].value()), rel=0.05)


def test_a_run_can_be_repeated_and_another_seed_differs(solved):
    runs = [simulate_currency(solved.problem, solved, 20, seed=seed, **SHORT) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0].earned, runs[1].earned)
    assert np.any(runs[0].earned != runs[2].earned)
    assert np.all(np.abs(runs[0].inventory) <= 25.0)


def test_without_a_market_positions_are_whole_and_nothing_is_hedged():
    problem = dealer(hedging=None, horizon=0.002)
    solution: Any = ts.solve(problem, HJB.Lattice(times=8, tolerance=1e-6))
    run = simulate_currency(problem, solution, 50, seed=1)
    np.testing.assert_array_equal(run.inventory, np.round(run.inventory))
    assert np.all(run.hedged == 0)
    shares = (run.internalised, run.waited, run.idle_time)
    np.testing.assert_allclose([share.value for share in shares], 1.0, rtol=1e-12)


def test_the_table_puts_prediction_beside_measurement(solved):
    """From where the run starts: it was from a flat start whatever the run's."""
    run = simulate_currency(solved.problem, solved, 20, seed=1, initial=-6.0, longest_step=1e-3)
    text = run.table(solved)
    for predicted in (solved.value(inventory=-6.0), solved.expected_wealth(inventory=-6.0)):
        assert f"{float(predicted):.6g}" in text
    assert len(text.splitlines()) == 1 + len(run.rows(solved))
    closed: Any = ts.solve(solved.problem, HJB.ClosedForm())
    assert {row.quantity: row.predicted for row in run.rows(closed)}["criterion"] == closed.value(inventory=[-6.0])


def test_a_prediction_of_something_else_is_refused_by_name(solved):
    run = simulate_currency(solved.problem, solved, 20, seed=1, **SHORT)
    with pytest.raises(ValueError, match=r"kept to the quotes of time 0 for 0\.001 days; leave predicted out"):
        run.table(solved)
    other: Any = ts.solve(dealer(volatility=40.0), HJB.ClosedForm())
    with pytest.raises(ValueError, match=r"predicted solves .* solve the problem simulated"):
        run.table(other)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"paths": 1}, "paths must be a whole number of at least 2"),
        ({"days": 1.0}, "days and warm_up are for frozen=True"),
        ({"frozen": True, "days": 0.1, "warm_up": 0.1}, "days must exceed warm_up"),
        ({"initial": 26.0}, "initial position 26 M lies beyond the limit"),
        ({"initial": [1.0, 2.0]}, "initial must be one position, M, or one for each of 1 pairs"),
        ({"longest_step": 0.0}, "longest_step must be positive"),
    ],
)
def test_what_cannot_be_played_is_refused_by_name(solved, settings, complaint):
    with pytest.raises(ValueError, match=complaint):
        simulate_currency(solved.problem, solved, **{"paths": 10, **settings})


def test_another_solution_is_refused_by_name(solved):
    with pytest.raises(TypeError, match="solution"):
        simulate_currency(solved.problem, solved.policy, 10)
    book = MODELS.CurrencyBook((solved.problem,) * 2, np.eye(2))
    with pytest.raises(ValueError, match="solution quotes 1 pair, but the problem has 2; solve the problem itself"):
        simulate_currency(book, solved, 10)
