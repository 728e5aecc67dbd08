"""How large the numbers of a run can become: refused before it starts, rather than wrapped in the middle of it."""

from __future__ import annotations

import numpy as np

from ._wide import MOST
from .population import Population
from .quotes import DealerQuotes
from .rules import MarketRules

WORD = 2**31


def check_capacity(rules: MarketRules, quotes: DealerQuotes, population: Population, days: int) -> None:
    """Raises `ValueError` where a price, a number of units or a sum of money could outgrow the integers of a run.

    The bounds are the worst that could happen at all: everybody gets all it wants at the highest price.
    """
    order = (population.most + 1) * rules.lot  # an odd remainder may come on top
    units = population.investors * order
    away = population.reach + rules.tick
    price = population.start + days * population.step + away
    traded = days * units
    held = min(traded, population.investors * (population.highest - population.lowest))
    spread = int(np.max(np.abs(quotes.bid) + np.abs(quotes.ask))) + 2 * rules.tick
    bounds = (
        ("the price in ticks", price, 2**29, "start or the number of days"),
        ("the dealer's spreads of a day, in ticks,", population.investors * spread, WORD, "investors or start"),
        ("the units traded in a day", units + 2 * order, WORD, "investors, most or the rules' lot"),
        ("the units held by the dealer", held, WORD, "highest less lowest, or the number of days"),
        ("the money that changes hands", (traded + held) * price, MOST, "start, most, the rules' lot or the days"),
        ("the squared prices of a day, by volume,", units * away**2, MOST, "dispersion, start, most or the rules' lot"),
    )
    for what, value, most, culprits in bounds:
        if value >= most:
            raise ValueError(f"{what} may come to {value:,}, and a run can count to {most:,}; lower {culprits}")
