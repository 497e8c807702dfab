"""How much slower does the server want us? Numbers in, a number out.

When a server finds us too fast, the time between two messages doubles; each message that it takes brings us a
hundredth of the way back (additive increase, multiplicative decrease of the rate).
"""

from __future__ import annotations

LEAST, MOST = 1.0, 300.0
"""The shortest and the longest time, in seconds, that is put between two messages."""

STEPS = 100
"""After so many messages that were taken, the old rate is tried again."""


class Throttle:
    """The time to keep between messages. Moments are in seconds, of any clock that only moves forward.

    `gap` is the time from one message to the next; 0: as fast as it goes.
    """

    def __init__(self) -> None:
        self.gap = 0.0
        self._usual = 0.0  # seconds between messages before the server complained
        self._interval = 0.0
        self._last: float | None = None

    def offered(self, now: float) -> None:
        """Note that a message was taken on."""
        if self._last is not None:
            self._interval += (min(now - self._last, MOST) - self._interval) / 8
        self._last = now

    def complained(self) -> None:
        """Note that the server finds us too fast."""
        if not self.gap:
            self._usual = max(self._interval, 1 / STEPS)
        self.gap = min(MOST, max(LEAST, 2 * max(self.gap, self._usual)))

    def accepted(self) -> None:
        """Note that a message was taken."""
        if self.gap:
            self.gap = 1 / (1 / self.gap + 1 / (self._usual * STEPS))
            if self.gap <= self._usual:
                self.gap = 0.0

    def wait(self, now: float) -> float:
        """Return the seconds until the next message may be taken on."""
        return max(0.0, self._last + self.gap - now) if self.gap and self._last is not None else 0.0
