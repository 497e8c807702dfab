"""Where is a token kept between runs? A file that only its owner can read, or the keyring."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from merge.account.secret import from_keyring_if_there, into_keyring
from merge.errors import ConfigError


class Vault(Protocol):
    """Keeps one token: a mapping of JSON values."""

    def load(self) -> dict[str, Any] | None:
        """Return what is kept; None for nothing. Raises ConfigError where that is not safe or readable."""

    def save(self, token: Mapping[str, Any]) -> None:
        """Keep this instead. Raises ConfigError."""


class FileVault:
    """A file with mode 0600 in a folder with mode 0700, replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"FileVault({str(self.path)!r})"

    def load(self) -> dict[str, Any] | None:
        """Return what is kept. A file that others can read, or that is no token, is refused."""
        try:
            mode = self.path.stat().st_mode
            if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(f"others can read the token in {self.path}", hint=f"chmod 600 {self.path}")
            token = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"the token in {self.path} cannot be read: {type(error).__name__}",
                hint="sign in again: mergepost doctor --login",
            ) from None
        return token if isinstance(token, dict) else None

    def save(self, token: Mapping[str, Any]) -> None:
        """Keep this instead; never readable by others, not even for a moment."""
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.unlink(missing_ok=True)
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(json.dumps(dict(token)).encode())
            draft.replace(self.path)
        except OSError as error:
            raise ConfigError(f"the token cannot be kept in {self.path}: {error.strerror}") from None


class KeyringVault:
    """An entry of this computer's keyring."""

    def __init__(self, service: str, user: str) -> None:
        self._service, self._user = service, user

    def load(self) -> dict[str, Any] | None:
        """Return what is kept."""
        text = from_keyring_if_there(self._service, self._user)
        try:
            token = json.loads(text) if text else None
        except ValueError:
            return None
        return token if isinstance(token, dict) else None

    def save(self, token: Mapping[str, Any]) -> None:
        """Keep this instead."""
        into_keyring(self._service, self._user, json.dumps(dict(token)))


def token_file(user: str, client_id: str, endpoint: str) -> Path:
    """Return where the token of a login, with one client at one identity server, is kept."""
    import platformdirs  # noqa: PLC0415 - only OAuth accounts need it

    mark = hashlib.sha256(f"{user}\n{client_id}\n{endpoint}".encode()).hexdigest()[:16]
    return platformdirs.user_data_path("mergepost", appauthor=False) / "tokens" / f"{mark}.json"
