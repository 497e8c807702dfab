"""Whatever is chosen from a list in whichever run: each chosen address gets one letter, and none gets two."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_kit import bring

from merge.check import check
from merge.clock import TestClock
from merge.errors import Problem
from merge.journal import Journal, Plan, enrolment
from merge.model import Recipient, State

ADDRESSES = [f"p{number}@x.example" for number in range(4)]


@dataclass(frozen=True)
class Person:
    """A row of the list: its address, and what sets it apart from other rows with that address."""

    address: str
    what: str


@dataclass(frozen=True)
class Letter:
    """What examining a row brings to light."""

    to: str
    digest: str
    problems: tuple[Problem, ...] = ()
    subject: str = "News"
    size: int = 100

    @property
    def recipients(self) -> Sequence[str]:
        return (self.to,)


def walk(
    journal: Journal, people: Sequence[Person], chosen: Callable[[str], bool], *, edited: str = ""
) -> Plan:
    """Enrol a list as a run does that leaves out what is not chosen."""
    rows = [Recipient(row, {"a": one.address}, one.address) for row, one in enumerate(people, 2)]
    with journal.enrolment() as walked:
        check(
            rows,
            examine=lambda one: Letter(one.address, people[one.row - 2].what + edited),
            register=walked,
            list_name="people.csv",
            left_out=lambda one: "" if chosen(people[one.row - 2].what) else "not chosen by where",
        )
        plan = walked.plan()
        walked.commit()
    return plan


def states(journal: Journal) -> list[State]:
    return [record.state for record in journal.records()]


@pytest.fixture
def journal(tmp_path: Path):
    with Journal.open(tmp_path / "journal.db", edition="1", clock=TestClock()) as opened:
        yield opened


W, K, D, F, S, U = (
    *(State.WAITING, State.SKIPPED, State.DEFERRED, State.FAILED, State.SENT, State.UNCERTAIN),
)
ADA = [Person("ada@x.example", "left"), Person("ada@x.example", "right"), Person("bob@x.example", "right")]


def everything(_: str) -> bool:
    return True


def test_a_chosen_row_stands_for_its_address_where_the_first_is_left_out(journal: Journal) -> None:
    plan = walk(journal, ADA, "right".__eq__)
    assert states(journal) == [K, W, W]
    assert [record.reason for record in journal.records()] == ["not chosen by where", "", ""]
    assert (plan.total, plan.new, plan.changed) == (3, 2, 0)
    assert [row for row, to_do in enumerate(journal.to_do()) if to_do] == [3, 4]


@pytest.mark.parametrize("past", [D, F, S, U])
def test_what_happened_moves_with_the_address(journal: Journal, past: State) -> None:
    walk(journal, ADA, everything)
    assert states(journal) == [W, K, W]
    bring(journal, "ada@x.example", past, digest="left")
    for _ in range(2):
        plan = walk(journal, ADA, "right".__eq__)
        assert states(journal) == [K, past, W]
        assert plan.states == journal.counts()
        assert (plan.new, plan.changed, plan.changed_after, plan.uncertain) == (0, 0, 0, past is U)
    for _ in range(2):
        plan = walk(journal, ADA, everything)
        assert states(journal) == [past, K, W]
        assert (plan.new, plan.changed, plan.changed_after, plan.uncertain) == (0, 0, 0, past is U)


def test_a_letter_sent_to_the_second_row_has_not_changed_when_the_first_is_chosen_again(
    journal: Journal,
) -> None:
    walk(journal, ADA, "right".__eq__)
    bring(journal, "ada@x.example", S, digest="right")
    for chosen in (everything, everything, "right".__eq__, "left".__eq__, everything):
        plan = walk(journal, ADA, chosen)
        assert (plan.changed, plan.changed_after) == (0, 0)


def test_an_edited_letter_has_changed_whoever_is_chosen(journal: Journal) -> None:
    walk(journal, ADA, "right".__eq__)
    bring(journal, "bob@x.example", S, digest="right")
    plan = walk(journal, ADA, "right".__eq__, edited=", edited")
    assert (plan.changed, plan.changed_after) == (1, 1)


def test_a_row_left_out_and_chosen_again_has_not_changed(journal: Journal) -> None:
    for chosen in ("left".__eq__, "right".__eq__, everything, "nobody".__eq__, everything):
        plan = walk(journal, ADA[1:], chosen)
        assert (plan.changed, plan.changed_after) == (0, 0)
    assert plan.states[W] == 2


def test_a_deferred_row_is_due_again_when_it_is_chosen_again(journal: Journal) -> None:
    walk(journal, ADA, everything)
    bring(journal, "bob@x.example", D)
    due = journal.next_due()
    walk(journal, ADA, "left".__eq__)
    assert states(journal) == [W, K, K]
    walk(journal, ADA, everything)
    assert states(journal) == [W, K, D]
    assert journal.next_due() == due


PEOPLE = st.lists(
    st.builds(Person, st.sampled_from(ADDRESSES), st.sampled_from(["one", "two", "three"])),
    min_size=1,
    max_size=9,
)
CHOICES = st.lists(st.sets(st.sampled_from(["one", "two", "three"])), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(
    people=PEOPLE,
    choices=CHOICES,
    fates=st.lists(st.sampled_from([S, S, F, U, D, W]), max_size=12),
    orders=st.lists(st.randoms(use_true_random=False), max_size=2),
    at_once=st.sampled_from([2, 512]),
)
def test_each_chosen_address_gets_one_letter_over_all_runs(
    people: list[Person],
    choices: list[set[str]],
    fates: list[State],
    orders: list,
    at_once: int,
) -> None:
    accepted: Counter[str] = Counter()
    ahead = iter(fates)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(enrolment, "_AT_ONCE", at_once)
        with Journal.open(Path(folder) / "journal.db", edition="1", clock=TestClock()) as journal:
            for number, choice in enumerate(choices):
                in_order = not orders or number % 3 < 2
                if not in_order:
                    orders[number % len(orders)].shuffle(people)
                walk(journal, people, choice.__contains__)
                plan = walk(journal, people, choice.__contains__)
                found = list(journal.records())
                assert [record.row for record in found] == list(range(2, len(people) + 2))
                assert plan.states == journal.counts()
                assert sum(plan.states.values()) == plan.total == len(people)
                assert (plan.new, plan.changed, plan.gone) == (0, 0, 0)
                if not orders:
                    assert plan.changed_after == 0
                open_rows = [record for record in found if record.state in (W, D)]
                wanted = {one.address for one in people if one.what in choice}
                for address in wanted:
                    # It was dealt with, or exactly one of its rows is to be sent, and that one is chosen.
                    (standing,) = {
                        record.row for record in found if record.to == address and record.state is not K
                    }
                    assert people[standing - 2].what in choice
                assert {record.key for record in open_rows} <= wanted
                assert {row for row, flag in enumerate(journal.to_do()) if flag} == {
                    record.row for record in open_rows
                }
                for record in open_rows:
                    fate = next(ahead, S)
                    bring(journal, record.key, fate, digest=people[record.row - 2].what)
                    accepted[record.key] += fate is S
                journal.retry_failed()
                journal.settle("again")
            everyone = {one.address for one in people if one.what in set.union(*choices)}
            for choice in choices:
                walk(journal, people, choice.__contains__)
                journal.retry_failed()
                journal.settle("again")
                for record in list(journal.records()):
                    if record.state in (W, D):
                        bring(journal, record.key, S, digest=people[record.row - 2].what)
                        accepted[record.key] += 1
    assert accepted == Counter(everyone)
