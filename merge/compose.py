"""What goes to this person? A row and a template become one letter: addresses, headers, body, files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from merge import header
from merge.address import normalise, parse_mailbox, parse_mailboxes
from merge.attach import File, Shelf
from merge.errors import AddressError, AttachmentError, ContentError, LetterError, Problem
from merge.markup import Typesetter
from merge.model import Attachment, Envelope, Letter, Mailbox, Recipient
from merge.template import HeaderLine, Rendered, Template

_OPEN, _CLOSE = "\x02", "\x03"
_BODY_CONTROLS = re.compile("[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
_URL = re.compile(r"(?:https?://|mailto:)[!-;=?-~]+", re.IGNORECASE)
_OURS = frozenset({"attach", "attachment", "attach-as", "preheader", "unsubscribe", "content-type", "bcc"})
_ONCE = frozenset(
    {"from", "to", "cc", "bcc", "reply-to", "subject", "preheader", "in-reply-to", "references"}
)
_ONCE |= {"content-type", "content-language", "unsubscribe", "list-unsubscribe"}
_OVERHEAD = 1_200


@dataclass(frozen=True, slots=True)
class Examined:
    """What checking one row brought to light.

    `problems` with severity "error" make the row invalid. `to` is the first address that the letter goes to,
    `subject` what the person will read; `digest` is a hash (hexadecimal) of all that this person gets but
    Date and Message-ID, empty where the letter could not be made; `size` is about the bytes of the message.
    """

    problems: tuple[Problem, ...]
    to: str
    subject: str
    digest: str
    size: int


class _Plan(NamedTuple):
    """A letter before its body is set."""

    rendered: Rendered
    headers: list[tuple[str, str]]
    mailboxes: dict[str, tuple[Mailbox, ...]]
    bcc: tuple[Mailbox, ...]
    files: list[tuple[str, File]]
    preheader: str
    subject: str


class Composer:
    """Makes the letters of one campaign. `sender` is a mailbox; a From in the letter wins."""

    def __init__(
        self, template: Template, *, folder: Path, sender: str, inline_css: bool = True, language: str = ""
    ) -> None:
        self._template = template
        self._sender = parse_mailbox(sender) if sender.strip() else None
        self._shelf = Shelf(folder)
        self._language = language
        self._typesetter = Typesetter(
            template.kind,
            template.token,
            hard_breaks=template.hard_breaks,
            own_text=template.has_own_text,
            inline_css=inline_css,
        )
        self._mailboxes: dict[str, tuple[Mailbox, ...]] = {}

    @property
    def domain(self) -> str:
        """The domain of the sender, as far as it can be known without a row: for Message-IDs."""
        line = next((line for line in self._template.lines if line.name.lower() == "from"), None)
        if line:
            found = re.search(r"@([A-Za-z0-9.-]+)", line.value)
            if found:
                return found[1].lower()
        return self._sender.address.rpartition("@")[2] if self._sender else ""

    def examine(self, recipient: Recipient) -> Examined:
        """Look at one row: render it, judge its headers, addresses and files. Raises nothing for bad rows."""
        try:
            plan = self._plan(recipient)
            body = self._typesetter.set(
                plan.rendered.pattern,
                plan.rendered.values,
                plan.rendered.text,
                plan.preheader,
                self._lang(plan),
            )
            files = plan.files + self._images(body.images)
        except ContentError as error:
            return Examined(error.problems or (self._problem(recipient, error),), "", "", "", 0)
        size = _OVERHEAD + len(body.html or "") + len(body.text or "")
        size += sum(len(file.content) * 138 // 100 for _, file in files)
        digest = _digest(plan, files)
        return Examined((), plan.mailboxes["to"][0].address, plan.subject, digest, size)

    def compose(self, recipient: Recipient, *, key: str, message_id: str, date: datetime) -> Letter:
        """Make one row's letter. `message_id` is in angle brackets.

        Raises LetterError, AddressError or AttachmentError, each with the problem that `examine` reports.
        """
        try:
            plan = self._plan(recipient)
            body = self._typesetter.set(
                plan.rendered.pattern,
                plan.rendered.values,
                plan.rendered.text,
                plan.preheader,
                self._lang(plan),
            )
            images = self._images(body.images)
        except ContentError as error:
            if not error.problems:
                error.problems = (self._problem(recipient, error),)
            raise
        envelope = _envelope(plan)
        attachments = [
            Attachment(name or file.name, file.media_type, file.content) for name, file in plan.files
        ] + [Attachment(file.name, file.media_type, file.content, content_id) for content_id, file in images]
        return Letter(
            key=key,
            row=recipient.row,
            envelope=envelope,
            headers=tuple(plan.headers),
            mailboxes=plan.mailboxes,
            text=_lines(body.text),
            html=_lines(body.html),
            attachments=tuple(attachments),
            message_id=message_id,
            date=date,
            digest=_digest(plan, plan.files + images),
        )

    def _plan(self, recipient: Recipient) -> _Plan:
        rendered = self._template.render(recipient)
        others: list[tuple[str, str]] = []
        mailboxes: dict[str, tuple[Mailbox, ...]] = {}
        files: list[tuple[str, File]] = []
        bcc: tuple[Mailbox, ...] = ()
        preheader = subject = ""
        for line in rendered.headers:
            try:
                name = line.name.lower()
                if flaw := header.flaw(line.name, line.value):
                    raise LetterError(f"{line.name}: {flaw.message}")
                if name in header.ADDRESSES or name == "bcc":
                    found = self._parsed(line)
                    if name == "bcc":
                        bcc += found
                    elif found:
                        mailboxes[name] = mailboxes.get(name, ()) + found
                elif name in ("attach", "attachment"):
                    files.append(("", self._shelf.file(line.value, _literal(line))))
                elif name == "attach-as":
                    if not files:
                        raise LetterError("Attach-As needs an Attach before it")
                    files[-1] = (_file_name(line.value), files[-1][1])
                elif name == "preheader":
                    preheader = line.value
                elif name == "unsubscribe":
                    others += _unsubscribe(line.value)
                elif name == "subject":
                    subject = line.value
                elif name != "content-type":
                    others.append((line.name, line.value))
            except ContentError as error:
                if error.problems:
                    raise
                raise type(error)(
                    error.message,
                    hint=error.hint,
                    problems=(self._problem(recipient, error, line),),
                ) from error
        if "to" not in mailboxes:
            mailboxes["to"] = (parse_mailbox(recipient.address),)
        if "from" not in mailboxes:
            if not self._sender:
                raise LetterError(
                    "there is no sender", hint='write from = "Name <you@example.org>" in campaign.toml'
                )
            mailboxes["from"] = (self._sender,)
        if not subject:
            raise LetterError("the subject is empty")
        headers = [
            (name, ", ".join(_shown(mailbox) for mailbox in mailboxes[name.lower()]))
            for name in ("From", "To", "Cc", "Reply-To")
            if name.lower() in mailboxes
        ]
        headers += [("Subject", subject), *others]
        for value in (rendered.pattern, *rendered.values, rendered.text or ""):
            if not value.isprintable() and (bad := _BODY_CONTROLS.search(value)):
                raise LetterError(f"a control character (U+{ord(bad[0]):04X}) cannot stand in a letter")
        return _Plan(rendered, headers, mailboxes, bcc, files, preheader, subject)

    def _parsed(self, line: HeaderLine) -> tuple[Mailbox, ...]:
        """Read an address header; a rendered value is one name or one address, never more."""
        if _OPEN not in line.marked:
            known = self._mailboxes.get(line.value)
            if known is None:
                known = self._mailboxes[line.value] = parse_mailboxes(line.value)
            return known
        found = []
        for text in _split_outside(line.marked):
            plain = text.replace(_OPEN, "").replace(_CLOSE, "").strip()
            if not plain:
                continue
            named = re.fullmatch(r'\s*"?(?P<name>.*?)"?\s*<(?P<address>[^<>]*)>\s*', text)
            if named and _OPEN in named["name"] and _CLOSE in named["name"]:
                name = named["name"].replace(_OPEN, "").replace(_CLOSE, "").strip()
                address = named["address"].replace(_OPEN, "").replace(_CLOSE, "")
                found.append(Mailbox(name, parse_mailbox(address).address))
            else:
                found.append(parse_mailbox(plain))
        return tuple(found)

    def _images(self, images: Iterable[tuple[str, str]]) -> list[tuple[str, File]]:
        return [(content_id, self._shelf.file(path, path)) for path, content_id in images]

    def _lang(self, plan: _Plan) -> str:
        return next(
            (value for name, value in plan.headers if name.lower() == "content-language"), self._language
        )

    def _problem(self, recipient: Recipient, error: ContentError, line: HeaderLine | None = None) -> Problem:
        kinds = ((AddressError, "address"), (AttachmentError, "attachment"))
        kind = next((word for cls, word in kinds if isinstance(error, cls)), "letter")
        file, number, source = self._template.name, line.line if line else None, ""
        if number:
            source = self._template.source.split("\n")[number - 1]
        value = line.value if line else ""
        field = next((name for name, cell in recipient.cells.items() if cell and cell == value), "")
        return Problem(
            "error", kind, error.message, file, number, row=recipient.row, field=field, value=value,
            hint=error.hint, source=source,
        )  # fmt: skip


def _literal(line: HeaderLine) -> str:
    """Return how far the letter itself wrote a value, before anything rendered."""
    return line.marked.partition(_OPEN)[0]


def _split_outside(marked: str) -> list[str]:
    """Cut at the commas that the letter wrote, outside quotes; a comma inside a value cuts nothing."""
    pieces, start, inside, quoted = [], 0, False, False
    for position, character in enumerate(marked):
        if character == _OPEN:
            inside = True
        elif character == _CLOSE:
            inside = False
        elif character == '"' and not inside:
            quoted = not quoted
        elif character == "," and not inside and not quoted:
            pieces.append(marked[start:position])
            start = position + 1
    return [*pieces, marked[start:]]


def _file_name(value: str) -> str:
    if not value or "/" in value or "\\" in value:
        raise AttachmentError(f"{value!r} is no file name")
    return value


def _unsubscribe(value: str) -> list[tuple[str, str]]:
    """Return the headers of RFC 2369 and, where a link can be used with one click, RFC 8058."""
    urls = [url.strip().strip("<>") for url in re.split(r",\s+|\s+|(?<=>),", value) if url.strip()]
    for url in urls:
        if not _URL.fullmatch(url):
            raise LetterError(
                f"Unsubscribe: {url!r} is no link",
                hint="write https://... or mailto:..., with |urlencode for cells",
            )
    if not urls:
        return []
    found = [("List-Unsubscribe", ", ".join(f"<{url}>" for url in urls))]
    if any(url.lower().startswith("https:") for url in urls):
        found.append(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
    return found


def _shown(mailbox: Mailbox) -> str:
    return f"{mailbox.name} <{mailbox.address}>" if mailbox.name else mailbox.address


def _envelope(plan: _Plan) -> Envelope:
    seen: dict[str, str] = {}
    for mailbox in (*plan.mailboxes["to"], *plan.mailboxes.get("cc", ()), *plan.bcc):
        seen.setdefault(normalise(mailbox.address), mailbox.address)
    return Envelope(plan.mailboxes["from"][0].address, tuple(seen.values()))


def _lines(text: str | None) -> str | None:
    return text.replace("\r\n", "\n").replace("\r", "\n") if text is not None and "\r" in text else text


def _digest(plan: _Plan, files: Iterable[tuple[str, File]]) -> str:
    """Hash all that this person gets; Date and Message-ID are not part of it."""
    parts = [f"{name}\0{value}" for name, value in plan.headers]
    parts += [mailbox.address for mailbox in plan.bcc]
    parts += [
        "\1",
        plan.preheader,
        plan.rendered.pattern,
        *plan.rendered.values,
        "\1",
        plan.rendered.text or "",
    ]
    parts += [f"{name}\0{file.name}\0{file.digest}" for name, file in files]
    return hashlib.sha256("\0\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
