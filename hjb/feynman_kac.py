"""Reference values for a book of any size, by simulating the linear equation: exact but for the sampling error.

Where the equation linearises (see `_book_lattice`), `u = e^{kappa theta}` is an expectation over a random walk whose
jumps are the fills, `u(T, q) = E exp(kappa int (income - running_cost)(q_s) ds - kappa terminal_cost(q_T))`, times the
growth of all its rates `C_{i,s}`. Simulated as it stands it is noisy. Any guess `g` of `theta` makes it quieter: within
a window of time, over which the guess is kept at its middle's, the walk jumps at the rates `C_{i,s} e^{kappa Dg}` and

    u(tau_0, q_0) / e^{kappa g_0(q_0)} = E exp( sum_windows int [kappa (income - running_cost) + sum C e^{kappa Dg}] ds
                                               + sum_boundaries kappa (g_next - g_before)(q) ),

where the last boundary is the horizon and its `g_next` is `-terminal_cost`. Between jumps the integrand rests, so that
nothing is discretised, however few the windows. The better the guess the smaller the variance, down to none for the
truth: with a solution's own `surface` this certifies that solution, else the guess is the Riccati approximation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..models.channels import Quotes
from ..models.multi_asset import MultiAssetDealer
from ._book_lattice import linear_system, linearises
from .book_solution import Surface
from .riccati import quadratic_surface

_BLOCK = 4096
"""Paths computed together; a path's draws depend on the seed, its block and its place there."""


class Reference(NamedTuple):
    """`theta` at some inventories, money, each of shape (starts,), and the draws behind: (starts, paths).

    weights:  each path's weight over their mean; two starts use the same random numbers path by path.
    """

    value: np.ndarray
    standard_error: np.ndarray
    weights: np.ndarray


class ReferenceQuotes(NamedTuple):
    """Distances at some inventories, each (starts, d), nan where a fill would cross the limit, and their errors."""

    quotes: Quotes
    standard_error: Quotes


def feynman_kac_reference(
    problem: MultiAssetDealer,
    inventory: Any = None,
    paths: int = 32_768,
    seed: int = 0,
    surface: Surface | None = None,
    windows: int = 64,
    t: float = 0.0,
) -> Reference:
    """`theta(t, q)` at `inventory` (starts, d), by default the empty book, with its standard error.

    paths:    rounded up to whole blocks of 4096.
    surface:  the guess, such as `solution.surface`; by default the Riccati approximation.
    windows:  over which the guess is kept; more of them lower the variance only.

    Raises `ValueError` where the equation does not linearise.
    """
    if not linearises(problem):
        raise ValueError(
            "feynman_kac_reference needs exponential demand with one k/lot on all sides, and ExponentialUtility, "
            "RiskPenalty or RunningPenalty: only then is the equation linear"
        )
    start = problem.coordinate({} if inventory is None else {"inventory": inventory}).reshape(-1, problem.dimension)
    with jax.enable_x64(True):
        guess = quadratic_surface(problem) if surface is None else surface
        guess, tau, starts = jax.tree.map(jnp.asarray, (guess, problem.horizon - t, start))
        keys = [jax.random.fold_in(jax.random.key(seed), block) for block in range(-(-paths // _BLOCK))]
        blocks = [np.asarray(_log_weights(problem, guess, tau, starts, key, windows)) for key in keys]
        kappa = float(linear_system(problem)[0])
    logs = np.concatenate(blocks, axis=1)
    largest = np.max(logs, axis=1, keepdims=True)
    weights = np.exp(logs - largest)
    mean = np.mean(weights, axis=1, keepdims=True)
    weights = weights / mean
    value = (largest + np.log(mean))[:, 0] / kappa
    return Reference(value, _error(weights) / kappa, weights)


def feynman_kac_quotes(problem: MultiAssetDealer, inventory: Any = None, **settings: Any) -> ReferenceQuotes:
    """The optimal distances at `inventory` (starts, d), by common random numbers; settings as for the value."""
    q = problem.coordinate({} if inventory is None else {"inventory": inventory}).reshape(-1, 1, problem.dimension)
    unit = np.eye(problem.dimension)[None]
    starts = np.concatenate([q, q + unit, q - unit], axis=1)  # (starts, 1 + 2 d, d)
    found = feynman_kac_reference(problem, starts, **settings)
    with jax.enable_x64(True):
        kappa = float(linear_system(problem)[0])
        value, weights = found.value.reshape(starts.shape[:2]), found.weights.reshape(*starts.shape[:2], -1)
        quotes, errors = [], []
        for side, first in ((+1, 1), (-1, 1 + problem.dimension)):
            there = slice(first, first + problem.dimension)
            change = value[:, there] - value[:, :1]
            distance = np.asarray(problem.response(side, change, np.zeros_like(change)).distance)
            allowed = np.asarray(problem.may_fill(side, q[:, 0]))
            quotes.append(np.where(allowed, distance, np.nan))
            errors.append(_error(weights[:, there] - weights[:, :1] + 1) / kappa / problem.lot)
    return ReferenceQuotes(Quotes(*quotes), Quotes(*errors))


def _error(weights: np.ndarray) -> np.ndarray:
    """Standard error of the logarithm of the mean, along the last axis, of weights whose mean is one."""
    return np.std(weights, axis=-1, ddof=1) / np.sqrt(weights.shape[-1])


@eqx.filter_jit
def _log_weights(problem: MultiAssetDealer, guess: Surface, tau: Any, start: Any, key: Any, windows: int) -> Any:
    """Logarithms of the weights times `e^{kappa g_0(q_0)}`, (starts, paths of a block)."""
    kappa, _, scale = linear_system(problem)
    edges = tau * jnp.linspace(1.0, 0.0, windows + 1) ** 2
    middles = 0.5 * (edges[1:] + edges[:-1])

    def rates(middle: Any, q: Any) -> Any:
        """(paths, 2 d), bids first."""
        up, down = jax.vmap(lambda q: guess.changes(middle, q))(q)
        sides = zip((+1, -1), (up, down), scale.T, strict=True)
        found = [
            jnp.where(problem.may_fill(side, q), c[None] * jnp.exp(kappa * change[0]), 0.0) for side, change, c in sides
        ]
        return jnp.concatenate(found, axis=-1)

    def value(middle: Any, q: Any) -> Any:
        return jax.vmap(lambda q: guess.value(middle, q))(q)

    def through(carry: Any, window: Any) -> tuple[Any, None]:
        q, log_weight, turn = carry
        length, middle, following, last = window
        moves = jnp.concatenate([jnp.eye(q.shape[-1]), -jnp.eye(q.shape[-1])])

        def step(state: Any) -> Any:
            left, q, log_weight, turn = state
            rate = rates(middle, q)
            total = jnp.sum(rate, axis=-1)
            first, second = jax.random.uniform(jax.random.fold_in(key, turn), (2, q.shape[0]), q.dtype)
            wait = -jnp.log1p(-first) / jnp.maximum(total, jnp.finfo(q.dtype).tiny)
            hit = wait < left
            dt = jnp.where(hit, wait, left)
            log_weight = log_weight + dt * (kappa * (problem.income(q) - problem.running_cost(q)) + total)
            channel = jnp.sum(jnp.cumsum(rate, axis=-1) <= (second * total)[:, None], axis=-1)
            return left - dt, q + jnp.where(hit[:, None], moves[channel], 0.0), log_weight, turn + 1

        begin = (jnp.full(q.shape[:1], length), q, log_weight, turn)
        _, q, log_weight, turn = lax.while_loop(lambda state: jnp.any(state[0] > 0), step, begin)
        beyond = jnp.where(last, -problem.terminal_cost(q), value(following, q))
        return (q, log_weight + kappa * (beyond - value(middle, q)), turn), None

    def walk(q: Any) -> Any:
        q = jnp.broadcast_to(q, (_BLOCK, q.shape[-1]))
        following = jnp.append(middles[1:], middles[-1])
        schedule = (edges[:-1] - edges[1:], middles, following, jnp.arange(windows) == windows - 1)
        begin = (q, kappa * value(middles[0], q), jnp.zeros((), jnp.int32))
        return lax.scan(through, begin, schedule)[0][1]

    return lax.map(walk, start)
