"""What a replay found, and the names of what it had to assume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ._own import OwnOutcome
from ._record import Record

RULES = {
    "levels_at_start": "a level of the first book, or of the first after a halt, is one anonymous order",
    "levels_entered": "a level came into sight where nothing was known: one anonymous order",
    "levels_returned": "a level came back into sight with what was known of it, in its turn",
    "levels_grown": "a level came back larger: the rest is anonymous and behind; so are own orders",
    "levels_shrunk": "a level came back smaller: what the record never names again is gone, the last to come first",
    "heard_of_again": "of these, orders that are named again had to be reduced all the same",
    "earlier_orders": "a message names an order never seen: taken off the anonymous ones at its price, oldest first",
    "reassigned": "there was not enough of that: it is taken off orders seen, those never named again first",
    "unknown_out_of_sight": "a message takes off, at a price out of sight, more than is known there: it takes what is",
    "resized_unseen": "an order that was out of sight has another size than before; the difference is anonymous",
    "hidden_executions": "a hidden order traded: no change to the book, but own orders at its price or better are met",
    "cross_trades": "a trade of an auction: no change, and no own order is met",
    "halts": "messages about halts",
    "rows_in_halts": "rows from a halt to the end of it: not sent; the book begins again after it",
    "beyond_the_grid": "messages at prices further from the market than a book has ticks: not sent",
    "levels_beyond_the_grid": "levels of the book file at such prices: not compared",
    "refused_by_the_book": "instructions that the book refused, or did otherwise than recorded",
}
"""Every assumption of a replay by the name under which its cases are counted."""


@dataclass(frozen=True, eq=False)
class Replayed:
    """A record that was sent through the book.

    compared: whether a row was compared with the book file, as far as one can see; (n,).
    equal:    whether all of that was equal; (n,).
    execution: rows of the visible executions that were sent; (m,).
    at_touch: whether each was at the best price of the book; (m,).
    in_turn:  whether each was of the first order at its price, leaving out own orders; (m,).
    seen:     whether each was of an order that was submitted within the record; (m,).
    counts:   how often each of `RULES` was used.
    own:      what became of the dealer's orders, in the order they were given.
    """

    record: Record
    compared: np.ndarray
    equal: np.ndarray
    execution: np.ndarray
    at_touch: np.ndarray
    in_turn: np.ndarray
    seen: np.ndarray
    counts: Mapping[str, int]
    own: tuple[OwnOutcome, ...]

    @property
    def agreement(self) -> float:
        """Share of the compared rows that are equal; nan if none was."""
        return _share(self.equal[self.compared])

    @property
    def touch(self) -> float:
        """Share of the visible executions at the best price; nan if there was none."""
        return _share(self.at_touch)

    @property
    def fifo(self) -> float:
        """Share of the executions of orders seen that were the first at their price; nan if there was none."""
        return _share(self.in_turn[self.seen])

    def __str__(self) -> str:
        lines = [
            f"{self.record.source}: {len(self.record)} rows, {int(self.compared.sum())} compared",
            f"  equal to the book file          {self.agreement:10.4%}",
            f"  executions at the touch         {self.touch:10.4%} of {len(self.execution)}",
            f"  first in, first out             {self.fifo:10.4%} of {int(self.seen.sum())} of orders seen",
        ]
        lines += [f"  {self.counts[name]:8d}  {name}: {rule}" for name, rule in RULES.items() if self.counts[name]]
        lines += [f"  own order {i + 1}: {out.state}, {out.filled} filled" for i, out in enumerate(self.own)]
        return "\n".join(lines)


def _share(hits: np.ndarray) -> float:
    return float(hits.mean()) if hits.size else float("nan")
