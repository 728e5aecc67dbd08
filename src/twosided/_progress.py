"""What is going on, on the terminal: a line with a spinner or a bar and the time; silent where there is no terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[float], None]


@contextmanager
def working_on(what: str) -> Iterator[Advance]:
    """Show `what` with the seconds so far while the block runs; call the result with the share done for a bar."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), TaskProgressColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal) as p:
        task = p.add_task(what, total=None)
        yield lambda share: p.update(task, total=1.0, completed=share)


def announce(what: str) -> None:
    """Say on the terminal that something begins which shows its own progress later."""
    if sys.stderr.isatty():
        print(what, file=sys.stderr)
