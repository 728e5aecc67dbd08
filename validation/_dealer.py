"""The dealer with accounts in a calibrated market: from seconds and dollars to years and relative distances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..models import Exponential, MeanVariance, StockCashDealer
from ._display import number

if TYPE_CHECKING:
    from ..models import InventoryDealer
    from .calibration import Calibration, IntensityFit

HORIZON_SECONDS = 3600.0
MOST_LOTS = 10
DEVIATION_IN_LOTS = 2.5  # of the inventory: the risk budget
SECONDS_PER_YEAR = {"LOBSTER": 252 * 6.5 * 3600.0, "Binance": 365 * 24 * 3600.0}  # of trading


@dataclass(frozen=True)
class MarketDealer:
    """A calibrated market's dealer, stated twice.

    problem:      with a stock and a cash account, money in dollars, time in years of trading, distances relative.
    twin:         the same dealer in lots, dollars and seconds, on a Brownian price: another model and another method
                  for nearly the same answer, so that a slip in units or in a solver would show.
    units:        of `problem`, with what it takes to convert it back.
    assumptions:  what was set and not measured, and how units were converted, one sentence each.
    """

    problem: StockCashDealer
    twin: InventoryDealer
    units: dict[str, Any]
    assumptions: list[str]


def state_dealer(record: Calibration, price: float) -> MarketDealer:
    """The dealer in the market of `record`, around a reference price of `price` dollars.

    A distance of `d` dollars is `d/price` relative, so that `k` per dollar is `k price`; a lot is worth `price` times
    the median market order; rates per second become rates per year of trading, and `sigma` dollars per sqrt(second)
    become `sigma/price sqrt(seconds per year)` per sqrt(year).
    """
    year = SECONDS_PER_YEAR[record.venue]
    sigma, size = record.volatility_per_sqrt_second.value, record.median_market_order_size
    aversion = risk_aversion_for(record, DEVIATION_IN_LOTS)
    lot = price * size

    def demand(fit: IntensityFit) -> Exponential:
        return Exponential(fit.scale_per_second.value * year, fit.decay_per_dollar.value * price)

    problem = StockCashDealer(
        growth=0.0,
        volatility=sigma / price * math.sqrt(year),
        rate=0.0,
        horizon=HORIZON_SECONDS / year,
        bid_demand=demand(record.bid),
        ask_demand=demand(record.ask),
        lot=lot,
        max_stock=(MOST_LOTS + 0.5) * lot,
        objective=MeanVariance(aversion),
    )
    twin = record.problem(horizon_seconds=HORIZON_SECONDS, max_inventory=MOST_LOTS, objective=MeanVariance(aversion))
    units = {
        "time": "years",
        "distance": "relative",
        "money": "dollars",
        "seconds_per_year": year,
        "reference_price": price,
    }
    return MarketDealer(problem, twin, units, _assumptions(record, price, year, aversion))


def risk_aversion_for(record: Calibration, deviation: float) -> float:
    """The `lambda` under which the inventory's stationary standard deviation `s` is about `deviation` lots.

    With both sides at `A e^{-k d}` and quotes that shift by `w` per lot, fills at about `A/e` a side pull the inventory
    back at `2 A k w/e`, so `s^2 = 1/(2 k w)`. The shift that is optimal against a running cost of `(lambda/2) (sigma
    D)^2` per squared lot is `w^2 = e lambda sigma^2 D/(2 A k)`. Hence `lambda = A/(2 e k s^4 sigma^2 D)`.
    """
    scale, decay = record.pooled.scale_per_second.value, record.pooled.decay_per_dollar.value
    variance = record.volatility_per_sqrt_second.value**2
    return scale / (2 * math.e * decay * deviation**4 * variance * record.median_market_order_size)


def _assumptions(record: Calibration, price: float, year: float, aversion: float) -> list[str]:
    size = record.median_market_order_size
    return [
        f"The reference price is the session's mean mid, {number(price)} dollars. Distances are relative to it: k per "
        f"dollar times {number(price)} is k per unit of relative distance.",
        f"A lot is the median market order, {number(size)} units or {number(price * size, 6)} dollars: the fill that "
        "the counted prints stand for. A larger lot would often be filled in part only, of which demand knows nothing.",
        f"A year of trading has {number(year, 8)} seconds. The horizon is {number(HORIZON_SECONDS / 60)} minutes.",
        "Growth and interest are set to zero: the drift of one session is no forecast of the next, and within the hour "
        "interest is far below what the other errors are.",
        f"The stock account is held within {MOST_LOTS} lots either side; half a lot of room is added to the limit, so "
        "that a move of the price does not shut out the last lot.",
        f"The risk aversion, {number(aversion, 4)} per dollar, states a risk budget: in the quadratic approximation "
        f"the inventory settles at a standard deviation of {DEVIATION_IN_LOTS:g} lots. The simulation says what it is.",
        "Fills are assumed to come as a Poisson process whose intensity depends on the quoted distance alone, with "
        "nobody ahead in the queue and no information in a fill. Real fills are less kind: read the profit as an upper "
        "bound.",
    ]
