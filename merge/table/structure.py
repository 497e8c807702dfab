"""How many cells has each row of a text file, on which line does it stand, and which need a closer look?"""

from __future__ import annotations

import csv
import re
from collections import deque
from typing import TYPE_CHECKING

from merge.errors import ListError, Problem
from merge.table.unseen import ORDINARY, may_hide
from merge.table.values import LONGEST_CELL, Irregular

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST_RECORD = 1 << 20
_SHOWN = 500
_QUOTE, _LF, _CR, _BLANK, _EQUALS = b'"\n\r ='


class Structure:
    """Counts the cells of each record as the text goes by (RFC 4180, any line ends), in UTF-8.

    The parser that makes the values fills short rows up and cuts long ones off in silence, and puts text
    after a closing quote into the cell: here such rows are found. Text without quotes, and with quotes
    round whole cells, is counted in bulk; for the rest the csv module looks at each record.
    Positions count records from 0. `doubtful` are ranges of records: in all others it is known that no
    cell has a blank at its edge, holds what can't be seen, is written as a formula (="01"), or is too long.
    """

    def __init__(self, delimiter: str, width: int, file: str, lines_before: int = 0) -> None:
        """`delimiter` is one ASCII character, `width` the number of cells that a row should have."""
        self.records = 0
        self.irregular: deque[tuple[int, Irregular]] = deque()
        self.tall: deque[tuple[int, int]] = deque()
        self.notes: deque[tuple[int, Problem]] = deque()
        self.doubtful: deque[tuple[int, int]] = deque()
        self.error: ListError | None = None
        self._delimiter = delimiter
        self._separator = ord(delimiter)
        self._ordinary = ORDINARY + delimiter.encode()
        self._width = width
        self._file = file
        self._line = lines_before
        self._rest = b""

    def feed(self, text: bytes) -> None:
        """Take in the next piece of the text. What is wrong with it goes to `error`."""
        if self.error:
            return
        text = self._rest + text
        # A CR at the end may be the first half of a CRLF.
        held = b"\r" if text.endswith(b"\r") else b""
        text = text.removesuffix(held)
        if b"\r" in text:
            text = _with_lf(text)
        taken = self._count(text)
        if taken is None or (not taken and len(text) > _LONGEST_RECORD):
            taken = (text.rfind(b"\n") + 1) or (len(text) if len(text) > _LONGEST_RECORD else 0)
            taken -= self._read(text[:taken], last=False)
        self._rest = text[taken:] + held

    def finish(self) -> None:
        """Take in what is left at the end of the text."""
        text, self._rest = self._rest.replace(b"\r", b"\n"), b""
        if self.error or not text:
            return
        if not text.endswith(b"\n"):
            text += b"\n"
        taken = self._count(text)
        if taken != len(text):
            self._read(text[taken or 0 :], last=True)

    def _count(self, text: bytes) -> int | None:
        """Count the whole records at the start of a text, and return how many bytes they take.

        None where a quote stands elsewhere than round a whole cell: then nothing was counted.
        """
        import numpy as np  # noqa: PLC0415 - it comes with pandas, only where a list is read

        if not text:
            return 0
        content = np.frombuffer(text, np.uint8)
        special = (content == self._separator) | (content == _LF)
        inner: NDArray[np.intp] | None = None
        doubtful = False
        if b'"' in text:
            special |= content == _QUOTE
            places = np.flatnonzero(special)
            kinds = content[places]
            quotes = kinds == _QUOTE
            inside = np.bitwise_xor.accumulate(quotes.view(np.uint8)).view(np.bool_)
            edges = self._edges_in_quotes(content, places[quotes])
            if edges is None:
                return None
            doubtful = bool((edges <= _BLANK).any()) or (bool((edges == _EQUALS).any()) and b'"=""' in text)
            inner = places[inside & (kinds == _LF)]
            outside = ~(inside | quotes)
            places, kinds = places[outside], kinds[outside]
        else:
            places = np.flatnonzero(special)
            kinds = content[places]
        last_of = np.flatnonzero(kinds == _LF)
        if not len(last_of):
            return 0
        places = places[: last_of[-1] + 1]
        ends = places[last_of]
        taken = int(ends[-1]) + 1
        if inner is not None and len(inner) and not self._note_tall(text, ends, inner[inner < taken]):
            return None
        cells = np.diff(last_of, prepend=-1)
        for place in np.flatnonzero(cells != self._width).tolist():
            start = int(ends[place - 1]) + 1 if place else 0
            self._note(self.records + place, int(cells[place]), text[start : int(ends[place])])
        if (
            doubtful
            or content[0] == _BLANK
            or (content[places[:-1] + 1] == _BLANK).any()
            or (content[places - 1] == _BLANK).any()
            or np.diff(ends, prepend=-1).max() > LONGEST_CELL
            or may_hide(text, self._ordinary)
        ):
            self.doubtful.append((self.records, self.records + len(ends)))
        self.records += len(ends)
        self._line += len(ends)
        return taken

    def _edges_in_quotes(
        self, content: NDArray[np.uint8], quotes: NDArray[np.intp]
    ) -> NDArray[np.uint8] | None:
        """Return the first and last byte inside each pair of quotes; None if a quote stands inside a cell."""
        import numpy as np  # noqa: PLC0415 - as above

        opening, closing = quotes[::2], quotes[1::2]
        end = len(content) - 1
        before = content[opening - 1]
        if len(opening) and not opening[0]:
            before[0] = _LF
        after = content[np.minimum(closing + 1, end)]
        for beside in (before, after):
            if not ((beside == self._separator) | (beside == _LF) | (beside == _QUOTE)).all():
                return None
        # Beside another quote it is one that belongs to the text.
        first = content[np.minimum(opening + 1, end)][before != _QUOTE]
        return np.concatenate((first, content[closing - 1][after != _QUOTE]))

    def _note_tall(self, text: bytes, ends: NDArray[np.intp], inner: NDArray[np.intp]) -> bool:
        """Note the records of several lines; `inner` are line breaks in quotes. False for one too long."""
        import numpy as np  # noqa: PLC0415 - as above

        numbers, breaks = np.unique(np.searchsorted(ends, inner), return_counts=True)
        found = []
        for number, more in zip(numbers.tolist(), breaks.tolist(), strict=True):
            record = text[int(ends[number - 1]) + 1 if number else 0 : int(ends[number]) + 1]
            if len(record) > LONGEST_CELL:
                return False
            found.append((number, more, record))
        for number, more, record in found:
            self.tall.append((self.records + number, more + 1))
            self._look_for_swallowed(self._cells(record), self.records + number, self._line + number)
            self._line += more
        return True

    def _note(self, record: int, cells: int, line: bytes) -> None:
        row = self._cells(line) if cells > self._width else []
        extra = next(filter(str.strip, row[self._width :]), "")
        self.irregular.append((record, Irregular(cells, extra)))

    def _cells(self, record: bytes) -> list[str]:
        """Return the cells of one record; none of one that is too long, of which others tell."""
        try:
            return next(csv.reader([record.decode("utf-8", "replace")], delimiter=self._delimiter), [])
        except csv.Error:
            return []

    def _read(self, text: bytes, *, last: bool) -> int:
        """Look at each record; return how many bytes at the end belong to one that goes on."""
        lines = re.findall(r"[^\n]*\n|[^\n]+$", text.decode("utf-8", "surrogateescape"))
        reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
        start, first = 0, self.records
        left = 0
        try:
            for row in reader:
                height = reader.line_num - start
                cells = max(len(row), 1)
                if cells != self._width:
                    extra = next(filter(str.strip, row[self._width :]), "")
                    self.irregular.append((self.records, Irregular(cells, extra)))
                if height > 1:
                    self.tall.append((self.records, height))
                    self._look_for_swallowed(row, self.records, self._line)
                self.records += 1
                self._line += height
                start = reader.line_num
        except csv.Error as error:
            rest = len("".join(lines[start:]).encode("utf-8", "surrogateescape"))
            if "unexpected end" in str(error) and not last and rest < _LONGEST_RECORD:
                left = rest
            else:
                self.error = self._broken(str(error), lines[start : reader.line_num])
        if self.records > first:
            self.doubtful.append((first, self.records))
        return left

    def _look_for_swallowed(self, row: list[str], record: int, line: int) -> None:
        """Warn of a cell that looks as if it had swallowed whole rows: a quote may be missing."""
        for cell in row:
            inner = cell.split("\n")[1:]
            enough = max(1, min(self._width, 3) - 1)
            if any(text.count(self._delimiter) >= enough and "@" in text for text in inner):
                message = f"a cell in quotes runs over {len(inner) + 1} lines and holds what look like rows"
                problem = Problem(
                    "warning",
                    "quote",
                    message,
                    file=self._file,
                    line=line + 1,
                    row=record + 1,
                    value=cell[:_SHOWN],
                    hint="is a closing quote missing?",
                )
                self.notes.append((record, problem))

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
            row = self.records + 1
            message = f"a cell of row {row} is longer than {csv.field_size_limit():,} characters"
            hint = "shorten it; or is a closing quote missing?"
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


def _with_lf(text: bytes) -> bytes:
    """Return a text that has a CR with LF for every line end; a CR at its end is one."""
    import numpy as np  # noqa: PLC0415 - it comes with pandas, only where a list is read

    content = np.frombuffer(text, np.uint8)
    returns = np.flatnonzero(content == _CR)
    if returns[-1] + 1 < len(content) and (content[returns + 1] == _LF).all():
        return text.translate(None, b"\r")  # half the time that the search for CRLF takes
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
