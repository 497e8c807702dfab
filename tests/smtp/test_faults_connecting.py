"""What goes wrong before a server can be spoken to, over a real socket, and while it speaks too slowly."""

from __future__ import annotations

import math
import socket
import time

import pytest
from conduct import PIPES, collect_until_it_stops, good, letters
from peers import LOOPBACK, Peer, Server, Told
from script import delivery
from sending import account, send

from merge.clock import TestClock
from merge.errors import CarrierError
from merge.smtp.deeds import Hands
from merge.smtp.docket import Docket
from merge.smtp.session import Session
from merge.smtp.steps import Deadlines, Done, Lost, Read


def test_unknown_name_stops_at_once():
    clock = Told()
    sent = send(letters(1), account(25, host="no-such-host.invalid"), clock=clock)
    assert sent.states == {1: "waiting"}
    assert "no-such-host.invalid:25" in sent.stop
    assert clock.slept == []


def test_name_server_down_is_tried_again(monkeypatch):
    def down(*_, **__):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", down)
    sent = send(letters(1), account(25, host="mail.example"))
    assert sent.states == {1: "waiting"}
    assert len(sent.slept) == 5
    assert "looked up" in sent.stop


def test_unknown_name_in_mid_run_is_a_network_that_is_away(monkeypatch):
    def drop(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.close()
        monkeypatch.setattr(socket, "getaddrinfo", away)

    def away(*_, **__):
        monkeypatch.undo()
        raise socket.gaierror(socket.EAI_NONAME, "nodename nor servname provided")

    with Server(drop, good()) as server:
        sent = send(letters(1), account(server))
    assert sent.states == {1: "sent"}


def test_refused_for_a_while_then_fine():
    holder = socket.socket()
    holder.bind((LOOPBACK, 0))
    port = holder.getsockname()[1]
    holder.close()
    servers = []

    class Later(Told):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if len(self.slept) == 3:
                server = Server(good())
                server.socket.close()
                server.socket = socket.create_server((LOOPBACK, port))
                servers.append(server.__enter__())

    clock = Later()
    sent = send(letters(2), account(port), clock=clock)
    servers[0].__exit__()
    assert sent.states == {1: "sent", 2: "sent"}
    assert [round(wait) for wait in clock.slept[:2]] == [1, 2]


def test_refused_for_ever_stops_after_the_schedule():
    holder = socket.socket()
    holder.bind((LOOPBACK, 0))
    port = holder.getsockname()[1]
    holder.close()
    sent = send(letters(2), account(port))
    assert sent.states == {1: "waiting", 2: "waiting"}
    assert len(sent.slept) == 5
    for slept, planned in zip(sent.slept, (1, 2, 5, 15, 60), strict=True):
        assert planned <= slept <= planned * 1.25
    assert "refused" in sent.stop
    assert "(1 of 5)" in sent.told[0]
    assert "(5 of 5)" in sent.told[4]


def test_syn_swallowed_ends_at_the_deadline():
    listener = socket.create_server((LOOPBACK, 0), backlog=0)
    port = listener.getsockname()[1]
    fillers = []
    for _ in range(3):  # fill the queue: from now on the kernel drops what asks for a connection
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex((LOOPBACK, port))
        fillers.append(filler)
    time.sleep(0.1)
    clock = Told()
    session = Session(account(port), clock=clock, schedule=(1.0,), deadlines=Deadlines(connect=0.3))
    session.offer(delivery(1))
    began = time.monotonic()
    with pytest.raises(CarrierError, match=r"no answer in 0\.3 s"):
        collect_until_it_stops(session)
    assert time.monotonic() - began < 5
    assert [d.row for d in session.recall()] == [1]
    for sock in (*fillers, listener):
        sock.close()


def test_silent_banner_ends_at_the_deadline():
    with Server(lambda peer: peer.wait_until_left(), good()) as server:
        sent = send(letters(1), account(server))
    assert sent.states == {1: "sent"}
    assert "no complete answer to banner" in sent.told[0]


@pytest.mark.parametrize("stage", ["banner", "end of data"])
def test_dripping_counts_in_total_not_per_read(stage):
    def drip(peer: Peer) -> None:
        if stage == "end of data":
            peer.hello(*PIPES)
            peer.envelope()
            peer.message()
        for letter in b"250 this takes its time, a letter at a time, for much too long\r\n":
            peer.say(bytes([letter]))
            time.sleep(0.05)

    began = time.monotonic()
    with Server(drip, good()) as server:
        sent = send(letters(2), account(server))
    assert time.monotonic() - began < 3
    assert sent.states == {1: "sent" if stage == "banner" else "uncertain", 2: "sent"}


@pytest.mark.parametrize(("piece", "heard"), [(b"2", 6), (None, 0)])
def test_a_server_that_never_pauses_does_not_outlive_the_deadline(piece, heard):
    """Of what is there when the time is up one piece is heard; TLS may also bring what holds nothing."""
    clock = TestClock()

    class Tireless:
        looks = 0

        def wait(self, _seconds: float) -> bool:
            self.looks += 1
            assert self.looks < 20, "it has no end"
            clock.sleep(1.0)
            return True

        def receive(self) -> bytes | None:
            return piece

    hands = Hands(clock, Deadlines(), Docket(), record=lambda _: None, secure=lambda _: None)
    wire, read, events = Tireless(), Read("EHLO", 5.0), []
    while isinstance(event := hands.do(read, wire, math.inf), Done):
        events.append(event)
    assert event == Lost("gave no complete answer to EHLO in 5 s", late=True)
    assert len(events) == heard


def test_dripped_in_time_is_sent():
    def drip(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.message()
        for letter in b"250-slow\r\n250 ok\r\n":
            peer.say(bytes([letter]))
            time.sleep(0.01)
        peer.farewell()

    with Server(drip) as server:
        assert send(letters(1), account(server)).states == {1: "sent"}


def test_slow_rcpt_is_waited_for():
    def slow(peer: Peer) -> None:
        peer.hello()
        assert peer.line().startswith("MAIL")
        peer.say("250 ok")
        peer.line()
        time.sleep(0.35)
        peer.say("250 ok")
        assert peer.line() == "DATA"
        peer.say("354 go")
        peer.message()
        peer.say("250 ok")
        peer.farewell()

    with Server(slow) as server:
        assert send(letters(1), account(server)).states == {1: "sent"}


def test_banner_of_a_megabyte_is_not_read():
    with Server(lambda peer: (peer.say(b"220 " + b"x" * 1_000_000), peer.wait_until_left())) as server:
        sent = send(letters(1), account(server))
    assert sent.states == {1: "waiting"}
    assert "longer than 8192" in sent.stop


def test_ehlo_of_200000_lines_is_not_read():
    def endless(peer: Peer) -> None:
        peer.say("220 hi")
        peer.line()
        for _ in range(2000):
            peer.say(b"250-AGAIN\r\n" * 100)

    with Server(endless) as server:
        sent = send(letters(1), account(server))
    assert sent.states == {1: "waiting"}
    assert "100 lines" in sent.stop


def test_reply_above_the_cap_after_the_dot_is_uncertain():
    def flood(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.message()
        peer.say(b"250-" + b"x" * 60 + b"\r\n" + b"250-more\r\n" * 5000 + b"250 ok\r\n")

    with Server(flood, good()) as server:
        assert send(letters(2), account(server)).states == {1: "uncertain", 2: "sent"}
