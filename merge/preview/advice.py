"""What would a mail program, or a reader, trip over in this letter?"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from merge.errors import Problem
from merge.model import Letter
from merge.preview.anatomy import Anatomy
from merge.words import size

GMAIL_CLIPS: Final = 102 * 1024
"""Bytes of HTML after which Gmail hides the rest of a letter behind a link."""
SERVERS_REFUSE: Final = 20 * 10**6
"""Bytes of a whole message that most servers still take; many stop at 25 MB, some at 10."""

_FEW_WORDS = 20
_LONG_SUBJECT = 78
_HOST = re.compile(r"(?:https?://)?((?:[\w-]+\.)+[a-z]{2,})(?:[/?#:]|$)", re.IGNORECASE)
_OTHER_SCHEMES = ("mailto:", "tel:", "sms:", "#")


def advice(letter: Letter, found: Anatomy, octets: int) -> list[Problem]:
    """Return what is legal and still worth a look, as warnings. `octets` is the size of the message."""
    remarks = [*_about_size(letter, octets), *_about_links(found)]
    subject = dict(letter.headers).get("Subject", "")
    if len(subject) > _LONG_SUBJECT:
        remarks.append(
            _remark("subject", f"the subject has {len(subject)} characters; phones show about 40", subject)
        )
    if letter.html is None:
        return remarks
    if letter.text is None:
        remarks.append(_remark("text part", "there is no plain text beside the HTML"))
    if not found.lang:
        remarks.append(
            _remark(
                "language", "the letter does not say its language, which screen readers need",
                hint='write "Content-Language: en" among its headers, or <html lang="en">',
            )
        )  # fmt: skip
    without = [picture.src for picture in found.pictures if picture.alt is None]
    if without:
        words = "a picture has" if len(without) == 1 else f"{len(without)} pictures have"
        remarks.append(_remark("alt text", f"{words} no alt text", without[0], 'add alt="..."'))
    if found.pictures and found.words < _FEW_WORDS:
        remarks.append(_remark("pictures", "nearly all of the letter is pictures: many will see nothing"))
    if found.remote:
        words = "1 thing is" if found.remote == 1 else f"{found.remote} things are"
        remarks.append(
            _remark("pictures", f"{words} fetched from the network; mail programs often block that")
        )
    dropped = [
        name for name in ("script", "form", "iframe", "video", "object", "embed") if name in found.elements
    ]
    return [*remarks, *(_remark("element", f"mail programs drop <{name}>") for name in dropped)]


def _about_size(letter: Letter, octets: int) -> list[Problem]:
    remarks = []
    html = len((letter.html or "").encode("utf-8", "surrogatepass"))
    if html > GMAIL_CLIPS:
        remarks.append(_remark("size", f"Gmail cuts letters at 102 kB of HTML; this one has {size(html)}"))
    if octets > SERVERS_REFUSE:
        remarks.append(_remark("size", f"many servers refuse a message of {size(octets)}"))
    remarks += [
        _remark("attachment", "the file is empty", file.name)
        for file in letter.attachments
        if not file.content
    ]
    return remarks


def _about_links(found: Anatomy) -> list[Problem]:
    remarks = []
    for link in dict.fromkeys(found.links):
        if not link.href or link.href == "#":
            remarks.append(_remark("link", "the link leads nowhere", link.text))
            continue
        if not link.text:
            remarks.append(_remark("link", "the link has no words to click on", link.href))
        if link.href.lower().startswith("http://"):
            remarks.append(_remark("link", "the link is not encrypted (http)", link.href))
        elif not link.href.lower().startswith(("https://", *_OTHER_SCHEMES)):
            remarks.append(
                _remark("link", "the link works in no mail program", link.href, "begin it with https://")
            )
        shown = _HOST.match(link.text)
        if shown and not _same_site(shown[1], link.href):
            remarks.append(
                _remark("link", f"the link shows {shown[1]} and leads elsewhere, as fraud does", link.href)
            )
    return remarks


def _same_site(shown: str, href: str) -> bool:
    if href.lower().startswith("mailto:"):
        return True
    try:
        host = urlsplit(href).hostname or ""
    except ValueError:
        return False
    return host.lower().removeprefix("www.") == shown.lower().removeprefix("www.")


def _remark(kind: str, message: str, value: str = "", hint: str = "") -> Problem:
    return Problem("warning", kind, message, value=value[:200], hint=hint)
