"""How does the person's own sheet come back, with what happened written beside each row?

The list itself is never touched: a copy gets six more columns. A text file keeps every character of its
rows, its delimiter, its line ends and its encoding; a workbook keeps what openpyxl keeps: formats, formulas
and the other sheets, but no charts or pictures.
"""

from __future__ import annotations

import csv
import io
from importlib.util import find_spec
from typing import TYPE_CHECKING

from merge.errors import ConfigError, JournalError
from merge.report import replacing, values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from merge.model import Record

_TAKEN = (3, 4, 5, 6, 7, 8)
"""Which of the columns of results.csv are added: row, key and address are in the sheet already."""

COLUMNS = ("state", "code", "reply", "attempts", "message_id", "time")
"""What they are called; with "mergepost_" before, if the sheet has a column of such a name itself."""

_BOOKS = frozenset({".xlsx", ".xlsm"})
_TEXTS = frozenset({".csv", ".tsv", ".txt", ".tab"})


def write_sheet(  # noqa: PLR0913 - how the list was read
    records: Iterable[Record],
    source: Path,
    target: Path,
    *,
    header_row: int = 1,
    sheet: str | None = None,
    encoding: str = "utf-8-sig",
    delimiter: str = ",",
) -> None:
    """Copy the list `source` to `target`, with COLUMNS added or filled anew.

    `records` come in row order, their rows numbered as a spreadsheet shows them, and so is `header_row`.
    `sheet` names one of a workbook (default: the first); `encoding` and `delimiter` tell how a text is
    read. The copy is readable by its owner alone, and replaces an older one whole.

    Raises ConfigError for a target that the source cannot become, and JournalError when the disk does not
    take it.
    """
    check_target(source, target)
    if source.suffix.lower() in _TEXTS:
        _write_text(records, source, target, header_row, encoding, delimiter)
    else:
        _write_book(records, source, target, header_row, sheet)


def check_target(source: Path, target: Path) -> None:
    """Raise ConfigError if a list cannot come back under such a name, or would be written over."""
    before, after = source.suffix.lower(), target.suffix.lower()
    if not (before in _TEXTS and after in _TEXTS) and not (before in _BOOKS and before == after):
        raise ConfigError(
            f"{source.name} cannot come back as {target.name}: results can be written beside the rows of"
            " a .csv list in a .csv, and of an .xlsx list in an .xlsx",
            hint='set results = "results.csv" in campaign.toml',
        )
    if source.resolve() == target.resolve():
        raise ConfigError(
            f"the results would be written over the list {source.name}",
            hint='give them a name of their own: results = "people-results.csv"',
        )
    if after in _BOOKS and find_spec("openpyxl") is None:
        raise ConfigError(
            "writing results into a workbook needs openpyxl", hint='pip install "mergepost[xlsx]"'
        )


def _write_text(  # noqa: PLR0913, PLR0917 - how the list was read
    records: Iterable[Record], source: Path, target: Path, header_row: int, encoding: str, delimiter: str
) -> None:
    header, width = _shape(source, header_row, encoding, delimiter)
    with (
        replacing(target) as draft,
        draft.open("w", encoding=encoding, errors="backslashreplace", newline="") as copy,
    ):
        beside = _Beside(records)
        for number, raw, fields in _rows(source, encoding, delimiter):
            added = _names(header) if number == header_row else beside.row(number)
            copy.write(_with(raw, fields, added, header, width, delimiter))


def _with(  # noqa: PLR0913, PLR0917 - a row, and the shape of the sheet
    raw: str,
    fields: list[str],
    added: tuple[str, ...] | None,
    header: list[str],
    width: int,
    delimiter: str,
) -> str:
    """Return the text of one row with the added fields at its end, or in place of earlier ones."""
    body = raw.rstrip("\r\n")
    end = raw[len(body) :]
    if added is None or not fields:
        return raw
    names = _names(header)
    if names[0] not in header:
        return body + delimiter * (width - len(fields) + 1) + _joined(added, delimiter) + (end or "\r\n")
    fields = [*fields, *[""] * (len(header) - len(fields))]
    for name, value in zip(names, added, strict=True):
        fields[header.index(name)] = value
    return _joined(fields, delimiter) + (end or "\r\n")


def _names(header: Iterable[str]) -> tuple[str, ...]:
    """Return the names of the added columns: those of an earlier copy, else names that are free."""
    taken = [name for name in header if name in COLUMNS]
    return COLUMNS if not taken or taken == list(COLUMNS) else tuple(f"mergepost_{name}" for name in COLUMNS)


def _joined(fields: Iterable[str], delimiter: str) -> str:
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="").writerow(fields)
    return line.getvalue()


def _shape(source: Path, header_row: int, encoding: str, delimiter: str) -> tuple[list[str], int]:
    """Return the header's fields and the width of the widest row."""
    header: list[str] = []
    width = 0
    for number, _, fields in _rows(source, encoding, delimiter):
        width = max(width, len(fields))
        if number == header_row:
            header = fields
    return header, width


def _rows(source: Path, encoding: str, delimiter: str) -> Iterator[tuple[int, str, list[str]]]:
    """Yield each row's number, its text with the line end, and its fields."""
    try:
        with source.open(encoding=encoding, newline="") as text:
            taken: list[str] = []

            def lines() -> Iterator[str]:
                for line in text:
                    taken.append(line)
                    yield line

            for number, fields in enumerate(csv.reader(lines(), delimiter=delimiter), 1):
                yield number, "".join(taken), fields
                taken.clear()
    except (OSError, UnicodeError, csv.Error) as error:
        raise _unreadable(source, error) from error


def _unreadable(source: Path, error: Exception) -> JournalError:
    return JournalError(
        f"{source} cannot be read again to write the results beside its rows: {error}",
        hint="results.csv has them; mergepost status --csv shows them",
    )


def _write_book(
    records: Iterable[Record], source: Path, target: Path, header_row: int, sheet: str | None
) -> None:
    from openpyxl import load_workbook  # type: ignore[import-untyped]  # noqa: PLC0415 - slow, and an extra

    try:
        book = load_workbook(source, keep_vba=source.suffix.lower() == ".xlsm")
    except Exception as error:
        raise _unreadable(source, error) from error
    with replacing(target) as draft:
        page = book[sheet] if sheet else book.worksheets[0]
        head = {str(cell.value): cell.column for cell in page[header_row] if cell.value is not None}
        names = _names(head)
        first = head.get(names[0], page.max_column + 1)
        for offset, name in enumerate(names):
            page.cell(header_row, first + offset, name)
        for record in records:
            for offset, value in enumerate(_taken(record)):
                cell = page.cell(record.row, first + offset)
                cell.value = value or None
                cell.data_type = "s" if value else "n"
        book.save(draft)


class _Beside:
    """Finds the record of each row; both come in the order of the sheet."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = iter(records)
        self._next = next(self._records, None)

    def row(self, number: int) -> tuple[str, ...] | None:
        """Return what is to stand beside the row with this number, None if nothing is known of it."""
        while self._next and self._next.row < number:
            self._next = next(self._records, None)
        return _taken(self._next) if self._next and self._next.row == number else None


def _taken(record: Record) -> tuple[str, ...]:
    all_of_it = values(record)
    return tuple(all_of_it[index] for index in _TAKEN)
