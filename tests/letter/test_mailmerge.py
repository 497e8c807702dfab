"""Letters written for awdeorio/mailmerge work as they are, and without its faults."""

from __future__ import annotations

import judge
import pytest
from letter_kit import recipient

from merge.seal import seal

NAME = "mailmerge_template.txt"


def read(letter):
    return judge.read(seal(letter).content)


def test_its_sample_letter(desk):
    text = (
        "TO: {{email}}\nSUBJECT: Testing mailmerge\n"
        "FROM: My Self <myself@mydomain.example>\n"
        "\nHi, {{name}},\n\nYour number is {{number}}.\n"
    )
    letter = desk.letter(text, {"email": "bob@bobdomain.example", "name": "Bob", "number": "17"}, NAME)
    assert letter.text == "Hi, Bob,\n\nYour number is 17.\n"
    assert letter.html is None
    assert letter.envelope.sender == "myself@mydomain.example"
    assert read(letter).get("Subject") == "Testing mailmerge"


def test_several_recipients_and_bcc(desk):
    text = (
        "TO: {{email}}, Ann <ann@x.example>\nCC: c@x.example\n"
        "BCC: My Self <me@x.example>, d@x.example\n"
        "REPLY-TO: r@x.example\nSUBJECT: x\nFROM: f@x.example\n"
        "\nhi\n"
    )
    letter = desk.letter(text, name=NAME)
    assert letter.envelope.recipients == (
        "zoe@x.example",
        "ann@x.example",
        "c@x.example",
        "me@x.example",
        "d@x.example",
    )
    assert b"me@x.example" not in seal(letter).content


def test_markdown_by_content_type_with_hard_breaks(desk):
    text = (
        "TO: {{email}}\nSUBJECT: x\nFROM: f@x.example\n"
        "CONTENT-TYPE: text/markdown\n\nYou can add:\n"
        "\n- Emphasis, aka *italics*.\n\nline one\n"
        "line {{n}}\n"
    )
    letter = desk.letter(text, {"n": "two"}, NAME)
    assert "<em>italics</em>" in letter.html
    assert "line one<br>\nline two" in letter.html
    assert "line one\nline two" in letter.text
    assert "CONTENT-TYPE" not in read(letter).names()


def test_html_by_content_type_escapes_cells_and_warns_once(desk):
    text = (
        "TO: {{email}}\nSUBJECT: x\nFROM: f@x.example\n"
        "Content-Type: text/html\n\n<html><body><p>Hi, {{name}},</p><p>{{number|safe}}</p>"
        "</body></html>\n"
    )
    cells = {"name": "<script>x</script> & co", "number": "<b>17</b>"}
    letter = desk.letter(text, cells, NAME)
    assert "&lt;script&gt;x&lt;/script&gt; &amp; co" in letter.html
    assert "<b>17</b>" in letter.html
    composer = desk.composer(text, NAME)
    kinds = [[problem.kind for problem in composer.examine(recipient(cells)).problems] for _ in range(3)]
    assert kinds == [["html"], [], []]


def test_hand_written_alternatives(desk):
    text = """TO: {{email}}
FROM: f@x.example
SUBJECT: x
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="boundary"

This is a MIME-encoded message.

--boundary
Content-Type: text/plain; charset=us-ascii

Hi, {{name}} & co
--boundary
Content-Type: text/html; charset=us-ascii

<html><body><p>Hi, {{name}} &amp; co</p></body></html>
--boundary--
"""
    letter = desk.letter(text, {"name": "<Zoë>"}, NAME)
    assert letter.text.strip() == "Hi, <Zoë> & co"
    assert "Hi, &lt;Zoë&gt; &amp; co" in letter.html
    message = read(letter)
    assert [part.media_type for part in message.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    assert b"--boundary" not in seal(letter).content


@pytest.mark.parametrize("shape", ["{% set who %}{{name}}{% endset %}{{who}}", "{{name}}"])
def test_hand_written_alternatives_with_blocks(desk, shape):
    text = (
        f"TO: {{{{email}}}}\nFROM: f@x.example\nSUBJECT: x\n"
        f"Content-Type: multipart/alternative; boundary=b\n"
        f"\n--b\nContent-Type: text/plain\n\nHi {shape}\n"
        f"--b\nContent-Type: text/html\n\n<p>Hi {shape}</p>\n"
        f"--b--\n"
    )
    letter = desk.letter(text, {"name": "A & <B>"}, NAME)
    assert letter.text.strip() == "Hi A & <B>"
    assert "Hi A &amp; &lt;B&gt;" in letter.html


def test_alternatives_without_an_html_part_are_an_error(desk):
    text = (
        "TO: {{email}}\nFROM: f@x.example\nSUBJECT: x\n"
        "Content-Type: multipart/alternative; boundary=b\n"
        "\n--b\nContent-Type: text/plain\n\nHi\n--b--\n"
    )
    assert "text/html" in desk.examine(text, name=NAME).problems[0].message


@pytest.mark.parametrize(
    "line", ["ATTACHMENT: {{f}}", "Attachment: sub/{{g}}.txt", "attachment: ../outside.txt"]
)
def test_attachments(desk, line):
    desk.write("sub/a.txt", b"hello")
    (desk.folder.parent / "outside.txt").write_text("hello")
    text = f"TO: {{{{email}}}}\nSUBJECT: x\nFROM: f@x.example\n{line}\n\nhi\n"
    (file,) = desk.letter(text, {"f": "sub/a.txt", "g": "a"}, NAME).attachments
    assert file.content == b"hello"


def test_an_attached_picture_that_the_letter_shows(desk):
    desk.write("image.jpg", b"JPG")
    text = (
        "TO: {{email}}\nSUBJECT: x\nFROM: f@x.example\n"
        "CONTENT-TYPE: text/html\nATTACHMENT: image.jpg\n"
        '\n<html><body><img src="image.jpg" alt="a"></body></html>\n'
    )
    letter = desk.letter(text, name=NAME)
    shown = [file for file in letter.attachments if file.content_id]
    assert letter.attachments == tuple(shown)
    assert len(shown) == 1
    assert f"cid:{shown[0].content_id}" in letter.html


def test_a_letter_that_extends_another_which_brings_the_headers(desk):
    desk.write(
        "base.txt",
        (
            "TO: {{email}}\nSUBJECT: {% block subject %}none{% endblock %}\n"
            "FROM: f@x.example\n\n{% block body %}{% endblock %}\n"
            "bye\n"
        ),
    )
    text = (
        '{% extends "base.txt" %}\n{% block subject %}Hi {{name}}{% endblock %}\n'
        "{% block body %}Dear {{name}},{% endblock %}\n"
    )
    letter = desk.letter(text, {"name": "Zoë"}, NAME)
    assert dict(letter.headers)["Subject"] == "Hi Zoë"
    assert letter.text == "Dear Zoë,\nbye\n"
    for cell in ("X\nBcc: evil@x.example", "X\n\nbody", "\x1b"):
        examined = desk.examine(text, {"name": cell}, NAME)
        assert examined.problems
        assert not examined.digest


def test_conditions_in_its_header_block(desk):
    text = "TO: {{email}}\n{% if boss %}CC: {{boss}}\n{% endif %}SUBJECT: x\nFROM: f@x.example\n\nhi\n"
    assert desk.letter(text, {"boss": "b@x.example"}, NAME).envelope.recipients == (
        "zoe@x.example",
        "b@x.example",
    )
    assert desk.letter(text, {"boss": ""}, NAME).envelope.recipients == ("zoe@x.example",)


def test_its_extra_headers_are_kept(desk):
    text = (
        "TO: {{email}}\nSUBJECT: x\nFROM: f@x.example\n"
        "X-Course: {{c}}\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n"
        "\nhi\n"
    )
    message = read(desk.letter(text, {"c": "EECS 485"}, NAME))
    assert message.get("X-Course") == "EECS 485"
    assert message.get("Date").startswith("Mon, 23 Nov 2026")


def test_utf8_everywhere(desk):
    text = (
        "TO: Laȝamon <{{email}}>\nSUBJECT: Laȝamon 😀 klâwen\n"
        "FROM: Ælfric <f@x.example>\n\nÞā wæs {{name}} 😀\n"
    )
    letter = desk.letter(text, {"name": "Laȝamon"}, NAME)
    message = read(letter)
    assert judge.phrase(message.get("Subject")) == "Laȝamon 😀 klâwen"
    assert judge.mailboxes(message.get("From")) == [("Ælfric", "f@x.example")]
    assert message.text("text/plain") == "Þā wæs Laȝamon 😀\r\n"


# Its faults: this must never happen here.


def test_a_line_break_in_a_subject_cell_adds_no_recipient(desk):
    text = "TO: {{email}}\nSUBJECT: Hi {{name}}\nFROM: f@x.example\n\nhi\n"
    assert "line break" in desk.examine(text, {"name": "X\nBcc: evil@x.example"}, NAME).problems[0].message


def test_two_addresses_in_a_cell_are_an_error(desk):
    text = "TO: {{email}}\nSUBJECT: Hi\nFROM: f@x.example\n\nhi\n"
    assert (
        "two addresses" in desk.examine(text, {"email": "a@x.example,b@x.example"}, NAME).problems[0].message
    )


@pytest.mark.parametrize("email", ["not-an-address", ""])
def test_what_is_no_address_is_an_error(desk, email):
    text = "TO: {{email}}\nSUBJECT: Hi\nFROM: f@x.example\n\nhi\n"
    assert desk.examine(text, {"email": email}, NAME).problems[0].severity == "error"


def test_long_lines_are_folded(desk):
    text = "TO: {{email}}\nSUBJECT: Hi\nFROM: f@x.example\n\n{{long}}\n"
    content = seal(desk.letter(text, {"long": "word " * 600}, NAME)).content
    assert max(map(len, content.split(b"\r\n"))) <= 76
