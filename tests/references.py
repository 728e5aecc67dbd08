"""Independent answers to compare with: written from the equations, sharing no code with the library.

Everything here takes plain numbers and NumPy functions; nothing imports `twosided`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
from scipy.integrate import solve_ivp

Function = Callable[[Any], Any]


def nothing(q: Any) -> Any:
    return 0.0 * q


@dataclass(frozen=True)
class LinearLattice:
    """`dP = mu dt + sigma dZ`, exponential demands `A e^{-k x}` of one decay, lots of size `D`, `|q| <= Q`.

    `xi` is the risk aversion within a fill, `cost(q)` the running and `terminal(q)` the last charge, in money.
    """

    horizon: float
    bid_scale: float
    ask_scale: float
    decay: float
    limit: int
    cost: Function
    xi: float = 0.0
    lot: float = 1.0
    drift: float = 0.0
    adverse: float = 0.0
    terminal: Function = nothing

    def answer(self, digits: int = 50) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`theta(0, q)`, and the bid and ask distances, for q = -Q..Q; nan where the limit forbids the fill.

        `u = e^{k theta/D}` solves `u' = M u` with a tridiagonal `M`: here the action of its matrix exponential at
        `digits` digits, by the series of `exp((M - min M_qq) T)`, which has no negative term: nothing cancels.
        """
        with mpmath.workdps(digits):
            k, a, lot = (mpmath.mpf(float(x)) for x in (self.decay, self.xi * self.lot, self.lot))
            markup = 1 / k if a == 0 else mpmath.log1p(a / k) / a
            theta = np.array([mpmath.log(x) for x in self._exponential(k, a)]) * lot / k
            base, rise = mpmath.mpf(float(self.adverse)) + markup, np.diff(theta) / lot
            bid, ask = (np.array(list(x), dtype=float) for x in (base - rise, base + rise))
            return theta.astype(float), np.append(bid, np.nan), np.append(np.nan, ask)

    def _exponential(self, k: Any, a: Any) -> list[Any]:
        tau, adverse = mpmath.mpf(float(self.horizon)), mpmath.mpf(float(self.adverse))
        power = mpmath.exp(-1) if a == 0 else (1 + a / k) ** (-(1 + k / a))
        up, down = (
            mpmath.mpf(float(s)) * power * mpmath.exp(-k * adverse) * tau for s in (self.bid_scale, self.ask_scale)
        )
        lots = [float(q) for q in range(-self.limit, self.limit + 1)]
        kappa = k / mpmath.mpf(float(self.lot))
        diagonal = [kappa * (mpmath.mpf(self.drift * self.lot * q) - mpmath.mpf(float(self.cost(q)))) for q in lots]
        raised = [(d - min(diagonal)) * tau for d in diagonal]
        total = term = [mpmath.exp(-kappa * mpmath.mpf(float(self.terminal(q)))) for q in lots]
        tiny, n = mpmath.mpf(10) ** -mpmath.mp.dps, 0
        while n < 2 * len(lots) or any(x > tiny * y for x, y in zip(term, total, strict=True)):
            n += 1
            above, below = [*term[1:], 0], [0, *term[:-1]]
            term = [(r * x + up * y + down * z) / n for r, x, y, z in zip(raised, term, above, below, strict=True)]
            total = [x + y for x, y in zip(total, term, strict=True)]
        return [mpmath.exp(min(diagonal) * tau) * x for x in total]


@dataclass(frozen=True)
class Curve:
    """A demand: its intensity, the derivative of that, and the distance at which it ends."""

    rate: Function
    slope: Function
    end: float = np.inf


def exponential(scale: float, decay: float) -> Curve:
    return Curve(lambda x: scale * np.exp(-decay * x), lambda x: -decay * scale * np.exp(-decay * x))


def linear(scale: float, slope: float) -> Curve:
    return Curve(lambda x: scale - slope * x, lambda x: -slope + 0 * x, scale / slope)


def logistic(scale: float, alpha: float, beta: float) -> Curve:
    def share(x: Any) -> Any:
        return 1 / (1 + np.exp(alpha + beta * x))

    return Curve(lambda x: scale * share(x), lambda x: -beta * scale * share(x) * (1 - share(x)))


def power_law(scale: float, exponent: float, width: float) -> Curve:
    def rate(x: Any) -> Any:
        right = np.maximum(x, 0) / width
        return np.where(x < 0, scale * np.exp(-exponent * np.minimum(x, 0) / width), scale * (1 + right) ** -exponent)

    return Curve(rate, lambda x: -exponent * rate(x) / (width + np.maximum(x, 0)))


def pieces(knots: np.ndarray, value: np.ndarray, slope: np.ndarray) -> Curve:
    """`1/Lambda` quadratic between knots at which it and its slope are given, exponential outside."""

    def reciprocal(x: Any) -> tuple[Any, Any]:
        inside = np.clip(x, knots[0], knots[-1])
        i = np.clip(np.searchsorted(knots, inside, side="right") - 1, 0, len(knots) - 2)
        share = (inside - knots[i]) / (knots[i + 1] - knots[i])
        g = value[i] + (inside - knots[i]) * (slope[i] * (1 - share / 2) + slope[i + 1] * share / 2)
        dg = slope[i] * (1 - share) + slope[i + 1] * share
        stretch = np.exp(dg / g * (x - inside))
        return g * stretch, dg * stretch

    return Curve(lambda x: 1 / reciprocal(x)[0], lambda x: -reciprocal(x)[1] / reciprocal(x)[0] ** 2)


def tabulated(distance: Any, rate: Any) -> Curve:
    """Schumaker's spline (1983) of `G = 1/Lambda`: slopes at the points are harmonic means of the chords, weighted by
    width, at the first point `chord^2/neighbour`, at the last `2 chord - neighbour`; one knot more between two points,
    where the slope is the chord's.
    """
    x, g = np.asarray(distance, dtype=float), 1 / np.asarray(rate, dtype=float)
    width, chord = np.diff(x), np.diff(g) / np.diff(x)
    inner = [(v + w) / (v / c + w / d) for v, w, c, d in zip(width, width[1:], chord, chord[1:], strict=False)]
    slope = [chord[0] ** 2 / inner[0], *inner, 2 * chord[-1] - inner[-1]]
    knots, values, slopes = [x[0]], [g[0]], [slope[0]]
    for i, (w, c) in enumerate(zip(width, chord, strict=True)):
        until = w * (slope[i + 1] - c) / (slope[i + 1] - slope[i])
        knots += [x[i] + until, x[i + 1]]
        values += [g[i] + until * (slope[i] + c) / 2, g[i + 1]]
        slopes += [c, slope[i + 1]]
    return pieces(np.array(knots), np.array(values), np.array(slopes))


@dataclass(frozen=True)
class Quadratic:
    """`U = y + c - (lambda/2) y^2`: mean-variance, `y = z + Dh`, `c = Dtheta - Dh`, or with `y = z`, `c = Dtheta`."""

    aversion: float
    equilibrium: bool

    def _parts(self, z: Any, dtheta: Any, dh: Any) -> tuple[Any, Any]:
        return (z + dh, dtheta - dh) if self.equilibrium else (z, dtheta)

    def gain(self, z: Any, dtheta: Any, dh: Any) -> Any:
        y, c = self._parts(z, dtheta, dh)
        return y + c - 0.5 * self.aversion * y**2

    def slope(self, z: Any, dtheta: Any, dh: Any) -> Any:
        return 1 - self.aversion * self._parts(z, dtheta, dh)[0]

    def useful(self, dtheta: Any, dh: Any) -> tuple[Any, Any]:
        """Incomes between which the best one lies: where the gain turns positive, and where it peaks."""
        y, c = self._parts(0.0 * dtheta, dtheta, dh)
        with np.errstate(invalid="ignore"):
            zero = -2 * c / (1 + np.sqrt(1 + 2 * self.aversion * c))
        return zero - y, 1 / self.aversion - y


@dataclass(frozen=True)
class Utility:
    """`U = (1 - e^{-xi (z + Dtheta)})/xi`, and `z + Dtheta` where `xi = 0`."""

    xi: float

    def gain(self, z: Any, dtheta: Any, dh: Any) -> Any:
        return z + dtheta if self.xi == 0 else -np.expm1(-self.xi * (z + dtheta)) / self.xi

    def slope(self, z: Any, dtheta: Any, dh: Any) -> Any:
        return np.exp(-self.xi * (z + dtheta))

    def useful(self, dtheta: Any, dh: Any) -> tuple[Any, Any]:
        return -dtheta, np.inf + 0 * dtheta


def best_income(curve: Curve, wish: Any, money: float, adverse: float, dtheta: Any, dh: Any) -> Any:
    """The income `z = D (x - adverse)` that maximises `Lambda(x) U(z)`, by bisection on its slope; nan for no quote."""
    low, high = wish.useful(dtheta, dh)
    end = money * (curve.end - adverse)
    high = np.minimum(high, end)

    def derivative(z: Any) -> Any:
        x = adverse + z / money
        return curve.slope(x) / money * wish.gain(z, dtheta, dh) + curve.rate(x) * wish.slope(z, dtheta, dh)

    reach = np.full_like(low, money)
    while np.any(np.isinf(high)):
        trial = np.where(np.isinf(high), low + reach, high)
        high = np.where(np.isinf(high) & (derivative(trial) < 0), trial, high)
        reach = 2 * reach
    quoted = low < high  # false for nan
    low, high = np.where(quoted, low, 0.0), np.where(quoted, high, 0.0)
    for _ in range(60):
        middle = 0.5 * (low + high)
        rising = derivative(middle) > 0
        low, high = np.where(rising, middle, low), np.where(rising, high, middle)
    return np.where(quoted, 0.5 * (low + high), np.nan)


@dataclass(frozen=True)
class GeneralLattice:
    """Value and expected wealth on a lattice for any demand, integrated together."""

    horizon: float
    bid: Curve
    ask: Curve
    wish: Any
    limit: int
    cost: Function
    lot: float = 1.0
    drift: float = 0.0
    adverse: float = 0.0
    terminal: Function = nothing

    @property
    def lots(self) -> np.ndarray:
        return np.arange(-self.limit, self.limit + 1.0)

    def _fills(self, theta: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Incomes asked on the bid at q = -Q..Q-1 and on the ask at q = -Q+1..Q."""
        return (
            best_income(self.bid, self.wish, self.lot, self.adverse, np.diff(theta), np.diff(h)),
            best_income(self.ask, self.wish, self.lot, self.adverse, -np.diff(theta), -np.diff(h)),
        )

    def rate(self, tau: float, u: np.ndarray) -> np.ndarray:
        theta, h = np.split(u, 2)
        income = self.drift * self.lot * self.lots
        dtheta, dh = income - self.cost(self.lots), income.copy()
        for z, curve, sign, at in zip(
            self._fills(theta, h), (self.bid, self.ask), (1, -1), (slice(None, -1), slice(1, None)), strict=True
        ):
            quoted = np.isfinite(z)
            z = np.where(quoted, z, 0.0)
            fills = np.where(quoted, curve.rate(self.adverse + z / self.lot), 0.0)
            dtheta[at] += fills * self.wish.gain(z, sign * np.diff(theta), sign * np.diff(h))
            dh[at] += fills * (z + sign * np.diff(h))
        return np.concatenate([dtheta, dh])

    def answer(self, tolerance: float = 1e-13) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """`theta`, `h`, bid and ask distances at time 0, q = -Q..Q; nan where the limit forbids the fill."""
        start = np.concatenate([-self.terminal(self.lots), 0 * self.lots])
        path = solve_ivp(self.rate, (0.0, self.horizon), start, method="DOP853", rtol=tolerance, atol=tolerance * 1e-2)
        assert path.success, path.message
        theta, h = np.split(path.y[:, -1], 2)
        bid, ask = (self.adverse + z / self.lot for z in self._fills(theta, h))
        return theta, h, np.append(bid, np.nan), np.append(np.nan, ask)


@dataclass(frozen=True)
class DriftingStock:
    """The dealer with a stock account under mean-variance and exponential demand, by the method of lines.

    Central differences on `per_lot` nodes to a lot up to `reach` lots, closed by a vanishing third derivative, in time
    an explicit method of order eight: no code, no closure and no time stepping in common with the library.
    """

    growth: float
    volatility: float
    rate: float
    horizon: float
    bid: tuple[float, float]  # scale, decay
    ask: tuple[float, float]
    limit: float  # in lots of one
    aversion: float
    equilibrium: bool = True
    reach: int = 15

    def answer(self, per_lot: int, tolerance: float = 1e-10) -> tuple[np.ndarray, ...]:
        """Nodes, `theta`, `h`, bid and ask distances at time 0."""
        n = 2 * self.reach * per_lot + 1
        y = np.linspace(-self.reach, self.reach, n)
        path = solve_ivp(
            self._rate,
            (0.0, self.horizon),
            np.zeros(2 * n),
            "DOP853",
            args=(y, per_lot),
            rtol=tolerance,
            atol=tolerance,
        )
        assert path.success, path.message
        theta, h = np.split(path.y[:, -1], 2)
        sides = [self._side(self.horizon, theta, h, y, per_lot, s) for s in (1, -1)]
        return y, theta, h, sides[0][0], sides[1][0]

    def _side(self, tau: float, theta: Any, h: Any, y: Any, per_lot: int, side: int) -> tuple[Any, Any, Any]:
        scale, decay = self.bid if side > 0 else self.ask
        room = self.limit - 1 - side * y
        allowed = np.clip(room * per_lot + 0.5, 0, 1)  # half at the node on which the limit falls
        target = np.clip(np.arange(y.size) + side * per_lot, 0, y.size - 1)
        dtheta, dh = theta[target] - theta, h[target] - h
        c = dtheta - dh if self.equilibrium else dtheta
        accrual = np.exp(self.rate * tau)
        kappa, lam = decay / accrual, self.aversion
        with np.errstate(invalid="ignore"):
            root = np.sqrt((kappa + lam) ** 2 - 2 * kappa * lam * (1 - kappa * c))
        quoted = c > -0.5 / lam
        gained = np.where(quoted, 2 * (1 - kappa * c) / (kappa + lam + np.where(quoted, root, 1.0)), 0.0)
        z = gained - dh if self.equilibrium else gained
        fills = np.where(quoted, allowed * scale * np.exp(-kappa * z), 0.0)
        worth = gained + c - 0.5 * lam * gained**2
        return np.where(quoted, z / accrual, np.nan), fills * worth, fills * (z + dh)

    def _rate(self, tau: float, u: Any, y: Any, per_lot: int) -> Any:
        theta, h = np.split(u, 2)
        accrual = np.exp(self.rate * tau)
        income = (self.growth - self.rate) * y * accrual
        first, second = zip(*(self._derivatives(f, per_lot) for f in (theta, h)), strict=True)
        hedge = first[1] if self.equilibrium else 0.0
        risk = 0.5 * self.aversion * (self.volatility * y * (accrual + hedge)) ** 2
        moved = [
            self.growth * y * d + 0.5 * (self.volatility * y) ** 2 * dd for d, dd in zip(first, second, strict=True)
        ]
        bid, ask = (self._side(tau, theta, h, y, per_lot, s) for s in (1, -1))
        return np.concatenate([moved[0] + income - risk + bid[1] + ask[1], moved[1] + income + bid[2] + ask[2]])

    @staticmethod
    def _derivatives(f: Any, per_lot: int) -> tuple[Any, Any]:
        """First and second derivative: central inside, by a parabola through the last three nodes at the ends."""
        wide = np.concatenate([[3 * f[0] - 3 * f[1] + f[2]], f, [3 * f[-1] - 3 * f[-2] + f[-3]]])
        return (wide[2:] - wide[:-2]) * per_lot / 2, (wide[2:] - 2 * wide[1:-1] + wide[:-2]) * per_lot**2
