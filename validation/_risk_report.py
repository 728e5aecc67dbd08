"""The page about a calibrated risk aversion: the estimate, its evidence, and the dealer it makes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import _risk_figures as figures
from . import _sections as sections
from ._display import Display, display_for, number, typical_distance
from ._figures import as_svg
from ._html import bullets, figure, page, paragraph, table, verdict

Data = Mapping[str, Any]

_WAYS = {
    "implied": (
        "The quotes that the dealer was seen to make are explained by the optimal quotes of this problem, by least "
        "squares through the solver's derivatives. Standard errors are those of the sandwich: the two sides may err "
        "together and by different amounts, and rows may depend on those before them."
    ),
    "budget": (
        "The risk aversion is the one whose dealer takes exactly the risk that the budget allows. Its error is what "
        "the uncertainty of the numbers put in, and of a simulated probability, makes of it."
    ),
    "moments": (
        "The dealer's trades are explained by moments of its inventory from block to block of time: how it changes, "
        "how the change depends on what is held, how much it varies, and how many fills there are. Their expectations "
        "under the optimal quotes are exact, and each is weighed by how well the data tell it."
    ),
    "likelihood": (
        "The dealer's fills are explained by the likelihood of their times and sides under the optimal quotes of this "
        "problem, which is efficient where the model holds. Take the moments to test whether it does."
    ),
}


def write_risk_report(
    path: str | os.PathLike[str],
    data: Data,
    solution: Any,
    *,
    title: str = "Calibrated risk aversion",
    units: Mapping[str, Any] | None = None,
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write a self-contained page about an estimate and return its path.

    data:      what `RiskAversionEstimate.to_dict` gives.
    solution:  of the problem with the estimate put in.
    units:     as for `write_report`.    facts: what to note at the end, such as versions and timings.
    """
    problem, units = solution.problem, units or {}
    display = display_for(problem, units, typical_distance(solution))
    most = min(float(problem.limit), float(solution.tables.y[-1]))
    reach = max(float(problem.size), min(most, 10 * float(problem.size)))
    parts = [
        risk_aversion_section(data, display),
        sections.problem_section(problem, units, display, ()),
        sections.quotes_section(solution, display, reach),
    ]
    if facts:
        parts.append(("How to make it again", table(("", ""), list(facts.items()), text_columns=(1,))))
    text = page(
        title=title,
        subtitle=f"{type(problem).__name__} under {type(problem.objective).__name__}, {_WAY_NAMES[data['way']]}",
        lead=_lead(data),
        sections=parts,
        footer="Made by twosided. Everything on this page is in this one file.",
    )
    path = Path(path)
    path.write_text(text, encoding="utf-8")
    return path


_WAY_NAMES = {
    "implied": "calibrated from quotes",
    "budget": "calibrated from a risk budget",
    "moments": "calibrated from trades, by moments",
    "likelihood": "calibrated from trades, by likelihood",
}


def _lead(data: Data) -> str:
    found = data["risk_aversion"]
    low, high = found["interval_95"]
    name = figures.words(data["name"])
    said = [f"The {name} is {number(found['value'], 5)}."]
    if found["standard_error"]:
        said[0] = f"The {name} is {number(found['value'], 5)}, with a 95% interval from {_end(low)} to {_end(high)}."
    if data["test"] is not None:
        p, against = data["test"]["p_value"], data["test"]["against"]
        said.append(f"The model is {'' if p < 0.05 else 'not '}rejected by {against} (p = {number(p, 2)}).")
    if data["input_share"]:
        said.append(f"{data['input_share']:.0%} of the estimate's variance comes from the numbers put in.")
    good = not data["remarks"] and (data["test"] is None or data["test"]["p_value"] >= 0.05)
    return verdict([*said, *(f"Warning: {remark}." for remark in data["remarks"])], good=good)


def _end(value: float | None) -> str:
    return "any value" if value is None else number(value, 4)


def risk_aversion_section(data: Data, display: Display) -> sections.Section:
    """The estimate with its errors, the profile or the frontier, and the fit."""
    body = paragraph(_WAYS[data["way"]])
    body += table(("", "estimate", "std. error", "95% interval"), [_row(name, e) for name, e in _estimates(data)])
    facts = [f"{figures.words(name)}: {number(value, 4)}" for name, value in data["notes"].items() if value is not None]
    if data["observations"]:
        facts.insert(0, f"{data['unit']}: {data['observations']:,}")
    body += bullets(facts)
    if data["profile"] is not None:
        body += _image(
            figures.profile_curve(data),
            "How sharply the data tell the risk aversion",
            "How much worse the data are explained at other risk aversions, all else that was estimated being free "
            "there. A steep valley is a sharp estimate; a side that never rises means that the data cannot rule out "
            "any value there. The shaded interval is the one reported; it is the valley's where observations are "
            "independent, and wider or narrower where they are not.",
        )
    if data["frontier"] is not None:
        body += _image(
            figures.frontier_curve(data, display.money),
            "The frontier, and the budget on it",
            "Left: what dealers of rising risk aversion expect against the risk they take, from the right to the left; "
            "the diamond takes as much as the budget allows. Right: the measure that the budget is about, falling in "
            "the risk aversion, meets its target at the line. Money is counted at the horizon.",
        )
    if data["fits"]:
        rests = data["way"] == "implied"
        body += _image(
            figures.fit_curves(data, display.inventory.scale if rests else 1.0, "inventory (lots)"),
            "Observed and explained",
            "What was observed at each inventory and what the dealer with the estimated risk aversion does there"
            + (", at the same times." if rests else "; bars are two standard errors.")
            + " The slope is what tells the risk aversion. Where the two part systematically, the model is wrong "
            "there, and the estimate is that of the dealer who comes closest.",
        )
    return "The risk aversion", body


def _estimates(data: Data) -> list[tuple[str, Data]]:
    return [(data["name"], data["risk_aversion"]), *data["others"].items()]


def _row(name: str, found: Data) -> tuple[str, ...]:
    low, high = found["interval_95"]
    error = "—" if found["standard_error"] is None else number(found["standard_error"], 2)
    return figures.words(name), number(found["value"], 5), error, f"{_end(low)} to {_end(high)}"


def _image(drawn: Any, name: str, caption: str) -> str:
    return figure(as_svg(drawn), name, caption)
