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
from .._outcome import Simulation
from ._play import PLAYED, Playable
from ._table import aligned, decimals_for
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

    truth: Playable
    market: PoissonMarket
    right: Simulation
    regrets: tuple[Regret, ...]

    def to_data(self) -> dict[str, Any]:
        """Everything as plain data, ready for JSON."""
        return {
            "market": self.market.to_data(),
            "paths": self.right.paths,
            "seed": self.right.seed,
            "money": self.right.problem.units["money"],
            "right": {
                "criterion": self.right.criterion,
                "standard_error": self.right.criterion_standard_error,
                "mean_wealth": self.right.mean_wealth,
            },
            "regrets": [each._asdict() for each in self.regrets],
        }

    def table(self) -> str:
        """One line per error: regret, standard error, its share of the criterion under the right quotes, wealth."""
        return table_of(self.to_data())


HEAD = ("computed with", "regret", "std. error", "share", "criterion", "mean wealth")


def cells_of(data: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A line for the right quotes and one for each error, the points of each column aligned."""
    right, regrets = data["right"], data["regrets"]
    errors = [each["standard_error"] for each in regrets]
    found = aligned([each["regret"] for each in regrets], errors, [True] * len(regrets))
    everyone = [right, *regrets]
    places = decimals_for([right["standard_error"]])
    levels = [[f"{each[key]:,.{places}f}" for each in everyone] for key in ("criterion", "mean_wealth")]
    rows = [("the truth", "", "", "", levels[0][0], levels[1][0])]
    for i, (each, (regret, error)) in enumerate(zip(regrets, found, strict=True), start=1):
        share = each["regret"] / abs(right["criterion"]) if right["criterion"] else math.nan
        shown = f"{share:+.2%}" if math.isfinite(share) else ""
        rows.append((each["name"], regret, error, shown, levels[0][i], levels[1][i]))
    return rows


def table_of(data: Mapping[str, Any]) -> str:
    """`Misspecification.table` from what `to_data` gave."""
    stated = ", ".join(f"{name}={value:g}" for name, value in data["market"].items() if name != "type")
    rows, money = cells_of(data), data["money"]
    wide = max(len(row[0]) for row in [HEAD, *rows]) + 2
    lines = [f"{data['paths']:,} paths in {data['market']['type']}({stated}), seed {data['seed']}"]
    for row, unit in zip([HEAD, *rows], ["unit", *[money] * len(rows)], strict=True):
        lines.append(f"{row[0]:<{wide}}" + "".join(f"{cell:>13}" for cell in row[1:]) + f"  {unit}")
    error = data["right"]["standard_error"]
    lines.append(f"the criterion is known to {error:.2g} {money}; the regrets, path by path, much better")
    return "\n".join(line.rstrip() for line in lines)


def misspecified(
    truth: Playable,
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
    if isinstance(wrong_one, PLAYED):
        return solve(wrong_one, method).policy
    if isinstance(wrong_one, Solution):
        return wrong_one.policy
    if not callable(wrong_one):
        raise TypeError(
            f"errors: {name} must be a wrong problem or a policy, got {type(wrong_one).__name__}; "
            f"wrong(truth, {KINDS[0]}=2.0) makes one"
        )
    return wrong_one


def wrong(truth: Any, **factors: float) -> Any:
    """The problem `truth` with parameters multiplied by factors: what a dealer who is wrong about them believes.

    risk_aversion:  the objective's; for a `RunningPenalty` both of its penalties.
    volatility:     of the reference price.
    decay:          `k` of both demands, which must be `Exponential`.
    flow:           how many orders come: `A` of both demands.

    Raises `ValueError` for a name it does not know, a factor that is not positive and finite (but a risk aversion may
    be left out, 0), or a demand without the parameter.
    """
    for name, factor in factors.items():
        if name not in KINDS:
            raise ValueError(f"{name} is not known; wrong takes factors of {', '.join(KINDS)}")
        if not (0 < factor < math.inf or (name == "risk_aversion" and factor == 0)):
            raise ValueError(f"{name} must be a positive factor, got {factor:g}; 2 for twice the truth")
        truth = _WRONG[name](truth, factor)
    return truth


def _wrong_aversion(truth: Any, factor: float) -> Any:
    objective = truth.objective
    scaled = type(objective)(**{key: factor * value for key, value in objective.arguments().items()})
    return _with(truth, objective=scaled)


def _wrong_demand(truth: Any, parameter: str, factor: float) -> Any:
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


def _with(truth: Any, **changes: Any) -> Any:
    names = list(changes)
    return eqx.tree_at(lambda p: [getattr(p, n) for n in names], truth, list(changes.values()))


_WRONG = {
    "risk_aversion": _wrong_aversion,
    "volatility": lambda truth, factor: _with(truth, volatility=factor * truth.volatility),
    "decay": lambda truth, factor: _wrong_demand(truth, "decay", factor),
    "flow": lambda truth, factor: _wrong_demand(truth, "scale", factor),
}
