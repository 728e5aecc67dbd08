"""The section of a report on misspecification: what quotes cost that were computed for another world."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._display import Display
from ._html import paragraph, table
from .markets.misspecified import HEAD, cells_of


def regret_section(data: Mapping[str, Any], display: Display) -> tuple[str, str]:
    """From what `Misspecification.to_data` gave: the table, and how to read it."""
    money = display.money
    units = ("", f", {money}", f", {money}", " of the criterion", f", {money}", f", {money}")
    head = [name + unit for name, unit in zip(HEAD, units, strict=True)]
    stated = ", ".join(f"{name} {value:g}" for name, value in data["market"].items() if name != "type")
    where = f"a {data['market']['type']}" + (f" with {stated}" if stated else " without frictions")
    body = paragraph(
        f"Each line is a dealer who computes its quotes with something wrong and is judged in the true world, {where}, "
        f"by the true criterion: {data['paths']:,} paths, seed {data['seed']}. Regret is what the criterion loses "
        "against the quotes computed with the truth. All dealers meet the same orders and the same prices, so that "
        "the standard errors are those of differences path by path."
    )
    body += table(head, cells_of(data))
    return "What being wrong costs", body + paragraph(
        "An error of twice the standard error or less may be chance. A regret below zero is possible where the quotes "
        "computed with the truth are no maximum: in a market with frictions, and for the equilibrium reading of mean "
        "and variance."
    )
