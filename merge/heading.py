"""Which headers does this letter have, and for whom is it?

The header lines of a letter are read once for all rows that take the same branches; what is left to do for a
row is to put its values in, and to judge what they come to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from merge import header
from merge.address import parse_mailbox, parse_mailboxes
from merge.attach import File, Shelf, refuse_reordering
from merge.errors import AttachmentError, ContentError, LetterError
from merge.model import Mailbox
from merge.template import CLOSE, OPEN, HeaderLine

_SINGLE = frozenset({"subject", "preheader", "content-language", "list-unsubscribe"})
_OURS = frozenset({"preheader", "content-type", "subject"})
_FILES = frozenset({"attach", "attachment"})
_ONCE: Final = frozenset(
    {
        *("from", "to", "subject", "preheader", "in-reply-to", "references", "content-type"),
        *("content-language", "unsubscribe", "list-unsubscribe"),
    }
)
_LEAVING: Final = frozenset({"list-unsubscribe", "list-unsubscribe-post"})
_SLOT = re.compile(f"{OPEN}(\\d+){CLOSE}")
_BETWEEN_COMMAS = re.compile(f'(?:{OPEN}[^{CLOSE}]*{CLOSE}|"(?:{OPEN}[^{CLOSE}]*{CLOSE}|[^"])*"|[^,])+')
_ATOM = f"(?:{OPEN}[^{CLOSE}]*{CLOSE}|[^<>{OPEN}{CLOSE}])"
_NAMED = re.compile(rf'\s*"?({_ATOM}*?)"?\s*<({_ATOM}*)>\s*')
_URL = re.compile(r"(?:https?://|mailto:)[!-;=?-~]+", re.IGNORECASE)


class Headers:
    """The headers of one letter.

    `mailboxes` and `shown` hold the address headers by lower-case name, parsed and as a person reads them;
    `others` those headers that go out as they are, `single` what has a use of its own. `files` are those to
    be attached, each with the name that it is given, or an empty text.
    """

    __slots__ = ("bcc", "files", "mailboxes", "others", "shown", "single")

    def __init__(self) -> None:
        self.mailboxes: dict[str, tuple[Mailbox, ...]] = {}
        self.shown: dict[str, str] = {}
        self.bcc: tuple[Mailbox, ...] = ()
        self.files: list[tuple[str, File]] = []
        self.others: list[tuple[str, str]] = []
        self.single: dict[str, str] = {}

    def address(self, name: str, mailboxes: tuple[Mailbox, ...], shown: str = "") -> None:
        """Add mailboxes to an address header, or to Bcc."""
        if name == "bcc":
            self.bcc += mailboxes
        elif name in self.mailboxes:
            self.mailboxes[name] += mailboxes
            self.shown[name] = as_shown(self.mailboxes[name])
        elif mailboxes:
            self.mailboxes[name] = mailboxes
            self.shown[name] = shown or as_shown(mailboxes)


class LineError(Exception):
    """What is wrong with a row's headers, and in which line: `value` is what the line says for the row."""

    def __init__(self, line: HeaderLine, value: str, error: ContentError) -> None:
        super().__init__(error.message)
        self.line = line
        self.value = value
        self.error = error


_Values = Sequence[str]
_Step = Callable[[Headers, _Values], None]
_Reader = Callable[[_Values], Mailbox | None]


class Heading:
    """The header lines of a letter, for all rows that take the same branches.

    `foreign` letters may hold headers that are not theirs to set; these are left out. Where one of the
    campaign's own links `unsubscribe` stands in an Unsubscribe header, all of them do.
    """

    def __init__(
        self, lines: Iterable[HeaderLine], shelf: Shelf, *, foreign: bool, unsubscribe: tuple[str, ...] = ()
    ) -> None:
        self._shelf = shelf
        self._own = unsubscribe
        self._foreign = foreign
        self._lines = tuple(lines)
        self._steps: list[tuple[HeaderLine, _Step]] = []

    def headers(self, values: _Values) -> Headers:
        """Return one row's headers. Raises LineError."""
        found = Headers()
        for line, step in self._steps or self._read(values):
            try:
                step(found, values)
            except ContentError as error:
                raise LineError(line, line.filled(values), error) from error
        return found

    def _read(self, values: _Values) -> list[tuple[HeaderLine, _Step]]:
        steps = []
        seen: set[str] = set()
        for line in self._lines:
            try:
                steps.append((line, self._step(line, seen)))
            except ContentError as error:
                raise LineError(line, line.filled(values), error) from error
        self._steps = steps
        return steps

    def _step(self, line: HeaderLine, seen: set[str]) -> _Step:
        name = line.name.lower()
        fixed = OPEN not in line.form
        if name in seen and (name in _ONCE or name.startswith("list-")):
            raise LetterError(f"a second {line.name}", hint="a letter has one")
        seen.add(name)
        if "unsubscribe" in seen and not seen.isdisjoint(_LEAVING):
            raise LetterError(
                "Unsubscribe writes List-Unsubscribe and List-Unsubscribe-Post itself", hint="keep one"
            )
        if name == "bcc" or name in header.ADDRESSES:
            return _fixed_mailboxes(line) if fixed else _mailboxes(line)
        if name in _FILES:
            return self._file(line)
        if name == "attach-as":
            return _file_name(line)
        if name == "unsubscribe":
            return _unsubscribe(line, self._own)
        if why := header.unwelcome(line.name):
            if self._foreign:
                return _nothing
            raise LetterError(f"a letter cannot set {line.name}: {why}")
        return _fixed_text(line) if fixed else _text(line)

    def _file(self, line: HeaderLine) -> _Step:
        filled = _Filled(line.form)
        literal = line.form.partition(OPEN)[0]

        def step(found: Headers, values: _Values) -> None:
            path = _judged(line.name, filled(values))
            found.files.append(("", self._shelf.file(path, literal)))

        return step


def as_shown(mailboxes: Iterable[Mailbox]) -> str:
    """Return the value of an address header as a person reads it."""
    return ", ".join([f"{name} <{address}>" if name else address for name, address in mailboxes])


class _Filled:
    """A text with a row's values in it; blanks around it are dropped."""

    __slots__ = ("_only", "_pattern")

    def __init__(self, form: str) -> None:
        only = _SLOT.fullmatch(form.strip())
        self._only = int(only[1]) - 1 if only else None
        texts = form.replace("{", "{{").replace("}", "}}")
        self._pattern = _SLOT.sub(lambda slot: f"{{{int(slot[1]) - 1}}}", texts).strip()

    def __call__(self, values: _Values) -> str:
        if self._only is not None:
            return values[self._only].strip()
        return self._pattern.format(*values).strip()


def _judged(name: str, value: str) -> str:
    """Return a header's value. Raises LetterError for one that could be more than that."""
    if flaw := header.flaw(name, value):
        raise LetterError(f"{name}: {flaw}")
    return value


def _nothing(found: Headers, values: _Values) -> None:
    """Leave a header out."""


def _fixed_text(line: HeaderLine) -> _Step:
    name, value = line.name.lower(), _judged(line.name, line.form.strip())
    pair = (line.name, value)

    def step(found: Headers, _: _Values) -> None:
        if name in _SINGLE:
            found.single[name] = value
        if name not in _OURS:
            found.others.append(pair)

    return step


def _text(line: HeaderLine) -> _Step:
    name, filled = line.name.lower(), _Filled(line.form)
    single, other = name in _SINGLE, name not in _OURS

    def step(found: Headers, values: _Values) -> None:
        value = _judged(line.name, filled(values))
        if single:
            found.single[name] = value
        if other:
            found.others.append((line.name, value))

    return step


def _fixed_mailboxes(line: HeaderLine) -> _Step:
    name, mailboxes = line.name.lower(), parse_mailboxes(_judged(line.name, line.form.strip()))
    shown = as_shown(mailboxes)
    return lambda found, _: found.address(name, mailboxes, shown)


def _mailboxes(line: HeaderLine) -> _Step:
    """Read an address header; a rendered value is one name or one address, never more."""
    name = line.name.lower()
    readers = [_mailbox(line.name, text) for text in _split_outside(line.form)]
    if len(readers) == 1:
        return _one_mailbox(name, readers[0])

    def step(found: Headers, values: _Values) -> None:
        found.address(name, tuple([box for reader in readers if (box := reader(values))]))

    return step


def _one_mailbox(name: str, reader: _Reader) -> _Step:
    def step(found: Headers, values: _Values) -> None:
        if box := reader(values):
            found.address(name, (box,))

    return step


def _mailbox(header_name: str, form: str) -> _Reader:
    """Return what reads one mailbox, or nothing where its place is empty."""
    named = _NAMED.fullmatch(form)
    if named and OPEN in named[1]:
        display, address = _Filled(named[1]), _Filled(named[2])

        def named_reader(values: _Values) -> Mailbox:
            name = _judged(header_name, display(values))
            return Mailbox(name, parse_mailbox(address(values)).address)

        return named_reader
    plain = _Filled(form)

    def reader(values: _Values) -> Mailbox | None:
        text = _judged(header_name, plain(values))
        return parse_mailbox(text) if text else None

    return reader


def _split_outside(form: str) -> list[str]:
    """Cut at the commas that the letter wrote, outside quotes; a comma inside a value cuts nothing."""
    if "," not in form:
        return [form]
    return [found[0] for found in _BETWEEN_COMMAS.finditer(form) if found[0]]


def _file_name(line: HeaderLine) -> _Step:
    filled = _Filled(line.form)

    def step(found: Headers, values: _Values) -> None:
        name = _judged(line.name, filled(values))
        if not found.files:
            raise LetterError("Attach-As names the file of the Attach above it; there is none")
        if not name or "/" in name or "\\" in name:
            raise AttachmentError(f"{name!r} is no file name")
        refuse_reordering(name)
        found.files[-1] = (name, found.files[-1][1])

    return step


def _unsubscribe(line: HeaderLine, own: tuple[str, ...]) -> _Step:
    """Read the links of an Unsubscribe header; where it holds one of the campaign's own, all of these."""
    pieces = list(map(str.strip, _split_outside(line.form)))
    links = [_Filled(piece[1:-1] if piece[:1] + piece[-1:] == "<>" else piece) for piece in pieces]

    def step(found: Headers, values: _Values) -> None:
        urls: list[str] = []
        for link in links:
            url = link(values)
            if not _URL.fullmatch(url):
                hint = "write https://... or mailto:..., with a comma between two, and |urlencode for cells"
                raise LetterError(f"Unsubscribe: {url[:80]!r} is no link", hint=hint)
            urls += own if url in own else (url,)
        found.single["unsubscribe"] = ""
        found.others += leaving(tuple(dict.fromkeys(urls)))

    return step


def leaving(urls: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the headers of RFC 2369 and, where a link can be used with one click, RFC 8058."""
    value = f"<{'>, <'.join(urls)}>"
    if flaw := header.flaw("List-Unsubscribe", value):
        raise LetterError(f"Unsubscribe: {flaw}")
    found = [("List-Unsubscribe", value)]
    if "<https:" in value.lower():
        found.append(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
    return found
