"""Problems with several things to quote, as a user of the command line meets them."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import twosided as ts
from twosided._case import parse_case
from twosided.models.case import to_data
from twosided.validation import _figures
from twosided.validation._view import view_for

ASSETS = """
[problem]
type = "MultiAssetDealer"
volatility = [0.3, 0.4]
correlation = [[1.0, 0.6], [0.6, 1.0]]
horizon = 5.0
lot = 1.0
max_inventory = [3, 2]
[[problem.bid_demand]]
type = "Exponential"
scale = 0.9
decay = 0.3
[[problem.bid_demand]]
type = "Exponential"
scale = 0.5
decay = 0.3
[problem.ask_demand]
type = "Exponential"
scale = 0.7
decay = 0.3
[problem.objective]
type = "RiskPenalty"
risk_aversion = 0.1
terminal = 0.0
[simulation]
paths = 1000
[simulation.initial]
inventory = [2, -1]
[units]
time = "seconds"
money = "ticks"
"""

PAIR = """
type = "CurrencyDealer"
volatility = 50.0
horizon = 0.005
sizes = [1.0, 5.0]
shares = [0.8, 0.2]
max_inventory = 30.0
risk_aversion = 2e-3
[{place}.bid_demand]
type = "Logistic"
scale = [1800.0, 900.0]
alpha = [-0.3, -1.9]
beta = [5.0, 15.0]
[{place}.ask_demand]
type = "Logistic"
scale = [1800.0, 900.0]
alpha = [-0.3, -1.9]
beta = [5.0, 15.0]
[{place}.hedging]
type = "Hedging"
half_spread = 0.1
slippage = 1e-5
impact = 1e-3
"""

CURRENCY = (
    "[problem]"
    + PAIR.format(place="problem")
    + "[method]\ntype = 'Lattice'\ntimes = 8\ntolerance = 1e-6\n[simulation]\npaths = 1000\n"
)

PAIRS = (
    '[problem]\ntype = "CurrencyBook"\ncorrelation = [[1.0, 0.5], [0.5, 1.0]]\n'
    + ("[[problem.pairs]]" + PAIR.format(place="problem.pairs"))
    + ("[[problem.pairs]]" + PAIR.format(place="problem.pairs").replace("volatility = 50.0", "volatility = 90.0"))
    + "[simulation]\npaths = 40\nsteps = 20\n[simulation.initial]\ninventory = [3.0, -2.0]\n"
)

OPTIONS = """
[problem]
type = "OptionsBook"
spot = 10.0
variance = 0.0225
strikes = [9.0, 10.0]
maturities = [1.0, 1.5]
sizes = [4e5, 7e5]
vega_limit = 1e7
risk_aversion = 1e-3
horizon = 0.0012
[problem.physical]
type = "Heston"
reversion = 2.0
long_run_variance = 0.04
volatility_of_variance = 0.2
correlation = -0.5
[problem.pricing]
type = "Heston"
reversion = 3.0
long_run_variance = 0.0225
volatility_of_variance = 0.2
correlation = -0.5
[problem.bid_demand]
type = "Logistic"
scale = [4447.0, 7560.0]
alpha = 0.7
beta = 150.0
[problem.ask_demand]
type = "Logistic"
scale = [4447.0, 7560.0]
alpha = 0.7
beta = 150.0
[method]
type = "VegaGrid"
vega_intervals = 40
steps = 16
[simulation]
paths = 1000
[units]
money = "dollars"
"""

BOOKS = {"assets": ASSETS, "currency": CURRENCY, "pairs": PAIRS, "options": OPTIONS}


def written(folder: Path, text: str, name: str = "book.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# What is stated


@pytest.mark.parametrize("kind", BOOKS)
def test_a_book_written_back_reads_as_the_same_case(kind):
    case = parse_case(BOOKS[kind])
    again = parse_case(case.to_toml())
    assert again.to_toml() == case.to_toml()
    assert repr(again.problem) == repr(case.problem)


def test_lists_and_tables_build_the_book_that_python_builds():
    problem: Any = parse_case(ASSETS).problem
    bids, ask = [ts.models.Exponential(scale, 0.3) for scale in (0.9, 0.5)], ts.models.Exponential(0.7, 0.3)
    objective, matrix = ts.models.RiskPenalty(0.1, 0.0), [[1.0, 0.6], [0.6, 1.0]]
    mine = ts.models.MultiAssetDealer([0.3, 0.4], 5.0, bids, ask, 1.0, [3, 2], objective, matrix)
    assert to_data(problem) == to_data(mine)


WRONG = {
    "one number too few": (ASSETS, "lot = 1.0", "lot = [1, 1, 1]", "problem.lot must be one number or one per asset"),
    "a text in a list": (
        ASSETS,
        "[0.3, 0.4]",
        '[0.3, "40%"]',
        "problem.volatility[1] must be a number, got the text '40%'; write a bare number or a list such as",
    ),
    "a ragged matrix": (ASSETS, "[0.6, 1.0]]", "[1.0]]", "problem.correlation must have rows of one length; write [["),
    "a matrix of no prices": (
        ASSETS,
        "[[1.0, 0.6], [0.6, 1.0]]",
        "[[1.0, 1.6], [1.6, 1.0]]",
        "problem.correlation must lie between -1 and 1, got 1.6",
    ),
    "a covariance": (
        ASSETS,
        "correlation =",
        "covariance =",
        "problem.covariance is not known; MultiAssetDealer takes",
    ),
    "a list in one asset's demand": (
        ASSETS,
        "scale = 0.5",
        "scale = [0.5, 0.6]",
        "problem.bid_demand[1].scale must be a number, got a list of 2; write a single number",
    ),
    "a demand like no other": (
        ASSETS,
        "scale = 0.5",
        "scal = 0.5",
        "problem.bid_demand[1].scal is not known; Exponential takes scale, decay: did you mean scale?",
    ),
    "a start that is text": (
        ASSETS,
        "inventory = [2, -1]",
        'inventory = [2, "short"]',
        "simulation.initial.inventory[1] must be a number, got the text 'short'",
    ),
    "the linear rule": (
        ASSETS,
        "paths = 1000",
        "paths = 1000\nfills = 'linear'\nsteps = 9",
        "simulation.fills 'linear' is for a dealer with one thing to quote; leave fills out",
    ),
    "a pair of nothing": (
        PAIRS,
        "slippage = 1e-5",
        "slippage = 0.0",
        "problem.pairs[0].hedging.slippage must be positive and finite, got 0",
    ),
    "tiers that differ": (
        CURRENCY,
        "alpha = [-0.3, -1.9]",
        "alpha = [-0.3]",
        "problem.bid_demand must have one entry for each tier in scale, alpha and beta",
    ),
    "another money": (
        CURRENCY,
        "[method]",
        "[units]\nmoney = 'dollars'\n[method]",
        "units.money is 'dollars', but CurrencyDealer has money in 'bp M'",
    ),
    "a network that no run can keep": (
        PAIRS,
        "[simulation]",
        "[method]\ntype = 'Neural'\n[simulation]",
        "method.type Neural trains a network for a CurrencyBook, which no run can keep; take ClosedForm",
    ),
    "a maturity too many": (
        OPTIONS,
        "maturities = [1.0, 1.5]",
        "maturities = [1.0, 1.5, 2.0]",
        "OptionsBook: strikes, maturities and sizes must be lists of one length",
    ),
    "a horizon beyond a maturity": (
        OPTIONS,
        "horizon = 0.0012",
        "horizon = 1.2",
        "problem.horizon=1.2 does not end before the first maturity of 1 years",
    ),
    "a world that prices cannot have": (
        OPTIONS,
        "reversion = 3.0",
        "reversion = -3.0",
        "problem.pricing.reversion must be positive and finite",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_book_is_one_line_that_names_the_key_and_nothing_is_written(run, tmp_path, wrong):
    text, before, after, message = WRONG[wrong]
    assert before in text
    path = written(tmp_path, text.replace(before, after, 1))
    code, out, err = run("solve", path, "--out", tmp_path / "run")
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith(f"twosided: error: {path}: ")
    assert message in err[0]
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        ("simulate", ("--market", "tick=1"), "PoissonMarket is for an InventoryDealer or a StockCashDealer, got Multi"),
        ("simulate", ("--settlement", "1"), "settlement is for a dealer with a cash account and time in years"),
        ("frontier", (), "problem.type MultiAssetDealer has several things to quote, and frontier takes one"),
        ("regret", (), "problem.type MultiAssetDealer has several things to quote, and regret takes one"),
        (
            "calibrate",
            ("--risk-aversion", "budget", "--target-deviation", "1"),
            "problem.type MultiAssetDealer has several things to quote, and calibrate takes one; use solve or simulate",
        ),
    ],
)
def test_what_takes_one_asset_refuses_a_book_before_any_work(run, tmp_path, command, options, message):
    path = written(tmp_path, ASSETS)
    code, out, err = run(command, path, *options, "--out", tmp_path / "run")
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith(f"twosided: error: {path}: ")
    assert message in err[0]
    assert [path] == list(tmp_path.iterdir())


# What a run writes and says


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are made, and left out of the page: drawing them is most of the time that a run takes."""
    monkeypatch.setattr(_figures, "as_svg", lambda figure: "data:,")


def check_run(run, folder: Path, text: str) -> tuple[list[str], dict[str, Any], str]:
    """Simulate a case and report on it anew: what was printed, the summary, and the page."""
    path, place = written(folder, text), folder / "run"
    code, out, err = run("simulate", path, "--out", place)
    assert (code, err) == (0, [])
    files = {"case.toml", "solution.nc", "simulation.nc", "summary.json", "report.html"}
    assert {file.name for file in place.iterdir()} == files
    summary = json.loads((place / "summary.json").read_text(encoding="utf-8"))
    page = (place / "report.html").read_text(encoding="utf-8")
    (place / "report.html").unlink()
    assert run("report", place)[0] == 0
    assert (place / "report.html").read_text(encoding="utf-8") == page
    assert summary["solution"]["converged"]
    case, solution = (
        parse_case((place / "case.toml").read_text(encoding="utf-8")),
        ts.Solution.load(place / "solution.nc"),
    )
    assert to_data(case.problem) == to_data(solution.problem)
    simulation = ts.Simulation.load(place / "simulation.nc")
    told = {row.quantity: row for row in simulation.rows(solution)}
    for row in summary["simulation"]["rows"]:
        if row["quantity"] in told:
            assert row["measured"] == pytest.approx(told[row["quantity"]].measured, rel=1e-12)
    return out, summary, page


def line(out: list[str], begins: str) -> list[float]:
    """The numbers of the printed line that begins so."""
    (found,) = (text for text in out if text.split("  ")[1:2] == [begins] or text.strip().startswith(begins))
    return [float(x) for x in re.findall(r"-?\d+\.?\d*", found.replace(begins, "", 1))]


def test_a_run_of_currency_pairs_is_played_shown_and_read_back(run, tmp_path, undrawn):
    out, summary, page = check_run(run, tmp_path, PAIRS)
    solution: Any = ts.solve(parse_case(PAIRS).problem)
    bid, ask = solution.quotes(pair=1)
    first = next(i for i, text in enumerate(out) if "pair 1, distances" in text)
    assert line(out[first:][:3], "tier 0, bid") == pytest.approx(bid[0], abs=1e-4)
    np.testing.assert_allclose(summary["solution"]["ask"][1], ask, rtol=1e-12)
    rows = {row["quantity"]: row for row in summary["simulation"]["rows"]}
    assert rows["criterion"]["predicted"] == pytest.approx(float(solution.value(inventory=[3.0, -2.0])))
    assert summary["simulation"]["agrees"] is None  # of an approximation
    assert summary["simulation"]["initial"] == {"inventory": [3.0, -2.0]}
    for name in ("The ladder", "Quotes against the position in pair 1", "Hedging against the position"):
        assert f"<strong>{name}.</strong>" in page
    assert "starting with inventory 3, -2 M" in page


def test_a_book_of_assets_is_solved_and_shown(run, tmp_path, undrawn):
    code, out, err = run("solve", written(tmp_path, ASSETS), "--out", tmp_path / "run")
    assert (code, err) == (0, [])
    assert {file.name for file in (tmp_path / "run").iterdir()} == {
        "case.toml",
        "solution.nc",
        "summary.json",
        "report.html",
    }
    solution = ts.Solution.load(tmp_path / "run" / "solution.nc")
    bid, ask = solution.quotes(0.0)
    for asset in (0, 1):
        expected = (asset, bid[asset], ask[asset], bid[asset] + ask[asset])
        (row,) = (text for text in out if text.split()[:1] == [str(asset)])
        np.testing.assert_allclose([float(x) for x in row.split()], expected, atol=1e-3)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<strong>Quotes against an asset&#x27;s own inventory.</strong>" in page
    assert "Quotes now, without inventory: distances from the reference price, ticks." in page


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["assets", "currency", "options"])
def test_a_run_of_a_book_agrees_with_its_prediction(run, tmp_path, kind):
    out, summary, page = check_run(run, tmp_path, BOOKS[kind])
    assert summary["simulation"]["agrees"]
    assert any("Simulation agrees with" in text for text in out)
    assert page.count("data:image/svg+xml") >= 3
    if kind == "options":
        unit, points = summary["solution"]["bid"], summary["solution"]["bid_points"]
        vegas = np.asarray(parse_case(OPTIONS).problem.vegas)
        np.testing.assert_allclose(np.array(points), 100 * np.array(unit) / vegas, rtol=1e-9)
        assert any("bid, points" in text for text in out)


# What it takes


@pytest.fixture(scope="module")
def pairs() -> Any:
    return ts.solve(parse_case(PAIRS).problem)


def test_the_band_of_a_pair_is_where_it_does_not_hedge(pairs):
    low, high = pairs.internalisation_threshold(pair=1)
    assert low == pytest.approx(-high)
    for position, hedges in ((0.999 * high, False), (1.001 * high, True)):
        rate = pairs.hedge_rate(inventory=[0.0, position])[1]
        assert (rate < 0) == hedges


def test_a_pair_without_a_market_has_no_band():
    case = parse_case(re.sub(r"\[problem\.pairs\.hedging\]\n(.+\n){4}", "", PAIRS))
    solution: Any = ts.solve(case.problem)
    assert tuple(solution.internalisation_threshold()) == (-math.inf, math.inf)
    view = view_for(case.problem, {}, solution)
    assert not any("hedging" in shown.caption for shown in view.brief(solution))


def test_one_entry_simulates_every_problem_and_names_what_it_lacks(pairs):
    problem = pairs.problem
    mine = ts.simulate(problem, pairs.policy, 20, seed=3, initial={"inventory": [1.0, 0.0]}, steps=10)
    step = float(problem.horizon) / 10
    theirs = ts.validation.simulate_currency(problem, pairs, 20, 3, [1.0, 0.0], longest_step=step)
    np.testing.assert_array_equal(mine.earned, theirs.earned)
    with pytest.raises(TypeError, match="policy must be a currency solution's own, which says what it hedges as well"):
        ts.simulate(problem, lambda t, state: ts.Quotes(1.0, 1.0), 20)
    with pytest.raises(ValueError, match="a CurrencyBook is simulated by the model's own exact fills: leave fills,"):
        ts.simulate(problem, pairs.policy, 20, fills="linear", steps=3)
    with pytest.raises(TypeError, match="CurrencyBook has no state 'cash'; its state is inventory"):
        ts.simulate(problem, pairs.policy, 20, initial={"cash": 1.0})


@pytest.mark.slow
def test_a_long_book_is_cut_on_the_terminal_and_whole_in_the_report():
    many, ask = 30, ts.models.Exponential(0.7, 0.3)
    book = ts.models.MultiAssetDealer(
        np.full(many, 0.3), 5.0, ask, ask, 1.0, np.inf, ts.models.RiskPenalty(0.1, 0.0), 0.5
    )
    solution = ts.solve(book)
    view: Any = view_for(book, {}, solution)
    (brief,), (whole,) = view.brief(solution), view.tables(solution)
    assert (len(brief.rows), len(whole.rows)) == (24, many)
    assert brief.caption.endswith("6 more in the report")
    assert len(list(view.pictures(solution))) == 2
