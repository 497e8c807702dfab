"""Will receivers believe the signature that is made here? Its key, held against the one in the DNS."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from merge.dkim import DkimSigner
from merge.doctor.dns import Dns, NoAnswer
from merge.doctor.records import tags_of
from merge.finding import Finding
from merge.model import Delivery, Envelope

ADVISED_BITS = 2048
MOST_BITS = 4096
"""RFC 8301, 3.2: receivers need not verify a signature with a longer key."""


def examine(signer: DkimSigner, domain: str, dns: Dns | None) -> tuple[list[Finding], bool]:
    """Look at a signature for letters From a domain; also return whether it will count for that domain.

    Raises ConfigError where the key cannot be used.
    """
    findings = list(_of_key(signer))
    remark = signer.remark(domain)
    if remark:
        findings.append(Finding("warning", "dkim", remark.message, remark.hint))
    publish = _publish(signer)
    if dns is None:
        findings.append(
            Finding("note", "dkim", f"the DNS was not asked for {signer.settings.place}", publish)
        )
        return findings, False
    try:
        found = list(_of_record(signer, dns))
    except NoAnswer as silence:
        words = f"nothing can be told about {signer.settings.place}: {silence.message}"
        return [*findings, Finding("note", "dkim", words, publish)], False
    good = all(finding.grade in ("ok", "note") for finding in found)
    return [*findings, *found], good and remark is None


def _of_key(signer: DkimSigner) -> Iterator[Finding]:
    key, name = signer.key(), signer.settings.key_name
    if key.algorithm != "rsa-sha256":
        yield Finding(
            "warning", "dkim", f"{name} is an Ed25519 key; many receivers do not know that (RFC 8463)",
            "Sign with an RSA key: openssl genrsa -out dkim.pem 2048",
        )  # fmt: skip
    elif key.bits < ADVISED_BITS:
        words = f"the DKIM key {name} has {key.bits} bits"
        yield Finding("note", "dkim", words, f"{ADVISED_BITS} are advised at the next change.")
    elif key.bits > MOST_BITS:
        words = f"the DKIM key {name} has {key.bits} bits; receivers need not count more than {MOST_BITS:,}"
        yield Finding("warning", "dkim", words, f"Make one of {ADVISED_BITS}.")


def _of_record(signer: DkimSigner, dns: Dns) -> Iterator[Finding]:
    """Hold the record at the selector's name against the key. Raises NoAnswer."""
    key, place, name = signer.key(), signer.settings.place, signer.settings.key_name
    texts = dns.texts(place)
    keys = [text for text in texts if "p" in tags_of(text)]
    if not keys:
        yield Finding("warning", "dkim", f"there is no DKIM key at {place}", _publish(signer))
        return
    if len(keys) > 1:
        words = f"there are {len(keys)} DKIM keys at {place}; receivers take any of them"
        yield Finding("warning", "dkim", words, "Leave one there; another key needs a selector of its own.")
        return
    tags = tags_of(keys[0])
    kind = key.algorithm.partition("-")[0]
    if not tags["p"]:
        yield Finding(
            "warning", "dkim", f"the DKIM key at {place} is revoked (p= is empty)",
            f"Make a new key, and publish it under a selector of its own. {_FORGET}",
        )  # fmt: skip
    elif tags.get("k", "rsa").lower() != kind or not key.is_pair_of(tags["p"]):
        yield Finding(
            "warning", "dkim",
            f"the key in DNS is not this key: what {name} signs is not believed with the key at {place}",
            f"Name the key file that belongs to the record, or:\n{_publish(signer)}",
        )  # fmt: skip
    elif _believed(signer, keys[0]) is False or not _for_mail(tags):
        yield Finding(
            "warning", "dkim", f"the record at {place} has the right key, but is not valid: {keys[0][:40]}…",
            _publish(signer),
        )  # fmt: skip
    else:
        size = f"{key.bits:,} bits" if kind == "rsa" else "Ed25519"
        yield Finding(
            "ok", "dkim", f"letters are signed with {name}, the pair of the key at {place} ({size})"
        )
        if "y" in tags.get("t", "").lower().split(":"):
            words = f"the DKIM key at {place} is marked as a test (t=y)"
            yield Finding("note", "dkim", words, "Take the mark away when all works.")


_FORGET = "A key that was revoked may have been stolen."


def _publish(signer: DkimSigner) -> str:
    return f"Publish a TXT record\nname   {signer.settings.place}\nvalue  {signer.key().record}"


def _for_mail(tags: dict[str, str]) -> bool:
    """Whether a record lets its key sign mail with SHA-256 (RFC 6376, 3.6.1, tags s and h)."""
    services = {word.strip() for word in tags.get("s", "*").split(":")}
    hashes = {word.strip() for word in tags.get("h", "sha256").lower().split(":")}
    return bool(services & {"*", "email"}) and "sha256" in hashes


def _believed(signer: DkimSigner, record: str) -> bool | None:
    """Whether dkimpy, which shares nothing with our signer, believes a signed letter; None without it."""
    try:
        import dkim  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra, without types
    except ImportError:
        return None
    sender = f"x@{signer.settings.domain}"
    letter = f"From: {sender}\r\nSubject: a  sample\r\n\r\nfor the \r\njudge\r\n\r\n".encode("ascii")
    sample = Delivery("", 0, Envelope(sender, (sender,)), letter, "", datetime.now(UTC), "")
    try:
        return bool(dkim.DKIM(signer.sign(sample).content).verify(dnsfunc=lambda *_, **__: record.encode()))
    except dkim.NaClNotFoundError:
        return None
    except dkim.DKIMException:
        return False
