"""How long does one letter take, and what is left to win?

Run: python bench/letter.py [--profile]. Every way makes the same messages in turn, in one process; the best
of several rounds counts, in microseconds of processor time a message. awdeorio/mailmerge counts if it is
installed; a stand-in for what it documents to do counts always. At the end stands what is left: the functions
with the most time of their own. --profile shows more of them, and nothing else.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email import message_from_string
from email.message import EmailMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import SMTP
from email.utils import formatdate, getaddresses
from importlib import import_module
from pathlib import Path

from merge.compose import Composer
from merge.model import Recipient
from merge.seal import seal
from merge.template import read_template

ROWS = 40
ROUNDS = 40
SENDER = "Ada Club <news@ada.example>"
DATE = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
NAMES = ("Zoë Álvarez", "Jane Doe", "山田 太郎", "Søren Åkesson", "Olga Иванова", "Bob", "Ayşe Gül", "Łukasz")
FIELDS = ("first_name", "email", "company", "city", "plan", "seat", "amount", "code")
PARAGRAPH = (
    "We meet on Thursday in the old library, at seven, and stay as long as the tea lasts. "
    "Bring a book that you would lend to a friend, and tell us in three sentences why. "
    "There is room for everyone, and the door is open."
)


def people(first: int = 0) -> list[Recipient]:
    """Return rows that no earlier round had, so that nothing made for a person can be used again."""
    rows = []
    for number in range(first, first + ROWS):
        name = f"{NAMES[number % len(NAMES)]} {number:x}"
        cells = {
            "first_name": name,
            "email": f"person{number}@club{number % 7}.example",
            "company": f"Müller & Söhne {number}",
            "city": "Zürich",
            "plan": "plus",
            "seat": str(number),
            "amount": f"{number}.50",
            "code": f"C-{number:05}",
        }
        rows.append(Recipient(number + 2, cells, cells["email"]))
    return rows


def html_letter() -> str:
    paragraphs = "\n".join(f'<p style="margin:0 0 16px">{PARAGRAPH}</p>' for _ in range(30))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>News</title></head>\n<body>\n'
        "<h1>Hello {{ first_name }}</h1>\n<p>{{ company }}, {{ city }}: you are on the plan {{ plan }}.</p>\n"
        f"{paragraphs}\n<p>Seat {{{{ seat }}}}, {{{{ amount }}}} EUR, code {{{{ code }}}}.</p>\n"
        '<p><a href="https://club.example/me?c={{ code|urlencode }}">{{ email }}</a></p>\n</body>\n</html>\n'
    )


def text_letter() -> str:
    return (
        "Hello {{ first_name }},\n\n{{ company }}, {{ city }}: you are on the plan {{ plan }}.\n\n"
        + "\n\n".join([PARAGRAPH.replace(". ", ".\n")] * 6)
        + "\n\nSeat {{ seat }}, {{ amount }} EUR, code {{ code }}.\n{{ email }}\n"
    )


def dashed(text: str) -> str:
    return text.replace(", and the door", " — the door")


def markdown_letter() -> str:
    return (
        "# Hello {{ first_name }}\n\n{{ company }}, {{ city }}: **{{ plan }}**.\n\n"
        + "\n\n".join([PARAGRAPH, f"- {PARAGRAPH[:60]}\n- [the club](https://club.example)"] * 18)
        + "\n\nSeat {{ seat }}, {{ amount }} EUR, code `{{ code }}`, {{ email }}.\n"
    )


HEADER = (
    "Subject: News for {{ first_name }} in {{ city }}\nTo: {{ first_name }} <{{ email }}>\n"
    "Reply-To: desk@ada.example\nUnsubscribe: https://ada.example/leave?c={{ code|urlencode }}\n"
)


def ours(folder: Path, letter: str) -> Callable[[Recipient], bytes]:
    composer = Composer(read_template(folder / letter), folder=folder, sender=SENDER)

    def make(row: Recipient) -> bytes:
        composed = composer.compose(row, key=row.address, message_id=f"<{row.row}@ada.example>", date=DATE)
        return seal(composed).content

    return make


def checking(folder: Path, letter: str) -> Callable[[Recipient], bytes]:
    composer = Composer(read_template(folder / letter), folder=folder, sender=SENDER)

    def make(row: Recipient) -> bytes:
        return composer.examine(row).digest.encode()

    return make


def plain(
    folder: Path, *, markdown: bool = False, dashes: bool = False, attachment: Path | None = None
) -> Callable[[Recipient], bytes]:
    """What anyone would write: Jinja2 and EmailMessage, with everything that can be made once made once."""
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only this way needs it

    del folder
    env = Environment(undefined=StrictUndefined, autoescape=True)
    raw = Environment(undefined=StrictUndefined, autoescape=False)
    subject = raw.from_string("News for {{ first_name }} in {{ city }}")
    shape = dashed if dashes else str
    html = env.from_string(shape(html_letter()))
    text = raw.from_string(markdown_letter() if markdown else shape(text_letter()))
    renderer = None
    if markdown:
        from markdown_it import MarkdownIt  # noqa: PLC0415 - only this way needs it

        renderer = MarkdownIt("commonmark").enable("table")
    data = attachment.read_bytes() if attachment else b""

    def make(row: Recipient) -> bytes:
        message = EmailMessage(policy=SMTP)
        message["From"] = SENDER
        message["To"] = f"{row.cells['first_name']} <{row.address}>"
        message["Reply-To"] = "desk@ada.example"
        message["Subject"] = subject.render(row.cells)
        message["List-Unsubscribe"] = f"<https://ada.example/leave?c={row.cells['code']}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        message["Date"] = "Mon, 23 Nov 2026 10:00:00 +0000"
        message["Message-ID"] = f"<{row.row}@ada.example>"
        written = text.render(row.cells)
        message.set_content(written)
        message.add_alternative(
            renderer.render(written) if renderer else html.render(row.cells), subtype="html"
        )
        if data:
            message.add_attachment(data, maintype="application", subtype="pdf", filename="a.pdf")
        return message.as_bytes()

    return make


def mailmerge_letter() -> str:
    return (
        f"TO: {{{{ email }}}}\nSUBJECT: News for {{{{ first_name }}}}\nFROM: {SENDER}\n"
        f"CONTENT-TYPE: text/markdown\n\n{markdown_letter()}"
    )


def mailmerge(folder: Path) -> Callable[[Recipient], bytes] | None:
    """What awdeorio/mailmerge does for each message, through its own class; its letter holds no HTML part."""
    try:
        template_message = import_module("mailmerge.template_message")
    except ImportError:
        return None
    path = folder / "mailmerge_template.txt"
    path.write_text(mailmerge_letter())
    template = template_message.TemplateMessage(path)

    def make(row: Recipient) -> bytes:
        _, _, message = template.render(dict(row.cells))
        return bytes(message.as_bytes())

    return make


def like_mailmerge() -> Callable[[Recipient], bytes]:
    """What awdeorio/mailmerge documents to do for each message, in our own words.

    The whole letter, header lines included, is one Jinja2 template. What it renders is read by the standard
    parser. The addresses are taken out of it, and its body becomes a plain part and, from Markdown, an HTML
    part. Its own Markdown library is slower than the one used here.
    """
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only this way needs it
    from markdown_it import MarkdownIt  # noqa: PLC0415 - only this way needs it

    template = Environment(undefined=StrictUndefined, autoescape=False).from_string(mailmerge_letter())
    markdown = MarkdownIt("commonmark", {"breaks": True})

    def make(row: Recipient) -> bytes:
        read = message_from_string(template.render(row.cells))
        recipients = getaddresses(
            [*read.get_all("to", []), *read.get_all("cc", []), *read.get_all("bcc", [])]
        )
        del read["bcc"]
        written = str(read.get_payload())
        message = MIMEMultipart("related")
        for name, value in read.items():
            if name.lower() != "content-type":
                message[name] = value
        texts = MIMEMultipart("alternative")
        texts.attach(MIMEText(written, "plain", "utf-8"))
        texts.attach(MIMEText(f"<html><body>{markdown.render(written)}</body></html>", "html", "utf-8"))
        message.attach(texts)
        message["Date"] = formatdate()
        return message.as_bytes() if recipients else b""

    return make


def compare(
    title: str, mine: Callable[[Recipient], bytes], other: Callable[[Recipient], bytes], bar: int = 0
) -> None:
    """Print microseconds a message of both, in the best of rounds that take turns."""
    ours_best, other_best = best(mine, other)
    ratio = other_best / ours_best
    verdict = f"   bar {bar}: {'met' if ratio >= bar else 'MISSED'}" if bar else ""
    print(f"{title:36}{ours_best:7.0f} us   against {other_best:7.0f} us   {ratio:6.1f} times{verdict}")


def best(*makers: Callable[[Recipient], bytes]) -> list[float]:
    figures: list[list[float]] = [[] for _ in makers]
    for number in range(ROUNDS + 1):
        rows = people(number * ROWS)
        for make, found in zip(makers, figures, strict=True):
            start = time.process_time()
            for row in rows:
                make(row)
            if number:
                found.append((time.process_time() - start) / len(rows) * 1e6)
    return [min(found) for found in figures]


def show_profile(make: Callable[[Recipient], bytes], lines: int) -> None:
    """Print the functions with the most time of their own: microseconds a message, under the profiler."""
    profile = cProfile.Profile(time.process_time)
    rows = [row for number in range(20) for row in people(number * ROWS)]
    profile.enable()
    for row in rows:
        make(row)
    profile.disable()
    profile.create_stats()
    found = [
        (own / len(rows) * 1e6, calls / len(rows), f"{Path(file).name}:{line} {name}" if line else name)
        for (file, line, name), (_, calls, own, _, _) in profile.stats.items()  # type: ignore[attr-defined] # made above
    ]
    print(f"\nwhat is left of text + HTML, {sum(own for own, _, _ in found):.0f} us under the profiler:")
    for own, calls, name in sorted(found, reverse=True)[:lines]:
        print(f"{own:7.1f} us  {calls:5.1f} calls  {name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    rows = people()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        attachment = folder / "a.pdf"
        attachment.write_bytes(os.urandom(200_000))
        (folder / "letter.html").write_text(HEADER + "\n" + html_letter())
        (folder / "letter.txt").write_text(text_letter())
        (folder / "dashes.html").write_text(HEADER + "\n" + dashed(html_letter()))
        (folder / "dashes.txt").write_text(dashed(text_letter()))
        (folder / "auto.html").write_text(
            HEADER + "\n" + html_letter().replace("</head>", "<style>p{color:#222}</style></head>")
        )
        (folder / "attached.html").write_text(HEADER + "Attach: a.pdf\n\n" + html_letter())
        (folder / "attached.txt").write_text(text_letter())
        (folder / "markdown.md").write_text(HEADER + "\n" + markdown_letter())
        make = ours(folder, "letter.html")
        if options.profile:
            show_profile(make, 30)
            return
        print(f"one message: {len(make(rows[0])):,} bytes; best of {ROUNDS} rounds of {ROWS} rows")
        compare("text + HTML, 8 fields", make, plain(folder), 20)
        compare(
            "  with a dash in each paragraph", ours(folder, "dashes.html"), plain(folder, dashes=True), 20
        )
        compare("  with automatic text and CSS", ours(folder, "auto.html"), plain(folder))
        compare(
            "with a 200 kB attachment", ours(folder, "attached.html"), plain(folder, attachment=attachment), 4
        )
        compare("Markdown", ours(folder, "markdown.md"), plain(folder, markdown=True), 3)
        if theirs := mailmerge(folder):
            compare("Markdown, against mailmerge", ours(folder, "markdown.md"), theirs)
        compare("  against a stand-in for mailmerge", ours(folder, "markdown.md"), like_mailmerge())
        (checked,) = best(checking(folder, "letter.html"))
        print(f"{'check of one row (examine)':36}{checked:7.0f} us   bar 150 us")
        show_profile(make, 10)


if __name__ == "__main__":
    main()
