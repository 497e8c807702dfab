"""How do letters leave through a web API, several calls in the air, whatever happens to one?

`ApiSession` is a carrier (merge.carrier). A call is to it what a message is to an SMTP session: all of it but
the last byte goes out, its rows are put on record, then that byte follows, and only its answer settles them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from merge.api.call import Call, Calls, Deadlines, Stage
from merge.api.meaning import Answer, Reading, Run, in_doubt, outcome
from merge.api.parts import Parts, Unsayable, parts_of
from merge.carrier import Veto, nothing_against
from merge.clock import Clock
from merge.errors import CarrierError, ConfigError
from merge.model import Delivery, Outcome, State
from merge.smtp.again import SCHEDULE, Again, Exhausted
from merge.smtp.throttle import Throttle
from merge.words import plain

_SLICE = 0.25
_DOUBTS = 3
"""So many times in a row may calls end without a clear answer; then the run stops."""

_REFUSED = 400
"""From this status on an answer is a refusal, and may come before the call is complete."""

_INTERRUPTED = "the run was interrupted before the answer came"


class Vendor(Protocol):
    """A provider's web API: how it wants letters, and what it answers.

    `per_call` is the number of letters that one call can carry, `most_bytes` the size of its body.
    """

    @property
    def title(self) -> str:
        """What people call it."""

    @property
    def path(self) -> str:
        """The path of the call that sends."""

    @property
    def per_call(self) -> int:
        """How many letters a call can carry."""

    @property
    def most_bytes(self) -> int:
        """How many bytes the body of a call may have."""

    def authorization(self, user: str, secret: str, /) -> str:
        """Return the Authorization header's value."""

    def letter(self, parts: Parts) -> bytes:
        """Return one letter as the provider wants it. Raises Unsayable."""

    def request(self, letters: Sequence[bytes]) -> bytes:
        """Return the body of a call for these letters."""

    def read(self, answer: Answer, deliveries: Sequence[Delivery], now: float) -> Reading:
        """Say what an answer means for each delivery, and for the run."""

    def look(self, sender: str) -> tuple[str, bytes]:
        """Return path and body of a call that sends nothing; a GET where the body is empty."""

    def welcome(self, answer: Answer) -> str:
        """Return in words what the answer to that call means. Raises CarrierError where it is a no."""


@dataclass(frozen=True, slots=True)
class ApiAccount:
    """Where the API is, and as whom. `window` counts the calls in the air, `per_call` the letters in each."""

    base: str
    user: str
    secret: Callable[[], str] = field(repr=False)
    window: int = 1
    per_call: int = 1
    ca_file: str = ""


def authorization(account: ApiAccount, vendor: Vendor) -> str:
    """Look the key up, and return the Authorization header's value. Raises ConfigError."""
    secret = account.secret().strip()
    if not all(text.isascii() and text.isprintable() for text in (secret, account.user)):
        raise ConfigError(
            f"the key for {vendor.title} has characters that no key has",
            hint="copy it again from the provider's site",
        )
    return vendor.authorization(account.user, secret)


@dataclass(frozen=True, slots=True)
class _Letter:
    """A delivery as the provider wants it; `alone`: in a call of its own."""

    delivery: Delivery
    body: bytes = field(repr=False)
    alone: bool = False


@dataclass(slots=True, eq=False)
class _Flight:
    """Letters in the air. Once `committed`, only an answer can tell what became of them."""

    letters: tuple[_Letter, ...]
    committed: bool = False

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        return tuple(letter.delivery for letter in self.letters)


class ApiSession:
    """A carrier by calls to a web API.

    The first call goes alone; when it was answered well, `window` of them are in the air. `before_commits` is
    called with all deliveries that are about to be committed together, `before_commit` with each; one of the
    two is enough. `veto` is asked about each delivery just before its call begins. `tell` gets a line for the
    person, safe to print, when something has to be waited for.
    """

    def __init__(  # noqa: PLR0913 - each is a collaborator, named by the caller
        self,
        account: ApiAccount,
        vendor: Vendor,
        *,
        clock: Clock,
        before_commit: Callable[[Delivery], None] | None = None,
        before_commits: Callable[[Sequence[Delivery]], None] | None = None,
        tell: Callable[[str], None] = lambda _: None,
        deadlines: Deadlines | None = None,
        schedule: Sequence[float] = SCHEDULE,
        veto: Veto = nothing_against,
    ) -> None:
        self._account = account
        self._vendor = vendor
        self._clock = clock
        self._before_commit = before_commit
        self._before_commits = before_commits
        self._tell = tell
        self._deadlines = deadlines
        self._veto = veto
        self._per_call = max(1, min(account.per_call, vendor.per_call))
        self._again = Again(clock, self._announce, schedule)
        self._throttle = Throttle()
        self._calls: Calls | None = None
        self._waiting: deque[_Letter] = deque()
        self._flights: dict[Call, _Flight] = {}
        self._known: list[Outcome] = []
        self._closed: Exception | None = None
        self._narrow = True  # one call at a time, until one is answered well
        self._owed = False  # a pause has to be made before the next call
        self._reached = False  # a call was answered at least once
        self._answered = False  # a row got its answer since the last loss
        self._doubts = 0

    # The carrier's contract

    @property
    def room(self) -> int:
        """How many more deliveries may be offered now; none while the provider wants us slower."""
        if self._closed is not None or self._throttle.wait(self._clock.monotonic()):
            return 0
        in_hand = len(self._waiting) + sum(len(flight.letters) for flight in self._flights.values())
        return max(0, self._width * self._per_call - in_hand)

    def offer(self, delivery: Delivery) -> None:
        """Take a delivery; one that this API cannot say faithfully is FAILED, and nothing of it is sent."""
        try:
            self._waiting.append(_Letter(delivery, self._vendor.letter(parts_of(delivery))))
        except Unsayable as error:
            self._known.append(outcome(delivery, State.FAILED, f"not sent: {error.message}"))

    def collect(self, patience: float) -> Sequence[Outcome]:
        """Work until an outcome is known; where more could be offered, `patience` seconds at most.

        Raises CarrierError when nothing can be sent any more, and whatever the hook or the account's secret
        raises. Once the clock is interrupted it goes on only for what may have been accepted.
        """
        try:
            return self._collect(self._clock.monotonic() + patience)
        except Exception:
            # What is in the air comes home by later calls; what is not committed must not go.
            self._ground()
            raise
        except BaseException:
            self._ground()
            self._give_up(_INTERRUPTED)
            raise

    def recall(self) -> Sequence[Delivery]:
        """Give back, without I/O, what cannot have been accepted."""
        self._ground()
        back = [letter.delivery for letter in self._waiting]
        self._waiting.clear()
        return back

    def close(self) -> None:
        """End the calls in the air, if any; within a few seconds."""
        calls, self._calls = self._calls, None
        self._ground()
        self._give_up("the session was closed before the answer came")
        if calls is not None:
            calls.close()

    # The work

    def _collect(self, until: float) -> Sequence[Outcome]:
        while True:
            self._hear(0.0)
            if self._known:
                known, self._known = self._known, []
                return known
            if self._closed is not None and not self._flights:
                raise self._closed
            stopping = self._clock.interrupted
            if stopping and not any(flight.committed for flight in self._flights.values()):
                return ()
            if not stopping and self._closed is None and not self._launched():
                return ()
            if self._known:
                continue
            left = until - self._clock.monotonic()
            if self._flights:
                if left <= 0 and self.room:
                    return ()
                self._hear(min(left, _SLICE) if self.room else _SLICE)
            elif self._closed is None:
                # Slowed down, there is no room; then a caller without patience must not turn in circles.
                slower = self._throttle.wait(self._clock.monotonic())
                self._clock.sleep(min(slower, _SLICE) if slower else left)
                return ()

    @property
    def _width(self) -> int:
        return 1 if self._narrow or self._throttle.gap else max(1, self._account.window)

    def _launched(self) -> bool:
        """Start as many calls as may be in the air. False: interrupted while a pause was owed."""
        while self._waiting and len(self._flights) < self._width:
            if self._owed:
                if self._flights:
                    return True
                try:
                    if not self._again.due():
                        return False
                except Exhausted as end:
                    self._shut(
                        f"{end.reason}, the last time of several",
                        "Check the network. To go on from here: mergepost send",
                    )
                    return True
                self._owed = False
            now = self._clock.monotonic()
            if self._throttle.wait(now):
                return True
            calls = self._opened()
            self._skip()
            if self._known or not self._waiting:
                return True
            letters = self._next_letters()
            body = self._vendor.request([letter.body for letter in letters])
            self._throttle.offered(now)
            self._flights[calls.start(self._vendor.path, body)] = _Flight(letters)
        return True

    def _skip(self) -> None:
        """Take out what must not go after all, before the recipients are named to anybody."""
        for letter in list(self._waiting):
            if reason := self._veto(letter.delivery):
                self._waiting.remove(letter)
                self._known.append(outcome(letter.delivery, State.SKIPPED, reason))

    def _next_letters(self) -> tuple[_Letter, ...]:
        """Take what goes into the next call: as many as it can carry."""
        letters = [self._waiting.popleft()]
        size = len(letters[0].body)
        # After an unclear answer one letter finds out whether the next is better: not fifty.
        wary = self._doubts and not self._answered
        most = 1 if wary or letters[0].alone else self._per_call
        while self._waiting and len(letters) < most:
            size += len(self._waiting[0].body) + 1
            if self._waiting[0].alone or size > self._vendor.most_bytes:
                break
            letters.append(self._waiting.popleft())
        return tuple(letters)

    def _opened(self) -> Calls:
        if self._calls is None:
            account = self._account
            self._calls = Calls(
                account.base,
                authorization(account, self._vendor),
                width=max(1, account.window),
                ca_file=account.ca_file,
                deadlines=self._deadlines,
            )
        return self._calls

    def _hear(self, patience: float) -> None:
        """Take in what has happened; have on record, all with one sync, what is ready to be committed."""
        if self._calls is None:
            return
        ready: list[Call] = []
        for call, stage in self._calls.news(patience):
            if call not in self._flights:
                continue  # given back meanwhile
            if stage is Stage.READY:
                ready.append(call)
            else:
                self._land(call, self._flights.pop(call))
        ready = [call for call in ready if call in self._flights]  # the line may have broken right behind
        if ready and (self._closed is not None or self._clock.interrupted):
            self._ground()
        elif ready:
            self._release(self._calls, ready)

    def _release(self, calls: Calls, ready: Sequence[Call]) -> None:
        """Let calls go, once their rows are on record. Where that cannot be, nothing goes any more."""
        try:
            self._record([delivery for call in ready for delivery in self._flights[call].deliveries])
        except Exception as error:  # noqa: BLE001 - raised by `collect`, after what is known was handed over
            self._closed = self._closed or error
            self._ground()
            return
        for call in ready:
            self._flights[call].committed = True
            calls.release(call)

    def _record(self, deliveries: Sequence[Delivery]) -> None:
        """Say that these are about to be committed, by the hook that fits."""
        if self._before_commits is not None and (len(deliveries) > 1 or self._before_commit is None):
            self._before_commits(deliveries)
        elif self._before_commit is not None:
            for delivery in deliveries:
                self._before_commit(delivery)

    def _land(self, call: Call, flight: _Flight) -> None:
        """Draw from a call that has ended what it says of its rows and of the run."""
        answer = call.answer
        if answer is None and not flight.committed:
            self._put_back(flight.letters)
            self._not_reached(call)
            return
        self._reached = self._reached or answer is not None
        if answer is None:
            reading = in_doubt(flight.deliveries, call.failure)
        elif not flight.committed and answer.status < _REFUSED:
            reading = in_doubt(flight.deliveries, f"answered {answer.status} before the call was complete")
        else:
            reading = self._vendor.read(answer, flight.deliveries, self._clock.now())
        self._known += reading.outcomes
        back = {delivery.key for delivery in reading.back}
        self._put_back(
            _Letter(letter.delivery, letter.body, letter.alone or reading.singly)
            for letter in flight.letters
            if letter.delivery.key in back
        )
        self._draw(reading)

    def _draw(self, reading: Reading) -> None:
        """Let what an answer says of the run be followed."""
        for known in reading.outcomes:
            if known.state is State.SENT:
                self._throttle.accepted()
        if any(known.state is not State.UNCERTAIN for known in reading.outcomes):
            self._answered = True
        if reading.run is Run.GO_ON:
            self._narrow = self._narrow and not self._answered
            return
        reason = plain(reading.reason, 300)
        if reading.run is Run.STOP:
            self._shut(reason, reading.hint)
            return
        if reading.run is Run.PAUSE and not self._owed:
            self._throttle.complained()
            self._tell(f"{self._vendor.title} finds us too fast: now one call in {self._throttle.gap:.0f} s.")
        self._lost(reason, reading.least, doubtful=reading.run is Run.DOUBT, hint=reading.hint)

    def _not_reached(self, call: Call) -> None:
        reason = plain(call.failure, 300)
        if call.lasting or (call.unknown and not self._reached):
            self._shut(reason, "Check the address of the API, the network, and ca_file if there is one.")
        else:
            self._lost(reason)

    def _lost(self, reason: str, least: float = 0.0, *, doubtful: bool = False, hint: str = "") -> None:
        """Count a loss; those that come in until the pause is made are one with it."""
        self._narrow = True
        if self._owed or self._closed is not None:
            return
        if self._answered:
            self._answered, self._doubts = False, 0
            self._again.start_over()
        self._doubts += doubtful
        if self._doubts >= _DOUBTS:
            self._shut(f"{reason}, {_DOUBTS} times in a row", hint)
            return
        self._again.lost(reason, least)
        self._owed = True

    def _put_back(self, letters: Iterable[_Letter]) -> None:
        self._waiting.extendleft(reversed(list(letters)))

    def _ground(self) -> None:
        """Bring back from the air what is not committed."""
        for call in [call for call, flight in self._flights.items() if not flight.committed]:
            self._put_back(self._flights.pop(call).letters)
            if self._calls is not None:
                self._calls.abandon(call)

    def _give_up(self, reason: str) -> None:
        """Wait no longer for answers."""
        for call, flight in self._flights.items():
            self._known += in_doubt(flight.deliveries, reason).outcomes
            if self._calls is not None:
                self._calls.abandon(call)
        self._flights.clear()

    def _shut(self, reason: str, hint: str = "") -> None:
        self._closed = self._closed or CarrierError(f"{self._vendor.title} {reason}", hint=hint)

    def _announce(self, reason: str, seconds: float, number: int, of: int) -> None:
        self._tell(f"{self._vendor.title} {reason}; trying again in {seconds:.0f} s ({number} of {of})")
