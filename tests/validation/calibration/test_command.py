"""`twosided calibrate --risk-aversion`: what it writes, and what it says where something is missing."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import twosided as ts
from twosided import cli
from twosided._case import read_case
from twosided.validation.calibration import observe_trades

CASE = """
[problem]
type = "InventoryDealer"
volatility = 0.8
horizon = 2.0
lot = 1.0
max_inventory = 4
drift = 0.05
[problem.bid_demand]
type = "Exponential"
scale = 14.0
decay = 1.3
[problem.ask_demand]
type = "Exponential"
scale = 9.0
decay = 1.3
[problem.objective]
type = "ExponentialUtility"
risk_aversion = 0.1
[method]
type = "Lattice"
times = 8
[units]
money = "dollars"
"""
TRUTH = 0.5


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A case, and quotes and trades of its dealer with another risk aversion."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "case.toml").write_text(CASE, encoding="utf-8")
    stated = read_case(folder / "case.toml")
    problem = ts.models.InventoryDealer(
        **stated.problem.arguments() | {"objective": ts.models.ExponentialUtility(TRUTH)}
    )
    solution = ts.solve(problem, stated.method)
    rng = np.random.default_rng(2)
    time, lots = np.sort(rng.uniform(0, 2, 120)), rng.integers(-3, 4, 120).astype(float)
    quotes = solution.quotes(time, inventory=lots)
    noisy = [x + 0.05 * rng.normal(size=120) for x in quotes]
    write(folder / "quotes.csv", ["time", "inventory", "bid", "ask"], [time, lots, *noisy])
    record = observe_trades(solution, 40, seed=4)
    filled = record.fill != 0
    columns = [record.session[filled], record.time[filled], record.fill[filled]]
    write(folder / "fills.csv", ["session", "time", "fill"], columns)
    return folder


def write(path, head, columns):
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(head)
        rows.writerows(np.stack(columns, axis=1).tolist())


def command(capsys, *arguments):
    code = cli.run([str(x) for x in ("calibrate", *arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("file", "way"), [("quotes.csv", "implied"), pytest.param("fills.csv", "likelihood", marks=pytest.mark.slow)]
)
def test_a_run_holds_the_estimate_its_case_and_a_page(files, tmp_path, capsys, file, way):
    out = tmp_path / "run"
    case = files / "case.toml"
    code, said, _ = command(capsys, files / file, "--risk-aversion", way, "--case", case, "--out", out)
    assert code == 0
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    found = summary["risk_aversion"]["risk_aversion"]
    low, high = found["interval_95"]
    assert low < TRUTH < high
    assert f"{found['value']:.5g}" in said
    assert float(read_case(out).problem.objective.risk_aversion) == pytest.approx(found["value"])
    page = (out / "report.html").read_text(encoding="utf-8")
    for name in ("The risk aversion", "How sharply the data tell", "Observed and explained", "The optimal quotes"):
        assert name in page
    assert str(Path(__file__).parents[3]) not in page
    assert cli.run(["report", str(out)]) == 0
    assert (out / "report.html").read_text(encoding="utf-8") == page


def test_what_is_missing_or_out_of_place_is_refused_and_nothing_written(files, tmp_path, capsys):
    out, quotes, case = tmp_path / "run", files / "quotes.csv", files / "case.toml"
    for arguments, message in (
        ((quotes, "--risk-aversion", "implied"), "needs --case CASE.toml"),
        ((quotes, "--risk-aversion", "guess", "--case", case), "must be one of implied, moments"),
        ((case, "--risk-aversion", "budget"), "needs a target: one of --target-deviation"),
        ((quotes, "--risk-aversion", "implied", "--case", case, "--target-deviation", 3), "leave it out"),
        ((quotes, "--risk-aversion", "moments", "--case", case), "there is no column fill; its head names time, inv"),
        (
            (quotes, "--risk-aversion", "implied", "--case", case, "--input", "volatility=high"),
            "must be a standard error",
        ),
        ((quotes, "--risk-aversion", "implied", "--case", case, "--also", "gamma"), "'gamma' is no number"),
    ):
        code, _, complaint = command(capsys, *arguments, "--out", out)
        assert code == 2
        assert message in complaint
        assert complaint.count("\n") == 1
        assert not out.exists()


def test_a_cell_that_is_no_number_is_named(files, tmp_path, capsys):
    bad = tmp_path / "bad.csv"
    bad.write_text("time,inventory,bid,ask\n0.1,0,0.5,0.6\n0.2,one,0.5,\n", encoding="utf-8")
    _, _, complaint = command(capsys, bad, "--risk-aversion", "implied", "--case", files / "case.toml")
    assert "line 3, column inventory: 'one' is no number" in complaint
