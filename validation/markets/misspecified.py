"""What it costs to be wrong: quotes computed for one problem, and judged in another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx

from ...hjb.solution import Solution
from ...hjb.solve import solve
from ...models.demand import Exponential
from ...models.inventory import InventoryDealer
from .._outcome import Simulation
from .attribution import paired
from .poisson import PoissonMarket

KINDS = ("risk_aversion", "volatility", "decay", "flow")


class Regret(NamedTuple):
    """What an error costs by the true criterion, money; and how the wrong dealer fares in mean wealth."""

    name: str
    regret: float
    standard_error: float
    criterion: float
    mean_wealth: float

    @property
    def z(self) -> float:
        """Regret in standard errors."""
        return self.regret / self.standard_error if self.standard_error > 0 else math.nan


@dataclass(frozen=True)
class Misspecification:
    """Regrets of wrong problems in the true one; `right` is the run of the quotes computed with the truth."""

    truth: InventoryDealer
    market: PoissonMarket
    right: Simulation
    regrets: tuple[Regret, ...]

    def table(self) -> str:
        """One line per error: regret, standard error, and its share of the criterion under the right quotes."""
        lines = [
            f"{self.right.paths:,} paths in {self.market}, seed {self.right.seed}; "
            f"with the right quotes {self.right.criterion:.6g} +- {self.right.criterion_standard_error:.2g}",
            f"{'computed with':<24}{'regret':>12}{'std. error':>12}{'share':>9}{'mean wealth':>14}",
        ]
        for each in self.regrets:
            share = each.regret / abs(self.right.criterion)
            lines.append(
                f"{each.name:<24}{each.regret:>12.4g}{each.standard_error:>12.2g}{share:>9.2%}{each.mean_wealth:>14.6g}"
            )
        return "\n".join(lines)


def misspecified(
    truth: InventoryDealer,
    errors: Mapping[str, Any],
    paths: int,
    seed: int = 0,
    *,
    market: PoissonMarket | None = None,
    method: Any = None,
    initial: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Misspecification:
    """Solve wrong problems, play their quotes in the true one, and measure the regret.

    truth:   the problem that the world follows and by whose objective all are judged.
    errors:  from a name to the wrong problem, such as `wrong(truth, volatility=1.5)`, or to the wrong policy itself.
    market:  where they are played; by default one without frictions.
    method:  by which all are solved; by default the one that fits.

    Regret is the criterion under the right quotes less that under the wrong ones, positive where being wrong costs; its
    standard error is that of the difference path by path, all runs meeting the same orders and prices. An equilibrium
    (`MeanVariance`) is no maximum, and with frictions no policy here is, so that a regret may be negative.
    Raises `TypeError` where an error is neither a problem nor a policy, and as `simulate(..., market=...)` does.
    """
    from ..simulation import play_markets

    market = PoissonMarket() if market is None else market
    policies = [solve(truth, method).policy]
    for name, wrong_one in errors.items():
        policies.append(_policy(name, wrong_one, method))
    runs = play_markets(truth, [(policy, market) for policy in policies], paths, seed, initial, progress)
    right, *others = runs
    regrets = tuple(
        Regret(name, *paired(right.score, run.score), run.criterion, run.mean_wealth)
        for name, run in zip(errors, others, strict=True)
    )
    return Misspecification(truth, market, right, regrets)


def _policy(name: str, wrong_one: Any, method: Any) -> Any:
    if isinstance(wrong_one, InventoryDealer):
        return solve(wrong_one, method).policy
    if isinstance(wrong_one, Solution):
        return wrong_one.policy
    if not callable(wrong_one):
        raise TypeError(
            f"errors: {name} must be a wrong InventoryDealer or a policy, got {type(wrong_one).__name__}; "
            f"wrong(truth, {KINDS[0]}=2.0) makes one"
        )
    return wrong_one


def wrong(truth: InventoryDealer, **factors: float) -> InventoryDealer:
    """`truth` with parameters multiplied by factors: what a dealer who is wrong about them believes.

    risk_aversion:  the objective's; for a `RunningPenalty` both of its penalties.
    volatility:     of the reference price.
    decay:          `k` of both demands, which must be `Exponential`.
    flow:           how many orders come: `A` of both demands.

    Raises `ValueError` for a name it does not know or a demand without the parameter.
    """
    for name, factor in factors.items():
        if name not in KINDS:
            raise ValueError(f"{name} is not known; wrong takes factors of {', '.join(KINDS)}")
        truth = _WRONG[name](truth, factor)
    return truth


def _wrong_aversion(truth: InventoryDealer, factor: float) -> InventoryDealer:
    objective = truth.objective
    scaled = type(objective)(**{key: factor * value for key, value in objective.arguments().items()})
    return _with(truth, objective=scaled)


def _wrong_demand(truth: InventoryDealer, parameter: str, factor: float) -> InventoryDealer:
    sides = {}
    for side in ("bid_demand", "ask_demand"):
        demand = getattr(truth, side)
        arguments = demand.arguments()
        if parameter not in arguments or (parameter == "decay" and not isinstance(demand, Exponential)):
            raise ValueError(
                f"{side} {type(demand).__name__} has no {parameter} to be wrong about; state the wrong problem itself"
            )
        sides[side] = type(demand)(**{**arguments, parameter: factor * arguments[parameter]})
    return _with(truth, **sides)


def _with(truth: InventoryDealer, **changes: Any) -> InventoryDealer:
    names = list(changes)
    return eqx.tree_at(lambda p: [getattr(p, n) for n in names], truth, list(changes.values()))


_WRONG = {
    "risk_aversion": _wrong_aversion,
    "volatility": lambda truth, factor: _with(truth, volatility=factor * truth.volatility),
    "decay": lambda truth, factor: _wrong_demand(truth, "decay", factor),
    "flow": lambda truth, factor: _wrong_demand(truth, "scale", factor),
}
