"""Equations whose states are moved by fills: what simulating their quotes needs, beside what training needs."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

from ._equation import Equation, Function


class Quoted(NamedTuple):
    """What holds at one state under the quotes that a candidate implies; channels in the order of `jumps`."""

    u: Any  # (outputs,)
    change: Any  # of `u` by a fill, (outputs, channels)
    rate: Any  # fills per unit of time, (channels,)
    income: Any  # money per fill, (channels,)
    growth: Any  # expected growth of the book, money per unit of time
    cost: Any  # what the objective charges for holding, likewise
    variance: Any  # rate of the variance of wealth without fills, counting the mean's own moves
    slope: Any  # of `u` in the state, (outputs, d); zero where the state rests between fills


class FillEquation(Equation):
    """The equation of a dealer's `problem`; its first output is the value, its last the expected wealth if `pair`."""

    @property
    def moves(self) -> bool:
        """Whether the state changes between fills."""
        return False

    @property
    @abstractmethod
    def jumps(self) -> Any:
        """(channels, d): by how much a fill moves the state, bids first."""

    @abstractmethod
    def unit(self, tau: Any, x: Any) -> Any:
        """What a relative residual of one amounts to, money per unit of time."""

    @abstractmethod
    def quoted(self, function: Function, tau: Any, x: Any) -> Quoted:
        """What holds at one state."""

    @abstractmethod
    def terminal(self, x: Any) -> Any:
        """What the objective charges at the end for states (..., d)."""

    def moved(self, tau: Any, x: Any, dt: Any, normal: Any) -> tuple[Any, Any]:
        """One state after `dt` without fills, and by how much that surprises, (d,) each."""
        return x, 0.0 * x
