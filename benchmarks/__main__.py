"""`python -m benchmarks [name ...]`: every comparison, or those named, as one table of ratios."""

from __future__ import annotations

import os
import sys
from importlib import import_module

# One thread for BLAS on both sides: with the other core busy, more threads only wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

NAMES = (
    "lattice",
    "dealer",
    "two_accounts",
    "pre_commitment",
    "frontier",
    "gradient",
    "neural",
    "simulation",
    "closed_loop",
)


def main(chosen: list[str]) -> int:
    """Print the table; the exit status says only whether everything ran."""
    unknown = [name for name in chosen if name not in NAMES]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    timing = import_module(".timing", __package__)
    print(timing.HEADER)
    for name in chosen or NAMES:
        for comparison in import_module(f".{name}", __package__).run():
            print(comparison.row(), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
