"""What goes out next, and what came of it?

The one loop: it takes deliveries out at the right moment and brings every outcome home.
It knows neither what a letter is nor how it travels. Whatever ends the loop, what is in flight is
settled first, and every outcome is in the journal before anything else is done about it.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

from merge.brake import Brake
from merge.errors import CarrierError, JournalError, MergeError
from merge.model import State
from merge.retry import Again

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from merge.carrier import Carrier
    from merge.clock import Clock
    from merge.journal import Journal, Ledger
    from merge.model import Delivery, Outcome
    from merge.pace import Pace
    from merge.retry import Retry

SLICE = 0.25
"""The longest wait in seconds before looking whether the person wants to stop."""

AGENDA_BYTES = 64 * 1024 * 1024
"""How many bytes of letters are held for a later attempt; rows beyond that wait for a later run."""


class Watch(Protocol):
    """Whoever looks on while a run goes on. Moments are seconds since the epoch."""

    def outcome(self, outcome: Outcome, attempts: int, due: float | None) -> None:
        """Hear what an attempt came to, after it is on record; `due` is the next one's moment, if any."""

    def waiting(self, until: float, why: Literal["pace", "retry"]) -> None:
        """Hear that nothing goes out until a moment."""

    def go_on(self, tally: Mapping[State, int]) -> bool:
        """Decide, after the first few rows, whether the others may follow."""


class Unwatched:
    """Nobody looks on; after the first few rows the others follow."""

    def outcome(self, outcome: Outcome, attempts: int, due: float | None) -> None:
        """Ignore it."""

    def waiting(self, until: float, why: Literal["pace", "retry"]) -> None:
        """Ignore it."""

    def go_on(self, tally: Mapping[State, int]) -> bool:
        """Go on."""
        return True


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    `tally` has the number of rows that this run brought into each state. `stopped` is the error that
    ended it; `interrupted` and `declined` (at the pause after the first few) are the person's doing.
    `next_due` is the moment in seconds since the epoch when going on makes sense, None if nothing is left
    to wait for; `out_of_allowance` says that the pace is why. `unrecorded` outcomes are known, but the
    journal could not take them: there they count as uncertain.
    """

    tally: Mapping[State, int]
    stopped: MergeError | None = None
    interrupted: bool = False
    declined: bool = False
    next_due: float | None = None
    out_of_allowance: bool = False
    unrecorded: tuple[Outcome, ...] = ()

    @property
    def tried(self) -> int:
        """The number of rows that this run tried."""
        return sum(self.tally.values())


def run(  # noqa: PLR0913 - the parts of a run, each one exchangeable; they are all named
    deliveries: Iterator[Delivery],
    *,
    carrier: Carrier,
    journal: Journal,
    pace: Pace,
    retry: Retry,
    clock: Clock,
    wait: float = 120.0,
    watch: Watch | None = None,
    patience_limit: float = 900.0,
    brake: Brake | None = None,
    first: int | None = None,
    ledger: Ledger | None = None,
) -> Ending:
    """Take out every delivery that can go now, bring home every outcome, and say how it ended.

    Deferred rows are tried again when they are due, while others go out; at the end the run stays for them as
    long as the next is due within `wait` seconds. When the pace lets nothing go for more than
    `patience_limit` seconds, the run ends instead. After `first` rows it asks `watch` whether to go on.
    One delivery at most is read before its turn. With a `ledger` the pace holds for all runs of an account.

    Errors of the way out, the journal and the deliveries end up in `Ending.stopped`. Any other exception
    leaves as it is; the journal is consistent then, too.
    """
    trip = _Trip(
        deliveries,
        carrier,
        journal,
        pace,
        retry,
        clock,
        watch or Unwatched(),
        brake or Brake(),
        wait,
        patience_limit,
        first,
        ledger,
    )
    try:
        trip.go()
        return trip.end()
    except BaseException:
        trip.abandon()
        raise


@dataclass(order=True, slots=True)
class _Later:
    """A deferred row on the agenda. `counted` says that this run's tally has it as deferred."""

    due: float
    place: int
    delivery: Delivery = field(compare=False)
    counted: bool = field(compare=False)


@dataclass(slots=True)
class _Trip:
    """The state of one run. All moments in here are monotonic."""

    deliveries: Iterator[Delivery]
    carrier: Carrier
    journal: Journal
    pace: Pace
    retry: Retry
    clock: Clock
    watch: Watch
    brake: Brake
    wait: float
    patience_limit: float
    first: int | None
    ledger: Ledger | None
    ahead: _Later | None = None
    exhausted: bool = False
    begun: int = 0
    agenda: list[_Later] = field(default_factory=list)
    held: int = 0
    flying: dict[str, _Later] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    tally: dict[State, int] = field(default_factory=lambda: dict.fromkeys(State, 0))
    waiting_for: float | None = None
    stopped: MergeError | None = None
    interrupted: bool = False
    declined: bool = False
    resume: float | None = None
    unrecorded: list[Outcome] = field(default_factory=list)

    def go(self) -> None:
        """Take deliveries out until nothing more can be done now."""
        try:
            self._recollect()
            while not self.clock.interrupted:
                if not self._step():
                    return
            self.interrupted = True
        except MergeError as error:
            self.stopped = error

    def end(self) -> Ending:
        """Settle what is in flight, and sum up."""
        self._settle()
        next_due = self._epoch(self.resume) if self.resume is not None else None
        if not self.unrecorded:
            try:
                due = self.journal.next_due()
            except JournalError:
                due = None
            next_due = min((moment for moment in (due, next_due) if moment is not None), default=None)
        return Ending(
            self.tally,
            self.stopped,
            self.interrupted,
            self.declined,
            next_due,
            self.resume is not None,
            tuple(self.unrecorded),
        )

    def abandon(self) -> None:
        """Leave the journal consistent, whatever is in flight."""
        try:
            self.journal.doubt()
        except JournalError:
            return  # the next run's start does the same

    def _step(self) -> bool:
        """Offer one delivery, or wait for an outcome or a moment; return False when this run is done."""
        now = self.clock.monotonic()
        candidate = self._candidate(now)
        if candidate and self._slot(now) <= now and self.carrier.room > 0 and self._claim(candidate, now):
            self._offer(candidate, now)
            return True
        slot = self.pace.next(now)
        if not self.flying:
            if candidate is None and self._pausing():
                self.declined = not self.watch.go_on(dict(self.tally))
                self.first = None
                return not self.declined
            if not self._worth_waiting(candidate, slot, now):
                return False
        moments = [now + SLICE]
        if candidate:
            moments.append(slot)
        elif self.agenda:
            moments.append(self.agenda[0].due)
        self._collect(max(0.0, min(moments) - now))
        return True

    def _slot(self, now: float) -> float:
        """Return the moment when the next may go, as far as is known of this run and of others."""
        slot = self.pace.next(now)
        if self.ledger and slot > now:
            slot = self._hear(now, *self.ledger.news())
        return slot

    def _hear(self, now: float, outcomes: list[float], in_flight: int) -> float:
        """Take in what other runs did, and return the moment when the next may go."""
        self._remember(outcomes)
        self.pace.elsewhere(in_flight)
        return self.pace.next(now)

    def _claim(self, later: _Later, now: float) -> bool:
        """Take a place among all the runs of the account; return False when another was quicker."""
        if self.ledger is None:
            return True
        place = self.ledger.claim(lambda outcomes, in_flight: self._hear(now, outcomes, in_flight) <= now)
        if place is not None:
            self.places[later.delivery.key] = place
        return place is not None

    def _land(self, key: str, *, tried: bool) -> None:
        if self.ledger and key in self.places:
            self.ledger.land(self.places.pop(key), tried=tried)

    def _candidate(self, now: float) -> _Later | None:
        """Return what goes next: a deferred row that is due, else one fresh delivery."""
        if self._pausing():
            return None
        if self.agenda and self.agenda[0].due <= now:
            return self.agenda[0]
        while self.ahead is None and not self.exhausted and not self.clock.interrupted:
            delivery = next(self.deliveries, None)
            if delivery is None:
                self.exhausted = True
                break
            self.begun += 1
            due = self._due(delivery, now)
            later = _Later(due, self.begun, delivery, counted=False)
            if due > now:
                self._hold(later)
            else:
                self.ahead = later
        return self.ahead

    def _due(self, delivery: Delivery, now: float) -> float:
        if delivery.not_before is None:
            return now
        ahead = delivery.not_before - self.clock.now()
        # A clock that was set back must not put a row off for longer than its schedule ever would.
        return now + min(max(0.0, ahead), self.retry.longest)

    def _pausing(self) -> bool:
        return self.first is not None and self.begun >= self.first and self.ahead is None

    def _worth_waiting(self, candidate: _Later | None, slot: float, now: float) -> bool:
        """Whether to stay, with nothing in flight, until something can go."""
        if candidate is None:
            if not self.agenda or self.agenda[0].due - now > self.wait:
                return False
            self._announce(self.agenda[0].due, "retry")
        elif slot == math.inf:
            return True  # other runs have messages in flight
        elif slot > now:
            if slot - now > self.patience_limit:
                self.resume = slot
                return False
            self._announce(slot, "pace")
        return True

    def _announce(self, until: float, why: Literal["pace", "retry"]) -> None:
        if self.waiting_for != until:
            self.waiting_for = until
            self.watch.waiting(self._epoch(until), why)

    def _offer(self, later: _Later, now: float) -> None:
        if later is self.ahead:
            self.ahead = None
        else:
            heapq.heappop(self.agenda)
            self.held -= len(later.delivery.content)
        key = later.delivery.key
        if key in self.flying:
            raise JournalError(f"row {later.delivery.row} is being sent already; it was not sent again")
        self.flying[key] = later
        self.pace.take(now)
        self.carrier.offer(later.delivery)

    def _hold(self, later: _Later) -> None:
        size = len(later.delivery.content)
        if self.held + size <= AGENDA_BYTES:
            self.held += size
            heapq.heappush(self.agenda, later)

    def _collect(self, patience: float) -> None:
        began = self.clock.monotonic()
        outcomes = self.carrier.collect(patience)
        if not outcomes and not self.flying:
            self.clock.sleep(patience - (self.clock.monotonic() - began))
        error: MergeError | None = None
        for outcome in outcomes:
            try:
                self._bring_home(outcome)
            except MergeError as raised:
                error = error or raised
        if error:
            raise error

    def _bring_home(self, outcome: Outcome) -> None:
        later = self.flying.pop(outcome.key)
        delivery = later.delivery
        self.pace.done(self.clock.monotonic())
        attempts = delivery.attempts + 1
        due, reason = None, ""
        try:
            if outcome.state is State.DEFERRED:
                now = self.clock.now()
                standing = self.journal.standing(outcome.key)
                since = standing.first if standing and standing.first is not None else now
                decision = self.retry.decide(attempts, since, now)
                if isinstance(decision, Again):
                    due = decision.at
                else:
                    outcome = replace(outcome, state=State.FAILED)
                    reason = decision.reason
            self.journal.record(outcome, attempts=attempts, due=due, reason=reason)
        except JournalError:
            self.unrecorded.append(outcome)
            raise
        self.tally[State.DEFERRED] -= later.counted
        self.tally[outcome.state] += 1
        if due is not None:
            again = replace(delivery, attempts=attempts, not_before=due)
            self._hold(
                _Later(self.clock.monotonic() + due - self.clock.now(), later.place, again, counted=True)
            )
        self.watch.outcome(outcome, attempts, due)
        self._land(outcome.key, tried=True)
        if why := self.brake.see(outcome):
            raise CarrierError(
                f"stopped, because {why}",
                hint="look at the reply, mend what it complains about, then run mergepost send again",
            )

    def _settle(self) -> None:
        """Take back what was not begun, and wait for the outcome of the rest."""
        while self.flying:
            for delivery in self.carrier.recall():
                del self.flying[delivery.key]
                self.pace.give_back()
                self._withdraw(delivery.key)
            if not self.flying:
                return
            before = len(self.flying)
            try:
                self._collect(SLICE)
            except MergeError as error:
                self.stopped = self.stopped or error
                if len(self.flying) == before:
                    break
        for key in self.flying:
            self._lose(key)

    def _withdraw(self, key: str) -> None:
        """Put a row back that the carrier gave back."""
        try:
            self.journal.withdraw(key)
            self._land(key, tried=False)
        except JournalError as error:
            self.stopped = self.stopped or error

    def _lose(self, key: str) -> None:
        """Count a row that the carrier brought neither home nor back."""
        try:
            self.journal.doubt()
            standing = self.journal.standing(key)
            self.tally[State.UNCERTAIN] += standing is not None and standing.state is State.UNCERTAIN
            self._land(key, tried=True)
        except JournalError as error:
            self.stopped = self.stopped or error

    def _recollect(self) -> None:
        """Tell the pace what was sent before this run."""
        if not self.pace.longest:
            return
        since = self.clock.now() - self.pace.longest
        times = self.journal.recent(since)
        if self.ledger:
            # Each may know of messages that the other does not; counting both would count most of them twice.
            times = max(times, self.ledger.recent(since), key=len)
        self._remember(times)

    def _remember(self, times: list[float]) -> None:
        # In this order: what passes between the two readings may put the past later, never earlier.
        epoch = self.clock.now()
        now = self.clock.monotonic()
        # A clock that was set back makes the past look like the future: then it counts as now.
        self.pace.feed(now - max(0.0, epoch - time) for time in times)

    def _epoch(self, moment: float) -> float:
        return self.clock.now() + moment - self.clock.monotonic()
