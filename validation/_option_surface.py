"""Prices and deltas of many options at many states: Heston's prices as Chebyshev polynomials near the state of now.

What is hard to fit in a price, near maturity and where the variance is small, is Black and Scholes's at the mean
variance `V` over what is left of the option's life, and that is computed. What is random about the variance adds

    C - BS(V) = sqrt(S K V) P(s, r, x),    s = sqrt(nu),  r = sqrt(T - t),  x = m/sqrt(c^2 + m^2),  m = ln(S/K)/sqrt(V),

with a smooth `P`: a tensor of Chebyshev polynomials for every option, a thousand times faster than the Fourier
integral. Degrees rise until the error, measured at states of its own, is below a tolerance; or else it is told.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from numpy.polynomial import chebyshev

from ..models.heston import Heston, black_scholes_call
from ..models.options_book import OptionsBook

ALLOWED = 1e-3
"""Largest error of a price, relative to what the variance moves the option of the largest vega by over the horizon."""

_DEGREES = ((4, 2, 7), (8, 3, 12), (14, 5, 20), (24, 7, 32))  # in s, r and x, tried in turn
_DEVIATIONS = 7.0  # of log spot and of s at the horizon, to either side
_WIDTH, _FARTHEST = 3.0, 12.0  # `c`, and the largest `m`: beyond it nothing is left of the difference
_PROBES = 1024


class OptionSurface(eqx.Module):
    """`prices(t, log_spot, variance)`: prices and deltas, (paths, options), of states of shape (paths,).

    low, high:     of the three coordinates, (3, options). coefficients: of `P`, (s, r, x, options).
    log_spots, most: the range of the spot's logarithm and the largest variance that it was prepared for.
    error:         the largest error of a price at random states within reach, relative to the spot.
    """

    pricing: Heston
    strikes: Any
    maturities: Any
    low: Any
    high: Any
    coefficients: Any
    log_spots: Any
    most: Any
    error: Any

    def outside(self, log_spot: Any, variance: Any) -> Any:
        """Whether a state lies beyond what was prepared for."""
        return (log_spot < self.log_spots[0]) | (log_spot > self.log_spots[1]) | (variance > self.most)

    def prices(self, t: Any, log_spot: Any, variance: Any) -> tuple[Any, Any]:
        at = _place(self, t, log_spot, variance)
        low, high = jnp.asarray(self.low)[:, None], jnp.asarray(self.high)[:, None]
        s, r, x = (
            jnp.clip((2 * part - high[i] - low[i]) / (high[i] - low[i]), -1.0, 1.0)
            for i, part in enumerate((at.s, at.r, at.x))
        )
        shape = self.coefficients.shape
        law, time = _polynomials(s[:, 0], shape[0] - 1)[0], _polynomials(r, shape[1] - 1)[0]
        money, slopes = _polynomials(x, shape[2] - 1)
        part = (law @ self.coefficients.reshape(shape[0], -1)).reshape(-1, *shape[1:])
        part = jnp.einsum("prxo,por->pox", part, time)
        strikes, spot = self.strikes[None], jnp.exp(log_spot)[:, None]
        scale = jnp.sqrt(spot * strikes) * at.deviation
        rest = scale * jnp.sum(part * money, axis=-1)
        stretched = 2 / (high[2] - low[2]) * _WIDTH**2 / (_WIDTH**2 + at.m**2) ** 1.5
        by_m = stretched * jnp.sum(part * slopes, axis=-1)
        upper = at.m + 0.5 * at.deviation
        price = spot * norm.cdf(upper) - strikes * norm.cdf(upper - at.deviation) + rest
        return price, norm.cdf(upper) + (0.5 * rest + scale / at.deviation * by_m) / spot


class _Place(NamedTuple):
    """A state as every option sees it, (states, options)."""

    s: Any
    r: Any
    x: Any
    m: Any
    deviation: Any  # sqrt(V)


def _place(on: Any, t: Any, log_spot: Any, variance: Any) -> _Place:
    """`on` has `pricing`, `strikes` and `maturities`."""
    left, nu = on.maturities[None] - t[:, None], jnp.maximum(variance, 0.0)[:, None]
    deviation = jnp.sqrt(_mean_variance(on.pricing, left, nu))
    m = (log_spot[:, None] - jnp.log(on.strikes)[None]) / deviation
    s = jnp.sqrt(nu) + jnp.zeros_like(left)
    return _Place(s, jnp.sqrt(left), _compressed(m), m, deviation)


def _mean_variance(law: Heston, left: Any, nu: Any) -> Any:
    """`V`, over `left` years."""
    decayed = (np.expm1 if isinstance(left, np.ndarray) else jnp.expm1)(-law.reversion * left) / law.reversion
    return law.long_run_variance * left - (nu - law.long_run_variance) * decayed


def option_surface(book: OptionsBook, variance: float) -> OptionSurface:
    """Fit the book's options for paths that start at `variance`; the spot starts at the book's own.

    Raises `ValueError` where no degree makes the error small enough, with its size.
    """
    law, horizon, spot = book.physical, float(book.horizon), float(book.spot)
    moved = 0.5 * float(law.volatility_of_variance) * np.sqrt(horizon)  # s, over the horizon, by one deviation
    allowed = max(ALLOWED * moved * float(np.max(book.vegas)) / spot, 1e-9)
    drift = float(law.drift(variance)) * horizon
    least = max(np.sqrt(max(variance + min(drift, 0.0), 0.0)) - _DEVIATIONS * moved, 0.0) ** 2
    most = (np.sqrt(variance + max(drift, 0.0)) + _DEVIATIONS * moved + 1e-2 * np.sqrt(variance)) ** 2
    log_spots = np.log(spot) + _DEVIATIONS * np.sqrt(most * horizon) * np.array([-1.0, 1.0])
    surface = OptionSurface(
        book.pricing,
        book.strikes,
        book.maturities,
        *_ranges(book, log_spots, least, most),
        None,
        log_spots,
        most,
        np.inf,
    )
    probes = _probes(book, variance, least, most)
    with jax.enable_x64(True):
        for degrees in _DEGREES:
            surface = _fitted(surface, degrees, probes)
            if surface.error <= allowed:
                return surface
    raise ValueError(
        f"options would be revalued with errors up to {surface.error:.1g} of the spot, where {allowed:.1g} is allowed: "
        f"the first maturity, {np.min(book.maturities):g}, is too near the horizon, {horizon:g}; shorten the horizon "
        "or take revalue=False"
    )


def _ranges(book: OptionsBook, log_spots: np.ndarray, least: float, most: float) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest s, r and x of every option, (3, options)."""
    longest = np.asarray(book.maturities)
    shortest = longest - float(book.horizon)
    narrow = np.sqrt(_mean_variance(book.pricing, shortest, least))
    wide = np.sqrt(_mean_variance(book.pricing, longest, most))
    below, above = log_spots[:, None] - np.log(np.asarray(book.strikes))
    m = np.minimum(below / narrow, below / wide), np.maximum(above / narrow, above / wide)
    x = _compressed(np.clip(np.asarray(m), -_FARTHEST, _FARTHEST))
    one = np.ones_like(longest)
    low = np.stack([np.sqrt(least) * one, np.sqrt(shortest), x[0]])
    return low, np.stack([np.sqrt(most) * one, np.sqrt(longest), x[1]])


class _Probes(NamedTuple):
    """States within reach, with the exact prices there, (states, options)."""

    t: np.ndarray
    log_spot: np.ndarray
    variance: np.ndarray
    price: np.ndarray


def _probes(book: OptionsBook, variance: float, least: float, most: float) -> _Probes:
    """Log spots as far off as the larger of the two variances, of then and of the start, takes them."""
    one, two, three = np.random.default_rng(0).uniform(0, 1, (3, _PROBES))
    t, horizon = float(book.horizon) * one, float(book.horizon)
    nu = (np.sqrt(least) + (np.sqrt(most) - np.sqrt(least)) * two) ** 2
    far = _DEVIATIONS * np.sqrt(np.maximum(nu, variance) * horizon)
    log_spot = np.log(float(book.spot)) + far * (2 * three - 1)
    left = np.asarray(book.maturities) - t[:, None]
    price = book.pricing.call(np.exp(log_spot)[:, None], np.asarray(book.strikes), left, nu[:, None])
    return _Probes(t, log_spot, nu, np.asarray(price))


def _fitted(surface: OptionSurface, degrees: tuple[int, int, int], probes: _Probes) -> OptionSurface:
    """The surface of these `degrees`, with its error."""
    middle, reach = 0.5 * (surface.high + surface.low), 0.5 * (surface.high - surface.low)
    grid = np.meshgrid(*(_points(degree) for degree in degrees), indexing="ij")
    s, r, x = (m + h * part[..., None] for m, h, part in zip(middle, reach, grid, strict=True))
    deviation = np.sqrt(_mean_variance(surface.pricing, r**2, s**2))
    m, strikes = _WIDTH * x / np.sqrt(1 - x**2), np.asarray(surface.strikes)
    spot = strikes * np.exp(m * deviation)
    plain = black_scholes_call(spot, strikes, 1.0, deviation)
    more = surface.pricing.call(spot, strikes, r**2, s**2) - np.asarray(plain)
    inverses = [np.linalg.inv(chebyshev.chebvander(_points(degree), degree)) for degree in degrees]
    values = more / (np.sqrt(spot * strikes) * deviation)
    coefficients = np.einsum("ai,bj,ck,ijko->abco", *inverses, values, optimize=True)
    found = replace(surface, coefficients=coefficients)
    price, _ = _priced(found, probes.t, probes.log_spot, probes.variance)
    unit = np.exp(np.mean(surface.log_spots))
    return replace(found, error=float(np.max(np.abs(np.asarray(price) - probes.price)) / unit))


@eqx.filter_jit
def _priced(surface: OptionSurface, *state: Any) -> tuple[Any, Any]:
    return surface.prices(*state)


def _compressed(m: Any) -> Any:
    return m / (_WIDTH**2 + m**2) ** 0.5


def _points(degree: int) -> np.ndarray:
    return -np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))


def _polynomials(x: Any, degree: int) -> tuple[Any, Any]:
    """Chebyshev polynomials up to `degree` and their derivatives, on a last axis of degree + 1."""
    values, slopes = [jnp.ones_like(x), x], [jnp.zeros_like(x), jnp.ones_like(x)]
    for _ in range(2, degree + 1):
        values.append(2 * x * values[-1] - values[-2])
        slopes.append(2 * values[-2] + 2 * x * slopes[-1] - slopes[-2])
    return jnp.stack(values, axis=-1), jnp.stack(slopes, axis=-1)
