"""Who has what: a tape that books every trade to both parties at once, so that nothing is made or lost."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from ..matching.fills import Fill
from ._wide import Wide, product, wide

DEALER = 0
"""The dealer's account. It places no orders, so it needs no number in the book."""


class Accounts(eqx.Module):
    """Cash and stock of the dealer (account 0) and of each investor, and the trades of the day in sums.

    cash, stock: money in ticks times units, and units; (books, 1 + investors).
    centre:  the price that the day's sums refer to; this and the rest (books,).
    volume:  units traded;   trades: how many.   dealt: units of them that the dealer traded.
    excess:  sum of size times (price - centre);   square: sum of size times its square.

    cash, excess and square are `Wide`, and NumPy's 64 bits once a run has ended.
    """

    cash: Any
    stock: jax.Array
    centre: jax.Array
    volume: jax.Array
    trades: jax.Array
    dealt: jax.Array
    excess: Any
    square: Any

    @property
    def room(self) -> jax.Array:
        """There is always room: only sums are kept."""
        return jnp.ones_like(self.volume)

    def record(self, fill: Fill) -> Accounts:
        """Book one trade per book, or none (size 0), as the matching core does after every micro-step."""
        return self.record_all(Fill(*(field[:, None] for field in fill)))

    def record_all(self, fills: Fill) -> Accounts:
        """Book several trades per book, (books, trades)."""
        size = fills.size
        made = size > 0
        price = jnp.where(made, fills.price, self.centre[:, None])
        buys = fills.side > 0  # the taker
        buyer = jnp.where(made, jnp.where(buys, fills.taker_owner, fills.maker_owner), 0)
        seller = jnp.where(made, jnp.where(buys, fills.maker_owner, fills.taker_owner), 0)
        books = self.stock.shape[0]
        at = jnp.broadcast_to(lax.iota(jnp.int32, books)[:, None], size.shape)
        at, who = jnp.concatenate([at, at], axis=1), jnp.concatenate([buyer, seller], axis=1)
        units, money = jnp.concatenate([size, -size], axis=1), product(size, price)
        paid = (jnp.concatenate([-word, word], axis=1) for word in (money.high, money.low))
        cash = (word.at[at, who].add(part) for word, part in zip((self.cash.high, self.cash.low), paid, strict=True))
        away = price - self.centre[:, None]
        dealt = jnp.where((buyer == DEALER) | (seller == DEALER), size, 0)
        return Accounts(
            cash=Wide(*cash),
            stock=self.stock.at[at, who].add(units),
            centre=self.centre,
            volume=self.volume + size.sum(axis=1, dtype=jnp.int32),
            trades=self.trades + made.sum(axis=1, dtype=jnp.int32),
            dealt=self.dealt + dealt.sum(axis=1, dtype=jnp.int32),
            excess=self.excess + product(size, away).sum(),
            square=self.square + product(size, away * away).sum(),
        )

    def carried(self) -> Accounts:
        """The same with the cash in order; in a day, nobody trades often enough between two calls to need it sooner."""
        return eqx.tree_at(lambda accounts: accounts.cash, self, self.cash.carried())

    def new_day(self, centre: jax.Array) -> Accounts:
        """The same holdings, nothing traded yet."""
        none = jnp.zeros_like(self.volume)
        return Accounts(self.cash, self.stock, centre, none, none, none, wide(none), wide(none))

    @property
    def average_price(self) -> jax.Array:
        """Of all units traded today, rounded down to a tick; `centre` where nothing was."""
        return self.centre + jnp.where(self.volume > 0, self.excess // jnp.maximum(self.volume, 1), 0)


def open_accounts(books: int, investors: int, endowment: int | jax.Array) -> Accounts:
    """Everybody starts with `endowment` units and no cash; the dealer with nothing. Debt is negative cash."""
    none, nothing = jnp.zeros(books, jnp.int32), jnp.zeros((books, 1 + investors), jnp.int32)
    stock = nothing.at[:, 1:].set(endowment)
    return Accounts(wide(nothing), stock, none, none, none, none, wide(none), wide(none))
