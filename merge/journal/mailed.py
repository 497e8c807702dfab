"""Whom has an account mailed lately, in whichever campaign?

Kept beside the ledger's moments so that no one is mailed twice within some days. An address is never on
disk, only its keyed hash: who has the file can check an address that they know, and read none from it.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
from typing import TYPE_CHECKING

from merge.errors import JournalError

if TYPE_CHECKING:
    from merge.clock import Clock
    from merge.journal.database import Database
    from merge.journal.writing import Journal

SCHEMA = """
    CREATE TABLE mailed (
        person BLOB PRIMARY KEY,
        time REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX mailed_when ON mailed (time);
    CREATE TABLE hash_key (
        value BLOB NOT NULL
    );
"""

KEPT = 90 * 86400.0
"""How long it is remembered, in seconds."""

_AT_ONCE = 256
"""How many people are kept in memory at most before they are written down."""

_SOON = 1.0
"""After how many seconds they are written down at the latest, as long as mail goes on."""

_KNOWN_TO = "mailed, known to"
_SLACK = 60.0
"""For how many seconds what was noted is noted again, so that nothing falls between two runs."""

_FORGET = "DELETE FROM mailed WHERE time < ?"
_NOTE = """
INSERT INTO mailed VALUES (?, ?) ON CONFLICT (person) DO UPDATE SET time = max(time, excluded.time)
"""
_WHEN = "SELECT time FROM mailed WHERE person = ?"
_KEY = "SELECT value FROM hash_key"
_NEW_KEY = "INSERT INTO hash_key SELECT ? WHERE NOT EXISTS (SELECT 1 FROM hash_key)"


class Mailed:
    """The people whom one account mailed. Every method raises JournalError when the file cannot be used."""

    def __init__(self, database: Database, account: str, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        database.run(_NEW_KEY, (secrets.token_bytes(32),))
        key: bytes = database.one(_KEY)[0]
        self._key = hmac.digest(key, account.encode("utf-8", "surrogatepass"), "sha256")
        self._fresh: dict[bytes, float] = {}
        self._kept_at = clock.monotonic()
        database.run(_FORGET, (clock.now() - KEPT,))

    def note(self, address: str, moment: float) -> None:
        """Remember that an address was mailed at a moment, in seconds since the epoch.

        It is written down within a second of the next note, or by `keep`.
        """
        self._fresh[self._person(address)] = moment
        now = self._clock.monotonic()
        if len(self._fresh) >= _AT_ONCE or now - self._kept_at >= _SOON:
            self._kept_at = now
            self.keep()

    def take_over(self, journal: Journal) -> None:
        """Remember whom a journal knows to have been mailed since it was last asked: a run may have died."""
        known_to = float(journal.everywhere.get(_KNOWN_TO) or 0)
        now = self._clock.now()
        for address, moment in journal.mailed(max(known_to - _SLACK, now - KEPT)):
            self.note(address, moment)
        self.keep_for(journal, now)

    def keep_for(self, journal: Journal, moment: float | None = None) -> None:
        """Write down what is remembered, and tell the journal so; where that fails, `take_over` mends it."""
        with contextlib.suppress(JournalError):
            self.keep()
            journal.everywhere.set(_KNOWN_TO, str(self._clock.now() if moment is None else moment))

    def when(self, address: str) -> float | None:
        """Return the moment when an address was last mailed, None where that is not remembered."""
        person = self._person(address)
        if person in self._fresh:
            return self._fresh[person]
        found = self._database.one(_WHEN, (person,))
        return found[0] if found else None

    def keep(self) -> None:
        """Write down what is remembered."""
        if not self._fresh:
            return
        with self._database.transaction():
            for person, moment in self._fresh.items():
                self._database.run(_NOTE, (person, moment))
        self._fresh.clear()

    def _person(self, address: str) -> bytes:
        return hmac.digest(self._key, address.casefold().encode("utf-8", "surrogatepass"), "sha256")[:16]
