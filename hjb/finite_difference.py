"""Finite differences in the inventory: implicit, monotone, second order in time and space, with an error estimate.

Crank-Nicolson after a Rannacher start (the first two steps are four implicit Euler half steps). Each step solves the
nonlinear equation by policy iteration merged with defect correction: the policy is updated, the defect of the full
equation is formed, and it is mapped back through the approximate factorisation

    (1 - g J_fills) (1 - g J_transport),        g = dt/2,

a tridiagonal system along lots and one along nodes, until the defect is below the tolerance relative to the solution.
Three grids, each with half the nodes and steps of the next, give Richardson's extrapolation and its error estimate.
"""

from __future__ import annotations

import equinox as eqx

from ..models._precision import is_traced
from ..models.problem import Problem
from ._derivatives import differentiable
from ._equation import Equation, Grid, grid_for
from ._march import march
from ._tables import Tables, refine, tabulate
from .solution import Solution


class FiniteDifference(eqx.Module):
    """Settings of the finite-difference method, for `StockCashDealer` and, as a second route, `InventoryDealer`.

    nodes_per_lot:  nodes to a lot, a multiple of 4 (inventory that only moves by fills needs one node and takes it).
    steps:          time steps over the horizon, a multiple of 4.
    extrapolate:    Richardson's extrapolation over three grids (then fourth order where smooth), or the plain scheme.
    tolerance:      of the nonlinear solve in each step, relative to the largest value.
    max_iterations: per step; reaching it leaves the solution not converged.
    half_width:     of the grid in lots, or None to derive it from the problem's limit.
    """

    nodes_per_lot: int = eqx.field(static=True, default=20)
    steps: int = eqx.field(static=True, default=400)
    extrapolate: bool = eqx.field(static=True, default=True)
    tolerance: float = eqx.field(static=True, default=1e-11)
    max_iterations: int = eqx.field(static=True, default=500)
    half_width: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        multiple = 4 if self.extrapolate else 1
        for name, least in (("nodes_per_lot", 1), ("steps", 4), ("max_iterations", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"FiniteDifference: {name} must be a whole number of at least {least}, got {value!r}")
        for name in ("nodes_per_lot", "steps"):
            if getattr(self, name) % multiple:
                raise ValueError(
                    f"FiniteDifference: {name} must be a multiple of {multiple} for Richardson's extrapolation, "
                    f"got {getattr(self, name)}; round it up or pass extrapolate=False"
                )
        if not 0 < self.tolerance < 1:
            raise ValueError(f"FiniteDifference: tolerance must lie between 0 and 1, got {self.tolerance!r}")

    def grid(self, problem: Problem) -> Grid:
        """The finest grid for a problem."""
        per_lot = self.nodes_per_lot if problem.moves else 1
        if self.half_width is not None:
            return Grid(per_lot, self.half_width * per_lot)
        return grid_for(problem, per_lot, "FiniteDifference")

    def solution(self, problem: Problem) -> Solution:
        """Solve; called by `solve`, inside double precision."""
        grid, traced = self.grid(problem), is_traced(problem)
        tables = differentiable(lambda problem: _solve(problem, self, grid, traced), problem)
        return Solution(problem, self, tables, power=2)

    def solve_batch(self, problems: list[Problem], stacked: Problem) -> Solution:
        """Solve problems that share their shape; `stacked` has them along the leading axis of every leaf."""
        grid = max((self.grid(problem) for problem in problems), key=lambda grid: grid.half)
        tables = eqx.filter_vmap(lambda problem: _solve(problem, self, grid, False))(stacked)
        return Solution(problems[0], self, tables, power=2)


@eqx.filter_jit
def _solve(problem: Problem, method: FiniteDifference, grid: Grid, traced: bool) -> Tables:
    levels = []
    for factor in (1, 2, 4) if method.extrapolate else (1,):
        coarse = grid.coarser(factor) if problem.moves else grid
        equation = Equation(problem, coarse)
        path = march(equation, method.steps // factor, 1, method, traced)
        levels.append(tabulate(equation, path.u, path.residual, path.iterations))
    return refine(problem, grid, levels)
