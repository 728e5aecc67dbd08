"""A book on the lattice of its inventories, in one, two or three assets: a system of ordinary differential equations.

Where `k_i / D_i` is one number `kappa` for all assets and sides, demand is exponential and the objective has a `xi`
(`ExponentialUtility`: `gamma`; the penalties: 0), `u = e^{kappa theta}` obeys a linear equation,

    du/dtau = kappa (income - running_cost) u + sum_{i, s} C_{i,s} u(q + s e_i),   u(0) = e^{-kappa terminal_cost},
    C_{i,s} = A_{i,s} (1 + xi/kappa)^{-(1 + kappa/xi)}        (Gueant 2017, section 4; tau = T - t).

Its exponential acts by a Taylor series, matrix-free. The unknown is `u` over its own value at the start of a step, so
that it begins at one everywhere; the matrix is made non-negative by a shift, so that nothing cancels, every inventory
keeps its relative accuracy and the series' remainder is small against each entry. Steps are as long as the matrix
allows, and the logarithm is carried from step to step: nothing underflows.

Any other demand or objective is integrated adaptively (see `_extrapolation`), `theta` alone or, where the objective
needs it, together with `h`. Two runs, the second with a looser tolerance, tell the error.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..models._precision import is_traced
from ..models.demand import Exponential, log1p_over
from ..models.multi_asset import MultiAssetDealer
from ..models.objectives import ExponentialUtility, MeanVariance, RiskPenalty, RunningPenalty
from ._derivatives import differentiable
from ._extrapolation import Path, integrate
from .book_solution import BookSolution, TableSurface

_FEWEST_TIMES = 64  # intervals between the stored times; between them lie cubics in the root of the time to go
_NUMBERS = 2**22  # in a table: beyond, fewer times are stored
_MOST_NUMBERS = 2**27  # one gigabyte
_NORM = 4.0  # of the matrix times a step of the exponential: the series needs some thirty terms
_TERM = 2.0**-60  # of the series, at which it ends; the sum is at least one
_LOOSER = 32.0


def solve_on_lattice(problem: MultiAssetDealer, method: Any) -> BookSolution:
    """The book by `Lattice`, inside double precision; raises `ValueError` where there is no finite lattice."""
    times = _times(problem, method)
    if method.exact and linearises(problem):
        most = jnp.asarray(method.max_steps)  # an array, or every limit would be compiled by itself
        table, steps, rounding = differentiable(lambda p: _solve_linear(p, times, most), problem)
        return _solution(problem, method, table[None], steps < method.max_steps, rounding, {"linear": True})
    table, finished, error = _integrated(problem, method, times, isinstance(problem.objective, MeanVariance))
    stats = {}
    if isinstance(problem.objective, MeanVariance) and not is_traced(table):
        from ._book_occupancy import idle_share

        stats["idle_share"] = float(idle_share(problem, table))
    return _solution(problem, method, table, finished, error, stats)


def with_mean(problem: MultiAssetDealer, method: Any) -> TableSurface:
    """`theta` and `h` integrated together."""
    with jax.enable_x64(True):
        table, _, _ = _integrated(problem, method, _times(problem, method), True)
    return TableSurface(problem.horizon, table if is_traced(table) else np.asarray(table))


def _solution(problem: Any, method: Any, table: Any, finished: Any, error: Any, stats: dict[str, Any]) -> BookSolution:
    residual = jnp.where(finished, 0.0, jnp.inf)
    if not is_traced(table):
        table, residual, error = np.asarray(table), float(residual), float(error)
    return BookSolution(
        problem,
        method,
        stats={"method": type(method).__name__, **stats},
        surface=TableSurface(problem.horizon, table),
        residual_found=residual,
        error_found=error,
    )


def _times(problem: MultiAssetDealer, method: Any) -> int:
    """Intervals to store: the method's, or fewer where the inventories are many."""
    if not np.all(np.isfinite(problem.limit)):
        asset = int(np.argmin(np.isfinite(problem.limit)))
        raise ValueError(
            f"Lattice needs a finite max_inventory, asset {asset} has none; give one, or take ClosedForm()"
        )
    count = int(np.prod(2 * problem.limit + 1))
    times = min(max(method.times, 3), max(_FEWEST_TIMES, _NUMBERS // count))
    if count * (times + 1) > _MOST_NUMBERS:
        raise ValueError(
            f"Lattice: {count:,} inventories at {times + 1} times are too many numbers, at most {_MOST_NUMBERS:,}; "
            "lower max_inventory or times, or take ClosedForm()"
        )
    return times


def linearises(problem: MultiAssetDealer) -> bool:
    """Whether the exponential transform makes the equation linear; needs untraced decays and lots to tell."""
    return common_kappa(problem) is not None


def common_kappa(problem: MultiAssetDealer) -> Any:
    """`k_i / D_i` where it is the same for all assets and sides and the equation is linear, else None."""
    if not isinstance(problem.objective, (ExponentialUtility, RiskPenalty, RunningPenalty)):
        return None
    decays = []
    for side in (problem.bid_demand, problem.ask_demand):
        only, *others = side.groups
        if others or not isinstance(only, Exponential):
            return None
        decays.append(only.decay)
    if is_traced(decays, problem.lot):
        return None
    kappas = np.stack(decays) / problem.lot[None]
    return kappas[0, 0] if np.all(np.abs(kappas - kappas[0, 0]) <= 1e-13 * kappas[0, 0]) else None


def nodes(problem: MultiAssetDealer) -> Any:
    """All inventories of the lattice, shape (n_1, ..., n_d, d)."""
    axes = [np.arange(-limit, limit + 1.0) for limit in np.asarray(problem.limit)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def shifted(u: Any, axis: int, side: int) -> Any:
    """`u` one lot on along an axis; beyond the lattice the end value, where no fill is permitted anyway."""
    count = u.shape[axis]
    inner = lax.slice_in_dim(u, max(side, 0), count + min(side, 0), axis=axis)
    edge = lax.slice_in_dim(u, count - 1, count, axis=axis) if side > 0 else lax.slice_in_dim(u, 0, 1, axis=axis)
    return jnp.concatenate([inner, edge] if side > 0 else [edge, inner], axis=axis)


class Linear(eqx.Module):
    """The linear equation: its diagonal, and for each neighbour (asset, side) its weight, zero where none is."""

    kappa: Any
    xi: Any
    diagonal: Any  # (n_1, ..., n_d)
    weights: Any  # (d, 2), bid then ask
    inside: Any  # (d, 2, n_1, ..., n_d): one where the fill keeps the limit

    def in_basis(self, log_u: Any) -> tuple[Any, Any]:
        """Weights of the neighbours for `u` counted in multiples of `exp(log_u)`, and the norm of the matrix."""
        ratios = [
            [self.weights[i, j] * self.inside[i, j] * jnp.exp(shifted(log_u, i, side) - log_u) for j, side in _SIDES]
            for i in range(log_u.ndim)
        ]
        rows = jnp.stack([jnp.stack(pair) for pair in ratios])
        return rows, jnp.max(self.diagonal - jnp.min(self.diagonal) + jnp.sum(rows, axis=(0, 1)))


_SIDES = ((0, +1), (1, -1))


def linear_system(problem: MultiAssetDealer) -> tuple[Any, Any, Any]:
    """`kappa`, `xi` and the weights `C` (d, 2) of the linear equation."""
    objective = problem.objective
    xi = objective.risk_aversion if isinstance(objective, ExponentialUtility) else jnp.zeros(())
    bid, ask = (side.groups[0] for side in (problem.bid_demand, problem.ask_demand))
    assert isinstance(bid, Exponential)
    assert isinstance(ask, Exponential)
    kappa = (bid.decay / problem.lot)[0]
    damping = (kappa + xi) * log1p_over(1 / kappa, xi)  # (1 + kappa/xi) ln(1 + xi/kappa), and 1 at xi = 0
    return kappa, xi, jnp.stack([bid.scale, ask.scale], axis=-1) * jnp.exp(-damping)


@eqx.filter_jit
def _solve_linear(problem: MultiAssetDealer, times: int, max_steps: Any) -> tuple[Any, Any, Any]:
    """`theta` (times + 1, n_1, ..., n_d), the steps taken and a bound on the rounding of `theta`."""
    q = jnp.asarray(nodes(problem))
    kappa, xi, weights = linear_system(problem)
    inside = jnp.stack([problem.may_fill(+1, q), problem.may_fill(-1, q)], axis=-2)
    diagonal = kappa * (problem.income(q) - problem.running_cost(q))
    system = Linear(kappa, xi, diagonal, weights, jnp.moveaxis(inside, (-1, -2), (0, 1)).astype(diagonal.dtype))
    shift = jnp.min(diagonal)

    def to_next(carry: Any, target: Any) -> tuple[Any, Any]:
        def under_way(state: Any) -> Any:
            return (state[0] < target) & (state[2] < max_steps)

        def step(state: Any) -> Any:
            tau, log_u, steps, terms = state
            rows, norm = system.in_basis(log_u)
            length = jnp.minimum(lax.stop_gradient(_NORM / norm), target - tau)
            growth, used = _series(diagonal - shift, rows, length)
            then = jnp.where(length < target - tau, tau + length, target)
            return then, log_u + jnp.log(growth) + shift * length, steps + 1, terms + used

        state = lax.while_loop(under_way, step, carry)
        return state, state[1]

    start = (jnp.zeros(()), -kappa * problem.terminal_cost(q), jnp.zeros((), int), jnp.zeros((), int))
    clock = problem.horizon * jnp.linspace(0.0, 1.0, times + 1) ** 2
    (_, log_u, steps, terms), path = lax.scan(to_next, start, clock)
    rounding = jnp.finfo(log_u.dtype).eps * (terms.astype(log_u.dtype) + jnp.max(jnp.abs(log_u)))
    return path / kappa, steps, rounding / kappa


def _series(diagonal: Any, rows: Any, length: Any) -> tuple[Any, Any]:
    """`exp(length M) 1` for the non-negative `M`, and the number of terms: each is smaller than the last."""

    def product(u: Any) -> Any:
        total = diagonal * u
        for i in range(u.ndim):
            for j, side in _SIDES:
                total = total + rows[i, j] * shifted(u, i, side)
        return total

    def unfinished(state: Any) -> Any:
        n, term, _ = state
        return (jnp.max(term) > _TERM) & (n < 200)

    def add(state: Any) -> Any:
        n, term, total = state
        term = product(term) * (length / n.astype(term.dtype))
        return n + 1, term, total + term

    one = jnp.ones_like(diagonal)
    n, _, total = lax.while_loop(unfinished, add, (jnp.ones((), int), one, one))
    return total, n


def _integrated(problem: MultiAssetDealer, method: Any, times: int, mean: bool) -> tuple[Any, Any, Any]:
    """The table of a tight run, whether it ended, and its error at time 0 and zero inventory by a looser one."""

    def run(problem: MultiAssetDealer) -> Any:
        tolerance, most = jnp.asarray(method.tolerance), jnp.asarray(method.max_steps)  # arrays: compiled once for all
        tight, loose = (_integrate(problem, times, mean, x * tolerance, most) for x in (1.0, _LOOSER))
        return _judged(tight, loose.u[-1, 0])

    return differentiable(run, problem)


@eqx.filter_jit
def _judged(tight: Path, looser: Any) -> tuple[Any, Any, Any]:
    """The table, whether it is complete, and twice what a looser run's distance makes of the error, and rounding."""
    last = tight.u[-1, 0]
    middle = tuple(count // 2 for count in last.shape)
    rounding = 64 * jnp.finfo(last.dtype).eps * jnp.max(jnp.abs(last))
    error = 2 / _LOOSER * jnp.abs(last[middle] - looser[middle]) + rounding
    return jnp.moveaxis(tight.u, 1, 0), tight.finished, error


@eqx.filter_jit
def _integrate(problem: MultiAssetDealer, times: int, mean: bool, tolerance: Any, max_steps: Any) -> Any:
    """Time is counted in shares of the horizon; unknowns have shape (1 or 2, n_1, ..., n_d)."""
    q = jnp.asarray(nodes(problem))
    permitted = [problem.may_fill(side, q).astype(q.dtype) for _, side in _SIDES]
    income, cost = problem.income(q), problem.running_cost(q)

    def rate(u: Any) -> Any:
        total = jnp.stack([income - cost, income]) if mean else (income - cost)[None]
        for (_, side), allowed in zip(_SIDES, permitted, strict=True):
            change = jnp.stack([shifted(u, 1 + i, side) - u for i in range(problem.dimension)], axis=-1)
            best = problem.response(side, change[0], change[-1])
            flow = [best.gain, best.rate * (best.income + change[-1])] if mean else [best.gain]
            total = total + jnp.sum(jnp.stack(flow) * allowed[None], axis=-1)
        return problem.horizon * total

    start = -problem.terminal_cost(q)[None]
    start = jnp.concatenate([start, jnp.zeros_like(start)]) if mean else start
    reach = [problem.demands(side).each(lambda demand: demand._reciprocal_hazard(0.0)) for _, side in _SIDES]
    scale = jnp.max(jnp.stack(reach) * jnp.asarray(problem.lot)[None])
    return integrate(rate, start, jnp.linspace(0.0, 1.0, times + 1) ** 2, scale, tolerance, max_steps)
