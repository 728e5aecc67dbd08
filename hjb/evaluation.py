"""What a given policy is worth: mean and variance of terminal wealth, whoever chose the quotes and by what criterion.

With the distances fixed, the mean `h` above the marked book and the variance `m` of wealth at the horizon solve

    h_tau = income + velocity h_y + 1/2 spread^2 h_yy + sum Lambda(x) (z + Dh),                          h(tau=0) = 0,
    m_tau =          velocity m_y + 1/2 spread^2 m_yy + sum Lambda(x) Dm + Gamma,                        m(tau=0) = 0,
    Gamma = (exposure + spread h_y)^2 + sum Lambda(x) (z + Dh)^2,

because the conditional mean of terminal wealth is a martingale whose variance grows at the rate `Gamma(h)`. This is
the equation of the equilibrium with the supremum left out: under `MeanVariance(2/D)` fixed quotes are worth
`theta = h - m/D`, for any amount of money `D`. So the finite differences of `finite_difference` serve as they are, in
one account or in two: what a quote decides is given, and its fills are trades that nobody chooses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..models._precision import in_float64, is_traced
from ..models.objectives import MeanVariance
from ..models.problem import Problem, as_state
from . import _two_accounts
from ._equation import Equation, Grid, Moment, Side, _neighbour, forced_trades
from ._march import Stop, march
from ._richardson import extrapolate
from ._tables import clock
from ._two_accounts import AccountsGrid, TwoAccounts
from .finite_difference import FiniteDifference, Levels
from .policy import Policy
from .solution import check_inside, read


@dataclass(frozen=True)
class Moments:
    """Mean and variance of wealth at the horizon under a policy, over time and state.

    mean, variance: tables of shape (times, nodes, ...) over time to go `tau` (ascending from 0) and the nodes of
    `axes`: the inventory, and the cash account where it matters by itself. The mean is in money at the horizon above
    the marked book, the variance in money squared. The errors are estimates of theirs.
    """

    problem: Any
    method: FiniteDifference
    tau: Any
    axes: tuple[Any, ...]
    mean: Any
    variance: Any
    mean_errors: Any
    variance_errors: Any
    residual: float
    stats: dict[str, Any] = field(default_factory=dict)

    @property
    def y(self) -> Any:
        """Nodes of the inventory."""
        return self.axes[0]

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
        for name, axis in zip(self.problem.names, self.axes, strict=False):
            if not is_traced(state):
                check_inside(self.problem, name, state[name], axis, "evaluated")
        return read(self.problem, table, self.axes, 2, t, state, None)

    def __repr__(self) -> str:
        times, *nodes = np.shape(self.mean)
        size, state = " x ".join(map(str, nodes)), "converged" if self.converged else "NOT converged"
        return f"Moments({type(self.problem).__name__}: {times} times x {size} nodes; {state})"


def evaluate(problem: Problem, policy: Callable[..., Any], method: FiniteDifference | None = None) -> Moments:
    """Mean and variance of terminal wealth when `policy` is followed from any time and state on.

    policy: `policy(t, state) -> Quotes`, such as `solution.policy`, of time and inventory and, where the cash account
            matters by itself, of cash. A side that gets nan or an infinite distance, or whose fill would cross a limit,
            is not quoted.

    The problem's own objective plays no part. Raises `ValueError` for an overnight limit and for a policy that looks
    at the cash account where that does not matter by itself, and `TypeError` for what is no policy.
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


def _in_one_call(problems: list[Any], policies: list[Any], method: FiniteDifference) -> _Found:
    levels = method.levels(problems)
    problems = [
        under_mean_variance(problem, np.ones(())) for problem in problems
    ]  # one program whatever the objective was
    policies = [
        eqx.tree_at(lambda p: p.problem, policy, problem) if isinstance(policy, Policy) else policy
        for problem, policy in zip(problems, policies, strict=True)
    ]
    with jax.enable_x64(True):
        batch = (_stacked(problems, "problems"), _stacked(policies, "policies"))
        return jax.tree.map(np.asarray, jax.block_until_ready(evaluated(*batch, Stop.of(method), levels)))


def _moments(problem: Problem, method: FiniteDifference, found: _Found, i: int, stats: dict[str, Any]) -> Moments:
    tau, axes, rows, errors, residual = jax.tree.map(lambda leaf: leaf[i], found)
    return Moments(
        problem,
        method,
        tau,
        axes,
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
    if problem.days > 1:
        raise ValueError("evaluate knows no overnight limit: leave it out, or simulate the policy")
    if getattr(problem, "cash_matters", False):
        return
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
        return _FixedMoment(**_members(super().at(tau)), quotes=_quotes(self, tau))


class _FixedMoment(Moment):
    quotes: tuple[Any, Any]

    def sides(self, u: Any) -> tuple[Side, Side]:
        return self._side(u, 0), self._side(u, 1)

    def _side(self, u: Any, which: int) -> Side:
        change = _neighbour(u, self.channels[which].side, self.equation.grid.per_lot) - u
        return self.with_forced(Side(*_fills(self, which, lambda x: change)), which, change)


class _FixedAccounts(TwoAccounts):
    """The same in stock and cash."""

    policy: Any

    def __init__(self, problem: Any, grid: AccountsGrid, monotone: bool, policy: Any):
        super().__init__(problem, grid, monotone)
        self.policy = policy

    def at(self, tau: Any) -> _two_accounts.Moment:
        return _FixedAccountsMoment(**_members(super().at(tau)), quotes=_quotes(self, tau))


class _FixedAccountsMoment(_two_accounts.Moment):
    quotes: tuple[Any, Any]

    def side(self, u: Any, which: int, guess: Any) -> _two_accounts.Side:
        distance, rate, flow, _ = self._own(u, which)
        return _two_accounts.Side(distance, rate, flow)

    def coupling(self, u: Any, which: int, side: _two_accounts.Side) -> Any:
        return self._own(u, which)[-1]

    def _own(self, u: Any, which: int) -> tuple[Any, Any, Any, Any]:
        return _fills(self, which, lambda x: self.landing(u, self.channels[which].side)(x)[0] - u)


def _members(moment: Any) -> dict[str, Any]:
    return {member.name: getattr(moment, member.name) for member in fields(moment)}


def _quotes(equation: Any, tau: Any) -> tuple[Any, Any]:
    """Distances at the nodes, whatever the limits: the cell that holds one is filled in part."""
    problem, policy = equation.problem, equation.policy
    y, *cash = jnp.meshgrid(*equation.axes, indexing="ij")
    tau = jnp.broadcast_to(tau, y.shape)
    if isinstance(policy, Policy):
        return policy.distances(tau, *(y, *cash)[: policy.dimension])
    return _asked(problem, policy, tau, y, problem.accrual(tau) * cash[0] if cash else 0 * y)


def _fills(moment: Any, which: int, change: Callable[[Any], Any]) -> tuple[Any, Any, Any, Any]:
    """Distances, rates, flow and coupling of a channel; `change` tells `(Dtheta, Dh)` of a fill at a distance."""
    channel, x = moment.channels[which], moment.quotes[which]
    quoting = jnp.isfinite(x)
    x = jnp.where(quoting, x, 0.0)
    rate = jnp.where(quoting, moment.equation.permitted[which] * channel.demand._intensity(x), 0.0)
    flow, coupling = forced_trades(moment.equation.problem.objective, rate, channel.income(x), change(x))
    return jnp.where(quoting, x, jnp.nan), rate, flow, coupling


class _Found(NamedTuple):
    tau: Any
    axes: tuple[Any, ...]
    rows: Any  # (times, 2, nodes, ...), variance and mean
    errors: Any  # theirs, likewise
    residual: Any


@eqx.filter_jit
def evaluated(problems: Any, policies: Any, stop: Stop, levels: Levels) -> _Found:
    """For problems and policies stacked along a leading axis: what `_evaluate` gives, stacked; in double precision.

    All in step where they are of one account. Those of two are many times as large, and go one after another.
    """
    numbers, rest = eqx.partition((problems, policies), eqx.is_array)

    def one(numbers: Any) -> _Found:
        problem, policy = eqx.combine(numbers, rest)
        return _evaluate(problem, policy, stop, levels)

    return lax.map(one, numbers) if isinstance(levels.grid, AccountsGrid) else jax.vmap(one)(numbers)


def _evaluate(problem: Problem, policy: Any, stop: Stop, levels: Levels) -> _Found:
    scale = _money_scale(problem, levels.inventory)
    judged = under_mean_variance(problem, 2 / scale)
    equations, tables, residual = [], [], jnp.zeros(())
    for factor in levels.factors:
        equation = _fixed(judged, levels, factor, policy)
        path = march(equation, levels.steps // factor, levels.every(factor), stop, False)
        value, mean = path.u[:, 0], path.u[:, 1]
        equations.append(equation)
        tables.append(jnp.stack([scale * (mean - value), mean], axis=1))
        residual = jnp.maximum(residual, path.residual)
    rows, errors = tables[0], jnp.full_like(tables[0], jnp.nan)
    if len(tables) > 1:
        found = extrapolate(tables, equations, judged=2)
        rows, errors = found.best, found.error(found.gap)
    return _Found(problem.horizon * clock(levels.kept), equations[0].axes, rows, errors, residual)


def _fixed(problem: Any, levels: Levels, factor: int, policy: Any) -> _Fixed | _FixedAccounts:
    grid = levels.resolution(factor)
    if isinstance(grid, AccountsGrid):
        return _FixedAccounts(problem, grid, levels.monotone, policy)
    return _Fixed(problem, grid, policy)


def under_mean_variance(problem: Problem, risk_aversion: Any) -> Problem:
    """The problem with `MeanVariance` for its objective."""
    return eqx.tree_at(lambda p: p.objective, problem, MeanVariance(risk_aversion))


def _money_scale(problem: Problem, grid: Grid) -> Any:
    """An amount of money as large as wealth moves: it keeps `h` and `m/D` comparable in one tolerance."""
    bid, _ = problem.channels(problem.horizon)
    edge = grid.nodes(problem.size)[-1]
    risk = jnp.abs(problem.exposure(problem.horizon, edge)) * jnp.sqrt(problem.horizon)
    income = jnp.abs(bid.notional * bid.demand._reciprocal_hazard(jnp.zeros(())))
    return jnp.where(risk + income > 0, risk + income, 1.0)


@in_float64
def _worth(problem: Problem, t: Any, state: Mapping[str, Any]) -> Any:
    return problem.worth(jnp.clip(problem.horizon - t, 0.0, problem.horizon), **state)
