"""Instructions sent through the matching core, the book looked at before each."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..matching import Answer, Book, BookRules, Kind, Message, SelfTrade, empty_books, step
from ._grid import Grid, Sight
from ._script import Instruction, Role

_RULES = BookRules(self_trade=SelfTrade.CANCEL_RESTING)
_MOST_ORDERS = 2**16 - 1
_ROWS = 4096
where = jnp.where


class Rows(NamedTuple):
    """What the book file shows, for comparison: asks of negative size. (n, 2 levels), (n,)."""

    tick: jax.Array
    size: jax.Array
    low: jax.Array
    high: jax.Array


class Own(NamedTuple):
    """The dealer's orders by their number, less 1; (slots,)."""

    left: jax.Array
    side: jax.Array
    tick: jax.Array
    ahead: jax.Array  # -1 where nothing rests
    own_ahead: jax.Array  # as much of it as is the dealer's


class Look(NamedTuple):
    """One book before an instruction: what is recorded in it, and what is the dealer's.

    depth: recorded quantity at each tick, asks negative; (ticks,).
    bid, ask: the best recorded ticks; -1 and the number of ticks where there is none.
    turn: recorded quantity before the order that the instruction names; -1 if nothing rests under its number.
    """

    depth: jax.Array
    bid: jax.Array
    ask: jax.Array
    turn: jax.Array
    own: Own


class Seen(NamedTuple):
    """What is kept of each instruction; the own orders' numbers (slots,) as they were before it."""

    checked: Any  # whether the book was compared with a row
    equal: Any  # whether it was equal, as far as one can see
    touch: Any  # of an execution: at the best recorded price
    turn: Any  # of an execution: the first of the recorded orders at its price
    faulty: Any  # the book did not do what the record says was done
    answer: Any
    filled: Any  # of own orders, by this instruction; (slots,)
    left: Any  # (slots,)
    ahead: Any  # (slots,)


def book_for(numbers: int, grid: Grid) -> Book:
    """An empty book in which so many orders can rest; raises `ValueError` where that is more than a book can hold."""
    if numbers > _MOST_ORDERS:
        raise ValueError(f"a book holds {_MOST_ORDERS} orders at once, got {numbers}; replay fewer rows")
    orders = min(-(-numbers // 1024) * 1024, _MOST_ORDERS)
    return empty_books(1, orders=orders, ticks=grid.ticks)


def run_script(book: Book, script: np.ndarray, sight: Sight, slots: int) -> Seen:
    """Send a script, (blocks, block, fields), to a book; what was seen, (instructions, ...)."""
    half = sight.size.shape[1] // 2
    signed = np.concatenate([sight.size[:, :half], -sight.size[:, half:]], axis=1)
    rows = Rows(*(_padded(array) for array in (sight.tick, signed, sight.low, sight.high)))
    seen = []
    for block in script:
        book, part = _run_block(book, jnp.asarray(block), rows, slots)
        seen.append(jax.tree.map(np.asarray, part))
    return Seen(*(np.concatenate(parts) for parts in zip(*seen, strict=True)))


def _padded(array: np.ndarray) -> jax.Array:
    """In whole blocks of rows, so that records of many lengths share one compiled program."""
    more = np.zeros((-len(array) % _ROWS, *array.shape[1:]), np.int32)
    return jnp.asarray(np.concatenate([array.astype(np.int32), more]))


@partial(jax.jit, static_argnames="slots")
def _run_block(book: Book, block: jax.Array, rows: Rows, slots: int) -> tuple[Book, Seen]:
    return lax.scan(partial(_send, rows=rows, slots=slots), book, block)


def _send(book: Book, line: jax.Array, *, rows: Rows, slots: int) -> tuple[Book, Seen]:
    """Compare, decide what the instruction comes to in this book, and send that."""
    instruction = Instruction(*line)
    look = _look(book, instruction.number, slots)
    equal = _equal(look.depth, rows, instruction.check)
    message, touch, turn, trades = _decide(look, instruction)
    book, out = step(book, Message(*(field[None] for field in message)), _RULES, fills=slots)
    fill = out.fills.table()
    # Own numbers come first, so that a maker's number says whose it is.
    filled = where(jnp.arange(slots, dtype=jnp.int32)[:, None] + 1 == fill.maker, fill.size, 0).sum(axis=1)
    as_recorded = (out.traded[0] == instruction.size) & (fill.maker[0, 0] == instruction.number)
    plain = (instruction.owner == 0) & (instruction.kind != int(Kind.NOTHING))
    faulty = (trades & ~as_recorded) | (plain & (out.answer[0] != int(Answer.ACCEPTED)))
    faulty |= (instruction.owner != 0) & (out.traded[0] > 0)
    checked = instruction.check >= 0
    return book, Seen(checked, equal, touch, turn, faulty, out.answer[0], filled, look.own.left, look.own.ahead)


def _look(book: Book, number: jax.Array, slots: int) -> Look:
    own_numbers = jnp.arange(1, slots + 1, dtype=jnp.int32)
    resting = book.resting()
    left, side, tick = (field[0, 1 : slots + 1] for field in (resting.size, resting.side, resting.price))
    numbers = jnp.concatenate([own_numbers, number[None]])
    aheads = jax.vmap(book.quantity_ahead)(numbers[:, None])[:, 0]
    ticks = jnp.concatenate([tick, resting.price[0, number][None]])
    before = (aheads[None, :-1] < aheads[:, None]) & (ticks[None, :-1] == ticks[:, None]) & (left > 0)[None, :]
    own_ahead = where(before, left[None, :], 0).sum(axis=1)

    depth = book.depth[0].at[tick].add(-side * left)
    at = jnp.arange(depth.shape[0], dtype=jnp.int32)
    bid = where(depth > 0, at, -1).max()
    ask = where(depth < 0, at, depth.shape[0]).min()
    turn = where(aheads[-1] < 0, -1, aheads[-1] - own_ahead[-1])
    return Look(depth, bid, ask, turn, Own(left, side, tick, aheads[:-1], own_ahead[:-1]))


def _equal(depth: jax.Array, rows: Rows, check: jax.Array) -> jax.Array:
    """Whether the recorded quantities in the book are those of a row of the book file, wherever they are in sight."""
    row = jnp.maximum(check, 0)
    tick, size, low, high = (array[row] for array in rows)
    compared = (size != 0) & (tick >= low) & (tick <= high)
    at = jnp.arange(depth.shape[0], dtype=jnp.int32)
    occupied = ((depth != 0) & (at >= low) & (at <= high)).sum(dtype=jnp.int32)
    return (~compared | (depth[tick] == size)).all() & (occupied == compared.sum(dtype=jnp.int32))


def _decide(look: Look, instruction: Instruction) -> tuple[Message, jax.Array, jax.Array, jax.Array]:
    """The message to send; of an execution, whether it is at the touch, in its turn, and traded by the book itself."""
    own, side, tick = look.own, instruction.side, instruction.tick
    touch_tick = where(own.side > 0, look.bid, look.ask)
    better = own.side * (own.tick - touch_tick)
    first = (own.left > 0) & ((better > 0) | ((better == 0) & (own.ahead == own.own_ahead)))
    met = first & (own.side == -side) & (side * (tick - own.tick) >= 0)
    reached = where(met, own.left, 0).sum()

    role = instruction.role
    executes, reaches, goes_back = (role == int(r) for r in (Role.EXECUTE, Role.REACH, Role.BACK))
    touch = executes & (tick == where(side > 0, look.ask, look.bid))
    turn = executes & (look.turn == 0)
    trades = touch & turn & (reached == 0)
    mine = own.left[jnp.clip(instruction.number - 1, 0, own.left.shape[0] - 1)]
    size = where(reaches, jnp.minimum(instruction.size, reached), where(goes_back, mine, instruction.size))
    kind = where(trades, int(Kind.IMMEDIATE), instruction.kind)
    kind = where((reaches | goes_back) & (size == 0), int(Kind.NOTHING), kind)
    return Message(kind, side, size, tick, instruction.number, instruction.owner), touch, turn, trades
