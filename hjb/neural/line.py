"""A trained network of one inventory as an ordinary `Solution`, tabulated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._tables import Tables, clock
from ..solution import Result, Solution
from ._ansatz import Ansatz

_TIMES = 256
_PER_LOT = 4  # nodes per lot of a stock that moves by itself


@dataclass(frozen=True)
class NeuralLineSolution(Solution):
    """As `Solution`; `stats["certificates"]` holds what each certificate found, and `result` heeds it.

    They speak of the value from the start. Quotes beside a limit that is never reached from there are not judged.
    """

    @property
    def result(self) -> Result:
        tabled = super().result
        return Result[self.stats["verdict"]] if tabled is Result.CONVERGED else tabled

    def __repr__(self) -> str:
        return "Neural" + super().__repr__()


def line_solution(problem: Any, method: Any, ansatz: Ansatz, stats: dict[str, Any]) -> NeuralLineSolution:
    """Tables of the network over time and the states that matter."""
    equation: Any = ansatz.equation
    per_lot = _PER_LOT if equation.moves else 1
    half = int(np.floor(float(equation.reach) + 1e-9)) * per_lot
    lots = np.arange(-half, half + 1) / per_lot
    tau = float(problem.horizon) * clock(_TIMES)
    value, mean, bid, ask = map(np.asarray, _tabulated(ansatz, tau, lots * float(problem.size)))
    found = stats["certificates"]
    tables = Tables(
        tau,
        (lots * float(problem.size),),
        value,
        mean,
        bid,
        ask,
        found["residual"],
        np.full_like(value, found["error"]),
        np.full_like(value, np.nan),
        stats["iterations"],
    )
    return NeuralLineSolution(problem, method, tables, 2, stats)


@eqx.filter_jit
def _tabulated(ansatz: Ansatz, tau: Any, y: Any) -> Any:
    equation: Any = ansatz.equation

    def node(t: Any, y: Any) -> Any:
        u, _, answers, allowed = equation.answers(ansatz, t, y[None])
        distance = jnp.where(allowed, answers.distance, jnp.nan)
        return u[0], u[1], distance[0], distance[1]

    return jax.lax.map(lambda t: jax.vmap(lambda y: node(t, y))(y), tau)


def restored_line(solution: Solution) -> NeuralLineSolution:
    """The solution with its certificates heeded, from the tables that a file held."""
    names = ("problem", "method", "tables", "power", "stats", "formula")
    return NeuralLineSolution(**{name: getattr(solution, name) for name in names})
