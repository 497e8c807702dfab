"""Whose turn is it, among all the runs of an account?

The pace knows the limits, the ledger what other runs do. A letter goes when both have a place for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from merge.clock import Clock
    from merge.journal import Journal, Ledger
    from merge.journal.ledger import Load
    from merge.pace import Pace, Past


class Turns:
    """The places that letters of one run take. Moments are those of the clock that only moves forward.

    Without a `ledger` this run is alone. Every method may raise JournalError.
    """

    def __init__(self, pace: Pace, clock: Clock, journal: Journal, ledger: Ledger | None) -> None:
        self._pace = pace
        self._clock = clock
        self._journal = journal
        self._ledger = ledger
        self._places: dict[str, int] = {}

    def recollect(self) -> None:
        """Tell the pace what was sent before this run."""
        if not self._pace.longest:
            return
        since = self._clock.now() - self._pace.longest
        past = self._journal.recent(since)
        if self._ledger:
            # Each may know of messages that the other does not; counting both would count most of them twice.
            past = max(past, self._ledger.recent(since), key=len)
        self._remember(past)

    def slot(self, now: float, size: int) -> float:
        """Return the moment when a letter to so many may go, as far as is known of this run and of others."""
        slot = self._pace.next(now, size)
        if self._ledger and slot > now:
            slot = self._hear(now, size, *self._ledger.news())
        return slot

    def claim(self, key: str, now: float, size: int) -> bool:
        """Take a place for a letter to so many people; return False when another run was quicker."""
        if self._ledger:
            place = self._ledger.claim(lambda *news: self._hear(now, size, *news) <= now, size)
            if place is None:
                return False
            self._places[key] = place
        self._pace.take(now, size)
        return True

    def give_back(self, key: str, size: int) -> None:
        """Note that a letter that had a place never reached a server."""
        self._pace.give_back(size)
        self._land(key, tried=False)

    def over(self, key: str) -> None:
        """Note that a letter that had a place had its outcome."""
        self._land(key, tried=True)

    def _land(self, key: str, *, tried: bool) -> None:
        if self._ledger and key in self._places:
            self._ledger.land(self._places.pop(key), tried=tried)

    def _hear(self, now: float, size: int, outcomes: list[Past], in_flight: Load) -> float:
        """Take in what other runs did, and return the moment when a letter to so many may go."""
        self._remember(outcomes)
        self._pace.elsewhere(*in_flight)
        return self._pace.next(now, size)

    def _remember(self, past: list[Past]) -> None:
        # In this order: what passes between the two readings may put the past later, never earlier.
        epoch = self._clock.now()
        now = self._clock.monotonic()
        # A clock that was set back makes the past look like the future: then it counts as now.
        self._pace.feed((now - max(0.0, epoch - time), recipients) for time, recipients in past)
