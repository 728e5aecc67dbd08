"""`solve`: from a problem to its `Solution`, by the method named or the one that fits."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import jax
import numpy as np

from ..models._precision import is_traced
from ..models.currency import CurrencyDealer
from ..models.currency_book import CurrencyBook
from ..models.inventory import AvellanedaStoikov
from ..models.investor import Investor
from ..models.multi_asset import MultiAssetDealer
from ..models.objectives import PreCommitment
from ..models.options_book import OptionsBook
from ..models.printed import PrintedDealer
from ..models.problem import Dealer, Problem
from ._account_occupancy import account_shares
from ._occupancy import idle_share
from ._tables import Tables
from .book_solution import timed
from .closed_form import ClosedForm
from .currency import solve_currency
from .finite_difference import FiniteDifference
from .lattice import Lattice
from .neural.method import Neural
from .options import VegaGrid, solve_options
from .pre_commitment import TargetMethod
from .solution import NotConverged, Solution

METHODS = {
    method.__name__: method for method in (ClosedForm, FiniteDifference, Lattice, Neural, TargetMethod, VegaGrid)
}


def solve(problem: Dealer, method: Any = None) -> Solution:
    """Solve a dealer's problem; `solution.method` says by which method.

    Without `method`: `FiniteDifference` where the stock moves by itself, `Lattice` for an inventory in lots with a
    limit, `ClosedForm` where the paper gives formulas (`AvellanedaStoikov`, `PrintedDealer`).
    A `MultiAssetDealer` of up to three assets with limits goes to `Lattice`, any other to `ClosedForm`.

    Everything runs in double precision without touching JAX's global setting. Inside `jit`, `grad` or `vmap` the
    caller must have enabled it: put `with jax.enable_x64(True):` around the outer transformation. Derivatives in the
    problem's parameters pass in forward and in reverse mode; either costs one solve per traced number.

    Raises `TypeError` or `ValueError` for what can be known beforehand. A solve that ends without a trustworthy
    answer warns `NotConverged` and returns a solution whose `converged` is False and whose `result` says why.

    A method may build a kind of solution of its own: if it has `solve(problem)`, that is called outside any block of
    double precision and must return an instance of `Solution`; `restore(problem, data)` is its inverse, called by
    `Solution.load` with the dataset that the solution's own `save` wrote.
    """
    if not isinstance(problem, Dealer):
        raise TypeError(
            f"solve needs a dealer's problem from twosided.models, got {type(problem).__name__}"
            + ("; take solve_investor" if isinstance(problem, Investor) else "")
        )
    method = default_method(problem) if method is None else method
    if type(method) not in METHODS.values():
        raise TypeError(f"method must be one of {', '.join(METHODS)} from twosided.hjb, got {method!r}")
    _refuse_unfit(problem, method)
    own = _own_solver(problem, method)
    if own is not None:
        return _announced(own(problem))
    if is_traced(problem):
        if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
            raise ValueError(
                "solve runs in double precision: put `with jax.enable_x64(True):` around the outer jit, grad or vmap"
            )
        return method.solution(problem)
    started = time.perf_counter()
    with jax.enable_x64(True):
        solution = method.solution(problem)
        tables = jax.tree.map(np.asarray, jax.block_until_ready(solution.tables))
    seconds = time.perf_counter() - started
    return _finished(problem, method, tables, solution.power, solution.stats, seconds, solution.formula)


def solve_many(problems: Sequence[Dealer], method: Any = None) -> list[Solution]:
    """Solve problems of one kind that differ in parameters only, all in one batched call; results in their order.

    Raises `ValueError` where they differ in more than numbers, such as the demand's class or the limit in lots.
    """
    problems = list(problems)
    if not problems:
        return []
    method = default_method(problems[0]) if method is None else method
    _refuse_unfit(problems[0], method)
    shapes = {jax.tree.structure(problem) for problem in problems}
    if len(shapes) > 1:
        raise ValueError(
            "solve_many takes problems that differ in numbers only, but their classes or limits differ; "
            "solve them in groups"
        )
    own = _own_solver(problems[0], method)
    if own is not None:
        return [_announced(own(problem)) for problem in problems]
    started = time.perf_counter()
    with jax.enable_x64(True):
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *problems)
        batch = method.solve_batch(problems, stacked)
        arrays = jax.tree.map(np.asarray, jax.block_until_ready(batch.tables))
    seconds = (time.perf_counter() - started) / len(problems)
    return [
        _finished(problem, method, jax.tree.map(lambda leaf, i=i: leaf[i], arrays), batch.power, batch.stats, seconds)
        for i, problem in enumerate(problems)
    ]


def _finished(
    problem: Any, method: Any, tables: Tables, power: int, stats: dict[str, Any], seconds: float, formula: Any = None
) -> Solution:
    """The solution with its evidence; warns where it cannot be trusted."""
    stats = {"method": type(method).__name__, "seconds": seconds, **stats}
    if isinstance(problem, Problem):
        if np.ndim(tables.bid) == 3 and tables.target is None:
            stats |= account_shares(problem, tables)
        else:
            stats["idle_share"] = idle_share(problem, tables)
    return _announced(Solution(problem, method, tables, power, stats, formula), stacklevel=4)


def _announced(solution: Solution, stacklevel: int = 3) -> Solution:
    if not is_traced(solution.problem) and not solution.converged:
        warnings.warn(f"{solution!r}", NotConverged, stacklevel=stacklevel)
    return solution


def _own_solver(problem: Any, method: Any) -> Any:
    """How this method solves this problem by itself, or None where it fills tables over one or two accounts."""
    if isinstance(problem, CurrencyDealer | CurrencyBook):
        return partial(solve_currency, method=method)
    if isinstance(problem, OptionsBook):
        return partial(solve_options, method=method)
    if isinstance(problem, MultiAssetDealer) and not hasattr(method, "solve"):
        return lambda problem: timed(problem, method.solve_book)
    return getattr(method, "solve", None)


def default_method(problem: Any) -> Any:
    """The method that fits a problem best."""
    if isinstance(problem, (AvellanedaStoikov, PrintedDealer, CurrencyBook)):
        return ClosedForm()
    if isinstance(getattr(problem, "objective", None), PreCommitment):
        return TargetMethod()
    if isinstance(problem, OptionsBook):
        return VegaGrid()
    if isinstance(problem, MultiAssetDealer):
        return Lattice() if problem.dimension <= 3 and np.all(np.isfinite(problem.limit)) else ClosedForm()
    return FiniteDifference() if problem.moves else Lattice()


def _refuse_unfit(problem: Any, method: Any) -> None:
    if isinstance(method, VegaGrid) and not isinstance(problem, OptionsBook):
        raise ValueError(f"VegaGrid solves an OptionsBook, not {type(problem).__name__}; leave the method out")
    if isinstance(problem, MultiAssetDealer) and not (hasattr(method, "solve") or hasattr(method, "solve_book")):
        raise ValueError(
            f"{type(method).__name__} has no grid for a book of assets; take Lattice() for up to three, or ClosedForm()"
        )
    if isinstance(problem, PrintedDealer) and not isinstance(method, ClosedForm):
        raise ValueError(
            f"{type(method).__name__} cannot solve PrintedDealer, whose quotes are static formulas as printed; take "
            "ClosedForm(), or state the problem as a StockCashDealer"
        )
    if isinstance(getattr(problem, "objective", None), PreCommitment) and not isinstance(method, TargetMethod):
        raise ValueError(
            f"{type(method).__name__} cannot solve PreCommitment, whose quotes depend on wealth; take TargetMethod(), "
            "or MeanVariance for the equilibrium"
        )


def method_from_data(data: Mapping[str, Any], where: str = "method") -> Any:
    """A method from plain data. Raises `ValueError` naming the key and the mend."""
    name = data.get("type")
    if name not in METHODS:
        raise ValueError(f"{where}.type is {name!r}, which is none of {', '.join(METHODS)}; name one of them")
    known = [f.name for f in fields(METHODS[name])]
    for key in data:
        if key != "type" and key not in known:
            raise ValueError(f"{where}.{key} is not known; {name} takes {', '.join(known)}: correct or remove the key")
    return METHODS[name](**{key: value for key, value in data.items() if key != "type"})
