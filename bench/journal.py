"""What does the record cost? Messages a second with and without the journal, and a journal of many rows.

    python bench/journal.py [--rows 1000000] [--messages 2000]

The letters go nowhere (a carrier in memory), so that the figures are those of the courier and the journal
alone; the disk is that of the folder given by --folder. The least of several rounds counts.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from merge.carrier import Memory
from merge.clock import WallClock
from merge.courier import run
from merge.journal import Journal, Ledger, Listed
from merge.model import Delivery, Envelope, State
from merge.pace import Pace
from merge.retry import Retry

DATE = datetime(2027, 1, 1, tzinfo=UTC)
CONTENT = b"Subject: hello\r\n\r\n" + b"A line of the letter.\r\n" * 400


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--messages", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        cost_of_a_message(Path(folder), given.messages, given.rounds)
        cost_of_rows(Path(folder), given.rows)


def cost_of_a_message(folder: Path, messages: int, rounds: int) -> None:
    plain = best(rounds, lambda: fsyncs(folder, messages))
    print(f"a write and an fsync, alone          {messages / plain:10,.0f}/s")
    for words, committed, ledger in (
        ("courier, nothing committed", False, False),
        ("courier and journal, 1 sync a message", True, False),
        ("courier, journal and ledger", True, True),
    ):
        seconds = best(rounds, lambda c=committed, g=ledger: send(folder, messages, committed=c, ledger=g))
        print(f"{words:36} {messages / seconds:10,.0f}/s   {seconds / messages * 1e6:8.0f} us a message")


def fsyncs(folder: Path, number: int) -> float:
    handle = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    began = time.perf_counter()
    for _ in range(number):
        os.write(handle, bytes(4096))
        os.fsync(handle)
    seconds = time.perf_counter() - began
    os.close(handle)
    return seconds


def send(folder: Path, messages: int, *, committed: bool, ledger: bool) -> float:
    clock = WallClock()
    with tempfile.TemporaryDirectory(dir=folder) as home:
        path = Path(home) / "journal.db"
        with Journal.open(path, edition="", clock=clock) as journal:
            enrol(journal, messages)
            carrier = Memory(journal.committing if committed else None)
            account = Ledger.open(Path(home) / "ledger.db", account="a", clock=clock) if ledger else None
            began = time.perf_counter()
            ending = run(
                letters(journal, messages),
                carrier=carrier,
                journal=journal,
                pace=Pace(per_second=1_000_000),
                retry=Retry(),
                clock=clock,
                ledger=account,
            )
            seconds = time.perf_counter() - began
            if account:
                account.close()
            assert ending.tally[State.SENT] == messages
    return seconds


def letters(journal: Journal, number: int) -> Iterator[Delivery]:
    for row in range(number):
        key = f"person{row}@example.org"
        assert journal.standing(key)
        envelope = Envelope("news@ada.example", (key,))
        yield Delivery(
            key, row + 2, envelope, CONTENT, journal.message_id(key, "ada.example"), DATE, "digest"
        )


def enrol(journal: Journal, rows: int) -> None:
    with journal.enrolment() as enrolment:
        for row in range(rows):
            key = f"person{row}@example.org"
            if enrolment.seen(key) is None:
                enrolment.add(Listed(row + 2, key, key, "0123456789abcdef0123456789abcdef"))
        enrolment.plan()
        enrolment.commit()


def cost_of_rows(folder: Path, rows: int) -> None:
    path, clock = folder / "journal.db", WallClock()
    print(f"\n{rows:,} rows")
    with Journal.open(path, edition="", clock=clock) as journal:
        with lap("enrol them"):
            enrol(journal, rows)
        journal.committing(next(letters(journal, 1)))
    with lap("open after a kill (1 row in flight)"):
        journal = Journal.open(path, edition="", clock=clock)
    with lap("counts, uncertain rows, next attempt"):
        journal.counts(), journal.uncertain(), journal.next_due()
    with lap("enrol them again, nothing changed"):
        enrol(journal, rows)
    with lap("which rows are still to be sent"):
        assert sum(journal.to_do()) == rows - 1
    with lap("rows that need a look"):
        assert sum(1 for _ in journal.troubles()) == 1
    with lap("where 100,000 of them stand"):
        for _ in zip(range(100_000), letters(journal, rows), strict=False):
            pass
    with lap("all records, in row order"):
        assert sum(1 for _ in journal.records()) == rows
    journal.close()
    with lap("status (open to read, counts)"):
        view = Journal.look(path, edition="")
        assert view
        with view:
            view.counts()
    print(f"{'file':38} {path.stat().st_size / 1e6:9,.0f} MB")


@contextmanager
def lap(words: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{words:38} {time.perf_counter() - began:9.2f} s    peak {peak:5.0f} MB")


def best(rounds: int, act: Callable[[], float]) -> float:
    return min(act() for _ in range(rounds))


if __name__ == "__main__":
    main()
