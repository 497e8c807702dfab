"""From a source to recipients: which reader, and what becomes of each row?"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, repeat
from os import PathLike, fspath
from typing import Protocol, cast

from merge.errors import ListError, Problem
from merge.model import Cells, Recipient, sound_recipients
from merge.table.delimited import Delimited
from merge.table.given import DataFrame, Given
from merge.table.heading import SAMPLED_ROWS, SEARCHED_ROWS, find_heading
from merge.table.source import Source, open_source, sniff
from merge.table.unseen import ORDINARY, REFUSED, UNSEEN, may_hide
from merge.table.values import LONGEST_CELL, Block, Columns, Grid, Irregular, Layout, ListOptions, Note
from merge.table.workbook import Workbook

_SHOWN = 80
_FORMULA = re.compile(r'="[^"]*"')
_HARMLESS = ORDINARY + b"\t\r"


class Table:
    """A list of recipients, read anew each time it is iterated over; memory does not grow with a CSV.

    `columns` is what the header row says, `problems` are remarks on the file as a whole (those on a row
    are in its Recipient), `layout` tells how the file has it.
    """

    def __init__(self, grid: Grid, options: ListOptions, file: str) -> None:
        head = grid.head(SEARCHED_ROWS + SAMPLED_ROWS)
        self._grid = grid
        self._file = file
        self._lines: _Lines | None = None
        self._heading = find_heading(head, options, file)
        self._places = dict(zip(self._heading.names, self._heading.places, strict=True))
        self.columns: Columns = self._heading.columns
        self.problems: tuple[Problem, ...] = (*grid.problems, *self._heading.problems)
        self.layout: Layout = replace(grid.layout, header_row=self._heading.index + 1)

    def __iter__(self) -> Iterator[Recipient]:
        """Yield the recipients in their order; rows after the last that is filled are none.

        Raises ListError where the file breaks off, or is no longer what it was when it was opened.
        """
        return chain.from_iterable(self._portions())

    def line_of(self, row: int) -> int | None:
        """Return the line of a text file on which a row begins, as of when all rows were last read.

        None for a row of a workbook, of a DataFrame or of mappings, and while the rows were never read.
        """
        return self._lines.of(row) if self._lines else None

    def _portions(self) -> Iterator[Iterable[Recipient]]:
        blank: list[Recipient] = []
        lines = _Lines()
        for block in self._grid.blocks(self._heading.index + 1, self._heading.width):
            lines.note(block)
            size = len(block.columns[0])
            filled = self._filled(block, size)
            if filled:
                yield blank
                blank = []
                yield self._recipients(block, 0, filled)
            blank += self._recipients(block, filled, size)
        self._lines = lines

    @property
    def content_hash(self) -> str:
        """A SHA-256 of the content, in hexadecimal; a text file is read for it."""
        return self._grid.content_hash

    def _filled(self, block: Block, size: int) -> int:
        """Return how many rows of a block there are up to the last that is not blank."""
        for place in range(size - 1, -1, -1):
            beyond = place in block.irregular and block.irregular[place].extra
            if beyond or place in block.notes or any(column[place].strip() for column in block.columns):
                return place + 1
        return 0

    def _recipients(self, block: Block, start: int, end: int) -> Iterator[Recipient]:
        """Return the recipients of some rows of a block; most need no look at each cell."""
        special = {*block.notes, *block.irregular}
        if not block.plain:
            special.update(*map(_spotted, block.columns))
        if not special:
            return self._quickly(block, start, end)
        return self._in_part_with_care(block, start, end, special)

    def _in_part_with_care(
        self, block: Block, start: int, end: int, special: set[int]
    ) -> Iterator[Recipient]:
        for place in sorted(place for place in special if start <= place < end):
            yield from self._quickly(block, start, place)
            yield self._with_care(block, place)
            start = place + 1
        yield from self._quickly(block, start, end)

    def _quickly(self, block: Block, start: int, end: int) -> Iterator[Recipient]:
        """Return the recipients of rows on which there is nothing to remark."""
        heading = self._heading
        columns = block.columns
        if end - start < len(columns[0]):
            columns = [column[start:end] for column in columns]
        rows = zip(*columns, strict=True)
        ids = repeat(None) if heading.id is None else columns[heading.id]
        return sound_recipients(block.number + start, self._places, rows, columns[heading.email], ids)

    def _with_care(self, block: Block, place: int) -> Recipient:
        """Return the recipient of a row, with all that can be remarked on it."""
        heading = self._heading
        row = tuple(column[place] for column in block.columns)
        number = block.number + place
        line = block.line
        if line is not None:
            line += place + sum(height - 1 for above, height in block.tall.items() if above < place)
        problems = [self._placed(note) for note in block.notes.get(place, ())]
        irregular = block.irregular.get(place)
        if any(map(str.strip, row)) or (irregular and irregular.extra):
            problem = partial(Problem, file=self._file, line=line, row=number)
            if irregular:
                problems += self._ragged(irregular, problem)
            problems += self._spots(row, problem)
        id_ = None if heading.id is None else row[heading.id]
        return Recipient(number, Cells(self._places, row), row[heading.email], id_, tuple(problems))

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
            if not _spotted([cell]):
                continue
            name = self._heading.labels[place]
            remark = partial(problem, field=name, value=cell[:_SHOWN])
            if len(cell) > LONGEST_CELL:
                yield remark("error", "cell", f"{name} is longer than {LONGEST_CELL:,} characters")
            if refused := REFUSED.findall(cell):
                message = f"{name} holds {_described(refused)}, which no mail may hold"
                yield remark("error", "cell", message, hint="delete it in the list")
            elif unseen := UNSEEN.findall(cell):
                yield remark("warning", "invisible", f"{name} holds {_described(unseen)}")
            elif _FORMULA.fullmatch(cell):
                message = f"{name} is written as a formula; a spreadsheet shows {cell[2:-1][:_SHOWN]}"
                yield remark("warning", "formula", message, hint="save the list as .xlsx there")
            elif "" != cell.strip() != cell:
                yield remark("warning", "blanks", f"{name} has blanks at its edge")


class _Lines:
    """Where the rows of a text file begin: how many lines they are behind, from which row on."""

    def __init__(self) -> None:
        self._rows = array("q")
        self._behind = array("q")

    def note(self, block: Block) -> None:
        """Take in the next rows."""
        if block.line is None:
            return
        behind = block.line - block.number
        if not self._rows or self._behind[-1] != behind:
            self._add(block.number, behind)
        for place, height in sorted(block.tall.items()):
            behind += height - 1
            self._add(block.number + place + 1, behind)

    def of(self, row: int) -> int | None:
        """Return the line of a row, None where there are none."""
        place = bisect_right(self._rows, row)
        return row + self._behind[place - 1] if place else None

    def _add(self, row: int, behind: int) -> None:
        self._rows.append(row)
        self._behind.append(behind)


def _spotted(column: list[str]) -> list[int]:
    """Return the places of cells that have blanks at an edge, hold what can't be seen, or read otherwise."""
    found: list[int] = []
    if column != list(map(str.strip, column)):
        found += (place for place, cell in enumerate(column) if cell != cell.strip())
    text = "\n".join(column)
    try:
        doubtful = may_hide(text.encode(), _HARMLESS)
    except UnicodeEncodeError:
        doubtful = True
    if doubtful:
        found += (place for place, cell in enumerate(column) if UNSEEN.search(cell))
    if '="' in text:
        found += (place for place, cell in enumerate(column) if _FORMULA.fullmatch(cell))
    if len(text) > LONGEST_CELL:
        found += (place for place, cell in enumerate(column) if len(cell) > LONGEST_CELL)
    return found


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
        if options.sheet:
            raise ListError(f"{file.name} is a text file, and sheet is for workbooks", hint="leave sheet out")
        return Delimited(file.open, options, file.name)
    if options.encoding or options.delimiter:
        key = "encoding" if options.encoding else "delimiter"
        raise ListError(f"{file.name} is a workbook, and {key} is for text files", hint=f"leave {key} out")
    return Workbook(file.content(), kind, options, file.name)


def _described(characters: Iterable[str]) -> str:
    names = (f"U+{ord(c):04X} {unicodedata.name(c, 'control character')}" for c in dict.fromkeys(characters))
    return ", ".join(names)
