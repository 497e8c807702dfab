"""Has this person said yes?"""

from __future__ import annotations

import unicodedata

CONSENT_COLUMN = "consent"
"""A column with this name, in any case, holds consent without being asked to."""

NO_CONSENT = "no consent"
"""Why a row is left out whose person has not said yes."""

_SIGNS = "- – — / 0 0.0 0,0 ☐ ✗ ✘ ❌ ✕ ✖ ?"  # noqa: RUF001 - as typed
_WORDS = """
    n no not never f false off unsubscribed opt-out declined unknown pending none null n/a n.a. na
    nein falsch aus nie abgemeldet non faux falso não nao nee nej nei ei ikke inte nem ne nu fals fałsz
    hayır hayir yanlış нет не ні ложь όχι ψευδές لا לא いいえ 不 否 아니요 아니오
"""  # noqa: RUF001 - as typed


def consents(text: str) -> bool:
    """Whether the text of a cell is a yes: it is neither empty nor a plain no."""
    said = _plain(text)
    return bool(said) and said not in NO


def _plain(text: str) -> str:
    """Return a word without what differs between two ways of writing it."""
    plain = unicodedata.normalize("NFKC", text).strip().casefold().rstrip(".!")
    # The Turkish i without a dot becomes one with a dot when it is written large and small again.
    return plain.replace("\N{LATIN SMALL LETTER DOTLESS I}", "i").replace("\N{COMBINING DOT ABOVE}", "")


NO = frozenset(map(_plain, (*_SIGNS.split(), *_WORDS.split())))
"""What a cell holds that says no, as `_plain` has it. Everything else says yes, but for an empty cell."""
