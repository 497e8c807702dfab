"""The rules of merge.carrier, held against every way out."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ways_kit import Desk, delivery, open_desk, session

from merge import folders
from merge.api.call import Calls
from merge.carrier import BeforeCommit, Carrier, Memory
from merge.clock import WallClock
from merge.errors import CarrierError, JournalError
from merge.folders import Folder, Maildir, Mbox
from merge.model import Delivery, Outcome, State
from merge.program import Program

KINDS = ("memory", "maildir", "mbox", "eml", "program", "sendgrid", "mailjet")


class Way:
    """One carrier, and what arrived at its other end."""

    def __init__(self, carrier: Carrier, arrived: Callable[[], int]) -> None:
        self.carrier = carrier
        self.arrived = arrived


@pytest.fixture
def ways(tmp_path: Path) -> Iterator[Callable[..., Way]]:
    with ExitStack() as stack:

        def opened(kind: str, commit: BeforeCommit | None = None, part: str = "a") -> Way:
            home = tmp_path / part
            home.mkdir(exist_ok=True)
            if kind in ("sendgrid", "mailjet"):
                desk = stack.enter_context(open_desk(Desk(kind)))
                way = session(
                    desk, window=3, per_call=2, before_commits=None, before_commit=commit or (lambda _: None)
                )
                stack.callback(way.close)
                return Way(way, lambda: len(desk.accepted))
            if kind == "memory":
                memory = Memory(commit)
                return Way(memory, lambda: len(memory.accepted))
            if kind == "program":
                program = script(home, 'cat > "$0.$$.mail"')
                return Way(Program([str(program)], commit), lambda: len(list(home.glob("*.mail"))))
            path = home / "out"
            if kind == "mbox":
                return Way(Mbox(path, WallClock(), commit), lambda: path.read_text().count("\nMessage-ID: "))
            if kind == "eml":
                return Way(Folder(path, commit), lambda: len(list(path.glob("*.eml"))))
            return Way(Maildir(path, commit), lambda: len(list((path / "new").iterdir())))

        yield opened


def script(home: Path, body: str) -> Path:
    path = home / "sendmail"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def drive(carrier: Carrier, deliveries: Sequence[Delivery]) -> list[Outcome]:
    waiting, outcomes = list(deliveries), []
    while len(outcomes) < len(deliveries):
        while waiting and carrier.room:
            carrier.offer(waiting.pop(0))
        outcomes += carrier.collect(0.05)
    return outcomes


def collect_often(carrier: Carrier) -> None:
    """Collect until it raises; nothing may come of it before."""
    for _ in range(200):
        assert not carrier.collect(0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_each_delivery_comes_back_once_and_has_arrived(ways, kind):
    committed: list[str] = []
    way = ways(kind, lambda one: committed.append(one.key))
    rows = [delivery(row) for row in range(2, 9)]
    outcomes = drive(way.carrier, rows)
    assert sorted(outcome.key for outcome in outcomes) == sorted(row.key for row in rows)
    assert {outcome.state for outcome in outcomes} == {State.SENT}
    assert sorted(committed) == sorted(row.key for row in rows)
    assert way.arrived() == 7
    assert way.carrier.recall() in ([], ())
    way.carrier.close()
    assert way.arrived() == 7


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_counts_before_the_hook_has_returned(ways, kind):
    way = None

    def hook(_: Delivery) -> None:
        assert way.arrived() == arrived[-1]
        hooked.append(1)

    hooked: list[int] = []
    arrived = [0]
    way = ways(kind, hook)
    for row in range(2, 5):
        outcomes = drive(way.carrier, [delivery(row)])
        assert [outcome.state for outcome in outcomes] == [State.SENT]
        arrived.append(way.arrived())
    assert arrived == [0, 1, 2, 3]
    assert len(hooked) == 3
    way.carrier.close()


@pytest.mark.parametrize("kind", KINDS)
def test_when_the_hook_raises_nothing_goes_and_all_is_recalled(ways, kind):
    def hook(_: Delivery) -> None:
        raise JournalError("the disk is full")

    way = ways(kind, hook)
    rows = []
    while way.carrier.room and len(rows) < 4:
        rows.append(delivery(2 + len(rows)))
        way.carrier.offer(rows[-1])
    with pytest.raises(JournalError, match="the disk is full"):
        collect_often(way.carrier)
    assert sorted(row.key for row in way.carrier.recall()) == sorted(row.key for row in rows)
    way.carrier.close()
    assert way.arrived() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_offered_and_not_begun_is_given_back_as_it_was(ways, kind):
    way = ways(kind)
    rows = []
    while way.carrier.room and len(rows) < 4:
        rows.append(delivery(2 + len(rows)))
        way.carrier.offer(rows[-1])
    assert list(way.carrier.recall()) == rows
    assert list(way.carrier.recall()) == []
    way.carrier.close()
    assert way.arrived() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_with_nothing_in_hand_collecting_gives_nothing(ways, kind):
    way = ways(kind)
    assert list(way.carrier.collect(0.0)) == []
    way.carrier.close()
    way.carrier.close()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
def test_an_interrupt_behind_the_hook_leaves_the_row_uncertain(ways, kind, monkeypatch):
    """Whatever breaks off the work between the hook and the answer, the row is not given back."""

    class Twice(BaseException):
        """A second Ctrl-C."""

    way = ways(kind)

    def strike(*_: Any, **__: Any) -> Any:
        raise Twice

    if kind == "program":
        monkeypatch.setattr(Program, "_meaning", strike)
    elif kind == "mbox":
        monkeypatch.setattr(folders, "_write_all", strike)
    elif kind in ("maildir", "eml"):
        monkeypatch.setattr(folders, "_sync_folder", strike)
    else:
        monkeypatch.setattr(Calls, "release", strike)
    way.carrier.offer(delivery(2))
    with pytest.raises(Twice):
        collect_often(way.carrier)
    assert list(way.carrier.recall()) == []
    outcomes = list(way.carrier.collect(0.0))
    assert [outcome.state for outcome in outcomes] == [State.UNCERTAIN]
    monkeypatch.undo()
    way.carrier.close()


STEPS = st.lists(st.sampled_from(["offer", "collect", "recall"]), min_size=1, max_size=14)


@pytest.mark.parametrize("kind", KINDS)
@given(steps=STEPS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_whatever_order_it_is_driven_nobody_is_lost_or_doubled(ways, kind, tmp_path, steps):
    way = ways(kind, part=f"p{len(list(tmp_path.iterdir()))}")
    offered: list[str] = []
    back: list[str] = []
    outcomes: list[Outcome] = []
    for step in steps:
        if step == "offer" and way.carrier.room:
            one = delivery(2 + len(offered))
            offered.append(one.key)
            way.carrier.offer(one)
        elif step == "collect":
            outcomes += way.carrier.collect(0.0)
        elif step == "recall":
            back += [one.key for one in way.carrier.recall()]
    for _ in range(400):
        if len(outcomes) + len(back) == len(offered):
            break
        outcomes += way.carrier.collect(0.02)
    way.carrier.close()
    assert sorted([outcome.key for outcome in outcomes] + back) == sorted(offered)
    assert all(outcome.state is State.SENT for outcome in outcomes)
    assert way.arrived() == len(outcomes)


def test_a_closed_way_has_no_room_and_says_why_again(tmp_path):
    (tmp_path / "out").mkdir()
    way = Maildir(tmp_path / "out")
    (tmp_path / "out" / "tmp").rmdir()
    way.offer(delivery(2))
    for _ in range(2):
        with pytest.raises(CarrierError, match="cannot be written"):
            way.collect(0.0)
    assert [one.row for one in way.recall()] == [2]
    assert way.room == 0
