"""Does another run hold the campaign? A lock that the kernel lets go of when its holder dies.

It is never on the journal itself: closing any handle of a file drops the process's POSIX locks on
it, and SQLite opens and closes that file as it pleases. On POSIX the lock is on the folder, so no
further file appears; where a folder cannot be locked (Windows, some network drives) it is on a file
beside the journal.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from merge.errors import JournalError, LockedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_HELD = {errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}


_PROBE_SECONDS = 0.05


class Lock:
    """Holds the folder of `path` until `release`, or until the process ends, however it ends.

    Someone who only looks (`is_held`) holds it for an instant; so, given a way to `pause`, it is tried
    again for as many seconds as `patience` says. With `beside` it holds a file beside `path` instead, so
    that the folder stays free for others. Raises LockedError when it stays held, JournalError when there
    is no locking here at all.
    """

    def __init__(
        self,
        path: Path,
        pause: Callable[[float], None] | None = None,
        patience: float = 0.25,
        *,
        beside: bool = False,
    ) -> None:
        self._handle: int | None = None
        for _ in range(1 + round(patience / _PROBE_SECONDS) if pause else 1):
            try:
                self._handle = _take(path, beside=beside)
            except LockedError as error:
                held = error
                if pause:
                    pause(_PROBE_SECONDS)
            else:
                return
        raise held

    def release(self) -> None:
        """Let go; doing so twice is harmless."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def is_held(path: Path) -> bool:
    """Whether some run holds the campaign whose journal is at `path`, at this very moment."""
    try:
        Lock(path).release()
    except LockedError:
        return True
    except JournalError:
        return False
    return False


@contextmanager
def waiting_for(path: Path) -> Iterator[None]:
    """Hold a file beside `path` for a moment, after whoever holds it now.

    For changes that take an instant, such as a line added to a file that others add to as well. Raises
    OSError where there is no locking.
    """
    handle = _wait_for_file(path.with_name(path.name + ".lock"))
    try:
        yield
    finally:
        os.close(handle)


def _take(path: Path, *, beside: bool) -> int:
    try:
        return _hold_file(path.with_name(path.name + ".lock")) if beside else _hold(path)
    except OSError as error:
        if error.errno in _HELD:
            raise LockedError(
                f"another run is sending this campaign: {path.parent}",
                hint="wait until it is done; mergepost status shows how far it is",
            ) from None
        raise JournalError(
            f"the folder {path.parent} cannot be locked: {error.strerror}",
            hint="move the campaign to a folder on a local disk where you may write",
        ) from error


def _or_close(handle: int, lock: Callable[[], object]) -> int:
    try:
        lock()
    except OSError:
        os.close(handle)
        raise
    return handle


if sys.platform == "win32":
    import msvcrt

    def _hold(path: Path) -> int:
        return _hold_file(path.with_name(path.name + ".lock"))

    def _hold_file(path: Path) -> int:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        return _or_close(handle, lambda: msvcrt.locking(handle, msvcrt.LK_NBLCK, 1))

    def _wait_for_file(path: Path) -> int:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        return _or_close(handle, lambda: msvcrt.locking(handle, msvcrt.LK_LOCK, 1))

else:
    import fcntl

    def _hold(path: Path) -> int:
        try:
            return _flock(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY))
        except OSError as error:
            if error.errno in _HELD:
                raise
        return _hold_file(path.with_name(path.name + ".lock"))

    def _hold_file(path: Path) -> int:
        return _flock(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))

    def _wait_for_file(path: Path) -> int:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        return _or_close(handle, lambda: fcntl.flock(handle, fcntl.LOCK_EX))

    def _flock(handle: int) -> int:
        return _or_close(handle, lambda: fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB))
