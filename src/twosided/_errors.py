"""What a user can mend: one line that names the culprit and the mend, and exit code 2."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A run that cannot go on for a reason the user can mend; its text is the one line to print."""


def one_line(error: BaseException) -> str:
    """An exception's text on one line; its class where it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


def about_file(error: OSError, what: str) -> str:
    """The operating system's reason, without its number: `what: Permission denied`."""
    return f"{what}: {error.strerror or one_line(error)}"


def suggestion(name: object, known: Iterable[str]) -> str:
    """`: did you mean volatility?` where a known name is close to `name`, else nothing."""
    close = get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f": did you mean {close[0]}?" if close else ""
