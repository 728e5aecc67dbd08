"""A run's folder: written beside its place under a hidden name and moved there at the end, whole or not at all."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from ._errors import UserError, about_file, one_line

if TYPE_CHECKING:
    from ._case import Case

CASE, SOLUTION, SIMULATION, SUMMARY, REPORT = FILES = (
    "case.toml",
    "solution.nc",
    "simulation.nc",
    "summary.json",
    "report.html",
)
PANEL, CLEANED, REMOVALS = STUDIED = ("panel.nc", "cleaned.nc", "removals.csv")
FRONTIER = "frontier.nc"


@contextmanager
def new_run(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `out` when the block ends well and vanishes when it does not.

    It is made before any work, so that a place that cannot be written to is refused at once. An `out` that exists
    must be a run of this tool or empty; its place is taken in one move, and what else a user kept in it stays.
    """
    _check_replaceable(out)
    out = out.absolute()
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:  # around the making as well: an interrupt may come between a folder's birth and the next line
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            part.mkdir()
        except OSError as error:
            raise UserError(
                about_file(error, f"cannot write to {out.parent}") + "; choose a folder with --out"
            ) from None
        yield part
        for file in part.iterdir():
            file.chmod(0o666 & part.stat().st_mode)  # some were born as temporary files, closed to others
        _take_place(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_replaceable(out: Path) -> None:
    try:
        if not out.exists() or (out.is_dir() and (is_run(out) or not any(out.iterdir()))):
            return
    except OSError as error:
        raise UserError(about_file(error, f"cannot use {out}") + "; choose a folder with --out") from None
    what = "is a folder that holds no run of twosided" if out.is_dir() else "is a file"
    raise UserError(f"{out} {what}, and stays untouched; choose another folder with --out")


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run that this tool wrote."""
    try:
        found = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "twosided" in found


def _take_place(part: Path, out: Path) -> None:
    """Move `part` to `out`; a run that was there is dropped, and the files that are none of a run's are kept."""
    old = part.with_suffix(".old")
    had_one = out.exists()
    if had_one:
        os.rename(out, old)
    try:
        os.rename(part, out)
    except BaseException:
        if had_one and not out.exists():
            os.rename(old, out)
        raise
    if had_one:
        for entry in old.iterdir():
            if entry.name not in (*FILES, *STUDIED, FRONTIER):
                os.rename(entry, out / entry.name)
        shutil.rmtree(old, ignore_errors=True)


def as_typed(*words: str, options: Iterable[tuple[str, Any]]) -> str:
    """A command of this tool as a shell reads it; an option that is None was not given."""
    given = [word for name, value in options if value is not None for word in (f"--{name}", str(value))]
    return shlex.join(["twosided", *words, *given])


def new_summary(command: str, name: str, *packages: str) -> dict[str, Any]:
    """What a run knows of itself before its work: who made it, when, and with which versions."""
    from importlib.metadata import version

    used = ("numpy", "jax", "xarray", *packages)
    return {
        "twosided": __version__,
        "command": command,
        "name": name,
        "date": time.strftime("%Y-%m-%d"),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in used}},
        "seconds": {},
    }


def summary_of(command: str, case: Case) -> dict[str, Any]:
    """The same of a run of a case, which it states."""
    from .models.case import to_data

    return new_summary(command, case.name, "equinox") | {"problem": to_data(case.problem), "units": case.units}


def origin(summary: Mapping[str, Any]) -> dict[str, str]:
    """Who made a run, for the end of its page."""
    return {
        "made by": f"twosided {summary['twosided']}, command {summary['command']}, on {summary['date']}",
        "versions": ", ".join(f"{name} {number}" for name, number in summary["versions"].items()),
    }


@contextmanager
def as_written(folder: Path) -> Iterator[None]:
    """Say in one line that a run's files were changed, where what is made of them fails."""
    try:
        yield
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"{folder}: its files are not as this tool wrote them ({reason}); run it again") from error


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """`summary.json`: strict JSON, so that numbers that are not finite become null."""
    text = json.dumps(_finite(summary), indent=2, allow_nan=False, ensure_ascii=False)
    (folder / SUMMARY).write_text(text + "\n", encoding="utf-8")


def read_summary(folder: Path) -> dict[str, Any]:
    """What `write_summary` wrote; raises `UserError` where the folder holds no run, or its summary was changed."""
    if not is_run(folder):
        raise UserError(f"{folder} holds no run of twosided; give the folder that a run wrote, such as runs/demo")
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    for key, kind in _STATED.items():
        if key not in summary:
            raise UserError(f"{folder / SUMMARY}: {key} is missing; run the case again")
        if not isinstance(summary[key], kind):
            raise UserError(
                f"{folder / SUMMARY}: {key} must be {_KINDS[kind]}, got {summary[key]!r}; run the case again"
            )
    for part, seconds in summary["seconds"].items():
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise UserError(f"{folder / SUMMARY}: seconds.{part} must be a number, got {seconds!r}; run the case again")
    return summary


_STATED = {"name": str, "command": str, "date": str, "versions": dict, "seconds": dict}
_KINDS = {str: "a text", dict: "a table of names and values"}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
