"""The book of several assets as stated: its covariance, its limits, and what it refuses."""

import json

import numpy as np
import pytest

import twosided as ts
from twosided.models import case

M = ts.models
CORRELATION = [[1.0, 0.3, -0.2], [0.3, 1.0, 0.4], [-0.2, 0.4, 1.0]]
SETTINGS = {
    "volatility": [0.5, 0.8, 0.3],
    "horizon": 1.5,
    "bid_demand": (M.Exponential(2.0, 1.5), M.Linear(2.0, 0.7), M.Exponential(0.5, 0.8)),
    "ask_demand": M.Exponential(1.1, 0.9),
    "lot": [1.0, 0.5, 2.0],
    "max_inventory": [3, 2, 4],
    "objective": M.RiskPenalty(0.2, terminal=0.05),
    "correlation": CORRELATION,
    "drift": [0.1, -0.2, 0.0],
}


def book(**changes):
    return M.MultiAssetDealer(**{**SETTINGS, **changes})


def test_risk_is_the_covariance_of_the_lots_held():
    q = np.array([[1.0, -2.0, 0.0], [0.0, 1.0, 3.0]])
    money = q * SETTINGS["lot"] * np.asarray(SETTINGS["volatility"])
    expected = np.einsum("ni,ij,nj->n", money, CORRELATION, money)
    np.testing.assert_allclose(book().variance_rate(q), expected, rtol=1e-14)
    np.testing.assert_allclose(book().running_cost(q), 0.1 * expected, rtol=1e-14)
    np.testing.assert_allclose(book().terminal_cost(q), 0.05 * np.sum(q**2, axis=-1), rtol=1e-14)
    np.testing.assert_allclose(book().income(q), (q * SETTINGS["lot"]) @ SETTINGS["drift"], rtol=1e-14)


def test_a_risk_penalty_of_one_asset_is_a_running_penalty():
    risk, penalty = M.RiskPenalty(0.2, 0.05), M.RunningPenalty(0.5 * 0.2 * (0.7 * 3.0) ** 2, 0.05)
    lots = np.arange(-3.0, 4.0)
    assert np.allclose(
        risk.running_cost(0.7 * 3.0 * lots, 0 * lots, lots), penalty.running_cost(0 * lots, 0 * lots, lots)
    )
    assert np.array_equal(risk.terminal_cost(lots), penalty.terminal_cost(lots))


def test_every_asset_and_side_keeps_its_own_demand():
    problem = book()
    assert [type(demand).__name__ for demand in problem.bid_demand] == ["Exponential", "Linear", "Exponential"]
    x = np.array([0.1, 0.2, 0.3])
    expected = [2.0 * np.exp(-0.15), 2.0 - 0.14, 0.5 * np.exp(-0.24)]
    np.testing.assert_allclose(problem.bid_demand.intensity(x), expected, rtol=1e-14)
    np.testing.assert_allclose(problem.ask_demand.intensity(x), 1.1 * np.exp(-0.9 * x), rtol=1e-14)


def test_limits_forbid_only_the_fill_that_would_cross_them():
    q = np.array([3.0, -2.0, 3.0])
    assert np.array_equal(book().may_fill(+1, q), [False, True, True])
    assert np.array_equal(book().may_fill(-1, q), [True, False, True])


def test_a_covariance_by_factors_states_the_same_book():
    loadings, specific = np.array([[0.3, 0.1], [0.5, -0.2], [0.0, 0.4]]), np.array([0.2, 0.0, 0.1])
    covariance = M.factor_covariance(loadings, specific)
    rest = {name: value for name, value in SETTINGS.items() if name not in ("volatility", "correlation")}
    problem = M.MultiAssetDealer.with_covariance(covariance, **rest)
    np.testing.assert_allclose(problem.covariance, covariance, rtol=1e-13, atol=1e-17)
    np.testing.assert_allclose(np.diagonal(covariance), np.sum(loadings**2, axis=1) + specific**2, rtol=1e-14)
    flat = M.factor_covariance(np.ones((3, 1)), 0.0)  # of rank one, so its small eigenvalues are rounding
    assert M.MultiAssetDealer.with_covariance(flat, **rest).dimension == 3


def test_a_book_is_the_same_after_a_case_file():
    problem = book(max_inventory=[3, np.inf, 4], correlation=0.25)
    data = json.loads(json.dumps(case.to_data(problem)))
    assert case.to_data(case.from_data(data)) == case.to_data(problem)
    assert data["correlation"] == 0.25
    assert data["ask_demand"]["type"] == "Exponential"  # one for all stays one


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"volatility": 0.5}, "volatility must have one number per asset"),
        ({"volatility": [0.5, -0.8, 0.3]}, "volatility must be finite and not negative"),
        ({"bid_demand": [M.Exponential(1.0, 1.0)] * 2}, "bid_demand must hold one demand per asset, 3"),
        ({"lot": [1.0, 2.0]}, "lot must be one number or one per asset, 3"),
        ({"drift": np.zeros((3, 1))}, "drift must be one number or one per asset, 3"),
        ({"max_inventory": [3, 2.5, 4]}, "whole number of lots, got 2.5 for asset 1"),
        ({"max_inventory": [3, 2, 0]}, "at least one lot, got 0 for asset 2"),
        ({"max_inventory": [3, 2]}, "max_inventory must be one number or one per asset, 3"),
        ({"correlation": -0.6}, "positive semi-definite, but has the eigenvalue -0.2"),
        ({"correlation": 1.5}, "must lie between -1 and 1, got 1.5"),
        ({"correlation": np.eye(2)}, r"correlation must be one number or have shape \(3, 3\)"),
        ({"correlation": np.diag([1.0, 2.0, 1.0]) / 2}, "ones on its diagonal"),
        ({"correlation": [[1, 0.3, 0], [0.2, 1, 0], [0, 0, 1]]}, r"symmetric, but has 0.3 at \(0, 1\) and 0.2"),
        ({"objective": M.PreCommitment(1.0)}, "PreCommitment depends on wealth"),
        ({"objective": M.MeanVariance([0.1, 0.2, 0.3])}, "objective.risk_aversion must be one number"),
        ({"bid_demand": M.Exponential([1.0, 2.0, 3.0], 1.0)}, r"Exponential: bid_demand\[0\].scale must be one number"),
    ],
)
def test_what_cannot_be_a_book_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        book(**changes)


def test_a_covariance_that_no_prices_have_is_refused_with_its_eigenvalue():
    rest = {name: value for name, value in SETTINGS.items() if name not in ("volatility", "correlation")}
    with pytest.raises(ValueError, match="covariance must be positive semi-definite, but has the eigenvalue -1"):
        M.MultiAssetDealer.with_covariance([[1, 2, 0], [2, 1, 0], [0, 0, 1]], **rest)
    with pytest.raises(ValueError, match="covariance must be square"):
        M.MultiAssetDealer.with_covariance(np.ones((2, 3)), **rest)


def test_what_is_no_demand_or_objective_is_refused_by_name():
    with pytest.raises(TypeError, match="ask_demand must be a demand"):
        book(ask_demand=3.0)
    with pytest.raises(TypeError, match="objective must be one such as"):
        book(objective=0.1)
