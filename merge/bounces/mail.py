"""What is in this mail? Opened so that nothing in it can do harm: not its size, its depth or its letters."""

from __future__ import annotations

import binascii
import hashlib
import quopri
import re
from collections.abc import Iterator
from email import policy
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.parser import BytesParser, HeaderParser
from email.utils import parsedate_to_datetime
from typing import Final

from merge.bounces.phrases import phrases

LARGEST: Final = 256 * 1024
"""Bytes of a mail that are looked at: a report stands before the letter that it returns."""

_MOST_TYPES = 120
_MOST_PARTS = 400
_DEEPEST = 12
_LONGEST_HEADER = 4_000
_LONGEST_TEXT = 64 * 1024
_SCANNED = 16_384
_LONGEST_LINE = 500

_TYPE = re.compile(rb"\n[ \t]*content-type[ \t]*:", re.IGNORECASE)
_BORDER = re.compile(rb"\n--")
_ADDRESS = re.compile(r"[^\s<>\"'(),:;@\[\]]{1,64}@[^\s<>\"'(),:;@\[\]]{1,254}")


class Part:
    """One part of a mail, or the mail itself."""

    def __init__(self, message: Message) -> None:
        self._message = message

    @property
    def type(self) -> str:
        """The media type, in lower case."""
        return self._message.get_content_type()

    def parameter(self, name: str) -> str:
        """Return a parameter of Content-Type, in lower case; empty without one."""
        found = self._message.get_param(name, "")
        return str(found[2] if isinstance(found, tuple) else found or "").strip().lower()

    def header(self, name: str) -> str:
        """Return the first header of this name in one line, decoded (RFC 2047); empty without one."""
        return next(self.headers(name), "")

    def headers(self, *names: str) -> Iterator[str]:
        """Yield all headers of these names, which are in lower case."""
        for wanted in names:
            for name, value in self._message.raw_items():
                if name.lower() == wanted:
                    yield _decoded(str(value)[:_LONGEST_HEADER])

    @property
    def children(self) -> list[Part]:
        """The parts inside; of a message that is enclosed, that message."""
        payload = self._message.get_payload()
        return (
            [Part(part) for part in payload if isinstance(part, Message)] if isinstance(payload, list) else []
        )

    @property
    def text(self) -> str:
        """The text of a part of text, HTML as what it shows; empty for any other. At most 64 K characters."""
        if self.children:
            return ""
        found = self._payload()
        charset = self.parameter("charset") or "utf-8"
        try:
            text = found.decode(charset, "replace")
        except (LookupError, ValueError):
            text = found.decode("latin-1")
        text = text[:_LONGEST_TEXT].replace("\r\n", "\n").replace("\r", "\n")
        return _shown(text) if self.type == "text/html" else text

    @property
    def fields(self) -> list[dict[str, str]]:
        """The blocks of fields of a report (RFC 3464, 2.1), names in lower case."""
        lines: list[str] = []
        encoding = str(self._message.get("content-transfer-encoding", "")).strip().lower()
        children = self._message.get_payload()
        if isinstance(children, list):
            for child in (each for each in children if isinstance(each, Message)):
                lines += [f"{name}: {value}" for name, value in child.raw_items()]
                payload = child.get_payload()
                lines += ["", payload if isinstance(payload, str) else "", ""]
        else:
            lines = [self._payload().decode("utf-8", "replace")]
        text = "\n".join(lines)
        if isinstance(children, list) and encoding in ("base64", "quoted-printable"):
            text = _unwrapped(text.encode("utf-8", "replace"), encoding).decode("utf-8", "replace")
        return _blocks(text)

    def _payload(self) -> bytes:
        payload = self._message.get_payload(decode=True)
        return payload if isinstance(payload, bytes) else b""


class Mail(Part):
    """A whole mail. Made by `open_mail`.

    `digest` tells it from any other (hexadecimal), wherever it was read.
    """

    def __init__(self, message: Message, digest: str) -> None:
        super().__init__(message)
        self.digest = digest

    @property
    def time(self) -> float | None:
        """When it was written, in seconds since the epoch; None where it does not say."""
        try:
            return parsedate_to_datetime(self.header("date")).timestamp()
        except (TypeError, ValueError, OverflowError, IndexError):
            return None

    @property
    def sender(self) -> str:
        """The address in From, in lower case; empty without one."""
        found = _ADDRESS.search(self.header("from"))
        return found[0].lower() if found else ""

    def parts(self) -> Iterator[Part]:
        """Yield all parts, but nothing that is inside an enclosed message: that is somebody else's mail."""
        ahead: list[tuple[Part, int]] = [(self, 0)]
        while ahead:
            part, depth = ahead.pop(0)
            yield part
            if part.type.startswith("multipart/") and depth < _DEEPEST:
                ahead[:0] = [(child, depth + 1) for child in part.children]


def open_mail(raw: bytes) -> Mail:
    """Open a mail; beyond LARGEST bytes, 400 parts or 120 media types it ends.

    Raises ValueError for what the parser cannot bear.
    """
    raw = raw[:LARGEST]
    raw = raw[: _end(_TYPE, raw, _MOST_TYPES)]
    raw = raw[: _end(_BORDER, raw, _MOST_PARTS)]
    try:
        message = BytesParser(policy=policy.compat32).parsebytes(raw)
    except Exception as error:
        raise ValueError(f"not a mail that can be read: {type(error).__name__}") from error
    return Mail(message, _digest(message, raw))


def enclosed_headers(part: Part) -> Part | None:
    """Return the headers of the mail that a part returns, whole or in its headers alone; None for others."""
    if part.type in ("message/rfc822", "message/global", "message/partial"):
        return part.children[0] if part.children else None
    if part.type in ("text/rfc822-headers", "message/global-headers", "message/rfc822-headers"):
        if part.children:
            return part.children[0]
        return Part(HeaderParser(policy=policy.compat32).parsestr(part.text.lstrip()))
    return None


def own_words(mail: Mail) -> str:
    """Return what the server itself wrote: nothing quoted, nothing of the letter that it returns."""
    texts = [part.text for part in mail.parts() if part.type in ("text/plain", "text/html")]
    text = next((text for text in texts if text.strip()), "")[:_SCANNED]
    lines = (line[:_LONGEST_LINE] for line in text.split("\n") if not line.lstrip().startswith((">", "|")))
    text = "\n".join(lines)
    ends = phrases("returned", r"^[ \t>*=_|-]{0,40}{}[ \t]*$").search(text, 40) if len(text) > 40 else None  # noqa: PLR2004 - a first line may look like one
    return text[: ends.start()] if ends else text


def addresses(text: str) -> list[str]:
    """Return what looks like an address in a text, in its order, as it is written."""
    return _ADDRESS.findall(text)


def _end(pattern: re.Pattern[bytes], raw: bytes, most: int) -> int:
    for number, found in enumerate(pattern.finditer(raw), 1):
        if number > most:
            return found.start()
    return len(raw)


def _digest(message: Message, raw: bytes) -> str:
    """Return what tells a report from any other: its Message-ID, or else its date, sender and text."""
    own = " ".join(str(message.get("message-id", ""))[:_LONGEST_HEADER].split())
    if own:
        return hashlib.sha256(f"id {own}".encode("utf-8", "replace")).hexdigest()
    body = raw.replace(b"\r\n", b"\n").partition(b"\n\n")[2][:16_384].rstrip()
    head = "\n".join(
        str(message.get(name, ""))[:_LONGEST_HEADER] for name in ("date", "from", "to", "subject")
    )
    return hashlib.sha256(head.encode("utf-8", "replace") + b"\0" + body).hexdigest()


def _decoded(value: str) -> str:
    value = " ".join(value.split())
    if "=?" not in value:
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    try:
        pieces = decode_header(value)
    except (HeaderParseError, binascii.Error, ValueError):
        return value
    found = []
    for text, charset in pieces:
        if isinstance(text, str):
            found.append(text)
            continue
        try:
            found.append(text.decode(charset or "utf-8", "replace"))
        except (LookupError, ValueError):
            found.append(text.decode("latin-1"))
    return " ".join("".join(found).split())


def _unwrapped(data: bytes, encoding: str) -> bytes:
    if encoding == "quoted-printable":
        return quopri.decodestring(data)
    try:
        return binascii.a2b_base64(data)
    except binascii.Error:
        return data


def _blocks(text: str) -> list[dict[str, str]]:
    """Read blocks of header-like fields, with an empty line between (RFC 3464, 2.1)."""
    blocks: list[dict[str, str]] = []
    fields: dict[str, str] = {}
    last = ""
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if not line.strip():
            if fields:
                blocks.append(fields)
            fields, last = {}, ""
        elif line[0] in " \t" and last:
            fields[last] = f"{fields[last]} {line.strip()}"[:_LONGEST_HEADER]
        else:
            name, colon, value = line.partition(":")
            last = name.strip().lower() if colon and " " not in name.strip() else ""
            if last and last not in fields:
                fields[last] = _decoded(value.strip()[:_LONGEST_HEADER])
            elif last:
                last = ""
        if len(blocks) >= _MOST_PARTS:
            break
    return [*blocks, fields] if fields else blocks


def _shown(html: str) -> str:
    from resiliparse.extract.html2text import extract_plain_text  # noqa: PLC0415 - seldom needed

    return str(extract_plain_text(html, preserve_formatting=True, main_content=False, list_bullets=False))
