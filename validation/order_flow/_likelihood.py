"""The likelihood of events under a Hawkes process, in time proportional to their number.

Between events the echoes `e_jk(t) = sum exp(-beta_k (t - t_n))` decay, at an event of `j` they rise by one. So one
pass does. (An associative scan is no faster at some thousand events, and takes a minute to compile.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax


class Parameters(NamedTuple):
    """`mu` (m,), `alpha` (m, m, K), `beta` (K,)."""

    baseline: Any
    jumps: Any
    decays: Any


def log_density(law: Parameters, times: Any, marks: Any, horizon: Any) -> Any:
    """`sum_n log lambda_{c_n}(t_n) - sum_i int_0^T lambda_i dt` for times (n,) and one-hot marks (n, m).

    A row of marks that is all zero is no event: it fills up the arrays to a common length.
    """
    excited = jnp.einsum("ijk,njk->ni", law.jumps, _echoes(law.decays, times, marks))
    own = ((law.baseline[None, :] + excited) * marks).sum(axis=1) + (1 - marks.sum(axis=1))
    left = (1 - jnp.exp(-law.decays[None, :] * (horizon - times)[:, None])) / law.decays[None, :]  # (n, K)
    expected = law.baseline.sum() * horizon + jnp.einsum("ijk,nj,nk->", law.jumps, marks, left)
    return jnp.log(own).sum() - expected


def passed(law: Parameters, times: Any, marks: Any) -> Any:
    """Integral of each rate from the event before (or time 0) to each event, (n, m)."""
    gaps = jnp.diff(times, prepend=0.0)
    before = _after(_echoes(law.decays, times, marks), marks)
    lost = before * ((1 - jnp.exp(-gaps[:, None] * law.decays[None, :])) / law.decays[None, :])[:, None, :]
    return law.baseline[None, :] * gaps[:, None] + jnp.einsum("ijk,njk->ni", law.jumps, lost)


def _after(echoes: Any, marks: Any) -> Any:
    """The echoes just after the event before each, (n, m, K)."""
    risen = echoes + marks[:, :, None]
    return jnp.concatenate([jnp.zeros_like(risen[:1]), risen[:-1]])


def _echoes(decays: Any, times: Any, marks: Any) -> Any:
    """`e_jk` just before each event, (n, m, K)."""
    gaps = jnp.diff(times, prepend=0.0)
    before = jnp.concatenate([jnp.zeros_like(marks[:1]), marks[:-1]])

    def on(echo: Any, event: tuple[Any, Any]) -> tuple[Any, Any]:
        gap, mark = event
        echo = (echo + mark[:, None]) * jnp.exp(-gap * decays)[None, :]
        return echo, echo

    start = jnp.zeros((marks.shape[1], decays.shape[0]), marks.dtype)
    return lax.scan(on, start, (gaps, before))[1]
