"""Dealer, auction and hybrid side by side: the same people on the same days, under three sets of rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import t as student

from ...hjb import FiniteDifference, solve
from .. import _batches
from .._randomness import key_of
from ._capacity import check_capacity
from ._wide import joined
from .hybrid import DayFigures, Setting, State, run_days
from .population import People, Population
from .quotes import DealerQuotes, calibrated_dealer, no_dealer, quote_table
from .rules import AuctionRules, DealerRules, HybridRules, MarketRules, Moment

SCHEME = FiniteDifference(extrapolate=False)
"""How dealers' problems are solved: their quotes are rounded to whole ticks, so one grid is fine enough."""

MEASURES = {
    "volatility": "daily change of the average price, standard deviation, % of the first day's value",
    "error": "average price against the fundamental value, root mean square, %",
    "dispersion": "prices within a day around their average, standard deviation by volume, %",
    "quote_spread": "the dealer's ask less its bid, on average over arrivals that find both, %",
    "book_spread": "the book's best ask less its best bid, likewise, %",
    "spread": "best ask less best bid on both floors together, which do not meet, likewise, %",
    "depth": "units on offer within half the investors' reach of the fundamental value",
    "volume": "units traded a day",
    "filled": "orders that traded, wholly or in part, %",
    "executed": "units that investors traded of those they came for, %",
    "welfare": "investors' surplus a day, in contracts' worth on the first day",
    "profit": "the dealer's gain a day, stock marked at the fundamental, in contracts' worth",
    "inventory": "the dealer's at the close, root mean square, units",
}
"""What is measured in every market, and its unit."""


class Interval(NamedTuple):
    """A mean over markets, its standard error, and the ends of its confidence interval."""

    mean: float
    standard_error: float
    low: float
    high: float


def interval(sample: np.ndarray, level: float = 0.95) -> Interval:
    """Of the mean of independent markets' figures, (markets,), by Student's t."""
    n = sample.size
    if n < 2:
        raise ValueError(f"a confidence interval needs at least 2 markets, got {n}")
    mean, error = float(np.mean(sample)), float(np.std(sample, ddof=1)) / math.sqrt(n)
    half = float(student.ppf(0.5 + level / 2, n - 1)) * error
    return Interval(mean, error, mean - half, mean + half)


def measures(figures: DayFigures, population: Population) -> dict[str, np.ndarray]:
    """The `MEASURES` of each market, (markets,), from daily figures as NumPy arrays (markets, days).

    A spread is nan where there was never one to be seen.
    """
    f = jax.tree.map(lambda field: np.asarray(field, float), figures)
    percent, total = 100 / population.start, partial(np.sum, axis=1)

    def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        return np.divide(above, below, out=np.zeros_like(above), where=below > 0)

    def seen(above: np.ndarray, times: np.ndarray) -> np.ndarray:
        return np.where(total(times) > 0, percent * ratio(total(above), total(times)), np.nan)

    def deviation(change: np.ndarray) -> np.ndarray:
        return percent * np.std(change, axis=1, ddof=1)

    # Two units of investors' orders meet in a trade, but one in a trade with the dealer.
    units = 2 * f.volume - f.dealt
    average = ratio(f.excess, f.volume)
    within = ratio(total(f.square - f.volume * average**2), total(f.volume))
    return {
        "volatility": deviation(np.diff(f.fundamental + average, axis=1)),
        "error": percent * np.sqrt(np.mean(average**2, axis=1)),
        "dispersion": percent * np.sqrt(np.maximum(within, 0)),  # below 0 by rounding alone
        "quote_spread": seen(f.looks.quote_spread, f.looks.quoted),
        "book_spread": seen(f.looks.book_spread, f.looks.booked),
        "spread": seen(f.looks.spread, f.looks.priced),
        "depth": ratio(total(f.looks.depth), total(f.looks.looked)),
        "volume": np.mean(f.volume, axis=1),
        "filled": 100 * ratio(total(f.filled), total(f.came)),
        "executed": 100 * ratio(total(units), total(f.wanted)),
        "welfare": np.mean(f.surplus, axis=1) / population.start,
        "profit": np.mean(f.earned, axis=1) / population.start,
        "inventory": np.sqrt(np.mean(f.inventory**2, axis=1)),
    }


@dataclass(frozen=True)
class HybridStudy:
    """What came of a study: `sample[rules][measure]` is (markets,), `daily[rules]` the days behind it, (markets, days).

    `evening[rules]` is what everybody has in the end. The n-th market of one set of rules has the same people with the
    same wishes as the n-th of another.
    """

    population: Population
    markets: int
    days: int
    seed: int
    quotes: Mapping[str, DealerQuotes]
    evening: Mapping[str, State]
    daily: Mapping[str, DayFigures]
    sample: Mapping[str, Mapping[str, np.ndarray]]

    def interval(self, rules: str, measure: str, level: float = 0.95) -> Interval:
        """Of a measure's mean over markets."""
        return interval(self._of(rules, measure), level)

    def difference(self, rules: str, other: str, measure: str, level: float = 0.95) -> Interval:
        """Of the mean of `rules` less `other`, market by market."""
        return interval(self._of(rules, measure) - self._of(other, measure), level)

    def claim(self, level: float = 0.95) -> Claim:
        """Whether the hybrid is steadier and trades more than the pure auction."""
        return Claim(*(self.difference("hybrid", "auction", measure, level) for measure in Claim._fields))

    def _of(self, rules: str, measure: str) -> np.ndarray:
        for name, known in ((rules, self.sample), (measure, MEASURES)):
            if name not in known:
                raise ValueError(f"{name!r} is none of {', '.join(known)}")
        return self.sample[rules][measure]

    def __str__(self) -> str:
        head = f"{self.markets} markets, {self.days} days, seed {self.seed}; mean and 95% confidence interval"
        rows = [f"{'':12}" + "".join(f"{name:>30}" for name in self.sample)]
        for measure in MEASURES:
            cells = (self.interval(name, measure) for name in self.sample)
            shown = "".join(f"{c.mean:12.4g} [{c.low:.4g}, {c.high:.4g}]".rjust(30) for c in cells)
            rows.append(f"{measure:12}{shown}")
        return "\n".join([head, *rows])


class Claim(NamedTuple):
    """Hybrid less auction, market by market: each part of the claim is held only if its interval says so.

    volatility: of the daily average price, % a day.   dispersion: of prices within a day, %.   volume: units a day.
    """

    volatility: Interval
    dispersion: Interval
    volume: Interval

    @property
    def steadier(self) -> bool:
        """Both from day to day and within the day."""
        return self.volatility.high < 0 and self.dispersion.high < 0

    @property
    def trades_more(self) -> bool:
        return self.volume.low > 0

    @property
    def holds(self) -> bool:
        return self.steadier and self.trades_more

    def __str__(self) -> str:
        def said(part: str, difference: Interval, less: bool, unit: str) -> str:
            right, wrong = difference.low > 0, difference.high < 0
            right, wrong = (wrong, right) if less else (right, wrong)
            word = "holds" if right else "is wrong" if wrong else "is not decided"
            return f"{part} {word} ({difference.mean:+.3g} {unit}, {difference.low:+.3g} to {difference.high:+.3g})"

        return "Hybrid against pure auction: " + "; ".join(
            (
                said("'steadier from day to day'", self.volatility, True, "% a day"),
                said("'steadier within the day'", self.dispersion, True, "%"),
                said("'trades more'", self.volume, False, "units a day"),
            )
        )


def dealer_share(rules: MarketRules, population: Population) -> float:
    """The share of a day's investors who turn to the dealer."""
    found = rules.schedule(population.investors)
    orders = found.continuous | found.collecting
    return float(np.mean(found.dealer * np.where(orders, population.immediacy, 1.0)))


def dealer_quotes(
    rules: MarketRules, population: Population, risk_aversion: float = 2e-4, widest: float | None = None
) -> DealerQuotes:
    """The quotes of the dealer who is calibrated to those who turn to it under these rules; see `calibrated_dealer`."""
    share = dealer_share(rules, population)
    if share == 0:
        return no_dealer()
    dealer = calibrated_dealer(population, share, rules.lot, risk_aversion=risk_aversion)
    return quote_table(solve(dealer, SCHEME), widest)


def setting(rules: MarketRules, quotes: DealerQuotes, population: Population) -> Setting:
    """Rules and quotes as arrays."""
    arrays: Any = jax.tree.map(jnp.asarray, (rules.numbers, rules.schedule(population.investors), quotes))
    numbers, moments, quotes = arrays
    return Setting(numbers, Moment(*moments), quotes)


@partial(jax.jit, static_argnames=("days", "books"))
def _batch(
    first: jax.Array, key: Any, setting: Setting, population: People, days: int, books: int
) -> tuple[State, DayFigures]:
    market = first + jnp.arange(books, dtype=jnp.uint32)
    state, figures = run_days(market, key, setting, population, days)
    return state, jax.tree.map(jnp.transpose, figures)


def simulate_markets(
    rules: MarketRules,
    quotes: DealerQuotes,
    population: Population,
    *,
    markets: int,
    days: int,
    seed: int = 0,
    batch: int | None = None,
    progress: bool | None = None,
) -> tuple[State, DayFigures]:
    """Run many markets under one set of rules: the last evening, and daily figures (markets, days), all NumPy.

    batch: markets computed at once; bounds the memory, changes no number.
    Raises `ValueError` for numbers that make no sense, `RuntimeError` where a book refused an order.
    """
    for name, value, least in (("markets", markets, 1), ("days", days, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    check_capacity(rules, quotes, population, days)
    books = min(markets, 256) if batch is None else batch
    arrays = setting(rules, quotes, population)
    key, people = jax.tree.map(jnp.asarray, (key_of(seed), population.facing(rules.tick)))

    def run(first: int, report: _batches.Report) -> tuple[State, DayFigures]:
        out = jax.block_until_ready(_batch(jnp.uint32(first), key, arrays, people, days, books))
        report(1.0)
        return out

    state, figures = _batches.compute(run, markets, books, f"simulating {markets:,} markets", progress, double=False)
    state, figures = joined((state, figures))
    check_days(figures)
    return state, figures


def check_days(figures: DayFigures) -> None:
    """Raises `RuntimeError` where orders or deals were lost: there was no room for them, or rules refused them."""
    for lost, fate in ((figures.overflowed, "met the capacity of a book"), (figures.refused, "saw orders refused")):
        if np.any(lost):
            raise RuntimeError(f"{np.sum(lost > 0)} days {fate}, {np.sum(lost)} in all; they cannot be trusted")


def hybrid_study(
    population: Population | None = None,
    *,
    markets: int = 256,
    days: int = 20,
    seed: int = 0,
    rules: Mapping[str, MarketRules] | None = None,
    risk_aversion: float = 2e-4,
    widest: float | None = None,
    batch: int | None = None,
    progress: bool | None = None,
) -> HybridStudy:
    """Pure dealer, pure auction and hybrid over many markets, with the dealer's quotes from the solver.

    population:    who comes, `Population()` if not given.
    rules:         by name; dealer, auction and hybrid if not given.
    risk_aversion: of the dealer, per tick times unit; see `calibrated_dealer`.
    widest:        the widest spread the dealer may quote, ticks; None where nothing restrains a monopolist.

    Raises `ValueError` for fewer than 2 markets or 3 days, from which no interval or volatility could be told.
    """
    population = Population() if population is None else population
    if markets < 2 or days < 3:
        raise ValueError(f"a study needs at least 2 markets and 3 days, got {markets} and {days}")
    if rules is None:
        rules = {"dealer": DealerRules(), "auction": AuctionRules(), "hybrid": HybridRules()}
    quotes = {name: dealer_quotes(each, population, risk_aversion, widest) for name, each in rules.items()}
    evening, daily = {}, {}
    for name, each in rules.items():
        evening[name], daily[name] = simulate_markets(
            each, quotes[name], population, markets=markets, days=days, seed=seed, batch=batch, progress=progress
        )
    sample = {name: measures(figures, population) for name, figures in daily.items()}
    return HybridStudy(population, markets, days, seed, quotes, evening, daily, sample)
