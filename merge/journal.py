"""What has happened? One SQLite file per campaign that knows every row's state at every moment.

A row that is about to be accepted is `committing` on disk *before* the write that may get it
accepted; what is still `committing` when the next run starts is `uncertain`. `sent` is final: a
trigger of the database itself refuses to take it back. Everything else is told in docs/promise.md.
"""

from __future__ import annotations

import base64
import contextlib
import hmac
import os
import secrets
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self

from merge import statements
from merge.errors import JournalError, UsageError
from merge.lock import Lock, is_held
from merge.model import Record, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from merge.clock import Clock
    from merge.model import Delivery, Outcome


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


class Meta:
    """Small texts kept with an edition: hashes, the fingerprint, when it was tested."""

    def __init__(self, database: _Database, edition: int) -> None:
        self._database = database
        self._edition = edition

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the text kept under a name."""
        found = self._database.one(statements.META, (self._edition, name))
        return found[0] if found else default

    def set(self, name: str, value: str) -> None:
        """Keep a text under a name, in place of what was there."""
        self._database.run(statements.SET_META, (self._edition, name, value))


class View:
    """The journal of one edition, to be read: also while a run goes on."""

    def __init__(self, database: _Database, edition: str, *, running: bool) -> None:
        self.edition = edition
        self.running = running
        self._database = database
        found = database.one(statements.EDITION, (edition,))
        self._id: int = found[0] if found else -1
        self.forgotten: float | None = found[1] if found else None
        self.meta = Meta(database, self._id)

    def standing(self, key: str) -> Standing | None:
        """Return where the row with this key stands, or None if it never was in the list."""
        found = self._database.one(
            statements.STANDING,
            (self._id, key),
        )
        if found is None:
            return None
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

    def counts(self) -> dict[State, int]:
        """Return the number of rows in each of the seven states; they sum to the rows of the list."""
        counts = dict.fromkeys(State, 0)
        for state, number in self._database.all(statements.COUNTS, (self._id,)):
            counts[self._visible(state)] += number
        return counts

    def uncertain(self) -> list[Record]:
        """Return the uncertain rows that wait for the person's word, in row order."""
        found = self._records(statements.UNCERTAIN)
        return [record for record in found if record.state is State.UNCERTAIN]

    def records(self) -> Iterator[Record]:
        """Yield what is known of every row of the list, in row order."""
        return self._records(statements.RECORDS)

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

    def recent(self, since: float) -> list[float]:
        """Return the times of all attempts since a moment, of every edition, in seconds since the epoch."""
        rows = self._database.all(statements.RECENT, (since,))
        return [time for (time,) in rows]

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _visible(self, state: str) -> State:
        if state == "committing":
            return State.WAITING if self.running else State.UNCERTAIN
        return State(state)

    def _records(self, statement: str) -> Iterator[Record]:
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
                reason=reason,
                stage=stage,
            )


class Journal(View):
    """The journal of one edition, held by one run, to be written.

    Every method raises JournalError when the disk does not take or give what it should; nothing may be
    sent after that.
    """

    def __init__(self, database: _Database, edition: str, clock: Clock, lock: Lock) -> None:
        database.run(statements.NEW_EDITION, (edition,))
        super().__init__(database, edition, running=False)
        self._clock = clock
        self._lock = lock
        self._fingerprint = ""
        self.secret = _secret(database)
        self.doubt()

    @classmethod
    def open(cls, path: Path, *, edition: str, clock: Clock) -> Journal:
        """Open the journal at `path` for a run, making it if there is none (readable by its owner alone).

        What an earlier run left `committing` is `uncertain` from now on. Raises LockedError when another run
        holds the campaign, JournalError when the file is damaged, newer than this program or not writable.
        """
        if not path.parent.is_dir():
            raise JournalError(f"there is no folder {path.parent} to keep the journal in")
        lock = Lock(path, clock.sleep)
        try:
            _make(path)
            database = _Database(path)
            try:
                database.prepare()
                return cls(database, edition, clock, lock)
            except BaseException:
                database.close()
                raise
        except BaseException:
            lock.release()
            raise

    @staticmethod
    def look(path: Path, *, edition: str) -> View | None:
        """Open the journal at `path` to read it, without holding it; None when there is none.

        Raises JournalError when the file is damaged or newer than this program.
        """
        try:
            path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise JournalError(f"the journal {path} cannot be read: {error.strerror}") from error
        running = is_held(path)
        database = _Database.looking(path)
        try:
            return View(database, edition, running=running) if database.check_version() else None
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        """Let go of the file, then of the campaign."""
        try:
            super().close()
        finally:
            self._lock.release()

    def begin(self, fingerprint: str) -> None:
        """Say which version of the campaign is sent from now on; kept with every row it goes to."""
        self._fingerprint = fingerprint
        self.meta.set("fingerprint", fingerprint)

    def message_id(self, key: str, domain: str) -> str:
        """Return the Message-ID of the row with this key: the same whenever it is asked for."""
        seed = f"{self.edition}\0{key}".encode("utf-8", "surrogatepass")
        token = base64.b32encode(hmac.digest(self.secret, seed, "sha256")[:20]).decode().lower()
        return f"<{token}@{domain}>"

    def enrolment(self) -> Enrolment:
        """Begin a pass through the list: a context manager that undoes all of it unless told to commit."""
        if self.forgotten is not None:
            raise JournalError(
                f'the edition "{self.edition}" was forgotten: nobody knows any more who got it',
                hint="name another edition in campaign.toml",
            )
        return Enrolment(self._database, self._id)

    def committing(self, delivery: Delivery) -> None:
        """Have it on disk that this message is about to be accepted. Returns when it is."""
        with self._database.durable():
            self._commit(delivery)

    def committing_all(self, deliveries: Iterable[Delivery]) -> None:
        """Have it on disk that these messages are about to be accepted: all of them, with one sync."""
        with self._database.durable(), self._database.transaction():
            for delivery in deliveries:
                self._commit(delivery)

    def record(self, outcome: Outcome, *, attempts: int, due: float | None = None, reason: str = "") -> None:
        """Write down what an attempt came to.

        It survives the death of the process at once, and a power failure from the next `committing` on;
        until then the row counts as `uncertain`. `attempts` are those made so far, this one included;
        `due` is the moment of the next one in seconds since the epoch; `reason` says why it was given up.
        """
        now = self._clock.now()
        changed = self._database.run(
            statements.OUTCOME,
            (
                outcome.state.value,
                outcome.stage,
                outcome.code,
                outcome.enhanced,
                outcome.reply,
                attempts,
                due,
                now,
                now,
                reason,
                self._id,
                outcome.key,
            ),
        )
        if changed != 1:
            raise JournalError(
                f"row {outcome.row} is not in the journal, so its outcome cannot be kept there"
            )

    def doubt(self) -> int:
        """Turn every row that is still `committing` into `uncertain`, in every edition; return how many."""
        now = self._clock.now()
        with self._database.durable():
            return self._database.run(statements.DOUBT, {"now": now})

    def settle(self, uncertain: Literal["again", "skip"], key: str | None = None) -> int:
        """Carry out the person's word on uncertain rows: all that wait for it, or the one with this key.

        "again" lets them be sent again, if the list still has them to be sent; "skip" leaves them
        uncertain and asks no more. Returns how many rows that concerned.
        """
        statement = statements.AGAIN if uncertain == "again" else statements.SKIP
        with self._database.durable():
            return self._database.run(statement, {"edition": self._id, "key": key})

    def retry_failed(self) -> int:
        """Let every failed row be tried afresh, if the list still has it to be sent; return how many."""
        with self._database.durable():
            return self._database.run(statements.RETRY_FAILED, (self._id,))

    def forget(self) -> int:
        """Remove from a finished edition whatever tells who its people are; return the number of rows.

        States, counts and times stay. Nothing can be sent in this edition after that. Raises UsageError while
        rows of it are still to be sent or decided about.
        """
        open_rows = self._database.one(statements.OPEN_NUMBER, (self._id,))[0]
        if open_rows:
            raise UsageError(
                f'{open_rows} rows of the edition "{self.edition}" are waiting, deferred or uncertain',
                hint="send them, or take them out of the list, before their names are forgotten",
            )
        self._database.one("PRAGMA secure_delete = ON")
        with self._database.durable():
            with self._database.transaction():
                number = self._database.run(statements.FORGET, (self._id,))
                self._database.run(statements.FORGOTTEN, (self._clock.now(), self._id))
            self._database.compact()
        self.forgotten = self._clock.now()
        return number

    def _commit(self, delivery: Delivery) -> None:
        changed = self._database.run(
            statements.COMMITTING,
            (
                delivery.message_id,
                delivery.date.isoformat(),
                delivery.digest,
                self._fingerprint,
                self._id,
                delivery.key,
            ),
        )
        if changed != 1:
            standing = self.standing(delivery.key)
            raise JournalError(
                f"row {delivery.row} is {standing.state if standing else 'unknown'} in the journal,"
                " not waiting to be sent; it was not sent",
                hint="run mergepost send again; if this comes back, please report it",
            )


class Enrolment:
    """One pass through the list, written inside one transaction.

    Memory stays flat but for one byte a row.
    """

    def __init__(self, database: _Database, edition: int) -> None:
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


def _secret(database: _Database) -> bytes:
    found = database.one(statements.META, (0, "secret"))
    if found:
        return bytes.fromhex(found[0])
    secret = secrets.token_bytes(32)
    with database.durable():
        database.run(statements.SET_META, (0, "secret", secret.hex()))
    return secret


class _Database:
    """One connection; every error of SQLite leaves it as a JournalError."""

    def __init__(self, path: Path, how: str = "mode=rw") -> None:
        self._path = path
        self._broken: JournalError | None = None
        try:
            uri = f"{path.absolute().as_uri()}?{how}"
            self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0)
        except sqlite3.Error as error:
            raise self._explain(error) from error

    @classmethod
    def looking(cls, path: Path) -> Self:
        """Open an existing file for reading alone.

        What a killed run left half done may have to be cleared away first, so the file itself is opened for
        writing where that is allowed, and left as it is where it is not.
        """
        database = cls(path)
        try:
            database.run("PRAGMA query_only = ON")
            database.one("PRAGMA user_version")
        except JournalError:
            database.close()
            if os.access(path.parent, os.W_OK) or path.with_name(path.name + "-wal").exists():
                raise
            database = cls(path, "immutable=1")
        return database

    def prepare(self) -> None:
        """Make the file ready to be written: its schema, and how it meets the disk."""
        made = self.check_version()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "fullfsync = ON",
            "journal_size_limit = 67108864",
        ):
            self.one(f"PRAGMA {pragma}")
        if not made:
            with self.durable():
                self._script(f"BEGIN IMMEDIATE; {statements.SCHEMA} COMMIT;")

    def check_version(self) -> bool:
        """Return whether the file has its schema yet; raise if it is not one of ours."""
        found = self.one("PRAGMA user_version")
        version = found[0] if found else 0
        if version > statements.VERSION:
            raise JournalError(
                f"{self._path} was written by a newer mergepost (its format is {version})",
                hint="update mergepost: pip install -U mergepost",
            )
        if version == 0 and self.one("SELECT 1 FROM sqlite_master"):
            raise JournalError(
                f"{self._path} is a database, but not a journal of mergepost",
                hint="move that file out of the way",
            )
        return bool(version == statements.VERSION)

    def run(self, sql: str, values: tuple[Any, ...] | dict[str, Any] = ()) -> int:
        """Carry out one statement and return how many rows it changed."""
        try:
            return self._connection.execute(sql, values).rowcount
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def insert(self, sql: str, values: tuple[Any, ...] | dict[str, Any]) -> int:
        """Insert one row and return its number."""
        try:
            return self._connection.execute(sql, values).lastrowid or 0
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def one(self, sql: str, values: tuple[Any, ...] | dict[str, Any] = ()) -> Any:  # noqa: ANN401 - a row of any columns
        """Return the first row of a query, or None."""
        try:
            return self._connection.execute(sql, values).fetchone()
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def all(self, sql: str, values: tuple[Any, ...] | dict[str, Any] = ()) -> Iterator[Any]:
        """Yield the rows of a query."""
        try:
            yield from self._connection.execute(sql, values)
        except sqlite3.Error as error:
            raise self._explain(error) from error

    @contextlib.contextmanager
    def durable(self) -> Iterator[None]:
        """Have what commits inside on disk before it returns (SQLite's synchronous = FULL).

        Once the disk has failed, a later sync that succeeds proves nothing, so there is none.
        """
        if self._broken:
            raise self._broken
        self.run("PRAGMA synchronous = FULL")
        try:
            yield
        finally:
            self.run("PRAGMA synchronous = NORMAL")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what happens inside as one, or none of it."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            self.roll_back()
            raise

    def roll_back(self) -> None:
        """Undo the open transaction, if there is one."""
        if self._connection.in_transaction:
            self.run("ROLLBACK")

    def compact(self) -> None:
        """Write the file anew, without what was deleted from it."""
        self.one("PRAGMA wal_checkpoint(TRUNCATE)")
        self.run("VACUUM")
        self.one("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _script(self, sql: str) -> None:
        try:
            self._connection.executescript(sql)
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _explain(self, error: sqlite3.Error) -> JournalError:
        name = getattr(error, "sqlite_errorname", "")
        what, hint = next((words for prefix, words in _REASONS.items() if name.startswith(prefix)), _OTHER)
        explained = JournalError(f"{what}: {self._path} ({error})", hint=hint)
        if name.startswith(("SQLITE_IOERR", "SQLITE_CORRUPT")):
            self._broken = explained
        return explained


_OTHER = ("the journal cannot be used", "")
_REASONS = {
    "SQLITE_FULL": ("the disk is full", "make room, then run mergepost send again; nothing is lost"),
    "SQLITE_IOERR": ("the disk refuses the journal", "look after the disk, then run mergepost send again"),
    "SQLITE_READONLY": ("the journal cannot be written", "check the rights of the file and of its folder"),
    "SQLITE_CANTOPEN": ("the journal cannot be opened", "check the rights of the file and of its folder"),
    "SQLITE_NOTADB": ("this file is no journal", "move it out of the way, or restore it from a backup"),
    "SQLITE_CORRUPT": ("the journal is damaged", "restore it from a backup; do not send without it"),
    "SQLITE_BUSY": ("another program is writing to the journal", "close it, then run mergepost send again"),
}


def _make(path: Path) -> None:
    """Make the file, readable by its owner alone, unless it is there; have its name on disk."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        if os.name == "posix":
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except FileExistsError:
        return
    except OSError as error:
        raise JournalError(
            f"the journal {path} cannot be made: {error.strerror}",
            hint="make room, or move the campaign to a folder where you may write",
        ) from error
