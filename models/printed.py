"""The thesis model exactly as printed, so that it can be reproduced and seen to fail.

    V_t + 1/2 sigma^2 S^2 V_SS + r S V_S + r C V_C + M(S) = 0,    V(T) = S + C,
    M(S) = max over p_b, p_s of  (p_s - p_b) q_s + p_b q_b - r_s S q_b - (lambda/2) var(the same).

Read with Poisson `q_b`, `q_s` of intensities `Lambda_b(P - p_b)`, `Lambda_s(p_s - P)` and the variance of a Poisson
rate as amount^2 times intensity,

    M(S) = max  Lambda_s(a) [y - (lambda/2) y^2] + Lambda_b(b) [c - (lambda/2) c^2],
           y = a + b,  c = P - b - r_s S,  a = p_s - P,  b = P - p_b.

The maximum does not touch `V`, so the quotes are static, and `V = e^{r tau}(S + C) + m(tau, S)` with
`m = int_0^tau E[M(S_u)] du`, `S` growing at `r`. Over all prices the maximum is infinite (`p_b = p_s - 1/lambda`,
`p_s -> -inf`); the admissible set taken here is `0 <= p_b <= P <= p_s` with `lambda > 0`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from ._precision import check, check_single, in_float64, parameter
from .demand import Demand
from .objectives import MeanVariance
from .problem import Dealer, check_common

_SCAN = 1001  # bid distances scanned for the maximum
_ZOOM, _ZOOMS = 21, 7  # then this many within the best interval, this often


class PrintedDealer(Dealer):
    """The dealer of the printed equation. Distances are in price units, intensities in fills per year.

    growth, volatility, rate:  `r_s` and `r` per year, `sigma` per sqrt(year).   horizon: `T`, years.
    price:                     `P`, the reference price.
    max_stock:                 range `|S| <= max_stock` over which the answer is tabulated; nothing is forbidden by it.
    risk_aversion:             `lambda > 0`, per unit of money.
    """

    names: ClassVar[tuple[str, ...]] = ("stock", "cash")
    units: ClassVar[dict[str, str]] = {"state": "money", "money": "money", "time": "years", "distance": "price"}
    moves: ClassVar[bool] = True

    growth: Any = eqx.field(converter=parameter)
    volatility: Any = eqx.field(converter=parameter)
    rate: Any = eqx.field(converter=parameter)
    horizon: Any = eqx.field(converter=parameter)
    bid_demand: Demand
    ask_demand: Demand
    price: Any = eqx.field(converter=parameter)
    max_stock: Any = eqx.field(converter=parameter)
    risk_aversion: Any = eqx.field(converter=parameter)

    def __check_init__(self) -> None:
        name = "PrintedDealer"
        check_common(self, name)
        check_single(name, self)
        check(f"{name}: growth", self.growth, hint="it is per year")
        check(f"{name}: volatility", self.volatility, least=0, hint="it is per square root of a year")
        check(f"{name}: rate", self.rate, hint="it is per year")
        check(f"{name}: price", self.price, above=0, hint="it is the reference price")
        check(f"{name}: max_stock", self.max_stock, above=0, hint="it bounds the table, in money")
        check(f"{name}: risk_aversion", self.risk_aversion, above=0, hint="without it the printed maximum is infinite")

    @property
    def size(self) -> Any:
        return self.price

    @property
    def limit(self) -> Any:
        return jnp.inf

    @in_float64
    def worth(self, tau: Any, stock: Any = 0.0, cash: Any = 0.0) -> Any:
        return jnp.exp(self.rate * tau) * (stock + cash)

    @in_float64
    def bracket(self, stock: Any, bid: Any, ask: Any) -> Any:
        """The printed expression under the maximum, money per year, at any distances, admissible or not."""
        spread = jnp.where(jnp.isfinite(ask), ask + bid, 0.0)  # an infinite distance is no quote
        bought = self.price - bid - self.growth * stock
        charge = 0.5 * self.risk_aversion
        return self.ask_demand._intensity(ask) * (spread - charge * spread**2) + self.bid_demand._intensity(bid) * (
            bought - charge * bought**2
        )

    @in_float64
    def maximum(self, stock: Any) -> tuple[Any, Any, Any]:
        """`M(S)`, money per year, and the maximising distances `(bid, ask)`, price units, within the admissible set."""
        flat = jnp.ravel(stock)
        found = jax.vmap(self._maximum)(flat)
        return tuple(jnp.reshape(x, jnp.shape(stock)) for x in found)  # type: ignore[return-value]

    def _maximum(self, stock: Any) -> tuple[Any, Any, Any]:
        bid = jnp.linspace(0.0, 1.0, _SCAN) * self.price
        for _ in range(_ZOOMS):
            worth = self.bracket(stock, bid, self._best_ask(bid))
            best = bid[jnp.argmax(worth)]
            reach = bid[1] - bid[0]
            bid = jnp.linspace(jnp.maximum(best - reach, 0.0), jnp.minimum(best + reach, self.price), _ZOOM)
        bid = bid[jnp.argmax(self.bracket(stock, bid, self._best_ask(bid)))]
        ask = self._best_ask(bid)
        return self.bracket(stock, bid, ask), bid, ask

    def _best_ask(self, bid: Any) -> Any:
        """The best ask distance for a bid distance.

        In `a` the bracket climbs to one peak, falls to a trough below zero and rises back to zero: `a >= 0` clips the
        peak, and where even that is a loss (`a + b > 2/lambda`) no ask is quoted, `a = inf`.
        """
        objective = MeanVariance(self.risk_aversion)
        ask = self.ask_demand.best_response(lambda ratio: objective.income_at(ratio, bid, bid))
        ask = jnp.maximum(jnp.where(jnp.isfinite(ask), ask, 0.0), 0.0)
        return jnp.where(ask + bid > 2 / self.risk_aversion, jnp.inf, ask)
