"""What does the person who approves get? One file: a letter of each kind, and the rows with problems."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from html import escape
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.parse import quote

from merge.disk import write_whole
from merge.errors import ContentError, Problem
from merge.model import Letter, Mailbox, Recipient
from merge.preview.anatomy import anatomy, first_words
from merge.preview.book import Book
from merge.preview.sheet import framed
from merge.preview.survey import Survey
from merge.seal import seal
from merge.words import count, size

MOST: Final = 25
"""Letters and problem rows on the page, unless all rows are asked for."""

_POLICY = "; ".join(
    [
        *("default-src 'none'", "style-src 'unsafe-inline'", "img-src data:", "font-src data:"),
        *("base-uri 'none'", "form-action 'none'"),
    ]
)
_LETTER_POLICY = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
_INKED = "<style>html{-webkit-print-color-adjust:exact;print-color-adjust:exact}</style>"
"""Lets a letter keep its backgrounds on paper: without them white words would be lost."""

_UNDER_HEAD, _PAGE, _SMALL = 700, 900, 0.5
"""CSS pixels of a printed page, below the head of a letter and in all; and how small a letter may become to
stand below its head, before it gets the next page for itself."""

_DOCTYPE = re.compile(r"\s*<!doctype[^>]*>", re.IGNORECASE)
_TALL = re.compile(r"<(?:img|hr|tr|h[1-6])\b", re.IGNORECASE)
_BLOCKS = re.compile(r"<(?:p|li|br|div|blockquote|pre)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row on the page: its letter if it has one, and why it is there."""

    recipient: Recipient
    letter: Letter | None
    why: str
    problems: tuple[Problem, ...]


def write_approval(
    book: Book, survey: Survey, path: Path, *, rows: range | None = None, all_rows: bool = False
) -> int:
    """Write the page, and return how many rows are on it; `survey` has been run.

    Letters stand in sandboxed frames, without scripts, forms or anything from the network. Addresses are
    masked unless `all_rows`, which shows every row. Bcc is not shown, because no letter holds it. `rows`
    are numbers as the spreadsheet shows them.
    """
    entries = list(_entries(book, survey, rows, all_rows=all_rows))
    style = resources.files("merge.preview").joinpath("approval.css").read_text("utf-8")
    articles = "".join("".join(_article(entry, masked=not all_rows)) for entry in entries)
    title = escape(book.title)
    contents = "".join(
        f'<li><a href="#row-{entry.recipient.row}"><b>row {entry.recipient.row}</b> '
        f'<span dir="auto">{escape(entry.why)}</span></a></li>'
        for entry in entries
    )
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}: letters to approve</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f'<header>\n<h1 dir="auto">{title}</h1>\n{_sums(book, survey, len(entries), all_rows=all_rows)}'
        f'<nav aria-label="Letters on this page"><ol>{contents}</ol></nav>\n</header>\n'
        f"<main>\n{articles}</main>\n</body>\n</html>\n"
    )
    write_whole(path, page.encode("utf-8", "backslashreplace"))
    return len(entries)


def mask(address: str) -> str:
    """Return an address that its owner would know and nobody could write to: "z…@example.org"."""
    local, at, domain = address.rpartition("@")
    return f"{local[:1]}…{at}{domain}" if at else "…"


def _sums(book: Book, survey: Survey, shown: int, *, all_rows: bool) -> str:
    found = survey.findings
    facts = [count(len(survey.kinds), "kind") + " of letter"] if survey.kinds else []
    facts.append(count(survey.total, "row"))
    if found and found.invalid:
        facts.append(f"{found.invalid:,} can't be sent")
    if found and found.warnings:
        facts.append(count(found.warnings, "warning"))
    fingerprint = found.fingerprint if found else ""
    lines = [f"<p class=sums>{escape(', '.join(facts))}</p>\n"]
    lines.append(
        f'<p>Fingerprint <code class="fingerprint">{escape(fingerprint)}</code>. To send these letters '
        f"and no others: <code>mergepost send --expect {escape(fingerprint)}</code></p>\n"
    )
    what = f"All {count(shown, 'row')}" if all_rows else f"{shown:,} of these rows"
    masked = "" if all_rows else " Addresses are masked."
    lines.append(
        f'<p class="soft">{what}, from <span dir="auto">{escape(book.settings.list_name)}</span> and '
        f'<span dir="auto">{escape(book.settings.letter_name)}</span>.{masked} Nothing was sent.</p>\n'
    )
    return "".join(lines)


def _entries(book: Book, survey: Survey, rows: range | None, *, all_rows: bool) -> Iterator[Entry]:
    """Yield one row of each kind, those that stand out, those with problems; or simply all rows."""
    why: dict[int, str] = {}
    if not all_rows and rows is None:
        for place, kind in enumerate(survey.kinds, 1):
            words = "; ".join(kind.words)
            why[kind.example] = f"kind {place}, {count(kind.rows, 'row')}" + (f": {words}" if words else "")
        for row, words in (
            (survey.extremes.longest, "the longest value"),
            (survey.extremes.emptiest, "the most empty cells"),
        ):
            if row is not None:
                why.setdefault(row, words)
        for row, problems in sorted(survey.problems.items()):
            why.setdefault(row, problems[0].message)
        for row, (_, reason) in sorted(survey.states.items()):
            why.setdefault(row, reason)
        chosen: Iterable[int] = list(why)[:MOST]
    else:
        chosen = [person.row for person in book.people if rows is None or person.row in rows]
        chosen = chosen if all_rows else list(chosen)[:MOST]
    for row in chosen:
        recipient = book.person(row)
        if recipient is None:
            continue
        letter, problems = None, list(survey.problems.get(row, ()))
        state, reason = survey.states.get(row, (None, ""))
        try:
            letter = None if state or book.set_aside(recipient) else book.letter(recipient)
        except ContentError as error:
            problems += [problem for problem in error.problems if problem not in problems]
        yield Entry(recipient, letter, why.get(row, "") or reason or book.label(recipient), tuple(problems))


def _article(entry: Entry, *, masked: bool) -> Iterator[str]:
    row, letter = entry.recipient.row, entry.letter
    weight = len(seal(letter).content) if letter else 0  # as it is sent: a masked one need not be sendable
    if letter and masked:
        letter = _masked(letter)
    subject = dict(letter.headers).get("Subject", "") if letter else ""
    yield f'<article id="row-{row}" aria-labelledby="title-{row}">\n'
    yield f'<p class="soft">Row {row}. <span dir="auto">{escape(entry.why)}</span></p>\n'
    yield f'<h2 id="title-{row}" dir="auto">{escape(subject) or "No letter"}</h2>\n'
    for problem in entry.problems:
        yield (
            f'<p class="problem {problem.severity}"><b>{problem.severity.capitalize()}:</b> '
            f'<span dir="auto">{escape(problem.message)}</span>'
            + (f' <span class="soft" dir="auto">{escape(problem.hint)}</span>' if problem.hint else "")
            + "</p>\n"
        )
    if letter:
        yield from _letter(letter, weight)
    else:
        address = mask(entry.recipient.address) if masked else entry.recipient.address
        yield f'<p dir="auto">{escape(address)}</p>'
    yield "</article>\n"


def _letter(letter: Letter, weight: int) -> Iterator[str]:
    yield "<dl>"
    for name, value in letter.headers:
        if name in ("From", "To", "Cc", "Reply-To"):
            yield f'<dt>{name}</dt><dd dir="auto">{escape(value)}</dd>'
    html = letter.html
    snippet = anatomy(html).first_words if html is not None else first_words(letter.text or "")
    yield f'<dt>Inbox</dt><dd class="inbox" dir="auto">{escape(snippet)}</dd>'
    files = [file for file in letter.attachments if not file.content_id]
    if files:
        names = ", ".join(f"{escape(file.name)} ({size(len(file.content))})" for file in files)
        yield f'<dt>Attached</dt><dd dir="auto">{names}</dd>'
    yield f"<dt>Size</dt><dd>{size(weight)}</dd></dl>\n"
    if html is not None:
        height = _height(html)
        on_paper = min(1, _UNDER_HEAD / height)
        on_paper = on_paper if on_paper > _SMALL else _PAGE / height
        source = escape(_with_policy(framed(html, letter.attachments)), quote=True)
        yield (
            f'<div class="sheet" style="--tall: {height}; --on-paper: {on_paper:.2f}">'
            f'<iframe sandbox="" referrerpolicy="no-referrer" loading="lazy" height="{height}" '
            f'title="Letter of row {letter.row}" srcdoc="{source}"></iframe></div>\n'
        )
    if letter.text is not None:
        text = f'<pre dir="auto">{escape(letter.text)}</pre>'
        yield text if html is None else f"<details><summary>Text part</summary>{text}</details>\n"


def _with_policy(html: str) -> str:
    """Put the policy, and how it is printed, before anything that could load; a doctype stays first."""
    doctype = _DOCTYPE.match(html)
    at = doctype.end() if doctype else 0
    return f"{html[:at]}{_LETTER_POLICY}{_INKED}{html[at:]}"


def _height(html: str) -> int:
    """Estimate how tall a letter is, in CSS pixels at 640 wide: a frame without scripts cannot tell."""
    words = anatomy(html).words
    lines = words / 11 + len(_BLOCKS.findall(html)) * 1.4 + len(_TALL.findall(html)) * 2
    pictures = html.lower().count("<img") * 180
    return int(min(2_400, max(220, 120 + lines * 26 + pictures)))


def _masked(letter: Letter) -> Letter:
    """Mask the addresses of the people that a letter goes to, wherever they stand in it."""
    people = {mailbox.address for name in ("to", "cc") for mailbox in letter.mailboxes.get(name, ())} | set(
        letter.envelope.recipients
    )
    spellings = {
        spelling: mask(address)
        for address in people
        for spelling in (address, quote(address), escape(address))
    }
    pattern = re.compile(
        "|".join(re.escape(spelling) for spelling in sorted(spellings, key=len, reverse=True)), re.IGNORECASE
    )

    def masked(text: str | None) -> str | None:
        if text is None:
            return None
        return pattern.sub(lambda found: mask(found[0].replace("%40", "@")), text)

    return replace(
        letter,
        headers=tuple((name, masked(value) or "") for name, value in letter.headers),
        text=masked(letter.text),
        html=masked(letter.html),
        woven_text=None,
        woven_html=None,
        mailboxes={
            name: tuple(Mailbox(masked(box.name) or "", box.address) for box in boxes)
            for name, boxes in letter.mailboxes.items()
        },
    )
