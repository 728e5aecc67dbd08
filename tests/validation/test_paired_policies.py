"""Policies compared under one criterion with one seed; the equilibrium is a maximum only locally."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline

import twosided as ts
from twosided.validation.statistics import agree, exceed

BID_DECAY, ASK_DECAY = 2.0, 1.8  # an asymmetric pair


class Perturbed(eqx.Module):
    """Another policy's quotes with distances added, until a time."""

    policy: Any
    bid: float = 0.0
    ask: float = 0.0
    until: float = np.inf

    def __call__(self, t, state):
        quotes = self.policy(t, state)
        now = jnp.where(t < self.until, jnp.ones_like(t), jnp.zeros_like(t))
        return ts.Quotes(quotes.bid + self.bid * now, quotes.ask + self.ask * now)


OBJECTIVES = [
    ts.models.RunningPenalty(0.1, 0.1),
    ts.models.ExponentialUtility(0.05),  # times the std of wealth well below one, or a few paths decide
    ts.models.MeanQuadraticVariation(0.1),
]
EACH_OBJECTIVE = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: type(objective).__name__)


def assert_optimal(objective, share, paths, seed):
    """The optimal policy beats those off by `share` of 1/k: wider on both sides, and skewed."""
    problem = ts.models.InventoryDealer(
        volatility=0.3,
        horizon=1.0,
        bid_demand=ts.models.Exponential(300.0, BID_DECAY),
        ask_demand=ts.models.Exponential(240.0, ASK_DECAY),
        lot=1.0,
        max_inventory=8,
        objective=objective,
    )
    policy = ts.solve(problem).policy
    optimal = ts.simulate(problem, Perturbed(policy), paths, seed=seed)
    for bid, ask in ((+1, +1), (+1, -1)):
        perturbed = Perturbed(policy, bid * share / BID_DECAY, ask * share / ASK_DECAY)
        exceed(optimal.score, ts.simulate(problem, perturbed, paths, seed=seed).score)


@pytest.mark.parametrize(
    "objective", [*(pytest.param(each, marks=pytest.mark.slow) for each in OBJECTIVES[:2]), OBJECTIVES[2]]
)
def test_the_optimal_policy_beats_those_five_per_cent_off(objective):
    assert_optimal(objective, 0.05, 30_000, seed=31)


@pytest.mark.slow
@EACH_OBJECTIVE
def test_the_optimal_policy_beats_those_one_per_cent_off(objective):
    assert_optimal(objective, 0.01, 3_000_000, seed=32)


@pytest.mark.slow
def test_an_equilibrium_is_no_maximum_at_time_0():
    # Leaning harder against the inventory over the whole horizon is worth more to the dealer of time 0.
    lam, sigma, drift, horizon, limit = 0.6, 0.5, 0.1, 2.0, 5
    demand = {+1: (12.0, 1.5), -1: (8.0, 1.2)}
    bid, ask = (ts.models.Exponential(*demand[side]) for side in (+1, -1))
    problem = ts.models.InventoryDealer(sigma, horizon, bid, ask, 1.0, limit, ts.models.MeanVariance(lam), drift=drift)
    solution = ts.solve(problem)
    q, time = np.arange(-limit, limit + 1.0), np.linspace(0.0, horizon, 1001)[:, None]
    quotes = solution.policy(time + 0 * q, {"inventory": q + 0 * time})
    over_time = CubicSpline(time[:, 0], np.stack([np.nan_to_num(side, nan=60.0) for side in quotes], axis=1))

    def criterion(tilt):
        """`E - (lambda/2) Var` by the forward equation of mass, mean and second moment of wealth, (3, lots)."""

        def slope(t, flat):
            mass, first, second = moments = flat.reshape(3, -1)
            change = np.stack([0 * mass, drift * q * mass, 2 * drift * q * first + (sigma * q) ** 2 * mass])
            for side, x in zip((+1, -1), over_time(t), strict=True):
                scale, decay = demand[side]
                x = x + side * tilt * q
                rate = np.where(side * q < limit, scale * np.exp(-decay * x), 0.0)
                arriving = rate * np.stack([mass, first + x * mass, second + 2 * x * first + x**2 * mass])
                change += np.roll(arriving, side, axis=1) - rate * moments
            return change.ravel()

        start = np.zeros((3, q.size))
        start[0, limit] = 1.0
        mass, first, second = (
            solve_ivp(slope, (0, horizon), start.ravel(), "LSODA", rtol=1e-8, atol=1e-9).y[:, -1].reshape(3, -1)
        )
        assert np.sum(mass) == pytest.approx(1.0, abs=1e-7)
        return np.sum(first) - 0.5 * lam * (np.sum(second) - np.sum(first) ** 2)

    assert criterion(0.0) == pytest.approx(solution.value(0.0), abs=1e-5)
    assert criterion(0.02) > criterion(0.0) + 1e-3
    assert criterion(-0.02) < criterion(0.0)


@pytest.mark.slow
def test_a_short_deviation_of_a_dealer_with_accounts_loses_the_difference_of_hamiltonians():
    demand = {+1: ts.models.Exponential(3660.0, 60.0), -1: ts.models.Exponential(2800.0, 50.0)}
    horizon, rate, start = 20 / 244, 0.03, 2.0
    problem = ts.models.StockCashDealer(
        0.15, 0.45, rate, horizon, demand[+1], demand[-1], 1.0, 10.0, ts.models.MeanVariance(10.0)
    )
    solution = ts.solve(problem)
    until, more = horizon / 200, 0.5 / 60.0
    accrual = np.exp(rate * horizon)

    def worth(side, distance):
        """`Lambda(x) U(x)`; a lot bought at the reference price leaves the marked book as it is."""
        jumps = [
            f(0.0, stock=start + side) - f(0.0, stock=start) - side * accrual
            for f in (solution.value, solution.expected_wealth)
        ]
        return demand[side].intensity(distance) * problem.objective.gain(accrual * distance, *jumps)

    quotes = zip((+1, -1), solution.quotes(0.0, stock=start), strict=True)
    exact = float(sum(worth(side, x + more) - worth(side, x) for side, x in quotes))
    run = {"paths": 1_000_000, "seed": 33, "initial": {"stock": start}}
    base, deviating = (ts.simulate(problem, Perturbed(solution.policy, by, by, until), **run) for by in (0.0, more))
    loss = (deviating.score - base.score) / until
    assert exact < 0
    # It is the limit of ever shorter intervals; over this one the rate differs by a few per cent.
    agree(np.mean(loss), exact, np.std(loss) / 1e3, samples=1_000_000, tolerance=0.1 * abs(exact))
