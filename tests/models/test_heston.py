"""Heston's prices: published figures, independent integrals, parities, limits, and what is refused."""

import mpmath
import numpy as np
import pytest
from scipy.integrate import quad

import twosided as ts

Heston = ts.models.Heston
PRICING = Heston(3.0, 0.0225, 0.2, -0.5)
STRIKES, MATURITIES = (x.ravel() for x in np.meshgrid([8.0, 9, 10, 11, 12], [1.0, 1.5, 2, 3], indexing="ij"))
PUBLISHED = np.array(
    [
        (2.05972, 0.41672, 16.487),
        (1.21775, 0.91386, 15.524),
        (0.58602, 1.25236, 14.703),
        (0.21780, 1.05922, 14.042),
        (0.06128, 0.55920, 13.555),
    ]
)  # price, vega, implied volatility in points, of one year
HARD = [  # reversion, long-run variance, its volatility, correlation, variance now, maturity
    (1.5, 0.04, 1.0, -0.9, 0.04, 0.25),
    (0.5, 0.04, 1.0, -0.9, 0.04, 10.0),
    (1.5, 0.04, 0.5, -0.7, 0.01, 0.02),
    (2.0, 0.09, 0.3, 0.0, 0.3, 5.0),
    (1.0, 0.04, 2.0, -0.3, 0.02, 1.0),
    (1.5, 0.04, 0.7, 0.8, 0.04, 0.5),
]


@pytest.fixture(scope="module")
def prices():
    return PRICING.call(10.0, STRIKES, MATURITIES, 0.0225)


def test_prices_vegas_and_implied_volatilities_are_the_published_ones(prices):
    vegas = PRICING.vega(10.0, STRIKES, MATURITIES, 0.0225)
    volatilities = ts.models.implied_volatility(prices, 10.0, STRIKES, MATURITIES)
    np.testing.assert_allclose(prices[::4], PUBLISHED[:, 0], atol=0.5e-5)
    np.testing.assert_allclose(vegas[::4], PUBLISHED[:, 1], atol=0.5e-5)
    np.testing.assert_allclose(100 * volatilities[::4], PUBLISHED[:, 2], atol=0.5e-3)


def characteristic(u, t, kappa, theta, xi, rho, nu):
    """`E e^{iu ln(S_t/S_0)}` as Heston wrote it, with the other root: right while its logarithm has not turned."""
    b = kappa - 1j * rho * xi * u
    d = np.sqrt(b * b + xi**2 * (u * u + 1j * u))
    g = (b - d) / (b + d)
    decay = np.exp(-d * t)
    first = kappa * theta / xi**2 * ((b - d) * t - 2 * np.log((1 - g * decay) / (1 - g)))
    return np.exp(first + (b - d) / xi**2 * (1 - decay) / (1 - g * decay) * nu)


@pytest.mark.parametrize("i", [0, 5, 11, 18])
def test_prices_are_those_of_the_two_probabilities(prices, i):
    """Heston's own formula `S P_1 - K P_2`, by adaptive quadrature on the real axis."""
    strike, t, law = STRIKES[i], MATURITIES[i], (3.0, 0.0225, 0.2, -0.5, 0.0225)

    def probability(shift):
        def integrand(u):
            phi = characteristic(u - 1j * shift, t, *law)
            return np.real(np.exp(-1j * u * np.log(strike / 10.0)) * phi / (1j * u))

        return 0.5 + quad(integrand, 1e-12, 200, epsabs=1e-13, epsrel=1e-13, limit=500)[0] / np.pi

    assert prices[i] == pytest.approx(10 * probability(1) - strike * probability(0), abs=1e-9)


def test_a_call_is_the_dual_put(prices):
    """With the stock as the money, the right to buy it is the right to sell money: another Heston model's put.

    Reversion `kappa - rho xi`, the same `kappa theta`, correlation `-rho`: parity is tied to the call's own formula.
    """
    reversion = 3.0 + 0.5 * 0.2
    dual = Heston(reversion, 3.0 * 0.0225 / reversion, 0.2, 0.5)
    puts = (
        STRIKES / 10 * dual.put(10.0, 100 / STRIKES, MATURITIES, 0.0225)
    )  # at a spot of the strike, struck at the spot
    np.testing.assert_allclose(puts, prices, atol=1e-14)


def test_prices_fall_in_the_strike_rise_in_the_maturity_and_are_convex(prices):
    table = prices.reshape(5, 4)
    assert np.all(np.diff(table, axis=0) < 0)
    assert np.all(np.diff(table, axis=1) > 0)
    assert np.all(np.diff(table, n=2, axis=0) > 0)


def test_without_volatility_of_variance_it_is_black_and_scholes():
    """The variance is then a function of time, and its mean over the life is all that counts."""
    law = Heston(2.0, 0.04, 0.0, 0.7)
    mean = 0.04 + (0.01 - 0.04) * -np.expm1(-2.0 * MATURITIES) / (2.0 * MATURITIES)
    expected = ts.models.black_scholes_call(10.0, STRIKES, MATURITIES, np.sqrt(mean))
    np.testing.assert_allclose(law.call(10.0, STRIKES, MATURITIES, 0.01), expected, atol=1e-13)
    near = Heston(2.0, 0.04, 1e-7, 0.7).call(10.0, STRIKES, MATURITIES, 0.01)
    np.testing.assert_allclose(near, expected, atol=1e-7)


def test_vega_is_the_slope_of_the_price(prices):
    vegas, h = PRICING.vega(10.0, STRIKES, MATURITIES, 0.0225), 1e-5
    up, down = (PRICING.call(10.0, STRIKES, MATURITIES, (0.15 + s * h) ** 2) for s in (1, -1))
    np.testing.assert_allclose((up - down) / (2 * h), vegas, rtol=1e-8)


@pytest.mark.slow
def test_delta_is_the_slope_of_the_price_and_lies_between_none_and_one():
    deltas, h = PRICING.delta(10.0, STRIKES, MATURITIES, 0.0225), 1e-4
    up, down = (PRICING.call(10.0 + s * h, STRIKES, MATURITIES, 0.0225) for s in (1, -1))
    np.testing.assert_allclose((up - down) / (2 * h), deltas, rtol=1e-7)
    assert np.all((deltas > 0) & (deltas < 1))


def test_implied_volatility_undoes_black_and_scholes_and_is_nan_where_nothing_can():
    volatility = np.geomspace(0.01, 4.0, 20)
    strikes = 10 * np.exp(np.linspace(-2.0, 2.0, 20) * volatility)
    price = ts.models.black_scholes_call(10.0, strikes, 1.0, volatility)
    np.testing.assert_allclose(ts.models.implied_volatility(price, 10.0, strikes, 1.0), volatility, rtol=1e-9)
    impossible = np.where(np.arange(20) % 2, 10.0, np.maximum(10.0 - strikes, 0.0))
    assert np.all(np.isnan(ts.models.implied_volatility(impossible, 10.0, strikes, 1.0)))


@pytest.mark.slow
@pytest.mark.parametrize("law", HARD)
def test_hard_cases_agree_with_fifty_digits(law):
    """Lewis's integral along the real axis by mpmath, strikes up to three deviations out."""
    kappa, theta, xi, rho, nu, t = (mpmath.mpf(x) for x in law)
    mean = theta * t + (nu - theta) * (1 - mpmath.exp(-kappa * t)) / kappa
    for spread in (-3, 0, 2):
        strike = float(mpmath.exp(spread * mpmath.sqrt(mean)))
        with mpmath.workdps(30):

            def integrand(u, strike=strike):
                w = u - mpmath.mpf(0.5) * 1j
                b, square = kappa - 1j * rho * xi * w, w * w + 1j * w
                d = mpmath.sqrt(b * b + xi**2 * square)
                g, decay = (b - d) / (b + d), mpmath.exp(-d * t)
                first = kappa * theta / xi**2 * ((b - d) * t - 2 * mpmath.log((1 - g * decay) / (1 - g)))
                phi = mpmath.exp(first + (b - d) / xi**2 * (1 - decay) / (1 - g * decay) * nu)
                return mpmath.re(mpmath.exp(-1j * u * mpmath.log(strike)) * phi) / (u * u + 0.25)

            scale = 1 / mpmath.sqrt(mean)
            cuts = [0, *(scale * 2**k for k in range(-1, 12)), mpmath.inf]
            exact = 1 - mpmath.sqrt(strike) / mpmath.pi * mpmath.quad(integrand, cuts)
        model = Heston(*(float(x) for x in law[:4]))
        assert float(model.call(1.0, strike, law[5], law[4])) == pytest.approx(float(exact), abs=1e-13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reversion": 0.0}, "reversion must be positive"),
        ({"long_run_variance": -0.1}, "long_run_variance must be positive"),
        ({"volatility_of_variance": -0.2}, "volatility_of_variance must be finite and not negative"),
        ({"correlation": 1.2}, "correlation must lie strictly between -1 and 1"),
        ({"correlation": float("nan")}, "correlation must be finite"),
    ],
)
def test_impossible_laws_are_refused_by_name(change, message):
    given = {"reversion": 3.0, "long_run_variance": 0.0225, "volatility_of_variance": 0.2, "correlation": -0.5}
    with pytest.raises(ValueError, match=message):
        Heston(**(given | change))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10.0, 10.0, 1.0, -0.01), "call: variance must be finite and not negative"),
        ((10.0, 10.0, 0.0, 0.01), "call: maturity must be positive"),
        ((0.0, 10.0, 1.0, 0.01), "call: spot must be positive"),
    ],
)
def test_impossible_options_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        PRICING.call(*arguments)


def test_far_from_the_money_nothing_overflows():
    """Where moneyness and the variance's own skew turn the integrand to opposite sides; by tails that are normal."""
    law, t, variance = Heston(1.5, 0.03, 0.8, -0.6), 3.5446e-4, 0.0981666
    deviation = np.sqrt(variance * t)
    far = np.array([-30.0, -12.0, -9.28, 9.28, 12.0])
    price = law.call(9.8 * np.exp(far * deviation), 9.8, t, variance)
    np.testing.assert_allclose(price, np.maximum(9.8 * np.expm1(far * deviation), 0), atol=1e-9)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: ts.models.black_scholes_call(12.0, 10.0, 1.0, -0.2),
            "volatility must be finite and not negative, got",
        ),
        (lambda: ts.models.black_scholes_call(12.0, 10.0, 1.0, np.nan), "volatility must be finite and not negative"),
        (
            lambda: ts.models.black_scholes_call(12.0, 10.0, -1.0, 0.2),
            "maturity must be finite and not negative, got -1",
        ),
        (lambda: ts.models.black_scholes_call(-1.0, 10.0, 1.0, 0.2), "spot must be positive and finite, got -1"),
        (lambda: ts.models.implied_volatility(1.0, 10.0, 10.0, 0.0), "maturity must be positive and finite, got 0"),
    ],
)
def test_prices_of_nothing_are_refused_by_name(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()
