"""Where do the mails lie? A Maildir or an mbox, read and never changed."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from merge.bounces.mail import LARGEST
from merge.errors import CarrierError, ConfigError


class Letterbox(Protocol):
    """A place where mails lie. `place` is what a person calls it.

    `mails` raises CarrierError when the place cannot be read to its end.
    """

    @property
    def place(self) -> str:
        """What a person calls it."""

    def mails(self) -> Iterator[tuple[str, bytes]]:
        """Yield each mail, cut off after LARGEST bytes, with a name that `done` understands."""

    def done(self, names: list[str]) -> None:
        """Put away what was understood, as far as the person asked for that."""

    def close(self) -> None:
        """Take leave."""


class Maildir:
    """A folder with `new` and `cur` in it, one file a mail. Raises ConfigError for anything else."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "cur").is_dir() and not (folder / "new").is_dir():
            raise ConfigError(
                f"{folder} is no Maildir",
                hint="a Maildir has the folders new and cur; name the one above them",
            )
        self._folder = folder

    @property
    def place(self) -> str:
        """Its path."""
        return str(self._folder)

    def mails(self) -> Iterator[tuple[str, bytes]]:
        """Yield each mail, by its file's name."""
        for part in ("cur", "new"):
            folder = self._folder / part
            try:
                paths = sorted(folder.iterdir()) if folder.is_dir() else []
            except OSError as error:
                raise _unreadable(folder, error) from error
            for path in paths:
                try:
                    if path.name.startswith(".") or not stat.S_ISREG(path.stat().st_mode):
                        continue
                    with path.open("rb") as file:
                        yield path.name, file.read(LARGEST)
                except FileNotFoundError:
                    continue  # a mail program moved it just now
                except OSError as error:
                    raise _unreadable(path, error) from error

    def done(self, names: list[str]) -> None:
        """Change nothing."""

    def close(self) -> None:
        """Leave it as it is."""


class Mbox:
    """One file with all mails in it, each behind a line "From ". Raises ConfigError for anything else."""

    def __init__(self, path: Path) -> None:
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise ConfigError(f"{path} is no mbox file", hint="a Maildir is named with --maildir")
            with path.open("rb") as file:
                begins = file.read(5)
        except FileNotFoundError:
            raise ConfigError(f"there is no file {path}") from None
        except OSError as error:
            raise _unreadable(path, error) from error
        if begins not in (b"", b"From "):
            raise ConfigError(f'{path} is no mbox file: it does not begin with "From "')
        self._path = path

    @property
    def place(self) -> str:
        """Its path."""
        return str(self._path)

    def mails(self) -> Iterator[tuple[str, bytes]]:
        """Yield each mail, by its number."""
        try:
            with self._path.open("rb") as file:
                yield from _cut(file)
        except OSError as error:
            raise _unreadable(self._path, error) from error

    def done(self, names: list[str]) -> None:
        """Change nothing."""

    def close(self) -> None:
        """Leave it as it is."""


def _cut(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """Cut an mbox at its "From " lines; memory stays flat, whatever is in the file."""
    kept: list[bytes] = []
    size = number = 0
    empty_before = True
    for line in _pieces(file):
        if empty_before and line.startswith(b"From "):
            if number:
                yield str(number), b"".join(kept)
            kept, size, number = [], 0, number + 1
        elif size < LARGEST:
            kept.append(_unquoted(line)[: LARGEST - size])
            size += len(kept[-1])
        empty_before = line in (b"\n", b"\r\n")
    if number:
        yield str(number), b"".join(kept)


def _unquoted(line: bytes) -> bytes:
    """Take away one of the ">" before a "From " that is not the beginning of a mail."""
    return line[1:] if line.startswith(b">") and line.lstrip(b">").startswith(b"From ") else line


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines, a very long one in pieces."""
    while line := file.readline(LARGEST):
        yield line


def _unreadable(path: Path, error: OSError) -> CarrierError:
    return CarrierError(f"{path} cannot be read: {error.strerror}", hint="look after its rights")
