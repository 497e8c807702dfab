"""What may a letter do with a value? Dates, numbers, money, names and lists, from the text of a cell."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from importlib import import_module
from types import ModuleType

from merge.errors import LetterError

_DATE_FORMATS = (
    *("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"),
    *("%d.%m.%Y", "%d.%m.%Y %H:%M", "%Y/%m/%d"),
)
_MOST_DIGITS = 30
_AMBIGUOUS = re.compile(r"\s*\d{1,2}[/-]\d{1,2}[/-]\d{2,4}\s*")
_SMALL = frozenset(
    [
        "and",
        "of",
        "the",
        "von",
        "van",
        "der",
        "den",
        "de",
        "da",
        "di",
        "du",
        "del",
        "la",
        "le",
        "y",
        "e",
        "bin",
        "ibn",
        "al",
    ]
)
_LETTERS = r"(?:[^\W\d_][\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff]*)+"
"""Letters, each with the accents that some programs write after it as characters of their own."""
_WORD = re.compile(rf"{_LETTERS}(?:['\u2019]{_LETTERS})*")


def split(value: str, separator: str = ",") -> list[str]:
    """Cut a cell into its parts, without blanks around them and without empty ones: `tags|split(";")`."""
    return [part for part in map(str.strip, str(value).split(separator)) if part]


def title(value: str) -> str:
    """Begin each word with a capital, as names do: "ada o'neill" -> "Ada O'Neill".

    Little words inside a name stay little: "ludwig van b." -> "Ludwig van B.".

    Words that have capitals inside already ("McDonald", "IBM") stay as they are, unless all of the text is
    in capitals.
    """
    text = str(value)
    shouted = text.isupper() and " " in text.strip()

    def one(word: re.Match[str]) -> str:
        part = word[0].lower() if shouted else word[0]
        if part != part.lower():
            return part
        if word.start() > 0 and part in _SMALL:
            return part
        if (at := max(part.find("'"), part.find("\u2019"))) == 1 and len(part) > at + 2:
            return part[0].title() + part[at] + part[at + 1].title() + part[at + 2 :]
        return part[0].title() + part[1:]

    return _WORD.sub(one, text)


def moment(value: object, pattern: str = "long", locale: str = "en") -> str:
    """Write a date: `{{ due|date("long", "de") }}` -> "4. März 2025".

    `value` is "2025-03-04", "2025-03-04 14:30" or "04.03.2025". `pattern` is short, medium, long or full
    (which need the extra `i18n` for any language but English), or a strftime pattern with "%". Raises
    LetterError for a text that is no date, or that could be two.
    """
    parsed = value if isinstance(value, (date, datetime)) else _parsed_date(str(value))
    if "%" in pattern:
        return parsed.strftime(pattern)
    if pattern not in ("short", "medium", "long", "full"):
        return str(_babel("date").format_date(parsed, pattern, locale=_locale("date", locale)))
    if locale == "en" and pattern == "long":
        return f"{parsed.day} {parsed:%B} {parsed.year}"
    return str(_babel("date").format_date(parsed, pattern, locale=_locale("date", locale)))


def number(value: object, digits: int | None = None, locale: str = "en") -> str:
    """Write a number with its separators: `{{ total|number(2) }}` -> "1,234.50". Raises LetterError."""
    parsed = _parsed_number(value)
    if locale != "en":
        pattern = "#,##0.###" if digits is None else "#,##0" + ("." + "0" * digits if digits else "")
        return str(_babel("number").format_decimal(parsed, pattern, locale=_locale("number", locale)))
    return f"{parsed:,}" if digits is None else f"{parsed:,.{min(digits, _MOST_DIGITS)}f}"


def currency(value: object, code: str, locale: str = "en_US") -> str:
    """Write an amount of money: `{{ fee|currency("EUR", "de") }}` -> "1.234,50 €"; needs the extra `i18n`."""
    known = _locale("currency", locale)
    return str(_babel("currency").format_currency(_parsed_number(value), code, locale=known))


FILTERS: Mapping[str, Callable[..., object]] = {
    "split": split,
    "title": title,
    "date": moment,
    "number": number,
    "currency": currency,
}


def _parsed_date(text: str) -> datetime:
    for pattern in _DATE_FORMATS:
        try:
            return datetime.strptime(text.strip(), pattern)  # noqa: DTZ007 - a date in a list has no zone
        except ValueError:
            continue
    if _AMBIGUOUS.fullmatch(text):
        raise LetterError(f"{text!r} could be two dates", hint="write dates in the list as 2025-03-04")
    raise LetterError(f"{text!r} is no date", hint="write dates in the list as 2025-03-04")


def _parsed_number(value: object) -> Decimal:
    try:
        parsed = Decimal(str(value).strip().replace(" ", "").replace("\u00a0", ""))
    except InvalidOperation:
        raise LetterError(
            f"{str(value)!r} is no number", hint="write numbers in the list as 1234.5"
        ) from None
    if not parsed.is_finite() or abs(parsed.adjusted()) > _MOST_DIGITS:
        raise LetterError(f"{str(value)!r} is no number for a letter")
    return parsed


def _babel(filter_name: str) -> ModuleType:
    try:
        return import_module("babel.dates" if filter_name == "date" else "babel.numbers")
    except ImportError:
        raise LetterError(
            f"the filter {filter_name} needs Babel for this", hint='install it: pip install "mergepost[i18n]"'
        ) from None


@lru_cache(maxsize=64)
def _locale(filter_name: str, name: str) -> object:
    """Return what Babel has for a language such as "de", "pt_BR" or "pt-BR". Raises LetterError."""
    _babel(filter_name)
    core = import_module("babel.core")
    try:
        return core.Locale.parse(name.replace("-", "_"))
    except (ValueError, core.UnknownLocaleError):
        raise LetterError(
            f"{name!r} is no language that {filter_name} knows", hint='write it as "de", "en_GB" or "pt_BR"'
        ) from None
