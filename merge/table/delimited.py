"""What does a text file with delimiters hold?"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import BinaryIO

from merge.errors import ListError, Problem
from merge.table.encoding import survey
from merge.table.heading import SAMPLED_ROWS, SEARCHED_ROWS, is_address_name
from merge.table.values import Block, ListOptions

_BLOCK = 64
_DELIMITERS = (",", ";", "\t", "|")
_NAMES = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
_SEP = re.compile(r'"?sep=(.)"?\r?\n?$', re.IGNORECASE)
_BREAK = re.compile(r"\r\n|\r|\n")
_SHOWN = {"\t": "tab"}


class Delimited:
    """A CSV, TSV or similar file: RFC 4180 with any line ends and one of four delimiters."""

    ragged = True

    def __init__(self, opened: Callable[[], BinaryIO], options: ListOptions, file: str) -> None:
        """Survey the whole file once. `opened` gives a new stream of its bytes each time."""
        self._opened = opened
        self._file = file
        with opened() as stream:
            found = survey(stream, options.encoding, file)
        self._encoding = found.encoding
        self.content_hash = found.content_hash
        self.spotless = found.spotless
        self.trimmed = found.trimmed
        self.problems = found.problems
        lines = self._first_lines()
        declared = _SEP.fullmatch(lines[0]) if lines else None
        self._skipped_lines = 1 if declared else 0
        self._delimiter = _asked_for(options.delimiter) or (declared[1] if declared else "")
        if not self._delimiter:
            self._delimiter = _delimiter(lines, options, file)

    def head(self, rows: int) -> Block:
        """Return the first rows."""
        found: list[list[str]] = []
        for block in self.blocks(0):
            found += block.rows
            if len(found) >= rows:
                break
        return Block(1, found[:rows], 1 + self._skipped_lines)

    def blocks(self, skip: int) -> Iterator[Block]:
        """Yield the rows after the first `skip`. Raises ListError where the quotes can't be right."""
        with self._text() as text:
            reader = csv.reader(text, delimiter=self._delimiter, strict=True)
            try:
                number = 1 + sum(1 for _ in islice(reader, skip))
                line = reader.line_num
                while rows := list(islice(reader, _BLOCK)):
                    notes = {}
                    start = line + 1 + self._skipped_lines
                    if reader.line_num - line != len(rows):
                        notes = self._swallowed(Block(number, rows, start))
                    yield Block(number, rows, start, notes)
                    number += len(rows)
                    line = reader.line_num
            except csv.Error as error:
                raise self._broken(str(error)) from None
            except UnicodeError as error:
                raise ListError(f"{self._file} is not in {self._encoding}: {error.reason}") from None  # type: ignore[attr-defined]

    def _swallowed(self, block: Block) -> dict[int, tuple[Problem, ...]]:
        """Return warnings for cells that look as if they had swallowed whole rows: a quote may be missing."""
        notes = {}
        for place, row in enumerate(block.rows):
            for cell in row:
                inner = _BREAK.split(cell)[1:]
                lost = sum(
                    line.count(self._delimiter) >= min(len(row), 3) - 1 and "@" in line for line in inner
                )
                if len(row) > 1 and lost:
                    line = (block.line or 1) + line_breaks(block.rows[:place])
                    message = (
                        f"a cell in quotes runs over {len(inner) + 1} lines and holds what look like rows"
                    )
                    hint = "is a closing quote missing?"
                    number = block.number + place
                    problem = Problem(
                        "warning",
                        "quote",
                        message,
                        file=self._file,
                        line=line,
                        row=number,
                        value=cell[:80],
                        hint=hint,
                    )
                    notes[place] = (problem,)
        return notes

    def _text(self) -> io.TextIOWrapper:
        text = io.TextIOWrapper(self._opened(), encoding=self._encoding, newline="")
        for _ in range(self._skipped_lines):
            text.readline()
        return text

    def _first_lines(self) -> list[str]:
        with io.TextIOWrapper(self._opened(), encoding=self._encoding, newline="") as text:
            return list(islice(text, SEARCHED_ROWS + SAMPLED_ROWS))

    def _broken(self, reason: str) -> ListError:
        """Find the record that the parser gave up on, and say where it starts."""
        with self._text() as text:
            lines: list[str] = []

            def remembered() -> Iterator[str]:
                for line in text:
                    lines.append(line)
                    yield line

            reader = csv.reader(remembered(), delimiter=self._delimiter, strict=True)
            start = 0
            try:
                for _ in reader:
                    start = reader.line_num
                    lines.clear()
            except csv.Error:
                pass
        source = lines[0].rstrip("\r\n") if lines else ""
        at = start + 1 + self._skipped_lines
        column = source.find('"') + 1
        if "expected after" in reason:
            message = "there is text after a closing quote"
            hint = 'a quote inside a quoted cell is written twice: ""'
            column = source.rfind('"') + 1
        elif "field limit" in reason:
            message = f"a cell is longer than {csv.field_size_limit():,} characters"
            hint = "is a closing quote missing?"
        else:
            message = "a quote is opened and never closed"
            hint = "close it, or leave it out"
        problem = Problem(
            "error",
            "quote",
            message,
            file=self._file,
            line=at,
            column=column or None,
            source=source[:500],
            hint=hint,
        )
        return ListError(f"{self._file}, line {at}: {message}", hint=hint, problems=(problem,))


def line_breaks(rows: list[list[str]]) -> int:
    """Return how many lines of the file those records take."""
    return len(rows) + sum(len(_BREAK.findall(cell)) for row in rows for cell in row)


def _asked_for(delimiter: str) -> str:
    found = _NAMES.get(delimiter.lower(), delimiter)
    if len(found) > 1 or found in {'"', "\n", "\r"}:
        raise ListError(f"delimiter {delimiter!r} is not one character", hint='one of "," ";" "|" "tab"')
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


def _score(lines: list[str], delimiter: str, options: ListOptions) -> tuple[bool, float, bool]:
    """Rate a delimiter: a header with an address column, the share of rows of equal width, more than one cell."""
    rows: list[list[str]] = []
    try:
        rows.extend(row for row in csv.reader(lines, delimiter=delimiter or "\x1f") if row)
    except csv.Error:
        pass
    if not rows:
        return (False, 0.0, False)
    header = next(
        (row for row in rows[:SEARCHED_ROWS] if any(is_address_name(c, options.email) for c in row)), None
    )
    width = len(header or rows[0])
    if delimiter and width == 1:
        return (False, 0.0, False)
    alike = sum(len(row) == width for row in rows) / len(rows)
    return (header is not None, alike, width > 1)
