"""`Solution`: what every method returns, whatever it did to get there."""

from __future__ import annotations

import enum
import json
import os
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..models import case
from ..models._precision import in_float64, is_traced
from ..models.channels import Quotes
from ..models.currency import CurrencyDealer
from ..models.currency_book import CurrencyBook
from ..models.objectives import MeanVariance, PreCommitment
from ..models.problem import Problem, as_state
from ._interpolation import cubic
from ._tables import Tables, row_of
from .policy import Policy, TabulatedPolicy, Target, TargetPolicy

IDLE_TOLERANCE = 1e-6
"""Share of the time, from a flat start, that may be spent where a permitted side is not worth quoting at any price."""


BARRED_TOLERANCE = 1e-3
"""Share of the time, from the wealth that the largest position needs, that may be spent too poor for two lots."""


class Result(enum.Enum):
    """How a solve ended; the value is the sentence to print."""

    CONVERGED = "converged"
    NOT_FINITE = (
        "the solution is not finite: the steps may be too long, or the problem has no finite value over this horizon; "
        "take more steps, or shorten the horizon"
    )
    RESIDUAL = "the residual stayed above the tolerance; take more steps or allow more iterations"
    ILL_POSED = (
        "the dealer reaches states where no payment makes a permitted trade worth its own variance "
        "(Dtheta - Dh <= -1/(2 lambda)): there the quotes jump to infinity and the problem is ill-posed; "
        "lower risk_aversion, the lot or the horizon"
    )
    BARRED = (
        "the dealer is likely to lose so much that the margin bars every fill, a trap that the grid cannot follow; "
        "lower the margin, the lot or the horizon"
    )
    SIMULATED_VALUE = (
        "simulating the quotes does not give the value claimed, or not surely; train longer or raise the tolerance"
    )
    EXACT_VALUE = "the value is not that of the exact linear equation; train longer or take more points"


class NotConverged(UserWarning):
    """A solve ended without an answer that can be trusted."""


@dataclass(frozen=True)
class Solution:
    """Value, mean and quotes of a problem over time and state, with the evidence that they can be trusted.

    value, expected_wealth: money at the horizon. quotes: distances from the reference price. `t` runs forward from 0.
    `error_estimate` is the estimated absolute error of `value` at time 0 with all accounts empty (nan: not estimated).
    `tables` has an axis for every state variable that the quotes depend on: the inventory, and the cash account where
    it matters by itself.
    """

    problem: Any  # a Dealer
    method: Any
    tables: Tables
    power: int
    stats: dict[str, Any] = field(default_factory=dict)
    formula: Policy | None = None  # a policy in closed form, where the method has one

    @property
    def policy(self) -> Policy:
        """The optimal quotes as a callable pytree `policy(t, state) -> Quotes`."""
        if self.formula is not None:
            return self.formula
        axes = self.tables.axes
        spacing, first = tuple(axis[1] - axis[0] for axis in axes), tuple(axis[0] for axis in axes)
        sides = (self.tables.bid, self.tables.ask)
        if self.tables.target is None:
            nodes = axes[0] if self.problem.moves else None
            return TabulatedPolicy(self.problem, _stack(*sides), spacing, self.power, first, nodes)
        return TargetPolicy(self.problem, _entries(*sides), spacing, self.power, first, target=self.tables.target)

    def quotes(self, t: Any = 0.0, **state: Any) -> Quotes:
        """Bid and ask distances at `t`; `nan` where the dealer does not quote. Scalars and arrays broadcast."""
        state = as_state(self.problem, state)
        self._check_time(t)
        return self.policy(t, state)

    def value(self, t: Any = 0.0, **state: Any) -> Any:
        """What the objective is worth, money: `V(t, S, C)` with accounts, `theta(t, q)` above the marked book else."""
        return self._at(self.tables.value, t, state)

    def expected_wealth(self, t: Any = 0.0, **state: Any) -> Any:
        """`E_t[W_T]` under the solution's own quotes, money; above the marked book for an inventory in lots."""
        return self._at(self.mean, t, state)

    def variance_of_wealth(self, t: Any = 0.0, **state: Any) -> Any:
        """`Var_t[W_T]` under the solution's own quotes, money squared; nan where there is no telling.

        `2 (h - V)/lambda` under `MeanVariance`, and what mean and target imply under `PreCommitment` if it keeps the
        surplus. For any other objective solved by finite differences, the linear equation of `evaluate`: it is solved
        at first use and takes about as long as the solution did.
        """
        objective = getattr(self.problem, "objective", None)
        if isinstance(objective, MeanVariance) and (is_traced(objective.risk_aversion) or objective.risk_aversion):
            return 2 * (self.expected_wealth(t, **state) - self.value(t, **state)) / objective.risk_aversion
        if isinstance(objective, PreCommitment) and objective.surplus == "kept" and self.tables.target is not None:
            target, aversion = self.tables.target.wealth, objective.risk_aversion
            missed = 2 * (target - 0.5 / aversion - self.value(t, **state)) / aversion  # E[(W - w)^2]
            return missed - (target - self.expected_wealth(t, **state)) ** 2
        if self._moments is None:
            return np.nan + 0 * self.value(t, **state)
        return self._moments.variance_of_wealth(t, **state)

    @cached_property
    def _moments(self) -> Any:
        """Mean and variance of the solution's policy, or None where `evaluate` does not know the problem."""
        from .evaluation import evaluate
        from .finite_difference import FiniteDifference

        problem, method = self.problem, self.method
        if not isinstance(problem, Problem) or not isinstance(method, FiniteDifference) or problem.days > 1:
            return None
        return evaluate(problem, self.policy, method)

    @property
    def mean(self) -> Any:
        """`h` over (time to go, inventory); computed at first use where the method does not need it itself."""
        if self.tables.mean is None:
            object.__setattr__(self, "tables", self.tables._replace(mean=self.method.mean(self.problem, self.tables)))
        return self.tables.mean

    def _at(self, table: Any, t: Any, given: dict[str, Any]) -> Any:
        state = as_state(self.problem, given)
        self._check_time(t)
        for name, axis in zip(self.names, self.tables.axes, strict=True):
            if not is_traced(state, axis):
                if name in state:
                    check_inside(self.problem, name, state[name], axis)
                else:
                    self._check_gap(t, state, axis)
        return wealth(self.problem, table, self.tables.axes, self.power, t, state, self.tables.target)

    @property
    def names(self) -> tuple[str, ...]:
        """The state variables that the tables have an axis for, in their order."""
        names = self.problem.names[: len(self.tables.axes)]
        return names if self.tables.target is None else (names[0], "stretched_gap")

    def _check_gap(self, t: Any, state: Any, axis: Any) -> None:
        """Refuse accounts that are too far from the target, which belongs to those that the dealer started with."""
        target, committed = self.tables.target, self.problem.objective
        low, high = target.stretch * np.sinh(axis[[0, -1]] / target.stretch)
        gap = self.problem.worth(self.problem.horizon - t, **state) - target.wealth
        if np.all((gap >= low * (1 + 1e-12)) & (gap <= high * (1 + 1e-12))):
            return
        farthest = float(np.ravel(gap)[np.argmax(np.abs(np.ravel(gap)))])
        raise ValueError(
            f"wealth lies {farthest:g} from the target of {float(target.wealth):g}, outside the solved range of "
            f"{low:g} to {high:g}; the target was committed to from stock={float(committed.stock):g}, "
            f"cash={float(committed.cash):g}: ask near there, or solve with a PreCommitment that starts elsewhere"
        )

    def _check_time(self, t: Any) -> None:
        if is_traced(t, self.problem.horizon):
            return
        when = np.asarray(t)
        if not np.all((when >= 0) & (when <= self.problem.horizon * (1 + 1e-12))):  # so written, nan does not pass
            raise ValueError(f"t must lie between 0 and the horizon {float(self.problem.horizon):g}, got {t}")

    @property
    def residual(self) -> Any:
        """The largest defect of the discrete equation that the solve left, relative to the largest value."""
        residual = self.tables.residual
        return residual if is_traced(residual) else float(residual)

    @property
    def error_estimate(self) -> Any:
        """Estimated absolute error of `value` at time 0 with all accounts empty, money; nan where there is none."""
        error = self.tables.error  # one number for the whole table, or one for each entry
        for axis in reversed(self.tables.axes):
            if error.shape[-1] == 1:
                error = error[..., 0]
            else:
                number = (jnp if is_traced(axis, error) else np).argmin(abs(axis))
                error = (jnp if is_traced(axis, error) else np).take(error, number, axis=-1)
        error = error[-1]
        return error if is_traced(error) else float(error)

    @property
    def result(self) -> Result:
        """Computed from the tables: nothing can be declared converged."""
        tables = self.tables
        if self.stats.get("idle_share", 0.0) > IDLE_TOLERANCE:  # first: it makes the others happen
            return Result.ILL_POSED
        if self.stats.get("barred_share", 0.0) > BARRED_TOLERANCE:
            return Result.BARRED
        if not np.all(np.isfinite(tables.value)):
            return Result.NOT_FINITE
        if not float(tables.residual) <= getattr(self.method, "tolerance", np.inf):
            return Result.RESIDUAL
        return Result.CONVERGED

    @property
    def converged(self) -> bool:
        """Whether the answer can be trusted; `result` says why not."""
        return self.result is Result.CONVERGED

    def __repr__(self) -> str:
        times, *nodes = self.tables.value.shape
        size = " x ".join(map(str, nodes))
        return (
            f"Solution({type(self.problem).__name__} by {type(self.method).__name__}: {times} times x {size} nodes; "
            f"{self.result.value if not is_traced(self.tables) else 'traced'})"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write NetCDF with units and the full case inside, whole or not at all; returns the path."""
        return _save(self, Path(path))

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Solution:
        """Read what `save` wrote. Raises `ValueError` naming the file where it is no solution."""
        return _load(Path(path))


def check_inside(problem: Any, name: str, state: Any, axis: Any, done: str = "solved") -> None:
    """Raise `ValueError` where a state lies beyond the nodes of its axis."""
    low, high = float(axis[0]), float(axis[-1])
    slack = 1e-12 * max(-low, high)
    least, most = float(np.min(np.asarray(state))), float(np.max(np.asarray(state)))
    if least >= low - slack and most <= high + slack:
        return
    even = abs(low + high) <= slack
    culprit = max(-least, most) if even else least if least < low - slack else most
    bounds = f"+-{high:g}" if even else f"{low:g} to {high:g}"
    raise ValueError(f"{name}={culprit:g} lies outside the {done} range of {bounds} {problem.units['state']}")


@in_float64
def wealth(problem: Any, table: Any, axes: Any, power: Any, t: Any, state: Any, target: Any) -> Any:
    """Entries of a table of money above the marked book, with the book added."""
    tau = jnp.clip(problem.horizon - t, 0.0, problem.horizon)
    return problem.worth(tau, **state) + read(problem, table, axes, power, t, state, target)


@in_float64
def read(problem: Any, table: Any, axes: Any, power: Any, t: Any, state: Any, target: Any) -> Any:
    """Entries of a table of shape (times, nodes, ...) at time `t` in a named state, interpolated by cubics."""
    tau = jnp.clip(problem.horizon - t, 0.0, problem.horizon)
    coordinates = [state[name] for name, _ in zip(problem.names, axes, strict=False)]
    tau, *coordinates = jnp.broadcast_arrays(tau, *coordinates)
    if target is not None:
        coordinates[1] = target.coordinate(problem, tau, *coordinates)
    row, first, count = row_of(problem, tau, table.shape[0], power)
    part = None if problem.days == 1 else (first, count)
    return cubic(jnp.asarray(table), row, *zip(coordinates, axes, strict=True), part=part)


def _stack(bid: Any, ask: Any) -> Any:
    return (jnp if is_traced(bid, ask) else np).stack([bid, ask], axis=-1)


@in_float64
def _entries(bid: Any, ask: Any) -> Any:
    return TargetPolicy.entries(bid, ask)


def _save(solution: Solution, path: Path) -> Path:
    import xarray as xr

    problem, tables, units = solution.problem, solution.tables, solution.problem.units
    axes = ("time_to_go", *solution.names)
    shape = np.shape(tables.value)
    rows = {
        "value": (tables.value, units["money"], "value above the marked book, at the horizon"),
        "mean": (solution.mean, units["money"], "expected wealth above the marked book, at the horizon"),
        "bid": (tables.bid, units["distance"], "distance of the bid below the reference price"),
        "ask": (tables.ask, units["distance"], "distance of the ask above the reference price"),
        "error": (np.broadcast_to(tables.error, shape), units["money"], "estimated absolute error of value"),
        "quote_error": (
            np.broadcast_to(tables.quote_error, shape),
            units["distance"],
            "estimated absolute error of the distances",
        ),
    }
    data = xr.Dataset(
        {name: (axes, array, {"units": unit, "long_name": text}) for name, (array, unit, text) in rows.items()},
        coords={
            "time_to_go": ("time_to_go", tables.tau, {"units": units["time"]}),
            **{
                name: (name, axis, {"units": units["state"]})
                for name, axis in zip(solution.names, tables.axes, strict=True)
            },
        },
        attrs={
            "title": "twosided solution",
            "case": json.dumps({"problem": case.to_data(problem), "method": method_to_data(solution.method)}),
            "stats": json.dumps({**solution.stats, "iterations": int(tables.iterations)}),
            "residual": float(tables.residual),
            "power": solution.power,
            "formula": int(solution.formula is not None),
            **({} if tables.target is None else {"target": tables.target.wealth, "stretch": tables.target.stretch}),
        },
    )
    write_whole(path, lambda part: data.to_netcdf(part, engine="h5netcdf"))
    return path


def write_whole(path: Path, write: Any) -> None:
    """Let `write(temporary path)` finish beside `path`, then move it there: readers see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    try:
        write(part)
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.unlink(part)


def _load(path: Path) -> Solution:
    import xarray as xr

    from .solve import method_from_data

    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            data = opened.load()
        stated = json.loads(data.attrs["case"])
        json.loads(data.attrs["stats"])
    except FileNotFoundError:
        raise
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no twosided solution or is damaged ({error}); solve the case again") from None
    problem = case.from_data(stated["problem"])
    method = method_from_data(stated["method"])
    if isinstance(problem, CurrencyDealer | CurrencyBook):
        from .currency import restored

        return restored(problem, method, data)
    if hasattr(method, "restore"):
        return method.restore(problem, data)
    if "book" in data.attrs:
        return method.restore_book(problem, data)
    return from_tables(problem, method, data)


def from_tables(problem: Any, method: Any, data: Any) -> Solution:
    """The solution whose tables a dataset holds."""
    stats = json.loads(data.attrs["stats"])
    tables = Tables(
        tau=data["time_to_go"].values,
        axes=tuple(data[name].values for name in data["value"].dims[1:]),
        residual=float(data.attrs["residual"]),
        iterations=stats.pop("iterations"),
        target=Target(data.attrs["target"], data.attrs["stretch"]) if "target" in data.attrs else None,
        **{name: data[name].values for name in ("value", "mean", "bid", "ask", "error", "quote_error")},
    )
    formula = method.formula(problem) if data.attrs["formula"] else None
    return Solution(problem, method, tables, int(data.attrs["power"]), stats, formula)


def method_to_data(method: Any) -> dict[str, Any]:
    """A method's settings as plain data."""
    from dataclasses import fields

    settings = {f.name: getattr(method, f.name) for f in fields(method)}
    return {"type": type(method).__name__, **{k: v for k, v in settings.items() if v is not None}}
