"""`twosided frontier`: which risk aversion? Every reading of mean-variance over a range of it, in one folder."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ._case import Case, read_case, read_single
from ._errors import UserError, one_line
from ._progress import announce
from ._runs import CASE, FRONTIER, REPORT, as_typed, new_run, origin, summary_of, write_summary

_POINTS = 64
_LOWEST, _HIGHEST = 1 / 32, 2.0  # of the case's own risk aversion


def frontier(
    path: Path,
    out: Path | None,
    points: int | None,
    low: float | None,
    high: float | None,
    readings: Sequence[str],
    given: Mapping[str, Any],
) -> None:
    """Compute and certify a case's frontier.

    points:    how many risk aversions, 64 by default.
    low, high: ends of their range, by default from 1/32 of the case's own to twice that.
    given:     paths, seed, workers and scheduler, where they were said.
    """
    from .validation._frontier_readings import READINGS
    from .validation.frontier import frontier as compute

    case = read_single(path, "frontier")
    case = replace(case, simulation=replace(case.simulation, seed=given.get("seed", case.simulation.seed)))
    out = out or Path("runs") / f"{case.name}-frontier"
    aversions = _range(case, path, points or _POINTS, low, high)
    kept = out.with_name(f"{out.name}.blocks")
    names = [name.strip().replace("-", "_") for text in readings for name in text.split(",")]
    with new_run(out) as folder:
        started = time.perf_counter()
        announce(f"Computing and simulating {aversions.size} risk aversions; finished ones are kept in {kept}")
        try:
            found = compute(
                case.problem,
                aversions,
                names or tuple(READINGS),
                initial=case.simulation.initial,
                method=case.method,
                folder=kept,
                **{"seed": case.simulation.seed, **given},
            )
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}: {one_line(error)}") from error
        except (KeyboardInterrupt, SystemExit) as stop:
            ended = SystemExit(stop.code if isinstance(stop, SystemExit) else 128 + signal.SIGINT)
            ended.add_note(f"finished points are kept in {kept}: the same command goes on from there")
            raise ended from None
        again = _again({"points": points, "from": low, "to": high, "paths": given.get("paths")}, names)
        summary = _summary(case, found, time.perf_counter() - started) | {"again": again}
        header = f"Written by twosided {summary['twosided']}. Run it again: {again}"
        (folder / CASE).write_text(case.to_toml(header), encoding="utf-8")
        found.save(folder / FRONTIER)
        write_summary(folder, summary)
        _write_page(folder / REPORT, found, case, summary)
    print(found)
    print(found.table())
    print(_certified(found))
    print(f"\nReport: {out / REPORT}")


def write_again(run: Path, summary: Mapping[str, Any]) -> None:
    """`twosided report` on the folder of a frontier."""
    from .hjb.solution import write_whole
    from .validation.frontier import Frontier

    case = replace(read_case(run), name=summary["name"])
    found = Frontier.load(run / FRONTIER)
    write_whole(run / REPORT, lambda part: _write_page(Path(part), found, case, summary))


def _again(asked: Mapping[str, Any], readings: Sequence[str]) -> str:
    """The command as it was given, but for the seed, which the case.toml holds, and for who computed."""
    return as_typed("frontier", "case.toml", options={**asked, "readings": ",".join(readings) or None}.items())


def _range(case: Case, path: Path, points: int, low: float | None, high: float | None) -> Any:
    import numpy as np

    own = getattr(getattr(case.problem, "objective", None), "risk_aversion", None)
    if own is not None and float(own) > 0:
        low = _LOWEST * float(own) if low is None else low
        high = _HIGHEST * float(own) if high is None else high
    if low is None or high is None:
        raise UserError(f"{path}: the objective states no risk aversion to start from; give --from and --to")
    if not 0 < low < high:
        raise UserError(f"--from and --to must be positive and rising, got {low:g} and {high:g}")
    return np.geomspace(low, high, points)


def _summary(case: Case, found: Any, seconds: float) -> dict[str, Any]:
    return summary_of("frontier", case) | {
        "seconds": {"frontier": seconds},
        "readings": list(found.readings),
        "missing": found.missing,
        "risk_aversions": [float(x) for x in found.data["risk_aversion"].values],
        "paths": found.paths,
        "certificate": found.certificate._asdict(),
        "not_converged": int((found.data["result"] != 0).sum()),
        "points": {
            name: {key: found.data[key].sel(reading=name).values.tolist() for key in ("mean", "std", "criterion")}
            for name in found.readings
        },
    }


def _write_page(path: Path, found: Any, case: Case, summary: Mapping[str, Any]) -> None:
    from .validation._frontier_page import write_frontier_report

    facts = origin(summary) | {
        "took": f"{summary['seconds']['frontier']:.1f} s (compiling included, finished blocks of an earlier run not)",
        "again": f"{summary.get('again', 'twosided frontier case.toml')}, with the case.toml in this folder",
        "data": "frontier.nc holds every number shown, with units; summary.json the main ones",
    }
    write_frontier_report(path, found, title=f"Which risk aversion? {case.name}", units=case.units, facts=facts)


def _certified(found: Any) -> str:
    certificate = found.certificate
    if certificate.agrees is None:
        return "not certified: too few simulated paths"
    says = "agrees" if certificate.agrees else "DISAGREES"
    return (
        f"simulation {says} in {certificate.compared} comparisons: the largest difference is "
        f"{certificate.largest:.2f} standard errors, {certificate.limit:.2f} allowed"
    )
