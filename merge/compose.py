"""What goes to this person? A row and a template become one letter: addresses, headers, body, files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from merge.address import normalise, parse_mailbox
from merge.attach import File, Shelf
from merge.errors import AddressError, AttachmentError, ContentError, LetterError, Problem
from merge.heading import Headers, Heading, LineError, as_shown, leaving
from merge.markup import FORBIDDEN, Body, Typesetter
from merge.model import Attachment, Cells, Envelope, Letter, Mailbox, Recipient, Woven, quick
from merge.names import short_name
from merge.template import HeaderLine, Rendered, Template
from merge.unsubscribe import refuse_spoiled

_ORDER = tuple(
    (name, name.lower()) for name in ("From", "To", "Cc", "Reply-To", "Disposition-Notification-To")
)
_KINDS = ((AddressError, "address"), (AttachmentError, "attachment"))
_KEPT = 64
_DOMAIN = re.compile(r'@([^\s<>@,"{}]+)\s*>?\s*(?:,|$)')
_MARKED_UP = re.compile(r"<[A-Za-z/!]|&#?\w+;")
_OVERHEAD = 1_200
_letter: Callable[..., Letter] = quick(Letter, without=("text", "html"))
_envelope_of = quick(Envelope)


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


class Plans:
    """Letters as planned when their rows were checked, for when they are sent: each is given out once.

    Only for the very row that was checked: one that reads otherwise has to be planned anew, and so has a
    letter with files, which may have changed. Of a long list they are those of the first rows alone, so that
    memory stays flat.
    """

    def __init__(self, most: int = 32 * 1024 * 1024) -> None:
        """Keep plans for letters and rows of so many bytes at `most`, all in all."""
        self._left = most
        self._kept: dict[int, tuple[Recipient, _Plan, int]] = {}

    def keep(self, recipient: Recipient, plan: _Plan, size: int) -> None:
        """Keep the plan of a row, for a letter of about so many bytes, if there is room."""
        cells = recipient.cells
        if plan.files or plan.images or not isinstance(cells, Cells) or recipient.row in self._kept:
            return
        weight = size + cells.length
        if recipient.group or weight > self._left:
            return
        self._left -= weight
        self._kept[recipient.row] = recipient, plan, weight

    def take(self, recipient: Recipient) -> _Plan | None:
        """Return the plan of exactly this row, None where it has to be made."""
        if (found := self._kept.pop(recipient.row, None)) is None:
            return None
        known, plan, weight = found
        self._left += weight
        return plan if known == recipient else None


class Composer:
    """Makes the letters of one campaign. `sender` is a mailbox; a From in the letter wins.

    `folder` is where attachments and pictures are looked for. `language` tags letters that do not say
    theirs themselves (BCP 47). `unsubscribe` are the links with which a person leaves the list, the
    preferred one first: a letter that names the first in Unsubscribe, or has no such header, gets all.
    `own` are files of the campaign itself, which no cell can choose.
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
        own: tuple[Path, ...] = (),
    ) -> None:
        self._template = template
        self._sender = parse_mailbox(sender) if sender.strip() else None
        self._from = (self._sender,) if self._sender else ()
        self._from_shown = as_shown(self._from)
        self._shelf = Shelf(folder, own)
        self._language = language
        self._inline_css = inline_css
        self._unsubscribe = unsubscribe
        self._typesetters: dict[str, Typesetter] = {}
        self._headings: dict[tuple[HeaderLine, ...], Heading] = {}
        self._before: tuple[tuple[HeaderLine, ...], Heading] | tuple[None, None] = (None, None)
        self._unguarded: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._warned_of_html = False

    @property
    def domain(self) -> str:
        """The domain of the sender, as far as it can be known without a row: for Message-IDs."""
        line = next((line for line in self._template.lines if line.name.lower() == "from"), None)
        found = _DOMAIN.search(line.value) if line else None
        if found:
            with suppress(AddressError):
                return parse_mailbox(f"x@{found[1]}").address.rpartition("@")[2]
        return self._sender.address.rpartition("@")[2] if self._sender else ""

    def examine(self, recipient: Recipient, plans: Plans | None = None) -> Examined:
        """Look at one row: render it, judge its headers, addresses and files. Bad rows raise nothing.

        `plans` keep what was planned, for `compose`.
        """
        try:
            plan = self._plan(recipient)
        except ContentError as error:
            return Examined(error.problems, "", "", "", 0)
        size = _OVERHEAD + _size(plan.body.html) + _size(plan.body.text)
        for _, file in (*plan.files, *plan.images):
            size += len(file.content) * 138 // 100
        if plans is not None:
            plans.keep(recipient, plan, size)
        problems = tuple(self._warnings(recipient, plan))
        recipients = _envelope(plan).recipients
        return Examined(
            problems, plan.mailboxes["to"][0].address, plan.subject, plan.digest, size, recipients
        )

    def compose(
        self, recipient: Recipient, *, key: str, message_id: str, date: datetime, plans: Plans | None = None
    ) -> Letter:
        """Make one row's letter, from its plan where that is among `plans`. `message_id` has angle brackets.

        Raises LetterError, AddressError or AttachmentError, each with the problem that `examine` reports.
        """
        plan = (plans.take(recipient) if plans is not None else None) or self._plan(recipient)
        return _letter(
            key=key,
            row=recipient.row,
            envelope=_envelope(plan),
            headers=tuple(plan.headers),
            mailboxes=plan.mailboxes,
            attachments=_attachments(plan) if plan.files or plan.images else (),
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

    def _headers(self, recipient: Recipient, rendered: Rendered) -> Headers:
        template, lines = rendered.template, rendered.head.lines
        before = self._before
        heading = before[1] if before[0] is lines else self._heading(template, lines)
        try:
            return heading.headers(rendered.head.values)
        except LineError as fault:
            error = fault.error
            problem = self._problem(template, recipient, error, fault.line, fault.value)
            raise type(error)(error.message, hint=error.hint, problems=(problem,)) from error

    def _heading(self, template: Template, lines: tuple[HeaderLine, ...]) -> Heading:
        heading = self._headings.get(lines)
        if heading is None:
            if len(self._headings) >= _KEPT:
                self._headings.clear()
            heading = self._headings[lines] = Heading(
                lines, self._shelf, foreign=template.foreign, unsubscribe=self._unsubscribe
            )
        self._before = (lines, heading)
        return heading

    def _planned(self, recipient: Recipient, rendered: Rendered, taken: Headers) -> _Plan:
        mailboxes, shown = taken.mailboxes, taken.shown
        if "to" not in mailboxes:
            taken.address("to", (parse_mailbox(recipient.address),))
        if "from" not in mailboxes:
            if not self._sender:
                raise LetterError(
                    "there is no sender", hint='write from = "Name <you@example.org>" in campaign.toml'
                )
            taken.address("from", self._from, self._from_shown)
        if self._unsubscribe and not taken.single.keys() & {"unsubscribe", "list-unsubscribe"}:
            taken.others += leaving(self._unsubscribe)
        subject = taken.single.get("subject", "")
        if not subject:
            raise LetterError("the subject is empty")
        language = taken.single.get("content-language", "") or rendered.template.language
        headers = [(name, shown[lower]) for name, lower in _ORDER if lower in shown]
        headers += [("Subject", subject), *taken.others]
        if language and "content-language" not in taken.single:
            headers.append(("Content-Language", language))
        own_values = rendered.own_text.values if rendered.own_text else ()
        together = "".join(dict.fromkeys((*rendered.main.values, *own_values)))
        if not together.isprintable() and (bad := FORBIDDEN.search(together)):
            raise LetterError(f"a control character (U+{ord(bad[0]):04X}) cannot stand in a letter")
        preheader = taken.single.get("preheader", "")
        body = self._typesetter(rendered.template).set(
            *rendered.main, rendered.own_text, preheader, language or self._language
        )
        if self._unsubscribe:
            readable = body.text or body.html
            refuse_spoiled(readable.text if readable else "")
        images = [(content_id, self._picture(rendered.template, path)) for path, content_id in body.images]
        if images and rendered.template.foreign:
            pictured = {file.digest for _, file in images}
            taken.files = [(name, file) for name, file in taken.files if file.digest not in pictured]
        digest = _digest(headers, taken.bcc, preheader, rendered, body, (*taken.files, *images))
        return _Plan(headers, mailboxes, taken.bcc, taken.files, images, body, subject, digest)

    def _picture(self, template: Template, path: str) -> File:
        """Read a picture that the HTML shows. What the letter does not say itself, a cell may have said."""
        file = self._shelf.file(path, path if path in template.source else "")
        if not file.media_type.startswith("image/"):
            raise AttachmentError(f"{path} is no picture")
        return file

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
        self,
        template: Template,
        recipient: Recipient,
        error: ContentError,
        line: HeaderLine | None = None,
        value: str = "",
    ) -> Problem:
        kind = next((word for cls, word in _KINDS if isinstance(error, cls)), "letter")
        source = template.source.split("\n")[line.line - 1] if line else ""
        if not line and kind == "address":
            value = recipient.address
        field = next((name for name, cell in recipient.cells.items() if cell and cell == value), "")
        return Problem(
            "error", kind, error.message, template.name, line.line if line else None, row=recipient.row,
            field=field, value=value, hint=error.hint, source=source,
        )  # fmt: skip


def _attachments(plan: _Plan) -> tuple[Attachment, ...]:
    files = [Attachment(name or file.name, file.media_type, file.content) for name, file in plan.files]
    files += [
        Attachment(file.name, file.media_type, file.content, content_id) for content_id, file in plan.images
    ]
    return tuple(files)


def _size(text: Woven | None) -> int:
    """Return about how many bytes a text takes in a message."""
    return (sum(map(len, text.parts)) + sum(map(len, text.values))) * 11 // 10 if text else 0


def _envelope(plan: _Plan) -> Envelope:
    mailboxes = plan.mailboxes
    sender = mailboxes["from"][0].address
    everyone = mailboxes["to"]
    if plan.bcc or "cc" in mailboxes:
        everyone = (*everyone, *mailboxes.get("cc", ()), *plan.bcc)
    if len(everyone) == 1:
        return _envelope_of(sender, (everyone[0].address,))
    seen: dict[str, str] = {}
    for mailbox in everyone:
        seen.setdefault(normalise(mailbox.address), mailbox.address)
    return Envelope(sender, tuple(seen.values()))


def _digest(  # noqa: PLR0913, PLR0917 - all that a person gets
    headers: Iterable[tuple[str, str]],
    bcc: Sequence[Mailbox],
    preheader: str,
    rendered: Rendered,
    body: Body,
    files: Sequence[tuple[str, File]],
) -> str:
    """Hash all that this person gets; Date and Message-ID are no part of it."""
    parts = list(map("\0".join, headers))
    if bcc:
        parts += [box.address for box in bcc]
    parts += ("\1", preheader, body.digest, *rendered.main.values)
    if rendered.own_text:
        parts += ("\1", *rendered.own_text.values)
    if files:
        parts += [f"{name}\0{file.name}\0{file.digest}" for name, file in files]
    return hashlib.sha256("\0\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
