"""Everything goes out at the right moment, and every outcome comes home."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from courier_kit import Line, Sending, accept

from merge import courier
from merge.carrier import Memory
from merge.clock import TestClock
from merge.errors import CarrierError, JournalError, LetterError
from merge.folders import Folder
from merge.model import Delivery, Envelope, State
from merge.pace import DAY, Pace
from merge.retry import Retry

W, D, F, S, U = State.WAITING, State.DEFERRED, State.FAILED, State.SENT, State.UNCERTAIN
EPOCH = 1_800_000_000.0


@pytest.fixture
def five(tmp_path: Path) -> Iterator[Sending]:
    sending = Sending(tmp_path / "journal.db", 5)
    yield sending
    sending.journal.close()


def by_row(**fates: tuple[State, str]) -> Any:
    """Answer as told for some rows, at their first attempt; accept the others, and every later attempt."""
    left = dict(fates)
    return lambda delivery: left.pop(delivery.key, (S, "end of data"))


def test_all_go_out_in_order_and_the_tally_says_so(five: Sending) -> None:
    ending = five.run()
    assert five.line.accepted == five.keys
    assert five.states() == [S] * 5
    assert (ending.tally[S], ending.tried, ending.stopped, ending.next_due) == (5, 5, None, None)
    assert five.watch.heard == [("sent", key) for key in five.keys]


def test_at_most_one_delivery_is_read_before_its_turn(five: Sending) -> None:
    ahead = []
    five.line.before = lambda delivery: ahead.append(len(five.read) - five.keys.index(delivery.key) - 1)
    five.run(Pace(per_minute=1))
    assert max(ahead) <= 1


def test_the_pace_is_kept_and_waited_for_in_slices(five: Sending) -> None:
    five.run(Pace(per_minute=2))
    assert five.line.times == pytest.approx([0, 0, 60, 60, 120], abs=0.01)
    assert max(five.line.patience) <= courier.SLICE
    assert [entry for entry in five.watch.heard if entry[0].startswith("waiting")] == [
        ("waiting for pace", pytest.approx(EPOCH + 60)),
        ("waiting for pace", pytest.approx(EPOCH + 120)),
    ]


def test_the_pace_counts_what_earlier_runs_sent(tmp_path: Path) -> None:
    clock = TestClock()
    first = Sending(tmp_path / "journal.db", 6, clock=clock)
    first.run(Pace(per_hour=4), deliveries=iter(list(first.deliveries())[:3]))
    first.journal.close()
    clock.sleep(600)
    second = Sending(tmp_path / "journal.db", 6, clock=clock)
    second.run(Pace(per_hour=4), patience_limit=1e9)
    assert second.line.times == pytest.approx([600, 3600, 3600], abs=1)
    second.journal.close()


def test_a_clock_set_back_between_runs_delays_by_one_window_at_most(tmp_path: Path) -> None:
    clock = TestClock()
    first = Sending(tmp_path / "journal.db", 4, clock=clock)
    first.run(Pace(per_hour=2), deliveries=iter(list(first.deliveries())[:2]))
    first.journal.close()
    clock.shift(-10 * 365 * DAY)
    second = Sending(tmp_path / "journal.db", 4, clock=clock)
    second.run(Pace(per_hour=2), patience_limit=1e9)
    assert second.line.times == pytest.approx([3600, 3600], abs=1)
    second.journal.close()


def test_a_clock_set_back_puts_no_row_off_for_longer_than_its_schedule(five: Sending) -> None:
    five.line.answer = by_row(k1=(D, "RCPT"))
    five.run(wait=0)
    five.clock.shift(-10 * 365 * DAY)
    ending = five.run(wait=Retry().longest)
    assert ending.tally[S] == 1
    assert five.clock.monotonic() <= Retry().longest + 1


@pytest.mark.parametrize("when", ["k0", "k2"])
@pytest.mark.parametrize("jump", [-400 * DAY, 400 * DAY])
def test_a_clock_that_jumps_during_a_run_changes_no_pace_and_no_schedule(
    five: Sending, jump: float, when: str
) -> None:
    five.line.answer = by_row(k0=(D, "RCPT"))

    def shift_once(delivery: Delivery) -> None:
        if delivery.key == when and not five.clock.now() - EPOCH - five.clock.monotonic():
            five.clock.shift(jump)

    five.line.before = shift_once
    ending = five.run(Pace(per_minute=1), wait=600)
    assert five.line.times == pytest.approx([60, 120, 180, 240, 300], abs=1)
    assert ending.tally[S] == 5


def test_a_spent_day_ends_the_run_and_says_when_to_go_on(five: Sending) -> None:
    ending = five.run(Pace(per_day=3))
    assert ending.out_of_allowance
    assert ending.next_due == pytest.approx(EPOCH + DAY)
    assert five.states() == [S, S, S, W, W]
    assert five.clock.monotonic() < 1


def test_whoever_wants_to_stay_for_days_can(five: Sending) -> None:
    ending = five.run(Pace(per_day=2), patience_limit=float("inf"))
    assert ending.tally[S] == 5
    assert five.line.times == pytest.approx([0, 0, DAY, DAY, 2 * DAY], abs=1)


def test_a_deferred_row_is_tried_again_when_due_while_others_go_out(tmp_path: Path) -> None:
    sending = Sending(tmp_path / "journal.db", 12)
    sending.line.answer = by_row(k1=(D, "RCPT"))
    ending = sending.run(Pace(per_minute=1))
    expected = [f"k{number}" for number in range(12) if number != 1]
    expected.insert(5, "k1")  # five minutes later, between the others
    assert sending.line.accepted == expected
    assert ending.tally[S] == 12
    assert ending.tally[D] == 0
    sending.journal.close()


def test_the_end_stays_for_deferred_rows_that_are_due_soon(five: Sending) -> None:
    five.line.answer = by_row(k1=(D, "RCPT"), k3=(D, "end of data"))
    ending = five.run(wait=301.0)
    assert ending.tally == {**dict.fromkeys(State, 0), S: 5}
    assert five.clock.monotonic() == pytest.approx(300, abs=1)
    assert ("waiting for retry", pytest.approx(EPOCH + 300)) in five.watch.heard
    standing = five.journal.standing("k3")
    assert standing
    assert standing.attempts == 2


def test_the_end_does_not_stay_for_long_and_says_when_to_come_back(five: Sending) -> None:
    five.line.answer = by_row(k1=(D, "RCPT"))
    ending = five.run(wait=120.0)
    assert ending.tally[D] == 1
    assert not ending.out_of_allowance
    assert ending.next_due == pytest.approx(EPOCH + 300)
    assert five.states() == [S, D, S, S, S]


def test_a_deferred_row_is_not_tried_before_it_is_due_in_a_later_run_either(five: Sending) -> None:
    five.line.answer = by_row(k1=(D, "RCPT"))
    five.run(wait=0)
    five.clock.sleep(100)
    ending = five.run(wait=0)
    assert ending.tried == 0
    assert ending.next_due == pytest.approx(EPOCH + 300)
    five.clock.sleep(200.1)
    assert five.run(wait=0).tally[S] == 1


def test_a_row_is_given_up_after_its_last_attempt(five: Sending) -> None:
    five.line.answer = lambda delivery: (D, "RCPT") if delivery.key == "k2" else accept(delivery)
    ending = five.run(wait=1e9, retry=Retry(attempts=3))
    assert five.states() == [S, S, F, S, S]
    record = list(five.journal.records())[2]
    assert (record.attempts, record.code, record.reason) == (3, 451, "given up after 3 attempts")
    assert ending.tally[F] == 1
    assert five.watch.heard[-1] == ("failed", "k2")


def test_attempts_count_across_runs(five: Sending) -> None:
    five.line.answer = lambda _: (D, "RCPT")
    for _ in range(5):
        five.run(wait=0)
        five.clock.sleep(7300)
    assert five.states() == [F] * 5
    assert {record.attempts for record in five.journal.records()} == {5}


def test_letters_held_for_later_stay_within_their_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "AGENDA_BYTES", 350)
    sending = Sending(tmp_path / "journal.db", 6, size=100)
    left = set(sending.keys)
    sending.line.answer = lambda delivery: (
        (D, "RCPT") if delivery.key in left and not left.discard(delivery.key) else accept(delivery)  # type: ignore[func-returns-value]
    )
    ending = sending.run(wait=1e6)
    assert sending.states() == [S, S, S, D, D, D]
    assert ending.next_due == pytest.approx(EPOCH + 300)
    assert sending.run(wait=1e6).tally[S] == 3
    sending.journal.close()


def test_an_interrupt_settles_what_is_in_flight_and_takes_back_the_rest(five: Sending) -> None:
    five.line.size = 2
    five.line.before = lambda delivery: five.clock.interrupt() if delivery.key == "k1" else None
    ending = five.run()
    assert ending.interrupted
    assert five.states() == [S, S, W, W, W]
    assert five.line.log[-1] == ("recall", "k2")
    assert ending.tally == {**dict.fromkeys(State, 0), S: 2}


def test_an_interrupt_is_seen_within_a_slice_while_waiting(five: Sending) -> None:
    def after_ten_seconds(seconds: float) -> None:
        TestClock.sleep(five.clock, seconds)
        if five.clock.monotonic() > 10:
            five.clock.interrupt()

    five.clock.sleep = after_ten_seconds  # type: ignore[method-assign]
    ending = five.run(Pace(per_minute=1))
    assert ending.interrupted
    assert five.clock.monotonic() < 10 + 2 * courier.SLICE
    assert five.states() == [S, W, W, W, W]


def test_a_second_interrupt_leaves_at_once_and_the_journal_is_true(five: Sending) -> None:
    def answer(delivery: Delivery) -> tuple[State, str]:
        if delivery.key == "k1":
            five.journal.committing(delivery)
            raise KeyboardInterrupt
        return accept(delivery)

    five.line.answer = answer
    with pytest.raises(KeyboardInterrupt):
        five.run()
    assert five.states() == [S, U, W, W, W]
    assert len(five.journal.recent(0)) == 2  # the pace counts what may have been sent


def test_a_closed_way_out_ends_the_run_with_every_outcome_on_record(five: Sending) -> None:
    error = CarrierError("the server refuses the sender")
    five.line.size = 2

    def break_later(delivery: Delivery) -> None:
        if delivery.key == "k1":
            five.line.error = error

    five.line.before = break_later
    ending = five.run()
    assert ending.stopped is error
    assert five.states() == [S, S, W, W, W]
    assert five.run().stopped is None
    assert five.line.accepted == five.keys


def test_what_a_carrier_loses_after_its_commit_point_is_uncertain(five: Sending) -> None:
    def lose(delivery: Delivery) -> tuple[State, str]:
        if delivery.key == "k1":
            five.journal.committing(delivery)
            five.line.offered.clear()
            five.line.error = CarrierError("gone")
            raise CarrierError("lost")
        return accept(delivery)

    five.line.answer = lose
    ending = five.run()
    assert isinstance(ending.stopped, CarrierError)
    assert five.states() == [S, U, W, W, W]
    assert (ending.tally[S], ending.tally[U]) == (1, 1)


def test_what_is_given_back_after_its_commit_waits_again(five: Sending) -> None:
    def change_of_mind(delivery: Delivery) -> None:
        if delivery.key == "k1":
            five.journal.committing(delivery)
            five.clock.interrupt()
            raise CarrierError("the line closed before the end of data")

    five.line.before = change_of_mind
    ending = five.run()
    assert isinstance(ending.stopped, CarrierError)
    assert five.states() == [S, W, W, W, W]
    assert ending.tally[U] == 0


def test_the_same_row_is_never_in_flight_twice(five: Sending) -> None:
    five.line.size = 3
    first, second = list(five.deliveries())[:2]
    ending = five.run(deliveries=iter([first, second, first]))
    assert isinstance(ending.stopped, JournalError)
    assert five.line.accepted == []
    assert five.states() == [W] * 5


def test_a_letter_that_cannot_be_made_ends_the_run_after_what_is_in_flight(five: Sending) -> None:
    def letters() -> Iterator[Delivery]:
        for number, delivery in enumerate(five.deliveries()):
            if number == 2:
                raise LetterError("the attachment changed")
            yield delivery

    ending = five.run(deliveries=letters())
    assert isinstance(ending.stopped, LetterError)
    assert five.states() == [S, W, W, W, W]  # the second was not begun, so it was taken back
    assert five.run().tally[S] == 4


def test_an_error_of_ours_passes_through_and_the_journal_is_true(five: Sending) -> None:
    def letters() -> Iterator[Delivery]:
        yield from list(five.deliveries())[:1]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        five.run(deliveries=letters())
    assert five.states()[1:] == [W] * 4
    assert five.states()[0] in (S, U, W)


@pytest.mark.parametrize("stage", ["MAIL", "DATA", "end of data"])
def test_five_rows_turned_down_alike_stop_the_run(tmp_path: Path, stage: str) -> None:
    sending = Sending(tmp_path / "journal.db", 8)
    sending.line.answer = lambda _: (F, stage)
    ending = sending.run()
    assert isinstance(ending.stopped, CarrierError)
    assert ending.stopped.exit_code == 4
    assert "554 as told" in ending.stopped.message
    assert sending.states() == [F] * 5 + [W] * 3
    sending.journal.close()


def test_an_old_list_does_not_stop_the_run(tmp_path: Path) -> None:
    sending = Sending(tmp_path / "journal.db", 30)
    sending.line.answer = lambda _: (F, "RCPT")
    assert sending.run().stopped is None
    assert sending.states() == [F] * 30
    sending.journal.close()


@pytest.mark.parametrize("yes", [True, False])
def test_the_first_few_go_alone_until_the_person_says_yes(five: Sending, yes: bool) -> None:  # noqa: FBT001 - a parameter of the test
    five.watch.yes = yes
    five.line.size = 3
    ending = five.run(first=2)
    heard = [entry[0] for entry in five.watch.heard]
    assert heard[:3] == ["sent", "sent", "go on?"]
    assert five.watch.heard[2][1][S] == 2
    assert ending.declined is not yes
    assert five.states() == ([S] * 5 if yes else [S, S, W, W, W])


@pytest.mark.parametrize("first", [5, 9])
def test_no_question_after_the_first_few_when_there_are_no_more(five: Sending, first: int) -> None:
    ending = five.run(first=first)
    assert "go on?" not in [entry[0] for entry in five.watch.heard]
    assert not ending.declined


def test_room_on_the_line_is_used(five: Sending) -> None:
    five.line.size = 3
    five.run()
    assert five.line.most == 3
    assert five.line.accepted == five.keys


def test_a_row_in_the_wrong_state_is_never_sent(five: Sending) -> None:
    twice = list(five.deliveries())[:2]
    ending = five.run(deliveries=iter([*twice, twice[0]]))
    assert isinstance(ending.stopped, JournalError)
    assert five.line.accepted == ["k0", "k1"]
    assert five.states()[:2] == [S, S]


def test_the_carriers_that_need_no_network(five: Sending, tmp_path: Path) -> None:
    for carrier in (Memory(five.journal.committing), Folder(tmp_path / "out", five.journal.committing)):
        five.line = carrier  # type: ignore[assignment]
        part = [delivery for _, delivery in zip(range(2), five.deliveries(), strict=False)]
        assert five.run(Pace(per_second=1), deliveries=iter(part)).tally[S] == 2
    assert len(list((tmp_path / "out").glob("*.eml"))) == 2
    assert five.states() == [S, S, S, S, W]


def test_a_line_is_nothing_but_a_carrier() -> None:
    assert {"room", "offer", "collect", "recall", "close"} <= set(dir(Line))


def test_a_carrier_without_room_is_waited_for_and_not_asked_without_end(five: Sending) -> None:
    class Throttled(Line):
        @property
        def room(self) -> int:
            return 0 if self.clock.monotonic() < 60 * len(self.accepted) else super().room

    five.line = Throttled(five.journal, five.clock)
    five.run()
    assert five.line.times == pytest.approx([0, 60, 120, 180, 240], abs=0.5)
    assert len(five.line.patience) < 5 * 60 / 0.25 + 50


@pytest.mark.parametrize(
    ("refused", "reply"),
    [("desk@ada.example", "desk@ada.example: as told"), ("k0@x.example", "as told"), ("", "as told")],
)
def test_who_else_was_refused_is_named_in_the_reply(tmp_path: Path, refused: str, reply: str) -> None:
    sending = Sending(tmp_path / "journal.db", 1)
    copied = (
        replace(delivery, envelope=Envelope("news@ada.example", ("k0@x.example", "desk@ada.example")))
        for delivery in sending.deliveries()
    )
    line = sending.line
    line.answer = lambda _: (F, "RCPT TO")
    collect = line.collect
    line.collect = lambda patience: [replace(found, recipient=refused) for found in collect(patience)]  # type: ignore[method-assign] # who was refused is said on top
    sending.run(deliveries=copied)
    (record,) = sending.journal.records()
    assert (record.state, record.reply) == (F, reply)
    sending.journal.close()
