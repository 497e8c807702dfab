"""What is a letter's HTML made of? Its links, its pictures, its first words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

FIRST_WORDS: Final = 200
"""Characters of a letter's beginning that an inbox may show beside the subject."""

_SILENT = frozenset({"head", "style", "script", "title", "template", "noscript"})
_BREAKING = frozenset(
    {"p", "div", "br", "td", "th", "tr", "table", "li", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "hr"}
)
_EMPTY = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
)
_PADDING = re.compile("[\u034f\u200b-\u200d\u2060\u00ad\ufeff]+")
_LOADING = {
    "img": "src", "input": "src", "video": "src", "audio": "src", "source": "src", "link": "href",
    "iframe": "src", "embed": "src", "object": "data", "body": "background", "table": "background",
    "td": "background",
}  # fmt: skip
_REMOTE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
_REMOTE_STYLE = re.compile(r"url\(\s*['\"]?\s*(?:https?:)?//|@import\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Link:
    """A link: where it leads, and the words or the picture's alt text that one clicks on."""

    href: str
    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture: `alt` is None where there is no such attribute."""

    src: str
    alt: str | None


@dataclass(slots=True)
class Anatomy:
    """What stands in a letter's HTML, in its order.

    `first_words` is what an inbox shows beside the subject, the hidden preheader included. `remote` counts
    what a mail program would fetch from the network. `words` counts the words to read.
    """

    lang: str = ""
    links: list[Link] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    elements: dict[str, int] = field(default_factory=dict)
    first_words: str = ""
    remote: int = 0
    words: int = 0


def anatomy(html: str) -> Anatomy:
    """Take a letter's HTML apart; broken HTML is read as far as it goes."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.finished()


def first_words(text: str) -> str:
    """Return the beginning of a text as one line."""
    return " ".join(_PADDING.sub(" ", text[: FIRST_WORDS * 4]).split())[:FIRST_WORDS]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._found = Anatomy()
        self._silent = 0
        self._pieces: list[str] = []
        self._open: tuple[str, int] | None = None

    def finished(self) -> Anatomy:
        self._end_link()
        text = "".join(self._pieces)
        self._found.first_words = first_words(text)
        self._found.words = len(text.split())
        return self._found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = self._found
        found.elements[tag] = found.elements.get(tag, 0) + 1
        values = {name: value or "" for name, value in attrs}
        if tag in _SILENT:
            self._silent += 1
        if tag in _BREAKING:
            self._pieces.append(" ")
        if tag == "html":
            found.lang = values.get("lang", "").strip()
        elif tag == "a" and "href" in values:
            self._end_link()
            self._open = (values["href"].strip(), len(self._pieces))
        elif tag == "img":
            alt = values.get("alt") if "alt" in values else None
            found.pictures.append(Picture(values.get("src", ""), alt))
            if self._open and alt:
                self._pieces.append(f" {alt} ")
        if _REMOTE.match(values.get(_LOADING.get(tag, ""), "")) or _REMOTE_STYLE.search(
            values.get("style", "")
        ):
            found.remote += 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _EMPTY:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag == "a":
            self._end_link()
        elif tag in _BREAKING:
            self._pieces.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._pieces.append(data)
        else:
            self._found.remote += len(_REMOTE_STYLE.findall(data))

    def _end_link(self) -> None:
        if self._open:
            href, start = self._open
            self._found.links.append(Link(href, " ".join("".join(self._pieces[start:]).split())))
            self._open = None
