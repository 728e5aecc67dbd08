"""A column of a panel regressed on others, with errors that survive what market data are like.

    y_i = a + x_i' b + (effects) + e_i

What is estimated is the linear projection of `y` on the columns: the slopes of the best linear predictor, whether or
not the truth is linear. What is assumed of the errors is chosen by name; see `errors`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import special

from ._design import Design, design_for
from .errors import TRUSTED_CLUSTERS, Clustered, Cosines, Covariance
from .panel import Panel

FEW_ROWS = 10  # to a coefficient: the usual rule of thumb
TRUSTED_CONDITION = 30.0  # beyond, in Belsley, Kuh and Welsch's experience, coefficients begin to lose digits


@dataclass(frozen=True)
class Coefficient:
    """A slope with its error; `unit` is the response's per the column's.

    per_deviation: what one standard deviation of the column, and nothing else, is worth; in the response's unit.
    """

    name: str
    unit: str
    estimate: float
    standard_error: float
    degrees_of_freedom: float
    per_deviation: float

    @property
    def t(self) -> float:
        return self.estimate / self.standard_error

    @property
    def p_value(self) -> float:
        """Of no effect, two-sided."""
        return float(2 * special.stdtr(self.degrees_of_freedom, -abs(self.t)))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The interval that covers the projection's coefficient with probability `level`."""
        reach = self.standard_error * float(special.stdtrit(self.degrees_of_freedom, 0.5 + level / 2))
        return self.estimate - reach, self.estimate + reach


@dataclass(frozen=True, eq=False)
class Regression:
    """What a regression found.

    r_squared:  share of the response's variance that the columns and the effects explain; `within` by the columns
                alone, of what the effects leave (the same where there are none).
    condition:  of the columns on one scale: 1 where they are unrelated; large where they say nearly the same.
    left_out:   columns that were wanted and could not be had, with reasons.
    residuals, fitted: (n,), in the rows of the panel.
    joint:      (k, k) covariance of the coefficients.
    """

    source: str
    response: str
    unit: str
    coefficients: tuple[Coefficient, ...]
    covariance: Covariance
    errors: str
    effects: tuple[str, ...]
    rows: int
    stocks: int
    r_squared: float
    within: float
    condition: float
    left_out: dict[str, str]
    residuals: np.ndarray
    fitted: np.ndarray
    joint: np.ndarray

    def __getitem__(self, name: str) -> Coefficient:
        for coefficient in self.coefficients:
            if coefficient.name == name:
                return coefficient
        raise KeyError(name)

    def p_value_of(self, hypothesis: Mapping[str, float]) -> float:
        """Of coefficients being what `hypothesis` says, all together: Hotelling's T² against Fisher's F.

        `nan` where there are fewer degrees of freedom than coefficients to test, as with two clusters.
        """
        names = [c.name for c in self.coefficients]
        at = [names.index(name) for name in hypothesis]
        gap = np.array([self.coefficients[i].estimate for i in at]) - np.array(list(hypothesis.values()))
        freedom, tested = self.coefficients[0].degrees_of_freedom, len(at)
        second = freedom - tested + 1
        if second <= 0:
            return math.nan
        statistic = float(gap @ np.linalg.solve(self.joint[np.ix_(at, at)], gap)) * second / (freedom * tested)
        return float(special.fdtrc(tested, second, statistic))

    @property
    def cautions(self) -> list[str]:
        """What a reader should know before relying on the errors; empty where there is nothing."""
        found = []
        if self.condition > TRUSTED_CONDITION:
            found.append(
                f"The columns are close to saying the same (condition number {self.condition:.3g}): single slopes are "
                "poorly told apart."
            )
        if self.rows < FEW_ROWS * len(self.coefficients):
            found.append(
                f"{self.rows} rows are few for {len(self.coefficients)} coefficients: standard errors are rough and R² "
                "flatters."
            )
        clusters = self.coefficients[0].degrees_of_freedom + 1
        if isinstance(self.covariance, Clustered) and clusters < TRUSTED_CLUSTERS:
            found.append(f"With {clusters:g} clusters the standard errors tend to be too small.")
        return found

    def to_data(self) -> dict[str, Any]:
        """Everything but the rows, ready for JSON."""
        return {
            "response": self.response,
            "unit": self.unit,
            "errors": self.errors,
            "effects": list(self.effects),
            "rows": self.rows,
            "stocks": self.stocks,
            "r_squared": self.r_squared,
            "within_r_squared": self.within,
            "condition_number": self.condition,
            "left_out": self.left_out,
            "cautions": self.cautions,
            "coefficients": [
                {
                    "name": c.name,
                    "unit": c.unit,
                    "estimate": c.estimate,
                    "standard_error": c.standard_error,
                    "interval_95": list(c.interval()),
                    "t": c.t,
                    "p_value": c.p_value,
                    "per_deviation": c.per_deviation,
                }
                for c in self.coefficients
            ],
        }

    def table(self) -> str:
        """A plain-text table."""
        lines = [f"{self.response} [{self.unit}] on:  n = {self.rows}, R² = {self.r_squared:.3f}; {self.errors}"]
        lines.append(f"  {'':<16}{'estimate':>12}{'std. error':>12}{'95% interval':>26}  unit")
        for c in self.coefficients:
            low, high = c.interval()
            reach = f"{low:.4g} to {high:.4g}"
            lines.append(f"  {c.name:<16}{c.estimate:>12.4g}{c.standard_error:>12.2g}{reach:>26}  {c.unit}")
        lines += [f"  {name}: left out, {reason}" for name, reason in self.left_out.items()]
        return "\n".join([*lines, *(f"  {caution}" for caution in self.cautions)])


def regress(
    panel: Panel,
    response: str,
    regressors: Sequence[str],
    covariance: Covariance | None = None,
    effects: Sequence[Literal["stock", "period"]] = (),
) -> Regression:
    """Regress the column `response` of a panel on `regressors` by least squares.

    covariance: `HC3()`, `HAC(lags)`, `Cosines()` or `Clustered(by)`; by default the last, for one stock `Cosines()`.
    effects:    "stock", "period" or both: a constant of its own for each.
    A regressor that the panel has on record as left out is left out here too, with its reason.

    Raises `ValueError`, with the number, where a column is unknown, has missing values or is constant, where columns
    are collinear (naming them) or absorbed by the effects, and where there are too few rows.
    """
    if covariance is None:
        covariance = Clustered() if len(panel.stocks) > 1 else Cosines()
    left_out = {name: panel.left_out[name] for name in regressors if name not in panel and name in panel.left_out}
    names = [name for name in regressors if name not in left_out]
    design = design_for(panel, response, names, tuple(effects))
    told, errors = len(design.told), covariance.describe(panel)
    results, joint, freedom = covariance.fit(panel, _least_squares(design))
    estimates, joint = (design.back @ results.params)[:told], (design.back @ joint @ design.back.T)[:told, :told]
    coefficients = tuple(
        Coefficient(
            name=name,
            unit=_per(panel.units[response], panel.units.get(name)),
            estimate=float(estimates[i]),
            standard_error=float(np.sqrt(joint[i, i])),
            degrees_of_freedom=freedom,
            per_deviation=float(estimates[i] * deviation),
        )
        for i, (name, deviation) in enumerate(zip(design.told, design.deviations, strict=True))
    )
    residuals = np.asarray(results.resid)
    return Regression(
        source=panel.source,
        response=response,
        unit=panel.units[response],
        coefficients=coefficients,
        covariance=covariance,
        errors=errors,
        effects=tuple(effects),
        rows=len(panel),
        stocks=len(panel.stocks),
        r_squared=1 - float(residuals @ residuals) / design.variation,
        within=1 - float(residuals @ residuals) / design.left_by_effects,
        condition=design.condition,
        left_out=left_out,
        residuals=residuals,
        fitted=np.asarray(results.fittedvalues),
        joint=joint,
    )


def _least_squares(design: Design) -> Any:
    """statsmodels' model; the library takes a second to import, and only those who regress need it."""
    try:
        from statsmodels.api import OLS
    except ModuleNotFoundError:
        raise ValueError("a regression needs statsmodels, which is not installed; pip install statsmodels") from None
    return OLS(design.response, design.matrix)


def _per(unit: str, column: str | None) -> str:
    """The unit of a slope; the intercept has the response's own."""
    if column is None:
        return unit
    return f"{unit} per ({column})"
