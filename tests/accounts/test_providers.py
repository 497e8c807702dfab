"""The profiles of the well-known services: complete, found by every name, their limits at work."""

from __future__ import annotations

import datetime as dt
import re
import textwrap
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from merge.account import AccountSettings, PaceSettings, account_from_table
from merge.account.providers import by_domain, by_host, by_name, providers
from merge.config import Settings, pace_of
from merge.errors import ConfigError
from merge.fit import beyond
from merge.toml import TomlFile

ROOT = Path(__file__).parents[2]
ALL = sorted(providers())

# What the tutorials name: none of these ways to send may be missing.
ASKED_FOR = """
localhost gmail workspace gmail-relay microsoft365 outlook yahoo icloud fastmail zoho gmx proton-bridge ses
sendgrid mailjet mailgun postmark brevo mailtrap mailtrap-sandbox mailpit
""".split()  # noqa: SIM905 - a list of words reads better than its quotes


def account(**table: object) -> AccountSettings:
    return account_from_table("work", table, TomlFile("accounts.toml"))


def test_every_way_that_tutorials_name_is_there():
    assert not [name for name in ASKED_FOR if name not in ALL]


@pytest.mark.parametrize("name", ALL)
def test_a_profile_is_complete(name):
    known = providers()[name]
    assert known.title
    assert known.host
    assert 0 < known.port < 2**16
    assert known.security in ("tls", "starttls", "none")
    assert set(known.other_ports.values()) <= {"tls", "starttls"}
    assert known.port not in known.other_ports
    assert known.login in ("app password", "password", "key", "token", "any", "none")
    assert known.limits
    limits = (known.per_second, known.per_minute, known.per_day, known.per_connection, known.recipients)
    says_so = ("unknown", "none", "plan", "as ")
    assert any(limits) or any(word in known.limits for word in says_so), known.limits
    assert known.source
    assert isinstance(known.read, dt.date)
    assert known.read > dt.date(2026, 1, 1)
    for code, hint in known.hints.items():
        assert code.split()[0] in ("432", "454", "525", "534", "535", "550")
        assert hint.strip() == hint
        assert all(len(line) < 220 for line in hint.splitlines())
    if known.oauth:
        assert {"authorize", "token", "scope"} <= set(known.oauth)
        assert all(known.oauth[key].startswith("https://") for key in ("authorize", "token"))


@pytest.mark.parametrize("name", ALL)
def test_nothing_goes_in_the_clear_but_to_this_machine(name):
    known = providers()[name]
    assert known.security != "none" or known.host == "localhost"


def test_the_file_holds_no_field_that_nobody_reads():
    table = tomllib.loads((ROOT / "merge" / "account" / "providers.toml").read_text("utf-8"))
    assert list(table) == list(providers())


def test_no_name_alias_or_domain_belongs_to_two():
    seen: dict[str, str] = {}
    for known in providers().values():
        for word in (known.name, *known.aliases):
            assert by_name(word) is known, word
        for domain in known.domains:
            assert seen.setdefault(domain, known.name) == known.name


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("gmail", "gmail"), ("Gmail", "gmail"),
        ("Google Workspace", "workspace"), ("Microsoft 365", "microsoft365"),
        ("office365", "microsoft365"), ("exchange_online", "microsoft365"), ("Amazon SES", "ses"),
        ("sendinblue", "brevo"), ("mailbox.org", "mailbox-org"), ("local", "localhost"),
    ],
)  # fmt: skip
def test_a_provider_is_found_by_name_title_and_alias(said, meant):
    assert account(provider=said, user="ada@ada.example", region="eu-west-1").provider in (meant, "workspace")
    found = by_name(said)
    assert found is not None
    assert found.name == meant


@pytest.mark.parametrize(
    ("address", "provider"),
    [
        ("ada@gmail.com", "gmail"),
        ("Ada@GoogleMail.com", "gmail"),
        ("ada@web.de", "webde"),
        ("a@me.com", "icloud"),
    ],
)
def test_the_address_alone_is_enough_where_its_domain_is_known(address, provider):
    way = account(user=address)
    assert way.provider == provider
    assert way.host == providers()[provider].host
    assert way.found == f"the address domain {address.rpartition('@')[2].lower()}"


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("smtp.gmail.com", "gmail"), ("SMTP.GMail.com.", "gmail"), ("smtp.office365.com", "microsoft365"),
        ("email-smtp.eu-west-1.amazonaws.com", "ses"), ("smtp.eu.mailgun.org", "mailgun"),
    ],
)  # fmt: skip
def test_the_host_alone_is_enough(host, provider):
    found = by_host(host)
    assert found is not None
    assert found.name == provider
    assert account(host=host, user="x@gmail.com").provider == provider


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "mail.ada.example", "xsmtp.gmail.com", ""])
def test_other_hosts_belong_to_nobody(host):
    assert by_host(host) is None


def test_a_gmail_login_of_another_domain_is_workspace():
    assert account(provider="gmail", user="ada@gmail.com").pace == PaceSettings(per_day=500)
    assert account(provider="gmail", user="ada@club.example").pace == PaceSettings(per_day=2000)
    assert account(host="smtp.gmail.com", user="ada@club.example").provider == "workspace"
    assert by_domain("ada@club.example") is None


def test_limits_of_the_provider_are_the_default_pace_and_line():
    way = account(provider="microsoft365", user="ada@club.example")
    assert way.pace == PaceSettings(per_minute=30, per_day=10_000)
    assert account(provider="socketlabs").per_connection == 50
    assert account(provider="socketlabs", per_connection=10).per_connection == 10


def test_what_the_campaign_sets_replaces_that_limit_and_leaves_the_others():
    way = account(provider="microsoft365", user="ada@club.example")
    nothing = Settings(ROOT, ROOT, "", ROOT, "")
    assert pace_of(nothing, way) == way.pace
    assert pace_of(nothing, None) is None
    faster = replace(nothing, pace=PaceSettings(per_minute=60, gap=(1, 2)))
    assert pace_of(faster, None) == PaceSettings(per_minute=60, gap=(1, 2))
    assert pace_of(faster, way) == PaceSettings(per_minute=60, per_day=10_000, gap=(1, 2))
    assert way.profile is not None
    assert beyond(PaceSettings(per_minute=60, per_day=10_000), way.profile) == [
        "60 a minute is more than Microsoft 365 is known to allow (30)"
    ]


def test_no_limit_is_invented_for_a_server_that_nobody_knows():
    way = account(host="mail.ada.example", user="ada@ada.example")
    assert way.profile is None
    assert way.pace == PaceSettings()
    assert way.per_connection is None


@pytest.mark.parametrize(
    ("table", "port", "security"),
    [
        ({"provider": "gmail"}, 465, "tls"),
        ({"provider": "gmail", "port": 587}, 587, "starttls"),
        ({"provider": "gmail", "security": "starttls"}, 587, "starttls"),
        ({"provider": "sendgrid", "port": 2525}, 2525, "starttls"),
        ({"provider": "sendgrid", "port": 465}, 465, "tls"),
        ({"provider": "ses", "region": "eu-west-1", "port": 2465}, 2465, "tls"),
        ({"host": "mail.ada.example"}, 587, "starttls"),
        ({"host": "mail.ada.example", "port": 465}, 465, "tls"),
        ({"host": "mail.ada.example", "port": 25}, 25, "starttls"),
        ({"host": "mail.ada.example", "security": "tls"}, 465, "tls"),
        ({"host": "localhost"}, 25, "none"),
        ({"host": "localhost", "port": 2525}, 2525, "none"),
        ({"provider": "mailpit"}, 1025, "none"),
        ({"provider": "localhost"}, 25, "none"),
    ],
)
def test_port_and_security_go_together(table, port, security):
    way = account(**table)
    assert (way.port, way.security) == (port, security)


def test_sendgrid_and_others_know_their_user():
    assert account(provider="sendgrid").user == "apikey"
    assert account(provider="resend").user == "resend"


def test_ses_needs_its_region():
    assert account(provider="ses", region="eu-west-1").host == "email-smtp.eu-west-1.amazonaws.com"
    assert account(provider="ses", host="email-smtp.us-east-1.amazonaws.com").provider == "ses"
    for table in ({}, {"region": "evil.example/"}):
        with pytest.raises(ConfigError, match="region") as refused:
            account(provider="ses", **table)
        assert "eu-central-1" in refused.value.hint


@pytest.mark.parametrize(
    ("said", "meant"), [("gmial", "gmail"), ("sendgird", "sendgrid"), ("ofice365", "microsoft365")]
)
def test_a_mistyped_provider_is_answered_with_the_one_that_was_meant(said, meant):
    with pytest.raises(ConfigError) as refused:
        account(provider=said)
    assert meant in refused.value.hint


def test_an_account_that_says_nothing_is_told_what_it_needs():
    with pytest.raises(ConfigError, match="neither provider nor host") as refused:
        account(user="ada@ada.example")
    assert "gmail" in refused.value.hint
    assert 'host = "smtp.example.org"' in refused.value.hint


def test_every_page_that_a_profile_names_is_there():
    pages = {page.stem for page in (ROOT / "docs" / "accounts").glob("*.md")}
    assert {known.page for known in providers().values()} <= pages


PAGES = sorted((ROOT / "docs" / "accounts").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_account_on_the_pages_is_accepted(page):
    blocks = re.findall(r"^ *```toml\n(.*?)^ *```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    accounts = [
        account(**table)
        for block in map(tomllib.loads, map(textwrap.dedent, blocks))
        for name, table in block.items()
        if name in ("account", "work") and isinstance(table, dict)
    ]
    assert accounts or page.stem == "README"
    for way in accounts:
        known = way.profile
        assert known is None or page.stem in (known.page, "README")


def test_every_provider_is_named_on_its_page():
    for known in providers().values():
        text = (ROOT / "docs" / "accounts" / f"{known.page}.md").read_text("utf-8")
        domains = (f"@{domain}" for domain in known.domains)
        assert known.name in text or known.title in text or any(domain in text for domain in domains), (
            known.name
        )
