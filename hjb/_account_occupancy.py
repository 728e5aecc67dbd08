"""How much time a dealer of two accounts spends where a side is not worth quoting, and beyond a limit.

They are shares of the horizon, from empty accounts at time 0, under the quotes found:

    w(t, S, C) = (1/T) E int_t^T f(u, S_u, C_u) du,      w_tau = f/T + (the dealer's own generator) w,

with `f = 1/2 (sides permitted but worth no payment)`, see `_occupancy`, and `f = 1` where growth or interest has
carried an account beyond a limit. One linear equation for each, implicit Euler on every other node and time.

Under a margin the start is not empty accounts but the wealth that the largest position needs, and there is a third
share: of the time in which wealth would not cover two lots. There the grid is more lenient than the dealer's problem,
see `_limits`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from ._equation import grid_of
from ._limits import barred
from ._tables import Tables
from ._two_accounts import AccountsGrid, TwoAccounts

_PER_LOT = 2  # nodes that a share needs
_LEVELS = 25


def account_shares(problem: Any, tables: Tables) -> dict[str, float]:
    """`idle_share`, `beyond_share` and, under a margin, `barred_share`; nan where the tables are not finite."""
    whole = grid_of(problem, tables.axes[0])
    per_lots = [whole.per_lot, round(float(problem.size) / float(tables.axes[1][1] - tables.axes[1][0]))]
    skips = [n // _PER_LOT if n % _PER_LOT == 0 else 1 for n in per_lots]
    zeros = [int(np.argmin(np.abs(axis))) for axis in tables.axes]
    every = max(1, (tables.tau.size - 1) // _LEVELS)
    pick = (slice(None, None, every), *(slice(z % skip, None, skip) for z, skip in zip(zeros, skips, strict=True)))
    if not np.all(np.isfinite(tables.value)):
        return {"idle_share": float("nan"), "beyond_share": float("nan")}
    stock, cash = (axis[part] for axis, part in zip(tables.axes, pick[1:], strict=True))
    low = int(np.argmin(np.abs(cash)))
    grid = AccountsGrid(whole.coarser(skips[0]), per_lots[1] // skips[1], low, cash.size - 1 - low)
    with jax.enable_x64(True):
        parts = jax.tree.map(np.asarray, _rates(problem, grid, tables.bid[pick], tables.ask[pick]))
    w = np.zeros((stock.size * cash.size, 3))
    for level, step in enumerate(np.diff(tables.tau[pick[0]]), start=1):
        matrix, source = _generator(grid, parts, level)
        system = sparse.eye_array(w.shape[0], format="csc") - step * matrix
        try:
            w = splu(system).solve(w + step / float(problem.horizon) * source)
        except RuntimeError:  # rates beyond floating point: what was told until then is told all the same
            break
    flat = w.reshape(stock.size, cash.size, 3)[stock.size // 2]
    if problem.margin is None:
        return dict(zip(("idle_share", "beyond_share"), map(float, flat[low]), strict=False))
    wealth = float(problem.margin.initial * problem.max_stock)  # who owns nothing cannot trade
    start = min(low + math.ceil(wealth / (cash[1] - cash[0])), cash.size - 1)
    return dict(zip(("idle_share", "beyond_share", "barred_share"), map(float, flat[start]), strict=True))


class _Rates(NamedTuple):
    """What moves a dealer: of the stock down and up, of cash, and of fills (levels, stocks, cash)."""

    stencil: tuple[Any, Any]
    courant: Any  # velocity / spacing of cash
    bid: Any
    ask: Any
    bid_shift: Any  # the small way of a fill, in nodes of cash
    ask_shift: Any
    idle: Any
    beyond: Any
    barred: Any
    forced: Any  # purchases and sales, (2, stocks, cash), or None
    forced_shift: Any


@eqx.filter_jit
def _rates(problem: Any, grid: AccountsGrid, bid: Any, ask: Any) -> _Rates:
    equation = TwoAccounts(problem, grid, monotone=True)
    stock, cash = jnp.meshgrid(*equation.axes, indexing="ij")

    def side(demand: Any, distance: Any, may: Any) -> tuple[Any, Any, Any]:
        quoted = jnp.isfinite(distance)
        x = jnp.where(quoted, distance, 0.0)
        wanted = demand._intensity(jnp.zeros(())) > 0  # where nobody trades, nobody waits
        rate = jnp.where(quoted, may[None] * demand._intensity(x), 0.0)
        return rate, x * grid.per_lot, jnp.where(quoted | ~wanted, 0.0, 0.5 * may[None])

    bids, bid_shift, bid_idle = side(problem.bid_demand, bid, equation.permitted[0])
    asks, ask_shift, ask_idle = side(problem.ask_demand, ask, equation.permitted[1])
    beyond = jnp.where(problem.excess(stock, cash) > 1e-9 * problem.size, 1.0, 0.0)
    courant = equation.velocity / equation.spacing
    forced = None if equation.forced is None else jnp.stack(equation.forced)
    forced_shift = jnp.full_like(beyond, problem.forced_distance * grid.per_lot)
    return _Rates(
        stencil=equation.stencil,
        courant=courant,
        bid=bids,
        ask=asks,
        bid_shift=bid_shift,
        ask_shift=ask_shift,
        idle=bid_idle + ask_idle,
        beyond=beyond,
        barred=barred(problem, stock, cash),
        forced=forced,
        forced_shift=forced_shift,
    )


def _generator(grid: AccountsGrid, rates: _Rates, level: int) -> tuple[Any, Any]:
    """The generator under the quotes of a level, and the three sources, (nodes, 3); all moves stay on the grid."""
    shape = rates.beyond.shape
    i, j = np.indices(shape)
    down, up = (np.broadcast_to(rate[:, None], shape) for rate in rates.stencil)
    moves = [(-1, 0, down), (1, 0, up), (0, 1, np.maximum(rates.courant, 0)), (0, -1, np.maximum(-rates.courant, 0))]
    fills = [(1, rates.bid[level], rates.bid_shift[level]), (-1, rates.ask[level], rates.ask_shift[level])]
    if rates.forced is not None:
        fills += [(side, rate, rates.forced_shift) for side, rate in zip((1, -1), rates.forced, strict=True)]
    for side, rate, shift in fills:
        whole = np.floor(shift).astype(int)
        share, jump = shift - whole, whole - side * grid.per_lot
        lots = side * grid.stock.per_lot
        moves += [(lots, jump, rate * (1 - share)), (lots, jump + 1, rate * share)]
    here = np.ravel_multi_index((i, j), shape).ravel()
    there = [np.ravel_multi_index((i + di, j + dj), shape, mode="clip").ravel() for di, dj, _ in moves]
    flows = np.concatenate([rate.ravel() for _, _, rate in moves])
    rows, columns = np.tile(here, len(moves)), np.concatenate(there)
    data = np.concatenate([flows, -flows])
    at = (np.concatenate([rows, rows]), np.concatenate([columns, rows]))
    matrix = sparse.csc_array((data, at), shape=(here.size, here.size))
    return matrix, np.stack([rates.idle[level].ravel(), rates.beyond.ravel(), rates.barred.ravel()], axis=1)
