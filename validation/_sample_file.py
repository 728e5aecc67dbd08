"""A few simulated paths over time, kept beside the outcome of a run in its NetCDF file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .simulation import SamplePaths

_GROUP = "paths"


def append_paths(path: str | os.PathLike[str], sample: SamplePaths, problem: Any) -> None:
    """Add `sample` to the file that a `Simulation` was saved to, as a group of its own."""
    import xarray as xr

    units = problem.units
    data = xr.Dataset(
        {
            "inventory": (("path", "time"), sample.inventory, {"units": units["state"]}),
            "wealth": (("path", "time"), sample.wealth, {"units": units["money"]}),
        },
        coords={"time": ("time", sample.time, {"units": units["time"]})},
        attrs={"title": "a few of the paths, at even times"},
    )
    data.to_netcdf(path, mode="a", group=_GROUP, engine="h5netcdf")


def read_paths(path: str | os.PathLike[str]) -> SamplePaths | None:
    """What `append_paths` wrote, or None where a file has none."""
    import xarray as xr

    try:
        with xr.open_dataset(Path(path), group=_GROUP, engine="h5netcdf") as opened:
            data = opened.load()
    except (OSError, KeyError, ValueError):
        return None
    return SamplePaths(data["time"].values, data["inventory"].values, data["wealth"].values)
