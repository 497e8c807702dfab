"""What does a workbook hold?"""

from __future__ import annotations

import datetime as dt
import gc
import hashlib
import io
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, cast

from merge.errors import ListError, Problem
from merge.table.around import Around, is_sampled, many_digits, number_sample
from merge.table.heading import SAMPLED_ROWS, SEARCHED_ROWS, letters
from merge.table.legacy import around_xls
from merge.table.opendocument import around_ods
from merge.table.sheetxml import around_xlsx
from merge.table.shown import SIGNIFICANT, moment, plain_number
from merge.table.values import Block, Layout, ListOptions, Note

if TYPE_CHECKING:
    from python_calamine import CalamineWorkbook

Moment = dt.time | dt.date | dt.datetime | dt.timedelta
Value = float | str | bool | Moment

_MOST_PRECISE = 10**SIGNIFICANT

_BLOCK = 5_000
_LOOKS: dict[str, Callable[[bytes, str, str], Around]] = {
    "xlsx": around_xlsx,
    "xls": around_xls,
    "ods": around_ods,
}


class Workbook:
    """One sheet of a workbook: pandas and calamine make the values, the file itself tells their look."""

    def __init__(self, content: bytes, kind: str, options: ListOptions, file: str) -> None:
        """Look through the sheet, then open it. Raises ListError."""
        self._file = file
        self.content_hash = hashlib.sha256(content).hexdigest()
        self._around = _LOOKS[kind](content, options.sheet, file)
        self._notes: dict[int, list[Note]] = {}
        with _uncollected():
            columns = _columns(content, self._around.sheet, file)
            _extend(columns, self._around.without_value)
            samples = [values[: SEARCHED_ROWS + SAMPLED_ROWS] for values in columns]
            self._columns = [self._texts(column, values) for column, values in enumerate(columns)]
        rows = len(columns[0]) if columns else 0
        if not rows and self._around.others:
            hint = f'another one: sheet = "{self._around.others[0]}" in campaign.toml'
            raise ListError(f"sheet {self._around.sheet} of {file} is empty", hint=hint)
        known = {**self._around.texts, **dict.fromkeys(self._around.errors, "")}
        for (row, column), text in known.items():
            if row < rows and column < len(self._columns):
                self._columns[column][row] = text
        self.problems = (
            *self._around.remarks(rows, options.sheet, file),
            *self._number_samples(samples),
        )
        for row, found in self._around.notes(rows, file).items():
            self._notes.setdefault(row, []).extend(found)

    @property
    def layout(self) -> Layout:
        """Which sheet it is."""
        return Layout(sheet=self._around.sheet)

    def head(self, rows: int) -> list[list[str]]:
        """Return the first rows."""
        return list(map(list, zip(*(column[:rows] for column in self._columns), strict=True)))

    def blocks(self, skip: int, width: int) -> Iterator[Block]:
        """Yield the rows after the first `skip`."""
        rows = len(self._columns[0]) if self._columns else 0
        for first in range(skip, rows, _BLOCK):
            end = min(first + _BLOCK, rows)
            notes = {row - first: tuple(found) for row, found in self._notes.items() if first <= row < end}
            yield Block(first + 1, [column[first:end] for column in self._columns], notes=notes)

    def _texts(self, column: int, values: list[Value]) -> list[str]:
        kinds = set(map(type, values))
        if kinds == {str}:
            return cast("list[str]", values)
        if kinds == {str, dt.date}:
            return [value if type(value) is str else cast("dt.date", value).isoformat() for value in values]
        return [
            value if type(value) is str else self._text(row, column, value)
            for row, value in enumerate(values)
        ]

    def _text(self, row: int, column: int, value: Value) -> str:
        if type(value) is float or type(value) is int:
            number = int(value) if type(value) is float and value.is_integer() else value
            text = self._around.shown(row, column, number)
            if text is None:
                text = plain_number(number)
            if type(number) is int and abs(number) >= _MOST_PRECISE:
                problem = many_digits(f"{letters(column)}{row + 1}", text, row + 1, self._file)
                self._notes.setdefault(row, []).append(Note(problem, column))
            return text
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        return moment(cast("Moment", value))

    def _number_samples(self, samples: list[list[Value]]) -> Iterator[Problem]:
        """Show once for each column how its numbers are written: separators are a person's own."""
        for column, values in enumerate(samples):
            for row, value in enumerate(values):
                if type(value) is not float and type(value) is not int:
                    continue
                text, code = self._columns[column][row], self._around.format_of(row, column)
                unknown = code if code and self._around.shown(row, column, value) is None else ""
                if unknown or is_sampled(text):
                    yield number_sample(f"{letters(column)}{row + 1}", text, unknown, self._file)
                    break


@contextmanager
def _uncollected() -> Iterator[None]:
    """Hold the garbage collector back: it would look through all the new rows again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _extend(columns: list[list[Value]], cells: Collection[tuple[int, int]]) -> None:
    """Make room for cells that have no value, and so may lie where the reader of values sees no cells."""
    if not cells:
        return
    height = max(max(row for row, _ in cells) + 1, *map(len, columns), 0)
    width = max(column for _, column in cells) + 1
    columns.extend([] for _ in range(width - len(columns)))
    for values in columns:
        values.extend([""] * (height - len(values)))


def _columns(content: bytes, sheet: str, file: str) -> list[list[Value]]:
    """Return the values of a sheet by columns, from its first row and column on, as the workbook has them.

    pandas opens the workbook; its own table of objects would take longer than the reading.
    """
    import pandas as pd  # noqa: PLC0415 - 740 ms, only where a list is read

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pd.ExcelFile(io.BytesIO(content), engine="calamine") as opened:
                found = cast("CalamineWorkbook", opened.book).get_sheet_by_name(sheet)
            columns: list[list[Value]] = [[] for _ in range(found.width)]
            rows = found.iter_rows()
            # By and by, so that not all rows are held twice.
            while some := list(islice(rows, _BLOCK)):
                for column, values in zip(columns, zip(*some, strict=True), strict=True):
                    column.extend(values)
            # Blank rows above the first cell are among the rows, blank columns before it are not.
            height, left = max(map(len, columns), default=0), found.start[1] if found.start else 0
            blank: list[list[Value]] = [[""] * height for _ in range(left)]
            return blank + columns
    except BaseException as error:
        # A panic of calamine's Rust code arrives as an exception that is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = (str(error).splitlines() or ["no reason given"])[0][:200]
        raise ListError(
            f"{file} is damaged or no real workbook ({reason})",
            hint="open it in your spreadsheet program and save it anew, or as CSV",
        ) from None
