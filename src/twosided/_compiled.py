"""What JAX compiles is kept from run to run: compiling is most of what a short run does."""

from __future__ import annotations

import os
import platform
import sys
import zlib
from pathlib import Path

_SECONDS_WORTH_KEEPING = "0.3"


def keep_what_is_compiled() -> None:
    """Point JAX, before it is imported, to a folder in the user's cache: `$XDG_CACHE_HOME/twosided` or `~/.cache`.

    `JAX_COMPILATION_CACHE_DIR` says otherwise where it is set; empty turns keeping off. Without a folder that can be
    written to, everything works as well, only later.
    """
    if "jax" in sys.modules or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = (
        Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "twosided" / f"jax-{_processor()}"
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", _SECONDS_WORTH_KEEPING)


def _processor() -> str:
    """What programs are compiled for: a home folder may be shared by machines whose instructions differ."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        features = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    except OSError:
        features = []
    return f"{platform.machine()}-{zlib.crc32(' '.join([platform.processor(), *features]).encode()):08x}"
