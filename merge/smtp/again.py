"""When is the next line due, after one was lost?

The schedule counts losses in a row during which no row got an answer. tenacity keeps it; the waits are made
when the next line is needed, not when the last one is lost, so that what is known goes home first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from merge.smtp.wire import Clock

if TYPE_CHECKING:
    from tenacity import AttemptManager, RetryCallState, Retrying

SCHEDULE = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds before each new line, up to a quarter more by chance; after the last the run stops."""


class LineLost(Exception):  # noqa: N818 - what happened, for tenacity to count
    """A line ended before its time. `reason` is a predicate of the server, `least` the shortest wait now."""

    def __init__(self, reason: str, least: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.least = least


class Exhausted(Exception):  # noqa: N818 - the schedule's end
    """The schedule is over. `reason` is that of the last loss."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Again:
    """The attempts at a line. `tell` hears of each wait: what happened, seconds, which wait, of how many."""

    def __init__(
        self, clock: Clock, tell: Callable[[str, float, int, int], None], schedule: Sequence[float] = SCHEDULE
    ) -> None:
        self._clock = clock
        self._tell = tell
        self._schedule = tuple(schedule)
        self._attempts: Iterator[AttemptManager] | None = None
        self._attempt: AttemptManager | None = None

    def start_over(self) -> None:
        """Forget the losses: a row got its answer."""
        self._attempts = self._attempt = None

    def lost(self, reason: str, least: float = 0.0) -> None:
        """Count a loss; the next `due` waits for it, `least` seconds or more."""
        if self._attempt is None:
            self._attempt = next(self._running())
        with self._attempt:
            raise LineLost(reason, least)
        self._attempt = None

    def due(self) -> bool:
        """Wait until a new line may be tried. False: interrupted. Raises Exhausted after the last attempt."""
        if self._attempt is None:
            try:
                self._attempt = next(self._running())
            except LineLost as lost:
                self._attempts = None
                if self._clock.interrupted:
                    return False
                raise Exhausted(lost.reason) from None
        return not self._clock.interrupted

    def _running(self) -> Iterator[AttemptManager]:
        if self._attempts is None:
            self._attempts = iter(self._retrying())
        return self._attempts

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
            return max(scheduled(state), _loss(state).least)

        def stop(state: RetryCallState) -> bool:
            return self._clock.interrupted or enough(state)

        return Retrying(
            wait=wait, stop=stop, sleep=self._clock.sleep, before_sleep=self._announce, reraise=True
        )

    def _announce(self, state: RetryCallState) -> None:
        seconds = state.next_action.sleep if state.next_action else 0.0
        self._tell(_loss(state).reason, seconds, state.attempt_number, len(self._schedule))


def _loss(state: RetryCallState) -> LineLost:
    loss = state.outcome.exception() if state.outcome else None
    return loss if isinstance(loss, LineLost) else LineLost("was lost", 0.0)
