"""A dealer with one thing to quote, as shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import _sections as sections
from ._display import column, display_for, number, shown_wealth, typical_distance
from ._verdict import Comparison
from ._view import Section, Shown, View


class OneAssetView(View):
    """Quotes of one asset against its inventory."""

    def __init__(self, problem: Any, units: Mapping[str, Any], solution: Any, start: Mapping[str, Any], sample: Any):
        self.problem, self.units = problem, units
        self.display = display_for(problem, units, typical_distance(solution), shown_wealth(solution, start))
        self.reach = _reach(problem, solution, sample)

    @property
    def here(self) -> dict[str, Any]:
        return self.display.at(self.problem, 0.0)

    def grid(self, solution: Any) -> str:
        times, nodes, *more = solution.tables.value.shape
        others = "wealths" if solution.tables.target is not None else "cash balances"
        return " x ".join([f"{times:,} times", f"{nodes:,} inventories", *(f"{n:,} {others}" for n in more)])

    def brief(self, solution: Any) -> list[Shown]:
        problem, display = self.problem, self.display
        most = min(float(problem.limit), float(solution.tables.y[-1]), 10 * float(problem.size))
        y = sections.spread_lots(problem, most, rows=7)
        quotes = solution.quotes(0.0, **display.at(problem, y))
        unit = f", {display.distance.unit}" if display.distance.unit else ""
        held = "" if display.wealth is None else f", at a wealth of {number(display.wealth)} {display.money}"
        rows = [
            [display.inventory.label("inventory"), *(number(q, 4) for q in display.inventory(y))],
            ["bid", *column(display.distance(quotes.bid))],
            ["ask", *column(display.distance(quotes.ask))],
        ]
        return [Shown(f"quotes now: distances from the reference price{unit}{held}", (), rows)]

    def quotes(self, solution: Any) -> dict[str, Any]:
        bid, ask = solution.quotes(0.0, **self.here)
        return {"bid": float(bid), "ask": float(ask)}

    def headline(self, solution: Any) -> str:
        distance = self.display.distance
        bid, ask = (float(distance(x)) for x in solution.quotes(0.0, **self.here))
        unit = f" {distance.unit}" if distance.unit else ""
        return (
            f"Without inventory the dealer now bids {number(bid, 4)}{unit} below the reference price and asks "
            f"{number(ask, 4)}{unit} above it: a spread of {number(bid + ask, 4)}{unit}."
        )

    def problem_section(self, assumptions: Sequence[str]) -> Section:
        return sections.problem_section(self.problem, self.units, self.display, assumptions)

    def quotes_section(self, solution: Any) -> Section:
        return sections.quotes_section(solution, self.display, self.reach)

    def simulation_section(self, simulation: Any, comparison: Comparison, sample: Any, solution: Any) -> Section:
        return sections.simulation_section(simulation, comparison, sample, solution, self.display)

    def evidence_section(self, solution: Any, cross_check: Mapping[str, Any] | None) -> Section:
        return sections.evidence_section(solution, self.display, self.reach, cross_check)


def _reach(problem: Any, solution: Any, sample: Any) -> float:
    """How far in inventory to show things: as far as paths go and a little more, within the limit and the solution."""
    size = float(problem.size)
    if solution is None:
        return size
    most = min(float(problem.limit), float(solution.tables.y[-1]))
    if sample is not None:
        seen = float(np.percentile(np.abs(sample.inventory), 99.9))
        most = min(most, max(1.2 * seen, 5 * size))
    return max(size, math.floor(most / size * (1 + 1e-9)) * size)
