"""What the learned quotes really earn, and what the linear equation says where there is one: by simulating fills.

Quotes are held between events and for `horizon/_WINDOWS` at most, so fills arrive at constant rates meanwhile: nothing
is discretised, and the policy simulated is one the dealer could follow. A path's score is less noisy by the martingale

    sum_fills G - int sum_channels Lambda G dt,    G = income of the fill + u(q after) - u(q before),

with `G` frozen at the last event. It has mean zero whatever `u`, and uses no derivative of it in time: a network that
satisfied the equation nowhere would be found out all the same.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._book_lattice import linear_system, linearises
from ._ansatz import Ansatz

_WINDOWS = 64
_MOST_EVENTS = 20_000


class Paths(NamedTuple):
    """Per path, shape (paths,) each."""

    earned: Any  # fills' income plus the book's expected growth, money
    charged: Any  # what the objective charges along the way and at the end
    value_noise: Any  # the martingale of `theta`
    mean_noise: Any  # the martingale of `h`
    variance: Any  # int of the variance rate of wealth, jumps of `h` included
    log_weight: Any  # of the linear equation, nan where there is none


class Estimate(NamedTuple):
    """A number with its standard error, money."""

    value: float
    error: float


def simulate_book(ansatz: Ansatz, key: Any, paths: int) -> Paths:
    """Paths of a book from a flat start under the quotes that `ansatz` implies."""
    equation: Any = ansatz.equation
    return jax.tree.map(np.asarray, _book_paths(ansatz, key, paths, linearises(equation.problem)))


class _Walk(NamedTuple):
    t: Any
    x: Any
    paths: Paths
    before: Any  # theta at (t, x) as of the event that led there
    number: Any


@eqx.filter_jit
def _book_paths(ansatz: Ansatz, key: Any, paths: int, linear: bool) -> Paths:
    equation: Any = ansatz.equation
    problem, horizon, d = equation.problem, equation.horizon, equation.problem.dimension
    jumps = jnp.concatenate([jnp.eye(d), -jnp.eye(d)])
    objective = problem.objective
    kappa, log_scale = _linear(problem) if linear else (jnp.nan, jnp.zeros(2 * d))

    def quoted(t: Any, x: Any) -> Any:
        u, change = equation.changes(ansatz, jnp.maximum(horizon - t, 0.0), x)
        response, allowed = equation.answers(change, x)
        rate = jnp.where(allowed, response.rate, 0.0)
        return u, change.reshape(-1, 2 * d), rate.reshape(-1), response.income.reshape(-1)

    def event(walk: _Walk) -> _Walk:
        first, second = jax.random.uniform(jax.random.fold_in(key, walk.number), (2, paths))
        u, change, rate, income = jax.vmap(quoted)(walk.t, walk.x)
        total = jnp.sum(rate, 1)
        arrival = -jnp.log1p(-first) / jnp.maximum(total, 1e-300)
        limit = jnp.minimum(horizon / _WINDOWS, horizon - walk.t)
        hit = arrival < limit
        dt = jnp.where(hit, arrival, limit)
        channel = jnp.sum(jnp.cumsum(rate, 1) <= (second * total)[:, None], 1)
        pick = lambda array: jnp.where(hit, array[jnp.arange(paths), channel], 0.0)  # noqa: E731
        worth = [income - objective.fill_cost(income) + change[:, 0], income + change[:, -1]]
        noise = [pick(gain) - dt * jnp.sum(rate * gain, 1) for gain in worth]
        growth, cost = problem.income(walk.x), problem.running_cost(walk.x)
        spread = problem.variance_rate(walk.x) + jnp.sum(rate * (income + change[:, -1]) ** 2, 1)
        weight = dt * (kappa * (growth - cost) + total) + kappa * (u[:, 0] - walk.before)
        weight = weight + pick(log_scale[None] + kappa * change[:, 0] - jnp.log(rate))
        old = walk.paths
        new = Paths(
            old.earned + pick(income) + dt * growth,
            old.charged + dt * cost + jnp.where(hit, objective.fill_cost(pick(income)), 0.0),
            old.value_noise + noise[0],
            old.mean_noise + noise[1],
            old.variance + dt * spread,
            old.log_weight + weight,
        )
        after = u[:, 0] + pick(change[:, 0])
        return _Walk(walk.t + dt, walk.x + jnp.where(hit[:, None], jumps[channel], 0.0), new, after, walk.number + 1)

    nothing = jnp.zeros(paths)
    flat = jnp.zeros((paths, d))
    first = ansatz(horizon, flat[0])[0]
    # the first event compares theta with itself: the weights are those of u(T, 0) in units of e^{kappa theta(T, 0)}
    begin = _Walk(nothing, flat, Paths(nothing, nothing, nothing, nothing, nothing, nothing), jnp.full(paths, first), 0)
    busy = lambda walk: jnp.any(walk.t < horizon * (1 - 1e-12)) & (walk.number < _MOST_EVENTS)  # noqa: E731
    walk = jax.lax.while_loop(busy, event, begin)
    end = problem.terminal_cost(walk.x)
    found = walk.paths
    return found._replace(
        charged=found.charged + end, log_weight=found.log_weight + kappa * (-end - walk.before) if linear else nothing
    )


def _linear(problem: Any) -> tuple[Any, Any]:
    """`kappa` and `ln C` of the channels, bids first."""
    kappa, _, scale = linear_system(problem)
    return kappa, jnp.log(scale.T.reshape(-1))


def value_of(paths: Paths, objective: Any, pair: bool) -> Estimate:
    """The criterion under the learned quotes, from all paths."""
    if pair:  # E - (lambda/2) Var, with Var = E int (variance rate) dt, exact where `h` is
        score = paths.earned - paths.mean_noise - 0.5 * objective.risk_aversion * paths.variance
        return _mean(score)
    with jax.enable_x64(True):
        score = np.asarray(objective.score(paths.earned, paths.charged))
    noise = paths.value_noise - np.mean(paths.value_noise)
    slope = np.sum(score * noise) / max(np.sum(noise**2), 1e-300)
    return _mean(score - slope * paths.value_noise)


def linear_value(paths: Paths, claimed: float, kappa: float) -> Estimate:
    """`theta(T, 0)` by the linear equation, given the value that the weights are relative to."""
    largest = np.max(paths.log_weight)
    weight = np.exp(paths.log_weight - largest)
    mean = np.mean(weight)
    error = np.std(weight, ddof=1) / mean / np.sqrt(len(weight))
    return Estimate(float(claimed + (largest + np.log(mean)) / kappa), float(error / kappa))


def _mean(score: np.ndarray) -> Estimate:
    return Estimate(float(np.mean(score)), float(np.std(score, ddof=1) / np.sqrt(len(score))))
