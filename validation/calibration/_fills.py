"""How often a quote at a distance from the mid is filled: two definitions, counted from messages.

reach       The rate at `d` is the number of market orders whose deepest fill lies at least `d` from the mid
            just before them, over the time. A fill at `d` here is an order that would have reached `d`,
            whatever stood before it in the book.
virtual10   A quote at mid +- d is placed every 10 s; it is filled when an aggressor's print reaches it (no
            queue ahead of it: an upper bound). The rate is the fills over the time exposed, until the fill or
            the next placing. The mid moves meanwhile, so this rate falls slower in `d` than `reach`.

A dealer's bid is filled by sellers, its ask by buyers. Both definitions come out as `Evidence`, cells of
fills and exposure, which one likelihood serves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..messages import DataError, Messages, Number, Prints

INTERVAL = 10.0  # seconds: re-centring of `virtual10`, and the unit of time in which errors are counted
FEWEST_FILLS = 20  # that a distance needs to enter the least squares
_FINEST = 60  # distances that the automatic grid holds at least, unless half ticks are coarser
SIDES = {"bid": -1, "ask": +1}  # the aggressor who fills a quote on that side


@dataclass(frozen=True)
class Reach:
    """Market orders whose deepest fill lies at least the distance from the mid just before."""

    @property
    def name(self) -> str:
        return "reach"

    @property
    def meaning(self) -> str:
        return "market orders whose deepest fill lies at least d from the mid just before"


@dataclass(frozen=True)
class Virtual:
    """Quotes re-centred every `interval_seconds`, filled when an aggressor's print reaches them."""

    interval_seconds: Number = INTERVAL

    def __post_init__(self) -> None:
        if not 0 < self.interval_seconds < float("inf"):
            raise ValueError(f"Virtual: interval_seconds must be positive and finite, got {self.interval_seconds:g}")

    @property
    def name(self) -> str:
        return f"virtual{self.interval_seconds:g}"

    @property
    def meaning(self) -> str:
        return (
            f"a quote at mid +- d re-centred every {self.interval_seconds:g} s, "
            "filled when an aggressor's print reaches it"
        )


def as_definition(definition: str | Reach | Virtual) -> Reach | Virtual:
    """The definition of a name: "reach", or "virtual" and seconds between re-centrings: "virtual10"."""
    if isinstance(definition, Reach | Virtual):
        return definition
    seconds = re.fullmatch(r"virtual(\d+(?:\.\d+)?)", definition)
    if seconds:
        return Virtual(float(seconds[1]))
    if definition == "reach":
        return Reach()
    raise ValueError(f"definition must be 'reach' or 'virtual10' (or another number of seconds), got {definition!r}")


@dataclass(frozen=True, eq=False)
class Evidence:
    """Fills and exposure in `n` intervals of time and `J` cells of distance.

    A cell collects events at a distance within [lower, upper), which come at the rate A (e^{-k lower} - e^{-k
    upper}): `upper` is infinite for a virtual quote, which any print that far or farther fills.
    """

    lower: np.ndarray  # (J,) dollars
    upper: np.ndarray  # (J,) dollars
    fills: np.ndarray  # (n, J)
    exposure: np.ndarray  # (n, J) seconds
    young: np.ndarray | None  # (J,) whether the quote was in the first half of its life; None where it has none

    def __add__(self, other: Evidence) -> Evidence:
        """Both sides together, as if one quote stood on either."""
        fills, exposure = self.fills + other.fills, self.exposure + other.exposure
        return Evidence(self.lower, self.upper, fills, exposure, self.young)


@dataclass(frozen=True, eq=False)
class FillCurve:
    """The rate of fills per side against distance. Arrays (J,)."""

    distance_dollars: np.ndarray
    fills: np.ndarray
    exposure_seconds: np.ndarray

    @property
    def rate_per_second(self) -> np.ndarray:
        """Fills over exposure."""
        return self.fills / self.exposure_seconds

    def to_dict(self) -> dict[str, list[float]]:
        """Columns as lists, ready for JSON."""
        return {
            "distance_dollars": self.distance_dollars.tolist(),
            "rate_per_second": self.rate_per_second.tolist(),
            "fills": self.fills.tolist(),
            "exposure_seconds": self.exposure_seconds.tolist(),
        }


@dataclass(frozen=True, eq=False)
class Placing:
    """What virtual quotes meet: each print's interval, waiting time and distance from the mid placed at."""

    starts: np.ndarray  # (n,) seconds
    interval: Number
    window: np.ndarray  # (prints,) index of the interval
    waited: np.ndarray  # (prints,) seconds since the placing
    reached: np.ndarray  # (prints,) half price units beyond the mid, in the aggressor's direction
    side: np.ndarray  # (prints,) of the aggressor


def place_quotes(messages: Messages, session: tuple[float, float], interval: Number) -> Placing:
    """Place virtual quotes every `interval` seconds; the last interval ends before the session does."""
    opening, closing = session
    starts = np.arange(opening, closing - interval, interval)
    prints: Prints = messages.prints
    window = np.floor((prints.time - opening) / interval).astype(np.int64)
    inside = (window >= 0) & (window < len(starts))
    window, side = window[inside], prints.side[inside]
    waited = np.clip(prints.time[inside] - starts[window], 0.0, interval)
    reached = side * (2 * prints.price[inside] - messages.twice_mid_at(starts)[window])
    return Placing(starts, interval, window, waited, reached, side)


def choose_distances(messages: Messages, placing: Placing, half_spread: float) -> np.ndarray:
    """Distances (J,) in half price units at which to measure: one range for all definitions.

    They run from half the median spread to the farthest distance that still has `FEWEST_FILLS` virtual fills,
    in steps of 1, 2 or 5 times a power of ten half ticks, as coarse as leaves `_FINEST` of them from zero on.
    """
    farthest = []
    for side in SIDES.values():
        best = np.full(len(placing.starts), np.iinfo(np.int64).min)
        mine = placing.side == side
        np.maximum.at(best, placing.window[mine], placing.reached[mine])
        farthest.append(best)
    ranked = np.sort(np.concatenate(farthest))[::-1]
    half_tick = messages.tick  # half a tick in half price units
    largest = int(ranked[FEWEST_FILLS - 1]) // half_tick if ranked.size >= FEWEST_FILLS else 0
    nice = [m * 10**e for e in range(12) for m in (1, 2, 5)]
    step = max(m for m in nice if m <= max(1, largest / _FINEST)) * half_tick
    distances = np.arange(step, largest * half_tick + 1, step)
    distances = distances[distances >= 2 * half_spread / messages.price_unit - 1e-6]
    if distances.size < 3:
        raise DataError(f"{messages.source}: too few prints beyond half the spread to fit; give a longer session")
    return distances


def as_half_units(messages: Messages, dollars: np.ndarray) -> np.ndarray:
    """Distances in dollars as whole half price units, rounded up; they must rise."""
    halves = np.ceil(2 * np.asarray(dollars, dtype=float) / messages.price_unit - 1e-6).astype(np.int64)
    if halves.ndim != 1 or halves.size < 3 or halves[0] <= 0 or np.any(np.diff(halves) <= 0):
        raise ValueError("distances must be three or more positive dollars in rising order")
    return halves


def virtual_evidence(messages: Messages, placing: Placing, distances: np.ndarray) -> dict[str, Evidence]:
    """Fills and exposure of virtual quotes by side, each distance split at half the quote's life."""
    n, half = len(placing.starts), placing.interval / 2
    young = np.repeat([True, False], len(distances))
    dollars = np.tile(distances * (messages.price_unit / 2), 2)
    found = {}
    for name, side in SIDES.items():
        until = np.stack([_first_passage(placing, side, d, n) for d in distances.tolist()], axis=1)
        fills = np.hstack([until < half, (until >= half) & np.isfinite(until)]).astype(float)
        lived = np.minimum(until, placing.interval)
        exposure = np.hstack([np.minimum(lived, half), np.maximum(lived - half, 0.0)])
        found[name] = Evidence(dollars, np.full_like(dollars, np.inf), fills, exposure, young)
    return found


def _first_passage(placing: Placing, side: int, distance: int, n: int) -> np.ndarray:
    """Seconds (n,) until a print on `side` reaches `distance`; infinite where none does in time."""
    hits = np.flatnonzero((placing.side == side) & (placing.reached >= distance))
    until = np.full(n, np.inf)
    until[placing.window[hits[::-1]]] = placing.waited[hits[::-1]]  # the first print of a window is written last
    return until


def reach_evidence(messages: Messages, session: tuple[float, float], distances: np.ndarray) -> dict[str, Evidence]:
    """Market orders by side, interval of `INTERVAL` seconds and cell of the deepest distance reached."""
    opening, closing = session
    edges = np.append(np.arange(opening, closing - 1e-9, INTERVAL), closing)
    orders = messages.market_orders
    inside = (orders.time >= opening) & (orders.time <= closing)
    time, side = orders.time[inside], orders.side[inside]
    depth = side * (2 * orders.deepest_price[inside] - messages.twice_mid_before(time))
    cell = np.searchsorted(distances, depth, side="right") - 1
    interval = np.clip(np.searchsorted(edges, time, side="right") - 1, 0, len(edges) - 2)
    lower = distances * (messages.price_unit / 2)
    upper = np.append(lower[1:], np.inf)
    exposure = np.repeat(np.diff(edges)[:, None], len(distances), axis=1)
    found = {}
    for name, aggressor in SIDES.items():
        mine = (side == aggressor) & (cell >= 0)
        fills = np.zeros((len(edges) - 1, len(distances)))
        np.add.at(fills, (interval[mine], cell[mine]), 1.0)
        found[name] = Evidence(lower, upper, fills, exposure, None)
    return found


def both_sides(sides: Mapping[str, Evidence]) -> dict[str, Evidence]:
    """The two sides and, under "pooled", what they say together."""
    return {**sides, "pooled": sides["bid"] + sides["ask"]}


def curve(evidence: Evidence) -> FillCurve:
    """The empirical rate against distance: cells of disjoint depths are summed from the far end."""
    fills, exposure = evidence.fills.sum(axis=0), evidence.exposure.sum(axis=0)
    if evidence.young is None:
        return FillCurve(evidence.lower, fills[::-1].cumsum()[::-1], exposure)
    young = evidence.young
    return FillCurve(evidence.lower[young], fills[young] + fills[~young], exposure[young] + exposure[~young])
