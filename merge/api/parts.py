"""What is in this message? The finished bytes, taken apart again for an interface that wants the parts.

Headers are read with the reader of our own messages (merge.proof), the parts with the standard library.
"""

from __future__ import annotations

import email
from dataclasses import dataclass
from email.message import Message

from merge.errors import MergeError
from merge.model import Delivery
from merge.proof import Misread, field, headers, mailboxes, text

Box = tuple[str, str]
"""A display name, possibly empty, and an address."""

_OURS = frozenset({"from", "to", "cc", "reply-to", "subject", "date", "message-id", "mime-version"})


class Unsayable(MergeError):  # noqa: N818 - says what the letter is
    """The letter cannot be said faithfully through this interface. The message is in words for the person."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a letter: `content` in base64 without line ends, `content_id` for a picture in the HTML."""

    name: str
    media_type: str
    content: str
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a message says, and to whom it goes.

    `to`, `cc` and `bcc` together are exactly the envelope's recipients. `headers` are those without a place
    of their own here: unfolded, in ASCII, texts in encoded words (RFC 2047). Texts have LF line ends.
    `invitation` says that a calendar part stands beside the texts (RFC 6047).
    """

    sender: Box
    to: tuple[Box, ...]
    cc: tuple[Box, ...]
    bcc: tuple[Box, ...]
    reply_to: tuple[Box, ...]
    subject: str
    headers: tuple[tuple[str, str], ...]
    text: str | None
    html: str | None
    files: tuple[File, ...]
    invitation: bool
    message_id: str


def parts_of(delivery: Delivery) -> Parts:
    """Take a message apart. Raises Unsayable for what no web API could send as it stands."""
    if delivery.envelope.needs_smtputf8:
        raise Unsayable("an address with letters beyond ASCII before the @ cannot go by a web API")
    try:
        top = delivery.content.partition(b"\r\n\r\n")[0] + b"\r\n"
        lines = [field(line) for line in headers(top)]
        boxes = {
            name: tuple(box for line, value in lines if line.lower() == name for box in mailboxes(value))
            for name in ("from", "to", "cc", "reply-to")
        }
        subject = next((text(value) for name, value in lines if name.lower() == "subject"), "")
    except Misread as error:
        raise Unsayable(f"the message cannot be read back: it has {error}") from error
    to, cc, bcc = _shared_out(boxes["to"], boxes["cc"], delivery.envelope.recipients)
    body = _Body(email.message_from_bytes(delivery.content))
    return Parts(
        sender=boxes["from"][0],
        to=to,
        cc=cc,
        bcc=bcc,
        reply_to=boxes["reply-to"],
        subject=subject,
        headers=_others(lines),
        text=body.texts.get("text/plain"),
        html=body.texts.get("text/html"),
        files=tuple(body.files),
        invitation=body.invitation,
        message_id=delivery.message_id,
    )


def _shared_out(
    to: tuple[Box, ...], cc: tuple[Box, ...], recipients: tuple[str, ...]
) -> tuple[tuple[Box, ...], tuple[Box, ...], tuple[Box, ...]]:
    """Give each recipient one place: the envelope decides who, the headers decide as what."""
    left = {address.lower(): address for address in recipients}
    named = {address.lower() for _, address in (*to, *cc)}
    if beyond := named - left.keys():
        raise Unsayable(f"a header names {min(beyond)}, whom this letter must not reach")
    first, second = (tuple(box for box in group if left.pop(box[1].lower(), None)) for group in (to, cc))
    if not first:
        raise Unsayable("a web API needs an address in To")
    return first, second, tuple(("", address) for address in left.values())


def _others(lines: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    others = [(name, value) for name, value in lines if not _has_place(name.lower())]
    seen: set[str] = set()
    for name, _ in others:
        if name.lower() in seen:
            raise Unsayable(f"a second {name}: a web API takes each header once")
        seen.add(name.lower())
    return tuple(others)


def _has_place(name: str) -> bool:
    return name in _OURS or name.startswith("content-")


class _Body:
    """The parts of a message, each put where it belongs."""

    def __init__(self, message: Message) -> None:
        self.texts: dict[str, str] = {}
        self.files: list[File] = []
        self.invitation = False
        self._sort(message)

    def _sort(self, part: Message) -> None:
        if part.is_multipart():
            for below in part.get_payload():
                if isinstance(below, Message):
                    self._sort(below)
            return
        kind = part.get_content_type()
        name = part.get_filename()
        if part.get_content_disposition() is not None:
            encoded = str(part.get_payload()).translate(_NO_LINE_ENDS)
            content_id = (part["Content-ID"] or "").strip("<>")
            self.files.append(File(name or "file", kind, encoded, content_id))
        elif kind == "text/calendar":
            self.invitation = True
        else:
            raw = part.get_payload(decode=True)
            charset = part.get_content_charset() or "us-ascii"
            read = raw.decode(charset) if isinstance(raw, bytes) else ""
            self.texts[kind] = read.replace("\r\n", "\n")


_NO_LINE_ENDS = {ord("\r"): None, ord("\n"): None}
