"""Avellaneda and Stoikov's three tables (2008, section 3.3), and what exact fills make of the same policies.

The exact columns come without Monte Carlo from the forward equations of the inventory on a lattice, which carry the
mass, the mean and the second moment of wealth at every inventory. They share no code with the simulation.
"""

import equinox as eqx
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import twosided as ts
from twosided.validation.statistics import Disagreement, agree

SIGMA, HORIZON, A, K, STEPS = 2.0, 1.0, 140.0, 1.5, 200
PATHS = 100_000

# gamma, strategy: published spread, profit, std(profit), mean q, std q; then exact spread, profit, std, std q
ROWS = {
    (0.1, "inventory"): ((1.49, 65.0, 6.6, 0.08, 2.9), (1.4918, 64.8925, 6.5432, 2.9268)),
    (0.1, "symmetric"): ((1.49, 68.4, 12.7, 0.26, 8.4), (1.4908, 68.2282, 13.4573, 8.4017)),
    (0.01, "inventory"): ((1.35, 68.6, 8.7, 0.12, 5.1), (1.3490, 68.3996, 8.9606, 5.2125)),
    (0.01, "symmetric"): ((1.35, 68.8, 12.8, 0.09, 8.7), (1.3489, 68.6662, 13.6776, 8.7119)),
    (1.0, "inventory"): ((3.02, 31.4, 5.0, 0.02, 1.7), None),
    (1.0, "symmetric"): ((3.02, 44.0, 11.0, 0.00, 5.1), None),
}
EACH_ROW = pytest.mark.parametrize(("gamma", "strategy"), ROWS)


def distances(gamma: float, strategy: str, tau: float, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The paper's; the symmetric ones are the inventory strategy's spread, averaged over time, around the mid."""
    constant = 2 / gamma * np.log(1 + gamma / K)
    if strategy == "symmetric":
        half = np.full(q.shape, 0.5 * (gamma * SIGMA**2 * HORIZON / 2 + constant))
        return half, half
    risk = gamma * SIGMA**2 * tau
    return q * risk + 0.5 * (risk + constant), -q * risk + 0.5 * (risk + constant)


def shifted(values: np.ndarray, by: int) -> np.ndarray:
    """Entries moved `by` places up the lattice; what leaves it is lost, which the mass would show."""
    moved = np.zeros_like(values)
    if by >= 0:
        moved[by:] = values[: values.size - by]
    else:
        moved[:by] = values[-by:]
    return moved


def after_gain(moments: np.ndarray, chance: np.ndarray, gain: np.ndarray, by: int) -> np.ndarray:
    """Mass, first and second moment after an event of probability `chance` that adds `gain` and moves the inventory."""
    mass, first, second = moments * chance
    return np.stack(
        [shifted(row, by) for row in (mass, first + gain * mass, second + 2 * gain * first + gain**2 * mass)]
    )


def summary(moments: np.ndarray, q: np.ndarray) -> tuple[float, float, float]:
    mass, first, second = moments
    assert np.sum(mass) == pytest.approx(1.0, abs=1e-9)
    mean = float(np.sum(first))
    return mean, float(np.sqrt(np.sum(second) - mean**2)), float(np.sqrt(np.sum(q**2 * mass)))


def by_steps(gamma, strategy, chance, steps=STEPS, half=120) -> tuple[float, float, float]:
    """Profit, its std and std of inventory when a fill in a step has probability `chance(Lambda dt)`."""
    q, dt = np.arange(-half, half + 1.0), HORIZON / steps
    moments = np.zeros((3, q.size))
    moments[0, half] = 1.0
    for step in range(steps):
        bid, ask = distances(gamma, strategy, HORIZON - step * dt, q)
        with np.errstate(over="ignore"):
            buy, sell = chance(A * np.exp(-K * bid) * dt), chance(A * np.exp(-K * ask) * dt)
        moments = (
            after_gain(moments, (1 - buy) * (1 - sell), 0 * bid, 0)
            + after_gain(moments, buy * (1 - sell), bid, +1)
            + after_gain(moments, (1 - buy) * sell, ask, -1)
            + after_gain(moments, buy * sell, bid + ask, 0)
        )
        moments[2] += q**2 * SIGMA**2 * dt * moments[0]  # the new inventory bears the mid's move
    return summary(moments, q)


def linear(rate_dt: np.ndarray) -> np.ndarray:
    return np.minimum(rate_dt, 1.0)


def bernoulli(rate_dt: np.ndarray) -> np.ndarray:
    return -np.expm1(-rate_dt)


def continuously(gamma, strategy, half) -> tuple[float, float, float]:
    """The same in continuous time, fills Poisson with the quotes' intensities: Kolmogorov's forward equation."""
    q = np.arange(-half, half + 1.0)

    def slope(t: float, flat: np.ndarray) -> np.ndarray:
        moments = flat.reshape(3, -1)
        bid, ask = distances(gamma, strategy, HORIZON - t, q)
        buy, sell = A * np.exp(-K * bid), A * np.exp(-K * ask)
        buy[-1] = sell[0] = 0.0
        change = after_gain(moments, buy, bid, +1) + after_gain(moments, sell, ask, -1) - (buy + sell) * moments
        change[2] += q**2 * SIGMA**2 * moments[0]
        return change.ravel()

    start = np.zeros((3, q.size))
    start[0, half] = 1.0
    found = solve_ivp(slope, (0.0, HORIZON), start.ravel(), method="LSODA", rtol=1e-9, atol=1e-12)
    return summary(found.y[:, -1].reshape(3, -1), q)


class Symmetric(eqx.Module):
    """The benchmark: one distance on both sides, always."""

    half: float

    def __call__(self, t, state):
        return ts.Quotes(self.half, self.half)


def problem_of(gamma):
    return ts.models.AvellanedaStoikov(volatility=SIGMA, horizon=HORIZON, scale=A, decay=K, risk_aversion=gamma)


def policy_of(gamma, strategy):
    if strategy == "inventory":
        return ts.solve(problem_of(gamma)).policy
    return Symmetric(float(distances(gamma, strategy, 0.0, np.zeros(1))[0][0]))


def assert_simulated(result, profit, std, std_inventory):
    """Mean and variance of profit and of inventory agree; single precision is the tolerance."""
    errors_of_inventory = np.std((result.inventory - result.mean_inventory) ** 2) / np.sqrt(result.paths)
    return agree(
        [result.mean_wealth, result.variance, result.mean_inventory, result.std_inventory**2],
        [profit, std**2, 0.0, std_inventory**2],
        [
            result.standard_error,
            result.variance_standard_error,
            std_inventory / np.sqrt(result.paths),
            errors_of_inventory,
        ],
        samples=result.paths,
        tolerance=[1e-5 * profit, 1e-5 * std**2, 0.0, 0.0],
    )


@pytest.mark.parametrize(("gamma", "strategy"), [row for row, (_, exact) in ROWS.items() if exact])
def test_the_lattice_gives_the_exact_columns_to_half_a_unit_of_the_last_digit(gamma, strategy):
    exact = ROWS[gamma, strategy][1]
    tau = HORIZON - np.arange(STEPS) * HORIZON / STEPS
    spread = np.mean([np.sum(distances(gamma, strategy, at, np.zeros(1))) for at in tau])
    assert (spread, *by_steps(gamma, strategy, linear)) == pytest.approx(exact, abs=0.5e-4, rel=0)


@EACH_ROW
def test_the_linear_rule_gives_the_exact_columns(gamma, strategy):
    result = ts.simulate(problem_of(gamma), policy_of(gamma, strategy), PATHS, seed=1, fills="linear", steps=STEPS)
    assert_simulated(result, *by_steps(gamma, strategy, linear))
    if exact := ROWS[gamma, strategy][1]:
        assert result.mean_spread == pytest.approx(exact[0], abs=0.5e-4)


@EACH_ROW
def test_the_published_rows_are_a_thousand_simulations_of_the_same(gamma, strategy):
    spread, *published = ROWS[gamma, strategy][0]
    profit, std, std_inventory = by_steps(gamma, strategy, linear)
    root = np.sqrt(1000)
    errors = [std / root, std / root / np.sqrt(2), std_inventory / root, std_inventory / root / np.sqrt(2)]
    rounding = [0.05, 0.05, 0.005, 0.05]
    agree(published, [profit, std, 0.0, std_inventory], errors, samples=1000, tolerance=rounding)
    averaged = gamma * SIGMA**2 * HORIZON / 2 + 2 / gamma * np.log(1 + gamma / K)
    assert spread == pytest.approx(averaged, abs=0.005)  # in continuous time


@pytest.mark.parametrize(
    ("gamma", "strategy", "half"), [(0.1, "inventory", 20), pytest.param(0.1, "symmetric", 90, marks=pytest.mark.slow)]
)
def test_exact_fills_have_no_time_step(gamma, strategy, half):
    exact = continuously(gamma, strategy, half)
    result = ts.simulate(problem_of(gamma), policy_of(gamma, strategy), PATHS, seed=2)
    assert_simulated(result, *exact)
    averaged = gamma * SIGMA**2 * HORIZON / 2 + 2 / gamma * np.log(1 + gamma / K)
    assert result.mean_spread == pytest.approx(averaged, rel=1e-3)


def test_the_linear_rule_is_biased_and_the_comparison_sees_it():
    result = ts.simulate(problem_of(0.1), policy_of(0.1, "inventory"), PATHS, seed=3, fills="linear", steps=STEPS)
    with pytest.raises(Disagreement):
        assert_simulated(result, *continuously(0.1, "inventory", 20))


def test_every_fixed_step_is_biased_in_its_first_order():
    exact = np.array(continuously(0.1, "inventory", 20))
    for rule in (linear, bernoulli):
        coarse, fine = (np.array(by_steps(0.1, "inventory", rule, steps)) - exact for steps in (400, 800))
        assert coarse / fine == pytest.approx([2.0] * 3, rel=0.15)


def test_the_figures_called_exact_poisson_are_those_of_a_poisson_chance_within_each_step():
    # 57.1717, 6.3616, 2.9952 are what `1 - e^{-Lambda dt}` gives with 200 steps, at most one fill per side and step;
    # Poisson fills in continuous time give 63.9924, 7.2858, 3.4262.
    assert by_steps(0.1, "inventory", bernoulli) == pytest.approx((57.1717, 6.3616, 2.9952), abs=0.5e-4)
    assert continuously(0.1, "inventory", 20) == pytest.approx((63.9924, 7.2858, 3.4262), abs=0.5e-4)
