"""What follows from bid, ask and reference price: the columns that the regression explains."""

from __future__ import annotations

import numpy as np

from .panel import ASK, BID, Panel

_UNIT = "basis points"


def with_quotes(panel: Panel) -> Panel:
    """The panel with mid, spread, bid_distance, ask_distance, placement, and inventory_size, as far as they are there.

    Distances are relative to the column `reference`, or to the mid where there is none; then both distances are half
    the spread, and there is no placement, `(ask_distance - bid_distance)/2`, to explain.
    """
    bid, ask = panel[BID], panel[ASK]
    mid = 0.5 * (bid + ask)
    referred = "reference" in panel
    reference = panel["reference"] if referred else mid
    below, above = 1e4 * (1 - bid / reference), 1e4 * (ask / reference - 1)
    columns = {"mid": mid, "spread": below + above, "bid_distance": below, "ask_distance": above}
    units = {**dict.fromkeys(columns, _UNIT), "mid": panel.units[BID]}
    what = "the reference price" if referred else "the mid"
    notes = {name: f"relative to {what}" for name in columns if name != "mid"}
    if referred:
        columns["placement"], units["placement"] = 0.5 * (above - below), _UNIT
        notes["placement"] = "half of ask less bid distance: how far the quotes stand above the reference price"
    if "inventory" in panel:
        columns["inventory_size"], units["inventory_size"] = np.abs(panel["inventory"]), panel.units["inventory"]
    found = panel.with_columns(columns, units, notes)
    return found if referred else found.without({"placement": "no reference price but the mid, on which quotes centre"})
