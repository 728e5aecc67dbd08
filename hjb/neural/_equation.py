"""What training needs to know of a problem: the one interface that dealers and diffusions share.

An `Equation` is a terminal-value problem for one or two functions `u(tau, x)` of the time to go and a state of any
dimension. It brings a baseline that meets the terminal condition, features a network can see the state through, the
relative residual of any candidate, and states that the optimal policy visits. Nothing else is asked of a problem, so
fills and Brownian motions, one asset and a hundred, a value alone and a value with its mean train alike.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx

Function = Callable[[Any, Any], Any]
"""`u(tau, x)` at one point: `tau` a number, `x` (d,), the result (outputs,)."""


class Equation(eqx.Module):
    """See the module. Times are to go and ascend from 0; `x` is one state of shape (d,)."""

    @property
    @abstractmethod
    def horizon(self) -> Any:
        """The largest time to go."""

    @property
    @abstractmethod
    def start(self) -> Any:
        """The state (d,) whose value is the answer, and near which paths begin."""

    @property
    @abstractmethod
    def scale(self) -> Any:
        """What the outputs are like in size, (outputs,): corrections and residuals are counted in it."""

    @property
    def rate(self) -> Any:
        """Pace, per unit of time, at which the start-up near `tau = 0` fades."""
        return 1.0 / self.horizon

    @property
    def settled(self) -> bool:
        """Whether the states sampled do not depend on the candidate: then one sample serves the whole training."""
        return False

    @abstractmethod
    def baseline(self, tau: Any, x: Any) -> Any:
        """A first guess (outputs,) that is exact at `tau = 0`."""

    @abstractmethod
    def features(self, tau: Any, x: Any) -> Any:
        """Numbers (inputs,) that tell states apart, smooth in `tau`."""

    @abstractmethod
    def residual(self, function: Function, tau: Any, x: Any, cap: Any) -> Any:
        """By how much `function` fails the equation at one point, (outputs,), relative to the terms it balances.

        `cap` bounds, in units of the demand's own scale, how far a fill may seem to raise the value before the
        Hamiltonian is continued along its tangent, which is that of a dealer who may not quote any tighter. Early in
        training this keeps one bad point from drowning all others; `inf` leaves the equation as it is.
        """

    @abstractmethod
    def sample(self, key: Any, function: Function, paths: int, each: int) -> tuple[Any, Any]:
        """`each` points of every path under the policy that `function` implies: (paths * each,), (paths * each, d)."""
