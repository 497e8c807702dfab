"""Where does the password come from? References that can be followed, and text that is not shown."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from merge.errors import ConfigError

_COMMAND_SECONDS = 60


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a password is to be found: never the password itself.

    `scheme` is "command", "env", "keyring", "file" or "" (netrc, then the person is asked).
    """

    scheme: Literal["command", "env", "keyring", "file", ""] = ""
    value: str = ""


class Password:
    """A password that is looked up when it is needed, and never shown.

    Calling it returns the text and may ask the person. Raises ConfigError when it cannot be found.
    """

    __slots__ = ("_ask", "_host", "_reference", "_text", "_user")

    def __init__(
        self, reference: SecretReference, *, host: str, user: str, ask: Callable[[str], str] | None = None
    ) -> None:
        self._reference, self._host, self._user, self._ask = reference, host, user, ask
        self._text: str | None = None

    def __call__(self) -> str:
        """Return the password, looked up once."""
        if self._text is None:
            self._text = self._find()
        return self._text

    def __repr__(self) -> str:
        return f"Password({self._reference.scheme or 'netrc or prompt'}, hidden)"

    def __reduce__(self) -> str:
        raise TypeError("a password is not written down")

    def _find(self) -> str:
        value = self._reference.value
        match self._reference.scheme:
            case "command":
                return _from_command(value)
            case "env":
                if not os.environ.get(value):
                    raise ConfigError(
                        f"the password should be in the environment as {value}, which is not set",
                        hint=f"set {value} before you send",
                    )
                return os.environ[value]
            case "file":
                return _from_file(Path(value).expanduser())
            case "keyring":
                return _from_keyring(value, self._user)
        return self._from_netrc() or self._asked()

    def _from_netrc(self) -> str | None:
        import netrc  # noqa: PLC0415 - rarely needed

        try:
            found = netrc.netrc().authenticators(self._host)
        except (OSError, netrc.NetrcParseError):
            return None
        if found and found[2] and found[0] in (self._user, "", None):
            return found[2]
        return None

    def _asked(self) -> str:
        if self._ask is None:
            raise ConfigError(
                f"the password of {self._user} on {self._host} is not known, and no one can be asked",
                hint='give password_command = "...", password = {env = "NAME"} or {file = "PATH"}, '
                "or set MERGEPOST_PASSWORD",
            )
        return self._ask(f"Password of {self._user} on {self._host}: ")


def _from_command(command: str) -> str:
    try:
        words = shlex.split(command)
        done = subprocess.run(  # noqa: S603 - the person's own command, started without a shell
            words, capture_output=True, timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as error:
        raise ConfigError(
            f"password_command does not work: {type(error).__name__}", hint="run it by hand"
        ) from None
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    if done.returncode or not lines or not lines[0]:
        raise ConfigError(
            f"password_command gave no password (it ended with {done.returncode})",
            hint="run it by hand; its first line of output is the password",
        )
    return lines[0]


def _from_file(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"others can read the password file {path}", hint=f"chmod 600 {path}")
        text = path.read_text("utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the password file {path} cannot be read: {type(error).__name__}") from None
    if not text:
        raise ConfigError(f"the password file {path} is empty")
    return text.splitlines()[0]


def _from_keyring(service: str, user: str) -> str:
    try:
        import keyring  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError(
            "the password is in the keyring, but the keyring library is not installed",
            hint='pip install "mergepost[keyring]"',
        ) from None
    try:
        text = keyring.get_password(service, user)
    except keyring.errors.KeyringError as error:
        raise ConfigError(f"the keyring cannot be opened: {type(error).__name__}") from None
    if not text:
        raise ConfigError(
            f"the keyring has no password of {user} for {service}", hint=f"keyring set {service} {user}"
        )
    return str(text)
