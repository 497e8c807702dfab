"""How does a letter come into a folder on this computer?

Each of these carriers has one moment that counts as acceptance: a rename, or the first byte that is appended.
What is known to be there after that moment, and on the disk, is SENT.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

from merge.carrier import BeforeCommit, OneByOne, Undone
from merge.clock import Clock
from merge.disk import eml_name
from merge.errors import CarrierError
from merge.model import Delivery, Outcome, State

_FROM = re.compile(rb"^(>*From )", re.MULTILINE)
_LOCK_SECONDS = 10.0
_LOCK_PAUSE = 0.05
_HERE_ALREADY = "was in the folder already"


class _Filed(OneByOne):
    """Files of their own, each named alike on every attempt, so that a letter is never there twice."""

    def __init__(self, path: Path, before_commit: BeforeCommit | None = None) -> None:
        super().__init__(before_commit)
        self._path = path

    def _file(self, delivery: Delivery, draft: Path, target: Path, content: bytes) -> Outcome:
        """Write a file that is nowhere to be seen, then put it where it counts."""
        try:
            _write_synced(draft, content)
            self._commit(delivery)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        draft.rename(target)
        _sync_folder(target.parent)
        return self._outcome(delivery, State.SENT, f"written as {target.name}")

    def _there(self, delivery: Delivery) -> Outcome:
        self._commit(delivery)
        return self._outcome(delivery, State.SENT, _HERE_ALREADY)

    def _complaint(self, error: OSError) -> str:
        return f"{self._path} cannot be written: {super()._complaint(error)}"


class Maildir(_Filed):
    """Delivers into a maildir: written and synced in `tmp`, then renamed into `new`.

    The folder is made where it is missing. A letter that an earlier attempt has put there, read meanwhile or
    not, is not put there again. Raises CarrierError when the folder cannot be used.
    """

    def __init__(self, path: Path, before_commit: BeforeCommit | None = None) -> None:
        super().__init__(path, before_commit)
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            for name in ("tmp", "new", "cur"):
                (path / name).mkdir(mode=0o700, exist_ok=True)
            # A mail program that has seen a message moves it to `cur` and adds its flags behind a colon.
            self._there_at_start = {
                entry.name.partition(":")[0] for name in ("new", "cur") for entry in os.scandir(path / name)
            }
        except OSError as error:
            raise CarrierError(self._complaint(error), hint="maildir names a folder of yours") from None

    def _hand_over(self, delivery: Delivery) -> Outcome:
        name = f"{delivery.date.timestamp():.0f}.{_mark(delivery)}.mergepost"
        if name in self._there_at_start:
            return self._there(delivery)
        content = delivery.content.replace(b"\r\n", b"\n")
        return self._file(delivery, self._path / "tmp" / name, self._path / "new" / name, content)


class Folder(_Filed):
    """Writes each message as one .eml file, whole or not at all, named by row and address.

    The folder is made where it is missing. Another letter under the same name is left alone. Raises
    CarrierError when the folder cannot be used.
    """

    def __init__(self, folder: Path, before_commit: BeforeCommit | None = None) -> None:
        super().__init__(folder, before_commit)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CarrierError(self._complaint(error), hint="eml names a folder of yours") from None

    def _hand_over(self, delivery: Delivery) -> Outcome:
        usual = self._path / eml_name(delivery.row, delivery.envelope.recipients[0])
        own = usual.with_name(f"{usual.stem}-{_mark(delivery)[:12]}.eml")
        for target in (usual, own):
            if not target.exists():
                return self._file(delivery, target.with_name(f"{target.name}.part"), target, delivery.content)
            if target is own or target.read_bytes() == delivery.content:
                return self._there(delivery)
        raise AssertionError("one of two names is free or taken")


class Mbox(OneByOne):
    """Appends to an mbox file (the variant mboxrd of RFC 4155), locked against other programs meanwhile.

    What could not be written whole is taken away again. Raises CarrierError when the file cannot be used.
    """

    def __init__(self, path: Path, clock: Clock, before_commit: BeforeCommit | None = None) -> None:
        super().__init__(before_commit)
        self._path = path
        self._clock = clock
        try:
            with self._opened():
                pass
        except OSError as error:
            raise CarrierError(self._complaint(error), hint="mbox names a file of yours") from None

    def _hand_over(self, delivery: Delivery) -> Outcome:
        entry = mbox_entry(delivery)
        with self._opened() as handle:
            self._lock(handle)
            size = os.fstat(handle).st_size
            tail = _last_two(handle, size) if size else b"\n\n"
            # What another program, or the power, has left unfinished must not swallow this letter.
            gap = b"" if tail == b"\n\n" else b"\n" if tail.endswith(b"\n") else b"\n\n"
            self._commit(delivery)
            try:
                _write_all(handle, gap + entry)
                os.fsync(handle)
            except OSError as error:
                self._take_back(handle, size, error)
        return self._outcome(delivery, State.SENT, f"appended to {self._path.name}")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the file anew: another program may have put a new one in its place."""
        fresh = not self._path.exists()
        handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise CarrierError(f"{self._path} is no file", hint="mbox names a file of yours")
            if fresh:
                _sync_folder(self._path.parent)
            yield handle
        finally:
            os.close(handle)

    def _lock(self, handle: int) -> None:
        """Lock the file, as mail programs do. Raises CarrierError when another one does not let go."""
        try:
            import fcntl  # noqa: PLC0415 - not on every system; where it is missing, nobody locks
        except ImportError:
            return
        until = self._clock.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if self._clock.monotonic() >= until or self._clock.interrupted:
                    raise CarrierError(
                        f"another program has locked {self._path}", hint="close it, then send again"
                    ) from None
                self._clock.sleep(_LOCK_PAUSE)
            else:
                return

    def _take_back(self, handle: int, size: int, error: OSError) -> None:
        """Cut off what was written. Raises Undone when that is certain, else OSError."""
        os.ftruncate(handle, size)
        os.fsync(handle)
        raise Undone(self._complaint(error), hint="nothing of this letter is left in the file") from None

    def _complaint(self, error: OSError) -> str:
        return f"{self._path} cannot be written: {super()._complaint(error)}"


def mbox_entry(delivery: Delivery) -> bytes:
    """Return a message as it stands in an mbox file: its From line, LF line ends, a blank line behind it."""
    sender = delivery.envelope.sender.encode("utf-8")
    moment = delivery.date.astimezone(UTC).ctime().encode("ascii")
    content = _FROM.sub(rb">\1", delivery.content.replace(b"\r\n", b"\n"))
    return b"From %s %s\n%s\n" % (sender or b"MAILER-DAEMON", moment, content)


def _mark(delivery: Delivery) -> str:
    """Return what stands for this version of this letter, on every attempt."""
    return hashlib.sha256(f"{delivery.message_id}\0{delivery.digest}".encode()).hexdigest()[:32]


def _write_synced(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags, 0o600)
    try:
        _write_all(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)


def _last_two(handle: int, size: int) -> bytes:
    """Return the last two bytes of a file; it is written at its end, wherever it was read."""
    os.lseek(handle, max(0, size - 2), os.SEEK_SET)
    return os.read(handle, 2)


def _write_all(handle: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk; a system that cannot open a folder keeps them by itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
