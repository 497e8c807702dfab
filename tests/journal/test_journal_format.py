"""A journal of an older version goes on as one of today's: nothing is lost, and nothing is half done."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_kit import delivery, enrol, outcome

from merge.clock import TestClock
from merge.errors import JournalError
from merge.journal import Journal, database, schema
from merge.model import Record, State

OLDER = (Path(__file__).parent / "format_1.sql").read_text("utf-8")
"""A journal as the program of format 1 left it: a row of every state, one of them in flight."""


@pytest.fixture
def older(tmp_path: Path) -> Path:
    path = tmp_path / "journal.db"
    connection = sqlite3.connect(path)
    connection.executescript(OLDER)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    return path


def opened(path: Path) -> Journal:
    return Journal.open(path, edition="spring", clock=TestClock(1_800_001_000.0))


def rows_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(path)
    try:
        names = ("editions", "meta", "rows", "attempts")
        return {name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in names}
    finally:
        connection.close()


def shape(path: Path) -> Iterator[object]:
    """Yield all that makes a schema: columns with their types, rules and order, indexes, triggers."""
    connection = sqlite3.connect(path)
    try:
        found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2")
        for kind, name, table, sql in found.fetchall():
            yield kind, name, table
            if kind == "table":
                yield connection.execute(f"PRAGMA table_info({name})").fetchall()
                yield connection.execute(f"PRAGMA foreign_key_list({name})").fetchall()
            else:
                yield " ".join((sql or "").split())
        for mark in ("application_id", "user_version"):
            yield connection.execute(f"PRAGMA {mark}").fetchone()
    finally:
        connection.close()


def told(records: Iterator[Record]) -> dict[str, tuple[State, int]]:
    return {f"{record.key} {record.row}": (record.state, record.attempts) for record in records}


def test_an_older_journal_goes_on_with_all_that_it_knew(older: Path) -> None:
    before = rows_of(older)
    with opened(older) as journal:
        assert told(journal.records()) == {
            "ada 2": (State.SENT, 1),
            "grüße@exämple 3": (State.SENT, 1),
            "bad 4": (State.INVALID, 0),
            "out 5": (State.SKIPPED, 0),
            "later 6": (State.DEFERRED, 1),
            "no 7": (State.FAILED, 1),
            "maybe 8": (State.UNCERTAIN, 1),
            "kept 9": (State.UNCERTAIN, 1),
            "ada 10": (State.SKIPPED, 0),
            "new 11": (State.UNCERTAIN, 1),
        }
        assert [record.key for record in journal.uncertain()] == ["maybe", "new"]
        assert told(journal.gone()) == {"left 10": (State.WAITING, 0)}
        assert journal.message_id("ada", "ada.example") == "<4kecscfm3cshx54c2gi2kajztjclh6hv@ada.example>"
        assert journal.versions() == {"aaaa-bb": 2}
        assert len(journal.recent(0)) == len(before["attempts"]) + 1  # and the one that was in flight
    after = rows_of(older)
    assert after["meta"] == before["meta"]
    assert after["editions"] == before["editions"]
    in_flight = 11
    for was, now in zip(before["rows"], after["rows"], strict=True):
        if was[0] != in_flight:
            assert now == (*was, 1)
    assert [row[:-1] for row in after["attempts"]][: len(before["attempts"])] == before["attempts"]


def test_it_has_the_schema_that_a_new_one_has(older: Path, tmp_path: Path) -> None:
    opened(older).close()
    fresh = tmp_path / "fresh" / "journal.db"
    fresh.parent.mkdir()
    opened(fresh).close()
    assert list(shape(older)) == list(shape(fresh))
    assert list(shape(fresh))[-1] == (schema.VERSION,)


def test_a_row_goes_on_from_an_older_journal(older: Path) -> None:
    with opened(older) as journal:
        later = delivery(journal, "later", row=6)
        journal.committing(later)
        journal.record(outcome("later", State.SENT), attempts=2)
        enrol(journal, ["ada", "later"])
        standing = journal.standing("later")
        assert standing
        assert standing.state is State.SENT
        assert standing.message_id == "<7gfmbcacumzif33wslr57runxo2mpxpr@ada.example>"
    with (
        contextlib.closing(sqlite3.connect(older)) as connection,
        pytest.raises(sqlite3.IntegrityError, match="stays sent"),
    ):
        connection.execute("UPDATE rows SET state = 'waiting' WHERE key = 'later'")


def test_looking_at_an_older_journal_changes_nothing(older: Path) -> None:
    content = older.read_bytes()
    view = Journal.look(older, edition="spring")
    assert view
    with view:
        counts = view.counts()
        assert counts[State.SENT] == 2
        assert counts[State.UNCERTAIN] == 3
        assert list(view._database.all("SELECT * FROM bounces")) == []
        with pytest.raises(JournalError):
            view._database.run("DELETE FROM rows")
    assert older.read_bytes() == content


def test_a_change_of_format_that_fails_leaves_the_older_journal(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(shape(older)), rows_of(older)
    broken = {1: schema.STEPS[1] + "CREATE TABLE rows (id INTEGER);"}
    monkeypatch.setattr(
        "merge.journal.writing.FORMAT", database.Format(schema.MARK, schema.VERSION, schema.SCHEMA, broken)
    )
    with pytest.raises(JournalError):
        opened(older)
    monkeypatch.undo()
    assert (list(shape(older)), rows_of(older)) == before
    with opened(older) as journal:
        assert journal.counts()[State.SENT] == 2


def test_forgetting_takes_the_people_out_of_the_reports_too(older: Path) -> None:
    with opened(older) as journal:
        report = (1, "ada", "ada@x.example", "hard", "5.1.1", "no such person ada", 1.0, "hash of ada")
        journal._database.insert(
            "INSERT INTO bounces (edition, key, recipient, kind, code, reply, time, report)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            report,
        )
        enrol(journal, ["ada"])
        journal.forget()
        (kept,) = journal._database.all("SELECT key, recipient, kind, code, reply, time FROM bounces")
        assert kept == ("forgotten 1", "", "hard", "5.1.1", "", 1.0)
        assert journal._database.one("SELECT key FROM rows WHERE id = 1") == ("forgotten 1",)
    assert b"ada" not in older.read_bytes().replace(b"ada.example", b"")
