"""Which mail service is this, and what does it allow? The profiles of providers.toml, and who is who."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from difflib import get_close_matches
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Literal

Security = Literal["tls", "starttls", "none"]
Login = Literal["app password", "password", "key", "token", "any", "none"]

LOOPBACK = re.compile(r"localhost|\[?::1\]?|127(\.\d{1,3}){3}")


def _nothing() -> Mapping[Any, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Provider:
    """What is known of a mail service; providers.toml tells what each field means.

    `size` is in bytes, limits are None where none is known, `read` is the day on which `source` was read.
    """

    name: str
    title: str
    host: str
    port: int
    security: Security
    source: str
    read: date
    login: Login
    limits: str
    page: str
    aliases: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    other_ports: Mapping[int, Security] = field(default_factory=_nothing)
    elsewhere: str = ""
    login_page: str = ""
    user: str = ""
    per_connection: int | None = None
    connections: int | None = None
    per_second: int | None = None
    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    recipients: int | None = None
    size: int | None = None
    foreign_from: str = ""
    spf: str = ""
    dkim: tuple[str, ...] = ()
    own_bounces: bool = False
    catches: bool = False
    hints: Mapping[str, str] = field(default_factory=_nothing)
    oauth: Mapping[str, str] = field(default_factory=_nothing)

    web: bool = False
    regions: Mapping[str, str] = field(default_factory=_nothing)
    calls: int = 0
    per_call: int = 1

    @property
    def regional(self) -> bool:
        """Whether the host's name depends on the account's region."""
        return "*" in self.host

    def for_domain(self, domain: str) -> Provider:
        """Return the profile that holds for a login with an address of that domain, usually this one."""
        return providers()[self.elsewhere] if self.elsewhere and domain not in ("", *self.domains) else self


@cache
def providers() -> Mapping[str, Provider]:
    """Return the profiles of the well-known services, by name."""
    text = resources.files("merge.account").joinpath("providers.toml").read_text("utf-8")
    return MappingProxyType({name: _provider(name, table) for name, table in tomllib.loads(text).items()})


def by_name(name: str) -> Provider | None:
    """Find a provider by its name, its title or an alias; case, blanks and dashes do not matter."""
    wanted = _folded(name)
    return next(
        (
            provider
            for provider in providers().values()
            if wanted in map(_folded, (provider.name, provider.title, *provider.aliases))
        ),
        None,
    )


def by_domain(address: str) -> Provider | None:
    """Find the provider that all addresses of this one's domain belong to; nothing is looked up."""
    domain = domain_of(address)
    return next((provider for provider in providers().values() if domain in provider.domains), None)


def by_host(host: str) -> Provider | None:
    """Find the provider that a host belongs to. This machine belongs to none: anything may listen there."""
    host = host.lower().rstrip(".")
    if LOOPBACK.fullmatch(host):
        return None
    for provider in providers().values():
        for name in () if provider.web else (provider.host, *provider.hosts):
            if re.fullmatch(re.escape(name).replace(r"\*", "[a-z0-9-]+"), host):
                return provider
    return None


def near_names(name: str) -> list[str]:
    """Return the names of providers that were probably meant, the likeliest first."""
    known = {
        _folded(word): provider.name
        for provider in providers().values()
        for word in (provider.name, provider.title, *provider.aliases)
    }
    return list(dict.fromkeys(known[word] for word in get_close_matches(_folded(name), known, 3)))


def domain_of(address: str) -> str:
    """Return the domain of an address in lower case; empty for a text without one."""
    return address.rpartition("@")[2].lower() if "@" in address else ""


def _folded(name: str) -> str:
    return re.sub(r"[\s_.-]+", "", name.casefold())


def _provider(name: str, table: Mapping[str, Any]) -> Provider:
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    ports = {int(port): security for port, security in table.get("other_ports", {}).items()}
    return Provider(name=name, **(values | {"other_ports": MappingProxyType(ports)}))
