"""How a run is shown, whatever the problem quotes: one view per kind of problem, for the terminal and for the report.

A view knows its problem's words, units and pictures. What all have in common, the report's lead and what a solve says
of itself, is here; `view_for` finds the view of a problem.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from . import _sections as sections
from ._display import Display, number
from ._html import verdict
from ._verdict import Comparison, is_approximate, predicts

Section = tuple[str, str]


class Shown(NamedTuple):
    """A table of texts; the first column names the row."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class View(ABC):
    """How the runs of one kind of problem are shown.

    problem, units:  what was stated, and the units of the case.
    display:         the axes on which it is shown.
    here:            the state in which value and quotes are told first: without a position.
    starts_here:     whether the paths of a simulation begin there.
    """

    problem: Any
    units: Mapping[str, Any]
    display: Display
    starts_here: bool = True

    @property
    def here(self) -> dict[str, Any]:
        return {}

    def parameters(self) -> Iterable[tuple[str, str, str]]:
        """Name, value and meaning of everything that is stated."""
        return sections.parameter_rows(self.problem, self.units, self.display)

    @abstractmethod
    def grid(self, solution: Any) -> str:
        """What the solution is represented by, such as `33 times x 21 inventories`."""

    @abstractmethod
    def brief(self, solution: Any) -> list[Shown]:
        """The quotes of now as a terminal shows them."""

    @abstractmethod
    def quotes(self, solution: Any) -> dict[str, Any]:
        """The quotes of now as plain data, lists and numbers, in the problem's own units."""

    @abstractmethod
    def headline(self, solution: Any) -> str:
        """The quotes without a position, in a sentence."""

    @abstractmethod
    def problem_section(self, assumptions: Sequence[str]) -> Section: ...

    @abstractmethod
    def quotes_section(self, solution: Any) -> Section: ...

    @abstractmethod
    def simulation_section(self, simulation: Any, comparison: Comparison, sample: Any, solution: Any) -> Section: ...

    @abstractmethod
    def evidence_section(self, solution: Any, cross_check: Mapping[str, Any] | None) -> Section: ...

    def compared(self, comparison: Comparison) -> list[tuple[str, ...]]:
        """Quantity, measured, standard error, predicted, z and unit as texts."""
        return sections.comparison_rows(comparison, self.display)

    def solved(self, solution: Any) -> list[tuple[str, str, str]]:
        """What a solve says of itself: name, number and unit, where it is known."""
        rows = (
            ("residual", float(solution.residual), 2, "relative"),
            ("value", float(solution.value(0.0, **self.here)), 7, self.display.money),
            ("its error, about", float(solution.error_estimate), 2, self.display.money),
            ("expected wealth", self.expected(solution), 7, self.display.money),
        )
        return [(name, number(found, digits), unit) for name, found, digits, unit in rows if math.isfinite(found)]

    def expected(self, solution: Any) -> float:
        """The expected wealth where things are told first; nan where the solution does not know it."""
        try:
            return float(solution.expected_wealth(0.0, **self.here))
        except ValueError:
            return math.nan

    def lead(self, solution: Any, comparison: Comparison | None) -> str:
        """What matters most, in a few sentences."""
        if solution is None:
            return ""
        sentences = [self.headline(solution), self._worth(solution, comparison), _trust(solution)]
        if comparison is not None and comparison.finding:
            sentences[-1] += f" {comparison.finding}"
        return verdict(sentences, good=solution.converged and (comparison is None or comparison.agrees is not False))

    def _worth(self, solution: Any, comparison: Comparison | None) -> str:
        money = self.display.money
        if not predicts(solution):
            if comparison is None:
                return "What they earn is for a simulation to say."
            mean, std = (row.measured for row in comparison.rows[:2])
            return (
                f"Simulated, they earn {number(mean, 5)} {money} by the horizon, with a standard deviation of "
                f"{number(std, 4)}."
            )
        value, mean = float(solution.value(0.0, **self.here)), self.expected(solution)
        what = "The position" if self.starts_here else "Such a book"
        text = f"{what} is worth {number(value, 6)} {money} by the dealer's own criterion"
        if math.isfinite(mean):
            text += f", and wealth at the horizon is expected to be {number(mean, 6)} {money}"
        if self.starts_here and comparison is not None and comparison.wealth is not None:
            text += f" with a standard deviation of {number(comparison.wealth[1], 4)}"
        return text + "."


def _trust(solution: Any) -> str:
    if not solution.converged:
        return f"THE SOLVE DID NOT CONVERGE: {solution.result.value}. Do not use these numbers."
    return "These quotes are a published approximation." if is_approximate(solution) else "The solve converged."


def view_for(
    problem: Any,
    units: Mapping[str, Any],
    solution: Any = None,
    start: Mapping[str, Any] | None = None,
    sample: Any = None,
) -> View:
    """The view of a problem; of what was solved, from where it starts, with paths of it, as far as these are there."""
    from ..models.currency import CurrencyDealer
    from ..models.currency_book import CurrencyBook
    from ..models.multi_asset import MultiAssetDealer
    from ..models.options_book import OptionsBook
    from ._view_assets import AssetsView
    from ._view_currency import CurrencyView
    from ._view_one import OneAssetView
    from ._view_options import OptionsView

    views: dict[Any, Any] = {
        MultiAssetDealer: AssetsView,
        CurrencyDealer: CurrencyView,
        CurrencyBook: CurrencyView,
        OptionsBook: OptionsView,
    }
    view = next((view for kind, view in views.items() if isinstance(problem, kind)), OneAssetView)
    return view(problem, units, solution, start or {}, sample)
