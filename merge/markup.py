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
from html import unescape
from typing import Any, NamedTuple

from markupsafe import escape

from merge.errors import LetterError

_KEPT = 64
_STYLED = re.compile(r"<style\b", re.IGNORECASE)
_DOCUMENT = re.compile(r"<(?:html|body|!doctype)\b", re.IGNORECASE)
_BODY = re.compile(r"<body\b[^>]*>", re.IGNORECASE)
_IMAGE = re.compile(
    r"""(<(?:img|input)\b[^>]*?\ssrc\s*=\s*|<(?:table|td|body|div)\b[^>]*?\sbackground\s*=\s*)(["'])(.*?)\2""",
    re.IGNORECASE | re.DOTALL,
)
_ELSEWHERE = re.compile(r"(?:[a-z][a-z0-9+.-]*:|//|#|$)", re.IGNORECASE)
_SAME_TWICE = re.compile(r"(\S+) \((?:mailto:)?\1/?\)")
_MANY_BREAKS = re.compile(r"\n{3,}")
_LINK = re.compile(r"(?:href|src)$", re.IGNORECASE)
_QUIET = frozenset({"href", "src", "alt", "title", "aria-label", "background"})
_TAG = re.compile(r"<(?P<close>/?)(?P<name>[a-zA-Z][^\s>/]*)(?P<rest>(?:[^>\"']|\"[^\"]*\"|'[^']*')*)>")
_ATTRIBUTE = re.compile(r"([^\s=\"'>/]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
_LOOKS_AT_DATA = re.compile(r"\[|:empty|:has|:contains|:not", re.IGNORECASE)
_DANGEROUS = re.compile(r"[\s\x00-\x20]*(?:javascript|vbscript|data|file)[\s]*:", re.IGNORECASE)

_STYLE = """
body{margin:0;padding:0;background:#ffffff;color:#1c1e21}
.letter{max-width:38em;margin:0 auto;padding:24px 16px;font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;font-size:16px;line-height:1.55;overflow-wrap:break-word}
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


class Body(NamedTuple):
    """A body, set: `images` are the paths that its HTML shows, each with the Content-ID it is shown by."""

    html: str | None
    text: str | None
    images: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Setting:
    """What a pattern came to: texts between values, and the number of the value after each text."""

    html: tuple[str, ...]
    html_slots: tuple[int, ...]
    text: tuple[str, ...]
    text_slots: tuple[int, ...]
    links: tuple[int, ...]
    images: tuple[tuple[str, str], ...]


class Typesetter:
    """Sets the bodies of one letter. `token` is what stands for a value; its group is the value's number."""

    def __init__(
        self,
        kind: str,
        token: re.Pattern[str],
        *,
        hard_breaks: bool = False,
        own_text: bool = False,
        inline_css: bool = True,
    ) -> None:
        self._kind = kind
        self._token = token
        self._hard_breaks = hard_breaks
        self._own_text = own_text
        self._inline_css = inline_css
        self._settings: OrderedDict[tuple[str, bool, str], _Setting | None] = OrderedDict()
        self._preheader = token.pattern.replace(r"(\d+)", "0")

    def set(
        self, pattern: str, values: Sequence[str], text: str | None, preheader: str = "", language: str = ""
    ) -> Body:
        """Set one row. Raises LetterError, also for a value that would make a link run a script."""
        if self._kind == "text":
            return Body(None, pattern, ())
        setting = self._setting(pattern, bool(preheader), language) if values or preheader else None
        if setting is None:
            whole = self._token.sub(lambda t: str(self._escaped(values[int(t[1]) - 1])), pattern)
            setting = self._setting(whole, bool(preheader), language)
            if setting is None:
                raise LetterError("the letter cannot be set")
        for number in setting.links:
            if number and _DANGEROUS.match(values[number - 1]):
                raise LetterError(
                    f"a link would run a script: {values[number - 1][:60]!r}",
                    hint="links begin with https://",
                )
        html = _woven(setting.html, setting.html_slots, preheader, values, self._escaped)
        if self._own_text:
            return Body(html, text, setting.images)
        plain = _woven(setting.text, setting.text_slots, preheader, values, _spaced)
        return Body(html, plain, setting.images)

    def _escaped(self, value: str) -> str:
        escaped = str(escape(value))
        if self._kind == "markdown" and "\n" in escaped:
            return escaped.replace("\r\n", "\n").replace("\n", "<br>\n")
        return escaped

    def _setting(self, pattern: str, preheader: bool, language: str) -> _Setting | None:
        key = (pattern, preheader, language)
        if key in self._settings:
            self._settings.move_to_end(key)
            return self._settings[key]
        setting = self._settings[key] = self._made(pattern, preheader, language)
        if len(self._settings) > _KEPT:
            self._settings.popitem(last=False)
        return setting

    def _made(self, pattern: str, preheader: bool, language: str) -> _Setting | None:
        """Do the slow work. None where values stand in places that the work itself looks at."""
        html = self._as_html(pattern, language)
        places = _places(html, self._token)
        if places is None:
            return None
        if self._inline_css and _STYLED.search(html):
            html = _inlined(html)
        text = "" if self._own_text else as_text(html)
        html, images = _with_content_ids(html, self._token)
        if images is None:
            return None
        if preheader:
            html = _with_preheader(html, self._preheader)
        html_parts, html_slots = _unwoven(html, self._token)
        text_parts, text_slots = _unwoven(text, self._token)
        return _Setting(html_parts, html_slots, text_parts, text_slots, places, images)

    def _as_html(self, pattern: str, language: str) -> str:
        if self._kind == "markdown":
            pattern = re.sub(rf"<({self._token.pattern})>", r"[\1](\1)", pattern)
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
    from resiliparse.extract.html2text import extract_plain_text

    text = extract_plain_text(html, preserve_formatting=True, links=True, alt_texts=True)
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return _MANY_BREAKS.sub("\n\n", _SAME_TWICE.sub(r"\1", text)).strip("\n") + "\n"


def content_id(path: str) -> str:
    """Return the Content-ID by which a picture is shown: the same for the same path."""
    return f"{hashlib.sha256(path.encode()).hexdigest()[:20]}@mergepost"


@cache
def _markdown(hard_breaks: bool) -> Any:
    from markdown_it import MarkdownIt

    made = MarkdownIt("commonmark", {"html": True, "breaks": hard_breaks, "xhtmlOut": False})
    return made.enable(["table", "strikethrough"])


def _inlined(html: str) -> str:
    from css_inline import InlineError

    try:
        return str(_inliner().inline(html))
    except InlineError as error:
        raise LetterError(f"the stylesheet cannot be applied: {error}") from error


@cache
def _inliner() -> Any:
    from css_inline import CSSInliner

    return CSSInliner(keep_style_tags=True, load_remote_stylesheets=False)


@lru_cache(maxsize=1)
def _mjml_engine() -> Callable[[str], str]:
    try:
        from mjml import mjml2html
    except ImportError:
        raise LetterError(
            "MJML letters need the extra mjml", hint='install it with: pip install "mergepost[mjml]"'
        ) from None
    return mjml2html  # type: ignore[no-any-return]


def _mjml(pattern: str) -> str:
    try:
        return _mjml_engine()(pattern)
    except (ValueError, RuntimeError) as error:
        raise LetterError(f"the MJML cannot be read: {error}") from error


def _places(html: str, token: re.Pattern[str]) -> tuple[int, ...] | None:
    """List the values that stand in links; None if one stands where a stylesheet or a parser looks at it."""
    if not token.search(html):
        return ()
    links: list[int] = []
    styles = [m[0] for m in re.finditer(r"<(style|script)\b.*?</\1\s*>", html, re.DOTALL | re.IGNORECASE)]
    if any(token.search(style) for style in styles):
        return None
    selective = any(_LOOKS_AT_DATA.search(style) for style in styles)
    in_tags = 0
    for tag in _TAG.finditer(html):
        if not token.search(tag[0]):
            continue
        for attribute in _ATTRIBUTE.finditer(tag["rest"]):
            value = attribute[2] if attribute[2] is not None else attribute[3]
            numbers = [int(found[1]) for found in token.finditer(value or "")]
            if numbers and (selective or attribute[1].lower() not in _QUIET):
                return None
            in_tags += len(numbers)
            if numbers and _LINK.search(attribute[1]) and token.match((value or "").lstrip()):
                links.append(numbers[0])
        if sum(1 for _ in token.finditer(tag[0])) != in_tags:
            return None
        in_tags = 0
    return tuple(links)


def _with_content_ids(html: str, token: re.Pattern[str]) -> tuple[str, tuple[tuple[str, str], ...] | None]:
    """Point pictures of the campaign's folder at parts of the message; None where a value chooses one."""
    found: dict[str, str] = {}
    varying = False

    def show(tag: re.Match[str]) -> str:
        nonlocal varying
        path = unescape(tag[3]).strip()
        if _ELSEWHERE.match(path):
            return tag[0]
        if token.search(path):
            varying = not token.match(path)
            return tag[0]
        found[path] = content_id(path)
        return f"{tag[1]}{tag[2]}cid:{found[path]}{tag[2]}"

    html = _IMAGE.sub(show, html)
    return html, None if varying else tuple(found.items())


def _with_preheader(html: str, token: str) -> str:
    hidden = (
        '<div style="display:none;max-height:0;max-width:0;overflow:hidden;opacity:0;mso-hide:all">'
        f"{token}{'&#847;&zwnj;&nbsp;' * 40}</div>"
    )
    body = _BODY.search(html)
    at = body.end() if body else 0
    return f"{html[:at]}{hidden}{html[at:]}"


def _unwoven(text: str, token: re.Pattern[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    pieces = token.split(text)
    return tuple(pieces[::2]), tuple(map(int, pieces[1::2]))


def _woven(
    parts: tuple[str, ...],
    slots: tuple[int, ...],
    preheader: str,
    values: Sequence[str],
    shape: Callable[[str], str],
) -> str:
    if not slots:
        return parts[0]
    pieces = [parts[0]]
    for slot, part in zip(slots, parts[1:], strict=True):
        pieces += (shape(values[slot - 1] if slot else preheader), part)
    return "".join(pieces)


def _spaced(value: str) -> str:
    return value if value.isprintable() else "\n".join(" ".join(line.split()) for line in value.splitlines())
