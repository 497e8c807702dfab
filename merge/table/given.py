"""What did a program hand over as its list?"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol, TypeGuard, runtime_checkable

from merge.errors import ListError, Problem
from merge.table.shown import moment, plain_number
from merge.table.values import Block, Irregular, Layout

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
        self._rows, self._longer = _rows(source, name)
        digest = hashlib.sha256()
        for row in self._rows:
            digest.update(json.dumps(row).encode())
        if self._longer:
            longer = [(place, row.cells, row.extra) for place, row in self._longer.items()]
            digest.update(json.dumps(longer).encode())
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
            rows = self._rows[first : first + _BLOCK]
            ends = first + len(rows)
            longer = {place - first: row for place, row in self._longer.items() if first <= place < ends}
            yield Block(first + 1, list(map(list, zip(*rows, strict=True))), irregular=longer)


def as_text(value: object) -> str:  # noqa: PLR0911 - one for each kind of value
    """Return the text that a value would have in a spreadsheet; None, NaN and NaT are empty.

    Raises TypeError or ValueError for what has none: bytes, an array.
    """
    if isinstance(value, str):
        return str.__str__(value)  # that of a member of an Enum would be its name
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError
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


def _rows(source: object, name: str) -> tuple[list[list[str]], dict[int, Irregular]]:
    """Return the names and the rows under them, and by their places the rows that hold more than is named."""
    if isinstance(source, DataFrame):
        names = [_label(column) for column in source.columns]
        rows = source.itertuples(index=False, name=None)
        return [names, *(_texts(name, number, names, row) for number, row in enumerate(rows, 1))], {}
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
    keys = [key for key in dict.fromkeys(key for mapping in mappings for key in mapping) if key is not None]
    names = [str(key) for key in keys]
    texts = [
        _texts(name, number, names, [mapping.get(key) for key in keys])
        for number, mapping in enumerate(mappings, 1)
    ]
    return [names, *texts], dict(_longer(mappings, len(keys)))


def _texts(name: str, number: int, names: Sequence[str], values: Iterable[object]) -> list[str]:
    texts = []
    for label, value in zip(names, values, strict=True):
        try:
            texts.append(as_text(value))
        except (TypeError, ValueError):
            raise ListError(
                f"{name}: {label} of item {number} is a {type(value).__name__}, which is not one text",
                hint="give a text, a number, a date or a time; bytes must be decoded",
            ) from None
    return texts


def _longer(mappings: Sequence[Mapping[Any, Any]], width: int) -> Iterator[tuple[int, Irregular]]:
    """Yield what csv.DictReader keeps under None: the cells of a row that is longer than the header."""
    for place, mapping in enumerate(mappings, 1):
        rest = mapping.get(None)
        cells = [str(cell) for cell in (rest if isinstance(rest, list) else [rest]) if cell is not None]
        if extra := next(filter(str.strip, cells), ""):
            yield place, Irregular(width + len(cells), extra)


def _is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _label(column: object) -> str:
    """Return the name of a column; the levels of a MultiIndex stand side by side."""
    return " ".join(map(str, column)) if isinstance(column, tuple) else str(column)
