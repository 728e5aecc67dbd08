"""Where a search for the risk aversion begins, and how far it looks.

`lambda` times the deviation of wealth is a number without unit: the search begins where the problem says, or, where it
says zero, at one over the deviation of wealth of a dealer who does not care for risk, roughly.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ._parameters import risk_aversion_of, stated_with

REACH = math.log(1e4)
"""How far from its beginning the search looks for the risk aversion, in its logarithm."""


def natural_risk_aversion(problem: Any) -> float:
    """One over the money that `sqrt(horizon)` moves an inventory of one lot; for `running`, what amounts to it.

    A running penalty `phi` amounts to a risk aversion of `2 phi / (sigma lot)^2` (Gueant 2017).
    """
    lot, horizon = float(problem.lot), float(problem.horizon)
    moved = float(problem.volatility) * lot * math.sqrt(horizon)
    if not moved > 0:  # no risk but the fills' own
        moved = lot / _typical_decay(problem)
    if risk_aversion_of(problem).name == "running":
        return 0.5 * moved / horizon
    return 1 / moved


def _typical_decay(problem: Any) -> float:
    """One over a distance at which demand has fallen off markedly."""
    return 1 / float(np.asarray(problem.bid_demand.reciprocal_hazard(0.0)))


def begun(problem: Any) -> Any:
    """The problem with a positive risk aversion to begin at."""
    parameter = risk_aversion_of(problem)
    value = np.asarray(parameter.of(problem))
    if value.ndim:
        raise ValueError(f"{parameter.name} must be one number, got {value.size}; calibrate one dealer at a time")
    return problem if value > 0 else stated_with(problem, {parameter: natural_risk_aversion(problem)})


def follow_the_inventory(problem: Any, what: str, trades: bool = True) -> None:
    """Raise where quotes depend on more than the inventory and the time; or, if `trades` count, the inventory does."""
    more = {"borrowing_rate, credit_line or margin": getattr(problem, "cash_matters", False)}
    if trades:
        more |= {"forced_reduction": problem.forces, "overnight": problem.days > 1}
    found = [name for name, has in more.items() if has]
    if found:
        raise ValueError(f"{what} follows the inventory alone, without {' or '.join(found)}; leave that out")
