"""What makes a line end, and when the next one is taken, over a real socket."""

from __future__ import annotations

import contextlib
import time

import pytest
from conduct import PIPES, good, letters, take_all
from peers import Gone, Peer, Server, Told
from script import delivery
from sending import QUICK, account, send

from merge.clock import TestClock
from merge.smtp.deeds import Hands
from merge.smtp.docket import Docket
from merge.smtp.session import Session
from merge.smtp.steps import Deadlines, Idle, Tick


def test_limit_learnt_from_lines_that_end_alike():
    counts = []

    def ten(peer: Peer) -> None:
        peer.hello(*PIPES)
        counts.append(0)

        def bye(peer: Peer) -> None:
            peer.line()
            peer.say("421 4.7.0 enough for now")
            raise Gone

        take_all(peer, after=10, then=bye)

    parts = [ten] * 4
    with Server(*parts) as server:
        sent = send(letters(36), account(server, pipelining=1))
        assert server.connections == 4
    assert set(sent.states.values()) == {"sent"}
    assert sent.slept == []


@pytest.mark.parametrize(("level", "window"), [(0, 0), (1, 0), (2, 0), (2, 4)])
@pytest.mark.parametrize("refused", [(), (1, 5), (2, 4, 6)])
def test_a_line_carries_no_more_messages_than_one_may(level, window, refused):
    """Each envelope that the server has begun counts, whatever becomes of its recipient."""
    counts = []

    def serve(peer: Peer) -> None:
        peer.hello("PIPELINING", "CHUNKING")
        counts.append(0)
        open_for_data = True
        while (line := peer.line()) != "QUIT":
            if line.startswith("MAIL"):
                counts[-1] += 1
            if line.startswith("RCPT"):
                open_for_data = "<bad" not in line
            if line.startswith("BDAT"):
                peer.hear(int(line.split()[1]))
            if not open_for_data and line[:4] in {"RCPT", "DATA", "BDAT"}:
                peer.say("550 5.1.1 no such user")
            elif line == "DATA":
                peer.say("354 go")
                peer.message()
                peer.say("250 ok")
            else:
                peer.say("250 ok")
        peer.say("221 bye")

    rows = [delivery(row, f"{'bad' if row in refused else 'r'}{row}@b.example") for row in range(1, 8)]
    with Server(serve, repeat=True) as server:
        sent = send(rows, account(server, pipelining=level, window=window, per_connection=3))
    assert counts == [3, 3, 1]
    assert sent.states == {row: "failed" if row in refused else "sent" for row in range(1, 8)}
    assert sent.slept == []


def test_forty_refusals_that_make_the_server_hang_up():
    def touchy(peer: Peer) -> None:
        peer.hello(*PIPES)
        errors, last = 0, ""
        while (line := peer.line()) != "QUIT":
            if line.startswith("RCPT TO:<bad"):
                errors += 1
                peer.say("550 5.1.1 no such user")
            elif line == "DATA" and errors and last.startswith("RCPT TO:<bad"):
                errors += 1
                peer.say("554 5.5.1 no valid recipients")
            elif line == "DATA":
                peer.say("354 go")
                peer.message()
                peer.say("250 ok")
            else:
                peer.say("250 ok")
            last = line
            if errors >= 7:
                peer.say("421 4.7.0 too many errors")
                return
        peer.say("221 bye")

    rows = [delivery(row, f"bad{row}@b.example") for row in range(1, 41)] + [delivery(41)]
    with Server(touchy, repeat=True) as server:
        sent = send(rows, account(server))
    assert sent.states == {**dict.fromkeys(range(1, 41), "failed"), 41: "sent"}
    assert sent.error is None


def test_losses_without_an_answer_stop_the_run():
    def lost(peer: Peer) -> None:
        peer.hello()
        peer.line()

    with Server(lost, repeat=True) as server:
        sent = send(letters(3), account(server))
        assert server.connections == 6
    assert sent.states == {1: "waiting", 2: "waiting", 3: "waiting"}


def test_uncertain_rows_do_not_reset_the_count():
    def lost(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.message()

    with Server(lost, repeat=True) as server:
        sent = send(letters(20), account(server))
        assert server.connections == 6
    assert list(sent.states.values()).count("uncertain") == 6
    assert sent.error is not None


def test_losses_before_an_answered_row_are_forgotten():
    """Three losses, an answer, and so on: never as many in a row as stop the run, though many in all."""

    def lost(peer: Peer) -> None:
        peer.hello()
        peer.line()

    def one(peer: Peer) -> None:
        peer.hello(*PIPES)
        take_all(peer, after=1, then=lambda peer: peer.close())

    with Server(*[lost, lost, lost, one] * 4) as server:
        sent = send(letters(4), account(server))
    assert set(sent.states.values()) == {"sent"}
    waits = [wait for wait in sent.slept if wait > 0.1]
    for waited, planned in zip(waits, (1, 2, 5) * 4, strict=True):
        assert planned <= waited <= planned * 1.25


def test_an_answered_row_resets_the_count():
    def one_then_gone(peer: Peer) -> None:
        peer.hello(*PIPES)
        take_all(peer, after=1, then=lambda peer: peer.close())

    with Server(one_then_gone, repeat=True) as server:
        sent = send(letters(20), account(server))
    assert set(sent.states.values()) == {"sent"}


@pytest.mark.parametrize("level", [0, 1, 2])
def test_leave_is_taken_after_the_last_letter(level):
    left = []

    def serve(peer: Peer) -> None:
        peer.hello(*PIPES)
        take_all(peer)  # until QUIT
        left.append("politely")

    with Server(serve) as server:
        assert send(letters(2), account(server, pipelining=level)).states == {1: "sent", 2: "sent"}
    assert left == ["politely"]


def test_quit_unanswered_changes_nothing():
    def rude(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.message()
        peer.say("250 ok")
        peer.wait_until_left()

    began = time.monotonic()
    with Server(rude) as server:
        assert send(letters(1), account(server)).states == {1: "sent"}
    assert time.monotonic() - began < 2


class Quiet:
    """A line on which nothing arrives; the clock goes on while somebody waits."""

    def __init__(self, clock: TestClock) -> None:
        self.clock = clock
        self.looks = 0

    def wait(self, seconds: float) -> bool:
        self.looks += 1
        assert self.looks < 1000, "it idles for ever"
        self.clock.sleep(seconds)
        return False


@pytest.mark.parametrize(("patience", "idled", "event"), [(0.5, 0.5, None), (60.0, 5.0, Tick())])
def test_idling_ends_with_the_patience_or_when_a_sign_of_life_is_due(patience, idled, event):
    clock = TestClock()
    hands = Hands(clock, Deadlines(), Docket(), record=lambda _: None, secure=lambda _: None)
    began = clock.monotonic()
    assert hands.do(Idle(5.0), Quiet(clock), patience) == event
    assert clock.monotonic() - began == pytest.approx(idled)


def test_keep_alive(monkeypatch):
    monkeypatch.setattr("merge.smtp.dialogue.PING", 0.05)
    monkeypatch.setattr("merge.smtp.dialogue.PINGS", 3)
    pings = []

    def idle(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.message()
        peer.say("250 ok")
        while (line := peer.line()) == "NOOP":
            pings.append(line)
            peer.say("250 ok")
        assert line == "QUIT"
        peer.say("221 bye")

    with Server(idle, good()) as server:
        session = Session(account(server), clock=Told(), deadlines=QUICK)
        session.offer(delivery(1))
        session.collect(1)
        for _ in range(12):
            assert session.collect(0.05) == ()
        assert len(pings) == 3
        session.offer(delivery(2))
        assert [o.state for o in session.collect(1)] == ["sent"]
        session.close()


def test_what_was_said_is_not_said_again_while_its_answer_is_waited_for(monkeypatch):
    monkeypatch.setattr("merge.smtp.dialogue.PING", 0.05)
    said = []

    def slow(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.message()
        peer.say("250 ok")
        said.append(peer.line())
        time.sleep(0.6)  # longer than whoever drives the session waits at a time
        said.append(bytes(peer.buffer))
        peer.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            said.append(peer.socket.recv(100))
        peer.socket.settimeout(10)
        peer.say("250 ok")
        peer.wait_until_left()

    with Server(slow) as server:
        session = Session(account(server), clock=Told(), deadlines=QUICK)
        session.offer(delivery(1))
        session.collect(1)
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            assert session.collect(0.02) == ()
        session.close()
    assert said == ["NOOP", b""]
