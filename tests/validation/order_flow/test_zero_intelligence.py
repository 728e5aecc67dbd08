"""Zero intelligence: the law of Cont, Stoikov and Talreja (2010) comes out of both matching cores."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy.sparse import lil_array
from scipy.sparse.linalg import spsolve
from scipy.stats import chi2

from twosided.validation import matching as mt
from twosided.validation.order_flow import ZeroIntelligence, ZeroIntelligenceFlow
from twosided.validation.order_flow.zero_intelligence import _later
from twosided.validation.statistics import agree, plausible

PAPER = ZeroIntelligence.cont_stoikov_talreja()
LOPSIDED = ZeroIntelligence((1.2, 2.4, 0.6), (0.9, 0.25, 0.4, 0.55), 0.7)
CELLS = [(bid, ask) for bid in range(1, 6) for ask in range(1, 6)]
BID, ASK, TICKS = 15, 16, 32

both_kinds = pytest.mark.parametrize("kind", ["exact", pytest.param("levels", marks=pytest.mark.slow)])


def chance_of_a_rise(rates: ZeroIntelligence, most: int = 60) -> np.ndarray:
    """P(the ask queue empties before the bid queue), (most + 1, most + 1), from first-step equations.

    At a spread of one tick each queue is a birth-death chain on its own: up at lambda(1), down at mu + n theta(1).
    """
    up, each = rates.limit_rates[0], rates.cancel_rates[0]
    size = most + 1
    equations, known = lil_array((size**2, size**2)), np.zeros(size**2)
    for bid in range(size):
        for ask in range(size):
            row = bid * size + ask
            equations[row, row] = 1.0
            if bid == 0 or ask == 0:
                known[row] = float(ask == 0 and bid > 0)
                continue
            births = [(bid + 1, ask), (bid, ask + 1)]
            moves = [(to, up) for to in births if max(to) <= most]
            moves += [
                ((bid - 1, ask), rates.market_rate + bid * each),
                ((bid, ask - 1), rates.market_rate + ask * each),
            ]
            total = sum(rate for _, rate in moves)
            for (b, a), rate in moves:
                equations[row, b * size + a] = -rate / total
    return np.asarray(spsolve(equations.tocsr(), known)).reshape(size, size)


class FirstMove(eqx.Module):
    """The flow up to the first change of the mid, and which way that went: 1 or -1."""

    flow: ZeroIntelligenceFlow
    went: jax.Array

    @property
    def more(self) -> jax.Array:
        return self.flow.more & (self.went == 0)

    def take(self, book: Any, ready: jax.Array) -> tuple[mt.Message, jax.Array, "FirstMove"]:
        moved = book.bid + book.ask - (BID + ASK)
        went = jnp.where(ready & (self.went == 0), jnp.sign(moved), self.went)
        message, arrives, flow = self.flow.take(book, ready & (went == 0))
        return message, arrives, FirstMove(flow, went)


def opened(kind: str, bids: jax.Array, asks: jax.Array) -> Any:
    """Books with queues of one-unit orders at the two touches."""
    books = bids.shape[0]
    if kind == "levels":
        book = mt.empty_level_books(books, ticks=TICKS)
    else:
        book = mt.empty_books(books, orders=80, ticks=TICKS)
    one = jnp.ones(books, jnp.int32)

    def send(book: Any, n: jax.Array) -> tuple[Any, None]:
        buys = n % 2 == 0
        kind = jnp.where(n // 2 < jnp.where(buys, bids, asks), int(mt.Kind.LIMIT), int(mt.Kind.NOTHING))
        side, tick = jnp.where(buys, 1, -1), jnp.where(buys, BID, ASK)
        return mt.step(book, mt.Message(kind, side * one, one, tick * one, (1 + n) * one, 0 * one), fills=1)[0], None

    return lax.scan(send, book, jnp.arange(10, dtype=jnp.int32))[0]


def share_of_rises(kind: str, rates: ZeroIntelligence, samples: int, seed: int) -> np.ndarray:
    """The share over `samples` books for each of `CELLS`, through the core."""

    def run(bids: jax.Array, asks: jax.Array, first: jax.Array) -> tuple[jax.Array, ...]:
        book = opened(kind, bids, asks)
        flow = rates.flow(book, seed=seed, capacity=80, first=first[0])
        book, source, _ = mt.drive(book, FirstMove(flow, 0 * bids), mt.no_fills(bids.shape[0], 200))
        return source.went, book.overflowed, source.flow.unplaced

    queues = jnp.repeat(jnp.asarray(CELLS, jnp.int32), samples, axis=0)
    books = queues.shape[0]
    run_all = jax.jit(mt.in_blocks(run, books, 125))
    went, *lost = run_all(queues[:, 0], queues[:, 1], jnp.arange(books, dtype=jnp.int32))
    assert not any(np.any(each) for each in lost)
    assert np.all(np.abs(went) == 1)
    return np.mean(np.asarray(went).reshape(len(CELLS), samples) > 0, axis=1)


def test_the_exact_chain_gives_the_known_chances():
    exact = chance_of_a_rise(PAPER)
    known = [[0.50000, 0.33517, 0.25902, 0.21579, 0.18782], [0.66483, 0.50000, 0.40689, 0.34789, 0.30720]]
    np.testing.assert_allclose(exact[1:3, 1:6], known, atol=5e-6)
    np.testing.assert_allclose(exact[1:6, 1:6], chance_of_a_rise(PAPER, 40)[1:6, 1:6], atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "rates", "samples"),
    [
        ("exact", PAPER, 4000),
        pytest.param("exact", PAPER, 16_000, marks=pytest.mark.slow),
        *(pytest.param("levels", rates, 8000, marks=pytest.mark.slow) for rates in (PAPER, LOPSIDED)),
    ],
)
def test_the_mid_rises_as_often_as_the_exact_chain_says(kind, rates, samples):
    exact = chance_of_a_rise(rates)[1:6, 1:6].ravel()
    errors = np.sqrt(exact * (1 - exact) / samples)
    share = share_of_rises(kind, rates, samples, seed=2010)
    z = agree(share, exact, errors, samples=samples)
    assert np.max(np.abs(z)) < 4
    plausible(chi2.sf(np.sum(z**2), len(CELLS)))


SPARSE = ZeroIntelligence((0.3, 2.4, 0.6), (0.02, 0.25, 0.4, 0.1), 0.0)
WALL = {BID: 40, ASK: 30, BID - 1: 3, ASK + 2: 4, BID - 6: 8, ASK + 5: 6}
"""Queues that keep the touches where they are, and orders beyond the last distance at which any arrive."""


def with_wall(kind: str, books: int) -> Any:
    rows = []
    for tick, size in WALL.items():
        side = 1 if tick <= BID else -1
        rows += [(int(mt.Kind.LIMIT), side, 1, tick, 1 + len(rows) + n, 0) for n in range(size)]
    stream = jnp.tile(jnp.asarray(rows, jnp.int32)[None], (books, 1, 1))
    room = {"orders": 150} if kind == "exact" else {}
    empty: Any = (mt.empty_books if kind == "exact" else mt.empty_level_books)(books, ticks=TICKS, **room)
    return mt.replay(empty, stream, mt.no_fills(books, 1))[0]


@pytest.mark.slow
@both_kinds
def test_orders_come_and_go_at_the_rate_of_their_distance(kind):
    """Without market orders every tick is a queue with infinitely many servers, with known mean and variance."""
    books, horizon = 2000, 3.0

    def run(book: Any) -> tuple[Any, Any]:
        book, flow, _ = mt.drive(book, SPARSE.flow(book, seed=5, horizon=horizon, capacity=150), mt.no_fills(books, 1))
        return book.depth, flow

    depth, flow = jax.jit(run)(with_wall(kind, books))
    assert not np.any(flow.unplaced)
    assert np.all(flow.time >= horizon)
    depth, far = np.abs(np.asarray(depth)), len(SPARSE.cancel_rates)
    means, errors, expected = [], [], []
    for tick in [BID - k for k in range(8)] + [ASK + k for k in range(8)]:
        distance = ASK - tick if tick <= BID else tick - BID
        come = SPARSE.limit_rates[distance - 1] if distance <= len(SPARSE.limit_rates) else 0.0
        go = SPARSE.cancel_rates[min(distance, far) - 1]
        stay, start = np.exp(-go * horizon), WALL.get(tick, 0)
        if come == 0.0 and start == 0:
            assert not np.any(depth[:, tick])
            continue
        new = come / go * (1 - stay)
        expected.append(start * stay + new)
        errors.append(np.sqrt((start * stay * (1 - stay) + new) / books))
        means.append(np.mean(depth[:, tick]))
    assert len(means) == 8
    agree(means, expected, errors, samples=books)


def busy(kind: str, first: int, books: int) -> tuple[Any, ...]:
    """Depth by distance from the opposite best, and the mid, after ten seconds of LOPSIDED."""
    book = opened(kind, jnp.full(books, 4, jnp.int32), jnp.full(books, 5, jnp.int32))
    flow = LOPSIDED.flow(book, seed=8, horizon=10.0, capacity=80, first=first)
    book, flow, _ = mt.drive(book, flow, mt.no_fills(books, 100))
    away = jnp.arange(1, 7, dtype=jnp.int32)
    depth = jnp.pad(book.depth, ((0, 0), (7, 7)))
    bids = jnp.maximum(jnp.take_along_axis(depth, 7 + book.ask[:, None] - away[None], axis=1), 0)
    asks = jnp.maximum(-jnp.take_along_axis(depth, 7 + book.bid[:, None] + away[None], axis=1), 0)
    return bids, asks, book.bid, book.ask, flow.candidates, flow.unplaced + book.overflowed


@pytest.mark.slow
def test_both_kinds_of_book_follow_one_law():
    books = 4000
    exact, levels = (
        jax.tree.map(np.asarray, jax.jit(busy, static_argnums=(0, 2))(kind, first, books))
        for kind, first in (("exact", 0), ("levels", books))
    )
    assert not np.any(exact[-1])
    assert not np.any(levels[-1])
    table = [np.column_stack([bids, asks, bid, ask]) for bids, asks, bid, ask, *_ in (exact, levels)]
    errors = np.sqrt(sum(np.var(each, axis=0) for each in table) / books)
    agree(np.mean(table[0], axis=0), np.mean(table[1], axis=0), errors, samples=books)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["exact", "levels"])
def test_a_book_sees_the_same_orders_whatever_runs_beside_it(kind):
    run = jax.jit(busy, static_argnums=(0, 2))
    together = run(kind, 0, 12)
    for first in (0, 6):
        for whole, part in zip(together, run(kind, first, 6), strict=True):
            np.testing.assert_array_equal(whole[first : first + 6], part)
    assert len(set(np.asarray(together[4]).tolist())) > 6


def test_an_order_without_room_is_counted():
    book = mt.empty_books(3, orders=20, ticks=TICKS)
    flow = LOPSIDED.flow(book, seed=1, events=200, capacity=4)
    book, flow, _ = jax.jit(mt.drive)(book, flow, mt.no_fills(3, 200))
    assert np.all(flow.unplaced > 0)
    assert np.all(flow.candidates == 200)
    np.testing.assert_array_equal(np.sum(np.asarray(book.resting().size)[:, 5:], axis=1), 0)
    np.testing.assert_array_equal(book.refused, 0)


def test_time_adds_up_over_millions_of_candidates():
    """Single precision alone would lose the small steps of a long day."""
    book = mt.empty_level_books(1, ticks=TICKS)
    flow = ZeroIntelligence((0.0,), (0.0,), 1000.0).flow(book, seed=2)
    wait = jnp.full(1, 0.001, jnp.float32)
    late = eqx.tree_at(lambda f: f.time, flow, jnp.full(1, 20_000.0, jnp.float32))

    def on(carry: Any, _: None) -> tuple[Any, None]:
        time, short = carry
        return _later(time, short, wait, jnp.ones(1, bool)), None

    (time, _), _ = lax.scan(on, (late.time, late.short), None, length=1_000_000)
    assert float(time[0]) == pytest.approx(21_000, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((1.0, -0.1), (0.5,), 1.0), r"limit_rates must be finite and not negative, got \(1.0, -0.1\)"),
        (((1.0,), (), 1.0), r"cancel_rates must be .* got \(\); name one rate or more, per unit of time"),
        (((1.0,), (0.5,), float("nan")), "market_rate must be finite"),
        (((0.0,), (0.5,), 0.0), "all zero"),
    ],
)
def test_rates_that_are_none_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ZeroIntelligence(*arguments)


@pytest.mark.parametrize("options", [{"capacity": 99}, {"events": 0}, {"horizon": 0.0}, {"seed": -1}])
def test_a_flow_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        PAPER.flow(mt.empty_books(1, orders=9, ticks=TICKS), **{"seed": 1, **options})
