"""The risk aversion implied by quotes: recovered, covered by its interval, and doubted where the quotes cannot tell."""

import warnings

import numpy as np
import pytest
from scipy import stats

import twosided as ts
from twosided.validation.calibration import Inputs, QuoteObservations, WeakIdentification, implied_risk_aversion

MODELS = ts.models
TRUTH = 0.3
METHOD = ts.hjb.Lattice(times=8)
ROWS = 160
NOISE = 0.05  # of a distance; the bid's is twice the ask's


def dealer(risk_aversion=0.05, **changes):
    """Asymmetric in demand and drift; its own risk aversion is only where a search begins."""
    settings = {
        "volatility": 0.5,
        "horizon": 2.0,
        "bid_demand": MODELS.Exponential(14.0, 1.3),
        "ask_demand": MODELS.Exponential(9.0, 1.3),
        "lot": 1.0,
        "max_inventory": 4,
        "objective": MODELS.ExponentialUtility(risk_aversion),
        "drift": 0.05,
    }
    return MODELS.InventoryDealer(**(settings | changes))


def stock_dealer(risk_aversion=1.0):
    return MODELS.StockCashDealer(
        growth=0.1,
        volatility=0.35,
        rate=0.03,
        horizon=5 / 244,
        bid_demand=MODELS.Exponential(3000.0, 60.0),
        ask_demand=MODELS.Exponential(2000.0, 70.0),
        lot=1.0,
        max_stock=3.0,
        objective=MODELS.MeanVariance(risk_aversion),
    )


def seen(problem, method, rng, memory=0.0, noise=NOISE, rows=ROWS):
    """Quotes at random times and inventories, with errors that remember the row before by `memory`."""
    time = np.sort(rng.uniform(0, float(problem.horizon), rows))
    lots = rng.integers(1 - 3, 3, rows).astype(float)
    quotes = ts.solve(problem, method).quotes(time, **{problem.names[0]: lots * float(problem.size)})
    shocks = rng.normal(size=(rows, 2)) * np.array([2.0, 1.0]) * noise
    for i in range(1, rows):
        shocks[i] = memory * shocks[i - 1] + np.sqrt(1 - memory**2) * shocks[i]
    return QuoteObservations(time, lots * float(problem.size), quotes.bid + shocks[:, 0], quotes.ask + shocks[:, 1])


@pytest.fixture(scope="module")
def quotes():
    return seen(dealer(TRUTH), METHOD, np.random.default_rng(7))


@pytest.fixture(scope="module")
def estimate(quotes):
    return implied_risk_aversion(dealer(), quotes, method=METHOD)


def test_quotes_without_error_give_the_risk_aversion_back():
    exact = seen(dealer(TRUTH), METHOD, np.random.default_rng(0), noise=0.0)
    for begin in (0.002, 20.0):
        found = implied_risk_aversion(dealer(begin), exact, method=METHOD, profile_points=0)
        assert found.estimate == pytest.approx(TRUTH, rel=1e-6)
        assert found.standard_error < 1e-6


def test_the_estimate_is_the_minimum_that_a_scan_finds(quotes, estimate):
    def squares(risk_aversion):
        model = ts.solve(dealer(risk_aversion), METHOD).quotes(quotes.time, inventory=quotes.inventory)
        return np.sum((model.bid - quotes.bid) ** 2) + np.sum((model.ask - quotes.ask) ** 2)

    around = estimate.estimate * np.exp(np.linspace(-0.02, 0.02, 5))
    assert np.argmin([squares(x) for x in around]) == 2
    assert float(estimate.problem.objective.risk_aversion) == estimate.estimate


def test_the_error_is_that_of_the_sandwich(quotes):
    found = implied_risk_aversion(dealer(), quotes, method=METHOD, errors="independent", profile_points=0)

    def model(log):
        x = ts.solve(dealer(np.exp(log)), METHOD).quotes(quotes.time, inventory=quotes.inventory)
        return np.stack(x, axis=1)

    log, step = np.log(found.estimate), 1e-4
    slope = (model(log + step) - model(log - step)) / (2 * step)
    gap = np.stack([quotes.bid, quotes.ask], axis=1) - model(log)
    scores = np.sum(slope * gap, axis=1)
    variance = np.sum(scores**2) * ROWS / (ROWS - 1) / np.sum(slope**2) ** 2
    assert found.standard_error / found.estimate == pytest.approx(np.sqrt(variance), rel=1e-5)
    assert found.risk_aversion.degrees_of_freedom == ROWS - 1


def test_the_profile_falls_to_its_best_and_rises_again(estimate):
    profile = estimate.profile
    best = int(np.argmin(profile.deviance))
    assert profile.risk_aversion[best] == pytest.approx(estimate.estimate, rel=1e-9)
    assert profile.deviance[best] == pytest.approx(0.0, abs=1e-6)
    assert np.all(np.diff(profile.deviance[: best + 1]) < 0)
    assert np.all(np.diff(profile.deviance[best:]) > 0)


def test_inputs_estimated_elsewhere_widen_the_interval_by_what_they_move_the_estimate():
    clear = seen(dealer(TRUTH), METHOD, np.random.default_rng(7), noise=0.002)

    def found(volatility=0.5, **given):
        return implied_risk_aversion(dealer(volatility=volatility), clear, method=METHOD, profile_points=0, **given)

    moved = abs(np.log(found(0.505).estimate / found(0.495).estimate)) / 0.01 * 0.03
    alone, wider = found(), found(inputs=Inputs(("volatility",), np.array([[0.03**2]])))
    assert wider.estimate == alone.estimate
    added = np.sqrt(wider.standard_error**2 - alone.standard_error**2) / wider.estimate
    assert added == pytest.approx(moved, rel=0.02)
    assert wider.input_share == pytest.approx(1 - (alone.standard_error / wider.standard_error) ** 2)


def test_quotes_that_never_move_are_doubted():
    """Constant quotes at one inventory, and an unknown level: any risk aversion explains them with some demand."""
    rng = np.random.default_rng(3)
    rows = 40
    constant = QuoteObservations(
        np.full(rows, 0.5), np.zeros(rows), 0.8 + 0.1 * rng.normal(size=rows), np.full(rows, np.nan)
    )
    with pytest.warns(WeakIdentification, match=r"risk_aversion.*(spans|combination)"):
        implied_risk_aversion(dealer(), constant, also=("demand.decay",), method=METHOD, profile_points=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q: {"time": q.time + 1.0}, r"row \d+: time [\d.]+ lies outside the horizon of 0 to 2"),
        (lambda q: {"inventory": np.where(np.arange(ROWS) == 5, 4.0, q.inventory)}, "row 5: a bid is quoted at"),
        (lambda q: {"time": q.time[:9]}, "columns of one length"),
        (lambda q: {"bid": np.where(np.arange(ROWS) == 3, np.inf, q.bid)}, "bid must be finite, but row 3"),
    ],
)
def test_impossible_rows_are_refused(quotes, change, message):
    columns = {name: getattr(quotes, name) for name in ("time", "inventory", "bid", "ask")}
    with pytest.raises(ValueError, match=message):
        implied_risk_aversion(dealer(), QuoteObservations(**(columns | change(quotes))), method=METHOD)


def test_too_few_rows_and_unknown_names_are_refused(quotes):
    few = QuoteObservations(quotes.time[:5], quotes.inventory[:5], quotes.bid[:5], quotes.ask[:5])
    with pytest.raises(ValueError, match="5 rows of quotes are too few"):
        implied_risk_aversion(dealer(), few, method=METHOD)
    with pytest.raises(ValueError, match="'gamma' is no number of this problem"):
        implied_risk_aversion(dealer(), quotes, also=("gamma",), method=METHOD)
    inputs = Inputs(("volatility",), np.array([[1e-4]]))
    with pytest.raises(ValueError, match="volatility is estimated here"):
        implied_risk_aversion(dealer(), quotes, also=("volatility",), inputs=inputs, method=METHOD)


# Coverage


def covered(problem, method, begin, repetitions, memory, errors, noise):
    """How many 95% intervals hold the truth, and the estimates' distance from it in standard errors."""
    hits, pulls = 0, []
    truth = float(problem.objective.risk_aversion)
    for seed in range(repetitions):
        rng = np.random.default_rng((41, seed))
        rows = seen(problem, method, rng, memory, noise)
        found = implied_risk_aversion(begin, rows, method=method, errors=errors, profile_points=0)
        low, high = found.interval()
        hits += low < truth < high
        pulls.append(np.log(found.estimate / truth) * found.estimate / found.standard_error)
    return hits, np.array(pulls)


def test_a_few_intervals_hold_the_truth():
    hits, pulls = covered(dealer(TRUTH), METHOD, dealer(), 12, 0.6, "dependent", NOISE)
    assert stats.binom.cdf(hits, 12, 0.95) > 1e-4
    assert np.abs(pulls.mean()) * np.sqrt(12) < 4.5
    assert pulls.std() > 0.3


STUDIES = {
    "independent errors": (dealer, METHOD, 0.05, 0.3, 0.0, "independent", NOISE),
    "errors with memory": (dealer, METHOD, 0.05, 0.3, 0.6, "dependent", NOISE),
    "stock and cash": (
        stock_dealer,
        ts.hjb.FiniteDifference(nodes_per_lot=4, steps=16, extrapolate=False),
        1.0,
        6.0,
        0.6,
        "dependent",
        0.001,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_95_percent_intervals_cover_between_92_and_98_percent_of_500_replications(study):
    build, method, begin, truth, memory, errors, noise = STUDIES[study]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WeakIdentification)  # an unlucky draw may say so; its interval counts
        hits, pulls = covered(build(truth), method, build(begin), 500, memory, errors, noise)
    print(f"{study}: {hits / 5:.1f}% of 500 intervals; pulls {pulls.mean():+.2f} +- {pulls.std():.2f}")
    assert 0.92 <= hits / 500 <= 0.98
