"""A market as data: what stands between a policy's distances and its fills."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import equinox as eqx
import numpy as np

from ...models._precision import check, parameter
from ...models._stated import Stated

GROUPS = {
    "limits": ("position_limit", "price_limit"),
    "informed": ("informed", "informed_move", "informed_delay"),
    "clustering": ("self_excitation", "cross_excitation", "decay"),
}
"""Settings that make one friction together."""


class PoissonMarket(Stated):
    """Market orders of one lot that come as the problem's own demand says, against quotes posted under real rules.

    Every order has a depth that it is willing to reach, so that a quote at distance `x` from the reference price is
    hit with intensity `Lambda(x)`. As it stands, without frictions, this is the model's own world. Distances and times
    are in the problem's units; zero (or `inf`) switches a friction off. Prices are in the unit of the distances, or,
    for a `StockCashDealer`, whose distances are relative, in that of `opening`.

    tick:               of prices, which are whole multiples of it; a bid is rounded down and an ask up.
    queue_ahead:        lots, a whole number: what already rests at a price where the dealer joins. Orders that reach
                        the price are served there first come, first served; who leaves a price loses the place.
    refresh:            time between two messages of the dealer, each of which replaces both quotes. A quote is for
                        one lot: a side that was filled stays empty until the next one. 0: quotes follow the reference
                        and the inventory at every moment.
    latency:            time from the dealer's look at the market to the moment its quotes stand there. One message is
                        under way at a time, so that the interval between two is `max(refresh, latency)`. The quotes of
                        time 0 stand at once.
    adverse_selection:  a distance, on top of the problem's own: how far the reference has moved against the dealer by
                        the time of a fill. A fill at distance `x` earns `lot (x - own - this)`.
    informed:           share of the orders that know where the reference goes, of those that accept its price (and so
                        of all that hit a quote at a distance of zero or more).
    informed_move:      a distance: how far the reference goes after an informed order, up after one that buys.
    informed_delay:     time: the move is spread over what follows like `e^{-time/delay} / delay`; 0: it comes at once.
                        Orders and prices are as many and as volatile as without: what moves with orders is part of the
                        problem's drift and volatility, not on top, where orders are not clustered.
    position_limit:     lots; a quote whose fill would carry the inventory beyond it is refused, as one beyond the
                        problem's own limit always is. Within an interval it is passed over where a fill would.
    price_limit:        share of `opening`, such as 0.15; a quote beyond `opening (1 +- price_limit)` is refused.
    opening:            the reference price at time 0; needed by `price_limit` and for where ticks lie.

    Raises `ValueError` for negative numbers, for `queue_ahead` without a tick or an interval (a quote that moves
    continuously never holds a place in a queue), for `price_limit` without a positive `opening`, and for one of
    `informed` and `informed_move` without the other.
    """

    tick: Any = eqx.field(converter=parameter, default=0.0)
    queue_ahead: Any = eqx.field(converter=parameter, default=0.0)
    refresh: Any = eqx.field(converter=parameter, default=0.0)
    latency: Any = eqx.field(converter=parameter, default=0.0)
    adverse_selection: Any = eqx.field(converter=parameter, default=0.0)
    informed: Any = eqx.field(converter=parameter, default=0.0)
    informed_move: Any = eqx.field(converter=parameter, default=0.0)
    informed_delay: Any = eqx.field(converter=parameter, default=0.0)
    position_limit: Any = eqx.field(converter=parameter, default=np.inf)
    price_limit: Any = eqx.field(converter=parameter, default=np.inf)
    opening: Any = eqx.field(converter=parameter, default=0.0)

    def __check_init__(self) -> None:
        name = type(self).__name__
        for each in ("tick", "refresh", "latency", "adverse_selection", "informed", "informed_move", "informed_delay"):
            check(f"{name}: {each}", self._one(each), least=0, hint="0 switches it off")
        check(f"{name}: queue_ahead", self._one("queue_ahead"), least=0, hint="it is a number of lots")
        check(f"{name}: opening", self._one("opening"), hint="it is the reference price at time 0")
        for complaint in (self._queue_complaint(), self._limits_complaint(), self._informed_complaint()):
            if complaint:
                raise ValueError(f"{name}: {complaint}")

    def _queue_complaint(self) -> str | None:
        if self.queue_ahead != np.round(self.queue_ahead):
            return f"queue_ahead must be a whole number of lots, got {self.queue_ahead:g}; round it"
        if self.queue_ahead > 0 and not (self.tick > 0 and self.interval > 0):
            return (
                "queue_ahead needs a tick and a refresh (or a latency), as a quote that moves continuously holds no "
                "place in a queue; give both"
            )
        return None

    def _limits_complaint(self) -> str | None:
        if not self._one("position_limit") >= 1:
            return f"position_limit must be at least one lot, got {self.position_limit:g}; inf for none"
        if not self._one("price_limit") > 0:
            return f"price_limit must be positive, got {self.price_limit:g}; 0.15 for 15%, inf for none"
        if np.isfinite(self.price_limit) and not self.opening > 0:
            return (
                f"opening must be positive where there is a price_limit, got {self.opening:g}; "
                "give the reference price at time 0"
            )
        return None

    def _informed_complaint(self) -> str | None:
        if self.informed > 1:
            return f"informed is a share between 0 and 1, got {self.informed:g}"
        for one, other in (
            ("informed", "informed_move"),
            ("informed_move", "informed"),
            ("informed_delay", "informed"),
        ):
            if getattr(self, one) > 0 and not getattr(self, other) > 0:
                return f"{one} needs {other} as well, got {getattr(self, other):g}; give both or neither"
        return None

    def _one(self, name: str) -> np.ndarray:
        value = getattr(self, name)
        if np.ndim(value) != 0:
            raise ValueError(
                f"{type(self).__name__}: {name} must be one number, got {np.size(value)}; take markets one by one"
            )
        return value

    @property
    def interval(self) -> float:
        """Time between two messages of the dealer, 0 where quotes are continuous."""
        return float(max(self.refresh, self.latency))

    @property
    def clustering(self) -> tuple[float, float, float]:
        """Orders that one brings on its own side and on the other, in the mean, and how fast that is forgotten."""
        return 0.0, 0.0, 1.0

    @property
    def stirs(self) -> bool:
        """Whether orders matter that hit no quote: for what they excite or know."""
        return bool(self.informed > 0 or any(share > 0 for share in self.clustering[:2]))

    def arguments(self) -> dict[str, Any]:
        """What is stated apart from the defaults."""
        stated = {f.name: getattr(self, f.name) for f in fields(self)}
        return {f.name: stated[f.name] for f in fields(self) if stated[f.name] != f.default}

    def to_data(self) -> dict[str, Any]:
        """What is stated, as plain data that `market_from_data` reads."""
        return {"type": type(self).__name__, **{name: float(value) for name, value in self.arguments().items()}}

    def only(self, frictions: tuple[str, ...]) -> PoissonMarket:
        """This market with all frictions but `frictions` switched off; `GROUPS` says which name stands for several.

        Without "clustering" it is a `PoissonMarket`.
        """
        kept = {"opening"}.union(*(GROUPS.get(name, (name,)) for name in frictions))
        kind = type(self) if "clustering" in frictions else PoissonMarket
        return kind(**{name: value for name, value in self.arguments().items() if name in kept})
