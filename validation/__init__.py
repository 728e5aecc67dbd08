"""Whether the answer holds: simulation, statistics, calibration from messages, reports."""

from typing import TYPE_CHECKING

from .._lazy import make_lazy

if TYPE_CHECKING:
    from . import markets, matching
    from .calibration import Calibration, Reach, Virtual, calibrate
    from .markets import AuctionRules, DealerRules, HybridRules, Population, TianjinRules, hybrid_study
    from .messages import DataError, Messages, read_messages
    from .report import write_report
    from .simulation import Simulation, simulate

__all__ = [
    "AuctionRules",
    "Calibration",
    "DataError",
    "DealerRules",
    "HybridRules",
    "Messages",
    "Population",
    "Reach",
    "Simulation",
    "TianjinRules",
    "Virtual",
    "calibrate",
    "hybrid_study",
    "markets",
    "matching",
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
        "report": ("write_report",),
        "simulation": ("Simulation", "simulate"),
    },
)
