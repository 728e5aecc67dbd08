"""Is the optimal policy optimal? Against perturbed policies by exact evaluation and by simulation; for the equilibrium,
which is no maximum over the whole horizon, against a deviation on a short interval.
"""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import twosided as ts
from twosided.validation.statistics import agree

MODELS = ts.models
SCALES, DECAY, LIMIT, HORIZON, SIGMA = (40.0, 55.0), 1.5, 6, 1.0, 2.0
LOTS = np.arange(-LIMIT, LIMIT + 1)


def dealer(objective):
    """An asymmetric market, a limit of six lots."""
    bid, ask = (MODELS.Exponential(scale, DECAY) for scale in SCALES)
    return MODELS.InventoryDealer(
        volatility=SIGMA,
        horizon=HORIZON,
        bid_demand=bid,
        ask_demand=ask,
        lot=1.0,
        max_inventory=LIMIT,
        objective=objective,
        drift=0.3,
    )


def fill_rates(bid, ask):
    """Intensities with the limit kept, from distances at every lot."""
    up, down = SCALES[0] * np.exp(-DECAY * bid), SCALES[1] * np.exp(-DECAY * ask)
    return np.where(LOTS < LIMIT, up, 0.0), np.where(LOTS > -LIMIT, down, 0.0)


def neighbours(f):
    return np.append(f[1:], f[-1]), np.append(f[0], f[:-1])


class Perturbed:
    """The quotes of a solution moved by fixed amounts."""

    def __init__(self, solution, bid, ask):
        self.solution, self.bid, self.ask = solution, bid, ask

    def distances(self, t):
        quotes = self.solution.quotes(t, inventory=LOTS.astype(float))
        return np.nan_to_num(quotes.bid) + self.bid, np.nan_to_num(quotes.ask) + self.ask


def criterion_of(policy, gamma=None, running=0.0):
    """The criterion at time 0 without inventory under given quotes, by the linear equation that they leave."""

    def rate(tau, theta):
        bid, ask = policy.distances(HORIZON - tau)
        up, down = fill_rates(bid, ask)
        above, below = neighbours(theta)
        gains = [bid + above - theta, ask + below - theta]
        if gamma is not None:
            gains = [-np.expm1(-gamma * g) / gamma for g in gains]
        risk = running * LOTS**2 if gamma is None else 0.5 * gamma * SIGMA**2 * LOTS**2
        return 0.3 * LOTS - risk + up * gains[0] + down * gains[1]

    start = np.zeros(LOTS.size)
    return solve_ivp(rate, (0.0, HORIZON), start, "LSODA", rtol=1e-8, atol=1e-9).y[LIMIT, -1]


@pytest.mark.parametrize("objective", ["utility", "penalty"])
def test_four_perturbed_policies_are_worth_less(objective):
    how = {"gamma": 0.1} if objective == "utility" else {"running": 0.2}
    wants = MODELS.ExponentialUtility(0.1) if objective == "utility" else MODELS.RunningPenalty(0.2)
    solution = ts.solve(dealer(wants), ts.hjb.Lattice(times=1024))
    best = criterion_of(Perturbed(solution, 0.0, 0.0), **how)
    assert best == pytest.approx(solution.value(0.0), abs=1e-4)
    for size in (0.01 / DECAY, 0.05 / DECAY):
        for shift in ((size, size), (size, -size)):
            assert criterion_of(Perturbed(solution, *shift), **how) < best


@pytest.mark.parametrize("objective", [pytest.param("utility", marks=pytest.mark.slow), "penalty"])
def test_simulated_policies_lose_what_the_equation_says(objective):
    how = {"gamma": 0.1} if objective == "utility" else {"running": 0.2}
    wants = MODELS.ExponentialUtility(0.1) if objective == "utility" else MODELS.RunningPenalty(0.2)
    problem = dealer(wants)
    solution = ts.solve(problem, ts.hjb.Lattice(times=1024))
    best = ts.simulate(problem, solution.policy, paths=40_000, seed=1)
    agree(best.criterion, solution.value(0.0), best.criterion_standard_error, samples=40_000, tolerance=1e-4)
    size = 0.2 / DECAY
    policy = solution.policy

    def wider(t, state):
        quotes = policy(t, state)
        return ts.Quotes(quotes.bid + size, quotes.ask - size)

    skewed = ts.simulate(problem, wider, paths=40_000, seed=1)
    loss = criterion_of(Perturbed(solution, size, -size), **how) - solution.value(0.0)
    assert loss < 0
    paired = skewed.score - best.score
    agree(np.mean(paired), loss, np.std(paired) / np.sqrt(paired.size), samples=paired.size, tolerance=1e-3)


AVERSION = 0.08


def best_response(theta, h):
    """Equilibrium distances at every lot from value and mean, by the quadratic of the documentation."""
    out = []
    for side in (0, 1):
        dtheta, dh = neighbours(theta)[side] - theta, neighbours(h)[side] - h
        c = dtheta - dh
        k = 1 - DECAY * c
        y = 2 * k / (DECAY + AVERSION + np.sqrt((DECAY + AVERSION) ** 2 - 2 * DECAY * AVERSION * k))
        out.append(y - dh)
    return out


def moments_rate(h, second, bid, ask):
    """`dh/dtau` and `d E[gain^2]/dtau` under given distances."""
    up, down = fill_rates(bid, ask)
    (ha, hb), (sa, sb) = neighbours(h), neighbours(second)
    mean = 0.3 * LOTS + up * (bid + ha - h) + down * (ask + hb - h)
    square = 2 * 0.3 * LOTS * h + SIGMA**2 * LOTS**2
    square = square + up * (bid**2 + 2 * bid * ha + sa - second) + down * (ask**2 + 2 * ask * hb + sb - second)
    return mean, square


def integrate(span, start, distances):
    """March `theta, h` and the second moment over `span` of time to go; `theta` only feeds the equilibrium's quotes."""

    def rate(_, u):
        theta, h, second = u.reshape(3, -1)
        bid, ask = best_response(theta, h)
        up, down = fill_rates(bid, ask)
        (ta, tb), (ha, hb) = neighbours(theta), neighbours(h)
        gain = [
            up * (bid + ta - theta - 0.5 * AVERSION * (bid + ha - h) ** 2),
            down * (ask + tb - theta - 0.5 * AVERSION * (ask + hb - h) ** 2),
        ]
        value = 0.3 * LOTS - 0.5 * AVERSION * SIGMA**2 * LOTS**2 + gain[0] + gain[1]
        mean, square = moments_rate(h, second, *distances(bid, ask))
        return np.concatenate([value, mean, square])

    return solve_ivp(rate, span, start, "DOP853", rtol=1e-12, atol=1e-13).y[:, -1]


def test_the_equilibrium_satisfies_its_own_moments_and_the_solver_finds_it():
    theta, h, second = integrate((0.0, HORIZON), np.zeros(3 * LOTS.size), lambda b, a: (b, a)).reshape(3, -1)
    np.testing.assert_allclose(h - 0.5 * AVERSION * (second - h**2), theta, atol=1e-9)  # V = E - (lambda/2) Var
    solution = ts.solve(dealer(MODELS.MeanVariance(AVERSION)))
    inventory = LOTS.astype(float)
    np.testing.assert_allclose(solution.value(0.0, inventory=inventory), theta, atol=1e-9)
    np.testing.assert_allclose(solution.expected_wealth(0.0, inventory=inventory), h, atol=1e-9)
    bid, ask = best_response(theta, h)
    quotes = solution.quotes(0.0, inventory=inventory)
    np.testing.assert_allclose(quotes.bid[:-1], bid[:-1], atol=1e-9)
    np.testing.assert_allclose(quotes.ask[1:], ask[1:], atol=1e-9)


@pytest.mark.parametrize("shift", [(0.05, 0.05), (0.05, -0.05), (-0.1, 0.02)])
def test_a_deviation_on_a_short_interval_does_not_pay(shift):
    ratios = []
    lengths = 0.02 * 0.5 ** np.arange(4)
    for eps in lengths:
        near = integrate((0.0, HORIZON - eps), np.zeros(3 * LOTS.size), lambda b, a: (b, a))
        stay, stray = (
            integrate((HORIZON - eps, HORIZON), near, moved).reshape(3, -1)
            for moved in (lambda b, a: (b, a), lambda b, a: (b + shift[0], a + shift[1]))
        )
        worth = [h - 0.5 * AVERSION * (second - h**2) for _, h, second in (stay, stray)]
        ratios.append((worth[1] - worth[0]) / eps)
    # The difference of the Hamiltonians at time 0, from the distances and the deviation alone.
    theta, h, _ = stay
    distances = best_response(theta, h)
    limit = 0.0
    for side, (x, move) in enumerate(zip(distances, shift, strict=True)):
        dtheta, dh = neighbours(theta)[side] - theta, neighbours(h)[side] - h
        allowed = LOTS < LIMIT if side == 0 else LOTS > -LIMIT

        def worth_of(distance, side=side, dtheta=dtheta, dh=dh, allowed=allowed):
            rate = np.where(allowed, SCALES[side] * np.exp(-DECAY * distance), 0.0)
            return rate * (distance + dtheta - 0.5 * AVERSION * (distance + dh) ** 2)

        limit = limit + worth_of(x + move) - worth_of(x)
    assert np.all(limit < 0)
    apart = [np.max(np.abs(ratio - limit)) for ratio in ratios]
    np.testing.assert_allclose(np.divide(apart[1:], apart[:-1]), 0.5, atol=0.06)  # first order in the length
    extrapolated = 2 * ratios[-1] - ratios[-2]
    np.testing.assert_allclose(extrapolated, limit, atol=0.02 * np.max(np.abs(limit)))
