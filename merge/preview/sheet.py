"""What can be shown of one letter? Everything that the page says about a row, ready for JSON."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

from merge.address import normalise
from merge.errors import Problem
from merge.model import Attachment, Letter, Recipient
from merge.preview.advice import advice
from merge.preview.anatomy import Anatomy, anatomy, first_words
from merge.preview.clients import as_of, left_out
from merge.seal import seal

LONGEST_SOURCE: Final = 400_000
"""Characters of a message's source that the page shows; the .eml file has all."""

SHOWN_IN_PLACE: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf"})
"""Media types that a browser shows without running anything of theirs; others are saved as files."""

_BASE64 = re.compile(r"(?:[A-Za-z0-9+/=]{76}\r?\n){12,}(?:[A-Za-z0-9+/=]{1,76}\r?\n)?")
_SHEETS_LINKS = 200
_MEDIA = re.compile(r"@media\b[^@{;<]*\{|\bmedia\s*=\s*(?:\"[^\"]*\"|'[^']*')", re.IGNORECASE)
_PREFERRED = re.compile(r"\(\s*prefers-color-scheme\s*:\s*(dark|light)\s*\)", re.IGNORECASE)
_SCHEME = re.compile(r"((?<![\w-])color-scheme\s*:\s*)((?:(?:light|dark|only|normal)\s*)+)", re.IGNORECASE)
_SCHEME_META = re.compile(
    r"(<meta\b[^>]*\bname\s*=\s*[\"']?color-scheme[\"']?[^>]*\bcontent\s*=\s*[\"']?)([a-z ]+)", re.IGNORECASE
)


def sheet(letter: Letter) -> dict[str, Any]:
    """Describe a letter: inbox line, headers, texts, source, files, links, size, advice."""
    found = anatomy(letter.html) if letter.html is not None else Anatomy()
    delivery = seal(letter)
    shown = dict(letter.headers)
    snippet = found.first_words if letter.html is not None else first_words(letter.text or "")
    named = {normalise(box.address) for boxes in letter.mailboxes.values() for box in boxes}
    return {
        "row": letter.row,
        "from": _sender(letter),
        "to": shown.get("To", ""),
        "subject": shown.get("Subject", ""),
        "snippet": snippet,
        "headers": [list(pair) for pair in letter.headers],
        "hidden": [to for to in letter.envelope.recipients if normalise(to) not in named],
        "html": letter.html is not None,
        "text": letter.text,
        "source": source_text(delivery.content),
        "size": len(delivery.content),
        "html_size": len((letter.html or "").encode("utf-8", "surrogatepass")),
        "digest": letter.digest,
        "files": [
            _file(number, file) for number, file in enumerate(letter.attachments) if not file.content_id
        ],
        "links": [asdict(link) for link in found.links[:_SHEETS_LINKS]],
        "pictures": [asdict(picture) for picture in found.pictures[:_SHEETS_LINKS]],
        "remote": found.remote,
        "left_out": left_out(letter.html, found) if letter.html is not None else {},
        "as_of": as_of(),
        "advice": [described(problem) for problem in advice(letter, found, len(delivery.content))],
    }


def row_facts(recipient: Recipient, problems: Iterable[Problem]) -> dict[str, Any]:
    """Describe what is known of a row, whether or not it has a letter."""
    return {
        "row": recipient.row,
        "address": recipient.address,
        "cells": [list(pair) for pair in recipient.cells.items()],
        "problems": [described(problem) for problem in problems],
    }


def described(problem: Problem) -> dict[str, Any]:
    """Return a problem for JSON: without what is not set."""
    return {name: value for name, value in asdict(problem).items() if value not in ("", None)}


def framed(html: str, attachments: Sequence[Attachment]) -> str:
    """Return a letter's HTML with its own pictures in it, as no frame can fetch them."""
    for file in attachments:
        if file.content_id:
            encoded = base64.b64encode(file.content).decode("ascii")
            html = html.replace(f"cid:{file.content_id}", f"data:{file.media_type};base64,{encoded}")
    return html


def toned(html: str, *, dark: bool) -> str:
    """Return a letter's HTML as a light or a dark mail program has it, whatever the browser prefers.

    What the letter says for the one is said for all, what it says for the other for none; a letter that says
    nothing stays as it is.
    """
    chosen = "dark" if dark else "light"

    def medium(found: re.Match[str]) -> str:
        return "(min-width: 0)" if found[1].lower() == chosen else "(max-width: 0)"

    def media(stretch: re.Match[str]) -> str:
        return _PREFERRED.sub(medium, stretch[0])

    def scheme(found: re.Match[str]) -> str:
        return f"{found[1]}{chosen}" if chosen in found[2].lower().split() else found[0]

    html = _MEDIA.sub(media, html)
    return _SCHEME_META.sub(scheme, _SCHEME.sub(scheme, html))


def source_text(content: bytes) -> str:
    """Return a message's source for reading: long stretches of base64 are counted, not shown."""
    text = content.decode("utf-8", "replace").replace("\r\n", "\n")

    def counted(stretch: re.Match[str]) -> str:
        lines = stretch[0].split("\n")
        return f"{lines[0]}\n[{len(lines) - 2:,} more lines of base64]\n"

    text = _BASE64.sub(counted, text)
    return text if len(text) <= LONGEST_SOURCE else f"{text[:LONGEST_SOURCE]}\n[cut here; the .eml has all]"


def _sender(letter: Letter) -> str:
    sender = letter.mailboxes["from"][0]
    return sender.name or sender.address


def _file(number: int, file: Attachment) -> dict[str, Any]:
    media_type = file.media_type.partition(";")[0]
    return {
        "number": number,
        "name": file.name,
        "type": media_type,
        "size": len(file.content),
        "opens": media_type in SHOWN_IN_PLACE,
    }
