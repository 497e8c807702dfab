"""Which bytes go out? A letter becomes the exact message, and is read back before it may leave."""

from __future__ import annotations

import re
from binascii import b2a_base64, b2a_qp
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import TypeVar

from merge import header, proof
from merge.errors import LetterError, SealError
from merge.model import Attachment, Delivery, Letter, Mailbox, Woven, quick

_ASKING = ("method=REQUEST", "method=REPLY", "method=CANCEL", "method=COUNTER")
_LONG_LINE = re.compile(r"[^\r\n]{999}")
_BETWEEN_RUNS = "\0\n"
_ENCODED_BUDGET = 64 * 2**20
_delivery = quick(Delivery)
_Piece = TypeVar("_Piece", str, bytes)


def seal(letter: Letter, *, attempts: int = 0, not_before: float | None = None) -> Delivery:
    """Write a letter as the message of RFC 5322 and 2045, and check the bytes against the letter.

    The same letter always gives the same bytes: the boundaries come from its digest.
    Raises SealError when what was written does not say what was planned.
    """
    token = _token(letter)
    planned = _planned(letter)
    try:
        pieces = _message(letter, planned, token)
        content = b"".join(pieces)
        _check(letter, planned, pieces, content, token)
    except LetterError as error:
        raise SealError(f"row {letter.row}: {error.message}") from error
    except proof.Misread as error:
        raise SealError(f"row {letter.row}: the message has {error}") from error
    return _delivery(
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
    return f"=_{level}_{_token(letter)}"


def _token(letter: Letter) -> str:
    """Return what no text of a letter can hold: a part of the hash of them all."""
    return letter.digest[-32:]


def transfer(text: str) -> tuple[str, bytes]:
    """Choose a transfer encoding for a text and apply it; CRLF line ends, the last line complete.

    "7bit" for ASCII whose lines are short enough, "quoted-printable" where most of it is ASCII, "base64"
    elsewhere (RFC 2045, 6).
    """
    _refuse_marks(text)
    lines = text.replace("\n", "\r\n")
    if not text.endswith("\n"):
        lines += "\r\n"
    if text.isascii() and not _LONG_LINE.search(text):
        return "7bit", lines.encode()
    size = len(text.encode())
    if _mostly_ascii(size - len(text), size):
        return "quoted-printable", _quoted(lines)
    return "base64", _lines(lines.encode())


def _refuse_marks(text: str) -> None:
    """Raise LetterError for the control characters that mark places while a text is encoded."""
    if "\0" in text or "\1" in text or "\2" in text:
        raise LetterError("a control character cannot stand in a letter")


def _quoted(text: str) -> bytes:
    """Encode CRLF text as quoted-printable, in lines of at most 76 (RFC 2045, 6.7).

    `b2a_qp` lets a line grow to 78 where its last blank has to be encoded. So such blanks are first made
    control characters, which it always encodes, and counts; a letter holds none.
    """
    if " \r\n" not in text and "\t\r\n" not in text:
        return b2a_qp(text.encode(), istext=True)
    marked = text.replace(" \r\n", "\1\r\n").replace("\t\r\n", "\2\r\n").encode()
    return b2a_qp(marked, istext=True).replace(b"=01\r\n", b"=20\r\n").replace(b"=02\r\n", b"=09\r\n")


def _mostly_ascii(beyond: int, size: int) -> bool:
    """Whether quoted-printable is the better choice; `beyond` are the bytes that UTF-8 adds to ASCII."""
    return beyond * 5 <= size


class _Mould:
    """A body whose shared lines are encoded once, with gaps for the lines that differ from row to row.

    Neither 7bit nor quoted-printable carries anything from one line to the next (RFC 2045, 6.7), so lines
    can be encoded apart; base64 does, and is left to `transfer`. `plain` and `quoted` hold the blocks of
    shared lines before, between and after the runs of lines with values. `gaps` holds the texts around the
    values of all runs together: between two runs stands a line that no letter can hold, so that one call
    encodes them all.
    """

    __slots__ = ("_beyond", "_gaps", "_plain", "_quoted", "_size", "_to_quote")

    def __init__(self, parts: tuple[str, ...]) -> None:
        block, tail = _last_line_apart(parts[0])
        blocks, gaps = [block], [tail]
        for part in parts[1:]:
            if end := part.find("\n") + 1:
                block, tail = _last_line_apart(part[end:])
                blocks.append(block)
                gaps.append(f"{part[:end]}{_BETWEEN_RUNS}{tail}")
            else:
                gaps.append(part)
        if "\n" not in parts[-1]:
            blocks.append("")
        elif len(parts) > 1:
            gaps[-1] = gaps[-1][: len(gaps[-1]) - len(tail) - len(_BETWEEN_RUNS)]
            blocks[-1] += f"{tail}\n" if tail else ""
        whole = "".join(parts)
        _refuse_marks(whole)
        size = len(whole.encode())
        self._size, self._beyond = size, size - len(whole)
        self._to_quote = not whole.isascii() or any(map(_LONG_LINE.search, blocks))
        self._gaps = _frame([gap.replace("\n", "\r\n") for gap in gaps])
        shared = [block.replace("\n", "\r\n") for block in blocks]
        self._plain = None if self._to_quote else _frame([proof.proven(block.encode()) for block in shared])
        self._quoted = _frame([proof.proven(_quoted(block)) for block in shared])

    def cast(self, values: tuple[str, ...]) -> tuple[str, list[bytes]] | None:
        """Return what `transfer` would for these values, in pieces; None where that is base64."""
        whole = "".join(values)
        _refuse_marks(whole)
        if "\n" in whole:
            values = tuple([value.replace("\n", "\r\n") for value in values])
        runs = "".join(_filled(self._gaps, values))
        if not runs.endswith("\r\n") and (runs or not self._size):
            runs += "\r\n"
        if (
            self._plain is not None
            and whole.isascii()
            and not (len(runs) >= proof.LONGEST_LINE and _LONG_LINE.search(runs))
        ):
            return "7bit", _filled(self._plain, runs.encode().split(b"\0\r\n"))
        size = len(whole.encode())
        if not _mostly_ascii(self._beyond + size - len(whole), self._size + size):
            return None
        return "quoted-printable", _filled(self._quoted, _quoted(runs).split(b"=00\r\n"))


def _frame(fixed: Sequence[_Piece]) -> list[_Piece]:
    """Return pieces with an empty place between any two of them."""
    empty = fixed[0][:0]
    return [piece for one in fixed for piece in (one, empty)][:-1]


def _filled(frame: list[_Piece], values: Sequence[_Piece]) -> list[_Piece]:
    pieces = frame.copy()
    pieces[1::2] = values
    return pieces


def _last_line_apart(text: str) -> tuple[str, str]:
    end = text.rfind("\n") + 1
    return text[:end], text[end:]


@lru_cache(maxsize=128)
def _mould(parts: tuple[str, ...]) -> _Mould:
    return _Mould(parts)


@lru_cache(maxsize=8)
def _same_for_all(text: str) -> tuple[str, bytes]:
    return transfer(text)


@lru_cache(maxsize=64)
def wire_date(moment: datetime) -> str:
    """Return a moment as the Date header has it (RFC 5322, 3.3)."""
    return format_datetime(moment)


_WRITTEN: dict[str, tuple[tuple[Mailbox, ...], str]] = {}
"""By name, the mailboxes that were written last, and the header that they made."""

_Planned = tuple[str, str, tuple[Mailbox, ...] | None]
"""A header's name, its value, and its mailboxes where it holds addresses."""

_Part = tuple[bytes, list[bytes]]
"""The MIME headers of a part, and its content in pieces, each of whole lines."""


def _planned(letter: Letter) -> list[_Planned]:
    """List the headers of a letter, each with its mailboxes where it holds addresses."""
    mailboxes = letter.mailboxes
    return [(name, value, mailboxes.get(name.lower())) for name, value in letter.headers]


def _message(letter: Letter, planned: list[_Planned], token: str) -> list[bytes]:
    """Return the whole message in pieces, each of whole lines; the first is the header block."""
    lines = [
        header.write(name, value) if mailboxes is None else _address_line(name, mailboxes)
        for name, value, mailboxes in planned
    ]
    lines.append(
        f"Date: {wire_date(letter.date)}\r\nMessage-ID: {letter.message_id}\r\nMIME-Version: 1.0\r\n"
    )
    head, pieces = _body(letter, token)
    return [b"%b%b\r\n" % ("".join(lines).encode(), head), *pieces]


def _address_line(name: str, mailboxes: tuple[Mailbox, ...]) -> str:
    """Write an address header; most letters have the same From as the one before."""
    before = _WRITTEN.get(name)
    if before and before[0] is mailboxes:
        return before[1]
    line = header.write_mailboxes(name, mailboxes)
    _WRITTEN[name] = (mailboxes, line)
    return line


def _body(letter: Letter, token: str) -> _Part:
    files = letter.attachments
    inline = [file for file in files if file.content_id] if files else []
    attached = [file for file in files if not file.content_id] if files else []
    alternatives: list[_Part] = []
    if (text := _text(letter)) is not None:
        alternatives.append(_text_part("plain", text))
    if (shown := _html(letter)) is not None:
        html = _text_part("html", shown)
        if inline:
            html = _multipart(token, "related", [html, *map(_file_part, inline)])
        alternatives.append(html)
    alternatives += [_calendar_part(file) for file in attached if is_invitation(file)]
    whole = alternatives[0] if len(alternatives) == 1 else _multipart(token, "alternative", alternatives)
    return _multipart(token, "mixed", [whole, *map(_file_part, attached)]) if attached else whole


def is_invitation(attachment: Attachment) -> bool:
    """Whether a calendar file asks for an answer, and so stands beside the text too (RFC 6047)."""
    return attachment.media_type.startswith("text/calendar") and attachment.media_type.endswith(_ASKING)


def _multipart(token: str, subtype: str, parts: list[_Part]) -> _Part:
    mark = f"=_{subtype}_{token}".encode()
    pieces: list[bytes] = []
    before = b""
    for head, content in parts:
        pieces.append(b"%b--%b\r\n%b\r\n" % (before, mark, head))
        pieces += content
        before = b"\r\n"
    pieces.append(b"\r\n--%b--\r\n" % mark)
    return b'Content-Type: multipart/%b;\r\n boundary="%b"\r\n' % (subtype.encode(), mark), pieces


def _text(letter: Letter) -> Woven | str | None:
    return letter.woven_text or letter.text


def _html(letter: Letter) -> Woven | str | None:
    return letter.woven_html or letter.html


def _text_part(subtype: str, text: Woven | str) -> _Part:
    if isinstance(text, str):
        encoding, content = transfer(text)
    elif not text.values:
        encoding, content = _same_for_all(text.text)
    elif cast := _mould(text.parts).cast(text.values):
        return _TEXT_HEADS[subtype, cast[0]], cast[1]
    else:
        encoding, content = transfer(text.text)
    return _TEXT_HEADS[subtype, encoding], [content]


_TEXT_HEADS = {
    (subtype, encoding): (
        f"Content-Type: text/{subtype}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n"
    ).encode()
    for subtype in ("plain", "html")
    for encoding, charset in (("7bit", "us-ascii"), ("quoted-printable", "utf-8"), ("base64", "utf-8"))
}


def _calendar_part(attachment: Attachment) -> _Part:
    head = f"Content-Type: {attachment.media_type}\r\nContent-Transfer-Encoding: base64\r\n"
    return head.encode(), [_ENCODED.lines(attachment.content)]


def _file_part(attachment: Attachment) -> _Part:
    head = _file_head(attachment.name, attachment.media_type, attachment.content_id)
    return head, [_ENCODED.lines(attachment.content)]


@lru_cache(maxsize=64)
def _file_head(name: str, media_type: str, content_id: str) -> bytes:
    head = f"Content-Type: {media_type}\r\nContent-Transfer-Encoding: base64\r\n"
    disposition = "inline" if content_id else "attachment"
    head += header.write_parameters(
        "Content-Disposition", disposition, header.write_parameter("filename", name)
    )
    if content_id:
        head += f"Content-ID: <{content_id}>\r\n"
    return head.encode()


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
        encoded = proof.proven(_lines(content))
        self._kept[content] = encoded
        self._used += len(content) + len(encoded)
        while self._used > self._budget and self._kept:
            old, old_encoded = self._kept.popitem(last=False)
            self._used -= len(old) + len(old_encoded)
        return encoded


_ENCODED = _EncodedFiles(_ENCODED_BUDGET)


def _check(letter: Letter, planned: list[_Planned], pieces: list[bytes], content: bytes, token: str) -> None:
    """Read the finished bytes with a reader that shares nothing with the writer. Raises SealError."""
    block = content[: content.find(b"\r\n\r\n") + 2]
    if len(block) + 2 != len(pieces[0]):
        raise SealError(f"row {letter.row}: the header block ends early")
    utf8 = not block.isascii() and letter.envelope.needs_smtputf8
    _check_headers(letter, planned, proof.headers(block, utf8=utf8))
    fresh = proof.lines(pieces[1:])  # no shared line holds what one message has
    mark = token.encode()
    if block.count(mark) + fresh.count(mark) != _boundary_lines(letter):
        raise SealError(f"row {letter.row}: the parts are not those that were planned")


def _boundary_lines(letter: Letter) -> int:
    """Count how often the boundaries stand in a message: declared, before each part, and at the end."""
    texts = (_text(letter) is not None) + (_html(letter) is not None)
    if not letter.attachments:
        return 4 if texts > 1 else 0
    inline = sum(1 for file in letter.attachments if file.content_id) if _html(letter) is not None else 0
    attached = [file for file in letter.attachments if not file.content_id]
    alternatives = texts + sum(map(is_invitation, attached))
    return sum(
        parts + 2
        for parts in (alternatives, inline + 1 if inline else 0, len(attached) + 1 if attached else 0)
        if parts > 1
    )


def _check_headers(letter: Letter, planned: list[_Planned], found: list[str]) -> None:
    """Compare the headers with the plan, one by one and in number. Raises SealError, Misread."""
    count, row = len(planned), letter.row
    own = [f"Date: {wire_date(letter.date)}", f"Message-ID: {letter.message_id}", "MIME-Version: 1.0"]
    rest = [line.partition(":")[0] for line in found[count + 3 :]]
    if found[count : count + 3] != own or rest not in _MIME_HEADERS:
        raise SealError(f"row {row}: {len(found)} headers, not {count} and those of date, number and MIME")
    for (name, value, mailboxes), line in zip(planned, found, strict=False):
        same = proof.says(line, name, value) if mailboxes is None else _is_to(line, name, mailboxes)
        if not same:
            raise SealError(f"row {row}: {line[:80]!r} is not the {name} that was planned")


_READ: dict[str, tuple[tuple[Mailbox, ...], str]] = {}
"""By name, the mailboxes that were found last in an unfolded header, and that header."""


def _is_to(line: str, name: str, mailboxes: tuple[Mailbox, ...]) -> bool:
    """Whether an unfolded header has this name and these mailboxes, as that of the letter before may have."""
    before = _READ.get(name)
    if before and before[0] is mailboxes and before[1] == line:
        return True
    if proof.field(line)[0] != name or proof.mailboxes(line[len(name) + 1 :]) != mailboxes:
        return False
    _READ[name] = (mailboxes, line)
    return True


_MIME_HEADERS = (["Content-Type"], ["Content-Type", "Content-Transfer-Encoding"])
