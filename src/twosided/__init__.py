"""Optimal two-sided quotes for a dealer who is hit at random.

`models` states the problem, `hjb` solves its Hamilton-Jacobi-Bellman equation, `validation` checks the answer
by simulation and calibrates the problem from data. Importing this package imports none of them, nor JAX.
"""

from typing import TYPE_CHECKING

from ._lazy import make_lazy

if TYPE_CHECKING:
    from . import hjb, models, validation
    from .hjb import Solution, solve, solve_many
    from .models import Quotes
    from .validation import Simulation, calibrate, frontier, simulate

__all__ = [
    "Quotes",
    "Simulation",
    "Solution",
    "__version__",
    "calibrate",
    "frontier",
    "hjb",
    "models",
    "simulate",
    "solve",
    "solve_many",
    "validation",
]
__version__ = "0.1.0"

make_lazy(
    __name__,
    {
        "hjb": ("Solution", "solve", "solve_many"),
        "models": ("Quotes",),
        "validation": ("Simulation", "calibrate", "frontier", "simulate"),
    },
)
