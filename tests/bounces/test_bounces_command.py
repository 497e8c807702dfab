"""The command: a plan and a yes, once; what it writes, where, and how it ends."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import openpyxl
import pytest
import typer
import whole_kit
from bounces_kit import dsn, maildir, mark, sent
from whole_kit import here, serving

import merge
from merge.cli.after import bounces
from merge.clock import TestClock
from merge.console import Console
from merge.errors import ApprovalError, LockedError
from merge.journal import Journal
from merge.postbag import Where
from merge.unsubscribe import Tokens

ADA, BOB, CARL, DORA = (f"{name}@x.example" for name in ("ada", "bob", "carl", "dora"))
SECRET = "a-secret-of-the-club-long-enough"
REPORTED = "2026-11-23"
"""The day that reports bear; what bears none is of the day on which it is read."""
FULL = ("5.2.2", "smtp; 552 5.2.2 mailbox full")


@pytest.fixture
def campaign(tmp_path):
    return sent(tmp_path / "campaign", [ADA, BOB, CARL, DORA])


def mbox(path: Path, *mails: bytes) -> Path:
    path.write_bytes(
        b"".join(b"From MAILER-DAEMON Mon Nov 23 15:30:00 2026\n" + mail + b"\n" for mail in mails)
    )
    return path


def suppressed(campaign: Path) -> list[tuple[str, str]]:
    path = campaign / "suppressed.csv"
    if not path.exists():
        return []
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))))
    today = datetime.now(UTC).date().isoformat()
    assert all(REPORTED <= row["date"] <= today for row in rows)
    return [(row["address"], row["reason"]) for row in rows]


def status(campaign: Path):
    return here("status", "--json", cwd=campaign).json


def complaint(to: str) -> bytes:
    return (
        "Return-Path: <>\nFrom: feedback@isp.example\nMessage-ID: <c@isp.example>\n"
        "Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n"
        "--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nVersion: 1\n\n"
        f"--b\nContent-Type: text/rfc822-headers\n\nMessage-ID: <{mark(to)}@club.example>\n\n--b--\n"
    ).encode()


def goodbye(to: str) -> bytes:
    return f"From: {to}\nSubject: Re: unsubscribe {Tokens(SECRET).token(to)}\n\n\n".encode()


def test_a_plan_a_number_and_everything_is_in_its_place(campaign, tmp_path):
    box = maildir(tmp_path / "box", dsn(ADA), dsn(BOB, *FULL), complaint(CARL), b"Subject: hi\n\nhello\n")
    shown = here("bounces", "--maildir", box, "--dry-run", cwd=campaign)
    assert shown.code == 0
    assert "Bounced for good: to be suppressed (1)" in shown.out
    assert ADA in shown.out
    assert "552 5.2.2 mailbox full" in shown.out
    assert not (campaign / "suppressed.csv").exists()
    assert "bounced" not in status(campaign)

    done = here("bounces", "--maildir", box, "--confirm", "1", cwd=campaign)
    assert (done.code, suppressed(campaign)) == (0, [(CARL, "complaint"), (ADA, "bounced 5.1.1")])
    facts = status(campaign)
    assert facts["bounced"] == {"complaint": 1, "hard": 1, "soft": 1}
    assert facts["states"]["sent"] == 4
    replies = {row["to"]: (row["state"], row["reply"]) for row in whole_kit.results(campaign)}
    assert replies[ADA] == ("sent", "2.0.0 kept; bounced, hard: 5.1.1 550 5.1.1 no such user")
    assert replies[BOB][1].startswith("2.0.0 kept; bounced, soft: 5.2.2")
    assert replies[CARL][1] == "2.0.0 kept; called spam by its reader"
    assert replies[DORA][1] == "2.0.0 kept"
    assert (
        "came back: 1 called spam, 1 bounced for good, 1 bounced for now" in here("status", cwd=campaign).out
    )


@pytest.mark.parametrize("name", ["people-results.csv", "people-results.xlsx"])
def test_the_persons_own_sheet_shows_what_came_back_while_it_is_still_that_list(campaign, tmp_path, name):
    toml = campaign / "campaign.toml"
    text = toml.read_text("utf-8")
    if name.endswith("xlsx"):
        book = openpyxl.Workbook()
        for line in (campaign / "people.csv").read_text("utf-8").split():
            book.active.append([line])
        book.save(campaign / "people.xlsx")
        text = text.replace("people.csv", "people.xlsx")
    toml.write_text(f'results = "{name}"\n{text}', "utf-8")
    done = here("bounces", "--mbox", mbox(tmp_path / "one", dsn(BOB, *FULL)), cwd=campaign)
    assert (done.code, "as it was" in done.err) == (0, False)
    assert "bounced, soft" in sheet(campaign / name)[BOB]

    before = (campaign / name).read_bytes()
    if name.endswith("xlsx"):
        book.active.delete_rows(2)
        book.save(campaign / "people.xlsx")
    else:
        (campaign / "people.csv").write_text(f"email\n{BOB}\n{ADA}\n", "utf-8")
    done = here("bounces", "--mbox", mbox(tmp_path / "two", complaint(CARL)), cwd=campaign)
    assert done.code == 0
    assert f"{name} is as it was: people" in done.err
    assert (campaign / name).read_bytes() == before
    assert "called spam" in {row["to"]: row["reply"] for row in whole_kit.results(campaign)}[CARL]


def sheet(path: Path) -> dict[str, str]:
    """Each address of a returned sheet, with what its row says beside it."""
    if path.suffix == ".csv":
        rows = list(csv.reader(io.StringIO(path.read_text("utf-8-sig"))))
    else:
        rows = [[str(cell or "") for cell in row] for row in openpyxl.load_workbook(path).active.values]
    return {row[0]: " ".join(row[1:]) for row in rows}


def test_reading_the_mailbox_again_adds_nothing(campaign, tmp_path):
    box = maildir(tmp_path / "box", dsn(ADA), dsn(BOB, *FULL), complaint(CARL))
    here("bounces", "--maildir", box, "--confirm", "1", cwd=campaign)
    before = (
        (campaign / "suppressed.csv").read_bytes(),
        status(campaign),
        (campaign / "results.csv").read_bytes(),
    )
    again = here("bounces", "--maildir", box, "--json", cwd=campaign)
    assert (again.code, again.json["new"], again.json["known"], again.json["suppressed"]) == (0, [], 3, [])
    assert here("bounces", "--mbox", mbox(tmp_path / "m", dsn(ADA)), cwd=campaign).code == 0
    after = (
        (campaign / "suppressed.csv").read_bytes(),
        status(campaign),
        (campaign / "results.csv").read_bytes(),
    )
    assert after == before


def test_who_was_taken_off_the_list_by_hand_is_not_put_back_by_the_same_report(campaign, tmp_path):
    box = maildir(tmp_path / "box", dsn(ADA))
    here("bounces", "--maildir", box, "--confirm", "1", cwd=campaign)
    (campaign / "suppressed.csv").write_text("address,reason,date\n", "utf-8")
    assert here("bounces", "--maildir", box, cwd=campaign).code == 0
    assert suppressed(campaign) == []


def test_complaints_and_goodbyes_need_no_yes_hard_bounces_do(campaign, tmp_path):
    toml = campaign / "campaign.toml"
    toml.write_text(toml.read_text() + '[unsubscribe]\nmailto = "bye@club.example"\nsecret = {env = "S"}\n')
    box = maildir(tmp_path / "box", dsn(ADA), complaint(CARL), goodbye(DORA), goodbye("old@y.example"))
    said = here("bounces", "--maildir", box, "--no-input", cwd=campaign, env={"S": SECRET})
    assert said.code == 2
    assert "--confirm 1" in said.err
    assert {address for address, _ in suppressed(campaign)} == {CARL, DORA, "old@y.example"}
    assert status(campaign)["bounced"] == {"complaint": 1, "unsubscribed": 1}
    assert here("bounces", "--maildir", box, "--confirm", "1", cwd=campaign, env={"S": SECRET}).code == 0
    assert (ADA, "bounced 5.1.1") in suppressed(campaign)


def test_another_number_is_refused_and_shown_again(campaign, tmp_path):
    box = maildir(tmp_path / "box", dsn(ADA))
    said = here("bounces", "--maildir", box, "--confirm", "7", cwd=campaign)
    assert said.code == 1
    assert "--confirm 1" in said.err
    assert suppressed(campaign) == []
    assert "bounced" not in status(campaign)


def test_what_nothing_proves_needs_its_own_yes(campaign, tmp_path):
    forged = dsn(BOB, returned=b"Subject: hm\n\n")
    box = maildir(tmp_path / "box", dsn(ADA), forged)
    said = here("bounces", "--maildir", box, "--confirm", "1", cwd=campaign)
    assert said.code == 0
    assert "Not proven" in said.out
    assert [address for address, _ in suppressed(campaign)] == [ADA]
    assert status(campaign)["bounced"] == {"hard": 1}
    assert here("bounces", "--maildir", box, "--confirm-by-address", "2", cwd=campaign).code == 1
    assert here("bounces", "--maildir", box, "--confirm-by-address", "1", cwd=campaign).code == 0
    assert [address for address, _ in suppressed(campaign)] == [ADA, BOB]


def test_json_tells_everything_and_the_screen_nothing_twice(campaign, tmp_path):
    box = maildir(tmp_path / "box", dsn(ADA), dsn("stranger@y.example"), dsn(BOB, action="delayed"))
    said = here("bounces", "--maildir", box, "--json", "--dry-run", cwd=campaign)
    facts = json.loads(said.out)
    assert facts["mails"] == {"bounce": 2, "delayed": 1}
    assert (facts["read"], facts["unmatched"], facts["delayed"], facts["to_confirm"]) == (3, 1, 1, 1)
    (entry,) = facts["new"]
    assert (entry["to"], entry["row"], entry["edition"], entry["kind"], entry["code"]) == (
        ADA,
        2,
        "1",
        "hard",
        "5.1.1",
    )
    assert (entry["proof"], entry["certain"]) == ("Message-ID", True)


def test_quiet_prints_only_what_was_asked_for(campaign, tmp_path):
    box = maildir(tmp_path / "box", dsn(ADA))
    said = here("bounces", "--maildir", box, "--confirm", "1", "--quiet", cwd=campaign)
    assert said.err == ""


def test_nothing_in_the_mailbox_is_changed(campaign, tmp_path):
    box = maildir(tmp_path / "box", dsn(ADA), complaint(CARL))
    before = {path: path.stat().st_mtime_ns for path in box.rglob("*")}
    here("bounces", "--maildir", box, "--confirm", "1", cwd=campaign)
    assert {path: path.stat().st_mtime_ns for path in box.rglob("*")} == before


def test_the_mailbox_may_stand_in_campaign_toml(campaign, tmp_path):
    maildir(campaign / "box", dsn(ADA))
    toml = campaign / "campaign.toml"
    toml.write_text(toml.read_text() + '[bounces]\nmaildir = "box"\n')
    assert here("bounces", "--confirm", "1", cwd=campaign).code == 0
    assert [address for address, _ in suppressed(campaign)] == [ADA]


def test_it_works_beside_a_letter_that_names_no_mailbox_at_all(campaign):
    said = here("bounces", cwd=campaign)
    assert said.code == 2
    assert "--maildir DIR" in said.err


@pytest.mark.parametrize(
    ("words", "code", "what"),
    [
        (["--maildir", "nowhere"], 2, "no Maildir"),
        (["--mbox", "nowhere"], 2, "no file"),
        (["--mbox", "people.csv"], 2, "no mbox"),
        (["--mbox", "."], 2, "no mbox"),
        (["--imap"], 2, "names no imap"),
        (["--imap", "--mbox", "x"], 2, "only one"),
    ],
)
def test_a_place_that_is_none_is_said_so(campaign, words, code, what):
    said = here("bounces", *words, cwd=campaign)
    assert said.code == code
    assert what in said.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_mailbox_that_may_not_be_read_ends_with_4(campaign, tmp_path):
    path = mbox(tmp_path / "m", dsn(ADA))
    path.chmod(0)
    assert here("bounces", "--mbox", path, cwd=campaign).code == 4


def test_a_suppression_list_that_cannot_be_understood_stops_it_before_anything_is_recorded(
    campaign, tmp_path
):
    (campaign / "suppressed.csv").write_text("address,reason,date\nno address,,\n", "utf-8")
    said = here("bounces", "--maildir", maildir(tmp_path / "box", dsn(ADA)), "--confirm", "1", cwd=campaign)
    assert said.code == 1
    assert "bounced" not in status(campaign)
    (campaign / "suppressed.csv").unlink()
    assert here("bounces", "--maildir", tmp_path / "box", "--confirm", "1", cwd=campaign).code == 0


def test_a_run_that_is_sending_is_not_disturbed(campaign, tmp_path):
    box = maildir(tmp_path / "box", dsn(ADA))
    with Journal.open(campaign / "journal.db", edition="1", clock=TestClock()):
        assert here("bounces", "--maildir", box, cwd=campaign).code == LockedError.exit_code
        assert here("bounces", "--maildir", box, "--dry-run", cwd=campaign).code == 0


def test_before_anything_was_sent_every_report_is_a_strangers(tmp_path):
    folder = sent(tmp_path / "c", [ADA])
    for path in folder.glob("journal.db*"):
        path.unlink()
    said = here("bounces", "--maildir", maildir(tmp_path / "box", dsn(ADA)), cwd=folder)
    assert said.code == 0
    assert "about no letter of this campaign" in said.out
    assert not (folder / "journal.db").exists()


def test_forgetting_an_edition_forgets_its_bounces(campaign, tmp_path):
    here("bounces", "--maildir", maildir(tmp_path / "box", dsn(ADA)), "--confirm", "1", cwd=campaign)
    assert here("status", "--forget", cwd=campaign).code == 0
    assert status(campaign)["bounced"] == {"hard": 1}
    for path in campaign.glob("journal.db*"):
        assert ADA.encode() not in path.read_bytes()
        assert b"no such user" not in path.read_bytes()


def test_terminal_and_spreadsheet_are_safe_from_a_hostile_server(campaign, tmp_path):
    words = "smtp; 550 5.1.1 \x1b]0;owned\x07 \u202egnp.exe =HYPERLINK(1) no such user"
    box = maildir(tmp_path / "box", dsn(ADA, "5.1.1", words))
    said = here(
        "bounces", "--maildir", box, "--confirm", "1", cwd=campaign
    )  # `here` looks at every character
    assert said.code == 0
    here("bounces", "--maildir", box, "--json", cwd=campaign)
    here("status", cwd=campaign)
    (reply,) = (row["reply"] for row in whole_kit.results(campaign) if row["to"] == ADA)
    assert not set("\x1b\x07\u202e") & set(reply)


def test_only_the_owner_may_read_the_list(campaign, tmp_path):
    here("bounces", "--maildir", maildir(tmp_path / "box", dsn(ADA)), "--confirm", "1", cwd=campaign)
    assert stat.S_IMODE((campaign / "suppressed.csv").stat().st_mode) & 0o077 == 0


LETTER = "Subject: News for {{ name }}\n\nHi {{ name }}, bye: <{{ unsubscribe_url }}>\n"
BACK = """[unsubscribe]
url = "https://club.example/bye"
mailto = "bye@club.example"
secret = {env = "S"}
[bounces]
return_path = "bounces@club.example"
verp = true
"""


def test_from_the_sending_to_the_bounce_and_back(tmp_path):
    with serving(pause=0.0) as server:
        folder = whole_kit.campaign(tmp_path / "c", letter=LETTER, server=server, account=BACK)
        assert here("send", "--confirm", "3", cwd=folder, env={"S": SECRET}).code == 0
    tokens = Tokens(SECRET)
    for mail in server.mails:
        (to,) = mail.recipients
        own = mail.message["Message-ID"].strip("<>").partition("@")[0]
        assert mail.sender == f"bounces+{own}@club.example"
        assert re.findall(r"https://club.example/bye\?(\S+)>", mail.text) == [tokens.token(to)]
        assert mail.message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert len({mail.sender for mail in server.mails}) == 3
    dead, late, gone = server.mails
    box = maildir(
        tmp_path / "box",
        dsn(dead.recipients[0], returned=dead.content, headers=f"Delivered-To: {dead.sender}\n"),
        dsn(late.recipients[0], *FULL, returned=b"Subject: x\n\n", headers=f"Delivered-To: {late.sender}\n"),
        goodbye(gone.recipients[0]),
    )
    assert here("bounces", "--maildir", box, "--confirm", "1", cwd=folder, env={"S": SECRET}).code == 0
    assert dict(suppressed(folder)) == {
        dead.recipients[0]: "bounced 5.1.1",
        gone.recipients[0]: "unsubscribed",
    }
    assert status(folder)["bounced"] == {"unsubscribed": 1, "hard": 1, "soft": 1}


def test_attempts_and_return_paths_stay_the_same_when_a_letter_is_tried_again(tmp_path):
    replies = {"RCPT p0001@x.example": ["451 4.7.1 later", "250 ok"]}
    with serving(replies=replies) as server:
        toml = '[retry]\nfirst = "1s"\nwait = "30s"\n'
        account = "[bounces]" + BACK.partition("[bounces]")[2] + toml
        folder = whole_kit.campaign(tmp_path / "c", server=server, account=account)
        assert here("send", "--confirm", "3", cwd=folder).code == 0
    assert len({mail.sender for mail in server.mails}) == 3
    for mail in server.mails:
        assert mail.message["Message-ID"].strip("<>").partition("@")[0] in mail.sender


def test_without_its_secret_nothing_is_sent(tmp_path):
    with serving() as server:
        folder = whole_kit.campaign(tmp_path / "c", letter=LETTER, server=server, account=BACK)
        said = here("send", "--confirm", "3", cwd=folder)
    assert said.code == 2
    assert "the secret of [unsubscribe]" in said.err
    assert not server.mails


def test_a_plain_return_path_is_the_envelope_sender(tmp_path):
    with serving() as server:
        account = '[bounces]\nreturn_path = "bounces@club.example"\n'
        folder = whole_kit.campaign(tmp_path / "c", server=server, account=account)
        assert here("send", "--confirm", "3", cwd=folder).code == 0
    assert {mail.sender for mail in server.mails} == {"bounces@club.example"}


def test_a_test_letter_cannot_unsubscribe_anybody(tmp_path):
    with serving() as server:
        folder = whole_kit.campaign(tmp_path / "c", letter=LETTER, server=server, account=BACK)
        assert here("test", "me@x.example", cwd=folder).code == 0
    for mail in server.mails:
        assert "this-is-a-test-and-unsubscribes-nobody" in mail.text
        assert mail.message["List-Unsubscribe"] is None
        assert re.fullmatch(r"bounces\+test\.[0-9a-f]+@club\.example", mail.sender)  # as the real ones go


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("verp = true", "verp needs a return_path"),
        ('verp = "yes"\nreturn_path = "b@c.example"', "verp in [bounces] must be true or false"),
        ('return_path = "two words"', "return_path is no address"),
        (f'return_path = "{"b" * 40}@c.example"\nverp = true', "too long for verp"),
        ('maildir = "a"\nmbox = "b"', "names maildir and mbox"),
        ('user = "x"', "is for imap"),
        ('imap = "imap.c.example"\nsecurity = "none"', "without TLS"),
        ('imap = "imap.c.example"\nsecurity = "ssl"', "security is 'ssl'"),
        ('imap = "imap.c.example"\nport = 70000', "not a port"),
        ('imap = "imap.c.example"\npassword = "secret1"', "does not belong"),
        ('imap = "imap.c.example"\nfoldr = "x"', "did you mean folder"),
    ],
)
def test_a_table_that_cannot_be_followed_is_refused(campaign, table, words):
    toml = campaign / "campaign.toml"
    toml.write_text(f"{toml.read_text()}[bounces]\n{table}\n")
    said = here("bounces", cwd=campaign)
    assert said.code == 2
    assert words in said.err
    assert "secret1" not in said.err


def test_the_same_from_python(campaign, tmp_path):
    box = maildir(tmp_path / "box", dsn(ADA), dsn(BOB, returned=b"Subject: x\n\n"))
    opened = merge.Campaign.load(campaign)
    assert [match.recipient for match in opened.bounces(Where(maildir=box), dry_run=True).finding.dead] == [
        ADA
    ]
    with pytest.raises(ApprovalError, match="not the confirmed 3"):
        opened.bounces(Where(maildir=box), confirm=3)
    visit = opened.bounces(Where(maildir=box), confirm=1)
    assert (visit.suppressed, visit.recorded, visit.refused) == ((ADA,), 1, True)
    assert opened.status()["bounced"] == {"hard": 1}


@pytest.mark.parametrize(("answer", "there"), [("1", [ADA]), ("2", []), ("", []), ("yes", [])])
def test_a_person_at_the_terminal_types_the_number(campaign, answer, there, monkeypatch, capsys):
    monkeypatch.chdir(campaign)
    monkeypatch.setattr(Console, "can_ask", property(lambda _: True))
    asked = []
    monkeypatch.setattr(Console, "question", lambda _, words: asked.append(words) or answer)
    with contextlib.suppress(typer.Exit):
        bounces(maildir=maildir(campaign / "box", dsn(ADA)))
    assert asked == ["Type 1 to suppress the 1 address that bounced for good, anything else to leave them: "]
    assert [address for address, _ in suppressed(campaign)] == there
    said = capsys.readouterr()
    assert ("will be shown again" in said.err) == (not there)
    assert said.out.index("Bounced for good") >= 0


def test_two_looks_at_once_lose_nothing(campaign, tmp_path):
    boxes = [maildir(tmp_path / f"box{n}", complaint(to)) for n, to in enumerate((ADA, BOB))]
    codes = []

    def look(box):
        codes.append(whole_kit.run("bounces", "--maildir", box, cwd=campaign).code)

    threads = [threading.Thread(target=look, args=(box,)) for box in boxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) <= {0, 75}
    for box in boxes:
        here("bounces", "--maildir", box, cwd=campaign)
    assert {address for address, _ in suppressed(campaign)} == {ADA, BOB}
