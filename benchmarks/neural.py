"""The neural method against the time it is allowed, compiling and certificates included, and the error it leaves.

Books: `d` assets, `A = 1` and `k = 1.5` on each side, unit lots and volatilities, correlation .5, running cost
`(gamma/2) q' Sigma q`, terminal cost `.01 |q|^2`, from a flat book. The error shown is that of the value, against the
linear equation simulated around the network, with its standard error.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import twosided as ts
from twosided.hjb.neural.diffusion import LinearQuadratic

from .timing import Comparison

BOOKS = ((10, 0.02, 1.0, 60.0), (30, 0.02, 1.0, 120.0), (10, 0.4, 5.0, 60.0))
"""Assets, gamma, horizon, and the seconds allowed."""


def book(assets: int, risk_aversion: float, horizon: float) -> Any:
    """The benchmark's dealer."""
    models = ts.models
    demand, objective = models.Exponential(1.0, 1.5), models.RiskPenalty(risk_aversion, 0.01)
    return models.MultiAssetDealer(np.ones(assets), horizon, demand, demand, 1.0, np.inf, objective, 0.5)


def run() -> Iterator[Comparison]:
    """One line per book, and one for the diffusion."""
    for assets, risk_aversion, horizon, allowed in BOOKS:
        started = time.perf_counter()
        solution = ts.solve(book(assets, risk_aversion, horizon), ts.hjb.Neural())
        seconds = time.perf_counter() - started
        found = solution.stats["certificates"]
        gap, error = found["exact"] / found["value"] - 1, found["exact_error"] / found["value"]
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        note = f"value {gap:+.0e} +- {error:.0e}, residual {found['residual']:.0e}, {most:.1f} GiB"
        yield _line(f"neural, {assets} assets, gamma {risk_aversion:g}, T {horizon:g}", seconds, allowed, note)
    started = time.perf_counter()
    fitted = ts.hjb.Neural(width=8, depth=1, points=512, iterations=20).fit(LinearQuadratic(100))
    seconds = time.perf_counter() - started
    note = f"4.5901617 within {abs(fitted.value[0] / 4.5901617 - 1):.0e}"
    yield _line("neural, diffusion in 100 dimensions", seconds, 60.0, note)


def _line(what: str, seconds: float, allowed: float, note: str) -> Comparison:
    return Comparison(what, "the time allowed", seconds, allowed, allowed / seconds, 1.0, float("nan"), note)
