"""What goes out next, and what came of it?

The one loop: it takes deliveries out at the right moment and brings every outcome home.
It knows neither what a letter is nor how it travels. Whatever ends the loop, what is in flight is
settled first, and every outcome is in the journal before anything else is done about it.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from merge.brake import Brake
from merge.carrier import nothing_against
from merge.errors import CarrierError, JournalError, MergeError
from merge.model import Outcome, State
from merge.retry import Again
from merge.turn import Turns
from merge.watch import Unwatched, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from merge.carrier import Carrier, Veto
    from merge.clock import Clock
    from merge.journal import Journal, Ledger, Mailed
    from merge.model import Delivery
    from merge.pace import Pace
    from merge.retry import Retry

SLICE = 0.25
"""The longest wait in seconds before looking whether the person wants to stop."""

AGENDA_BYTES = 64 * 1024 * 1024
"""How many bytes of letters are held for a later attempt; rows beyond that wait for a later run."""


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
        return sum(self.tally.values()) - self.tally.get(State.SKIPPED, 0)


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
    mailed: Mailed | None = None,
    veto: Veto = nothing_against,
) -> Ending:
    """Take out every delivery that can go now, bring home every outcome, and say how it ended.

    Deferred rows are tried again when they are due, while others go out; at the end the run stays for them as
    long as the next is due within `wait` seconds. When the pace lets nothing go for more than
    `patience_limit` seconds, the run ends instead. After `first` rows it asks `watch` whether to go on.
    One delivery at most is read before its turn. With a `ledger` the pace holds for all runs of an account;
    `mailed` is told who got a letter. A delivery that `veto` objects to when its moment has come ends as
    skipped.

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
        Turns(pace, clock, journal, ledger),
        mailed,
        veto,
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

    @property
    def size(self) -> int:
        """To how many people the letter goes."""
        return len(self.delivery.envelope.recipients)


class _Home(NamedTuple):
    """An outcome that is on record, and the moment of the next attempt, if there is one."""

    outcome: Outcome
    due: float | None = None


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
    turns: Turns
    mailed: Mailed | None
    veto: Veto
    ahead: _Later | None = None
    exhausted: bool = False
    begun: int = 0
    agenda: list[_Later] = field(default_factory=list)
    held: int = 0
    flying: dict[str, _Later] = field(default_factory=dict)
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
            self.turns.recollect()
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
        size = candidate.size if candidate else 1
        if candidate and self.carrier.room > 0 and self.turns.slot(now, size) <= now:
            delivery = candidate.delivery
            if reason := self.veto(delivery):
                self._take_up(candidate)
                self.journal.skip(delivery.key, reason)
                outcome = Outcome(delivery.key, delivery.row, State.SKIPPED, "MAIL", reply=reason)
                self._skipped(candidate, outcome)
                return True
            if self.turns.claim(delivery.key, now, size):
                self._offer(candidate)
                return True
        slot = self.pace.next(now, size)
        if not self.flying:
            if candidate is None and self._pausing():
                self.first, begun = None, self.begun
                self._read_on(now)
                self.declined = self.begun > begun and not self.watch.go_on(dict(self.tally))
                return not self.declined
            if not self._worth_waiting(candidate, slot, now):
                return False
        moments = [now + SLICE]
        if candidate:
            # Without room it is the carrier that makes the letter wait, and that no moment is known of.
            moments += [slot] if self.carrier.room > 0 else []
        elif self.agenda:
            moments.append(self.agenda[0].due)
        self._collect(max(0.0, min(moments) - now))
        return True

    def _candidate(self, now: float) -> _Later | None:
        """Return what goes next: a deferred row that is due, else one fresh delivery."""
        if self._pausing():
            return None
        if self.agenda and self.agenda[0].due <= now:
            return self.agenda[0]
        self._read_on(now)
        return self.ahead

    def _read_on(self, now: float) -> None:
        """Read until a fresh delivery is there that can go now, or nothing is left to read."""
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

    def _take_up(self, later: _Later) -> None:
        if later is self.ahead:
            self.ahead = None
        else:
            heapq.heappop(self.agenda)
            self.held -= len(later.delivery.content)

    def _offer(self, later: _Later) -> None:
        self._take_up(later)
        key = later.delivery.key
        if key in self.flying:
            raise JournalError(f"row {later.delivery.row} is being sent already; it was not sent again")
        self.flying[key] = later
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
        homes = self._record_together(outcomes) if len(outcomes) > 1 else None
        error: MergeError | None = None
        for number, outcome in enumerate(outcomes):
            try:
                self._bring_home(outcome, homes[number] if homes else None)
            except MergeError as raised:
                error = error or raised
        if error:
            raise error

    def _record_together(self, outcomes: Sequence[Outcome]) -> list[_Home] | None:
        """Write down what came back at once with one commit; None if the disk does not take that."""
        try:
            with self.journal.together():
                return [self._record(outcome) for outcome in outcomes]
        except JournalError:
            return None

    def _record(self, outcome: Outcome) -> _Home:
        """Write down what an attempt came to; a row that is not tried again has failed."""
        if outcome.state is State.SKIPPED:
            self.journal.skip(outcome.key, outcome.reply)
            return _Home(outcome)
        delivery = self.flying[outcome.key].delivery
        attempts = delivery.attempts + 1
        due, reason = None, ""
        if outcome.recipient not in {"", delivery.envelope.recipients[0]}:
            # The row is shown with its To: nobody is to look for the fault there.
            outcome = replace(outcome, reply=f"{outcome.recipient}: {outcome.reply}")
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
        return _Home(outcome, due)

    def _bring_home(self, outcome: Outcome, home: _Home | None) -> None:
        """Do all that follows from an outcome, once it is on record."""
        later = self.flying[outcome.key]
        try:
            home = home or self._record(outcome)
        except JournalError:
            self.unrecorded += [outcome] if outcome.state is not State.SKIPPED else []
            raise
        finally:
            del self.flying[outcome.key]
            if outcome.state is State.SKIPPED:
                self.turns.give_back(outcome.key, later.size)
            else:
                self.pace.done(self.clock.monotonic(), later.size)
        if outcome.state is State.SKIPPED:
            self._skipped(later, outcome)
            return
        outcome, due = home.outcome, home.due
        delivery, attempts = later.delivery, later.delivery.attempts + 1
        self.tally[State.DEFERRED] -= later.counted
        self.tally[outcome.state] += 1
        if due is not None:
            again = replace(delivery, attempts=attempts, not_before=due)
            self._hold(
                _Later(self.clock.monotonic() + due - self.clock.now(), later.place, again, counted=True)
            )
        self.watch.outcome(outcome, attempts, due)
        self.turns.over(outcome.key)
        if self.mailed and outcome.state is State.SENT:
            self.mailed.note(delivery.envelope.recipients[0], self.clock.now())
        if why := self.brake.see(outcome):
            raise CarrierError(
                f"stopped, because {why}",
                hint="look at the reply, mend what it complains about, then run mergepost send again",
            )

    def _skipped(self, later: _Later, outcome: Outcome) -> None:
        """Count a row that does not go, of which nothing was said to any server."""
        self.tally[State.DEFERRED] -= later.counted
        self.tally[State.SKIPPED] += 1
        self.watch.outcome(outcome, later.delivery.attempts + 1, None)

    def _settle(self) -> None:
        """Take back what was not begun, and wait for the outcome of the rest."""
        while self.flying:
            for delivery in self.carrier.recall():
                self._withdraw(self.flying.pop(delivery.key))
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

    def _withdraw(self, later: _Later) -> None:
        """Put a row back that the carrier gave back."""
        key = later.delivery.key
        try:
            self.journal.withdraw(key)
            self.turns.give_back(key, later.size)
        except JournalError as error:
            self.stopped = self.stopped or error

    def _lose(self, key: str) -> None:
        """Count a row that the carrier brought neither home nor back."""
        try:
            self.journal.doubt()
            standing = self.journal.standing(key)
            self.tally[State.UNCERTAIN] += standing is not None and standing.state is State.UNCERTAIN
            self.turns.over(key)
        except JournalError as error:
            self.stopped = self.stopped or error

    def _epoch(self, moment: float) -> float:
        return self.clock.now() + moment - self.clock.monotonic()
