"""The mean-variance investor by finite differences in wealth: implicit, monotone, with policy iteration.

Wealth is carried to the horizon, `Y = e^{r tau} x`, and so is the money in the stock, `a = e^{r tau} u`:

    dY = (mu - r) a dt + sigma a dZ,        lower <= a <= upper,

Pre-commitment minimises `E[(Y_T - w)^2]`. Limits are multiples of wealth, so everything scales with the target and one
solve in `s = Y/w` serves every target and every risk aversion. The investor never passes the target, where all wealth
is in the bond: with the surplus kept or set aside, the rule is the same.

The equilibrium maximises `(mu - r) a V_Y + 1/2 sigma^2 a^2 (V_YY - lambda g_Y^2)` over `a`; `V = g - (lambda/2) s`.
Mean and variance are carried, not the value, in which a small `lambda` would lose the variance:

    g_tau = (mu - r) a g_Y + 1/2 sigma^2 a^2 g_YY,                       g = Y at the horizon,
    s_tau = (mu - r) a s_Y + 1/2 sigma^2 a^2 s_YY + sigma^2 a^2 g_Y^2,   s = 0.

Its grid reaches as far as the amounts can carry wealth: eight deviations of the unlimited investor's, or of wealth
invested up to the leverage limit throughout, whichever is less. Below a leverage limit it is even in `ln Y`.

Time is stepped by the second-order backward formula; central differences where they are monotone, else upwind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.linalg import solve_banded

from ..models.investor import Investor
from ..models.objectives import MeanVariance

_MOST_ITERATIONS = 100
_ROUNDING = 1e-12  # relative, to which a step is iterated; or until it falls no further, where that is
_SMALL = 1e-9  # enough for `converged`
_DEVIATIONS = 8.0  # from the mean to the ends of the equilibrium's grid
_TOLERANCE = 1e-2  # of `error`, which halving the steps divides by four: half of that is left in what is returned


@dataclass(frozen=True)
class InvestorSolution:
    """The investor's rule with what it expects: money at the horizon, seen from time 0 with the problem's wealth.

    value:     `E - (lambda/2) Var`. target: `w`, nan for the equilibrium.
    mean_by_equation: `E` once more, from its own linear equation under the amounts found.
    residual:  the largest relative defect of any step.
    error:     by how much mean and variance change, relative, when half the nodes and steps are taken; about a third of
               it is left. `converged` asks for at most 1e-2.
    tau, nodes, amounts: table (times, nodes) of the money in the stock over time to go and wealth, both carried to the
               horizon; for pre-commitment all in units of the target.
    """

    problem: Investor
    mean: float
    variance: float
    value: float
    target: float
    mean_by_equation: float
    residual: float
    tau: np.ndarray
    nodes: np.ndarray
    amounts: np.ndarray
    error: float = np.nan

    @property
    def converged(self) -> bool:
        return bool(np.isfinite(self.value) and self.residual <= _SMALL and self.error <= _TOLERANCE)

    def policy(self, t: Any, wealth: Any) -> Any:
        """Money in the stock at time `t` with `wealth`, linear between the nodes; scalars and arrays broadcast."""
        tau = np.clip(float(self.problem.horizon) - np.asarray(t, float), 0.0, None)
        accrual = np.exp(float(self.problem.rate) * tau)
        unit = 1.0 if np.isnan(self.target) else self.target
        tau, y = np.broadcast_arrays(tau, accrual * np.asarray(wealth, float) / unit)
        (i, p), (j, q) = _between(self.tau, tau), _between(self.nodes, y)
        table = self.amounts
        early = (1 - q) * table[i, j] + q * table[i, j + 1]
        late = (1 - q) * table[i + 1, j] + q * table[i + 1, j + 1]
        amount = unit * ((1 - p) * early + p * late) / accrual
        if self.problem.leverage is None:
            return amount
        most = float(self.problem.leverage) * np.maximum(np.asarray(wealth, float), 0.0)
        return np.clip(amount, -most, most)


def solve_investor(problem: Investor, nodes: int = 400, steps: int = 200) -> InvestorSolution:
    """Solve the investor's problem on `nodes` intervals of wealth and `steps` of time.

    It is solved with half of each as well, for `error`. Raises `ValueError` for fewer than 8 nodes or 2 steps, and
    where no target within reach of the grid is best, with the number.
    """
    if not isinstance(problem, Investor):
        raise TypeError(f"solve_investor needs an Investor, got {type(problem).__name__}")
    for name, count, least in (("nodes", nodes, 8), ("steps", steps, 2)):
        if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < least:
            raise ValueError(f"solve_investor: {name} must be a whole number of at least {least}, got {count!r}")
    way = _equilibrium if isinstance(problem.objective, MeanVariance) else _pre_commitment
    fine = way(problem, nodes, steps)
    try:
        coarse = way(problem, nodes // 2, steps // 2)
    except ValueError:  # the target is beyond the coarser grid
        return replace(fine, error=np.inf)
    pairs = ((fine.mean, coarse.mean), (fine.variance, coarse.variance))
    return replace(fine, error=max(abs(a - b) / max(abs(a), _ROUNDING * fine.mean**2) for a, b in pairs))


def _pre_commitment(problem: Investor, nodes: int, steps: int) -> InvestorSolution:
    share = np.linspace(0.0, 1.0, nodes + 1)  # of the target
    found = _march(problem, share, (share - 1) ** 2, share - 1, steps, aversion=0.0)
    safe = float(problem.wealth * np.exp(problem.rate * problem.horizon))
    aversion = float(problem.objective.risk_aversion)  # type: ignore[attr-defined]
    target = _best_target(share, found.square, safe, aversion)
    square = target**2 * float(CubicSpline(share, found.square)(safe / target))
    mean, variance = target - 1 / aversion, square - 1 / aversion**2
    again = target * (1 + float(CubicSpline(share, found.mean)(safe / target)))
    score = mean - 0.5 * aversion * variance
    tau = np.linspace(0.0, float(problem.horizon), steps + 1)
    return InvestorSolution(problem, mean, variance, score, target, again, found.residual, tau, share, found.amounts)


def _best_target(share: np.ndarray, square: np.ndarray, safe: float, aversion: float) -> float:
    """The `w` that maximises `w - 1/(2 lambda) - (lambda/2) w^2 U(safe/w)`, the best of all its local maxima.

    They are found by a fine look at the derivative and closed by bisection.
    """
    curve = CubicSpline(share, square)
    slope = curve.derivative()

    def rise(s: np.ndarray) -> np.ndarray:
        """Derivative of the score in `w`: `1 - (lambda/2) (2 w U - safe U')`."""
        return 1 - 0.5 * aversion * (2 * safe / s * curve(s) - safe * slope(s))

    def score(s: np.ndarray) -> np.ndarray:
        return safe / s - 0.5 / aversion - 0.5 * aversion * (safe / s) ** 2 * curve(s)

    fine = np.linspace(share[1], 1.0, 20 * share.size)
    rising = rise(fine)
    turns = np.flatnonzero((rising[:-1] <= 0) & (rising[1:] > 0))  # w falls as s rises
    if turns.size == 0:
        raise ValueError(
            f"the best target for risk_aversion={aversion:g} lies above {safe / fine[0]:g}, beyond the grid; "
            "take more nodes or a larger risk_aversion"
        )
    low, high = fine[turns], fine[turns + 1]
    for _ in range(60):
        middle = 0.5 * (low + high)
        falls = rise(middle) <= 0
        low, high = np.where(falls, middle, low), np.where(falls, high, middle)
    best = 0.5 * (low + high)
    return float(safe / best[np.argmax(score(best))])


def _equilibrium(problem: Investor, nodes: int, steps: int) -> InvestorSolution:
    safe = float(problem.wealth * np.exp(problem.rate * problem.horizon))
    aversion = float(problem.objective.risk_aversion)  # type: ignore[attr-defined]
    y = _wealths(problem, safe, nodes)
    found = _march(problem, y, np.zeros_like(y), y, steps, aversion)
    variance, mean = (float(CubicSpline(y, table)(safe)) for table in (found.square, found.mean))
    value = mean - 0.5 * aversion * variance
    tau = np.linspace(0.0, float(problem.horizon), steps + 1)
    return InvestorSolution(problem, mean, variance, value, np.nan, mean, found.residual, tau, y, found.amounts)


def _wealths(problem: Investor, safe: float, nodes: int) -> np.ndarray:
    """The equilibrium's grid around `safe`, wealth without any stock; all positive where leverage is limited."""
    row = problem.closed_form()
    reach = _DEVIATIONS * np.sqrt(row.variance) + abs(row.mean - safe)
    reach = reach if reach > 0 else safe  # nothing is bought: any grid will do
    if problem.leverage is None:
        return np.linspace(safe - reach, safe + reach, nodes + 1)
    most = float(problem.leverage) * float(problem.volatility) * np.sqrt(float(problem.horizon))
    moved = abs(problem.price_of_risk) * most * np.sqrt(float(problem.horizon))
    far = np.exp(_DEVIATIONS * most + moved + 2 * most**2)  # the last for the square, whose weight lies so much higher
    low, high = max(safe - reach, safe / far), min(safe + reach, safe * far)
    return np.geomspace(low, high, nodes + 1)


class _Found(NamedTuple):
    square: np.ndarray  # at time 0: of what is missing to the target, or the variance
    mean: np.ndarray
    amounts: np.ndarray  # (times, nodes)
    residual: float


def _march(
    problem: Investor, y: np.ndarray, square: np.ndarray, mean: np.ndarray, steps: int, aversion: float
) -> _Found:
    """From the horizon to now. `aversion` zero minimises `square`, else the equilibrium is sought."""
    dt = float(problem.horizon) / steps
    lower, upper = _limits(problem, y)

    def best(square: np.ndarray, mean: np.ndarray) -> np.ndarray:
        worth = mean - 0.5 * aversion * square if aversion else -square
        return _amounts(problem, y, worth, mean, aversion, lower, upper)

    old_square, old_mean, worst = square, mean, 0.0
    amounts = [best(square, mean)]
    for step in range(steps):
        ratio = 0.0 if step == 0 else 1.0
        weight = dt * (1 + ratio) / (1 + 2 * ratio)
        known_square, known_mean = (
            ((1 + ratio) ** 2 * new - ratio**2 * old) / (1 + 2 * ratio)
            for new, old in ((square, old_square), (mean, old_mean))
        )
        old_square, old_mean, change = square, mean, np.inf
        for _ in range(_MOST_ITERATIONS):
            a = best(square, mean)
            new_mean = solve_banded((1, 1), _bands(problem, y, a, weight, degree=1), known_mean)
            tilt = np.gradient(new_mean, y) if aversion else 0.0
            gathered = weight * float(problem.volatility) ** 2 * a**2 * tilt**2
            bands = _bands(problem, y, a, weight, degree=1 if aversion else 2)
            new_square = solve_banded((1, 1), bands, known_square + gathered)
            before, change = change, _change(new_square, square, y)
            if aversion:  # else the mean moves nothing
                change = max(change, _change(new_mean, mean, y))
            square, mean = new_square, new_mean
            if change <= _ROUNDING or before <= change <= _SMALL:
                break
        worst = max(worst, change)
        amounts.append(a)
    return _Found(square, mean, np.stack(amounts), worst)


def _change(new: np.ndarray, old: np.ndarray, y: np.ndarray) -> float:
    """The largest, relative: to each node's own number where all wealths are positive, which may be of many sizes."""
    size = np.abs(new) if y[0] > 0 else np.max(np.abs(new))
    return float(np.max(np.abs(new - old) / np.maximum(size, np.finfo(float).tiny)))


def _between(nodes: np.ndarray, at: Any) -> tuple[Any, Any]:
    """The interval that `at` lies in, and where in it, 0 to 1; the nearest end beyond the nodes."""
    i = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, nodes.size - 2)
    return i, np.clip((at - nodes[i]) / (nodes[i + 1] - nodes[i]), 0.0, 1.0)


def _limits(problem: Investor, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    most = np.full(y.shape, np.inf) if problem.leverage is None else float(problem.leverage) * np.maximum(y, 0.0)
    if not isinstance(problem.objective, MeanVariance):
        most[-1] = 0.0  # at the target nothing is left to be gained
    return (-most if problem.short_sales else np.zeros_like(y)), most


def _amounts(
    problem: Investor, y: np.ndarray, worth: np.ndarray, mean: np.ndarray, aversion: float, lower: Any, upper: Any
) -> np.ndarray:
    """The amount that maximises `(mu - r) a worth_Y + 1/2 sigma^2 a^2 (worth_YY - lambda g_Y^2)` within the limits.

    At the ends the neighbours' money in the stock is continued along a straight line.
    """
    slope, bend = _differences(worth, y)
    bend = bend - aversion * _differences(mean, y)[0] ** 2
    variance = float(problem.volatility) ** 2
    excess = float(problem.growth - problem.rate)
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = np.where(bend < 0, -excess * slope / (variance * bend), np.inf * np.sign(excess * slope))
    if not np.all(np.isfinite(np.clip(inner, lower[1:-1], upper[1:-1]))):
        raise ValueError("the investor's problem has no finite best amount; set a leverage limit")
    with np.errstate(invalid="ignore"):  # of two that are infinite
        first = inner[0] - (inner[1] - inner[0]) * (y[1] - y[0]) / (y[2] - y[1])
        last = inner[-1] + (inner[-1] - inner[-2]) * (y[-1] - y[-2]) / (y[-2] - y[-3])
    a = np.concatenate([[first], inner, [last]])
    return np.clip(np.nan_to_num(a, posinf=np.inf, neginf=-np.inf), lower, upper)


def _differences(values: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivatives at the inner nodes, exact for parabolas."""
    below, above = np.diff(y)[:-1], np.diff(y)[1:]
    left, right = np.diff(values)[:-1] / below, np.diff(values)[1:] / above
    return (above * left + below * right) / (below + above), 2 * (right - left) / (below + above)


def _bands(problem: Investor, y: np.ndarray, a: np.ndarray, weight: float, degree: int) -> np.ndarray:
    """`1 - weight (generator)` as three diagonals.

    Beyond its ends the solution is continued: along a straight line, or at the lower end in proportion to the square of
    what is missing to the target (`degree` 2), as it is where no limit binds. Where one does, nothing moves there.
    """
    steps = np.diff(y)
    below, above = np.r_[steps[0], steps], np.r_[steps, steps[-1]]
    drift = float(problem.growth - problem.rate) * a
    spread = (float(problem.volatility) * a) ** 2 / (below + above)
    central = spread >= np.abs(drift) * np.where(drift > 0, above, below) / (below + above)
    by_drift = np.where(central, drift / (below + above), 0.0)
    up = spread / above + np.where(central, by_drift * below / above, np.maximum(drift, 0.0) / above)
    down = spread / below + np.where(central, -by_drift * above / below, np.maximum(-drift, 0.0) / below)
    leave = up + down
    if degree == 2:
        h = steps[0]
        diffusion, half = spread[0] / h, 0.5 * drift[0] / h
        up[0], leave[0] = diffusion + half, 2 * diffusion - (diffusion - half) * (1 + h) ** 2
    else:
        up[0] = leave[0] = drift[0] / steps[0]
    down[-1] = leave[-1] = -drift[-1] / steps[-1]
    return np.stack([-weight * np.r_[0.0, up[:-1]], 1 + weight * leave, -weight * np.r_[down[1:], 0.0]])
