"""A book of assets, as shown: every asset's quotes, against its own inventory and against another's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from . import _figures as figures
from ._display import Axis, Display, column, distance_axis, number, time_axis
from ._verdict import Comparison
from ._view import Shown
from ._view_book import BookView, Picture, plain

_FAR = 10  # lots to either side that are shown where no limit is nearer
_DRAWN = 6  # assets in a picture at most


class AssetsView(BookView):
    """Assets are counted from 0, as in Python."""

    statement: ClassVar[str] = (
        "The dealer holds lots of several assets whose prices are correlated Brownian motions. It buys at an asset's "
        "reference price minus the bid distance and sells at the reference price plus the ask distance; the wider a "
        "quote, the less often it is hit. What is held of one asset leans on the quotes of those that move with it."
    )
    meanings: ClassVar[dict[str, str]] = {
        "volatility": "{price}per √{time}, of each asset's reference price",
        "correlation": "of the prices: one number for every pair of assets, or a row for each asset",
        "lot": "units of the asset traded per fill",
        "max_inventory": "lots of each asset, which no fill may carry the inventory beyond, either way",
    }

    def axes(self, solution: Any) -> Display:
        problem, units = self.problem, self.units
        typical = np.nan if solution is None else np.nanmedian(np.abs(solution.quotes(0.0).bid))
        return Display(
            time=time_axis(float(problem.horizon), units.get("time", problem.units["time"]), None),
            distance=distance_axis(problem.units["distance"], units, float(typical)),
            inventory=Axis(1.0, "lots"),
            money=units.get("money", "money"),
            lot="units of the asset",
        )

    def units_in_words(self) -> str:
        return f"Assets are counted from 0, inventories in lots, wealth in {self.display.money}."

    def grid(self, solution: Any) -> str:
        table = getattr(solution.surface, "table", None)
        if table is None:
            return f"{solution.surface.kind} over {self.problem.dimension} inventories"
        _, times, *nodes = table.shape
        return f"{times:,} times x {' x '.join(map(str, nodes))} inventories"

    def quotes(self, solution: Any) -> dict[str, Any]:
        bid, ask = solution.quotes(0.0)
        return {"bid": plain(bid), "ask": plain(ask)}

    def headline(self, solution: Any) -> str:
        distance = self.display.distance
        spreads = distance(np.add(*solution.quotes(0.0)))
        unit = f" {distance.unit}" if distance.unit else ""
        return (
            f"Without inventory the dealer now quotes {self.problem.dimension} assets with spreads of "
            f"{number(np.nanmin(spreads), 4)} to {number(np.nanmax(spreads), 4)}{unit}."
        )

    def tables(self, solution: Any) -> list[Shown]:
        bid, ask = (self.display.distance(side) for side in solution.quotes(0.0))
        rows = list(zip(map(str, range(len(bid))), column(bid), column(ask), column(bid + ask), strict=True))
        unit = f", {self.display.distance.unit}" if self.display.distance.unit else ""
        caption = f"quotes now, without inventory: distances from the reference price{unit}"
        return [Shown(caption, ("asset", "bid", "ask", "spread"), rows)]

    def pictures(self, solution: Any) -> Iterable[Picture]:
        told = "" if self.problem.dimension <= _DRAWN else f" Drawn are the first {_DRAWN} assets."
        yield Picture(
            self._own(solution),
            "Quotes against an asset's own inventory",
            "How far the bid stands below and the ask above the reference price, with nothing held of the other "
            "assets: now (solid), with 90% of the time gone (dashed), and with 99% gone (dotted). A dealer who is long "
            f"moves the bid away and the ask closer.{told}",
        )
        if self.problem.dimension > 1:
            yield Picture(
                self._across(solution),
                "What a position in one asset does to all quotes",
                "By how much the middle of both quotes moves from where it is without inventory, as the inventory of "
                "one asset grows. Assets that rise with it are offered lower as well: sold, they hedge it. A "
                "level line is an asset that does not move with it.",
            )

    def _own(self, solution: Any) -> Any:
        shown = min(self.problem.dimension, _DRAWN)
        figure, axes = figures.small_multiples(shown)
        for asset, ax in zip(range(shown), axes, strict=True):
            y, held = self._holding(asset)
            for share, style in ((0.0, "-"), (0.9, "--"), (0.99, ":")):
                quotes = solution.quotes(share * float(self.problem.horizon), inventory=held)
                for side, colour in ((quotes.bid, figures.BID), (quotes.ask, figures.ASK)):
                    name = None if share else "bid" if side is quotes.bid else "ask"
                    ax.plot(y, self.display.distance(side[:, asset]), style, color=colour, label=name, linewidth=1.4)
            ax.set_title(f"asset {asset}", fontsize=10)
            ax.set_xlabel(f"inventory of asset {asset} (lots)")
        axes[0].set_ylabel(self.display.distance.label("distance"))
        figures.legend_beside(axes)
        return figure

    def _across(self, solution: Any) -> Any:
        panels = []
        for moved in (0, 1):
            y, held = self._holding(moved)
            bid, ask = solution.quotes(0.0, inventory=held)
            middle = self.display.distance(0.5 * (ask - bid))
            middle = middle - middle[len(y) // 2]
            lines = {f"asset {asset}": middle[:, asset] for asset in range(min(self.problem.dimension, _DRAWN))}
            panels.append((f"inventory of asset {moved} (lots)", y, lines))
        return figures.shifts(panels, self.display.distance.label("shift of the quotes"))

    def _holding(self, asset: int) -> tuple[np.ndarray, np.ndarray]:
        """Inventories of one asset, (n,), and books that hold nothing else, (n, d)."""
        most = int(min(self.problem.limit[asset], _FAR))
        y = np.arange(-most, most + 1.0)
        return y, y[:, None] * np.eye(self.problem.dimension)[asset]

    def outcome(self, simulation: Any, comparison: Comparison) -> Iterable[Picture]:
        yield Picture(
            figures.wealth_distribution(simulation.wealth, comparison.wealth, self.display.money),
            "Wealth at the horizon",
            "How often each wealth came out, above the marked book of time 0. The solid line is the mean, the dashed "
            "lines are one standard deviation to either side; the dash-dotted curve is the normal law with the mean "
            "and standard deviation that the solution predicts, where it predicts both.",
        )
