"""The dealer with a stock and a cash account, well posed (after Ho and Stoll 1981).

    dS = r_s S dt + sigma S dZ + v (dN_b - dN_a)
    dC = rho(C) C dt - f S^- dt - v (1 - b) dN_b + v (1 + a) dN_a    fills with intensities Lambda_b(b), Lambda_a(a)
    W_T = S_T + C_T - l |S_T|

The stock is booked at the reference price, so a fill earns `v b` or `v a` whatever the dealer holds. `rho(C)` is the
lending rate `r` above zero and the borrowing rate below, `f` a fee on short stock, `l` the cost of closing the book.
With one interest rate and no credit line the cash account drops out: `V = E (S + C) + theta(t, S)`,
`E = e^{r (T - t)}`; else `theta` depends on it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ._precision import check, check_single, in_float64, is_traced, parameter
from .channels import Channel
from .constraints import ForcedReduction, Margin, Overnight, Requirement
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
    borrowing_rate:          per year on negative cash, not below `rate`; None for `rate`.
    short_fee:               `f`, per year on the money sold short.
    credit_line:             `L`, money: no bid where `C - v < -L`, whatever the payment `v (1 - b)`; None for no limit.
    short_limit:             money: no ask where `S - v` would lie below minus it; None for `max_stock`.
    liquidation_cost:        `l`, share of `|S_T|` lost in closing the book at the horizon.
    haircut:                 with a credit line: stock held counts `1 - haircut` as collateral, so no bid where
                             `C - v + (1 - haircut) (S + v)^+ < -L`; None for 1, when it counts nothing.
    margin:                  a `Margin` that wealth must cover, or None.
    forced_reduction:        a `ForcedReduction` that trades while a limit is broken, or None.
    overnight:               an `Overnight` limit, or None.

    A limit forbids fills. Where interest, a fee or growth alone carries an account beyond it, only the side that
    leads back is quoted. A borrowing rate above `rate`, a credit line or a margin makes the cash account matter by
    itself (`cash_matters`); such a problem is solved in stock and cash together.

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
    liquidation_cost: Any = eqx.field(converter=parameter, default=0.0)
    haircut: Any = eqx.field(converter=_optional, default=None)
    margin: Margin | None = None
    forced_reduction: ForcedReduction | None = None
    overnight: Overnight | None = None

    def __check_init__(self) -> None:
        name = "StockCashDealer"
        check_common(self, name)
        check_single(name, self)
        check(f"{name}: growth", self.growth, hint="it is per year")
        check(f"{name}: volatility", self.volatility, least=0, hint="it is per square root of a year")
        check(f"{name}: rate", self.rate, hint="it is per year")
        check(f"{name}: lot", self.lot, above=0, hint="it is the money traded per fill")
        check(f"{name}: max_stock", self.max_stock, above=0, hint="it bounds the stock account, in money")
        check(f"{name}: short_fee", self.short_fee, least=0, hint="it is per year on the short stock")
        check(f"{name}: liquidation_cost", self.liquidation_cost, least=0, hint="it is a share of the stock left")
        check_limit(f"{name}: max_stock", self.max_stock, self.lot)
        self._check_accounts(name)
        if isinstance(self.objective, ExponentialUtility):
            raise ValueError(
                "StockCashDealer: ExponentialUtility is minus infinity for a dealer who may be short a stock that "
                "follows a geometric Brownian motion; take MeanVariance, MeanQuadraticVariation or RunningPenalty, "
                "or InventoryDealer, whose price is a Brownian motion"
            )

    def _check_accounts(self, name: str) -> None:
        if self.short_limit is not None:
            check(f"{name}: short_limit", self.short_limit, least=0, hint="it bounds the stock sold short, in money")
        if self.credit_line is not None:
            check(f"{name}: credit_line", self.credit_line, least=0, hint="it bounds the money borrowed")
        self._check_constraints(name)
        if self.borrowing_rate is None:
            return
        check(f"{name}: borrowing_rate", self.borrowing_rate, hint="it is per year on negative cash")
        known = isinstance(self.borrowing_rate, np.ndarray) and isinstance(self.rate, np.ndarray)
        if known and np.any(self.borrowing_rate < self.rate):
            raise ValueError(
                f"{name}: borrowing_rate must not lie below rate ({float(np.max(self.rate)):g}), got "
                f"{float(np.min(self.borrowing_rate)):g}; borrowing and lending at once would earn without end"
            )

    def _check_constraints(self, name: str) -> None:
        for key, kind in (("margin", Margin), ("forced_reduction", ForcedReduction), ("overnight", Overnight)):
            given = getattr(self, key)
            if given is not None and not isinstance(given, kind) and type(given) is not object:
                raise TypeError(f"{name}: {key} must be a {kind.__name__}(...) or None, got {given!r}")
        if self.haircut is None:
            return
        check(f"{name}: haircut", self.haircut, least=0, hint="it is the share of stock that is no collateral")
        if isinstance(self.haircut, np.ndarray) and np.any(self.haircut > 1):
            raise ValueError(f"{name}: haircut must not exceed 1, got {float(np.max(self.haircut)):g}; it is a share")
        if self.credit_line is None:
            raise ValueError(f"{name}: haircut needs a credit_line; give 0 for credit against stock only")

    @property
    def cash_matters(self) -> bool:
        """Whether a rate spread, a credit line or a margin keeps the cash account from dropping out.

        A fee on short stock, a short limit, a liquidation cost and an overnight limit concern the stock only.
        """
        spread = self.borrowing_rate is not None and _may_differ(self.borrowing_rate, self.rate)
        return spread or bool(self.to_raise)

    @property
    def to_raise(self) -> tuple[Requirement, ...]:
        """What wealth must cover after a fill that raises the requirement."""
        return (*self._credit, *(() if self.margin is None else (self.margin.to_raise,)))

    @property
    def to_keep(self) -> tuple[Requirement, ...]:
        """What wealth must cover at any time; below, the position is reduced."""
        return (*self._credit, *(() if self.margin is None else (self.margin.to_keep,)))

    @property
    def _credit(self) -> tuple[Requirement, ...]:
        if self.credit_line is None:
            return ()
        return (Requirement(1.0 if self.haircut is None else self.haircut, -1.0, self.credit_line),)

    @property
    def size(self) -> Any:
        return self.lot

    @property
    def limit(self) -> Any:
        return self.max_stock

    def bound(self, side: int) -> Any:
        if side > 0 or self.short_limit is None:
            return self.max_stock
        return jnp.minimum(self.max_stock, self.short_limit)

    def may_fill(self, side: int, y: Any, *others: Any) -> Any:
        """Whether a fill keeps the stock's limits and, where the cash account is told, what wealth must cover."""
        may = super().may_fill(side, y)
        if not others:
            return may
        slack, after, wealth = 1e-9 * self.lot, y + side * self.lot, y + others[0]
        for requirement in self.to_raise:
            needed = requirement.of(after)
            may = may & ((needed <= requirement.of(y)) | (wealth >= needed - slack))
        return may

    def excess(self, y: Any, *others: Any) -> Any:
        beyond = super().excess(y)
        for requirement in self.to_keep if others else ():
            beyond = jnp.maximum(beyond, requirement.gap(y, y + others[0]))
        return beyond

    @property
    def forces(self) -> bool:
        return self.forced_reduction is not None

    def forced_rate(self, side: int, y: Any, *others: Any) -> Any:
        if self.forced_reduction is None:
            return super().forced_rate(side, y)
        slack, after = 1e-9 * self.lot, y + side * self.lot
        broken = -side * y > self.bound(-side) + slack
        for requirement in self.to_keep if others else ():
            needed = requirement.of(y)
            broken = broken | ((y + others[0] < needed - slack) & (requirement.of(after) < needed))
        return jnp.where(broken & (jnp.abs(after) < jnp.abs(y)), self.forced_reduction.pace, 0.0)

    @property
    def forced_pace(self) -> Any:
        return 0.0 if self.forced_reduction is None else self.forced_reduction.pace

    @property
    def forced_distance(self) -> Any:
        return 0.0 if self.forced_reduction is None else -self.forced_reduction.cost

    @property
    def days(self) -> int:
        return 1 if self.overnight is None else self.overnight.days

    def close(self, tau: Any, y: Any) -> tuple[Any, Any]:
        if self.overnight is None:
            return super().close(tau, y)
        kept = jnp.clip(y, -self.overnight.limit, self.overnight.limit)
        return kept, self.accrual(tau) * (y - kept - self.overnight.cost * jnp.abs(y - kept))

    def interest(self, cash: Any) -> Any:
        """`rho(C) C`, money per year."""
        if self.borrowing_rate is None:
            return self.rate * cash
        return jnp.where(cash < 0, self.borrowing_rate, self.rate) * cash

    def fee(self, y: Any) -> Any:
        """`f S^-`, money per year."""
        return self.short_fee * jnp.maximum(-y, 0.0)

    def cash_slope(self, tau: Any, side: int) -> Any:
        """Slope of `theta` and `h` in cash where it stays above (+1) or below (-1) zero for good: `e^{rho tau} - E`."""
        if side > 0 or self.borrowing_rate is None:
            return jnp.zeros_like(tau)
        return self.accrual(tau) * jnp.expm1((self.borrowing_rate - self.rate) * tau)

    def accrual(self, tau: Any) -> Any:
        return jnp.exp(self.rate * tau)

    def velocity(self, y: Any) -> Any:
        return self.growth * y

    def spread(self, y: Any) -> Any:
        return self.volatility * y

    def income(self, tau: Any, y: Any) -> Any:
        return ((self.growth - self.rate) * y - self.fee(y)) * self.accrual(tau)

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
    def without_fills(self, tau: Any, sign: Any = 1.0) -> tuple[Any, Any]:
        """Slope `s` and curvature `c` of the exact solution without fills: `h = s S`, `theta = s S - c S^2`.

        `s = e^{r_s tau} - e^{r tau}`, less the cost of closing and the fee (which differ by the `sign` of `S`); every
        objective's running cost is quadratic in `S`, so `c` collects it under
        `E[S_u^2] = S^2 e^{(2 r_s + sigma^2)(u - t)}`. MeanVariance: `c = (lambda/2) e^{2 r_s tau} expm1(sigma^2 tau)`.
        """
        tau, sign = jnp.broadcast_arrays(jnp.asarray(tau, float), sign)
        nodes, weights = np.polynomial.legendre.leggauss(24)
        nodes, weights = (jnp.reshape(jnp.asarray(x), (-1, *(1,) * tau.ndim)) for x in (nodes, weights))
        s = 0.5 * tau[None] * (nodes + 1)  # time to go at which the cost falls due
        slope = self.volatility * self._slope(s, sign[None])
        cost = self.objective.running_cost(self.exposure(s, jnp.ones_like(s)), slope, 1 / self.lot)
        growth = 2 * self.growth + self.volatility**2
        running = 0.5 * tau * jnp.sum(weights * jnp.exp(growth * (tau[None] - s)) * cost, axis=0)
        return self._slope(tau, sign), running + jnp.exp(growth * tau) * self.objective.terminal_cost(1 / self.lot)

    def _slope(self, tau: Any, sign: Any) -> Any:
        excess = (self.growth - self.rate) * tau
        near = jnp.abs(excess) < 1e-8
        growing = jnp.where(near, 1.0, jnp.expm1(jnp.where(near, 1.0, excess)) / jnp.where(near, 1.0, excess))
        fee = jnp.where(sign < 0, self.short_fee * tau * growing, 0.0)
        closing = self.liquidation_cost * sign * jnp.exp(excess)
        return jnp.exp(self.rate * tau) * (jnp.expm1(excess) + fee - closing)

    def closing_cost(self, y: Any) -> Any:
        return self.liquidation_cost * jnp.abs(y)

    def funding(self, tau: Any, before: Any, after: Any, money: Any, dt: Any) -> Any:
        """What dearer borrowing and the fee take within `dt`, carried to the horizon at the lending rate.

        Interest is exact while cash keeps its sign. The fee is taken on the mean of the two ends' short stock, which
        is the one thing here that is discretised in time.
        """
        taken = -self.accrual(tau) * dt * 0.5 * (self.fee(before) + self.fee(after))
        if self.borrowing_rate is None:
            return taken
        return taken + jnp.minimum(money, 0.0) * jnp.expm1((self.borrowing_rate - self.rate) * dt)

    def evolve(self, tau: Any, y: Any, dt: Any, normal: Any) -> tuple[Any, Any]:
        log_growth = (self.growth - 0.5 * self.volatility**2) * dt + self.volatility * jnp.sqrt(dt) * normal
        return y * jnp.exp(log_growth), jnp.zeros_like(y)

    def payment(self, tau: Any, side: int, distance: Any) -> Any:
        return self.accrual(tau) * self.lot * (distance - side)

    def settle(self, y: Any, money: Any) -> Any:
        return y + money - self.closing_cost(y)

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
