"""What it costs that the proceeds of a sale cannot be spent at once: settlement in T+1, T+2, ... against T+0.

How much settles on which day is a state for each day of the lag, and the quotes that are optimal with them would have
as many dimensions more. So the dealer keeps the quotes of the two accounts, which settle at once, and what is lost is
measured: purchases are limited by what has settled, sales and interest are not. The runs share their prices and their
candidates for fills, so a path differs from its twin only from the first purchase on that could not be paid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..models.problem import Problem
from ._outcome import Simulation
from .simulation import TRADING_DAY, simulate_settlements


@dataclass(frozen=True)
class Loss:
    """One settlement beside T+0, path by path; money, and its standard error.

    lag:        days until the proceeds of a sale can be spent.
    criterion:  estimate of the problem's objective at this settlement.
    loss:       of the criterion against T+0, and of mean wealth.
    bid_fills:  purchases that could not be made, per path, net of those made later instead.
    affected:   share of the paths that differ from T+0 at all.
    """

    lag: int
    criterion: float
    loss: float
    standard_error: float
    wealth_loss: float
    wealth_standard_error: float
    bid_fills: float
    affected: float


@dataclass(frozen=True)
class SettlementLoss:
    """The losses, one for each lag in the order asked for, and the runs that they come from (T+0 first)."""

    losses: tuple[Loss, ...]
    simulations: tuple[Simulation, ...]

    def table(self) -> str:
        """The losses as text."""
        first = self.simulations[0]
        names = ("criterion", "loss", "std. error", "mean wealth", "std. error", "bids lost", "affected")
        lines = [
            f"{first.paths:,} paths, exact fills, seed {first.seed}; losses against T+0, path by path",
            f"{'':<6}" + "".join(f"{name:>13}" for name in names),
        ]
        for x in self.losses:
            numbers = (x.criterion, x.loss, x.standard_error, x.wealth_loss, x.wealth_standard_error, x.bid_fills)
            cells = "".join(f"{number:>13.5g}" for number in numbers)
            lines.append(f"T+{x.lag:<4}{cells}{x.affected:>12.1%}")
        return "\n".join(lines)

    def to_data(self) -> list[dict[str, Any]]:
        """The losses, ready for JSON."""
        return [vars(loss) for loss in self.losses]

    def __repr__(self) -> str:
        told = ", ".join(f"T+{x.lag}: {x.loss:.3g} +- {x.standard_error:.2g}" for x in self.losses)
        return f"SettlementLoss({told})"


def settlement_loss(
    problem: Problem,
    solution: Any,
    lags: Sequence[int] = (0, 1, 2),
    paths: int = 100_000,
    seed: int = 0,
    *,
    initial: Mapping[str, Any] | None = None,
    day: float = TRADING_DAY,
    progress: bool | None = None,
) -> SettlementLoss:
    """What each settlement in `lags` loses of the criterion against T+0, with paired standard errors.

    solution:  whose `policy` is followed at every lag, or a policy itself.
    day:       length of a trading day, years; the horizon must be a whole number of them.

    The loss of the criterion is the mean difference of the scores, its standard error theirs over `sqrt(paths)`. It is
    zero where no purchase ever waits for the proceeds of a sale. Raises as `simulate` does.
    """
    policy: Callable[..., Any] = getattr(solution, "policy", solution)
    different = list(dict.fromkeys((0, *lags)))
    runs = simulate_settlements(problem, policy, different, paths, seed, initial, day, progress)
    losses = (_loss(runs[0], runs[different.index(lag)]) for lag in lags)
    return SettlementLoss(tuple(losses), tuple(runs))


def _loss(prompt: Simulation, late: Simulation) -> Loss:
    score, wealth = prompt.score - late.score, prompt.wealth - late.wealth
    root = math.sqrt(prompt.paths)
    same = (prompt.wealth == late.wealth) & (prompt.bid_fills == late.bid_fills)
    return Loss(
        lag=late.settlement,
        criterion=late.criterion,
        loss=float(np.mean(score)),
        standard_error=float(np.std(score, ddof=1)) / root,
        wealth_loss=float(np.mean(wealth)),
        wealth_standard_error=float(np.std(wealth, ddof=1)) / root,
        bid_fills=prompt.fills.bid - late.fills.bid,
        affected=float(np.mean(~same)),
    )
