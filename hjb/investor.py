"""The mean-variance investor by finite differences in wealth: implicit, monotone, with policy iteration.

Wealth is carried to the horizon, `Y = e^{r tau} x`, and so is the money in the stock, `a = e^{r tau} u`:

    dY = (mu - r) a dt + sigma a dZ,        lower <= a <= upper,

Pre-commitment minimises `E[(Y_T - w)^2]`. Limits are multiples of wealth, so everything scales with the target and one
solve in `s = Y/w` serves every target and every risk aversion. The investor never passes the target, where all wealth
is in the bond: with the surplus kept or set aside, the rule is the same.

The equilibrium solves `V_tau = sup_a (mu - r) a V_Y + 1/2 sigma^2 a^2 (V_YY - lambda g_Y^2)` with `g_tau` the same but
for the last term, and `V = g = Y` at the horizon.

Time is stepped by the second-order backward formula; central differences where they are monotone, else upwind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.linalg import solve_banded

from ..models.investor import Investor
from ..models.objectives import MeanVariance

_MOST_ITERATIONS = 100
_ROUNDING = 1e-12  # relative, to which a step is iterated


@dataclass(frozen=True)
class InvestorSolution:
    """The investor's rule with what it expects: money at the horizon, seen from time 0 with the problem's wealth.

    value:     `E - (lambda/2) Var`. target: `w`, nan for the equilibrium.
    mean_by_equation: `E` once more, from its own linear equation under the amounts found.
    residual:  the largest relative defect of any step.
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

    @property
    def converged(self) -> bool:
        return bool(np.isfinite(self.value) and self.residual <= 1e-9)

    def policy(self, t: Any, wealth: Any) -> Any:
        """Money in the stock at time `t` with `wealth`, linear between the nodes; scalars and arrays broadcast."""
        tau = np.clip(float(self.problem.horizon) - np.asarray(t, float), 0.0, None)
        accrual = np.exp(float(self.problem.rate) * tau)
        unit = 1.0 if np.isnan(self.target) else self.target
        tau, y = np.broadcast_arrays(tau, accrual * np.asarray(wealth, float) / unit)
        row = np.clip(tau / (self.tau[1] - self.tau[0]), 0, self.tau.size - 1)
        column = np.clip((y - self.nodes[0]) / (self.nodes[1] - self.nodes[0]), 0, self.nodes.size - 1)
        i = np.minimum(row.astype(int), self.tau.size - 2)
        j = np.minimum(column.astype(int), self.nodes.size - 2)
        p, q, table = row - i, column - j, self.amounts
        early = (1 - q) * table[i, j] + q * table[i, j + 1]
        late = (1 - q) * table[i + 1, j] + q * table[i + 1, j + 1]
        return unit * ((1 - p) * early + p * late) / accrual


def solve_investor(problem: Investor, nodes: int = 400, steps: int = 200) -> InvestorSolution:
    """Solve the investor's problem on `nodes` intervals of wealth and `steps` of time.

    Raises `ValueError` where no target within reach of the grid is best, with the number.
    """
    if not isinstance(problem, Investor):
        raise TypeError(f"solve_investor needs an Investor, got {type(problem).__name__}")
    if isinstance(problem.objective, MeanVariance):
        return _equilibrium(problem, nodes, steps)
    return _pre_commitment(problem, nodes, steps)


def _pre_commitment(problem: Investor, nodes: int, steps: int) -> InvestorSolution:
    share = np.linspace(0.0, 1.0, nodes + 1)  # of the target
    found = _march(problem, share, (share - 1) ** 2, share - 1, steps, aversion=0.0)
    safe = float(problem.wealth * np.exp(problem.rate * problem.horizon))
    aversion = float(problem.objective.risk_aversion)  # type: ignore[attr-defined]
    target = _best_target(share, found.value, safe, aversion)
    square = target**2 * float(CubicSpline(share, found.value)(safe / target))
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
    row = problem.closed_form()
    reach = 8 * np.sqrt(row.variance) + abs(row.mean - safe)
    low, high = safe - reach, safe + reach
    if problem.leverage is not None:
        low = 0.0
    y = np.linspace(low, high, nodes + 1)
    found = _march(problem, y, y, y, steps, aversion)
    value, mean = (float(CubicSpline(y, table)(safe)) for table in (found.value, found.mean))
    variance = 2 * (mean - value) / aversion
    tau = np.linspace(0.0, float(problem.horizon), steps + 1)
    return InvestorSolution(problem, mean, variance, value, np.nan, mean, found.residual, tau, y, found.amounts)


class _Found(NamedTuple):
    value: np.ndarray  # at time 0
    mean: np.ndarray
    amounts: np.ndarray  # (times, nodes)
    residual: float


def _march(
    problem: Investor, y: np.ndarray, value: np.ndarray, mean: np.ndarray, steps: int, aversion: float
) -> _Found:
    """From the horizon to now. `aversion` zero minimises a square, else the equilibrium is maximised."""
    dt = float(problem.horizon) / steps
    lower, upper = _limits(problem, y)
    sign = -1.0 if aversion == 0 else 1.0  # of what is maximised
    old_value, old_mean, worst = value, mean, 0.0
    amounts = [_amounts(problem, y, sign * value, mean, aversion, lower, upper)]
    for step in range(steps):
        ratio = 0.0 if step == 0 else 1.0
        weight = dt * (1 + ratio) / (1 + 2 * ratio)
        known_value, known_mean = (
            ((1 + ratio) ** 2 * new - ratio**2 * old) / (1 + 2 * ratio)
            for new, old in ((value, old_value), (mean, old_mean))
        )
        old_value, old_mean = value, mean
        scale = np.max(np.abs(value))
        for _ in range(_MOST_ITERATIONS):
            a = _amounts(problem, y, sign * value, mean, aversion, lower, upper)
            tilt = np.gradient(mean, y) if aversion else 0.0
            charge = 0.5 * aversion * float(problem.volatility) ** 2 * a**2 * tilt**2
            new_mean = solve_banded((1, 1), _bands(problem, y, a, weight, degree=1), known_mean)
            bands = _bands(problem, y, a, weight, degree=1 if aversion else 2)
            new_value = solve_banded((1, 1), bands, known_value - weight * charge)
            change = np.max(np.abs(new_value - value)) / scale
            value, mean = new_value, new_mean
            if change <= _ROUNDING:
                break
        worst = max(worst, float(change))
        amounts.append(a)
    return _Found(value, mean, np.stack(amounts), worst)


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
    h = y[1] - y[0]
    slope, bend = (worth[2:] - worth[:-2]) / (2 * h), (worth[2:] - 2 * worth[1:-1] + worth[:-2]) / h**2
    bend = bend - aversion * ((mean[2:] - mean[:-2]) / (2 * h)) ** 2
    variance = float(problem.volatility) ** 2
    excess = float(problem.growth - problem.rate)
    with np.errstate(divide="ignore", invalid="ignore"):
        inner = np.where(bend < 0, -excess * slope / (variance * bend), np.inf * np.sign(excess * slope))
    if not np.all(np.isfinite(np.clip(inner, lower[1:-1], upper[1:-1]))):
        raise ValueError("the investor's problem has no finite best amount; set a leverage limit")
    a = np.concatenate([[2 * inner[0] - inner[1]], inner, [2 * inner[-1] - inner[-2]]])
    return np.clip(np.nan_to_num(a, posinf=np.inf, neginf=-np.inf), lower, upper)


def _bands(problem: Investor, y: np.ndarray, a: np.ndarray, weight: float, degree: int) -> np.ndarray:
    """`1 - weight (generator)` as three diagonals.

    Beyond its ends the solution is continued: along a straight line, or at the lower end in proportion to the square of
    what is missing to the target (`degree` 2), as it is where no limit binds. Where one does, nothing moves there.
    """
    h = y[1] - y[0]
    drift = float(problem.growth - problem.rate) * a / h
    spread = 0.5 * (float(problem.volatility) * a / h) ** 2
    central = spread >= 0.5 * np.abs(drift)
    up = spread + np.where(central, 0.5 * drift, np.maximum(drift, 0.0))
    down = spread + np.where(central, -0.5 * drift, np.maximum(-drift, 0.0))
    leave = up + down
    if degree == 2:
        beyond = spread[0] - 0.5 * drift[0]
        up[0], leave[0] = spread[0] + 0.5 * drift[0], 2 * spread[0] - beyond * (1 + h) ** 2
    else:
        up[0] = leave[0] = drift[0]
    down[-1] = leave[-1] = -drift[-1]
    return np.stack([-weight * np.r_[0.0, up[:-1]], 1 + weight * leave, -weight * np.r_[down[1:], 0.0]])
