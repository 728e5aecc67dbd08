"""An order book in JAX: price-time priority on whole ticks and sizes, for many books at once."""

from typing import TYPE_CHECKING

from ..._lazy import make_lazy

if TYPE_CHECKING:
    from ._blocks import in_blocks, in_parts, side_by_side
    from .auction import AuctionBook, Cleared, call, collect, empty_auctions
    from .book import Book, Resting, empty_books
    from .engine import Outcome, drive, replay, step
    from .fills import Fill, Fills, no_fills
    from .levels import LevelBook, Own, empty_level_books
    from .messages import BUY, SELL, Answer, Kind, Message, message
    from .rules import BookRules, OddLots, SelfTrade, price_limits
    from .sessions import Deal, expire, negotiate, to_auction, to_book

__all__ = [
    "BUY",
    "SELL",
    "Answer",
    "AuctionBook",
    "Book",
    "BookRules",
    "Cleared",
    "Deal",
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
    "call",
    "collect",
    "drive",
    "empty_auctions",
    "empty_books",
    "empty_level_books",
    "expire",
    "in_blocks",
    "in_parts",
    "message",
    "negotiate",
    "no_fills",
    "price_limits",
    "replay",
    "side_by_side",
    "step",
    "to_auction",
    "to_book",
]

make_lazy(
    __name__,
    {
        "_blocks": ("in_blocks", "in_parts", "side_by_side"),
        "auction": ("AuctionBook", "Cleared", "call", "collect", "empty_auctions"),
        "book": ("Book", "Resting", "empty_books"),
        "engine": ("Outcome", "drive", "replay", "step"),
        "fills": ("Fill", "Fills", "no_fills"),
        "levels": ("LevelBook", "Own", "empty_level_books"),
        "messages": ("BUY", "SELL", "Answer", "Kind", "Message", "message"),
        "rules": ("BookRules", "OddLots", "SelfTrade", "price_limits"),
        "sessions": ("Deal", "expire", "negotiate", "to_auction", "to_book"),
    },
)
