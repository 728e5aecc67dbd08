"""Nodes of the inventory, crowded where a limit ends the fills.

Beside that place, `S = limit - lot` for the bid, the value bends within a layer as wide as the stock moves while a fill
is waited for,

    w = spread(S) / sqrt(Lambda + 1/T),        Lambda = fills of both sides at their best distances,

for instance a hundredth of a lot, and fills carry the bend from lot to lot. A grid that is even over a lot jumps over
such a layer, and neither the answer nor the estimate of its error is worth much. So half of the nodes lie evenly and
half follow Cauchy's law around the places, as shares `s` of a lot:

    s = G(y) = y/2 + 1/2 mean_j F_w(y - phi_j),        F_w(y) = atan(coth(pi w) tan(pi y))/pi,

wrapped around the lot, `phi` the limits modulo a lot and their mirror images. `G` is smooth, odd, and grows by one from
lot to lot: whole lots are nodes, a node lies a lot from its like, and halving a grid takes every other node. Where the
layer is as wide as a lot, the nodes are nearly even; where nothing spreads (a limit of one lot, no volatility) the
value jumps, and they crowd as much as they may.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ..models.problem import Problem

Nodes = Float[Array, " nodes"]
_NARROWEST, _WIDEST = 1e-3, 1.0  # of a lot: what is narrower is not resolved, what is wider needs no crowd
_BISECTIONS = 54


def crowded(problem: Problem, per_lot: int, half: int) -> Nodes:
    """`2 half + 1` nodes in the unit of the inventory, `per_lot` of them to a lot, and one at every whole lot."""
    within = _places(problem, jnp.arange(per_lot, dtype=float) / per_lot)
    number = np.arange(-half, half + 1)
    return problem.size * ((number // per_lot).astype(float) + within[number % per_lot])


def _places(problem: Problem, share: Nodes) -> Nodes:
    """`y` where `G(y)` is a share of a lot."""
    bounds = jnp.stack([jnp.asarray(problem.bound(side), float) for side in (+1, -1)]) / problem.size
    limited = jnp.isfinite(bounds)
    bounds = jnp.where(limited, bounds, 0.0)
    width = jnp.where(limited, _layers(problem, bounds), _WIDEST)[None]
    places = (bounds[None], -bounds[None])

    def beyond(y: Nodes) -> Nodes:
        passed = [_wrapped_cauchy(y[:, None] - place, width) - _wrapped_cauchy(-place, width) for place in places]
        return 0.5 * y + 0.5 * jnp.mean(jnp.stack(passed), axis=(0, 2)) - share

    def halve(_: Any, ends: tuple[Nodes, Nodes]) -> tuple[Nodes, Nodes]:
        middle = 0.5 * (ends[0] + ends[1])
        early = lax.stop_gradient(beyond(middle)) < 0
        return jnp.where(early, middle, ends[0]), jnp.where(early, ends[1], middle)

    low, high = lax.fori_loop(0, _BISECTIONS, halve, (jnp.zeros_like(share), jnp.ones_like(share)))
    y = lax.stop_gradient(0.5 * (low + high))
    steepness = jax.jvp(beyond, (y,), (jnp.ones_like(y),))[1]
    y = y - beyond(y) / lax.stop_gradient(steepness)  # carries the derivatives: nodes move with the parameters
    return y.at[0].set(0.0)


def _layers(problem: Problem, bounds: Any) -> Any:
    """`w` in lots, beside the last lot of either side."""
    demands = (problem.bid_demand, problem.ask_demand)
    rate = sum(demand._intensity(demand.best_response(lambda ratio: ratio)) for demand in demands)
    last = jnp.maximum(bounds - 1, 0.0) * problem.size
    wide = problem.spread(last) / jnp.sqrt(rate + 1 / problem.horizon) / problem.size
    return jnp.clip(wide, _NARROWEST, _WIDEST)


def _wrapped_cauchy(y: Any, width: Any) -> Any:
    """Distribution function over a period of one around zero, continued: it rises by one in each."""
    whole = jnp.round(y)
    return whole + jnp.arctan(jnp.tan(jnp.pi * (y - whole)) / jnp.tanh(jnp.pi * width)) / jnp.pi
