"""Market messages: one form for what any venue's file says, and the readers that bring files into it."""

from ._read import read_messages
from ._types import BestQuotes, DataError, MarketOrders, Messages, Number, Prints, Session

__all__ = ["BestQuotes", "DataError", "MarketOrders", "Messages", "Number", "Prints", "Session", "read_messages"]
