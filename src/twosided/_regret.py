"""`twosided regret`: what it costs to compute quotes with something wrong, by the case's own criterion."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import _commands as commands
from ._case import Case, check_simulation, market_asked_for, read_single
from ._errors import UserError, one_line
from ._progress import announce
from ._runs import as_typed, new_run, summary_of
from ._terminal import print_case, print_regret, print_solution

_FACTORS = (0.5, 2.0)


def regret(
    path: Path, out: Path | None, given: Mapping[str, Any], wrong: Sequence[str], market: str | None = None
) -> None:
    """Solve the case and wrong ones, play all in the case's market, and say what being wrong costs.

    wrong: errors such as `volatility=2` or `decay=0.5,flow=2`, factors of what is true; by default each by itself,
           half and twice the truth.
    """
    from .validation.markets import PoissonMarket

    case = read_single(path, "regret")
    commands._check_dynamics(case, path)
    settings = check_simulation({**case.simulation.to_data(), **given}, case.problem, "--")
    played = case.market if market is None else market_asked_for(market, case.market)
    case = replace(case, simulation=settings, market=PoissonMarket() if played is None else played)
    with commands._naming(path):
        commands._check_playable(case)
        errors = _errors(case.problem, wrong)
    out = out or Path("runs") / f"{case.name}-regret"
    with new_run(out) as folder:
        summary = summary_of("regret", case) | {"again": _again(wrong)}
        with commands._naming(path):
            solution = commands._solve(case.problem, case.method, summary)
            summary["regret"] = _regret(case, errors, summary)
        commands._write(folder, case, summary, solution)
    print_case(case)
    print_solution(solution, case)
    print_regret(summary["regret"])
    commands._print_place(out)


def _again(wrong: Sequence[str]) -> str:
    """The command as it was given, without what the run's case.toml holds: paths, seed and market."""
    return as_typed("regret", "case.toml", options=[("wrong", text) for text in wrong])


def _errors(problem: Any, asked: Sequence[str]) -> dict[str, Any]:
    """Wrong problems by name."""
    from .validation.markets.misspecified import KINDS, wrong

    if not asked:
        found = {}
        for kind in KINDS:
            for factor in _FACTORS:
                try:
                    found[_named({kind: factor})] = wrong(problem, **{kind: factor})
                except ValueError:  # the demand has no such parameter
                    continue
        return found
    stated = [_factors(text) for text in asked]
    try:
        return {_named(factors): wrong(problem, **factors) for factors in stated}
    except ValueError as error:
        raise UserError(f"--wrong {one_line(error)}") from None


def _factors(text: str) -> dict[str, float]:
    found = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        try:
            found[name] = float(value)
        except ValueError:
            raise UserError(f"--wrong {name} must be a factor, got {value!r}; write {name}=2, say") from None
    return found


def _named(factors: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} x {factor:g}" for name, factor in factors.items())


def _regret(case: Case, errors: Mapping[str, Any], summary: dict[str, Any]) -> dict[str, Any]:
    from .validation.markets import misspecified

    settings, started = case.simulation, time.perf_counter()
    announce(f"Playing {settings.paths:,} paths in a {type(case.market).__name__}, {len(errors)} errors")
    found = misspecified(
        case.problem,
        errors,
        settings.paths,
        settings.seed,
        market=case.market,
        method=case.method,
        initial=settings.initial,
    )
    summary["seconds"]["play"] = time.perf_counter() - started
    return found.to_data() | {"money": case.units.get("money", "money")}
