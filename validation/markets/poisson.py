"""A market as data: what stands between a policy's distances and its fills."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import numpy as np

from ...models._precision import check, parameter
from ...models._stated import Stated

LIMITS = ("position_limit", "price_limit")


class PoissonMarket(Stated):
    """Market orders of one lot that come as the problem's own demand says, against quotes posted under real rules.

    Every order has a depth that it is willing to reach, so that a quote at distance `x` from the reference price is
    hit with intensity `Lambda(x)`. As it stands, without frictions, this is the model's own world. Prices, distances
    and times are in the problem's units; zero (or `inf`) switches a friction off.

    tick:               price units; prices are whole multiples of it, a bid is rounded down and an ask up.
    queue_ahead:        lots, a whole number: what already rests at a price where the dealer joins. Orders that reach
                        the price are served there first come, first served; who leaves a price loses the place.
    refresh:            time between two messages of the dealer, each of which replaces both quotes. A quote is for
                        one lot: a side that was filled stays empty until the next one. 0: quotes follow the reference
                        and the inventory at every moment.
    latency:            time from the dealer's look at the market to the moment its quotes stand there. One message is
                        under way at a time, so that the interval between two is `max(refresh, latency)`. The quotes of
                        time 0 stand at once.
    adverse_selection:  price units, on top of the problem's own: how far the reference has moved against the dealer by
                        the time of a fill. A fill at distance `x` earns `lot (x - own - this)`.
    position_limit:     lots; a quote whose fill would carry the inventory beyond it is refused, as one beyond the
                        problem's own limit always is. Within an interval it is passed over where a fill would.
    price_limit:        share of `opening`, such as 0.15; a quote beyond `opening (1 +- price_limit)` is refused.
    opening:            the reference price at time 0, price units; needed by `price_limit` and for where ticks lie.

    Raises `ValueError` for negative numbers, for `queue_ahead` without a tick or an interval (a quote that moves
    continuously never holds a place in a queue), and for `price_limit` without a positive `opening`.
    """

    tick: Any = eqx.field(converter=parameter, default=0.0)
    queue_ahead: Any = eqx.field(converter=parameter, default=0.0)
    refresh: Any = eqx.field(converter=parameter, default=0.0)
    latency: Any = eqx.field(converter=parameter, default=0.0)
    adverse_selection: Any = eqx.field(converter=parameter, default=0.0)
    position_limit: Any = eqx.field(converter=parameter, default=np.inf)
    price_limit: Any = eqx.field(converter=parameter, default=np.inf)
    opening: Any = eqx.field(converter=parameter, default=0.0)

    def __check_init__(self) -> None:
        for name in ("tick", "refresh", "latency", "adverse_selection"):
            check(f"PoissonMarket: {name}", self._one(name), least=0, hint="0 switches it off")
        check("PoissonMarket: queue_ahead", self._one("queue_ahead"), least=0, hint="it is a number of lots")
        check("PoissonMarket: opening", self._one("opening"), hint="it is the reference price at time 0")
        if self.queue_ahead != np.round(self.queue_ahead):
            raise ValueError(
                f"PoissonMarket: queue_ahead must be a whole number of lots, got {self.queue_ahead:g}; round it"
            )
        if not self._one("position_limit") >= 1:
            raise ValueError(
                f"PoissonMarket: position_limit must be at least one lot, got {self.position_limit:g}; inf for none"
            )
        if not self._one("price_limit") > 0:
            raise ValueError(
                f"PoissonMarket: price_limit must be positive, got {self.price_limit:g}; 0.15 for 15%, inf for none"
            )
        if np.isfinite(self.price_limit) and not self.opening > 0:
            raise ValueError(
                f"PoissonMarket: opening must be positive where there is a price_limit, got {self.opening:g}; "
                "give the reference price at time 0"
            )
        if self.queue_ahead > 0 and not (self.tick > 0 and self.interval > 0):
            raise ValueError(
                "PoissonMarket: queue_ahead needs a tick and a refresh (or a latency), as a quote that moves "
                "continuously holds no place in a queue; give both"
            )

    def _one(self, name: str) -> np.ndarray:
        value = getattr(self, name)
        if np.ndim(value) != 0:
            raise ValueError(f"PoissonMarket: {name} must be one number, got {np.size(value)}; take markets one by one")
        return value

    @property
    def interval(self) -> float:
        """Time between two messages of the dealer, 0 where quotes are continuous."""
        return float(max(self.refresh, self.latency))

    def arguments(self) -> dict[str, Any]:
        """What is stated apart from the defaults."""
        stated = {name: getattr(self, name) for name in FIELDS}
        return {name: value for name, value in stated.items() if value != _OFF[name]}

    def to_data(self) -> dict[str, Any]:
        """What is stated, as plain data that `market_from_data` reads."""
        return {"type": type(self).__name__, **{name: float(value) for name, value in self.arguments().items()}}

    def only(self, frictions: tuple[str, ...]) -> PoissonMarket:
        """This market with all frictions but `frictions` switched off; "limits" stands for both limits."""
        kept = {"opening", *frictions, *(LIMITS if "limits" in frictions else ())}
        return PoissonMarket(**{name: value for name, value in self.arguments().items() if name in kept})


_OFF: dict[str, float] = {"position_limit": np.inf, "price_limit": np.inf}
FIELDS = tuple(PoissonMarket.__dataclass_fields__)
_OFF |= {name: 0.0 for name in FIELDS if name not in _OFF}

MARKETS = {market.__name__: market for market in (PoissonMarket,)}


def market_from_data(data: Mapping[str, Any], where: str = "market") -> PoissonMarket:
    """A market from plain data, its type and what its constructor takes; raises `ValueError` naming key and mend."""
    name = data.get("type")
    if name not in MARKETS:
        raise ValueError(f"{where}.type is {name!r}, which is none of {', '.join(MARKETS)}; name one of them")
    for key in data:
        if key != "type" and key not in FIELDS:
            raise ValueError(f"{where}.{key} is not known; {name} takes {', '.join(FIELDS)}: correct or remove the key")
    return MARKETS[name](**{key: value for key, value in data.items() if key != "type"})
