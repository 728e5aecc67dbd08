"""Calibration from market messages, and of the risk aversion: implied, from a budget, or from trades."""

from typing import TYPE_CHECKING

from ..._lazy import make_lazy
from ._fills import FillCurve, Reach, Virtual
from ._inference import Estimate, FitTest
from ._likelihood import IntensityFit
from ._record import Calibration, calibrate

if TYPE_CHECKING:
    from ._budget import UnreachableTarget, risk_aversion_for_budget
    from ._columns import read_quotes, read_trades
    from ._estimate import Frontier, Profile, RiskAversionEstimate, WeakIdentification
    from ._implied import QuoteObservations, implied_risk_aversion
    from ._inventory import risk_aversion_from_inventory
    from ._observe import TradeRecord, observe_trades
    from ._parameters import Inputs

__all__ = [
    "Calibration",
    "Estimate",
    "FillCurve",
    "FitTest",
    "Frontier",
    "Inputs",
    "IntensityFit",
    "Profile",
    "QuoteObservations",
    "Reach",
    "RiskAversionEstimate",
    "TradeRecord",
    "UnreachableTarget",
    "Virtual",
    "WeakIdentification",
    "calibrate",
    "implied_risk_aversion",
    "observe_trades",
    "read_quotes",
    "read_trades",
    "risk_aversion_for_budget",
    "risk_aversion_from_inventory",
]

make_lazy(
    __name__,
    {
        "_budget": ("UnreachableTarget", "risk_aversion_for_budget"),
        "_columns": ("read_quotes", "read_trades"),
        "_estimate": ("Frontier", "Profile", "RiskAversionEstimate", "WeakIdentification"),
        "_implied": ("QuoteObservations", "implied_risk_aversion"),
        "_inventory": ("risk_aversion_from_inventory",),
        "_observe": ("TradeRecord", "observe_trades"),
        "_parameters": ("Inputs",),
    },
)
