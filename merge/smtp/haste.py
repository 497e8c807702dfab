"""Is it worth saying several commands at once? Numbers in, a yes or no out.

A server with Nagle's algorithm on that answers a group in small segments waits, after the first, for our
acknowledgement, which some systems put off by 40 to 200 ms and cannot be told not to. Then a group takes
longer than its commands one by one. This is found out by trying, once a run: it cannot change to and fro.
"""

from __future__ import annotations

import statistics

SAMPLE = 5
"""So many letters, in groups and then one by one, are compared."""

LATE = 0.03
"""Seconds beyond a round trip from which on a group is suspected of having waited for an acknowledgement."""

GAIN = 0.8
"""One by one has to take less than this share of the time that groups take."""


class Haste:
    """Compares what letters wait for their answers, in seconds, in groups and one by one."""

    def __init__(self) -> None:
        self.one_by_one = False
        self._decided = False
        self._round_trip = 0.0
        self._grouped: list[float] = []
        self._single: list[float] = []

    def greeted(self, seconds: float) -> None:
        """Note how long an answer to a single command took."""
        self._round_trip = seconds

    def answered(self, seconds: float, *, grouped: bool) -> None:
        """Note how long one letter waited for its answers in all."""
        if self._decided or grouped is self.one_by_one:
            return  # what was under way when the way of asking changed tells nothing
        found = self._single if self.one_by_one else self._grouped
        found.append(seconds)
        if len(found) < SAMPLE:
            return
        usual = statistics.median(found)
        if self.one_by_one:
            self.one_by_one = usual < GAIN * statistics.median(self._grouped)
            self._decided = True
        else:
            self.one_by_one = usual > self._round_trip + LATE
            self._decided = not self.one_by_one
