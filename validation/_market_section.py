"""The section of a report on a market: the value predicted, the value obtained, and what lies in between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._display import Display, number
from ._html import bullets, paragraph, table
from .markets.attribution import cells_of, survives

_STATED = {
    "tick": "prices are multiples of {price}",
    "queue_ahead": "{} lots rest ahead of the dealer at a price it joins",
    "refresh": "quotes are posted every {time}",
    "latency": "they stand {time} after the dealer has looked",
    "adverse_selection": "the reference moves {distance} against each fill",
    "informed": "a share of {} of the orders that accept the reference price know where it goes",
    "informed_move": "the reference moves by {distance} in the direction of an informed order",
    "informed_delay": "that move is spread over about {time}",
    "self_excitation": "an order brings {} more on its own side, in the mean",
    "cross_excitation": "an order brings {} more on the other side, in the mean",
    "decay": "what an order excites is forgotten at a rate of {rate}",
    "position_limit": "no fill may carry the inventory beyond {} lots",
    "price_limit": "no quote may be farther from the opening price than {} of it",
    "opening": "the reference price opens at {price}",
}


_IN_SECONDS = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0}


def sentences(market: Mapping[str, Any], display: Display) -> list[str]:
    """What a market states, each thing as a sentence, in the units that the case names."""
    said = (
        _STATED[name].format(number(value, 6), **_amounts(value, display))
        for name, value in market.items()
        if name != "type"
    )
    return [f"{text[:1].upper()}{text[1:]}." for text in said]


def _amounts(value: float, display: Display) -> dict[str, str]:
    """A number of the problem as a price, a distance, a time and a rate; a unit that nobody named is left out."""
    time, unit = float(display.time(value)), display.time.unit
    per = display.time.scale
    if unit in _IN_SECONDS:
        # What is fast against the horizon, as delays are, reads better in seconds than in hours.
        per *= _IN_SECONDS[unit]
        time, unit = (value * per, "seconds") if value * per < 300 else (time, unit)
    shortest = "seconds" if unit in _IN_SECONDS else unit or "units of time"
    return {
        "price": _with_unit(value, "" if display.money == "money" else display.money),
        "distance": _with_unit(float(display.distance(value)), display.distance.unit),
        "time": _with_unit(time, unit or "units of time"),
        "rate": f"{number(value / per, 6)} per {_single(shortest)}",
    }


def _with_unit(value: float, unit: str) -> str:
    return f"{number(value, 6)} {_single(unit) if value == 1 else unit}".rstrip()


def _single(unit: str) -> str:
    first, *rest = unit.split(" ")
    return " ".join([first.removesuffix("s"), *rest])


def market_section(data: Mapping[str, Any], display: Display) -> tuple[str, str]:
    """From what `Attribution.to_data` gave: rules, table, and how to read it."""
    market = data["market"]
    rules = sentences(market, display)
    body = paragraph(
        f"{data['paths']:,} paths of the policy in a {market['type']}, seed {data['seed']}. Market orders of one lot "
        "come as the model's own demand says; what stands between the policy's distances and its fills is this:"
    )
    body += bullets(rules or ["Nothing: a market without frictions."])
    head = ("", f"criterion, {display.money}", "std. error", f"mean wealth, {display.money}", "std. error")
    body += table(head, cells_of(data))
    body += paragraph(f"{survives({**data, 'money': display.money})}.")
    meanings = [f"{term['name'].replace('_', ' ')}: {term['meaning']}." for term in data["terms"]]
    body += paragraph(
        "Frictions are switched on one after another, in this order; each line is what changes when its friction joins "
        "those above it, and the lines add up from the value predicted to the value obtained. All runs meet the same "
        "orders and the same prices, but for clustering, which moves orders in time, so the standard errors are those "
        "of differences path by path. In another order the lines would share the same total differently."
    ) + bullets(meanings)
    filled = (
        f"Without frictions the bid is filled {number(data['frictionless']['bid_fills'], 4)} times a path and the ask "
        f"{number(data['frictionless']['ask_fills'], 4)} times; in the market, "
        f"{number(data['obtained']['bid_fills'], 4)} and {number(data['obtained']['ask_fills'], 4)} times."
    )
    return "In a market", body + paragraph(filled)
