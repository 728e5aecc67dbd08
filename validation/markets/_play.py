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
from scipy.stats import poisson

from ...models.channels import Quotes
from ...models.inventory import InventoryDealer
from ...models.stock_cash import StockCashDealer
from .. import _batches
from .._quoting import ask, with_numbers_as
from .._randomness import Key, key_of
from .._thinning import _apart
from ._flow import flow_of
from ._reference import reference_of
from ._venue import END, Info, State, Venue
from .kinds import MARKETS
from .poisson import GROUPS, PoissonMarket

_TURNS = 1000  # of the loop between two looks of the host, which shows progress and may interrupt
_LOOKS = 256  # times at which a policy is asked how near it quotes
_FINENESS, _MOST_STEPS = 8, 2000  # and stock accounts, per lot and to each side
_MARGIN = 1.05  # for what happens between them
_REACH, _RARE = 7.2, 1e-12  # the reference moves farther, in standard deviations, with a probability below this
MOST_ORDERS = 2**20
"""Expected on a path; where a policy quotes so near that more must be drawn, it is refused."""


class Account(NamedTuple):
    """What a dealer has made so far, each field of shape (paths,)."""

    money: Any  # booked, carried to the horizon; for an inventory in lots above the marked book of time 0
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


PLAYED = (InventoryDealer, StockCashDealer)
Playable = InventoryDealer | StockCashDealer


def check_market(problem: Any, market: Any) -> Playable:
    """The problem, or a refusal, by name, of what cannot be played."""
    if not isinstance(market, tuple(MARKETS.values())):
        raise TypeError(
            f"market must be one of {', '.join(MARKETS)} from twosided.validation, or None for the model's own fills, "
            f"got {type(market).__name__}"
        )
    name = type(market).__name__
    if not isinstance(problem, PLAYED):
        raise TypeError(
            f"{name} is for an {' or a '.join(kind.__name__ for kind in PLAYED)}, got {type(problem).__name__}; state "
            "the dealer as one of them, or leave the market out"
        )
    if not math.isfinite(problem.limit):
        raise ValueError(
            f"{name} needs a finite max_inventory, got inf: without a limit nothing bounds how near a policy quotes; "
            "state an InventoryDealer with max_inventory=30, say"
        )
    if getattr(problem, "cash_matters", False):
        raise ValueError(
            f"{name} is for dealers whose cash account drops out, but borrowing_rate, short_fee, credit_line or "
            "short_limit make the cash account matter by itself; leave them out"
        )
    if problem.moves and market.tick > 0 and not market.opening > 0:
        raise ValueError(
            f"{name}: tick needs the opening price, as the distances of a {type(problem).__name__} are shares of it; "
            "give opening"
        )
    return problem


def nearest(problem: Playable, policies: Iterable[Callable[..., Any]], inventory: float = 0.0) -> Quotes:
    """The least distance that any of `policies` ever quotes on either side, from a start at `inventory`.

    Sides that a limit forbids do not count; `inf` where a side is never quoted.
    """
    problem = with_numbers_as(np.float64, problem)
    with jax.enable_x64(True):
        y = _inventories(problem, inventory)
        tau = np.linspace(0.0, float(problem.horizon), _LOOKS + 1)
        found = [np.stack(_distances(problem, with_numbers_as(np.float64, policy), tau, y)) for policy in policies]
        may = np.stack([np.asarray(problem.may_fill(side, y)) for side in (+1, -1)])
    quoted = np.concatenate(found, axis=1)
    quoted = np.where(may[:, None, :] & (quoted < np.inf), quoted, np.inf)  # false for nan
    return Quotes(*(float(side) for side in np.min(quoted, axis=(1, 2))))


def _inventories(problem: Any, start: float) -> np.ndarray:
    """Where a policy is asked: all lots that can be held, or an account in small steps, as far as growth carries it."""
    size, most = float(problem.size), float(problem.limit) + abs(start)
    if not problem.moves:
        half = math.ceil(most)
        return start + np.arange(-half, half + 1.0)
    horizon = float(problem.horizon)
    grown = math.exp(abs(float(problem.growth)) * horizon + _REACH * float(problem.volatility) * math.sqrt(horizon))
    half = min(math.ceil(_FINENESS * grown * most / size), _MOST_STEPS)
    return np.arange(-half, half + 1.0) / half * grown * most


@eqx.filter_jit
def _distances(problem: Any, policy: Any, tau: Any, lots: Any) -> Quotes:
    def look(to_go: Any) -> Quotes:
        return ask(problem, policy, jnp.broadcast_to(to_go, lots.shape), lots, jnp.zeros_like(lots))

    return lax.map(look, tau)


def open_venue(problem: Playable, market: PoissonMarket, near: Quotes, beside: Iterable[PoissonMarket] = ()) -> Venue:
    """The market for quotes no nearer than `near` when they are sent.

    beside: markets whose runs are to meet the same orders: all are drawn that one of them needs.
    Raises `ValueError` where orders would be too many to draw.
    """
    together = (market, *beside)
    stirs = any(each.stirs for each in together)
    stale = max(each.interval + float(each.latency) for each in together)
    demands = (problem.bid_demand, problem.ask_demand)
    accept = Quotes(*(float(demand.intensity(0.0)) for demand in demands))
    reach = []
    for name, demand, distance, all_of_them in zip(("bid", "ask"), demands, near, accept, strict=True):
        moved = max(_strays(problem, each, stale, all_of_them) for each in together)
        with np.errstate(over="ignore"):
            most = _MARGIN * float(demand.intensity(distance - moved)) if distance < math.inf else 0.0
        most = max(most, all_of_them if stirs else 0.0)
        if not most * float(problem.horizon) <= MOST_ORDERS:
            stands = f", standing for {stale:.3g}," if stale else ""
            raise ValueError(
                f"market: the {name} is quoted as near as {distance:.4g}{stands} where up to {most:.3g} orders arrive "
                f"per unit of time, too many to draw; take a tighter limit on the inventory, or a shorter refresh and "
                "latency"
            )
        reach.append(np.float64(most))
    flow = flow_of(market, Quotes(*reach), accept, stirs)
    reference = reference_of(problem, market, flow)
    plain = market.only(tuple(name for name in market.arguments() if name not in GROUPS["clustering"]))
    problem, market, flow, reference = (with_numbers_as(np.float64, x) for x in (problem, plain, flow, reference))
    return Venue(problem, market, flow, reference, continuous=market.interval == 0)


def _strays(problem: Playable, market: PoissonMarket, stale: float, orders: float) -> float:
    """How far the reference may go towards one of the dealer's quotes while it stands; a distance."""
    drift = float(problem.growth if problem.moves else problem.drift)
    by_itself = float(problem.volatility) * _REACH * math.sqrt(stale) + abs(drift) * stale
    if problem.moves:
        by_itself = math.expm1(by_itself)
    if not (market.informed > 0 and stale > 0):
        return by_itself
    own, cross, _ = market.clustering
    rate = float(market.informed) * orders / (1 - own - cross)  # clusters make bursts, see `Account.above`
    delay = float(market.informed_delay)
    late = -math.expm1(-stale / delay) * poisson.isf(_RARE, rate * delay) if delay > 0 else 0.0
    return by_itself + float(market.informed_move) * float(poisson.isf(_RARE, rate * stale) + late)


def play(
    venue: Venue,
    policy: Any,
    start: tuple[float, float],
    paths: int,
    seed: int,
    batch: int | None,
    progress: bool | None,
) -> Played:
    """Play `policy` from an inventory and money of `start`; raises `ValueError` where it outruns its bound."""
    case = _Case(venue, with_numbers_as(np.float64, policy), key_of(seed))
    size = _batches.batch_size(paths, 4096, batch)

    def run(first: int, report: _batches.Report) -> Played:
        state, account = _begin(case, np.uint32(first), np.float64(start[0]), np.float64(start[1]), size)
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
def _begin(case: _Case, first: Any, inventory: Any, money: Any, size: int) -> tuple[State, Account]:
    zero, none = jnp.zeros(size), jnp.zeros(size, jnp.int32)
    state = case.venue.init(case.key, first + jnp.arange(size, dtype=jnp.uint32), inventory)
    return state, Account(zero + money, zero, none, none, zero, zero, none > 0)


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
    booked = _book(case.venue, tau, account, info)
    over = state.event == END
    return jax.tree.map(lambda new, old: jnp.where(over, old, new), (after, booked), (state, account))


def _book(venue: Venue, tau: Any, account: Account, info: Info) -> Account:
    """The account after an event with `tau` to go and the time to the next, over which the inventory rests."""
    problem, filled = venue.problem, info.bought | info.sold
    none = jnp.zeros_like(account.money)
    cost = problem.objective.fill_cost(info.earned)
    running = none
    for since, weight in zip(*venue.reference.held(info.dt), strict=True):
        exposure = problem.exposure(tau - since, info.held)
        running = running + weight * problem.objective.path_rate(exposure, problem.lots(info.held))
    both = info.order & ~jnp.isnan(info.spread)
    return Account(
        money=account.money + info.payment + info.income,
        charge=account.charge + jnp.where(filled, cost, none) + running,
        bids=account.bids + info.bought.astype(jnp.int32),
        asks=account.asks + info.sold.astype(jnp.int32),
        spread_time=account.spread_time + jnp.where(both, info.spread, none),
        quoted_time=account.quoted_time + jnp.where(both, 1.0, none),
        above=account.above | info.above,
    )
