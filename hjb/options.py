"""An options book solved by finite differences in vega and variance.

See `_vega_grid` for the equation and its scheme. Three grids, each with half the intervals and steps of the next, give
Richardson's extrapolation, its error estimate, and the order of convergence seen.
"""

from __future__ import annotations

import json
import time
from typing import Any

import equinox as eqx
import numpy as np
from scipy.interpolate import CubicSpline

from ..models._precision import is_traced
from ..models.heston import Heston
from ..models.options_book import OptionsBook, best_response
from ._tables import Tables, clock
from ._vega_grid import Marched, VegaEquation, VegaRange, march
from .finite_difference import FiniteDifference
from .options_solution import OptionsSolution

_DEVIATIONS = 6.0  # of the variance at the horizon, which its range spans to either side
_LEAST_SHARE = 0.05  # of the variance of now, below which the range does not go by itself


def _pair(given: Any) -> Any:
    return None if given is None else tuple(float(x) for x in given)  # plain numbers, whatever a file or an axis held


class VegaGrid(eqx.Module):
    """Settings of the finite-difference method in vega and variance, for an `OptionsBook`.

    vega_intervals:     from minus to plus the limit, a multiple of 8 (2 without extrapolation).
    variance_intervals: over `variance_range`, likewise.
    steps:              of time, a multiple of 4 and at least 16 (4 without extrapolation).
    extrapolate:        Richardson's extrapolation over three grids, or the plain monotone scheme.
    tolerance:          of the nonlinear solve in each step, relative to the largest value.
    max_iterations:     per step; reaching it leaves the solution not converged.
    variance_range:     `(low, high)` per year around the variance of now, or None for six standard deviations of the
                        variance at the horizon.
    """

    vega_intervals: int = eqx.field(static=True, default=80)
    variance_intervals: int = eqx.field(static=True, default=8)
    steps: int = eqx.field(static=True, default=32)
    extrapolate: bool = eqx.field(static=True, default=True)
    tolerance: float = eqx.field(static=True, default=1e-10)
    max_iterations: int = eqx.field(static=True, default=100)
    variance_range: tuple[float, float] | None = eqx.field(static=True, default=None, converter=_pair)

    def __check_init__(self) -> None:
        coarsest = 4 if self.extrapolate else 1
        wanted = (("vega_intervals", 8, 2), ("variance_intervals", 2, 2), ("steps", 4, 1), ("max_iterations", 1, 1))
        for name, least, multiple in wanted:
            factor = 1 if name == "max_iterations" else coarsest
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, int)
                or value < least * factor
                or value % (multiple * factor)
            ):
                raise ValueError(
                    f"VegaGrid: {name} must be a whole number of at least {least * factor}, a multiple of "
                    f"{multiple * factor}, got {value!r}"
                )
        if not 0 < self.tolerance < 1:
            raise ValueError(f"VegaGrid: tolerance must lie between 0 and 1, got {self.tolerance!r}")
        span = self.variance_range
        if span is not None and not (len(span) == 2 and 0 < span[0] < span[1] < np.inf):
            raise ValueError(f"VegaGrid: variance_range must be two rising positive variances, got {span!r}")

    def range_for(self, book: OptionsBook) -> VegaRange:
        """The finest grid for a book. Raises `ValueError` where the range misses the variance of now."""
        now = float(book.variance)
        if self.variance_range is None:
            mean, deviation = _variance_at(book.physical, now, float(book.horizon))
            reach = max(_DEVIATIONS * deviation + abs(mean - now), 0.01 * now)
            low, high = max(now - reach, _LEAST_SHARE * now), now + reach
        else:
            low, high = self.variance_range
            if not low < now < high:
                raise ValueError(
                    f"VegaGrid: variance_range={low:g} to {high:g} does not hold the book's variance {now:g}; widen it"
                )
        return VegaRange(self.vega_intervals, self.variance_intervals, low, high)

    def restore(self, problem: OptionsBook, data: Any) -> OptionsSolution:
        """The solution that `save` wrote."""
        stats = json.loads(data.attrs["stats"])
        tables = Tables(
            tau=data["time_to_go"].values,
            axes=(data["vega"].values, data["variance"].values),
            value=data["value"].values,
            mean=data["mean"].values,
            bid=None,
            ask=None,
            residual=float(data.attrs["residual"]),
            error=np.full((1, 1, 1), data.attrs["error_estimate"]),
            quote_error=np.full((1, 1, 1), data.attrs["quote_error"]),
            iterations=stats.pop("iterations"),
        )
        return OptionsSolution(problem, self, tables, 2, stats, None, data["profit_variance"].values)

    def solve_batch(self, problems: Any, stacked: Any) -> Any:
        raise ValueError("an options book is solved one at a time; call solve for each")


def _variance_at(law: Heston, now: float, t: float) -> tuple[float, float]:
    """Mean and standard deviation of the variance `t` years from now (Cox, Ingersoll and Ross 1985, equation 19)."""
    kappa, theta, xi = (float(x) for x in (law.reversion, law.long_run_variance, law.volatility_of_variance))
    gone = -np.expm1(-kappa * t)
    square = xi**2 / kappa * gone * (now * (1 - gone) + 0.5 * theta * gone)
    return now + (theta - now) * gone, float(np.sqrt(square))


def solve_options(book: OptionsBook, method: Any) -> OptionsSolution:
    """Solve by `VegaGrid`, or by `FiniteDifference` whose settings of time and tolerance are carried over to it."""
    if is_traced(book):
        raise ValueError("an options book is solved outside jit, grad and vmap; call solve for each set of parameters")
    method = _vega_grid_of(method)
    started = time.perf_counter()
    finest, factors = method.range_for(book), (1, 2, 4) if method.extrapolate else (1,)
    equations = [VegaEquation(book, finest.coarser(factor)) for factor in factors]
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite, `result` tells
        levels = [
            march(equation, method.steps // factor, method.tolerance, method.max_iterations)
            for equation, factor in zip(equations, factors, strict=True)
        ]
    u, evidence = (levels[0].u, {}) if len(levels) == 1 else _refined(book, equations, levels)
    error, quote_error = evidence.pop("error", np.nan), evidence.pop("quote_error", np.nan)
    tables = Tables(
        tau=float(book.horizon) * clock(method.steps),
        axes=(equations[0].vega, equations[0].variance),
        value=u[:, 0],
        mean=u[:, 1],
        bid=None,
        ask=None,
        residual=max(level.residual for level in levels),
        error=np.full((1, 1, 1), error),
        quote_error=np.full((1, 1, 1), quote_error),
        iterations=sum(level.iterations for level in levels),
    )
    stats = {"method": "VegaGrid", "seconds": time.perf_counter() - started, **evidence}
    stats["least_off_diagonal"] = min(level.least_off_diagonal for level in levels)
    return OptionsSolution(book, method, tables, 2, stats, None, u[:, 2])


def _vega_grid_of(method: Any) -> VegaGrid:
    if isinstance(method, VegaGrid):
        return method
    if not isinstance(method, FiniteDifference):
        raise ValueError(
            f"{type(method).__name__} has no grid of vega and variance; take VegaGrid() for an options book"
        )
    for name in ("nodes_per_lot", "half_width", "cash_nodes_per_lot", "cash_range"):
        if getattr(method, name) is not None:
            raise ValueError(
                f"FiniteDifference: {name} has no meaning for an options book, whose trades are of many sizes; take "
                "VegaGrid(vega_intervals=..., variance_intervals=...)"
            )
    steps = {} if method.steps is None else {"steps": method.steps}
    return VegaGrid(
        extrapolate=method.extrapolate, tolerance=method.tolerance, max_iterations=method.max_iterations, **steps
    )


def _refined(
    book: OptionsBook, equations: list[VegaEquation], levels: list[Marched]
) -> tuple[np.ndarray, dict[str, float]]:
    """`f + (f - c)/3` from levels f, c, d, where the differences fall as they should, and the evidence for it.

    Where they fall from level to level by less than to .6, nothing is extrapolated (see `_tables.refine`). The error
    left is put at half the difference that the last halving makes to the answer, and a fiftieth of what extrapolation
    added: a limit that binds forbids fills from between two nodes on, and what follows from that falls unevenly.
    """
    fine, mid, rough = (level.u for level in levels)
    if not all(np.all(np.isfinite(level.u)) for level in levels):
        return fine, {}  # which the solution's `result` says
    first, second = fine[::2, :, ::2, ::2] - mid, mid[::2, :, ::2, ::2] - rough
    axes = (0, 2, 3)
    sizes = [np.sqrt(np.mean(part**2, axis=axes)) for part in (first[::2, :, ::2, ::2], second)]
    fall = sizes[0] / np.maximum(sizes[1], np.finfo(float).tiny)
    trust = np.clip((0.6 - fall) / 0.2, 0.0, 1.0)[:, None, None]
    best = fine + _prolong(trust * first / 3)
    before = mid + _prolong(trust * second / 3)
    here, there = _at_start(book, equations[0], best), _at_start(book, equations[1], before)
    plain = [_at_start(book, equation, level.u)[0][0] for equation, level in zip(equations, levels, strict=True)]
    left = 0.5 * abs(here[0][0] - there[0][0]) + 0.02 * abs(here[0][0] - plain[0])
    larger = max(abs(plain[0] - plain[1]), abs(plain[1] - plain[2]))
    sure = float(trust[0, 0, 0])
    evidence = {
        "error": sure * left + (1 - sure) * 6 * larger,
        "quote_error": (0.5 * sure + 3 * (1 - sure)) * float(np.max(np.abs(here[1] - there[1]))),
        "order_of_value": float(-np.log2(fall[0])),
        "order_of_mean": float(-np.log2(fall[1])),
        "order_of_variance": float(-np.log2(fall[2])),
    }
    return best, evidence


def _at_start(book: OptionsBook, equation: VegaEquation, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value, mean and variance of an empty book at time 0, and its quotes in price, (2, options)."""
    across = CubicSpline(equation.variance, u[-1], axis=-1)(float(book.variance))
    empty = np.array([CubicSpline(equation.vega, row)(0.0) for row in across])
    curve, quotes = CubicSpline(equation.vega, across[0]), []
    for side, demand in ((+1, book.bid_demand), (-1, book.ask_demand)):
        price = (empty[0] - curve(side * equation.trade)) / equation.trade
        quotes.append(best_response(demand, price[None])[0][0] * np.asarray(book.vegas))
    return empty, np.array(quotes)


def _prolong(u: np.ndarray) -> np.ndarray:
    """(times, rows, vega, variance) onto twice the times and intervals, linearly."""
    for axis in (0, 2, 3):
        u = np.moveaxis(u, axis, 0)
        woven = np.empty((2 * len(u) - 1, *u.shape[1:]))
        woven[::2], woven[1::2] = u, 0.5 * (u[1:] + u[:-1])
        u = np.moveaxis(woven, 0, axis)
    return u
