"""What a calibration of the risk aversion returns, whichever way it went."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import special

from ._descent import Minimum, profile
from ._inference import Estimate, FitTest
from ._parameters import Parameter, stated_with
from ._start import REACH

WIDEST = 10.0
"""By how much the ends of a 95% interval may differ, as a factor, before the data are said hardly to tell."""
SINGULAR = 1e-10
"""Share of independent information below which two numbers are said to be indistinguishable."""


class WeakIdentification(UserWarning):
    """The data hardly tell the risk aversion: the message gives the number and the mend."""


@dataclass(frozen=True, eq=False)
class Profile:
    """How much worse the data are explained at other risk aversions, whatever else was estimated being free there.

    deviance:  (points,), `2 (log L_best - log L)`; 3.84 at the ends of a 95% interval if observations are independent.
    """

    risk_aversion: np.ndarray
    deviance: np.ndarray


@dataclass(frozen=True, eq=False)
class Frontier:
    """Problems that differ in the risk aversion only, (points,) each; money at the horizon above the marked book."""

    risk_aversion: np.ndarray
    expected_wealth: np.ndarray
    deviation: np.ndarray  # of wealth at the horizon
    budget: np.ndarray  # what the target is about: the deviation or a probability
    meaning: str
    target: float


@dataclass(frozen=True, eq=False)
class Fit:
    """Observed beside explained: rows of one kind, such as the bid distances, under a name."""

    label: str
    where: np.ndarray
    observed: Mapping[str, np.ndarray]
    explained: Mapping[str, np.ndarray]
    error: Mapping[str, np.ndarray] = field(default_factory=dict)  # of what is observed, where it is known


@dataclass(frozen=True, eq=False)
class RiskAversionEstimate:
    """The risk aversion with its error, and the evidence.

    way:           "implied", "budget", "moments" or "likelihood".
    name:          "risk_aversion", or "running" for a `RunningPenalty`, which is estimated in its place.
    risk_aversion: value, standard error and degrees of freedom; its interval is one of the logarithm.
    others:        what was estimated along with it, by name.
    correlation:   of the errors of (log) risk aversion and others, in this order.
    observations:  how many of `unit` the data hold.
    input_share:   share of the variance that comes from `inputs`, numbers estimated elsewhere.
    problem:       the problem with the estimates put in.
    test:          of the model, where more was observed than estimated.
    remarks:       what was warned about.
    """

    way: str
    name: str
    risk_aversion: Estimate
    others: Mapping[str, Estimate]
    correlation: np.ndarray
    observations: int
    unit: str
    input_share: float
    problem: Any
    test: FitTest | None = None
    profile: Profile | None = None
    frontier: Frontier | None = None
    fits: Sequence[Fit] = ()
    remarks: Sequence[str] = ()
    notes: Mapping[str, float] = field(default_factory=dict)

    @property
    def estimate(self) -> float:
        """The risk aversion, per unit of money (of `running`: money per lot^2 and unit of time)."""
        return self.risk_aversion.value

    @property
    def standard_error(self) -> float:
        """Of the estimate, in its unit."""
        return self.risk_aversion.standard_error

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The interval that covers the truth with probability `level`."""
        return self.risk_aversion.interval(level)

    def to_dict(self) -> dict[str, Any]:
        """Everything that a report shows, ready for JSON."""
        data: dict[str, Any] = {
            "way": self.way,
            "name": self.name,
            "risk_aversion": self.risk_aversion.to_dict(),
            "others": {name: estimate.to_dict() for name, estimate in self.others.items()},
            "correlation": self.correlation.tolist(),
            "observations": self.observations,
            "unit": self.unit,
            "input_share": self.input_share,
            "test": self.test.to_dict() if self.test else None,
            "remarks": list(self.remarks),
            "notes": dict(self.notes),
            "fits": [_plain(fit) for fit in self.fits],
        }
        for name in ("profile", "frontier"):
            part = getattr(self, name)
            data[name] = None if part is None else _plain(part)
        return data

    def table(self) -> str:
        """The estimates as aligned plain text."""
        rows = [("", "estimate", "std. error", "95% interval")]
        for name, found in {self.name: self.risk_aversion, **self.others}.items():
            low, high = found.interval()
            rows.append((name, f"{found.value:.5g}", f"{found.standard_error:.2g}", f"{low:.4g} to {high:.4g}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(w) if i in (0, 3) else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        if self.test is not None:
            lines.append(f"test of the model against {self.test.against}: p = {self.test.p_value:.3g}")
        return "\n".join([*lines, *(f"note: {remark}" for remark in self.remarks)])


def _plain(part: Any) -> Any:
    if isinstance(part, np.ndarray):
        return part.tolist()
    if isinstance(part, Mapping):
        return {name: _plain(value) for name, value in part.items()}
    return {name: _plain(value) for name, value in vars(part).items()} if hasattr(part, "__dict__") else part


@dataclass(frozen=True, eq=False)
class Found:
    """Coordinates (free,), the covariance of their errors, and that part of it which comes from inputs."""

    free: tuple[Parameter, ...]
    at: np.ndarray
    covariance: np.ndarray
    from_inputs: np.ndarray
    degrees_of_freedom: float
    remarks: tuple[str, ...] = ()


def conclude(problem: Any, found: Found, way: str, observations: int, unit: str, **evidence: Any) -> Any:
    """The estimate from coordinates and their covariance; warns `WeakIdentification` where the interval says little."""
    errors = np.sqrt(np.diag(found.covariance))
    estimates = {}
    for parameter, x, error in zip(found.free, found.at, errors, strict=True):
        value = math.exp(x) if parameter.positive else float(x)
        spread = float(error) * (value if parameter.positive else 1.0)
        estimates[parameter.name] = Estimate(value, spread, found.degrees_of_freedom, positive=parameter.positive)
    first, *_ = found.free
    remarks = [*found.remarks, *_width(first.name, float(errors[0]), found.degrees_of_freedom, observations, unit)]
    for remark in remarks:
        warnings.warn(remark, WeakIdentification, stacklevel=3)
    finite = np.where((errors > 0) & np.isfinite(errors), errors, 1.0)
    share = found.from_inputs[0, 0] / found.covariance[0, 0] if 0 < errors[0] < math.inf else 0.0
    return RiskAversionEstimate(
        way=way,
        name=first.name,
        risk_aversion=estimates.pop(first.name),
        others=estimates,
        correlation=found.covariance / np.outer(finite, finite),
        observations=observations,
        unit=unit,
        input_share=float(share),
        problem=stated_with(
            problem,
            {p: math.exp(x) if p.positive else float(x) for p, x in zip(found.free, found.at, strict=True)},
        ),
        remarks=tuple(remarks),
        **evidence,
    )


def _width(name: str, error: float, freedom: float, observations: int, unit: str) -> list[str]:
    factor = math.exp(min(2 * error * float(special.stdtrit(freedom, 0.975)), 700.0))
    if factor <= WIDEST:
        return []
    shown = f"a factor of {factor:.3g}" if factor < 1e100 else "everything"
    return [
        f"the data hardly tell {name}: the 95% interval spans {shown} from {observations} {unit}; "
        "observe for longer, at more inventories, or measure the other numbers better"
    ]


def profile_of(evaluate: Any, minimum: Minimum, error: float, points: int) -> Profile | None:
    """The profile over five standard errors of the logarithm either way, or as far as the search looked."""
    if not points:
        return None
    reach = min(5 * error, REACH) if error > 0 else 1.0
    x = minimum.at[0] + np.linspace(-reach, reach, points)
    return Profile(np.exp(x), 2 * (profile(evaluate, minimum, x) - minimum.here.cost))


def covariance_from(information: np.ndarray, free: Sequence[Parameter]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The inverse of an information matrix, infinite along directions it does not see, and remarks that name those."""
    diagonal = np.diag(information)
    names = ", ".join(parameter.name for parameter in free)
    if not np.all(diagonal > 0):
        blind = ", ".join(p.name for p, d in zip(free, diagonal, strict=True) if not d > 0)
        return np.full(information.shape, math.inf), (f"nothing observed depends on {blind}: it cannot be told",)
    unit = np.sqrt(diagonal)
    values, vectors = np.linalg.eigh(information / np.outer(unit, unit))
    if values[0] < SINGULAR:
        return np.full(information.shape, math.inf), (
            f"the data tell {names} only in combination (condition number above {1 / SINGULAR:.0e}); "
            "take one of them as known",
        )
    inverse = (vectors / values) @ vectors.T
    remarks = ()
    if values[0] < 1e-3:
        remarks = (
            f"the data tell {names} mostly in combination (condition number {values[-1] / values[0]:.1e}); the "
            "standard errors allow for it, and one of them taken as known would sharpen the rest",
        )
    return inverse / np.outer(unit, unit), remarks
