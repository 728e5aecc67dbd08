"""The figures about a calibrated risk aversion, drawn from what an estimate's `to_dict` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ._figures import ASK, BID, MEASURED, OTHER, PREDICTED, _panels

Data = Mapping[str, Any]
_CHI_SQUARE = 3.8415  # that a chi-square with one degree of freedom exceeds one time in twenty
_COLOURS = {"bid": BID, "ask": ASK}


def words(name: str) -> str:
    """A parameter's name as a reader says it."""
    return name.replace("_", " ")


def profile_curve(data: Data) -> Figure:
    """The deviance against the risk aversion, with the interval reported."""
    figure, (ax,) = _panels(1, 3.4)
    x, y = (np.asarray(data["profile"][key], float) for key in ("risk_aversion", "deviance"))
    told = np.isfinite(y)
    ax.plot(x[told], y[told], color=PREDICTED, linewidth=1.6, label="profile")
    ax.axhline(_CHI_SQUARE, color=OTHER, linewidth=1, linestyle=":", label="95% if observations are independent")
    found = data["risk_aversion"]
    low, high = found["interval_95"]
    if low is not None and high is not None:
        ax.axvspan(max(low, x.min()), min(high, x.max()), color=MEASURED, alpha=0.15, label="95% interval reported")
    ax.axvline(found["value"], color=MEASURED, linewidth=1.6, label="estimate")
    ax.set_xscale("log")
    ax.set_ylim(0, min(float(np.max(y[told])), 30.0) * 1.02 + 1e-3)
    ax.set_xlabel(words(data["name"]))
    ax.set_ylabel("deviance, 2 (log L best - log L)")
    ax.legend(fontsize=8, frameon=False)
    return figure


def frontier_curve(data: Data, money: str) -> Figure:
    """Expected wealth against its deviation, and what is budgeted against the risk aversion."""
    figure, (left, right) = _panels(2, 3.6)
    frontier, found = data["frontier"], data["risk_aversion"]
    at, mean, deviation, budget = (
        np.asarray(frontier[key], float) for key in ("risk_aversion", "expected_wealth", "deviation", "budget")
    )
    order = np.argsort(at)
    where = np.log(found["value"])
    left.plot(deviation, mean, "o-", color=PREDICTED, markersize=3.5, label="one risk aversion each")
    left.plot(
        np.interp(where, np.log(at[order]), deviation[order]),
        np.interp(where, np.log(at[order]), mean[order]),
        "D",
        color=MEASURED,
        markersize=8,
        label="the budget's",
    )
    left.set_xlabel(f"standard deviation of wealth ({money})")
    left.set_ylabel(f"expected wealth above the book ({money})")
    left.legend(fontsize=8, frameon=False)
    right.plot(at, budget, "o-", color=PREDICTED, markersize=3.5)
    right.axhline(frontier["target"], color=OTHER, linewidth=1, linestyle=":", label="target")
    low, high = found["interval_95"]
    if high > low:
        right.axvspan(low, high, color=MEASURED, alpha=0.15, label="95% interval")
    right.axvline(found["value"], color=MEASURED, linewidth=1.6, label="risk aversion")
    right.set_xscale("log")
    right.set_xlabel(words(data["name"]))
    right.set_ylabel(frontier["meaning"])
    right.legend(fontsize=8, frameon=False)
    return figure


def fit_curves(data: Data, scale: float, inventory: str) -> Figure:
    """What was observed at each inventory, and what the calibrated dealer does there: one panel per side."""
    fits = data["fits"]
    figure, axes = _panels(len(fits), 3.6, share_y=True)
    for ax, fit in zip(axes, fits, strict=True):
        where = scale * np.asarray(fit["where"], float)
        for side in fit["observed"]:
            seen, model = (np.asarray(fit[key][side], float) for key in ("observed", "explained"))
            colour = _COLOURS.get(side, OTHER)
            if side in fit["error"]:
                error = 2 * np.asarray(fit["error"][side], float)
                ax.errorbar(
                    where, seen, yerr=error, fmt="o", color=colour, markersize=4, elinewidth=0.9, label="observed"
                )
                ax.plot(where, model, "D-", color=PREDICTED, markersize=3, linewidth=1.2, label="calibrated dealer")
            else:
                ax.plot(where, seen, "o", color=colour, markersize=3, alpha=0.45, label="observed")
                ax.plot(where, model, "k_", markersize=9, markeredgewidth=1.6, label="calibrated dealer, same times")
        ax.set_xlabel(inventory)
        ax.set_ylabel(fit["label"])
        ax.legend(fontsize=8, frameon=False)
    return figure
