"""A dealer in an asymmetric market, whom a limit binds."""

import twosided as ts

MODELS = ts.models


def dealer(objective, *, bid=(3000.0, 55.0), ask=(4200.0, 65.0), **changes):
    """Distances relative, time in years.

    Half a lot of room keeps the third lot from being shut out by a move of the price.
    """
    settings = {
        "growth": 0.25,
        "volatility": 0.45,
        "rate": 0.03,
        "horizon": 5 / 244,
        "bid_demand": MODELS.Exponential(*bid),
        "ask_demand": MODELS.Exponential(*ask),
        "lot": 1.0,
        "max_stock": 3.5,
        "objective": objective,
    }
    return MODELS.StockCashDealer(**(settings | changes))
