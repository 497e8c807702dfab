"""When may the next one go? Numbers in, a moment out; never waits.

A server counts a message at a moment that nobody here knows: somewhere between its being offered and
its outcome. So a message holds its place in a window from the one until a window's length after the
other. No server then ever sees more than the limit in any window, wherever that begins.

Providers count messages for the short limits and recipients for that of the day: a letter with one Cc
takes two places in a day.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

SECOND, MINUTE, HOUR, DAY = 1.0, 60.0, 3600.0, 86400.0


Past: TypeAlias = tuple[float, int]
"""The moment of an outcome, and how many people its letter was for."""


class Pace:
    """Limits per second, minute, hour and rolling day; all that are given hold at once.

    Each letter is one message and has some number of recipients, of which `per_day` alone is a limit. One
    with more recipients than a day allows goes when a whole day is free.

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
        self._limits = [
            _Limit(number, window, of_people=window == DAY) for number, window in given if number is not None
        ]
        self._daily = next((limit for limit in self._limits if limit.window == DAY), None)
        if gap and not 0 <= gap[0] <= gap[1]:
            raise ValueError("a gap goes from fewer seconds to more")
        self._gap = gap
        self._chance = chance or Random()  # noqa: S311 - to look unhurried, not to keep a secret
        self._after_gap = float("-inf")
        self._in_flight = _Load()
        self._elsewhere = _Load()

    @property
    def longest(self) -> float:
        """The longest window in seconds: how far back history counts. 0 without limits."""
        return max((limit.window for limit in self._limits), default=0.0)

    def feed(self, outcomes: Iterable[Past]) -> None:
        """Take in when messages of other runs had their outcomes, in any order."""
        for moment, recipients in outcomes:
            self._settle(moment, recipients)

    def elsewhere(self, messages: int, recipients: int) -> None:
        """Note how many messages other runs have in flight now, and for how many recipients."""
        self._elsewhere = _Load(messages, recipients)

    def next(self, now: float, recipients: int = 1) -> float:
        """Return the first moment, `now` or later, when a message may be offered.

        It is infinite while that depends on the outcome of a message in flight.
        """
        if not self._limits:
            return max(now, self._after_gap)
        return max(now, self._after_gap, *(limit.next(self._load, recipients) for limit in self._limits))

    def take(self, moment: float, recipients: int = 1) -> None:
        """Note that a message is offered at this moment."""
        self._in_flight = self._in_flight.plus(1, recipients)
        if self._gap:
            self._after_gap = moment + self._chance.uniform(*self._gap)

    def done(self, moment: float, recipients: int = 1) -> None:
        """Note that a message that was offered has had its outcome."""
        self._in_flight = self._in_flight.plus(-1, -recipients)
        self._settle(moment, recipients)

    def give_back(self, recipients: int = 1) -> None:
        """Note that a message that was offered never reached the server."""
        self._in_flight = self._in_flight.plus(-1, -recipients)

    def allowance(self, now: float) -> int | None:
        """Return how many recipients the limit of the rolling day still lets through, None without one."""
        return self._daily.left(now, self._load) if self._daily else None

    def takes(self, recipients: int) -> int:
        """Return how much of a day's allowance a letter to so many takes: at most a whole day's."""
        return self._daily.takes(recipients) if self._daily else recipients

    def last_of(self, number: int, now: float, recipients: int | None = None) -> float:
        """Return the moment when the last of so many messages can go, if each takes no time.

        They have so many `recipients` in all, one each if that is not given.
        """
        load = _Load(number, number if recipients is None else recipients)
        moment = now
        for limit in self._limits:
            moment = max(moment, limit.last_of(load, now))
        if self._gap and number > 1:
            moment = max(moment, now + (number - 1) * sum(self._gap) / 2)
        return moment

    @property
    def _load(self) -> _Load:
        return self._in_flight.plus(self._elsewhere.messages, self._elsewhere.recipients)

    def _settle(self, moment: float, recipients: int) -> None:
        for limit in self._limits:
            limit.settle(moment, recipients)


@dataclass(frozen=True, slots=True)
class _Load:
    """So many messages, for so many recipients."""

    messages: int = 0
    recipients: int = 0

    def plus(self, messages: int, recipients: int) -> _Load:
        """Return the load with more messages, or fewer."""
        return _Load(self.messages + messages, self.recipients + recipients)


class _Limit:
    """At most `number` messages in any `window` seconds, or, `of_people`, messages for so many people."""

    def __init__(self, number: int, window: float, *, of_people: bool) -> None:
        if number < 1:
            raise ValueError("a pace is at least one message in its window")
        self._number = number
        self.window = window
        self._of_people = of_people
        self._outcomes: list[float] = []

    def settle(self, moment: float, recipients: int) -> None:
        """Remember an outcome, in order, as long as it can matter."""
        for _ in range(self.takes(recipients)):
            insort(self._outcomes, moment)
        if len(self._outcomes) > self._number:
            del self._outcomes[: len(self._outcomes) - self._number]

    def next(self, in_flight: _Load, recipients: int) -> float:
        """Return when one more may be offered beside those in flight."""
        places = self._number - self._counted(in_flight) - (self.takes(recipients) - 1)
        if places <= 0:
            return float("inf")
        return self._freed(places)

    def takes(self, recipients: int) -> int:
        """Return how many places a letter to so many takes."""
        return min(recipients, self._number) if self._of_people else 1

    def left(self, now: float, in_flight: _Load) -> int:
        """Return how many more places there are now."""
        held = sum(moment + self.window > now for moment in self._outcomes)
        return max(0, self._number - self._counted(in_flight) - held)

    def last_of(self, load: _Load, now: float) -> float:
        """Return when the last of a load may go, the earlier ones having gone as soon as they could."""
        rounds, place = divmod(max(self._counted(load), 1) - 1, self._number)
        return max(now, self._freed(self._number - place)) + rounds * self.window

    def _counted(self, load: _Load) -> int:
        return load.recipients if self._of_people else load.messages

    def _freed(self, places: int) -> float:
        """Return when fewer than `places` of the outcomes are still held."""
        if len(self._outcomes) < places:
            return float("-inf")
        return self._outcomes[-places] + self.window
