"""What time is it? The only room that sleeps, and the only one that reads a clock."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """A source of time that can be waited on, and woken."""

    @property
    def interrupted(self) -> bool:
        """Whether the person has asked the run to stop."""

    def now(self) -> float:
        """Seconds since the epoch: for records, never for measuring."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that no one can set: for measuring, never for records."""

    def sleep(self, seconds: float) -> None:
        """Wait; return early, at once, when interrupted."""

    def interrupt(self) -> None:
        """End every sleep, now and from now on. Safe to call from a signal handler."""


class WallClock:
    """The machine's own time."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    @property
    def interrupted(self) -> bool:
        """Whether `interrupt` was called."""
        return self._stop.is_set()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that only move forward."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for that long, or until interrupted."""
        if seconds > 0:
            self._stop.wait(seconds)

    def interrupt(self) -> None:
        """End every sleep, now and from now on."""
        self._stop.set()


class TestClock:
    """A clock for tests: time passes only by sleeping, and at once.

    `epoch` is where its calendar starts, in seconds. `slept` lists every wait that was asked for.
    """

    __test__ = False

    def __init__(self, epoch: float = 1_800_000_000.0) -> None:
        self._epoch = epoch
        self._elapsed = 0.0
        self.interrupted = False
        self.slept: list[float] = []

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._epoch + self._elapsed

    def monotonic(self) -> float:
        """Seconds slept since the start."""
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.slept.append(seconds)
        if not self.interrupted and seconds > 0:
            self._elapsed += seconds

    def interrupt(self) -> None:
        """From now on, sleeping passes no time."""
        self.interrupted = True

    def shift(self, seconds: float) -> None:
        """Set the calendar, as an administrator or a resume from suspend would; measured time stays."""
        self._epoch += seconds
