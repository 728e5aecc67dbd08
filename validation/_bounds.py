"""Bounds on how often a policy is hit: the candidate rate that exact thinning draws from.

Time is cut into windows. A bound belongs to a window and to a cell of the inventory, and holds from any moment of the
window to the window's end for whatever the inventory can become meanwhile without a fill. It is laid from the policy's
own intensities on a grid; nothing rests on it silently, because the simulation compares every intensity with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..hjb.policy import Policy
from ..models.problem import Problem
from ._quoting import quoted

WINDOWS = 32
"""Fewest windows. More are taken where fills are frequent or the inventory moves far by itself."""
_MOST_WINDOWS = 4096
_LARGEST = 2**24  # entries of a table
MOST_CANDIDATES = 2**15
"""Expected in a window; where a policy is hit more often, no path can go on."""
_CANDIDATES = 16  # per window, about; each window costs one turn of the loop without a candidate
_LOOKS = 4  # times per window at which the policy is asked
_MARGIN = 1.05  # for what happens between the looks
_STEEPEST = 4.0  # growth of an intensity from cell to cell that the bound allows for
_LADDER = 4  # bounds are powers of 2^(1/4), so that policies that differ little share their candidates
_REACH = 7.2  # standard normal quantile: the inventory goes farther with probability below 1e-12
_DRIFT_SHARE = 0.25  # of itself, that an inventory may move in a window before the windows are made shorter

# Cells of an inventory that moves by itself: even in the bits of 1 + |y|/(8 lots) as a single-precision number, which
# is a logarithm for the price of a shift. A sixteenth of a lot wide up to 8 lots, half to one percent of `y` far out,
# 2048 of them to each side reach 500,000 lots.
_EVEN_LOTS, _HALF = 8.0, 2048
_ONE, _SHIFT = np.int32(0x3F800000), np.int32(16)  # the bits of 1.0; 2^7 cells an octave
_FIRST_HALF, _WIDEST = 64, 8192  # lots to each side, at first and at most, where the problem sets no limit


class Bounds(NamedTuple):
    """`rate` per unit of time, of shape (windows, cells), infinite where fills are too many to be drawn one by one.

    `origin` is the inventory in the middle of the cells.
    """

    rate: Any
    origin: Any


def cell(problem: Problem, y: Any, origin: Any, cells: int) -> tuple[Any, Any]:
    """Number of the cell that holds `y`, and whether there is one."""
    if problem.moves:
        share = (1 + jnp.abs(y) / (_EVEN_LOTS * problem.size)).astype(jnp.float32)
        octaves = (lax.bitcast_convert_type(share, jnp.int32) - _ONE) >> _SHIFT
        position = jnp.where(y < 0, -1 - octaves, octaves) + cells // 2
    else:
        position = jnp.round((y - origin) / problem.size).astype(jnp.int32) + cells // 2
    return jnp.clip(position, 0, cells - 1), (position >= 0) & (position < cells)


def lay_bounds(
    problem: Problem, policy: Callable[..., Any], y: float, money: float, windows: int | None, days: int = 1
) -> Bounds:
    """Bounds for a run that starts at inventory `y` and `money`; as many `windows` as fit the problem unless given.

    They are as many in each of so many `days`.
    """
    horizon = float(problem.horizon)
    if isinstance(policy, Policy):
        policy = policy.envelope
        money = np.inf if getattr(problem, "cash_matters", False) else money  # quotes of the stock alone, all allowed
    count, half = windows or _per_day(_windows_for_drift(problem), days), _half_width(problem, y)
    while True:
        nodes = _nodes(problem, y, half)
        looks = np.linspace(horizon, 0.0, count * _LOOKS + 1)  # of tau
        rates = [np.asarray(rate) for rate in _rates(problem, policy, looks, nodes, np.float64(money))]
        suited = _suited(problem, [horizon * rate[:, np.argmin(np.abs(nodes - y))] for rate in rates], count, half)
        suited = (windows or _per_day(suited[0], days), suited[1])
        if suited == (count, half):
            break
        count, half = suited
    if problem.forces:
        rates.append(np.full(rates[0].shape, float(problem.forced_pace)))
    rate = _over_reach(problem, nodes, looks, rates) if problem.moves else _over_windows(sum(rates))
    per_window = np.maximum(_MARGIN * rate * horizon / count, 1.0)  # integrals along a path want candidates too
    possible = per_window < MOST_CANDIDATES
    per_window = np.where(possible, np.exp2(np.ceil(_LADDER * np.log2(per_window)) / _LADDER), np.inf)
    return Bounds(per_window * count / horizon, np.float64(y))


def _per_day(windows: int, days: int) -> int:
    """At least so many windows, as many in each day."""
    return -(-windows // days) * days


def _half_width(problem: Problem, y: float) -> int:
    if problem.moves:
        return _HALF
    if np.isfinite(problem.limit):
        return math.ceil(problem.limit + abs(y))
    return _FIRST_HALF


def _nodes(problem: Problem, y: float, half: int) -> np.ndarray:
    """Inventories at which the policy is asked: the edges of the cells, or the lots themselves."""
    size = float(problem.size)
    if problem.moves:
        bits = _ONE + (np.arange(half + 1, dtype=np.int32) << _SHIFT)
        edges = _EVEN_LOTS * size * (bits.view(np.float32).astype(np.float64) - 1)
        return np.concatenate([-edges[:0:-1], edges])
    return y + size * (np.arange(2 * half + 1) - half)


@eqx.filter_jit
def _rates(problem: Problem, policy: Callable[..., Any], looks: Any, nodes: Any, money: Any) -> tuple[Any, Any]:
    """Bid and ask intensities, each of shape (looks, nodes)."""

    def look(tau: Any) -> tuple[Any, Any]:
        bid, ask = quoted(problem, policy, *(jnp.broadcast_to(x, nodes.shape) for x in (tau, nodes, money)))
        return bid.rate, ask.rate

    return lax.map(look, looks)


def _windows_for_drift(problem: Problem) -> int:
    """Windows short enough that the inventory stays within a quarter of itself."""
    y, horizon, count = problem.size, problem.horizon, WINDOWS
    while problem.moves and count < _MOST_WINDOWS:
        _, high = _reached(problem, y, horizon, horizon / count)
        if high <= (1 + _DRIFT_SHARE) * y:
            break
        count *= 2
    return count


def _reached(problem: Problem, y: Any, tau: Any, dt: Any) -> tuple[Any, Any]:
    """Least and largest inventory within `dt` from `y` without fills, but for a probability below 1e-12."""
    ends = [y, *(problem.evolve(tau, y, dt, np.float64(sign * _REACH))[0] for sign in (-1, 0, 1))]
    return np.minimum.reduce(ends), np.maximum.reduce(ends)


def _suited(problem: Problem, fills: list[np.ndarray], count: int, half: int) -> tuple[int, int]:
    """Windows, and lots to each side, that suit the fills expected from the start's intensities, at least the given.

    Powers of two, so that a changed parameter seldom changes a shape and compiles anew.
    """
    bid, ask = (np.where(np.isfinite(side), side, 0.0) for side in fills)
    if not (problem.moves or np.isfinite(problem.limit)):
        one_way = max(np.max(bid), np.max(ask))
        half = min(_WIDEST, max(half, _power_of_two(one_way + 8 * math.sqrt(one_way) + 16)))
    wanted = max(count, _power_of_two(float(np.mean(bid + ask)) / _CANDIDATES))
    return max(count, min(wanted, _MOST_WINDOWS, _LARGEST // (4 * half))), half


def _power_of_two(value: float) -> int:
    return 2 ** math.ceil(math.log2(max(value, 1.0)))


def _over_windows(total: Any) -> np.ndarray:
    """The largest intensity over each window's looks, shape (windows, nodes)."""
    return np.maximum.reduce([*(total[i:-1:_LOOKS] for i in range(_LOOKS)), total[_LOOKS::_LOOKS]])


def _over_reach(problem: Problem, edges: Any, looks: Any, rates: list[np.ndarray]) -> np.ndarray:
    """The largest intensity that each cell can reach in each window, shape (windows, cells)."""
    with np.errstate(over="ignore"):
        steep = _over_windows(sum(rate * _steepness(rate) for rate in rates))
    low, high = _reached(problem, edges, looks[0], looks[0] - looks[_LOOKS])
    first = np.searchsorted(edges, low[:-1], side="right") - 1
    last = np.searchsorted(edges, high[1:], side="left")
    return _largest_between(steep, np.clip(first, 0, edges.size - 1), np.clip(last, 0, edges.size - 1))


def _steepness(rate: np.ndarray) -> np.ndarray:
    """By how much an intensity may exceed its node's within the cells beside it: its growth from node to node.

    Where a neighbour is not quoted, as beyond a limit, the growth on the other side is continued.
    """
    before, after = rate[:, :-1], rate[:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.where((before > 0) & (after > 0), np.maximum(before / after, after / before), 1.0)
    growth = np.where(np.isfinite(growth), np.minimum(growth, _STEEPEST), _STEEPEST)
    from_left, from_right = (np.pad(growth, ((0, 0), ends), constant_values=1.0) for ends in ((1, 0), (0, 1)))
    return np.maximum(from_left, from_right)


def _largest_between(rows: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """`max(rows[:, first[i] : last[i] + 1])` for every `i`, by maxima over runs of doubling length."""
    found = np.empty((rows.shape[0], first.size))
    length = last - first + 1
    level, run = 0, rows
    while True:
        here = (length >= 2**level) & (length < 2 ** (level + 1))
        found[:, here] = np.maximum(run[:, first[here]], run[:, last[here] + 1 - 2**level])
        if not np.any(length >= 2 ** (level + 1)):
            return found
        run = np.maximum(run[:, : -(2**level)], run[:, 2**level :])
        level += 1
