"""When may the next one go? Numbers in, a moment out; never waits.

A server counts a message at a moment that nobody here knows: somewhere between its being offered and
its outcome. So a message holds its place in a window from the one until a window's length after the
other. No server then ever sees more than the limit in any window, wherever that begins.
"""

from __future__ import annotations

from bisect import insort
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SECOND, MINUTE, HOUR, DAY = 1.0, 60.0, 3600.0, 86400.0


class Pace:
    """Limits of messages per second, minute, hour and rolling day; all that are given hold at once.

    `gap` is the least and the most seconds from one message to the next, drawn anew each time from
    `chance`: a pace as of a person at a desk. Moments are seconds on one clock that never goes back; they
    are given, never read here. Raises ValueError for a limit below one, or a gap that ends before it begins.
    """

    def __init__(  # noqa: PLR0913 - four limits of one kind, and how to vary between them
        self,
        per_second: int | None = None,
        per_minute: int | None = None,
        per_hour: int | None = None,
        per_day: int | None = None,
        *,
        gap: tuple[float, float] | None = None,
        chance: Random | None = None,
    ) -> None:
        given = ((per_second, SECOND), (per_minute, MINUTE), (per_hour, HOUR), (per_day, DAY))
        self._limits = [_Limit(number, window) for number, window in given if number is not None]
        self._daily = next((limit for limit in self._limits if limit.window == DAY), None)
        if gap and not 0 <= gap[0] <= gap[1]:
            raise ValueError("a gap goes from fewer seconds to more")
        self._gap = gap
        self._chance = chance or Random()  # noqa: S311 - to look unhurried, not to keep a secret
        self._after_gap = float("-inf")
        self._in_flight = 0
        self._elsewhere = 0

    @property
    def longest(self) -> float:
        """The longest window in seconds: how far back history counts. 0 without limits."""
        return max((limit.window for limit in self._limits), default=0.0)

    def feed(self, outcomes: Iterable[float]) -> None:
        """Take in the moments at which messages of other runs had their outcomes, in any order."""
        for moment in outcomes:
            self._settle(moment)

    def elsewhere(self, number: int) -> None:
        """Note how many messages other runs have in flight now."""
        self._elsewhere = number

    def next(self, now: float) -> float:
        """Return the first moment, `now` or later, when a message may be offered.

        It is infinite while that depends on the outcome of a message in flight.
        """
        in_flight = self._in_flight + self._elsewhere
        return max(now, self._after_gap, *(limit.next(in_flight) for limit in self._limits))

    def take(self, moment: float) -> None:
        """Note that a message is offered at this moment."""
        self._in_flight += 1
        if self._gap:
            self._after_gap = moment + self._chance.uniform(*self._gap)

    def done(self, moment: float) -> None:
        """Note that a message that was offered has had its outcome."""
        self._in_flight -= 1
        self._settle(moment)

    def give_back(self) -> None:
        """Note that a message that was offered never reached the server."""
        self._in_flight -= 1

    def allowance(self, now: float) -> int | None:
        """Return how many messages the limit of the rolling day still lets through, None without one."""
        return self._daily.left(now, self._in_flight + self._elsewhere) if self._daily else None

    def last_of(self, number: int, now: float) -> float:
        """Return the moment when the last of so many messages can go, if each takes no time."""
        moment = now
        for limit in self._limits:
            moment = max(moment, limit.last_of(number, now))
        if self._gap and number > 1:
            moment = max(moment, now + (number - 1) * sum(self._gap) / 2)
        return moment

    def _settle(self, moment: float) -> None:
        for limit in self._limits:
            limit.settle(moment)


class _Limit:
    """At most `number` messages in any `window` seconds."""

    def __init__(self, number: int, window: float) -> None:
        if number < 1:
            raise ValueError("a pace is at least one message in its window")
        self._number = number
        self.window = window
        self._outcomes: list[float] = []

    def settle(self, moment: float) -> None:
        """Remember an outcome, in order, as long as it can matter."""
        insort(self._outcomes, moment)
        if len(self._outcomes) > self._number:
            del self._outcomes[0]

    def next(self, in_flight: int) -> float:
        """Return when one more may be offered beside those in flight."""
        places = self._number - in_flight
        if places <= 0:
            return float("inf")
        return self._freed(places)

    def left(self, now: float, in_flight: int) -> int:
        """Return how many more may be offered now."""
        held = sum(moment + self.window > now for moment in self._outcomes)
        return max(0, self._number - in_flight - held)

    def last_of(self, number: int, now: float) -> float:
        """Return when the last of `number` may go, the earlier ones having gone as soon as they could."""
        rounds, place = divmod(max(number, 1) - 1, self._number)
        return max(now, self._freed(self._number - place)) + rounds * self.window

    def _freed(self, places: int) -> float:
        """Return when fewer than `places` of the outcomes are still held."""
        if len(self._outcomes) < places:
            return float("-inf")
        return self._outcomes[-places] + self.window
