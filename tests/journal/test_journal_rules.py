"""Which state a row is in, and what may bring it into another."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from journal_kit import DATE, bring, delivery, enrol, outcome

from merge.clock import TestClock
from merge.errors import JournalError, UsageError
from merge.journal import Holder, Journal, Listed
from merge.model import State

W, N, K = State.WAITING, State.INVALID, State.SKIPPED
D, F, S, U = State.DEFERRED, State.FAILED, State.SENT, State.UNCERTAIN


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path: Path, clock: TestClock) -> Iterator[Journal]:
    with Journal.open(path, edition="1", clock=clock) as opened:
        yield opened


def state(journal: Journal, key: str = "a") -> State:
    standing = journal.standing(key)
    assert standing is not None
    return standing.state


# What happened before, what the list says now, and where the row stands.
@pytest.mark.parametrize(
    ("before", "listed", "stands"),
    [
        (W, W, W), (W, N, N), (W, K, K), (N, W, W), (N, K, K), (K, W, W), (K, N, N),
        (D, W, D), (D, N, N), (D, K, K),
        (F, W, F), (F, N, F), (F, K, F),
        (S, W, S), (S, N, S), (S, K, S),
        (U, W, U), (U, N, U), (U, K, U),
    ],
)  # fmt: skip
def test_what_happened_outweighs_the_list(
    journal: Journal, before: State, listed: State, stands: State
) -> None:
    enrol(journal, [("a", before if before in (N, K) else W)])
    bring(journal, "a", before)
    plan = enrol(journal, [("a", listed)])
    assert state(journal) is stands
    assert plan.states[stands] == 1
    assert journal.counts() == plan.states


def test_an_enrolment_that_is_not_committed_leaves_no_trace(journal: Journal) -> None:
    enrol(journal, ["a"])
    bring(journal, "a", S)
    plan = enrol(journal, ["b", ("a", W, "d2")], commit=False)
    assert (plan.new, plan.changed_after, plan.total) == (1, 1, 2)
    assert journal.standing("b") is None
    assert [(record.row, record.key) for record in journal.records()] == [(2, "a")]


def test_an_enrolment_that_fails_leaves_no_trace(journal: Journal) -> None:
    with contextlib.suppress(ZeroDivisionError), journal.enrolment() as enrolment:
        enrolment.add(Listed(2, "a", "a@x.example", "d1"))
        raise ZeroDivisionError
    assert journal.standing("a") is None
    enrol(journal, ["a"])
    assert state(journal) is W


def test_the_plan_counts_new_changed_and_gone_rows(journal: Journal) -> None:
    enrol(journal, ["sent", "sent and gone", "waiting", "waiting and gone", "unsure"])
    for key, to in (("sent", S), ("sent and gone", S), ("unsure", U)):
        bring(journal, key, to)
    plan = enrol(journal, [("sent", W, "d2"), ("waiting", W, "d2"), ("unsure", W, "d2"), "new"])
    assert (plan.total, plan.new, plan.changed, plan.changed_after) == (4, 1, 1, 2)
    assert (plan.gone, plan.gone_sent, plan.uncertain) == (2, 1, 1)
    assert sum(plan.states.values()) == plan.total == sum(journal.counts().values())
    assert {record.key: record.state for record in journal.gone()} == {
        "sent and gone": S,
        "waiting and gone": W,
    }


def test_a_row_that_comes_back_is_where_it_was(journal: Journal) -> None:
    enrol(journal, ["a", "b"])
    bring(journal, "a", S)
    enrol(journal, ["b"])
    assert "a" not in {record.key for record in journal.records()}
    assert enrol(journal, ["a", "b"]).new == 0
    assert state(journal) is S


def test_a_changed_list_is_reported_once_and_a_sent_change_always(journal: Journal) -> None:
    enrol(journal, ["sent", "waiting"])
    bring(journal, "sent", S)
    changed = [("sent", W, "d2"), ("waiting", W, "d2")]
    first, second = enrol(journal, changed), enrol(journal, changed)
    assert (first.changed, first.changed_after) == (1, 1)
    assert (second.changed, second.changed_after) == (0, 1)
    standing = journal.standing("sent")
    assert standing
    assert (standing.digest, standing.given) == ("d2", "d1")


def test_rows_are_known_by_key_wherever_they_stand(journal: Journal) -> None:
    enrol(journal, ["a", "b", "c"])
    bring(journal, "b", S)
    enrol(journal, ["new", "c", "b", "a"])
    assert [(record.row, record.key, record.state) for record in journal.records()] == [
        (2, "new", W), (3, "c", W), (4, "b", S), (5, "a", W),
    ]  # fmt: skip


def test_further_rows_with_a_key_are_kept_and_never_sent(journal: Journal) -> None:
    for again in range(2):
        with journal.enrolment() as enrolment:
            assert enrolment.seen("a") is None
            enrolment.add(Listed(2, "a", "a@x.example", "d1"))
            assert enrolment.seen("a") == Holder(2, gives_way=False)
            for row in (3 + again, 5):
                enrolment.add(
                    Listed(row, "a", "a@x.example", "d1", 1, K, "the same as row 2", duplicate=True)
                )
            with pytest.raises(ValueError, match="cannot be enrolled as waiting"):
                enrolment.add(Listed(6, "a", "a@x.example", "d1", duplicate=True))
            with pytest.raises(ValueError, match="enrolled before"):
                enrolment.add(Listed(7, "a", "a@x.example", "d1"))
            enrolment.commit()
        rows = [(record.row, record.state) for record in journal.records()]
        assert rows == [(2, W), (3 + again, K), (5, K)]
    journal.committing(delivery(journal, "a"))
    journal.record(outcome("a", S), attempts=1)
    assert [record.state for record in journal.records()] == [S, K, K]


@pytest.mark.parametrize("where", [N, K, F, S, U])
def test_only_rows_that_wait_can_be_committed(journal: Journal, where: State) -> None:
    enrol(journal, [("a", where if where in (N, K) else W)])
    bring(journal, "a", where)
    with pytest.raises(JournalError, match=f"row 2 is {where} in the journal"):
        journal.committing(delivery(journal, "a"))
    assert state(journal) is where


def test_a_line_may_break_between_the_commit_and_the_end_of_data(journal: Journal) -> None:
    enrol(journal, ["a", "b"])
    journal.committing(delivery(journal, "a"))
    journal.committing(delivery(journal, "a"))
    journal.withdraw("a")
    assert state(journal) is W
    bring(journal, "b", D)
    journal.committing(delivery(journal, "b"))
    journal.withdraw("b")
    assert state(journal, "b") is D
    bring(journal, "a", S)
    journal.withdraw("a")
    assert state(journal) is S


def test_a_window_is_committed_whole_or_not_at_all(journal: Journal) -> None:
    enrol(journal, ["a", "b", "c"])
    bring(journal, "c", S)
    with pytest.raises(JournalError):
        journal.committing_all([delivery(journal, key) for key in "abc"])
    assert [state(journal, key) for key in "abc"] == [W, W, S]
    journal.committing_all([delivery(journal, key) for key in "ab"])
    assert [state(journal, key) for key in "ab"] == [U, U]


@pytest.mark.parametrize("later", [F, D, U])
def test_sent_is_final(journal: Journal, path: Path, later: State) -> None:
    enrol(journal, ["a"])
    bring(journal, "a", S)
    with pytest.raises(JournalError, match="stays sent"):
        journal.record(outcome("a", later), attempts=2)
    with sqlite3.connect(path) as beside, pytest.raises(sqlite3.IntegrityError):
        beside.execute("UPDATE rows SET state = 'waiting'")
    beside.close()
    assert state(journal) is S


def test_what_is_left_committing_is_uncertain(path: Path, clock: TestClock) -> None:
    with Journal.open(path, edition="1", clock=clock) as journal:
        enrol(journal, ["a", "b"])
        journal.committing(delivery(journal, "a"))
    clock.sleep(60)
    with Journal.open(path, edition="2", clock=clock):
        pass  # any edition's run clears up for all
    with Journal.open(path, edition="1", clock=clock) as journal:
        assert [(record.key, record.attempts, record.time) for record in journal.uncertain()] == [
            ("a", 1, 1_800_000_060.0)
        ]
        assert state(journal, "b") is W


def test_settling_sends_again_or_asks_no_more(journal: Journal) -> None:
    enrol(journal, ["a", "b", "c", "d"])
    for key in "abc":
        bring(journal, key, U)
    assert journal.settle("skip", "a") == 1
    assert [record.key for record in journal.uncertain()] == ["b", "c"]
    assert journal.settle("again") == 2
    assert [state(journal, key) for key in "abcd"] == [U, W, W, W]
    assert journal.settle("again", "a") == 1
    assert journal.settle("again", "d") == 0
    assert journal.uncertain() == []


def test_settling_again_leaves_rows_that_the_list_does_not_want_sent(journal: Journal) -> None:
    enrol(journal, ["gone", "unsubscribed"])
    bring(journal, "gone", U)
    bring(journal, "unsubscribed", U)
    enrol(journal, [("unsubscribed", K)])
    assert journal.settle("again") == 0
    assert [state(journal, key) for key in ("gone", "unsubscribed")] == [U, U]


def test_skipped_uncertain_rows_stay_settled_through_the_next_pass(journal: Journal) -> None:
    enrol(journal, ["a"])
    bring(journal, "a", U)
    journal.settle("skip")
    plan = enrol(journal, ["a"])
    assert (plan.uncertain, plan.states[U]) == (0, 1)
    assert [record.settled for record in journal.records()] == [True]


def test_failed_rows_are_tried_afresh_on_demand(journal: Journal) -> None:
    enrol(journal, ["a", "gone", "sent"])
    bring(journal, "a", F)
    bring(journal, "gone", F)
    bring(journal, "sent", S)
    enrol(journal, ["a", "sent"])
    assert journal.retry_failed() == 1
    standing = journal.standing("a")
    assert standing
    assert (standing.state, standing.attempts, standing.first) == (W, 0, None)
    assert state(journal, "sent") is S


def test_failed_rows_that_were_not_chosen_stay_failed(journal: Journal) -> None:
    enrol(journal, ["a", "b", "c"])
    for key in "abc":
        bring(journal, key, F)
    row = next(record.row for record in journal.records() if record.key == "b")
    assert journal.retry_failed(range(row, row + 1)) == 1
    assert [state(journal, key) for key in "abc"] == [F, W, F]


def test_message_id_and_date_stay_the_same(path: Path, clock: TestClock) -> None:
    with Journal.open(path, edition="1", clock=clock) as journal:
        enrol(journal, ["a"])
        before = journal.message_id("a", "ada.example")
        bring(journal, "a", D)
    with Journal.open(path, edition="1", clock=clock) as journal:
        standing = journal.standing("a")
        assert standing
        assert journal.message_id("a", "ada.example") == before == standing.message_id
        assert standing.date == DATE
        assert standing.due == 1_800_000_300.0 == journal.next_due()
    with Journal.open(path, edition="2", clock=clock) as journal:
        assert journal.message_id("a", "ada.example") != before
        assert journal.standing("a") is None


def test_message_ids_tell_nothing_and_are_well_formed(
    journal: Journal, tmp_path: Path, clock: TestClock
) -> None:
    hostile = ["", "a@x>\r\nBcc: b@x", "\udcff", "名前@例え.example", "x" * 5000]
    for key in hostile:
        token, _, domain = journal.message_id(key, "ada.example").strip("<>").partition("@")
        assert token.isalnum()
        assert token.isascii()
        assert domain == "ada.example"
    other = tmp_path / "other"
    other.mkdir()
    with Journal.open(other / "journal.db", edition="1", clock=clock) as stranger:
        assert stranger.message_id("a", "x.example") != journal.message_id("a", "x.example")


def test_records_tell_all_in_row_order(journal: Journal) -> None:
    enrol(journal, ["a", ("b", N), "c"])
    bring(journal, "c", S)
    first, second, third = journal.records()
    assert (first.row, first.to, first.state, first.message_id, first.time) == (2, "a@x.example", W, "", None)
    assert (second.state, second.reason) == (N, "because")
    assert (third.code, third.reply, third.attempts, third.stage) == (250, "sent it is", 1, "end of data")
    assert third.message_id == journal.message_id("c", "ada.example")


def test_attempts_are_remembered_for_the_pace(journal: Journal, clock: TestClock) -> None:
    enrol(journal, ["a", "b"])
    for key, to in (("a", D), ("a", S), ("b", F)):
        clock.sleep(10)
        bring(journal, key, to)
    start = 1_800_000_000.0
    assert journal.recent(start) == [(start + 10, 1), (start + 20, 1), (start + 30, 1)]
    assert journal.recent(start + 10) == [(start + 20, 1), (start + 30, 1)]


def test_texts_are_kept_with_an_edition(path: Path, clock: TestClock) -> None:
    with Journal.open(path, edition="1", clock=clock) as journal:
        journal.meta.set("list", "abc")
        journal.meta.set("list", "def")
        assert (journal.meta.get("list"), journal.meta.get("none"), journal.meta.get("none", "x")) == (
            "def",
            None,
            "x",
        )
    with Journal.open(path, edition="2", clock=clock) as journal:
        assert journal.meta.get("list") is None


def test_versions_tell_who_got_which(path: Path, clock: TestClock) -> None:
    with Journal.open(path, edition="1", clock=clock) as journal:
        enrol(journal, ["a", "b"])
        journal.begin("7f3a-9c")
        bring(journal, "a", S)
        journal.begin("0000-11")
        bring(journal, "b", S)
    with Journal.open(path, edition="correction", clock=clock) as journal:
        assert journal.versions() == {"7f3a-9c": 1, "0000-11": 1}
        assert journal.sent_with("7f3a-9c", "b") == ""
        assert journal.sent_with("7f3a-9c", "a").endswith("@ada.example>")


def test_a_finished_edition_can_be_forgotten(path: Path, clock: TestClock) -> None:
    with Journal.open(path, edition="1", clock=clock) as journal:
        enrol(journal, [f"person{number}" for number in range(200)])
        for number in range(199):
            bring(journal, f"person{number}", S)
        with pytest.raises(UsageError, match="1 rows of the edition"):
            journal.forget()
        bring(journal, "person199", F)
        assert journal.forget() == 200
        assert journal.counts()[S] == 199
        assert journal.counts()[F] == 1
        for file in path.parent.iterdir():
            assert b"person" not in file.read_bytes(), file
        with pytest.raises(JournalError, match="forgotten"):
            journal.enrolment()
    with (
        Journal.open(path, edition="1", clock=clock) as journal,
        pytest.raises(JournalError, match="forgotten"),
    ):
        journal.enrolment()
    with Journal.open(path, edition="2", clock=clock) as journal:
        enrol(journal, ["person1"])


def test_forgetting_is_not_said_to_be_done_while_someone_reads_the_old_pages(
    path: Path, clock: TestClock
) -> None:
    with Journal.open(path, edition="1", clock=clock) as journal:
        enrol(journal, ["person"])
        bring(journal, "person", S)
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM rows").fetchall()
        journal._database.one("PRAGMA busy_timeout = 50")
        with pytest.raises(JournalError, match=r"another program is (reading|writing)"):
            journal.forget()
        reader.close()
        journal.forget()
        assert all(b"person" not in file.read_bytes() for file in path.parent.iterdir())


def test_a_row_nobody_enrolled_cannot_be_recorded(journal: Journal) -> None:
    with pytest.raises(JournalError, match="not in the journal"):
        journal.record(outcome("stranger", S), attempts=1)
    with pytest.raises(JournalError, match="unknown in the journal"):
        journal.committing(delivery(journal, "stranger"))


@pytest.mark.parametrize("now", [State.SKIPPED, State.INVALID])
def test_a_sent_row_that_is_no_longer_to_be_sent_did_not_change(journal: Journal, now: State) -> None:
    enrol(journal, ["a", "b"])
    bring(journal, "a", S)
    plan = enrol(journal, [("a", now, ""), "b"])
    assert (plan.changed, plan.changed_after) == (0, 0)
    assert state(journal) is S
