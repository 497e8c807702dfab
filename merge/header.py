"""How is a header written?

Text becomes header lines here (RFC 5322, 2047, 2231, 8058): the standard library loses blanks, quotes
and sometimes recipients when it folds, so this room folds itself.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Literal
from urllib.parse import quote

from merge.errors import LetterError

Form = Literal["addresses", "token", "text"]

ADDRESSES = frozenset({"from", "to", "cc", "reply-to", "disposition-notification-to"})
"""Headers that hold mailboxes, in lower case."""

UNWELCOME = {
    "date": "mergepost writes the date itself, the same on every attempt",
    "message-id": "mergepost writes the Message-ID itself, the same on every attempt",
    "mime-version": "mergepost writes it itself",
    "content-transfer-encoding": "mergepost chooses the encoding itself",
    "content-disposition": "use Attach for files",
    "content-id": 'use <img src="images/logo.png"> for pictures shown in the letter',
    "received": "only mail servers write it",
    "return-path": "only mail servers write it; the sender is From",
    "sender": "the sender is From",
    "dkim-signature": "a signature is made after the letter",
    "authentication-results": "only mail servers write it",
    "delivered-to": "only mail servers write it",
}
"""Headers that a letter cannot set, in lower case, each with the reason."""

_TOKEN_NAMES = frozenset(
    {
        *(
            "in-reply-to",
            "references",
            "feedback-id",
            "auto-submitted",
            "precedence",
            "importance",
            "priority",
        ),
        *("x-priority", "content-language", "x-mailer", "autocrypt"),
    }
)
_LINE = 76
_LONGEST = 998
_WORD = 75
_MANY_BLANKS = " " * 40
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|=\\?")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+(?: [A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+)*")
_SAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/ "
_Q = tuple("_" if byte == ord(" ") else chr(byte) if byte in _SAFE else f"={byte:02X}" for byte in range(256))
_FRAME = len("=?utf-8?q??=")
_NARROW = 8
_PARAMETER_SAFE = "!#$&+^`{|}"


@lru_cache(maxsize=256)
def form(name: str) -> Form:
    """Say what a header holds: mailboxes, tokens that are never encoded (URLs, ids), or text to be read."""
    lower = name.lower()
    if lower in ADDRESSES:
        return "addresses"
    if lower.startswith("list-") or lower in _TOKEN_NAMES:
        return "token"
    return "text"


@lru_cache(maxsize=256)
def unwelcome(name: str) -> str:
    """Say why a letter cannot set this header; empty when it can."""
    lower = name.lower()
    if lower.startswith("resent-"):
        return "Resent headers would change who gets the letter"
    if lower.startswith("arc-"):
        return "only mail servers write it"
    return UNWELCOME.get(lower, "")


def flaw(name: str, value: str) -> str:
    """Say what keeps a value out of a header; empty when nothing does.

    Refused are control characters and line breaks, which would begin another header; "=?", which readers
    decode into such characters; and letters beyond ASCII where no encoding is allowed.
    """
    if (not value.isprintable() or "=?" in value) and (found := _FORBIDDEN.search(value)):
        return _why(found[0])
    if form(name) == "token":
        if not value.isascii():
            return "this header can hold plain ASCII only"
        room = _LONGEST - len(name) - 2
        if len(value) > room and max(map(len, value.split(" "))) > room:
            return f"a word of more than {room} characters"
        if _MANY_BLANKS in value:
            return "too many blanks in a row"
    return ""


def _why(text: str) -> str:
    if text == "=?":
        return '"=?" would be decoded by mail programs, and could hide another header'
    if text in "\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029":
        return "a line break here could begin another header"
    if "\ud800" <= text <= "\udfff":
        return f"half a character (U+{ord(text):04X})"
    return f"a control character (U+{ord(text):04X})"


def write(name: str, value: str) -> str:
    """Write one header line, folded, with its CRLF; for all but mailboxes. Raises LetterError."""
    if (not value.isprintable() or "=?" in value) and _FORBIDDEN.search(value):
        _refuse(name, value)
    if value.isascii():
        if len(name) + 2 + len(value) <= _LINE:
            return f"{name}: {value}\r\n"
        words = value.split(" ")
        if form(name) == "token" or (max(map(len, words)) < _LINE and _MANY_BLANKS not in value):
            return _pack(name, _with_blanks(words))
    if form(name) == "token":
        _refuse(name, value)
    room = _LINE - len(name) - 2
    word = _single_word(value.encode(), room)
    return f"{name}: {word}\r\n" if word else _pack(name, _encoded_words(value, room))


def write_mailboxes(name: str, mailboxes: Iterable[tuple[str, str]]) -> str:
    """Write one header of (display name, address) pairs, folded, with its CRLF (RFC 5322, 3.4).

    An address beyond ASCII is written as it is (RFC 6532). Raises LetterError.
    """
    tokens: list[str] = []
    for display, address in mailboxes:
        whole = f"{display} <{address}>"
        if (not whole.isprintable() or "=?" in whole) and _FORBIDDEN.search(whole):
            _refuse(name, whole)
        if display:
            tokens += _phrase(display)
            tokens.append(f"<{address}>,")
        else:
            tokens.append(f"{address},")
    if tokens:
        tokens[-1] = tokens[-1][:-1]
    line = f"{name}: {' '.join(tokens)}"
    return f"{line}\r\n" if len(line) <= _LINE else _pack(name, tokens)


def write_parameter(name: str, value: str) -> list[str]:
    """Write one MIME parameter as one or more `name=value` texts without separators (RFC 2231, 3 and 4)."""
    if _FORBIDDEN.search(value):
        _refuse(name, value)
    if value.isascii() and len(name) + len(value) <= _LINE - 20:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return [f'{name}="{escaped}"']
    pieces: list[str] = []
    room = _LINE - len(name) - len("*00*=utf-8'';  ")
    for character in value:
        encoded = quote(character, safe=_PARAMETER_SAFE)
        if pieces and len(pieces[-1]) + len(encoded) <= room:
            pieces[-1] += encoded
        else:
            pieces.append(encoded)
    if len(pieces) == 1:
        return [f"{name}*=utf-8''{pieces[0]}"]
    pieces[0] = f"utf-8''{pieces[0]}"
    return [f"{name}*{number}*={piece}" for number, piece in enumerate(pieces)]


def write_parameters(name: str, value: str, parameters: Sequence[str]) -> str:
    """Write a header of the form `value; parameter; parameter`, folded between parameters, with its CRLF."""
    return _pack(name, [f"{part};" for part in (value, *parameters)[:-1]] + [(value, *parameters)[-1]])


def _phrase(display: str) -> list[str]:
    if display.isascii() and len(display) <= _LINE - 30:
        if _ATOMS.fullmatch(display):
            return [display]
        escaped = display.replace("\\", "\\\\").replace('"', '\\"')
        return [f'"{escaped}"']
    word = _single_word(display.encode(), _LINE - 20)
    return [word] if word else list(_encoded_words(display, _LINE - 20))


def _with_blanks(words: Sequence[str]) -> Iterator[str]:
    """Give every run of blanks to the word after it, so that no line consists of blanks."""
    blanks = ""
    for word in words:
        if word:
            yield blanks + word
            blanks = ""
        else:
            blanks += " "


def _pack(name: str, tokens: Iterable[str]) -> str:
    lines = [f"{name}:"]
    for token in tokens:
        if len(lines[-1]) + 1 + len(token) <= _LINE or (lines == [f"{name}:"] and not token.startswith("=?")):
            lines[-1] += f" {token}"
        else:
            lines.append(f" {token}")
    return "\r\n".join(lines) + "\r\n"


def _encoded_words(text: str, first_room: int) -> Iterator[str]:
    """Cut a text into encoded words of whole characters, each at most 75 long (RFC 2047, 2 and 5)."""
    data = text.encode()
    room = min(first_room, _WORD) - _FRAME
    if room < _NARROW:
        room = _WORD - _FRAME
    at = 0
    if _shorter_as_q(len(data), len(data.translate(None, _SAFE))):
        quoted = "".join(map(_Q.__getitem__, data))
        while piece := _quoted_up_to(room).match(quoted, at):
            yield f"=?utf-8?q?{piece[0]}?="
            at, room = piece.end(), _WORD - _FRAME
    else:
        while cut := _bytes_up_to(room // 4 * 3).match(data, at):
            yield _encoded_word(cut[0], as_q=False)
            at, room = cut.end(), _WORD - _FRAME


@lru_cache(maxsize=64)
def _quoted_up_to(length: int) -> re.Pattern[str]:
    """Return what finds whole characters in the Q encoding; one that is longer by itself is found, too."""
    return re.compile(rf".{{1,{length}}}(?<!=)(?<!=.)(?!=[89AB])|=..(?:=[89AB].)*")


@lru_cache(maxsize=64)
def _bytes_up_to(length: int) -> re.Pattern[bytes]:
    """Return what finds whole characters in UTF-8."""
    return re.compile(rb"(?s:.{1,%d})(?![\x80-\xbf])" % length)


def _single_word(data: bytes, room: int) -> str:
    """Return a text as one encoded word, or an empty text where that would be too long."""
    size, unsafe = len(data), len(data.translate(None, _SAFE))
    as_q = _shorter_as_q(size, unsafe)
    length = size + 2 * unsafe if as_q else (size + 2) // 3 * 4
    return _encoded_word(data, as_q=as_q) if length <= min(room, _WORD) - _FRAME else ""


def _shorter_as_q(size: int, unsafe: int) -> bool:
    """Whether the Q encoding makes a text no longer than base64 does; people can read it."""
    return size + 2 * unsafe <= size * 4 / 3


def _encoded_word(data: bytes, *, as_q: bool) -> str:
    if as_q:
        return f"=?utf-8?q?{''.join(map(_Q.__getitem__, data))}?="
    return f"=?utf-8?b?{b2a_base64(data, newline=False).decode('ascii')}?="


def _refuse(name: str, value: str) -> None:
    raise LetterError(f"{name}: {flaw(name, value) or 'this cannot be written'}: {value[:60]!r}")
