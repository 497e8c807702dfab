"""OAuth 2.0 against an identity server of our own, over real HTTPS: sign in, keep, renew, be refused."""

from __future__ import annotations

import base64
import json
import os
import pickle
import ssl
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from accounts_kit import Manners, mail_server
from identity_kit import Browser, Identity, identity_server

from merge import assemble
from merge.account import AccountSettings, account_from_table
from merge.account.oauth import Client, Refused, Token
from merge.account.secret import SecretReference
from merge.account.signin import in_browser, on_a_device
from merge.account.vault import FileVault, KeyringVault
from merge.clock import TestClock, WallClock
from merge.doctor import examination as doctor
from merge.doctor.examination import Person, Wish
from merge.errors import CarrierError, ConfigError
from merge.model import Delivery, Envelope, State
from merge.smtp.session import Session
from merge.toml import TomlFile

USER = "ada@club.example"


@pytest.fixture
def identity() -> Identity:
    return Identity()


@pytest.fixture
def url(identity, tmp_path, monkeypatch) -> Iterator[str]:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with identity_server(identity, context) as address:
        yield address


@pytest.fixture
def client(url) -> Client:
    return Client(
        id="client-7",
        token=f"{url}/token",
        scope="https://mail.example/send offline_access",
        user=USER,
        authorize=f"{url}/authorize",
        device=f"{url}/device",
        ask="access_type=offline&prompt=consent",
    )


@pytest.fixture
def vault(tmp_path) -> FileVault:
    return FileVault(tmp_path / "tokens" / "one.json")


def settings(url: str, **more: Any) -> AccountSettings:
    oauth = {"client_id": "client-7", "authorize": f"{url}/authorize", "token": f"{url}/token",
             "device": f"{url}/device", "scope": "send", **more}  # fmt: skip
    table = {"host": "localhost", "port": 1, "security": "none", "user": USER, "oauth": oauth}
    return account_from_table("work", table, TomlFile("accounts.toml"))


def test_signing_in_with_a_browser(client, identity):
    browser = Browser()
    token = in_browser(client, WallClock(), browser)
    browser.wait()
    assert token["access_token"] == "planted-access-1"
    assert token["refresh_token"] == "planted-refresh-1"
    asked = identity.of("/authorize")[0]
    assert asked["client_id"] == "client-7"
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["login_hint"] == USER
    assert asked["scope"] == "https://mail.example/send offline_access"
    assert (asked["access_type"], asked["prompt"]) == ("offline", "consent")
    assert urlsplit(asked["redirect_uri"]).hostname == "127.0.0.1"
    assert len(asked["state"]) >= 32
    assert "client_secret" not in identity.of("/token")[0]
    assert "Signed in." in browser.pages[-1]


def test_the_client_secret_goes_only_to_the_token_endpoint(client, identity):
    browser = Browser()
    in_browser(replace(client, secret=lambda: "planted-client-secret"), WallClock(), browser)
    browser.wait()
    assert identity.of("/token")[0]["client_secret"] == "planted-client-secret"
    assert "planted-client-secret" not in str(identity.of("/authorize")) + str(browser.shown)


def test_only_the_answer_with_our_state_counts(client, identity):
    browser = Browser()
    browser.first = [
        "/favicon.ico",
        "/?code=evil&state=guessed",
        "/?error=access_denied",
        "/?code=evil&state=%C3%A9",
    ]
    token = in_browser(client, WallClock(), browser)
    browser.wait()
    assert token["access_token"] == "planted-access-1"
    assert [page[:3] for page in browser.pages[:-1]] == ["404"] * 4
    assert "evil" not in str(identity.of("/token"))


def test_two_sign_ins_share_nothing(client, identity):
    browser = Browser()
    for _ in range(2):
        in_browser(client, WallClock(), browser)
    browser.wait()
    first, second = identity.of("/authorize")
    assert first["state"] != second["state"]
    assert first["code_challenge"] != second["code_challenge"]


def test_a_declined_sign_in_is_told(client, identity):
    identity.refuses_consent = "access_denied"
    browser = Browser()
    with pytest.raises(ConfigError, match="access_denied") as refused:
        in_browser(client, WallClock(), browser)
    browser.wait()
    assert "declined" in refused.value.hint
    assert "Not signed in." in browser.pages[-1]


class Impatient(TestClock):
    """A clock on which each look takes a minute."""

    def monotonic(self) -> float:
        self._elapsed += 60
        return self._elapsed


def test_nobody_waits_for_ever_for_the_browser(client):
    with pytest.raises(ConfigError, match="nobody signed in"):
        in_browser(client, Impatient(), lambda *_: None)


def test_an_interrupt_ends_the_waiting(client):
    clock = TestClock()
    with pytest.raises(ConfigError, match="nobody signed in"):
        in_browser(client, clock, lambda *_: clock.interrupt())


def test_signing_in_with_a_code_on_another_device(client, identity):
    identity.pending = ["authorization_pending", "slow_down", "authorization_pending"]
    clock, browser = TestClock(), Browser()
    token = on_a_device(client, clock, browser)
    assert browser.shown == [(f"{identity.url}/enter", "ABCD-EFGH")]
    assert token["access_token"] == "planted-access-1"
    assert clock.slept == [5, 5, 10, 10]
    assert identity.of("/token")[0]["client_id"] == "client-7"


@pytest.mark.parametrize("reason", ["access_denied", "expired_token"])
def test_a_device_that_is_refused_is_told(client, identity, reason):
    identity.pending = ["authorization_pending", reason]
    with pytest.raises(Refused, match=reason):
        on_a_device(client, TestClock(), Browser())


def test_a_code_that_nobody_types_ends(client, identity):
    identity.pending = ["authorization_pending"] * 1000
    clock = TestClock()
    with pytest.raises(ConfigError, match="nobody signed in"):
        on_a_device(client, clock, Browser())
    assert sum(clock.slept) <= 610


def keep(vault: FileVault, clock: TestClock, seconds: float, **more: Any) -> None:
    vault.save({"access_token": "planted-old", "expires_at": clock.now() + seconds, **more})


def test_a_good_token_is_used_without_asking(client, vault, identity):
    clock = TestClock()
    keep(vault, clock, 301)
    assert Token(client, vault, clock)() == "planted-old"
    assert not identity.heard


def test_a_token_is_renewed_five_minutes_before_its_end_and_the_new_one_kept(client, vault, identity):
    clock = TestClock()
    keep(vault, clock, 900, refresh_token="planted-refresh-0")
    token = Token(client, vault, clock)
    assert token() == "planted-old"
    clock.sleep(601)
    assert token() == "planted-access-1"
    assert identity.of("/token")[0]["refresh_token"] == "planted-refresh-0"
    assert vault.load() == {
        "access_token": "planted-access-1", "refresh_token": "planted-refresh-1",
        "expires_at": clock.now() + 3600,
    }  # fmt: skip
    assert Token(client, vault, clock)() == "planted-access-1"
    clock.sleep(3400)
    assert token() == "planted-access-2"
    clock.sleep(3400)
    assert token() == "planted-access-3"
    # No new one was given: the old one is still good.
    assert identity.of("/token")[-1]["refresh_token"] == "planted-refresh-1"


def test_a_token_tells_when_it_ends(client, vault, identity):
    clock = TestClock()
    keep(vault, clock, 900, refresh_token="planted-refresh-0")
    token = Token(client, vault, clock)
    assert token.expires == 0
    token()
    assert token.expires == clock.now() + 900
    clock.sleep(601)
    token()
    assert token.expires == clock.now() + 3600


def test_a_rotated_refresh_token_replaces_the_old_one(client, vault, identity):
    identity.rotates = True
    clock = TestClock()
    keep(vault, clock, 1, refresh_token="planted-refresh-0")
    token = Token(client, vault, clock)
    for number in (1, 2, 3):
        token()
        clock.sleep(3500)
        assert (vault.load() or {})["refresh_token"] == f"planted-refresh-{number}"


@pytest.mark.parametrize("lifetime", [None, "3600", "soon", 0])
def test_odd_lifetimes_are_borne(client, vault, identity, lifetime):
    identity.lifetime = lifetime
    clock = TestClock()
    keep(vault, clock, 0, refresh_token="planted-refresh-0")
    Token(client, vault, clock)()
    assert (vault.load() or {})["expires_at"] == clock.now() + (3600 if lifetime == "3600" else 600)


def test_without_a_sign_in_the_person_is_told_how(client, vault):
    with pytest.raises(ConfigError, match="not signed in yet") as refused:
        Token(client, vault, TestClock())()
    assert refused.value.hint == "sign in once: mergepost doctor --login"


@pytest.mark.parametrize("reason", ["invalid_grant", "interaction_required"])
def test_a_sign_in_that_has_ended_is_told(client, vault, identity, reason):
    identity.refuses = reason
    clock = TestClock()
    keep(vault, clock, 0, refresh_token="planted-refresh-0")
    with pytest.raises(ConfigError, match=reason) as refused:
        Token(client, vault, clock)()
    assert refused.value.hint == "sign in again: mergepost doctor --login\nbecause it is told to"


def test_trouble_with_renewing_is_no_trouble_while_the_old_token_is_good(client, vault, identity):
    identity.refuses = "temporarily_unavailable"
    clock = TestClock()
    keep(vault, clock, 200, refresh_token="planted-refresh-0")
    token = Token(client, vault, clock)
    assert token() == "planted-old"
    identity.refuses = ""
    assert token() == "planted-access-1"


def test_an_identity_server_that_is_not_there_is_a_connection_error(client, vault):
    clock = TestClock()
    keep(vault, clock, 0, refresh_token="planted-refresh-0")
    gone = replace(client, token="https://localhost:1/token")
    with pytest.raises(CarrierError, match="identity server localhost cannot be reached") as refused:
        Token(gone, vault, clock)()
    assert refused.value.exit_code == 4


def test_an_identity_server_that_cannot_be_trusted_gets_no_secret(
    client, vault, identity, monkeypatch, tmp_path
):
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    clock = TestClock()
    keep(vault, clock, 0, refresh_token="planted-refresh-0")
    with pytest.raises(CarrierError, match="cannot be reached: SSLCertVerificationError"):
        Token(client, vault, clock)()
    assert not identity.heard


@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_is_not_followed_with_a_secret(client, vault, identity, status):
    identity.redirect_status = status
    identity.redirects = f"{identity.url}/elsewhere"
    clock = TestClock()
    keep(vault, clock, 0, refresh_token="planted-refresh-0")
    with pytest.raises(CarrierError):
        Token(client, vault, clock)()
    assert not identity.of("/elsewhere")


@pytest.mark.parametrize("garbage", [b"<html>", b"[1]", b"\xff", b"x" * 200_000])
def test_an_answer_that_is_no_json_object_is_told(client, vault, identity, garbage):
    identity.garbage = garbage
    clock = TestClock()
    keep(vault, clock, 0, refresh_token="planted-refresh-0")
    with pytest.raises(CarrierError, match="no JSON object"):
        Token(client, vault, clock)()


@pytest.mark.skipif(os.name != "posix", reason="modes are a POSIX matter")
def test_the_kept_token_is_for_its_owner_alone(vault):
    old = os.umask(0)
    try:
        vault.save({"access_token": "planted"})
    finally:
        os.umask(old)
    assert stat.S_IMODE(vault.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(vault.path.parent.stat().st_mode) == 0o700
    assert [path.name for path in vault.path.parent.iterdir()] == [vault.path.name]
    vault.path.chmod(0o640)
    with pytest.raises(ConfigError, match="others can read") as refused:
        vault.load()
    assert "chmod 600" in refused.value.hint


@pytest.mark.parametrize("content", ["", "{", "\x00"])
def test_a_broken_token_file_is_told(vault, content):
    vault.save({})
    vault.path.write_text(content)
    with pytest.raises(ConfigError, match="cannot be read") as refused:
        vault.load()
    assert "--login" in refused.value.hint


def test_a_token_is_not_shown_and_not_written_down(client, vault):
    token = Token(client, vault, TestClock())
    vault.save({"access_token": "planted", "expires_at": 9e12})
    token()
    assert "planted" not in repr(token) + repr(vault)
    with pytest.raises(TypeError):
        pickle.dumps(token)


def test_the_keyring_can_keep_it(client, monkeypatch):
    kept: dict[tuple[str, str], str] = {}
    monkeypatch.setattr("keyring.get_password", lambda service, user: kept.get((service, user)))
    monkeypatch.setattr(
        "keyring.set_password", lambda service, user, text: kept.update({(service, user): text})
    )
    vault = KeyringVault("mergepost localhost token", USER)
    assert vault.load() is None
    vault.save({"access_token": "planted", "expires_at": 9e12})
    assert Token(client, vault, TestClock())() == "planted"
    kept["mergepost localhost token", USER] = "no json"
    assert vault.load() is None


# The account


REFUSED = [
    ({"client_id": ""}, "needs a client_id"),
    ({"authorise": "https://x"}, "authorise"),
    ({"token": "http://login.example/token"}, "must begin with https://"),
    ({"flow": "magic"}, "no flow 'magic'"),
    ({"keep": "cloud"}, "keep is 'cloud'"),
    ({"tenant": "../evil"}, "no tenant"),
    ({"client_secret": "planted-client-secret"}, "does not belong into a file"),
]


@pytest.mark.parametrize(("more", "words"), REFUSED, ids=[next(iter(more)) for more, _ in REFUSED])
def test_oauth_settings_that_cannot_be_followed_are_refused(more, words):
    with pytest.raises(ConfigError, match=words) as refused:
        settings("https://login.example", **more)
    assert "planted" not in str(refused.value) + refused.value.hint + str(refused.value.problems)


def test_the_endpoints_of_google_and_microsoft_are_known():
    def oauth(**table: Any) -> Any:
        way = account_from_table("work", {**table, "user": USER}, TomlFile("accounts.toml"))
        assert way.oauth is not None
        return way.oauth

    google = oauth(provider="gmail", oauth={"client_id": "x"})
    assert google.token == "https://oauth2.googleapis.com/token"
    assert (google.flow, google.redirect) == ("browser", "127.0.0.1")
    assert "access_type=offline" in google.ask
    microsoft = oauth(
        provider="microsoft365", oauth={"client_id": "x", "tenant": "club.example", "flow": "device"}
    )
    assert microsoft.device == "https://login.microsoftonline.com/club.example/oauth2/v2.0/devicecode"
    assert microsoft.redirect == "localhost"
    with pytest.raises(ConfigError, match="no flow 'device'"):  # Google offers it for no mail scope
        oauth(provider="gmail", oauth={"client_id": "x", "flow": "device"})
    with pytest.raises(ConfigError, match="oauth needs token"):
        oauth(host="mail.ada.example", oauth={"client_id": "x"})


def test_the_environment_does_not_send_a_token_to_another_host(monkeypatch, tmp_path):
    monkeypatch.setattr("merge.account.settings.accounts_path", lambda: tmp_path / "accounts.toml")
    (tmp_path / "accounts.toml").write_text(
        f'[work]\nprovider = "gmail"\nuser = "{USER}"\noauth = {{client_id = "x"}}\n'
    )
    environ = {"MERGEPOST_HOST": "mail.evil.example"}
    from merge.account import read_account  # noqa: PLC0415 - next to what it is for

    way = read_account("work", TomlFile("campaign.toml"), environ)
    assert way is not None
    assert (way.host, way.oauth, way.profile) == ("mail.evil.example", None, None)


# The doctor and the session


@pytest.fixture
def home(monkeypatch, tmp_path) -> Path:
    monkeypatch.setattr("merge.assemble.token_file", lambda *_: tmp_path / "home" / "token.json")
    return tmp_path / "home" / "token.json"


def bearer(manners: Manners) -> list[str]:
    found = [line.split(" ")[2] for line in manners.heard if line.startswith("AUTH XOAUTH2")]
    return [base64.b64decode(text).decode().replace("\x01", " ").strip() for text in found]


@pytest.mark.parametrize("flow", ["browser", "device"])
def test_doctor_login_signs_in_and_logs_in_by_xoauth2(url, home, flow):
    manners, browser = Manners(auth="PLAIN XOAUTH2"), Browser()
    clock = WallClock() if flow == "browser" else TestClock()
    with mail_server(manners) as port:
        way = replace(settings(url, flow=flow), port=port)
        found = doctor.examine(way, clock=clock, wish=Wish(login=True), person=Person(show=browser))
    browser.wait()
    assert found.exit_code == 0, found.findings
    assert bearer(manners) == [f"user={USER} auth=Bearer planted-access-1"]
    assert json.loads(home.read_text())["refresh_token"] == "planted-refresh-1"
    assert "planted" not in str(found.findings)


def test_a_refused_token_is_told_apart_from_a_wrong_password(url, home):
    FileVault(home).save({"access_token": "planted", "expires_at": 9e12})
    with mail_server(
        Manners(auth="PLAIN XOAUTH2", login="535 5.7.8 Username and Password not accepted")
    ) as port:
        found = doctor.examine(replace(settings(url), port=port), clock=WallClock())
    (error,) = [finding for finding in found.findings if finding.grade == "error"]
    assert found.exit_code == 4
    assert "Sign in as exactly that user" in error.hint
    assert "app password" not in error.hint


def test_without_a_sign_in_the_doctor_says_how(url, home):
    with mail_server(Manners(auth="XOAUTH2")) as port:
        found = doctor.examine(replace(settings(url), port=port), clock=WallClock())
    assert found.exit_code == 2
    assert "mergepost doctor --login" in found.findings[-2].hint + found.findings[-1].hint + str(
        found.findings
    )


def test_a_run_that_outlasts_its_token_goes_on_with_a_new_one(url, home, identity):
    """The server ends the line when the token has ended; the next login brings one that is good."""
    clock = TestClock()
    FileVault(home).save(
        {
            "access_token": "planted-old",
            "refresh_token": "planted-refresh-0",
            "expires_at": clock.now() + 1000,
        }
    )
    manners = Manners(auth="XOAUTH2", per_line=3)
    with mail_server(manners) as port:
        way = replace(settings(url), port=port)
        target = assemble.target(way, assemble.secret(way, clock, None))
        session = Session(target, clock=clock, before_commit=lambda _: None)
        outcomes = []
        for row in range(2, 11):
            session.offer(
                Delivery(
                    f"row {row}", row, Envelope(USER, (f"p{row}@club.example",)),
                    b"Subject: hi\r\n\r\nhi\r\n", f"<{row}@club.example>",
                    datetime(2026, 11, 23, tzinfo=UTC), "digest",
                )
            )  # fmt: skip
            while len(outcomes) < row - 1:
                outcomes += session.collect(1.0)
            clock.sleep(150)
        session.close()
    assert [outcome.state for outcome in outcomes] == [State.SENT] * 9
    assert [line.rpartition(" ")[2] for line in bearer(manners)] == [
        "planted-old", "planted-old", "planted-access-1",
    ]  # fmt: skip
    assert manners.taken == [f"p{row}@club.example" for row in range(2, 11)]


def test_reference_of_the_client_secret_is_followed_only_when_it_is_needed(url, home, monkeypatch, identity):
    way = settings(url, client_secret={"env": "PLANTED_CLIENT"})
    assert way.oauth is not None
    assert way.oauth.client_secret == SecretReference("env", "PLANTED_CLIENT")
    FileVault(home).save({"access_token": "a", "refresh_token": "planted-refresh-0", "expires_at": 0})
    token = assemble.secret(way, WallClock(), None)
    assert isinstance(token, Token)
    with pytest.raises(ConfigError, match="PLANTED_CLIENT"):
        token()
    monkeypatch.setenv("PLANTED_CLIENT", "planted-client-secret")
    assert token() == "planted-access-1"
    assert identity.of("/token")[0]["client_secret"] == "planted-client-secret"


def test_the_address_to_sign_in_at_is_complete(client):
    browser = Browser()
    in_browser(client, WallClock(), browser)
    browser.wait()
    query = parse_qs(urlsplit(browser.shown[0][0]).query)
    assert set(query) >= {"client_id", "redirect_uri", "state", "code_challenge", "scope"}
