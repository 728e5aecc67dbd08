"""The study's figures, drawn from numbers alone; colours and sizes are the report's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from .._figures import ASK, BID, MEASURED, OTHER, PREDICTED, _panels
from .panel import Panel

_MOST_POINTS = 4_000


def name_of(column: str) -> str:
    """A column's name as a reader wants it."""
    return column.replace("_", " ")


def over_time(panel: Panel, cause: str = "volatility") -> Figure:
    """The spread and one of its causes over time: a line for one stock, the middle half for several."""
    names = [name for name in ("spread", cause) if name in panel]
    figure, axes = _panels(len(names), 3.2)
    for ax, name, colour in zip(axes, names, (PREDICTED, MEASURED), strict=False):
        if len(panel.stocks) == 1:
            ax.plot(panel.period, panel[name], color=colour, linewidth=1.2)
        else:
            periods = np.unique(panel.period)
            groups = [panel[name][panel.period == period] for period in periods]
            low, middle, high = np.array([np.percentile(group, [25, 50, 75]) for group in groups]).T
            ax.fill_between(periods, low, high, color=colour, alpha=0.25, linewidth=0, label="half of the stocks")
            ax.plot(periods, middle, color=colour, linewidth=1.2, label="median stock")
            ax.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        ax.set_ylabel(f"{name_of(name)} ({panel.units[name]})", fontsize=9)
        _time_axis(ax, panel)
    return figure


def _time_axis(ax: Any, panel: Panel) -> None:
    ax.set_xlim(panel.period.min(), panel.period.max())
    if panel.period_unit == "second":
        hours = np.arange(np.ceil(panel.period.min() / 3600), panel.period.max() / 3600 + 1e-9)
        if hours.size > 1:
            ax.set_xticks(3600 * hours)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{int(t) // 3600}:{int(t) // 60 % 60:02d}"))
        ax.set_xlabel("time of day")
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        ax.set_xlabel(panel.period_unit)


def slopes(regressions: Mapping[str, Any]) -> Figure:
    """What one standard deviation of each column is worth, with 95% intervals; one panel per response."""
    most = max(len(_columns(found)) for found in regressions.values())
    figure, axes = _panels(len(regressions), 1.1 + 0.42 * most)
    for ax, (response, found) in zip(axes, regressions.items(), strict=True):
        told = _columns(found)[::-1]
        for place, c in enumerate(told):
            deviation = c["per_deviation"] / c["estimate"] if c["estimate"] else 0.0
            low, high = (deviation * end for end in c["interval_95"])
            told_apart = low > 0 or high < 0
            colour = PREDICTED if told_apart else OTHER
            ax.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
            ax.plot(
                [c["per_deviation"]], [place], "o", color=colour, markersize=5, mfc=colour if told_apart else "white"
            )
        ax.axvline(0.0, color=ASK, linewidth=0.9)
        ax.set_yticks(range(len(told)), [name_of(c["name"]) for c in told])
        ax.set_ylim(-0.6, len(told) - 0.4)
        ax.grid(axis="y", visible=False)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6))
        ax.set_xlabel(f"change of the {name_of(response)} ({found['unit']})")
    return figure


def _columns(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [c for c in found["coefficients"] if c["name"] != "intercept"]


def added_variables(panel: Panel, found: Mapping[str, Any]) -> Figure:
    """Each column against the response, both freed of what the other columns explain: the slopes one by one."""
    names = [c["name"] for c in _columns(found)]
    across = min(3, len(names))
    down = -(-len(names) // across)
    figure = Figure(figsize=(9.0, 2.7 * down), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for ax in grid.ravel()[len(names) :]:
        ax.set_visible(False)
    for ax, name in zip(grid.ravel(), names, strict=False):
        x, y = partial(panel, found["response"], name, names)
        ax.plot(*_thinned(x, y), ".", color=BID, markersize=3, alpha=0.45, rasterized=True)
        ends = np.array([x.min(), x.max()])
        slope = next(c["estimate"] for c in found["coefficients"] if c["name"] == name)
        ax.plot(ends, slope * ends, color=PREDICTED, linewidth=1.4)
        ax.set_xlabel(f"{name_of(name)} ({panel.units[name]})")
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5))
    for ax in grid[:, 0]:
        ax.set_ylabel(f"{name_of(found['response'])} ({found['unit']})")
    return figure


def partial(panel: Panel, response: str, name: str, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The column and the response less what the other columns and a constant explain of each, both (n,)."""
    others = np.column_stack([np.ones(len(panel)), *(panel[other] for other in names if other != name)])
    others = others / np.sqrt(np.mean(others**2, axis=0))
    pair = np.column_stack([panel[name], panel[response]])
    left = pair - others @ np.linalg.lstsq(others, pair, rcond=None)[0]
    return left[:, 0], left[:, 1]


def predicted_against_observed(panel: Panel, comparisons: Sequence[Mapping[str, Any]]) -> Figure:
    """Observed over predicted, with the line of a perfect prediction and the line that fits."""
    figure, axes = _panels(len(comparisons), 3.4)
    for ax, found in zip(axes, comparisons, strict=True):
        name = found["quantity"]
        predicted, observed = panel[f"predicted_{name}"], panel[name]
        ax.plot(*_thinned(predicted, observed), ".", color=BID, markersize=3, alpha=0.45, rasterized=True)
        ends = np.array([np.nanmin(predicted), np.nanmax(predicted)])
        ax.plot(ends, ends, color=OTHER, linewidth=1.0, linestyle="--", label="observed as predicted")
        if found["slope"] is not None:
            line = found["intercept"]["estimate"] + found["slope"]["estimate"] * ends
            ax.plot(ends, line, color=ASK, linewidth=1.5, label="the line that fits")
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5))
        ax.yaxis.set_major_locator(MaxNLocator(nbins=5))
        ax.set_title(name_of(name), fontsize=10)
        ax.set_xlabel(f"predicted ({found['unit']})")
    axes[0].set_ylabel(f"observed ({comparisons[0]['unit']})")
    handles, labels = axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As many points as the eye can tell apart."""
    every = max(1, len(x) // _MOST_POINTS)
    return x[::every], y[::every]
