"""What to say next, given what was heard? One conversation with one server, without a socket or a clock.

`Dialogue.step` is what to do now; whoever has the line does it and reports by `Dialogue.resume`. Replies are
matched by place: each is read where the command that asked for it was said, so a reply too many or too few
shows. The journey of one line:

    banner, EHLO [, STARTTLS, handshake, EHLO] [, AUTH]          _open
    MAIL, RCPT, DATA, the body                                   _letters, _envelope, _body
    commit, then the final dot [with the envelope of the next]   _commit, _settle
    MAIL, RCPT, BDAT ..., a window of them                       _window
    waiting, NOOP                                                _idle
    QUIT, or dropping the line                                   _Over, Hangup

How much goes in one write is the level: 0 one command, 1 an envelope (RFC 2920), 2 the final dot and the next
envelope behind it (RFC 2920, 3.1), 3 a window of whole messages (RFC 3030).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NoReturn, TypeAlias

from merge.model import Delivery, Outcome, State
from merge.smtp import auth, command, meaning
from merge.smtp.docket import Case, Docket, Phase
from merge.smtp.meaning import (
    AUTH,
    BANNER,
    BODY,
    DATA,
    EHLO,
    END_OF_DATA,
    HELO,
    MAIL,
    NOOP,
    QUIT,
    RCPT,
    RSET,
    STARTTLS,
    Run,
    Verdict,
)
from merge.smtp.reply import Garbled, Reply, ReplyReader

CHALLENGES = 5
"""How many questions of the server's one login may take."""

CAUTION = 3
"""After so many refused recipients in a row, DATA waits for RCPT's answer: refusals count twice otherwise,
and servers hang up after 10 to 20 of them."""

WINDOW_BYTES = 4 * 1024 * 1024
"""How much one window may weigh; a larger message goes alone."""

PING, PINGS = 100.0, 6
"""An idle line gets a NOOP after so many seconds, so many times; then it is closed politely."""

_NOT_UNDERSTOOD = (500, 502, 503)
_NO_BDAT = (500, 501, 502, 503, 504)
_AFTERWARDS = "after the reply"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for a whole reply, however many pieces it comes in (RFC 5321, 4.5.3.2)."""

    connect: float = 30.0
    handshake: float = 30.0
    opening: float = 300.0
    envelope: float = 300.0
    data: float = 120.0
    block: float = 180.0  # without a byte of the body taken
    end_of_data: float = 600.0  # shorter makes uncertain rows out of slow ones
    reset: float = 20.0
    quit: float = 5.0
    afterwards: float = 5.0  # for the rest of a reply that nobody asked for

    def of(self, stage: str) -> float:
        """Return the seconds for a reply at that stage."""
        match stage:
            case "MAIL" | "RCPT":
                return self.envelope
            case "DATA":
                return self.data
            case "body":
                return self.block
            case "end of data":
                return self.end_of_data
            case "RSET" | "NOOP":
                return self.reset
            case "QUIT":
                return self.quit
            case "after the reply":
                return self.afterwards
        return self.opening


# What to do.


@dataclass(frozen=True, slots=True)
class Write:
    """Write all of it, unless something unread has arrived. `body`: stop as soon as something arrives."""

    data: bytes
    body: bool = False


@dataclass(frozen=True, slots=True)
class Commit:
    """Record these cases as committing, then write.

    `ends` are the offsets in `data` after which each case may count as accepted.
    """

    cases: tuple[Case, ...]
    data: bytes
    ends: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """Wait for bytes. The same object again means: the same reply, the same deadline."""

    stage: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Handshake:
    """Start TLS on the line."""


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing to do. After `seconds` of it the line wants to be kept alive."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hangup:
    """Close the line. `run` says what then; GO_ON means at once, and no loss.

    `least` and `tries` are those of the Verdict; `stage` groups the tries.
    """

    run: Run
    reason: str
    hint: str = ""
    least: float = 0.0
    tries: int = 0
    stage: str = ""


Step: TypeAlias = Write | Commit | Read | Handshake | Idle | Hangup

# What came of it.


@dataclass(frozen=True, slots=True)
class Done:
    """It was done; `heard` arrived meanwhile."""

    heard: bytes = b""


@dataclass(frozen=True, slots=True)
class Unread:
    """It was not done, or not to the end: `heard` was there first."""

    heard: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """The line is gone, or silent for too long; `heard` is what could still be read."""

    reason: str
    heard: bytes = b""


@dataclass(frozen=True, slots=True)
class Tick:
    """The time of an Idle is up."""


@dataclass(frozen=True, slots=True)
class Leave:
    """An Idle ends because there is nothing more to send."""


Event: TypeAlias = Done | Unread | Lost | Tick | Leave
Talk: TypeAlias = Generator[Step, Event]


@dataclass(frozen=True, slots=True)
class Terms:
    """What this side brings to a line."""

    ehlo_name: str
    starttls: bool
    private: bool  # TLS now or before anything secret is said
    credentials: auth.Credentials | None = None
    mechanisms: tuple[str, ...] = ()


@dataclass(slots=True)
class Habits:
    """What was learnt about a server, kept from line to line.

    `level` is the highest that may be tried, `window` the messages of level 3 (0: none), `limit` the messages
    of one line (0: no limit).
    """

    level: int = 2
    window: int = 0
    limit: int = 0
    grouped: bool = False  # a group has been answered in full
    windowed: bool = False  # a BDAT has been accepted
    refusals: int = 0  # recipients refused in a row
    _ended_at: int = 0

    def line_ended(self, carried: int, *, told: bool) -> None:
        """Learn from a server that hangs up after a number of messages: when it says so, or does it twice."""
        if carried and (told or carried == self._ended_at) and (not self.limit or carried < self.limit):
            self.limit = carried
        self._ended_at = carried


class _Over(Exception):  # noqa: N818 - the end of a line is no error of the program
    """The line ends here. `slipped`: replies can no longer be told apart. `told`: a reply says so."""

    def __init__(  # noqa: PLR0913 - the fields of a Hangup, and one of its own
        self,
        run: Run,
        reason: str,
        *,
        hint: str = "",
        least: float = 0.0,
        tries: int = 0,
        stage: str = "",
        slipped: bool = False,
        polite: bool = False,
        told: bool = False,
    ) -> None:
        super().__init__(reason)
        self.hangup = Hangup(run, reason, hint, least, tries, stage)
        self.slipped = slipped
        self.polite = polite
        self.told = told


@dataclass(frozen=True, slots=True)
class _Command:
    stage: str
    data: bytes
    address: str = ""


Progress: TypeAlias = Literal["ready", "data next", "lone dot", "settled", "again"]


@dataclass(slots=True)
class Dialogue:
    """One line, from its banner to its end.

    `extensions` are the server's, read anew after TLS; `banner` is what it said first; `carried` counts the
    messages it took an envelope for.
    """

    terms: Terms
    docket: Docket
    habits: Habits
    deadlines: Deadlines = field(default_factory=Deadlines)
    banner: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict)
    mechanism: str = ""
    opened: bool = False
    carried: int = 0
    step: Step = field(init=False)
    _reader: ReplyReader = field(init=False, default_factory=ReplyReader)
    _talk: Talk = field(init=False)
    _lost: str = field(init=False, default="")
    _adapting: bool = field(init=False, default=False)  # the level has just fallen
    _stale: bool = field(init=False, default=False)  # a transaction was left open: RSET comes before MAIL

    def __post_init__(self) -> None:
        self._talk = self._converse()
        self.step = next(self._talk)

    @property
    def level(self) -> int:
        """How much goes in one write on this line."""
        if "PIPELINING" not in self.extensions:
            return 0
        if self.habits.level == 2 and self.habits.window and "CHUNKING" in self.extensions:  # noqa: PLR2004 - a level
            return 3
        return self.habits.level

    @property
    def size_limit(self) -> int:
        """The largest message that the server takes, in bytes (RFC 1870); 0: it does not say."""
        size = self.extensions.get("SIZE", "").split(" ")[0]
        return int(size) if size.isdecimal() and size.isascii() else 0

    def resume(self, event: Event) -> None:
        """Report what came of `step`; `step` is then the next one."""
        self.step = self._talk.send(event)

    # The whole line

    def _converse(self) -> Talk:
        try:
            yield from self._open()
            self.opened = True
            while True:
                yield from self._serve()
        except _Over as over:
            self.docket.settle(over.hangup.reason)
            if over.polite:
                yield from self._quit()
            end = over.hangup
            if self._adapting and end.run is Run.RECONNECT:
                end = Hangup(Run.GO_ON, end.reason)
        while True:
            yield end

    def _serve(self) -> Talk:
        case = self.docket.next()
        if case is None:
            yield from self._idle()
        elif self.habits.limit and self.carried >= self.habits.limit:
            raise _Over(Run.GO_ON, f"{self.carried} messages on this connection", polite=True)
        elif (
            self.level == 3 and len(case.delivery.envelope.recipients) == 1 and self.habits.refusals < CAUTION
        ):  # noqa: PLR2004 - a level
            yield from self._window()
        else:
            yield from self._letters(case)

    # Saying and hearing

    def _write(self, stage: str, data: bytes) -> Talk:
        """Say it; whatever was heard before, unasked, ends the line."""
        if self._reader.unread:
            yield from self._unasked(stage)
        event = yield Write(data)
        if isinstance(event, Unread):
            self._reader.feed(event.heard)
            yield from self._unasked(stage)
        self._take(event)

    def _take(self, event: Event) -> None:
        """Keep what was heard. A line that broke under a write may still hold an answer: it is read first."""
        if isinstance(event, Lost):
            self._lost = event.reason
        if isinstance(event, Done | Lost):
            self._reader.feed(event.heard)

    def _hear(self, stage: str) -> Generator[Step, Event, Reply]:
        """Return the next reply; an unreadable one, silence and the end of the line raise _Over."""
        read = Read(stage, self.deadlines.of(stage))
        try:
            while (reply := self._reader.next()) is None:
                if self._lost:
                    self._gone(stage, self._lost)
                self._take((yield read))
        except Garbled as garbled:
            run = Run.STOP if stage in {BANNER, EHLO, HELO, STARTTLS, AUTH} else Run.RECONNECT
            hint = "Is this the right port, and an SMTP server?" if run is Run.STOP else ""
            raise _Over(run, garbled.message, hint=hint, stage=stage, slipped=True) from None
        return reply

    def _ask(self, stage: str, data: bytes) -> Generator[Step, Event, Reply]:
        yield from self._write(stage, data)
        return (yield from self._hear(stage))

    def _gone(self, stage: str, reason: str) -> NoReturn:
        tries = 2 if stage == AUTH else 0  # the server may count attempts: do not knock for ever
        raise _Over(Run.RECONNECT, reason, tries=tries, stage=stage)

    def _unasked(self, stage: str) -> Talk:
        """End the line: bytes have arrived that no command asked for. Always raises _Over."""
        try:
            reply = yield from self._hear(_AFTERWARDS)
        except _Over as over:
            if b"421".startswith(self._reader.fragment) and not over.slipped:
                raise
            raise _Over(Run.RECONNECT, over.hangup.reason, stage=stage, slipped=True) from None
        if reply.code == 421:  # noqa: PLR2004 - a reply code
            self._leaving(reply)
            self._end(stage, reply)
        raise _Over(Run.RECONNECT, f"a reply that nobody asked for: {reply}", stage=stage, slipped=True)

    def _leaving(self, reply: Reply) -> None:
        told = "too many messages" in reply.text.lower() or "messages per connection" in reply.text.lower()
        self.habits.line_ended(self.carried, told=told)

    def _end(
        self, stage: str, reply: Reply, verdict: Verdict | None = None, *, polite: bool = False
    ) -> NoReturn:
        """End the line as the reply demands."""
        verdict = verdict or meaning.judge(stage, reply)
        if verdict is None:
            raise _Over(Run.RECONNECT, f"not an answer to {stage}: {reply}", stage=stage, slipped=True)
        run = Run.RECONNECT if verdict.run is Run.GO_ON else verdict.run
        raise _Over(
            run,
            f"{stage}: {reply}",
            hint=verdict.hint,
            least=verdict.least,
            tries=verdict.tries,
            stage=stage,
            polite=polite and reply.code != 421,  # noqa: PLR2004 - a reply code
            told=True,
        )

    def _quit(self) -> Talk:
        """Take leave; nothing that happens now matters."""
        if isinstance((yield Write(command.QUIT)), Done):
            yield Read(QUIT, self.deadlines.quit)

    # The opening

    def _open(self) -> Talk:
        reply = yield from self._hear(BANNER)
        if (verdict := meaning.judge(BANNER, reply)) is None or verdict.run is not Run.GO_ON:
            self._end(BANNER, reply, verdict)
        self.banner = reply.text
        yield from self._greet()
        if self.terms.starttls:
            yield from self._secure()
            yield from self._greet()
        if self.terms.credentials:
            yield from self._login(self.terms.credentials)

    def _greet(self) -> Talk:
        reply = yield from self._ask(EHLO, command.ehlo(self.terms.ehlo_name))
        plain = not self.terms.private and not self.terms.credentials
        if reply.code in {500, 502} and plain:
            reply = yield from self._ask(HELO, command.ehlo(self.terms.ehlo_name, "HELO"))
            if reply.code != 250:  # noqa: PLR2004 - a reply code
                self._end(HELO, reply)
            self.extensions = {}
            return
        if reply.code != 250:  # noqa: PLR2004 - a reply code
            self._end(EHLO, reply)
        self.extensions = _extensions(reply)

    def _secure(self) -> Talk:
        if "STARTTLS" not in self.extensions:
            raise _Over(
                Run.STOP,
                "the server does not offer STARTTLS; nothing was said without it",
                hint='If it speaks TLS from the start (usually port 465), set security = "tls".'
                " Otherwise someone may be interfering with the connection.",
                stage=STARTTLS,
            )
        reply = yield from self._ask(STARTTLS, command.STARTTLS)
        if reply.code != 220:  # noqa: PLR2004 - a reply code
            self._end(STARTTLS, reply)
        if self._reader.unread:
            raise _Over(
                Run.STOP,
                "the server, or someone on the way, sent more than an answer to STARTTLS",
                hint="Someone may be interfering with the connection. Try another network.",
                stage=STARTTLS,
            )
        self.extensions = {}
        event = yield Handshake()
        if isinstance(event, Unread):
            raise _Over(
                Run.STOP,
                "plain text arrived before the TLS handshake",
                hint="Someone may be interfering with the connection. Try another network.",
                stage=STARTTLS,
            )
        if isinstance(event, Lost):
            self._gone(STARTTLS, event.reason)

    def _login(self, credentials: auth.Credentials) -> Talk:
        offered = self.extensions.get("AUTH", "").split()
        name = auth.choose(offered, credentials, private=self.terms.private, allowed=self.terms.mechanisms)
        if name is None:
            what = f"only {', '.join(offered)}" if offered else "no login"
            raise _Over(
                Run.STOP,
                f"the server offers {what}: nothing that fits this account",
                hint="If it needs no login, leave user and password out."
                if not offered
                else "Set a password for PLAIN or LOGIN, a token for XOAUTH2 or OAUTHBEARER.",
                stage=AUTH,
            )
        self.mechanism = name
        try:
            yield from self._exchange(auth.begin(name, credentials), credentials.user)
        except auth.ExchangeError as error:
            raise _Over(Run.STOP, f"the login with {name} failed: {error.message}", stage=AUTH) from None

    def _exchange(self, exchange: auth.Exchange, user: str) -> Talk:
        initial = exchange.initial
        reply = yield from self._ask(
            AUTH, command.auth(exchange.name, None if initial is None else base64.b64encode(initial))
        )
        for _ in range(CHALLENGES):
            if reply.code != 334:  # noqa: PLR2004 - a reply code
                break
            try:
                answer = exchange.answer(base64.b64decode(reply.lines[0].strip("= ") + "==="))
            except binascii.Error:
                raise auth.ExchangeError("the server's question is not base64") from None
            reply = yield from self._ask(AUTH, base64.b64encode(answer) + b"\r\n")
        if reply.code == 334:  # noqa: PLR2004 - a reply code
            raise auth.ExchangeError(f"more than {CHALLENGES} questions")
        if reply.code != 235:  # noqa: PLR2004 - a reply code
            verdict = meaning.judge(AUTH, reply) or Verdict(None, Run.STOP)
            raise _Over(
                verdict.run,
                f"refused the login for {user} ({reply.status})" if reply.kind == 5 else f"login: {reply}",  # noqa: PLR2004 - the class of a reply
                hint=" ".join(part for part in (verdict.hint, f"The server says: {reply}") if part),
                least=verdict.least,
                tries=verdict.tries,
                stage=AUTH,
            )
        exchange.finish()

    # Idle

    def _idle(self) -> Talk:
        for _ in range(PINGS):
            event = yield Idle(PING)
            if isinstance(event, Unread):
                self._reader.feed(event.heard)
                yield from self._unasked(NOOP)
            if isinstance(event, Lost):
                self._gone(NOOP, event.reason)
            if isinstance(event, Leave):
                break
            if self.docket.next():
                return
            if isinstance(event, Tick):
                reply = yield from self._ask(NOOP, command.NOOP)
                if reply.code != 250:  # noqa: PLR2004 - a reply code
                    self._end(NOOP, reply)
        raise _Over(Run.GO_ON, "nothing to send", polite=True)

    # One letter after the other

    def _letters(self, case: Case) -> Talk:
        """Carry this letter, and those whose envelopes may ride behind an end of data."""
        progress = yield from self._envelope(case)
        while progress == "ready":
            yield from self._body(case)
            follower = self._follower()
            group = self._opening(follower) if follower else []
            yield from self._commit(case, command.END_OF_DATA + b"".join(said.data for said in group))
            outcome, verdict = yield from self._answer(case)
            try:
                progress = (yield from self._answers(follower, group, behind=True)) if follower else "settled"
                if self._reader.unread:
                    yield from self._unasked(END_OF_DATA)
            except _Over as over:
                if not over.slipped:
                    case.outcome = outcome
                raise
            case.outcome = outcome
            if verdict.run is not Run.GO_ON:
                raise _Over(
                    verdict.run,
                    f"{END_OF_DATA}: {outcome.code} {outcome.reply}",
                    hint=verdict.hint,
                    least=verdict.least,
                    tries=verdict.tries,
                    stage=END_OF_DATA,
                )
            if follower:
                case = follower
                progress = yield from self._further(case, progress)

    def _answer(self, case: Case) -> Generator[Step, Event, tuple[Outcome, Verdict]]:
        """Hear what became of a message whose end was written; anything but a verdict raises _Over, slipped."""
        reply = yield from self._hear(END_OF_DATA)
        verdict = meaning.judge(END_OF_DATA, reply)
        if verdict is None or verdict.row is None:
            self._end(END_OF_DATA, reply)
        outcome = _outcome(case.delivery, verdict.row, END_OF_DATA, reply)
        if reply.code == 421:  # noqa: PLR2004 - a reply code
            case.outcome = outcome
            self._leaving(reply)
            self._end(END_OF_DATA, reply, verdict)
        return outcome, verdict

    def _follower(self) -> Case | None:
        """Return the letter whose envelope may ride behind the end of data, if there is one."""
        if self.level != 2 or (self.habits.limit and self.carried >= self.habits.limit):  # noqa: PLR2004 - a level
            return None
        while (case := self.docket.next()) and self._unfit(case):
            pass
        return case

    def _unfit(self, case: Case) -> bool:
        """Settle a letter that this server cannot take, before saying anything of it."""
        delivery, limit, reason = case.delivery, self.size_limit, ""
        if limit and len(delivery.content) > limit:
            reason = f"the message has {len(delivery.content)} bytes, the server takes {limit}"
        elif delivery.envelope.needs_smtputf8 and "SMTPUTF8" not in self.extensions:
            reason = "the address goes beyond ASCII, and the server does not offer SMTPUTF8"
        elif not delivery.content.isascii() and "8BITMIME" not in self.extensions:
            reason = "the message holds 8-bit bytes, and the server does not offer 8BITMIME"
        if reason:
            case.outcome = Outcome(delivery.key, delivery.row, State.FAILED, MAIL, reply=reason)
        return bool(reason)

    def _mail(self, delivery: Delivery) -> _Command:
        content = delivery.content
        return _Command(
            MAIL, command.mail(delivery.envelope, len(content), not content.isascii(), self.extensions)
        )

    def _opening(self, case: Case) -> list[_Command]:
        """Return what may be said of a letter before anything is heard; marks it as begun."""
        case.phase = Phase.BEGUN
        recipients = case.delivery.envelope.recipients
        group = [_Command(RSET, command.RSET)] if self._stale else []
        group.append(self._mail(case.delivery))
        group += [_Command(RCPT, command.rcpt(address), address) for address in recipients]
        # A 354 after a partial refusal could only be answered by an empty letter to those accepted.
        if len(recipients) == 1 and self.habits.refusals < CAUTION:
            group.append(_Command(DATA, command.DATA))
        return group

    def _envelope(self, case: Case) -> Generator[Step, Event, Progress]:
        """Say who the letter is from and for, up to the server's 354."""
        if self._unfit(case):
            return "settled"
        group = self._opening(case)
        if self.level:
            try:
                yield from self._write(MAIL, b"".join(said.data for said in group))
                progress = yield from self._answers(case, group)
            except _Over as over:
                if not self.habits.grouped and not over.told and over.hangup.run is Run.RECONNECT:
                    self.habits.level = 0
                    raise _Over(Run.GO_ON, over.hangup.reason, slipped=over.slipped) from None
                raise
            self.habits.grouped = True
        else:
            progress = yield from self._answers(case, group, one_by_one=True)
        return (yield from self._further(case, progress))

    def _answers(
        self, case: Case, group: Sequence[_Command], *, behind: bool = False, one_by_one: bool = False
    ) -> Generator[Step, Event, Progress]:
        """Hear the answers to an envelope, each in its place, and settle the letter if it is refused.

        `behind`: the group rode behind an end of data. `one_by_one`: nothing of it was said yet.
        """
        refused: list[tuple[_Command, Reply]] = []
        last = None
        for said in group:
            if one_by_one:
                if refused and (said.stage == DATA or refused[0][0].stage != RCPT):
                    break
                yield from self._write(said.stage, said.data)
            try:
                last = yield from self._hear(said.stage)
            except _Over as over:
                if refused and not over.slipped:
                    self._cut_short(case, refused, group, behind=behind)
                raise
            self._fits(said, last)
            if last.code == 421:  # noqa: PLR2004 - a reply code
                if refused:
                    self._cut_short(case, refused, group, behind=behind)
                self._leaving(last)
                if said.stage == DATA and case.outcome is None:
                    case.outcome = _outcome(case.delivery, State.DEFERRED, DATA, last)
                self._end(said.stage, last)
            if said.stage == MAIL and last.kind == 2:  # noqa: PLR2004 - the class of a reply
                self.carried += 1
            if last.kind >= 4:  # noqa: PLR2004 - the class of a reply
                refused.append((said, last))
        if refused and not one_by_one and self._lowers(refused[0], group, behind=behind):
            if last is not None and last.code == 354:  # noqa: PLR2004 - a reply code
                raise _Over(Run.GO_ON, "the server answers out of sequence", slipped=True)
            self._stale = True
            case.phase = Phase.OFFERED
            return "again"
        return self._weigh(case, group, refused, last)

    def _cut_short(
        self,
        case: Case,
        refused: Sequence[tuple[_Command, Reply]],
        group: Sequence[_Command],
        *,
        behind: bool,
    ) -> None:
        """Settle what can be settled when a line ends amid the answers, after a refusal."""
        if len(group) > 1 and self.level and self._lowers(refused[0], group, behind=behind):
            raise _Over(Run.GO_ON, f"{refused[0][0].stage}: {refused[0][1]}")
        verdict = self._refused(case, refused)
        if verdict.run not in {Run.GO_ON, Run.RECONNECT}:
            self._end(refused[0][0].stage, refused[0][1], verdict)

    def _weigh(
        self,
        case: Case,
        group: Sequence[_Command],
        refused: Sequence[tuple[_Command, Reply]],
        last: Reply | None,
    ) -> Progress:
        """Decide what a letter's answers, all heard, come to."""
        if not refused:
            self._stale = self._adapting = False
            self.habits.refusals = 0
            return "ready" if group[-1].stage == DATA else "data next"
        said, reply = refused[0]
        self._stale = True
        if said.stage == RSET:
            self._end(RSET, reply)
        if said.stage == RCPT:
            self.habits.refusals += 1
        verdict = self._refused(case, refused)
        if last is not None and last.code == 354:  # noqa: PLR2004 - a reply code
            if said.stage != RCPT:
                raise _Over(Run.RECONNECT, f"DATA was accepted after {said.stage} was not", stage=said.stage)
            if verdict.run is Run.GO_ON:
                return "lone dot"
        if verdict.run is not Run.GO_ON:
            self._end(said.stage, reply, verdict, polite=last is not None and last.code != 354)  # noqa: PLR2004 - a reply code
        return "settled"

    def _refused(self, case: Case, refused: Sequence[tuple[_Command, Reply]]) -> Verdict:
        """Settle a letter by its refusals: all recipients or none (RFC 5321, 3.3 leaves that to the client)."""
        first, reply = refused[0]
        if first.stage == RCPT:
            worst = [(said, heard) for said, heard in refused if said.stage == RCPT and heard.kind == 5]  # noqa: PLR2004 - the class of a reply
            first, reply = (worst or refused)[0]
        verdict = meaning.judge(first.stage, reply)
        if verdict is None:
            self._end(first.stage, reply)
        if verdict.row is not None:
            case.outcome = _outcome(case.delivery, verdict.row, first.stage, reply, first.address)
        return verdict

    def _fits(self, said: _Command, reply: Reply) -> None:
        """End the line if a reply cannot be the answer to what was said."""
        fits = {4, 5} if said.stage == DATA else {2, 4, 5}
        if reply.kind not in fits and not (said.stage == DATA and reply.code == 354):  # noqa: PLR2004 - a reply code
            raise _Over(
                Run.RECONNECT, f"not an answer to {said.stage}: {reply}", stage=said.stage, slipped=True
            )

    def _lowers(self, first: tuple[_Command, Reply], group: Sequence[_Command], *, behind: bool) -> bool:
        """Whether a refusal is of the grouping, not of the letter; then the level falls."""
        said, reply = first
        if reply.code not in _NOT_UNDERSTOOD:
            return False
        if said is group[0] and behind:
            if reply.code != 503:  # noqa: PLR2004 - a reply code
                return False
            self.habits.level = min(self.habits.level, 1)
        else:
            self.habits.level = 0
        self._adapting = True
        return True

    def _further(self, case: Case, progress: Progress) -> Generator[Step, Event, Progress]:
        """Say what had to wait for the answers to an envelope."""
        if progress == "data next":
            progress = yield from self._answers(case, [_Command(DATA, command.DATA)], one_by_one=True)
        if progress == "lone dot":
            # RFC 2920, 3.1: nobody is to receive it, so an empty message ends the state. Its answer is moot.
            yield from self._ask(DATA, command.END_OF_DATA)
        return progress

    def _body(self, case: Case) -> Talk:
        """Write the message without its end: whatever breaks here breaks nothing."""
        if self._reader.unread:
            yield from self._early(case)
        event = yield Write(command.stuff(case.delivery.content), body=True)
        yield from self._spoken_over(case, event)

    def _commit(self, case: Case, data: bytes) -> Talk:
        """Write the end of a message, and what rides behind it, once it is on record."""
        event = yield Commit((case,), data, (len(command.END_OF_DATA),))
        if case.phase is Phase.DOUBTFUL:
            self._take(event)
        else:
            yield from self._spoken_over(case, event)

    def _spoken_over(self, case: Case, event: Event) -> Talk:
        """Go on only if the server kept silent while it was spoken to."""
        if isinstance(event, Unread | Lost):
            self._reader.feed(event.heard)
            yield from self._early(case, event.reason if isinstance(event, Lost) else "")

    def _early(self, case: Case, lost: str = "") -> Talk:
        """Hear a reply that came before the message's end. Always raises _Over."""
        if lost:
            try:
                reply = self._reader.next()
            except Garbled:
                reply = None
            if reply is None:
                self._gone(BODY, lost)
        else:
            reply = yield from self._hear(BODY)
        verdict = meaning.judge(BODY, reply)
        if verdict is None:
            raise _Over(Run.RECONNECT, f"a reply before the message's end: {reply}", stage=BODY, slipped=True)
        if verdict.row is not None:
            case.outcome = _outcome(case.delivery, verdict.row, BODY, reply)
        self._end(BODY, reply, verdict)

    # A window of whole messages

    def _window(self) -> Talk:
        """Carry as many messages as fit in one write, each a transaction of its own, then hear of them all."""
        cases = self._windowful()
        if not cases:
            return
        data, ends = bytearray(), []
        for case in cases:
            case.phase = Phase.BEGUN
            content, recipient = case.delivery.content, case.delivery.envelope.recipients[0]
            # RSET ends whatever a refusal left open: Exim queued letters under the wrong sender without it.
            data += command.RSET + self._mail(case.delivery).data + command.rcpt(recipient)
            data += command.bdat(len(content)) + content
            ends.append(len(data))
        event = yield Commit(tuple(cases), bytes(data), tuple(ends))
        if not self.docket.doubtful:
            if isinstance(event, Lost):
                self._gone(MAIL, event.reason)
            self._reader.feed(event.heard if isinstance(event, Unread) else b"")
            yield from self._unasked(MAIL)
        self._take(event)
        yield from self._window_answers(cases)

    def _windowful(self) -> list[Case]:
        """Return the next cases that may go in one window: a first message alone shows whether BDAT works."""
        most = self.habits.window if self.habits.windowed else 1
        if self.habits.limit:
            most = min(most, self.habits.limit - self.carried)
        cases: list[Case] = []
        weight = 0
        for case in self.docket.offered():
            if len(cases) == most or len(case.delivery.envelope.recipients) > 1:
                break
            weight += len(case.delivery.content)
            if cases and weight > WINDOW_BYTES:
                break
            if not self._unfit(case):
                cases.append(case)
        return cases

    def _window_answers(self, cases: Sequence[Case]) -> Talk:
        """Hear of each message of a window in turn; none is settled before the whole window has parsed."""
        results: list[tuple[Case, Outcome | None]] = []
        ends: list[tuple[str, Reply, Verdict]] = []
        try:
            for case in cases:
                stage, reply, verdict = yield from self._whole(case)
                row = verdict.row
                address = case.delivery.envelope.recipients[0] if stage == RCPT else ""
                results.append((case, row and _outcome(case.delivery, row, stage, reply, address)))
                if verdict.run is not Run.GO_ON:
                    ends.append((stage, reply, verdict))
            if self._reader.unread:
                yield from self._unasked(END_OF_DATA)
        except _Over as over:
            self.habits.window = 0
            if not over.slipped:
                _settle(results)
            raise
        _settle(results)
        self.habits.grouped = self.habits.windowed = True
        for end in ends:
            self._end(*end, polite=True)

    def _whole(self, case: Case) -> Generator[Step, Event, tuple[str, Reply, Verdict]]:
        """Hear the four answers to one message of a window; return the one that decides."""
        refusal: tuple[str, Reply] | None = None
        for stage in (RSET, MAIL, RCPT, END_OF_DATA):
            reply = yield from self._hear(stage)
            if reply.code == 421:  # noqa: PLR2004 - a reply code
                self._leaving(reply)
                if stage != END_OF_DATA or refusal:
                    case.phase = Phase.BEGUN  # refused before its content could count
                else:
                    case.outcome = _outcome(case.delivery, State.DEFERRED, END_OF_DATA, reply)
                self._end(stage, reply)
            if reply.kind not in {2, 4, 5} or (refusal and stage == END_OF_DATA and reply.kind == 2):  # noqa: PLR2004 - the class of a reply
                raise _Over(Run.RECONNECT, f"not an answer to {stage}: {reply}", stage=stage, slipped=True)
            if stage == RSET and reply.kind != 2:  # noqa: PLR2004 - the class of a reply
                raise _Over(Run.RECONNECT, f"not an answer to RSET: {reply}", stage=stage, slipped=True)
            if stage == MAIL and reply.kind == 2:  # noqa: PLR2004 - the class of a reply
                self.carried += 1
            if stage == RCPT and not refusal:
                self.habits.refusals = 0 if reply.kind == 2 else self.habits.refusals + 1  # noqa: PLR2004 - the class of a reply
            if reply.kind >= 4 and not refusal:  # noqa: PLR2004 - the class of a reply
                refusal = stage, reply
        stage, reply = refusal or (END_OF_DATA, reply)
        if stage == END_OF_DATA and reply.code in _NO_BDAT:
            # The server may be reading the message as commands by now: leave at once.
            case.phase = Phase.BEGUN
            raise _Over(Run.GO_ON, f"BDAT: {reply}")
        verdict = meaning.judge(stage, reply)
        if verdict is None:
            self._end(stage, reply)
        return stage, reply, verdict


def _settle(results: Sequence[tuple[Case, Outcome | None]]) -> None:
    """Give each case its outcome; one without was refused for no fault of its own and waits again."""
    for case, outcome in results:
        if outcome is None:
            case.phase = Phase.OFFERED
        else:
            case.outcome = outcome


def _outcome(delivery: Delivery, state: State, stage: str, reply: Reply, recipient: str = "") -> Outcome:
    if stage == BODY:
        stage = END_OF_DATA  # an early answer to the whole message
    return Outcome(
        delivery.key, delivery.row, state, stage, reply.code, reply.enhanced, reply.text, recipient
    )


def _extensions(reply: Reply) -> dict[str, str]:
    """Return keyword -> parameters; the old form "AUTH=LOGIN" counts as AUTH."""
    found: dict[str, str] = {}
    for line in reply.lines[1:]:
        keyword, _, rest = line.strip().partition(" ")
        keyword = keyword.upper()
        if keyword.startswith("AUTH="):
            keyword, rest = "AUTH", f"{keyword[5:]} {rest}"
        found[keyword] = f"{found.get(keyword, '')} {rest}".strip() if keyword == "AUTH" else rest.strip()
    return found
