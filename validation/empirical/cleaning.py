"""Cleaning rules: which observations go, under which rule, and why. Nothing goes without a line on the list.

The rules are asked in the order of `RULES`, each on what the ones before have left, so that a median is not taken over
quotes that cannot be; a row is listed under the rule that removed it. Medians are each stock's own.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .panel import ASK, BID, VOLUME, Panel

RULES = {
    "missing": "bid, ask or another column that is needed is not there, or a price is not positive",
    "crossed": "the ask is not above the bid",
    "absurd": "the spread is wider than a market allows or than the stock ever has",
    "stale": "bid and ask stand unchanged for too long: a quote that nobody attends to",
    "spike": "the volume is far beyond the stock's usual: a block, or a slip of the keys",
}


@dataclass(frozen=True)
class CleaningRules:
    """When an observation is not to be believed.

    widest_spread:     share of the mid; a market with price limits of 15% on either side has no wider one than 30%.
    spread_ratio:      times the stock's median spread from which on a spread may be absurd.
    volume_ratio:      times the stock's median volume (of periods that traded) from which on a volume may be a spike.
    deviations:        robust standard deviations above the median, both on a log scale, which either must exceed too.
    stale_after:       periods for which an unchanged quote stands before all its repetitions go.

    Raises `ValueError` naming what is not positive.
    """

    widest_spread: float = 0.30
    spread_ratio: float = 10.0
    volume_ratio: float = 10.0
    deviations: float = 5.0
    stale_after: float = 3.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise ValueError(f"CleaningRules: {name} must be positive and finite, got {value:g}")


@dataclass(frozen=True)
class Removal:
    """An observation that went: its row in the panel before cleaning, counted from 0, and the reason."""

    row: int
    stock: str
    period: float
    rule: str
    reason: str


@dataclass(frozen=True, eq=False)
class Cleaned:
    """The panel that is left, what went, and how many rows there were."""

    panel: Panel
    removals: tuple[Removal, ...]
    rows: int
    rules: CleaningRules

    @property
    def counts(self) -> dict[str, int]:
        """Rows removed by each rule; together with those that are left they are all the rows there were."""
        return {rule: sum(removal.rule == rule for removal in self.removals) for rule in RULES}

    def removed(self, rule: str | None = None) -> np.ndarray:
        """Rows that went, in rising order: by one rule, or all."""
        return np.array(sorted(r.row for r in self.removals if rule in (None, r.rule)), dtype=int)

    def to_data(self) -> dict[str, Any]:
        """Counts and rules, ready for JSON; the single removals are in the CSV."""
        return {
            "rows": self.rows,
            "kept": len(self.panel),
            "removed": self.counts,
            "rules": dict(vars(self.rules)),
            "period_unit": self.panel.period_unit,
        }

    def write_removals(self, path: str | os.PathLike[str]) -> None:
        """A CSV with one line per removal."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["row", "stock", f"period [{self.panel.period_unit}]", "rule", "reason"])
            writer.writerows([r.row, r.stock, f"{r.period:g}", r.rule, r.reason] for r in self.removals)


def clean(panel: Panel, rules: CleaningRules | None = None, needed: Sequence[str] = ()) -> Cleaned:
    """Apply the rules to a panel with the columns bid, ask and volume.

    needed: further columns in which a row must have a number.
    Raises `ValueError` where a column is not there or nothing is left.
    """
    rules = rules or CleaningRules()
    present = np.ones(len(panel), dtype=bool)
    removals: list[Removal] = []
    for rule, judge in (
        ("missing", lambda rows: _missing(rows, needed)),
        ("crossed", _crossed),
        ("absurd", lambda rows: _absurd(rows, rules)),
        ("stale", lambda rows: _stale(rows, rules)),
        ("spike", lambda rows: _spike(rows, rules)),
    ):
        left = np.flatnonzero(present)
        for row, reason in judge(panel.take(left)).items():
            at = int(left[row])
            removals.append(Removal(at, str(panel.stock[at]), float(panel.period[at]), rule, reason))
            present[at] = False
    removals.sort(key=lambda removal: removal.row)
    cleaned = Cleaned(panel.take(present), tuple(removals), len(panel), rules)
    if not present.any():
        told = ", ".join(f"{count} {rule}" for rule, count in cleaned.counts.items() if count) or "it had none"
        raise ValueError(
            f"{panel.source}: nothing is left of {len(panel)} rows after cleaning ({told}); "
            "look at the data, or loosen the rules"
        )
    return cleaned


Found = dict[int, str]
"""Row to reason."""


def _missing(panel: Panel, needed: Sequence[str]) -> Found:
    found: Found = {}
    for name in dict.fromkeys((BID, ASK, VOLUME, *needed)):
        values = panel[name]
        absent = ~np.isfinite(values)
        for row in np.flatnonzero(absent):
            found.setdefault(int(row), f"no {name}")
        if name in (BID, ASK, VOLUME):
            impossible = ~absent & ((values < 0) if name == VOLUME else (values <= 0))
            for row in np.flatnonzero(impossible):
                found.setdefault(int(row), f"{name} is {values[row]:g}")
    return found


def _crossed(panel: Panel) -> Found:
    bid, ask = panel[BID], panel[ASK]
    return {int(row): f"ask {ask[row]:g} is not above bid {bid[row]:g}" for row in np.flatnonzero(ask <= bid)}


def _absurd(panel: Panel, rules: CleaningRules) -> Found:
    bid, ask = panel[BID], panel[ASK]
    share = (ask - bid) / (0.5 * (ask + bid))
    times, allowed = _against_median(panel, share, rules.spread_ratio, rules.deviations)
    found = {
        int(row): f"spread {times[row]:.3g} times the stock's median, {allowed[row]:.3g} allowed"
        for row in np.flatnonzero(times > allowed)
    }
    wide = np.flatnonzero(share > rules.widest_spread)
    return found | {int(r): f"spread {share[r]:.1%} of the mid, {rules.widest_spread:.0%} allowed" for r in wide}


def _stale(panel: Panel, rules: CleaningRules) -> Found:
    """Rows that repeat the first of a run of equal quotes, where the run lasts too long."""
    bid, ask, unit = panel[BID], panel[ASK], panel.period_unit
    if not len(panel):
        return {}
    changed = (np.diff(bid) != 0) | (np.diff(ask) != 0) | (panel.stock[1:] != panel.stock[:-1])
    first = np.flatnonzero(np.r_[True, changed])
    last = np.r_[first[1:] - 1, len(panel) - 1]
    stood = panel.period[last] - panel.period[first]
    return {
        int(row): f"quote stands unchanged for {stood[run]:g} {unit}s"
        for run in np.flatnonzero(stood >= rules.stale_after)
        for row in range(first[run] + 1, last[run] + 1)
    }


def _spike(panel: Panel, rules: CleaningRules) -> Found:
    times, allowed = _against_median(panel, panel[VOLUME], rules.volume_ratio, rules.deviations)
    return {
        int(row): f"volume {times[row]:.3g} times the stock's median, {allowed[row]:.3g} allowed"
        for row in np.flatnonzero(times > allowed)
    }


def _against_median(panel: Panel, values: np.ndarray, ratio: float, deviations: float) -> tuple[np.ndarray, np.ndarray]:
    """Each value over the median of its stock's positive ones, and the most allowed; both (n,).

    On a log scale the robust standard deviation is 1.4826 times the median distance from the median. It is nought
    where most values are alike, so the ratio has to be exceeded as well.
    """
    times, allowed = np.zeros(len(panel)), np.full(len(panel), np.inf)
    for stock in panel.stocks:
        mine = (panel.stock == stock) & (values > 0)
        if mine.any():
            logs = np.log(values[mine])
            centre = np.median(logs)
            spread = 1.4826 * np.median(np.abs(logs - centre))
            times[mine] = np.exp(logs - centre)
            allowed[mine] = max(ratio, math.exp(min(deviations * spread, 700.0)))
    return times, allowed
