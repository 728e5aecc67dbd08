"""`twosided calibrate --risk-aversion WAY`: which lambda, from quotes, from trades, or from a risk budget."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import _commands as commands
from ._case import Case, read_case, read_single
from ._errors import UserError, one_line
from ._progress import working_on
from ._runs import CASE, REPORT, SOLUTION, SUMMARY, new_run, summary_of, write_summary

WAYS = ("implied", "moments", "likelihood", "budget")
TARGETS = {  # options by the argument they become
    "deviation": "--target-deviation",
    "loss_probability": "--loss-probability",
    "limit_probability": "--limit-probability",
}


def calibrate_risk(
    way: str,
    file: Path,
    model: Path | None,
    out: Path | None,
    targets: Mapping[str, Any],
    also: str | None,
    errors: Sequence[str],
) -> None:
    """Calibrate the risk aversion and write its run.

    file:     a CSV of quotes ("implied") or of trades ("moments", "likelihood"), or the case file itself ("budget").
    model:    the case file of the dealer that the data are explained by; its risk aversion is where the search begins.
    targets:  of a budget, by `TARGETS`, and "loss".
    also:     names of numbers to estimate along with it, with commas.
    errors:   standard errors of numbers that the case states, such as "volatility=0.02".
    """
    case_file = _check(way, file, model, targets, also)
    case = read_single(case_file, "calibrate")
    out = out or Path("runs") / f"{commands._stem(file)}-{way}"
    with new_run(out) as folder:
        summary = summary_of("calibrate", case)
        started = time.perf_counter()
        with working_on(f"Calibrating the risk aversion from {file.name}"), commands._naming(file):
            found = _found(way, file, case, targets, also, _inputs(errors))
        summary["seconds"]["calibrate"] = time.perf_counter() - started
        case = replace(case, name=out.name, problem=found.problem)
        summary["name"], summary["problem"] = case.name, _plain_problem(case)
        solution = commands._solve(case.problem, case.method, summary)
        summary["solution"] = commands._solution_data(solution, case)
        summary["risk_aversion"] = found.to_dict()
        (folder / CASE).write_text(case.to_toml(commands._header(summary)), encoding="utf-8")
        solution.save(folder / SOLUTION)
        write_summary(folder, summary)
        _write_page(folder, case, solution, folder / REPORT)
    print(f"{_TITLES[way]}: {type(case.problem).__name__} under {type(case.problem.objective).__name__}\n")
    print(found.table())
    commands._print_place(out)


_TITLES = {
    "implied": "risk aversion implied by quotes",
    "moments": "risk aversion from trades, by moments",
    "likelihood": "risk aversion from trades, by likelihood",
    "budget": "risk aversion that spends the budget",
}


def _check(way: str, file: Path, model: Path | None, targets: Mapping[str, Any], also: str | None) -> Path:
    """The case file; raises `UserError` naming the option that is missing, unknown or out of place."""
    if way not in WAYS:
        raise UserError(f"--risk-aversion must be one of {', '.join(WAYS)}, got {way!r}")
    if way == "budget":
        if model is not None or also is not None:
            raise UserError(
                f"{'--case' if model else '--also'} is for data; a budget is stated for the case file itself"
            )
        if not any(name in targets for name in TARGETS):
            raise UserError(f"--risk-aversion budget needs a target: one of {', '.join(TARGETS.values())}")
        return file
    given = [TARGETS.get(name, "--loss") for name in targets]
    if given:
        raise UserError(f"{given[0]} is for --risk-aversion budget; leave it out")
    if model is None:
        raise UserError(f"--risk-aversion {way} needs --case CASE.toml, the dealer by whom {file} is explained")
    return model


def _found(way: str, file: Path, case: Case, targets: Mapping[str, Any], also: str | None, inputs: Any) -> Any:
    from .validation import calibration

    names = tuple(name.strip() for name in also.split(",")) if also else ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", calibration.WeakIdentification)  # the table and the page say it
        if way == "budget":
            return calibration.risk_aversion_for_budget(
                case.problem, **targets, inputs=inputs, method=case.method, initial=case.simulation.initial
            )
        if way == "implied":
            quotes = calibration.read_quotes(file)
            return calibration.implied_risk_aversion(case.problem, quotes, names, inputs, case.method)
        trades = calibration.read_trades(file, case.problem)
        return calibration.risk_aversion_from_inventory(case.problem, trades, way, names, inputs, case.method)


def _inputs(errors: Sequence[str]) -> Any:
    """Standard errors `name=number` as independent inputs."""
    import numpy as np

    from .validation.calibration import Inputs

    found: dict[str, float] = {}
    for text in errors:
        name, _, value = (part.strip() for part in text.partition("="))
        try:
            found[name] = float(value)
        except ValueError:
            raise UserError(f"--input {name} must be a standard error, got {value!r}; write {name}=0.02, say") from None
    try:
        return Inputs(tuple(found), np.diag(np.square(list(found.values())))) if found else None
    except ValueError as error:
        raise UserError(f"--input: {one_line(error)}") from None


def _plain_problem(case: Case) -> Any:
    from .models.case import to_data

    return to_data(case.problem)


def write_again(run: Path, summary: Mapping[str, Any]) -> None:
    """`twosided report` on the folder of a calibrated risk aversion."""
    from .hjb import Solution
    from .hjb.solution import write_whole

    case = replace(read_case(run), name=summary["name"])
    solution = Solution.load(run / SOLUTION)
    write_whole(run / REPORT, lambda part: _write_page(run, case, solution, Path(part)))


def _write_page(folder: Path, case: Case, solution: Any, path: Path) -> None:
    """The page, from what the run's folder holds."""
    from .validation._risk_report import write_risk_report

    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    with working_on("Writing the report"):
        write_risk_report(
            path,
            summary["risk_aversion"],
            solution,
            title=f"Which risk aversion: {case.name}",
            units=case.units,
            facts=commands._facts(summary),
        )
