"""What does this record say? DMARC policies and DKIM keys, as the DNS has them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass

from merge.doctor.dns import Dns

_WALK = 8
"""How many places are asked for a DMARC policy, at most (RFC 9989)."""


@dataclass(frozen=True, slots=True)
class Key:
    """A DKIM key in the DNS. `bits` is None where its size cannot be told."""

    selector: str
    kind: str
    bits: int | None
    revoked: bool
    testing: bool


def find_policy(domain: str, dns: Dns) -> tuple[str, str | None]:
    """Walk up the tree to the DMARC record that holds for a domain; where it is, and its text (RFC 9989).

    No record, or several at one place, are None there. Raises NoAnswer.
    """
    labels = domain.split(".")
    first = max(1, len(labels) - _WALK + 1)  # nobody makes us ask for ever
    places = [domain, *(".".join(labels[start:]) for start in range(first, len(labels)))]
    for place in places:
        found = [text for text in dns.texts(f"_dmarc.{place}") if _is_dmarc(text)]
        if len(found) == 1 and (place == domain or tags_of(found[0]).get("psd") != "y"):
            return place, found[0]
    return domain, None


def tags_of(text: str) -> dict[str, str]:
    """Return the tags of a DMARC or DKIM record; the first of a name counts."""
    tags: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            tags.setdefault(name.strip().lower(), value.strip())
    return tags


def _is_dmarc(text: str) -> bool:
    name, _, value = text.partition(";")[0].partition("=")
    return name.strip() == "v" and value.strip() == "DMARC1"


def read_key(selector: str, text: str) -> Key:
    """Read a DKIM key record (RFC 6376, 3.6.1)."""
    tags = tags_of(text)
    kind = tags.get("k", "rsa").lower()
    encoded = "".join(tags.get("p", "").split())
    return Key(
        selector=selector,
        kind=kind,
        bits=rsa_bits(encoded) if kind == "rsa" and encoded else None,
        revoked=not encoded,
        testing="y" in tags.get("t", "").lower().split(":"),
    )


def rsa_bits(encoded: str) -> int | None:
    """Return the size of an RSA public key in base64; None if it cannot be read.

    The modulus is the largest INTEGER in the DER structure, whether that is SubjectPublicKeyInfo (RFC 5280)
    or RSAPublicKey (RFC 8017): it need not be taken apart further.
    """
    try:
        data = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None
    sizes = [len(value) * 8 - (8 - value[0].bit_length()) for value in _integers(data) if value]
    return max(sizes, default=None)


_INTEGER, _BIT_STRING, _SEQUENCE = 0x02, 0x03, 0x30


def _integers(data: bytes) -> Iterator[bytes]:
    """Yield the INTEGERs of a DER structure, without leading zeros, from inside sequences and bit strings."""
    while len(data) > 1:
        tag, length, start = data[0], data[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(data[2:start], "big")
        value, data = data[start : start + length], data[start + length :]
        if tag == _INTEGER:
            yield value.lstrip(b"\0")
        elif tag == _SEQUENCE:
            yield from _integers(value)
        elif tag == _BIT_STRING:
            yield from _integers(value[1:])
