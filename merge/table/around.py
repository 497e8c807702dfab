"""What stands around the values of a sheet: what would a person want to be told?"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from merge.errors import ListError, Problem
from merge.table.heading import letters
from merge.table.shown import SIGNIFICANT
from merge.table.values import Note

_SHOWN_PLACES = 5


@dataclass(slots=True)
class Around:
    """What a workbook says beside the values of the chosen sheet. Rows and columns count from 0.

    `shown` gives the text of a number as its cell shows it, None where it has no look of its own;
    `format_of` gives the number format of a cell, as far as the kind of workbook tells it. `texts` are cells
    whose value the reader of values can't tell.
    """

    sheet: str
    others: Sequence[str]
    shown: Callable[[int, int, float], str | None]
    format_of: Callable[[int, int], str]
    hidden_rows: list[int] = field(default_factory=list)
    merged: list[str] = field(default_factory=list)
    errors: Mapping[tuple[int, int], str] = field(default_factory=dict)
    without_value: set[tuple[int, int]] = field(default_factory=set)
    texts: Mapping[tuple[int, int], str] = field(default_factory=dict)

    def remarks(self, rows: int, asked: str, file: str) -> Iterator[Problem]:
        """Yield what is to be said about the sheet as a whole; `rows` of it are filled."""
        if self.others and not asked:
            yield other_sheets(self.sheet, self.others, file)
        if hidden := sorted(row + 1 for row in self.hidden_rows if row < rows):
            yield hidden_rows(hidden, file)
        if self.merged:
            yield merged_cells(self.merged, file)

    def notes(self, rows: int, file: str) -> dict[int, list[Note]]:
        """Return what is to be said about single rows: errors, and formulas without a value."""
        found: dict[int, list[Note]] = {}
        for (row, column), error in self.errors.items():
            message = f"{letters(column)}{row + 1} shows {error}; it is taken as empty"
            problem = Problem("warning", "formula", message, file=file, row=row + 1, value=error)
            found.setdefault(row, []).append(Note(problem, column))
        for row, column in sorted(self.without_value):
            message = (
                f"{letters(column)}{row + 1} is a formula whose value was never saved; it is taken as empty"
            )
            hint = "open the file in your spreadsheet program and save it"
            problem = Problem("warning", "formula", message, file=file, row=row + 1, hint=hint)
            found.setdefault(row, []).append(Note(problem, column))
        return {row: notes for row, notes in found.items() if row < rows}


def choose_sheet(names: Sequence[str], visible: Sequence[bool], wanted: str, file: str) -> int:
    """Return the place of the sheet that is asked for, else of the first that a person sees."""
    if wanted:
        same = [place for place, name in enumerate(names) if name == wanted]
        same = same or [
            place for place, name in enumerate(names) if name.casefold() == wanted.strip().casefold()
        ]
        if same:
            return same[0]
        near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
        guess = f"did you mean {near[0]}? " if near else ""
        raise ListError(f"{file} has no sheet {wanted}", hint=f"{guess}sheets in {file}: {', '.join(names)}")
    seen = next((place for place, shown in enumerate(visible) if shown), None)
    if seen is None:
        raise ListError(
            f"{file} has no sheet that can be seen", hint='name one: sheet = "..." in campaign.toml'
        )
    return seen


def other_sheets(name: str, others: Sequence[str], file: str) -> Problem:
    """Return the remark that only one of several sheets is read."""
    message = f"only sheet {name} is read, not {_some(others)}"
    hint = 'another one: sheet = "..." in campaign.toml'
    return Problem("warning", "sheets", message, file=file, value=name, hint=hint)


def hidden_rows(rows: Sequence[int], file: str) -> Problem:
    """Return the remark that rows which nobody sees are read like any others."""
    several = len(rows) > 1
    message = (
        f"{len(rows):,} row{'s are' if several else ' is'} hidden or filtered out, but read: {_some(rows)}"
    )
    hint = 'to leave rows out, delete them, or use where = "..." in campaign.toml'
    return Problem("warning", "hidden", message, file=file, row=rows[0], hint=hint)


def merged_cells(ranges: Sequence[str], file: str) -> Problem:
    """Return the remark that the value of merged cells belongs to the first of their rows alone."""
    message = f"merged cells: {_some(ranges)}; only the first cell has the value, the others are empty"
    return Problem("warning", "merged", message, file=file, hint="unmerge them and fill in each row")


def many_digits(cell: str, text: str, row: int, file: str) -> Problem:
    """Return the remark on a number that was longer than what a spreadsheet keeps."""
    message = f"{cell} is a number of more than {SIGNIFICANT} digits, of which spreadsheets keep the first"
    hint = "format the column as text before the numbers are typed"
    return Problem("warning", "digits", message, file=file, row=row, value=text, hint=hint)


def is_sampled(text: str) -> bool:
    """Whether a number is written with a separator, which a person's own spreadsheet may write otherwise."""
    return bool(re.search(r"\d[.,\u00a0\u2019]\d", text))


def number_sample(cell: str, text: str, unknown: str, file: str) -> Problem:
    """Return the remark that shows how the numbers of a column are written."""
    if unknown:
        message = f"{cell} has a number format that is not followed ({unknown}); it is written {text}"
    else:
        message = f"numbers as in {cell} are written {text}"
    hint = "if it should look otherwise: format the column as text, or use a filter in the letter"
    return Problem("warning", "numbers", message, file=file, value=text, hint=hint)


def _some(things: Sequence[object]) -> str:
    listed = ", ".join(str(thing) for thing in things[:_SHOWN_PLACES])
    return listed + ", ..." if len(things) > _SHOWN_PLACES else listed
