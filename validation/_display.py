"""In which units a report shows time, distances and inventory: those a reader thinks in, stated on every axis."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_SECONDS = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0}
_HUNDREDTHS = {"dollars": "cents", "euros": "cents"}


@dataclass(frozen=True)
class Axis:
    """A quantity shown as `scale` times its value in the problem's unit, in `unit` (empty: none named)."""

    scale: float
    unit: str

    def __call__(self, value: Any) -> Any:
        return self.scale * np.asarray(value)

    def label(self, what: str) -> str:
        """What an axis says: `time (minutes)`."""
        return f"{what} ({self.unit})" if self.unit else what


@dataclass(frozen=True)
class Display:
    """The axes of a problem's report.

    money: name of the unit of money.   lot: what one lot is, in words.
    wealth: at which quotes that depend on stock and cash are shown, as a fill leaves it; None where they do not.
    """

    time: Axis
    distance: Axis
    inventory: Axis
    money: str
    lot: str
    wealth: float | None = None

    def at(self, problem: Any, y: Any) -> dict[str, Any]:
        """The state at which something is shown over inventories `y`."""
        if self.wealth is None:
            return {problem.names[0]: y}
        return {problem.names[0]: y, problem.names[1]: self.wealth - np.asarray(y)}

    def entry(self, tables: Any, table: Any) -> np.ndarray:
        """Of a table of `tables`, what it says now for every node of the inventory, where things are shown."""
        now = np.broadcast_to(table, tables.value.shape)[-1]
        if now.ndim == 1:
            return now
        others = np.zeros_like(tables.y) if self.wealth is None else self.wealth - tables.y  # at the target, or cash
        nearest = np.argmin(np.abs(tables.axes[1][None, :] - others[:, None]), axis=1)
        return now[np.arange(tables.y.size), nearest]


def display_for(
    problem: Any, units: Mapping[str, Any], typical_distance: float, wealth: float | None = None
) -> Display:
    """The axes for a problem whose numbers are counted in `units` (keys: time, money, distance, seconds_per_year,
    reference_price; all optional), given a typical distance in the problem's own unit."""
    money = units.get("money", "money")
    size = float(problem.size)
    own = problem.units
    if own["state"] == "lots":
        lot = f"{float(problem.lot):,.6g} units of the asset"
    else:
        lot = f"{size:,.6g} {money}"
    return Display(
        time=time_axis(float(problem.horizon), units.get("time", own["time"]), units.get("seconds_per_year")),
        distance=distance_axis(own["distance"], units, typical_distance),
        inventory=Axis(1 / size, "lots"),
        money=money,
        lot=lot,
        wealth=wealth,
    )


def shown_wealth(solution: Any, initial: Mapping[str, Any]) -> float | None:
    """Where quotes that depend on cash are shown: the start, or what a margin asks before it lets a dealer trade."""
    if solution is None or len(solution.tables.axes) == 1 or solution.tables.target is not None:
        return None
    if initial or getattr(solution.problem, "margin", None) is None:
        return float(sum(initial.values()))
    return float(solution.problem.margin.initial * solution.problem.max_stock)


def typical_distance(solution: Any) -> float:
    """The median size of a solution's bid distances, in its problem's unit; nan where there is none."""
    if solution is None:
        return math.nan
    bid = np.abs(np.asarray(solution.tables.bid))
    bid = bid[np.isfinite(bid)]
    return float(np.median(bid)) if bid.size else math.nan


def time_axis(horizon: float, unit: str, seconds_per_year: float | None) -> Axis:
    """Time in `unit`, or in seconds, minutes or hours where their length is known, as the horizon is long."""
    if unit == "years" and seconds_per_year:
        seconds = float(seconds_per_year)
    elif unit in _SECONDS:
        seconds = _SECONDS[unit]
    else:
        return Axis(1.0, "" if unit == "time" else unit)
    long = horizon * seconds
    shown = "seconds" if long < 300 else "minutes" if long <= 3 * 3600 else "hours"
    return Axis(seconds / _SECONDS[shown], shown)


def distance_axis(kind: str, units: Mapping[str, Any], typical: float) -> Axis:
    """Distances of a `kind` ("relative" or "price"), most about `typical`, in basis points, money or cents."""
    if kind == "relative" and "reference_price" not in units:
        return Axis(1e4, "basis points")
    price = float(units["reference_price"]) if kind == "relative" else 1.0
    money = units.get("money", "money" if kind == "relative" else "")
    if money in _HUNDREDTHS and not typical * price >= 1:  # nan: unknown, and seldom as much
        return Axis(100 * price, _HUNDREDTHS[money])
    return Axis(price, money)


def number(value: Any, digits: int = 5) -> str:
    """A number as a reader wants it: `digits` significant ones, thousands apart, no trailing zeros beyond a point."""
    value = float(value)
    if not math.isfinite(value):
        return "not estimated" if math.isnan(value) else f"{value}"
    size = abs(value)
    if size and not 1e-4 <= size < 1e9:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    decimals = max(0, digits - 1 - (math.floor(math.log10(size)) if size else 0))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def column(values: Any, digits: int = 4) -> list[str]:
    """Numbers that stand below each other: the largest has `digits` significant ones, all have its decimals."""
    values = np.asarray(values, dtype=float)
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if finite.size else 0.0
    decimals = max(0, digits - 1 - (math.floor(math.log10(largest)) if largest > 0 else 0))
    return [f"{value:,.{decimals}f}" if math.isfinite(value) else "—" for value in values + 0.0]


def with_error(measured: float, error: float, predicted: float) -> list[str]:
    """The three as texts, to the second significant digit of the standard error; empty where there is no number."""
    if not 0 < error < math.inf:
        return [number(value, 6) if math.isfinite(value) else "" for value in (measured, error, predicted)]
    decimals = min(12, max(0, 1 - math.floor(math.log10(error))))
    return [f"{value:,.{decimals}f}" if math.isfinite(value) else "" for value in (measured, error, predicted)]
