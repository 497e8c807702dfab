"""Where do the header lines end, and where does the body begin?

Plain text in, plain text out: nothing is rendered here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from merge.errors import Problem

START = "\x01"
"""Put before each header name in the source, so that nothing rendered later can begin a header."""
OPEN, CLOSE = "\x02", "\x03"
"""Put around each value that is rendered into a header."""

_TAG = re.compile(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_BLANK_LINE = re.compile(r"^[ \t]*(?:\n|\Z)", re.MULTILINE)
_NAME = re.compile(r"([A-Za-z][!-9;-z|~]*)[ \t]*:")
_HEADER_WITHIN = re.compile(r"(?<=\n)[A-Za-z][!-9;-z|~]*[ \t]*:[^\n]*")
_LEADING_TAGS = re.compile(r"(?:[ \t]*(?:\{%[^\n]*?%\}|\{#[^\n]*?#\}))*[ \t]*")
_RAW = re.compile(r"\{%[-+]?\s*raw\s*-?%\}.*?\{%[-+]?\s*endraw\s*[-+]?%\}", re.DOTALL)
_STATEMENT = re.compile(r"\{%([-+]?)(.*?)([-+]?)%\}|\{#([-+]?)(.*?)([-+]?)#\}", re.DOTALL)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_FOREIGN = frozenset(
    {"TO", "FROM", "SUBJECT", "CC", "BCC", "REPLY-TO", "ATTACHMENT", "CONTENT-TYPE", "DATE", "MIME-VERSION"}
)


@dataclass(frozen=True, slots=True)
class Line:
    """One header as it stands in the source; `line` counts from 1 in the file."""

    name: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Source:
    """A letter's text, taken apart.

    `head` is the header block, `body` the rest, which begins at `body_line` of the file. `lines` are the
    headers that can be seen without rendering. `foreign` is True for a letter written for
    awdeorio/mailmerge, whose blanks and line ends are kept exactly as Jinja2 has them.
    """

    name: str
    text: str
    head: str
    body: str
    body_line: int
    lines: tuple[Line, ...]
    foreign: bool

    def first(self, name: str) -> Line | None:
        """Return the first header of that name, which may be in any case."""
        return next((line for line in self.lines if line.name.lower() == name), None)


def normal(text: str) -> str:
    """Give a text LF line ends, and no byte order mark."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def controls(name: str, text: str) -> list[Problem]:
    """Find the characters that no letter can hold."""
    return [
        at(
            name,
            text,
            found.start(),
            1,
            "source",
            f"a control character (U+{ord(found[0]):04X}) in the letter",
        )
        for found in _CONTROL.finditer(text)
    ][:5]


def split(name: str, text: str) -> tuple[Source, list[Problem]]:
    """Take a letter apart at its first blank line that is not inside a Jinja2 tag."""
    masked = _TAG.sub(lambda tag: "\0" * len(tag[0]), text)
    blank = _BLANK_LINE.search(masked)
    end = blank.start() if blank else len(text)
    body_at = blank.end() if blank else len(text)
    head = text[:end]
    lines, problems = _lines(name, text, head)
    if problems and not lines:
        width = len(text.partition("\n")[0])
        hint = 'begin with "Subject: ...", then a blank line, then the letter'
        problems = [at(name, text, 0, width, "header", f"{name} does not begin with header lines", hint)]
    foreign = any(line.name in _FOREIGN for line in lines) or name.startswith("mailmerge_template")
    body_line = text.count("\n", 0, body_at) + 1
    return Source(name, text, head, text[body_at:], body_line, tuple(lines), foreign), problems


def _lines(name: str, text: str, head: str) -> tuple[list[Line], list[Problem]]:
    found: list[Line] = []
    problems: list[Problem] = []
    for number, position, line, bare, begin in _physical(head):
        if begin is not None:
            found.append(
                Line(line[begin:].partition(":")[0].rstrip(), line.partition(":")[2].strip(), number)
            )
        elif not bare.strip():
            continue
        elif bare[0] in " \t" and found:
            found[-1] = replace(found[-1], value=f"{found[-1].value} {line.strip()}")
        else:
            hint = 'a header is "Name: value"; the letter itself begins after a blank line'
            problems.append(at(name, text, position, len(line), "header", "this line is no header", hint))
    return found, problems


def _physical(head: str) -> Iterator[tuple[int, int, str, str, int | None]]:
    """Yield each line of a header block.

    That is its number, its position, its text, what is left of it without tags, and where in it a header's
    name begins, if one does.
    """
    masked = _TAG.sub(lambda tag: "\0" * len(tag[0]), head)
    position = 0
    for blind in masked.split("\n"):
        line = head[position : position + len(blind)]
        tags = _LEADING_TAGS.match(line)
        begin = tags.end() if tags else 0
        named = _NAME.match(blind, begin) and (begin == 0 or blind[0] == "\0" or not position)
        yield (
            head.count("\n", 0, position) + 1,
            position,
            line,
            blind.replace("\0", ""),
            begin if named else None,
        )
        position += len(blind) + 1


def marked(head: str) -> str:
    """Put START and the line's number before each header name of a header block."""
    return "\n".join(
        line if begin is None else f"{line[:begin]}{START}{number}:{line[begin:]}"
        for number, _, line, _, begin in _physical(head)
    )


def tidy(text: str) -> str:
    """Let statements that share their line with text keep every blank around them.

    With Jinja2's trim_blocks and lstrip_blocks a line that holds only a statement then leaves nothing
    behind, and all other lines stay as they are written.
    """
    pieces: list[str] = []
    position = 0
    for raw in _RAW.finditer(text):
        pieces += (_tidy(text[position : raw.start()]), raw[0])
        position = raw.end()
    return "".join([*pieces, _tidy(text[position:])])


def _tidy(text: str) -> str:
    def keep(tag: re.Match[str]) -> str:
        newline = text.find("\n", tag.end())
        line = text[text.rfind("\n", 0, tag.start()) + 1 : newline if newline >= 0 else len(text)]
        if not _STATEMENT.sub("", line).strip():
            return tag[0]
        kind = tag[0][1]
        opening, inner, closing = tag[1] or tag[4] or "", tag[2] or tag[5] or "", tag[3] or tag[6] or ""
        return f"{{{kind}{opening or '+'}{inner}{closing or '+'}{kind}}}"

    return _STATEMENT.sub(keep, text)


def at(  # noqa: PLR0913, PLR0917 - what a Problem is made of
    name: str, text: str, position: int, width: int, kind: str, message: str, hint: str = ""
) -> Problem:
    """Make an error that points at `position` of a text."""
    line = text.count("\n", 0, position) + 1
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", start)
    source = text[start : end if end >= 0 else len(text)]
    width = max(1, min(width, len(source) - (position - start)))
    return Problem("error", kind, message, name, line, position - start + 1, width, hint=hint, source=source)


def _foreign_line(line: str) -> str:
    return (
        f"the letter has to write the names of its headers itself; this came in from elsewhere: {line[:60]!r}"
    )


def header_lines(rendered: str) -> list[tuple[str, str, int]]:
    """Read a rendered header block into (name, value still marked, line).

    Raises ValueError for a text that belongs to no header, and for a header that came in with a file.
    """
    first, *blocks = rendered.split(START)
    if first.strip():
        raise ValueError(_foreign_line(first.strip()))
    lines = []
    for block in blocks:
        number, _, rest = block.partition(":")
        name, _, value = rest.partition(":")
        if "\n" in value:
            if found := _HEADER_WITHIN.search(value):
                raise ValueError(_foreign_line(found[0]))
            value = " ".join(part for part in map(str.strip, value.split("\n")) if part)
        lines.append((name.rstrip(), value.strip(), int(number)))
    return lines
