"""Where the value that a solver predicts goes in a market: frictions switched on one after another, path by path."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, NamedTuple

import numpy as np

from ...hjb.solution import Solution
from .._outcome import Simulation
from ._table import aligned
from .poisson import GROUPS, PoissonMarket

ORDER = ("clustering", "refresh", "latency", "tick", "queue_ahead", "adverse_selection", "informed", "limits")
"""Frictions in the order in which they are switched on. A queue comes after what it needs, a tick and an interval."""

_MEANINGS = {
    "chance": "a market without frictions, less the prediction: sampling and the solver's error",
    "clustering": "orders that bring others, as many in the mean; at other times, so that this term has the most noise",
    "refresh": "quotes posted at intervals, one lot a side, instead of following at every moment",
    "latency": "quotes that are old when they come into force, and fewer of them",
    "tick": "prices rounded outward",
    "queue_ahead": "orders that serve others first",
    "adverse_selection": "the reference moving against each fill",
    "informed": "orders that know where the reference goes",
    "limits": "quotes that a limit of the market refuses",
}


_LEVELS = ("predicted", "without frictions", "obtained")


class Term(NamedTuple):
    """A part of the difference, in money: of the criterion, and of mean wealth, each with its standard error."""

    name: str
    meaning: str
    value: float
    standard_error: float
    wealth: float
    wealth_standard_error: float


@dataclass(frozen=True)
class Attribution:
    """Value predicted, value obtained, and the terms in between, which add up to the difference.

    predicted, wealth_predicted: by the solver; nan where nothing was predicted, and then there is no term of chance.
    terms:        one for chance, then one for each friction the market has, in the order they were switched on.
    runs:         in the market without frictions, then with the first one, with two, and so on to the market as it is.
    """

    market: PoissonMarket
    predicted: float
    wealth_predicted: float
    terms: tuple[Term, ...]
    runs: tuple[Simulation, ...]

    @property
    def frictionless(self) -> Simulation:
        """The run without frictions; it comes before the first friction's term."""
        return self.runs[0]

    @property
    def obtained(self) -> Simulation:
        """The run in the market as it is."""
        return self.runs[-1]

    @property
    def frictions(self) -> tuple[str, ...]:
        """Those that the market has, in the order they were switched on."""
        return tuple(term.name for term in self.terms if term.name in ORDER)

    @property
    def difference(self) -> float:
        """Value obtained less value predicted, or less that of the frictionless market where there is no prediction."""
        return math.fsum(term.value for term in self.terms)

    def to_data(self) -> dict[str, Any]:
        """Everything as plain data, ready for JSON."""
        return {
            "market": self.market.to_data(),
            "paths": self.obtained.paths,
            "seed": self.obtained.seed,
            "money": self.obtained.problem.units["money"],
            "order": list(self.frictions),
            "predicted": {"criterion": self.predicted, "wealth": self.wealth_predicted},
            "frictionless": _measured(self.frictionless),
            "terms": [term._asdict() for term in self.terms],
            "obtained": _measured(self.obtained),
        }

    def table(self) -> str:
        """Prediction, terms and outcome as text, money with standard errors."""
        return table_of(self.to_data())


def attribute(
    problem: Any,
    policy: Any,
    market: PoissonMarket,
    paths: int,
    seed: int = 0,
    initial: Mapping[str, Any] | None = None,
    predicted: Solution | None = None,
    *,
    progress: bool | None = None,
) -> Attribution:
    """Play `policy` in `market` and split the difference to what `predicted` promises among the market's frictions.

    Frictions are switched on cumulatively in the order `ORDER`; a term is the change of the criterion when its
    friction joins those before it. All runs meet the same market orders and the same reference price, so that terms
    have small standard errors, which are those of the paired differences; the terms add up to the total. What a term
    says depends on the order: read "given all above it".

    The first term, chance, is the frictionless market less the prediction: nothing but sampling and the solver's error
    should be in it. Raises as `simulate(..., market=market)` does.
    """
    from ..simulation import play_markets

    on = [name for name in ORDER if _is_on(market, name)]
    markets = [market.only(tuple(on[:count])) for count in range(len(on) + 1)]
    runs = play_markets(problem, [(policy, each) for each in markets], paths, seed, initial, progress)
    terms = [_term(name, runs[i], runs[i + 1]) for i, name in enumerate(on)]
    value = wealth = math.nan
    if predicted is not None:
        start = runs[0].initial
        value, wealth = float(predicted.value(0.0, **start)), float(predicted.expected_wealth(0.0, **start))
    if math.isfinite(value):
        terms.insert(0, _chance(runs[0], value, wealth))
    return Attribution(market, value, wealth, tuple(terms), tuple(runs))


def _is_on(market: PoissonMarket, name: str) -> bool:
    return any(key in market.arguments() for key in GROUPS.get(name, (name,)))


def _chance(run: Simulation, value: float, wealth: float) -> Term:
    return Term(
        "chance", _MEANINGS["chance"], run.criterion - value, run.criterion_standard_error,
        run.mean_wealth - wealth, run.standard_error,
    )  # fmt: skip


def _term(name: str, before: Simulation, after: Simulation) -> Term:
    return Term(name, _MEANINGS[name], *paired(after.score, before.score), *paired(after.wealth, before.wealth))


def paired(after: np.ndarray, before: np.ndarray) -> tuple[float, float]:
    """Difference of two means over the same paths, and its standard error.

    Means are subtracted, not differences averaged, so that a chain of terms adds up.
    """
    error = float(np.std(after - before, ddof=1)) / math.sqrt(after.size)
    return float(np.mean(after)) - float(np.mean(before)), error


def _measured(run: Simulation) -> dict[str, float]:
    return {
        "criterion": run.criterion,
        "standard_error": run.criterion_standard_error,
        "wealth": run.mean_wealth,
        "wealth_standard_error": run.standard_error,
        "bid_fills": run.fills.bid,
        "ask_fills": run.fills.ask,
        "mean_spread": run.mean_spread,
    }


def rows_of(data: Mapping[str, Any]) -> list[tuple[str, list[float]]]:
    """Name; criterion, its standard error, mean wealth, its standard error: from the prediction to the outcome."""
    keys = ("criterion", "standard_error", "wealth", "wealth_standard_error")
    first = data["predicted"]
    known = first["criterion"] is not None and math.isfinite(first["criterion"])
    rows = [_row("predicted", first, keys) if known else _row("without frictions", data["frictionless"], keys)]
    for term in data["terms"]:
        name = ("" if term["name"] == "chance" else "+ ") + term["name"].replace("_", " ")
        rows.append(_row(name, term, ("value", *keys[1:])))
    return [*rows, _row("obtained", data["obtained"], keys)]


def _row(name: str, record: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[str, list[float]]:
    """Numbers that JSON could not hold, and so made null, are nan again."""
    found = (record.get(key) for key in keys)
    return name, [math.nan if number is None else float(number) for number in found]


def cells_of(data: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """`rows_of` as texts, the points of each column aligned."""
    names, numbers = zip(*rows_of(data), strict=True)
    signed = [name not in _LEVELS for name in names]
    values, errors, means, mean_errors = zip(*numbers, strict=True)
    criterion, wealth = aligned(values, errors, signed), aligned(means, mean_errors, signed)
    return [(name, *one, *other) for name, one, other in zip(names, criterion, wealth, strict=True)]


def survives(data: Mapping[str, Any]) -> str:
    """What is left of the value predicted (or of that without frictions), with its standard error."""
    rows = dict(rows_of(data))
    name = next(iter(rows))
    before, (after, error) = rows[name][0], rows["obtained"][:2]
    if not before > 0:
        return f"{after - before:+.4g} {data['money']} against the value {name}"
    return f"{after / before:.1%} of the value {name} survives (standard error {error / before:.1%})"


def table_of(data: Mapping[str, Any]) -> str:
    """`Attribution.table` from what `to_data` gave."""
    stated = ", ".join(f"{name}={value:g}" for name, value in data["market"].items() if name != "type")
    head = ("", "criterion", "std. error", "mean wealth", "std. error")
    widths = (20, 14, 12, 14, 12)
    lines = [f"{data['paths']:,} paths in {data['market']['type']}({stated}), seed {data['seed']}"]
    for row, unit in zip([head, *cells_of(data)], _units(data), strict=False):
        name, *cells = (f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        lines.append(f"{name.strip():<20}{''.join(cells)}  {unit}".rstrip())
    return "\n".join([*lines, survives(data)])


def _units(data: Mapping[str, Any]) -> Iterator[str]:
    return chain(["unit"], repeat(data["money"]))
