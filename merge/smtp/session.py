"""How does a letter leave, whatever happens to the line? A dialogue on a wire, reopened when it breaks.

`Session` is a carrier (merge.carrier). It connects when the first delivery is to be sent, keeps the line,
and takes another when the server or the network ends it: with what was not past its commit point, and never
with what was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from merge.errors import CarrierError, MergeError
from merge.model import Delivery, Outcome, State
from merge.smtp import command
from merge.smtp.auth import Credentials
from merge.smtp.dialogue import (
    Commit,
    Deadlines,
    Dialogue,
    Done,
    Event,
    Habits,
    Handshake,
    Hangup,
    Idle,
    Leave,
    Lost,
    Read,
    Terms,
    Tick,
    Unread,
    Write,
)
from merge.smtp.docket import Docket, Phase
from merge.smtp.meaning import Run
from merge.smtp.wire import CHUNK, Broken, Clock, Security, Wire

if TYPE_CHECKING:
    from tenacity import AttemptManager, RetryCallState, Retrying

SCHEDULE = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds before each new line, jitter apart, while no row gets an answer; after the last the run stops."""

SLICE = 0.25
"""How long, in seconds, a wait may last before an interrupt is seen."""

Secret = Callable[[], str]
"""Gives a password or a token when it is needed, and only then."""


@dataclass(frozen=True, slots=True)
class Account:
    """A server and the way to use it.

    `security` is "tls" (from the start), "starttls" or "none". `token` (XOAUTH2, OAUTHBEARER) wins over
    `password`; `mechanisms`, if any, are the only ones tried for a login. `per_connection` is the number of
    messages after which the line is renewed (0: never). `pipelining` is the highest level of pipelining, and
    `window` the number of messages in flight at level 3; 0 keeps to level 2. `ehlo_name` is told to the
    server; empty: this side's address, which tells no name.
    """

    host: str
    port: int
    security: Literal["tls", "starttls", "none"] = "tls"
    user: str = ""
    password: Secret | None = field(default=None, repr=False)
    token: Secret | None = field(default=None, repr=False)
    mechanisms: tuple[str, ...] = ()
    ca_file: str = ""
    per_connection: int = 100
    pipelining: Literal["auto", 0, 1, 2] = "auto"
    window: int = 0
    ehlo_name: str = ""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a server says of itself, once logged in. `size_limit` is in bytes, 0 if unknown."""

    banner: str
    extensions: Mapping[str, str]
    tls: str
    mechanism: str
    level: int
    size_limit: int


class _LineLost(Exception):  # noqa: N818 - what happened, for tenacity
    def __init__(self, reason: str, least: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.least = least


def _ignore(_: str) -> None:
    pass


class Session:
    """One SMTP session, over as many connections as it takes.

    `before_commit` is called with each delivery, `before_commits` with a whole window of them, just before
    the write after which it may count as accepted; one of the two is enough. If it raises, that write is not
    made. `tell` gets a line for the person, safe to print, when something has to be waited for.
    """

    def __init__(  # noqa: PLR0913 - each is a collaborator
        self,
        account: Account,
        *,
        clock: Clock,
        before_commit: Callable[[Delivery], None] | None = None,
        before_commits: Callable[[Sequence[Delivery]], None] | None = None,
        tell: Callable[[str], None] = _ignore,
        deadlines: Deadlines | None = None,
        schedule: Sequence[float] = SCHEDULE,
    ) -> None:
        self._account = account
        self._clock = clock
        self._before_commit = before_commit
        self._before_commits = before_commits
        self._tell = tell
        self._deadlines = deadlines or Deadlines()
        self._schedule = tuple(schedule)
        self._docket = Docket()
        level = 2 if account.pipelining == "auto" else account.pipelining
        self._habits = Habits(
            level=level,
            window=account.window if level == 2 else 0,
            limit=account.per_connection,
        )
        self._security: Security | None = None
        self._wire: Wire | None = None
        self._dialogue: Dialogue | None = None
        self._deadline: tuple[object, float] = (None, 0.0)
        self._attempts: Iterator[AttemptManager] | None = None
        self._attempt: AttemptManager | None = None
        self._tries: dict[str, int] = {}
        self._answered = False  # a row got its answer since the last loss
        self._closed: CarrierError | None = None

    # The carrier's contract

    @property
    def level(self) -> int:
        """The level of pipelining that is in use; before the first connection, the one that will be tried."""
        if self._dialogue is not None and self._dialogue.opened:
            return self._dialogue.level
        return 3 if self._habits.window else self._habits.level

    @property
    def room(self) -> int:
        """How many more deliveries may be offered now."""
        level = self.level
        most = self._habits.window if level == 3 else 2 if level == 2 else 1  # noqa: PLR2004 - levels
        return max(0, most - len(self._docket))

    def offer(self, delivery: Delivery) -> None:
        """Take a delivery. Raises AddressError or SealError for what must never reach the wire."""
        command.check(delivery)
        self._docket.add(delivery)

    def collect(self, patience: float) -> Sequence[Outcome]:
        """Work until an outcome is known; with nothing to do, wait `patience` seconds at most.

        Raises CarrierError when nothing can be sent any more, and whatever the hook raises. When the clock
        is interrupted and nothing is in flight, returns with nothing.
        """
        try:
            return self._collect(patience)
        except BaseException:
            self._drop("interrupted")
            raise

    def recall(self) -> Sequence[Delivery]:
        """Give back, without I/O, what cannot have been accepted."""
        if self._docket.begun and self._wire is not None:
            self._drop("given up")  # in the middle of a message only a closed line says that it ends here
        return self._docket.recall()

    def close(self) -> None:
        """Take leave with QUIT where that is possible, for a few seconds at most."""
        dialogue = self._dialogue
        try:
            if dialogue is not None and isinstance(dialogue.step, Idle):
                dialogue.resume(Leave())
                while not isinstance(dialogue.step, Hangup):
                    if (event := self._perform(dialogue.step)) is None:
                        break
                    dialogue.resume(event)
        except (MergeError, OSError):
            pass  # nothing that happens to a line after its last answer matters
        finally:
            self._drop("closed")

    def probe(self) -> Greeting:
        """Connect, secure, log in, and return what the server says; send nothing.

        Raises CarrierError with the first thing that fails: there is no second try.
        """
        try:
            if self._dialogue is None:
                self._connect()
            dialogue = self._dialogue
            while dialogue is not None and not dialogue.opened:
                if isinstance(dialogue.step, Hangup):
                    raise self._stop(dialogue.step.reason, dialogue.step.hint)
                event = self._perform(dialogue.step)
                if event is None:
                    raise CarrierError("interrupted")
                dialogue.resume(event)
        except Broken as broken:
            raise self._stop(broken.message) from None
        except BaseException:
            self._drop("interrupted")
            raise
        assert self._dialogue is not None  # noqa: S101 - tells mypy what the loop has shown
        dialogue = self._dialogue
        return Greeting(
            dialogue.banner,
            dict(dialogue.extensions),
            self._wire.tls_version if self._wire else "",
            dialogue.mechanism,
            dialogue.level,
            dialogue.size_limit,
        )

    # The work

    def _collect(self, patience: float) -> Sequence[Outcome]:
        while True:
            if outcomes := self._docket.known():
                if any(outcome.state is not State.UNCERTAIN for outcome in outcomes):
                    self._answered = True
                return outcomes
            if self._closed is not None:
                raise self._closed
            if self._clock.interrupted and not self._docket.doubtful:
                return ()
            dialogue = self._dialogue
            if dialogue is None:
                if not self._docket.pending:
                    self._clock.sleep(patience)
                    return ()
                if not self._reopen():
                    return ()
                continue
            step = dialogue.step
            if isinstance(step, Hangup):
                self._hung_up(step)
            elif isinstance(step, Idle) and not self._docket.pending:
                if (idled := self._idle(step, patience)) is None:
                    return ()
                dialogue.resume(idled)
            elif (event := self._perform(step)) is not None:
                dialogue.resume(event)

    def _idle(self, step: Idle, patience: float) -> Event | None:
        """Wait on the idle line; None: the patience is over before anything happened."""
        wire = self._line()
        until = self._until(step, step.seconds)
        while True:
            if (event := self._pending_bytes(wire)) is not None:
                return event
            left = until - self._clock.monotonic()
            if left <= 0:
                return Tick()
            if patience <= 0 or self._clock.interrupted:
                return None
            slice_ = min(SLICE, patience, left)
            wire.wait(slice_)
            patience -= slice_

    def _perform(self, step: object) -> Event | None:
        """Do one step; None: an interrupt came first, the step is still to be done."""
        wire = self._line()
        try:
            match step:
                case Read():
                    return self._read(wire, step)
                case Write():
                    return self._pending_bytes(wire) or self._write(wire, step.data, stop_early=step.body)
                case Commit():
                    return self._commit(wire, step)
                case Handshake():
                    if (event := self._pending_bytes(wire)) is not None:
                        return event
                    wire.handshake(self._trust(), self._deadlines.handshake)
                    return Done()
                case Idle():
                    return self._pending_bytes(wire) or Done()
        except Broken as broken:
            return Lost(broken.message)
        raise TypeError(step)

    def _read(self, wire: Wire, step: Read) -> Event | None:
        until = self._until(step, step.seconds)
        while (data := wire.receive()) is None:
            left = until - self._clock.monotonic()
            if left <= 0:
                return Lost(f"no complete answer to {step.stage} in {step.seconds:g} s")
            if self._docket.doubtful:
                wire.wait(left)
            else:
                wire.wait(min(SLICE, left))
                if self._clock.interrupted:
                    return None
        if self._clock.monotonic() >= until:
            return Lost(f"no complete answer to {step.stage} in {step.seconds:g} s")
        return Done(data) if data else Lost("the server closed the line")

    def _pending_bytes(self, wire: Wire) -> Event | None:
        """Look for what has arrived unasked."""
        data = wire.receive()
        if data is None:
            return None
        return Unread(data) if data else Lost("the server closed the line")

    def _commit(self, wire: Wire, step: Commit) -> Event:
        if (event := self._pending_bytes(wire)) is not None:
            return event
        deliveries = [case.delivery for case in step.cases]
        if self._before_commits is not None and (len(deliveries) > 1 or self._before_commit is None):
            self._before_commits(deliveries)
        elif self._before_commit is not None:
            for delivery in deliveries:
                self._before_commit(delivery)
        for case in step.cases:
            case.phase = Phase.DOUBTFUL
        handed = 0

        def handing(end: int) -> None:
            nonlocal handed
            handed = end

        event = self._pending_bytes(wire) or self._write(wire, step.data, handing=handing)
        if not isinstance(event, Done):
            for case, end in zip(step.cases, step.ends, strict=True):
                if handed < end:
                    case.phase = Phase.BEGUN  # its last byte never left this program
        return event

    def _write(
        self,
        wire: Wire,
        data: bytes,
        *,
        stop_early: bool = False,
        handing: Callable[[int], None] | None = None,
    ) -> Event:
        """Write it all, reading meanwhile: two full buffers would wait for each other for ever.

        `handing` is told, before each attempt, the offset that may have left after it.
        """
        view, done, heard = memoryview(data), 0, bytearray()
        until = self._clock.monotonic() + self._deadlines.block
        try:
            while done < len(view):
                piece = view[done : done + CHUNK]
                if handing is not None:
                    handing(done + len(piece))
                if taken := wire.send(piece):
                    done += taken
                    until = self._clock.monotonic() + self._deadlines.block
                    if done == len(view):
                        break
                elif (left := until - self._clock.monotonic()) <= 0:
                    return Lost(
                        f"the server takes nothing any more for {self._deadlines.block:g} s", bytes(heard)
                    )
                else:
                    wire.wait(min(left, SLICE), write=True)
                if (more := wire.receive()) is not None:
                    heard += more
                    if not more:
                        return Lost("the server closed the line", bytes(heard))
                    if stop_early:
                        return Unread(bytes(heard))
        except Broken as broken:
            return Lost(broken.message, bytes(heard) + self._rest(wire))
        return Done(bytes(heard))

    def _rest(self, wire: Wire) -> bytes:
        """Return what can still be read of a line that broke: often the server's reason."""
        rest = b""
        try:
            while data := wire.receive():
                rest += data
        except Broken:
            pass
        return rest

    def _until(self, step: object, seconds: float) -> float:
        """Return the moment at which this step's time is up; the same step keeps its moment."""
        if self._deadline[0] is not step:
            self._deadline = (step, self._clock.monotonic() + seconds)
        return self._deadline[1]

    # Lines

    def _line(self) -> Wire:
        if self._wire is None:
            raise Broken("the line is closed")
        return self._wire

    def _trust(self) -> Security:
        if self._security is None:
            self._security = Security(self._account.host, self._account.ca_file)
        return self._security

    def _connect(self) -> None:
        account = self._account
        wire = Wire(account.host, account.port, self._clock)
        self._wire = wire
        wire.connect(self._deadlines.connect)
        if account.security == "tls":
            wire.handshake(self._trust(), self._deadlines.handshake)
        secret = account.token or account.password
        credentials = (
            Credentials(account.user, account.password, account.token, account.host, account.port)
            if account.user and secret
            else None
        )
        terms = Terms(
            ehlo_name=account.ehlo_name or wire.literal,
            starttls=account.security == "starttls",
            private=account.security != "none",
            credentials=credentials,
            mechanisms=account.mechanisms,
        )
        self._dialogue = Dialogue(terms, self._docket, self._habits, self._deadlines)

    def _drop(self, reason: str) -> None:
        """Close the line without a word; what was in doubt stays in doubt."""
        wire, self._wire, self._dialogue = self._wire, None, None
        self._docket.settle(reason)
        if wire is not None:
            wire.close()

    def _reopen(self) -> bool:
        """Take a new line, after the wait that is owed. False: interrupted."""
        if self._attempt is None:
            self._attempt = self._next_attempt()
        if self._attempt is None:
            return self._closed is not None
        if self._clock.interrupted:
            return False
        try:
            self._connect()
        except Broken as broken:
            self._drop(broken.message)
            self._lost(broken.message)
        return True

    def _hung_up(self, end: Hangup) -> None:
        """Close the line that has ended, and decide what that means."""
        self._drop(end.reason)
        if end.run is Run.GO_ON:
            return
        if end.run is Run.STOP:
            self._stop(end.reason, end.hint)
            return
        if end.tries:
            self._tries[end.stage] = self._tries.get(end.stage, 0) + 1
            if self._tries[end.stage] >= end.tries:
                self._stop(f"{end.reason} ({end.tries} times)", end.hint)
                return
        self._lost(end.reason, end.least, at_once=end.run is Run.RECONNECT)

    def _lost(self, reason: str, least: float = 0.0, *, at_once: bool = False) -> None:
        """Count a loss. The wait that follows from it is made when the next line is needed."""
        outcomes = self._docket.answered
        if self._answered or outcomes:
            self._answered, self._tries = False, {}
            self._attempts = self._attempt = None
            if at_once:
                return
        if self._attempt is None:
            self._attempt = self._next_attempt()
        if self._attempt is not None:
            with self._attempt:
                raise _LineLost(reason, least)
        self._attempt = None

    def _next_attempt(self) -> AttemptManager | None:
        """Return the next attempt at a line, after its wait; None: interrupted, or it was the last."""
        if self._attempts is None:
            self._attempts = iter(self._retrying())
        try:
            return next(self._attempts)
        except _LineLost as lost:
            self._attempts = None
            if not self._clock.interrupted:
                self._stop(
                    f"no line that works, after {len(self._schedule) + 1} tries ({lost.reason})",
                    "Check the network, and whether the server is up. Then: mergepost send",
                )
            return None

    def _retrying(self) -> Retrying:
        from tenacity import (  # noqa: PLC0415 - not needed to start, nor while all goes well
            Retrying,
            stop_after_attempt,
            wait_chain,
            wait_random,
        )

        enough = stop_after_attempt(len(self._schedule) + 1)
        scheduled = wait_chain(*(wait_random(seconds, 1.25 * seconds) for seconds in self._schedule))

        def wait(state: RetryCallState) -> float:
            lost = state.outcome.exception() if state.outcome else None
            return max(scheduled(state), lost.least if isinstance(lost, _LineLost) else 0.0)

        def stop(state: RetryCallState) -> bool:
            return self._clock.interrupted or enough(state)

        return Retrying(
            wait=wait,
            stop=stop,
            sleep=self._clock.sleep,
            before_sleep=self._announce,
            reraise=True,
        )

    def _announce(self, state: RetryCallState) -> None:
        lost = state.outcome.exception() if state.outcome else None
        reason = lost.reason if isinstance(lost, _LineLost) else "lost"
        seconds = state.next_action.sleep if state.next_action else 0.0
        self._tell(
            f"connection to {self._account.host} lost ({reason}),"
            f" trying again in {seconds:.0f} s ({state.attempt_number} of {len(self._schedule)})"
        )

    def _stop(self, reason: str, hint: str = "") -> CarrierError:
        self._drop(reason)
        self._closed = CarrierError(f"{self._account.host}:{self._account.port}: {reason}", hint=hint)
        return self._closed
