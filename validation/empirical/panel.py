"""A panel: rows of stock and period, columns that carry their names, units and what they measure.

What a column cannot be is said as well: `left_out` names it and gives the reason, so that a regression on what is left
never holds a silent column of zeros.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

BID, ASK, VOLUME = "bid", "ask", "volume"
INDEX = ("stock", "period")
UNITS = {
    BID: "price",
    ASK: "price",
    "reference": "price",
    VOLUME: "lots",
    "volatility": "per √year",
    "liquidity": "orders per day",
    "inventory": "lots",
    "funding_cost": "per year",
    "risk_aversion": "per lot's value",
}
"""Of a panel file's columns whose heads name no unit."""


@dataclass(frozen=True, eq=False)
class Panel:
    """Observations of one or more stocks over time, sorted by stock and period.

    source:      where they come from.
    stock:       (n,) names.
    period:      (n,) numbers that count `period_unit`s; no stock has one twice.
    columns:     name to (n,) numbers; `nan` is missing.
    units:       name to unit, for every column, such as "per √second".
    notes:       name to a sentence on how a column was measured, where that is not plain.
    left_out:    name to the reason why a wanted column is not there.

    Raises `ValueError` naming the column that is of another length, has no unit, or the row that is there twice.
    """

    source: str
    stock: np.ndarray
    period: np.ndarray
    period_unit: str
    columns: Mapping[str, np.ndarray]
    units: Mapping[str, str]
    notes: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        stock = np.asarray(self.stock, dtype=str)
        period = np.asarray(self.period, dtype=float)
        rows = len(stock)
        if not np.isfinite(period).all():
            raise ValueError(f"{self.source}: period must be numbers, row {_first(~np.isfinite(period))} has none")
        columns = {name: np.array(values, dtype=float) for name, values in self.columns.items()}
        for name, values in {"period": period, **columns}.items():
            if values.shape != (rows,):
                raise ValueError(
                    f"{self.source}: {name} has shape {values.shape} for {rows} rows; give one number each"
                )
        unknown = [name for name in columns if name not in self.units]
        if unknown:
            raise ValueError(f"{self.source}: {unknown[0]} has no unit; state it in units")
        order = np.lexsort((period, stock))
        stock, period = stock[order], period[order]
        twice = (stock[1:] == stock[:-1]) & (period[1:] == period[:-1])
        if twice.any():
            row = _first(twice)
            raise ValueError(
                f"{self.source}: stock {stock[row]} has period {period[row]:g} twice; give one row for each"
            )
        object.__setattr__(self, "stock", stock)
        object.__setattr__(self, "period", period)
        object.__setattr__(self, "columns", {name: values[order] for name, values in columns.items()})

    def __len__(self) -> int:
        return len(self.stock)

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> np.ndarray:
        """A column, (n,). Raises `ValueError` where there is none, with the reason if one is known."""
        if name not in self.columns:
            reason = self.left_out.get(name, f"there are {', '.join(self.columns)}")
            raise ValueError(f"{self.source}: no column {name}: {reason}")
        return self.columns[name]

    def __repr__(self) -> str:
        names = ", ".join(f"{name} [{self.units[name]}]" for name in self.columns)
        return f"Panel({self.source}: {len(self)} rows, {len(self.stocks)} stocks; {names})"

    @property
    def stocks(self) -> list[str]:
        """The stocks' names, each once."""
        return [str(name) for name in np.unique(self.stock)]

    def take(self, rows: np.ndarray) -> Panel:
        """The panel of some rows: a mask (n,) or their indices."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return replace(self, stock=self.stock[rows], period=self.period[rows], columns=columns)

    def with_columns(
        self, columns: Mapping[str, np.ndarray], units: Mapping[str, str], notes: Mapping[str, str] | None = None
    ) -> Panel:
        """The panel with further columns (n,), or other ones under the same names."""
        left_out = {name: reason for name, reason in self.left_out.items() if name not in columns}
        return replace(
            self,
            columns={**self.columns, **columns},
            units={**self.units, **units},
            notes={**self.notes, **(notes or {})},
            left_out=left_out,
        )

    def without(self, reasons: Mapping[str, str]) -> Panel:
        """The panel without the columns that `reasons` names, which stay on record with their reasons."""
        columns = {name: values for name, values in self.columns.items() if name not in reasons}
        return replace(self, columns=columns, left_out={**self.left_out, **reasons})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a NetCDF file: one variable per column with its unit, along the dimension `row`."""
        import xarray as xr

        def attributes(name: str) -> dict[str, str]:
            note = self.notes.get(name)
            return {"units": self.units[name], **({"comment": note} if note else {})}

        data = xr.Dataset(
            {name: ("row", values, attributes(name)) for name, values in self.columns.items()},
            coords={
                "stock": ("row", self.stock.astype(object)),
                "period": ("row", self.period, {"units": self.period_unit}),
            },
            attrs={"source": self.source, "left_out": json.dumps(dict(self.left_out))},
        )
        data.to_netcdf(path, engine="h5netcdf")

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Panel:
        """What `save` wrote. Raises `ValueError` where the file is no panel."""
        import xarray as xr

        try:
            with xr.open_dataset(path, engine="h5netcdf") as opened:
                data = opened.load()
            return Panel(
                source=str(data.attrs["source"]),
                stock=data["stock"].values.astype(str),
                period=data["period"].values,
                period_unit=str(data["period"].attrs["units"]),
                columns={str(name): data[name].values for name in data.data_vars},
                units={str(name): str(data[name].attrs["units"]) for name in data.data_vars},
                notes={str(n): str(data[n].attrs["comment"]) for n in data.data_vars if "comment" in data[n].attrs},
                left_out=json.loads(data.attrs["left_out"]),
            )
        except FileNotFoundError:
            raise
        except (OSError, KeyError) as error:
            raise ValueError(f"{path}: not a panel that was saved here ({error}); give a panel.nc") from None


def read_panel(path: str | os.PathLike[str]) -> Panel:
    """Read a panel from a CSV file whose first line names stock, period, bid, ask, volume and whatever else there is.

    A head may carry its unit in brackets, `volatility [per √year]`; the period's unit is a day unless it says so. An
    empty cell is missing. Raises `ValueError` of one line that names file, line and mend.
    """
    path = Path(path)
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error):
        raise ValueError(f"{path.name}: not a text file of commas; give a CSV with the heads {_HEADS}") from None
    if len(lines) < 2:
        raise ValueError(f"{path.name}: no rows; give a line of heads ({_HEADS}) and one line for each observation")
    heads = [_head(text) for text in lines[0]]
    names = [name for name, _ in heads]
    for name in (*INDEX, BID, ASK, VOLUME):
        if names.count(name) != 1:
            raise ValueError(
                f"{path.name}, line 1: needs one column {name}, has {names.count(name)}; heads are {_HEADS}"
            )
    cells: dict[str, list[Any]] = {name: [] for name in names}
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        if len(line) != len(names):
            raise ValueError(f"{path.name}, line {number}: {len(line)} cells for {len(names)} heads; mend the line")
        for name, cell in zip(names, line, strict=True):
            cells[name].append(cell.strip() if name == "stock" else _number(cell, path.name, number, name))
    units = {name: unit or UNITS.get(name, "unit not stated") for name, unit in heads if name not in INDEX}
    return Panel(
        source=path.name,
        stock=np.array(cells["stock"], dtype=str),
        period=np.array(cells["period"]),
        period_unit=dict(heads)["period"] or "day",
        columns={name: np.array(cells[name]) for name in units},
        units=units,
    )


_HEADS = "stock, period, bid, ask, volume, ..."


def _head(text: str) -> tuple[str, str]:
    """Name and unit of `name [unit]`."""
    found = re.fullmatch(r"\s*(.*?)\s*(?:\[(.*)\])?\s*", text)
    assert found is not None  # the pattern takes any text
    return found[1].lower().replace(" ", "_"), (found[2] or "").strip()


def _number(cell: str, name: str, line: int, column: str) -> float:
    if not cell.strip():
        return float("nan")
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"{name}, line {line}: {column} is {cell!r}; give a number, or nothing") from None


def _first(where: np.ndarray) -> int:
    return int(np.argmax(where))
