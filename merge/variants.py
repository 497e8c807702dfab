"""Which kinds of letter does this list make?"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

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


class Kinds:
    """Counts the kinds of letter, row by row, and keeps nothing of the rows."""

    def __init__(self, branches: Branches) -> None:
        self._branches = branches
        self._ways: set[frozenset[int]] = set()

    def add(self, recipient: Recipient) -> None:
        """Take a row in that gets a letter."""
        if self._ways and not self._branches.any:
            return
        way = self._branches.way(recipient)
        if way:
            self._ways.add(way.branches)

    @property
    def number(self) -> int:
        """How many kinds of letter there are so far."""
        return len(self._ways)


class Tally:
    """Sorts rows into kinds, one by one."""

    def __init__(self, branches: Branches) -> None:
        self._branches = branches
        self._numbers: dict[frozenset[int], int] = {}
        self._members: list[list[int]] = []
        self._longest: tuple[int, int | None] = (0, None)
        self._shortest: int | None = None
        self._emptiest: tuple[int, int | None] = (0, None)

    def add(self, recipient: Recipient) -> int:
        """Take a row in, and return the number of its kind in order of appearance; -1 without a letter."""
        way = self._branches.way(recipient)
        if way is None:
            return -1
        number = self._numbers.setdefault(way.branches, len(self._numbers))
        if number == len(self._members):
            self._members.append([])
        self._members[number].append(recipient.row)
        if way.longest > self._longest[0]:
            self._longest = (way.longest, recipient.row)
        if self._shortest is None or way.longest < self._shortest:
            self._shortest = way.longest
        empty = sum(not cell.strip() for cell in recipient.cells.values())
        if empty > self._emptiest[0]:
            self._emptiest = (empty, recipient.row)
        return number

    def order(self, left_out: Container[int] = ()) -> dict[int, int]:
        """Return each kind's place, the most frequent first, by the number that `add` gave.

        `left_out` are rows that turned out to get no letter; a kind without others has no place.
        """
        return {number: place for place, (number, _) in enumerate(self._ranked(left_out))}

    def kinds(self, left_out: Container[int] = ()) -> tuple[Kind, ...]:
        """Return the kinds in that order."""
        ranked = self._ranked(left_out)
        ways = list(self._numbers)
        shared = frozenset.intersection(*[ways[number] for number, _ in ranked]) if ranked else frozenset()
        return tuple(Kind(len(rows), rows[0], self._words(ways[number] - shared)) for number, rows in ranked)

    def extremes(self, left_out: Container[int] = ()) -> Extremes:
        """Return the rows that stand out."""
        uneven = self._shortest is not None and self._longest[0] > self._shortest
        longest, emptiest = self._longest[1] if uneven else None, self._emptiest[1]
        return Extremes(None if longest in left_out else longest, None if emptiest in left_out else emptiest)

    def _ranked(self, left_out: Container[int]) -> list[tuple[int, list[int]]]:
        kept = [
            (number, [row for row in rows if row not in left_out])
            for number, rows in enumerate(self._members)
        ]
        return sorted(((n, rows) for n, rows in kept if rows), key=lambda kind: -len(kind[1]))

    def _words(self, branches: frozenset[int]) -> tuple[str, ...]:
        lines: dict[tuple[str, str], set[int]] = {}
        for branch in sorted(
            map(self._branches.branch, branches), key=lambda branch: (branch.file, branch.line)
        ):
            lines.setdefault((branch.file, branch.words), set()).add(branch.line)
        return tuple(
            f"line{'s' * (len(at) > 1)} {', '.join(map(str, sorted(at)))}: {words}" if at != {0} else words
            for (_, words), at in lines.items()
        )
