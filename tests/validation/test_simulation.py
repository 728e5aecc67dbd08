"""Exact fills by thinning and the linear rule: against laws known without them, and as a program that must not lie."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from inspect import unwrap
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import stats

import twosided as ts
from twosided.hjb.policy import TabulatedPolicy
from twosided.models.problem import Problem
from twosided.validation import _batches, _linear, _randomness
from twosided.validation.simulation import BoundError, sample_paths
from twosided.validation.statistics import Disagreement, agree, plausible

BUSY, SLOW = ts.models.Exponential(40.0, 2.0), ts.models.Exponential(15.0, 1.0)  # an asymmetric pair


class Affine(eqx.Module):
    """Distances affine in inventory and in time; enough to reach every part of the simulation."""

    bid: float
    ask: float
    tilt: float = 0.0
    drift: float = 0.0

    def __call__(self, t, state):
        q = next(iter(state.values()))
        return ts.Quotes(
            self.bid + self.tilt * q + self.drift * t,
            self.ask - self.tilt * q + self.drift * t,
        )


def inventory_dealer(**changes) -> Problem:
    settings = {
        "volatility": 0.3, "horizon": 2.0, "bid_demand": BUSY, "ask_demand": SLOW, "lot": 1.0,
        "max_inventory": np.inf, "objective": ts.models.RunningPenalty(0.05, 0.2),
    }  # fmt: skip
    return ts.models.InventoryDealer(**{**settings, **changes})


def stock_dealer(**changes) -> Problem:
    settings = {
        "growth": 0.2, "volatility": 0.4, "rate": 0.05, "horizon": 0.5, "lot": 1.0, "max_stock": 6.0,
        "bid_demand": ts.models.Exponential(300.0, 60.0), "ask_demand": ts.models.Exponential(200.0, 45.0),
        "objective": ts.models.MeanVariance(2.0),
    }  # fmt: skip
    return ts.models.StockCashDealer(**{**settings, **changes})


SILENT = Affine(np.nan, np.nan)
STEADY = Affine(0.5, 0.1)


def arrays(result: ts.Simulation) -> tuple[np.ndarray, ...]:
    return result.wealth, result.inventory, result.charge, result.bid_fills, result.ask_fills


def assert_identical(one: ts.Simulation, other: ts.Simulation, paths: int | None = None) -> None:
    for left, right in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(left[:paths], right[:paths])


def poisson_p_value(counts: np.ndarray, mean: float) -> float:
    """Chi-square test that counts are Poisson, in bins that hold twenty or more."""
    edges = np.unique(stats.poisson(mean).ppf(np.linspace(0, 1, 40)[1:-1]).astype(int))
    chances = np.diff([0.0, *stats.poisson(mean).cdf(edges), 1.0])
    seen = np.bincount(np.searchsorted(edges, counts), minlength=edges.size + 1)
    assert np.min(chances) * counts.size > 20
    return float(stats.chisquare(seen, chances * counts.size).pvalue)


def correlation_p_value(result: ts.Simulation) -> float:
    """That the two sides are filled independently."""
    correlation = np.corrcoef(result.bid_fills, result.ask_fills)[0, 1]
    return float(2 * stats.norm.sf(abs(correlation) * np.sqrt(result.paths)))


# Laws known without the simulation


def test_constant_distances_are_filled_as_two_independent_poisson_processes():
    problem = inventory_dealer()
    result = ts.simulate(problem, STEADY, 20_000, seed=5)
    means = 2.0 * 40.0 * np.exp(-2.0 * 0.5), 2.0 * 15.0 * np.exp(-0.1)
    p_values = [poisson_p_value(*pair) for pair in zip((result.bid_fills, result.ask_fills), means, strict=True)]
    p_values.append(poisson_p_value(result.bid_fills + result.ask_fills, sum(means)))
    p_values.append(correlation_p_value(result))
    plausible(p_values)
    with pytest.raises(Disagreement):  # it can fail: a mean two per cent off
        plausible(poisson_p_value(result.bid_fills, 1.02 * means[0]))


def test_distances_that_change_in_time_are_filled_with_the_integrated_intensity():
    problem = inventory_dealer()
    result = ts.simulate(problem, Affine(0.0, 1.0, drift=0.4), 20_000, seed=6)
    means = 40.0 * (1 - np.exp(-2 * 0.8)) / 0.8, 15.0 * np.exp(-1.0) * (1 - np.exp(-0.8)) / 0.4
    plausible([poisson_p_value(result.bid_fills, means[0]), poisson_p_value(result.ask_fills, means[1])])


def test_windows_change_the_draws_and_not_the_law():
    result = ts.simulate(inventory_dealer(), STEADY, 20_000, seed=5, steps=1)
    plausible(poisson_p_value(result.bid_fills, 80.0 * np.exp(-1.0)))


def test_a_dealer_who_does_not_quote_holds_a_lognormal_stock_and_a_growing_account():
    problem, initial = stock_dealer(), {"stock": -3.0, "cash": 10.0}
    result = ts.simulate(problem, SILENT, 20_000, seed=7, initial=initial)
    assert result.fills == (0.0, 0.0)
    assert np.isnan(result.mean_spread)
    logs = np.log(result.inventory / -3.0)
    law = stats.norm((0.2 - 0.5 * 0.4**2) * 0.5, 0.4 * np.sqrt(0.5))
    plausible(stats.kstest(logs, law.cdf).pvalue)
    np.testing.assert_allclose(result.wealth, result.inventory + 10.0 * np.exp(0.05 * 0.5), rtol=1e-12)


def test_charges_along_a_path_are_unbiased_without_a_time_step():
    # (lambda/2) int sigma^2 S^2 E^2 dt without fills, its mean known; Campbell's sum over candidates must give it.
    problem = stock_dealer(objective=ts.models.MeanQuadraticVariation(2.0))
    result = ts.simulate(problem, SILENT, 20_000, seed=8, initial={"stock": 3.0})
    growth = 2 * 0.2 + 0.4**2 - 2 * 0.05  # of S^2 E^2
    exact = 0.5 * 2.0 * 0.4**2 * 9.0 * np.exp(2 * 0.05 * 0.5) * np.expm1(growth * 0.5) / growth
    agree(np.mean(result.charge), exact, np.std(result.charge) / np.sqrt(20_000), samples=20_000)


def test_a_running_penalty_on_a_resting_inventory_is_exact():
    result = ts.simulate(inventory_dealer(), SILENT, 1000, initial={"inventory": 3.0})
    np.testing.assert_allclose(result.charge, 0.05 * 9.0 * 2.0 + 0.2 * 9.0, rtol=1e-12)
    spread = 0.3 * 3.0 * np.sqrt(2.0)
    agree(result.mean_wealth, 0.0, spread / np.sqrt(1000), samples=1000)
    agree(result.variance, spread**2, result.variance_standard_error, samples=1000)


def test_the_spread_is_averaged_over_time_and_only_where_both_sides_are_quoted():
    result = ts.simulate(inventory_dealer(), Affine(0.2, 0.3, drift=0.1), 2000, seed=9)
    assert result.mean_spread == pytest.approx(0.5 + 2 * 0.1 * 1.0, rel=2e-3)  # t averages to 1
    one_sided = ts.simulate(inventory_dealer(), Affine(0.2, np.nan), 2000, seed=9)
    assert np.isnan(one_sided.mean_spread)
    assert one_sided.fills.bid > 0
    assert one_sided.fills.ask == 0


@pytest.mark.parametrize("fills", [{"fills": "exact"}, {"fills": "linear", "steps": 400}])
def test_no_fill_crosses_the_limit_and_beyond_it_quotes_only_reduce(fills):
    problem = inventory_dealer(max_inventory=6)
    result = ts.simulate(problem, STEADY, 2000, seed=10, **fills)
    assert np.max(np.abs(result.inventory)) == 6
    reduced = ts.simulate(problem, Affine(-1.0, 2.0), 2000, seed=10, initial={"inventory": 9.0}, **fills)
    assert np.max(reduced.inventory) <= 9  # never bought above
    assert np.min(reduced.bid_fills) == 0


def test_wealth_is_what_the_fills_and_the_price_made_of_it():
    # Without volatility every path's wealth follows from its fills alone.
    problem = inventory_dealer(volatility=0.0, adverse_selection=0.05)
    for fills in ({}, {"fills": "linear", "steps": 4000}):
        result = ts.simulate(problem, STEADY, 1000, seed=11, **fills)
        earned = result.bid_fills * (0.5 - 0.05) + result.ask_fills * (0.1 - 0.05)
        np.testing.assert_allclose(result.wealth, earned, rtol=1e-4)
        np.testing.assert_array_equal(result.inventory, result.bid_fills - result.ask_fills)


def test_the_linear_rule_fills_both_sides_independently_with_probability_lambda_dt():
    # Twenty steps of a symmetric walk on each side: binomial counts, independent.
    problem = inventory_dealer()
    result = ts.simulate(problem, STEADY, 20_000, seed=12, fills="linear", steps=60)
    chances = np.array([40.0 * np.exp(-1.0), 15.0 * np.exp(-0.1)]) * 2.0 / 60
    for counts, chance in zip((result.bid_fills, result.ask_fills), chances, strict=True):
        spread = 60 * chance * (1 - chance)
        agree(np.mean(counts), 60 * chance, np.sqrt(spread / 20_000), samples=20_000)
        error = np.std((counts - 60 * chance) ** 2) / np.sqrt(20_000)
        agree(np.var(counts), spread, error, samples=20_000)
    plausible(correlation_p_value(result))


def test_the_linear_rule_reads_a_table_as_it_reads_a_formula():
    # A table is looked up once per step for all inventories; a formula is computed for every path.
    problem = inventory_dealer(max_inventory=6)
    formula = Affine(0.5, 0.3, 0.02)
    quotes = formula(0.0, {"inventory": np.arange(-6.0, 7.0)})
    table = np.broadcast_to(np.stack(quotes, axis=-1), (2, 13, 2))
    tabulated = TabulatedPolicy(problem, np.array(table), np.float64(1.0), power=1)
    run = {"problem": problem, "paths": 2000, "seed": 13, "fills": "linear", "steps": 50}
    one, other = ts.simulate(policy=formula, **run), ts.simulate(policy=tabulated, **run)
    assert _linear.row_half(problem, formula, 0.0, 50) == 0
    assert _linear.row_half(problem, tabulated, 0.0, 50) > 0
    np.testing.assert_array_equal(one.inventory, other.inventory)
    np.testing.assert_allclose(one.wealth, other.wealth, atol=1e-4)


# Reproducibility


def test_the_generator_is_threefry_as_jax_has_it():
    key = _randomness.key_of(0x0123456789ABCDEF)
    path, counter = np.arange(6, dtype=np.uint32) * 77, np.arange(6, dtype=np.uint32) + 5
    ours = np.concatenate(_randomness.words(key, path, counter))
    np.testing.assert_array_equal(ours, threefry_2x32(jnp.stack([*key]), np.concatenate([path, counter])))


RUNS = [
    (inventory_dealer(), Affine(0.5, 0.3, 0.02), {}),
    (stock_dealer(), Affine(0.02, 0.02, 0.004), {}),
    (inventory_dealer(), Affine(0.5, 0.3, 0.02), {"fills": "linear", "steps": 50}),
]
EACH_RULE = pytest.mark.parametrize(("problem", "policy", "rule"), RUNS, ids=["lots", "stock", "linear"])


@EACH_RULE
def test_the_same_seed_gives_the_same_arrays_whatever_the_batch_and_the_threads(problem, policy, rule, monkeypatch):
    whole = ts.simulate(problem, policy, 3000, seed=14, batch=4096, **rule)
    monkeypatch.setattr(_batches, "threads", lambda: 3)
    assert_identical(whole, ts.simulate(problem, policy, 3000, seed=14, batch=512, **rule))
    monkeypatch.setattr(_batches, "threads", lambda: 1)
    assert_identical(whole, ts.simulate(problem, policy, 700, seed=14, batch=512, **rule), paths=700)
    other = ts.simulate(problem, policy, 3000, seed=15, batch=4096, **rule)
    assert np.mean(whole.wealth == other.wealth) < 0.01


def fingerprints() -> list[str]:
    results = (ts.simulate(problem, policy, 600, seed=16, **rule) for problem, policy, rule in RUNS[::2])
    return [hashlib.sha256(b"".join(x.tobytes() for x in arrays(result))).hexdigest() for result in results]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_arrays_on_two_devices():
    here = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})"
    code = f"{here}; import jax, test_simulation; print(jax.device_count(), *test_simulation.fingerprints())"
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    two = {**os.environ, "XLA_FLAGS": flags}
    run = subprocess.run([sys.executable, "-c", code], env=two, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["2", *fingerprints()]


def test_two_policies_with_one_seed_see_one_price_path():
    problem = inventory_dealer(horizon=1.0, objective=ts.models.RunningPenalty(0.0))
    one, other = (ts.simulate(problem, Affine(0.5, bid_less_ask, 0.05), 5000, seed=17) for bid_less_ask in (0.5, 0.505))
    apart = ts.simulate(problem, Affine(0.5, 0.505, 0.05), 5000, seed=18)
    assert np.std(one.score - other.score) < 0.2 * np.std(one.score - apart.score)


def count_compilations(run) -> int:
    counted: Counter[str] = Counter()

    def listen(event: str, duration_secs: float, **_) -> None:
        counted[event] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        run()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return counted["/jax/core/compile/backend_compile_duration"]


@pytest.mark.parametrize("rule", [{}, {"fills": "linear", "steps": 50}], ids=["exact", "linear"])
def test_a_changed_parameter_does_not_recompile_whatever_its_type(rule):
    def run(sigma, bid, seed):
        return ts.simulate(inventory_dealer(volatility=sigma), Affine(bid, 0.3), 300, seed=seed, **rule)

    assert count_compilations(lambda: jax.jit(lambda x: x + 12345)(1)) == 1  # it does count
    run(0.21, 0.41, 1)
    for sigma, bid in (
        (0.22, 0.42),
        (np.float32(0.2), np.float64(0.4)),
        (jnp.asarray(0.25), jnp.asarray(0.45)),
        (1, 0.5),
    ):
        assert count_compilations(lambda sigma=sigma, bid=bid: run(sigma, bid, 2)) == 0


# What must not pass silently


class Spike(eqx.Module):
    """Quotes that turn generous for a thousandth of the horizon."""

    def __call__(self, t, state):
        generous = jnp.abs(t - 1.003) < 0.001
        return ts.Quotes(jnp.where(generous, -2.0, 0.5), 0.5 + 0 * t)


def test_an_intensity_above_its_bound_is_an_error_that_names_it():
    with pytest.raises(
        BoundError,
        match=r"at t=1\.00\d+, inventory=.* intensity 2\d{3}\.\d+ exceeds its bound [\d.]+: .* give steps=128",
    ):
        ts.simulate(inventory_dealer(), Spike(), 2000)


def test_a_policy_that_runs_away_is_an_error():
    with pytest.raises(BoundError, match="floor"):
        ts.simulate(inventory_dealer(), Affine(0.0, 9.0, tilt=-3.0), 300)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"paths": -5}, ValueError, "paths must be from 1 .* got -5"),
        ({"paths": 1.5}, TypeError, "paths must be a whole number, got 1.5"),
        ({"seed": -1}, ValueError, "seed must be from 0"),
        ({"fills": "poisson"}, ValueError, "fills must be 'exact' or 'linear', got 'poisson'"),
        ({"fills": "linear"}, ValueError, "steps is missing: .* such as steps=200"),
        ({"fills": "linear", "steps": 0}, ValueError, "steps must be from 1"),
        ({"batch": 0}, ValueError, "batch must be from 1"),
        ({"initial": {"stock": 1.0}}, TypeError, "has no state 'stock'; its state is inventory"),
        ({"initial": {"inventory": np.nan}}, ValueError, "initial: inventory must be one finite number"),
        ({"initial": {"inventory": [1.0, 2.0]}}, ValueError, "initial: inventory must be one finite number"),
        ({"market": "book"}, TypeError, "market must be one of PoissonMarket.* or None .* got str"),
        ({"policy": 0.5}, TypeError, "policy must be callable as policy"),
        ({"policy": lambda t, state: 0.5}, ValueError, "policy must return Quotes"),
    ],
)
def test_bad_input_is_refused_in_one_line_that_names_the_culprit(changes, error, message):
    call = {"problem": inventory_dealer(), "policy": STEADY, "paths": 100, **changes}
    with pytest.raises(error, match=message) as caught:
        unwrap(ts.simulate)(**call)  # without the run-time check of types, which only tests have
    assert "\n" not in str(caught.value)


def test_what_the_simulation_does_not_know_is_refused():
    printed = ts.models.PrintedDealer(
        growth=0.1, volatility=0.2, rate=0.03, horizon=1.0, bid_demand=BUSY, ask_demand=SLOW, price=10.0,
        max_stock=100.0, risk_aversion=0.1,
    )  # fmt: skip
    with pytest.raises(TypeError, match="needs a problem with dynamics"):
        unwrap(ts.simulate)(printed, STEADY, 10)


# Results


def test_any_callable_is_a_policy():
    seen = []

    def policy(t, state):
        seen.append((t.shape, state.inventory.shape))
        return ts.Quotes(0.5, jnp.where(state.inventory > 0, 0.2, jnp.nan))

    result = ts.simulate(inventory_dealer(), policy, 500, seed=20)
    assert np.min(result.inventory) >= 0  # the ask is quoted with something to sell only
    assert all(time == inventory for time, inventory in seen)


def test_moments_are_the_arrays_own():
    result = ts.simulate(inventory_dealer(), STEADY, 2000, seed=22)
    assert result.mean_wealth == np.mean(result.wealth)
    assert result.variance == pytest.approx(np.var(result.wealth, ddof=1))
    assert result.standard_error == pytest.approx(np.std(result.wealth, ddof=1) / np.sqrt(2000))
    assert result.std_inventory == pytest.approx(np.std(result.inventory, ddof=1))
    assert result.fills == (np.mean(result.bid_fills), np.mean(result.ask_fills))
    assert result.criterion == pytest.approx(np.mean(result.wealth - result.charge))
    resampled = [np.var(np.random.default_rng(i).choice(result.wealth, 2000)) for i in range(400)]
    assert result.variance_standard_error == pytest.approx(np.std(resampled), rel=0.2)


@pytest.mark.slow
def test_sample_paths_start_where_they_should_and_have_the_law_of_the_simulation():
    problem = inventory_dealer()
    paths = sample_paths(problem, STEADY, 4000, times=51, seed=23, initial={"inventory": 2.0})
    assert paths.time.shape == (51,)
    assert paths.inventory.shape == paths.wealth.shape == (4000, 51)
    np.testing.assert_array_equal(paths.inventory[:, 0], 2.0)
    np.testing.assert_array_equal(paths.wealth[:, 0], 0.0)
    drift = 40.0 * np.exp(-1.0) - 15.0 * np.exp(-0.1)
    both = 40.0 * np.exp(-1.0) + 15.0 * np.exp(-0.1)
    for row in (10, 50):
        spread = np.sqrt(both * paths.time[row] / 4000)
        agree(np.mean(paths.inventory[:, row]), 2.0 + drift * paths.time[row], spread, samples=4000)
    resting = sample_paths(stock_dealer(), SILENT, 4000, times=9, seed=24, initial={"stock": 2.0, "cash": 1.0})
    cash = np.exp(0.05 * resting.time)
    np.testing.assert_allclose(resting.wealth, resting.inventory + cash, rtol=1e-12)
    agree(np.var(np.log(resting.inventory[:, 4])), 0.4**2 * 0.25, 0.4**2 * 0.25 * np.sqrt(2 / 4000), samples=4000)


def test_a_saved_simulation_is_read_back_whole(tmp_path):
    problem = stock_dealer()
    result = ts.simulate(problem, Affine(0.02, 0.03), 500, seed=25, initial={"cash": 3.0})
    loaded = ts.Simulation.load(result.save(tmp_path / "runs" / "simulation.nc"))
    assert_identical(result, loaded)
    assert (loaded.seed, loaded.rule, loaded.steps, loaded.initial) == (25, "exact", None, {"stock": 0.0, "cash": 3.0})
    assert loaded.table() == result.table()
    assert repr(loaded.problem) == repr(problem)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["simulation.nc"]


def test_a_damaged_file_is_refused_by_name(tmp_path):
    path = tmp_path / "simulation.nc"
    path.write_bytes(b"not a simulation")
    with pytest.raises(ValueError, match=r"simulation\.nc is no twosided simulation or is damaged"):
        ts.Simulation.load(path)


def test_an_interrupt_ends_the_run(monkeypatch):
    monkeypatch.setattr(_batches, "threads", lambda: 2)
    monkeypatch.setattr(_batches, "wait", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        ts.simulate(inventory_dealer(), STEADY, 3000, batch=256)


def test_progress_is_shown_on_standard_error_when_it_takes_long_and_is_wanted(monkeypatch, capsys):
    run = {"problem": inventory_dealer(), "policy": STEADY, "paths": 1000, "batch": 256}
    monkeypatch.setattr(_batches, "_QUIET_SECONDS", 0.0)
    ts.simulate(**run, progress=True)  # on a terminal the default shows it too
    shown = capsys.readouterr()
    assert "simulating 1,000 paths" in shown.err
    assert shown.out == ""
    for wanted in (False, None):  # standard error is no terminal here
        ts.simulate(**run, progress=wanted)
        assert capsys.readouterr().err == ""


# The equilibrium of the dealer with accounts: E = g and Var = 2 (g - V)/lambda, V the criterion


def simulate_solution(settings: dict, paths: int, seed: int) -> tuple[ts.Solution, ts.Simulation]:
    solution = ts.solve(ts.models.StockCashDealer(**settings))
    assert solution.converged
    return solution, ts.simulate(solution.problem, solution.policy, paths, seed=seed)


def assert_as_predicted(solution: ts.Solution, result: ts.Simulation) -> None:
    rows = result.rows(solution)[:3]
    error = solution.error_estimate
    agree(
        [row.measured for row in rows],
        [row.predicted for row in rows],
        [row.standard_error for row in rows],
        samples=result.paths,
        tolerance=[error, 4 * error / float(solution.problem.objective.risk_aversion), error],
    )


REFERENCE = {
    "growth": 0.15, "volatility": 0.45, "rate": 0.03, "horizon": 20 / 244, "lot": 1.0, "max_stock": 10.0,
    "objective": ts.models.MeanVariance(10.0), "bid_demand": ts.models.Exponential(3660.0, 60.0),
    "ask_demand": ts.models.Exponential(3660.0, 60.0),
}  # fmt: skip
ASYMMETRIC = {
    **REFERENCE, "growth": -0.3, "bid_demand": ts.models.Exponential(5000.0, 75.0),
    "ask_demand": ts.models.Exponential(2500.0, 50.0),
}  # fmt: skip
BOTH = pytest.mark.parametrize("settings", [REFERENCE, ASYMMETRIC], ids=["symmetric", "asymmetric"])


def test_the_simulated_equilibrium_has_the_moments_that_the_solver_says():
    solution, result = simulate_solution(ASYMMETRIC, 40_000, seed=26)
    assert_as_predicted(solution, result)
    table = result.table(solution)
    assert "40,000 paths, exact fills, seed 26" in table
    assert f"{result.mean_wealth:.6g}" in table
    assert f"{solution.value(0.0):.6g}" in table
    with pytest.raises(ValueError, match="predicted solves"):
        result.table(replace(solution, problem=ts.models.StockCashDealer(**REFERENCE)))


@pytest.mark.slow
@BOTH
def test_the_simulated_equilibrium_has_them_at_a_million_paths(settings):
    assert_as_predicted(*simulate_solution(settings, 1_000_000, seed=27))
