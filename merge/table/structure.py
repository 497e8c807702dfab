"""How many cells has each row of a text file, and on which line does it stand?"""

from __future__ import annotations

import csv
import re
from collections import deque
from itertools import repeat

from merge.errors import ListError, Problem
from merge.table.values import Irregular

_LONGEST_RECORD = 1 << 20
_BREAK = re.compile(r"\r\n|\r|\n")
_SHOWN = 500


class Structure:
    """Counts the cells of each record as the text goes by (RFC 4180, any line ends).

    The parser that makes the values fills short rows up and cuts long ones off in silence, and puts text
    after a closing quote into the cell: here such rows are found. Text without quotes, and with quotes
    round whole cells on one line, is counted in bulk; for the rest the csv module looks at each record.
    Positions count records from 0.
    """

    def __init__(self, delimiter: str, width: int, file: str, lines_before: int = 0) -> None:
        """`width` is the number of cells that a row should have."""
        self.records = 0
        self.irregular: deque[tuple[int, Irregular]] = deque()
        self.tall: deque[tuple[int, int]] = deque()
        self.notes: deque[tuple[int, Problem]] = deque()
        self.error: ListError | None = None
        self._delimiter = delimiter
        self._width = width
        self._file = file
        self._line = lines_before
        self._rest = ""
        self._careful = False
        special = re.escape(delimiter)
        # Both begin with the quote itself, for which the regular expression engine looks fast.
        self._strays = (re.compile(rf'"[^{special}\r\n"]'), re.compile(rf'"(?<=[^{special}\r\n"]")'))

    def feed(self, text: str) -> None:
        """Take in the next piece of the text. What is wrong with it goes to `error`."""
        if self.error:
            return
        text = self._rest + text
        # A CR at the end may be the first half of a CRLF.
        held = "\r" if text.endswith("\r") else ""
        text = text.removesuffix(held)
        if "\r" in text and text.count("\r") != text.count("\r\n"):
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        cut = text.rfind("\n") + 1
        if not self._careful:
            quotes = text.count('"', 0, cut)
            while quotes % 2:
                before = text.rfind("\n", 0, cut - 1) + 1
                quotes -= text.count('"', before, cut)
                cut = before
        if not cut and len(text) > _LONGEST_RECORD:
            cut = len(text)
        self._rest = text[cut:] + held
        if cut:
            self._take(text[:cut], last=False)

    def finish(self) -> None:
        """Take in what is left at the end of the text."""
        rest, self._rest = self._rest, ""
        if rest and not self.error:
            text = _BREAK.sub("\n", rest)
            self._take(text if text.endswith("\n") else text + "\n", last=True)

    def _take(self, text: str, *, last: bool) -> None:
        outside = '"'.join(text.split('"')[::2]) if '"' in text else text
        if self._careful or last or len(outside) != len(text):
            self._careful = self._careful or any(stray.search(outside) for stray in self._strays)
            if self._careful or outside.count("\n") != text.count("\n") or text.count('"') % 2:
                self._take_carefully(text, last=last)
                return
        lines = outside.split("\n")
        lines.pop()
        counts = list(map(str.count, lines, repeat(self._delimiter)))
        if counts.count(self._width - 1) != len(counts):
            whole = text.split("\n")
            for place, count in enumerate(counts):
                if count != self._width - 1:
                    self._note(self.records + place, count + 1, whole[place])
        self.records += len(counts)
        self._line += len(counts)

    def _note(self, record: int, cells: int, line: str) -> None:
        extra = ""
        if cells > self._width:
            row = next(csv.reader([line], delimiter=self._delimiter), [])
            extra = next(filter(str.strip, row[self._width :]), "")
        self.irregular.append((record, Irregular(cells, extra)))

    def _take_carefully(self, text: str, *, last: bool) -> None:
        lines = re.findall(r"[^\n]*\n|[^\n]+$", text)
        reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
        start = 0
        try:
            for row in reader:
                height = reader.line_num - start
                cells = max(len(row), 1)
                if cells != self._width:
                    extra = next(filter(str.strip, row[self._width :]), "")
                    self.irregular.append((self.records, Irregular(cells, extra)))
                if height > 1:
                    self.tall.append((self.records, height))
                    self._look_for_swallowed(row)
                self.records += 1
                self._line += height
                start = reader.line_num
        except csv.Error as error:
            rest = "".join(lines[start:])
            if "unexpected end" in str(error) and not last and len(rest) < _LONGEST_RECORD:
                self._careful = True
                self._rest = rest + self._rest
            else:
                self.error = self._broken(str(error), lines[start : reader.line_num])

    def _look_for_swallowed(self, row: list[str]) -> None:
        """Warn of a cell that looks as if it had swallowed whole rows: a quote may be missing."""
        for cell in row:
            inner = cell.split("\n")[1:]
            enough = max(1, min(self._width, 3) - 1)
            if any(line.count(self._delimiter) >= enough and "@" in line for line in inner):
                message = f"a cell in quotes runs over {len(inner) + 1} lines and holds what look like rows"
                problem = Problem(
                    "warning",
                    "quote",
                    message,
                    file=self._file,
                    line=self._line + 1,
                    row=self.records + 1,
                    value=cell[:_SHOWN],
                    hint="is a closing quote missing?",
                )
                self.notes.append((self.records, problem))

    def _broken(self, reason: str, lines: list[str]) -> ListError:
        """Return the error for the record that starts on the next line."""
        line = self._line + 1
        source = lines[0].rstrip("\r\n") if lines else ""
        column = source.find('"') + 1
        if "expected after" in reason:
            line += len(lines) - 1
            source = lines[-1].rstrip("\r\n") if lines else ""
            found = re.search(rf'"(?![{re.escape(self._delimiter)}"\r]|$)', source[1:])
            column = found.start() + 2 if found else 1
            message = "there is text after a closing quote"
            hint = 'a quote inside a quoted cell is written twice: ""'
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
            line=line,
            column=column or None,
            source=source[:_SHOWN],
            hint=hint,
        )
        return ListError(f"{self._file}, line {line}: {message}", hint=hint, problems=(problem,))
