"""What is a column called in a letter?"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import NamedTuple

RESERVED = frozenset(
    {
        # the words of a Jinja2 expression
        *("and", "elif", "else", "false", "for", "if", "in", "is", "none", "not", "or", "recursive", "true"),
        # what a template is given by Jinja2
        *("caller", "cycler", "dict", "joiner", "kwargs", "lipsum", "loop", "namespace", "range", "self"),
        *("super", "varargs"),
        # what a letter is given by us, and what a mapping calls its own
        *("row", "rows", "items", "keys", "values", "get"),
    },
)
"""Short names that mean something else in a letter; such a column is reached by `row["..."]` alone."""

UNSUBSCRIBE = "unsubscribe_url"
"""The link with which a person leaves the list: given to a letter where campaign.toml has [unsubscribe]."""

_UNFOLDABLE = {
    ord("ß"): "ss",
    ord("æ"): "ae",
    ord("œ"): "oe",
    ord("ø"): "o",
    ord("ð"): "d",
    ord("đ"): "d",
    ord("þ"): "th",
    ord("ł"): "l",
    ord("ħ"): "h",
    ord("ŋ"): "n",
    ord("\N{LATIN SMALL LETTER DOTLESS I}"): "i",
}


class ShortNames(NamedTuple):
    """What the names of a list's columns come to in a letter.

    `columns` maps each usable short name to the column's name. `clashes` maps each short name that
    several columns share to all of them, in their order; none of these is usable.
    """

    columns: Mapping[str, str]
    clashes: Mapping[str, tuple[str, ...]]


def short_name(name: str) -> str:
    """Return the identifier for a column: "First Name" -> "first_name", "Prénom" -> "prenom".

    Case and the accents of Latin letters are folded, runs of anything but letters and digits become one "_",
    a leading digit gets a "_" before it. Letters of other scripts stay: their marks are no ornaments.
    Empty when the name holds neither letter nor digit. Giving a short name returns it unchanged.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    kept: list[str] = []
    latin = False
    for character in unicodedata.normalize("NFD", folded):
        if unicodedata.category(character) == "Mn":
            if latin:
                continue
        else:
            latin = character.isalpha() and unicodedata.name(character, "").startswith("LATIN ")
        kept.append(character if f"a{character}".isidentifier() else " ")
    letters = unicodedata.normalize("NFKC", "".join(kept).translate(_UNFOLDABLE))
    short = "_".join("".join(c if f"a{c}".isidentifier() and c != "_" else " " for c in letters).split())
    return short if not short or short.isidentifier() else f"_{short}"


def resolve(names: Iterable[str]) -> ShortNames:
    """Give each column its short name; leave out reserved names, and those that columns share."""
    by_short: dict[str, list[str]] = {}
    for name in names:
        if short := short_name(name):
            by_short.setdefault(short, []).append(name)
    single = {short: same[0] for short, same in by_short.items() if len(same) == 1}
    return ShortNames(
        {short: name for short, name in single.items() if short not in RESERVED},
        {short: tuple(same) for short, same in by_short.items() if len(same) > 1},
    )
