"""A letter of awdeorio/mailmerge works here as it is, and what went wrong there does not go wrong here."""

from __future__ import annotations

import re

from whole_kit import here as run
from whole_kit import serving

DATABASE = (
    'email,name,number,grade\nmyself@mydomain.example,"Myself",17,A\nbob@bobdomain.example,"Bob",42,B\n'
)
TEMPLATE = (
    "TO: {{email}}\nSUBJECT: Testing mailmerge\nFROM: My Self <myself@mydomain.example>\n\n"
    "Hi, {{name}},\n\nYour number is {{number}}.\n"
)
MARKDOWN = (
    "TO: {{email}}\nCC: tutor@x.example\nBCC: archive@x.example\nSUBJECT: Grade {{grade}}\n"
    "FROM: My Self <myself@mydomain.example>\nREPLY-TO: help@x.example\nATTACHMENT: {{name}}.txt\n"
    "Content-Type: text/markdown\n\n# Hi, {{name}}\nfirst line\nsecond line\n"
    "{% if grade == 'A' %}Well done.{% endif %}\n"
)


def of_mailmerge(folder, template=TEMPLATE, database=DATABASE):
    folder.mkdir()
    (folder / "mailmerge_template.txt").write_text(template, "utf-8")
    (folder / "mailmerge_database.csv").write_text(database, "utf-8")
    return folder


PAIR = ("mailmerge_database.csv", "mailmerge_template.txt")


def to(server):
    return {
        "MERGEPOST_HOST": "127.0.0.1",
        "MERGEPOST_PORT": str(server.port),
        "MERGEPOST_SECURITY": "none",
    }


def test_its_template_and_database_work_as_they_are(tmp_path):
    folder = of_mailmerge(tmp_path / "c")
    with serving() as server:
        said = run("send", *PAIR, "--confirm", "2", cwd=folder, env=to(server))
        assert said.code == 0, said
        assert [mail.text for mail in server.mails] == [
            "Hi, Myself,\n\nYour number is 17.\n",
            "Hi, Bob,\n\nYour number is 42.\n",
        ]
        message = server.mails[1].message
        assert (message["To"], message["Subject"]) == ("bob@bobdomain.example", "Testing mailmerge")
        assert message["From"] == "My Self <myself@mydomain.example>"
        assert server.mails[1].sender == "myself@mydomain.example"
        assert message["Message-ID"]
        assert message["Date"]


def test_its_markdown_with_attachments_copies_and_line_breaks(tmp_path):
    folder = of_mailmerge(tmp_path / "c", MARKDOWN)
    for name in ("Myself", "Bob"):
        (folder / f"{name}.txt").write_text(f"for {name} alone")
    with serving() as server:
        said = run("send", *PAIR, "--confirm", "2", cwd=folder, env=to(server))
        assert said.code == 0, said
        mail = server.mails[0]
        assert mail.recipients == ("myself@mydomain.example", "tutor@x.example", "archive@x.example")
        assert re.search(r"first line<br ?/?>\s*second line", mail.html), "its line breaks are kept"
        assert ["Well done" in one.html for one in server.mails] == [True, False]
        (attached,) = mail.message.iter_attachments()
        assert attached.get_filename() == "Myself.txt"
        assert attached.get_content().strip() == "for Myself alone"
        assert mail.message["Bcc"] is None
        assert mail.message["Reply-To"] == "help@x.example"


def test_several_addresses_in_to_all_get_it(tmp_path):
    folder = of_mailmerge(tmp_path / "c", TEMPLATE.replace("TO: {{email}}", "TO: {{email}}, tutor@x.example"))
    with serving() as server:
        assert run("send", *PAIR, "--confirm", "2", cwd=folder, env=to(server)).code == 0
        assert [mail.recipients[1] for mail in server.mails] == ["tutor@x.example"] * 2


def test_a_semicolon_or_tab_and_a_byte_order_mark_are_no_trouble(tmp_path):
    for place, delimiter in enumerate(";\t"):
        database = "\ufeff" + DATABASE.replace(",", delimiter)
        folder = of_mailmerge(tmp_path / f"c{place}", database=database)
        with serving() as server:
            assert run("send", *PAIR, "--confirm", "2", cwd=folder, env=to(server)).code == 0
            assert len(server.mails) == 2


def test_a_refused_recipient_whose_copy_is_accepted_is_not_called_sent(tmp_path):
    folder = of_mailmerge(tmp_path / "c", TEMPLATE.replace("SUBJECT", "BCC: archive@x.example\nSUBJECT"))
    with serving(replies={"RCPT myself@mydomain.example": ["550 no such user"]}) as server:
        said = run("send", *PAIR, "--confirm", "2", cwd=folder, env=to(server))
        assert said.code == 3
        assert [mail.recipients[0] for mail in server.mails] == ["bob@bobdomain.example"], "the run goes on"
        facts = run("status", *PAIR, "--json", cwd=folder).json
        assert (facts["states"]["sent"], facts["states"]["failed"]) == (1, 1)


def test_rows_that_it_would_send_nonsense_to_are_refused(tmp_path):
    for place, row in enumerate(["not-an-address,X,1,A", ",X,1,A", '"a@x.example,b@x.example",X,1,A']):
        folder = of_mailmerge(tmp_path / f"c{place}", database=f"{DATABASE}{row}\n")
        said = run("send", *PAIR, "--dry-run", cwd=folder)
        assert said.code == 1, said
        assert "4 |" in said.err


def test_a_short_row_is_told_of(tmp_path):
    folder = of_mailmerge(tmp_path / "c", database=f"{DATABASE}cleo@x.example\n")
    said = run("check", *PAIR, cwd=folder)
    assert re.search(r"4 \|", said.out), "its row never says: Your number is None"


def test_its_attachments_lie_beside_the_letter_wherever_the_command_is_given(tmp_path):
    folder = of_mailmerge(tmp_path / "c", MARKDOWN)
    for name in ("Myself", "Bob"):
        (folder / f"{name}.txt").write_text("x")
    said = run("check", *(f"c/{name}" for name in PAIR), cwd=tmp_path)
    assert said.code == 0, said
    assert not (folder / "journal.db").exists()
