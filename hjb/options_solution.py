"""What a solved options book says: value, quotes, the profit's mean and deviation, over time, vega and variance."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..models import case
from ..models._precision import in_float64, is_traced
from ..models.channels import Quotes
from ..models.options_book import best_response, of_channel
from ._interpolation import cubic
from ._vega_grid import in_chunks
from .policy import Policy
from .solution import Solution, method_to_data, write_whole

POINTS = 100.0  # of volatility to one
_CHUNK = 2048  # places at which a table is read in one call


class OptionsPolicy(Policy):
    """The optimal quotes of every option, from the value: `policy(t, state) -> Quotes`, prices (..., options).

    `state` has the book's `vega` and, where it is not the one of time 0, the `variance`. Quotes at a variance beyond
    the grid are those at its end. They are nan where a fill would cross the limit.
    """

    table: Any  # the value, (times, vega, variance)
    trade: Any
    vegas: Any
    first: Any  # the lowest vega and variance
    spacing: Any

    @property
    def dimension(self) -> int:
        return 2

    def _quotes(self, t: Any, state: Any) -> Quotes:
        vega, variance = state["vega"], state.get("variance", self.problem.variance)
        traced = is_traced(self, t, vega, variance)
        xp = jnp if traced else np
        t, vega, variance = (x[..., None] for x in xp.broadcast_arrays(*map(xp.asarray, (t, vega, variance))))
        signed = xp.concatenate([self.trade, -self.trade]).reshape((1,) * (t.ndim - 1) + (-1,))
        landed = vega + signed
        price = (self.value(t, vega, variance) - self.value(t, landed, variance)) / xp.abs(signed)
        allowed = xp.abs(landed) <= self.problem.vega_limit + 1e-9 * xp.abs(signed)
        sides = []
        for part, demand in enumerate((self.problem.bid_demand, self.problem.ask_demand)):
            own = slice(part * self.trade.shape[0], (part + 1) * self.trade.shape[0])
            distance, _ = (best_response if traced else in_chunks)(demand, price[..., own])
            vegas = xp.asarray(self.vegas).reshape((*signed.shape[:-1], -1))
            sides.append(xp.where(allowed[..., own], distance * vegas, xp.nan))
        return Quotes(*sides)

    def volatility(self, t: Any, vega: Any, variance: Any, side: Any, option: Any) -> Any:
        """The distance in implied volatility of one channel at each of many states; all arrays of one shape."""
        trade = jnp.asarray(self.trade)[option]
        landed = vega + side * trade
        allowed = jnp.abs(landed) <= self.problem.vega_limit + 1e-9 * trade
        price = (self.value(t, vega, variance) - self.value(t, landed, variance)) / trade
        distance = of_channel(self.problem, side, option).best_response(lambda ratio: price + ratio)
        return jnp.where(allowed, distance, jnp.nan)

    def value(self, t: Any, vega: Any, variance: Any) -> Any:
        """`v` between the nodes, by cubics."""
        return _between(self.table, self.problem.horizon, self.first, self.spacing, t, vega, variance)


def _between(table: Any, horizon: Any, first: Any, spacing: Any, t: Any, vega: Any, variance: Any) -> Any:
    """A table (times, vega, variance) between its nodes, by cubics; beyond its ends it is what it is there."""
    if is_traced(table, horizon, t, vega, variance):
        return _read_off(table, horizon, first, spacing, *jnp.broadcast_arrays(t, vega, variance))
    places = np.broadcast_arrays(*(np.asarray(x, float) for x in (t, vega, variance)))
    flat = np.stack([place.ravel() for place in places])
    flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % _CHUNK)), mode="edge")  # one compiled shape for every question
    parts = [
        _read_off(table, horizon, first, spacing, *flat[:, i : i + _CHUNK]) for i in range(0, flat.shape[1], _CHUNK)
    ]
    return np.concatenate(parts)[: places[0].size].reshape(places[0].shape)[()]


@in_float64
def _read_off(table: Any, horizon: Any, first: Any, spacing: Any, t: Any, vega: Any, variance: Any) -> Any:
    row = (table.shape[0] - 1) * jnp.sqrt(jnp.clip(1 - t / horizon, 0.0, 1.0))
    places = [
        jnp.clip((x - first[i]) / spacing[i], 0.0, table.shape[i + 1] - 1.0) for i, x in enumerate((vega, variance))
    ]
    return cubic(table, row, *places)


@dataclass(frozen=True, repr=False)
class OptionsSolution(Solution):
    """Value, quotes and the profit's first two moments over time, vega and variance, with the evidence for them.

    `value` and `expected_wealth` are money ahead of the marked book, by the horizon; `vega` is in money per unit of
    volatility; `variance` is the one of time 0 where it is not said.
    """

    profit_variance: Any = None  # (times, vega, variance), money squared

    @property
    def policy(self) -> OptionsPolicy:
        book, (first, spacing) = self.problem, self._lattice
        return OptionsPolicy(
            book, np.asarray(self.tables.value), np.asarray(book.size), np.asarray(book.vegas), first, spacing
        )

    @property
    def _lattice(self) -> tuple[np.ndarray, np.ndarray]:
        axes = self.tables.axes
        return np.array([axis[0] for axis in axes]), np.array([axis[1] - axis[0] for axis in axes])

    def value(self, t: Any = 0.0, **state: Any) -> Any:
        """`v`: the mean profit less the charge for vega carried, money."""
        return self._read(self.tables.value, t, state)

    def expected_wealth(self, t: Any = 0.0, **state: Any) -> Any:
        """The mean profit from `t` to the horizon under the best quotes, money."""
        return self._read(self.tables.mean, t, state)

    def profit_deviation(self, t: Any = 0.0, **state: Any) -> Any:
        """The standard deviation of that profit, money."""
        return np.sqrt(np.maximum(self._read(self.profit_variance, t, state), 0.0))

    def quotes(self, t: Any = 0.0, **state: Any) -> Quotes:
        """Distances from the model's prices, in price, (..., options); nan where a fill would cross the limit."""
        return self.policy(t, self._completed(t, state))

    def volatility_quotes(self, t: Any = 0.0, **state: Any) -> Quotes:
        """The same distances in points of implied volatility, `100 delta_i/Vega_i`: 1 is one point."""
        vegas = np.asarray(self.problem.vegas)
        bid, ask = self.quotes(t, **state)
        return Quotes(POINTS * bid / vegas, POINTS * ask / vegas)

    def _read(self, table: Any, t: Any, state: dict[str, Any]) -> Any:
        named = self._completed(t, state)
        return _between(table, self.problem.horizon, *self._lattice, t, *(named[name] for name in self.names))

    def _completed(self, t: Any, state: dict[str, Any]) -> dict[str, Any]:
        unknown = [name for name in state if name not in self.names]
        if unknown:
            raise TypeError(f"OptionsBook has no state {unknown[0]!r}; its state is {', '.join(self.names)}")
        self._check_time(t)
        named = {"vega": 0.0, "variance": float(self.problem.variance), **state}
        for name, axis in zip(self.names, self.tables.axes, strict=True):
            if not is_traced(named[name]):
                self._check_inside(name, named[name], axis)
        return named

    def _check_inside(self, name: str, state: Any, axis: Any) -> None:
        low, high = float(axis[0]), float(axis[-1])
        slack = 1e-9 * (high - low)
        given = np.asarray(state, float)
        if not (np.all(given >= low - slack) and np.all(given <= high + slack)):
            culprit = float(given.flat[np.argmax(np.maximum(low - given, given - high))])
            mend = "" if name == "vega" else "; widen variance_range"
            raise ValueError(f"{name}={culprit:g} lies outside the solved range of {low:g} to {high:g}{mend}")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write NetCDF with units and the full case inside, whole or not at all; returns the path."""
        import xarray as xr

        tables, dims = self.tables, ("time_to_go", "vega", "variance")
        rows = {
            "value": (tables.value, "money", "mean profit less the charge for vega, from now to the horizon"),
            "mean": (tables.mean, "money", "mean profit from now to the horizon"),
            "profit_variance": (self.profit_variance, "money^2", "variance of that profit"),
        }
        data = xr.Dataset(
            {name: (dims, table, {"units": unit, "long_name": text}) for name, (table, unit, text) in rows.items()},
            coords={
                "time_to_go": ("time_to_go", tables.tau, {"units": "years"}),
                "vega": ("vega", tables.axes[0], {"units": "money per unit of volatility"}),
                "variance": ("variance", tables.axes[1], {"units": "per year"}),
            },
            attrs={
                "title": "twosided solution",
                "case": json.dumps({"problem": case.to_data(self.problem), "method": method_to_data(self.method)}),
                "stats": json.dumps({**self.stats, "iterations": int(tables.iterations)}),
                "residual": float(tables.residual),
                "error_estimate": float(tables.error[0, 0, 0]),
                "quote_error": float(tables.quote_error[0, 0, 0]),
            },
        )
        write_whole(Path(path), lambda part: data.to_netcdf(part, engine="h5netcdf"))
        return Path(path)
