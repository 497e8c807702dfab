"""Which kinds of letter does this list make?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from merge.model import Recipient
from merge.template.branches import Branches


@dataclass(frozen=True, slots=True)
class Kind:
    """All rows that take the same branches of the letter.

    `rows` counts them, `example` is the first one's number in the spreadsheet. `words` name the branches
    that set this kind apart from the others; none where there is only one kind, or where none was taken.
    """

    rows: int
    example: int
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Extremes:
    """The rows most likely to look odd: with the longest value in the letter, with the most empty cells.

    None where no row stands out.
    """

    longest: int | None = None
    emptiest: int | None = None


class Tally:
    """Sorts rows into kinds, one by one. Raises LetterError when the letter cannot be read."""

    def __init__(self, letter: Path, *, files: Path | None = None) -> None:
        self._branches = Branches(letter, files=files)
        self._numbers: dict[frozenset[int], int] = {}
        self._rows: Counter[int] = Counter()
        self._examples: list[int] = []
        self._longest: tuple[int, int | None] = (0, None)
        self._shortest: int | None = None
        self._emptiest: tuple[int, int | None] = (0, None)

    def add(self, recipient: Recipient) -> int:
        """Take a row in, and return the number of its kind in order of appearance; -1 without a letter."""
        way = self._branches.way(recipient)
        if way is None:
            return -1
        number = self._numbers.setdefault(way.branches, len(self._numbers))
        self._rows[number] += 1
        if number == len(self._examples):
            self._examples.append(recipient.row)
        if way.longest > self._longest[0]:
            self._longest = (way.longest, recipient.row)
        if self._shortest is None or way.longest < self._shortest:
            self._shortest = way.longest
        empty = sum(not cell.strip() for cell in recipient.cells.values())
        if empty > self._emptiest[0]:
            self._emptiest = (empty, recipient.row)
        return number

    def order(self) -> dict[int, int]:
        """Return each kind's place, the most frequent first, by the number that `add` gave."""
        return {number: place for place, (number, _) in enumerate(self._rows.most_common())}

    def kinds(self) -> tuple[Kind, ...]:
        """Return the kinds, the most frequent first."""
        ways = list(self._numbers)
        shared = frozenset.intersection(*ways) if ways else frozenset()
        return tuple(
            Kind(rows, self._examples[number], self._words(ways[number] - shared))
            for number, rows in self._rows.most_common()
        )

    @property
    def extremes(self) -> Extremes:
        """The rows that stand out."""
        uneven = self._shortest is not None and self._longest[0] > self._shortest
        return Extremes(self._longest[1] if uneven else None, self._emptiest[1])

    def _words(self, branches: frozenset[int]) -> tuple[str, ...]:
        found = [self._branches.branch(number) for number in branches]
        found.sort(key=lambda branch: (branch.file, branch.line))
        return tuple(dict.fromkeys(f"line {branch.line}: {branch.words}" for branch in found))
