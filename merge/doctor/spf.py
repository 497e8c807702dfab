"""From where may mail of this domain come? Its SPF record, with all that it includes (RFC 7208)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TypeAlias

from merge.doctor.dns import Dns

LOOKUPS = 10
"""RFC 7208, 4.6.4: with more terms that need a lookup, the whole record counts as an error."""

VOID_LOOKUPS = 2
"""The same, for lookups that find nothing."""

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_TERM = re.compile(
    r"([+?~-]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?::([^/]*))?((?:/{1,2}\d+)*)", re.IGNORECASE
)
_MODIFIER = re.compile(r"([a-z][a-z0-9._-]*)=(.*)", re.IGNORECASE)


@dataclass(slots=True)
class Spf:
    """What a domain's SPF record comes to.

    `verdict` is what it says of mail from anywhere else: "+", "?", "~", "-", or "" where it says nothing.
    `included` are the domains whose records count too, `networks` those from which mail may come.
    `lookups` counts the terms that need one. `errors` break the record for every receiver.
    `unclear`: some terms depend on the message, so that an address outside `networks` may still pass.
    """

    verdict: str = ""
    included: set[str] = field(default_factory=set)
    networks: set[Network] = field(default_factory=set)
    lookups: int = 0
    voids: int = 0
    errors: list[str] = field(default_factory=list)
    unclear: bool = False

    def covers(self, address: str) -> bool:
        """Whether mail from that address passes."""
        ip = ipaddress.ip_address(address)
        return any(ip.version == network.version and ip in network for network in self.networks)


def read_spf(domain: str, dns: Dns) -> Spf | None:
    """Read the SPF record of a domain; None where it has none. Raises NoAnswer."""
    found = records(domain, dns)
    if not found:
        return None
    spf = Spf()
    if len(found) > 1:
        spf.errors.append(f"there are {len(found)} SPF records; only one may be there")
        return spf
    _follow(found[0], domain, spf, dns, top=True)
    if spf.lookups > LOOKUPS:
        spf.errors.append(f"it needs {spf.lookups} DNS lookups; more than {LOOKUPS} count as an error")
    if spf.voids > VOID_LOOKUPS:
        spf.errors.append(
            f"{spf.voids} of its DNS lookups find nothing; more than {VOID_LOOKUPS} count as an error"
        )
    return spf


def records(domain: str, dns: Dns) -> list[str]:
    """Return the texts of a domain that are SPF records. Raises NoAnswer."""
    return [text for text in dns.texts(domain) if re.match(r"v=spf1( |$)", text, re.IGNORECASE)]


def _follow(text: str, domain: str, spf: Spf, dns: Dns, *, top: bool) -> None:
    redirect = ""
    ends = False
    for term in text.split()[1:]:
        match = _TERM.fullmatch(term)
        if match:
            sign, name, value, width = match.groups()
            name = name.lower()
            if name == "all":
                ends = True
                if top:
                    spf.verdict = sign or "+"
            elif sign in ("", "+"):
                _permit(name, value or "", width, domain, spf, dns)
            elif name not in ("ip4", "ip6"):
                spf.lookups += 1
        elif modifier := _MODIFIER.fullmatch(term):
            if modifier[1].lower() == "redirect":
                redirect = modifier[2]
        else:
            spf.errors.append(f"{term!r} is no term of SPF")
    if redirect and not ends:
        _include(redirect, spf, dns, top=top)


def _permit(name: str, value: str, width: str, domain: str, spf: Spf, dns: Dns) -> None:  # noqa: PLR0913, PLR0917 - the parts of one term
    if name in ("ip4", "ip6"):
        try:
            spf.networks.add(ipaddress.ip_network(value + width, strict=False))
        except ValueError:
            spf.errors.append(f"{name}:{value}{width} is no network")
        return
    if name == "include":
        _include(value, spf, dns, top=False)
        return
    spf.lookups += 1
    if spf.lookups > LOOKUPS * 2:
        return
    if name in ("exists", "ptr") or "%" in value:
        spf.unclear = True
        return
    target = value or domain
    hosts = (target,) if name == "a" else tuple(filter(None, dns.exchangers(target)))
    found = [address for host in hosts for address in dns.addresses(host)]
    spf.voids += not found
    four, _, six = width.removeprefix("/").partition("//")
    for address in found:
        prefix = six if ":" in address else four
        spf.networks.add(ipaddress.ip_network(f"{address}/{prefix}" if prefix else address, strict=False))


def _include(target: str, spf: Spf, dns: Dns, *, top: bool) -> None:
    spf.lookups += 1
    target = target.lower().rstrip(".")
    if "%" in target:
        spf.unclear = True
        return
    spf.included.add(target)
    if spf.lookups > LOOKUPS * 2:
        return
    found = records(target, dns)
    if len(found) == 1:
        _follow(found[0], target, spf, dns, top=top)
    else:
        spf.voids += not dns.texts(target)
        number = len(found) or "no"
        spf.errors.append(f"it includes {target}, which has {number} SPF record{'s' if found else ''}")
