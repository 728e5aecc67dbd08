"""The report of a run: one HTML page with everything inside, from the problem to the evidence."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ._html import page, paragraph, table
from ._market_section import market_section
from ._regret_section import regret_section
from ._sections import calibration_section
from ._settlement_section import settlement_section
from ._verdict import compare
from ._view import view_for


def write_report(
    path: str | os.PathLike[str],
    solution: Any = None,
    simulation: Any = None,
    calibration: Any = None,
    *,
    problem: Any = None,
    sample: Any = None,
    title: str = "Optimal two-sided quotes",
    units: Mapping[str, Any] | None = None,
    assumptions: Sequence[str] = (),
    cross_check: Mapping[str, Any] | None = None,
    market: Mapping[str, Any] | None = None,
    regret: Mapping[str, Any] | None = None,
    settlement: Mapping[str, Any] | None = None,
    initial: Mapping[str, Any] | None = None,
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write a self-contained page about whatever is given, and return its path.

    solution, simulation:  of one problem; the simulation is of the solution's policy.
    calibration:           a `Calibration`, or what its `to_dict` gave.
    problem:               needed where there is no solution.
    sample:                `SamplePaths` of the solution's policy, for inventory bands and pictures of paths.
    units:                 names and sizes of units, as in a case file: money, time, seconds_per_year, reference_price.
    assumptions:           sentences on what was set and not measured.
    cross_check:           a second route to the quotes: meaning, head, rows, finding.
    market:                where the value went in a market, as `Attribution.to_data` gives it.
    regret:                what being wrong costs, as `Misspecification.to_data` gives it.
    settlement:            what later settlements lose: `losses` as `SettlementLoss.to_data` gives them.
    initial:               accounts at which quotes that depend on cash are shown; by default the simulation's start.
    facts:                 what else to note at the end, such as versions and timings.

    Raises `ValueError` where there is nothing to report on.
    """
    problem = problem if solution is None else solution.problem
    if problem is None:
        raise ValueError("a report needs a solution or a problem; give one of them")
    record = calibration.to_dict() if hasattr(calibration, "to_dict") else calibration
    start = _start(problem, simulation, initial)
    view = view_for(problem, units or {}, solution, start, sample)
    comparison = None if simulation is None else compare(simulation, solution)
    parts = [] if record is None else [calibration_section(record)]
    parts.append(view.problem_section(assumptions))
    if solution is not None:
        parts.append(view.quotes_section(solution))
    if comparison is not None:
        parts.append(view.simulation_section(simulation, comparison, sample, solution))
    if settlement is not None:
        parts.append(settlement_section(settlement, view.display))
    if market is not None:
        parts.append(market_section(market, view.display))
    if regret is not None:
        parts.append(regret_section(regret, view.display))
    if solution is not None:
        parts.append(view.evidence_section(solution, cross_check))
    text = page(
        title=title,
        subtitle=_subtitle(problem, solution, record),
        lead=view.lead(solution, comparison),
        sections=[*parts, ("How to make it again", _colophon(facts or {}))],
        footer="Made by twosided. Everything on this page is in this one file.",
    )
    path = Path(path)
    path.write_text(text, encoding="utf-8")
    return path


def _start(problem: Any, simulation: Any, initial: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Where paths start, by the names of the state; a currency simulation holds its positions alone."""
    if initial or simulation is None:
        return initial or {}
    held = simulation.initial
    return held if isinstance(held, Mapping) else {problem.names[0]: held}


def _subtitle(problem: Any, solution: Any, record: Mapping[str, Any] | None) -> str:
    source = f" in a market calibrated from {record['source']}" if record is not None else ""
    solved = f", solved by {type(solution.method).__name__}" if solution is not None else ""
    return f"{type(problem).__name__}{source}{solved}"


def _colophon(facts: Mapping[str, str]) -> str:
    if not facts:
        return paragraph("Nothing was noted.")
    return table(("", ""), list(facts.items()), text_columns=(1,))
