"""What does the XML of an Excel sheet say that the reader of its values leaves out?"""

from __future__ import annotations

import io
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING

from merge.table.archive import MOST_CELLS, Archive
from merge.table.around import Around, choose_sheet
from merge.table.shown import BUILT_IN, formatted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_STRICT = "{http://purl.oclc.org/ooxml/spreadsheetml/main}"
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_STRICT_RELATION = "{http://purl.oclc.org/ooxml/officeDocument/relationships}id"
_NOT_OF_A_DATE = re.compile(
    r'"[^"]*"|[\\_*].|\[(?!(?:h+|m+|s+)\])[^\]]*\]|general|e[+-]', re.IGNORECASE | re.DOTALL
)
"""Texts, blanks as wide as a letter, fillers, colours and the like (ECMA-376-1, 18.8.31)."""

_ROW = re.compile(rb"<(?:\w+:)?row\b([^>]*)>")
_HIDDEN = re.compile(rb"\bhidden\s*=\s*[\"'](?:1|true|on)[\"']")
_ROW_OR_CELL = re.compile(rb"<(?:\w+:)?(row|c)(?=[\s/>])([^>]*)>")
_CELL = re.compile(rb"<(?:\w+:)?c(?=[\s/>])([^>]*)>")
_REFERENCE = re.compile(rb"\br\s*=\s*[\"']\$?([A-Za-z]+)\$?(\d+)[\"']")
_ROW_NUMBER = re.compile(rb"\br\s*=\s*[\"'](\d+)[\"']")
_STYLE = re.compile(rb"\bs\s*=\s*[\"'](\d+)[\"']")
_USUAL = re.compile(rb"<c r=\"([A-Z]+)(\d+)\"")
_PREFIXED = re.compile(rb":c[\s/>]")
_OPENING = ord("<")
_PADDING = b" " * 16
"""Longer than the beginning of a cell up to the end of its reference."""
_MERGED = re.compile(rb"<(?:\w+:)?mergeCell\s[^>]*?\bref\s*=\s*[\"']([A-Za-z0-9:]+)[\"']")
_ERROR = re.compile(
    rb"<(?:\w+:)?c\s([^>]*\bt\s*=\s*[\"']e[\"'][^>]*)>(?:(?!</(?:\w+:)?c>).)*?<(?:\w+:)?v>([^<]*)<", re.DOTALL
)
_NO_VALUE = re.compile(
    rb"<(?:\w+:)?c\s([^>]*[^/>])>\s*<(?:\w+:)?f\b(?:[^>]*/>|[^>]*>[^<]*</(?:\w+:)?f>)\s*"
    rb"(?P<value><(?:\w+:)?v\s*/>|<(?:\w+:)?v>\s*</(?:\w+:)?v>)?\s*</(?:\w+:)?c>"
)
_TEXT_RESULT = re.compile(rb"\bt\s*=\s*[\"']str[\"']")
"""Of a formula whose value is a text; an empty one was saved then, too: =IF(A2="","",A2)."""


_ONE_LETTER = 26
"""How many columns have a name of one letter."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet of a workbook: its name, its part in the archive, whether a person sees its tab."""

    name: str
    part: str
    visible: bool


@dataclass(slots=True)
class Scan:
    """What stands between the values. Rows and columns count from 0.

    `formats` gives for each column the place in `codes` of each row's number format, 0 for none.
    """

    codes: list[str] = field(default_factory=lambda: [""])
    formats: dict[int, array[int]] = field(default_factory=dict)
    hidden_rows: list[int] = field(default_factory=list)
    errors: dict[tuple[int, int], str] = field(default_factory=dict)
    without_value: set[tuple[int, int]] = field(default_factory=set)
    merged: list[str] = field(default_factory=list)

    def code(self, row: int, column: int) -> str:
        """Return the number format of a cell, if it changes how a number looks; else an empty text."""
        places = self.formats.get(column)
        return self.codes[places[row]] if places is not None and row < len(places) else ""


def around_xlsx(content: bytes, wanted: str, file: str) -> Around:
    """Look through an .xlsx before it is opened. Raises ListError for what must not, or can't, be opened."""
    archive = Archive(io.BytesIO(content), file)
    found = sheets(archive)
    chosen = choose_sheet([sheet.name for sheet in found], [sheet.visible for sheet in found], wanted, file)
    for part in archive.names & {"xl/sharedStrings.xml"}:
        for _ in archive.chunks(part):
            pass
    seen = scan(archive, found[chosen].part)

    def shown(row: int, column: int, value: float) -> str | None:
        places = seen.formats.get(column)
        if places is None or row >= len(places) or not places[row]:
            return None
        return formatted(value, seen.codes[places[row]])

    return Around(
        found[chosen].name,
        [sheet.name for place, sheet in enumerate(found) if place != chosen],
        shown,
        seen.code,
        seen.hidden_rows,
        seen.merged,
        seen.errors,
        seen.without_value,
    )


def sheets(archive: Archive) -> list[Sheet]:
    """Return the sheets of a workbook in the order of their tabs; charts and macro sheets are left out."""
    relations = {
        relation.get("Id", ""): relation
        for relation in archive.tree("xl/_rels/workbook.xml.rels")
        if relation.get("Type", "").endswith("/worksheet")
    }
    found = []
    for sheet in archive.tree("xl/workbook.xml").iter():
        if sheet.tag not in {_MAIN + "sheet", _STRICT + "sheet"}:
            continue
        relation = relations.get(sheet.get(_RELATION) or sheet.get(_STRICT_RELATION) or "")
        if relation is not None:
            target = relation.get("Target", "")
            part = target.lstrip("/") if target.startswith(("/xl/", "xl/")) else "xl/" + target
            found.append(Sheet(sheet.get("name", ""), part, sheet.get("state", "visible") == "visible"))
    return found


def scan(archive: Archive, part: str, *, exact: bool = False) -> Scan:
    """Read the XML of a sheet once. Raises ListError when its area is too large to be opened."""
    result = Scan()
    wanted = _number_formats(archive, result.codes)
    styles = b"|".join(str(style).encode() for style in wanted)
    styled = re.compile(rb"<c r=\"([A-Z]+)(\d+)\"[^>]*? s=\"(" + styles + rb")\"")
    area = _Area(exact=exact)
    for chunk in _whole_cells(archive, part):
        prefixed = bool(_PREFIXED.search(chunk))
        tags = _Tags(chunk)
        usual = area.extend(chunk, tags, prefixed=prefixed)
        if area.rows * area.columns > MOST_CELLS and not exact:
            return scan(archive, part, exact=True)
        archive.refuse_area(area.rows, area.columns)
        if b"hidden" in chunk:
            result.hidden_rows += _hidden(chunk)
        if b'"e"' in chunk or (b"'" in chunk and b"'e'" in chunk):
            for match in _ERROR.finditer(chunk):
                if place := _place(match[1]):
                    result.errors[place] = match[2].decode("utf-8", "replace")
        if prefixed or tags.count(b"f"):
            result.without_value.update(
                place
                for match in _NO_VALUE.finditer(chunk)
                if not (match["value"] and _TEXT_RESULT.search(match[1])) and (place := _place(match[1]))
            )
        if b"mergeCell" in chunk:
            result.merged += [match.decode() for match in _MERGED.findall(chunk)]
        if wanted:
            _note_formats(result.formats, styled.findall(chunk) if usual else _styles(chunk), wanted)
    return result


class _Tags:
    """Where the elements of a piece of XML begin, and with which letter."""

    def __init__(self, chunk: bytes) -> None:
        import numpy as np  # noqa: PLC0415 - it comes with pandas, only where a list is read

        self._content = np.frombuffer(chunk + _PADDING, np.uint8)
        self._places = np.flatnonzero(self._content == _OPENING)
        self._letters = self._content[self._places + 1]

    def count(self, letter: bytes) -> int:
        """Return how many elements have a name that begins with a letter."""
        return int((self._letters == letter[0]).sum())

    def cells(self) -> NDArray[np.intp]:
        """Return where the cells begin that have no prefix in their name."""
        places: NDArray[np.intp] = self._places[self._letters == ord("c")]
        after = self._content[places + 2]
        cells: NDArray[np.intp] = places[(after <= ord(" ")) | (after == ord("/")) | (after == ord(">"))]
        return cells

    def are_usual(self, cells: NDArray[np.intp]) -> bool:
        """Whether each cell begins with its reference, as Excel writes it."""
        return all(
            (self._content[cells + place] == byte).all() for place, byte in enumerate(b'<c r="') if place > 1
        )

    def lie_within(self, cells: NDArray[np.intp], columns: int, digits: int) -> bool:
        """Whether usual cells lie in the first columns, at most 26, and in rows of at most so many digits."""
        inside = self._content[cells + 6] - ord("A") < columns  # below A it wraps round to a large number
        closed = inside & False
        for place in range(7, 7 + digits):
            inside &= self._content[cells + place] - ord("0") < 10  # noqa: PLR2004 - digits
            closed |= inside & (self._content[cells + place + 1] == ord('"'))
        return bool(closed.all())


class _Area:
    """How far the cells of a sheet reach, counted from 1; unless `exact`, rows may be too many.

    To learn the position of every cell takes several times as long as to see that each lies within a box
    that is small enough.
    """

    def __init__(self, *, exact: bool) -> None:
        self.rows = 0
        self.columns = 1
        self._exact = exact
        self._row = 0
        self._next_column = 1
        self._box_digits = 0

    def extend(self, chunk: bytes, tags: _Tags, *, prefixed: bool) -> bool:
        """Count in some more cells; return whether they are written the way that Excel writes them."""
        cells = tags.cells()
        if prefixed or not tags.are_usual(cells):
            self._follow(chunk)
            return False
        if self._box_digits and tags.lie_within(cells, self.columns, self._box_digits):
            self.rows = max(self.rows, 10**self._box_digits - 1)
        else:
            references = _USUAL.findall(chunk)
            if len(references) != len(cells):
                self._follow(chunk)
                return False
            if references:
                letters, rows = zip(*references, strict=True)
                self.rows = max(self.rows, *map(int, set(rows)))
                self.columns = max(self.columns, *(_column(name) + 1 for name in set(letters)))
                self._draw_box()
        self._row = max(self._row + tags.count(b"r"), self.rows)
        return True

    def _follow(self, chunk: bytes) -> None:
        """Go from cell to cell: one without a reference stands right of the one before it."""
        for match in _ROW_OR_CELL.finditer(chunk):
            if match[1] == b"row":
                number = _ROW_NUMBER.search(match[2])
                self._row = int(number[1]) if number else self._row + 1
                self._next_column = 1
                continue
            column = self._next_column
            if reference := _REFERENCE.search(match[2]):
                self._row, column = int(reference[2]), _column(reference[1]) + 1
            self._next_column = column + 1
            self.rows = max(self.rows, self._row)
            self.columns = max(self.columns, column)

    def _draw_box(self) -> None:
        digits = len(str(MOST_CELLS // self.columns)) - 1
        fits = self.columns <= _ONE_LETTER and self.rows < 10**digits
        self._box_digits = digits if fits and not self._exact else 0


def _whole_cells(archive: Archive, part: str) -> Iterator[bytes]:
    """Yield the XML in pieces that end between two cells or rows."""
    rest = b""
    for chunk in archive.chunks(part):
        if not rest and (b"\0" in chunk[:64] or b"<!DOCTYPE" in chunk[:4096]):
            raise archive.broken(f"{part} is no plain XML")
        text = rest + chunk
        cut = max(text.rfind(b"<c "), text.rfind(b"<row"))
        if cut <= 0:
            cut = max(text.rfind(b":c "), text.rfind(b":row"))
        cut = text.rfind(b"<", 0, cut + 1) if cut > 0 else 0
        if cut > 0:
            yield text[:cut]
            rest = text[cut:]
        else:
            rest = text
    yield rest


def _number_formats(archive: Archive, codes: list[str]) -> dict[int, int]:
    """Return for each style that changes how a number looks the place of its format in `codes`."""
    if "xl/styles.xml" not in archive.names:
        return {}
    root = archive.tree("xl/styles.xml")
    namespace = root.tag[: root.tag.find("}") + 1]
    own = {
        int(entry.get("numFmtId", "0")): entry.get("formatCode", "")
        for entry in root.iterfind(f"{namespace}numFmts/{namespace}numFmt")
        if entry.get("numFmtId", "").isdecimal()
    }
    wanted = {}
    for style, entry in enumerate(root.iterfind(f"{namespace}cellXfs/{namespace}xf")):
        number = entry.get("numFmtId", "0")
        code = own.get(int(number), BUILT_IN.get(int(number), "")) if number.isdecimal() else ""
        if code and code.lower() != "general" and code != "@" and not is_date(code):
            if code not in codes:
                codes.append(code)
            wanted[style] = codes.index(code)
    return wanted


def is_date(code: str) -> bool:
    """Whether a number format shows a date, a time or a duration."""
    return bool(re.search(r"[ymdhs]", _NOT_OF_A_DATE.sub("", code.split(";", maxsplit=1)[0]), re.IGNORECASE))


def _styles(chunk: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield column, row and style of each cell that has all three, in whatever order they are written."""
    for cell in _CELL.findall(chunk):
        reference, style = _REFERENCE.search(cell), _STYLE.search(cell)
        if reference and style:
            yield reference[1], reference[2], style[1]


def _note_formats(
    formats: dict[int, array[int]], cells: Iterable[tuple[bytes, bytes, bytes]], wanted: dict[int, int]
) -> None:
    by_letters: dict[bytes, array[int]] = {}
    by_style = {str(style).encode(): place for style, place in wanted.items()}
    for letters, digits, style in cells:
        place = by_style.get(style)
        if place is None:
            continue
        places = by_letters.get(letters)
        if places is None:
            places = by_letters[letters] = formats.setdefault(_column(letters), array("H"))
        row, known = int(digits) - 1, len(places)
        if row < known:
            places[row] = place
            continue
        if row > known:
            places.extend(repeat(0, row - known))
        places.append(place)


def _hidden(chunk: bytes) -> Iterator[int]:
    if b"hidden" not in chunk:
        return
    for attributes in _ROW.findall(chunk):
        if _HIDDEN.search(attributes) and (match := _ROW_NUMBER.search(attributes)):
            yield int(match[1]) - 1


def _place(attributes: bytes) -> tuple[int, int] | None:
    match = _REFERENCE.search(attributes)
    return (int(match[2]) - 1, _column(match[1])) if match else None


def _column(letters: bytes) -> int:
    """Return the position of a column: A -> 0, AA -> 26."""
    position = 0
    for letter in letters.upper():
        position = position * 26 + letter - ord("A") + 1
    return position - 1
