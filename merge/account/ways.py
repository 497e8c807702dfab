"""Which way out is it, other than SMTP? A provider's web API, a program, or a folder on this computer."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from merge.account.providers import LOOPBACK, Provider
from merge.account.shape import Kind
from merge.toml import Kinds, TomlFile

LOCAL_KINDS: Mapping[str, Kind] = {
    "sendmail": "program",
    "maildir": "maildir",
    "mbox": "mbox",
    "eml": "eml",
}
"""The keys that name a way out on this computer."""

WEB_KEYS: Mapping[str, Kinds] = {"base_url": (str,), "per_call": (int,)}
"""The keys that only a web API has."""

_WITH_LOCAL = frozenset({"bounces", "dkim"})
_WITH_WEB = frozenset(
    {
        *("provider", "user", "password", "password_command", "region", "base_url", "window", "per_call"),
        *("ca_file", "bounces"),
    }
)


@dataclass(frozen=True, slots=True)
class Local:
    """A program or a folder. `name` is what people call it; `command` is split as a shell does."""

    kind: Kind
    name: str
    command: tuple[str, ...] = ()
    path: str = ""


@dataclass(frozen=True, slots=True)
class Web:
    """A web API: where it is, how many calls are in the air, how many letters go into each."""

    host: str
    port: int
    secure: bool
    base_url: str
    window: int
    per_call: int


def local_way(table: Mapping[str, Any], check: TomlFile) -> Local | None:
    """Return the program or folder that an account names; None where it names none. Raises ConfigError."""
    named = [key for key in LOCAL_KINDS if key in table]
    if not named:
        return None
    key = named[0]
    _nothing_else(table, {key, *_WITH_LOCAL}, f"with {key}: an account has one way out", check)
    value = table[key]
    if not value.strip():
        check.refuse(key, f"{key} is empty", hint=_EXAMPLES[key])
    if key != "sendmail":
        path = str(Path(value).expanduser())
        return Local(LOCAL_KINDS[key], path, path=path)
    try:
        command = tuple(shlex.split(value))
    except ValueError as error:
        check.refuse(key, f"sendmail cannot be read as a command: {error}", hint=_EXAMPLES[key])
    first = str(Path(command[0]).expanduser()) if command[0].startswith("~") else command[0]
    return Local("program", Path(first).name, (first, *command[1:]))


_EXAMPLES = {
    "sendmail": 'sendmail = "msmtp", or with its path and options: sendmail = "/usr/sbin/sendmail -t"',
    "maildir": 'maildir = "~/Maildir"',
    "mbox": 'mbox = "letters.mbox"',
    "eml": 'eml = "letters"',
}


def web_way(profile: Provider, table: Mapping[str, Any], check: TomlFile) -> Web:
    """Return the web API of a provider as an account wants it used. Raises ConfigError."""
    _nothing_else(table, _WITH_WEB, f"with {profile.title}, which is no mail server", check)
    if not (table.get("user") or profile.user):
        check.refuse(
            "provider", f"{profile.title} wants a user, the API key", hint="the secret key is its password"
        )
    for key in ("window", "per_call"):
        if table.get(key, 1) < 1:
            check.refuse(key, f"{key} cannot be less than 1")
    per_call = table.get("per_call", profile.per_call)
    if per_call > profile.per_call:
        letters = "one letter" if profile.per_call == 1 else f"{profile.per_call} letters"
        check.refuse("per_call", f"{profile.title} takes {letters} in a call")
    base_url = table.get("base_url") or f"https://{_region(profile, table, check)}"
    place = urlsplit(base_url)
    host = place.hostname or ""
    if (
        place.scheme not in ("https", "http")
        or not host
        or (place.username, place.query, place.fragment) != (None, "", "")
    ):
        check.refuse(
            "base_url", "base_url is no address of an API", hint='base_url = "https://api.example.org"'
        )
    if place.scheme == "http" and not LOOPBACK.fullmatch(host):
        check.refuse("base_url", "base_url must begin with https://", hint="the key goes there")
    port = place.port or (443 if place.scheme == "https" else 80)
    window = table.get("window") or profile.calls
    return Web(host, port, place.scheme == "https", base_url.rstrip("/"), window, per_call)


def refuse_web_keys(table: Mapping[str, Any], near: Iterable[str], check: TomlFile) -> None:
    """Refuse what only a web API has, in the account of a mail server."""
    for key in WEB_KEYS:
        if key in table:
            hint = "".join(f'did you mean provider = "{name}"?' for name in near)
            check.refuse(key, f"{key} is of use with a web API only", hint=hint)


def _region(profile: Provider, table: Mapping[str, Any], check: TomlFile) -> str:
    region = table.get("region")
    if region is None:
        return profile.host
    if region not in profile.regions:
        known = " or ".join(f'"{name}"' for name in profile.regions)
        check.refuse(
            "region", f"{profile.title} has no region {region!r}", hint=f"it can be {known}, or left out"
        )
    return profile.regions[region]


def _nothing_else(table: Mapping[str, Any], allowed: Iterable[str], why: str, check: TomlFile) -> None:
    for key in table:
        if key not in allowed:
            check.refuse(key, f"{key} does not go {why}", hint=f"what goes: {', '.join(sorted(allowed))}")
