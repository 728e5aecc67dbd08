"""One options book along many paths: the variance in short steps, fills by thinning, the delta hedged at every step.

Requests come at a constant rate that no quote can exceed; each is of one channel, and is a fill with the share that the
channel's intensity has of its bound (Lewis and Shedler 1979). Between requests the book's vega does not move, so that
no step biases the fills; the variance moves by Milstein's scheme with full truncation, in steps that end at requests
and last no longer than the horizon over `steps`. Two ways to keep the books:

first order:  d(profit) = Vega (a_P - a_Q)/(2 sqrt nu) dt + (xi/2) Vega dB, the equation's own assumption;
revalued:     every option at Heston's price of the moment and of the moment's stock, the deltas held from step to step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..models.options_book import OptionsBook, of_channel
from ._option_surface import OptionSurface
from ._randomness import Key, normal, uniform, words

BATCH = 8192
OUTSIDE, ABOVE = 1, 2  # faults: beyond the range of the prices' surface; hit more often than the bound allows
_SLACK = 1 + 1e-9


class Case(eqx.Module):
    """All that a batch needs; a pytree, whose numbers may change without recompiling."""

    book: OptionsBook
    policy: Any
    trade: Any  # vega of a trade, (options,)
    vegas: Any
    bounds: Any  # of the intensities, bids first, (2 options,)
    longest: Any  # step, years
    key: Key
    surface: OptionSurface | None


class Books(NamedTuple):
    """What only full revaluation keeps, each (paths, options) but the spot's logarithm."""

    log_spot: Any
    held: Any
    price: Any
    delta: Any


class Paths(NamedTuple):
    """State of every path, (paths,)."""

    t: Any
    variance: Any
    vega: Any
    profit: Any
    charge: Any
    bids: Any
    asks: Any
    fault: Any
    books: Books | None


@eqx.filter_jit
def run(case: Case, vega: Any, variance: Any, first: Any, count: int) -> Paths:
    """`count` paths from the number `first` on, to the horizon."""
    path = first.astype(jnp.uint32) + jnp.arange(count, dtype=jnp.uint32)
    zero, none = jnp.zeros(count), jnp.zeros(count, jnp.int32)
    start = Paths(zero, zero + variance, zero + vega, zero, zero, none, none, none, _open_books(case, variance, count))

    def under_way(state: tuple[Paths, Any]) -> Any:
        return jnp.any(state[0].t < case.book.horizon)

    def step(state: tuple[Paths, Any]) -> tuple[Paths, Any]:
        now, number = state
        counters = 3 * number + jnp.arange(3, dtype=jnp.uint32)
        one, other = words(case.key, path[None], counters[:, None])
        gap = -jnp.log(uniform(one[0])) / jnp.sum(case.bounds)
        left = case.book.horizon - now.t
        length = jnp.minimum(jnp.minimum(gap, case.longest), left)
        asked = (gap <= case.longest) & (gap < left) & (left > 0)
        moved = _moved(case, now, length, normal(one[1]), normal(other[1]))
        return _traded(case, moved, asked, uniform(other[0]), uniform(one[2])), number + np.uint32(1)

    return lax.while_loop(under_way, step, (start, jnp.zeros((), jnp.uint32)))[0]


def _open_books(case: Case, variance: Any, count: int) -> Books | None:
    if case.surface is None:
        return None
    log_spot = jnp.zeros(count) + jnp.log(case.book.spot)
    price, delta = case.surface.prices(jnp.zeros(count), log_spot, jnp.zeros(count) + variance)
    return Books(log_spot, jnp.zeros_like(price), price, delta)


def _moved(case: Case, now: Paths, length: Any, shock: Any, other: Any) -> Paths:
    """Every path `length` later, nothing traded meanwhile; nothing changes where the length is zero."""
    book, law = case.book, case.book.physical
    level, xi = jnp.maximum(now.variance, 0.0), law.volatility_of_variance
    noise = jnp.sqrt(length) * shock
    variance = now.variance + law.drift(level) * length + xi * jnp.sqrt(level) * noise
    variance = variance + 0.25 * xi**2 * (noise**2 - length)
    charge = now.charge + book.running_cost(now.vega) * length
    ended = now._replace(t=now.t + length, variance=variance, charge=charge)
    ended = ended._replace(t=jnp.where(length < book.horizon - now.t, ended.t, book.horizon))
    if now.books is None or case.surface is None:
        floor = 1e-6 * book.variance
        earned = 0.5 * (book.income(jnp.maximum(level, floor)) + book.income(jnp.maximum(variance, floor)))
        return ended._replace(profit=now.profit + now.vega * (earned * length + 0.5 * xi * noise))
    books, rho = now.books, law.correlation
    both = rho * noise + jnp.sqrt(1 - rho**2) * jnp.sqrt(length) * other
    log_spot = books.log_spot - 0.5 * level * length + jnp.sqrt(level) * both
    price, delta = case.surface.prices(ended.t, log_spot, variance)
    hedge = jnp.sum(books.held * books.delta, axis=-1)
    gained = jnp.sum(books.held * (price - books.price), axis=-1)
    gained = gained - hedge * (jnp.exp(log_spot) - jnp.exp(books.log_spot))
    outside = case.surface.outside(log_spot, variance)
    return ended._replace(
        profit=now.profit + gained,
        fault=jnp.where(outside, OUTSIDE, now.fault).astype(jnp.int32),
        books=Books(log_spot, books.held, price, delta),
    )


def _traded(case: Case, now: Paths, asked: Any, which: Any, accept: Any) -> Paths:
    """A fill where one was asked for and the quote wins it."""
    count = case.trade.shape[0]
    ladder = jnp.cumsum(case.bounds)
    channel = jnp.sum((which * ladder[-1])[:, None] > ladder[None, :-1], axis=-1).astype(jnp.int32)
    option, side = channel % count, jnp.where(channel < count, 1.0, -1.0)
    distance = channel_distance(case, now, side, option)
    quoting = jnp.isfinite(distance)
    safe = jnp.where(quoting, distance, 0.0)
    most = of_channel(case.book, side, option)._intensity(safe)
    trade, bound = case.trade[option], case.bounds[channel]
    allowed = side * now.vega + trade <= case.book.vega_limit + 1e-9 * trade
    rate = jnp.where(quoting & allowed, most, 0.0)
    filled = asked & (accept * bound < rate)
    faulty = asked & ~(rate <= bound * _SLACK)
    books = now.books
    if books is not None:
        moved = jnp.where(filled, side * case.book.sizes[option], 0.0)
        here = option[:, None] == jnp.arange(count, dtype=jnp.int32)[None]
        books = books._replace(held=books.held + jnp.where(here, moved[:, None], 0.0))
    return now._replace(
        vega=now.vega + jnp.where(filled, side * trade, 0.0),
        profit=now.profit + jnp.where(filled, trade * safe, 0.0),
        bids=now.bids + (filled & (side > 0)).astype(jnp.int32),
        asks=now.asks + (filled & (side < 0)).astype(jnp.int32),
        fault=jnp.where(faulty, ABOVE, now.fault).astype(jnp.int32),
        books=books,
    )


def channel_distance(case: Case, now: Paths, side: Any, option: Any) -> Any:
    """The distance, in implied volatility, that the policy quotes in one channel of every path."""
    if hasattr(case.policy, "volatility"):  # one channel is all that is asked for
        return case.policy.volatility(now.t, now.vega, now.variance, side, option)
    quotes = case.policy(now.t, {"vega": now.vega, "variance": now.variance})
    row = jnp.arange(option.shape[0], dtype=jnp.int32)
    every = jnp.where((side > 0)[:, None], quotes[0], quotes[1])
    return jnp.broadcast_to(every, (option.shape[0], case.trade.shape[0]))[row, option] / case.vegas[option]
