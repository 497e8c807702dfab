"""What goes wrong with the record, and what the person may interrupt, over a real socket."""

from __future__ import annotations

import threading
import time

import pytest
from conduct import PIPES, good, letters
from peers import Peer, Server, Told
from script import delivery
from sending import QUICK, account, send

from merge.errors import CarrierError, JournalError
from merge.smtp.session import Session


def test_no_dot_when_the_record_fails():
    heard = []

    def serve(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        heard.append(peer.wait_until_left())

    def full(_):
        raise JournalError("the disk is full")

    with Server(serve) as server:
        sent = send(letters(2), account(server), before_commit=full)
    assert isinstance(sent.error, JournalError)
    assert sent.states == {1: "waiting", 2: "waiting"}
    assert not heard[0].endswith(b"\r\n.\r\n")
    assert b"\r\n.\r\n" not in heard[0]


def test_the_record_precedes_the_dot():
    order = []

    def serve(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.until(b"a line with a dot\r\n")
        time.sleep(0.05)
        peer.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.socket.recv(1)
        order.append("no dot yet")
        peer.socket.settimeout(5)
        release.set()
        assert peer.line() == "."
        order.append("dot")
        peer.say("250 ok")
        peer.farewell()

    release = threading.Event()

    def record(_):
        assert release.wait(5)
        order.append("recorded")

    with Server(serve) as server:
        assert send(letters(1), account(server), before_commit=record).states == {1: "sent"}
    assert order == ["no dot yet", "recorded", "dot"]


@pytest.mark.parametrize("where", ["envelope", "recording", "answer"])
def test_second_interrupt_leaves_a_true_state(where):
    """An exception out of any wait: what is in doubt is uncertain, what is not is given back."""

    def serve(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope(data=where != "envelope")
        peer.wait_until_left()

    class Stop(BaseException):
        pass

    class Clock(Told):
        armed = where == "envelope"

        def monotonic(self) -> float:
            if self.armed and session._docket.begun:
                raise Stop
            return super().monotonic()

    clock = Clock()

    def record(_):
        if where == "recording":
            raise Stop
        clock.armed = True

    with Server(serve) as server:
        session = Session(account(server), clock=clock, before_commit=record, deadlines=QUICK)
        session.offer(delivery(1))
        session.offer(delivery(2))
        with pytest.raises(Stop):
            session.collect(1)
        clock.armed = False
        back = [d.row for d in session.recall()]
        known = [(o.row, o.state) for o in session.collect(0)]
        session.close()
    assert (back, known) == (([2], [(1, "uncertain")]) if where == "answer" else ([1, 2], []))


def test_first_interrupt_settles_what_is_in_flight_and_gives_back_the_rest():
    def serve(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.message()
        clock.interrupt()
        time.sleep(0.3)
        peer.say("250 ok")
        heard.append(peer.wait_until_left())

    heard: list[bytes] = []
    clock = Told()
    with Server(serve) as server:
        session = Session(account(server), clock=clock, deadlines=QUICK)
        session.offer(delivery(1))
        assert [o.state for o in session.collect(1)] == ["sent"]
        session.offer(delivery(2))
        assert session.collect(1) == ()
        assert [d.row for d in session.recall()] == [2]
        session.close()
    assert heard == [b"QUIT\r\n"], "something was said of a letter after the interrupt"


def test_an_interrupt_ends_the_wait_for_a_server_that_says_nothing():
    def mute(peer: Peer) -> None:
        clock.interrupt()
        peer.wait_until_left()

    clock = Told()
    with Server(mute) as server:
        session = Session(account(server), clock=clock)
        session.offer(delivery(1))
        began = time.monotonic()
        assert session.collect(0) == ()
        assert time.monotonic() - began < 2
        assert [d.row for d in session.recall()] == [1]
        session.close()


def test_recall_in_the_middle_of_a_letter_takes_a_new_line_afterwards():
    heard = []

    def first(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.message()
        peer.say("250 ok\n250 ok\n250 ok\n354 go")
        heard.append(peer.wait_until_left())

    with Server(first, good()) as server:
        session = Session(account(server), clock=Told(), deadlines=QUICK)
        session.offer(delivery(1))
        session.offer(delivery(2))
        assert [o.row for o in session.collect(1)] == [1]
        assert [d.row for d in session.recall()] == [2]
        session.offer(delivery(3))
        assert [o.row for o in session.collect(1)] == [3]
        session.close()
    assert b"\r\n.\r\n" not in heard[0].partition(b"DATA\r\n")[2]


def test_close_in_the_middle_of_a_letter_writes_no_dot():
    heard = []

    def serve(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.message()
        peer.say("250 ok\n250 ok\n250 ok\n354 go")
        heard.append(peer.wait_until_left())

    with Server(serve) as server:
        session = Session(account(server), clock=Told(), deadlines=QUICK)
        session.offer(delivery(1))
        session.offer(delivery(2))
        assert [o.row for o in session.collect(1)] == [1]
        session.close()
        assert [d.row for d in session.recall()] == [2]
    assert heard[0].count(b"QUIT") == 0


def test_what_is_known_comes_before_the_error():
    def serve(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.message()
        peer.say("250 ok")
        peer.line()
        peer.say("550 5.7.1 not you any more\n503 no\n503 no")
        peer.farewell()

    with Server(serve) as server:
        session = Session(account(server), clock=Told(), deadlines=QUICK)
        session.offer(delivery(1))
        session.offer(delivery(2))
        assert [o.state for o in session.collect(1)] == ["sent"]
        with pytest.raises(CarrierError, match="not you any more"):
            session.collect(1)
        with pytest.raises(CarrierError, match="not you any more"):
            session.collect(1)
        assert [d.row for d in session.recall()] == [2]


def windows(todo, window: int) -> list[list[int]]:
    """Send these with a window, and return which rows were put on record together."""
    syncs = []

    def serve(peer: Peer) -> None:
        peer.hello("PIPELINING", "CHUNKING")
        while (line := peer.line()) != "QUIT":
            if line.startswith("BDAT"):
                peer.hear(int(line.split()[1]))
            peer.say("250 ok")
        peer.say("221 bye")

    with Server(serve) as server:
        session = Session(
            account(server, window=window),
            clock=Told(),
            before_commits=lambda window: syncs.append([d.row for d in window]),
            deadlines=QUICK,
        )
        done, count = 0, len(todo)
        while done < count:
            while session.room and todo:
                session.offer(todo.pop(0))
            done += len(session.collect(1))
        session.close()
    return syncs


def test_window_is_on_record_before_its_first_byte_and_synced_once():
    assert windows(letters(9), 4) == [[1], [2, 3, 4, 5], [6, 7, 8, 9]]


def test_window_holds_so_many_bytes_and_a_larger_message_goes_alone(monkeypatch):
    size = len(delivery(1).content)
    monkeypatch.setattr("merge.smtp.window.WEIGHT", 2 * size + 1)
    large = delivery(4, content=b"S: x\r\n\r\n" + b"y" * 3 * size + b"\r\n")
    todo = [*letters(3), large, delivery(5), delivery(6), delivery(7)]
    assert windows(todo, 4) == [[1], [2, 3], [4], [5, 6], [7]]


def test_window_recorded_but_not_written_is_given_back():
    def serve(peer: Peer) -> None:
        peer.hello("PIPELINING", "CHUNKING")
        peer.wait_until_left()

    def full(window):
        raise JournalError("the disk is full")

    with Server(serve) as server:
        session = Session(account(server, window=4), clock=Told(), before_commits=full, deadlines=QUICK)
        for letter in letters(3):
            session.offer(letter)
        with pytest.raises(JournalError):
            session.collect(1)
        assert [d.row for d in session.recall()] == [1, 2, 3]


def test_no_yes_counts_for_a_message_that_did_not_leave_in_full(monkeypatch):
    """All the answers to a window are there before its last message is."""

    def hasty(peer: Peer) -> None:
        peer.hello("PIPELINING", "CHUNKING")
        for _ in range(4):
            if peer.line().startswith("BDAT"):
                peer.until(b"a line with a dot\r\n")
        assert peer.line() == "NOOP"
        peer.say("250 ok\n250 ok\n250 ok\n250 ok\n250 ok")
        assert peer.line() == "RSET"
        peer.say("\n".join(["250 ok"] * 9))
        time.sleep(0.2)
        peer.reset()

    monkeypatch.setattr("merge.smtp.window.WEIGHT", 10**9)
    large = delivery(3, content=b"S: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * 200_000)
    with Server(hasty, good()) as server:
        sent = send([delivery(1), delivery(2), large], account(server, window=4), rounds=50)
        assert server.connections == 2
    assert sent.states == {1: "sent", 2: "uncertain", 3: "sent"}


def test_window_cut_off_by_a_full_buffer_leaves_the_unwritten_waiting():
    def serve(peer: Peer) -> None:
        peer.hello("PIPELINING", "CHUNKING")
        for _ in range(4):
            if peer.line().startswith("BDAT"):
                peer.until(b"a line with a dot\r\n")
        assert peer.line() == "NOOP"
        peer.say("250 ok\n250 ok\n250 ok\n250 ok\n250 ok")
        time.sleep(0.2)
        peer.reset()

    big = [delivery(row, content=b"S: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * 200_000) for row in range(2, 4)]
    with Server(serve, good()) as server:
        sent = send([delivery(1), *big], account(server, window=4), rounds=50)
    assert sent.states == {1: "sent", 2: "sent", 3: "sent"}
