"""What does a workbook hold?"""

from __future__ import annotations

import datetime as dt
import gc
import hashlib
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    import pandas as pd

Value = float | str | bool | dt.time | dt.date | dt.datetime | dt.timedelta

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
            frame = _frame(content, self._around.sheet, file)
            self._columns = [
                self._texts(column, frame[name].tolist()) for column, name in enumerate(frame.columns)
            ]
        rows = len(frame)
        if not rows and self._around.others:
            hint = f'another one: sheet = "{self._around.others[0]}" in campaign.toml'
            raise ListError(f"sheet {self._around.sheet} of {file} is empty", hint=hint)
        known = {**self._around.texts, **dict.fromkeys(self._around.errors, "")}
        for (row, column), text in known.items():
            if row < rows and column < len(self._columns):
                self._columns[column][row] = text
        samples = self._number_samples(frame)
        self.problems = (*self._around.remarks(rows, options.sheet, file), *samples)
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
        if set(map(type, values)) == {str}:
            return cast("list[str]", values)
        return [
            value if type(value) is str else self._text(row, column, value)
            for row, value in enumerate(values)
        ]

    def _text(self, row: int, column: int, value: Value) -> str:
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        if isinstance(value, (int, float)):
            text = self._around.shown(row, column, value)
            if text is None:
                text = plain_number(value)
            if abs(value) >= 10**SIGNIFICANT and value == int(value):
                problem = many_digits(f"{letters(column)}{row + 1}", text, row + 1, self._file)
                self._notes.setdefault(row, []).append(Note(problem, column))
            return text
        return value if isinstance(value, str) else moment(value)

    def _number_samples(self, frame: pd.DataFrame) -> Iterator[Problem]:
        """Show once for each column how its numbers are written: separators are a person's own."""
        for column, name in enumerate(frame.columns):
            for row, value in enumerate(frame[name].head(SEARCHED_ROWS + SAMPLED_ROWS)):
                if type(value) not in {int, float}:
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


def _frame(content: bytes, sheet: str, file: str) -> pd.DataFrame:
    """Return the values of a sheet from its first row and column on, each as the workbook has it."""
    import pandas as pd  # noqa: PLC0415 - 740 ms, only where a list is read

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pd.read_excel(
                io.BytesIO(content),
                sheet_name=sheet,
                engine="calamine",
                header=None,
                dtype=object,
                na_filter=False,
                keep_default_na=False,
            )
    except BaseException as error:
        # A panic of calamine's Rust code arrives as an exception that is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        reason = (str(error).splitlines() or ["no reason given"])[0][:200]
        raise ListError(
            f"{file} is damaged or no real workbook ({reason})",
            hint="open it in your spreadsheet program and save it anew, or as CSV",
        ) from None
