"""When may the next one go? Numbers in, a moment out; never waits.

A server counts a message at a moment that nobody here knows: somewhere between its being offered and
its outcome. So a message holds its place in a window from the one until a window's length after the
other. No server then ever sees more than the limit in any window, wherever that begins.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SECOND, MINUTE, HOUR, DAY = 1.0, 60.0, 3600.0, 86400.0


class Pace:
    """Limits of messages per second, minute, hour and rolling day; all that are given hold at once.

    Moments are seconds on one clock that never goes back; they are given, never read here.
    """

    def __init__(
        self,
        per_second: int | None = None,
        per_minute: int | None = None,
        per_hour: int | None = None,
        per_day: int | None = None,
    ) -> None:
        given = ((per_second, SECOND), (per_minute, MINUTE), (per_hour, HOUR), (per_day, DAY))
        self._limits = [_Limit(number, window) for number, window in given if number is not None]
        self._daily = next((limit for limit in self._limits if limit.window == DAY), None)
        self._in_flight = 0

    @property
    def longest(self) -> float:
        """The longest window in seconds: how far back history counts. 0 without limits."""
        return max((limit.window for limit in self._limits), default=0.0)

    def feed(self, outcomes: Iterable[float]) -> None:
        """Take in the moments at which earlier messages had their outcomes, oldest first."""
        for moment in outcomes:
            self._settle(moment)

    def next(self, now: float) -> float:
        """Return the first moment, `now` or later, when a message may be offered.

        It is infinite while that depends on the outcome of a message in flight.
        """
        return max((limit.next(now, self._in_flight) for limit in self._limits), default=now)

    def take(self, moment: float) -> None:  # noqa: ARG002 - when it was offered; it is held from then on
        """Note that a message is offered at this moment."""
        self._in_flight += 1

    def done(self, moment: float) -> None:
        """Note that a message that was offered has had its outcome."""
        self._in_flight -= 1
        self._settle(moment)

    def give_back(self) -> None:
        """Note that a message that was offered never reached the server."""
        self._in_flight -= 1

    def allowance(self, now: float) -> int | None:
        """Return how many messages the limit of the rolling day still lets through, None without one."""
        return self._daily.left(now, self._in_flight) if self._daily else None

    def _settle(self, moment: float) -> None:
        for limit in self._limits:
            limit.outcomes.append(moment)


class _Limit:
    """At most `number` messages in any `window` seconds."""

    def __init__(self, number: int, window: float) -> None:
        if number < 1:
            raise ValueError("a pace is at least one message in its window")
        self.number = number
        self.window = window
        self.outcomes: deque[float] = deque(maxlen=number)

    def next(self, now: float, in_flight: int) -> float:
        """Return when one more may be offered beside those in flight."""
        places = self.number - in_flight
        if places <= 0:
            return float("inf")
        if len(self.outcomes) < places:
            return now
        return max(now, self.outcomes[-places] + self.window)

    def left(self, now: float, in_flight: int) -> int:
        """Return how many more may be offered now."""
        held = sum(moment + self.window > now for moment in self.outcomes)
        return max(0, self.number - in_flight - held)
