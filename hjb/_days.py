"""A horizon of several trading days: closes in between, at which what exceeds the overnight limit is traded at once.

A close is foreseen, so value and mean just before it are those just after it in the accounts that it leaves,

    u(t-, S, C) = u(t+, S', C') - E cost |S - S'|,
    S' = min(max(S, -limit), limit),    C' = C + S - S' - cost |S - S'|,

and each day is marched by itself, with a new start-up for the kink that the close puts at the limit. A table has the
same number of rows for every day, each with its own first and last one: nothing is interpolated across a close.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from ._interpolation import cubic
from ._march import Path, Stop, march
from ._tables import clock


class Days(NamedTuple):
    """What the days leave, the last one first: arrays with a leading axis of days."""

    tau: Any  # (days, times)
    u: Any  # (days, times, 2, nodes, ...)
    residual: Any  # (days,)
    iterations: Any


def march_days(equation: Any, steps: int, every: int, stop: Stop, traced: bool) -> Days:
    """`march` day by day from the horizon to now, each day in so many `steps`."""
    days = equation.problem.days
    length = equation.problem.horizon / days

    def day(u: Any, number: Any) -> tuple[Any, Days]:
        begin = number * length
        start = lax.cond(number > 0, lambda u: before_close(equation, begin, u), lambda u: u, u)
        path: Path = march(equation, steps, every, stop, traced, (start, begin, length))
        tau = begin + length * clock(steps // every)
        return path.u[-1], Days(tau, path.u, path.residual, path.iterations)

    return lax.scan(day, equation.start(), jnp.arange(days, dtype=float))[1]


def before_close(equation: Any, tau: Any, u: Any) -> Any:
    """`u` just before a close with `tau` to go, from `u` just after it."""
    problem, stock = equation.problem, equation.axes[0]
    kept, money = problem.close(tau, stock)
    brought = money / problem.accrual(tau)
    loss = problem.accrual(tau) * (stock - kept - brought)
    if len(equation.axes) == 1:
        return jax.vmap(lambda values: cubic(values, (kept, stock)))(u) - loss[None]
    cash = equation.axes[1]
    after = brought[:, None] + cash[None]
    inside = jnp.clip(after, cash[0], cash[-1])
    below, above = equation.at(tau).cash_slopes
    further = jnp.minimum(after - cash[0], 0.0) * below + jnp.maximum(after - cash[-1], 0.0) * above
    held, inside = jnp.broadcast_arrays(kept[:, None], inside)
    return jax.vmap(lambda values: cubic(values, (held, stock), (inside, cash)))(u) + (further - loss[:, None])[None]


def flat(tables: Any) -> Any:
    """Tables of one axis of times from tables with an axis of days before it."""

    def joined(array: Any) -> Any:
        return array.reshape(-1, *array.shape[2:])

    whole = {name: joined(getattr(tables, name)) for name in ("tau", "value", "mean", "bid", "ask")}
    errors = {name: joined(getattr(tables, name)) for name in ("error", "quote_error")}
    return tables._replace(
        **whole,
        **errors,
        axes=tuple(axis[0] for axis in tables.axes),
        residual=jnp.max(tables.residual),
        iterations=jnp.sum(tables.iterations),
    )
