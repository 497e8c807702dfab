"""Which mail programs leave something of this letter out?"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from merge.preview.anatomy import Anatomy

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_STYLE = re.compile(r"<style\b[^>]*>(.*?)</style\s*>", re.IGNORECASE | re.DOTALL)
_ATTRIBUTE = re.compile(r"""\sstyle\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_PREHEADER = re.compile(r'<div style="display:none;[^"]*mso-hide:all">')
"""What hides the preheader: put in by us, and meant for programs that know only some of it."""

_PROPERTY = re.compile(r"(?:^|[;{\s\"'])([a-z-]+)\s*:(?!:)")


def left_out(html: str, found: Anatomy) -> dict[str, list[str]]:
    """Name, for each mail program, what it leaves out of this letter; programs that show all are absent.

    The facts are those of caniemail.com as of `as_of`; a program counts when any of its versions in use does.
    """
    html = _PREHEADER.sub("<div>", html)
    css = _COMMENT.sub("", "\n".join([*_STYLE.findall(html), *_attributes(html)])).lower()
    style = _Style(css, re.sub(r"\s*:\s*", ":", css), frozenset(_PROPERTY.findall(css)), found.elements)
    data = _data()
    programs: dict[str, list[str]] = {}
    for kind, word, without in data["features"]:
        if style.has(kind, word):
            for place in without:
                programs.setdefault(data["clients"][place], []).append(_named(kind, word))
    return programs


class _Style(NamedTuple):
    """All styles of a letter: as they are, without blanks around colons, and the properties they set."""

    css: str
    compact: str
    properties: frozenset[str]
    elements: Mapping[str, int]

    def has(self, kind: str, word: str) -> bool:
        """Tell whether a feature is used."""
        match kind:
            case "property":
                return word in self.properties
            case "element":
                return word in self.elements
            case "pseudo":
                return re.search(rf"[\w\])*]:{word}\b", self.css) is not None
            case _:
                return _named(kind, word).removesuffix(")").removeprefix("@media ") in self.compact


def as_of() -> str:
    """Return the day of the facts, as 2025-09-09."""
    return str(_data()["date"])


def _attributes(html: str) -> list[str]:
    return [f"{double or single};" for double, single in _ATTRIBUTE.findall(html)]


def _named(kind: str, word: str) -> str:
    forms = {"value": "{})", "media": "@media ({})", "rule": "@{}", "pseudo": ":{}", "element": "<{}>"}
    return forms.get(kind, "{}").format(word)


@cache
def _data() -> dict[str, Any]:
    text = resources.files("merge.preview").joinpath("clients.json").read_text("utf-8")
    data: dict[str, Any] = json.loads(text)
    return data
