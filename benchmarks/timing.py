"""Timing two sides of a comparison in turn, and the table of their ratios."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

SHORT = 0.1
"""Seconds that are long enough to be timed."""


@dataclass(frozen=True)
class Comparison:
    """One line of the table: ours against a yardstick, both measured in this run, compile time apart."""

    what: str
    yardstick: str
    seconds: float
    yardstick_seconds: float
    ratio: float  # yardstick / ours, the median over pairs
    wanted: float
    compile_seconds: float
    note: str = ""

    def row(self) -> str:
        verdict = "met" if self.ratio >= self.wanted else "missed"
        return (
            f"{self.what:<44} {self.seconds * 1e3:>10.2f} {self.yardstick_seconds * 1e3:>11.2f} {self.ratio:>8.1f} "
            f"{self.wanted:>7.1f} {verdict:<7} {self.compile_seconds:>8.1f}  {self.note}"
        )


HEADER = (
    f"{'ours against the yardstick':<44} {'ours ms':>10} {'other ms':>11} {'ratio':>8} {'wanted':>7} {'':<7} "
    f"{'compile s':>8}  both sides' error, and remarks"
)


def compare(
    what: str,
    ours: Callable[[], Any],
    yardstick: Callable[[], Any],
    *,
    against: str,
    wanted: float,
    pairs: int = 5,
    scale: float = 1.0,
    note: str = "",
) -> Comparison:
    """Time `ours` and `yardstick` in turn, `pairs` times after a warm-up; `scale` multiplies the yardstick's time.

    A call that is over sooner than `SHORT` is repeated until so much time has passed: by itself it would mostly measure
    caches and threads that the other side left cold.
    """
    compile_seconds = _seconds(ours)
    repeats = [max(1, round(SHORT / seconds)) for seconds in (_seconds(ours), _seconds(yardstick))]
    times = [(_seconds(ours, repeats[0]), scale * _seconds(yardstick, repeats[1])) for _ in range(pairs)]
    mine, other = (median(t) for t in zip(*times, strict=True))
    ratio = median(b / a for a, b in times)
    return Comparison(what, against, mine, other, ratio, wanted, compile_seconds - mine, f"{against}; {note}")


def _seconds(call: Callable[[], Any], repeats: int = 1) -> float:
    """Of one call, the mean over `repeats`."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats
