"""Which rows make one letter? Those of one person, where a campaign groups them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from merge.address import normalise, parse_mailbox
from merge.errors import AddressError, LetterError
from merge.model import Recipient


class Grouped:
    """A list whose rows with the same value in a column make one letter: that of the first chosen of them.

    Where none is `chosen`, it is that of the first. The other rows say whose letter they are in. What is
    wrong with any row of a letter is wrong with the letter. All rows are held in memory: grouping needs to
    see the last row before the first letter can be made.
    """

    def __init__(
        self, rows: Iterable[Recipient], column: str, chosen: Callable[[Recipient], bool] | None = None
    ) -> None:
        self._rows = rows
        self._column = column
        self._chosen = chosen

    def __iter__(self) -> Iterator[Recipient]:
        rows = list(self._rows)
        groups: dict[str, list[Recipient]] = {}
        for row in rows:
            if value := self._value(row):
                groups.setdefault(value, []).append(row)
        letters = {value: self._letter(members) for value, members in groups.items()}
        for row in rows:
            letter = letters.get(self._value(row)) or replace(row, group=(row.cells,))
            yield letter if letter.row == row.row else replace(row, joined=letter.row)

    def _letter(self, members: Sequence[Recipient]) -> Recipient:
        """Return the row that gets the letter, with the cells of all, its own first."""
        for one in members if self._chosen else ():
            letter = _with_all(one, members)
            if self._is_chosen(letter):
                return letter
        return _with_all(members[0], members)

    def _is_chosen(self, row: Recipient) -> bool:
        try:
            return self._chosen is None or self._chosen(row)
        except LetterError:
            return True  # a condition that cannot be answered is told of by the check

    def _value(self, row: Recipient) -> str:
        text = row.cells[self._column].strip()
        if text and text == row.address.strip():
            try:
                return normalise(parse_mailbox(text).address)
            except AddressError:
                return text
        return text


def _with_all(one: Recipient, members: Sequence[Recipient]) -> Recipient:
    others = [member for member in members if member is not one]
    return replace(
        one,
        group=(one.cells, *(member.cells for member in others)),
        problems=one.problems + tuple(problem for member in others for problem in member.problems),
    )
