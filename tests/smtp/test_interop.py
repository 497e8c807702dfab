"""Real servers: each level, good and refused recipients, TLS, login; not one message too many or too few."""

from __future__ import annotations

import time

import pytest
from script import delivery
from sending import QUICK, account, send
from servers import SERVERS, Running, aiosmtpd_server, exim, haraka, postfix, postfix_with_login

from merge.smtp.steps import Deadlines

COUNT = 30
REFUSES = {"postfix", "exim", "opensmtpd", "haraka", "aiosmtpd"}
PATIENT = Deadlines(
    opening=20,
    replies={**QUICK.replies, "AUTH": 20, "MAIL": 20, "RCPT": 20, "DATA": 20, "end of data": 20, "RSET": 20},
)


@pytest.fixture(scope="module", params=SERVERS)
def server(request):
    with SERVERS[request.param]() as running:
        running.name = request.param
        yield running


def letters(count: int = COUNT):
    for row in range(1, count + 1):
        if row % 7 == 0:
            yield delivery(row, f"bad{row}@b.example")
        elif row % 7 == 3:
            yield delivery(row, f"a{row}@b.example", f"b{row}@b.example")
        elif row % 7 == 5:
            yield delivery(row, f"a{row}@b.example", f"bad{row}@b.example")
        else:
            yield delivery(row)


def expected(name: str, count: int = COUNT) -> dict[int, str]:
    refused = {0, 5} if name in REFUSES else set()
    return {row: "failed" if row % 7 in refused else "sent" for row in range(1, count + 1)}


def settled(running: Running, count: int) -> int:
    """Return how many messages the server has taken, once its log says so."""
    until = time.monotonic() + 5
    while running.accepted() < count and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.1)
    return running.accepted()


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_every_row_is_told_apart(server, level):
    before = server.accepted()
    wishes = account(server.port, pipelining=min(level, 2), window=8 if level == 3 else 0, per_connection=0)
    sent = send(letters(), wishes, deadlines=PATIENT)
    assert sent.states == expected(server.name)
    good = list(sent.states.values()).count("sent")
    assert settled(server, before + good) - before == good


@pytest.mark.parametrize("level", [1, 2])
def test_refusals_in_a_row_lose_nobody(server, level):
    if server.name not in REFUSES:
        pytest.skip("smtp-sink refuses nobody")
    if server.name == "postfix":
        pytest.skip("Postfix delays each of so many refusals by a second; the scripted server stands for it")
    rows = [delivery(row, f"bad{row}@b.example") for row in range(1, 26)] + [delivery(26)]
    sent = send(rows, account(server.port, pipelining=level, per_connection=0), deadlines=PATIENT)
    assert sent.states == {**dict.fromkeys(range(1, 26), "failed"), 26: "sent"}


@pytest.mark.parametrize("make", [postfix, exim], ids=["postfix", "exim"])
@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_tls(make, security):
    with make() as running:
        port = running.secure if security == "tls" else running.port
        login = {"user": "ada", "password": lambda: "secret"} if make is exim else {}
        wishes = account(
            port, host="localhost", security=security, ca_file=running.ca_file, per_connection=4, **login
        )
        sent = send([delivery(row) for row in range(1, 11)], wishes, deadlines=PATIENT)
        assert set(sent.states.values()) == {"sent"}
        assert settled(running, 10) == 10


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
@pytest.mark.parametrize("make", [exim, haraka], ids=["exim", "haraka"])
def test_login(make, mechanism):
    with make() as running:
        for password, state in (("secret", "sent"), ("wrong", "waiting")):
            wishes = account(running.port, user="ada", password=lambda: password, mechanisms=(mechanism,))  # noqa: B023 - asked for at once
            sent = send([delivery(1)], wishes, deadlines=PATIENT)
            if mechanism != "CRAM-MD5" and make is haraka and "no login" in str(sent.error):
                pytest.skip("Haraka offers this mechanism under TLS only")
            assert sent.states == {1: state}, sent.error


@pytest.fixture(scope="module")
def behind_login():
    with postfix_with_login() as running:
        yield running


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"])
@pytest.mark.parametrize("password", ["secret", "wrong"])
def test_postfix_with_the_login_of_dovecot(behind_login, mechanism, password):
    before = behind_login.accepted()
    wishes = account(
        behind_login.port,
        host="localhost",
        security="starttls",
        ca_file=behind_login.ca_file,
        user="ada",
        password=lambda: password,
        mechanisms=(mechanism,),
    )
    sent = send([delivery(row) for row in range(1, 4)], wishes, deadlines=PATIENT)
    if password == "secret":
        assert set(sent.states.values()) == {"sent"}, sent.error
        assert settled(behind_login, before + 3) == before + 3
    else:
        assert set(sent.states.values()) == {"waiting"}
        assert "refused the login for ada" in sent.stop
        assert behind_login.accepted() == before


def test_postfix_wants_the_login(behind_login):
    wishes = account(behind_login.port, host="localhost", security="starttls", ca_file=behind_login.ca_file)
    assert send([delivery(1)], wishes, deadlines=PATIENT).states != {1: "sent"}


def test_aiosmtpd_with_starttls_and_login():
    with aiosmtpd_server(tls=True, login=True) as running:
        wishes = account(
            running.port,
            host="localhost",
            security="starttls",
            ca_file=running.ca_file,
            user="ada",
            password=lambda: "secret",
        )
        sent = send([delivery(row) for row in range(1, 6)], wishes, deadlines=PATIENT)
        assert set(sent.states.values()) == {"sent"}
        assert running.accepted() == 5
