"""The risk aversion implied by quotes that a dealer is seen to make: least squares through the differentiable solver.

A row holds a time, an inventory and the two distances quoted. With `x(t, y; eta)` the optimal distances of the problem
whose free numbers are at `eta`, the logarithm of the risk aversion first,

    x_i = x(t_i, y_i; eta) + e_i,        S(eta) = sum_i |e_i|^2,        J_i = dx_i/deta,

is minimised by damped Gauss-Newton steps on `(n/2) log S`; `J` comes from the solver's own derivatives. The errors are
those of the sandwich `(J'J)^-1 M (J'J)^-1`, `M` the covariance of `sum_i J_i' e_i`: the two sides of a row may err
together and by different amounts, and, unless `errors="independent"`, rows may depend on those before them (as in
`_inference`, whose degrees of freedom the intervals use).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from ._descent import Minimum, Slopes, descend, scan
from ._estimate import Fit, Found, RiskAversionEstimate, conclude, covariance_from, profile_of
from ._inference import FEWEST, cosines, covariance_of_sum
from ._parameters import Frame, Inputs, Quoting, called, parameters, risk_aversion_of, slopes_of
from ._start import REACH, begun, follow_the_inventory

_ERRORS = ("dependent", "independent")
_ROUNDING = 1e-9  # of the distances, relative: what a solution's own error may leave unexplained
_POINTS = 9  # of the first look at the risk aversion


@dataclass(frozen=True, eq=False)
class QuoteObservations:
    """Quotes that a dealer was seen to make, row by row in the order of time, (rows,) each.

    time:       since the beginning of the problem's horizon, forward, in its unit.
    inventory:  at that time, in the problem's unit of state: lots, or the money in the stock account.
    bid, ask:   distances from the reference price, positive on the dealer's good side; nan where a side is not quoted.

    Raises `ValueError` where the columns do not fit together or are not finite.
    """

    time: np.ndarray
    inventory: np.ndarray
    bid: np.ndarray
    ask: np.ndarray

    def __post_init__(self) -> None:
        columns = [np.asarray(getattr(self, name), float) for name in ("time", "inventory", "bid", "ask")]
        if len({column.shape for column in columns}) > 1 or columns[0].ndim != 1:
            raise ValueError("QuoteObservations: time, inventory, bid and ask must be columns of one length")
        for name, column in zip(("time", "inventory", "bid", "ask"), columns, strict=True):
            object.__setattr__(self, name, column)
            bad = np.isinf(column) | (np.isnan(column) if name in ("time", "inventory") else False)
            if bad.any():
                raise ValueError(f"QuoteObservations: {name} must be finite, but row {np.argmax(bad)} is not")

    @property
    def rows(self) -> int:
        """How many times quotes were seen."""
        return len(self.time)


def implied_risk_aversion(
    problem: Any,
    observations: QuoteObservations,
    also: Sequence[str] = (),
    inputs: Inputs | None = None,
    method: Any = None,
    errors: str = "dependent",
    profile_points: int = 41,
) -> RiskAversionEstimate:
    """The risk aversion under which `problem`'s optimal quotes come closest to those observed.

    problem:         all but the risk aversion (and `also`) as known; its own risk aversion is where the search begins.
    also:            numbers to estimate along with it, such as "volatility", "demand.decay" or "bid_demand.scale".
    inputs:          the errors of numbers that were estimated elsewhere: they widen the interval.
    method:          of solving; by default the one that fits the problem.
    errors:          "dependent" on the rows before, or "independent" from row to row.
    profile_points:  of the likelihood profile; 0 leaves it out.

    Raises `ValueError` for a problem whose quotes depend on its cash account, for rows that the problem cannot have, or
    too few; warns `WeakIdentification` with the number where the quotes hardly tell the risk aversion.
    """
    if errors not in _ERRORS:
        raise ValueError(f"errors must be 'dependent' or 'independent', got {errors!r}")
    follow_the_inventory(problem, "implied_risk_aversion", trades=False)
    problem, free = begun(problem), (risk_aversion_of(problem), *parameters(problem, also))
    frame = Frame.about(problem, free, method)
    observed, seen = _checked(problem, observations)
    evaluate = _cost(frame, problem, observations, observed, seen)
    minimum = descend(evaluate, scan(evaluate, frame.start(problem), REACH, _POINTS))
    found = _inference(frame, problem, observations, observed, seen, minimum, errors, inputs)
    return conclude(
        problem,
        found,
        "implied",
        observations.rows,
        "rows of quotes",
        profile=profile_of(evaluate, minimum, float(found.covariance[0, 0]) ** 0.5, profile_points),
        fits=_fits(frame, problem, observations, observed, minimum.at),
        notes=_notes(minimum, observed, seen, frame, problem, observations),
    )


def _checked(problem: Any, observations: QuoteObservations) -> tuple[np.ndarray, np.ndarray]:
    """Distances (rows, 2), zero where unseen, and which are seen; raises for rows that the problem cannot have."""
    if observations.rows < FEWEST:
        raise ValueError(f"{observations.rows} rows of quotes are too few for an interval; give at least {FEWEST}")
    horizon = float(problem.horizon)
    outside = (observations.time < 0) | (observations.time > horizon * (1 + 1e-12))
    if outside.any():
        row = int(np.argmax(outside))
        raise ValueError(
            f"row {row}: time {observations.time[row]:g} lies outside the horizon of 0 to {horizon:g}; count it from "
            "the beginning of the horizon, in the problem's unit"
        )
    distances = np.stack([observations.bid, observations.ask], axis=1)
    seen = np.isfinite(distances)
    with jax.enable_x64(True):
        may = np.stack([problem.may_fill(side, observations.inventory) for side in (+1, -1)], axis=1)
    if np.any(seen & ~may):
        row, side = np.argwhere(seen & ~may)[0]
        raise ValueError(
            f"row {row}: {('a bid', 'an ask')[side]} is quoted at inventory {observations.inventory[row]:g}, where a "
            f"fill would pass the limit of {float(problem.limit):g}; state a wider limit, or leave the side out (nan)"
        )
    if not seen.any(axis=0).any():
        raise ValueError("no row shows a quote; every distance is nan")
    return np.where(seen, distances, 0.0), seen


@eqx.filter_jit
def _predicted(quoting: Quoting, time: Any, inventory: Any) -> tuple[Any, Any]:
    """Distances (rows, 2) and their derivatives in the free coordinates (rows, 2, free)."""
    return slopes_of(lambda policy: jnp.stack(policy(time, inventory), axis=-1), quoting)


def _explained(frame: Frame, problem: Any, at: np.ndarray, observations: QuoteObservations) -> tuple[Any, Any]:
    return called(_predicted, frame, problem, at, observations.time, observations.inventory)


def _cost(frame: Frame, problem: Any, observations: QuoteObservations, observed: np.ndarray, seen: np.ndarray) -> Any:
    count = int(seen.sum())
    floor = count * (_ROUNDING * float(np.sqrt(np.mean(observed[seen] ** 2)))) ** 2

    def evaluate(at: np.ndarray) -> Slopes:
        distances, jacobian = _explained(frame, problem, at, observations)
        gap, slopes = (distances - observed)[seen], jacobian[seen]
        total = float(gap @ gap) + floor
        with np.errstate(invalid="ignore"):
            return Slopes(
                0.5 * count * np.log(total), count / total * (slopes.T @ gap), count / total * (slopes.T @ slopes)
            )

    return evaluate


def _inference(
    frame: Frame,
    problem: Any,
    observations: QuoteObservations,
    observed: np.ndarray,
    seen: np.ndarray,
    minimum: Minimum,
    errors: str,
    inputs: Inputs | None,
) -> Found:
    """Coordinates with the covariance of the sandwich and of the inputs."""
    extra, spread = inputs.on_scale(problem, frame.free) if inputs is not None else ((), np.zeros((0, 0)))
    wide = frame if not extra else Frame.about(problem, (*frame.free, *extra), frame.method)
    at = np.concatenate([minimum.at, [p.coordinate(problem) for p in extra]])
    distances, jacobian = _explained(wide, problem, at, observations)
    gap = np.where(seen, observed - distances, 0.0)
    jacobian = np.where(seen[..., None], jacobian, 0.0)
    p, rows = len(frame.free), observations.rows
    own, theirs = jacobian[..., :p], jacobian[..., p:]
    information = np.einsum("ijk,ijl->kl", own, own)
    bread, remarks = covariance_from(information, frame.free)
    scores = np.einsum("ij,ijk->ik", gap, own)
    if errors == "dependent":
        meat, freedom = covariance_of_sum(scores), float(cosines(rows))
    else:
        meat, freedom = scores.T @ scores * (rows / max(rows - p, 1)), float(max(rows - p, 1))
    if not np.isfinite(bread).all():
        return Found(frame.free, minimum.at, bread, np.zeros_like(bread), freedom, remarks)
    moved = -bread @ np.einsum("ijk,ijl->kl", own, theirs)
    from_inputs = moved @ spread @ moved.T
    return Found(frame.free, minimum.at, bread @ meat @ bread + from_inputs, from_inputs, freedom, remarks)


def _fits(
    frame: Frame, problem: Any, observations: QuoteObservations, observed: np.ndarray, at: np.ndarray
) -> tuple[Fit, ...]:
    explained, _ = _explained(frame, problem, at, observations)
    return tuple(
        Fit(f"{side} distance", observations.inventory, {side: getattr(observations, side)}, {side: explained[:, i]})
        for i, side in enumerate(("bid", "ask"))
    )


def _notes(
    minimum: Minimum, observed: np.ndarray, seen: np.ndarray, frame: Frame, problem: Any, rows: QuoteObservations
) -> dict[str, float]:
    explained, _ = _explained(frame, problem, minimum.at, rows)
    gap = (observed - explained)[seen]
    left = float(np.mean(gap**2))
    around = float(np.mean([np.var(observed[seen[:, i], i]) for i in (0, 1) if seen[:, i].any()]))
    return {
        "root mean square error of the distances": left**0.5,
        "share of the distances' variance explained": 1 - left / around if around > 0 else float("nan"),
        "converged": float(minimum.converged),
    }
