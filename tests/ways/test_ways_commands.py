"""The commands, by every way out: plan, test, send, status, doctor; and a key that shows nowhere."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from ways_kit import KEY, USER, Desk

from merge import cli

LETTER = "Subject: Hi {{ name }}\n\nHello {{ name }}.\n"
PEOPLE = "email,name\nzoe@people.example,Zoë\nold@people.example,Ólafur\nnew@people.example,山田\n"


@dataclass(frozen=True, slots=True)
class Said:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def all(self) -> str:
        return self.out + self.err


@pytest.fixture
def campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Callable[..., Said]]:
    """A campaign with an account and a letter, and the command in its folder."""
    folder = tmp_path / "club"
    folder.mkdir()
    (folder / "people.csv").write_text(PEOPLE, "utf-8")
    monkeypatch.chdir(folder)
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))

    def command(*words: str, **extra: str) -> Said:
        capfd.readouterr()
        with monkeypatch.context() as one:
            one.setattr(sys, "argv", ["mergepost", *words])
            for name, value in {"KEY": KEY, **extra}.items():
                one.setenv(name, value)
            code = 0
            try:
                cli.main()
            except SystemExit as end:
                code = int(end.code or 0)
        said = capfd.readouterr()
        return Said(code, said.out, said.err)

    def written(account: str, letter: str = LETTER) -> Callable[..., Said]:
        (folder / "letter.md").write_text(letter, "utf-8")
        general = 'list = "people.csv"\nletter = "letter.md"\nfrom = "Ada <news@ada.example>"\n'
        (folder / "campaign.toml").write_text(f"{general}[account]\n{account}\n")
        return command

    return written


def api(desk: Desk) -> str:
    user = f'user = "{USER}"\n' if desk.vendor == "mailjet" else ""
    return f'provider = "{desk.vendor}-api"\nbase_url = "{desk.base}"\n{user}password = {{env = "KEY"}}\n'


def in_mbox(club: Path) -> int:
    return len(re.findall("(?m)^From news", (club / "out").read_text("utf-8")))


def results(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_campaign_by_a_web_api(campaign, desks, vendor, tmp_path):
    desk = desks(vendor, fates=lambda n, _: "accept")
    command = campaign(api(desk))
    dry = command("send", "--dry-run")
    assert (dry.code, desk.calls) == (0, 0)
    title = {"sendgrid": "SendGrid's", "mailjet": "Mailjet's"}[vendor]
    assert f"via {title} web API (127.0.0.1)" in dry.err
    tested = command("test", "me@ada.example")
    assert tested.code == 0, tested.all
    assert {people for _, people in desk.accepted} == {("me@ada.example",)}
    desk.accepted.clear()
    sent = command("send", "--confirm", "3")
    assert sent.code == 0, sent.all
    assert {people[0] for _, people in desk.accepted} == {
        *("zoe@people.example", "old@people.example", "new@people.example")
    }
    assert json.loads(command("status", "--json").out)["states"]["sent"] == 3
    rows = results(tmp_path / "club")
    assert {row["state"] for row in rows} == {"sent"}
    assert {row["message_id"] for row in rows} == {message_id for message_id, _ in desk.accepted}
    assert all(f"accepted by {vendor}" in row["reply"].lower() for row in rows)
    again = command("send", "--confirm", "0")
    assert again.code == 0
    assert len(desk.accepted) == 3


@pytest.mark.parametrize(
    "fate", ["accept", "401", "403", "400", "429 long", "lost after", "500 after", "garbage"]
)
def test_the_key_shows_nowhere(campaign, desks, vendor, fate, tmp_path):
    desk = desks(vendor, fates=lambda *_: fate)
    command = campaign(api(desk))
    told = [
        command("doctor", "--no-dns", MERGEPOST_TRACEBACK="1"),
        command("doctor", "--json", "--no-dns"),
        command("send", "--confirm", "3", MERGEPOST_TRACEBACK="1"),
        command("status"),
        command("status", "--csv"),
    ]
    assert all(one.code in (0, 3, 4) for one in told), [one.all for one in told]
    for one in told:
        assert KEY not in one.all
        assert "Traceback" not in one.all
    for path in (tmp_path / "club").rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_a_wrong_key_ends_the_run_with_the_way_to_the_right_one(campaign, desks, vendor):
    desk = desks(vendor)
    command = campaign(api(desk))
    sent = command("send", "--confirm", "3", KEY="SG.wrong")
    assert sent.code == 4
    assert "answered 401" in sent.err
    assert "api_keys" in sent.err or "apikeys" in sent.err
    assert not desk.accepted
    assert "SG.wrong" not in sent.all
    assert command("send", "--confirm", "3").code == 0


def test_no_key_is_told_before_a_call(campaign, desks, vendor):
    desk = desks(vendor)
    command = campaign(api(desk).replace('{env = "KEY"}', '{env = "NO_SUCH_KEY"}'))
    sent = command("send", "--confirm", "3")
    assert sent.code == 2, sent.all
    assert "NO_SUCH_KEY" in sent.err
    assert not desk.heads


def test_doubt_is_kept_until_the_person_decides(campaign, desks, tmp_path):
    desk = desks("sendgrid", fates=lambda n, _: "lost after" if n == 1 else "accept")
    command = campaign(api(desk) + "window = 1\n")
    assert command("send", "--confirm", "3").code == 3
    states = json.loads(command("status", "--json").out)["states"]
    assert (states["sent"], states["uncertain"]) == (2, 1)
    (doubtful,) = [row for row in results(tmp_path / "club") if row["state"] == "uncertain"]
    assert doubtful["message_id"] == desk.accepted[1][0]
    assert command("send", "--uncertain", "skip", "--no-input").code == 0
    assert len(desk.accepted) == 3


def test_a_letter_that_cannot_go_this_way_is_refused_before_the_plan_is_agreed(campaign, desks):
    desk = desks("mailjet")
    command = campaign(api(desk), "Subject: x\nList-Id: <news.ada.example>\n\nHello {{ name }}\n")
    sent = command("send", "--confirm", "3")
    assert sent.code == 1
    assert "Mailjet's web API does not take the header List-Id" in sent.err
    assert not desk.heads
    assert json.loads(command("status", "--json").out)["states"]["invalid"] == 3


def test_the_doctor_asks_and_sends_nothing(campaign, desks, vendor):
    desk = desks(vendor)
    command = campaign(api(desk))
    well = command("doctor", "--no-dns")
    assert well.code == 0, well.all
    assert "the key is right" in well.out
    assert not desk.accepted
    if vendor == "mailjet":
        assert [body["SandboxMode"] for body in desk.bodies] == [True]
        assert desk.bodies[0]["Messages"][0]["From"] == {"Email": "news@ada.example"}
    wrong = command("doctor", "--no-dns", KEY="SG.wrong")
    assert wrong.code == 4
    assert "401" in wrong.out
    assert "SG.wrong" not in wrong.all
    found = json.loads(command("doctor", "--json", "--no-dns").out)
    assert found["exit_code"] == 0


def test_the_doctor_tells_a_key_that_may_not_send(campaign, desks):
    command = campaign(api(desks("sendgrid", fates=lambda *_: "no scope")))
    found = command("doctor", "--no-dns")
    assert found.code == 4
    assert "may not send mail" in found.out


def test_the_doctor_tells_a_sender_that_may_not_send(campaign, desks):
    command = campaign(api(desks("mailjet", fates=lambda *_: "sender refused")))
    found = command("doctor", "--no-dns")
    assert found.code == 4
    assert "send-0008" in found.out


def test_an_account_of_mailjet_without_a_campaign(campaign, desks, tmp_path):
    desk = desks("mailjet")
    command = campaign(api(desk))
    (tmp_path / "mergepost").mkdir()
    (tmp_path / "mergepost" / "accounts.toml").write_text(f"[work]\n{api(desk)}")
    found = command("doctor", "--account", "work", "--no-dns", "/")
    assert found.code in (0, 2), found.all


# A program, folders


def test_a_campaign_by_a_program(campaign, tmp_path):
    program = tmp_path / "my sendmail"
    program.write_text(f'#!/bin/sh\ncat > "{tmp_path}/$$.mail"\n')
    program.chmod(0o755)
    command = campaign(f"sendmail = \"'{program}'\"")
    dry = command("send", "--dry-run")
    assert "handed over to my sendmail" in dry.err
    looked = command("doctor", "--no-dns")
    assert looked.code == 0, looked.all
    assert f"{program} is there and can be run" in looked.out
    assert not list(tmp_path.glob("*.mail"))
    sent = command("send", "--confirm", "3")
    assert sent.code == 0, sent.all
    assert len(list(tmp_path.glob("*.mail"))) == 3
    assert {row["reply"] for row in results(tmp_path / "club")} == {"handed over to my sendmail"}
    assert command("test", "me@ada.example").code == 0


def test_a_missing_program_is_told_before_the_plan(campaign, tmp_path):
    command = campaign('sendmail = "no-such-thing -t"')
    for words in (("send", "--confirm", "3"), ("test", "me@ada.example"), ("doctor", "--no-dns")):
        told = command(*words)
        assert told.code == 2, told.all
        assert "there is no program no-such-thing" in told.all
    assert not (tmp_path / "club" / "results.csv").exists()


@pytest.mark.parametrize(
    ("account", "words", "count"),
    [
        (
            'maildir = "out"',
            "written into the maildir",
            lambda club: len(list((club / "out" / "new").iterdir())),
        ),
        (
            'mbox = "out"',
            "appended to the mbox file",
            in_mbox,
        ),
        ('eml = "out"', "written as .eml files", lambda club: len(list((club / "out").glob("*.eml")))),
    ],
)
def test_a_campaign_into_a_folder(campaign, tmp_path, account, words, count):
    command = campaign(account)
    looked = command("doctor", "--no-dns")
    assert looked.code == 0, looked.all
    assert "will be made" in looked.out
    assert not (tmp_path / "club" / "out").exists()
    sent = command("send", "--confirm", "3")
    assert sent.code == 0, sent.all
    assert words in sent.err
    assert count(tmp_path / "club") == 3
    assert command("send", "--confirm", "0").code == 0
    assert count(tmp_path / "club") == 3


def test_a_folder_that_cannot_be_is_told(campaign, tmp_path):
    (tmp_path / "club" / "out").write_text("a file")
    command = campaign('maildir = "out"')
    told = command("doctor", "--no-dns")
    assert (told.code, "is a file, not a folder" in told.out) == (2, True), told.all
    sent = command("send", "--confirm", "3")
    assert sent.code == 4, sent.all
    assert json.loads(command("status", "--json").out)["states"]["waiting"] == 3


def test_a_signature_cannot_go_by_a_web_api(campaign, desks, tmp_path):
    desk = desks("sendgrid")
    command = campaign(api(desk))
    with (tmp_path / "club" / "campaign.toml").open("a") as file:
        file.write('[dkim]\ndomain = "ada.example"\nselector = "s"\nkey_file = "dkim.pem"\n')
    told = command("send", "--confirm", "3")
    assert told.code == 2, told.all
    assert "a signature cannot go by a web API" in told.all


def test_a_return_path_cannot_go_by_a_web_api(campaign, desks, tmp_path):
    desk = desks("sendgrid")
    command = campaign(api(desk))
    with (tmp_path / "club" / "campaign.toml").open("a") as file:
        file.write('[bounces]\nreturn_path = "bounces@ada.example"\nverp = true\n')
    told = command("send", "--confirm", "3")
    assert told.code == 2, told.all
    assert "a return_path cannot go by a web API" in told.all
