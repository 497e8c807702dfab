"""What did a program hand over as its list?"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Protocol, TypeGuard, runtime_checkable

from merge.errors import ListError, Problem
from merge.table.shown import moment, plain_number
from merge.table.values import Block, Layout

_BLOCK = 256


@runtime_checkable
class DataFrame(Protocol):
    """As much of a pandas DataFrame as is needed here; pandas itself need not be loaded, or installed."""

    @property
    def columns(self) -> Iterable[object]:
        """The labels of the columns."""

    def itertuples(self, index: bool, name: None) -> Iterable[tuple[object, ...]]:  # noqa: FBT001 - pandas' own
        """Yield the rows."""


class Given:
    """Rows from a DataFrame, or from mappings of column names to values; the names stand in row 1."""

    problems: tuple[Problem, ...] = ()

    def __init__(self, source: object, name: str) -> None:
        """Turn every value into text once. Raises ListError for what is neither."""
        self._rows = _rows(source, name)
        digest = hashlib.sha256()
        for row in self._rows:
            digest.update(json.dumps(row).encode())
        self.content_hash = digest.hexdigest()

    @property
    def layout(self) -> Layout:
        """There is no file."""
        return Layout()

    def head(self, rows: int) -> list[list[str]]:
        """Return the first rows."""
        return self._rows[:rows]

    def blocks(self, skip: int, width: int) -> Iterator[Block]:
        """Yield the rows after the first `skip`."""
        for first in range(skip, len(self._rows), _BLOCK):
            yield Block(first + 1, list(map(list, zip(*self._rows[first : first + _BLOCK], strict=True))))


def as_text(value: object) -> str:  # noqa: PLR0911 - one for each kind of value
    """Return the text that a value would have in a spreadsheet; None, NaN and NaT are empty."""
    if isinstance(value, str):
        return str(value)
    if value is None or type(value).__name__ in {"NAType", "NaTType"} or value != value:  # noqa: PLR0124 - NaN
        return ""
    if hasattr(value, "item") and callable(value.item):
        value = value.item()
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, (int, float)):
        return plain_number(value)
    if isinstance(value, (dt.datetime, dt.date, dt.time, dt.timedelta)):
        return moment(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value)


def _rows(source: object, name: str) -> list[list[str]]:
    if isinstance(source, DataFrame):
        names = [_label(column) for column in source.columns]
        return [
            names,
            *([as_text(value) for value in row] for row in source.itertuples(index=False, name=None)),
        ]
    if not isinstance(source, Iterable) or isinstance(source, (bytes, bytearray, Mapping)):
        raise ListError(
            f"{name} can't be a {type(source).__name__}",
            hint="give a path, a DataFrame, or mappings such as [{'email': 'ann@example.org'}]",
        )
    mappings = []
    for number, mapping in enumerate(source, 1):
        if not _is_mapping(mapping):
            raise ListError(
                f"{name}: item {number} is a {type(mapping).__name__}, not a mapping of names to values",
                hint="give mappings such as {'email': 'ann@example.org'}",
            )
        mappings.append(mapping)
    keys = list(dict.fromkeys(key for mapping in mappings for key in mapping))
    return [[str(key) for key in keys], *([as_text(row.get(key)) for key in keys] for row in mappings)]


def _is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _label(column: object) -> str:
    """Return the name of a column; the levels of a MultiIndex stand side by side."""
    return " ".join(map(str, column)) if isinstance(column, tuple) else str(column)
