"""What goes to this person? A row and a template become one letter: addresses, headers, body, files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from merge import header
from merge.address import normalise, parse_mailbox, parse_mailboxes
from merge.attach import File, Shelf
from merge.errors import AddressError, AttachmentError, ContentError, LetterError, Problem
from merge.markup import FORBIDDEN, Body, Typesetter
from merge.model import Attachment, Envelope, Letter, Mailbox, Recipient, Woven
from merge.names import short_name
from merge.template import CLOSE, OPEN, HeaderLine, Rendered, Template
from merge.unsubscribe import refuse_spoiled

_ORDER = ("From", "To", "Cc", "Reply-To", "Disposition-Notification-To")
_KINDS = ((AddressError, "address"), (AttachmentError, "attachment"))
_OURS = frozenset({"preheader", "content-type", "subject"})
_FILES = frozenset({"attach", "attachment", "attach-as"})
_ONCE = frozenset(
    {
        *(
            "from",
            "to",
            "subject",
            "preheader",
            "in-reply-to",
            "references",
            "content-type",
            "content-language",
        ),
        *("unsubscribe", "list-unsubscribe"),
    }
)
_BETWEEN_COMMAS = re.compile(f'(?:{OPEN}[^{CLOSE}]*{CLOSE}|"(?:{OPEN}[^{CLOSE}]*{CLOSE}|[^"])*"|[^,])+')
_ATOM = f"(?:{OPEN}[^{CLOSE}]*{CLOSE}|[^<>{OPEN}{CLOSE}])"
_NAMED = re.compile(rf'\s*"?({_ATOM}*?)"?\s*<({_ATOM}*)>\s*')
_URL = re.compile(r"(?:https?://|mailto:)[!-;=?-~]+", re.IGNORECASE)
_DOMAIN = re.compile(r"@([A-Za-z0-9.-]+[A-Za-z0-9])")
_MARKED_UP = re.compile(r"<[A-Za-z/!]|&#?\w+;")
_OVERHEAD = 1_200


@dataclass(frozen=True, slots=True)
class Examined:
    """What checking one row brought to light.

    `problems` with severity "error" make the row invalid. `to` is the first address that the letter goes to,
    `subject` what the person will read; `digest` is a hash (hexadecimal) of all that this person gets but
    Date and Message-ID, empty where the letter could not be made; `size` is about the bytes of the message;
    `recipients` are the addresses of its envelope.
    """

    problems: tuple[Problem, ...]
    to: str
    subject: str
    digest: str
    size: int
    recipients: tuple[str, ...] = ()


class _Plan(NamedTuple):
    """What one row comes to."""

    headers: list[tuple[str, str]]
    mailboxes: dict[str, tuple[Mailbox, ...]]
    bcc: tuple[Mailbox, ...]
    files: list[tuple[str, File]]
    images: list[tuple[str, File]]
    body: Body
    subject: str
    digest: str


class _Headers:
    """The headers of one letter while they are read, one after the other."""

    def __init__(self) -> None:
        self.mailboxes: dict[str, tuple[Mailbox, ...]] = {}
        self.bcc: tuple[Mailbox, ...] = ()
        self.files: list[tuple[str, File]] = []
        self.others: list[tuple[str, str]] = []
        self.single: dict[str, str] = {}


class Composer:
    """Makes the letters of one campaign. `sender` is a mailbox; a From in the letter wins.

    `folder` is where attachments and pictures are looked for. `language` tags letters that do not say
    theirs themselves (BCP 47). `unsubscribe` are the links with which a person leaves the list, the
    preferred one first: a letter that names the first in Unsubscribe, or has no such header, gets all.
    """

    def __init__(  # noqa: PLR0913 - all but the letter is named
        self,
        template: Template,
        *,
        folder: Path,
        sender: str,
        inline_css: bool = True,
        language: str = "",
        unsubscribe: tuple[str, ...] = (),
    ) -> None:
        self._template = template
        self._sender = parse_mailbox(sender) if sender.strip() else None
        self._shelf = Shelf(folder)
        self._language = language
        self._inline_css = inline_css
        self._unsubscribe = unsubscribe
        self._typesetters: dict[str, Typesetter] = {}
        self._mailboxes: dict[str, tuple[Mailbox, ...]] = {}
        self._unguarded: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._warned_of_html = False

    @property
    def domain(self) -> str:
        """The domain of the sender, as far as it can be known without a row: for Message-IDs."""
        line = next((line for line in self._template.lines if line.name.lower() == "from"), None)
        found = _DOMAIN.search(line.value) if line else None
        if found:
            return found[1].lower()
        return self._sender.address.rpartition("@")[2] if self._sender else ""

    def examine(self, recipient: Recipient) -> Examined:
        """Look at one row: render it, judge its headers, addresses and files. Bad rows raise nothing."""
        try:
            plan = self._plan(recipient)
        except ContentError as error:
            return Examined(error.problems, "", "", "", 0)
        size = _OVERHEAD + _size(plan.body.html) + _size(plan.body.text)
        for _, file in (*plan.files, *plan.images):
            size += len(file.content) * 138 // 100
        problems = tuple(self._warnings(recipient, plan))
        recipients = _envelope(plan).recipients
        return Examined(
            problems, plan.mailboxes["to"][0].address, plan.subject, plan.digest, size, recipients
        )

    def compose(self, recipient: Recipient, *, key: str, message_id: str, date: datetime) -> Letter:
        """Make one row's letter. `message_id` is in angle brackets.

        Raises LetterError, AddressError or AttachmentError, each with the problem that `examine` reports.
        """
        plan = self._plan(recipient)
        files = [Attachment(name or file.name, file.media_type, file.content) for name, file in plan.files]
        files += [
            Attachment(file.name, file.media_type, file.content, content_id)
            for content_id, file in plan.images
        ]
        return Letter(
            key=key,
            row=recipient.row,
            envelope=_envelope(plan),
            headers=tuple(plan.headers),
            mailboxes=plan.mailboxes,
            text=_joined(plan.body.text),
            html=_joined(plan.body.html),
            attachments=tuple(files),
            message_id=message_id,
            date=date,
            digest=plan.digest,
            woven_text=plan.body.text,
            woven_html=plan.body.html,
        )

    def _plan(self, recipient: Recipient) -> _Plan:
        rendered = self._template.render(recipient)
        headers = self._headers(recipient, rendered)
        try:
            return self._planned(recipient, rendered, headers)
        except ContentError as error:
            if error.problems:
                raise
            problem = self._problem(rendered.template, recipient, error)
            raise type(error)(error.message, hint=error.hint, problems=(problem,)) from error

    def _headers(self, recipient: Recipient, rendered: Rendered) -> _Headers:
        headers = _Headers()
        for line in rendered.headers:
            try:
                self._take(line, headers)
            except ContentError as error:
                problem = self._problem(rendered.template, recipient, error, line)
                raise type(error)(error.message, hint=error.hint, problems=(problem,)) from error
        return headers

    def _take(self, line: HeaderLine, headers: _Headers) -> None:  # noqa: C901 - one branch for each kind of header
        """Read one header line. Raises ContentError."""
        name = line.name.lower()
        if flaw := header.flaw(line.name, line.value):
            raise LetterError(f"{line.name}: {flaw}")
        if name in _ONCE and name in headers.single:
            raise LetterError(f"a second {line.name}", hint="a letter has one")
        headers.single[name] = line.value
        if name == "bcc":
            headers.bcc += self._parsed(line)
        elif name in header.ADDRESSES:
            if found := self._parsed(line):
                headers.mailboxes[name] = headers.mailboxes.get(name, ()) + found
        elif name in _FILES:
            self._take_file(line, headers)
        elif name == "unsubscribe":
            headers.others += _unsubscribe(line.marked, self._unsubscribe)
        elif why := header.unwelcome(line.name):
            if not self._template.foreign:
                raise LetterError(f"a letter cannot set {line.name}: {why}")
        elif name not in _OURS:
            headers.others.append((line.name, line.value))

    def _take_file(self, line: HeaderLine, headers: _Headers) -> None:
        if line.name.lower() != "attach-as":
            headers.files.append(("", self._shelf.file(line.value, line.marked.partition(OPEN)[0])))
        elif headers.files:
            headers.files[-1] = (_file_name(line.value), headers.files[-1][1])
        else:
            raise LetterError("Attach-As names the file of the Attach above it; there is none")

    def _planned(self, recipient: Recipient, rendered: Rendered, taken: _Headers) -> _Plan:
        mailboxes = taken.mailboxes
        if "to" not in mailboxes:
            mailboxes["to"] = (parse_mailbox(recipient.address),)
        if "from" not in mailboxes:
            if not self._sender:
                raise LetterError(
                    "there is no sender", hint='write from = "Name <you@example.org>" in campaign.toml'
                )
            mailboxes["from"] = (self._sender,)
        if self._unsubscribe and not taken.single.keys() & {"unsubscribe", "list-unsubscribe"}:
            taken.others += _leaving(self._unsubscribe)
        subject = taken.single.get("subject", "")
        if not subject:
            raise LetterError("the subject is empty")
        language = taken.single.get("content-language", "") or rendered.template.language
        headers = [(name, _shown(mailboxes[name.lower()])) for name in _ORDER if name.lower() in mailboxes]
        headers += [("Subject", subject), *taken.others]
        if language and "content-language" not in taken.single:
            headers.append(("Content-Language", language))
        for values in (rendered.main.values, rendered.own_text.values if rendered.own_text else ()):
            together = "".join(values)
            if not together.isprintable() and (bad := FORBIDDEN.search(together)):
                raise LetterError(f"a control character (U+{ord(bad[0]):04X}) cannot stand in a letter")
        preheader = taken.single.get("preheader", "")
        body = self._typesetter(rendered.template).set(
            *rendered.main, rendered.own_text, preheader, language or self._language
        )
        if self._unsubscribe:
            refuse_spoiled(_joined(body.text) or _joined(body.html) or "")
        images = [(content_id, self._shelf.file(path, path)) for path, content_id in body.images]
        digest = _digest(headers, taken.bcc, preheader, rendered, body, (*taken.files, *images))
        return _Plan(headers, mailboxes, taken.bcc, taken.files, images, body, subject, digest)

    def _typesetter(self, template: Template) -> Typesetter:
        found = self._typesetters.get(template.content_hash)
        if found is None:
            found = self._typesetters[template.content_hash] = Typesetter(
                template.kind,
                template.token,
                hard_breaks=template.foreign,
                inline_css=self._inline_css,
            )
        return found

    def _parsed(self, line: HeaderLine) -> tuple[Mailbox, ...]:
        """Read an address header; a rendered value is one name or one address, never more."""
        if OPEN not in line.marked:
            known = self._mailboxes.get(line.value)
            if known is None:
                known = self._mailboxes[line.value] = parse_mailboxes(line.value)
            return known
        found = []
        for text in _split_outside(line.marked):
            if not (plain := _unmarked(text)):
                continue
            named = _NAMED.fullmatch(text)
            if named and OPEN in named[1]:
                found.append(Mailbox(_unmarked(named[1]), parse_mailbox(_unmarked(named[2])).address))
            else:
                found.append(parse_mailbox(plain))
        return tuple(found)

    def _warnings(self, recipient: Recipient, plan: _Plan) -> Iterator[Problem]:
        cells = recipient.cells
        columns = tuple(cells)
        unguarded = self._unguarded.get(columns)
        if unguarded is None:
            unguarded = self._unguarded[columns] = self._template.unguarded(columns)
        name = self._template.name
        for column in unguarded:
            if not cells[column].strip():
                short = short_name(column) or f'row["{column}"]'
                hint = f'give it a fallback in the letter: {{{{ {short}|default("...") }}}}'
                yield Problem(
                    "warning", "blank", f"{column} is empty", name, row=recipient.row, field=column, hint=hint
                )
        if self._template.foreign and plan.body.html and not self._warned_of_html:
            field = next((column for column, cell in cells.items() if _MARKED_UP.search(cell)), "")
            if field:
                self._warned_of_html = True
                words = "cells are shown as they are written, so HTML in them is not followed"
                yield Problem(
                    "warning", "html", words, name, row=recipient.row, field=field, value=cells[field],
                    hint="where a cell is meant to be HTML, write {{ ...|safe }}",
                )  # fmt: skip

    def _problem(
        self, template: Template, recipient: Recipient, error: ContentError, line: HeaderLine | None = None
    ) -> Problem:
        kind = next((word for cls, word in _KINDS if isinstance(error, cls)), "letter")
        source = template.source.split("\n")[line.line - 1] if line else ""
        value = line.value if line else recipient.address if kind == "address" else ""
        field = next((name for name, cell in recipient.cells.items() if cell and cell == value), "")
        return Problem(
            "error", kind, error.message, template.name, line.line if line else None, row=recipient.row,
            field=field, value=value, hint=error.hint, source=source,
        )  # fmt: skip


def _split_outside(marked: str) -> list[str]:
    """Cut at the commas that the letter wrote, outside quotes; a comma inside a value cuts nothing."""
    if "," not in marked:
        return [marked]
    return [found[0] for found in _BETWEEN_COMMAS.finditer(marked) if found[0]]


def _file_name(value: str) -> str:
    if not value or "/" in value or "\\" in value:
        raise AttachmentError(f"{value!r} is no file name")
    return value


def _unsubscribe(marked: str, own: tuple[str, ...]) -> list[tuple[str, str]]:
    """Read the links of an Unsubscribe header; where the campaign's own is among them, all of these are."""
    urls: list[str] = []
    for piece in map(str.strip, _split_outside(marked)):
        url = _unmarked(piece[1:-1] if piece.startswith("<") and piece.endswith(">") else piece)
        if not _URL.fullmatch(url):
            hint = "write https://... or mailto:..., with a comma between two, and |urlencode for cells"
            raise LetterError(f"Unsubscribe: {url[:80]!r} is no link", hint=hint)
        urls += own if url in own else (url,)
    return _leaving(tuple(dict.fromkeys(urls)))


def _leaving(urls: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the headers of RFC 2369 and, where a link can be used with one click, RFC 8058."""
    found = [("List-Unsubscribe", ", ".join(f"<{url}>" for url in urls))]
    if flaw := header.flaw(*found[0]):
        raise LetterError(f"Unsubscribe: {flaw}")
    if any(url.lower().startswith("https:") for url in urls):
        found.append(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
    return found


def _unmarked(text: str) -> str:
    return text.replace(OPEN, "").replace(CLOSE, "").strip()


def _shown(mailboxes: Iterable[Mailbox]) -> str:
    return ", ".join([f"{box.name} <{box.address}>" if box.name else box.address for box in mailboxes])


def _joined(text: Woven | None) -> str | None:
    if text is None:
        return None
    pieces = [text.parts[0]]
    for value, part in zip(text.values, text.parts[1:], strict=True):
        pieces += (value, part)
    return "".join(pieces)


def _size(text: Woven | None) -> int:
    """Return about how many bytes a text takes in a message."""
    return (sum(map(len, text.parts)) + sum(map(len, text.values))) * 11 // 10 if text else 0


def _envelope(plan: _Plan) -> Envelope:
    sender = plan.mailboxes["from"][0].address
    everyone = (*plan.mailboxes["to"], *plan.mailboxes.get("cc", ()), *plan.bcc)
    if len(everyone) == 1:
        return Envelope(sender, (everyone[0].address,))
    seen: dict[str, str] = {}
    for mailbox in everyone:
        seen.setdefault(normalise(mailbox.address), mailbox.address)
    return Envelope(sender, tuple(seen.values()))


def _digest(  # noqa: PLR0913, PLR0917 - all that a person gets
    headers: Iterable[tuple[str, str]],
    bcc: Iterable[Mailbox],
    preheader: str,
    rendered: Rendered,
    body: Body,
    files: Iterable[tuple[str, File]],
) -> str:
    """Hash all that this person gets; Date and Message-ID are no part of it."""
    parts = [f"{name}\0{value}" for name, value in headers]
    parts += [box.address for box in bcc]
    parts += ("\1", preheader, body.digest, *rendered.main.values)
    if rendered.own_text:
        parts += ("\1", *rendered.own_text.values)
    parts += [f"{name}\0{file.name}\0{file.digest}" for name, file in files]
    return hashlib.sha256("\0\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
