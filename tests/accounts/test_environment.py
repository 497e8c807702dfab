"""The environment overrides an account; a secret goes to no host that it was not meant for."""

from __future__ import annotations

import pytest
from accounts_kit import Manners, mail_server

from merge import assemble
from merge.account import AccountSettings, read_account
from merge.account.secret import SecretReference
from merge.clock import WallClock
from merge.errors import ConfigError
from merge.toml import TomlFile

FILE = TomlFile("campaign.toml")
PLANTED = "planted-s3cret-of-the-account"
OWN = {
    "env": {"password": {"env": "CLUB_PASSWORD"}},
    "file": {"password": {"file": "secret.txt"}},
    "keyring": {"password": {"keyring": "club"}},
    "command": {"password_command": "pass show club"},
}
ACCOUNTS = {
    "host": {"host": "mail.club.example"},
    "provider": {"provider": "gmail"},
    "address": {"user": "ada@gmail.com"},
    "region": {"provider": "ses", "region": "eu-west-1"},
    "own server, other port": {"host": "mail.club.example", "port": 2525, "security": "tls"},
}


def read(table: dict, **environ: str) -> AccountSettings:
    found = read_account(table, FILE, {f"MERGEPOST_{key}": value for key, value in environ.items()})
    assert found
    return found


@pytest.mark.parametrize("secret", OWN.values(), ids=OWN)
@pytest.mark.parametrize("table", ACCOUNTS.values(), ids=ACCOUNTS)
@pytest.mark.parametrize(
    "host", ["mail.evil.example", "localhost", "xmail.club.example", "smtp.gmail.com.evil.example"]
)
def test_with_another_host_the_secret_stays_at_home(table, secret, host):
    found = read({"user": "ada@club.example", **table, **secret}, HOST=host)
    assert found.host == host
    assert found.secret == SecretReference()
    assert found.profile is None
    assert found.oauth is None


@pytest.mark.parametrize("secret", OWN.values(), ids=OWN)
@pytest.mark.parametrize(
    ("table", "host"),
    [
        ({"host": "mail.club.example"}, "mail.club.example"),
        ({"host": "mail.club.example"}, "MAIL.club.example."),
        ({"provider": "gmail"}, "smtp.gmail.com"),
        ({"provider": "workspace"}, "smtp.gmail.com"),
        ({"user": "ada@gmail.com"}, "smtp.gmail.com"),
        ({"provider": "ses", "region": "eu-west-1"}, "email-smtp.us-east-1.amazonaws.com"),
        ({"provider": "mailgun"}, "smtp.eu.mailgun.org"),
        ({"user": "ada@club.example"}, "mail.club.example"),
    ],
)
def test_with_its_own_host_or_where_it_waits_for_one_it_is_used(table, secret, host):
    found = read({"user": "ada@club.example", **table, **secret}, HOST=host)
    assert found.secret == read({"host": "h.example", **secret}).secret
    assert found.secret.value


@pytest.mark.parametrize("name", ["HOST", "PORT", "SECURITY", "USER"])
def test_a_value_in_another_encoding_is_told_with_its_name(name):
    latin = "j\udcf6rg"  # as Python reads such bytes from the environment
    with pytest.raises(ConfigError, match=f"MERGEPOST_{name} is not text in UTF-8"):
        read({"host": "mail.club.example", "user": "ada"}, **{name: latin})


def test_the_environment_can_give_the_password_for_its_host():
    found = read({"host": "mail.club.example", **OWN["env"]}, HOST="ci.example", PASSWORD="s3cret")
    assert found.secret == SecretReference("env", "MERGEPOST_PASSWORD")
    assert "s3cret" not in repr(found)


def test_other_overrides_leave_the_secret():
    found = read({"host": "mail.club.example", "user": "ada", **OWN["env"]}, PORT="2525", USER="bob")
    assert (found.port, found.user, found.secret.value) == (2525, "bob", "CLUB_PASSWORD")


def test_a_way_out_on_this_computer_gives_way_to_a_host():
    found = read({"maildir": "/var/mail/ada"}, HOST="mail.club.example")
    assert (found.kind, found.host) == ("smtp", "mail.club.example")


def test_nothing_of_it_is_heard_at_the_other_host(monkeypatch):
    monkeypatch.setenv("CLUB_PASSWORD", PLANTED)
    manners = Manners(auth="PLAIN LOGIN")
    with mail_server(manners) as port:
        table = {"host": "mail.club.example", "user": "ada@club.example", **OWN["env"]}
        way = read(table, HOST="localhost", PORT=str(port), SECURITY="none")
        secret = assemble.secret(way, WallClock(), None)
        with pytest.raises(ConfigError, match="is not known, and no one can be asked") as refused:
            assemble.probe(way, secret, WallClock())
    assert "MERGEPOST_PASSWORD" in refused.value.hint
    assert not any(line.startswith("AUTH") for line in manners.heard)
