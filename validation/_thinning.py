"""Exact fills by thinning: candidates come at a rate above the policy's, and each is accepted by the policy's own.

Every path keeps its own clock. From its state it draws the time to the next candidate at the bound `B` of its window
and cell (see `_bounds`); the inventory moves there exactly; the policy is asked, and the candidate is a fill of the bid
with probability `Lambda_b / B`, of the ask with `Lambda_a / B`, of none else (Lewis and Shedler 1979). No time step
enters. Integrals along a path are sums of `f / B` over its candidates, unbiased by Campbell's formula, or exact where
the inventory rests between fills.

The Brownian displacement of a whole window is drawn first and bridged at the candidates: two policies run with one seed
see the same price path, whatever the number of their candidates, so that their difference has little noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..models.problem import Problem
from ._batches import Report
from ._bounds import Bounds, cell
from ._quoting import Side, earned, forced, quoted
from ._randomness import Key, normal, stream, uniform, words

BATCH = 4096
_TURNS = 1000  # of the loop between two looks of the host, which shows progress and may interrupt
_TICKS = 16  # bits that count the candidates of a window; the bits above count the windows
MOST_WINDOWS = 2**_TICKS - 1
_LAST_TICK = np.uint32(2**_TICKS - 1)
_PRICE, _CLOCK = 0, 1  # streams of random numbers

ABOVE_BOUND, OUTSIDE = 1, 2
"""What stopped a path: it rests where it happened, above its bound with the bound in `displacement`."""


class Paths(NamedTuple):
    """A batch of paths, each field of shape (paths,), float64 unless said otherwise."""

    left: Any  # time left in the window
    tick: Any  # window, then candidate within it; uint32
    displacement: Any  # Brownian motion still to come in the window
    inventory: Any
    money: Any  # booked so far, at the horizon
    charge: Any  # to the criterion so far
    bids: Any  # fills, int32
    asks: Any
    spread_time: Any  # integral of bid + ask over the time with both quotes, and that time
    quoted_time: Any
    excess: Any  # the most by which an account was seen beyond a limit
    fault: Any  # int32
    forced: Any  # trades that nobody chose, int32
    unsettled: tuple[Any, ...]  # proceeds of sales that settle in 1, 2, ... days, as money is counted


class Log(NamedTuple):
    """Inventory and money at the end of every window, each of shape (windows + 1, paths)."""

    inventory: Any
    money: Any


class _Step(NamedTuple):
    """From a path's state to its next candidate, or to the window's end."""

    bound: Any
    candidate: Any  # whether it is one
    dt: Any
    displacement: Any
    inventory: Any
    income: Any
    tau: Any
    fault: Any


class Case(NamedTuple):
    """What all batches of a run share."""

    problem: Problem
    policy: Callable[..., Any]
    bounds: Bounds
    key: Key
    lag: Any = np.int32(0)  # days until the proceeds of a sale can be spent, or 0; an array, so that one program serves
    most_lag: int = 0  # the most that the program serves
    days: int = 1  # in the horizon, to which they refer


class _Trade(NamedTuple):
    """A way to trade at a candidate, and on which paths it was done."""

    side: int
    quote: Side
    done: Any


def run_exactly(
    case: Case, start: tuple[float, float], first: int, size: int, report: Report, log: bool = False
) -> tuple[Paths, Log | None]:
    """Paths `first` to `first + size` from `start = (inventory, money)`: their `Paths` at the horizon, and a `Log`."""
    windows = case.bounds.rate.shape[0]
    begin = (np.float64(start[0]), np.float64(start[1]))
    carry, moves = _begin(case, begin, np.uint32(first), size, log)
    before = 0.0
    while before < 1.0:
        carry, done = _advance(case, carry, moves, np.uint32(first), np.int32(1))
        report(float(done) / windows - before)
        before = float(done) / windows
    return carry


@eqx.filter_jit
def _begin(case: Case, start: tuple[Any, Any], first: Any, size: int, log: bool) -> tuple[Any, Any]:
    """Paths at time 0 with their log, and the price's moves over all windows."""
    windows = case.bounds.rate.shape[0]
    zero, none = jnp.zeros(size), jnp.zeros(size, jnp.int32)
    tick = jnp.zeros(size, jnp.uint32)
    inventory, money = zero + start[0], zero + start[1]
    width = case.problem.horizon / windows
    moves = _price_moves(case, first, size)
    paths = Paths(
        left=zero + width,
        tick=tick,
        displacement=moves[:size],
        inventory=inventory,
        money=money,
        charge=zero,
        bids=none,
        asks=none,
        spread_time=zero,
        quoted_time=zero,
        excess=zero,
        fault=none,
        forced=none,
        unsettled=(zero,) * case.most_lag,
    )
    if not log:
        return (paths, None), moves
    blank = jnp.zeros((windows + 1, size))
    return (paths, Log(blank.at[0].set(inventory), blank.at[0].set(money))), moves


def _price_moves(case: Case, first: Any, size: int) -> Any:
    """The Brownian motion's displacement over every window, flat over (windows, paths)."""
    windows = case.bounds.rate.shape[0]
    lanes = first + jnp.arange(size, dtype=jnp.uint32)
    pairs = jnp.arange((windows + 1) // 2, dtype=jnp.uint32)
    word = jnp.stack(words(stream(case.key, _PRICE), lanes[None, :], pairs[:, None]), axis=1)
    return jnp.ravel(normal(word)) * jnp.sqrt(case.problem.horizon / windows)


@eqx.filter_jit
def _advance(case: Case, carry: Any, moves: Any, first: Any, go: Any) -> tuple[Any, Any]:
    """Up to `_TURNS` candidates more for every path; also the mean number of windows that paths have behind them."""
    windows, size = case.bounds.rate.shape[0], carry[0].left.shape[0]
    lanes = first + jnp.arange(size, dtype=jnp.uint32)

    def turn(state: Any) -> Any:
        paths, log, n = state
        paths, log = _turn(case, paths, log, lanes, moves, go)
        return paths, log, n + 1

    def going(state: Any) -> Any:
        return jnp.any(_under_way(state[0], windows)) & (state[2] < _TURNS)

    paths, log, _ = lax.while_loop(going, turn, (*carry, jnp.zeros((), jnp.int32)))
    behind = jnp.where(_under_way(paths, windows), _window(paths), windows)
    return (paths, log), jnp.mean(behind.astype(jnp.float64))


def _window(paths: Paths) -> Any:
    return (paths.tick >> np.uint32(_TICKS)).astype(jnp.int32)


def _under_way(paths: Paths, windows: int) -> Any:
    return (_window(paths) < windows) & (paths.fault == 0)


def _turn(case: Case, paths: Paths, log: Log | None, lanes: Any, moves: Any, go: Any) -> tuple[Paths, Log | None]:
    problem, windows = case.problem, case.bounds.rate.shape[0]
    under_way = _under_way(paths, windows)
    drawn = _apart(go, lambda: _drawn(case.key, lanes, paths.tick))
    step = _apart(go, lambda: _next(case, paths, drawn, windows))
    sides = _apart(go, lambda: _sides(case, paths, step))
    total = sum((side.rate for side in sides[1:]), sides[0].rate)
    fault = _fault(step, total)
    sound = under_way & (fault == 0)
    hit = sound & step.candidate
    after = _fill(case, paths, step, _trades(sides, uniform(drawn[1]) * step.bound, hit), hit)

    ended = sound & ~step.candidate
    after = _day_ends(case, after, step.tau, jnp.where(ended, _window(paths) + 1, 0))
    here = jnp.arange(lanes.shape[0], dtype=jnp.int32)
    opened = jnp.minimum(_window(paths) + 1, windows - 1)
    to_come = moves.at[opened * lanes.shape[0] + here].get(mode="promise_in_bounds")
    after = after._replace(
        left=jnp.where(ended, problem.horizon / windows, paths.left - step.dt),
        tick=jnp.where(ended, (paths.tick | _LAST_TICK) + np.uint32(1), paths.tick + np.uint32(1)),
        displacement=jnp.where(ended, to_come, paths.displacement - step.displacement),
    )
    after = jax.tree.map(lambda new, old: jnp.where(sound, new, old), after, paths)
    above = under_way & (fault == ABOVE_BOUND)
    after = after._replace(
        fault=jnp.where(under_way, fault, paths.fault),
        left=jnp.where(above, paths.left - step.dt, after.left),
        inventory=jnp.where(above, step.inventory, after.inventory),
        displacement=jnp.where(above, step.bound, after.displacement),
    )
    if log is not None:
        row = jnp.where(ended, _window(paths) + 1, windows + 1)  # one beyond the log is dropped
        now = Log(after.inventory, after.money)
        log = jax.tree.map(lambda whole, part: whole.at[row, here].set(part, mode="drop"), log, now)
    return after, log


def _sides(case: Case, paths: Paths, step: _Step) -> tuple[Side, ...]:
    """Bid and ask, and where someone else may trade for the dealer, purchases and sales."""
    problem, money = case.problem, paths.money + step.income
    unsettled = sum(paths.unsettled, jnp.zeros_like(money))
    quotes = quoted(problem, case.policy, step.tau, step.inventory, money, unsettled)
    return quotes + forced(problem, step.tau, step.inventory, money) if problem.forces else quotes


def _trades(sides: tuple[Side, ...], mark: Any, hit: Any) -> list[_Trade]:
    """Which of them a candidate is, by where its `mark` falls between the sums of their rates."""
    found, below = [], jnp.zeros_like(mark)
    for number, quote in enumerate(sides):
        above = below + quote.rate
        found.append(_Trade(-1 if number % 2 else +1, quote, hit & (mark >= below) & (mark < above)))
        below = above
    return found


def _day_ends(case: Case, paths: Paths, tau: Any, window: Any) -> Paths:
    """The paths after the close of a day, where `window` of them, not 0, have ended; at the horizon nothing is done."""
    problem, windows = case.problem, case.bounds.rate.shape[0]

    def closes(days: int) -> Any:
        return (window > 0) & (window < windows) & (window % (windows // days) == 0)

    if problem.days > 1:
        kept, money = problem.close(tau, paths.inventory)
        now = closes(problem.days)
        inventory, money = jnp.where(now, kept, paths.inventory), jnp.where(now, paths.money + money, paths.money)
        paths = paths._replace(inventory=inventory, money=money)
    if case.most_lag:
        now, sooner = closes(case.days), (*paths.unsettled[1:], jnp.zeros_like(paths.money))
        settled = (jnp.where(now, new, old) for new, old in zip(sooner, paths.unsettled, strict=True))
        paths = paths._replace(unsettled=tuple(settled))
    return paths


def _drawn(key: Key, lanes: Any, tick: Any) -> tuple[Any, Any, Any]:
    """Random words for the time to the candidate, its mark and its place on the Brownian bridge."""
    clock, bridge = stream(key, _CLOCK), stream(key, _CLOCK + 1)
    both = Key(*(jnp.stack(pair)[:, None] for pair in zip(clock, bridge, strict=True)))
    first, second = words(both, lanes[None, :], tick[None, :])
    return first[0], second[0], first[1]


def _next(case: Case, paths: Paths, drawn: tuple[Any, Any, Any], windows: int) -> _Step:
    """Move to the next candidate or the window's end, whichever comes first."""
    problem, rates = case.problem, case.bounds.rate
    number, inside = cell(problem, paths.inventory, case.bounds.origin, rates.shape[1])
    window = jnp.minimum(_window(paths), windows - 1)
    bound = jnp.ravel(rates).at[window * rates.shape[1] + number].get(mode="promise_in_bounds")
    wait = -jnp.log(uniform(drawn[0])) / bound
    candidate = wait < paths.left
    dt = jnp.where(candidate, wait, paths.left)
    share = dt / paths.left
    bridge = jnp.sqrt(dt * (1 - share)) * normal(drawn[2])
    displacement = share * paths.displacement + bridge
    after = (windows - 1 - window).astype(jnp.float64)  # windows that follow
    tau = after * (problem.horizon / windows) + paths.left
    inventory, income = problem.evolve(tau, paths.inventory, dt, displacement / jnp.sqrt(dt))
    income = income + problem.funding(tau, paths.inventory, inventory, paths.money, dt)
    crowded = (paths.tick & _LAST_TICK) == _LAST_TICK
    fault = jnp.where(~inside | ~jnp.isfinite(bound) | crowded, OUTSIDE, 0)
    return _Step(bound, candidate, dt, displacement, inventory, income, tau - dt, fault.astype(jnp.int32))


def _fault(step: _Step, rate: Any) -> Any:
    above = step.candidate & (rate > step.bound)
    return jnp.where(step.fault > 0, step.fault, jnp.where(above, ABOVE_BOUND, 0).astype(jnp.int32))


def _fill(case: Case, paths: Paths, step: _Step, trades: list[_Trade], hit: Any) -> Paths:
    """The paths after a candidate: what it moved, earned and charged."""
    problem = case.problem
    none, size = jnp.zeros_like(paths.money), problem.size + jnp.zeros_like(paths.money)
    (bid, ask), (bought, sold) = ([getattr(trade, name) for trade in trades[:2]] for name in ("quote", "done"))
    weight = jnp.where(hit, 1 / step.bound, none)
    both = jnp.where(bid.on & ask.on, weight, none)
    before = step.tau + (0.5 * step.dt if not problem.moves else 0.0)
    rate = problem.objective.path_rate(problem.exposure(before, step.inventory), problem.lots(step.inventory))
    inventory, money, proceeds = step.inventory, paths.money + step.income, none
    charge = paths.charge + rate * (weight if problem.moves else step.dt)
    for side, quote, done in trades:
        paid, cost = earned(problem, step.tau, side, quote, done)
        inventory, money, charge = inventory + side * jnp.where(done, size, none), money + paid, charge + cost
        proceeds = proceeds + (paid if side < 0 else none)
    return paths._replace(
        inventory=inventory,
        money=money,
        charge=charge,
        bids=paths.bids + bought.astype(jnp.int32),
        asks=paths.asks + sold.astype(jnp.int32),
        spread_time=paths.spread_time + jnp.where(both > 0, both * (bid.distance + ask.distance), none),
        quoted_time=paths.quoted_time + both,
        excess=jnp.maximum(paths.excess, _excess(problem, step, paths.money + step.income)),
        forced=sum((trade.done.astype(jnp.int32) for trade in trades[2:]), paths.forced),
        unsettled=tuple(
            held + jnp.where(case.lag == days, proceeds, none) for days, held in enumerate(paths.unsettled, start=1)
        ),
    )


def _excess(problem: Problem, step: _Step, money: Any) -> Any:
    state = problem.state(step.tau, step.inventory, money)
    return problem.excess(step.inventory, *(state[name] for name in problem.names[1:] if name in state))


def _apart(go: Any, compute: Callable[[], Any]) -> Any:
    """`compute()`, compiled apart on a CPU: fused with what follows, XLA would do it again for every result.

    `go` is 1, which the compiler cannot know.
    """
    if jax.default_backend() != "cpu":
        return compute()
    blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(compute))
    return lax.cond(go > 0, compute, lambda: blank)
