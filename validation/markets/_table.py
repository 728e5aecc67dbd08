"""Numbers with standard errors below each other: one number of decimals for all, so that their points are aligned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

_MOST = 9


def decimals_for(errors: Iterable[float]) -> int:
    """Enough for one significant digit of the smallest standard error and for two of the largest."""
    known = [error for error in errors if 0 < error < math.inf]
    if not known:
        return 6
    places = (-math.floor(math.log10(min(known))), 1 - math.floor(math.log10(max(known))))
    return min(max(*places, 0), _MOST)


def aligned(values: Sequence[float], errors: Sequence[float], signed: Sequence[bool]) -> list[tuple[str, str]]:
    """Each value and its error as texts, empty where there is none; changes are `signed`."""
    places = decimals_for(errors)

    def shown(number: float, sign: bool = False) -> str:
        if not math.isfinite(number):
            return ""
        text = f"{number:{'+' if sign else ''},.{places}f}"
        # What rounds to nothing has no sign.
        return text.lstrip("+-") if not text.strip("+-0.,") else text

    return [(shown(v, s), shown(e)) for v, e, s in zip(values, errors, signed, strict=True)]
