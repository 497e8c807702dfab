"""What does an Excel workbook of before 2007 hold?"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from merge.errors import ListError, Problem
from merge.table.heading import SAMPLED_ROWS, SEARCHED_ROWS, letters
from merge.table.shown import BUILT_IN, SIGNIFICANT, formatted, moment, plain_number
from merge.table.values import Block, ListOptions
from merge.table.workbook import (
    choose_sheet,
    hidden_rows,
    is_sampled,
    many_digits,
    merged_cells,
    number_sample,
    other_sheets,
)

if TYPE_CHECKING:
    from xlrd.book import Book  # type: ignore[import-untyped]  # xlrd comes without types
    from xlrd.sheet import Sheet  # type: ignore[import-untyped]

_BLOCK = 256
_TEXT, _NUMBER, _DATE, _BOOLEAN, _ERROR = 1, 2, 3, 4, 5
"""The kinds of cells that xlrd knows."""


class Legacy:
    """One sheet of an .xls, read by xlrd."""

    ragged = False
    spotless = False
    trimmed = False

    def __init__(self, content: bytes, options: ListOptions, file: str) -> None:
        """Open the workbook. Raises ListError."""
        self._file = file
        self.content_hash = hashlib.sha256(content).hexdigest()
        self._book = _opened(content, file)
        sheets = self._book.sheets()
        names = [sheet.name for sheet in sheets]
        chosen = choose_sheet(names, [sheet.visibility == 0 for sheet in sheets], options.sheet, file)
        self._sheet: Sheet = sheets[chosen]
        others = names[:chosen] + names[chosen + 1 :]
        self.problems = tuple(self._remarks(names[chosen], others, options))

    def head(self, rows: int) -> Block:
        """Return the first rows."""
        return Block(1, [self._texts(row) for row in range(min(rows, self._sheet.nrows))])

    def blocks(self, skip: int) -> Iterator[Block]:
        """Yield the rows after the first `skip`."""
        for first in range(skip, self._sheet.nrows, _BLOCK):
            rows = range(first, min(first + _BLOCK, self._sheet.nrows))
            texts = [self._texts(row) for row in rows]
            notes = {row - first: found for row in rows if (found := tuple(self._notes(row)))}
            yield Block(first + 1, texts, notes=notes)

    def _texts(self, row: int) -> list[str]:
        filled = self._sheet.row_len(row)
        texts = [self._text(row, column) for column in range(filled)]
        return texts + [""] * (self._sheet.ncols - filled)

    def _text(self, row: int, column: int) -> str:
        kind, value = self._sheet.cell_type(row, column), self._sheet.cell_value(row, column)
        if kind == _TEXT:
            return str(value)
        if kind == _BOOLEAN:
            return "TRUE" if value else "FALSE"
        if kind == _DATE:
            return _moment(value, self._code(row, column), self._book.datemode)
        if kind == _NUMBER:
            code = self._code(row, column)
            shown = formatted(value, code) if code else None
            return plain_number(value) if shown is None else shown
        return ""

    def _code(self, row: int, column: int) -> str:
        """Return the number format of a cell; empty where it changes nothing."""
        style = self._book.xf_list[self._sheet.cell_xf_index(row, column)]
        known = self._book.format_map.get(style.format_key)
        code = str(known.format_str) if known else BUILT_IN.get(style.format_key, "")
        return "" if code.lower() == "general" or code == "@" else code

    def _notes(self, row: int) -> Iterator[Problem]:
        for column, kind in enumerate(self._sheet.row_types(row)):
            value = self._sheet.cell_value(row, column)
            cell = f"{letters(column)}{row + 1}"
            if kind == _ERROR:
                from xlrd import error_text_from_code  # type: ignore[import-untyped]  # noqa: PLC0415 - loaded by now

                error = error_text_from_code.get(value, "an error")
                message = f"{cell} shows {error}; it is taken as empty"
                yield Problem("warning", "formula", message, file=self._file, row=row + 1, value=error)
            elif kind == _NUMBER and abs(value) >= 10**SIGNIFICANT and value == int(value):
                yield many_digits(cell, plain_number(value), row + 1, self._file)

    def _remarks(self, name: str, others: list[str], options: ListOptions) -> Iterator[Problem]:
        if others and not options.sheet:
            yield other_sheets(name, others, self._file)
        hidden = [
            row + 1
            for row, info in self._sheet.rowinfo_map.items()
            if info.hidden and row < self._sheet.nrows
        ]
        if hidden:
            yield hidden_rows(sorted(hidden), self._file)
        if merged := self._sheet.merged_cells:
            ranges = [
                f"{letters(left)}{top + 1}:{letters(right - 1)}{bottom}"
                for top, bottom, left, right in merged
            ]
            yield merged_cells(ranges, self._file)
        yield from self._number_samples()

    def _number_samples(self) -> Iterator[Problem]:
        told: set[int] = set()
        for row in range(min(SEARCHED_ROWS + SAMPLED_ROWS, self._sheet.nrows)):
            for column, kind in enumerate(self._sheet.row_types(row)):
                if kind == _NUMBER and column not in told:
                    text, code = self._text(row, column), self._code(row, column)
                    unknown = bool(code) and formatted(self._sheet.cell_value(row, column), code) is None
                    if unknown or is_sampled(text):
                        told.add(column)
                        yield number_sample(
                            f"{letters(column)}{row + 1}", text, code if unknown else "", self._file
                        )


def _opened(content: bytes, file: str) -> Book:
    from xlrd import XLRDError, open_workbook  # noqa: PLC0415 - seldom needed

    try:
        return open_workbook(
            file_contents=content, formatting_info=True, ragged_rows=True, logfile=io.StringIO()
        )
    except XLRDError as error:
        if "encrypted" in str(error).lower():
            raise ListError(f"{file} is protected by a password", hint="save a copy without it") from None
        raise _broken(file, str(error)) from None
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes its reader stumble over
        raise _broken(file, type(error).__name__) from None


def _broken(file: str, reason: str) -> ListError:
    return ListError(
        f"{file} is damaged or no real workbook ({reason})",
        hint="open it in your spreadsheet program and save it as .xlsx or CSV",
    )


def _moment(value: float, code: str, datemode: int) -> str:
    """Return the date, time or duration that a serial number stands for."""
    from xlrd.xldate import (  # type: ignore[import-untyped]  # noqa: PLC0415 - loaded by now
        XLDateError,
        xldate_as_datetime,
    )

    if code.lower().lstrip().startswith(("[h", "[m", "[s")):
        return moment(dt.timedelta(days=value))
    try:
        moved: Any = xldate_as_datetime(value, datemode)
    except (XLDateError, ValueError, OverflowError):
        return plain_number(value)
    return moment(moved.time() if 0 <= value < 1 else moved)
