"""Sweeps: many cases in one dataset that is the same whoever computed it, and however often it was interrupted."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import twosided as ts
from twosided.models.case import from_data
from twosided.validation.sweeps import _blocks, _running
from twosided.validation.sweeps._blocks import Store, cut

PROBLEM = ts.models.InventoryDealer(
    volatility=0.3,
    horizon=20.0,
    bid_demand=ts.models.Exponential(0.9, 0.3),
    ask_demand=ts.models.Exponential(0.7, 0.3),
    lot=1.0,
    max_inventory=6,
    objective=ts.models.RunningPenalty(0.01, 0.05),
)
OVER = {"volatility": [0.2, 0.3, 0.4], "objective.running": [0.002, 0.005, 0.01, 0.03, 0.1]}
METHOD = ts.hjb.Lattice(times=16)
BLOCK = 2  # 15 cases: the last block is filled up


def sweep(path, **options):
    return ts.validation.sweep(PROBLEM, OVER, path, method=METHOD, block=BLOCK, progress=False, **options)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "sweep.nc"
    return sweep(path), path


def same(data, expected):
    """Whether two datasets have the same bits, names and attributes."""
    xr.testing.assert_identical(data, expected)
    for name in expected.variables:
        assert data[name].values.tobytes() == expected[name].values.tobytes()


def test_every_case_of_a_sweep_is_the_case_solved_by_itself(undisturbed):
    data, _ = undisturbed
    assert data["value"].dims == ("volatility", "objective.running")
    for i, j in ((0, 3), (2, 0), (2, 4)):
        sigma, running = OVER["volatility"][i], OVER["objective.running"][j]
        alone = ts.solve(
            ts.models.InventoryDealer(
                sigma, 20.0, PROBLEM.bid_demand, PROBLEM.ask_demand, 1.0, 6, ts.models.RunningPenalty(running, 0.05)
            ),
            METHOD,
        )
        case = data.isel({"volatility": i, "objective.running": j})
        assert float(case["value"]) == pytest.approx(float(alone.value()), rel=1e-12)
        np.testing.assert_allclose([case["bid"], case["ask"]], alone.quotes(), rtol=1e-10)
        assert int(case["result"]) == 0


def test_cases_of_other_grids_are_solved_in_groups_and_come_in_the_order_asked_for(tmp_path, monkeypatch):
    """Interleaved: the limit is the inner axis. Solved for real in the slow test below."""
    solved = []

    def columns(statement):
        problems = [from_data(each) for each in json.loads(statement)["cases"]]
        assert len(problems) == BLOCK
        assert len({problem.max_inventory for problem in problems}) == 1
        solved.extend(problems)
        value = np.array([problem.volatility + problem.max_inventory for problem in problems], float)
        names = ("value", "expected_wealth", "bid", "ask", "error_estimate")
        return {**dict.fromkeys(names, value), "result": np.zeros(BLOCK, np.int8)}

    monkeypatch.setattr(_running, "compute", columns)
    over = {"volatility": [0.2, 0.3, 0.4], "max_inventory": [6, 4]}
    data = ts.validation.sweep(PROBLEM, over, tmp_path / "limits.nc", method=METHOD, block=BLOCK, progress=False)
    assert len(solved) == 8  # two blocks for each limit
    np.testing.assert_allclose(data["value"], [[6.2, 4.2], [6.3, 4.3], [6.4, 4.4]], rtol=1e-12)


@pytest.mark.slow
def test_a_sweep_over_the_limit_is_each_case_solved_by_itself(tmp_path):
    over = {"volatility": [0.2, 0.4], "max_inventory": [6, 4]}
    data = ts.validation.sweep(PROBLEM, over, tmp_path / "limits.nc", method=METHOD, block=BLOCK, progress=False)
    for i, sigma in enumerate(over["volatility"]):
        for j, limit in enumerate(over["max_inventory"]):
            alone = ts.solve(
                ts.models.InventoryDealer(
                    sigma, 20.0, PROBLEM.bid_demand, PROBLEM.ask_demand, 1.0, limit, PROBLEM.objective
                ),
                METHOD,
            )
            assert float(data["value"][i, j]) == pytest.approx(float(alone.value()), rel=1e-12)


@pytest.mark.parametrize(
    ("initial", "said"),
    [
        ({"stock": 1.0}, "initial: InventoryDealer has no state 'stock'; its state is inventory"),
        ({"inventory": 9.0}, "initial: inventory=9 lies beyond the limit of 6; start within it"),
        ({"inventory": float("nan")}, "initial: inventory must be finite, got nan"),
    ],
)
def test_a_start_that_is_none_is_refused_before_any_work(initial, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        sweep(tmp_path / "sweep.nc", initial=initial)
    assert not list(tmp_path.iterdir())


def test_a_sweep_that_fails_before_its_first_block_leaves_nothing(tmp_path, monkeypatch):
    def fail(statement):
        raise ValueError("cash=-50 lies outside the solved range")

    monkeypatch.setattr(_running, "compute", fail)
    with pytest.raises(ValueError, match="outside the solved range"):
        sweep(tmp_path / "sweep.nc")
    assert not list(tmp_path.iterdir())


def test_the_file_names_axes_units_and_the_full_case(undisturbed):
    data, path = undisturbed
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        same(opened.load(), data)
    assert data["volatility"].attrs["units"] == "price/sqrt(time)"
    assert data["objective.running"].attrs["units"] == "money/(lots^2 time)"
    assert '"max_inventory": 6.0' in data.attrs["case"]
    assert not path.with_name("sweep.nc.blocks").exists()


def test_a_finished_sweep_is_read_and_another_one_refused(undisturbed, monkeypatch):
    data, path = undisturbed
    monkeypatch.setattr(_running, "compute", lambda statement: pytest.fail("it was all there"))
    same(sweep(path), data)
    with pytest.raises(ValueError, match="another sweep"):
        ts.validation.sweep(PROBLEM, {"volatility": [0.2]}, path, method=METHOD)


def test_an_interrupted_sweep_goes_on_where_it_was(undisturbed, tmp_path, monkeypatch):
    compute, done = _running.compute, []

    def interrupted(statement):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(statement)
        return compute(statement)

    monkeypatch.setattr(_running, "compute", interrupted)
    monkeypatch.setattr(_running, "threads", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path / "again.nc")
    assert not (tmp_path / "again.nc").exists()
    assert len(list((tmp_path / "again.nc.blocks").iterdir())) == 2

    rest = []
    monkeypatch.setattr(_running, "compute", lambda statement: rest.append(statement) or compute(statement))
    same(sweep(tmp_path / "again.nc"), undisturbed[0])
    assert len(rest) == 6
    assert not set(rest) & set(done)


def test_a_block_that_is_not_what_its_name_says_is_refused(tmp_path):
    first, other = cut("solve", [1.0, 2.0], {}, 1)
    store = Store(tmp_path / "blocks")
    columns = {"value": np.array([1.5])}
    store.write(first, columns)
    assert store.read(first)["value"].tolist() == [1.5]
    assert not store.has(other)

    store.path(other).write_bytes(store.path(first).read_bytes())
    with pytest.raises(ValueError, match="does not hold what its name says"):
        store.read(other)
    store.path(other).write_bytes(store.path(first).read_bytes()[:-40])
    with pytest.raises(ValueError, match="damaged"):
        store.read(other)
    with np.load(store.path(first)) as file:
        forged = {name: file[name] for name in file.files}
    np.savez(store.path(first), **{**forged, "_value": np.array([1.5000001])})
    with pytest.raises(ValueError, match="does not hold what its name says"):
        store.read(first)


def test_a_strangers_file_among_the_blocks_is_refused_and_left_alone(tmp_path):
    folder = tmp_path / "mine.nc.blocks"
    folder.mkdir()
    (folder / "thesis.txt").write_text("do not lose me")
    with pytest.raises(ValueError, match=r"thesis\.txt is no block"):
        sweep(tmp_path / "mine.nc")
    assert (folder / "thesis.txt").read_text() == "do not lose me"


def test_a_block_is_named_by_all_that_its_numbers_depend_on(monkeypatch):
    names = {cut("solve", [1.0], {"paths": 5}, 1)[0].key, cut("solve", [1.0], {"paths": 6}, 1)[0].key}
    names |= {cut("solve", [1.0 + 2**-52], {"paths": 5}, 1)[0].key, cut("other", [1.0], {"paths": 5}, 1)[0].key}
    monkeypatch.setattr(_blocks, "versions", lambda: {"source": "another"})
    names.add(cut("solve", [1.0], {"paths": 5}, 1)[0].key)
    assert len(names) == 5


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({}, "over is empty"),
        ({"volatility": []}, "at least one number"),
        ({"volatility": [0.2, 0.2]}, "that differ"),
        ({"volatility": [0.2, -0.3]}, "volatility must be finite and not negative"),
        ({"volatlity": [0.2]}, "names no number"),
        ({"objective": [0.2]}, "names no number"),
        ({"bid_demand.slope": [0.2]}, "there are decay, scale"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_any_work(over, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        ts.validation.sweep(PROBLEM, over, tmp_path / "sweep.nc", method=METHOD)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("address", "said"), [("127.0.0.1:1", "does not answer"), ("elsewhere", "must be an address")])
def test_a_scheduler_that_cannot_be_reached_is_told_in_seconds(address, said, tmp_path, monkeypatch):
    monkeypatch.setattr(_running, "_SECONDS", 1)
    started = time.monotonic()
    with pytest.raises(ValueError, match=said):
        sweep(tmp_path / "sweep.nc", scheduler=address)
    assert time.monotonic() - started < 10


def test_a_worker_with_other_software_is_refused(monkeypatch):
    (block,) = cut("solve", [1.0], {}, 1)
    monkeypatch.setattr("twosided.validation.sweeps._work.versions", lambda: {"source": "x", "jax": "0"})
    with pytest.raises(ValueError, match="other software"):
        _running.compute(block.statement)


SCRIPT = textwrap.dedent("""
    import sys
    sys.path.insert(0, {tests!r})
    from test_sweeps import sweep
    if __name__ == "__main__":
        sweep({path!r}, **{options!r})
""")


def started_sweep(path, **options):
    """A sweep in a process of its own."""
    script = path.with_suffix(".py")
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent), path=str(path), options=options))
    return subprocess.Popen([sys.executable, script], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def wait_for_blocks(path, count, process, seconds=120):
    folder, until = path.with_name(f"{path.name}.blocks"), time.monotonic() + seconds
    while not folder.exists() or len([f for f in folder.iterdir() if f.suffix == ".npz"]) < count:
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.mark.slow
def test_a_killed_client_loses_only_the_blocks_in_flight(undisturbed, tmp_path):
    path = tmp_path / "killed.nc"
    process = started_sweep(path)
    wait_for_blocks(path, 1, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = {f.name for f in path.with_name("killed.nc.blocks").iterdir()} if not path.exists() else set()
    same(sweep(path), undisturbed[0])
    assert kept


@pytest.mark.slow
def test_workers_that_are_killed_change_nothing(undisturbed, tmp_path):
    """Two local workers; one is killed as soon as the first block is there, and its successor takes over."""
    from distributed import Client, LocalCluster

    path = tmp_path / "workers.nc"
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster:
        with Client(cluster, set_as_default=False) as client:
            victims: Any = client.run(os.getpid)
            address = str(client.scheduler_info()["address"])
        process = started_sweep(path, scheduler=address)
        wait_for_blocks(path, 1, process)
        os.kill(next(iter(victims.values())), signal.SIGKILL)
        _, complaint = process.communicate(timeout=240)
        assert process.returncode == 0, complaint.decode()
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        same(opened.load(), undisturbed[0])
