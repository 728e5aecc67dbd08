"""The two-sided fill channel: where the dealer's quote meets the world.

Every model of the toolkit is a controlled jump-diffusion whose controls are distances on fill channels. A channel
has a side, a demand, a size (the jump of the inventory) and a payment (what a fill earns for the distance quoted).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx

from .demand import Demand


class Quotes(NamedTuple):
    """Distances of the two quotes from the reference price; `nan` where the dealer does not quote.

    `bid`: the dealer buys at reference - bid (or reference * (1 - bid) where distances are relative).
    `ask`: the dealer sells at reference + ask (or reference * (1 + ask)).
    """

    bid: Any
    ask: Any


class Channel(eqx.Module):
    """One side on which the dealer can be hit.

    side:      +1 the bid (a fill raises inventory), -1 the ask (a fill lowers it).
    demand:    intensity of fills against the distance, fills per unit of time.
    size:      jump of the inventory coordinate per fill, in its unit.
    notional:  money at the horizon per unit of distance earned by one fill, `m` in `z = m (x - cost)`.
    cost:      distance lost with each fill, such as adverse selection, in the unit of the distance.
    """

    side: int = eqx.field(static=True)
    demand: Demand
    size: Any
    notional: Any
    cost: Any

    def income(self, distance: Any) -> Any:
        """What a fill at `distance` earns on the spot, `z = m (x - cost)`, in money at the horizon."""
        return self.notional * (distance - self.cost)
