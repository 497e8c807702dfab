"""When a moment is told, sending then does succeed: never a minute too early."""

from __future__ import annotations

from datetime import datetime

import pytest

from merge.model import Record, State
from merge.screens import rows_in_trouble
from merge.words import start


@pytest.mark.parametrize(
    ("due", "told"), [((14, 5, 0), "14:05"), ((14, 5, 1), "14:06"), ((14, 5, 59), "14:06")]
)
def test_a_start_is_told_as_the_next_whole_minute(due, told):
    day = datetime(2026, 11, 24, 9).astimezone()
    at = day.replace(hour=due[0], minute=due[1], second=due[2])
    assert start(at.timestamp(), day.timestamp()) == told


def test_a_start_after_midnight_names_its_day():
    day = datetime(2026, 11, 24, 23, 59, 30).astimezone().timestamp()
    assert start(day, day) == "Wed 25 Nov 00:00"


def test_a_deferred_row_is_told_by_the_minute_in_which_it_is_due():
    day = datetime(2026, 11, 24, 9).astimezone().timestamp()
    record = Record(2, "a", "a@x.example", State.DEFERRED, 450, reply="later", due=day + 301)
    assert rows_in_trouble([record], "people.csv", day)[0].endswith("next try after 09:06")
