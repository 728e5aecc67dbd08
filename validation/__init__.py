"""Whether the answer holds: simulation, statistics, calibration from messages, reports."""

from typing import TYPE_CHECKING

from .._lazy import make_lazy

if TYPE_CHECKING:
    from .calibration import Calibration, calibrate
    from .messages import Messages, read_messages
    from .simulation import Simulation, simulate

__all__ = ["Calibration", "Messages", "Simulation", "calibrate", "read_messages", "simulate"]

make_lazy(
    __name__,
    {
        "calibration": ("Calibration", "calibrate"),
        "messages": ("Messages", "read_messages"),
        "simulation": ("Simulation", "simulate"),
    },
)
