"""Volatility and drift of the mid, in dollars.

On a grid of `STEP` seconds with mids `m_0 .. m_n`:

    realised      sigma^2 = sum_i (m_i - m_{i-1})^2 / (n STEP) two scales    sigma^2 = [ (1/K) sum_{i>=K} (m_i
    - m_{i-K})^2 - (nbar/n) sum_i (m_i - m_{i-1})^2 ] / (nbar (K-1) STEP)

with nbar = (n - K + 1)/K. The second takes out noise that does not last from one grid point to the next, such
as a best quote that flickers: Zhang, Mykland and Ait-Sahalia (2005), equation (55), with a divisor that makes
it exactly unbiased for any n under constant volatility and independent noise. Errors are those of `_inference`: where
volatility has a shape over the day they count it as chance, and are too large rather than too small.
"""

from __future__ import annotations

import math

import numpy as np

from ..messages import DataError, Messages
from ._inference import FEWEST, Estimate, cosines, covariance_of_sum

STEP = 1.0  # seconds between the mids
SLOW = 10  # steps of the slow scale


def realised_volatility(mid: np.ndarray) -> Estimate:
    """Root of the summed squared changes of `mid` (n+1,), one per `STEP`, over the time; per sqrt(second)."""
    return _root(np.diff(mid) ** 2 / STEP, len(mid) - 1)


def two_scale_volatility(mid: np.ndarray, slow: int = SLOW) -> Estimate:
    """Volatility free of noise in `mid` (n+1,), one per `STEP`; per sqrt(second). `slow` counts steps."""
    n = len(mid) - 1
    mean_count = (n - slow + 1) / slow
    slow_part = (mid[slow:] - mid[:-slow]) ** 2 / slow
    fast_part = np.diff(mid) ** 2 * (mean_count / n)
    contributions = -fast_part
    contributions[slow - 1 :] += slow_part
    return _root(contributions * n / (mean_count * (slow - 1) * STEP), n)


def drift(mid: np.ndarray, volatility: Estimate) -> Estimate:
    """Mean change of `mid` (n+1,) per second. Only a longer session, not a finer grid, makes it sharper."""
    seconds = (len(mid) - 1) * STEP
    error = volatility.value / math.sqrt(seconds)
    return Estimate(float(mid[-1] - mid[0]) / seconds, error, volatility.degrees_of_freedom)


def mids(messages: Messages, session: tuple[float, float]) -> np.ndarray:
    """Mid in dollars at the opening and every `STEP` seconds until the close."""
    opening, closing = session
    steps = math.floor((closing - opening) / STEP + 1e-9)
    if steps < max(FEWEST, 4 * SLOW):
        raise DataError(
            f"{messages.source}: a session of {closing - opening:g} s is too short for a volatility; "
            f"give at least {max(FEWEST, 4 * SLOW) * STEP:g} s"
        )
    mid = messages.mid_at(opening + STEP * np.arange(steps + 1))
    if not np.ptp(mid) > 0:
        raise DataError(f"{messages.source}: the mid never moves in the session; give a longer one")
    return mid


def _root(contributions: np.ndarray, n: int) -> Estimate:
    """sigma and its standard error by the delta method, from contributions (n,) whose mean is sigma^2."""
    variance = float(contributions.mean())
    error = math.sqrt(float(covariance_of_sum(contributions[:, None])[0, 0])) / n
    volatility = math.sqrt(max(variance, 0.0))
    return Estimate(volatility, error / (2 * volatility) if volatility else math.inf, cosines(n))
