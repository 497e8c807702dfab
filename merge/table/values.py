"""What passes between the readers and the table?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from merge.errors import Problem


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
class Block:
    """Some consecutive rows of a list, as texts.

    `number` is what the spreadsheet shows for the first, `line` the line of the file on which it starts.
    `notes` are remarks on single rows, by their place in the block.
    """

    number: int
    rows: list[list[str]]
    line: int | None = None
    notes: Mapping[int, tuple[Problem, ...]] = field(default_factory=dict)


class Grid(Protocol):
    """A list before anyone knows which row is its header."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the file as a whole."""

    @property
    def spotless(self) -> bool:
        """Whether it is known that no cell holds a control character, an invisible one, or is too long."""

    @property
    def trimmed(self) -> bool:
        """Whether it is known that no cell has blanks at its edge."""

    @property
    def ragged(self) -> bool:
        """Whether a row may have another number of cells than it should, as in a CSV."""

    @property
    def content_hash(self) -> str:
        """A SHA-256 of the content, in hexadecimal."""

    def head(self, rows: int) -> Block:
        """Return the first rows, at most that many."""

    def blocks(self, skip: int) -> Iterator[Block]:
        """Yield the rows after the first `skip`, blank ones included. Raises ListError."""
