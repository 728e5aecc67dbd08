"""The command line as a user meets it: what it writes, what it says, and that it leaves nothing half-written."""

import contextlib
import gzip
import html
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import twosided as ts
from twosided._case import read_case
from twosided._frontier import _again as again
from twosided._runs import FILES, new_run
from twosided.validation._sample_file import read_paths
from twosided.validation.frontier import Frontier
from twosided.validation.markets._file import read_played
from twosided.validation.statistics import critical_value
from twosided.validation.synthetic import sample_path

SMALL = """
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
type = "Exponential"
scale = 3000.0
decay = 80.0
[problem.objective]
type = "MeanVariance"
risk_aversion = 10.0
[method]
type = "FiniteDifference"
nodes_per_lot = 8
steps = 40
extrapolate = false
[simulation]
paths = 2000
seed = 1
"""

LOTS = """
[problem]
type = "InventoryDealer"
volatility = 0.3
horizon = 20.0
lot = 1.0
max_inventory = 8
[problem.bid_demand]
type = "Exponential"
scale = 0.9
decay = 0.3
[problem.ask_demand]
type = "Exponential"
scale = 0.7
decay = 0.4
[problem.objective]
type = "ExponentialUtility"
risk_aversion = 0.01
[simulation]
paths = 1000
[market]
type = "PoissonMarket"
tick = 1.0
refresh = 1.0
queue_ahead = 1
[units]
money = "cents"
"""

FORMULA = """
[problem]
type = "AvellanedaStoikov"
volatility = 2.0
horizon = 1.0
scale = 140.0
decay = 1.5
risk_aversion = 0.1
[simulation]
paths = 2000
"""


@pytest.fixture
def case(tmp_path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def left_in(folder: Path) -> set[str]:
    """Everything in a folder, hidden files included."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# What a user asks first


def test_help_answers_without_importing_what_takes_time():
    """That is what keeps it under half a second; a clock would measure the machine as well."""
    heavy = ("jax", "numpy", "scipy", "matplotlib", "xarray", "pandas", "distributed")
    code = f"import sys; from twosided import cli; print(cli.run(['--help']), [m for m in {heavy} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Usage: twosided" in said
    assert said.splitlines()[-1] == "0 []"


@pytest.mark.parametrize("name", ["demo", "solve", "simulate", "regret", "calibrate", "frontier", "study", "report"])
def test_each_command_explains_itself(run, name):
    code, out, err = run(name, "--help")
    assert code == 0
    assert err == []
    assert any("Usage: twosided " + name in line for line in out)


def test_the_help_promises_the_files_that_every_run_writes(run):
    code, out, _ = run("--help")
    assert code == 0
    (promise,) = (line for line in out if "Every run writes one folder" in line)
    assert set(re.findall(r"\w+\.\w+", promise)) == {"report.html", "summary.json"}


def test_the_fewest_days_that_the_help_states_are_those_that_a_study_takes(run, tmp_path):
    _, out, _ = run("study", "--help")
    (line,) = (line for line in out if "--days" in line)
    assert "at least 16" in line
    assert "x>=2" not in line
    code, _, err = run("study", "--days", 15, "--out", tmp_path / "run")
    assert (code, len(err)) == (2, 1)
    assert "16 days, got 20 and 15" in err[0]


def test_the_version_is_printed(run):
    assert run("--version") == (0, [f"twosided {ts.__version__}"], [])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("solv", "x.toml"), "No such command 'solv'"),
        (("solve",), "Missing argument 'CASE.toml'"),
        (("solve", "x.toml", "--oot", "y"), "No such option: --oot"),
        (("simulate", "x.toml", "--paths", "many"), "Invalid value for '--paths': Input should be a valid integer"),
        (
            ("simulate", "x.toml", "--paths", "1"),
            "Invalid value for '--paths': Input should be greater than or equal to 2",
        ),
        (("demo", "--seed", "-1"), "Invalid value for '--seed': Input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(run, arguments, said):
    code, out, err = run(*arguments)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("twosided: error: ")
    assert said in err[0]


# What a run writes


def test_solve_writes_a_folder_from_which_the_same_numbers_come_again(run, case, tmp_path):
    code, out, err = run("solve", case, "--out", tmp_path / "first")
    assert (code, err) == (0, [])
    assert out[-1] == f"Report: {tmp_path / 'first' / 'report.html'}"
    assert left_in(tmp_path / "first") == {"case.toml", "solution.nc", "summary.json", "report.html"}
    assert run("solve", tmp_path / "first", "--out", tmp_path / "second")[0] == 0
    first, second = (ts.Solution.load(tmp_path / name / "solution.nc") for name in ("first", "second"))
    np.testing.assert_array_equal(first.tables.value, second.tables.value)
    summary = json.loads((tmp_path / "first" / "summary.json").read_text(encoding="utf-8"))
    assert summary["solution"]["converged"] is True
    assert summary["solution"]["value"] == pytest.approx(float(first.value(0.0)))
    direct = ts.solve(read_case(case).problem, ts.hjb.FiniteDifference(nodes_per_lot=8, steps=40, extrapolate=False))
    assert summary["solution"]["bid"] == pytest.approx(float(direct.quotes(0.0).bid), rel=1e-12)


def test_simulate_writes_all_five_files_and_its_options_go_before_the_files(run, case, tmp_path):
    code, out, err = run("simulate", case, "--out", tmp_path / "run", "--paths", 3000, "--seed", 7)
    assert (code, err) == (0, [])
    assert left_in(tmp_path / "run") == set(FILES)
    simulation = ts.Simulation.load(tmp_path / "run" / "simulation.nc")
    assert (simulation.paths, simulation.seed, simulation.rule) == (3000, 7, "exact")
    again = read_case(tmp_path / "run").simulation
    assert (again.paths, again.seed) == (3000, 7)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    rows = {row["quantity"]: row for row in summary["simulation"]["rows"]}
    assert rows["mean wealth"]["measured"] == pytest.approx(simulation.mean_wealth)
    assert any(line.split()[:2] == ["mean", "wealth"] for line in out)


@pytest.mark.slow
def test_the_linear_rule_is_asked_for_by_name_and_with_its_steps(run, tmp_path):
    path = tmp_path / "formula.toml"
    path.write_text(FORMULA, encoding="utf-8")
    code, _, err = run("simulate", path, "--fills", "linear", "--out", tmp_path / "run")
    assert (code, len(err)) == (2, 1)
    assert "steps is missing; the linear rule needs the number of time steps" in err[0]
    code, out, err = run("simulate", path, "--fills", "linear", "--steps", 50, "--out", tmp_path / "run")
    assert (code, err) == (0, [])
    assert any("published approximation" in line for line in out)
    simulation = ts.Simulation.load(tmp_path / "run" / "simulation.nc")
    assert (simulation.rule, simulation.steps) == ("linear", 50)


@pytest.mark.slow
def test_a_market_says_where_the_predicted_value_goes(run, tmp_path):
    path = tmp_path / "lots.toml"
    path.write_text(LOTS, encoding="utf-8")
    code, out, err = run("simulate", path, "--out", tmp_path / "run", "--market", "latency=0.2,refresh=2")
    assert (code, err) == (0, [])
    assert left_in(tmp_path / "run") == set(FILES)
    assert read_case(tmp_path / "run").market.to_data() == {
        "type": "PoissonMarket", "tick": 1.0, "queue_ahead": 1.0, "refresh": 2.0, "latency": 0.2
    }  # fmt: skip
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    market, solution = summary["market"], ts.Solution.load(tmp_path / "run" / "solution.nc")
    assert market["predicted"]["criterion"] == pytest.approx(float(solution.value(0.0)))
    assert [term["name"] for term in market["terms"]] == ["chance", "refresh", "latency", "tick", "queue_ahead"]
    lost = sum(term["value"] for term in market["terms"])
    assert market["predicted"]["criterion"] + lost == pytest.approx(market["obtained"]["criterion"], abs=1e-9)
    assert lost < 0
    (line,) = (line.split() for line in out if line.split()[:3] == ["+", "queue", "ahead"])
    assert float(line[3]) == pytest.approx(market["terms"][-1]["value"], abs=0.5 * 10.0 ** -len(line[3].split(".")[1]))
    assert sum("of the value predicted survives (standard error" in line for line in out) == 1
    paths = read_played(tmp_path / "run" / "simulation.nc")
    assert list(paths.friction.values) == ["none", "refresh", "latency", "tick", "queue_ahead"]
    assert float(paths.score[-1].mean()) == pytest.approx(market["obtained"]["criterion"], abs=1e-12)
    assert (paths.wealth.units, paths.inventory.units, paths.bid_fills.dims) == ("money", "lots", ("friction", "path"))
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "In a market" in page
    assert run("report", tmp_path / "run")[0] == 0
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8") == page


@pytest.mark.slow
def test_being_wrong_is_priced_error_by_error(run, tmp_path):
    path = tmp_path / "lots.toml"
    path.write_text(LOTS, encoding="utf-8")
    asked = ("--wrong", "decay=3", "--wrong", "flow=2,risk_aversion=1", "--market", "refresh=0.5,queue_ahead=0")
    code, out, err = run("regret", path, "--out", tmp_path / "run", "--paths", 400, *asked)
    assert (code, err) == (0, [])
    assert left_in(tmp_path / "run") == {"case.toml", "solution.nc", "summary.json", "report.html"}
    found = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))["regret"]
    steep, _ = found["regrets"]
    assert [each["name"] for each in found["regrets"]] == ["decay x 3", "flow x 2, risk aversion x 1"]
    assert steep["regret"] == pytest.approx(found["right"]["criterion"] - steep["criterion"], abs=1e-9)
    assert steep["regret"] > 5.4 * steep["standard_error"] > 0
    (line,) = (line for line in out if line.strip().startswith("decay x 3"))
    assert f"{steep['regret'] / found['right']['criterion']:+.2%}" in line
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "What being wrong costs" in page
    command = found_again(page)
    assert command == "twosided regret case.toml --wrong decay=3 --wrong flow=2,risk_aversion=1"
    assert (
        run(*command.replace("case.toml", str(tmp_path / "run" / "case.toml")).split()[1:], "--out", tmp_path / "2")[0]
        == 0
    )
    assert json.loads((tmp_path / "2" / "summary.json").read_text(encoding="utf-8"))["regret"] == found
    assert run("report", tmp_path / "run")[0] == 0
    assert (tmp_path / "run" / "report.html").read_text(encoding="utf-8") == page


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("vol=2", "--wrong vol is not known; wrong takes factors of risk_aversion, volatility, decay, flow"),
        ("decay=x", "--wrong decay must be a factor, got 'x'; write decay=2, say"),
        ("decay=-1", "--wrong decay must be a positive factor, got -1"),
    ],
)
def test_an_error_that_is_none_is_refused_before_any_work(run, tmp_path, monkeypatch, asked, message):
    monkeypatch.setattr("twosided._commands._solve", lambda *_: pytest.fail("worked before looking at the errors"))
    path = tmp_path / "lots.toml"
    path.write_text(LOTS, encoding="utf-8")
    code, _, err = run("regret", path, "--out", tmp_path / "run", "--wrong", asked)
    assert (code, len(err)) == (2, 1)
    assert message in err[0]
    assert not (tmp_path / "run").exists()


def found_again(page: str) -> str:
    """The command by which a page says that it can be made again."""
    said = re.search(r"<td>again</td><td[^>]*>(.*?), with the case.toml in this folder</td>", page)
    assert said, "no such line"
    return html.unescape(said[1])


def test_being_wrong_is_told_in_a_folder_of_its_own_with_the_command_that_was_given(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("lots.toml").write_text(LOTS, encoding="utf-8")
    with new_run(tmp_path / "runs" / "lots") as folder:  # as `simulate` left it
        (folder / "summary.json").write_text('{"twosided": "1"}', encoding="utf-8")
        (folder / "simulation.nc").write_text("precious", encoding="utf-8")
    monkeypatch.setattr("twosided._commands._solve", lambda *_: None)
    monkeypatch.setattr("twosided._regret._regret", lambda *_: {})
    for name in ("print_solution", "print_regret"):
        monkeypatch.setattr(f"twosided._regret.{name}", lambda *_: None)
    monkeypatch.setattr("twosided.validation.report.regret_section", lambda *_: ("What being wrong costs", ""))
    code, out, err = run("regret", "lots.toml", "--wrong", "decay=3", "--wrong", "flow=2", "--seed", 4, "--paths", 50)
    assert (code, err, out[-1]) == (0, [], f"Report: {Path('runs/lots-regret/report.html')}")
    assert Path("runs/lots/simulation.nc").read_text(encoding="utf-8") == "precious"
    page = Path("runs/lots-regret/report.html").read_text(encoding="utf-8")
    command = "twosided regret case.toml --wrong decay=3 --wrong flow=2"
    assert found_again(page) == command
    assert f"Run it again: {command}\n" in Path("runs/lots-regret/case.toml").read_text(encoding="utf-8")
    kept = read_case(Path("runs/lots-regret")).simulation
    assert (kept.paths, kept.seed) == (50, 4)
    assert "simulation.nc" not in page, "there is none"


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        (("--seed", 9, "--workers", 2), "twosided frontier case.toml"),
        (
            (
                "--points",
                3,
                "--to",
                8,
                "--readings",
                "static",
                "--readings",
                "pre-commitment,equilibrium",
                "--paths",
                0,
            ),
            "twosided frontier case.toml --points 3 --to 8.0 --paths 0 --readings static,pre_commitment,equilibrium",
        ),
    ],
)
def test_a_frontier_states_the_command_that_was_given(run, case, tmp_path, monkeypatch, asked, command):
    stated = {}

    def summary(case, *_):
        stated["seed"] = case.simulation.seed
        raise ValueError("enough")

    monkeypatch.setattr(sys.modules[Frontier.__module__], "frontier", lambda *_, **given: given)
    monkeypatch.setattr(
        "twosided._frontier._again", lambda *asked: stated.update(again=again(*asked)) or stated["again"]
    )
    monkeypatch.setattr("twosided._frontier._summary", summary)
    assert run("frontier", case, *asked, "--out", tmp_path / "run")[0] == 2
    assert stated == {"again": command, "seed": 9 if "--seed" in asked else 1}


@pytest.mark.slow
def test_a_frontier_comes_again_by_the_command_on_its_page(run, case, tmp_path):
    paths = 300
    asked = ("--points", 2, "--from", 0.25, "--to", 8, "--readings", "static", "--paths", paths, "--seed", 9)
    assert run("frontier", case, *asked, "--out", tmp_path / "run")[0] == 0
    command = found_again((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    assert command == f"twosided frontier case.toml --points 2 --from 0.25 --to 8.0 --paths {paths} --readings static"
    stated = (tmp_path / "run" / "case.toml").read_text(encoding="utf-8")
    assert f"Run it again: {command}\n" in stated
    assert "seed = 9" in stated
    words = command.replace("case.toml", str(tmp_path / "run" / "case.toml")).split()[1:]
    assert run(*words, "--out", tmp_path / "again")[0] == 0
    first, second = (Frontier.load(tmp_path / name / "frontier.nc").data for name in ("run", "again"))
    xr.testing.assert_identical(first, second)


@pytest.mark.slow
def test_a_market_is_left_out_or_taken_without_frictions_by_name(run, tmp_path):
    path = tmp_path / "lots.toml"
    path.write_text(LOTS, encoding="utf-8")
    assert run("simulate", path, "--out", tmp_path / "none", "--market", "none")[0] == 0
    assert "market" not in json.loads((tmp_path / "none" / "summary.json").read_text(encoding="utf-8"))
    path.write_text(LOTS[: LOTS.index("[market]")], encoding="utf-8")
    code, out, err = run("simulate", path, "--out", tmp_path / "free", "--market", "PoissonMarket")
    assert (code, err) == (0, [])
    market = json.loads((tmp_path / "free" / "summary.json").read_text(encoding="utf-8"))["market"]
    (chance,) = market["terms"]
    assert abs(chance["value"]) < critical_value() * chance["standard_error"]
    assert any(line.startswith("played: 1,000 paths in PoissonMarket()") for line in out)


@pytest.mark.parametrize(
    ("text", "asked", "message"),
    [
        (LOTS, "PoisonMarket", "--market 'PoisonMarket' is not known; name one of PoissonMarket, HawkesMarket, none"),
        (LOTS, "HawkesMarket,decay=-1", "--market decay must be positive"),
        (LOTS, "tik=1", "--market tik is not known; PoissonMarket takes tick, "),
        (LOTS, "tick=fine", "--market tick must be a number, got 'fine'"),
        (LOTS, "tick=0", "--market queue_ahead needs a tick"),
        (SMALL, "tick=1", "PoissonMarket: tick needs the opening price"),
    ],
)
def test_a_market_that_cannot_be_played_is_one_line_before_any_work(run, tmp_path, monkeypatch, text, asked, message):
    monkeypatch.setattr("twosided._commands._solve", lambda *_: pytest.fail("worked before looking at the market"))
    path = tmp_path / "case-file.toml"
    path.write_text(text, encoding="utf-8")
    code, out, err = run("simulate", path, "--out", tmp_path / "run", "--market", asked)
    assert (code, out, len(err)) == (2, [], 1)
    assert message in err[0]
    assert left_in(tmp_path) == {"case-file.toml"}


@pytest.mark.slow
def test_a_report_is_written_anew_from_what_a_run_left(run, case, tmp_path):
    folder = tmp_path / "run"
    assert run("simulate", case, "--out", folder)[0] == 0
    first = (folder / "report.html").read_text(encoding="utf-8")
    (folder / "report.html").unlink()
    assert run("report", folder)[0] == 0
    assert (folder / "report.html").read_text(encoding="utf-8") == first
    assert left_in(folder) == set(FILES)


def test_a_run_is_named_after_its_case_by_default(run, case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("solve", "small.toml")
    assert (code, out[-1]) == (0, f"Report: {Path('runs/small/report.html')}")
    assert run("solve", "runs/small")[0] == 0
    assert left_in(tmp_path / "runs") == {"small", *(f"small/{name}" for name in FILES if name != "simulation.nc")}


# What a run does not touch


def test_a_run_is_replaced_and_what_a_user_kept_beside_it_stays(run, case, tmp_path):
    folder = tmp_path / "run"
    assert run("solve", case, "--out", folder)[0] == 0
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    (folder / "simulation.nc").write_text("of the run before", encoding="utf-8")
    assert run("solve", case, "--out", folder)[0] == 0
    assert left_in(folder) == {"case.toml", "solution.nc", "summary.json", "report.html", "notes.txt"}
    assert left_in(tmp_path) == {"small.toml", "run", *(f"run/{name}" for name in left_in(folder))}


@pytest.mark.parametrize("kind", ["a folder of something else", "a file", "a folder with a summary of another's"])
def test_what_is_no_run_is_never_replaced(run, case, tmp_path, kind):
    out = tmp_path / "out"
    if kind == "a file":
        out.write_text("precious", encoding="utf-8")
    else:
        out.mkdir()
        name, text = ("summary.json", '{"precious": 1}') if "summary" in kind else ("thesis.tex", "precious")
        (out / name).write_text(text, encoding="utf-8")
    before = left_in(tmp_path)
    code, _, err = run("solve", case, "--out", out)
    assert (code, len(err)) == (2, 1)
    assert re.match(r"twosided: error: .*out is a f.* stays untouched; choose another folder with --out", err[0])
    assert left_in(tmp_path) == before


def test_a_run_that_fails_leaves_the_one_before_as_it_was(tmp_path):
    with new_run(tmp_path / "run") as folder:
        (folder / "summary.json").write_text('{"twosided": "1"}', encoding="utf-8")
        (folder / "solution.nc").write_text("old", encoding="utf-8")

    def fail() -> None:
        with new_run(tmp_path / "run") as folder:
            (folder / "solution.nc").write_text("half", encoding="utf-8")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        fail()
    assert left_in(tmp_path) == {"run", "run/summary.json", "run/solution.nc"}
    assert (tmp_path / "run" / "solution.nc").read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("place", ["file/run", "file/deeper/run", "/proc/twosided/run"])
def test_a_place_that_cannot_be_written_to_is_refused_before_any_work(run, case, tmp_path, place, monkeypatch):
    monkeypatch.setattr("twosided._commands._solve", lambda *_: pytest.fail("worked before looking at the place"))
    (tmp_path / "file").write_text("", encoding="utf-8")
    code, out, err = run("solve", case, "--out", tmp_path / place)
    assert (code, out, len(err)) == (2, [], 1)
    assert re.match(r"twosided: error: cannot (write to|use) .*(proc|file).*; choose a folder with --out", err[0])


# What is refused


WRONG_CASES = {
    "a negative volatility": (
        ("volatility = 0.45", "volatility = -0.3"),
        "problem.volatility must be finite and not neg",
    ),
    "an inadmissible demand": (
        ("decay = 60.0", "decay = -60.0"),
        "problem.bid_demand.decay must be positive and finite",
    ),
    "nan": (("growth = 0.15", "growth = nan"), "problem.growth must be finite, got nan"),
    "a horizon of 0": (("horizon = 0.02", "horizon = 0"), "problem.horizon must be positive and finite, got 0"),
    "a limit below one lot": (("max_stock = 5.0", "max_stock = 0.5"), "problem.max_stock must be at least one lot (1)"),
    "an unknown key": (("volatility", "volatilty"), "problem.volatilty is not known; StockCashDealer takes"),
    "a broken file": (("[problem]", "[problem"), "this is not TOML"),
    "too few iterations": (
        ("steps = 40", "steps = 40\nmax_iterations = 1"),
        "FiniteDifference did not converge: the residual stayed above the tolerance; take more steps",
    ),
    "an ill-posed problem": (
        ("risk_aversion = 10.0", "risk_aversion = 3000.0"),
        "did not converge: the dealer reaches states where no payment makes a permitted trade worth its own variance",
    ),
    "an objective that the method cannot solve": (
        ("MeanVariance", "PreCommitment"),
        "FiniteDifference cannot solve PreCommitment, whose quotes depend on wealth; take TargetMethod()",
    ),
    "a negative rate spread": (
        ("rate = 0.03", "rate = 0.03\nborrowing_rate = 0.01"),
        "problem.borrowing_rate must not lie below rate (0.03), got 0.01",
    ),
}


@pytest.mark.parametrize("name", ["solve", "simulate"])
@pytest.mark.parametrize("wrong", WRONG_CASES)
def test_a_wrong_case_is_one_line_that_names_it_and_nothing_is_written(run, tmp_path, name, wrong):
    (before, after), message = WRONG_CASES[wrong]
    path = tmp_path / "case-file.toml"
    path.write_text(SMALL.replace(before, after, 1), encoding="utf-8")
    assert after in path.read_text(encoding="utf-8")
    code, out, err = run(name, path, "--out", tmp_path / "run")
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith(f"twosided: error: {path}: ")
    assert message in err[0]
    assert left_in(tmp_path) == {"case-file.toml"}


def test_the_printed_dealer_is_solved_but_not_simulated(run, tmp_path):
    path = tmp_path / "printed.toml"
    text = SMALL.split("[method]")[0].replace("StockCashDealer", "PrintedDealer").replace("lot = 1.0", "price = 1.0")
    path.write_text(
        text.replace('[problem.objective]\ntype = "MeanVariance"\n', "")
        .replace("max_stock = 5.0", "max_stock = 5.0\nrisk_aversion = 10.0")
        .rsplit("risk_aversion", 1)[0],
        encoding="utf-8",
    )
    assert run("solve", path, "--out", tmp_path / "run")[0] == 0
    code, _, err = run("simulate", path, "--out", tmp_path / "other")
    assert (code, len(err)) == (2, 1)
    assert "a PrintedDealer can be solved but not simulated" in err[0]


def damaged(kind: str, folder: Path) -> Path:
    path = folder / f"{kind.replace(' ', '-')}.zip"
    raw = sample_path().read_bytes()
    if kind == "truncated":
        path.write_bytes(raw[: len(raw) // 2])
    elif kind == "corrupt":
        path.write_bytes(raw[:5000] + bytes(500) + raw[5500:])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut short inside":
        with zipfile.ZipFile(sample_path()) as whole, zipfile.ZipFile(path, "w") as part:
            for entry in whole.namelist():
                text = whole.read(entry)
                part.writestr(entry, text[: len(text) - 7] if "message" in entry else text)
    elif kind == "a truncated gzip":
        path.write_bytes(gzip.compress(raw)[:-100])
    elif kind == "something else":
        path.write_text("once upon a time\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["calibrate", "demo"])
@pytest.mark.parametrize(
    "kind", ["truncated", "corrupt", "empty", "cut short inside", "a truncated gzip", "something else", "missing"]
)
def test_a_damaged_data_file_is_one_line_that_names_it_and_nothing_is_written(run, tmp_path, name, kind):
    path = damaged(kind, tmp_path)
    before = left_in(tmp_path)
    where = ("--data", path) if name == "demo" else (path,)
    code, out, err = run(name, *where, "--out", tmp_path / "run")
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("twosided: error: ")
    assert path.name in err[0] or "SYNTH" in err[0]
    assert left_in(tmp_path) == before


@pytest.mark.parametrize(
    ("session", "message"),
    [
        ("ten to four", "--session must be two times such as 10:00-15:30"),
        ("10:30-10:10", "must open before it closes"),
        ("09:00-10:30", "reaches outside the file"),
    ],
)
def test_a_wrong_session_is_named(run, tmp_path, session, message):
    code, _, err = run("calibrate", sample_path(), "--session", session, "--out", tmp_path / "run")
    assert (code, len(err)) == (2, 1)
    assert message in err[0]
    assert left_in(tmp_path) == set()


def test_a_wrong_definition_of_a_fill_is_named(run, tmp_path):
    code, _, err = run("calibrate", sample_path(), "--definition", "touch", "--out", tmp_path / "run")
    assert (code, len(err)) == (2, 1)
    assert "definition must be 'reach' or 'virtual10'" in err[0]


@pytest.mark.parametrize("damage", ["no folder", "no run", "a damaged solution", "a damaged summary"])
def test_a_report_on_what_is_no_run_is_refused(run, case, tmp_path, damage):
    folder = tmp_path / "run"
    if damage == "no run":
        folder.mkdir()
    elif damage != "no folder":
        assert run("solve", case, "--out", folder)[0] == 0
        file = folder / ("solution.nc" if "solution" in damage else "summary.json")
        file.write_bytes(file.read_bytes()[:100])
    before = left_in(tmp_path)
    code, out, err = run("report", folder)
    assert (code, out, len(err)) == (2, [], 1)
    assert str(folder) in err[0]
    assert left_in(tmp_path) == before


def test_a_summary_that_was_changed_is_named_with_the_key(run, tmp_path):
    (tmp_path / "run").mkdir()
    sound = {"twosided": "1", "name": "run", "command": "solve", "date": "2024-01-02", "versions": {}, "seconds": {}}
    for changed, message in (
        ({"seconds": 3}, "summary.json: seconds must be a table of names and values, got 3; run the case again"),
        ({"seconds": {"solve": "long"}}, "summary.json: seconds.solve must be a number, got 'long'"),
        ({"name": ["run"]}, "summary.json: name must be a text, got ['run']"),
        ({"versions": None}, "summary.json: versions must be a table of names and values, got None"),
        ({"command": "study", "seconds": {"study": 1}}, "its files are not as this tool wrote them (KeyError"),
    ):
        (tmp_path / "run" / "summary.json").write_text(json.dumps(sound | changed), encoding="utf-8")
        code, out, err = run("report", tmp_path / "run")
        assert (code, out, len(err)) == (2, [], 1)
        assert message in err[0]
    (tmp_path / "run" / "summary.json").write_text("3", encoding="utf-8")
    assert run("report", tmp_path / "run")[2][0].endswith("give the folder that a run wrote, such as runs/demo")


@pytest.mark.parametrize("where", ["", "deeper/"])
def test_a_file_without_rows_is_named_once(run, case, tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deeper").mkdir()
    (tmp_path / where / "quotes.csv").write_text("time,inventory,bid,ask\n", encoding="utf-8")
    code, _, err = run("calibrate", f"{where}quotes.csv", "--risk-aversion", "implied", "--case", case)
    assert (code, len(err)) == (2, 1)
    assert err[0].startswith(f"twosided: error: {where}quotes.csv: there are no rows")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LOTS[: LOTS.index("[market]")], "is for a dealer with a cash account and time in years, and InventoryDealer"),
        (SMALL, "loses nothing where nothing limits what StockCashDealer borrows; give a credit_line or a margin"),
        (SMALL.replace("lot = 1.0", "lot = 1.0\ncredit_line = 2.0"), "day must divide the horizon of 0.02 into whole"),
    ],
)
def test_a_settlement_that_nothing_waits_for_is_refused_before_any_work(run, tmp_path, monkeypatch, text, message):
    monkeypatch.setattr("twosided._commands._solve", lambda *_: pytest.fail("worked before looking at the settlement"))
    path = tmp_path / "case-file.toml"
    path.write_text(text, encoding="utf-8")
    code, out, err = run("simulate", path, "--settlement", 2, "--out", tmp_path / "run")
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith(f"twosided: error: {path}: ")
    assert message in err[0]
    assert left_in(tmp_path) == {"case-file.toml"}


# What an interruption leaves


LONG = {
    "solve": SMALL.replace("nodes_per_lot = 8", "nodes_per_lot = 80").replace("steps = 40", "steps = 40000"),
    "simulate": SMALL.replace("paths = 2000", "paths = 200000000"),
}


@pytest.mark.parametrize(
    ("name", "number", "code", "after"),
    [
        ("solve", signal.SIGINT, 130, 0.0),
        ("simulate", signal.SIGINT, 130, 5.0),
        pytest.param("solve", signal.SIGINT, 130, 5.0, marks=pytest.mark.slow),
        pytest.param("solve", signal.SIGTERM, 143, 5.0, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_run_leaves_nothing_behind(tmp_path, name, number, code, after):
    path = tmp_path / "long.toml"
    path.write_text(LONG[name], encoding="utf-8")
    # A shell that runs the tests in the background leaves SIGINT ignored; this is about who presses Ctrl-C.
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = f"{listening}; from twosided.cli import main; main()"
    arguments = [sys.executable, "-c", command, name, str(path), "--out", str(tmp_path / "run")]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path.parent / "cache")}
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 60
    while left_in(tmp_path) == {"long.toml"} and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(left_in(tmp_path)) > 1, "it never began"
    time.sleep(after)
    out, err = interrupted(process, number)
    assert process.returncode == code, err
    assert left_in(tmp_path) == {"long.toml"}
    assert out == ""
    assert err.endswith("twosided: interrupted; nothing was written\n")


def test_an_interrupt_at_the_birth_of_a_folder_leaves_nothing_behind(tmp_path, monkeypatch):
    make = Path.mkdir

    def made(folder, *arguments, **options):
        make(folder, *arguments, **options)
        if folder.name.endswith(".part"):
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "mkdir", made)
    with pytest.raises(KeyboardInterrupt), new_run(tmp_path / "run"):
        pytest.fail("the folder was given out")
    assert left_in(tmp_path) == set()


def interrupted(process: subprocess.Popen, number: int) -> tuple[str, str]:
    """What it said after the signal. One that falls into JAX's own garbage collection is lost: then it comes again."""
    for seconds in (30, 60):
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=seconds)
    process.kill()
    return process.communicate()


# The main job


def check_demo(out: list[str], folder: Path) -> dict:
    assert left_in(folder) == set(FILES)
    assert out[-1] == f"Report: {folder / 'report.html'}"
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["solution"]["converged"] is True
    assert summary["solution"]["method"]["type"] == "FiniteDifference"
    assert summary["simulation"]["largest_z"] < critical_value()
    assert summary["cross_check"]["largest_difference_cents"] < 0.01
    sample = read_paths(folder / "simulation.nc")
    assert sample is not None
    halfway = sample.inventory[:, sample.time.size // 2] / summary["problem"]["lot"]
    assert np.std(halfway) == pytest.approx(2.5, rel=0.15), "the risk budget that the risk aversion states"
    return summary


@pytest.mark.slow
def test_the_demo_runs_on_the_sample_that_ships(run, tmp_path):
    code, out, err = run("demo", "--out", tmp_path / "demo", "--paths", 20_000)
    assert (code, err) == (0, [])
    summary = check_demo(out, tmp_path / "demo")
    assert "SYNTH" in summary["calibration"]["source"]


@pytest.mark.slow
def test_the_demo_runs_on_the_real_file(run, tmp_path, real_data):
    data = real_data("LOBSTER_SampleFile_GOOG_2012-06-21_10.zip")
    code, out, err = run("demo", "--data", data, "--out", tmp_path / "demo", "--paths", 20_000)
    assert (code, err) == (0, [])
    summary = check_demo(out, tmp_path / "demo")
    rate = summary["calibration"]["market_order_rate_per_second"]["value"]
    assert rate == pytest.approx(0.232, rel=0.02)
    decay = summary["calibration"]["definitions"]["virtual10"]["pooled"]["decay_per_dollar"]["value"]
    assert decay == pytest.approx(10.2, rel=0.1)


def test_a_calibration_states_the_case_that_the_demo_solves(run, tmp_path):
    code, out, err = run("calibrate", sample_path(), "--out", tmp_path / "market")
    assert (code, err) == (0, [])
    assert left_in(tmp_path / "market") == {"case.toml", "summary.json", "report.html"}
    case = read_case(tmp_path / "market")
    assert isinstance(case.problem, ts.models.StockCashDealer)
    assert case.units["seconds_per_year"] == 252 * 6.5 * 3600
    assert any("virtual10 (chosen)" in line for line in out)
