"""Whether the answer holds: simulation, statistics, calibration from messages, reports."""

from typing import TYPE_CHECKING

from .._lazy import make_lazy

if TYPE_CHECKING:
    from . import empirical, markets, matching, order_flow
    from .calibration import Calibration, Reach, Virtual, calibrate
    from .currency import CurrencySimulation, simulate_currency
    from .frontier import Frontier, frontier
    from .markets import (
        AuctionRules,
        DealerRules,
        HawkesMarket,
        HybridRules,
        PoissonMarket,
        Population,
        TianjinRules,
        attribute,
        hybrid_study,
        misspecified,
        wrong,
    )
    from .messages import DataError, Messages, read_messages
    from .options_simulation import OptionsSimulation, simulate_options
    from .order_flow import Hawkes, ZeroIntelligence, fit_hawkes
    from .replay import OwnOrder, Record, Replayed, read_record, replay
    from .report import write_report
    from .settlement import SettlementLoss, settlement_loss
    from .simulation import Simulation, simulate
    from .sweeps import sweep

__all__ = [
    "AuctionRules",
    "Calibration",
    "CurrencySimulation",
    "DataError",
    "DealerRules",
    "Frontier",
    "Hawkes",
    "HawkesMarket",
    "HybridRules",
    "Messages",
    "OptionsSimulation",
    "OwnOrder",
    "PoissonMarket",
    "Population",
    "Reach",
    "Record",
    "Replayed",
    "SettlementLoss",
    "Simulation",
    "TianjinRules",
    "Virtual",
    "ZeroIntelligence",
    "attribute",
    "calibrate",
    "empirical",
    "fit_hawkes",
    "frontier",
    "hybrid_study",
    "markets",
    "matching",
    "misspecified",
    "order_flow",
    "read_messages",
    "read_record",
    "replay",
    "settlement_loss",
    "simulate",
    "simulate_currency",
    "simulate_options",
    "sweep",
    "write_report",
    "wrong",
]

make_lazy(
    __name__,
    {
        "calibration": ("Calibration", "Reach", "Virtual", "calibrate"),
        "currency": ("CurrencySimulation", "simulate_currency"),
        "empirical": (),
        "frontier": ("Frontier", "frontier"),
        "markets": (
            "AuctionRules",
            "DealerRules",
            "HawkesMarket",
            "HybridRules",
            "PoissonMarket",
            "Population",
            "TianjinRules",
            "attribute",
            "hybrid_study",
            "misspecified",
            "wrong",
        ),
        "matching": (),
        "messages": ("DataError", "Messages", "read_messages"),
        "options_simulation": ("OptionsSimulation", "simulate_options"),
        "order_flow": ("Hawkes", "ZeroIntelligence", "fit_hawkes"),
        "replay": ("OwnOrder", "Record", "Replayed", "read_record", "replay"),
        "report": ("write_report",),
        "settlement": ("SettlementLoss", "settlement_loss"),
        "simulation": ("Simulation", "simulate"),
        "sweeps": ("sweep",),
    },
)
