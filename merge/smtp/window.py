"""How do many letters go out in one write? MAIL, RCPT, BDAT (RFC 3030), a window of them: level 3.

Every message of a window is on record before its first byte leaves, and every one whose last byte may have
left is in doubt until the whole window has been answered. That is the price of less than a round trip a
letter, so it has to be asked for.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from merge.model import Outcome, State
from merge.smtp import command, meaning
from merge.smtp.docket import Case, Phase, outcome_of
from merge.smtp.letters import unfit
from merge.smtp.line import RIDING, Line, Over
from merge.smtp.meaning import END_OF_DATA, MAIL, NOOP, RCPT, RSET, Run, Verdict
from merge.smtp.reply import Reply
from merge.smtp.steps import Commit, Event, Hangup, Lost, Step, Talk

WEIGHT = 4 * 1024 * 1024
"""How many bytes of messages one window may hold; a larger message goes alone."""

_NO_BDAT = (500, 501, 502, 503, 504)


def carry(line: Line) -> Talk:
    """Carry as many messages as one write may hold, each a transaction of its own; hear of them all."""
    cases = _cases(line)
    if not cases:
        return
    data, ends = bytearray(), []
    for case in cases:
        case.phase = Phase.BEGUN
        delivery = case.delivery
        # RSET ends whatever a refusal left open: Exim queued letters under the wrong sender without it.
        data += command.RSET + command.mail(delivery, line.extensions)
        data += command.rcpt(delivery.envelope.recipients[0])
        data += command.bdat(len(delivery.content)) + delivery.content
        ends.append(len(data))
    data += command.NOOP
    event = yield Commit(tuple(cases), b"", bytes(data), tuple(ends), line.awaiting(RSET))
    line.take(event)
    if not line.docket.doubtful:
        if isinstance(event, Lost):
            line.end(Run.RECONNECT, event.reason, MAIL)
        yield from line.nothing_unread(MAIL)
    yield from _answers(line, cases)


def _cases(line: Line) -> list[Case]:
    """Return the next cases for one window. The first ever holds one message: it shows whether BDAT works."""
    most = line.habits.window if line.habits.windowed else 1
    if line.habits.limit:
        most = min(most, line.habits.limit - line.carried)
    cases: list[Case] = []
    weight = 0
    for case in line.docket.offered():
        if len(cases) == most or len(case.delivery.envelope.recipients) > 1:
            break
        weight += len(case.delivery.content)
        if cases and weight > WEIGHT:
            break
        if not unfit(line, case):
            cases.append(case)
    return cases


def _answers(line: Line, cases: Sequence[Case]) -> Talk:
    """Hear of each message of a window in turn; none is settled before the whole window has parsed."""
    results: list[tuple[Case, Outcome | None]] = []
    ends: list[tuple[str, Reply, Verdict]] = []
    try:
        for case in cases:
            stage, reply, verdict = yield from _whole(line, case)
            address = case.delivery.envelope.recipients[0] if stage == RCPT else ""
            outcome = outcome_of(case.delivery, verdict.row, stage, reply, address) if verdict.row else None
            results.append((case, outcome))
            if verdict.run is not Run.GO_ON:
                ends.append((stage, reply, verdict))
        yield from _close(line, results)
    except Over as over:
        line.fall(RIDING)
        if not over.slipped:
            _settle(results)
        raise
    _settle(results)
    line.habits.grouped = line.habits.windowed = True
    line.stale = True
    if ends:
        stage, reply, verdict = max(ends, key=lambda end: end[2].run is Run.STOP)
        line.answered_badly(stage, reply, verdict, polite=True)


def _close(line: Line, results: list[tuple[Case, Outcome | None]]) -> Talk:
    """Hear the answer to the NOOP behind a window: it shows whether the last letter's answer was its own.

    With a reply too many, what the last letter's end was answered with comes in its place. With one left out
    none comes, and any letter may have had the answer to what stood behind it: then no yes counts. A line
    that ends there takes nothing away.
    """
    try:
        reply = yield from line.hear(NOOP)
    except Over:
        if line.silent:
            results[:] = [(case, outcome) for case, outcome in results if not _accepted(outcome)]
        raise
    if reply.closing:
        line.answered_badly(NOOP, reply)
    if not reply.ok:
        line.slip(NOOP, f"answered {NOOP} with {reply}")
    yield from line.nothing_unread(END_OF_DATA)


def _accepted(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.state is State.SENT


def _settle(results: Sequence[tuple[Case, Outcome | None]]) -> None:
    """Give each case its outcome; one without was refused for no fault of its own and waits again."""
    for case, outcome in results:
        if outcome is None:
            case.phase = Phase.OFFERED
        else:
            case.outcome = outcome


def _whole(line: Line, case: Case) -> Generator[Step, Event, tuple[str, Reply, Verdict]]:
    """Hear the four answers to one message of a window; return the one that decides, and what it means."""
    refusal: tuple[str, Reply] | None = None
    for stage in (RSET, MAIL, RCPT, END_OF_DATA):
        reply = yield from line.hear(stage)
        if reply.closing:
            _closing(line, case, stage, reply, refused=refusal is not None)
        fits = reply.refused if refusal and stage == END_OF_DATA else reply.ok or reply.refused
        if not fits or (stage == RSET and not reply.ok):
            line.slip(stage, f"answered {stage} with {reply}")
        if stage == END_OF_DATA and reply.ok and case.phase is not Phase.DOUBTFUL:
            line.slip(stage, f"took a message that had not left in full: {reply}")
        if stage == MAIL and reply.ok:
            line.carried += 1
        if stage == RCPT and not refusal:
            line.habits.refusals = line.habits.refusals + 1 if reply.refused else 0
        if reply.refused and not refusal:
            refusal = stage, reply
    stage, reply = refusal or (END_OF_DATA, reply)
    if stage == END_OF_DATA and reply.code in _NO_BDAT:
        # It may be reading the message as commands by now: leave at once. It has accepted nothing of it.
        case.phase = Phase.BEGUN
        raise Over(Hangup(Run.GO_ON, f"answered BDAT with {reply}"))
    verdict = meaning.judge(stage, reply)
    if verdict is None:
        line.slip(stage, f"answered {stage} with {reply}")
    return stage, reply, verdict


def _closing(line: Line, case: Case, stage: str, reply: Reply, *, refused: bool) -> None:
    """End the line on a 421: it refuses this message, those after it stay in doubt. Raises Over."""
    if stage == END_OF_DATA and not refused:
        case.outcome = outcome_of(case.delivery, State.DEFERRED, END_OF_DATA, reply)
    else:
        case.phase = Phase.BEGUN
    line.answered_badly(stage, reply)
