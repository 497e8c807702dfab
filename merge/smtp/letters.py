"""How does one letter after the other go out? MAIL, RCPT, DATA, the body, the final dot: levels 0 to 2.

At level 2 the envelope of the next letter rides in the write of the final dot (RFC 2920, 3.1): one round trip
a letter. Only that dot is ever in doubt: an envelope without content is nothing that could be delivered.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from merge.model import Outcome, State
from merge.smtp import command, meaning
from merge.smtp.docket import BEGUN, DOUBTFUL, OFFERED, Case, outcome_of
from merge.smtp.line import GROUPED, LOCK_STEP, RIDING, Line, Over
from merge.smtp.meaning import BODY, DATA, END_OF_DATA, MAIL, RCPT, RSET, Run, Verdict
from merge.smtp.reply import Reply, shorten
from merge.smtp.steps import REFILL, Ask, Commit, Event, Hangup, Step, Talk

CAUTION = 3
"""After so many refused recipients in a row, DATA waits for RCPT's answer: a refusal counts twice otherwise,
and servers hang up after 10 to 20 of them."""

_NOT_UNDERSTOOD = (500, 502, 503)

_STAGES = {b"RSET": RSET, b"MAIL": MAIL, b"RCPT": RCPT, b"DATA": DATA}

Progress: TypeAlias = Literal["ready", "data next", "lone dot", "settled", "again"]
"""Where an envelope has come to: the body may go; DATA, or a lone dot, has to be said; it has its outcome;
it is to be said again, in smaller groups."""


class Refusal(NamedTuple):
    """A command, and the 4xx or 5xx that answered it."""

    said: bytes
    stage: str
    reply: Reply

    @property
    def address(self) -> str:
        """Who was refused, if it was a recipient."""
        return self.said[len(b"RCPT TO:<") : -len(b">\r\n")].decode() if self.stage == RCPT else ""

    def __str__(self) -> str:
        return f"{self.stage} with {self.reply}"


def carry(line: Line, case: Case) -> Talk:
    """Carry this letter, and those whose envelopes may ride behind an end of data."""
    progress = yield from _envelope(line, case)
    while progress == "ready":
        follower: Case | None = None
        group: Sequence[bytes] = ()
        if line.level == RIDING and not line.full:
            yield REFILL
            if follower := _next_fit(line):
                group = _group(line, follower)
        if line.reader.unread:
            yield from _early(line, case)
        # Until the end is written, whatever breaks leaves nothing in doubt.
        line.take((yield _message(line, case, group)))
        if case.phase is not DOUBTFUL:
            yield from _early(line, case)
        go_ahead = bool(group) and group[-1] is command.DATA
        if yes := line.reader.agree(1 + len(group), go_ahead=go_ahead):
            case.outcome = outcome_of(case.delivery, State.SENT, END_OF_DATA, Reply.of(yes))
            progress = _agreed(line, go_ahead=go_ahead) if follower else "settled"
        else:
            progress = yield from _end(line, case, follower, group)
        if follower:
            case = follower
            if progress != "ready":
                progress = yield from _further(line, case, progress)


def unfit(line: Line, case: Case) -> bool:
    """Settle a letter that must not go, or that this server cannot take, before anything is said of it."""
    delivery, reason = case.delivery, ""
    if veto := line.docket.veto(delivery):
        case.outcome = Outcome(delivery.key, delivery.row, State.SKIPPED, MAIL, reply=shorten(veto))
        return True
    if line.size_limit and len(delivery.content) > line.size_limit:
        reason = f"the message has {len(delivery.content)} bytes, the server takes {line.size_limit}"
    elif "SMTPUTF8" not in line.extensions and delivery.envelope.needs_smtputf8:
        reason = "the address goes beyond ASCII, and the server does not offer SMTPUTF8"
    elif "8BITMIME" not in line.extensions and not delivery.content.isascii():
        reason = "the message holds 8-bit bytes, and the server does not offer 8BITMIME"
    if reason:
        case.outcome = Outcome(delivery.key, delivery.row, State.FAILED, MAIL, reply=reason)
    return bool(reason)


# The envelope


def _next_fit(line: Line) -> Case | None:
    """Return the next letter that the server can take, if there is one; settle those that it cannot."""
    while (case := line.docket.next()) and unfit(line, case):
        pass
    return case


def _group(line: Line, case: Case) -> list[bytes]:
    """Return the commands that may be said of a letter before anything is heard; the letter is begun."""
    case.phase = BEGUN
    recipients = case.delivery.envelope.recipients
    group = [command.RSET] if line.stale else []
    group.append(command.mail(case.delivery, line.extensions))
    group += map(command.rcpt, recipients)
    # With several recipients, a 354 after a partial refusal would leave only an empty letter to the others.
    if len(recipients) == 1 and line.habits.refusals < CAUTION:
        group.append(command.DATA)
    return group


def _envelope(line: Line, case: Case) -> Generator[Step, Event, Progress]:
    """Say who the letter is from and for, up to the server's 354."""
    if unfit(line, case):
        return "settled"
    group = _group(line, case)
    if line.level == LOCK_STEP:
        progress = yield from _one_by_one(line, case, group)
        return progress if progress == "ready" else (yield from _further(line, case, progress))
    try:
        yield from line.say(MAIL, b"".join(group))
        go_ahead = group[-1] is command.DATA
        if line.reader.agree(len(group), go_ahead=go_ahead):
            progress = _agreed(line, go_ahead=go_ahead)
        else:
            progress = yield from _answers(line, case, group)
    except Over as over:
        if line.habits.grouped or over.told or over.hangup.run is not Run.RECONNECT:
            raise
        # The first group ever, and the line is gone: some servers say no like that. Once may be an accident.
        line.habits.groups_lost += 1
        if line.habits.groups_lost > 1:
            line.fall(LOCK_STEP)
        raise Over(Hangup(Run.GO_ON, over.hangup.reason), slipped=over.slipped) from None
    line.habits.grouped = True
    return (yield from _further(line, case, progress))


def _further(line: Line, case: Case, progress: Progress) -> Generator[Step, Event, Progress]:
    """Say what had to wait for the answers to an envelope."""
    if progress == "data next":
        progress = yield from _one_by_one(line, case, [command.DATA])
    if progress == "lone dot":
        # RFC 2920, 3.1: nobody is to receive it, so an empty message ends the state. Its answer is moot.
        yield from line.ask(DATA, command.END_OF_DATA)
    return progress


def _answers(
    line: Line, case: Case, group: Sequence[bytes], *, behind: bool = False
) -> Generator[Step, Event, Progress]:
    """Hear the answers to an envelope, each in its place, and settle the letter if it is refused.

    `behind`: the group rode behind an end of data.
    """
    heard = _Heard(line, case, group, behind=behind, grouped=True)
    for said in group:
        yield from heard.answer(said)
    return heard.weigh()


def _one_by_one(line: Line, case: Case, group: Sequence[bytes]) -> Generator[Step, Event, Progress]:
    """Say each of these when the one before it was answered, as far as that is not refused."""
    heard: _Heard | None = None
    for number, said in enumerate(group):
        if heard and heard.pointless(said):
            break
        stage, go_ahead = _stage(said), said is command.DATA
        if line.reader.unread or line.take((yield Ask(said, line.awaiting(stage)))):
            yield from line.nothing_unread(stage)
        if not heard and line.reader.agree(1, go_ahead=go_ahead):
            line.carried += stage == MAIL
        else:
            heard = heard or _Heard(line, case, group[number:], behind=False, grouped=False)
            yield from heard.answer(said)
    return heard.weigh() if heard else _accepted(line, go_ahead=go_ahead)


def _stage(said: bytes) -> str:
    return _STAGES[said[:4]]


def _agreed(line: Line, *, go_ahead: bool) -> Progress:
    """Note that a whole envelope was answered with yes."""
    line.carried += 1
    return _accepted(line, go_ahead=go_ahead)


def _accepted(line: Line, *, go_ahead: bool) -> Progress:
    """Note that nothing of an envelope was refused."""
    line.stale = line.adapting = False
    line.habits.refusals = 0
    return "ready" if go_ahead else "data next"


@dataclass(slots=True)
class _Heard:
    """What has been answered of an envelope. `grouped`: all of it was said in one write."""

    line: Line
    case: Case
    group: Sequence[bytes]
    behind: bool
    grouped: bool
    refusals: list[Refusal] = field(default_factory=list)
    go_ahead: bool = False

    def pointless(self, said: bytes) -> bool:
        """Whether a command need not be said after a refusal; each recipient's answer is wanted."""
        return bool(self.refusals) and not (_stage(said) == self.refusals[0].stage == RCPT)

    def answer(self, said: bytes) -> Talk:
        """Hear an answer, and keep it. Raises Over if there is none, it cannot be one, or ends the line."""
        line, stage = self.line, _stage(said)
        try:
            reply = line.reader.at_hand() or (yield from line.hear(stage))
        except Over as over:
            if not over.slipped:
                self.cut_short()
            raise
        if reply.go_ahead if stage == DATA else reply.ok:
            if self.behind and self.refusals and self.refusals[0].stage == MAIL:
                # No server takes a recipient without a sender: that refusal was perhaps the message's.
                line.slip(stage, f"answered {stage} with {reply} after {self.refusals[0]}")
            self.go_ahead = reply.go_ahead
            line.carried += stage == MAIL
            return
        if not reply.refused:
            line.slip(stage, f"answered {stage} with {reply}")
        if reply.closing:
            self.cut_short()
            if stage == DATA and not self.refusals:
                self.case.outcome = outcome_of(self.case.delivery, State.DEFERRED, DATA, reply)
            line.answered_badly(stage, reply)
        self.refusals.append(Refusal(said, stage, reply))

    def weigh(self) -> Progress:
        """Decide what all the answers come to."""
        line = self.line
        if not self.refusals:
            return _accepted(line, go_ahead=self.go_ahead)
        line.stale = True
        first = self.refusals[0]
        if self._lower(first):
            if self.go_ahead:
                self._one_too_many()
                raise Over(Hangup(Run.GO_ON, f"answered {first}, and DATA with 354"))
            self.case.phase = OFFERED
            return "again"
        if first.stage == RCPT:
            line.habits.refusals += 1
        verdict = self._refuse()
        if verdict.run is not Run.GO_ON or (self.go_ahead and first.stage != RCPT):
            self._one_too_many()
            line.answered_badly(first.stage, first.reply, verdict, polite=not self.go_ahead)
        return "lone dot" if self.go_ahead else "settled"

    def _one_too_many(self) -> None:
        """Raise Over where the line is to end and an answer is left, all having been heard; a 421 is none."""
        more = self.line.reader.at_hand() if self.behind else None
        if more and not more.closing:
            self.line.slip(self.refusals[0].stage, f"said something that nobody asked for: {more}")

    def cut_short(self) -> None:
        """Settle what a refusal has settled already, when the line ends amid the answers."""
        if not self.refusals:
            return
        first = self.refusals[0]
        if self._lower(first):
            raise Over(Hangup(Run.GO_ON, f"answered {first}"))
        verdict = self._refuse()
        if verdict.run not in {Run.GO_ON, Run.RECONNECT}:
            self.line.answered_badly(first.stage, first.reply, verdict)

    def _refuse(self) -> Verdict:
        """Settle a letter by its refusals: it goes to all recipients or to none."""
        deciding = self.refusals[0]
        if deciding.stage == RCPT:
            worst = (one for one in self.refusals if one.stage == RCPT and one.reply.permanent)
            deciding = next(worst, deciding)
        stage, reply = deciding.stage, deciding.reply
        verdict = meaning.judge(stage, reply)
        if verdict is None or stage == RSET:
            self.line.answered_badly(stage, reply, verdict)
        if verdict.row is not None:
            self.case.outcome = outcome_of(self.case.delivery, verdict.row, stage, reply, deciding.address)
        return verdict

    def _lower(self, first: Refusal) -> bool:
        """Whether the grouping was refused, not the letter; then the level falls (RFC 2920 is not kept)."""
        if not self.grouped or first.reply.code not in _NOT_UNDERSTOOD:
            return False
        self.line.fall(GROUPED if self.behind and first.said is self.group[0] else LOCK_STEP)
        self.line.adapting = True
        return True


# The message


def _message(line: Line, case: Case, group: Sequence[bytes]) -> Commit:
    """Return a message, its end for when it is on record, and the group that rides behind."""
    content = case.delivery.content
    body = command.stuff(content) if case.dotted else content
    data = b"".join((command.END_OF_DATA, *group))
    return Commit((case,), body, data, (len(command.END_OF_DATA),), line.awaiting(END_OF_DATA))


def _end(
    line: Line, case: Case, follower: Case | None, group: Sequence[bytes]
) -> Generator[Step, Event, Progress]:
    """Hear the answers to a message's end, and to what rode behind it; return what that has come to.

    The message is settled only when all have parsed: until then none may be in its place.
    """
    reply = line.reader.at_hand() or (yield from line.hear(END_OF_DATA))
    verdict, outcome = _weigh(line, case, reply)
    progress: Progress = "settled"
    try:
        if follower:
            progress = yield from _answers(line, follower, group, behind=True)
        if line.reader.unread:
            yield from line.nothing_unread(END_OF_DATA)
    except Over as over:
        # With one answer left out, the last of them does not come, and the first may be that to MAIL.
        if not (over.slipped or (follower and line.silent == _stage(group[-1]))):
            case.outcome = outcome
        raise
    case.outcome = outcome
    if verdict.run is not Run.GO_ON:
        line.answered_badly(END_OF_DATA, reply, verdict)
    return progress


def _weigh(line: Line, case: Case, reply: Reply) -> tuple[Verdict, Outcome]:
    """Return what the answer to a message's end comes to. Raises Over if it is none, or ends the line."""
    verdict = meaning.judge(END_OF_DATA, reply)
    if verdict is None or verdict.row is None:
        line.slip(END_OF_DATA, f"answered {END_OF_DATA} with {reply}")
    outcome = outcome_of(case.delivery, verdict.row, END_OF_DATA, reply)
    if reply.closing:
        case.outcome = outcome
        line.answered_badly(END_OF_DATA, reply, verdict)
    return verdict, outcome


def _early(line: Line, case: Case) -> Talk:
    """Hear a reply that came before the message's end: a refusal of it, or no answer at all. Raises Over."""
    reply = yield from line.hear(BODY)
    verdict = meaning.judge(BODY, reply)
    if verdict is None:
        line.slip(BODY, f"spoke before the message's end: {reply}")
    if verdict.row is not None:
        case.outcome = outcome_of(case.delivery, verdict.row, END_OF_DATA, reply)
    line.answered_badly(BODY, reply, verdict)
