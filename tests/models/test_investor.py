"""The classical investor: closed forms, finite differences in wealth, limits, and the rules played out."""

import numpy as np
import pytest

import twosided as ts
from twosided.validation.statistics import agree

MODELS = ts.models
GROWTH, VOLATILITY, RATE, HORIZON, WEALTH, AVERSION = 0.08, 0.2, 0.03, 1.0, 100.0, 0.02
OBJECTIVES = {"equilibrium": MODELS.MeanVariance(AVERSION), "pre-commitment": MODELS.PreCommitment(AVERSION)}
ROWS = {  # amount at time 0, mean, variance, target
    "equilibrium": (60.65284585, 106.1704534, 156.25, np.nan),
    "pre-commitment": (64.56461832, 106.27017634, 161.23614729, 156.27017634),
}


def investor(reading="pre-commitment", **changes):
    objective = OBJECTIVES.get(reading) or MODELS.PreCommitment(AVERSION, surplus=reading)
    return MODELS.Investor(GROWTH, VOLATILITY, RATE, HORIZON, objective, WEALTH, **changes)


@pytest.mark.parametrize("reading", ROWS)
def test_the_closed_form_is_the_published_row(reading):
    np.testing.assert_allclose(investor(reading).closed_form(), ROWS[reading], rtol=1e-8)


@pytest.mark.parametrize("limits", [{}, {"leverage": 6.0, "short_sales": False}], ids=["free", "slack limits"])
@pytest.mark.parametrize("reading", [*ROWS, "set_aside"])
def test_finite_differences_meet_the_closed_form(reading, limits):
    """Held to 1e-4 relative; the slack limits themselves cost half of that in the variance of pre-commitment."""
    solution = ts.hjb.solve_investor(investor(reading, **limits))
    assert solution.converged
    found = (float(solution.policy(0.0, WEALTH)), solution.mean, solution.variance, solution.target)
    np.testing.assert_allclose(found, ROWS["equilibrium" if reading == "equilibrium" else "pre-commitment"], rtol=1e-4)
    assert solution.mean_by_equation == pytest.approx(solution.mean, rel=1e-6)


def test_the_scheme_is_of_second_order_in_time():
    exact = investor().closed_form().variance
    coarse, fine = (abs(ts.hjb.solve_investor(investor(), steps=n).variance - exact) for n in (20, 40))
    assert np.log2(coarse / fine) == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize("reading", ROWS)
@pytest.mark.parametrize("limits", [{}, {"leverage": 0.5, "short_sales": False}], ids=["free", "limited"])
def test_the_rule_played_out_has_the_mean_and_variance_that_the_solver_says(reading, limits):
    """Euler steps, 400 of them: with 20,000 paths their bias is far below the sampling error."""
    solution = ts.hjb.solve_investor(investor(reading, **limits))
    paths, steps = 20_000, 400
    random, wealth, dt = np.random.default_rng(5), np.full(20_000, WEALTH), HORIZON / 400
    for step in range(steps):
        amount = solution.policy(step * dt, wealth)
        moved = (GROWTH - RATE) * dt + VOLATILITY * np.sqrt(dt) * random.standard_normal(paths)
        wealth = wealth * (1 + RATE * dt) + amount * moved
    squares = (wealth - wealth.mean()) ** 2
    errors = np.array([wealth.std(), squares.std()]) / np.sqrt(paths)
    agree([wealth.mean(), squares.mean()], [solution.mean, solution.variance], errors, samples=paths)


@pytest.mark.slow
def test_limits_that_bind_cost_and_pre_commitment_still_beats_the_equilibrium_at_time_0():
    free, limited = (ts.hjb.solve_investor(investor(leverage=most)) for most in (None, 0.5))
    equilibrium = ts.hjb.solve_investor(investor("equilibrium", leverage=0.5))
    assert limited.policy(0.0, WEALTH) == pytest.approx(0.5 * WEALTH)
    assert free.value > limited.value > equilibrium.value


def test_a_stock_that_is_worth_less_than_the_bond_is_sold_only_where_that_is_allowed():
    short, none = (
        ts.hjb.solve_investor(
            MODELS.Investor(-0.02, VOLATILITY, RATE, HORIZON, OBJECTIVES["equilibrium"], WEALTH, short_sales=allowed)
        )
        for allowed in (True, False)
    )
    assert short.policy(0.0, WEALTH) == pytest.approx(-60.65284585, rel=1e-6)
    assert none.policy(0.0, WEALTH) == 0.0
    assert none.variance == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("leverage", "aversion"), [(1.0, 2e-3), (3.0, 2e-5)])
def test_an_investor_who_hardly_minds_risk_is_invested_up_to_the_limit_throughout(leverage, aversion):
    """Wealth is then lognormal. The unlimited investor's spread, thousands of times as wide, must not set the grid."""
    settings = {"wealth": 1.0, "leverage": leverage}
    hardly = MODELS.Investor(0.10, VOLATILITY, 0.02, 2.0, MODELS.MeanVariance(aversion), **settings)
    solution = ts.hjb.solve_investor(hardly, nodes=200, steps=50)
    mean = np.exp(2 * (0.02 + leverage * 0.08))
    variance = mean**2 * np.expm1(2 * (leverage * VOLATILITY) ** 2)
    assert solution.converged
    assert solution.policy(0.0, [-1.0, 0.5, 1.0]) == pytest.approx(leverage * np.array([0.0, 0.5, 1.0]), rel=1e-9)
    np.testing.assert_allclose([solution.mean, solution.variance], [mean, variance], rtol=3e-3)
    assert abs(solution.variance / variance - 1) <= solution.error


def test_too_few_nodes_for_the_answer_are_told():
    """Ten times wealth in the stock: a lognormal tail that some twenty nodes cannot hold."""
    bold = MODELS.Investor(0.10, VOLATILITY, 0.02, 2.0, MODELS.MeanVariance(2e-5), 1.0, leverage=10.0)
    solution = ts.hjb.solve_investor(bold, nodes=24, steps=20)
    assert solution.error > 0.01
    assert not solution.converged


@pytest.mark.parametrize("reading", ROWS)
def test_a_stock_that_grows_like_the_bond_is_not_bought(reading):
    problem = MODELS.Investor(RATE, VOLATILITY, RATE, HORIZON, OBJECTIVES[reading], WEALTH)
    solution = ts.hjb.solve_investor(problem, nodes=200, steps=20)
    assert solution.converged
    assert solution.policy(0.0, WEALTH) == pytest.approx(0.0, abs=1e-6)
    assert (solution.mean, solution.variance) == pytest.approx((WEALTH * np.exp(RATE), 0.0), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"nodes": 2}, "nodes must be a whole number of at least 8, got 2"),
        ({"nodes": True}, "nodes must be a whole number of at least 8, got True"),
        ({"steps": 0}, "steps must be a whole number of at least 2, got 0"),
        ({"steps": -3}, "steps must be a whole number of at least 2, got -3"),
    ],
)
def test_a_grid_of_nothing_is_refused(grid, message):
    with pytest.raises(ValueError, match=message):
        ts.hjb.solve_investor(investor(), **grid)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wealth": -1.0}, "wealth must be positive and finite, got -1"),
        ({"volatility": 0.0}, "volatility must be positive"),
        ({"leverage": -2.0}, "leverage must be positive"),
        ({"objective": MODELS.MeanVariance(0.0)}, "risk_aversion must be positive"),
    ],
)
def test_impossible_values_are_refused_by_name(changes, message):
    settings = {
        "growth": GROWTH,
        "volatility": VOLATILITY,
        "rate": RATE,
        "horizon": HORIZON,
        "objective": OBJECTIVES["equilibrium"],
        "wealth": WEALTH,
    }
    with pytest.raises(ValueError, match=message):
        MODELS.Investor(**(settings | changes))


def test_another_objective_is_refused():
    with pytest.raises(TypeError, match="must be MeanVariance or PreCommitment"):
        MODELS.Investor(GROWTH, VOLATILITY, RATE, HORIZON, MODELS.RunningPenalty(1.0))


def test_a_target_beyond_the_grid_is_told_with_its_number():
    with pytest.raises(ValueError, match=r"best target for risk_aversion=1e-09 lies above .*, beyond the grid"):
        ts.hjb.solve_investor(MODELS.Investor(GROWTH, VOLATILITY, RATE, HORIZON, MODELS.PreCommitment(1e-9), WEALTH))
