"""A journal of an older format is opened, and the end comes at any moment: nothing on record is lost."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path
from random import Random

import pytest
from crash_disk import Disk, library, restore

from merge.clock import TestClock
from merge.journal import Journal, schema
from merge.model import State

pytestmark = pytest.mark.skipif(
    library() is None, reason="this Python has SQLite built in, beyond the reach of a VFS"
)

OLDER = (Path(__file__).parents[1] / "journal" / "format_1.sql").read_text("utf-8")
IN_FLIGHT = "new"


def opened(path: Path) -> Journal:
    return Journal.open(path, edition="spring", clock=TestClock(1_800_001_000.0))


def told(journal: Journal) -> dict[tuple[str, int], State]:
    return {(record.key, record.row): record.state for record in (*journal.records(), *journal.gone())}


@pytest.mark.parametrize("loss", ["kill", "power"])
def test_an_older_journal_survives_every_end_while_it_becomes_a_newer_one(loss: str, tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as base:
        first, second = Path(base) / "first", Path(base) / "second"
        first.mkdir()
        second.mkdir()
        with Disk(first) as disk:
            older = sqlite3.connect(first / "journal.db")
            older.execute("PRAGMA journal_mode = WAL")
            older.execute("PRAGMA synchronous = FULL")
            older.executescript(OLDER)
            older.close()
            begun = len(disk.log)
            with opened(first / "journal.db") as journal:
                wanted = told(journal)
                secret = journal.secret
        versions = set()
        chance = Random(loss)
        assert len(disk.log) > begun + 10
        for end in range(begun, len(disk.log) + 1):
            restore(disk.image(end, chance if loss == "power" else None), second)
            view = Journal.look(second / "journal.db", edition="spring")
            assert view, f"at {end}"
            with view:
                assert view.counts()[State.SENT] == 2, f"at {end}"
                versions.add(view._database.one("PRAGMA user_version")[0])
            with opened(second / "journal.db") as journal:
                assert told(journal) == wanted, f"at {end}"
                assert journal.secret == secret
                assert journal._database.one("PRAGMA user_version") == (schema.VERSION,)
                assert journal._database.one("PRAGMA integrity_check") == ("ok",)
        assert versions == {1, schema.VERSION}
    assert wanted[IN_FLIGHT, 11] is State.UNCERTAIN
