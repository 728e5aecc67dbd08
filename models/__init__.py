"""What the dealer faces and wants: demand, objectives, channels, problems. No grid, tolerance or seed."""

from typing import TYPE_CHECKING

from .._lazy import make_lazy

if TYPE_CHECKING:
    from .channels import Channel, Quotes
    from .demand import Demand, Exponential, Linear, Logistic, PowerLaw, Tabulated
    from .inventory import AvellanedaStoikov, InventoryDealer
    from .investor import Investor, InvestorRow
    from .objectives import (
        ExponentialUtility,
        MeanQuadraticVariation,
        MeanVariance,
        Objective,
        PreCommitment,
        RunningPenalty,
    )
    from .printed import PrintedDealer
    from .problem import Problem
    from .stock_cash import StockCashDealer

__all__ = [
    "AvellanedaStoikov",
    "Channel",
    "Demand",
    "Exponential",
    "ExponentialUtility",
    "InventoryDealer",
    "Investor",
    "InvestorRow",
    "Linear",
    "Logistic",
    "MeanQuadraticVariation",
    "MeanVariance",
    "Objective",
    "PowerLaw",
    "PreCommitment",
    "PrintedDealer",
    "Problem",
    "Quotes",
    "RunningPenalty",
    "StockCashDealer",
    "Tabulated",
]

make_lazy(
    __name__,
    {
        "channels": ("Channel", "Quotes"),
        "demand": ("Demand", "Exponential", "Linear", "Logistic", "PowerLaw", "Tabulated"),
        "inventory": ("AvellanedaStoikov", "InventoryDealer"),
        "investor": ("Investor", "InvestorRow"),
        "objectives": (
            "ExponentialUtility",
            "MeanQuadraticVariation",
            "MeanVariance",
            "Objective",
            "PreCommitment",
            "RunningPenalty",
        ),
        "printed": ("PrintedDealer",),
        "problem": ("Problem",),
        "stock_cash": ("StockCashDealer",),
    },
)
