"""Frontiers: expected wealth against its standard deviation over a range of risk aversions, reading by reading.

A dealer who maximises `E - (lambda/2) Var` can mean several things by it, and each leads to a curve of its own. Here
they stand in one chart. Every point is computed by the solver and certified by an exact simulation of its quotes; all
points share one seed, so that they see the same prices and the curve's shape has little noise.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..hjb.solution import Result, method_to_data, write_whole
from ..hjb.solve import default_method, method_from_data
from ..models import case
from ..models.problem import Problem, as_state
from ._frontier_readings import READINGS, TITLES, missing, simulated
from ._verdict import LEVEL
from .simulation import BoundError, simulate
from .statistics import FEWEST_SAMPLES, critical_value
from .sweeps._blocks import Columns, Store, cut, joined
from .sweeps._running import run
from .sweeps.sweep import RESULT_ATTRIBUTES, result_code

PATHS = 20_000
"""Simulated per point."""
BLOCK = 8
"""Points of one reading that are computed together."""
SHARED = 32
"""Points that are computed together where the same solves serve them all: of static quotes, and of pre-commitment
unless the cash account matters."""


class Certificate(NamedTuple):
    """How the simulations compare with the solver.

    compared: means and standard deviations held against each other; largest: the largest difference in standard
    errors; limit: what the largest of so many exceeds by chance with probability 0.001; agrees: None if none was made.
    """

    compared: int
    largest: float
    limit: float
    agrees: bool | None


@dataclass(frozen=True)
class Frontier:
    """Wealth at the horizon by reading and risk aversion.

    data: an xarray dataset over (reading, risk_aversion): `mean`, `std` and `criterion` of the solver with estimated
    errors, `simulated_mean`, `simulated_std` with standard errors, the quotes at time 0 and `result`.
    """

    data: Any

    @cached_property
    def problem(self) -> Problem:
        """The dealer's problem as it was given."""
        return case.from_data(self._stated["problem"])

    @property
    def _stated(self) -> dict[str, Any]:
        return json.loads(self.data.attrs["case"])

    @property
    def readings(self) -> tuple[str, ...]:
        """Readings that are in the data."""
        return tuple(str(name) for name in self.data["reading"].values)

    @property
    def missing(self) -> dict[str, str]:
        """Readings that were asked for and cannot be had, each with the reason."""
        return json.loads(self.data.attrs["missing"])

    @property
    def paths(self) -> int:
        """Simulated per point."""
        return int(self._stated["paths"])

    @cached_property
    def certificate(self) -> Certificate:
        """Whether the simulations agree with the solver, all points judged together."""
        z = np.concatenate([self._z("mean").ravel(), self._z("std").ravel()])
        z = np.abs(z[np.isfinite(z)])
        if z.size == 0 or self.paths < FEWEST_SAMPLES:
            return Certificate(0, math.nan, math.nan, None)
        limit = critical_value(LEVEL, z.size)
        return Certificate(z.size, float(z.max()), limit, bool(np.all(z <= limit)))

    def _z(self, what: str) -> np.ndarray:
        """Simulated minus computed, in standard errors; the solver's own error is forgiven."""
        measured, computed = self.data[f"simulated_{what}"].values, self.data[what].values
        error, own = self.data[f"simulated_{what}_error"].values, np.nan_to_num(self.data[f"{what}_error"].values)
        gap = np.maximum(np.abs(measured - computed) - own, 0.0)
        return np.divide(gap, error, out=np.full(gap.shape, np.nan), where=error > 0)

    def rows(self, most: int | None = None) -> list[tuple[Any, ...]]:
        """For each risk aversion (at most `most` of them, evenly chosen) and reading: risk aversion, reading, mean,
        std, simulated mean and its standard error, simulated std and its standard error, and how the solve ended."""
        data, count = self.data, self.data.sizes["risk_aversion"]
        chosen = range(count) if most is None or most >= count else np.linspace(0, count - 1, most).round().astype(int)
        names = ("mean", "std", "simulated_mean", "simulated_mean_error", "simulated_std", "simulated_std_error")
        results = list(Result)
        return [
            (
                float(data["risk_aversion"][i]),
                reading,
                *(float(data[name].values[j, i]) for name in names),
                results[int(data["result"].values[j, i])].name.lower().replace("_", " "),
            )
            for i in chosen
            for j, reading in enumerate(self.readings)
        ]

    def table(self, most: int | None = 12) -> str:
        """`rows` as text, in the problem's unit of money."""
        head = f"{'risk aversion':>13}  {'reading':<20}{'E':>11}{'std':>11}"
        head += f"{'simulated E':>14}{'+-':>9}{'std':>11}{'+-':>9}"
        lines = [head]
        for aversion, reading, *numbers, result in self.rows(most):
            cells = "".join(
                f"{n:>{w}.{d}g}" for n, w, d in zip(numbers, (11, 11, 14, 9, 11, 9), (6, 6, 6, 2, 6, 2), strict=True)
            )
            remark = "" if result == "converged" else f"  {result}"
            lines.append(f"{aversion:>13.4g}  {TITLES[reading]:<20}{cells}{remark}")
        lines += [f"{TITLES[name]}: missing, {reason}" for name, reason in self.missing.items()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        low, high = (float(self.data["risk_aversion"][i]) for i in (0, -1))
        points = self.data.sizes["risk_aversion"]
        return f"Frontier({', '.join(self.readings)}: {points} risk aversions from {low:g} to {high:g})"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write NetCDF with units and the full case inside, whole or not at all; returns the path."""
        path = Path(path)
        write_whole(path, lambda part: self.data.to_netcdf(part, engine="h5netcdf"))
        return path

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Frontier:
        """Read what `save` wrote. Raises `ValueError` naming the file where it is no frontier."""
        import xarray as xr

        try:
            with xr.open_dataset(path, engine="h5netcdf") as opened:
                data = opened.load()
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} is no twosided frontier ({error}); compute it again") from None
        if data.attrs.get("title") != "twosided frontier":
            raise ValueError(f"{path} is no twosided frontier; give the frontier.nc of a run")
        return Frontier(data)


def frontier(
    problem: Problem,
    risk_aversions: Sequence[float] | np.ndarray,
    readings: Sequence[str] = tuple(READINGS),
    *,
    paths: int = PATHS,
    seed: int = 0,
    initial: Mapping[str, float] | None = None,
    method: Any = None,
    block: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> Frontier:
    """Mean and standard deviation of wealth at the horizon for every reading and risk aversion, each simulated.

    problem:        its own objective plays no part.
    risk_aversions: positive, per unit of money, such as `np.geomspace(0.1, 20, 64)`.
    readings:       any of "equilibrium", "quadratic_variation", "static" and "pre_commitment". One that this version
                    cannot compute is left out, and `Frontier.missing` says so.
    paths, seed:    of every point's simulation; `paths=0` computes without simulating.
    initial:        named state at time 0; zero where it says nothing.
    method:         of the solves; by default the one that fits the problem.
    block:          points of one reading that are computed together; `SHARED` where the same solves serve them all.
    workers, scheduler: as for `sweep`.
    folder:         where finished blocks are kept until all are there, so that the same call goes on after an
                    interruption; by default none are kept.

    Raises `ValueError` or `TypeError` for what can be known beforehand. A point whose solve did not converge is nan.
    """
    block = BLOCK if block is None else block
    aversions = check_risk_aversions(risk_aversions)
    _check(problem, readings, paths)
    start = {name: float(value) for name, value in as_state(problem, initial or {}).items()}
    method = default_method(problem) if method is None else method
    lacking = {name: reason for name in readings if (reason := missing(name, problem))}
    able = [name for name in readings if name not in lacking]
    if not able:
        raise ValueError(f"readings: nothing to compute; {'; '.join(f'{k}: {v}' for k, v in lacking.items())}")
    settings = {
        "problem": case.to_data(problem),
        "method": method_to_data(method),
        "initial": start,
        "paths": int(paths),
        "seed": int(seed),
    }
    shares = {
        "static": True,
        "pre_commitment": not getattr(problem, "cash_matters", False),  # else every target has a solve and a table
    }
    sizes = {name: min(SHARED if shares.get(name) else block, aversions.size) for name in able}
    blocks = {name: cut("frontier", aversions.tolist(), {**settings, "reading": name}, sizes[name]) for name in able}
    with tempfile.TemporaryDirectory() as temporary:
        store = Store(Path(folder) if folder is not None else Path(temporary) / "blocks")
        run(
            [piece for pieces in blocks.values() for piece in pieces],
            store,
            task=f"frontier: {len(able) * aversions.size} points",
            workers=workers,
            scheduler=scheduler,
            progress=progress,
        )
        columns = {name: joined(pieces, store) for name, pieces in blocks.items()}
        store.clear()
    return Frontier(_dataset(problem, aversions, columns, settings, lacking))


def frontier_points(cases: Sequence[float], settings: Mapping[str, Any]) -> Columns:
    """The work of a block: points of one reading, solved together and simulated one by one."""
    problem, method = case.from_data(settings["problem"]), method_from_data(settings["method"])
    points = READINGS[settings["reading"]](problem, list(cases), method, settings["initial"])
    unknown = (math.nan, math.nan, math.nan, math.nan)
    found: list[tuple[float, float, float, float]] = []
    for i, point in enumerate(points):
        if i and cases[i] == cases[i - 1]:  # the last block is filled up with copies
            found.append(found[-1])
        else:
            found.append(_simulated(point, problem, settings) if settings["paths"] else unknown)
    names = ("simulated_mean", "simulated_mean_error", "simulated_std", "simulated_std_error")
    columns = {name: np.array([row[i] for row in found]) for i, name in enumerate(names)}
    for name in ("mean", "std", "mean_error", "std_error", "bid", "ask"):
        sound = [point.result is Result.CONVERGED for point in points]
        columns[name] = np.where(sound, [getattr(point, name) for point in points], np.nan)
    columns["result"] = np.array([result_code(point.result) for point in points], np.int8)
    return columns


def _simulated(point: Any, problem: Problem, settings: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """Mean and standard deviation of wealth with standard errors; nan where there is no policy to simulate."""
    unknown = (math.nan, math.nan, math.nan, math.nan)
    if point.policy is None:
        return unknown
    try:
        outcome = simulate(
            *simulated(point, problem), settings["paths"], settings["seed"], settings["initial"], progress=False
        )
    except BoundError:
        return unknown
    std = math.sqrt(outcome.variance)
    error = outcome.variance_standard_error / (2 * std) if std > 0 else 0.0
    return outcome.mean_wealth, outcome.standard_error, std, error


def check_risk_aversions(given: Any) -> np.ndarray:
    """Risk aversions as a rising array; raises `ValueError` where there are none, or one is not positive."""
    aversions = np.asarray(given, float)
    if aversions.ndim != 1 or aversions.size == 0:
        raise ValueError(f"risk_aversions must be a list of at least one number, got shape {aversions.shape}")
    if not np.all(np.isfinite(aversions) & (aversions > 0)):
        bad = aversions[~(np.isfinite(aversions) & (aversions > 0))][0]
        raise ValueError(
            f"risk_aversions must be positive and finite, got {bad:g}; they are lambda in E - (lambda/2) Var"
        )
    aversions = np.sort(aversions)
    if np.any(np.diff(aversions) == 0):
        raise ValueError("risk_aversions must differ from one another; leave out the repeated ones")
    return aversions


def _check(problem: Any, readings: Sequence[str], paths: Any) -> None:
    if not isinstance(problem, Problem) or "objective" not in problem.arguments():
        raise TypeError(
            f"a frontier needs a problem whose objective can be exchanged, such as StockCashDealer or InventoryDealer, "
            f"got {type(problem).__name__}"
        )
    if isinstance(readings, str) or not readings:
        raise ValueError(f"readings must be a list of some of {', '.join(READINGS)}, got {readings!r}")
    for name in readings:
        if name not in READINGS:
            raise ValueError(f"readings: {name!r} is not known; name some of {', '.join(READINGS)}")
    if len(set(readings)) < len(readings):
        raise ValueError(f"readings must differ from one another, got {', '.join(readings)}")
    if isinstance(paths, bool) or paths != int(paths) or paths < 0 or paths == 1:
        raise ValueError(f"paths must be a whole number of at least 2, or 0 for no simulation, got {paths!r}")


def _dataset(
    problem: Problem, aversions: np.ndarray, columns: Mapping[str, Columns], settings: Mapping[str, Any], lacking: Any
) -> Any:
    import xarray as xr

    money, distance = problem.units["money"], problem.units["distance"]
    about = {
        "mean": (money, "expected wealth at the horizon, by the solver"),
        "std": (money, "standard deviation of wealth at the horizon, by the solver"),
        "mean_error": (money, "estimated absolute error of mean"),
        "std_error": (money, "estimated absolute error of std"),
        "simulated_mean": (money, "mean wealth at the horizon in the simulation"),
        "simulated_mean_error": (money, "standard error of simulated_mean"),
        "simulated_std": (money, "standard deviation of wealth at the horizon in the simulation"),
        "simulated_std_error": (money, "standard error of simulated_std"),
        "bid": (distance, "distance of the bid below the reference price at time 0"),
        "ask": (distance, "distance of the ask above the reference price at time 0"),
    }
    axes = ("reading", "risk_aversion")

    def stack(name: str) -> np.ndarray:
        return np.stack([found[name] for found in columns.values()])

    variables = {name: (axes, stack(name), {"units": unit, "long_name": text}) for name, (unit, text) in about.items()}
    criterion = stack("mean") - 0.5 * aversions * stack("std") ** 2
    error = stack("mean_error") + aversions * stack("std") * stack("std_error")
    variables["criterion"] = (axes, criterion, {"units": money, "long_name": "mean - (risk_aversion/2) std^2"})
    variables["criterion_error"] = (axes, error, {"units": money, "long_name": "estimated absolute error of criterion"})
    variables["result"] = (axes, stack("result"), RESULT_ATTRIBUTES)
    coordinates = {
        "reading": ("reading", list(columns), {"long_name": "what is meant by mean-variance"}),
        "risk_aversion": ("risk_aversion", aversions, {"units": f"1/{money}"}),
    }
    attributes = {
        "title": "twosided frontier",
        "case": json.dumps(dict(settings), sort_keys=True),
        "missing": json.dumps(lacking, sort_keys=True),
    }
    return xr.Dataset(variables, coords=coordinates, attrs=attributes)
