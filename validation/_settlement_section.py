"""The section of a report on settlement: what it costs that the proceeds of a sale cannot be spent at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._display import Display, number, with_error
from ._html import paragraph, table

_HEAD = ("settlement", "criterion", "loss", "std. error", "loss of wealth", "std. error", "bids lost", "paths affected")


def settlement_section(data: Mapping[str, Any], display: Display) -> tuple[str, str]:
    """From the `losses` that `SettlementLoss.to_data` gave: the table, and how to read it."""
    rows = []
    for loss in data["losses"]:
        pairs = ((loss["loss"], loss["standard_error"]), (loss["wealth_loss"], loss["wealth_standard_error"]))
        cells = [text for value, error in pairs for text in with_error(value, error, float("nan"))[:2]]
        bids, affected = number(loss["bid_fills"], 3), f"{loss['affected']:.1%}"
        rows.append((f"T+{loss['lag']}", number(loss["criterion"], 6), *cells, bids, affected))
    body = paragraph(
        "Everything above settles at once. Here the proceeds of a sale can be spent some trading days later only: the "
        "dealer keeps its quotes, and a bid that could not be paid is off. Losses are against settlement at once, in "
        f"{display.money}, with standard errors of differences path by path: all runs meet the same prices."
    )
    return "Settlement", body + table(_HEAD, rows)
