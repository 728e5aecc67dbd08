"""A policy played in a market: bounds of the order flow, the dealer's account, paths in batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ...models.channels import Quotes
from ...models.inventory import InventoryDealer
from .. import _batches
from .._quoting import ask, with_numbers_as
from .._randomness import Key, key_of
from .._thinning import _apart
from ._venue import END, Info, State, Venue
from .poisson import MARKETS, PoissonMarket

_TURNS = 1000  # of the loop between two looks of the host, which shows progress and may interrupt
_LOOKS = 256  # times at which a policy is asked how near it quotes
_MARGIN = 1.05  # for what happens between them
_REACH = 7.2  # standard normal quantile: the reference moves farther with probability below 1e-12
MOST_ORDERS = 2**20
"""Expected on a path; where a policy quotes so near that more must be drawn, it is refused."""


class Account(NamedTuple):
    """What a dealer has made so far, each field of shape (paths,)."""

    money: Any  # on the marked book, above that of time 0
    charge: Any  # to the criterion
    bids: Any  # fills, int32
    asks: Any
    spread_time: Any  # bid + ask distance summed over market orders that met both quotes, and their number
    quoted_time: Any
    above: Any  # whether a quote was ever nearer than the order flow reaches


class Played(NamedTuple):
    """Paths at the horizon, one entry each."""

    inventory: np.ndarray
    account: Account


class _Case(NamedTuple):
    venue: Venue
    policy: Callable[..., Any]
    key: Key


def check_market(problem: Any, market: Any) -> InventoryDealer:
    """The problem, or a refusal, by name, of what cannot be played."""
    if not isinstance(market, tuple(MARKETS.values())):
        raise TypeError(
            f"market must be one of {', '.join(MARKETS)} from twosided.validation, or None for the model's own fills, "
            f"got {type(market).__name__}"
        )
    if not isinstance(problem, InventoryDealer):
        raise TypeError(
            f"{type(market).__name__} is for an InventoryDealer, got {type(problem).__name__}; state the dealer in "
            "lots and price units, or leave the market out"
        )
    if not math.isfinite(problem.max_inventory):
        raise ValueError(
            f"{type(market).__name__} needs a finite max_inventory, got inf: without a limit nothing bounds how near a "
            f"policy quotes; state an InventoryDealer with max_inventory=30, say"
        )
    return problem


def nearest(problem: InventoryDealer, policies: Iterable[Callable[..., Any]], inventory: float = 0.0) -> Quotes:
    """The least distance that any of `policies` ever quotes on either side, from a start at `inventory`.

    Sides that a limit forbids do not count; `inf` where a side is never quoted.
    """
    half = math.ceil(problem.max_inventory + abs(inventory))
    lots = inventory + np.arange(-half, half + 1.0)
    problem = with_numbers_as(np.float64, problem)
    with jax.enable_x64(True):
        tau = np.linspace(0.0, float(problem.horizon), _LOOKS + 1)
        found = [np.stack(_distances(problem, with_numbers_as(np.float64, policy), tau, lots)) for policy in policies]
        may = np.stack([np.asarray(problem.may_fill(side, lots)) for side in (+1, -1)])
    quoted = np.concatenate(found, axis=1)
    quoted = np.where(may[:, None, :] & (quoted < np.inf), quoted, np.inf)  # false for nan
    return Quotes(*(float(side) for side in np.min(quoted, axis=(1, 2))))


@eqx.filter_jit
def _distances(problem: Any, policy: Any, tau: Any, lots: Any) -> Quotes:
    def look(to_go: Any) -> Quotes:
        return ask(problem, policy, jnp.broadcast_to(to_go, lots.shape), lots, jnp.zeros_like(lots))

    return lax.map(look, tau)


def open_venue(problem: InventoryDealer, market: PoissonMarket, near: Quotes, stalest: float | None = None) -> Venue:
    """The market for quotes no nearer than `near` when they are sent.

    stalest: time that a quote may stand after the dealer's look, by default the market's own; runs that are to meet
             the same orders share the largest.
    Raises `ValueError` where orders would be too many to draw.
    """
    stale = market.interval + float(market.latency) if stalest is None else stalest
    moved = float(problem.volatility) * _REACH * math.sqrt(stale) + abs(float(problem.drift)) * stale
    reach = []
    for name, demand, distance in zip(("bid", "ask"), (problem.bid_demand, problem.ask_demand), near, strict=True):
        with np.errstate(over="ignore"):
            most = _MARGIN * float(demand.intensity(distance - moved)) if distance < math.inf else 0.0
        if not most * float(problem.horizon) <= MOST_ORDERS:
            stands = f", standing for {stale:.3g}," if stale else ""
            raise ValueError(
                f"market: the {name} is quoted as near as {distance:.4g}{stands} where up to {most:.3g} orders arrive "
                "per unit of time, too many to draw; take a tighter max_inventory, or a shorter refresh and latency"
            )
        reach.append(np.float64(most))
    problem, market = (with_numbers_as(np.float64, x) for x in (problem, market))
    return Venue(problem, market, Quotes(*reach), continuous=market.interval == 0)


def play(
    venue: Venue, policy: Any, start: float, paths: int, seed: int, batch: int | None, progress: bool | None
) -> Played:
    """Play `policy` on paths from an inventory of `start` lots; raises `ValueError` where it outruns its bound."""
    case = _Case(venue, with_numbers_as(np.float64, policy), key_of(seed))
    size = _batches.batch_size(paths, 4096, batch)

    def run(first: int, report: _batches.Report) -> Played:
        state, account = _begin(case, np.uint32(first), np.float64(start), size)
        before = 0.0
        while before < 1.0:
            (state, account), done = _advance(case, state, account, np.int32(1))
            report(float(done) - before)
            before = float(done)
        return Played(state.inventory, account)

    played = _batches.compute(run, paths, size, f"playing {paths:,} paths", progress, double=True)
    if np.any(played.account.above):
        raise ValueError(
            f"policy: path {int(np.argmax(played.account.above))} quoted nearer than {_LOOKS} looks at the policy had "
            "found, so that orders were missed; smooth the policy in time"
        )
    return played


@eqx.filter_jit
def _begin(case: _Case, first: Any, start: Any, size: int) -> tuple[State, Account]:
    zero, none = jnp.zeros(size), jnp.zeros(size, jnp.int32)
    state = case.venue.init(case.key, first + jnp.arange(size, dtype=jnp.uint32), start)
    return state, Account(zero, zero, none, none, zero, zero, none > 0)


@eqx.filter_jit
def _advance(case: _Case, state: State, account: Account, go: Any) -> tuple[tuple[State, Account], Any]:
    """Up to `_TURNS` events more for every path; also the mean share of the horizon that they have behind them."""

    def turn(carry: Any) -> Any:
        state, account, n = carry
        return *_turn(case, state, account, go), n + 1

    def going(carry: Any) -> Any:
        return jnp.any(carry[0].event != END) & (carry[2] < _TURNS)

    state, account, _ = lax.while_loop(going, turn, (state, account, jnp.zeros((), jnp.int32)))
    return (state, account), jnp.where(jnp.all(state.event == END), 1.0, 0.999 * jnp.mean(state.time / _horizon(case)))


def _horizon(case: _Case) -> Any:
    return case.venue.problem.horizon


def _turn(case: _Case, state: State, account: Account, go: Any) -> tuple[State, Account]:
    problem = case.venue.problem
    tau = _horizon(case) - state.time
    quotes = _apart(go, lambda: ask(problem, case.policy, tau, state.inventory, account.money))
    after, info = _apart(go, lambda: case.venue.step(case.key, state, quotes))
    booked = _book(problem, account, after, info)
    over = state.event == END
    return jax.tree.map(lambda new, old: jnp.where(over, old, new), (after, booked), (state, account))


def _book(problem: InventoryDealer, account: Account, after: State, info: Info) -> Account:
    """The account after an event and the time to the next, over which the inventory rests."""
    filled = info.bought | info.sold
    none = jnp.zeros_like(account.money)
    cost = problem.objective.fill_cost(info.payment)
    rate = problem.objective.path_rate(problem.exposure(info.dt, after.inventory), after.inventory)
    both = info.order & ~jnp.isnan(info.spread)
    return Account(
        money=account.money + info.payment + problem.lot * after.inventory * info.moved,
        charge=account.charge + jnp.where(filled, cost, none) + rate * info.dt,
        bids=account.bids + info.bought.astype(jnp.int32),
        asks=account.asks + info.sold.astype(jnp.int32),
        spread_time=account.spread_time + jnp.where(both, info.spread, none),
        quoted_time=account.quoted_time + jnp.where(both, 1.0, none),
        above=account.above | info.above,
    )
