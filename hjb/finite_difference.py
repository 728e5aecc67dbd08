"""Finite differences in the inventory: implicit, monotone, second order in time and space, with an error estimate.

Crank-Nicolson after a Rannacher start (the first two steps are four implicit Euler half steps). Each step solves the
nonlinear equation by policy iteration merged with defect correction: the policy is updated, the defect of the full
equation is formed, and it is mapped back through the approximate factorisation

    (1 - g J_fills) (1 - g J_transport),        g = dt/2,

a tridiagonal system along lots and one along nodes, until the defect is below the tolerance relative to the solution.
Three grids, each with half the nodes and steps of the next, give Richardson's extrapolation and its error estimate. A
second axis for the cash account has the same nodes on all three.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
from jax import lax

from ..models._precision import is_traced
from ..models.problem import Problem
from ._days import Days, flat, march_days
from ._derivatives import differentiable
from ._equation import Equation, Grid, grid_for
from ._march import Stop, march
from ._side_by_side import side_by_side
from ._tables import Tables, clock, tabulate
from ._two_accounts import AccountsGrid, TwoAccounts, cash_range
from .solution import Solution

_STEPS, _FILLS = 200, 1000.0  # of two accounts: steps for so many fills
_KEPT = 64  # times at most that tables over two accounts hold
_USUAL, _USUAL_CASH = 20, 4  # nodes to a lot
_ENOUGH = 16  # nodes to a lot; of fewer, the rough grids of an extrapolation would keep too few outside the crowd


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value  # hashable, whatever a file held


class FiniteDifference(eqx.Module):
    """Settings of the finite-difference method, for `StockCashDealer` and, as a second route, `InventoryDealer`.

    nodes_per_lot:  nodes to a lot, a multiple of 4 (inventory that only moves by fills needs one node and takes it);
                    None for 20.
    steps:          time steps over the horizon, a multiple of 4; None for 400, or where the cash account matters for
                    200 to every 1000 fills that a dealer who does not mind risk would have. A horizon of several days
                    has its share in each, rounded up to a multiple of 4.
    extrapolate:    Richardson's extrapolation over three grids (then fourth order where smooth), or the plain scheme.
    tolerance:      of the nonlinear solve in each step, relative to the largest value.
    max_iterations: per step; reaching it leaves the solution not converged.
    crowded:        from 16 nodes to a lot on they crowd where a limit bends the value (see `_crowding`); False spaces
                    them evenly.
    half_width:     of the grid in lots, at least the problem's limit, or None to derive it. Where there is no limit, or
                    a traced one lies further out, no fill leaves the grid.

    Where the cash account matters (see `StockCashDealer`), the grid has it as a second axis:

    cash_nodes_per_lot: nodes to a lot of cash; None for `nodes_per_lot`, or for 4 where that is None, too. All three
                    grids have them, so that the error that they leave is not estimated.
    cash_range:     lots below and above zero that the cash axis spans, such as (14, 18), or None to derive them from
                    the limits and the profit to be expected.
    monotone:       first order in cash, but the generator has no negative off-diagonals whatever the quotes.
    """

    nodes_per_lot: int | None = eqx.field(static=True, default=None)
    steps: int | None = eqx.field(static=True, default=None)
    extrapolate: bool = eqx.field(static=True, default=True)
    tolerance: float = eqx.field(static=True, default=1e-11)
    max_iterations: int = eqx.field(static=True, default=500)
    crowded: bool = eqx.field(static=True, default=True)
    half_width: int | None = eqx.field(static=True, default=None)
    cash_nodes_per_lot: int | None = eqx.field(static=True, default=None)
    cash_range: tuple[int, int] | None = eqx.field(static=True, default=None, converter=_pair)
    monotone: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        multiple = 4 if self.extrapolate else 1
        for name, least in (("nodes_per_lot", 1), ("cash_nodes_per_lot", 1), ("steps", 4), ("max_iterations", 1)):
            _check_whole(name, getattr(self, name), least)
        _check_whole("half_width", self.half_width, 1)
        for name in ("nodes_per_lot", "steps"):
            if (getattr(self, name) or 0) % multiple:
                raise ValueError(
                    f"FiniteDifference: {name} must be a multiple of {multiple} for Richardson's extrapolation, "
                    f"got {getattr(self, name)}; round it up or pass extrapolate=False"
                )
        if not 0 < self.tolerance < 1:
            raise ValueError(f"FiniteDifference: tolerance must lie between 0 and 1, got {self.tolerance!r}")
        if self.cash_range is not None:
            if not isinstance(self.cash_range, tuple) or len(self.cash_range) != 2:
                raise ValueError(f"FiniteDifference: cash_range must be two numbers of lots, got {self.cash_range!r}")
            for lots in self.cash_range:
                _check_whole("each number in cash_range", lots, 2)

    def grid(self, problem: Problem) -> Grid:
        """The finest grid for a problem, of its inventory."""
        per_lot = (self.nodes_per_lot or _USUAL) if problem.moves else 1
        return grid_for(problem, per_lot, "FiniteDifference", self.half_width, self.crowded and per_lot >= _ENOUGH)

    def solution(self, problem: Problem) -> Solution:
        """Solve; called by `solve`, inside double precision."""
        traced, build = is_traced(problem), self.levels([problem])
        tables = differentiable(lambda problem: _solve(problem, Stop.of(self), build, traced), problem)
        return Solution(problem, self, tables, power=2)

    def solve_batch(self, problems: list[Problem], stacked: Problem) -> Solution:
        """Solve problems that share their shape."""
        build = self.levels(problems)
        tables = side_by_side(lambda problem: _solve(problem, Stop.of(self), build, False), problems)
        return Solution(problems[0], self, tables, power=2)

    def levels(self, problems: list[Any]) -> Levels:
        """How to state the problems' equation on a sequence of grids, wide enough for each of them."""
        grid = max((self.grid(problem) for problem in problems), key=lambda grid: grid.half)
        factors, days = (1, 2, 4) if self.extrapolate else (1,), problems[0].days
        if not getattr(problems[0], "cash_matters", False):
            steps = _daily(self.steps or 400, days)
            return Levels(grid if problems[0].moves else None, grid, steps, steps, False, factors, days)
        per_lot = self.cash_nodes_per_lot or self.nodes_per_lot or _USUAL_CASH
        lots = self.cash_range or cash_range(problems, grid, "FiniteDifference")
        steps = _daily(self.steps or _usual_steps(problems), days)
        accounts = AccountsGrid(grid, per_lot, lots[0] * per_lot, lots[1] * per_lot)
        return Levels(accounts, accounts, steps, _kept(steps // factors[-1]), self.monotone, factors, days)


class Levels(NamedTuple):
    """The equation of a problem at several resolutions; static, part of the compiled shape."""

    refined: Grid | AccountsGrid | None  # the finest grid, or None where refining the time is all there is
    grid: Grid | AccountsGrid
    steps: int  # of each day
    kept: int  # times that every level of two accounts keeps, each day; one account keeps all
    monotone: bool
    factors: tuple[int, ...]  # by which the levels are coarser than the grid: one, or three to extrapolate from
    days: int = 1

    @property
    def inventory(self) -> Grid:
        """The finest grid's axis of the inventory."""
        return self.grid.stock if isinstance(self.grid, AccountsGrid) else self.grid

    def resolution(self, factor: int) -> Grid | AccountsGrid:
        """The grid coarser by `factor`."""
        return self.grid if self.refined is None else self.grid.coarser(factor)

    def equation(self, problem: Any, factor: int) -> Any:
        grid = self.resolution(factor)
        if isinstance(grid, AccountsGrid):
            return TwoAccounts(problem, grid, self.monotone)
        return Equation(problem, grid)

    def every(self, factor: int) -> int:
        """Steps from one time that is kept to the next, on the grid coarser by `factor`."""
        return self.steps // factor // self.kept if isinstance(self.grid, AccountsGrid) else 1


def _check_whole(name: str, value: Any, least: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise ValueError(f"FiniteDifference: {name} must be a whole number of at least {least}, got {value!r}")


def _usual_steps(problems: list[Any]) -> int:
    """For two accounts: corrections that map fills back roughly fail where too many of them fall into a step."""
    if is_traced(problems):
        return _STEPS

    def fills(problem: Any) -> float:
        demands = (problem.bid_demand, problem.ask_demand)
        return float(problem.horizon * sum(demand.intensity(demand.optimal_distance(0.0)) for demand in demands))

    return _STEPS * math.ceil(max(1.0, max(fills(problem) for problem in problems) / _FILLS))


def _daily(steps: int, days: int) -> int:
    """Steps of each day: their share, rounded up so that they can be halved twice."""
    return steps if days == 1 else max(4, -(-steps // (4 * days)) * 4)


def _kept(steps: int) -> int:
    """The most times not above `_KEPT` that divide the steps evenly; all of them where that would leave too few."""
    fits = [count for count in range(1, _KEPT + 1) if steps % count == 0]
    return fits[-1] if 4 * fits[-1] >= _KEPT or steps <= _KEPT else steps


@eqx.filter_jit
def _solve(problem: Problem, stop: Stop, levels: Levels, traced: bool) -> Tables:
    if levels.days > 1:
        return _solve_days(problem, stop, levels, traced)
    equations = [levels.equation(problem, factor) for factor in levels.factors]
    paths = [
        march(equation, levels.steps // factor, levels.every(factor), stop, traced)
        for equation, factor in zip(equations, levels.factors, strict=True)
    ]
    return tabulate(equations, paths, [problem.horizon * clock(path.u.shape[0] - 1) for path in paths])


def _solve_days(problem: Problem, stop: Stop, levels: Levels, traced: bool) -> Tables:
    """`_solve` for a horizon with closes: every day is extrapolated by itself, as its ends are kinks in time."""
    equations = [levels.equation(problem, factor) for factor in levels.factors]
    marched = [
        march_days(equation, levels.steps // factor, levels.every(factor), stop, traced)
        for equation, factor in zip(equations, levels.factors, strict=True)
    ]

    def day(parts: list[Days]) -> Tables:
        return tabulate(equations, parts, [part.tau for part in parts])

    return flat(lax.map(day, marched))
