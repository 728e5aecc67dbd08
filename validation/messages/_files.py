"""Bytes of a file, plain or packed, with every way it can be broken told in one line."""

from __future__ import annotations

import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from ._types import DataError

_UNPACK: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
}
_BROKEN = (
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
)


def read_file(path: Path) -> bytes:
    """The bytes of a file, unpacked from gzip or xz; raise `DataError` if absent, empty or broken."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the name") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a file that can") from None
    for magic, unpack in _UNPACK.items():
        if raw.startswith(magic):
            try:
                raw = unpack(raw)
            except _BROKEN as error:
                raise _cut_short(path.name, error) from None
    if not raw.strip():
        raise DataError(f"{path.name}: the file is empty; fetch it again")
    return raw


def read_zip(path: Path) -> dict[str, bytes]:
    """The files inside a zip by their names, without folders; raise `DataError` where it is broken."""
    try:
        with zipfile.ZipFile(path) as archive:
            inside = (entry for entry in archive.infolist() if not entry.is_dir())
            return {Path(entry.filename).name: archive.read(entry) for entry in inside}
    except _BROKEN as error:
        raise _cut_short(path.name, error) from None


def is_zip(raw: bytes) -> bool:
    """Whether bytes begin as a zip does, cut short or not."""
    return raw.startswith(b"PK\x03\x04")


def lines_of(name: str, raw: bytes) -> list[str]:
    """The lines of a text file; raise `DataError` where it is not text."""
    try:
        return raw.decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{name}, line {line}: not plain text; the file is corrupt, fetch it again") from None


def _cut_short(name: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{name}: its compressed data are cut short or corrupt ({reason}); fetch it again")
