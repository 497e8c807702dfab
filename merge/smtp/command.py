"""How is it said? Command lines (RFC 5321, 4.1) and message bodies, ready for the wire.

Pure. Each line is checked here once more, whatever was checked before: a line break or a bracket in an
address would become a second command or a parameter of the server's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from merge.errors import AddressError, ConfigError, SealError
from merge.model import Delivery

NOOP = b"NOOP\r\n"
QUIT = b"QUIT\r\n"
RSET = b"RSET\r\n"
DATA = b"DATA\r\n"
STARTTLS = b"STARTTLS\r\n"
END_OF_DATA = b".\r\n"

_UNFIT_PATH = re.compile(r"[\x00-\x20\x7f<>\ud800-\udfff]")
_UNFIT_NAME = re.compile(r"[^!-~]")

# Each begins with the character it looks for: then a search runs at the speed of memory.
_BARE_CR = re.compile(rb"\r[^\n]")
_BARE_LF = re.compile(rb"\n(?<!\r\n)")
_BARE_LF_OR_DOT = re.compile(rb"\n(?:\.|(?<!\r\n))")


def ehlo(name: str, verb: str = "EHLO") -> bytes:
    """Return the greeting (RFC 5321, 4.1.1.1). Raises ConfigError if `name` is not one word of ASCII."""
    if not name or _UNFIT_NAME.search(name):
        raise ConfigError(f"{name!r} cannot be the name this computer greets the server with")
    return f"{verb} {name}\r\n".encode("ascii")


def mail(delivery: Delivery, offered: Mapping[str, str]) -> bytes:
    """Return MAIL FROM with the parameters that the server offers; `offered` has the extensions' keywords.

    SIZE (RFC 1870) always, BODY=8BITMIME (RFC 6152) for content beyond ASCII, SMTPUTF8 (RFC 6531) for an
    address beyond ASCII.
    """
    envelope, content = delivery.envelope, delivery.content
    line = _mail_from(envelope.sender)
    if "SIZE" in offered:
        line += b" SIZE=%d" % len(content)
    if "8BITMIME" in offered and not content.isascii():
        line += b" BODY=8BITMIME"
    if "SMTPUTF8" in offered and envelope.needs_smtputf8:
        line += b" SMTPUTF8"
    return line + b"\r\n"


@lru_cache(maxsize=16)
def _mail_from(sender: str) -> bytes:
    return f"MAIL FROM:<{path(sender)}>".encode()


def rcpt(address: str) -> bytes:
    """Return RCPT TO for exactly this address."""
    return f"RCPT TO:<{path(address)}>\r\n".encode()


def bdat(size: int) -> bytes:
    """Return the command that announces a whole message of `size` bytes (RFC 3030, 2)."""
    return b"BDAT %d LAST\r\n" % size


def auth(mechanism: str, initial: bytes | None) -> bytes:
    """Return AUTH with its initial response, base64 already (RFC 4954, 4); an empty one is "="."""
    words = [b"AUTH", mechanism.encode("ascii")]
    if initial is not None:
        words.append(initial or b"=")
    return b" ".join(words) + b"\r\n"


def path(address: str) -> str:
    """Return the address if it can stand between < and >. Raises AddressError if it cannot."""
    if _UNFIT_PATH.search(address):
        raise AddressError(f"{address!r} cannot stand in an SMTP command", hint="Correct it in the list.")
    return address


def check(delivery: Delivery) -> bool:
    """Refuse what must never reach the wire; a delivery made by `seal` passes.

    Return whether a line of the message begins with a dot. Raises AddressError for an address that would be
    more than an address, SealError for content with a bare CR or LF, or an incomplete last line: two servers
    may disagree on where such a message ends.
    """
    _mail_from(delivery.envelope.sender)
    if not delivery.envelope.recipients:
        raise AddressError(f"row {delivery.row} has no recipient")
    for address in delivery.envelope.recipients:
        if not path(address):
            raise AddressError(f"row {delivery.row} has an empty recipient")
    content = delivery.content
    if not content.endswith(b"\r\n"):
        raise SealError(f"the message of row {delivery.row} does not end with a complete line")
    dotted = _BARE_LF_OR_DOT.search(content) is not None
    if (dotted and _BARE_LF.search(content)) or _BARE_CR.search(content):
        raise SealError(f"the message of row {delivery.row} holds a bare CR or LF")
    return dotted or content.startswith(b".")


def stuff(content: bytes) -> bytes:
    """Return the content as DATA carries it, its end apart: a dot doubled where a line begins with one.

    RFC 5321, 4.5.2. Line ends are CRLF already, so a search for LF and dot finds each such line.
    """
    if content.startswith(b"."):
        content = b"." + content
    return content.replace(b"\n.", b"\n..")
