"""Heston's model of a stock and its variance, and what European options cost in it.

    dS = sqrt(nu) S dW,    dnu = kappa (theta - nu) dt + xi sqrt(nu) dB,    d<W, B> = rho dt,    zero interest rates.

A call is Black and Scholes's at the mean variance over its life, `V = theta T + (nu - theta)(1 - e^{-kappa T})/kappa`,
plus one integral that holds all that is random about the variance (Lewis 2000; Andersen and Lake 2018, section 2):

    C = BS(V) + sqrt(S K)/pi  Re int_0^inf e^{i u k} [e^{-(u^2 + 1/4) V/2} - phi(u - i/2)] / (u^2 + 1/4) du,

with `k = ln(S/K)` and the characteristic function `phi(w) = E e^{i w ln(S_T/S)} = e^{A(w) + D(w) nu}` in the form whose
logarithm never leaves its branch (Albrecher, Mayer, Schoutens and Tistaert 2007), written so that nothing cancels as
`xi -> 0`. The path of integration is turned by an angle against the integrand's own oscillation (Andersen and Lake,
section 3.2), and the sum is the double-exponential rule `u ~ exp(t - e^{-t})`: 192 points are exact to rounding from a
week to ten years, correlated or not, and whether or not the variance can touch zero.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.stats import norm

from ._precision import check, in_float64, is_traced, parameter
from ._stated import Stated

_ANGLE = 0.3  # of the path of integration with the real axis; any angle well below pi/4 serves
_POINTS, _FIRST, _LAST = 192, -4.0, np.log(300.0)
_FADED = 6.0  # deviations' reciprocals, at which a normal law's characteristic function is nothing any more
_CHUNK = 64  # options priced in one call
_STEPS = 60  # of the search for an implied volatility; a dozen where the price is no tail


def _double_exponential() -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on (0, inf) for integrands that fall off exponentially, at scales from 1/300 to many."""
    t = np.linspace(_FIRST, _LAST, _POINTS)
    nodes = np.exp(t - np.exp(-t))
    return nodes, (t[1] - t[0]) * nodes * (1 + np.exp(-t))


_NODES, _WEIGHTS = _double_exponential()


class Heston(Stated):
    """The variance's law, in years; under the pricing measure it prices options, under the physical one it is seen.

    reversion:              `kappa`, per year: how fast the variance goes back to its long-run mean.
    long_run_variance:      `theta`, per year.
    volatility_of_variance: `xi`, per year: `d<nu> = xi^2 nu dt`. Zero is Black and Scholes, with a variance
                            that is a function of time.
    correlation:            `rho` of the variance with the stock, strictly between -1 and 1.

    In the functions below `spot` and `strike` are prices, `maturity` is the years left, `variance` is `nu` now (0.04
    for an implied volatility of about 20%); arrays broadcast, and results have the broadcast shape.
    """

    reversion: Any = eqx.field(converter=parameter)
    long_run_variance: Any = eqx.field(converter=parameter)
    volatility_of_variance: Any = eqx.field(converter=parameter)
    correlation: Any = eqx.field(converter=parameter)

    def __check_init__(self) -> None:
        check("Heston: reversion", self.reversion, above=0, hint="it is per year")
        check(
            "Heston: long_run_variance", self.long_run_variance, above=0, hint="it is a variance per year, such as .04"
        )
        check("Heston: volatility_of_variance", self.volatility_of_variance, least=0, hint="it is per year")
        check("Heston: correlation", self.correlation)
        if isinstance(self.correlation, np.ndarray) and np.any(abs(self.correlation) >= 1):
            raise ValueError(
                f"Heston: correlation must lie strictly between -1 and 1, got {self.correlation:g}; "
                "take .999 for nearly perfect correlation"
            )

    def drift(self, variance: Any) -> Any:
        """`kappa (theta - nu)`, per year."""
        return self.reversion * (self.long_run_variance - variance)

    def call(self, spot: Any, strike: Any, maturity: Any, variance: Any) -> Any:
        """Price of a call, in units of the spot."""
        return _greeks(self, "call", spot, strike, maturity, variance).price

    def put(self, spot: Any, strike: Any, maturity: Any, variance: Any) -> Any:
        """Price of a put: the call's less `S - K`."""
        return self.call(spot, strike, maturity, variance) - (spot - strike)

    def implied_volatility(self, spot: Any, strike: Any, maturity: Any, variance: Any) -> Any:
        """The volatility per sqrt(year) at which Black and Scholes ask the same price."""
        return implied_volatility(self.call(spot, strike, maturity, variance), spot, strike, maturity)

    def vega(self, spot: Any, strike: Any, maturity: Any, variance: Any) -> Any:
        """`dC/d sqrt(nu) = 2 sqrt(nu) dC/dnu`, price per unit of volatility (of 1, which is 100 volatility points)."""
        return _greeks(self, "vega", spot, strike, maturity, variance).vega

    def delta(self, spot: Any, strike: Any, maturity: Any, variance: Any) -> Any:
        """`dC/dS` at constant variance."""
        return _greeks(self, "delta", spot, strike, maturity, variance).delta


class _Greeks(NamedTuple):
    """A call's price and two slopes, from one program: most of the work is the characteristic function."""

    price: Any
    vega: Any
    delta: Any


def _greeks(model: Heston, asked: str, spot: Any, strike: Any, maturity: Any, variance: Any) -> _Greeks:
    """Inputs checked by name, unless they are traced; then computed in double precision."""
    _check_inputs(asked, spot=spot, strike=strike, maturity=maturity)
    if not is_traced(variance):
        hint = "it is the variance per year, the square of a volatility"
        check(f"{asked}: variance", parameter(variance), least=0, hint=hint)
    given = (spot, strike, maturity, variance)
    if is_traced(model, given) or any(jnp.ndim(leaf) for leaf in jax.tree.leaves(model)):
        return _computed(model, *given)
    given = np.broadcast_arrays(*map(parameter, given))
    flat = np.stack([x.ravel() for x in given])
    flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % _CHUNK)), mode="edge")  # one compiled shape for every question
    parts = [_computed(model, *flat[:, i : i + _CHUNK]) for i in range(0, flat.shape[1], _CHUNK)]
    return _Greeks(*(np.concatenate(x)[: given[0].size].reshape(given[0].shape)[()] for x in zip(*parts, strict=True)))


@in_float64
def _computed(model: Heston, spot: Any, strike: Any, maturity: Any, variance: Any) -> _Greeks:
    case = _case(model, spot, strike, maturity, variance)
    point = case.point
    rest = point.calm - point.wild
    by_variance = case.integral(-point.by_variance * point.wild)
    with jax.numpy_dtype_promotion("standard"):
        by_log_spot = case.integral((0.5 + 1j * point.u) * rest)  # of sqrt(S) S^{iu}
    return _Greeks(
        price=case.black_scholes() + case.integral(rest),
        vega=2 * jnp.sqrt(case.variance) * by_variance,
        delta=norm.cdf(case.upper) + by_log_spot / case.spot,
    )


def black_scholes_call(spot: Any, strike: Any, maturity: Any, volatility: Any) -> Any:
    """Price of a call where the stock has a constant `volatility` per sqrt(year); arrays broadcast.

    Raises `ValueError` for a spot or strike that is not positive and a negative maturity or volatility.
    """
    _check_inputs("black_scholes_call", spot=spot, strike=strike)
    for name, value, hint in (("maturity", maturity, "it is in years"), ("volatility", volatility, "such as .2")):
        if not is_traced(value):
            check(f"black_scholes_call: {name}", parameter(value), least=0, hint=hint)
    return _black_scholes_call(spot, strike, maturity, volatility)


def implied_volatility(price: Any, spot: Any, strike: Any, maturity: Any) -> Any:
    """The volatility per sqrt(year) at which a call costs `price`; arrays broadcast.

    nan where none does, or where rounding leaves nothing of the price beyond what exercising at once would give.
    Raises `ValueError` for a spot, strike or maturity that is not positive.
    """
    _check_inputs("implied_volatility", spot=spot, strike=strike, maturity=maturity)
    return _implied_volatility(price, spot, strike, maturity)


@in_float64
def _black_scholes_call(spot: Any, strike: Any, maturity: Any, volatility: Any) -> Any:
    spot, strike, maturity, volatility = jnp.broadcast_arrays(spot, strike, maturity, volatility)
    return _black_scholes(spot, strike, volatility * jnp.sqrt(maturity))


@in_float64
def _implied_volatility(price: Any, spot: Any, strike: Any, maturity: Any) -> Any:
    return _implied(*jnp.broadcast_arrays(price, spot, strike, maturity))


def _check_inputs(asked: str, **values: Any) -> None:
    for name, value in values.items():
        if not is_traced(value):
            check(f"{asked}: {name}", parameter(value), above=0)


class _Point(NamedTuple):
    """What the integrand is made of at every `u` along the path; the last axis is the path's."""

    u: Any
    calm: Any  # e^{iuk} times the characteristic function at u - i/2 if the variance were its own mean
    wild: Any  # and as it is
    by_variance: Any  # D(u - i/2)


class _Case(NamedTuple):
    """Broadcast inputs and the path of integration that suits each of them."""

    spot: Any
    strike: Any
    variance: Any
    maturity: Any
    deviation: Any  # sqrt(V)
    moneyness: Any  # k
    turn: Any  # du along the path, a complex number of real part one, over the deviation
    point: _Point

    @property
    def upper(self) -> Any:
        """`d_1` of Black and Scholes."""
        return self.moneyness / self.deviation + 0.5 * self.deviation

    def black_scholes(self) -> Any:
        return _black_scholes(self.spot, self.strike, self.deviation)

    def integral(self, numerator: Any) -> Any:
        """`sqrt(S K)/pi Re int numerator / (u^2 + 1/4) du` for the numerator, with its `e^{iuk}`, at every `u`."""
        with jax.numpy_dtype_promotion("standard"):  # real times complex, whatever the caller forbids
            u = self.point.u
            integrand = numerator / (u * u + 0.25)
            total = jnp.sum(jnp.real(self.turn * integrand) * _spread(_WEIGHTS, u), axis=-1)
        return jnp.sqrt(self.spot * self.strike) / np.pi * total


def _spread(row: np.ndarray, like: Any) -> Any:
    return jnp.asarray(row).reshape(*(1,) * (like.ndim - 1), -1)


def _case(model: Heston, spot: Any, strike: Any, maturity: Any, variance: Any) -> _Case:
    spot, strike, maturity, variance = jnp.broadcast_arrays(spot, strike, maturity, variance)
    kappa, theta, xi, rho = model.reversion, model.long_run_variance, model.volatility_of_variance, model.correlation
    mean = theta * maturity - (variance - theta) * jnp.expm1(-kappa * maturity) / kappa
    deviation, moneyness = jnp.sqrt(mean), jnp.log(spot / strike)
    # where the integrand fades it turns like e^{i u pull}: lean to the side on which that decays. The variance adds its
    # share as far as u xi T is large there, as in `D` with no reversion.
    reached = jnp.tanh(0.5 * xi * jnp.sqrt(1 - rho**2) * maturity * _FADED / deviation) ** 2
    share = reached / (1 - rho**2 + rho**2 * reached)
    pull = moneyness * xi - rho * (variance + kappa * theta * maturity) * share
    with jax.numpy_dtype_promotion("standard"):
        turn = ((1 + 1j * np.tan(_ANGLE) * jnp.sign(pull)) / deviation)[..., None]
        u = turn * _spread(_NODES, turn)
        exponent, slope = _exponents(model, u - 0.5j, maturity[..., None])
        turned = 1j * u * moneyness[..., None]  # into the exponents: by itself it may overflow where they vanish
        calm = jnp.exp(turned - 0.5 * (u * u + 0.25) * mean[..., None])
        point = _Point(u, calm, jnp.exp(turned + exponent + slope * variance[..., None]), slope)
    return _Case(spot, strike, variance, maturity, deviation, moneyness, turn, point)


def _exponents(model: Heston, w: Any, maturity: Any) -> tuple[Any, Any]:
    """`A` and `D` of `E e^{i w ln(S_T/S)} = e^{A + D nu}`.

    In the maturity, `D' = -(w^2 + iw)/2 - b D + xi^2 D^2/2` and `A' = kappa theta D`. Here
    `b = kappa - i rho xi w`, `d^2 = b^2 + xi^2 (w^2 + iw)` and `-g = xi^2 (w^2 + iw)/(b + d)^2`.
    """
    kappa, theta, xi, rho = model.reversion, model.long_run_variance, model.volatility_of_variance, model.correlation
    square = w * w + 1j * w
    b = kappa - 1j * rho * xi * w
    d = jnp.sqrt(b * b + xi**2 * square)
    ratio = square / (b + d) ** 2  # -g/xi^2
    decayed = -jnp.expm1(-d * maturity)
    slope = -square / (b + d) * decayed / (1 + xi**2 * ratio * (1 - decayed))
    twist = -ratio * decayed / (1 + xi**2 * ratio)  # (1 - g e^{-dT})/(1 - g) = 1 + xi^2 twist
    safe = jnp.where(xi == 0, 1.0, xi)
    logarithm = jnp.where(xi == 0, twist, jnp.log1p(safe**2 * twist) / safe**2)
    return kappa * theta * (-square * maturity / (b + d) - 2 * logarithm), slope


def _black_scholes(spot: Any, strike: Any, deviation: Any) -> Any:
    """Of the volatility times the root of the maturity; where that is zero, what exercising at once would give."""
    safe = jnp.where(deviation > 0, deviation, 1.0)
    upper = jnp.log(spot / strike) / safe + 0.5 * safe
    price = spot * norm.cdf(upper) - strike * norm.cdf(upper - safe)
    return jnp.where(deviation > 0, price, jnp.maximum(spot - strike, 0.0))


def _implied(price: Any, spot: Any, strike: Any, maturity: Any) -> Any:
    """Newton's method on the price less what exercise gives, kept between two bounds by halving."""
    least, rounding = jnp.maximum(spot - strike, 0.0), 4 * jnp.finfo(price.dtype).eps * spot
    possible = (price > least + rounding) & (price < spot - rounding)
    target = jnp.where(possible, price, _black_scholes(spot, strike, jnp.ones_like(spot)))
    low, high = jnp.zeros_like(target), jnp.full_like(target, 64.0)  # at which every call costs the stock
    guess = jnp.sqrt(2 * jnp.abs(jnp.log(spot / strike)))  # where the price is steepest: from there Newton cannot miss
    x = jnp.where(guess > 0, guess, 1.0)

    def closer(_: Any, state: Any) -> Any:
        x, low, high = state
        upper = jnp.log(spot / strike) / x + 0.5 * x
        gap, steepness = _black_scholes(spot, strike, x) - target, spot * norm.pdf(upper)
        low, high = jnp.where(gap < 0, x, low), jnp.where(gap > 0, x, high)
        trial = x - gap / jnp.where(steepness > 0, steepness, 1.0)
        inside = (steepness > 0) & (trial > low) & (trial < high)
        return jnp.where(gap == 0, x, jnp.where(inside, trial, 0.5 * (low + high))), low, high

    x, _, _ = lax.fori_loop(0, _STEPS, closer, (x, low, high))
    return jnp.where(possible, x / jnp.sqrt(maturity), jnp.nan)
