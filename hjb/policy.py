"""Policies: `policy(t, state) -> Quotes`, callable pytrees that a simulation cannot tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from ..models._precision import in_float64
from ..models.channels import Quotes
from ._interpolation import number_of
from ._tables import row_of

_NEAR = 1 / 64
"""Share of the horizon, to either side, over which an envelope is taken: near the horizon quotes change fast."""


class Policy(eqx.Module):
    """Quotes as a function of time and state, masked where a fill would cross one of the problem's limits."""

    problem: Any  # a Dealer

    @property
    def dimension(self) -> int:
        """How many of the problem's state variables, the inventory first, the quotes depend on."""
        return 1

    @property
    def envelope(self) -> Policy:
        """Quotes that depend on the inventory alone and are no wider than these, now and soon: they bound the fills."""
        return self

    def __call__(self, t: Any, state: Any) -> Quotes:
        """Distances at time `t` (forward, 0 to the horizon) in a named state or at a bare inventory."""
        return self._quotes(t, state)

    @in_float64
    def _quotes(self, t: Any, state: Any) -> Quotes:
        named = state if isinstance(state, Mapping) else {self.problem.names[0]: state}
        missing = [name for name in self.problem.names[: self.dimension] if name not in named]
        if missing:
            raise TypeError(f"these quotes depend on {missing[0]}, too: give a named state with it")
        t, *state = jnp.broadcast_arrays(t, *(named[name] for name in self.problem.names if name in named))
        tau = jnp.clip(self.problem.horizon - t, 0.0, self.problem.horizon)
        bid, ask = self.distances(tau, *state[: self.dimension])
        return Quotes(
            bid=jnp.where(self.problem.may_fill(+1, *state), bid, jnp.nan),
            ask=jnp.where(self.problem.may_fill(-1, *state), ask, jnp.nan),
        )

    def distances(self, tau: Any, y: Any, *others: Any) -> tuple[Any, Any]:
        """Bid and ask distances with `tau` to go at inventory `y`, and whatever else matters, whatever the limits."""
        raise NotImplementedError


class TabulatedPolicy(Policy):
    """Quotes read off a table: linear in time and, where the inventory moves by itself, linear in the state.

    table:   shape (times, nodes, ..., 2), bid then ask; times to go are `horizon * (j/(times-1))^power`, or so in each
             of the problem's `days`, the last one first; every further axis but the last belongs to a state variable,
             in the order of the problem's `names`.
    spacing: of the evenly spaced nodes, one per state variable (or the number itself, where there is one).
    first:   the first node of each likewise; without it, nodes lie evenly around zero.
    nodes:   of the inventory, where they are not evenly spaced.

    Beyond the table the end value is quoted.
    """

    table: Any
    spacing: Any
    power: int = eqx.field(static=True)
    first: Any = None
    nodes: Any = None

    @property
    def dimension(self) -> int:
        return jnp.ndim(self.table) - 2

    @property
    def envelope(self) -> Policy:
        if self.dimension == 1 and self.problem.days == 1:
            return self
        table = jnp.where(jnp.isnan(self.table), jnp.inf, self.table)
        least = jnp.min(table, axis=tuple(range(2, self.dimension + 1)))
        least = jnp.where(jnp.isinf(least), jnp.min(least, axis=1, keepdims=True), least)  # beside a node that quotes
        row = jnp.arange(least.shape[0])
        time = self._times(row)
        near = (jnp.abs(time[:, None] - time[None]) <= _NEAR) | (jnp.abs(row[:, None] - row[None]) <= 1)
        least = jnp.min(jnp.where(near[..., None, None], least[None], jnp.inf), axis=1)
        first = None if self.first is None else self.first[:1]
        spacing = self.spacing[:1] if isinstance(self.spacing, tuple) else self.spacing
        return TabulatedPolicy(self.problem, least, spacing, self.power, first, self.nodes)

    def _times(self, row: Any) -> Any:
        """Times to go of the table's rows, as shares of the horizon."""
        days = self.problem.days
        count = row.shape[0] // days
        return ((row // count) / 1 + ((row % count) / (count - 1)) ** self.power) / days

    def distances(self, tau: Any, y: Any, *others: Any) -> tuple[Any, Any]:
        quotes = self._blended(jnp.asarray(self.table), tau, y, *others)
        return quotes[..., 0], quotes[..., 1]

    def _blended(self, table: Any, tau: Any, y: Any, *others: Any) -> Any:
        """Entries of a table like the policy's own, interpolated; its last axis stays the last."""
        times, *nodes, entries = jnp.shape(table)
        intervals = [_split(row_of(self.problem, tau, times, self.power)[0], times)]
        for which, (state, count) in enumerate(zip((y, *others), nodes, strict=True)):
            position = self._position(which, state, count)
            if self.problem.moves:
                intervals.append(_split(position, count))
            else:
                intervals.append((jnp.clip(jnp.round(position), 0, count - 1).astype(jnp.int32), None))
        return _multilinear(table.reshape(-1, entries), jnp.zeros((), jnp.int32), intervals, [times, *nodes])

    def _position(self, which: int, state: Any, count: int) -> Any:
        """Fractional node number of a state; the node at zero is met exactly."""
        if which == 0 and self.nodes is not None:
            return number_of(state, self.nodes)
        spacing = self.spacing[which] if isinstance(self.spacing, tuple) else self.spacing
        zero = (count - 1) // 2 if self.first is None else jnp.round(-self.first[which] / spacing)
        return state / spacing + zero


class Target(eqx.Module):
    """A committed wealth at the horizon, and how a table's axis of the gap to it is stretched: `Z = L sinh(q/L)`."""

    wealth: Any  # w, money
    stretch: Any  # L, money

    def coordinate(self, problem: Any, tau: Any, stock: Any, cash: Any) -> Any:
        """`q` of the gap `Z = e^{r tau} (S + C) - w`; a table's axis of `q` is evenly spaced."""
        gap = problem.accrual(tau) * (stock + cash) - self.wealth
        return self.stretch * jnp.arcsinh(gap / self.stretch)


class TargetPolicy(TabulatedPolicy):
    """Quotes read off a table of the stock and the gap between wealth and a target that stays.

    The line beyond which a side is not quoted runs across the table: half-way between nodes that quote and nodes that
    do not; if a side were quoted only where all nodes around quote it, fills along the line would be lost. So the
    table's last axis holds four numbers: bid and ask, zero where not quoted, and whether each is quoted.
    """

    target: Any = None  # a Target

    @staticmethod
    def entries(bid: Any, ask: Any) -> Any:
        """The table from distances, nan where not quoted."""
        on = [jnp.isfinite(side) for side in (bid, ask)]
        distances = [jnp.where(quoted, side, 0.0) for quoted, side in zip(on, (bid, ask), strict=True)]
        return jnp.stack([*distances, *(quoted.astype(float) for quoted in on)], axis=-1)

    @property
    def envelope(self) -> Policy:
        quotes = jnp.where(jnp.asarray(self.table)[..., 2:] > 0, self.table[..., :2], jnp.nan)
        return TabulatedPolicy(self.problem, quotes, self.spacing, self.power, self.first).envelope

    def distances(self, tau: Any, y: Any, *others: Any) -> tuple[Any, Any]:
        gap = self.target.coordinate(self.problem, tau, y, *others)
        found = self._blended(jnp.asarray(self.table), tau, y, gap)
        distance, share = found[..., :2], found[..., 2:]
        quotes = jnp.where(share >= 0.5, distance / jnp.where(share > 0, share, 1.0), jnp.nan)
        return quotes[..., 0], quotes[..., 1]


def _split(position: Any, count: int) -> tuple[Any, Any]:
    """The interval that holds a position on an even grid, and the share of it already passed, clipped to the ends."""
    lower = jnp.clip(jnp.floor(position), 0, count - 2)
    return lower.astype(jnp.int32), jnp.clip(position - lower, 0.0, 1.0)


def _multilinear(rows: Any, start: Any, intervals: list[Any], counts: list[int]) -> Any:
    """Entries of a table, flattened to `rows`, between the ends of an interval on each axis; `None` takes the lower."""
    (lower, share), *rest = intervals
    start = start * counts[0] + lower
    if not rest:
        return rows[start] if share is None else _blend(rows[start], rows[start + 1], share)
    before = _multilinear(rows, start, rest, counts[1:])
    return before if share is None else _blend(before, _multilinear(rows, start + 1, rest, counts[1:]), share)


def _blend(before: Any, after: Any, share: Any) -> Any:
    """Linear interpolation that takes an end exactly, so that an unquoted (nan) neighbour does not spread."""
    share = share[..., None]
    return jnp.where(share == 0, before, jnp.where(share == 1, after, before + share * (after - before)))
