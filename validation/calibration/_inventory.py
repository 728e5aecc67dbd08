"""The risk aversion that a dealer's trades reveal: by moments of the inventory, and by the likelihood of the fills.

Quotes are not needed, only when the dealer was filled on which side. Far from zero inventory a dealer who is averse to
risk quotes so that fills lead back: how fast they do is what both ways measure.

moments     Sessions are cut into blocks. With `q` the lots where a block begins, `D` their change over it and `N` the
            number of its fills, the errors of prediction

                u = (D - E[D|q], q (D - E[D|q]), D^2 - E[D^2|q], N - E[N|q])

            have mean zero at the truth and no correlation from block to block. The expectations are those of the
            Markov chain under the optimal quotes (`_chain`): exact moments, where a simulation would add its noise.
            `n ubar' S^-1 ubar` is minimised (Hansen 1982), `S` the covariance of `u`; at its minimum it is the J
            statistic, a chi-square with as many degrees of freedom as moments exceed what is estimated.
likelihood  log L = sum_fills log Lambda(t, y) - int (Lambda_b + Lambda_a) dt, with the information
            int sum (dLambda/deta)^2 / Lambda dt: efficient where the model holds. It is sharper than the moments, and
            the moments say whether the model holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from ...hjb._equation import Grid
from ._chain import STEPS, chain_of, conditional_moments
from ._descent import Minimum, Slopes, descend, scan
from ._estimate import Fit, Found, RiskAversionEstimate, conclude, covariance_from, profile_of
from ._inference import FEWEST, FitTest
from ._observe import TradeRecord, fill_rates
from ._parameters import Frame, Inputs, Quoting, called, parameters, risk_aversion_of, slopes_of
from ._start import REACH, begun, follow_the_inventory

_POINTS = 9  # of the first look at the risk aversion
_ROUNDS = 3  # of weighting anew
_PER_LOT = 4  # nodes of a moving stock
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)  # between two rows


def risk_aversion_from_inventory(
    problem: Any,
    record: TradeRecord,
    estimator: str = "moments",
    also: Sequence[str] = (),
    inputs: Inputs | None = None,
    method: Any = None,
    blocks: int = 8,
    profile_points: int = 41,
) -> RiskAversionEstimate:
    """The risk aversion under which `problem`'s dealer would trade as the record says.

    problem:         all but the risk aversion (and `also`) as known; its own risk aversion is where the search begins.
    estimator:       "moments" of the inventory, with a test of the model, or "likelihood" of the fills, sharper.
    also:            numbers to estimate along with it, such as "demand.scale". Fills alone hardly tell "demand.decay":
                     a dealer facing steeper demand quotes closer, and is filled as often.
    inputs:          the errors of numbers that were estimated elsewhere: they widen the interval.
    blocks:          of a session, for the moments: a divisor of 240; each should see a few fills.
    profile_points:  of the likelihood profile; 0 leaves it out.

    Raises `ValueError` for a problem in which more than the inventory matters (its cash account, forced trades,
    overnight limits), for a record that the problem cannot have, or with too few fills; warns `WeakIdentification`
    with the number where the record hardly tells the risk aversion.
    """
    if estimator not in ("moments", "likelihood"):
        raise ValueError(f"estimator must be 'moments' or 'likelihood', got {estimator!r}")
    follow_the_inventory(problem, "risk_aversion_from_inventory")
    problem, free = begun(problem), (risk_aversion_of(problem), *parameters(problem, also))
    frame = Frame.about(problem, free, method)
    _check(problem, record)
    rows = _rows(problem, record)
    estimate = _by_moments if estimator == "moments" else _by_likelihood
    found, minimum, evaluate, extra = estimate(frame, problem, record, rows, inputs, blocks)
    return conclude(
        problem,
        found,
        estimator,
        record.fills,
        "fills",
        profile=profile_of(evaluate, minimum, float(found.covariance[0, 0]) ** 0.5, profile_points),
        fits=_fits(frame, problem, rows, minimum.at),
        notes={"sessions": float(record.sessions), "converged": float(minimum.converged)},
        **extra,
    )


def _check(problem: Any, record: TradeRecord) -> None:
    """Raise for a record that the problem cannot have."""
    horizon, size = float(problem.horizon), float(problem.size)
    if record.fills < FEWEST:
        raise ValueError(f"{record.fills} fills are too few for an interval; give a record with at least {FEWEST}")
    begins = record.begins
    ends = np.append(begins[1:], len(record.time)) - 1
    for what, rows, at in (("begins", begins, 0.0), ("ends", ends, horizon)):
        off = np.abs(record.time[rows] - at) > 1e-9 * horizon
        if off.any():
            row = int(rows[np.argmax(off)])
            raise ValueError(
                f"row {row}: session {record.session[row]} {what} at {record.time[row]:g}, not at {at:g}; give every "
                "session a row at 0 and one at the horizon"
            )
    before = record.inventory - record.fill * size
    with jax.enable_x64(True):
        bad = sum((record.fill == side) & ~np.asarray(problem.may_fill(side, before)) for side in (+1, -1)) > 0
    if np.any(bad):
        row = int(np.argmax(bad))
        raise ValueError(
            f"row {row}: a fill to inventory {record.inventory[row]:g} passes the limit of {float(problem.limit):g}; "
            "state a wider limit"
        )
    if not problem.moves:
        same = record.session[1:] == record.session[:-1]
        jump = same & (np.abs(before[1:] - record.inventory[:-1]) > 1e-6)
        if jump.any():
            row = int(np.argmax(jump)) + 1
            raise ValueError(
                f"row {row}: the inventory changes from {record.inventory[row - 1]:g} to "
                f"{record.inventory[row]:g} by other than its fill; give every fill a row"
            )


class _Rows(NamedTuple):
    """A record as padded arrays: the stretch of time that ends in a row, and the row's fill. (rows,) but for `held`."""

    time: Any  # (rows, nodes) within the stretch
    held: Any  # (rows, nodes) inventory there
    weight: Any  # (rows, nodes) of the integral over the stretch; zero for padding
    at: Any
    before: Any  # the inventory that the fill meets
    fill: Any


def _rows(problem: Any, record: TradeRecord) -> _Rows:
    size = float(problem.size)
    before = record.inventory - size * record.fill
    inside = np.concatenate([[False], record.session[1:] == record.session[:-1]])
    begin = np.where(inside, np.roll(record.time, 1), record.time)
    held = np.where(inside, np.roll(record.inventory, 1), before)
    share = 0.5 * (_NODES + 1)
    time = begin[:, None] + share * (record.time - begin)[:, None]
    along = held[:, None] + share * (before - held)[:, None]
    weight = 0.5 * _WEIGHTS * (record.time - begin)[:, None]
    full = 1 << (max(len(before), 1024) - 1).bit_length()  # few shapes, so that little compiles

    def padded(x: np.ndarray) -> np.ndarray:
        return np.pad(x, [(0, full - len(x)), *[(0, 0)] * (x.ndim - 1)])

    return _Rows(*(padded(x) for x in (time, along, weight, record.time, before, record.fill)))


# The likelihood


@eqx.filter_jit
def _likelihood(quoting: Quoting, rows: _Rows) -> Any:
    """log L, its derivatives (free,), the information (free, free), and fills expected by row and side (2, rows)."""

    def rates(policy: Any) -> Any:
        meets = fill_rates(policy, rows.at, rows.before)
        return jnp.stack(fill_rates(policy, rows.time, rows.held)), jnp.where(rows.fill > 0, *meets)

    (rate, own), (slope, own_slope) = slopes_of(rates, quoting)
    filled = rows.fill != 0
    own = jnp.where(filled, own, 1.0)
    expected = jnp.einsum("rn,srn->sr", rows.weight, rate)
    score = jnp.einsum("r,rp->p", jnp.where(filled, 1 / own, 0.0), own_slope)
    score = score - jnp.einsum("rn,srnp->p", rows.weight, slope)
    live = jnp.where(rate > 0, rows.weight[None] / jnp.where(rate > 0, rate, 1.0), 0.0)
    information = jnp.einsum("srn,srnp,srnq->pq", live, slope, slope)
    return jnp.sum(jnp.where(filled, jnp.log(own), 0.0)) - jnp.sum(expected), score, information, expected


def _by_likelihood(
    frame: Frame, problem: Any, record: TradeRecord, rows: _Rows, inputs: Inputs | None, blocks: int
) -> tuple[Found, Minimum, Any, dict[str, Any]]:
    def evaluate(at: np.ndarray) -> Slopes:
        log_likelihood, score, information, _ = called(_likelihood, frame, problem, at, rows)
        return Slopes(-float(log_likelihood), -score, information)

    minimum = _searched(evaluate, frame.start(problem))

    def information(wide: Frame, at: np.ndarray) -> np.ndarray:
        return called(_likelihood, wide, problem, at, rows)[2]

    return _found(frame, problem, minimum, information, inputs), minimum, evaluate, {}


def _searched(evaluate: Any, start: np.ndarray) -> Minimum:
    """The minimum, from the best of a first look over the risk aversion."""
    return descend(evaluate, scan(evaluate, start, REACH, _POINTS))


def _found(frame: Frame, problem: Any, minimum: Minimum, information: Any, inputs: Inputs | None) -> Found:
    """Coordinates with the inverse of the information, and what the inputs add."""
    extra, spread = inputs.on_scale(problem, frame.free) if inputs is not None else ((), np.zeros((0, 0)))
    wide = Frame.about(problem, (*frame.free, *extra), frame.method) if extra else frame
    p = len(frame.free)
    full = information(wide, np.concatenate([minimum.at, [x.coordinate(problem) for x in extra]]))
    covariance, remarks = covariance_from(full[:p, :p], frame.free)
    if not np.isfinite(covariance).all():
        return Found(frame.free, minimum.at, covariance, np.zeros_like(covariance), np.inf, remarks)
    moved = -covariance @ full[:p, p:]
    from_inputs = moved @ spread @ moved.T
    return Found(frame.free, minimum.at, covariance + from_inputs, from_inputs, np.inf, remarks)


# The moments


class _Blocks(NamedTuple):
    """What each block of each session saw, (sessions, blocks)."""

    held: Any  # where it begins, in the unit of state
    lots: Any  # there
    change: Any  # of lots
    fills: Any


def _blocks(problem: Any, record: TradeRecord, blocks: int) -> _Blocks:
    if STEPS % blocks or not 1 <= blocks <= STEPS // 4:
        raise ValueError(f"blocks must divide {STEPS} and be at most {STEPS // 4}, got {blocks}; take 4, 8, 12 or 20")
    edges = np.linspace(0.0, float(problem.horizon), blocks + 1)
    size = float(problem.size)
    held, fills = np.empty((record.sessions, blocks + 1)), np.empty((record.sessions, blocks))
    begins = np.append(record.begins, len(record.time))
    for s in range(record.sessions):
        mine = slice(begins[s], begins[s + 1])
        time, y, fill = record.time[mine], record.inventory[mine], record.fill[mine]
        last = np.clip(np.searchsorted(time, edges, side="right") - 1, 0, len(time) - 1)
        after = np.minimum(last + 1, len(time) - 1)
        gap = np.where(time[after] > time[last], time[after] - time[last], 1.0)
        held[s] = y[last] + (edges - time[last]) / gap * (y[after] - size * fill[after] - y[last]) * (after > last)
        fills[s] = np.diff(np.concatenate([[0], np.cumsum(fill != 0)])[last + 1])
    return _Blocks(held[:, :-1], held[:, :-1] / size, np.diff(held, axis=1) / size, fills)


@eqx.filter_jit
def _errors(quoting: Quoting, grid: Grid, seen: _Blocks) -> Any:
    """Errors of prediction (blocks of all sessions, moments), and their derivatives' mean (moments, free)."""

    def errors(policy: Any) -> Any:
        chain = chain_of(policy, grid)
        expected = conditional_moments(chain, seen.held.shape[1])

        def look(rows: Any, held: Any) -> Any:  # of one block, over sessions
            return jax.vmap(lambda row: jnp.interp(held, chain.y, row))(rows)

        mean, square, fills = jnp.moveaxis(jax.vmap(look, in_axes=(0, 1), out_axes=2)(expected, seen.held), 0, 0)
        drift = mean - seen.lots
        surprise = seen.change - drift
        spread = square - 2 * seen.lots * mean + seen.lots**2
        rows = jnp.stack([surprise, seen.lots * surprise, seen.change**2 - spread, seen.fills - fills], axis=-1)
        return rows.reshape(-1, 4)

    rows, slopes = slopes_of(errors, quoting)
    return rows, jnp.mean(slopes, axis=0)


def _grid(problem: Any, method: Any) -> Grid:
    """The nodes of the chain: a lot's fills by themselves, and a few to a lot where the stock moves."""
    half = method.half_width or round(float(problem.limit))
    return Grid(_PER_LOT, half * _PER_LOT) if problem.moves else Grid(1, half)


def _by_moments(
    frame: Frame, problem: Any, record: TradeRecord, rows: _Rows, inputs: Inputs | None, blocks: int
) -> tuple[Found, Minimum, Any, dict[str, Any]]:
    seen = _blocks(problem, record, blocks)
    count = seen.held.size
    if count < 2 * FEWEST:
        raise ValueError(f"{count} blocks are too few to weigh moments by; give {2 * FEWEST}: more sessions or blocks")
    grid = _grid(problem, frame.method)
    use = np.array([True, float(np.ptp(seen.lots)) > 0, True, True])
    start = frame.start(problem)
    minimum = Minimum(start, Slopes(np.inf, start, np.eye(len(start))), False)
    weight = np.eye(int(use.sum()))

    def evaluate(at: np.ndarray) -> Slopes:
        errors, slopes = called(_errors, frame, problem, at, grid, seen)
        mean, slopes = errors[:, use].mean(axis=0), slopes[use]
        return Slopes(
            0.5 * count * float(mean @ weight @ mean),
            count * slopes.T @ weight @ mean,
            count * slopes.T @ weight @ slopes,
        )

    for turn in range(_ROUNDS):
        at = start if turn == 0 else minimum.at
        weight = _weight(called(_errors, frame, problem, at, grid, seen)[0][:, use], centred=turn == 0)
        minimum = _searched(evaluate, start) if turn == 0 else descend(evaluate, minimum.at)

    def information(wide: Frame, at: np.ndarray) -> np.ndarray:
        slopes = called(_errors, wide, problem, at, grid, seen)[1][use]
        return count * slopes.T @ weight @ slopes

    found = _found(frame, problem, minimum, information, inputs)
    return (
        found,
        minimum,
        evaluate,
        {"test": _overidentification(2 * minimum.here.cost, int(use.sum()), len(frame.free))},
    )


def _weight(errors: np.ndarray, centred: bool) -> np.ndarray:
    """The inverse covariance of the moments; at the start, where their mean is not zero, of their spread about it."""
    errors = errors - errors.mean(axis=0) if centred else errors
    covariance = errors.T @ errors / len(errors)
    if not np.isfinite(covariance).all():
        raise ValueError(
            "the problem cannot be solved where the estimation starts; state it with a smaller risk aversion"
        )
    return np.linalg.pinv(covariance, rcond=1e-12, hermitian=True)


def _overidentification(statistic: float, moments: int, free: int) -> FitTest | None:
    freedom = moments - free
    if freedom < 1:
        return None
    return FitTest(
        "moments that the model does not meet (Hansen's J)",
        statistic,
        (freedom,),
        float(special.chdtrc(freedom, statistic)),
    )


# What a reader sees


def _fits(frame: Frame, problem: Any, rows: _Rows, at: np.ndarray) -> tuple[Fit, ...]:
    """Fills per unit of time at each inventory, observed and expected, for either side."""
    expected = called(_likelihood, frame, problem, at, rows)[3]
    time = rows.weight.sum(axis=1)
    lots = np.rint(rows.held.mean(axis=1) / float(problem.size))
    met = np.rint(rows.before / float(problem.size))
    levels = np.unique(lots[time > 0])
    long = np.array([time[lots == level].sum() for level in levels])
    shown = long > 1e-3 * long.sum()
    levels, long = levels[shown], long[shown]
    fits = []
    for i, (side, sign) in enumerate((("bid", 1), ("ask", -1))):
        count = np.array([np.sum((rows.fill == sign) & (met == level)) for level in levels])
        mean = np.array([expected[i][lots == level].sum() for level in levels])
        error = {side: np.sqrt(np.maximum(mean, 1e-300)) / long}
        fits.append(
            Fit(f"fills of the {side} per unit of time", levels, {side: count / long}, {side: mean / long}, error)
        )
    return tuple(fits)
