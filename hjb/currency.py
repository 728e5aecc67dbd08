"""The currency dealer solved: ladders of quotes, the rate of hedging, and the band in which it does not hedge.

Two routes to one value function (see `_currency_equation`). `FiniteDifference` takes monotone differences and
implicit steps on three grids, each with half the nodes and steps of the next, and extrapolates their first and second
orders away. `Lattice` takes whole lots, differences of third order and an adaptive integrator. What is left of either
is judged by the solution's `error_estimate`.
"""

from __future__ import annotations

import json
import os
import time
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import RectBivariateSpline

from ..models._precision import is_traced
from ..models.channels import Quotes
from ..models.currency import CurrencyDealer
from ..models.currency_book import CurrencyBook
from ..models.problem import as_state
from ._band import Band, waiting_band
from ._currency_equation import Bands, CurrencyEquation
from ._currency_levels import doubled, extrapolated, left_by_lots
from ._currency_march import Marched, carried, integrate, march
from ._tables import Tables, clock
from .closed_form import ClosedForm
from .currency_book import check_number, restored_book, solve_book, stated
from .finite_difference import FiniteDifference
from .lattice import Lattice
from .policy import Policy
from .solution import Solution, check_inside, write_whole

_STEPS, _PER_LOT, _TIMES, _LAW_NODES = 32, 4, 64, 1000
_COMPARED = 1e-7  # tolerance of a solve that is only compared with


class Internalisation(NamedTuple):
    """How much of the risk the dealer leaves for clients to take off again, as shares between 0 and 1.

    volume:  of the clients' volume, what is not hedged: one less hedged over client volume.
    waiting: of the clients' volume, what is traded with a dealer who then stays out of the market, for its position
             lies within the band after the trade.
    time:    of the time, what is spent within the band.
    """

    volume: float
    waiting: float
    time: float


class CurrencySolution(Solution):
    """Value, quotes and hedging of a currency dealer over time and position, with the evidence for them.

    `t` in days runs forward from 0, `inventory` is in M, value in bp M, distances in bp. Quotes and the rate of hedging
    are worked out from the value function, so that they hold between nodes, too; only value is tabulated.
    """

    problem: CurrencyDealer

    @property
    def policy(self) -> Any:
        """The optimal quotes as a callable `policy(t, state) -> Quotes` of ladders; NumPy, not for `jit`."""
        return CurrencyPolicy(self.problem, self)

    def value(self, t: Any = 0.0, **state: Any) -> Any:
        """`theta(t, q)`, bp M above the marked book."""
        return self._read(self._surface, t, self._position(t, state))

    def quotes(self, t: Any = 0.0, tier: Any = None, size: float | None = None, **state: Any) -> Quotes:
        """Distances in bp, of shape (..., tiers, sizes), `...` that of `t` and the inventory; nan beyond the limit.

        `tier` (counted from 0) and `size` (M, one of the problem's) pick from the ladder, whose axis then drops out.
        """
        t, q = np.broadcast_arrays(np.asarray(t, float), self._position(t, state))
        sides = [self._ladder(side, t, q) for side in (+1, -1)]
        if size is not None:
            number = self._number(size)
            sides = [ladder[..., number] for ladder in sides]
        if tier is not None:
            check_number("tier", tier, self.problem.tiers)
            sides = [ladder[..., tier] if size is not None else ladder[..., tier, :] for ladder in sides]
        return Quotes(*sides)

    def reservation(self, side: Any, t: Any, inventory: Any, size: Any) -> Any:
        """`(theta(q) - theta(q +- z))/z`, bp: at this distance a fill of `size` M would leave the dealer as it was."""
        after = np.clip(inventory + side * size, *self.tables.y[[0, -1]])
        return (self._read(self._surface, t, inventory) - self._read(self._surface, t, after)) / size

    def hedge_rate(self, t: Any = 0.0, **state: Any) -> Any:
        """`v(t, q)`, M per day bought in the market (negative: sold); zero within the band."""
        if self.problem.hedging is None:
            return np.zeros(np.shape(self.value(t, **state)))
        q = self._position(t, state)
        rate = self.problem.hedging.rate(self._pressure(t, q))
        return np.where(np.abs(q) >= self.problem.max_inventory, -np.sign(q) * np.maximum(-np.sign(q) * rate, 0), rate)

    def internalisation_threshold(self, t: float = 0.0) -> Band:
        """Up to which positions (M) the dealer waits for clients, at `t`; beyond them it hedges at least a little."""
        self._check_time(t)
        if self.problem.hedging is None:
            return Band(-np.inf, np.inf)
        return waiting_band(lambda q: self._pressure(t, q), float(self.problem.hedging.half_spread), self.tables.y)

    def internalisation(self, t: float = 0.0) -> Internalisation:
        """How much is internalised in the long run of the quotes and the hedging of time `t`.

        From the stationary law of the position with hedging read as a chain of small trades, on two grids whose first
        order in the size of those trades is extrapolated away.
        """
        self._check_time(t)
        lots = 2 * float(self.problem.max_inventory / self.problem.size)
        coarse = max(1, round(_LAW_NODES / lots))
        rough, fine = (self._shares(t, CurrencyEquation(self.problem, per_lot)) for per_lot in (coarse, 2 * coarse))
        return Internalisation(*np.minimum(2 * fine - rough, 1.0).tolist())

    def _shares(self, t: float, equation: CurrencyEquation) -> np.ndarray:
        theta = self._read(self._surface, np.full(equation.q.shape, t), equation.q)
        law, speed = equation.linearised(theta)[1].stationary_law(), equation.speed(theta)
        volume, waits = law @ equation.volume(theta), speed == 0
        return np.array(
            [
                1 - law @ np.abs(speed) / volume,
                law @ equation.volume(theta, waits) / volume,
                law @ waits,
            ]
        )

    @property
    def mean(self) -> Any:
        """Expected wealth under the solution's own quotes, above the marked book, on the tables' nodes."""
        if self.tables.mean is None:
            equation = CurrencyEquation(self.problem, 1, wide=True)

            def moment(tau: float) -> tuple[Bands, np.ndarray]:
                theta = self._surface(np.sqrt(tau / self.tables.tau[-1]), equation.q)[0]
                rate, generator = equation.linearised(theta)
                return generator, rate + equation.cost - generator.times(theta)

            mean = RectBivariateSpline(self._share, equation.q, carried(self.tables.tau, moment))
            object.__setattr__(self, "tables", self.tables._replace(mean=mean(self._share, self.tables.y)))
        return self.tables.mean

    def expected_wealth(self, t: Any = 0.0, **state: Any) -> Any:
        return self._read(self._mean_surface, t, self._position(t, state))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write NetCDF with units and the full case inside, whole or not at all; returns the path."""
        return _save(self, Path(path))

    @property
    def _share(self) -> np.ndarray:
        return np.sqrt(self.tables.tau / self.tables.tau[-1])

    @property
    def _per_lot(self) -> int:
        return round(float(self.problem.size) / float(self.tables.y[1] - self.tables.y[0]))

    @cached_property
    def _surface(self) -> RectBivariateSpline:
        return self._spline(self.tables.value)

    @cached_property
    def _mean_surface(self) -> RectBivariateSpline:
        return self._spline(self.mean)

    def _spline(self, table: Any) -> RectBivariateSpline:
        return RectBivariateSpline(self._share, self.tables.y, table, kx=min(3, len(self.tables.tau) - 1))

    def _read(self, surface: RectBivariateSpline, t: Any, q: Any, slope: int = 0) -> Any:
        t, q = np.broadcast_arrays(np.asarray(t, float), np.asarray(q, float))
        left = np.clip(float(self.problem.horizon) - t, 0.0, None)
        return surface.ev(np.sqrt(left / float(self.problem.horizon)), q, dy=slope)

    def _pressure(self, t: Any, q: Any) -> Any:
        """`theta_q + k q`, bp."""
        return self._read(self._surface, t, q, slope=1) + float(self.problem.impact) * np.asarray(q)

    def _position(self, t: Any, given: dict[str, Any]) -> np.ndarray:
        q = np.asarray(as_state(self.problem, given)["inventory"])
        self._check_time(t)
        check_inside(self.problem, "inventory", q, self.tables.y)
        return q

    def _number(self, size: float) -> int:
        found = np.flatnonzero(np.isclose(self.problem.sizes, size))
        if found.size == 0:
            raise ValueError(f"size must be one of {', '.join(f'{z:g}' for z in self.problem.sizes)} M, got {size:g}")
        return int(found[0])

    def _ladder(self, side: int, t: np.ndarray, q: np.ndarray) -> np.ndarray:
        sizes = self.problem.sizes
        price = self.reservation(side, t[..., None], q[..., None], sizes)
        distance = self.problem.response(side, price)[0]
        return np.where(self.problem.room(side, q)[..., None, :], distance, np.nan)


class CurrencyPolicy(Policy):
    """The solution's ladders and hedging as a policy; a position beyond the limit is taken as the limit."""

    solution: CurrencySolution

    def __call__(self, t: Any, state: Any) -> Quotes:
        return self.solution.quotes(t, inventory=self.problem.coordinate(state))

    def hedge(self, t: Any, state: Any) -> Any:
        """`v`, M per day."""
        return self.solution.hedge_rate(t, inventory=self.problem.coordinate(state))


def solve_currency(problem: CurrencyDealer | CurrencyBook, method: Any) -> Solution:
    """Solve one pair by `FiniteDifference` or `Lattice`, one or several by `ClosedForm` or `Neural`."""
    if isinstance(method, ClosedForm):
        return solve_book(problem, method)
    if hasattr(method, "trained"):  # `Neural`, which is imported only where it is wanted
        from .neural.currency import solve_by_network

        return solve_by_network(problem, method)
    if isinstance(problem, CurrencyBook):
        raise ValueError(
            f"CurrencyBook is solved by ClosedForm() or Neural(), not by {type(method).__name__}, which takes one pair"
        )
    if is_traced(problem):
        raise ValueError("CurrencyDealer is solved outside jit, grad and vmap: its numbers are worked out by NumPy")
    if not isinstance(method, FiniteDifference | Lattice):
        raise ValueError(
            "CurrencyDealer is solved by FiniteDifference(), Lattice(), ClosedForm() or Neural(), "
            f"not by {type(method).__name__}"
        )
    if method.half_width is not None:
        raise ValueError(f"{type(method).__name__}: leave half_width out; CurrencyDealer's max_inventory is the grid's")
    started = time.perf_counter()
    by_differences = isinstance(method, FiniteDifference)
    tables, stats = _by_differences(problem, method) if by_differences else _on_lattice(problem, method)
    stats = {"method": type(method).__name__, "seconds": time.perf_counter() - started, **stats}
    return CurrencySolution(problem, method, tables, 2, stats)


def _by_differences(problem: CurrencyDealer, method: FiniteDifference) -> tuple[Tables, dict[str, Any]]:
    per_lot, steps = method.nodes_per_lot or _PER_LOT, method.steps or _STEPS
    equations = [CurrencyEquation(problem, per_lot // factor) for factor in ((1, 2, 4) if method.extrapolate else (1,))]
    levels = [march(equation, steps, method.tolerance, method.max_iterations) for equation in equations]
    theta, error = extrapolated([level.theta for level in levels], int(equations[-1].jumps[-1]))
    if method.extrapolate:  # what the step in time costs is told by the roughest grid, which is cheapest
        levels.append(march(equations[-1], steps // 2, method.tolerance, method.max_iterations))
        error = error + doubled(doubled(np.abs(levels[-1].theta - levels[-2].theta[::2]), 0), 1, 2)
    least = min(level.least_off_diagonal for level in levels)
    return _tables(equations[0], steps, theta, error, levels), {"least_off_diagonal": least}


def _on_lattice(problem: CurrencyDealer, method: Lattice) -> tuple[Tables, dict[str, Any]]:
    """The error is what twice the nodes to the lot change, and the integrator's tolerance."""
    equation, times = CurrencyEquation(problem, 1, wide=True), min(method.times, _TIMES)
    found = integrate(equation, times, method.tolerance)
    error = np.full_like(found.theta, np.nan)
    if problem.hedging is None:  # then only fills move a position, over whole lots
        error = np.zeros_like(found.theta)
    elif np.all(np.isfinite(found.theta)):
        halves = integrate(CurrencyEquation(problem, 2, wide=True), times, max(method.tolerance, _COMPARED))
        error = left_by_lots(found.theta, halves.theta, int(equation.jumps[-1]))
    return _tables(equation, times, found.theta, error + method.tolerance * np.max(np.abs(found.theta)), [found]), {}


def _tables(
    equation: CurrencyEquation, steps: int, theta: np.ndarray, error: np.ndarray, levels: list[Marched]
) -> Tables:
    tau = clock(steps) * float(equation.problem.horizon)
    iterations, residual = sum(level.iterations for level in levels), max(level.residual for level in levels)
    return Tables(tau, (equation.q,), theta, None, None, None, residual, error, np.full((1, 1), np.nan), iterations)


def _save(solution: CurrencySolution, path: Path) -> Path:
    import xarray as xr

    tables, units = solution.tables, solution.problem.units
    axes = ("time_to_go", "inventory")
    rows = {
        "value": (tables.value, "value above the marked book"),
        "mean": (solution.mean, "expected wealth above the marked book"),
        "error": (tables.error, "estimated absolute error of value"),
    }
    data = xr.Dataset(
        {name: (axes, array, {"units": units["money"], "long_name": text}) for name, (array, text) in rows.items()},
        coords={
            "time_to_go": ("time_to_go", tables.tau, {"units": units["time"]}),
            "inventory": ("inventory", tables.y, {"units": units["state"]}),
        },
        attrs=stated(solution),
    )
    write_whole(path, lambda part: data.to_netcdf(part, engine="h5netcdf"))
    return path


def restored(problem: CurrencyDealer | CurrencyBook, method: Any, data: Any) -> Solution:
    """The solution that `save` wrote as `data`; called by `Solution.load`."""
    if isinstance(problem, CurrencyBook):
        return restored_book(problem, method, data)
    stats = json.loads(data.attrs["stats"])
    tables = Tables(
        tau=data["time_to_go"].values,
        axes=(data["inventory"].values,),
        value=data["value"].values,
        mean=data["mean"].values,
        bid=None,
        ask=None,
        residual=float(data.attrs["residual"]),
        error=data["error"].values,
        quote_error=np.full((1, 1), np.nan),
        iterations=stats.pop("iterations"),
    )
    return CurrencySolution(problem, method, tables, 2, stats)
