"""Finite differences in the inventory: implicit, monotone, second order in time and space, with an error estimate.

Crank-Nicolson after a Rannacher start (the first two steps are four implicit Euler half steps). Each step solves the
nonlinear equation by policy iteration merged with defect correction: the policy is updated, the defect of the full
equation is formed, and it is mapped back through the approximate factorisation

    (1 - g J_fills) (1 - g J_transport),        g = dt/2,

a tridiagonal system along lots and one along nodes, until the defect is below the tolerance relative to the solution.
Three grids, each with half the nodes and steps of the next, give Richardson's extrapolation and its error estimate.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jax import lax

from ..models._precision import is_traced
from ..models.problem import Problem
from ._derivatives import differentiable
from ._equation import Equation, Evaluation, Grid, grid_for, tridiagonal_solve
from ._tables import Tables, clock, refine, tabulate
from .solution import Solution

RANNACHER_STEPS = 2


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


class _Step(NamedTuple):
    u: Any
    rate: Any  # du/dtau
    trend: Any  # its change per unit of time over the last step
    residual: Any
    iterations: Any


@eqx.filter_jit
def _solve(problem: Problem, method: FiniteDifference, grid: Grid, traced: bool) -> Tables:
    levels = []
    for factor in (1, 2, 4) if method.extrapolate else (1,):
        coarse = grid.coarser(factor) if problem.moves else grid
        levels.append(_march(Equation(problem, coarse), method.steps // factor, method, traced))
    return refine(problem, grid, levels)


def _march(equation: Equation, steps: int, method: FiniteDifference, traced: bool) -> Tables:
    """Step from the horizon to now; every quantity is kept at every whole step."""
    early = 2 * RANNACHER_STEPS
    whole_steps = equation.problem.horizon * clock(steps)
    half_steps = 0.5 * (whole_steps[:RANNACHER_STEPS] + whole_steps[1 : RANNACHER_STEPS + 1])
    begun = jnp.stack([half_steps, whole_steps[1 : RANNACHER_STEPS + 1]], axis=1).ravel()
    ends = jnp.concatenate([begun, whole_steps[RANNACHER_STEPS + 1 :]])
    lengths = jnp.diff(ends, prepend=0.0)
    implicit = jnp.where(jnp.arange(ends.size) < early, 1.0, 0.5)
    start = equation.start()
    first = _Step(start, equation(jnp.zeros(()), start).rate, 0 * start, jnp.zeros(()), jnp.zeros((), int))

    def step(carry: _Step, x: Any) -> tuple[_Step, _Step]:
        tau, dt, implicit = x
        new = _advance(equation, carry, tau, dt, implicit, method, traced)
        return new, new

    _, path = lax.scan(step, first, (ends, lengths, implicit))
    whole = jnp.concatenate([jnp.arange(1, early, 2), jnp.arange(early, steps + RANNACHER_STEPS)])
    u = jnp.concatenate([start[None], path.u[whole]])
    return tabulate(equation, u, jnp.max(path.residual), jnp.sum(path.iterations))


def _advance(
    equation: Equation, old: _Step, tau: Any, dt: Any, implicit: Any, method: FiniteDifference, traced: bool
) -> _Step:
    """One step to `tau`: `u - g F(u) = u_old + (dt - g) F_old` with `g = implicit dt`."""
    g = implicit * dt
    known = old.u + (dt - g) * old.rate
    moment = equation.at(tau)

    def correct(state: Any) -> Any:
        u, _, n = state
        now = moment(u)
        gap = known + g * now.rate - u
        scale = jnp.maximum(jnp.max(jnp.abs(u)), jnp.finfo(u.dtype).tiny)
        residual = jnp.max(jnp.abs(gap)) / scale  # before the correction, so an upper bound
        return u + _approximate_inverse(equation, g, now, gap), residual, n + 1

    guess = old.u + dt * (old.rate + 0.5 * dt * old.trend)
    state = (guess, jnp.full((), jnp.inf), jnp.zeros((), int))
    if traced:  # a fixed number of corrections can be differentiated both ways
        state, _ = lax.scan(lambda s, _: (correct(s), None), state, length=min(12, method.max_iterations))
    else:
        state = lax.while_loop(lambda s: (s[1] > method.tolerance) & (s[2] < method.max_iterations), correct, state)
    u, residual, n = state
    rate = (u - known) / g
    return _Step(u, rate, (rate - old.rate) / dt, residual, n)


def _approximate_inverse(equation: Equation, g: Any, now: Evaluation, gap: Any) -> Any:
    """`[(1 - g J_fills)(1 - g J_transport)]^{-1} gap`; fills couple nodes a lot apart, so they split by residue."""
    per_lot, n = equation.grid.per_lot, equation.grid.count
    pad = -n % per_lot

    def by_residue(row: Any, fill: float) -> Any:
        padded = jnp.concatenate([row, jnp.full((*row.shape[:-1], pad), fill)], axis=-1)
        return jnp.swapaxes(padded.reshape(*row.shape[:-1], -1, per_lot), -1, -2)

    bid, ask = g * now.bid.rate, g * now.ask.rate
    x = tridiagonal_solve(
        by_residue(-ask, 0.0), by_residue(1 + bid + ask, 1.0), by_residue(-bid, 0.0), by_residue(gap, 0.0)
    )
    x = jnp.swapaxes(x, -1, -2).reshape(*gap.shape[:-1], -1)[..., :n]
    x = _decouple(g * (now.bid.coupling + now.ask.coupling), bid + ask, x)
    if not equation.problem.moves:
        return x
    down, up = equation.stencil
    return tridiagonal_solve(-g * down, 1 + g * (down + up), -g * up, x)


def _decouple(coupling: Any, rate: Any, x: Any) -> Any:
    """Undo, node by node, what the fills of a node couple between `theta` and `h` beyond their common rate.

    Under the equilibrium objective the two equations feed each other; far out, where the dealer pays to reduce, that
    feedback is stronger than the diagonal, and an iteration that ignores it diverges.
    """
    own = 1 / (1 + rate)
    a, b = 1 + (coupling[0, 0] - rate) * own, coupling[0, 1] * own
    c, d = coupling[1, 0] * own, 1 + (coupling[1, 1] - rate) * own
    own = 1 / (a * d - b * c)
    return jnp.stack([own * (d * x[0] - b * x[1]), own * (a * x[1] - c * x[0])])
