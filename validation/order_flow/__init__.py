"""Who sends orders: flow that knows nothing, events that excite one another."""

from typing import TYPE_CHECKING

from ..._lazy import make_lazy

if TYPE_CHECKING:
    from .hawkes import Hawkes, Points
    from .hawkes_fit import HawkesErrors, HawkesFit, fit_hawkes, log_likelihood, residuals
    from .zero_intelligence import ZeroIntelligence, ZeroIntelligenceFlow

__all__ = [
    "Hawkes",
    "HawkesErrors",
    "HawkesFit",
    "Points",
    "ZeroIntelligence",
    "ZeroIntelligenceFlow",
    "fit_hawkes",
    "log_likelihood",
    "residuals",
]

make_lazy(
    __name__,
    {
        "hawkes": ("Hawkes", "Points"),
        "hawkes_fit": ("HawkesErrors", "HawkesFit", "fit_hawkes", "log_likelihood", "residuals"),
        "zero_intelligence": ("ZeroIntelligence", "ZeroIntelligenceFlow"),
    },
)
