"""What passes between the readers and the table?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from merge.errors import Problem

LONGEST_CELL = 131_072
"""In characters; Excel itself stops at 32,767."""


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What campaign.toml says about the list; anything left out is found out.

    `email` and `id` are column names, `sheet` the name of a sheet. `header_row` is the number that the
    spreadsheet shows. `encoding` is a codec that Python knows, `delimiter` one character.
    """

    email: str = ""
    id: str = ""
    sheet: str = ""
    header_row: int | None = None
    encoding: str = ""
    delimiter: str = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """What the header row says.

    `names` are the columns as written, outer blanks stripped, in their order; a name that stands twice
    is listed twice, and no cell can be had by it. `email` and `id` are the names of those two columns.
    `shorts` maps the short name in a letter to the column, for each column that has one to itself.
    """

    names: tuple[str, ...]
    email: str
    id: str | None
    shorts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Irregular:
    """A row of a text file that has not as many cells as the header; `extra` is the first cell too many."""

    cells: int
    extra: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """A remark on a row, or on the cell of it that stands in `column`, counted from 0."""

    problem: Problem
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive rows of a list: the texts of each column, all of them equally long.

    `number` is what the spreadsheet shows for the first row, `line` the line of the file on which it starts.
    The mappings go by a row's place in the block: `irregular` rows, `tall` ones with the number of lines
    that they take, and the `notes` on single rows. `plain` says that it is known that no cell has blanks
    at its edge, holds a control character or an invisible one, is written as a formula, or is too long.
    """

    number: int
    columns: Sequence[list[str]]
    line: int | None = None
    irregular: Mapping[int, Irregular] = field(default_factory=dict)
    tall: Mapping[int, int] = field(default_factory=dict)
    notes: Mapping[int, Sequence[Note]] = field(default_factory=dict)
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """How a list lies in its file. `header_row` is what a spreadsheet shows for it.

    `sheet` is that of a workbook, `encoding` and `delimiter` are those of a text; empty for the other kind.
    """

    sheet: str = ""
    encoding: str = ""
    delimiter: str = ""
    header_row: int = 1


class Grid(Protocol):
    """A list before anyone knows which row is its header."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the file as a whole."""

    @property
    def content_hash(self) -> str:
        """A SHA-256 of the content, in hexadecimal."""

    @property
    def layout(self) -> Layout:
        """How the file has it; the header row is not known yet."""

    def head(self, rows: int) -> list[list[str]]:
        """Return the first rows, at most that many, each with the cells that it has."""

    def blocks(self, skip: int, width: int) -> Iterator[Block]:
        """Yield the rows after the first `skip`, blank ones included, with at least `width` columns.

        Raises ListError where the file breaks off.
        """
