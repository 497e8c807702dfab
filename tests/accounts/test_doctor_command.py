"""`mergepost doctor` as it is typed: what it finds to examine, what goes where, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from accounts_kit import Manners, mail_server, name_server

LETTER = (
    "Subject: Hi {{ name }}\nCc: board@club.example\nUnsubscribe: https://club.example/u/{{ name }}\n\n"
    "Hi {{ name }}\n"
)


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "club"
    made.mkdir()
    (made / "people.csv").write_text("email,name\n" + "".join(f"p{n}@club.example,P{n}\n" for n in range(30)))
    (made / "letter.md").write_text(LETTER)
    return made


def account(folder: Path, text: str) -> None:
    (folder / "campaign.toml").write_text(
        f'list = "people.csv"\nletter = "letter.md"\nfrom = "Ada <ada@club.example>"\n{text}\n'
    )


def doctor(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "SYSTEMROOT") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", "from merge.cli import main; main()", "doctor", *words],
        cwd=folder, env={**kept, "HOME": str(home), "XDG_CONFIG_HOME": str(home), **env}, text=True,
        capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip


def accounts(folder: Path, text: str) -> None:
    place = folder.parent / "home" / "mergepost"
    place.mkdir(parents=True)
    (place / "accounts.toml").write_text(text)


def test_a_campaign_is_examined_with_its_account_and_nothing_is_made(folder):
    with mail_server(Manners()) as port, name_server({}) as address:
        account(folder, f'[account]\nhost = "localhost"\nport = {port}')
        before = sorted(path.name for path in folder.iterdir())
        done = doctor(folder, "--resolver", address)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "from campaign.toml, [account]" in done.stdout
    assert "sending 30 letters takes about" in done.stdout
    assert "the domain club.example does not exist" in done.stdout
    assert done.stdout.splitlines()[-1] == "It works; 1 warning. Nothing was sent."
    assert sorted(path.name for path in folder.iterdir()) == before


def test_the_address_that_bounces_go_to_is_the_one_that_is_looked_at(folder):
    zone = {(name, "A"): ("192.0.2.7",) for name in ("club.example", "back.example")}
    with mail_server(Manners()) as port, name_server(zone) as address:
        bounces = '[bounces]\nreturn_path = "bounces@back.example"'
        account(folder, f'[account]\nhost = "localhost"\nport = {port}\n{bounces}')
        done = doctor(folder, "--resolver", address)
    assert "back.example has no SPF record" in done.stdout
    assert "club.example has no SPF record" not in done.stdout


def test_the_report_for_programs_is_all_that_goes_to_stdout(folder):
    with mail_server(Manners()) as port:
        account(folder, f'[account]\nhost = "localhost"\nport = {port}\n[pace]\nper_minute = 10')
        done = doctor(folder, "--json", "--no-dns")
    said = json.loads(done.stdout)
    assert set(said) == {*("account", "limits", "server", "campaign", "dkim", "findings", "exit_code")}
    assert said["campaign"] == {"sender": "ada@club.example", "rows": 30, "seconds": 120.0}
    assert said["limits"] is None
    assert (done.stderr, done.returncode, said["exit_code"]) == ("", 0, 0)


def test_a_list_that_cannot_be_read_does_not_keep_the_server_from_being_examined(folder):
    (folder / "people.csv").write_text("")
    with mail_server(Manners()) as port:
        account(folder, f'[account]\nhost = "localhost"\nport = {port}')
        done = doctor(folder, "--no-dns")
    assert done.returncode == 0
    assert "list or letter: " in done.stdout
    assert "mergepost check" in done.stdout
    assert f"localhost:{port} answers" in done.stdout


def test_outside_a_campaign_an_account_is_examined_alone(folder):
    with mail_server(Manners()) as port:
        accounts(folder, f'[work]\nhost = "localhost"\nport = {port}\n[home]\nhost = "localhost"\nport = 1\n')
        (folder.parent / "empty").mkdir()
        done = doctor(folder.parent / "empty", "--account", "work", "--no-dns")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "accounts.toml, [work]" in done.stdout
        other = doctor(folder.parent / "empty", "--account", "home", "--no-dns")
        assert other.returncode == 4
        wrong = doctor(folder.parent / "empty", "--account", "wrok", "--no-dns")
    assert wrong.returncode == 2
    assert "did you mean 'work'?" in wrong.stderr


def test_the_environment_is_an_account_too(folder):
    with mail_server(Manners()) as port:
        account(folder, "")
        done = doctor(folder, "--no-dns", MERGEPOST_HOST="localhost", MERGEPOST_PORT=str(port))
    assert done.returncode == 0
    assert "from MERGEPOST_HOST, MERGEPOST_PORT" in done.stdout


def test_with_nothing_to_examine_it_says_what_to_write(folder):
    done = doctor(folder)
    assert done.returncode == 2
    assert "no campaign here, and no account to look at" in done.stderr
    assert 'provider = "gmail"' in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('provider = "gmial"', "did you mean 'gmail'?"),
        ('host = "localhost"\npasswort = {env = "X"}', "did you mean password?"),
        ('host = "localhost"\npassword = "planted"', "does not belong into a file"),
        ('host = "localhost"\nport = 99999', "99999 is not a port"),
        ('user = "ada@club.example"', "neither provider nor host"),
    ],
)
def test_an_account_that_cannot_be_followed_is_exit_2_with_its_line(folder, table, words):
    account(folder, f"[account]\n{table}")
    done = doctor(folder)
    assert done.returncode == 2
    assert words in done.stderr
    assert "campaign.toml" in done.stderr
    assert "planted" not in done.stderr


def test_a_resolver_that_is_none_is_a_usage_error(folder):
    done = doctor(folder, "--resolver", "dns.example")
    assert done.returncode == 2
    assert "9.9.9.9" in done.stderr


def test_what_the_letter_holds_is_known(folder):
    many = ", ".join(f"b{number}@club.example" for number in range(120))
    (folder / "letter.md").write_text(LETTER.replace("board@club.example", many))
    with mail_server(Manners()) as port:
        where = f'host = "localhost"\nport = {port}\nsecurity = "none"'
        account(folder, f'[account]\nprovider = "gmail"\n{where}')
        done = doctor(folder, "--no-dns")
    assert "a letter has 121 recipients; Gmail takes 100" in done.stdout
