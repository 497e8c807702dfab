"""What a window brings back at once is on record with one commit, and row by row where that fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from courier_kit import Line, Onlooker, Sending

from merge.errors import JournalError
from merge.journal import Journal
from merge.journal.database import Database
from merge.model import Outcome, State


@dataclass
class Burst(Line):
    """Answers all that it was offered at once."""

    size: int = 5

    def collect(self, patience: float) -> Sequence[Outcome]:
        if len(self.offered) < self.size and len(self.log) < self.size:
            return []  # first it wants to be full
        return [outcome for _ in range(len(self.offered)) for outcome in super(Burst, self).collect(patience)]


@pytest.fixture
def five(tmp_path: Path) -> Iterator[Sending]:
    sending = Sending(tmp_path / "journal.db", 5)
    sending.line = Burst(sending.journal, sending.clock)
    yield sending
    sending.journal.close()


def by_key(outcomes: dict[str, State]):
    return lambda delivery: (outcomes.get(delivery.key, State.SENT), "end of data")


def test_one_commit_for_all_and_it_comes_before_anybody_hears(
    five: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[int] = []
    plain = Database.run

    def run(self: Database, sql: str, values=()) -> int:
        if sql == "COMMIT":
            commits.append(len(five.watch.heard))
        return plain(self, sql, values)

    five.line.answer = by_key({"k1": State.FAILED, "k2": State.DEFERRED, "k3": State.SKIPPED})
    monkeypatch.setattr(Database, "run", run)
    ending = five.run(wait=0.0)
    assert commits == [0]
    assert five.states() == [State.SENT, State.FAILED, State.DEFERRED, State.SKIPPED, State.SENT]
    assert {state.value: number for state, number in ending.tally.items() if number} == {
        "sent": 2, "failed": 1, "deferred": 1, "skipped": 1,
    }  # fmt: skip
    assert [key for _, key in five.watch.heard] == five.keys


def test_where_that_fails_each_is_written_alone_and_the_rest_is_told(
    five: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Journal.record

    def record(self: Journal, outcome: Outcome, **more) -> None:
        if outcome.key == "k2":
            raise JournalError("the disk is full")
        plain(self, outcome, **more)

    monkeypatch.setattr(Journal, "record", record)
    ending = five.run()
    assert isinstance(ending.stopped, JournalError)
    assert [outcome.key for outcome in ending.unrecorded] == ["k2"]
    monkeypatch.undo()
    five.journal.doubt()
    assert five.states() == [State.SENT, State.SENT, State.UNCERTAIN, State.SENT, State.SENT]
    assert ending.tally[State.SENT] == 4


def test_a_run_that_is_torn_away_in_between_leaves_all_of_them_uncertain(
    five: Sending, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Journal.record

    def record(self: Journal, outcome: Outcome, **more) -> None:
        if outcome.key == "k2":
            raise KeyboardInterrupt
        plain(self, outcome, **more)

    monkeypatch.setattr(Journal, "record", record)
    with pytest.raises(KeyboardInterrupt):
        five.run(watch=Onlooker())
    monkeypatch.undo()
    assert five.states() == [State.UNCERTAIN] * 5
