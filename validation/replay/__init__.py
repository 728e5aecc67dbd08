"""Recorded messages sent through the exact book again, with the dealer's own orders among them."""

from ._own import OwnFill, OwnOrder, OwnOutcome
from ._record import Record, read_record
from ._result import RULES, Replayed
from ._run import replay

__all__ = ["RULES", "OwnFill", "OwnOrder", "OwnOutcome", "Record", "Replayed", "read_record", "replay"]
