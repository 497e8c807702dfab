"""Through which server, and as whom? accounts.toml, the providers' profiles, secrets by reference."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from merge.errors import ConfigError
from merge.secret import SecretReference
from merge.toml import Kinds, TomlFile, load_toml

ACCOUNTS_FILE = "accounts.toml"

Security = Literal["tls", "starttls", "none"]


@dataclass(frozen=True, slots=True)
class PaceSettings:
    """How many messages in any second, minute, hour or rolling day; None is no limit."""

    per_second: int | None = None
    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """A way to a mail server."""

    name: str
    host: str
    port: int
    security: Security
    provider: str = ""
    user: str = ""
    secret: SecretReference = field(default_factory=SecretReference)
    app_password: str = ""
    per_connection: int | None = None
    pipelining: Literal["auto", 0, 1, 2] = "auto"
    window: int = 0
    ca_file: str = ""
    pace: PaceSettings = field(default_factory=PaceSettings)

    @property
    def place(self) -> str:
        """host:port and how the line is protected, for people."""
        protection = {"tls": "TLS", "starttls": "STARTTLS", "none": "not encrypted"}[self.security]
        return f"{self.host}:{self.port} ({protection})"


PACE_KEYS: dict[str, Kinds] = dict.fromkeys(("per_second", "per_minute", "per_hour", "per_day"), (int,))
_ACCOUNT_KEYS: dict[str, Kinds] = {
    "provider": (str,),
    "host": (str,),
    "port": (int,),
    "security": (str,),
    "user": (str,),
    "password": (dict, str),
    "password_command": (str,),
    "per_connection": (int,),
    "pipelining": (str, int),
    "window": (int,),
    "ca_file": (str,),
}
_SECRET_KEYS: dict[str, Kinds] = {"env": (str,), "keyring": (str,), "file": (str,)}


def read_account(
    named: str | Mapping[str, Any] | None, file: TomlFile, environ: Mapping[str, str] = os.environ
) -> AccountSettings | None:
    """Find the account that a campaign names, with the environment's word on top.

    `named` is a table of accounts.toml, or the account itself as it stands in `file`.

    MERGEPOST_HOST, _PORT, _SECURITY, _USER and _PASSWORD override it. Returns None where neither the
    campaign, nor accounts.toml, nor the environment has one. Raises ConfigError when one is named that
    is not there or cannot be followed.
    """
    overrides = {
        key: environ[name]
        for key in ("host", "port", "security", "user")
        if (name := f"MERGEPOST_{key.upper()}") in environ and environ[name]
    }
    table: dict[str, Any] = {}
    name, check = "", TomlFile("the environment")
    if isinstance(named, Mapping):
        name, table, check = "account", dict(named), file
    elif named or not overrides.get("host"):
        name, table, check = _named_account(named)
    if overrides.get("host") and overrides["host"] != table.get("host"):
        table = {key: value for key, value in table.items() if key not in ("provider", "port", "security")}
    table |= overrides
    if "port" in overrides:
        if not overrides["port"].isdigit():
            raise ConfigError(
                f"MERGEPOST_PORT is {overrides['port']!r}, not a number", hint="465 and 587 are usual"
            )
        table["port"] = int(overrides["port"])
    if not table:
        return None
    account = account_from_table(name or "environment", table, check)
    if environ.get("MERGEPOST_PASSWORD"):
        account = replace(account, secret=SecretReference("env", "MERGEPOST_PASSWORD"))
    return account


def accounts_path() -> Path:
    """Where accounts.toml lives on this system."""
    import platformdirs  # noqa: PLC0415 - not needed for most commands

    return platformdirs.user_config_path("mergepost", appauthor=False) / ACCOUNTS_FILE


def _named_account(name: object) -> tuple[str, dict[str, Any], TomlFile]:
    path = accounts_path()
    if not path.is_file():
        if name:
            raise ConfigError(
                f"the campaign's account is {name!r}, but there is no {path}",
                hint=f'write one:\n  [{name}]\n  provider = "gmail"\n  user = "you@gmail.com"',
            )
        return "", {}, TomlFile(ACCOUNTS_FILE)
    table, check = load_toml(path, ACCOUNTS_FILE)
    if not name:
        if len(table) != 1:
            return "", {}, check
        name = next(iter(table))
    if not isinstance(table.get(str(name)), dict):
        found = get_close_matches(str(name), table, 1)
        raise ConfigError(
            f"{path} has no account {name!r}",
            hint=f"did you mean {found[0]!r}?" if found else f"it has: {', '.join(table) or 'none'}",
        )
    return str(name), table[str(name)], check


def account_from_table(name: str, table: Mapping[str, Any], check: TomlFile) -> AccountSettings:
    """Make an account of one table of accounts.toml, the provider's profile filled in."""
    check.keys(table, _ACCOUNT_KEYS, name)
    profile: dict[str, Any] = {}
    if provider := table.get("provider"):
        profiles = providers()
        if provider not in profiles:
            found = get_close_matches(provider, profiles, 1)
            check.refuse(
                "provider",
                f"there is no provider {provider!r}",
                hint=f"did you mean {found[0]!r}?"
                if found
                else f"known are {', '.join(profiles)}; for any other server give host, port and security",
            )
        profile = profiles[provider]
    host = table.get("host", profile.get("host"))
    if not host:
        check.refuse(
            name, f"the account {name!r} has neither provider nor host", hint='host = "smtp.example.org"'
        )
    port = table.get("port", profile.get("port") or _usual_port(table.get("security")))
    if not 0 < port < 2**16:
        check.refuse("port", f"{port} is not a port", hint="465 and 587 are usual")
    security = table.get("security", profile.get("security") or _usual_security(host, port))
    if security not in ("tls", "starttls", "none"):
        check.refuse("security", f"security is {security!r}", hint='it can be "tls", "starttls" or "none"')
    pipelining = table.get("pipelining", "auto")
    if pipelining not in ("auto", 0, 1, 2):
        check.refuse("pipelining", f"pipelining is {pipelining!r}", hint='it can be "auto", 0, 1 or 2')
    return AccountSettings(
        name=name,
        host=host,
        port=port,
        security=security,
        provider=provider or "",
        user=table.get("user", profile.get("user", "")),
        secret=_secret(table, check),
        app_password=profile.get("app_password", ""),
        per_connection=table.get("per_connection", profile.get("per_connection")),
        pipelining=pipelining,
        window=table.get("window", 0),
        ca_file=table.get("ca_file", ""),
        pace=PaceSettings(**{key: profile[key] for key in PACE_KEYS if key in profile}),
    )


def providers() -> dict[str, dict[str, Any]]:
    """Return the profiles of the well-known services, by name."""
    return tomllib.loads(resources.files("merge").joinpath("providers.toml").read_text("utf-8"))


def _secret(table: Mapping[str, Any], check: TomlFile) -> SecretReference:
    if "password_command" in table:
        return SecretReference("command", table["password_command"])
    reference = table.get("password")
    if reference is None:
        return SecretReference()
    if isinstance(reference, str):
        check.refuse(
            "password",
            "a password does not belong into a file like this one",
            hint='say where it is kept: password = {env = "NAME"}, {keyring = "NAME"} or {file = "PATH"}, '
            'or password_command = "..."; without any of them you are asked for it',
            show_line=False,
        )
    check.keys(reference, _SECRET_KEYS, "password")
    if len(reference) != 1:
        check.refuse("password", "password needs exactly one of env, keyring and file")
    scheme, value = next(iter(reference.items()))
    return SecretReference(scheme, value)


def _usual_port(security: object) -> int:
    return 465 if security == "tls" else 587


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, by name or address."""
    return host in ("localhost", "::1", "[::1]") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def _usual_security(host: str, port: int) -> Security:
    if port == 465:  # noqa: PLR2004 - the port of RFC 8314, 3.3
        return "tls"
    return "none" if is_loopback(host) else "starttls"
