"""A letter that must not go after all is looked at when its moment has come, and takes no place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from courier_kit import Sending

from merge.errors import ListError
from merge.journal import Ledger
from merge.model import Delivery, State
from merge.pace import Pace


@pytest.fixture
def five(tmp_path: Path) -> Iterator[Sending]:
    sending = Sending(tmp_path / "journal.db", 5)
    yield sending
    sending.journal.close()


def test_it_is_asked_when_the_letter_would_go_and_not_before(five: Sending) -> None:
    asked: list[tuple[str, float]] = []

    def veto(delivery: Delivery) -> str:
        asked.append((delivery.key, five.clock.monotonic()))
        return "left us" if delivery.key == "k2" and "k1" in five.line.accepted else ""

    ending = five.run(Pace(per_minute=1), veto=veto, patience_limit=1e9)
    assert five.line.accepted == ["k0", "k1", "k3", "k4"]
    assert [(key, round(moment)) for key, moment in asked] == [
        ("k0", 0), ("k1", 60), ("k2", 120), ("k3", 120), ("k4", 180),
    ]  # fmt: skip
    assert ending.tally[State.SKIPPED] == 1
    assert ending.tried == 4
    (skipped,) = [record for record in five.journal.records() if record.state is State.SKIPPED]
    assert (skipped.key, skipped.reason, skipped.attempts, skipped.time) == ("k2", "left us", 0, None)
    assert ("skipped", "k2") in five.watch.heard
    assert [key for what, key in five.line.log if what == "offer"] == ["k0", "k1", "k3", "k4"]


def test_a_deferred_row_that_must_not_go_ends_as_skipped(five: Sending) -> None:
    five.line.answer = lambda delivery: (
        (State.DEFERRED, "RCPT") if delivery.key == "k1" else (State.SENT, "end of data")
    )

    def veto(delivery: Delivery) -> str:
        return "left us" if delivery.attempts else ""

    ending = five.run(veto=veto, wait=1e9)
    assert (ending.tally[State.DEFERRED], ending.tally[State.SKIPPED], ending.tally[State.SENT]) == (0, 1, 4)
    standing = five.journal.standing("k1")
    assert standing
    assert (standing.state, standing.attempts, standing.due) == (State.SKIPPED, 1, None)
    assert ending.next_due is None


def test_one_that_the_carrier_brings_home_unsaid_takes_no_place(five: Sending, tmp_path: Path) -> None:
    five.line.answer = lambda delivery: (
        (State.SKIPPED, "MAIL") if delivery.key != "k4" else (State.SENT, "end of data")
    )
    with Ledger.open(tmp_path / "ledger.db", account="a", clock=five.clock) as ledger:
        ending = five.run(Pace(per_day=1), ledger=ledger, mailed=ledger.mailed)
        assert five.line.accepted == ["k4"]
        assert len(ledger.recent(0)) == 1
        assert ledger.mailed.when("k4@x.example") == five.clock.now()
        assert ledger.mailed.when("k0@x.example") is None
    assert (ending.tally[State.SKIPPED], ending.tried) == (4, 1)
    assert five.states() == [State.SKIPPED] * 4 + [State.SENT]


def test_an_objection_that_cannot_be_found_out_stops_the_run(five: Sending) -> None:
    def veto(delivery: Delivery) -> str:
        if delivery.key == "k2":
            raise ListError("the suppression list cannot be read")
        return ""

    ending = five.run(veto=veto)
    assert isinstance(ending.stopped, ListError)
    assert five.states() == [State.SENT] * 2 + [State.WAITING] * 3
