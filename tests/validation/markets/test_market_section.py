"""What a report says of a market: in the units that the case names."""

from typing import Any

import pytest

from twosided.validation._display import Axis, Display
from twosided.validation._market_section import _STATED, sentences


def display(time: Axis, distance: Axis, money: str) -> Display:
    return Display(time, distance, Axis(1.0, "lots"), money, "1 unit of the asset")


MARKET: dict[str, Any] = {"type": "PoissonMarket", "tick": 1.0, "refresh": 2.0, "adverse_selection": 0.25}


def test_a_market_is_described_in_the_units_of_the_case():
    told = sentences(
        MARKET | {"decay": 0.5, "opening": 120}, display(Axis(1 / 60, "minutes"), Axis(1, "ticks"), "ticks")
    )
    assert told == [
        "Prices are multiples of 1 tick.",
        "Quotes are posted every 2 seconds.",
        "The reference moves 0.25 ticks against each fill.",
        "What an order excites is forgotten at a rate of 0.5 per second.",
        "The reference price opens at 120 ticks.",
    ]


def test_distances_are_shown_as_in_the_rest_of_the_report_and_prices_as_they_are_stated():
    year = 252 * 6.5 * 3600
    cents = display(Axis(year / 3600, "hours"), Axis(100, "cents"), "dollars")
    told = sentences(MARKET | {"tick": 0.01, "refresh": 0.5 / year, "informed_delay": 600 / year, "decay": year}, cents)
    assert told == [
        "Prices are multiples of 0.01 dollars.",
        "Quotes are posted every 0.5 seconds.",
        "The reference moves 25 cents against each fill.",
        "That move is spread over about 0.166667 hours.",
        "What an order excites is forgotten at a rate of 1 per second.",
    ]


@pytest.mark.parametrize(("unit", "one"), [("days", "1 day"), ("", "1 unit of time")])
def test_other_units_of_time_are_kept_and_unnamed_ones_left_out(unit, one):
    told = sentences({"latency": 1.0, "decay": 3.0} | MARKET, display(Axis(1, unit), Axis(1, ""), "money"))
    assert told[0] == f"They stand {one} after the dealer has looked."
    assert told[1] == f"What an order excites is forgotten at a rate of 3 per {one[2:]}."
    assert told[2:] == [
        "Prices are multiples of 1.",
        f"Quotes are posted every 2 {'days' if unit else 'units of time'}.",
        "The reference moves 0.25 against each fill.",
    ]


def test_every_setting_of_a_market_can_be_told():
    everything = sentences(dict.fromkeys(_STATED, 2.0), display(Axis(1, "days"), Axis(1, ""), "money"))
    assert len(everything) == len(_STATED)
    assert not any("{" in text for text in everything)
