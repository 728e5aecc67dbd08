"""The constraints a dealer lives under: requirements on wealth, forced reduction, limits overnight.

A haircut, an initial and a maintenance margin and a credit line are one thing: wealth `W = S + C` must cover a share of
what is held,

    W >= R(S) = long S^+ + short S^- - line.

| constraint       | long          | short               | line           | says                                      |
| credit line      | 1             | -1                  | `credit_line`  | `C >= -L`                                 |
| with a haircut   | `haircut`     | -1                  | `credit_line`  | `C + (1 - haircut) S^+ >= -L`             |
| initial margin   | `initial`     | `short_initial`     | 0              | `W >= m S^+ + m' S^-` to raise a position |
| maintenance      | `maintenance` | `short_maintenance` | 0              | the same, or else a call                  |

A fill at the reference price changes `S` and leaves `W`, so one rule decides on all of them: **a fill may happen if it
does not raise the requirement, or if wealth covers the requirement after it.** What the dealer is paid for the fill is
not counted.

The difference between a security's price and its value as collateral is its margin or haircut; a short sale needs one,
too, and all of them together must not exceed the trader's own capital (Brunnermeier and Pedersen 2009, section 1).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from ._precision import check, parameter
from ._stated import Stated


class Requirement(NamedTuple):
    """`R(S) = long S^+ + short S^- - line`, money that wealth must cover."""

    long: Any
    short: Any
    line: Any

    def of(self, stock: Any) -> Any:
        """`R(S)`, money."""
        return self.long * jnp.maximum(stock, 0.0) + self.short * jnp.maximum(-stock, 0.0) - self.line

    def gap(self, stock: Any, wealth: Any) -> Any:
        """What wealth lacks; minus infinity for a margin of nothing, which asks nothing of any position."""
        asks = (jnp.asarray(self.long) != 0) | (jnp.asarray(self.short) != 0)
        return jnp.where(asks, self.of(stock) - wealth, -jnp.inf)


def _optional(value: Any) -> Any:
    return None if value is None else parameter(value)


class Margin(Stated):
    """A margin account: wealth must cover a share of the position, marked to the reference price.

    initial:      share that wealth must cover after a fill that raises the position.
    maintenance:  share that it must cover at any time; below it there is a margin call: only the reducing side is
                  quoted, and under `ForcedReduction` the broker trades, too. Not above `initial`.
    short_initial, short_maintenance:  the same for a short position; None for the long one's.

    In the United States 50% and 25% for stock held, 50% and 30% for stock sold short (Regulation T, 12 CFR 220.12;
    FINRA Rule 4210(c)). A dealer without wealth cannot trade under a margin: start with cash.
    """

    initial: Any = eqx.field(converter=parameter)
    maintenance: Any = eqx.field(converter=parameter)
    short_initial: Any = eqx.field(converter=_optional, default=None)
    short_maintenance: Any = eqx.field(converter=_optional, default=None)

    def __check_init__(self) -> None:
        for name, value in self.arguments().items():
            if value is not None:
                check(f"Margin: {name}", value, least=0, hint="it is the share of a position that wealth must cover")
        for which, sides in (("", (self.initial, self.maintenance)), ("short_", self.short_shares)):
            initial, maintenance = sides
            known = isinstance(initial, np.ndarray) and isinstance(maintenance, np.ndarray)
            if known and np.any(maintenance > initial):
                raise ValueError(
                    f"Margin: {which}maintenance must not lie above {which}initial ({float(np.min(initial)):g}), got "
                    f"{float(np.max(maintenance)):g}; a position that may be opened would be called at once"
                )

    @property
    def short_shares(self) -> tuple[Any, Any]:
        """Initial and maintenance margin of a short position."""
        initial = self.initial if self.short_initial is None else self.short_initial
        return initial, self.maintenance if self.short_maintenance is None else self.short_maintenance

    @property
    def to_raise(self) -> Requirement:
        """What wealth must cover after a fill that raises the position."""
        return Requirement(self.initial, self.short_shares[0], 0.0)

    @property
    def to_keep(self) -> Requirement:
        """What it must cover at any time."""
        return Requirement(self.maintenance, self.short_shares[1], 0.0)


class ForcedReduction(Stated):
    """While a limit is broken, a lot at a time is traded in the market on the side that reduces the position.

    pace:  such trades per year, at exponential waiting times.
    cost:  share of the money traded that each loses.

    So a forced sale is a fill of the ask at the distance `-cost`, and a forced purchase one of the bid, at a rate that
    nobody chooses: to the equation and to a simulation alike. Limits are `max_stock`, `short_limit`, the credit line
    and the maintenance margin. Positions below half a lot are left alone, as a lot would not reduce them.
    """

    pace: Any = eqx.field(converter=parameter)
    cost: Any = eqx.field(converter=parameter, default=0.0)

    def __check_init__(self) -> None:
        check("ForcedReduction: pace", self.pace, least=0, hint="it is forced trades per year")
        check("ForcedReduction: cost", self.cost, least=0, hint="it is a share of the money traded")


def _whole(value: Any) -> Any:
    number = np.asarray(value, float)
    return int(number) if number.ndim == 0 and number == np.floor(number) else value


class Overnight(Stated):
    """A limit on `|S|` that holds between the trading days of a horizon, tighter than the day's.

    limit:  money. At the close of each day but the last, what exceeds it is traded in the market at once.
    days:   trading days in the horizon, equally long.
    cost:   share of the money so traded that it loses.

    The close is foreseen: with `S' = min(max(S, -limit), limit)` the value just before it is the value just after it at
    `S'`, less `cost |S - S'|`. What becomes of the last day's position is for `liquidation_cost` to say.
    """

    limit: Any = eqx.field(converter=parameter)
    days: int = eqx.field(static=True, converter=_whole)
    cost: Any = eqx.field(converter=parameter, default=0.0)

    def __check_init__(self) -> None:
        check("Overnight: limit", self.limit, least=0, hint="it bounds the stock account overnight, in money")
        check("Overnight: cost", self.cost, least=0, hint="it is a share of the money traded")
        if isinstance(self.days, bool) or not isinstance(self.days, int) or self.days < 2:
            raise ValueError(
                f"Overnight: days must be a whole number of at least 2, got {self.days!r}; a single day has no night"
            )
