"""What does a finished message say?

An independent reader of our own bytes (RFC 5322, 2047), for the check just before a message leaves. It
shares no code with the writer, and reads only what the writer may write: anything else is a flaw.
"""

from __future__ import annotations

import base64
import re
from binascii import Error, a2b_qp

LONGEST_LINE = 998

_FIELD = re.compile(rb"([!-9;-~]+):[ ]?((?:.|\r\n[ \t])*)\r\n")
_ENCODED = re.compile(r"=\?([A-Za-z0-9-]+)\?([bBqQ])\?([!->@-~]*)\?=")
_BETWEEN = re.compile(r"(?<=\?=)[ ]+(?==\?[A-Za-z0-9-]+\?[bBqQ]\?[!->@-~]*\?=)")
_MAILBOX = re.compile(
    r'[ ]*(?:(?P<name>"(?:[^"\\]|\\.)*"|[^<>",@:;\\()\[\]]*?)[ ]*<(?P<address>[^<>,;: "]+)>|(?P<bare>[^<>,;: "]+))[ ]*(?:,|$)'
)
_LONGEST_WORD = 75


class Misread(Exception):  # noqa: N818 - a finding about bytes, caught by the one room that asks
    """The bytes are not a message as this project writes them."""


def faults(content: bytes) -> str:
    """Say what is wrong with the lines of a message (RFC 5322, 2.1.1 and 2.3); empty when nothing is."""
    breaks = content.count(b"\r\n")
    if content.count(b"\n") != breaks or content.count(b"\r") != breaks:
        return "a bare CR or LF"
    if not content.endswith(b"\r\n"):
        return "the last line is not complete"
    if b"\0" in content:
        return "a NUL"
    if max(map(len, content.split(b"\r\n"))) > LONGEST_LINE:
        return f"a line of more than {LONGEST_LINE} bytes"
    return ""


def headers(block: bytes, *, utf8: bool = False) -> list[tuple[str, str]]:
    """Read a header block, each line with its CRLF, into (name, raw unfolded value) pairs.

    Only printable ASCII may stand in it, or with `utf8` any UTF-8 (RFC 6532). Raises Misread.
    """
    fields, position = [], 0
    while position < len(block):
        found = _FIELD.match(block, position)
        if not found:
            raise Misread(f"no header at byte {position}")
        position = found.end()
        try:
            value = found[2].decode("utf-8" if utf8 else "ascii")
        except UnicodeDecodeError:
            raise Misread(f"{found[1].decode()} is not plain ASCII") from None
        if "\r\n" in value:
            value = value.replace("\r\n", "")
        if not value.isprintable():
            raise Misread(f"{found[1].decode()} holds a control character")
        fields.append((found[1].decode("ascii"), value.strip(" ")))
    return fields


def text(value: str) -> str:
    """Read a header value as a person would see it: encoded words decoded, blanks between them dropped."""
    if "=?" not in value:
        return value
    return _ENCODED.sub(_decode, _BETWEEN.sub("", value))


def mailboxes(value: str) -> list[tuple[str, str]]:
    """Read a header value as (display name, address) pairs. Raises Misread."""
    found, position = [], 0
    while position < len(value):
        match = _MAILBOX.match(value, position)
        if not match:
            raise Misread(f"no mailbox at character {position} of {value[:80]!r}")
        position = match.end()
        name = match["name"] or ""
        name = re.sub(r"\\(.)", r"\1", name[1:-1]) if name.startswith('"') else text(name)
        found.append((name, match["address"] or match["bare"]))
    return found


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
