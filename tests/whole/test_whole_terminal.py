"""A person at a terminal: sees the plan, types its number, sees it go, can stop."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
import types

import pytest
from whole_kit import BREAKS_OFF, COMMAND, PASSWORD, campaign, environment, people, serving, states

from merge.clock import WallClock
from merge.console import Console

ATTACH = """
import os, sys
os.setsid()
os.close(os.open(os.ttyname(0), os.O_RDWR))
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Starts a command as a shell would: the terminal is its own, Ctrl-C and passwords come from it."""


class Terminal:
    """A command on a pseudo-terminal, as wide as most."""

    def __init__(self, *words: str, cwd, env=types.MappingProxyType({}), columns: int = 100) -> None:
        self._here, there = pty.openpty()
        termios.tcsetwinsize(there, (30, columns))
        env = environment(cwd.parent / "home", env)
        start = [sys.executable, "-c", ATTACH, COMMAND, *words]
        self._process = subprocess.Popen(start, cwd=cwd, env=env, stdin=there, stdout=there, stderr=there)
        os.close(there)
        self.shown = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._here)

    def close(self) -> int:
        """Close the terminal, as a person closes its window; return the exit code of the command."""
        os.close(self._here)
        self._here = os.open(os.devnull, os.O_RDONLY)
        return self._process.wait(20)

    def read(self, seconds: float) -> bool:
        """Take in what was written meanwhile; False when the command has ended."""
        if not select.select([self._here], [], [], seconds)[0]:
            return True
        try:
            got = os.read(self._here, 65536)
        except OSError:
            return False
        self.shown += got.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(got)

    def wait_for(self, words: str, patience: float = 20) -> None:
        until = time.monotonic() + patience
        while words not in self.shown:
            alive = self.read(0.2)
            assert words in self.shown or (alive and time.monotonic() < until), self.shown

    def type(self, text: str) -> None:
        os.write(self._here, text.encode())

    def end(self, patience: float = 20) -> int:
        """Wait for the end; return the exit code."""
        until = time.monotonic() + patience
        while self.read(0.2):
            assert time.monotonic() < until, self.shown
        return self._process.wait(5)


def test_the_plan_is_shown_and_only_its_number_sends(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server)
        for answer in ("4", "", "3 "):
            with Terminal("send", cwd=folder) as terminal:
                terminal.wait_for("Type 3 to send, anything else to stop: ")
                for words in ("3 rows   3 to send", "Ada Club <news@ada.example>", "News for 山田 太郎 1"):
                    assert words in terminal.shown
                terminal.type(f"{answer}\n")
                code = terminal.end()
            if answer == "3 ":
                assert code == 0
                assert "3 sent" in terminal.shown
            else:
                assert code == 1
                assert terminal.shown.endswith("Nothing was sent.\n")
                assert not server.lines
                assert states(folder) == {"waiting": 3}
        assert len(server.mails) == 3


def test_the_end_of_input_is_a_no_and_ctrl_c_too(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server)
        for key, code in (("\x04", 1), ("\x03", 130)):
            with Terminal("send", cwd=folder) as terminal:
                terminal.wait_for("Type 3 to send")
                terminal.type(key)
                assert terminal.end() == code
                assert "Nothing was sent." in terminal.shown
        assert not server.lines


def test_quiet_or_not_nobody_is_asked_about_a_plan_they_did_not_see(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server)
        with Terminal("send", "--quiet", cwd=folder) as terminal:
            terminal.wait_for("Type 3 to send")
            assert "3 rows   3 to send" in terminal.shown
            terminal.type("3\n")
            assert terminal.end() == 0


def test_a_bar_shows_how_far_it_is_and_ctrl_c_stops_after_the_message(tmp_path):
    with serving(holds_from=5) as server:
        folder = campaign(tmp_path / "c", people(40), server=server)
        with Terminal("send", cwd=folder) as terminal:
            terminal.wait_for("Type 40 to send")
            terminal.type("40\n")
            terminal.wait_for("/40")
            assert server.held.wait(20)
            terminal.type("\x03")
            terminal.wait_for("Stopping after this message")
            server.released.set()
            assert terminal.end() == 130
            assert re.search(r"Sending +.* \d+/40 ", terminal.shown)
            assert "Stopping after this message... (once more to stop now)" in terminal.shown
            assert terminal.shown.splitlines()[-1].startswith("Next     mergepost send")
        assert "uncertain" not in states(folder)
        assert set(server.counts.values()) == {1}


def test_a_terminal_that_does_not_know_its_width_gets_lines(tmp_path):
    with serving(pause=0.1) as server:
        folder = campaign(tmp_path / "c", people(20), server=server)
        with Terminal("send", "--confirm", "20", cwd=folder, columns=0) as terminal:
            assert terminal.end() == 0
            assert re.search(r"\d+ of 20: \d+ sent", terminal.shown)


@pytest.mark.parametrize("plain", ["NO_COLOR", "--no-color", "TERM=dumb", "no terminal"])
def test_colour_is_only_where_it_is_wanted(tmp_path, plain):
    folder = campaign(tmp_path / "c", "name,email,number\nAda,nobody,1\n")
    env = {"NO_COLOR": {"NO_COLOR": "1"}, "TERM=dumb": {"TERM": "dumb"}}.get(plain, {})
    words = ["--no-color"] if plain == "--no-color" else []
    with Terminal("send", "--sandbox", *words, cwd=folder, env=env) as terminal:
        assert terminal.end() == 1
        assert "error: people.csv: 1 of 1 row" in terminal.shown if plain != "no terminal" else True
        assert ("\x1b[" in terminal.shown) == (plain == "no terminal")


def test_the_person_is_asked_about_rows_that_may_have_arrived(tmp_path):
    with serving(replies={"DATA p0002@x.example": [BREAKS_OFF, "250 kept"]}) as server:
        folder = campaign(tmp_path / "c", server=server)
        with Terminal("send", "--confirm", "3", cwd=folder) as terminal:
            assert terminal.end() == 3
        with Terminal("send", cwd=folder) as terminal:
            terminal.wait_for("(default: skip)")
            assert "p0002@x.example" in terminal.shown
            terminal.type("a\n")
            terminal.wait_for("Type 1 to send")
            terminal.type("1\n")
            assert terminal.end() == 0
        assert states(folder) == {"sent": 3}


def test_the_password_is_asked_for_and_not_shown(tmp_path):
    with serving(logins={"ada": PASSWORD}) as server:
        folder = campaign(tmp_path / "c", server=server, account='user = "ada"\n')
        with Terminal("send", "--confirm", "3", cwd=folder) as terminal:
            terminal.wait_for("Password of ada on 127.0.0.1: ")
            terminal.type(f"{PASSWORD}\n")
            assert terminal.end() == 0, terminal.shown
            assert PASSWORD not in terminal.shown
        assert len(server.mails) == 3
        fresh = campaign(tmp_path / "d", server=server, account='user = "ada"\n')
        with Terminal("send", "--confirm", "3", cwd=fresh) as terminal:
            terminal.wait_for("Password of ada")
            terminal.type("\x03")
            assert terminal.end() == 130
            assert "Nothing was sent." in terminal.shown
        assert states(fresh) == {"waiting": 3}


def test_after_the_first_few_the_person_is_asked_again(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", people(5), server=server)
        for key, code in (("\n", 3), ("\x03", 3)):
            with Terminal("send", "--first", "1", cwd=folder) as terminal:
                left = 5 - len(server.mails)
                terminal.wait_for(f"Type {left} to send")
                terminal.type(f"{left}\n")
                terminal.wait_for("Type yes to go on with the others: ")
                terminal.type(key)
                assert terminal.end() == code
                assert f"{6 - left} sent" in terminal.shown.splitlines()[-3] + terminal.shown.splitlines()[-2]
        with Terminal("send", "--first", "1", cwd=folder) as terminal:
            terminal.wait_for("Type 3 to send")
            terminal.type("3\n")
            terminal.wait_for("Type yes")
            terminal.type("yes\n")
            assert terminal.end() == 0
        assert states(folder) == {"sent": 5}


def test_ctrl_c_is_heard_at_a_question_whichever_thread_the_system_tells_of_it(monkeypatch):
    """A read that blocks ends early only in the thread that the signal came to."""
    here, there = pty.openpty()
    asked, over, too_late = threading.Event(), threading.Event(), threading.Event()

    def interrupt():
        asked.wait(10)
        time.sleep(0.3)  # by now the main thread reads
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        if not over.wait(5):
            too_late.set()
            os.write(here, b"\n")

    class Screen(io.StringIO):
        def flush(self):
            asked.set()

    other = threading.Thread(target=interrupt)
    with os.fdopen(there, encoding="utf-8") as keyboard:
        monkeypatch.setattr(sys, "stdin", keyboard)
        monkeypatch.setattr(sys, "stderr", Screen())
        console = Console(WallClock())
        other.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                console.question("Go on? ")
        finally:
            over.set()
            other.join(10)
            os.close(here)
    assert not other.is_alive()
    assert not too_late.is_set()


def test_a_closed_terminal_settles_the_message_in_flight(tmp_path):
    with serving(holds_from=3) as server:
        folder = campaign(tmp_path / "c", people(10), server=server)
        with Terminal("send", cwd=folder) as terminal:
            terminal.wait_for("anything else to stop:")
            terminal.type("10\n")
            assert server.held.wait(20)
            later = threading.Timer(1, server.released.set)
            later.start()
            assert terminal.close() == 128 + signal.SIGHUP
            later.join()
        assert states(folder) == {"sent": 4, "waiting": 6}
        assert len(server.mails) == 4
