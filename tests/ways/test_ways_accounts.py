"""Ways out that are no mail server, as an account names them; what is refused, and with what words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from merge import wayout
from merge.account import AccountSettings, account_from_table, read_account
from merge.account.providers import by_host, by_name, providers
from merge.api.session import ApiSession
from merge.clock import WallClock
from merge.errors import ConfigError
from merge.folders import Folder, Maildir, Mbox
from merge.program import Program
from merge.toml import TomlFile


def account(**table: Any) -> AccountSettings:
    text = "\n".join(f"{key} = ..." for key in table)
    return account_from_table("work", table, TomlFile("accounts.toml", text))


def refused(**table: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        account(**table)
    return f"{caught.value.message}\n{caught.value.hint}"


def test_sendgrid():
    way = account(provider="sendgrid-api", password={"env": "KEY"})
    assert (way.kind, way.host, way.port, way.security) == ("api", "api.sendgrid.com", 443, "tls")
    assert (way.base_url, way.user, way.window, way.per_call) == ("https://api.sendgrid.com", "apikey", 8, 1)
    assert way.secret.scheme == "env"
    assert way.road == "via SendGrid's web API (api.sendgrid.com)"
    assert account(provider="sendgrid-api", region="eu").base_url == "https://api.eu.sendgrid.com"
    assert account(provider="sendgrid-api", window=3).window == 3


def test_mailjet():
    way = account(provider="mailjet-api", user="0123", password_command="pass mailjet")
    assert (way.base_url, way.user, way.window, way.per_call) == ("https://api.mailjet.com", "0123", 1, 50)
    assert account(provider="Mailjet-API", user="0123", region="us").host == "api.us.mailjet.com"
    assert account(provider="mailjet-api", user="0123", per_call=10).per_call == 10


def test_smtp_stays_smtp():
    assert account(provider="sendgrid").kind == "smtp"
    assert account(provider="mailjet", user="0123").kind == "smtp"
    assert by_host("api.sendgrid.com") is None
    assert by_name("sendgrid") is providers()["sendgrid"]


@pytest.mark.parametrize(
    ("table", "kind", "road"),
    [
        ({"sendmail": "msmtp"}, "program", "handed over to msmtp"),
        ({"sendmail": "/usr/sbin/sendmail -t -C '/a b'"}, "program", "handed over to sendmail"),
        ({"maildir": "/x/box"}, "maildir", "written into the maildir /x/box"),
        ({"mbox": "/x/out.mbox"}, "mbox", "appended to the mbox file /x/out.mbox"),
        ({"eml": "/x/out"}, "eml", "written as .eml files into /x/out"),
    ],
)
def test_ways_on_this_computer(table, kind, road):
    way = account(**table)
    assert (way.kind, way.road) == (kind, road)
    assert way.secret.scheme == ""
    if kind == "program":
        assert way.command[1:] in ((), ("-t", "-C", "/a b"))


def test_home_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert account(maildir="~/box").path == str(tmp_path / "box")
    assert account(sendmail="~/bin/send -t").command == (str(tmp_path / "bin" / "send"), "-t")


def test_a_path_is_taken_from_the_campaign(tmp_path):
    assert wayout.located(account(maildir="box"), tmp_path).path == str(tmp_path / "box")
    assert wayout.located(account(maildir="/box"), tmp_path).path == "/box"
    assert wayout.located(account(sendmail="msmtp"), tmp_path).path == ""


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"sendmial": "msmtp"}, "did you mean sendmail?"),
        ({"mail_dir": "x"}, "did you mean maildir?"),
        ({"sendmail": "msmtp", "host": "x.example"}, "host does not go with sendmail"),
        ({"sendmail": "msmtp", "provider": "gmail"}, "provider does not go with sendmail"),
        ({"sendmail": "msmtp", "user": "a"}, "user does not go with sendmail"),
        ({"sendmail": "msmtp", "maildir": "x"}, "maildir does not go with sendmail"),
        ({"maildir": "x", "window": 3}, "window does not go with maildir"),
        ({"sendmail": "  "}, "sendmail is empty"),
        ({"sendmail": "msmtp 'open"}, "cannot be read as a command"),
        ({"maildir": ""}, "maildir is empty"),
        ({"provider": "sendgrid-ap"}, "did you mean 'sendgrid-api'?"),
        ({"provider": "sendgrid-api", "host": "x.example"}, "host does not go with SendGrid's web API"),
        ({"provider": "sendgrid-api", "pipelining": 2}, "pipelining does not go"),
        ({"provider": "sendgrid-api", "oauth": {}}, "oauth does not go"),
        ({"provider": "sendgrid-api", "dkim": {}}, "dkim does not go"),
        ({"provider": "sendgrid-api", "region": "mars"}, 'it can be "eu", or left out'),
        ({"provider": "sendgrid-api", "per_call": 2}, "takes one letter in a call"),
        ({"provider": "mailjet-api", "user": "0", "per_call": 51}, "takes 50 letters in a call"),
        ({"provider": "mailjet-api", "user": "0", "per_call": 0}, "cannot be less than 1"),
        ({"provider": "mailjet-api", "user": "0", "window": -1}, "cannot be less than 1"),
        ({"provider": "mailjet-api"}, "wants a user, the API key"),
        ({"provider": "sendgrid-api", "base_url": "http://api.example"}, "must begin with https://"),
        ({"provider": "sendgrid-api", "base_url": "ftp://api.example"}, "is no address"),
        ({"provider": "sendgrid-api", "base_url": "api.example"}, "is no address"),
        ({"provider": "sendgrid-api", "base_url": "https://key@api.example"}, "is no address"),
        ({"provider": "sendgrid-api", "base_url": "https://api.example?key=1"}, "is no address"),
        (
            {"provider": "sendgrid-api", "base_url": "http://127.0.0.1.evil.example"},
            "must begin with https://",
        ),
        (
            {"provider": "sendgrid-api", "base_url": "http://localhost.evil.example"},
            "must begin with https://",
        ),
        (
            {"provider": "sendgrid", "base_url": "https://x.example"},
            'did you mean provider = "sendgrid-api"?',
        ),
        ({"host": "x.example", "per_call": 2}, "of use with a web API only"),
        ({"provider": "sendgrid-api", "password": "SG.in-the-open"}, "does not belong into a file"),
    ],
)
def test_what_cannot_be_is_refused_in_words(table, words):
    assert words in refused(**table)
    assert "SG.in-the-open" not in refused(**table)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:9/v", "https://x.example/p/"]
)
def test_a_key_goes_unencrypted_to_this_computer_alone(url):
    way = account(provider="sendgrid-api", base_url=url)
    assert way.base_url == url.rstrip("/")
    assert way.security == ("tls" if url.startswith("https") else "none")


def test_the_environment_names_another_server_and_nothing_of_the_way_stays():
    environ = {"MERGEPOST_HOST": "smtp.ci.example", "MERGEPOST_USER": "ci"}
    for table in ({"sendmail": "msmtp -t"}, {"provider": "sendgrid-api", "base_url": "https://x.example"}):
        way = read_account(table, TomlFile("campaign.toml"), environ)
        assert way is not None
        assert (way.kind, way.host, way.user, way.command) == ("smtp", "smtp.ci.example", "ci", ())


@pytest.mark.parametrize("port", ["\u00b2", "\u0665", "0x19", "-1", "9" * 5000])
def test_the_port_of_the_environment_is_a_number(port):
    with pytest.raises(ConfigError) as caught:
        read_account({}, TomlFile("campaign.toml"), {"MERGEPOST_HOST": "localhost", "MERGEPOST_PORT": port})
    assert "MERGEPOST_PORT" in caught.value.message


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        ({"provider": "sendgrid-api"}, ApiSession),
        ({"provider": "mailjet-api", "user": "0"}, ApiSession),
        ({"sendmail": "true"}, Program),
        ({"maildir": "box"}, Maildir),
        ({"mbox": "out.mbox"}, Mbox),
        ({"eml": "out"}, Folder),
    ],
)
def test_each_account_has_its_carrier(table, kind, tmp_path):
    way = wayout.located(account(**table), tmp_path)
    carrier = wayout.carrier(way, lambda: "key", WallClock(), tell=print)
    assert type(carrier) is kind
    carrier.close()


def test_a_missing_program_is_a_matter_of_the_account():
    with pytest.raises(ConfigError, match="there is no program no-such-thing"):
        wayout.check(account(sendmail="no-such-thing -t"))
    wayout.check(account(sendmail="true"))
    wayout.check(account(maildir="/nowhere/at/all"))


def test_a_missing_library_is_told_before_anything(monkeypatch):
    monkeypatch.setattr(wayout, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="httpx, which is not installed") as caught:
        wayout.check(account(provider="sendgrid-api"))
    assert caught.value.hint == 'pip install "mergepost[api]"'
    wayout.check(account(provider="sendgrid"))


def test_every_way_has_a_page():
    folder = Path(__file__).parents[2] / "docs" / "accounts"
    index = (folder / "README.md").read_text("utf-8")
    for page in ("sendgrid-api", "mailjet-api", "sendmail", "folders"):
        assert (folder / f"{page}.md").is_file()
        assert f"({page}.md)" in index
