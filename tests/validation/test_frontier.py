"""Frontiers: every point simulated, readings in their order, and nothing computed that cannot be."""

import json
import sys

import numpy as np
import pytest
import xarray as xr

import twosided as ts
from twosided import cli
from twosided.hjb.static import best_static_quotes
from twosided.validation._frontier_readings import missing
from twosided.validation.frontier import Frontier, frontier
from twosided.validation.sweeps import _running

DEALER = ts.models.StockCashDealer(
    growth=0.15,
    volatility=0.45,
    rate=0.03,
    horizon=5 / 244,
    bid_demand=ts.models.Exponential(3660.0, 60.0),
    ask_demand=ts.models.Exponential(2500.0, 55.0),
    lot=1.0,
    max_stock=4.0,
    objective=ts.models.RunningPenalty(0.0),  # plays no part
)
METHOD = ts.hjb.FiniteDifference(nodes_per_lot=8, steps=64, extrapolate=False)
CASE = """
[problem]
type = "StockCashDealer"
growth = 0.15
volatility = 0.45
rate = 0.03
horizon = 0.020491803278688523
lot = 1.0
max_stock = 4.0
bid_demand = {type = "Exponential", scale = 3660.0, decay = 60.0}
ask_demand = {type = "Exponential", scale = 2500.0, decay = 55.0}
objective = {type = "MeanVariance", risk_aversion = 10.0}
[method]
type = "FiniteDifference"
nodes_per_lot = 8
steps = 64
extrapolate = false
"""


@pytest.fixture(scope="module")
def static():
    return frontier(DEALER, [0.5, 8.0, 500.0], ["static"], method=METHOD, block=1, paths=4000, progress=False)


def test_every_point_is_simulated_and_agrees(static):
    certificate = static.certificate
    assert certificate.compared == 4  # two points with two numbers each; the third does not trade
    assert certificate.agrees
    z = np.abs(static.data["simulated_mean"] - static.data["mean"]) / static.data["simulated_mean_error"]
    assert 0 < float(z.max()) <= certificate.limit


def test_more_risk_aversion_takes_less_risk_and_at_last_none(static):
    std = static.data["std"].sel(reading="static").values
    assert std[0] > std[1] > std[2] == 0
    assert np.isnan(static.data["bid"].values[0, 2])
    assert float(static.data["simulated_std"][0, 2]) == 0


def test_a_frontier_is_read_as_it_was_written(static, tmp_path):
    again = Frontier.load(static.save(tmp_path / "frontier.nc"))
    xr.testing.assert_identical(again.data, static.data)
    assert again.certificate == static.certificate
    assert again.problem.horizon == DEALER.horizon
    assert again.table() == static.table()
    assert static.data["std"].attrs["units"] == "money"
    assert static.data["risk_aversion"].attrs["units"] == "1/money"
    xr.Dataset().to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="no twosided frontier"):
        Frontier.load(tmp_path / "other.nc")


def test_a_disagreement_is_said(static):
    data = static.data.copy(deep=True)
    data["simulated_std"] = data["simulated_std"] * 1.2
    assert Frontier(data).certificate.agrees is False


def test_the_command_writes_one_folder_and_says_what_it_kept(static, tmp_path, monkeypatch, capsys):
    """Interrupted after the first point, the same command goes on; its numbers are the library's."""
    (tmp_path / "dealer.toml").write_text(CASE)
    out = tmp_path / "run"
    command = ["frontier", str(tmp_path / "dealer.toml"), "--points", "2", "--from", "0.5", "--to", "8"]
    command += ["--readings", "static", "--paths", "4000", "--out", str(out)]
    monkeypatch.setattr(sys.modules[Frontier.__module__], "SHARED", 1)
    compute, done = _running.compute, []

    def interrupted(statement):
        if done:
            raise KeyboardInterrupt
        done.append(statement)
        return compute(statement)

    monkeypatch.setattr(_running, "compute", interrupted)
    assert cli.run(command) == cli.INTERRUPTED
    assert "run.blocks: the same command goes on" in capsys.readouterr().err
    assert not out.exists()

    monkeypatch.setattr(_running, "compute", compute)
    assert cli.run(command) == 0
    assert sorted(f.name for f in tmp_path.iterdir()) == ["dealer.toml", "run"]
    assert sorted(f.name for f in out.iterdir()) == ["case.toml", "frontier.nc", "report.html", "summary.json"]
    found = Frontier.load(out / "frontier.nc")
    for name in ("mean", "std", "simulated_mean"):
        np.testing.assert_array_equal(found.data[name], static.data[name][:, :2])
    summary = json.loads((out / "summary.json").read_text())
    assert summary["points"]["static"]["mean"] == found.data["mean"].values[0].tolist()
    page = (out / "report.html").read_text()
    assert "Simulation agrees with 4 computed" in page
    assert page.count("<img ") == 2
    assert cli.run(["report", str(out)]) == 0
    assert (out / "report.html").read_text() == page


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"risk_aversions": []}, "at least one number"),
        ({"risk_aversions": [1.0, -2.0]}, "must be positive and finite, got -2"),
        ({"risk_aversions": [1.0, 1.0]}, "must differ"),
        ({"readings": ["equilibium"]}, "'equilibium' is not known"),
        ({"readings": []}, "some of equilibrium"),
        ({"paths": 1}, "at least 2, or 0"),
        ({"scheduler": "nowhere"}, "must be an address"),
    ],
)
def test_what_makes_no_frontier_is_refused(change, said):
    arguments = {"risk_aversions": [1.0, 2.0], "readings": ["equilibrium"], **change}
    with pytest.raises(ValueError, match=said):
        frontier(DEALER, **arguments)


def test_a_reading_that_cannot_be_had_is_missing_by_name():
    lots = ts.models.InventoryDealer(0.3, 5.0, DEALER.bid_demand, DEALER.ask_demand, 1.0, 3, DEALER.objective)
    with pytest.raises(ValueError, match="pre_commitment: it is solved for StockCashDealer"):
        frontier(lots, [1.0], ["pre_commitment"])
    with pytest.raises(TypeError, match="objective can be exchanged"):
        frontier(ts.models.AvellanedaStoikov(2.0, 1.0, 140.0, 1.5, 0.1), [1.0])


def test_under_a_margin_pre_commitment_is_missing():
    poor = type(DEALER)(**{**DEALER.arguments(), "credit_line": 2.0, "margin": ts.models.Margin(0.2, 0.1)})
    with pytest.raises(ValueError, match=r"pre_commitment: .* without margin"):
        frontier(poor, [1.0], ["pre_commitment"])


def test_static_quotes_are_missing_under_an_overnight_limit_only():
    kept = type(DEALER)(**{**DEALER.arguments(), "borrowing_rate": 0.25, "overnight": ts.models.Overnight(1.0, 2)})
    assert missing("static", kept) == "its variance is not known under an overnight limit"
    assert missing("static", type(DEALER)(**{**kept.arguments(), "overnight": None})) == ""
    with pytest.raises(ValueError, match="static quotes are sought within a day"):
        best_static_quotes(kept, [1.0])


@pytest.mark.slow
def test_a_frontier_of_a_dealer_with_dear_credit_agrees_with_simulation():
    """Dearer credit costs money at every risk aversion."""
    roomy = type(DEALER)(**{**DEALER.arguments(), "max_stock": 10.0})
    dear = type(DEALER)(**{**roomy.arguments(), "borrowing_rate": 0.6})
    method = ts.hjb.FiniteDifference(nodes_per_lot=4, steps=64, extrapolate=False, half_width=12, cash_range=(12, 16))
    readings, aversions = ["equilibrium", "quadratic_variation", "static"], [1.0, 8.0]
    start = {"stock": 1.0, "cash": -1.0}
    found = frontier(dear, aversions, readings, method=method, paths=50_000, seed=4, initial=start, progress=False)
    assert found.missing == {}
    assert found.certificate.compared == 12
    assert found.certificate.agrees, found.table(None)
    cheap = frontier(roomy, aversions, readings, method=METHOD, paths=0, initial=start, progress=False)
    assert np.all(found.data["criterion"] < cheap.data["criterion"] - 0.005)
    assert np.all(found.data["std"].diff("risk_aversion") < 0)


@pytest.mark.slow
def test_the_readings_stand_in_their_order_and_all_agree_with_simulation():
    """At every risk aversion pre-commitment is worth most, then the equilibrium, then static quotes."""
    roomy = type(DEALER)(**{**DEALER.arguments(), "max_stock": 10.0})  # where a limit binds, solvers lose their order
    # Below, what commitment gains is less than the error of the target method's grid.
    found = frontier(roomy, np.geomspace(3, 10, 4), paths=50_000, seed=3, progress=False)
    assert found.missing == {}
    assert found.certificate.compared == 32
    assert found.certificate.agrees, found.table(None)
    worth = found.data["criterion"]
    best = worth.sel(reading="pre_commitment")
    for other in ("equilibrium", "quadratic_variation", "static"):
        assert np.all(best > worth.sel(reading=other))
    assert np.all(worth.sel(reading="equilibrium") > worth.sel(reading="static"))
    assert found.data["std"].sel(reading="equilibrium").diff("risk_aversion").max() < 0
    assert found.data["mean"].sel(reading="equilibrium").diff("risk_aversion").max() < 0
