"""Markets with real frictions, where the value that a solver predicts goes in them, and what being wrong costs."""

from typing import TYPE_CHECKING

from ..._lazy import make_lazy

if TYPE_CHECKING:
    from ._play import check_market, nearest, open_venue
    from ._venue import Venue
    from .attribution import Attribution, Term, attribute
    from .day import WatchedDay, watch_day
    from .hawkes import HawkesMarket
    from .hybrid import run_days, step, trading_day
    from .kinds import MARKETS, market_from_data
    from .misspecified import Misspecification, Regret, misspecified, wrong
    from .poisson import PoissonMarket
    from .population import Population
    from .quotes import DealerQuotes, calibrated_dealer, no_dealer, quote_table
    from .rules import AuctionRules, DealerRules, HybridRules, MarketRules, Session, TianjinRules, clock
    from .study import (
        MEASURES,
        SCHEME,
        Claim,
        HybridStudy,
        Interval,
        dealer_quotes,
        dealer_share,
        hybrid_study,
        interval,
        simulate_markets,
    )

__all__ = [
    "MARKETS",
    "MEASURES",
    "SCHEME",
    "Attribution",
    "AuctionRules",
    "Claim",
    "DealerQuotes",
    "DealerRules",
    "HawkesMarket",
    "HybridRules",
    "HybridStudy",
    "Interval",
    "MarketRules",
    "Misspecification",
    "PoissonMarket",
    "Population",
    "Regret",
    "Session",
    "Term",
    "TianjinRules",
    "Venue",
    "WatchedDay",
    "attribute",
    "calibrated_dealer",
    "check_market",
    "clock",
    "dealer_quotes",
    "dealer_share",
    "hybrid_study",
    "interval",
    "market_from_data",
    "misspecified",
    "nearest",
    "no_dealer",
    "open_venue",
    "quote_table",
    "run_days",
    "simulate_markets",
    "step",
    "trading_day",
    "watch_day",
    "wrong",
]

make_lazy(
    __name__,
    {
        "_play": ("check_market", "nearest", "open_venue"),
        "_venue": ("Venue",),
        "attribution": ("Attribution", "Term", "attribute"),
        "day": ("WatchedDay", "watch_day"),
        "hawkes": ("HawkesMarket",),
        "hybrid": ("run_days", "step", "trading_day"),
        "misspecified": ("Misspecification", "Regret", "misspecified", "wrong"),
        "kinds": ("MARKETS", "market_from_data"),
        "poisson": ("PoissonMarket",),
        "population": ("Population",),
        "quotes": ("DealerQuotes", "calibrated_dealer", "no_dealer", "quote_table"),
        "rules": ("AuctionRules", "DealerRules", "HybridRules", "MarketRules", "Session", "TianjinRules", "clock"),
        "study": (
            "MEASURES",
            "SCHEME",
            "Claim",
            "HybridStudy",
            "Interval",
            "dealer_quotes",
            "dealer_share",
            "hybrid_study",
            "interval",
            "simulate_markets",
        ),
    },
)
