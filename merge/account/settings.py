"""What is this account, as its owner describes it? What is known of its provider is filled in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from merge.account.mailbox import bounces_from_table
from merge.account.providers import (
    LOOPBACK,
    Provider,
    Security,
    by_domain,
    by_host,
    by_name,
    domain_of,
    near_names,
    providers,
)
from merge.account.secret import SecretReference, secret_reference
from merge.account.shape import AccountSettings, OAuthSettings, PaceSettings
from merge.account.ways import (
    LOCAL_KINDS,
    WEB_KEYS,
    local_way,
    refuse_web_keys,
    web_way,
)
from merge.dkim import dkim_from_table
from merge.errors import ConfigError
from merge.toml import Kinds, TomlFile, load_toml

ACCOUNTS_FILE = "accounts.toml"


LIMITS = ("per_second", "per_minute", "per_hour", "per_day")
PACE_KEYS: dict[str, Kinds] = {**dict.fromkeys(LIMITS, (int,)), "gap": (list,)}
_ACCOUNT_KEYS: dict[str, Kinds] = {
    "provider": (str,),
    "host": (str,),
    "port": (int,),
    "security": (str,),
    "region": (str,),
    "user": (str,),
    "oauth": (dict,),
    "password": (dict, str),
    "password_command": (str,),
    "per_connection": (int,),
    "pipelining": (str, int),
    "window": (int,),
    "ca_file": (str,),
    "dkim": (dict,),
    "bounces": (dict,),
    **WEB_KEYS,
    **dict.fromkeys(LOCAL_KINDS, (str,)),
}
_OF_THE_HOST = (
    *("provider", "port", "region", "security", "oauth", "password", "password_command"),
    *WEB_KEYS,
    *LOCAL_KINDS,
)
"""What an account says of its host: of no use, or a danger, with another one. No secret goes elsewhere."""

_OAUTH_KEYS: dict[str, Kinds] = {
    "client_id": (str,),
    "client_secret": (dict, str),
    "tenant": (str,),
    "flow": (str,),
    "keep": (str,),
    "authorize": (str,),
    "token": (str,),
    "device": (str,),
    "scope": (str,),
}


def read_account(
    named: str | Mapping[str, Any] | None, file: TomlFile, environ: Mapping[str, str] = os.environ
) -> AccountSettings | None:
    """Find the account that a campaign names, with the environment's word on top.

    `named` is a table of accounts.toml, or the account itself as it stands in `file`.

    MERGEPOST_HOST, _PORT, _SECURITY, _USER and _PASSWORD override it; with another host than its own, an
    account's password is not used. Returns None where neither the campaign, nor accounts.toml, nor the
    environment has one. Raises ConfigError when one is named that is not there or cannot be followed.
    """
    overrides = _overrides(environ)
    table: dict[str, Any] = {}
    name, check = "", TomlFile("the environment")
    if isinstance(named, Mapping):
        name, table, check = "account", dict(named), file
    elif named or not overrides.get("host"):
        name, table, check = _named_account(named)
    if overrides.get("host") and not _is_its_host(overrides["host"], table):
        table = {key: value for key, value in table.items() if key not in _OF_THE_HOST}
    table |= overrides
    if "port" in overrides:
        if not re.fullmatch("[0-9]{1,5}", overrides["port"]):
            raise ConfigError(
                f"MERGEPOST_PORT is {overrides['port']!r}, not a number", hint="465 and 587 are usual"
            )
        table["port"] = int(overrides["port"])
    if not table:
        return None
    account = account_from_table(name or "environment", table, check)
    places = [f"{check.file}, [{name}]"] if name else []
    if overrides:
        places.append(", ".join(f"MERGEPOST_{key.upper()}" for key in overrides))
    account = replace(account, origin=" and ".join(places))
    if environ.get("MERGEPOST_PASSWORD"):
        account = replace(account, secret=SecretReference("env", "MERGEPOST_PASSWORD"))
    return account


def _overrides(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the environment says of an account. Raises ConfigError for what is no text."""
    found = {}
    for key in ("host", "port", "security", "user"):
        name = f"MERGEPOST_{key.upper()}"
        if value := environ.get(name):
            if any("\ud800" <= char <= "\udfff" for char in value):
                raise ConfigError(f"{name} is not text in UTF-8", hint="set it anew")
            found[key] = value
    return found


def _is_its_host(host: str, table: Mapping[str, Any]) -> bool:
    """Whether a host is the one that an account means, or the account names none and waits for one."""
    host = host.lower().rstrip(".")
    if any(kind in table for kind in LOCAL_KINDS):
        return False
    if named := table.get("host"):
        return bool(host == str(named).lower().rstrip("."))
    told, user = table.get("provider"), table.get("user")
    profile = by_name(str(told)) if told else by_domain(str(user or ""))
    if profile is None:
        return not told
    return host == profile.host or by_host(host) is profile


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
    """Make an account of one table of accounts.toml, what is known of its provider filled in."""
    check.keys(table, _ACCOUNT_KEYS, name)
    if local := local_way(table, check):
        return AccountSettings(
            name=name,
            host=local.name,
            port=0,
            security="none",
            kind=local.kind,
            command=local.command,
            path=local.path,
            dkim=dkim_from_table(table["dkim"], check) if "dkim" in table else None,
            bounces=bounces_from_table(table["bounces"], check) if "bounces" in table else None,
        )
    profile, found = _provider(name, table, check)
    if profile and profile.web:
        web = web_way(profile, table, check)
        return AccountSettings(
            name=name,
            host=web.host,
            port=web.port,
            security="tls" if web.secure else "none",
            profile=profile,
            found=found,
            user=table.get("user") or profile.user,
            secret=_secret(table, check),
            window=web.window,
            ca_file=table.get("ca_file", ""),
            pace=_pace(profile),
            bounces=bounces_from_table(table["bounces"], check) if "bounces" in table else None,
            kind="api",
            base_url=web.base_url,
            per_call=web.per_call,
        )
    refuse_web_keys(table, _web_twins(profile), check)
    host = table.get("host") or _host(profile, table, check)
    port = table["port"] if "port" in table else _port(host, profile, table.get("security"))
    if not 0 < port < 2**16:
        check.refuse("port", f"{port} is not a port", hint="465 and 587 are usual")
    security = table.get("security") or _security(host, port, profile)
    if security not in ("tls", "starttls", "none"):
        check.refuse("security", f"security is {security!r}", hint='it can be "tls", "starttls" or "none"')
    pipelining = table.get("pipelining", "auto")
    if pipelining not in ("auto", 0, 1, 2):
        check.refuse("pipelining", f"pipelining is {pipelining!r}", hint='it can be "auto", 0, 1 or 2')
    for key in ("per_connection", "window"):
        if table.get(key, 1) < 0:
            check.refuse(key, f"{key} cannot be less than 0")
    return AccountSettings(
        name=name,
        host=host,
        port=port,
        security=security,
        profile=profile,
        found=found,
        user=table.get("user") or (profile.user if profile else ""),
        secret=_secret(table, check),
        oauth=_oauth(table["oauth"], profile, check) if "oauth" in table else None,
        per_connection=table.get("per_connection", profile.per_connection if profile else None),
        pipelining=pipelining,
        window=table.get("window", 0),
        ca_file=table.get("ca_file", ""),
        pace=_pace(profile),
        dkim=dkim_from_table(table["dkim"], check) if "dkim" in table else None,
        bounces=bounces_from_table(table["bounces"], check) if "bounces" in table else None,
    )


def _pace(profile: Provider | None) -> PaceSettings:
    """Return the limits that are known of a provider."""
    return PaceSettings(**{key: getattr(profile, key) for key in LIMITS}) if profile else PaceSettings()


def _web_twins(profile: Provider | None) -> list[str]:
    """Return the name of the web API of a provider, if it has one."""
    name = f"{profile.name}-api" if profile else ""
    return [name] if name in providers() else []


def _provider(name: str, table: Mapping[str, Any], check: TomlFile) -> tuple[Provider | None, str]:
    """Find the provider: told, else by the host, else by the domain of the login's address."""
    domain = domain_of(table.get("user", ""))
    if told := table.get("provider"):
        profile = by_name(told)
        if profile is None:
            near = near_names(told)
            check.refuse(
                "provider",
                f"there is no provider {told!r}",
                hint=f"did you mean {near[0]!r}?"
                if near
                else f"known are {', '.join(providers())}; for any other server give host, port and security",
            )
        return profile.for_domain(domain), f"provider = {told!r}"
    if host := table.get("host"):
        profile = by_host(host)
        return (profile.for_domain(domain), f"the host {host}") if profile else (None, "")
    profile = by_domain(table.get("user", ""))
    if profile is None:
        check.refuse(
            name,
            f"the account {name!r} has neither provider nor host",
            hint='host = "smtp.example.org", or the provider = one of\n' + ", ".join(providers()),
        )
    return profile, f"the address domain {domain}"


def _host(profile: Provider | None, table: Mapping[str, Any], check: TomlFile) -> str:
    assert profile is not None  # noqa: S101 - _provider has refused an account with neither
    region = table.get("region", "")
    if not profile.regional:
        return profile.host
    if not re.fullmatch(r"[a-z0-9-]+", region):
        check.refuse(
            "region" if region else "provider",
            f"{profile.title} needs the region of the account",
            hint='region = "eu-central-1", as its console shows it',
        )
    return profile.host.replace("*", region)


def _port(host: str, profile: Provider | None, security: str | None) -> int:
    if profile is None:
        return 465 if security == "tls" else 25 if is_loopback(host) else 587
    if security in (None, profile.security):
        return profile.port
    return next((port for port, kind in profile.other_ports.items() if kind == security), profile.port)


def _security(host: str, port: int, profile: Provider | None) -> Security:
    if profile is not None and port == profile.port:
        return profile.security
    if profile is not None and port in profile.other_ports:
        return profile.other_ports[port]
    if port == 465:  # noqa: PLR2004 - the port of RFC 8314, 3.3
        return "tls"
    return "none" if is_loopback(host) else "starttls"


def _oauth(table: Mapping[str, Any], profile: Provider | None, check: TomlFile) -> OAuthSettings:
    """Read how a token is had; the provider's endpoints are known, those of any other server must be told."""
    check.keys(table, _OAUTH_KEYS, "oauth")
    known = dict(profile.oauth) if profile else {}
    tenant = table.get("tenant", "common")
    if not re.fullmatch(r"[A-Za-z0-9.-]+", tenant):
        check.refuse(
            "tenant", f"{tenant!r} is no tenant", hint="a domain of the organisation, or its identifier"
        )
    ends = {
        key: table.get(key, known.get(key, "").replace("*", tenant))
        for key in ("authorize", "token", "device", "scope")
    }
    if not table.get("client_id"):
        check.refuse(
            "oauth",
            "oauth needs a client_id",
            hint="docs/accounts tells how to register one with the provider",
        )
    for key in ("token", "scope"):
        if not ends[key]:
            check.refuse(
                "oauth",
                f"oauth needs {key}",
                hint="only the endpoints of Google and Microsoft are known: give authorize, token and scope",
            )
    for key in ("authorize", "token", "device"):
        if ends[key] and not ends[key].startswith("https://"):
            check.refuse(key, f"{key} must begin with https://", hint="secrets go there")
    flow = table.get("flow", "browser" if ends["authorize"] else "device")
    if flow not in ("browser", "device") or not ends["authorize" if flow == "browser" else "device"]:
        check.refuse(
            "flow",
            f"there is no flow {flow!r} here",
            hint='it can be "browser", or "device" where the provider offers it for mail (Google does not)',
        )
    keep = table.get("keep", "file")
    if keep not in ("file", "keyring"):
        check.refuse("keep", f"keep is {keep!r}", hint='it can be "file" or "keyring"')
    secret = table.get("client_secret")
    return OAuthSettings(
        client_id=table["client_id"],
        client_secret=secret_reference(secret, "client_secret", check) if secret is not None else None,
        flow=flow,
        keep=keep,
        ask=known.get("ask", ""),
        redirect=known.get("redirect", "127.0.0.1"),
        **ends,
    )


def _secret(table: Mapping[str, Any], check: TomlFile) -> SecretReference:
    if "password_command" in table:
        return SecretReference("command", table["password_command"])
    reference = table.get("password")
    return SecretReference() if reference is None else secret_reference(reference, "password", check)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself, by name or address."""
    return LOOPBACK.fullmatch(host) is not None
