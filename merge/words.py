"""How is a number, a moment or a foreign text put into words that are safe to show?"""

from __future__ import annotations

import math
import unicodedata
from datetime import datetime


def plain(text: str, limit: int = 200) -> str:
    r"""Return text that no terminal obeys: controls, bidi marks and surrogates shown as \x1b or \u202e."""
    shown = "".join(character if _harmless(character) else _escaped(character) for character in text[:limit])
    return shown + "…" if len(text) > limit else shown


_JOINERS = "\u200c\u200d"
"""Zero-width, but part of how Persian, Hindi and emoji are written."""


_OBEYED = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
"""The Unicode categories of characters that do something instead of being seen."""


def _harmless(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character) not in (
        "Cc",
        "Cf",
        "Cs",
        "Co",
        "Zl",
        "Zp",
    )


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:  # noqa: PLR2004 - the last code that two digits show
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004 - likewise four


def count(number: int, noun: str, plural: str = "") -> str:
    """Return "1 row", "1,204 rows"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def width(text: str) -> int:
    """Return how many terminal cells a text takes: two for a CJK character or an emoji."""
    from rich.cells import cell_len  # noqa: PLC0415 - only screens with columns need it

    return cell_len(text)


def column(text: str, cells: int) -> str:
    """Return a text in exactly so many cells: cut with an ellipsis, or filled with blanks."""
    if width(text) > cells:
        while width(text) > cells - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (cells - width(text))


def duration(seconds: float) -> str:
    """Return a length of time as people say it: "40 s", "8 min", "2 h 10 min", "3 days"."""
    whole = round(seconds)
    if whole < 90:  # noqa: PLR2004 - below a minute and a half, seconds are clearer
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 90:  # noqa: PLR2004 - likewise for minutes
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:  # noqa: PLR2004 - likewise for hours
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{round(hours / 24)} days"


def moment(epoch: float, now: float) -> str:
    """Return a point in time in the machine's own zone: "14:05", or "Thu 26 Nov 14:05" on another day."""
    at, today = (datetime.fromtimestamp(seconds).astimezone() for seconds in (epoch, now))
    return f"{at:%H:%M}" if at.date() == today.date() else f"{at:%a} {at.day} {at:%b} {at:%H:%M}"


def start(epoch: float, now: float) -> str:
    """Return the first whole minute that is not before a point in time: when that has surely come."""
    return moment(math.ceil(epoch / 60) * 60, now)


def size(octets: int) -> str:
    """Return a size in the units of mail programs: "820 bytes", "12.4 kB", "1.9 MB"."""
    if octets < 1_000:  # noqa: PLR2004 - a kilobyte
        return f"{octets} bytes"
    if octets < 1_000_000:  # noqa: PLR2004 - a megabyte
        return f"{octets / 1_000:.1f} kB"
    return f"{octets / 1_000_000:.1f} MB"
