"""How much time a dealer spends where no payment makes a permitted trade worth it: the sign of an ill-posed problem.

Under a mean-variance objective a side with `Dtheta - Dh <= -1/(2 lambda)` is not quoted at any distance. Reached with
weight, that is a fault of the problem: the distance jumps to infinity there and grids disagree. The weight is

    w(t, y) = (1/T) E int_t^T 1/2 (sides permitted but not quoted) du,    w_tau + ... = the dealer's own generator,

one linear backward equation under the quotes already found. It is only asked for where such states are on the grid.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from ..models.problem import Problem
from ._equation import Equation, Grid, grid_of
from ._tables import Tables

_STEPS = 50


def idle_share(problem: Problem, tables: Tables) -> float:
    """`w` at time 0 without inventory: a share of the horizon, by implicit Euler; zero where every side is quoted."""
    if problem.objective.no_quote_below is None or np.ndim(tables.bid) != 2:
        return 0.0
    nodes = tables.y.size
    sound = np.cumprod(np.all(np.isfinite(tables.value), axis=1)).astype(bool)
    tables = tables._replace(**{name: getattr(tables, name)[sound] for name in ("tau", "bid", "ask")})
    grid = grid_of(problem, tables.y)
    every = max(1, (tables.tau.size - 1) // _STEPS)
    levels = slice(0, None, every)
    with jax.enable_x64(True):
        found = _rates(problem, grid, tables.bid[levels], tables.ask[levels])
    down, up, bids, asks, idle = jax.tree.map(np.asarray, found)
    if not idle.any():
        return 0.0
    w = np.zeros(nodes)
    for step, bid, ask, waste in zip(np.diff(tables.tau[levels]), bids[1:], asks[1:], idle[1:], strict=True):
        leave = sparse.diags_array(-(up + down + bid + ask))
        generator = leave + sum(
            sparse.diags_array(row[max(0, -offset) : nodes - max(0, offset)], offsets=offset)
            for offset, row in ((-1, down), (1, up), (-grid.per_lot, ask), (grid.per_lot, bid))
        )
        matrix = sparse.csc_array(sparse.eye_array(nodes) - step * generator)
        try:
            w = splu(matrix).solve(w + step * waste)
        except RuntimeError:  # rates beyond floating point: what was idle until then is told all the same
            break
    return float(w[nodes // 2])


@eqx.filter_jit
def _rates(problem: Problem, grid: Grid, bid: Any, ask: Any) -> Any:
    """Transport rates down and up, fill rates of the two sides, and idleness per unit of time, each (levels, nodes)."""
    equation = Equation(problem, grid)

    def side(demand: Any, distance: Any, permitted: Any) -> Any:
        quoted = jnp.isfinite(distance)
        rate = demand._intensity(jnp.where(quoted, distance, 0.0))
        wanted = demand._intensity(jnp.zeros(())) > 0  # where nobody trades, nobody waits
        return jnp.where(quoted, permitted[None] * rate, 0.0), jnp.where(quoted | ~wanted, 0.0, permitted[None])

    bid_rate, bid_idle = side(problem.bid_demand, bid, equation.permitted[0])
    ask_rate, ask_idle = side(problem.ask_demand, ask, equation.permitted[1])
    if equation.forced is not None:
        bid_rate, ask_rate = (
            rate + often[None] for rate, often in zip((bid_rate, ask_rate), equation.forced, strict=True)
        )
    return *equation.stencil, bid_rate, ask_rate, 0.5 * (bid_idle + ask_idle) / problem.horizon
