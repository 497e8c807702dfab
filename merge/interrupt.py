"""What does Ctrl-C do? Once: settle the message in flight and stop. Twice: stop now, truthfully."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from merge.clock import Clock

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class StoppedNow(BaseException):
    """The person asked twice. Nothing catches this but the very end of a run."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class Interrupt:
    """What the person asked for: `signal` is the number of the first signal, 0 if there was none."""

    def __init__(self) -> None:
        self.signal = 0

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, as shells have it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal


@contextmanager
def interruptible(clock: Clock, tell: Callable[[str], None]) -> Iterator[Interrupt]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into `clock.interrupt()`, a second into StoppedNow.

    A second SIGHUP changes nothing: one closed terminal sends several, those of the kernel and of a shell.
    Outside the main thread, where signals cannot be handled, it changes nothing.
    """
    asked = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if asked.signal:
            if number == hangup:
                return
            raise StoppedNow(number)
        asked.signal = number
        clock.interrupt()
        tell("Stopping after this message... (once more to stop now)")

    hangup = getattr(signal, "SIGHUP", None)
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
