"""How much time a dealer spends where no payment makes a permitted trade worth it: the sign of an ill-posed problem.

Under a mean-variance objective a side with `Dtheta - Dh <= -1/(2 lambda)` is not quoted at any distance. Reached with
weight, that is a fault of the problem: the distance jumps to infinity there and grids disagree. The weight is

    w(t, y) = (1/T) E int_t^T 1/2 (sides permitted but not quoted) du,    w_tau + ... = the dealer's own generator,

one linear backward equation under the quotes already found. It is only asked for where such states are on the grid.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from ..models.problem import Problem
from ._equation import Equation, Grid
from ._tables import Tables

_STEPS = 50


def idle_share(problem: Problem, tables: Tables) -> float:
    """`w` at time 0 without inventory: a share of the horizon, by implicit Euler; zero where every side is quoted."""
    if problem.objective.no_quote_below is None or np.ndim(tables.bid) != 2:
        return 0.0
    nodes = tables.y.size
    sound = np.cumprod(np.all(np.isfinite(tables.value), axis=1)).astype(bool)
    tables = tables._replace(**{name: getattr(tables, name)[sound] for name in ("tau", "bid", "ask")})
    per_lot = round(float(problem.size) / float(tables.y[1] - tables.y[0]))
    with jax.enable_x64(True):
        equation = Equation(problem, Grid(per_lot, nodes // 2))
        permitted = [np.asarray(p) for p in equation.permitted]
        down, up = (np.asarray(s) for s in equation.stencil)
    unquoted = [np.isnan(d) * p for d, p in zip((tables.bid, tables.ask), permitted, strict=True)]
    if not any(np.any(u) for u in unquoted):
        return 0.0

    def rates(demand: Any, distance: Any, share: Any) -> Any:
        quoted = np.isfinite(distance)
        return np.where(quoted, share * demand.intensity(np.where(quoted, distance, 0.0)), 0.0)

    every = max(1, (tables.tau.size - 1) // _STEPS)
    w = np.zeros(nodes)
    for before, now in zip(range(0, tables.tau.size - every, every), range(every, tables.tau.size, every), strict=True):
        bid = rates(problem.bid_demand, tables.bid[now], permitted[0])
        ask = rates(problem.ask_demand, tables.ask[now], permitted[1])
        leave = sparse.diags_array(-(up + down + bid + ask))
        generator = leave + sum(
            sparse.diags_array(row[max(0, -offset) : nodes - max(0, offset)], offsets=offset)
            for offset, row in ((-1, down), (1, up), (-per_lot, ask), (per_lot, bid))
        )
        dt = tables.tau[now] - tables.tau[before]
        idle = 0.5 * (unquoted[0][now] + unquoted[1][now]) / float(problem.horizon)
        w = splu(sparse.csc_array(sparse.eye_array(nodes) - dt * generator)).solve(w + dt * idle)
    return float(w[nodes // 2])
