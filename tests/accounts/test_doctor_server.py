"""The doctor at a server: who answers, how it is protected, the login, what it can do. Nothing is sent."""

from __future__ import annotations

import base64
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from accounts_kit import Manners, mail_server

from merge import fit
from merge.account import AccountSettings, PaceSettings
from merge.account.providers import providers
from merge.account.secret import SecretReference
from merge.clock import WallClock
from merge.doctor import examination as doctor
from merge.doctor.diagnosis import as_json, lines
from merge.doctor.examination import Examination, Person, Wish
from merge.errors import CarrierError
from merge.finding import Finding
from merge.fit import Sending
from merge.smtp.session import Greeting

PASSWORD = "planted-s3cret-pässword"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(autouse=True)
def planted(monkeypatch) -> None:
    monkeypatch.setenv("PLANTED", PASSWORD)


def secure(manners: Manners, authority: trustme.CA, security: str, **options: object) -> Manners:
    manners.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", **options).configure_cert(manners.context)
    manners.security = security
    return manners


def account(port: int, **fields: object) -> AccountSettings:
    start = AccountSettings("work", "localhost", port, "none", secret=SecretReference("env", "PLANTED"))
    return replace(start, **fields)


def examine(way: AccountSettings, **options: object) -> Examination:
    return doctor.examine(way, clock=WallClock(), **options)


def of(found: Examination, topic: str) -> list[Finding]:
    return [finding for finding in found.findings if finding.topic == topic]


def never_sent(manners: Manners) -> bool:
    return not any(line.upper().startswith(("MAIL", "RCPT", "DATA", "BDAT")) for line in manners.heard)


@pytest.fixture
def trusted(authority, tmp_path) -> str:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.mark.parametrize("security", ["tls", "starttls"])
def test_a_good_server_gets_a_good_report(authority, trusted, security):
    manners = secure(Manners(auth="PLAIN LOGIN"), authority, security)
    with mail_server(manners) as port:
        found = examine(account(port, security=security, user="ada@ada.example", ca_file=trusted))
    assert found.exit_code == 0
    assert {finding.grade for finding in found.findings} <= {"ok", "note"}
    assert of(found, "connection")[0].message == f"localhost:{port} answers: mail.ada.example ESMTP"
    assert "TLSv1.3, certificate by trustme" in of(found, "tls")[0].message
    assert of(found, "login")[0].message == "logged in as ada@ada.example (PLAIN)"
    assert "pipelining works: 1 round trip a letter" in of(found, "speed")[0].message
    assert "25.0 MB" in of(found, "size")[0].message
    assert never_sent(manners)
    assert lines(found)[-1] == "All is well. Nothing was sent."


def test_the_report_for_programs_has_the_same(authority, trusted):
    manners = secure(Manners(auth="PLAIN"), authority, "tls")
    with mail_server(manners) as port:
        found = examine(account(port, security="tls", user="ada@ada.example", ca_file=trusted))
    said = as_json(found)
    assert said["account"]["host"] == "localhost"
    assert said["server"]["tls"] == "TLSv1.3"
    assert said["server"]["login"] == "PLAIN"
    assert said["server"]["pipelining"] == 2
    assert said["server"]["size"] == 25_000_000
    assert 0 < said["server"]["round_trip_ms"] < 5000
    assert said["exit_code"] == 0
    assert PASSWORD not in str(said)


def test_the_password_goes_to_the_server_only_once_and_under_tls(authority, trusted):
    manners = secure(Manners(auth="PLAIN"), authority, "starttls")
    with mail_server(manners) as port:
        examine(account(port, security="starttls", user="ada", ca_file=trusted))
    encoded = base64.b64encode(f"\0ada\0{PASSWORD}".encode()).decode()
    assert manners.heard.count(f"AUTH PLAIN {encoded}") == 1
    assert manners.heard.index("STARTTLS") < manners.heard.index(f"AUTH PLAIN {encoded}")


def test_nothing_listening_is_a_connection_error(unused_port):
    found = examine(account(unused_port))
    assert found.exit_code == 4
    (error,) = of(found, "connection")
    assert error.grade == "error"
    assert "refused" in error.message
    assert "whether the server runs" in error.hint
    assert lines(found)[-1] == "It does not work yet: see the error above. Nothing was sent."


@pytest.fixture
def unused_port() -> int:
    import socket  # noqa: PLC0415 - only here

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_an_unknown_host_is_a_connection_error():
    found = examine(AccountSettings("work", "no-such-host.invalid", 587, "starttls"))
    assert found.exit_code == 4
    assert "does not exist" in of(found, "connection")[0].message


def test_an_untrusted_certificate_is_a_connection_error_with_the_way_out(authority):
    manners = secure(Manners(auth="PLAIN"), authority, "tls")
    with mail_server(manners) as port:
        found = examine(account(port, security="tls", user="ada"))
    assert found.exit_code == 4
    assert "cannot be trusted" in of(found, "connection")[0].message
    assert "ca_file" in of(found, "connection")[0].hint
    assert not manners.heard


def test_tls_at_the_wrong_port_says_which_security_fits(authority, trusted):
    with mail_server(Manners()) as port:
        found = examine(account(port, security="tls", ca_file=trusted))
    assert found.exit_code == 4
    assert 'security = "tls", ports 587 and 25 "starttls"' in of(found, "connection")[0].hint


def test_a_server_without_starttls_never_hears_the_password():
    manners = Manners(auth="PLAIN")
    with mail_server(manners) as port:
        found = examine(account(port, security="starttls", user="ada"))
    assert found.exit_code == 4
    assert "does not offer STARTTLS" in of(found, "connection")[0].message
    assert not [line for line in manners.heard if line.startswith("AUTH")]


def test_a_certificate_that_ends_soon_is_a_warning(authority, trusted):
    soon = datetime.now(UTC) + timedelta(days=3)
    manners = secure(Manners(), authority, "tls", not_after=soon)
    with mail_server(manners) as port:
        found = examine(account(port, security="tls", ca_file=trusted))
    warning = of(found, "tls")[-1]
    assert warning.grade == "warning"
    assert warning.message.endswith(f"ends on {soon:%Y-%m-%d}")
    assert found.exit_code == 0


REFUSALS = [
    (
        "gmail",
        "534-5.7.9 App password required.\n534 5.7.9 gsmtp",
        "wants an app password here",
    ),
    ("gmail", "535 5.7.8 Username and Password not accepted", "or it is your usual one"),
    ("workspace", "535 5.7.8 Username and Password not accepted", "Google wants an app password"),
    ("microsoft365", "535 5.7.139 Authentication unsuccessful", "switched off password logins"),
    ("microsoft365", "550 5.7.30 Basic authentication is not supported", "no passwords for sending"),
    ("microsoft365", "535 5.7.3 Authentication unsuccessful", "SMTP AUTH must be switched on"),
    ("outlook", "535 5.7.139 Authentication unsuccessful", "takes no passwords"),
    ("icloud", "535 5.7.8 Error: authentication failed", "app-specific password"),
    ("yahoo", "535 5.7.0 (#AUTH005) Too many bad auth attempts", "app password"),
    ("fastmail", "535 5.7.8 Authentication failed", "app password"),
    ("ses", "535 Authentication Credentials Invalid", "not the AWS access keys"),
    ("sendgrid", "535 Authentication failed: Bad username / password", "literally `apikey`"),
    ("mailjet", "535 5.7.8 Authentication failed", "secret key"),
    ("mailgun", "535 5.7.0 Mailgun credentials rejected", "SMTP credentials of the sending domain"),
    ("postmark", "535 5.7.8 Error: authentication failed", "API token"),
    ("brevo", "535 5.7.8 Authentication failed", "SMTP key, not the API key"),
    ("mailtrap", "535 5.7.8 Authentication failed", "literally `api`"),
    ("mailtrap-sandbox", "535 5.7.0 Monthly messages limit reached", "number of test messages"),
    ("gmx", "535 Authentication credentials invalid", "switched on"),
    ("proton-bridge", "535 5.7.0 Authentication failed", "password of its own"),
]


@pytest.mark.parametrize(
    ("name", "reply", "hint"), REFUSALS, ids=[f"{name} {reply[:9]}" for name, reply, _ in REFUSALS]
)
def test_a_refused_login_says_what_this_provider_wants(name, reply, hint):
    manners = Manners(auth="PLAIN LOGIN", login=reply)
    with mail_server(manners) as port:
        found = examine(account(port, user="ada@ada.example", profile=providers()[name]))
    (error,) = [finding for finding in of(found, "login") if finding.grade == "error"]
    assert found.exit_code == 4
    assert "refused the login for ada@ada.example" in error.message
    assert hint in error.hint
    assert "The server says: " in error.hint
    assert "The password came from the environment variable PLANTED." in error.hint
    assert PASSWORD not in str(found.findings)
    assert (
        len([line for line in manners.heard if line.startswith("AUTH")]) == 1
    )  # a second could lock the account


@pytest.mark.parametrize("name", sorted(providers()))
def test_each_profile_logs_in_as_its_servers_ask(name):
    known = providers()[name]
    if known.login == "none":
        manners = Manners()
        with mail_server(manners) as port:
            found = examine(account(port, profile=known))
        assert not of(found, "login")
        assert not [line for line in manners.heard if line.startswith("AUTH")]
    else:
        manners = Manners(auth="LOGIN PLAIN XOAUTH2")
        with mail_server(manners) as port:
            found = examine(account(port, profile=known, user=known.user or "ada@ada.example"))
        (login,) = of(found, "login")
        assert login.message == f"logged in as {known.user or 'ada@ada.example'} (PLAIN)"
    assert found.exit_code == 0
    assert never_sent(manners)


def test_servers_with_only_login_are_served():
    manners = Manners(auth="LOGIN")
    with mail_server(manners) as port:
        found = examine(account(port, user="ada"))
    assert of(found, "login")[0].message == "logged in as ada (LOGIN)"
    assert base64.b64encode(PASSWORD.encode()).decode() in manners.heard


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize(
    ("reply", "shown"),
    [("535 no such login: ada", True), ("535 no: {heard}", False), (f"535 {PASSWORD}", False)],
)
def test_the_servers_words_are_shown_unless_they_repeat_the_password(mechanism, reply, shown):
    with mail_server(Manners(auth=mechanism, login=reply)) as port:
        found = examine(account(port, user="ada"))
    hint = of(found, "login")[0].hint
    assert ("no such login: ada" in hint) is shown
    assert ("it repeats the login" in hint) is not shown
    assert "planted" not in hint


def test_a_missing_user_is_told_before_and_after_the_connection():
    way = account(1, profile=providers()["gmail"])
    (warning,) = [finding for finding in fit.of_account(way, None) if finding.grade == "warning"]
    assert "Gmail wants a login" in warning.message


def test_a_password_that_nobody_can_be_asked_for_is_told_with_all_ways_to_give_it():
    with mail_server(Manners(auth="PLAIN")) as port:
        found = examine(account(port, user="ada", secret=SecretReference()))
    assert found.exit_code == 2
    assert "no one can be asked" in of(found, "login")[0].message
    assert "password_command" in of(found, "login")[0].hint


class Keyring:
    """A keyring of this test alone."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, user: str) -> str | None:
        return self.kept.get((service, user))

    def set_password(self, service: str, user: str, text: str) -> None:
        self.kept[service, user] = text


@pytest.fixture
def keyring(monkeypatch) -> Keyring:
    import keyring as library  # noqa: PLC0415 - an extra

    mine = Keyring()
    monkeypatch.setattr(library, "get_keyring", lambda: mine)
    monkeypatch.setattr(library, "get_password", mine.get_password)
    monkeypatch.setattr(library, "set_password", mine.set_password)
    return mine


@pytest.mark.parametrize("answer", [True, False])
def test_a_typed_password_is_kept_only_when_it_is_right_and_the_person_agrees(keyring, answer):
    person = Person(ask=lambda _: PASSWORD, agree=lambda _: answer)
    with mail_server(Manners(auth="PLAIN")) as port:
        way = account(port, user="ada", secret=SecretReference())
        found = examine(way, person=person)
        assert found.exit_code == 0
        assert keyring.kept == ({("mergepost localhost", "ada"): PASSWORD} if answer else {})
        if answer:
            again = examine(way, person=Person())  # nobody is asked any more
            assert again.exit_code == 0
    with mail_server(Manners(auth="PLAIN", login="535 5.7.8 no")) as port:
        keyring.kept.clear()
        examine(account(port, user="ada", secret=SecretReference()), person=person)
        assert not keyring.kept


def test_login_asks_anew_whatever_is_kept(keyring):
    keyring.kept["mergepost localhost", "ada"] = "an old one"
    asked: list[str] = []
    person = Person(ask=lambda words: asked.append(words) or PASSWORD, agree=lambda _: True)
    with mail_server(Manners(auth="PLAIN")) as port:
        way = account(port, user="ada", secret=SecretReference())
        examine(way, person=person, wish=Wish(login=True))
    assert len(asked) == 1
    assert keyring.kept["mergepost localhost", "ada"] == PASSWORD


def test_without_a_keyring_the_report_says_how_to_keep_the_password(monkeypatch):
    monkeypatch.setattr("merge.doctor.examination.keyring_usable", lambda: False)
    with mail_server(Manners(auth="PLAIN")) as port:
        way = account(port, user="ada", secret=SecretReference())
        found = examine(way, person=Person(ask=lambda _: PASSWORD))
    assert "password_command" in of(found, "login")[-1].hint


def test_pipelining_that_is_only_advertised_is_found_out():
    with mail_server(Manners(groups=False)) as port:
        found = examine(account(port))
    assert of(found, "speed")[0].message.startswith("pipelining is offered, not answered")
    with mail_server(Manners(extensions=("SIZE 1000",))) as port:
        found = examine(account(port))
    assert of(found, "speed")[0].message.startswith("no pipelining: 4 round trips")


def test_a_letter_too_large_for_the_server_is_a_warning():
    with mail_server(Manners(extensions=("SIZE 1000",))) as port:
        found = examine(account(port), sending=Sending("ada@ada.example", 3, size=2500))
    (warning,) = [finding for finding in of(found, "size") if finding.grade == "warning"]
    assert "about 2.5 kB; the server takes 1.0 kB" in warning.message


def test_a_hostile_banner_does_nothing_to_the_terminal():
    with mail_server(Manners(banner="220 \x1b[2J\u202eevil")) as port:
        shown = "\n".join(lines(examine(account(port))))
    assert "\x1b" not in shown
    assert "\u202e" not in shown


def test_a_hostile_finding_does_nothing_to_the_terminal():
    finding = Finding("ok", "tls", "by \x1b]0;evil\x07\u202e", "also \x1b[2J here\nand \u2066 there")
    shown = lines(Examination(account(1), (finding,)))
    assert not [line for line in shown if any(character in line for character in "\x1b\x07\u202e\u2066")]
    assert "\\x1b]0;evil" in shown[0]
    assert len(shown) == 5


def greeting(level: int, trip: float) -> Greeting:
    return Greeting("", {}, "", "", level, 0, round_trip=trip, grouped=True)


@pytest.mark.parametrize(
    ("level", "pace", "rows", "seconds"),
    [
        (2, PaceSettings(), 100, 10.0),
        (0, PaceSettings(), 100, 40.0),
        (2, PaceSettings(per_minute=20), 100, 240.0),
        (2, PaceSettings(per_minute=20), 20, 2.0),
        (2, PaceSettings(per_day=500), 1001, 172800.0),
        (2, PaceSettings(per_second=5, per_minute=60), 121, 120.0),
        (2, None, 0, 0.0),
    ],
)
def test_the_time_is_that_of_the_slowest_limit(level, pace, rows, seconds):
    assert fit.expected(rows, greeting(level, 0.1), pace) == pytest.approx(seconds)


FITS = [
    ("ada@gmail.com", "gmail", "ADA@gmail.com", "ok", "own address"),
    (
        "news@club.example",
        "gmail",
        "ada@gmail.com",
        "warning",
        "From is news@club.example, the login ada@gmail.com",
    ),
    ("news@club.example", "microsoft365", "ada@club.example", "warning", "From is news@club.example"),
    ("news@club.example", "sendgrid", "apikey", "note", "From is news@club.example"),
    ("news@club.example", "", "ada@other.example", "note", "the login ada@other.example"),
]


@pytest.mark.parametrize(("sender", "name", "user", "grade", "words"), FITS)
def test_from_is_held_against_the_login(sender, name, user, grade, words):
    way = account(1, profile=providers().get(name), user=user)
    (finding,) = fit.of_from(way, Sending(sender, 1))
    assert finding.grade == grade
    assert words in finding.message


def test_limits_are_held_against_the_list():
    way = account(1, profile=providers()["gmail"], user="ada@gmail.com")
    sending = Sending("ada@gmail.com", rows=1201, recipients=101, size=30_000_000)
    told = {finding.message for finding in fit.of_account(way, sending)}
    assert "1,201 letters take 3 days at 500 a day" in told
    assert "a letter has 101 recipients; Gmail takes 100" in told
    assert "a letter has about 30.0 MB; Gmail takes 25.0 MB" in told
    assert any("support.google.com/mail/answer/22839, read 23 Nov 2026" in words for words in told)


@pytest.mark.parametrize(("user", "end"), [("ada", ", and no password or token is sent that way"), ("", "")])
def test_a_way_in_the_clear_is_a_warning(user, end):
    way = replace(account(25, user=user), host="mail.ada.example")
    (warning,) = [finding for finding in fit.of_account(way, None) if finding.grade == "warning"]
    assert warning.message == f"the letters go over the network unencrypted (security is none){end}"


@pytest.mark.parametrize(
    ("port", "security"), [(25, "starttls"), (587, "starttls"), (2525, "starttls"), (465, "tls")]
)
def test_a_server_of_ones_own_is_found_at_each_usual_port(monkeypatch, port, security):
    asked = []

    def probe(way, secret, clock, **_):
        asked.append((way.port, way.security, secret))
        if (way.port, way.security) != (port, security):
            raise CarrierError("nobody there")
        return Greeting("mail.club.example", {}, "TLSv1.3", "", 0, 0)

    monkeypatch.setattr(doctor.assemble, "probe", probe)
    found = examine(replace(account(26, security="starttls", user="ada"), host="mail.club.example"))
    (note,) = [finding for finding in of(found, "connection") if finding.grade == "note"]
    assert note.message == f"mail.club.example answers at port {port}"
    assert note.hint == f'port = {port}\nsecurity = "{security}"'
    assert not any(secret for _, _, secret in asked)


def test_other_ports_are_tried_without_a_login_and_the_one_that_answers_is_named(monkeypatch, authority):
    manners = secure(Manners(auth="PLAIN"), authority, "starttls")
    with mail_server(manners) as port:
        monkeypatch.setattr(doctor, "_USUAL_PORTS", {port: "none"})
        monkeypatch.setattr(doctor, "is_loopback", lambda _: False)
        found = examine(account(1, user="ada"))
    (note,) = [finding for finding in of(found, "connection") if finding.grade == "note"]
    assert note.message == f"localhost answers at port {port}"
    assert note.hint == f'port = {port}\nsecurity = "none"'
    assert found.exit_code == 4
    assert not [line for line in manners.heard if line.startswith("AUTH")]
