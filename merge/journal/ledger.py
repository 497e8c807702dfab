"""What has an account sent lately, whichever campaign it was for?

Mail providers count by account, so this file lives with the accounts and several runs may share it. It
holds moments, and nothing about letters or people.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Self

from merge.errors import JournalError
from merge.journal.database import Database, Format, make
from merge.journal.lock import Lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from merge.clock import Clock

_FORMAT = Format(
    0x6D70_6C31,
    1,
    """
    CREATE TABLE flying (
        id INTEGER PRIMARY KEY,
        account TEXT NOT NULL,
        run TEXT NOT NULL,
        offered REAL NOT NULL
    );
    CREATE TABLE outcomes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        account TEXT NOT NULL,
        run TEXT NOT NULL,
        time REAL NOT NULL
    );
    """,
)
_KEPT = 2 * 86400.0
"""How long an outcome is remembered, in seconds: longer than the longest window of any pace."""

_GIVEN_UP = 900.0
"""When a message in flight counts as done although its run never said so, in seconds: longer than any server
may take to answer (RFC 5321, 4.5.3.2)."""

_OPENING = 10.0
"""How long another run may take to open it, in seconds."""

_FORGET = "DELETE FROM outcomes WHERE abs(time - ?) > ?"
_RECENT = "SELECT time FROM outcomes WHERE account = ? AND time > ? ORDER BY time"
_LAST = "SELECT coalesce(max(id), 0) FROM outcomes"
_NEWS = "SELECT id, time FROM outcomes WHERE id > ? AND account = ? AND run <> ?"
_STALE = "SELECT id, account, run, offered FROM flying WHERE abs(offered - ?) > ?"
_ELSEWHERE = "SELECT count(*) FROM flying WHERE account = ? AND run <> ?"
_OFFER = "INSERT INTO flying (account, run, offered) VALUES (?, ?, ?)"
_LAND = "DELETE FROM flying WHERE id = ?"
_OUTCOME = "INSERT INTO outcomes (account, run, time) VALUES (?, ?, ?)"


class Ledger:
    """The times at which one account sent, shared by all runs on this machine.

    Moments are seconds since the epoch. Every method raises JournalError when the file cannot be used.
    """

    def __init__(self, database: Database, account: str, clock: Clock) -> None:
        self._database = database
        self._account = account
        self._clock = clock
        self._run = secrets.token_hex(8)
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

    def recent(self, since: float) -> list[float]:
        """Return the moments, in order, at which messages had their outcomes since a moment."""
        return [time for (time,) in self._database.all(_RECENT, (self._account, since))]

    def claim(self, free: Callable[[list[float], int], bool]) -> int | None:
        """Take a place for one message, unless other runs leave none; return what `land` asks for.

        `free` is told the outcomes of other runs since it was last asked, and how many messages they
        have in flight, and says whether there is a place. No other run is asked meanwhile.
        """
        with self._database.transaction():
            if not free(*self.news()):
                return None
            values = (self._account, self._run, self._clock.now())
            return self._database.insert(_OFFER, values)

    def news(self) -> tuple[list[float], int]:
        """Return the outcomes of other runs since this was last asked, and how many they have in flight."""
        for number, account, run, offered in list(self._database.all(_STALE, (self._clock.now(), _GIVEN_UP))):
            self._database.run(_LAND, (number,))
            self._database.run(_OUTCOME, (account, run, offered + _GIVEN_UP))
        times = []
        for number, time in self._database.all(_NEWS, (self._read_to, self._account, self._run)):
            self._read_to = max(self._read_to, number)
            times.append(time)
        return times, self._database.one(_ELSEWHERE, (self._account, self._run))[0]

    def land(self, place: int, *, tried: bool = True) -> None:
        """Note that a message is no longer in flight; if it was not `tried`, it counts for nothing."""
        with self._database.transaction():
            self._database.run(_LAND, (place,))
            if tried:
                self._database.run(_OUTCOME, (self._account, self._run, self._clock.now()))

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
