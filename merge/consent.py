"""Has this person said yes?"""

from __future__ import annotations

import unicodedata

CONSENT_COLUMN = "consent"
"""A column with this name, in any case, holds consent without being asked to."""

_SIGNS = "- – — / 0 0.0 0,0 ☐ ✗ ✘ ❌ ✕ ✖ ?"  # noqa: RUF001 - as typed
_WORDS = """
    n no not never f false off unsubscribed opt-out declined unknown pending none null n/a n.a. na
    nein falsch aus nie abgemeldet non faux falso não nao nee nej nei ei ikke inte nem ne nu fals fałsz
    hayır hayir yanlış нет не ні ложь όχι ψευδές لا לא いいえ 不 否 아니요 아니오
"""  # noqa: RUF001 - as typed

NO = frozenset((*_SIGNS.split(), *_WORDS.split()))
"""What a cell holds that says no, in small letters. Everything else says yes, but for an empty cell."""


def consents(text: str) -> bool:
    """Whether the text of a cell is a yes: it is neither empty nor a plain no."""
    said = unicodedata.normalize("NFKC", text).strip().casefold().rstrip(".!")
    return bool(said) and said not in NO and text.strip() not in NO
