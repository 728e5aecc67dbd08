"""One day of market messages as a panel: second by second for cleaning, interval by interval for the regression.

Nobody tells from a public record what one dealer held, paid for its funds or felt about risk. Inventory is proxied,
and what cannot vary within a day is left out with its reason instead of standing there as a column of equal numbers.
"""

from __future__ import annotations

import math
from os import PathLike

import numpy as np

from ..calibration._volatility import SLOW, STEP, two_scale_volatility
from ..messages import Messages, Session, read_messages
from ..replay import read_record
from .cleaning import Cleaned, Removal
from .panel import ASK, BID, VOLUME, Panel

FEWEST_SECONDS = 4 * SLOW  # of an interval, so that it has a volatility
_SURVIVING = 0.8  # share of an interval's seconds that must be left after cleaning

NOTES = {
    "spread": "best ask less best bid, mean over the interval's seconds",
    "bid_distance": "mid less best bid, mean over the seconds: half the spread, as the mid is the reference",
    "ask_distance": "best ask less mid, mean over the seconds: half the spread, as the mid is the reference",
    "volatility": "of the mid, free of short-lived noise: two scales, 1 s and 10 s",
    "liquidity": "market orders of both sides",
    "depth": "at the best bid and ask, mean of the two over the interval's seconds",
    "inventory": "A PROXY: the shares that aggressors sold less those they bought in the interval, in median market "
    "orders; what all who quoted took in together, not one dealer's position",
    "inventory_size": "size of the proxy for the inventory",
}
LEFT_OUT = {
    "funding_cost": "one day has one rate: constant over the intervals, so no slope can be told from the intercept",
    "risk_aversion": "no record tells it, and one day of one stock has one: constant over the intervals",
    "placement": "the reference price is the mid itself, so that the quotes are centred on it by construction",
}


def observe_seconds(source: str | PathLike[str] | Messages, session: Session | None = None) -> Panel:
    """Best quotes at every second of a session, and what traded in the second since; the panel that cleaning takes.

    source: a file of LOBSTER or Binance, or the messages read from one. Depth comes with a LOBSTER file only.
    Columns: bid, ask (dollars), volume, signed_volume (units; the aggressors' purchases less their sales), orders
    (market orders), and depth (units). The period is the second after midnight.
    Raises `DataError` where the file or the session cannot serve.
    """
    messages = source if isinstance(source, Messages) else read_messages(source)
    opening, closing = messages.check_session(session)
    seconds = opening + STEP * np.arange(math.floor((closing - opening) / STEP + 1e-9))
    quoted = np.maximum(np.searchsorted(messages.quotes.time, seconds, side="right") - 1, 0)
    edges = np.append(seconds, seconds[-1] + STEP)
    prints, orders = messages.prints, messages.market_orders
    columns = {
        BID: messages.quotes.bid[quoted] * messages.price_unit,
        ASK: messages.quotes.ask[quoted] * messages.price_unit,
        VOLUME: np.histogram(prints.time, edges, weights=prints.size)[0],
        "signed_volume": np.histogram(prints.time, edges, weights=prints.size * prints.side)[0],
        "orders": np.histogram(orders.time, edges)[0].astype(float),
    }
    units = {BID: "dollars", ASK: "dollars", VOLUME: "units", "signed_volume": "units", "orders": "orders"}
    left_out = {}
    if messages.venue == "LOBSTER" and not isinstance(source, Messages):
        columns["depth"], units["depth"] = _depth(source, seconds), "units"
    else:
        left_out["depth"] = "the messages read here tell no sizes at the best quotes"
    stock = np.full(len(seconds), messages.source.split("_")[0].split(".")[0])
    return Panel(messages.source, stock, seconds, "second", columns, units, left_out=left_out)


def _depth(path: str | PathLike[str], seconds: np.ndarray) -> np.ndarray:
    """Mean of the sizes at the best bid and ask, units, of the last row at or before each second. (n,)"""
    record = read_record(path)
    sizes = 0.5 * (record.sizes(+1)[:, 0] + record.sizes(-1)[:, 0])
    return sizes[np.maximum(np.searchsorted(record.time, seconds, side="right") - 1, 0)]


def form_intervals(cleaned: Cleaned, seconds: float = 300.0) -> tuple[Panel, list[Removal]]:
    """Cleaned seconds as a panel of intervals, and the intervals that too much was removed from.

    seconds: length of an interval, at least 40; a last one that is not whole is dropped.
    Columns: spread, bid_distance, ask_distance, mid (cents and dollars), volatility (cents per √second), liquidity
    (market orders per second), depth, inventory (lots, a proxy), inventory_size and volume. `LEFT_OUT` says which
    others are not there. A second that was removed counts nowhere; in the volatility the quote before it stands on.
    Raises `ValueError` where an interval is too short or fewer than two are left.
    """
    panel = cleaned.panel
    if not FEWEST_SECONDS <= seconds < math.inf:
        raise ValueError(f"an interval must have at least {FEWEST_SECONDS} seconds for a volatility, got {seconds:g}")
    opening = float(panel.period[0])
    starts = opening + seconds * np.arange(math.floor((float(panel.period[-1]) + STEP - opening) / seconds + 1e-9))
    lot = _median_order(panel)
    rows, thin = [], []
    for number, start in enumerate(starts):
        mine = np.flatnonzero((panel.period >= start) & (panel.period < start + seconds))
        if len(mine) < _SURVIVING * seconds / STEP:
            reason = f"{len(mine)} of {seconds:g} seconds are left, {_SURVIVING:.0%} needed"
            thin.append(Removal(number, str(panel.stock[0]), float(start), "thin", reason))
        else:
            rows.append({"period": float(start), **_interval(panel.take(mine), start, seconds, lot)})
    if len(rows) < 2:
        raise ValueError(
            f"{panel.source}: {len(rows)} intervals of {seconds:g} s are left of {len(starts)}; "
            "take shorter ones or a longer session"
        )
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    period = columns.pop("period")
    stock = np.full(len(rows), str(panel.stock[0]))
    notes = {name: note for name, note in NOTES.items() if name in columns}
    left_out = {**panel.left_out, **LEFT_OUT}
    source = f"{panel.source}, intervals of {seconds:g} s"
    return Panel(source, stock, period, "second", columns, {n: _UNITS[n] for n in columns}, notes, left_out), thin


_UNITS = {
    "spread": "cents",
    "bid_distance": "cents",
    "ask_distance": "cents",
    "mid": "dollars",
    "volatility": "cents per √second",
    "liquidity": "orders per second",
    "depth": "units",
    "inventory": "lots",
    "inventory_size": "lots",
    VOLUME: "units",
}


def _median_order(panel: Panel) -> float:
    """Units of a lot: the volume per market order in the median second that has one."""
    traded = panel["orders"] > 0
    if not traded.any():
        raise ValueError(f"{panel.source}: no market order in the session; give a longer one")
    return float(np.median(panel[VOLUME][traded] / panel["orders"][traded]))


def _interval(rows: Panel, start: float, seconds: float, lot: float) -> dict[str, float]:
    bid, ask, lived = rows[BID], rows[ASK], len(rows) * STEP
    every = start + STEP * np.arange(math.floor(seconds / STEP + 1e-9))
    standing = np.maximum(np.searchsorted(rows.period, every, side="right") - 1, 0)
    inventory = -float(rows["signed_volume"].sum()) / lot
    found = {
        "spread": 100 * float(np.mean(ask - bid)),
        "bid_distance": 50 * float(np.mean(ask - bid)),
        "ask_distance": 50 * float(np.mean(ask - bid)),
        "mid": 0.5 * float(np.mean(ask + bid)),
        "volatility": 100 * two_scale_volatility(0.5 * (ask + bid)[standing]).value,
        "liquidity": float(rows["orders"].sum()) / lived,
        "inventory": inventory,
        "inventory_size": abs(inventory),
        VOLUME: float(rows[VOLUME].sum()),
    }
    return found | ({"depth": float(np.mean(rows["depth"]))} if "depth" in rows else {})
