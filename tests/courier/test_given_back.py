"""Between the sync and the final dot a line can end: then the row was never in doubt."""

from __future__ import annotations

import pytest
from courier_kit import Sending

from merge.errors import CarrierError
from merge.model import State


@pytest.fixture
def sending(tmp_path):
    made = Sending(tmp_path / "journal.db", 3)
    yield made
    made.journal.close()


def test_a_row_given_back_after_its_commit_waits_again(sending):
    def commit_and_lose(delivery):
        sending.journal.committing(delivery)
        raise CarrierError("the server is gone for good")

    sending.line.before = commit_and_lose
    ending = sending.run()
    assert isinstance(ending.stopped, CarrierError)
    assert sending.journal.counts()[State.WAITING] == 3
    assert sending.journal.uncertain() == []


def test_a_row_can_be_committed_again_in_the_same_run(sending):
    sending.line.before = sending.journal.committing
    ending = sending.run()
    assert ending.stopped is None
    assert sending.journal.counts()[State.SENT] == 3
