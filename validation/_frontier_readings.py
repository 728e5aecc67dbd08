"""The rules that a frontier compares: how each finds its quotes for a risk aversion, and what wealth they lead to.

equilibrium          `MeanVariance`, the time-consistent rule. Variance: `2 (h - theta)/lambda`.
quadratic_variation  `MeanQuadraticVariation`. Variance: the linear equation of `evaluate`.
static               the best pair that never changes, `best_static_quotes`. Variance: the same.
pre_commitment       the best rule seen from time 0, its target kept. Variance: `U - 1/lambda^2` of the target method.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from ..hjb._equation import nodes_of
from ..hjb.evaluation import Moments, evaluate_many
from ..hjb.finite_difference import FiniteDifference
from ..hjb.policy import Policy, TabulatedPolicy
from ..hjb.pre_commitment import TargetMethod, pre_commitment_frontier
from ..hjb.solution import NotConverged, Result, Solution
from ..hjb.solve import default_method, solve_many
from ..hjb.static import StaticQuotes, best_static_quotes
from ..models.objectives import MeanQuadraticVariation, MeanVariance, Objective, PreCommitment
from ..models.problem import State
from ..models.stock_cash import StockCashDealer


class Point(NamedTuple):
    """One point of a frontier: wealth at the horizon as the solver has it, and the policy to simulate.

    mean_error, std_error: estimated absolute errors of the solver's; nan where there is no estimate.
    policy:                None where the solve did not converge.
    """

    mean: float
    std: float
    mean_error: float
    std_error: float
    bid: float
    ask: float
    result: Result
    policy: Any


Reading = Callable[[Any, Sequence[float], Any, Mapping[str, float]], list[Point]]


def under(problem: Any, objective: Objective) -> Any:
    """The problem with another objective."""
    return type(problem)(**{**problem.arguments(), "objective": objective})


def equilibrium(problem: Any, aversions: Sequence[float], method: Any, start: Mapping[str, float]) -> list[Point]:
    """`MeanVariance`: mean and value from one solve give the variance."""
    solutions = _solved([under(problem, MeanVariance(aversion)) for aversion in aversions], method)
    points = []
    for aversion, solution in zip(aversions, solutions, strict=True):
        mean, value = (float(of(0.0, **start)) for of in (solution.expected_wealth, solution.value))
        variance, error = 2 * (mean - value) / aversion, solution.error_estimate
        points.append(_point(solution, start, mean, variance, error, 4 * error / aversion))
    return points


def quadratic_variation(
    problem: Any, aversions: Sequence[float], method: Any, start: Mapping[str, float]
) -> list[Point]:
    """`MeanQuadraticVariation`, its quotes evaluated."""
    problems = [under(problem, MeanQuadraticVariation(aversion)) for aversion in aversions]
    solutions = _solved(problems, method)
    moments = evaluate_many(problems, [solution.policy for solution in solutions], _differences(solutions[0].method))
    return [
        _point(solution, start, *_wealth(moment, start)) for solution, moment in zip(solutions, moments, strict=True)
    ]


def static(problem: Any, aversions: Sequence[float], method: Any, start: Mapping[str, float]) -> list[Point]:
    """The best pair for each risk aversion, evaluated."""
    differences = _differences(method)
    problems = [under(problem, MeanQuadraticVariation(aversion)) for aversion in aversions]
    policies = [_as_table(quotes, differences) for quotes in best_static_quotes(problem, aversions, start)]
    points = []
    for policy, moment in zip(policies, evaluate_many(problems, policies, differences), strict=True):
        mean, variance, *errors = _wealth(moment, start)
        result = Result.CONVERGED if moment.converged else Result.RESIDUAL
        quotes = policy(0.0, State({name: np.asarray(value) for name, value in start.items()}))
        points.append(_judged(mean, variance, errors, quotes, result, policy if moment.converged else None))
    return points


def _as_table(quotes: StaticQuotes, method: FiniteDifference) -> TabulatedPolicy:
    """Static quotes in the shape of a solution's, so that they are evaluated and simulated by the same programs."""
    problem, levels = quotes.problem, method.levels([quotes.problem])
    grid = levels.inventory
    table = np.broadcast_to(np.stack([quotes.bid, quotes.ask]), (levels.kept + 1, grid.count, 2))
    spacing = np.asarray(problem.size / grid.per_lot)
    with jax.enable_x64(True):
        nodes = np.asarray(nodes_of(problem, grid)) if problem.moves else None
    return TabulatedPolicy(problem, np.array(table), (spacing,), 2, (-grid.half * spacing,), nodes)


def pre_commitment(problem: Any, aversions: Sequence[float], method: Any, start: Mapping[str, float]) -> list[Point]:
    """`PreCommitment`, its targets found for all risk aversions together."""
    objective = PreCommitment(1.0, stock=start["stock"], cash=start["cash"])
    settings = method if isinstance(method, TargetMethod) else None
    found = pre_commitment_frontier(under(problem, objective), aversions, settings)
    points = []
    for i in range(len(aversions)):
        solution = found.solution(i)
        mean, variance = float(found.mean[i]), float(found.variance[i])
        mean_error = abs(float(found.mean_by_equation[i]) - mean) + float(found.mean_error[i])
        points.append(_point(solution, start, mean, variance, mean_error, float(found.variance_error[i])))
    return points


READINGS: dict[str, Reading] = {
    "equilibrium": equilibrium,
    "quadratic_variation": quadratic_variation,
    "static": static,
    "pre_commitment": pre_commitment,
}

TITLES = {
    "equilibrium": "equilibrium",
    "quadratic_variation": "quadratic variation",
    "static": "static quotes",
    "pre_commitment": "pre-commitment",
}


def missing(reading: str, problem: Any) -> str:
    """Why a reading of a problem cannot be had; empty where it can."""
    if reading in ("quadratic_variation", "static") and problem.days > 1:
        return "its variance is not known under an overnight limit"
    if reading == "pre_commitment":
        if not isinstance(problem, StockCashDealer):
            return f"it is solved for StockCashDealer, not for {type(problem).__name__}"
        if problem.margin is not None or problem.haircut is not None or problem.forces or problem.days > 1:
            return "it is solved without margin, haircut, forced_reduction and overnight limits"
    return ""


def simulated(point: Point, problem: Any) -> tuple[Any, Any]:
    """Problem and policy to simulate, such that all readings share one program: the criterion moves no path."""
    common = under(problem, MeanVariance(1.0))
    policy = point.policy
    return common, dataclasses.replace(policy, problem=common) if isinstance(policy, Policy) else policy


def _solved(problems: list[Any], method: Any) -> list[Solution]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)  # each point says so itself
        return solve_many(problems, default_method(problems[0]) if method is None else method)


def _differences(method: Any) -> FiniteDifference:
    return method if isinstance(method, FiniteDifference) else FiniteDifference()


def _wealth(moment: Moments, start: Mapping[str, float]) -> tuple[float, float, float, float]:
    """Mean and variance at time 0, and their errors."""
    return (
        float(moment.expected_wealth(0.0, **start)),
        float(moment.variance_of_wealth(0.0, **start)),
        *moment.error_estimate(**start),
    )


def _point(solution: Solution, start: Mapping[str, float], mean: float, variance: float, *errors: float) -> Point:
    quotes = solution.quotes(0.0, **start)
    return _judged(mean, variance, errors, quotes, solution.result, solution.policy if solution.converged else None)


def _judged(mean: float, variance: float, errors: Any, quotes: Any, result: Result, policy: Any) -> Point:
    std = math.sqrt(max(variance, 0.0)) if math.isfinite(variance) else math.nan
    std_error = errors[1] / (2 * std) if std > 0 else 0.0
    return Point(mean, std, errors[0], std_error, float(quotes.bid), float(quotes.ask), result, policy)
