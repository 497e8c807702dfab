"""Which deliveries are in hand: what is given back, what is in doubt, what is known."""

from __future__ import annotations

from script import delivery

from merge.model import State
from merge.smtp.docket import Docket, Phase, outcome_of
from merge.smtp.reply import Reply


def docket_of(*phases: Phase) -> Docket:
    docket = Docket()
    for row, _ in enumerate(phases, 1):
        docket.add(delivery(row))
    for case, phase in zip(docket.offered(), phases, strict=True):
        case.phase = phase
    return docket


def test_what_is_in_doubt_is_never_given_back():
    docket = docket_of(Phase.DOUBTFUL, Phase.BEGUN, Phase.OFFERED)
    assert docket.doubtful
    assert docket.begun
    assert [letter.row for letter in docket.recall()] == [2, 3]
    assert len(docket) == 1
    docket.settle("the line broke")
    assert [(outcome.row, outcome.state, outcome.reply) for outcome in docket.known()] == [
        (1, State.UNCERTAIN, "the line broke")
    ]
    assert not docket.pending


def test_settling_takes_back_what_was_only_begun():
    docket = docket_of(Phase.BEGUN, Phase.OFFERED)
    first = docket.next()
    assert first is not None
    assert first.delivery.row == 2
    docket.settle("gone")
    again = docket.next()
    assert again is not None
    assert again.delivery.row == 1
    assert docket.known() == []


def test_doubt_is_no_answer():
    docket = docket_of(Phase.DOUBTFUL, Phase.DOUBTFUL)
    docket.settle("x" * 900)
    assert not docket.answered
    assert all(len(outcome.reply) == 500 for outcome in docket.known())
    docket.add(delivery(3))
    case = docket.next()
    assert case is not None
    case.outcome = outcome_of(case.delivery, State.FAILED, "RCPT", Reply(550, (b"no",)), "r3@b.example")
    assert docket.answered
    assert docket.next() is None
    assert docket.recall() == []
    assert [outcome.recipient for outcome in docket.known()] == ["r3@b.example"]
