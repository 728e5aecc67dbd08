"""From a problem to its `Solution`: one file per method, and `solve`, which picks one and says which."""

from typing import TYPE_CHECKING

from .._lazy import make_lazy

if TYPE_CHECKING:
    from .book_solution import BookPolicy, BookSolution, Surface
    from .closed_form import ClosedForm
    from .currency import CurrencySolution
    from .currency_book import CurrencyBookSolution
    from .evaluation import Moments, evaluate, evaluate_many
    from .feynman_kac import feynman_kac_quotes, feynman_kac_reference
    from .finite_difference import FiniteDifference
    from .investor import InvestorSolution, solve_investor
    from .lattice import Lattice
    from .neural.method import Neural
    from .options import VegaGrid
    from .options_solution import OptionsSolution
    from .policy import Policy
    from .pre_commitment import PreCommitmentFrontier, TargetMethod, pre_commitment_frontier
    from .sensitivity import quote_gradient
    from .solution import NotConverged, Solution
    from .solve import solve, solve_many
    from .static import StaticQuotes, best_static_quotes

__all__ = [
    "BookPolicy",
    "BookSolution",
    "ClosedForm",
    "CurrencyBookSolution",
    "CurrencySolution",
    "FiniteDifference",
    "InvestorSolution",
    "Lattice",
    "Moments",
    "Neural",
    "NotConverged",
    "OptionsSolution",
    "Policy",
    "PreCommitmentFrontier",
    "Solution",
    "StaticQuotes",
    "Surface",
    "TargetMethod",
    "VegaGrid",
    "best_static_quotes",
    "evaluate",
    "evaluate_many",
    "feynman_kac_quotes",
    "feynman_kac_reference",
    "pre_commitment_frontier",
    "quote_gradient",
    "solve",
    "solve_investor",
    "solve_many",
]

make_lazy(
    __name__,
    {
        "book_solution": ("BookPolicy", "BookSolution", "Surface"),
        "closed_form": ("ClosedForm",),
        "currency": ("CurrencySolution",),
        "currency_book": ("CurrencyBookSolution",),
        "evaluation": ("Moments", "evaluate", "evaluate_many"),
        "feynman_kac": ("feynman_kac_quotes", "feynman_kac_reference"),
        "finite_difference": ("FiniteDifference",),
        "investor": ("InvestorSolution", "solve_investor"),
        "lattice": ("Lattice",),
        "options": ("VegaGrid",),
        "options_solution": ("OptionsSolution",),
        "neural.method": ("Neural",),
        "policy": ("Policy",),
        "pre_commitment": ("PreCommitmentFrontier", "TargetMethod", "pre_commitment_frontier"),
        "sensitivity": ("quote_gradient",),
        "solution": ("NotConverged", "Solution"),
        "solve": ("solve", "solve_many"),
        "static": ("StaticQuotes", "best_static_quotes"),
    },
)
