"""What a given policy is worth: mean and variance of terminal wealth, whoever chose the quotes and by what criterion.

With the distances fixed, the mean `h` above the marked book and the variance `m` of wealth at the horizon solve

    h_tau = income + velocity h_y + 1/2 spread^2 h_yy + sum Lambda(x) (z + Dh),                          h(tau=0) = 0,
    m_tau =          velocity m_y + 1/2 spread^2 m_yy + sum Lambda(x) Dm + Gamma,                        m(tau=0) = 0,
    Gamma = (exposure + spread h_y)^2 + sum Lambda(x) (z + Dh)^2,

because the conditional mean of terminal wealth is a martingale whose variance grows at the rate `Gamma(h)`. This is
the equation of the equilibrium with the supremum left out: under `MeanVariance(2/D)` fixed quotes are worth
`theta = h - m/D`, for any amount of money `D`. So the finite differences of `finite_difference` serve as they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..models._precision import in_float64, is_traced
from ..models.objectives import MeanVariance
from ..models.problem import Problem, as_state
from ._equation import Equation, Grid, Moment, Side, _neighbour
from ._interpolation import cubic
from ._march import Stop, march
from ._tables import _fall, _prolong, clock
from .finite_difference import FiniteDifference
from .policy import Policy


@dataclass(frozen=True)
class Moments:
    """Mean and variance of wealth at the horizon under a policy, over time and inventory.

    mean, variance: tables of shape (times, nodes) over time to go `tau` (ascending from 0) and inventory `y`; the mean
    in money at the horizon above the marked book, the variance in money squared. The errors are estimates of theirs.
    """

    problem: Any
    method: FiniteDifference
    tau: Any
    y: Any
    mean: Any
    variance: Any
    mean_errors: Any
    variance_errors: Any
    residual: float
    stats: dict[str, Any] = field(default_factory=dict)

    def expected_wealth(self, t: Any = 0.0, **state: Any) -> Any:
        """`E_t[W_T]`, money; above the marked book for an inventory in lots. Scalars and arrays broadcast."""
        state = as_state(self.problem, state)
        return self._at(self.mean, t, state) + _worth(self.problem, t, state)

    def variance_of_wealth(self, t: Any = 0.0, **state: Any) -> Any:
        """`Var_t[W_T]`, money squared."""
        return self._at(self.variance, t, as_state(self.problem, state))

    def standard_deviation(self, t: Any = 0.0, **state: Any) -> Any:
        """Of wealth at the horizon, seen from `t`, money."""
        return np.sqrt(np.maximum(self.variance_of_wealth(t, **state), 0.0))

    def error_estimate(self, **state: Any) -> tuple[float, float]:
        """Estimated absolute errors of mean and variance at time 0; nan where the method does not extrapolate."""
        given = as_state(self.problem, state)
        mean, variance = (float(self._at(errors, 0.0, given)) for errors in (self.mean_errors, self.variance_errors))
        return abs(mean), abs(variance)

    @property
    def converged(self) -> bool:
        """Whether every step was solved to the method's tolerance and every number is finite."""
        finite = bool(np.all(np.isfinite(self.mean)) and np.all(np.isfinite(self.variance)))
        return finite and self.residual <= self.method.tolerance

    def _at(self, table: Any, t: Any, state: Any) -> Any:
        y = self.problem.coordinate(state)
        if not is_traced(y) and np.any(np.abs(y) > self.y[-1] * (1 + 1e-12)):
            raise ValueError(
                f"{self.problem.names[0]}={np.max(np.abs(y)):g} lies outside the evaluated range of "
                f"+-{float(self.y[-1]):g} {self.problem.units['state']}"
            )
        return _read(self.problem, table, self.y, t, y)

    def __repr__(self) -> str:
        times, nodes = np.shape(self.mean)
        state = "converged" if self.converged else "NOT converged"
        return f"Moments({type(self.problem).__name__}: {times} times x {nodes} nodes; {state})"


def evaluate(problem: Problem, policy: Callable[..., Any], method: FiniteDifference | None = None) -> Moments:
    """Mean and variance of terminal wealth when `policy` is followed from any time and inventory on.

    policy: `policy(t, state) -> Quotes`, such as `solution.policy`, of time and inventory only. A side that gets nan
            or an infinite distance, or whose fill would cross the limit, is not quoted.

    The problem's own objective plays no part. Raises `ValueError` for a policy that depends on more than time and
    inventory, and `TypeError` for what is no policy.
    """
    return evaluate_many([problem], [policy], method)[0]


def evaluate_many(
    problems: Sequence[Problem], policies: Sequence[Callable[..., Any]], method: FiniteDifference | None = None
) -> list[Moments]:
    """`evaluate` for problems and policies that differ in numbers only, in one batched call; results in their order."""
    problems, policies = list(problems), list(policies)
    method = FiniteDifference() if method is None else method
    for problem, policy in zip(problems, policies, strict=True):
        _check(problem, policy)
    if not problems:
        return []
    started = time.perf_counter()
    found = _in_one_call(problems, policies, method)
    stats = {"method": type(method).__name__, "seconds": (time.perf_counter() - started) / len(problems)}
    return [_moments(problem, method, found, i, stats) for i, problem in enumerate(problems)]


def _in_one_call(problems: list[Any], policies: list[Any], method: FiniteDifference) -> Any:
    problems = [
        under_mean_variance(problem, np.ones(())) for problem in problems
    ]  # one program whatever the objective was
    policies = [
        eqx.tree_at(lambda p: p.problem, policy, problem) if isinstance(policy, Policy) else policy
        for problem, policy in zip(problems, policies, strict=True)
    ]
    grid = max((method.grid(problem) for problem in problems), key=lambda grid: grid.half)
    with jax.enable_x64(True):
        batch = (_stacked(problems, "problems"), _stacked(policies, "policies"))
        return jax.tree.map(np.asarray, jax.block_until_ready(evaluated(*batch, method, grid)))


def _moments(problem: Problem, method: FiniteDifference, found: Any, i: int, stats: dict[str, Any]) -> Moments:
    tau, y, rows, errors, residual = (leaf[i] for leaf in found)
    return Moments(
        problem,
        method,
        tau,
        y,
        mean=rows[:, 1],
        variance=rows[:, 0],
        mean_errors=errors[:, 1],
        variance_errors=errors[:, 0],
        residual=float(residual),
        stats=stats,
    )


def _check(problem: Any, policy: Any) -> None:
    if not isinstance(problem, Problem):
        raise TypeError(f"evaluate needs a problem with dynamics from twosided.models, got {type(problem).__name__}")
    if not callable(policy):
        raise TypeError(f"policy must be callable as policy(t, state), got {type(policy).__name__}")
    if getattr(problem, "cash_matters", False):
        raise ValueError(
            "borrowing_rate, short_fee, credit_line and short_limit make the cash account matter by itself, which "
            "evaluate does not know: leave them out, or simulate the policy"
        )
    if problem.forces or problem.days > 1:
        raise ValueError(
            "evaluate knows no forced_reduction and no overnight limit: leave them out, or simulate the policy"
        )
    if getattr(policy, "dimension", 1) > 1 or not isinstance(policy, Policy):
        _refuse_wealth(problem, policy)


def _refuse_wealth(problem: Problem, policy: Callable[..., Any]) -> None:
    """A policy that looks at the cash account has no mean and variance over time and inventory alone."""
    tau, y = np.full(3, float(problem.horizon)), float(problem.size) * np.array([-1.0, 0.0, 1.0])
    with jax.enable_x64(True):
        poor, rich = (
            [np.asarray(x) for x in _asked(problem, policy, tau, y, money)]
            for money in (0 * y, 0 * y + 100 * float(problem.size))
        )
    if any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(poor, rich, strict=True)):
        raise ValueError(
            f"the policy {type(policy).__name__} quotes by {' and '.join(problem.names)}; evaluate takes policies of "
            f"time and {problem.names[0]}: simulate this one"
        )


def _asked(problem: Problem, policy: Callable[..., Any], tau: Any, y: Any, money: Any) -> tuple[Any, Any]:
    bid, ask = policy(problem.horizon - tau, problem.state(tau, y, money))
    return jnp.broadcast_to(bid, y.shape), jnp.broadcast_to(ask, y.shape)


def _stacked(trees: list[Any], what: str) -> Any:
    """One tree with a leading axis; functions and other things without numbers must be the same in all."""
    parts = [eqx.partition(tree, eqx.is_array_like) for tree in trees]
    numbers = [jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), arrays) for arrays, _ in parts]
    if len({jax.tree.structure(part) for part in numbers}) > 1 or any(rest != parts[0][1] for _, rest in parts):
        raise ValueError(f"the {what} must differ in numbers only; evaluate them in groups")
    return eqx.combine(jax.tree.map(lambda *leaves: np.stack(leaves), *numbers), parts[0][1])


class _Fixed(Equation):
    """The equation with the distances given: `u = (theta, h)` under `MeanVariance`, linear up to the square of `h`."""

    policy: Any

    def __init__(self, problem: Problem, grid: Grid, policy: Any):
        super().__init__(problem, grid)
        self.policy = policy

    def at(self, tau: Any) -> Moment:
        moment, y = super().at(tau), self.nodes
        if isinstance(self.policy, Policy):  # unmasked: the cell that holds the limit is filled in part
            quotes = self.policy.distances(jnp.broadcast_to(tau, y.shape), y)
        else:
            quotes = _asked(self.problem, self.policy, jnp.broadcast_to(tau, y.shape), y, 0 * y)
        return _FixedMoment(**{name: getattr(moment, name) for name in _MOMENT}, quotes=quotes)


class _FixedMoment(Moment):
    quotes: tuple[Any, Any]

    def side(self, u: Any, which: int) -> Side:
        channel, x = self.channels[which], self.quotes[which]
        quoting = jnp.isfinite(x)
        x = jnp.where(quoting, x, 0.0)
        rate = jnp.where(quoting, self.equation.permitted[which] * channel.demand._intensity(x), 0.0)
        value_change, mean_change = _neighbour(u, channel.side, self.equation.grid.per_lot) - u
        z = channel.income(x)
        objective = self.equation.problem.objective
        flow = jnp.stack([rate * objective.gain(z, value_change, mean_change), rate * (z + mean_change)])
        steer = -objective.risk_aversion * rate * (z + mean_change)
        coupling = jnp.stack([jnp.stack([rate, steer]), jnp.stack([0 * rate, rate])])
        return Side(jnp.where(quoting, x, jnp.nan), rate, flow, coupling)


_MOMENT = ("equation", "channels", "income", "exposure", "end_flow", "end_slope")


@eqx.filter_jit
def evaluated(problems: Any, policies: Any, method: FiniteDifference, grid: Grid) -> Any:
    """For problems and policies stacked along a leading axis: what `_evaluate` gives, stacked; in double precision."""
    numbers, rest = eqx.partition(policies, eqx.is_array)

    def one(problem: Any, numbers: Any) -> Any:
        return _evaluate(problem, eqx.combine(numbers, rest), method, grid)

    return eqx.filter_vmap(one)(problems, numbers)


def _evaluate(problem: Problem, policy: Any, method: FiniteDifference, grid: Grid) -> Any:
    """Times to go, nodes, (variance, mean) rows, their errors, and the residual."""
    scale = _money_scale(problem, grid)
    judged = under_mean_variance(problem, 2 / scale)
    levels, residual = [], jnp.zeros(())
    for factor in (1, 2, 4) if method.extrapolate else (1,):
        equation = _Fixed(judged, grid.coarser(factor) if problem.moves else grid, policy)
        path = march(equation, time_steps(method) // factor, 1, Stop.of(method), False)
        value, mean = path.u[:, 0], path.u[:, 1]
        levels.append(jnp.stack([scale * (mean - value), mean], axis=1))
        residual = jnp.maximum(residual, path.residual)
    rows, errors = _refined(levels, grid.per_lot, 2 if problem.moves else 1)
    return problem.horizon * clock(time_steps(method)), grid.nodes(problem.size), rows, errors, residual


def under_mean_variance(problem: Problem, risk_aversion: Any) -> Problem:
    """The problem with `MeanVariance` for its objective."""
    return eqx.tree_at(lambda p: p.objective, problem, MeanVariance(risk_aversion))


def time_steps(method: FiniteDifference) -> int:
    """Over the horizon, on the finest grid."""
    return method.steps or 400


def _money_scale(problem: Problem, grid: Grid) -> Any:
    """An amount of money as large as wealth moves: it keeps `h` and `m/D` comparable in one tolerance."""
    bid, _ = problem.channels(problem.horizon)
    edge = grid.nodes(problem.size)[-1]
    risk = jnp.abs(problem.exposure(problem.horizon, edge)) * jnp.sqrt(problem.horizon)
    income = jnp.abs(bid.notional * bid.demand._reciprocal_hazard(jnp.zeros(())))
    return jnp.where(risk + income > 0, risk + income, 1.0)


def _refined(levels: list[Any], per_lot: int, stride: int) -> tuple[Any, Any]:
    """Richardson's extrapolation of (times, rows, nodes), where it can be trusted, and the errors left.

    As `_tables.refine` does for a solution, but with a trust and an error of its own for either row.
    """
    if len(levels) == 1:
        return levels[0], jnp.full_like(levels[0], jnp.nan)
    fine, mid, rough = levels
    strides = [2, stride]
    first, second = fine[::2, :, ::stride] - mid, mid[::2, :, ::stride] - rough
    windows = [2 * (per_lot // stride**2) + 1]
    fall = jnp.stack([_fall(first[::2, i, ::stride], second[:, i], windows) for i in range(2)], axis=1)
    trust = jnp.clip((0.6 - fall) / 0.2, 0.0, 1.0)
    best = fine + _prolong(_prolong(trust, strides) * first / 3, strides)
    coarse = mid + _prolong(trust * second / 3, strides)
    gap = jnp.abs(best[::2, :, ::stride] - coarse)
    larger = jnp.maximum(gap, jnp.abs(_prolong(second, strides)))
    sure, share = _prolong(trust, strides), jnp.clip(_prolong(2 * fall / 3, strides), 1 / 6, 0.5)
    return best, _prolong(sure * share * gap + (1 - sure) * 6 * larger, strides)


@in_float64
def _read(problem: Problem, table: Any, nodes: Any, t: Any, y: Any) -> Any:
    tau = jnp.clip(problem.horizon - t, 0.0, problem.horizon)
    tau, y = jnp.broadcast_arrays(tau, y)
    row = (table.shape[0] - 1) * jnp.sqrt(tau / problem.horizon)
    return cubic(jnp.asarray(table), row, (y - nodes[0]) / (nodes[1] - nodes[0]))


@in_float64
def _worth(problem: Problem, t: Any, state: Mapping[str, Any]) -> Any:
    return problem.worth(jnp.clip(problem.horizon - t, 0.0, problem.horizon), **state)
