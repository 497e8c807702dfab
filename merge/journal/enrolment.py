"""What does the list say now, next to what happened before?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias, cast

from merge.journal import statements
from merge.model import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from merge.journal.database import Database

_Known: TypeAlias = tuple[int, str, str, str, str, str, int, int, int, str]
"""row, recipient, listed, state, reason, digest, recipients, id, settled, given"""


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

    A list is mostly as it was, so what is known of the next rows is read ahead in the order of the last list;
    a row that is found there, unchanged, costs no question to the database. Memory stays flat but for one
    byte a row.
    """

    def __init__(self, database: Database, edition: int) -> None:
        self._database = database
        self._edition = edition
        self._seen = bytearray()
        self._states: Counter[str] = Counter()
        self._new = self._changed = self._changed_after = self._kept = self._uncertain = 0
        self._committed = False
        self._ahead: dict[str, _Known] = {}
        self._read_to: tuple[int, int] | None = (-1, -1)
        self._used = 0
        self._fresh: dict[tuple[str, int], tuple[object, ...]] = {}

    def __enter__(self) -> Self:
        self._database.run("BEGIN IMMEDIATE")
        found = self._database.one(statements.LISTED_NUMBER, (self._edition,))
        self._listed_before: int = found[0] if found else 0
        self._next_number: int = self._database.one(statements.LAST_NUMBER)[0] + 1
        self._seen = bytearray(self._next_number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._committed:
            self._database.roll_back()

    def seen(self, key: str) -> int | None:
        """Return the number of the first row that was added with this key in this pass, if one was."""
        if key in self._ahead:
            return None
        if (fresh := self._fresh.get((key, 0))) is not None:
            return cast("int", fresh[4])
        self._read_on()
        if key in self._ahead:
            return None
        found = self._database.one(statements.SEEN, (self._edition, key))
        return found[1] if found and self._is_marked(found[0]) else None

    def add(  # noqa: PLR0913, PLR0917 - what the list says of one row, in the order of the columns
        self,
        row: int,
        key: str,
        to: str,
        state: State,
        reason: str,
        digest: str,
        *,
        duplicate: bool = False,
        recipients: int = 1,
    ) -> State:
        """Enrol one row of the list and return the state it stands in, given what happened before.

        `state` is what list and letter say: WAITING (to be sent), INVALID or SKIPPED, with a `reason`. What
        was sent, failed or may have been sent stays so; a deferred row stays deferred while it is to be sent.
        A `duplicate`, a further row with a key seen before in this pass, is kept on its own line and is never
        WAITING. Raises ValueError for a state or a second row that breaks these rules.
        """
        if state not in _LISTED or (duplicate and state is State.WAITING):
            raise ValueError(f"row {row} cannot be enrolled as {state}")
        known = None if duplicate else self._ahead.pop(key, None)
        if known is None:
            known = self._look_up(row, key, row if duplicate else 0)
        else:
            self._used += 1
        if known is None:
            self._enrol(row, key, to, state, reason, digest, recipients, duplicate=duplicate)
            return state
        _, _, listed, was, old_reason, old_digest, _, number, settled, given = known
        self._seen[number] = 1
        if listed and not duplicate:
            self._kept += 1
        stands = _PAST.get(was, state)
        if stands is State.DEFERRED and state is not State.WAITING:
            stands = state
        happened = stands is not state
        now = (row, to, state, stands, old_reason if happened else reason, digest, recipients)
        if now != known[:7]:
            self._database.run(statements.ENROL_AGAIN, (*now, number))
        if stands is State.SENT or stands is State.UNCERTAIN:
            self._changed_after += state is State.WAITING and digest != given
            self._uncertain += stands is State.UNCERTAIN and not settled
        elif state is State.WAITING:
            self._changed += digest != old_digest
        self._states[stands] += 1
        return stands

    def plan(self) -> Plan:
        """Return the sum of the pass so far."""
        self._write()
        gone = [state for _, state in self._gone()]
        return Plan(
            {state: self._states[state.value] for state in State},
            self._states.total(),
            self._new,
            self._changed,
            self._changed_after,
            len(gone),
            gone.count("sent"),
            self._uncertain,
        )

    def commit(self) -> None:
        """Make the pass the record; what it did not meet is no longer listed."""
        self._write()
        for number, _ in self._gone():
            self._database.run(statements.GONE, (number,))
        for (number,) in list(self._database.all(statements.COPIES, (self._edition,))):
            if not self._is_marked(number):
                self._database.run(statements.DROP, (number,))
        self._database.run("COMMIT")
        self._committed = True

    def _read_on(self) -> None:
        """Read ahead, once half of what was read is used; where the list is another, that never comes."""
        if self._read_to is None or (self._ahead and self._used < _AT_ONCE // 2):
            return
        self._used = 0
        if len(self._ahead) > 4 * _AT_ONCE:
            self._ahead.clear()
        found = self._database.page(statements.AHEAD, (self._edition, *self._read_to, _AT_ONCE))
        self._read_to = (found[-1][1], found[-1][8]) if len(found) == _AT_ONCE else None
        # What was met in this pass may have moved to where it is read again.
        marks = self._seen
        self._ahead.update((row[0], row[1:]) for row in found if not marks[row[8]])

    def _look_up(self, row: int, key: str, copy: int) -> _Known | None:
        """Return what is known of a row that was not read ahead."""
        known: _Known | None = None
        again = (key, copy) in self._fresh
        if not again and (known := self._database.one(statements.ENROLLED, (self._edition, key, copy))):
            again = self._is_marked(known[7])
        if again:
            raise ValueError(f"row {row} has a key that was enrolled before in this pass")
        return known

    def _enrol(  # noqa: PLR0913, PLR0917 - as `add`
        self,
        row: int,
        key: str,
        to: str,
        state: State,
        reason: str,
        digest: str,
        recipients: int,
        *,
        duplicate: bool,
    ) -> None:
        copy, number = row if duplicate else 0, self._next_number
        self._next_number += 1
        listed = state.value
        self._fresh[key, copy] = (
            *(number, self._edition, key, copy, row, to, listed, listed, reason, digest, recipients),
        )
        if len(self._fresh) >= _AT_ONCE:
            self._write()
        self._mark(number)
        self._new += not duplicate
        self._states[listed] += 1

    def _write(self) -> None:
        self._database.many(statements.ENROL, self._fresh.values())
        self._fresh.clear()

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


_AT_ONCE = 512
"""How many rows are read, or written, at once."""

_LISTED = (State.WAITING, State.INVALID, State.SKIPPED)

_PAST = {state.value: state for state in (State.SENT, State.UNCERTAIN, State.FAILED, State.DEFERRED)}
"""What happened to a row outweighs the list; but a deferred row waits only while it is to be sent."""
