"""What will each person see? All letters on one page that needs nothing but a browser."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from html import escape
from importlib import resources
from pathlib import Path

from merge.carrier import write_whole
from merge.model import Letter

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_LETTER_POLICY = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'


def write_page(letters: Iterable[Letter], path: Path, *, title: str, fingerprint: str) -> int:
    """Write one HTML file with every letter; return how many.

    Letters stand in sandboxed frames without scripts, forms or remote loads. Bcc is not shown, because
    no letter holds it.
    """
    style = resources.files("merge.preview").joinpath("page.css").read_text("utf-8")
    articles: list[str] = []
    entries: list[str] = []
    for letter in letters:
        shown = dict(letter.headers)
        subject = escape(shown.get("Subject", ""))
        entries.append(
            f'<li value="{letter.row}"><a href="#row-{letter.row}" dir="auto">'
            f"{escape(shown.get('To', ''))}</a></li>"
        )
        articles.append("".join(_article(letter, subject)))
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}: preview</title>\n"
        f"<style>\n{style}</style>\n</head>\n<body>\n"
        f'<header><h1 dir="auto">{escape(title)}</h1>\n'
        f"<p>{len(articles):,} letters, fingerprint <code>{escape(fingerprint)}</code>. "
        "Nothing was sent.</p>\n"
        f'<nav aria-label="Letters"><ol>{"".join(entries)}</ol></nav></header>\n'
        f"<main>\n{''.join(articles)}</main>\n</body>\n</html>\n"
    )
    write_whole(path, page.encode("utf-8"))
    return len(articles)


def _article(letter: Letter, subject: str) -> Iterator[str]:
    yield f'<article id="row-{letter.row}" aria-labelledby="subject-{letter.row}">\n'
    yield f'<h2 id="subject-{letter.row}" dir="auto">{subject or "(no subject)"}</h2>\n<dl>'
    yield f"<dt>Row</dt><dd>{letter.row}</dd>"
    for name, value in letter.headers:
        if name in ("From", "To", "Cc", "Reply-To"):
            yield f'<dt>{name}</dt><dd dir="auto">{escape(value)}</dd>'
    files = [attachment for attachment in letter.attachments if not attachment.content_id]
    if files:
        names = ", ".join(f"{escape(file.name)} ({len(file.content):,} bytes)" for file in files)
        yield f'<dt>Attached</dt><dd dir="auto">{names}</dd>'
    yield "</dl>\n"
    if letter.html is not None:
        source = escape(_LETTER_POLICY + _with_images(letter.html, letter), quote=True)
        yield (
            f'<iframe sandbox="" referrerpolicy="no-referrer" loading="lazy" '
            f'title="Letter of row {letter.row}" srcdoc="{source}"></iframe>\n'
        )
    if letter.text is not None:
        text = f'<pre dir="auto">{escape(letter.text)}</pre>'
        yield text if letter.html is None else f"<details><summary>Text part</summary>{text}</details>"
    yield "\n</article>\n"


def _with_images(html: str, letter: Letter) -> str:
    for attachment in letter.attachments:
        if attachment.content_id:
            encoded = base64.b64encode(attachment.content).decode("ascii")
            html = html.replace(
                f"cid:{attachment.content_id}", f"data:{attachment.media_type};base64,{encoded}"
            )
    return html
