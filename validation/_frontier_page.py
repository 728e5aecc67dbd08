"""The page of a frontier: chart, table and certificate, in one file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from . import _figures as figures
from ._display import display_for, number
from ._frontier_readings import TITLES
from ._html import figure, page, paragraph, table, verdict
from ._sections import problem_section
from .frontier import Frontier

_COLOURS = {
    "equilibrium": figures.BID,
    "quadratic_variation": figures.ASK,
    "static": figures.OTHER,
    "pre_commitment": figures.MEASURED,
}
_DASHES = {"equilibrium": "-", "quadratic_variation": "--", "static": ":", "pre_commitment": "-."}
_BARS = 16  # simulated points with error bars that the eye can tell apart
_ROWS = 12  # risk aversions in the table

_MEANINGS = {
    "equilibrium": (
        "Equilibrium: at every moment the dealer maximises E - (λ/2) Var of what is then still to come, knowing that "
        "later selves will do the same. Nobody has a reason to depart from it."
    ),
    "quadratic_variation": (
        "Quadratic variation: each gain is charged its own square, so the dealer is averse to the movements of wealth "
        "along the way rather than to the spread of where it ends."
    ),
    "static": (
        "Static quotes: the best pair of distances for the risk aversion that never changes, whatever the inventory, "
        "except that a side is not quoted where its fill would cross the limit."
    ),
    "pre_commitment": (
        "Pre-commitment: the best rule seen from time 0, kept although later selves would rather depart from it. No "
        "rule has a greater E - (λ/2) Var at time 0."
    ),
}


def write_frontier_report(
    path: str | os.PathLike[str],
    found: Frontier,
    *,
    title: str = "Which risk aversion?",
    units: Mapping[str, Any] | None = None,
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write a self-contained page about a frontier, and return its path; `units` as for `write_report`."""
    units = units or {}
    display = display_for(found.problem, units, math.nan)
    sections = [
        ("The frontier", _frontier_section(found, display.money)),
        problem_section(found.problem, units, display, ()),
        ("How to make it again", table(("", ""), list((facts or {}).items()), text_columns=(1,))),
    ]
    text = page(
        title=title,
        subtitle=f"{type(found.problem).__name__}: {', '.join(TITLES[name] for name in found.readings)}",
        lead=_lead(found),
        sections=sections,
        footer="Made by twosided. Everything on this page is in this one file.",
    )
    path = Path(path)
    path.write_text(text, encoding="utf-8")
    return path


def chart(found: Frontier, money: str = "money") -> Figure:
    """Expected wealth against its standard deviation: lines by the solver, dots with two standard errors simulated."""
    drawn, (ax,) = figures._panels(1, 4.8)
    data = found.data
    for reading in found.readings:
        row = data.sel(reading=reading)
        colour = _COLOURS[reading]
        ax.plot(row["std"], row["mean"], _DASHES[reading], color=colour, linewidth=1.6, label=TITLES[reading])
        some = np.flatnonzero(np.isfinite(row["simulated_mean"].values))
        some = some[:: max(1, some.size // _BARS)]
        ax.errorbar(
            row["simulated_std"][some],
            row["simulated_mean"][some],
            xerr=2 * row["simulated_std_error"][some],
            yerr=2 * row["simulated_mean_error"][some],
            fmt="o",
            markersize=3,
            elinewidth=0.8,
            color=colour,
            alpha=0.7,
        )
    ax.set_xlabel(f"standard deviation of wealth at the horizon ({money})")
    ax.set_ylabel(f"expected wealth at the horizon ({money})")
    ax.legend(fontsize=8, frameon=False, loc="lower right")
    return drawn


def by_risk_aversion(found: Frontier, money: str = "money") -> Figure:
    """Mean and standard deviation against the risk aversion: how to choose it."""
    drawn, axes = figures._panels(2, 3.6)
    data = found.data
    for ax, name, text in zip(axes, ("mean", "std"), ("expected wealth", "standard deviation of wealth"), strict=True):
        for reading in found.readings:
            row = data.sel(reading=reading)
            ax.plot(data["risk_aversion"], row[name], _DASHES[reading], color=_COLOURS[reading], label=TITLES[reading])
        ax.set_xscale("log")
        ax.set_xlabel(f"risk aversion λ (1/{money})")
        ax.set_ylabel(f"{text} ({money})")
    axes[0].legend(fontsize=8, frameon=False, loc="best")
    return drawn


def _lead(found: Frontier) -> str:
    points = found.data.sizes["risk_aversion"]
    low, high = (number(found.data["risk_aversion"][i], 3) for i in (0, -1))
    certificate = found.certificate
    sentences = [
        f"{points} risk aversions from {low} to {high}, {len(found.readings)} readings of mean-variance, "
        f"{found.paths:,} simulated paths for each point."
    ]
    if certificate.agrees is not None:
        says = "Simulation agrees with" if certificate.agrees else "SIMULATION DISAGREES with"
        sentences.append(
            f"{says} {certificate.compared} computed means and standard deviations: the largest difference is "
            f"{certificate.largest:.2f} standard errors, {certificate.limit:.2f} allowed."
        )
    failed = int((found.data["result"] != 0).sum())
    if failed:
        sentences.append(f"{failed} points did not converge and are not drawn; the table says why.")
    sentences += [f"{TITLES[name].capitalize()} is missing: {reason}." for name, reason in found.missing.items()]
    return verdict(sentences, good=certificate.agrees is not False and not found.missing)


def _frontier_section(found: Frontier, money: str) -> str:
    body = "".join(paragraph(_MEANINGS[name]) for name in found.readings)
    body += figure(
        figures.as_svg(chart(found, money)),
        "Expected wealth against its standard deviation",
        "Lines: computed, one point for each risk aversion. Dots: simulated with the computed quotes, with two "
        "standard errors each way. All points share one seed, so that the dots of a curve err together.",
    )
    body += figure(
        figures.as_svg(by_risk_aversion(found, money)),
        "What a risk aversion means",
        "Computed mean and standard deviation against λ. Read off the λ whose standard deviation you can bear.",
    )
    head = ("risk aversion", "reading", "E", "std", "simulated E", "std. error", "simulated std", "std. error", "solve")
    rows = [
        [number(aversion, 4), TITLES[reading], *_cells(numbers), result]
        for aversion, reading, *numbers, result in found.rows(_ROWS)
    ]
    caption = f"Wealth at the horizon, in {money}; every point is in frontier.nc."
    return body + table(head, rows, caption, text_columns=(1,))


def _cells(numbers: list[Any]) -> list[str]:
    digits = (6, 6, 6, 2, 6, 2)
    return [number(x, d) if math.isfinite(x) else "—" for x, d in zip(numbers, digits, strict=True)]
