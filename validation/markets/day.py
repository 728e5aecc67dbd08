"""One day of many markets, arrival by arrival."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._randomness import key_of
from ._capacity import check_capacity
from ._wide import joined
from .hybrid import Course, DayFigures, Setting, begin, trading_day
from .population import People, Population
from .quotes import DealerQuotes
from .rules import MarketRules
from .study import check_days, setting


class WatchedDay(NamedTuple):
    """The minute of each arrival (arrivals,), the day's figures (markets,), its course (markets, arrivals); NumPy."""

    minute: np.ndarray
    figures: DayFigures
    course: Course


def watch_day(
    rules: MarketRules, quotes: DealerQuotes, population: Population, *, markets: int, seed: int = 0
) -> WatchedDay:
    """The first day of many markets at once; market `k` has the same people whatever the rules and quotes.

    Raises `ValueError` for fewer than one market, `RuntimeError` where a book refused an order.
    """
    if isinstance(markets, bool) or not isinstance(markets, int) or markets < 1:
        raise ValueError(f"markets must be a whole number of at least 1, got {markets!r}")
    check_capacity(rules, quotes, population, days=1)
    arrays = setting(rules, quotes, population)
    key, people = jax.tree.map(jnp.asarray, (key_of(seed), population.facing(rules.tick)))
    figures, course = joined(jax.tree.map(np.asarray, _day(key, arrays, people, markets)))
    check_days(figures)
    return WatchedDay(np.asarray(arrays.moments.minute), figures, course)


@partial(jax.jit, static_argnames="books")
def _day(key: Any, setting: Setting, people: People, books: int) -> tuple[DayFigures, Course]:
    market, today = jnp.arange(books, dtype=jnp.uint32), jnp.zeros((), jnp.int32)
    _, figures, course = trading_day(begin(people, books), today, market, key, setting, people)
    return figures, jax.tree.map(jnp.transpose, course)
