"""Pre-commitment by the target method: a two-dimensional solve in the stock and the gap to the target, then a search.

One solve serves every target and every risk aversion, so that a whole frontier costs one solve and a scalar search for
each of its points. Where cash matters by itself, each target needs a solve of its own: a few say where the best target
of each risk aversion lies, and it is solved there.

Steps in time are explicit and stable: a strong-stability-preserving Runge-Kutta method, as often as the fastest fills
ask for. No iteration can stall; quotes are looked for anew in every part of a step, from where they were.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..models._precision import is_traced
from ..models.demand import Demand
from ..models.objectives import PreCommitment, RunningPenalty
from ..models.problem import Problem
from ..models.stock_cash import StockCashDealer
from ._equation import grid_for
from ._interpolation import cubic
from ._tables import Tables, clock
from ._target_equation import Change, Quoted, TargetEquation
from ._target_grid import gap_grid
from ._target_search import Choice, Curve, choose, reach_mean
from .policy import Target
from .solution import Solution

_STAGES, _REACH = 4, 2.0  # of each part of a step, and how many times as far as Euler's method it goes
_MARGIN = 1.15  # by how much the fastest fills may speed up within a step
_LEAST_GAP_NODES = 32
_FIRST = 4  # solves that tell where the best targets lie, where each needs its own
_ROUNDS = 5  # of solving at the best targets, which that moves a little
_SAME = 0.05  # spacings of the gap at the target: what is nearer is one target
_ENDLESS = 1e9  # lots of credit
_UNSETTLED = 6  # errors, in units of a halving's: beside a limit, a few nodes to a lot are far from second order


class TargetMethod(eqx.Module):
    """Settings of the target method, for `StockCashDealer` with `PreCommitment`.

    It knows a borrowing rate, a credit line, a fee on short stock and a cost of closing; no margin, haircut, forced
    reduction or overnight limit.

    nodes_per_lot:  nodes of the stock account to a lot. Where the limit binds, what a dealer may do changes within the
                    few hundredths of a lot that the stock moves between two fills: 4 nodes are 0.05 to 0.4 % short of
                    the value there, and 16 an eighth of that.
    gap_nodes:      nodes of the gap between wealth and target, close together around the target.
    steps:          times at which tables are kept; each step takes as many stages as it needs.
    fastest:        no side is quoted so that it would be hit more than this many times as often as at the reference
                    price. It floors the distances: without it a dealer above the target, whose surplus counts against
                    it, pays ever more to lose it, at rates without bound where the demand has none.
    check:          solve once more with half of everything, for the error estimate: six times what that changes.
    tolerance:      between the mean from its own equation and the mean that the target implies, in standard deviations.
    """

    nodes_per_lot: int = eqx.field(static=True, default=4)
    gap_nodes: int = eqx.field(static=True, default=256)
    steps: int = eqx.field(static=True, default=64)
    fastest: float = eqx.field(static=True, default=3.0)
    check: bool = eqx.field(static=True, default=True)
    tolerance: float = eqx.field(static=True, default=0.02)

    def __check_init__(self) -> None:
        even = 2 if self.check else 1
        for name, least in (("nodes_per_lot", even), ("gap_nodes", even * _LEAST_GAP_NODES), ("steps", 4 * even)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least or value % even:
                raise ValueError(
                    f"TargetMethod: {name} must be a whole number of at least {least}"
                    + (", even so that half of it can check it" if self.check else "")
                    + f", got {value!r}"
                )
        if not self.fastest > 1:
            raise ValueError(f"TargetMethod: fastest must be above 1, the reference price itself, got {self.fastest!r}")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"TargetMethod: tolerance must lie between 0 and 1, got {self.tolerance!r}")

    def solution(self, problem: Problem) -> Solution:
        """Solve; called by `solve`, inside double precision."""
        objective = _objective_of(problem)
        return _frontier(problem, [float(objective.risk_aversion)], self).solution(0)

    def solve_batch(self, problems: Any, stacked: Any) -> Any:
        raise ValueError(
            "TargetMethod solves one problem at a time; pre_commitment_frontier takes many risk aversions of a problem"
        )


def pre_commitment_frontier(
    problem: Problem, risk_aversions: Sequence[float] | np.ndarray, method: TargetMethod | None = None
) -> PreCommitmentFrontier:
    """The frontier of pre-commitment: for each risk aversion the best target with its mean and variance.

    problem:        a `StockCashDealer` with `PreCommitment`, whose own `risk_aversion` is not looked at.
    risk_aversions: `lambda`, (points,), each positive.

    One solve serves all points, and where the cash account matters by itself each has its own after a few more.
    Raises `ValueError` or `TypeError` for what can be known beforehand.
    """
    method = TargetMethod() if method is None else method
    _objective_of(problem)
    aversions = np.asarray(risk_aversions, dtype=np.float64)
    if aversions.ndim != 1 or aversions.size == 0 or not np.all(np.isfinite(aversions) & (aversions > 0)):
        raise ValueError(f"risk_aversions must be a list of positive numbers, got {risk_aversions!r}")
    with jax.enable_x64(True):
        return _frontier(problem, aversions, method)


@dataclass(frozen=True)
class PreCommitmentFrontier:
    """Points of the frontier of `E - (lambda/2) Var` from time 0, each array of shape (points,), money at the horizon.

    target:   `w = E + 1/lambda`. mean: `E`. variance: `Var = U - 1/lambda^2`. value: `E - (lambda/2) Var`.
    mean_by_equation: `E` once more, from its own linear equation under the quotes found. Where cash matters by itself,
              mean and variance are those of that equation and of its like for the square, too.
    maxima:   how many local maxima over the target there were; the global one is taken.
    Where the surplus is set aside, all are of wealth net of it.
    """

    problem: Problem
    method: TargetMethod
    risk_aversion: np.ndarray
    target: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    value: np.ndarray
    mean_by_equation: np.ndarray
    error_estimate: np.ndarray  # of value; nan where the method does not check
    mean_error: np.ndarray  # likewise
    variance_error: np.ndarray
    maxima: np.ndarray
    solves: Solves
    seconds: float

    @property
    def standard_deviation(self) -> np.ndarray:
        return np.sqrt(np.maximum(self.variance, 0.0))

    def solution(self, point: int) -> Solution:
        """The solution, and with it the policy, of one point: quotes as a table of the stock and the gap."""
        aversion, target = float(self.risk_aversion[point]), float(self.target[point])
        surface = self.solves.nearest(target)
        objective = eqx.tree_at(lambda o: o.risk_aversion, self.problem.objective, np.float64(aversion))
        problem = eqx.tree_at(lambda p: p.objective, self.problem, objective)
        implied = target - 1 / aversion
        apart = abs(self.mean_by_equation[point] - implied) / max(self.standard_deviation[point], 1e-12)
        unknown = np.full((1, 1, 1), np.nan)
        tables = Tables(
            tau=surface.tau,
            axes=(surface.stock, surface.stretched),
            value=-surface.gap - 0.5 / aversion - 0.5 * aversion * surface.square,
            mean=surface.mean,
            bid=surface.bid,
            ask=surface.ask,
            residual=apart,
            error=np.full((1, 1, 1), self.error_estimate[point]),
            quote_error=unknown,
            iterations=surface.stages,
            target=Target(np.float64(target), surface.stretch),
        )
        stats = {name: float(getattr(self, name)[point]) for name in ("target", "mean", "variance", "value")}
        stats |= {"mean_by_equation": float(self.mean_by_equation[point]), "maxima": int(self.maxima[point])}
        return Solution(problem, self.method, tables, power=2, stats=stats)

    def at_mean(self, mean: float) -> PreCommitmentFrontier:
        """The frontier's point that expects `mean`, as a frontier of one point; from the same solves where they serve.

        Raises `ValueError` with the largest that can be expected where `mean` is out of reach.
        """
        solves, aversions = self.solves, np.zeros(1)
        for _ in range(_ROUNDS):
            before = solves
            _, aversion = reach_mean(before.curve(), float(mean) - _book(self.problem))
            aversions = np.array([aversion])
            solves = before.settled(aversions)
            if solves is before:
                break
        return _points(aversions, solves, None, self.seconds)


class Surface(NamedTuple):
    """What one solve finds: tables over time to go, stock and gap, (times, rows, columns)."""

    target: Any  # w that it was solved for; None where it serves every target
    tau: Any
    stock: Any  # (rows,)
    gap: Any  # (columns,)
    stretch: Any  # L: the gap is L sinh(q/L), and q is evenly spaced
    stretched: Any  # q
    square: Any  # U
    mean: Any  # g - Z
    bid: Any
    ask: Any
    stages: Any

    def seen_from(self, objective: PreCommitment) -> Curve:
        """`U` and `g - Z` at time 0 over the gap, at the stock that the dealer starts with."""
        row = (float(objective.stock) - self.stock[0]) / (self.stock[1] - self.stock[0])
        if not 0 <= row <= self.stock.size - 1:
            raise ValueError(
                f"PreCommitment: stock={float(objective.stock):g} lies outside the solved range of +-{self.stock[-1]:g}"
            )
        columns = np.arange(self.gap.size, dtype=np.float64)
        rows = np.full(columns.shape, row)
        return Curve(self.gap, *(np.asarray(cubic(table[-1], rows, columns)) for table in (self.square, self.mean)))


@dataclass(frozen=True)
class Solves:
    """What was solved at one resolution.

    shared: the solve of a dealer to whom cash is no matter, which serves every target.
    own:    solves for one target each; none where `shared` is the dealer's own.
    """

    problem: Any
    method: TargetMethod
    least_aversion: float
    factor: int
    shared: Surface
    own: tuple[Surface, ...] = ()

    @staticmethod
    def begun(problem: Any, least_aversion: float, method: TargetMethod, factor: int) -> Solves:
        """With a `factor`-th of the resolution, wide enough for the targets of `least_aversion` and above."""
        free, target = (_with_free_cash(problem), 0.0) if problem.cash_matters else (problem, None)
        shared = _solve(free, _equation(problem, free, least_aversion, method, factor, target), method, factor)
        return Solves(problem, method, least_aversion, factor, shared)

    def settled(self, aversions: np.ndarray) -> Solves:
        """With a solve next to the best target of each risk aversion; the same object where none is missing."""
        solves = self
        for _ in range(_ROUNDS if self.problem.cash_matters else 0):
            wanted = solves._unsolved(_book(self.problem) - choose(solves.curve(), aversions).gap)
            if not wanted:
                break
            solves = replace(solves, own=solves.own + tuple(solves._for(target) for target in wanted))
        return solves

    def nearest(self, target: float) -> Surface:
        """The solve that a target is played by."""
        return min(self.own, key=lambda surface: abs(surface.target - target), default=self.shared)

    def curve(self) -> Curve:
        """What is seen from the accounts at time 0."""
        objective, book = self.problem.objective, _book(self.problem)
        shared = self.shared.seen_from(objective)
        if not self.own:
            return shared
        own = sorted(self.own, key=lambda surface: -surface.target)
        points = [surface.seen_from(objective).at(np.array([book - surface.target])) for surface in own]
        return shared.through(Curve(*(np.concatenate(column) for column in zip(*points, strict=True))))

    def _unsolved(self, targets: np.ndarray) -> list[float]:
        """Targets that no solve is near; at first only some, by which the others are found."""
        near = _SAME * float(self.shared.stretched[1] - self.shared.stretched[0])
        solved, wanted = [surface.target for surface in self.own], []
        for target in targets.tolist():
            if all(abs(target - other) > near for other in (*solved, *wanted)):
                wanted.append(target)
        if self.own or len(wanted) <= _FIRST:
            return wanted
        return [wanted[i] for i in np.linspace(0, len(wanted) - 1, _FIRST).round().astype(int)]

    def _for(self, target: float) -> Surface:
        problem, method = self.problem, self.method
        equation = _equation(problem, problem, self.least_aversion, method, self.factor, target)
        return _solve(problem, equation, method, self.factor)


def _with_free_cash(problem: Any) -> Any:
    """The dealer to whom cash is no matter, stated alike, so that one compiled program serves both."""
    free = {"borrowing_rate": problem.rate, "credit_line": _ENDLESS * problem.lot}
    stated = {name: value for name, value in free.items() if getattr(problem, name) is not None}
    return type(problem)(**{**problem.arguments(), **stated})


def _frontier(problem: Problem, aversions: Any, method: TargetMethod) -> PreCommitmentFrontier:
    started = time.perf_counter()
    aversions = np.asarray(aversions, dtype=np.float64)
    fine, *rough = (
        Solves.begun(problem, float(np.min(aversions)), method, factor).settled(aversions)
        for factor in ((1, 2) if method.check else (1,))
    )
    return _points(aversions, fine, rough[0] if rough else None, time.perf_counter() - started)


def _points(aversions: np.ndarray, solves: Solves, rough: Solves | None, seconds: float) -> PreCommitmentFrontier:
    problem, book, curve = solves.problem, _book(solves.problem), solves.curve()
    best = choose(curve, aversions)
    target = book - best.gap
    mean, variance, value = _moments(solves, best, aversions)
    errors = [np.full(aversions.shape, np.nan)] * 3
    if rough is not None:
        halved = _moments(rough, choose(rough.curve(), aversions), aversions)
        errors = [_UNSETTLED * np.abs(a - b) for a, b in zip(halved, (mean, variance, value), strict=True)]
    return PreCommitmentFrontier(
        problem=problem,
        method=solves.method,
        risk_aversion=aversions,
        target=target,
        mean=mean,
        variance=variance,
        value=value,
        mean_by_equation=book + curve.at(best.gap).mean,
        error_estimate=errors[2],
        mean_error=errors[0],
        variance_error=errors[1],
        maxima=best.maxima,
        solves=solves,
        seconds=seconds,
    )


def _moments(solves: Solves, best: Choice, aversions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, variance and value: what the best target implies, or where it has its own solve, what is played there.

    What is implied hangs on the slope of `U`, by which the target is found: a small error of that is one of the mean,
    and `2/lambda` times as large one of the variance.
    """
    book = _book(solves.problem)
    if not solves.own:
        return book - best.gap - 1 / aversions, best.square - 1 / aversions**2, book + best.score
    mean = solves.curve().at(best.gap).mean
    variance = best.square - (mean + best.gap) ** 2
    return book + mean, variance, book + mean - 0.5 * aversions * variance


def _book(problem: Problem) -> float:
    """The accounts at time 0 carried to the horizon."""
    objective = problem.objective
    return float(np.exp(problem.rate * problem.horizon) * (objective.stock + objective.cash))


def _objective_of(problem: Any) -> PreCommitment:
    objective = getattr(problem, "objective", None)
    if not isinstance(problem, StockCashDealer) or not isinstance(objective, PreCommitment):
        raise TypeError(f"TargetMethod takes a StockCashDealer with PreCommitment(risk_aversion), got {problem!r}")
    if is_traced(problem):
        raise ValueError("PreCommitment is solved outside jit, grad and vmap: its grid depends on the parameters")
    if problem.margin is not None or problem.haircut is not None:
        raise ValueError("PreCommitment knows no margin and no haircut; leave them out, or take MeanVariance")
    if problem.forces or problem.days > 1:
        raise ValueError("PreCommitment knows no forced_reduction and no overnight limit; leave them out")
    return objective


def _solve(problem: Problem, equation: TargetEquation, method: TargetMethod, factor: int) -> Surface:
    """Solve with a `factor`-th of the steps."""
    share = clock(method.steps // factor)
    found = jax.tree.map(np.asarray, _march(equation, share))
    gap, stock = equation.gap, np.asarray(equation.inventory)[:, 0]
    square = found.square + _square_without_fills(problem, share * float(problem.horizon), stock, gap.nodes)
    growth = np.exp(problem.growth * problem.horizon * share) - np.exp(problem.rate * problem.horizon * share)
    return Surface(
        target=None if equation.target is None else float(equation.target),
        tau=share * float(problem.horizon),
        stock=stock,
        gap=gap.nodes,
        stretch=gap.stretch,
        stretched=(np.arange(gap.count) - gap.zero) * gap.spacing,
        square=square,
        mean=found.mean + growth[:, None, None] * stock[None, :, None],
        bid=found.bid,
        ask=found.ask,
        stages=int(np.sum(found.stages)),
    )


def _square_without_fills(problem: Problem, tau: np.ndarray, stock: np.ndarray, gap: np.ndarray) -> np.ndarray:
    tau, stock, gap = tau[:, None, None], stock[None, :, None], gap[None, None, :]
    cash = gap - np.exp(problem.rate * tau) * stock
    twice = np.exp((2 * problem.growth + problem.volatility**2) * tau)
    return cash**2 + 2 * cash * stock * np.exp(problem.growth * tau) + stock**2 * twice


def _equation(
    problem: Any, played: Any, least_aversion: float, method: TargetMethod, factor: int, target: float | None
) -> TargetEquation:
    """The equation of the dealer `played` on the grids of `problem`.

    The gap reaches as far below the target as the least risk-averse dealer starts from it.
    """
    horizon, limit = float(problem.horizon), float(problem.limit)
    accrual = float(np.exp(problem.rate * horizon))
    demands = (problem.bid_demand, problem.ask_demand)
    income = float(problem.lot) * accrual * horizon * sum(float(demand.hamiltonian(0.0)) for demand in demands)
    income += abs(float(problem.growth - problem.rate)) * horizon * limit * accrual
    deviation = float(problem.volatility) * np.sqrt(horizon) * limit * accrual
    cost = _most_cost(problem)
    low = -1.02 * (income + 1 / least_aversion) - 0.5 * deviation - cost
    stretch = max(0.5 * income, 0.25 * deviation, 1e-3 * float(problem.lot))
    gap = gap_grid(low, max(deviation, 0.25 * income) + cost, stretch, method.gap_nodes // factor)
    stock = grid_for(problem, method.nodes_per_lot // factor, "TargetMethod")
    floors = (_floor(demands[0], method.fastest), _floor(demands[1], method.fastest))
    neutral = eqx.tree_at(lambda p: p.objective, played, RunningPenalty(0.0))  # no part of the equation
    w = None if target is None else np.float64(target)
    return TargetEquation(neutral, stock, gap, floors, problem.objective.surplus == "set_aside", w)


def _most_cost(problem: Any) -> float:
    """About the most that credit, the fee and closing take from wealth at the horizon."""
    horizon, limit, objective = float(problem.horizon), float(problem.limit), problem.objective
    owed = limit + max(-float(objective.stock + objective.cash), 0.0)
    dear = 0.0 if problem.borrowing_rate is None else float(problem.borrowing_rate - problem.rate)
    taken = owed * float(np.expm1(dear * horizon)) + limit * float(problem.short_fee) * horizon
    return float(np.exp(problem.rate * horizon)) * taken + limit * float(problem.liquidation_cost)


def _floor(demand: Demand, fastest: float) -> np.float64:
    """The distance at which the demand is `fastest` times that at the reference price; far out where it never is."""
    most = fastest * float(demand.intensity(0.0))
    if most == 0:
        return np.float64(0.0)  # nobody trades at any distance
    scale = float(demand.reciprocal_hazard(0.0))
    tries = -scale * np.geomspace(1e-4, 1e4, 4096)
    with np.errstate(over="ignore"):
        rates = np.asarray(demand.intensity(tries))
    if not np.any(rates > most):
        return np.float64(tries[-1])
    return np.float64(tries[np.argmax(rates > most) - 1])


class _Marched(NamedTuple):
    square: Any
    mean: Any
    bid: Any
    ask: Any
    stages: Any


class _State(NamedTuple):
    u: Any
    played: tuple[Any, ...]
    quoted: tuple[Quoted, Quoted]
    speed: Any  # a bound on how fast the equation forgets


@eqx.filter_jit
def _march(equation: TargetEquation, share: Any) -> _Marched:
    """From the horizon to now; everything is kept at every step's start, and a last step of no length ends it.

    A step is divided into as many parts as its fastest fills ask for, each of length `h`:

        u_1 = u + h/2 L(u),    u_2 = u_1 + h/2 L(u_1),    u_3 = 2/3 u + 1/3 (u_2 + h/2 L(u_2)),
        u_4 = u_3 + h/2 L(u_3).

    Third order in four Euler steps, each stable by itself (Spiteri and Ruuth 2002, the method of four stages).
    """
    tau = equation.problem.horizon * jnp.asarray(share)

    def part(at: Any, h: Any, begun: _State) -> tuple[_State, tuple[Any, Any]]:
        """One part, and the distances at its start, where quotes are looked for anew."""

        def euler(when: Any, state: _State, seek: bool) -> tuple[_State, Change]:
            now = equation.change(when, state.u, state.played, state.quoted, seek)
            u, played = jax.tree.map(
                lambda x, rate: x + 0.5 * h * rate, (state.u, state.played), (now.of_square, now.of_played)
            )
            return _State(u, played, _quoted(now), now.speed), now

        state, now = euler(at, begun, True)
        distances = equation.distances(at, now)

        def stage(i: Any, state: _State) -> _State:
            """Stages 2 to 4, the times of which are `h/2`, `h` and again `h/2` after the start."""
            new, _ = euler(at + jnp.where(i == 3, 1.0, 0.5) * h, state, False)
            u, played = jax.tree.map(
                lambda a, b: jnp.where(i == 3, 2 / 3 * a + 1 / 3 * b, b), (begun.u, begun.played), (new.u, new.played)
            )
            return new._replace(u=u, played=played)

        return lax.fori_loop(2, 5, stage, state), distances

    def step(begun: _State, x: Any) -> tuple[_State, _Marched]:
        t, dt = x
        parts = jnp.maximum(jnp.ceil(_MARGIN * dt * begun.speed / _REACH), 1.0)

        def go_on(i: Any, carry: Any) -> Any:
            state, distances = carry
            state, here = part(t + i.astype(float) * dt / parts, dt / parts, state)
            return state, jax.tree.map(lambda new, old: jnp.where(i == 0, new, old), here, distances)

        ended, distances = lax.fori_loop(0, parts.astype(int), go_on, (begun, (jnp.zeros_like(begun.u),) * 2))
        square = (begun.u, *begun.played[1:])[-1]  # by the linear equation, where that is solved
        return ended, _Marched(square, begun.played[0], distances[0], distances[1], parts * _STAGES)

    start = _State(*equation.start(), equation.unquoted(), equation.fastest())
    return lax.scan(step, start, (tau, jnp.diff(tau, append=tau[-1:])))[1]


def _quoted(change: Change) -> tuple[Quoted, Quoted]:
    return change.sides[0].quoted, change.sides[1].quoted
