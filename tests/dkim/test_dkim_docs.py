"""docs/signing.md, followed as a newcomer would."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from dkim_kit import passes_dkimpy

from merge.campaign import Campaign

PAGE = (Path(__file__).parents[2] / "docs" / "signing.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
    return ["".join(line.removeprefix(indent) for line in text.splitlines(True)) for indent, text in found]


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed here")
def test_the_steps_of_the_page_lead_to_a_signed_letter(tmp_path):
    subprocess.run(["/bin/sh", "-e"], input=blocks("sh")[0], text=True, cwd=tmp_path, check=True)
    assert (tmp_path / "dkim.pem").stat().st_mode & 0o077 == 0
    (tmp_path / "people.csv").write_text("email\nzoe@x.example\n")
    (tmp_path / "letter.md").write_text("Subject: Hi\n\nHi\n")
    (tmp_path / "campaign.toml").write_text(blocks("toml")[0])
    campaign = Campaign.load(tmp_path)
    assert campaign.check() == []
    signed = campaign.parts.seal(next(campaign.letters())).content
    record = campaign.parts.dkim.key().record
    assert passes_dkimpy(signed, record, "y2026._domainkey.club.example")
    assert record.startswith(re.search(r"value  (v=DKIM1; k=rsa; p=MIIB)", PAGE)[1])


def test_what_the_page_quotes_is_what_the_program_says():
    rooms = Path(__file__).parents[2] / "merge"
    told = "".join(
        path.read_text("utf-8") for part in ("dkim", "doctor") for path in (rooms / part).glob("*.py")
    )
    for words in (
        "others can read the DKIM key",
        "cannot be read",
        "holds a public key",
        "is protected by a passphrase",
        "the key in DNS is not this key",
        "there is no DKIM key at",
        "the pair of the key at",
        "dkim needs a library",
    ):
        assert words in PAGE
        assert words in told
