"""Linear equations along the lines of a grid in stock and cash: the factors of the approximate inverse.

    (1 - g J_fills)(1 - g J_stock)(1 - g J_cash)

Each factor couples nodes along one family of lines only, and each is eliminated for all lines at once: the loop runs
along the lines, and what it carries is a whole slice of the grid. Arrays are (2, stocks, cash), value and mean.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ._equation import tridiagonal_solve


class Factors(NamedTuple):
    """The eliminated matrices of one implicit step."""

    fills: tuple[Array, Array, Array]  # ask, ratio, own: each (lots, per lot, cash)
    mixing: tuple[Array, Array, Array, Array]  # rows of the 2 x 2 inverse that mixes value and mean at a node
    stock: tuple[Array, Array, Array]  # down, ratio, own: each (stocks,)
    courant: Array  # g velocity / spacing of cash, (stocks, cash)


def fills_factors(bid: Array, ask: Array, per_lot: int, jump: int) -> tuple[Array, Array, Array]:
    """Eliminate `(1 + b + a) x - b x(S + v, C - v) - a x(S - v, C + v)` from lot to lot of stock.

    `per_lot` stock nodes and `jump` cash nodes make a lot. What the elimination carries to the next lot of stock moves
    a lot of cash the other way; beyond the cash grid the last node stands for what lies there.
    """
    bid, ask = _by_lot(bid, per_lot), _by_lot(ask, per_lot)

    def eliminate(ratio: Array, row: Any) -> Any:
        b, a = row
        own = 1 / (1 + b + a - a * _above(ratio, jump))
        return b * own, (b * own, own)

    _, (ratio, own) = lax.scan(eliminate, jnp.zeros_like(bid[0]), (bid, ask))
    return ask, ratio, own


def along_fills(factors: tuple[Array, Array, Array], rhs: Array, jump: int) -> Array:
    """Solve what `fills_factors` eliminated."""
    ask, ratio, own = factors
    rows = _by_lot(rhs, ask.shape[1])

    def forward(below: Array, row: Any) -> Any:
        a, own, d = row
        x = (d + a[None] * _above(below, jump)) * own[None]
        return x, x

    def back(above: Array, row: Any) -> Any:
        ratio, x = row
        x = x + ratio[None] * _below(above, jump)
        return x, x

    blank = jnp.zeros_like(rows[0])
    rows = lax.scan(forward, blank, (ask, own, rows))[1]
    rows = lax.scan(back, blank, (ratio, rows), reverse=True)[1]
    return jnp.moveaxis(rows, 0, -3).reshape(*rhs.shape[:-2], -1, rhs.shape[-1])[..., : rhs.shape[-2], :]


def _by_lot(field: Array, per_lot: int) -> Array:
    """(..., stocks, cash) as (lots, ..., per lot, cash), filled up with zeros."""
    *rows, stocks, cash = field.shape
    padded = jnp.pad(field, [*[(0, 0)] * len(rows), (0, -stocks % per_lot), (0, 0)])
    return jnp.moveaxis(padded.reshape(*rows, -1, per_lot, cash), -3, 0)


def _above(field: Array, jump: int) -> Array:
    """The entry a lot of cash above."""
    return jnp.concatenate([field[..., jump:], jnp.repeat(field[..., -1:], jump, axis=-1)], axis=-1)


def _below(field: Array, jump: int) -> Array:
    return jnp.concatenate([jnp.repeat(field[..., :1], jump, axis=-1), field[..., :-jump]], axis=-1)


def stock_factors(down: Array, up: Array) -> tuple[Array, Array, Array]:
    """Eliminate `(1 + down + up) x - down x(below) - up x(above)`, the same at every cash."""

    def eliminate(ratio: Array, row: Any) -> Any:
        down, up = row
        own = 1 / (1 + down + up - down * ratio)
        return up * own, (up * own, own)

    _, (ratio, own) = lax.scan(eliminate, jnp.zeros_like(up[0]), (down, up))
    return down, ratio, own


def along_stock(factors: tuple[Array, Array, Array], rhs: Array) -> Array:
    """Solve what `stock_factors` eliminated, along the last axis but one."""
    down, ratio, own = factors
    rows = jnp.moveaxis(rhs, -2, 0)

    def forward(below: Array, row: Any) -> Any:
        down, own, d = row
        x = (d + down * below) * own
        return x, x

    def back(above: Array, row: Any) -> Any:
        ratio, x = row
        x = x + ratio * above
        return x, x

    blank = jnp.zeros_like(rows[0])
    rows = lax.scan(forward, blank, (down, own, rows))[1]
    rows = lax.scan(back, blank, (ratio, rows), reverse=True)[1]
    return jnp.moveaxis(rows, 0, -2)


def along_cash(courant: Array, rhs: Array) -> Array:
    """Undo the transport of cash, taken upwind; `courant` is signed and belongs to the nodes."""
    up = jnp.maximum(courant, 0.0).at[:, -1].set(0.0)
    down = jnp.maximum(-courant, 0.0).at[:, 0].set(0.0)
    return tridiagonal_solve(-down, 1 + down + up, -up, rhs)
