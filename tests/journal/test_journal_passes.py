"""However a list is edited between two passes, the journal knows each row by its key and counts it once."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_kit import bring

from merge.clock import TestClock
from merge.journal import Journal, Listed, Plan, enrolment
from merge.model import State

Item = tuple[str, State, str]
LISTED = [State.WAITING, State.WAITING, State.WAITING, State.SKIPPED, State.INVALID]
LINES = st.tuples(
    st.sampled_from([f"k{number}" for number in range(12)]),
    st.sampled_from(LISTED),
    st.sampled_from(["d1", "d2"]),
)


def walk(journal: Journal, lines: Sequence[Item]) -> tuple[Plan, dict[str, int]]:
    """Enrol a list as the check does; return the plan, and each key's first row."""
    first: dict[str, int] = {}
    with journal.enrolment() as walked:
        for row, (key, state, digest) in enumerate(lines, 2):
            holder = walked.seen(key)
            assert (holder and holder.row) == first.get(key)
            if key in first:
                twin = f"same as row {first[key]}"
                again = Listed(row, key, f"{key}@x.example", state=State.SKIPPED, reason=twin, duplicate=True)
                walked.add(again)
                continue
            first[key] = row
            to_be_sent = state is State.WAITING
            walked.add(
                Listed(
                    *(row, key, f"{key}@x.example", digest if to_be_sent else ""),
                    recipients=1 + len(digest) * (digest == "d2"),
                    state=state,
                    reason="" if to_be_sent else "because",
                )
            )
        plan = walked.plan()
        walked.commit()
    return plan, first


@settings(max_examples=60, deadline=None)
@given(
    at_once=st.sampled_from([2, 3, 512]),
    passes=st.lists(st.lists(LINES, max_size=20), min_size=1, max_size=4),
    sent=st.lists(st.sampled_from([State.SENT, State.FAILED, State.UNCERTAIN, State.DEFERRED]), max_size=6),
    keep=st.booleans(),
)
def test_whatever_is_done_to_the_list(
    at_once: int, passes: list[list[Item]], sent: list[State], *, keep: bool
) -> None:
    if keep:  # mostly the list as it was, with a few lines moved and changed
        passes = [passes[0], passes[0][1:] + passes[0][:1], passes[0], *passes[1:], passes[0][::-1]]
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(enrolment, "_AT_ONCE", at_once)
        with Journal.open(Path(folder) / "journal.db", edition="1", clock=TestClock()) as journal:
            happened: dict[str, State] = {}
            known: set[str] = set()
            for number, lines in enumerate(passes):
                plan, first = walk(journal, lines)
                listed = {key: lines[row - 2] for key, row in first.items()}
                expected = {}
                for key, (_, state, _) in listed.items():
                    was = happened.get(key, state)
                    expected[key] = state if was is State.DEFERRED and state is not State.WAITING else was
                found = list(journal.records())
                assert [record.row for record in found] == list(range(2, len(lines) + 2))
                assert {r.key: r.state for r in found if r.row == first[r.key]} == expected
                assert {r.key: r.row for r in found if r.row == first[r.key]} == first
                assert plan.total == len(lines) == sum(journal.counts().values())
                assert plan.states == journal.counts()
                assert plan.new == len(first.keys() - known)
                before = {key for key, _, _ in passes[number - 1]} if number else set()
                assert plan.gone == len(before - first.keys())
                known |= first.keys()
                for key, state in zip(sorted(first), sent, strict=False):
                    if expected[key] is State.WAITING:
                        bring(journal, key, state)
                        happened[key] = state
                to_do = journal.to_do()
                waiting = {r.row for r in journal.records() if r.state in (State.WAITING, State.DEFERRED)}
                assert {row for row, flag in enumerate(to_do) if flag} == waiting
