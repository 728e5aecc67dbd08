"""Hawkes processes: exact simulation, the likelihood, and what fits of simulated events find again."""

import warnings
from itertools import pairwise

import jax
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import chi2, kstest

from twosided.validation import read_messages
from twosided.validation.order_flow import Hawkes, fit_hawkes, log_likelihood, residuals
from twosided.validation.statistics import agree, plausible

BACRY = Hawkes([0.016, 0.016], [[0.0, 0.023], [0.023, 0.0]], 0.11)
"""Bacry, Delattre, Hoffmann and Muzy (2013), per second: moves up and moves down that excite only each other."""
LOPSIDED = Hawkes([0.4, 0.7], [[0.5, 0.9], [0.2, 1.1]], 2.5)
TWO_SPEEDS = Hawkes([0.3, 0.5], [[[0.2, 1.0], [0.1, 3.0]], [[0.05, 0.0], [0.3, 2.0]]], [0.8, 9.0])


def rate(hawkes: Hawkes, t: float, times: np.ndarray, components: np.ndarray) -> np.ndarray:
    """`lambda_i(t)` from every earlier event, as the equation has it."""
    rates = hawkes.baseline.copy()
    for when, which in zip(times[times < t], components[times < t], strict=True):
        rates += (hawkes.jumps[:, which] * np.exp(-hawkes.decays * (t - when))).sum(axis=-1)
    return rates


@pytest.mark.parametrize("hawkes", [BACRY, LOPSIDED, TWO_SPEEDS])
def test_the_likelihood_is_the_direct_sum_over_all_pairs(hawkes):
    horizon = 40 / hawkes.mean_rate.sum()
    times, components = hawkes.simulate(horizon, seed=3).of(0)
    ends = [0.0, *times, horizon]
    expected = sum(
        quad(lambda t: rate(hawkes, t, times, components).sum(), a, b, epsabs=1e-11)[0] for a, b in pairwise(ends)
    )
    logs = [np.log(rate(hawkes, t, times, components)[c]) for t, c in zip(times, components, strict=True)]
    assert len(times) > 20
    assert log_likelihood(hawkes, times, components, horizon) == pytest.approx(sum(logs) - expected, rel=1e-9)


def test_the_likelihood_has_the_derivatives_of_its_differences():
    times, components = TWO_SPEEDS.simulate(30.0, seed=5).of(0)

    def of_scale(scale: float) -> float:
        law = Hawkes(TWO_SPEEDS.baseline * scale, TWO_SPEEDS.jumps / scale, TWO_SPEEDS.decays * scale)
        return log_likelihood(law, times, components, 30.0)

    with jax.enable_x64(True):
        slope = jax.jit(jax.grad(of_scale))(1.1)
    assert float(slope) == pytest.approx((of_scale(1.1001) - of_scale(1.0999)) / 0.0002, rel=1e-6)


def test_events_come_at_the_mean_rate_and_with_the_signature_of_bacry():
    """`C(tau) = E (X(t + tau) - X(t))^2 / tau` for the price X = ups - downs; Bacry et al. (2013, proposition 3.1)."""
    paths, horizon = 3000, 480.0
    points = BACRY.simulate(horizon, paths, seed=2013, warm_up=150.0)
    rates = np.bincount(points.path, minlength=paths) / horizon
    agree(rates.mean(), 0.04045977, rates.std() / paths**0.5, samples=paths, tolerance=5e-9)

    jumps, decay = 0.023, 0.11
    kappa, gamma = 1 / (1 + jumps / decay), jumps + decay
    for tau, figure in ((1, 0.03964613), (10, 0.0347458), (60, 0.02927755)):
        shrink = (1 - np.exp(-gamma * tau)) / (gamma * tau)
        assert BACRY.mean_rate.sum() * (kappa**2 + (1 - kappa**2) * shrink) == pytest.approx(figure, abs=6e-9)
        cells = int(horizon / tau)
        moves = np.zeros((paths, cells))
        np.add.at(moves, (points.path, (points.time / tau).astype(int).clip(max=cells - 1)), 1 - 2 * points.component)
        signature = (moves**2).mean(axis=1) / tau
        agree(signature.mean(), figure, signature.std() / paths**0.5, samples=paths, tolerance=5e-9)


@pytest.mark.parametrize("hawkes", [LOPSIDED, TWO_SPEEDS])
def test_each_component_has_its_mean_rate(hawkes):
    paths = 2000
    points = hawkes.simulate(20.0, paths, seed=7, warm_up=30.0)
    counts = np.stack([np.bincount(points.path[points.component == i], minlength=paths) for i in range(2)], axis=1)
    agree(counts.mean(axis=0) / 20, hawkes.mean_rate, counts.std(axis=0) / 20 / paths**0.5, samples=paths)


@pytest.mark.parametrize("hawkes", [LOPSIDED, TWO_SPEEDS])
def test_simulated_events_are_unit_exponentials_on_their_own_clock(hawkes):
    horizon = 3000.0
    times, components = hawkes.simulate(horizon, seed=11).of(0)
    for each in residuals(hawkes, times, components, horizon):
        assert len(each) > 2000
        plausible(kstest(each, "expon").pvalue)
        agree(np.corrcoef(each[1:], each[:-1])[0, 1], 0.0, len(each) ** -0.5, samples=len(each))
    other = Hawkes(hawkes.mean_rate * 0.8, hawkes.jumps * 0.2, hawkes.decays)
    with pytest.raises(AssertionError):
        plausible([kstest(e, "expon").pvalue for e in residuals(other, times, components, horizon)])


@pytest.mark.slow
def test_a_fit_finds_the_parameters_within_their_errors():
    horizon, statistics = 500.0, []
    points = LOPSIDED.simulate(horizon, 16, seed=21)
    truth = np.concatenate([LOPSIDED.baseline, LOPSIDED.jumps.ravel(), LOPSIDED.decays])
    z = []
    for path in range(16):
        times, components = points.of(path)
        fit = fit_hawkes(times, components, horizon)
        assert fit.converged
        assert fit.events == len(times)
        found = np.concatenate([fit.hawkes.baseline, fit.hawkes.jumps.ravel(), fit.hawkes.decays])
        errors = np.concatenate([fit.errors.baseline, fit.errors.jumps.ravel(), fit.errors.decays])
        np.testing.assert_allclose(errors, np.sqrt(np.diag(fit.covariance)))
        z.append(agree(found, truth, errors, samples=fit.events))
        assert fit.log_likelihood == pytest.approx(log_likelihood(fit.hawkes, times, components, horizon))
        statistics.append(2 * (fit.log_likelihood - log_likelihood(LOPSIDED, times, components, horizon)))
    # By Wilks's theorem each gain over the truth is chi-square with as many degrees as there are parameters.
    total, degrees = sum(statistics), len(truth) * len(statistics)
    plausible([chi2.sf(total, degrees), chi2.cdf(total, degrees)])
    spread = np.sum(np.square(z))
    assert 0.5 < spread / degrees < 2  # the errors are neither half nor twice what they should be


@pytest.mark.parametrize("kind", ["a rising rate", "events twice each"])
def test_a_fit_without_a_top_ends_unconverged(kind):
    rng = np.random.default_rng(4)
    if kind == "a rising rate":
        times = np.sort(50 - rng.exponential(3.0, 600))
    else:
        times = np.repeat(np.sort(rng.uniform(0, 500, 400)), 2)
    times = times[times > 0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = fit_hawkes(times, np.zeros(times.size, int), 500.0 if kind == "events twice each" else 50.0)
    assert not fit.converged
    assert np.isfinite(fit.log_likelihood)
    assert fit.hawkes.branching < 1
    if kind == "a rising rate":
        assert fit.hawkes.branching == pytest.approx(0.999)
        assert np.all(np.isnan(fit.errors.baseline))


def test_a_fit_holds_at_zero_what_is_said_not_to_excite():
    horizon = 40_000.0
    fit = fit_hawkes(*BACRY.simulate(horizon, seed=9).of(0), horizon, excites=[[False, True], [True, False]])
    assert fit.converged
    np.testing.assert_array_equal(np.diagonal(fit.hawkes.jumps[:, :, 0]), 0)
    np.testing.assert_array_equal(np.diagonal(fit.errors.jumps[:, :, 0]), 0)
    agree(fit.hawkes.baseline, BACRY.baseline, fit.errors.baseline, samples=fit.events)
    agree(fit.hawkes.jumps[[0, 1], [1, 0], 0], 0.023, fit.errors.jumps[[0, 1], [1, 0], 0], samples=fit.events)
    agree(fit.hawkes.decays, BACRY.decays, fit.errors.decays, samples=fit.events)


def test_events_of_a_path_do_not_depend_on_the_others_or_the_horizon():
    many, few = LOPSIDED.simulate(30.0, 5, seed=1), LOPSIDED.simulate(12.0, 2, seed=1)
    for path in range(2):
        times, components = many.of(path)
        early = times <= 12.0
        np.testing.assert_array_equal(times[early], few.of(path)[0])
        np.testing.assert_array_equal(components[early], few.of(path)[1])
    assert not np.array_equal(few.of(0)[0][:5], few.of(1)[0][:5])


def test_a_process_that_runs_away_is_refused():
    with pytest.raises(
        ValueError, match=r"branching ratio must be below 1 .* got 1.2; lower the jumps or raise the dec"
    ):
        Hawkes([1.0, 1.0], [[0.0, 2.4], [0.6, 0.0]], 1.0)
    assert Hawkes([1.0, 1.0], [[0.0, 2.4], [0.4, 0.0]], 1.0).branching == pytest.approx(0.96**0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [[0.5, 0.1]], 1.0), r"must be \(m,\), \(m, m, K\) and \(K,\)"),
        (([-1.0], [[0.5]], 1.0), "baseline must be finite and not negative"),
        (([0.0], [[0.5]], 1.0), "nothing would ever happen"),
        (([1.0], [[-0.5]], 1.0), "jumps must be finite and not negative"),
        (([1.0], [[0.5]], 0.0), "decays must be positive"),
    ],
)
def test_parameters_that_are_none_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Hawkes(*arguments)


@pytest.mark.parametrize(
    ("times", "components", "message"),
    [
        ([1.0, 0.5], [0, 0], "increase"),
        ([1.0, 9.0], [0, 0], "increase"),
        ([1.0, 2.0], [0], "one length"),
        ([1.0, 2.0], [0.0, 0.0], "one length"),
        ([1.0, 2.0], [0, 1], r"needs 10 events of every component, got \[1 1\]"),
        ([], [], "needs 10"),
    ],
)
def test_events_that_make_no_record_are_refused(times, components, message):
    with pytest.raises(ValueError, match=message):
        fit_hawkes(np.array(times), np.array(components), 5.0)
    with pytest.raises(ValueError, match="components must lie"):
        log_likelihood(BACRY, np.array([1.0]), np.array([2]), 5.0)


@pytest.mark.parametrize("options", [{"horizon": -1.0}, {"warm_up": -1.0}, {"paths": 0}, {"seed": -1}])
def test_a_simulation_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        BACRY.simulate(**{"horizon": 1.0, "seed": 1, **options})


def test_the_market_orders_of_a_real_stock_excite_one_another_at_two_speeds(real_data):
    """Two hours of Google's stock, fitted elsewhere before: the same record, so far closer than the standard errors."""
    record = read_messages(real_data("LOBSTER_SampleFile_GOOG_2012-06-21_10.zip"))
    opened, closed = 11 * 3600, 13 * 3600
    times = np.asarray(record.market_orders.time)
    times = times[(times > opened) & (times <= closed)] - opened
    fit = fit_hawkes(times, np.zeros(times.size, int), float(closed - opened), speeds=2)
    assert fit.converged
    (jumps,), (errors,) = fit.hawkes.jumps[0], fit.errors.jumps[0]
    found = np.array([*fit.hawkes.baseline, *fit.hawkes.decays, *jumps / fit.hawkes.decays])
    known = np.array([0.0947, 71.8, 2990.0, 0.236, 0.296])
    scale = np.array([*fit.errors.baseline, *fit.errors.decays, *errors / fit.hawkes.decays])
    assert np.all(np.abs(found - known) < 0.15 * scale)
