"""What servers and networks do wrong, over a real socket: no row is lost, doubled, or miscalled."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from peers import LOOPBACK, Gone, Peer, Server, Told
from script import delivery
from sending import QUICK, account, send

from merge.errors import AddressError, CarrierError, ConfigError, JournalError, SealError
from merge.smtp.session import Account, Session
from merge.smtp.steps import Ask, Deadlines, Read, Unread
from merge.smtp.throttle import Throttle

PIPES = ("PIPELINING",)


def good(*extensions: str):
    """A server that takes what it is given, one command or a group at a time, until QUIT."""

    def serve(peer: Peer) -> None:
        peer.hello(*(extensions or PIPES))
        take_all(peer)

    return serve


def take_all(peer: Peer, *, after: int = 10**9, then=None) -> None:
    accepted = 0
    while (line := peer.line()) != "QUIT":
        verb = line[:4]
        if verb == "DATA":
            peer.say("354 go")
            peer.message()
            accepted += 1
            peer.say(f"250 2.0.0 queued {accepted}")
            if accepted == after:
                then(peer)
        else:
            assert verb in {"MAIL", "RCPT", "RSET", "NOOP"}, line
            peer.say("250 ok")
    peer.say("221 bye")


def collect_until_it_stops(session: Session) -> None:
    for _ in range(20):
        session.collect(0)


def letters(count: int):
    return [delivery(row) for row in range(1, count + 1)]


# Connecting.


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


# TLS.


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def under_tls(context: ssl.SSLContext, serve, *, starttls: bool = False):
    def secured(peer: Peer) -> None:
        if starttls:
            peer.hello("STARTTLS", "PIPELINING", "AUTH PLAIN")
            assert peer.line() == "STARTTLS"
            peer.say("220 go ahead")
        try:
            peer.socket = context.wrap_socket(peer.socket, server_side=True)
        except (OSError, ssl.SSLError) as error:
            raise Gone from error
        if starttls:
            peer.greet("PIPELINING", "AUTH PLAIN")
        else:
            peer.hello("PIPELINING", "AUTH PLAIN")
        serve(peer)

    return secured


def logged_in(peer: Peer) -> None:
    assert peer.line() == "AUTH PLAIN AGFkYQBzZWNyZXQ="
    peer.say("235 welcome")
    take_all(peer)


@pytest.fixture
def trusted(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


SECRET = {"user": "ada", "password": lambda: "secret"}


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_tls_and_login(authority, trusted, security):
    context = context_of(authority.issue_cert("localhost", LOOPBACK))
    serve = under_tls(context, logged_in, starttls=security == "starttls")
    with Server(serve) as server:
        wishes = account(server, host="localhost", security=security, ca_file=trusted, **SECRET)
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


# Logging in.


def test_login_refused_is_tried_once_and_secret_is_nowhere():
    heard = []

    def refuse(peer: Peer) -> None:
        peer.hello("AUTH PLAIN LOGIN CRAM-MD5")
        heard.append(peer.line())
        peer.say("535 5.7.8 no")
        heard.append(peer.wait_until_left().decode())

    with Server(refuse, refuse) as server:
        sent = send(letters(1), account(server, user="ada", password=lambda: "s3cr3t-word"))
        assert server.connections == 1
    assert sent.states == {1: "waiting"}
    assert "refused the login for ada (535 5.7.8)" in sent.stop
    assert sum(text.count("AUTH") for text in heard) == 1
    assert "s3cr3t-word" not in sent.stop + repr(server.__dict__) + "".join(sent.told)


def test_too_many_logins_waits_a_minute_three_times():
    def later(peer: Peer) -> None:
        peer.hello("AUTH PLAIN")
        peer.line()
        peer.say("454 4.7.0 too many logins")
        peer.farewell()

    with Server(later, later, later) as server:
        sent = send(letters(1), account(server, **SECRET))
    assert sent.states == {1: "waiting"}
    assert "3 times" in sent.stop
    assert len(sent.slept) == 2
    assert min(sent.slept) >= 60


def test_line_lost_in_the_login_is_tried_twice():
    def lost(peer: Peer) -> None:
        peer.hello("AUTH PLAIN")
        peer.line()

    with Server(lost, lost, lost) as server:
        sent = send(letters(1), account(server, **SECRET))
        assert server.connections == 2
    assert sent.states == {1: "waiting"}
    assert "2 times" in sent.stop


def test_login_wanted_in_mid_session_is_repeated_once():
    def expired(peer: Peer) -> None:
        peer.hello("AUTH PLAIN")
        peer.line()
        peer.say("235 welcome")
        peer.envelope()
        peer.message()
        peer.say("250 ok")
        peer.line()
        peer.say("530 5.7.0 who are you")
        peer.farewell()

    def again(peer: Peer) -> None:
        peer.hello("AUTH PLAIN")
        logged_in(peer)

    with Server(expired, again) as server:
        assert send(letters(3), account(server, **SECRET)).states == {1: "sent", 2: "sent", 3: "sent"}

    def never(peer: Peer) -> None:
        peer.hello("AUTH PLAIN")
        peer.line()
        peer.say("235 welcome")
        peer.line()
        peer.say("530 5.7.0 who are you")
        peer.farewell()

    with Server(never, never, never) as server:
        sent = send(letters(1), account(server, **SECRET))
        assert server.connections == 2
    assert sent.states == {1: "waiting"}
    assert "530" in sent.stop


def test_starttls_454_three_times():
    def later(peer: Peer) -> None:
        peer.hello("STARTTLS")
        peer.line()
        peer.say("454 4.7.0 TLS not available")
        peer.farewell()

    with Server(later, later, later) as server:
        sent = send(letters(1), account(server, security="starttls", **SECRET))
    assert sent.states == {1: "waiting"}
    assert "3 times" in sent.stop


def test_the_secret_is_asked_for_only_when_needed():
    asked = []

    def never(peer: Peer) -> None:
        peer.say("554 no")
        peer.wait_until_left()

    with Server(never) as server:
        send(letters(1), account(server, user="ada", password=lambda: asked.append(1) or "x"))
    assert asked == []


def test_blanks_of_an_app_password_are_left_out():
    told = []
    gmail = Account("smtp.gmail.com", 465, "tls", "ada", lambda: "abcd efgh ijkl mnop")
    assert Session(gmail, clock=Told(), tell=told.append)._password() == "abcdefghijklmnop"
    assert told
    elsewhere = Account("mail.example", 465, "tls", "ada", lambda: "abcd efgh ijkl mnop")
    assert Session(elsewhere, clock=Told())._password() == "abcd efgh ijkl mnop"


# Sending.


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


def test_an_answered_row_resets_the_count():
    def one_then_gone(peer: Peer) -> None:
        peer.hello(*PIPES)
        take_all(peer, after=1, then=lambda peer: peer.close())

    with Server(one_then_gone, repeat=True) as server:
        sent = send(letters(20), account(server))
    assert set(sent.states.values()) == {"sent"}


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


# The journal, the person.


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
        peer.wait_until_left()

    clock = Told()
    with Server(serve) as server:
        session = Session(account(server), clock=clock, deadlines=QUICK)
        session.offer(delivery(1))
        assert [o.state for o in session.collect(1)] == ["sent"]
        session.offer(delivery(2))
        assert session.collect(1) == ()
        assert [d.row for d in session.recall()] == [2]
        session.close()


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


def test_window_is_on_record_before_its_first_byte_and_synced_once():
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
            account(server, window=4),
            clock=Told(),
            before_commits=lambda window: syncs.append([d.row for d in window]),
            deadlines=QUICK,
        )
        done, todo = 0, letters(9)
        while done < 9:
            while session.room and todo:
                session.offer(todo.pop(0))
            done += len(session.collect(1))
        session.close()
    assert syncs == [[1], [2, 3, 4, 5], [6, 7, 8, 9]]


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


def test_window_cut_off_by_a_full_buffer_leaves_the_unwritten_waiting():
    def serve(peer: Peer) -> None:
        peer.hello("PIPELINING", "CHUNKING")
        for _ in range(4):
            if peer.line().startswith("BDAT"):
                peer.until(b"a line with a dot\r\n")
        peer.say("250 ok\n250 ok\n250 ok\n250 ok")
        time.sleep(0.2)
        peer.reset()

    big = [delivery(row, content=b"S: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * 200_000) for row in range(2, 4)]
    with Server(serve, good()) as server:
        sent = send([delivery(1), *big], account(server, window=4), rounds=50)
    assert sent.states == {1: "sent", 2: "sent", 3: "sent"}


# What is offered.


@pytest.mark.parametrize(
    ("to", "content", "error"),
    [
        ("a@b.example>\r\nRCPT TO:<evil@c.example", None, AddressError),
        ("a@b.example> ORCPT=rfc822;x", None, AddressError),
        ("a@b.example, c@d.example", None, AddressError),
        ("", None, AddressError),
        ("a\ud800@b.example", None, AddressError),
        ("a@b.example", b"Subject: x\r\n\r\nbare\nline\r\n", SealError),
        ("a@b.example", b"Subject: x\r\n\r\nbare\rreturn\r\n", SealError),
        ("a@b.example", b"Subject: x\r\n\r\nno end", SealError),
        ("a@b.example", b"Subject: x\r\n\r\n\r\r\n\n.\r\n", SealError),
    ],
)
def test_what_must_not_reach_the_wire_is_refused_when_offered(to, content, error):
    session = Session(account(25), clock=Told())
    with pytest.raises(error):
        session.offer(delivery(1, to, content=content or b""))
    assert session.recall() == []


def test_names_that_are_no_greeting_are_refused():
    with pytest.raises(ConfigError):
        Session(account(25, ehlo_name="ada.example\r\nMAIL FROM:<x@y>"), clock=Told())
    with pytest.raises(ConfigError, match="certificates"):
        Session(account(25, ca_file="/nonexistent/ca.pem"), clock=Told())


def test_smtputf8_and_8bit_only_where_offered():
    heard = []

    def serve(peer: Peer) -> None:
        peer.hello("SMTPUTF8", "8BITMIME")
        heard.append(peer.line())
        peer.say("250 ok")
        heard.append(peer.line())
        peer.say("250 ok")
        peer.line()
        peer.say("354 go")
        peer.message()
        peer.say("250 ok")
        peer.farewell()

    umlaut = delivery(1, "jörg@b.example", content="Subject: ü\r\n\r\nü\r\n".encode())
    with Server(serve) as server:
        assert send([umlaut], account(server)).states == {1: "sent"}
    assert heard == ["MAIL FROM:<ada@ada.example> BODY=8BITMIME SMTPUTF8", "RCPT TO:<jörg@b.example>"]
    for needy in (umlaut, delivery(1, content="Subject: u\r\n\r\nü\r\n".encode())):
        with Server(good()) as server:
            sent = send([needy], account(server))
        assert sent.states == {1: "failed"}
        assert sent.outcome(1).code is None


def test_the_greeting_tells_an_address_and_no_name():
    heard = []

    def serve(peer: Peer) -> None:
        peer.say("220 hi")
        heard.append(peer.line())
        peer.say("250 me")
        take_all(peer)

    with Server(serve) as server:
        session = Session(account(server, ehlo_name=""), clock=Told(), deadlines=QUICK)
        greeting = session.probe()
        session.close()
    assert heard == ["EHLO [127.0.0.1]"]
    assert (greeting.banner, greeting.tls, greeting.mechanism, greeting.level) == ("hi", "", "", 0)


def test_probe_says_what_is_wrong():
    refusing = Server(lambda peer: (peer.say("554 5.7.1 go away"), peer.farewell()))
    with refusing as server, pytest.raises(CarrierError, match="go away"):
        Session(account(server), clock=Told(), deadlines=QUICK).probe()


def test_an_account_shows_no_secret():
    text = repr(Account("h", 25, user="ada", password=lambda: "secret", token=lambda: "token"))
    assert "secret" not in text
    assert "lambda" not in text


def test_a_server_that_finds_us_too_fast_gets_less():
    def fast(peer: Peer) -> None:
        peer.hello(*PIPES)
        peer.envelope()
        peer.message()
        peer.say("250 ok")
        peer.line()
        peer.say("421 4.7.0 Try again later, unusual rate of mail")

    told: list[str] = []
    with Server(fast, good()) as server:
        session = Session(account(server), clock=Told(), tell=told.append, deadlines=QUICK)
        session.offer(delivery(1))
        session.offer(delivery(2))
        assert [o.row for o in session.collect(1)] == [1]
        assert [o.row for o in session.collect(1)] == [2]
        assert session._clock.slept, "it pauses, though a row was answered"
        assert session.room == 0
        time.sleep(1.0)
        assert session.room == 1
        session.close()
    assert any("too fast" in line for line in told)


def test_throttle_doubles_and_recovers():
    throttle = Throttle()
    for moment in range(30):
        throttle.offered(moment * 3.0)
    assert throttle.wait(87.0) == 0
    throttle.complained()
    assert 5 < throttle.gap < 6.1
    assert throttle.wait(87.0) == pytest.approx(throttle.gap)
    assert throttle.wait(87.0 + throttle.gap) == 0
    once = throttle.gap
    throttle.complained()
    assert throttle.gap == pytest.approx(2 * once)
    gaps = []
    while throttle.gap:
        throttle.accepted()
        gaps.append(throttle.gap)
    assert gaps == sorted(gaps, reverse=True)
    assert 40 <= len(gaps) <= 101
    for _ in range(30):
        throttle.complained()
    assert throttle.gap == 300
