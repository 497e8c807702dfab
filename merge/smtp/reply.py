"""What did the server say? Bytes into replies (RFC 5321, 4.2), strictly; never a guess.

Pure: no socket, no time. Whatever is not a well-formed reply is `Garbled`, and whoever reads decides what
that means for the message in flight.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from merge.errors import MergeError

LINE_CAP = 8 * 1024
"""Bytes of one reply line. RFC 5321, 4.5.3.1.5 allows 512; servers are more talkative than that."""

REPLY_CAP = 64 * 1024
"""Bytes of one reply, all its lines together."""

LINES_CAP = 100
"""Lines of one reply."""

TEXT_CAP = 500
"""Characters of a reply's text that are kept."""

_LINE = re.compile(rb"([1-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
_SINGLE = re.compile(rb"([1-5][0-9][0-9])(?: ([^\r\n]{0,8000}))?\r\n")
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


class Garbled(MergeError):  # noqa: N818 - what the bytes are, not only that they are wrong
    """The bytes are not a reply. The message quotes their beginning, escaped."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One complete reply. `raw` are the texts after the code, one a line, as they came."""

    code: int
    raw: tuple[bytes, ...] = (b"",)

    @classmethod
    def of(cls, match: re.Match[bytes]) -> Reply:
        """Return the reply of one line whose code and text are the first groups of a match."""
        return cls(int(match[1]), (match[2] or b"",))

    @property
    def lines(self) -> tuple[str, ...]:
        """The texts, escaped: printable ASCII only, of any length within the caps."""
        return tuple(map(escape, self.raw))

    @property
    def enhanced(self) -> str:
        """The enhanced status code (RFC 2034) if its class is that of `code`, else ""."""
        return self.words[0]

    @property
    def ok(self) -> bool:
        """Whether the first digit, which decides (RFC 5321, 4.2.1), says yes."""
        return 200 <= self.code < 300  # noqa: PLR2004 - reply codes are numbers by nature

    @property
    def refused(self) -> bool:
        """Whether the first digit says no, for now (4) or for good (5)."""
        return self.code >= 400  # noqa: PLR2004 - reply codes are numbers by nature

    @property
    def permanent(self) -> bool:
        """Whether the first digit says no for good."""
        return self.code >= 500  # noqa: PLR2004 - reply codes are numbers by nature

    @property
    def go_ahead(self) -> bool:
        """Whether the server waits for the message (354)."""
        return self.code == 354  # noqa: PLR2004 - reply codes are numbers by nature

    @property
    def question(self) -> bool:
        """Whether the server asks something during a login (334)."""
        return self.code == 334  # noqa: PLR2004 - reply codes are numbers by nature

    @property
    def closing(self) -> bool:
        """Whether the server closes the line (421); it may say so at any time (RFC 5321, 3.8)."""
        return self.code == 421  # noqa: PLR2004 - reply codes are numbers by nature

    @property
    def text(self) -> str:
        """What a person may read: one line, without the codes, at most 500 characters."""
        return self.words[1]

    @property
    def words(self) -> tuple[str, str]:
        """`enhanced` and `text`."""
        first = escape(self.raw[0])
        match = _ENHANCED.match(first)
        enhanced = match[1] if match and int(first[0]) == self.code // 100 else ""
        if len(self.raw) == 1:
            return enhanced, shorten(first[len(enhanced) :].strip())
        lines = [escape(line).removeprefix(enhanced).strip() for line in self.raw]
        return enhanced, shorten(" ".join(filter(None, lines)))

    @property
    def status(self) -> str:
        """Both codes, as in "550 5.1.1"."""
        return f"{self.code} {self.enhanced}".rstrip()

    def __str__(self) -> str:
        return f"{self.status} {self.text}".rstrip()


class ReplyReader:
    """Turns bytes, however they are split, into replies.

    Once `next` has raised Garbled, nothing that follows can be trusted: the reader stays garbled.
    """

    __slots__ = ("_at", "_bytes", "_code", "_garbled", "_lines", "_size")

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0  # up to here the bytes are used up
        self._code = b""
        self._lines: list[bytes] = []
        self._size = 0
        self._garbled: Garbled | None = None

    @property
    def unread(self) -> bool:
        """Whether bytes have arrived that no reply has used up."""
        return self._at < len(self._bytes) or bool(self._lines or self._garbled)

    @property
    def fragment(self) -> bytes:
        """The beginning of what has arrived of an incomplete reply."""
        return self._code or self._bytes[self._at : self._at + 3]

    def feed(self, data: bytes) -> None:
        """Take bytes as they come from the wire."""
        self._bytes = self._bytes[self._at :] + data if self._at < len(self._bytes) else data
        self._at = 0

    def at_hand(self) -> Reply | None:
        """Return the next reply if all of it is here, in one line and well-formed; else `next` knows why."""
        if self._lines or self._garbled or (single := _SINGLE.match(self._bytes, self._at)) is None:
            return None
        self._at = single.end()
        return Reply.of(single)

    def agree(self, count: int, *, go_ahead: bool) -> re.Match[bytes] | None:
        """Use up the next `count` replies if they say yes, the last by 354 if `go_ahead`.

        Otherwise, or if anything else has arrived, use up none: each is to be looked at in its place.
        `Reply.of` makes the first of them from what is returned.
        """
        if self._lines or self._garbled:
            return None
        match = _yes(count, go_ahead).fullmatch(self._bytes, self._at)
        if match:
            self._at = match.end()
        return match

    def next(self) -> Reply | None:
        """Return the next complete reply, or None until more bytes have come.

        Raises Garbled for anything else than RFC 5321, 4.2, and for what is beyond the caps.
        """
        if self._garbled:
            raise self._garbled
        try:
            return self._next()
        except Garbled as garbled:
            self._garbled = garbled
            raise

    def _next(self) -> Reply | None:
        if single := self.at_hand():
            return single
        while (stop := self._bytes.find(b"\n", self._at) + 1) > 0:
            line, self._at = self._bytes[self._at : stop], stop
            if last := self._line(line):
                return last
        if len(self._bytes) - self._at > LINE_CAP:
            raise Garbled(f"a reply line longer than {LINE_CAP} bytes: {excerpt(self._bytes[self._at :])}")
        return None

    def _line(self, line: bytes) -> Reply | None:
        if len(line) > LINE_CAP:
            raise Garbled(f"a reply line longer than {LINE_CAP} bytes: {excerpt(line)}")
        match = _LINE.fullmatch(line[:-2]) if line.endswith(b"\r\n") else None
        if match is None:
            raise Garbled(f"not a reply: {excerpt(line)}")
        code, mark, text = match.groups()
        if self._lines and code != self._code:
            raise Garbled(f"two codes in one reply: {excerpt(self._code)} and {excerpt(line)}")
        self._code = code
        self._lines.append(text or b"")
        self._size += len(line)
        if self._size > REPLY_CAP or len(self._lines) > LINES_CAP:
            raise Garbled(f"a reply longer than {LINES_CAP} lines or {REPLY_CAP} bytes: {excerpt(line)}")
        if mark == b"-":
            return None
        lines = tuple(self._lines)
        self._lines, self._size, self._code = [], 0, b""
        return Reply(int(code), lines)


@lru_cache(maxsize=16)
def _yes(count: int, go_ahead: bool) -> re.Pattern[bytes]:  # noqa: FBT001 - a key of the cache
    """Return what fits so many replies of one line each; code and text of the first are its groups."""
    codes = [b"2[0-9][0-9]"] * (count - go_ahead) + [b"354"] * go_ahead
    text = rb"[^\r\n]{0,8000}"
    lines = [rb"%b(?: %b)?\r\n" % (code, text) for code in codes[1:]]
    return re.compile(b"".join((rb"(%b)(?: (%b))?\r\n" % (codes[0], text), *lines)))


def escape(data: bytes) -> str:
    """Return bytes as printable ASCII: nothing in it that a terminal or a table would obey."""
    text = data.decode("ascii", "backslashreplace")
    if text.isprintable():
        return text
    return _UNPRINTABLE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def excerpt(data: bytes) -> str:
    """Return the beginning of `data`, printable, in quotes: for messages."""
    return f'"{shorten(escape(data.rstrip(bytes((13, 10)))), 60)}"'


def shorten(text: str, cap: int = TEXT_CAP) -> str:
    """Return at most `cap` characters, the last three being dots where something was cut."""
    return text if len(text) <= cap else text[: cap - 3] + "..."
