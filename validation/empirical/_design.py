"""The columns of a regression on one scale, and whether they can be told apart at all.

Every column is centred and divided by its standard deviation, so that neither units nor sizes decide what counts as
collinear. Estimates travel back by `back`: slopes over the deviations, and the intercept less what centring took.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .panel import Panel

INTERCEPT = "intercept"
_RELATIVE = 1e-10  # of a column's length: what is left of it beside the others must be longer
_NAMED = 1e-3  # share of the largest weight from which on a column is named in a dependence


@dataclass(frozen=True, eq=False)
class Design:
    """`matrix` (n, k) for the response (n,), and how to read it.

    told:            names of the coefficients to tell: the columns, before them the intercept where no effects take it.
    deviations:      of the columns told, in their own units; nan for the intercept.
    back:            (k, k), coefficients of `matrix` to those in the columns' units.
    condition:       of the scaled columns beside the constant and the effects.
    variation:       sum of squares of the response about its mean; `left_by_effects` about the effects.
    """

    response: np.ndarray
    matrix: np.ndarray
    told: tuple[str, ...]
    deviations: np.ndarray
    back: np.ndarray
    condition: float
    variation: float
    left_by_effects: float


def design_for(panel: Panel, response: str, names: list[str], effects: tuple[str, ...]) -> Design:
    """Check and scale the columns. Raises `ValueError` as `regress` says."""
    if not names:
        raise ValueError(f"{panel.source}: no column is left to regress {response} on; name one that varies")
    for effect in effects:
        if effect not in ("stock", "period"):
            raise ValueError(f"{panel.source}: effects must be 'stock' or 'period', got {effect!r}")
    if response in names or len(set(names)) < len(names):
        raise ValueError(f"{panel.source}: {response} and the regressors must be different columns, got {names}")
    y = _finite(panel, response)
    columns = np.column_stack([_finite(panel, name) for name in names])
    constants = _constants(panel, effects)
    rows, wanted = len(panel), constants.shape[1] + len(names)
    if rows <= wanted:
        raise ValueError(
            f"{panel.source}: {rows} rows cannot determine {wanted} coefficients and their errors; give at least "
            f"{wanted + 1} rows or fewer regressors"
        )
    for name, values in zip([response, *names], [y, *columns.T], strict=True):
        if np.ptp(values) <= 1e-12 * np.max(np.abs(values)):
            raise ValueError(
                f"{panel.source}: {name} is constant ({values[0]:.6g} {panel.units[name]}) in all {rows} rows; "
                + ("there is nothing to explain" if name == response else "its slope is not determined: leave it out")
            )
    means, deviations = columns.mean(axis=0), columns.std(axis=0)
    scaled = (columns - means) / deviations
    condition = _told_apart(panel, names, effects, scaled - _projected(constants, scaled))
    back = np.diag(np.concatenate([1 / deviations, np.ones(constants.shape[1])]))
    if effects:
        told = tuple(names)
    else:  # the constant comes first in the table
        back[len(names), : len(names)] = -means / deviations
        back = np.roll(back, 1, axis=0)
        told = (INTERCEPT, *names)
        deviations = np.concatenate([[np.nan], deviations])
    return Design(
        response=y,
        matrix=np.column_stack([scaled, constants]),
        told=told,
        deviations=deviations,
        back=back,
        condition=condition,
        variation=float(np.sum((y - y.mean()) ** 2)),
        left_by_effects=float(np.sum((y - _projected(constants, y[:, None])[:, 0]) ** 2)),
    )


def _finite(panel: Panel, name: str) -> np.ndarray:
    values = panel[name]
    absent = int(np.sum(~np.isfinite(values)))
    if absent:
        raise ValueError(f"{panel.source}: {name} is missing in {absent} of {len(panel)} rows; clean the panel of them")
    return values


def _constants(panel: Panel, effects: tuple[str, ...]) -> np.ndarray:
    """A column of ones, or one for each stock and each period but the first where stocks have theirs. (n, m)"""
    groups = [np.unique(getattr(panel, effect), return_inverse=True)[1] for effect in effects]
    if not groups:
        return np.ones((len(panel), 1))
    dummies = [np.equal.outer(which, np.arange(which.max() + 1)).astype(float) for which in groups]
    return np.column_stack([dummies[0], *(each[:, 1:] for each in dummies[1:])])


def _projected(constants: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return constants @ np.linalg.lstsq(constants, columns, rcond=None)[0]


def _told_apart(panel: Panel, names: list[str], effects: tuple[str, ...], left: np.ndarray) -> float:
    """The condition number of columns (n, k) beside the constants; raises where they cannot be told apart."""
    lengths = np.sqrt(np.mean(left**2, axis=0))
    for name, length in zip(names, lengths, strict=True):
        if length < _RELATIVE:
            raise ValueError(
                f"{panel.source}: {name} does not vary beside the effects of {' and '.join(effects)}, which absorb it; "
                "leave out one or the other"
            )
    _, singular, directions = np.linalg.svd(left / lengths, full_matrices=False)
    if singular[-1] < _RELATIVE * singular[0] * max(1.0, len(panel)) ** 0.5:
        weights = np.abs(directions[-1])
        alike = [name for name, weight in zip(names, weights, strict=True) if weight > _NAMED * weights.max()]
        raise ValueError(
            f"{panel.source}: {', '.join(alike)} are collinear in the {len(panel)} rows: one of them follows from the "
            "others; leave one out"
        )
    return float(singular[0] / singular[-1])
