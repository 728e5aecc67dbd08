"""What a command prints when it is done: short, aligned, with units."""

from __future__ import annotations

from typing import Any

from ._case import Case

_MOST_ROWS = 32  # of a comparison


def print_calibration(record: Any) -> None:
    """The market as measured, in full."""
    print(record.table())
    print()


def print_market(record: Any) -> None:
    """The market as measured: what the dealer's problem takes from it, with standard errors."""
    orders, volatility = record.market_order_rate_per_second, record.volatility_per_sqrt_second
    print(f"calibrated from {record.source} ({record.venue}); standard errors in brackets")
    print(f"  {'volatility':<18}{_estimate(volatility)}  dollars per √second")
    print(f"  {'market orders':<18}{_estimate(orders)}  per second")
    for side, fit in (("bid", record.bid), ("ask", record.ask)):
        scale, decay = fit.scale_per_second, fit.decay_per_dollar
        print(f"  {side + ' fills: A':<18}{_estimate(scale)}  per second at the mid, by {record.definition}")
        print(f"  {' ' * len(side)}        k{'':<8}{_estimate(decay)}  per dollar of distance")
    print()


def _estimate(estimate: Any) -> str:
    return f"{estimate.value:>12.4g} {f'({estimate.standard_error:.2g})':<10}"


def print_case(case: Case) -> None:
    """What the dealer faces: every parameter that is stated."""
    from .validation._view import view_for

    print(f"{case.name}: {type(case.problem).__name__}")
    rows = list(view_for(case.problem, case.units).parameters())
    names, values = (max(len(row[i]) for row in rows) for i in (0, 1))
    for name, value, meaning in rows:
        print(f"  {name:<{names}}  {value:<{values}}  {meaning}".rstrip())


def print_solution(solution: Any, case: Case) -> None:
    """How the solve ended and what it says now."""
    from .validation._verdict import predicts

    view = _view(solution, case)
    print(f"\nsolved: {type(solution.method).__name__}, {view.grid(solution)}, {solution.result.value}")
    if not predicts(solution):
        print("  quotes by a published approximation, without a value or an error")
    else:
        for name, found, unit in view.solved(solution):
            print(f"  {name:<18}{found:>12}  {unit}")
    for shown in view.brief(solution):
        print(f"\n{shown.caption}")
        _print_rows([row for row in (shown.head, *shown.rows) if any(row)])


def _print_rows(rows: list[Any]) -> None:
    """Columns of texts, each as wide as it needs to be and at least as wide as usual."""
    least = [18, *[9] * (len(rows[0]) - 1)]
    first, *others = (max(width, *(len(row[i]) + 2 for row in rows)) for i, width in enumerate(least))
    for name, *cells in rows:
        print(f"  {name:<{first}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, others, strict=True)))


def print_simulation(simulation: Any, solution: Any, case: Case) -> None:
    """Prediction beside measurement, and whether they agree."""
    from .validation._verdict import compare

    comparison = compare(simulation, solution)
    rule = "exact fills" if simulation.rule == "exact" else f"linear rule in {simulation.steps} steps"
    print(f"\nsimulated: {simulation.paths:,} paths, {rule}, seed {simulation.seed}")
    head = ("", "measured", "std. error", "predicted", "z", "unit")
    rows = (head, *_view(solution, case).compared(comparison))
    rows, left = rows[:_MOST_ROWS], len(rows) - _MOST_ROWS
    width = max(18, *(len(row[0]) + 1 for row in rows))
    for name, *numbers, unit in rows:
        print(f"  {name:<{width}}" + "".join(f"{cell:>12}" for cell in numbers) + f"  {unit}".rstrip())
    if left > 0:
        print(f"  and {left} more rows in the report")
    print(f"  {comparison.finding or comparison.meaning}")


def print_attribution(market: Any) -> None:
    """Where the predicted value went in a market, friction by friction."""
    from .validation.markets.attribution import table_of

    _print_table("played", table_of(market))


def print_settlement(found: Any) -> None:
    """What settling sales later loses, lag by lag."""
    _print_table("settled", found["table"])


def print_regret(regret: Any) -> None:
    """What being wrong costs, error by error."""
    from .validation.markets.misspecified import table_of

    _print_table("played", table_of(regret))


def _print_table(what: str, text: str) -> None:
    head, *lines = text.splitlines()
    print(f"\n{what}: {head}")
    for line in lines:
        print(f"  {line}")


def _view(solution: Any, case: Case) -> Any:
    from .validation._view import view_for

    return view_for(solution.problem, case.units, solution, case.simulation.initial)
