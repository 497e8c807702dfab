"""The disk is full, or fails, at every write and sync of a run: it stops, says so, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from crash_checker import violations
from crash_disk import FULL, IOERR_FSYNC, IOERR_WRITE, Disk, Op, library
from crash_run import campaign, deliveries, enrol, records

from merge.clock import TestClock
from merge.errors import JournalError
from merge.journal import Journal
from merge.model import State

pytestmark = pytest.mark.skipif(
    library() is None, reason="this Python has SQLite built in, beyond the reach of a VFS"
)

KEYS = ["ann@a.example", "ben@b.example", "zoe@c.example"]
FATES = dict(zip(KEYS, ("accepted", "greylisted", "failed"), strict=True))


class Trouble:
    """Fails every operation of a kind from the n-th on, or the n-th alone."""

    def __init__(self, kind: str, number: int, code: int, *, passing: bool) -> None:
        self.kind = kind
        self.number = number
        self.code = code
        self.passing = passing
        self.seen = -1

    def __call__(self, op: Op) -> int:
        self.seen += op.kind == self.kind
        if op.kind != self.kind or self.seen < self.number or (self.passing and self.seen > self.number):
            return 0
        return self.code


@pytest.mark.parametrize("length", ["once", "from then on"])
@pytest.mark.parametrize(
    ("kind", "code"),
    [("write", FULL), ("write", IOERR_WRITE), ("sync", IOERR_FSYNC)],
    ids=["full", "write", "sync"],
)
def test_trouble_at_every_operation(tmp_path: Path, kind: str, code: int, length: str) -> None:
    said = 0
    for number in range(1000):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / "journal.db"
        with Disk(folder) as disk:
            disk.fail = trouble = Trouble(kind, number, code, passing=length == "once")
            stopped = None
            try:
                ending, _ = campaign(path, KEYS, FATES, mark=disk.mark, calm=False)
                stopped = ending.stopped
            except JournalError as error:
                stopped = error
            accepted = [(mark[1], mark[2]) for mark in disk.marks(len(disk.log)) if mark[0] == "accepted"]
        if trouble.seen < number:
            break  # the run is shorter than that
        if stopped is not None:
            assert isinstance(stopped, JournalError)
            assert stopped.hint
            said += 1
        committed = {mark[1] for mark in disk.marks(len(disk.log)) if mark[0] == "dot"}
        found = {record.key: record.state for record in records(path)}
        assert all(found[key] is not State.WAITING for key in committed)
        _, script = campaign(path, KEYS, {})
        found = records(path)
        assert not violations(accepted + script.accepted, found, keys=KEYS, in_doubt=1)
        assert not {record.state for record in found} & {State.WAITING, State.DEFERRED}
    assert number > 10
    assert said > number / 2


def test_an_outcome_that_cannot_be_written_is_handed_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with Disk(tmp_path) as disk:
        dots = 0

        def full_after_the_first_dot(op: Op) -> int:
            return FULL if op.kind == "write" and dots else 0

        def mark(*content: str) -> None:
            nonlocal dots
            dots += content[0] == "dot"

        disk.fail = full_after_the_first_dot
        ending, script = campaign(path, KEYS, {}, mark=mark, calm=False)
    assert isinstance(ending.stopped, JournalError)
    assert "full" in ending.stopped.message
    assert [(outcome.key, outcome.state) for outcome in ending.unrecorded] == [(KEYS[0], State.SENT)]
    assert [key for _, key in script.accepted] == KEYS[:1]
    assert [record.state for record in records(path)] == [State.UNCERTAIN, State.WAITING, State.WAITING]


def test_after_a_failed_sync_nothing_more_is_committed(tmp_path: Path) -> None:
    """A second sync may succeed although the first one lost what it should have written."""
    with (
        Disk(tmp_path) as disk,
        Journal.open(tmp_path / "journal.db", edition="", clock=TestClock()) as journal,
    ):
        enrol(journal, KEYS)
        waiting = list(deliveries(journal, KEYS))
        disk.fail = lambda op: IOERR_FSYNC if op.kind == "sync" else 0
        for delivery in waiting:
            with pytest.raises(JournalError, match="disk refuses"):
                journal.committing(delivery)
            disk.fail = None


def test_a_full_disk_is_forgiven_when_there_is_room(tmp_path: Path) -> None:
    with (
        Disk(tmp_path) as disk,
        Journal.open(tmp_path / "journal.db", edition="", clock=TestClock()) as journal,
    ):
        enrol(journal, KEYS)
        waiting = list(deliveries(journal, KEYS))
        disk.fail = lambda op: FULL if op.kind == "write" else 0
        with pytest.raises(JournalError, match="disk is full"):
            journal.committing(waiting[0])
        disk.fail = None
        journal.committing(waiting[0])
        assert [record.state for record in journal.records()][1:] == [State.WAITING, State.WAITING]
