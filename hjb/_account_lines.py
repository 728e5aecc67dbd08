"""Linear equations along the lines of a grid in stock and cash: the factors of the approximate inverse.

    (1 - g J_fills)(1 - g J_stock)(1 - g J_cash)

Each factor couples nodes along one family of lines only, and each is eliminated for all lines at once: the loop runs
along the lines, and what it carries is a whole slice of the grid. Arrays are (2, stocks, cash), value and mean.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ._equation import tridiagonal_solve


class FillsFactors(NamedTuple):
    """From lot to lot of stock: matrices (lots, 2, 2, per lot, cash) and shares (lots, 3, per lot, cash)."""

    own: Array
    ask: Array  # own times the ask's matrix: what an entry takes from the lot below
    bid: Array  # and from the lot above, once that one is known
    ask_shares: Array
    bid_shares: Array


class Factors(NamedTuple):
    """The eliminated matrices of one implicit step."""

    fills: FillsFactors
    stock: tuple[Array, Array, Array]  # down, ratio, own: each (stocks,)
    courant: Array  # g velocity / spacing of cash, (stocks, cash)


def landing_shares(nodes: Array) -> Array:
    """How a landing `nodes` away from a node is shared out among the nodes -1, 0, 1 around it, (3, stocks, cash)."""
    nodes = jnp.clip(nodes, -1.0, 1.0)
    return jnp.stack([jnp.maximum(-nodes, 0.0), 1 - jnp.abs(nodes), jnp.maximum(nodes, 0.0)])


def fills_factors(bid: Array, ask: Array, shares: tuple[Array, Array], per_lot: int, jump: int) -> FillsFactors:
    """Eliminate `(1 + B + A) u - B u(S + v, C - v + v x) - A u(S - v, C + v + v x)` from lot to lot of stock.

    `bid` and `ask`, (2, 2, stocks, cash), say how value and mean feel what a fill changes in either; `shares` are the
    `landing_shares` of both. `per_lot` stock nodes and `jump` cash nodes make a lot. Up a lot and down again ends
    `v (x_bid + x_ask)` off in cash; the elimination takes that for the node itself.
    """
    bid, ask, bid_shares, ask_shares = (_by_lot(field, per_lot) for field in (bid, ask, *shares))
    one = jnp.broadcast_to(jnp.eye(2, dtype=bid.dtype)[:, :, None, None], bid.shape[1:])

    def eliminate(below: Array, row: Any) -> Any:
        bid, ask = row
        own = _inverse(one + bid + ask - _times(ask, _above(below, jump)))
        ahead = _times(own, bid)
        return ahead, (own, _times(own, ask), ahead)

    own, ask, bid = lax.scan(eliminate, jnp.zeros_like(bid[0]), (bid, ask))[1]
    return FillsFactors(own, ask, bid, ask_shares, bid_shares)


def along_fills(factors: FillsFactors, rhs: Array, jump: int) -> Array:
    """Solve what `fills_factors` eliminated."""
    own, ask, bid, ask_shares, bid_shares = factors
    rows = _by_lot(rhs, own.shape[-2])

    def forward(below: Array, row: Any) -> Any:
        ask, shares, x = row
        x = x + _times(ask, _landed(shares, below, jump))
        return x, x

    def back(above: Array, row: Any) -> Any:
        bid, shares, x = row
        x = x + _times(bid, _landed(shares, above, -jump))
        return x, x

    blank = jnp.zeros_like(rows[0])
    rows = lax.scan(forward, blank, (ask, ask_shares, jax.vmap(_times)(own, rows)))[1]
    rows = lax.scan(back, blank, (bid, bid_shares, rows), reverse=True)[1]
    return jnp.moveaxis(rows, 0, -3).reshape(*rhs.shape[:-2], -1, rhs.shape[-1])[..., : rhs.shape[-2], :]


def _landed(shares: Array, field: Array, jump: int) -> Array:
    """`field` where fills land, `jump` nodes of cash away; beyond the cash grid the last node stands for all."""
    n, reach, leading = field.shape[-1], abs(jump) + 1, field.ndim - 2
    wide = jnp.pad(field, [*[(0, 0)] * (field.ndim - 1), (reach, reach)], mode="edge")
    before, here, after = (wide[..., reach + jump + k : reach + jump + k + n] for k in (-1, 0, 1))
    left, middle, right = (share[(None,) * leading] for share in shares)
    return left * before + middle * here + right * after


def _above(field: Array, jump: int) -> Array:
    """The entry a lot of cash above."""
    return jnp.concatenate([field[..., jump:], jnp.repeat(field[..., -1:], jump, axis=-1)], axis=-1)


def _times(a: Array, b: Array) -> Array:
    """The product of a 2 x 2 matrix with another, or with a vector, at every node."""
    if b.ndim == a.ndim:
        return jax.vmap(_times, in_axes=(None, 1), out_axes=1)(a, b)
    return a[:, 0] * b[:1] + a[:, 1] * b[1:]


def _inverse(a: Array) -> Array:
    """Of a 2 x 2 matrix at every node."""
    adjugate = jnp.stack([jnp.stack([a[1, 1], -a[0, 1]]), jnp.stack([-a[1, 0], a[0, 0]])])
    return adjugate / (a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0])[None, None]


def _by_lot(field: Array, per_lot: int) -> Array:
    """(..., stocks, cash) as (lots, ..., per lot, cash), filled up with zeros."""
    *rows, stocks, cash = field.shape
    padded = jnp.pad(field, [*[(0, 0)] * len(rows), (0, -stocks % per_lot), (0, 0)])
    return jnp.moveaxis(padded.reshape(*rows, -1, per_lot, cash), -3, 0)


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
