"""What every solution answers, whatever method it came from: shapes, ranges, verdicts, files."""

import dataclasses

import jax
import numpy as np
import pytest
import xarray as xr

import twosided as ts
from twosided.hjb.solution import Result, write_whole

MODELS = ts.models
LIMIT, HORIZON, TERMINAL = 4, 2.0, 0.05


def dealer(**changes):
    settings = {
        "volatility": 0.35,
        "horizon": HORIZON,
        "bid_demand": MODELS.Exponential(1.4, 1.3),
        "ask_demand": MODELS.Exponential(0.9, 1.3),
        "lot": 1.5,
        "max_inventory": LIMIT,
        "objective": MODELS.RunningPenalty(0.03, TERMINAL),
        "drift": 0.02,
    }
    return MODELS.InventoryDealer(**(settings | changes))


@pytest.fixture(scope="module")
def solution():
    return ts.solve(dealer(), ts.hjb.Lattice(times=32))


TIMES, LOTS = np.array([0.0, 0.7, 1.9])[:, None], np.arange(-3, 4.0)[None]


@pytest.mark.slow
def test_times_and_inventories_broadcast_and_scalars_stay_scalars(solution):
    table = solution.value(TIMES, inventory=LOTS)
    quotes = solution.quotes(TIMES, inventory=LOTS)
    assert table.shape == quotes.bid.shape == quotes.ask.shape == (3, 7)
    for i, t in enumerate(TIMES[:, 0]):
        for j, q in enumerate(LOTS[0]):
            alone = solution.value(t, inventory=q), *solution.quotes(t, inventory=q)
            assert [np.shape(x) for x in alone] == [(), (), ()]
            assert alone == pytest.approx((table[i, j], quotes.bid[i, j], quotes.ask[i, j]), rel=1e-14)
    assert solution.expected_wealth(TIMES, inventory=LOTS).shape == (3, 7)
    assert solution.value(TIMES[:, 0]).shape == (3,)


def test_time_zero_and_an_empty_book_are_meant_where_nothing_is_said(solution):
    assert solution.value() == solution.value(0.0, inventory=0.0)
    assert solution.quotes() == solution.quotes(0.0, inventory=0.0)


def test_at_the_horizon_the_terminal_charge_is_all_that_is_left(solution):
    lots = np.arange(-LIMIT, LIMIT + 1.0)
    np.testing.assert_allclose(solution.value(HORIZON, inventory=lots), -TERMINAL * lots**2, rtol=0, atol=1e-13)
    np.testing.assert_allclose(solution.expected_wealth(HORIZON, inventory=lots), 0.0, atol=1e-13)


def test_a_table_of_few_times_answers_between_them(solution):
    """Cubic in time: against a table sixteen times as fine."""
    fine = ts.solve(dealer(), ts.hjb.Lattice(times=512))
    t = np.linspace(0, 0.95 * HORIZON, 50)
    np.testing.assert_allclose(solution.value(t, inventory=1.0), fine.value(t, inventory=1.0), rtol=0, atol=1e-6)


def test_at_the_limit_only_the_reducing_side_is_quoted(solution):
    quotes = solution.quotes(0.3, inventory=np.array([-LIMIT, -LIMIT + 1.0, LIMIT - 1.0, LIMIT]))
    np.testing.assert_array_equal(np.isnan(quotes.bid), [False, False, False, True])
    np.testing.assert_array_equal(np.isnan(quotes.ask), [True, False, False, False])


def test_beyond_the_limit_the_last_quote_is_kept_but_nothing_is_said_about_value(solution):
    edge, beyond = (solution.quotes(0.3, inventory=float(q)) for q in (LIMIT, LIMIT + 3))
    assert np.isnan(beyond.bid)
    assert beyond.ask == edge.ask
    for ask in (solution.value, solution.expected_wealth):
        with pytest.raises(ValueError, match=r"inventory=5 lies outside the solved range of \+-4 lots"):
            ask(0.3, inventory=np.array([0.0, -5.0]))


@pytest.mark.parametrize("t", [-0.1, HORIZON + 0.1, np.array([0.0, 3.0]), np.nan])
def test_a_time_outside_the_horizon_is_refused(solution, t):
    for ask in (solution.value, solution.expected_wealth, solution.quotes):
        with pytest.raises(ValueError, match="between 0 and the horizon 2"):
            ask(t)


def test_a_state_it_does_not_have_is_named(solution):
    for ask in (solution.value, solution.quotes):
        with pytest.raises(TypeError, match="'stock'; its state is inventory"):
            ask(0.0, stock=1.0)


def test_its_policy_says_the_same_as_its_quotes_and_runs_inside_jit(solution):
    named = solution.policy(0.7, {"inventory": LOTS[0]})
    bare = solution.policy(0.7, LOTS[0])
    for side in ("bid", "ask"):
        wanted = getattr(solution.quotes(0.7, inventory=LOTS[0]), side)
        np.testing.assert_array_equal(getattr(named, side), wanted)
        np.testing.assert_array_equal(getattr(bare, side), wanted)
    with jax.enable_x64(True):
        inside = jax.jit(lambda policy, q: policy(0.7, q))(solution.policy, LOTS[0])
        np.testing.assert_allclose(np.asarray(inside.bid), bare.bid, rtol=1e-14)


def test_its_verdict_is_computed_from_what_it_holds(solution):
    assert solution.result is Result.CONVERGED
    value = np.array(solution.tables.value)
    value[3, 2] = np.inf
    broken = dataclasses.replace(solution, tables=solution.tables._replace(value=value))
    assert broken.result is Result.NOT_FINITE
    left = dataclasses.replace(solution, tables=solution.tables._replace(residual=1e-3))
    assert left.result is Result.RESIDUAL
    assert dataclasses.replace(left, tables=left.tables._replace(residual=np.nan)).result is Result.RESIDUAL
    idle = dataclasses.replace(solution, stats={**solution.stats, "idle_share": 1e-3})
    assert idle.result is Result.ILL_POSED
    for other in (broken, left, idle):
        assert not other.converged
        assert other.result.value in repr(other)


def test_its_print_shows_names_and_sizes_and_no_arrays(solution):
    assert repr(solution) == "Solution(InventoryDealer by Lattice: 33 times x 9 nodes; converged)"


# Files


def avellaneda_stoikov():
    return MODELS.AvellanedaStoikov(volatility=2.0, horizon=1.0, scale=140.0, decay=1.5, risk_aversion=0.1)


def printed():
    demands = MODELS.Exponential(40.0, 0.9), MODELS.Exponential(25.0, 1.4)
    return MODELS.PrintedDealer(0.1, 0.3, 0.04, 0.5, *demands, 10.0, 150.0, 0.2)


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(dealer, id="lattice"),
        pytest.param(avellaneda_stoikov, id="formula"),
        pytest.param(printed, id="printed", marks=pytest.mark.slow),
    ],
)
def test_what_is_saved_is_read_back_and_answers_the_same(build, tmp_path):
    """A mean that was never asked for is found before it is written; a policy in closed form is built again."""
    problem = build()
    solution = ts.solve(problem, ts.hjb.Lattice(times=32) if build is dealer else None)
    again = ts.Solution.load(solution.save(tmp_path / "folder" / "solution.nc"))
    assert repr(again.problem) == repr(problem)
    assert (again.method, again.power, again.result) == (solution.method, solution.power, solution.result)
    assert (again.formula is None) == (solution.formula is None)
    name, t = problem.names[0], 0.3 * float(problem.horizon)
    state = {name: np.array([-2.0, 0.0, 1.0])}
    for ask in ("value", "expected_wealth"):
        np.testing.assert_array_equal(getattr(again, ask)(t, **state), getattr(solution, ask)(t, **state))
    for one, other in zip(again.quotes(t, **state), solution.quotes(t, **state), strict=True):
        np.testing.assert_array_equal(one, other)
    assert {k: v for k, v in again.stats.items() if k != "seconds"} == {
        k: v for k, v in solution.stats.items() if k != "seconds"
    }
    np.testing.assert_equal(again.error_estimate, solution.error_estimate)


def test_a_save_that_fails_leaves_the_file_before_and_no_litter(solution, tmp_path):
    path = solution.save(tmp_path / "solution.nc")
    before = path.read_bytes()

    def fail(part):
        with open(part, "wb") as file:
            file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(path, fail)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["solution.nc"]


def test_a_file_that_is_absent_or_something_else_is_named(tmp_path):
    with pytest.raises(FileNotFoundError):
        ts.Solution.load(tmp_path / "nowhere.nc")
    other = tmp_path / "other.nc"
    xr.Dataset({"x": ("n", np.arange(3.0))}).to_netcdf(other, engine="h5netcdf")
    with pytest.raises(ValueError, match=r"other\.nc is no twosided solution"):
        ts.Solution.load(other)
