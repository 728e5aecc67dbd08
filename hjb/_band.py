"""The band of positions within which a currency dealer waits for clients rather than crossing the market's spread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import root_scalar


class Band(NamedTuple):
    """Positions (M) between which the dealer does not hedge; an end is infinite where it never hedges at all."""

    low: Any
    high: Any


def waiting_band(pressure: Callable[[Any], Any], half_spread: float, nodes: np.ndarray) -> Band:
    """Where `|pressure| <= half_spread`, bp; `pressure`, `theta_q + k q`, is looked at on rising `nodes`, M."""

    def end(side: int) -> float:
        def beyond(q: Any) -> Any:
            return -side * pressure(q) - half_spread

        outward = nodes[::side]
        within = np.flatnonzero(beyond(outward) <= 0)
        if within.size == 0:
            return float(outward[0])
        if within[-1] == outward.size - 1:
            return side * np.inf
        low, high = sorted(outward[within[-1] : within[-1] + 2])
        return float(root_scalar(beyond, bracket=(low, high)).root)

    return Band(end(-1), end(+1))
