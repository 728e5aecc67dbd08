"""What the views of all problems with several things to quote have in common: the sections of their report."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from . import _figures as figures
from . import _sections as sections
from ._display import Display, number
from ._html import bullets, figure, paragraph, table
from ._verdict import Comparison
from ._view import Section, Shown, View

_MOST_ROWS = 24  # of a table on the terminal


class Picture(NamedTuple):
    """A drawn figure, what it is called and how to read it."""

    drawn: Any
    name: str
    caption: str


class BookView(View):
    """A book: its tables of quotes and its pictures differ by kind, the sections they stand in do not."""

    statement: ClassVar[str]
    meanings: ClassVar[dict[str, str]] = {}

    def __init__(self, problem: Any, units: Mapping[str, Any], solution: Any, start: Mapping[str, Any], sample: Any):
        self.problem, self.units = problem, units
        self.display = self.axes(solution)
        self.start = np.atleast_1d(np.asarray(start.get(problem.names[0], 0.0), float))
        self.starts_here = not np.any(self.start)

    @abstractmethod
    def axes(self, solution: Any) -> Display:
        """The units in which it is shown; `solution` may be None."""

    @abstractmethod
    def tables(self, solution: Any) -> list[Shown]:
        """The quotes of now without a position, in full."""

    @abstractmethod
    def pictures(self, solution: Any) -> Iterable[Picture]:
        """The quotes against what is held."""

    def parameters(self) -> Iterable[tuple[str, str, str]]:
        return sections.parameter_rows(self.problem, self.units, self.display, self.meanings)

    def units_in_words(self) -> str:
        """How things are counted, in a sentence or two."""
        return ""

    def facts(self, solution: Any) -> list[tuple[str, str]]:
        """What a solution says beside its quotes, for the report's evidence."""
        return []

    def brief(self, solution: Any) -> list[Shown]:
        found = []
        for shown in self.tables(solution):
            left = len(shown.rows) - _MOST_ROWS
            more = f"; {left} more in the report" if left > 0 else ""
            found.append(Shown(shown.caption + more, shown.head, shown.rows[:_MOST_ROWS]))
        return found

    def problem_section(self, assumptions: Sequence[str]) -> Section:
        body = paragraph(self.statement)
        body += table(("parameter", "value", "meaning"), self.parameters(), text_columns=(1, 2))
        body += paragraph(f"{self.units_in_words()} Time runs from 0, now, to the horizon.".strip())
        if assumptions:
            body += "<h3>What was assumed</h3>" + bullets(assumptions)
        return "The dealer's problem", body

    def quotes_section(self, solution: Any) -> Section:
        body = ""
        for shown in self.tables(solution):
            body += paragraph(f"{shown.caption[:1].upper()}{shown.caption[1:]}.") + table(shown.head, shown.rows)
        for picture in self.pictures(solution):
            body += figure(figures.as_svg(picture.drawn), picture.name, picture.caption)
        return "The optimal quotes", body

    def simulation_section(self, simulation: Any, comparison: Comparison, sample: Any, solution: Any) -> Section:
        name, unit = self.problem.names[0], self.problem.units["state"]
        held = "nothing" if self.starts_here else f"{name} {', '.join(map(number, self.start))} {unit}"
        body = paragraph(
            f"{simulation.paths:,} paths with exact fills, seed {simulation.seed}, starting with {held}. "
            f"{comparison.meaning}"
        )
        head = ("", "measured", "std. error", "predicted", "z", "unit")
        body += table(head, self.compared(comparison), text_columns=(5,))
        body += paragraph(
            "Measured is the average over the paths and the standard error says how far it may be off by chance; "
            "predicted comes from the solution, without any simulation. z is their difference in standard errors: "
            "about two thirds of them should lie within 1 and nearly all within 3. Where there is no prediction, the "
            "model's answer is the simulation's."
        )
        for picture in self.outcome(simulation, comparison):
            body += figure(figures.as_svg(picture.drawn), picture.name, picture.caption)
        return "Checked by simulation", body

    @abstractmethod
    def outcome(self, simulation: Any, comparison: Comparison) -> Iterable[Picture]:
        """What a simulation measured, drawn."""

    def evidence_section(self, solution: Any, cross_check: Mapping[str, Any] | None) -> Section:
        method = solution.method
        settings = ", ".join(f"{name} {value}" for name, value in vars(method).items() if value is not None)
        rows = [
            ("method", f"{type(method).__name__} ({settings})"),
            ("represented by", self.grid(solution)),
            ("converged", "yes" if solution.converged else f"NO: {solution.result.value}"),
            ("residual, relative", number(float(solution.residual), 2)),
            (f"estimated error of the value, {self.display.money}", number(float(solution.error_estimate), 2)),
            *_certificates(solution),
            *self.facts(solution),
        ]
        return "Why the numbers can be trusted", table(("", ""), rows, text_columns=(1,))


def _certificates(solution: Any) -> list[tuple[str, str]]:
    """What a trained network was held against."""
    found = solution.stats.get("certificates", {})
    rows = []
    for name in ("simulated", "exact"):
        if name in found:
            error, claimed = number(found[f"{name}_error"], 2), number(found["value"], 6)
            told = f"{number(found[name], 6)} ± {error}, claimed {claimed}"
            rows.append((f"certificate: the value {name}", told))
    return rows


def plain(distances: Any) -> Any:
    """Quotes of any nesting as lists and numbers."""
    if isinstance(distances, tuple):
        return [plain(part) for part in distances]
    return np.asarray(distances, float).tolist()
