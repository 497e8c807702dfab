"""What does a letter say whose parts can be told apart only after it is rendered?

Two kinds come from awdeorio/mailmerge: a letter that extends another file, which brings the header lines,
and a letter that writes its own MIME parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import NamedTuple

from markupsafe import escape

from merge.template.environment import RefusedError, printed
from merge.template.letter import Apart, Enter, Head, Slotted, numbered
from merge.template.limits import Account
from merge.template.part import Part
from merge.template.source import CLOSE, OPEN, Line

_VALUE = re.compile(f"{OPEN}([^{OPEN}{CLOSE}]*){CLOSE}")
_ENDS = re.compile(f"([{OPEN}{CLOSE}])")
_HEADER = re.compile(r"([A-Za-z][!-9;-z|~]*)[ \t]*:")
_BLANK_LINE = re.compile(r"^[ \t]*(?:\n|\Z)", re.MULTILINE)
_UNSAFE = re.compile("[\x00\x04-\x1f\x7f-\x9f\u2028\u2029]")


class Whole(NamedTuple):
    """Header lines and body in one template; values are marked while it is rendered."""

    part: Part
    included: tuple[Part, ...]
    lines: tuple[Line, ...]
    escaped: bool

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, those of included files too."""
        return tuple(part for part, _ in self.known())

    def known(self) -> Iterator[tuple[Part, frozenset[str]]]:
        """Yield all parts, those of included files too, each with the names that others may set for it."""
        yield self.part, frozenset()
        names = frozenset().union(*(part.names for part in (self.part, *self.included)))
        for part in self.included:
            yield part, names

    def render(
        self,
        variables: dict[str, object],
        account: Account,
        enter: Enter,
    ) -> tuple[Head, Slotted, Slotted | None]:
        """Render the whole, then cut it at its first blank line that is not inside a value."""
        enter(self.part, variables)
        text = "".join(self.part.render(variables)[0])
        masked = _masked(text)
        blank = _BLANK_LINE.search(masked)
        head_end, body_start = (blank.start(), blank.end()) if blank else (len(text), len(text))
        head = numbered(self._headers(text[:head_end], masked[:head_end]))
        body = text[body_start:]
        if self.escaped:
            body = _VALUE.sub(lambda value: str(escape(value[1])), body)
        return head, Slotted((_ENDS.sub("", body),), ()), None

    def _headers(self, head: str, masked: str) -> Iterator[tuple[str, str, int]]:
        if found := _UNSAFE.search(
            head.replace("\n", "") if masked.count("\n") == head.count("\n") else head
        ):
            raise RefusedError(
                f"a control character (U+{ord(found[0]):04X}) or a line break in a value of a header"
            )
        logical: list[str] = []
        position = 0
        for line in masked.split("\n"):
            original = head[position : position + len(line)]
            position += len(line) + 1
            if line[:1] in (" ", "\t") and logical:
                logical[-1] += f" {original.strip()}"
            elif _HEADER.match(line):
                logical.append(original)
            elif line.strip():
                raise RefusedError(f"this line is no header: {original[:60]!r}")
        known = {line.name.lower(): line.line for line in self.lines}
        for line in logical:
            name, _, value = line.partition(":")
            yield name.rstrip(), value.strip(), known.get(name.strip().lower(), 1)


class HandMade(NamedTuple):
    """A letter that writes its MIME parts itself: the plain one and the HTML one are taken out of it."""

    texts: Apart
    boundary: str
    token: re.Pattern[str]

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, those of included files too."""
        return tuple(part for part, _ in self.known())

    def known(self) -> Iterator[tuple[Part, frozenset[str]]]:
        """Yield all parts, those of included files too, each with the names that others may set for it."""
        yield from self.texts.known()

    def render(
        self, variables: dict[str, object], account: Account, enter: Enter
    ) -> tuple[Head, Slotted, Slotted | None]:
        """Render, then take the body apart at its boundary."""
        head, main, _ = self.texts.render(variables, account, enter)
        found = dict(_mime_parts("".join(main.pattern), self.boundary))
        if "text/html" not in found:
            raise RefusedError(f"no part with Content-Type: text/html between the lines --{self.boundary}")
        plain = found.get("text/plain", "")
        if not main.values:  # rendered without slots, so what was escaped for HTML is escaped here too
            plain = unescape(plain)
        return head, Slotted((found["text/html"],), main.values), Slotted((plain,), main.values)


def for_whole(value: object) -> str:
    """Print a value with its ends marked; what it may hold is judged when it is known where it stands."""
    return f"{OPEN}{printed(value)}{CLOSE}"


def _masked(text: str) -> str:
    """Return the text with everything inside values made harmless, at the same positions."""
    pieces: list[str] = []
    depth = 0
    for piece in _ENDS.split(text):
        depth += piece == OPEN
        pieces.append("\0" * len(piece) if depth or piece == CLOSE else piece)
        depth -= piece == CLOSE
    return "".join(pieces)


def _mime_parts(body: str, boundary: str) -> Iterator[tuple[str, str]]:
    """Yield (media type, text) of each part of a hand-written multipart body (RFC 2046, 5.1.1)."""
    pieces = re.split(rf"^--{re.escape(boundary)}(?:--)?[ \t]*(?:\n|\Z)", body, flags=re.MULTILINE)
    for piece in pieces[1:]:
        head, _, text = piece.lstrip("\n").partition("\n\n")
        declared = re.search(r"^content-type:\s*([\w/+.-]+)", head, re.IGNORECASE | re.MULTILINE)
        if declared:
            yield declared[1].lower(), text
