"""Where blocks are computed: threads of this process, local worker processes, or the workers of a Dask cluster.

It decides the time and nothing else: a block's numbers follow from its statement alone. Whoever computes a block, this
process writes it, as soon as it has it; what was not written when it ends, however it ends, is computed again.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any

from .._batches import _shown, threads
from ._blocks import Block, Columns, Store
from ._work import compute

Keep = Callable[[Block, Columns], None]

_SECONDS = 10  # to find a scheduler, and a worker
_TRIES = 10  # workers that may die over one block before it is the block's fault


def run(
    blocks: Sequence[Block],
    store: Store,
    *,
    task: str,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool | None = None,
) -> int:
    """Compute the blocks that `store` does not hold yet, and keep each there; returns how many that were.

    workers:    None for threads of this process, as many as it has processors, or a number of local processes, which
                share the processors out among them.
    scheduler:  address of a Dask scheduler, such as "tcp://10.0.0.1:8786", whose workers then do the work.
    Raises `ValueError` where the cluster cannot be had. An interruption leaves what was kept so far.
    """
    missing = [block for block in blocks if not store.has(block)]
    with _shown(task, len(blocks), progress) as advance:
        advance(len(blocks) - len(missing))

        def keep(block: Block, columns: Columns) -> None:
            store.write(block, columns)
            advance(1)

        if not missing:
            return 0
        if scheduler is None and workers is None:
            _here(missing, keep)
        else:
            with _cluster(workers, scheduler) as (client, shares):
                _there(missing, keep, client, shares)
    return len(missing)


def _here(blocks: list[Block], keep: Keep) -> None:
    """In threads; the first block runs alone and compiles for all."""
    keep(blocks[0], compute(blocks[0].statement))
    pool = ThreadPoolExecutor(threads(), thread_name_prefix="twosided")
    try:
        waiting = iter(blocks[1:])
        running = {pool.submit(compute, block.statement): block for block in islice(waiting, threads())}
        while running:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                keep(running.pop(future), future.result())
                running |= {pool.submit(compute, block.statement): block for block in islice(waiting, 1)}
    finally:  # an interrupted run does not wait for the blocks in flight
        pool.shutdown(wait=False, cancel_futures=True)


def _there(blocks: list[Block], keep: Keep, client: Any, shares: list[list[int]]) -> None:
    from distributed import as_completed

    futures = {}
    for block in blocks:
        future = client.submit(_at_worker, block.statement, shares, key=f"twosided-{block.key}", pure=True)
        futures[future.key] = (block, future)
    try:
        for future in as_completed([future for _, future in futures.values()], loop=client.loop):
            block, _ = futures.pop(future.key)
            keep(block, future.result())
            future.release()
    finally:
        for _, future in futures.values():
            future.cancel()


def _at_worker(statement: str, shares: list[list[int]]) -> Columns:
    """`compute`, on the worker's share of the processors where it is one of ours."""
    if shares and hasattr(os, "sched_setaffinity"):
        from distributed import get_worker

        os.sched_setaffinity(0, shares[int(get_worker().name) % len(shares)])
    return compute(statement)


@contextlib.contextmanager
def _cluster(workers: int | None, scheduler: str | None) -> Iterator[tuple[Any, list[list[int]]]]:
    """A client, and for local workers the processors that each may use."""
    try:
        from dask.config import set as configured
        from distributed import Client
    except ImportError:
        raise ValueError(
            "several processes need Dask, which is not installed: pip install 'dask[distributed]', or leave workers "
            "and scheduler out"
        ) from None
    with contextlib.ExitStack() as stack:
        stack.enter_context(configured({"distributed.scheduler.allowed-failures": _TRIES}))
        shares: list[list[int]] = []
        if scheduler is None:
            target, shares = _local_cluster(stack, workers or 1)
        else:
            target = _address(scheduler)
        try:
            client = stack.enter_context(Client(target, timeout=_SECONDS, set_as_default=False))
            client.wait_for_workers(1, timeout=_SECONDS)
        except (OSError, TimeoutError) as error:
            what = "has no workers" if "worker" in str(error) else "does not answer"
            raise ValueError(
                f"the Dask scheduler at {scheduler} {what} within {_SECONDS} seconds; start one with `dask scheduler` "
                "and `dask worker ADDRESS`, or leave the scheduler out"
            ) from None
        yield client, shares


def _address(scheduler: str) -> str:
    """`scheduler` with its protocol; raises `ValueError` where it is no address."""
    text = scheduler if "://" in scheduler else f"tcp://{scheduler}"
    _, _, port = text.partition("://")[2].rpartition(":")
    if not port.isdigit():
        raise ValueError(f"scheduler must be an address such as tcp://10.0.0.1:8786, got {scheduler!r}")
    return text


def _local_cluster(stack: contextlib.ExitStack, workers: int) -> tuple[Any, list[list[int]]]:
    from distributed import LocalCluster

    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    shares = [processors[i::workers] or [processors[i % len(processors)]] for i in range(workers)] if processors else []
    cluster = LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,
        memory_limit=0,
    )
    return stack.enter_context(cluster), shares
