"""What does an OpenDocument spreadsheet hold?"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from merge.errors import ListError, Problem
from merge.table.archive import MOST_CELLS, Archive
from merge.table.heading import letters
from merge.table.shown import SIGNIFICANT, moment, plain_number
from merge.table.values import Block, ListOptions
from merge.table.workbook import choose_sheet, hidden_rows, many_digits, merged_cells, other_sheets

_BLOCK = 256
_OFFICE = "urn:oasis:names:tc:opendocument:xmlns:office:1.0 "
_TABLE = "urn:oasis:names:tc:opendocument:xmlns:table:1.0 "
_TEXT = "urn:oasis:names:tc:opendocument:xmlns:text:1.0 "
_STYLE = "urn:oasis:names:tc:opendocument:xmlns:style:1.0 "
_CALC = "urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0 "
_DURATION = re.compile(r"(-?)PT(\d+)H(\d+)M([\d.,]+)S")
_ERRORS = re.compile(r"#(?:N/A|DIV/0!|REF!|NAME\?|NUM!|NULL!|VALUE!)|Err:\d+")
_TOO_LONG = re.compile(r"-?\d[.,]\d{6,}E[+-]\d+")
"""How a program shows a number that has no format of its own and too many digits."""

_PART = "content.xml"


@dataclass(slots=True)
class _Row:
    """A row while it is read: its texts up to the last that is not empty."""

    number: int
    cells: list[str] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    repeated: int = 1
    hidden: bool = False


class OpenDocument:
    """One sheet of an .ods: the text of each cell as the program that saved it showed it."""

    ragged = False
    spotless = False
    trimmed = False

    def __init__(self, content: bytes, options: ListOptions, file: str) -> None:
        """Read the sheet once for what is to be said about it. Raises ListError."""
        self._file = file
        self._archive = Archive(io.BytesIO(content), file)
        self.content_hash = hashlib.sha256(content).hexdigest()
        self._refuse_encrypted()
        names = _Names()
        _parse(self._archive, names)
        self._sheet = choose_sheet(names.names, names.visible, options.sheet, file)
        reader = _Reader(self._sheet, file)
        hidden: list[int] = []
        width = 0
        for row in self._read(reader):
            width = max(width, len(row.cells))
            if row.hidden and any(row.cells):
                hidden.append(row.number)
        self._width = width
        others = [name for place, name in enumerate(names.names) if place != self._sheet]
        problems = []
        if others and not options.sheet:
            problems.append(other_sheets(names.names[self._sheet], others, file))
        if hidden:
            problems.append(hidden_rows(hidden, file))
        if reader.merged:
            problems.append(merged_cells(reader.merged, file))
        self.problems = tuple(problems)

    def head(self, rows: int) -> Block:
        """Return the first rows."""
        found: list[list[str]] = []
        for block in self.blocks(0):
            found += block.rows
            if len(found) >= rows:
                break
        return Block(1, found[:rows])

    def blocks(self, skip: int) -> Iterator[Block]:
        """Yield the rows after the first `skip`."""
        texts: list[list[str]] = []
        notes: dict[int, tuple[Problem, ...]] = {}
        first = skip + 1
        for row in self._read(_Reader(self._sheet, self._file)):
            for number in range(row.number, row.number + row.repeated):
                if number <= skip:
                    continue
                if row.notes:
                    notes[len(texts)] = tuple(row.notes)
                texts.append(row.cells + [""] * (self._width - len(row.cells)))
                if len(texts) == _BLOCK:
                    yield Block(first, texts, notes=notes)
                    first += len(texts)
                    texts, notes = [], {}
        if texts:
            yield Block(first, texts, notes=notes)

    def _read(self, reader: _Reader) -> Iterator[_Row]:
        """Yield the rows of the sheet as the file is read; empty ones at its end are left out."""
        parser = _parser(reader)
        empty: list[_Row] = []
        cells = 0
        for chunk in self._archive.chunks(_PART):
            _feed(parser, chunk, self._archive)
            for row in reader.taken():
                if not any(row.cells) and not row.notes:
                    empty.append(row)
                    continue
                before, empty = empty, []
                cells += sum(r.repeated for r in (*before, row)) * max(len(row.cells), 1)
                self._archive.refuse_area(cells, 1)
                yield from before
                yield row
            if reader.done:
                return

    def _refuse_encrypted(self) -> None:
        part = "META-INF/manifest.xml"
        if part in self._archive.names and b"encryption-data" in self._archive.read(part):
            raise ListError(f"{self._file} is protected by a password", hint="save a copy without it")


class _Names:
    """Hears which sheets there are, and which of them a person sees."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.visible: list[bool] = []
        self._hidden_styles: set[str] = set()
        self._style = ""
        self._depth = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == _STYLE + "style" and attributes.get(_STYLE + "family") == "table":
            self._style = attributes.get(_STYLE + "name", "")
        elif name == _STYLE + "table-properties" and attributes.get(_TABLE + "display") == "false":
            self._hidden_styles.add(self._style)
        elif name == _TABLE + "table":
            self._depth += 1
            if self._depth == 1:
                self.names.append(attributes.get(_TABLE + "name", ""))
                self.visible.append(attributes.get(_TABLE + "style-name", "") not in self._hidden_styles)

    def end(self, name: str) -> None:
        if name == _TABLE + "table":
            self._depth -= 1

    def text(self, text: str) -> None:
        """Names stand in attributes alone."""


class _Reader:
    """Hears the rows of one sheet."""

    def __init__(self, sheet: int, file: str) -> None:
        self.done = False
        self.merged: list[str] = []
        self._file = file
        self._sheet = sheet
        self._tables = -1
        self._depth = 0
        self._rows: list[_Row] = []
        self._next = 1
        self._row: _Row | None = None
        self._cell: dict[str, str] | None = None
        self._columns = 0
        self._paragraphs: list[list[str]] = []
        self._aside = 0

    def taken(self) -> list[_Row]:
        """Return the rows that are complete by now, once."""
        rows, self._rows = self._rows, []
        return rows

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == _TABLE + "table":
            self._depth += 1
            self._tables += self._depth == 1
            return
        if self._tables != self._sheet or self._depth != 1:
            return
        if name == _TABLE + "table-row":
            hidden = attributes.get(_TABLE + "visibility", "visible") != "visible"
            self._row = _Row(self._next, repeated=_repeats(attributes, "rows"), hidden=hidden)
            self._columns = 0
        elif name in {_TABLE + "table-cell", _TABLE + "covered-table-cell"}:
            self._cell = attributes
            self._paragraphs = []
        elif name == _OFFICE + "annotation":
            self._aside += 1
        elif self._cell is not None and not self._aside:
            if name == _TEXT + "p":
                self._paragraphs.append([])
            elif self._paragraphs:
                self._paragraphs[-1].append(_special(name, attributes))

    def text(self, text: str) -> None:
        if self._cell is not None and self._paragraphs and not self._aside:
            self._paragraphs[-1].append(text)

    def end(self, name: str) -> None:
        if name == _TABLE + "table":
            self._depth -= 1
            self.done = self.done or (self._tables == self._sheet and self._depth == 0)
        elif name == _OFFICE + "annotation":
            self._aside = max(0, self._aside - 1)
        elif self._depth != 1 or self._row is None:
            return
        elif name in {_TABLE + "table-cell", _TABLE + "covered-table-cell"} and self._cell is not None:
            self._end_cell(self._row, self._cell, covered=name.endswith("covered-table-cell"))
            self._cell = None
        elif name == _TABLE + "table-row":
            self._next += self._row.repeated
            self._rows.append(self._row)
            self._row = None

    def _end_cell(self, row: _Row, attributes: dict[str, str], *, covered: bool) -> None:
        repeated = _repeats(attributes, "columns")
        text = "" if covered else _shown(attributes, "\n".join(map("".join, self._paragraphs)))
        name = f"{letters(self._columns)}{row.number}"
        if _is_error(attributes, text):
            message = f"{name} shows {text}; it is taken as empty"
            row.notes.append(
                Problem("warning", "formula", message, file=self._file, row=row.number, value=text)
            )
            text = ""
        if len(text) > SIGNIFICANT and attributes.get(_OFFICE + "value-type") == "float" and text.isdigit():
            row.notes.append(many_digits(name, text, row.number, self._file))
        if _spans(attributes) and text:
            self.merged.append(name)
        if text:
            if self._columns + repeated > MOST_CELLS:
                raise ListError(f"{self._file} is refused: row {row.number} has {repeated:,} cells")
            row.cells += [""] * (self._columns - len(row.cells)) + [text] * repeated
        self._columns += repeated


def _special(name: str, attributes: dict[str, str]) -> str:
    """Return the characters that OpenDocument writes as elements (1.3, part 3, 6.1.3)."""
    if name == _TEXT + "s":
        return " " * min(_number(attributes.get(_TEXT + "c", "1")), 1000)
    return {_TEXT + "tab": "\t", _TEXT + "line-break": "\n"}.get(name, "")


def _shown(attributes: dict[str, str], text: str) -> str:
    """Return what a cell shows; dates and times in the form that they have in every list."""
    kind = attributes.get(_OFFICE + "value-type", "")
    if kind == "date" and (value := attributes.get(_OFFICE + "date-value")):
        try:
            return moment(dt.datetime.fromisoformat(value.rstrip("Z")))
        except ValueError:
            return text
    if kind == "time" and (match := _DURATION.fullmatch(attributes.get(_OFFICE + "time-value", ""))):
        seconds = int(match[2]) * 3600 + int(match[3]) * 60 + float(match[4].replace(",", "."))
        return moment(dt.timedelta(seconds=-seconds if match[1] else seconds))
    if kind == "boolean" and (value := attributes.get(_OFFICE + "boolean-value")):
        return value.upper()
    if kind == "string" and not text:
        return attributes.get(_OFFICE + "string-value", "")
    value = attributes.get(_OFFICE + "value", "")
    if kind == "float" and _TOO_LONG.fullmatch(text):
        return plain_number(float(value))
    if kind in {"float", "percentage", "currency"} and not text:
        return value
    return text


def _is_error(attributes: dict[str, str], text: str) -> bool:
    if attributes.get(_CALC + "value-type") == "error":
        return True
    return _TABLE + "formula" in attributes and bool(_ERRORS.fullmatch(text))


def _spans(attributes: dict[str, str]) -> bool:
    return any(
        _number(attributes.get(f"{_TABLE}number-{what}-spanned", "1")) > 1 for what in ("columns", "rows")
    )


def _repeats(attributes: dict[str, str], what: str) -> int:
    return max(1, _number(attributes.get(f"{_TABLE}number-{what}-repeated", "1")))


def _number(digits: str) -> int:
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 1  # noqa: PLR2004


def _parser(listener: _Names | _Reader) -> expat.XMLParserType:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = listener.start
    parser.EndElementHandler = listener.end
    parser.CharacterDataHandler = listener.text
    parser.StartDoctypeDeclHandler = _refuse_declaration
    return parser


def _refuse_declaration(*_: object) -> None:
    raise expat.ExpatError("it declares entities")


def _feed(parser: expat.XMLParserType, chunk: bytes, archive: Archive) -> None:
    try:
        parser.Parse(chunk)
    except expat.ExpatError as error:
        raise archive.broken(f"{_PART}: {error}") from None


def _parse(archive: Archive, listener: _Names) -> None:
    parser = _parser(listener)
    for chunk in archive.chunks(_PART):
        _feed(parser, chunk, archive)
