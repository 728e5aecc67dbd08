"""The sections of a report: each takes what a run found and gives a title and HTML, with how to read every figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from . import _figures as figures
from ._display import Axis, Display, column, number, with_error
from ._html import bullets, figure, paragraph, table
from ._verdict import Comparison

Section = tuple[str, str]


def _image(drawn: Any, name: str, caption: str) -> str:
    return figure(figures.as_svg(drawn), name, caption)


# The problem


def problem_section(problem: Any, units: Mapping[str, Any], display: Display, assumptions: Sequence[str]) -> Section:
    """What was solved, with units; and what was assumed on the way from data to it."""
    body = paragraph(_STATEMENTS.get(type(problem).__name__, ""))
    body += table(("parameter", "value", "meaning"), parameter_rows(problem, units, display), text_columns=(2,))
    body += paragraph(
        f"One lot is {display.lot}. {_unit_words(problem, display)}Time runs from 0, now, to the horizon, and money is "
        "counted at the horizon."
    )
    if assumptions:
        body += "<h3>What was assumed</h3>" + bullets(assumptions)
    return "The dealer's problem", body


_STATEMENTS = {
    "StockCashDealer": (
        "The dealer holds a stock account S and a cash account C, both in money. S grows, fluctuates, and jumps by one "
        "lot with each fill; C earns interest and pays or receives the price quoted. The dealer buys at the reference "
        "price times (1 - bid distance) and sells at the reference price times (1 + ask distance), so a fill earns the "
        "distance times the lot. The wider the quote, the less often it is hit."
    ),
    "InventoryDealer": (
        "The dealer holds an inventory in lots of an asset whose price is a Brownian motion. It buys at the reference "
        "price minus the bid distance and sells at the reference price plus the ask distance. The wider the quote, the "
        "less often it is hit."
    ),
    "AvellanedaStoikov": (
        "The dealer of Avellaneda and Stoikov (2008): one unit a fill, exponential utility, no limit on inventory, "
        "quoting by the paper's closed formulas."
    ),
    "PrintedDealer": (
        "The dealer of the thesis, with the equation exactly as printed: the maximum does not touch the value "
        "function, so the quotes are static in time."
    ),
}

_MEANINGS = {
    "growth": "per {time}, of the stock",
    "volatility": "{price}per √{time}, of the reference price",
    "rate": "per {time}, risk-free",
    "credit_line": "{money}, which no purchase may overdraw the cash account beyond",
    "haircut": "share of stock held that is no collateral for credit",
    "short_limit": "{money}, which no sale may take the short stock beyond",
    "liquidation_cost": "share of the stock left at the horizon that closing it costs",
    "margin": "shares of the position that wealth must cover: to raise it, and at any time",
    "forced_reduction": "trades per {time} while a limit is broken, and the share of their money lost",
    "overnight": "{money} that the stock account is cut back to at each close but the last",
    "borrowing_rate": "per {time}, on negative cash",
    "short_fee": "per {time}, on short stock",
    "horizon": "{times} to go{converted}",
    "bid_demand": "fills of the bid per {time}; distance {distance}",
    "ask_demand": "fills of the ask per {time}; distance {distance}",
    "lot": "{lot} traded per fill",
    "max_stock": "{money}, which no fill may carry the stock account beyond, either way",
    "max_inventory": "lots, which no fill may carry the inventory beyond, either way",
    "objective": "what the dealer maximises",
    "risk_aversion": "per unit of {money}",
    "drift": "{price}per {time}, of the reference price",
    "adverse_selection": "{price}that the price moves against the dealer by a fill",
    "price": "{money}, the reference price",
    "scale": "fills per {time} at the reference price",
    "decay": "per unit of distance: how fast fills fall",
}


def parameter_rows(
    problem: Any, units: Mapping[str, Any], display: Display, meanings: Mapping[str, str] | None = None
) -> Iterable[tuple[str, str, str]]:
    """Name, value and meaning of each parameter that is stated, in the units of a case; `meanings` go before ours."""
    known = {**_MEANINGS, **(meanings or {})}
    own = problem.units
    times = units.get("time", own["time"])
    money = units.get("money", "money")
    relative = own["distance"] == "relative"
    words = {
        "times": times if times != "time" else "units of time",
        "time": times.removesuffix("s") if times != "time" else "unit of time",
        "price": f"{money if 'money' in units else 'price'} " if own["state"] == "lots" else "",
        "distance": "relative to the price" if relative else f"in {units.get('money', 'price units')}",
        "lot": "units of the asset" if own["state"] == "lots" else money,
        "money": money,
        "converted": f", {number(display.time(problem.horizon))} {display.time.unit}"
        if display.time.scale != 1
        else "",
    }
    for name, value in problem.arguments().items():
        if value is None or (
            name in ("short_fee", "adverse_selection", "drift", "liquidation_cost") and np.all(np.asarray(value) == 0)
        ):
            continue
        title = name.replace("_", " ")
        if isinstance(value, tuple) and value and hasattr(value[0], "arguments"):  # one for each asset
            for i, part in enumerate(value[:_MOST_TOLD]):
                more = f", and {len(value) - _MOST_TOLD} more" if i + 1 == _MOST_TOLD < len(value) else ""
                yield f"{title} {i}", _stated(part) + more, known.get(name, "").format(**words)
        else:
            shown = _stated(value) if hasattr(value, "arguments") else told(value)
            yield title, shown, known.get(name, "").format(**words)


_MOST_TOLD = 6  # of numbers or parts that are listed one by one


def _stated(part: Any) -> str:
    """A demand or an objective as the call that builds it, with numbers as a reader wants them."""
    arguments = {name: value for name, value in part.arguments().items() if value is not None}
    inside = ", ".join(
        name if np.size(value) > _MOST_TOLD else f"{name} = {value if isinstance(value, str) else told(value, True)}"
        for name, value in arguments.items()
    )
    return f"{type(part).__name__}({inside})"


def told(value: Any, bracket: bool = False) -> str:
    """One number, a list of them, or a matrix by rows; what is long as the range it spans."""
    value = np.asarray(value, dtype=float)
    if value.ndim == 0:
        return _short(value)
    if value.ndim == 2:
        if len(value) <= _MOST_TOLD:
            return "; ".join(told(row) for row in value)
        off = value[~np.eye(len(value), dtype=bool)]
        return f"{len(value)} x {len(value)}, {number(np.min(off))} to {number(np.max(off))} off the diagonal"
    if value.size > 2 and np.all(value == value[0]):
        return f"{_short(value[0])} for each of {value.size}"
    if value.size > 2 * _MOST_TOLD:
        return f"{number(np.min(value))} to {number(np.max(value))}, {value.size} numbers"
    listed = ", ".join(_short(x).replace(",", "") for x in value)  # commas stand between the numbers
    return f"[{listed}]" if bracket else listed


def _short(value: Any) -> str:
    """A number as it was stated: 1e-5 and not 1.00000e-5."""
    digits, *exponent = number(value, 6).split("e")
    return "e".join([digits.rstrip("0").rstrip("."), *exponent]) if exponent else digits


def _unit_words(problem: Any, display: Display) -> str:
    if problem.units["distance"] != "relative":
        return ""
    if display.distance.unit == "basis points":
        return "Distances are relative to the reference price and shown in basis points, 1/100 of a percent. "
    return f"Distances are relative to the reference price and shown in {display.distance.unit}. "


# The calibration


def calibration_section(record: Mapping[str, Any]) -> Section:
    """The market measured: parameters with errors, intensities with goodness of fit, and the curves."""
    opening, closing = (_clock(t) for t in record["session_seconds_after_midnight"])
    body = paragraph(f"Measured from {record['source']} ({record['venue']}), {opening} to {closing}.")
    body += table(("", "estimate", "std. error", "95% interval"), _market_rows(record))
    for name, sides in sorted(record["definitions"].items(), key=lambda item: item[0] != record["definition"]):
        used = ", used for the dealer" if name == record["definition"] else ", for comparison"
        body += f"<h3>Fills by the definition {name}{used}</h3>" + paragraph(_sentence(sides["meaning"]))
        body += table(*_fit_table({side: sides[side] for side in ("bid", "ask", "pooled")}))
    body += paragraph(
        "Fills follow A exp(-k d) per second and side at d dollars from the mid, by maximum likelihood on censored "
        "waiting times; standard errors allow for dependence over time. A small p-value speaks against the model: "
        "against the exponential shape over the distance, against exponential waiting times, and against independent "
        "depths."
    )
    body += _image(
        figures.intensity_curves(record["definitions"], record["definition"]),
        "How often a quote is filled",
        "Each point is the measured number of fills per second of a quote that far from the mid, on a logarithmic "
        "scale, with one Poisson standard error; the lines are the fitted exponentials, straight on this scale. Where "
        "the points leave their line, the exponential demand is wrong there: this matters near the distances that the "
        "dealer quotes, and little far out, where fills are rare. The points of one side are not independent: whoever "
        "is filled far out would have been filled closer in as well.",
    )
    return "The market, calibrated", body


_FIT_HEAD = (
    "side",
    "A per second",
    "std. error",
    "k per dollar",
    "std. error",
    "p, shape",
    "p, waiting",
    "p, depth",
    "fills",
)


def _market_rows(record: Mapping[str, Any]) -> list[tuple[str, ...]]:
    def estimate(what: str, key: str) -> tuple[str, ...]:
        found = record[key]
        low, high = found["interval_95"]
        return (
            what,
            number(found["value"], 4),
            number(found["standard_error"], 2),
            f"{number(low, 4)} to {number(high, 4)}",
        )

    def fact(what: str, key: str) -> tuple[str, ...]:
        return what, number(record[key], 6), "", ""

    return [
        estimate("volatility, dollars per √second (noise removed)", "volatility_per_sqrt_second"),
        estimate("realised at one second, dollars per √second", "realised_volatility_per_sqrt_second"),
        estimate("drift, dollars per second (not used)", "drift_per_second"),
        estimate("market orders per second", "market_order_rate_per_second"),
        fact("market orders", "market_orders"),
        fact("median market order, units", "median_market_order_size"),
        fact("median spread, dollars", "median_spread_dollars"),
        fact("tick, dollars", "tick_dollars"),
    ]


def _fit_table(fits: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows; a test that no side has gets no column."""

    def estimates(key: str) -> tuple[list[str], list[str]]:
        found = [fit[key] for fit in fits.values()]
        return column([e["value"] for e in found]), column([e["standard_error"] for e in found], 2)

    columns: list[list[str]] = [
        list(fits),
        *estimates("scale_per_second"),
        *estimates("decay_per_dollar"),
        *([_p(fit[f"{test}_test"]) for fit in fits.values()] for test in ("shape", "waiting", "depth")),
        [number(max(fit["curve"]["fills"]), 6) for fit in fits.values()],
    ]
    told = [(head, texts) for head, texts in zip(_FIT_HEAD, columns, strict=True) if any(texts)]
    return tuple(head for head, _ in told), list(zip(*(texts for _, texts in told), strict=True))


def _p(test: Mapping[str, Any] | None) -> str:
    if test is None:
        return ""
    return "< .001" if test["p_value"] < 0.001 else f"{test['p_value']:.3f}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 3600:02d}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


# The quotes


def quotes_section(solution: Any, display: Display, reach: float) -> Section:
    """The optimal quotes: a table now, the surfaces over time and inventory, and lines."""
    body = table(*_quote_table(solution, display, reach))
    body += _image(
        figures.quotes_by_inventory(solution, display, reach),
        "Quotes against inventory",
        "How far the bid stands below and the ask above the reference price, for each inventory. A dealer who is long "
        "(to the right) moves the bid away and the ask closer, to be relieved rather than loaded; the steeper the "
        "lines, the stronger that control. The right panel shows the spread, the sum of both. As the horizon comes "
        "near there is less risk left to avoid, and the quotes flatten.",
    )
    body += _image(
        figures.quote_surfaces(solution, display, reach),
        "Quotes over time and inventory",
        "The distance of the bid (left) and of the ask (right) for every moment and inventory; dark is close to the "
        "reference price, bright is far, lines join equal distances and are labelled in the same unit. Level lines "
        "mean that time does not matter there. Grey: that side is not quoted, as a fill would cross the limit or is "
        "not worth it at any price.",
    )
    if display.wealth is not None:
        body += _image(
            figures.quotes_by_cash(solution, display),
            "Quotes against cash",
            "The same distances now, for a dealer who is short, flat or long and holds more or less cash. Where the "
            "lines are level, cash does not matter. Dearer borrowing shifts the bid away and the ask closer where cash "
            "is negative; a line ends where that side is not quoted, as a fill would break a credit line or a margin.",
        )
    return "The optimal quotes", body


def _quote_table(solution: Any, display: Display, reach: float) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
    problem = solution.problem
    y = spread_lots(problem, reach)
    quotes = solution.quotes(0.0, **display.at(problem, y))
    bid, ask = display.distance(quotes.bid), display.distance(quotes.ask)
    lots = (number(q, 4) for q in display.inventory(y))
    rows = list(zip(lots, column(bid), column(ask), column(bid + ask), strict=True))
    unit = f", {display.distance.unit}" if display.distance.unit else ""
    head = (display.inventory.label("inventory"), f"bid{unit}", f"ask{unit}", f"spread{unit}")
    held = "" if display.wealth is None else f", at a wealth of {number(display.wealth)} {display.money}"
    return head, rows, f"Distances from the reference price now, at time 0{held}; — where that side is not quoted"


def spread_lots(problem: Any, reach: float, rows: int = 11) -> np.ndarray:
    """About `rows` inventories, evenly over +-`reach`, whole lots."""
    size = float(problem.size)
    most = int(reach / size * (1 + 1e-9))
    step = max(1, math.ceil(2 * most / (rows - 1)))
    return size * np.arange(-(most // step) * step, most + 1, step)


# The simulation


def simulation_section(
    simulation: Any, comparison: Comparison, sample: Any, solution: Any, display: Display
) -> Section:
    """Prediction beside measurement, the wealth distribution, inventory bands and a few paths."""
    rule = "exact fills" if simulation.rule == "exact" else f"the linear rule in {simulation.steps} steps"
    start = ", ".join(f"{name} {number(value)}" for name, value in simulation.initial.items() if value) or "nothing"
    body = paragraph(
        f"{simulation.paths:,} paths with {rule}, seed {simulation.seed}, starting with {start}. {comparison.meaning}"
    )
    body += table(*_comparison_table(comparison, display))
    body += paragraph(
        "Measured is the average over the paths and the standard error says how far it may be off by chance; predicted "
        "comes from the solution, without any simulation. z is their difference in standard errors: about two thirds "
        "of them should lie within 1 and nearly all within 3. Where there is no prediction, the model's answer is the "
        "simulation's."
    )
    body += _image(
        figures.wealth_distribution(simulation.wealth, comparison.wealth, display.money),
        "Wealth at the horizon",
        "How often each wealth came out. The solid line is the mean, the dashed lines are one standard deviation to "
        "either side. The dash-dotted curve is the normal law with the mean and standard deviation that the solution "
        "predicts, where it predicts both: only its centre and width are predictions, its shape is there for the eye.",
    )
    if sample is not None:
        count, exactly = len(sample.inventory), "" if simulation.rule == "exact" else ", drawn with exact fills,"
        body += _image(
            figures.inventory_bands(sample, solution.problem, display),
            "Inventory over time",
            f"Where the inventory of {count:,} simulated paths{exactly} lies: half of them within the dark band, nine "
            "in ten within the light one, edges interpolated between whole lots. The quotes pull it back to where the "
            "dealer wants it, so the bands stop widening after a while; they may widen once more near the horizon, "
            "when holding inventory has little time left to hurt, and drift where the two sides are not alike. The "
            f"standard deviation is {_deviation(sample, display, 0.5)} lots halfway and "
            f"{_deviation(sample, display, 1.0)} at the end.",
        )
        body += _image(
            figures.sample_of_paths(sample, display),
            "Three paths",
            "Three of those paths. Inventory moves by one lot with each fill; wealth gains the quoted distance with "
            "each fill and moves with the price on whatever the dealer then holds.",
        )
    return "Checked by simulation", body


def _comparison_table(comparison: Comparison, display: Display) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    return ("", "measured", "std. error", "predicted", "z", "unit"), comparison_rows(comparison, display)


def comparison_rows(comparison: Comparison, display: Display) -> list[tuple[str, ...]]:
    """Quantity, measured, standard error, predicted, z and unit as texts, in the units of the display."""
    axes = {"state": display.inventory, "distance": display.distance, "money": Axis(1.0, display.money)}
    rows = []
    for row in comparison.rows:
        axis = axes.get(row.kind, Axis(1.0, row.unit))
        cells = with_error(*(float(axis(value)) for value in (row.measured, row.standard_error, row.predicted)))
        rows.append((row.quantity, *cells, f"{row.z:+.2f}" if math.isfinite(row.z) else "", axis.unit))
    return rows


def _deviation(sample: Any, display: Display, share: float) -> str:
    moment = round(share * (sample.time.size - 1))
    return f"{float(np.std(display.inventory(sample.inventory[:, moment]))):.2f}"


# The evidence


def evidence_section(solution: Any, display: Display, reach: float, cross_check: Mapping[str, Any] | None) -> Section:
    """Why the numbers can be trusted: residual, error estimate, grid, and a second route where there is one."""
    method, tables = solution.method, solution.tables
    times, *nodes = tables.value.shape
    quote_error, error = (display.entry(tables, t) for t in (tables.quote_error, tables.error))
    others = "wealths" if tables.target is not None else "cash balances"
    settings = ", ".join(f"{name} {value}" for name, value in vars(method).items() if value is not None)
    rows = [
        ("method", f"{type(method).__name__} ({settings})"),
        (
            "grid",
            " x ".join([f"{times:,} times", f"{nodes[0]:,} inventories", *(f"{n:,} {others}" for n in nodes[1:])]),
        ),
        ("converged", "yes" if solution.converged else f"NO: {solution.result.value}"),
        ("residual of the discrete equation, relative", number(tables.residual, 2)),
        (f"estimated error of the value, {display.money}", number(solution.error_estimate, 2)),
        (
            f"estimated error of the quotes, {display.distance.unit or 'price'}",
            number(display.distance(quote_error[nodes[0] // 2]), 2),
        ),
    ]
    body = table(("", ""), rows, text_columns=(1,))
    if np.all(np.isfinite(error)) and np.ptp(error) > 0 and solution.problem.moves:
        body += _image(
            figures.errors_of_the_value(solution, display, reach),
            "Estimated error of the value",
            "Richardson's estimate from three grids, each half as fine as the next, at time 0 for every inventory. "
            "Forbidding fills at the limit puts a kink into the solution there, and fills carry it inward a lot at a "
            "time: that is where the estimate is largest.",
        )
    if cross_check:
        body += "<h3>A second route</h3>" + paragraph(cross_check["meaning"])
        body += table(cross_check["head"], cross_check["rows"])
        body += paragraph(cross_check["finding"])
    return "Why the numbers can be trusted", body
