"""A dealer in calls on one stock, who hedges delta and is left with vega (Baldacci, Bergault and Gueant 2021).

The stock and its variance follow Heston's model, with one drift of the variance for the world (`P`) and another for
prices (`Q`). A book of `q_i` calls, hedged in the stock, earns between fills

    d(profit) = Vega (a_P(nu) - a_Q(nu)) / (2 sqrt nu) dt + (xi/2) Vega dB,      Vega = sum_i q_i Vega_i,

with `a(nu) = kappa (theta - nu)` and `Vega_i = dO_i/d sqrt(nu)`. Over a horizon of hours the `Vega_i` hardly move; held
at their values of now they leave one state of the book, its vega, beside the variance, whatever the number of options.
The dealer who wants `E[profit] - (gamma/2) E int (xi^2/4) Vega^2 dt` has the value `v(t, nu, Vega)`, money, ahead of
the marked book:

    0 = v_t + a_P v_nu + (xi^2 nu/2) v_nunu + Vega (a_P - a_Q)/(2 sqrt nu) - (gamma xi^2/8) Vega^2
          + sum_i sum_{s = +1 bid, -1 ask} w_i sup_x Lambda_i(x) (x - (v(Vega) - v(Vega + s w_i))/w_i)
                                           1{|Vega + s w_i| <= limit},                         v(T) = 0.

`w_i = z_i Vega_i` is the vega of a trade of `z_i` calls. A distance `x` is in implied volatility, `x = delta_i/Vega_i`
for the distance `delta_i` in price, so a fill earns `z_i delta_i = w_i x`; time `t` runs forward, in years. The
paper writes the same with `z_i H_i(p)`, `H_i(p) = sup_delta Lambda_i(delta/Vega_i) (delta - p)`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._precision import check, in_float64, is_traced, parameter
from .channels import Channel
from .demand import Demand, Logistic
from .heston import Heston
from .problem import Dealer, check_common


class OptionsBook(Dealer):
    """Calls on one stock, quoted on both sides; see the module for the equations.

    physical, pricing:      Heston's model as the variance moves and as options are priced; volatility of variance and
                            correlation are the same in both.
    spot, variance:         `S` and `nu` at time 0, price and per year; vegas are held at their values there.
    strikes, maturities:    of the calls, (options,), price and years from time 0.
    sizes:                  `z_i`, calls to a trade, (options,).
    bid_demand, ask_demand: fills per year and option against the distance **in implied volatility** (.01 is a point of
                            volatility); each parameter is one number, or one for every option.
    vega_limit:             bound on `|Vega|` that no fill may cross, money per unit of volatility.
    risk_aversion:          `gamma`, per unit of money.
    horizon:                `T`, years; before the first maturity.

    State: `vega`, the book's, in money per unit of volatility, and `variance`, which is the one of time 0 where it is
    not said. Raises `ValueError` naming the culprit for impossible numbers, lengths that differ, two measures that
    cannot belong together, or a limit below a trade's own vega.
    """

    names: ClassVar[tuple[str, ...]] = ("vega", "variance")
    units: ClassVar[dict[str, str]] = {
        "state": "money per unit of volatility",
        "money": "money",
        "time": "years",
        "distance": "price",
    }
    moves: ClassVar[bool] = False
    listed: ClassVar[tuple[str, ...]] = ("strikes", "maturities", "sizes", "bid_demand", "ask_demand")

    physical: Heston
    pricing: Heston
    spot: Any = eqx.field(converter=parameter)
    variance: Any = eqx.field(converter=parameter)
    strikes: Any = eqx.field(converter=parameter)
    maturities: Any = eqx.field(converter=parameter)
    sizes: Any = eqx.field(converter=parameter)
    bid_demand: Demand
    ask_demand: Demand
    vega_limit: Any = eqx.field(converter=parameter)
    risk_aversion: Any = eqx.field(converter=parameter)
    horizon: Any = eqx.field(converter=parameter)

    def __check_init__(self) -> None:
        check_common(self, "OptionsBook")
        check("OptionsBook: spot", self.spot, above=0, hint="it is a price")
        check("OptionsBook: variance", self.variance, above=0, hint="it is per year, such as .04 for 20% a year")
        for name in ("strikes", "maturities", "sizes"):
            check(f"OptionsBook: {name}", getattr(self, name), above=0)
        check("OptionsBook: vega_limit", self.vega_limit, above=0, hint="it is in money per unit of volatility")
        check("OptionsBook: risk_aversion", self.risk_aversion, least=0, hint="it is per unit of money")
        _check_measures(self.physical, self.pricing)
        _check_lengths(self)
        if not is_traced(self) and isinstance(self.sizes, np.ndarray):
            _check_reach(self)

    @classmethod
    def published(cls, **changes: Any) -> OptionsBook:
        """The paper's book of twenty calls, five strikes by four maturities, with `changes` to any argument.

        Trades are of half a million in premium; the horizon is .0012 years, three tenths of a day.
        """
        strikes, maturities = (x.ravel() for x in np.meshgrid([8.0, 9, 10, 11, 12], [1.0, 1.5, 2, 3], indexing="ij"))
        pricing, spot, variance = Heston(3.0, 0.0225, 0.2, -0.5), 10.0, 0.0225
        requests = 252 * 30 / (1 + 0.7 * np.abs(spot - strikes))
        demand = Logistic(scale=requests, alpha=0.7, beta=150.0)
        settings = {
            "physical": Heston(2.0, 0.04, 0.2, -0.5),
            "pricing": pricing,
            "spot": spot,
            "variance": variance,
            "strikes": strikes,
            "maturities": maturities,
            "sizes": 5e5 / pricing.call(spot, strikes, maturities, variance),
            "bid_demand": demand,
            "ask_demand": demand,
            "vega_limit": 1e7,
            "risk_aversion": 1e-3,
            "horizon": 0.0012,
        }
        return cls(**(settings | changes))

    @property
    def options(self) -> int:
        """How many options the book quotes."""
        return np.shape(self.strikes)[0]

    @property
    def prices(self) -> Any:
        """Of the calls at time 0, (options,)."""
        return self.pricing.call(self.spot, self.strikes, self.maturities, self.variance)

    @property
    def vegas(self) -> Any:
        """`dO_i/d sqrt(nu)` at time 0, price per unit of volatility, (options,)."""
        return self.pricing.vega(self.spot, self.strikes, self.maturities, self.variance)

    @property
    def size(self) -> Any:
        """`w_i`, by how much a fill moves the book's vega, (options,)."""
        return self.sizes * self.vegas

    @property
    def limit(self) -> Any:
        return self.vega_limit

    def worth(self, tau: Any, vega: Any = 0.0, variance: Any = 0.0) -> Any:
        """The marked book is what values are counted from."""
        return jnp.zeros(np.broadcast_shapes(*map(np.shape, (tau, vega, variance))))

    def income(self, variance: Any) -> Any:
        """`(a_P - a_Q)/(2 sqrt nu)`: what a unit of vega earns per year because prices hold another drift."""
        return (self.physical.drift(variance) - self.pricing.drift(variance)) / (2 * variance**0.5)

    def running_cost(self, vega: Any) -> Any:
        """`(gamma xi^2/8) Vega^2`, money per year."""
        return self.risk_aversion * self.physical.volatility_of_variance**2 / 8 * vega**2

    def channels(self) -> tuple[Channel, Channel]:
        """The bids and the asks; every number of theirs has the options on its last axis."""
        trade = self.size
        return (
            Channel(+1, self.bid_demand, trade, trade, 0.0),
            Channel(-1, self.ask_demand, trade, trade, 0.0),
        )

    def may_fill(self, side: int, y: Any, *others: Any) -> Any:
        """Whether a fill keeps the limit, for `y` with a last axis of one or of the options."""
        trade = self.size
        return side * y + trade <= self.vega_limit + 1e-9 * trade


def best_response(demand: Demand, price: Any) -> tuple[Any, Any]:
    """The best distance `x` against `sup_x Lambda_i(x) (x - price)` and `Lambda_i(x)`; prices (..., options).

    The distance is nan, and the intensity zero, where no distance earns anything.
    """
    return _respond(demand, np.asarray(price) if not is_traced(price) else price)


@in_float64
def _respond(demand: Demand, price: Any) -> Any:
    def row(price: Any) -> Any:
        x = demand.best_response(lambda ratio: price + ratio)
        quoting = jnp.isfinite(x)
        return x, jnp.where(quoting, demand._intensity(jnp.where(quoting, x, 0.0)), 0.0)

    flat = jnp.reshape(price, (-1, price.shape[-1]))
    return jax.tree.map(lambda part: part.reshape(price.shape), jax.vmap(row)(flat))


def of_channel(book: OptionsBook, side: Any, option: Any) -> Demand:
    """The demand in channels given by `side` (+1 bid, -1 ask) and the number of the `option`, arrays of one shape.

    Its parameters have that shape, or are one number where they are the same for all. `side` may be a plain number.
    """
    bid, ask = (
        jax.tree.map(lambda leaf: jnp.asarray(leaf)[option] if jnp.ndim(leaf) else leaf, demand)
        for demand in (book.bid_demand, book.ask_demand)
    )
    if isinstance(side, int):
        return bid if side > 0 else ask
    if jax.tree.structure(bid) != jax.tree.structure(ask):
        raise TypeError("bid_demand and ask_demand must be of one class where a side is drawn, as in a simulation")
    return jax.tree.map(lambda one, other: jnp.where(side > 0, one, other), bid, ask)


def _check_measures(physical: Any, pricing: Any) -> None:
    for name, model in (("physical", physical), ("pricing", pricing)):
        if not isinstance(model, Heston) and type(model) is not object:
            raise TypeError(f"OptionsBook: {name} must be a Heston model, got {model!r}")
    for name in ("volatility_of_variance", "correlation"):
        pair = (getattr(physical, name, None), getattr(pricing, name, None))
        if all(isinstance(value, np.ndarray) for value in pair) and np.any(pair[0] != pair[1]):
            raise ValueError(
                f"OptionsBook: {name} is {pair[0]:g} in the physical and {pair[1]:g} in the pricing model, but a "
                "change of measure cannot change it; give both the same"
            )


def _check_lengths(book: OptionsBook) -> None:
    shapes = {name: np.shape(getattr(book, name)) for name in ("strikes", "maturities", "sizes")}
    if not all(isinstance(getattr(book, name), np.ndarray) for name in shapes):
        return
    if len(set(shapes.values())) > 1 or len(shapes["strikes"]) != 1 or not shapes["strikes"][0]:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"OptionsBook: strikes, maturities and sizes must be lists of one length, got shapes {listed}")
    count = shapes["strikes"][0]
    for side in ("bid_demand", "ask_demand"):
        for leaf in jax.tree.leaves(getattr(book, side)):
            if np.shape(leaf) not in ((), (count,)):
                raise ValueError(
                    f"OptionsBook: {side} has a parameter of shape {np.shape(leaf)}; give one number, or one for each "
                    f"of the {count} options"
                )
    if isinstance(book.horizon, np.ndarray) and np.min(book.maturities) <= book.horizon:
        raise ValueError(
            f"OptionsBook: horizon={book.horizon:g} does not end before the first maturity of "
            f"{np.min(book.maturities):g} years; vegas are held constant over it, so shorten it"
        )


def _check_reach(book: OptionsBook) -> None:
    trade = np.asarray(book.size)
    if np.any(trade > book.vega_limit):
        i = int(np.argmax(trade))
        raise ValueError(
            f"OptionsBook: vega_limit={book.vega_limit:g} is below the vega {trade[i]:g} of one trade in the call of "
            f"strike {book.strikes[i]:g} and maturity {book.maturities[i]:g}; raise the limit or lower its size"
        )
