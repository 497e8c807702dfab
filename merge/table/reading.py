"""From a source to recipients: which reader, and what becomes of each row?"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, repeat
from operator import itemgetter
from pathlib import Path
from typing import Any, cast

from merge.errors import ListError, Problem
from merge.model import Recipient
from merge.table.delimited import Delimited, line_breaks
from merge.table.heading import SAMPLED_ROWS, SEARCHED_ROWS, find_heading, letters
from merge.table.source import open_source, sniff
from merge.table.values import Block, Columns, Grid, ListOptions
from merge.table.workbook import Workbook

_LONGEST_CELL = 131_072
_OUTER = r"[\s\u00ad\u200b\u2060\ufeff]"
_SPOT = re.compile(
    rf"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xa0\u00ad\u200b\u2028-\u202e\u2060\u2066-\u2069\ud800-\udfff\ufeff]"
    rf"|^{_OUTER}|{_OUTER}$",
)
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xa0\u00ad\u200b\u2028-\u202e\u2060\u2066-\u2069\ud800-\udfff\ufeff]"
)
_EDGES = (re.compile(r"\n[^\S\n]"), re.compile(r"[^\S\n]\n"))
_REFUSED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_INVISIBLE = re.compile(r"[\u00a0\u00ad\u200b\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
_NO_PROBLEMS: tuple[Problem, ...] = ()


class Table:
    """A list of recipients, read anew each time it is iterated over; memory does not grow with it.

    `problems` are remarks on the file as a whole; those on a row are in its Recipient.
    """

    def __init__(self, grid: Grid, options: ListOptions, file: str) -> None:
        head = grid.head(SEARCHED_ROWS + SAMPLED_ROWS)
        self._grid = grid
        self._file = file
        self._heading = find_heading(head, options, file)
        self.columns: Columns = self._heading.columns
        self.problems: tuple[Problem, ...] = (*grid.problems, *self._heading.problems)
        self.content_hash: str = grid.content_hash
        self._names = tuple(head.rows[self._heading.index][place].strip() for place in self._heading.places)

    def __iter__(self) -> Iterator[Recipient]:
        """Yield the recipients in their order. Raises ListError where the file breaks off or has changed."""
        heading = self._heading
        places = heading.places
        leading = places == tuple(range(len(places)))
        address_of = itemgetter(heading.email)
        id_of: Callable[[list[str]], str | None] = _no_id if heading.id is None else itemgetter(heading.id)
        blank: list[Recipient] = []
        for block in self._grid.blocks(heading.index + 1):
            rows = block.rows
            addresses = self._regular(block) and list(map(address_of, rows))
            if addresses and "" not in addresses:
                yield from blank
                blank.clear()
                kept = rows if leading else map(itemgetter(*places, heading.email), rows)
                cells = map(dict, map(zip, repeat(self._names), kept))
                yield from map(Recipient, count(block.number), cells, addresses, map(id_of, rows))
                continue
            for recipient in self._with_care(block):
                if recipient.problems or any(map(str.strip, recipient.cells.values())):
                    yield from blank
                    blank.clear()
                    yield recipient
                else:
                    blank.append(recipient)

    def _regular(self, block: Block) -> bool:
        """Whether nothing can be remarked on the rows of a block: nearly always, and quick to tell."""
        widths = set(map(len, block.rows))
        if block.notes or len(widths) > 1 or min(widths) < self._heading.width:
            return False
        if self._grid.ragged and widths != {self._heading.width}:
            return False
        return self._grid.spotless or _spotless(block.rows)

    def _with_care(self, block: Block) -> Iterator[Recipient]:
        """Yield the recipients of a block in which some row may be irregular."""
        width = self._heading.width
        for place, row in enumerate(block.rows):
            number = block.number + place
            line = None if block.line is None else block.line + line_breaks(block.rows[:place])
            problems = list(block.notes.get(place, ()))
            if any(map(str.strip, row)):
                if self._grid.ragged and len(row) != width:
                    problems += self._ragged(row, number, line)
                full = row + [""] * (width - len(row))
                if not self._grid.spotless:
                    problems += self._spots(full[:width], number, line)
            else:
                full = [""] * width
            cells = dict(zip(self._names, (full[i] for i in self._heading.places), strict=True))
            id_ = None if self._heading.id is None else full[self._heading.id]
            yield Recipient(number, cells, full[self._heading.email], id_, tuple(problems))

    def _ragged(self, row: list[str], number: int, line: int | None) -> Iterator[Problem]:
        width = self._heading.width
        if len(row) < width:
            message = (
                f"the row has {len(row)} cells, the header has {width}; the missing ones are taken as empty"
            )
            yield Problem("warning", "cells", message, file=self._file, line=line, row=number)
        elif any(map(str.strip, row[width:])):
            extra = next(filter(str.strip, row[width:]))
            message = (
                f"the row has {len(row)} cells, the header has {width}: which cell is which can't be told"
            )
            hint = "put quotes round a cell that holds the delimiter, or name all columns"
            yield Problem(
                "error", "cells", message, file=self._file, line=line, row=number, value=extra[:80], hint=hint
            )

    def _spots(self, row: Sequence[str], number: int, line: int | None) -> Iterator[Problem]:
        """Yield what a person can't see in the cells of a row."""
        for place, cell in enumerate(row):
            if not _SPOT.search(cell) and len(cell) <= _LONGEST_CELL:
                continue
            name = next((n for i, n in zip(self._heading.places, self._names, strict=True) if i == place), "")
            field = name or f"column {letters(place)}"
            at = {"file": self._file, "line": line, "row": number, "field": field, "value": cell[:80]}
            if len(cell) > _LONGEST_CELL:
                yield Problem(
                    "error", "cell", f"{field} is longer than {_LONGEST_CELL:,} characters", **cast("Any", at)
                )
            elif refused := _REFUSED.findall(cell):
                message = f"{field} holds {_described(refused)}, which no mail may hold"
                yield Problem("error", "cell", message, **cast("Any", at))
            elif invisible := _INVISIBLE.findall(cell):
                message = f"{field} holds {_described(invisible)}"
                yield Problem("warning", "invisible", message, **cast("Any", at))
            elif cell != cell.strip():
                message = f"{field} has blanks at its edge"
                yield Problem("warning", "blanks", message, **cast("Any", at))


def read_table(source: object, options: ListOptions | None = None, *, name: str = "") -> Table:
    """Read a list: a path, "-" for standard input, a DataFrame, or an iterable of mappings.

    What kind of file it is, is told by its content. `name` is what messages call it. Raises ListError
    when it can't be read as a table without guessing.
    """
    options = options or ListOptions()
    if isinstance(source, (str, Path)):
        return _read_file(str(source), options, name)
    if isinstance(source, Iterable):
        rows = _rows_of(source)
        return Table(Given(rows), options, name or "the list")
    raise ListError(
        f"{type(source).__name__} is no list", hint="give a path, a DataFrame or an iterable of mappings"
    )


def _read_file(path: str, options: ListOptions, name: str) -> Table:
    source = open_source(path, name)
    kind = sniff(source)
    grid: Grid
    if kind == "xlsx":
        grid = Workbook(source.content(), options, source.name)
    else:
        grid = Delimited(source.open, options, source.name)
    return Table(grid, options, source.name)


class Given:
    """Rows that a program hands over."""

    ragged = False
    spotless = False
    problems: tuple[Problem, ...] = ()

    def __init__(self, rows: list[list[str]]) -> None:
        self._rows = rows
        text = json.dumps(rows, ensure_ascii=True)
        self.content_hash = hashlib.sha256(text.encode()).hexdigest()

    def head(self, rows: int) -> Block:
        """Return the first rows."""
        return Block(1, self._rows[:rows])

    def blocks(self, skip: int) -> Iterator[Block]:
        """Yield the rows after the first `skip`."""
        yield Block(1 + skip, self._rows[skip:])


def _spotless(rows: list[list[str]]) -> bool:
    """Whether no cell holds anything that `_spots` would remark on; seldom wrong, and then for False."""
    text = "\n".join(["", *chain.from_iterable(rows), ""])
    if _UNSEEN.search(text) or any(edge.search(text) for edge in _EDGES):
        return False
    return len(text) <= _LONGEST_CELL or max(map(len, chain.from_iterable(rows))) <= _LONGEST_CELL


def _no_id(_: object) -> None:
    return None


def _rows_of(source: Iterable[object]) -> list[list[str]]:
    mappings = list(cast("Iterable[Mapping[str, Any]]", source))
    names = list(dict.fromkeys(name for mapping in mappings for name in mapping))
    return [names, *([str(mapping.get(name, "")) for name in names] for mapping in mappings)]


def _described(characters: Iterable[str]) -> str:
    names = (f"U+{ord(c):04X} {unicodedata.name(c, 'control character')}" for c in dict.fromkeys(characters))
    return ", ".join(names)
