"""What a simulation measured: estimates with standard errors, beside what a solution predicts."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..hjb.solution import Solution, write_whole
from ..models import case
from ..models.channels import Quotes
from ..models.objectives import PreCommitment
from ..models.problem import Problem


class Row(NamedTuple):
    """One line of the table: an estimate beside its prediction; nan where there is none."""

    quantity: str
    unit: str
    measured: float
    standard_error: float
    predicted: float

    @property
    def z(self) -> float:
        """Measured minus predicted, in standard errors."""
        return (self.measured - self.predicted) / self.standard_error if self.standard_error > 0 else math.nan


@dataclass(frozen=True)
class Simulation:
    """Outcome of a run: one entry per path, and the estimates that follow from them.

    wealth:     at the horizon, money; above the marked book of time 0 for an inventory in lots.
    inventory:  at the horizon, in the problem's unit of state.
    charge:     money charged to the criterion along the path and at its end, apart from wealth.
    bid_fills, ask_fills: number of fills.           All four have shape (paths,).
    mean_spread: time average of bid + ask distance over the time with both quotes; nan if there was none.
    market:     the market that filled, as the call that builds it; None for the model's own fills.
    excess:     the most, in the unit of state, by which each path was seen beyond a limit that growth or interest
                crossed: the quotes then only led back. Shape (paths,); None where it was not looked at.
    forced_fills: trades of each path that a `ForcedReduction` made; None where the problem has none.
    settlement: days until the proceeds of a sale could be spent.
    """

    problem: Problem
    policy: str
    rule: str
    steps: int | None
    seed: int
    initial: dict[str, float]
    wealth: np.ndarray
    inventory: np.ndarray
    charge: np.ndarray
    bid_fills: np.ndarray
    ask_fills: np.ndarray
    mean_spread: float
    market: str | None = None
    excess: np.ndarray | None = None
    forced_fills: np.ndarray | None = None
    settlement: int = 0

    @property
    def paths(self) -> int:
        """Number of paths."""
        return self.wealth.size

    @cached_property
    def mean_wealth(self) -> float:
        """Estimate of `E[W_T]`, money."""
        return float(np.mean(self.wealth))

    @cached_property
    def variance(self) -> float:
        """Estimate of `Var[W_T]`, money squared."""
        return _variance(self.wealth)

    @property
    def standard_error(self) -> float:
        """Of `mean_wealth`, money."""
        return math.sqrt(self.variance / self.paths)

    @cached_property
    def variance_standard_error(self) -> float:
        """Of `variance`, from the fourth moment, money squared."""
        return _variance_error(self.wealth)

    @cached_property
    def mean_inventory(self) -> float:
        """At the horizon."""
        return float(np.mean(self.inventory))

    @cached_property
    def std_inventory(self) -> float:
        """Standard deviation at the horizon."""
        return math.sqrt(_variance(self.inventory))

    @property
    def fills(self) -> Quotes:
        """Mean number of fills of the bid and of the ask."""
        return Quotes(float(np.mean(self.bid_fills)), float(np.mean(self.ask_fills)))

    @cached_property
    def score(self) -> np.ndarray:
        """Each path's contribution to the criterion, money: compare two runs of one seed path by path."""
        return np.asarray(self.problem.objective.score(self.wealth, self.charge))

    @cached_property
    def criterion(self) -> float:
        """Estimate of what the problem's objective is worth under the policy, money."""
        return float(np.mean(self.score))

    @cached_property
    def criterion_standard_error(self) -> float:
        return math.sqrt(_variance(self.score) / self.paths)

    def rows(self, predicted: Solution | None = None) -> list[Row]:
        """The estimates, beside what `predicted` says of its own policy from the same start.

        Raises `ValueError` where `predicted` solves another problem.
        """
        if predicted is not None and case.to_data(predicted.problem) != case.to_data(self.problem):
            raise ValueError(
                f"predicted solves {predicted.problem}, but simulated was {self.problem}; solve the problem simulated"
            )
        mean, value, variance = _predictions(predicted, self.initial)
        units, root = self.problem.units, math.sqrt(self.paths)
        squared = units["money"] + "^2"
        spread_of_inventory = _variance_error(self.inventory) / (2 * self.std_inventory) if self.std_inventory else 0.0
        return [
            Row("mean wealth", units["money"], self.mean_wealth, self.standard_error, mean),
            Row("variance of wealth", squared, self.variance, self.variance_standard_error, variance),
            Row("criterion", units["money"], self.criterion, self.criterion_standard_error, value),
            Row("mean inventory", units["state"], self.mean_inventory, self.std_inventory / root, math.nan),
            Row("std of inventory", units["state"], self.std_inventory, spread_of_inventory, math.nan),
            Row("mean spread", units["distance"], self.mean_spread, math.nan, math.nan),
            Row("bid fills", "per path", self.fills.bid, math.sqrt(_variance(self.bid_fills)) / root, math.nan),
            Row("ask fills", "per path", self.fills.ask, math.sqrt(_variance(self.ask_fills)) / root, math.nan),
        ]

    def table(self, predicted: Solution | None = None) -> str:
        """`rows` as text: measured, standard error, predicted, and their difference in standard errors."""
        head = f"{self.paths:,} paths, {self._rule_in_words()}, seed {self.seed}"
        lines = [head, f"{'':<20}{'measured':>14}{'std. error':>12}{'predicted':>14}{'z':>7}  unit"]
        for row in self.rows(predicted):
            cells = (_cell(row.measured, 14), _cell(row.standard_error, 12, 2), _cell(row.predicted, 14))
            z = f"{row.z:>7.2f}" if math.isfinite(row.z) else f"{'':>7}"
            lines.append(f"{row.quantity:<20}{''.join(cells)}{z}  {row.unit}")
        return "\n".join(lines)

    def _rule_in_words(self) -> str:
        if self.rule == "market":
            return f"in {self.market}"
        settled = f", settled in T+{self.settlement}" if self.settlement else ""
        return f"exact fills{settled}" if self.rule == "exact" else f"linear rule with {self.steps} steps"

    def __repr__(self) -> str:
        return (
            f"Simulation({type(self.problem).__name__}: {self.paths:,} paths, {self._rule_in_words()}; "
            f"mean wealth {self.mean_wealth:.6g} +- {self.standard_error:.2g})"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write NetCDF with units and the full case inside, whole or not at all; returns the path."""
        target = Path(path)
        write_whole(target, lambda part: _dataset(self).to_netcdf(part, engine="h5netcdf"))
        return target

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Any:
        """Read what any simulation's `save` wrote. Raises `ValueError` naming the file where it is no simulation."""
        return _load(Path(path))


def _variance(sample: np.ndarray) -> float:
    return float(np.var(sample, ddof=1)) if sample.size > 1 else math.nan


def _variance_error(sample: np.ndarray) -> float:
    """Standard error of the sample variance, `sqrt((m4 - var^2) / n)`."""
    centred = sample - np.mean(sample)
    return math.sqrt(max(float(np.mean(centred**4)) - float(np.mean(centred**2)) ** 2, 0.0) / sample.size)


def _predictions(solution: Solution | None, initial: dict[str, float]) -> tuple[float, float, float]:
    """Mean, value and variance of wealth that a solution predicts for its own policy; nan where it says nothing."""
    if solution is None:
        return math.nan, math.nan, math.nan
    mean, value = float(solution.expected_wealth(0.0, **initial)), float(solution.value(0.0, **initial))
    objective = solution.problem.objective
    if isinstance(objective, PreCommitment) and objective.surplus == "set_aside":
        return math.nan, value, math.nan  # both are of wealth net of the surplus
    return mean, value, float(solution.variance_of_wealth(0.0, **initial))


def _cell(number: float, width: int, digits: int = 6) -> str:
    return f"{number:>{width}.{digits}g}" if math.isfinite(number) else f"{'':>{width}}"


def _dataset(simulation: Simulation) -> Any:
    import xarray as xr

    units = simulation.problem.units
    variables = {
        "wealth": (units["money"], "wealth at the horizon"),
        "inventory": (units["state"], "inventory at the horizon"),
        "charge": (units["money"], "charged to the criterion, apart from wealth"),
        "bid_fills": ("1", "fills of the bid"),
        "ask_fills": ("1", "fills of the ask"),
    }
    if simulation.excess is not None:
        variables["excess"] = (units["state"], "most by which an account was beyond a limit")
    if simulation.forced_fills is not None:
        variables["forced_fills"] = ("1", "forced trades")
    names = ("rule", "steps", "seed", "initial", "market", "settlement")
    settings = {name: getattr(simulation, name) for name in names}
    return xr.Dataset(
        {
            name: ("path", getattr(simulation, name), {"units": unit, "long_name": text})
            for name, (unit, text) in variables.items()
        },
        attrs={
            "title": "twosided simulation",
            "case": json.dumps({"problem": case.to_data(simulation.problem), "simulation": settings}),
            "policy": simulation.policy,
            "mean_spread": simulation.mean_spread,
        },
    )


def _restoring(attributes: Any) -> Any:
    """Who restores a simulation of several things to quote; None for one of a single asset."""
    if "book" in attributes:
        from ._book_simulation import restored
    elif attributes.get("kind") == "CurrencySimulation":
        from .currency import restored
    elif attributes.get("kind") == "OptionsSimulation":
        from .options_simulation import restored
    else:
        return None
    return restored


def _load(path: Path) -> Any:
    import xarray as xr

    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            data = opened.load()
        stated = json.loads(data.attrs["case"])
        problem, settings = case.from_data(stated["problem"]), stated["simulation"]
        if restore := _restoring(data.attrs):
            return restore(problem, settings, data)
        arrays: dict[str, Any] = {
            name: data[name].values for name in ("wealth", "inventory", "charge", "bid_fills", "ask_fills")
        }
        arrays |= {name: data[name].values if name in data else None for name in ("excess", "forced_fills")}
        mean_spread = float(data.attrs["mean_spread"])
        return Simulation(problem, policy=str(data.attrs["policy"]), **settings, **arrays, mean_spread=mean_spread)
    except FileNotFoundError:
        raise
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no twosided simulation or is damaged ({error}); simulate the case again") from None
