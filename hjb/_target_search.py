"""Which target to commit to: a scalar maximum over one curve, for as many risk aversions as are asked for.

With `U(Z)` the least expected square seen from the start, `Z = e^{r T} (S + C) - w`, the best of `E - (lambda/2) Var`
is the maximum over `w` of `w - 1/(2 lambda) - (lambda/2) U`. It is stationary where `U'(Z) = -2/lambda`, that is where
`w = E + 1/lambda`; there `Var = U - 1/lambda^2`. It need not be unique: all maxima are found and counted.

Where each target needs a solve of its own, the curve of a dealer to whom cash is no matter is bent through those that
were solved. What cash takes, `U - U_1`, is smooth in the target; and since `U'(Z) = 2 E[Z_T] = 2 g`, its slope is
known with it, `2 (g - g_1)`, in which what the two solves are wrong by alike cancels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicHermiteSpline, CubicSpline


class Curve(NamedTuple):
    """What is seen from the start over the gap to the target, each (gaps,): `U`, and `g - Z`."""

    gap: np.ndarray
    square: np.ndarray
    mean: np.ndarray

    def at(self, gap: np.ndarray) -> Curve:
        """The curve read at other gaps."""
        return Curve(gap, CubicSpline(self.gap, self.square)(gap), CubicSpline(self.gap, self.mean)(gap))

    def through(self, solved: Curve) -> Curve:
        """The curve bent so that it goes through solved points, their gaps rising; beyond them straight on."""
        nodes = self.gap.copy()
        nodes[np.argmin(np.abs(nodes[:, None] - solved.gap), axis=0)] = solved.gap
        before, here = self.at(solved.gap), self.at(nodes)
        square, mean = solved.square - before.square, solved.mean - before.mean
        ends = np.array([nodes[0] - 1.0, nodes[-1] + 1.0])
        tails = square[[0, -1]] + 2 * mean[[0, -1]] * (ends - solved.gap[[0, -1]])
        apart = CubicHermiteSpline(
            np.r_[ends[0], solved.gap, ends[1]],
            np.r_[tails[0], square, tails[1]],
            2 * np.r_[mean[0], mean, mean[-1]],
        )
        return Curve(nodes, here.square + apart(nodes), here.mean + np.interp(nodes, solved.gap, mean))


class Choice(NamedTuple):
    """The best targets, each field of shape (risk aversions,); `gap` is what is missing to the target at the start."""

    gap: np.ndarray
    square: np.ndarray
    score: np.ndarray  # of w - 1/(2 lambda) - (lambda/2) U, less the wealth at the start
    maxima: np.ndarray  # how many local maxima there are


def choose(seen: Curve, aversions: np.ndarray) -> Choice:
    """The best gap for each risk aversion.

    Raises `ValueError` where the best target lies outside the curve.
    """
    curve = CubicSpline(seen.gap, seen.square)
    slope, bend = curve.derivative(), curve.derivative(2)
    found = []
    for aversion in aversions:

        def score(gap: np.ndarray, aversion: float = aversion) -> np.ndarray:
            return -gap - 0.5 / aversion - 0.5 * aversion * curve(gap)

        stationary = slope.solve(-2 / aversion, extrapolate=False)
        maxima = stationary[bend(stationary) > 0]
        worth = score(maxima)
        ends = seen.gap[[0, -1]]
        if maxima.size == 0 or np.max(score(ends)) > np.max(worth):
            raise ValueError(
                f"the best target for risk_aversion={aversion:g} lies outside the solved range of targets, "
                f"{-ends[1]:g} to {-ends[0]:g} above the accounts at time 0; solve with a smaller risk_aversion first"
            )
        best = maxima[np.argmax(worth)]
        found.append((best, curve(best), np.max(worth), maxima.size))
    gap, least, worth, count = (np.array(column) for column in zip(*found, strict=True))
    return Choice(gap, least, worth, count)


def reach_mean(seen: Curve, above: float) -> tuple[float, float]:
    """The gap and the risk aversion whose best quotes expect `above` more than the wealth at the start.

    Raises `ValueError` with the most that can be expected.
    """
    curve = CubicSpline(seen.gap, seen.square)
    slope = curve.derivative()
    fine = np.linspace(seen.gap[0], 0.0, 20 * seen.gap.size)
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
