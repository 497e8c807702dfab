"""Every transcript, whole and cut at every byte, in memory and over a socket."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from peers import LOOPBACK, Result, Server, Told, play, playing
from script import Script, everything

from merge.errors import CarrierError
from merge.model import Delivery
from merge.smtp.session import Account, Session
from merge.smtp.steps import Deadlines

SCRIPTS = everything()
BY_NAME = pytest.mark.parametrize("script", SCRIPTS, ids=[script.name.split()[0] for script in SCRIPTS])


@BY_NAME
def test_a_transcript_comes_to_its_verdicts(script: Script) -> None:
    check(script, play(script))


@BY_NAME
def test_it_does_so_however_the_bytes_are_cut(script: Script) -> None:
    if script.whole:
        return check(script, play(script))  # what has arrived when decides: only whole is one scenario
    longest = max(
        sum(len(data) for side, data in script.said(number) if side == "S")
        for number in range(len(script.lines))
    )
    for cut in range(1, longest):
        check(script, play(script, cut))
    return None


@BY_NAME
def test_it_does_so_over_a_socket(script: Script) -> None:
    if script.starttls and "handshake" in script.name:
        return
    parts = [playing(script.said(number)) for number in range(len(script.lines))]
    with Server(*parts) as server:
        check(script, over_a_socket(script, server), socket=True)


def over_a_socket(script: Script, server: Server) -> Result:
    result, clock = Result(), Told(lambda: server.exhausted)
    account = Account(
        LOOPBACK,
        server.port,
        "starttls" if script.starttls else "none",
        user="ada" if script.login else "",
        password=(lambda: "secret") if script.login else None,
        mechanisms=("PLAIN", "LOGIN") if script.login else (),
        per_connection=script.limit,
        pipelining=script.level,
        window=script.window,
        ehlo_name="ada.example",
    )
    silent = any(side == "X" and data == b"silence" for part in script.lines for side, data in part)
    seconds = 0.5 if silent else 5.0
    replies = dict.fromkeys(("MAIL", "RCPT", "DATA", "body", "end of data", "RSET", "NOOP"), seconds)
    replies |= {"QUIT": 0.4, "the conversation so far": 0.4}

    def record(delivery: Delivery) -> None:
        result.committed.append(delivery.row)
        if script.name.startswith("body"):
            time.sleep(0.05)  # what comes before the end has to have arrived by then

    session = Session(
        account,
        clock=clock,
        before_commit=record,
        deadlines=Deadlines(opening=5.0, replies=replies),
        schedule=(1.0, 1.0),
    )
    todo = iter(script.deliveries())
    try:
        for outcomes in work(session, todo, server, clock, script.rows):
            result.outcomes += outcomes
    except CarrierError as error:
        result.fate = f"stops {error.message}"
    if result.fate == "open" and server.exhausted and session._wire is None:
        result.fate = "pauses" if clock.slept else "at once"
    result.level = session.level
    result.waiting = [delivery.row for delivery in (*session.recall(), *todo)]
    session.close()
    return result


def work(session: Session, todo: Iterator, server: Server, clock: Told, rows: int) -> Iterator:
    """Work as the courier would, until nothing is left to do or the script is at its end."""
    settled = 0
    for _ in range(200):
        while session.room and (delivery := next(todo, None)):
            session.offer(delivery)
        outcomes = session.collect(0.02)
        settled += len(outcomes)
        yield outcomes
        if clock.interrupted or (settled == rows and not outcomes):
            return
        if server.exhausted and session._wire is None and not outcomes:
            return
    raise AssertionError("no end")


def check(script: Script, result: Result, *, socket: bool = False) -> None:
    rows = [outcome.row for outcome in result.outcomes] + result.waiting
    assert sorted(rows) == list(range(1, script.rows + 1)), "a row is lost or doubled"
    for outcome in result.outcomes:
        words = script.verdicts[outcome.row]
        assert outcome.state == words[0], outcome
        shown = f"{outcome.stage} {outcome.code} {outcome.enhanced} {outcome.reply} {outcome.recipient}"
        for word in words[1:]:
            assert word.replace("~", " ") in shown, shown
        assert len(outcome.reply) <= 500
        assert outcome.reply.isascii()
        assert outcome.reply.isprintable()
        if outcome.state in {"sent", "uncertain"}:
            assert outcome.row in result.committed
    for row in result.waiting:
        assert script.verdicts[row] == ["waiting"]
    fate, _, words = script.fate.partition(" ")
    if not socket:
        assert result.fate.split(" ")[0] == fate
    elif fate == "stops" or result.fate.startswith("stops"):
        assert result.fate.startswith(fate)
    if fate == "stops":
        assert words in result.fate
    if script.remains is not None:
        assert result.level == script.remains
