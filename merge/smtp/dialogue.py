"""What to say next, given what was heard? One conversation with one server, without a socket or a clock.

`Dialogue.step` is what to do now; whoever has the line does it and reports by `Dialogue.resume`; `step` is
then the next thing. Replies are matched by place: each is read where the command that asked for it was said,
so that one too many or one too few shows. From banner to end:

    banner, EHLO [, STARTTLS, handshake, EHLO] [, AUTH]                          opening
    MAIL, RCPT, DATA, body, commit, final dot [with the next MAIL, RCPT, DATA]   letters
    commit, then RSET, MAIL, RCPT, BDAT, a window of them, NOOP                  window
    waiting, NOOP                                                                here
    QUIT, or dropping the line                                                   Over, Hangup
"""

from __future__ import annotations

from dataclasses import dataclass, field

from merge.smtp import command, letters, opening, window
from merge.smtp.docket import Docket
from merge.smtp.line import WINDOWED, Habits, Line, Over
from merge.smtp.meaning import NOOP, Run
from merge.smtp.opening import Terms
from merge.smtp.steps import REFILL, Deadlines, Event, Hangup, Idle, Leave, Lost, Step, Talk, Tick

PING, PINGS = 100.0, 6
"""An idle line gets a NOOP after so many seconds, so many times; then it is closed politely."""


@dataclass(slots=True)
class Dialogue:
    """One conversation, from banner to end.

    `docket` holds the deliveries and gets their outcomes, `habits` what is learnt for the next line.
    `opened` says whether letters may go.
    """

    terms: Terms
    docket: Docket
    habits: Habits
    deadlines: Deadlines = field(default_factory=Deadlines)
    opened: bool = False
    line: Line = field(init=False)
    step: Step = field(init=False)
    _talk: Talk = field(init=False)

    def __post_init__(self) -> None:
        self.line = Line(self.docket, self.habits, self.deadlines)
        self._talk = self._converse()
        self.step = next(self._talk)

    def resume(self, event: Event) -> None:
        """Report what came of `step`."""
        self.step = self._talk.send(event)

    def _converse(self) -> Talk:
        try:
            yield from opening.make_ready(self.line, self.terms)
            self.opened = True
            while True:
                yield from self._serve()
        except Over as over:
            self.docket.settle(f"the server {over.hangup.reason}")
            if over.polite:
                yield from self.line.quit()
            end = over.hangup
        if self.line.adapting and end.run is Run.RECONNECT:
            end = Hangup(Run.GO_ON, end.reason)
        while True:
            yield end

    def _serve(self) -> Talk:
        case = self.docket.next()
        if case is None:
            yield from self._idle()
        elif self.line.full:
            had = "was logged in to" if self.line.spent else f"has had {self.line.carried} messages"
            raise Over(Hangup(Run.GO_ON, f"{had} on this line"), polite=True)
        elif self._may_window(len(case.delivery.envelope.recipients)):
            yield REFILL
            yield from window.carry(self.line)
        else:
            yield from letters.carry(self.line, case)
            yield REFILL

    def _may_window(self, recipients: int) -> bool:
        # A window cannot wait for the answers to several recipients, and refusals in it count twice.
        return self.line.level == WINDOWED and recipients == 1 and self.habits.refusals < letters.CAUTION

    def _idle(self) -> Talk:
        for _ in range(PINGS):
            event = yield Idle(PING)
            self.line.take(event)
            yield from self.line.nothing_unread(NOOP)
            if isinstance(event, Lost):
                self.line.end(Run.RECONNECT, event.reason, NOOP)
            if isinstance(event, Leave):
                break
            if self.docket.next():
                return
            if isinstance(event, Tick):
                reply = yield from self.line.ask(NOOP, command.NOOP)
                if not reply.ok:
                    self.line.answered_badly(NOOP, reply)
        raise Over(Hangup(Run.GO_ON, "has nothing more to take"), polite=True)
