"""What goes wrong with TLS, over a real socket."""

from __future__ import annotations

import select
import ssl
import threading
import warnings
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from conduct import SECRET, collect_until_it_stops, context_of, good, letters, logged_in, take_all, under_tls
from peers import LOOPBACK, Peer, Server, Told
from script import delivery
from sending import account, send

from merge.errors import CarrierError
from merge.smtp.deeds import Hands
from merge.smtp.session import Session
from merge.smtp.steps import Deadlines, Event, Handshake, Step


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_tls_and_login(authority, trusted, security):
    context = context_of(authority.issue_cert("localhost", LOOPBACK))
    serve = under_tls(context, logged_in, starttls=security == "starttls")
    with Server(serve) as server:
        wishes = account(server, host="localhost", security=security, ca_file=trusted, **SECRET)
        assert send(letters(5), wishes).states == dict.fromkeys(range(1, 6), "sent")


@pytest.mark.parametrize("security", ["none", "tls", "starttls"])
def test_without_poll_as_on_windows(authority, trusted, security, monkeypatch):
    monkeypatch.delattr(select, "poll")
    context = context_of(authority.issue_cert("localhost", LOOPBACK))
    serve = good() if security == "none" else under_tls(context, logged_in, starttls=security == "starttls")
    with Server(serve) as server:
        login = {} if security == "none" else SECRET
        wishes = account(server, host="localhost", security=security, ca_file=trusted, **login)
        assert send(letters(5), wishes).states == dict.fromkeys(range(1, 6), "sent")


def test_tls_session_is_resumed(authority, trusted):
    context = context_of(authority.issue_cert("localhost"))
    resumed = []

    def note(peer: Peer) -> None:
        resumed.append(peer.socket.session_reused)
        take_all(peer)

    serve = under_tls(context, note)
    with Server(serve, serve, serve) as server:
        wishes = account(server, host="localhost", security="tls", ca_file=trusted, per_connection=2)
        assert len(send(letters(6), wishes).states) == 6
    assert resumed == [False, True, True]


@pytest.mark.parametrize("security", ["tls", "starttls"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("expired", "expired"),
        ("wrong host", "ostname"),
        ("unknown issuer", "ca_file"),
        ("old TLS", "TLS 1.2"),
    ],
)
def test_certificate_that_cannot_be_trusted_stops(authority, trusted, *, security, fault, words):
    name = "elsewhere.example" if fault == "wrong host" else "localhost"
    past = datetime.now(UTC) - timedelta(days=3) if fault == "expired" else None
    issuer = trustme.CA() if fault == "unknown issuer" else authority
    context = context_of(issuer.issue_cert(name, not_after=past))
    if fault == "old TLS":
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    serve = under_tls(context, lambda peer: pytest.fail("went on"), starttls=security == "starttls")
    with Server(serve) as server:
        wishes = account(server, host="localhost", security=security, ca_file=trusted, **SECRET)
        sent = send(letters(1), wishes)
    assert sent.states == {1: "waiting"}
    assert words in sent.stop
    assert sent.slept == []


def test_plain_server_on_a_tls_port_is_named(trusted):
    def plain(peer: Peer) -> None:
        peer.say("220 b.example ESMTP, in the clear")
        peer.wait_until_left()

    with Server(plain) as server:
        sent = send(letters(1), account(server, host="localhost", security="tls", ca_file=trusted))
    assert sent.states == {1: "waiting"}
    assert "starttls" in sent.stop


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_line_lost_in_the_handshake_is_tried_again(authority, trusted, security):
    context = context_of(authority.issue_cert("localhost"))

    def lost(peer: Peer) -> None:
        if security == "starttls":
            peer.hello("STARTTLS")
            peer.line()
            peer.say("220 go ahead")
        peer.hear(10)

    fine = under_tls(context, take_all, starttls=security == "starttls")
    with Server(lost, fine) as server:
        sent = send(letters(1), account(server, host="localhost", security=security, ca_file=trusted))
    assert sent.states == {1: "sent"}
    assert len(sent.slept) == 1


def test_silent_handshake_ends_at_the_deadline(trusted):
    with Server(lambda peer: peer.wait_until_left(), repeat=True) as server:
        session = Session(
            account(server, host="localhost", security="tls", ca_file=trusted),
            clock=Told(),
            deadlines=Deadlines(handshake=0.2),
            schedule=(1.0,),
        )
        session.offer(delivery(1))
        with pytest.raises(CarrierError, match="did not finish the TLS handshake"):
            collect_until_it_stops(session)


def test_starttls_stripped_says_nothing_secret():
    heard = []

    def strip(peer: Peer) -> None:
        peer.hello("PIPELINING", "AUTH PLAIN LOGIN")
        heard.append(peer.wait_until_left())

    with Server(strip) as server:
        sent = send(letters(1), account(server, security="starttls", **SECRET))
    assert sent.states == {1: "waiting"}
    assert "STARTTLS" in sent.stop
    assert heard in ([b""], [b"QUIT\r\n"])


@pytest.mark.parametrize("late", [False, True])
def test_what_follows_the_answer_to_starttls_in_clear_is_never_taken_for_an_answer(late, monkeypatch):
    """It comes in the segment of the answer, or just before the handshake (RFC 3207, 6; CVE-2011-0411)."""
    ready, injected, heard = threading.Event(), threading.Event(), []
    do = Hands.do

    def do_late(self: Hands, step: Step, *more: object) -> Event | None:
        if isinstance(step, Handshake):
            ready.set()
            assert injected.wait(20)
        return do(self, step, *more)

    def inject(peer: Peer) -> None:
        peer.hello("STARTTLS")
        assert peer.line() == "STARTTLS"
        words = "250-me\n250 AUTH PLAIN\n235 welcome"
        if late:
            peer.say("220 go ahead")
            assert ready.wait(20)
            peer.say(words)
        else:
            peer.say(f"220 go ahead\n{words}")
        injected.set()
        heard.append(peer.wait_until_left())

    monkeypatch.setattr(Hands, "do", do_late)
    with Server(inject) as server:
        sent = send(letters(1), account(server, security="starttls", **SECRET))
        assert server.connections == 1
    assert sent.states == {1: "waiting"}
    assert "sent more than an answer to STARTTLS" in sent.stop
    assert heard == [b""], "something was said to who interferes"


def test_clear_text_in_the_handshake_is_no_wrong_port():
    def inject(peer: Peer) -> None:
        peer.hello("STARTTLS")
        assert peer.line() == "STARTTLS"
        peer.say("220 go ahead")
        peer.hear(1)
        peer.say("250-me\n250 AUTH PLAIN\n235 welcome")
        peer.wait_until_left()

    with Server(inject) as server:
        sent = send(letters(1), account(server, security="starttls", **SECRET))
        assert server.connections == 1
    assert sent.states == {1: "waiting"}
    assert "went on in clear" in sent.stop
    assert "interfering" in sent.stop
    assert "465" not in sent.stop


def test_auth_only_before_tls_is_not_used(authority, trusted):
    context = context_of(authority.issue_cert("localhost"))
    heard = []

    def serve(peer: Peer) -> None:
        peer.hello("STARTTLS", "AUTH PLAIN")
        peer.line()
        peer.say("220 go ahead")
        peer.socket = context.wrap_socket(peer.socket, server_side=True)
        peer.greet("PIPELINING")
        heard.append(peer.wait_until_left())

    with Server(serve) as server:
        wishes = account(server, host="localhost", security="starttls", ca_file=trusted, **SECRET)
        sent = send(letters(1), wishes)
    assert sent.states == {1: "waiting"}
    assert "no login" in sent.stop
    assert b"AUTH" not in heard[0]


def test_extensions_are_never_carried_over_tls(authority, trusted):
    context = context_of(authority.issue_cert("localhost"))

    def serve(peer: Peer) -> None:
        peer.hello("STARTTLS", "PIPELINING", "SIZE 10", "CHUNKING")
        peer.line()
        peer.say("220 go ahead")
        peer.socket = context.wrap_socket(peer.socket, server_side=True)
        peer.greet("8BITMIME")
        for answer in ("250 ok", "250 ok", "354 go"):
            peer.line()
            assert not peer.buffer, "more than one command, and no PIPELINING"
            peer.say(answer)
        peer.message()
        peer.say("250 ok")
        peer.farewell()

    with Server(serve) as server:
        wishes = account(server, host="localhost", security="starttls", ca_file=trusted, window=4)
        assert send(letters(1), wishes).states == {1: "sent"}
