"""What the learned quotes really earn, and what the linear equation says where there is one: by simulating fills.

Quotes are held between events and for `horizon/_WINDOWS` at most, so fills arrive at constant rates meanwhile: nothing
is discretised, and the policy simulated is one the dealer could follow. A path's score is less noisy by the martingale

    sum_fills G - int sum_channels Lambda G dt,    G = income of the fill + u(q after) - u(q before),

with `G` frozen at the last event. It has mean zero whatever `u`, and uses no derivative of it in time: a network that
satisfied the equation nowhere would be found out all the same. Under exponential utility `(1 - e^{-gamma G})/gamma`
stands in the integral, and `e^{-gamma martingale}` has mean one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ...models.multi_asset import MultiAssetDealer
from ...models.objectives import ExponentialUtility
from .._book_lattice import linear_system, linearises
from ._ansatz import Ansatz

_WINDOWS = 64
_MOST_EVENTS = 20_000


class Paths(NamedTuple):
    """Per path, shape (paths,) each."""

    earned: Any  # fills' income plus the book's expected growth, money
    charged: Any  # what the objective charges along the way and at the end
    value_noise: Any  # the martingale of `theta`; under exponential utility that of `e^{-gamma theta}`, as money
    mean_noise: Any  # the martingale of `h`
    variance: Any  # int of the variance rate of wealth, jumps of `h` included
    log_weight: Any  # of the linear equation, nan where there is none
    tau: Any  # times to go at which the path was looked at, one in each equal part of the horizon, (paths, looks)
    x: Any  # and the states found, (paths, looks, d)


class Estimate(NamedTuple):
    """A number with its standard error, money."""

    value: float
    error: float


def simulate(ansatz: Ansatz, key: Any, paths: int, looks: int) -> Paths:
    """Paths from the start under the quotes that `ansatz` implies."""
    equation: Any = ansatz.equation
    return jax.tree.map(np.asarray, _paths(ansatz, key, (paths, looks), is_linear(equation.problem)))


def is_linear(problem: Any) -> bool:
    """Whether the exact value is known by the linear equation of a book."""
    return isinstance(problem, MultiAssetDealer) and linearises(problem)


class _Walk(NamedTuple):
    t: Any
    x: Any
    paths: Paths
    before: Any  # theta at (t, x) as of the event that led there
    number: Any


@eqx.filter_jit
def _paths(ansatz: Ansatz, key: Any, shape: tuple[int, int], linear: bool) -> Paths:
    equation: Any = ansatz.equation
    (paths, looks), exponential = shape, isinstance(equation.problem.objective, ExponentialUtility)
    horizon, start, jumps = equation.horizon, equation.start, equation.jumps
    problem, objective = equation.problem, equation.problem.objective
    kappa, log_scale = _linear(problem) if linear else (jnp.nan, jnp.zeros(len(jumps)))

    def event(walk: _Walk) -> _Walk:
        draws = jax.random.fold_in(key, walk.number)
        first, second = jax.random.uniform(draws, (2, paths))
        tau = jnp.maximum(horizon - walk.t, 0.0)
        at = jax.vmap(lambda tau, x: equation.quoted(ansatz, tau, x))(tau, walk.x)
        total = jnp.sum(at.rate, 1)
        arrival = -jnp.log1p(-first) / jnp.maximum(total, 1e-300)
        limit = jnp.minimum(horizon / _WINDOWS, horizon - walk.t)
        hit = arrival < limit
        dt = jnp.where(hit, arrival, limit)
        channel = jnp.sum(jnp.cumsum(at.rate, 1) <= (second * total)[:, None], 1)
        pick = lambda array: jnp.where(hit, array[jnp.arange(paths), channel], 0.0)  # noqa: E731
        gains = [at.income - objective.fill_cost(at.income) + at.change[:, 0], at.income + at.change[:, -1]]
        worth = objective.gain(gains[0], 0.0, 0.0) if exponential else gains[0]
        expected = [jnp.sum(at.rate * gain, 1) for gain in (worth, gains[1])]
        noise = [pick(gain) - dt * mean for gain, mean in zip(gains, expected, strict=True)]
        x = walk.x
        if equation.moves:
            normal = jax.random.normal(jax.random.fold_in(draws, 1), (paths,))
            x, surprise = jax.vmap(equation.moved)(tau, x, dt, normal)
            noise = [part + jnp.sum(at.slope[:, i] * surprise, 1) for part, i in zip(noise, (0, -1), strict=True)]
        weight = dt * (kappa * (at.growth - at.cost) + total) + kappa * (at.u[:, 0] - walk.before)
        weight = weight + pick(log_scale[None] + kappa * at.change[:, 0] - jnp.log(at.rate))
        spread = at.variance + jnp.sum(at.rate * (at.income + at.change[:, -1]) ** 2, 1)
        old = walk.paths
        new = Paths(
            old.earned + pick(at.income) + dt * at.growth,
            old.charged + dt * at.cost + jnp.where(hit, objective.fill_cost(pick(at.income)), 0.0),
            old.value_noise + noise[0],
            old.mean_noise + noise[1],
            old.variance + dt * spread,
            old.log_weight + weight,
            old.tau,
            jnp.where(((when >= walk.t[:, None]) & (when < (walk.t + dt)[:, None]))[..., None], walk.x[:, None], old.x),
        )
        x = x + jnp.where(hit[:, None], jumps[channel], 0.0)
        return _Walk(walk.t + dt, x, new, at.u[:, 0] + pick(at.change[:, 0]), walk.number + 1)

    nothing = jnp.zeros(paths)
    # the first event compares theta with itself: the weights are those of u(T, 0) in units of e^{kappa theta(T, 0)}
    before = jnp.full(paths, ansatz(horizon, start)[0])
    draws = jax.random.uniform(jax.random.fold_in(key, _MOST_EVENTS), (paths, looks))
    when = (jnp.arange(looks, dtype=float)[None] + draws) / looks * horizon
    paths_before = Paths(*[nothing] * 6, tau=horizon - when, x=jnp.tile(start, (paths, looks, 1)))
    begin = _Walk(nothing, jnp.tile(start, (paths, 1)), paths_before, before, 0)
    busy = lambda walk: jnp.any(walk.t < horizon * (1 - 1e-12)) & (walk.number < _MOST_EVENTS)  # noqa: E731
    walk = jax.lax.while_loop(busy, event, begin)
    end, found = equation.terminal(walk.x), walk.paths
    weight = found.log_weight + kappa * (-end - walk.before) if linear else nothing
    return found._replace(charged=found.charged + end, log_weight=weight)


def _linear(problem: Any) -> tuple[Any, Any]:
    """`kappa` and `ln C` of the channels, bids first."""
    kappa, _, scale = linear_system(problem)
    return kappa, jnp.log(scale.T.reshape(-1))


def value_of(paths: Paths, objective: Any, pair: bool) -> Estimate:
    """The criterion under the learned quotes, from all paths."""
    if pair:  # E - (lambda/2) Var, with Var = E int (variance rate) dt, exact where `h` is
        score = paths.earned - paths.mean_noise - 0.5 * objective.risk_aversion * paths.variance
        return _controlled(score, paths.value_noise - paths.mean_noise)  # of `theta - h`, which is that of the last
    with jax.enable_x64(True):
        score = np.asarray(objective.score(paths.earned, paths.charged))
        control = paths.value_noise
        if isinstance(objective, ExponentialUtility):
            control = np.asarray(objective.gain(control, 0.0, 0.0))
    return _controlled(score, control)


def _controlled(score: Any, control: Any) -> Estimate:
    """The mean of `score`, less noisy by a `control` of mean zero."""
    noise = control - np.mean(control)
    slope = np.sum(score * noise) / max(np.sum(noise**2), 1e-300)
    return _mean(score - slope * control)


def linear_value(paths: Paths, claimed: float, kappa: float) -> Estimate:
    """`theta(T, 0)` by the linear equation, given the value that the weights are relative to."""
    largest = np.max(paths.log_weight)
    weight = np.exp(paths.log_weight - largest)
    mean = np.mean(weight)
    error = np.std(weight, ddof=1) / mean / np.sqrt(len(weight))
    return Estimate(float(claimed + (largest + np.log(mean)) / kappa), float(error / kappa))


def _mean(score: np.ndarray) -> Estimate:
    return Estimate(float(np.mean(score)), float(np.std(score, ddof=1) / np.sqrt(len(score))))
