"""Policies: `policy(t, state) -> Quotes`, callable pytrees that a simulation cannot tell apart."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from ..models._precision import in_float64
from ..models.channels import Quotes


class Policy(eqx.Module):
    """Quotes as a function of time and state, masked where a fill would cross the problem's limit."""

    problem: Any  # a Dealer

    def __call__(self, t: Any, state: Any) -> Quotes:
        """Distances at time `t` (forward, 0 to the horizon) in a named state or at a bare inventory."""
        return self._quotes(t, state)

    @in_float64
    def _quotes(self, t: Any, state: Any) -> Quotes:
        y = self.problem.coordinate(state)
        t, y = jnp.broadcast_arrays(t, y)
        bid, ask = self.distances(jnp.clip(self.problem.horizon - t, 0.0, self.problem.horizon), y)
        return Quotes(
            bid=jnp.where(self.problem.may_fill(+1, y), bid, jnp.nan),
            ask=jnp.where(self.problem.may_fill(-1, y), ask, jnp.nan),
        )

    def distances(self, tau: Any, y: Any) -> tuple[Any, Any]:
        """Bid and ask distances with `tau` to go at inventory `y`, whatever the limit."""
        raise NotImplementedError


class TabulatedPolicy(Policy):
    """Quotes read off a table: linear in time and, where the inventory moves by itself, linear in it.

    `table` has shape (times, nodes, 2), bid then ask; times to go are `horizon * (j/(times-1))^power` and nodes are
    evenly spaced around zero. Beyond the table the end value is quoted.
    """

    table: Any
    spacing: Any  # of the nodes, in the unit of the inventory
    power: int = eqx.field(static=True)

    def distances(self, tau: Any, y: Any) -> tuple[Any, Any]:
        times, nodes, _ = self.table.shape
        share = tau / self.problem.horizon
        clock = (times - 1) * (jnp.sqrt(share) if self.power == 2 else share)
        j, u = _split(clock, times)
        position = y / self.spacing + (nodes - 1) // 2
        if self.problem.moves:
            i, v = _split(position, nodes)
        else:
            i, v = jnp.clip(jnp.round(position), 0, nodes - 1).astype(jnp.int32), None
        rows = jnp.asarray(self.table).reshape(-1, 2)
        start = j * nodes + i
        quotes = _blend(rows[start], rows[start + nodes], u)
        if v is not None:
            quotes = _blend(quotes, _blend(rows[start + 1], rows[start + nodes + 1], u), v)
        return quotes[..., 0], quotes[..., 1]


def _split(position: Any, count: int) -> tuple[Any, Any]:
    """The interval that holds a position on an even grid, and the share of it already passed, clipped to the ends."""
    lower = jnp.clip(jnp.floor(position), 0, count - 2)
    return lower.astype(jnp.int32), jnp.clip(position - lower, 0.0, 1.0)


def _blend(before: Any, after: Any, share: Any) -> Any:
    """Linear interpolation that takes an end exactly, so that an unquoted (nan) neighbour does not spread."""
    share = share[..., None]
    return jnp.where(share == 0, before, jnp.where(share == 1, after, before + share * (after - before)))
