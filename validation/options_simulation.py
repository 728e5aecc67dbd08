"""An options book played out: Heston paths, fills at the model's own rates, the profit beside its prediction."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from ..hjb.options_solution import OptionsSolution
from ..models.demand import Demand
from ..models.options_book import OptionsBook
from . import _batches, _options_paths
from ._option_surface import option_surface
from ._outcome import Row
from ._outcome_file import Saved, arrays_of, write_outcome
from ._quoting import with_numbers_as
from ._randomness import key_of

_MARGIN = 1.25  # of a bound that was found by probing
_FAR = 1e6  # a distance at which every demand has reached its most, where it has one


@dataclass(frozen=True)
class OptionsSimulation:
    """Outcome of a run, one entry per path, money ahead of the marked book.

    profit:     by the horizon, of fills, of the variance and of the hedge. charge: `int (gamma xi^2/8) Vega^2 dt`.
    vega:       of the book at the horizon, as the dealer counts it: each option at its vega of time 0.
    bid_fills, ask_fills: of all options together.
    revalued:   whether every option was revalued at Heston's price, or to first order in vega.
    """

    rule: ClassVar[str] = "exact"

    problem: OptionsBook
    seed: int
    initial: dict[str, float]
    revalued: bool
    profit: np.ndarray
    charge: np.ndarray
    vega: np.ndarray
    bid_fills: np.ndarray
    ask_fills: np.ndarray

    @property
    def paths(self) -> int:
        return self.profit.size

    @property
    def score(self) -> np.ndarray:
        """Each path's share in the criterion: compare two runs of one seed path by path."""
        return self.profit - self.charge

    @property
    def mean_wealth(self) -> float:
        """Estimate of the mean profit, money."""
        return float(np.mean(self.profit))

    @property
    def standard_error(self) -> float:
        """Of `mean_wealth`."""
        return _deviation(self.profit) / math.sqrt(self.paths)

    @property
    def deviation(self) -> float:
        """Estimate of the profit's standard deviation, money."""
        return _deviation(self.profit)

    @property
    def deviation_standard_error(self) -> float:
        """Of `deviation`, from the fourth moment."""
        centred = self.profit - np.mean(self.profit)
        square = float(np.mean(centred**2))
        of_square = math.sqrt(max(float(np.mean(centred**4)) - square**2, 0.0) / self.paths)
        return of_square / (2 * math.sqrt(square)) if square > 0 else 0.0

    @property
    def criterion(self) -> float:
        """Estimate of the mean profit less the charge, money."""
        return float(np.mean(self.score))

    @property
    def criterion_standard_error(self) -> float:
        return _deviation(self.score) / math.sqrt(self.paths)

    def rows(self, predicted: OptionsSolution | None = None) -> list[Row]:
        """The estimates beside what `predicted` says of its own quotes from the same start."""
        told = [math.nan] * 3
        if predicted is not None:
            told = [
                float(function(0.0, **self.initial))
                for function in (predicted.expected_wealth, predicted.profit_deviation, predicted.value)
            ]
        root = math.sqrt(self.paths)
        held = self.problem.units["state"]
        return [
            Row("mean profit", "money", self.mean_wealth, self.standard_error, told[0]),
            Row("deviation of profit", "money", self.deviation, self.deviation_standard_error, told[1]),
            Row("criterion", "money", self.criterion, self.criterion_standard_error, told[2]),
            Row("mean vega", held, float(np.mean(self.vega)), _deviation(self.vega) / root, math.nan),
            Row("bid fills", "per path", float(np.mean(self.bid_fills)), _deviation(self.bid_fills) / root, math.nan),
            Row("ask fills", "per path", float(np.mean(self.ask_fills)), _deviation(self.ask_fills) / root, math.nan),
        ]

    def table(self, predicted: OptionsSolution | None = None) -> str:
        """`rows` as text."""
        how = "every option revalued" if self.revalued else "first order in vega"
        lines = [f"{self.paths:,} paths, {how}, seed {self.seed}"]
        lines.append(f"{'':<20}{'measured':>12}{'std. error':>12}{'predicted':>12}{'z':>7}")
        for row in self.rows(predicted):
            z = f"{row.z:>7.2f}" if math.isfinite(row.z) else ""
            told = f"{row.predicted:>12.6g}" if math.isfinite(row.predicted) else " " * 12
            lines.append(f"{row.quantity:<20}{row.measured:>12.6g}{row.standard_error:>12.2g}{told}{z}")
        return "\n".join(lines)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write NetCDF with units and the full case inside, whole or not at all; returns the path."""
        settings = {"seed": self.seed, "initial": self.initial, "revalued": self.revalued}
        return write_outcome(self, path, _SAVED, settings)


_SAVED = {
    "profit": Saved(("path",), "money", "profit by the horizon, ahead of the marked book"),
    "charge": Saved(("path",), "money", "charged to the criterion for the vega carried"),
    "vega": Saved(("path",), "money per unit of volatility", "vega of the book at the horizon"),
    "bid_fills": Saved(("path",), "1", "fills of all bids"),
    "ask_fills": Saved(("path",), "1", "fills of all asks"),
}


def restored(problem: Any, settings: Mapping[str, Any], data: Any) -> OptionsSimulation:
    """The simulation from a dataset that `OptionsSimulation.save` wrote."""
    return OptionsSimulation(problem, **settings, **arrays_of(data))


def simulate_options(
    book: OptionsBook,
    policy: Callable[..., Any],
    paths: int,
    seed: int = 0,
    initial: Mapping[str, float] | None = None,
    revalue: bool = False,
    steps: int = 64,
    *,
    progress: bool | None = None,
    batch: int | None = None,
) -> OptionsSimulation:
    """Simulate `policy` on an options book from time 0 to the horizon, the delta hedged throughout.

    policy:  `policy(t, state) -> Quotes` in price, (paths, options) each, `state` with `vega` and `variance` of shape
             (paths,); a pytree such as `solution.policy`, or a function. nan is no quote.
    initial: `vega` and `variance` at time 0; an empty book at the book's own variance where it says nothing.
    revalue: False for profits to first order in vega, which is the model's assumption, so that mean and deviation must
             agree with the solution; True for every option at Heston's price at every step, deltas held in between. The
             dealer goes on quoting by the vegas of time 0. Needs an empty book to start with. Prices are off by at most
             a thousandth of what the variance moves an option by over the horizon, or this is refused.
    steps:   the longest step of the variance is the horizon over this; steps end at every request, too. What of it is
             biased is the variance's own path, by much less than a hundredth of its standard deviation.

    A path's numbers depend on the seed and on its own number only. Raises `ValueError` for what can be known
    beforehand, such as a start beyond the limit, and where a path leaves what was prepared for, naming it.
    """
    if not isinstance(book, OptionsBook):
        raise TypeError(f"simulate_options needs an OptionsBook, got {type(book).__name__}; take simulate")
    if not callable(policy):
        raise TypeError(f"policy must be callable as policy(t, state) -> Quotes, got {type(policy).__name__}")
    paths, seed, steps = operator.index(paths), operator.index(seed), operator.index(steps)
    if paths < 1 or steps < 1 or not 0 <= seed < 2**64:
        raise ValueError(f"paths and steps must be at least 1 and seed not negative, got {paths}, {steps} and {seed}")
    start = _start(book, initial, revalue)
    bounds = _bounds(book, policy)
    case = _options_paths.Case(
        book=with_numbers_as(np.float64, book),
        policy=with_numbers_as(np.float64, policy),
        trade=np.asarray(book.size),
        vegas=np.asarray(book.vegas),
        bounds=bounds,
        longest=np.float64(book.horizon / steps),
        key=key_of(seed),
        surface=option_surface(book, start["variance"]) if revalue else None,
    )
    size = _batches.batch_size(paths, _options_paths.BATCH, batch)

    def run(first: int, report: _batches.Report) -> Any:
        given = (np.float64(start["vega"]), np.float64(start["variance"]), np.asarray(first, np.uint32))
        ended = _options_paths.run(case, *given, size)
        _refuse_faults(np.asarray(ended.fault)[: paths - first])
        report(1.0)
        return ended._replace(books=None)

    ended = _batches.compute(run, paths, size, f"simulating {paths:,} paths", progress, double=True)
    fields = (ended.profit, ended.charge, ended.vega, ended.bids, ended.asks)
    return OptionsSimulation(book, seed, start, revalue, *(np.asarray(part) for part in fields))


def _start(book: OptionsBook, initial: Mapping[str, float] | None, revalue: bool) -> dict[str, float]:
    start = {"vega": 0.0, "variance": float(book.variance)}
    for name, value in (initial or {}).items():
        if name not in start:
            raise TypeError(f"OptionsBook has no state {name!r}; its state is {', '.join(start)}")
        if not math.isfinite(float(value)) or (name == "variance" and not value > 0):
            raise ValueError(f"initial: {name} must be {'positive' if name == 'variance' else 'finite'}, got {value}")
        start[name] = float(value)
    if abs(start["vega"]) > float(book.vega_limit) * (1 + 1e-9):
        raise ValueError(
            f"initial: vega={start['vega']:g} lies beyond the limit of +-{float(book.vega_limit):g}; start within it"
        )
    if revalue and start["vega"]:
        raise ValueError(
            f"initial: vega={start['vega']:g} does not say which options are held, which revalue=True must know; start "
            "with an empty book or take revalue=False"
        )
    return start


def _bounds(book: OptionsBook, policy: Callable[..., Any]) -> np.ndarray:
    """What no intensity of a channel exceeds: the demand's most, where it has one, or else what probing found."""
    sides = []
    for number, demand in enumerate((book.bid_demand, book.ask_demand)):
        most, farther = (_intensities(demand, np.full((1, book.options), -x))[0] for x in (_FAR, 2 * _FAR))
        if not (np.all(np.isfinite(farther)) and np.allclose(most, farther)):
            most = _MARGIN * _probed(book, policy, number, demand)
        sides.append(most)
    bounds = np.concatenate(sides)
    if not np.all(np.isfinite(bounds)):
        raise ValueError("the policy is hit infinitely often somewhere; floor its distances")
    return bounds


def _probed(book: OptionsBook, policy: Callable[..., Any], number: int, demand: Demand) -> np.ndarray:
    """The largest intensities over a lattice of times and vegas, (options,)."""
    t, vega = np.meshgrid(np.linspace(0, 1, 17) * book.horizon, np.linspace(-1, 1, 81) * book.vega_limit)
    state = {"vega": vega.ravel(), "variance": np.full(vega.size, float(book.variance))}
    distance = np.asarray(policy(t.ravel(), state)[number]) / np.asarray(book.vegas)
    rates = _intensities(demand, np.where(np.isfinite(distance), distance, np.inf))
    return np.nanmax(rates, axis=0)


def _intensities(demand: Demand, distance: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"), jax.enable_x64(True):
        return np.stack([np.asarray(demand.intensity(row)) for row in np.atleast_2d(distance)])


def _refuse_faults(fault: np.ndarray) -> None:
    if np.any(fault == _options_paths.ABOVE):
        raise ValueError("the policy is hit more often than its bound, found by probing, allows; smooth it")
    if np.any(fault == _options_paths.OUTSIDE):
        raise ValueError("a path left the range in which options are revalued; shorten the horizon")


def _deviation(sample: np.ndarray) -> float:
    return float(np.std(sample, ddof=1)) if sample.size > 1 else math.nan
