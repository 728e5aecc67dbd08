"""Inventory on a lattice of lots: the Hamilton-Jacobi-Bellman equation is a system of ordinary differential equations.

Where it linearises it is solved exactly. With exponential demand of one decay `k` on both sides, lots of size `D` and
an objective with `xi` (`ExponentialUtility`: `xi = gamma`; `RunningPenalty`: `xi = 0`), `u = e^{kappa theta}`,
`kappa = k/D`, obeys a linear equation (Gueant, Lehalle and Fernandez-Tapia 2013, equation 3.10; Gueant 2017):

    du_q/dtau = kappa (mu D q - cost(q)) u_q + C_bid u_{q+1} + C_ask u_{q-1},    u_q(0) = e^{-kappa terminal(q)},
    C = A e^{-k cost} (1 + xi/kappa)^{-(1 + kappa/xi)},    x = cost + [ln(1 + xi/kappa)/xi - Dtheta]/D.

Any other demand or objective is integrated adaptively, `theta` together with `h`.
"""

from __future__ import annotations

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..models._precision import is_traced
from ..models.demand import Exponential, log1p_over
from ..models.objectives import ExponentialUtility, RunningPenalty
from ..models.problem import Problem
from ._equation import Equation, Grid, grid_for
from ._matrix_exponential import LOG_RANGE, LOG_SLOPE, chunk_sizes, log_path
from ._tables import Tables, clock
from .solution import Solution


class Lattice(eqx.Module):
    """Settings of the lattice method, for problems whose inventory moves only by fills.

    times:      intervals between the stored times. Linear problems: evenly spaced; others: as in `_tables.clock`.
    tolerance:  relative and absolute error per step of the adaptive integrator (unused where the problem is linear).
    max_steps:  of the explicit integrator (Dormand-Prince 8); beyond it the implicit one (Kvaerno 5) takes over.
    exact:      use the linear equation where there is one; False integrates all the same, a second route.
    half_width: of the lattice in lots, or None for the problem's limit.
    """

    times: int = eqx.field(static=True, default=512)
    tolerance: float = eqx.field(static=True, default=1e-11)
    max_steps: int = eqx.field(static=True, default=20_000)
    exact: bool = eqx.field(static=True, default=True)
    half_width: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        for name in ("times", "max_steps"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"Lattice: {name} must be a whole number of at least 1, got {value!r}")
        if not 1e-14 <= self.tolerance < 1:
            raise ValueError(f"Lattice: tolerance must lie between 1e-14 and 1, got {self.tolerance!r}")

    def solution(self, problem: Problem) -> Solution:
        """Solve; called by `solve`, inside double precision."""
        grid = self._grid(problem)
        if self.exact and linearises(problem):
            tables = _solve_linear(problem, grid, self._chunks(problem, grid))
            return Solution(problem, self, tables._replace(mean=None), power=1, stats={"linear": True})
        return Solution(problem, self, self._integrate(problem, grid, clock(self.times)), power=2)

    def solve_batch(self, problems: list[Problem], stacked: Problem) -> Solution:
        """Solve problems that share their shape; `stacked` has them along the leading axis of every leaf."""
        grid = self._grid(problems[0])
        if self.exact and all(linearises(problem) for problem in problems):
            sizes = chunk_sizes(self.times, bool(jnp.any(_are_steep(stacked, grid))))
            tables = _solve_linear_each(stacked, grid, sizes)
            return Solution(problems[0], self, tables._replace(mean=None), power=1, stats={"linear": True})
        tables = _integrate_many(stacked, grid, self, clock(self.times), False)
        if not np.all(np.isfinite(tables.residual)):  # some are too stiff to share their steps
            each = [self._integrate(problem, grid, clock(self.times)) for problem in problems]
            tables = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        return Solution(problems[0], self, tables, power=2)

    def mean(self, problem: Problem, tables: Tables) -> Any:
        """`h` at the times of `tables`, by integrating `theta` and `h` together."""
        with jax.enable_x64(True):
            shares = jnp.asarray(tables.tau / problem.horizon)
            mean = self._integrate(problem, self._grid(problem), shares).mean
        return mean if is_traced(mean) else np.asarray(mean)

    def _grid(self, problem: Problem) -> Grid:
        if problem.moves:
            raise ValueError(
                f"Lattice: the stock of {type(problem).__name__} moves between fills and leaves the lattice; "
                "take FiniteDifference()"
            )
        return Grid(1, self.half_width) if self.half_width is not None else grid_for(problem, 1, "Lattice")

    def _chunks(self, problem: Problem, grid: Grid) -> tuple[int, ...]:
        if is_traced(problem):
            return chunk_sizes(self.times, False)  # how steep it gets is unknown here; too steep shows as not finite
        return chunk_sizes(self.times, bool(_is_steep(problem, grid)))

    def _integrate(self, problem: Problem, grid: Grid, shares: Any) -> Tables:
        batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], problem)
        tables = _integrate_many(batch, grid, self, shares, False)
        if not is_traced(tables) and not np.all(np.isfinite(tables.residual)):  # too stiff for explicit steps
            tables = _integrate_many(batch, grid, self, shares, True)
        return jax.tree.map(lambda leaf: leaf[0], tables)


def linearises(problem: Problem) -> bool:
    """Whether the exponential transform makes the problem's equation linear; needs untraced decays to tell."""
    bid, ask = problem.bid_demand, problem.ask_demand
    if not (isinstance(bid, Exponential) and isinstance(ask, Exponential)):
        return False
    if not isinstance(problem.objective, (ExponentialUtility, RunningPenalty)):
        return False
    if bid.decay is ask.decay:
        return True
    return not is_traced(bid.decay, ask.decay) and bool(np.all(bid.decay == ask.decay))


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
    settled = jnp.maximum(jnp.log1p(depth / up), jnp.log1p(depth / down))
    return jnp.minimum(horizon * jnp.max(jnp.abs(jnp.diff(diagonal))), settled)


@eqx.filter_jit
def _is_steep(problem: Problem, grid: Grid) -> Any:
    """Whether `u` may span more, or change faster from lot to lot, than one chunk of the exponential can hold."""
    diagonal, up, down, kappa, _ = _linear_system(problem, grid)
    terminal = kappa * problem.objective.terminal_cost(problem.lots(grid.nodes(problem.size)))
    slope = _steepest(diagonal, up, down, problem.horizon) + jnp.max(jnp.abs(jnp.diff(terminal)))
    return (slope > LOG_SLOPE) | (grid.half * slope > LOG_RANGE)


@eqx.filter_jit
def _are_steep(stacked: Problem, grid: Grid) -> Any:
    return jax.vmap(lambda problem: _is_steep(problem, grid))(stacked)


@eqx.filter_jit
def _solve_linear(problem: Problem, grid: Grid, chunks: tuple[int, ...]) -> Tables:
    diagonal, up, down, kappa, xi = _linear_system(problem, grid)
    q = grid.nodes(problem.size)
    times = sum(chunks)
    log_start = -kappa * problem.objective.terminal_cost(problem.lots(q))
    slope = _steepest(diagonal, up, down, problem.horizon)
    theta = log_path(diagonal, down, up, log_start, problem.horizon / times, chunks, slope) / kappa
    bid, ask = problem.channels(jnp.zeros_like(problem.horizon))
    edge = jnp.full((times + 1, 1), jnp.nan)
    rise = jnp.diff(theta, axis=1)

    def distance(channel: Any, change: Any) -> Any:
        return channel.cost + (log1p_over(1 / kappa, xi) - change) / channel.notional

    # Rounding grows with what is added up: the logarithms, and the norm of the exponent.
    norm = (
        problem.horizon * (jnp.max(diagonal) - jnp.min(diagonal) + up + down) * jnp.exp(jnp.minimum(slope, LOG_SLOPE))
    )
    rounding = jnp.finfo(theta.dtype).eps * (1 + jnp.max(jnp.abs(theta)) * kappa + norm)
    return Tables(
        tau=jnp.linspace(0.0, 1.0, times + 1) * problem.horizon,
        y=q,
        value=theta,
        mean=jnp.full((1, 1), jnp.nan),  # found at first use
        bid=jnp.concatenate([distance(bid, rise), edge], axis=1),
        ask=jnp.concatenate([edge, distance(ask, -rise)], axis=1),
        residual=jnp.zeros(()),
        error=jnp.reshape(rounding / kappa, (1, 1)),
        quote_error=jnp.reshape(rounding / kappa / bid.notional, (1, 1)),
        iterations=jnp.zeros((), int),
    )


@eqx.filter_jit
def _integrate_many(stacked: Problem, grid: Grid, method: Lattice, shares: Any, stiff: bool) -> Tables:
    """One adaptive integration for a batch, the batch axis last: all share their steps, none waits for another.

    Time is counted in shares of the horizon, so that problems of different horizons fit together.
    """

    def start(problem: Problem) -> Any:
        return Equation(problem, grid).start()

    def rate(share: Any, u: Any, problem: Problem) -> Any:
        return problem.horizon * Equation(problem, grid)(share * problem.horizon, u).rate

    field = jax.vmap(rate, in_axes=(None, -1, 0), out_axes=-1)
    first = jax.vmap(start, out_axes=-1)(stacked)

    def integrate(tolerance: float, saveat: Any) -> Any:
        controller = diffrax.PIDController(rtol=tolerance, atol=tolerance, norm=lambda y: jnp.max(jnp.abs(y)))
        return diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Kvaerno5() if stiff else diffrax.Dopri8(),
            0.0,
            1.0,
            None,
            first,
            stacked,
            saveat=saveat,
            stepsize_controller=controller,
            max_steps=16 * method.max_steps if stiff else method.max_steps,
            throw=False,
        )

    solved = integrate(method.tolerance, diffrax.SaveAt(ts=shares))
    looser = integrate(32 * method.tolerance, diffrax.SaveAt(t1=True))
    u = jnp.moveaxis(solved.ys, -1, 0)  # (batch, times, 2, nodes)
    gap = jnp.abs(u[:, -1] - jnp.moveaxis(looser.ys[-1], -1, 0))
    failed = jnp.where(solved.result == diffrax.RESULTS.successful, 0.0, jnp.inf)

    def tables(problem: Problem, rows: Any, gap: Any) -> Tables:
        equation = Equation(problem, grid)

        def quotes(tau: Any, now: Any) -> Any:
            moment = equation.at(tau)
            return [jnp.where(equation.permitted[i] > 0, moment.side(now, i).distance, jnp.nan) for i in (0, 1)]

        tau = shares * problem.horizon
        bid, ask = jax.vmap(quotes)(tau, rows)
        error = jnp.broadcast_to(gap[0] / 8, rows[:, 0].shape)
        quote_error = jnp.broadcast_to(jnp.max(gap[0]) / 4 / problem.channels(tau[-1])[0].notional, error.shape)
        return Tables(
            tau,
            equation.nodes,
            rows[:, 0],
            rows[:, 1],
            bid,
            ask,
            failed,
            error,
            quote_error,
            solved.stats["num_steps"],
        )

    return jax.vmap(tables)(stacked, u, gap)
