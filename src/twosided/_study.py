"""`twosided study`: the empirical chapter as one command, into one folder."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._errors import UserError
from ._progress import Advance, working_on
from ._runs import (
    CLEANED,
    PANEL,
    REMOVALS,
    REPORT,
    SUMMARY,
    as_typed,
    new_run,
    new_summary,
    origin,
    write_summary,
)

SYNTHETIC = {"stocks": 20, "days": 60, "seed": 0}
_MESSAGES, _PANEL_FILE, _DRAWN = "market messages", "a panel in a CSV file", "the synthetic panel"


def study(file: Path | None, out: Path | None, options: Mapping[str, Any]) -> None:
    """Study a file of market messages, a panel in a CSV file, or without a file the synthetic panel.

    options: interval and session of messages, model of a panel file, stocks, days and seed of the synthetic one; one
    that belongs to another kind of input is refused.
    """
    kind = _DRAWN if file is None else _PANEL_FILE if file.suffix.lower() == ".csv" and _is_panel(file) else _MESSAGES
    _check(options, kind)
    name = "study" if file is None else f"study-{file.name.split('.')[0]}"
    out = out or Path("runs") / name
    with new_run(out) as folder:
        started = time.perf_counter()
        with working_on(f"Studying {kind if file is None else file.name}") as advance:
            found = _found(file, kind, options, advance)
        summary = new_summary("study", out.name, "statsmodels") | {
            "seconds": {"study": time.perf_counter() - started},
            "again": _again(file, options),
            "study": found.to_data(),
        }
        found.panel.save(folder / PANEL)
        found.cleaned.panel.save(folder / CLEANED)
        found.cleaned.write_removals(folder / REMOVALS)
        write_summary(folder, summary)
        write_report(folder, json.loads((folder / SUMMARY).read_text(encoding="utf-8")), folder / REPORT)
    _print(found)
    print(f"\nReport: {out / REPORT}")


def write_report(run: Path, summary: Mapping[str, Any], path: Path) -> None:
    """The page from what a study left in its folder."""
    from .validation.empirical import Panel, write_study_report

    facts = origin(summary) | {
        "took": f"{summary['seconds']['study']:.1f} s (compiling included)",
        "again": summary["again"],
        "data": f"{PANEL} holds the rows that were regressed, {CLEANED} the observations left, {REMOVALS} what went "
        "and why, summary.json every number shown",
    }
    write_study_report(path, summary["study"], Panel.load(run / PANEL), facts)


def write_again(run: Path, summary: Mapping[str, Any]) -> None:
    """`twosided report` on the folder of a study."""
    from .hjb.solution import write_whole

    write_whole(run / REPORT, lambda part: write_report(run, summary, Path(part)))


def _is_panel(file: Path) -> bool:
    """Whether a CSV file begins with heads, as a panel does; LOBSTER's begin with a number."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as opened:
            return not opened.readline()[:1].isdigit()
    except OSError:
        return False  # the reader of messages says what is wrong


def _check(options: Mapping[str, Any], kind: str) -> None:
    owners = {"interval": _MESSAGES, "session": _MESSAGES, "model": _PANEL_FILE, **dict.fromkeys(SYNTHETIC, _DRAWN)}
    for name in options:
        if owners[name] != kind:
            raise UserError(f"--{name} belongs to {owners[name]}, and this is {kind}; leave it out")


def _found(file: Path | None, kind: str, options: Mapping[str, Any], advance: Advance) -> Any:
    from .validation import empirical

    if file is None:
        return empirical.study_synthetic(**{**SYNTHETIC, **options}, advance=advance)
    if kind == _MESSAGES:
        from ._commands import _as_session

        session = _as_session(options.get("session"))
        return empirical.study_messages(file, options.get("interval", 300.0), session, advance=advance)
    panel = empirical.read_panel(file)
    return empirical.study_panel(panel, _model(options.get("model")), advance=advance)


def _model(path: Path | None) -> Any:
    if path is None:
        return None
    from ._case import read_case
    from .models import StockCashDealer

    problem = read_case(path).problem
    if not isinstance(problem, StockCashDealer):
        raise UserError(f"{path}: --model needs a StockCashDealer, got {type(problem).__name__}")
    return problem


def _again(file: Path | None, options: Mapping[str, Any]) -> str:
    """The command with every choice that it took, its defaults too where the panel was drawn."""
    if file is None:
        return as_typed("study", options={**SYNTHETIC, **options}.items())
    return as_typed("study", file.name, options=options.items())


def _print(found: Any) -> None:
    """What the study found, on the terminal."""
    cleaned = found.cleaned
    counts = ", ".join(f"{count:,} {rule}" for rule, count in cleaned.counts.items())
    print(f"{found.panel.source}: {cleaned.rows:,} observations, {len(cleaned.panel):,} left; removed: {counts}")
    if found.dirt is not None:
        planted = sum(found.dirt.planted.values())
        missed, sound = found.dirt.missed, found.dirt.false_removals
        print(f"  of {planted} spoilt on purpose {missed} missed; {sound} sound ones removed")
    for regressions in found.regressions.values():
        print(f"\n{regressions[0].table()}")
    if found.comparisons:
        print(f"\nthe model's quotes beside those observed, {found.comparisons[0].unit}")
        print(
            f"  {'':<14}" + "".join(f"{head:>13}" for head in ("predicted", "observed", "bias", "rmse", "correlation"))
        )
        for c in found.comparisons:
            values = (c.mean_predicted, c.mean_observed, c.bias, c.rmse, c.correlation)
            print(f"  {c.quantity.replace('_', ' '):<14}" + "".join(f"{value:>13.4g}" for value in values))
