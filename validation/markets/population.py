"""Two hundred investors who know what they think a contract is worth: who they are, and what they want today.

A period is a trading day. Each investor draws a side, a quantity, the price it expects (evenly within `dispersion` of
the fundamental value), whether it wants to trade at once, and when it comes. Everything is a whole number, so a market
comes out the same to the last bit whatever the batch or the machine, and the same people come to every market.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import _randomness as randomness
from ..matching.rules import check_whole

FUNDAMENTAL, DESIRE, ARRIVAL, PATIENCE = range(4)
"""Streams of random numbers."""

MOST_PRICES = 2**16
"""On the grid of a book. Random numbers are even on no more either, see `below`."""
MOST_INVESTORS = 2**14 - 1
"""So many that nobody can trade 2^15 times in a session, as sums in two words ask; see `_wide.Wide.carried`."""

_COUNTED = {"investors": "people", "start": "ticks", "most": "lots"} | dict.fromkeys(
    ("highest", "lowest", "endowment"), "units"
)


@dataclass(frozen=True)
class Population:
    """The investors.

    investors:  how many; each comes once a day.
    start:      the fundamental value on the first day, in ticks.
    dispersion: half the width of the expected prices' even distribution, as a share of `start`.
    daily_move: standard deviation of the fundamental's daily change, as a share of `start`; the change is evenly
                distributed on whole ticks, see `volatility` for what that makes of it.
    most:       the largest quantity wanted, in lots; quantities are even on 1..most.
    highest, lowest: position limits in units; 0 for `lowest` forbids short sales.
    immediacy:  the share who want to trade at once where there is a dealer to trade with.
    endowment:  units each investor has on the first day.
    """

    investors: int = 200
    start: int = 1000
    dispersion: float = 0.2
    daily_move: float = 0.01
    most: int = 100
    highest: int = 500
    lowest: int = -500
    immediacy: float = 0.5
    endowment: int = 0

    def __post_init__(self) -> None:
        far = 2**30
        least = {"investors": 2, "start": 10, "most": 1, "highest": 1, "lowest": -far, "endowment": -far}
        most = {"investors": MOST_INVESTORS, "start": far, "most": MOST_PRICES, "highest": far}
        for name, bound in least.items():
            check_whole(f"Population: {name}", getattr(self, name), bound, "it is counted in " + _COUNTED[name])
            if getattr(self, name) > most.get(name, far):
                raise ValueError(
                    f"Population: {name} must be at most {most[name]}, got {getattr(self, name)}; lower it"
                )
        if not 0 < self.dispersion < 0.9:
            raise ValueError(f"Population: dispersion must lie between 0 and 0.9, got {self.dispersion}; 0.2 is 20%")
        if not 0 <= self.daily_move < 0.2:
            raise ValueError(f"Population: daily_move must lie between 0 and 0.2, got {self.daily_move}; 0.01 is 1%")
        if not 0 <= self.immediacy <= 1:
            raise ValueError(f"Population: immediacy is a share between 0 and 1, got {self.immediacy}")
        if not self.lowest <= self.endowment <= self.highest:
            raise ValueError(
                f"Population: endowment must lie within the limits {self.lowest}..{self.highest}, got {self.endowment}"
            )

        if 2 * self.step + 1 > MOST_PRICES:
            raise ValueError(
                f"Population: daily_move {self.daily_move} of a start of {self.start} ticks moves by up to {self.step} "
                f"ticks a day, more than {MOST_PRICES // 2 - 1}; lower start or daily_move"
            )

    @property
    def reach(self) -> int:
        """The furthest that an expected price lies from the fundamental, in ticks."""
        return round(self.dispersion * self.start)

    @property
    def step(self) -> int:
        """The fundamental's largest daily change, in ticks: `s` with `s (s + 1) / 3` nearest to the variance."""
        variance = (self.daily_move * self.start) ** 2
        return round((math.sqrt(1 + 12 * variance) - 1) / 2)

    @property
    def volatility(self) -> float:
        """Of the fundamental, ticks per square root of a day."""
        return math.sqrt(self.step * (self.step + 1) / 3)

    @property
    def mean_size(self) -> float:
        """Of an order, in lots."""
        return (1 + self.most) / 2

    @property
    def people(self) -> People:
        """The investors as numbers, for a compiled run, where prices are any whole numbers."""
        return self.facing(1)

    def facing(self, tick: int) -> People:
        """The investors as numbers, for a compiled run, where prices are multiples of `tick`.

        Raises `ValueError` where their prices are more than a book has room for.
        """
        prices = 2 * (self.reach + tick - 1) + 1  # either end may be rounded beyond what anybody expects
        if prices > MOST_PRICES:
            raise ValueError(
                f"Population: dispersion {self.dispersion} of a start of {self.start} ticks asks for {prices} prices, "
                f"more than the {MOST_PRICES} of a book; lower start or dispersion"
            )
        names = ("start", "step", "most", "highest", "lowest", "endowment")
        numbers = {name: np.int32(getattr(self, name)) for name in names}
        return People(
            self.investors, self.reach, 32 * -(-prices // 32), hurry=np.int32(round(self.immediacy * 2**16)), **numbers
        )


class People(eqx.Module):
    """A `Population` as numbers: those that shape a run are compiled in, the others may change without compiling.

    prices: on a book's grid, a multiple of 32.   hurry: of 2^16 investors, how many want to trade at once.
    """

    investors: int = eqx.field(static=True)
    reach: int = eqx.field(static=True)
    prices: int = eqx.field(static=True)
    start: Any
    step: Any
    most: Any
    highest: Any
    lowest: Any
    endowment: Any
    hurry: Any


class Crowd(NamedTuple):
    """What everybody wants today; (books, 1 + investors), nobody at number 0, but for `arrival`.

    value:   the expected price in ticks: what a buyer pays at most, what a seller takes at least.
    side:    1 for a buyer, -1 for a seller.
    lots:    wanted.
    at_once: whether it wants to trade at once.
    partner: whom it meets where trades are negotiated.
    arrival: who comes first, second, ...; (books, investors).
    """

    value: jax.Array
    side: jax.Array
    lots: jax.Array
    at_once: jax.Array
    partner: jax.Array
    arrival: jax.Array


def below(word: jax.Array, bound: Any) -> jax.Array:
    """`floor(word bound / 2^32)`: even on 0..bound-1 but for 2^-16 of itself at most; `bound` up to 2^16."""
    high, low = word >> np.uint32(16), word & np.uint32(0xFFFF)
    times = jnp.asarray(bound).astype(jnp.uint32)
    return ((high * times + ((low * times) >> np.uint32(16))) >> np.uint32(16)).astype(jnp.int32)


def fundamental_move(population: People, key: randomness.Key, market: jax.Array, day: jax.Array) -> jax.Array:
    """The change of the fundamental value before a day, in ticks; `market` (books,) uint32."""
    word, _ = randomness.words(randomness.stream(key, FUNDAMENTAL), market, day.astype(jnp.uint32))
    return below(word, 2 * population.step + 1) - population.step


def crowd(population: People, key: randomness.Key, market: jax.Array, day: jax.Array, fundamental: jax.Array) -> Crowd:
    """Draw the day of every market's investors; `market` (books,) uint32, `fundamental` (books,) ticks."""
    people = 1 + population.investors
    number = jnp.arange(people, dtype=jnp.uint32)
    counter = (day.astype(jnp.uint32) * np.uint32(people) + number)[None, :]
    each = market[:, None]

    def draw(number: int) -> tuple[jax.Array, jax.Array]:
        return randomness.words(randomness.stream(key, number), each, counter)

    price, rest = draw(DESIRE)
    when, whom = draw(ARRIVAL)
    patience, quantity = draw(PATIENCE)
    at_once = below(patience, 2**16) < population.hurry
    _, arrival = lax.sort_key_val(when[:, 1:], jnp.broadcast_to(number[1:].astype(jnp.int32), when[:, 1:].shape))
    return Crowd(
        value=fundamental[:, None] + below(price, 2 * population.reach + 1) - population.reach,
        side=2 * below(rest, 2) - 1,
        lots=1 + below(quantity, population.most),
        at_once=at_once,
        partner=1 + below(whom, population.investors),
        arrival=arrival,
    )
