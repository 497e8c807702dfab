"""One account, one pace, however many runs send through it."""

from __future__ import annotations

import os
import sqlite3
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from courier_kit import Sending

from merge.carrier import Memory
from merge.clock import TestClock, WallClock
from merge.courier import run
from merge.errors import JournalError
from merge.journal import Journal, Ledger
from merge.model import Delivery, Outcome, State
from merge.pace import Pace
from merge.retry import Retry


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


def free(past: list[tuple[float, int]], in_flight: tuple[int, int]) -> bool:
    return True


def test_it_remembers_what_an_account_sent_and_no_other(path: Path, clock: TestClock) -> None:
    with Ledger.open(path, account="a", clock=clock) as ledger:
        for _ in range(3):
            place = ledger.claim(free)
            assert place is not None
            clock.sleep(10)
            ledger.land(place)
        place = ledger.claim(free)
        assert place is not None
        ledger.land(place, tried=False)
    with Ledger.open(path, account="a", clock=clock) as ledger:
        start = 1_800_000_000.0
        assert ledger.recent(start) == [(start + 10, 1), (start + 20, 1), (start + 30, 1)]
        assert ledger.recent(start + 15) == [(start + 20, 1), (start + 30, 1)]
    with Ledger.open(path, account="b", clock=clock) as ledger:
        assert ledger.recent(0) == []


def test_runs_hear_of_each_other_once(path: Path, clock: TestClock) -> None:
    with (
        Ledger.open(path, account="a", clock=clock) as mine,
        Ledger.open(path, account="a", clock=clock) as theirs,
    ):
        place = theirs.claim(free)
        assert place is not None
        assert mine.news() == ([], (1, 1))
        assert theirs.news() == ([], (0, 0))
        theirs.land(place)
        assert mine.news() == ([(clock.now(), 1)], (0, 0))
        assert mine.news() == ([], (0, 0))


def test_recipients_are_counted_beside_messages(path: Path, clock: TestClock) -> None:
    with (
        Ledger.open(path, account="a", clock=clock) as mine,
        Ledger.open(path, account="a", clock=clock) as theirs,
    ):
        first, second = theirs.claim(free, 3), theirs.claim(free, 2)
        assert first is not None
        assert second is not None
        assert mine.news() == ([], (2, 5))
        theirs.land(first)
        assert mine.news() == ([(clock.now(), 3)], (1, 2))
        clock.sleep(901)
        assert mine.news() == ([(1_800_000_900.0, 2)], (0, 0))
        assert mine.recent(0) == [(1_800_000_000.0, 3), (1_800_000_900.0, 2)]


def test_a_ledger_of_the_first_format_goes_on(path: Path, clock: TestClock) -> None:
    path.parent.mkdir()
    older = sqlite3.connect(path)
    older.executescript(
        """
        PRAGMA application_id = 1836084273; PRAGMA user_version = 1;
        CREATE TABLE flying (id INTEGER PRIMARY KEY, account TEXT NOT NULL, run TEXT NOT NULL,
            offered REAL NOT NULL);
        CREATE TABLE outcomes (id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, run TEXT NOT NULL,
            time REAL NOT NULL);
        INSERT INTO flying VALUES (1, 'a', 'other', 1800000000.0);
        INSERT INTO outcomes VALUES (7, 'a', 'other', 1799999990.0);
        """
    )
    older.close()
    with Ledger.open(path, account="a", clock=clock) as ledger:
        assert ledger.recent(0) == [(1_799_999_990.0, 1)]
        assert ledger.news() == ([], (1, 1))
        place = ledger.claim(free, 2)
        assert place is not None
        ledger.land(place)
        assert ledger.recent(0)[-1] == (clock.now(), 2)
        assert ledger.mailed.when("ann@x.org") is None


def test_a_place_that_others_took_is_not_given(path: Path, clock: TestClock) -> None:
    with (
        Ledger.open(path, account="a", clock=clock) as mine,
        Ledger.open(path, account="a", clock=clock) as theirs,
    ):
        assert theirs.claim(free) is not None
        assert mine.claim(lambda past, in_flight: in_flight[0] < 1) is None
        assert mine.claim(lambda past, in_flight: in_flight[0] < 2) is not None


def test_a_message_whose_run_died_counts_until_no_server_can_take_it_any_more(
    path: Path, clock: TestClock
) -> None:
    with Ledger.open(path, account="a", clock=clock) as dead:
        dead.claim(free)
    with Ledger.open(path, account="a", clock=clock) as ledger:
        clock.sleep(899)
        assert ledger.news() == ([], (1, 1))
        clock.sleep(2)
        assert ledger.news() == ([(1_800_000_900.0, 1)], (0, 0))


def test_it_forgets_what_no_window_reaches(path: Path, clock: TestClock) -> None:
    with Ledger.open(path, account="a", clock=clock) as ledger:
        place = ledger.claim(free)
        assert place is not None
        ledger.land(place)
    clock.sleep(3 * 86400)
    with Ledger.open(path, account="a", clock=clock) as ledger:
        assert ledger.recent(0) == []


def test_it_can_lie_beside_a_journal_that_is_held(tmp_path: Path, clock: TestClock) -> None:
    with (
        Journal.open(tmp_path / "journal.db", edition="1", clock=clock),
        Ledger.open(tmp_path / "ledger.db", account="a", clock=clock) as ledger,
    ):
        assert ledger.claim(free) is not None


def test_a_journal_is_no_ledger(tmp_path: Path, clock: TestClock) -> None:
    Journal.open(tmp_path / "journal.db", edition="1", clock=clock).close()
    with pytest.raises(JournalError, match="not one that mergepost made"):
        Ledger.open(tmp_path / "journal.db", account="a", clock=clock)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Sending, Sending]]:
    """Two campaigns of one account, on one clock."""
    clock = TestClock()
    sendings = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        sendings.append(Sending(tmp_path / name / "journal.db", 3, clock=clock))
    yield sendings[0], sendings[1]
    for sending in sendings:
        sending.journal.close()


def test_a_campaign_waits_for_what_another_sent(two: tuple[Sending, Sending], path: Path) -> None:
    for sending in two:
        with Ledger.open(path, account="a", clock=sending.clock) as ledger:
            sending.run(Pace(per_hour=2), ledger=ledger, patience_limit=1e9)
    assert two[0].line.times == pytest.approx([0, 0, 3600], abs=1)
    assert two[1].line.times == pytest.approx([3600, 7200, 7200], abs=1)


def test_a_row_offered_and_taken_back_counts_for_nothing(two: tuple[Sending, Sending], path: Path) -> None:
    first, _ = two
    first.line.size = 3
    first.line.before = lambda delivery: first.clock.interrupt()
    with Ledger.open(path, account="a", clock=first.clock) as ledger:
        first.run(Pace(per_hour=3), ledger=ledger)
        assert len(ledger.recent(0)) == 1
    with Ledger.open(path, account="a", clock=first.clock) as other:
        assert other.news() == ([], (0, 0))


@pytest.mark.parametrize("size", [1, 3])
def test_a_ledger_that_breaks_stops_the_run_and_loses_nothing(
    two: tuple[Sending, Sending], path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    first, _ = two
    first.line.size = size

    def broken(self: Ledger, place: int, *, tried: bool = True) -> None:
        raise JournalError("the disk is full")

    with Ledger.open(path, account="a", clock=first.clock) as ledger:
        monkeypatch.setattr(Ledger, "land", broken)
        ending = first.run(Pace(per_hour=100), ledger=ledger)
    assert isinstance(ending.stopped, JournalError)
    assert ending.unrecorded == ()
    assert first.states() == [State.SENT, State.WAITING, State.WAITING]
    assert ending.tally[State.SENT] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, which POSIX alone can do")
def test_three_runs_at_once_keep_one_pace(tmp_path: Path, path: Path) -> None:
    seen = os.open(tmp_path / "seen", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def accept(delivery: Delivery) -> Outcome:
        os.write(seen, f"{time.monotonic()}\n".encode())
        return Outcome(delivery.key, delivery.row, State.SENT, "end of data", 250)

    children = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                sending = Sending(folder / "journal.db", 8)
                clock = WallClock()
                with Ledger.open(path, account="a", clock=clock) as ledger:
                    ending = run(
                        sending.deliveries(),
                        carrier=Memory(sending.journal.committing, accept),
                        journal=sending.journal,
                        pace=Pace(per_second=8),
                        retry=Retry(),
                        clock=clock,
                        ledger=ledger,
                    )
                code = int(ending.tally[State.SENT] != 8)
            except BaseException:  # noqa: BLE001 - a child ends here, whatever happened
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]
    os.close(seen)
    moments = sorted(float(line) for line in (tmp_path / "seen").read_text().split())
    assert len(moments) == 24
    closest = min(later - earlier for earlier, later in zip(moments, moments[8:], strict=False))
    assert closest > 0.999
    assert moments[-1] - moments[0] < 6
