"""The study from end to end, and the command that runs it into a folder."""

import csv
import json
import shutil

import numpy as np
import pytest

from twosided import cli
from twosided._runs import REPORT, STUDIED, SUMMARY
from twosided.validation.empirical import Panel, study_messages, study_panel, tianjin_panel, write_study_report
from twosided.validation.synthetic import sample_path

CASE = """
[problem]
type = "StockCashDealer"
growth = 0.06
volatility = 0.45
rate = 0.05
horizon = 0.24590163934426229
lot = 1.0
max_stock = 8.5
[problem.bid_demand]
type = "Exponential"
scale = 488.0
decay = 60.0
[problem.ask_demand]
type = "Exponential"
scale = 488.0
decay = 60.0
[problem.objective]
type = "MeanVariance"
risk_aversion = 4.0
"""
SMALL = ["--stocks", "3", "--days", "16", "--seed", "2"]
TOLD = ("bid", "ask", "volume", "reference", "volatility", "liquidity", "inventory", "funding_cost", "risk_aversion")


@pytest.fixture(scope="module")
def drawn():
    return tianjin_panel(3, 16, seed=2)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "study"
    assert cli.run(["study", *SMALL, "--out", str(out)]) == 0
    return out


def write_csv(panel, path, heads=None):
    names = [name for name in TOLD if name in panel]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["stock", "period", *((heads or {}).get(name, name) for name in names)])
        for row in range(len(panel)):
            values = ["" if np.isnan(panel[name][row]) else repr(float(panel[name][row])) for name in names]
            writer.writerow([panel.stock[row], int(panel.period[row]), *values])


def test_a_study_writes_its_rows_its_removals_a_summary_and_a_page(run_folder, drawn):
    assert {path.name for path in run_folder.iterdir()} == {*STUDIED, SUMMARY, REPORT}
    found = json.loads((run_folder / SUMMARY).read_text(encoding="utf-8"))["study"]
    planted = {rule: len(rows) for rule, rows in drawn.planted.items()}
    assert found["cleaning"]["removed"] == found["cleaning"]["dirt"]["found"] == planted
    assert found["rows"] == found["cleaning"]["kept"] == 48 - sum(planted.values())
    with (run_folder / "removals.csv").open(encoding="utf-8", newline="") as file:
        removed = sorted(int(line["row"]) for line in csv.DictReader(file))
    assert removed == sorted(np.concatenate(list(drawn.planted.values())).tolist())
    panel = Panel.load(run_folder / "panel.nc")
    kept = np.setdiff1d(np.arange(48), removed)
    assert np.array_equal(panel["bid"], drawn.panel["bid"][kept])
    assert panel.units["volatility"] == "per √year"
    assert len(Panel.load(run_folder / "cleaned.nc")) == len(kept)


def test_the_page_says_what_was_found_in_words_with_figures_inside(run_folder):
    page = (run_folder / REPORT).read_text(encoding="utf-8")
    for words in ("What explains the spread", "risk aversion", "With 3 clusters", "stands unchanged", "basis points"):
        assert words in page
    assert page.count("data:image/svg+xml") == 4
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_study_s_report_is_written_anew_from_its_folder(run_folder):
    before = (run_folder / REPORT).read_bytes()
    (run_folder / REPORT).unlink()
    assert cli.run(["report", str(run_folder)]) == 0
    assert (run_folder / REPORT).read_bytes() == before


@pytest.mark.slow
def test_a_study_takes_the_place_of_the_one_before(run_folder, tmp_path, drawn, capsys):
    write_csv(drawn.clean, tmp_path / "tianjin.csv")
    (tmp_path / "case.toml").write_text(CASE, encoding="utf-8")
    out = tmp_path / "run"
    shutil.copytree(run_folder, out)
    (out / "notes.txt").write_text("mine")
    arguments = ["study", str(tmp_path / "tianjin.csv"), "--model", str(tmp_path / "case.toml")]
    assert cli.run([*arguments, "--out", str(out)]) == 0
    assert (out / "notes.txt").read_text() == "mine"
    panel = Panel.load(out / "panel.nc")
    assert len(panel) == 48 > len(Panel.load(run_folder / "panel.nc"))
    # the model named solves the very dealers that the quotes were drawn from
    for name in ("predicted_bid_distance", "predicted_ask_distance"):
        assert panel[name] == pytest.approx(drawn.clean[name], abs=1e-6)
    assert "48 observations, 48 left" in capsys.readouterr().out


def test_a_panel_without_a_model_or_a_column_says_what_could_not_be_done(drawn):
    fewer = drawn.clean.without({name: "" for name in drawn.clean.columns if name.startswith("predicted")})
    fewer = fewer.without({"risk_aversion": "", "reference": ""})
    even = fewer.with_columns({"funding_cost": np.full(48, 0.05)}, {})
    found = study_panel(even)
    assert found.comparisons == ()
    assert found.not_done["comparison"].startswith("no model was named")
    assert found.not_done["placement"].startswith("no reference price but the mid")
    reasons = found.regressions["spread"][0].left_out
    assert reasons["funding_cost"] == "constant (0.05 per year) in all 48 rows"
    assert reasons["risk_aversion"]


def test_a_column_in_another_unit_than_the_model_s_is_refused(drawn, tmp_path, capsys):
    write_csv(drawn.clean, tmp_path / "daily.csv", {"volatility": "volatility [per √day]"})
    (tmp_path / "case.toml").write_text(CASE, encoding="utf-8")
    arguments = ["study", str(tmp_path / "daily.csv"), "--model", str(tmp_path / "case.toml")]
    assert cli.run([*arguments, "--out", str(tmp_path / "run")]) == 2
    assert "volatility is in per √day, and the model takes it per √year" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_too_few_intervals_for_the_slopes_are_refused_with_the_numbers_and_nothing_is_written(tmp_path, capsys):
    out = tmp_path / "run"
    assert cli.run(["study", str(sample_path()), "--interval", "1200", "--out", str(out)]) == 2
    assert "2 rows cannot determine 5 coefficients" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--interval", "60"], "--interval belongs to market messages, and this is the synthetic panel"),
        (["{sample}", "--days", "20"], "--days belongs to the synthetic panel, and this is market messages"),
        (["{sample}", "--model", "case.toml"], "--model belongs to a panel in a CSV file"),
        (["nowhere.zip"], "nowhere.zip: no such file"),
        (["--days", "3"], "at least 2 stocks and 16 days, got 20 and 3"),
    ],
)
def test_a_wrong_study_is_one_line_and_nothing_is_written(tmp_path, capsys, arguments, message):
    given = [argument.format(sample=sample_path()) for argument in arguments]
    assert cli.run(["study", *given, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_sample_that_ships_can_be_studied():
    found = study_messages(sample_path(), 120.0)
    assert len(found.panel) == 29
    assert found.comparisons[-1].rows == 29


def test_a_page_can_say_that_nothing_is_found_to_move_the_spread(drawn, tmp_path):
    rng = np.random.default_rng(0)
    clean = drawn.clean
    half = 0.02 * np.exp(0.1 * rng.standard_normal(len(clean)))
    noise = {"bid": clean["reference"] * (1 - half), "ask": clean["reference"] * (1 + half)}
    found = study_panel(clean.with_columns(noise, {}))
    data = json.loads(json.dumps(found.to_data()))
    for regressions in data["regressions"].values():
        for c in regressions[0]["coefficients"]:
            c["interval_95"] = [-1.0, 1.0]  # whatever came out by chance
    text = write_study_report(tmp_path / "page.html", data, found.panel).read_text(encoding="utf-8")
    assert "Nothing is found to move the spread; of volatility, liquidity" in text
