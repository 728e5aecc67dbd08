"""Markets with real frictions, where the value that a solver predicts goes in them, and what being wrong costs."""

from typing import TYPE_CHECKING

from ..._lazy import make_lazy

if TYPE_CHECKING:
    from .attribution import Attribution, Term, attribute
    from .misspecified import Misspecification, Regret, misspecified, wrong
    from .poisson import MARKETS, PoissonMarket, market_from_data

__all__ = [
    "MARKETS",
    "Attribution",
    "Misspecification",
    "PoissonMarket",
    "Regret",
    "Term",
    "attribute",
    "market_from_data",
    "misspecified",
    "wrong",
]

make_lazy(
    __name__,
    {
        "attribution": ("Attribution", "Term", "attribute"),
        "misspecified": ("Misspecification", "Regret", "misspecified", "wrong"),
        "poisson": ("MARKETS", "PoissonMarket", "market_from_data"),
    },
)
