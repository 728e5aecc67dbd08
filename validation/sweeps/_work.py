"""Who computes a block. A block says by name what is to be done, so that any process can do it from its text alone."""

from __future__ import annotations

import json
from importlib import import_module

from ._blocks import Columns, versions

WORKS = {
    "solve": ("...validation.sweeps.sweep", "solve_cases"),
    "frontier": ("...validation.frontier", "frontier_points"),
}
"""By name: a module, relative to this package, and its function of (cases, settings) that gives columns."""


def compute(statement: str) -> Columns:
    """The columns of the block that `statement` describes.

    Raises `ValueError` where the process runs other versions than the one that stated the block: its numbers would
    not be the ones asked for.
    """
    stated = json.loads(statement)
    ours, theirs = versions(), stated["versions"]
    if ours != theirs:
        differ = ", ".join(
            f"{name} {ours.get(name)} for {theirs[name]}" for name in theirs if ours.get(name) != theirs[name]
        )
        raise ValueError(f"a worker runs other software ({differ}); install the same versions on every machine")
    module, function = WORKS[stated["work"]]
    return getattr(import_module(module, __package__), function)(stated["cases"], stated["settings"])
