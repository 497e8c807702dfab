"""However a run ends, the next one goes on: nobody twice, nobody skipped, the sums right."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest
from whole_kit import BREAKS_OFF, begin, campaign, ended, people, results, serving, states
from whole_kit import here as run


def stopping(process) -> None:
    """Read on until the command says that it stops."""
    line = " "
    while line and "Stopping after this message" not in line:
        line = process.stderr.readline()
    assert line


def go_on(folder, total: int) -> dict[str, int]:
    """Run again until nothing is left; return the states."""
    first = states(folder)
    number = first.get("waiting", 0) + first.get("deferred", 0)
    said = run("send", "--confirm", str(number), cwd=folder)
    after = states(folder)
    assert sum(after.values()) == total
    assert set(after) <= {"sent", "uncertain"}
    assert said.code == (3 if after.get("uncertain") else 0), said
    return after


def test_a_killed_run_is_gone_on_with_and_nobody_gets_it_twice(tmp_path):
    with serving(pause=0.002) as server:
        folder = campaign(tmp_path / "c", people(100), server=server)
        process = begin("send", "--confirm", "100", cwd=folder)
        server.wait_for(40)
        os.kill(process.pid, signal.SIGKILL)
        assert ended(process).code == -signal.SIGKILL
        between = states(folder)
        assert between["sent"] >= 38
        assert between["waiting"] > 0
        after = go_on(folder, 100)
        doubtful = {row["to"] for row in results(folder) if row["state"] == "uncertain"}
        assert len(doubtful) <= 1
        assert max(server.counts.values()) == 1
        assert {f"p{n:04d}@x.example" for n in range(1, 101)} - set(server.counts) <= doubtful
        assert after["sent"] + len(doubtful) == 100


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_settles_the_message_in_flight_and_says_how_to_go_on(tmp_path, number, code):
    with serving(holds_from=5) as server:
        folder = campaign(tmp_path / "c", people(30), server=server)
        process = begin("send", "--confirm", "30", cwd=folder)
        assert server.held.wait(20)
        os.kill(process.pid, number)
        stopping(process)
        server.released.set()
        said = ended(process)
        assert said.code == code, said
        counts = states(folder)
        assert counts == {"sent": 6, "waiting": 24}, "what was in flight is settled, and no more"
        assert len(server.mails) == 6
        assert "6 sent" in said.err
        assert "mergepost send" in said.err.splitlines()[-1]
        assert [row["state"] for row in results(folder)].count("sent") == counts["sent"]
        assert go_on(folder, 30) == {"sent": 30}
        assert set(server.counts.values()) == {1}


def test_a_second_ctrl_c_stops_at_once_and_leaves_the_message_in_flight_uncertain(tmp_path):
    with serving(holds_from=0) as server:
        folder = campaign(tmp_path / "c", people(5), server=server)
        process = begin("send", "--confirm", "5", cwd=folder)
        assert server.held.wait(20)
        os.kill(process.pid, signal.SIGINT)
        stopping(process)
        os.kill(process.pid, signal.SIGINT)
        said = ended(process, patience=10)
        assert said.code == 130
        assert "uncertain" in said.err
        assert states(folder) == {"uncertain": 1, "waiting": 4}
        assert results(folder)[0]["state"] == "uncertain"


def test_several_signals_of_one_closed_terminal_count_as_one(tmp_path):
    with serving(holds_from=3) as server:
        folder = campaign(tmp_path / "c", people(10), server=server)
        process = begin("send", "--confirm", "10", cwd=folder)
        assert server.held.wait(20)
        os.kill(process.pid, signal.SIGHUP)
        stopping(process)
        os.kill(process.pid, signal.SIGHUP)
        time.sleep(0.3)
        server.released.set()
        assert ended(process).code == 128 + signal.SIGHUP
        assert states(folder) == {"sent": 4, "waiting": 6}


def test_a_run_goes_on_when_nobody_reads_what_it_says(tmp_path):
    with serving(holds_from=3) as server:
        folder = campaign(tmp_path / "c", people(10), server=server)
        process = begin("send", "--confirm", "10", cwd=folder)
        assert server.held.wait(20)
        process.stderr.close()
        server.released.set()
        assert process.wait(20) == 0
        process.stdout.close()
        assert states(folder) == {"sent": 10}


def test_a_signal_while_nothing_is_sent_says_so(tmp_path):
    folder = campaign(tmp_path / "c", people(30_000))
    process = begin("preview", "--eml", "eml", cwd=folder)
    until = time.monotonic() + 20
    while not list(folder.glob("eml/*")):
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    said = ended(process)
    assert said.code == 130
    assert said.err.endswith("Stopped. Nothing was sent.\n")


def test_a_second_run_at_the_same_time_is_refused(tmp_path):
    with serving(holds_from=3) as server:
        folder = campaign(tmp_path / "c", people(20), server=server)
        process = begin("send", "--confirm", "20", cwd=folder)
        assert server.held.wait(20)
        second = run("send", "--confirm", "20", cwd=folder)
        assert second.code == 75
        assert re.search("another run", second.err, re.IGNORECASE)
        assert "wait" in run("status", cwd=folder).out
        assert run("send", "--dry-run", cwd=folder).code in (0, 75)
        server.released.set()
        assert ended(process).code == 0
        assert set(server.counts.values()) == {1}
        assert len(server.mails) == 20


def test_a_line_that_breaks_after_the_message_leaves_it_uncertain_and_the_others_go_out(tmp_path):
    with serving(replies={"DATA p0002@x.example": [BREAKS_OFF]}) as server:
        folder = campaign(tmp_path / "c", server=server)
        said = run("send", "--confirm", "3", cwd=folder)
        assert said.code == 3
        assert re.search(r"row 3 .*p0002@x\.example.*uncertain", said.err)
        assert "--uncertain" in said.err.splitlines()[-1]
        assert states(folder) == {"sent": 2, "uncertain": 1}
        again = run("send", cwd=folder)
        assert again.code == 3, "without a word the row stays as it is"
        assert server.counts["p0002@x.example"] == 1


def test_the_person_decides_about_uncertain_rows(tmp_path):
    with serving(replies={"DATA p0002@x.example": [BREAKS_OFF, "250 kept"]}) as server:
        folder = campaign(tmp_path / "again", server=server)
        run("send", "--confirm", "3", cwd=folder)
        said = run("send", "--uncertain", "again", "--confirm", "1", cwd=folder)
        assert said.code == 0, said
        assert states(folder) == {"sent": 3}
        twins = [mail.message["Message-ID"] for mail in server.mails if "p0002@x.example" in mail.recipients]
        assert len(twins) == 2
        assert len(set(twins)) == 1, "mail programs know a second copy by its Message-ID"
    with serving(replies={"DATA p0002@x.example": [BREAKS_OFF, "250 kept"]}) as server:
        folder = campaign(tmp_path / "skip", server=server)
        run("send", "--confirm", "3", cwd=folder)
        said = run("send", "--uncertain", "skip", cwd=folder)
        assert said.code == 0, said
        assert states(folder) == {"sent": 2, "uncertain": 1}
        assert run("send", cwd=folder).code == 0, "settled: not asked again"
        assert server.counts["p0002@x.example"] == 1


def test_a_server_that_comes_up_later_is_waited_for(tmp_path):
    with serving() as server:
        port = server.port
    folder = campaign(tmp_path / "c", server=server)
    process = begin("send", "--confirm", "3", cwd=folder)
    assert process.stderr is not None
    while "trying again" not in (line := process.stderr.readline()):
        assert line, "it gave up"
    assert "refused" in line
    with serving(port=port) as server:
        assert ended(process).code == 0
        assert len(server.mails) == 3


def test_a_stopped_run_can_go_on_at_once_though_a_row_is_deferred(tmp_path):
    replies = {"RCPT p0002@x.example": ["451 4.7.1 greylisted"]}
    with serving(holds_from=3, replies=replies) as server:
        folder = campaign(tmp_path / "c", people(9), server=server, account='[retry]\nfirst = "1h"\n')
        process = begin("send", "--confirm", "9", cwd=folder)
        assert server.held.wait(20)
        os.kill(process.pid, signal.SIGINT)
        stopping(process)
        server.released.set()
        said = ended(process)
        assert "1 deferred" in said.err
        assert said.err.endswith("Next     mergepost send\n"), "the others need not wait for that row"
