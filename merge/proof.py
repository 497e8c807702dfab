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
_ENCODED = re.compile(r"=\?utf-8\?(?:b\?([A-Za-z0-9+/]*={0,2})|q\?([!->@-~]*))\?=")
_BETWEEN = re.compile(r"(?<=\?=) +(?==\?utf-8\?[bq]\?)")
_MAILBOX = re.compile(
    r' *(?:(?:"((?:[^"\\]|\\.)*)" *|([^<>",@:;\\()\[\]]*))<([^<>,;: "]+)>|([^<>,;: "]+)) *(?:,|$)'
)
"""Takes a quoted name, or one in words, and its address; or a bare address."""

_ESCAPED = re.compile(r"\\(.)")
_LONGEST_WORD = 75
_PLAIN = bytes(range(ord(" "), ord("~") + 1))
_LF, _NUL = ord("\n"), 0


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
    if _NUL in content:
        raise Misread("a NUL")
    _refuse_long(content)


def _refuse_long(content: bytes) -> None:
    """Raise Misread for a line of more than 998 bytes."""
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
        raise Misread(f"a header that is not plain {'UTF-8' if utf8 else 'ASCII'}") from None
    found = whole.replace("\r\n ", " ").split("\r\n")
    together = "".join(found)
    if found.pop() or (not together.isprintable() if utf8 else together.encode().translate(None, _PLAIN)):
        raise Misread("a control character in a header, or a header that is not complete")
    _refuse_long(block)
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
    if not _is_name(name):
        raise Misread("a line in the header block that is no header")
    if "=?" not in line:
        return line == f"{name}: {value}"
    return line.startswith(f"{name}: ") and text(line[len(name) + 2 :]) == value


def text(value: str) -> str:
    """Read a header value as a person would see it: encoded words decoded, blanks between them dropped."""
    if "=?" not in value:
        return value
    if word := _ENCODED.fullmatch(value):
        return _decode(word)
    decoded = _ENCODED.sub(_decode, _BETWEEN.sub("", value))
    if "=?" in decoded:
        raise Misread("an encoded word that is none of ours")
    return decoded


def mailboxes(value: str) -> tuple[tuple[str, str], ...]:
    """Read a header value as (display name, address) pairs. Raises Misread."""
    found: list[tuple[str, str]] = []
    position = 0
    while position < len(value):
        match = _MAILBOX.match(value, position)
        if not match:
            raise Misread(f"no mailbox at character {position} of {value[:80]!r}")
        position = match.end()
        quoted, words, address, bare = match.groups()
        if bare:
            found.append(("", bare))
        elif quoted is None:
            found.append((text(words.rstrip(" ")), address))
        else:
            found.append((_ESCAPED.sub(r"\1", quoted), address))
    return tuple(found)


def _decode(word: re.Match[str]) -> str:
    if (length := word.end() - word.start()) > _LONGEST_WORD:
        raise Misread(f"an encoded word of {length} characters")
    in_base64, in_q = word.groups()
    try:
        if in_q is None:
            return a2b_base64(in_base64, strict_mode=True).decode()
        return a2b_qp(in_q, header=True).decode()
    except (Error, UnicodeDecodeError):
        raise Misread("an encoded word that cannot be decoded") from None
