"""A dealer's problem: dynamics, two fill channels, an objective, limits. Nothing about grids, seeds or tolerances.

The toolkit's one abstraction is a controlled jump-diffusion of a single inventory coordinate `y`,

    dy = velocity(y) dt + spread(y) dZ + size (dN_bid - dN_ask),

whose fills arrive with intensity `Lambda(x)` at the distance `x` quoted. Wealth at the horizon is
`worth(t, state) + theta` where `worth` is the marked book carried to the horizon, and

    theta_tau = income + velocity theta_y + 1/2 spread^2 theta_yy - running_cost
                + sum_channels sup_x Lambda(x) U(z(x), Dtheta, Dh),        theta(tau=0) = -terminal_cost,
    h_tau     = income + velocity h_y + 1/2 spread^2 h_yy + sum_channels Lambda(x*) (z(x*) + Dh),    h(tau=0) = 0,

with `tau = T - t` the time to go. `theta` is the value and `h` the expected wealth, both above the marked book and in
money at the horizon. A method needs nothing else from a problem than the members of this class.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from ._precision import check
from ._stated import Stated
from .channels import Channel
from .demand import Demand
from .objectives import Objective


@jax.tree_util.register_pytree_with_keys_class
class State(dict):
    """Named state of a dealer, such as `state.stock` or `state["stock"]`; any array shape."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this state has no {name!r}; it has {', '.join(self)}") from None

    def tree_flatten_with_keys(self) -> Any:
        keys = tuple(self)
        return [(jax.tree_util.DictKey(k), self[k]) for k in keys], keys

    @classmethod
    def tree_unflatten(cls, keys: Any, values: Any) -> State:
        return cls(zip(keys, values, strict=True))


class Dealer(Stated):
    """What every stated problem has: named state, units, a horizon, and an inventory that fills move."""

    names: ClassVar[tuple[str, ...]]  # of the state variables, the inventory coordinate first
    units: ClassVar[dict[str, str]]  # of "state", "money", "time", "distance"
    moves: ClassVar[bool]  # whether the inventory changes between fills

    if TYPE_CHECKING:  # horizon, bid_demand, ask_demand and more: each problem declares them in its own order

        def __getattr__(self, name: str) -> Any: ...

    @property
    @abstractmethod
    def size(self) -> Any:
        """Jump of `y` per fill."""

    @property
    @abstractmethod
    def limit(self) -> Any:
        """Bound on `|y|` that no fill may cross; `inf` where there is none."""

    @abstractmethod
    def worth(self, tau: Any, **state: Any) -> Any:
        """The marked book carried to the horizon, money."""

    @property
    def days(self) -> int:
        """Equal parts of the horizon, at the end of each of which but the last the inventory is cut back."""
        return 1

    def lots(self, y: Any) -> Any:
        """Inventory in lots."""
        return y / self.size

    def coordinate(self, state: Any) -> Any:
        """The inventory `y` of a named state, or `state` itself where it is a bare number or array."""
        return state[self.names[0]] if isinstance(state, Mapping) else state

    def bound(self, side: int) -> Any:
        """How far the inventory may go up (`side` +1) or, as a positive number, down (-1) by fills."""
        return self.limit

    def may_fill(self, side: int, y: Any, *others: Any) -> Any:
        """Whether a fill on `side` (+1 bid, -1 ask) keeps the limit: `side y + size <= limit`.

        Beyond the limit, where growth alone can carry a stock account, only the reducing side is quoted. `others` are
        further state variables in the order of `names`, for a problem whose limits concern them.
        """
        slack = 1e-9 * self.size  # a fill that lands on the limit is allowed, whatever the rounding
        return side * y + self.size <= self.bound(side) + slack


class Problem(Dealer):
    """Base of all one-inventory problems; see the module for the equations its members enter."""

    @abstractmethod
    def accrual(self, tau: Any) -> Any:
        """What one unit of money with `tau` to go is worth at the horizon, `E = e^{r tau}`."""

    @abstractmethod
    def velocity(self, y: Any) -> Any:
        """Drift of `y` between fills, per unit of time."""

    @abstractmethod
    def spread(self, y: Any) -> Any:
        """Loading of `y` on the Brownian motion, per sqrt(time)."""

    @abstractmethod
    def income(self, tau: Any, y: Any) -> Any:
        """Expected growth of the marked book, money at the horizon per unit of time."""

    @abstractmethod
    def exposure(self, tau: Any, y: Any) -> Any:
        """Loading of wealth at the horizon on the Brownian motion, money per sqrt(time), before `h` is counted."""

    @abstractmethod
    def channels(self, tau: Any) -> tuple[Channel, Channel]:
        """The bid and the ask with `tau` to go."""

    def without_fills(self, tau: Any, sign: Any = 1.0) -> tuple[Any, Any]:
        """Slope `s` and curvature `c` of the exact solution without fills, `h = s y`, `theta = s y - c y^2`.

        They may differ by the `sign` of `y`. Only a problem that moves between fills needs it: it closes the equation
        at the ends of a grid.
        """
        return jnp.zeros_like(tau * sign), jnp.zeros_like(tau * sign)

    def closing_cost(self, y: Any) -> Any:
        """Money that giving up the inventory costs at the horizon; it is paid, so it lowers wealth itself."""
        return jnp.zeros_like(y)

    def excess(self, y: Any, *others: Any) -> Any:
        """By how much growth or interest has carried an account beyond a limit that no fill may cross; zero within."""
        return jnp.maximum(jnp.maximum(y - self.bound(+1), -y - self.bound(-1)), 0.0)

    @property
    def forces(self) -> bool:
        """Whether someone else trades for the dealer where a limit is broken."""
        return False

    def forced_rate(self, side: int, y: Any, *others: Any) -> Any:
        """Forced trades on `side` (+1 purchases, -1 sales) per unit of time; zero within all limits."""
        return jnp.zeros_like(y)

    @property
    def forced_pace(self) -> Any:
        """The most of them per unit of time."""
        return 0.0

    @property
    def forced_distance(self) -> Any:
        """Distance at which forced trades are done; what they cost, so never positive."""
        return 0.0

    def close(self, tau: Any, y: Any) -> tuple[Any, Any]:
        """At a close: what is kept overnight of the inventory `y`, and the money that trading the rest brings."""
        return y, jnp.zeros_like(y)

    # What a simulation needs: exact motion between fills, and the money that a fill moves.

    @abstractmethod
    def evolve(self, tau: Any, y: Any, dt: Any, normal: Any) -> tuple[Any, Any]:
        """`y` after `dt` without fills, given a standard normal draw, and money booked meanwhile (at the horizon)."""

    def funding(self, tau: Any, before: Any, after: Any, money: Any, dt: Any) -> Any:
        """Money booked within `dt` because of the money held and the inventory on its way from `before` to `after`.

        `tau` is the time to go at the start and `money` is booked at the horizon, at the lending rate. Zero but for a
        problem with a dearer borrowing rate or a fee.
        """
        return jnp.zeros_like(money)

    @abstractmethod
    def payment(self, tau: Any, side: int, distance: Any) -> Any:
        """Money booked at a fill, carried to the horizon."""

    @abstractmethod
    def settle(self, y: Any, money: Any) -> Any:
        """Wealth at the horizon from the inventory and the money booked."""

    @abstractmethod
    def state(self, tau: Any, y: Any, money: Any) -> State:
        """The named state from the inventory and the money booked so far."""


def check_common(problem: Dealer, name: str) -> None:
    """Checks that all problems share; raise `ValueError` or `TypeError` naming the culprit."""
    check(f"{name}: horizon", problem.horizon, above=0, hint=f"it is the time to go, in {problem.units['time']}")
    for side in ("bid_demand", "ask_demand"):
        if not isinstance(getattr(problem, side), Demand) and type(getattr(problem, side)) is not object:
            raise TypeError(
                f"{name}: {side} must be a demand such as Exponential(scale, decay), got {getattr(problem, side)!r}"
            )
    objective = getattr(problem, "objective", None)  # the printed problem has its own, built in
    if objective is not None and not isinstance(objective, Objective) and type(objective) is not object:
        raise TypeError(f"{name}: objective must be one such as MeanVariance(risk_aversion), got {objective!r}")


def as_state(problem: Dealer, state: Mapping[str, Any]) -> State:
    """Complete a named state with zeros; raise `TypeError` for a name the problem does not have."""
    unknown = [name for name in state if name not in problem.names]
    if unknown:
        raise TypeError(
            f"{type(problem).__name__} has no state {unknown[0]!r}; its state is {', '.join(problem.names)}"
        )
    return State({name: _as_array(state.get(name, 0.0)) for name in problem.names})


def _as_array(value: Any) -> Any:
    return value if isinstance(value, jax.Array) else np.asarray(value, dtype=np.float64)
