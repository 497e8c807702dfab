"""Where does the password come from? References that can be followed, and text that is not shown."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from merge.errors import ConfigError

if TYPE_CHECKING:
    from merge.toml import Kinds, TomlFile

_COMMAND_SECONDS = 60
_SECRET_KEYS: dict[str, Kinds] = {"env": (str,), "keyring": (str,), "file": (str,)}

NETRC, PROMPT = "netrc", "prompt"
"""Where a password can come from that no reference names."""


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a password is to be found: never the password itself.

    `scheme` is "command", "env", "keyring", "file" or "" (netrc, then the person is asked).
    """

    scheme: Literal["command", "env", "keyring", "file", ""] = ""
    value: str = ""


def secret_reference(reference: object, key: str, check: TomlFile) -> SecretReference:
    """Read where a secret is kept, from the value of a key. Raises ConfigError, also for a secret itself."""
    words = key.replace("_", " ")
    if not isinstance(reference, Mapping):
        otherwise = ', or password_command = "..."; without any of them you are asked for it'
        check.refuse(
            key,
            f"a {words} does not belong into a file like this one",
            hint=f'say where it is kept: {key} = {{env = "NAME"}}, {{keyring = "NAME"}} or {{file = "PATH"}}'
            + (otherwise if key == "password" else ""),
            show_line=False,
        )
    check.keys(reference, _SECRET_KEYS, key)
    if len(reference) != 1:
        check.refuse(key, f"{key} needs exactly one of env, keyring and file")
    scheme, value = next(iter(reference.items()))
    return SecretReference(scheme, value)


class Password:
    """A password that is looked up when it is needed, and never shown.

    Calling it returns the text and may ask the person. Raises ConfigError when it cannot be found, or is no
    text that could be sent. `anew`: nothing that is kept for an account without a reference counts, the
    person is asked.
    """

    __slots__ = ("_anew", "_ask", "_host", "_reference", "_source", "_text", "_user")

    def __init__(
        self,
        reference: SecretReference,
        *,
        host: str,
        user: str,
        ask: Callable[[str], str] | None = None,
        anew: bool = False,
    ) -> None:
        self._reference, self._host, self._user, self._ask = reference, host, user, ask
        self._anew = anew
        self._text: str | None = None
        self._source: str = reference.scheme

    def __call__(self) -> str:
        """Return the password, looked up once."""
        if self._text is None:
            text = self._find()
            if any("\ud800" <= char <= "\udfff" for char in text):
                raise ConfigError(
                    f"the password from {self.described()} is not text in UTF-8",
                    hint="what holds it was perhaps written with another encoding",
                )
            self._text = text
        return self._text

    def __repr__(self) -> str:
        return f"Password({self._reference.scheme or 'netrc, keyring or prompt'}, hidden)"

    def __reduce__(self) -> str:
        raise TypeError("a password is not written down")

    @property
    def source(self) -> str:
        """Where it came from, once it was asked for: a scheme of SecretReference, NETRC or PROMPT."""
        return self._source

    def described(self) -> str:
        """Return in words where it comes from, for somebody whose login was refused."""
        value = self._reference.value
        return {
            "command": "password_command",
            "env": f"the environment variable {value}",
            "file": f"the file {value}",
            "keyring": f"the keyring, service {value or keyring_service(self._host)!r}",
            NETRC: "netrc",
            PROMPT: "what was typed",
        }.get(self._source, "nowhere yet")

    def keep(self) -> None:
        """Store it in the keyring, where the next run finds it. Raises ConfigError when that fails."""
        into_keyring(keyring_service(self._host), self._user, self())

    def _find(self) -> str:
        value = self._reference.value
        match self._reference.scheme:
            case "command":
                return _from_command(value)
            case "env":
                text = os.environ.get(value, "").strip("\r\n")
                if not text:
                    raise ConfigError(
                        f"the password should be in the environment as {value}, which is not set",
                        hint=f"set {value} before you send",
                    )
                return text
            case "file":
                return _from_file(Path(value).expanduser())
            case "keyring":
                return _from_keyring(value, self._user)
        return self._found_unnamed() or self._asked()

    def _found_unnamed(self) -> str:
        """Return what is kept for an account that names no place; empty where nothing is."""
        if self._anew:
            return ""
        if text := _from_netrc(self._host, self._user):
            self._source = NETRC
        elif text := from_keyring_if_there(keyring_service(self._host), self._user):
            self._source = "keyring"
        return text or ""

    def _asked(self) -> str:
        self._source = PROMPT
        if self._ask is None:
            raise ConfigError(
                f"the password of {self._user} on {self._host} is not known, and no one can be asked",
                hint='give password_command = "...", password = {env = "NAME"} or {file = "PATH"}, '
                "or set MERGEPOST_PASSWORD",
            )
        return self._ask(f"Password of {self._user} on {self._host}: ")


def keyring_service(host: str) -> str:
    """Return the name under which the password of a host is kept in the keyring."""
    return f"mergepost {host}"


def keyring_usable() -> bool:
    """Whether this computer has a keyring that could keep a password, and the library for it."""
    try:
        import keyring  # noqa: PLC0415 - an extra
        from keyring.backends.fail import Keyring as NoKeyring  # noqa: PLC0415 - likewise
    except ImportError:
        return False
    return not isinstance(keyring.get_keyring(), NoKeyring)


def from_keyring_if_there(service: str, user: str) -> str | None:
    """Return what the keyring has, if there is a keyring: nobody asked for one, so its lack is no error."""
    try:
        import keyring  # noqa: PLC0415 - an extra

        return keyring.get_password(service, user)
    except ImportError:
        return None
    except Exception:  # noqa: BLE001 - a backend raises whatever its desktop does; the person is asked instead
        return None


def into_keyring(service: str, user: str, text: str) -> None:
    """Keep a text in the keyring. Raises ConfigError when that fails."""
    try:
        import keyring  # noqa: PLC0415 - an extra

        keyring.set_password(service, user, text)
    except ImportError:
        raise _no_keyring_library() from None
    except Exception as error:  # noqa: BLE001 - a backend raises whatever its desktop does
        raise ConfigError(f"the keyring cannot be written: {type(error).__name__}") from None


def _from_netrc(host: str, user: str) -> str | None:
    import netrc  # noqa: PLC0415 - rarely needed

    try:
        found = netrc.netrc().authenticators(host)
    except netrc.NetrcParseError as error:
        if host not in Path("~/.netrc").expanduser().read_text("utf-8", "replace"):
            return None
        raise ConfigError(
            f"{error.filename} cannot be used: {error.msg}",
            hint=f"chmod 600 {error.filename}"
            if "permissive" in error.msg
            else f"see its line {error.lineno}",
        ) from None
    except (OSError, UnicodeDecodeError):
        return None
    if found and found[2] and found[0] in (user, "", None):
        return found[2]
    return None


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
    lines = done.stdout.decode("utf-8", "surrogateescape").splitlines()
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
        import keyring  # noqa: PLC0415 - an extra

        text = keyring.get_password(service, user)
    except ImportError:
        raise _no_keyring_library() from None
    except Exception as error:  # noqa: BLE001 - a backend raises whatever its desktop does
        raise ConfigError(f"the keyring cannot be opened: {type(error).__name__}") from None
    if not text:
        raise ConfigError(
            f"the keyring has no password of {user} for {service}", hint=f"keyring set {service!r} {user}"
        )
    return str(text)


def _no_keyring_library() -> ConfigError:
    return ConfigError(
        "the password is in the keyring, but the keyring library is not installed",
        hint='pip install "mergepost[keyring]"',
    )
