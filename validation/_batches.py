"""Paths in batches: two threads over one CPU device, larger batches on an accelerator, progress, interruption.

Nothing here can change a number: a path's draws depend on the seed and the path alone (see `_randomness`).
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any

import jax
import numpy as np

from ..hjb._side_by_side import processors

Report = Callable[[float], None]
"""Told the share of a batch done since the last call; raises `Stopped` when the run is to end."""

_QUIET_SECONDS = 2.0
_ACCELERATOR_BATCH = 2**20
_SMALLEST = 256


class Stopped(Exception):
    """Raised inside a batch whose run was interrupted."""


def threads() -> int:
    """Threads that compute batches side by side: the processors this process may use, or one per accelerator."""
    if jax.default_backend() != "cpu":
        return 1
    return processors()


def batch_size(paths: int, usual: int, wanted: int | None) -> int:
    """Paths to compute at once: `wanted`, or else `usual` (more on an accelerator), and no more than there are.

    A multiple of 256, so that XLA's vectorised and left-over elements are the same whatever the batch.
    """
    if wanted is not None:
        return -(-wanted // _SMALLEST) * _SMALLEST
    usual = usual if jax.default_backend() == "cpu" else _ACCELERATOR_BATCH
    few = usual // 8  # two sizes only, for each is compiled by itself
    return usual if -(-paths // threads()) > few else few


def compute(
    run: Callable[[int, Report], Any], paths: int, batch: int, task: str, progress: bool | None, double: bool
) -> Any:
    """`run(first path, report)` for every batch of paths; its per-path arrays joined, as NumPy, in the paths' order.

    `double`: whether JAX computes in double precision meanwhile. The first batch runs alone and compiles for all.
    """
    starts = range(0, paths, batch)
    stop = threading.Event()
    joined: Any = None

    with _shown(task, len(starts), progress) as advance:

        def report(share: float) -> None:
            advance(share)
            if stop.is_set():
                raise Stopped

        def one(start: int) -> tuple[int, Any]:
            with jax.enable_x64(double):
                return start, jax.tree.map(np.asarray, run(start, report))

        def keep(start: int, part: Any) -> None:
            nonlocal joined
            if joined is None:
                joined = jax.tree.map(lambda array: np.empty((paths, *array.shape[1:]), array.dtype), part)
            for whole, piece in zip(jax.tree.leaves(joined), jax.tree.leaves(part), strict=True):
                whole[start : start + batch] = piece[: paths - start]

        keep(*one(starts[0]))
        with _pool(stop) as pool:
            waiting = iter(starts[1:])
            running = {pool.submit(one, start) for start in islice(waiting, 2 * threads())}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    keep(*future.result())
                    running |= {pool.submit(one, start) for start in islice(waiting, 1)}
    return joined


@contextlib.contextmanager
def _pool(stop: threading.Event) -> Iterator[ThreadPoolExecutor]:
    """A pool whose batches end soon where the main thread meets an error or is interrupted."""
    with ThreadPoolExecutor(threads(), thread_name_prefix="twosided") as pool:
        try:
            yield pool
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextlib.contextmanager
def _shown(task: str, batches: int, wanted: bool | None) -> Iterator[Report]:
    """A bar on standard error once the work has taken two seconds, where someone can see it (`wanted` None)."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True, force_terminal=wanted), transient=True)
    number = bar.add_task(task, total=float(batches))
    began, guard, visible = time.monotonic(), threading.Lock(), False

    def advance(share: float) -> None:
        nonlocal visible
        with guard:
            bar.advance(number, share)
            if not visible and time.monotonic() - began > _QUIET_SECONDS:
                bar.start()
                visible = True

    try:
        yield advance
    finally:
        if visible:
            bar.stop()
