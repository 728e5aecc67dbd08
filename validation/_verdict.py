"""Prediction beside measurement, and whether they agree: one error level for all comparisons of a run together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..models.printed import PrintedDealer
from ..models.problem import Problem
from .statistics import FEWEST_SAMPLES, critical_value

LEVEL = 0.001
"""Chance that a run of a right solution is said to disagree, whatever the number of its comparisons."""


@dataclass(frozen=True)
class Compared:
    """A quantity measured, beside its prediction (nan: none).

    kind: how to show it: money, state (the inventory's unit), distance, or empty for a plain number.
    z:    measured minus predicted, in standard errors; nan where there is no prediction or agreement is not expected.
    """

    quantity: str
    kind: str
    unit: str
    measured: float
    standard_error: float
    predicted: float
    z: float


@dataclass(frozen=True)
class Comparison:
    """All that a run compares.

    rows:    mean and standard deviation of wealth first.
    meaning: what the comparison can show, in a sentence.
    agrees:  whether every difference lies within the sampling error and the solver's own; None where agreement is
             not to be expected or nothing was predicted.
    limit:   the |z| that the largest of `compared` ones exceeds by chance with probability `LEVEL` at most.
    """

    rows: tuple[Compared, ...]
    meaning: str
    agrees: bool | None
    limit: float
    compared: int
    largest: float

    @property
    def finding(self) -> str:
        """Whether simulation and prediction agree, in a sentence; empty where they were not to."""
        if self.agrees is None:
            return ""
        what = f"{self.compared} predicted quantities" if self.compared > 1 else "the predicted quantity"
        says = "Simulation agrees with" if self.agrees else "SIMULATION DISAGREES with"
        return f"{says} {what}: the largest difference is {self.largest:.2f} standard errors, {self.limit:.2f} allowed."

    @property
    def wealth(self) -> tuple[float, float] | None:
        """Predicted mean and standard deviation of wealth, where there are both."""
        mean, std = self.rows[0].predicted, self.rows[1].predicted
        return (mean, std) if math.isfinite(mean) and math.isfinite(std) else None


def compare(simulation: Any, solution: Any) -> Comparison:
    """Compare a simulation with the solution whose policy it followed."""
    meaning, expected = _meaning(simulation, solution)
    rows = tuple(_rows(simulation, solution if predicts(solution) else None, expected))
    tested = [row for row in rows if math.isfinite(row.z)]
    limit = critical_value(LEVEL, max(1, len(tested)))
    error = solution.error_estimate if math.isfinite(solution.error_estimate) else 0.0
    close = all(
        abs(row.measured - row.predicted) <= limit * row.standard_error + (error if row.kind == "money" else 0.0)
        for row in tested
    )
    return Comparison(
        rows=rows,
        meaning=meaning,
        agrees=close if tested else None,
        limit=limit,
        compared=len(tested),
        largest=max((abs(row.z) for row in tested), default=math.nan),
    )


def is_approximate(solution: Any) -> bool:
    """Whether a solution is a published approximation, whose quotes may be good and whose value need not be."""
    return type(solution.method).__name__ == "ClosedForm" and not solution.stats.get("exact", False)


def predicts(solution: Any) -> bool:
    """Whether a solution states a value to hold a simulation against, if only as an approximation."""
    return not is_approximate(solution) or not isinstance(solution.problem, Problem | PrintedDealer)


def _rows(simulation: Any, solution: Any, expected: bool) -> list[Compared]:
    """The simulation's own rows, with the variance of wealth shown as a standard deviation, a number in money."""
    units = simulation.problem.units
    kinds = {units["money"]: "money", units["distance"]: "distance"}
    found = []
    for row in simulation.rows(solution):
        quantity, unit, measured, error, predicted = row
        if quantity == "variance of wealth":
            quantity, unit, measured, predicted = "std of wealth", units["money"], *map(_root, (measured, predicted))
            error = error / (2 * measured) if measured else math.nan
        kind = "state" if "inventory" in quantity or unit == units["state"] != units["money"] else kinds.get(unit, "")
        z = (measured - predicted) / error if expected and error > 0 else math.nan
        found.append(Compared(quantity, kind, unit, measured, error, predicted, z))
    return found


def _root(variance: float) -> float:
    return math.sqrt(variance) if variance >= 0 else math.nan


def _meaning(simulation: Any, solution: Any) -> tuple[str, bool]:
    """What the comparison can show, and whether agreement is to be expected."""
    if is_approximate(solution) and predicts(solution):
        return (
            "The value is approximated by a quadratic: it stands beside what its quotes were measured to earn, and the "
            "two are not expected to agree to within chance.",
            False,
        )
    if is_approximate(solution):
        return "The quotes are a published approximation, which predicts no wealth to compare with.", False
    if simulation.rule != "exact":
        return (
            "The linear rule fills at most once a step, as published tables do; its results depend on the step and are "
            "not expected to agree with the continuous model's.",
            False,
        )
    if getattr(simulation, "settlement", 0):
        return (
            f"Sales settle in T+{simulation.settlement}, and the prediction is of sales that settle at once: the two "
            "are not expected to agree.",
            False,
        )
    if simulation.paths < FEWEST_SAMPLES:
        return f"Fewer than {FEWEST_SAMPLES:,} paths are too few to judge agreement by.", False
    return "Fills come at the model's own intensities, without a time step: nothing but chance stands in between.", True
