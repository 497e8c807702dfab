"""What has just happened? Every change of a row's state goes through here."""

from __future__ import annotations

import base64
import hmac
import secrets
from typing import TYPE_CHECKING, Literal

from merge.errors import JournalError, UsageError
from merge.journal import schema, statements
from merge.journal.database import Database, Format, make
from merge.journal.enrolment import Enrolment
from merge.journal.lock import Lock, is_held
from merge.journal.view import View

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from merge.clock import Clock
    from merge.model import Delivery, Outcome


FORMAT = Format(schema.MARK, schema.VERSION, schema.SCHEMA, schema.STEPS, schema.STAND_INS)

_LAST_ROW = 2**63 - 1


class Journal(View):
    """The journal of one edition, held by one run, to be written.

    Every method raises JournalError when the disk does not take or give what it should; nothing may be
    sent after that.
    """

    def __init__(self, database: Database, edition: str, clock: Clock, lock: Lock) -> None:
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
            make(path)
            database = Database(path, FORMAT)
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
        database = Database.looking(path, FORMAT)
        try:
            if database.check_version():
                return View(database, edition, running=running)
        except BaseException:
            database.close()
            raise
        database.close()
        return None

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
        """Have it on disk that this message is about to be accepted. Returns when it is.

        Doing so again in the same run is allowed: a line may break between this and the end of data. Raises
        JournalError, so that nothing is sent, for a row that is not waiting to be.
        """
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

    def together(self) -> AbstractContextManager[None]:
        """Commit what is recorded inside as one, or none of it."""
        return self._database.transaction()

    def skip(self, key: str, reason: str) -> None:
        """Write down that a row is not to be sent after all; nothing was written that may get it accepted."""
        self._database.run(statements.SKIPPED, (reason, self._id, key))

    def withdraw(self, key: str) -> None:
        """Let a row that was to be committed wait again, as it did before: its end of data was never begun.

        Without it, as after a crash, the row would be uncertain: cautious, but not what is known.
        """
        self._database.run(statements.WITHDRAWN, (self._id, key))

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

    def retry_failed(self, rows: range | None = None) -> int:
        """Let failed rows be tried afresh, if the list still has them to be sent; return how many.

        `rows` are numbers as the spreadsheet shows them; without them, every failed row is meant.
        """
        bounds = (rows.start, rows.stop) if rows is not None else (0, _LAST_ROW)
        with self._database.durable():
            return self._database.run(statements.RETRY_FAILED, (self._id, *bounds))

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
                self._database.run(statements.FORGET_BOUNCES, (self._id,))
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


def _secret(database: Database) -> bytes:
    found = database.one(statements.META, (0, "secret"))
    if found:
        return bytes.fromhex(found[0])
    secret = secrets.token_bytes(32)
    with database.durable():
        database.run(statements.SET_META, (0, "secret", secret.hex()))
    return secret
