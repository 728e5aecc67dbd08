"""A market whose orders come in clusters."""

from __future__ import annotations

from typing import Any

import equinox as eqx

from ...models._precision import check, parameter
from .poisson import PoissonMarket


class HawkesMarket(PoissonMarket):
    """A `PoissonMarket` in which an order brings others: a Hawkes process with the problem's own mean rates.

    At every distance the dealer is hit as often in the mean as its demand says, but not evenly: what counts is the
    orders that accept the reference price. `_flow` has the equations; it starts as excited as it is in the mean.

    self_excitation:   orders that one brings directly on its own side, in the mean.
    cross_excitation:  likewise on the other side.
    decay:             per unit of time: how fast it is forgotten.

    The other settings are those of `PoissonMarket`. Raises `ValueError` for negative numbers, where orders would bring
    one another without end, and, when played, where one side's orders would bring more on the other than its mean.
    """

    self_excitation: Any = eqx.field(converter=parameter, default=0.0)
    cross_excitation: Any = eqx.field(converter=parameter, default=0.0)
    decay: Any = eqx.field(converter=parameter, default=1.0)

    def __check_init__(self) -> None:
        for name in ("self_excitation", "cross_excitation"):
            check(f"HawkesMarket: {name}", self._one(name), least=0, hint="it is orders that one order brings")
        check("HawkesMarket: decay", self._one("decay"), above=0, hint="it is per unit of time")
        if not self.self_excitation + self.cross_excitation < 1:
            raise ValueError(
                "HawkesMarket: self_excitation and cross_excitation must sum to less than 1 for the orders not to run "
                f"away, got {self.self_excitation:g} and {self.cross_excitation:g}; lower them"
            )

    @property
    def clustering(self) -> tuple[float, float, float]:
        return float(self.self_excitation), float(self.cross_excitation), float(self.decay)
