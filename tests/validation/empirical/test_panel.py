"""The panel: units with every column, reasons for those that are not there, and the way to disk and back."""

import numpy as np
import pytest

from twosided.validation.empirical import Panel, read_panel, with_quotes

CSV = """stock, period, bid, ask, volume [shares], volatility, Funding cost
B,2,9.9,10.1,300,0.4,0.05
A,2,19.8,20.3,10,0.3,0.06

A,1,19.9,20.2,,0.35,0.06
"""


def small(**changes):
    settings = {
        "source": "here",
        "stock": np.array(["b", "a", "a"]),
        "period": np.array([1.0, 2.0, 1.0]),
        "period_unit": "day",
        "columns": {"bid": np.array([1.0, 2.0, 3.0])},
        "units": {"bid": "yuan"},
    }
    return Panel(**{**settings, **changes})


def test_rows_are_sorted_by_stock_and_period():
    panel = small()
    assert panel.stock.tolist() == ["a", "a", "b"]
    assert panel["bid"].tolist() == [3.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": {}}, "bid has no unit"),
        ({"columns": {"bid": np.ones(2)}}, r"bid has shape \(2,\) for 3 rows"),
        ({"period": np.array([1.0, 1.0, 1.0])}, "stock a has period 1 twice"),
        ({"period": np.array([1.0, np.nan, 1.0])}, "period must be numbers, row 1 has none"),
    ],
)
def test_what_is_no_panel_is_named(changes, message):
    with pytest.raises(ValueError, match=f"here: {message}"):
        small(**changes)


def test_a_column_that_was_left_out_says_why():
    panel = small(left_out={"funding_cost": "one rate for the day"})
    with pytest.raises(ValueError, match="no column funding_cost: one rate for the day"):
        panel["funding_cost"]
    assert "funding_cost" not in panel.with_columns({"funding_cost": np.ones(3)}, {"funding_cost": "x"}).left_out


def test_a_panel_comes_back_from_disk_as_it_was(tmp_path):
    panel = small(notes={"bid": "seen"}, left_out={"ask": "nobody sold"})
    panel.save(tmp_path / "panel.nc")
    again = Panel.load(tmp_path / "panel.nc")
    for name in ("source", "period_unit", "units", "notes", "left_out"):
        assert getattr(again, name) == getattr(panel, name)
    assert again.stock.tolist() == panel.stock.tolist()
    assert np.array_equal(again.period, panel.period)
    assert np.array_equal(again["bid"], panel["bid"])


def test_another_file_is_no_panel(tmp_path):
    (tmp_path / "panel.nc").write_text("no such thing")
    with pytest.raises(ValueError, match="not a panel that was saved here"):
        Panel.load(tmp_path / "panel.nc")


def test_a_csv_becomes_a_panel_with_units(tmp_path):
    (tmp_path / "tianjin.csv").write_text(CSV, encoding="utf-8")
    panel = read_panel(tmp_path / "tianjin.csv")
    assert panel.stock.tolist() == ["A", "A", "B"]
    assert panel.units["volume"] == "shares"
    assert panel.units["funding_cost"] == "per year"
    assert np.isnan(panel["volume"][0])
    assert panel["funding_cost"].tolist() == [0.06, 0.06, 0.05]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("stock,period,bid,ask\nA,1,2,3\n", "line 1: needs one column volume, has 0"),
        ("stock,period,bid,ask,volume\nA,1,2,3\n", "line 2: 4 cells for 5 heads"),
        ("stock,period,bid,ask,volume\nA,1,2,three,4\n", "line 2: ask is 'three'; give a number"),
        ("stock,period,bid,ask,volume\nA,,2,3,4\n", "period must be numbers"),
    ],
)
def test_a_broken_csv_is_one_line_that_names_it(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=f"x.csv.*{message}"):
        read_panel(tmp_path / "x.csv")


def quoted(**more):
    columns = {"bid": np.array([9.8, 19.9, 30.0]), "ask": np.array([10.1, 20.5, 31.0]), **more}
    return small(columns=columns, units=dict.fromkeys(columns, "yuan"))


def test_distances_are_basis_points_from_the_reference_price():
    panel = with_quotes(quoted(reference=np.array([10.0, 20.0, 31.0]), inventory=np.array([-2.0, 3.0, 0.0])))
    last = 2  # stock b, bid 9.8 and ask 10.1 around 10
    assert panel["bid_distance"][last] == pytest.approx(200)
    assert panel["ask_distance"][last] == pytest.approx(100)
    assert panel["spread"][last] == pytest.approx(300)
    assert panel["placement"][last] == pytest.approx(-50)  # the quotes stand below the reference
    assert panel["mid"][last] == pytest.approx(9.95)
    assert panel["inventory_size"][last] == 2
    assert panel.units["spread"] == "basis points"
    assert panel.units["mid"] == "yuan"


def test_without_a_reference_price_there_is_no_placement_to_explain():
    panel = with_quotes(quoted())
    assert panel["bid_distance"] == pytest.approx(panel["ask_distance"], rel=1e-9)
    with pytest.raises(ValueError, match="no column placement: no reference price but the mid"):
        panel["placement"]
