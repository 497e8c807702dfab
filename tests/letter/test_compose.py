"""Rows become letters: addresses, headers, files, and what must never happen."""

from __future__ import annotations

import os
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import judge
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from letter_kit import DATE, recipient

from merge.campaign import Campaign
from merge.errors import AddressError, AttachmentError, ContentError, LetterError
from merge.message import email_message
from merge.seal import seal

PLAIN = "Subject: Hello {{ name }}\n\nHi {{ name }},\nbye\n"


def only_problem(examined):
    errors = [problem for problem in examined.problems if problem.severity == "error"]
    assert len(errors) == 1, examined.problems
    return errors[0]


def test_a_letter_goes_to_the_rows_address_from_the_campaigns_sender(desk):
    letter = desk.letter(PLAIN, {"name": "Zoë"})
    assert letter.envelope.sender == "news@ada.example"
    assert letter.envelope.recipients == ("zoe@x.example",)
    assert letter.headers[:3] == (
        ("From", "Ada Club <news@ada.example>"),
        ("To", "zoe@x.example"),
        ("Subject", "Hello Zoë"),
    )


def test_the_letters_own_from_wins_and_names_the_domain(desk):
    composer = desk.composer("From: Eva <eva@eva.example>\n" + PLAIN)
    assert composer.domain == "eva.example"
    letter = composer.compose(recipient({"name": "Zoë"}), key="k", message_id="<m@eva.example>", date=DATE)
    assert letter.envelope.sender == "eva@eva.example"


def test_bcc_is_told_to_the_server_and_to_nobody_else(desk):
    letter = desk.letter("Bcc: boss@x.example, Zoe@x.example\nCc: ann@x.example\n" + PLAIN, {"name": "Zoë"})
    assert letter.envelope.recipients == ("zoe@x.example", "ann@x.example", "boss@x.example")
    content = seal(letter).content
    assert b"boss" not in content
    assert b"bcc" not in content.lower()
    assert b"boss" not in email_message(letter).as_bytes()


def test_a_name_with_a_comma_is_one_name(desk):
    letter = desk.letter("To: {{ name }} <{{ email }}>\n" + PLAIN, {"name": 'Doe, Jane "JD"'})
    assert letter.mailboxes["to"][0].name == 'Doe, Jane "JD"'
    assert judge.mailboxes(judge.read(seal(letter).content).get("To")) == [
        ('Doe, Jane "JD"', "zoe@x.example")
    ]


@pytest.mark.parametrize(
    "to",
    [
        "To: {{ email }}",
        "To: Zoë <{{ email }}>",
        "To: {{ name }} <{{ email }}>",
        "Cc: {{ email }}",
        "Bcc: {{ email }}",
    ],
)
@pytest.mark.parametrize(
    "cell",
    [
        "a@x.example, evil@x.example",
        "a@x.example> <evil@x.example",
        "a@x.example;evil@x.example",
        "<a@x.example>, evil@x.example",
    ],
)
def test_a_cell_never_adds_a_recipient(desk, to, cell):
    examined = desk.examine(f"{to}\n{PLAIN}", {"name": "Zoë", "email": cell})
    assert [problem for problem in examined.problems if problem.severity == "error"]
    assert not examined.digest


@pytest.mark.parametrize(
    "line", ["To: {{ a }}, {{ b }}", "To: {{ a }}\nCc: {{ b }}", "TO: A <{{ a }}>, {{ b }}"]
)
def test_the_letter_itself_may_name_several(desk, line):
    letter = desk.letter(f"{line}\n{PLAIN}", {"name": "Zoë", "a": "a@x.example", "b": "b@x.example"})
    assert letter.envelope.recipients == ("a@x.example", "b@x.example")


BREAKS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("cut", BREAKS)
@pytest.mark.parametrize(
    "line",
    [
        "Subject: Hello {{ name }}",
        "Subject: x\nX-Note: {{ name }}",
        "Subject: x\nPreheader: {{ name }}",
        "Subject: x\nTo: {{ name }} <{{ email }}>",
        "Subject: x\nAttach: {{ name }}",
        "Subject: x\nUnsubscribe: https://x.example/{{ name }}",
    ],
)
def test_a_line_break_in_a_cell_makes_the_row_invalid(desk, line, cut):
    problem = only_problem(desk.examine(f"{line}\n\nHi\n", {"name": f"X{cut}Bcc: evil@x.example"}))
    assert problem.row == 2
    assert problem.field == "name"
    assert "line break" in problem.message
    assert problem.line


@pytest.mark.parametrize("cell", ["=?UTF-8?Q?=0A?=Bcc: x", "=?utf-8?q?x=2C_evil=40y=2Ez?="])
def test_encoded_words_in_cells_are_refused(desk, cell):
    problem = only_problem(desk.examine(PLAIN, {"name": cell}))
    assert "=?" in problem.message


def test_two_cells_do_not_make_an_encoded_word_together(desk):
    only_problem(desk.examine("Subject: {{ a }}{{ b }}\n\nHi\n", {"a": "x=", "b": "?utf-8?q?=0A?="}))


@pytest.mark.parametrize("bad", ["\0", "\x1b", "\x7f", "\x9b", "\ud800"])
def test_control_characters_are_refused_in_headers_and_bodies(desk, bad):
    only_problem(desk.examine("Subject: {{ name }}\n\nHi\n", {"name": bad}))
    for kind in ("md", "html", "txt"):
        only_problem(desk.examine("Subject: x\n\nHi {{ name }}\n", {"name": f"a{bad}b"}, f"letter.{kind}"))


def test_a_tab_in_a_header_becomes_a_blank(desk):
    assert dict(desk.letter(PLAIN, {"name": "a\tb"}).headers)["Subject"] == "Hello a b"


def test_a_cell_is_never_rendered(desk):
    letter = desk.letter(PLAIN, {"name": "{{ 7*7 }}{% raw %}"})
    assert "{{ 7*7 }}{% raw %}" in letter.text
    assert dict(letter.headers)["Subject"] == "Hello {{ 7*7 }}{% raw %}"


def test_an_empty_subject_makes_the_row_invalid(desk):
    assert "subject" in only_problem(desk.examine("Subject: {{ name }}\n\nHi\n", {"name": " "})).message


def test_a_second_subject_makes_the_row_invalid(desk):
    assert "second" in only_problem(desk.examine("Subject: a\nSubject: b\n\nHi\n")).message


def test_the_subject_may_depend_on_the_row(desk):
    text = "{% if plan == 'pro' %}\nSubject: Dear member\n{% else %}\nSubject: Join us\n{% endif %}\n\nHi\n"
    assert dict(desk.letter(text, {"plan": "pro"}).headers)["Subject"] == "Dear member"
    assert dict(desk.letter(text, {"plan": ""}).headers)["Subject"] == "Join us"


def test_unsubscribe_becomes_the_headers_of_rfc_2369_and_8058(desk):
    line = (
        "Unsubscribe: https://x.example/leave?c={{ name|urlencode }}, mailto:leave@x.example?subject=leave\n"
    )
    headers = dict(desk.letter(line + PLAIN, {"name": "Zoë & co"}).headers)
    assert (
        headers["List-Unsubscribe"]
        == "<https://x.example/leave?c=Zo%C3%AB%20%26%20co>, <mailto:leave@x.example?subject=leave>"
    )
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_one_click_needs_https(desk):
    headers = dict(desk.letter("Unsubscribe: mailto:leave@x.example\n" + PLAIN, {"name": "Z"}).headers)
    assert "List-Unsubscribe-Post" not in headers


@pytest.mark.parametrize("cell", ["a b", "x>, <https://evil.example", "Zoë", "x" * 1000])
def test_a_cell_cannot_break_an_unsubscribe_link(desk, cell):
    only_problem(desk.examine("Unsubscribe: https://x.example/{{ name }}\n" + PLAIN, {"name": cell}))


def test_an_empty_cell_without_a_fallback_is_a_warning(desk):
    (problem,) = desk.examine(PLAIN, {"name": " "}).problems
    assert (problem.severity, problem.kind, problem.field, problem.row) == ("warning", "blank", "name", 2)
    assert "default" in problem.hint


@pytest.mark.parametrize(
    "use",
    [
        '{{ name|default("there") }}',
        "{% if name %}{{ name }}{% endif %}",
        "{{ name if name else 'you' }}",
        "{{ name or 'you' }}",
    ],
)
def test_a_fallback_ends_the_warning(desk, use):
    assert not desk.examine(f"Subject: x\n\nHi {use}\n", {"name": ""}).problems


def test_default_stands_in_for_an_empty_cell_and_a_missing_column(desk):
    text = 'Subject: x\n\n{{ name|default("there") }} {{ nosuch|default("none") }} {{ name|d("d") }}\n'
    assert desk.letter(text, {"name": ""}, "letter.txt").text == "there none d\n"


def test_the_digest_is_of_what_the_person_gets(desk):
    desk.write("a.pdf", b"one")
    text = "Attach: a.pdf\nBcc: {{ boss }}\n" + PLAIN
    composer = desk.composer(text)
    cells = {"name": "Zoë", "boss": "b@x.example", "unused": "1"}
    digest = composer.examine(recipient(cells)).digest
    assert composer.examine(recipient({**cells, "unused": "2"}, row=9)).digest == digest
    assert desk.composer(text).examine(recipient(cells)).digest == digest
    assert composer.examine(recipient({**cells, "name": "Zoe"})).digest != digest
    assert composer.examine(recipient({**cells, "boss": "c@x.example"})).digest != digest
    assert composer.examine(recipient({**cells, "email": "other@x.example"})).digest != digest
    desk.write("a.pdf", b"two")
    assert composer.examine(recipient(cells)).digest != digest
    desk.write("a.pdf", b"one")
    assert desk.composer(text + "more").examine(recipient(cells)).digest != digest
    assert desk.composer("X-Note: more\n" + text).examine(recipient(cells)).digest != digest


def test_compose_raises_what_examine_reports(desk):
    for text, cells, error in (
        (PLAIN, {"name": "a\nb"}, LetterError),
        (PLAIN, {"name": "a", "email": "nobody"}, AddressError),
        ("Attach: no.pdf\n" + PLAIN, {"name": "a"}, AttachmentError),
    ):
        composer = desk.composer(text)
        examined = composer.examine(recipient(cells))
        with pytest.raises(error) as raised:
            composer.compose(recipient(cells), key="k", message_id="<m@x.example>", date=DATE)
        assert raised.value.problems == examined.problems
        assert examined.problems[0].row == 2


def test_no_sender_at_all_is_an_error_with_a_way_out(desk):
    examined = desk.composer(PLAIN, sender="").examine(recipient({"name": "a"}))
    assert "from =" in only_problem(examined).hint


@pytest.mark.parametrize("cell", ["a" + " " * 1000 + "b", "x" * 3000, "é" * 3000, " ".join(["x" * 70] * 30)])
def test_what_the_check_lets_pass_can_be_sent(desk, cell):
    text = (
        "Subject: {{ c }}\nTo: {{ c }} <{{ email }}>\n"
        "X-Note: {{ c }}\nAttach: a.pdf\nAttach-As: {{ c }}.pdf\n"
        "\n{{ c }}\n"
    )
    desk.write("a.pdf", b"x")
    message = judge.read(seal(desk.letter(text, {"c": cell})).content)
    assert judge.phrase(message.get("Subject")) == cell
    assert judge.mailboxes(message.get("To")) == [(cell, "zoe@x.example")]
    assert message.files()[0].filename == f"{cell}.pdf"


def test_blanks_without_end_are_refused_where_nothing_may_be_encoded(desk):
    only_problem(desk.examine("Subject: x\nList-Id: a {{ c }}\n\nhi\n", {"c": " " * 1000 + "b"}))


# Attachments


def test_attachments_are_found_named_and_sent(desk):
    desk.write("attachments/12.pdf", b"%PDF-1.7")
    desk.write("list.csv", "a,b\nä,1\n")
    text = (
        "Attach: attachments/{{ nr }}.pdf\nAttach-As: Rechnung {{ name }}.pdf\nAttachment: list.csv\n" + PLAIN
    )
    letter = desk.letter(text, {"nr": "12", "name": "Zoë"})
    message = judge.read(seal(letter).content)
    assert [(f.filename, f.media_type, f.content) for f in message.files()] == [
        ("Rechnung Zoë.pdf", "application/pdf", b"%PDF-1.7"),
        ("list.csv", "text/csv", "a,b\nä,1\n".encode()),
    ]


@pytest.mark.parametrize(
    ("line", "cell", "words"),
    [
        ("Attach: {{ f }}", "no.pdf", "no file"),
        ("Attach: {{ f }}", "", "empty"),
        ("Attach: {{ f }}", "sub", "folder"),
        ("Attach: {{ f }}", "pipe", "regular"),
        ("Attach: {{ f }}", "../outside.txt", "leads out"),
        ("Attach: {{ f }}", "/etc/hostname", "leads out"),
        ("Attach: {{ f }}", "link.txt", "leads out"),
        ("Attach: sub/{{ f }}", "../people.csv", "leads out"),
        ("Attach: sub/{{ f }}.txt", "../../outside", "leads out"),
        ("Attach: linked/{{ f }}", "outside.txt", "leads out"),
        ("Attach: /etc/{{ f }}", "../root/secret", "leads out"),
        ("Attach: a.pdf\nAttach-As: {{ f }}", "../x.pdf", "no file name"),
        ("Attach-As: {{ f }}", "x.pdf", "Attach above"),
    ],
)
def test_files_that_are_not_the_letters_to_send(desk, line, cell, words):
    desk.write("a.pdf", b"x")
    desk.write("people.csv", b"secret")
    desk.write("sub/x.txt", b"x")
    outside = desk.folder.parent / "outside.txt"
    outside.write_text("secret")
    (desk.folder / "link.txt").symlink_to(outside)
    (desk.folder / "linked").symlink_to(desk.folder.parent)
    os.mkfifo(desk.folder / "pipe")
    problem = only_problem(desk.examine(f"{line}\n{PLAIN}", {"name": "Zoë", "f": cell}))
    assert words in problem.message
    assert problem.kind in ("attachment", "letter")
    assert problem.line == (2 if "\n" in line else 1)


@pytest.mark.parametrize(
    "name",
    [
        *("campaign.toml", "journal.db", "journal.db-wal", "results.csv", "suppressed.csv", "people.csv"),
        *("people.xlsx", "./people.csv", "sub/../journal.db", "People.CSV"),
    ],
)
def test_a_cell_cannot_choose_a_file_that_tells_of_everybody(desk, name):
    desk.write("sub/x.txt", b"x")
    desk.write(Path(name).name, b"everybody")
    cells = {"name": "Z", "f": name}
    problem = only_problem(desk.examine(f"Attach: {{{{ f }}}}\n{PLAIN}", cells))
    assert "is a file of the campaign itself" in problem.message
    assert desk.letter(f"Attach: {Path(name).name}\n{PLAIN}", {"name": "Z"}).attachments


@pytest.mark.parametrize("name", ["members 2026.csv", "letter.txt", "done.xlsx"])
def test_whatever_the_list_is_called_a_cell_cannot_choose_it(tmp_path, name):
    (tmp_path / "members 2026.csv").write_text(f"email,f\nzoe@x.example,{name}\n", "utf-8")
    (tmp_path / "letter.txt").write_text("Subject: x\nAttach: {{ f }}\n\nhi\n", "utf-8")
    (tmp_path / "done.xlsx").write_bytes(b"everybody")
    (tmp_path / "campaign.toml").write_text(
        'list = "members 2026.csv"\nletter = "letter.txt"\nfrom = "a@b.example"\nresults = "done.xlsx"\n',
        "utf-8",
    )
    (problem,) = [one for one in Campaign.load(tmp_path).check() if one.severity == "error"]
    assert "is a file of the campaign itself" in problem.message


@pytest.mark.parametrize("line", ["Attach: {{ f }}", "Attach: dkim.pem", "Attach: ./{{ f }}"])
@pytest.mark.parametrize("kind", ["PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY"])
def test_a_private_key_is_never_sent(desk, line, kind):
    desk.write("dkim.pem", f"made 2026\n-----BEGIN {kind}-----\nMIIE\n-----END {kind}-----\n")
    problem = only_problem(desk.examine(f"{line}\n{PLAIN}", {"name": "Z", "f": "dkim.pem"}))
    assert "holds a private key" in problem.message
    assert "MIIE" not in problem.message


@pytest.mark.parametrize(
    ("source", "cell", "words"),
    [
        ("{{ f }}", "/etc/hostname", "leads out"),
        ("{{ f }}", "../outside.png", "leads out"),
        ("{{ f }}", "link.png", "leads out"),
        ("img/{{ f }}", "../../outside.png", "leads out"),
        ("{{ f }}", "journal.db", "file of the campaign itself"),
        ("img/{{ f }}", "../journal.db", "file of the campaign itself"),
        ("{{ f }}", "secret.txt", "is no picture"),
        ("img/{{ f }}", "../secret.txt", "is no picture"),
        ("{{ f }}", "key.png", "private key"),
    ],
)
def test_a_cell_cannot_show_what_is_not_the_letters_to_show(desk, source, cell, words):
    outside = desk.folder.parent / "outside.png"
    outside.write_bytes(b"secret")
    (desk.folder / "link.png").symlink_to(outside)
    desk.write("img/ok.png", b"x")
    desk.write("journal.db", b"everybody")
    desk.write("secret.txt", b"secret")
    desk.write("key.png", b"-----BEGIN PRIVATE KEY-----")
    letter = f'Subject: x\n\n<html><body><img src="{source}" alt="a"></body></html>\n'
    problem = only_problem(desk.examine(letter, {"f": cell}, "letter.html"))
    assert words in problem.message
    assert problem.kind == "attachment"


def test_the_letter_itself_may_show_a_picture_from_elsewhere_and_a_cell_one_of_the_folder(desk):
    (desk.folder.parent / "logo.png").write_bytes(b"logo")
    desk.write("img/zoe.png", b"zoe")
    shown = '<img src="../logo.png" alt="a"><img src="img/{{ f }}" alt="b">'
    letter = f"Subject: x\n\n<html><body>{shown}</body></html>\n"
    made = desk.letter(letter, {"f": "zoe.png"}, "letter.html")
    assert [file.content for file in made.attachments] == [b"logo", b"zoe"]


def test_the_letter_may_name_a_path_outside_itself(desk, monkeypatch):
    outside = desk.folder.parent / "outside"
    outside.mkdir()
    (outside / "12.txt").write_text("hello")
    monkeypatch.setenv("HOME", str(outside))
    for path in (
        str(outside / "12.txt"),
        "../outside/12.txt",
        "~/12.txt",
        "~/{{ nr }}.txt",
        "../outside/{{ nr }}.txt",
    ):
        assert (
            desk.letter(f"Attach: {path}\n{PLAIN}", {"nr": "12", "name": "Z"}).attachments[0].content
            == b"hello"
        )


def test_a_file_is_read_once_while_it_does_not_change(desk, monkeypatch):
    desk.write("a.pdf", b"one")
    composer = desk.composer("Attach: a.pdf\n" + PLAIN)
    reads = []
    real_open = os.open
    monkeypatch.setattr(os, "open", lambda *args, **kwargs: reads.append(args) or real_open(*args, **kwargs))
    for row in range(5):
        composer.examine(recipient({"name": "Zoë"}, row))
    assert len(reads) == 1


def test_an_invitation_stands_beside_the_text_and_among_the_files(desk):
    desk.write("party.ics", b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n")
    message = judge.read(seal(desk.letter("Attach: party.ics\n" + PLAIN, {"name": "Zoë"})).content)
    assert [part.media_type for part in message.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "text/calendar",
        "text/calendar",
    ]
    assert all(p.parameters["method"] == "REQUEST" for p in message.walk() if p.media_type == "text/calendar")


def test_pictures_of_the_folder_are_shown_in_the_letter_once_each(desk):
    desk.write("images/logo.png", b"PNG")
    text = (
        'Subject: x\n\n<img src="images/logo.png" alt="a"><img alt="b" src="images/logo.png">'
        '<img src="https://x.example/y.png" alt="">'
    )
    letter = desk.letter(text, name="letter.html")
    (picture,) = letter.attachments
    assert letter.html.count(f"cid:{picture.content_id}") == 2
    assert "https://x.example/y.png" in letter.html
    assert [p.media_type for p in judge.read(seal(letter).content).walk()] == [
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
    ]


def test_a_row_may_choose_its_picture(desk):
    desk.write("images/a.png", b"A")
    text = (
        'Subject: x\n\n<p>Hi {{ who }}</p><img src="images/{{ who }}.png" alt="{{ who }}">'
        '<img src="{{ url }}" alt="">'
    )
    assert (
        desk.letter(text, {"who": "a", "url": "https://x.example/y.png"}, "letter.html")
        .attachments[0]
        .content
        == b"A"
    )
    assert len(desk.letter(text, {"who": "a", "url": "images/a.png"}, "letter.html").attachments) == 1
    assert "no file" in only_problem(desk.examine(text, {"who": "b", "url": "x:y"}, "letter.html")).message


def test_a_missing_picture_is_found_by_the_check(desk):
    assert only_problem(desk.examine("Subject: x\n\n![Logo](images/no.png)\n")).kind == "attachment"


# Whatever a cell holds, the message holds no header, part or recipient that was not planned.

HOSTILE = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "x\r\nBcc: evil@x.example",
            "\n\n<script>",
            "=?utf-8?q?=0A?=",
            "a@b.example, c@d.example",
            "<b>&amp;\"'",
            "--=_alternative_",
            "]( javascript:alert(1))",
            "{{ x }}",
            "\x01Bcc: evil@x.example",
            "\x02\x03",
            "../../etc/passwd",
            "mz0n1z",
            "`*_[x](y)_*`",
            "\u202eevil",
            "a" * 2000,
            "data:text/html,x",
            "\ud800",
            "%s{0}",
            "<style>",
        ]
    ),
)
LETTERS = [
    (
        "letter.md",
        (
            "Subject: Hi {{ a }}\nTo: {{ b }} <{{ email }}>\n"
            "X-Note: {{ c }}\nPreheader: {{ a }}\n\n# {{ a }}\n"
            "\n[{{ b }}]({{ c }}) <{{ c }}> *{{ a }}* `{{ b }}`\n"
            "\n| {{ a }} | b |\n|--|--|\n| {{ c }} | d |\n"
        ),
    ),
    (
        "letter.html",
        (
            "Subject: {{ a }}{{ b }}\nUnsubscribe: https://x.example/{{ c|urlencode }}\n"
            '\n<style>p{color:red}</style><p class="{{ c }}">{{ a }}</p><a href="{{ b }}" title="{{ '
            'c }}">{{ c }}</a><p title={{ a }}>x</p>'
        ),
    ),
    (
        "letter.txt",
        (
            "Subject: {{ a }}\nCc: {{ b }} <boss@x.example>\n"
            "\n{{ a }}\n{% if b %}{{ b }}{% endif %}\n"
            "{{ c }}\n"
        ),
    ),
    (
        "letter.txt",
        (
            "Subject: s\nReply-To: {{ a }} <desk@x.example>\nBcc: {{ b }} <boss@x.example>\n"
            "List-Id: {{ c }} <news.x.example>\nIn-Reply-To: <{{ b }}@x.example>\nReferences: {{ a }}\n"
            "Attach: files/a.pdf\nAttach-As: {{ c }}.pdf\n\n{{ a }}\n"
        ),
    ),
    ("letter.md", "Subject: s {{ a }}\n\n{% set x %}{{ b }}{% endset %}{{ x|upper }} **{{ c }}**\n"),
]


ALLOWED_TAGS = {
    *("html", "head", "meta", "style", "body", "div", "h1", "p", "a", "em", "strong", "code", "br", "hr"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.sampled_from(LETTERS), HOSTILE, HOSTILE, HOSTILE)
@example(LETTERS[-1], "", "\t", "")
@example(LETTERS[-1], "", "     x", "")
def test_hostile_cells_add_nothing_to_a_message(desk, letter, a, b, c):
    name, text = letter
    desk.write("files/a.pdf", b"%PDF")
    composer = desk.composer(text, name)
    row = recipient({"a": a, "b": b, "c": c})
    examined = composer.examine(row)
    if not examined.digest:
        assert examined.problems
        with pytest.raises(ContentError):
            composer.compose(row, key="k", message_id="<m@ada.example>", date=DATE)
        return
    composed = composer.compose(row, key="k", message_id="<m@ada.example>", date=DATE)
    assert set(composed.envelope.recipients) <= {"zoe@x.example", "boss@x.example"}
    message = judge.read(seal(composed).content)
    allowed = {
        "From",
        "To",
        "Cc",
        "Subject",
        "Reply-To",
        "X-Note",
        "List-Id",
        "In-Reply-To",
        "References",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "Date",
        "Message-ID",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    }
    assert set(message.names()) <= allowed
    assert len(message.names()) == len(set(message.names()))
    assert judge.mailboxes(message.get("To"))[0][1] == "zoe@x.example"
    tags = Tags()
    tags.feed(composed.html or "")
    assert tags.names <= ALLOWED_TAGS
    assert not any(link.strip().lower().startswith(("javascript:", "data:")) for link in tags.links)
    assert [part.filename for part in message.files()] == [file.name for file in composed.attachments]
    texts = [part.media_type for part in message.walk() if not part.parts and not part.disposition]
    assert texts in (
        ["text/plain"],
        ["text/plain", "text/html"],
    )


@pytest.mark.parametrize(
    ("name", "text", "digest"),
    [
        (
            "letter.txt",
            "Subject: Hi {{ name }}\n\nDear {{ name }},\nbye\n",
            "7a641fa442f6b206601987e00fd24a8c5f08cff8c372ee38467ba220da983bbe",
        ),
        (
            "letter.html",
            (
                "Subject: Hi {{ name }}\nTo: {{ name }} <{{ email }}>\nCc: Boss <boss@x.example>\n"
                "Bcc: secret@x.example\nReply-To: desk@ada.example\nPreheader: For {{ name }}\n"
                "Unsubscribe: https://x.example/?u={{ email|urlencode }}\nAttach: invoice.txt\n"
                "Attach-As: bill {{ name }}.txt\nX-Note: a\n\n<p>{{ name }} &amp; {{ note }}</p>\n"
            ),
            "484bee387a9e7ee574ba7318507d63113a20a7415ca641c141a2b5df894ea669",
        ),
        (
            "letter.md",
            (
                "Subject: Hi\nContent-Language: de\n\n# {{ name }}\n\n{{ note }} "
                "{% for i in range(3) %}{{ i }} {% endfor %}\n"
            ),
            "ef6a04cc6cc150bf8c505a4f07ab30be0035ecbbd78499b9e400abf528825f1c",
        ),
    ],
)
def test_the_digest_of_a_letter_stays_as_journals_have_it(desk, name, text, digest):
    desk.write("invoice.txt", "12 EUR\n")
    assert desk.letter(text, {"name": "Zoë, Dr.", "note": "a <b>\nc"}, name).digest == digest


def test_the_texts_of_a_letter_are_put_together_when_they_are_asked_for(desk):
    letter = desk.letter("Subject: x\n\nHi {{ name }}!\n", {"name": "Zoë"}, "letter.txt")
    assert letter.woven_text is not None
    assert (letter.text, letter.html) == ("Hi Zoë!\n", None)
    again = replace(letter, row=9)
    assert (again.text, again.html, again.digest) == (letter.text, None, letter.digest)
    assert replace(again, row=letter.row) == letter
    with pytest.raises(AttributeError, match="nosuch"):
        letter.nosuch  # noqa: B018 - that it is none is what is tested


@pytest.mark.parametrize(
    "lines",
    [
        "Unsubscribe: https://x.example/u\nList-Unsubscribe: <https://x.example/v>",
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click\nUnsubscribe: mailto:u@x.example",
        "List-Help: <https://x.example/a>\nList-Help: <https://x.example/b>",
    ],
)
def test_no_list_header_goes_out_twice(desk, lines):
    problem = only_problem(desk.examine(f"Subject: x\n{lines}\n\nhi\n"))
    assert problem.line == 3


@pytest.mark.parametrize(
    ("line", "domain"),
    [
        ("Ada <news@cafe-münchen.example>", "xn--cafe-mnchen-yhb.example"),
        ('"me@home.example" <news@club.example>', "club.example"),
        ("{{ name }} <news@Club.example>", "club.example"),
        ("{{ name }} <{{ email }}>", "ada.example"),
    ],
)
def test_the_message_id_is_in_the_domain_of_the_from(desk, line, domain):
    assert desk.composer(f"From: {line}\nSubject: x\n\nhi\n").domain == domain


def test_an_attached_message_is_not_encoded_as_a_message(desk):
    desk.write("old.eml", b"From: a@x.example\r\n\r\nhi\r\n")
    letter = desk.letter("Subject: x\nAttach: old.eml\n\nhi\n")
    for content in (seal(letter).content, email_message(letter).as_bytes()):
        (part,) = judge.read(content).files()
        assert (part.media_type, part.filename) == ("application/octet-stream", "old.eml")
        assert part.content == b"From: a@x.example\r\n\r\nhi\r\n"


@pytest.mark.parametrize("line", ["Attach: {{ name }}", "Attach: a.pdf\nAttach-As: {{ name }}"])
def test_a_file_name_that_reads_in_another_order_is_refused(desk, line):
    desk.write("a.pdf", b"x")
    desk.write("a\u202efdp.exe", b"x")
    examined = desk.examine(f"Subject: x\n{line}\n\nhi\n", {"name": "a\u202efdp.exe"})
    assert "U+202E" in only_problem(examined).message


def test_a_receipt_is_asked_for_in_the_message_of_python_too(desk):
    letter = desk.letter("Subject: x\nDisposition-Notification-To: Ádá <a@x.example>\n\nhi\n")
    for content in (seal(letter).content, email_message(letter).as_bytes()):
        value = judge.read(content).get("Disposition-Notification-To")
        assert judge.mailboxes(value) == [("Ádá", "a@x.example")]


def test_an_invitation_is_one_in_small_letters_too_and_never_falsely_called_utf8(desk):
    for name, line, found in [
        ("a.ics", b"method:request", "text/calendar; charset=utf-8; method=REQUEST"),
        ("b.ics", b"METHOD:REQUEST\r\nSUMMARY:\xfc", "application/octet-stream"),
    ]:
        desk.write(name, b"BEGIN:VCALENDAR\r\n" + line + b"\r\nEND:VCALENDAR\r\n")
        letter = desk.letter(f"Subject: x\nAttach: {name}\n\nhi\n")
        assert letter.attachments[0].media_type == found
        judge.read(seal(letter).content)
