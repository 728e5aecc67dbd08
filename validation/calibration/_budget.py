"""The risk aversion that spends a risk budget: a deviation of wealth, or a probability of loss or of hitting the limit.

Each measure of risk falls as the risk aversion rises, so the root is bracketed on a scan of problems solved together
and closed in on by Brent's method. The measures:

    deviation          the solution's own (`Solution.variance_of_wealth`) where the objective is the equilibrium
                       mean-variance or the stock moves by itself; else the second moment of the chain (`_chain`).
    limit_probability  the chain stopped where a side may not be quoted any more.
    loss_probability   P(wealth at the horizon < loss above the marked book of now), from the characteristic function
                       where the inventory rests between fills; by simulation with one set of draws where it does not.

Inputs estimated elsewhere, with covariance `C`, and a simulated probability with error `s` leave log lambda uncertain:

    f(log lambda, a) = target,    d log lambda / da = -f_a / f_lambda,    Var = (f_a' C f_a + s^2) / f_lambda^2.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from scipy import optimize

from ...hjb import NotConverged, solve
from ...hjb._equation import Grid
from ...models import MeanVariance
from ...models.problem import as_state
from ..simulation import BoundError, simulate
from ._chain import Chain, chain_of, characteristic, hitting_probability, wealth_moments
from ._estimate import Found, Frontier, RiskAversionEstimate, conclude
from ._parameters import Inputs, Parameter, pinned, risk_aversion_of, stated_with
from ._start import begun, follow_the_inventory, natural_risk_aversion

_SCAN, _REACH = 13, math.log(1e3)  # problems over the range of risk aversions, and how far it goes
_AROUND = math.log(30)  # the answer, how far the frontier goes
_HALVINGS = 4  # of the way to a risk aversion whose problem cannot be solved
_NUDGE = 1e-3  # of a logarithm, for derivatives of what is computed without chance
_SHOVE = 0.1  # for derivatives of what is simulated
_FREQUENCIES = 128
_HIGHEST = 10.0  # frequency times the deviation of wealth
_FADED = 1e-3  # of a characteristic function at its highest frequency, as a share of the probability wanted
_PER_LOT = 8  # nodes of a moving stock


class UnreachableTarget(ValueError):
    """No risk aversion spends the budget: the message gives the range that can be reached."""


class _Measure(NamedTuple):
    """A measure of risk: its target, its name, its value under a solution, and the error of that where it is simulated.

    `of(problem, solution)` is the measure with its standard error.
    """

    target: float
    name: str
    meaning: str
    of: Callable[[Any, Any], tuple[float, float]]
    nudge: float


def risk_aversion_for_budget(
    problem: Any,
    *,
    deviation: float | None = None,
    loss_probability: float | None = None,
    limit_probability: float | None = None,
    loss: float = 0.0,
    initial: Mapping[str, float] | None = None,
    inputs: Inputs | None = None,
    method: Any = None,
    paths: int = 100_000,
    seed: int = 0,
    frontier_points: int = 13,
) -> RiskAversionEstimate:
    """The risk aversion under which `problem`'s dealer takes as much risk as the budget allows; state one target.

    deviation:          of wealth at the horizon, money.
    loss_probability:   that wealth at the horizon ends more than `loss` (money) below the marked book of now.
    limit_probability:  that by the horizon the inventory has been where the limit silences a side.
    initial:            state now, such as {"inventory": 2.0}; zero where it says nothing.
    inputs:             the errors of the numbers the problem states; without them, and without a simulation, the
                        answer is exact and has no error.
    method:             of solving; by default the one that fits the problem.
    paths, seed:        of the simulation, where one is needed.
    frontier_points:    of the frontier around the answer; 0 leaves it out.

    Raises `UnreachableTarget` with the attainable range, and `ValueError` for a target that makes no sense, or for a
    `limit_probability` where more than the inventory matters.
    """
    problem = begun(problem)
    method = pinned(problem, method)
    if limit_probability is not None:
        follow_the_inventory(problem, "limit_probability")
    setting = _Setting(as_state(problem, dict(initial or {})), float(loss), paths, seed)
    measure = _measure(
        {"deviation": deviation, "loss_probability": loss_probability, "limit_probability": limit_probability}, setting
    )
    parameter = risk_aversion_of(problem)
    points = _scan(problem, parameter, method, measure)
    at = _root(problem, parameter, method, measure, points)
    found, error = _sensitivity(problem, parameter, method, measure, at, inputs)
    frontier = _frontier(problem, parameter, method, measure, at, setting, frontier_points)
    return conclude(
        problem,
        found,
        "budget",
        0,
        "observations",
        frontier=frontier,
        notes={measure.name: measure.target, "standard error of the simulated probability": error},
    )


class _Setting(NamedTuple):
    state: dict[str, Any]  # now, all of it
    loss: float
    paths: int
    seed: int


def _measure(targets: Mapping[str, float | None], setting: _Setting) -> _Measure:
    given = {name: value for name, value in targets.items() if value is not None}
    if len(given) != 1:
        raise ValueError(f"state one target of {', '.join(targets)}; got {', '.join(given) or 'none'}")
    ((name, target),) = given.items()
    if name == "deviation":
        if not 0 < target < math.inf:
            raise ValueError(f"deviation must be positive and finite, got {target:g}; it is in money")
        return _Measure(
            target, name, "standard deviation of wealth", lambda p, s: (_deviation(p, s, setting), 0.0), _NUDGE
        )
    if not 0 < target < 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {target:g}; write 0.05 for 5%")
    if name == "limit_probability":
        return _Measure(
            target, name, "probability of hitting the limit", lambda p, s: (_hitting(p, s, setting), 0.0), _NUDGE
        )

    def losing(problem: Any, solution: Any) -> tuple[float, float]:
        return _losing(problem, solution, setting, target)

    return _Measure(target, name, "probability of loss", losing, _SHOVE)


# The measures


def _grid(problem: Any, solution: Any) -> Grid:
    """The nodes of the chain: a lot's fills by themselves, and a few to a lot where the stock moves."""
    half = round(float(solution.tables.y[-1]) / float(problem.size))
    return Grid(_PER_LOT, half * _PER_LOT) if problem.moves else Grid(1, half)


def _table(problem: Any, solution: Any, what: Any, start: float, *more: Any) -> Any:
    """A number of the chain at the inventory now."""
    with jax.enable_x64(True):
        y, *rows = what(solution.policy, _grid(problem, solution), *more)
    return tuple(float(np.interp(start, y, row)) for row in rows)


@eqx.filter_jit
def _moments_of(policy: Any, grid: Grid) -> Any:
    chain = chain_of(policy, grid)
    return chain.y, *wealth_moments(chain)


@eqx.filter_jit
def _hitting_of(policy: Any, grid: Grid) -> Any:
    chain = chain_of(policy, grid)
    return chain.y, hitting_probability(chain, _silenced(policy.problem, chain))


def _silenced(problem: Any, chain: Chain) -> Any:
    """Where the limit silences a side."""
    return ~(problem.may_fill(+1, chain.y) & problem.may_fill(-1, chain.y))


@eqx.filter_jit
def _characteristic_of(policy: Any, grid: Grid, frequency: Any) -> Any:
    chain = chain_of(policy, grid)
    return chain.y, characteristic(chain, frequency)


def _start(problem: Any, setting: _Setting) -> float:
    """The inventory now."""
    return float(problem.coordinate(setting.state))


def _moments(problem: Any, solution: Any, setting: _Setting) -> tuple[float, float]:
    """Mean and deviation of wealth above the marked book."""
    if problem.moves or isinstance(problem.objective, MeanVariance):
        with jax.enable_x64(True):
            worth = float(problem.worth(problem.horizon, **setting.state))
        mean = float(solution.expected_wealth(0.0, **setting.state)) - worth
        variance = float(solution.variance_of_wealth(0.0, **setting.state))
    else:
        mean, variance = _table(problem, solution, _moments_of, _start(problem, setting))
    return mean, math.sqrt(max(variance, 0.0))


def _deviation(problem: Any, solution: Any, setting: _Setting) -> float:
    return _moments(problem, solution, setting)[1]


def _hitting(problem: Any, solution: Any, setting: _Setting) -> float:
    return _table(problem, solution, _hitting_of, _start(problem, setting))[0]


def _losing(problem: Any, solution: Any, setting: _Setting, target: float) -> tuple[float, float]:
    """The probability of a loss with its error: exact where it can be, else simulated."""
    if not problem.moves:
        exact = losing_exactly(problem, solution, _start(problem, setting), setting.loss, _FADED * target)
        if exact is not None:
            return exact, 0.0
    try:
        result = simulate(problem, solution.policy, setting.paths, setting.seed, setting.state, progress=False)
    except BoundError:  # so averse that it is hit at almost any rate: out of the range that is looked at
        return math.nan, math.nan
    with jax.enable_x64(True):
        book = float(problem.worth(problem.horizon, **setting.state))
    share = float(np.mean(result.wealth < book - setting.loss))
    return share, math.sqrt(max(share * (1 - share), 1 / setting.paths) / setting.paths)


def losing_exactly(problem: Any, solution: Any, start: float, loss: float, faded: float) -> float | None:
    """P(X < -loss) by Gil-Pelaez's formula with the midpoint rule in the frequency, or None where `X` is not smooth:

    where its characteristic function has not `faded` at the highest frequency.

    P(X < c) = 1/2 - (1/pi) int_0^inf Im(e^{-iwc} phi(w))/w dw. The rule's error is the chance of an `X` farther out
    than half a period, a dozen and more deviations here; what is left out fades with `phi`.
    """
    deviation = math.sqrt(max(_table(problem, solution, _moments_of, start)[1], 0.0))
    if not deviation > 0:
        return None
    spacing = _HIGHEST / deviation / _FREQUENCIES
    w = spacing * (np.arange(_FREQUENCIES) + 0.5)
    with jax.enable_x64(True):
        y, phi = _characteristic_of(solution.policy, _grid(problem, solution), w)
    phi = np.asarray(phi)[:, int(np.argmin(np.abs(np.asarray(y) - start)))]
    if not abs(phi[-1]) < faded:
        return None
    return float(0.5 - spacing / math.pi * np.sum(np.imag(np.exp(1j * w * loss) * phi) / w))


# The root and its error


def _at(problem: Any, parameter: Parameter, log: float) -> Any:
    return stated_with(problem, {parameter: math.exp(log)})


def _solved(problem: Any, method: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotConverged)
        return solve(problem, method)


class _Point(NamedTuple):
    """A risk aversion whose problem can be solved, and what it costs."""

    log: float
    solution: Any
    value: float


def _scan(problem: Any, parameter: Parameter, method: Any, measure: _Measure) -> list[_Point]:
    """Problems of rising risk aversion, as far as they can be solved: from the middle outwards, so that few cannot."""
    middle = math.log(natural_risk_aversion(problem))
    logs = middle + np.linspace(-_REACH, _REACH, _SCAN)
    points: dict[float, _Point] = {}  # by position among `logs`

    def found(position: float) -> bool:
        point = _point(problem, parameter, method, measure, float(np.interp(position, np.arange(_SCAN), logs)))
        if point is not None:
            points[position] = point
        return point is not None

    for outwards, order in ((1, range(_SCAN // 2, _SCAN)), (-1, range(_SCAN // 2 - 1, -1, -1))):
        for i in order:
            if not found(i):
                last = points.get(i - outwards)
                if last is not None and outwards * (last.value - measure.target) > 0:
                    _approach(found, i - outwards, i)
                break
            if _beyond(points, i, measure.target):
                break
    if len(points) < 2:
        raise ValueError(
            f"the problem cannot be solved for {parameter.name} around {math.exp(middle):.3g}; check its numbers with "
            "solve"
        )
    return [points[i] for i in sorted(points)]


def _approach(found: Callable[[float], bool], solved: float, lost: float) -> None:
    """Look closer at where, between a position that can be solved and one that cannot, what can be solved ends."""
    for _ in range(_HALVINGS):
        between = 0.5 * (solved + lost)
        solved, lost = (between, lost) if found(between) else (solved, between)


def _beyond(points: dict[float, _Point], i: int, target: float) -> bool:
    """Whether point `i` and the one before it lie on the far side of the target, away from the middle."""
    outwards = 1 if i > _SCAN // 2 else -1
    last, before = points[i], points.get(i - outwards)
    if i == _SCAN // 2 or before is None:
        return False
    both = all(outwards * (target - point.value) > 0 for point in (last, before))
    return both and outwards * (before.value - last.value) >= 0


def _point(problem: Any, parameter: Parameter, method: Any, measure: _Measure, log: float) -> _Point | None:
    solution = _solved(_at(problem, parameter, log), method)
    value = measure.of(solution.problem, solution)[0] if solution.converged else math.nan
    return _Point(log, solution, value) if math.isfinite(value) else None


def _root(problem: Any, parameter: Parameter, method: Any, measure: _Measure, points: list[_Point]) -> float:
    """log lambda at which the measure meets its target."""
    values = np.array([point.value for point in points])
    above = values >= measure.target
    falls, rises = np.flatnonzero(above[:-1] & ~above[1:]), np.flatnonzero(~above[:-1] & above[1:])
    crossings = falls if falls.size else rises  # a dealer so averse that it hardly trades may miss a profit, too
    if not crossings.size:
        raise UnreachableTarget(
            f"a {measure.meaning} of {measure.target:g} cannot be reached: for {parameter.name} from "
            f"{math.exp(points[0].log):.3g} to {math.exp(points[-1].log):.3g} it lies between {values.min():.6g} and "
            f"{values.max():.6g}; choose a target between them, or another limit or horizon"
        )
    i = int(crossings[-1])

    def excess(log: float) -> float:
        stated = _at(problem, parameter, log)
        return measure.of(stated, _solved(stated, method))[0] - measure.target

    found = optimize.root_scalar(excess, bracket=(points[i].log, points[i + 1].log), method="brentq", xtol=1e-9)
    return float(found.root)


def _sensitivity(
    problem: Any, parameter: Parameter, method: Any, measure: _Measure, at: float, inputs: Inputs | None
) -> tuple[Found, float]:
    """log lambda with its variance from inputs and simulation, and the error of the simulated measure."""
    here = _at(problem, parameter, at)
    extra, spread = inputs.on_scale(problem, (parameter,)) if inputs is not None else ((), np.zeros((0, 0)))
    error = measure.of(here, _solved(here, method))[1]
    if not extra and not error:
        zero = np.zeros((1, 1))
        return Found((parameter,), np.array([at]), zero, zero, math.inf), 0.0
    nudged = [_nudged(here, p, side * measure.nudge) for p in (parameter, *extra) for side in (-1, 1)]
    values = np.array([measure.of(p, _solved(p, method))[0] for p in nudged])
    units = np.array([_unit(here, p) for p in (parameter, *extra)])
    slopes = (values[1::2] - values[::2]) / (2 * measure.nudge * units)
    own, theirs = slopes[0], slopes[1:]
    from_inputs = float(theirs @ spread @ theirs) / own**2
    variance = from_inputs + error**2 / own**2
    return (
        Found((parameter,), np.array([at]), np.array([[variance]]), np.array([[from_inputs]]), math.inf),
        error,
    )


def _unit(problem: Any, parameter: Parameter) -> float:
    """What a nudge is a share of: one on a logarithm's scale, else something of the number's own size."""
    return 1.0 if parameter.positive else max(abs(float(parameter.of(problem))), 1e-3)


def _nudged(problem: Any, parameter: Parameter, by: float) -> Any:
    value, unit = float(parameter.of(problem)), _unit(problem, parameter)
    return stated_with(problem, {parameter: value * math.exp(by) if parameter.positive else value + by * unit})


def _frontier(
    problem: Any, parameter: Parameter, method: Any, measure: _Measure, at: float, setting: _Setting, count: int
) -> Frontier | None:
    """What dealers around the answer expect and risk, as far as their problems can be solved."""
    asked = at + np.linspace(-_AROUND, _AROUND, count)
    points = [p for x in asked if (p := _point(problem, parameter, method, measure, float(x))) is not None]
    if not points:
        return None
    moments = np.array([_moments(point.solution.problem, point.solution, setting) for point in points])
    logs, values = (np.array([getattr(point, name) for point in points]) for name in ("log", "value"))
    return Frontier(np.exp(logs), moments[:, 0], moments[:, 1], values, measure.meaning, measure.target)
