"""Which rows make one letter? Those of one person, where a campaign groups them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from merge.address import normalise, parse_mailbox
from merge.errors import AddressError
from merge.model import Recipient


class Grouped:
    """A list whose rows with the same value in a column make one letter: that of the first of them.

    The rows after the first say whose letter they are in. All rows are held in memory: grouping needs to
    see the last row before the first letter can be made.
    """

    def __init__(self, rows: Iterable[Recipient], column: str) -> None:
        self._rows = rows
        self._column = column

    def __iter__(self) -> Iterator[Recipient]:
        rows = list(self._rows)
        groups: dict[str, list[Recipient]] = {}
        for row in rows:
            if value := self._value(row):
                groups.setdefault(value, []).append(row)
        for row in rows:
            members = groups.get(self._value(row), [row])
            if members[0] is row:
                yield replace(row, group=tuple(member.cells for member in members))
            else:
                yield replace(row, joined=members[0].row)

    def _value(self, row: Recipient) -> str:
        text = row.cells[self._column].strip()
        if text and text == row.address.strip():
            try:
                return normalise(parse_mailbox(text).address)
            except AddressError:
                return text
        return text
