"""What does a finished message say?

An independent reader of our own bytes (RFC 5322, 2047), for the check just before a message leaves. It
shares no code with the writer, and reads only what the writer may write: anything else is a flaw.
"""

from __future__ import annotations

import base64
import re
from binascii import Error, a2b_qp
from functools import lru_cache

LONGEST_LINE = 998

_NAME = re.compile(r"[!-9;-~]+")
_ENCODED = re.compile(r"=\?([A-Za-z0-9-]+)\?([bBqQ])\?([!->@-~]*)\?=")
_BETWEEN = re.compile(r"(?<=\?=)[ ]+(?==\?[A-Za-z0-9-]+\?[bBqQ]\?[!->@-~]*\?=)")
_MAILBOX = re.compile(
    r'[ ]*(?:(?P<name>"(?:[^"\\]|\\.)*"|[^<>",@:;\\()\[\]]*?)[ ]*<(?P<address>[^<>,;: "]+)>'
    r'|(?P<bare>[^<>,;: "]+))[ ]*(?:,|$)'
)
_LONGEST_WORD = 75


class Misread(Exception):  # noqa: N818 - a finding about bytes, caught by the one room that asks
    """The bytes are not a message as this project writes them."""


def lines(content: bytes) -> None:
    """Read the lines of a message (RFC 5322, 2.1.1 and 2.3). Raises Misread."""
    found = content.splitlines()
    rest = b"".join(found)
    if len(rest) + 2 * len(found) != len(content) or not content.endswith(b"\r\n"):
        raise Misread("a bare CR or LF, or a last line that is not complete")
    if b"\0" in rest:
        raise Misread("a NUL")
    start = 0
    while len(content) - start > LONGEST_LINE + 2:
        start = content.rfind(b"\n", start, start + LONGEST_LINE + 2) + 1
        if not start:
            raise Misread(f"a line of more than {LONGEST_LINE} bytes")


def headers(block: bytes, *, utf8: bool = False) -> list[str]:
    """Read a header block, each line with its CRLF, into its headers, unfolded (RFC 5322, 2.2.3).

    Only printable ASCII may stand in it, or with `utf8` printable UTF-8 (RFC 6532). Raises Misread.
    """
    try:
        whole = block.decode("utf-8" if utf8 else "ascii")
    except UnicodeDecodeError:
        raise Misread("a header that is not plain ASCII") from None
    found = whole.replace("\r\n ", " ").split("\r\n")
    if found.pop() or not all(map(str.isprintable, found)):
        raise Misread("a control character in a header, or a header that is not complete")
    return found


def field(line: str) -> tuple[str, str]:
    """Read one unfolded header into its name and its value. Raises Misread."""
    name, colon, value = line.partition(":")
    if not colon or not _NAME.fullmatch(name):
        raise Misread("a line in the header block that is no header")
    return name, value.strip(" ")


def text(value: str) -> str:
    """Read a header value as a person would see it: encoded words decoded, blanks between them dropped."""
    if "=?" not in value:
        return value
    return _ENCODED.sub(_decode, _BETWEEN.sub("", value) if " " in value else value)


@lru_cache(maxsize=64)
def mailboxes(value: str) -> tuple[tuple[str, str], ...]:
    """Read a header value as (display name, address) pairs. Raises Misread."""
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(value):
        match = _MAILBOX.match(value, position)
        if not match:
            raise Misread(f"no mailbox at character {position} of {value[:80]!r}")
        position = match.end()
        name = match["name"] or ""
        name = re.sub(r"\\(.)", r"\1", name[1:-1]) if name.startswith('"') else text(name)
        found.append((name, match["address"] or match["bare"]))
    return tuple(found)


def _decode(word: re.Match[str]) -> str:
    if len(word[0]) > _LONGEST_WORD:
        raise Misread(f"an encoded word of {len(word[0])} characters")
    if word[1].lower() != "utf-8":
        raise Misread(f"an encoded word in {word[1]}")
    try:
        if word[2] in "bB":
            return base64.b64decode(word[3], validate=True).decode()
        return a2b_qp(word[3].encode("ascii"), header=True).decode()
    except (Error, UnicodeDecodeError):
        raise Misread("an encoded word that cannot be decoded") from None
