"""A dealer in one currency pair: client tiers, a ladder of sizes, and a market to hedge in at a cost.

    dS = sigma dW + k v dt,      dq = sum z (dN_bid - dN_ask) + v dt,      L(v) = psi |v| + eta v^2,

`q` is the position in millions (M) of the base currency and prices are in basis points (bp), so value is in bp M
(1 bp M is 100 units of the quote currency). Clients of each tier ask for a quote for `z` at a given rate and trade at
the distance `x` with probability `1/(1 + e^{alpha + beta x})`; the fill earns `z x`. The dealer buys in the market at
the rate `v` (M per day, negative to sell), pays `L(v)` (bp M per day) and moves the price by `k` bp per M for good,
which is worth `k q v` on the position held. It maximises the expected marked book less `(gamma/2) sigma^2 q^2` per day
and `terminal q^2` at the horizon. The value above the marked book, with `tau = T - t` to go, obeys

    theta_tau = -(gamma/2) sigma^2 q^2 + sum z H(p) + Hhedge(theta_q + k q),       theta(tau=0) = -terminal q^2,
    H(p)      = sup_x Lambda(x) (x - p),        p = (theta(q) - theta(q +- z))/z,  + for the bid, - for the ask,
    Hhedge(p) = sup_v (v p - L(v)) = max(|p| - psi, 0)^2/(4 eta),

the sum over tiers, sizes and both sides. Where `|theta_q + k q| <= psi` it does not pay to cross the market's spread:
the dealer internalises, that is, waits for clients to trade the position away; beyond it externalises.

Sources: Barzykin, Bergault and Gueant, "Algorithmic market making in dealer markets with hedging and market impact"
(Mathematical Finance 2023), and "Market making by an FX dealer: tiers, pricing ladders and hedging rates for optimal
risk control" (Risk 2022), whose dealer has tiers.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import numpy as np
from scipy.special import wrightomega

from ._precision import check, check_single, in_float64, parameter
from ._stated import Stated
from .demand import Logistic
from .problem import Dealer, check_common


class Hedging(Stated):
    """The market between dealers, in which a rate `v` (M per day) costs `L(v) = psi |v| + eta v^2`, bp M per day.

    half_spread: `psi`, bp, paid on every M whatever the rate.
    slippage:    `eta`, bp day per M: how much dearer it gets to trade faster.
    impact:      `k`, bp per M: the lasting move of the price, up when the dealer buys.
    """

    half_spread: Any = eqx.field(converter=parameter)
    slippage: Any = eqx.field(converter=parameter)
    impact: Any = eqx.field(converter=parameter, default=0.0)

    def __check_init__(self) -> None:
        check("Hedging: half_spread", self.half_spread, least=0, hint="it is psi, in bp")
        check("Hedging: slippage", self.slippage, above=0, hint="it is eta, in bp day per M; at zero no rate is best")
        check("Hedging: impact", self.impact, least=0, hint="it is k, in bp per M")
        check_single("Hedging", self)

    def cost(self, rate: Any) -> Any:
        """`L(v)`, bp M per day."""
        return self.half_spread * np.abs(rate) + self.slippage * np.square(rate)

    def gain(self, price: Any) -> Any:
        """`Hhedge(p)`, bp M per day, at `p = theta_q + k q` in bp."""
        return np.maximum(np.abs(price) - self.half_spread, 0.0) ** 2 / (4 * self.slippage)

    def rate(self, price: Any) -> Any:
        """The best `v = Hhedge'(p)`, M per day: zero within the half spread."""
        return np.sign(price) * np.maximum(np.abs(price) - self.half_spread, 0.0) / (2 * self.slippage)


class CurrencyDealer(Dealer):
    """A dealer in one currency pair; the module states the problem.

    volatility:     `sigma` of the price, bp per sqrt(day).
    horizon:        `T`, days.
    bid_demand, ask_demand: `Logistic` with an entry for each tier in `scale` (requests of that tier per day on that
                    side, all sizes together), `alpha` and `beta` (per bp): shape (tiers,), the same number on either
                    side. A fill on the bid is a client who sells: it raises `q`.
    sizes:          `z`, M, ascending, shape (sizes,), all whole multiples of the first, which is the lot.
    shares:         of the requests that come at each size, shape (sizes,), adding up to one.
    max_inventory:  bound on `|q|`, M, a whole number of lots; no fill and no hedge may cross it.
    risk_aversion:  `gamma`, per bp M.
    hedging:        the market to hedge in, or None for a dealer who has clients only.
    terminal:       charge at the horizon, bp per M: `terminal q^2`. At `k/2` it takes back what the dealer's own
                    lasting impact adds to the marked book, which else rewards pushing the price at the very end.

    Raises `ValueError` or `TypeError` naming the argument and the mend.
    """

    names: ClassVar[tuple[str, ...]] = ("inventory",)
    units: ClassVar[dict[str, str]] = {"state": "M", "money": "bp M", "time": "day", "distance": "bp"}
    moves: ClassVar[bool] = True
    listed: ClassVar[tuple[str, ...]] = ("sizes", "shares", "bid_demand", "ask_demand")

    volatility: Any = eqx.field(converter=parameter)
    horizon: Any = eqx.field(converter=parameter)
    bid_demand: Any  # Logistic: what else may come is refused by name
    ask_demand: Any
    sizes: Any = eqx.field(converter=parameter)
    shares: Any = eqx.field(converter=parameter)
    max_inventory: Any = eqx.field(converter=parameter)
    risk_aversion: Any = eqx.field(converter=parameter)
    hedging: Any = None
    terminal: Any = eqx.field(converter=parameter, default=0.0)

    def __check_init__(self) -> None:
        name = "CurrencyDealer"
        check_common(self, name)
        check(f"{name}: volatility", self.volatility, least=0, hint="it is in bp per square root of a day")
        check(f"{name}: risk_aversion", self.risk_aversion, least=0, hint="it is gamma, per bp M")
        check(f"{name}: terminal", self.terminal, least=0, hint="a negative charge rewards inventory")
        check_single(name, self)
        for side in ("bid_demand", "ask_demand"):
            check_tiers(f"{name}: {side}", getattr(self, side))
        if np.shape(getattr(self.bid_demand, "scale", 0)) != np.shape(getattr(self.ask_demand, "scale", 0)):
            raise ValueError(f"{name}: bid_demand and ask_demand must have as many tiers as each other")
        if type(self.hedging) is not object and not isinstance(self.hedging, (Hedging, type(None))):
            raise TypeError(f"{name}: hedging must be Hedging(half_spread, slippage, impact) or None")
        check_ladder(name, self.sizes, self.shares, self.max_inventory)

    @classmethod
    def published(cls, **changes: Any) -> CurrencyDealer:
        """The case whose figures the tests meet (two tiers, six sizes), with `changes` to its arguments."""
        tiers = Logistic(scale=(1800.0, 1800.0), alpha=(-0.3, -1.9), beta=(5.0, 15.0))
        arguments: dict[str, Any] = {
            "volatility": 50.0,
            "horizon": 0.05,
            "bid_demand": tiers,
            "ask_demand": tiers,
            "sizes": (1.0, 2.0, 5.0, 10.0, 20.0, 50.0),
            "shares": (0.4, 0.25, 0.19, 0.1, 0.05, 0.01),
            "max_inventory": 250.0,
            "risk_aversion": 2e-3,
            "hedging": Hedging(half_spread=0.1, slippage=1e-5, impact=5e-3),
        }
        return cls(**{**arguments, **changes})

    @property
    def size(self) -> Any:
        """The lot: the smallest size, M."""
        return self.sizes[..., 0]

    @property
    def limit(self) -> Any:
        return self.max_inventory

    @property
    def tiers(self) -> int:
        """How many tiers of clients there are."""
        return np.size(self.bid_demand.scale)

    @property
    def impact(self) -> Any:
        """`k`, bp per M; zero without a market."""
        return np.zeros(()) if self.hedging is None else self.hedging.impact

    @in_float64
    def worth(self, tau: Any, inventory: Any = 0.0) -> Any:
        return 0.0 * inventory

    def demand(self, side: int) -> Logistic:
        """The demand on the bid (`side` +1) or the ask (-1)."""
        return self.bid_demand if side == 1 else self.ask_demand

    def requests(self, side: int) -> Any:
        """Requests per day of every tier and size on a side, shape (tiers, sizes)."""
        return np.asarray(self.demand(side).scale)[:, None] * self.shares

    def room(self, side: int, inventory: Any) -> Any:
        """Whether a fill of every size keeps within the limit, shape (..., sizes)."""
        after = side * np.asarray(inventory)[..., None] + self.sizes
        return after <= self.max_inventory + 1e-9 * self.size

    def response(self, side: int, price: Any) -> tuple[Any, Any, Any]:
        """The best distance against the reservation distance `price` (bp), how often it wins, and what it is worth.

        `price` has shape (..., sizes), or one that broadcasts; the results (..., tiers, sizes). Distance in bp,
        probability of a trade, and the gain of a request per M, `sup_x f(x) (x - p)`, in bp.

        In closed form: with `W e^W = e^{-(1 + alpha + beta p)}` the distance is `p + (1 + W)/beta`, the probability
        `W/(1 + W)` and the gain `W/beta`.
        """
        demand = self.demand(side)
        alpha, beta = (np.asarray(x)[:, None] for x in (demand.alpha, demand.beta))
        price = np.asarray(price)[..., None, :]
        w = wrightomega(-(1 + alpha + beta * price))
        return price + (1 + w) / beta, w / (1 + w), w / beta


def check_tiers(name: str, demand: Any) -> None:
    """Raise unless a demand is logistic with one entry for each tier throughout."""
    if type(demand) is object:
        return
    if not isinstance(demand, Logistic):
        raise TypeError(f"{name} must be Logistic(scale, alpha, beta) with an entry for each tier, got {demand!r}")
    shapes = {field: np.shape(getattr(demand, field)) for field in ("scale", "alpha", "beta")}
    if any(len(shape) != 1 for shape in shapes.values()) or len(set(shapes.values())) > 1:
        raise ValueError(
            f"{name} must have one entry for each tier in scale, alpha and beta, got shapes "
            f"{', '.join(map(str, shapes.values()))}; put even a single tier into a list"
        )


def check_ladder(name: str, sizes: Any, shares: Any, limit: Any) -> None:
    """Raise `ValueError` unless sizes, their shares and the limit fit together."""
    if not all(isinstance(array, np.ndarray) for array in (sizes, shares, limit)):
        return
    check(f"{name}: sizes", sizes, above=0, hint="they are in M")
    check(f"{name}: shares", shares, least=0, hint="they are shares of the requests")
    check(f"{name}: max_inventory", limit, above=0, hint="it is in M; a dealer of this class has a limit")
    if sizes.ndim != 1 or sizes.size == 0 or sizes.shape != shares.shape:
        raise ValueError(f"{name}: sizes and shares must be lists of one length, got {sizes.shape} and {shares.shape}")
    if np.any(np.diff(sizes) <= 0):
        raise ValueError(f"{name}: sizes must ascend without repetition, got {sizes}; sort them")
    if not np.isclose(np.sum(shares), 1.0, rtol=0, atol=1e-9):
        raise ValueError(f"{name}: shares must add up to 1, got {np.sum(shares):g}; scale counts the requests")
    for what, value in (("sizes", sizes), ("max_inventory", limit)):
        lots = value / sizes[0]
        if np.any(np.abs(lots - np.round(lots)) > 1e-9):
            raise ValueError(
                f"{name}: {what} must be whole multiples of the smallest size {sizes[0]:g} M, got {value}; round them"
            )
    if limit < sizes[-1]:
        raise ValueError(f"{name}: max_inventory {limit:g} M is below the largest size {sizes[-1]:g} M; raise it")
