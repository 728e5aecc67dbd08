"""The numbers of a problem by name, on the scale on which they are estimated.

A positive number is estimated by its logarithm, any other as it is. `demand.scale` and `demand.decay` name a number of
both sides at once, kept in the proportion that the problem states; its value is the bid's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...hjb import FiniteDifference, Lattice
from ...hjb.solve import default_method
from ...models import InventoryDealer, RunningPenalty, StockCashDealer

_SIGNED = ("growth", "rate", "drift", "adverse_selection")  # of which zero or less makes sense
_SIDES = ("bid_demand", "ask_demand")


class Parameter(NamedTuple):
    """A number of a problem: its name, where it stands, and whether its logarithm is estimated."""

    name: str
    places: tuple[tuple[str, ...], ...]
    positive: bool

    def of(self, problem: Any) -> Any:
        """Its value in a problem."""
        return reduce(getattr, self.places[0], problem)

    def coordinate(self, problem: Any) -> float:
        """Where a problem stands on the scale of estimation."""
        value = float(self.of(problem))
        return float(np.log(value)) if self.positive else value


class Frame(NamedTuple):
    """What is estimated and how the problem is solved meanwhile: all that a compiled program depends on."""

    free: tuple[Parameter, ...]
    tied: tuple[str, ...]  # numbers of the demand that both sides share, so that an equation that linearises stays so
    method: Any

    @staticmethod
    def about(problem: Any, free: Sequence[Parameter], method: Any) -> Frame:
        """The frame around a problem whose numbers are known."""
        one_sided = {place for parameter in free if len(parameter.places) == 1 for place in parameter.places}
        bid, ask = problem.bid_demand, problem.ask_demand
        names = bid.arguments() if type(bid) is type(ask) else {}
        tied = tuple(
            name
            for name in names
            if np.array_equal(getattr(bid, name), getattr(ask, name))
            and not any((side, name) in one_sided for side in _SIDES)
        )
        return Frame(tuple(free), tied, pinned(problem, method))

    def start(self, problem: Any) -> np.ndarray:
        """Where a problem stands, (free,)."""
        return np.array([parameter.coordinate(problem) for parameter in self.free])

    def restated(self, problem: Any, at: Any) -> Any:
        """The problem with its free numbers at `at` (free,), on the scale of estimation; may be traced."""
        for parameter, x in zip(self.free, at, strict=True):
            problem = _restated(problem, parameter, x)
        for name in self.tied:
            problem = eqx.tree_at(
                lambda p, n=name: getattr(p.ask_demand, n), problem, getattr(problem.bid_demand, name)
            )
        return problem


def _restated(problem: Any, parameter: Parameter, x: Any) -> Any:
    def leaves(p: Any) -> list[Any]:
        return [reduce(getattr, place, p) for place in parameter.places]

    value = jnp.exp(x) if parameter.positive else x
    old = leaves(problem)
    return eqx.tree_at(leaves, problem, [value, *(value * (leaf / old[0]) for leaf in old[1:])])


class Quoting(NamedTuple):
    """A problem's optimal policy, which holds the problem, and its derivatives in the free coordinates."""

    policy: Any
    slopes: Any  # the same tree, the free coordinates first


@eqx.filter_jit
def _quoting(frame: Frame, problem: Any, at: Any) -> Quoting:
    def policy(at: Any) -> Any:
        return frame.method.solution(frame.restated(problem, at)).policy

    def along(unit: Any) -> Any:
        return jax.jvp(policy, (at,), (unit,))

    return Quoting(*jax.vmap(along, out_axes=(None, 0))(jnp.eye(at.size, dtype=at.dtype)))


def slopes_of(function: Callable[[Any], Any], quoting: Quoting) -> tuple[Any, Any]:
    """`function(policy)` and its derivatives, the free coordinates last; a tree gives a tree of each."""

    def along(slope: Any) -> Any:
        return jax.jvp(function, (quoting.policy,), (slope,))

    return jax.vmap(along, out_axes=(None, -1))(quoting.slopes)


def called(program: Callable[..., Any], frame: Frame, problem: Any, at: Any, *given: Any) -> Any:
    """`program(quoting, *given)` for the problem with its free numbers `at`, as NumPy, computed in double precision.

    Solving compiles apart from what is made of the solution, so that it compiles once for all programs.
    """
    with jax.enable_x64(True):
        quoting = _quoting(frame, problem, np.asarray(at, float))
        return jax.tree.map(np.asarray, program(quoting, *given))


def stated_with(problem: Any, values: Mapping[Parameter, float]) -> Any:
    """The problem with numbers in their natural units, as NumPy: what a caller may keep."""
    for parameter, value in values.items():
        leaves = [reduce(getattr, place, problem) for place in parameter.places]
        new = [np.asarray(value * (leaf / leaves[0] if leaf is not leaves[0] else 1.0), float) for leaf in leaves]
        problem = eqx.tree_at(lambda p, q=parameter: [reduce(getattr, place, p) for place in q.places], problem, new)
    return problem


def risk_aversion_of(problem: Any) -> Parameter:
    """The risk aversion: `risk_aversion`, or what `RunningPenalty` has in its place, `running`.

    Raises `TypeError` for a problem or an objective without one.
    """
    if not isinstance(problem, (InventoryDealer, StockCashDealer)):
        raise TypeError(
            f"the risk aversion is calibrated for InventoryDealer and StockCashDealer, got {type(problem).__name__}"
        )
    name = "running" if isinstance(problem.objective, RunningPenalty) else "risk_aversion"
    if not hasattr(problem.objective, name):
        raise TypeError(f"{type(problem.objective).__name__} has no risk aversion to calibrate; take MeanVariance")
    return Parameter(name, (("objective", name),), True)


def parameters(problem: Any, names: Sequence[str]) -> tuple[Parameter, ...]:
    """Parameters by name, such as "volatility", "bid_demand.scale" or "demand.decay"; raises `ValueError`."""
    known = _known(problem)
    for name in names:
        if name not in known:
            raise ValueError(f"{name!r} is no number of this problem that can be estimated; name {', '.join(known)}")
    if len(set(names)) < len(names):
        raise ValueError(f"a parameter is named twice in {', '.join(names)}; name each once")
    chosen = tuple(known[name] for name in names)
    places = [place for parameter in chosen for place in parameter.places]
    if len(set(places)) < len(places):
        raise ValueError(f"{', '.join(names)} overlap; name a number for both sides or for each, not both")
    for parameter in chosen:
        if parameter.positive and not float(parameter.of(problem)) > 0:
            raise ValueError(f"{parameter.name} must start above zero to be estimated by its logarithm")
    return chosen


def _known(problem: Any) -> dict[str, Parameter]:
    plain = ("volatility", *_SIGNED)
    found = {n: Parameter(n, ((n,),), n not in _SIGNED) for n in plain if hasattr(problem, n)}
    for side in _SIDES:
        for name, value in getattr(problem, side).arguments().items():
            if np.ndim(value) == 0:
                found[f"{side}.{name}"] = Parameter(f"{side}.{name}", ((side, name),), float(value) > 0)
    if type(problem.bid_demand) is type(problem.ask_demand):
        for name, value in problem.bid_demand.arguments().items():
            if np.ndim(value) == 0 and float(value) > 0:
                found[f"demand.{name}"] = Parameter(f"demand.{name}", tuple((side, name) for side in _SIDES), True)
    return found


def pinned(problem: Any, method: Any) -> Any:
    """The method with the size of its grid fixed, so that the problem's numbers may be traced."""
    method = default_method(problem) if method is None else method
    if isinstance(method, FiniteDifference) and method.half_width is None:
        grid = method.grid(problem)
        return replace(method, half_width=grid.half // grid.per_lot)
    if not isinstance(method, (FiniteDifference, Lattice)):
        raise ValueError(
            f"{type(method).__name__} does not serve here; take Lattice() or FiniteDifference(), and a problem with an "
            "inventory limit"
        )
    return method


@dataclass(frozen=True, eq=False)
class Inputs:
    """Numbers of the problem that were estimated elsewhere, with the covariance of their errors.

    names:       such as ("volatility", "bid_demand.scale", "bid_demand.decay").
    covariance:  (names, names), in the units of the numbers themselves.
    """

    names: tuple[str, ...]
    covariance: np.ndarray

    def __post_init__(self) -> None:
        covariance = np.asarray(self.covariance, float)
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "covariance", covariance)
        if covariance.shape != (len(self.names),) * 2 or not np.allclose(covariance, covariance.T):
            raise ValueError(f"Inputs: covariance must be symmetric, one row for each of {', '.join(self.names)}")
        if not np.all(np.isfinite(covariance)) or np.linalg.eigvalsh(_scaled(covariance)).min() < -1e-9:
            raise ValueError("Inputs: covariance must be finite and positive semi-definite; give variances, not errors")

    @staticmethod
    def independent(**standard_errors: float) -> Inputs:
        """From standard errors of independent estimates; `bid_demand__scale` stands for "bid_demand.scale"."""
        names = tuple(name.replace("__", ".") for name in standard_errors)
        return Inputs(names, np.diag(np.square(list(standard_errors.values()))))

    @staticmethod
    def of(calibration: Any) -> Inputs:
        """What a `Calibration` from market messages left uncertain: volatility, and `A` and `k` of each side."""
        names, blocks = ["volatility"], [np.array([[calibration.volatility_per_sqrt_second.standard_error**2]])]
        for side in ("bid", "ask"):
            fit = getattr(calibration, side)
            errors = np.array([fit.scale_per_second.standard_error, fit.decay_per_dollar.standard_error])
            blocks.append(np.outer(errors, errors) * np.array([[1, fit.correlation], [fit.correlation, 1]]))
            names += [f"{side}_demand.scale", f"{side}_demand.decay"]
        covariance = np.zeros((len(names), len(names)))
        at = 0
        for block in blocks:
            covariance[at : at + len(block), at : at + len(block)] = block
            at += len(block)
        return Inputs(tuple(names), covariance)

    def on_scale(self, problem: Any, free: Sequence[Parameter] = ()) -> tuple[tuple[Parameter, ...], np.ndarray]:
        """The parameters and the covariance of their coordinates; raises where one is `free`, too."""
        chosen = parameters(problem, self.names)
        taken = {place for parameter in free for place in parameter.places}
        for parameter in chosen:
            if taken & set(parameter.places):
                raise ValueError(f"{parameter.name} is estimated here and cannot be an input as well; drop one of them")
        unit = np.array([float(p.of(problem)) if p.positive else 1.0 for p in chosen])
        return chosen, self.covariance / np.outer(unit, unit)


def _scaled(covariance: np.ndarray) -> np.ndarray:
    unit = np.sqrt(np.where(np.diag(covariance) > 0, np.diag(covariance), 1.0))
    return covariance / np.outer(unit, unit)
