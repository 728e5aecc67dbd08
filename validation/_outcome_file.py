"""The outcome of a run as NetCDF: its arrays with units, and the case that gave them, for any kind of simulation."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..hjb.solution import write_whole
from ..models import case


class Saved(NamedTuple):
    """An array of an outcome: by what its axes go, in which unit, and what it is."""

    axes: tuple[str, ...]
    unit: str
    meaning: str


def write_outcome(
    outcome: Any, path: str | os.PathLike[str], arrays: Mapping[str, Saved], settings: Mapping[str, Any]
) -> Path:
    """Write attributes of `outcome` that `arrays` names, its problem and `settings`, whole or not at all."""
    import xarray as xr

    stated = {"problem": case.to_data(outcome.problem), "simulation": dict(settings)}
    data = xr.Dataset(
        {
            name: (saved.axes, getattr(outcome, name), {"units": saved.unit, "long_name": saved.meaning})
            for name, saved in arrays.items()
        },
        attrs={"title": "twosided simulation", "kind": type(outcome).__name__, "case": json.dumps(stated)},
    )
    write_whole(Path(path), lambda part: data.to_netcdf(part, engine="h5netcdf"))
    return Path(path)


def arrays_of(data: Any) -> dict[str, Any]:
    """All arrays of a dataset by name."""
    return {name: data[name].values for name in data.data_vars}
