"""The quotes that a model predicts for each row of a panel: one dealer per row, each solved in full."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...hjb import FiniteDifference, Lattice, solve
from ...models import Exponential, InventoryDealer, MeanVariance, StockCashDealer
from .._dealer import DEVIATION_IN_LOTS, HORIZON_SECONDS, MOST_LOTS, risk_aversion_for
from .panel import Panel

if TYPE_CHECKING:
    from ..calibration import Calibration

Row = Mapping[str, float]
DAYS_PER_YEAR = 244.0  # of trading, as in the thesis
ROUGH = FiniteDifference(nodes_per_lot=1, steps=40, extrapolate=False, tolerance=1e-9)
"""For many dealers: in the synthetic panel its quotes are within .1 basis points of the default method's."""
_COARSE = Lattice(times=64, tolerance=1e-8)
_NOTE = "by the model, from this row's own columns"


def predict_quotes(
    panel: Panel,
    dealer_of: Callable[[Row], Any],
    scale: float,
    unit: str,
    method: Any = None,
    inventory: str | None = "inventory",
    advance: Callable[[float], None] | None = None,
) -> Panel:
    """The panel with the columns predicted_bid_distance, predicted_ask_distance and predicted_spread.

    dealer_of:  the problem that a row's columns state; all rows must state problems of one shape.
    scale:      a distance in the problem's unit times this is one in `unit`.
    inventory:  the column of lots held at which the quotes are taken; None for none held.
    advance:    told the share that is done.

    Where a dealer does not quote a side, or a column of the row is missing, the prediction is `nan`. Raises
    `ValueError` where a solve does not converge, naming the row.
    """
    distances = np.full((len(panel), 2), np.nan)
    for row in range(len(panel)):
        values = {name: float(column[row]) for name, column in panel.columns.items()}
        try:
            distances[row] = _quotes(dealer_of(values), method, 0.0 if inventory is None else values[inventory])
        except ValueError as error:
            raise ValueError(f"{panel.source}, {panel.stock[row]} in period {panel.period[row]:g}: {error}") from None
        if advance is not None:
            advance((row + 1) / len(panel))
    bid, ask = scale * distances.T
    columns = {"predicted_bid_distance": bid, "predicted_ask_distance": ask, "predicted_spread": bid + ask}
    return panel.with_columns(columns, dict.fromkeys(columns, unit), dict.fromkeys(columns, _NOTE))


def _quotes(problem: Any, method: Any, lots: float) -> np.ndarray:
    """Bid and ask distance now, (2,), in the problem's unit."""
    if not np.isfinite(lots):
        return np.full(2, np.nan)
    solution = solve(problem, method)
    if not solution.converged:
        raise ValueError(f"the dealer's problem was not solved: {solution.result.value}")
    quotes = solution.quotes(0.0, **{problem.names[0]: lots * float(problem.size)})
    return np.array([float(quotes.bid), float(quotes.ask)])


def dealers_like(problem: StockCashDealer, days_per_year: float = DAYS_PER_YEAR) -> Callable[[Row], StockCashDealer]:
    """The dealer of a panel's row: `problem` with what the row tells in place of its own.

    volatility (per √year) and funding_cost (per year, its `rate`) as they are; liquidity (orders per day that would
    trade at the reference price) times the days is each side's `scale`; risk_aversion (per lot's value) over the lot
    is the objective's. What a panel does not tell stays the problem's. Raises `ValueError` for another model than
    `StockCashDealer` with exponential demand and a mean-variance objective.
    """
    arguments = problem.arguments()
    demands = arguments["bid_demand"], arguments["ask_demand"]
    if not all(isinstance(demand, Exponential) for demand in demands):
        raise ValueError("the demand of both sides must be Exponential, as liquidity is its scale")
    if not isinstance(arguments["objective"], MeanVariance):
        raise ValueError("the objective must be MeanVariance, as the panel's risk aversion is its")

    def dealer_of(row: Row) -> StockCashDealer:
        told: dict[str, Any] = {}
        if "volatility" in row:
            told["volatility"] = row["volatility"]
        if "funding_cost" in row:
            told["rate"] = row["funding_cost"]
        if "liquidity" in row:
            scale = row["liquidity"] * days_per_year
            told["bid_demand"], told["ask_demand"] = (Exponential(scale, demand.decay) for demand in demands)
        if "risk_aversion" in row:
            told["objective"] = MeanVariance(row["risk_aversion"] / float(problem.lot))
        return StockCashDealer(**{**arguments, **told})

    return dealer_of


def dealers_in(record: Calibration) -> Callable[[Row], InventoryDealer]:
    """The dealer of an interval: the calibrated market's, with the interval's own volatility and pace of orders.

    `sigma` is the interval's (cents per √second); `A` is the session's times the interval's market orders over the
    session's mean; `k`, the lot and the risk aversion, set as a risk budget, are the session's.
    """
    pace, size = record.market_order_rate_per_second.value, record.median_market_order_size
    objective = MeanVariance(risk_aversion_for(record, DEVIATION_IN_LOTS))

    def dealer_of(row: Row) -> InventoryDealer:
        faster = row["liquidity"] / pace
        bid, ask = (
            Exponential(fit.scale_per_second.value * faster, fit.decay_per_dollar.value)
            for fit in (record.bid, record.ask)
        )
        return InventoryDealer(row["volatility"] / 100, HORIZON_SECONDS, bid, ask, size, MOST_LOTS, objective)

    return dealer_of


def predict_intervals(panel: Panel, record: Calibration, advance: Callable[[float], None] | None = None) -> Panel:
    """`predict_quotes` for intervals of market messages: at no inventory, as the proxy is no dealer's position."""
    return predict_quotes(panel, dealers_in(record), 100.0, "cents", _COARSE, inventory=None, advance=advance)
