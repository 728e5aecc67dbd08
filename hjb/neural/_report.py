"""Progress of a training on the terminal: the residual so far, the share done and the time left; silent elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ._training import Progress, Schedule

_QUIET_SECONDS = 2.0


@contextmanager
def shown(task: str, schedule: Schedule, wanted: bool | None) -> Iterator[Callable[[Progress], None]]:
    """A bar on standard error once training has taken two seconds, where someone can see it (`wanted` None)."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    bar = Bar(*columns, console=Console(stderr=True, force_terminal=wanted), transient=True)
    number = bar.add_task(task, total=1.0)
    began, visible = time.monotonic(), False

    def told(progress: Progress) -> None:
        nonlocal visible
        share = progress.iteration / schedule.iterations
        if schedule.seconds is not None:
            share = max(share, min(progress.seconds / schedule.seconds, 1.0))
        bar.update(number, completed=share, description=f"{task}, residual {progress.history[-1]:.1e}")
        if not visible and time.monotonic() - began > _QUIET_SECONDS:
            bar.start()
            visible = True

    try:
        yield told
    finally:
        if visible:
            bar.stop()
