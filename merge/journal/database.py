"""How does a change get to the disk, and what if it does not? The only module with sqlite3."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

from merge.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file: `mark` is its application_id, `version` its user_version, `schema` what makes one.

    `steps` are what makes the next version of each older one. `stand_ins` make, for an older file that is
    only read, temporary tables in place of those that it does not have yet.
    """

    mark: int
    version: int
    schema: str
    steps: Mapping[int, str] = field(default_factory=dict)
    stand_ins: Mapping[int, str] = field(default_factory=dict)


class Database:
    """One connection to a file of a known format; every error of SQLite leaves it as a JournalError."""

    def __init__(self, path: Path, form: Format, how: str = "mode=rw") -> None:
        self._path = path
        self._form = form
        self._broken: JournalError | None = None
        try:
            uri = f"{path.absolute().as_uri()}?{how}"
            self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=5.0)
        except sqlite3.Error as error:
            raise self._explain(error) from error

    @classmethod
    def looking(cls, path: Path, form: Format) -> Self:
        """Open an existing file for reading alone.

        What a killed run left half done may have to be cleared away first, so the file itself is opened for
        writing where that is allowed, and left as it is where it is not.
        """
        database = cls(path, form)
        try:
            database.only_read()
        except JournalError:
            database.close()
            if os.access(path.parent, os.W_OK) or path.with_name(path.name + "-wal").exists():
                raise
            database = cls(path, form, "immutable=1")
            database.only_read()
        return database

    def only_read(self) -> None:
        """Refuse every change of the file from now on; lend it the tables that an older one lacks."""
        (version,) = self.one("PRAGMA user_version")
        for older in range(version, self._form.version):
            self._script(self._form.stand_ins.get(older, ""))
        self.run("PRAGMA query_only = ON")

    def prepare(self) -> None:
        """Make the file ready to be written: its schema, and how it meets the disk.

        A file of an older version becomes one of this version, or, if that fails, stays as it is.
        """
        made = self.check_version()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "fullfsync = ON",
            "journal_size_limit = 67108864",
        ):
            self.one(f"PRAGMA {pragma}")
        if not made:
            self._become(self._form.schema)
            return
        (version,) = self.one("PRAGMA user_version")
        if version < self._form.version:
            self._become(*(self._form.steps[older] for older in range(version, self._form.version)))

    def _become(self, *scripts: str) -> None:
        """Change the schema to that of this version: on disk as a whole, or not at all."""
        marks = f"PRAGMA application_id = {self._form.mark}; PRAGMA user_version = {self._form.version};"
        with self.durable():
            try:
                self._script(f"BEGIN IMMEDIATE; {' '.join(scripts)} {marks} COMMIT;")
            except BaseException:
                self.roll_back()
                raise

    def check_version(self) -> bool:
        """Return whether the file has its schema yet; raise if it is of another kind, or newer."""
        if not self.one("SELECT 1 FROM sqlite_master"):
            return False
        (mark,) = self.one("PRAGMA application_id")
        (version,) = self.one("PRAGMA user_version")
        if mark != self._form.mark:
            raise JournalError(
                f"{self._path} is a database, but not one that mergepost made",
                hint="move that file out of the way",
            )
        if version > self._form.version:
            raise JournalError(
                f"{self._path} was written by a newer mergepost (its format is {version})",
                hint="update mergepost: pip install -U mergepost",
            )
        return True

    def run(self, sql: str, values: tuple[Any, ...] | dict[str, Any] = ()) -> int:
        """Carry out one statement and return how many rows it changed."""
        try:
            return self._connection.execute(sql, values).rowcount
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def many(self, sql: str, values: Iterable[tuple[Any, ...]]) -> None:
        """Carry out one statement with each of several values."""
        try:
            self._connection.executemany(sql, values)
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

    def page(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        """Return all rows of a query at once."""
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def all(self, sql: str, values: tuple[Any, ...] | dict[str, Any] = ()) -> Iterator[Any]:
        """Yield the rows of a query."""
        try:
            # Through a chain, which has nothing to close: a cursor cannot be once its file is.
            yield from chain(self._connection.execute(sql, values))
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
        """Write the file anew, without what was deleted from it; raise if someone still reads the old one."""
        self.one("PRAGMA wal_checkpoint(TRUNCATE)")
        self.run("VACUUM")
        busy, *_ = self.one("PRAGMA wal_checkpoint(TRUNCATE)")
        if busy:
            raise JournalError(
                f"another program is reading {self._path}, so what was deleted is still in it",
                hint="close it, then do this again",
            )

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


def make(path: Path) -> None:
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
