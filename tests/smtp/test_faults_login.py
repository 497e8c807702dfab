"""What goes wrong while logging in, over a real socket."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass

import pytest
from conduct import PIPES, SECRET, letters, logged_in, take_all
from peers import Peer, Server, Told
from sending import account, send

from merge.smtp.account import LEAD
from merge.smtp.session import Account, Session


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
