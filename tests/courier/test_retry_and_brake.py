"""When a deferred row is tried again, and when a run had better stop."""

from __future__ import annotations

import pytest

from merge.brake import Brake
from merge.model import Outcome, State
from merge.retry import Again, GiveUp, Retry

MINUTES = 60.0


def test_each_wait_is_longer_and_the_last_attempt_is_the_last() -> None:
    retry, now, waits = Retry(attempts=7), 1000.0, []
    for attempt in range(1, 7):
        decision = retry.decide(attempt, 1000.0, now)
        assert isinstance(decision, Again)
        waits.append((decision.at - now) / MINUTES)
        now = decision.at
    assert waits == [5, 15, 30, 60, 120, 120]
    assert retry.decide(7, 1000.0, now) == GiveUp("given up after 7 attempts")


def test_the_first_wait_sets_the_others() -> None:
    retry = Retry(first=10.0)
    decisions = [retry.decide(attempt, 0.0, 0.0) for attempt in (1, 2, 3, 4)]
    assert decisions == [Again(10.0), Again(30.0), Again(60.0), Again(120.0)]
    assert retry.longest == 240.0


def test_five_attempts_by_default() -> None:
    assert isinstance(Retry().decide(4, 0.0, 0.0), Again)
    assert isinstance(Retry().decide(5, 0.0, 0.0), GiveUp)


def test_a_row_grows_too_old_but_never_at_its_first_attempt() -> None:
    retry = Retry(max_age=3600.0)
    assert isinstance(retry.decide(2, 0.0, 3599.0), Again)
    decision = retry.decide(2, 0.0, 3 * 86400.0)
    assert decision == GiveUp("given up: first tried 3 days ago")
    assert retry.decide(2, 0.0, 5400.0) == GiveUp("given up: first tried 1.5 hours ago")
    assert isinstance(retry.decide(1, 0.0, 86400.0), Again)


def test_a_clock_set_back_keeps_the_schedule() -> None:
    decision = Retry().decide(2, 1_000_000.0, 500.0)
    assert decision == Again(500.0 + 15 * MINUTES)


def outcome(state: State, code: int | None, stage: str = "end of data", row: int = 2) -> Outcome:
    return Outcome(f"k{row}", row, state, stage, code, "5.7.1", "go away")


F, D, S = State.FAILED, State.DEFERRED, State.SENT


@pytest.mark.parametrize("stage", ["MAIL", "DATA", "end of data"])
@pytest.mark.parametrize(("state", "code"), [(F, 554), (D, 451)])
def test_five_alike_stop_the_run_and_say_what_they_have_in_common(
    stage: str, state: State, code: int
) -> None:
    brake = Brake()
    words = [brake.see(outcome(state, code, stage, row)) for row in range(2, 7)]
    assert words[:4] == [None] * 4
    assert words[4]
    for part in ("5 rows", "2, 3, 4, 5, 6", stage, f"{code} 5.7.1 go away"):
        assert part in words[4]


@pytest.mark.parametrize(
    "between",
    [outcome(S, 250), outcome(F, 550), outcome(State.UNCERTAIN, None)],
)
def test_something_else_in_between_breaks_the_streak(between: Outcome) -> None:
    brake = Brake()
    seen = [*[outcome(F, 554)] * 4, between, *[outcome(F, 554)] * 4]
    assert [brake.see(one) for one in seen] == [None] * 9
    assert brake.see(outcome(F, 554))


def test_refused_mailboxes_neither_stop_nor_hide_a_streak() -> None:
    brake = Brake()
    assert [brake.see(outcome(F, 550, "RCPT")) for _ in range(50)] == [None] * 50
    for _ in range(4):
        assert brake.see(outcome(F, 554)) is None
        assert brake.see(outcome(F, 550, "RCPT")) is None
    assert brake.see(outcome(F, 554))


def test_a_share_of_failures_stops_the_run() -> None:
    brake = Brake(share=0.25, at_least=20)
    words = [brake.see(outcome(F if row % 4 == 0 else S, 550, "RCPT", row)) for row in range(1, 21)]
    assert words[:19] == [None] * 19
    assert words[19] == "5 of 20 rows failed for good, which is 25% or more"
    calm = Brake(share=0.25, at_least=20)
    assert [calm.see(outcome(F if row % 5 == 0 else S, 550, "RCPT", row)) for row in range(1, 101)] == [
        None
    ] * 100
