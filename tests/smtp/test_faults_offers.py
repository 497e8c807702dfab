"""What may be offered to a session, what it says of itself, and how it slows down."""

from __future__ import annotations

import time

import pytest
from conduct import PIPES, good, letters, take_all
from peers import Peer, Server, Told
from script import delivery
from sending import QUICK, account, send

from merge.clock import TestClock
from merge.errors import AddressError, CarrierError, ConfigError, SealError
from merge.smtp.session import Account, Session
from merge.smtp.throttle import Throttle


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


@pytest.mark.parametrize("size", ["9" * 21, "9" * 5000, "-1", "many", "\u0663", ""])
def test_a_size_that_is_none_is_no_limit(size):
    with Server(good(f"SIZE {size}")) as server:
        assert send(letters(1), account(server)).states == {1: "sent"}


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


def test_a_session_that_was_slowed_down_holds_one_letter_at_a_time():
    clock = TestClock()
    session = Session(account(25), clock=clock)
    assert session.room == 2
    session._throttle.complained()
    session.offer(delivery(1))
    clock.sleep(10.0)
    assert session.room == 0, "its time has come, but another letter has no answer yet"
    session.recall()
    assert session.room == 1


@pytest.mark.parametrize(
    ("usual", "gaps"),
    [(0.0, [1.0, 2.0, 4.0, 8.0]), (0.25, [1.0, 2.0, 4.0, 8.0]), (3.0, [6.0, 12.0, 24.0, 48.0])],
)
def test_each_complaint_halves_the_pace_from_a_second_up(usual, gaps):
    throttle = Throttle()
    for number in range(200):
        throttle.offered(number * usual)
    found = []
    for _ in gaps:
        throttle.complained()
        found.append(throttle.gap)
    assert found == pytest.approx(gaps)


def test_half_the_pace_is_made_good_by_fifty_messages():
    throttle = Throttle()
    for number in range(200):
        throttle.offered(number * 3.0)
    throttle.complained()
    for _ in range(49):
        throttle.accepted()
    assert 3.0 < throttle.gap < 3.1
    for _ in range(2):
        throttle.accepted()
    assert throttle.gap == 0


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
        assert len(gaps) < 1000, "it stays slow for ever"
        throttle.accepted()
        gaps.append(throttle.gap)
    assert gaps == sorted(gaps, reverse=True)
    assert 40 <= len(gaps) <= 101
    for _ in range(30):
        throttle.complained()
    assert throttle.gap == 300
