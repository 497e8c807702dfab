"""What does an Excel workbook hold?"""

from __future__ import annotations

import datetime as dt
import difflib
import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from merge.errors import ListError, Problem
from merge.table.archive import Archive
from merge.table.heading import SAMPLED_ROWS, SEARCHED_ROWS, letters
from merge.table.sheetxml import Scan, scan, sheets
from merge.table.shown import SIGNIFICANT, formatted, moment, plain_number
from merge.table.values import Block, ListOptions

if TYPE_CHECKING:
    from python_calamine import CalamineSheet

Value = float | str | bool | dt.time | dt.date | dt.datetime | dt.timedelta

_BLOCK = 256
_SHOWN_PLACES = 5


class Workbook:
    """One sheet of an .xlsx: values by calamine, what surrounds them from the XML itself."""

    ragged = False
    spotless = False
    trimmed = False

    def __init__(self, content: bytes, options: ListOptions, file: str) -> None:
        """Look through the sheet before it is opened. Raises ListError."""
        self._file = file
        self.content_hash = hashlib.sha256(content).hexdigest()
        archive = Archive(io.BytesIO(content), file)
        found = sheets(archive)
        chosen = choose_sheet(
            [sheet.name for sheet in found], [s.visible for s in found], options.sheet, file
        )
        for part in archive.names & {"xl/sharedStrings.xml"}:
            for _ in archive.chunks(part):
                pass
        self._scan: Scan = scan(archive, found[chosen].part)
        self._sheet = _opened(content, found[chosen].name, archive)
        self._remarkable = bool(self._scan.errors or self._scan.without_value)
        others = [sheet.name for place, sheet in enumerate(found) if place != chosen]
        self.problems = tuple(self._remarks(found[chosen].name, others, options))

    def head(self, rows: int) -> Block:
        """Return the first rows."""
        return Block(1, [self._texts(at, row) for at, row in islice(self._values(), rows)])

    def blocks(self, skip: int) -> Iterator[Block]:
        """Yield the rows after the first `skip`."""
        rows = islice(self._values(), skip, None)
        while some := list(islice(rows, _BLOCK)):
            first = some[0][0]
            texts = [self._texts(at, row) for at, row in some]
            notes = {}
            if self._remarkable:
                notes = {at - first: found for at, row in some if (found := tuple(self._notes(at, row)))}
            yield Block(first + 1, texts, notes=notes)

    def _values(self) -> Iterator[tuple[int, Sequence[Value]]]:
        """Yield each row with its position; the reader leaves out the empty columns at the left."""
        left = [""] * (self._sheet.start or (0, 0))[1]
        for at, row in enumerate(self._sheet.iter_rows()):
            yield at, left + row if left else row

    def _texts(self, at: int, row: Sequence[Value]) -> list[str]:
        return [
            value if type(value) is str else self._text(at, column, value) for column, value in enumerate(row)
        ]

    def _text(self, at: int, column: int, value: Value) -> str:
        if type(value) is float:
            if abs(value) >= 10**SIGNIFICANT:
                self._remarkable = True
            code = self._scan.code(at, column)
            shown = formatted(value, code) if code else None
            return plain_number(value) if shown is None else shown
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        if isinstance(value, (int, float)):
            return plain_number(value)
        return value if isinstance(value, str) else moment(value)

    def _notes(self, at: int, row: Sequence[Value]) -> Iterator[Problem]:
        """Yield what is to be said about single cells."""
        for column, value in enumerate(row):
            if value == "":
                yield from self._about_empty(at, column)
            elif type(value) is float and abs(value) >= 10**SIGNIFICANT and value == int(value):
                yield many_digits(f"{letters(column)}{at + 1}", plain_number(value), at + 1, self._file)

    def _about_empty(self, at: int, column: int) -> Iterator[Problem]:
        cell = f"{letters(column)}{at + 1}"
        if error := self._scan.errors.get((at, column)):
            message = f"{cell} shows {error}; it is taken as empty"
            yield Problem("warning", "formula", message, file=self._file, row=at + 1, value=error)
        elif (at, column) in self._scan.without_value:
            message = f"{cell} is a formula whose value was never saved; it is taken as empty"
            hint = "open the file in your spreadsheet program and save it"
            yield Problem("warning", "formula", message, file=self._file, row=at + 1, hint=hint)

    def _remarks(self, name: str, others: list[str], options: ListOptions) -> Iterator[Problem]:
        if others and not options.sheet:
            yield other_sheets(name, others, self._file)
        end = self._sheet.end
        if end and (hidden := [row + 1 for row in self._scan.hidden_rows if row <= end[0]]):
            yield hidden_rows(hidden, self._file)
        merged = self._sheet.merged_cell_ranges or []
        if merged:
            yield merged_cells([f"{_cell(*first)}:{_cell(*last)}" for first, last in merged], self._file)
        yield from self._number_samples()

    def _number_samples(self) -> Iterator[Problem]:
        """Show once for each column how its numbers are written: the file doesn't tell a person's separators."""
        told: set[int] = set()
        for at, row in islice(self._values(), SEARCHED_ROWS + SAMPLED_ROWS):
            for column, value in enumerate(row):
                if type(value) is not float or column in told:
                    continue
                code = self._scan.code(at, column)
                text = self._text(at, column, value)
                unknown = bool(code) and formatted(value, code) is None
                if unknown or is_sampled(text):
                    told.add(column)
                    yield number_sample(
                        f"{letters(column)}{at + 1}", text, code if unknown else "", self._file
                    )


def choose_sheet(names: Sequence[str], visible: Sequence[bool], wanted: str, file: str) -> int:
    """Return the place of the sheet that is asked for, else of the first that a person sees."""
    if wanted:
        same = [place for place, name in enumerate(names) if name == wanted]
        same = same or [
            place for place, name in enumerate(names) if name.casefold() == wanted.strip().casefold()
        ]
        if same:
            return same[0]
        near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
        guess = f"did you mean {near[0]}? " if near else ""
        raise ListError(f"{file} has no sheet {wanted}", hint=f"{guess}sheets in {file}: {', '.join(names)}")
    seen = next((place for place, shown in enumerate(visible) if shown), None)
    if seen is None:
        raise ListError(
            f"{file} has no sheet that can be seen", hint='name one: sheet = "..." in campaign.toml'
        )
    return seen


def other_sheets(name: str, others: Sequence[str], file: str) -> Problem:
    """Return the remark that only one of several sheets is read."""
    message = f"only sheet {name} is read, not {_some(others)}"
    hint = 'another one: sheet = "..." in campaign.toml'
    return Problem("warning", "sheets", message, file=file, value=name, hint=hint)


def hidden_rows(rows: Sequence[int], file: str) -> Problem:
    """Return the remark that rows which nobody sees are read like any others."""
    several = len(rows) > 1
    message = (
        f"{len(rows):,} row{'s are' if several else ' is'} hidden or filtered out, but read: {_some(rows)}"
    )
    hint = 'to leave rows out, delete them, or use where = "..." in campaign.toml'
    return Problem("warning", "hidden", message, file=file, row=rows[0], hint=hint)


def merged_cells(ranges: Sequence[str], file: str) -> Problem:
    """Return the remark that the value of merged cells belongs to the first of their rows alone."""
    message = f"merged cells: {_some(ranges)}; only the first cell has the value, the others are empty"
    return Problem("warning", "merged", message, file=file, hint="unmerge them and fill in each row")


def many_digits(cell: str, text: str, row: int, file: str) -> Problem:
    """Return the remark on a number that was longer than what a spreadsheet keeps."""
    message = f"{cell} is a number of more than {SIGNIFICANT} digits, of which spreadsheets keep the first"
    hint = "format the column as text before the numbers are typed"
    return Problem("warning", "digits", message, file=file, row=row, value=text, hint=hint)


def is_sampled(text: str) -> bool:
    """Whether a number is written with a separator, which a person's own spreadsheet may write otherwise."""
    return bool(re.search(r"\d[.,\u00a0\u2019]\d", text))


def number_sample(cell: str, text: str, unknown: str, file: str) -> Problem:
    """Return the remark that shows how the numbers of a column are written."""
    if unknown:
        message = f"{cell} has a number format that is not followed ({unknown}); it is written {text}"
    else:
        message = f"numbers as in {cell} are written {text}"
    hint = "if it should look otherwise: format the column as text, or use a filter in the letter"
    return Problem("warning", "numbers", message, file=file, value=text, hint=hint)


def _some(things: Sequence[object]) -> str:
    listed = ", ".join(str(thing) for thing in things[:_SHOWN_PLACES])
    return listed + ", ..." if len(things) > _SHOWN_PLACES else listed


def _cell(row: int, column: int) -> str:
    return f"{letters(column)}{row + 1}"


def _opened(content: bytes, name: str, archive: Archive) -> CalamineSheet:
    """Let calamine read the values of a sheet."""
    from python_calamine import CalamineError, CalamineWorkbook  # noqa: PLC0415 - 20 ms, workbooks only

    try:
        with CalamineWorkbook.from_filelike(io.BytesIO(content)) as workbook:
            return workbook.get_sheet_by_name(name)
    except (CalamineError, OSError, ValueError) as error:
        raise archive.broken(str(error)) from None
    except BaseException as error:
        # A panic of its Rust code arrives as an exception that is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise archive.broken("its reader gave up") from None
