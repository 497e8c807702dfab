"""From nothing to a letter that could go out: three commands, no edit."""

from __future__ import annotations

import re
import tomllib

import pytest
from whole_kit import LETTER, as_csv, people, serving
from whole_kit import here as run

STARTERS = ["announcement", "invitation", "newsletter", "plain"]


@pytest.mark.parametrize("starter", STARTERS)
def test_every_starter_is_sound_and_can_be_tried_at_once(tmp_path, starter):
    made = run("init", "club", "--letter", starter, cwd=tmp_path)
    assert made.code == 0, made
    assert "mergepost check club" in made.err
    checked = run("check", "club", cwd=tmp_path)
    assert checked.code == 0, checked
    assert "0 errors, 0 warnings" in checked.out
    tried = run("send", "club", "--sandbox", cwd=tmp_path)
    assert tried.code == 0, tried
    letters = list((tmp_path / "club" / "sandbox").glob("*.eml"))
    assert f"{len(letters)} sent" in tried.err
    assert len(letters) >= 3
    assert "from is still the example" in tried.err
    assert run("send", "club", "--dry-run", cwd=tmp_path).code == 0
    refused = run("send", "club", "--confirm", str(len(letters)), cwd=tmp_path)
    assert refused.code == 2
    assert "[account]" in refused.err


def test_init_keeps_what_is_there(tmp_path):
    (tmp_path / "people.csv").write_text("email\nada@x.example\n")
    assert run("init", cwd=tmp_path).code == 0
    assert (tmp_path / "people.csv").read_text() == "email\nada@x.example\n"
    again = run("init", cwd=tmp_path)
    assert again.code == 2
    assert "campaign.toml already" in again.err
    assert "journal.db" in (tmp_path / ".gitignore").read_text()


def test_init_tells_which_starters_there_are(tmp_path):
    close = run("init", "--letter", "newslettr", cwd=tmp_path)
    assert (close.code, "did you mean newsletter?" in close.err) == (2, True)
    far = run("init", "--letter", "xyz", cwd=tmp_path)
    assert all(starter in far.err for starter in STARTERS)
    assert not list(tmp_path.glob("*.toml"))


def test_a_bare_command_tells_how_to_begin_or_where_it_stands(tmp_path):
    told = run(cwd=tmp_path)
    assert (told.code, "mergepost init" in told.out) == (0, True)
    assert run("init", "club", cwd=tmp_path).code == 0
    here = run(cwd=tmp_path / "club")
    assert here.code == 0
    assert re.search(r"\d+ rows: 0 sent, \d+ waiting\nNext +mergepost send\n$", here.out)


def test_a_place_where_nothing_can_be_made_is_named(tmp_path):
    (tmp_path / "club").touch()
    said = run("init", "club", cwd=tmp_path)
    assert said.code in (2, 4)
    assert "club" in said.err


TEMPLATE = f"TO: {{{{email}}}}\nFROM: Ada <ada@club.example>\n{LETTER}"
CONF = """\
# Mailmerge SMTP Server Config
[smtp_server]
host = smtp.club.example
port = 465
security = SSL/TLS
username = ada@club.example
ratelimit = 30
"""


def of_mailmerge(folder, conf=CONF, template=TEMPLATE):
    folder.mkdir(exist_ok=True)
    (folder / "mailmerge_template.txt").write_text(template, "utf-8")
    (folder / "mailmerge_database.csv").write_text(as_csv(people(3)), "utf-8")
    if conf:
        (folder / "mailmerge_server.conf").write_text(conf, "utf-8")
    return folder


def written(folder):
    return tomllib.loads((folder / "campaign.toml").read_text("utf-8"))


def test_init_takes_up_the_files_of_mailmerge(tmp_path):
    folder = of_mailmerge(tmp_path / "c")
    before = {path.name for path in folder.iterdir()}
    said = run("init", cwd=folder)
    assert said.code == 0, said
    assert "those that were there" in said.err
    assert {path.name for path in folder.iterdir()} - before == {"campaign.toml", ".gitignore"}
    assert written(folder) == {
        "list": "mailmerge_database.csv",
        "letter": "mailmerge_template.txt",
        "account": {
            "host": "smtp.club.example",
            "port": 465,
            "security": "tls",
            "user": "ada@club.example",
        },
        "pace": {"per_minute": 30},
    }
    assert run("check", cwd=folder).code == 0
    plan = run("send", "--dry-run", cwd=folder).err
    assert "via smtp.club.example:465 (TLS)" in plan
    assert "30 a minute" in plan


def test_a_campaign_of_mailmerge_goes_out_as_it_is(tmp_path):
    with serving() as server:
        conf = f"[smtp_server]\nhost = 127.0.0.1\nport = {server.port}\n"
        folder = of_mailmerge(tmp_path / "c", conf)
        assert run("init", "c", cwd=tmp_path).code == 0
        assert run("send", "c", "--confirm", "3", cwd=tmp_path).code == 0
        assert sorted(server.counts.values()) == [1, 1, 1]
        assert "pace" not in written(folder)


@pytest.mark.parametrize(
    ("security", "ours"),
    [
        ("SSL/TLS", "tls"),
        ("STARTTLS", "starttls"),
        ("starttls", "starttls"),
        ("XOAUTH", "starttls"),
        ("Never", "none"),
        ("PLAIN", "none"),
        ("", "none"),
    ],
)
def test_each_kind_of_security_is_known(tmp_path, security, ours):
    line = f"security = {security}" if security else ""
    folder = of_mailmerge(tmp_path / "c", CONF.replace("security = SSL/TLS", line))
    assert run("init", cwd=folder).code == 0
    assert written(folder)["account"]["security"] == ours
    assert ("oauth" in (folder / "campaign.toml").read_text()) == (security == "XOAUTH")


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        (CONF.replace("SSL/TLS", "SSLv3"), ["security is 'SSLv3'", "SSL/TLS or STARTTLS"]),
        (CONF.replace("465", "imaps"), ["port is 'imaps'", "whole number"]),
        (CONF.replace("465", "99999"), ["port is 99999", "65535"]),
        (CONF.replace("= 30", "= -3"), ["ratelimit is '-3'"]),
        (CONF.replace("smtp.club.example", ""), ["names no host"]),
        (CONF.replace("smtp_server", "server"), ["no [smtp_server]"]),
        (CONF.replace("[smtp_server]", ""), ["no section headers"]),
        (CONF + CONF, ["already exists"]),
    ],
)
def test_a_server_file_that_cannot_be_followed_is_told_and_nothing_is_written(tmp_path, conf, words):
    folder = of_mailmerge(tmp_path / "c", conf)
    said = run("init", cwd=folder)
    assert said.code == 2
    assert all(word in said.err for word in ["mailmerge_server.conf", "nothing was written", *words]), said
    assert not (folder / "campaign.toml").exists()


def test_what_stands_in_a_server_file_cannot_write_settings_of_its_own(tmp_path):
    hostile = CONF.replace("ada@club.example", 'a"\t\\ \x7f[pace] é')
    folder = of_mailmerge(tmp_path / "c", hostile)
    assert run("init", cwd=folder).code == 0
    assert written(folder)["account"]["user"] == 'a"\t\\ \x7f[pace] é'


def test_a_letter_of_mailmerge_without_from_and_no_server_file(tmp_path):
    folder = of_mailmerge(tmp_path / "c", "", TEMPLATE.replace("FROM: Ada <ada@club.example>\n", ""))
    assert run("init", cwd=folder).code == 0
    assert written(folder)["from"] == "Your Name <you@example.org>"
    assert "account" not in written(folder)


def test_a_named_starter_is_made_beside_the_files_of_mailmerge(tmp_path):
    folder = of_mailmerge(tmp_path / "c")
    assert run("init", "--letter", "plain", cwd=folder).code == 0
    assert written(folder)["letter"] == "letter.txt"
