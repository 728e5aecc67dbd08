"""Quotes that a model predicts beside quotes that were observed: how far off, in which way.

With `P` predicted, `O` observed, their means, standard deviations `s` and correlation `r`, the mean squared error
splits into what a shift, a change of scale and nothing at all could mend (Theil 1966):

    mean (P - O)^2 = (mean P - mean O)^2 + (s_P - r s_O)^2 + (1 - r^2) s_O^2

Mincer and Zarnowitz (1969) regress `O = a + b P + e`: a prediction that is right on average, whatever it says, has
a = 0 and b = 1; tested together with errors that are robust as the regression's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import Covariance
from .panel import Panel
from .regression import Coefficient, regress

FEWEST = 4


@dataclass(frozen=True)
class QuoteComparison:
    """One quantity, predicted and observed in `rows` rows.

    bias:                    mean of predicted less observed; `unit`.
    rmse:                    root mean squared error; `deviation` is the observed values' own, what the best constant
                             would have; both in `unit`.
    correlation:             nan where the prediction never changes.
    shares:                  of the mean squared error, adding up to one: "bias", "scale" and "rest".
    intercept, slope:        of Mincer and Zarnowitz, None where the prediction never changes.
    p_value:                 of intercept 0 and slope 1 together, nan likewise.
    """

    quantity: str
    unit: str
    rows: int
    mean_predicted: float
    mean_observed: float
    bias: float
    rmse: float
    deviation: float
    correlation: float
    shares: Mapping[str, float]
    intercept: Coefficient | None
    slope: Coefficient | None
    p_value: float
    errors: str

    def to_data(self) -> dict[str, Any]:
        """All fields, ready for JSON."""

        def told(c: Coefficient | None) -> dict[str, Any] | None:
            if c is None:
                return None
            return {"estimate": c.estimate, "standard_error": c.standard_error, "interval_95": list(c.interval())}

        data = {name: value for name, value in vars(self).items() if name not in ("intercept", "slope", "shares")}
        return {**data, "shares": dict(self.shares), "intercept": told(self.intercept), "slope": told(self.slope)}


def compare_quotes(
    panel: Panel, observed: str, predicted: str, covariance: Covariance | None = None
) -> QuoteComparison:
    """Compare two columns of a panel that are in one unit; rows in which either is missing are left out.

    Raises `ValueError` where the units differ, fewer than four rows have both, or the observed values are all alike.
    """
    unit = panel.units.get(observed)
    both = panel.take(np.isfinite(panel[observed]) & np.isfinite(panel[predicted]))
    if panel.units[predicted] != unit:
        raise ValueError(f"{panel.source}: {predicted} is in {panel.units[predicted]} and {observed} in {unit}")
    if len(both) < FEWEST:
        raise ValueError(
            f"{panel.source}: {len(both)} rows have both {observed} and {predicted}; give {FEWEST} or more"
        )
    o, p = both[observed], both[predicted]
    if np.ptp(o) <= 1e-12 * np.max(np.abs(o)):
        raise ValueError(f"{panel.source}: {observed} is constant ({o[0]:.6g} {unit}) in all {len(both)} rows")
    varies = bool(np.ptp(p) > 1e-12 * np.max(np.abs(p)))
    r = float(np.corrcoef(o, p)[0, 1]) if varies else math.nan
    error = float(np.mean((p - o) ** 2))
    bias, scale = float(np.mean(p) - np.mean(o)), float(np.std(p) - r * np.std(o)) if varies else 0.0
    rest = (1 - r * r) * float(np.var(o)) if varies else float(np.var(o))
    tested = regress(both, observed, [predicted], covariance) if varies else None
    return QuoteComparison(
        quantity=observed,
        unit=str(unit),
        rows=len(both),
        mean_predicted=float(np.mean(p)),
        mean_observed=float(np.mean(o)),
        bias=bias,
        rmse=math.sqrt(error),
        deviation=float(np.std(o)),
        correlation=r,
        shares={"bias": bias**2 / error, "scale": scale**2 / error, "rest": rest / error} if error else {},
        intercept=tested.coefficients[0] if tested else None,
        slope=tested.coefficients[1] if tested else None,
        p_value=tested.p_value_of({"intercept": 0.0, predicted: 1.0}) if tested else math.nan,
        errors=tested.errors if tested else "",
    )
