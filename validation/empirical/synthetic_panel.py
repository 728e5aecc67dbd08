"""A panel of the Tianjin Equity Exchange with known truth: quotes from the solver, noise, and dirt in known rows.

Each stock's dealer has a risk aversion of its own; volatility, the pace of orders, the cost of funds and the inventory
change from day to day. The reference price of a day is that of its morning call. The dealer's problem is solved for
every stock and day, the quotes are observed with an error and to the tick, and then some observations are spoilt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ...models import Exponential, MeanVariance, StockCashDealer
from .cleaning import RULES, Cleaned
from .model import DAYS_PER_YEAR, ROUGH, dealers_like, predict_quotes
from .panel import ASK, BID, VOLUME, Panel

TICK = 0.01  # yuan
_REPEATS = 4  # days for which a spoilt quote is repeated
_EDGE = 5  # lots: within the limit, so that both sides are quoted


def tianjin_dealer() -> StockCashDealer:
    """The dealer whose parameters the panel's rows replace: money in lots' values, time in years of 244 days.

    An illiquid market: about two orders a day and side would trade at the reference price, and distances are of the
    order of 1/k = 1.7%. The horizon is a quarter of a year. There `e sigma^2 k^3/(8 A)` is above the risk aversions,
    so that the spread rises with it: see `expected_signs`.
    """
    demand = Exponential(2 * DAYS_PER_YEAR, 60.0)
    return StockCashDealer(
        growth=0.06,
        volatility=0.45,
        rate=0.05,
        horizon=60 / DAYS_PER_YEAR,
        bid_demand=demand,
        ask_demand=demand,
        lot=1.0,
        max_stock=_EDGE + 3.5,
        objective=MeanVariance(4.0),
    )


def expected_signs(panel: Panel, decay: float = 60.0) -> dict[str, dict[str, int]]:
    """The signs that the theory gives to slopes, response by response; raises `ValueError` where it gives none.

    Far from horizon and limits, to leading order in `lambda/k`, with `v = 1` (Gueant, Lehalle and Fernandez-Tapia 2013,
    section 4, where the maximiser's `2/k - lambda/k^2` takes the place of `(2/gamma) ln(1 + gamma/k)`, equal to that
    order):

        spread    = 2/k - lambda/k^2 + sqrt(e lambda sigma^2/(2 k A))
        placement = (ask - bid distance)/2 = -(q - q*) sqrt(e lambda sigma^2/(2 k A)),   q* = (r_s - r)/(lambda sigma^2)

    The spread rises with `sigma` and falls with `A`; it rises with `lambda` where `lambda < e sigma^2 k^3/(8 A)` only,
    which is checked in every row: beyond, a fill's own variance makes the dealer content with less. It is free of `q`
    and `r` to this order, so they get no sign there. The placement falls with the inventory and with the cost of funds.
    """
    pace = panel["liquidity"] * DAYS_PER_YEAR
    turning = np.e * panel["volatility"] ** 2 * decay**3 / (8 * pace)
    beyond = int(np.sum(~(panel["risk_aversion"] < turning)))
    if beyond:
        raise ValueError(
            f"{panel.source}: in {beyond} rows the risk aversion is beyond the one at which the spread is widest; "
            "the sign of its slope is not determined"
        )
    return {
        "spread": {"volatility": +1, "liquidity": -1, "risk_aversion": +1},
        "placement": {"inventory": -1, "funding_cost": -1},
    }


@dataclass(frozen=True, eq=False)
class SyntheticPanel:
    """What was observed, and the truth behind it.

    panel:    bid, ask, reference, volume, volatility, liquidity, inventory, funding_cost, risk_aversion, and the
              solver's quotes under predicted_...; some of it spoilt.
    clean:    the same before it was spoilt.
    planted:  rule to the rows, counted from 0, that it should remove.
    noise:    standard deviation of the error of an observed quote, relative.
    """

    panel: Panel
    clean: Panel
    planted: Mapping[str, np.ndarray]
    noise: float
    dealer: StockCashDealer = field(default_factory=tianjin_dealer)


def tianjin_panel(
    stocks: int = 20,
    days: int = 60,
    seed: int = 0,
    noise: float = 0.001,
    dirt: float = 0.01,
    advance: Callable[[float], None] | None = None,
) -> SyntheticPanel:
    """Draw a panel of stocks x days.

    noise:   standard deviation of the error of each observed quote, relative to it.
    dirt:    share of the rows that each rule is given to find, at least one row (a run of four for the stale).
    advance: told the share of the dealers that are solved.
    Raises `ValueError` where there are too few stocks or days for the panel and its dirt.
    """
    if stocks < 2 or days < 4 * _REPEATS:
        raise ValueError(f"a panel needs at least 2 stocks and {4 * _REPEATS} days, got {stocks} and {days}")
    if not 0 <= noise < 0.1 or not 0 <= dirt <= 0.05:
        raise ValueError(f"noise must lie in [0, 0.1) and dirt in [0, 0.05], got {noise:g} and {dirt:g}")
    rng = np.random.default_rng([seed, stocks, days])
    facing = _circumstances(stocks, days, rng)
    solved = predict_quotes(facing, dealers_like(tianjin_dealer()), 1e4, "basis points", ROUGH, advance=advance)
    clean = observe(solved, noise, rng)
    panel, planted = _spoilt(clean, dirt, rng)
    return SyntheticPanel(panel, clean, planted, noise)


def _circumstances(stocks: int, days: int, rng: np.random.Generator) -> Panel:
    """What each stock's dealer faces each day; the cost of funds has a part common to all of them."""
    shape = (stocks, days)
    wandering = 0.02 * np.cumsum(rng.standard_normal(shape), axis=1)
    liquidity = rng.uniform(1.0, 2.2, (stocks, 1)) * np.exp(0.25 * _persistent(shape, rng))
    own = rng.uniform(0.0, 0.12, (stocks, 1)) + 0.02 * _persistent(shape, rng)
    funding = 0.05 + 0.01 * _persistent((1, days), rng) + own
    columns = {
        "reference": np.round(rng.uniform(8.0, 40.0, (stocks, 1)) * np.exp(wandering) / TICK) * TICK,
        VOLUME: np.maximum(1.0, np.round(10 * liquidity * np.exp(0.5 * rng.standard_normal(shape)))),
        "volatility": rng.uniform(0.4, 0.6, (stocks, 1)) * np.exp(0.12 * _persistent(shape, rng)),
        "liquidity": liquidity,
        "inventory": np.clip(np.round(2 * _persistent(shape, rng)), -_EDGE, _EDGE) + 0.0,
        "funding_cost": np.maximum(0.0, funding),
        "risk_aversion": np.repeat(rng.uniform(1.0, 6.0, (stocks, 1)), days, axis=1),
    }
    return Panel(
        source=f"synthetic Tianjin panel, {stocks} stocks x {days} days",
        stock=np.repeat([f"T{i + 1:03d}" for i in range(stocks)], days),
        period=np.tile(np.arange(1.0, days + 1), stocks),
        period_unit="day",
        columns={name: np.broadcast_to(values, shape).ravel() for name, values in columns.items()},
        units={**dict.fromkeys(("reference",), "yuan"), **_UNITS},
        notes={
            "reference": "price of the morning call auction",
            "liquidity": "orders of a side, at the reference price",
        },
    )


_UNITS = {
    VOLUME: "lots",
    "volatility": "per √year",
    "liquidity": "orders per day",
    "inventory": "lots",
    "funding_cost": "per year",
    "risk_aversion": "per lot's value",
}


def _persistent(shape: tuple[int, int], rng: np.random.Generator, memory: float = 0.8) -> np.ndarray:
    """Autoregressions of first order with variance one, along the last axis."""
    shocks = rng.standard_normal(shape)
    path = shocks.copy()
    for day in range(1, shape[1]):
        path[:, day] = memory * path[:, day - 1] + np.sqrt(1 - memory**2) * shocks[:, day]
    return path


def observe(solved: Panel, noise: float, rng: np.random.Generator) -> Panel:
    """The solver's distances (basis points) as prices that are observed with an error, and to the tick."""
    reference = solved["reference"]
    errors = noise * rng.standard_normal((2, len(solved)))
    exact = {
        BID: reference * (1 - 1e-4 * solved["predicted_bid_distance"]),
        ASK: reference * (1 + 1e-4 * solved["predicted_ask_distance"]),
    }
    seen = {name: np.round(p * (1 + e) / TICK) * TICK for (name, p), e in zip(exact.items(), errors, strict=True)}
    return solved.with_columns(seen, dict.fromkeys(seen, "yuan"))


def _spoilt(clean: Panel, dirt: float, rng: np.random.Generator) -> tuple[Panel, dict[str, np.ndarray]]:
    """The panel with dirt in rows drawn without overlap, and the rows by the rule that should find them."""
    if not dirt:
        return clean, {rule: np.array([], dtype=int) for rule in RULES}
    count = max(1, round(dirt * len(clean)))
    columns = {name: values.copy() for name, values in clean.columns.items()}
    starts, free = _runs(clean, max(1, round(count / _REPEATS)), rng)
    repeats = starts[:, None] + np.arange(1, _REPEATS + 1)
    for name in (BID, ASK):
        columns[name][repeats] = columns[name][starts][:, None]
    missing, crossed, absurd, spike = np.split(rng.choice(free, 4 * count, replace=False), 4)
    for row, name in zip(missing, np.resize([BID, ASK, VOLUME, "volatility"], count), strict=True):
        columns[str(name)][row] = np.nan
    columns[BID][crossed], columns[ASK][crossed] = columns[ASK][crossed], columns[BID][crossed].copy()
    slipped = np.arange(count) % 2 == 0
    columns[BID][absurd[slipped]] /= 10  # a decimal point in the wrong place
    columns[ASK][absurd[~slipped]] *= 1.5
    columns[VOLUME][spike] *= rng.uniform(100, 500, count).round()
    planted = {"missing": missing, "crossed": crossed, "absurd": absurd, "stale": repeats.ravel(), "spike": spike}
    spoilt = clean.with_columns(columns, {})
    return spoilt, {rule: np.sort(rows) for rule, rows in planted.items()}


def _runs(panel: Panel, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows at which runs of repeated quotes begin, none touching another or a stock's end, and the rows left free."""
    days = int(np.sum(panel.stock == panel.stock[0]))
    block = _REPEATS + 2
    blocks = np.flatnonzero(np.arange(len(panel)) % days % block == 0)
    blocks = blocks[blocks % days + block <= days]
    starts = rng.choice(blocks, min(count, len(blocks)), replace=False)
    taken = np.unique(starts[:, None] + np.arange(block))
    return starts, np.setdiff1d(np.arange(len(panel)), taken)


@dataclass(frozen=True)
class Audit:
    """What cleaning made of the dirt: planted and found by rule, missed altogether, and sound rows removed."""

    planted: Mapping[str, int]
    found: Mapping[str, int]
    missed: int
    false_removals: int

    def to_data(self) -> dict[str, object]:
        """Ready for JSON."""
        return {
            "planted": dict(self.planted),
            "found": dict(self.found),
            "missed": self.missed,
            "false_removals": self.false_removals,
        }


def audit(cleaned: Cleaned, planted: Mapping[str, np.ndarray]) -> Audit:
    """Hold what was removed against the rows that should have been; `found` is by the rule meant for them."""
    dirty = np.concatenate(list(planted.values()))
    removed = cleaned.removed()
    return Audit(
        planted={rule: len(rows) for rule, rows in planted.items()},
        found={rule: int(np.isin(rows, cleaned.removed(rule)).sum()) for rule, rows in planted.items()},
        missed=int((~np.isin(dirty, removed)).sum()),
        false_removals=int((~np.isin(removed, dirty)).sum()),
    )
