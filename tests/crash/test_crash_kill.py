"""Real processes, really killed, against a real server; then its log is held against the journal.

MERGEPOST_CRASH_KILLS sets how many processes are killed, at the same places every time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from crash_checker import violations
from crash_run import enrol, records
from crash_server import EVENTS

from merge import report
from merge.clock import WallClock
from merge.courier import run
from merge.journal import Journal
from merge.model import Delivery, Envelope, State
from merge.pace import Pace
from merge.retry import Retry
from merge.smtp.session import Account, Session

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="processes are forked, which POSIX alone can do"
)

KILLS = int(os.environ.get("MERGEPOST_CRASH_KILLS", "300"))
KINDS = ("fine", "fine", "gray", "late", "gone", "spam", "fine", "fine")

# Where a process ends itself, around the calls that change the journal.
OWN_POINTS = tuple(
    f"{side} {call}"
    for call in ("Journal.open", "enrol", "committing", "record", "write_results", "close")
    for side in ("before", "after")
)


@dataclass(frozen=True)
class End:
    """How a process ends: at its n-th passing of a point, its own or the server's, or after some seconds."""

    how: str
    point: str = ""
    number: int = 0
    seconds: float = 0.0


def draw(chance: Random) -> End:
    how = chance.choice(("server", "server", "own", "own", "clock", "drop"))
    if how == "clock":
        return End(how, seconds=chance.uniform(0.0, 0.06))
    points = OWN_POINTS if how == "own" else EVENTS
    return End(how, chance.choice(points), chance.randrange(6))


@dataclass
class Server:
    """The server's process, seen from here."""

    folder: Path
    port: int
    orders: int = 0

    def order(self, action: str, pid: int = 0, event: str = "none", number: int = 0) -> None:
        self.orders += 1
        draft = self.folder / "order.part"
        draft.write_text(f"{action} {pid} {event} {number} {self.orders}")
        draft.replace(self.folder / "order")

    def accepted(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "accepted").read_text().splitlines()]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "order").write_text("none 0 none 0 0")
    script = Path(__file__).with_name("crash_server.py")
    with subprocess.Popen(
        [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield Server(folder, int(process.stdout.readline()))
        process.kill()


def send(path: Path, keys: list[str], port: int, uncertain: str | None, window: int) -> None:
    """Do what `mergepost send` does: open, enrol, settle, send, write results."""
    clock = WallClock()
    with Journal.open(path, edition="", clock=clock) as journal:
        enrol(journal, keys)
        if uncertain == "again":
            journal.settle("again")
        session = Session(
            Account("127.0.0.1", port, security="none", window=window),
            before_commit=journal.committing,
            before_commits=journal.committing_all,
            clock=clock,
            schedule=(0.01, 0.01, 0.01, 0.01),
        )
        try:
            ending = run(
                letters(journal, keys),
                carrier=session,
                journal=journal,
                pace=Pace(),
                retry=Retry(first=0.02),
                clock=clock,
                wait=30.0,
            )
        finally:
            session.close()
        report.write_results(journal.records(), path.with_name("results.csv"))
    if ending.stopped:
        raise ending.stopped


def letters(journal: Journal, keys: list[str]) -> Iterator[Delivery]:
    for row, key in enumerate(keys, 2):
        standing = journal.standing(key)
        if standing and standing.state in (State.WAITING, State.DEFERRED):
            message_id = journal.message_id(key, "ada.example")
            head = f"To: {key}\r\nFrom: news@ada.example\r\nMessage-ID: {message_id}\r\n\r\n"
            yield Delivery(
                key,
                row,
                Envelope("news@ada.example", (key,)),
                head.encode() + b"A line of the letter.\r\n" * 40,
                message_id,
                standing.date or datetime.now(UTC),
                standing.digest,
                standing.attempts,
                standing.due,
            )


def spawn(end: End | None, server: Server, work: Callable[[], None]) -> int:
    """Fork, work in the child, end it as told; return how it ended (negative: the signal)."""
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(go)
            os.read(ready, 1)
            if end and end.how == "own":
                lay_mines(end)
            work()
            code = 0
        finally:
            os._exit(code)
    os.close(ready)
    if end and end.how == "server":
        server.order("kill", pid, end.point, end.number)
    elif end and end.how == "drop":
        server.order("drop", 0, end.point, end.number)
    else:
        server.order("none")
    os.close(go)
    timer = threading.Timer(end.seconds if end else 0.0, lambda: os.kill(pid, signal.SIGKILL))
    if end and end.how == "clock":
        timer.start()
    # The process keeps its number until nobody can mean it any more.
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    timer.cancel()
    if timer.ident:
        timer.join()
    server.order("none")
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def lay_mines(end: End) -> None:
    """Make this process kill itself at the n-th passing of a point."""
    side, call = end.point.split(" ", 1)
    passed = 0

    def mine(original: Callable[..., Any]) -> Callable[..., Any]:
        def passing(*given: Any, **named: Any) -> Any:
            nonlocal passed
            here = passed == end.number
            passed += 1
            if here and side == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*given, **named)
            if here:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return passing

    if call == "Journal.open":
        Journal.open = mine(Journal.open)  # type: ignore[method-assign]
    elif call == "enrol":
        globals()["enrol"] = mine(enrol)
    elif call == "write_results":
        report.write_results = mine(report.write_results)
    elif call == "committing":
        Journal.committing = mine(Journal.committing)  # type: ignore[method-assign]
        Journal.committing_all = mine(Journal.committing_all)  # type: ignore[method-assign]
    else:
        setattr(Journal, call, mine(getattr(Journal, call)))


@pytest.mark.parametrize("window", [0, 4])
@pytest.mark.parametrize("policy", [None, "again"])
def test_killed_anywhere_and_run_again(
    tmp_path: Path, server: Server, policy: str | None, window: int
) -> None:
    chance = Random(f"{policy} {window}")
    trial = kills = doubtful = 0
    while kills < KILLS // 4:
        trial += 1
        folder = tmp_path / str(trial)
        folder.mkdir()
        path = folder / "journal.db"
        keys = [f"{kind}{row}.{trial}.{policy}.{window}@x.example" for row, kind in enumerate(KINDS)]
        let_go: list[str] = []
        breaks = 0
        ends = [draw(chance), draw(chance) if chance.random() < 0.5 else None, None]
        for end in ends:
            if policy == "again" and path.exists():
                let_go += [record.key for record in records(path) if record.state is State.UNCERTAIN]
            code = spawn(end, server, lambda: send(path, keys, server.port, policy, window))  # noqa: B023 - called at once
            assert code in ((0, -signal.SIGKILL) if end else (0,)), f"trial {trial}: exit {code} after {end}"
            kills += code == -signal.SIGKILL
            breaks += end is not None
            half = folder / "results.csv"
            assert not half.exists() or half.read_bytes().endswith(b"\r\n")
        found = records(path)
        mine = [entry for entry in server.accepted() if entry["recipient"] in keys]
        assert all(entry["to"] == entry["recipient"] for entry in mine)
        wrong = violations(
            [(entry["id"], entry["recipient"]) for entry in mine],
            found,
            keys=keys,
            let_go=let_go,
            in_doubt=breaks * max(window, 1),
        )
        assert not wrong, f"trial {trial}, {ends}: {wrong}"
        states = {record.key: record.state for record in found}
        for key, state in states.items():
            best = State.FAILED if key.startswith(("gone", "spam")) else State.SENT
            assert state in (best, State.UNCERTAIN), f"trial {trial}: {key} {state}"
        doubtful += sum(state is State.UNCERTAIN for state in states.values())
    assert doubtful or policy == "again"
