"""How are the letters shown, in a browser or in files?"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from merge.campaign import Campaign
from merge.console import Console
from merge.errors import UsageError
from merge.plan import refusal
from merge.preview.approval import write_approval
from merge.preview.book import Book
from merge.preview.export import write_eml, write_mbox
from merge.preview.survey import Survey
from merge.words import count


@dataclass(frozen=True, slots=True)
class Files:
    """Where the letters are to be written, and which: `rows` are numbers as the spreadsheet shows them."""

    out: Path | None
    eml: Path | None
    mbox: Path | None
    rows: range | None
    all_rows: bool

    @property
    def any(self) -> bool:
        """Whether a file was asked for."""
        return bool(self.out or self.eml or self.mbox)


def in_files(console: Console, campaign: Campaign, files: Files) -> None:
    """Check the campaign and write the files.

    Raises UsageError for a place that is not there, ContentError where the letter cannot be sent.
    """
    _check_places(files)
    book = Book(lambda: campaign)
    if files.rows is not None and not any(person.row in files.rows for person in book.people):
        last = book.people[-1].row if book.people else 0
        raise UsageError(
            "the list has none of these rows", hint=f"its last row is {last:,}, as the sheet counts"
        )
    survey = Survey(len(book.people))
    found = survey.look(book, lambda: campaign)
    if found.refuses_letter:
        raise refusal(campaign.settings.list_name, found)
    if files.out:
        shown = write_approval(book, survey, files.out, rows=files.rows, all_rows=files.all_rows)
        console.data(str(files.out))
        console.talk([f"{files.out} shows {count(shown, 'row')} of {survey.total:,}."])
    for write, path in ((write_eml, files.eml), (write_mbox, files.mbox)):
        if path:
            written = write(campaign.letters(files.rows), path, campaign.parts.seal)
            console.data(str(path))
            console.talk([f"{path} holds {count(written, 'letter')}."])
    console.talk([f"Fingerprint {found.fingerprint}. Nothing was sent."])
    if found.invalid:
        console.talk([f"{count(found.invalid, 'row')} can't be sent: mergepost check"])


def _check_places(files: Files) -> None:
    """Raise UsageError for a place where nothing can be written, before the list is read."""
    for path in (files.out, files.mbox):
        if path and path.is_dir():
            raise UsageError(f"{path} is a folder", hint="name a file in it")
        if path and not path.absolute().parent.is_dir():
            raise UsageError(
                f"{path} cannot be written: there is no folder {path.parent}", hint="make the folder first"
            )
    if files.eml and files.eml.exists() and not files.eml.is_dir():
        raise UsageError(f"{files.eml} is a file", hint="--eml writes many files: name a folder")


def in_browser(console: Console, open_campaign: Callable[[], Campaign], port: int, *, browser: bool) -> None:
    """Show the letters in a browser until Ctrl-C. Raises UsageError or ConfigError."""
    from merge.preview.show import show  # noqa: PLC0415 - files need no web server

    def ready(address: str, once: str) -> None:
        console.data(address)
        console.talk(
            ["The letters are at this address, on this machine only; nothing is sent. Ctrl-C ends it."]
        )
        if browser and _has_screen():
            threading.Thread(target=webbrowser.open, args=(once,), daemon=True).start()

    folder = open_campaign().settings.folder
    # The server takes Ctrl-C itself, and passes it on or not, depending on what it is at.
    with contextlib.suppress(KeyboardInterrupt):
        show(open_campaign, port=port, folders=[folder], ready=ready)
    console.talk(["", "The preview has ended. Nothing was sent."])


def _has_screen() -> bool:
    """Whether a browser would open in a window; one that runs in the terminal would take it over."""
    graphical = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform in ("win32", "darwin") or bool(graphical)
