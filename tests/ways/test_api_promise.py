"""The promise, by web APIs: whatever happens, nobody is mailed twice, nobody is lost, and it is on record."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from ways_kit import VENDORS, Desk, delivery, open_desk, session

from merge.api.call import Deadlines
from merge.api.session import ApiSession
from merge.clock import WallClock
from merge.courier import Ending, run
from merge.errors import CarrierError, JournalError
from merge.journal import Journal, Listed
from merge.model import Delivery, Record, State
from merge.pace import Pace
from merge.retry import Retry

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "crash"))

from crash_checker import violations  # noqa: E402 - lives with the tests of the journal

CLEAR = ("accept", "400", "413", "429")
UNCLEAR = ("lost before", "lost after", "500 before", "500 after", "half", "garbage", "504 after")
KILLS = int(os.environ.get("MERGEPOST_WAYS_KILLS", "16"))


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slowed down by a provider, a hundredth of a second is slow enough here."""
    monkeypatch.setattr("merge.smtp.throttle.LEAST", 0.01)


def letters(journal: Journal, rows: Sequence[int]) -> list[Delivery]:
    """What is still to be sent, each with the Message-ID that the journal gives its row."""
    made = []
    for row in rows:
        one = delivery(row)
        standing = journal.standing(one.key)
        if standing and standing.state in (State.WAITING, State.DEFERRED):
            object.__setattr__(one, "message_id", journal.message_id(one.key, "ada.example"))
            content = one.content.replace(f"<{row:04d}.token@ada.example>".encode(), one.message_id.encode())
            object.__setattr__(one, "content", content)
            made.append(one)
    return made


def send(
    path: Path,
    base: str,
    vendor: str,
    rows: Sequence[int],
    *,
    clock: Any = None,
    settle: str = "",
    pace: Pace | None = None,
    way: Callable[[Journal], ApiSession] | None = None,
    **more: Any,
) -> Ending:
    """Run once over the rows, as `mergepost send` does."""
    clock = clock or WallClock()
    with Journal.open(path, edition="", clock=clock) as journal:
        with journal.enrolment() as enrolment:
            for row in rows:
                one = delivery(row)
                enrolment.add(Listed(row, one.key, one.key, one.digest))
            enrolment.commit()
        if settle == "again":
            journal.settle("again")
        desk = Desk(vendor)
        carrier = (
            way(journal)
            if way
            else session(desk, clock, base=base, before_commits=journal.committing_all, **more)
        )
        try:
            return run(
                iter(letters(journal, rows)),
                carrier=carrier,
                journal=journal,
                pace=pace or Pace(),
                retry=Retry(),
                clock=clock,
                wait=0.0,
            )
        finally:
            carrier.close()


def records(path: Path) -> list[Record]:
    view = Journal.look(path, edition="")
    assert view is not None
    with view:
        return list(view.records())


def accepted(desk: Desk) -> list[tuple[str, str]]:
    return [(message_id, recipient) for message_id, people in desk.accepted for recipient in people]


def states(path: Path) -> dict[State, int]:
    found: dict[State, int] = {}
    for record in records(path):
        found[record.state] = found.get(record.state, 0) + 1
    return found


def test_a_row_is_on_record_when_its_letter_is_accepted(desks, vendor, tmp_path):
    """The server looks into the journal at the moment of acceptance."""
    path = tmp_path / "journal.db"
    seen: list[tuple[str, str]] = []

    def took(message_id: str, recipients: tuple[str, ...]) -> None:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            seen.extend(
                database.execute(
                    "SELECT state, message_id FROM rows WHERE key = ?", recipients[:1]
                ).fetchall()
            )
        assert seen[-1][1] == message_id

    desk = desks(vendor, took=took)
    assert send(path, desk.base, vendor, range(2, 22), per_call=5).stopped is None
    assert [state for state, _ in seen] == ["committing"] * 20
    assert states(path) == {State.SENT: 20}


def test_rows_that_are_ready_together_share_a_sync(desks, tmp_path):
    desk = desks("sendgrid", delay=0.02)
    groups: list[int] = []
    path = tmp_path / "journal.db"

    def way(journal: Journal) -> ApiSession:
        def record(several: Sequence[Delivery]) -> None:
            groups.append(len(several))
            time.sleep(0.01)  # a disk as they are
            journal.committing_all(several)

        return session(desk, window=8, before_commits=record)

    send(path, desk.base, "sendgrid", range(2, 66), way=way)
    assert sum(groups) == 64
    assert len(groups) < 60
    assert desk.most_in_air > 2


@pytest.mark.parametrize("seed", range(12))
def test_whatever_the_api_does_the_checker_finds_nothing(desks, vendor, tmp_path, seed):
    """Runs with faults, then runs without, until nothing is left; uncertain rows are let go once, by word."""
    chance = Random(f"{vendor}{seed}")
    rows = range(2, 32)
    path = tmp_path / "journal.db"
    broken: list[int] = []
    faults = [True]

    def fates(_: int, recipients: list[str]) -> str:
        if not faults[0] or chance.random() < 0.75:
            return "accept"
        fate = chance.choice(CLEAR + UNCLEAR)
        if fate in UNCLEAR:
            broken.append(len(recipients))
        return fate

    desk = desks(vendor, fates=fates)
    way = {"window": chance.choice((1, 3, 8)), "per_call": chance.choice((1, 4, 50))}
    for _ in range(6):
        send(path, desk.base, vendor, rows, **way)
        found = violations(
            accepted(desk), records(path), keys=[delivery(row).key for row in rows], in_doubt=sum(broken)
        )
        assert not found
    faults[0] = False
    before = {record.key for record in records(path) if record.state is State.UNCERTAIN}
    send(path, desk.base, vendor, rows, settle="again", **way)
    assert not violations(
        accepted(desk), records(path), keys=[delivery(row).key for row in rows], let_go=before
    )
    assert set(states(path)) <= {State.SENT, State.FAILED}


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_api_promise import send
send(Path(sys.argv[2]), sys.argv[3], sys.argv[4], range(2, 2 + int(sys.argv[7])), window=int(sys.argv[5]),
     per_call=int(sys.argv[6]))
"""


class Killer:
    """Fates that end a child at the calls that the test names, counted anew after each end."""

    def __init__(self, moments: list[tuple[str, int]]) -> None:
        self.moments = moments
        self.child: list[subprocess.Popen[bytes]] = []
        self.calls = 0
        self.lock = threading.Lock()

    def __call__(self, _: int, __: list[str]) -> str:
        with self.lock:
            self.calls += 1
            if not self.moments or self.calls != self.moments[0][1]:
                return "accept"
            how, self.calls = self.moments.pop(0)[0], 0
        if how == "before":
            self.child[0].kill()
            self.child[0].wait()
            return "lost before"
        if how == "after":
            return "kill after"
        threading.Timer(0.003, self.child[0].kill).start()
        return "accept"


@pytest.mark.parametrize("trial", range(KILLS))
def test_killed_at_what_the_api_sees_nothing_is_doubled_on_the_next_run(tmp_path, trial):
    """SIGKILL before an acceptance, after it, or after the answer; then again; then a run in peace."""
    chance = Random(f"ways {trial}")
    vendor = chance.choice(tuple(VENDORS))
    window, per_call = chance.choice((1, 4)), chance.choice((1, 5))
    moments = [(chance.choice(("before", "after", "answered")), chance.randrange(1, 6)) for _ in range(2)]
    killer = Killer(moments)
    path = tmp_path / "journal.db"
    keys = [delivery(row).key for row in range(2, 14)]
    in_flight = window * (per_call if vendor == "mailjet" else 1)
    with open_desk(Desk(vendor, fates=killer, child=killer.child)) as desk:
        for attempt in range(1, 4):
            words = [str(HERE), str(path), desk.base, vendor, str(window), str(per_call), "12"]
            killer.child[:] = [
                subprocess.Popen([sys.executable, "-c", KILLED, *words], stderr=subprocess.PIPE)
            ]
            _, complaint = killer.child[0].communicate(timeout=60)
            assert killer.child[0].returncode in (0, -signal.SIGKILL), complaint.decode()
            assert not violations(accepted(desk), records(path), keys=keys, in_doubt=in_flight * attempt)
        assert not desk.flaws
    assert set(states(path)) <= {State.SENT, State.UNCERTAIN}


def test_an_interrupt_settles_what_is_in_the_air_and_leaves_the_rest_waiting(desks, vendor, tmp_path):
    path = tmp_path / "journal.db"
    clock = WallClock()
    left = [7]

    def took(*_: Any) -> None:
        left[0] -= 1
        if not left[0]:
            clock.interrupt()

    desk = desks(vendor, delay=0.05, took=took)
    ending = send(path, desk.base, vendor, range(2, 202), clock=clock, window=3, per_call=2)
    assert ending.interrupted
    found = states(path)
    assert set(found) == {State.SENT, State.WAITING}
    assert found[State.SENT] == len(desk.accepted)
    assert not violations(
        accepted(desk), records(path), keys=[delivery(row).key for row in range(2, 202)], in_doubt=0
    )


def test_a_journal_that_fails_lets_no_letter_go_but_brings_home_what_is_in_the_air(desks, vendor, tmp_path):
    path = tmp_path / "journal.db"
    desk = desks(vendor, delay=0.1)

    def way(journal: Journal) -> ApiSession:
        commits = [0]

        def record(several: Sequence[Delivery]) -> None:
            commits[0] += 1
            if commits[0] > 3:
                raise JournalError("the disk is full")
            journal.committing_all(several)

        return session(desk, window=3, per_call=2, before_commits=record)

    ending = send(path, desk.base, vendor, range(2, 42), way=way)
    assert isinstance(ending.stopped, JournalError)
    found = states(path)
    assert set(found) == {State.SENT, State.WAITING}
    assert found[State.SENT] == len(desk.accepted)
    assert not desk.broken_bodies or desk.broken_bodies <= 3  # begun, and never completed


def test_the_pace_holds_while_several_calls_are_in_the_air(desks, vendor, tmp_path):
    """Slower answers than the pace: it is kept, neither exceeded nor missed by waiting for each answer."""
    path = tmp_path / "journal.db"
    times: list[float] = []
    desk = desks(vendor, delay=0.3, took=lambda *_: times.append(time.monotonic()))
    began = time.monotonic()
    send(path, desk.base, vendor, range(2, 32), window=8, pace=Pace(per_second=10))
    assert len(times) == 30
    assert desk.most_in_air > 1 or vendor == "mailjet"  # which takes those that wait in one call
    assert time.monotonic() - began > 1.9
    assert all(later - earlier > 0.7 for earlier, later in zip(times, times[10:], strict=False))


def test_who_says_no_while_the_run_pauses_is_not_mailed(desks, vendor, tmp_path):
    """The second call is put off; before it is made again, one of its people unsubscribes."""
    path = tmp_path / "journal.db"
    gone: set[str] = set()

    def fates(number: int, _: list[str]) -> str:
        if number == 1:
            gone.add("r3@people.example")
            return "429"
        return "accept"

    desk = desks(vendor, fates=fates)

    def way(journal: Journal) -> ApiSession:
        return session(
            desk,
            window=1,
            per_call=1,
            before_commits=journal.committing_all,
            veto=lambda one: "unsubscribed" if one.key in gone else "",
        )

    assert send(path, desk.base, vendor, range(2, 6), way=way).stopped is None
    found = {record.row: record for record in records(path)}
    assert [found[row].state for row in range(2, 6)] == [
        State.SENT, State.SKIPPED, State.SENT, State.SENT,
    ]  # fmt: skip
    assert found[3].reason == "unsubscribed"
    assert "r3@people.example" not in {recipient for _, recipient in accepted(desk)}
    asked = [desk.identity(message)[1][0] for body in desk.bodies for message in desk.messages(body)]
    assert asked.count("r3@people.example") == 1


def test_a_refused_key_leaves_every_row_as_it_was(desks, vendor, tmp_path):
    path = tmp_path / "journal.db"
    desk = desks(vendor)
    ending = send(path, desk.base, vendor, range(2, 12), key="SG.wrong")
    assert isinstance(ending.stopped, CarrierError)
    assert states(path) == {State.WAITING: 10}
    assert all(record.attempts == 0 for record in records(path))
    assert send(path, desk.base, vendor, range(2, 12)).stopped is None
    assert states(path) == {State.SENT: 10}


def test_a_slow_answer_is_waited_for_and_a_missing_one_is_uncertain(desks, vendor, tmp_path):
    path = tmp_path / "journal.db"
    desk = desks(vendor, fates=lambda n, _: "silent" if n == 1 else "accept", delay=0.3)
    send(path, desk.base, vendor, range(2, 5), window=1, per_call=1, deadlines=Deadlines(20.0, 4.0))
    assert [record.state for record in records(path)] == [State.SENT, State.UNCERTAIN, State.SENT]
    doubtful = records(path)[1]
    assert "did not answer within 4 s" in doubtful.reply
    assert doubtful.message_id == desk.accepted[1][0]


def test_a_run_goes_on_with_the_same_message_id(desks, vendor, tmp_path):
    path = tmp_path / "journal.db"
    desk = desks(vendor, fates=lambda n, _: "lost after" if n == 0 else "accept")
    send(path, desk.base, vendor, [2])
    assert states(path) == {State.UNCERTAIN: 1}
    send(path, desk.base, vendor, [2])
    assert len(desk.accepted) == 1  # not by itself
    send(path, desk.base, vendor, [2], settle="again")
    assert states(path) == {State.SENT: 1}
    assert len({message_id for message_id, _ in desk.accepted}) == 1
