"""How is a finished message signed? DKIM (RFC 6376), relaxed in headers and body."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import replace

from merge.dkim.key import Key, read_key
from merge.dkim.settings import DkimSettings
from merge.errors import Problem
from merge.model import Delivery

USUAL = frozenset(
    {
        *("from", "to", "cc", "reply-to", "subject", "date", "message-id", "in-reply-to", "references"),
        *("mime-version", "content-type", "content-transfer-encoding", "content-language"),
        *("list-id", "list-help", "list-subscribe", "list-post", "list-owner", "list-archive"),
        *("auto-submitted", "feedback-id"),
    }
)
"""Headers that are covered where the person names none, in lower case (after RFC 6376, 5.4.1)."""

ALWAYS = frozenset({"from", "list-unsubscribe", "list-unsubscribe-post"})
"""Headers that are always covered where they stand (RFC 6376, 5.4; RFC 8058, 4)."""

SEALED = ("from", "to", "cc", "reply-to", "subject", "date", "message-id")
"""Headers of which none can be added afterwards: each that is covered counts once more than it stands
(RFC 6376, 8.15). Gmail does the same for these."""

_BLANK = b" \t\r\n"
_LINE = 76
_B64_LINE = 74


class DkimSigner:
    """Signs for one domain. The key is read when it is first needed, and never shown."""

    def __init__(self, settings: DkimSettings) -> None:
        self.settings = settings
        covered = (frozenset(settings.headers) or USUAL) | ALWAYS
        self._covered = covered
        self._sealed = tuple(name for name in SEALED if name in covered)
        self._key: Key | None = None
        self._tags: dict[tuple[str, ...], bytes] = {}

    def __repr__(self) -> str:
        return f"DkimSigner({self.settings.place})"

    def key(self) -> Key:
        """Return the private key, read once. Raises ConfigError where it cannot be used."""
        if self._key is None:
            self._key = read_key(self.settings.key_file, self.settings.key_name)
        return self._key

    def sign(self, delivery: Delivery) -> Delivery:
        """Return the delivery with a DKIM-Signature on top; nothing may change the message afterwards.

        The same message always gets the same signature: its time (t=) is the message's Date. Raises
        ConfigError where the key cannot be used.
        """
        content = delivery.content
        end = content.index(b"\r\n\r\n") + 2
        fields = _fields(content[:end])
        names, signed = self._select(fields)
        head = b"%s\r\n t=%d; bh=%s;\r\n b=" % (
            self._start(names),
            int(delivery.date.timestamp()),
            base64.b64encode(body_hash(content, end + 2)),
        )
        signed.append(_fields(head)[0][1])  # its own header comes last, without a line end
        signature = base64.b64encode(self.key().sign(b"\r\n".join(signed)))
        lines = [signature[at : at + _B64_LINE] for at in range(0, len(signature), _B64_LINE)]
        return replace(delivery, content=b"".join((head, b"\r\n ".join(lines), b"\r\n", content)))

    def remark(self, domain: str) -> Problem | None:
        """Return what a person should know whose From is of another domain than the signature.

        Whether a parent of both is one organisation's is not known here; where one domain holds the other,
        that is taken for granted (RFC 7489, 3.1.1).
        """
        own = self.settings.domain
        domain = domain.lower()
        if not domain or domain == own or domain.endswith(f".{own}") or own.endswith(f".{domain}"):
            return None
        return Problem(
            "warning",
            "dkim",
            f"the signature is of {own}, From is of {domain}: for DMARC it does not count",
            hint=f'sign as the domain of From: domain = "{domain}" in dkim',
        )

    def _select(self, fields: list[tuple[str, bytes]]) -> tuple[tuple[str, ...], list[bytes]]:
        """Return the names for h=, and the fields in that order: of several with one name the last first."""
        names: list[str] = []
        left: dict[str, list[bytes]] = {}
        for name, field in fields:
            if name in self._covered:
                names.append(name)
                left.setdefault(name, []).append(field)
        signed = [left[name].pop() for name in names]
        return (*names, *self._sealed), signed

    def _start(self, names: tuple[str, ...]) -> bytes:
        """Return the header up to h=, folded; most letters of a run have the same."""
        tags = self._tags.get(names)
        if tags is None:
            settings = self.settings
            words = [
                "DKIM-Signature: v=1;",
                f"a={self.key().algorithm};",
                "c=relaxed/relaxed;",
                f"d={settings.domain};",
                f"s={settings.selector};",
                f"h={names[0]}:",
                *(f"{name}:" for name in names[1:-1]),
                f"{names[-1]};",
            ]
            tags = self._tags[names] = _folded(words).encode("ascii")
        return tags


def body_hash(content: bytes, start: int) -> bytes:
    """Return the SHA-256 of the body from `start` on, CRLF line ends, as "relaxed" has it (RFC 6376, 3.4.4).

    Runs of blanks become one, those before a line end and the empty lines at the end go.
    """
    stop = max(start, len(content.rstrip(_BLANK)))
    if start == stop:
        return hashlib.sha256().digest()
    # Behind the last blank, as in a large file in base64, there is nothing to change.
    last = stop if content.find(b"\t", start, stop) >= 0 else content.rfind(b" ", start, stop)
    text = content[start : min(max(start, last + 3), stop)]
    found = hashlib.sha256(_one_blank(text).replace(b" \r\n", b"\r\n"))
    found.update(memoryview(content)[start + len(text) : stop])
    found.update(b"\r\n")
    return found.digest()


def _one_blank(text: bytes) -> bytes:
    """Make every run of blanks one, without a look at each of them."""
    text = text.replace(b"\t", b" ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text


def _fields(block: bytes) -> list[tuple[str, bytes]]:
    """Return the fields of a header block as "relaxed" has them (RFC 6376, 3.4.2), each with its name."""
    found = []
    for line in _one_blank(block.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")).split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            lower = name.rstrip(b" ").lower()
            found.append((lower.decode("ascii"), lower + b":" + value.strip(b" ")))
    return found


def _folded(words: Iterable[str]) -> str:
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= _LINE:
            glue = "" if lines[-1].endswith(":") and lines[-1] != "DKIM-Signature:" else " "
            lines[-1] += glue + word
        else:
            lines.append(f" {word}" if lines else word)
    return "\r\n".join(lines)
