"""The paths of a policy played in a market, kept beside the outcome of a run in its NetCDF file."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from .attribution import Attribution

GROUP = "market"


def append_played(path: str | os.PathLike[str], played: Attribution) -> None:
    """Add what each path came to, friction by friction, to the file that a `Simulation` was saved to.

    The group `market` has the dimensions friction and path: entry 0 is the market without frictions, the next one has
    the first friction, and so on to the market as it is. Path `i` meets the same orders and prices in all.
    """
    import xarray as xr

    units = played.obtained.problem.units
    variables = {
        "wealth": (units["money"], "wealth at the horizon", np.float64),
        "score": (units["money"], "contribution to the criterion", np.float64),
        "inventory": (units["state"], "inventory at the horizon", np.float64),
        "bid_fills": ("1", "fills of the bid", np.int32),
        "ask_fills": ("1", "fills of the ask", np.int32),
    }
    data = xr.Dataset(
        {
            name: (
                ("friction", "path"),
                np.stack([np.asarray(getattr(run, name), kind) for run in played.runs]),
                {"units": unit, "long_name": text},
            )
            for name, (unit, text, kind) in variables.items()
        },
        coords={"friction": ["none", *played.frictions]},
        attrs={
            "title": "the policy played in a market, each friction on top of those before it",
            "market": json.dumps(played.market.to_data()),
            "seed": played.obtained.seed,
        },
    )
    packed = {name: {"zlib": True, "complevel": 4} for name in variables}
    data.to_netcdf(path, mode="a", group=GROUP, engine="h5netcdf", encoding=packed)


def read_played(path: str | os.PathLike[str]) -> Any:
    """What `append_played` wrote, as an `xarray.Dataset`; None where a file has none."""
    import xarray as xr

    try:
        with xr.open_dataset(path, group=GROUP, engine="h5netcdf") as opened:
            return opened.load()
    except (OSError, KeyError, ValueError):
        return None
