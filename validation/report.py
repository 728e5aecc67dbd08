"""The report of a run: one HTML page with everything inside, from the problem to the evidence."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import _sections as sections
from ._display import Display, display_for, number, shown_wealth, typical_distance
from ._html import page, paragraph, table, verdict
from ._market_section import market_section
from ._regret_section import regret_section
from ._settlement_section import settlement_section
from ._verdict import Comparison, compare, is_approximate


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
    initial: Mapping[str, float] | None = None,
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
    start = initial or ({} if simulation is None else simulation.initial)
    display = display_for(problem, units or {}, typical_distance(solution), shown_wealth(solution, start))
    reach = _reach(problem, solution, sample)
    comparison = None if simulation is None else compare(simulation, solution)
    parts = [] if record is None else [sections.calibration_section(record)]
    parts.append(sections.problem_section(problem, units or {}, display, assumptions))
    if solution is not None:
        parts.append(sections.quotes_section(solution, display, reach))
    if comparison is not None:
        parts.append(sections.simulation_section(simulation, comparison, sample, solution, display))
    if settlement is not None:
        parts.append(settlement_section(settlement, display))
    if market is not None:
        parts.append(market_section(market, display))
    if regret is not None:
        parts.append(regret_section(regret, display))
    if solution is not None:
        parts.append(sections.evidence_section(solution, display, reach, cross_check))
    text = page(
        title=title,
        subtitle=_subtitle(problem, solution, record),
        lead=_lead(solution, comparison, display),
        sections=[*parts, ("How to make it again", _colophon(facts or {}))],
        footer="Made by twosided. Everything on this page is in this one file.",
    )
    path = Path(path)
    path.write_text(text, encoding="utf-8")
    return path


def _subtitle(problem: Any, solution: Any, record: Mapping[str, Any] | None) -> str:
    source = f" in a market calibrated from {record['source']}" if record is not None else ""
    solved = f", solved by {type(solution.method).__name__}" if solution is not None else ""
    return f"{type(problem).__name__}{source}{solved}"


def _lead(solution: Any, comparison: Comparison | None, display: Display) -> str:
    """What matters most, in a few sentences."""
    if solution is None:
        return ""
    quotes = solution.quotes(0.0, **display.at(solution.problem, 0.0))
    bid, ask = (float(display.distance(x)) for x in quotes)
    unit = f" {display.distance.unit}" if display.distance.unit else ""
    sentences = [
        f"Without inventory the dealer now bids {number(bid, 4)}{unit} below the reference price and asks "
        f"{number(ask, 4)}{unit} above it: a spread of {number(bid + ask, 4)}{unit}.",
        _worth(solution, comparison, display),
        _trust(solution),
    ]
    if comparison is not None and comparison.finding:
        sentences[-1] += f" {comparison.finding}"
    return verdict(sentences, good=solution.converged and (comparison is None or comparison.agrees is not False))


def _trust(solution: Any) -> str:
    if not solution.converged:
        return f"THE SOLVE DID NOT CONVERGE: {solution.result.value}. Do not use these numbers."
    return "These quotes are a published approximation." if is_approximate(solution) else "The solve converged."


def _worth(solution: Any, comparison: Comparison | None, display: Display) -> str:
    if is_approximate(solution):
        if comparison is None:
            return "What they earn is for a simulation to say."
        mean, std = (row.measured for row in comparison.rows[:2])
        return (
            f"Simulated, they earn {number(mean, 5)} {display.money} by the horizon, with a standard deviation of "
            f"{number(std, 4)}."
        )
    here = display.at(solution.problem, 0.0)
    value, mean = float(solution.value(0.0, **here)), float(solution.expected_wealth(0.0, **here))
    text = f"The position is worth {number(value, 6)} {display.money} by the dealer's own criterion"
    if math.isfinite(mean):
        text += f", and wealth at the horizon is expected to be {number(mean, 6)} {display.money}"
    if comparison is not None and comparison.wealth is not None:
        text += f" with a standard deviation of {number(comparison.wealth[1], 4)}"
    return text + "."


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


def _colophon(facts: Mapping[str, str]) -> str:
    if not facts:
        return paragraph("Nothing was noted.")
    return table(("", ""), list(facts.items()), text_columns=(1,))
