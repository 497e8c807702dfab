"""How does a letter leave, whatever happens to the line? A dialogue on a wire, reopened when it breaks.

`Session` is a carrier (merge.carrier). It connects when the first delivery is to be sent, keeps the line, and
takes another one when the server or the network ends it: with what was not past its commit point, never with
what was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from merge.errors import CarrierError, MergeError
from merge.model import Delivery, Outcome, State
from merge.smtp import command
from merge.smtp.account import Account, Login
from merge.smtp.again import SCHEDULE, Again, Exhausted
from merge.smtp.deeds import DONE, Hands
from merge.smtp.dialogue import Dialogue
from merge.smtp.docket import Docket
from merge.smtp.haste import Haste
from merge.smtp.line import LOCK_STEP, RIDING, WINDOWED, Habits, Line, Over
from merge.smtp.meaning import EHLO, NOOP, RSET, Run
from merge.smtp.steps import REFILL, Ask, Deadlines, Event, Hangup, Idle, Leave, Lost, Step
from merge.smtp.throttle import Throttle
from merge.smtp.wire import Broken, Clock, Security, UnknownName, Wire, acknowledges_at_once

__all__ = ["Account", "Greeting", "Session"]

Heard = TypeVar("Heard")

_PROBES = 3

_INTERRUPTED = "the run was interrupted before the server answered"


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a server says of itself to who has logged in.

    `tls` is such as "TLSv1.3", empty without TLS; `mechanism` that of the login, empty without one; `level`
    the level of pipelining that will be tried; `size_limit` is in bytes, 0 if it does not say. `issuer` has
    signed the certificate, which is good until `expires` (seconds since the epoch; 0 without TLS).
    `round_trip` is that of a NOOP, in seconds. `grouped`: several commands in one write were answered.
    """

    banner: str
    extensions: Mapping[str, str]
    tls: str
    mechanism: str
    level: int
    size_limit: int
    issuer: str = ""
    expires: float = 0.0
    round_trip: float = 0.0
    grouped: bool = False


def _ignore(_: str) -> None:
    pass


class Session:
    """One SMTP session, over as many connections as it takes.

    `before_commit` is called with each delivery, `before_commits` with all those of one write, just before
    the write after which they may count as accepted; one of the two is enough. If it raises, that write is
    not made. `veto` is asked about each delivery just before its MAIL is written. `tell` gets a line for the
    person, safe to print, when something has to be waited for.
    """

    def __init__(  # noqa: PLR0913 - each is a collaborator, named by the caller
        self,
        account: Account,
        *,
        clock: Clock,
        before_commit: Callable[[Delivery], None] | None = None,
        before_commits: Callable[[Sequence[Delivery]], None] | None = None,
        veto: Callable[[Delivery], str] = lambda _: "",
        tell: Callable[[str], None] = _ignore,
        deadlines: Deadlines | None = None,
        schedule: Sequence[float] = SCHEDULE,
    ) -> None:
        if account.ehlo_name:
            command.ehlo(account.ehlo_name)
        self._account = account
        self._clock = clock
        self._before_commit = before_commit
        self._before_commits = before_commits
        self._tell = tell
        self._deadlines = deadlines or Deadlines()
        self._again = Again(clock, self._announce, schedule)
        self._docket = Docket(veto)
        level = RIDING if account.pipelining == "auto" else min(account.pipelining, RIDING)
        self._habits = Habits(level, account.window if level == RIDING else 0, account.per_connection)
        self._security = Security(account.host, account.ca_file) if account.ca_file else None
        self._wire: Wire | None = None
        self._dialogue: Dialogue | None = None
        self._reached = False  # a line was had at least once
        self._answered = False  # a row got its answer since the last loss
        self._tries: dict[str, int] = {}
        self._throttle = Throttle()
        self._haste = None if acknowledges_at_once() else Haste()
        self._login = Login(account, clock, tell)
        self._hands = Hands(clock, self._deadlines, self._docket, record=self._record, secure=self._secure)
        self._hands.timed = self._haste is not None
        self._closed: MergeError | None = None

    # The carrier's contract

    @property
    def level(self) -> int:
        """The level of pipelining in use; before the first connection the one that will be tried."""
        if self._dialogue is not None and self._dialogue.opened:
            return self._dialogue.line.level
        return WINDOWED if self._habits.window else self._habits.level

    @property
    def room(self) -> int:
        """How many more deliveries may be offered now; none as long as the server wants us slower."""
        held = len(self._docket)
        if self._throttle.gap:
            return 0 if held or self._throttle.wait(self._clock.monotonic()) else 1
        level = self.level
        most = self._habits.window if level == WINDOWED else 2 if level == RIDING else 1
        return most - held if most > held else 0

    def offer(self, delivery: Delivery) -> None:
        """Take a delivery. Raises AddressError or SealError for what must never reach the wire."""
        self._docket.add(delivery, dotted=command.check(delivery))
        self._throttle.offered(self._clock.monotonic())

    def collect(self, patience: float) -> Sequence[Outcome]:
        """Work until an outcome is known; with nothing to do, wait `patience` seconds at most.

        Raises CarrierError when nothing can be sent any more, and whatever the hook or the account's secret
        raises. Once the clock is interrupted it goes on only for what is in flight.
        """
        try:
            if self._login.good_until < math.inf:
                self._leave_in_time()
            return self._collect(patience)
        except CarrierError as error:
            self._drop(_INTERRUPTED)
            self._closed = error
            raise
        except BaseException:
            self._drop(_INTERRUPTED)
            raise

    def recall(self) -> Sequence[Delivery]:
        """Give back, without I/O, what cannot have been accepted."""
        if self._docket.begun and self._wire is not None:
            # In the middle of a message only a closed line says that it is not to be delivered.
            self._drop(_INTERRUPTED)
        return self._docket.recall()

    def close(self) -> None:
        """Take leave with QUIT where that is possible, for a few seconds at most."""
        dialogue = self._dialogue
        try:
            if dialogue is not None and dialogue.step is REFILL and not self._docket.pending:
                dialogue.resume(DONE)
            if dialogue is not None and isinstance(dialogue.step, Idle):
                dialogue.resume(Leave())
                while not isinstance(dialogue.step, Hangup):
                    dialogue.resume(self._perform(dialogue.step, math.inf) or Lost("was left"))
        finally:
            self._drop("the session was closed before the server answered")

    def probe(self) -> Greeting:
        """Connect, secure, log in, and return what the server says; send nothing.

        Raises CarrierError with the first thing that fails: there is no second try.
        """
        try:
            line = self._greeted().line
            wire = self._line()
            trip = min(self._timed(line.ask(NOOP, command.NOOP)) for _ in range(_PROBES))
            return Greeting(
                banner=line.banner,
                extensions=dict(line.extensions),
                tls=wire.tls_version,
                mechanism=line.mechanism,
                size_limit=line.size_limit,
                issuer=wire.issuer,
                expires=wire.expires,
                round_trip=trip,
                grouped=line.level > LOCK_STEP and self._answers_groups(line),
                level=line.level,
            )
        except Over as over:
            self._drop(_INTERRUPTED)
            raise self._error(over.hangup.reason, over.hangup.hint) from None
        except Broken as broken:
            self._drop(_INTERRUPTED)
            raise self._error(broken.message, broken.hint) from None
        except BaseException:
            self._drop(_INTERRUPTED)
            raise

    def _timed(self, talk: Generator[Step, Event, object]) -> float:
        began = self._clock.monotonic()
        self._conduct(talk)
        return self._clock.monotonic() - began

    def _answers_groups(self, line: Line) -> bool:
        """Whether RSET and NOOP in one write get both answers (RFC 2920, 3.1: NOOP comes last)."""
        try:
            self._conduct(line.say(RSET, command.RSET + command.NOOP))
            return all(self._conduct(line.hear(stage)).ok for stage in (RSET, NOOP))
        except Over:
            self._drop(_INTERRUPTED)
            return False

    def _conduct(self, talk: Generator[Step, Event, Heard]) -> Heard:
        """Do all the steps of a part of a conversation, and return what came of it. Raises Over."""
        try:
            step = next(talk)
            while True:
                event = self._perform(step, math.inf)
                if event is None:
                    raise self._error("was not waited for: interrupted")
                step = talk.send(event)
        except StopIteration as end:
            heard: Heard = end.value
            return heard

    def _greeted(self) -> Dialogue:
        dialogue = self._dialogue or self._connect()
        while not dialogue.opened:
            if isinstance(dialogue.step, Hangup):
                raise self._error(dialogue.step.reason, dialogue.step.hint)
            if (event := self._perform(dialogue.step, math.inf)) is None:
                raise self._error("was not waited for: interrupted")
            dialogue.resume(event)
        return dialogue

    # The work

    def _collect(self, patience: float) -> Sequence[Outcome]:
        while not (outcomes := self._docket.known()):
            if self._closed is not None:
                raise self._closed
            if self._clock.interrupted and not self._docket.doubtful:
                return ()
            dialogue = self._dialogue
            if dialogue is None:
                if not self._reopen(patience):
                    return ()
            elif (step := dialogue.step) is REFILL:
                dialogue.resume(DONE)
            elif isinstance(step, Hangup):
                self._hung_up(step)
            elif event := self._hands.do(step, self._wire, patience if dialogue.opened else math.inf):
                dialogue.resume(event)
                if self._haste is not None:
                    self._compare(self._haste, dialogue.line, step)
            else:
                return ()
        self._learn(outcomes)
        return outcomes

    def _leave_in_time(self) -> None:
        """See to it that a line is renewed before the token ends that it was opened with."""
        if self._dialogue is not None and self._clock.monotonic() >= self._login.good_until:
            self._dialogue.line.spent = True

    def _compare(self, haste: Haste, line: Line, step: Step) -> None:
        """Tell how long answers are waited for, and do as is found better."""
        if isinstance(step, Ask) and step.read.stage == EHLO:
            haste.greeted(self._hands.waited)
            self._hands.waited = 0.0
        elif self._docket.answered and line.level != WINDOWED:
            haste.answered(self._hands.waited, grouped=line.level > LOCK_STEP)
            self._hands.waited = 0.0
            line.say_one_by_one(haste.one_by_one)

    def _learn(self, outcomes: Sequence[Outcome]) -> None:
        """Draw from outcomes what they say of the line and of the pace."""
        for outcome in outcomes:
            state = outcome.state
            if state is not State.UNCERTAIN:
                self._answered = True
            if self._throttle.gap and state is State.SENT:
                self._throttle.accepted()

    def _perform(self, step: Step, patience: float) -> Event | None:
        """Do one step. None: the patience, or the run, ended first; the step is still to be done."""
        return self._hands.do(step, self._wire, patience)

    def _record(self, deliveries: Sequence[Delivery]) -> None:
        """Say that these are about to be committed, by the hook that fits."""
        if self._before_commits is not None and (len(deliveries) > 1 or self._before_commit is None):
            self._before_commits(deliveries)
        elif self._before_commit is not None:
            for delivery in deliveries:
                self._before_commit(delivery)

    # Lines

    def _line(self) -> Wire:
        if self._wire is None:
            raise Broken("closed the connection")
        return self._wire

    def _secure(self, wire: Wire) -> None:
        if self._security is None:
            self._security = Security(self._account.host)
        wire.handshake(self._security, self._deadlines.handshake)

    def _connect(self) -> Dialogue:
        """Take a new line. Raises CarrierError, Broken."""
        account = self._account
        wire = self._wire = Wire(account.host, account.port, self._clock)
        wire.connect(self._deadlines.connect)
        self._reached = True
        if account.security == "tls":
            self._secure(wire)
        terms = self._login.terms(wire.literal, loopback=wire.loopback)
        self._dialogue = Dialogue(terms, self._docket, self._habits, self._deadlines)
        return self._dialogue

    def _reopen(self, patience: float) -> bool:
        """Take a new line, after the wait that is owed. False: interrupted, or there is nothing to send."""
        if not self._docket.pending:
            self._clock.sleep(patience)
            return False
        try:
            if not self._again.due():
                return False
            self._connect()
        except Exhausted as end:
            self._closed = self._error(
                f"{end.reason}, the last time of several",
                "Check the network, and whether the server is up. To go on from here: mergepost send",
            )
        except UnknownName as unknown:
            self._drop("")
            if not self._reached:
                self._closed = self._error(unknown.message, unknown.hint)
            else:
                self._lost(unknown.message)
        except Broken as broken:
            self._drop("")
            if not self._clock.interrupted:
                self._lost(broken.message)
        return True

    def _hung_up(self, end: Hangup) -> None:
        """Close a line that has ended, and decide what that means for the run."""
        self._drop(f"the server {end.reason}")
        if end.slow:
            self._throttle.complained()
            self._tell(f"The server finds us too fast: now one message in {self._throttle.gap:.0f} s.")
        if end.run is Run.GO_ON:
            return
        if end.run is Run.STOP:
            self._closed = self._error(end.reason, end.hint)
            return
        if end.tries:
            self._tries[end.stage] = self._tries.get(end.stage, 0) + 1
            if self._tries[end.stage] >= end.tries:
                self._closed = self._error(f"{end.reason} ({end.tries} times)", end.hint)
                return
        self._lost(end.reason, end.least, at_once=end.run is Run.RECONNECT)

    def _lost(self, reason: str, least: float = 0.0, *, at_once: bool = False) -> None:
        """Count a loss. A line that had a row answered may be followed `at_once`."""
        if self._answered or self._docket.answered:
            self._answered = False
            self._tries.clear()
            self._again.start_over()
            if at_once:
                return
        self._again.lost(reason, least)

    def _drop(self, reason: str) -> None:
        """Close the line without a word; what is in doubt is uncertain now, for that reason."""
        wire, self._wire, self._dialogue = self._wire, None, None
        self._docket.settle(reason)
        if wire is not None:
            wire.close()

    def _announce(self, reason: str, seconds: float, number: int, of: int) -> None:
        where = f"{self._account.host}:{self._account.port}"
        self._tell(f"{where} {reason}; trying again in {seconds:.0f} s ({number} of {of})")

    def _error(self, reason: str, hint: str = "") -> CarrierError:
        return CarrierError(f"{self._account.host}:{self._account.port} {reason}", hint=hint)
