"""Which target to commit to: a scalar maximum over one solve, for as many risk aversions as are asked for.

With `U(Z)` the least expected square seen from the start, `Z = e^{r T} (S + C) - w`, the best of `E - (lambda/2) Var`
is the maximum over `w` of `w - 1/(2 lambda) - (lambda/2) U`. It is stationary where `U'(Z) = -2/lambda`, that is where
`w = E + 1/lambda`; there `Var = U - 1/lambda^2`. It need not be unique: all maxima are found and counted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline


class Choice(NamedTuple):
    """The best targets, each field of shape (risk aversions,); `gap` is what is missing to the target at the start."""

    gap: np.ndarray
    square: np.ndarray
    score: np.ndarray  # of w - 1/(2 lambda) - (lambda/2) U, less the wealth at the start
    maxima: np.ndarray  # how many local maxima there are


def choose(nodes: np.ndarray, square: np.ndarray, aversions: np.ndarray) -> Choice:
    """The best gap for each risk aversion, from `U` at the `nodes`.

    Raises `ValueError` where the best target lies outside the nodes.
    """
    curve = CubicSpline(nodes, square)
    slope, bend = curve.derivative(), curve.derivative(2)
    found = []
    for aversion in aversions:

        def score(gap: np.ndarray, aversion: float = aversion) -> np.ndarray:
            return -gap - 0.5 / aversion - 0.5 * aversion * curve(gap)

        stationary = slope.solve(-2 / aversion, extrapolate=False)
        maxima = stationary[bend(stationary) > 0]
        worth = score(maxima)
        ends = nodes[[0, -1]]
        if maxima.size == 0 or np.max(score(ends)) > np.max(worth):
            raise ValueError(
                f"the best target for risk_aversion={aversion:g} lies outside the solved range of targets, "
                f"{-ends[1]:g} to {-ends[0]:g} above the accounts at time 0; solve with a smaller risk_aversion first"
            )
        best = maxima[np.argmax(worth)]
        found.append((best, curve(best), np.max(worth), maxima.size))
    gap, least, worth, count = (np.array(column) for column in zip(*found, strict=True))
    return Choice(gap, least, worth, count)


def reach_mean(nodes: np.ndarray, square: np.ndarray, above: float) -> tuple[float, float]:
    """The gap and the risk aversion whose best quotes expect `above` more than the wealth at the start.

    Raises `ValueError` with the most that can be expected.
    """
    curve = CubicSpline(nodes, square)
    slope = curve.derivative()
    fine = np.linspace(nodes[0], 0.0, 20 * nodes.size)
    mean = 0.5 * slope(fine) - fine
    falling = fine[slope(fine) < 0]
    most, least = float(np.max(mean)), float(mean[fine == falling[-1]][0])
    if not least <= above <= most:
        raise ValueError(
            f"no pre-commitment on this frontier expects {above:g} more than the accounts at time 0 carried to the "
            f"horizon: from {least:g} to {most:g} can be reached, {most:g} where risk is hardly minded"
        )
    gap = float(fine[np.flatnonzero(mean >= above)[-1]])
    for _ in range(40):  # a secant would do; the slope of the mean is bounded away from zero, so halve
        step = (0.5 * slope(gap) - gap - above) / (0.5 * curve.derivative(2)(gap) - 1)
        gap = float(gap - step)
        if abs(step) < 1e-13 * (1 + abs(gap)):
            break
    return gap, float(-2 / slope(gap))
