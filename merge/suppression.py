"""Who does not want our mail?

`suppressed.csv` has a line for each: an address, or a whole domain as `@example.org`, then a reason and a
date. People edit it by hand, web servers append to it, and a line that cannot be understood stops a sending.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

from merge.address import normalise
from merge.clock import WallClock
from merge.errors import AddressError, JournalError, ListError, Problem
from merge.journal.lock import waiting_for

SUPPRESSED_FILE = "suppressed.csv"

_COLUMNS = ("address", "reason", "date")
_ADDRESS_NAMES = frozenset(("address", "email", "e-mail", "mail", "email address", "e-mail address"))
_DELIMITERS = ",;\t"
_LINE_END = re.compile(r"\r\n|\n|\r")
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_SPREADSHEET_MARK = re.compile(r"\A'(?=[=+@-])")
"""The apostrophe that keeps a spreadsheet from taking a text for a formula."""
_FORMULA = ("=", "+", "-", "@")
_SHOWN = 20
_YOUNG = 2.0
"""How long a file may change again, in seconds, without its time telling so: FAT counts in twos."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: an address, or `@domain`, which stands for that very domain and nothing below it."""

    address: str
    reason: str = ""
    day: date | None = None

    @property
    def words(self) -> str:
        """The reason and the date, as a person reads them; empty where neither is given."""
        return ", ".join(filter(None, (self.reason, self.day.isoformat() if self.day else "")))


class Suppression:
    """Who is not to be mailed, by any of some files; a file that is not there names nobody.

    The files are looked at whenever somebody is asked about, and read again when they changed. Who was on
    the list once stays on it as long as this object lives, so that a file which is being saved just now
    lets nobody through. `now` is the time that files are dated by, in seconds since the epoch.
    """

    def __init__(self, *paths: Path, now: Callable[[], float] | None = None) -> None:
        self._files = [_Watched(path, now or WallClock().now) for path in paths]
        self._entries: dict[str, Entry] = {}
        self._looked = False

    def reason(self, address: str) -> str | None:
        """Say why nothing may go to an address, None where it may.

        Raises AddressError for what is no mailbox, ListError for a file that cannot be understood.
        """
        self.refresh()
        return self.listed(address)

    def listed(self, address: str) -> str | None:
        """Say the same, as of when the files were last looked at; that is quicker. Raises the same."""
        if not self._looked:
            self.refresh()
        if not self._entries:
            return None
        known = _form(address)
        entry = self._entries.get(known) or self._entries.get(known[known.rindex("@") :])
        if entry is None:
            return None
        return f"on the suppression list: {entry.words}" if entry.words else "on the suppression list"

    def refresh(self) -> None:
        """Read the files that changed. Raises ListError for one that cannot be understood."""
        for file in self._files:
            for entry in file.news():
                self._entries.setdefault(entry.address, entry)
        self._looked = True


class _Watched:
    """One file, read again only when it may have changed."""

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        self._path = path
        self._name = str(path)
        self._now = now
        self._known: tuple[int, ...] | None = None
        self._content: bytes | None = None

    def news(self) -> Sequence[Entry]:
        """Return what the file holds, or nothing when it is as it was. Raises ListError."""
        try:
            stat = os.stat(self._name)  # noqa: PTH116 - twice a letter, and Path makes it twice as slow
        except FileNotFoundError:
            self._known = self._content = None
            return ()
        except OSError as error:
            raise _unreadable(self._path, error) from error
        signature = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino, stat.st_dev)
        if signature == self._known:
            return ()
        young = abs(self._now() - stat.st_mtime) < _YOUNG
        content = _content(self._path)
        if content != self._content:
            entries = parse(content, self._path)
            self._content = content
        else:
            entries = ()
        self._known = None if young else signature
        return entries


def parse(content: bytes, path: Path) -> tuple[Entry, ...]:
    """Return the entries of a file's content, addresses in the form that they are compared in.

    A header is there when its first line names a column `address`; without one a line is an address, then
    perhaps a reason, then perhaps a date. Blank lines are passed over. Raises ListError, whose problems
    name every line that cannot be understood.
    """
    text = _decoded(content, path)
    layout = _Layout.of(text)
    entries: list[Entry] = []
    problems: list[Problem] = []
    for number, line in enumerate(_LINE_END.split(text), 1):
        if number <= layout.header or not line.strip(f" {layout.delimiter}\t"):
            continue
        try:
            entries.append(layout.entry(line))
        except ValueError as error:
            problems.append(Problem("error", "suppression", str(error), str(path), line=number, source=line))
        except AddressError as error:
            problem = Problem(
                "error",
                "suppression",
                error.message,
                str(path),
                line=number,
                hint=error.hint
                or "a line is address,reason,date; instead of an address it may have @example.org",
                source=line,
            )
            problems.append(problem)
    if problems:
        more = f" (and {len(problems) - _SHOWN:,} more)" if len(problems) > _SHOWN else ""
        raise ListError(
            f"the suppression list {path} has a line that cannot be understood, so nothing is sent"
            if len(problems) == 1
            else f"the suppression list {path} has {len(problems):,} lines that cannot be understood{more},"
            " so nothing is sent",
            hint="correct the file: address,reason,date in each line, the date as 2027-01-31",
            problems=problems[:_SHOWN],
        )
    return tuple(entries)


def read(path: Path) -> tuple[Entry, ...]:
    """Return what a file says; nothing where there is no file. Raises ListError."""
    return parse(_content(path), path) if path.exists() else ()


def append(path: Path, entries: Iterable[Entry]) -> int:
    """Add entries to a file, all of them or none, and return how many were not in it before.

    What is in the file stays as it is, byte by byte; a new file begins with the header. Others who append
    wait for each other. Returns when the file is on disk. Raises AddressError for an entry that is none,
    ListError when the file as it is cannot be understood, JournalError when the disk does not take it.
    """
    asked = [Entry(_form(entry.address), _flat(entry.reason), entry.day) for entry in entries]
    path = path.resolve()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with waiting_for(path):
            content = _content(path) if path.exists() else b""
            known = {entry.address for entry in parse(content, path)}
            fresh = {entry.address: entry for entry in reversed(asked) if entry.address not in known}
            if fresh:
                _replace(path, content + _lines(content, list(fresh.values())[::-1], path))
    except OSError as error:
        raise JournalError(
            f"the suppression list {path} cannot be written: {error.strerror}",
            hint="close it elsewhere or make room, then do this again; nothing was added",
        ) from error
    return len(fresh)


@dataclass(frozen=True, slots=True)
class _Layout:
    """How the lines of a file are made: its delimiter, its columns, and how many lines its header takes."""

    delimiter: str
    columns: tuple[str, ...]
    header: int

    @classmethod
    def of(cls, text: str) -> _Layout:
        """Return the layout that a header tells, or that of a file without one."""
        for number, line in enumerate(_LINE_END.split(text), 1):
            if not line.strip():
                continue
            for delimiter in _DELIMITERS:
                names = [name.strip(' "').casefold() for name in line.split(delimiter)]
                if found := next((name for name in names if name in _ADDRESS_NAMES), ""):
                    at = names.index(found)
                    return cls(delimiter, (*names[:at], "address", *names[at + 1 :]), number)
            break
        return cls(",", _COLUMNS, 0)

    def entry(self, line: str) -> Entry:
        """Return what a line says. Raises ValueError or AddressError."""
        values = self._values(line)
        if len(values) > len(self.columns) and any(values[len(self.columns) :]):
            raise ValueError(
                f"{len(values)} values where {len(self.columns)} belong: quotes go around a text with commas"
            )
        said = dict(zip(self.columns, values, strict=False))
        reason = _flat(said.get("reason", ""))
        if not self.header and _is_address(reason):
            raise ValueError(f"a second address, {reason}: give it a line of its own")
        return Entry(_form(said.get("address", "")), reason, _day(said.get("date", "")))

    def _values(self, line: str) -> list[str]:
        if '"' not in line:
            return [value.strip() for value in line.split(self.delimiter)]
        try:
            (values,) = csv.reader([line], delimiter=self.delimiter, strict=True, skipinitialspace=True)
        except (csv.Error, ValueError) as error:
            raise ValueError("a quote is opened here and not closed, or stands inside a text") from error
        return [value.strip() for value in values]


def _form(text: str) -> str:
    """Return an address or `@domain` in the form that it is compared in. Raises AddressError."""
    bare = _SPREADSHEET_MARK.sub("", text.strip())
    if not bare.startswith("@"):
        return normalise(bare)
    return normalise(f"x{bare}")[1:]


def _is_address(text: str) -> bool:
    try:
        return "@" in text and bool(_form(text))
    except AddressError:
        return False


def _day(text: str) -> date | None:
    """Return a date as ISO 8601 writes it, with or without a time. Raises ValueError."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).date()
    except ValueError:
        raise ValueError(f"{text} is no date: write the year first, as in 2027-01-31") from None


def _flat(text: str) -> str:
    """Return a text on one line, without what a terminal or another reader could stumble over."""
    return _BLANKS.sub(" ", _SPREADSHEET_MARK.sub("", text)).strip()


def _decoded(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        problem = Problem("error", "suppression", "this line is not UTF-8", str(path), line=number)
        raise ListError(
            f"the suppression list {path} is not UTF-8, so nothing is sent",
            hint='save it anew; in a spreadsheet program choose "CSV UTF-8"',
            problems=[problem],
        ) from None


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ListError:
    return ListError(
        f"the suppression list {path} cannot be read: {error.strerror}",
        hint="without it nobody can say who does not want this mail; check the rights of the file",
    )


def _lines(content: bytes, entries: Iterable[Entry], path: Path) -> bytes:
    """Return the lines to add to a file, written as the lines before them are."""
    text = _decoded(content, path)
    layout = _Layout.of(text)
    end = "\r\n" if "\r\n" in text else "\n"
    out = io.StringIO(newline="")
    if text and not text.endswith(("\n", "\r")):
        out.write(end)
    writer = csv.writer(out, delimiter=layout.delimiter, lineterminator=end)
    if not text.strip():
        layout = replace(layout, header=1)
        writer.writerow(_COLUMNS)
    for entry in entries:
        said = {
            "address": entry.address,
            "reason": entry.reason if layout.header or not _is_address(entry.reason) else f"({entry.reason})",
            "date": entry.day.isoformat() if entry.day else "",
        }
        writer.writerow(_safe(said.get(name, "")) for name in layout.columns)
    return out.getvalue().encode()


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _replace(path: Path, content: bytes) -> None:
    """Put content in place of a file, on disk; a reader, or a crash, meets the old file or the new one."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    draft = path.with_name(f"{path.name}.part")
    try:
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
