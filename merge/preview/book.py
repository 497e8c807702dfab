"""What is there to look at? The list in memory, each letter made when it is asked for."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from typing import Any, Protocol

from merge.config import Settings
from merge.errors import ContentError, Problem
from merge.journey import Parts
from merge.model import Letter, Recipient
from merge.names import short_name
from merge.variants import Tally

_GIVEN = ("first_name", "firstname", "given_name", "forename", "vorname", "prenom", "nombre", "nome", "imie")
_FAMILY = ("last_name", "lastname", "family_name", "surname", "nachname", "nom", "apellido", "cognome")
_WHOLE = ("name", "full_name", "display_name", "recipient", "person", "naam", "namn")


class Source(Protocol):
    """A campaign, as far as the preview needs it: its settings, and its files once they are open."""

    @property
    def name(self) -> str:
        """What the campaign is called."""

    @property
    def settings(self) -> Settings:
        """What the person asked for."""

    @property
    def parts(self) -> Parts:
        """The opened list and letter. Raises ContentError or ConfigError."""


Open = Callable[[], Source]
"""Opens the campaign anew, as its files are now. Raises ConfigError or UsageError."""


class Book:
    """The campaign as its files were at one moment.

    Reads the list when it is made: all of it, or no more than the `first` so many rows, and `read_on` the
    rest. A list that is still the `previous` one's is not read again. Raises ContentError, ConfigError or
    UsageError when list or letter cannot be opened. Letters may be asked for from any thread.
    """

    def __init__(
        self, open_campaign: Open, previous: Book | None = None, *, first: int | None = None
    ) -> None:
        source = open_campaign()
        self.title = source.name
        self.settings = source.settings
        self._parts = source.parts
        table = self._parts.table
        groups = (self.settings.group_by, self.settings.where) if self.settings.group_by else ()
        self.table_marks: tuple[object, ...] = (table.content_hash, table.columns, groups)
        same = previous and previous.table_marks == self.table_marks
        self._rest: Iterator[Recipient] = iter(self._parts.rows)
        self.people: Sequence[Recipient] = ()
        self.complete: bool = True
        if previous and same and previous.complete:
            self.people = previous.people
        else:
            self.people = tuple(islice(self._rest, first))
            self.complete = len(self.people) != first
        self._lock = threading.Lock()
        self._moment = datetime.now(UTC).replace(microsecond=0)

    def read_on(self) -> Book:
        """Return the same book with the whole list in it. To be called once; raises ListError."""
        whole = copy.copy(self)
        for made_of_people in ("rows", "_texts", "_places"):
            vars(whole).pop(made_of_people, None)
        whole.people = (*self.people, *self._rest)
        whole.complete = True
        return whole

    @property
    def general(self) -> tuple[Problem, ...]:
        """What is wrong with the list and the letter as such."""
        return tuple(self._parts.problems)

    def tally(self) -> Tally:
        """Return what sorts rows into kinds. Raises LetterError."""
        return Tally(self._parts.branches())

    def person(self, row: int) -> Recipient | None:
        """Return the row of that number, as the spreadsheet counts."""
        place = self._places.get(row)
        return None if place is None else self.people[place]

    def set_aside(self, recipient: Recipient) -> str:
        """Say why a row makes no letter of its own; empty where it does."""
        if recipient.joined is not None:
            return f"in the letter of row {recipient.joined}"
        if not any(map(str.strip, recipient.cells.values())):
            return "empty row"
        with self._lock:
            try:
                return self._parts.left_out(recipient)
            except ContentError:
                return ""

    def letter(self, recipient: Recipient) -> Letter:
        """Make one row's letter. Its Message-ID is a stand-in. Raises ContentError with the problem."""
        mark = hashlib.sha256(f"{recipient.row}\0{recipient.address}".encode("utf-8", "surrogatepass"))
        domain = self._parts.composer.domain or "localhost"
        with self._lock:
            return self._parts.composer.compose(
                recipient,
                key=f"{recipient.row}",
                message_id=f"<preview.{mark.hexdigest()[:24]}@{domain}>",
                date=self._moment,
            )

    def problems(self, recipient: Recipient) -> tuple[Problem, ...]:
        """Return what is wrong with one row and its letter."""
        with self._lock:
            examined = self._parts.examine(recipient).problems
        return tuple(dict.fromkeys((*recipient.problems, *examined)))

    @cached_property
    def names(self) -> Mapping[str, Sequence[str]]:
        """The columns that hold a person's name: "whole", or "given" and "family"."""
        columns = self._parts.table.columns.names
        found: dict[str, list[str]] = {}
        shorts = {short_name(column): column for column in reversed(columns)}
        for part, known in (("whole", _WHOLE), ("given", _GIVEN), ("family", _FAMILY)):
            found[part] = [shorts[name] for name in known if name in shorts][:1]
        return found

    def label(self, recipient: Recipient) -> str:
        """Return the name of the person, as far as the list has one."""
        names = self.names
        chosen = [*names["given"], *names["family"]] or names["whole"]
        return " ".join(" ".join(recipient.cells.get(column, "").split()) for column in chosen).strip()

    @cached_property
    def rows(self) -> dict[str, Any]:
        """The whole list for the page: row numbers, addresses and names, each in the list's order."""
        return {
            "rows": [recipient.row for recipient in self.people],
            "to": [recipient.address for recipient in self.people],
            "names": [self.label(recipient) for recipient in self.people],
        }

    def search(self, words: str) -> list[int]:
        """Return the places, from 0, of the rows that hold every one of the words in some cell."""
        wanted = words.casefold().split()
        return [place for place, text in enumerate(self._texts) if all(word in text for word in wanted)]

    @cached_property
    def _places(self) -> dict[int, int]:
        return {recipient.row: place for place, recipient in enumerate(self.people)}

    @cached_property
    def _texts(self) -> list[str]:
        return [
            "\n".join((str(recipient.row), *recipient.cells.values())).casefold() for recipient in self.people
        ]
