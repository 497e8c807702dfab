"""What is on show at this moment? The campaign is opened anew whenever its files change."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import threading
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeAlias

from merge.config import Settings
from merge.errors import ConfigError, ContentError, MergeError, UsageError
from merge.preview.book import Book, Open, Source
from merge.preview.sheet import described
from merge.preview.survey import SHOWN_PROBLEMS, Superseded, Survey

SETTLED: Final = 60
"""Milliseconds without a change after which files count as saved: editors write in several steps."""

_CLOSE: Final = 400
"""Milliseconds after which a change is shown even if more follow."""

FIRST_ROWS: Final = 500
"""Rows of a long list that are shown before the others are read."""

_OFTEN = 0.15
_PATIENCE = 1.0
"""Seconds after which the check of all rows begins although nobody looks yet."""

_FIRST_LOOK: Final = 1000
"""Milliseconds after the watch has begun in which what changed before it is looked for."""

_MOST_FOLDERS = 50
_OWN = re.compile(r"journal\.db.*|results\.csv|.*\.(?:part|eml|swp|swx|tmp)|.*~|\..*|4913")
"""Files that mergepost writes itself, and those that editors leave for a moment."""


_FileMarks: TypeAlias = dict[str, tuple[int, int, int]]
"""For each path when it was saved, its size and its number on the disk."""


class Desk:
    """What the page shows: a book, the survey of it, and the error that keeps a newer one from being shown.

    The loop of the server's thread is the only one that changes it; surveys work in threads of their own.
    `looked` is set once the person has a letter before them.
    `folders` are watched as long as the campaign could never be opened.
    """

    def __init__(self, open_campaign: Open, folders: Iterable[Path] = ()) -> None:
        self._fallback = tuple(folders)
        self.book: Book | None = None
        self.survey: Survey | None = None
        self.news = 0
        self.closing = False
        self.looked = threading.Event()
        self.error: MergeError | None = None
        self._as_read: _FileMarks = {}
        self._version = 0
        self._list_version = 0
        self._open = open_campaign
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._about_to_tell = False

    async def load(self) -> None:
        """Open the campaign as its files are now; the last good one stays where that fails."""
        self._loop = asyncio.get_running_loop()
        before = self.book
        try:
            # Whoever waits for the first page sees the first rows before a long list is read to its end.
            first = None if before else FIRST_ROWS
            book = await asyncio.to_thread(Book, self._open_and_mark, before, first=first)
            self._version += 1
            self._show(book)
            if not book.complete:
                self._tell()
                self._show(await asyncio.to_thread(book.read_on))
        except (ContentError, ConfigError, UsageError) as error:
            self.error = error
            if not before:
                self.book = self.survey = None
        else:
            self.error = None
            threading.Thread(target=self._look_through, args=(self.book, self.survey), daemon=True).start()
        self._tell()

    def _show(self, book: Book) -> None:
        if not self.book or self.book.people is not book.people:
            self._list_version += 1
        self.book, self.survey = book, Survey(len(book.people))

    async def watch(self) -> None:
        """Load again whenever a file of the campaign changes; ends when it is closed.

        What was saved after it was read, but before the watch began, is seen as well.
        """
        from watchfiles import awatch  # noqa: PLC0415 - only a live preview watches

        while not self.closing:
            folders = self._folders()
            began = False
            async for changes in awatch(
                *folders,
                watch_filter=lambda _, path: matters(path),
                debounce=_CLOSE,
                step=SETTLED,
                stop_event=self._stop,
                recursive=False,
                rust_timeout=_FIRST_LOOK,
                yield_on_timeout=True,
            ):
                missed = not began and await asyncio.to_thread(_marks, folders) != self._as_read
                began = True
                if not changes and not missed:
                    continue
                await self.load()
                if self._folders() != folders:
                    break

    async def wait(self, seen: int, patience: float) -> bool:
        """Wait until there is something newer than `seen`; False when `patience` seconds went by."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self.news == seen and not self.closing:
                    await self._changed.wait()
        return self.news != seen or self.closing

    def close(self) -> None:
        """Let everyone who waits go."""
        self.closing = True
        self._stop.set()
        self._tell()

    def state(self) -> dict[str, Any]:
        """Return all that the page shows but rows and letters."""
        book, survey = self.book, self.survey
        state: dict[str, Any] = {
            "version": self._version,
            "list_version": self._list_version,
            "error": _told(self.error) if self.error else None,
            "reading": bool(book and not book.complete),
        }
        if book and survey:
            general = [described(problem) for problem in book.general[:SHOWN_PROBLEMS]]
            state |= {
                "title": book.title,
                "list": book.settings.list_name,
                "letter": book.settings.letter_name,
                "total": len(book.people),
                "general": general,
                **survey.overview(),
            }
        return state

    def _open_and_mark(self) -> Source:
        """Open the campaign; its files are marked first, so that a change while they are read is seen."""
        self._as_read = _marks(self._folders())
        folders = _folders_of(self._open().settings)
        self._as_read = _marks(folders)
        return self._open()

    def _folders(self) -> list[Path]:
        return _folders_of(self.book.settings) if self.book else sorted(self._fallback)

    def _look_through(self, book: Book, survey: Survey) -> None:
        def told() -> None:
            if self.survey is not survey or self.closing:
                raise Superseded
            if self._loop:
                self._loop.call_soon_threadsafe(self._tell_soon)

        # The first letter comes before the check of all rows, which would slow it down.
        self.looked.wait(_PATIENCE)
        with contextlib.suppress(Superseded, RuntimeError):
            survey.run(book, self._open, told)

    def _tell_soon(self) -> None:
        """Gather what comes in quick succession into one piece of news."""
        if not self._about_to_tell:
            self._about_to_tell = True
            asyncio.get_running_loop().call_later(_OFTEN, self._tell)

    def _tell(self) -> None:
        self._about_to_tell = False
        self.news += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _folders_of(settings: Settings) -> list[Path]:
    """Return the folders in which a change may be one of the campaign, subfolders by themselves."""
    home = settings.folder
    found = {home, settings.list.parent, settings.letter.parent}
    if settings.files:
        found.add(settings.files)
    below = (path for path in sorted(home.glob("*")) if path.is_dir() and matters(str(path)))
    found.update(path for path in islice(below, _MOST_FOLDERS) if path.name != "sandbox")
    return sorted(path for path in found if path.is_dir())


def _marks(folders: Iterable[Path]) -> _FileMarks:
    """Return what tells the files in some folders from what they may become."""
    marks: _FileMarks = {}
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if matters(entry.path) and entry.is_file():
                    stat = entry.stat()
                    marks[entry.path] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return marks


def matters(path: str) -> bool:
    """Whether a change of this file may change a letter."""
    return not _OWN.fullmatch(Path(path).name)


def _told(error: MergeError) -> dict[str, Any]:
    return {
        "message": error.message,
        "hint": error.hint,
        "problems": [described(problem) for problem in error.problems[:SHOWN_PROBLEMS]],
    }
