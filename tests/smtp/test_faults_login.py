"""What goes wrong while logging in, over a real socket."""

from __future__ import annotations

import base64
import hmac
import socket
import time
from dataclasses import dataclass

import pytest
from conduct import PIPES, SECRET, letters, logged_in, take_all
from peers import Peer, Server, Told
from sending import account, send

from merge.smtp.account import LEAD
from merge.smtp.session import Account, Session
from merge.smtp.wire import Wire


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


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"])
def test_no_secret_goes_without_tls_to_another_machine(mechanism, monkeypatch):
    """The line is open and leads away: the secret is not even asked for."""
    monkeypatch.setattr(Wire, "loopback", False)
    heard, asked = [], []

    def secret() -> str:
        asked.append("secret")
        return "secret"

    def listen(peer: Peer) -> None:
        peer.hello(*PIPES, f"AUTH {mechanism}")
        heard.append(peer.wait_until_left())

    how = {"token" if "AUTH" in mechanism else "password": secret}
    with Server(listen) as server:
        sent = send(letters(2), account(server, user="ada", **how))
        assert server.connections == 1
    assert sent.states == {1: "waiting", 2: "waiting"}
    assert "in the clear" in sent.stop
    assert "starttls" in sent.stop
    assert (heard, asked) == ([b""], [])


def test_a_login_that_does_not_show_the_password_may_go_without_tls(monkeypatch):
    monkeypatch.setattr(Wire, "loopback", False)

    def serve(peer: Peer) -> None:
        peer.hello(*PIPES, "AUTH PLAIN CRAM-MD5")
        assert peer.line() == "AUTH CRAM-MD5"
        peer.say("334 PDE+")
        answer = hmac.new(b"secret", b"<1>", "md5").hexdigest()
        assert base64.b64decode(peer.line()).decode() == f"ada {answer}"
        peer.say("235 welcome")
        take_all(peer)

    with Server(serve) as server:
        assert send(letters(2), account(server, **SECRET)).states == {1: "sent", 2: "sent"}


class Nowhere:
    """A socket that says that it is connected to wherever it was to connect to."""

    def __init__(self, *_: int) -> None:
        pass

    def fileno(self) -> int:
        return 0

    def setblocking(self, _: object) -> None:
        pass

    def setsockopt(self, *_: int) -> None:
        pass

    def getsockopt(self, *_: int) -> int:
        return 0

    def connect(self, _: tuple[str, int]) -> None:
        pass


@pytest.mark.parametrize(
    ("reached", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:192.0.2.1", False),
        ("192.168.1.2", False),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("2001:db8::1", False),
    ],
)
def test_the_address_that_was_reached_says_whether_it_is_this_machine(reached, loopback, monkeypatch):
    wire = Wire("localhost", 25, Told())
    assert not wire.loopback
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (reached, 25))])
    monkeypatch.setattr(socket, "socket", Nowhere)
    wire.connect(1.0)
    assert wire.loopback is loopback


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

    with Server(expired, expired, expired, again) as server:  # once more after each row that had its answer
        assert set(send(letters(6), account(server, **SECRET)).states.values()) == {"sent"}

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
    assert Session(gmail, clock=Told(), tell=told.append)._login._password() == "abcdefghijklmnop"
    assert told
    elsewhere = Account("mail.example", 465, "tls", "ada", lambda: "abcd efgh ijkl mnop")
    assert Session(elsewhere, clock=Told())._login._password() == "abcd efgh ijkl mnop"


@dataclass
class Ending:
    """Tokens of which each is good for so many seconds; the last one again and again."""

    seconds: list[float]
    given: int = 0
    expires: float = 0.0

    def __call__(self) -> str:
        self.expires = time.time() + self.seconds[min(self.given, len(self.seconds) - 1)]
        self.given += 1
        return f"token-{self.given}"


def with_tokens(heard: list[str]):
    """A server that takes its time, and any token."""

    def serve(peer: Peer) -> None:
        peer.hello(*PIPES, "AUTH XOAUTH2")
        heard.append(base64.b64decode(peer.line().split()[2]).split(b"Bearer ")[1].strip(b"\1").decode())
        peer.say("235 2.7.0 ok")
        take_all(peer, after=2, then=lambda _: time.sleep(0.5))

    return serve


@pytest.mark.parametrize("level", [0, 2])
def test_a_line_is_left_before_its_token_ends(level):
    heard, token = [], Ending([LEAD + 0.4, 3600.0])
    with Server(with_tokens(heard), with_tokens(heard)) as server:
        sent = send(letters(6), account(server, user="ada", token=token, pipelining=level))
        assert server.connections == 2
    assert set(sent.states.values()) == {"sent"}
    assert heard == ["token-1", "token-2"]
    assert sent.slept == []
    assert sent.told == []


def test_a_token_that_cannot_be_renewed_is_used_to_its_end():
    heard, token = [], Ending([LEAD - 1.0])
    with Server(with_tokens(heard)) as server:
        sent = send(letters(6), account(server, user="ada", token=token))
    assert set(sent.states.values()) == {"sent"}
    assert heard == ["token-1"]
