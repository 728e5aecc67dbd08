"""Sweeps: one problem solved for every combination of parameters, by the block, into one dataset on disk."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ...hjb.solution import NotConverged, Result, method_to_data, write_whole
from ...hjb.solve import default_method, method_from_data, solve_many
from ...models import case
from ...models.problem import as_state
from ._blocks import Columns, Store, cut, joined
from ._running import run

BLOCK = 32
"""Cases solved in one batched call."""


def sweep(
    problem: Any,
    over: Mapping[str, Sequence[float]],
    path: str | os.PathLike[str],
    *,
    method: Any = None,
    initial: Mapping[str, float] | None = None,
    block: int = BLOCK,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool | None = None,
) -> Any:
    """Solve `problem` for every combination of the values in `over`, and return the dataset written to `path`.

    over:      values by the parameter's name, `{"volatility": [...], "objective.risk_aversion": [...]}`; parameters of
               a part are named after it. Every name becomes an axis of the dataset, with its unit.
    path:      of the NetCDF file. Finished blocks wait in the folder `<path>.blocks` until all are there: a run that
               was killed or interrupted goes on where it was when the same call is made again, and the dataset is
               the same, bit for bit, on machines of one kind, whoever computed it. A file that holds this very sweep
               is returned at once.
    initial:   named state at which value and quotes are read off at time 0; zero where it says nothing.
    block:     cases solved in one batched call; all blocks have one size, so that they run in one program. Cases that
               differ in more than numbers, such as in `max_inventory`, are in blocks of their own, filled up with
               their last case.
    workers:   None for threads of this process, or a number of local processes (a script that asks for them needs
               the usual `if __name__ == "__main__":`).
    scheduler: address of a Dask scheduler, whose workers then do the work.

    The dataset holds value, expected wealth, quotes, the error estimate, and `result`: how each solve ended.
    Raises `ValueError` for an empty axis, an unknown parameter or an impossible value, an initial state that is none
    or lies beyond a case's limit, a path that holds something else, and a cluster that cannot be had; no work is begun
    before all that is known.
    """
    path = Path(path)
    base, axes = case.to_data(problem), _axes(problem, over)
    method = default_method(problem) if method is None else method
    if isinstance(block, bool) or not isinstance(block, int) or block < 1:
        raise ValueError(f"block must be a whole number of cases of at least 1, got {block!r}")
    start = _start(problem, initial or {})
    cases = [_with(base, axes, values) for values in itertools.product(*axes.values())]
    problems = [case.from_data(stated) for stated in cases]  # so that an impossible value is refused now
    _check_inside(problems, start)
    settings = {"method": method_to_data(method), "initial": start}
    groups = _alike(problems)
    blocks = [each for group in groups for each in cut("solve", [cases[i] for i in group], settings, block)]
    attributes = {
        "title": "twosided sweep",
        "case": json.dumps({"problem": base, "over": axes, **settings, "block": block}, sort_keys=True),
        "key": hashlib.sha256("".join(b.key for b in blocks).encode()).hexdigest(),
    }
    finished = _finished(path, attributes)
    if finished is not None:
        return finished
    store = Store(path.with_name(f"{path.name}.blocks"))
    try:
        run(
            blocks,
            store,
            task=f"solving {len(cases):,} cases",
            workers=workers,
            scheduler=scheduler,
            progress=progress,
        )
    except BaseException:
        store.leave()
        raise
    place = np.argsort(np.concatenate(groups))
    columns = {name: column[place] for name, column in joined(blocks, store).items()}
    data = _dataset(problem, axes, columns, attributes)
    write_whole(path, lambda part: data.to_netcdf(part, engine="h5netcdf"))
    store.clear()
    return data


def _start(problem: Any, initial: Mapping[str, float]) -> dict[str, float]:
    try:
        start = {name: float(value) for name, value in as_state(problem, initial).items()}
    except TypeError as error:
        raise ValueError(f"initial: {error}") from None
    wrong = [name for name, value in start.items() if not np.isfinite(value)]
    if wrong:
        raise ValueError(f"initial: {wrong[0]} must be finite, got {start[wrong[0]]:g}")
    return start


def _check_inside(problems: Sequence[Any], start: Mapping[str, float]) -> None:
    """Raise `ValueError` where a case's inventory would start beyond its limit."""
    name = problems[0].names[0]
    limit = min(float(getattr(problem, "limit", np.inf)) for problem in problems)
    if abs(start[name]) > limit * (1 + 1e-12):
        raise ValueError(f"initial: {name}={start[name]:g} lies beyond the limit of {limit:g}; start within it")


def _alike(problems: Sequence[Any]) -> list[list[int]]:
    """The places of problems that differ in numbers only, in the order in which each kind first comes."""
    groups: dict[Any, list[int]] = {}
    for place, problem in enumerate(problems):
        groups.setdefault(jax.tree.structure(problem), []).append(place)
    return list(groups.values())


def solve_cases(cases: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> Columns:
    """The work of a block: solve its cases together."""
    problems = [case.from_data(stated) for stated in cases]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        solutions = solve_many(problems, method_from_data(settings["method"]))
    start = settings["initial"]
    quotes = [solution.quotes(0.0, **start) for solution in solutions]
    return {
        "value": np.array([float(solution.value(0.0, **start)) for solution in solutions]),
        "expected_wealth": np.array([float(solution.expected_wealth(0.0, **start)) for solution in solutions]),
        "bid": np.array([float(pair.bid) for pair in quotes]),
        "ask": np.array([float(pair.ask) for pair in quotes]),
        "error_estimate": np.array([float(solution.error_estimate) for solution in solutions]),
        "result": np.array([result_code(solution.result) for solution in solutions], np.int8),
    }


def result_code(result: Result) -> int:
    """0 for a solve that converged; the others as `RESULT_ATTRIBUTES` names them."""
    return list(Result).index(result)


RESULT_ATTRIBUTES = {
    "units": "1",
    "long_name": "how the solve ended",
    "flag_values": np.arange(len(Result), dtype=np.int8),
    "flag_meanings": " ".join(result.name.lower() for result in Result),
}


def _axes(problem: Any, over: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    if not over:
        raise ValueError('over is empty; name a parameter and its values, such as {"volatility": [0.2, 0.4]}')
    axes = {}
    for name, values in over.items():
        _holder(case.to_data(problem), name)
        array = np.asarray(values, float)
        if array.ndim != 1 or array.size == 0:
            raise ValueError(f"over[{name!r}] must be a list of at least one number, got shape {array.shape}")
        if not np.all(np.isfinite(array)) or np.unique(array).size < array.size:
            raise ValueError(f"over[{name!r}] must hold finite numbers that differ, got {array}")
        axes[name] = array.tolist()
    return axes


def _holder(data: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """The table that holds a parameter, and its key there."""
    *parts, key = name.split(".")
    for part in parts:
        data = data.get(part, {}) if isinstance(data, dict) else {}
    if not isinstance(data, dict) or not isinstance(data.get(key), float):
        known = ", ".join(sorted(k for k, v in data.items() if isinstance(v, float))) if isinstance(data, dict) else ""
        raise ValueError(f"over[{name!r}] names no number of the problem" + (f"; there are {known}" if known else ""))
    return data, key


def _with(base: dict[str, Any], names: Mapping[str, Any], values: Sequence[float]) -> dict[str, Any]:
    stated = copy.deepcopy(base)
    for name, value in zip(names, values, strict=True):
        holder, key = _holder(stated, name)
        holder[key] = value
    return stated


def _finished(path: Path, attributes: Mapping[str, str]) -> Any:
    """The dataset at `path` where it is this sweep's; raises `ValueError` where something else is there."""
    import xarray as xr

    if not path.exists():
        return None
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            data = opened.load()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no sweep ({error}); choose another path") from None
    if data.attrs.get("key") != attributes["key"]:
        raise ValueError(f"{path} holds another sweep, or one by another version; choose another path or delete it")
    return data


def _dataset(problem: Any, axes: Mapping[str, Any], columns: Columns, attributes: Mapping[str, str]) -> Any:
    import xarray as xr

    units = problem.units
    about = {
        "value": (units["money"], "what the objective is worth at time 0"),
        "expected_wealth": (units["money"], "expected wealth at the horizon, seen from time 0"),
        "bid": (units["distance"], "distance of the bid below the reference price at time 0"),
        "ask": (units["distance"], "distance of the ask above the reference price at time 0"),
        "error_estimate": (units["money"], "estimated absolute error of value without inventory"),
    }
    shape = [len(values) for values in axes.values()]
    variables = {
        name: (tuple(axes), columns[name].reshape(shape), {"units": unit, "long_name": text})
        for name, (unit, text) in about.items()
    }
    variables["result"] = (tuple(axes), columns["result"].reshape(shape), RESULT_ATTRIBUTES)
    coordinates = {name: (name, values, {"units": unit_of(problem, name)}) for name, values in axes.items()}
    return xr.Dataset(variables, coords=coordinates, attrs=dict(attributes))


_UNITS = {
    **dict.fromkeys(("growth", "rate", "borrowing_rate", "short_fee", "scale"), "1/{time}"),
    **dict.fromkeys(("max_stock", "credit_line", "short_limit", "price"), "{money}"),
    **dict.fromkeys(("adverse_selection", "width"), "{distance}"),
    **dict.fromkeys(("decay", "beta"), "1/{distance}"),
    "horizon": "{time}",
    "risk_aversion": "1/{money}",
    "slope": "1/({time} {distance})",
    "drift": "{distance}/{time}",
    "running": "{money}/(lots^2 {time})",
    "terminal": "{money}/lots^2",
}


def unit_of(problem: Any, name: str) -> str:
    """The unit of a parameter, "1" where it has none."""
    key, units = name.split(".")[-1], problem.units
    if key == "volatility":
        price = "" if units["state"] == "money" else units["distance"]
        return f"{price or 1}/sqrt({units['time']})"
    if key == "lot":
        return units["money"] if units["state"] == "money" else "units of the asset"
    return _UNITS.get(key, "1").format(**units)
