"""What has an account sent lately, whichever campaign it was for?

Mail providers count by account, so this file lives with the accounts and several runs may share it. It
holds moments and numbers, nothing about letters, and of people only keyed hashes (`mailed`).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Self, TypeAlias

from merge.errors import JournalError
from merge.journal import mailed
from merge.journal.database import Database, Format, make
from merge.journal.lock import Lock
from merge.journal.mailed import Mailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from merge.clock import Clock
    from merge.pace import Past

_FORMAT = Format(
    0x6D70_6C31,
    2,
    f"""
    CREATE TABLE flying (
        id INTEGER PRIMARY KEY,
        account TEXT NOT NULL,
        run TEXT NOT NULL,
        offered REAL NOT NULL,
        recipients INTEGER NOT NULL DEFAULT 1
    );
    CREATE TABLE outcomes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        account TEXT NOT NULL,
        run TEXT NOT NULL,
        time REAL NOT NULL,
        recipients INTEGER NOT NULL DEFAULT 1
    );
    {mailed.SCHEMA}
    """,
    {
        1: f"""
    ALTER TABLE flying ADD COLUMN recipients INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE outcomes ADD COLUMN recipients INTEGER NOT NULL DEFAULT 1;
    {mailed.SCHEMA}
    """
    },
)
_KEPT = 2 * 86400.0
"""How long an outcome is remembered, in seconds: longer than the longest window of any pace."""

_GIVEN_UP = 900.0
"""When a message in flight counts as done although its run never said so, in seconds: longer than any server
may take to answer (RFC 5321, 4.5.3.2)."""

_OPENING = 10.0
"""How long another run may take to open it, in seconds."""

_FORGET = "DELETE FROM outcomes WHERE abs(time - ?) > ?"
_RECENT = "SELECT time, recipients FROM outcomes WHERE account = ? AND time > ? ORDER BY time"
_LAST = "SELECT coalesce(max(id), 0) FROM outcomes"
_NEWS = "SELECT id, time, recipients FROM outcomes WHERE id > ? AND account = ? AND run <> ?"
_STALE = "SELECT id, offered FROM flying WHERE abs(offered - ?) > ?"
_ELSEWHERE = "SELECT count(*), coalesce(sum(recipients), 0) FROM flying WHERE account = ? AND run <> ?"
_OFFER = "INSERT INTO flying (account, run, offered, recipients) VALUES (?, ?, ?, ?)"
_LAND = "DELETE FROM flying WHERE id = ?"
_LANDED = """
INSERT INTO outcomes (account, run, time, recipients)
SELECT account, run, ?, recipients FROM flying WHERE id = ?
"""

Load: TypeAlias = "tuple[int, int]"
"""So many messages, for so many recipients in all."""


class Ledger:
    """The times at which one account sent, shared by all runs on this machine.

    Moments are seconds since the epoch. Every method raises JournalError when the file cannot be used.
    """

    def __init__(self, database: Database, account: str, clock: Clock) -> None:
        self._database = database
        self._account = account
        self._clock = clock
        self._run = secrets.token_hex(8)
        self.mailed = Mailed(database, account, clock)
        with database.transaction():
            database.run(_FORGET, (clock.now(), _KEPT))
            self._read_to: int = database.one(_LAST)[0]

    @classmethod
    def open(cls, path: Path, *, account: str, clock: Clock) -> Ledger:
        """Open the ledger at `path`, making it, and folders for it, if there is none.

        `account` tells one account of a mail server from another.
        """
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"the folder {path.parent} cannot be made: {error.strerror}") from error
        # Two runs that make the file at once would be in each other's way.
        lock = Lock(path, clock.sleep, _OPENING, beside=True)
        try:
            make(path)
            database = Database(path, _FORMAT)
            try:
                database.prepare()
                return cls(database, account, clock)
            except BaseException:
                database.close()
                raise
        finally:
            lock.release()

    def recent(self, since: float) -> list[Past]:
        """Return when messages had their outcomes since a moment, in order, and their recipients' numbers."""
        return list(self._database.all(_RECENT, (self._account, since)))

    def claim(self, free: Callable[[list[Past], Load], bool], recipients: int = 1) -> int | None:
        """Take a place for one message, unless other runs leave none; return what `land` asks for.

        `free` is told the outcomes of other runs since it was last asked, and what they have in flight, and
        says whether there is a place. No other run is asked meanwhile.
        """
        with self._database.transaction():
            if not free(*self.news()):
                return None
            values = (self._account, self._run, self._clock.now(), recipients)
            return self._database.insert(_OFFER, values)

    def news(self) -> tuple[list[Past], Load]:
        """Return the outcomes of other runs since this was last asked, and what they have in flight."""
        for number, offered in list(self._database.all(_STALE, (self._clock.now(), _GIVEN_UP))):
            self._database.run(_LANDED, (offered + _GIVEN_UP, number))
            self._database.run(_LAND, (number,))
        outcomes = []
        for number, time, recipients in self._database.all(_NEWS, (self._read_to, self._account, self._run)):
            self._read_to = max(self._read_to, number)
            outcomes.append((time, recipients))
        return outcomes, self._database.one(_ELSEWHERE, (self._account, self._run))

    def land(self, place: int, *, tried: bool = True) -> None:
        """Note that a message is no longer in flight; if it was not `tried`, it counts for nothing."""
        with self._database.transaction():
            if tried:
                self._database.run(_LANDED, (self._clock.now(), place))
            self._database.run(_LAND, (place,))

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
