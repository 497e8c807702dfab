"""What does a text file with delimiters hold?"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property, partial
from itertools import chain, islice
from typing import Any, BinaryIO, TypeVar, cast

from merge.errors import ListError
from merge.table.encoding import find_encoding
from merge.table.heading import SAMPLED_ROWS, SEARCHED_ROWS, is_address, is_address_name
from merge.table.structure import Structure
from merge.table.values import Block, Layout, ListOptions, Note

T = TypeVar("T")

_BLOCK = 20_000
_BLOCK_CELLS = 200_000
_PIECE = 1 << 18
_LONGEST_LINE = 1 << 20
_MOST_COLUMNS = 16_384
_DELIMITERS = (",", ";", "\t", "|")
_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
_SEP = re.compile(r'"?sep=(.)"?\r?\n?$', re.IGNORECASE)
_LINE_END = re.compile(rb"\r\n|\r|\n")
_UTF8 = ("utf-8", "utf-8-sig", "ascii")
_SHOWN = {"\t": "tab"}
_WORST = (False, 0.0, 0.0, False)


class Delimited:
    """A CSV, TSV or similar file: pandas makes the values, the raw text tells what that drops."""

    def __init__(self, opened: Callable[[], BinaryIO], options: ListOptions, file: str) -> None:
        """Survey the whole file once. `opened` gives a new stream of its bytes each time."""
        self._opened = opened
        self._file = file
        with opened() as stream:
            self._encoding, self.problems = find_encoding(stream, options.encoding, file)
        lines = self._first_lines()
        declared = _SEP.fullmatch(lines[0]) if lines else None
        self._lines_before = 1 if declared else 0
        self._delimiter = _asked_for(options.delimiter or (declared[1] if declared else ""))
        if not self._delimiter:
            self._delimiter = _delimiter(lines, options, file)

    @cached_property
    def content_hash(self) -> str:
        """A SHA-256 of the bytes, for which they are read once more."""
        digest = hashlib.sha256()
        with self._opened() as stream:
            for piece in iter(partial(stream.read, _PIECE), b""):
                digest.update(piece)
        return digest.hexdigest()

    @property
    def layout(self) -> Layout:
        """How the file is read."""
        return Layout(encoding=self._encoding, delimiter=self._delimiter)

    def head(self, rows: int) -> list[list[str]]:
        """Return the first rows."""
        text = "".join(self._first_lines()[self._lines_before :])
        structure = Structure(self._delimiter, 0, self._file, self._lines_before)
        structure.feed(text.encode())
        structure.finish()
        if structure.error and not structure.records:
            raise structure.error
        widths = [irregular.cells for _, irregular in structure.irregular]
        if not widths or not text.strip():
            return []
        if max(widths) > _MOST_COLUMNS:
            raise ListError(
                f"{self._file} has rows of more than {_MOST_COLUMNS:,} cells", hint="is it a list?"
            )
        found: list[list[str]] = []
        for block in self._blocks(max(widths), rows):
            found += map(list, zip(*block.columns, strict=True))
            if len(found) >= min(rows, len(widths)):
                break
        return [row[:width] for row, width in zip(found, widths[:rows], strict=False)]

    def blocks(self, skip: int, width: int) -> Iterator[Block]:
        """Yield the rows after the first `skip`. Raises ListError where the quotes can't be right."""
        for block in self._blocks(width, max(1, min(_BLOCK, _BLOCK_CELLS // width))):
            left = skip - block.number + 1
            if left <= 0:
                yield block
            elif left < len(block.columns[0]):
                yield _without_first(block, left)

    def _blocks(self, width: int, rows_of_block: int) -> Iterator[Block]:
        import pandas as pd  # noqa: PLC0415 - 740 ms, only where a list is read

        structure = Structure(self._delimiter, width, self._file, self._lines_before)
        number, line = 1, 1 + self._lines_before
        try:
            with self._opened() as stream:
                frames = pd.read_csv(
                    cast("Any", Watched(self._utf8(stream), structure)),
                    sep=self._delimiter,
                    header=None,
                    names=range(width),
                    usecols=range(width),
                    index_col=False,
                    dtype=str,
                    na_filter=False,
                    keep_default_na=False,
                    skip_blank_lines=False,
                    chunksize=rows_of_block,
                    engine="c",
                )
                for frame in frames:
                    columns = [frame[name].to_numpy(dtype=object).tolist() for name in frame.columns]
                    rows = len(columns[0]) if columns else 0
                    if structure.error or structure.records < number - 1 + rows:
                        break
                    block = _block(number, columns, line, structure)
                    yield block
                    number += rows
                    line += rows + sum(height - 1 for height in block.tall.values())
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise structure.error or self._out_of_step(number, str(error)) from None
        except UnicodeError:
            raise ListError(f"{self._file} is not in {self._encoding}", hint='say encoding = "..."') from None
        if structure.error:
            raise structure.error
        if structure.records != number - 1:
            raise self._out_of_step(
                number, f"{structure.records} rows by their lines, {number - 1} by their values"
            )

    def _out_of_step(self, number: int, reason: str) -> ListError:
        """Return the error for a file whose rows can't be told apart with certainty."""
        return ListError(
            f"{self._file}: after row {number - 1} it can't be told where rows begin and end ({reason})",
            hint="look at the quotes there, or save the list as .xlsx",
        )

    def _utf8(self, stream: BinaryIO) -> Iterator[bytes]:
        """Yield the text from its first row on in UTF-8, in pieces, whatever the file is written in."""
        pieces = iter(partial(stream.read, _PIECE), b"")
        if self._encoding not in _UTF8:
            pieces = map(str.encode, codecs.iterdecode(pieces, self._encoding))
        start = next(pieces, b"").removeprefix(codecs.BOM_UTF8)
        if self._lines_before:
            start = (*_LINE_END.split(start, maxsplit=1), b"")[1]
        yield from filter(None, chain((start,), pieces))

    def _first_lines(self) -> list[str]:
        with io.TextIOWrapper(self._opened(), encoding=self._encoding, newline="") as text:
            return list(
                islice(iter(lambda: text.readline(_LONGEST_LINE), ""), SEARCHED_ROWS + SAMPLED_ROWS + 1)
            )


class Watched:
    """A text on its way to the parser, of which another takes note."""

    def __init__(self, pieces: Iterator[bytes], structure: Structure) -> None:
        self._pieces = pieces
        self._structure = structure

    def read(self, _size: int = -1) -> bytes:
        """Return the next bytes; none after what can't be right, or the parser would read on."""
        piece = next(self._pieces, b"")
        if piece:
            self._structure.feed(piece)
        else:
            self._structure.finish()
        return b"" if self._structure.error else piece

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces; pandas asks for this, but reads."""
        return iter(self.read, b"")


def _block(number: int, columns: list[list[str]], line: int, structure: Structure) -> Block:
    """Return a block with what is known of the structure of its rows."""
    first = number - 1
    end = first + (len(columns[0]) if columns else 0)
    irregular = dict(_taken(structure.irregular, first, end))
    tall = dict(_taken(structure.tall, first, end))
    notes = {place: (Note(problem),) for place, problem in _taken(structure.notes, first, end)}
    doubtful = structure.doubtful
    while doubtful and doubtful[0][1] <= first:
        doubtful.popleft()
    plain = not doubtful or doubtful[0][0] >= end
    return Block(number, columns, line, irregular, tall, notes, plain)


def _taken(queue: deque[tuple[int, T]], first: int, end: int) -> Iterator[tuple[int, T]]:
    while queue and queue[0][0] < end:
        record, what = queue.popleft()
        yield record - first, what


def _without_first(block: Block, rows: int) -> Block:
    return Block(
        block.number + rows,
        [column[rows:] for column in block.columns],
        (block.line or 1) + rows + sum(height - 1 for place, height in block.tall.items() if place < rows),
        {place - rows: found for place, found in block.irregular.items() if place >= rows},
        {place - rows: found for place, found in block.tall.items() if place >= rows},
        {place - rows: found for place, found in block.notes.items() if place >= rows},
        block.plain,
    )


def _asked_for(delimiter: str) -> str:
    found = _NAMES.get(delimiter.lower(), delimiter)
    if len(found) > 1 or found in {'"', "\n", "\r", "\0"} or not found.isascii():
        raise ListError(
            f"delimiter {delimiter!r} is not one ASCII character", hint='one of "," ";" "|" "tab"'
        )
    return found


def _delimiter(lines: list[str], options: ListOptions, file: str) -> str:
    """Return the delimiter under which the first lines make the best table; ask when two do."""
    scores = {delimiter: _score(lines, delimiter, options) for delimiter in _DELIMITERS}
    best = max(scores.values())
    if best <= _score(lines, "", options):
        return ","
    chosen = [delimiter for delimiter, score in scores.items() if score == best]
    if len(chosen) > 1:
        listed = " and ".join(_SHOWN.get(delimiter, delimiter) for delimiter in chosen)
        raise ListError(
            f"{file}: the cells could be separated by {listed}", hint='say delimiter = ";" in campaign.toml'
        )
    return chosen[0]


def _score(lines: list[str], delimiter: str, options: ListOptions) -> tuple[bool, float, float, bool]:
    """Rate a delimiter: a header with an address column, shares of rows with an address and of equal rows."""
    rows: list[list[str]] = []
    with suppress(csv.Error):
        rows.extend(row for row in csv.reader(lines, delimiter=delimiter or "\x1f") if row)
    if not rows:
        return _WORST
    header = next(
        (row for row in rows[:SEARCHED_ROWS] if any(is_address_name(c, options.email) for c in row)), None
    )
    width = len(header or rows[0])
    if delimiter and width == 1:
        return _WORST
    alike = sum(len(row) == width for row in rows) / len(rows)
    addressed = sum(any(map(is_address, row)) for row in rows) / len(rows)
    return header is not None, addressed, alike, width > 1
