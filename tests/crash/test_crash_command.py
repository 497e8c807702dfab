"""The command itself, killed or interrupted at what the server sees, then run again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from crash_checker import violations
from crash_run import Journal
from test_crash_kill import Server, server  # noqa: F401 - a fixture

from merge.model import Record, State

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")

ROWS = 5
WHEN_TOLD = "import os, sys; os.read(int(sys.argv[1]), 1); os.execv(sys.argv[2], sys.argv[2:])"
COMMAND = [sys.executable, "-c", "from merge.cli import main; main()", "send"]


class Campaign:
    """A campaign in a folder, sent by the command."""

    def __init__(self, folder: Path, name: str, server: Server) -> None:  # noqa: F811 - the fixture's value
        self.folder = folder
        self.server = server
        self.keys = [f"fine{number}.{name}@x.example" for number in range(ROWS)]
        (folder / "people.csv").write_text("email\n" + "".join(f"{key}\n" for key in self.keys))
        (folder / "letter.md").write_text("Subject: Hello\n\nHello {{ email }}\n")
        (folder / "campaign.toml").write_text(
            'list = "people.csv"\nletter = "letter.md"\nfrom = "news@ada.example"\n'
            f'[account]\nhost = "127.0.0.1"\nport = {server.port}\nsecurity = "none"\n'
            "[pace]\nper_second = 500\n"
        )

    def send(self, *options: str, order: tuple[str, str, int] | None = None) -> int:
        """Run the command, at most once disturbed as the server is ordered; return its exit code."""
        environment = {**os.environ, "XDG_STATE_HOME": str(self.folder), "HOME": str(self.folder)}
        ready, go = os.pipe()
        with subprocess.Popen(
            [sys.executable, "-c", WHEN_TOLD, str(ready), *COMMAND, "--no-input", *options],
            cwd=self.folder,
            env=environment,
            pass_fds=[ready],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            action, event, number = order or ("none", "none", 0)
            self.server.order(action, process.pid, event, number)
            os.close(go)
            os.close(ready)
            self.said, _ = process.communicate(timeout=60)
            self.server.order("none")
        assert "Traceback" not in self.said, self.said
        return process.returncode

    def records(self) -> list[Record]:
        view = Journal.look(self.folder / "journal.db", edition="1")
        if view is None:
            return []
        with view:
            return list(view.records())

    def counts(self) -> Counter[State]:
        return Counter(record.state for record in self.records())

    def judge(self) -> None:
        accepted = [entry for entry in self.server.accepted() if entry["recipient"] in self.keys]
        wrong = violations(
            [(entry["id"], entry["recipient"]) for entry in accepted], self.records(), keys=self.keys
        )
        assert not wrong, wrong


@pytest.mark.parametrize(
    ("event", "number"),
    [("connect", 0), ("DATA", 1), ("dot", 0), ("taken", 2), ("answered", 3)],
)
def test_killed_and_run_again(tmp_path: Path, server: Server, event: str, number: int) -> None:  # noqa: F811 - the fixture
    campaign = Campaign(tmp_path, f"{event.lower()}{number}", server)
    assert campaign.send("--confirm", str(ROWS), order=("kill", event, number)) == -signal.SIGKILL
    doubtful = campaign.counts()[State.UNCERTAIN]
    assert doubtful <= 1
    left = ROWS - campaign.counts()[State.SENT] - doubtful
    assert campaign.send("--confirm", str(left)) == (3 if doubtful else 0), campaign.said
    campaign.judge()
    assert campaign.counts() == Counter({State.SENT: ROWS - doubtful, State.UNCERTAIN: doubtful})


@pytest.mark.parametrize(("action", "code"), [("int", 130), ("term", 143)])
def test_one_signal_settles_what_is_in_flight(tmp_path: Path, server: Server, action: str, code: int) -> None:  # noqa: F811 - the fixture
    campaign = Campaign(tmp_path, action, server)
    assert campaign.send("--confirm", str(ROWS), order=(action, "dot", 2)) == code, campaign.said
    counts = campaign.counts()
    assert counts[State.UNCERTAIN] == 0
    assert counts[State.SENT] >= 3
    assert counts[State.SENT] + counts[State.WAITING] == ROWS
    assert (tmp_path / "results.csv").read_bytes().count(b"\r\n") == ROWS + 1
    assert campaign.send("--confirm", str(counts[State.WAITING])) == 0
    campaign.judge()


def test_two_signals_stop_at_once_and_truthfully(tmp_path: Path, server: Server) -> None:  # noqa: F811 - the fixture
    campaign = Campaign(tmp_path, "twice", server)
    assert campaign.send("--confirm", str(ROWS), order=("twice", "dot", 2)) == 130, campaign.said
    assert campaign.counts() == Counter({State.SENT: 2, State.UNCERTAIN: 1, State.WAITING: 2})
    assert campaign.send("--confirm", "2") == 3
    campaign.judge()
    assert campaign.send("--uncertain", "skip") == 0, campaign.said
    assert campaign.counts() == Counter({State.SENT: 4, State.UNCERTAIN: 1})
