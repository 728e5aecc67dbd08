"""A dealer's trades: what a record of them holds, and made-up records from a known risk aversion.

Made-up records are drawn by thinning all sessions at once: candidates at a rate above the policy's, each a fill of the
bid or the ask with the policy's own probability, the inventory moving exactly in between. They serve to find out,
before any data are bought, how many sessions it takes to tell a risk aversion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

_HEADROOM = 1.5  # of the bound over the largest rate on the table


@dataclass(frozen=True, eq=False)
class TradeRecord:
    """A dealer's inventory over one or more sessions, each as long as the problem's horizon, row by row.

    session:    of each row, (rows,); a session's rows stand together, in the order of time.
    time:       since the session began, in the problem's unit. Every session's first row is at 0 and its last at the
                horizon; a row with the inventory may stand anywhere between.
    inventory:  after the row's fill, in the problem's unit of state: lots, or the money in the stock account.
    fill:       +1 where the row is a fill of the bid, -1 of the ask, 0 where it is none. Every fill has its row.

    Raises `ValueError` where the columns do not fit together.
    """

    session: np.ndarray
    time: np.ndarray
    inventory: np.ndarray
    fill: np.ndarray

    def __post_init__(self) -> None:
        names = ("session", "time", "inventory", "fill")
        columns = [np.asarray(getattr(self, name)) for name in names]
        if len({column.shape for column in columns}) > 1 or columns[0].ndim != 1 or not columns[0].size:
            raise ValueError("TradeRecord: session, time, inventory and fill must be columns of one length")
        for name, column in zip(names, columns, strict=True):
            if name != "session" and not np.all(np.isfinite(column.astype(float))):
                raise ValueError(f"TradeRecord: {name} must be finite, but row {_first(~np.isfinite(column))} is not")
            object.__setattr__(self, name, column if name == "session" else column.astype(float))
        if not np.all(np.isin(self.fill, (-1, 0, 1))):
            row = _first(~np.isin(self.fill, (-1, 0, 1)))
            raise ValueError(f"TradeRecord: fill must be +1 (bid), -1 (ask) or 0, but row {row} has {self.fill[row]:g}")
        same = self.session[1:] == self.session[:-1]
        if np.any(same & (np.diff(self.time) < 0)):
            raise ValueError(f"TradeRecord: time runs backwards at row {_first(same & (np.diff(self.time) < 0)) + 1}")
        if len(np.unique(self.session)) != 1 + np.sum(~same):
            raise ValueError("TradeRecord: a session's rows must stand together; sort by session, then time")

    @property
    def begins(self) -> np.ndarray:
        """The first row of each session, (sessions,)."""
        return np.flatnonzero(np.concatenate([[True], self.session[1:] != self.session[:-1]]))

    @property
    def sessions(self) -> int:
        """How many."""
        return len(self.begins)

    @property
    def fills(self) -> int:
        """How many, in all sessions."""
        return int(np.sum(self.fill != 0))

    @staticmethod
    def of_fills(session: Any, time: Any, fill: Any, horizon: float, size: float = 1.0, start: float = 0.0) -> Any:
        """A record of an inventory that rests between fills, from the fills alone: each session begins at `start`."""
        session, time, fill = (np.asarray(x) for x in (session, time, fill))
        rows = []
        for name in dict.fromkeys(session.tolist()):
            mine = session == name
            order = np.argsort(time[mine], kind="stable")
            side = fill[mine][order]
            held = start + size * np.cumsum(side)
            last = held[-1] if held.size else start
            rows.append(
                (
                    np.full(len(side) + 2, name),
                    np.concatenate([[0.0], time[mine][order], [horizon]]),
                    np.concatenate([[start], held, [last]]),
                    np.concatenate([[0], side, [0]]),
                )
            )
        return TradeRecord(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def _first(bad: np.ndarray) -> int:
    return int(np.argmax(bad))


def observe_trades(solution: Any, sessions: int, seed: int = 0, snapshots: int = 0, start: float = 0.0) -> TradeRecord:
    """A made-up record of `sessions` by a dealer who quotes as `solution` says.

    snapshots:  rows with the inventory at even times in each session, besides the fills; they matter where the stock
                moves between fills.
    start:      the inventory at the beginning of each session.
    """
    if sessions < 1:
        raise ValueError(f"sessions must be at least 1, got {sessions}")
    problem, rng, sessions = solution.problem, np.random.default_rng(seed), int(sessions)
    horizon, size = float(problem.horizon), float(problem.size)
    bound = _HEADROOM * _largest_rate(solution)
    stops = np.linspace(0.0, horizon, snapshots + 2)[1:]
    time, held = np.zeros(sessions), np.full(sessions, float(start))
    stop = np.zeros(sessions, int)  # how many snapshots are behind
    rows = [(np.arange(sessions), time.copy(), held.copy(), np.zeros(sessions))]
    active = np.arange(sessions)
    full = 1 << (max(sessions, 64) - 1).bit_length()  # one shape for all turns: it compiles once
    while active.size:
        wait = rng.exponential(1 / bound, active.size)
        due = stops[stop[active]]
        ends = time[active] + wait >= due
        then = np.where(ends, due, time[active] + wait)
        normal = rng.normal(size=active.size) if problem.moves else np.zeros(active.size)
        now, rate = _turn(solution.policy, then, held[active], then - time[active], normal, full)
        if rate.sum(axis=0).max() > bound:
            raise ValueError("the quotes are hit more often between the nodes than on them; solve on a finer grid")
        u = rng.uniform(size=active.size) * bound
        fill = np.where(ends, 0.0, np.where(u < rate[0], 1.0, np.where(u < rate[0] + rate[1], -1.0, 0.0)))
        time[active], held[active] = then, now + size * fill
        told = ends | (fill != 0)
        rows.append((active[told], then[told], held[active][told], fill[told]))
        stop[active] += ends
        active = active[stop[active] < len(stops)]
    session, at, inventory, fill = (np.concatenate(column) for column in zip(*rows, strict=True))
    order = np.lexsort((np.arange(session.size), at, session))
    return TradeRecord(session[order], at[order], inventory[order], fill[order])


def _largest_rate(solution: Any) -> float:
    """Of fills of both sides together, anywhere on the solution's table."""
    problem, tables = solution.problem, solution.tables
    with jax.enable_x64(True):
        may = [np.asarray(problem.may_fill(side, tables.y)) for side in (+1, -1)]
    total = np.zeros(tables.bid.shape)
    for demand, x, permitted in zip(
        (problem.bid_demand, problem.ask_demand), (tables.bid, tables.ask), may, strict=True
    ):
        quoting = np.isfinite(x) & permitted
        total += np.where(quoting, demand.intensity(np.where(quoting, x, 0.0)), 0.0)
    return float(total.max())


def _turn(policy: Any, time: Any, held: Any, dt: Any, normal: Any, full: int) -> tuple[np.ndarray, np.ndarray]:
    """Inventories after `dt` without a fill, and the rates (2, sessions) there."""
    padded = [np.pad(x, (0, full - len(time)), mode="edge") for x in (time, held, dt, normal)]
    with jax.enable_x64(True):
        now, rate = _evolved(policy, *padded)
    return np.asarray(now)[: len(time)], np.asarray(rate)[:, : len(time)]


@eqx.filter_jit
def _evolved(policy: Any, time: Any, held: Any, dt: Any, normal: Any) -> tuple[Any, Any]:
    tau = policy.problem.horizon - time
    held, _ = policy.problem.evolve(tau, held, dt, normal)
    return held, jnp.stack(fill_rates(policy, time, held))


def fill_rates(policy: Any, time: Any, held: Any) -> tuple[Any, Any]:
    """How often the bid and the ask are filled at times and inventories of one shape; zero where a side is silent."""
    problem = policy.problem
    quotes = policy(time, held)
    channels = problem.channels(problem.horizon - time)
    return tuple(  # type: ignore[return-value]
        jnp.where(jnp.isfinite(x), c.demand._intensity(jnp.where(jnp.isfinite(x), x, 0.0)), 0.0)
        for c, x in zip(channels, quotes, strict=True)
    )
