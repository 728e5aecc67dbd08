"""What the dealer faces and wants: demand, objectives, channels, problems. No grid, tolerance or seed."""

from typing import TYPE_CHECKING

from .._lazy import make_lazy

if TYPE_CHECKING:
    from .channels import Channel, Quotes
    from .constraints import ForcedReduction, Margin, Overnight
    from .currency import CurrencyDealer, Hedging
    from .currency_book import CurrencyBook
    from .demand import Demand, Exponential, Linear, Logistic, PowerLaw, Tabulated
    from .demands import Demands
    from .heston import Heston, black_scholes_call, implied_volatility
    from .inventory import AvellanedaStoikov, InventoryDealer
    from .investor import Investor, InvestorRow
    from .multi_asset import MultiAssetDealer, factor_covariance
    from .objectives import (
        ExponentialUtility,
        MeanQuadraticVariation,
        MeanVariance,
        Objective,
        PreCommitment,
        RiskPenalty,
        RunningPenalty,
    )
    from .options_book import OptionsBook
    from .printed import PrintedDealer
    from .problem import Problem
    from .stock_cash import StockCashDealer

__all__ = [
    "AvellanedaStoikov",
    "Channel",
    "CurrencyBook",
    "CurrencyDealer",
    "Demand",
    "Demands",
    "Exponential",
    "ExponentialUtility",
    "ForcedReduction",
    "Hedging",
    "Heston",
    "InventoryDealer",
    "Investor",
    "InvestorRow",
    "Linear",
    "Logistic",
    "Margin",
    "MeanQuadraticVariation",
    "MeanVariance",
    "MultiAssetDealer",
    "Objective",
    "OptionsBook",
    "Overnight",
    "PowerLaw",
    "PreCommitment",
    "PrintedDealer",
    "Problem",
    "Quotes",
    "RiskPenalty",
    "RunningPenalty",
    "StockCashDealer",
    "Tabulated",
    "black_scholes_call",
    "factor_covariance",
    "implied_volatility",
]

make_lazy(
    __name__,
    {
        "channels": ("Channel", "Quotes"),
        "constraints": ("ForcedReduction", "Margin", "Overnight"),
        "currency": ("CurrencyDealer", "Hedging"),
        "currency_book": ("CurrencyBook",),
        "demand": ("Demand", "Exponential", "Linear", "Logistic", "PowerLaw", "Tabulated"),
        "demands": ("Demands",),
        "heston": ("Heston", "black_scholes_call", "implied_volatility"),
        "inventory": ("AvellanedaStoikov", "InventoryDealer"),
        "investor": ("Investor", "InvestorRow"),
        "multi_asset": ("MultiAssetDealer", "factor_covariance"),
        "objectives": (
            "ExponentialUtility",
            "MeanQuadraticVariation",
            "MeanVariance",
            "Objective",
            "PreCommitment",
            "RiskPenalty",
            "RunningPenalty",
        ),
        "options_book": ("OptionsBook",),
        "printed": ("PrintedDealer",),
        "problem": ("Problem",),
        "stock_cash": ("StockCashDealer",),
    },
)
