"""The helper that judges statistical agreement: it passes what is sound, and it can fail."""

import numpy as np
import pytest
from scipy.stats import norm

from twosided.validation import statistics
from twosided.validation.statistics import Disagreement, agree, critical_value, exceed, plausible

SAMPLES = 10_000


def sample(shift: float = 0.0, seed: int = 0) -> tuple[float, float]:
    """Mean and standard error of a normal sample with mean 1."""
    draws = np.random.default_rng(seed).normal(1.0 + shift, 2.0, SAMPLES)
    return float(np.mean(draws)), float(np.std(draws, ddof=1) / np.sqrt(SAMPLES))


def test_a_sound_estimate_agrees_and_its_z_score_is_returned():
    estimate, error = sample()
    z = agree(estimate, 1.0, error, samples=SAMPLES)
    assert z == pytest.approx((estimate - 1.0) / error)


def test_a_shifted_estimate_disagrees_in_either_direction():
    for shift in (-0.2, 0.2):  # ten standard errors
        estimate, error = sample(shift)
        with pytest.raises(Disagreement, match=r"1 of 1 estimates disagree"):
            agree(estimate, 1.0, error, samples=SAMPLES)


def test_the_worst_of_several_estimates_is_named():
    with pytest.raises(Disagreement, match=r"1 of 3 .* \(entry 1\) is 2 against 1: \+10\.0 standard errors"):
        agree([1.0, 2.0, 1.1], 1.0, 0.1, samples=SAMPLES)


def test_nan_disagrees():
    with pytest.raises(Disagreement):
        agree(np.nan, 1.0, 0.1, samples=SAMPLES)


def test_a_tolerance_forgives_as_much_and_no_more():
    assert agree(1.05, 1.0, 0.001, samples=SAMPLES, tolerance=0.05) == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(Disagreement):
        agree(1.06, 1.0, 0.001, samples=SAMPLES, tolerance=0.05)


@pytest.mark.parametrize("error", [0.0, np.nan, np.inf, -1.0])
def test_a_comparison_that_could_not_fail_is_refused(error):
    with pytest.raises(ValueError, match="standard errors must be positive and finite"):
        agree(1.0, 1.0, error, samples=SAMPLES)


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="50 samples are too few"):
        agree(1.0, 1.0, 0.1, samples=50)
    with pytest.raises(ValueError, match="50 samples are too few"):
        exceed(np.arange(50.0), np.zeros(50))


def test_the_family_fails_as_often_as_it_says():
    # All comparisons of a family of sound ones pass with probability 1 - level.
    level, size = 0.05, 40
    each = 2 * norm.sf(critical_value(level, size))
    assert (1 - each) ** size == pytest.approx(1 - level, rel=1e-12)
    z = np.random.default_rng(1).normal(size=(20_000, size))
    failed = np.mean(np.any(np.abs(z) > critical_value(level, size), axis=1))
    assert failed == pytest.approx(level, abs=5 * np.sqrt(level / 20_000))


def test_the_suite_declares_a_level_that_no_seed_need_be_hunted_for():
    assert statistics.FAMILY_LEVEL <= 1e-3
    assert 4 < critical_value() < 6


def test_pairs_show_a_difference_that_two_separate_samples_hide():
    common = np.random.default_rng(2).normal(0, 10.0, SAMPLES)
    noise = np.random.default_rng(3).normal(0, 0.1, SAMPLES)
    assert exceed(common + noise + 0.02, common) > 10
    with pytest.raises(Disagreement):  # the same means, unpaired
        exceed(common + noise + 0.02, np.roll(common, 1))
    with pytest.raises(Disagreement):  # the wrong way round
        exceed(common, common + noise + 0.02)


def test_small_p_values_are_implausible():
    plausible([0.5, 1e-5])
    with pytest.raises(Disagreement):
        plausible([0.5, 1e-12])
    with pytest.raises(Disagreement):
        plausible(np.nan)
