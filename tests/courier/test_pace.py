"""No server ever sees more than the limit in any window, whatever it takes to answer."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from merge.pace import DAY, HOUR, MINUTE, Pace

LIMITS = {"per_second": 1.0, "per_minute": 60.0, "per_hour": 3600.0, "per_day": 86400.0}


def most_in_any_window(moments: list[float], window: float) -> int:
    """Return the largest number of moments in any half-open window of that length."""
    moments = sorted(moments)
    most = start = 0
    for end, moment in enumerate(moments):
        while moments[start] <= moment - window:
            start += 1
        most = max(most, end - start + 1)
    return most


@settings(max_examples=150, deadline=None)
@given(
    limits=st.dictionaries(st.sampled_from(sorted(LIMITS)), st.integers(1, 6), min_size=1),
    answers=st.lists(st.tuples(st.floats(0, 90), st.floats(0, 1)), min_size=1, max_size=60),
    room=st.integers(1, 4),
    idle=st.lists(st.floats(0, 5000), max_size=60),
)
def test_no_window_ever_holds_more(
    limits: dict[str, int], answers: list[tuple[float, float]], room: int, idle: list[float]
) -> None:
    """Each answer: how long it takes, and at which part of that time the server counts the message."""
    pace = Pace(**limits)
    now, seen = 0.0, []
    flying: list[float] = []
    for number, (takes, part) in enumerate(answers):
        now += idle[number] if number < len(idle) else 0.0
        while (slot := pace.next(now)) > now or len(flying) >= room:
            now = min([slot, *flying]) if len(flying) < room else min(flying)
            for landing in sorted(flying):
                if landing <= now:
                    flying.remove(landing)
                    pace.done(landing)
        pace.take(now)
        flying.append(now + takes)
        seen.append(now + takes * part)
    for name, number in limits.items():
        assert most_in_any_window(seen, LIMITS[name] * (1 - 1e-9)) <= number


def test_it_wastes_no_time_when_answers_come_at_once() -> None:
    pace = Pace(per_minute=3)
    moments = []
    now = 0.0
    for _ in range(7):
        now = pace.next(now)
        moments.append(now)
        pace.take(now)
        pace.done(now)
    assert moments == [0, 0, 0, 60, 60, 60, 120]


def test_the_next_moment_is_unknown_while_it_hangs_on_an_answer() -> None:
    pace = Pace(per_second=1)
    pace.take(0.0)
    assert pace.next(100.0) == float("inf")
    pace.done(100.5)
    assert pace.next(100.6) == 101.5


def test_what_never_left_leaves_its_place() -> None:
    pace = Pace(per_minute=1)
    pace.take(0.0)
    pace.give_back()
    assert pace.next(1.0) == 1.0


def test_history_counts_in_any_order() -> None:
    pace = Pace(per_hour=2, per_day=3)
    pace.feed([(-10.0, 1), (-7200.0, 1), (-1800.0, 1)])
    assert pace.next(0.0) == pytest.approx(DAY - 7200)
    assert Pace(per_hour=2).next(0.0) == 0.0


def test_the_allowance_is_what_the_rolling_day_leaves() -> None:
    pace = Pace(per_minute=1, per_day=5)
    pace.feed([(-DAY - 1, 1), (-DAY + 1, 1), (-10.0, 1)])
    assert pace.allowance(0.0) == 3
    pace.take(0.0)
    assert pace.allowance(0.0) == 2
    assert pace.allowance(2.0) == 3
    assert Pace(per_minute=1).allowance(0.0) is None


def test_other_runs_messages_in_flight_take_places() -> None:
    pace = Pace(per_minute=3)
    pace.elsewhere(2, 2)
    pace.take(0.0)
    assert pace.next(0.0) == float("inf")
    pace.elsewhere(0, 0)
    assert pace.next(0.0) == 0.0


def test_no_limits_mean_now() -> None:
    pace = Pace()
    assert pace.next(7.0) == 7.0
    assert pace.longest == 0
    assert pace.last_of(10**6, 7.0) == 7.0


@pytest.mark.parametrize("number", [0, -1])
def test_a_limit_below_one_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Pace(per_minute=number)


def test_gaps_vary_between_their_bounds() -> None:
    pace = Pace(gap=(20.0, 60.0), chance=Random(1))
    now, gaps = 0.0, []
    for _ in range(200):
        pace.take(now)
        pace.done(now + 1)
        later = pace.next(now)
        gaps.append(later - now)
        now = later
    assert min(gaps) >= 20
    assert max(gaps) <= 60
    assert max(gaps) - min(gaps) > 30
    with pytest.raises(ValueError, match="gap"):
        Pace(gap=(5.0, 1.0))


@settings(max_examples=100, deadline=None)
@given(
    limits=st.dictionaries(st.sampled_from(sorted(LIMITS)), st.integers(1, 5), min_size=1, max_size=1),
    history=st.lists(st.floats(-100_000, 0), max_size=12),
    number=st.integers(1, 30),
)
def test_the_forecast_is_when_the_last_one_goes(
    limits: dict[str, int], history: list[float], number: int
) -> None:
    pace = Pace(**limits)
    pace.feed((moment, 1) for moment in history)
    forecast = pace.last_of(number, 0.0)
    now = 0.0
    for _ in range(number):
        now = pace.next(now)
        pace.take(now)
        pace.done(now)
    assert forecast == pytest.approx(now)


def test_a_send_of_days_is_forecast() -> None:
    pace = Pace(per_minute=20, per_day=400)
    assert pace.last_of(400, 0.0) == 19 * MINUTE
    assert DAY * 2 <= pace.last_of(1200, 0.0) <= DAY * 2 + HOUR


@settings(max_examples=150, deadline=None)
@given(
    per_day=st.integers(1, 8),
    per_hour=st.none() | st.integers(1, 5),
    letters=st.lists(st.tuples(st.integers(1, 10), st.floats(0, 50_000)), min_size=1, max_size=40),
    history=st.lists(st.tuples(st.floats(-100_000, 0), st.integers(1, 4)), max_size=4),
)
def test_no_day_ever_holds_more_recipients(
    per_day: int,
    per_hour: int | None,
    letters: list[tuple[int, float]],
    history: list[tuple[float, int]],
) -> None:
    """Each letter: to how many people it goes, and how long its answer takes."""
    pace = Pace(per_hour=per_hour, per_day=per_day)
    pace.feed(history)
    messages, people = [moment for moment, _ in history], [moment for moment, n in history for _ in range(n)]
    before = len(people) if most_in_any_window(people, DAY) > per_day else 0
    now = 0.0
    for size, takes in letters:
        slot = pace.next(now, size)
        assert slot < float("inf")
        now = slot
        if size > per_day:
            assert not [moment for moment in people[before:] if moment + DAY * (1 - 1e-9) > now]
        pace.take(now, size)
        now += takes
        pace.done(now, size)
        messages.append(now)
        people += [now] * min(size, per_day)
    assert most_in_any_window(people[before:], DAY * (1 - 1e-9)) <= per_day
    if per_hour:
        assert most_in_any_window(messages[len(history) :], HOUR * (1 - 1e-9)) <= per_hour


def test_copies_count_for_the_day_and_for_nothing_shorter() -> None:
    pace = Pace(per_minute=2, per_day=5)
    pace.take(0.0, 3)
    assert pace.allowance(0.0) == 2
    assert pace.next(0.0, 2) == 0.0
    assert pace.next(0.0, 3) == float("inf")
    pace.done(1.0, 3)
    assert pace.next(1.0, 2) == 1.0
    assert pace.next(1.0, 3) == DAY + 1
    pace.elsewhere(1, 2)
    assert pace.next(1.0) == DAY + 1
    pace.elsewhere(0, 0)
    pace.take(1.0, 2)
    pace.give_back(2)
    assert pace.allowance(1.0) == 2
    assert Pace(per_day=4).last_of(3, 0.0, recipients=9) == 2 * DAY
