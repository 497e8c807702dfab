"""What stands around the values of an OpenDocument spreadsheet?"""

from __future__ import annotations

import datetime as dt
import io
import re
from xml.parsers import expat

from merge.errors import ListError
from merge.table.archive import Archive
from merge.table.around import Around, choose_sheet
from merge.table.heading import letters
from merge.table.shown import moment

_OFFICE = "urn:oasis:names:tc:opendocument:xmlns:office:1.0 "
_TABLE = "urn:oasis:names:tc:opendocument:xmlns:table:1.0 "
_TEXT = "urn:oasis:names:tc:opendocument:xmlns:text:1.0 "
_STYLE = "urn:oasis:names:tc:opendocument:xmlns:style:1.0 "
_CALC = "urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0 "
_DURATION = re.compile(r"(-?)PT(\d{1,9})H(\d{1,9})M(\d{1,9}(?:[.,]\d*)?)S")
_NUMBERS = frozenset({"float", "percentage", "currency"})
_DROPPED = {_TEXT + "tab": "\t", _TEXT + "line-break": "\n"}
"""Elements that stand for characters, and that the reader of values passes over."""

_MOST_BLANKS = 1_000
_ERRORS = re.compile(r"#(?:N/A|DIV/0!|REF!|NAME\?|NUM!|NULL!|VALUE!)|Err:\d+")
_TOO_LONG = re.compile(r"-?\d[.,]\d{6,}E[+-]\d+")
"""How a program shows a number that has no format of its own and too many digits."""

_PART = "content.xml"


def around_ods(content: bytes, wanted: str, file: str) -> Around:
    """Look through an .ods; it holds the text of each number as the program that saved it showed it.

    Raises ListError for what must not, or can't, be opened.
    """
    archive = Archive(io.BytesIO(content), file)
    manifest = "META-INF/manifest.xml"
    if manifest in archive.names and b"encryption-data" in archive.read(manifest):
        raise ListError(f"{file} is protected by a password", hint="save a copy without it")
    names = _Names()
    _parse(archive, names)
    chosen = choose_sheet(names.names, names.visible, wanted, file)
    sheet = _Sheet(chosen, archive)
    _parse(archive, sheet)
    return Around(
        names.names[chosen],
        [name for place, name in enumerate(names.names) if place != chosen],
        lambda row, column, _: sheet.numbers.get((row, column)),
        lambda _row, _column: "",
        sheet.hidden,
        sheet.merged,
        sheet.errors,
        sheet.without_value,
        texts=sheet.texts,
    )


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


class _Sheet:
    """Hears the cells of one sheet. Rows and columns count from 0."""

    def __init__(self, place: int, archive: Archive) -> None:
        self.numbers: dict[tuple[int, int], str] = {}
        self.errors: dict[tuple[int, int], str] = {}
        self.texts: dict[tuple[int, int], str] = {}
        self.without_value: set[tuple[int, int]] = set()
        self.merged: list[str] = []
        self.hidden: list[int] = []
        self._archive = archive
        self._place = place
        self._tables = -1
        self._depth = 0
        self._row = self._rows = 0
        self._column = 0
        self._height = 1
        self._hidden = False
        self._row_filled = False
        self._width = 0
        self._copies = 0
        self._cell: dict[str, str] | None = None
        self._text: list[str] = []
        self._paragraphs = 0
        self._dropped = False
        self._aside = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == _TABLE + "table":
            self._depth += 1
            self._tables += self._depth == 1
        elif self._tables != self._place or self._depth != 1:
            return
        elif name == _TABLE + "table-row":
            self._height = _repeats(attributes, "rows")
            self._hidden = attributes.get(_TABLE + "visibility", "visible") != "visible"
            self._row_filled = False
            self._column = 0
        elif name in {_TABLE + "table-cell", _TABLE + "covered-table-cell"}:
            self._cell, self._text, self._paragraphs, self._dropped = attributes, [], 0, False
        elif name == _OFFICE + "annotation":
            self._aside += 1
        elif self._cell is not None and not self._aside:
            self._start_in_cell(name, attributes)

    def _start_in_cell(self, name: str, attributes: dict[str, str]) -> None:
        """Take in the characters that OpenDocument writes as elements (1.3, part 3, 6.1.3 to 6.1.5)."""
        if name == _TEXT + "p":
            self._text.append("\n" * bool(self._paragraphs))
            self._paragraphs += 1
        elif name == _TEXT + "s":
            self._text.append(" " * min(_number(attributes.get(_TEXT + "c", "1")), _MOST_BLANKS))
        elif name in _DROPPED:
            self._text.append(_DROPPED[name])
            self._dropped = True

    def text(self, text: str) -> None:
        if self._cell is not None and not self._aside:
            self._text.append(text)

    def end(self, name: str) -> None:
        if name == _TABLE + "table":
            self._depth -= 1
        elif name == _OFFICE + "annotation":
            self._aside = max(0, self._aside - 1)
        elif self._tables != self._place or self._depth != 1:
            return
        elif name in {_TABLE + "table-cell", _TABLE + "covered-table-cell"} and self._cell is not None:
            self._end_cell(self._cell, "".join(self._text))
            self._cell = None
        elif name == _TABLE + "table-row":
            if self._row_filled:
                self._rows = self._row + self._height
                self._archive.refuse_area(self._rows, self._width)
                self.hidden += range(self._row, self._rows) if self._hidden else ()
            self._row += self._height

    def _end_cell(self, attributes: dict[str, str], text: str) -> None:
        repeated = _repeats(attributes, "columns")
        first, self._column = self._column, self._column + repeated
        unsaved = _TABLE + "formula" in attributes and not self._paragraphs
        if not text and _OFFICE + "value-type" not in attributes and not unsaved:
            return
        self._row_filled = True
        self._width = max(self._width, self._column)
        self._archive.refuse_area(self._row + self._height, self._width)
        self._copies += repeated * self._height - 1
        self._archive.refuse_copies(self._copies)
        if any(
            _number(attributes.get(f"{_TABLE}number-{way}-spanned", "1")) > 1 for way in ("columns", "rows")
        ):
            self.merged.append(f"{letters(first)}{self._row + 1}")
        kept = None
        cells = (
            (row, column)
            for row in range(self._row, self._row + self._height)
            for column in range(first, self._column)
        )
        if unsaved and _OFFICE + "value-type" not in attributes:
            self.without_value.update(cells)
        elif _is_error(attributes, text):
            kept = self.errors
        elif attributes.get(_OFFICE + "value-type") in _NUMBERS and text and not _TOO_LONG.fullmatch(text):
            kept, text = self.numbers, text.strip()
        elif self._dropped and attributes.get(_OFFICE + "value-type") == "string":
            kept = self.texts
        elif match := _DURATION.fullmatch(attributes.get(_OFFICE + "time-value", "")):
            seconds = int(match[2]) * 3600 + int(match[3]) * 60 + float(match[4].replace(",", "."))
            kept, text = self.texts, moment(dt.timedelta(seconds=-seconds if match[1] else seconds))
        if kept is not None and text != attributes.get(_OFFICE + "value"):
            kept.update((cell, text) for cell in cells)


def _is_error(attributes: dict[str, str], text: str) -> bool:
    if attributes.get(_CALC + "value-type") == "error":
        return True
    return _TABLE + "formula" in attributes and bool(_ERRORS.fullmatch(text))


def _repeats(attributes: dict[str, str], what: str) -> int:
    return max(1, _number(attributes.get(f"{_TABLE}number-{what}-repeated", "1")))


def _number(digits: str) -> int:
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 1  # noqa: PLR2004 - sane


def _parser(listener: _Names | _Sheet) -> expat.XMLParserType:
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


def _parse(archive: Archive, listener: _Names | _Sheet) -> None:
    parser = _parser(listener)
    for chunk in archive.chunks(_PART):
        _feed(parser, chunk, archive)
