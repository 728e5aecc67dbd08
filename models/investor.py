"""The classical mean-variance investor: a stock, a bond, free rebalancing and no dealer.

    dx = (r x + (mu - r) u) dt + sigma u dZ,        u the money in the stock, x wealth

who wants `E[x_T] - (lambda/2) Var[x_T]`. With the price of risk `l = (mu - r)/sigma` and `tau = T - t`,

| reading                         | money in the stock                          | mean                               | variance                    |
| equilibrium (`MeanVariance`)    | (mu - r)/(lambda sigma^2) e^{-r tau}        | x e^{rT} + l^2 T/lambda            | l^2 T/lambda^2              |
| `PreCommitment`                 | (l/sigma) (w e^{-r tau} - x)                | x e^{rT} + (e^{l^2 T} - 1)/lambda  | (e^{l^2 T} - 1)/lambda^2    |

with the target `w = x e^{rT} + e^{l^2 T}/lambda`. Sources: Basak and Chabakauri 2010, proposition 1; Zhou and Li 2000,
section 5. The problem is the test that a solver for dealers can be held against: free trading at no distance.
"""  # noqa: E501

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import numpy as np

from ._precision import check, parameter
from ._stated import Stated
from .objectives import MeanVariance, Objective, PreCommitment


class InvestorRow(NamedTuple):
    """What an investor can expect from time 0, in money; `target` is nan where the objective has none."""

    amount: float  # in the stock at time 0
    mean: float
    variance: float
    target: float


class Investor(Stated):
    """An investor with `wealth` (money) in a stock and a bond, rebalanced freely until the `horizon` (years).

    growth, volatility: `mu` per year and `sigma` per sqrt(year) of the stock. rate: `r` per year.
    objective:          `MeanVariance` (equilibrium) or `PreCommitment`; the accounts that the latter may name are not
                        looked at, since the wealth is all in money that can be moved.
    leverage:           most money in the stock as a multiple of wealth, which then ends at zero; None for no limit.
    short_sales:        whether the stock may be sold short.

    Raises `ValueError` for impossible values and `TypeError` for another objective.
    """

    growth: Any = eqx.field(converter=parameter)
    volatility: Any = eqx.field(converter=parameter)
    rate: Any = eqx.field(converter=parameter)
    horizon: Any = eqx.field(converter=parameter)
    objective: Objective
    wealth: Any = eqx.field(converter=parameter, default=1.0)
    leverage: Any = eqx.field(converter=lambda value: None if value is None else parameter(value), default=None)
    short_sales: bool = eqx.field(static=True, default=True)

    def __check_init__(self) -> None:
        check("Investor: growth", self.growth, hint="it is per year")
        check("Investor: volatility", self.volatility, above=0, hint="it is per square root of a year")
        check("Investor: rate", self.rate, hint="it is per year")
        check("Investor: horizon", self.horizon, above=0, hint="it is in years")
        check("Investor: wealth", self.wealth, above=0, hint="it is money at time 0")
        if self.leverage is not None:
            check("Investor: leverage", self.leverage, above=0, hint="it is a multiple of wealth")
        if type(self.objective) is not object and not isinstance(self.objective, (MeanVariance, PreCommitment)):
            raise TypeError(f"Investor: objective must be MeanVariance or PreCommitment, got {self.objective!r}")
        if isinstance(self.objective, MeanVariance):
            check(
                "Investor: risk_aversion",
                self.objective.risk_aversion,
                above=0,
                hint="else the stock is bought without end",
            )

    @property
    def price_of_risk(self) -> float:
        """`l = (mu - r)/sigma`, per sqrt(year)."""
        return float((self.growth - self.rate) / self.volatility)

    @property
    def limited(self) -> bool:
        """Whether any limit is set."""
        return self.leverage is not None or not self.short_sales

    def closed_form(self) -> InvestorRow:
        """Amount, mean, variance and target as if there were no limits; see the table at the top of the module."""
        aversion = float(self.objective.risk_aversion)  # type: ignore[attr-defined]
        safe = float(self.wealth * np.exp(self.rate * self.horizon))
        squared = self.price_of_risk**2 * float(self.horizon)
        if isinstance(self.objective, MeanVariance):
            amount = self.price_of_risk / (aversion * float(self.volatility))
            discount = float(np.exp(-self.rate * self.horizon))
            return InvestorRow(amount * discount, safe + squared / aversion, squared / aversion**2, np.nan)
        target = safe + np.exp(squared) / aversion
        amount = (
            self.price_of_risk
            / float(self.volatility)
            * float(target * np.exp(-self.rate * self.horizon) - self.wealth)
        )
        return InvestorRow(amount, target - 1 / aversion, float(np.expm1(squared)) / aversion**2, float(target))
