"""Prices and deltas of many options at many states: Heston's prices as Chebyshev polynomials near the state of now.

Over a horizon of hours the spot and the variance stay close, and prices are smooth in both and in time. A tensor of
Chebyshev polynomials in (time, log spot, variance) then gives all options at once by one matrix product, a thousand
times faster than the Fourier integral, and to an error that is measured, not assumed.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev

from ..models.options_book import OptionsBook

_DEGREES = (2, 7, 4)  # in time, log spot and variance
_DEVIATIONS = 7.0  # of log spot and of variance at the horizon, to either side
_PROBES = 24


class OptionSurface(eqx.Module):
    """`prices(t, log_spot, variance)`: prices and deltas, (paths, options), of states of shape (paths,).

    middle, reach: of the three coordinates' ranges. coefficients: (polynomials, options).
    error:         the largest error of a price at random states within the ranges, relative to the spot.
    """

    middle: Any
    reach: Any
    coefficients: Any
    error: float = eqx.field(static=True)

    def places(self, t: Any, log_spot: Any, variance: Any) -> tuple[Any, ...]:
        """The coordinates within the ranges, which are -1 to 1."""
        given = (t, log_spot, variance)
        return tuple((x - self.middle[i]) / self.reach[i] for i, x in enumerate(given))

    def prices(self, t: Any, log_spot: Any, variance: Any) -> tuple[Any, Any]:
        places = self.places(t, log_spot, variance)
        time, spot, law = (_polynomials(place, degree)[0] for place, degree in zip(places, _DEGREES, strict=True))
        slope = _polynomials(places[1], _DEGREES[1])[1] / self.reach[1]
        around = time[:, :, None, None] * law[:, None, None, :]
        price, by_log = (
            (around * part[:, None, :, None]).reshape(part.shape[0], -1) @ self.coefficients for part in (spot, slope)
        )
        return price, by_log / jnp.exp(log_spot)[:, None]


def option_surface(book: OptionsBook, variance: float) -> OptionSurface:
    """Fit the book's options for paths that start at `variance`; the spot starts at the book's own."""
    horizon, law = float(book.horizon), book.physical
    largest = max(variance, float(law.long_run_variance))
    reach_variance = _DEVIATIONS * float(law.volatility_of_variance) * np.sqrt(largest * horizon)
    reach_variance += abs(float(law.drift(variance))) * horizon + 1e-3 * variance
    high = variance + reach_variance
    low = max(variance - reach_variance, 1e-3 * variance)
    spot = np.log(float(book.spot))
    middle = np.array([0.5 * horizon, spot, 0.5 * (low + high)])
    reach = np.array([0.5 * horizon, _DEVIATIONS * np.sqrt(high * horizon), 0.5 * (high - low)])
    grid = np.meshgrid(*(_points(degree) for degree in _DEGREES), indexing="ij")
    values = _direct(book, *(m + r * x.ravel() for m, r, x in zip(middle, reach, grid, strict=True)))
    inverses = [np.linalg.inv(chebyshev.chebvander(_points(degree), degree)) for degree in _DEGREES]
    tensor = values.reshape(*(degree + 1 for degree in _DEGREES), -1)
    coefficients = np.einsum("ai,bj,ck,ijko->abco", *inverses, tensor)
    probes = np.random.default_rng(0).uniform(-1, 1, (3, _PROBES))
    exact = _direct(book, *(middle[:, None] + reach[:, None] * probes))
    fitted = np.einsum(
        "pa,pb,pc,abco->po", *(chebyshev.chebvander(x, d) for x, d in zip(probes, _DEGREES, strict=True)), coefficients
    )
    error = float(np.max(np.abs(fitted - exact))) / float(book.spot)
    return OptionSurface(middle, reach, coefficients.reshape(-1, values.shape[-1]), error)


def _direct(book: OptionsBook, t: np.ndarray, log_spot: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Prices (states, options) by the Fourier integral."""
    left = book.maturities - t[:, None]
    return np.asarray(book.pricing.call(np.exp(log_spot)[:, None], book.strikes[None], left, variance[:, None]))


def _points(degree: int) -> np.ndarray:
    return -np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))


def _polynomials(x: Any, degree: int) -> tuple[Any, Any]:
    """Chebyshev polynomials up to `degree` and their derivatives, (paths, degree + 1)."""
    values, slopes = [jnp.ones_like(x), x], [jnp.zeros_like(x), jnp.ones_like(x)]
    for _ in range(2, degree + 1):
        values.append(2 * x * values[-1] - values[-2])
        slopes.append(2 * values[-2] + 2 * x * slopes[-1] - slopes[-2])
    return jnp.stack(values, axis=-1), jnp.stack(slopes, axis=-1)
