"""Is it the address's own fault, for good?

The table is told in docs/bounces.md, with its sources: RFC 3463, RFC 7504, RFC 7505, the registry of
enhanced status codes at IANA, and what Google, Microsoft and Yahoo say of their own codes.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from merge.bounces.phrases import phrases

Kind = Literal["hard", "soft"]

HARD: Final = frozenset(
    {
        "5.1.0",  # the address, nothing closer
        "5.1.1",  # no such mailbox
        "5.1.2",  # no such system
        "5.1.3",  # not an address
        "5.1.6",  # moved, no forwarding address
        "5.1.10",  # the domain takes no mail: null MX (RFC 7505)
        "5.2.1",  # the mailbox is switched off
        "5.4.4",  # the domain does not exist (Postfix and others)
        "5.4.310",  # the domain does not exist (Exchange Online)
    }
)
"""Enhanced status codes (RFC 3463) that say: nothing will ever arrive at this address."""

_GENERAL: Final = frozenset({"5.0.0", "5.5.0", "5.1.0", "5.4.1", "5.3.0", ""})
"""Codes that leave it to the words what is meant."""

_ENHANCED = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.]*\d)")
_REPLY = re.compile(r"(?<![\d.])(?:smtp;?\s*)?([245]\d\d)(?=[ \-#:]|$)", re.IGNORECASE)


def kind_of(code: str, words: str) -> Kind:
    """Say whether a failure is the address's own and for good (hard), or anything else (soft).

    `code` is an enhanced status code, or empty; `words` are those of the server. In doubt it is soft: who is
    suppressed wrongly misses letters, who is not suppressed gets one more that comes back.
    """
    if code not in HARD | _GENERAL:
        return "soft"
    if code in HARD - _GENERAL:
        return "hard"
    if phrases("not_the_address").search(words) or (not code and _first_digit(words) == "4"):
        return "soft"
    return "hard" if code == "5.1.0" or phrases("nobody").search(words) else "soft"


def closest(status: str, words: str) -> str:
    """Return the enhanced status code that says most: the one of the status, or a closer one in the words.

    A gateway often reports 5.0.0 and quotes the server's own 5.1.1. Codes of another class do not count.
    """
    told = _ENHANCED.search(status)
    code = told[0] if told else ""
    if code and not code.endswith(".0.0"):
        return code
    for found in _ENHANCED.finditer(words):
        if (not code or found[1] == code[0]) and not found[0].endswith(".0.0"):
            return found[0]
    return code


def _first_digit(words: str) -> str:
    found = _REPLY.search(words)
    return found[1][0] if found else ""
