"""Order flow and a dealer in one loop, against what one writes by hand in numba for one book at a time.

Both sides follow one law: Cont, Stoikov and Talreja's flow of one-unit orders, and a dealer who every ten orders looks
at the mid and its inventory and quotes five units a side; its turn in the queue counts. The yardstick
(`_closed_loop_numba`) uses one core; without numba there is none, and the comparison is skipped.

`python -m benchmarks.closed_loop` prints the ratio, orders per second, and what both dealers made of them; then what a
path costs, and how much memory the process has come to, from a thousand paths to a hundred thousand: here, and in a
`PoissonMarket` with ticks, a queue and stale quotes.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import twosided as ts
from twosided.validation import matching as mt
from twosided.validation.markets import PoissonMarket
from twosided.validation.matching._stages import apart
from twosided.validation.order_flow import ZeroIntelligence, ZeroIntelligenceFlow

from .timing import HEADER, Comparison, compare

RATES = ZeroIntelligence.cont_stoikov_talreja()
BOOKS, ORDERS, EVERY, SIZE, AVERSION = 4096, 1000, 10, 5, 0.05
TICKS, TOUCH, DEPTH, CAPACITY = 256, 128, 5, 256
DEALER = 1
BLOCK = int(os.environ.get("CLOSED_LOOP_BLOCK", "1024"))


class Dealing(eqx.Module):
    """The flow with a dealer in between; arrays are (books,).

    sent:        orders of the flow so far.
    todo:        quotes to be sent before the next of them.
    first:       which side's quote goes first.
    bid, ask:    where it quotes.
    bought, sold, cash: up to when it last looked; cash in ticks from `TOUCH`.
    """

    flow: ZeroIntelligenceFlow
    sent: jax.Array
    todo: jax.Array
    first: jax.Array
    bid: jax.Array
    ask: jax.Array
    bought: jax.Array
    sold: jax.Array
    cash: jax.Array

    @property
    def more(self) -> jax.Array:
        return self.sent < ORDERS

    def take(self, book: Any, ready: jax.Array) -> tuple[mt.Message, jax.Array, Dealing]:
        always = book.bid[0] >= -1
        order, arrives, flow = self.flow.take(book, ready & (self.todo == 0) & self.more)

        def deal() -> tuple[mt.Message, jax.Array, Dealing]:
            quotes = ready & (self.todo > 0)
            desk = self.looked(book, quotes & (self.todo == 2))
            side = jnp.where(self.todo == 2, desk.first, -desk.first)
            price = jnp.where(side > 0, desk.bid, desk.ask)
            quote = (int(mt.Kind.POST_ONLY), side, SIZE, price, 0, DEALER)
            message = mt.Message(*(jnp.where(quotes, *pair) for pair in zip(quote, order, strict=True)))
            sent = self.sent + arrives.astype(jnp.int32)
            todo = jnp.where(arrives & (sent % EVERY == 0), 2, self.todo - quotes.astype(jnp.int32))
            desk = eqx.tree_at(lambda d: (d.sent, d.todo), desk, (sent, todo))
            return message, arrives | quotes, desk

        message, arrives, desk = apart(always, deal)
        return message, arrives, eqx.tree_at(lambda d: d.flow, desk, flow)

    def looked(self, book: mt.LevelBook, now: jax.Array) -> Dealing:
        """Book what was filled since the last time, and decide where to quote."""
        filled_bid = jnp.where(now & (self.sent > 0), SIZE - book.own_bid.left, 0)
        filled_ask = jnp.where(now & (self.sent > 0), SIZE - book.own_ask.left, 0)
        bought, sold = self.bought + filled_bid, self.sold + filled_ask
        cash = self.cash + filled_ask * (self.ask - TOUCH) - filled_bid * (self.bid - TOUCH)
        aim = 0.5 * (book.bid + book.ask).astype(jnp.float32) - AVERSION * (bought - sold).astype(jnp.float32)
        bid = jnp.minimum(jnp.floor(aim - 1).astype(jnp.int32), book.ask - 1)
        ask = jnp.maximum(jnp.ceil(aim + 1).astype(jnp.int32), book.bid + 1)
        bid, ask = jnp.clip(bid, 0, TICKS - 1), jnp.clip(ask, 0, TICKS - 1)
        # The side that moves away goes first, so that its two quotes never meet.
        first = jnp.where(bid > self.bid, mt.SELL, mt.BUY)
        first, bid, ask = (jnp.where(now, *pair) for pair in ((first, self.first), (bid, self.bid), (ask, self.ask)))
        return Dealing(self.flow, self.sent, self.todo, first, bid, ask, bought, sold, cash)


class NoTape(eqx.Module):
    """The book says all that the dealer wants to know."""

    room: jax.Array

    def record(self, fill: mt.Fill) -> NoTape:
        return self


def opening() -> np.ndarray:
    """`DEPTH` prices on each side with as many orders."""
    touches = [(mt.BUY, TOUCH - 1 - k) for k in range(DEPTH)] + [(mt.SELL, TOUCH + k) for k in range(DEPTH)]
    return np.array([(int(mt.Kind.LIMIT), side, DEPTH, tick, 0, 0) for side, tick in touches], np.int32)


def run_block(lanes: jax.Array) -> tuple[jax.Array, ...]:
    """Wealth, inventory and fills at the end, and messages refused, of books numbered `lanes`."""
    books = lanes.shape[0]
    rows = jnp.broadcast_to(jnp.asarray(opening()), (books, 2 * DEPTH, 6))
    book, _ = mt.replay(mt.empty_level_books(books, ticks=TICKS), rows, NoTape(jnp.ones_like(lanes)), block=books)
    none = jnp.zeros_like(lanes)
    flow = RATES.flow(book, seed=1, capacity=CAPACITY, first=lanes[0])
    desk = Dealing(flow, none, none + 2, none, none, none, none, none, none)
    book, desk, _ = mt.drive(book, desk, NoTape(none + 1))
    desk = desk.looked(book, none == 0)
    inventory = desk.bought - desk.sold
    wealth = desk.cash + inventory * (0.5 * (book.bid + book.ask) - TOUCH)
    return wealth, inventory, desk.bought + desk.sold, book.refused + desk.flow.unplaced


def ours(books: int, block: int = BLOCK) -> np.ndarray:
    """(books, 3): wealth, inventory, fills."""
    parts = mt.in_parts(books, np.arange(books, dtype=np.int32))
    wealth, inventory, fills, lost = mt.side_by_side(partial(_ours, block), parts)
    if np.any(lost):
        raise RuntimeError(f"{int(np.sum(lost))} messages were refused, so the two sides' laws differ")
    return np.stack([wealth, inventory, fills], axis=1)


@partial(jax.jit, static_argnums=0)
def _ours(block: int, lanes: jax.Array) -> tuple[jax.Array, ...]:
    return mt.in_blocks(run_block, lanes.shape[0], block)(lanes)


def against(ours: np.ndarray, yardstick: np.ndarray) -> str:
    """How far the means of wealth, inventory^2 and fills are apart, in standard errors."""
    tables = [np.column_stack([each[:, :3], each[:, 1] ** 2]) for each in (ours, yardstick)]
    gap = tables[0].mean(axis=0) - tables[1].mean(axis=0)
    error = np.sqrt(sum(each.var(axis=0) / len(each) for each in tables))
    names = ("wealth", "inventory", "fills", "inventory^2")
    parts = (f"{name} {z:+.1f}" for name, z in zip(names, gap / error, strict=True))
    return f"means apart by {', '.join(parts)} standard errors"


def run() -> Iterator[Comparison]:
    """One line, or none where numba is missing."""
    if find_spec("numba") is None:
        print("closed_loop: skipped, its yardstick needs numba", file=sys.stderr)
        return
    from ._closed_loop_numba import simulate

    def yardstick() -> np.ndarray:
        rates = (np.array(RATES.limit_rates), np.array(RATES.cancel_rates), RATES.market_rate)
        return simulate(BOOKS, ORDERS, EVERY, SIZE, AVERSION, *rates, TICKS, TOUCH, DEPTH, CAPACITY, 1)

    yield compare(
        f"closed loop, {BOOKS} books x {ORDERS} orders",
        lambda: ours(BOOKS),
        yardstick,
        against="numba, one core",
        wanted=0.5,
        note=against(ours(BOOKS), yardstick()),
    )


PATHS = (1_000, 10_000, 100_000)


class Cost(NamedTuple):
    """What a path costs at a number of paths, compiling apart."""

    what: str
    paths: int
    cpu_seconds: float  # of all cores
    peak_megabytes: float  # of the whole process so far

    def row(self) -> str:
        each = 1e6 * self.cpu_seconds / self.paths
        return f"{self.what:<44} {self.paths:>10,} {each:>12.1f} {self.peak_megabytes:>10,.0f}"


COST_HEADER = f"{'what a path costs':<44} {'paths':>10} {'CPU us/path':>12} {'peak MB':>10}"


def costs() -> Iterator[Cost]:
    """CPU time per path, the less of two runs each: it should not depend on how many there are."""

    def loop(paths: int) -> None:
        ours(paths)

    for what, play in (("order flow and dealer in one loop", loop), ("a policy in a PoissonMarket", _market())):
        for paths in PATHS:
            play(paths)
            spent = min(_cpu_seconds(play, paths) for _ in range(2))
            yield Cost(what, paths, spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _market() -> Callable[[int], None]:
    demand = ts.models.Exponential(0.9, 0.3)
    problem = ts.models.InventoryDealer(0.3, 60.0, demand, demand, 1.0, 30, ts.models.ExponentialUtility(0.01))
    policy, market = ts.solve(problem).policy, PoissonMarket(tick=1, queue_ahead=1, refresh=1, latency=0.1)

    def play(paths: int) -> None:
        ts.simulate(problem, policy, paths, market=market, progress=False)

    return play


def _cpu_seconds(play: Callable[[int], None], paths: int) -> float:
    before = time.process_time()
    play(paths)
    return time.process_time() - before


if __name__ == "__main__":
    print(HEADER)
    for line in run():
        print(line.row())
        speeds = (BOOKS * ORDERS / 1e6 / seconds for seconds in (line.seconds, line.yardstick_seconds))
        print("million orders per second: {:.1f} and {:.1f}".format(*speeds))
    print(COST_HEADER)
    for cost in costs():
        print(cost.row(), flush=True)
