"""Whether the answer holds: simulation, statistics, calibration from messages, reports."""

from typing import TYPE_CHECKING

from .._lazy import make_lazy

if TYPE_CHECKING:
    from . import matching
    from .calibration import Calibration, Reach, Virtual, calibrate
    from .messages import DataError, Messages, read_messages
    from .report import write_report
    from .simulation import Simulation, simulate

__all__ = [
    "Calibration",
    "DataError",
    "Messages",
    "Reach",
    "Simulation",
    "Virtual",
    "calibrate",
    "matching",
    "read_messages",
    "simulate",
    "write_report",
]

make_lazy(
    __name__,
    {
        "calibration": ("Calibration", "Reach", "Virtual", "calibrate"),
        "matching": (),
        "messages": ("DataError", "Messages", "read_messages"),
        "report": ("write_report",),
        "simulation": ("Simulation", "simulate"),
    },
)
