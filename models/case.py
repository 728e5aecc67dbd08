"""Problems as plain data and back: what a case file and a saved solution hold.

An object becomes a dictionary of its constructor's arguments with its class under `"type"`, numbers as floats.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import (
    constraints,
    currency,
    currency_book,
    demand,
    heston,
    inventory,
    multi_asset,
    objectives,
    options_book,
    printed,
    stock_cash,
)
from ._stated import Stated

KINDS: dict[str, type[Stated]] = {
    kind.__name__: kind
    for kind in (
        demand.Exponential,
        demand.Linear,
        demand.Logistic,
        demand.PowerLaw,
        demand.Tabulated,
        objectives.MeanVariance,
        objectives.MeanQuadraticVariation,
        objectives.PreCommitment,
        objectives.ExponentialUtility,
        objectives.RunningPenalty,
        objectives.RiskPenalty,
        constraints.Margin,
        constraints.ForcedReduction,
        constraints.Overnight,
        stock_cash.StockCashDealer,
        inventory.InventoryDealer,
        inventory.AvellanedaStoikov,
        multi_asset.MultiAssetDealer,
        printed.PrintedDealer,
        currency.CurrencyDealer,
        currency_book.CurrencyBook,
        currency.Hedging,
        heston.Heston,
        options_book.OptionsBook,
    )
}


def to_data(stated: Any) -> Any:
    """A statement as nested dictionaries of strings, floats and lists; arguments that are None are left out."""
    if isinstance(stated, Stated):
        arguments = {name: to_data(value) for name, value in stated.arguments().items() if value is not None}
        return {"type": type(stated).__name__, **arguments}
    if isinstance(stated, str):
        return stated
    if isinstance(stated, tuple | list) and any(isinstance(one, Stated) for one in stated):
        return [to_data(one) for one in stated]
    array = np.asarray(stated, dtype=float)
    return float(array) if array.ndim == 0 else array.tolist()


def from_data(data: Any, where: str = "case") -> Any:
    """The statement that `data` describes. Raises `ValueError` naming the key (with its place) and the mend."""
    if isinstance(data, list) and any(isinstance(one, Mapping) for one in data):
        return tuple(from_data(one, f"{where}[{i}]") for i, one in enumerate(data))
    if not isinstance(data, Mapping):
        return data
    name = data.get("type")
    if name not in KINDS:
        raise ValueError(f"{where}.type is {name!r}, which is none of {', '.join(KINDS)}; name one of them")
    kind = KINDS[name]
    signature = inspect.signature(kind)
    given = {key: value for key, value in data.items() if key != "type"}
    for key in given:
        if key not in signature.parameters:
            raise ValueError(
                f"{where}.{key} is not known; {name} takes {', '.join(signature.parameters)}: correct or remove the key"
            )
    for key, parameter in signature.parameters.items():
        if key not in given and parameter.default is inspect.Parameter.empty:
            raise ValueError(f"{where}.{key} is missing; {name} needs it")
    try:
        return kind(**{key: from_data(value, f"{where}.{key}") for key, value in given.items()})
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None
