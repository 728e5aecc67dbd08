"""What a policy quotes in a state and how often it is hit there: shared by all rules of simulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..models.channels import Quotes
from ..models.problem import Problem


class Side(NamedTuple):
    """One quote, elementwise over paths: `rate` is 0 where it is not `on`, and `distance` what the policy says."""

    distance: Any
    rate: Any  # fills per unit of time
    on: Any


def ask(problem: Problem, policy: Callable[..., Any], tau: Any, y: Any, money: Any) -> Quotes:
    """The policy's answer with `tau` to go; `tau`, `y`, `money` and the distances of one shape."""
    answer = policy(problem.horizon - tau, problem.state(tau, y, money))
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise ValueError(f"policy must return Quotes(bid, ask), two distances, got {type(answer).__name__}")
    return Quotes(*(jnp.broadcast_to(jnp.asarray(distance, y.dtype), y.shape) for distance in answer))


def quoted(
    problem: Problem, policy: Callable[..., Any], tau: Any, y: Any, money: Any, unsettled: Any = 0.0
) -> tuple[Side, Side]:
    """Bid and ask with `tau` to go; `tau`, `y`, `money` of one shape.

    A side is off where the policy gives nan or an infinite distance, or where a fill would cross a limit: a purchase
    may not be paid with the part of `money` that is `unsettled`.
    """
    return hit_rates(problem, tau, y, ask(problem, policy, tau, y, money), money, unsettled)


def hit_rates(
    problem: Problem, tau: Any, y: Any, quotes: Quotes, money: Any = None, unsettled: Any = 0.0
) -> tuple[Side, Side]:
    """The two sides from the distances quoted; without `money`, no limit of the cash account is looked at."""
    sides = []
    for channel, distance in zip(problem.channels(tau), quotes, strict=True):
        on = distance < jnp.inf  # false for nan
        if not (isinstance(problem.limit, float) and math.isinf(problem.limit)):
            spendable = money - unsettled if money is not None and channel.side > 0 else money
            on = on & problem.may_fill(channel.side, y, *_others(problem, tau, y, spendable))
        rate = jnp.where(on, channel.demand._intensity(distance), jnp.zeros_like(y))
        sides.append(Side(distance, rate, on))
    return sides[0], sides[1]


def forced(problem: Problem, tau: Any, y: Any, money: Any) -> tuple[Side, Side]:
    """Forced purchases and sales with `tau` to go: sides that nobody quotes."""
    accounts = y, *_others(problem, tau, y, money)
    distance = jnp.broadcast_to(jnp.asarray(problem.forced_distance, y.dtype), y.shape)
    rates = (jnp.broadcast_to(problem.forced_rate(side, *accounts), y.shape) for side in (+1, -1))
    buying, selling = (Side(distance, rate, rate > 0) for rate in rates)
    return buying, selling


def _others(problem: Problem, tau: Any, y: Any, money: Any) -> list[Any]:
    """The accounts beside the inventory; none where the money is not told."""
    state = {} if money is None else problem.state(tau, y, money)
    return [state[name] for name in problem.names[1:] if name in state]


def earned(problem: Problem, tau: Any, side: int, quote: Side, hit: Any) -> tuple[Any, Any]:
    """Money booked and criterion charged by a fill, each zero where there is no `hit`."""
    channel = problem.channels(tau)[0 if side > 0 else 1]
    payment = problem.payment(tau, side, quote.distance)
    cost = problem.objective.fill_cost(channel.income(quote.distance))
    none = jnp.zeros_like(quote.distance)
    return jnp.where(hit, payment, none), jnp.where(hit, cost, none)


def with_numbers_as(dtype: Any, tree: Any) -> Any:
    """`tree` with every real number in it an array of `dtype`, so that no value of a parameter is compiled in."""

    def convert(leaf: Any) -> Any:
        if isinstance(leaf, (float, np.floating)):
            return np.asarray(leaf, dtype)
        if isinstance(leaf, (np.ndarray, jax.Array)) and jnp.issubdtype(leaf.dtype, jnp.floating):
            return np.asarray(leaf, dtype)
        return leaf

    return jax.tree.map(convert, tree)
