"""What does a person see in a cell?"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from functools import lru_cache

BUILT_IN = {
    1: "0",
    2: "0.00",
    3: "#,##0",
    4: "#,##0.00",
    5: '"$"#,##0;("$"#,##0)',
    6: '"$"#,##0;("$"#,##0)',
    7: '"$"#,##0.00;("$"#,##0.00)',
    8: '"$"#,##0.00;("$"#,##0.00)',
    9: "0%",
    10: "0.00%",
    11: "0.00E+00",
    12: "# ?/?",
    13: "# ??/??",
    37: "#,##0;(#,##0)",
    38: "#,##0;(#,##0)",
    39: "#,##0.00;(#,##0.00)",
    40: "#,##0.00;(#,##0.00)",
    41: '_(* #,##0_);_(* (#,##0);_(* "-"_);_(@_)',
    42: '_("$"* #,##0_);_("$"* (#,##0);_("$"* "-"_);_(@_)',
    43: '_(* #,##0.00_);_(* (#,##0.00);_(* "-"??_);_(@_)',
    44: '_("$"* #,##0.00_);_("$"* (#,##0.00);_("$"* "-"??_);_(@_)',
    48: "##0.0E+0",
}
"""The number formats that a workbook may use without spelling them out (ECMA-376-1, 18.8.30)."""

SIGNIFICANT = 15
"""How many digits of a number spreadsheets keep."""

_PRECISE = 1e10
"""Below, a float and the number of 15 digits that it stands for differ by less than a thousandth."""

_COMMA_AND_POINT = (
    0x403,
    0x406,
    0x407,
    0x408,
    0x40A,
    0xC0A,
    0x410,
    0x413,
    0x416,
    0x41A,
    0x41F,
    0x421,
    0x424,
    0x42A,
)
_COMMA_AND_BLANK = (
    0x402,
    0x405,
    0x40B,
    0x40C,
    0x40E,
    0x414,
    0x415,
    0x419,
    0x41B,
    0x41D,
    0x422,
    0x425,
    0x816,
    0x80C,
)
_SEPARATORS = {
    **dict.fromkeys(_COMMA_AND_POINT, (",", ".")),
    **dict.fromkeys(_COMMA_AND_BLANK, (",", "\u00a0")),
    **dict.fromkeys((0x807, 0x1007), (".", "\N{RIGHT SINGLE QUOTATION MARK}")),
}
"""Decimal and thousands separators by Windows language number, where they are not point and comma."""

_TOKEN = re.compile(
    r"""
      "(?P<quoted>[^"]*)"?
    | \\(?P<escaped>.)
    | _(?P<space>.)
    | \*(?P<fill>.)
    | \[\$(?P<symbol>[^\]-]*)(?:-(?P<locale>[0-9A-Fa-f]+))?\]
    | \[(?P<condition>[<>=]+-?[0-9.]+)\]
    | \[(?P<colour>black|blue|cyan|green|magenta|red|white|yellow|colou?r\s*[0-9]+)\]
    | (?P<general>general)
    | (?P<exponent>e[+-])
    | (?P<digit>[0#?])
    | (?P<mark>[.,%])
    | (?P<slash>/)
    | (?P<literal>[^A-Za-z\[\]@/"\\])
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SECTION = re.compile(r'(?:"[^"]*"?|\\.|\[[^\]]*\]|[^;"\\\[])*')


@dataclass(frozen=True, slots=True)
class _Section:
    """One of the up to four parts of a number format; `tokens` are (kind, text)."""

    tokens: tuple[tuple[str, str], ...]
    condition: str
    decimal: str
    thousands: str

    def digits(self) -> int:
        return sum(kind == "digit" for kind, _ in self.tokens)


def plain_number(value: float) -> str:
    """Return a number as one would type it: 42, 1.5, 1000000000000000; at most 15 significant digits."""
    text = str(value) if isinstance(value, int) else f"{value:.{SIGNIFICANT}g}"
    if "e" not in text and value:
        return text
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e21:  # noqa: PLR2004 - beyond, only an exponent is readable
        return str(int(value))
    number = Decimal(f"{value:.{SIGNIFICANT}g}")
    return f"{number:f}" if -10 < number.adjusted() < 21 else f"{number:E}"  # noqa: PLR2004 - as Excel


def moment(value: dt.datetime | dt.date | dt.time | dt.timedelta) -> str:
    """Return a date, a time or a duration: 2025-03-04, 2025-03-04 14:30, 09:05, 30:00."""
    if isinstance(value, dt.timedelta):
        seconds = round(value.total_seconds())
        sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
        hours, rest = divmod(seconds, 3600)
        return f"{sign}{hours:02}:{rest // 60:02}" + (f":{rest % 60:02}" if rest % 60 else "")
    if isinstance(value, dt.time):
        second = value.second + round(value.microsecond / 1e6)
        started = dt.datetime(2000, 1, 1, value.hour, value.minute)  # noqa: DTZ001 - a wall clock has no zone
        value = (started + dt.timedelta(seconds=second)).time()
        return value.strftime("%H:%M:%S" if value.second else "%H:%M")
    if isinstance(value, dt.datetime):
        if value.microsecond:
            value = value.replace(microsecond=0) + dt.timedelta(seconds=round(value.microsecond / 1e6))
        if value.hour or value.minute or value.second or value.tzinfo:
            return value.isoformat(" ", "seconds" if value.second else "minutes")
        return value.date().isoformat()
    return value.isoformat()


def formatted(value: float, code: str) -> str | None:
    """Return a number as a cell with that number format shows it; None where we don't know how.

    Separators are point and comma, unless the format names a language that uses others.
    """
    simple = _simple(code)
    if simple and value >= 0 and value < 1e15:  # noqa: PLR2004 - within 15 digits, which need no care
        before, pattern, unit, scale, hundredfold, after = simple
        last_places = value * scale
        if last_places < _PRECISE and not 0.499 < last_places % 1 < 0.501:  # noqa: PLR2004 - far from the middle
            return f"{before}{value * 100 if hundredfold else value:{pattern}}{after}"
        number = Decimal(f"{value:.{SIGNIFICANT}g}")
        if hundredfold:
            number *= 100
        return f"{before}{number.quantize(unit, ROUND_HALF_UP):{pattern}}{after}"
    sections = _sections(code)
    if sections is None or not math.isfinite(value):
        return None
    chosen = _choose(sections, value)
    if chosen is None:
        return None
    section, magnitude, sign = chosen
    text = _fill(section, Decimal(f"{magnitude:.{SIGNIFICANT}g}"))
    return None if text is None else sign + text.strip(" ")


@lru_cache(maxsize=512)
def _simple(code: str) -> tuple[str, str, Decimal, float, bool, str] | None:
    """Return the everyday formats (00000, 0.0%, #,##0.00 "€") in a form that is fast to fill, else None.

    The form: the text before, the format specification of the digits, the unit to round to, how many such
    units make one, whether per cent, the text after. It gives what `_fill` would, for numbers that are not
    negative.
    """
    sections = _sections(code)
    if not sections or any(section.condition for section in sections) or len(sections) > 2:  # noqa: PLR2004 - plus, minus
        return None
    section = sections[0]
    if any(kind == "slash" for kind, _ in section.tokens):
        return None
    text = "".join(text if kind in {"digit", "mark"} else "\0" for kind, text in section.tokens)
    match = re.fullmatch(r"\0*(?:(#,##0)|(0+))(?:\.(0+))?(%?)\0*", text)
    if not match or (section.decimal, section.thousands) != (".", ","):
        return None
    places = len(match[3] or "")
    width = len(match[2] or "") + (places + 1 if places else 0)
    before = "".join(text for _, text in section.tokens[: text.find("#" if match[1] else "0")])
    after = "".join(
        text for _, text in section.tokens[match.end(3) if match[3] else match.end(1 if match[1] else 2) :]
    )
    pattern = f",.{places}f" if match[1] else f"0{width}.{places}f"
    unit, scale = Decimal(1).scaleb(-places), 10.0 ** (places + 2 * len(match[4]))
    return before.lstrip(" "), pattern, unit, scale, bool(match[4]), after.rstrip(" ")


@lru_cache(maxsize=512)
def _sections(code: str) -> tuple[_Section, ...] | None:
    """Return the parts of a format for numbers; None for dates and what is unknown."""
    parts, position = [], 0
    while position <= len(code):
        match = _SECTION.match(code, position)
        if match is None or (match.end() < len(code) and code[match.end()] != ";"):
            return None
        parts.append(match[0])
        position = match.end() + 1
    sections = [_parsed(part) for part in parts[:3]]
    return None if None in sections else tuple(section for section in sections if section)


def _parsed(part: str) -> _Section | None:
    tokens: list[tuple[str, str]] = []
    condition, decimal, thousands = "", ".", ","
    position = 0
    while position < len(part):
        match = _TOKEN.match(part, position)
        if match is None:
            return None
        position = match.end()
        kind = str(match.lastgroup)
        if kind == "locale":
            decimal, thousands = _SEPARATORS.get(int(match["locale"], 16) & 0xFFFF, (decimal, thousands))
        if kind in {"symbol", "locale"}:
            tokens.append(("literal", match["symbol"]))
        elif kind in {"quoted", "escaped", "literal"}:
            tokens.append(("literal", match[kind]))
        elif kind == "space":
            tokens.append(("literal", " "))
        elif kind == "condition":
            condition = match[kind]
        elif kind not in {"fill", "colour"}:
            tokens.append((kind, match[kind]))
    return _Section(tuple(tokens), condition, decimal, thousands)


def _choose(sections: tuple[_Section, ...], value: float) -> tuple[_Section, float, str] | None:
    """Return the section for a value, the value that it shows, and the sign before it."""
    minus = "-" if value < 0 else ""
    if any(section.condition for section in sections):
        if value < 0:
            # Where a section is not for all negative numbers and no others, programs differ about the sign.
            place = next((n for n, section in enumerate(sections) if _holds(section.condition, value)), None)
            if place is None or not _for_negatives(sections, place):
                return None
            return sections[place], -value, ""
        chosen = next((section for section in sections if _holds(section.condition, value)), None)
        return None if chosen is None else (chosen, value, "")
    if len(sections) > 1 and value < 0:
        return sections[1], -value, ""
    if len(sections) > 2 and value == 0:  # noqa: PLR2004 - the third section is for zero
        return sections[2], value, ""
    return sections[0], abs(value), minus


def _for_negatives(sections: tuple[_Section, ...], place: int) -> bool:
    """Whether a section shows the negative numbers, with a sign of its own if any."""
    others = [section.condition for section in sections[:place]]
    condition = sections[place].condition
    return (condition == "<0" and others in ([], [">0"])) or (not condition and others in ([">0"], [">=0"]))


def _holds(condition: str, value: float) -> bool:
    match = re.fullmatch(r"(<=|>=|<>|<|>|=)(-?[0-9.]+)", condition)
    if not match:
        return not condition
    limit = float(match[2])
    operator = match[1]
    return (
        (operator == "<>" and value != limit)
        or ("=" in operator and value == limit)
        or (operator[0] == "<" and operator != "<>" and value < limit)
        or (operator[0] == ">" and value > limit)
    )


def _fill(section: _Section, number: Decimal) -> str | None:
    """Put the digits of a number that is not negative into the places of a section."""
    kinds = [kind for kind, _ in section.tokens]
    if "general" in kinds:
        return "".join(plain_number(float(number)) if k == "general" else t for k, t in section.tokens)
    if not section.digits():
        return "".join(text for kind, text in section.tokens if kind == "literal" or text == "%")
    if "exponent" in kinds:
        return _fill_scientific(section, number)
    if "slash" in kinds:
        return _fill_fraction(section, number)
    last_digit = max(place for place, kind in enumerate(kinds) if kind == "digit")
    point = next((place for place, token in enumerate(section.tokens) if token == ("mark", ".")), len(kinds))
    last_whole = max((place for place in range(point) if kinds[place] == "digit"), default=-1)
    commas = [place for place, token in enumerate(section.tokens) if token == ("mark", ",")]
    first_digit = kinds.index("digit")
    grouped = any(first_digit < place < last_whole for place in commas)
    scale = sum(last_whole < place < point for place in commas) + sum(
        place > last_digit > point for place in commas
    )
    number = number * 100 ** sum(token == ("mark", "%") for token in section.tokens) / 1000**scale
    places = sum(kind == "digit" for kind in kinds[point:])
    rounded = number.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP) if _fits(number, places) else number
    whole, _, fraction = f"{rounded:f}".partition(".")
    before = _whole(section, point, whole.lstrip("0"), grouped=grouped)
    return before + "".join(_fraction(section, point, fraction))


def _fill_fraction(section: _Section, number: Decimal) -> str | None:
    """Show a whole number and a fraction, 1 1/2, without the blanks that line them up in a column."""
    tokens = section.tokens
    slash = next(place for place, (kind, _) in enumerate(tokens) if kind == "slash")
    first = slash
    while first and tokens[first - 1][0] == "digit":
        first -= 1
    end = slash + 1
    while end < len(tokens) and (tokens[end][0] == "digit" or tokens[end][1].isdecimal()):
        end += 1
    before, below, after = tokens[:first], "".join(text for _, text in tokens[slash + 1 : end]), tokens[end:]
    odd = [text for kind, text in (*before, *after) if kind not in {"digit", "literal"} and text != ","]
    if first == slash or not below or odd or any(kind == "digit" for kind, _ in after):
        return None
    mixed = any(kind == "digit" for kind, _ in before)
    whole, part = divmod(Fraction(number), 1) if mixed else (0, Fraction(number))
    if below.strip("0#?"):
        if not below.isdecimal() or (part * int(below) * 2) % 2 == 1:
            return None  # programs differ about which of two equally near fractions it is
        top, bottom = round(part * int(below)), int(below)
    else:
        near = part.limit_denominator(10 ** len(below) - 1)
        top, bottom = near.numerator, near.denominator
    if mixed and top == bottom:
        whole, top = whole + 1, 0
    shown = _fill(_Section(before, "", section.decimal, section.thousands), Decimal(whole)) if before else ""
    if shown is None:
        return None
    if not whole and not any(character.isdecimal() for character in shown):
        shown = shown.rstrip(" ") + "0" * (mixed and not top)
    fraction = f"{top}/{bottom}" if top or not mixed else ""
    shown = shown + fraction if fraction else shown.rstrip(" ")
    return re.sub(" {2,}", " ", shown + "".join(text for _, text in after))


def _fits(number: Decimal, places: int) -> bool:
    """Whether quantizing stays within the precision of the decimal context."""
    return number.adjusted() + places < 27  # noqa: PLR2004 - the default context has 28 digits


def _whole(section: _Section, point: int, digits: str, *, grouped: bool) -> str:
    """Fill the places before the decimal point, from the right; the first takes what is left."""
    out: list[str] = []
    left = sum(kind == "digit" for kind, _ in section.tokens[:point])
    written = 0

    def put(digit: str) -> None:
        nonlocal written
        if grouped and written and written % 3 == 0:
            out.append(section.thousands)
        out.append(digit)
        written += 1

    for kind, text in reversed(section.tokens[:point]):
        if kind != "digit":
            out.append(text if kind == "literal" or text == "%" else "")
            continue
        left -= 1
        if digits:
            put(digits[-1])
            digits = digits[:-1]
        elif text in "0?":
            put("0" if text == "0" else " ")
        while not left and digits:
            put(digits[-1])
            digits = digits[:-1]
    return "".join(reversed(out))


def _fraction(section: _Section, point: int, digits: str) -> Iterator[str]:
    """Fill the places after the decimal point; "#" shows no zero at the end."""
    kept = len(digits)
    optional = [text for kind, text in section.tokens[point:] if kind == "digit"]
    while kept and digits[kept - 1] == "0" and optional[kept - 1] != "0":
        kept -= 1
    place = 0
    for kind, text in section.tokens[point:]:
        if kind == "digit":
            yield digits[place] if place < kept else " " * (text == "?")
            place += 1
        elif text == "." and kind == "mark":
            yield section.decimal
        elif kind == "literal" or text == "%":
            yield text


def _fill_scientific(section: _Section, number: Decimal) -> str | None:
    """Show a mantissa and an exponent: 1.23E+05."""
    at = next(place for place, (kind, _) in enumerate(section.tokens) if kind == "exponent")
    mantissa, exponent_places = section.tokens[:at], section.tokens[at + 1 :]
    if any(kind != "digit" and text not in {".", " "} for kind, text in (*mantissa, *exponent_places)):
        return None
    point = next((place for place, (_, text) in enumerate(mantissa) if text == "."), len(mantissa))
    step = sum(kind == "digit" for kind, _ in mantissa[:point]) or 1
    places = sum(kind == "digit" for kind, _ in mantissa[point:])
    power = number.adjusted() // step * step if number else 0
    rounded = number.scaleb(-power).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    if rounded >= 10**step:
        power += step
        rounded = number.scaleb(-power).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    shown = _fill(_Section(mantissa, "", section.decimal, section.thousands), rounded)
    sign = "-" if power < 0 else "+" if section.tokens[at][1].endswith("+") else ""
    width = sum(kind == "digit" for kind, _ in exponent_places)
    return f"{shown}E{sign}{abs(power):0{width}}"
