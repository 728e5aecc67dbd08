"""What a command prints when it is done: short, aligned, with units."""

from __future__ import annotations

import math
from typing import Any

from ._case import Case


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
    from .validation._display import display_for
    from .validation._sections import parameter_rows

    print(f"{case.name}: {type(case.problem).__name__}")
    display = display_for(case.problem, case.units, math.nan)
    rows = list(parameter_rows(case.problem, case.units, display))
    names, values = (max(len(row[i]) for row in rows) for i in (0, 1))
    for name, value, meaning in rows:
        print(f"  {name:<{names}}  {value:<{values}}  {meaning}".rstrip())


def print_solution(solution: Any, case: Case) -> None:
    """How the solve ended and what it says now."""
    from .validation._display import column, number
    from .validation._sections import spread_lots
    from .validation._verdict import is_approximate

    problem, display = solution.problem, _display(solution, case)
    times, nodes, *more = solution.tables.value.shape
    here = display.at(problem, 0.0)
    error, mean = solution.error_estimate, float(solution.expected_wealth(0.0, **here))
    others = "wealths" if solution.tables.target is not None else "cash balances"
    grid = " x ".join([f"{times} times", f"{nodes} inventories", *(f"{n} {others}" for n in more)])
    print(f"\nsolved: {type(solution.method).__name__}, {grid}, {solution.result.value}")
    if is_approximate(solution):
        print("  quotes by a published approximation, without a value or an error")
    else:
        rows = (
            ("residual", float(solution.tables.residual), 2, "relative"),
            ("value", float(solution.value(0.0, **here)), 7, display.money),
            ("its error, about", error, 2, display.money),
            ("expected wealth", mean, 7, display.money),
        )
        for name, found, digits, unit in rows:
            if math.isfinite(found):
                print(f"  {name:<18}{number(found, digits):>12}  {unit}")
    most = min(float(problem.limit), float(solution.tables.y[-1]), 10 * float(problem.size))
    y = spread_lots(problem, most, rows=7)
    quotes = solution.quotes(0.0, **display.at(problem, y))
    unit = f", {display.distance.unit}" if display.distance.unit else ""
    held = "" if display.wealth is None else f", at a wealth of {number(display.wealth)} {display.money}"
    print(f"\nquotes now: distances from the reference price{unit}{held}")
    for name, cells in (
        (display.inventory.label("inventory"), [number(q, 4) for q in display.inventory(y)]),
        ("bid", column(display.distance(quotes.bid))),
        ("ask", column(display.distance(quotes.ask))),
    ):
        print(f"  {name:<18}" + "".join(f"{cell:>9}" for cell in cells))


def print_simulation(simulation: Any, solution: Any, case: Case) -> None:
    """Prediction beside measurement, and whether they agree."""
    from .validation._sections import comparison_rows
    from .validation._verdict import compare

    comparison = compare(simulation, solution)
    rule = "exact fills" if simulation.rule == "exact" else f"linear rule in {simulation.steps} steps"
    print(f"\nsimulated: {simulation.paths:,} paths, {rule}, seed {simulation.seed}")
    head = ("", "measured", "std. error", "predicted", "z", "unit")
    for name, *numbers, unit in (head, *comparison_rows(comparison, _display(solution, case))):
        print(f"  {name:<18}" + "".join(f"{cell:>12}" for cell in numbers) + f"  {unit}".rstrip())
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


def _display(solution: Any, case: Case) -> Any:
    from .validation._display import display_for, shown_wealth, typical_distance

    wealth = shown_wealth(solution, case.simulation.initial)
    return display_for(solution.problem, case.units, typical_distance(solution), wealth)
