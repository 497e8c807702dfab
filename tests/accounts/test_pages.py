"""The pages of docs/accounts, followed as a newcomer would: what they say to write works as it stands."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest
import trustme
from accounts_kit import Manners, mail_server
from test_login_screens import ELSEWHERE

from merge.account import account_from_table
from merge.toml import TomlFile

PAGES = Path(__file__).parents[2] / "docs" / "accounts"


def steps() -> list[Any]:
    """Return every account of a page that is a mail server, with what stands around it in its block."""
    found = []
    for page in sorted(PAGES.glob("*.md")):
        blocks = re.findall(r"^( *)```toml\n(.*?)^ *```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        for number, (_, block) in enumerate(blocks):
            text = textwrap.dedent(block)
            table = tomllib.loads(text).get("account")
            if not isinstance(table, dict) or "oauth" in table:
                continue
            if account_from_table("account", table, TomlFile("page")).kind == "smtp":
                found.append(pytest.param(text, table, id=f"{page.stem}-{number}"))
    return found


STEPS = steps()


def test_the_pages_have_such_steps():
    pages = {step.id.rpartition("-")[0] for step in STEPS}
    assert pages >= {
        *("gmail", "localhost", "mailbox", "mailjet", "microsoft365", "own-server", "sendgrid", "services"),
        "trying-out",
    }


@pytest.mark.parametrize(("text", "table"), STEPS)
def test_what_a_page_says_to_write_gets_through_the_doctor(tmp_path, text, table):
    way = account_from_table("account", table, TomlFile("page"))
    folder = tmp_path / "club"
    folder.mkdir()
    (folder / "people.csv").write_text("email\nada@x.example\n")
    (folder / "letter.md").write_text("Subject: Hi\n\nHi\n")
    sender = "" if re.search(r"^from =", text, re.MULTILINE) else 'from = "Ada <news@club.example>"\n'
    (folder / "campaign.toml").write_text(sender + text, "utf-8")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    manners = Manners(auth="PLAIN LOGIN" if way.user else "", security=way.security)
    manners.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(way.host).configure_cert(manners.context)
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "SYSTEMROOT") if name in os.environ}
    secrets = dict.fromkeys(re.findall(r'env = "(\w+)"', text), "s3cret") or {"MERGEPOST_PASSWORD": "s3cret"}
    with mail_server(manners) as port:
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE.format(host=way.host, port=port), "doctor", "--no-dns"],
            cwd=folder, text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
            env={**kept, **secrets, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path),
                 "SSL_CERT_FILE": str(folder / "ca.pem")},
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"^error", done.stdout, re.MULTILINE)
    if way.user:
        assert f"logged in as {way.user}" in done.stdout
    if way.security != "none":
        assert re.search(r"^ok +tls", done.stdout, re.MULTILINE)
