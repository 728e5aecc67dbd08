"""Inventory on a lattice of lots: the Hamilton-Jacobi-Bellman equation is a system of ordinary differential equations.

Where it linearises it is solved exactly. With exponential demand of one decay `k` on both sides, lots of size `D` and
an objective with `xi` (`ExponentialUtility`: `xi = gamma`; the penalties: `xi = 0`), `u = e^{kappa theta}`,
`kappa = k/D`, obeys a linear equation (Gueant, Lehalle and Fernandez-Tapia 2013, equation 3.10; Gueant 2017):

    du_q/dtau = kappa (mu D q - cost(q)) u_q + C_bid u_{q+1} + C_ask u_{q-1},    u_q(0) = e^{-kappa terminal(q)},
    C = A e^{-k cost} (1 + xi/kappa)^{-(1 + kappa/xi)},    x = cost + [ln(1 + xi/kappa)/xi - Dtheta]/D.

Any other demand or objective is integrated adaptively, `theta` together with `h`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..models._precision import is_traced
from ..models.demand import Exponential, log1p_over
from ..models.objectives import ExponentialUtility, RiskPenalty, RunningPenalty
from ..models.problem import Problem
from ._derivatives import differentiable
from ._equation import Equation, Grid, grid_for
from ._matrix_exponential import LOG_RANGE, LOG_SLOPE, chunk_sizes, log_path
from ._rosenbrock import Blocks, integrate
from ._tables import Tables, clock
from .solution import Solution

_LOOSER = 32  # the tolerance of the second run, by whose distance the error is judged, in units of the first's
_TOGETHER = 32  # problems that share their steps


class Lattice(eqx.Module):
    """Settings of the lattice method, for problems whose inventory moves only by fills.

    times:      intervals between the stored times. Linear problems: evenly spaced; others: as in `_tables.clock`.
    tolerance:  relative and absolute error per step of the adaptive integrator (unused where the problem is linear).
    max_steps:  of that integrator; a run that needs more is reported as not converged.
    exact:      use the linear equation where there is one; False integrates all the same, a second route.
    half_width: of the lattice in lots, at least the problem's limit, or None for that. Where there is no limit, no fill
                leaves the lattice.
    """

    times: int = eqx.field(static=True, default=512)
    tolerance: float = eqx.field(static=True, default=1e-11)
    max_steps: int = eqx.field(static=True, default=20_000)
    exact: bool = eqx.field(static=True, default=True)
    half_width: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        for name in ("times", "max_steps", "half_width"):
            value = getattr(self, name)
            if name == "half_width" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"Lattice: {name} must be a whole number of at least 1, got {value!r}")
        if not 1e-14 <= self.tolerance < 1:
            raise ValueError(f"Lattice: tolerance must lie between 1e-14 and 1, got {self.tolerance!r}")

    def solution(self, problem: Problem) -> Solution:
        """Solve; called by `solve`, inside double precision."""
        grid = _grid(problem, self.half_width)
        if self.exact and linearises(problem) and _within_limit(problem, grid):
            tables = differentiable(lambda problem: _linear(problem, grid, self.times), problem)
            return Solution(problem, self, tables._replace(mean=None), power=1, stats={"linear": True})
        return Solution(problem, self, self._integrate(problem, grid, clock(self.times)), power=2)

    def solve_batch(self, problems: list[Problem], stacked: Problem) -> Solution:
        """Solve problems that share their shape; `stacked` has them along the leading axis of every leaf."""
        grid = _grid(problems[0], self.half_width)
        if self.exact and all(linearises(problem) and _within_limit(problem, grid) for problem in problems):
            sizes = chunk_sizes(self.times, bool(jnp.any(_are_steep(stacked, grid))))
            tables = _solve_linear_each(stacked, grid, sizes)
            return Solution(problems[0], self, tables._replace(mean=None), power=1, stats={"linear": True})
        return Solution(problems[0], self, self._integrate_each(stacked, len(problems), grid), power=2)

    def solve_book(self, problem: Any) -> Any:
        """A book of up to three assets: see `_book_lattice`. Of many inventories it stores fewer `times`."""
        from ._book_lattice import solve_on_lattice

        return solve_on_lattice(problem, self)

    def book_with_mean(self, problem: Any) -> Any:
        """A book's surface with `h`."""
        from ._book_lattice import with_mean

        return with_mean(problem, self)

    def restore_book(self, problem: Any, data: Any) -> Any:
        """What `BookSolution.save` wrote."""
        from .book_solution import TableSurface, restored

        return restored(problem, self, data, {TableSurface.kind: TableSurface})

    def mean(self, problem: Problem, tables: Tables) -> Any:
        """`h` at the times of `tables`, by integrating `theta` and `h` together."""
        with jax.enable_x64(True):
            shares = jnp.asarray(tables.tau / problem.horizon)
            mean = self._integrate(problem, _grid(problem, self.half_width), shares).mean
        return mean if is_traced(mean) else np.asarray(mean)

    def _integrate(self, problem: Problem, grid: Grid, shares: Any) -> Tables:
        def alone(problem: Problem) -> Tables:
            batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], problem)
            return jax.tree.map(lambda leaf: leaf[0], _integrate_together(batch, grid, self, shares))

        return differentiable(alone, problem)

    def _integrate_each(self, stacked: Problem, count: int, grid: Grid) -> Tables:
        """So many together as the cache holds; the last few are filled up with copies, so that all share one shape."""
        size = min(count, _TOGETHER)
        parts = []
        for first in range(0, count, size):
            rows = np.minimum(np.arange(first, first + size), count - 1)
            part = jax.tree.map(lambda leaf, rows=rows: jnp.asarray(leaf)[rows], stacked)
            parts.append(_integrate_together(part, grid, self, clock(self.times)))
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:count], *parts)


# Functions, not methods: to look up the method of a module takes longer than most of what a small solve does.
def _grid(problem: Problem, half_width: int | None) -> Grid:
    if problem.moves:
        raise ValueError(
            f"Lattice: the stock of {type(problem).__name__} moves between fills and leaves the lattice; "
            "take FiniteDifference()"
        )
    return grid_for(problem, 1, "Lattice", half_width)


def _linear(problem: Problem, grid: Grid, times: int) -> Tables:
    gentle = chunk_sizes(times, False)
    if is_traced(problem):
        return _solve_linear(problem, grid, gentle)  # how steep it gets is unknown here; too steep is not finite
    steep, tables = _solve_unless_steep(problem, grid, gentle)
    return _solve_linear(problem, grid, chunk_sizes(times, True)) if steep else tables


def linearises(problem: Problem) -> bool:
    """Whether the exponential transform makes the problem's equation linear; needs untraced decays to tell."""
    bid, ask = problem.bid_demand, problem.ask_demand
    if not (isinstance(bid, Exponential) and isinstance(ask, Exponential)):
        return False
    if not isinstance(problem.objective, (ExponentialUtility, RiskPenalty, RunningPenalty)):
        return False
    if bid.decay is ask.decay:
        return True
    return not is_traced(bid.decay, ask.decay) and bool(np.all(bid.decay == ask.decay))


def _within_limit(problem: Problem, grid: Grid) -> bool:
    """Whether no inventory of the lattice is beyond the limit, where only one side is quoted and nothing linearises."""
    return grid.half <= problem.limit


def _linear_system(problem: Problem, grid: Grid) -> tuple[Any, Any, Any, Any, Any]:
    """Diagonal, bid and ask weights, `kappa` and `xi` of the linear equation for `u = e^{kappa theta}`."""
    objective = problem.objective
    xi = objective.risk_aversion if isinstance(objective, ExponentialUtility) else jnp.zeros(())
    q = grid.nodes(problem.size)
    zero = jnp.zeros_like(problem.horizon)
    bid, ask = problem.channels(zero)
    assert isinstance(bid.demand, Exponential)
    assert isinstance(ask.demand, Exponential)
    kappa = bid.demand.decay / bid.notional
    cost = objective.running_cost(problem.exposure(zero, q), 0 * q, problem.lots(q))
    damping = (kappa + xi) * log1p_over(1 / kappa, xi)  # (1 + kappa/xi) ln(1 + xi/kappa), and 1 at xi = 0
    reach = jnp.exp(-bid.demand.decay * bid.cost - damping)
    return kappa * (problem.income(zero, q) - cost), bid.demand.scale * reach, ask.demand.scale * reach, kappa, xi


@eqx.filter_jit
def _solve_linear_each(stacked: Problem, grid: Grid, chunks: tuple[int, ...]) -> Tables:
    """One after the other in one program: a matrix product at a time is faster than many small ones side by side."""
    return jax.lax.map(lambda problem: _solve_linear(problem, grid, chunks), stacked)


def _steepest(diagonal: Any, up: Any, down: Any, horizon: Any) -> Any:
    """A bound on the log-ratio of neighbours that the equation can build up.

    It grows no faster than neighbouring diagonals drive it apart, and settles where trading balances the diagonal:
    `diagonal + up e^s + down e^-s` the same everywhere.
    """
    depth = jnp.max(diagonal) - jnp.min(diagonal) + up + down
    settled = jnp.maximum(*(jnp.where(rate > 0, jnp.log1p(depth / rate), jnp.inf) for rate in (up, down)))
    return jnp.minimum(horizon * jnp.max(jnp.abs(jnp.diff(diagonal))), settled)


@partial(jax.jit, static_argnames="grid")
def _is_steep(problem: Problem, grid: Grid) -> Any:
    """Whether `u` may span more, or change faster from lot to lot, than one chunk of the exponential can hold."""
    diagonal, up, down, kappa, _ = _linear_system(problem, grid)
    terminal = kappa * problem.objective.terminal_cost(problem.lots(grid.nodes(problem.size)))
    slope = _steepest(diagonal, up, down, problem.horizon) + jnp.max(jnp.abs(jnp.diff(terminal)))
    return (slope > LOG_SLOPE) | (grid.half * slope > LOG_RANGE)


@partial(jax.jit, static_argnames=("grid", "chunks"))  # a filter of leaves would cost a tenth of a small solve
def _solve_unless_steep(problem: Problem, grid: Grid, chunks: tuple[int, ...]) -> tuple[Any, Tables]:
    """Whether the problem is steep, and its solution if not: one call answers both, and a steep one costs no solve."""

    def solved() -> Tables:
        return _solve_linear(problem, grid, chunks)

    def unsolved() -> Tables:
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(solved))

    steep = _is_steep(problem, grid)
    return steep, jax.lax.cond(steep, unsolved, solved)


@eqx.filter_jit
def _are_steep(stacked: Problem, grid: Grid) -> Any:
    return jax.vmap(lambda problem: _is_steep(problem, grid))(stacked)


@partial(jax.jit, static_argnames=("grid", "chunks"))
def _solve_linear(problem: Problem, grid: Grid, chunks: tuple[int, ...]) -> Tables:
    diagonal, up, down, kappa, xi = _linear_system(problem, grid)
    q = grid.nodes(problem.size)
    times = sum(chunks)
    log_start = -kappa * problem.objective.terminal_cost(problem.lots(q))
    slope = _steepest(diagonal, up, down, problem.horizon)
    theta = log_path(diagonal, down, up, log_start, problem.horizon / times, chunks, slope) / kappa
    theta = jax.lax.optimization_barrier(theta)  # or its logarithms are taken anew for either side's quotes
    bid, ask = problem.channels(jnp.zeros_like(problem.horizon))
    edge = jnp.full((times + 1, 1), jnp.nan)
    rise = jnp.diff(theta, axis=1)

    def distance(channel: Any, change: Any) -> Any:
        return channel.cost + (log1p_over(1 / kappa, xi) - change) / channel.notional

    # Every step of the path rounds once more, by most of a unit; the exponent's norm and the logarithm come on top.
    norm = (
        problem.horizon * (jnp.max(diagonal) - jnp.min(diagonal) + up + down) * jnp.exp(jnp.minimum(slope, LOG_SLOPE))
    )
    rounding = jnp.finfo(theta.dtype).eps * (0.7 * times + jnp.max(jnp.abs(theta)) * kappa + norm)
    return Tables(
        tau=jnp.linspace(0.0, 1.0, times + 1) * problem.horizon,
        axes=(q,),
        value=theta,
        mean=jnp.full((1, 1), jnp.nan),  # found at first use
        bid=jnp.concatenate([distance(bid, rise), edge], axis=1),
        ask=jnp.concatenate([edge, distance(ask, -rise)], axis=1),
        residual=jnp.zeros(()),
        error=jnp.reshape(rounding / kappa, (1, 1)),
        quote_error=jnp.reshape(rounding / kappa / bid.notional, (1, 1)),
        iterations=jnp.zeros((), int),
    )


def _integrate_together(stacked: Problem, grid: Grid, method: Lattice, shares: Any) -> Tables:
    """One adaptive integration for a batch, and a looser one by whose distance its error is judged."""
    tolerance = jnp.asarray(method.tolerance)  # an array, or either run would be compiled by itself
    tight, loose = (_integrated(stacked, grid, shares, factor * tolerance, method.max_steps) for factor in (1, _LOOSER))
    return _with_errors(tight, loose)


@jax.jit
def _with_errors(tables: Tables, looser: Tables) -> Tables:
    return tables._replace(
        error=_judged(tables.value, looser.value),
        quote_error=jnp.fmax(_judged(tables.bid, looser.bid), _judged(tables.ask, looser.ask)),
    )


def _judged(values: Any, looser: Any) -> Any:
    """Estimated errors, (batch, times, nodes), from a run whose errors are about `_LOOSER` times as large.

    Twice what that makes them, because the ratio varies, and the largest of a node and its two neighbours,
    because errors change sign from node to node. Rounding adds what no tolerance shows.
    """
    gap = jnp.pad(jnp.abs(values - looser), ((0, 0), (0, 0), (1, 1)), constant_values=jnp.nan)
    gap = jnp.fmax(gap[..., 1:-1], jnp.fmax(gap[..., :-2], gap[..., 2:]))
    rounding = 16 * jnp.finfo(values.dtype).eps * jnp.nanmax(jnp.abs(values), axis=-1, keepdims=True)
    return 2 / _LOOSER * gap + rounding


@eqx.filter_jit
def _integrated(stacked: Problem, grid: Grid, shares: Any, tolerance: Any, max_steps: int) -> Tables:
    """Tables of a batch, the batch axis last while they are integrated: all share their steps, none waits for another.

    Time is counted in shares of the horizon, so that problems of different horizons fit together.
    """

    def field(share: Any, u: Any) -> Any:
        return jax.vmap(_share_rate, in_axes=(0, None, None, -1), out_axes=-1)(stacked, grid, share, u)

    start = jax.vmap(lambda problem: Equation(problem, grid).start(), out_axes=-1)(stacked)
    solved = integrate(field, start, shares, tolerance, max_steps)
    failed = jnp.where(solved.finished, 0.0, jnp.inf)

    def tables(problem: Problem, rows: Any) -> Tables:
        equation = Equation(problem, grid)

        def quotes(tau: Any, now: Any) -> Any:
            sides = zip(equation.permitted, equation.at(tau).sides(now), strict=True)
            return [jnp.where(permitted > 0, side.distance, jnp.nan) for permitted, side in sides]

        tau = shares * problem.horizon
        bid, ask = jax.vmap(quotes)(tau, rows)
        unknown = jnp.full_like(rows[:, 0], jnp.nan)
        return Tables(tau, (equation.nodes,), rows[:, 0], rows[:, 1], bid, ask, failed, unknown, unknown, solved.steps)

    return jax.vmap(tables)(stacked, jnp.moveaxis(solved.u, -1, 0))


def _share_rate(problem: Problem, grid: Grid, share: Any, u: Any) -> tuple[Any, Blocks]:
    """`du/dshare` and its Jacobian: a node feels its neighbours by what their fills lead to."""
    now = Equation(problem, grid)(share * problem.horizon, u)
    bid, ask = problem.horizon * now.bid.coupling, problem.horizon * now.ask.coupling
    return problem.horizon * now.rate, Blocks(ask, -bid - ask, bid)
