"""Case files: what they state is built and written back, and what is wrong with them is named with its mend."""

import re
import tomllib
from pathlib import Path

import pytest

import twosided as ts
from twosided import _toml
from twosided._case import parse_case, read_case
from twosided._errors import UserError

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.toml"))
(GLFT,) = (path for path in EXAMPLES if path.stem == "glft_dealer")

GOOD = """
[problem]
type = "StockCashDealer"
growth = 0.15
volatility = 0.45
rate = 0.03
horizon = 0.02
lot = 1.0
max_stock = 5.0
[problem.bid_demand]
type = "Exponential"
scale = 3660.0
decay = 60.0
[problem.ask_demand]
type = "Linear"
scale = 3660.0
slope = 1e5
[problem.objective]
type = "MeanVariance"
risk_aversion = 10
[method]
type = "FiniteDifference"
nodes_per_lot = 4
steps = 8
[simulation]
paths = 1000
seed = 3
[simulation.initial]
stock = 2
[units]
time = "years"
money = "dollars"
reference_price = 20.0
"""


def test_a_case_states_problem_method_simulation_and_units():
    case = parse_case(GOOD, "mine")
    assert case.name == "mine"
    assert isinstance(case.problem, ts.models.StockCashDealer)
    assert float(case.problem.volatility) == 0.45
    assert isinstance(case.problem.ask_demand, ts.models.Linear)
    assert case.method == ts.hjb.FiniteDifference(nodes_per_lot=4, steps=8)
    assert (case.simulation.paths, case.simulation.seed, case.simulation.initial) == (1000, 3, {"stock": 2})
    assert case.units["reference_price"] == 20.0


def test_a_setting_of_two_numbers_is_a_list_and_written_back():
    case = parse_case(GOOD.replace("steps = 8", "steps = 8\ncash_range = [5, 7]"), "mine")
    assert case.method.cash_range == (5, 7)
    assert parse_case(case.to_toml(), "mine").method == case.method


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_written_back_reads_as_the_same_case(path):
    case = read_case(path)
    again = parse_case(case.to_toml("a header\nof two lines"), case.name)
    assert again.to_toml() == case.to_toml()
    assert repr(again.problem) == repr(case.problem)
    assert again.method == case.method
    assert again.simulation == case.simulation


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize(
    "data",
    [
        {"a": 1, "b": {"c": -0.25, "d": [1.0, 2e-300], "e": {"f": True}}},
        {"text": 'quote " backslash \\ tab \t delete \x7f accent é'},
        {"x": float("inf"), "whole": 10**6, "none": {"at": {"all": "here"}}, "empty": {}},
    ],
)
def test_toml_written_is_read_back(data):
    assert tomllib.loads(_toml.dumps(data)) == data


def test_toml_leaves_out_what_is_none():
    assert tomllib.loads(_toml.dumps({"a": None, "b": {"c": None, "d": 1}})) == {"b": {"d": 1}}


def changed(pattern: str, replacement: str) -> str:
    text, count = re.subn(pattern, replacement, GOOD, count=1, flags=re.MULTILINE)
    assert count == 1, "the test must change something"
    return text


WRONG = {
    "an unknown key": (
        changed("^volatility", "volatilty"),
        "problem.volatilty is not known; StockCashDealer takes growth, volatility, .*: did you mean volatility?",
    ),
    "an unknown key like no other": (
        changed("^growth = .*", "growth = 0.1\nwings = 2"),
        "problem.wings is not known; .*: correct or remove the key",
    ),
    "an unknown key of a demand": (
        changed("^slope", "slop"),
        "problem.ask_demand.slop is not known; Linear takes scale, slope: did you mean slope?",
    ),
    "an unknown key of the method": (
        changed("^steps = 8", "step = 8"),
        "method.step is not known; FiniteDifference takes .*: did you mean steps?",
    ),
    "an unknown key of the simulation": (
        changed("^seed", "sede"),
        "simulation.sede is not known; .*: did you mean seed?",
    ),
    "an unknown state": (
        changed("^stock = 2", "stok = 2"),
        "simulation.initial.stok is not known; StockCashDealer takes stock, cash: did you mean stock?",
    ),
    "an unknown table": (changed(r"^\[method\]", "[metod]"), "metod is not known; .*: did you mean method?"),
    "an unknown type": (
        changed("StockCashDealer", "StockDealer"),
        "problem.type the text 'StockDealer' is not known; .*: did you mean StockCashDealer?",
    ),
    "an objective for a demand": (
        changed('"Exponential"', '"MeanVariance"'),
        "problem.bid_demand.type the text 'MeanVariance' is not known; name one of Exponential, Linear,",
    ),
    "a missing key": (changed("^rate = .*", ""), "problem.rate is missing; StockCashDealer needs it"),
    "a missing type": (changed('^type = "Linear"', ""), "problem.ask_demand.type is missing; name one of"),
    "no problem": ("[method]\ntype = 'Lattice'", r"problem is missing; state it under \[problem\]"),
    "a table that is a number": ("problem = 3", r"problem must be a table, got 3; write \[problem\]"),
    "a demand that is a number": (
        "[problem]\ntype = 'InventoryDealer'\nbid_demand = 3",
        r"problem.bid_demand must be a table with a type, got 3; write \[problem.bid_demand\]",
    ),
    "a text for a number": (
        changed("^volatility = .*", 'volatility = "45%"'),
        "problem.volatility must be a number, got the text '45%'; write a bare number, without quotes or unit",
    ),
    "a number in quotes": (changed("^volatility = .*", 'volatility = "0.45"'), "problem.volatility must be a number"),
    "a unit behind a number": (changed("^volatility = .*", "volatility = 0.45 per year"), "this is not TOML: .*line 5"),
    "true for a number": (
        changed("^volatility = .*", "volatility = true"),
        "problem.volatility must be a number, got tr",
    ),
    "a list for a number": (changed("^volatility = .*", "volatility = [0.1, 0.2]"), "got a list of 2; write a single"),
    "a negative volatility": (
        changed("^volatility = .*", "volatility = -0.3"),
        "problem.volatility must be finite and not negative, got -0.3; it is per square root of a year",
    ),
    "nan": (changed("^rate = .*", "rate = nan"), "problem.rate must be finite, got nan"),
    "a horizon of 0": (
        changed("^horizon = .*", "horizon = 0"),
        "problem.horizon must be positive and finite, got 0; it is",
    ),
    "a limit below one lot": (
        changed("^max_stock = .*", "max_stock = 0.5"),
        "problem.max_stock must be at least one lot",
    ),
    "a demand that rises": (
        changed("^decay = .*", "decay = -60.0"),
        "problem.bid_demand.decay must be positive and finite, got -60; fills must fall with the distance",
    ),
    "an inadmissible demand": (
        changed(
            '^type = "Exponential"\nscale = .*\ndecay = .*',
            'type = "Tabulated"\ndistance = [0.0, 0.1, 0.2]\nintensity = [9.0, 2.0, 1.9]',
        ),
        "problem.bid_demand: Tabulated: 1/intensity must be strictly convex, but is not at distance 0.1",
    ),
    "a negative risk aversion": (
        changed("^risk_aversion = .*", "risk_aversion = -1"),
        "problem.objective.risk_aversion must be finite and not negative, got -1",
    ),
    "a utility that is minus infinity": (
        changed('"MeanVariance"', '"ExponentialUtility"'),
        "problem: StockCashDealer: ExponentialUtility is minus infinity",
    ),
    "a setting out of range": (
        changed("^steps = 8", "steps = 10"),
        "method.steps must be a multiple of 4 for Richardson's extrapolation, got 10; round it up",
    ),
    "a switch that is a number": (
        changed("^steps = 8", "extrapolate = 1"),
        "method.extrapolate must be true or false, got 1",
    ),
    "too few paths": (changed("^paths = .*", "paths = 1"), "simulation.paths must be a whole number of at least 2"),
    "a fraction of a path": (changed("^paths = .*", "paths = 10.5"), "simulation.paths must be a whole number"),
    "a rule for fills that is none": (
        changed("^paths = .*", 'fills = "bernoulli"'),
        "simulation.fills must be 'exact' or 'linear', got the text 'bernoulli'",
    ),
    "the linear rule without steps": (changed("^paths = .*", 'fills = "linear"'), "simulation.steps is missing"),
    "a start that is nan": (changed("^stock = 2", "stock = nan"), "simulation.initial.stock must be finite, got nan"),
    "a market that is none": (GOOD + "\n[market]\ntype = 'Book'", "market.type the text 'Book' is not known; name one"),
    "a friction that is none": (
        GOOD + "\n[market]\ntype = 'PoissonMarket'\ntik = 1",
        "market.tik is not known; PoissonMarket takes tick, queue_ahead, .*: did you mean tick?",
    ),
    "a tick that is a text": (
        GOOD + "\n[market]\ntype = 'PoissonMarket'\ntick = '1 cent'",
        "market.tick must be a number, got the text '1 cent'; write a bare number",
    ),
    "a negative tick": (
        GOOD + "\n[market]\ntype = 'PoissonMarket'\ntick = -1",
        "market.tick must be finite and not negative, got -1",
    ),
    "a queue without ticks": (
        GOOD + "\n[market]\ntype = 'PoissonMarket'\nqueue_ahead = 3",
        "market.queue_ahead needs a tick and a refresh",
    ),
    "time in another unit": (
        changed('^time = "years"', 'time = "days"'),
        "units.time is 'days', but StockCashDealer has time in 'years'; convert the numbers and write time = \"years\"",
    ),
    "distances in another unit": (
        changed('^time = "years"', 'distance = "price"'),
        "units.distance is 'price', but StockCashDealer has distance in 'relative'",
    ),
    "a unit that is a number": (changed('^time = "years"', "time = 365"), "units.time must be the name of a unit"),
    "a price that cannot be": (
        changed("^reference_price = .*", "reference_price = -20"),
        "units.reference_price must be",
    ),
    "a setting of one number too few": (
        changed("^steps = 8", "steps = 8\ncash_range = [5]"),
        "method.cash_range must be two numbers of lots",
    ),
    "no TOML": ("[problem", "this is not TOML: "),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_named_with_its_place_and_the_mend(wrong, tmp_path):
    text, message = WRONG[wrong]
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as caught:
        read_case(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_reference_price_is_refused_where_distances_are_in_price_units():
    text = GLFT.read_text(encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"units\.reference_price is for problems with distance in relative; leave it out"
    ):
        parse_case(text + "\nreference_price = 10.0")


def test_a_dealer_in_lots_counts_time_in_whatever_it_is_given():
    text = GLFT.read_text(encoding="utf-8")
    assert parse_case(text.replace('time = "seconds"', 'time = "fortnights"')).units["time"] == "fortnights"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.toml", "there is no such case file"),
        ("folder", "case.toml: there is no such case file"),
        ("binary.toml", "this is no text; give a TOML file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=message):
        read_case(tmp_path / name)


def test_a_runs_folder_stands_for_its_case_and_gives_it_its_name(tmp_path):
    (tmp_path / "goog").mkdir()
    (tmp_path / "goog" / "case.toml").write_text(GOOD, encoding="utf-8")
    assert read_case(tmp_path / "goog").name == "goog"
    assert read_case(tmp_path / "goog" / "case.toml").name == "goog"
