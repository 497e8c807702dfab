"""A journal of many rows opens, goes on and tells its state as quickly as a small one."""

from __future__ import annotations

import sqlite3
import time
import tracemalloc
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from journal_kit import bring, delivery

from merge.clock import WallClock
from merge.journal import Journal, Listed, statements
from merge.journal.database import Database
from merge.model import State

ROWS = 30_000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "journal.db"
    with Journal.open(path, edition="1", clock=WallClock()) as journal:
        enrol_all(journal)
        for number in range(0, 3000, 10):
            bring(journal, f"person{number}", State.SENT)
        journal.committing(delivery(journal, "person1"))
    return path


def enrol_all(journal: Journal) -> None:
    with journal.enrolment() as enrolment:
        for number in range(ROWS):
            key = f"person{number}"
            assert enrolment.seen(key) is None
            enrolment.add(Listed(number + 2, key, f"{key}@x.example", "0123456789abcdef"))
        enrolment.plan()
        enrolment.commit()


@pytest.mark.parametrize(
    "statement",
    [
        "STANDING",
        "COMMITTING",
        "OUTCOME",
        "WITHDRAWN",
        "DOUBT",
        "COUNTS",
        "UNCERTAIN",
        "NEXT_DUE",
        "RECENT",
        "RECORDS",
        "LISTED_NUMBER",
        "SEEN",
        "ENROLLED",
        "COPIES",
        "COPY_WITH",
        "SENT_WITH",
        "AHEAD",
        "LAST_NUMBER",
        "LAST_ROW",
        "MAILED",
        "SKIPPED",
        "TO_DO",
        "TROUBLES",
    ],
)
def test_no_question_walks_through_the_whole_table(path: Path, statement: str) -> None:
    sql = getattr(statements, statement)
    connection = sqlite3.connect(path)
    try:
        given = {"now": 1} if ":now" in sql else (1,) * sql.count("?")
        steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", given)]
    finally:
        connection.close()
    assert steps
    assert not [step for step in steps if step.startswith("SCAN rows") and "INDEX" not in step], steps
    assert not [step for step in steps if "TEMP B-TREE FOR ORDER BY" in step and statement == "RECORDS"], (
        steps
    )


def test_open_go_on_and_status_take_no_time(path: Path) -> None:
    began = time.perf_counter()
    with Journal.open(path, edition="1", clock=WallClock()) as journal:
        opened = time.perf_counter() - began
        counts = journal.counts()
        assert sum(counts.values()) == ROWS
        assert counts[State.SENT] == 300
        assert counts[State.UNCERTAIN] == len(journal.uncertain()) == 1
        assert journal.next_due() is None
        told = time.perf_counter() - began
    assert opened < 0.5
    assert told < 1.0


def test_a_second_pass_needs_a_byte_a_row(path: Path) -> None:
    with Journal.open(path, edition="1", clock=WallClock()) as journal:
        tracemalloc.start()
        try:
            enrol_all(journal)
            deque(journal.records(), maxlen=0)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 2 * ROWS + 400_000  # a list of the keys alone would take some millions


def test_a_list_as_it_was_costs_no_question_a_row(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name in ("one", "run", "page"):
        plain = getattr(Database, name)

        def ask(self: Database, sql: str, values: Any = (), plain: Any = plain) -> Any:
            asked.append(sql)
            return plain(self, sql, values)

        monkeypatch.setattr(Database, name, ask)
    with Journal.open(path, edition="1", clock=WallClock()) as journal:
        asked.clear()
        enrol_all(journal)
    assert len(asked) < ROWS / 100
