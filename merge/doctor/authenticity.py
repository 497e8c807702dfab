"""Will receivers believe that this sender sent it? SPF, DKIM, DMARC, and the rules for bulk mail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from merge.account.providers import LOOPBACK, Provider, by_domain
from merge.doctor.dns import Dns, NoAnswer
from merge.doctor.records import Key, find_policy, read_key, tags_of
from merge.doctor.spf import Spf, read_spf
from merge.finding import Finding, Grade
from merge.words import count

BULK = 5000
"""Messages a day from which Gmail and Outlook.com hold a sender to their rules for bulk mail."""

WEAK_KEY, GOOD_KEY = 1024, 2048
"""Bits of an RSA key: below the first receivers do not count it, the second is advised (RFC 8301, 3.2)."""

_USUAL_SELECTORS = ("default", "mail", "dkim", "selector1", "s1", "k1", "google")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends, by which way: the From domain, the server and its provider, and how many messages.

    `selectors` are the DKIM selectors that were told; without any, the usual ones are tried.
    `one_click` tells whether the letter can be unsubscribed from with one click (RFC 8058). `signature`
    tells whether the one that is made here counts for the From domain; None where none is made here.
    `return_path` is the domain of the envelope's sender, where that is not the From domain: SPF is asked
    about that one (RFC 7208, 2.4).
    """

    domain: str
    host: str = ""
    provider: Provider | None = None
    selectors: tuple[str, ...] = ()
    rows: int = 0
    one_click: bool = False
    signature: bool | None = None
    return_path: str = ""

    @property
    def envelope(self) -> str:
        """The domain that receivers see in the envelope; some services put their own there."""
        own_bounces = self.provider is not None and self.provider.own_bounces
        return self.domain if own_bounces or not self.return_path else self.return_path


def examine(sender: Sender, dns: Dns | None) -> list[Finding]:
    """Return what receivers will make of the sender; an unanswered question is a note.

    Without `dns` only what needs no name server is judged.
    """
    owner = by_domain(f"x@{sender.domain}")
    if owner is not None:
        return list(_borrowed(sender, owner))
    if dns is None:
        return [Finding("note", "dns", f"the DNS was not asked about {sender.domain}")]
    findings: list[Finding] = []
    try:
        for finding in _own(sender, dns):
            findings.append(finding)  # noqa: PERF402 - what was found before a silence is kept
    except NoAnswer as silence:
        findings.append(
            Finding(
                "note",
                "dns",
                f"not everything can be told about {sender.domain}: {silence.message}",
                "Check the network, or name a resolver: mergepost doctor --resolver 9.9.9.9",
            )
        )
    return findings


def _borrowed(sender: Sender, owner: Provider) -> Iterator[Finding]:
    """Judge an address of a mail provider: only its own servers may send for it."""
    if sender.provider is not None and _same_service(sender.provider, owner):
        yield Finding("ok", "sender", f"{sender.domain} belongs to {owner.title}, which signs what it sends")
    elif sender.provider is None or not sender.provider.catches:
        yield Finding(
            "warning",
            "sender",
            f"From is an address of {owner.title}, but the letters go out through another server",
            f"Receivers refuse that or call it spam. Send through provider = {owner.name!r}, or use a From of"
            " your own domain and put this address into Reply-To.",
        )
    if sender.rows >= BULK:
        yield Finding(
            "warning", "bulk", f"{count(sender.rows, 'letter')} are too many for an address of {owner.title}",
            "Use a domain of your own and a service for bulk mail.",
        )  # fmt: skip


def _same_service(one: Provider, other: Provider) -> bool:
    return one.host == other.host or one.elsewhere == other.name or other.elsewhere == one.name


def _own(sender: Sender, dns: Dns) -> Iterator[Finding]:
    domain = sender.domain
    if not dns.exists(domain):
        yield Finding(
            "warning", "domain", f"the domain {domain} does not exist",
            "Receivers refuse mail from it. Correct from in campaign.toml.",
        )  # fmt: skip
        return
    yield from _mail_exchanger(domain, dns)
    if sender.envelope != domain:
        if not dns.exists(sender.envelope):
            yield Finding(
                "warning", "domain", f"the domain {sender.envelope} of return_path does not exist",
                "Receivers refuse mail from it, and bounces get lost. Correct [bounces] return_path.",
            )  # fmt: skip
            return
        yield from _mail_exchanger(sender.envelope, dns)
    spf = read_spf(sender.envelope, dns)
    yield from _spf(sender, spf, dns)
    yield from _reverse(sender, dns)
    keys: list[Key] = []
    if sender.signature is None or sender.selectors:
        keys, tried = _keys(sender, dns)
        yield from _dkim(sender, keys, tried)
    at, policy = find_policy(domain, dns)
    spf_matches = _spf_matches(sender, spf, dns) if _aligned(sender, at, policy) else False
    signs = bool(sender.signature) or any(not key.revoked for key in keys)
    yield from _dmarc(sender, at, policy, spf_matches=spf_matches, signs=signs)
    if sender.rows >= BULK:
        yield from _bulk(sender, spf=spf is not None and not spf.errors, signs=signs, policy=bool(policy))


def _mail_exchanger(domain: str, dns: Dns) -> Iterator[Finding]:
    hosts = dns.exchangers(domain)
    if hosts and any(hosts):
        yield Finding("ok", "mx", f"{domain} takes mail at {hosts[0]}")
    elif hosts:
        yield Finding(
            "warning", "mx", f"{domain} says that it takes no mail at all (null MX)",
            "Answers and bounces get lost, and many receivers refuse that. Use a domain that takes mail.",
        )  # fmt: skip
    elif not dns.addresses(domain):
        yield Finding(
            "warning", "mx", f"{domain} has no mail server (neither MX nor address)",
            "Answers and bounces get lost, and many receivers refuse that. Publish an MX record.",
        )  # fmt: skip
    else:
        yield Finding(
            "note", "mx", f"{domain} has no MX record; answers and bounces go to the host of that name"
        )


def _spf(sender: Sender, spf: Spf | None, dns: Dns) -> Iterator[Finding]:
    provider, domain = sender.provider, sender.envelope
    wanted = f'"v=spf1 include:{provider.spf} ~all"' if provider and provider.spf else '"v=spf1 mx ~all"'
    if spf is None:
        grade: Grade = "note" if provider and provider.own_bounces else "warning"
        yield Finding(
            grade, "spf", f"{domain} has no SPF record", f"Publish a TXT record at {domain}: {wanted}"
        )
        return
    for error in spf.errors:
        yield Finding(
            "warning",
            "spf",
            f"the SPF record of {domain} counts for nothing: {error}",
            "Mend the TXT record.",
        )
    if spf.verdict == "+":
        yield Finding(
            "warning", "spf", f"the SPF record of {domain} lets the whole world send for it (+all)",
            "End it with ~all or -all.",
        )  # fmt: skip
    if spf.errors:
        return
    if provider and provider.own_bounces:
        yield Finding(
            "ok", "spf", f"{domain} has an SPF record; {provider.title} takes bounces at an address of its"
            " own, so DKIM decides",
        )  # fmt: skip
    elif provider and provider.spf:
        if provider.spf in spf.included or _spf_matches(sender, spf, dns):
            yield Finding("ok", "spf", f"the SPF record of {domain} names {provider.title}")
        else:
            yield Finding(
                "warning", "spf", f"the SPF record of {domain} does not name {provider.title}",
                f"Add include:{provider.spf} to it, before its end.",
            )  # fmt: skip
    elif not sender.host or LOOPBACK.fullmatch(sender.host):
        yield Finding(
            "note", "spf",
            f"{domain} has an SPF record; whether it names this server cannot be told from here",
            "The address from which the server sends to the world must be in it.",
        )  # fmt: skip
    elif _spf_matches(sender, spf, dns):
        yield Finding("ok", "spf", f"the SPF record of {domain} names {sender.host}")
    else:
        yield Finding(
            "note" if spf.unclear else "warning", "spf",
            f"the SPF record of {domain} does not name the addresses of {sender.host}",
            "If that server itself sends to the world, add them (ip4:ADDRESS); else add the one that does.",
        )  # fmt: skip


def _reverse(sender: Sender, dns: Dns) -> Iterator[Finding]:
    """Hold the addresses of an own server against their names: receivers want both to agree."""
    if sender.provider is not None or not sender.host or LOOPBACK.fullmatch(sender.host):
        return
    addresses = dns.addresses(sender.host)
    lone = [
        address
        for address in addresses
        if not any(address in dns.addresses(name) for name in dns.names(address))
    ]
    if lone:
        yield Finding(
            "note", "ptr", f"{lone[0]}, the address of {sender.host}, has no name that leads back to it",
            "If the server sends to the world from there, have its PTR record set: Gmail asks for it.",
        )  # fmt: skip
    elif addresses:
        yield Finding("ok", "ptr", f"the addresses of {sender.host} have names that lead back to them")


def _aligned(sender: Sender, at: str, policy: str | None) -> bool:
    """Whether DMARC takes the envelope's domain for the From domain: they share the one of the policy.

    With aspf=s they have to be the same (RFC 9989).
    """
    domain, envelope = sender.domain, sender.envelope
    if envelope == domain:
        return True
    if policy and tags_of(policy).get("aspf", "r").lower() == "s":
        return False
    return f".{envelope}".endswith(f".{at}") or domain.endswith(f".{envelope}")


def _spf_matches(sender: Sender, spf: Spf | None, dns: Dns) -> bool | None:
    """Whether SPF will pass for the envelope's domain; None where that cannot be told."""
    if spf is None or spf.errors or (sender.provider and sender.provider.own_bounces):
        return False
    if sender.provider and sender.provider.spf in spf.included:
        return True
    if not sender.host or LOOPBACK.fullmatch(sender.host):
        return None
    addresses = dns.addresses(sender.host)
    if addresses and all(spf.covers(address) for address in addresses):
        return True
    return None if spf.unclear or (sender.provider and not sender.provider.spf) else False


def _keys(sender: Sender, dns: Dns) -> tuple[list[Key], tuple[str, ...]]:
    """Return the DKIM keys found, and the selectors tried."""
    guessed = (*(sender.provider.dkim if sender.provider else ()), *_USUAL_SELECTORS)
    tried = sender.selectors or tuple(dict.fromkeys(guessed))
    keys = [
        read_key(selector, text)
        for selector in tried
        for text in dns.texts(f"{selector}._domainkey.{sender.domain}")
        if "p" in tags_of(text)  # a wildcard answers with anything
    ]
    return keys, tried


def _dkim(sender: Sender, keys: Sequence[Key], tried: Sequence[str]) -> Iterator[Finding]:
    found = {key.selector for key in keys}
    for selector in tried if sender.selectors else ():
        if selector not in found:
            yield Finding(
                "warning", "dkim", f"there is no DKIM key at {selector}._domainkey.{sender.domain}",
                "Publish the key that your provider or server shows, or correct --selector.",
            )  # fmt: skip
    if not keys and not sender.selectors:
        service = sender.provider.title if sender.provider else "your mail server"
        needed = sender.provider is not None and sender.provider.own_bounces
        hint = (
            f"Switch DKIM on at {service}; if it is on, name its selector: mergepost doctor --selector NAME"
        )
        if sender.provider is None or sender.provider.login == "none":
            hint += "\nIf the server cannot sign, mergepost can: [dkim] in campaign.toml, docs/signing.md"
        yield Finding(
            "warning" if needed else "note", "dkim",
            f"no DKIM key of {sender.domain} was found under the usual selectors ({', '.join(tried)})", hint,
        )  # fmt: skip
    for key in keys:
        where = f"the DKIM key {key.selector}._domainkey.{sender.domain}"
        if key.revoked:
            yield Finding("warning", "dkim", f"{where} is revoked (p= is empty)", "Sign with another key.")
        elif key.bits is not None and key.bits < WEAK_KEY:
            yield Finding(
                "warning", "dkim", f"{where} has only {key.bits} bits; receivers do not count it",
                f"Make one of {GOOD_KEY} bits.",
            )  # fmt: skip
        elif key.testing:
            yield Finding(
                "note",
                "dkim",
                f"{where} is marked as a test (t=y)",
                "Take the mark away when mail is signed.",
            )
        elif key.bits is not None and key.bits < GOOD_KEY:
            yield Finding(
                "note", "dkim", f"{where} has {key.bits} bits", f"{GOOD_KEY} are advised at the next change."
            )
        else:
            yield Finding("ok", "dkim", f"{where} is there" + (f" ({key.bits} bits)" if key.bits else ""))


def _dmarc(
    sender: Sender, at: str, policy: str | None, *, spf_matches: bool | None, signs: bool
) -> Iterator[Finding]:
    domain = sender.domain
    if policy is None:
        yield Finding(
            "warning", "dmarc", f"{domain} has no DMARC policy",
            f'Publish a TXT record at _dmarc.{domain}: "v=DMARC1; p=none". Gmail, Yahoo and Outlook.com ask'
            " senders of bulk mail for one.",
        )  # fmt: skip
        return
    tags = tags_of(policy)
    wish = tags.get("p", "none").lower()
    if at != domain:
        wish = tags.get("sp", wish).lower()
    if wish not in ("none", "quarantine", "reject"):
        yield Finding(
            "warning", "dmarc", f"the DMARC policy at _dmarc.{at} is not valid: p={wish}",
            "It can be none, quarantine or reject.",
        )  # fmt: skip
        return
    if spf_matches is False and not signs and wish != "none":
        consequence = "refuse" if wish == "reject" else "put into the spam folder"
        yield Finding(
            "warning", "dmarc",
            f"the DMARC policy of {at} is p={wish}, and neither SPF nor DKIM matches {domain}:"
            f" receivers will {consequence} these letters",
            "Mend SPF or DKIM first.",
        )  # fmt: skip
        return
    yield Finding("ok", "dmarc", f"{at} has a DMARC policy (p={wish})")
    if at != domain and tags.get("adkim", "r").lower() == "s" and tags.get("aspf", "r").lower() == "s":
        yield Finding(
            "note", "dmarc", f"{at} asks for an exact match: signatures must be of {domain} itself",
            f"Sign with d={domain}.",
        )  # fmt: skip


def _bulk(sender: Sender, *, spf: bool, signs: bool, policy: bool) -> Iterator[Finding]:
    missing = [
        name
        for name, there in (("SPF", spf), ("DKIM", signs), ("DMARC", policy), ("one-click", sender.one_click))
        if not there
    ]
    if not missing:
        yield Finding(
            "ok", "bulk", "SPF, DKIM, DMARC and one-click unsubscribing are there, as for bulk mail"
        )
        return
    words = {"one-click": "unsubscribing with one click"}
    named = ", ".join(words.get(name, name) for name in missing)
    hint = "Gmail, Yahoo and Outlook.com refuse bulk mail without SPF, DKIM and DMARC."
    if "one-click" in missing:
        hint += "\nFor newsletters give the letter a header Unsubscribe: https://... that answers to a POST."
    yield Finding(
        "warning",
        "bulk",
        f"{count(sender.rows, 'letter')} make a bulk sender (from {BULK:,} a day); missing: {named}",
        hint,
    )
