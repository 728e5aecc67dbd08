"""What each command does. JAX comes in here: a command line that only prints its help never gets this far."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ._case import Case, Simulating, check_simulation, market_asked_for, read_case
from ._errors import UserError, one_line
from ._progress import announce, working_on
from ._runs import (
    CASE,
    REPORT,
    SIMULATION,
    SOLUTION,
    as_written,
    new_run,
    origin,
    read_summary,
    summary_of,
    write_summary,
)
from ._terminal import (
    print_attribution,
    print_calibration,
    print_case,
    print_market,
    print_settlement,
    print_simulation,
    print_solution,
)

_DEMO_PATHS = 50_000
_SAMPLE_PATHS, _SAMPLE_INTERVALS = 2_000, 120  # for the bands and pictures of a report


def solve(path: Path, out: Path | None) -> None:
    """`twosided solve`."""
    case = read_case(path)
    out = out or Path("runs") / case.name
    with new_run(out) as folder:
        summary = summary_of("solve", case)
        with _naming(path):
            solution = _solve(case.problem, case.method, summary)
        _write(folder, case, summary, solution)
    print_case(case)
    print_solution(solution, case)
    _print_place(out)


def simulate(path: Path, out: Path | None, given: Mapping[str, Any], market: str | None = None) -> None:
    """`twosided simulate`; what is `given` replaces the file's settings."""
    case = read_case(path)
    _check_dynamics(case, path)
    settings = check_simulation({**case.simulation.to_data(), **given}, case.problem, "--")
    case = replace(case, simulation=settings)
    if market is not None:
        case = replace(case, market=market_asked_for(market, case.market))
    with _naming(path):
        _check_playable(case)
    out = out or Path("runs") / case.name
    with new_run(out) as folder:
        summary = summary_of("simulate", case)
        with _naming(path):
            solution = _solve(case.problem, case.method, summary)
            simulation, sample = _simulate(case, solution, summary)
            played = None if case.market is None else _play(case, solution, summary)
        _write(folder, case, summary, solution, simulation, sample, played)
    print_case(case)
    print_solution(solution, case)
    print_simulation(simulation, solution, case)
    if "settlement" in summary:
        print_settlement(summary["settlement"])
    if case.market is not None:
        print_attribution(summary["market"])
    _print_place(out)


def _check_playable(case: Case) -> None:
    """Refuse a market or a settlement that cannot take the problem, before any work."""
    if case.simulation.settlement:
        from .validation.simulation import settlement_days

        settlement_days(case.problem)
    if case.market is not None:
        from .validation.markets import check_market

        check_market(case.problem, case.market)


def _check_dynamics(case: Case, path: Path) -> None:
    from .validation.simulation import SIMULATED

    if not isinstance(case.problem, SIMULATED):
        raise UserError(
            f"{path}: a {type(case.problem).__name__} can be solved but not simulated, as no dynamics earn what its "
            "equation says; take StockCashDealer"
        )


def calibrate(file: Path, definition: str, session: str | None, out: Path | None) -> None:
    """`twosided calibrate`: the measured market, and the case of a dealer in it."""
    out = out or Path("runs") / _stem(file)
    with new_run(out) as folder:
        record, dealer, seconds = _calibrate(file, definition, _as_session(session))
        case = Case(out.name, dealer.problem, units=dealer.units)
        summary = summary_of("calibrate", case) | {
            "calibration": record.to_dict(),
            "assumptions": dealer.assumptions,
            "seconds": {"calibrate": seconds},
        }
        _write(folder, case, summary)
    print_calibration(record)
    print_case(case)
    _print_place(out)


def demo(data: Path | None, out: Path | None, paths: int | None, seed: int | None) -> None:
    """`twosided demo`: calibrate, state the dealer's problem, solve it twice, simulate it, report."""
    from .validation.synthetic import sample_path

    out = out or Path("runs") / ("demo" if data is None else f"demo-{_stem(data)}")
    with new_run(out) as folder:
        record, dealer, seconds = _calibrate(data or sample_path(), "virtual10", None)
        settings = Simulating(paths=paths or _DEMO_PATHS, seed=seed or 0)
        case = Case(out.name, dealer.problem, simulation=settings, units=dealer.units)
        summary = summary_of("demo", case) | {
            "calibration": record.to_dict(),
            "assumptions": dealer.assumptions,
            "seconds": {"calibrate": seconds},
        }
        solution = _solve(case.problem, None, summary)
        summary["cross_check"] = _cross_check(solution, dealer.twin, summary)
        simulation, sample = _simulate(case, solution, summary)
        _write(folder, case, summary, solution, simulation, sample)
    print_market(record)
    print_case(case)
    print_solution(solution, case)
    print_simulation(simulation, solution, case)
    _print_place(out)


def report(run: Path) -> None:
    """`twosided report`: the page anew, from the files of a run."""
    summary = read_summary(run)
    with as_written(run):
        _page_writer(summary)(run, summary)
    _print_place(run)


def _page_writer(summary: Mapping[str, Any]) -> Callable[[Path, Mapping[str, Any]], None]:
    """What writes the page of a run's folder anew."""
    if summary["command"] == "frontier":
        from ._frontier import write_again
    elif summary["command"] == "study":
        from ._study import write_again
    elif "risk_aversion" in summary:
        from ._calibrate_risk import write_again
    else:
        return _write_again
    return write_again


def _write_again(run: Path, summary: Mapping[str, Any]) -> None:
    from .hjb import Solution
    from .hjb.solution import write_whole
    from .validation import Simulation
    from .validation._sample_file import read_paths

    case = replace(read_case(run), name=summary["name"])
    solution = Solution.load(run / SOLUTION) if (run / SOLUTION).exists() else None
    simulation = sample = None
    if (run / SIMULATION).exists():
        simulation, sample = Simulation.load(run / SIMULATION), read_paths(run / SIMULATION)
    write_whole(run / REPORT, lambda part: _write_report(Path(part), case, summary, solution, simulation, sample))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put a file's name before what is wrong with what it states, once."""
    try:
        yield
    except (ValueError, TypeError) as error:
        said = one_line(error)
        names = (name for name in (str(path), path.name) if said.startswith((f"{name}:", f"{name},")))
        name = next(names, None)
        raise UserError(f"{path}: {said}" if name is None else f"{path}{said.removeprefix(name)}") from error


def _solve(problem: Any, method: Any, summary: dict[str, Any], key: str = "solve") -> Any:
    """The solution, with the seconds it took noted; raises `ValueError` where it did not converge."""
    from .hjb import NotConverged
    from .hjb import solve as solve_problem

    name = type(problem).__name__
    started = time.perf_counter()
    with working_on(f"Solving {name}"), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        solution = solve_problem(problem, method)
    summary["seconds"][key] = time.perf_counter() - started
    if not solution.converged:
        method = type(solution.method).__name__
        raise UserError(f"{name} by {method} did not converge: {solution.result.value}")
    return solution


def _calibrate(file: Path, definition: str, session: tuple[float, float] | None) -> tuple[Any, Any, float]:
    """The calibration of a file, the dealer in its market, and the seconds it took."""
    import numpy as np

    from .validation import calibrate as calibrate_messages
    from .validation import read_messages
    from .validation._dealer import state_dealer

    started = time.perf_counter()
    with working_on(f"Calibrating from {file.name}"):
        messages = read_messages(file)
        record = calibrate_messages(messages, definition, session)
        opening, closing = record.session
        price = float(np.mean(messages.mid_at(np.arange(opening, closing))))
        dealer = state_dealer(record, price)
    return record, dealer, time.perf_counter() - started


def _simulate(case: Case, solution: Any, summary: dict[str, Any]) -> tuple[Any, Any]:
    """The simulation of the solution's policy, and a few of its paths over time where it has one asset."""
    from .models import Problem
    from .validation.simulation import simulate as simulate_policy

    settings, policy = case.simulation, solution.policy
    try:
        solution.value(0.0, **settings.initial)
    except ValueError as error:  # nothing could be predicted from there
        raise ValueError(f"simulation.initial: {error}; start within it") from None
    started = time.perf_counter()
    announce(f"Simulating {settings.paths:,} paths")
    if settings.settlement:
        simulation = _settle(case, solution, summary)
    else:
        simulation = simulate_policy(case.problem, policy, **vars(settings))
    sample = None
    if isinstance(case.problem, Problem):
        sample = _sample(case, policy)
    summary["seconds"]["simulate"] = time.perf_counter() - started
    return simulation, sample


def _sample(case: Case, policy: Any) -> Any:
    """A few paths over time, for the report's bands and pictures."""
    from .validation.simulation import sample_paths

    settings = case.simulation
    times = -(-_SAMPLE_INTERVALS // case.problem.days) * case.problem.days + 1  # closes end an interval
    with working_on("Sampling paths for the report"):
        return sample_paths(
            case.problem, policy, min(settings.paths, _SAMPLE_PATHS), times, settings.seed, settings.initial
        )


def _settle(case: Case, solution: Any, summary: dict[str, Any]) -> Any:
    """The simulation where sales settle at once, with what later settlements lose noted beside it."""
    from .validation.settlement import settlement_loss

    settings = case.simulation
    lags = range(1, settings.settlement + 1)
    found = settlement_loss(
        case.problem, solution, tuple(lags), settings.paths, settings.seed, initial=settings.initial
    )
    summary["settlement"] = {"losses": found.to_data(), "table": found.table()}
    return found.simulations[0]


def _play(case: Case, solution: Any, summary: dict[str, Any]) -> Any:
    """Where the predicted value goes in the case's market."""
    from .validation._verdict import is_approximate
    from .validation.markets import attribute

    settings = case.simulation
    started = time.perf_counter()
    announce(f"Playing {settings.paths:,} paths in a {type(case.market).__name__}, friction by friction")
    found = attribute(
        case.problem,
        solution.policy,
        case.market,
        settings.paths,
        settings.seed,
        settings.initial,
        predicted=None if is_approximate(solution) else solution,
    )
    summary["seconds"]["play"] = time.perf_counter() - started
    summary["market"] = found.to_data() | {"money": case.units.get("money", "money")}
    return found


def _cross_check(solution: Any, twin: Any, summary: dict[str, Any]) -> dict[str, Any]:
    """The demo's dealer by another model and another method: quotes of both, side by side, in cents."""
    import numpy as np

    from .validation._sections import spread_lots

    other = _solve(twin, None, summary, "solve the second route")
    price, lot = summary["units"]["reference_price"], float(solution.problem.lot)
    lots = spread_lots(twin, float(twin.limit))
    mine = 100 * price * np.stack(solution.quotes(0.0, stock=lots * lot))
    others = 100 * np.stack(other.quotes(0.0, inventory=lots))
    rows = [
        [f"{q:g}", *(f"{x:.4f}" if np.isfinite(x) else "—" for x in (b, b2, a, a2))]
        for q, b, b2, a, a2 in zip(lots, mine[0], others[0], mine[1], others[1], strict=True)
    ]
    gap = float(np.nanmax(np.abs(mine - others)))
    moved = 100 * summary["problem"]["volatility"] * np.sqrt(summary["problem"]["horizon"])
    return {
        "meaning": (
            "The same dealer, stated again as one who holds lots of an asset whose price is a Brownian motion, in "
            "dollars and seconds, and solved by adaptive integration on the lattice of lots instead of finite "
            "differences in the stock account. A slip in units or in a solver would show here."
        ),
        "head": ["inventory (lots)", "bid, accounts", "bid, lattice", "ask, accounts", "ask, lattice"],
        "rows": rows,
        "finding": (
            f"Distances in cents. The largest difference is {gap:.2g} cents. The two models are not quite the same: in "
            f"one the price moves by a share of itself, in the other by a fixed amount, and the price moves by about "
            f"{moved:.2g}% over the horizon."
        ),
        "largest_difference_cents": gap,
    }


def _write(
    folder: Path,
    case: Case,
    summary: dict[str, Any],
    solution: Any = None,
    simulation: Any = None,
    sample: Any = None,
    played: Any = None,
) -> None:
    """All files of a run."""
    from .validation._sample_file import append_paths
    from .validation.markets._file import append_played

    method = case.method if solution is None else solution.method
    (folder / CASE).write_text(replace(case, method=method).to_toml(_header(summary)), encoding="utf-8")
    if solution is not None:
        solution.save(folder / SOLUTION)
        summary["solution"] = _solution_data(solution, case)
    if simulation is not None:
        simulation.save(folder / SIMULATION)
        if sample is not None:
            append_paths(folder / SIMULATION, sample, simulation.problem)
        if played is not None:
            append_played(folder / SIMULATION, played)
        summary["simulation"] = _simulation_data(simulation, solution, case)
    write_summary(folder, summary)
    with working_on("Writing the report"):
        _write_report(folder / REPORT, case, summary, solution, simulation, sample)


def _solution_data(solution: Any, case: Case) -> dict[str, Any]:
    """What a solution found, ready for JSON: without inventory, and where cash matters at the start's wealth."""
    from .hjb.solution import method_to_data
    from .validation._view import view_for

    view = view_for(solution.problem, case.units, solution, case.simulation.initial)
    held = {name: float(amount) for name, amount in view.here.items() if name != case.problem.names[0]}
    return {
        "method": method_to_data(solution.method),
        "converged": solution.converged,
        "result": solution.result.value,
        "residual": float(solution.residual),
        "error_estimate": float(solution.error_estimate),
        **held,
        "value": float(solution.value(0.0, **view.here)),
        "expected_wealth": view.expected(solution),
        **view.quotes(solution),
    }


def _simulation_data(simulation: Any, solution: Any, case: Case) -> dict[str, Any]:
    """What a simulation measured beside what was predicted, ready for JSON."""
    from .validation._verdict import compare

    comparison = compare(simulation, solution)
    return {
        "paths": simulation.paths,
        "seed": simulation.seed,
        "fills": simulation.rule,
        "steps": case.simulation.steps,
        "initial": case.simulation.initial,
        "rows": [
            {
                "quantity": row.quantity,
                "unit": row.unit,
                "measured": row.measured,
                "standard_error": row.standard_error,
                "predicted": row.predicted,
                "z": row.z,
            }
            for row in comparison.rows
        ],
        "agrees": comparison.agrees,
        "largest_z": comparison.largest,
        "z_allowed": comparison.limit,
    }


def _write_report(
    path: Path, case: Case, summary: Mapping[str, Any], solution: Any, simulation: Any, sample: Any
) -> None:
    from .validation import write_report

    write_report(
        path,
        solution,
        simulation,
        summary.get("calibration"),
        problem=case.problem,
        sample=sample,
        title=f"Optimal two-sided quotes: {case.name}",
        units=case.units,
        assumptions=summary.get("assumptions", ()),
        cross_check=summary.get("cross_check"),
        market=summary.get("market"),
        regret=summary.get("regret"),
        settlement=summary.get("settlement"),
        initial=case.simulation.initial,
        facts=_facts(summary),
    )


def _facts(summary: Mapping[str, Any]) -> dict[str, str]:
    """What the report notes at its end."""
    seconds = ", ".join(f"{what} {took:.1f} s" for what, took in summary["seconds"].items())
    return origin(summary) | {
        "took": seconds + " (compiling included)",
        "again": f"{_again(summary)}, with the case.toml in this folder",
        "data": _kept(summary),
    }


def _header(summary: Mapping[str, Any]) -> str:
    """What a run's case.toml says at its top."""
    return f"Written by twosided {summary['twosided']}. Run it again: {_again(summary)}"


def _again(summary: Mapping[str, Any]) -> str:
    """The command that does a run once more from its own case.toml, which holds all that has a place there."""
    command = {"demo": "simulate", "calibrate": "solve"}.get(summary["command"], summary["command"])
    return summary.get("again", f"twosided {command} case.toml")


def _kept(summary: Mapping[str, Any]) -> str:
    """Which files hold the numbers that a page shows."""
    files = [file for part, file in (("solution", SOLUTION), ("simulation", SIMULATION)) if part in summary]
    if not files:
        return "summary.json holds every number shown"
    hold = f"{' and '.join(files)} hold{'s' if len(files) == 1 else ''}"
    return f"{hold} what was {' and '.join(_DONE[file] for file in files)}, with units; summary.json all other numbers"


_DONE = {SOLUTION: "solved", SIMULATION: "simulated"}


def _as_session(text: str | None) -> tuple[float, float] | None:
    """`10:00-15:30`, or seconds after midnight as `36000-55800`."""
    if text is None:
        return None
    clock = re.fullmatch(r"(\d{1,2}):(\d\d)(?::(\d\d))?-(\d{1,2}):(\d\d)(?::(\d\d))?", text.strip())
    if clock:
        h1, m1, s1, h2, m2, s2 = (int(part or 0) for part in clock.groups())
        return 3600.0 * h1 + 60 * m1 + s1, 3600.0 * h2 + 60 * m2 + s2
    seconds = re.fullmatch(r"(\d+(?:\.\d*)?)-(\d+(?:\.\d*)?)", text.strip())
    if not seconds:
        raise UserError(f"--session must be two times such as 10:00-15:30 or seconds after midnight, got {text!r}")
    return float(seconds[1]), float(seconds[2])


def _stem(file: Path) -> str:
    """A file's name without its endings: what a run on it is called."""
    return file.name.split(".")[0] or file.name


def _print_place(out: Path) -> None:
    print(f"\nReport: {out / REPORT}")
