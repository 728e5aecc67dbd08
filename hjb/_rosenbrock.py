"""Adaptive linearly implicit integration of nodes that are coupled to their neighbours, a few unknowns a node.

Rodas5P (Steinebach 2023, "Construction of Rosenbrock-Wanner method Rodas5P", BIT 63, 27): eight stages, order five,
stiffly accurate and L-stable, so that neither fast fills nor a steep start dictates the step. With `J = df/du` and
`W = I/(c dt) - J`, `c` the method's constant, each stage solves one linear system and no iteration is needed:

    W U_i = f(t + A_i dt, u + sum_j a_ij U_j) + sum_j (C_ij/dt) U_j + d_i dt f_t,      j < i.

Unknowns have shape (k, nodes, ...): `k` to a node, trailing axes for problems that share their steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_CONSTANT = 0.21193756319429014
_AT = (0.0, 0.6358126895828704, 0.4095798393397535, 0.9769306725060716, 0.4288403609558664, 1.0, 1.0, 1.0)
_WITH_TIME = (_CONSTANT, -0.42387512638858027, -0.3384627126235924, 1.8046452872882734, 2.325825639765069, 0, 0, 0)
_LAST = (-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946)


def _filled(*row: float) -> np.ndarray:
    return np.pad(row, (0, 8 - len(row)))


_OWN = np.stack(
    [
        _filled(),
        _filled(3.0),
        _filled(2.849394379747939, 0.45842242204463923),
        _filled(-6.954028509809101, 2.489845061869568, -10.358996098473584),
        _filled(2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641),
        _filled(*_LAST),
        _filled(*_LAST, 1.0),
        _filled(*_LAST, 1.0, 1.0),
    ]
)
_NEW = _filled(*_LAST, 1.0, 1.0, 1.0)
_BACK = np.stack(
    [
        _filled(),
        _filled(-14.155112264123755),
        _filled(-17.97296035885952, -2.859693295451294),
        _filled(147.12150275711716, -1.41221402718213, 71.68940251302358),
        _filled(165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306),
        _filled(24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471),
        _filled(
            *(30.91273214028599, -3.1208243349937974, 77.79954646070892),
            *(34.28646028294783, -19.097331116725623, -28.087943162872662),
        ),
        _filled(
            *(37.80277123390563, -3.2571969029072276, 112.26918849496327),
            *(66.9347231244047, -40.06618937091002, -54.66780262877968, -9.48861652309627),
        ),
    ]
)
_SAFETY, _SLOWEST, _FASTEST = 0.9, 0.2, 6.0
_FIRST_STEP = 0.02  # at a tolerance of one, in units of the whole span; the control soon finds the right one
_ROUNDING = 1e-13


class Blocks(NamedTuple):
    """A block-tridiagonal matrix: row `i` is `down x[i-1] + diagonal x[i] + up x[i+1]`, each (k, k, nodes, ...)."""

    down: Any
    diagonal: Any
    up: Any

    def times(self, x: Any) -> Any:
        """The product with `x` (k, nodes, ...)."""
        edge = jnp.zeros_like(x[:, :1])
        below = jnp.concatenate([edge, x[:, :-1]], axis=1)
        above = jnp.concatenate([x[:, 1:], edge], axis=1)
        return _apply(self.down, below) + _apply(self.diagonal, x) + _apply(self.up, above)


class Solved(NamedTuple):
    u: Any  # at the times asked for, (times, k, nodes, ...)
    steps: Any  # taken, refused ones included
    finished: Any  # False where `max_steps`, or steps too small to count, did not lead to the end


class _Point(NamedTuple):
    t: Any
    u: Any
    rate: Any  # u' = f
    by_time: Any  # f_t
    jacobian: Blocks


class _State(NamedTuple):
    now: _Point
    dt: Any  # to be tried next
    saved: Any
    count: Any  # of the times saved
    steps: Any


def integrate(
    field: Callable[[Any, Any], tuple[Any, Blocks]], start: Any, times: Any, tolerance: Any, max_steps: int
) -> Solved:
    """Integrate `u' = f(t, u)`, `u(0) = start`, for `t` from 0 to 1, and store `u` at the ascending `times`.

    field:      `(t, u) -> f, df/du`.
    tolerance:  relative and absolute error of a step, in the largest norm over all nodes and problems; rounding keeps
                it from being less than 1e-13. The first step goes with its fifth root as all others do, so that a
                second run at another tolerance takes every step longer or shorter in proportion.

    Between steps `u` is the quintic through value, slope and curvature `u'' = J f + f_t` at both ends.
    """

    def point(t: Any, u: Any) -> _Point:
        (rate, jacobian), (by_time, _) = jax.jvp(lambda t: field(t, u), (t,), (jnp.ones_like(t),))
        return _Point(t, u, rate, by_time, jacobian)

    def unfinished(state: _State) -> Any:
        return (state.now.t < 1) & (state.steps < max_steps) & (state.dt > jnp.finfo(state.dt.dtype).eps)

    def attempt(state: _State) -> _State:
        now, dt = state.now, jnp.minimum(state.dt, 1 - state.now.t)
        u, error = _step(lambda t, u: field(t, u)[0], now, dt)
        size = jnp.max(jnp.abs(error) / (tolerance * (1 + jnp.maximum(jnp.abs(now.u), jnp.abs(u)))))
        size = jnp.where(jnp.isfinite(size), size, jnp.inf)
        factor = jnp.clip(_SAFETY * jnp.maximum(size, 1e-9) ** -0.2, _SLOWEST, _FASTEST)
        accepted = size <= 1
        then = point(jnp.where(dt < state.dt, 1.0, now.t + dt), u)
        saved, count = _save(now, then, times, state.saved, state.count, accepted)
        kept = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), then, now)
        return _State(kept, lax.stop_gradient(dt * factor), saved, count, state.steps + 1)

    tolerance = jnp.maximum(tolerance, _ROUNDING)
    zero, first = jnp.zeros(()), _FIRST_STEP * tolerance**0.2
    begun = times <= 0
    saved = jnp.where(begun.reshape(-1, *(1 for _ in start.shape)), start, jnp.nan)
    state = _State(point(zero, start), first, saved, jnp.sum(begun), jnp.zeros((), int))
    end = lax.while_loop(unfinished, attempt, state)
    return Solved(end.saved, end.steps, end.now.t == 1)


def _step(rate: Callable[[Any, Any], Any], now: _Point, dt: Any) -> tuple[Any, Any]:
    """`u` after `dt`, and the error of the embedded formula of order four."""
    solve = _reduced(now.jacobian, 1 / (_CONSTANT * dt))

    def stage(done: Any, formula: Any) -> tuple[Any, None]:
        number, own, back, at, with_time = formula
        u = now.u + jnp.tensordot(own, done, 1)
        pull = jnp.tensordot(back, done, 1) / dt
        slope = rate(now.t + at * dt, u)
        return done.at[number].set(solve(slope + pull + with_time * dt * now.by_time)), None

    formulas = (jnp.arange(1, 8), *(jnp.asarray(rows[1:], now.u.dtype) for rows in (_OWN, _BACK, _AT, _WITH_TIME)))
    first = solve(now.rate + _CONSTANT * dt * now.by_time)
    done = jnp.zeros((8, *now.u.shape), now.u.dtype).at[0].set(first)
    done, _ = lax.scan(stage, done, formulas)  # one after the other in a loop: eight copies would compile for long
    return now.u + jnp.tensordot(_NEW, done, 1), done[-1]


def _save(now: _Point, then: _Point, times: Any, saved: Any, count: Any, accepted: Any) -> tuple[Any, Any]:
    """Fill in the times that a step has passed."""
    dt = then.t - now.t
    bends = [dt**2 * (end.jacobian.times(end.rate) + end.by_time) for end in (now, then)]

    def due(state: tuple[Any, Any]) -> Any:
        return accepted & (state[1] < times.shape[0]) & (times[jnp.minimum(state[1], times.shape[0] - 1)] <= then.t)

    def save(state: tuple[Any, Any]) -> tuple[Any, Any]:
        saved, count = state
        s = (times[count] - now.t) / dt
        r = 1 - s
        from_now = now.u + s * (3 * now.u + dt * now.rate) + s**2 * (6 * now.u + 3 * dt * now.rate + bends[0] / 2)
        from_then = then.u + r * (3 * then.u - dt * then.rate) + r**2 * (6 * then.u - 3 * dt * then.rate + bends[1] / 2)
        return saved.at[count].set(r**3 * from_now + s**3 * from_then), count + 1

    return lax.while_loop(due, save, (saved, count))


def _reduced(jacobian: Blocks, shift: Any) -> Callable[[Any], Any]:
    """How to solve `(shift I - jacobian) x = b`, by cyclic reduction: every other row is eliminated at a time.

    Each halving is a handful of operations on whole arrays, where elimination row by row would be many on small ones.
    The matrix is close to an M-matrix, so nothing need be pivoted.
    """
    k, nodes = jacobian.down.shape[1:3]
    full = 2 ** (nodes.bit_length()) - 1  # rows added to complete the halving stand alone
    identity = jnp.eye(k).reshape(k, k, *(1 for _ in jacobian.down.shape[2:]))

    def padded(x: Any, fill: Any) -> Any:
        shape = (*x.shape[:2], full - nodes, *x.shape[3:])
        return jnp.concatenate([x, jnp.broadcast_to(fill, shape)], axis=2)

    down = padded(-jacobian.down.at[:, :, 0].set(0.0), 0.0)
    diagonal = padded(shift * identity - jacobian.diagonal, identity)
    up = padded(-jacobian.up.at[:, :, -1].set(0.0), 0.0)
    levels = []
    while diagonal.shape[2] > 1:
        own = _inverse(diagonal[:, :, ::2])
        before, after = _product(own, down[:, :, ::2]), _product(own, up[:, :, ::2])
        low, high = down[:, :, 1::2], up[:, :, 1::2]
        levels.append((own, before, after, low, high))
        diagonal = diagonal[:, :, 1::2] - _product(low, after[:, :, :-1]) - _product(high, before[:, :, 1:])
        down, up = -_product(low, before[:, :, :-1]), -_product(high, after[:, :, 1:])
    last = _inverse(diagonal)

    def solve(b: Any) -> Any:
        x = jnp.concatenate([b, jnp.zeros((k, full - nodes, *b.shape[2:]))], axis=1)
        halves = []
        for own, _, _, low, high in levels:
            half = _apply(own, x[:, ::2])
            halves.append(half)
            x = x[:, 1::2] - _apply(low, half[:, :-1]) - _apply(high, half[:, 1:])
        x = _apply(last, x)
        for (_, before, after, _, _), half in zip(reversed(levels), reversed(halves), strict=True):
            edge = jnp.zeros_like(x[:, :1])
            half = half - _apply(before, jnp.concatenate([edge, x], 1)) - _apply(after, jnp.concatenate([x, edge], 1))
            pairs = jnp.stack([half[:, :-1], x], axis=2).reshape(k, -1, *x.shape[2:])
            x = jnp.concatenate([pairs, half[:, -1:]], axis=1)
        return x[:, :nodes]

    return solve


def _apply(matrix: Any, x: Any) -> Any:
    return jnp.sum(matrix * x[None], axis=1)


def _product(a: Any, b: Any) -> Any:
    return jnp.sum(a[:, :, None] * b[None], axis=1)


def _inverse(a: Any) -> Any:
    """Of blocks one or two wide."""
    if a.shape[0] == 1:
        return 1 / a
    own = 1 / (a[0, 0] * a[1, 1] - a[0, 1] * a[1, 0])
    return own[None, None] * jnp.stack([jnp.stack([a[1, 1], -a[0, 1]]), jnp.stack([-a[1, 0], a[0, 0]])])
