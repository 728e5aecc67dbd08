"""The dealer of the simulated market: a problem calibrated to the people who come, its solution as a table of ticks."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...hjb import Solution
from ...models import InventoryDealer, Linear, RunningPenalty
from .population import Population

FINENESS = 10
"""Entries of the table per lot of the dealer's model, about."""
LOTS = 60
"""The largest inventory of the dealer's problem; all tables have one size, so that one compiled run serves all."""


def on_tick(price: Any, side: Any, tick: Any) -> Any:
    """The nearest multiple of `tick` that costs no more to who buys (side 1), and brings no less to who sells (-1)."""
    return side * (side * price // tick * tick)


class DealerQuotes(NamedTuple):
    """Distances from the reference price in whole numbers, rounded outward, by the dealer's inventory.

    bid, ask: (entries,), entry `entries // 2` at no inventory and the next one `spacing` units longer. Beyond the table
    the last entry holds: the dealer must quote, however much it has.
    """

    bid: Any
    ask: Any
    spacing: Any

    def at(self, reference: jax.Array, inventory: jax.Array, tick: int | jax.Array = 1) -> tuple[jax.Array, jax.Array]:
        """Bid and ask prices, multiples of `tick`, again rounded outward; all (books,)."""
        bid, ask = jnp.asarray(self.bid), jnp.asarray(self.ask)
        entries = bid.shape[0]
        spacing = jnp.asarray(self.spacing)
        entry = jnp.clip((inventory + spacing // 2) // spacing + entries // 2, 0, entries - 1)
        return on_tick(reference - bid[entry], 1, tick), on_tick(reference + ask[entry], -1, tick)


def calibrated_dealer(
    population: Population,
    share: float,
    lot: int = 1,
    *,
    risk_aversion: float = 2e-4,
    horizon: float = 20.0,
) -> InventoryDealer:
    """The dealer's problem for a population of which `share` come to it, in ticks, units and days.

    With expected prices even on `reach` ticks to both sides of the fundamental value, and a reference price at it, of
    `N share / 2` buyers a day those who accept an ask at distance `x` are

        Lambda(x) = N share / 2 * (reach - x) / (2 reach),         |x| <= reach,

    exactly `Linear`, and likewise the sellers: nothing is fitted. An order counts as one fill of the mean size, the
    reference price has the fundamental's volatility `sigma` per square root of a day, and the running cost is Gueant's
    `gamma sigma^2 lot^2 / 2` per day and squared lot (`risk_aversion` is `gamma`, per tick times unit).
    """
    if not 0 < share <= 1:
        raise ValueError(f"share of the investors who come to the dealer must lie above 0 and up to 1, got {share}")
    arrivals = population.investors * share / 2
    demand = Linear(scale=arrivals / 2, slope=arrivals / 2 / population.reach)
    size = population.mean_size * lot
    return InventoryDealer(
        volatility=population.volatility,
        horizon=horizon,
        bid_demand=demand,
        ask_demand=demand,
        lot=size,
        max_inventory=LOTS,
        objective=RunningPenalty(running=risk_aversion * population.volatility**2 * size**2 / 2),
    )


def quote_table(solution: Solution, widest: float | None = None) -> DealerQuotes:
    """The solution's quotes at time 0, far from the horizon, between lots on a straight line.

    Where the solution does not quote a side (at its limit, or where no price would be worth it) the market's dealer
    must all the same, and quotes as at the nearest inventory where the solution does.

    widest: the widest spread that the dealer may quote, in ticks; a wider one is narrowed by as much on both sides.
    Raises `ValueError` where the solution did not converge.
    """
    if not solution.converged:
        raise ValueError(f"the dealer's problem is not solved: {solution.result}")
    dealer = solution.problem
    limit, lot = int(dealer.max_inventory), float(dealer.lot)
    lots = np.arange(-limit, limit + 1)
    bid, ask = (_everywhere(side) for side in solution.quotes(t=0.0, inventory=lots))
    excess = 0.0 if widest is None else np.maximum(bid + ask - widest, 0) / 2
    spacing = max(1, math.ceil(lot / FINENESS))
    at = np.arange(-LOTS * FINENESS, LOTS * FINENESS + 1) * spacing / lot
    # A distance that is a whole number of ticks but for rounding must not cost a further tick.
    bid, ask = (np.ceil(np.interp(at, lots, side - excess) - 1e-9).astype(np.int32) for side in (bid, ask))
    return DealerQuotes(bid, ask, np.int32(spacing))


def _everywhere(distances: np.ndarray) -> np.ndarray:
    """Distances with the gaps at the two ends filled by the nearest one."""
    known = np.flatnonzero(np.isfinite(distances))
    if known.size == 0:
        raise ValueError("the dealer's solution quotes nowhere; lower its risk aversion")
    at = np.arange(len(distances))
    return np.interp(at, known, distances[known])


def no_dealer() -> DealerQuotes:
    """Quotes for a market that has no dealer: they are looked up, and nobody trades at them."""
    nothing = np.zeros(2 * LOTS * FINENESS + 1, np.int32)
    return DealerQuotes(nothing, nothing, np.int32(1))
