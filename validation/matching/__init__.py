"""An order book in JAX: price-time priority on whole ticks and sizes, for many books at once."""

from typing import TYPE_CHECKING

from ..._lazy import make_lazy

if TYPE_CHECKING:
    from .book import Book, Resting, empty_books
    from .engine import Outcome, drive, replay, step
    from .fills import Fill, Fills, no_fills
    from .levels import LevelBook, Own, empty_level_books
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
    "LevelBook",
    "Message",
    "OddLots",
    "Outcome",
    "Own",
    "Resting",
    "SelfTrade",
    "drive",
    "empty_books",
    "empty_level_books",
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
        "levels": ("LevelBook", "Own", "empty_level_books"),
        "messages": ("BUY", "SELL", "Answer", "Kind", "Message", "message"),
        "rules": ("BookRules", "OddLots", "SelfTrade", "price_limits"),
    },
)
