"""Checkpoints of a training: written whole or not at all, and refused where they belong to something else."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ..solution import write_whole
from ._training import Progress


def save_checkpoint(path: Path, progress: Progress, stated: dict[str, Any]) -> None:
    """Write `progress` beside what it belongs to, `stated` (plain data)."""

    def write(part: str) -> None:
        with open(part, "wb") as file:
            np.savez(file, stated=json.dumps(stated, sort_keys=True), **dataclasses.asdict(progress))

    write_whole(path, write)


def load_checkpoint(path: Path, stated: dict[str, Any]) -> Progress | None:
    """The progress at `path`, or None where there is no file.

    Raises `ValueError` naming the file and what differs where it belongs to another problem or method.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = dict(data)
        before = json.loads(str(arrays.pop("stated")))
        progress = Progress(**{name: a if a.ndim else a.item() for name, a in arrays.items()})
    except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no checkpoint or is damaged ({error}); delete it to start afresh") from None
    differing = _differences(before, json.loads(json.dumps(stated)))
    if differing:
        raise ValueError(
            f"{path} is a checkpoint of another training: {', '.join(differing)} differ"
            f"{'s' if len(differing) == 1 else ''}; name another file, or delete it to start afresh"
        )
    return progress


def _differences(before: Any, now: Any, where: str = "") -> list[str]:
    """Names of the entries that differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted(set(before) | set(now))
        parts = [_differences(before.get(n), now.get(n), f"{where}.{n}".lstrip(".")) for n in names]
        return [name for part in parts for name in part]
    return [] if before == now else [where]
