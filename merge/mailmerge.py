"""What did a campaign of awdeorio/mailmerge ask for? Its server file, for a new campaign.toml."""

from __future__ import annotations

import json
import re
from configparser import ConfigParser, Error
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from merge.errors import ConfigError

LETTER: Final = "mailmerge_template.txt"
LIST: Final = "mailmerge_database.csv"
SERVER: Final = "mailmerge_server.conf"

_SECTION = "smtp_server"
_SECURITY = {
    "ssl/tls": "tls",
    "starttls": "starttls",
    "xoauth": "starttls",
    "": "none",
    "never": "none",
    "plain": "none",
}
_FROM = re.compile(r"^from\s*:", re.IGNORECASE | re.MULTILINE)
_PORTS = range(1, 65536)


@dataclass(frozen=True, slots=True)
class Server:
    """What mailmerge_server.conf says; `per_minute` 0 is no limit. `token` says that it logs in with one."""

    host: str
    port: int | None
    security: str
    user: str
    per_minute: int
    token: bool


def is_there(folder: Path) -> bool:
    """Whether a folder holds a letter and a list of mailmerge."""
    return (folder / LETTER).is_file() and (folder / LIST).is_file()


def read_server(path: Path) -> Server:
    """Read mailmerge_server.conf. Raises ConfigError where it cannot be followed."""
    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text("utf-8-sig"), path.name)
    except (OSError, UnicodeDecodeError, Error) as error:
        raise _refusal(
            path, " ".join(str(error).split()), "mend it, or move it away and begin again"
        ) from None
    if not parser.has_section(_SECTION):
        raise _refusal(path, f"there is no [{_SECTION}]", "move it away if it is not mailmerge's")
    found = parser[_SECTION]
    host = found.get("host", "").strip()
    if not host:
        raise _refusal(path, "it names no host", 'add: host = "smtp.example.org"')
    security = found.get("security", "").strip()
    if security.lower() not in _SECURITY:
        raise _refusal(path, f"security is {security!r}", "it can be SSL/TLS or STARTTLS, or be left out")
    port = _number(path, "port", found.get("port", ""))
    if port is not None and port not in _PORTS:
        raise _refusal(path, f"port is {port}", "it is a number from 1 to 65535")
    return Server(
        host,
        port,
        _SECURITY[security.lower()],
        found.get("username", "").strip(),
        _number(path, "ratelimit", found.get("ratelimit", "")) or 0,
        token=security.lower() == "xoauth",
    )


def campaign(folder: Path, sender: str) -> str:
    """Write the campaign.toml for the files of mailmerge in a folder; `sender` stands in for a missing From.

    Raises ConfigError where mailmerge_server.conf cannot be followed.
    """
    lines = [f'list = "{LIST}"', f'letter = "{LETTER}"']
    if not _FROM.search((folder / LETTER).read_text("utf-8", "replace")):
        lines.append(f'from = "Your Name <{sender}>"')
    if not (folder / SERVER).is_file():
        return "\n".join([*lines, ""])
    server = read_server(folder / SERVER)
    lines += ["", f"# from {SERVER}, which is not read any more", "[account]", f"host = {_text(server.host)}"]
    if server.port is not None:
        lines.append(f"port = {server.port}")
    lines.append(f'security = "{server.security}"')
    if server.user:
        lines.append(f"user = {_text(server.user)}")
        lines.append(
            "# it logged in with a token: see oauth in docs/accounts/README.md"
            if server.token
            else '# the password is asked for, or: password_command = "pass show mail"'
        )
    if server.per_minute:
        lines += ["", "[pace]", f"per_minute = {server.per_minute}"]
    return "\n".join([*lines, ""])


def _number(path: Path, key: str, text: str) -> int | None:
    if not text.strip():
        return None
    if not text.strip().isdecimal():
        raise _refusal(path, f"{key} is {text.strip()!r}", "it is a whole number")
    return int(text)


def _text(value: str) -> str:
    """Write a TOML string; what JSON escapes TOML escapes alike."""
    return json.dumps(value, ensure_ascii=not value.isprintable())


def _refusal(path: Path, words: str, hint: str) -> ConfigError:
    return ConfigError(f"{path.name}: {words}", hint=f"{hint}\nnothing was written")
