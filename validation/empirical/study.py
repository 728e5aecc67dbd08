"""The study from end to end: observations, cleaning, regression, and the model's quotes beside those observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

import numpy as np

from ...models import StockCashDealer
from ..calibration import calibrate
from ..calibration._inference import FEWEST
from ..messages import Session
from .cleaning import RULES, Cleaned, CleaningRules, Removal, clean
from .comparison import QuoteComparison, compare_quotes
from .errors import HAC, HC3, Clustered, Cosines, Covariance
from .intervals import form_intervals, observe_seconds
from .model import ROUGH, dealers_like, predict_intervals, predict_quotes
from .panel import UNITS, Panel
from .quotes import with_quotes
from .regression import Regression, regress
from .synthetic_panel import Audit, audit, expected_signs, tianjin_panel

Advance = Callable[[float], None] | None
CAUSES = {
    "spread": ("volatility", "liquidity", "depth", "inventory_size", "funding_cost", "risk_aversion"),
    "placement": ("inventory", "funding_cost", "volatility", "liquidity", "risk_aversion"),
}
"""What each response is regressed on, as far as it is there."""
QUOTES = ("bid_distance", "ask_distance", "spread")
_STALE_SECONDS = 300.0


@dataclass(frozen=True, eq=False)
class Study:
    """What a study found.

    cleaned:      of the observations, with every removal.
    thin:         intervals left out because too much of them was removed.
    panel:        the rows that were regressed, with the predictions.
    regressions:  response by response; of each the first is the one to read, the others differ in the errors alone.
    comparisons:  of the bid's, the ask's distance and the spread.
    not_done:     part to the reason why it is not there.
    remarks:      what to know about the comparison, one sentence each.
    signs:        of slopes, by response, where the theory gives them and the truth is known; with `dirt` for synthetic
                  data only.
    """

    title: str
    cleaned: Cleaned
    thin: tuple[Removal, ...]
    panel: Panel
    regressions: Mapping[str, tuple[Regression, ...]]
    comparisons: tuple[QuoteComparison, ...]
    not_done: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    signs: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    dirt: Audit | None = None

    def to_data(self) -> dict[str, Any]:
        """Everything but the rows, ready for JSON."""
        return {
            "title": self.title,
            "source": self.panel.source,
            "rows": len(self.panel),
            "stocks": len(self.panel.stocks),
            "cleaning": self.cleaned.to_data()
            | {
                "meaning": RULES,
                "first": [vars(removal) for removal in _one_of_each(self.cleaned.removals)],
                "thin_intervals": [vars(removal) for removal in self.thin],
                "dirt": None if self.dirt is None else self.dirt.to_data(),
            },
            "regressions": {name: [r.to_data() for r in found] for name, found in self.regressions.items()},
            "comparisons": [comparison.to_data() for comparison in self.comparisons],
            "signs": {name: dict(signs) for name, signs in self.signs.items()},
            "not_done": dict(self.not_done),
            "remarks": list(self.remarks),
        }


def study_messages(
    path: str | PathLike[str],
    seconds: float = 300.0,
    session: Session | None = None,
    rules: CleaningRules | None = None,
    advance: Advance = None,
) -> Study:
    """Study one day of market messages (LOBSTER or Binance) in intervals of `seconds`.

    rules: by default `CleaningRules` with quotes called stale after five minutes.
    Raises `ValueError` (a `DataError` where the file is at fault) as the parts do.
    """
    cleaned = clean(observe_seconds(path, session), rules or CleaningRules(stale_after=_STALE_SECONDS))
    panel, thin = form_intervals(cleaned, seconds)
    regressions, not_done = _regressions(panel, _kinds(panel))
    record = calibrate(path, session=session)
    panel = predict_intervals(panel, record, advance)
    return Study(
        title=f"What explains the spread: {panel.stocks[0]}",
        cleaned=cleaned,
        thin=tuple(thin),
        panel=panel,
        regressions=regressions,
        comparisons=_comparisons(panel, _kinds(panel)[0]),
        not_done=not_done,
        remarks=[
            f"The model is the dealer of the calibrated market ({record.definition}): k and the risk aversion, set as "
            "a risk budget of 2.5 lots' standard deviation, are the session's; volatility and the pace of orders are "
            "each interval's own.",
            "The calibration uses the same session, so the comparison is within the sample; the spread's level is not "
            "fitted, though: the calibration sees prints and mids, not spreads.",
            "Quotes are predicted at no inventory, as no record tells what one dealer held, and observed around the "
            "mid, so that bid and ask distance are each half the spread: only the spread carries information.",
            "The best quotes are the closest of many dealers' at each moment; the model's are one dealer's.",
        ],
    )


def study_panel(
    panel: Panel,
    problem: StockCashDealer | None = None,
    rules: CleaningRules | None = None,
    advance: Advance = None,
) -> Study:
    """Study observations of one or more stocks that come with their causes, as `read_panel` gives them.

    problem: the dealer whose quotes are predicted, row by row with what the row tells in place of its own (see
             `dealers_like`); without it nothing is predicted, unless the panel has its predictions with it.
    """
    needed = [name for name in dict.fromkeys(sum(CAUSES.values(), ())) if name in panel]
    cleaned = clean(panel, rules, needed)
    rows = with_quotes(cleaned.panel)
    rows = rows.without({name: "the data have no such column" for name in CAUSES["spread"] if name not in rows})
    regressions, not_done = _regressions(rows, _kinds(rows))
    if problem is not None:
        _check_units(rows)
        rows = predict_quotes(rows, dealers_like(problem), 1e4, "basis points", ROUGH, advance=advance)
    predicted = "predicted_spread" in rows
    if not predicted:
        not_done["comparison"] = "no model was named; give a case file with --model"
    return Study(
        title=f"What explains the spread: {panel.source}",
        cleaned=cleaned,
        thin=(),
        panel=rows,
        regressions=regressions,
        comparisons=_comparisons(rows, _kinds(rows)[0]) if predicted else (),
        not_done=not_done,
        remarks=["The quotes of each row come from the solver, at the inventory held."] if predicted else [],
    )


def _check_units(panel: Panel) -> None:
    """Raise `ValueError` where a column that a dealer is made from is not in the unit that the dealer's problem has."""
    for name in ("volatility", "liquidity", "inventory", "funding_cost", "risk_aversion"):
        if name in panel and panel.units[name] != UNITS[name]:
            raise ValueError(
                f"{panel.source}: {name} is in {panel.units[name]}, and the model takes it {UNITS[name]}; "
                f"convert it, and name its head {name} [{UNITS[name]}]"
            )
    if "inventory" not in panel:
        raise ValueError(f"{panel.source}: no column inventory, at which the model's quotes are taken; add it, in lots")


def study_synthetic(stocks: int = 20, days: int = 60, seed: int = 0, advance: Advance = None) -> Study:
    """Study a synthetic panel of the Tianjin Equity Exchange, whose truth is known; see `tianjin_panel`."""
    drawn = tianjin_panel(stocks, days, seed, advance=advance)
    found = study_panel(drawn.panel)
    remarks = [
        "The observed quotes are the solver's with an error, so the comparison shows that the pipeline finds what was "
        "put in: no bias, a slope of one, and an error of the size that was added.",
        f"The error added to each quote is {1e4 * drawn.noise:g} basis points of it, and prices are seen to the tick; "
        f"in the spread that makes about {1e4 * drawn.noise * np.sqrt(2):.3g} basis points.",
    ]
    dirt = audit(found.cleaned, drawn.planted)
    return replace(found, remarks=remarks, signs=expected_signs(found.panel), dirt=dirt)


def _kinds(panel: Panel) -> tuple[Covariance, ...]:
    """The kinds of errors to tell, the one to read first."""
    if len(panel.stocks) > 1:
        return Clustered(), HAC(), HC3()
    return (Cosines(), HAC(), HC3()) if len(panel) >= FEWEST else (HAC(), HC3())


def _regressions(
    panel: Panel, covariances: Sequence[Covariance]
) -> tuple[dict[str, tuple[Regression, ...]], dict[str, str]]:
    """Each response that is there on its causes, under each kind of errors; and why the others are not."""
    found: dict[str, tuple[Regression, ...]] = {}
    not_done: dict[str, str] = {}
    for response, causes in CAUSES.items():
        if response in panel:
            wanted = [name for name in causes if name in panel or name in panel.left_out]
            told = _varying(panel, wanted)
            found[response] = tuple(regress(told, response, wanted, each) for each in covariances)
        else:
            not_done[response] = panel.left_out.get(response, "the data have no such column")
    return found, not_done


def _varying(panel: Panel, causes: Sequence[str]) -> Panel:
    """The panel without causes that never change in it, each on record with its constant."""
    constant = {
        name: f"constant ({panel[name][0]:.6g} {panel.units[name]}) in all {len(panel)} rows"
        for name in causes
        if name in panel and np.ptp(panel[name]) <= 1e-12 * np.max(np.abs(panel[name]))
    }
    return panel.without(constant)


def _comparisons(panel: Panel, covariance: Covariance) -> tuple[QuoteComparison, ...]:
    return tuple(compare_quotes(panel, name, f"predicted_{name}", covariance) for name in QUOTES)


def _one_of_each(removals: Sequence[Removal]) -> list[Removal]:
    """The first removal by each rule."""
    first: dict[str, Removal] = {}
    for removal in removals:
        first.setdefault(removal.rule, removal)
    return [first[rule] for rule in RULES if rule in first]
