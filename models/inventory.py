"""Dealers who hold an inventory in lots of an asset whose price is a Brownian motion.

    dP = mu dt + sigma dZ,    dq = dN_b - dN_a,    dX = -(P - b) D dN_b + (P + a) D dN_a,    D = lot

The marked book is `X + q D P`; its value above that is `theta(t, q)` and a fill adds `D (x - cost)` to the book.
Avellaneda and Stoikov (2008); Gueant, Lehalle and Fernandez-Tapia (2013); Cartea, Jaimungal and Penalva (2015, ch. 10).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ._precision import check, check_single, in_float64, parameter
from .channels import Channel
from .demand import Demand, Exponential
from .objectives import ExponentialUtility, Objective
from .problem import Problem, State, check_common


def _whole_lots(value: Any) -> float:
    """A limit in lots is part of the shape of the problem, so it is a plain number, never traced."""
    try:
        return float(value)
    except TypeError:
        raise TypeError(
            "InventoryDealer: max_inventory shapes the lattice and must be a plain number of lots; it cannot be "
            "traced, batched or differentiated"
        ) from None


class InventoryDealer(Problem):
    """A dealer who holds `q` lots, `|q| <= max_inventory`, and maximises `objective` of the marked book at the horizon.

    volatility, drift:       `sigma` per sqrt(time) and `mu` per time of the reference price, in price units.
    horizon:                 `T`, in the caller's unit of time; all rates use the same.
    bid_demand, ask_demand:  fills (of one lot) per unit of time against the distance in price units.
    lot:                     `D`, units of the asset per fill.
    max_inventory:           bound on `|q|` in lots, a whole number, or `inf`.
    adverse_selection:       how far the price has moved against the dealer by the time of a fill, price units: a fill
                             at distance `x` earns `D (x - adverse_selection)`. What unfilled orders do to the price
                             is part of `drift` and `volatility` (Cartea, Jaimungal and Penalva 2015, section 10.4).
    """

    names: ClassVar[tuple[str, ...]] = ("inventory",)
    units: ClassVar[dict[str, str]] = {"state": "lots", "money": "money", "time": "time", "distance": "price"}
    moves: ClassVar[bool] = False

    volatility: Any = eqx.field(converter=parameter)
    horizon: Any = eqx.field(converter=parameter)
    bid_demand: Demand
    ask_demand: Demand
    lot: Any = eqx.field(converter=parameter)
    max_inventory: float = eqx.field(static=True, converter=_whole_lots)
    objective: Objective
    drift: Any = eqx.field(converter=parameter, default=0.0)
    adverse_selection: Any = eqx.field(converter=parameter, default=0.0)

    def __check_init__(self) -> None:
        name = type(self).__name__
        check_common(self, name)
        check_single(name, self)
        check(f"{name}: volatility", self.volatility, least=0, hint="it is in price units per square root of time")
        check(f"{name}: lot", self.lot, above=0, hint="it is the units of the asset traded per fill")
        check(f"{name}: drift", self.drift, hint="it is in price units per unit of time")
        check(f"{name}: adverse_selection", self.adverse_selection, hint="it is in price units")
        limit = self.max_inventory
        if math.isnan(limit) or limit < 1:
            raise ValueError(f"{name}: max_inventory must be at least one lot, got {limit:g}; it is counted in lots")
        if math.isfinite(limit) and abs(limit - round(limit)) > 1e-9:
            raise ValueError(f"{name}: max_inventory must be a whole number of lots, got {limit:g}; round it down")

    @property
    def size(self) -> Any:
        return np.ones(jnp.shape(self.lot))  # a number, not an operation: a grid's size may depend on it under jit

    @property
    def limit(self) -> Any:
        return self.max_inventory

    def accrual(self, tau: Any) -> Any:
        return jnp.ones_like(tau)

    def velocity(self, y: Any) -> Any:
        return jnp.zeros_like(y)

    def spread(self, y: Any) -> Any:
        return jnp.zeros_like(y)

    def income(self, tau: Any, y: Any) -> Any:
        return self.drift * self.lot * y

    def exposure(self, tau: Any, y: Any) -> Any:
        return self.volatility * self.lot * y

    def channels(self, tau: Any) -> tuple[Channel, Channel]:
        return (
            Channel(+1, self.bid_demand, self.size, self.lot, self.adverse_selection),
            Channel(-1, self.ask_demand, self.size, self.lot, self.adverse_selection),
        )

    @in_float64
    def worth(self, tau: Any, inventory: Any = 0.0) -> Any:
        return jnp.zeros_like(inventory)

    def evolve(self, tau: Any, y: Any, dt: Any, normal: Any) -> tuple[Any, Any]:
        return y, self.lot * y * (self.drift * dt + self.volatility * jnp.sqrt(dt) * normal)

    def payment(self, tau: Any, side: int, distance: Any) -> Any:
        return self.lot * (distance - self.adverse_selection)

    def settle(self, y: Any, money: Any) -> Any:
        return money

    def state(self, tau: Any, y: Any, money: Any) -> State:
        return State(inventory=y)


class AvellanedaStoikov(InventoryDealer):
    """The dealer of Avellaneda and Stoikov (2008): one unit a fill, exponential utility, no limit on inventory.

    volatility:     `sigma`, price per sqrt(time).   horizon: `T`.   risk_aversion: `gamma`, per unit of money.
    scale, decay:   `A` and `k` of the demand `A e^{-k x}` on both sides.

    Its method is `ClosedForm`, the paper's approximate quotes (equations 3.17 and 3.18, first order in inventory):
    reservation price `r = s - q gamma sigma^2 (T - t)` and spread `gamma sigma^2 (T - t) + (2/gamma) ln(1 + gamma/k)`.
    """

    def __init__(self, volatility: Any, horizon: Any, scale: Any, decay: Any, risk_aversion: Any):
        self.volatility, self.horizon = parameter(volatility), parameter(horizon)
        self.bid_demand = self.ask_demand = Exponential(scale, decay)
        self.objective = ExponentialUtility(risk_aversion)
        self.lot, self.drift, self.adverse_selection = parameter(1.0), parameter(0.0), parameter(0.0)
        self.max_inventory = math.inf

    def arguments(self) -> dict[str, Any]:
        demand, objective = self.bid_demand, self.objective
        assert isinstance(demand, Exponential)
        assert isinstance(objective, ExponentialUtility)
        return {
            "volatility": self.volatility,
            "horizon": self.horizon,
            "scale": demand.scale,
            "decay": demand.decay,
            "risk_aversion": objective.risk_aversion,
        }
