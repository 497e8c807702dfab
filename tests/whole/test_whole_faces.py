"""The same letters from every side: sent, looked at, and in Python."""

from __future__ import annotations

import dataclasses
import mailbox
import re
import subprocess
import sys
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from whole_kit import COMMAND, campaign, decent, environment, people, run, serving, states

from merge import Campaign, State
from merge.errors import ApprovalError, ConfigError, ContentError, LockedError
from merge.sending import Consent
from merge.template import Template

OURS_PER_RUN = re.compile(rb"^(Date|Message-ID):.*\r\n(?:[ \t].*\r\n)*", re.MULTILINE)


def same(content: bytes) -> bytes:
    """What stays of a message when it is made again at another time, before anything was sent."""
    return OURS_PER_RUN.sub(b"", content)


def test_what_the_preview_writes_is_what_is_sent(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", people(5), server=server)
        said = run("preview", "--eml", "eml", "--mbox", "all.mbox", "--out", "look.html", cwd=folder)
        assert said.code == 0, said
        assert said.out.split() == ["look.html", "eml", "all.mbox"]
        assert "Nothing was sent" in said.err
        assert not server.lines
        assert not (folder / "journal.db").exists()
        assert run("send", "--confirm", "5", cwd=folder).code == 0
        shown = [path.read_bytes() for path in sorted((folder / "eml").iterdir())]
        assert [same(content) for content in shown] == [same(mail.content) for mail in server.mails]
        box = mailbox.mbox(folder / "all.mbox")
        assert [letter["Subject"] for letter in box] == [
            letter["Subject"] for letter in map(message_from_bytes, shown)
        ]
        box.close()
        page = (folder / "look.html").read_text("utf-8")
        fingerprint = re.search(r"(?i)fingerprint (\S+-\w+)", said.err)
        assert fingerprint
        assert fingerprint[1] in page
        assert "p0001@x.example" not in page, "who approves needs no addresses"


def test_the_preview_of_rows_is_of_those_rows(tmp_path):
    folder = campaign(tmp_path / "c", people(5))
    said = run("preview", "--eml", "eml", "--rows", "3-4", cwd=folder)
    assert said.code == 0
    assert len(list((folder / "eml").iterdir())) == 2
    assert "2 letters" in said.err


def test_python_gives_the_messages_that_the_command_sends(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", server=server)
        messages = list(Campaign.load(folder).messages())
        assert all(isinstance(message, EmailMessage) for message in messages)
        assert run("send", "--confirm", "3", cwd=folder).code == 0
        for message, mail in zip(messages, server.mails, strict=True):
            assert message["Subject"] == mail.message["Subject"]
            assert message["To"] == mail.message["To"]
            body = message.get_body(("plain",))
            assert body is not None
            assert body.get_content() == mail.text
            again = message_from_bytes(message.as_bytes(), policy=policy.default)
            assert again["Subject"] == message["Subject"]


def test_python_checks_sends_and_tells(tmp_path):
    with serving(replies={"RCPT p0002@x.example": ["550 5.1.1 no"]}) as server:
        folder = campaign(tmp_path / "c", server=server)
        found = Campaign.load(folder)
        assert found.check() == []
        assert found.name == "c"
        dry = found.send(dry_run=True)
        assert (dry.proposal.tries, dry.tried, dry.exit_code) == (3, 0, 0)
        assert not server.lines
        with pytest.raises(ApprovalError, match="would send 3, not the confirmed 4"):
            found.send(confirm=4)
        summary = found.send(confirm=3)
        assert (summary.tried, summary.exit_code) == (3, 3)
        assert summary.states[State.SENT] == 2
        assert summary.states[State.FAILED] == 1
        assert [record.to for record in summary.troubles] == ["p0002@x.example"]
        assert found.status()["states"] == {**dict.fromkeys(State, 0), "sent": 2, "failed": 1}
        assert [record.row for record in found.records()] == [2, 3, 4]
        server.replies.clear()
        assert found.send(retry_failed=True).exit_code == 0
        assert states(folder) == {"sent": 3}


def test_python_gives_the_messages_of_the_rows_that_are_sent_and_of_no_others(tmp_path):
    rows = [
        "email,name,number",
        "ada@x.example,Ada,1",
        "bob@x.example,Bob,1,2,3",
        "ADA@x.example,Again,2",
        "cleo@x.example,,3",
        "cleo@x.example,Cleo,4",
        "nobody,Nobody,5",
        "dan@x.example,Dan,6",
        "",
    ]
    letter = "Subject: {{ name }}\n\nYour number is {{ number }}.\n"
    with serving() as server:
        folder = campaign(tmp_path / "c", "\n".join(rows), letter, server=server)
        messages = list(Campaign.load(folder).messages())
        assert run("send", "--confirm", "2", "--skip-invalid", cwd=folder).code == 0
        sent = [mail.message["Subject"] for mail in server.mails]
    assert [message["Subject"] for message in messages] == sent == ["Ada", "Dan"]


def test_each_row_is_rendered_once_for_its_message(tmp_path, monkeypatch):
    rendered = []
    render = Template.render
    monkeypatch.setattr(
        Template, "render", lambda self, recipient: rendered.append(recipient.row) or render(self, recipient)
    )
    found = Campaign.load(campaign(tmp_path / "c"))
    assert len(list(found.messages())) == len(rendered) == 3


def test_a_letter_that_no_row_can_have_is_an_error_and_not_an_empty_answer(tmp_path):
    folder = campaign(tmp_path / "c", letter="Subject: {{ nme }}\n\nHi\n")
    with pytest.raises(ContentError, match="cannot be sent") as refused:
        list(Campaign.load(folder).messages())
    assert refused.value.problems[0].line == 1


def test_python_says_what_is_wrong_by_kind_of_error(tmp_path):
    folder = campaign(tmp_path / "c", "name,email,number\nAda,nobody,1\n")
    (problem,) = Campaign.load(folder).check()
    assert (problem.severity, problem.kind, problem.row, problem.value) == ("error", "address", 2, "nobody")
    with pytest.raises(ContentError) as refused:
        Campaign.load(folder).send(sandbox=True)
    assert refused.value.problems == (problem,)
    (folder / "campaign.toml").write_text("nonsense = 1\n")
    with pytest.raises(ConfigError, match="nonsense"):
        Campaign.load(folder)


def test_python_refuses_a_second_run_at_the_same_time_too(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", people(20), server=server)
        held = Campaign.load(folder)

        class Curious(Consent):
            def approve(self, proposal, way, settings) -> bool:
                with pytest.raises(LockedError):
                    Campaign.load(folder).send()
                return False

        assert held.send(talk=Curious()).exit_code == 1
        assert not server.mails


def test_import_is_quick_and_pulls_in_nothing_heavy():
    heavy = "pandas,numpy,jinja2,email_validator,css_inline,resiliparse,markdown_it,aiosmtpd,starlette,rich"
    script = f"import sys, merge, merge.cli; print([m for m in {heavy.split(',')!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--out", "no/look.html"], 2),
        (["--mbox", "no/all.mbox"], 2),
        (["--eml", "people.csv"], 2),
        (["--mbox", "/"], 2),
    ],
)
def test_a_place_that_cannot_be_written_to_is_named(tmp_path, words, code):
    folder = campaign(tmp_path / "c")
    said = run("preview", *words, cwd=folder)
    assert said.code == code, said
    assert words[1] in said.err


def test_closed_streams_and_early_readers_are_no_trouble(tmp_path):
    rows = [row | {"email": "nobody"} for row in people(400)]
    folder = campaign(tmp_path / "c", rows)
    for way in ("status >&-", "status 2>&-", "status <&-", "check --format json | head -n 1"):
        done = subprocess.run(
            ["sh", "-c", f"{COMMAND} {way}"],
            cwd=folder,
            env=environment(tmp_path / "home"),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done
        decent(done.stdout + done.stderr)


def test_a_list_that_changes_after_the_yes_is_noticed_before_anything_is_sent(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", people(4), server=server)
        text = (folder / "people.csv").read_text("utf-8")

        class Meddler(Consent):
            def approve(self, proposal, way, settings) -> bool:
                (folder / "people.csv").write_text(text.replace("00023757", "666"), "utf-8")
                return True

        summary = Campaign.load(folder).send(talk=Meddler())
        assert summary.ending
        assert "people.csv has changed" in str(summary.ending.stopped)
        assert summary.exit_code == 1
        assert not server.mails
        assert Campaign.load(folder).send(confirm=4).exit_code == 0
        assert "666" in server.mails[2].text


def test_a_row_that_is_not_what_was_approved_stops_the_run_before_it(tmp_path, monkeypatch):
    with serving() as server:
        folder = campaign(tmp_path / "c", people(20), server=server)
        found = Campaign.load(folder)
        compose = found.parts.composer.compose

        def otherwise(recipient, **facts):
            letter = compose(recipient, **facts)
            return dataclasses.replace(letter, digest="another") if recipient.row == 11 else letter

        monkeypatch.setattr(found.parts.composer, "compose", otherwise)
        summary = found.send()
        assert summary.ending
        assert "row 11 (p0010@x.example) is not what was checked" in str(summary.ending.stopped)
        assert summary.exit_code == 3
        assert 5 <= len(server.mails) <= 9, "what was ready before it goes out"
        assert Campaign.load(folder).send().exit_code == 0
        assert len(server.mails) == 20
        assert set(server.counts.values()) == {1}


def test_an_attachment_that_changes_after_the_yes_is_not_sent_unseen(tmp_path):
    with serving() as server:
        folder = campaign(tmp_path / "c", letter="Subject: News\nAttach: paper.txt\n\nHi\n", server=server)
        (folder / "paper.txt").write_text("as approved")

        class Meddler(Consent):
            def approve(self, proposal, way, settings) -> bool:
                (folder / "paper.txt").write_text("something else")
                return True

        Campaign.load(folder).send(talk=Meddler())
        assert all(b"something else" not in mail.content for mail in server.mails)
        sent = [next(iter(mail.message.iter_attachments())).get_content() for mail in server.mails]
        assert set(sent) <= {"as approved"}
