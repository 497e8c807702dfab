"""A campaign with [dkim]: what leaves is signed, whichever way; what cannot be signed never leaves."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
from email import message_from_bytes
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from dkim_kit import (
    DOMAIN,
    SELECTOR,
    key_file,
    opendkim_there,
    passes_dkimpy,
    passes_opendkim,
    pem,
)

from merge.campaign import Campaign
from merge.dkim.key import read_key
from merge.errors import ConfigError
from merge.preview.export import write_eml, write_mbox

COMMAND = str(Path(sysconfig.get_path("scripts")) / "mergepost")
TABLE = f'[dkim]\ndomain = "{DOMAIN}"\nselector = "{SELECTOR}"\nkey_file = "dkim.pem"\n'
START = 'list = "people.csv"\nletter = "letter.md"\nfrom = "Ada Club <news@club.example>"\n'
PEOPLE = "email,name,file\n" + "".join(
    f"{address},{name},{file}\n"
    for address, name, file in (
        ("zoe@x.example", "Zoë Álvarez", "a.txt"),
        ("taro@x.example", "山田 太郎", "b.bin"),
        ("max@x.example", "Max " + "Long " * 60 + "Name", "a.txt"),
        ("dot@x.example", ".Dot", "b.bin"),
    )
)
LETTER = """\
Subject: News for {{ name }}, and some more words so that the line has to be folded
Reply-To: Büro <office@club.example>
Unsubscribe: https://club.example/u?{{ email|urlencode }}&{{ "x" * 600 }}, mailto:out@club.example
Attach: {{ file }}
X-Club: {{ name }}

Hi {{ name }},

.a dot at the start, two  blanks, one at the end\x20

| a | b |
|---|---|
| 1 | 2 |


"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(home))
    for name in [name for name in os.environ if name.startswith("MERGEPOST_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "club"
    folder.mkdir()
    (folder / "campaign.toml").write_text(START + TABLE, "utf-8")
    (folder / "people.csv").write_text(PEOPLE, "utf-8")
    (folder / "letter.md").write_text(LETTER, "utf-8")
    (folder / "a.txt").write_text("Ünïcode\n" * 40, "utf-8")
    (folder / "b.bin").write_bytes(bytes(range(256)) * 300)
    key_file(folder)
    return folder


@pytest.fixture
def post(monkeypatch):
    """A mail server that keeps what it gets, as account of the environment."""
    kept = []

    class Keeping:
        async def handle_DATA(self, server, session, envelope):  # noqa: N802 - the name is the library's
            kept.append(envelope.content)
            return "250 2.0.0 kept"

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(Keeping(), hostname="127.0.0.1", port=port)
    controller.start()
    for name, value in (("HOST", "127.0.0.1"), ("PORT", str(port)), ("SECURITY", "none")):
        monkeypatch.setenv(f"MERGEPOST_{name}", value)
    yield kept
    controller.stop()


def record(folder: Path) -> str:
    return read_key(folder / "dkim.pem", "dkim.pem").record


def believed(contents: list[bytes], folder: Path) -> bool:
    """Whether both judges believe all of them."""
    text = record(folder)
    assert contents
    ours = all(passes_dkimpy(content, text) for content in contents)
    return ours and (not opendkim_there() or all(passes_opendkim(contents, text)))


def test_what_is_sent_is_signed_and_covers_the_way_to_unsubscribe(folder, post):
    summary = Campaign.load(folder).send()
    assert summary.exit_code == 0
    assert len(post) == 4
    assert believed(post, folder)
    for content in post:
        signature = message_from_bytes(content)["DKIM-Signature"].replace("\r\n", "").replace(" ", "")
        covered = signature.partition("h=")[2].partition(";")[0].split(":")
        assert {"list-unsubscribe", "list-unsubscribe-post", "reply-to", "subject"} <= set(covered)


def test_the_sandbox_shows_what_would_be_sent(folder, monkeypatch):
    for name in ("HOST", "PORT", "SECURITY"):
        monkeypatch.delenv(f"MERGEPOST_{name}", raising=False)
    assert Campaign.load(folder).send(sandbox=True).exit_code == 0
    letters = [path.read_bytes() for path in sorted((folder / "sandbox").glob("*.eml"))]
    assert len(letters) == 4
    assert believed(letters, folder)


def test_a_rehearsal_is_signed_too(folder, post):
    Campaign.load(folder).test("me@club.example")
    assert post
    assert believed(post, folder)


def test_files_hold_what_would_be_sent(folder, tmp_path):
    campaign = Campaign.load(folder)
    write_eml(campaign.letters(), tmp_path / "eml", campaign.parts.seal)
    write_mbox(campaign.letters(), tmp_path / "all.mbox", campaign.parts.seal)
    letters = [path.read_bytes() for path in sorted((tmp_path / "eml").iterdir())]
    assert believed(letters, folder)
    assert (tmp_path / "all.mbox").read_bytes().count(b"DKIM-Signature: v=1") == 4


def test_the_command_writes_signed_files(folder):
    run = subprocess.run(
        [COMMAND, "preview", str(folder), "--eml", str(folder / "out")], capture_output=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert believed([path.read_bytes() for path in (folder / "out").iterdir()], folder)


def test_without_the_table_nothing_is_signed(folder, post):
    (folder / "campaign.toml").write_text(START, "utf-8")
    Campaign.load(folder).send()
    assert not any(b"DKIM-Signature" in content for content in post)


def accounts(text: str) -> Path:
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "mergepost" / "accounts.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    return path


ACCOUNT = """\
[work]
host = "127.0.0.1"
security = "none"
dkim = {{ domain = "{domain}", selector = "{selector}", key_file = "club.pem" }}
"""


def test_an_account_signs_for_its_campaigns_with_a_key_beside_it(folder, post):
    path = accounts(ACCOUNT.format(domain=DOMAIN, selector=SELECTOR))
    key_file(path.parent, name="club.pem")
    (folder / "campaign.toml").write_text('account = "work"\n' + START, "utf-8")
    (folder / "dkim.pem").rename(folder.parent / "dkim.pem")
    assert Campaign.load(folder).send().exit_code == 0
    assert believed(post, folder.parent)


def test_the_campaign_wins_over_its_account(folder, post):
    accounts(ACCOUNT.format(domain="other.example", selector="other"))
    (folder / "campaign.toml").write_text('account = "work"\n' + START + TABLE, "utf-8")
    assert Campaign.load(folder).send().exit_code == 0
    assert believed(post, folder)


def test_an_account_in_the_campaign_may_name_the_key_as_well(folder, post):
    table = TABLE.replace("[dkim]", "[account.dkim]")
    (folder / "campaign.toml").write_text(f'{START}[account]\nhost = "127.0.0.1"\n{table}', "utf-8")
    Campaign.load(folder).send()
    assert believed(post, folder)


WRONG = {
    "no domain": (TABLE.replace("domain", "# domain"), "dkim needs domain"),
    "no selector": (TABLE.replace("selector", "# selector"), "dkim needs selector"),
    "no key": (TABLE.replace("key_file", "# key_file"), "dkim needs key_file"),
    "an unknown key": (TABLE.replace("key_file", "keyfile"), "unknown key keyfile in [dkim]"),
    "a wrong type": (TABLE.replace('"news"', "1"), "selector in [dkim] must be text in quotes"),
    "a domain that is none": (TABLE.replace(DOMAIN, "club example"), "is no domain"),
    "a domain with tags": (TABLE.replace(DOMAIN, "club.example; h=from"), "is no domain"),
    "a domain alone": (TABLE.replace(DOMAIN, "localhost"), "is no domain"),
    "a selector that is none": (TABLE.replace('"news"', '"a;b"'), "is no selector"),
    "a selector with a break": (TABLE.replace('"news"', r'"a\nb"'), "is no selector"),
    "a name too long": (TABLE.replace('"news"', f'"{".".join(["a" * 60] * 4)}"'), "too long"),
    "a header that is none": (TABLE + 'headers = ["From:"]\n', "is no name of a header"),
    "a header of servers": (TABLE + 'headers = ["Received"]\n', "Received cannot be signed"),
    "a number as header": (TABLE + "headers = [1]\n", "is no name of a header"),
    "no table": ('dkim = "yes"\n', "dkim must be a table"),
}


@pytest.mark.parametrize(("table", "words"), WRONG.values(), ids=WRONG)
def test_a_table_that_cannot_be_followed_is_told_with_its_line(folder, table, words):
    (folder / "campaign.toml").write_text(START + table, "utf-8")
    with pytest.raises(ConfigError) as refused:
        Campaign.load(folder)
    assert words in refused.value.message
    (problem,) = refused.value.problems
    assert (problem.file, problem.line is not None) == ("campaign.toml", True)


def test_the_command_shows_the_line(folder):
    (folder / "campaign.toml").write_text(START + TABLE.replace("key_file", "keyfile"), "utf-8")
    run = subprocess.run([COMMAND, "check", str(folder)], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "did you mean key_file?" in run.stderr
    assert 'keyfile = "dkim.pem"' in run.stderr
    assert "Traceback" not in run.stderr


def test_a_key_pasted_into_the_table_is_refused_and_not_repeated(folder):
    body = b"".join(pem().splitlines()[1:-1]).decode()
    table = TABLE.replace('key_file = "dkim.pem"', f'key = "{body}"')
    (folder / "campaign.toml").write_text(START + table, "utf-8")
    run = subprocess.run([COMMAND, "check", str(folder)], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "a private key does not belong into a file like this one" in run.stderr
    assert body[:30] not in run.stderr + run.stdout


def test_a_domain_in_any_script_is_signed_as_the_dns_has_it(folder):
    table = TABLE.replace(DOMAIN, "Bücher.example.")
    (folder / "campaign.toml").write_text(START.replace("club.example", "bücher.example") + table, "utf-8")
    campaign = Campaign.load(folder)
    assert campaign.settings.dkim.domain == "xn--bcher-kva.example"
    letter = next(campaign.letters())
    assert b"d=xn--bcher-kva.example;" in campaign.parts.seal(letter).content
    assert not [problem for problem in campaign.check() if problem.kind == "dkim"]


COMMANDS = ["check", "send --confirm 4", "send --dry-run", "send --sandbox", "preview --eml out"]


@pytest.mark.parametrize("words", [*COMMANDS, "test me@x.example"])
def test_a_key_that_cannot_be_used_stops_everything_before_a_letter_leaves(folder, post, words):
    (folder / "dkim.pem").unlink()
    run = subprocess.run([COMMAND, *words.split()], capture_output=True, text=True, check=False, cwd=folder)
    assert run.returncode == 2, run.stderr
    assert "the DKIM key dkim.pem cannot be read" in run.stderr
    assert "openssl genrsa" in run.stderr
    assert not post
    assert not list(folder.glob("out/*"))
    assert not list(folder.glob("sandbox/*.eml"))


def test_a_key_that_goes_away_while_sending_does_no_harm(folder, post):
    campaign = Campaign.load(folder)
    campaign.parts.ready()
    (folder / "dkim.pem").unlink()
    assert campaign.send().exit_code == 0
    assert len(post) == 4


@pytest.mark.parametrize(
    ("sender", "told"),
    [
        ("news@club.example", False),
        ("news@mail.club.example", False),
        ("news@CLUB.example", False),
        ("news@club.example.evil", True),
        ("news@xclub.example", True),
        ("news@other.example", True),
    ],
)
def test_a_signature_of_another_domain_than_from_is_told(folder, sender, told):
    (folder / "campaign.toml").write_text(START.replace("news@club.example", sender) + TABLE, "utf-8")
    problems = [problem for problem in Campaign.load(folder).check() if problem.kind == "dkim"]
    assert bool(problems) is told
    if told:
        assert problems[0].severity == "warning"
        assert "for DMARC it does not count" in problems[0].message


def test_the_plan_says_who_signs(folder):
    run = subprocess.run(
        [COMMAND, "send", str(folder), "--dry-run"], capture_output=True, text=True, check=False
    )
    assert "signed       as club.example (DKIM, selector news)" in run.stderr + run.stdout


def test_the_key_is_in_no_file_and_on_no_screen(folder, post):
    run = subprocess.run([COMMAND, "send", str(folder), "--confirm", "4"], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    subprocess.run([COMMAND, "preview", str(folder), "--out", str(folder / "p.html")], check=True)
    said = subprocess.run(
        [COMMAND, "doctor", str(folder), "--json", "--resolver", "127.0.0.1:9"],
        capture_output=True,
        check=False,
    )
    secret = [pem().splitlines()[line] for line in (5, 9, 14)]
    places = {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "dkim.pem"
    }
    places |= {"screen": run.stdout + run.stderr, "doctor": said.stdout + said.stderr}
    assert "journal.db" in {path.name for path in places if isinstance(path, Path)}
    assert json.loads(said.stdout)
    for place, content in places.items():
        for line in secret:
            assert line not in content, place


def test_without_its_library_the_command_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError) as refused:
        Campaign.load(folder).findings()
    assert refused.value.hint == 'pip install "mergepost[dkim]"'


def test_a_web_api_signs_itself_and_takes_no_signature_of_ours(folder):
    account = '[account]\nprovider = "sendgrid-api"\npassword = {env = "KEY"}\n'
    (folder / "campaign.toml").write_text(START + TABLE + account, "utf-8")
    run = subprocess.run(
        [COMMAND, "send", str(folder), "--dry-run"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert "a signature cannot go by a web API" in run.stderr


def test_a_link_of_ones_own_to_unsubscribe_with_is_under_the_signature(folder, post, monkeypatch):
    monkeypatch.setenv("UNSUB", "a-secret-that-nobody-else-has")
    table = '[unsubscribe]\nurl = "https://club.example/out"\nsecret = {env = "UNSUB"}\n'
    (folder / "campaign.toml").write_text(START + TABLE + table, "utf-8")
    (folder / "letter.md").write_text("Subject: Hi\nUnsubscribe: {{ unsubscribe_url }}\n\nHi\n", "utf-8")
    assert Campaign.load(folder).send().exit_code == 0
    links = {message_from_bytes(content)["List-Unsubscribe"] for content in post}
    assert len(links) == 4
    assert believed(post, folder)
    for content in post:
        other = re.sub(rb"(club\.example/out\S{12})\w", rb"\1_", content, count=1)
        assert other != content
        assert not passes_dkimpy(other, record(folder))


def test_looking_needs_no_key(folder):
    """Whoever writes the letter need not be the one who may sign it."""
    (folder / "dkim.pem").unlink()
    page = subprocess.run([COMMAND, "preview", str(folder), "--out", str(folder / "p.html")], check=False)
    assert page.returncode == 0
    assert (folder / "p.html").exists()
    assert len(list(Campaign.load(folder).messages())) == 4
    status = subprocess.run([COMMAND, "status", str(folder)], capture_output=True, check=False)
    assert status.returncode == 0, status.stderr


WAYS = {"eml": 'eml = "out"', "maildir": 'maildir = "out"', "program": 'sendmail = "./take"'}


@pytest.mark.parametrize("way", WAYS)
def test_whatever_way_they_go_they_are_signed(folder, monkeypatch, way):
    monkeypatch.chdir(folder)
    (folder / "out").mkdir()
    take = folder / "take"
    take.write_text('#!/bin/sh\ncat > "$(mktemp out/XXXXXX)"\n')
    take.chmod(0o700)
    (folder / "campaign.toml").write_text(START + TABLE + f"[account]\n{WAYS[way]}\n", "utf-8")
    summary = Campaign.load(folder).send()
    assert summary.exit_code == 0, summary
    letters = [path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()]
    letters = [re.sub(rb"\r?\n", b"\r\n", letter) for letter in letters]
    assert len(letters) == 4
    assert believed(letters, folder)
