"""The report's figures, each drawn from numbers alone: no global state, colours told apart by the colour-blind.

Okabe and Ito's palette: the bid is blue, the ask vermilion, what is measured green, what is predicted black.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ._display import Display

BID, ASK, MEASURED, PREDICTED, OTHER = "#0072B2", "#D55E00", "#009E73", "#000000", "#666666"
COLOURS = (BID, ASK, MEASURED, "#CC79A7", "#E69F00", "#56B4E9")
_WIDTH = 9.0  # inches, of every figure


def as_svg(figure: Figure) -> str:
    """The figure as a data address of an SVG image, the same for the same numbers."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "twosided"}):
        figure.savefig(buffer, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _panels(count: int, height: float, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots(1, count, squeeze=False, sharey=share_y)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, list(axes)


def small_multiples(count: int) -> tuple[Figure, list[Axes]]:
    """Panels in rows of three at most, which share their ordinate."""
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = Figure(figsize=(_WIDTH, 3.2 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=True).ravel())
    for ax in axes[count:]:
        ax.remove()
    for ax in axes[:count]:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
    return figure, axes[:count]


def legend_beside(axes: list[Axes]) -> None:
    """One legend for all panels, right of the last: each name once."""
    named = {name: line for ax in axes for line, name in zip(*ax.get_legend_handles_labels(), strict=True)}
    axes[-1].legend(
        named.values(), named.keys(), fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5)
    )


def shifts(panels: list[tuple[str, np.ndarray, dict[str, np.ndarray]]], what: str) -> Figure:
    """By how much quotes move: for each panel its abscissa's label and numbers, and lines by name."""
    figure, axes = small_multiples(len(panels))
    for (label, x, lines), ax in zip(panels, axes, strict=True):
        for colour, (name, shift) in zip(COLOURS, lines.items(), strict=False):
            ax.plot(x, shift, color=colour, label=name, linewidth=1.4)
        ax.set_xlabel(label)
    axes[0].set_ylabel(what)
    legend_beside(axes)
    return figure


def _whole_numbers(axis: Any) -> None:
    axis.set_major_locator(MaxNLocator(integer=True, nbins=10))


def _thousands(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def intensity_curves(definitions: Mapping[str, Any], chosen: str) -> Figure:
    """Measured fills per second against distance with the fitted exponential, one panel per definition."""
    names = sorted(definitions, key=lambda name: name != chosen)
    figure, axes = _panels(len(names), 3.6)
    for ax, name in zip(axes, names, strict=True):
        lowest = np.inf
        for side, colour, marker in (("bid", BID, "o"), ("ask", ASK, "s")):
            fit = definitions[name][side]
            curve = {key: np.asarray(values, dtype=float) for key, values in fit["curve"].items()}
            distance, fills = curve["distance_dollars"], curve["fills"]
            some = fills > 0
            rate = fills[some] / curve["exposure_seconds"][some]
            every = max(1, int(some.sum()) // 30)  # as many points as the eye can tell apart
            ax.errorbar(
                distance[some][::every],
                rate[::every],
                yerr=(rate / np.sqrt(fills[some]))[::every],
                fmt=marker,
                color=colour,
                markersize=3.5,
                elinewidth=0.8,
                alpha=0.75,
                label=f"{side}, measured",
            )
            line = fit["scale_per_second"]["value"] * np.exp(-fit["decay_per_dollar"]["value"] * distance)
            ax.plot(
                distance,
                line,
                color=colour,
                linewidth=1.6,
                linestyle="-" if side == "bid" else "--",
                label=f"{side}, fitted",
            )
            lowest = min(lowest, rate.min())
        ax.set_yscale("log")
        ax.set_ylim(bottom=lowest / 3)
        ax.set_xlabel("distance from the mid (dollars)")
        ax.set_ylabel("fills per second")
        ax.set_title(name + (" (used)" if name == chosen else ""), fontsize=10)
        ax.legend(fontsize=8, frameon=False)
    return figure


def quote_surfaces(solution: Any, display: Display, reach: float) -> Figure:
    """Bid and ask distance as heat maps over time and inventory, with contour lines."""
    horizon = float(solution.problem.horizon)
    t = horizon * (1 - np.linspace(1, 0, 241) ** 2)  # closer together near the horizon, where quotes change
    y = _inventories(solution.problem, reach, fine=True)
    quotes = solution.quotes(t[:, None], **display.at(solution.problem, y[None, :]))
    shown = {side: display.distance(getattr(quotes, side)).T for side in ("bid", "ask")}
    everything = np.concatenate([values[np.isfinite(values)] for values in shown.values()])
    low, high = np.percentile(everything, [0.5, 99.5])
    levels = MaxNLocator(9).tick_values(low, high)
    figure, axes = _panels(2, 3.9, share_y=True)
    image = None
    for ax, (side, values) in zip(axes, shown.items(), strict=True):
        ax.grid(False)
        ax.set_facecolor("#e6e6e6")
        image = ax.pcolormesh(
            display.time(t),
            display.inventory(y),
            values,
            cmap="cividis",
            vmin=levels[0],
            vmax=levels[-1],
            shading="nearest",
            rasterized=True,
        )
        if np.ptp(everything) > 0:
            lines = ax.contour(
                display.time(t), display.inventory(y), values, levels=levels, colors="white", linewidths=0.7
            )
            ax.clabel(lines, fontsize=7, fmt="%g")
        ax.set_title(f"{side} distance", fontsize=10)
        ax.set_xlabel(display.time.label("time"))
        _whole_numbers(ax.yaxis)
    axes[0].set_ylabel(display.inventory.label("inventory"))
    assert image is not None
    figure.colorbar(image, ax=axes, label=display.distance.label("distance from the reference price"), extend="both")
    return figure


def quotes_by_inventory(solution: Any, display: Display, reach: float) -> Figure:
    """Both quotes against inventory now, halfway and close to the end; their sum, the spread, beside them."""
    problem, horizon = solution.problem, float(solution.problem.horizon)
    y = _inventories(problem, reach, fine=False)
    figure, (left, right) = _panels(2, 3.6)
    styles = ((0.0, "o-", 1.0, "now"), (0.9, "--", 0.75, "90% of the time gone"), (0.99, ":", 0.75, "99% gone"))
    for share, style, strength, when in styles:
        quotes = solution.quotes(share * horizon, **display.at(problem, y))
        look: dict[str, Any] = {"alpha": strength, "markersize": 3.5, "linewidth": 1.5}
        for side, values, colour in (("bid", quotes.bid, BID), ("ask", quotes.ask, ASK)):
            name = side if share == 0 else None  # the line styles are told beside
            left.plot(display.inventory(y), display.distance(values), style, color=colour, label=name, **look)
        spread = display.distance(quotes.bid + quotes.ask)
        right.plot(display.inventory(y), spread, style, color=OTHER, label=when, **look)
    left.set_ylabel(display.distance.label("distance"))
    left.set_title("bid and ask", fontsize=10)
    right.set_ylabel(display.distance.label("spread"))
    right.set_title("spread, where both sides are quoted", fontsize=10)
    for ax in (left, right):
        ax.set_xlabel(display.inventory.label("inventory"))
        _whole_numbers(ax.xaxis)
    left.legend(fontsize=8, frameon=False, loc="upper center")  # free where the two lines cross
    right.legend(fontsize=8, frameon=False, loc="best")
    return figure


def _inventories(problem: Any, reach: float, fine: bool) -> np.ndarray:
    """Inventories to show, within `reach`: each lot, and in between where the inventory moves by itself."""
    size = float(problem.size)
    count = int(reach / size * (1 + 1e-9))
    per_lot = 10 if fine and problem.moves else 1
    return np.arange(-count * per_lot, count * per_lot + 1) * (size / per_lot)


def quotes_by_cash(solution: Any, display: Display) -> Figure:
    """Both quotes now against the cash account, for a dealer who is short, flat and long."""
    problem, cash = solution.problem, np.asarray(solution.tables.axes[1])
    least, most = cash[0], min(cash[-1], 2 * float(display.wealth or 0.0) - cash[0])
    x = np.linspace(least, most, 401)
    figure, axes = _panels(2, 3.4, share_y=True)
    for lots, style in ((-2, ":"), (0, "-"), (2, "--")):
        quotes = solution.quotes(0.0, **{problem.names[0]: lots * float(problem.size), problem.names[1]: x})
        held = f"{lots:+d} lots" if lots else "flat"
        for ax, values, colour in zip(axes, quotes, (BID, ASK), strict=True):
            ax.plot(x, display.distance(values), style, color=colour, linewidth=1.5, label=held)
    for ax, side in zip(axes, ("bid", "ask"), strict=True):
        ax.set_title(side, fontsize=10)
        ax.set_xlabel(f"cash ({display.money})")
        ax.legend(fontsize=8, frameon=False)
    axes[0].set_ylabel(display.distance.label("distance"))
    return figure


def wealth_distribution(wealth: np.ndarray, predicted: tuple[float, float] | None, money: str) -> Figure:
    """Histogram of terminal wealth with mean and standard deviation, measured and (mean, std) predicted."""
    figure, (ax,) = _panels(1, 3.4)
    low, high = np.percentile(wealth, [0.05, 99.95])
    ax.hist(
        wealth,
        bins=min(120, max(10, wealth.size // 100)),
        range=_widened(low, high),
        density=True,
        color=MEASURED,
        alpha=0.35,
        label="simulated",
    )
    mean, std = float(np.mean(wealth)), float(np.std(wealth))
    ax.axvline(mean, color=MEASURED, linewidth=1.8, label="mean, simulated")
    for sign in (-1, 1):
        ax.axvline(
            mean + sign * std,
            color=MEASURED,
            linewidth=1.0,
            linestyle="--",
            label="mean ± std, simulated" if sign > 0 else None,
        )
    if predicted is not None and all(np.isfinite(predicted)) and predicted[1] > 0:
        x = np.linspace(*ax.get_xlim(), 400)
        bell = np.exp(-0.5 * ((x - predicted[0]) / predicted[1]) ** 2) / (predicted[1] * np.sqrt(2 * np.pi))
        ax.plot(
            x, bell, color=PREDICTED, linewidth=1.2, linestyle="-.", label="normal law with the\npredicted mean and std"
        )
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(f"wealth at the horizon ({money})")
    _thousands(ax.xaxis)
    ax.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(0.74, 1.0))
    return figure


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def inventory_bands(paths: Any, problem: Any, display: Display) -> Figure:
    """Quantiles of the inventory over time, from paths on an even grid of times."""
    figure, (ax,) = _panels(1, 3.2)
    time, inventory = display.time(paths.time), display.inventory(paths.inventory)
    q05, q25, q50, q75, q95 = lot_quantiles(inventory, (0.05, 0.25, 0.5, 0.75, 0.95))
    ax.fill_between(time, q05, q95, color=MEASURED, alpha=0.18, linewidth=0, label="90% of the paths")
    ax.fill_between(time, q25, q75, color=MEASURED, alpha=0.32, linewidth=0, label="half of the paths")
    ax.plot(time, q50, color=MEASURED, linewidth=1.2, label="median")
    ax.plot(time, inventory.mean(axis=0), color=PREDICTED, linewidth=1.0, linestyle="--", label="mean")
    limit = float(display.inventory(problem.limit))
    if np.isfinite(limit) and limit < 3 * np.abs(inventory).max():
        for sign in (-1, 1):
            ax.axhline(sign * limit, color=OTHER, linewidth=1.0, linestyle=":", label="limit" if sign > 0 else None)
    ax.set_xlim(time[0], time[-1])
    ax.set_xlabel(display.time.label("time"))
    ax.set_ylabel(display.inventory.label("inventory"))
    _whole_numbers(ax.yaxis)
    ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def lot_quantiles(inventory: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Quantiles (shares, times) of inventories (paths, times) in lots, between the lots as well.

    Plain quantiles of whole numbers jump from lot to lot. These invert the distribution function with half of each
    lot's probability below it, joined linearly: the mid-quantiles of Ma, Genton and Parzen (2011).
    """
    lots = np.rint(inventory).astype(int)
    values = np.arange(lots.min(), lots.max() + 1)
    found = []
    for column in lots.T:
        share = np.bincount(column - values[0], minlength=values.size) / column.size
        middle = np.cumsum(share) - 0.5 * share
        some = share > 0
        found.append(np.interp(shares, middle[some], values[some]))
    return np.array(found).T


def sample_of_paths(paths: Any, display: Display, count: int = 3) -> Figure:
    """A few paths: inventory above, wealth below."""
    figure = Figure(figsize=(_WIDTH, 4.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    time = display.time(paths.time)
    for i, colour in zip(range(min(count, len(paths.inventory))), (BID, ASK, MEASURED), strict=False):
        style = {"color": colour, "linewidth": 1.2, "label": f"path {i + 1}"}
        above.step(time, display.inventory(paths.inventory[i]), where="post", **style)
        below.plot(time, paths.wealth[i], **style)
    for ax in (above, below):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#dddddd", linewidth=0.6)
        ax.set_xlim(time[0], time[-1])
    above.axhline(0.0, color=OTHER, linewidth=0.7)
    above.set_ylabel(display.inventory.label("inventory"))
    _whole_numbers(above.yaxis)
    below.set_ylabel(f"wealth ({display.money})")
    _thousands(below.yaxis)
    below.set_xlabel(display.time.label("time"))
    above.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.align_ylabels([above, below])
    return figure


def errors_of_the_value(solution: Any, display: Display, reach: float) -> Figure:
    """The estimated error of the value now, over the inventory, on a logarithmic scale."""
    tables, problem = solution.tables, solution.problem
    figure, (ax,) = _panels(1, 2.6)
    inside = np.abs(tables.y) <= reach * (1 + 1e-9)
    error = display.entry(tables, tables.error)[inside]
    ax.semilogy(
        display.inventory(tables.y[inside]),
        np.maximum(error, np.finfo(float).tiny),
        color=PREDICTED,
        linewidth=1.3,
        marker="" if problem.moves else "o",
        markersize=3,
    )
    ax.set_xlabel(display.inventory.label("inventory"))
    ax.set_ylabel(f"estimated error\nof the value ({display.money})")
    _whole_numbers(ax.xaxis)
    return figure
