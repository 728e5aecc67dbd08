"""Statistical agreement, judged once for a whole suite of comparisons.

A test that allows three standard errors and is made thirty times fails one sound suite in twelve, and whoever then
looks for a luckier seed has thrown the test away. Here every comparison is held to one critical value, chosen so that
all comparisons of a suite together raise a false alarm with probability `FAMILY_LEVEL` (Sidak 1967).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.stats import norm

FAMILY_LEVEL = 1e-4
"""Probability that a sound suite fails."""
FAMILY_SIZE = 2000
"""Comparisons that the suite declares; more than it makes."""
FEWEST_SAMPLES = 1000
"""Below this the estimate of a standard error is itself too rough for the critical value to mean anything."""


class Disagreement(AssertionError):
    """Estimates that chance does not explain."""


def critical_value(family_level: float = FAMILY_LEVEL, family_size: int = FAMILY_SIZE) -> float:
    """Standard errors by which one of `family_size` two-sided comparisons may be off; 5.4 for the suite's own."""
    if not 0 < family_level < 1 or family_size < 1:
        raise ValueError(
            f"family_level must lie between 0 and 1 and family_size be at least 1, got {family_level} and {family_size}"
        )
    return float(norm.isf(0.5 * _each(family_level, family_size)))


def agree(
    estimates: Any,
    expected: Any,
    standard_errors: Any,
    *,
    samples: int,
    tolerance: Any = 0.0,
    family_level: float = FAMILY_LEVEL,
    family_size: int = FAMILY_SIZE,
) -> np.ndarray:
    """The differences in standard errors, or `Disagreement` where one exceeds the family's critical value.

    estimates, expected, standard_errors: numbers or arrays that broadcast; where `expected` is an estimate too, let
    `standard_errors` be the difference's.
    samples:    behind each estimate.
    tolerance:  error of `expected` that is no chance, such as half a unit of a printed figure's last digit or a
                solver's error estimate; as much of a difference is forgiven.
    Raises `ValueError` where the comparison could not fail: too few samples, a standard error that is not positive.
    """
    estimates, expected, errors, tolerance = np.broadcast_arrays(
        *(np.asarray(x, float) for x in (estimates, expected, standard_errors, tolerance))
    )
    _check(errors, samples)
    if not np.all(np.isfinite(tolerance) & (tolerance >= 0)):
        raise ValueError(f"tolerance must be finite and not negative, got {tolerance}")
    difference = estimates - expected
    z = np.asarray(np.sign(difference) * np.maximum(np.abs(difference) - tolerance, 0) / errors)
    limit = critical_value(family_level, family_size)
    bad = ~(np.abs(z) <= limit)  # nan is bad
    if np.any(bad):
        worst = np.unravel_index(np.argmax(np.where(np.isnan(z), np.inf, np.abs(z))), z.shape)
        raise Disagreement(
            f"{np.sum(bad)} of {z.size} estimates disagree; the worst{_place(worst)} is {estimates[worst]:.8g} against "
            f"{expected[worst]:.8g}: {z[worst]:+.1f} standard errors of {errors[worst]:.3g}, {limit:.1f} are allowed"
        )
    return z


def exceed(better: Any, worse: Any, *, family_level: float = FAMILY_LEVEL, family_size: int = FAMILY_SIZE) -> float:
    """Show that the mean of `better` is above that of `worse`: by how many standard errors, or `Disagreement`.

    better, worse: arrays of shape (samples,), compared pair by pair, such as the scores of two policies run with one
    seed; what the two have in common drops out of the standard error.
    """
    difference = np.asarray(better, float) - np.asarray(worse, float)
    error = float(np.std(difference, ddof=1)) / math.sqrt(difference.size)
    _check(np.asarray(error), difference.size)
    z = float(np.mean(difference)) / error
    limit = critical_value(family_level, family_size)
    if not z > limit:
        raise Disagreement(
            f"the mean difference {np.mean(difference):.4g} is {z:+.1f} standard errors of {error:.3g} above zero, "
            f"where {limit:.1f} are needed"
        )
    return z


def plausible(p_values: Any, *, family_level: float = FAMILY_LEVEL, family_size: int = FAMILY_SIZE) -> None:
    """Raise `Disagreement` where a goodness-of-fit test's p-value is too small for the family."""
    p_values = np.asarray(p_values, float)
    limit = _each(family_level, family_size)
    if not np.all(p_values >= limit):  # nan is bad
        raise Disagreement(f"p-values {p_values} fall below {limit:.2g}")


def _each(family_level: float, family_size: int) -> float:
    """Level of one comparison, `1 - (1 - level)^(1/size)`."""
    return -math.expm1(math.log1p(-family_level) / family_size)


def _check(standard_errors: np.ndarray, samples: int) -> None:
    if samples < FEWEST_SAMPLES:
        raise ValueError(f"{samples} samples are too few to judge by, {FEWEST_SAMPLES} are needed; simulate more paths")
    if not np.all(np.isfinite(standard_errors) & (standard_errors > 0)):
        raise ValueError(
            f"standard errors must be positive and finite, got {standard_errors}; without one there is no comparison"
        )


def _place(index: tuple[Any, ...]) -> str:
    return f" (entry {', '.join(map(str, index))})" if index else ""
