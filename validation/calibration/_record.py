"""From a file of market messages to one record, and from the record to a dealer's problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from ..messages import DataError, Messages, Number, Session, read_messages
from ._fills import (
    INTERVAL,
    Reach,
    Virtual,
    as_definition,
    as_half_units,
    both_sides,
    choose_distances,
    place_quotes,
    reach_evidence,
    virtual_evidence,
)
from ._inference import FEWEST, Estimate, mean_rate
from ._likelihood import IntensityFit, fit_intensity
from ._volatility import drift, mids, realised_volatility, two_scale_volatility

if TYPE_CHECKING:
    from ...models import InventoryDealer
    from ...models.objectives import Objective

_LIMIT = 10  # lots
_HORIZON = 3600.0  # seconds
_LIMIT_IN_DEVIATIONS = 3.0


@dataclass(frozen=True, eq=False)
class Calibration:
    """What one session of messages says about a dealer's market. Money in dollars, time in seconds, sizes in
    units.

    definition names which of `fits` the record speaks for; `bid`, `ask` and `pooled` are its fits. The
    dealer's bid is filled by sellers, its ask by buyers; `pooled` is the rate per side where both sides are
    taken for one.
    """

    source: str
    venue: str
    session: tuple[float, float]  # seconds after midnight
    tick_dollars: float
    market_orders: int
    market_order_rate_per_second: Estimate
    median_market_order_size: float
    median_spread_dollars: float  # over time, not over messages
    realised_volatility_per_sqrt_second: Estimate  # dollars, mid at 1 s
    volatility_per_sqrt_second: Estimate  # dollars, two scales: free of short-lived noise
    drift_per_second: Estimate  # dollars
    definition: str
    fits: Mapping[str, Mapping[str, IntensityFit]]  # by definition, then "bid", "ask", "pooled"
    meanings: Mapping[str, str]  # of the definitions

    @property
    def bid(self) -> IntensityFit:
        """Fills of the dealer's bid, by sellers."""
        return self.fits[self.definition]["bid"]

    @property
    def ask(self) -> IntensityFit:
        """Fills of the dealer's ask, by buyers."""
        return self.fits[self.definition]["ask"]

    @property
    def pooled(self) -> IntensityFit:
        """Fills per side, both sides taken for one."""
        return self.fits[self.definition]["pooled"]

    @property
    def session_seconds(self) -> float:
        """Length of the session."""
        return self.session[1] - self.session[0]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "source": self.source,
            "venue": self.venue,
            "session_seconds_after_midnight": list(self.session),
            "tick_dollars": self.tick_dollars,
            "market_orders": self.market_orders,
            "market_order_rate_per_second": self.market_order_rate_per_second.to_dict(),
            "median_market_order_size": self.median_market_order_size,
            "median_spread_dollars": self.median_spread_dollars,
            "realised_volatility_per_sqrt_second": self.realised_volatility_per_sqrt_second.to_dict(),
            "volatility_per_sqrt_second": self.volatility_per_sqrt_second.to_dict(),
            "drift_per_second": self.drift_per_second.to_dict(),
            "definition": self.definition,
            "definitions": {
                name: {"meaning": self.meanings[name], **{side: fit.to_dict() for side, fit in sides.items()}}
                for name, sides in self.fits.items()
            },
        }

    def table(self) -> str:
        """A plain-text table of the parameters with errors."""
        from ._table import render

        return render(self)

    def problem(
        self,
        horizon_seconds: Number = _HORIZON,
        lot: Number | None = None,
        max_inventory: int = _LIMIT,
        objective: Objective | None = None,
    ) -> InventoryDealer:
        """The dealer's `InventoryDealer` in this market: seconds, dollars, lots of `lot` units. The defaults:

        horizon_seconds  one hour: several times what an inventory takes to revert under the objective below.
        lot              the median market order: the fill that the counted prints stand for. Most of them
        would
                         fill a larger lot only in part, which the demand does not know.
        max_inventory    ten lots, so that a limit is there but is not what controls the inventory.
        objective        a running penalty `phi q^2`, no terminal one, under which the limit is three standard
                         deviations `s` of the stationary inventory away. With both sides at A, k and lots of
                         D the quadratic approximation has phi = A k D w^2/e, where w = 1/(2 k s^2) is the
                         shift of the quotes per lot: so phi = A D/(4 e k s^4). That is a risk budget stated
                         in lots; it amounts to a risk aversion of 2 phi/(sigma D)^2.

        Volatility is the one free of noise. The drift is left out: one session's is no forecast of the next.
        """
        from ...models import Exponential, InventoryDealer, RunningPenalty

        size = self.median_market_order_size if lot is None else lot
        if objective is None:
            deviation = max_inventory / _LIMIT_IN_DEVIATIONS
            scale, k = self.pooled.scale_per_second.value, self.pooled.decay_per_dollar.value
            objective = RunningPenalty(running=scale * size / (4 * np.e * k * deviation**4))

        def demand(fit: IntensityFit) -> Exponential:
            return Exponential(fit.scale_per_second.value, fit.decay_per_dollar.value)

        return InventoryDealer(
            volatility=self.volatility_per_sqrt_second.value,
            horizon=horizon_seconds,
            bid_demand=demand(self.bid),
            ask_demand=demand(self.ask),
            lot=size,
            max_inventory=max_inventory,
            objective=objective,
        )


def calibrate(
    path_or_messages: str | PathLike[str] | Messages,
    definition: str | Reach | Virtual = "virtual10",
    session: Session | None = None,
    distances_dollars: np.ndarray | None = None,
) -> Calibration:
    """Calibrate a dealer's market from messages.

    definition         what counts as a fill at a distance: "reach", or "virtual10" with the seconds between
                       re-centrings in its name. The record holds both, the chosen one speaks.
    session            (open, close) in seconds after midnight. By default 09:35 to 15:55 for LOBSTER, as far
                       as the file goes, and the first to the last trade for Binance.
    distances_dollars  where to measure. By default from half the median spread to the farthest distance with
                       20 virtual fills, in even steps; likelihoods use all of them, least squares those with
                       20 fills.

    Raises `DataError`, a `ValueError`, where file or session cannot serve, and `ValueError` for an unknown
    definition.
    """
    chosen = as_definition(definition)
    messages = path_or_messages if isinstance(path_or_messages, Messages) else read_messages(path_or_messages)
    opening, closing = session = messages.check_session(session)
    mid = mids(messages, session)
    volatility = two_scale_volatility(mid)
    spread = _median_spread(messages, session)
    per_interval, sizes = _market_orders(messages, session)
    virtual = chosen if isinstance(chosen, Virtual) else Virtual()
    fits = _fits(messages, session, virtual, spread / 2, distances_dollars)
    return Calibration(
        source=messages.source,
        venue=messages.venue,
        session=session,
        tick_dollars=messages.tick * messages.price_unit,
        market_orders=sizes.size,
        market_order_rate_per_second=mean_rate(per_interval, closing - opening),
        median_market_order_size=float(np.median(sizes)),
        median_spread_dollars=spread,
        realised_volatility_per_sqrt_second=realised_volatility(mid),
        volatility_per_sqrt_second=volatility,
        drift_per_second=drift(mid, volatility),
        definition=chosen.name,
        fits=fits,
        meanings={d.name: d.meaning for d in (virtual, Reach())},
    )


def _fits(
    messages: Messages,
    session: tuple[float, float],
    virtual: Virtual,
    half_spread: float,
    distances_dollars: np.ndarray | None,
) -> dict[str, dict[str, IntensityFit]]:
    placing = place_quotes(messages, session, virtual.interval_seconds)
    if len(placing.starts) < FEWEST:
        raise DataError(
            f"{messages.source}: the session holds {len(placing.starts)} placings of a quote; "
            f"give at least {FEWEST + 1} times {virtual.interval_seconds:g} s"
        )
    if distances_dollars is None:
        distances = choose_distances(messages, placing, half_spread)
    else:
        distances = as_half_units(messages, distances_dollars)
    evidence = {
        virtual.name: virtual_evidence(messages, placing, distances),
        Reach().name: reach_evidence(messages, session, distances),
    }
    return {
        name: {side: fit_intensity(e, f"{messages.source}, {name} {side}") for side, e in both_sides(sides).items()}
        for name, sides in evidence.items()
    }


def _median_spread(messages: Messages, session: tuple[float, float]) -> float:
    """The spread in dollars that the market shows at most for half of the session."""
    quotes, (opening, closing) = messages.quotes, session
    shown_until = np.append(quotes.time[1:], max(closing, float(quotes.time[-1])))
    seconds = np.clip(shown_until, opening, closing) - np.clip(quotes.time, opening, closing)
    spreads, where = np.unique(quotes.ask - quotes.bid, return_inverse=True)
    weight = np.bincount(where, weights=seconds).cumsum()
    return float(spreads[np.searchsorted(weight, weight[-1] / 2)] * messages.price_unit)


def _market_orders(messages: Messages, session: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Market orders per interval of `INTERVAL` seconds, and their sizes."""
    orders, (opening, closing) = messages.market_orders, session
    inside = (orders.time >= opening) & (orders.time <= closing)
    intervals = round((closing - opening) / INTERVAL)
    if intervals < FEWEST:
        raise DataError(
            f"{messages.source}: a session of {closing - opening:g} s is too short for errors; "
            f"give at least {FEWEST * INTERVAL:g} s"
        )
    if not inside.any():
        raise DataError(f"{messages.source}: no market order in the session; give a longer one")
    counts, _ = np.histogram(orders.time[inside], bins=intervals, range=(opening, closing))
    return counts.astype(float), orders.size[inside]
