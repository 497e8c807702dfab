"""What goes wrong while letters go out, over a real socket: no row is lost, doubled, or miscalled."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace

import pytest
from conduct import PIPES, good, letters, take_all
from peers import Peer, Server, Told
from script import delivery
from sending import QUICK, account, send

from merge.smtp import wire
from merge.smtp.haste import Haste
from merge.smtp.session import Session
from merge.smtp.steps import Ask, Read, Unread


def test_early_refusal_of_a_large_message_is_read_before_the_reset():
    def early(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.hear(200_000)
        peer.say("552 5.3.4 too big")
        time.sleep(0.2)
        peer.reset()

    large = delivery(1, content=b"Subject: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * 200_000)
    with Server(early, good()) as server:
        sent = send([large, delivery(2)], account(server))
    assert sent.states == {1: "failed", 2: "sent"}
    assert sent.outcome(1).code == 552
    assert 1 not in sent.committed


@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_a_refusal_before_the_reset_is_read_although_the_write_broke(pieces, monkeypatch):
    """The refusal and the reset come between a look at the line and the next piece of the message."""
    refuse, gone, written = threading.Event(), threading.Event(), []
    send_on = wire.Wire.send

    def early(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        assert refuse.wait(20)
        peer.say("552 5.3.4 too big")
        peer.reset()
        gone.set()

    def after_the_reset(self: wire.Wire, data: bytes | memoryview) -> int:
        if not gone.is_set() and len(data) == wire.CHUNK:
            if len(written) == pieces:
                refuse.set()
                assert gone.wait(20)
            written.append(send_on(self, data))
            return written[-1]
        return send_on(self, data)

    monkeypatch.setattr(wire.Wire, "send", after_the_reset)
    large = delivery(1, content=b"Subject: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * 20_000)
    with Server(early, good()) as server:
        sent = send([large, delivery(2)], account(server))
    assert len(written) == pieces, "the last piece was written, so nothing broke"
    assert sent.states == {1: "failed", 2: "sent"}
    assert sent.outcome(1).code == 552
    assert 1 not in sent.committed


@pytest.mark.skipif(
    not hasattr(socket, "TCP_QUICKACK"), reason="only Linux can be asked to acknowledge at once"
)
@pytest.mark.parametrize("level", [1, 2])
def test_replies_in_small_segments_are_not_waited_for(level):
    """With Nagle's algorithm on, the server's second segment waits for our ACK of the first, 40 ms late."""

    def serve(peer: Peer) -> None:
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        peer.hello(*PIPES)
        take_all(peer)

    began = time.monotonic()
    with Server(serve) as server:
        assert len(send(letters(40), account(server, pipelining=level, per_connection=0)).states) == 40
    assert time.monotonic() - began < 40 * 0.04 * 0.6


@pytest.mark.parametrize("level", [1, 2])
def test_where_they_have_to_be_waited_for_commands_go_one_by_one(level, monkeypatch):
    """As on systems that cannot be told to acknowledge at once."""
    monkeypatch.setattr(wire, "_QUICKACK", None)

    def serve(peer: Peer) -> None:
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        peer.hello(*PIPES)
        take_all(peer)

    began = time.monotonic()
    with Server(serve) as server:
        wishes = account(server, pipelining=level, per_connection=0)
        session = Session(wishes, clock=Told(), before_commits=lambda _: None)
        todo, done = letters(60), 0
        while done < 60:
            while session.room and todo:
                session.offer(todo.pop(0))
            done += len(session.collect(1))
        assert session.level == 0
        session.close()
    assert time.monotonic() - began < 60 * 0.04 * 0.6


def test_a_slow_network_is_no_reason_to_go_one_by_one():
    haste = Haste()
    haste.greeted(0.2)
    for _ in range(50):
        haste.answered(0.21, grouped=True)
        assert not haste.one_by_one


def test_a_slow_server_is_tried_once_and_found_no_quicker():
    haste, tried = Haste(), []
    haste.greeted(0.001)
    for _ in range(50):
        tried.append(haste.one_by_one)
        haste.answered(0.3, grouped=not haste.one_by_one)
    assert tried == [False] * 5 + [True] * 5 + [False] * 40


def test_what_was_found_out_stays():
    haste, tried = Haste(), []
    for number in range(50):
        tried.append(haste.one_by_one)
        slow = not haste.one_by_one or number > 20  # later on it is slow either way
        haste.answered(0.05 if slow else 0.004, grouped=not haste.one_by_one)
    assert tried == [False] * 5 + [True] * 45


def test_reader_that_stalls_leaves_the_row_waiting():
    given_up = threading.Event()

    class Clock(Told):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            given_up.set()

    def stall(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        assert given_up.wait(20)

    large = delivery(1, content=b"Subject: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * 200_000)
    with Server(stall, good()) as server:
        patient = replace(QUICK, opening=5.0, replies={**QUICK.replies, "end of data": 5.0})
        sent = send([large], account(server), deadlines=patient, clock=Clock())
    assert sent.states == {1: "sent"}
    assert sent.committed == [1]
    assert "took nothing more" in sent.told[0]


def test_an_early_refusal_ends_the_writing():
    read = []

    def early(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.hear(200_000)
        peer.say("552 5.3.4 too big")
        read.append(len(peer.wait_until_left()))

    large = delivery(1, content=b"Subject: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * 400_000)
    with Server(early) as server:
        sent = send([large], account(server))
    assert sent.states == {1: "failed"}
    assert read[0] < len(large.content) / 2


ODD = (
    "jörg@xn--mller-kva.example",
    "josé@bücher.example",
    r'"a\"b\\c"@b.example',
    '"not@here"@b.example',
    "用户@例子.example",
    "o'brien+list@[192.0.2.1]",
)


@pytest.mark.parametrize("who", ODD)
@pytest.mark.parametrize("window", [0, 4])
@pytest.mark.parametrize("beside", [(), ("r1@b.example",), ("r1@b.example", "r2@b.example")])
@pytest.mark.parametrize("pipes", [True, False])
def test_who_was_refused_is_named_as_the_delivery_has_it(who, window, beside, pipes):
    said = []

    def refuse(peer: Peer) -> None:
        peer.hello("SMTPUTF8", "8BITMIME", *(("PIPELINING", "CHUNKING") if pipes else ()))
        refused = False
        while (line := peer.line()) != "QUIT":
            odd = line.startswith("RCPT") and "<r" not in line
            said.extend([line] * odd)
            refused = odd or (refused and not line.startswith(("MAIL", "RSET")))
            if line.startswith("BDAT"):
                peer.hear(int(line.split()[1]))
            wrong = odd or (refused and line.startswith(("DATA", "BDAT")))
            peer.say("550 5.1.1 no such user" if wrong else "250 ok")
        peer.say("221 bye")

    with Server(refuse) as server:
        sent = send([delivery(1, *beside, who)], account(server, window=window))
    assert sent.states == {1: "failed"}
    assert sent.outcome(1).recipient == who
    assert said == [f"RCPT TO:<{who}>"]


def test_bytes_that_nobody_read_stop_a_write():
    heard = []

    def serve(peer: Peer) -> None:
        peer.say("220 hi")
        heard.append(peer.wait_until_left())

    with Server(serve) as server:
        session = Session(account(server), clock=Told(), deadlines=QUICK)
        session._connect()
        time.sleep(0.1)
        assert session._perform(Ask(b"EHLO x\r\n", Read("EHLO", 1.0)), 0) == Unread(b"220 hi\r\n")
        session.close()
    assert heard == [b""]


def test_a_server_that_only_talks_is_not_listened_to_for_ever(monkeypatch):
    def flood(peer: Peer) -> None:
        peer.hello("PIPELINING", "CHUNKING")
        peer.line()
        while True:  # until the client has left
            peer.say(b"250 ok\r\n" * 4000)

    monkeypatch.setattr("merge.smtp.deeds.HEARD_CAP", 2**20)
    large = delivery(1, content=b"S: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * 200_000)
    began = time.monotonic()
    with Server(flood, good()) as server:
        sent = send([large], account(server, window=4), deadlines=replace(QUICK, block=8.0))
    assert sent.states == {1: "sent"}
    assert time.monotonic() - began < 6


def test_both_sides_full_do_not_wait_for_each_other(monkeypatch):
    """A window larger than both buffers, to a server that answers before it reads on."""

    def chatty(peer: Peer) -> None:
        peer.hello("PIPELINING", "CHUNKING")
        while (line := peer.line()) != "QUIT":
            if line.startswith("BDAT"):
                peer.hear(int(line.split()[1]))
            peer.say(b"250-" + b"x" * 8000 + b"\r\n250 ok\r\n")
        peer.say("221 bye")

    monkeypatch.setattr("merge.smtp.window.WEIGHT", 10**9)
    large = delivery(65, content=b"S: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * 200_000)
    with Server(chatty) as server:
        patient = replace(QUICK, replies={**QUICK.replies, "end of data": 5.0, "RSET": 5.0})
        sent = send([*letters(64), large], account(server, window=64, per_connection=0), deadlines=patient)
    assert set(sent.states.values()) == {"sent"}


def test_idle_line_that_closes_is_replaced_before_it_is_used():
    def close_after_one(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.message()
        peer.say("250 ok")
        time.sleep(0.05)

    with Server(close_after_one, good()) as server:
        session = Session(account(server), clock=Told(), deadlines=QUICK)
        session.offer(delivery(1))
        assert [o.state for o in session.collect(1)] == ["sent"]
        session.collect(0.3)
        session.offer(delivery(2))
        assert [o.state for o in session.collect(1)] == ["sent"]
        assert session._clock.slept == [0.3], "the courier's patience, and no wait for a line"
        session.close()


def test_unasked_reply_while_idle_is_a_slip_that_hurts_no_row():
    def chat(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.message()
        peer.say("250 ok")
        time.sleep(0.05)
        peer.say("250 by the way")
        peer.wait_until_left()

    with Server(chat, good()) as server:
        session = Session(account(server), clock=Told(), deadlines=QUICK)
        session.offer(delivery(1))
        assert [o.state for o in session.collect(1)] == ["sent"]
        time.sleep(0.1)
        session.offer(delivery(2))
        assert [o.state for o in session.collect(1)] == ["sent"]
        session.close()
        assert server.connections == 2


def test_unasked_reply_while_the_disk_is_slow_is_seen_before_the_dot():
    heard = []

    def chat(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.until(b"a line with a dot\r\n")
        time.sleep(0.05)
        peer.say("250 queued, I think")
        heard.append(peer.wait_until_left())

    with Server(chat, good()) as server:
        sent = send(letters(1), account(server), before_commit=lambda _: time.sleep(0.15))
    assert sent.states == {1: "sent"}
    assert heard == [b""], "the dot was written into a conversation that had slipped"
    assert sent.committed == [1, 1]
