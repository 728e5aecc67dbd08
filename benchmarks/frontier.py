"""Frontiers: many points against one solve, and two workers against one.

The first two lines compare with what the points would cost one by one; they meet the mark where 64 points take less
than 40 solves, or 8 where one solve serves all. The last one hands the same blocks to a cluster of two worker
processes and to one of one, a processor to each worker, both compiled before and idle while the other is timed.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import twosided as ts
from twosided.hjb.solve import method_from_data
from twosided.models.case import to_data
from twosided.validation.sweeps._blocks import Store, cut
from twosided.validation.sweeps._running import _cluster, _there

from .dealer import dealer
from .timing import Comparison, compare

POINTS, MOST_SOLVES, MOST_SHARED = 64, 40, 8
AVERSIONS = np.geomspace(0.3, 20.0, POINTS)
METHOD = {"type": "FiniteDifference", "nodes_per_lot": 8, "steps": 400, "extrapolate": False}  # of the cluster's blocks


def _under(objective: Any) -> Any:
    problem = dealer()
    return type(problem)(**{**problem.arguments(), "objective": objective})


def _two_workers() -> Comparison:
    """The same blocks, solved and simulated, by two workers and by one."""
    seeds = itertools.count()
    settings = {
        "problem": to_data(dealer()),
        "method": METHOD,
        "initial": {"stock": 0.0, "cash": 0.0},
        "paths": 20_000,
        "reading": "equilibrium",
    }
    assert method_from_data(METHOD).steps == METHOD["steps"]

    def work(client: Any, shares: Any) -> None:
        blocks = cut("frontier", AVERSIONS[::2].tolist(), {**settings, "seed": next(seeds)}, 2)
        with tempfile.TemporaryDirectory() as folder:
            _there(blocks, Store(Path(folder) / "blocks").write, client, shares)

    with _cluster(2, None) as both, _cluster(1, None) as single:
        return compare(
            "frontier of 32 points on Dask: two workers",
            lambda: work(*both),
            lambda: work(single[0], single[1][:1] and [both[1][0]]),
            against="one worker",
            wanted=1.7,
            pairs=3,
            note="a processor each, 20,000 paths a point",
        )


def run() -> Iterator[Comparison]:
    """The three comparisons."""
    yield compare(
        f"frontier of {POINTS} points, equilibrium",
        lambda: ts.frontier(dealer(), AVERSIONS, ["equilibrium"], paths=0, progress=False),
        lambda: ts.solve(dealer()),
        against=f"{MOST_SOLVES} solves",
        wanted=1.0,
        pairs=3,
        scale=MOST_SOLVES,
        note="the solver's part, without simulation",
    )
    yield compare(
        f"frontier of {POINTS} points, pre-commitment",
        lambda: ts.hjb.pre_commitment_frontier(_under(ts.models.PreCommitment(1.0)), AVERSIONS),
        lambda: ts.solve(_under(ts.models.PreCommitment(AVERSIONS[0]))),
        against=f"{MOST_SHARED} solves",
        wanted=1.0,
        pairs=1,
        scale=MOST_SHARED,
        note="one solve serves all",
    )
    yield _two_workers()


if __name__ == "__main__":
    from .timing import HEADER

    print(HEADER)
    for comparison in run():
        print(comparison.row(), flush=True)
