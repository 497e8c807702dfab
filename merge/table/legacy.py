"""What stands around the values of an Excel workbook of before 2007?"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from merge.errors import ListError
from merge.table.around import Around, choose_sheet
from merge.table.heading import letters
from merge.table.sheetxml import is_date
from merge.table.shown import BUILT_IN, formatted

if TYPE_CHECKING:
    from xlrd.book import Book  # type: ignore[import-untyped]  # xlrd comes without types

_ERROR = 5
"""The kind of a cell that shows an error, as xlrd counts kinds."""

_STREAM = 2
"""The kind of an entry in a compound file that holds bytes."""


def around_xls(content: bytes, wanted: str, file: str) -> Around:
    """Look through an .xls with xlrd, which knows its number formats. Raises ListError."""
    from xlrd import error_text_from_code  # type: ignore[import-untyped]  # noqa: PLC0415 - seldom needed

    book = _opened(content, file)
    sheets = book.sheets()
    names = [sheet.name for sheet in sheets]
    chosen = choose_sheet(names, [sheet.visibility == 0 for sheet in sheets], wanted, file)
    sheet = sheets[chosen]

    def code(row: int, column: int) -> str:
        if row >= sheet.nrows or column >= sheet.row_len(row):
            return ""
        key = book.xf_list[sheet.cell_xf_index(row, column)].format_key
        known = book.format_map.get(key)
        text = str(known.format_str) if known else BUILT_IN.get(key, "")
        return "" if text.lower() == "general" or text == "@" or is_date(text) else text

    def shown(row: int, column: int, value: float) -> str | None:
        text = code(row, column)
        return formatted(value, text) if text else None

    return Around(
        names[chosen],
        names[:chosen] + names[chosen + 1 :],
        shown,
        code,
        [row for row, info in sheet.rowinfo_map.items() if info.hidden],
        [
            f"{letters(left)}{top + 1}:{letters(right - 1)}{end}"
            for top, end, left, right in sheet.merged_cells
        ],
        {
            (row, column): error_text_from_code.get(sheet.cell_value(row, column), "an error")
            for row in range(sheet.nrows)
            for column, kind in enumerate(sheet.row_types(row))
            if kind == _ERROR
        },
    )


def _opened(content: bytes, file: str) -> Book:
    from xlrd import XLRDError, open_workbook  # noqa: PLC0415 - seldom needed

    try:
        _refuse_circles(content)
        return open_workbook(
            file_contents=content, formatting_info=True, ragged_rows=True, logfile=io.StringIO()
        )
    except XLRDError as error:
        if "encrypted" in str(error).lower():
            raise ListError(f"{file} is protected by a password", hint="save a copy without it") from None
        raise _broken(file, str(error)) from None
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes its reader stumble over
        raise _broken(file, type(error).__name__) from None


def _refuse_circles(content: bytes) -> None:
    """Raise XLRDError where a short stream of a compound file never ends: xlrd would follow it for ever."""
    from xlrd import XLRDError  # noqa: PLC0415 - seldom needed
    from xlrd.compdoc import SIGNATURE, CompDoc  # type: ignore[import-untyped]  # noqa: PLC0415 - likewise

    if not content.startswith(SIGNATURE):
        return
    document = CompDoc(content, logfile=io.StringIO())
    follows = document.SSAT
    for entry in document.dirlist:
        if entry.etype != _STREAM or entry.tot_size >= document.min_size_std_stream:
            continue
        at, steps = entry.first_SID, 0
        while 0 <= at < len(follows):
            at, steps = follows[at], steps + 1
            if steps > len(follows):
                raise XLRDError("a stream in it goes in circles")


def _broken(file: str, reason: str) -> ListError:
    return ListError(
        f"{file} is damaged or no real workbook ({reason})",
        hint="open it in your spreadsheet program and save it as .xlsx or CSV",
    )
