"""Whether the answer holds: simulation, statistics, calibration from messages, reports."""

from typing import TYPE_CHECKING

from .._lazy import make_lazy

if TYPE_CHECKING:
    from . import markets, matching, order_flow
    from .calibration import Calibration, Reach, Virtual, calibrate
    from .markets import AuctionRules, DealerRules, HybridRules, Population, TianjinRules, hybrid_study
    from .messages import DataError, Messages, read_messages
    from .order_flow import Hawkes, ZeroIntelligence, fit_hawkes
    from .report import write_report
    from .simulation import Simulation, simulate

__all__ = [
    "AuctionRules",
    "Calibration",
    "DataError",
    "DealerRules",
    "Hawkes",
    "HybridRules",
    "Messages",
    "Population",
    "Reach",
    "Simulation",
    "TianjinRules",
    "Virtual",
    "ZeroIntelligence",
    "calibrate",
    "fit_hawkes",
    "hybrid_study",
    "markets",
    "matching",
    "order_flow",
    "read_messages",
    "simulate",
    "write_report",
]

make_lazy(
    __name__,
    {
        "calibration": ("Calibration", "Reach", "Virtual", "calibrate"),
        "markets": ("AuctionRules", "DealerRules", "HybridRules", "Population", "TianjinRules", "hybrid_study"),
        "matching": (),
        "messages": ("DataError", "Messages", "read_messages"),
        "order_flow": ("Hawkes", "ZeroIntelligence", "fit_hawkes"),
        "report": ("write_report",),
        "simulation": ("Simulation", "simulate"),
    },
)
