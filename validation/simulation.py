"""Model-consistent simulation: any policy on any problem, fills drawn from the model's own intensities.

Two rules of filling. `exact` (see `_thinning`) has no time step: fills, wealth, inventory and the charges of a
criterion are drawn without bias. `linear` (see `_linear`) is the fixed step of published tables: all is discretised.

Paths are computed in batches; a path's numbers depend on the seed and its own number only, so that a run is the same
whatever the batch, the threads or the number of devices, and the first paths of a longer run are those of a shorter.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ..hjb.currency import CurrencyPolicy
from ..hjb.currency_book import CurrencyBookPolicy
from ..hjb.policy import TargetPolicy
from ..models.channels import Quotes
from ..models.currency import CurrencyDealer
from ..models.currency_book import CurrencyBook
from ..models.multi_asset import MultiAssetDealer
from ..models.options_book import OptionsBook
from ..models.printed import PrintedDealer
from ..models.problem import Dealer, Problem, as_state
from . import _batches, _linear, _thinning
from ._book_simulation import simulate_book
from ._bounds import lay_bounds
from ._outcome import Row, Simulation
from ._quoting import ask, quoted, with_numbers_as
from ._randomness import key_of
from .currency import simulate_currency
from .options_simulation import simulate_options

__all__ = ["BoundError", "Row", "SamplePaths", "Simulation", "sample_paths", "simulate"]

Policy = Callable[..., Quotes]
RULES = ("exact", "linear")
TRADING_DAY = 1 / 244
"""Years, where 244 days of trading make one."""
_LONGEST_LAG = 10


class BoundError(ValueError):
    """A policy is hit more often than exact thinning was prepared for: nothing is clipped, nothing is returned."""


def simulate(
    problem: Dealer,
    policy: Policy,
    paths: int,
    seed: int = 0,
    initial: Mapping[str, Any] | None = None,
    steps: int | None = None,
    fills: str = "exact",
    market: Any = None,
    *,
    settlement: int = 0,
    day: float = TRADING_DAY,
    progress: bool | None = None,
    batch: int | None = None,
) -> Any:
    """Simulate `policy` on `problem` from time 0 to the horizon.

    A problem with several things to quote has a simulation of its own kind and the model's own exact fills only: a
    `MultiAssetDealer` a `BookSimulation`; an `OptionsBook` and a currency dealer or book, whose `policy` must be a
    solution's, what `simulate_options` and `simulate_currency` return, with `steps` their longest steps in the horizon.

    policy:   `policy(t, state) -> Quotes`, called inside `jit` with `t` and every entry of `state` of one shape; a
              pytree such as `solution.policy`, whose numbers may change without recompiling, or a function.
              A side that gets nan or an infinite distance, or whose fill would cross the limit, is not quoted.
    paths:    number of independent paths.
    initial:  named state at time 0, such as `{"stock": 2.0}`; zero where it says nothing.
    fills:    "exact", fills by thinning, without a time step; or "linear", at most one fill per side and step, with
              probability `min(Lambda dt, 1)`, at the quotes of the step's start, the mid moving by `+- sigma sqrt(dt)`.
    steps:    of the linear rule. With exact fills, the windows over which intensities are bounded: it changes the
              draws but biases nothing, and more of them help a policy that changes abruptly in time.
    market:   None for fills at the model's own intensities, or a market such as `PoissonMarket(tick=..., refresh=...)`,
              whose rules and order flow then decide what is filled. It has no steps, and exact fills only.
    settlement: trading days until the proceeds of a sale can be spent: T+0, T+1, ... Proceeds of one day are spendable
              from the opening of the day `settlement` later; until then no bid may be filled with them. Interest runs
              from the day of the trade.
    day:      length of a trading day, years; needed for a settlement, then a whole number of days to the horizon.
    progress: True or False to show a bar or not; by default one is shown on a terminal after two seconds.
    batch:    paths computed at once; bounds the memory, changes no number.

    The exact rule computes in double, the linear rule in single precision.
    Raises `ValueError` or `TypeError` for what can be known beforehand, `BoundError` where a policy's intensity exceeds
    the bound it is thinned from.
    """
    for kind, run in _BOOKS.items():
        if isinstance(problem, kind):
            _check_book(problem, policy, fills, market, settlement)
            paths, seed = _checked_numbers(paths, seed, steps, fills, batch)
            return run(problem, policy, paths, seed, initial, steps, progress, batch)
    problem = _check_kinds(problem, policy)
    paths, seed = _checked_numbers(paths, seed, steps, fills, batch)
    lag = _whole("settlement", settlement, 0, _LONGEST_LAG, "it is the days until proceeds can be spent")
    if lag and (market is not None or fills != "exact"):
        raise ValueError("settlement is for the model's own exact fills: leave market out, and fills at 'exact'")
    if market is not None:
        if fills != "exact" or steps is not None:
            raise ValueError("market has no time steps: leave steps out, and fills at 'exact'")
        return play_markets(problem, [(policy, market)], paths, seed, initial, progress, batch)[0]
    if fills == "linear":
        _refuse_funding(problem, "the linear rule")
    request = _request(problem, policy, paths, seed, initial, steps, batch, progress)
    if lag:
        request = request._replace(lag=lag, most_lag=lag, days=settlement_days(problem, day))
    return _simulation(request, fills, (_exact if fills == "exact" else _linearly)(request))


def simulate_settlements(
    problem: Problem,
    policy: Policy,
    lags: Sequence[int],
    paths: int,
    seed: int = 0,
    initial: Mapping[str, Any] | None = None,
    day: float = TRADING_DAY,
    progress: bool | None = None,
) -> list[Simulation]:
    """`simulate` at each of several settlements, all with the same prices and candidates for fills.

    Compare them path by path. Raises as `simulate` does.
    """
    _check_kinds(problem, policy)
    days = settlement_days(problem, day)
    paths, seed = _checked_numbers(paths, seed, None, "exact", None)
    lags = [_whole("each of lags", lag, 0, _LONGEST_LAG, "it is the days until proceeds can be spent") for lag in lags]
    request = _request(problem, policy, paths, seed, initial, None, None, progress)
    request = request._replace(most_lag=max(lags, default=0), days=days)
    requests = [request._replace(lag=lag) for lag in lags]
    return [_simulation(request, "exact", _exact(request)) for request in requests]


def _check_book(problem: Any, policy: Any, fills: str, market: Any, settlement: Any) -> None:
    if fills != "exact" or market is not None or settlement:
        raise ValueError(
            f"a {type(problem).__name__} is simulated by the model's own exact fills: leave fills, market and "
            "settlement out"
        )
    _check_policy(policy)


def _play_currency(problem: Any, policy: Any, paths: int, seed: int, initial: Any, steps: int | None, *_: Any) -> Any:
    if not isinstance(policy, CurrencyPolicy | CurrencyBookPolicy):
        raise TypeError(
            f"policy must be a currency solution's own, which says what it hedges as well, got {type(policy).__name__}"
        )
    unknown = [name for name in initial or {} if name not in problem.names]
    if unknown:
        raise TypeError(f"{type(problem).__name__} has no state {unknown[0]!r}; its state is inventory")
    start = (initial or {}).get("inventory", 0.0)
    longest = None if steps is None else float(problem.horizon) / steps
    return simulate_currency(problem, policy.solution, paths, seed, start, longest_step=longest)


def _play_options(
    problem: Any, policy: Any, paths: int, seed: int, initial: Any, steps: int | None, progress: Any, batch: Any
) -> Any:
    given: dict[str, Any] = {} if steps is None else {"steps": steps}
    return simulate_options(problem, policy, paths, seed, initial, progress=progress, batch=batch, **given)


_BOOKS: dict[Any, Callable[..., Any]] = {
    MultiAssetDealer: simulate_book,
    OptionsBook: _play_options,
    CurrencyDealer: _play_currency,
    CurrencyBook: _play_currency,
}
SIMULATED = (Problem, *_BOOKS)
"""The kinds of problem that `simulate` takes."""


class SamplePaths(NamedTuple):
    """A few paths on an even grid of times, for pictures.

    time:       (times,), forward from 0 to the horizon.
    inventory:  (paths, times), in the problem's unit of state.
    wealth:     (paths, times), money at that time; above the marked book of time 0 for an inventory in lots.
    """

    time: np.ndarray
    inventory: np.ndarray
    wealth: np.ndarray


def sample_paths(
    problem: Problem,
    policy: Policy,
    paths: int = 100,
    times: int = 201,
    seed: int = 0,
    initial: Mapping[str, Any] | None = None,
) -> SamplePaths:
    """Simulate with exact fills and keep the state at `times` even points of time, both ends included.

    The paths have the law of `simulate`'s, but are others: they are drawn window by window between the times kept.
    Raises as `simulate` does.
    """
    _check_kinds(problem, policy)
    paths, seed = _checked_numbers(paths, seed, operator.index(times) - 1, "exact", None)
    request = _request(problem, policy, paths, seed, initial, operator.index(times) - 1, None, False)
    case = _exact_case(request)

    def run(first: int, report: _batches.Report) -> _thinning.Log:
        ended, log = _thinning.run_exactly(case, request.start, first, size, report, log=True)
        _refuse_faults(case, ended, paths - first)
        return jax.tree.map(jnp.transpose, log)  # paths first

    size = _batches.batch_size(paths, _thinning.BATCH, None)
    log = _batches.compute(run, paths, size, "sampling paths", False, double=True)
    time = np.linspace(0.0, float(problem.horizon), times)
    with jax.enable_x64(True):
        discount = np.asarray(problem.accrual(float(problem.horizon) - time))
        wealth = np.asarray(problem.settle(log.inventory, log.money / discount))
    return SamplePaths(time, log.inventory, wealth)


class _Request(NamedTuple):
    """A run, checked: what every rule needs to know."""

    problem: Problem
    policy: Policy
    paths: int
    seed: int
    initial: dict[str, float]
    start: tuple[float, float]  # inventory, and money at the horizon
    steps: int | None
    batch: int | None
    progress: bool | None
    lag: int = 0  # of settlement, in days
    most_lag: int = 0  # in runs of the same program
    days: int = 1  # trading days in the horizon, to which it refers

    @property
    def task(self) -> str:
        return f"simulating {self.paths:,} paths"


class _Ended(NamedTuple):
    """What a rule returns, one entry per path."""

    inventory: np.ndarray
    money: np.ndarray
    charge: np.ndarray
    bids: np.ndarray
    asks: np.ndarray
    spread_time: np.ndarray
    quoted_time: np.ndarray
    excess: np.ndarray | None = None
    forced: np.ndarray | None = None


def _exact(request: _Request) -> _Ended:
    case = _exact_case(request)
    size = _batches.batch_size(request.paths, _thinning.BATCH, request.batch)

    def run(first: int, report: _batches.Report) -> _Ended:
        ended, _ = _thinning.run_exactly(case, request.start, first, size, report)
        _refuse_faults(case, ended, request.paths - first)
        return _Ended(*(getattr(ended, name) for name in _Ended._fields))

    return _batches.compute(run, request.paths, size, request.task, request.progress, double=True)


def _exact_case(request: _Request) -> _thinning.Case:
    problem, policy = (with_numbers_as(np.float64, x) for x in (request.problem, request.policy))
    days = math.lcm(problem.days, request.days)
    if request.steps is not None and request.steps % days:
        raise ValueError(
            f"steps must be a multiple of the {days} trading days, got {request.steps}: closes end a step; give "
            f"{-(-request.steps // days) * days}"
        )
    with jax.enable_x64(True):
        bounds = lay_bounds(problem, policy, *request.start, windows=request.steps, days=days)
    lag = np.asarray(request.lag, np.int32)
    return _thinning.Case(problem, policy, bounds, key_of(request.seed), lag, request.most_lag, request.days)


def _linearly(request: _Request) -> _Ended:
    problem, policy = (with_numbers_as(np.float32, x) for x in (request.problem, request.policy))
    size = _batches.batch_size(request.paths, _linear.BATCH, request.batch)
    steps, start = request.steps or 0, tuple(np.float32(x) for x in request.start)
    with jax.enable_x64(False):
        half = _linear.row_half(problem, policy, request.start[0], steps)
    case = _linear.Case(problem, policy, start, np.int32(steps), key_of(request.seed), half)

    def run(first: int, report: _batches.Report) -> _Ended:
        ended = _linear.run_linearly(case, first, size, report)
        return _Ended(ended.inventory, ended.money, *ended.sums)

    return _batches.compute(run, request.paths, size, request.task, request.progress, double=False)


def play_markets(
    problem: Problem,
    played: Sequence[tuple[Policy, Any]],
    paths: int,
    seed: int = 0,
    initial: Mapping[str, Any] | None = None,
    progress: bool | None = None,
    batch: int | None = None,
) -> list[Simulation]:
    """Play pairs of a policy and a market so that all meet the same orders and prices; results in their order.

    Compare them path by path. Raises as `simulate` does.
    """
    from .markets import _play

    paths, seed = _checked_numbers(paths, seed, None, "exact", batch)
    requests = []
    for policy, market in played:
        _check_kinds(problem, policy)
        _refuse_funding(problem, "a market")
        _play.check_market(problem, market)
        requests.append(_request(problem, policy, paths, seed, initial, None, batch, progress))
    dealer, start = _play.check_market(problem, played[0][1]), requests[0].start
    near = _play.nearest(dealer, {id(policy): policy for policy, _ in played}.values(), start[0])
    results = []
    for request, (policy, market) in zip(requests, played, strict=True):
        venue = _play.open_venue(dealer, market, near, [other for _, other in played])
        inventory, account = _play.play(venue, policy, start, paths, seed, batch, progress)
        sums = account._asdict()
        ended = _Ended(inventory, **{name: sums[name] for name in _Ended._fields[1:] if name in sums})
        results.append(_simulation(request, "market", ended, market))
    return results


def _simulation(request: _Request, rule: str, ended: _Ended, market: Any = None) -> Simulation:
    problem = request.problem
    inventory, money, charge = (np.asarray(x, np.float64) for x in (ended.inventory, ended.money, ended.charge))
    with jax.enable_x64(True):
        wealth = np.asarray(problem.settle(inventory, money))
        charge = charge + np.asarray(problem.objective.terminal_cost(problem.lots(inventory)))
    if getattr(problem.objective, "surplus", None) == "set_aside" and isinstance(request.policy, TargetPolicy):
        charge = charge + np.maximum(wealth - request.policy.target.wealth, 0.0)
    quoted_time = float(np.sum(ended.quoted_time, dtype=np.float64))
    return Simulation(
        problem=problem,
        policy=type(request.policy).__name__,
        rule=rule,
        steps=request.steps,
        seed=request.seed,
        initial=request.initial,
        wealth=wealth,
        inventory=inventory,
        charge=charge,
        bid_fills=np.asarray(ended.bids, np.int32),
        ask_fills=np.asarray(ended.asks, np.int32),
        mean_spread=float(np.sum(ended.spread_time, dtype=np.float64)) / quoted_time if quoted_time else math.nan,
        market=None if market is None else repr(market),
        excess=ended.excess,
        forced_fills=ended.forced if problem.forces else None,
        settlement=request.lag,
    )


def _request(
    problem: Problem,
    policy: Policy,
    paths: int,
    seed: int,
    initial: Mapping[str, Any] | None,
    steps: int | None,
    batch: int | None,
    progress: bool | None,
) -> _Request:
    given = as_state(problem, initial or {})
    named = {name: _number(name, value) for name, value in given.items()}
    _check_start(problem, named)
    inventory = named[problem.names[0]]
    with jax.enable_x64(True):
        rest = {**named, problem.names[0]: 0.0}
        money = float(problem.worth(problem.horizon, **{name: np.float64(value) for name, value in rest.items()}))
        some = jax.ShapeDtypeStruct((2,), np.float64)
        eqx.filter_eval_shape(ask, *with_numbers_as(np.float64, (problem, policy)), some, some, some)
    return _Request(problem, policy, paths, seed, named, (inventory, money), steps, batch, progress)


def settlement_days(problem: Dealer, day: float = TRADING_DAY) -> int:
    """Days in the horizon, each as long as `day`; `ValueError` where no purchase could ever wait for one of them."""
    name = type(problem).__name__
    if "cash" not in problem.names or problem.units["time"] != "years":
        raise ValueError(
            f"settlement is for a dealer with a cash account and time in years, and {name} is none; leave it out"
        )
    if getattr(problem, "credit_line", None) is None and getattr(problem, "margin", None) is None:
        raise ValueError(
            f"settlement loses nothing where nothing limits what {name} borrows; give a credit_line or a margin, or "
            "leave it out"
        )
    length = float(day)
    days = round(float(problem.horizon) / length) if length > 0 else 0
    if days < 1 or abs(days * length / float(problem.horizon) - 1) > 1e-6:
        raise ValueError(
            f"day must divide the horizon of {float(problem.horizon):g} into whole trading days, got {day:g}; give "
            f"horizon/{max(1, days)}, say"
        )
    return days


def _check_start(problem: Any, named: dict[str, float]) -> None:
    """Raise `ValueError` where a run would start beyond the credit line, the short limit or the margin."""
    pledged = getattr(problem, "haircut", None)
    limits = (("stock", "short_limit"),) if pledged is not None else (("cash", "credit_line"), ("stock", "short_limit"))
    for account, limit in limits:
        bound = getattr(problem, limit, None)
        if bound is not None and named[account] < -float(bound):
            raise ValueError(
                f"initial: infeasible start: {account}={named[account]:g} lies below -{limit} = {-float(bound):g}; "
                f"start at or above it, or raise {limit}"
            )
    wealth = sum(named.values())
    for needed in getattr(problem, "to_keep", ()):
        if float(needed.gap(named["stock"], wealth)) > 1e-6 * float(problem.size):
            covered = float(needed.of(named["stock"]))
            raise ValueError(
                f"initial: infeasible start: wealth of {wealth:g} does not cover the {covered:g} that credit and "
                f"margin ask of stock={named['stock']:g}; start with {covered - wealth:g} more cash, or less stock"
            )


def _refuse_funding(problem: Any, where: str) -> None:
    constrained = problem.forces or problem.days > 1
    if constrained or getattr(problem, "cash_matters", False) or np.any(getattr(problem, "short_fee", 0.0) != 0):
        raise ValueError(
            f"{where} knows no borrowing rate, credit line, short fee, margin, forced reduction or overnight limit; "
            "take fills='exact' and the model's own fills"
        )


def _number(name: str, value: Any) -> float:
    number = float(value) if np.ndim(value) == 0 else math.nan
    if not math.isfinite(number):
        raise ValueError(f"initial: {name} must be one finite number, got {value}; simulate each start by itself")
    return number


def _checked_numbers(paths: Any, seed: Any, steps: Any, fills: str, batch: Any) -> tuple[int, int]:
    if fills not in RULES:
        raise ValueError(f"fills must be 'exact' or 'linear', got {fills!r}; 'exact' has no time step")
    paths = _whole("paths", paths, 1, 2**32 - 1, "it is the number of independent paths")
    seed = _whole("seed", seed, 0, 2**64 - 1, "one seed, one result")
    if batch is not None:
        _whole("batch", batch, 1, 2**32 - 1, "it is the number of paths computed at once")
    if steps is not None:
        most = _thinning.MOST_WINDOWS if fills == "exact" else 2**24
        _whole("steps", steps, 1, most, "it cuts the horizon into equal parts")
    elif fills == "linear":
        raise ValueError("steps is missing: fills='linear' needs the number of time steps, such as steps=200")
    return paths, seed


def _whole(name: str, value: Any, least: int, most: int, hint: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}; {hint}") from None
    if not least <= number <= most:
        raise ValueError(f"{name} must be from {least} to {most}, got {number}; {hint}")
    return number


def _check_kinds(problem: Any, policy: Any) -> Problem:
    if not isinstance(problem, Problem):
        raise TypeError(
            f"simulate needs a problem with dynamics, such as StockCashDealer or InventoryDealer, got "
            f"{type(problem).__name__}"
            + ("; the printed equation states none that earn its spread" if isinstance(problem, PrintedDealer) else "")
        )
    _check_policy(policy)
    return problem


def _check_policy(policy: Any) -> None:
    if not callable(policy):
        raise TypeError(
            f"policy must be callable as policy(t, state) -> Quotes, got {type(policy).__name__}; "
            "a Solution has one as its attribute policy"
        )


def _refuse_faults(case: _thinning.Case, ended: _thinning.Paths, paths: int) -> None:
    """Raise `BoundError` for the first path that a fault stopped; lanes beyond `paths` only fill the batch."""
    fault = np.asarray(ended.fault)[:paths]
    if not np.any(fault):
        return
    culprit = int(np.flatnonzero(fault)[0])
    stopped = jax.tree.map(lambda array: float(array[culprit]), ended._replace(tick=ended.tick >> np.uint32(16)))
    problem, windows = case.problem, case.bounds.rate.shape[0]
    width = float(problem.horizon) / windows
    t = (stopped.tick + 1) * width - stopped.left
    where = f"t={t:.6g}, {problem.names[0]}={stopped.inventory:.6g}"
    tau, y, money = (jnp.asarray([x]) for x in (float(problem.horizon) - t, stopped.inventory, stopped.money))
    bid, ask = quoted(problem, case.policy, tau, y, money)
    rate = float(bid.rate[0] + ask.rate[0])
    if fault[culprit] != _thinning.ABOVE_BOUND:
        raise BoundError(
            f"at {where} the policy is hit {rate:.3g} times per unit of time or has left any sensible inventory; floor "
            "its distances, or give more steps"
        )
    raise BoundError(
        f"at {where} the policy's intensity {rate:.6g} exceeds its bound {stopped.displacement:.6g}: it changes too "
        f"fast for {windows} windows; give steps={4 * windows} or more, or smooth the policy"
    )
