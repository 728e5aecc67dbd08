"""Errors of estimates made from one stretch of dependent data.

Every estimate here is the root of a sum of contributions, one per interval of time, and contributions of
neighbouring intervals are dependent: orders come in bursts, volatility in spells. Their long-run covariance
is taken by projecting them on slow cosines,

    Lambda_j = sqrt(2/n) sum_t u_t cos(pi j (t - 1/2)/n),    Omega = (1/B) sum_{j=1..B} Lambda_j Lambda_j',

with B = .41 n^(2/3): the equal-weighted cosines of Lazarus, Lewis, Stock and Watson (2018), with their rule.
With it t and Wald statistics follow Student's t with B and F with (m, B - m + 1) degrees of freedom also
where B is small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special
from scipy.fft import dct

FEWEST = 16  # contributions that leave at least eight cosines to average over


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error. `positive` asks for an interval on the scale of logarithms."""

    value: float
    standard_error: float
    degrees_of_freedom: float
    positive: bool = False

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The interval that covers the truth with probability `level`."""
        reach = self.standard_error * float(special.stdtrit(self.degrees_of_freedom, 0.5 + level / 2))
        if self.positive:
            factor = math.exp(reach / self.value)
            return self.value / factor, self.value * factor
        return self.value - reach, self.value + reach

    def to_dict(self) -> dict[str, float | list[float]]:
        """Value, standard error and 95% interval, ready for JSON."""
        return {
            "value": self.value,
            "standard_error": self.standard_error,
            "interval_95": list(self.interval()),
        }


@dataclass(frozen=True)
class FitTest:
    """A test of the model against a stated alternative; small p-values speak against the model."""

    against: str
    statistic: float
    degrees_of_freedom: tuple[int, ...]  # two where the statistic is F, one where it is chi-square
    p_value: float

    def to_dict(self) -> dict[str, object]:
        """All fields, ready for JSON."""
        return {
            "against": self.against,
            "F" if len(self.degrees_of_freedom) == 2 else "chi_square": self.statistic,
            "degrees_of_freedom": list(self.degrees_of_freedom),
            "p_value": self.p_value,
        }


def cosines(n: int) -> int:
    """How many cosines `B` to average over for `n` contributions; also the degrees of freedom."""
    return max(FEWEST // 2, round(0.41 * n ** (2 / 3)))


def covariance_of_sum(contributions: np.ndarray) -> np.ndarray:
    """Covariance (m, m) of the sum over time of contributions (n, m) that may be dependent over time."""
    waves = cosines(len(contributions))
    # SciPy's transform is 2 sum_t u_t cos(...), so this is sqrt(n) Lambda_j, one row per cosine.
    projected = np.asarray(dct(contributions, axis=0))[1 : waves + 1] / math.sqrt(2)
    return projected.T @ projected / waves


def wald_test(against: str, contributions: np.ndarray) -> FitTest:
    """Test that contributions (n, m) have mean zero."""
    n, m = contributions.shape
    total, covariance = contributions.sum(axis=0), covariance_of_sum(contributions)
    second = cosines(n) - m + 1
    statistic = float(total @ np.linalg.solve(covariance, total)) * second / (cosines(n) * m)
    return FitTest(against, statistic, (m, second), float(special.fdtrc(m, second, statistic)))


def pearson_test(against: str, counts: np.ndarray, expected: np.ndarray, fitted: int) -> FitTest:
    """Chi-square test of independent counts (m,) in classes, less `fitted` degrees for what was estimated."""
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = len(counts) - fitted
    return FitTest(against, statistic, (freedom,), float(special.chdtrc(freedom, statistic)))


def mean_rate(contributions: np.ndarray, seconds: float) -> Estimate:
    """The sum of contributions (n,) per second, with its standard error."""
    variance = float(covariance_of_sum(contributions[:, None])[0, 0])
    n = len(contributions)
    return Estimate(float(contributions.sum()) / seconds, math.sqrt(variance) / seconds, cosines(n))
