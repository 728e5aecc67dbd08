"""Blocks: the pieces that a sweep is cut into, computed whole, kept on disk one by one.

A block is named by the SHA-256 of all that its numbers depend on: the cases, the settings, the versions of the
packages and the source of this one. So a block found on disk can be used as it is, and nothing else can. A file holds
the block's statement, its columns and their digest; it is written beside its place and moved there, so that a process
killed at any moment leaves a whole block or none.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...hjb.solution import write_whole

Columns = dict[str, np.ndarray]

_OURS = re.compile(r"[0-9a-f]{64}\.npz|\.[0-9a-f]{64}\.npz\..*\.part")


@dataclass(frozen=True)
class Block:
    """A piece of work: `statement` is JSON with sorted keys, `count` how many of its cases are wanted.

    The cases beyond `count` repeat the last one: blocks of one size run in one compiled program, whose results then
    do not depend on how many cases there were.
    """

    statement: str
    count: int

    @property
    def key(self) -> str:
        """Its name."""
        return hashlib.sha256(self.statement.encode()).hexdigest()


def cut(work: str, cases: Sequence[Any], settings: Mapping[str, Any], size: int) -> list[Block]:
    """Consecutive blocks of `size` cases; `work` names who computes them (see `_work`)."""
    blocks = []
    for first in range(0, len(cases), size):
        part = list(cases[first : first + size])
        filled = part + [part[-1]] * (size - len(part))
        stated = {"work": work, "cases": filled, "settings": dict(settings), "versions": versions()}
        blocks.append(Block(json.dumps(stated, sort_keys=True, allow_nan=False), len(part)))
    return blocks


@functools.cache
def versions() -> dict[str, str]:
    """What else decides the last digits: packages, and this one's own source."""
    from importlib.metadata import version

    root = Path(__file__).parents[2]
    source = hashlib.sha256()
    for folder in ("models", "hjb", "validation"):
        home = (root / folder).resolve()  # a link in a checkout
        for file in sorted(home.rglob("*.py")):
            source.update(str(file.relative_to(home)).encode() + b"\0" + file.read_bytes())
    return {"source": source.hexdigest()[:16], **{name: version(name) for name in ("jax", "jaxlib", "numpy", "scipy")}}


class Store:
    """A folder of finished blocks. Raises `ValueError` where it holds anything else: it will be cleared one day."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for entry in folder.iterdir():
            if not _OURS.fullmatch(entry.name):
                raise ValueError(f"{entry} is no block of a sweep; move it away, or choose another place")

    def path(self, block: Block) -> Path:
        """Where a block's file is, or will be."""
        return self.folder / f"{block.key}.npz"

    def has(self, block: Block) -> bool:
        """Whether the block is finished."""
        return self.path(block).exists()

    def write(self, block: Block, columns: Columns) -> None:
        """Keep a finished block, whole or not at all."""
        arrays = {name: np.ascontiguousarray(columns[name]) for name in sorted(columns)}

        def save(part: str) -> None:
            named: dict[str, Any] = {f"_{name}": array for name, array in arrays.items()}
            with open(part, "wb") as file:
                np.savez(file, statement=block.statement, digest=_digest(arrays), **named)

        write_whole(self.path(block), save)

    def read(self, block: Block) -> Columns:
        """A finished block's columns. Raises `ValueError` naming a file that is not what its name says."""
        path = self.path(block)
        try:
            with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
            statement, digest = str(found.pop("statement")), str(found.pop("digest"))
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path} is no block of a sweep or is damaged ({error}); delete it, and run again"
            ) from None
        columns = {name.removeprefix("_"): array for name, array in found.items()}
        if statement != block.statement or digest != _digest(columns):
            raise ValueError(f"{path} does not hold what its name says; delete it, and run again")
        return columns

    def leave(self) -> None:
        """Drop the folder if nothing was finished."""
        with contextlib.suppress(OSError):  # there are blocks in it
            self.folder.rmdir()

    def clear(self) -> None:
        """Drop all blocks, and the folder."""
        for entry in self.folder.iterdir():
            if _OURS.fullmatch(entry.name):
                entry.unlink()
        self.folder.rmdir()


def _digest(columns: Columns) -> str:
    digest = hashlib.sha256()
    for name in sorted(columns):
        array = columns[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def joined(blocks: Sequence[Block], store: Store) -> Columns:
    """All blocks' columns one after the other, the repeated cases left out."""
    parts = [{name: array[: block.count] for name, array in store.read(block).items()} for block in blocks]
    return {name: np.concatenate([part[name] for part in parts]) for name in sorted(parts[0])}
