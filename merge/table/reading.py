"""From a source to recipients: which reader, and what becomes of each row?"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count, repeat
from os import PathLike, fspath
from typing import Protocol, cast

from merge.errors import ListError, Problem
from merge.model import Recipient
from merge.table.delimited import Delimited
from merge.table.given import DataFrame, Given
from merge.table.heading import SAMPLED_ROWS, SEARCHED_ROWS, find_heading
from merge.table.source import Source, open_source, sniff
from merge.table.values import Block, Columns, Grid, Irregular, Layout, ListOptions, Note
from merge.table.workbook import Workbook

LONGEST_CELL = 131_072
"""In characters; Excel itself stops at 32,767."""

_SHOWN = 80
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xa0\u00ad\u200b\u202a-\u202e\u2060\u2066-\u2069\ud800-\udfff\ufeff]"
)
_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Table:
    """A list of recipients, read anew each time it is iterated over; memory does not grow with a CSV.

    `columns` is what the header row says, `problems` are remarks on the file as a whole (those on a row
    are in its Recipient), `content_hash` is a SHA-256 of the content in hexadecimal, `layout` tells how
    the file has it.
    """

    def __init__(self, grid: Grid, options: ListOptions, file: str) -> None:
        head = grid.head(SEARCHED_ROWS + SAMPLED_ROWS)
        self._grid = grid
        self._file = file
        self._heading = find_heading(head, options, file)
        self._names = self._heading.names
        self.columns: Columns = self._heading.columns
        self.problems: tuple[Problem, ...] = (*grid.problems, *self._heading.problems)
        self.content_hash: str = grid.content_hash
        self.layout: Layout = replace(grid.layout, header_row=self._heading.index + 1)

    def __iter__(self) -> Iterator[Recipient]:
        """Yield the recipients in their order; rows after the last that is filled are none.

        Raises ListError where the file breaks off, or is no longer what it was when it was opened.
        """
        heading = self._heading
        leading = heading.places == tuple(range(len(heading.places)))
        blank: list[Recipient] = []
        for block in self._grid.blocks(heading.index + 1, heading.width):
            columns = block.columns
            addresses = columns[heading.email]
            if self._regular(block):
                yield from blank
                blank.clear()
                named = columns if leading else [columns[place] for place in heading.places]
                cells = map(dict, map(zip, repeat(self._names), zip(*named, strict=False)))
                ids = repeat(None) if heading.id is None else columns[heading.id]
                yield from map(Recipient, count(block.number), cells, addresses, ids)
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
        if block.notes or block.irregular or "" in block.columns[self._heading.email]:
            return False
        return all(map(self._plain, block.columns))

    def _plain(self, column: list[str]) -> bool:
        """Whether a person sees all that is in a column, and has blanks at no edge."""
        if not self._grid.trimmed and column != list(map(str.strip, column)):
            return False
        if self._grid.spotless:
            return True
        text = "\n".join(column)
        return not _UNSEEN.search(text) and (
            len(text) <= LONGEST_CELL or max(map(len, column)) <= LONGEST_CELL
        )

    def _with_care(self, block: Block) -> Iterator[Recipient]:
        """Yield the recipients of a block in which some row may be irregular."""
        heading = self._heading
        line = block.line
        for place, row in enumerate(zip(*block.columns, strict=True)):
            number = block.number + place
            problems = [self._placed(note) for note in block.notes.get(place, ())]
            if any(map(str.strip, row)):
                problem = partial(Problem, file=self._file, line=line, row=number)
                if irregular := block.irregular.get(place):
                    problems += self._ragged(irregular, problem)
                problems += self._spots(row, problem)
            cells = dict(zip(self._names, (row[i] for i in heading.places), strict=True))
            id_ = None if heading.id is None else row[heading.id]
            yield Recipient(number, cells, row[heading.email], id_, tuple(problems))
            if line is not None:
                line += block.tall.get(place, 1)

    def _placed(self, note: Note) -> Problem:
        """Return the remark on a cell with the name of its column."""
        if note.column is None:
            return note.problem
        return replace(note.problem, field=self._heading.labels[note.column])

    def _ragged(self, row: Irregular, problem: ProblemMaker) -> Iterator[Problem]:
        width = self._heading.width
        if row.cells < self._heading.named_width:
            message = (
                f"the row has {row.cells} cells, the header has {width}; the missing ones are taken as empty"
            )
            yield problem("warning", "cells", message)
        elif row.extra:
            message = (
                f"the row has {row.cells} cells, the header has {width}: which cell is which can't be told"
            )
            hint = "put quotes round a cell that holds the delimiter, or name every column"
            yield problem("error", "cells", message, value=row.extra[:_SHOWN], hint=hint)

    def _spots(self, row: Sequence[str], problem: ProblemMaker) -> Iterator[Problem]:
        """Yield what a person can't see in the cells of a row, or would not want in a letter."""
        for place, cell in enumerate(row):
            if cell == cell.strip() and len(cell) <= LONGEST_CELL and not _UNSEEN.search(cell):
                continue
            name = self._heading.labels[place]
            remark = partial(problem, field=name, value=cell[:_SHOWN])
            if len(cell) > LONGEST_CELL:
                yield remark("error", "cell", f"{name} is longer than {LONGEST_CELL:,} characters")
            if refused := _REFUSED.findall(cell):
                message = f"{name} holds {_described(refused)}, which no mail may hold"
                yield remark("error", "cell", message, hint="delete it in the list")
            elif unseen := _UNSEEN.findall(cell):
                yield remark("warning", "invisible", f"{name} holds {_described(unseen)}")
            elif cell.strip():
                yield remark("warning", "blanks", f"{name} has blanks at its edge")


class ProblemMaker(Protocol):
    """Makes a Problem whose place is filled in already."""

    def __call__(  # noqa: D102, PLR0913 - the fields of Problem
        self, severity: str, kind: str, message: str, *, field: str = "", value: str = "", hint: str = ""
    ) -> Problem: ...


def read_table(source: object, options: ListOptions | None = None, *, name: str = "") -> Table:
    """Read a list: a path, "-" for standard input, a DataFrame, or an iterable of mappings.

    What kind of file it is, is told by its content, not by its name. `name` is what messages call it.
    Raises ListError when it can't be read as a table of recipients without guessing.
    """
    options = options or ListOptions()
    if isinstance(source, (str, PathLike)):
        file = open_source(str(fspath(cast("PathLike[str] | str", source))), name)
        return Table(_grid(file, options), options, file.name)
    name = name or ("the DataFrame" if isinstance(source, DataFrame) else "the list")
    return Table(Given(source, name), replace(options, header_row=1), name)


def _grid(file: Source, options: ListOptions) -> Grid:
    kind = sniff(file)
    if kind == "text":
        return Delimited(file.open, options, file.name)
    if options.encoding or options.delimiter:
        key = "encoding" if options.encoding else "delimiter"
        raise ListError(f"{file.name} is a workbook, and {key} is for text files", hint=f"leave {key} out")
    return Workbook(file.content(), kind, options, file.name)


def _described(characters: Iterable[str]) -> str:
    names = (f"U+{ord(c):04X} {unicodedata.name(c, 'control character')}" for c in dict.fromkeys(characters))
    return ", ".join(names)
