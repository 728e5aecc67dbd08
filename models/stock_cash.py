"""The dealer with a stock and a cash account, well posed (after Ho and Stoll 1981).

    dS = r_s S dt + sigma S dZ + v (dN_b - dN_a)
    dC = r C dt - v (1 - b) dN_b + v (1 + a) dN_a        fills with intensities Lambda_b(b), Lambda_a(a)

The stock is booked at the reference price, so a fill earns `v b` or `v a` whatever the dealer holds. With one
interest rate the cash account drops out: `V = E (S + C) + theta(t, S)`, `E = e^{r (T - t)}`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ._precision import check, in_float64, is_traced, parameter
from .channels import Channel
from .demand import Demand
from .objectives import ExponentialUtility, Objective
from .problem import Problem, State, check_common


def _optional(value: Any) -> Any:
    return None if value is None else parameter(value)


class StockCashDealer(Problem):
    """A dealer with a stock account `S` and a cash account `C`, both in money, who maximises `objective` of `S + C`.

    growth, volatility:      `r_s` per year and `sigma` per sqrt(year) of the reference price.
    rate:                    `r`, risk-free, per year.
    horizon:                 `T` in years.
    bid_demand, ask_demand:  fills per year against the relative distance from the reference price.
    lot:                     `v`, money traded per fill.
    max_stock:               bound on `|S|` that no fill may cross, money; growth may carry `S` beyond, and the dealer
                             then quotes the reducing side only.
    borrowing_rate, short_fee, credit_line, short_limit: make the cash account matter by itself; a problem that sets
                             them needs the two-dimensional solver.

    Raises `ValueError` for impossible values, and for `ExponentialUtility`: with a stock that follows a geometric
    Brownian motion it is minus infinity for any dealer who may be short.
    """

    names: ClassVar[tuple[str, ...]] = ("stock", "cash")
    units: ClassVar[dict[str, str]] = {"state": "money", "money": "money", "time": "years", "distance": "relative"}
    moves: ClassVar[bool] = True

    growth: Any = eqx.field(converter=parameter)
    volatility: Any = eqx.field(converter=parameter)
    rate: Any = eqx.field(converter=parameter)
    horizon: Any = eqx.field(converter=parameter)
    bid_demand: Demand
    ask_demand: Demand
    lot: Any = eqx.field(converter=parameter)
    max_stock: Any = eqx.field(converter=parameter)
    objective: Objective
    borrowing_rate: Any = eqx.field(converter=_optional, default=None)
    short_fee: Any = eqx.field(converter=parameter, default=0.0)
    credit_line: Any = eqx.field(converter=_optional, default=None)
    short_limit: Any = eqx.field(converter=_optional, default=None)

    def __check_init__(self) -> None:
        name = "StockCashDealer"
        check_common(self, name)
        check(f"{name}: growth", self.growth, hint="it is per year")
        check(f"{name}: volatility", self.volatility, least=0, hint="it is per square root of a year")
        check(f"{name}: rate", self.rate, hint="it is per year")
        check(f"{name}: lot", self.lot, above=0, hint="it is the money traded per fill")
        check(f"{name}: max_stock", self.max_stock, above=0, hint="it bounds the stock account, in money")
        check(f"{name}: short_fee", self.short_fee, least=0, hint="it is per year on the short stock")
        check_limit(f"{name}: max_stock", self.max_stock, self.lot)
        if isinstance(self.objective, ExponentialUtility):
            raise ValueError(
                "StockCashDealer: ExponentialUtility is minus infinity for a dealer who may be short a stock that "
                "follows a geometric Brownian motion; take MeanVariance, MeanQuadraticVariation or RunningPenalty, "
                "or InventoryDealer, whose price is a Brownian motion"
            )

    @property
    def cash_matters(self) -> bool:
        """Whether a rate spread, a fee or a limit keeps the cash account from dropping out."""
        spread = self.borrowing_rate is not None and _may_differ(self.borrowing_rate, self.rate)
        limited = self.credit_line is not None or self.short_limit is not None
        return spread or limited or _may_differ(self.short_fee, 0.0)

    @property
    def size(self) -> Any:
        return self.lot

    @property
    def limit(self) -> Any:
        return self.max_stock

    def accrual(self, tau: Any) -> Any:
        return jnp.exp(self.rate * tau)

    def velocity(self, y: Any) -> Any:
        return self.growth * y

    def spread(self, y: Any) -> Any:
        return self.volatility * y

    def income(self, tau: Any, y: Any) -> Any:
        return (self.growth - self.rate) * y * self.accrual(tau)

    def exposure(self, tau: Any, y: Any) -> Any:
        return self.volatility * y * self.accrual(tau)

    def channels(self, tau: Any) -> tuple[Channel, Channel]:
        notional = self.lot * self.accrual(tau)
        free = jnp.zeros_like(notional)
        return (
            Channel(+1, self.bid_demand, self.lot, notional, free),
            Channel(-1, self.ask_demand, self.lot, notional, free),
        )

    @in_float64
    def worth(self, tau: Any, stock: Any = 0.0, cash: Any = 0.0) -> Any:
        return self.accrual(tau) * (stock + cash)

    @in_float64
    def without_fills(self, tau: Any) -> tuple[Any, Any]:
        """Slope `s` and curvature `c` of the exact solution without fills: `h = s S`, `theta = s S - c S^2`.

        `s = e^{r_s tau} - e^{r tau}`; every objective's running cost is quadratic in `S`, so `c` collects it under
        `E[S_u^2] = S^2 e^{(2 r_s + sigma^2)(u - t)}`. MeanVariance: `c = (lambda/2) e^{2 r_s tau} expm1(sigma^2 tau)`.
        """
        nodes, weights = np.polynomial.legendre.leggauss(24)
        s = 0.5 * tau * (jnp.asarray(nodes) + 1)  # time to go at which the cost falls due
        cost = self.objective.running_cost(self.exposure(s, 1.0), self.volatility * self._slope(s), 1 / self.lot)
        growth = 2 * self.growth + self.volatility**2
        running = 0.5 * tau * jnp.sum(jnp.asarray(weights) * jnp.exp(growth * (tau - s)) * cost)
        return self._slope(tau), running + jnp.exp(growth * tau) * self.objective.terminal_cost(1 / self.lot)

    def _slope(self, tau: Any) -> Any:
        return jnp.exp(self.rate * tau) * jnp.expm1((self.growth - self.rate) * tau)

    def evolve(self, tau: Any, y: Any, dt: Any, normal: Any) -> tuple[Any, Any]:
        log_growth = (self.growth - 0.5 * self.volatility**2) * dt + self.volatility * jnp.sqrt(dt) * normal
        return y * jnp.exp(log_growth), jnp.zeros_like(y)

    def payment(self, tau: Any, side: int, distance: Any) -> Any:
        return self.accrual(tau) * self.lot * (distance - side)

    def settle(self, y: Any, money: Any) -> Any:
        return y + money

    def state(self, tau: Any, y: Any, money: Any) -> State:
        return State(stock=y, cash=money / self.accrual(tau))


def check_limit(name: str, limit: Any, lot: Any) -> None:
    """Raise `ValueError` where a limit is below one lot, so that no fill could ever happen."""
    if isinstance(limit, np.ndarray) and isinstance(lot, np.ndarray) and np.any(limit < lot * (1 - 1e-9)):
        raise ValueError(
            f"{name} must be at least one lot ({float(np.max(lot)):g}), got {float(np.min(limit)):g}; "
            "below it no fill is allowed at all"
        )


def _may_differ(a: Any, b: Any) -> bool:
    """Whether two parameters differ; traced ones might."""
    return is_traced(a, b) or bool(np.any(a != b))
