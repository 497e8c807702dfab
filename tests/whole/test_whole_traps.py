"""Whatever a cell holds arrives as it is or is refused: it never becomes a header, HTML or a command."""

from __future__ import annotations

import csv
import io
import mailbox
import os

import pytest
from whole_kit import campaign, results, serving, states
from whole_kit import here as run

MARKED_UP = (
    "Subject: For {{ name }}\nContent-Type: text/html\n\n"
    '<html lang="en"><body><p>Hi {{ name }}, <b>{{ number }}</b></p></body></html>\n'
)


def table(*rows: tuple[str, ...], header: tuple[str, ...] = ("name", "email", "number")) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


@pytest.mark.parametrize(
    "cell",
    [
        "X\nBcc: evil@x.example",
        "X\r\n\r\nA body of its own",
        "X\x0bBcc: evil@x.example",
        "X\u2028Bcc: evil@x.example",
        "X\x85Bcc: evil@x.example",
        "=?utf-8?q?X=0ABcc:_evil@x.example?=",
        "X\x1b[2J",
    ],
    ids=["LF", "CRLF", "VT", "LS", "NEL", "encoded word", "ESC"],
)
def test_a_cell_cannot_add_a_header(tmp_path, cell):
    rows = table(("Ada", "ada@x.example", "1"), (cell, "bob@x.example", "2"))
    with serving() as server:
        folder = campaign(tmp_path / "c", rows, server=server)
        refused = run("send", "--confirm", "2", cwd=folder)
        assert refused.code == 1, refused
        assert "1 of 2 rows" in refused.err
        assert not server.lines
        assert run("send", "--skip-invalid", "--confirm", "1", cwd=folder).code == 0
        assert list(server.counts) == ["ada@x.example"]


@pytest.mark.parametrize(
    "address",
    [
        "bob@x.example\nBcc: evil@x.example",
        "bob@x.example, evil@x.example",
        "bob@x.example;evil@x.example",
        "<bob@x.example> ORCPT=rfc822;evil@x.example",
        "bob@x.example> NOTIFY=NEVER",
        "alice@x.example)evil@x.example",
        "@relay.example:bob@x.example",
        "bob%x.example@evil.example",
        "bob@[127.0.0.1]",
        "Bob <bob@x.example>, evil@x.example",
        "bob@x.example\x00",
        "a" * 65 + "@x.example",
    ],
)
def test_a_cell_is_one_address_or_its_row_is_invalid(tmp_path, address):
    if "\x00" in address:
        rows = table(("Ada", "ada@x.example", "1")) + f"Bob,{address},2\n"
    else:
        rows = table(("Ada", "ada@x.example", "1"), ("Bob", address, "2"))
    folder = campaign(tmp_path / "c", rows)
    said = run("send", "--sandbox", cwd=folder)
    assert said.code == 1, said
    assert "people.csv" in said.err
    assert not list((folder / "sandbox").glob("*.eml"))


def test_what_looks_like_jinja_in_a_cell_stays_what_it_is(tmp_path):
    cells = ["{{ 7 * 7 }}", "{% raw %}", "{# gone #}", "{{ email", "${x} %s {0}"]
    rows = [(cell, f"p{place}@x.example", str(place)) for place, cell in enumerate(cells)]
    with serving() as server:
        folder = campaign(tmp_path / "c", table(*rows), server=server)
        assert run("send", "--confirm", "5", cwd=folder).code == 0
        assert [mail.message["Subject"] for mail in server.mails] == [f"News for {cell}" for cell in cells]
        assert [mail.text.splitlines()[0] for mail in server.mails] == [f"Hi {cell}," for cell in cells]


def test_html_in_a_cell_is_text_in_an_html_letter(tmp_path):
    cell = '<script>alert(1)</script> & "O\'Brien"'
    with serving() as server:
        folder = campaign(
            tmp_path / "c", table((cell, "ada@x.example", "<b>1</b>")), MARKED_UP, server=server
        )
        assert run("send", "--confirm", "1", cwd=folder).code == 0
        mail = server.mails[0]
        assert "<script" not in mail.html
        assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;" in mail.html
        assert mail.message["Subject"] == f"For {cell}", "a subject is no HTML"
        assert cell in mail.text, "nor is the text part"


def test_html_in_a_cell_is_text_in_a_markdown_letter(tmp_path):
    rows = table(("<script>alert(1)</script>", "ada@x.example", "[x](javascript:alert(1))"))
    letter = "Subject: News\n\nHi {{ name }}, **{{ number }}**\n"
    with serving() as server:
        folder = campaign(tmp_path / "c", rows, letter, server=server)
        (folder / "letter.txt").rename(folder / "letter.md")
        toml = folder / "campaign.toml"
        toml.write_text(toml.read_text().replace("letter.txt", "letter.md"))
        assert run("send", "--confirm", "1", cwd=folder).code == 0
        assert "<script" not in server.mails[0].html
        assert "href" not in server.mails[0].html


def test_every_script_arrives_as_it_was_written(tmp_path):
    names = [
        "Zoë Álvarez",
        "山田 太郎",
        "אברהם כהן",
        "سارة حداد",
        "Ольга",
        "🙂 Ada",
        "ᐋᓂ ᐃᓄᒃ",
        "é vs. e\u0301",
        "a" * 300,
    ]
    rows = [(name, f"p{place}@x.example", "ü") for place, name in enumerate(names)]
    with serving() as server:
        folder = campaign(tmp_path / "c", table(*rows), server=server)
        assert run("send", "--confirm", str(len(names)), cwd=folder).code == 0
        assert [mail.message["Subject"] for mail in server.mails] == [f"News for {name}" for name in names]
        assert [mail.text.splitlines()[0] for mail in server.mails] == [f"Hi {name}," for name in names]
        assert all(max(map(len, mail.content.splitlines())) <= 998 for mail in server.mails)
        assert all(mail.content.isascii() for mail in server.mails)


def test_cells_are_the_text_that_a_person_sees(tmp_path):
    cells = [
        "01234",
        "NA",
        "null",
        "None",
        "nan",
        "#N/A",
        "1e5",
        "1.10",
        "TRUE",
        "=1+1",
        "+49 30",
        "-5",
        "0x1F",
        "1_000",
    ]
    rows = [(cell, f"p{place}@x.example", cell) for place, cell in enumerate(cells)]
    with serving() as server:
        folder = campaign(tmp_path / "c", table(*rows), server=server)
        assert run("send", "--confirm", str(len(cells)), cwd=folder).code == 0
        assert [mail.text for mail in server.mails] == [
            f"Hi {cell},\n\nyour number is {cell}.\n" for cell in cells
        ]


def test_an_empty_cell_is_empty_and_default_stands_in(tmp_path):
    letter = "Subject: News\n\nHi {{ name|default('there') }}, your number is {{ number }}.\n"
    with serving() as server:
        folder = campaign(tmp_path / "c", table(("", "ada@x.example", "")), letter, server=server)
        said = run("send", "--confirm", "1", cwd=folder)
        assert said.code == 0
        assert server.mails[0].text == "Hi there, your number is .\n"
        told = run("check", cwd=folder).out
        assert "warning" in told
        assert "number" in told, "an empty value that nothing stands in for is worth a word"


def test_the_same_address_twice_gets_one_letter(tmp_path):
    rows = table(
        ("Ada", "ada@x.example", "1"),
        ("", "", ""),
        ("Ada", " ADA@X.Example\u00a0", "2"),
        ("Bob", "bob@müller.example", "3"),
        ("Bob", "bob@xn--mller-kva.example", "4"),
    )
    with serving() as server:
        folder = campaign(tmp_path / "c", rows, server=server)
        said = run("send", "--confirm", "2", cwd=folder)
        assert said.code == 0, said
        assert server.counts == {"ada@x.example": 1, "bob@xn--mller-kva.example": 1}
        assert states(folder) == {"sent": 2, "skipped": 3}
        kept = results(folder)
        assert [row["row"] for row in kept] == ["2", "3", "4", "5", "6"]
        assert [row["state"] for row in kept] == ["sent", "skipped", "skipped", "sent", "skipped"]
        assert "empty" in kept[1]["reply"]
        assert "row 2" in kept[2]["reply"]


def test_columns_with_blanks_and_capitals_go_by_two_names(tmp_path):
    rows = table(("Ada", "ada@x.example", "7"), header=(" First Name ", "E-Mail Address", "Größe (cm)"))
    letter = 'Subject: {{ first_name }}\n\n{{ row["First Name"] }} {{ row["Größe (cm)"] }} {{ grosse_cm }}\n'
    with serving() as server:
        folder = campaign(tmp_path / "c", rows, letter, server=server)
        said = run("send", "--confirm", "1", cwd=folder)
        assert said.code == 0, said
        assert server.mails[0].text == "Ada 7 7\n"


@pytest.mark.parametrize(
    "names", [("items", "keys", "self"), ("loop", "range", "row"), ("class", "import", "None")]
)
def test_columns_with_names_of_the_language_do_no_harm(tmp_path, names):
    rows = table(("ada@x.example", "1", "2", "3"), header=("email", *names))
    letter = "Subject: News\n\n" + " ".join(f'{{{{ row["{name}"] }}}}' for name in names) + "\n"
    folder = campaign(tmp_path / "c", rows, letter)
    said = run("send", "--sandbox", cwd=folder)
    assert said.code == 0, said
    (letter_file,) = (folder / "sandbox").glob("*.eml")
    assert b"1 2 3" in letter_file.read_bytes()


@pytest.mark.parametrize(
    "expression",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ name.format }}{{ '{0.__class__}'.format(name) }}",
        "{% for x in range(10**9) %}{% endfor %}",
        "{% include '../secret.txt' %}",
        "{% include '/etc/hostname' %}",
    ],
)
def test_a_letter_cannot_reach_out_of_its_campaign(tmp_path, expression):
    (tmp_path / "secret.txt").write_text("the secret")
    folder = campaign(tmp_path / "c", letter=f"Subject: News\n\n{expression}\n")
    said = run("send", "--sandbox", cwd=folder)
    assert said.code == 1, said
    assert "letter.txt" in said.err
    assert "the secret" not in said.err
    assert not list((folder / "sandbox").glob("*.eml"))


@pytest.mark.parametrize("path", ["../secret.txt", "files", "files/link.txt", "files/pipe"])
def test_a_cell_cannot_attach_what_is_not_the_campaigns(tmp_path, path):
    (tmp_path / "secret.txt").write_text("the secret")
    folder = campaign(
        tmp_path / "c", table(("Ada", "ada@x.example", path)), "Subject: News\nAttach: {{ number }}\n\nHi\n"
    )
    (folder / "files").mkdir()
    (folder / "files" / "link.txt").symlink_to(tmp_path / "secret.txt")
    os.mkfifo(folder / "files" / "pipe")
    said = run("send", "--sandbox", cwd=folder)
    assert said.code == 1, said
    assert path in said.err
    assert not list((folder / "sandbox").glob("*.eml"))


def test_bcc_is_in_the_envelope_and_nowhere_else(tmp_path):
    letter = "Subject: News\nCc: cleo@x.example\nBcc: archive@x.example\n\nHi {{ name }}\n"
    with serving() as server:
        folder = campaign(tmp_path / "c", table(("Ada", "ada@x.example", "1")), letter, server=server)
        assert run("send", "--confirm", "1", cwd=folder).code == 0
        (mail,) = server.mails
        assert set(mail.recipients) == {"ada@x.example", "cleo@x.example", "archive@x.example"}
        assert b"archive" not in mail.content
        assert run("preview", "--eml", "eml", "--out", "look.html", cwd=folder).code == 0
        for path in (*(folder / "eml").iterdir(), folder / "look.html"):
            assert b"archive@" not in path.read_bytes()


def test_dots_and_from_lines_and_long_lines_arrive_as_they_were_written(tmp_path):
    body = f".\n..\n.hidden\nFrom me\n>From you\n{'x' * 3000}\nend\n"
    with serving() as server:
        folder = campaign(tmp_path / "c", letter=f"Subject: News\n\n{body}", server=server)
        assert run("send", "--confirm", "3", cwd=folder).code == 0
        assert all(mail.text == body for mail in server.mails)
        assert run("preview", "--mbox", "all.mbox", cwd=folder).code == 0
        box = mailbox.mbox(folder / "all.mbox")
        assert len(box) == 3
        box.close()
