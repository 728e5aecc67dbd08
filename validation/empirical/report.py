"""The study's page: what was removed, what explains the spread, and how the model's quotes compare."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._display import column, number
from .._figures import as_svg
from .._html import bullets, figure, page, paragraph, table, verdict
from . import _figures as figures
from ._figures import name_of
from .panel import Panel

Data = Mapping[str, Any]
Section = tuple[str, str]


def write_study_report(
    path: str | os.PathLike[str], data: Data, panel: Panel, facts: Mapping[str, str] | None = None
) -> Path:
    """Write a self-contained page about a study, and return its path.

    data:  as `Study.to_data` gives it.   panel: the rows that were regressed.
    facts: what to note at the end, such as versions and timings.
    """
    parts = [_cleaning(data, panel), _explained(data, panel)]
    if data["comparisons"]:
        parts.append(_compared(data, panel))
    parts.append(_columns(panel))
    if facts:
        parts.append(("How to make it again", table(("", ""), list(facts.items()), text_columns=(1,))))
    text = page(
        title=data["title"],
        subtitle=f"{data['rows']:,} rows of {_stocks(data)}: {data['source']}",
        lead=_lead(data),
        sections=parts,
        footer="Made by twosided. Everything on this page is in this one file.",
    )
    path = Path(path)
    path.write_text(text, encoding="utf-8")
    return path


def _stocks(data: Data) -> str:
    return "one stock" if data["stocks"] == 1 else f"{data['stocks']} stocks"


def _lead(data: Data) -> str:
    """What matters most, in a few sentences."""
    found = data["regressions"]["spread"][0]
    told = [c for c in found["coefficients"] if c["name"] != "intercept"]
    rises, falls, unsure = (
        [name_of(c["name"]) for c in told if which(*c["interval_95"])]
        for which in (lambda low, high: low > 0, lambda low, high: high < 0, lambda low, high: low <= 0 <= high)
    )
    parts = [f"{verb} with {_listed(names)}" for verb, names in (("rises", rises), ("falls", falls)) if names]
    says = f"The spread {' and '.join(parts)}" if parts else "Nothing is found to move the spread"
    tail = f"; of {_listed(unsure)} the data cannot tell even the sign" if unsure else ""
    cleaning = data["cleaning"]
    gone = sum(cleaning["removed"].values())
    sentences = [
        f"{says}{tail} (95% intervals). Together they explain {found['r_squared']:.0%} of its variance.",
        f"Cleaning removed {gone:,} of {cleaning['rows']:,} observations.",
    ]
    good = True
    if cleaning["dirt"]:
        dirt = cleaning["dirt"]
        good = dirt["missed"] == 0
        sentences[-1] += (
            f" Of {sum(dirt['planted'].values())} that were spoilt on purpose it missed {dirt['missed']}, and it "
            f"removed {dirt['false_removals']} sound ones."
        )
    if data["comparisons"]:
        spread = data["comparisons"][-1]
        sentences.append(
            f"The model's spread is {number(spread['mean_predicted'], 4)} {spread['unit']} on average where "
            f"{number(spread['mean_observed'], 4)} were observed"
            + ("." if spread["slope"] is None else f"; their correlation is {spread['correlation']:.2f}.")
        )
    return verdict(sentences, good=good)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _image(image: Any, name: str, caption: str) -> str:
    return figure(as_svg(image), name, caption)


# The data and their cleaning


def _cleaning(data: Data, panel: Panel) -> Section:
    found = data["cleaning"]
    unit, dirt = found["period_unit"], found["dirt"]

    head = ["rule", "what it removes", "removed", *(["planted", "of these found"] if dirt else [])]
    rows = []
    for rule, meaning in found["meaning"].items():
        planted = [f"{dirt['planted'][rule]:,}", f"{dirt['found'][rule]:,}"] if dirt else []
        rows.append([rule, meaning, f"{found['removed'][rule]:,}", *planted])
    rows.append(["left", "", f"{found['kept']:,} of {found['rows']:,}", *([""] * 2 if dirt else [])])
    rules = found["rules"]
    body = paragraph(
        f"Rules are asked in this order, each on what the ones before have left. A spread is absurd beyond "
        f"{rules['widest_spread']:.0%} of the mid, or {rules['spread_ratio']:g} times the stock's median and "
        f"{rules['deviations']:g} robust standard deviations above it on a log scale; a volume is a spike beyond "
        f"{rules['volume_ratio']:g} times the median and as many deviations; a quote is stale that stands unchanged "
        f"for {rules['stale_after']:g} {unit}s. removals.csv lists every row that went."
    )
    body += table(head, rows, text_columns=(1,))
    if found["first"]:
        body += paragraph("The first that each rule removed:")
        body += bullets(
            f"{r['rule']}: row {r['row']}, {r['stock']}, {unit} {r['period']:g}: {r['reason']}." for r in found["first"]
        )
    if found["thin_intervals"]:
        body += paragraph("Intervals left out, as too much of them was removed:")
        body += bullets(f"from {unit} {thin['period']:g}: {thin['reason']}" for thin in found["thin_intervals"])
    several = data["stocks"] > 1
    body += _image(
        figures.over_time(panel),
        "Spread and volatility over time",
        ("The line is the median stock, the band holds the middle half of the stocks. " if several else "")
        + "What moves both at once is what the regression below takes for one explaining the other.",
    )
    return "The data and their cleaning", body


# The regressions


def _explained(data: Data, panel: Panel) -> Section:
    body = ""
    first = {response: found[0] for response, found in data["regressions"].items()}
    for response, found in data["regressions"].items():
        body += f"<h3>The {name_of(response)}</h3>" + paragraph(_told(found[0]))
        signs = data["signs"].get(response, {})
        body += table(*_slope_table(found[0], signs))
        body += paragraph(_THEORY) if signs else ""
        body += table(*_error_table(found))
        body += bullets(
            [f"{_capital(name_of(name))} is left out: {reason}." for name, reason in found[0]["left_out"].items()]
            + found[0]["cautions"]
        )
    body += _image(
        figures.slopes(first),
        "What each cause is worth",
        "How much the response changes when a cause rises by one of its standard deviations and the others stay, with "
        "95% intervals. On this scale causes with different units can be compared. Open and grey: the interval holds "
        "nought, so the data cannot tell the sign.",
    )
    body += _image(
        figures.added_variables(panel, first["spread"]),
        "Slope by slope",
        "Each cause against the spread, both freed of what the other causes explain; the line has the slope of the "
        "table. A cloud that bends says that a straight line is no more than the best one; a point far out on its own "
        "says on how little a slope may rest.",
    )
    for response, reason in data["not_done"].items():
        if response != "comparison":
            body += paragraph(f"The {name_of(response)} is not regressed: {reason}.")
    return "What explains the spread", body


_PLACEMENT = (
    "The placement is half of what the ask distance exceeds the bid distance by: how far the quotes stand above the "
    "reference price. "
)
_THEORY = (
    "Theory gives a sign to those slopes only for which the model's quotes have one to leading order; where it gives "
    "none, any may come out."
)


def _told(found: Data) -> str:
    effects = f" with a constant for each {' and each '.join(found['effects'])}" if found["effects"] else ""
    return (_PLACEMENT if found["response"] == "placement" else "") + (
        f"Least squares{effects} over {found['rows']:,} rows: R² = {found['r_squared']:.3f}, condition number of the "
        f"columns {number(found['condition_number'], 3)}. Standard errors {found['errors']}. What is estimated is the "
        "best linear predictor, whether or not the truth is a line."
    )


def _slope_table(found: Data, signs: Mapping[str, int]) -> tuple[list[str], list[list[str]], str]:
    head = ["cause, its unit", "estimate", "std. error", "95% interval", "p"] + (["theory"] if signs else [])
    rows = []
    for c in found["coefficients"]:
        low, high = c["interval_95"]
        row = [_with_unit(c), number(c["estimate"], 4), number(c["standard_error"], 2)]
        row += [f"{number(low, 3)} to {number(high, 3)}", _p(c["p_value"])]
        row += [{1: "rises", -1: "falls"}.get(signs.get(c["name"], 0), "")] if signs else []
        rows.append(row)
    return head, rows, f"Change of the {name_of(found['response'])} in {found['unit']} per unit of the cause"


def _error_table(found: Sequence[Data]) -> tuple[list[str], list[list[str]], str]:
    """Standard errors by what is assumed of the errors."""
    head = ["cause, its unit", *(_short(each["errors"]) for each in found)]
    rows = [
        [_with_unit(c), *(number(each["coefficients"][i]["standard_error"], 2) for each in found)]
        for i, c in enumerate(found[0]["coefficients"])
    ]
    return head, rows, "Standard errors of the same slopes under other assumptions on the errors"


def _with_unit(coefficient: Data) -> str:
    name, _, unit = name_of(coefficient["name"]), *coefficient["unit"].partition(" per (")[1:]
    return f"{name}, {unit.removesuffix(')')}" if unit else name


def _short(errors: str) -> str:
    return errors.split(":")[0].split(",")[0]


def _p(value: float | None) -> str:
    if value is None or np.isnan(value):
        return "—"
    return "< .001" if value < 0.001 else f"{value:.3f}"


# The comparison


def _compared(data: Data, panel: Panel) -> Section:
    found = data["comparisons"]
    unit = found[0]["unit"]
    body = paragraph(
        "For each row the model's problem is solved with the row's own numbers, and its quotes are held against those "
        "observed. The mean squared error splits into a bias, a wrong scale, and the rest, which no line through the "
        "predictions could mend. A prediction that is right on average has intercept 0 and slope 1 when the observed "
        "values are regressed on it; p is of both together."
    ) + bullets(data["remarks"])
    keys = ("mean_predicted", "mean_observed", "bias", "rmse", "deviation")
    numbers = zip(*(column([c[key] for c in found]) for key in keys), strict=True)
    body += table(
        ["", "predicted", "observed", "bias", "rmse", "s.d. observed"],
        [[name_of(c["quantity"]), *cells] for c, cells in zip(found, numbers, strict=True)],
        f"Means over {found[0]['rows']:,} rows, {unit}. The rmse is the prediction's error; the last column is the "
        "error of the best constant.",
    )
    body += table(
        ["", "correlation", "bias", "scale", "rest", "intercept", "slope", "p"],
        [_quality(c) for c in found],
        "Shares of the mean squared error, and the line that fits, with standard errors in brackets",
    )
    body += _image(
        figures.predicted_against_observed(panel, found),
        "Observed against predicted",
        "Each point is a row; mind that the two axes need not have one scale. On the dashed line the observed quote is "
        "what was predicted; the solid line is the one that fits best. Where it is steeper than the dashed one, the "
        "market's quotes move more than the model's.",
    )
    return "The model's quotes beside those observed", body


def _quality(found: Data) -> list[str]:
    shares = [f"{found['shares'][part]:.0%}" if found["shares"] else "—" for part in ("bias", "scale", "rest")]
    if found["slope"] is None:  # the prediction never changes
        return [name_of(found["quantity"]), "—", *shares, "—", "—", "—"]
    line = (
        f"{number(e['estimate'], 3)} ({number(e['standard_error'], 2)})" for e in (found["intercept"], found["slope"])
    )
    return [name_of(found["quantity"]), f"{found['correlation']:.3f}", *shares, *line, _p(found["p_value"])]


# The columns


def _columns(panel: Panel) -> Section:
    rows = [
        [
            f"{name_of(name)}, {panel.units[name]}",
            *(number(x, 4) for x in np.nanpercentile(values, [0, 25, 50, 75, 100])),
        ]
        for name, values in panel.columns.items()
    ]
    caption = f"{len(panel):,} rows, one for each stock and {panel.period_unit} that is left"
    if panel.period_unit == "second":
        caption = f"{len(panel):,} rows, one for each interval that is left"
    body = table(["column, unit", "least", "quartile", "median", "quartile", "most"], rows, caption)
    body += bullets(f"{_capital(name_of(name))}: {note}." for name, note in _grouped(panel.notes).items())
    body += bullets(f"{_capital(name_of(name))} is not there: {reason}." for name, reason in panel.left_out.items())
    return "The columns and how they were measured", body


def _grouped(notes: Mapping[str, str]) -> dict[str, str]:
    """Columns that share a note, under one head."""
    names: dict[str, list[str]] = {}
    for name, note in notes.items():
        names.setdefault(note, []).append(name_of(name))
    return {_listed(group): note for note, group in names.items()}


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
