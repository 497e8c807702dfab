"""How is something said and heard on one line, each reply in its place?

Saying and hearing are parts of a conversation (`Talk`): they yield what is to be done and are told what came
of it. Whatever ends the line raises `Over`.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from merge.smtp import command, meaning
from merge.smtp.docket import Docket
from merge.smtp.meaning import AFTERWARDS, AUTH, BANNER, EHLO, HELO, QUIT, STARTTLS, Run, Verdict
from merge.smtp.reply import Garbled, Reply, ReplyReader
from merge.smtp.steps import Ask, Deadlines, Done, Event, Hangup, Lost, Read, Step, Talk, Unread

LOCK_STEP, GROUPED, RIDING, WINDOWED = 0, 1, 2, 3
"""The levels: one command, an envelope, an envelope behind a final dot, a window of messages in one write."""


@dataclass(slots=True)
class Habits:
    """What was learnt about a server, kept from line to line.

    `level` is the highest that may be tried, `window` the messages of level 3 (0: none), `limit` the messages
    of one line (0: no limit), `refusals` the recipients refused in a row.
    """

    level: int = RIDING
    window: int = 0
    limit: int = 0
    refusals: int = 0
    one_by_one: bool = False  # groups take longer here than their commands one by one
    grouped: bool = False  # a group has been answered in full
    groups_lost: int = 0  # how often a line ended on its first group, before any group was answered
    windowed: bool = False  # a message by BDAT has been answered in full
    ended_at: int = 0  # how many messages the last line carried when the server ended it

    def line_ended(self, carried: int, *, told: bool) -> None:
        """Learn the limit of a server that hangs up after `carried` messages: told why, or seen twice."""
        if carried and (told or carried == self.ended_at) and (not self.limit or carried < self.limit):
            self.limit = carried
        self.ended_at = carried


class Over(Exception):  # noqa: N818 - the end of a line is no error of the program
    """The line ends here.

    `slipped`: replies can no longer be told apart. `polite`: QUIT may be said first. `told`: the server has
    said that it ends.
    """

    def __init__(
        self, hangup: Hangup, *, slipped: bool = False, polite: bool = False, told: bool = False
    ) -> None:
        super().__init__(hangup.reason)
        self.hangup = hangup
        self.slipped = slipped
        self.polite = polite
        self.told = told


@dataclass(slots=True)
class Line:
    """One connection, as far as both sides have come on it.

    `extensions` are the server's (keyword -> parameters), read anew after TLS; `size_limit` is the largest
    message that it takes, in bytes (RFC 1870; 0: it does not say). `level` is how much goes in one write.
    `carried` counts the messages it took an envelope for; `stale`: a transaction was left open, so RSET comes
    before the next MAIL; `spent`: what it was opened with is about to end; `adapting`: the level has just
    fallen, so losing the line is no surprise; `silent`: what was not answered in time, or empty.
    """

    docket: Docket
    habits: Habits
    deadlines: Deadlines
    reader: ReplyReader = field(default_factory=ReplyReader)
    banner: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict)
    size_limit: int = 0
    level: int = LOCK_STEP
    mechanism: str = ""
    carried: int = 0
    stale: bool = False
    spent: bool = False
    adapting: bool = False
    silent: str = ""
    _lost: str = ""
    _late: bool = False
    _awaited: Read | None = None

    def learn(self, extensions: Mapping[str, str]) -> None:
        """Keep what the server offers, in place of what it offered before."""
        size = extensions.get("SIZE", "").partition(" ")[0]
        self.extensions = extensions
        # RFC 1870, 3 allows 20 digits. More say nothing, and Python refuses to read more than 4300.
        self.size_limit = int(size) if re.fullmatch("[0-9]{1,20}", size) else 0
        self._choose()

    def fall(self, level: int) -> None:
        """Put no more in one write than that, from now on."""
        self.habits.level = min(self.habits.level, level)
        self.habits.window = 0
        self._choose()

    def say_one_by_one(self, wanted: bool) -> None:  # noqa: FBT001 - the answer of Haste
        """Say one command at a time, or no longer."""
        if self.habits.one_by_one is not wanted:
            self.habits.one_by_one = wanted
            self._choose()

    def _choose(self) -> None:
        grouping = "PIPELINING" in self.extensions and not self.habits.one_by_one
        self.level = self.habits.level if grouping else LOCK_STEP
        if self.level == RIDING and self.habits.window and "CHUNKING" in self.extensions:
            self.level = WINDOWED

    @property
    def full(self) -> bool:
        """Whether this line has carried as many messages as one may, or may carry none any more."""
        return self.spent or (0 < self.habits.limit <= self.carried)

    def ask(self, stage: str, data: bytes) -> Generator[Step, Event, Reply]:
        """Say it, and return the answer."""
        yield from self.say(stage, data)
        return self.reader.at_hand() or (yield from self.hear(stage))

    def say(self, stage: str, data: bytes) -> Talk:
        """Say it, and wait for the first bytes of an answer; whatever was heard unasked ends the line."""
        if self.reader.unread or self.take((yield Ask(data, self.awaiting(stage)))):
            yield from self.nothing_unread(stage)

    def awaiting(self, stage: str) -> Read:
        """Return how to wait for the next reply, which `hear` will go on with."""
        self._awaited = Read(stage, self.deadlines.of(stage))
        return self._awaited

    def take(self, event: Event) -> bool:
        """Keep what was heard, and return whether it was there before anything could be said.

        A line that broke under a write may still hold an answer: it is read first.
        """
        if isinstance(event, Done):
            self.reader.feed(event.heard)
        elif isinstance(event, Lost):
            self._lost, self._late = event.reason, event.late
            self.reader.feed(event.heard)
        elif isinstance(event, Unread):
            self.reader.feed(event.heard)
            return True
        return False

    def hear(self, stage: str) -> Generator[Step, Event, Reply]:
        """Return the next reply. Raises Over for an unreadable one, silence, and the end of the line."""
        read, self._awaited = self._awaited, None
        if read is None or read.stage != stage:
            read = Read(stage, self.deadlines.of(stage))
        try:
            while (reply := self.reader.next()) is None:
                if self._lost:
                    self.silent = stage if self._late else ""
                    # The server may count attempts to log in: do not knock for ever.
                    self.end(Run.RECONNECT, self._lost, stage, tries=2 if stage == AUTH else 0)
                self.take((yield read))
        except Garbled as garbled:
            opening = stage in {BANNER, EHLO, HELO, STARTTLS, AUTH}
            hint = "Is this an SMTP server, and the right port and security?" if opening else ""
            said = "a greeting" if stage == BANNER else f"an answer to {stage}"
            reason = f"sent something else than {said}: {garbled.message}"
            end = Hangup(Run.STOP if opening else Run.RECONNECT, reason, hint, stage=stage)
            raise Over(end, slipped=True) from None
        return reply

    def nothing_unread(self, stage: str) -> Talk:
        """Raise Over if bytes have arrived that no command asked for: the conversation has slipped.

        A complete 421 is no slip: a server may say it at any time (RFC 5321, 3.8). Nor is its beginning.
        """
        if not self.reader.unread:
            return
        try:
            reply = yield from self.hear(AFTERWARDS)
        except Over as over:
            if not over.slipped and b"421".startswith(self.reader.fragment):
                raise
            raise Over(over.hangup, slipped=True) from None
        if reply.closing:
            self.answered_badly(stage, reply)
        self.slip(stage, f"said something that nobody asked for: {reply}")

    def slip(self, stage: str, reason: str) -> NoReturn:
        """End the line because replies can no longer be told apart."""
        raise Over(Hangup(Run.RECONNECT, reason, stage=stage), slipped=True)

    def end(self, run: Run, reason: str, stage: str, *, hint: str = "", tries: int = 0) -> NoReturn:
        """End the line for this reason."""
        raise Over(Hangup(run, reason, hint, tries=tries, stage=stage))

    def answered_badly(
        self,
        stage: str,
        reply: Reply,
        verdict: Verdict | None = None,
        *,
        reason: str = "",
        polite: bool = False,
    ) -> NoReturn:
        """End the line as the reply demands."""
        verdict = verdict or meaning.judge(stage, reply)
        reason = reason or (f"greeted with {reply}" if stage == BANNER else f"answered {stage} with {reply}")
        if verdict is None:
            self.slip(stage, reason)
        if reply.closing:
            told = (
                "too many messages" in reply.text.lower() or "messages per connection" in reply.text.lower()
            )
            self.habits.line_ended(self.carried, told=told)
        run = Run.RECONNECT if verdict.run is Run.GO_ON else verdict.run
        end = Hangup(run, reason, verdict.hint, verdict.least, verdict.tries, stage, verdict.slow)
        raise Over(end, polite=polite and not reply.closing, told=True)

    def quit(self) -> Talk:
        """Take leave; nothing that happens now matters."""
        yield Ask(command.QUIT, self.awaiting(QUIT))
