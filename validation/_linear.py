"""The linear rule: a fixed step, a fill with probability `min(Lambda dt, 1)` on each side, as in the published tables.

In each step fills come first, at the quotes of the step's start and independently on the two sides; the inventory that
they leave then bears the mid's move of `+- sigma sqrt(dt)`, each with probability one half (Avellaneda and Stoikov
2008, section 3.3). One 32-bit word per path and step decides: its lowest bit the move, the other 31, as one uniform
number cut into the joint probabilities, both fills. Everything is discretised by the step: fills, quotes, charges.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..models.channels import Quotes
from ..models.problem import Problem
from ._batches import Report
from ._quoting import Side, ask, earned, hit_rates, quoted
from ._randomness import Key, words

BATCH = 32768
_CHUNK = 20  # steps whose random words are made together; even, for a draw makes two
_PATH_STEPS = 2**26  # between two looks of the host, which shows progress and may interrupt
_LONGEST_ROW = 4096  # inventories at which a policy is looked up once per step instead of once per path
_LOOKED_UP = ("gather", "while", "scan", "sort", "dot_general", "cond", "dynamic_slice")


class Sums(NamedTuple):
    """What is only counted along the way, each field of shape (paths,), float32."""

    charge: Any  # to the criterion
    bids: Any
    asks: Any
    spread_time: Any  # sum of bid + ask over the steps with both quotes, and their number
    quoted_time: Any


class _Chunk(NamedTuple):
    """Paths within a chunk. Three counters share one number, for each array more is a loop more in every step."""

    inventory: Any
    money: Any
    charge: Any
    tally: Any  # fills of the bid + 32 fills of the ask + 1024 steps with both quotes
    spread_time: Any


class Paths(NamedTuple):
    """A batch of paths, each array of shape (paths,), float32."""

    inventory: Any
    money: Any  # booked so far, at the horizon
    sums: Sums


class Case(NamedTuple):
    """What all batches of a run share."""

    problem: Problem
    policy: Callable[..., Any]
    start: Any  # inventory and money
    steps: Any
    key: Key
    half: int  # lots to each side of the start that a row of quotes covers; 0 where there is none


def row_half(problem: Problem, policy: Callable[..., Any], inventory: float, steps: int) -> int:
    """Whether to look the policy up once per step for all inventories there are, and for how many to each side.

    That pays where it reads tables (or a network), and can be done where the inventory is a number of lots.
    """
    if problem.moves or len(problem.names) > 1 or not _looks_up(policy, problem):
        return 0
    reach = min(steps, problem.limit + abs(inventory))  # a step changes the inventory by at most one lot
    half = 2 ** (int(np.ceil(reach)) - 1).bit_length()
    return half if 2 * half + 1 <= _LONGEST_ROW else 0


def _looks_up(policy: Callable[..., Any], problem: Problem) -> bool:
    some = jax.ShapeDtypeStruct((8,), np.float32)
    text = str(eqx.filter_make_jaxpr(ask)(problem, policy, some, some, some)[0])
    return any(f"{name}[" in text for name in _LOOKED_UP)


def run_linearly(case: Case, first: int, size: int, report: Report) -> Paths:
    """Paths `first` to `first + size` at the horizon."""
    steps = int(case.steps)
    stride = max(_CHUNK, _PATH_STEPS // size // _CHUNK * _CHUNK)
    zero = jnp.zeros(size, jnp.float32)
    paths = Paths(zero + case.start[0], zero + case.start[1], Sums(*[zero] * 5))
    for begin in range(0, steps, stride):
        end = min(begin + stride, steps)
        paths = _advance(case, paths, np.uint32(first), np.int32(begin), np.int32(end))
        if end < steps:
            jax.block_until_ready(paths)
        report((end - begin) / steps)
    return paths


@eqx.filter_jit
def _advance(case: Case, paths: Paths, first: Any, begin: Any, end: Any) -> Paths:
    """Steps `begin` (a multiple of the chunk) to `end`."""
    lanes = first + jnp.arange(paths.money.shape[0], dtype=jnp.uint32)
    place = jnp.arange(_CHUNK, dtype=jnp.int32)

    def run(number: Any, paths: Paths) -> Paths:
        start = number * _CHUNK
        counter = start.astype(jnp.uint32) // np.uint32(2) + jnp.arange(_CHUNK // 2, dtype=jnp.uint32)
        drawn = jnp.concatenate(words(case.key, lanes[None, :], counter[:, None]))
        rows = _rows(case, start + place) if case.half else None

        def step(i: Any, chunk: _Chunk) -> _Chunk:
            return _step(case, chunk, start + i, drawn[i], None if rows is None else rows[i])

        zero = jnp.zeros_like(paths.money)
        after = _Chunk(paths.inventory, paths.money, zero, zero, zero)
        after = lax.fori_loop(0, jnp.minimum(_CHUNK, end - start), step, after)
        return Paths(after.inventory, after.money, _with_chunk(paths.sums, after))

    return lax.fori_loop(begin // _CHUNK, (end + _CHUNK - 1) // _CHUNK, run, paths)


def _with_chunk(sums: Sums, chunk: _Chunk) -> Sums:
    """Sums of sums: one long sum of small numbers in single precision would drift."""
    tally = chunk.tally.astype(jnp.int32)
    counts = (tally & 31, (tally >> 5) & 31, tally >> 10)
    bids, asks, quoted_time = (count.astype(jnp.float32) for count in counts)
    return jax.tree.map(jnp.add, sums, Sums(chunk.charge, bids, asks, chunk.spread_time, quoted_time))


def _to_go(case: Case, step: Any) -> tuple[Any, Any]:
    """`dt`, and the time to go at a step's start."""
    dt = case.problem.horizon / case.steps.astype(jnp.float32)
    return dt, (case.steps - step).astype(jnp.float32) * dt


def _rows(case: Case, step: Any) -> Any:
    """Quotes for every inventory within reach at every step, as `bid + i ask`: read as a pair, at the cost of one."""
    lots = jnp.arange(-case.half, case.half + 1, dtype=jnp.float32)
    y = case.start[0] + lots * case.problem.size
    _, tau = _to_go(case, step)
    flat_tau, flat_y = jnp.repeat(tau, lots.shape[0]), jnp.tile(y, step.shape[0])
    pair = lax.complex(*ask(case.problem, case.policy, flat_tau, flat_y, 0 * flat_y))
    return jnp.reshape(pair, (step.shape[0], lots.shape[0]))


def _quotes(case: Case, tau: Any, chunk: _Chunk, row: Any) -> tuple[Side, Side]:
    problem, y = case.problem, chunk.inventory
    tau = jnp.broadcast_to(tau, y.shape)
    if row is None:
        return quoted(problem, case.policy, tau, y, chunk.money)
    lot = jnp.round((y - case.start[0]) / problem.size).astype(jnp.int32) + case.half
    pair = row.at[lot].get(mode="promise_in_bounds")
    return hit_rates(problem, tau, y, Quotes(pair.real, pair.imag))


def _step(case: Case, chunk: _Chunk, step: Any, word: Any, row: Any) -> _Chunk:
    problem = case.problem
    dt, tau = _to_go(case, step)
    buy, sell = _quotes(case, tau, chunk, row)
    chance_bid, chance_ask = jnp.minimum(buy.rate * dt, 1.0), jnp.minimum(sell.rate * dt, 1.0)
    mark = (word >> np.uint32(1)).astype(jnp.float32) * np.float32(2.0**-31)
    both = chance_bid * chance_ask
    bought = mark < chance_bid
    sold = (mark < both) | (~bought & (mark < chance_bid + chance_ask - both))
    move = jnp.where((word & np.uint32(1)) == 1, jnp.ones_like(mark), -jnp.ones_like(mark))

    received, cost_of_bid = earned(problem, tau, +1, buy, bought)
    paid, cost_of_ask = earned(problem, tau, -1, sell, sold)
    one, none = jnp.ones_like(mark), jnp.zeros_like(mark)
    filled_bid, filled_ask = jnp.where(bought, one, none), jnp.where(sold, one, none)
    inventory = chunk.inventory + problem.size * (filled_bid - filled_ask)
    rate = problem.objective.path_rate(problem.exposure(tau, inventory), problem.lots(inventory))
    inventory, income = problem.evolve(tau, inventory, dt, move)
    quoting = buy.on & sell.on
    tally = filled_bid + 32 * filled_ask + jnp.where(quoting, 1024 * one, none)
    return _Chunk(
        inventory=inventory,
        money=chunk.money + (received + paid) + income,
        charge=chunk.charge + rate * dt + cost_of_bid + cost_of_ask,
        tally=chunk.tally + tally,
        spread_time=chunk.spread_time + jnp.where(quoting, buy.distance + sell.distance, none),
    )
