"""What does a finished message say?

An independent reader of our own bytes (RFC 5322, 2047), for the check just before a message leaves. It
shares no code with the writer, and reads only what the writer may write: anything else is a flaw.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64, a2b_qp
from collections.abc import Iterable
from functools import lru_cache

LONGEST_LINE = 998

_NAME = re.compile(r"[!-9;-~]+")
_ENCODED = re.compile(r"=\?([A-Za-z0-9-]+)\?([bBqQ])\?([!->@-~]*)\?=")
_BETWEEN = re.compile(r"(?<=\?=)[ ]+(?==\?[A-Za-z0-9-]+\?[bBqQ]\?[!->@-~]*\?=)")
_MAILBOX = re.compile(
    r'[ ]*(?:(?P<name>"(?:[^"\\]|\\.)*"[ ]*|[^<>",@:;\\()\[\]]*)<(?P<address>[^<>,;: "]+)>'
    r'|(?P<bare>[^<>,;: "]+))[ ]*(?:,|$)'
)
_LONGEST_WORD = 75
_PLAIN = bytes((*b"\r\n", *range(ord(" "), ord("~") + 1)))
_LF = ord("\n")


class Misread(Exception):  # noqa: N818 - a finding about bytes, caught by the one room that asks
    """The bytes are not a message as this project writes them."""


class Proven(bytes):
    """Whole lines that were read, and hold no flaw. Made by `proven`."""

    __slots__ = ()


def proven(data: bytes) -> Proven:
    """Read lines that many messages share, so that they need not be read again. Raises Misread."""
    _read(data)
    return Proven(data)


def lines(pieces: Iterable[bytes]) -> bytes:
    """Read a message in pieces of whole lines; return those that were not read before. Raises Misread."""
    fresh = [piece for piece in pieces if piece and type(piece) is not Proven]
    if [piece for piece in fresh if piece[-1] != _LF]:
        raise Misread("a line that is not complete")
    content = b"".join(fresh)
    _read(content)
    return content


def _read(content: bytes) -> None:
    """Read lines (RFC 5322, 2.1.1 and 2.3). Raises Misread."""
    found = content.splitlines()
    if len(b"".join(found)) + 2 * len(found) != len(content) or content[-2:] not in {b"\r\n", b""}:
        raise Misread("a bare CR or LF, or a last line that is not complete")
    if b"\0" in content:
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
    if utf8:
        try:
            whole = block.decode()
        except UnicodeDecodeError:
            raise Misread("a header that is not UTF-8") from None
    elif block.isascii():
        whole = block.decode("ascii")
    else:
        raise Misread("a header that is not plain ASCII")
    found = whole.replace("\r\n ", " ").split("\r\n")
    if found.pop() or (block.translate(None, _PLAIN) if not utf8 else not "".join(found).isprintable()):
        raise Misread("a control character in a header, or a header that is not complete")
    return found


def field(line: str) -> tuple[str, str]:
    """Read one unfolded header into its name and its value. Raises Misread."""
    name, colon, value = line.partition(":")
    if not colon or not _is_name(name):
        raise Misread("a line in the header block that is no header")
    return name, value.strip(" ")


@lru_cache(maxsize=256)
def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def says(line: str, name: str, value: str) -> bool:
    """Whether one unfolded header of text has this name, and says this to a person. Raises Misread."""
    if "=?" not in line and _is_name(name):
        return line == f"{name}: {value}"
    found, written = field(line)
    return found == name and text(written) == value


@lru_cache(maxsize=64)
def written_mailboxes(line: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Read one unfolded header of mailboxes into its name and its mailboxes. Raises Misread."""
    name, value = field(line)
    return name, mailboxes(value)


def text(value: str) -> str:
    """Read a header value as a person would see it: encoded words decoded, blanks between them dropped."""
    if "=?" not in value:
        return value
    return _ENCODED.sub(_decode, _BETWEEN.sub("", value) if "?= " in value else value)


def mailboxes(value: str) -> tuple[tuple[str, str], ...]:
    """Read a header value as (display name, address) pairs. Raises Misread."""
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(value):
        match = _MAILBOX.match(value, position)
        if not match:
            raise Misread(f"no mailbox at character {position} of {value[:80]!r}")
        position = match.end()
        name, address, bare = match.groups()
        name = name.rstrip(" ") if name else ""
        name = re.sub(r"\\(.)", r"\1", name[1:-1]) if name.startswith('"') else text(name)
        found.append((name, address or bare))
    return tuple(found)


def _decode(word: re.Match[str]) -> str:
    whole, charset, encoding, written = word.group(0, 1, 2, 3)
    if len(whole) > _LONGEST_WORD:
        raise Misread(f"an encoded word of {len(whole)} characters")
    if charset.lower() != "utf-8":
        raise Misread(f"an encoded word in {charset}")
    try:
        if encoding in "bB":
            return a2b_base64(written, strict_mode=True).decode()
        return a2b_qp(written, header=True).decode()
    except (Error, UnicodeDecodeError):
        raise Misread("an encoded word that cannot be decoded") from None
