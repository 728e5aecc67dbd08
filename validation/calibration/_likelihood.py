"""Exponential fill intensity `Lambda(d) = A e^{-k d}` by censored maximum likelihood, and by least squares.

Likelihood. Cell `b` collects events at a distance within [l, u), which come at rate `A p_b`, `p_b = e^{-k l}
- e^{-k u}`, while exposed for `E_b`; `n_b` came. Up to a constant

    log L(A, k) = sum_b [ n_b log(A p_b) - A p_b E_b ].

virtual: every distance `d` is a cell [d, inf). A quote that waits `w` for its fill contributes the density
  `Lambda e^{-Lambda w}`, one that is re-centred unfilled after `w` the survival `e^{-Lambda w}`: the
  likelihood of waiting times censored at the re-centring, summed over placings. The distances of one placing
  see the same prints (who fills at .30 fills at .15), so over distances this is an independence likelihood:
  its maximum is consistent because each distance's score has mean zero, but the inverse information is no
  measure of its error.
reach: cells are disjoint depths [d_j, d_{j+1}), the last one open; an order beyond the last distance is
  censored there. Under Poisson orders with exponential depth this is the full likelihood.

Errors. The observed information H gives `naive_standard_error`s. Reported are those of the sandwich H^-1 M
H^-1 with M the long-run covariance of the score per interval of time (`_inference`): it allows for the
overlap of distances, for both sides seeing one market, and for bursts of orders. Parameters are (log A, k).

Fit. Tests of systematic error, robust in the same way: scores of added terms in the log intensity, with the
estimation of (A, k) projected out (Neyman's smooth test). `shape_test`: Legendre polynomials of degree 2 to 4 in
1 - e^{-k d}, in which the model spreads the fills evenly. `waiting_test` (virtual only): the rate in the first
half of a quote's life against the second, level and slope, which a waiting time that is not exponential shows.
`depth_test` (reach only): Pearson's chi-square of the depths in about `_CLASSES` classes of equal weight, with
orders taken for independent; it sees more than the robust test where a session is short, and too much where
orders come in bursts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre

from ..messages import DataError
from ._fills import FEWEST_FILLS, Evidence, FillCurve, curve
from ._inference import Estimate, FitTest, cosines, covariance_of_sum, pearson_test, wald_test

_STEPS = 100
_SHAPES = 3
_CLASSES = 12
_FEWEST_EXPECTED = 5.0


@dataclass(frozen=True)
class LeastSquares:
    """`log rate = log A - k d` over distances with enough fills, weighted with the fills."""

    scale_per_second: float
    decay_per_dollar: float
    distances: int

    def to_dict(self) -> dict[str, float]:
        """All fields, ready for JSON."""
        return {
            "scale_per_second": self.scale_per_second,
            "decay_per_dollar": self.decay_per_dollar,
            "distances": self.distances,
        }


@dataclass(frozen=True, eq=False)
class IntensityFit:
    """`Lambda(d) = A e^{-k d}` fills per second at `d` dollars from the mid, on one side or pooled."""

    scale_per_second: Estimate  # A
    decay_per_dollar: Estimate  # k
    correlation: float  # of the errors of log A and k
    naive_scale_error: float  # from the observed information alone
    naive_decay_error: float
    shape_test: FitTest
    waiting_test: FitTest | None  # of virtual quotes
    depth_test: FitTest | None  # of reach
    least_squares: LeastSquares | None  # None where fewer than two distances have enough fills
    curve: FillCurve

    def rate_per_second(self, distance_dollars: np.ndarray | float) -> np.ndarray | float:
        """`A e^{-k d}`; any shape."""
        return self.scale_per_second.value * np.exp(-self.decay_per_dollar.value * np.asarray(distance_dollars))

    def least_squares_excess(self) -> tuple[float, float] | None:
        """By what fraction least squares exceeds likelihood in (A, k)."""
        if self.least_squares is None:
            return None
        return (
            self.least_squares.scale_per_second / self.scale_per_second.value - 1,
            self.least_squares.decay_per_dollar / self.decay_per_dollar.value - 1,
        )

    def to_dict(self) -> dict[str, object]:
        """Everything, ready for JSON."""
        excess = self.least_squares_excess()
        return {
            "scale_per_second": self.scale_per_second.to_dict(),
            "decay_per_dollar": self.decay_per_dollar.to_dict(),
            "correlation_of_log_scale_and_decay": self.correlation,
            "naive_scale_error": self.naive_scale_error,
            "naive_decay_error": self.naive_decay_error,
            "shape_test": self.shape_test.to_dict(),
            "waiting_test": self.waiting_test.to_dict() if self.waiting_test else None,
            "depth_test": self.depth_test.to_dict() if self.depth_test else None,
            "least_squares": self.least_squares.to_dict() if self.least_squares else None,
            "least_squares_excess": dict(zip(("scale", "decay"), excess, strict=True)) if excess else None,
            "curve": self.curve.to_dict(),
        }


def fit_intensity(evidence: Evidence, what: str) -> IntensityFit:
    """Fit `A` and `k` to evidence; raise `DataError`, naming `what`, where it does not determine them."""
    found = curve(evidence)
    theta, information = _maximise(evidence, what)
    expected, slopes = _expected(evidence, theta)
    scores = (evidence.fills - expected) @ slopes
    naive = np.linalg.inv(information)
    covariance = naive @ covariance_of_sum(scores) @ naive
    errors, freedom = np.sqrt(np.diag(covariance)), cosines(len(scores))
    scale, decay = math.exp(theta[0]), float(theta[1])
    shape, waiting = _fit_tests(evidence, decay, expected, slopes, scores)
    return IntensityFit(
        scale_per_second=Estimate(scale, scale * float(errors[0]), freedom, positive=True),
        decay_per_dollar=Estimate(decay, float(errors[1]), freedom),
        correlation=float(covariance[0, 1] / (errors[0] * errors[1])),
        naive_scale_error=scale * math.sqrt(naive[0, 0]),
        naive_decay_error=math.sqrt(naive[1, 1]),
        shape_test=shape,
        waiting_test=waiting,
        depth_test=_depth_test(evidence, expected) if evidence.young is None else None,
        least_squares=fit_least_squares(found),
        curve=found,
    )


def fit_least_squares(found: FillCurve, fewest_fills: int = FEWEST_FILLS) -> LeastSquares | None:
    """Least squares of `log rate` on distance, weighted with the fills, where there are `fewest_fills`."""
    enough = found.fills >= fewest_fills
    if enough.sum() < 2:
        return None
    distance, weight = found.distance_dollars[enough], found.fills[enough]
    slope, level = np.polyfit(distance, np.log(found.rate_per_second[enough]), 1, w=np.sqrt(weight))
    return LeastSquares(math.exp(level), float(-slope), int(enough.sum()))


def _log_rate(evidence: Evidence, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`log(A p_b)` (J,), its derivative in (log A, k) (J, 2), and minus its second one in k (J,)."""
    log_scale, k = theta
    width = evidence.upper - evidence.lower
    width = np.where(np.isfinite(width), width, 1e3 / k)  # e^{-1000}: nothing arrives beyond
    missed = np.exp(-k * width)
    log_rate = log_scale - k * evidence.lower + np.log1p(-missed)
    slopes = np.stack([np.ones_like(width), -evidence.lower + width * missed / (1 - missed)], axis=1)
    return log_rate, slopes, width**2 * missed / (1 - missed) ** 2


def _expected(evidence: Evidence, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expected fills (n, J) and the derivatives (J, 2) of the log rate."""
    log_rate, slopes, _ = _log_rate(evidence, theta)
    return evidence.exposure * np.exp(log_rate), slopes


def _maximise(evidence: Evidence, what: str) -> tuple[np.ndarray, np.ndarray]:
    """(log A, k) and the observed information there, by Newton with halved steps; log L is concave."""
    fills, exposure = evidence.fills.sum(axis=0), evidence.exposure.sum(axis=0)
    if not (fills > 0).sum() >= 2:
        raise DataError(f"{what}: fills at fewer than two distances; give a longer session")

    def climb(theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        log_rate, slopes, bend = _log_rate(evidence, theta)
        expected = exposure * np.exp(log_rate)
        information = (slopes * expected[:, None]).T @ slopes
        information[1, 1] += float((fills - expected) @ bend)
        return float(fills @ log_rate - expected.sum()), (fills - expected) @ slopes, information

    theta = np.array([math.log(fills.sum() / exposure.sum()) + 1.0, 1 / float(evidence.lower.mean())])
    height, slope, information = climb(theta)
    for _ in range(_STEPS):
        step = np.linalg.solve(information, slope)
        while theta[1] + step[1] <= 0 or climb(theta + step)[0] < height - 1e-12 * abs(height):
            step = step / 2
            if np.abs(step[1]) < 1e-9 * theta[1]:
                raise DataError(f"{what}: the fills do not fall with the distance; give a longer session")
        theta = theta + step
        height, slope, information = climb(theta)
        if np.abs(step[1]) <= 1e-11 * theta[1]:
            return theta, information
    raise DataError(f"{what}: the likelihood has no maximum in {_STEPS} steps; give a longer session")


def _fit_tests(
    evidence: Evidence, decay: float, expected: np.ndarray, slopes: np.ndarray, scores: np.ndarray
) -> tuple[FitTest, FitTest | None]:
    """Robust score tests of terms added to the log intensity."""
    residuals, weight = evidence.fills - expected, expected.sum(axis=0)
    information = (slopes * weight[:, None]).T @ slopes
    passed = -np.expm1(-decay * (evidence.lower - evidence.lower.min()))  # what is not expected to get so far
    z = 2 * passed / passed.max() - 1
    shapes = min(_SHAPES, len(np.unique(z)) - 2)

    def test(against: str, terms: np.ndarray) -> FitTest:
        overlap = (terms * weight[:, None]).T @ slopes
        return wald_test(against, residuals @ terms - scores @ np.linalg.solve(information, overlap.T))

    shape = test("another shape of the intensity over the distance", legendre.legvander(z, 1 + shapes)[:, 2:])
    if evidence.young is None:
        return shape, None
    young = np.where(evidence.young, 0.5, -0.5)
    return shape, test("waiting times that are not exponential", np.stack([young, young * z], axis=1))


def _depth_test(evidence: Evidence, expected: np.ndarray) -> FitTest | None:
    """Pearson's test of the depths, given how many orders came; None where too few for three classes."""
    counts, model = evidence.fills.sum(axis=0), expected.sum(axis=0)
    total = counts.sum()
    wanted = max(_FEWEST_EXPECTED, total / _CLASSES)
    share = model.cumsum() * total / model.sum()
    label = np.minimum((share - 1e-9) // wanted, total // wanted - 1).astype(np.int64)
    label = np.unique(label, return_inverse=True)[1]
    if label[-1] < 2:
        return None
    classes = [np.bincount(label, weights=weight) for weight in (counts, model * total / model.sum())]
    return pearson_test("another law of depth, orders taken for independent", *classes, fitted=2)
