"""What signature does the person ask for? The table `dkim` of campaign.toml or of an account."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merge.toml import Kinds, TomlFile

NEVER = frozenset({"bcc", "dkim-signature", "received", "resent-bcc", "return-path"})
"""Headers that no signature may cover: servers write or drop them (RFC 6376, 5.4)."""

_KEYS: dict[str, Kinds] = {"domain": (str,), "selector": (str,), "key_file": (str,), "headers": (list,)}
_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_SELECTOR = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_HEADER = re.compile(r"[!-9<-~]+")
_LONGEST_NAME = 253


@dataclass(frozen=True, slots=True)
class DkimSettings:
    """Whose signature, and with which key.

    `domain` is in A-labels (RFC 5890), `key_file` absolute, `key_name` as it was written. `headers`, in
    lower case, are those to cover; empty are the usual ones.
    """

    domain: str
    selector: str
    key_file: Path
    key_name: str
    headers: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The name at which receivers look for the public key (RFC 6376, 3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"


def dkim_from_table(table: Mapping[str, Any], check: TomlFile) -> DkimSettings:
    """Read the table; a relative key_file starts at the folder of the TOML file. Raises ConfigError."""
    if isinstance(table, Mapping) and "key" in table:
        check.refuse(
            "key",
            "a private key does not belong into a file like this one",
            hint='keep it in a file of its own: key_file = "dkim.pem"',
            show_line=False,
        )
    check.keys(table, _KEYS, "dkim")
    for key, example in (("domain", "club.example"), ("selector", "news"), ("key_file", "dkim.pem")):
        if not table.get(key):
            check.refuse("dkim", f"dkim needs {key}", hint=f'{key} = "{example}"')
    domain = _a_labels(table["domain"].strip().rstrip("."))
    if not _DOMAIN.fullmatch(domain):
        words = f"{table['domain']!r} is no domain"
        check.refuse("domain", words, hint='the domain of the From address: domain = "club.example"')
    selector = table["selector"].strip().lower()
    if not _SELECTOR.fullmatch(selector):
        hint = "letters, digits and hyphens: its name in the DNS is SELECTOR._domainkey.DOMAIN"
        check.refuse("selector", f"{table['selector']!r} is no selector", hint=hint)
    if len(f"{selector}._domainkey.{domain}") > _LONGEST_NAME:
        check.refuse("selector", "selector and domain together are too long for a name in the DNS")
    return DkimSettings(
        domain=domain,
        selector=selector,
        key_file=check.folder.resolve() / Path(table["key_file"]).expanduser(),
        key_name=table["key_file"],
        headers=_headers(table.get("headers", []), check),
    )


def _headers(names: list[Any], check: TomlFile) -> tuple[str, ...]:
    lower: list[str] = []
    for name in names:
        if not isinstance(name, str) or not _HEADER.fullmatch(name):
            check.refuse("headers", f"{name!r} is no name of a header", hint='headers = ["From", "Subject"]')
        if name.lower() in NEVER:
            check.refuse("headers", f"{name} cannot be signed: servers change it on the way")
        lower.append(name.lower())
    return tuple(dict.fromkeys(lower))


def _a_labels(domain: str) -> str:
    """Return a domain as the DNS has it; empty where that cannot be."""
    if domain.isascii():
        return domain.lower()
    import idna  # noqa: PLC0415 - seldom needed

    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return ""
