"""How does the letter look, as HTML and as plain text?

Markdown, MJML and CSS are slow, but most rows share one pattern: a body whose values are still tokens. All
slow work is done once for each pattern, and the values are put in afterwards, escaped. Where a value could
change what a stylesheet or a parser makes of its surroundings, the row is set by itself.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from html import escape, unescape
from importlib import import_module
from operator import itemgetter
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from urllib.parse import unquote

from merge.errors import LetterError
from merge.model import Woven, quick

if TYPE_CHECKING:
    from css_inline import CSSInliner
    from markdown_it import MarkdownIt

_KEPT = 64
_woven = quick(Woven)
_PADDING = 20
"""How often nothing is written after a preheader, so that no inbox shows the letter's first words there."""
_STYLED = re.compile(r"<style\b", re.IGNORECASE)
_DOCUMENT = re.compile(r"<(?:html|body|!doctype)\b", re.IGNORECASE)
_BODY = re.compile(r"<body\b[^>]*>", re.IGNORECASE)
_IMAGE = re.compile(
    r"""(<(?:img|input)\b(?:[^<>"']|"[^"]*"|'[^']*')*?\ssrc\s*=\s*"""
    r"""|<(?:table|td|body|div)\b(?:[^<>"']|"[^"]*"|'[^']*')*?\sbackground\s*=\s*)"""
    r"""(?:(["'])(.*?)\2|([^\s"'>]+))""",
    re.IGNORECASE | re.DOTALL,
)
_ELSEWHERE = re.compile(r"(?:[a-z][a-z0-9+.-]*:|//|#|$)", re.IGNORECASE)
_SAME_TWICE = re.compile(r"(\S+) \((?:mailto:)?\1/?\)")
_MANY_BREAKS = re.compile(r"\n{3,}")
_SHEET = re.compile(r"<(style|script)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
_PICTURES = frozenset({"src", "background"})
_QUIET = frozenset({"href", "src", "alt", "title", "aria-label", "background"})
_TAG = re.compile(r"<(/?[a-zA-Z][^\s>/]*)((?:[^>\"']++|\"[^\"]*\"|'[^']*')*+)>")
_ATTRIBUTE = re.compile(r"([^\s=\"'>/]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
_LOOKS_AT_DATA = re.compile(r"\[|:empty|:has|:contains|:not", re.IGNORECASE)
_SCRIPT = re.compile(r"(?:javascript|vbscript|data|file):", re.IGNORECASE)
_SPECIAL = re.compile("[&<>\"'\n]")
_BLANKS = re.compile(r"[\s\x00-\x20]+")
FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
"""Characters that no body can hold: control characters and halves of characters."""

_STYLE = """
body{margin:0;padding:0;background:#ffffff;color:#1c1e21}
.letter{max-width:38em;margin:0 auto;padding:24px 16px;font-size:16px;line-height:1.55;
  font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;overflow-wrap:break-word}
h1{font-size:26px;line-height:1.25;margin:0 0 16px}
h2{font-size:20px;line-height:1.3;margin:28px 0 12px}
h3{font-size:17px;line-height:1.3;margin:24px 0 8px}
p,ul,ol,blockquote,table,pre{margin:0 0 16px}
blockquote{padding:0 0 0 14px;border-left:3px solid #b8bec6;color:#4a4f57}
a{color:#0b57b0}
img{max-width:100%;height:auto;border:0}
table{border-collapse:collapse}
th,td{padding:6px 12px 6px 0;text-align:left;border-bottom:1px solid #d5d9de;vertical-align:top}
pre{padding:12px;background:#f2f4f6;white-space:pre-wrap;font-size:14px}
hr{border:0;border-top:1px solid #d5d9de;margin:24px 0}
@media (prefers-color-scheme:dark){
body,.letter{background:#16181c!important;color:#e8eaed!important}
a{color:#8ab8ff!important}
blockquote{color:#b4bac2!important;border-color:#5a6069!important}
th,td,hr{border-color:#42474f!important}
pre{background:#23262c!important}
}
"""


_Picker = Callable[[Sequence[str]], tuple[str, ...]]
"""Returns some of the values, in the order in which they stand in a text."""


class Body(NamedTuple):
    """A body, set. `images` are the paths that its HTML shows, each with the Content-ID it is shown by.

    `digest` stands for all of it but the values (hexadecimal).
    """

    html: Woven | None
    text: Woven | None
    images: tuple[tuple[str, str], ...]
    digest: str


@dataclass(frozen=True, slots=True)
class _Setting:
    """What a pattern came to: texts between values, and what picks the values that stand there.

    Value 0 is the preheader. `links` are the values that are a link, `built` the links that begin with a
    value and go on after it, with their tokens; `pictures` are the values that begin a picture's path.
    Where `alone`, values stand in places that the slow work looks at, and only these links are of use.
    """

    digest: str
    links: tuple[int, ...] = ()
    built: tuple[str, ...] = ()
    pictures: tuple[int, ...] = ()
    alone: bool = False
    html: tuple[str, ...] = ("",)
    html_values: _Picker = tuple
    text: tuple[str, ...] = ("",)
    text_values: _Picker = tuple
    images: tuple[tuple[str, str], ...] = ()


class Typesetter:
    """Sets the bodies of one letter. `token` is what stands for a value; its group is the value's number."""

    def __init__(
        self,
        kind: Literal["markdown", "html", "text", "mjml"],
        token: re.Pattern[str],
        *,
        hard_breaks: bool = False,
        inline_css: bool = True,
    ) -> None:
        self._kind = kind
        self._token = token
        self._hard_breaks = hard_breaks
        self._inline_css = inline_css
        self._preheader = token.pattern.replace(r"(\d+)", "0")
        self._settings: OrderedDict[tuple[tuple[str, ...], bool, str], _Setting] = OrderedDict()
        self._texts: OrderedDict[tuple[str, ...], _Setting] = OrderedDict()

    def set(
        self,
        pattern: tuple[str, ...],
        values: Sequence[str],
        own_text: tuple[tuple[str, ...], Sequence[str]] | None = None,
        preheader: str = "",
        language: str = "",
    ) -> Body:
        """Set one row. Raises LetterError, also for a value that would make a link run a script."""
        html, text = None, None
        if self._kind == "text":
            own_text = (pattern, values)
            images: tuple[tuple[str, str], ...] = ()
            digest = ""
        else:
            setting = self._setting((pattern, bool(preheader), language))
            digest = setting.digest
            for number in setting.links:
                _refuse_script(values[number - 1])
            for link in setting.built:
                _refuse_script(self._token.sub(lambda token: values[int(token[1]) - 1], link))
            if setting.alone or not all(_ELSEWHERE.match(values[n - 1]) for n in setting.pictures):
                shown = self._escaped(values)
                whole = self._token.sub(lambda token: shown[int(token[1]) - 1], "".join(pattern))
                setting = self._made((whole,), bool(preheader), language)
            html = _woven(setting.html, setting.html_values(self._escaped((preheader, *values))))
            images = setting.images
            if not own_text:
                spaced = setting.text_values((preheader, *values))
                if not "".join(spaced).isprintable():
                    spaced = tuple(map(_spaced, spaced))
                text = _woven(setting.text, spaced)
        if own_text:
            setting = self._text(own_text[0])
            text = _woven(setting.text, setting.text_values(("", *own_text[1])))
            digest += setting.digest
        return Body(html, text, images, digest)

    def _escaped(self, values: Sequence[str]) -> Sequence[str]:
        """Return values as HTML; none of them holds a NUL."""
        together = "\0".join(values)
        if not _SPECIAL.search(together):
            return values
        together = escape(together)
        if self._kind == "markdown":
            together = together.replace("\n", "<br>\n")
        return together.split("\0")

    def _setting(self, key: tuple[tuple[str, ...], bool, str]) -> _Setting:
        setting = self._settings.get(key)
        if setting is None:
            setting = self._settings[key] = self._made(*key)
            if len(self._settings) > _KEPT:
                self._settings.popitem(last=False)
        return setting

    def _text(self, pattern: tuple[str, ...]) -> _Setting:
        setting = self._texts.get(pattern)
        if setting is None:
            whole = "".join(pattern)
            parts, picked = _unwoven(_judged(whole), self._token)
            setting = self._texts[pattern] = _Setting(_hash(whole), text=parts, text_values=picked)
            if len(self._texts) > _KEPT:
                self._texts.popitem(last=False)
        return setting

    def _made(self, pattern: tuple[str, ...], preheader: bool, language: str) -> _Setting:  # noqa: FBT001 - a key
        """Do the slow work."""
        whole = _judged("".join(pattern))
        html = self._as_html(whole, language)
        links, built, pictures, alone = _places(html, self._token)
        digest = _hash(f"{language}\0{whole}")
        if alone:
            return _Setting(digest, links, built, alone=True)
        if self._inline_css and _STYLED.search(html):
            html = _inlined(html)
        text = as_text(html)
        html, images = _with_content_ids(html, self._token)
        if preheader:
            html = _with_preheader(html, self._preheader)
        html_parts, html_values = _unwoven(html, self._token)
        text_parts, text_values = _unwoven(text, self._token)
        return _Setting(
            digest, links, built, pictures, alone, html_parts, html_values, text_parts, text_values, images
        )  # fmt: skip

    def _as_html(self, pattern: str, language: str) -> str:
        if self._kind == "markdown":
            pattern = re.sub(rf"<({self._token.pattern}[^\s<>]*)>", r"[\1](\1)", pattern)
            return document(_markdown(self._hard_breaks).render(pattern), language, _STYLE)
        if self._kind == "mjml":
            return _mjml(pattern)
        return pattern if _DOCUMENT.search(pattern) else document(pattern, language, "")


def document(content: str, language: str, style: str) -> str:
    """Put HTML content into a whole, responsive document."""
    lang = f' lang="{escape(language)}"' if language else ""
    sheet = f"<style>{style}</style>\n" if style else ""
    return (
        f'<!DOCTYPE html>\n<html{lang} dir="auto">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"{sheet}</head>\n<body>\n"
        f'<div class="letter">\n{content.strip()}\n</div>\n</body>\n</html>\n'
    )


def as_text(html: str) -> str:
    """Return what an HTML letter says, as plain text with its links."""
    from resiliparse.extract.html2text import extract_plain_text  # noqa: PLC0415 - not needed to start

    text = extract_plain_text(html, preserve_formatting=True, links=True, alt_texts=True)
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return _MANY_BREAKS.sub("\n\n", _SAME_TWICE.sub(r"\1", text)).strip("\n") + "\n"


def content_id(path: str) -> str:
    """Return the Content-ID by which a picture is shown: the same for the same path."""
    return f"{hashlib.sha256(path.encode()).hexdigest()[:20]}@mergepost"


@cache
def _markdown(hard_breaks: bool) -> MarkdownIt:  # noqa: FBT001 - `cache` asks for positions
    from markdown_it import MarkdownIt  # noqa: PLC0415 - not needed to start

    made = MarkdownIt("commonmark", {"html": True, "breaks": hard_breaks, "xhtmlOut": False})
    return made.enable(["table", "strikethrough"])


def _inlined(html: str) -> str:
    from css_inline import InlineError  # noqa: PLC0415 - not needed to start

    try:
        return _inliner().inline(html)
    except InlineError as error:
        raise LetterError(f"the stylesheet cannot be applied: {error}") from error


@cache
def _inliner() -> CSSInliner:
    from css_inline import CSSInliner  # noqa: PLC0415 - not needed to start

    return CSSInliner(keep_style_tags=True, load_remote_stylesheets=False)


@lru_cache(maxsize=1)
def _mjml_engine() -> Callable[[str], str]:
    try:
        engine = import_module("mjml")
    except ImportError:
        raise LetterError(
            "MJML letters need the extra mjml", hint='install it with: pip install "mergepost[mjml]"'
        ) from None
    found: Callable[[str], str] = engine.mjml2html
    return found


def _mjml(pattern: str) -> str:
    try:
        return _mjml_engine()(pattern)
    except (ValueError, RuntimeError) as error:
        raise LetterError(f"the MJML cannot be read: {error}") from error


def _places(
    html: str, token: re.Pattern[str]
) -> tuple[tuple[int, ...], tuple[str, ...], tuple[int, ...], bool]:
    """List the values that are a link, links that begin with a value, and values that begin a picture's path.

    The last is True if a value stands where a stylesheet or a parser would look at it. Raises LetterError
    for a link that runs a script.
    """
    links: list[int] = []
    built: list[str] = []
    pictures: list[int] = []
    styles = [found[0] for found in _SHEET.finditer(html)]
    alone = any(map(token.search, styles))
    selective = any(map(_LOOKS_AT_DATA.search, styles))
    for tag in _TAG.finditer(html):
        within = 0
        for attribute in _ATTRIBUTE.finditer(tag[2]):
            name, value = attribute[1].lower(), attribute[2] or attribute[3] or attribute[4] or ""
            if name == "href":
                _refuse_script(unescape(value))
            numbers = [int(found[1]) for found in token.finditer(value)]
            if not numbers:
                continue
            quoted = attribute[4] is None
            alone = alone or selective or name not in _QUIET or not quoted
            within += len(numbers)
            if begin := token.match(value.lstrip()):
                if name == "href" and begin[0] != value.strip():
                    built.append(unescape(value))
                else:
                    (links if name == "href" else pictures if name in _PICTURES else []).append(numbers[0])
            elif name in _PICTURES and not _ELSEWHERE.match(value.lstrip()):
                alone = True
        alone = alone or len(token.findall(tag[0])) != within
    return tuple(links), tuple(built), tuple(pictures), alone


def _refuse_script(link: str) -> None:
    if _SCRIPT.match(_BLANKS.sub("", link)):
        raise LetterError(
            f"a link would run a script or open a file: {link[:60]!r}", hint="links begin with https://"
        )


def _with_content_ids(html: str, token: re.Pattern[str]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Point the pictures of the campaign's folder at parts of the message."""
    found: dict[str, str] = {}

    def show(tag: re.Match[str]) -> str:
        written = unescape(tag[3] or tag[4] or "").strip()
        if _ELSEWHERE.match(written) or token.match(written):
            return tag[0]
        path = unquote(written).removeprefix("./")
        found[path] = content_id(path)
        mark = tag[2] or '"'
        return f"{tag[1]}{mark}cid:{found[path]}{mark}"

    return _IMAGE.sub(show, html), tuple(found.items())


def _with_preheader(html: str, token: str) -> str:
    hidden = (
        '<div style="display:none;max-height:0;max-width:0;overflow:hidden;opacity:0;mso-hide:all">'
        f"{token}{'&#847;&zwnj;&nbsp;' * _PADDING}</div>"
    )
    body = _BODY.search(html)
    at = body.end() if body else 0
    return f"{html[:at]}{hidden}{html[at:]}"


def _unwoven(text: str, token: re.Pattern[str]) -> tuple[tuple[str, ...], _Picker]:
    """Cut a text at its tokens; return what stands between them, and what picks their values."""
    pieces = token.split(text)
    return tuple(pieces[::2]), _picker([int(number) for number in pieces[1::2]])


def _picker(numbers: Sequence[int]) -> _Picker:
    if len(numbers) > 1:
        return itemgetter(*numbers)
    return lambda values: tuple([values[number] for number in numbers])


def _judged(text: str) -> str:
    """Return the text. Raises LetterError if it holds what no letter can hold."""
    if found := FORBIDDEN.search(text):
        raise LetterError(f"a control character (U+{ord(found[0]):04X}) cannot stand in a letter")
    return text


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _spaced(value: str) -> str:
    return value if value.isprintable() else "\n".join(" ".join(line.split()) for line in value.split("\n"))
