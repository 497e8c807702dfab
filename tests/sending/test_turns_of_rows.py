"""Each row is looked at as it stands when its turn comes, by whatever way it goes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from merge import Campaign, State
from merge.clock import TestClock
from merge.journal import Journal, Listed, View
from merge.model import Delivery, Envelope, Outcome
from merge.sending import Consent

W, N, K = State.WAITING, State.INVALID, State.SKIPPED
DATE = datetime(2027, 1, 15, tzinfo=UTC)
PAST = (None, None, State.SENT, State.FAILED, State.DEFERRED, State.UNCERTAIN)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Keep accounts.toml and the ledger out of the person's own folders."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / "config"))


@pytest.fixture
def journal(tmp_path):
    """Return a journal with rows of every past, some of them gone from the list, some there twice."""
    clock = TestClock()
    with Journal.open(tmp_path / "journal.db", edition="1", clock=clock) as opened:
        for rows in (range(2, 300), range(2, 280)):
            with opened.enrolment() as enrolment:
                for row in rows:
                    state = (W, W, W, N, K)[row % 5]
                    to = f"p{row}@x.example"
                    enrolment.add(Listed(row, f"k{row}", to, digest=f"d{row}", state=state))
                    if row % 7 == 0:
                        again = Listed(row + 1000, f"k{row}", to, state=K, reason="again", duplicate=True)
                        enrolment.add(again)
                enrolment.commit()
            if rows.stop == 300:
                for row in rows:
                    bring(opened, row, PAST[row % len(PAST)])
        yield opened


def bring(journal: Journal, row: int, past: State | None) -> None:
    standing = journal.standing(f"k{row}")
    assert standing
    if past is None or standing.state is not W:
        return
    envelope = Envelope("news@ada.example", (f"p{row}@x.example",))
    made = Delivery(f"k{row}", row, envelope, b"x\r\n", f"<{row}@a>", DATE, f"d{row}")
    journal.committing(made)
    due = 1_800_000_300.0 if past is State.DEFERRED else None
    journal.record(Outcome(made.key, row, past, "end of data"), attempts=1, due=due)


@pytest.mark.parametrize("order", [range(1400), range(1400, -1, -1), range(3, 1400, 97)])
def test_rows_read_a_few_at_once_stand_where_each_one_stands(journal: View, order: range) -> None:
    waiting = journal.waiting()
    to_be_sent = 0
    for row in order:
        one = journal.standing(f"k{row}")
        ready = one is not None and row < 280 and row % 5 < 3 and one.state in (W, State.DEFERRED)
        assert (row in waiting) is ready, row
        if row in waiting:
            assert waiting.standing(row, f"k{row}") == one
            assert waiting.standing(row, f"k{row + 1}") is None
            to_be_sent += 1
    assert to_be_sent


class Late(Consent):
    """Writes somebody onto the suppression list once the first letter is out."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def watch(self, proposal):
        watch = super().watch(proposal)
        suppressed = self._folder / "suppressed.csv"
        watch.outcome = lambda *_: suppressed.write_text("p3@example.com\n", "utf-8")
        return watch


@pytest.mark.parametrize("way", ['maildir = "out"', 'mbox = "out.mbox"', 'eml = "out"', 'sendmail = "true"'])
def test_who_says_no_meanwhile_gets_nothing_by_ways_that_do_not_ask_themselves(tmp_path, way) -> None:
    people = "".join(f"p{number}@example.com\n" for number in range(5))
    (tmp_path / "people.csv").write_text(f"email\n{people}", "utf-8")
    (tmp_path / "letter.txt").write_text("Subject: News\n\nHello\n", "utf-8")
    (tmp_path / "campaign.toml").write_text(
        f'list = "people.csv"\nletter = "letter.txt"\nfrom = "ada@ada.example"\n[account]\n{way}\n', "utf-8"
    )
    campaign = Campaign.load(tmp_path)
    summary = campaign.send(talk=Late(tmp_path))
    assert (summary.states[State.SENT], summary.states[State.SKIPPED]) == (4, 1)
    assert [record.to for record in campaign.records() if record.state is State.SKIPPED] == ["p3@example.com"]
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("out*") if path.is_file())
    assert b"p3@example.com" not in written
