"""An options book, as shown: quotes option by option, in price and in points of implied volatility."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from . import _figures as figures
from ._display import Axis, Display, column, distance_axis, number, time_axis
from ._verdict import Comparison
from ._view import Shown
from ._view_book import BookView, Picture, plain


class OptionsView(BookView):
    """Options are counted from 0, as in Python."""

    statement: ClassVar[str] = (
        "The dealer quotes calls on one stock and hedges their delta. What it holds is told by its vega, which moves "
        "its wealth with the variance; a fill earns the distance from the model's price."
    )
    meanings: ClassVar[dict[str, str]] = {
        "physical": "the variance as it moves: reversion per year, long-run variance per year",
        "pricing": "the variance as options are priced",
        "spot": "price of the stock",
        "variance": "per year, at time 0",
        "strikes": "of the calls, price",
        "maturities": "years from time 0",
        "sizes": "calls to a trade",
        "bid_demand": "fills of a bid per year; distance in implied volatility, where .01 is a point",
        "ask_demand": "fills of an ask per year, likewise",
        "vega_limit": "{money} per unit of volatility, which no fill may carry the book's vega beyond, either way",
    }

    def axes(self, solution: Any) -> Display:
        problem, units = self.problem, self.units
        money = units.get("money", "money")
        typical = np.nan if solution is None else np.nanmedian(np.abs(solution.quotes(0.0).bid))
        return Display(
            time=time_axis(float(problem.horizon), units.get("time", "years"), units.get("seconds_per_year")),
            distance=distance_axis("price", units, float(typical)),
            inventory=Axis(1.0, f"{money} per unit of volatility"),
            money=money,
            lot="calls",
        )

    def units_in_words(self) -> str:
        return (
            f"Options are counted from 0. Vega is {self.display.inventory.unit}: a point of implied volatility, 0.01, "
            "moves the book by a hundredth of it."
        )

    def grid(self, solution: Any) -> str:
        times, vegas, variances = solution.tables.value.shape
        return f"{times:,} times x {vegas:,} vegas x {variances:,} variances"

    def quotes(self, solution: Any) -> dict[str, Any]:
        price, points = solution.quotes(0.0), solution.volatility_quotes(0.0)
        sides = {"bid": price.bid, "ask": price.ask, "bid_points": points.bid, "ask_points": points.ask}
        return {name: plain(side) for name, side in sides.items()}

    def headline(self, solution: Any) -> str:
        spreads = np.add(*solution.volatility_quotes(0.0))
        return (
            f"Without a position the dealer now quotes {self.problem.options} options with spreads of "
            f"{number(np.nanmin(spreads), 3)} to {number(np.nanmax(spreads), 3)} points of implied volatility."
        )

    def solved(self, solution: Any) -> list[tuple[str, str, str]]:
        spread = number(float(solution.profit_deviation(0.0)), 4)
        return [*super().solved(solution), ("its std", spread, self.display.money)]

    def facts(self, solution: Any) -> list[tuple[str, str]]:
        unit, told = self.display.distance.unit or "price", solution.stats
        error = self.display.distance(solution.tables.quote_error[0, 0, 0])
        rows = [(f"estimated error of the quotes, {unit}", number(error, 2))]
        if "order_of_value" in told:
            rows.append(("order at which the plain scheme's value converges", number(told["order_of_value"], 3)))
        return rows

    def tables(self, solution: Any) -> list[Shown]:
        book, distance = self.problem, self.display.distance
        price, points = solution.quotes(0.0), solution.volatility_quotes(0.0)
        columns = [
            list(map(str, range(book.options))),
            [number(x) for x in book.strikes],
            [number(x) for x in book.maturities],
            column(book.prices),
            *(column(distance(side)) for side in price),
            *(column(side) for side in points),
        ]
        unit = f", {distance.unit}" if distance.unit else ""
        head = ("option", "strike", "years", "price", f"bid{unit}", f"ask{unit}", "bid, points", "ask, points")
        caption = (
            "quotes now, without a position: distances from the model's price, and in points of implied volatility"
        )
        return [Shown(caption, head, list(zip(*columns, strict=True)))]

    def pictures(self, solution: Any) -> Iterable[Picture]:
        yield Picture(
            self._by_vega(solution),
            "Quotes against the book's vega",
            "How far bid and ask stand from the model's price now, in points of implied volatility, for the options "
            "whose trades move the vega least, middling and most. A dealer who is long vega moves its bids away and "
            "its asks closer. A line ends where a fill would cross the limit.",
        )
        yield Picture(
            self._by_strike(solution),
            "Spreads of an empty book",
            "Bid and ask distance together now, in points of implied volatility, against the strike, a line for each "
            "maturity. Spreads are wider where a trade moves the book's vega more, and where fewer clients ask.",
        )

    def outcome(self, simulation: Any, comparison: Comparison) -> Iterable[Picture]:
        yield Picture(
            figures.wealth_distribution(simulation.profit, comparison.wealth, self.display.money),
            "Profit at the horizon",
            "How often each profit came out, ahead of the marked book. The solid line is the mean, the dashed lines "
            "are one standard deviation to either side; the dash-dotted curve is the normal law with the mean and "
            "standard deviation that the solution predicts.",
        )

    def _by_vega(self, solution: Any) -> Any:
        book = self.problem
        vega = np.linspace(-1, 1, 121) * float(book.vega_limit)
        sides = solution.volatility_quotes(0.0, vega=vega)
        order = np.argsort(book.size)
        large = float(book.vega_limit) >= 1e6
        figure, axes = figures.small_multiples(2)
        shown = sorted({0, len(order) // 2, len(order) - 1})
        for ax, side, name in zip(axes, sides, ("bid", "ask"), strict=True):
            for place, style in zip(shown, ("-", "--", ":"), strict=False):
                i = order[place]
                told = f"option {i}: strike {number(book.strikes[i])}, {number(book.maturities[i])} y"
                colour = figures.BID if name == "bid" else figures.ASK
                ax.plot(vega / (1e6 if large else 1.0), side[:, i], style, color=colour, label=told, linewidth=1.4)
            ax.axhline(0.0, color=figures.OTHER, linewidth=0.7)
            ax.set_title(name, fontsize=10)
            ax.set_xlabel(f"vega of the book ({'million ' if large else ''}{self.display.money})")
            ax.legend(fontsize=8, frameon=False)
        axes[0].set_ylabel("distance (points of implied volatility)")
        return figure

    def _by_strike(self, solution: Any) -> Any:
        book = self.problem
        spread = np.add(*solution.volatility_quotes(0.0))
        figure, (ax,) = figures.small_multiples(1)
        for colour, maturity in zip(figures.COLOURS, np.unique(book.maturities), strict=False):
            own = np.flatnonzero(book.maturities == maturity)
            own = own[np.argsort(book.strikes[own])]
            ax.plot(book.strikes[own], spread[own], "o-", color=colour, markersize=4, label=f"{number(maturity)} y")
        ax.set_xlabel("strike")
        ax.set_ylabel("spread (points of implied volatility)")
        ax.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return figure
