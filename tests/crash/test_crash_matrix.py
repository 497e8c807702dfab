"""The end comes at every point of a run, then again during the recovery; the promise holds each time.

A run is recorded once, operation by operation. Each prefix of the record is a moment at which the process was
killed (all that was written is there) or the power failed (only what was synced is sure to be there).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from crash_checker import violations
from crash_disk import Disk, library, restore
from crash_run import FATES, campaign, records

from merge.journal import Journal
from merge.model import State

pytestmark = pytest.mark.skipif(
    library() is None, reason="this Python has SQLite built in, beyond the reach of a VFS"
)

KEYS = ["ann@a.example", "ben@b.example", "zoe@c.example"]
SECOND_ENDS = int(os.environ.get("MERGEPOST_CRASH_SECOND", "1"))
"""How many ends of the recovery are tried after each end of the run; 0 means every one."""


@pytest.fixture
def rooms(tmp_path: Path) -> Iterator[tuple[Path, Path, Path]]:
    """Three empty folders, in memory where the machine has room there: real syncs would only cost time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as base:
        folders = tuple(Path(base) / name for name in ("first", "second", "third"))
        for folder in folders:
            folder.mkdir()
        yield folders


def accepted(disk: Disk, end: int) -> list[tuple[str, str]]:
    return [(mark[1], mark[2]) for mark in disk.marks(end) if mark[0] == "accepted"]


def let_go(disk: Disk, end: int) -> list[str]:
    return [key for mark in disk.marks(end) if mark[0] == "settled" for key in mark[1:]]


@pytest.mark.parametrize(("policy", "window"), [(None, 1), (None, 3), ("again", 1)])
@pytest.mark.parametrize("loss", ["kill", "power"])
@pytest.mark.parametrize("fate", FATES)
def test_nobody_twice_nobody_skipped(
    fate: str, loss: str, policy: str | None, window: int, rooms: tuple[Path, Path, Path]
) -> None:
    first, second, third = rooms
    with Disk(first) as disk:
        campaign(first / "journal.db", KEYS, dict.fromkeys(KEYS, fate), mark=disk.mark, window=window)
    chance = Random(f"{fate} {loss} {policy} {window}")
    lost = len(KEYS) if fate.startswith("lost") else 0
    for end in range(len(disk.log) + 1):
        restore(disk.image(end, chance if loss == "power" else None), second)
        before = accepted(disk, end)
        started = {mark[1] for mark in disk.marks(end) if mark[0] == "dot"}
        assert not started - not_waiting(second), f"at {end}: a message may be out, and its row waits"
        with Disk(second) as again:
            _, script = campaign(
                second / "journal.db", KEYS, {}, mark=again.mark, uncertain=policy, window=window
            )
        found = records(second / "journal.db")
        wrong = violations(
            before + script.accepted,
            found,
            keys=KEYS,
            let_go=let_go(again, len(again.log)),
            in_doubt=window + lost,
        )
        assert not wrong, f"at {end}: {wrong}"
        assert not {record.state for record in found} & {State.WAITING, State.DEFERRED}, f"at {end}"
        for stop in ends(len(again.log), chance):
            restore(again.image(stop, chance if loss == "power" else None), third)
            _, last = campaign(third / "journal.db", KEYS, {}, uncertain=policy, window=window)
            wrong = violations(
                before + accepted(again, stop) + last.accepted,
                records(third / "journal.db"),
                keys=KEYS,
                let_go=let_go(again, stop) + (KEYS if policy == "again" else []),
                in_doubt=2 * window + lost,
            )
            assert not wrong, f"at {end}, then at {stop}: {wrong}"


def ends(length: int, chance: Random) -> list[int]:
    every = range(length + 1)
    most = SECOND_ENDS or len(every)
    return sorted(chance.sample(every, min(most, len(every))))


def not_waiting(folder: Path) -> set[str]:
    view = Journal.look(folder / "journal.db", edition="") if (folder / "journal.db").exists() else None
    if view is None:
        return set()
    with view:
        return {record.key for record in view.records() if record.state is not State.WAITING}
