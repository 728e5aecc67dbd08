"""Demand curves: how often the dealer is hit at a distance from the reference price.

`Lambda(x)` is the intensity (fills per unit of time) at distance `x`; it falls in `x`, also for negative `x`, where
the dealer pays to trade. All that an optimal quote needs from a demand is its reciprocal hazard

    R(x) = -Lambda(x) / Lambda'(x)        (unit of distance),

because the best distance against any gain `U` solves `U / U' = m R(x)` (see `objectives`). The maximiser is unique
when `Lambda Lambda'' < 2 Lambda'^2` where `Lambda > 0`; that is `R' < 1`, and that `1/Lambda` is strictly convex
(Gueant 2017, section 2.2). Each demand here satisfies it or refuses to be built.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ._precision import check, in_float64, parameter
from ._stated import Stated

_Curve = Float[Array, "*states"]
_NEWTON_STEPS = 3
_BISECTIONS = 100


class Demand(Stated):
    """Intensity of fills against distance. Subclasses give `_intensity` and `_reciprocal_hazard`."""

    @abstractmethod
    def _intensity(self, x: Any) -> Any: ...

    @abstractmethod
    def _reciprocal_hazard(self, x: Any) -> Any: ...

    @in_float64
    def intensity(self, distance: Any) -> Any:
        """`Lambda(x)`, fills per unit of time, for any shape of `distance`."""
        return self._intensity(distance)

    @in_float64
    def reciprocal_hazard(self, distance: Any) -> Any:
        """`R(x) = -Lambda / Lambda'`, in the unit of the distance; zero or less where nobody trades any more."""
        return self._reciprocal_hazard(distance)

    @in_float64
    def optimal_distance(self, price: Any, risk_aversion: Any = 0.0) -> Any:
        """The maximiser `x*` of `Lambda(x)/xi (1 - exp(-xi (x - p)))`, `xi -> 0` giving `Lambda(x) (x - p)`.

        `price` is the reservation value `p` of the fill and `risk_aversion` is `xi`, both per lot and in the units of
        the distance; `nan` where no distance earns anything. Source: Gueant 2017, equation (2.5).
        """
        return self._maximiser(price, risk_aversion)

    @in_float64
    def hamiltonian(self, price: Any, risk_aversion: Any = 0.0) -> Any:
        """`H_xi(p) = sup_x Lambda(x)/xi (1 - exp(-xi (x - p)))`, distance per unit of time; zero where unprofitable."""
        x = self._maximiser(price, risk_aversion)
        quoting = jnp.isfinite(x)
        gain = exponential_gain(jnp.where(quoting, x, 0.0) - price, risk_aversion)
        return jnp.where(quoting, self._intensity(jnp.where(quoting, x, 0.0)) * gain, 0.0)

    def _risk_neutral_guess(self, price: Any) -> Any:
        """Near the maximiser of `Lambda(x) (x - p)`: where the search for any objective's answer begins."""
        return price + self._reciprocal_hazard(price)

    def _maximiser(self, price: Any, xi: Any) -> Any:
        def net_income(ratio: Any) -> Any:  # the inverse of U/U' for U = (1 - e^{-xi y})/xi
            return price + log1p_over(ratio, xi)

        return self.best_response(net_income)

    def best_response(self, income_at: Callable[[Any], Any]) -> Any:
        """Solve `x = income_at(R(x))` for the distance: the first-order condition of any gain.

        `income_at(r)` is the distance at which `U/U' = r`; it is increasing with slope at most one. Since `R' < 1`,
        `f(x) = x - income_at(R(x))` increases and has one root: a bracketed Newton iteration finds it, and one last
        step outside the loop carries the derivatives (implicit function theorem). `nan` where `R <= 0` at the root.
        """

        def f(x: Any) -> Any:
            return x - income_at(self._reciprocal_hazard(x))

        guess = self._risk_neutral_guess(income_at(0.0))
        # What `f` closes over is hoisted out of it and cut off, so that nobody differentiates the search itself.
        detached, constants = jax.closure_convert(f, guess)
        constants = lax.stop_gradient(constants)
        root = _increasing_root(lambda x: detached(x, *constants), guess)
        value, slope = jax.jvp(f, (root,), (jnp.ones_like(root),))
        x = root - value / lax.stop_gradient(slope)
        return jnp.where(self._reciprocal_hazard(root) > 0, x, jnp.nan)


def log1p_over(ratio: Any, xi: Any) -> Any:
    """`ln(1 + xi r)/xi`, and `r` at `xi = 0`."""
    safe = jnp.where(xi == 0, 1.0, xi)
    return jnp.where(xi == 0, ratio, jnp.log1p(safe * ratio) / safe)


def exponential_gain(y: Any, xi: Any) -> Any:
    """`(1 - e^{-xi y})/xi`, and `y` at `xi = 0`."""
    safe = jnp.where(xi == 0, 1.0, xi)
    return jnp.where(xi == 0, y, -jnp.expm1(-safe * y) / safe)


def _increasing_root(f: Callable[[Any], Any], guess: Any) -> Any:
    """The root of an increasing function, elementwise: a few Newton steps, and where those fail a bracketed search."""
    guess = lax.stop_gradient(jnp.asarray(guess))
    x = guess
    step = jnp.zeros_like(x)
    for _ in range(_NEWTON_STEPS):  # unrolled: one fused pass over the states, nearly always enough
        value, slope = jax.jvp(f, (x,), (jnp.ones_like(x),))
        step = value / slope
        x = x - step
    # Newton squares the error, so a step of sqrt(eps) has left none; nan means no quote and stays.
    near = jnp.sqrt(jnp.finfo(x.dtype).eps) * (jnp.abs(x) + jnp.abs(guess))
    lost = (jnp.abs(step) > near) & jnp.isfinite(guess)
    return _bracketed_root(f, jnp.where(lost, guess, x), lost)


def _bracketed_root(f: Callable[[Any], Any], x: Any, lost: Any) -> Any:
    """Where `lost`, open a bracket around `x` and close it by Newton steps kept inside, halving where those crawl."""
    eps = jnp.finfo(x.dtype).eps
    width = jnp.sqrt(eps) * (1 + jnp.abs(x))

    def open_bracket(state: Any) -> Any:
        lo, hi, width, _ = state
        high, low = lost & (f(lo) > 0), lost & (f(hi) < 0)
        lo, hi = jnp.where(high, lo - width, lo), jnp.where(low, hi + width, hi)
        return lo, hi, 2 * width, jnp.any(high | low)

    lo, hi, _, _ = lax.while_loop(lambda s: s[3], open_bracket, (x, x, width, jnp.any(lost)))

    def close_bracket(state: Any) -> Any:
        x, lo, hi, step, n, _ = state
        value, slope = jax.jvp(f, (x,), (jnp.ones_like(x),))
        lo, hi = jnp.where(value < 0, x, lo), jnp.where(value > 0, x, hi)
        trial = x - value / slope
        fast = 2 * jnp.abs(value) <= jnp.abs(step * slope)  # else Newton crawls along a steep tail: halve instead
        new = jnp.where((trial >= lo) & (trial <= hi) & fast, trial, 0.5 * (lo + hi))
        new = jnp.where((value == 0) | ~lost, x, new)
        moving = jnp.abs(new - x) > 4 * eps * jnp.abs(new) + jnp.finfo(x.dtype).tiny
        return new, lo, hi, new - x, n + 1, jnp.any(moving)

    start = (x, lo, hi, hi - lo, 0, jnp.any(lost))
    return lax.while_loop(lambda s: s[5] & (s[4] < _BISECTIONS), close_bracket, start)[0]


class Exponential(Demand):
    """`Lambda(x) = A e^{-k x}`, `A = scale` fills per unit of time at the reference price, `k = decay` per distance."""

    scale: Any = eqx.field(converter=parameter)
    decay: Any = eqx.field(converter=parameter)

    def __check_init__(self) -> None:
        check("Exponential: scale", self.scale, least=0, hint="it counts fills per unit of time at the reference price")
        check("Exponential: decay", self.decay, above=0, hint="fills must fall with the distance")

    def _intensity(self, x: Any) -> Any:
        return self.scale * jnp.exp(-self.decay * x)

    def _reciprocal_hazard(self, x: Any) -> Any:
        return jnp.broadcast_to(1 / self.decay, jnp.shape(x))

    def best_response(self, income_at: Callable[[Any], Any]) -> Any:
        """`R = 1/k` everywhere, so the first-order condition is already solved."""
        return income_at(1 / self.decay)


class Linear(Demand):
    """`Lambda(x) = max(A - B x, 0)` (Ho and Stoll 1981): `A = scale`, `B = slope`; nobody trades beyond `A/B`."""

    scale: Any = eqx.field(converter=parameter)
    slope: Any = eqx.field(converter=parameter)

    def __check_init__(self) -> None:
        check("Linear: scale", self.scale, least=0, hint="it counts fills per unit of time at the reference price")
        check("Linear: slope", self.slope, above=0, hint="fills must fall with the distance; the sign is built in")

    def _intensity(self, x: Any) -> Any:
        return jnp.maximum(self.scale - self.slope * x, 0.0)

    def _reciprocal_hazard(self, x: Any) -> Any:
        return self.scale / self.slope - x

    def _risk_neutral_guess(self, price: Any) -> Any:
        return 0.5 * (price + self.scale / self.slope)


class Logistic(Demand):
    """`Lambda(x) = A / (1 + e^{alpha + beta x})`: `A = scale` requests per unit of time, the rest won or lost."""

    scale: Any = eqx.field(converter=parameter)
    alpha: Any = eqx.field(converter=parameter)
    beta: Any = eqx.field(converter=parameter)

    def __check_init__(self) -> None:
        check("Logistic: scale", self.scale, least=0, hint="it counts requests per unit of time")
        check("Logistic: alpha", self.alpha)
        check("Logistic: beta", self.beta, above=0, hint="a request must be lost more often at a larger distance")

    def _intensity(self, x: Any) -> Any:
        return self.scale * jax.nn.sigmoid(-(self.alpha + self.beta * x))

    def _reciprocal_hazard(self, x: Any) -> Any:
        return (1 + jnp.exp(-(self.alpha + self.beta * x))) / self.beta

    def _risk_neutral_guess(self, price: Any) -> Any:
        """`x = p + (1 + W(e^y))/beta`, `y = -(1 + alpha + beta p)`, with Lambert's `W(e^y)` to about two per cent."""
        w = jax.nn.softplus(-(1 + self.alpha + self.beta * price))
        return price + (1 + w * (1 - jnp.log1p(w) / (2 + w))) / self.beta


class PowerLaw(Demand):
    """`Lambda(x) = A (1 + x/w)^{-n}` for `x >= 0`, continued as `A e^{-n x/w}` for `x < 0`.

    `A = scale` fills per unit of time at the reference price, `n = exponent > 1`, `w = width` in units of distance.
    The continuation matches value and slope at zero: a bare power law is infinite at a finite negative distance.
    """

    scale: Any = eqx.field(converter=parameter)
    exponent: Any = eqx.field(converter=parameter)
    width: Any = eqx.field(converter=parameter)

    def __check_init__(self) -> None:
        check("PowerLaw: scale", self.scale, least=0, hint="it counts fills per unit of time at the reference price")
        check("PowerLaw: exponent", self.exponent, above=1, hint="at 1 or below the best distance is infinite")
        check("PowerLaw: width", self.width, above=0, hint="it is the distance at which fills fall by 2^-exponent")

    def _intensity(self, x: Any) -> Any:
        right = jnp.maximum(x, 0.0)
        return self.scale * jnp.exp(-self.exponent * jnp.where(x < 0, x / self.width, jnp.log1p(right / self.width)))

    def _reciprocal_hazard(self, x: Any) -> Any:
        return (self.width + jnp.maximum(x, 0.0)) / self.exponent

    def _risk_neutral_guess(self, price: Any) -> Any:
        inside = (self.exponent * price + self.width) / (self.exponent - 1)
        return jnp.where(inside > 0, inside, price + self.width / self.exponent)


class Tabulated(Demand):
    """A measured curve: intensities at given distances, joined so that `1/Lambda` stays strictly convex.

    `distance` rising, `intensity` positive and falling, both of shape (n,), n >= 3. Between the points `G = 1/Lambda`
    is Schumaker's shape-preserving quadratic spline (1983), whose pieces meet in value and slope; beyond the ends it
    is continued exponentially. Data whose `1/Lambda` is not strictly convex are refused: there the best quote
    would not be unique.
    """

    listed: ClassVar[tuple[str, ...]] = ("distance", "intensity")

    distance: Any = eqx.field(converter=parameter)
    rate: Any = eqx.field(converter=parameter)

    def __init__(self, distance: Any, intensity: Any):
        self.distance, self.rate = parameter(distance), parameter(intensity)
        _check_table(self.distance, self.rate)

    def arguments(self) -> dict[str, Any]:
        return {"distance": self.distance, "intensity": self.rate}

    def _reciprocal(self, x: Any) -> tuple[Any, Any]:
        """`G` and `G'` at `x`."""
        knots, value, slope = _convex_spline(jnp.asarray(self.distance), 1 / jnp.asarray(self.rate))
        i = jnp.clip(jnp.searchsorted(knots, x, side="right") - 1, 0, knots.shape[0] - 2)
        u = jnp.clip(x, knots[0], knots[-1]) - knots[i]
        bend = (slope[i + 1] - slope[i]) / (knots[i + 1] - knots[i])
        g, dg = value[i] + u * (slope[i] + 0.5 * bend * u), slope[i] + bend * u
        beyond = x - jnp.clip(x, knots[0], knots[-1])  # exponential continuation, with the hazard of the end point
        growth = jnp.exp(dg / g * beyond)
        return g * growth, dg * growth

    def _intensity(self, x: Any) -> Any:
        return 1 / self._reciprocal(x)[0]

    def _reciprocal_hazard(self, x: Any) -> Any:
        g, dg = self._reciprocal(x)
        return g / dg


def _check_table(distance: Any, rate: Any) -> None:
    if not (isinstance(distance, np.ndarray) and isinstance(rate, np.ndarray)):
        return
    if distance.ndim != 1 or distance.shape != rate.shape or distance.size < 3:
        raise ValueError(
            f"Tabulated: distance and intensity must be one-dimensional, of one length of at least 3, "
            f"got {distance.shape} and {rate.shape}"
        )
    check("Tabulated: distance", distance)
    check("Tabulated: intensity", rate, above=0, hint="leave out distances at which nothing was filled")
    if np.any(np.diff(distance) <= 0):
        raise ValueError("Tabulated: distance must rise from point to point; sort the points and merge equal ones")
    if np.any(np.diff(rate) >= 0):
        i = int(np.argmax(np.diff(rate) >= 0))
        raise ValueError(
            f"Tabulated: intensity must fall with distance, but does not from {distance[i]:g} to {distance[i + 1]:g}; "
            "smooth the estimate or leave a point out"
        )
    chords = np.diff(1 / rate) / np.diff(distance)
    if np.any(np.diff(chords) <= 0):
        i = int(np.argmax(np.diff(chords) <= 0)) + 1
        raise ValueError(
            f"Tabulated: 1/intensity must be strictly convex, but is not at distance {distance[i]:g}; there the best "
            "quote is not unique: smooth the estimate or leave the point out"
        )


def _convex_spline(x: Any, g: Any) -> tuple[Any, Any, Any]:
    """Knots, values and slopes of Schumaker's quadratic spline through rising convex data.

    Node slopes are weighted harmonic means of the chords, which keep them strictly between their neighbours; each
    interval then takes one more knot, placed so that the slope there is the chord's.
    """
    width = jnp.diff(x)
    chord = jnp.diff(g) / width
    inner = (width[:-1] + width[1:]) / (width[:-1] / chord[:-1] + width[1:] / chord[1:])
    first = chord[0] ** 2 / inner[0]
    last = 2 * chord[-1] - inner[-1]
    node_slope = jnp.concatenate([first[None], inner, last[None]])
    share = (node_slope[1:] - chord) / (node_slope[1:] - node_slope[:-1])  # where the slope passes the chord's
    middle = x[:-1] + share * width
    middle_value = g[:-1] + 0.5 * share * width * (node_slope[:-1] + chord)
    interleave = lambda a, b: jnp.concatenate([jnp.stack([a[:-1], b], axis=1).ravel(), a[-1:]])  # noqa: E731
    return (
        interleave(x, middle),
        interleave(g, middle_value),
        interleave(node_slope, chord),
    )
