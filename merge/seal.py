"""Which bytes go out? A letter becomes the exact message, and is read back before it may leave."""

from __future__ import annotations

import hashlib
import re
from binascii import b2a_base64, b2a_qp
from collections import OrderedDict
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache

from merge import header, proof
from merge.errors import LetterError, SealError
from merge.model import Attachment, Delivery, Letter

_LONG_LINE = re.compile(r"[^\n]{999}")
_ENCODED_BUDGET = 64 * 2**20


def seal(letter: Letter, *, attempts: int = 0, not_before: float | None = None) -> Delivery:
    """Write a letter as the message of RFC 5322 and 2045, and check the bytes against the letter.

    The same letter always gives the same bytes: the boundaries come from its Message-ID and digest.
    Raises SealError when what was written does not say what was planned.
    """
    try:
        top, content = _message(letter)
    except LetterError as error:
        raise SealError(f"row {letter.row}: {error.message}") from error
    _check(letter, top, content)
    return Delivery(
        key=letter.key,
        row=letter.row,
        envelope=letter.envelope,
        content=content,
        message_id=letter.message_id,
        date=letter.date,
        digest=letter.digest,
        attempts=attempts,
        not_before=not_before,
    )


def boundary(letter: Letter, level: str) -> str:
    """Return the boundary of one multipart level: no text can hold it, and it is the same every time."""
    token = hashlib.sha256(f"{letter.message_id}\0{letter.digest}".encode()).hexdigest()[:32]
    return f"=_{level}_{token}"


def transfer(text: str) -> tuple[str, bytes]:
    """Choose a transfer encoding for a text and apply it; CRLF line ends, the last line complete.

    "7bit" for ASCII whose lines are short enough, "quoted-printable" where most of it is ASCII, "base64"
    elsewhere (RFC 2045, 6).
    """
    if not text.endswith("\n"):
        text += "\n"
    data = text.replace("\n", "\r\n").encode()
    if text.isascii() and not _LONG_LINE.search(text):
        return "7bit", data
    if (len(data) - len(text)) * 5 <= len(data):
        return "quoted-printable", b2a_qp(data, istext=True)
    return "base64", _lines(data)


def wire_date(moment: datetime) -> str:
    """Return a moment as the Date header has it (RFC 5322, 3.3)."""
    return _wire_date(moment)


@lru_cache(maxsize=64)
def _wire_date(moment: datetime) -> str:
    return format_datetime(moment)


def _message(letter: Letter) -> tuple[bytes, bytes]:
    top = "".join(
        [
            header.write_mailboxes(name, [(m.name, m.address) for m in letter.mailboxes[name.lower()]])
            if name.lower() in letter.mailboxes
            else header.write(name, value)
            for name, value in letter.headers
        ]
    )
    top += f"Date: {wire_date(letter.date)}\r\nMessage-ID: {letter.message_id}\r\nMIME-Version: 1.0\r\n"
    head, body = _body(letter)
    top_bytes = top.encode() + head
    return top_bytes, b"%b\r\n%b" % (top_bytes, body)


def _body(letter: Letter) -> tuple[bytes, bytes]:
    """Return the MIME headers and the content of the whole body."""
    inline = [a for a in letter.attachments if a.content_id]
    attached = [a for a in letter.attachments if not a.content_id]
    alternatives = []
    if letter.text is not None:
        alternatives.append(_text_part("plain", letter.text))
    if letter.html is not None:
        html = _text_part("html", letter.html)
        if inline:
            html = _multipart(letter, "related", [html, *map(_file_part, inline)])
        alternatives.append(html)
    alternatives += [_calendar_part(a) for a in attached if is_invitation(a)]
    whole = alternatives[0] if len(alternatives) == 1 else _multipart(letter, "alternative", alternatives)
    if attached:
        whole = _multipart(letter, "mixed", [whole, *map(_file_part, attached)])
    return whole


def is_invitation(attachment: Attachment) -> bool:
    """Whether a calendar file asks for an answer, so that mail programs offer it beside the text (RFC 6047)."""
    return attachment.media_type.startswith("text/calendar") and "method=" in attachment.media_type


def _multipart(letter: Letter, subtype: str, parts: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    mark = boundary(letter, subtype)
    head = f'Content-Type: multipart/{subtype};\r\n boundary="{mark}"\r\n'.encode()
    line = f"--{mark}\r\n".encode()
    pieces: list[bytes] = []
    for part_head, part_body in parts:
        pieces += (line, part_head, b"\r\n", part_body, b"\r\n")
    pieces.append(f"--{mark}--\r\n".encode())
    return head, b"".join(pieces)


def _text_part(subtype: str, text: str) -> tuple[bytes, bytes]:
    encoding, body = transfer(text)
    charset = "us-ascii" if encoding == "7bit" else "utf-8"
    head = f"Content-Type: text/{subtype}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n"
    return head.encode(), body


def _calendar_part(attachment: Attachment) -> tuple[bytes, bytes]:
    head = f"Content-Type: {attachment.media_type}\r\nContent-Transfer-Encoding: base64\r\n"
    return head.encode(), _ENCODED.lines(attachment.content)


def _file_part(attachment: Attachment) -> tuple[bytes, bytes]:
    disposition = "inline" if attachment.content_id else "attachment"
    head = f"Content-Type: {attachment.media_type}\r\nContent-Transfer-Encoding: base64\r\n"
    head += header.write_parameters(
        "Content-Disposition", disposition, header.write_parameter("filename", attachment.name)
    )
    if attachment.content_id:
        head += f"Content-ID: <{attachment.content_id}>\r\n"
    return head.encode(), _ENCODED.lines(attachment.content)


def _lines(data: bytes) -> bytes:
    encoded = b2a_base64(data, newline=False)
    return b"\r\n".join([encoded[at : at + 76] for at in range(0, len(encoded), 76)]) + b"\r\n"


class _EncodedFiles:
    """Files in base64, each encoded once while it is in use; the least recent go when there are too many."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._used = 0
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()

    def lines(self, content: bytes) -> bytes:
        """Return the content in base64 lines of 76 (RFC 2045, 6.8)."""
        encoded = self._kept.get(content)
        if encoded is not None:
            self._kept.move_to_end(content)
            return encoded
        encoded = _lines(content)
        self._kept[content] = encoded
        self._used += len(content) + len(encoded)
        while self._used > self._budget and self._kept:
            old, old_encoded = self._kept.popitem(last=False)
            self._used -= len(old) + len(old_encoded)
        return encoded


_ENCODED = _EncodedFiles(_ENCODED_BUDGET)


def _check(letter: Letter, top: bytes, content: bytes) -> None:
    """Read the finished bytes with a reader that shares nothing with the writer (RFC 5322, 2047)."""
    if fault := proof.faults(content):
        raise SealError(f"row {letter.row}: the message has {fault}")
    block, separator, body = content.partition(b"\r\n\r\n")
    if not separator or block + b"\r\n" != top:
        raise SealError(f"row {letter.row}: the header block ends early")
    try:
        _check_headers(letter, proof.headers(top, utf8=letter.envelope.needs_smtputf8))
    except proof.Misread as error:
        raise SealError(f"row {letter.row}: {error}") from error
    for level in ("alternative", "related", "mixed"):
        mark = f"--{boundary(letter, level)}".encode()
        if mark in body and body.count(mark) != body.count(b"\r\n" + mark) + body.startswith(mark):
            raise SealError(f"row {letter.row}: a boundary stands inside a line")


def _check_headers(letter: Letter, found: list[tuple[str, str]]) -> None:
    own = ["Date", "Message-ID", "MIME-Version"]
    planned = [name for name, _ in letter.headers] + own
    names = [name for name, _ in found]
    rest = names[len(planned) :]
    if names[: len(planned)] != planned or rest not in (
        ["Content-Type"],
        ["Content-Type", "Content-Transfer-Encoding"],
    ):
        raise SealError(f"row {letter.row}: the headers are {names}, not {planned} and the MIME headers")
    for (name, value), (_, raw) in zip(letter.headers, found, strict=False):
        mailboxes = letter.mailboxes.get(name.lower())
        if mailboxes is not None:
            same = proof.mailboxes(raw) == [(m.name, m.address) for m in mailboxes]
        else:
            same = proof.text(raw) == value
        if not same:
            raise SealError(f"row {letter.row}: {name} reads {raw[:80]!r}, not what was planned")
    if found[len(letter.headers) + 1][1] != letter.message_id:
        raise SealError(f"row {letter.row}: the Message-ID is not the planned one")
