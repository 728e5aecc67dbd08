"""The markets that a policy can be played in, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from .hawkes import HawkesMarket
from .poisson import PoissonMarket

MARKETS: dict[str, type[PoissonMarket]] = {market.__name__: market for market in (PoissonMarket, HawkesMarket)}


def settings_of(name: str) -> tuple[str, ...]:
    """What the constructor of a market takes."""
    return tuple(f.name for f in fields(MARKETS[name]))


def market_from_data(data: Mapping[str, Any], where: str = "market") -> PoissonMarket:
    """A market from plain data, its type and what its constructor takes; raises `ValueError` naming key and mend."""
    name = data.get("type")
    if name not in MARKETS:
        raise ValueError(f"{where}.type is {name!r}, which is none of {', '.join(MARKETS)}; name one of them")
    known = settings_of(name)
    for key in data:
        if key != "type" and key not in known:
            raise ValueError(f"{where}.{key} is not known; {name} takes {', '.join(known)}: correct or remove the key")
    return MARKETS[name](**{key: value for key, value in data.items() if key != "type"})
