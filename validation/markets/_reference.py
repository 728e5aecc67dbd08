"""The reference price of a market and what it carries along: a Brownian motion, or a geometric one.

Prices count from the opening, in the market's unit of price; distances are in the problem's unit, which is that of
prices for a dealer in lots, and a share of the price for a dealer with accounts.
"""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ...models.inventory import InventoryDealer
from ...models.stock_cash import StockCashDealer
from ._flow import Flow
from .poisson import PoissonMarket


class Arithmetic(eqx.Module):
    """`dP = mu dt + sigma dZ + news`: lots stay as they are, and the book gains `lot q dP`."""

    drift: Any
    volatility: Any
    lot: Any

    def quote(self, price: Any, side: int, distance: Any) -> Any:
        """The price of a quote at a distance."""
        return price - side * distance

    def distance(self, price: Any, side: int, quote: Any) -> Any:
        """The distance of a quote at a price; `side` is +1 for the bid."""
        return side * (price - quote)

    def moved(self, price: Any, dt: Any, displacement: Any, news: Any) -> Any:
        """The price after `dt`, over which the Brownian motion goes by `displacement`."""
        return price + self.drift * dt + self.volatility * displacement + news

    def carried(self, inventory: Any, before: Any, after: Any) -> tuple[Any, Any]:
        """The inventory when the price has moved, and the money made meanwhile."""
        return inventory, self.lot * inventory * (after - before)

    def held(self, dt: Any) -> tuple[Any, Any]:
        """Moments within `dt` as time from its start, and what each counts in an integral over it."""
        return (jnp.zeros_like(dt),), (dt,)


class Geometric(eqx.Module):
    """`dP/P = mu dt + sigma dZ + news`: the stock account moves with the price. `unit` is the price at the opening."""

    drift: Any
    volatility: Any
    unit: Any

    def quote(self, price: Any, side: int, distance: Any) -> Any:
        return (self.unit + price) * (1 - side * distance) - self.unit

    def distance(self, price: Any, side: int, quote: Any) -> Any:
        return side * (price - quote) / (self.unit + price)

    def moved(self, price: Any, dt: Any, displacement: Any, news: Any) -> Any:
        grown = jnp.exp((self.drift - 0.5 * self.volatility**2) * dt + self.volatility * displacement)
        return (self.unit + price) * grown * (1 + news) - self.unit

    def carried(self, inventory: Any, before: Any, after: Any) -> tuple[Any, Any]:
        return inventory * (self.unit + after) / (self.unit + before), jnp.zeros_like(inventory)

    def held(self, dt: Any) -> tuple[Any, Any]:
        """Two points of Gauss and Legendre; what counts is `E[S_u^2] / S_0^2`, as all charges are quadratic in `S`."""
        growth = 2 * self.drift + self.volatility**2
        at = tuple(0.5 * dt * (1 + sign / math.sqrt(3)) for sign in (-1, 1))
        return at, tuple(0.5 * dt * jnp.exp(growth * u) for u in at)


Reference = Arithmetic | Geometric


def reference_of(problem: InventoryDealer | StockCashDealer, market: PoissonMarket, flow: Flow) -> Reference:
    """The problem's reference price, with informed orders in it: its drift and volatility are still the problem's.

    What moves by orders moves so much less by itself. Raises `ValueError` where that is more than all.
    """
    variance = float(problem.volatility) ** 2 - float(flow.variance)
    if variance < 0:
        raise ValueError(
            f"market: informed orders move the reference by {math.sqrt(float(flow.variance)):.4g} per square root of "
            f"time, which is more than its volatility of {float(problem.volatility):.4g}; lower informed or "
            "informed_move"
        )
    volatility = np.float64(math.sqrt(variance))
    if isinstance(problem, InventoryDealer):
        return Arithmetic(np.float64(problem.drift - flow.mean_move), volatility, np.float64(problem.lot))
    drift = np.float64(problem.growth - flow.mean_move)
    return Geometric(drift, volatility, np.float64(market.opening if market.opening > 0 else 1.0))
