"""What does the list say now, next to what happened before?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from merge.journal import statements
from merge.journal.register import Holder, Listed
from merge.model import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from merge.journal.database import Database


class _Known(NamedTuple):
    """What is on record of a row."""

    row: int
    to: str
    listed: str
    state: str
    reason: str
    digest: str
    recipients: int
    number: int
    settled: int
    given: str
    due: float | None


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
    """One pass through the list, written inside one transaction: a Register.

    A list is mostly as it was, so what is known of the next rows is read ahead in the order of the last list;
    a row that is found there, unchanged, costs no question to the database. Memory stays flat but for one
    byte a row.

    What happened belongs to the key, and so to the row that stands for it: a choice that leaves that row out
    hands it all to the next row with the key, and nobody is sent to twice, or passed over.
    """

    def __init__(self, database: Database, edition: int) -> None:
        self._database = database
        self._edition = edition
        self._seen = bytearray()
        self._states: Counter[str] = Counter()
        self._as_it_was = [0] * len(_AS_IT_WAS)
        self._new = self._changed = self._changed_after = self._kept = self._uncertain = 0
        self._committed = False
        self._ahead: dict[str, tuple[Any, ...]] = {}
        self._in_full: dict[str, _Known] = {}
        self._read_to: tuple[int, int] | None = (-1, -1)
        self._read = 0
        self._fresh: dict[tuple[str, int], tuple[Any, ...]] = {}
        self._has_copies = False
        self._moved: dict[tuple[str, int], str] = {}

    def __enter__(self) -> Self:
        self._database.run("BEGIN IMMEDIATE")
        found = self._database.one(statements.LISTED_NUMBER, (self._edition,))
        self._listed_before: int = found[0] if found else 0
        self._next_number: int = self._database.one(statements.LAST_NUMBER)[0] + 1
        self._seen = bytearray(self._next_number)
        self._has_copies = self._database.one(statements.COPIES, (self._edition,)) is not None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._committed:
            self._database.roll_back()

    def seen(self, key: str) -> Holder | None:
        """Return the row that stands for this key so far in this pass, None where there is none yet."""
        if key in self._ahead:
            return None
        if (fresh := self._fresh.get((key, 0))) is not None:
            return Holder(fresh[4], fresh[6] == State.SKIPPED)
        self._read_on()
        if key in self._ahead:
            return None
        found = self._database.one(statements.SEEN, (self._edition, key))
        if not found or not self._is_marked(found[0]):
            return None
        return Holder(found[1], found[2] == State.SKIPPED)

    def add(self, line: Listed) -> State:
        """Enrol one row of the list and return the state it stands in, given what happened before.

        What was sent, failed or may have been sent stays so; a deferred row stays deferred while it is to be
        sent. A further row with a key is kept on its own line and is never WAITING; where the row before it
        is SKIPPED and this one is not, they change places. Raises ValueError for a state or a second row that
        breaks these rules.
        """
        if not line.duplicate and (ahead := self._ahead.pop(line.key, None)) is not None:
            how = ahead[5]
            if how is not None and ahead[:5] == line[:5] and line.state is State.WAITING:
                self._seen[ahead[6]] = 1
                self._as_it_was[how] += 1
                return _AS_IT_WAS[how]
            known = self._in_full.pop(line.key) if how is None else _in_full(*ahead)
            _refuse_impossible(line)
            return self._meet(line, known)
        _refuse_impossible(line)
        if line.duplicate and not line.digest:
            line = line._replace(digest=self._moved.pop((line.key, line.row), ""))
        found = self._look_up(line.key, line.row if line.duplicate else 0)
        if found is None:
            self._enrol(line)
            return line.state
        if not self._is_marked(found.number):
            return self._meet(line, found)
        if line.duplicate or found.listed != State.SKIPPED:
            raise ValueError(f"row {line.row} has a key that was enrolled before in this pass")
        return self._share(line, found)

    def plan(self) -> Plan:
        """Return the sum of the pass so far."""
        self._write()
        gone = [state for _, state in self._gone()]
        states = self._states.copy()
        for state, number in zip(_AS_IT_WAS, self._as_it_was, strict=True):
            states[state] += number
        return Plan(
            {state: states[state.value] for state in State},
            states.total(),
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

    def _meet(self, line: Listed, known: _Known) -> State:
        """Take up a row that was enrolled in an earlier pass."""
        self._seen[known.number] = 1
        self._kept += bool(known.listed) and not line.duplicate
        stands = _standing(line, known)
        self._uncertain += stands is State.UNCERTAIN and not known.settled
        before = known.digest
        another = self._was_a_copy(line) if line.row != known.row and line.digest != before else None
        if another:
            # Another row stood for the key last time, and may be still to come.
            self._moved[line.key, known.row] = before
            before = another.digest
        self._compare(line, known, stands, before)
        return self._write_again(line, known, stands, before)

    def _share(self, line: Listed, holder: _Known) -> State:
        """Take up a row whose key a skipped row has had so far in this pass."""
        if line.state is State.SKIPPED:
            return self.add(line._replace(duplicate=True))
        before = self._moved.pop((line.key, line.row), None)
        if before is None:
            was_copy = self._was_a_copy(line)
            before = was_copy.digest if was_copy else ""
        reason = holder.reason
        if holder.state != State.SKIPPED:
            reason = f"left out; row {line.row} has the same address"
        self._states[holder.state] -= 1
        skipped = (holder.digest, holder.recipients, State.SKIPPED, reason)
        self.add(Listed(holder.row, line.key, holder.to, *skipped, duplicate=True))
        self._write()
        stands = _standing(line, holder)
        self._compare(line, holder, stands, before)
        return self._write_again(line, holder, stands, before)

    def _was_a_copy(self, line: Listed) -> _Known | None:
        """Return what is on record of a row that another one stood for when it was last enrolled."""
        return self._look_up(line.key, line.row) if self._has_copies else None

    def _compare(self, line: Listed, known: _Known, stands: State, before: str) -> None:
        """Count a letter to be sent that reads otherwise than `before`, the digest of this row's last one.

        A row that had none, for it was left out, has not changed. Nor has one whose key was sent the letter
        of another row that is still in the list.
        """
        if line.state is not State.WAITING:
            return
        if stands is State.SENT or stands is State.UNCERTAIN:
            self._changed_after += line.digest != known.given and not self._is_of_another(line, known)
        elif before or known.listed == State.INVALID:
            self._changed += line.digest != before

    def _is_of_another(self, line: Listed, known: _Known) -> bool:
        """Whether the letter that was sent is that of another row with the same key."""
        if self._moved.get((line.key, known.row)) == known.given:
            return True
        where = (self._edition, line.key, known.given)
        return self._has_copies and self._database.one(statements.COPY_WITH, where) is not None

    def _write_again(self, line: Listed, known: _Known, stands: State, before: str) -> State:
        """Bring the record up to date; what has no letter now keeps the digest of the last one it had."""
        reason = known.reason if stands is not line.state and stands == known.state else line.reason
        digest = line.digest or before
        now = (line.row, line.to, line.state.value, stands.value, reason, digest, line.recipients)
        if now != known[:7]:
            self._database.run(statements.ENROL_AGAIN, (*now, known.number))
        self._states[stands] += 1
        return stands

    def _read_on(self) -> None:
        """Read ahead, once half of what was read is used; where the list is another, that never comes."""
        used = self._read - len(self._ahead)
        if self._read_to is None or (self._ahead and used < _AT_ONCE // 2):
            return
        if len(self._ahead) > 4 * _AT_ONCE:
            self._ahead.clear()
            self._in_full.clear()
        found = self._database.page(statements.AHEAD, (self._edition, *self._read_to, _AT_ONCE))
        self._read_to = (found[-1][0], found[-1][6]) if len(found) == _AT_ONCE else None
        # What was met in this pass may have moved to where it is read again.
        marks = self._seen
        fresh = {row[1]: row for row in found if not marks[row[6]]}
        self._ahead.update(fresh)
        self._read = len(self._ahead)
        if others := [row[6] for row in fresh.values() if row[5] is None]:
            places = ",".join("?" * len(others))
            for key, *rest in self._database.page(f"{statements.IN_FULL}({places})", tuple(others)):
                self._in_full[key] = _Known(*rest)

    def _look_up(self, key: str, copy: int) -> _Known | None:
        """Return what is on record of a row that was not read ahead, this pass included."""
        if (key, copy) in self._fresh:
            self._write()
        found = self._database.one(statements.ENROLLED, (self._edition, key, copy))
        return _Known(*found) if found else None

    def _enrol(self, line: Listed) -> None:
        row, key, to, digest, recipients, state, reason, duplicate = line
        copy, number, listed = row if duplicate else 0, self._next_number, state.value
        self._next_number += 1
        self._fresh[key, copy] = (
            *(number, self._edition, key, copy, row, to, listed, listed, reason, digest, recipients),
        )
        if len(self._fresh) >= _AT_ONCE:
            self._write()
        self._mark(number)
        self._has_copies = self._has_copies or duplicate
        self._new += not duplicate
        self._states[state] += 1

    def _write(self) -> None:
        self._database.many(statements.ENROL, self._fresh.values())
        self._fresh.clear()

    def _gone(self) -> list[tuple[int, str]]:
        if self._kept + sum(self._as_it_was) == self._listed_before:
            return []
        rows = self._database.all(statements.LISTED, (self._edition,))
        return [(number, state) for number, state in rows if not self._is_marked(number)]

    def _is_marked(self, number: int) -> bool:
        return number < len(self._seen) and bool(self._seen[number])

    def _mark(self, number: int) -> None:
        if number >= len(self._seen):
            self._seen.extend(bytes(number + 1024 - len(self._seen)))
        self._seen[number] = 1


def _refuse_impossible(line: Listed) -> None:
    if line.state not in _LISTED or (line.duplicate and line.state is State.WAITING):
        raise ValueError(f"row {line.row} cannot be enrolled as {line.state}")


def _standing(line: Listed, known: _Known) -> State:
    """Return where a row stands, given what happened: that outweighs the list.

    But a deferred row waits only while it is to be sent; it is due again when it comes back.
    """
    was = State.DEFERRED.value if known.state in _LISTED and known.due is not None else known.state
    stands = _PAST.get(was, line.state)
    return line.state if stands is State.DEFERRED and line.state is not State.WAITING else stands


def _in_full(  # noqa: PLR0913, PLR0917 - the columns of AHEAD
    row: int, _key: str, to: str, digest: str, recipients: int, how: int, number: int
) -> _Known:
    """Return what is on record of a row that was read ahead, and is to be sent or was."""
    state = _AS_IT_WAS[how]
    given = digest if state is State.SENT else ""
    return _Known(row, to, State.WAITING.value, state.value, "", digest, recipients, number, 0, given, None)


_AT_ONCE = 512
"""How many rows are read, or written, at once."""

_LISTED = (State.WAITING, State.INVALID, State.SKIPPED)

_PAST = {state.value: state for state in (State.SENT, State.UNCERTAIN, State.FAILED, State.DEFERRED)}

_AS_IT_WAS = (State.WAITING, State.SENT)
"""Where a row stands that is to be sent as before: by the number that AHEAD gives."""
