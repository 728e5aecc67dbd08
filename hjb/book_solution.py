"""Solutions of a book: value, quotes and evidence, whatever represents the value over so many inventories.

A method writes what it found as a `Surface`: `theta` and `h` over (time to go, inventory) as a callable pytree. From it
follow the quotes (`BookPolicy`, by the true first-order condition) and the `BookSolution`, so that lattice, Riccati
equation and neural network differ in their surface only.
"""

from __future__ import annotations

import json
import math
import os
import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..models import case
from ..models._precision import in_float64, is_traced
from ..models.channels import Quotes
from ..models.multi_asset import MultiAssetDealer
from ..models.problem import as_state
from .policy import Policy
from .solution import IDLE_TOLERANCE, Result, Solution, method_to_data, write_whole

Pair = tuple[Any, Any]


class Surface(eqx.Module):
    """`theta` and `h` of a book above its marked book, money, for `tau` (...) to go and inventories `q` (..., d)."""

    kind: ClassVar[str]  # under which it is saved

    @property
    def knows_mean(self) -> bool:
        """Whether `h` is here, and not zero in its place."""
        return True

    @abstractmethod
    def both(self, tau: Any, q: Any) -> Pair:
        """`theta` and `h`, each (...); any numbers for an `h` that this surface does not know."""

    def value(self, tau: Any, q: Any) -> Any:
        """`theta`, shape (...)."""
        return self.both(tau, q)[0]

    def changes(self, tau: Any, q: Any) -> tuple[Pair, Pair]:
        """By how much a fill of each asset on the bid, and on the ask, changes `theta` and `h`: shapes (..., d)."""
        unit = jnp.eye(q.shape[-1], dtype=q.dtype)
        here = self.both(tau, q)

        def move(step: Any) -> Pair:
            there = self.both(tau, q + jnp.broadcast_to(step, q.shape))
            return there[0] - here[0], there[1] - here[1]

        up, down = (jax.vmap(move, out_axes=-1)(side * unit) for side in (1, -1))
        return up, down

    @abstractmethod
    def to_arrays(self, units: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Variables `{name: (dims, array, attributes)}` and coordinates from which `from_arrays` builds it again."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, problem: MultiAssetDealer, data: Any) -> Surface:
        """The surface from a dataset that holds what `to_arrays` gave."""


class BookPolicy(Policy):
    """The optimal quotes under a surface: each the best answer to what its fill would change."""

    surface: Surface

    @in_float64
    def _quotes(self, t: Any, state: Any) -> Quotes:
        q = jnp.asarray(self.problem.coordinate(state))
        t = jnp.broadcast_to(t, q.shape[:-1]) if jnp.ndim(t) < q.ndim else t
        q = jnp.broadcast_to(q, (*jnp.shape(t), q.shape[-1]))
        bid, ask = self.distances(jnp.clip(self.problem.horizon - t, 0.0, self.problem.horizon), q)
        sides = ((+1, bid), (-1, ask))
        return Quotes(*(jnp.where(self.problem.may_fill(side, q), distance, jnp.nan) for side, distance in sides))

    def distances(self, tau: Any, y: Any, *others: Any) -> tuple[Any, Any]:
        """Bid and ask distances, each (..., d), with `tau` (...) to go at the inventory `y` (..., d)."""
        up, down = self.surface.changes(tau, y)
        return self.problem.response(+1, *up).distance, self.problem.response(-1, *down).distance


def on_clock(tau: Any, horizon: Any, times: int) -> Pair:
    """Where `tau` lies on the clock `T (j/n)^2`, j = 0..n = times - 1: four rows (..., 4) and their cubic weights."""
    position = (times - 1) * jnp.sqrt(tau / horizon)
    first = jnp.clip(jnp.floor(position) - 1, 0, times - 4)
    u = position - first
    weights = [math.prod((u - j) / (i - j) for j in range(4) if j != i) for i in range(4)]
    return jnp.stack([first.astype(jnp.int32) + i for i in range(4)], axis=-1), jnp.stack(weights, axis=-1)


class TableSurface(Surface):
    """Values at all inventories of a lattice and at times to go `T (j/n)^2`, j = 0..n; cubics between the times.

    table:  shape (1 or 2, times, n_1, ..., n_d): theta, and h where it is known. The nodes of asset `i` are the
            whole lots from `-(n_i - 1)/2` to `(n_i - 1)/2`; other inventories are rounded to the nearest node.
    """

    kind: ClassVar[str] = "table"

    horizon: Any
    table: Any

    @property
    def knows_mean(self) -> bool:
        return self.table.shape[0] == 2

    def both(self, tau: Any, q: Any) -> Pair:
        row, weights = on_clock(tau, self.horizon, self.table.shape[1])
        found = self._gathered(row, weights, self._place(q))
        return found[0], found[-1]

    def changes(self, tau: Any, q: Any) -> tuple[Pair, Pair]:
        row, weights = on_clock(tau, self.horizon, self.table.shape[1])
        place = self._place(q)
        here = self._gathered(row, weights, place)
        sides = []
        for side in (1, -1):
            moved = []
            for i, count in enumerate(self.table.shape[2:]):
                there = [jnp.clip(index + side, 0, count - 1) if j == i else index for j, index in enumerate(place)]
                moved.append(self._gathered(row, weights, there) - here)
            whole = jnp.stack(moved, axis=-1)
            sides.append((whole[0], whole[-1]))
        return sides[0], sides[1]

    def _place(self, q: Any) -> list[Any]:
        counts = self.table.shape[2:]
        nodes = [jnp.round(q[..., i] + (count - 1) / 2) for i, count in enumerate(counts)]
        return [jnp.clip(node, 0, count - 1).astype(jnp.int32) for node, count in zip(nodes, counts, strict=True)]

    def _gathered(self, row: Any, weights: Any, place: list[Any]) -> Any:
        """(1 or 2, ...) from the table, blended over four times."""
        index = (slice(None), row, *(node[..., None] for node in place))
        return jnp.sum(jnp.asarray(self.table)[index] * weights[None], axis=-1)

    def to_arrays(self, units: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
        counts = self.table.shape[2:]
        axes = tuple(f"inventory_{i}" for i in range(len(counts)))
        names = (("value", "value above the marked book"), ("mean", "expected wealth above the marked book"))
        variables = {
            name: (("time_to_go", *axes), np.asarray(part), {"units": units["money"], "long_name": text})
            for (name, text), part in zip(names, self.table, strict=False)
        }
        sizes = zip(axes, counts, strict=True)
        nodes = {axis: (axis, np.arange(n) - (n - 1) / 2, {"units": units["state"]}) for axis, n in sizes}
        tau = self.horizon * np.linspace(0.0, 1.0, self.table.shape[1]) ** 2
        return variables, {"time_to_go": ("time_to_go", tau, {"units": units["time"]}), **nodes}

    @classmethod
    def from_arrays(cls, problem: MultiAssetDealer, data: Any) -> TableSurface:
        parts = [data[name].values for name in ("value", "mean") if name in data]
        return cls(problem.horizon, np.stack(parts))


@dataclass(frozen=True)
class BookSolution(Solution):
    """Value, mean and quotes of a book over time and inventory, with the evidence that they can be trusted.

    As `Solution`, but every inventory has the assets on its last axis, `quotes` gives arrays of shape (..., d), and
    what was found is a `surface`; `tables` is empty.

    residual_found:  the largest defect left by the method, relative, see the method.
    error_found:     estimated absolute error of `value` at time 0 and zero inventory; nan: not estimated.
    reason:          a `Result` other than converged that the method itself came to.
    """

    tables: Any = None
    power: int = 2
    stats: dict[str, Any] = field(default_factory=dict)
    formula: Policy | None = None
    surface: Any = None  # a Surface
    residual_found: Any = np.nan
    error_found: Any = np.nan
    reason: Result = Result.CONVERGED

    @property
    def policy(self) -> BookPolicy:
        """The optimal quotes as a callable pytree `policy(t, state) -> Quotes`, whose arrays end in the assets."""
        return BookPolicy(self.problem, self.surface)

    def quotes(self, t: Any = 0.0, **state: Any) -> Quotes:
        """Bid and ask distances at `t`, each (..., d); `nan` where the dealer does not quote."""
        return self.policy(t, {"inventory": self._inventory(t, state)})

    @property
    def mean(self) -> Any:
        """A surface that holds `h` as well; found at first use where the method does not need it itself."""
        if not self.surface.knows_mean:
            object.__setattr__(self, "surface", self.method.book_with_mean(self.problem))
        return self.surface

    def value(self, t: Any = 0.0, **state: Any) -> Any:
        """`theta(t, q)`, what the objective is worth above the marked book, money; `inventory` has shape (..., d)."""
        return _at(self.problem, self.surface, 0, t, self._inventory(t, state))

    def expected_wealth(self, t: Any = 0.0, **state: Any) -> Any:
        """`h(t, q)`, expected wealth above the marked book under the solution's own quotes, money."""
        return _at(self.problem, self.mean, 1, t, self._inventory(t, state))

    def _inventory(self, t: Any, given: dict[str, Any]) -> Any:
        self._check_time(t)
        if unknown := [name for name in given if name not in self.problem.names]:
            as_state(self.problem, {unknown[0]: 0.0})  # raises, naming it
        q = self.problem.coordinate(given)
        if is_traced(q):
            return q
        if not np.all(np.abs(q - np.round(q)) <= 1e-9):  # so written, nan does not pass
            raise ValueError(f"inventory must be a whole number of lots in every asset, got {q}")
        limit = self.problem.limit
        if np.any(np.abs(q) > limit):
            asset = int(np.argmax(np.max(np.abs(q.reshape(-1, limit.size)), axis=0) / limit))
            raise ValueError(
                f"inventory={q[..., asset].flat[np.argmax(np.abs(q[..., asset]))]:g} lies outside the limit of "
                f"+-{limit[asset]:g} lots of asset {asset}"
            )
        return q

    @property
    def residual(self) -> Any:
        """The largest defect that the method left, relative; each method says of what."""
        return self.residual_found if is_traced(self.residual_found) else float(self.residual_found)

    @property
    def error_estimate(self) -> Any:
        """Estimated absolute error of `value` at time 0 with an empty book, money; nan where there is none."""
        return self.error_found if is_traced(self.error_found) else float(self.error_found)

    @property
    def result(self) -> Result:
        """Computed from what was found: nothing can be declared converged."""
        if self.reason is not Result.CONVERGED:
            return self.reason
        if self.stats.get("idle_share", 0.0) > IDLE_TOLERANCE:  # first: it makes the others happen
            return Result.ILL_POSED
        if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(self.surface)):
            return Result.NOT_FINITE
        if not float(self.residual) <= getattr(self.method, "tolerance", np.inf):
            return Result.RESIDUAL
        return Result.CONVERGED

    def __repr__(self) -> str:
        said = self.result.value if not is_traced(self.surface) else "traced"
        return (
            f"BookSolution({type(self.problem).__name__} of {self.problem.dimension} assets by "
            f"{type(self.method).__name__}; {said})"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write NetCDF with units and the full case inside, whole or not at all; returns the path."""
        import xarray as xr

        path = Path(path)
        variables, coordinates = self.surface.to_arrays(self.problem.units)
        stated = {"problem": case.to_data(self.problem), "method": method_to_data(self.method)}
        data = xr.Dataset(
            variables,
            coords=coordinates,
            attrs={
                "title": "twosided solution",
                "book": self.surface.kind,
                "case": json.dumps(stated),
                "stats": json.dumps(self.stats),
                "residual": float(self.residual),
                "error": float(self.error_estimate),
                "reason": self.reason.name,
            },
        )
        write_whole(path, lambda part: data.to_netcdf(part, engine="h5netcdf"))
        return path


def restored(problem: MultiAssetDealer, method: Any, data: Any, kinds: dict[str, type[Surface]]) -> BookSolution:
    """The solution from a dataset that `BookSolution.save` wrote; `kinds` are the surfaces it may hold, by name."""
    return BookSolution(
        problem,
        method,
        stats=json.loads(data.attrs["stats"]),
        surface=kinds[data.attrs["book"]].from_arrays(problem, data),
        residual_found=float(data.attrs["residual"]),
        error_found=float(data.attrs["error"]),
        reason=Result[data.attrs["reason"]],
    )


def defect(problem: MultiAssetDealer, surface: Surface, tau: Any, q: Any) -> Pair:
    """By how much `theta` misses its equation, `theta_tau` minus what it should be, and what fills bring, each (...).

    Money per unit of time, at `tau` (...) to go and inventories `q` (..., d); limits are kept.
    """
    by_time = jax.jvp(lambda tau: surface.value(tau, q), (tau,), (jnp.ones_like(tau),))[1]
    earned = jnp.zeros_like(by_time)
    for side, change in zip((+1, -1), surface.changes(tau, q), strict=True):
        gain = problem.response(side, *change).gain
        earned = earned + jnp.sum(jnp.where(problem.may_fill(side, q), gain, 0.0), axis=-1)
    return by_time - (problem.income(q) - problem.running_cost(q) + earned), earned


def timed(problem: MultiAssetDealer, solve: Callable[[Any], BookSolution]) -> BookSolution:
    """Solve in double precision, and say how long it took."""
    if is_traced(problem):
        if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
            raise ValueError(
                "solve runs in double precision: put `with jax.enable_x64(True):` around the outer jit, grad or vmap"
            )
        return solve(problem)
    started = time.perf_counter()
    with jax.enable_x64(True):
        solution = solve(problem)
    solution.stats["seconds"] = time.perf_counter() - started
    return solution


@in_float64
def _at(problem: Any, surface: Any, which: Any, t: Any, q: Any) -> Any:
    q = jnp.asarray(q)
    t = jnp.broadcast_to(t, q.shape[:-1]) if jnp.ndim(t) < q.ndim else t
    q = jnp.broadcast_to(q, (*jnp.shape(t), q.shape[-1]))
    value, mean = surface.both(jnp.clip(problem.horizon - t, 0.0, problem.horizon), q)
    return jnp.where(which == 0, value, mean)
