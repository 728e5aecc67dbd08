"""Calibration: each estimator against a truth it was not told, and its errors against repetition."""

import json
import math

import numpy as np
import pytest
from scipy import optimize, stats

import twosided as ts
from twosided.validation.calibration import Calibration, Reach, Virtual, calibrate
from twosided.validation.calibration._fills import (
    as_half_units,
    both_sides,
    curve,
    place_quotes,
    reach_evidence,
    virtual_evidence,
)
from twosided.validation.calibration._inference import Estimate, covariance_of_sum
from twosided.validation.calibration._likelihood import fit_intensity
from twosided.validation.calibration._volatility import drift, realised_volatility, two_scale_volatility
from twosided.validation.messages import BestQuotes, DataError, Messages, Prints, read_messages
from twosided.validation.synthetic import SyntheticMarket, sample_path

MID = 1_000_000  # in units of 1e-4 dollars
SCALE, DECAY = {"bid": 0.2, "ask": 0.35}, {"bid": 10.0, "ask": 14.0}
DISTANCES = np.arange(0.06, 0.45, 0.02)
NEAREST = 0.05  # dollars; prints nearer to the mid than that are left out
REPETITIONS = 200
RARELY = 1e-3  # level of a single statistical check here


def still_market(prints):
    """Messages with a mid that never moves, from columns time, price, side."""
    time, price, side = (np.concatenate(column) for column in zip(*prints, strict=True))
    order = np.argsort(time)
    quotes = BestQuotes(np.array([0.0]), np.array([MID - 500]), np.array([MID + 500]))
    found = Prints(time[order], price[order], np.ones(time.size), side[order])
    span = (0.0, float(np.ceil(time.max())))
    return Messages("drawn", "LOBSTER", 1e-4, quotes, found, span, span)


def side_of_prints(rng, side, seconds, depths, pace=None):
    """Poisson prints on one side at depths(rng, n); `pace` multiplies the rate in stretches of equal length."""
    name = "bid" if side < 0 else "ask"
    rate = SCALE[name] * math.exp(-DECAY[name] * NEAREST)
    pace = np.ones(1) if pace is None else pace
    counts = rng.poisson(rate * seconds / len(pace) * pace)
    time = np.repeat(np.arange(len(pace)), counts) + rng.uniform(size=counts.sum())
    price = MID + side * np.floor(1e4 * depths(rng, counts.sum(), DECAY[name]) + 1e-9).astype(np.int64)
    return time * seconds / len(pace), price, np.full(counts.sum(), side)


def exponential_depths(rng, n, decay):
    return NEAREST + rng.exponential(1 / decay, n)


def known(found):
    """What is there for this fit, though not for every one."""
    assert found is not None
    return found


def fits_of(messages, seconds, definition, pooled=True):
    session, distances = (0.0, float(seconds)), as_half_units(messages, DISTANCES)
    if isinstance(definition, Reach):
        sides = reach_evidence(messages, session, distances)
    else:
        placing = place_quotes(messages, session, definition.interval_seconds)
        sides = virtual_evidence(messages, placing, distances)
    return {name: fit_intensity(evidence, name) for name, evidence in (both_sides(sides) if pooled else sides).items()}


def poisson_market(seed, seconds=3_600, depths=exponential_depths, stretches=None):
    """A market whose fills follow A e^{-k d} exactly, or with `stretches` a pace common to both sides."""
    rng = np.random.default_rng([20_240_102, seed])
    pace = None if stretches is None else rng.gamma(1.0, 1.0, stretches)
    return still_market([side_of_prints(rng, side, seconds, depths, pace) for side in (-1, +1)])


@pytest.fixture(scope="module")
def repeated():
    """Fits of both definitions to many markets drawn from the same law."""
    markets = [poisson_market(seed) for seed in range(REPETITIONS)]
    return {d.name: [fits_of(market, 3_600, d, pooled=False) for market in markets] for d in (Reach(), Virtual(10.0))}


def estimates(repeated, definition, side):
    fits = [fit[side] for fit in repeated[definition]]
    yield SCALE[side], [f.scale_per_second for f in fits], [f.naive_scale_error for f in fits]
    yield DECAY[side], [f.decay_per_dollar for f in fits], [f.naive_decay_error for f in fits]


@pytest.mark.parametrize("definition", ["reach", "virtual10"])
@pytest.mark.parametrize("side", ["bid", "ask"])
def test_likelihood_recovers_scale_and_decay_of_each_side_and_its_intervals_cover(repeated, definition, side):
    for truth, found, _ in estimates(repeated, definition, side):
        values = np.array([estimate.value for estimate in found])
        mean_error = values.std(ddof=1) / math.sqrt(REPETITIONS)
        assert abs(values.mean() - truth) < 4 * mean_error + 0.01 * truth  # a bias of 1/n is a maximum likelihood's
        covered = sum(low <= truth <= high for low, high in (estimate.interval() for estimate in found))
        assert stats.binom.cdf(covered, REPETITIONS, 0.95) > RARELY
        stated = np.median([estimate.standard_error for estimate in found])
        assert 0.85 < stated / values.std(ddof=1) < 1.2  # the deviation of 200 draws is known to 5%


def test_errors_that_ignore_the_overlap_of_distances_are_too_small_for_virtual_quotes(repeated):
    for truth, found, naive in estimates(repeated, "virtual10", "ask"):
        pairs = zip(found, naive, strict=True)
        covered = sum(abs(estimate.value - truth) < 1.96 * error for estimate, error in pairs)
        assert covered < 0.8 * REPETITIONS


def test_tests_of_fit_reject_the_true_model_as_often_as_they_say(repeated):
    for name, fits in repeated.items():
        for side in ("bid", "ask"):
            tests = {"shape": [fit[side].shape_test for fit in fits]}
            if name == "reach":
                tests["depth"] = [fit[side].depth_test for fit in fits]
            else:
                tests["waiting"] = [fit[side].waiting_test for fit in fits]
            for found in tests.values():
                chances = [known(test).p_value for test in found]
                assert stats.binom.sf(sum(p < 0.05 for p in chances) - 1, REPETITIONS, 0.05) > RARELY
                assert stats.kstest(chances, "uniform").pvalue > RARELY


def test_tests_of_fit_see_a_demand_that_is_not_exponential():
    def linear(rng, n, decay):  # falls in a straight line to zero at .4 dollars
        return NEAREST + 0.35 * (1 - np.sqrt(rng.uniform(size=n)))

    market = poisson_market(0, 7_200, linear)
    for side in ("bid", "ask"):
        reach, virtual = (fits_of(market, 7_200, d)[side] for d in (Reach(), Virtual(10.0)))
        assert reach.shape_test.p_value < 0.01
        assert known(reach.depth_test).p_value < 0.01
        assert virtual.shape_test.p_value < 0.01


def test_the_waiting_test_sees_fills_that_come_late_in_a_quote_s_life():
    rng = np.random.default_rng(5)
    sides = []
    for side in (-1, +1):
        time, price, aggressor = side_of_prints(rng, side, 3_600, exponential_depths)
        late = (time % 10.0 >= 5.0) | (rng.uniform(size=time.size) < 0.5)
        sides.append((time[late], price[late], aggressor[late]))
    market = still_market(sides)
    fits = fits_of(market, 3_600, Virtual(10.0))
    assert known(fits["bid"].waiting_test).p_value < 0.01
    assert known(fits["ask"].waiting_test).p_value < 0.01


def test_errors_allow_for_orders_that_come_in_bursts():
    covered, naive = 0, 0
    for seed in range(100):
        fit = fits_of(poisson_market(1_000 + seed, 3_600, stretches=90), 3_600, Reach())["pooled"]
        # Pooled, the truth is the mean of two exponentials; its level at the nearest distance is what bursts move.
        truth = np.mean([SCALE[s] * math.exp(-DECAY[s] * DISTANCES[0]) for s in ("bid", "ask")])
        total = fit.curve.rate_per_second[0]
        relative = fit.scale_per_second.standard_error / fit.scale_per_second.value
        slope_part = DISTANCES[0] * fit.decay_per_dollar.standard_error
        cross = 2 * fit.correlation * relative * slope_part
        error = total * math.sqrt(relative**2 + slope_part**2 - cross)
        covered += abs(total - truth) < 2.0 * error
        naive += abs(total - truth) < 2.0 * total / math.sqrt(fit.curve.fills[0])
    assert stats.binom.cdf(covered, 100, 0.95) > RARELY
    assert naive < 80


def literal_waiting_likelihood(messages, seconds, side, interval=10.0):
    """Minus the log likelihood of censored waiting times, written from its definition, one quote at a time."""
    prints, waits = messages.prints, []
    for start in np.arange(0.0, seconds - interval, interval):
        for distance in DISTANCES:
            reached = side * (prints.price - MID) >= round(1e4 * distance)
            inside = (prints.time >= start) & (prints.time < start + interval) & (prints.side == side)
            hits = prints.time[reached & inside]
            waits.append((distance, hits[0] - start, 1) if hits.size else (distance, interval, 0))
    distance, wait, filled = np.array(waits).T

    def minus_log_likelihood(theta):
        rate = math.exp(theta[0]) * np.exp(-theta[1] * distance)
        return -np.where(
            filled, stats.expon.logpdf(wait, scale=1 / rate), stats.expon.logsf(wait, scale=1 / rate)
        ).sum()

    return minus_log_likelihood


@pytest.mark.parametrize(("name", "side"), [("bid", -1), ("ask", +1)])
def test_virtual_fit_maximises_the_literal_likelihood_of_censored_waiting_times(name, side):
    market = poisson_market(3, 900)
    fit = fits_of(market, 900, Virtual(10.0))[name]
    literal = literal_waiting_likelihood(market, 900, side)
    best = optimize.minimize(
        literal, [math.log(0.3), 12.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-9}
    )
    assert math.log(fit.scale_per_second.value) == pytest.approx(best.x[0], abs=1e-5)
    assert fit.decay_per_dollar.value == pytest.approx(best.x[1], rel=1e-5)
    step = 1e-3
    corners = [[literal(best.x + step * np.array([i, j])) for j in (-1, 0, 1)] for i in (-1, 0, 1)]
    level, slope = (
        (corners[2][1] - 2 * corners[1][1] + corners[0][1]),
        (corners[1][2] - 2 * corners[1][1] + corners[1][0]),
    )
    mixed = (corners[2][2] - corners[2][0] - corners[0][2] + corners[0][0]) / 4
    observed = np.array([[level, mixed], [mixed, slope]]) / step**2
    errors = np.sqrt(np.diag(np.linalg.inv(observed)))
    assert fit.naive_scale_error / fit.scale_per_second.value == pytest.approx(errors[0], rel=1e-3)
    assert fit.naive_decay_error == pytest.approx(errors[1], rel=1e-3)


def test_reach_fit_is_the_censored_geometric_law_on_even_distances():
    market = poisson_market(4)
    for fit in fits_of(market, 3_600, Reach()).values():
        counts, width = fit.curve.fills, DISTANCES[1] - DISTANCES[0]
        survived, stopped = counts[1:].sum(), counts[0] - counts[-1]
        decay = math.log1p(stopped / survived) / width
        scale = counts[0] / fit.curve.exposure_seconds[0] * math.exp(decay * DISTANCES[0])
        assert fit.decay_per_dollar.value == pytest.approx(decay, rel=1e-9)
        assert fit.scale_per_second.value == pytest.approx(scale, rel=1e-9)


def test_least_squares_is_the_stated_weighted_line_through_distances_with_twenty_fills():
    fit = fits_of(poisson_market(6), 3_600, Reach())["ask"]
    enough = fit.curve.fills >= 20
    assert 2 < enough.sum() < len(DISTANCES), "the rule must bite, else it is not tested"
    distance, weight = DISTANCES[enough], fit.curve.fills[enough]
    rows = np.stack([np.ones(enough.sum()), -distance])
    target = np.log(fit.curve.fills[enough] / 3_600.0)
    level, decay = np.linalg.solve(rows * weight @ rows.T, rows * weight @ target)
    line = known(fit.least_squares)
    assert line.decay_per_dollar == pytest.approx(decay, rel=1e-9)
    assert line.scale_per_second == pytest.approx(math.exp(level), rel=1e-9)
    assert line.distances == enough.sum()
    assert known(fit.least_squares_excess())[1] == pytest.approx(decay / fit.decay_per_dollar.value - 1)


def test_fills_and_exposure_of_a_virtual_quote_are_counted_as_defined():
    time = np.array([1.0, 3.0, 4.0, 14.0, 33.0])
    price = MID + np.array([700, 1_200, 2_500, -900, 800])
    market = still_market([(time, price, np.array([1, 1, 1, -1, 1]))])
    session, distances = (0.0, 40.5), as_half_units(market, np.array([0.07, 0.1, 0.2]))
    sides = virtual_evidence(market, place_quotes(market, session, 10.0), distances)
    ask, bid = curve(sides["ask"]), curve(sides["bid"])
    assert ask.fills.tolist() == [2, 1, 1]  # .07 again at 33 s; nothing twice in one placing
    assert ask.exposure_seconds.tolist() == [1 + 10 + 10 + 3, 3 + 30, 4 + 30]
    assert bid.fills.tolist() == [1, 0, 0]
    assert bid.exposure_seconds.tolist() == [10 + 4 + 10 + 10, 40, 40]


def moving_mid(rng, seconds, noise, shape):
    """A day seen with independent noise, its volatility lower at noon by `shape`: (mids, true mean variance)."""
    sigma = 0.02 * (1 - shape + shape * np.linspace(-1, 1, seconds) ** 2)
    path = np.concatenate([[0.0], np.cumsum(sigma * rng.normal(size=seconds))])
    return path + noise * rng.normal(size=seconds + 1), float(np.mean(sigma**2))


def days(shape, noise):
    rng = np.random.default_rng(11)
    return [moving_mid(rng, 3_600, noise, shape) for _ in range(REPETITIONS)]


@pytest.mark.parametrize("shape", [0.0, 0.6])
@pytest.mark.parametrize(
    ("estimator", "noise"), [(realised_volatility, 0.0), (two_scale_volatility, 0.0), (two_scale_volatility, 0.01)]
)
def test_volatility_is_unbiased_and_its_intervals_cover(estimator, noise, shape):
    drawn = days(shape, noise)
    truth = math.sqrt(drawn[0][1])
    found = [estimator(mid) for mid, _ in drawn]
    values = np.array([estimate.value for estimate in found])
    assert abs((values**2).mean() - truth**2) < 4 * (values**2).std() / math.sqrt(REPETITIONS)
    covered = sum(low <= truth <= high for low, high in (estimate.interval() for estimate in found))
    assert stats.binom.cdf(covered, REPETITIONS, 0.95) > RARELY
    stated = np.median([estimate.standard_error for estimate in found]) / values.std(ddof=1)
    assert stated > 0.85
    assert stated < 1.2 or shape, "a shape over the day counts as chance"


def test_realised_volatility_counts_the_noise_twice():
    drawn = days(shape=0.6, noise=0.01)
    squares = [realised_volatility(mid).value ** 2 for mid, _ in drawn]
    assert np.mean(squares) == pytest.approx(drawn[0][1] + 2 * 0.01**2, rel=0.02)


def test_drift_is_the_whole_move_over_the_time_and_its_interval_covers():
    rng, covered = np.random.default_rng(13), 0
    for _ in range(REPETITIONS):
        mid = np.concatenate([[0.0], np.cumsum(0.002 + 0.03 * rng.normal(size=1_000))])
        estimate = drift(mid, realised_volatility(mid))
        assert estimate.value == pytest.approx(mid[-1] / 1_000)
        covered += estimate.interval()[0] <= 0.002 <= estimate.interval()[1]
    assert stats.binom.cdf(covered, REPETITIONS, 0.95) > RARELY


def test_the_covariance_of_a_sum_counts_dependence_over_time():
    rng, n = np.random.default_rng(14), 2_000
    sums, stated = [], []
    for _ in range(300):
        shocks = rng.normal(size=n + 4)
        series = np.convolve(shocks, np.ones(5), mode="valid")  # a moving sum of five: the sum's variance is 25 n
        sums.append(series.sum())
        stated.append(covariance_of_sum(series[:, None])[0, 0])
    assert np.mean(stated) == pytest.approx(25 * n, rel=0.03)
    assert np.var(sums) == pytest.approx(25 * n, rel=0.35)


def test_an_interval_of_a_positive_number_stays_positive():
    low, high = Estimate(1.0, 2.0, 30.0, positive=True).interval()
    assert 0 < low < 1 < high
    assert low * high == pytest.approx(1.0)
    narrow = Estimate(1.0, 2.0, 30.0).interval(0.9)
    assert narrow[0] < 0
    assert narrow[1] - narrow[0] == pytest.approx(4.0 * stats.t.ppf(0.95, 30))


@pytest.fixture(scope="module")
def sample():
    return calibrate(sample_path())


def test_the_sample_gives_back_its_market_order_rate_and_its_volatility(sample):
    truth = SyntheticMarket()
    rate, volatility = sample.market_order_rate_per_second, sample.volatility_per_sqrt_second
    assert abs(rate.value - truth.market_order_rate) < 4 * rate.standard_error
    assert abs(volatility.value - truth.volatility) < 4 * volatility.standard_error
    assert sample.tick_dollars == pytest.approx(truth.tick)
    assert sample.median_market_order_size == truth.lot
    assert sample.realised_volatility_per_sqrt_second.value > volatility.value, "the bounce of the mid is noise"


def mirrored(messages):
    """Buyers for sellers: prices reflected at a constant."""
    q, p, top = messages.quotes, messages.prints, 4 * MID
    quotes = BestQuotes(q.time, top - q.ask, top - q.bid)
    prints = Prints(p.time, top - p.price, p.size, -p.side)
    return Messages("mirror", "LOBSTER", 1e-4, quotes, prints, messages.span, messages.session)


def test_mirrored_messages_swap_the_sides_and_turn_the_drift(sample):
    other = calibrate(mirrored(read_messages(sample_path())))
    assert sample.bid.decay_per_dollar.value != pytest.approx(sample.ask.decay_per_dollar.value, rel=0.01)
    for name in ("virtual10", "reach"):
        for mine, theirs in (("bid", "ask"), ("ask", "bid"), ("pooled", "pooled")):
            left, right = sample.fits[name][mine], other.fits[name][theirs]
            assert left.curve.fills.tolist() == right.curve.fills.tolist()
            assert left.scale_per_second.value == pytest.approx(right.scale_per_second.value)
            assert left.decay_per_dollar.standard_error == pytest.approx(right.decay_per_dollar.standard_error)
    assert other.drift_per_second.value == pytest.approx(-sample.drift_per_second.value)
    assert other.volatility_per_sqrt_second.value == pytest.approx(sample.volatility_per_sqrt_second.value)


def test_prices_in_another_unit_scale_every_dollar_and_nothing_else(sample):
    messages, times = read_messages(sample_path()), 3.0
    stretched = Messages(
        "stretched", "LOBSTER", times * 1e-4, messages.quotes, messages.prints, messages.span, messages.session
    )
    other = calibrate(stretched)
    assert other.median_spread_dollars == pytest.approx(times * sample.median_spread_dollars)
    assert other.volatility_per_sqrt_second.value == pytest.approx(times * sample.volatility_per_sqrt_second.value)
    assert other.bid.decay_per_dollar.value == pytest.approx(sample.bid.decay_per_dollar.value / times)
    assert other.bid.scale_per_second.value == pytest.approx(sample.bid.scale_per_second.value)
    assert other.bid.shape_test.p_value == pytest.approx(sample.bid.shape_test.p_value)


def test_the_definition_named_is_the_one_that_speaks_and_both_are_kept(sample):
    reach = calibrate(sample_path(), definition="reach")
    assert set(reach.fits) == set(sample.fits) == {"virtual10", "reach"}
    assert reach.bid is reach.fits["reach"]["bid"]
    assert sample.bid is sample.fits["virtual10"]["bid"]
    assert reach.bid.decay_per_dollar.value > sample.bid.decay_per_dollar.value, "the mid moves while a quote waits"
    slower = calibrate(sample_path(), definition=Virtual(30.0))
    assert slower.definition == "virtual30"
    assert slower.pooled.curve.distance_dollars[-1] > sample.pooled.curve.distance_dollars[-1]


def test_a_session_narrows_what_is_counted(sample):
    half = calibrate(sample_path(), session=(36_000.0 + 600.0, 36_000.0 + 2_400.0))
    assert half.session_seconds == 1_800.0
    assert 0 < half.market_orders < sample.market_orders


def test_the_problem_takes_each_side_s_demand_the_robust_volatility_and_a_limit_of_three_deviations(sample):
    problem = sample.problem()
    assert isinstance(problem, ts.models.InventoryDealer)
    for demand, fit in ((problem.bid_demand, sample.bid), (problem.ask_demand, sample.ask)):
        assert isinstance(demand, ts.models.Exponential)
        assert float(demand.scale) == pytest.approx(fit.scale_per_second.value)
        assert float(demand.decay) == pytest.approx(fit.decay_per_dollar.value)
    assert float(problem.volatility) == pytest.approx(sample.volatility_per_sqrt_second.value)
    assert float(problem.lot) == 100.0
    k = sample.pooled.decay_per_dollar.value
    shift = 1 / (2 * k * (10 / 3) ** 2)  # of the quotes per lot, from the docstring
    expected = sample.pooled.scale_per_second.value * k * 100.0 * shift**2 / math.e
    assert isinstance(problem.objective, ts.models.RunningPenalty)
    assert float(problem.objective.running) == pytest.approx(expected)
    mine = sample.problem(horizon_seconds=60.0, lot=5, max_inventory=3, objective=ts.models.RunningPenalty(0.25))
    assert (float(mine.horizon), float(mine.lot), mine.max_inventory) == (60.0, 5.0, 3)
    assert mine.objective == ts.models.RunningPenalty(0.25)


@pytest.mark.slow
def test_the_default_objective_keeps_the_limit_three_stationary_deviations_away(sample):
    problem, lots = sample.problem(), np.arange(-10.0, 11.0)
    quotes = ts.solve(problem).quotes(t=0.0, inventory=lots)
    up = np.asarray(problem.bid_demand.intensity(np.asarray(quotes.bid)[:-1]))  # no bid at the upper limit
    down = np.asarray(problem.ask_demand.intensity(np.asarray(quotes.ask)[1:]))
    weight = np.concatenate([[1.0], np.cumprod(up / down)])  # detailed balance of a birth-and-death process
    weight /= weight.sum()
    deviation = math.sqrt(weight @ lots**2 - (weight @ lots) ** 2)
    assert deviation == pytest.approx(10 / 3, rel=0.1)


def test_the_record_is_ready_for_json_and_for_the_eye(sample):
    record = json.loads(json.dumps(sample.to_dict(), allow_nan=False))
    assert record["definition"] == "virtual10"
    bid = record["definitions"]["virtual10"]["bid"]
    assert bid["scale_per_second"]["value"] == sample.bid.scale_per_second.value
    assert bid["least_squares_excess"]["decay"] == pytest.approx(
        bid["least_squares"]["decay_per_dollar"] / bid["decay_per_dollar"]["value"] - 1
    )
    assert "re-centred every 10 s" in record["definitions"]["virtual10"]["meaning"]
    table = sample.table()
    assert "virtual10 (chosen)" in table
    assert f"{sample.bid.decay_per_dollar.value:.4g}" in table
    assert max(len(line) for line in table.splitlines()) <= 120
    assert isinstance(sample, Calibration)


@pytest.mark.parametrize("definition", ["Reach", "virtual", "virtual0", "virtualten", ""])
def test_an_unknown_definition_is_refused(definition):
    with pytest.raises(ValueError, match=r"definition must be|interval_seconds must be"):
        calibrate(sample_path(), definition=definition)


@pytest.mark.parametrize(
    ("session", "says"),
    [
        ((36_100.0, 36_130.0), "too short for a volatility; give at least 40 s"),
        ((36_100.0, 36_230.0), "too short for errors; give at least 160 s"),
        ((36_100.0, 36_300.0), "too few prints beyond half the spread|fewer than two distances|do not fall"),
        ((30_000.0, 40_000.0), "reaches outside the file; choose it within"),
        ((36_100.0, math.nan), "must open before it closes"),
    ],
)
def test_a_session_that_cannot_serve_is_one_line_with_the_mend(session, says):
    with pytest.raises(DataError, match=says) as caught:
        calibrate(sample_path(), session=session)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("distances", [[0.1, 0.05, 0.2], [0.1, 0.2], [-0.1, 0.1, 0.2]])
def test_distances_must_be_positive_and_rise(distances):
    with pytest.raises(ValueError, match="distances must be three or more positive dollars in rising order"):
        calibrate(sample_path(), distances_dollars=np.array(distances))


def fills_at(fit, *distances):
    found = dict(zip(fit.curve.distance_dollars.round(9).tolist(), fit.curve.fills.tolist(), strict=True))
    return [found[d] for d in distances]


def test_google_on_2012_06_21_gives_the_published_figures(real_data):
    path = real_data("LOBSTER_SampleFile_GOOG_2012-06-21_10.zip")
    google = calibrate(path)
    assert google.market_orders == 5_290
    assert google.market_order_rate_per_second.value == pytest.approx(0.2320, abs=5e-5)
    assert google.realised_volatility_per_sqrt_second.value == pytest.approx(0.0349, abs=5e-5)
    assert google.median_spread_dollars == pytest.approx(0.25)
    reach, virtual = (known(google.fits[name]["pooled"].least_squares) for name in ("reach", "virtual10"))
    assert reach.scale_per_second == pytest.approx(0.649, abs=5e-4)
    assert reach.decay_per_dollar == pytest.approx(23.5, abs=0.05)
    assert virtual.scale_per_second == pytest.approx(0.0513, abs=5e-5)
    assert virtual.decay_per_dollar == pytest.approx(10.21, abs=5e-3)
    listed = calibrate(path, distances_dollars=np.array([0.075, 0.15, 0.225, 0.3, 0.375]))
    assert fills_at(listed.fits["reach"]["pooled"], 0.075, 0.15, 0.225, 0.3) == [3367, 904, 139, 22]
    assert fills_at(listed.pooled, 0.075, 0.15, 0.225, 0.3, 0.375) == [1022, 478, 229, 105, 48]
    published = [0.02567, 0.01108, 0.005141, 0.002326, 0.001058]
    assert listed.pooled.curve.rate_per_second == pytest.approx(published, rel=5e-4)
    # The likelihood moves virtual10's decay by a fraction of its error, as the issue asks to be said.
    assert abs(google.pooled.decay_per_dollar.value - 10.2) < 1.02
    assert google.pooled.decay_per_dollar.value == pytest.approx(virtual.decay_per_dollar, rel=0.01)


def test_the_bitcoin_perpetual_on_2024_08_08_gives_the_published_figures(real_data):
    bitcoin = calibrate(real_data("usdm_btcusdt_20240808.gz"))
    assert bitcoin.market_orders == 5_436
    assert bitcoin.market_order_rate_per_second.value == pytest.approx(15.8, abs=0.05)
    assert bitcoin.realised_volatility_per_sqrt_second.value == pytest.approx(7.56, abs=5e-3)
    assert bitcoin.median_spread_dollars == pytest.approx(0.1)
    reach, virtual = (known(bitcoin.fits[name]["pooled"].least_squares) for name in ("reach", "virtual10"))
    assert reach.scale_per_second == pytest.approx(0.92, abs=5e-3)
    assert reach.decay_per_dollar == pytest.approx(0.247, abs=1e-3)
    assert virtual.scale_per_second == pytest.approx(0.167, abs=5e-4)
    assert virtual.decay_per_dollar == pytest.approx(0.115, abs=5e-4)
    assert known(bitcoin.fits["reach"]["pooled"].depth_test).p_value < 1e-6, "published as not exponential"
