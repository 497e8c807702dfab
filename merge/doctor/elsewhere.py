"""Does a way out work that is no mail server? A web API, a program, a folder: looked at, nothing sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from merge import wayout
from merge.account import AccountSettings
from merge.errors import ConfigError
from merge.finding import Finding
from merge.program import found, reads_recipients

_NAMES = "mbox names a file, maildir and eml a folder"
_ITS_OWN = "What becomes of a letter then is up to it: its log tells, not the journal."


def knocked(way: AccountSettings, secret: Callable[[], str] | None, sender: str) -> Finding:
    """Return what a web API says to the account's key. Raises CarrierError, ConfigError."""
    from merge.api.probe import probe  # noqa: PLC0415 - others need no web API

    words = probe(wayout.api_account(way, secret), wayout.vendor(way), sender)
    return Finding("ok", "login", f"{way.host}: {words}")


def of_program(way: AccountSettings) -> Iterator[Finding]:
    """Judge the program of an account. Raises ConfigError where it cannot be run."""
    yield Finding("ok", "program", f"{found(way.command)} is there and can be run")
    how = (
        "reads the recipients from the letter (-t)"
        if reads_recipients(way.command)
        else "is told the envelope"
    )
    yield Finding("note", "program", f"{way.host} {how}", _ITS_OWN)


def of_folder(way: AccountSettings) -> Finding:
    """Judge the folder or file of an account; nothing is made yet. Raises ConfigError."""
    path = Path(way.path)
    place = path if path.exists() else path.parent
    if way.kind == "mbox" and path.is_dir():
        raise ConfigError(f"{path} is a folder, not an mbox file", hint=_NAMES)
    if way.kind != "mbox" and path.is_file():
        raise ConfigError(f"{path} is a file, not a folder", hint=_NAMES)
    if way.kind == "eml":
        place = next(folder for folder in (path, *path.parents) if folder.exists())
    if not os.access(place, os.W_OK):
        raise ConfigError(f"{place} is not there, or may not be written to", hint="make it, or name another")
    return Finding("ok", "folder", f"{path} {'can be written to' if path.exists() else 'will be made'}")
