"""What a dealer's constraints do to the nodes of a grid in stock and cash: shares of a cell, never all or nothing.

A limit puts a jump into the coefficients, along a line `C + S - R(S) = 0` that crosses cells at any slope. Averaged
over the cell of a node it keeps the scheme second-order wherever it falls.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ..models.constraints import Requirement

_THIN = 1e-3  # relative change over a cell in one direction beside which that in the other is all there is
_LEAST_LOTS = 2.0  # that wealth counts as enough for


def above(middle: Any, half_stock: Any, half_cash: Any) -> Any:
    """Share of a cell in which `middle + x + y > 0`, for `x` and `y` even on `+-half_stock` and `+-half_cash`,
    of which one is above zero.

    The second integral of a step is `(z^+)^2 / 2`, and the share is its second difference over the four corners.
    """
    wide = jnp.maximum(half_stock, half_cash)
    narrow = jnp.minimum(half_stock, half_cash)
    wide, narrow, middle = jnp.broadcast_arrays(wide, narrow, middle)
    thin, narrow = narrow < _THIN * wide, jnp.maximum(narrow, _THIN * wide)
    z = jnp.clip(middle, -wide - narrow, wide + narrow)

    def corner(x: Any, y: Any) -> Any:
        return jnp.maximum(z + x + y, 0.0) ** 2

    whole = corner(wide, narrow) - corner(wide, -narrow) - corner(-wide, narrow) + corner(-wide, -narrow)
    return jnp.where(thin, beyond(middle, wide), jnp.clip(whole / (8 * wide * narrow), 0.0, 1.0))


def beyond(middle: Any, half: Any) -> Any:
    """Share of an interval in which `middle + x > 0`."""
    return jnp.clip(0.5 * (middle / half + 1), 0.0, 1.0)


def covered(problem: Any, side: int, stock: Any, cash: Any, cell: tuple[Any, Any], rests: Any) -> Any:
    """Share of each cell in which a fill keeps what wealth must cover, as `problem.may_fill` has it.

    stock, cash:  middles of the cells, of shape (stocks, 1) and (1, cash).
    cell:         their widths, of shape (stocks, 1) and one for all.
    rests:        where cash does not move, or keeps just above the node, (stocks, cash): there the answer is exact.

    A dealer who is short and owns less than nothing may buy back on the grid whatever the line: states that no quote
    leads to, but left with a risk that nothing could ever lessen they would be ill-posed, and spoil the rest.
    """
    size, wealth = problem.size, stock + cash
    share = jnp.ones_like(wealth)
    for requirement in problem.to_raise:
        after = stock + side * size
        kept, exact = _kept(requirement, after, wealth, size, cell)
        raised = _raised(requirement, side, stock, size, cell[0])
        at_rest = rests & ((stock == 0) | (_slope(requirement, after) == 1))
        share = jnp.minimum(share, 1 - raised * (1 - jnp.where(at_rest, exact, kept)))
    if side < 0:
        return share
    return jnp.where((stock < 0) & (wealth < 0), 1.0, share)


def forced(problem: Any, side: int, stock: Any, cash: Any, cell: tuple[Any, Any]) -> Any:
    """Forced trades on a side per unit of time, as `problem.forced_rate` has it, averaged over each node's cell."""
    size, wealth = problem.size, stock + cash
    share = forced_by_stock(problem, side, stock, cell[0]) + jnp.zeros_like(wealth)
    for requirement in problem.to_keep:
        kept, _ = _kept(requirement, stock, wealth, size, cell)
        pledged = (jnp.asarray(requirement.long) == 0) & (stock > 0)  # in full: selling it would mend nothing
        lowers = jnp.where(pledged, 0.0, 1 - _raised(requirement, side, stock, size, cell[0]))
        share = jnp.maximum(share, (1 - kept) * lowers)
    return problem.forced_reduction.pace * share * reduces(side, stock, size, cell[0])


def barred(problem: Any, stock: Any, cash: Any) -> Any:
    """Where wealth would not cover two lots either way: 1, elsewhere 0. There the grid is too lenient."""
    poor = jnp.zeros_like(stock + cash)
    for requirement in problem.to_raise:
        margin = (jnp.asarray(requirement.long) > 0) & (jnp.asarray(requirement.short) > 0)
        poor = jnp.where(margin & (stock + cash < _floor(requirement, problem.size, stock + cash)), 1.0, poor)
    return poor


def _kept(requirement: Requirement, held: Any, wealth: Any, size: Any, cell: tuple[Any, Any]) -> tuple[Any, Any]:
    """Share of each cell in which wealth covers the stock `held`, and whether it does at the node.

    On the grid wealth counts as enough for two lots at least. A dealer too poor for one could never trade again, and
    beside that trap the value would fall off a cliff, which no payment for a fill would be worth the risk of.
    """
    floor = _floor(requirement, size, wealth)
    middle, slope = jnp.maximum(wealth, floor) - requirement.of(held), _slope(requirement, held)
    rich = wealth > floor
    half_stock = 0.5 * cell[0] * jnp.maximum(jnp.abs(jnp.where(rich, 1 - slope, slope)), _THIN)
    share = above(middle, half_stock, jnp.where(rich, 0.5 * cell[1], 0.0))
    return share, jnp.where(middle >= -1e-9 * size, 1.0, 0.0)


def _floor(requirement: Requirement, size: Any, wealth: Any) -> Any:
    """The least that `wealth` counts as; under a credit line, of those only who owe more than it with no stock left."""
    long, short = jnp.asarray(requirement.long), jnp.asarray(requirement.short)
    margin = _LEAST_LOTS * jnp.maximum(long, short) * size
    bankrupt = jnp.where(wealth < -requirement.line, _LEAST_LOTS * long * size - requirement.line, -jnp.inf)
    return jnp.where((long > 0) & (short > 0), margin, bankrupt)


def forced_by_stock(problem: Any, side: int, stock: Any, spacing: Any) -> Any:
    """Share of each cell in which the stock is beyond the limit that a trade on `side` leads back to."""
    return beyond(-side * stock - problem.bound(-side), 0.5 * spacing)


def reduces(side: int, stock: Any, size: Any, spacing: Any) -> Any:
    """Share in which a lot makes the position smaller: more than half a lot is held the other way."""
    return beyond(-side * stock - 0.5 * size, 0.5 * spacing)


def _slope(requirement: Requirement, stock: Any) -> Any:
    """`dR/dS`, at zero the mean of both sides."""
    long, short = jnp.asarray(requirement.long), jnp.asarray(requirement.short)
    return jnp.where(stock > 0, long, jnp.where(stock < 0, -short, 0.5 * (long - short)))


def _raised(requirement: Requirement, side: int, stock: Any, size: Any, spacing: Any) -> Any:
    """Share of the cell in which a fill raises the requirement.

    With a margin on both sides that is where the new position, times its margin, exceeds the old one times its own;
    the credit line knows no margin on short stock, and every purchase raises it.
    """
    ahead, behind = (requirement.long, requirement.short) if side > 0 else (requirement.short, requirement.long)
    both = (jnp.asarray(ahead) > 0) & (jnp.asarray(behind) > 0)
    turn = size * jnp.where(both, ahead / jnp.where(both, ahead + behind, 1.0), 0.0)
    raises = jnp.where(requirement.of(stock + side * size) > requirement.of(stock), 1.0, 0.0)
    return jnp.where(both, beyond(side * stock + turn, 0.5 * spacing), raises)
