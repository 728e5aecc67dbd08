"""From a problem to its `Solution`: one file per method, and `solve`, which picks one and says which."""

from typing import TYPE_CHECKING

from .._lazy import make_lazy

if TYPE_CHECKING:
    from .closed_form import ClosedForm
    from .finite_difference import FiniteDifference
    from .lattice import Lattice
    from .policy import Policy
    from .pre_commitment import PreCommitmentFrontier, TargetMethod, pre_commitment_frontier
    from .solution import NotConverged, Solution
    from .solve import solve, solve_many

__all__ = [
    "ClosedForm",
    "FiniteDifference",
    "Lattice",
    "NotConverged",
    "Policy",
    "PreCommitmentFrontier",
    "Solution",
    "TargetMethod",
    "pre_commitment_frontier",
    "solve",
    "solve_many",
]

make_lazy(
    __name__,
    {
        "closed_form": ("ClosedForm",),
        "finite_difference": ("FiniteDifference",),
        "lattice": ("Lattice",),
        "policy": ("Policy",),
        "pre_commitment": ("PreCommitmentFrontier", "TargetMethod", "pre_commitment_frontier"),
        "solution": ("NotConverged", "Solution"),
        "solve": ("solve", "solve_many"),
    },
)
