"""A whole frontier of pre-commitment against one of its points: one solve serves every risk aversion.

Both sides solve the reference dealer on the same grid, wide enough for the least risk aversion of the frontier; what
the frontier has more is 64 scalar searches for the best target. The yardstick is eight times one point, so that the
ratio is eight over the number of solves that the frontier costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import twosided as ts

from .timing import Comparison, compare

POINTS, MOST_SOLVES = 64, 8
AVERSIONS = np.geomspace(0.5, 50.0, POINTS)


def dealer() -> Any:
    """The reference case of the documentation, committed."""
    models = ts.models
    demand = models.Exponential(3660.0, 60.0)
    return models.StockCashDealer(0.15, 0.45, 0.03, 20 / 244, demand, demand, 1.0, 10.0, models.PreCommitment(0.5))


def run() -> Iterator[Comparison]:
    """The comparison, with what the frontier's first point and the single solve differ by."""
    problem, method = dealer(), ts.hjb.TargetMethod(nodes_per_lot=2, gap_nodes=128, steps=32, check=False)
    frontier = ts.hjb.pre_commitment_frontier(problem, AVERSIONS, method)
    apart = abs(frontier.value[0] - ts.solve(problem, method).value(0.0))
    comparison = compare(
        f"frontier of {POINTS} points by pre-commitment",
        lambda: ts.hjb.pre_commitment_frontier(problem, AVERSIONS, method),
        lambda: ts.hjb.pre_commitment_frontier(problem, AVERSIONS[:1], method),
        against=f"{MOST_SOLVES} solves",
        wanted=1.0,
        pairs=3,
        scale=MOST_SOLVES,
    )
    solves = MOST_SOLVES / comparison.ratio
    yield replace(comparison, note=f"{comparison.note}costs {solves:.2f} solves; first point apart by {apart:.0e}")
