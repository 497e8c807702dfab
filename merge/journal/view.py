"""What does the journal know? For reading alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from merge.journal import statements
from merge.journal.bounced import KINDS, Bounces, in_words
from merge.model import Record, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from merge.journal.database import Database
    from merge.pace import Past


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one row stands.

    `row` is its number in the list as last enrolled, `digest` that of its letter then: what the person
    approved; `given` is the digest of what a server was given, "" before. `due` and `first` (the first
    attempt) are in seconds since the epoch. `date` and `message_id` are those that a server was given,
    None and "" before; `fingerprint` is the campaign's at that time. `settled` means that the person has
    decided to leave this uncertain row alone.
    """

    row: int
    state: State
    attempts: int
    due: float | None
    date: datetime | None
    digest: str
    given: str
    message_id: str
    first: float | None
    fingerprint: str
    settled: bool


class Meta:
    """Small texts kept with an edition: hashes, the fingerprint, when it was tested."""

    def __init__(self, database: Database, edition: int) -> None:
        self._database = database
        self._edition = edition

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the text kept under a name."""
        found = self._database.one(statements.META, (self._edition, name))
        return found[0] if found else default

    def set(self, name: str, value: str) -> None:
        """Keep a text under a name, in place of what was there."""
        self._database.run(statements.SET_META, (self._edition, name, value))


class Waiting:
    """The rows that are still to be sent, as they stood when each was read: a few at once, before its turn.

    In the hands of the run that holds the journal, which alone changes a row, and each not before its turn.
    """

    _AT_ONCE = 64

    def __init__(
        self, to_do: bytearray, read: Callable[[int, int], Mapping[int, tuple[str, Standing]]]
    ) -> None:
        """`to_do` has a byte for each row number; `read` tells key and standing from one row to another."""
        self._to_do = to_do
        self._read = read
        self._page = -1
        self._known: Mapping[int, tuple[str, Standing]] = {}

    def __contains__(self, row: int) -> bool:
        """Whether the row with this number is still to be sent."""
        return row < len(self._to_do) and self._to_do[row] == 1

    def standing(self, row: int, key: str) -> Standing | None:
        """Return where a row stands; None where that is not to be sent, or known by another key."""
        page = row // self._AT_ONCE
        if page != self._page:
            first = page * self._AT_ONCE
            self._known = self._read(first, first + self._AT_ONCE - 1)
            self._page = page
        known, standing = self._known.get(row, ("", None))
        return standing if known == key else None


class View:
    """The journal of one edition, to be read: also while a run goes on."""

    def __init__(self, database: Database, edition: str, *, running: bool) -> None:
        self.edition = edition
        self.running = running
        self._database = database
        found = database.one(statements.EDITION, (edition,))
        self._id: int = found[0] if found else -1
        self.forgotten: float | None = found[1] if found else None
        self.meta = Meta(database, self._id)
        self.everywhere = Meta(database, 0)
        self.bounces = Bounces(database)

    def standing(self, key: str) -> Standing | None:
        """Return where the row with this key stands, or None if it never was in the list."""
        found = self._database.one(
            statements.STANDING,
            (self._id, key),
        )
        return None if found is None else self._standing(found)

    def waiting(self) -> Waiting:
        """Return where the rows stand that are still to be sent, to be asked about in the list's order."""
        return Waiting(self.to_do(), self._standings)

    def counts(self) -> dict[State, int]:
        """Return the number of rows in each of the seven states; they sum to the rows of the list."""
        counts = dict.fromkeys(State, 0)
        for state, number in self._database.all(statements.COUNTS, (self._id,)):
            counts[self._visible(state)] += number
        return counts

    def bounced(self) -> dict[str, int]:
        """Return how many rows of this edition came back, by what weighs most of each; {} where none did."""
        worst = [kind for kind, _, _ in self.bounces.worst(self._id).values()]
        return {kind: worst.count(kind) for kind in KINDS if kind in worst}

    def uncertain(self) -> list[Record]:
        """Return the uncertain rows that wait for the person's word, in row order."""
        found = self._records(statements.UNCERTAIN)
        return [record for record in found if record.state is State.UNCERTAIN]

    def records(self) -> Iterator[Record]:
        """Yield what is known of every row of the list, in row order."""
        return self._records(statements.RECORDS)

    def troubles(self) -> Iterator[Record]:
        """Yield the rows that need a look, in row order: failed, deferred, or uncertain and undecided."""
        return (record for record in self._records(statements.TROUBLES) if record.state is not State.WAITING)

    def gone(self) -> Iterator[Record]:
        """Yield what is known of the rows that are no longer in the list, in the order they had there."""
        return self._records(statements.GONE_RECORDS)

    def sent_with(self, fingerprint: str, key: str) -> str:
        """Return the Message-ID under which this key was sent one version of the campaign, in any edition.

        "" if it was not sent that version.
        """
        found = self._database.one(statements.SENT_WITH, (key, fingerprint))
        return found[0] if found else ""

    def versions(self) -> dict[str, int]:
        """Return how many rows were sent each version of the campaign, by fingerprint, in all editions."""
        return dict(self._database.all(statements.VERSIONS))

    def next_due(self) -> float | None:
        """Return the moment, in seconds since the epoch, when the first deferred row may be tried again."""
        found = self._database.one(statements.NEXT_DUE, (self._id,))
        return found[0] if found else None

    def recent(self, since: float) -> list[Past]:
        """Return all attempts since a moment, of every edition: when, and for how many recipients."""
        return list(self._database.all(statements.RECENT, (since,)))

    def to_do(self) -> bytearray:
        """Return a byte for each number of a row: 1 where the row is waiting or deferred."""
        last = self._database.one(statements.LAST_ROW, (self._id,))[0]
        flags = bytearray(last + 1)
        for (row,) in self._database.all(statements.TO_DO, (self._id,)):
            flags[row] = 1
        return flags

    def mailed(self, since: float) -> Iterator[tuple[str, float]]:
        """Yield the address and the moment of what was sent since a moment, in every edition."""
        yield from self._database.all(statements.MAILED, (since,))

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _standings(self, first: int, last: int) -> dict[int, tuple[str, Standing]]:
        """Return key and standing of what is still to be sent, by row, from one row to another."""
        found = self._database.page(statements.STANDINGS, (self._id, first, last))
        return {row[0]: (row[-1], self._standing(row[:-1])) for row in found}

    def _standing(self, found: tuple[Any, ...]) -> Standing:
        row, state, attempts, due, date, digest, given, message_id, first, fingerprint, settled = found
        return Standing(
            row,
            self._visible(state),
            attempts,
            due,
            datetime.fromisoformat(date) if date else None,
            digest,
            given,
            message_id,
            first,
            fingerprint,
            bool(settled),
        )

    def _visible(self, state: str) -> State:
        if state == "committing":
            return State.WAITING if self.running else State.UNCERTAIN
        return State(state)

    def _records(self, statement: str) -> Iterator[Record]:
        bounced = {key: in_words(*told) for key, told in self.bounces.worst(self._id).items()}
        for found in self._database.all(statement, (self._id,)):
            row, key, to, state, code, enhanced, reply, attempts, message_id, time, due, *last = found
            settled, reason, stage = last
            yield Record(
                row=row,
                key=key,
                to=to,
                state=self._visible(state),
                code=code,
                enhanced=enhanced,
                reply=reply,
                attempts=attempts,
                message_id=message_id,
                time=time,
                due=due,
                settled=bool(settled),
                reason=bounced.get(key, "") if state == "sent" and bounced else reason,
                stage=stage,
            )
