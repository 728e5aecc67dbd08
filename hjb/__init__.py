"""From a problem to its `Solution`: one file per method, and `solve`, which picks one and says which."""

from typing import TYPE_CHECKING

from .._lazy import make_lazy

if TYPE_CHECKING:
    from .closed_form import ClosedForm
    from .finite_difference import FiniteDifference
    from .lattice import Lattice
    from .solution import Solution
    from .solve import solve, solve_many

__all__ = ["ClosedForm", "FiniteDifference", "Lattice", "Solution", "solve", "solve_many"]

make_lazy(
    __name__,
    {
        "closed_form": ("ClosedForm",),
        "finite_difference": ("FiniteDifference",),
        "lattice": ("Lattice",),
        "solution": ("Solution",),
        "solve": ("solve", "solve_many"),
    },
)
