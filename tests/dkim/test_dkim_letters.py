"""Every letter of the starters and the examples is believed, with all that a letter can hold."""

from __future__ import annotations

import shutil
from email import message_from_bytes
from pathlib import Path

import pytest
from dkim_kit import opendkim_there, passes_dkimpy, passes_opendkim, pem, signer

from merge.campaign import Campaign
from merge.model import Delivery
from merge.seal import seal
from merge.starter import make

ROOT = Path(__file__).parents[2]
STARTERS = sorted(path.name for path in (ROOT / "templates").iterdir() if path.is_dir())
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/campaign.toml"))
INVITATION = "\r\n".join(
    [
        *("BEGIN:VCALENDAR", "VERSION:2.0", "METHOD:REQUEST", "BEGIN:VEVENT", "UID:1"),
        *("END:VEVENT", "END:VCALENDAR", ""),
    ]
)


def believed(deliveries: list[Delivery], record: str) -> None:
    contents = [one.content for one in deliveries]
    assert contents
    for content in contents:
        assert passes_dkimpy(content, record)
        assert content.partition(b"\r\n\r\n")[2].isascii()  # nothing that a server would have to rewrite
    if opendkim_there():
        assert passes_opendkim(contents, record) == [True] * len(contents)


@pytest.mark.parametrize("name", [*STARTERS, *EXAMPLES])
def test_starters_and_examples_are_believed(tmp_path, name):
    folder = tmp_path / name
    if name in STARTERS:
        make(folder, name)
    else:
        shutil.copytree(ROOT / "examples" / name, folder)
    ours = signer(tmp_path)
    believed([ours.sign(seal(letter)) for letter in Campaign.load(folder).letters()], ours.key().record)


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_pictures_files_and_an_invitation_are_covered(tmp_path, kind):
    (tmp_path / "people.csv").write_text("email,name\nzoe@x.example,Zoë\n", "utf-8")
    (tmp_path / "letter.html").write_text(
        "Subject: Come, {{ name }}\nAttach: day.ics\nAttach: list.csv\n\n"
        '<html><body>\n\t<p>Hi  {{ name }}</p>\n<img src="logo.png" alt="logo">\n</body></html>\n\n\n',
        "utf-8",
    )
    (tmp_path / "day.ics").write_text(INVITATION, "ascii")
    (tmp_path / "list.csv").write_text("a;b\n" * 900, "ascii")
    (tmp_path / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(900))
    (tmp_path / "campaign.toml").write_text('from = "Ada <news@club.example>"\n', "utf-8")
    ours = signer(tmp_path, pem(kind))
    signed = [ours.sign(seal(letter)) for letter in Campaign.load(tmp_path).letters()]
    types = {part.get_content_type() for part in message_from_bytes(signed[0].content).walk()}
    assert {"text/calendar", "image/png", "text/csv"} <= types
    assert all(passes_dkimpy(one.content, ours.key().record) for one in signed)
    if kind == "rsa":
        believed(signed, ours.key().record)
