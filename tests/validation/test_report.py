"""The report: everything inside, every number as it was found, and bad news said aloud."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import twosided as ts
from twosided.validation import _figures, calibrate, write_report
from twosided.validation._dealer import SECONDS_PER_YEAR, risk_aversion_for, state_dealer
from twosided.validation._display import Axis, column, display_for, number, with_error
from twosided.validation._html import page, table
from twosided.validation._sample_file import append_paths, read_paths
from twosided.validation._verdict import LEVEL, compare
from twosided.validation.simulation import sample_paths
from twosided.validation.synthetic import sample_path

HORIZON, PATHS = 60.0, 4_000


def dealer(**changed: object) -> ts.models.InventoryDealer:
    """An asymmetric dealer in lots, cheap to solve."""
    stated = {
        "volatility": 0.3,
        "horizon": HORIZON,
        "bid_demand": ts.models.Exponential(0.9, 0.3),
        "ask_demand": ts.models.Exponential(0.7, 0.35),
        "lot": 2.0,
        "max_inventory": 5,
        "objective": ts.models.MeanVariance(0.02),
    }
    return ts.models.InventoryDealer(**{**stated, **changed})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def solution():
    return ts.solve(dealer(), ts.hjb.FiniteDifference(steps=200, extrapolate=False))  # quick to compile


@pytest.fixture(scope="module")
def simulation(solution):
    return ts.simulate(solution.problem, solution.policy, paths=PATHS, seed=5)


@pytest.fixture(scope="module")
def sample(solution):
    return sample_paths(solution.problem, solution.policy, paths=200, times=31, seed=5)


@pytest.fixture(scope="module")
def record():
    return calibrate(sample_path())


class Page(HTMLParser):
    """A page taken apart: its tags must close in order; texts, tables, pictures and addresses are kept."""

    def __init__(self, path: Path):
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.pictures: list[str] = []
        self.classes: list[str] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        given = {name: value or "" for name, value in attrs}
        self.addresses += [given[key] for key in ("src", "href") if key in given]
        self.classes += given.get("class", "").split()
        if tag == "img":
            self.pictures.append(given["alt"])
        if tag == "tr":
            self.rows.append([])
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)


def test_the_page_is_whole_and_holds_everything_it_shows(tmp_path, solution, simulation, sample, record):
    path = write_report(tmp_path / "r.html", solution, simulation, record, sample=sample, facts={"made by": "a test"})
    found = Page(path)
    outside = [a for a in found.addresses if not a.startswith(("data:image/svg+xml;base64,", "#"))]
    assert outside == []
    assert "http" not in re.sub(r"data:[^\"]*", "", path.read_text(encoding="utf-8"))
    assert found.pictures == [
        "How often a quote is filled",
        "Quotes against inventory",
        "Quotes over time and inventory",
        "Wealth at the horizon",
        "Inventory over time",
        "Three paths",
    ]
    assert all(f"{name}. " in found.text for name in found.pictures), "each picture says how to read it"
    assert ["made by", "a test"] in found.rows


def test_the_page_is_the_same_for_the_same_numbers(tmp_path, solution, simulation, sample):
    pages = [write_report(tmp_path / n, solution, simulation, sample=sample).read_bytes() for n in ("a", "b")]
    assert pages[0] == pages[1]


def test_the_quotes_shown_are_those_of_the_solution(tmp_path, solution):
    found = Page(write_report(tmp_path / "r.html", solution, units={"money": "ticks"}))
    assert ["inventory (lots)", "bid, ticks", "ask, ticks", "spread, ticks"] in found.rows
    for inventory in (-3, 2):
        bid, ask = (float(x) for x in solution.quotes(0.0, inventory=inventory))
        (row,) = (row for row in found.rows if row[:1] == [str(inventory)])
        shown = [float(cell) for cell in row[1:]]
        assert shown == pytest.approx([bid, ask, bid + ask], abs=5e-4)


def test_a_side_that_is_not_quoted_is_shown_as_such(tmp_path, solution):
    found = Page(write_report(tmp_path / "r.html", solution))
    (longest,) = (row for row in found.rows if row[:1] == ["5"])
    assert longest[1] == "—"
    assert float(longest[2]) == pytest.approx(float(solution.quotes(0.0, inventory=5).ask), abs=5e-4)


def test_prediction_stands_beside_measurement(tmp_path, solution, simulation):
    found = Page(write_report(tmp_path / "r.html", solution, simulation))
    (row,) = (row for row in found.rows if row[:1] == ["mean wealth"])
    measured, error, predicted, z = (float(cell.replace(",", "")) for cell in row[1:5])
    assert error == pytest.approx(simulation.standard_error, rel=0.05)
    assert measured == pytest.approx(simulation.mean_wealth, abs=0.05 * error)
    assert predicted == pytest.approx(float(solution.expected_wealth(0.0)), abs=0.05 * error)
    assert z == pytest.approx(
        (simulation.mean_wealth - float(solution.expected_wealth(0.0))) / error, rel=0.05, abs=0.02
    )


def test_agreement_is_said_in_the_lead(tmp_path, solution, simulation, monkeypatch):
    monkeypatch.setattr("twosided.validation._verdict.LEVEL", 1e-6)  # its chance is not what is tested
    found = Page(write_report(tmp_path / "r.html", solution, simulation))
    assert "Simulation agrees with 3 predicted quantities" in found.text
    assert "bad" not in found.classes


def test_a_simulation_of_another_policy_is_caught_and_said_aloud(tmp_path, solution):
    other = ts.simulate(solution.problem, lambda t, state: ts.Quotes(4.0 + 0 * t, 4.0 + 0 * t), paths=PATHS, seed=5)
    assert compare(other, solution).agrees is False
    found = Page(write_report(tmp_path / "r.html", solution, other))
    assert "SIMULATION DISAGREES" in found.text
    assert "bad" in found.classes


def test_a_solution_that_did_not_converge_is_said_aloud(tmp_path, solution):
    broken = replace(solution, tables=solution.tables._replace(residual=1.0))
    assert not broken.converged
    found = Page(write_report(tmp_path / "r.html", broken))
    assert "THE SOLVE DID NOT CONVERGE: the residual stayed above the tolerance" in found.text
    assert "bad" in found.classes


def test_a_report_on_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="a report needs a solution or a problem; give one of them"):
        write_report(tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


def test_what_a_user_names_cannot_break_the_page(tmp_path, solution):
    path = write_report(tmp_path / "r.html", solution, title='<script>"&', assumptions=["a < b & c"])
    assert "<script>" not in path.read_text(encoding="utf-8")
    assert "a < b & c" in Page(path).text
    assert table(("<a>",), [("<b>",)]).count("&lt;") == 2
    assert "&lt;i&gt;" in page("<i>", "<i>", "", [("<i>", "")], "")


# Whether they agree


def test_the_linear_rule_is_not_held_against_the_continuous_model(solution):
    linear = ts.simulate(solution.problem, solution.policy, paths=500, seed=1, fills="linear", steps=20)
    comparison = compare(linear, solution)
    assert comparison.agrees is None
    assert all(np.isnan(row.z) for row in comparison.rows)
    assert "linear rule" in comparison.meaning


def test_one_error_level_is_shared_by_all_comparisons(solution, simulation):
    from scipy.stats import norm

    comparison = compare(simulation, solution)
    assert comparison.compared == 3
    one = 2 * norm.sf(comparison.limit)
    assert 1 - (1 - one) ** comparison.compared == pytest.approx(LEVEL)


def test_the_standard_deviation_of_wealth_is_compared_not_the_variance(solution, simulation):
    row = compare(simulation, solution).rows[1]
    assert row.quantity == "std of wealth"
    assert row.measured == pytest.approx(float(np.std(simulation.wealth, ddof=1)))
    gap = float(solution.expected_wealth(0.0)) - float(solution.value(0.0))
    assert row.predicted == pytest.approx(np.sqrt(2 * gap / 0.02))
    batches = simulation.wealth.reshape(40, -1).std(axis=1, ddof=1)
    assert row.standard_error == pytest.approx(batches.std(ddof=1) / np.sqrt(40), rel=0.4)


# Units


@pytest.mark.parametrize(
    ("units", "time", "distance"),
    [
        ({}, Axis(1.0, "years"), Axis(1e4, "basis points")),
        ({"reference_price": 20.0, "money": "dollars"}, Axis(1.0, "years"), Axis(2000.0, "cents")),
        ({"reference_price": 2000.0, "money": "dollars"}, Axis(1.0, "years"), Axis(2000.0, "dollars")),
        ({"reference_price": 20.0, "money": "yen"}, Axis(1.0, "years"), Axis(20.0, "yen")),
        ({"seconds_per_year": 252 * 6.5 * 3600}, Axis(252 * 6.5, "hours"), Axis(1e4, "basis points")),
        ({"seconds_per_year": 1e4}, Axis(1e4, "seconds"), Axis(1e4, "basis points")),
        ({"seconds_per_year": 6e4}, Axis(1e3, "minutes"), Axis(1e4, "basis points")),
    ],
)
def test_a_report_speaks_in_units_a_reader_thinks_in(units, time, distance):
    demand = ts.models.Exponential(3660.0, 60.0)
    problem = ts.models.StockCashDealer(
        growth=0.15,
        volatility=0.45,
        rate=0.03,
        horizon=0.02,
        bid_demand=demand,
        ask_demand=demand,
        lot=4.0,
        max_stock=20.0,
        objective=ts.models.MeanVariance(1.0),
    )
    display = display_for(problem, units, typical_distance=0.016)
    assert (display.time.unit, display.time.scale) == (time.unit, pytest.approx(time.scale))
    assert (display.distance.unit, display.distance.scale) == (distance.unit, pytest.approx(distance.scale))
    assert display.inventory == Axis(0.25, "lots")


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1178.3749, 5, "1,178.4"), (0.0, 5, "0"), (-0.25, 5, "-0.25"), (12.0, 3, "12"), (2.06e-6, 2, "2.1e-6"),
        (3.2e12, 3, "3.20e12"), (float("nan"), 3, "not estimated"), (float("inf"), 3, "inf"), (99.96, 3, "100"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_a_reader_wants_them(value, digits, text):
    assert number(value, digits) == text


def test_numbers_below_each_other_share_their_decimals():
    assert column([-3.2, 442.51, 0.0, float("nan")]) == ["-3.2", "442.5", "0.0", "—"]
    assert column([]) == []


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ((1891.3769, 1.38, 1887.4109), ["1,891.4", "1.4", "1,887.4"]),
        ((0.898933, 0.0154, float("nan")), ["0.899", "0.015", ""]),
        ((123456.0, 789.0, 123000.0), ["123,456", "789", "123,000"]),
        ((10.38784, float("nan"), float("nan")), ["10.3878", "", ""]),
    ],
)
def test_a_measurement_is_written_to_the_digits_that_its_error_leaves(given, shown):
    assert with_error(*given) == shown


# Pictures


def test_quantiles_lie_between_lots_and_agree_with_the_law_they_were_drawn_from():
    lots = np.repeat(np.arange(-2, 3), [100, 200, 400, 200, 100])[:, None]
    low, middle, high = _figures.lot_quantiles(np.hstack([lots, lots + 1]), (0.25, 0.5, 0.75))
    np.testing.assert_allclose(middle, [0.0, 1.0])
    np.testing.assert_allclose(high - middle, middle - low)
    # P(< 0) = .3 and P(0)/2 = .2: the mid-distribution function is .2 at -1 and .5 at 0
    np.testing.assert_allclose(low, [-1 + 0.05 / 0.3, 0.05 / 0.3])


def test_a_picture_of_a_constant_wealth_is_drawn():
    assert _figures.as_svg(_figures.wealth_distribution(np.full(50, 3.0), None, "money")).startswith("data:image/svg")


def test_sample_paths_come_back_from_the_file_of_their_simulation(tmp_path, simulation, sample):
    path = simulation.save(tmp_path / "s.nc")
    assert read_paths(path) is None
    append_paths(path, sample, simulation.problem)
    again = read_paths(path)
    assert again is not None
    for mine, theirs in zip(sample, again, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(ts.Simulation.load(path).wealth, simulation.wealth)


# From a calibration to the dealer with accounts


def test_the_dealer_stated_in_years_is_the_one_measured_in_seconds(record):
    price, year = 250.0, SECONDS_PER_YEAR["LOBSTER"]
    stated = state_dealer(record, price)
    problem, twin = stated.problem, stated.twin
    for side in ("bid", "ask"):
        fit = getattr(record, side)
        per_year = float(getattr(problem, f"{side}_demand").intensity(0.07 / price))
        assert per_year / year == pytest.approx(float(fit.rate_per_second(0.07)), rel=1e-12)
        assert per_year / year == pytest.approx(float(getattr(twin, f"{side}_demand").intensity(0.07)), rel=1e-12)
    assert float(problem.horizon) * year == pytest.approx(float(twin.horizon))
    assert float(problem.lot) == pytest.approx(price * float(twin.lot))
    dollars_over_the_horizon = float(problem.volatility) * np.sqrt(float(problem.horizon)) * price
    assert dollars_over_the_horizon == pytest.approx(float(twin.volatility) * np.sqrt(float(twin.horizon)))
    assert stated.units["seconds_per_year"] == year


def test_the_risk_aversion_is_that_of_the_budget_it_states(record):
    aversion = risk_aversion_for(record, 2.5)
    assert risk_aversion_for(record, 5.0) == pytest.approx(aversion / 16)
    budget = record.problem(max_inventory=3, objective=None).objective  # states the same for a deviation of one lot
    money = (record.volatility_per_sqrt_second.value * record.median_market_order_size) ** 2
    assert risk_aversion_for(record, 1.0) * money / 2 == pytest.approx(float(budget.running))
