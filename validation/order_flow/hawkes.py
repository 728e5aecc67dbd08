"""Events that excite further events: the Hawkes process with exponential kernels, simulated exactly.

    lambda_i(t) = mu_i + sum_j sum_k alpha_ijk sum_{t_n < t, c_n = j} exp(-beta_k (t - t_n))

for components `i, j = 1..m` (such as buys and sells, or ups and downs of a price) and `k = 1..K` speeds of forgetting.
An event of `j` brings `n_ij = sum_k alpha_ijk / beta_k` events of `i` in the mean; the process settles down if the
spectral radius of `n` is below one, and then has mean rate `(1 - n)^{-1} mu` (Hawkes 1971).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ...models._precision import check, parameter
from .._randomness import Key, key_of, uniform, words

CHUNK = 256
"""Candidates between two looks at whether all paths are done."""


class Points(NamedTuple):
    """The events of many paths, path after path and in order of time; each (events,)."""

    path: np.ndarray
    time: np.ndarray
    component: np.ndarray

    def of(self, path: int) -> tuple[np.ndarray, np.ndarray]:
        """Times and components of one path."""
        own = slice(*np.searchsorted(self.path, [path, path + 1]))
        return self.time[own], self.component[own]


class Hawkes(eqx.Module):
    """The law of the events; rates are per unit of time.

    baseline: `mu`, (m,): rate of the events that nothing excited. Not negative.
    jumps:    `alpha`, (m, m, K) or (m, m) for one speed: by how much an event of the second component lifts the rate
              of the first. Not negative.
    decays:   `beta`, (K,) or a number: how fast a lift is forgotten. Positive.
    Raises `ValueError` at construction for another shape or sign, and where the branching ratio is 1 or more.
    """

    baseline: Any
    jumps: Any
    decays: Any

    def __init__(self, baseline: Any, jumps: Any, decays: Any) -> None:
        self.baseline, jumps, decays = parameter(baseline), parameter(jumps), parameter(decays)
        self.jumps = jumps[:, :, None] if jumps.ndim == 2 else jumps
        self.decays = decays[None] if decays.ndim == 0 else decays

    def __check_init__(self) -> None:
        m, speeds = self.baseline.shape, self.decays.shape
        if len(m) != 1 or len(speeds) != 1 or self.jumps.shape != (*m, *m, *speeds):
            raise ValueError(
                f"Hawkes: baseline, jumps and decays must be (m,), (m, m, K) and (K,), got {m}, {self.jumps.shape} and "
                f"{speeds}"
            )
        check("Hawkes: baseline", self.baseline, least=0, hint="it is events per unit of time")
        check("Hawkes: jumps", self.jumps, least=0, hint="an event may lift a rate, not lower it")
        check("Hawkes: decays", self.decays, above=0, hint="it is per unit of time")
        if isinstance(self.baseline, np.ndarray) and not np.any(self.baseline > 0):
            raise ValueError("Hawkes: baseline must be positive for one component at least; nothing would ever happen")
        if isinstance(self.jumps, np.ndarray) and isinstance(self.decays, np.ndarray) and self.branching >= 1:
            raise ValueError(
                f"Hawkes: branching ratio must be below 1 for the events not to run away, got {self.branching:.6g}; "
                "lower the jumps or raise the decays"
            )

    @property
    def components(self) -> int:
        return self.baseline.shape[0]

    @property
    def offspring(self) -> Any:
        """`n`, (m, m): events of the first component that one of the second brings directly, in the mean."""
        return (self.jumps / self.decays).sum(axis=-1)

    @property
    def branching(self) -> float:
        """Spectral radius of `n`: the share of the events that others excited."""
        return float(np.max(np.abs(np.linalg.eigvals(self.offspring))))

    @property
    def mean_rate(self) -> np.ndarray:
        """`(1 - n)^{-1} mu`, (m,): events per unit of time once the start is forgotten."""
        return np.linalg.solve(np.eye(self.components) - self.offspring, self.baseline)

    def simulate(self, horizon: float, paths: int = 1, *, seed: int, warm_up: float = 0.0) -> Points:
        """Events in (0, horizon] on `paths` independent paths, by Ogata's (1981) thinning: exact, no time step.

        warm_up: for how long the process has been running, from nothing, by time 0.
        Path `p`'s events depend on (seed, p) only, and a longer horizon prolongs them.
        Raises `ValueError` where one of these is out of range.
        """
        if not (0 < horizon < math.inf and 0 <= warm_up < math.inf):
            raise ValueError(
                f"horizon must be positive, warm_up not negative, both finite, got {horizon} and {warm_up}"
            )
        if paths < 1 or not 0 <= seed < 2**64:
            raise ValueError(f"paths must be at least 1 and seed between 0 and 2^64 - 1, got {paths} and {seed}")
        end = float(warm_up + horizon)
        with jax.enable_x64(True):
            key = Key(*map(jnp.asarray, key_of(seed)))
            state = _begin(self, paths)
            times, marks = [], []
            while np.any(np.asarray(state.time) <= end):
                state, (time, mark) = _chunk(self, key, state)
                times.append(np.asarray(time))
                marks.append(np.asarray(mark))
        time, mark = np.concatenate(times, axis=0).T, np.concatenate(marks, axis=0).T
        path, turn = np.nonzero((mark >= 0) & (time > warm_up) & (time <= end))
        return Points(path, time[path, turn] - warm_up, mark[path, turn].astype(np.int64))


class _State(NamedTuple):
    """Every path at its last candidate."""

    time: jax.Array  # (paths,)
    candidates: jax.Array  # (paths,) uint32
    echo: jax.Array  # (m, K, paths), sum of exp(-beta_k (t - t_n)) over the events of a component


def _begin(hawkes: Hawkes, paths: int) -> _State:
    shape = (hawkes.components, hawkes.decays.shape[0], paths)
    return _State(jnp.zeros(paths), jnp.zeros(paths, jnp.uint32), jnp.zeros(shape))


def _rates(hawkes: Hawkes, echo: jax.Array) -> jax.Array:
    """Of every component, (m, paths)."""
    return hawkes.baseline[:, None] + jnp.einsum("ijk,jkp->ip", hawkes.jumps, echo)


@eqx.filter_jit
def _chunk(hawkes: Hawkes, key: Key, state: _State) -> tuple[_State, tuple[jax.Array, jax.Array]]:
    """`CHUNK` candidates more for every path, with their times and marks (chunk, paths); -1 is no event."""
    lanes = jnp.arange(state.time.shape[0], dtype=jnp.uint32)
    hawkes = jax.tree.map(jnp.asarray, hawkes)

    def on(state: _State, _: None) -> tuple[_State, tuple[jax.Array, jax.Array]]:
        when, which = words(key, lanes, state.candidates)
        bound = _rates(hawkes, state.echo).sum(axis=0)  # rates only fall until the next event
        wait = -jnp.log(uniform(when)) / bound
        echo = state.echo * jnp.exp(-hawkes.decays[None, :, None] * wait[None, None, :])
        up_to = jnp.cumsum(_rates(hawkes, echo), axis=0)
        mark = ((uniform(which) * bound)[None, :] >= up_to).sum(axis=0, dtype=jnp.int32)
        mark = jnp.where(mark < hawkes.components, mark, -1)
        struck = jnp.arange(hawkes.components, dtype=jnp.int32)[:, None] == mark[None, :]
        time = state.time + wait
        state = _State(time, state.candidates + np.uint32(1), echo + struck[:, None, :].astype(echo.dtype))
        return state, (time, mark)

    return lax.scan(on, state, None, length=CHUNK)
