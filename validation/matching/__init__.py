"""An order book in JAX: price-time priority on whole ticks and sizes, for many books at once."""

from typing import TYPE_CHECKING

from ..._lazy import make_lazy

if TYPE_CHECKING:
    from .book import Book, Resting, empty_books
    from .engine import Outcome, drive, replay, step
    from .fills import Fill, Fills, no_fills
    from .messages import BUY, SELL, Answer, Kind, Message, message
    from .rules import BookRules, OddLots, SelfTrade, price_limits

__all__ = [
    "BUY",
    "SELL",
    "Answer",
    "Book",
    "BookRules",
    "Fill",
    "Fills",
    "Kind",
    "Message",
    "OddLots",
    "Outcome",
    "Resting",
    "SelfTrade",
    "drive",
    "empty_books",
    "message",
    "no_fills",
    "price_limits",
    "replay",
    "step",
]

make_lazy(
    __name__,
    {
        "book": ("Book", "Resting", "empty_books"),
        "engine": ("Outcome", "drive", "replay", "step"),
        "fills": ("Fill", "Fills", "no_fills"),
        "messages": ("BUY", "SELL", "Answer", "Kind", "Message", "message"),
        "rules": ("BookRules", "OddLots", "SelfTrade", "price_limits"),
    },
)
