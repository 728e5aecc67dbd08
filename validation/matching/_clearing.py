"""The price of an auction, who trades at it, and with whom."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .fills import Fill
from .rules import BookRules

where = jnp.where


def clearing_tick(
    demand: jax.Array, supply: jax.Array, origin: jax.Array, reference: jax.Array | int, rules: BookRules
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The tick that `auction.call` describes, its volume and imbalance, from what is bid and asked per tick."""
    bid = jnp.cumsum(demand[:, ::-1], axis=1)[:, ::-1]  # at it or above
    asked = jnp.cumsum(supply, axis=1)
    ticks = jnp.arange(demand.shape[1], dtype=jnp.int32)[None, :]
    prices = ticks + origin[:, None]
    candidate = jnp.ones(demand.shape, bool)
    if rules.lowest is not None:
        candidate &= prices >= _column(rules.lowest)
    if rules.highest is not None:
        candidate &= prices <= _column(rules.highest)
    if rules.tick is not None:
        candidate &= prices % _column(rules.tick) == 0

    volume = where(candidate, jnp.minimum(bid, asked), -1)
    candidate &= volume == volume.max(axis=1, keepdims=True)
    for worse in (jnp.abs(bid - asked), jnp.abs(prices - _column(reference))):
        worse = where(candidate, worse, 2**31 - 1)
        candidate &= worse == worse.min(axis=1, keepdims=True)
    tick = where(candidate, ticks, -1).max(axis=1)

    def there(field: jax.Array) -> jax.Array:
        return jnp.take_along_axis(field, jnp.maximum(tick, 0)[:, None], axis=1)[:, 0]

    return tick, jnp.maximum(there(volume), 0), there(bid - asked)


def _column(value: jax.Array | int) -> jax.Array:
    """One number per book, or the same for all, beside the ticks."""
    return jnp.asarray(value, jnp.int32).reshape(-1, 1)


class Allotted(NamedTuple):
    """What the orders of one side get: by number, and in the order of their priority, (books, 1 + orders)."""

    by_number: jax.Array
    number: jax.Array
    size: jax.Array


def allot(size: jax.Array, here: jax.Array, rank: jax.Array, turn: jax.Array, volume: jax.Array) -> Allotted:
    """Share `volume` out among the orders that are `here`, the lowest rank first, and then the lowest turn."""
    numbers = jnp.broadcast_to(jnp.arange(size.shape[1], dtype=jnp.int32), size.shape)
    asked = where(here, size, 0)
    rank = where(asked > 0, rank, 2**31 - 1)
    _, _, number, asked = jax.lax.sort((rank, turn, numbers, asked), dimension=1, num_keys=2)
    ahead = jnp.cumsum(asked, axis=1) - asked
    gets = jnp.clip(volume[:, None] - ahead, 0, asked)
    book = jnp.arange(size.shape[0], dtype=jnp.int32)[:, None]
    return Allotted(jnp.zeros_like(size).at[book, number].set(gets), number, gets)


def pair(buys: Allotted, sells: Allotted, price: jax.Array, owner: jax.Array) -> Fill:
    """Match the units bought and sold in order: a trade ends where the buyer's or the seller's allotment does."""
    bought, sold = jnp.cumsum(buys.size, axis=1), jnp.cumsum(sells.size, axis=1)
    ends = jnp.sort(jnp.concatenate([bought, sold], axis=1), axis=1)
    starts = jnp.concatenate([jnp.zeros_like(ends[:, :1]), ends[:, :-1]], axis=1)
    size = ends - starts
    # The unit after `starts` belongs to the first order whose allotment ends beyond it.
    search = jax.vmap(lambda edges, units: jnp.searchsorted(edges, units, side="right").astype(jnp.int32))
    last = bought.shape[1] - 1

    def who(side: Allotted, edges: jax.Array) -> jax.Array:
        found = jnp.take_along_axis(side.number, jnp.minimum(search(edges, starts), last), axis=1)
        return where(size > 0, found, 0)

    taker, maker = who(buys, bought), who(sells, sold)
    # Trades first, so that a table of them reads from the top.
    order = jnp.argsort(size == 0, axis=1, stable=True)
    taker, maker, size = (jnp.take_along_axis(field, order, axis=1) for field in (taker, maker, size))
    made = size > 0
    owners = (jnp.take_along_axis(owner, number, axis=1) for number in (maker, taker))
    maker_owner, taker_owner = (where(made, who, 0) for who in owners)
    return Fill(maker, taker, where(made, price[:, None], 0), size, made.astype(jnp.int32), maker_owner, taker_owner)
