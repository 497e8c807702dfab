"""What a person reads when a well-known service says no: the words, what to do, and that nothing was sent."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from accounts_kit import Manners, mail_server

from merge.account.providers import providers

ELSEWHERE = """
import socket
ask = socket.getaddrinfo
def here(host, port, *more, **named):
    return ask("127.0.0.1", {port}, *more, **named) if host == "{host}" else ask(host, port, *more, **named)
socket.getaddrinfo = here
from merge.cli import main
main()
"""
CASES = {
    "app password needed": (
        "gmail", "ada@gmail.com", "PLAIN",
        "534 5.7.9 Application-specific password required.\n534 5.7.9 https://support.google.com/mail/",
        ["(534 5.7.9)", "Gmail wants an app password here", "Turn on 2-Step Verification",
         "https://myaccount.google.com/apppasswords"],
    ),
    "wrong password": (
        "gmail", "ada@gmail.com", "PLAIN", "535 5.7.8 Username and Password not accepted.",
        ["(535 5.7.8)", "mistyped, or it is your usual one"],
    ),
    "SMTP AUTH switched off": (
        "microsoft365", "ada@club.example", "LOGIN XOAUTH2",
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
        ["(535 5.7.139)", "Your organisation has switched off password logins", "oauth"],
    ),
    "two-factor sign-in": (
        "microsoft365", "ada@club.example", "LOGIN XOAUTH2", "535 5.7.3 Authentication unsuccessful",
        ["(535 5.7.3)", "With two-factor sign-in an app password is needed"],
    ),
    "the user is apikey": (
        "sendgrid", "ada@club.example", "PLAIN LOGIN", "535 Authentication failed: Bad username / password",
        ["(535)", "the user is literally `apikey`"],
    ),
    "quota of the month": (
        "mailtrap-sandbox", "0123456789abcd", "PLAIN LOGIN", "535 5.7.0 The email limit is reached.",
        ["(535 5.7.0)", "number of test messages of this month may be used up"],
    ),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "club"
    folder.mkdir()
    (folder / "people.csv").write_text("email\n" + "".join(f"p{row}@x.example\n" for row in range(3)))
    (folder / "letter.md").write_text("Subject: Hi\n\nHi\n")
    return folder


def run(folder: Path, manners: Manners, provider: str, user: str, *words: str):
    """Run the command against a server that stands in for the service, under its own name."""
    known, authority = providers()[provider], trustme.CA()
    manners.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(known.host).configure_cert(manners.context)
    manners.security = known.security
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    (folder / "campaign.toml").write_text(
        f'from = "Ada <ada@club.example>"\n[account]\nprovider = "{provider}"\nuser = "{user}"\n'
        'password = {env = "MAIL_PASSWORD"}\n'
    )
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "SYSTEMROOT") if name in os.environ}
    with mail_server(manners) as port:
        return subprocess.run(
            [sys.executable, "-c", ELSEWHERE.format(host=known.host, port=port), *words],
            cwd=folder, text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
            env={**kept, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "MAIL_PASSWORD": "s3cret-planted",
                 "SSL_CERT_FILE": str(folder / "ca.pem")},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("case", "words"),
    [
        *((case, "send --confirm 3") for case in CASES),
        ("app password needed", "test me@club.example"),
        ("SMTP AUTH switched off", "doctor --no-dns"),
    ],
)
def test_a_refused_login_says_what_to_do(folder, case, words):
    provider, user, auth, reply, told = CASES[case]
    manners = Manners(auth=auth, login=reply)
    done = run(folder, manners, provider, user, *words.split())
    screen = done.stdout + done.stderr
    assert done.returncode == 4, screen
    for part in told:
        assert part in screen
    assert "s3cret-planted" not in screen
    assert sum(line.startswith("AUTH") for line in manners.heard) == 1, "one try is all that a login gets"
    assert not any(line.startswith("MAIL") for line in manners.heard)
    if words.startswith("send"):
        assert "3 waiting" in screen


def test_a_day_s_number_that_is_used_up_stops_the_run_and_names_tomorrow(folder):
    manners = Manners(auth="PLAIN", per_line=100, rcpt="550 5.4.5 Daily user sending limit exceeded.")
    done = run(folder, manners, "gmail", "ada@gmail.com", "send", "--confirm", "3")
    screen = done.stdout + done.stderr
    assert done.returncode == 4, screen
    assert manners.taken == ["p0@x.example"]
    assert "daily limit is reached. Send the rest in 24 hours" in screen
    assert "1 sent" in screen
