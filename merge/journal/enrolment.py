"""What does the list say now, next to what happened before?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from merge.journal import statements
from merge.model import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from merge.journal.database import Database


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pass through the list found, next to what happened before. All are numbers of rows.

    `states` has all seven states and sums to `total`, the rows of the list. `new` rows were never enrolled
    in this edition, `changed` ones read otherwise than when they were last enrolled and are yet to be sent;
    `changed_after` were sent (or may have been) and read otherwise now. `gone` rows are enrolled but no
    longer listed, `gone_sent` of them were sent. `uncertain` rows wait for the person's word.
    """

    states: Mapping[State, int]
    total: int
    new: int
    changed: int
    changed_after: int
    gone: int
    gone_sent: int
    uncertain: int


class Enrolment:
    """One pass through the list, written inside one transaction.

    Memory stays flat but for one byte a row.
    """

    def __init__(self, database: Database, edition: int) -> None:
        self._database = database
        self._edition = edition
        self._seen = bytearray()
        self._states = dict.fromkeys(State, 0)
        self._new = self._changed = self._changed_after = self._kept = self._uncertain = 0
        self._committed = False

    def __enter__(self) -> Self:
        self._database.run("BEGIN IMMEDIATE")
        found = self._database.one(statements.LISTED_NUMBER, (self._edition,))
        self._listed_before: int = found[0] if found else 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._committed:
            self._database.roll_back()

    def seen(self, key: str) -> int | None:
        """Return the number of the first row that was added with this key in this pass, if one was."""
        found = self._database.one(statements.SEEN, (self._edition, key))
        return found[1] if found and self._is_marked(found[0]) else None

    def add(  # noqa: PLR0913, PLR0917 - what the list says of one row, in the order of the columns
        self, row: int, key: str, to: str, state: State, reason: str, digest: str, *, duplicate: bool = False
    ) -> State:
        """Enrol one row of the list and return the state it stands in, given what happened before.

        `state` is what list and letter say: WAITING (to be sent), INVALID or SKIPPED, with a `reason`. What
        was sent, failed or may have been sent stays so; a deferred row stays deferred while it is to be sent.
        A `duplicate`, a further row with a key seen before in this pass, is kept on its own line and is never
        WAITING. Raises ValueError for a state or a second row that breaks these rules.
        """
        if state not in _LISTED or (duplicate and state is State.WAITING):
            raise ValueError(f"row {row} cannot be enrolled as {state}")
        copy = row if duplicate else 0
        found = self._database.one(
            statements.ENROLLED,
            (self._edition, key, copy),
        )
        if found is None:
            number = self._database.insert(
                statements.ENROL,
                (self._edition, key, copy, row, to, state.value, state.value, reason, digest),
            )
            self._mark(number)
            self._new += not duplicate
            self._states[state] += 1
            return state
        number, old_row, old_to, listed, was, settled, old_reason, old_digest, given = found
        if self._is_marked(number):
            raise ValueError(f"row {row} has a key that was enrolled before in this pass")
        self._mark(number)
        self._kept += bool(listed) and not duplicate
        stands = _merge(State(was), state)
        keeps = stands in _FINAL or stands is State.DEFERRED
        now = (row, to, state.value, stands.value, old_reason if keeps else reason, digest)
        if now != (old_row, old_to, listed, was, old_reason, old_digest):
            self._database.run(
                statements.ENROL_AGAIN,
                (*now, number),
            )
        if stands in (State.SENT, State.UNCERTAIN):
            self._changed_after += digest != given
        elif stands in (State.WAITING, State.DEFERRED, State.FAILED):
            self._changed += digest != old_digest
        self._uncertain += stands is State.UNCERTAIN and not settled
        self._states[stands] += 1
        return stands

    def plan(self) -> Plan:
        """Return the sum of the pass so far."""
        gone = [state for _, state in self._gone()]
        return Plan(
            dict(self._states),
            sum(self._states.values()),
            self._new,
            self._changed,
            self._changed_after,
            len(gone),
            gone.count("sent"),
            self._uncertain,
        )

    def commit(self) -> None:
        """Make the pass the record; what it did not meet is no longer listed."""
        for number, _ in self._gone():
            self._database.run(statements.GONE, (number,))
        for (number,) in list(self._database.all(statements.COPIES, (self._edition,))):
            if not self._is_marked(number):
                self._database.run(statements.DROP, (number,))
        self._database.run("COMMIT")
        self._committed = True

    def _gone(self) -> list[tuple[int, str]]:
        if self._kept == self._listed_before:
            return []
        rows = self._database.all(statements.LISTED, (self._edition,))
        return [(number, state) for number, state in rows if not self._is_marked(number)]

    def _is_marked(self, number: int) -> bool:
        return number < len(self._seen) and bool(self._seen[number])

    def _mark(self, number: int) -> None:
        if number >= len(self._seen):
            self._seen.extend(bytes(number + 1024 - len(self._seen)))
        self._seen[number] = 1


_LISTED = (State.WAITING, State.INVALID, State.SKIPPED)
_FINAL = (State.SENT, State.UNCERTAIN, State.FAILED)


def _merge(was: State, listed: State) -> State:
    """Return the state of a row: what happened before outweighs the list, unless nothing final happened."""
    if was in _FINAL:
        return was
    if was is State.DEFERRED and listed is State.WAITING:
        return was
    return listed
