"""A currency dealer, or a book of several pairs, as shown: ladders of quotes, and the band in which it waits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from ..hjb._band import Band
from ..hjb.currency import CurrencySolution
from ..models.currency_book import CurrencyBook, as_book
from . import _figures as figures
from . import _sections as sections
from ._display import Axis, Display, column, number
from ._verdict import Comparison
from ._view import Shown
from ._view_book import BookView, Picture, plain

_DRAWN = 3  # pairs and tiers in a picture at most


class CurrencyView(BookView):
    """Pairs and tiers are counted from 0, as in Python."""

    statement: ClassVar[str] = (
        "Clients in tiers ask the dealer for quotes in several sizes and trade if they like them. The dealer may wait "
        "for other clients to take its position off again, or trade it away in the market between dealers, at a cost."
    )
    meanings: ClassVar[dict[str, str]] = {
        "volatility": "bp per √day, of the reference price",
        "horizon": "days to go",
        "bid_demand": "clients who sell, tier by tier: requests per day; odds of a trade e^-(alpha + beta distance)",
        "ask_demand": "clients who buy, likewise",
        "sizes": "M, of the requests",
        "shares": "of the requests that come at each size",
        "max_inventory": "M, which no trade may carry the position beyond, either way",
        "risk_aversion": "per bp M",
        "hedging": "the market: half spread in bp, slippage in bp day per M, lasting impact in bp per M",
        "terminal": "bp per M, charged on the position squared at the horizon",
        "correlation": "of the pairs' prices",
    }

    def axes(self, solution: Any) -> Display:
        return Display(
            time=Axis(1.0, "days"),
            distance=Axis(1.0, "bp"),
            inventory=Axis(1.0, "M"),
            money="bp M",
            lot="M",
        )

    @property
    def pairs(self) -> tuple[Any, ...]:
        """The dealers of all pairs."""
        return as_book(self.problem).pairs

    def parameters(self) -> Iterable[tuple[str, str, str]]:
        if not isinstance(self.problem, CurrencyBook):
            yield from super().parameters()
            return
        for i, pair in enumerate(self.pairs):
            for name, value, meaning in sections.parameter_rows(pair, self.units, self.display, self.meanings):
                yield f"{self._pair(i)}{name}", value, meaning
        if len(self.pairs) > 1:
            yield "correlation", sections.told(self.problem.correlation), self.meanings["correlation"]

    def units_in_words(self) -> str:
        counted = "Pairs and tiers are" if len(self.pairs) > 1 else "Tiers are"
        return f"{counted} counted from 0, positions in millions of the base currency (M), money in bp M."

    def grid(self, solution: Any) -> str:
        times, nodes = solution.tables.value.shape
        if isinstance(solution, CurrencySolution):
            return f"{times:,} times x {nodes:,} positions"
        return f"{times:,} times x {nodes:,} coefficients"

    def quotes(self, solution: Any) -> dict[str, Any]:
        ladders = [self._ladder(solution, 0.0, pair, 0.0) for pair in range(len(self.pairs))]
        sides = zip(*ladders, strict=True)
        return {
            name: plain(side if isinstance(self.problem, CurrencyBook) else side[0])
            for name, side in zip(("bid", "ask"), sides, strict=True)
        }

    def headline(self, solution: Any) -> str:
        spreads = [np.add(*self._ladder(solution, 0.0, pair, 0.0)) for pair in range(len(self.pairs))]
        ends = number(min(map(np.nanmin, spreads)), 4), number(max(map(np.nanmax, spreads)), 4)
        text = f"Without a position the dealer now quotes spreads of {ends[0]} to {ends[1]} bp, by tier and size"
        bands = [self._band(solution, pair) for pair in range(len(self.pairs))]
        if len(bands) == 1 and np.all(np.isfinite(bands[0])):
            text += f"; it waits for clients with positions of {_span(bands[0])} M and hedges beyond them"
        return text + "."

    def tables(self, solution: Any) -> list[Shown]:
        found = []
        for i, pair in enumerate(self.pairs):
            ladder = self._ladder(solution, 0.0, i, 0.0)
            rows = [
                (f"tier {tier}, {side}", *cells)
                for tier in range(pair.tiers)
                for side, cells in zip(("bid", "ask"), (column(part[tier]) for part in ladder), strict=True)
            ]
            caption = f"quotes now, without a position: {self._pair(i)}distances from the reference price, bp"
            found.append(Shown(caption, ("for a trade of", *(f"{number(z)} M" for z in pair.sizes)), rows))
        hedged = [i for i, pair in enumerate(self.pairs) if pair.hedging is not None]
        if hedged:
            bands = [self._band(solution, i) for i in hedged]
            rows = [
                (f"{self._pair(i) or 'position'}".rstrip(", "), *(number(end, 4) for end in band))
                for i, band in zip(hedged, bands, strict=True)
            ]
            found.append(Shown("hedging now: waits for clients within these positions", ("", "from, M", "to, M"), rows))
        return found

    def pictures(self, solution: Any) -> Iterable[Picture]:
        told = f" Drawn are the first {_DRAWN} pairs." if len(self.pairs) > _DRAWN else ""
        yield Picture(
            self._ladders(solution),
            "The ladder",
            "Quotes less the reference price now, without a position, against the size of the trade: asks above, bids "
            f"below. A client pays for what the trade does to the position, the more the larger it is.{told}",
        )
        for i in range(min(len(self.pairs), _DRAWN)):
            yield Picture(
                self._by_position(solution, i),
                "Quotes against the position" + (f" in pair {i}" if len(self.pairs) > 1 else ""),
                "Quotes less the reference price now, one panel for each tier: a dealer who is long moves both down, "
                "to be relieved rather than loaded. Within the shaded band it waits for clients; beyond it, it hedges. "
                "A line ends where a trade would cross the limit.",
            )
        if any(pair.hedging is not None for pair in self.pairs):
            yield Picture(
                self._hedging(solution),
                "Hedging against the position",
                "What the dealer now buys in the market (below zero: sells), with nothing held in any other pair. "
                "Within the shaded band it does not pay to cross the market's spread; beyond it, the farther the "
                "faster.",
            )
        if len(self.pairs) > 1:
            yield Picture(
                self._across(solution),
                "What a position in one pair does to all quotes",
                "By how much the middle of both quotes for the smallest size of tier 0 moves from where it is without "
                "a position, as the position in one pair grows. Pairs that move together lean the same way.",
            )

    def outcome(self, simulation: Any, comparison: Comparison) -> Iterable[Picture]:
        yield Picture(
            figures.wealth_distribution(simulation.wealth, comparison.wealth, self.display.money),
            "Wealth at the horizon",
            "How often each wealth came out, above the marked book of time 0: what fills and hedging earned, and a "
            "draw of what prices added to it. The solid line is the mean, the dashed lines are one standard deviation "
            "to either side.",
        )

    def _pair(self, number: int) -> str:
        return f"pair {number}, " if len(self.pairs) > 1 else ""

    def _at(self, solution: Any, pair: int, q: Any) -> np.ndarray:
        """The state that holds `q` of one pair and nothing else, as the solution wants it."""
        q = np.asarray(q, float)
        return q if isinstance(solution, CurrencySolution) else q[..., None] * np.eye(len(self.pairs))[pair]

    def _ladder(self, solution: Any, t: float, pair: int, q: Any, held: int | None = None) -> Any:
        """Quotes of one pair, (..., tiers, sizes), where `q` is held of the pair `held`, by default the same."""
        which = {} if isinstance(solution, CurrencySolution) else {"pair": pair}
        return solution.quotes(t, **which, inventory=self._at(solution, pair if held is None else held, q))

    def _band(self, solution: Any, pair: int) -> Band:
        which = {} if isinstance(solution, CurrencySolution) else {"pair": pair}
        return solution.internalisation_threshold(0.0, **which)

    def _positions(self, solution: Any, pair: int) -> np.ndarray:
        """Positions to show: four times as far as the band, or twice the largest size, within the limit."""
        dealer, band = self.pairs[pair], self._band(solution, pair)
        far = 4 * max(map(abs, band)) if np.all(np.isfinite(band)) else 0.0
        most = min(float(dealer.max_inventory), max(far, 2.0 * float(dealer.sizes[len(dealer.sizes) // 2])))
        return np.linspace(-most, most, 241)

    def _shade(self, ax: Any, solution: Any, pair: int) -> None:
        band = self._band(solution, pair)
        if np.all(np.isfinite(band)):
            ax.axvspan(*band, color=figures.MEASURED, alpha=0.13, linewidth=0, label="waits for clients")

    def _ladders(self, solution: Any) -> Any:
        figure, axes = figures.small_multiples(min(len(self.pairs), _DRAWN))
        for i, ax in enumerate(axes):
            ladder, sizes = self._ladder(solution, 0.0, i, 0.0), self.pairs[i].sizes
            for tier, style in zip(range(self.pairs[i].tiers), ("o-", "s--", "^:", "v-."), strict=False):
                look: dict[str, Any] = {"markersize": 4, "linewidth": 1.4}
                ax.plot(sizes, ladder.ask[tier], style, color=figures.ASK, label=f"ask, tier {tier}", **look)
                ax.plot(sizes, -ladder.bid[tier], style, color=figures.BID, label=f"bid, tier {tier}", **look)
            ax.axhline(0.0, color=figures.OTHER, linewidth=0.7)
            ax.set_xscale("log")
            ax.set_xticks(sizes, [f"{z:g}" for z in sizes])
            ax.minorticks_off()
            ax.set_xlabel("size (M)")
            ax.set_title(self._pair(i).rstrip(", "), fontsize=10)
        axes[0].set_ylabel("quote less reference price (bp)")
        figures.legend_beside(axes)
        return figure

    def _by_position(self, solution: Any, pair: int) -> Any:
        dealer, q = self.pairs[pair], self._positions(solution, pair)
        ladder = self._ladder(solution, 0.0, pair, q)
        figure, axes = figures.small_multiples(min(dealer.tiers, _DRAWN))
        last = len(dealer.sizes) - 1
        for tier, ax in enumerate(axes):
            self._shade(ax, solution, pair)
            for n, style in zip(sorted({0, last // 2, last}), ("-", "--", ":"), strict=False):
                size = number(dealer.sizes[n])
                ax.plot(q, ladder.ask[:, tier, n], style, color=figures.ASK, label=f"ask for {size} M", linewidth=1.4)
                ax.plot(q, -ladder.bid[:, tier, n], style, color=figures.BID, label=f"bid for {size} M", linewidth=1.4)
            ax.set_title(f"tier {tier}", fontsize=10)
            ax.set_xlabel("position (M)")
        axes[0].set_ylabel("quote less reference price (bp)")
        figures.legend_beside(axes)
        return figure

    def _hedging(self, solution: Any) -> Any:
        hedged = [i for i, pair in enumerate(self.pairs) if pair.hedging is not None][:_DRAWN]
        figure, axes = figures.small_multiples(len(hedged))
        for pair, ax in zip(hedged, axes, strict=True):
            q = self._positions(solution, pair)
            rate = solution.hedge_rate(0.0, inventory=self._at(solution, pair, q))
            self._shade(ax, solution, pair)
            ax.plot(q, rate if rate.ndim == 1 else rate[:, pair], color=figures.PREDICTED, linewidth=1.4)
            ax.set_title(self._pair(pair).rstrip(", "), fontsize=10)
            ax.set_xlabel("position (M)")
        axes[0].set_ylabel("bought in the market (M per day)")
        axes[0].legend(fontsize=8, frameon=False)
        return figure

    def _across(self, solution: Any) -> Any:
        panels = []
        for held in (0, 1):
            q = self._positions(solution, held)
            shifts = {}
            for pair in range(min(len(self.pairs), len(figures.COLOURS))):
                bid, ask = self._ladder(solution, 0.0, pair, q, held)
                middle = 0.5 * (ask - bid)[:, 0, 0]
                shifts[f"pair {pair}"] = middle - middle[len(q) // 2]
            panels.append((f"position in pair {held} (M)", q, shifts))
        return figures.shifts(panels, "shift of the quotes (bp)")


def _span(band: Band) -> str:
    return f"{number(band.low, 4)} to {number(band.high, 4)}"
