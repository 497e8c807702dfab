"""The file for the person who approves: everything that matters, nobody's address, nothing that runs."""

from __future__ import annotations

import base64
import email
import mailbox
import re
import subprocess
from email import policy
from html import unescape

import pytest
from preview_kit import COMMAND, LETTER, PEOPLE, campaign, many

from merge.preview.approval import mask

SECRET = "archive@secret.example"


def export(folder, out, *arguments):
    done = subprocess.run(
        [*COMMAND, "preview", "--out", str(out), *arguments, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out.read_text("utf-8"), done


@pytest.fixture
def out(tmp_path):
    return tmp_path / "look.html"


def articles(page):
    return re.findall(r'<article id="row-(\d+)"', page)


def test_one_of_each_kind_and_every_problem(tmp_path, out):
    people = many(400) + "no address,Bad,free,Rome\n,,,\np7@example.org,Twice,free,Rome\n"
    page, done = export(campaign(tmp_path / "c", people=people), out)
    assert done.stdout == f"{out}\n"
    assert articles(page)[:2] == ["2", "3"]
    assert "kind 1, 300 rows" in page
    assert "kind 2, 100 rows" in page
    assert "404" in articles(page)
    assert "same address as row 9" in page
    assert len(articles(page)) <= 25
    fingerprint = re.search(r'class="fingerprint">([0-9a-f-]+)<', page)[1]
    assert fingerprint in done.stderr
    assert f"--expect {fingerprint}" in page


def test_at_most_25_however_much_is_wrong(tmp_path, out):
    people = many(5) + "".join(f"bad {n},X,free,Y\n" for n in range(60))
    page, _ = export(campaign(tmp_path / "c", people=people), out)
    assert len(articles(page)) == 25
    assert "60 can&#x27;t be sent" in page


def test_addresses_are_masked_wherever_they_stand(tmp_path, out):
    letter = (
        LETTER.replace("Content-Language", "Cc: second-{{ city|lower }}@example.net\nContent-Language")
        + "\nYou are {{ email }}, <https://x.example/?m={{ email|urlencode }}>\n"
    )
    folder = campaign(tmp_path / "c", letter, PEOPLE.replace("Köln", "Bonn").replace(",,free,", ",,free,Rom"))
    page, _ = export(folder, out)
    shown = unescape(unescape(page))
    for name in ("ada", "bob", "zoe", "noone", "taro"):
        assert f"{name}@example.org" not in shown
        assert f"{name}%40example.org" not in shown
    assert "second-london" not in shown
    assert "a…@example.org" in shown
    assert "news@ada.example" in shown
    assert "Addresses are masked" in page


def test_all_rows_shows_everything_when_it_is_asked_for(tmp_path, out):
    page, _ = export(campaign(tmp_path / "c"), out, "--all-rows")
    assert articles(page) == ["2", "3", "4", "5", "6"]
    assert "ada@example.org" in page


def test_rows_can_be_chosen(tmp_path, out):
    page, _ = export(campaign(tmp_path / "c"), out, "--rows", "3-4")
    assert articles(page) == ["3", "4"]


def test_bcc_and_paths_of_this_machine_are_absent(tmp_path, out):
    letter = LETTER.replace("Content-Language", f"Bcc: {SECRET}\nAttach: notes.txt\nContent-Language")
    folder = campaign(tmp_path / "c", letter)
    (folder / "notes.txt").write_text("x", "utf-8")
    for arguments in ((), ("--all-rows",)):
        page, _ = export(folder, out, *arguments)
        assert "secret.example" not in unescape(unescape(page))
        assert "Bcc" not in page
        assert str(tmp_path) not in page
        assert "notes.txt (1 bytes)" in page


def test_it_is_one_file_that_runs_and_loads_nothing(tmp_path, out):
    page, _ = export(campaign(tmp_path / "c"), out)
    outside = re.sub(r'srcdoc="[^"]*"', "", page)
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//|url\(", outside)
    assert re.search(r"http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'", page)
    for frame in re.findall(r"<iframe[^>]*>", page):
        assert 'sandbox=""' in frame
        source = unescape(re.search(r'srcdoc="([^"]*)"', frame)[1])
        assert re.match(r"\s*<!doctype html>\s*<meta http-equiv", source, re.IGNORECASE)


def test_a_failed_export_leaves_the_old_file(tmp_path, out):
    folder = campaign(tmp_path / "c")
    before, _ = export(folder, out)
    (folder / "letter.md").write_text(LETTER + "{{ nothing }}", "utf-8")
    done = subprocess.run(
        [*COMMAND, "preview", "--out", str(out), str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no column nothing" in done.stderr
    assert out.read_text("utf-8") == before


@pytest.mark.parametrize(
    ("address", "masked"),
    [("ada@example.org", "a…@example.org"), ("x", "…"), ("", "…"), ("太郎@example.jp", "太…@example.jp")],
)
def test_masks(address, masked):
    assert mask(address) == masked


def test_an_address_in_the_link_to_unsubscribe_is_masked_as_well(tmp_path, out):
    letter = LETTER.replace("Subject:", "Unsubscribe: https://club.example/out?{{ email }}\nSubject:", 1)
    page, _ = export(campaign(tmp_path / "c", letter), out)
    assert articles(page)
    assert not [row for row in PEOPLE.splitlines()[1:] if row.split(",")[0] in page]


def test_eml_and_mbox_hold_the_same_letters(tmp_path):
    folder = campaign(tmp_path / "c", LETTER + "\nFrom here on\n>From there\n")
    done = subprocess.run(
        [
            *COMMAND,
            "preview",
            "--eml",
            str(tmp_path / "eml"),
            "--mbox",
            str(tmp_path / "all.mbox"),
            str(folder),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "eml"), str(tmp_path / "all.mbox")]
    files = [
        email.message_from_bytes(path.read_bytes(), policy=policy.default)
        for path in sorted((tmp_path / "eml").iterdir())
    ]
    box = mailbox.mbox(tmp_path / "all.mbox")
    stored = list(box)
    box.close()
    assert [message["To"] for message in files] == [message["To"] for message in stored]
    assert len(files) == 5
    assert b"\n>From here on" in (tmp_path / "all.mbox").read_bytes()


@pytest.mark.parametrize(("lines", "each"), [(1, 1), (17, 1), (28, 2), (90, 2)])
def test_on_paper_each_letter_has_pages_of_its_own_in_its_colours(tmp_path, out, chromium, lines, each):
    letter = LETTER.replace(
        "{% if", "A paragraph that takes one line of the letter.\n\n" * lines + "{% if", 1
    )
    page, _ = export(campaign(tmp_path / "c", letter), out)
    chromium.get(out.as_uri())
    chromium.until("document.readyState === 'complete'")
    paper = chromium.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})["data"]
    pages = len(re.findall(rb"/Type\s*/Page\b", base64.b64decode(paper)))
    assert pages == 1 + each * len(articles(page))
    assert page.count("print-color-adjust:exact") >= len(articles(page))
