"""Predicted beside observed: each kind of error shows where it should, and only there."""

import math

import numpy as np
import pytest
from scipy import stats

from twosided.validation.empirical import HC3, Panel, compare_quotes

ROWS = 200


def panel_of(predicted, observed, units=("cents", "cents")):
    columns = {"predicted_spread": predicted, "spread": observed}
    rows = len(observed)
    return Panel(
        "drawn", np.full(rows, "X"), np.arange(float(rows)), "day", columns, dict(zip(columns, units, strict=True))
    )


def drawn(seed=0):
    rng = np.random.default_rng([6, seed])
    truth = 20 + 3 * rng.standard_normal(ROWS)
    return rng, truth


def test_the_shares_of_the_error_add_up_to_one_and_to_the_error():
    rng, truth = drawn()
    predicted, observed = 5 + 1.7 * truth + rng.standard_normal(ROWS), truth + 2 * rng.standard_normal(ROWS)
    found = compare_quotes(panel_of(predicted, observed), "spread", "predicted_spread")
    assert sum(found.shares.values()) == pytest.approx(1, abs=1e-12)
    assert found.rmse == pytest.approx(np.sqrt(np.mean((predicted - observed) ** 2)))
    assert found.bias == pytest.approx(np.mean(predicted - observed))
    assert found.shares["bias"] == pytest.approx(found.bias**2 / found.rmse**2)
    r = np.corrcoef(predicted, observed)[0, 1]
    assert found.correlation == pytest.approx(r)
    assert found.shares["rest"] == pytest.approx((1 - r**2) * np.var(observed) / found.rmse**2)
    assert found.deviation == pytest.approx(np.std(observed))


@pytest.mark.parametrize(
    ("make", "part", "sign"),
    [
        (lambda truth, noise: truth + 4, "bias", +1),
        (lambda truth, noise: truth - 4, "bias", -1),
        (lambda truth, noise: truth.mean() + 3 * (truth - truth.mean()), "scale", 0),
    ],
)
def test_a_shift_and_a_wrong_scale_show_as_what_they_are(make, part, sign):
    rng, truth = drawn()
    found = compare_quotes(panel_of(make(truth, rng), truth), "spread", "predicted_spread", HC3())
    assert found.shares[part] == pytest.approx(1, abs=1e-9)
    assert np.sign(round(found.bias, 9)) == sign
    assert found.correlation == pytest.approx(1)


def test_a_right_prediction_is_rarely_rejected_and_a_shifted_or_stretched_one_is():
    rejected = {"right": 0, "shifted": 0, "stretched": 0}
    for seed in range(100):
        rng, truth = drawn(seed)
        observed = truth + rng.standard_normal(ROWS)
        for name, predicted in (("right", truth), ("shifted", truth + 0.5), ("stretched", 20 + 1.3 * (truth - 20))):
            rejected[name] += compare_quotes(panel_of(predicted, observed), "spread", "predicted_spread").p_value < 0.05
    assert stats.binom.sf(rejected["right"] - 1, 100, 0.08) > 1e-4
    assert rejected["shifted"] > 90
    assert rejected["stretched"] > 90


def test_a_prediction_that_never_changes_has_a_bias_but_no_line():
    _, truth = drawn()
    found = compare_quotes(panel_of(np.full(ROWS, 18.0), truth), "spread", "predicted_spread")
    assert (found.slope, found.intercept) == (None, None)
    assert math.isnan(found.correlation)
    assert math.isnan(found.p_value)
    assert found.bias == pytest.approx(18 - truth.mean())
    assert found.shares["rest"] == pytest.approx(np.var(truth) / found.rmse**2)
    assert sum(found.shares.values()) == pytest.approx(1)


def test_rows_in_which_the_model_does_not_quote_are_left_out():
    rng, truth = drawn()
    predicted = truth + rng.standard_normal(ROWS)
    fewer = np.where(np.arange(ROWS) < 5, np.nan, predicted)
    found = compare_quotes(panel_of(fewer, truth), "spread", "predicted_spread")
    assert found.rows == ROWS - 5
    assert found.bias == pytest.approx(np.mean((predicted - truth)[5:]))


@pytest.mark.parametrize(
    ("predicted", "observed", "units", "message"),
    [
        (np.arange(3.0), np.arange(3.0), ("cents", "cents"), "3 rows have both spread and predicted_spread"),
        (np.arange(9.0), np.full(9, 2.0), ("cents", "cents"), r"spread is constant \(2 cents\) in all 9 rows"),
        (np.arange(9.0), np.arange(9.0), ("cents", "dollars"), "predicted_spread is in cents and spread in dollars"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_number(predicted, observed, units, message):
    with pytest.raises(ValueError, match=message):
        compare_quotes(panel_of(predicted, observed, units), "spread", "predicted_spread")
