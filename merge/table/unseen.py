"""Which characters of a cell can nobody see?"""

from __future__ import annotations

import re

UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xa0\u00ad\u200b\u202a-\u202e\u2060\u2066-\u2069\ud800-\udfff\ufeff]"
)
"""What a person should be told of: control characters, invisible ones, and blanks that do not break."""

REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Those among them that no mail may hold."""

ORDINARY = bytes([*b"\n", *range(0x20, 0x7F), *({*range(0x80, 0x100)} - {0xC2, 0xE1, 0xE2, 0xE3, 0xEF})])
"""Bytes of UTF-8 that belong to nothing unseen, and to no blank but the usual one."""

_SIGNS = {
    0xC2: re.compile(rb"\xc2[\x80-\xa0\xad]"),  # U+0080 to U+00A0, U+00AD
    0xE1: re.compile(rb"\xe1\x9a\x80"),  # U+1680
    0xE2: re.compile(rb"\xe2(?:\x80[\x80-\x8b\xa8-\xaf]|\x81[\x9f-\xa0\xa6-\xa9])"),  # U+2000 to U+2069
    0xE3: re.compile(rb"\xe3\x80\x80"),  # U+3000
    0xEF: re.compile(rb"\xef\xbb\xbf"),  # U+FEFF
}
"""What is unseen, or a blank, among the characters that begin with the other bytes beyond ASCII."""


def may_hide(text: bytes, ordinary: bytes = ORDINARY) -> bool:
    """Whether a text in UTF-8 may hold something unseen, or a blank that is not the usual one.

    Quick, and True once too often rather than once too seldom. `ordinary` are bytes not to be looked at.
    """
    rare = set(text.translate(None, ordinary))
    return not rare <= _SIGNS.keys() or any(_SIGNS[first].search(text) for first in rare)
