"""Nested dictionaries of text, numbers and lists as TOML; reading is Python's own `tomllib`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def dumps(data: Mapping[str, Any]) -> str:
    """TOML text that `tomllib.loads` turns back into `data`; values that are None are left out."""
    return "\n".join(_lines(data, ())).strip() + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...], one_of_many: bool = False) -> Iterator[str]:
    tables = {key: value for key, value in table.items() if isinstance(value, Mapping) or _is_tables(value)}
    plain = {key: value for key, value in table.items() if key not in tables and value is not None}
    if one_of_many:
        yield f"\n[[{'.'.join(path)}]]"
    elif path and (plain or not table):
        yield f"\n[{'.'.join(path)}]"
    for key, value in plain.items():
        yield f"{key} = {_value(value)}"
    for key, value in tables.items():
        for item in [value] if isinstance(value, Mapping) else value:
            yield from _lines(item, (*path, key), one_of_many=item is not value)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    return repr(value)  # Python writes numbers, inf and nan as TOML does
